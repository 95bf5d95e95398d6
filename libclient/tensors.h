/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The tensors that a model file names: what the GGUF and the safetensors parser produce and what
 * layout.c groups into layers.
 *
 * A list belongs to whoever declared it. Parsers append to it; on failure the list
 * may hold some of the failed file's tensors and is only good for tensor_list_deinit().
 */
#ifndef VRAM_LIBCLIENT_TENSORS_H
#define VRAM_LIBCLIENT_TENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* GGUF has at most 4 dimensions; no engine that we know stores a weight with more than 5. */
#define VRAM_TENSOR_MAX_DIMS 8

/* Most tensors of one model. The largest models that exist have about 100,000. */
#define VRAM_TENSOR_MAX 1000000

/* The longest tensor name; GGUF itself allows 64 bytes, safetensors anything. */
#define VRAM_TENSOR_NAME_MAX 1024

struct vram_tensor {
	char *name;
	const char *type; /* static: "Q8_0", "BF16" */
	uint32_t file;	  /* which of the model's files */
	uint32_t n_dims;
	uint64_t dims[VRAM_TENSOR_MAX_DIMS]; /* outermost first, for GGUF too */
	uint64_t offset;		     /* bytes, in the file */
	uint64_t bytes;			     /* 0 for a tensor without elements */
};

struct tensor_list {
	struct vram_tensor *tensors;
	size_t n;
	size_t n_allocated;
};

void tensor_list_deinit(struct tensor_list *list);

/*
 * Where a parser tells people what is wrong with a file. Text from the file is shown with
 * everything but printable ASCII replaced, so it may go to a terminal.
 */
struct parse_msg {
	char *text; /* the caller's; may be NULL */
	size_t size;
};

/* Room for any message; longer ones are cut. */
#define PARSE_MSG_MAX 512

/* Writes the message. Value: err, a negative errno. */
#define parse_fail(msg, err, ...) err_origin(parse_fail_at((msg), (err), __VA_ARGS__))
int parse_fail_at(const struct parse_msg *msg, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * A string out of a file that is not NUL-terminated, for use in a message with "%.*s": so long
 * a name does not push the rest of the message out.
 */
#define PARSE_SHOWN(s, n) (int)((n) > 100 ? 100 : (n)), (s)

/*
 * Appends a tensor, whose name is copied; type stays a borrowed static string.
 * Return: 0, -E2BIG beyond VRAM_TENSOR_MAX, -ENOMEM.
 */
int tensor_list_add(struct tensor_list *list, const struct vram_tensor *tensor, const char *name,
		    size_t name_bytes, const struct parse_msg *msg);

/*
 * Checks the tensors of all files together: no name twice, no byte of a file in two tensors.
 * Return: 0, -EINVAL, -ENOMEM.
 */
int tensor_list_check(const struct tensor_list *list, const struct parse_msg *msg);

/*
 * Reads exactly len bytes. The file's size was checked before, so an early end means that it shrank.
 * Return: 0, -ESTALE, or -errno.
 */
int file_read_exact(int fd, void *buf, size_t len, uint64_t offset, const struct parse_msg *msg);

#endif
