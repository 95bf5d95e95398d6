// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * A safetensors file is the length of its header (8 bytes, little endian), the header, a JSON
 * object, and the tensors' bytes. The header maps a tensor's name to its type, shape and the two
 * ends of its bytes, counted from the end of the header; "__metadata__" may map strings to
 * strings. The tensors must cover all bytes up to the end of the file, without a gap and
 * without sharing any (the format's description, README.md of huggingface/safetensors; dtypes
 * as of its version 0.8).
 *
 * The JSON comes from a hostile file and the library builds a tree of it, at up to
 * 20 times the bytes for something like [0,0,0,...]. So the text is scanned first: depth and number of
 * values are limited before anything is built.
 */
#include "libclient/safetensors.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

/* The reference implementation's own limit. */
#define MAX_JSON_BYTES 100000000ull

/* Bounds the tree's memory to 0.7 GB, measured. A tensor takes about 10 values. */
#define MAX_JSON_VALUES 4000000u
#define MAX_JSON_DEPTH	8

#define METADATA "__metadata__"

static const struct {
	const char *name;
	uint8_t bits;
} dtypes[] = {
	{ "BOOL", 8 },	  { "F4", 4 },		{ "F6_E2M3", 6 },     { "F6_E3M2", 6 },
	{ "U8", 8 },	  { "I8", 8 },		{ "F8_E5M2", 8 },     { "F8_E4M3", 8 },
	{ "F8_E8M0", 8 }, { "F8_E4M3FNUZ", 8 }, { "F8_E5M2FNUZ", 8 }, { "I16", 16 },
	{ "U16", 16 },	  { "F16", 16 },	{ "BF16", 16 },	      { "I32", 32 },
	{ "U32", 32 },	  { "F32", 32 },	{ "C64", 64 },	      { "F64", 64 },
	{ "I64", 64 },	  { "U64", 64 },
};

static void json_put(json_t *json)
{
	json_decref(json);
}
DEFINE_CLEANUP(json_t *, json_put);

/*
 * Counts what a parser would build, without believing that the text is JSON: brackets and commas
 * outside strings.
 */
static int scan_json(const char *text, size_t len, const struct parse_msg *msg)
{
	size_t values = 0, depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			values++;
			if (++depth > MAX_JSON_DEPTH)
				return parse_fail(msg, -E2BIG,
						  "the JSON text is nested deeper than %d",
						  MAX_JSON_DEPTH);
		} else if (c == '}' || c == ']') {
			depth -= depth > 0;
		} else if (c == ',') {
			values++;
		}
		if (values > MAX_JSON_VALUES)
			return parse_fail(msg, -E2BIG, "the JSON text has more than %u values",
					  MAX_JSON_VALUES);
	}
	return 0;
}

/* Reads and parses len bytes of JSON that must be an object. *out is the caller's. */
static int read_json(int fd, uint64_t offset, uint64_t len, json_t **out,
		     const struct parse_msg *msg)
{
	_cleanup_free_ char *text = NULL;
	json_error_t error;
	int err;

	if (len > MAX_JSON_BYTES)
		return parse_fail(msg, -E2BIG, "the JSON text is %llu bytes long, more than %llu",
				  (unsigned long long)len, MAX_JSON_BYTES);
	text = malloc((size_t)len + 1);
	if (!text)
		return parse_fail(msg, -ENOMEM, "out of memory for %llu bytes of JSON",
				  (unsigned long long)len);
	err = file_read_exact(fd, text, (size_t)len, offset, msg);
	if (err < 0)
		return err_trace(err);
	/* The format wants the brace to be the very first byte: it tells the file from others. */
	if (!len || text[0] != '{')
		return parse_fail(msg, -EINVAL, "the JSON text does not begin with '{'");
	err = scan_json(text, (size_t)len, msg);
	if (err < 0)
		return err_trace(err);
	*out = json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES, &error);
	if (*out)
		return 0;
	/* Out of memory is the one failure that the library has no words for, nor always a code. */
	if (!error.text[0] || json_error_code(&error) == json_error_out_of_memory)
		return parse_fail(msg, -ENOMEM, "out of memory for the JSON text");
	return parse_fail(msg, -EINVAL, "the JSON text is not valid at byte %d: %s", error.position,
			  error.text);
}

/* Return: 0, -EINVAL if the value is no integer or negative. */
static int get_uint(const json_t *json, uint64_t *out)
{
	if (!json_is_integer(json) || json_integer_value(json) < 0)
		return -EINVAL;
	*out = (uint64_t)json_integer_value(json);
	return 0;
}

