// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * A GGUF header is a stream without an index: magic, version, counts, then keys with their
 * values, then the tensors' names, shapes, types and offsets. There is no way to skip ahead, so
 * everything is walked once, through a window of 64 KiB that pread fills. Of the values only the
 * few that matter to paging are kept: a vocabulary of 200,000 strings costs time, not memory.
 *
 * The file is hostile. `left` in struct reader is what can still come before the file or our
 * limit on headers ends, and every length and count is compared with it before it is used: a
 * count of things that take at least n bytes each can be at most left / n, so no loop and no
 * allocation is longer than the file justifies. Sums and products of numbers from the file
 * go through the overflow builtins.
 *
 * The format's own description: ggml, docs/gguf.md. The numbers, names and block sizes of
 * tensor types: ggml.h's enum ggml_type and the block structs in ggml-common.h (gguf-py's table
 * GGML_QUANT_SIZES says 40 bytes for Q8_1; the struct has 36). Where the description and ggml's loader differ we accept what
 * the loader accepts (an alignment that is any power of two) and refuse what it refuses (keys
 * that come twice).
 */
#include "libclient/gguf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define GGUF_MAX_DIMS	       4
#define GGUF_MAX_KEYS	       65536
#define GGUF_MAX_KEY_LEN       65535
#define GGUF_MAX_NESTING       4
#define GGUF_MAX_HEADER	       (256ull << 20)
#define GGUF_MAX_SPLITS	       1024
#define GGUF_DEFAULT_ALIGNMENT 32

#define WINDOW_BYTES 65536

enum gguf_value_type {
	GGUF_UINT8 = 0,
	GGUF_INT8 = 1,
	GGUF_UINT16 = 2,
	GGUF_INT16 = 3,
	GGUF_UINT32 = 4,
	GGUF_INT32 = 5,
	GGUF_FLOAT32 = 6,
	GGUF_BOOL = 7,
	GGUF_STRING = 8,
	GGUF_ARRAY = 9,
	GGUF_UINT64 = 10,
	GGUF_INT64 = 11,
	GGUF_FLOAT64 = 12,
	GGUF_N_VALUE_TYPES,
};

/* Bytes of a value; for strings and arrays the least that one can take. */
static const uint8_t value_bytes[GGUF_N_VALUE_TYPES] = {
	[GGUF_UINT8] = 1,   [GGUF_INT8] = 1,   [GGUF_UINT16] = 2,  [GGUF_INT16] = 2,
	[GGUF_UINT32] = 4,  [GGUF_INT32] = 4,  [GGUF_FLOAT32] = 4, [GGUF_BOOL] = 1,
	[GGUF_STRING] = 8,  [GGUF_ARRAY] = 12, [GGUF_UINT64] = 8,  [GGUF_INT64] = 8,
	[GGUF_FLOAT64] = 8,
};

/* Tensor types: `elements` of the innermost dimension take `bytes`. Types that ggml removed have no name. */
static const struct {
	const char *name;
	uint16_t elements;
	uint16_t bytes;
} tensor_types[] = {
	[0] = { "F32", 1, 4 },	       [1] = { "F16", 1, 2 },	      [2] = { "Q4_0", 32, 18 },
	[3] = { "Q4_1", 32, 20 },      [6] = { "Q5_0", 32, 22 },      [7] = { "Q5_1", 32, 24 },
	[8] = { "Q8_0", 32, 34 },      [9] = { "Q8_1", 32, 36 },      [10] = { "Q2_K", 256, 84 },
	[11] = { "Q3_K", 256, 110 },   [12] = { "Q4_K", 256, 144 },   [13] = { "Q5_K", 256, 176 },
	[14] = { "Q6_K", 256, 210 },   [15] = { "Q8_K", 256, 292 },   [16] = { "IQ2_XXS", 256, 66 },
	[17] = { "IQ2_XS", 256, 74 },  [18] = { "IQ3_XXS", 256, 98 }, [19] = { "IQ1_S", 256, 50 },
	[20] = { "IQ4_NL", 32, 18 },   [21] = { "IQ3_S", 256, 110 },  [22] = { "IQ2_S", 256, 82 },
	[23] = { "IQ4_XS", 256, 136 }, [24] = { "I8", 1, 1 },	      [25] = { "I16", 1, 2 },
	[26] = { "I32", 1, 4 },	       [27] = { "I64", 1, 8 },	      [28] = { "F64", 1, 8 },
	[29] = { "IQ1_M", 256, 56 },   [30] = { "BF16", 1, 2 },	      [34] = { "TQ1_0", 256, 54 },
	[35] = { "TQ2_0", 256, 66 },   [39] = { "MXFP4", 32, 17 },    [40] = { "NVFP4", 64, 36 },
	[41] = { "Q1_0", 128, 18 },    [42] = { "Q2_0", 64, 18 },
};

