// SPDX-License-Identifier: GPL-2.0-only
// links: tests/bench/policy_trace.c tests/bench/policy_replayer.c tests/bench/policy_generate.c
// links: tests/bench/policy_sim.c
// links: daemon/policy.c daemon/policy_order.c daemon/policy_user.c daemon/policy_quota.c
// links: daemon/policy_victim.c daemon/policy_prefetch.c daemon/policy_rare.c
// links: daemon/policy_convoy.c daemon/policy_fill.c
// libs: -lm
// bench:
/*
 * policy: bytes that the policy moves, against LRU and the offline optimum, on generated
 * traces, and the time of a pass in a simulated closed loop against its limit.
 *
 * dense_*: 60 traces of dense models, one to four clients, lengths of requests and pauses
 * about the same with a jitter of up to 30 %. dense_random_*: the same with exponential
 * lengths, which nothing that cannot see the future can know. moe_*: experts drawn at
 * random. _again: without the first load of each chunk, which is the same for all.
 * _fair: with equal quotas, the daemon's default, against the optimum without any.
 * _sighted: the policy sees only the first use after a load. loop_*: policy_sim.c.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/policy_sim.h"
#include "tests/bench/policy_trace.h"

#define N_TRACES 60

struct set {
	const char *name;
	bool moe, random;
	struct replay_options options;
	bool brief; /* its mean only */
};

static const struct set sets[] = {
	{ .name = "dense", .options = { .share = POLICY_SHARE_BYTES } },
	{ .name = "dense_sighted", .options = { .share = POLICY_SHARE_BYTES, .sightings = true } },
	{ .name = "dense_fair", .options = { .share = POLICY_SHARE_FAIR }, .brief = true },
	{ .name = "dense_random", .random = true, .options = { .share = POLICY_SHARE_BYTES } },
	{ .name = "moe", .moe = true, .options = { .share = POLICY_SHARE_BYTES } },
};

struct sums {
	double ours, lru, again, ours_worst, again_worst;
	uint64_t ours_bytes, lru_bytes, optimum_bytes;
};

static void print(const char *set, const char *figure, double value, const char *peer,
		  double peer_value)
{
	printf("{\"bench\": \"policy\", \"figure\": \"%s_%s\", \"value\": %.4f, \"unit\": \"x\", "
	       "\"peer\": \"%s\", \"peer_value\": %.4f, \"ratio\": %.4f}\n",
	       set, figure, value, peer, peer_value, value / peer_value);
	fflush(stdout);
}

static int add(const struct set *set, uint64_t seed, struct sums *sums)
{
	const struct trace_shape shape = { .seed = seed, .moe = set->moe, .random = set->random };
	struct replay_result result;
	struct trace trace;
	unsigned int line;
	char *text = NULL;
	size_t len = 0;
	double ours, again;
	FILE *f;
	int r;

	f = open_memstream(&text, &len);
	if (!f)
		return -1;
	trace_generate(&shape, f);
	if (fclose(f))
		return -1;
	f = fmemopen(text, len, "r");
	if (!f)
		return -1;
	r = trace_read(f, &trace, &line);
	fclose(f);
	free(text);
	if (r)
		return -1;
	r = trace_replay(&trace, &set->options, &result);
	if (!r) {
		ours = (double)result.ours / (double)result.optimum;
		again = replay_ratio(&result, result.ours);
		sums->ours += ours / N_TRACES;
		sums->again += again / N_TRACES;
		sums->lru += (double)result.lru / (double)result.optimum / N_TRACES;
		if (ours > sums->ours_worst)
			sums->ours_worst = ours;
		if (again > sums->again_worst)
			sums->again_worst = again;
	}
	trace_deinit(&trace);
	return r ? -1 : 0;
}

static int replay_set(const struct set *set)
{
	struct sums sums = { 0 };

	for (uint64_t seed = 1; seed <= N_TRACES; seed++)
		if (add(set, seed, &sums))
			return -1;
	print(set->name, "mean_vs_optimum", sums.ours, "lru", sums.lru);
	if (set->brief)
		return 0;
	print(set->name, "worst_vs_optimum", sums.ours_worst, "optimum", 1);
	print(set->name, "mean_again_vs_optimum", sums.again, "optimum", 1);
	print(set->name, "worst_again_vs_optimum", sums.again_worst, "optimum", 1);
	return 0;
}

static int loop(const char *name, double capacity, uint32_t processes, bool same_file)
{
	struct sim_config config;
	struct sim_result result;

	sim_defaults(&config);
	config.capacity = capacity;
	config.n_processes = processes;
	config.same_file = same_file;
	if (sim_run(&config, &result) || result.stuck)
		return -1;
	printf("{\"bench\": \"policy\", \"figure\": \"loop_%s_vs_limit\", \"value\": %.1f, \"unit\": "
	       "\"ms\", \"peer\": \"limit\", \"peer_value\": %.1f, \"ratio\": %.4f, "
	       "\"chunks_a_pass\": %.1f, \"simulated\": true}\n",
	       name, result.pass_ns / 1e6, result.limit_ns / 1e6, result.pass_ns / result.limit_ns,
	       result.chunks_per_pass);
	return 0;
}

int main(void)
{
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		if (replay_set(&sets[i])) {
			fprintf(stderr, "policy: %s: out of memory\n", sets[i].name);
			return 1;
		}
	}
	if (loop("single60", 0.6, 1, false) || loop("single90", 0.9, 1, false) ||
	    loop("pair60", 0.6, 2, true) || loop("two_files60", 0.6, 2, false)) {
		fprintf(stderr, "policy: the simulation got stuck\n");
		return 1;
	}
	return 0;
}
