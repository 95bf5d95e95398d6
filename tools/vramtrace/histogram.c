// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtrace/histogram.h"

#include <inttypes.h>

#define BAR_WIDTH 40

unsigned int histogram_slot(uint64_t value)
{
	return value > 1 ? 63 - (unsigned int)__builtin_clzll(value) : 0;
}

uint64_t histogram_low(unsigned int slot)
{
	return slot ? UINT64_C(1) << slot : 0;
}

uint64_t histogram_high(unsigned int slot)
{
	return slot < 63 ? (UINT64_C(1) << (slot + 1)) - 1 : UINT64_MAX;
}

void histogram_add(struct histogram *h, uint64_t value)
{
	h->slots[histogram_slot(value)]++;
	h->n++;
	h->sum += value;
	if (value > h->max)
		h->max = value;
}

void histogram_print(const struct histogram *h, const char *unit, FILE *f)
{
	unsigned int first = 0, last = HISTOGRAM_SLOTS - 1, i;
	uint64_t most = 0;

	if (!h->n)
		return;
	while (!h->slots[first])
		first++;
	while (!h->slots[last])
		last--;
	for (i = first; i <= last; i++)
		if (h->slots[i] > most)
			most = h->slots[i];
	fprintf(f, "%*s%-*s : count    distribution\n", 5, "", 18, unit);
	for (i = first; i <= last; i++) {
		int stars = (int)((double)h->slots[i] / (double)most * BAR_WIDTH);

		fprintf(f, "%10" PRIu64 " -> %-10" PRIu64 ": %-8" PRIu64 " |%.*s%*s|\n",
			histogram_low(i), histogram_high(i), h->slots[i], stars,
			"****************************************", BAR_WIDTH - stars, "");
	}
}