static int check_metadata(const json_t *metadata, const struct parse_msg *msg)
{
	const char *key;
	json_t *value;

	if (!json_is_object(metadata))
		return parse_fail(msg, -EINVAL, METADATA " is not an object");
	json_object_foreach((json_t *)metadata, key, value)
		if (!json_is_string(value))
			return parse_fail(msg, -EINVAL,
					  METADATA " has '%.100s' that is not a string", key);
	return 0;
}

static int parse_dtype(const json_t *dtype, struct vram_tensor *tensor, uint8_t *out_bits,
		       const char *name, const struct parse_msg *msg)
{
	if (!json_is_string(dtype))
		return parse_fail(msg, -EINVAL, "tensor '%.100s' has no dtype", name);
	for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++) {
		if (strcmp(json_string_value(dtype), dtypes[i].name))
			continue;
		tensor->type = dtypes[i].name;
		*out_bits = dtypes[i].bits;
		return 0;
	}
	return parse_fail(msg, -ENOTSUP, "tensor '%.100s' has the unknown dtype '%.40s'", name,
			  json_string_value(dtype));
}

static int parse_shape(const json_t *shape, struct vram_tensor *tensor, uint8_t bits,
		       const char *name, const struct parse_msg *msg)
{
	uint64_t n = bits;

	if (!json_is_array(shape))
		return parse_fail(msg, -EINVAL, "tensor '%.100s' has no shape", name);
	if (json_array_size(shape) > VRAM_TENSOR_MAX_DIMS)
		return parse_fail(msg, -E2BIG, "tensor '%.100s' has %zu dimensions, more than %d",
				  name, json_array_size(shape), VRAM_TENSOR_MAX_DIMS);
	tensor->n_dims = (uint32_t)json_array_size(shape);
	for (uint32_t i = 0; i < tensor->n_dims; i++) {
		if (get_uint(json_array_get(shape, i), &tensor->dims[i]) < 0)
			return parse_fail(msg, -EINVAL,
					  "tensor '%.100s' has a dimension that is not a count",
					  name);
		if (__builtin_mul_overflow(n, tensor->dims[i], &n))
			return parse_fail(msg, -EINVAL,
					  "tensor '%.100s' has a shape whose product overflows",
					  name);
	}
	if (n % 8)
		return parse_fail(msg, -EINVAL, "tensor '%.100s' does not fill whole bytes", name);
	tensor->bytes = n / 8;
	return 0;
}

static int parse_tensor(const json_t *json, const char *name, uint64_t data_offset,
			uint64_t size_bytes, struct vram_tensor *tensor,
			const struct parse_msg *msg)
{
	const json_t *offsets = json_object_get(json, "data_offsets");
	uint64_t begin, end;
	uint8_t bits = 0;
	int err;

	if (!json_is_object(json))
		return parse_fail(msg, -EINVAL, "tensor '%.100s' is not an object", name);
	if (json_object_size(json) > 3)
		return parse_fail(msg, -EINVAL,
				  "tensor '%.100s' has more than dtype, shape and data_offsets",
				  name);
	err = parse_dtype(json_object_get(json, "dtype"), tensor, &bits, name, msg);
	if (err < 0)
		return err;
	err = parse_shape(json_object_get(json, "shape"), tensor, bits, name, msg);
	if (err < 0)
		return err;
	if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
	    get_uint(json_array_get(offsets, 0), &begin) < 0 ||
	    get_uint(json_array_get(offsets, 1), &end) < 0 || begin > end)
		return parse_fail(msg, -EINVAL, "tensor '%.100s' has no valid data_offsets", name);
	if (end - begin != tensor->bytes)
		return parse_fail(msg, -EINVAL, "tensor '%.100s' needs %llu bytes, but has %llu",
				  name, (unsigned long long)tensor->bytes,
				  (unsigned long long)(end - begin));
	/* Both are below 2^63. */
	if (end + data_offset > size_bytes)
		return parse_fail(msg, -EINVAL,
				  "tensor '%.100s' ends at %llu beyond the file's %llu bytes", name,
				  (unsigned long long)(end + data_offset),
				  (unsigned long long)size_bytes);
	tensor->offset = begin + data_offset;
	return 0;
}

