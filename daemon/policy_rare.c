// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/policy_internal.h"

/*
 * Chunks that are not used in every pass: experts, rows of an embedding.
 *
 * Which of them a pass will use is not known before, so they are never loaded
 * ahead, and their next use is a guess from how often they were used:
 * a round divided by the probability of a use in a pass. They are kept in lanes
 * by that probability, half a power of two each, and the lowest lane that has one
 * gives its victim. Only its guess is compared with the chunks of the cycle.
 *
 * score: the probability in the upper twelve bits, a mean over the last passes
 * (over all passes as long as there were few); the number of passes in a row that used it in
 * the lower four. used_pass: up to where the score is accounted for. Passes
 * without a use lower the score only when somebody looks.
 *
 * Where only first uses after a load are seen, a resident chunk may be used without
 * being seen. So its score rests while it is resident, what is measured is how soon
 * it is wanted again once it is gone, and within a lane victims are taken in turn.
 */

/* Passes over which the mean goes. */
#define WINDOW 64u
/* Passes without a use that are taken to have been before the first. */
#define PRIOR 3u
#define P_ONE 4096u
/* Used in so many passes in a row: it is of the cycle. */
#define PROMOTE_STREAK 3u
/* Loaded ahead in vain so often in a row: it is not. */
#define WASTED_MAX 2u
/* Never used again as far as is known: so many rounds away. */
#define UNUSED_ROUNDS 256.0

static uint32_t p_of(uint16_t score)
{
	return score >> 4;
}

static uint32_t streak_of(uint16_t score)
{
	return score & 15;
}

static uint16_t score_of(uint32_t p, uint32_t streak)
{
	return (uint16_t)((p < P_ONE ? p : P_ONE - 1) << 4 | (streak < 15 ? streak : 15));
}

/* Lane k begins at 2^(k / 2) / 256 of a use a pass. */
uint32_t rare_lane(uint16_t score)
{
	static const uint16_t from[POLICY_LANES] = { 0,	  23,  32,  45,	 64,   91,   128,  181,
						     256, 362, 512, 724, 1024, 1448, 2048, 2896 };
	uint32_t p = p_of(score), lane = POLICY_LANES - 1;

	while (lane && p < from[lane])
		lane--;
	return lane;
}

static bool rests(const struct policy_object *obj, uint32_t chunk)
{
	return !obj->p->cfg.all_touches && obj->flags[chunk] & CHUNK_RESIDENT;
}

/* The probability now: passes since the last use lower it. */
static uint32_t p_now(const struct policy_object *obj, uint32_t chunk)
{
	uint32_t p = p_of(obj->score[chunk]);
	uint32_t missed = (uint16_t)(obj->passes - obj->used_pass[chunk]);
	uint64_t since = obj->passes - missed;

	if (rests(obj, chunk) || missed <= 1)
		return p;
	missed--; /* the present one is not over */
	/* A mean over all passes until there were enough, then one that forgets. */
	if (since < WINDOW && missed < 0x8000) {
		uint64_t until = since + missed < WINDOW ? since + missed : WINDOW;

		p = (uint32_t)(p * (since + PRIOR) / (until + PRIOR));
		missed -= (uint32_t)(until - since);
	}
	/* Powers of (1 - 1 / WINDOW) in 1/65536, then the rest one by one. */
	for (; missed >= 128 && p; missed -= 128)
		p = p * 8730 >> 16;
	for (; missed >= 8 && p; missed -= 8)
		p = p * 57780 >> 16;
	for (; missed && p; missed--)
		p -= (p + WINDOW - 1) / WINDOW;
	return p;
}

bool rare_touch(struct policy_user *user, uint32_t chunk)
{
	struct policy_object *obj = user->obj;
	uint32_t p = p_now(obj, chunk), streak = streak_of(obj->score[chunk]);
	uint32_t since = (uint16_t)(obj->passes - obj->used_pass[chunk]);
	uint64_t window = obj->passes + PRIOR < WINDOW ? obj->passes + PRIOR : WINDOW;
	uint8_t f = obj->flags[chunk];

	/* Once a pass; the first use of all counts although no pass has ended. */
	if (since || !p) {
		p += (P_ONE - p) / (uint32_t)window;
		streak = since <= 1 ? streak + 1 : 1;
	}
	order_set_score(obj, chunk, score_of(p, streak));
	obj->used_pass[chunk] = (uint16_t)obj->passes;
	if (f & CHUNK_FIXED)
		return false;
	f |= CHUNK_SEEN;
	order_set_flags(obj, chunk, f);
	if (streak < PROMOTE_STREAK)
		return false;
	order_set_flags(obj, chunk, f & (uint8_t)~CHUNK_RARE);
	obj->score[chunk] = 0;
	return true;
}

