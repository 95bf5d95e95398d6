// SPDX-License-Identifier: GPL-2.0-only
/*
 * TRIGGER: a session is told when it, its user or the device has waited too long.
 *
 * The client gets one end of a socket pair. A byte comes when the trigger fires, unless one is there that nobody has
 * read; its closing takes the trigger back. It is no eventfd: a client could make a write to that wait for ever,
 * while a send with MSG_DONTWAIT never does, whatever the other side does.
 *
 * The daemon looks at the meters itself, for either ledger: the module's own triggers are one a descriptor, and
 * a daemon without privileges may not watch single sessions with them. While nothing stalls nobody looks: a trigger for which
 * nothing grows goes to sleep, and the next stall of its session, its user or, for the device, of anybody
 * wakes it.
 *
 * Invariant: a trigger is in `awake` or in `asleep`, and in no list of its session's: those of a session are found by looking,
 * which is rare. The timer is armed while there are some awake.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/err.h"
#include "daemon/log.h"
#include "daemon/scheduler.h"
#include "daemon/session_private.h"
#include "daemon/trigger.h"

#define TRIGGERS_PER_SESSION 16u
#define TRIGGERS_PER_USER    256u
#define TRIGGERS_MAX	     4096u

struct session_trigger {
	struct list_node node; /* in awake or asleep */
	struct session *session;
	uint32_t kind; /* enum vram_trigger_kind */
	bool full;
	struct trigger trigger;
	uint64_t next_ns; /* awake: when to look again */
	int fd;
	struct loop_op gone; /* the client has closed its end */
};

static struct list_node awake = LIST_INIT(awake), asleep = LIST_INIT(asleep);
static struct loop_op tick;
static uint64_t tick_ns; /* for when it is armed */
static uint32_t n_triggers;

/* The meter's total; 0 where there is none (any more). */
static uint64_t read_total(const struct session_trigger *st, uint64_t now_ns)
{
	const struct scheduler_session *ss = &st->session->ss;
	struct scheduler *s = st->session->scheduler;
	const struct arbiter_subject subject = {
		.kind = st->kind == VRAM_TRIGGER_USER ? ARBITER_USER : ARBITER_SESSION,
		.id = st->kind == VRAM_TRIGGER_USER ? ss->uid : ss->id,
	};
	struct arbiter *a = scheduler_arbiter(s);
	struct arbiter_pressure pressure;
	struct arbiter_group group;
	int r;

	if (st->kind == VRAM_TRIGGER_DEVICE) {
		r = arbiter_pressure_device(a, scheduler_device(s), now_ns, &pressure);
	} else {
		r = arbiter_find(a, &subject, &group);
		if (r == 0)
			r = arbiter_pressure_group(a, &group, now_ns, &pressure);
	}
	return r == 0 ? pressure.total_us[st->full] : 0;
}

static void trigger_free(struct session_trigger *st)
{
	loop_cancel(scheduler_loop(st->session->scheduler), &st->gone);
	list_del(&st->node);
	close(st->fd);
	free(st);
	n_triggers--;
}

static void on_gone_end(struct loop_op *op, int res)
{
	(void)res;
	trigger_free(list_entry(op, struct session_trigger, gone));
}

/* ---- looking ---- */

