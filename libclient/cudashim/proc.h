/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * Which address of the driver's has a function of ours in front of it.
 *
 * A program that looks functions up (cuGetProcAddress, as cudart does for all of them) gets the driver's answer, unless
 * that is the address of a function that we stand in front of. Names, versions and flags are the driver's to
 * understand: whoever decides by them goes wrong with the first form that he does not know.
 *
 * The driver may hand out another address than its library exports, so it is also asked for each function, in the
 * version that means this form and no other, and what it answers is learnt. Pure; filled once, then read without a lock.
 */
#ifndef VRAM_LIBCLIENT_CUDASHIM_PROC_H
#define VRAM_LIBCLIENT_CUDASHIM_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cuda_abi.h"

/* Some 200 functions, with up to three addresses each. */
#define PROC_SLOTS 2048u

struct proc_table {
	struct proc_entry {
		void *real;
		void *ours;
	} entries[PROC_SLOTS];
	size_t n;
};

/* The v2 form of the driver's look-up; NULL where it has only an older one. */
typedef cuda_result proc_get_fn(const char *name, void **out_pfn, int version, uint64_t flags,
				int *out_found);

/* The first address counts: one that is known already stays with what it stands for. */
void proc_add(struct proc_table *table, void *real, void *ours);
/* Return: what to hand out instead; `real` itself for all that is not ours. */
void *proc_replace(const struct proc_table *table, void *real);

/*
 * Asks the driver for the function that it exports as `symbol` and knows under `version`, and adds what it
 * answers. Nothing is added for version 0.
 */
void proc_learn(struct proc_table *table, proc_get_fn *get, const char *symbol, int version,
		void *ours);

/*
 * "cuMemAlloc_v2_ptsz" is "cuMemAlloc" to the driver's look-up. Return: false if out is too small.
 * *out_per_thread: it is a form for per-thread default streams.
 */
bool proc_base(const char *symbol, char *out, size_t size, bool *out_per_thread);

#endif
