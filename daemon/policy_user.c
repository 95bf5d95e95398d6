// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/policy_internal.h"

/*
 * Where a session is in the order of an object, how fast it goes, and when it
 * will come by a chunk again.
 *
 * A session is seen only when it touches a chunk that was not open to it: one
 * that streams by, one that was just loaded, or a miss. Between two such
 * sightings its position is an extrapolation, so all that is kept is the last
 * sighting (cursor, cursor_ns) and the pace (tau, ns a position, stalls
 * included, because what matters is when it comes, not why).
 *
 *   active:  next(pos) = cursor_ns + ahead(cursor, pos) * tau
 *   idle:    next(pos) = now + mean remaining idle time + ahead * tau
 *
 * Several threads of one engine touch chunks a little out of order. A touch
 * shortly behind the cursor is a straggler: it does not move the cursor, but it
 * says how far behind the cursor chunks are still in use (lag), and the search
 * for victims starts behind that.
 *
 * A session is idle when it said so, or when it should have passed a chunk that
 * it cannot pass unseen long ago. One for which everything is resident cannot be
 * seen at all; after a while it is "quiet", and whoever is short of memory may take
 * one chunk of it as a probe (quota_object_level()). That makes a place that it
 * cannot pass unseen.
 */

#include <stdlib.h>
#include <string.h>

#define LAG_MIN	 3u
#define BACK_MAX 64u
/* So much of the way that the pace says it has surely gone. */
#define PASSED_SURELY  0.9
#define TAU_DEFAULT_NS 1e6
#define OVERDUE_NS     250000000ULL
#define QUIET_NS       2000000000ULL
/* Before any idle time was seen: people need a second or so. */
#define IDLE_GUESS_NS 1000000000ULL

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* Small objects have little room for stragglers. */
static uint32_t back_max(const struct policy_object *obj)
{
	return min_u32(BACK_MAX, obj->n_cycle / 8);
}

static double pace(const struct policy_user *user, enum policy_pass kind)
{
	if (user->tau[kind] > 0)
		return user->tau[kind];
	for (int i = 0; i < POLICY_N_PASS; i++)
		if (user->tau[i] > 0)
			return user->tau[i];
	return TAU_DEFAULT_NS;
}

/* Threads behind the cursor are not expected where every use is reported. */
static uint32_t lag_min(const struct policy_object *obj)
{
	return obj->p->cfg.all_touches ? 0 : min_u32(LAG_MIN, back_max(obj));
}

uint64_t user_lap_ns(const struct policy_user *user)
{
	return (uint64_t)(pace(user, user->next_pass) * user->obj->n_cycle) + 1;
}

/* Mean of what is left of an idle time that lasted so long already. */
static uint64_t idle_left(const struct policy_user *user, uint64_t now_ns)
{
	uint64_t elapsed = now_ns > user->idle_ns ? now_ns - user->idle_ns : 0;
	uint32_t n = min_u32(user->n_idles, POLICY_IDLE_SAMPLES), longer = 0;
	double sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (user->idles[i] <= elapsed)
			continue;
		sum += (double)(user->idles[i] - elapsed);
		longer++;
	}
	if (longer)
		return (uint64_t)(sum / longer);
	/* Longer than ever before: as long again, the usual guess for such times. */
	return n ? elapsed : elapsed + IDLE_GUESS_NS;
}

/*
 * How probable it is that the pass that begins is the last before a pause, by the
 * lengths of the last bursts. Near lengths are taken together.
 */
static void guess_stop(struct policy_user *user)
{
	uint32_t n = min_u32(user->n_bursts, POLICY_IDLE_SAMPLES), longer = 0, near = 0;
	uint32_t length = (uint32_t)(user->passes - user->burst_passes) + 1;
	uint32_t width = length / 16 + 1;

	for (uint32_t i = 0; i < n; i++) {
		longer += user->bursts[i] >= length;
		near += user->bursts[i] >= length && user->bursts[i] < length + width;
	}
	user->stops = longer ? (double)near / longer / width : n ? 1.0 / length : 0;
}

static double mean_idle(const struct policy_user *user)
{
	uint32_t n = min_u32(user->n_idles, POLICY_IDLE_SAMPLES);
	double sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += (double)user->idles[i];
	return n ? sum / n : 0;
}

/*
 * If the session may pause after this pass, what lies beyond is less dense in
 * time by that probability. Adding the expected pause instead would make a
 * short pass with a rare long pause look farther away than a slow steady one, and
 * moved more bytes in replays.
 */
static double thinned(const struct policy_user *user, double beyond)
{
	double pause;

	if (user->stops <= 0 || user->idle)
		return beyond;
	pause = mean_idle(user);
	if (user->stops > 0.999 || beyond * user->stops / (1 - user->stops) > pause)
		return beyond + pause;
	return beyond / (1 - user->stops);
}

