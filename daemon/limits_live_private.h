/* SPDX-License-Identifier: GPL-2.0-only */
/* What limits_live.c (writing rules into the ledger) and limits_live_set.c (changing them) share. */
#ifndef VRAM_DAEMON_LIMITS_LIVE_PRIVATE_H
#define VRAM_DAEMON_LIMITS_LIVE_PRIVATE_H

#include "common/list.h"
#include "daemon/limits_live.h"

/* How long a name service may take when an administrator asks. */
#define LIVE_WAIT_ASK_NS 200000000ull
/* Of what was written; a power of two. There is one for each user, cgroup and program that has rules or sessions. */
#define LIVE_BUCKETS 1024u

/* A user who has sessions. */
struct live_user {
	struct list_node node;
	uint32_t uid;
	uint32_t n_sessions;
	bool known; /* the groups are */
	uint32_t *gids;
	size_t n_gids;
};

/* What the ledger has been told about a subject. */
struct written {
	struct list_node node;
	struct list_node in_bucket;
	uint32_t kind;
	uint64_t id;
	char *path; /* or NULL */
	bool wanted;
	uint8_t set[ARBITER_N_TIERS]; /* bit per key */
	uint64_t value[ARBITER_N_TIERS][ARBITER_N_KEYS];
};

struct limits_live {
	struct limits_live_params p;
	struct limits_rules files, run_time;
	struct list_node users;
	struct list_node written; /* all of them, in the order in which they came */
	struct list_node bucket[LIVE_BUCKETS];
	uint64_t capacity[ARBITER_N_TIERS];
	bool has_groups;  /* a rule is about a group */
	bool has_unknown; /* a rule has a name without a number */
};

struct live_user *live_user_find(struct limits_live *l, uint64_t uid);
/* Writes whatever is different now. Return: 0 or the last error. */
int limits_live_apply(struct limits_live *l, bool *out_changed);
/* Looks up every name of a table. Return: whether something changed. */
bool limits_live_resolve(struct limits_live *l, struct limits_rules *t, uint64_t wait_ns);

#endif
