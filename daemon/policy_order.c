// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/policy_internal.h"

/*
 * The cyclic order of an object and the bitmaps over it.
 *
 * Every chunk has one position, every position one chunk. An inference pass
 * walks positions 0 .. n_cycle - 1 and starts again; positions from n_cycle on
 * hold chunks that were declared to be outside the cycle.
 *
 * The flags of a chunk are the truth. The bitmaps are derived from them, are
 * indexed by position, and exist so that "the nearest behind the cursor that
 * may go" and "the next ahead that is absent" are found a word at a time; a
 * second level has a bit for every word that is not zero. order_set_flags()
 * and move() are the only writers.
 *
 * Learning. The order begins as the file's. A jump ahead leaves what was passed
 * over where it is. A chunk that is seen for the first time behind the cursor was
 * passed over by mistake: it is moved to behind the one that the same user touched
 * before, together with the chunks that follow it in the file and were not seen
 * either, since engines read a tensor from its start to its end. After
 * one pass the order is the sequence of first touches. Chunks that threads
 * touch alternately get alternate places, which is when they are needed; experts
 * that a pass did not choose keep theirs.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How far a run of unseen chunks follows the first of them to its new place. */
#define RUN_MAX 256u
/*
 * Positions of a block, and closed chunks that it may have above the mean. Small objects
 * take smaller blocks, since the search may go back a block and that much of a round is lost;
 * found with the closed loop and the replay.
 */
#define SMALL_OBJECT 640u
#define BLOCK_SMALL  16u
#define SLACK_SMALL  1u
#define BLOCK	     32u
#define SLACK	     0u

static void word_put(struct bitset *set, uint32_t w, uint64_t bits)
{
	set->word[w] = bits;
	if (bits)
		set->sum[w / 64] |= 1ULL << (w % 64);
	else
		set->sum[w / 64] &= ~(1ULL << (w % 64));
}

static void bit_put(struct bitset *set, uint32_t pos, bool on)
{
	uint64_t bit = 1ULL << (pos % 64);

	word_put(set, pos / 64, on ? set->word[pos / 64] | bit : set->word[pos / 64] & ~bit);
}

/*
 * The candidates of a word that lie in blocks with room. A chunk that was loaded
 * ahead counts as the hole that it fills until it is used: so it is the passing cursor
 * that makes room in a block, and the hole that is made behind it takes that room.
 */
static void room_update(struct policy_object *obj, uint32_t w)
{
	uint64_t closed = obj->absent.word[w] | obj->fresh.word[w], room = 0;
	uint64_t block = obj->block < 64 ? (1ULL << obj->block) - 1 : ~0ULL;

	for (uint32_t at = 0; at < 64; at += obj->block)
		if ((uint32_t)__builtin_popcountll(closed >> at & block) < obj->closed_max)
			room |= block << at;
	word_put(&obj->roomy, w, obj->cand.word[w] & room);
}

/*
 * The most that a block may have follows the mean. All blocks are looked at
 * again only after the mean moved by a quarter of a chunk a block, so that an
 * event costs O(1) in the long run.
 */
static void closed_update(struct policy_object *obj)
{
	uint32_t moved = obj->n_closed > obj->closed_at ? obj->n_closed - obj->closed_at :
							  obj->closed_at - obj->n_closed;
	uint32_t most = (uint32_t)((uint64_t)obj->n_closed * obj->block / obj->n) + 1 +
			(obj->block == BLOCK_SMALL ? SLACK_SMALL : SLACK);

	if (obj->closed_max && (most == obj->closed_max || moved * 4 < obj->n_words))
		return;
	obj->closed_max = most;
	obj->closed_at = obj->n_closed;
	for (uint32_t b = 0; b < obj->n_words; b++)
		room_update(obj, b);
}

/* The bits of a chunk at a position, from its flags. */
static void bits_write(struct policy_object *obj, uint32_t pos)
{
	uint32_t chunk = obj->chunk_at[pos];
	uint8_t f = obj->flags[chunk];
	bool free_to_go = (f & (CHUNK_RESIDENT | CHUNK_PINNED | CHUNK_PROTECTED)) == CHUNK_RESIDENT;
	bool rare = f & CHUNK_RARE;

	bit_put(&obj->absent, pos, !rare && !(f & CHUNK_RESIDENT));
	bit_put(&obj->fresh, pos, !rare && f & CHUNK_FRESH);
	bit_put(&obj->cand, pos, !rare && free_to_go);
	if (obj->lane_memory) {
		uint32_t lane = rare_lane(obj->score[chunk]);

		for (uint32_t i = 0; i < POLICY_LANES; i++)
			bit_put(&obj->lane[i], pos, rare && free_to_go && i == lane);
	}
	room_update(obj, pos / 64);
}

