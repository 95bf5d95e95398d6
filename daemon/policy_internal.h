/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef VRAM_DAEMON_POLICY_INTERNAL_H
#define VRAM_DAEMON_POLICY_INTERNAL_H

/* What the files of the policy share. Only daemon/policy*.c include it. */

#include "daemon/policy.h"
#include "daemon/policy_fill.h"

#define POLICY_IDLE_SAMPLES 32u
#define POLICY_WAITED	    16u
#define POLICY_WANTED	    32u
#define POLICY_LANES	    16u

/* Flags of a chunk. */
#define CHUNK_RESIDENT	0x01u
#define CHUNK_PINNED	0x02u /* not evictable: pinned or in flight */
#define CHUNK_FRESH	0x04u /* loaded and not touched since */
#define CHUNK_YOUNG	0x08u /* protected, for two protection periods at most */
#define CHUNK_AGED	0x10u /* protected for the rest of this period */
#define CHUNK_SEEN	0x20u /* its place in the order was observed or declared */
#define CHUNK_RARE	0x40u /* not used in every pass */
#define CHUNK_FIXED	0x80u /* declared to be rare: never promoted */
#define CHUNK_PROTECTED (CHUNK_YOUNG | CHUNK_AGED)

/* A bitmap over positions and one over its words that are not zero. */
struct bitset {
	uint64_t *word;
	uint64_t *sum;
};

/* How eager an object is to give: the least protected of its tenants counts last. */
enum policy_level {
	LEVEL_OVER, /* every tenant that uses it is above its quota */
	LEVEL_NORMAL,
	LEVEL_LOW, /* some tenant is below its low limit */
	LEVEL_N_HEAPS,
	LEVEL_MIN = LEVEL_N_HEAPS, /* some tenant is below its min limit: in no heap */
};

/* Tenants that share what a weight gives them. */
struct policy_group {
	struct policy *p;
	struct policy_group *prev, *next; /* policy.groups */
	struct policy_group *parent; /* or NULL: one of those among whom everything is divided */
	struct policy_tenant *tenants;
	uint32_t weight;
	uint64_t min, max;
	uint32_t depth; /* groups above it */
	uint32_t node;	/* in policy.fill, while quotas are computed */
};

struct policy_tenant {
	struct policy_tenant *hash_next;
	struct policy_group *group;		       /* or NULL */
	struct policy_tenant *group_prev, *group_next; /* group.tenants */
	uint32_t id;
	uint32_t node; /* in policy.fill, while quotas are computed */
	uint32_t weight;
	uint64_t min, max;	     /* bounds of its quota */
	uint64_t keep_min, keep_low; /* protected from those outside its group */
	uint64_t keep_own;	     /* of that, what is so from those inside it, too */
	uint64_t quota, usage, need, slack;
	uint64_t grain; /* the largest chunk it ever used */
	struct policy_user **users;
	uint32_t n_users, cap_users;
	enum policy_level level;
	bool due;	 /* it has less than its min */
	bool configured; /* limits were set: outlives its users */
	bool idle;	 /* none of its users is active */
};

struct policy_user {
	struct policy_object *obj;
	struct policy_tenant *tenant;
	void *owner;
	uint32_t in_obj, in_tenant; /* index in their arrays */
	bool first;		    /* the one of its tenant's users on this object that counts */
	bool charged;		    /* its tenant has been charged for the object */

	uint32_t cursor;       /* position seen last; valid if started */
	uint32_t cursor_chunk; /* the chunk there: survives a change of the order */
	bool started;
	bool hinted; /* pass kinds are declared */
	bool idle;
	bool quiet; /* everything is resident and it was not seen for long */
	enum policy_pass pass, next_pass;
	uint64_t passes;
	uint64_t burst_passes; /* passes when it was idle last */
	uint32_t wire;	       /* positions to the next chunk that it cannot pass unseen; 0: none */
	uint64_t cursor_ns;    /* when the cursor was reached */
	uint64_t touch_ns;     /* last touch of any chunk */
	uint64_t idle_ns;      /* since when it is idle */

	double tau[POLICY_N_PASS]; /* ns a position, stalls included; 0: unknown */
	double tau_weight[POLICY_N_PASS];

