/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * group: the ledger's groups by name, made on demand and freed when nothing needs them.
 * The model is told at the top of group.c; every function at its definition.
 */
#ifndef VRAM_KMOD_GROUP_H
#define VRAM_KMOD_GROUP_H

#include "kmod/ledger.h"
#include "kmod/pressure.h"

#define GROUP_N_BUCKETS 1024
/* A path with its terminating zero. */
#define GROUP_PATH_MAX 4096
/* A name: "cgroup:" and a path. */
#define GROUP_NAME_MAX (GROUP_PATH_MAX + 8)

/* On `priv` of every ledger group. The owner's own data may follow. */
struct group {
	struct pressure pressure;
	char *path;			/* CGROUP, EXE; else NULL */
	struct ledger_group *hash_next; /* of those with a path */
	u32 n_holds;			/* what keeps it beside children: limits, triggers */
};

struct group_book {
	struct ledger *ledger;
	size_t group_bytes; /* of what is on `priv`; at least a struct group */
	u64 last_key;	    /* given to a path */
	struct group root;
	struct ledger_group *bucket[GROUP_N_BUCKETS];
	/* Told of every new group, before anybody can charge to it; may be NULL. */
	void (*made)(struct group_book *book, struct ledger_group *g);
};

static inline struct group *group_priv(const struct ledger_group *g)
{
	return g->priv;
}

int group_book_init(struct group_book *book, size_t group_bytes, u64 now_ns);
void group_book_deinit(struct group_book *book);

bool group_is_path(const char *path);
struct ledger_group *group_find_path(const struct group_book *book, u32 kind, const char *path);
int group_user(struct group_book *book, u64 uid, u64 now_ns, struct ledger_group **out);
int group_exe(struct group_book *book, const char *path, u64 now_ns, struct ledger_group **out);
int group_cgroup(struct group_book *book, const char *path, bool fold, u64 now_ns,
		 struct ledger_group **out);
int group_chain(struct group_book *book, u64 uid, const char *cgroup, const char *exe, u64 now_ns,
		struct ledger_group *out_chain[LEDGER_N_CHAINS]);
void group_collect(struct group_book *book, struct ledger_group *g);
int group_name(const struct ledger_group *g, char *buf, size_t size);

#endif