static void bitset_carve(struct bitset *set, uint64_t **at, uint32_t n_words, uint32_t n_sums)
{
	set->word = *at;
	*at += n_words;
	set->sum = *at;
	*at += n_sums;
}

int order_init(struct policy_object *obj)
{
	size_t words, bytes;
	uint64_t *at;

	obj->n_words = (obj->n + 63) / 64;
	obj->n_sums = (obj->n_words + 63) / 64;
	words = 4 * ((size_t)obj->n_words + obj->n_sums);
	bytes = words * sizeof(uint64_t) + (size_t)obj->n * (4 + 4 + 2 + 2 + 1);
	obj->memory = calloc(1, bytes);
	if (!obj->memory)
		return -ENOMEM;
	obj->memory_bytes += bytes;

	at = obj->memory;
	bitset_carve(&obj->absent, &at, obj->n_words, obj->n_sums);
	bitset_carve(&obj->fresh, &at, obj->n_words, obj->n_sums);
	bitset_carve(&obj->cand, &at, obj->n_words, obj->n_sums);
	bitset_carve(&obj->roomy, &at, obj->n_words, obj->n_sums);
	obj->block = obj->n < SMALL_OBJECT ? BLOCK_SMALL : BLOCK;
	obj->pos_of = (uint32_t *)at;
	obj->chunk_at = obj->pos_of + obj->n;
	obj->used_pass = (uint16_t *)(obj->chunk_at + obj->n);
	obj->score = obj->used_pass + obj->n;
	obj->flags = (uint8_t *)(obj->score + obj->n);

	obj->n_cycle = obj->n;
	obj->n_absent = obj->n;
	obj->n_closed = obj->n;
	closed_update(obj);
	for (uint32_t i = 0; i < obj->n; i++) {
		obj->pos_of[i] = i;
		obj->chunk_at[i] = i;
		bits_write(obj, i);
	}
	return 0;
}

void order_deinit(struct policy_object *obj)
{
	free(obj->memory);
	free(obj->lane_memory);
}

int order_need_lanes(struct policy_object *obj)
{
	size_t bytes = POLICY_LANES * ((size_t)obj->n_words + obj->n_sums) * sizeof(uint64_t);
	uint64_t *at;

	if (obj->lane_memory)
		return 0;
	at = calloc(1, bytes);
	if (!at)
		return -ENOMEM;
	obj->lane_memory = at;
	obj->memory_bytes += bytes;
	obj->p->memory_bytes += bytes;
	for (uint32_t i = 0; i < POLICY_LANES; i++)
		bitset_carve(&obj->lane[i], &at, obj->n_words, obj->n_sums);
	for (uint32_t pos = 0; pos < obj->n; pos++)
		if (obj->flags[obj->chunk_at[pos]] & CHUNK_RARE)
			bits_write(obj, pos);
	return 0;
}

static bool is_absent(uint8_t f)
{
	return !(f & (CHUNK_RARE | CHUNK_RESIDENT));
}

static bool is_closed(uint8_t f)
{
	return !(f & CHUNK_RARE) && (f & (CHUNK_RESIDENT | CHUNK_FRESH)) != CHUNK_RESIDENT;
}

void order_set_flags(struct policy_object *obj, uint32_t chunk, uint8_t new_flags)
{
	uint8_t old = obj->flags[chunk];
	uint8_t changed = old ^ new_flags;

	if (!changed)
		return;
	obj->flags[chunk] = new_flags;
	if (changed & CHUNK_RESIDENT)
		obj->n_resident += new_flags & CHUNK_RESIDENT ? 1 : -1u;
	if (changed & CHUNK_RARE)
		obj->n_rare += new_flags & CHUNK_RARE ? 1 : -1u;
	if (changed & CHUNK_SEEN)
		obj->n_seen += new_flags & CHUNK_SEEN ? 1 : -1u;
	obj->n_protected += !!(new_flags & CHUNK_PROTECTED) - !!(old & CHUNK_PROTECTED);
	obj->n_absent += is_absent(new_flags) - (uint32_t)is_absent(old);
	obj->n_closed += is_closed(new_flags) - (uint32_t)is_closed(old);
	bits_write(obj, obj->pos_of[chunk]);
	if (is_closed(new_flags) != is_closed(old))
		closed_update(obj);
}

