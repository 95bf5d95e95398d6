/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ledger: who holds how many bytes of which device and tier, and who may.
 * The model is told at the top of ledger.c; every function at its definition.
 */
#ifndef VRAM_KMOD_LEDGER_H
#define VRAM_KMOD_LEDGER_H

#include "kmod/compat.h"

#define LEDGER_MAX_DEVICES 16
/* Groups of one chain between the root and a session. */
#define LEDGER_MAX_DEPTH  16
#define LEDGER_MAX_SHARES (1u << 24)
#define LEDGER_N_BUCKETS  1024

#define LEDGER_UNLIMITED VRAM_U64_MAX
/* A capacity: this tier is the one of device 0. */
#define LEDGER_SHARED (VRAM_U64_MAX - 1)

#define LEDGER_WEIGHT_MIN     1
#define LEDGER_WEIGHT_DEFAULT 100
#define LEDGER_WEIGHT_MAX     10000

enum ledger_tier {
	LEDGER_VRAM,
	LEDGER_HOST,
	LEDGER_DISK,
	LEDGER_N_TIERS,
};

enum ledger_key {
	LEDGER_MIN,
	LEDGER_LOW,
	LEDGER_HIGH,
	LEDGER_MAX,
	LEDGER_WEIGHT,
	LEDGER_N_KEYS,
};

enum ledger_kind {
	LEDGER_ROOT,
	LEDGER_USER,
	LEDGER_CGROUP,
	LEDGER_EXE,
	LEDGER_SESSION,
	LEDGER_N_KINDS,
};

/* The chains above a session: LEDGER_USER .. LEDGER_EXE, counted from 0. */
#define LEDGER_N_CHAINS	   3
#define LEDGER_CHAIN(kind) ((kind)-LEDGER_USER)

/* One (group, device, tier). Read through ledger_read(). */
struct ledger_counter {
	u64 usage;	      /* bytes charged */
	u64 own;	      /* of these to a session itself, not through a share */
	u64 peak;	      /* highest usage */
	u64 refused;	      /* charges this counter refused */
	u64 pending;	      /* what an operation in progress will add (mod 2^64) */
	u64 limit[4];	      /* min, low, high, max */
	u64 prot[2];	      /* usage covered by min, by low, as the parent knows it */
	u64 children_prot[2]; /* the sum of the children's prot */
	u16 weight;
	u8 set;	      /* bit per enum ledger_key: set, not default */
	u8 inherited; /* the owner's: which of these were not set for this very group */
};

struct ledger_row {
	struct ledger_counter tier[LEDGER_N_TIERS];
};

struct ledger_group {
	u32 kind; /* enum ledger_kind */
	u32 n_children;
	u64 key;
	u32 n_sessions; /* below this group; 1 for a session */
	u32 depth;	/* groups above it but for the root; sessions: unused */
	struct ledger_group *parent[LEDGER_N_CHAINS];
	struct ledger_group *next, *prev; /* all groups, oldest first */
	struct ledger_group *hash_next;
	void *priv;  /* the owner's */
	u32 *shares; /* a session's, in no order */
	u32 n_shares;
	u32 shares_cap;
	struct ledger_row *row[LEDGER_MAX_DEVICES];
};

/* 40 bytes each: there is one for every model and every buffer in use. */
struct ledger_share {
	u64 bytes[LEDGER_N_TIERS];
	union {
		struct ledger_group *one;   /* cap 0 */
		struct ledger_group **many; /* in the order they joined */
		u32 next_free;
	} member;
	u32 n_members;
	u8 cap_log2; /* 0: `one`, else `many` has room for 1 << cap_log2 */
	u8 dev;	     /* LEDGER_MAX_DEVICES: this one is free */
};

#define LEDGER_SHARES_PER_PAGE 64

struct ledger_share_page {
	struct ledger_share share[LEDGER_SHARES_PER_PAGE];
};

struct ledger_device {
	u8 home[LEDGER_N_TIERS]; /* the device whose row holds this tier */
	u32 n_over[LEDGER_N_TIERS];
	u64 root_prot[LEDGER_N_TIERS][LEDGER_N_CHAINS][2];
};