#define N_TENSOR_TYPES (sizeof(tensor_types) / sizeof(tensor_types[0]))

struct reader {
	int fd;
	uint64_t size_bytes; /* of the file */
	uint64_t pos;
	uint64_t end; /* of what may be read: the file or the limit on headers */
	const struct parse_msg *msg;
	uint64_t window_pos;
	size_t window_len;
	uint8_t *window;
};

/* What the walk gathers, beside struct gguf_info. */
struct gguf_keys {
	char **names;
	size_t n;
};

static uint64_t left(const struct reader *r)
{
	return r->end - r->pos;
}

static int read_past_end(const struct reader *r, const char *what)
{
	if (r->end < r->size_bytes)
		return parse_fail(r->msg, -E2BIG,
				  "the header is longer than %llu bytes (in %.100s)",
				  GGUF_MAX_HEADER, what);
	return parse_fail(r->msg, -EINVAL, "the file ends within %.100s", what);
}

static int read_bytes(struct reader *r, void *buf, uint64_t len, const char *what)
{
	char *out = buf;

	if (len > left(r))
		return read_past_end(r, what);
	while (len) {
		uint64_t skip = r->pos - r->window_pos;
		size_t n;

		if (r->pos < r->window_pos || skip >= r->window_len) {
			uint64_t fill = left(r) < WINDOW_BYTES ? left(r) : WINDOW_BYTES;
			int err;

			r->window_len = 0;
			err = file_read_exact(r->fd, r->window, (size_t)fill, r->pos, r->msg);
			if (err < 0)
				return err_trace(err);
			r->window_pos = r->pos;
			r->window_len = (size_t)fill;
			skip = 0;
		}
		n = r->window_len - (size_t)skip;
		if (n > len)
			n = (size_t)len;
		memcpy(out, r->window + skip, n);
		out += n;
		r->pos += n;
		len -= n;
	}
	return 0;
}

static int skip_bytes(struct reader *r, uint64_t len, const char *what)
{
	if (len > left(r))
		return read_past_end(r, what);
	r->pos += len;
	return 0;
}

static uint64_t little_endian(const uint8_t *bytes, size_t n)
{
	uint64_t value = 0;

	for (size_t i = n; i > 0; i--)
		value = value << 8 | bytes[i - 1];
	return value;
}

/* *out is 0 after an error, so that no caller ever computes with garbage. */
static int read_uint(struct reader *r, size_t n_bytes, uint64_t *out, const char *what)
{
	uint8_t bytes[8];
	int err;

	*out = 0;
	err = read_bytes(r, bytes, n_bytes, what);
	if (err < 0)
		return err_trace(err);
	*out = little_endian(bytes, n_bytes);
	return 0;
}

/* Reads a string that must not be longer than max and has no NUL inside. *out is the caller's to free. */
static int read_string(struct reader *r, uint64_t max, char **out, size_t *out_len,
		       const char *what)
{
	_cleanup_free_ char *text = NULL;
	uint64_t len;
	int err;

	err = read_uint(r, 8, &len, what);
	if (err < 0)
		return err_trace(err);
	if (len > left(r))
		return read_past_end(r, what);
	if (len > max)
		return parse_fail(r->msg, -E2BIG, "%s is %llu bytes long, more than %llu", what,
				  (unsigned long long)len, (unsigned long long)max);
	text = malloc((size_t)len + 1);
	if (!text)
		return parse_fail(r->msg, -ENOMEM, "out of memory for %s", what);
	err = read_bytes(r, text, len, what);
	if (err < 0)
		return err_trace(err);
	text[len] = '\0';
	if (memchr(text, '\0', (size_t)len))
		return parse_fail(r->msg, -EINVAL, "%s '%.100s' has a NUL in it", what, text);
	*out = steal_ptr(&text);
	*out_len = (size_t)len;
	return 0;
}

