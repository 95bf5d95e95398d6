/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ledger's rules once more, written to be seen to be right: nothing is kept but
 * what was charged, everything else is added up anew for every question. No
 * more groups than a table holds.
 *
 * Groups are numbers: the root, then users, cgroups, executables, sessions. A cell
 * is one (home device, tier).
 */
#ifndef VRAM_SUPPORT_LEDGER_MODEL_H
#define VRAM_SUPPORT_LEDGER_MODEL_H

#include <stdbool.h>
#include <stdint.h>

enum {
	MODEL_DEVICES = 2,
	MODEL_TIERS = 3,
	MODEL_CELLS = MODEL_DEVICES * MODEL_TIERS,
	MODEL_USERS = 3,
	MODEL_CGROUPS = 6,
	MODEL_EXES = 2,
	MODEL_SESSIONS = 12,
	MODEL_SHARES = 8,

	MODEL_ROOT = 0,
	MODEL_USER = 1,
	MODEL_CGROUP = MODEL_USER + MODEL_USERS,
	MODEL_EXE = MODEL_CGROUP + MODEL_CGROUPS,
	MODEL_SESSION = MODEL_EXE + MODEL_EXES,
	MODEL_GROUPS = MODEL_SESSION + MODEL_SESSIONS,
};

struct model_share {
	bool live;
	unsigned int dev;
	unsigned int n_members;
	unsigned int member[MODEL_SESSIONS]; /* group numbers, in the order they joined */
	uint64_t bytes[MODEL_TIERS];
};

struct model_holdings {
	bool live[MODEL_GROUPS]; /* sessions */
	uint64_t own[MODEL_GROUPS][MODEL_CELLS];
	struct model_share share[MODEL_SHARES];
};

struct model_limit {
	bool set[4]; /* min, low, high, max */
	uint64_t value[4];
};

struct model {
	struct model_holdings now;
	uint64_t capacity[MODEL_CELLS];
	int parent[MODEL_GROUPS];   /* of cgroups, -1: the root */
	int chain[MODEL_GROUPS][3]; /* of sessions: user, cgroup, exe; -1: none */
	struct model_limit limit[MODEL_GROUPS][MODEL_CELLS];
	uint64_t usage[MODEL_GROUPS][MODEL_CELLS]; /* as of the last operation */
	uint64_t peak[MODEL_GROUPS][MODEL_CELLS];
	uint64_t refused[MODEL_GROUPS][MODEL_CELLS];
	bool excused[MODEL_GROUPS][MODEL_CELLS]; /* may stand above max */
};

void model_init(struct model *m);
/* Device 1 has no host tier of its own. */
unsigned int model_cell(unsigned int dev, unsigned int tier);
/* The groups above a session and itself, in the order they are asked. Return: how many. */
unsigned int model_above(const struct model *m, unsigned int session, unsigned int *out_groups);
uint64_t model_usage(const struct model *m, const struct model_holdings *h, unsigned int group,
		     unsigned int cell);

/* Operations, with the same answers as the ledger's. *out_limit: the group that refused. */
int model_charge(struct model *m, unsigned int session, unsigned int dev, unsigned int tier,
		 uint64_t bytes, unsigned int *out_limit);
int model_uncharge(struct model *m, unsigned int session, unsigned int dev, unsigned int tier,
		   uint64_t bytes);
int model_transfer(struct model *m, unsigned int session, unsigned int dev, unsigned int from,
		   unsigned int to, uint64_t bytes, unsigned int *out_limit);
int model_give(struct model *m, unsigned int from, unsigned int to, unsigned int dev,
	       unsigned int tier, uint64_t bytes, unsigned int *out_limit);
int model_join(struct model *m, unsigned int share, unsigned int session, bool force,
	       unsigned int *out_limit);
int model_leave(struct model *m, unsigned int share, unsigned int session);
int model_share_charge(struct model *m, unsigned int share, unsigned int tier, uint64_t bytes,
		       unsigned int *out_limit);
int model_share_uncharge(struct model *m, unsigned int share, unsigned int tier, uint64_t bytes);
int model_share_transfer(struct model *m, unsigned int share, unsigned int from, unsigned int to,
			 uint64_t bytes, unsigned int *out_limit);
void model_close(struct model *m, unsigned int session);
/* value NULL: back to the default. */
void model_limit(struct model *m, unsigned int group, unsigned int dev, unsigned int tier,
		 unsigned int key, const uint64_t *value);
void model_resize(struct model *m, unsigned int dev, unsigned int tier, uint64_t capacity);

/* Effective protection: key 0 for min, 1 for low. */
uint64_t model_protection(const struct model *m, unsigned int group, unsigned int cell,
			  unsigned int key);

#endif
