/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * Reads the header of a safetensors file and the index of a sharded model.
 */
#ifndef VRAM_LIBCLIENT_SAFETENSORS_H
#define VRAM_LIBCLIENT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "libclient/tensors.h"

/*
 * Parses one file of size_bytes and appends its tensors to list, with `file` as their file, in the order of
 * their offsets. Only reads with pread.
 * Return: 0, or one of the errors that layout.h lists.
 */
int safetensors_parse(int fd, uint64_t size_bytes, uint32_t file, struct tensor_list *list,
		      const struct parse_msg *msg);

/* A model.safetensors.index.json: which tensor is in which file of the same directory. */
struct safetensors_index {
	char **files; /* plain names without '/', sorted, each once */
	uint32_t n_files;
	struct safetensors_entry {
		char *name;
		uint32_t file;
	} * entries; /* sorted by name */
	size_t n_entries;
};

/*
 * Parses an index. max_files limits how many files it may name.
 * Return: 0, or one of the errors that layout.h lists.
 */
int safetensors_index_parse(int fd, uint64_t size_bytes, uint32_t max_files,
			    struct safetensors_index *out_index, const struct parse_msg *msg);

void safetensors_index_deinit(struct safetensors_index *index);

/*
 * Checks that every tensor of the index is in the file that the index names; the list's file
 * numbers must be those of the index. Tensors that the index does not mention are fine.
 * Return: 0, -EINVAL, -ENOMEM.
 */
int safetensors_index_check(const struct safetensors_index *index, const struct tensor_list *list,
			    const struct parse_msg *msg);

/*
 * Guesses the index of a shard from the shard's path: model-00001-of-00003.safetensors has
 * model.safetensors.index.json beside it.
 * Return: 0, -EINVAL if the path is not that of a shard, -ENAMETOOLONG.
 */
int safetensors_index_path(const char *shard_path, char *buf, size_t size);

#endif