void order_set_score(struct policy_object *obj, uint32_t chunk, uint16_t score)
{
	obj->score[chunk] = score;
	if (obj->flags[chunk] & CHUNK_RARE)
		bits_write(obj, obj->pos_of[chunk]);
}

static void reverse(uint32_t *a, uint32_t from, uint32_t to)
{
	while (from + 1 < to) {
		uint32_t t = a[from];

		a[from++] = a[--to];
		a[to] = t;
	}
}

/* Positions [middle, to) come before those of [from, middle). */
static void move(struct policy_object *obj, uint32_t from, uint32_t middle, uint32_t to)
{
	reverse(obj->chunk_at, from, middle);
	reverse(obj->chunk_at, middle, to);
	reverse(obj->chunk_at, from, to);
	for (uint32_t pos = from; pos < to; pos++) {
		obj->pos_of[obj->chunk_at[pos]] = pos;
		bits_write(obj, pos);
	}
	for (uint32_t i = 0; i < obj->n_users; i++)
		obj->users[i]->cursor = obj->pos_of[obj->users[i]->cursor_chunk];
}

static uint32_t unseen_run(const struct policy_object *obj, uint32_t pos)
{
	uint32_t len = 1;

	while (len < RUN_MAX && pos + len < obj->n) {
		uint32_t chunk = obj->chunk_at[pos + len];

		if (chunk != obj->chunk_at[pos] + len || obj->flags[chunk] & CHUNK_SEEN)
			break;
		len++;
	}
	return len;
}

void order_place_after(struct policy_object *obj, uint32_t chunk, uint32_t previous)
{
	uint32_t pos = obj->pos_of[chunk], target = obj->pos_of[previous] + 1;

	/* Passed over is not moved: it may be used in another pass, or later in this one. */
	if (pos < target && chunk != previous)
		move(obj, pos, pos + unseen_run(obj, pos), target);
}

/* What was learned does not hold any more: learn again. */
void order_forget(struct policy_object *obj)
{
	for (uint32_t i = 0; i < obj->n; i++) {
		uint8_t f = obj->flags[i];

		if (!(f & CHUNK_FIXED))
			order_set_flags(obj, i, f & (uint8_t) ~(CHUNK_SEEN | CHUNK_RARE));
		obj->score[i] = 0;
	}
}

uint32_t order_ahead(const struct policy_object *obj, uint32_t from, uint32_t to)
{
	return to >= from ? to - from : to + obj->n_cycle - from;
}

/* In [low, high], no wrapping. */
static uint32_t last_between(const struct bitset *set, uint32_t low, uint32_t high)
{
	uint32_t w = high / 64, w_low = low / 64;
	uint64_t mask = ~0ULL >> (63 - high % 64);

	for (;;) {
		uint64_t bits = set->word[w] & mask, words;
		uint32_t s;

		if (w == w_low)
			bits &= ~0ULL << (low % 64);
		if (bits)
			return w * 64 + 63 - (uint32_t)__builtin_clzll(bits);
		if (w == w_low)
			return UINT32_MAX;
		/* The next word down that has something, by the second level. */
		w--;
		s = w / 64;
		mask = ~0ULL >> (63 - w % 64);
		for (;;) {
			words = set->sum[s] & mask;
			if (words || s == w_low / 64)
				break;
			s--;
			mask = ~0ULL;
		}
		if (!words)
			return UINT32_MAX;
		w = s * 64 + 63 - (uint32_t)__builtin_clzll(words);
		if (w < w_low)
			return UINT32_MAX;
		mask = ~0ULL;
	}
}

static uint32_t first_between(const struct bitset *set, uint32_t low, uint32_t high)
{
	uint32_t w = low / 64, w_high = high / 64;
	uint64_t mask = ~0ULL << (low % 64);

	for (;;) {
		uint64_t bits = set->word[w] & mask, words;
		uint32_t s;

		if (bits) {
			uint32_t pos = w * 64 + (uint32_t)__builtin_ctzll(bits);

			return pos <= high ? pos : UINT32_MAX;
		}
		if (w >= w_high)
			return UINT32_MAX;
		w++;
		s = w / 64;
		mask = ~0ULL << (w % 64);
		while (!(words = set->sum[s] & mask) && s < w_high / 64) {
			s++;
			mask = ~0ULL;
		}
		if (!words)
			return UINT32_MAX;
		w = s * 64 + (uint32_t)__builtin_ctzll(words);
		if (w > w_high)
			return UINT32_MAX;
		mask = ~0ULL;
	}
}

