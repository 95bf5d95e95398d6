/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The time in which at least one of several waits was open, interval by interval: `some` of PSI, as it can be
 * worked out from events. A wait whose begin was not seen counts from when its end says that it began, but not before
 * the interval or the meter itself.
 */
#ifndef VRAM_TOOLS_VRAMTRACE_METER_H
#define VRAM_TOOLS_VRAMTRACE_METER_H

#include <stdint.h>

struct meter {
	uint32_t n_open;
	uint64_t since_ns; /* the interval's begin */
	uint64_t at_ns;	   /* counted up to here */
	uint64_t open_ns;  /* of the interval */
	uint64_t n_ended;  /* waits that ended in it */
};

void meter_init(struct meter *m, uint64_t now_ns);
void meter_begin(struct meter *m, uint64_t now_ns);
void meter_end(struct meter *m, uint64_t now_ns, uint64_t waited_ns);
/* Ends the interval, and begins the next. Return: the time in it. */
uint64_t meter_take(struct meter *m, uint64_t now_ns, uint64_t *out_n_ended);

#endif