static int check_value_type(const struct reader *r, uint64_t type, const char *key)
{
	if (type >= GGUF_N_VALUE_TYPES)
		return parse_fail(r->msg, -EINVAL, "key '%.100s' has the unknown value type %llu",
				  key, (unsigned long long)type);
	return 0;
}

/* Skips a string or `n` of them. */
static int skip_strings(struct reader *r, uint64_t n, const char *key)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t len;
		int err = read_uint(r, 8, &len, key);

		if (err >= 0)
			err = skip_bytes(r, len, key);
		if (err < 0)
			return err_trace(err);
	}
	return 0;
}

/*
 * Skips an array, with arrays inside to a small depth. The stack is explicit because the depth
 * comes from the file.
 */
static int skip_array(struct reader *r, const char *key)
{
	uint64_t pending[GGUF_MAX_NESTING]; /* arrays still to come at each depth */
	size_t depth = 1;

	pending[0] = 1;
	while (depth) {
		uint64_t type, n;
		int err;

		if (!pending[depth - 1]) {
			depth--;
			continue;
		}
		pending[depth - 1]--;
		err = read_uint(r, 4, &type, key);
		if (err >= 0)
			err = check_value_type(r, type, key);
		if (err >= 0)
			err = read_uint(r, 8, &n, key);
		if (err < 0)
			return err_trace(err);
		if (n > left(r) / value_bytes[type])
			return r->end < r->size_bytes ?
				       read_past_end(r, key) :
				       parse_fail(
					       r->msg, -EINVAL,
					       "the array of key '%.100s' has %llu elements, more than the file holds",
					       key, (unsigned long long)n);
		if (type == GGUF_ARRAY) {
			if (depth == GGUF_MAX_NESTING)
				return parse_fail(
					r->msg, -E2BIG,
					"the arrays of key '%.100s' are nested deeper than %d", key,
					GGUF_MAX_NESTING);
			pending[depth++] = n;
			continue;
		}
		err = type == GGUF_STRING ? skip_strings(r, n, key) :
					    skip_bytes(r, n * value_bytes[type], key);
		if (err < 0)
			return err_trace(err);
	}
	return 0;
}

/* Reads any integer type; a negative value and any other type is an error. */
static int read_count(struct reader *r, uint64_t type, uint64_t *out, const char *key)
{
	uint64_t value;
	size_t n;
	int err;

	switch (type) {
	case GGUF_UINT8:
	case GGUF_INT8:
	case GGUF_UINT16:
	case GGUF_INT16:
	case GGUF_UINT32:
	case GGUF_INT32:
	case GGUF_UINT64:
	case GGUF_INT64:
		break;
	default:
		return parse_fail(r->msg, -EINVAL, "key '%.100s' is no integer (value type %llu)",
				  key, (unsigned long long)type);
	}
	n = value_bytes[type];
	err = read_uint(r, n, &value, key);
	if (err < 0)
		return err_trace(err);
	if ((type == GGUF_INT8 || type == GGUF_INT16 || type == GGUF_INT32 || type == GGUF_INT64) &&
	    value >> (8 * n - 1))
		return parse_fail(r->msg, -EINVAL, "key '%.100s' is negative", key);
	*out = value;
	return 0;
}

/* Reads a string value into a small buffer; what does not fit is left out. */
static int read_text(struct reader *r, uint64_t type, char out[GGUF_TEXT_MAX], const char *key)
{
	uint64_t len, n;
	int err;

	if (type != GGUF_STRING)
		return parse_fail(r->msg, -EINVAL, "key '%.100s' is no string (value type %llu)",
				  key, (unsigned long long)type);
	err = read_uint(r, 8, &len, key);
	if (err < 0)
		return err_trace(err);
	if (len > left(r))
		return read_past_end(r, key);
	n = len < GGUF_TEXT_MAX ? len : GGUF_TEXT_MAX - 1;
	err = read_bytes(r, out, n, key);
	out[err < 0 ? 0 : n] = '\0';
	return err < 0 ? err_trace(err) : skip_bytes(r, len - n, key);
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), n_end = strlen(end);

	return n >= n_end && !strcmp(text + n - n_end, end);
}

