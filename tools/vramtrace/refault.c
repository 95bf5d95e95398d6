// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtrace/refault.h"

#include <stdio.h>
#include <stdlib.h>

struct refault_chunk {
	uint32_t dev;
	uint64_t before_bytes; /* evicted from the device before it went */
	uint64_t session;
	uint64_t needed_session;
};

void refault_evicted(struct refault *r, uint32_t dev, uint32_t share, uint32_t chunk,
		     uint64_t bytes, uint64_t session, uint64_t needed_session)
{
	struct refault_chunk *c;

	if (dev >= REFAULT_DEVICES)
		return;
	c = malloc(sizeof(*c));
	if (!c) {
		fputs("vramtrace: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	*c = (struct refault_chunk){
		.dev = dev,
		.before_bytes = r->evicted_bytes[dev],
		.session = session,
		.needed_session = needed_session,
	};
	r->evicted_bytes[dev] += bytes;
	free(map_put(&r->chunks, share, chunk, c));
}

bool refault_loaded(struct refault *r, uint32_t share, uint32_t chunk, struct refault_return *out)
{
	struct refault_chunk *c = map_remove(&r->chunks, share, chunk);

	if (!c)
		return false;
	*out = (struct refault_return){
		.distance_bytes = r->evicted_bytes[c->dev] - c->before_bytes,
		.session = c->session,
		.needed_session = c->needed_session,
	};
	free(c);
	return true;
}

void refault_forget(struct refault *r, uint32_t share)
{
	struct map kept = { 0 };
	struct map_entry *entry;

	for (size_t i = 0; (entry = map_next(&r->chunks, &i));) {
		if (entry->a == share)
			free(entry->value);
		else
			map_put(&kept, entry->a, entry->b, entry->value);
	}
	map_clear(&r->chunks, NULL);
	r->chunks = kept;
}

void refault_clear(struct refault *r)
{
	map_clear(&r->chunks, free);
	*r = (struct refault){ 0 };
}
