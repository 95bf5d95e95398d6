// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pressure for readers: numbers on request, and triggers that poll() reports.
 *
 * Meters need no timer but for triggers. While there are any, one work item evaluates all of them
 * when the first is due, and sleeps when nothing stalls; a stall wakes it.
 */
#include <linux/capability.h>

#include "kmod/internal.h"

/* No evaluation is later than this, whatever else is due: a tenth of the smallest window. */
#define TICK_MAX_NS (PRESSURE_WINDOW_MIN_US * NSEC_PER_USEC / 10)

/*
 * vram_may_read() - may the owner of this descriptor see the numbers of a group?
 *
 * Its own, those above it and the root, everybody; all others, the arbiter and CAP_SYS_ADMIN.
 */
bool vram_may_read(const struct vram_session *s, const struct ledger_group *g)
{
	return g->kind == LEDGER_ROOT || ledger_is_below(vram_ledger(), s->group, g) ||
	       vram.arbiter == s || capable(CAP_SYS_ADMIN);
}

/* The meter of a group (*out_group) or of a device (NULL). vram.lock is held. */
static int meter_of(const struct vram_session *s, u32 flags, u32 dev, const struct vram_ref *ref,
		    struct pressure **out_meter, struct ledger_group **out_group)
{
	struct ledger_group *g;

	if (flags & VRAM_PRESSURE_DEVICE) {
		if (dev >= vram_ledger()->n_devices)
			return -ENOENT;
		*out_meter = &vram.device_pressure[dev];
		*out_group = NULL;
		return 0;
	}
	g = vram_group_get(ref);
	if (!g)
		return capable(CAP_SYS_ADMIN) || vram.arbiter == s ? -ENOENT : -EPERM;
	if (!vram_may_read(s, g))
		return -EPERM;
	*out_meter = &group_priv(g)->pressure;
	*out_group = g;
	return 0;
}

static int check_about(u32 flags, u32 dev, const struct vram_ref *ref)
{
	if (ref->pad || ref->kind > VRAM_KIND_SESSION || (!ref->kind && ref->key))
		return -EINVAL;
	if (flags & VRAM_PRESSURE_DEVICE)
		return ref->kind ? -EINVAL : 0;
	return dev ? -EINVAL : 0;
}

/* vram_pressure() - VRAM_IOC_PRESSURE. */
int vram_pressure(struct vram_session *s, struct vram_ioc_pressure *p)
{
	struct pressure_reading reading;
	struct ledger_group *g;
	struct pressure *meter;
	int ret;

	if (p->flags & ~VRAM_PRESSURE_DEVICE)
		return -EINVAL;
	ret = check_about(p->flags, p->dev, &p->group);
	if (ret)
		return ret;
	guard(mutex)(&vram.lock);
	ret = meter_of(s, p->flags, p->dev, &p->group, &meter, &g);
	if (ret)
		return ret;
	pressure_read(meter, vram_now(), &reading);
	BUILD_BUG_ON(sizeof(p->avg_centi) != sizeof(reading.avg_centi));
	memcpy(p->total_us, reading.total_us, sizeof(p->total_us));
	memcpy(p->avg_centi, reading.avg_centi, sizeof(p->avg_centi));
	return 0;
}

/* vram_trigger() - VRAM_IOC_TRIGGER. */
int vram_trigger(struct vram_session *s, const struct vram_ioc_trigger *t)
{
	struct ledger_group *g;
	struct pressure *meter;
	int ret;

	if (t->flags & ~(VRAM_PRESSURE_DEVICE | VRAM_PRESSURE_FULL))
		return -EINVAL;
	ret = check_about(t->flags, t->dev, &t->group);
	if (ret)
		return ret;
	guard(mutex)(&vram.lock);
	ret = meter_of(s, t->flags, t->dev, &t->group, &meter, &g);
	if (ret)
		return ret;
	if (s->has_trigger || s->trigger_lost)
		return -EBUSY;
	ret = pressure_trigger_add(meter, &s->trigger,
				   t->flags & VRAM_PRESSURE_FULL ? PRESSURE_FULL : PRESSURE_SOME,
				   t->threshold_us, t->window_us, vram_now());
	if (ret)
		return ret;
	s->has_trigger = true;
	s->trigger_of = meter;
	s->trigger_group = g;
	if (g)
		group_priv(g)->n_holds++;
	list_add_tail(&s->trigger_node, &vram.triggers);
	vram_trigger_kick();
	return 0;
}

/* vram_trigger_take() - has the trigger of this descriptor fired since the last call? */
bool vram_trigger_take(struct vram_session *s)
{
	lockdep_assert_held(&vram.lock);
	return s->has_trigger && pressure_trigger_take(&s->trigger);
}

/* vram_trigger_drop() - take back what vram_trigger() did; the group may go with it. */
void vram_trigger_drop(struct vram_session *s)
{
	struct ledger_group *g = s->trigger_group;

	lockdep_assert_held(&vram.lock);
	if (!s->has_trigger)
		return;
	s->has_trigger = false;
	s->trigger_group = NULL;
	pressure_trigger_del(s->trigger_of, &s->trigger);
	list_del(&s->trigger_node);
	if (!g)
		return;
	group_priv(g)->n_holds--;
	if (g->kind != LEDGER_SESSION)
		group_collect(&vram.book, g);
}

/* vram_trigger_drop_group() - a session ends: nobody watches it any more. */
void vram_trigger_drop_group(struct ledger_group *g)
{
	struct vram_session *s, *next;

	list_for_each_entry_safe(s, next, &vram.triggers, trigger_node)
		if (s->trigger_group == g) {
			vram_trigger_drop(s);
			s->trigger_lost = true;
			wake_up_poll(&s->poll_wait, EPOLLERR | EPOLLPRI);
		}
}

/* vram_trigger_kick() - something stalls, or a trigger is new: evaluate. */
void vram_trigger_kick(void)
{
	lockdep_assert_held(&vram.lock);
	if (!list_empty(&vram.triggers) && !delayed_work_pending(&vram.trigger_work))
		schedule_delayed_work(&vram.trigger_work, 0);
}

void vram_trigger_tick(struct work_struct *work)
{
	u64 now, next = VRAM_U64_MAX;
	struct vram_session *s;

	guard(mutex)(&vram.lock);
	now = vram_now();
	list_for_each_entry(s, &vram.triggers, trigger_node) {
		/* Once for all triggers of a meter. */
		if (s->trigger_of->now_ns < now)
			pressure_poll(s->trigger_of, now);
		next = vram_min(next, s->trigger_of->poll_next_ns);
	}
	list_for_each_entry(s, &vram.triggers, trigger_node)
		if (s->trigger.event)
			wake_up_poll(&s->poll_wait, EPOLLPRI);
	if (next == VRAM_U64_MAX)
		return;
	next = next > now ? vram_min(next - now, TICK_MAX_NS) : 0;
	schedule_delayed_work(&vram.trigger_work, nsecs_to_jiffies(next) + 1);
}
