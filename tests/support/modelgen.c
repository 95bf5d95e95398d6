// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tests/support/modelgen.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(2);
}

void modelgen_buf_free(struct modelgen_buf *buf)
{
	free(buf->data);
	*buf = (struct modelgen_buf){ 0 };
}

static void grow(struct modelgen_buf *buf, size_t n)
{
	if (n <= buf->n_allocated)
		return;
	buf->n_allocated = n * 2 + 64;
	buf->data = realloc(buf->data, buf->n_allocated);
	if (!buf->data)
		die("realloc");
}

void modelgen_put(struct modelgen_buf *buf, const void *bytes, size_t n)
{
	grow(buf, buf->n + n);
	if (n)
		memcpy(buf->data + buf->n, bytes, n);
	buf->n += n;
}

static void put_uint(struct modelgen_buf *buf, uint64_t value, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t byte = (uint8_t)(value >> (8 * i));

		modelgen_put(buf, &byte, 1);
	}
}

void modelgen_put_u32(struct modelgen_buf *buf, uint32_t value)
{
	put_uint(buf, value, 4);
}

void modelgen_put_u64(struct modelgen_buf *buf, uint64_t value)
{
	put_uint(buf, value, 8);
}

void modelgen_put_string(struct modelgen_buf *buf, const char *text)
{
	modelgen_put_u64(buf, strlen(text));
	modelgen_put(buf, text, strlen(text));
}

uint8_t modelgen_byte(uint32_t seed, uint64_t offset)
{
	uint64_t x = offset * 0x9e3779b97f4a7c15ull + seed;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ull;
	return (uint8_t)(x >> 56);
}

void modelgen_fill(struct modelgen_buf *buf, uint32_t seed, size_t end)
{
	grow(buf, end);
	for (; buf->n < end; buf->n++)
		buf->data[buf->n] = modelgen_byte(seed, buf->n);
}

static void write_all(int fd, const struct modelgen_buf *buf)
{
	for (size_t done = 0; done < buf->n;) {
		ssize_t n = write(fd, buf->data + done, buf->n - done);

		if (n <= 0)
			die("write");
		done += (size_t)n;
	}
}

int modelgen_memfd(const struct modelgen_buf *buf)
{
	int fd = memfd_create("model", MFD_CLOEXEC);

	if (fd < 0)
		die("memfd_create");
	write_all(fd, buf);
	return fd;
}

void modelgen_write(const struct modelgen_buf *buf, const char *dir, const char *name)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	write_all(fd, buf);
	if (close(fd) < 0)
		die(path);
}

struct modelgen_gguf *modelgen_gguf_new(void)
{
	struct modelgen_gguf *gguf = calloc(1, sizeof(*gguf));

	if (!gguf)
		die("calloc");
	memcpy(gguf->magic, "GGUF", 4);
	gguf->version = 3;
	gguf->n_tensors_said = gguf->n_keys_said = MODELGEN_AUTO;
	gguf->alignment = 32;
	return gguf;
}

void modelgen_gguf_free(struct modelgen_gguf *gguf)
{
	for (size_t i = 0; i < gguf->n_keys; i++)
		modelgen_buf_free(&gguf->keys[i].value);
	free(gguf);
}

struct modelgen_buf *modelgen_key(struct modelgen_gguf *gguf, const char *name, uint32_t type)
{
	size_t i = gguf->n_keys++;

	if (i >= MODELGEN_MAX_KEYS)
		abort();
	snprintf(gguf->keys[i].name, sizeof(gguf->keys[i].name), "%s", name);
	gguf->keys[i].type = type;
	return &gguf->keys[i].value;
}

void modelgen_key_u32(struct modelgen_gguf *gguf, const char *name, uint32_t value)
{
	modelgen_put_u32(modelgen_key(gguf, name, MODELGEN_UINT32), value);
}

void modelgen_key_u16(struct modelgen_gguf *gguf, const char *name, uint16_t value)
{
	put_uint(modelgen_key(gguf, name, MODELGEN_UINT16), value, 2);
}

void modelgen_key_string(struct modelgen_gguf *gguf, const char *name, const char *value)
{
	modelgen_put_string(modelgen_key(gguf, name, MODELGEN_STRING), value);
}