static int read_value(struct reader *r, const char *key, uint64_t type, struct gguf_info *info)
{
	uint64_t n;
	int err;

	if (!strcmp(key, "general.architecture"))
		return read_text(r, type, info->architecture, key);
	if (!strcmp(key, "general.name"))
		return read_text(r, type, info->name, key);
	if (!strcmp(key, "general.alignment")) {
		err = read_count(r, type, &n, key);
		if (err < 0)
			return err_trace(err);
		if (!n || n > UINT32_MAX || (n & (n - 1)))
			return parse_fail(r->msg, -EINVAL,
					  "general.alignment is %llu, not a power of two",
					  (unsigned long long)n);
		info->alignment = (uint32_t)n;
		return 0;
	}
	if (!strcmp(key, "split.no") || !strcmp(key, "split.count")) {
		err = read_count(r, type, &n, key);
		if (err < 0)
			return err_trace(err);
		if (n > GGUF_MAX_SPLITS)
			return parse_fail(r->msg, -E2BIG, "%s is %llu, more than %d", key,
					  (unsigned long long)n, GGUF_MAX_SPLITS);
		if (!strcmp(key, "split.no"))
			info->split_no = (uint32_t)n;
		else
			info->split_count = (uint32_t)n;
		return 0;
	}
	if (!strcmp(key, "split.tensors.count"))
		return read_count(r, type, &info->split_tensors, key);
	/* Only models that are used for embeddings say how they pool, or that attention is not causal. */
	if (ends_with(key, ".pooling_type") && type == GGUF_UINT32) {
		err = read_uint(r, 4, &n, key);
		info->is_encoder |= err >= 0 && n != 0;
		return err_trace(err);
	}
	if (ends_with(key, ".attention.causal") && type == GGUF_BOOL) {
		err = read_uint(r, 1, &n, key);
		info->is_encoder |= err >= 0 && !n;
		return err_trace(err);
	}

	switch (type) {
	case GGUF_STRING:
		return skip_strings(r, 1, key);
	case GGUF_ARRAY:
		return skip_array(r, key);
	default:
		return skip_bytes(r, value_bytes[type], key);
	}
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_keys(struct reader *r, uint64_t n_keys, struct gguf_keys *keys,
		     struct gguf_info *info)
{
	/* A key takes at least its length, a type and a byte of value. */
	if (n_keys > left(r) / 13)
		return parse_fail(r->msg, -EINVAL,
				  "the header says %llu keys, more than the file holds",
				  (unsigned long long)n_keys);
	if (n_keys > GGUF_MAX_KEYS)
		return parse_fail(r->msg, -E2BIG, "the header says %llu keys, more than %d",
				  (unsigned long long)n_keys, GGUF_MAX_KEYS);
	keys->names = calloc((size_t)n_keys + 1, sizeof(*keys->names));
	if (!keys->names)
		return parse_fail(r->msg, -ENOMEM, "out of memory for %llu keys",
				  (unsigned long long)n_keys);

	while (keys->n < n_keys) {
		char **key = &keys->names[keys->n];
		uint64_t type;
		size_t len;
		int err;

		err = read_string(r, GGUF_MAX_KEY_LEN, key, &len, "a key");
		if (err < 0)
			return err_trace(err);
		keys->n++;
		if (!len)
			return parse_fail(r->msg, -EINVAL, "key %zu has an empty name",
					  keys->n - 1);
		err = read_uint(r, 4, &type, "a key's type");
		if (err >= 0)
			err = check_value_type(r, type, *key);
		if (err >= 0)
			err = read_value(r, *key, type, info);
		if (err < 0)
			return err_trace(err);
	}

	qsort(keys->names, keys->n, sizeof(*keys->names), compare_texts);
	for (size_t i = 1; i < keys->n; i++)
		if (!strcmp(keys->names[i - 1], keys->names[i]))
			return parse_fail(r->msg, -EINVAL, "key '%.100s' is there twice",
					  keys->names[i]);
	return 0;
}

/* Computes a tensor's bytes from its type and the dimensions as the file has them, innermost first. */
static int tensor_bytes(const struct reader *r, struct vram_tensor *tensor, uint64_t type,
			const uint64_t *dims, const char *name)
{
	uint64_t inner = tensor->n_dims ? dims[0] : 1;
	uint64_t n;

	if (type >= N_TENSOR_TYPES || !tensor_types[type].name)
		return parse_fail(r->msg, -ENOTSUP, "tensor '%.100s' has the unknown type %llu",
				  name, (unsigned long long)type);
	tensor->type = tensor_types[type].name;
	if (inner % tensor_types[type].elements)
		return parse_fail(
			r->msg, -EINVAL,
			"tensor '%.100s' has rows of %llu elements, not a multiple of %s's %u",
			name, (unsigned long long)inner, tensor->type, tensor_types[type].elements);
	n = inner / tensor_types[type].elements;
	if (__builtin_mul_overflow(n, (uint64_t)tensor_types[type].bytes, &n))
		goto too_large;
	for (uint32_t i = 1; i < tensor->n_dims; i++)
		if (__builtin_mul_overflow(n, dims[i], &n))
			goto too_large;
	tensor->bytes = n;
	return 0;

too_large:
	return parse_fail(r->msg, -EINVAL, "tensor '%.100s' has dimensions whose product overflows",
			  name);
}

/* Reads one tensor's description. Its offset is still that within the data. */
static int read_tensor(struct reader *r, uint32_t file, struct tensor_list *list)
{
	_cleanup_free_ char *name = NULL;
	struct vram_tensor tensor = { .file = file };
	uint64_t dims[GGUF_MAX_DIMS];
	uint64_t n_dims, type;
	size_t len;
	int err;

	err = read_string(r, VRAM_TENSOR_NAME_MAX, &name, &len, "a tensor's name");
	if (err < 0)
		return err_trace(err);
	if (!len)
		return parse_fail(r->msg, -EINVAL, "tensor %zu has an empty name", list->n);
	err = read_uint(r, 4, &n_dims, "a tensor's dimensions");
	if (err < 0)
		return err_trace(err);
	if (n_dims > GGUF_MAX_DIMS)
		return parse_fail(r->msg, -EINVAL,
				  "tensor '%.100s' has %llu dimensions, more than %d", name,
				  (unsigned long long)n_dims, GGUF_MAX_DIMS);
	tensor.n_dims = (uint32_t)n_dims;
	for (uint32_t i = 0; i < tensor.n_dims; i++) {
		err = read_uint(r, 8, &dims[i], "a tensor's dimensions");
		if (err < 0)
			return err_trace(err);
		tensor.dims[tensor.n_dims - 1 - i] = dims[i];
	}
	err = read_uint(r, 4, &type, "a tensor's type");
	if (err >= 0)
		err = tensor_bytes(r, &tensor, type, dims, name);
	if (err >= 0)
		err = read_uint(r, 8, &tensor.offset, "a tensor's offset");
	if (err < 0)
		return err_trace(err);
	return err_trace(tensor_list_add(list, &tensor, name, len, r->msg));
}

/* Turns offsets within the data into offsets within the file and checks them against its size. */
static int place_tensors(const struct reader *r, struct tensor_list *list, size_t first,
			 struct gguf_info *info)
{
	uint64_t mask = info->alignment - 1;

	/* Positions are below 2^63 and an alignment below 2^32. */
	info->data_offset = (r->pos + mask) & ~mask;
	for (size_t i = first; i < list->n; i++) {
		struct vram_tensor *t = &list->tensors[i];
		uint64_t end;

		if (t->offset & mask)
			return parse_fail(
				r->msg, -EINVAL,
				"tensor '%.100s' begins at %llu, not a multiple of the alignment %u",
				t->name, (unsigned long long)t->offset, info->alignment);
		if (__builtin_add_overflow(t->offset, info->data_offset, &t->offset) ||
		    __builtin_add_overflow(t->offset, t->bytes, &end))
			return parse_fail(r->msg, -EINVAL,
					  "tensor '%.100s' has an offset that overflows", t->name);
		if (end > r->size_bytes)
			return parse_fail(
				r->msg, -EINVAL,
				"tensor '%.100s' ends at %llu beyond the file's %llu bytes",
				t->name, (unsigned long long)end,
				(unsigned long long)r->size_bytes);
	}
	return 0;
}

static int read_version(struct reader *r, struct gguf_info *info)
{
	uint8_t magic[4];
	uint64_t version;
	int err;

	err = read_bytes(r, magic, sizeof(magic), "the magic");
	if (err < 0)
		return err_trace(err);
	if (memcmp(magic, GGUF_MAGIC, sizeof(magic)))
		return parse_fail(r->msg, -EINVAL,
				  "no GGUF file: it begins with %02x %02x %02x %02x", magic[0],
				  magic[1], magic[2], magic[3]);
	err = read_uint(r, 4, &version, "the version");
	if (err < 0)
		return err_trace(err);
	if (version && !(version & 0xffff))
		return parse_fail(
			r->msg, -ENOTSUP,
			"a GGUF file for big-endian machines; convert it to little-endian");
	if (version == 1)
		return parse_fail(r->msg, -ENOTSUP,
				  "GGUF version 1 is too old; convert the model to version 2 or 3");
	if (version != 2 && version != 3)
		return parse_fail(r->msg, -ENOTSUP,
				  "GGUF version %llu is unknown; 2 and 3 are known",
				  (unsigned long long)version);
	info->version = (uint32_t)version;
	return 0;
}

static int check_split(const struct reader *r, const struct gguf_info *info)
{
	if (!info->split_count)
		return parse_fail(r->msg, -EINVAL, "split.count is 0");
	if (info->split_no >= info->split_count)
		return parse_fail(r->msg, -EINVAL, "split.no is %u, but split.count is %u",
				  info->split_no, info->split_count);
	return 0;
}

static int read_header(struct reader *r, uint32_t file, struct gguf_keys *keys,
		       struct tensor_list *list, struct gguf_info *info)
{
	size_t first = list->n;
	uint64_t n_tensors, n_keys;
	int err;

	err = read_version(r, info);
	if (err >= 0)
		err = read_uint(r, 8, &n_tensors, "the number of tensors");
	if (err >= 0)
		err = read_uint(r, 8, &n_keys, "the number of keys");
	if (err < 0)
		return err_trace(err);
	err = read_keys(r, n_keys, keys, info);
	if (err >= 0)
		err = check_split(r, info);
	if (err < 0)
		return err_trace(err);

	/* A tensor takes at least a name of one byte, its length, dimensions, type and offset. */
	if (n_tensors > left(r) / 25)
		return parse_fail(r->msg, -EINVAL,
				  "the header says %llu tensors, more than the file holds",
				  (unsigned long long)n_tensors);
	for (uint64_t i = 0; i < n_tensors; i++) {
		err = read_tensor(r, file, list);
		if (err < 0)
			return err_trace(err);
	}
	return err_trace(place_tensors(r, list, first, info));
}

int gguf_parse(int fd, uint64_t size_bytes, uint32_t file, struct tensor_list *list,
	       struct gguf_info *out_info, const struct parse_msg *msg)
{
	struct gguf_info info = { .alignment = GGUF_DEFAULT_ALIGNMENT, .split_count = 1 };
	_cleanup_free_ uint8_t *window = malloc(WINDOW_BYTES);
	struct gguf_keys keys = { 0 };
	struct reader r = {
		.fd = fd,
		.size_bytes = size_bytes,
		.end = size_bytes < GGUF_MAX_HEADER ? size_bytes : GGUF_MAX_HEADER,
		.msg = msg,
		.window = window,
	};
	int err;

	if (!window)
		return parse_fail(msg, -ENOMEM, "out of memory");
	err = read_header(&r, file, &keys, list, &info);
	for (size_t i = 0; i < keys.n; i++)
		free(keys.names[i]);
	free(keys.names);
	if (err < 0)
		return err_trace(err);
	*out_info = info;
	return 0;
}

/* Reads "-00001-of-00005.gguf" at the end of a path. Return: its length, 0 if there is none. */
static size_t split_suffix(const char *path, uint32_t *out_no, uint32_t *out_count)
{
	static const char pattern[] = "-ddddd-of-ddddd.gguf";
	size_t n = sizeof(pattern) - 1;
	size_t len = strlen(path);
	const char *end;

	if (len <= n)
		return 0;
	end = path + len - n;
	for (size_t i = 0; i < n; i++)
		if (pattern[i] == 'd' ? end[i] < '0' || end[i] > '9' : end[i] != pattern[i])
			return 0;
	*out_no = (uint32_t)strtoul(end + 1, NULL, 10);
	*out_count = (uint32_t)strtoul(end + 10, NULL, 10);
	return n;
}

int gguf_split_path(const char *path, uint32_t its_no, uint32_t no, uint32_t count, char *buf,
		    size_t size)
{
	uint32_t named_no, named_count;
	size_t n = split_suffix(path, &named_no, &named_count);
	int len;

	if (!n || named_no != its_no + 1 || named_count != count)
		return -EINVAL;
	len = snprintf(buf, size, "%.*s-%05u-of-%05u.gguf", (int)(strlen(path) - n), path, no + 1,
		       count);
	return len < 0 || (size_t)len >= size ? -ENAMETOOLONG : 0;
}
