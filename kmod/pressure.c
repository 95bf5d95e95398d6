// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pressure: the time lost waiting for device memory, by the rules and in the
 * format of the kernel's PSI (Documentation/accounting/psi.rst).
 *
 * Model
 * -----
 * One struct pressure watches a set of units (for us: the sessions below a group, or
 * those using a device). A unit is idle, running or stalled.
 *
 *	some = at least one unit is stalled
 *	full = at least one is stalled and none is running
 *
 * This is psi.c's model for one CPU: a device is one resource that a session
 * either can or cannot make progress on. `total` is the time spent in a state.
 * Every 2 s the share of that period, in whole percent, is folded into
 * three averages by the kernel's calc_load(), 11 fraction bits, with its
 * decay constants, so the numbers equal those of /proc/pressure for the
 * same stalls.
 *
 * The kernel samples from a delayed work item and has to make amends when it
 * runs late. Here nobody has to call in time: between two calls the state is constant,
 * so each call closes the periods that have passed, one by one, exactly as if
 * it had come at every boundary. Only triggers need a timer.
 *
 * A trigger fires when the stall time of the last window reaches a threshold.
 * The window slides approximately, as in psi.c: growth since the window began
 * plus the previous window's growth in proportion to what of it still
 * overlaps. At most one event a window; one that comes too early is held
 * back, not dropped, and polling goes on until it is out (psi.c may go to
 * sleep on it).
 *
 * Time is given by the caller, in ns; a time before the latest one counts as
 * that one. Locking: the caller's, for readers too. Nothing allocates; triggers are
 * embedded in objects of the caller.
 */
#include "kmod/pressure.h"

#define FIXED_SHIFT    11
#define FIXED_ONE      (1u << FIXED_SHIFT)
#define POLLS_A_WINDOW 10

/* 2048 / e^(2 s / 10 s, 60 s, 300 s) */
static const u32 decay[PRESSURE_N_AVGS] = { 1677, 1981, 2034 };

static bool is_in(const struct pressure *p, u32 state)
{
	return p->n_stalled && (state == PRESSURE_SOME || !p->n_running);
}

/* calc_load() of include/linux/sched/loadavg.h: rounds towards @active. */
static u32 fold(u32 avg, u32 exp, u32 active)
{
	u64 sum = (u64)avg * exp + (u64)active * (FIXED_ONE - exp);

	if (active >= avg)
		sum += FIXED_ONE - 1;
	return (u32)(sum >> FIXED_SHIFT);
}

/* Fold the period that ends now. Return: whether any average moved. */
static bool close_period(struct pressure *p)
{
	bool moved = false;
	u32 s, a;

	for (s = 0; s < PRESSURE_N_STATES; s++) {
		u64 stalled = p->total_ns[s] - p->period_total_ns[s];
		u32 active = (u32)vram_div(stalled * 100, PRESSURE_PERIOD_NS) * FIXED_ONE;

		p->period_total_ns[s] = p->total_ns[s];
		for (a = 0; a < PRESSURE_N_AVGS; a++) {
			u32 next = fold(p->avg[s][a], decay[a], active);

			moved |= next != p->avg[s][a];
			p->avg[s][a] = next;
		}
	}
	p->period_end_ns += PRESSURE_PERIOD_NS;
	return moved;
}

static void count_until(struct pressure *p, u64 now_ns)
{
	u32 s;

	for (s = 0; s < PRESSURE_N_STATES; s++)
		if (is_in(p, s))
			p->total_ns[s] += now_ns - p->now_ns;
	p->now_ns = now_ns;
}

/* Bring everything up to @now_ns, during which the state did not change. */
static void advance(struct pressure *p, u64 now_ns)
{
	bool whole = false; /* the last period closed began after the last change */

	if (now_ns < p->now_ns)
		return;
	while (now_ns >= p->period_end_ns) {
		bool moved;

		count_until(p, p->period_end_ns);
		moved = close_period(p);
		if (whole && !moved && now_ns >= p->period_end_ns) {
			/* The averages have settled: the remaining periods are all alike. */
			u64 n = vram_div(now_ns - p->period_end_ns, PRESSURE_PERIOD_NS);
			u32 s;

			p->period_end_ns += n * PRESSURE_PERIOD_NS;
			count_until(p, p->period_end_ns - PRESSURE_PERIOD_NS);
			for (s = 0; s < PRESSURE_N_STATES; s++)
				p->period_total_ns[s] = p->total_ns[s];
		}
		whole = true;
	}
	count_until(p, now_ns);
}

/* ---- units ------------------------------------------------------------------ */

