/* SPDX-License-Identifier: GPL-2.0-only */
/* Sums by key, and of each key by cause; the greatest first. */
#ifndef VRAM_TOOLS_VRAMTRACE_TALLY_H
#define VRAM_TOOLS_VRAMTRACE_TALLY_H

#include <stddef.h>
#include <stdint.h>

#include "tools/vramtrace/map.h"

struct tally_row {
	uint64_t a, b; /* the key */
	uint64_t n;
	uint64_t sum;
	uint64_t max;
	/* For what a caller wants besides. */
	uint64_t extra_n;
	uint64_t extra_sum;
	struct map causes; /* (cause, 0): struct tally_cause */
};

struct tally_cause {
	uint64_t cause;
	uint64_t n;
	uint64_t sum;
};

struct tally {
	struct map rows; /* (a, b): struct tally_row */
};

/* The row of a key, made if need be. */
struct tally_row *tally_row(struct tally *tally, uint64_t a, uint64_t b);
void tally_add(struct tally_row *row, uint64_t value);
void tally_add_cause(struct tally_row *row, uint64_t cause, uint64_t value);
void tally_clear(struct tally *tally);

/* The greatest sum first; equal ones by number, then by key. Return: an array, the caller's to free, of *out_n. */
struct tally_row **tally_sorted(const struct tally *tally, size_t *out_n);
struct tally_cause **tally_causes(const struct tally_row *row, size_t *out_n);

#endif
