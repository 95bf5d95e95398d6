// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/policy.c daemon/policy_order.c daemon/policy_user.c daemon/policy_quota.c
// links: daemon/policy_victim.c daemon/policy_prefetch.c daemon/policy_rare.c
// links: daemon/policy_convoy.c daemon/policy_fill.c
// bench:
/*
 * policy-scale: time of a victim choice among 1,000 sessions and 100,000 chunks,
 * and the policy's memory.
 *
 * Each round is what the pager does for one chunk: a session is seen at its next
 * chunk, a victim is asked for and given up, the wanted chunk becomes resident. The
 * figure is the time in policy_victim(), events that it has to catch up with
 * included; _round is the whole round. `spread`: a model of 100 chunks for
 * each session. `one`: one model of 100,000 chunks and one session. `shared`: one model
 * of 100,000 chunks and 1,000 sessions.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/policy.h"

#define N_CHUNKS 100000u
#define N_ROUNDS 1000000u
#define CHUNK	 (2ULL << 20)
/* The median of batches is printed: others may want the processor too. */
#define BATCH	  2000u
#define N_BATCHES 256u

struct world {
	struct policy *policy;
	struct policy_object **objects;
	struct policy_user **users;
	uint32_t n_objects, n_users, per_object;
	uint32_t *at; /* of each user */
	uint8_t *resident;
};

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* The least of many measurements, so that nothing is taken off that others caused. */
static uint64_t clock_cost_ns(void)
{
	uint64_t least = UINT64_MAX;

	for (int batch = 0; batch < 100; batch++) {
		uint64_t begin = clock_ns(), cost;

		for (int i = 0; i < 200; i++)
			(void)clock_ns();
		cost = (clock_ns() - begin) / 200;
		if (cost < least)
			least = cost;
	}
	return least;
}

static struct policy_object *object_of(const struct world *w, uint32_t user, uint32_t *out_index)
{
	*out_index = user % w->n_objects;
	return w->objects[*out_index];
}

static int build(struct world *w, uint32_t n_objects, uint32_t n_users)
{
	const struct policy_config config = { .capacity_bytes = N_CHUNKS * 6 / 10 * CHUNK };
	uint64_t now = 1000000000;

	w->n_objects = n_objects;
	w->n_users = n_users;
	w->per_object = N_CHUNKS / n_objects;
	w->policy = policy_new(&config);
	w->objects = calloc(n_objects, sizeof(struct policy_object *));
	w->users = calloc(n_users, sizeof(struct policy_user *));
	w->at = calloc(n_users, sizeof(*w->at));
	w->resident = calloc(N_CHUNKS, 1);
	if (!w->policy || !w->objects || !w->users || !w->at || !w->resident)
		return -1;
	for (uint32_t i = 0; i < n_objects; i++) {
		w->objects[i] =
			policy_object_new(w->policy, w->per_object, CHUNK, POLICY_MODEL, NULL);
		if (!w->objects[i])
			return -1;
	}
	for (uint32_t i = 0; i < n_users; i++) {
		uint32_t o;

		w->users[i] = policy_user_new(object_of(w, i, &o), i + 1, NULL);
		if (!w->users[i])
			return -1;
		w->at[i] = (uint32_t)((uint64_t)i * 7919 % w->per_object);
		policy_touch(w->users[i], w->at[i], now + i);
	}
	for (uint32_t c = 0; c < N_CHUNKS * 6 / 10; c++) {
		uint32_t k = (uint32_t)((uint64_t)c * 5 / 3);

		policy_resident(w->objects[k / w->per_object], k % w->per_object, true);
		w->resident[k] = 1;
	}
	for (uint64_t t = 1; t <= 3; t++)
		policy_tick(w->policy, now + t * 300000000);
	return 0;
}

static void destroy(struct world *w)
{
	for (uint32_t i = 0; i < w->n_users; i++)
		policy_user_free(w->users[i]);
	for (uint32_t i = 0; i < w->n_objects; i++)
		policy_object_free(w->objects[i]);
	policy_free(w->policy);
	free(w->objects);
	free(w->users);
	free(w->at);
	free(w->resident);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static int measure(const char *name, uint32_t n_objects, uint32_t n_users)
{
	struct world w = { 0 };
	uint64_t now = 2000000000, begin, in_victim = 0, done = 0, overhead;
	double batches[N_BATCHES];
	uint32_t n_batches = 0;
	double victim_ns, round_ns;

	if (build(&w, n_objects, n_users))
		return -1;
	overhead = clock_cost_ns();
	begin = clock_ns();
	for (uint32_t i = 0; i < N_ROUNDS; i++) {
		uint32_t u = (uint32_t)((uint64_t)i * 7907 % n_users), o;
		struct policy_object *obj = object_of(&w, u, &o);
		struct policy_victim v;
		uint64_t t;
		int r;

		w.at[u] = (w.at[u] + 1) % w.per_object;
		now += 1000;
		policy_touch(w.users[u], w.at[u], now);
		if (w.resident[o * w.per_object + w.at[u]])
			continue;
		t = clock_ns();
		r = policy_victim(w.policy, now, obj, w.at[u], w.users[u], true, &v);
		in_victim += clock_ns() - t;
		if (++done % BATCH == 0 && n_batches < N_BATCHES) {
			batches[n_batches++] = (double)in_victim / BATCH - (double)overhead;
			in_victim = 0;
		}
		if (r)
			continue;
		for (o = 0; v.obj != w.objects[o]; o++)
			;
		w.resident[o * w.per_object + v.chunk] = 0;
		policy_resident(v.obj, v.chunk, false);
		object_of(&w, u, &o);
		w.resident[o * w.per_object + w.at[u]] = 1;
		policy_resident(obj, w.at[u], true);
		policy_touch(w.users[u], w.at[u], now);
	}
	round_ns = (double)(clock_ns() - begin) / N_ROUNDS;
	if (!n_batches)
		return -1;
	qsort(batches, n_batches, sizeof(batches[0]), by_value);
	victim_ns = batches[n_batches / 2];
	printf("{\"bench\": \"scale\", \"figure\": \"victim_ns%s%s\", \"value\": %.0f, \"unit\": \"ns\", "
	       "\"peer\": \"goal\", \"peer_value\": 1000, \"ratio\": %.3f, \"sessions\": %u, "
	       "\"chunks\": %u, \"choices\": %llu, \"round_ns\": %.0f, \"policy_bytes_a_chunk\": %.1f}\n",
	       *name ? "_" : "", name, victim_ns, victim_ns / 1000, n_users, N_CHUNKS,
	       (unsigned long long)done, round_ns, (double)policy_memory(w.policy) / N_CHUNKS);
	destroy(&w);
	return 0;
}

int main(void)
{
	if (measure("", 1000, 1000) || measure("one", 1, 1) || measure("shared", 1, 1000)) {
		fprintf(stderr, "policy-scale: out of memory, or nothing was ever absent\n");
		return 1;
	}
	return 0;
}