/*
 * pressure_init() - no units, no stalls, no triggers; periods begin at @now_ns.
 */
void pressure_init(struct pressure *p, u64 now_ns)
{
	memset(p, 0, sizeof(*p));
	p->now_ns = now_ns;
	p->period_end_ns = now_ns + PRESSURE_PERIOD_NS;
	p->poll_next_ns = VRAM_U64_MAX;
}

/* The states that some trigger watches and that hold now. */
static bool is_watched(const struct pressure *p)
{
	const struct pressure_trigger *t;

	for (t = p->triggers; t; t = t->next)
		if (is_in(p, t->state))
			return true;
	return false;
}

static void window_begin(struct pressure_trigger *t, u64 now_ns, u64 total, u64 prev_growth)
{
	t->start_ns = now_ns;
	t->start_total = total;
	t->prev_growth = prev_growth;
}

static void poll_begin(struct pressure *p)
{
	struct pressure_trigger *t;

	if (p->poll_next_ns != VRAM_U64_MAX || !is_watched(p))
		return;
	for (t = p->triggers; t; t = t->next)
		window_begin(t, p->now_ns, p->total_ns[t->state], 0);
	memcpy(p->poll_total_ns, p->total_ns, sizeof(p->total_ns));
	memcpy(p->trigger_total_ns, p->total_ns, sizeof(p->total_ns));
	p->poll_next_ns = p->now_ns + p->poll_min_ns;
	p->poll_until_ns = p->now_ns + p->poll_min_ns * POLLS_A_WINDOW;
}

static int change(struct pressure *p, u64 now_ns, int d_running, int d_stalled)
{
	if ((d_running < 0 && !p->n_running) || (d_stalled < 0 && !p->n_stalled))
		return -EINVAL;
	advance(p, now_ns);
	p->n_running += d_running;
	p->n_stalled += d_stalled;
	poll_begin(p);
	return 0;
}

/*
 * pressure_run() - an idle unit begins to run.
 *
 * Return: 0.
 */
int pressure_run(struct pressure *p, u64 now_ns)
{
	return change(p, now_ns, 1, 0);
}

/*
 * pressure_idle() - a running unit becomes idle (or ends).
 *
 * Return: 0; -EINVAL: none is running.
 */
int pressure_idle(struct pressure *p, u64 now_ns)
{
	return change(p, now_ns, -1, 0);
}

/*
 * pressure_enter() - a running unit stalls.
 *
 * Return: 0; -EINVAL: none is running.
 */
int pressure_enter(struct pressure *p, u64 now_ns)
{
	return change(p, now_ns, -1, 1);
}

/*
 * pressure_leave() - a stalled unit runs again.
 *
 * Return: 0; -EINVAL: none is stalled.
 */
int pressure_leave(struct pressure *p, u64 now_ns)
{
	return change(p, now_ns, 1, -1);
}

/*
 * pressure_read() - averages and totals as of now.
 */
void pressure_read(struct pressure *p, u64 now_ns, struct pressure_reading *out_reading)
{
	u32 s, a;

	advance(p, now_ns);
	for (s = 0; s < PRESSURE_N_STATES; s++) {
		out_reading->total_us[s] = vram_div(p->total_ns[s], 1000);
		for (a = 0; a < PRESSURE_N_AVGS; a++) {
			u32 avg = p->avg[s][a];

			out_reading->avg_centi[s][a] =
				(avg >> FIXED_SHIFT) * 100 +
				(((avg & (FIXED_ONE - 1)) * 100) >> FIXED_SHIFT);
		}
	}
}

/*
 * pressure_format() - print a reading as /proc/pressure/memory does: a `some` and a
 * `full` line.
 *
 * Return: the length; -EOVERFLOW if @size is less than PRESSURE_TEXT_MAX.
 */
int pressure_format(const struct pressure_reading *reading, char *buf, size_t size)
{
	int len = 0;
	u32 s;

	if (size < PRESSURE_TEXT_MAX)
		return -EOVERFLOW;
	for (s = 0; s < PRESSURE_N_STATES; s++) {
		const u32 *a = reading->avg_centi[s];

		len += vram_snprintf(buf + len, size - len,
				     "%s avg10=%u.%02u avg60=%u.%02u avg300=%u.%02u total=%llu\n",
				     s == PRESSURE_SOME ? "some" : "full", a[0] / 100, a[0] % 100,
				     a[1] / 100, a[1] % 100, a[2] / 100, a[2] % 100,
				     (unsigned long long)reading->total_us[s]);
	}
	return len;
}

