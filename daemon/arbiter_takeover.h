/* SPDX-License-Identifier: GPL-2.0-only */
/* Taking over a ledger that an earlier daemon has left. The model is told at the top of arbiter_takeover.c. */
#ifndef VRAM_DAEMON_ARBITER_TAKEOVER_H
#define VRAM_DAEMON_ARBITER_TAKEOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/arbiter.h"

/* All zero: there is nothing to take over. */
struct arbiter_takeover {
	struct arbiter *arbiter;
	uint64_t deadline_ns; /* 0: it is over */
	uint64_t *session;    /* of before, and not back yet */
	size_t n_sessions;
	uint32_t *share; /* of before, with bytes or members */
	size_t n_shares;
	uint32_t n_devices;
	bool has_own; /* something is charged to sessions, not through shares */
};

/*
 * arbiter_takeover_begin() - after the devices were added, and before anybody is adopted. Says in the
 * log what there is. Return: 0 or -errno.
 */
int arbiter_takeover_begin(struct arbiter_takeover *t, struct arbiter *a, uint32_t n_devices,
			   uint64_t now_ns, uint64_t grace_ns);
void arbiter_takeover_deinit(struct arbiter_takeover *t);

/* Is something still charged that nobody manages? */
static inline bool arbiter_takeover_pending(const struct arbiter_takeover *t)
{
	return t->deadline_ns != 0;
}

/* This session was adopted now, or has ended. Return: true if charges may have fallen. */
bool arbiter_takeover_session(struct arbiter_takeover *t, uint64_t session);
/* At the deadline: what has not come back goes. Return: true if charges may have fallen. */
bool arbiter_takeover_poll(struct arbiter_takeover *t, uint64_t now_ns);

#endif
