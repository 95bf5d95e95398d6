/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * Where our mappings are: what munmap(), madvise() and their like ask before anything else.
 *
 * Those calls come from everywhere, from inside allocators too, and nearly never mean us. So the question is
 * answered without a lock and without memory: a fixed table under a sequence count. Writers exclude each other (maps_lock).
 */
#ifndef VRAM_LIBCLIENT_PRELOAD_RANGES_H
#define VRAM_LIBCLIENT_PRELOAD_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Mappings and fragments of mappings in one process; the daemon allows 1024 itself. */
#define RANGES_MAX 1024

struct range {
	uint64_t start;
	uint64_t end;
};

/* Replaces the table; n is at most RANGES_MAX. */
void ranges_set(const struct range *ranges, size_t n);

/* Whether any byte of [start, end) is ours. */
bool ranges_touch(uint64_t start, uint64_t end);

/*
 * The first stretch at or after *start, below end, that is not ours: *start and *out_end are set to it.
 * Return: false if there is none.
 */
bool ranges_gap(uint64_t *start, uint64_t end, uint64_t *out_end);

#endif