	uint32_t lag, lag_seen; /* stragglers: in force, largest in this pass */
	uint32_t depth;

	uint64_t idles[POLICY_IDLE_SAMPLES];  /* lengths of the last idle times, ns */
	uint32_t bursts[POLICY_IDLE_SAMPLES]; /* passes between them */
	uint32_t n_idles, n_bursts;
	double stops; /* probability that it is idle after this pass */

	uint64_t held_ns; /* when it was last told to wait for another (policy_convoy.c); 0: not */
	uint64_t held_until_ns;
	uint64_t no_hold_until_ns;

	uint32_t waited[POLICY_WAITED];	 /* chunks it faulted on, kept for its threads */
	uint32_t waited_first, n_waited; /* a ring */
};

struct policy_object {
	struct policy *p;
	void *owner;
	enum policy_kind kind;
	uint32_t n;	  /* chunks, and positions */
	uint32_t n_cycle; /* positions of the cycle; those beyond hold the rest */
	uint64_t chunk_bytes;
	bool declared;

	/* Allocated together; by chunk: */
	uint32_t *pos_of;
	uint8_t *flags;
	uint16_t *score;     /* rare: how often used (policy_rare.c); regular: loads wasted */
	uint16_t *used_pass; /* rare: pass of the last touch */
	/* by position: */
	uint32_t *chunk_at;
	struct bitset absent;		  /* regular and not resident */
	struct bitset fresh;		  /* regular and CHUNK_FRESH */
	struct bitset cand;		  /* regular, may be evicted now */
	struct bitset lane[POLICY_LANES]; /* rare, may be evicted now, by score; on demand */
	struct bitset roomy;		  /* those of them in blocks that may take one more hole */
	uint32_t block;			  /* positions of a block */
	void *memory, *lane_memory;
	size_t memory_bytes;

	uint32_t n_words, n_sums;
	uint32_t n_resident, n_absent, n_rare, n_seen, n_protected;
	uint32_t n_closed;	     /* absent or fresh: not open to anybody */
	uint32_t closed_max;	     /* most of them a block may have to take one more */
	uint32_t closed_at;	     /* n_closed when closed_max was computed */
	uint64_t passes;	     /* of the user that is farthest */
	uint32_t hand;		     /* rare: position where the last victim was taken */
	uint32_t sample;	     /* which of many users the next candidate is computed from */
	uint32_t n_touches, n_jumps; /* decaying: how well the order predicts */

	uint32_t wanted[POLICY_WANTED]; /* absent chunks that were faulted on, + 1, by chunk */
	struct policy_user **users;
	uint32_t n_users, cap_users;
	uint64_t share_bytes; /* charged to each of its tenants */
	uint32_t n_tenants;

	/* The best candidate, valid unless dirty. */
	bool dirty;
	uint64_t stale_ns; /* from then on it is worth another look */
	struct policy_object *dirty_next;
	bool has_cand;
	struct policy_victim farthest; /* farthest next use */
	struct policy_victim even;     /* the one that keeps the holes spread */
	uint64_t cand_key;
	enum policy_level tenants_level; /* of the most protected tenant, unless stale */
	bool level_stale;
	uint32_t heap_index;	      /* UINT32_MAX: in none */
	enum policy_level heap_level; /* the heap it is in */

	struct policy_object *prev, *next;
};

struct heap {
	struct policy_object **at;
	uint32_t n, cap;
};

struct policy {
	struct policy_config cfg;
	struct policy_object *objects;
	struct policy_object *dirty;
	struct policy_tenant **hash;
	uint32_t hash_size, n_tenants;
	struct policy_group *groups;
	uint32_t n_groups;
	struct fill_node *fill; /* room for all of them */
	uint32_t cap_fill;
	uint32_t n_objects;
	struct heap heap[LEVEL_N_HEAPS];
	bool quotas_dirty;
	struct policy_object *refresh; /* whose turn it is to be looked at again */
	uint64_t aged_ns;	       /* when protections were aged last */
	double load_ns, load_dev;      /* latency of a load, queueing included: mean, deviation */
	size_t memory_bytes;
};

