// SPDX-License-Identifier: GPL-2.0-only
#include "tools/vramtrace/blame.h"

static void put(struct map *map, uint64_t key, uint64_t who)
{
	map_put(map, key, 0, (void *)(uintptr_t)(who + 1));
}

static uint64_t get(const struct map *map, uint64_t key)
{
	uintptr_t who = (uintptr_t)map_get(map, key, 0);

	return who ? (uint64_t)who - 1 : BLAME_NOBODY;
}

void blame_evicted(struct blame *b, uint64_t session, uint32_t share, uint64_t needed_session)
{
	if (share != UINT32_MAX)
		put(&b->by_share, share, needed_session);
	if (session)
		put(&b->by_session, session, needed_session);
}

uint64_t blame_for(const struct blame *b, uint64_t session, uint32_t share)
{
	return share != UINT32_MAX ? get(&b->by_share, share) : get(&b->by_session, session);
}

void blame_forget_share(struct blame *b, uint32_t share)
{
	map_remove(&b->by_share, share, 0);
}

void blame_clear(struct blame *b)
{
	map_clear(&b->by_share, NULL);
	map_clear(&b->by_session, NULL);
}
