// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/policy_internal.h"

/*
 * Sessions that stream the same object travel together.
 *
 * Apart, each of m sessions loads what is absent for itself: m times the bytes a round. At the same place
 * one load serves all. Sessions that wait for the disk stay together once they are, because whoever is ahead
 * waits for the loads and the others find them done. But nothing brings them together, and noise in
 * computing drives them apart as long as the disk keeps up.
 *
 * So a session that asks for an absent chunk while another one is on its way there is held until that one
 * has come near. Meanwhile the other has the disk to itself, and what the first has passed stays, because it is
 * needed next (user_next() is the minimum over the users). The wait is at most half a round, once.
 *
 * Held is only who gains: the other is behind it by less than half of the order, goes at about the same
 * pace (a session that reads a prompt takes many times as long for a pass), is not idle, is not held
 * itself (three at equal distances would wait for each other), and both have gone round once. And no
 * longer than twice the time that the pace says; then not again for a round.
 */

/* Nearer than this counts as together: they drift so much without any harm. */
#define TOGETHER_MIN  32u
#define TOGETHER_PART 64u
/* Paces that differ by more are no convoy. */
#define PACE_RATIO 1.6
/* Who is held asks again every few milliseconds; without that it is not held any more. */
#define ASKED_NS 50000000ULL
/* With less of it absent there is nothing worth waiting for. */
#define ABSENT_PART 32u

bool user_is_held(const struct policy_user *user, uint64_t now_ns)
{
	return user->held_ns && now_ns - user->held_ns < ASKED_NS;
}

static bool travels(const struct policy_user *user)
{
	return user->started && !user->idle && !user->quiet && user->passes >= 1;
}

bool policy_should_wait(struct policy_user *user, uint32_t chunk, uint64_t now_ns)
{
	const struct policy_object *obj = user->obj;
	uint32_t pos = obj->pos_of[chunk], together = obj->n_cycle / TOGETHER_PART;
	bool held = user_is_held(user, now_ns);
	uint32_t nearest = UINT32_MAX;
	double pace = user_pace(user);

	if (together < TOGETHER_MIN)
		together = TOGETHER_MIN;
	if (obj->n_users < 2 || pos >= obj->n_cycle || !travels(user) ||
	    obj->n_absent < obj->n_cycle / ABSENT_PART || now_ns < user->no_hold_until_ns)
		return false;
	for (uint32_t i = 0; i < obj->n_users; i++) {
		const struct policy_user *other = obj->users[i];
		double other_pace = user_pace(other);
		uint32_t distance;

		if (other == user || !travels(other) || user_is_held(other, now_ns))
			continue;
		/* While it is held its own pace says nothing. */
		if (!held && (pace > PACE_RATIO * other_pace || other_pace > PACE_RATIO * pace))
			continue;
		/* Where it was seen, not where it may be by now: each mapping has its own first
		 * touches, so it will be seen again before it is here. */
		distance = order_ahead(obj, other->cursor, pos);
		if (distance > together && distance <= obj->n_cycle / 2 && distance < nearest) {
			nearest = distance;
			pace = held ? pace : other_pace;
		}
	}
	if (nearest == UINT32_MAX) {
		user->held_ns = 0;
		return false;
	}
	if (!held)
		user->held_until_ns = now_ns + (uint64_t)(2 * nearest * pace);
	if (now_ns > user->held_until_ns) {
		user->held_ns = 0;
		user->no_hold_until_ns = now_ns + user_lap_ns(user);
		return false;
	}
	user->held_ns = now_ns;
	return true;
}
