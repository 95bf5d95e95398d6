// SPDX-License-Identifier: GPL-2.0-only
/* The local arbiter's pressure: readings and triggers. */
#include "daemon/arbiter_local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(ARBITER_PRESSURE_TEXT_MAX == PRESSURE_TEXT_MAX, "same text");

static int session_event(struct arbiter *a, uint64_t session, uint32_t dev, enum stall_event event,
			 uint64_t now_ns)
{
	struct ledger_group *g = session_of(a, session);
	struct local *l = local_of(a);

	if (!g || dev >= l->ledger->n_devices)
		return -ENOENT;
	return stall_event(&l->book, &l->device_pressure[dev], g, dev, event, now_ns);
}

int local_run(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	return session_event(a, session, dev, STALL_RUN, now_ns);
}

int local_idle(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	return session_event(a, session, dev, STALL_IDLE, now_ns);
}

int local_stall_begin(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	return session_event(a, session, dev, STALL_BEGIN, now_ns);
}

int local_stall_end(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	return session_event(a, session, dev, STALL_END, now_ns);
}

static void read_pressure(struct pressure *p, uint64_t now_ns, struct arbiter_pressure *out)
{
	struct pressure_reading reading;

	_Static_assert(sizeof(out->avg_centi) == sizeof(reading.avg_centi), "same averages");
	pressure_read(p, now_ns, &reading);
	memcpy(out->total_us, reading.total_us, sizeof(out->total_us));
	memcpy(out->avg_centi, reading.avg_centi, sizeof(out->avg_centi));
}

int local_pressure_group(struct arbiter *a, const struct arbiter_group *group, uint64_t now_ns,
			 struct arbiter_pressure *out)
{
	const struct ledger_group *g = group_of(a, group);

	if (!g)
		return -ENOENT;
	read_pressure(&group_priv(g)->pressure, now_ns, out);
	return 0;
}

int local_pressure_device(struct arbiter *a, uint32_t dev, uint64_t now_ns,
			  struct arbiter_pressure *out)
{
	struct local *l = local_of(a);

	if (dev >= l->ledger->n_devices)
		return -ENOENT;
	read_pressure(&l->device_pressure[dev], now_ns, out);
	return 0;
}

int local_trigger_add(struct arbiter *a, const struct arbiter_group *group, uint32_t dev, bool full,
		      uint64_t threshold_us, uint64_t window_us, uint64_t now_ns,
		      uint32_t *out_trigger)
{
	struct ledger_group *g = group ? group_of(a, group) : NULL;
	struct local *l = local_of(a);
	struct local_trigger *t;
	uint32_t id;
	int r;

	if (group ? !g : dev >= l->ledger->n_devices)
		return -ENOENT;
	for (id = 0; id < LOCAL_MAX_TRIGGERS && l->trigger[id]; id++)
		;
	if (id == LOCAL_MAX_TRIGGERS)
		return -ENOSPC;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->group = g;
	t->pressure = g ? &group_priv(g)->pressure : &l->device_pressure[dev];
	r = pressure_trigger_add(t->pressure, &t->trigger, full ? PRESSURE_FULL : PRESSURE_SOME,
				 threshold_us, window_us, now_ns);
	if (r) {
		free(t);
		return r;
	}
	if (g)
		group_priv(g)->n_holds++;
	l->trigger[id] = t;
	*out_trigger = id;
	return 0;
}

void local_trigger_free(struct local *l, uint32_t id)
{
	struct local_trigger *t = l->trigger[id];

	pressure_trigger_del(t->pressure, &t->trigger);
	if (t->group)
		group_priv(t->group)->n_holds--;
	l->trigger[id] = NULL;
	free(t);
}

int local_trigger_del(struct arbiter *a, uint32_t trigger)
{
	struct local *l = local_of(a);
	struct ledger_group *g;

	if (trigger >= LOCAL_MAX_TRIGGERS || !l->trigger[trigger])
		return -ENOENT;
	g = l->trigger[trigger]->group;
	local_trigger_free(l, trigger);
	if (g && g->kind != LEDGER_SESSION)
		group_collect(&l->book, g);
	return 0;
}

uint64_t local_poll(struct arbiter *a, uint64_t now_ns, arbiter_trigger_fn fn, void *ctx)
{
	struct local *l = local_of(a);
	uint64_t next = UINT64_MAX;
	uint32_t i;

	for (i = 0; i < LOCAL_MAX_TRIGGERS; i++)
		if (l->trigger[i])
			next = vram_min(next, pressure_poll(l->trigger[i]->pressure, now_ns));
	for (i = 0; i < LOCAL_MAX_TRIGGERS; i++)
		if (l->trigger[i] && pressure_trigger_take(&l->trigger[i]->trigger))
			fn(ctx, i);
	return next;
}

int arbiter_pressure_format(const struct arbiter_pressure *p, char *buf, size_t size)
{
	struct pressure_reading reading;

	memcpy(reading.total_us, p->total_us, sizeof(reading.total_us));
	memcpy(reading.avg_centi, p->avg_centi, sizeof(reading.avg_centi));
	return pressure_format(&reading, buf, size);
}
