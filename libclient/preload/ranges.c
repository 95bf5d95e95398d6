// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/preload/ranges.h"

#include <sched.h>
#include <stdatomic.h>

static struct {
	_Atomic uint64_t start;
	_Atomic uint64_t end;
} table[RANGES_MAX];
static _Atomic uint32_t count;
/* Odd while the table is being written. */
static _Atomic uint32_t sequence;

/*
 * Orders instead of fences, which ThreadSanitizer does not know: each store of data is a release, so
 * who reads it (acquire) sees the odd number too, and the number is read again after the data.
 */
void ranges_set(const struct range *ranges, size_t n)
{
	atomic_fetch_add(&sequence, 1);
	for (size_t i = 0; i < n; i++) {
		atomic_store_explicit(&table[i].start, ranges[i].start, memory_order_release);
		atomic_store_explicit(&table[i].end, ranges[i].end, memory_order_release);
	}
	atomic_store_explicit(&count, (uint32_t)n, memory_order_release);
	atomic_fetch_add(&sequence, 1);
}

static uint32_t read_begin(void)
{
	uint32_t seq;

	while ((seq = atomic_load_explicit(&sequence, memory_order_acquire)) & 1)
		sched_yield();
	return seq;
}

static bool read_again(uint32_t seq)
{
	return atomic_load_explicit(&sequence, memory_order_relaxed) != seq;
}

bool ranges_touch(uint64_t start, uint64_t end)
{
	uint32_t seq;
	bool hit;

	do {
		uint32_t n;

		seq = read_begin();
		n = atomic_load_explicit(&count, memory_order_acquire);
		hit = false;
		for (uint32_t i = 0; i < n && !hit; i++)
			hit = atomic_load_explicit(&table[i].start, memory_order_acquire) < end &&
			      start < atomic_load_explicit(&table[i].end, memory_order_acquire);
	} while (read_again(seq));
	return hit;
}

/* One pass: moves *start behind ranges that cover it, and *stop before the next. */
static bool narrow(uint64_t *start, uint64_t *stop)
{
	uint32_t n = atomic_load_explicit(&count, memory_order_acquire);
	bool moved = false;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t s = atomic_load_explicit(&table[i].start, memory_order_acquire);
		uint64_t e = atomic_load_explicit(&table[i].end, memory_order_acquire);

		if (s <= *start && *start < e) {
			*start = e;
			moved = true;
		} else if (s > *start && s < *stop) {
			*stop = s;
		}
	}
	return moved;
}

bool ranges_gap(uint64_t *start, uint64_t end, uint64_t *out_end)
{
	uint64_t from, stop;
	uint32_t seq;

	do {
		seq = read_begin();
		from = *start;
		do {
			stop = end;
		} while (narrow(&from, &stop) && from < end);
	} while (read_again(seq));
	if (from >= end)
		return false;
	*start = from;
	*out_end = stop;
	return true;
}
