/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether NVIDIA's management library lists a process, and with how much memory. */
#ifndef VRAM_TESTS_GPU_LISTED_H
#define VRAM_TESTS_GPU_LISTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct nvml;

struct listed {
	struct nvml *nvml; /* NULL: cannot be asked */
	int index;	   /* of the card */
	char reason[96];   /* why it cannot be asked */
};

/* pci: as CUDA writes it. */
void listed_open(struct listed *listed, const char *pci);

enum listed_found {
	LISTED_FAILED,
	LISTED_ABSENT,
	LISTED_PRESENT
};
/* *out_bytes: UINT64_MAX where it is not told. A process of another pid namespace is never found. */
enum listed_found listed_process(struct listed *listed, pid_t pid, uint64_t *out_bytes,
				 size_t *out_n);

#endif