static void look(struct session_trigger *st, uint64_t now_ns)
{
	static const char byte = 1;

	if (trigger_feed(&st->trigger, now_ns, read_total(st, now_ns)))
		/* A full socket has told already. */
		(void)!send(st->fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	st->next_ns = trigger_next_ns(&st->trigger, now_ns);
}

static void arm(struct scheduler *s)
{
	const struct session_trigger *st;
	uint64_t next = UINT64_MAX;

	list_for_each(st, &awake, node)
		if (st->next_ns < next)
			next = st->next_ns;
	if (next == UINT64_MAX || (loop_op_armed(&tick) && tick_ns <= next))
		return;
	loop_cancel(scheduler_loop(s), &tick);
	if (loop_timer(scheduler_loop(s), &tick, next) == 0)
		tick_ns = next;
}

static bool anybody_stalls(struct scheduler *s)
{
	const struct scheduler_session *ss;

	list_for_each(ss, scheduler_sessions(s), node)
		if (ss->n_stalls)
			return true;
	return false;
}

/*
 * A wait that goes on grows `some`, so such a trigger may sleep when nothing grows: the next wait wakes it. `full` begins also when
 * the last one that worked ends working, while another has waited for long.
 */
static bool may_sleep(const struct session_trigger *st, uint64_t now_ns)
{
	return trigger_is_quiet(&st->trigger, now_ns) &&
	       (!st->full || !anybody_stalls(st->session->scheduler));
}

static void on_tick(struct loop_op *op, int res)
{
	struct session_trigger *st, *tmp;
	uint64_t now = loop_now();
	struct scheduler *s = NULL;

	(void)op;
	(void)res;
	list_for_each_safe(st, tmp, &awake, node) {
		s = st->session->scheduler;
		if (st->next_ns > now)
			continue;
		look(st, now);
		if (may_sleep(st, now)) {
			list_del(&st->node);
			list_add_tail(&st->node, &asleep);
		}
	}
	if (s)
		arm(s);
}

static bool is_concerned(const struct session_trigger *st, const struct scheduler_session *ss)
{
	switch (st->kind) {
	case VRAM_TRIGGER_SESSION:
		return &st->session->ss == ss;
	case VRAM_TRIGGER_USER:
		return st->session->ss.uid == ss->uid;
	default:
		return true;
	}
}

static void wake(struct session_trigger *st, uint64_t now_ns)
{
	list_del(&st->node);
	list_add_tail(&st->node, &awake);
	trigger_restart(&st->trigger, now_ns, read_total(st, now_ns));
	st->next_ns = trigger_next_ns(&st->trigger, now_ns);
}

/* Called for every stall: nothing is done where nobody sleeps. */
static void on_stall(struct scheduler *s, const struct scheduler_session *ss, uint64_t now_ns)
{
	struct session_trigger *st, *tmp;
	bool woken = false;

	list_for_each_safe(st, tmp, &asleep, node) {
		if (!is_concerned(st, ss))
			continue;
		wake(st, now_ns);
		woken = true;
	}
	if (woken)
		arm(s);
}

/* ---- the message ---- */

static void count(const struct session *session, uint32_t *out_own, uint32_t *out_user)
{
	const struct list_node *const lists[] = { &awake, &asleep };
	const struct session_trigger *st;

	*out_own = *out_user = 0;
	for (int i = 0; i < 2; i++) {
		list_for_each(st, lists[i], node) {
			*out_own += st->session == session;
			*out_user += st->session->ss.uid == session->ss.uid;
		}
	}
}

static int check(struct session *session, const struct vram_msg_trigger *msg, struct trigger *out)
{
	uint32_t own, user;

	if (msg->kind < VRAM_TRIGGER_SESSION || msg->kind > VRAM_TRIGGER_DEVICE ||
	    msg->flags & ~VRAM_TRIGGER_FULL)
		return -EPROTO;
	if (trigger_init(out, msg->threshold_us, msg->window_us) < 0)
		return -EINVAL;
	count(session, &own, &user);
	if (own >= TRIGGERS_PER_SESSION)
		return -E2BIG;
	if ((user >= TRIGGERS_PER_USER && session->ss.uid != 0) || n_triggers >= TRIGGERS_MAX)
		return -EDQUOT;
	return 0;
}

static void refuse(struct session *session, const struct vram_msg_hdr *hdr, int error)
{
	struct log_bound bound;

	switch (error) {
	case -EPROTO:
		session_fail(session, error, "a TRIGGER that makes no sense");
		break;
	case -EINVAL:
		session_refuse(
			session, hdr, error,
			"a trigger's window is 500 ms to 10 s, its threshold no longer than that and not 0");
		break;
	case -E2BIG:
		bound = (struct log_bound){
			.key = "triggers of a session",
			.asked = TRIGGERS_PER_SESSION + 1,
			.limit = TRIGGERS_PER_SESSION,
		};
		session_refuse_bound(session, hdr, error, "too many triggers", &bound);
		break;
	case -EDQUOT:
		bound = (struct log_bound){
			.key = "triggers of a user",
			.asked = TRIGGERS_PER_USER + 1,
			.limit = TRIGGERS_PER_USER,
		};
		session_refuse_bound(session, hdr, -E2BIG, "too many triggers", &bound);
		break;
	default:
		session_refuse(session, hdr, error, "no socket for a trigger");
		break;
	}
}

static int trigger_new(struct session *session, const struct vram_msg_trigger *msg,
		       const struct trigger *trigger, int *out_fd)
{
	struct session_trigger *st = calloc(1, sizeof(*st));
	int fds[2], r;

	if (!st)
		return err_origin(-ENOMEM);
	/* What the client writes is never read: once its buffer is full it can write no more. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0) {
		r = -errno;
		free(st);
		return err_origin(r);
	}
	st->session = session;
	st->kind = msg->kind;
	st->full = msg->flags & VRAM_TRIGGER_FULL;
	st->trigger = *trigger;
	st->fd = fds[0];
	st->gone.fn = on_gone_end;
	r = loop_poll(scheduler_loop(session->scheduler), &st->gone, st->fd, POLLHUP);
	if (r < 0) {
		close(fds[0]);
		close(fds[1]);
		free(st);
		return err_trace(r);
	}
	list_add_tail(&st->node, &asleep);
	n_triggers++;
	/* What stalls already must not wait for the next stall. */
	wake(st, loop_now());
	tick.fn = on_tick;
	scheduler_set_stall_hook(session->scheduler, on_stall);
	arm(session->scheduler);
	*out_fd = fds[1];
	return 0;
}

void session_trigger(struct session *session, const struct vram_msg_hdr *hdr,
		     const struct vram_msg_trigger *msg)
{
	struct trigger trigger;
	int fd = -1, r;

	r = check(session, msg, &trigger);
	if (r == 0)
		r = trigger_new(session, msg, &trigger, &fd);
	if (r < 0)
		refuse(session, hdr, r);
	else
		session_reply(session, hdr, NULL, 0, fd);
}

void session_triggers_free(struct session *session)
{
	struct list_node *const lists[] = { &awake, &asleep };
	struct session_trigger *st, *tmp;

	for (int i = 0; i < 2; i++)
		list_for_each_safe(st, tmp, lists[i], node)
			if (st->session == session)
				trigger_free(st);
	if (n_triggers == 0)
		loop_cancel(scheduler_loop(session->scheduler), &tick);
}
