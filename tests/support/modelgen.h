/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes model files for tests: small, valid, and wrong in exactly the field that a test wants wrong.
 *
 * The bytes of tensors are a function of a seed and of where in the file they are, so that whoever
 * was served a byte can check it without having the file.
 */
#ifndef VRAM_TESTS_SUPPORT_MODELGEN_H
#define VRAM_TESTS_SUPPORT_MODELGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file in memory. Starts out as { 0 }; running out of memory ends the test program. */
struct modelgen_buf {
	uint8_t *data;
	size_t n;
	size_t n_allocated;
};

void modelgen_buf_free(struct modelgen_buf *buf);
void modelgen_put(struct modelgen_buf *buf, const void *bytes, size_t n);
void modelgen_put_u32(struct modelgen_buf *buf, uint32_t value);
void modelgen_put_u64(struct modelgen_buf *buf, uint64_t value);
/* A GGUF string: its length in 8 bytes, its text. */
void modelgen_put_string(struct modelgen_buf *buf, const char *text);
/* Appends bytes as modelgen_byte() gives them for their place, until the buffer is `end` long. */
void modelgen_fill(struct modelgen_buf *buf, uint32_t seed, size_t end);
uint8_t modelgen_byte(uint32_t seed, uint64_t offset);

/* Return: a memfd with the contents, or a written file; both end the program on failure. */
int modelgen_memfd(const struct modelgen_buf *buf);
void modelgen_write(const struct modelgen_buf *buf, const char *dir, const char *name);

/* ---- GGUF ---- */

enum {
	MODELGEN_F32 = 0,
	MODELGEN_F16 = 1,
	MODELGEN_Q8_0 = 8,
};

enum {
	MODELGEN_UINT8 = 0,
	MODELGEN_INT8 = 1,
	MODELGEN_UINT16 = 2,
	MODELGEN_INT16 = 3,
	MODELGEN_UINT32 = 4,
	MODELGEN_INT32 = 5,
	MODELGEN_FLOAT32 = 6,
	MODELGEN_BOOL = 7,
	MODELGEN_STRING = 8,
	MODELGEN_ARRAY = 9,
	MODELGEN_UINT64 = 10,
	MODELGEN_INT64 = 11,
	MODELGEN_FLOAT64 = 12,
};

#define MODELGEN_MAX_TENSORS 600
#define MODELGEN_MAX_KEYS    32
#define MODELGEN_AUTO	     UINT64_MAX

struct modelgen_tensor {
	char name[64];
	uint32_t type;
	uint32_t n_dims;
	uint64_t dims[8]; /* innermost first, as GGUF has them */
	uint64_t offset;  /* in the data; MODELGEN_AUTO for behind the one before */
	uint64_t bytes;	  /* MODELGEN_AUTO: as its type and dimensions say */
};

struct modelgen_gguf {
	char magic[4];
	uint32_t version;
	uint64_t n_tensors_said; /* MODELGEN_AUTO: as many as there are */
	uint64_t n_keys_said;
	uint32_t alignment; /* that of the layout; the key is set with modelgen_key_u32() */
	struct {
		char name[64];
		uint32_t type;
		struct modelgen_buf value;
	} keys[MODELGEN_MAX_KEYS];
	size_t n_keys;
	struct modelgen_tensor tensors[MODELGEN_MAX_TENSORS];
	size_t n_tensors;
	uint32_t seed;
};

/* Return: an empty, valid model: magic, version 3, alignment 32. */
struct modelgen_gguf *modelgen_gguf_new(void);
void modelgen_gguf_free(struct modelgen_gguf *gguf);

/* Adds a key of any type; the value is put into the returned buffer by the caller. */
struct modelgen_buf *modelgen_key(struct modelgen_gguf *gguf, const char *name, uint32_t type);
void modelgen_key_u32(struct modelgen_gguf *gguf, const char *name, uint32_t value);
void modelgen_key_u16(struct modelgen_gguf *gguf, const char *name, uint16_t value);
void modelgen_key_string(struct modelgen_gguf *gguf, const char *name, const char *value);

/* Adds a tensor; dimensions of 0 at the end are left out. */
struct modelgen_tensor *modelgen_tensor(struct modelgen_gguf *gguf, const char *name, uint32_t type,
					uint64_t d0, uint64_t d1, uint64_t d2);

/* A llama model in Q8_0: n_layers blocks; with experts > 0 their feed-forward parts are fused experts. */
struct modelgen_gguf *modelgen_llama(uint32_t n_layers, uint32_t n_embd, uint32_t n_ff,
				     uint32_t n_vocab, uint32_t n_experts, bool is_tied);

void modelgen_gguf_build(const struct modelgen_gguf *gguf, struct modelgen_buf *out);

/*
 * Writes the model as n_parts files dir/stem-0000i-of-0000n.gguf, its tensors dealt out in runs. Every
 * part is filled with its own seed: gguf->seed + its number.
 */
void modelgen_gguf_split(const struct modelgen_gguf *gguf, uint32_t n_parts, const char *dir,
			 const char *stem);

/* ---- safetensors ---- */

/* The header as given, then data up to data_bytes behind it. */
void modelgen_safetensors(const char *header, size_t data_bytes, uint32_t seed,
			  struct modelgen_buf *out);

/*
 * A header of F32 vectors, one for each name, of n_bytes each, one after the other.
 * Return: the text, to be freed.
 */
char *modelgen_safetensors_header(const char *const *names, size_t n, size_t n_bytes);

#endif
