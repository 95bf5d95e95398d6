/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * Reads the header of a GGUF file: the few keys that matter to paging, and every tensor.
 */
#ifndef VRAM_LIBCLIENT_GGUF_H
#define VRAM_LIBCLIENT_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libclient/tensors.h"

#define GGUF_MAGIC "GGUF"

#define GGUF_TEXT_MAX 128

struct gguf_info {
	uint32_t version;
	uint32_t alignment;
	uint64_t data_offset; /* where tensor data begins */
	uint32_t split_no;
	uint32_t split_count;	/* 1 if the file is not split */
	uint64_t split_tensors; /* of all parts together; 0 if the file does not say */
	bool is_encoder; /* the model pools embeddings or attends both ways: it has no output head */
	char architecture[GGUF_TEXT_MAX]; /* "" if the file does not say; cut if too long */
	char name[GGUF_TEXT_MAX];
};

/*
 * Parses one file of size_bytes and appends its tensors to list, with `file` as their file.
 * Only reads with pread. Whether tensors overlap is tensor_list_check()'s work.
 * Return: 0, or one of the errors that layout.h lists.
 */
int gguf_parse(int fd, uint64_t size_bytes, uint32_t file, struct tensor_list *list,
	       struct gguf_info *out_info, const struct parse_msg *msg);

/*
 * Writes the path of part `no` (from 0) of `count`, given the path of any part: the name must
 * end in -00001-of-00005.gguf, with the numbers of that part.
 * Return: 0, -EINVAL if the name has not that form or other numbers, -ENAMETOOLONG.
 */
int gguf_split_path(const char *path, uint32_t its_no, uint32_t no, uint32_t count, char *buf,
		    size_t size);

#endif