static int compare_offsets(const void *a, const void *b)
{
	const struct vram_tensor *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* Sorts the file's tensors by place and checks that they cover its data exactly. */
static int check_coverage(struct tensor_list *list, size_t first, uint64_t data_offset,
			  uint64_t size_bytes, const struct parse_msg *msg)
{
	uint64_t at = data_offset;

	if (list->n > first)
		qsort(list->tensors + first, list->n - first, sizeof(*list->tensors),
		      compare_offsets);
	for (size_t i = first; i < list->n; i++) {
		const struct vram_tensor *t = &list->tensors[i];

		if (t->offset < at)
			return parse_fail(msg, -EINVAL, "tensor '%.100s' overlaps another one",
					  t->name);
		if (t->offset > at)
			return parse_fail(msg, -EINVAL,
					  "there is a gap of %llu bytes before tensor '%.100s'",
					  (unsigned long long)(t->offset - at), t->name);
		at += t->bytes;
	}
	if (at != size_bytes)
		return parse_fail(msg, -EINVAL,
				  "the tensors end at %llu, but the file has %llu bytes",
				  (unsigned long long)at, (unsigned long long)size_bytes);
	return 0;
}

int safetensors_parse(int fd, uint64_t size_bytes, uint32_t file, struct tensor_list *list,
		      const struct parse_msg *msg)
{
	_cleanup_(json_putp) json_t *header = NULL;
	size_t first = list->n;
	uint64_t header_bytes = 0;
	uint8_t length[8];
	const char *name;
	json_t *json;
	int err;

	if (size_bytes < sizeof(length))
		return parse_fail(msg, -EINVAL, "the file ends within the header's length");
	err = file_read_exact(fd, length, sizeof(length), 0, msg);
	if (err < 0)
		return err_trace(err);
	for (size_t i = sizeof(length); i > 0; i--)
		header_bytes = header_bytes << 8 | length[i - 1];
	if (header_bytes > size_bytes - sizeof(length))
		return parse_fail(msg, -EINVAL,
				  "the header of %llu bytes ends beyond the file's %llu bytes",
				  (unsigned long long)header_bytes, (unsigned long long)size_bytes);
	err = read_json(fd, sizeof(length), header_bytes, &header, msg);
	if (err < 0)
		return err_trace(err);

	json_object_foreach(header, name, json) {
		struct vram_tensor tensor = { .file = file };
		size_t len = strlen(name);

		if (!strcmp(name, METADATA)) {
			err = check_metadata(json, msg);
			if (err < 0)
				return err_trace(err);
			continue;
		}
		if (!len)
			return parse_fail(msg, -EINVAL, "a tensor has an empty name");
		if (len > VRAM_TENSOR_NAME_MAX)
			return parse_fail(msg, -E2BIG,
					  "the name of tensor '%.100s' is longer than %d", name,
					  VRAM_TENSOR_NAME_MAX);
		err = parse_tensor(json, name, sizeof(length) + header_bytes, size_bytes, &tensor,
				   msg);
		if (err >= 0)
			err = tensor_list_add(list, &tensor, name, len, msg);
		if (err < 0)
			return err_trace(err);
	}
	return err_trace(
		check_coverage(list, first, sizeof(length) + header_bytes, size_bytes, msg));
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp(((const struct safetensors_entry *)a)->name,
		      ((const struct safetensors_entry *)b)->name);
}

/* The name comes from the index and is opened in the index's directory: it must stay there. */
static bool is_plain_name(const char *name)
{
	return *name && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..") &&
	       strlen(name) <= 255;
}

/* Fills index->files with the different file names of the map, sorted. */
static int collect_files(const json_t *map, uint32_t max_files, struct safetensors_index *index,
			 const struct parse_msg *msg)
{
	_cleanup_free_ const char **names = calloc(json_object_size(map) + 1, sizeof(*names));
	const char *key;
	json_t *value;
	size_t n = 0, n_files = 0;

	if (!names)
		return parse_fail(msg, -ENOMEM, "out of memory for the index");
	json_object_foreach((json_t *)map, key, value) {
		if (!json_is_string(value))
			return parse_fail(msg, -EINVAL, "tensor '%.100s' of the index has no file",
					  key);
		if (!is_plain_name(json_string_value(value)))
			return parse_fail(
				msg, -EINVAL,
				"tensor '%.100s' of the index is in '%.100s', not a file beside it",
				key, json_string_value(value));
		names[n++] = json_string_value(value);
	}
	if (n)
		qsort(names, n, sizeof(*names), compare_texts);
	for (size_t i = 0; i < n; i++)
		if (!i || strcmp(names[i - 1], names[i]))
			names[n_files++] = names[i];
	if (n_files > max_files)
		return parse_fail(msg, -E2BIG, "the index names %zu files, more than %u", n_files,
				  max_files);

	index->files = calloc(n_files + 1, sizeof(*index->files));
	if (!index->files)
		return parse_fail(msg, -ENOMEM, "out of memory for the index");
	for (size_t i = 0; i < n_files; i++) {
		index->files[i] = strdup(names[i]);
		if (!index->files[i])
			return parse_fail(msg, -ENOMEM, "out of memory for the index");
		index->n_files++;
	}
	return 0;
}

static int collect_entries(const json_t *map, struct safetensors_index *index,
			   const struct parse_msg *msg)
{
	const char *key;
	json_t *value;

	index->entries = calloc(json_object_size(map) + 1, sizeof(*index->entries));
	if (!index->entries)
		return parse_fail(msg, -ENOMEM, "out of memory for the index");
	json_object_foreach((json_t *)map, key, value) {
		const char *file = json_string_value(value);
		struct safetensors_entry *entry = &index->entries[index->n_entries];
		char **found = bsearch(&file, index->files, index->n_files, sizeof(*index->files),
				       compare_texts);

		entry->name = strdup(key);
		if (!entry->name)
			return parse_fail(msg, -ENOMEM, "out of memory for the index");
		entry->file = (uint32_t)(found - index->files);
		index->n_entries++;
	}
	qsort(index->entries, index->n_entries, sizeof(*index->entries), compare_entries);
	return 0;
}

int safetensors_index_parse(int fd, uint64_t size_bytes, uint32_t max_files,
			    struct safetensors_index *out_index, const struct parse_msg *msg)
{
	_cleanup_(json_putp) json_t *json = NULL;
	struct safetensors_index index = { 0 };
	const json_t *map;
	int err;

	err = read_json(fd, 0, size_bytes, &json, msg);
	if (err < 0)
		return err_trace(err);
	map = json_object_get(json, "weight_map");
	if (!json_is_object(map) || !json_object_size(map))
		return parse_fail(msg, -EINVAL, "the index has no weight_map");
	if (json_object_size(map) > VRAM_TENSOR_MAX)
		return parse_fail(msg, -E2BIG, "the index has more than %d tensors",
				  VRAM_TENSOR_MAX);
	err = collect_files(map, max_files, &index, msg);
	if (err >= 0)
		err = collect_entries(map, &index, msg);
	if (err < 0) {
		safetensors_index_deinit(&index);
		return err_trace(err);
	}
	*out_index = index;
	return 0;
}

void safetensors_index_deinit(struct safetensors_index *index)
{
	for (uint32_t i = 0; i < index->n_files; i++)
		free(index->files[i]);
	free(index->files);
	for (size_t i = 0; i < index->n_entries; i++)
		free(index->entries[i].name);
	free(index->entries);
	*index = (struct safetensors_index){ 0 };
}

int safetensors_index_check(const struct safetensors_index *index, const struct tensor_list *list,
			    const struct parse_msg *msg)
{
	_cleanup_free_ bool *seen = calloc(index->n_entries + 1, sizeof(*seen));

	if (!seen)
		return parse_fail(msg, -ENOMEM, "out of memory for the index");
	for (size_t i = 0; i < list->n; i++) {
		const struct vram_tensor *t = &list->tensors[i];
		const struct safetensors_entry key = { .name = t->name };
		const struct safetensors_entry *entry = bsearch(
			&key, index->entries, index->n_entries, sizeof(key), compare_entries);

		if (!entry)
			continue;
		if (entry->file != t->file)
			return parse_fail(msg, -EINVAL,
					  "tensor '%.100s' is not in '%.100s', as the index says",
					  t->name, index->files[entry->file]);
		seen[entry - index->entries] = true;
	}
	for (size_t i = 0; i < index->n_entries; i++)
		if (!seen[i])
			return parse_fail(msg, -EINVAL,
					  "tensor '%.100s' is not in '%.100s', as the index says",
					  index->entries[i].name,
					  index->files[index->entries[i].file]);
	return 0;
}

int safetensors_index_path(const char *shard_path, char *buf, size_t size)
{
	static const char pattern[] = "-ddddd-of-ddddd.safetensors";
	size_t n = sizeof(pattern) - 1;
	size_t len = strlen(shard_path);
	const char *end;
	int written;

	if (len <= n)
		return -EINVAL;
	end = shard_path + len - n;
	for (size_t i = 0; i < n; i++)
		if (pattern[i] == 'd' ? end[i] < '0' || end[i] > '9' : end[i] != pattern[i])
			return -EINVAL;
	written = snprintf(buf, size, "%.*s.safetensors.index.json", (int)(len - n), shard_path);
	return written < 0 || (size_t)written >= size ? -ENAMETOOLONG : 0;
}
