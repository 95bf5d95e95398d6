// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/trigger.h"

#include <errno.h>

#include "common/err.h"

int trigger_init(struct trigger *t, uint64_t threshold_us, uint64_t window_us)
{
	if (window_us < TRIGGER_WINDOW_MIN_US || window_us > TRIGGER_WINDOW_MAX_US ||
	    threshold_us == 0 || threshold_us > window_us)
		return err_origin(-EINVAL);
	*t = (struct trigger){ .threshold_us = threshold_us, .window_ns = window_us * 1000 };
	return 0;
}

void trigger_restart(struct trigger *t, uint64_t now_ns, uint64_t total_us)
{
	t->start_ns = now_ns;
	t->start_us = total_us;
	t->before_us = 0;
	t->last_us = total_us;
	t->moved_ns = now_ns;
}

/* What grew within the last window, up to now. */
static uint64_t growth(struct trigger *t, uint64_t now_ns, uint64_t total_us)
{
	uint64_t grown = total_us - t->start_us, elapsed = now_ns - t->start_ns;

	if (elapsed < t->window_ns)
		return grown + (uint64_t)((double)t->before_us * (double)(t->window_ns - elapsed) /
					  (double)t->window_ns);
	t->start_ns = now_ns;
	t->start_us = total_us;
	t->before_us = grown;
	return grown;
}

bool trigger_feed(struct trigger *t, uint64_t now_ns, uint64_t total_us)
{
	uint64_t grown;

	/* A meter that began anew, or a clock that stood: as if nobody had looked. */
	if (now_ns < t->start_ns || total_us < t->last_us)
		trigger_restart(t, now_ns, total_us);
	grown = growth(t, now_ns, total_us);
	if (total_us != t->last_us) {
		t->last_us = total_us;
		t->moved_ns = now_ns;
		t->pending |= grown >= t->threshold_us;
	}
	if (!t->pending || (t->fired && now_ns - t->fired_ns < t->window_ns))
		return false;
	t->pending = false;
	t->fired = true;
	t->fired_ns = now_ns;
	return true;
}

bool trigger_is_quiet(const struct trigger *t, uint64_t now_ns)
{
	return !t->pending && now_ns - t->moved_ns > t->window_ns;
}
