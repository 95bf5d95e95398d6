/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the local arbiter share; nobody else includes it. The model is
 * told at the top of arbiter_local.c.
 */
#ifndef VRAM_DAEMON_ARBITER_LOCAL_H
#define VRAM_DAEMON_ARBITER_LOCAL_H

#include "daemon/arbiter.h"
#include "daemon/limit_table.h"
#include "kmod/group.h"
#include "kmod/stall.h"

#define LOCAL_MAX_TRIGGERS 256
#define LOCAL_COMM_MAX	   16

/* On `priv` of every group but the root and the sessions. */
struct local_group {
	struct group group; /* the first: `priv` points to either */
	struct limit_table *limits;
};

struct local_session {
	struct stall_session stall; /* the first, likewise */
	struct limit_table *limits;
	pid_t pid;
	uid_t uid;
	char comm[LOCAL_COMM_MAX];
};

struct local_trigger {
	struct pressure_trigger trigger;
	struct pressure *pressure;
	struct ledger_group *group; /* NULL: a device's */
};

struct local {
	struct arbiter base;
	struct group_book book;
	struct ledger *ledger; /* the book's */
	struct limit_table defaults;
	struct pressure device_pressure[LEDGER_MAX_DEVICES];
	struct local_trigger *trigger[LOCAL_MAX_TRIGGERS];
};

static inline struct local *local_of(struct arbiter *a)
{
	return (struct local *)a;
}

/* Where the limits of a group hang, of any but the root. */
static inline struct limit_table **limits_at(const struct ledger_group *g)
{
	if (g->kind == LEDGER_SESSION)
		return &((struct local_session *)g->priv)->limits;
	return &((struct local_group *)g->priv)->limits;
}

/* What was set for a group; NULL: nothing. */
static inline const struct limit_table *limits_of(const struct ledger_group *g)
{
	return g->kind == LEDGER_ROOT ? NULL : *limits_at(g);
}

static inline struct ledger_group *session_of(struct arbiter *a, uint64_t id)
{
	return ledger_find(local_of(a)->ledger, LEDGER_SESSION, id);
}

static inline struct ledger_group *group_of(struct arbiter *a, const struct arbiter_group *ref)
{
	struct local *l = local_of(a);

	return ref->kind == ARBITER_ROOT ? &l->ledger->root :
					   ledger_find(l->ledger, ref->kind, ref->key);
}

static inline struct arbiter_group ref_of(const struct ledger_group *g)
{
	return (struct arbiter_group){ .kind = g->kind, .key = g->key };
}

/*
 * The row of a limit table. A tier that is one with device 0's is written as device
 * 0's: there is one limit, whichever of the two names it.
 */
static inline uint32_t local_limit_row(const struct local *l, uint32_t dev, uint32_t tier)
{
	return dev == ARBITER_ALL_DEVICES ? LIMIT_ROW_ALL : l->ledger->device[dev].home[tier];
}

/* One charge, uncharge or transfer, for who traces it. */
struct local_charge {
	uint64_t session; /* whose, or for whom; 0: nobody's */
	uint64_t other;	  /* evictions: who needs the room */
	uint64_t bytes;
	uint32_t share; /* or TRACE_NO_SHARE */
	uint32_t dev;	/* without a share; a share knows its own */
	uint32_t from;	/* tiers, or TRACE_TIER_NONE */
	uint32_t to;
	uint32_t flags; /* ARBITER_HINT_* */
};

/* arbiter_local_trace.c. Each of charge and uncharge looks which of its probes are on; the others' callers do. */
void local_trace_open(const struct ledger_group *g, const char *cgroup);
void local_trace_close(struct local *l, const struct ledger_group *g);
void local_trace_charge(struct local *l, const struct local_charge *c);
void local_trace_uncharge(struct local *l, const struct local_charge *c);
void local_trace_refused(struct local *l, const struct local_charge *c,
			 const struct ledger_group *limit);
void local_trace_limit(const struct ledger_group *g, uint32_t dev, uint32_t tier, uint32_t key,
		       uint64_t value, uint32_t flags);

/* arbiter_local_group.c */
int local_find(struct arbiter *a, const struct arbiter_subject *s, struct arbiter_group *out_group);
int local_group_name(struct arbiter *a, const struct arbiter_group *group, char *buf, size_t size);
int local_for_each(struct arbiter *a, arbiter_group_fn fn, void *ctx);

/* arbiter_local_limit.c */
void local_limits_apply(struct local *l, struct ledger_group *g, uint32_t dev);
int local_limit_set(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev, uint32_t tier,
		    uint32_t key, uint64_t value);
int local_limit_clear(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev,
		      uint32_t tier, uint32_t key);
int local_limit_get(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev, uint32_t tier,
		    struct arbiter_limits *out_limits);

/* arbiter_local_pressure.c */
int local_run(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns);
int local_idle(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns);
int local_stall_begin(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns);
int local_stall_end(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns);
int local_pressure_group(struct arbiter *a, const struct arbiter_group *group, uint64_t now_ns,
			 struct arbiter_pressure *out);
int local_pressure_device(struct arbiter *a, uint32_t dev, uint64_t now_ns,
			  struct arbiter_pressure *out);
int local_trigger_add(struct arbiter *a, const struct arbiter_group *group, uint32_t dev, bool full,
		      uint64_t threshold_us, uint64_t window_us, uint64_t now_ns,
		      uint32_t *out_trigger);
void local_trigger_free(struct local *l, uint32_t id);
int local_trigger_del(struct arbiter *a, uint32_t trigger);
uint64_t local_poll(struct arbiter *a, uint64_t now_ns, arbiter_trigger_fn fn, void *ctx);

#endif