/* Positions to the next chunk that the session cannot pass unseen; 0: none. */
static uint32_t to_tripwire(const struct policy_user *user)
{
	const struct policy_object *obj = user->obj;
	uint32_t from = user->cursor + 1 >= obj->n_cycle ? 0 : user->cursor + 1;
	uint32_t len = obj->n_cycle, pos;

	if (obj->p->cfg.all_touches)
		return 1;
	pos = order_first(obj, &obj->absent, from, len);
	if (pos != UINT32_MAX)
		len = order_ahead(obj, from, pos) + 1;
	pos = order_first(obj, &obj->fresh, from, len);
	if (pos != UINT32_MAX)
		len = order_ahead(obj, from, pos) + 1;
	else if (len == obj->n_cycle && obj->n_absent == 0)
		return 0;
	return len;
}

void user_find_wire(struct policy_user *user)
{
	user->wire = user->started ? to_tripwire(user) : 1;
}

uint32_t user_passed(const struct policy_user *user, uint64_t now_ns)
{
	uint32_t n = user->obj->n_cycle;
	double passed;

	if (user->idle || !user->started || user->wire == 1 || now_ns <= user->cursor_ns)
		return 0;
	passed = (double)(now_ns - user->cursor_ns) / pace(user, user->pass);
	/* Nothing will correct this: round and round. */
	if (!user->wire)
		return passed < 1e9 ? (uint32_t)passed % n : 0;
	passed *= PASSED_SURELY;
	return passed < user->wire - 1 ? (uint32_t)passed : user->wire - 1;
}

uint64_t user_next(const struct policy_user *user, uint32_t pos, uint64_t now_ns)
{
	const struct policy_object *obj = user->obj;
	enum policy_pass kind = user->idle ? user->next_pass : user->pass;
	uint32_t ahead = pos, to_end = obj->n_cycle;
	double t = (double)(user->idle ? now_ns : user->cursor_ns);

	if (!user->started)
		t = (double)now_ns;
	if (user->idle)
		t += (double)idle_left(user, now_ns);
	if (user->started) {
		ahead = order_ahead(obj, user->cursor, pos);
		if (ahead <= user_passed(user, now_ns))
			ahead += obj->n_cycle;
		to_end = obj->n_cycle - user->cursor;
	}
	if (ahead <= to_end)
		t += ahead * pace(user, kind);
	else
		t += to_end * pace(user, kind) +
		     thinned(user, (ahead - to_end) * pace(user, user->next_pass));
	return t <= (double)now_ns ? now_ns : (uint64_t)t;
}

static bool second_half(const struct policy_user *user)
{
	return user->started && user->cursor >= user->obj->n_cycle / 2;
}

void user_set_idle(struct policy_user *user, uint64_t since_ns)
{
	if (user->idle)
		return;
	if (user->started) {
		uint32_t length = (uint32_t)(user->passes - user->burst_passes) + second_half(user);

		user->bursts[user->n_bursts++ % POLICY_IDLE_SAMPLES] = length;
		if (user->n_bursts == 2 * POLICY_IDLE_SAMPLES)
			user->n_bursts = POLICY_IDLE_SAMPLES;
	}
	user->idle = true;
	user->quiet = false;
	user->idle_ns = since_ns;
	tenant_update_idle(user->obj->p, user->tenant);
	victim_dirty(user->obj);
}

void user_infer_idle(struct policy_user *user, uint64_t now_ns)
{
	const struct policy_object *obj = user->obj;
	uint64_t quiet_for, expected;
	uint32_t ahead;
	uint8_t f;

	if (user->idle || now_ns <= user->touch_ns)
		return;
	quiet_for = now_ns - user->touch_ns;
	if (!user->started) {
		/* It never touched anything: nothing will be missed. */
		if (quiet_for > QUIET_NS)
			user_set_idle(user, user->touch_ns);
		return;
	}
	/* It waits for us, not for its user. */
	f = obj->flags[user->cursor_chunk];
	if ((f & (CHUNK_RESIDENT | CHUNK_PINNED)) != CHUNK_RESIDENT)
		return;
	ahead = to_tripwire(user);
	if (!ahead) {
		if (!user->quiet && quiet_for > 2 * user_lap_ns(user) + QUIET_NS) {
			user->quiet = true;
			victim_dirty(user->obj);
		}
		return;
	}
	expected = (uint64_t)(pace(user, user->pass) * ahead);
	if (quiet_for > 4 * expected + OVERDUE_NS)
		user_set_idle(user, user->touch_ns);
}

