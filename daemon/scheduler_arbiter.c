// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scheduler and the kernel module: what the module tells, whom it wakes, what an earlier daemon has
 * left there, and why bytes move. With the ledger in this process none of it happens.
 */
#include "daemon/scheduler.h"

#include <errno.h>
#include <poll.h>

#include "common/err.h"
#include "daemon/log.h"
#include "daemon/scheduler_private.h"

/* ---- events --------------------------------------------------------------------- */

static struct scheduler_session *session_find(struct scheduler *s, uint64_t id)
{
	struct scheduler_session *ss;

	list_for_each(ss, &s->sessions, node)
		if (ss->id == id)
			return ss;
	return NULL;
}

static void on_event(void *ctx, const struct arbiter_event *event)
{
	struct scheduler_session *ss;
	struct scheduler *s = ctx;

	if (event->type == ARBITER_EVENT_LIMITS) {
		log_info("limits were changed through %s", ARBITER_KMOD_PATH);
		scheduler_limits_changed(s);
		return;
	}
	if (event->generation != s->arbiter->generation)
		log_debug("session %llu of an earlier vramd (pid %d, user %u) has ended",
			  (unsigned long long)event->session, (int)event->pid, event->uid);
	arbiter_takeover_session(&s->takeover, event->session);
	/* Most often its socket has ended it before. */
	ss = session_find(s, event->session);
	if (ss)
		ss->ops->gone(ss);
}

static void read_events(struct loop_op *op, int res)
{
	struct scheduler *s = list_entry(op, struct scheduler, events);
	int r = res < 0 ? res : arbiter_read_events(s->arbiter, on_event, s);

	if (r < 0)
		log_error_limited("%s cannot be read: %s", ARBITER_KMOD_PATH, err_text(r));
	/* What fell back may be what others wait for. */
	scheduler_pump(s);
}

/* ---- taking over ----------------------------------------------------------------- */

static void takeover_end(struct loop_op *op, int res)
{
	struct scheduler *s = list_entry(op, struct scheduler, takeover_end);

	(void)res;
	arbiter_takeover_poll(&s->takeover, loop_now());
	scheduler_pump(s);
}

int scheduler_arbiter_start(struct scheduler *s)
{
	uint64_t now = loop_now(), grace = s->config->arbiter.grace;
	int r;

	if (!arbiter_adopts(s->arbiter))
		return 0;
	s->events.fn = read_events;
	s->takeover_end.fn = takeover_end;
	r = arbiter_takeover_begin(&s->takeover, s->arbiter, s->dev + 1, now, grace);
	if (r == 0)
		r = loop_poll(s->loop, &s->events, arbiter_event_fd(s->arbiter), POLLIN);
	if (r == 0 && arbiter_takeover_pending(&s->takeover))
		r = loop_timer(s->loop, &s->takeover_end, now + grace);
	return err_trace(r);
}

void scheduler_arbiter_stop(struct scheduler *s)
{
	loop_cancel(s->loop, &s->events);
	loop_cancel(s->loop, &s->takeover_end);
	arbiter_takeover_deinit(&s->takeover);
}

/* ---- sessions --------------------------------------------------------------------- */

static void wake(const struct residency_waker *base, struct residency_slot *slot)
{
	const struct scheduler_waker *waker = (const struct scheduler_waker *)base;

	/* Of a session that has just ended nobody waits. */
	arbiter_wake(waker->arbiter, waker->session, (uint32_t)(slot - waker->table));
}

void scheduler_arbiter_adopted(struct scheduler *s, struct scheduler_session *ss,
			       const struct residency_slot *table)
{
	ss->waker = (struct scheduler_waker){
		.base.wake = wake,
		.arbiter = s->arbiter,
		.session = ss->id,
		.table = table,
	};
	if (arbiter_takeover_session(&s->takeover, ss->id))
		scheduler_pump(s);
}

/* ---- why bytes move ---------------------------------------------------------------- */

struct arbiter_hint hint_load(const struct object *object, uint32_t chunk, const struct use *want)
{
	return (struct arbiter_hint){
		.flags = object->chunks[chunk].was_evicted ? ARBITER_HINT_RESTORE : 0,
		.session = want ? want->session->id : 0,
	};
}

struct arbiter_hint hint_evict(const struct object *object, uint64_t who)
{
	const struct use *first = list_first(&object->uses, struct use, in_object);

	return (struct arbiter_hint){
		.flags = ARBITER_HINT_EVICT,
		.session = first ? first->session->id : 0,
		.other = who,
	};
}
