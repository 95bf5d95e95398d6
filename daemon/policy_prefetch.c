// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/policy_internal.h"

/*
 * Which chunks are loaded ahead of a session, and how many.
 *
 * The window of a session is the first `depth` chunks ahead of its cursor that
 * are not open to it: absent, being read, or read and not touched yet. Those of them
 * that are absent are to be loaded. A resident chunk in between costs nothing, so the
 * window may reach over a long resident run, but no farther than `reach`:
 * what is loaded a large part of a round too early takes the place of something
 * that is needed before.
 *
 * depth: as many as it passes while one is being loaded, by the measured latency
 * (mean plus four deviations) and its pace over closed chunks; at most window_bytes and a
 * quarter of the memory there is. Where the session only waits for the disk, its
 * pace is the disk's and depth grows to the most allowed, which keeps the disk's queue full.
 */

#define DEPTH_MIN 8u
/* The window may be this part of what is absent: it is read again in every round. */
#define WINDOW_PART 24u
#define REACH_MIN   16u

void policy_loaded(struct policy *p, uint64_t bytes, uint64_t ns)
{
	double d;

	if (!bytes)
		return;
	d = (double)ns - p->load_ns;
	if (p->load_ns <= 0) {
		p->load_ns = (double)ns;
		p->load_dev = (double)ns / 2;
		return;
	}
	p->load_ns += d / 16;
	p->load_dev += ((d < 0 ? -d : d) - p->load_dev) / 16;
}

static uint32_t clamp(double value, uint32_t low, uint32_t high)
{
	if (high < low)
		high = low;
	if (value <= low)
		return low;
	return value >= high ? high : (uint32_t)value;
}

size_t policy_prefetch(struct policy_user *user, uint64_t now_ns, uint32_t *out_chunks, size_t max)
{
	const struct policy_object *obj = user->obj;
	const struct policy *p = obj->p;
	double tau = user_pace(user), late = p->load_ns + 4 * p->load_dev;
	uint32_t memory, most, reach, from, ahead = 0, closed = 0;
	size_t n = 0;

	if (user->idle || !max || user_is_held(user, now_ns))
		return 0;
	memory = clamp((double)p->cfg.capacity_bytes / (double)obj->chunk_bytes, 1, UINT32_MAX);
	if (p->cfg.share == POLICY_SHARE_FAIR && user->tenant->quota)
		memory = clamp((double)user->tenant->quota / (double)obj->chunk_bytes, 1, memory);
	most = clamp((double)p->cfg.window_bytes / (double)obj->chunk_bytes, 2, UINT32_MAX);
	most = clamp(memory / 4.0, 1, most);
	most = clamp(obj->n_absent / WINDOW_PART, most < DEPTH_MIN ? most : DEPTH_MIN, most);
	/* Pace over closed chunks: the share of positions that are absent. */
	user->depth = clamp(1.5 * late / tau * obj->n_absent / obj->n_cycle + 2,
			    most < DEPTH_MIN ? most : DEPTH_MIN, most);
	reach = clamp(4 * late / tau, REACH_MIN > obj->n_cycle / 16 ? REACH_MIN : obj->n_cycle / 16,
		      obj->n_cycle / 4);
	if (reach >= obj->n_cycle)
		reach = obj->n_cycle > 1 ? obj->n_cycle - 1 : 1;

	from = user->started ? (user->cursor + 1) % obj->n_cycle : 0;
	while (ahead < reach && closed < user->depth && n < max) {
		uint32_t left = reach - ahead;
		uint32_t a = order_first(obj, &obj->absent, from, left);
		uint32_t f = order_first(obj, &obj->fresh, from, left);
		uint32_t to_a = a == UINT32_MAX ? left : order_ahead(obj, from, a);
		uint32_t to_f = f == UINT32_MAX ? left : order_ahead(obj, from, f);
		uint32_t step = to_a < to_f ? to_a : to_f;

		if (step >= left)
			break;
		if (to_a < to_f)
			out_chunks[n++] = obj->chunk_at[a];
		closed++;
		ahead += step + 1;
		from = (from + step + 1) % obj->n_cycle;
	}
	return n;
}