struct modelgen_tensor *modelgen_tensor(struct modelgen_gguf *gguf, const char *name, uint32_t type,
					uint64_t d0, uint64_t d1, uint64_t d2)
{
	struct modelgen_tensor *t = &gguf->tensors[gguf->n_tensors];

	if (gguf->n_tensors++ >= MODELGEN_MAX_TENSORS)
		abort();
	*t = (struct modelgen_tensor){
		.type = type,
		.n_dims = d2 ? 3 :
			  d1 ? 2 :
			       1,
		.dims = { d0, d1, d2 },
		.offset = MODELGEN_AUTO,
		.bytes = MODELGEN_AUTO,
	};
	snprintf(t->name, sizeof(t->name), "%s", name);
	return t;
}

struct modelgen_gguf *modelgen_llama(uint32_t n_layers, uint32_t n_embd, uint32_t n_ff,
				     uint32_t n_vocab, uint32_t n_experts, bool is_tied)
{
	struct modelgen_gguf *gguf = modelgen_gguf_new();
	const uint32_t q = MODELGEN_Q8_0;
	char name[64];

#define BLOCK(tensor) (snprintf(name, sizeof(name), "blk.%u." tensor ".weight", i), name)
	modelgen_key_string(gguf, "general.architecture", "llama");
	modelgen_key_string(gguf, "general.name", "made for tests");
	modelgen_key_u32(gguf, "llama.block_count", n_layers);
	modelgen_key_u32(gguf, "llama.embedding_length", n_embd);
	if (n_experts)
		modelgen_key_u32(gguf, "llama.expert_count", n_experts);
	modelgen_tensor(gguf, "token_embd.weight", q, n_embd, n_vocab, 0);
	for (uint32_t i = 0; i < n_layers; i++) {
		modelgen_tensor(gguf, BLOCK("attn_norm"), MODELGEN_F32, n_embd, 0, 0);
		modelgen_tensor(gguf, BLOCK("attn_q"), q, n_embd, n_embd, 0);
		modelgen_tensor(gguf, BLOCK("attn_k"), q, n_embd, n_embd, 0);
		modelgen_tensor(gguf, BLOCK("attn_v"), q, n_embd, n_embd, 0);
		modelgen_tensor(gguf, BLOCK("attn_output"), q, n_embd, n_embd, 0);
		modelgen_tensor(gguf, BLOCK("ffn_norm"), MODELGEN_F32, n_embd, 0, 0);
		if (n_experts) {
			modelgen_tensor(gguf, BLOCK("ffn_gate_inp"), MODELGEN_F32, n_embd,
					n_experts, 0);
			modelgen_tensor(gguf, BLOCK("ffn_gate_exps"), q, n_embd, n_ff, n_experts);
			modelgen_tensor(gguf, BLOCK("ffn_up_exps"), q, n_embd, n_ff, n_experts);
			modelgen_tensor(gguf, BLOCK("ffn_down_exps"), q, n_ff, n_embd, n_experts);
		} else {
			modelgen_tensor(gguf, BLOCK("ffn_gate"), q, n_embd, n_ff, 0);
			modelgen_tensor(gguf, BLOCK("ffn_up"), q, n_embd, n_ff, 0);
			modelgen_tensor(gguf, BLOCK("ffn_down"), q, n_ff, n_embd, 0);
		}
	}
	modelgen_tensor(gguf, "output_norm.weight", MODELGEN_F32, n_embd, 0, 0);
	if (!is_tied)
		modelgen_tensor(gguf, "output.weight", q, n_embd, n_vocab, 0);
	return gguf;
#undef BLOCK
}

/* Only for the types that the generator uses; others say their bytes. */
static uint64_t bytes_of(const struct modelgen_tensor *t)
{
	uint64_t n = 1;

	if (t->bytes != MODELGEN_AUTO)
		return t->bytes;
	for (uint32_t i = 0; i < t->n_dims; i++)
		n *= t->dims[i];
	return t->type == MODELGEN_F32 ? n * 4 : t->type == MODELGEN_F16 ? n * 2 : n / 32 * 34;
}