/* policy_order.c: the cyclic order and the bitmaps over it. */
int order_init(struct policy_object *obj);
void order_deinit(struct policy_object *obj);
int order_need_lanes(struct policy_object *obj);
/* Brings the bits of a chunk in line with its flags, which become new_flags. */
void order_set_flags(struct policy_object *obj, uint32_t chunk, uint8_t new_flags);
void order_set_score(struct policy_object *obj, uint32_t chunk, uint16_t score);
/* Moves a chunk that was seen right after another to there, with the unseen run behind it. */
void order_place_after(struct policy_object *obj, uint32_t chunk, uint32_t previous);
void order_forget(struct policy_object *obj);
uint32_t order_ahead(const struct policy_object *obj, uint32_t from, uint32_t to);
/*
 * Last position of the set in the len positions that end at `from`, going back
 * around the cycle. Return: UINT32_MAX if none.
 */
uint32_t order_last(const struct policy_object *obj, const struct bitset *set, uint32_t from,
		    uint32_t len);
/* Any position of the set, those beyond the cycle included, the last first. */
uint32_t order_any(const struct policy_object *obj, const struct bitset *set);
/* First position of the set in the len positions from `from` on. */
uint32_t order_first(const struct policy_object *obj, const struct bitset *set, uint32_t from,
		     uint32_t len);

/* policy_user.c: where a session is and when it will come by. */
uint64_t user_next(const struct policy_user *user, uint32_t pos, uint64_t now_ns);
uint64_t user_lap_ns(const struct policy_user *user);
/* Positions that it has presumably passed since it was seen. */
uint32_t user_passed(const struct policy_user *user, uint64_t now_ns);
void user_find_wire(struct policy_user *user);
void user_set_idle(struct policy_user *user, uint64_t since_ns);
void user_infer_idle(struct policy_user *user, uint64_t now_ns);
void user_init(struct policy_user *user);
/* Whether anybody faulted on the chunk; said once. */
bool user_waits_for(struct policy_object *obj, uint32_t chunk);
/* Ends the oldest such protection. Return: false if there is none. */
bool user_drop_waited(struct policy_user *user);
double user_pace(const struct policy_user *user);

/* policy_convoy.c: sessions on one object that go together. */
bool user_is_held(const struct policy_user *user, uint64_t now_ns);

/* policy_rare.c: chunks that are not used in every pass. */
uint32_t rare_lane(uint16_t score);
/* Return: whether it is (again) a chunk of the cycle. */
bool rare_touch(struct policy_user *user, uint32_t chunk);
/* A chunk of the cycle was loaded ahead and goes unused. */
void rare_load_wasted(struct policy_object *obj, uint32_t chunk);
void rare_evicted(struct policy_object *obj, uint32_t chunk);
uint64_t rare_next(const struct policy_object *obj, uint32_t chunk, uint64_t now_ns);
/* The chunk to give up first, and its next use. Return: UINT32_MAX if there is none. */
uint32_t rare_victim(struct policy_object *obj, uint64_t now_ns, uint64_t *out_next_ns);

/* policy_quota.c: tenants and what each may hold. */
struct policy_tenant *tenant_find(const struct policy *p, uint32_t id);
struct policy_tenant *tenant_get(struct policy *p, uint32_t id);
void tenant_put(struct policy *p, struct policy_tenant *t);
int tenant_attach(struct policy_user *user);
void tenant_detach(struct policy_user *user);
void tenant_update_idle(struct policy *p, struct policy_tenant *t);
void quota_charge(struct policy_object *obj, bool exactly);
void quota_recompute(struct policy *p);
void quota_level(struct policy *p, struct policy_tenant *t);
bool quota_is_over(const struct policy_tenant *t);
/* Everything is resident and nobody was seen for long: a chunk is taken to find out. */
bool quota_is_probe(const struct policy_object *obj);
enum policy_level quota_object_level(struct policy_object *obj);

/* policy_victim.c: candidates and the heaps over them. */
void victim_dirty(struct policy_object *obj);  /* something changed: look at it again */
void victim_forget(struct policy_object *obj); /* it goes away */
int victim_reserve(struct policy *p, uint32_t n_objects);
void victim_deinit(struct policy *p);

#endif