void rare_load_wasted(struct policy_object *obj, uint32_t chunk)
{
	uint32_t pos = obj->pos_of[chunk];

	if (obj->declared || pos >= obj->n_cycle)
		return;
	for (uint32_t i = 0; i < obj->n_users; i++) {
		const struct policy_user *u = obj->users[i];
		uint32_t behind = u->started ? order_ahead(obj, pos, u->cursor) : 0;

		/* Not passed yet by this one: it was taken before its time. */
		if (!behind || behind > obj->n_cycle / 2)
			return;
	}
	if (++obj->score[chunk] < WASTED_MAX || order_need_lanes(obj))
		return;
	obj->score[chunk] = score_of(P_ONE / 8, 0);
	obj->used_pass[chunk] = (uint16_t)obj->passes;
	order_set_flags(obj, chunk, obj->flags[chunk] | CHUNK_RARE);
}

/* From here on it can be seen that nobody wants it. */
void rare_evicted(struct policy_object *obj, uint32_t chunk)
{
	if (rests(obj, chunk))
		obj->used_pass[chunk] = (uint16_t)obj->passes;
}

static uint64_t round_ns(const struct policy_object *obj)
{
	uint64_t shortest = POLICY_NEVER;

	for (uint32_t i = 0; i < obj->n_users && i < 8; i++) {
		uint64_t lap = user_lap_ns(obj->users[i]);

		if (lap < shortest)
			shortest = lap;
	}
	return shortest;
}

uint64_t rare_next(const struct policy_object *obj, uint32_t chunk, uint64_t now_ns)
{
	uint64_t start = POLICY_NEVER;
	uint32_t p = p_now(obj, chunk);
	double rounds = p ? (double)P_ONE / p : UNUSED_ROUNDS, t;

	if (!obj->n_users)
		return POLICY_NEVER;
	/* Its session may rest first: when it comes to this place at the earliest. */
	for (uint32_t i = 0; i < obj->n_users && i < 8; i++) {
		uint32_t pos = obj->pos_of[chunk] < obj->n_cycle ? obj->pos_of[chunk] : 0;
		uint64_t next = user_next(obj->users[i], pos, now_ns);

		if (next < start)
			start = next;
	}
	t = (double)start + (double)round_ns(obj) * (rounds - 1);
	return t < 1.8e19 ? (uint64_t)t : POLICY_NEVER;
}

uint32_t rare_victim(struct policy_object *obj, uint64_t now_ns, uint64_t *out_next_ns)
{
	bool in_turn = !obj->p->cfg.all_touches;
	uint32_t from = obj->n_cycle - 1;

	if (!obj->lane_memory)
		return UINT32_MAX;
	if (in_turn)
		from = obj->hand < obj->n_cycle ? obj->hand : from;
	else if (obj->n_users && obj->users[0]->started)
		from = obj->users[0]->cursor;
	for (uint32_t lane = 0; lane < POLICY_LANES; lane++) {
		uint32_t pos = order_last(obj, &obj->lane[lane], from, obj->n_cycle);
		uint32_t chunk, p;

		if (pos == UINT32_MAX)
			pos = order_any(obj, &obj->lane[lane]);
		if (pos == UINT32_MAX)
			continue;
		obj->hand = pos;
		chunk = obj->chunk_at[pos];
		/* What nobody used any more goes down before it goes. */
		p = p_now(obj, chunk);
		if (p != p_of(obj->score[chunk])) {
			order_set_score(obj, chunk, score_of(p, 0));
			obj->used_pass[chunk] = (uint16_t)(obj->passes - 1);
		}
		*out_next_ns = rare_next(obj, chunk, now_ns);
		return chunk;
	}
	return UINT32_MAX;
}
