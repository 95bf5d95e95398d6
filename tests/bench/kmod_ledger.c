// SPDX-License-Identifier: GPL-2.0-only
// links: kmod/ledger.c kmod/ledger_counter.c kmod/ledger_limit.c kmod/ledger_share.c
/*
 * kmod_ledger SHAPE PAIRS: that many charges, each taken back again, by the ledger's source that the module and
 * vramd share. For kmod.py, which counts the instructions: of two runs that differ in PAIRS alone.
 *
 *   flat   a session with nothing above it but the root
 *   chain  a session below a user, three nested cgroups and an executable
 *   share  a share of four such sessions
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmod/ledger.h"

static struct ledger *l;

static void must(int ret)
{
	if (ret) {
		fprintf(stderr, "kmod_ledger: %s\n", strerror(-ret));
		exit(1);
	}
}

static struct ledger_group *group(u32 kind, u64 key, struct ledger_group *parent)
{
	struct ledger_group *g;

	must(ledger_group_new(l, kind, key, parent, &g));
	return g;
}

static struct ledger_group *session(struct ledger_group *const chain[LEDGER_N_CHAINS])
{
	struct ledger_group *s;

	must(ledger_session_new(l, chain, &s));
	return s;
}

int main(int argc, char **argv)
{
	const u64 capacity[LEDGER_N_TIERS] = { 1ull << 40, 1ull << 40, 1ull << 40 };
	struct ledger_group *chain[LEDGER_N_CHAINS] = { NULL }, *limit, *s;
	long pairs, i;
	u32 dev, share;

	if (argc != 3 || (pairs = atol(argv[2])) <= 0) {
		fprintf(stderr, "usage: %s flat|chain|share PAIRS\n", argv[0]);
		return 2;
	}
	l = ledger_new();
	must(l ? 0 : -12);
	must(ledger_device_add(l, capacity, &dev));
	if (strcmp(argv[1], "flat")) {
		struct ledger_group *a = group(LEDGER_CGROUP, 1, NULL);

		chain[LEDGER_CHAIN(LEDGER_USER)] = group(LEDGER_USER, 1000, NULL);
		chain[LEDGER_CHAIN(LEDGER_CGROUP)] =
			group(LEDGER_CGROUP, 3, group(LEDGER_CGROUP, 2, a));
		chain[LEDGER_CHAIN(LEDGER_EXE)] = group(LEDGER_EXE, 4, NULL);
	}
	s = session(chain);
	if (strcmp(argv[1], "share")) {
		for (i = 0; i < pairs; i++) {
			must(ledger_try_charge(l, s, dev, LEDGER_VRAM, 4096, &limit));
			must(ledger_uncharge(l, s, dev, LEDGER_VRAM, 4096));
		}
	} else {
		must(ledger_share_new(l, dev, &share));
		for (i = 0; i < 4; i++)
			must(ledger_share_join(l, share, i ? session(chain) : s, false, &limit));
		for (i = 0; i < pairs; i++) {
			must(ledger_share_charge(l, share, LEDGER_VRAM, 4096, &limit));
			must(ledger_share_uncharge(l, share, LEDGER_VRAM, 4096));
		}
	}
	ledger_free(l);
	return 0;
}
