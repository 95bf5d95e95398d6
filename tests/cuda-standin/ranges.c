// SPDX-License-Identifier: GPL-2.0-only
#include "tests/cuda-standin/ranges.h"

#include <stdlib.h>
#include <string.h>

/* Return: how many ranges begin at or before x. */
static size_t before(const struct ranges *t, uint64_t x)
{
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (t->ranges[middle].start <= x)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct range *ranges_find(const struct ranges *t, uint64_t x)
{
	size_t i = before(t, x);

	return i && x - t->ranges[i - 1].start < t->ranges[i - 1].size ? &t->ranges[i - 1] : NULL;
}

bool ranges_overlap(const struct ranges *t, uint64_t start, uint64_t size)
{
	size_t i = before(t, start);

	return ranges_find(t, start) || (i < t->n && t->ranges[i].start - start < size);
}

struct range *ranges_adjacent(const struct ranges *t, const struct range *r)
{
	size_t next = r - t->ranges + 1;

	return next < t->n && t->ranges[next].start == r->start + r->size ? &t->ranges[next] : NULL;
}

void ranges_add(struct ranges *t, uint64_t start, uint64_t size, void *item)
{
	size_t i = before(t, start);

	if (t->n == t->room) {
		t->room = t->room ? t->room * 2 : 64;
		t->ranges = realloc(t->ranges, t->room * sizeof(t->ranges[0]));
		if (!t->ranges)
			abort();
	}
	memmove(&t->ranges[i + 1], &t->ranges[i], (t->n - i) * sizeof(t->ranges[0]));
	t->ranges[i] = (struct range){ start, size, item };
	t->n++;
}

void ranges_remove(struct ranges *t, struct range *r)
{
	size_t i = r - t->ranges;

	memmove(r, r + 1, (t->n - i - 1) * sizeof(t->ranges[0]));
	t->n--;
}
