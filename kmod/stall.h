/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * stall: a session as a unit in the pressure of its groups and devices.
 * The model is told at the top of stall.c.
 */
#ifndef VRAM_KMOD_STALL_H
#define VRAM_KMOD_STALL_H

#include "kmod/group.h"

enum stall_event {
	STALL_RUN,
	STALL_IDLE,
	STALL_BEGIN,
	STALL_END,
};

/* A session's `priv` begins with this. */
struct stall_session {
	struct group group;		/* the first: `priv` points to either */
	u32 stalls[LEDGER_MAX_DEVICES]; /* waits, by device */
	u32 running;			/* bit per device: running or stalled there */
	u32 stalled;			/* bit per device: stalls is not 0 */
};

int stall_event(struct group_book *book, struct pressure *device, struct ledger_group *session,
		u32 dev, enum stall_event event, u64 now_ns);
void stall_stop(struct group_book *book, struct pressure devices[LEDGER_MAX_DEVICES],
		struct ledger_group *session, u64 now_ns);

#endif
