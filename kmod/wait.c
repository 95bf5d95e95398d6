// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting for a slot, as for a futex: enter the list, look at the word, sleep, until somebody who
 * has changed the word wakes the slot. A waker that comes between look and sleep finds the waiter
 * in the list.
 *
 * The time between is the session's stall; a wait that finds another word at once is none.
 *
 * A waiter lives on the stack of its thread, which leaves the list before it returns.
 */
#include <linux/hrtimer.h>
#include <linux/nospec.h>
#include <linux/sched/signal.h>

#include "kmod/internal.h"
#include "kmod/trace.h"

struct waiter {
	struct list_head node; /* session->lock, as `result` */
	struct task_struct *task;
	u32 slot;
	bool woken;
	int result;
};

static void wake(struct waiter *w, int result)
{
	w->result = result;
	WRITE_ONCE(w->woken, true);
	wake_up_process(w->task);
}

/* vram_wake() - who waits on a slot looks again. */
void vram_wake(struct vram_session *s, u32 slot)
{
	struct waiter *w;

	spin_lock(&s->lock);
	list_for_each_entry(w, &s->waiters, node)
		if (w->slot == slot && !w->woken)
			wake(w, 0);
	spin_unlock(&s->lock);
}

/* vram_wake_all() - all waiters of a session return @result. */
void vram_wake_all(struct vram_session *s, int result)
{
	struct waiter *w;

	spin_lock(&s->lock);
	list_for_each_entry(w, &s->waiters, node)
		if (!w->woken)
			wake(w, result);
	spin_unlock(&s->lock);
}

static int sleep_until(const struct waiter *w, u64 deadline_ns, bool killable)
{
	ktime_t deadline = ns_to_ktime(deadline_ns);
	ktime_t *expires = deadline_ns > KTIME_MAX ? NULL : &deadline;
	int ret = 0;

	for (;;) {
		/* A wait for the arbiter must not keep the machine from suspending. */
		set_current_state(killable ? TASK_KILLABLE | TASK_FREEZABLE : TASK_INTERRUPTIBLE);
		if (READ_ONCE(w->woken))
			break;
		ret = -ERESTARTSYS;
		if (killable ? fatal_signal_pending(current) : signal_pending(current))
			break;
		ret = -ETIMEDOUT;
		if (!schedule_hrtimeout_range(expires, 0, HRTIMER_MODE_ABS))
			break;
		ret = 0;
	}
	__set_current_state(TASK_RUNNING);
	return ret;
}

/* May this session wait at all? vram.lock is held. */
static int check_session(const struct vram_session *s, u32 dev)
{
	if (dev >= vram_ledger()->n_devices)
		return -ENOENT;
	if (!s->adopted)
		return -ENOTCONN;
	if (vram.state == VRAM_ARBITER_GONE)
		return -EHOSTDOWN;
	/* The next arbiter is there, and knows nothing of what this session waits for. */
	return vram.arbiter && s->adopted != vram.generation ? -ESTALE : 0;
}

/* Enter list and meters, sleep, leave both. */
static int stall(struct vram_session *s, const struct vram_table *table,
		 const struct vram_ioc_wait *arg)
{
	struct waiter w = { .task = current, .slot = arg->slot };
	struct pressure *device;
	u64 begin;
	int ret;

	mutex_lock(&vram.lock);
	ret = check_session(s, arg->dev);
	if (ret) {
		mutex_unlock(&vram.lock);
		return ret;
	}
	spin_lock(&s->lock);
	list_add_tail(&w.node, &s->waiters);
	spin_unlock(&s->lock);
	if (vram_table_word(table, arg->slot) != arg->expected) {
		mutex_unlock(&vram.lock);
		goto leave;
	}
	device = &vram.device_pressure[array_index_nospec(arg->dev, LEDGER_MAX_DEVICES)];
	begin = vram_now();
	stall_event(&vram.book, device, s->group, arg->dev, STALL_BEGIN, begin);
	trace_vram_stall_begin(s, arg->dev, arg->slot);
	vram_trigger_kick();
	mutex_unlock(&vram.lock);

	ret = sleep_until(&w, arg->deadline_ns, arg->flags & VRAM_WAIT_KILLABLE);

	mutex_lock(&vram.lock);
	stall_event(&vram.book, device, s->group, arg->dev, STALL_END, vram_now());
	trace_vram_stall_end(s, arg->dev, arg->slot, vram_now() - begin);
	mutex_unlock(&vram.lock);
leave:
	spin_lock(&s->lock);
	list_del(&w.node);
	if (w.woken)
		ret = w.result;
	spin_unlock(&s->lock);
	return ret;
}

/* vram_wait() - VRAM_IOC_WAIT. */
int vram_wait(struct vram_session *s, const struct vram_ioc_wait *arg)
{
	struct vram_table *table;
	int ret = -ENXIO;

	if (arg->flags & ~VRAM_WAIT_KILLABLE)
		return -EINVAL;
	if (vram_is_arbiter(s))
		return -EPERM;
	table = vram_table_get(s);
	if (!table || arg->slot >= table->n_slots)
		goto out_table;
	ret = -EDQUOT;
	if (!vram_user_take(&s->user->n_waiters, 1, READ_ONCE(vram_max_waiters)))
		goto out_table;
	ret = stall(s, table, arg);
	atomic_dec(&s->user->n_waiters);
out_table:
	vram_table_put(table);
	return ret;
}
