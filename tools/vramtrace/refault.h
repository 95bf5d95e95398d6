/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How far chunks go before they come back.
 *
 * The refault distance of a chunk is what was evicted from its device since it was evicted itself, its own bytes
 * included, until it is loaded again: so much more memory, and it would not have had to go. Chunks that were
 * evicted before tracing began are not known.
 */
#ifndef VRAM_TOOLS_VRAMTRACE_REFAULT_H
#define VRAM_TOOLS_VRAMTRACE_REFAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/vramtrace/map.h"

#define REFAULT_DEVICES 16

struct refault {
	struct map chunks; /* (share, chunk): struct refault_chunk */
	uint64_t evicted_bytes[REFAULT_DEVICES];
};

struct refault_return {
	uint64_t distance_bytes;
	uint64_t session;	 /* who had lost it */
	uint64_t needed_session; /* for whom */
};

void refault_evicted(struct refault *r, uint32_t dev, uint32_t share, uint32_t chunk,
		     uint64_t bytes, uint64_t session, uint64_t needed_session);
/* Return: was it seen to go? A chunk is forgotten when it has come back. */
bool refault_loaded(struct refault *r, uint32_t share, uint32_t chunk, struct refault_return *out);
/* The share's number may be another's next. */
void refault_forget(struct refault *r, uint32_t share);
void refault_clear(struct refault *r);

#endif