struct ledger {
	u32 n_devices;
	u32 n_groups; /* the root included */
	u32 n_shares; /* in use */
	u32 free_share;
	u32 n_pages;
	u32 pages_cap;
	u64 last_session;
	struct ledger_share_page **page;
	struct ledger_group *last; /* of all groups; the root is the first */
	struct ledger_group root;
	struct ledger_device device[LEDGER_MAX_DEVICES];
	struct ledger_group *bucket[LEDGER_N_BUCKETS];
};

struct ledger_usage {
	u64 usage;
	u64 own;
	u64 peak;
	u64 refused;
	u64 emin;
	u64 elow;
	u64 over_high;
	u64 over_max;
	u64 limit[LEDGER_N_KEYS];
	u32 set;
};

struct ledger_over {
	struct ledger_group *group;
	u64 over_high;
	u64 over_max;
};

struct ledger *ledger_new(void);
void ledger_free(struct ledger *l);

int ledger_device_add(struct ledger *l, const u64 capacity[LEDGER_N_TIERS], u32 *out_dev);
int ledger_device_resize(struct ledger *l, u32 dev, u32 tier, u64 capacity);

int ledger_group_new(struct ledger *l, u32 kind, u64 key, struct ledger_group *parent,
		     struct ledger_group **out_group);
int ledger_group_free(struct ledger *l, struct ledger_group *group);
int ledger_session_new(struct ledger *l, struct ledger_group *const chain[LEDGER_N_CHAINS],
		       struct ledger_group **out_session);
void ledger_session_free(struct ledger *l, struct ledger_group *session);
struct ledger_group *ledger_find(const struct ledger *l, u32 kind, u64 key);
struct ledger_group *ledger_next(const struct ledger *l, const struct ledger_group *group);
bool ledger_is_below(const struct ledger *l, const struct ledger_group *session,
		     const struct ledger_group *group);

int ledger_try_charge(struct ledger *l, struct ledger_group *session, u32 dev, u32 tier, u64 bytes,
		      struct ledger_group **out_limit);
int ledger_uncharge(struct ledger *l, struct ledger_group *session, u32 dev, u32 tier, u64 bytes);
int ledger_transfer(struct ledger *l, struct ledger_group *session, u32 dev, u32 from, u32 to,
		    u64 bytes, struct ledger_group **out_limit);
int ledger_give(struct ledger *l, struct ledger_group *from, struct ledger_group *to, u32 dev,
		u32 tier, u64 bytes, struct ledger_group **out_limit);

int ledger_share_new(struct ledger *l, u32 dev, u32 *out_share);
int ledger_share_free(struct ledger *l, u32 share);
int ledger_share_join(struct ledger *l, u32 share, struct ledger_group *session, bool force,
		      struct ledger_group **out_limit);
int ledger_share_leave(struct ledger *l, u32 share, struct ledger_group *session);
int ledger_share_charge(struct ledger *l, u32 share, u32 tier, u64 bytes,
			struct ledger_group **out_limit);
int ledger_share_uncharge(struct ledger *l, u32 share, u32 tier, u64 bytes);
int ledger_share_transfer(struct ledger *l, u32 share, u32 from, u32 to, u64 bytes,
			  struct ledger_group **out_limit);
const struct ledger_share *ledger_share_get(const struct ledger *l, u32 share);
u64 ledger_share_part(u64 bytes, u32 n_members, u32 i);

int ledger_limit_set(struct ledger *l, struct ledger_group *group, u32 dev, u32 tier, u32 key,
		     u64 value);
int ledger_limit_clear(struct ledger *l, struct ledger_group *group, u32 dev, u32 tier, u32 key);
int ledger_read(const struct ledger *l, const struct ledger_group *group, u32 dev, u32 tier,
		struct ledger_usage *out_usage);
int ledger_protection(const struct ledger *l, const struct ledger_group *group, u32 dev, u32 tier,
		      u64 *out_emin, u64 *out_elow);
int ledger_over(const struct ledger *l, u32 dev, u32 tier, struct ledger_over *out, u32 n_out);

#endif
