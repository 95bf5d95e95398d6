// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events: what the arbiter is told, read from its descriptor in whole records.
 *
 * The record that a session has gone is made when the session is adopted, so that telling it can
 * never fail, and so that their number is bounded by what arbiters have adopted. They outlive the
 * arbiter: the next one reads what happened before it came.
 */
#include <linux/pid.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "kmod/internal.h"

static void tell(void)
{
	if (vram.arbiter)
		wake_up_poll(&vram.arbiter->poll_wait, EPOLLIN | EPOLLRDNORM);
}

/* vram_event_gone() - an adopted session has ended; its record goes into the queue. */
void vram_event_gone(struct vram_session *s, const u64 bytes[VRAM_N_TIERS])
{
	struct vram_record *r = s->gone;

	lockdep_assert_held(&vram.lock);
	s->gone = NULL;
	r->event.type = VRAM_ARBITER_EVENT_GONE;
	r->event.session = s->id;
	r->event.generation = s->adopted;
	memcpy(r->event.bytes, bytes, sizeof(r->event.bytes));
	r->pid = get_pid(s->pid);
	r->uid = s->uid;
	list_add_tail(&r->node, &vram.events);
	tell();
}

/* vram_event_limits() - somebody else than the arbiter has changed a limit. */
void vram_event_limits(void)
{
	lockdep_assert_held(&vram.lock);
	vram.limits_changed = true;
	tell();
}

static void record_free(struct vram_record *r)
{
	put_pid(r->pid);
	kfree(r);
}

void vram_events_free(void)
{
	struct vram_record *r, *next;

	list_for_each_entry_safe(r, next, &vram.events, node)
		record_free(r);
}

/* The next event. *out_record is its record, to be freed or given back; NULL for one without. */
static bool take(struct vram_arbiter_event *out_event, struct vram_record **out_record)
{
	struct vram_record *r = list_first_entry_or_null(&vram.events, struct vram_record, node);

	lockdep_assert_held(&vram.lock);
	*out_record = r;
	if (r) {
		list_del(&r->node);
		*out_event = r->event;
		out_event->pid = pid_vnr(r->pid);
		out_event->uid = from_kuid_munged(current_user_ns(), r->uid);
		return true;
	}
	*out_event = (struct vram_arbiter_event){ .type = VRAM_ARBITER_EVENT_LIMITS };
	return xchg(&vram.limits_changed, false);
}

static void give_back(struct vram_record *r)
{
	guard(mutex)(&vram.lock);
	if (r)
		list_add(&r->node, &vram.events);
	else
		vram.limits_changed = true;
}

/* Without the lock this is a hint, good enough to go and look. */
static bool is_pending(void)
{
	return !list_empty_careful(&vram.events) || READ_ONCE(vram.limits_changed);
}

ssize_t vram_event_read(struct kiocb *iocb, struct iov_iter *to)
{
	struct vram_session *s = iocb->ki_filp->private_data;
	bool nowait = iocb->ki_flags & IOCB_NOWAIT || iocb->ki_filp->f_flags & O_NONBLOCK;
	ssize_t done = 0;
	int ret;

	if (!vram_is_arbiter(s))
		return -EPERM;
	if (iov_iter_count(to) < sizeof(struct vram_arbiter_event))
		return -EINVAL;
	while (iov_iter_count(to) >= sizeof(struct vram_arbiter_event)) {
		struct vram_arbiter_event event;
		struct vram_record *r;
		bool got;

		mutex_lock(&vram.lock);
		got = take(&event, &r);
		mutex_unlock(&vram.lock);
		if (got) {
			if (copy_to_iter(&event, sizeof(event), to) != sizeof(event)) {
				give_back(r);
				return done ? done : -EFAULT;
			}
			if (r)
				record_free(r);
			done += sizeof(event);
			continue;
		}
		if (done || nowait)
			return done ? done : -EAGAIN;
		ret = wait_event_interruptible(s->poll_wait, is_pending());
		if (ret)
			return ret;
	}
	return done;
}

__poll_t vram_event_poll(struct file *file, poll_table *pt)
{
	struct vram_session *s = file->private_data;
	__poll_t events = 0;

	poll_wait(file, &s->poll_wait, pt);
	guard(mutex)(&vram.lock);
	if (vram.arbiter == s && is_pending())
		events |= EPOLLIN | EPOLLRDNORM;
	if (vram_trigger_take(s))
		events |= EPOLLPRI;
	if (s->trigger_lost)
		events |= EPOLLERR | EPOLLPRI;
	return events;
}
