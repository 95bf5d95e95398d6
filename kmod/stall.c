// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stalls: which sessions work, which wait, and whose pressure that is.
 *
 * A session is one unit in the meter of each device it uses (stalled, running or idle there) and
 * one unit in its own meter and in that of each group above it (stalled if it is on any device,
 * else running if it is on any). Waits nest: several threads of a session may wait at once, and it
 * is stalled as long as one of them does.
 *
 * Locking: the ledger's.
 */
#include "kmod/stall.h"

enum unit_state {
	UNIT_IDLE,
	UNIT_RUNNING,
	UNIT_STALLED,
};

static void unit_move(struct pressure *p, enum unit_state from, enum unit_state to, u64 now_ns)
{
	if (from == to)
		return;
	if (from == UNIT_IDLE)
		pressure_run(p, now_ns);
	else if (from == UNIT_STALLED)
		pressure_leave(p, now_ns);
	if (to == UNIT_IDLE)
		pressure_idle(p, now_ns);
	else if (to == UNIT_STALLED)
		pressure_enter(p, now_ns);
}

static enum unit_state state_of(u32 stalled, u32 running)
{
	if (stalled)
		return UNIT_STALLED;
	return running ? UNIT_RUNNING : UNIT_IDLE;
}

static void set_state(struct group_book *book, struct pressure *device, struct ledger_group *g,
		      u32 dev, u32 stalls, bool running, u64 now_ns)
{
	struct stall_session *s = g->priv;
	u32 bit = 1u << dev, stalled = s->stalled, runs = s->running, chain;
	enum unit_state from, to;
	struct ledger_group *p;

	s->stalls[dev] = stalls;
	s->stalled = stalls ? stalled | bit : stalled & ~bit;
	s->running = running ? runs | bit : runs & ~bit;
	unit_move(device, state_of(stalled & bit, runs & bit),
		  state_of(s->stalled & bit, s->running & bit), now_ns);
	from = state_of(stalled, runs);
	to = state_of(s->stalled, s->running);
	unit_move(&s->group.pressure, from, to, now_ns);
	unit_move(&book->root.pressure, from, to, now_ns);
	for (chain = 0; chain < LEDGER_N_CHAINS; chain++)
		for (p = g->parent[chain]; p; p = p->parent[chain])
			unit_move(&group_priv(p)->pressure, from, to, now_ns);
}

/*
 * stall_event() - a session begins or ceases to run or to wait on a device.
 * @device: the device's meter
 *
 * After the last STALL_END a session is running. One that waits is not idle, whatever it says.
 *
 * Return: 0; -EINVAL (ends a wait that never began), -EOVERFLOW.
 */
int stall_event(struct group_book *book, struct pressure *device, struct ledger_group *session,
		u32 dev, enum stall_event event, u64 now_ns)
{
	u32 stalls = ((struct stall_session *)session->priv)->stalls[dev];

	if (event == STALL_END && !stalls)
		return -EINVAL;
	if (event == STALL_BEGIN && stalls == ~0u)
		return -EOVERFLOW;
	stalls += (event == STALL_BEGIN) - (event == STALL_END);
	set_state(book, device, session, dev, stalls, event != STALL_IDLE || stalls, now_ns);
	return 0;
}

/* stall_stop() - the session ends: it neither runs nor waits anywhere. */
void stall_stop(struct group_book *book, struct pressure devices[LEDGER_MAX_DEVICES],
		struct ledger_group *session, u64 now_ns)
{
	u32 dev;

	for (dev = 0; dev < book->ledger->n_devices; dev++)
		set_state(book, &devices[dev], session, dev, 0, false, now_ns);
}