static void wake(struct policy_user *user, uint64_t now_ns)
{
	user->idles[user->n_idles++ % POLICY_IDLE_SAMPLES] =
		now_ns > user->idle_ns ? now_ns - user->idle_ns : 0;
	/* Only how many and where the next goes is wanted of the counter. */
	if (user->n_idles == 2 * POLICY_IDLE_SAMPLES)
		user->n_idles = POLICY_IDLE_SAMPLES;
	user->idle = false;
	/* Pauses are between passes, seen or not that the last one ended. */
	user->burst_passes = user->passes + second_half(user);
	guess_stop(user);
	tenant_update_idle(user->obj->p, user->tenant);
}

static void learn_pace(struct policy_user *user, uint32_t ahead, uint64_t dt)
{
	uint32_t half = max_u32(user->obj->n_cycle / 2, 16);
	/* The first pass is full of surprises: forget them quickly. */
	double window = user->passes > 1 ? half : min_u32(half, 64);
	double *tau = &user->tau[user->pass], *weight = &user->tau_weight[user->pass];

	*weight += ahead;
	if (*weight > window)
		*weight = window;
	if (*weight < ahead)
		*weight = ahead;
	*tau += ((double)dt / ahead - *tau) * ahead / *weight;
}

/*
 * A pass over a learned object ended. What was not used in it although most was
 * is not part of the cycle: rows of an embedding, for one.
 */
static void end_of_first_pass(struct policy_object *obj)
{
	if (obj->declared || obj->n_seen == obj->n || obj->n_seen < obj->n / 2)
		return;
	if (order_need_lanes(obj))
		return; /* without lanes nothing is rare: more is loaded ahead than needed */
	for (uint32_t c = 0; c < obj->n; c++)
		if (!(obj->flags[c] & CHUNK_SEEN))
			order_set_flags(obj, c, obj->flags[c] | CHUNK_RARE);
}

static void end_of_pass(struct policy_user *user)
{
	struct policy_object *obj = user->obj;
	uint32_t limit = back_max(obj);

	user->passes++;
	/* Stragglers: grow at once, shrink slowly. */
	user->lag = max_u32(user->lag_seen + user->lag_seen / 2 + lag_min(obj),
			    user->lag - user->lag / 4);
	user->lag = min_u32(user->lag, limit);
	user->lag_seen = 0;
	if (user->passes >= user->burst_passes)
		guess_stop(user);
	user->pass = user->next_pass;
	if (user->hinted)
		user->next_pass = POLICY_PASS_DECODE;
	if (user->passes > obj->passes) {
		obj->passes = user->passes;
		if (obj->passes == 1)
			end_of_first_pass(obj);
	}
}

static void advance(struct policy_user *user, uint32_t pos, uint32_t ahead, uint64_t now_ns,
		    bool resumed)
{
	const struct policy_object *obj = user->obj;
	bool wrapped = user->cursor + ahead >= obj->n_cycle;
	uint64_t dt = now_ns > user->cursor_ns ? now_ns - user->cursor_ns : 0;

	if (!resumed && user->tau[user->pass] > 0) {
		uint64_t expected = (uint64_t)(pace(user, user->pass) * ahead);

		/* A pause that no tick noticed. */
		if (dt > 4 * expected + OVERDUE_NS && user->passes) {
			user_set_idle(user, user->cursor_ns + expected);
			wake(user, now_ns);
			resumed = true;
		}
	}
	if (!resumed)
		learn_pace(user, ahead, dt);
	user->cursor = pos;
	user->cursor_chunk = obj->chunk_at[pos];
	user->cursor_ns = now_ns;
	if (wrapped)
		end_of_pass(user);
}

/* Nobody uses the order that was learned any more: learn it again. */
static void check_order(struct policy_object *obj, const struct policy_user *user, uint32_t pos)
{
	uint32_t ahead = order_ahead(obj, user->cursor, pos), wire;

	if (obj->declared || !obj->passes || obj->n_cycle < 64)
		return;
	wire = to_tripwire(user);
	obj->n_touches++;
	if (wire && ahead > wire + obj->n_cycle / 16)
		obj->n_jumps++;
	if (obj->n_touches < 256)
		return;
	if (obj->n_jumps > obj->n_touches / 3) {
		order_forget(obj);
		obj->passes = 0;
		for (uint32_t i = 0; i < obj->n_users; i++)
			obj->users[i]->passes = 0;
	}
	obj->n_touches = 0;
	obj->n_jumps = 0;
}

static void waited_drop(struct policy_user *user)
{
	struct policy_object *obj = user->obj;
	uint32_t old = user->waited[user->waited_first];

	user->waited_first = (user->waited_first + 1) % POLICY_WAITED;
	user->n_waited--;
	if (!(obj->flags[old] & CHUNK_FRESH))
		order_set_flags(obj, old, obj->flags[old] & (uint8_t)~CHUNK_PROTECTED);
}

/*
 * The chunks that a thread faulted on are protected although nobody touches
 * them after their load (the fault was the touch). Only the last few, and a small
 * part of the memory there is, or protection would pile up.
 */
