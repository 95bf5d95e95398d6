/* SPDX-License-Identifier: GPL-2.0-only */
/* The kinds of host memory that a card's driver might be asked to pin. */
#ifndef VRAM_TESTS_GPU_HOST_MEMORY_H
#define VRAM_TESTS_GPU_HOST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

enum host_kind {
	HOST_ANONYMOUS,
	HOST_ANONYMOUS_THP,
	HOST_MEMFD,
	HOST_MEMFD_THP,
	HOST_MEMFD_HUGETLB,
	HOST_MODULE, /* a residency table of /dev/vram */
	HOST_KINDS
};

struct host_memory {
	void *p;
	size_t bytes; /* may be less than what was asked for */
	int fd;	      /* or -1 */
};

const char *host_kind_name(enum host_kind kind);
/* Maps it shared where it has a file, and touches all of it. Return: NULL, or why there is none here. */
const char *host_memory_new(struct host_memory *memory, enum host_kind kind, size_t bytes);
void host_memory_free(struct host_memory *memory);
/* Whether the kernel has really put huge pages there. */
bool host_memory_is_huge(const struct host_memory *memory);

#endif
