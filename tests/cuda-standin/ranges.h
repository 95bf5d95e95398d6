/* SPDX-License-Identifier: GPL-2.0-only */
/* Ranges of addresses that do not overlap, sorted, each with an item. Not locked. */
#ifndef VRAM_TESTS_CUDA_STANDIN_RANGES_H
#define VRAM_TESTS_CUDA_STANDIN_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range {
	uint64_t start;
	uint64_t size;
	void *item;
};

struct ranges {
	struct range *ranges;
	size_t n, room;
};

/* Return: the range that x lies in, or NULL. */
struct range *ranges_find(const struct ranges *t, uint64_t x);
/* Return: whether any range has a byte of this one. */
bool ranges_overlap(const struct ranges *t, uint64_t start, uint64_t size);
/* Return: the range after r, if it begins where r ends; NULL otherwise. */
struct range *ranges_adjacent(const struct ranges *t, const struct range *r);
void ranges_add(struct ranges *t, uint64_t start, uint64_t size, void *item);
void ranges_remove(struct ranges *t, struct range *r);

#endif
