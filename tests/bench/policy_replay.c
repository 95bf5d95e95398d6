// SPDX-License-Identifier: GPL-2.0-only
// links: tests/bench/policy_trace.c tests/bench/policy_replayer.c
// links: daemon/policy.c daemon/policy_order.c daemon/policy_user.c daemon/policy_quota.c
// links: daemon/policy_victim.c daemon/policy_prefetch.c daemon/policy_rare.c
// links: daemon/policy_convoy.c daemon/policy_fill.c

/*
 * policy-replay [-j] [-f] [-s] [-n] TRACE: bytes that a trace of chunk uses moves under
 * our policy, under LRU and under the offline optimum. docs/policy.md describes
 * the trace.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/policy_trace.h"

static void usage(FILE *to)
{
	fprintf(to, "usage: policy-replay [-j] [-f] [-s] [-n] TRACE\n"
		    "  -j  one JSON object\n"
		    "  -f  quotas between the clients, as the daemon's default; else fewest bytes\n"
		    "  -s  the policy sees only the first use of a chunk after its load\n"
		    "  -n  do not spread what is absent\n");
}

static void print(const struct trace *t, const struct replay_result *r, bool json)
{
	const double gib = (double)t->chunk_bytes / (1 << 30);
	const double ours = replay_ratio(r, r->ours), lru = replay_ratio(r, r->lru);

	if (json) {
		printf("{\"uses\": %" PRIu64 ", \"first_bytes\": %" PRIu64
		       ", \"ours_bytes\": %" PRIu64 ", \"lru_bytes\": %" PRIu64
		       ", \"optimum_bytes\": %" PRIu64
		       ", \"ours_vs_optimum\": %.4f, \"lru_vs_optimum\": %.4f}\n",
		       r->uses, r->distinct * t->chunk_bytes, r->ours * t->chunk_bytes,
		       r->lru * t->chunk_bytes, r->optimum * t->chunk_bytes, ours, lru);
		return;
	}
	printf("%-8s %12s %14s %10s\n", "METHOD", "GiB", "GiB AGAIN", "RELATIVE");
	printf("%-8s %12.2f %14.2f %10.3f\n", "ours", (double)r->ours * gib,
	       (double)(r->ours - r->distinct) * gib, ours);
	printf("%-8s %12.2f %14.2f %10.3f\n", "lru", (double)r->lru * gib,
	       (double)(r->lru - r->distinct) * gib, lru);
	printf("%-8s %12.2f %14.2f %10.3f\n", "optimum", (double)r->optimum * gib,
	       (double)(r->optimum - r->distinct) * gib, 1.0);
}

int main(int argc, char **argv)
{
	struct replay_options options = { .share = POLICY_SHARE_BYTES };
	struct replay_result result;
	struct trace trace;
	unsigned int line;
	bool json = false;
	FILE *from;
	int c, r;

	while ((c = getopt(argc, argv, "jfsnh")) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'f':
			options.share = POLICY_SHARE_FAIR;
			break;
		case 's':
			options.sightings = true;
			break;
		case 'n':
			options.no_spread = true;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind + 1 != argc) {
		usage(stderr);
		return 2;
	}
	from = strcmp(argv[optind], "-") ? fopen(argv[optind], "re") : stdin;
	if (!from) {
		fprintf(stderr, "policy-replay: %s: %s\n", argv[optind], strerror(errno));
		return 1;
	}
	r = trace_read(from, &trace, &line);
	if (from != stdin)
		fclose(from);
	if (r) {
		fprintf(stderr, "policy-replay: %s:%u: %s\n", argv[optind], line,
			r == -EINVAL ? "not a valid line, or no version, chunk or budget" :
				       strerror(-r));
		return 1;
	}
	r = trace_replay(&trace, &options, &result);
	if (!r)
		print(&trace, &result, json);
	else
		fprintf(stderr, "policy-replay: %s\n", strerror(-r));
	trace_deinit(&trace);
	return r ? 1 : 0;
}
