/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who took the memory that is waited for.
 *
 * Of a share: for whom something of it was evicted last. Where it is not known which share a session waits
 * for: for whom something was last taken from the session. Nobody: nothing was taken since tracing began, so what is
 * waited for is there for the first time, or had gone before.
 */
#ifndef VRAM_TOOLS_VRAMTRACE_BLAME_H
#define VRAM_TOOLS_VRAMTRACE_BLAME_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/vramtrace/map.h"

/* Who is to blame for a wait: a session, or one of these. */
#define BLAME_NOBODY UINT64_MAX
#define BLAME_ADMIN  0 /* taken for no session: a limit, or an administrator's word */
/* For tables: who waits and who took it are the same. */
#define BLAME_ITSELF (UINT64_MAX - 1)

struct blame {
	struct map by_share;   /* (share, 0): uint64_t + 1, as a pointer */
	struct map by_session; /* (session, 0): likewise */
};

/* share: UINT32_MAX if it is none. */
void blame_evicted(struct blame *b, uint64_t session, uint32_t share, uint64_t needed_session);
uint64_t blame_for(const struct blame *b, uint64_t session, uint32_t share);
/* Its number may be another's next. */
void blame_forget_share(struct blame *b, uint32_t share);
void blame_clear(struct blame *b);

#endif