static void remember_waited(struct policy_user *user, uint32_t chunk)
{
	struct policy_object *obj = user->obj;
	uint32_t most = max_u32(2, min_u32(POLICY_WAITED, obj->n_resident / 8));

	/* One that is pushed out of its place is protected as a load ahead would be. */
	if (!(obj->flags[chunk] & CHUNK_RESIDENT))
		obj->wanted[chunk % POLICY_WANTED] = chunk + 1;
	for (uint32_t i = 0; i < user->n_waited; i++)
		if (user->waited[(user->waited_first + i) % POLICY_WAITED] == chunk)
			return;
	while (user->n_waited >= most)
		waited_drop(user);
	user->waited[(user->waited_first + user->n_waited++) % POLICY_WAITED] = chunk;
}

bool user_waits_for(struct policy_object *obj, uint32_t chunk)
{
	if (obj->wanted[chunk % POLICY_WANTED] != chunk + 1)
		return false;
	obj->wanted[chunk % POLICY_WANTED] = 0;
	return true;
}

bool user_drop_waited(struct policy_user *user)
{
	if (!user->n_waited)
		return false;
	waited_drop(user);
	victim_dirty(user->obj);
	return true;
}

void policy_touch(struct policy_user *user, uint32_t chunk, uint64_t now_ns)
{
	struct policy_object *obj = user->obj;
	bool resumed = user->idle;
	uint32_t pos, ahead;
	uint8_t f;

	if (chunk >= obj->n)
		return;
	if (user->idle)
		wake(user, now_ns);
	user->quiet = false;
	user->touch_ns = now_ns;
	victim_dirty(obj);

	f = obj->flags[chunk];
	if (f & CHUNK_RESIDENT && !(f & CHUNK_PINNED))
		f &= (uint8_t)~CHUNK_PROTECTED;
	order_set_flags(obj, chunk, f & (uint8_t)~CHUNK_FRESH);
	/* Absent or in flight: the thread will come back to it after the load. */
	if (!(f & CHUNK_RESIDENT) || f & CHUNK_PINNED)
		remember_waited(user, chunk);
	if (obj->flags[chunk] & CHUNK_RARE) {
		if (!rare_touch(user, chunk))
			return;
	} else {
		obj->score[chunk] = 0;
	}

	if (!(obj->flags[chunk] & CHUNK_SEEN)) {
		order_set_flags(obj, chunk, obj->flags[chunk] | CHUNK_SEEN);
		/* Later the cursor may be a round behind without anybody having seen it. */
		if (user->started && !obj->passes)
			order_place_after(obj, chunk, user->cursor_chunk);
	}
	pos = obj->pos_of[chunk];
	if (pos >= obj->n_cycle)
		return;
	if (!user->started) {
		user->started = true;
		user->cursor = pos;
		user->cursor_chunk = chunk;
		user->cursor_ns = now_ns;
		return;
	}
	ahead = order_ahead(obj, user->cursor, pos);
	if (!ahead) {
		if (resumed)
			user->cursor_ns = now_ns;
		/* A cycle of one chunk comes round with every touch. */
		if (obj->n_cycle == 1)
			advance(user, pos, 1, now_ns, resumed);
		return;
	}
	if (obj->n_cycle - ahead <= back_max(obj)) {
		user->lag_seen = max_u32(user->lag_seen, obj->n_cycle - ahead);
		user->lag = max_u32(user->lag, min_u32(user->lag_seen + 1, back_max(obj)));
		return;
	}
	check_order(obj, user, pos);
	advance(user, pos, ahead, now_ns, resumed);
}

void policy_user_pass(struct policy_user *user, enum policy_pass kind)
{
	if ((unsigned int)kind >= POLICY_N_PASS)
		return;
	user->hinted = kind != POLICY_PASS_UNKNOWN;
	user->next_pass = kind;
	/* Said near the end of a pass it is meant for the next one. */
	if (!second_half(user)) {
		user->pass = kind;
		user->next_pass = user->hinted ? POLICY_PASS_DECODE : kind;
	}
	victim_dirty(user->obj);
}

void policy_user_idle(struct policy_user *user, uint64_t now_ns)
{
	user_set_idle(user, now_ns);
}

void user_init(struct policy_user *user)
{
	user->lag = lag_min(user->obj);
}

double user_pace(const struct policy_user *user)
{
	return pace(user, user->pass);
}

void policy_user_info(const struct policy_user *user, struct policy_user_info *out)
{
	out->started = user->started;
	out->position = user->started ? user->cursor : 0;
	out->n_positions = user->obj->n_cycle;
	out->passes = user->passes;
	out->ns_per_chunk = (uint64_t)user->tau[user->pass];
	out->lag = user->lag;
	out->depth = user->depth;
	out->idle = user->idle;
}