/* ---- triggers --------------------------------------------------------------- */

static void find_min_period(struct pressure *p)
{
	const struct pressure_trigger *t;
	u64 min = VRAM_U64_MAX;

	for (t = p->triggers; t; t = t->next)
		min = vram_min(min, t->window_ns);
	p->poll_min_ns = p->triggers ? vram_div(min, POLLS_A_WINDOW) : 0;
	if (!p->triggers)
		p->poll_next_ns = VRAM_U64_MAX;
}

/*
 * pressure_trigger_add() - fire when the time in @state within a window reaches a
 * threshold.
 * @t: the caller's; linked in until pressure_trigger_del()
 *
 * Return: 0; -EINVAL: a window outside 500 ms to 10 s, a threshold of 0 or above
 * the window, no such state.
 */
int pressure_trigger_add(struct pressure *p, struct pressure_trigger *t, u32 state,
			 u64 threshold_us, u64 window_us, u64 now_ns)
{
	if (state >= PRESSURE_N_STATES || window_us < PRESSURE_WINDOW_MIN_US ||
	    window_us > PRESSURE_WINDOW_MAX_US || !threshold_us || threshold_us > window_us)
		return -EINVAL;
	advance(p, now_ns);
	memset(t, 0, sizeof(*t));
	t->state = state;
	t->threshold_ns = threshold_us * 1000;
	t->window_ns = window_us * 1000;
	window_begin(t, p->now_ns, p->total_ns[state], 0);
	t->next = p->triggers;
	p->triggers = t;
	find_min_period(p);
	poll_begin(p);
	if (p->poll_next_ns != VRAM_U64_MAX)
		p->poll_next_ns = vram_min(p->poll_next_ns, p->now_ns + p->poll_min_ns);
	return 0;
}

/*
 * pressure_trigger_del() - unlink a trigger that was added.
 */
void pressure_trigger_del(struct pressure *p, struct pressure_trigger *t)
{
	struct pressure_trigger **at = &p->triggers;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	find_min_period(p);
}

/*
 * pressure_trigger_take() - has it fired since the last call?
 */
bool pressure_trigger_take(struct pressure_trigger *t)
{
	bool event = t->event;

	t->event = false;
	return event;
}

/* The stall time of the last window, about. */
static u64 window_growth(struct pressure_trigger *t, u64 now_ns, u64 total)
{
	u64 elapsed = now_ns - t->start_ns;
	u64 growth = total - t->start_total;

	if (elapsed > t->window_ns) {
		window_begin(t, now_ns, total, growth);
		return growth;
	}
	return growth + vram_mul_div(t->prev_growth, t->window_ns - elapsed, t->window_ns);
}

static void evaluate(struct pressure *p)
{
	struct pressure_trigger *t;

	for (t = p->triggers; t; t = t->next) {
		u64 total = p->total_ns[t->state];

		if (total != p->trigger_total_ns[t->state] &&
		    window_growth(t, p->now_ns, total) >= t->threshold_ns)
			t->pending = true;
		if (!t->pending || (t->has_fired && p->now_ns - t->last_event_ns < t->window_ns))
			continue;
		t->event = true;
		t->has_fired = true;
		t->last_event_ns = p->now_ns;
		t->pending = false;
	}
	memcpy(p->trigger_total_ns, p->total_ns, sizeof(p->total_ns));
}

/*
 * pressure_poll() - evaluate the triggers; then ask each with pressure_trigger_take().
 *
 * To be called at the time that the last call returned, and after a unit stalled
 * when that was VRAM_U64_MAX.
 *
 * Return: when to call again; VRAM_U64_MAX while nothing happens.
 */
u64 pressure_poll(struct pressure *p, u64 now_ns)
{
	const struct pressure_trigger *t;

	advance(p, now_ns);
	if (p->poll_next_ns == VRAM_U64_MAX)
		return VRAM_U64_MAX;
	for (t = p->triggers; t; t = t->next)
		if (t->pending || p->poll_total_ns[t->state] != p->total_ns[t->state])
			p->poll_until_ns = p->now_ns + p->poll_min_ns * POLLS_A_WINDOW;
	memcpy(p->poll_total_ns, p->total_ns, sizeof(p->total_ns));
	if (p->now_ns > p->poll_until_ns) {
		p->poll_next_ns = VRAM_U64_MAX;
		poll_begin(p);
		return p->poll_next_ns;
	}
	if (p->now_ns >= p->poll_next_ns) {
		evaluate(p);
		p->poll_next_ns = p->now_ns + p->poll_min_ns;
	}
	return p->poll_next_ns;
}
