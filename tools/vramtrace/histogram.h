/* SPDX-License-Identifier: GPL-2.0-only */
/* A histogram by powers of two: slot 0 has 0 and 1, slot k the values from 2^k to 2^(k+1) - 1. */
#ifndef VRAM_TOOLS_VRAMTRACE_HISTOGRAM_H
#define VRAM_TOOLS_VRAMTRACE_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_SLOTS 64

struct histogram {
	uint64_t slots[HISTOGRAM_SLOTS];
	uint64_t n;
	uint64_t sum;
	uint64_t max;
};

unsigned int histogram_slot(uint64_t value);
/* The least and the greatest value of a slot. */
uint64_t histogram_low(unsigned int slot);
uint64_t histogram_high(unsigned int slot);
void histogram_add(struct histogram *h, uint64_t value);
/* As bcc's tools do: "unit : count distribution", from the first slot in use to the last. Empty: nothing. */
void histogram_print(const struct histogram *h, const char *unit, FILE *f);

#endif