static uint64_t padded(uint64_t n, uint32_t alignment)
{
	return (n + alignment - 1) / alignment * alignment;
}

void modelgen_gguf_build(const struct modelgen_gguf *gguf, struct modelgen_buf *out)
{
	uint64_t next = 0, end = 0;

	modelgen_put(out, gguf->magic, 4);
	modelgen_put_u32(out, gguf->version);
	modelgen_put_u64(out, gguf->n_tensors_said == MODELGEN_AUTO ? gguf->n_tensors :
								      gguf->n_tensors_said);
	modelgen_put_u64(out,
			 gguf->n_keys_said == MODELGEN_AUTO ? gguf->n_keys : gguf->n_keys_said);
	for (size_t i = 0; i < gguf->n_keys; i++) {
		modelgen_put_string(out, gguf->keys[i].name);
		modelgen_put_u32(out, gguf->keys[i].type);
		modelgen_put(out, gguf->keys[i].value.data, gguf->keys[i].value.n);
	}
	for (size_t i = 0; i < gguf->n_tensors; i++) {
		const struct modelgen_tensor *t = &gguf->tensors[i];

		modelgen_put_string(out, t->name);
		modelgen_put_u32(out, t->n_dims);
		for (uint32_t k = 0; k < t->n_dims && k < 8; k++)
			modelgen_put_u64(out, t->dims[k]);
		modelgen_put_u32(out, t->type);
		modelgen_put_u64(out, t->offset == MODELGEN_AUTO ? next : t->offset);
		end = next + bytes_of(t);
		next = padded(end, gguf->alignment);
	}
	if (!gguf->n_tensors)
		return;
	while (out->n % gguf->alignment)
		modelgen_put(out, "", 1);
	modelgen_fill(out, gguf->seed, out->n + end);
}

void modelgen_gguf_split(const struct modelgen_gguf *gguf, uint32_t n_parts, const char *dir,
			 const char *stem)
{
	for (uint32_t i = 0; i < n_parts; i++) {
		struct modelgen_gguf *part = modelgen_gguf_new();
		size_t begin = gguf->n_tensors * i / n_parts;
		size_t end = gguf->n_tensors * (i + 1) / n_parts;
		struct modelgen_buf buf = { 0 };
		char name[256];

		if (i == 0) {
			for (size_t k = 0; k < gguf->n_keys; k++)
				modelgen_put(modelgen_key(part, gguf->keys[k].name,
							  gguf->keys[k].type),
					     gguf->keys[k].value.data, gguf->keys[k].value.n);
		}
		modelgen_key_u16(part, "split.no", (uint16_t)i);
		modelgen_key_u16(part, "split.count", (uint16_t)n_parts);
		modelgen_put_u32(modelgen_key(part, "split.tensors.count", MODELGEN_INT32),
				 (uint32_t)gguf->n_tensors);
		part->seed = gguf->seed + i;
		part->n_tensors = end - begin;
		memcpy(part->tensors, gguf->tensors + begin,
		       (end - begin) * sizeof(part->tensors[0]));
		modelgen_gguf_build(part, &buf);
		snprintf(name, sizeof(name), "%s-%05u-of-%05u.gguf", stem, i + 1, n_parts);
		modelgen_write(&buf, dir, name);
		modelgen_buf_free(&buf);
		modelgen_gguf_free(part);
	}
}

void modelgen_safetensors(const char *header, size_t data_bytes, uint32_t seed,
			  struct modelgen_buf *out)
{
	modelgen_put_u64(out, strlen(header));
	modelgen_put(out, header, strlen(header));
	modelgen_fill(out, seed, out->n + data_bytes);
}

char *modelgen_safetensors_header(const char *const *names, size_t n, size_t n_bytes)
{
	struct modelgen_buf text = { 0 };

	modelgen_put(&text, "{", 1);
	for (size_t i = 0; i < n; i++) {
		char line[512];
		int len = snprintf(
			line, sizeof(line),
			"%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}",
			i ? "," : "", names[i], n_bytes / 4, i * n_bytes, (i + 1) * n_bytes);

		modelgen_put(&text, line, (size_t)len);
	}
	modelgen_put(&text, "}", 2);
	return (char *)text.data;
}