uint32_t order_last(const struct policy_object *obj, const struct bitset *set, uint32_t from,
		    uint32_t len)
{
	uint32_t pos;

	if (!len)
		return UINT32_MAX;
	if (len > obj->n_cycle)
		len = obj->n_cycle;
	if (len <= from + 1)
		return last_between(set, from + 1 - len, from);
	pos = last_between(set, 0, from);
	if (pos != UINT32_MAX)
		return pos;
	return last_between(set, obj->n_cycle - (len - from - 1), obj->n_cycle - 1);
}

uint32_t order_any(const struct policy_object *obj, const struct bitset *set)
{
	return last_between(set, 0, obj->n - 1);
}

uint32_t order_first(const struct policy_object *obj, const struct bitset *set, uint32_t from,
		     uint32_t len)
{
	uint32_t pos;

	if (!len)
		return UINT32_MAX;
	if (len > obj->n_cycle)
		len = obj->n_cycle;
	if (from + len <= obj->n_cycle)
		return first_between(set, from, from + len - 1);
	pos = first_between(set, from, obj->n_cycle - 1);
	if (pos != UINT32_MAX)
		return pos;
	return first_between(set, 0, len - (obj->n_cycle - from) - 1);
}

int policy_object_set_order(struct policy_object *obj, const uint32_t *chunk_at_pos, uint32_t n)
{
	uint64_t *used;
	uint32_t rest = n;

	if (!n || n > obj->n)
		return -EINVAL;
	used = calloc(obj->n_words, sizeof(*used));
	if (!used)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t c = chunk_at_pos[i];

		if (c >= obj->n || used[c / 64] >> (c % 64) & 1) {
			free(used);
			return -EINVAL;
		}
		used[c / 64] |= 1ULL << (c % 64);
	}
	if (n < obj->n && order_need_lanes(obj)) {
		free(used);
		return -ENOMEM;
	}

	obj->declared = true;
	obj->n_cycle = n;
	for (uint32_t i = 0; i < n; i++)
		obj->chunk_at[i] = chunk_at_pos[i];
	for (uint32_t c = 0; c < obj->n; c++)
		if (!(used[c / 64] >> (c % 64) & 1))
			obj->chunk_at[rest++] = c;
	free(used);
	for (uint32_t pos = 0; pos < obj->n; pos++)
		obj->pos_of[obj->chunk_at[pos]] = pos;
	for (uint32_t pos = 0; pos < obj->n; pos++) {
		uint32_t chunk = obj->chunk_at[pos];
		uint8_t f = obj->flags[chunk] | CHUNK_SEEN;

		f &= (uint8_t) ~(CHUNK_RARE | CHUNK_FIXED);
		if (pos >= n)
			f |= CHUNK_RARE | CHUNK_FIXED;
		order_set_flags(obj, chunk, f);
		bits_write(obj, pos);
	}
	for (uint32_t i = 0; i < obj->n_users; i++) {
		struct policy_user *u = obj->users[i];

		u->cursor = obj->pos_of[u->cursor_chunk];
		if (u->cursor >= n)
			u->started = false;
	}
	victim_dirty(obj);
	return 0;
}

int policy_object_set_expert(struct policy_object *obj, uint32_t chunk, uint32_t layer_pos,
			     uint32_t group)
{
	uint32_t pos;

	/*
	 * Chunks of one expert are evicted apart: what is left of an expert is
	 * still that much less to load.
	 */
	(void)group;
	if (chunk >= obj->n || layer_pos >= obj->n)
		return -EINVAL;
	if (order_need_lanes(obj))
		return -ENOMEM;
	pos = obj->pos_of[chunk];
	if (pos < obj->n_cycle) {
		if (layer_pos >= obj->n_cycle)
			layer_pos = obj->n_cycle - 1;
		if (layer_pos < pos)
			move(obj, layer_pos, pos, pos + 1);
		else if (layer_pos > pos)
			move(obj, pos, pos + 1, layer_pos + 1);
	}
	order_set_flags(obj, chunk, obj->flags[chunk] | CHUNK_SEEN | CHUNK_RARE | CHUNK_FIXED);
	victim_dirty(obj);
	return 0;
}
