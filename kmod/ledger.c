// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ledger: bytes charged to sessions and to the groups above them.
 *
 * Model
 * -----
 * A device has a capacity in each tier; a tier may be declared the same as that of
 * device 0 (one host RAM, several cards), and is then counted there: its "home".
 *
 * A session is a leaf. Above it there are up to three *chains* at once: of users,
 * of cgroups, of executables. Each chain is a tree of groups of one kind, all of
 * them end in the one root. So "user:al" means everything of al and
 * "exe:/x" every process of /x, whoever runs it; a single tree would have to
 * prefer one of the two. Every charge counts in the session, in each group of
 * each chain, and once in the root, whose max is the capacity.
 *
 * Bytes belong to a session itself (own) or to a *share*: one handle for all of one
 * model, whose bytes in every tier are split evenly over its members. With B
 * bytes and n members the i-th to have joined has B / n and one more if
 * i < B % n. A share without members counts in the root only.
 *
 * Invariants, for every (home, tier)
 *   root.usage    = sum of own of all sessions + sum of bytes of all shares
 *   session.usage = own + its parts of its shares
 *   group.usage   = sum of usage of the sessions below it
 *   usage <= max, unless max was lowered below use, a join was forced, or another
 *   member left a share (its part must fall to somebody). Then use stays, nothing
 *   that raises it passes, and ledger_over() tells.
 *
 * An operation over many counters first writes what it will add into `pending`
 * of each, then looks whether any refuses, and only then settles; a refusal
 * clears `pending` again. Common ancestors of several members are thus
 * judged by the sum, a refused charge leaves no trace (but in `refused`), and
 * numbers that fall and rise in one operation are judged by the difference.
 *
 * Protection
 * ----------
 * min and low are cgroup v2's: what a group may claim is bounded by what its
 * parent was given; siblings that claim more than that share it in proportion
 * to their claims; what no child claims falls to them in proportion to
 * unprotected use (the kernel's memory_recursiveprot). Two rules are ours. The
 * topmost groups together cannot claim more than the capacity. And a group whose
 * min (or low) was never set is transparent: it passes on what its children
 * claim, so that protecting one session does not require a min for its user, its
 * cgroup and every cgroup above.
 *
 * Each counter keeps its claim (`prot`) and the sum of its children's, so a
 * charge is O(groups above the session) and needs no walk over siblings.
 *
 * Locking: none here. The caller serialises everything, readers included;
 * functions that allocate (named *_new, *_add, ledger_share_join) may sleep in
 * the kernel. Groups and shares belong to the ledger; `priv` is the owner's.
 */
#include "kmod/ledger.h"

#define N_PROT	  2 /* min and low: the limits that protect */
#define NO_SHARE  VRAM_U64_MAX
#define FREE_END  0xffffffffu
#define HASH_BITS 10

_Static_assert(1 << HASH_BITS == LEDGER_N_BUCKETS, "as many buckets as the hash has values");
_Static_assert(sizeof(void *) > 8 || sizeof(struct ledger_share) <= 40, "small shares");

/* What each of n members has of some bytes. */
struct split {
	u64 base;
	u64 rem;
};

static struct split split_of(u64 bytes, u32 n_members)
{
	struct split s = { 0, 0 };

	if (n_members)
		s.base = vram_div_rem(bytes, n_members, &s.rem);
	return s;
}

static u64 part_of(struct split s, u32 i)
{
	return s.base + (i < s.rem);
}

/**
 * ledger_share_part() - the part of the i-th of n members in @bytes.
 *
 * Return: the bytes; the parts of all members add up to @bytes.
 */
u64 ledger_share_part(u64 bytes, u32 n_members, u32 i)
{
	return i < n_members ? part_of(split_of(bytes, n_members), i) : 0;
}

/* ---- counters --------------------------------------------------------------- */

static struct ledger_counter *counter_of(const struct ledger_group *g, u32 home, u32 tier)
{
	return &g->row[home]->tier[tier];
}

static bool is_over(const struct ledger_counter *c)
{
	return c->usage > vram_min(c->limit[LEDGER_HIGH], c->limit[LEDGER_MAX]);
}

static void counter_init(struct ledger_counter *c)
{
	c->limit[LEDGER_HIGH] = LEDGER_UNLIMITED;
	c->limit[LEDGER_MAX] = LEDGER_UNLIMITED;
	c->weight = LEDGER_WEIGHT_DEFAULT;
}

static struct ledger_row *row_new(void)
{
	struct ledger_row *row = vram_zalloc(sizeof(*row));
	u32 t;

	if (!row)
		return NULL;
	for (t = 0; t < LEDGER_N_TIERS; t++)
		counter_init(&row->tier[t]);
	return row;
}

/* Is @g, a session or a group, a member of this chain? Every one is in at least one. */
static bool in_chain(const struct ledger_group *g, u32 chain)
{
	if (g->kind != LEDGER_SESSION)
		return chain == LEDGER_CHAIN(g->kind);
	return g->parent[chain] || (!chain && !g->parent[1] && !g->parent[2]);
}

/* What of its use a counter claims to be protected. */
static u64 claim_of(const struct ledger_group *g, const struct ledger_counter *c, u32 key)
{
	if (g->kind != LEDGER_SESSION && !(c->set & (1u << key)))
		return c->children_prot[key];
	return vram_min(c->usage, c->limit[key]);
}

/*
 * Make the pending change of one counter real. @claim comes in as the change of
 * its children's claims and goes out as the change of its own (mod 2^64).
 */
static void settle_one(struct ledger *l, struct ledger_group *g, u32 home, u32 tier,
		       u64 claim[N_PROT])
{
	struct ledger_counter *c = counter_of(g, home, tier);
	bool was_over = is_over(c);
	u32 k;

	c->usage += c->pending;
	c->pending = 0;
	c->peak = vram_max(c->peak, c->usage);
	l->device[home].n_over[tier] += is_over(c);
	l->device[home].n_over[tier] -= was_over;
	for (k = 0; k < N_PROT; k++) {
		u64 now;

		c->children_prot[k] += claim[k];
		now = claim_of(g, c, k);
		claim[k] = now - c->prot[k];
		c->prot[k] = now;
	}
}

/* The same for @g and everything above it but the root's usage. */
static void settle(struct ledger *l, struct ledger_group *g, u32 home, u32 tier)
{
	u64 first[N_PROT] = { 0, 0 };
	struct ledger_group *p;
	u32 chain, k;

	settle_one(l, g, home, tier, first);
	for (chain = 0; chain < LEDGER_N_CHAINS; chain++) {
		u64 claim[N_PROT] = { first[0], first[1] };

		if (!in_chain(g, chain))
			continue;
		for (p = g->parent[chain]; p; p = p->parent[chain])
			settle_one(l, p, home, tier, claim);
		for (k = 0; k < N_PROT; k++)
			l->device[home].root_prot[tier][chain][k] += claim[k];
	}
}

static void pend(struct ledger_group *session, u32 home, u32 tier, u64 delta)
{
	struct ledger_group *p;
	u32 chain;

	counter_of(session, home, tier)->pending += delta;
	for (chain = 0; chain < LEDGER_N_CHAINS; chain++)
		for (p = session->parent[chain]; p; p = p->parent[chain])
			counter_of(p, home, tier)->pending += delta;
}

static void unpend(struct ledger_group *session, u32 home, u32 tier)
{
	struct ledger_group *p;
	u32 chain;

	counter_of(session, home, tier)->pending = 0;
	for (chain = 0; chain < LEDGER_N_CHAINS; chain++)
		for (p = session->parent[chain]; p; p = p->parent[chain])
			counter_of(p, home, tier)->pending = 0;
}

/* A counter above its max refuses what raises it, not what lowers it. */
static bool refuses(const struct ledger_counter *c)
{
	u64 next = c->usage + c->pending;

	return next > c->usage && next > c->limit[LEDGER_MAX];
}

/* Return: the lowest group that refuses what is pending for @session, or NULL. */
static struct ledger_group *refusing(struct ledger_group *session, u32 home, u32 tier)
{
	struct ledger_group *p;
	u32 chain;

	if (refuses(counter_of(session, home, tier)))
		return session;
	for (chain = 0; chain < LEDGER_N_CHAINS; chain++)
		for (p = session->parent[chain]; p; p = p->parent[chain])
			if (refuses(counter_of(p, home, tier)))
				return p;
	return NULL;
}

static bool root_refuses(const struct ledger *l, u32 home, u32 tier, u64 bytes)
{
	const struct ledger_counter *c = counter_of(&l->root, home, tier);

	return bytes &&
	       (c->usage > c->limit[LEDGER_MAX] || bytes > c->limit[LEDGER_MAX] - c->usage);
}

static void root_add(struct ledger *l, u32 home, u32 tier, u64 delta)
{
	struct ledger_counter *c = counter_of(&l->root, home, tier);
	bool was_over = is_over(c);

	c->usage += delta;
	c->peak = vram_max(c->peak, c->usage);
	l->device[home].n_over[tier] += is_over(c);
	l->device[home].n_over[tier] -= was_over;
}

/* Count a refusal and name it. Return: the error. */
static int refuse(struct ledger *l, struct ledger_group *group, u32 home, u32 tier,
		  struct ledger_group **out_limit)
{
	counter_of(group, home, tier)->refused++;
	if (out_limit)
		*out_limit = group;
	return group == &l->root ? -ENOSPC : -EDQUOT;
}

static int check_place(const struct ledger *l, u32 dev, u32 tier)
{
	if (dev >= l->n_devices)
		return -ENOENT;
	return tier < LEDGER_N_TIERS ? 0 : -EINVAL;
}

static int check_session(const struct ledger *l, const struct ledger_group *session, u32 dev,
			 u32 tier)
{
	if (session->kind != LEDGER_SESSION)
		return -EINVAL;
	return check_place(l, dev, tier);
}

/* ---- the ledger and its devices --------------------------------------------- */

/**
 * ledger_new() - an empty ledger: no devices, the root alone.
 *
 * Return: the ledger, to be freed with ledger_free(), or NULL.
 */
struct ledger *ledger_new(void)
{
	struct ledger *l = vram_zalloc(sizeof(*l));

	if (!l)
		return NULL;
	l->free_share = FREE_END;
	l->root.kind = LEDGER_ROOT;
	l->last = &l->root;
	l->n_groups = 1;
	return l;
}

static void rows_free(struct ledger_group *g)
{
	u32 d;

	for (d = 0; d < LEDGER_MAX_DEVICES; d++)
		vram_free(g->row[d]);
}

/**
 * ledger_free() - free a ledger with everything in it. NULL is fine.
 *
 * The owner frees what it hung on `priv` before.
 */
void ledger_free(struct ledger *l)
{
	struct ledger_group *g, *next;
	u32 i, k;

	if (!l)
		return;
	for (g = l->root.next; g; g = next) {
		next = g->next;
		rows_free(g);
		vram_free(g->shares);
		vram_free(g);
	}
	rows_free(&l->root);
	for (i = 0; i < l->n_pages; i++) {
		for (k = 0; k < LEDGER_SHARES_PER_PAGE; k++)
			if (l->page[i]->share[k].cap_log2)
				vram_free(l->page[i]->share[k].member.many);
		vram_free(l->page[i]);
	}
	vram_free(l->page);
	vram_free(l);
}

/**
 * ledger_device_add() - add a device with a capacity in each tier.
 *
 * LEDGER_SHARED as capacity makes that tier the one of device 0; limits and usage
 * of the two are then the same numbers. Devices are never removed.
 *
 * Return: 0 and the index; -ENOSPC (too many), -EINVAL (device 0 sharing with
 * itself), -ENOMEM.
 */
int ledger_device_add(struct ledger *l, const u64 capacity[LEDGER_N_TIERS], u32 *out_dev)
{
	u32 dev = l->n_devices, t;
	struct ledger_group *g, *undo;

	if (dev == LEDGER_MAX_DEVICES)
		return -ENOSPC;
	for (t = 0; t < LEDGER_N_TIERS; t++)
		if (!dev && capacity[t] == LEDGER_SHARED)
			return -EINVAL;
	for (g = &l->root; g; g = g->next) {
		g->row[dev] = row_new();
		if (!g->row[dev])
			goto err_rows;
	}
	for (t = 0; t < LEDGER_N_TIERS; t++) {
		bool shared = capacity[t] == LEDGER_SHARED;

		l->device[dev].home[t] = shared ? 0 : dev;
		if (!shared)
			counter_of(&l->root, dev, t)->limit[LEDGER_MAX] = capacity[t];
	}
	l->n_devices++;
	*out_dev = dev;
	return 0;

err_rows:
	for (undo = &l->root; undo != g; undo = undo->next) {
		vram_free(undo->row[dev]);
		undo->row[dev] = NULL;
	}
	return -ENOMEM;
}

/**
 * ledger_device_resize() - change a capacity; it may fall below use.
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int ledger_device_resize(struct ledger *l, u32 dev, u32 tier, u64 capacity)
{
	int ret = check_place(l, dev, tier);
	struct ledger_counter *c;
	u32 home;

	if (ret)
		return ret;
	if (capacity == LEDGER_SHARED)
		return -EINVAL;
	home = l->device[dev].home[tier];
	c = counter_of(&l->root, home, tier);
	l->device[home].n_over[tier] -= is_over(c);
	c->limit[LEDGER_MAX] = capacity;
	l->device[home].n_over[tier] += is_over(c);
	return 0;
}

/* ---- groups and sessions ---------------------------------------------------- */

static u32 bucket_of(u32 kind, u64 key)
{
	return (u32)(((key + kind) * 0x9e3779b97f4a7c15ull) >> (64 - HASH_BITS));
}

/**
 * ledger_find() - the group of this kind and key, or NULL. A session's key is its id.
 */
struct ledger_group *ledger_find(const struct ledger *l, u32 kind, u64 key)
{
	struct ledger_group *g;

	for (g = l->bucket[bucket_of(kind, key)]; g; g = g->hash_next)
		if (g->kind == kind && g->key == key)
			return g;
	return NULL;
}

/**
 * ledger_next() - iterate over all groups; NULL gives the root, the first.
 *
 * Parents come before children. Return: the next one, NULL at the end.
 */
struct ledger_group *ledger_next(const struct ledger *l, const struct ledger_group *group)
{
	return group ? group->next : (struct ledger_group *)&l->root;
}

static struct ledger_group *group_alloc(struct ledger *l, u32 kind, u64 key)
{
	struct ledger_group *g = vram_zalloc(sizeof(*g));
	u32 d;

	if (!g)
		return NULL;
	g->kind = kind;
	g->key = key;
	for (d = 0; d < l->n_devices; d++) {
		g->row[d] = row_new();
		if (!g->row[d]) {
			rows_free(g);
			vram_free(g);
			return NULL;
		}
	}
	return g;
}

static void group_link(struct ledger *l, struct ledger_group *g)
{
	u32 b = bucket_of(g->kind, g->key);

	g->hash_next = l->bucket[b];
	l->bucket[b] = g;
	g->prev = l->last;
	l->last->next = g;
	l->last = g;
	l->n_groups++;
}

static void group_unlink(struct ledger *l, struct ledger_group *g)
{
	struct ledger_group **at = &l->bucket[bucket_of(g->kind, g->key)];

	while (*at != g)
		at = &(*at)->hash_next;
	*at = g->hash_next;
	g->prev->next = g->next;
	if (g->next)
		g->next->prev = g->prev;
	else
		l->last = g->prev;
	l->n_groups--;
}

static void count_session(struct ledger *l, struct ledger_group *session, bool add)
{
	struct ledger_group *p;
	u32 chain;

	l->root.n_sessions += add ? 1 : -1;
	for (chain = 0; chain < LEDGER_N_CHAINS; chain++) {
		if (session->parent[chain])
			session->parent[chain]->n_children += add ? 1 : -1;
		for (p = session->parent[chain]; p; p = p->parent[chain])
			p->n_sessions += add ? 1 : -1;
	}
}

/**
 * ledger_group_new() - a user, a cgroup or an executable, below another of its kind
 * (@parent) or below the root (NULL).
 *
 * Return: 0; -EEXIST, -EINVAL (kind), -E2BIG (nested too deeply), -ENOMEM.
 */
int ledger_group_new(struct ledger *l, u32 kind, u64 key, struct ledger_group *parent,
		     struct ledger_group **out_group)
{
	struct ledger_group *g;

	if (kind != LEDGER_USER && kind != LEDGER_CGROUP && kind != LEDGER_EXE)
		return -EINVAL;
	if (parent && parent->kind != kind)
		return -EINVAL;
	if (parent && parent->depth + 1 >= LEDGER_MAX_DEPTH)
		return -E2BIG;
	if (ledger_find(l, kind, key))
		return -EEXIST;
	g = group_alloc(l, kind, key);
	if (!g)
		return -ENOMEM;
	if (parent) {
		g->parent[LEDGER_CHAIN(kind)] = parent;
		g->depth = parent->depth + 1;
		parent->n_children++;
	}
	group_link(l, g);
	*out_group = g;
	return 0;
}

/**
 * ledger_group_free() - free a group that has neither sessions nor groups below.
 *
 * Return: 0; -EBUSY, -EINVAL (a session or the root).
 */
int ledger_group_free(struct ledger *l, struct ledger_group *group)
{
	struct ledger_group *parent;

	if (group->kind == LEDGER_ROOT || group->kind == LEDGER_SESSION)
		return -EINVAL;
	if (group->n_children)
		return -EBUSY;
	parent = group->parent[LEDGER_CHAIN(group->kind)];
	if (parent)
		parent->n_children--;
	group_unlink(l, group);
	rows_free(group);
	vram_free(group);
	return 0;
}

/**
 * ledger_session_new() - a session below one group of each chain (NULL: none).
 *
 * Its key, the session id, counts up from 1 and is never used again.
 *
 * Return: 0; -EINVAL (a group in the wrong chain), -ENOMEM.
 */
int ledger_session_new(struct ledger *l, struct ledger_group *const chain[LEDGER_N_CHAINS],
		       struct ledger_group **out_session)
{
	struct ledger_group *g;
	u32 c;

	for (c = 0; c < LEDGER_N_CHAINS; c++)
		if (chain[c] &&
		    (chain[c]->kind == LEDGER_ROOT || chain[c]->kind == LEDGER_SESSION ||
		     LEDGER_CHAIN(chain[c]->kind) != c))
			return -EINVAL;
	g = group_alloc(l, LEDGER_SESSION, l->last_session + 1);
	if (!g)
		return -ENOMEM;
	l->last_session++;
	for (c = 0; c < LEDGER_N_CHAINS; c++)
		g->parent[c] = chain[c];
	g->n_sessions = 1;
	count_session(l, g, true);
	group_link(l, g);
	*out_session = g;
	return 0;
}

/**
 * ledger_session_free() - end a session: it leaves its shares, its own charges go back.
 *
 * Groups above it stay until ledger_group_free().
 */
void ledger_session_free(struct ledger *l, struct ledger_group *session)
{
	u32 d, t;

	while (session->n_shares)
		ledger_share_leave(l, session->shares[session->n_shares - 1], session);
	for (d = 0; d < l->n_devices; d++)
		for (t = 0; t < LEDGER_N_TIERS; t++)
			ledger_uncharge(l, session, d, t, counter_of(session, d, t)->own);
	count_session(l, session, false);
	group_unlink(l, session);
	rows_free(session);
	vram_free(session->shares);
	vram_free(session);
}

/**
 * ledger_is_below() - is @session the same as, or below, @group?
 */
bool ledger_is_below(const struct ledger *l, const struct ledger_group *session,
		     const struct ledger_group *group)
{
	const struct ledger_group *p;
	u32 chain;

	if (group == session || group == &l->root)
		return true;
	if (group->kind == LEDGER_SESSION || session->kind != LEDGER_SESSION)
		return false;
	chain = LEDGER_CHAIN(group->kind);
	for (p = session->parent[chain]; p; p = p->parent[chain])
		if (p == group)
			return true;
	return false;
}

/* ---- a session's own bytes -------------------------------------------------- */

/**
 * ledger_try_charge() - charge @bytes to a session and everything above it.
 * @out_limit: the group that refused, may be NULL; written only then
 *
 * Of several groups that refuse, the one nearest to the session is named, users
 * before cgroups before executables, the root last.
 *
 * Return: 0; -EDQUOT (a group's max), -ENOSPC (the capacity), -ENOENT, -EINVAL.
 */
int ledger_try_charge(struct ledger *l, struct ledger_group *session, u32 dev, u32 tier, u64 bytes,
		      struct ledger_group **out_limit)
{
	int ret = check_session(l, session, dev, tier);
	struct ledger_group *limit;
	u32 home;

	if (ret)
		return ret;
	home = l->device[dev].home[tier];
	pend(session, home, tier, bytes);
	limit = refusing(session, home, tier);
	if (!limit && root_refuses(l, home, tier, bytes))
		limit = &l->root;
	if (limit) {
		unpend(session, home, tier);
		return refuse(l, limit, home, tier, out_limit);
	}
	settle(l, session, home, tier);
	root_add(l, home, tier, bytes);
	counter_of(session, home, tier)->own += bytes;
	return 0;
}

/**
 * ledger_uncharge() - give back own bytes of a session.
 *
 * Return: 0; -EINVAL (it has fewer), -ENOENT.
 */
int ledger_uncharge(struct ledger *l, struct ledger_group *session, u32 dev, u32 tier, u64 bytes)
{
	int ret = check_session(l, session, dev, tier);
	struct ledger_counter *c;
	u32 home;

	if (ret)
		return ret;
	home = l->device[dev].home[tier];
	c = counter_of(session, home, tier);
	if (bytes > c->own)
		return -EINVAL;
	c->own -= bytes;
	pend(session, home, tier, -bytes);
	settle(l, session, home, tier);
	root_add(l, home, tier, -bytes);
	return 0;
}

/**
 * ledger_transfer() - move own bytes of a session to another tier, or not at all.
 *
 * Return: 0; -EDQUOT or -ENOSPC as for a charge to @to; -EINVAL, -ENOENT.
 */
int ledger_transfer(struct ledger *l, struct ledger_group *session, u32 dev, u32 from, u32 to,
		    u64 bytes, struct ledger_group **out_limit)
{
	int ret = check_session(l, session, dev, from);

	if (ret)
		return ret;
	if (to >= LEDGER_N_TIERS)
		return -EINVAL;
	if (bytes > counter_of(session, l->device[dev].home[from], from)->own)
		return -EINVAL;
	if (from == to)
		return 0;
	ret = ledger_try_charge(l, session, dev, to, bytes, out_limit);
	if (ret)
		return ret;
	return ledger_uncharge(l, session, dev, from, bytes);
}

/**
 * ledger_give() - move own bytes from one session to another, or not at all.
 *
 * A group that both are below neither gains nor loses, so it cannot refuse.
 *
 * Return: 0; -EDQUOT, -EINVAL, -ENOENT.
 */
int ledger_give(struct ledger *l, struct ledger_group *from, struct ledger_group *to, u32 dev,
		u32 tier, u64 bytes, struct ledger_group **out_limit)
{
	int ret = check_session(l, from, dev, tier);
	struct ledger_group *limit;
	u32 home;

	if (ret)
		return ret;
	if (to->kind != LEDGER_SESSION)
		return -EINVAL;
	home = l->device[dev].home[tier];
	if (bytes > counter_of(from, home, tier)->own)
		return -EINVAL;
	pend(from, home, tier, -bytes);
	pend(to, home, tier, bytes);
	limit = refusing(to, home, tier);
	if (limit) {
		unpend(from, home, tier);
		unpend(to, home, tier);
		return refuse(l, limit, home, tier, out_limit);
	}
	settle(l, from, home, tier);
	settle(l, to, home, tier);
	counter_of(from, home, tier)->own -= bytes;
	counter_of(to, home, tier)->own += bytes;
	return 0;
}

/* ---- shares ----------------------------------------------------------------- */

static struct ledger_share *share_at(const struct ledger *l, u32 share)
{
	u32 page = share / LEDGER_SHARES_PER_PAGE;
	struct ledger_share *s;

	if (page >= l->n_pages)
		return NULL;
	s = &l->page[page]->share[share % LEDGER_SHARES_PER_PAGE];
	return s->dev < LEDGER_MAX_DEVICES ? s : NULL;
}

static struct ledger_group **members_of(struct ledger_share *s)
{
	return s->cap_log2 ? s->member.many : &s->member.one;
}

/**
 * ledger_share_get() - look at a share, or NULL. Valid until the next change.
 */
const struct ledger_share *ledger_share_get(const struct ledger *l, u32 share)
{
	return share_at(l, share);
}

/* One more page of free shares. */
static int shares_grow(struct ledger *l)
{
	struct ledger_share_page *page;
	u32 i;

	if (l->n_pages >= LEDGER_MAX_SHARES / LEDGER_SHARES_PER_PAGE)
		return -ENOSPC;
	if (l->n_pages == l->pages_cap) {
		u32 cap = l->pages_cap ? 2 * l->pages_cap : 8;
		struct ledger_share_page **pages = vram_zalloc(cap * sizeof(*pages));

		if (!pages)
			return -ENOMEM;
		if (l->n_pages)
			memcpy(pages, l->page, l->n_pages * sizeof(*pages));
		vram_free(l->page);
		l->page = pages;
		l->pages_cap = cap;
	}
	page = vram_zalloc(sizeof(*page));
	if (!page)
		return -ENOMEM;
	for (i = LEDGER_SHARES_PER_PAGE; i-- > 0;) {
		page->share[i].dev = LEDGER_MAX_DEVICES;
		page->share[i].member.next_free = l->free_share;
		l->free_share = l->n_pages * LEDGER_SHARES_PER_PAGE + i;
	}
	l->page[l->n_pages++] = page;
	return 0;
}

/**
 * ledger_share_new() - a share on @dev without bytes or members.
 *
 * Return: 0; -ENOENT (device), -ENOSPC (too many shares), -ENOMEM.
 */
int ledger_share_new(struct ledger *l, u32 dev, u32 *out_share)
{
	struct ledger_share *s;
	int ret;

	if (dev >= l->n_devices)
		return -ENOENT;
	if (l->free_share == FREE_END) {
		ret = shares_grow(l);
		if (ret)
			return ret;
	}
	*out_share = l->free_share;
	s = &l->page[*out_share / LEDGER_SHARES_PER_PAGE]
		     ->share[*out_share % LEDGER_SHARES_PER_PAGE];
	l->free_share = s->member.next_free;
	s->member.many = NULL;
	s->dev = dev;
	l->n_shares++;
	return 0;
}

/**
 * ledger_share_free() - free a share; its number will be used again.
 *
 * Return: 0; -EBUSY (it has members or bytes), -ENOENT.
 */
int ledger_share_free(struct ledger *l, u32 share)
{
	struct ledger_share *s = share_at(l, share);
	u32 t;

	if (!s)
		return -ENOENT;
	if (s->n_members)
		return -EBUSY;
	for (t = 0; t < LEDGER_N_TIERS; t++)
		if (s->bytes[t])
			return -EBUSY;
	if (s->cap_log2)
		vram_free(s->member.many);
	s->cap_log2 = 0;
	s->dev = LEDGER_MAX_DEVICES;
	s->member.next_free = l->free_share;
	l->free_share = share;
	l->n_shares--;
	return 0;
}

/* Room for one more member in the share and one more share in the session. */
static int join_reserve(struct ledger_share *s, struct ledger_group *session)
{
	if (session->n_shares == session->shares_cap) {
		u32 cap = session->shares_cap ? 2 * session->shares_cap : 4;
		u32 *shares = vram_zalloc(cap * sizeof(*shares));

		if (!shares)
			return -ENOMEM;
		if (session->n_shares)
			memcpy(shares, session->shares, session->n_shares * sizeof(*shares));
		vram_free(session->shares);
		session->shares = shares;
		session->shares_cap = cap;
	}
	if (s->n_members == 1u << s->cap_log2) {
		struct ledger_group **many = vram_zalloc(sizeof(*many) << (s->cap_log2 + 1));

		if (!many)
			return -ENOMEM;
		memcpy(many, members_of(s), s->n_members * sizeof(*many));
		if (s->cap_log2)
			vram_free(s->member.many);
		s->member.many = many;
		s->cap_log2++;
	}
	return 0;
}

static u32 member_index(struct ledger_share *s, const struct ledger_group *session)
{
	struct ledger_group **m = members_of(s);
	u32 i;

	for (i = 0; i < s->n_members; i++)
		if (m[i] == session)
			break;
	return i;
}

/**
 * ledger_share_join() - the session becomes the last member of a share.
 * @force: even past a max
 *
 * The others are relieved by as much as it is charged, so the root, and any group
 * that all of them are below, is not asked.
 *
 * Return: 0; -EEXIST, -EDQUOT with *out_limit, -ENOENT, -EINVAL, -ENOMEM.
 */
int ledger_share_join(struct ledger *l, u32 share, struct ledger_group *session, bool force,
		      struct ledger_group **out_limit)
{
	struct ledger_share *s = share_at(l, share);
	struct ledger_group *limit = NULL, **m;
	u32 n, i, t, limit_tier = 0;
	int ret;

	if (!s)
		return -ENOENT;
	if (session->kind != LEDGER_SESSION)
		return -EINVAL;
	n = s->n_members;
	if (member_index(s, session) < n)
		return -EEXIST;
	ret = join_reserve(s, session);
	if (ret)
		return ret;
	m = members_of(s);
	m[n] = session;
	for (t = 0; t < LEDGER_N_TIERS; t++) {
		struct split was = split_of(s->bytes[t], n), now = split_of(s->bytes[t], n + 1);
		u32 home = l->device[s->dev].home[t];

		for (i = 0; i < n; i++)
			pend(m[i], home, t, part_of(now, i) - part_of(was, i));
		pend(session, home, t, part_of(now, n));
		if (!limit && !force) {
			limit = refusing(session, home, t);
			limit_tier = t;
		}
	}
	for (t = 0; t < LEDGER_N_TIERS; t++)
		for (i = 0; i <= n; i++)
			if (limit)
				unpend(m[i], l->device[s->dev].home[t], t);
			else
				settle(l, m[i], l->device[s->dev].home[t], t);
	if (limit)
		return refuse(l, limit, l->device[s->dev].home[limit_tier], limit_tier, out_limit);
	s->n_members++;
	session->shares[session->n_shares++] = share;
	return 0;
}

/**
 * ledger_share_leave() - the session is a member no longer; its part falls to the others.
 *
 * Return: 0; -ENOENT (no such share, not a member).
 */
int ledger_share_leave(struct ledger *l, u32 share, struct ledger_group *session)
{
	struct ledger_share *s = share_at(l, share);
	struct ledger_group **m;
	u32 n, at, i, t;

	if (!s)
		return -ENOENT;
	n = s->n_members;
	at = member_index(s, session);
	if (at == n)
		return -ENOENT;
	m = members_of(s);
	for (t = 0; t < LEDGER_N_TIERS; t++) {
		struct split was = split_of(s->bytes[t], n), now = split_of(s->bytes[t], n - 1);
		u32 home = l->device[s->dev].home[t];

		for (i = 0; i < n; i++)
			if (i == at)
				pend(m[i], home, t, -part_of(was, i));
			else
				pend(m[i], home, t, part_of(now, i - (i > at)) - part_of(was, i));
		for (i = 0; i < n; i++)
			settle(l, m[i], home, t);
	}
	for (i = at + 1; i < n; i++)
		m[i - 1] = m[i];
	s->n_members--;
	if (s->n_members <= 1 && s->cap_log2) {
		struct ledger_group *one = s->n_members ? m[0] : NULL;

		vram_free(s->member.many);
		s->member.one = one;
		s->cap_log2 = 0;
	}
	for (i = 0; session->shares[i] != share; i++)
		;
	session->shares[i] = session->shares[--session->n_shares];
	return 0;
}

/* Write the change of a share's bytes in one tier into `pending` of all its members. */
static void share_pend(struct ledger *l, struct ledger_share *s, u32 tier, u64 bytes)
{
	struct split was = split_of(s->bytes[tier], s->n_members);
	struct split now = split_of(bytes, s->n_members);
	struct ledger_group **m = members_of(s);
	u32 i;

	for (i = 0; i < s->n_members; i++)
		pend(m[i], l->device[s->dev].home[tier], tier, part_of(now, i) - part_of(was, i));
}

static void share_settle(struct ledger *l, struct ledger_share *s, u32 tier, u64 bytes)
{
	u32 home = l->device[s->dev].home[tier], i;
	struct ledger_group **m = members_of(s);

	for (i = 0; i < s->n_members; i++)
		settle(l, m[i], home, tier);
	root_add(l, home, tier, bytes - s->bytes[tier]);
	s->bytes[tier] = bytes;
}

/**
 * ledger_share_charge() - @bytes more of the share are in @tier.
 *
 * Every member and every group above one is asked, and charged all together
 * or not at all.
 *
 * Return: 0; -EDQUOT or -ENOSPC with *out_limit; -ENOENT, -EINVAL.
 */
int ledger_share_charge(struct ledger *l, u32 share, u32 tier, u64 bytes,
			struct ledger_group **out_limit)
{
	struct ledger_share *s = share_at(l, share);
	struct ledger_group *limit = NULL, **m;
	u32 home, i;

	if (!s)
		return -ENOENT;
	if (tier >= LEDGER_N_TIERS)
		return -EINVAL;
	home = l->device[s->dev].home[tier];
	/* The sum must not wrap; where it would, the capacity is passed as well. */
	if (bytes > VRAM_U64_MAX - s->bytes[tier])
		return refuse(l, &l->root, home, tier, out_limit);
	m = members_of(s);
	share_pend(l, s, tier, s->bytes[tier] + bytes);
	for (i = 0; i < s->n_members && !limit; i++)
		limit = refusing(m[i], home, tier);
	if (!limit && root_refuses(l, home, tier, bytes))
		limit = &l->root;
	if (limit) {
		for (i = 0; i < s->n_members; i++)
			unpend(m[i], home, tier);
		return refuse(l, limit, home, tier, out_limit);
	}
	share_settle(l, s, tier, s->bytes[tier] + bytes);
	return 0;
}

/**
 * ledger_share_uncharge() - @bytes of the share left @tier.
 *
 * Return: 0; -EINVAL (it has fewer there), -ENOENT.
 */
int ledger_share_uncharge(struct ledger *l, u32 share, u32 tier, u64 bytes)
{
	struct ledger_share *s = share_at(l, share);

	if (!s)
		return -ENOENT;
	if (tier >= LEDGER_N_TIERS || bytes > s->bytes[tier])
		return -EINVAL;
	share_pend(l, s, tier, s->bytes[tier] - bytes);
	share_settle(l, s, tier, s->bytes[tier] - bytes);
	return 0;
}

/**
 * ledger_share_transfer() - move bytes of a share to another tier, or not at all.
 *
 * Return: as ledger_share_charge() to @to; -EINVAL if @from has fewer.
 */
int ledger_share_transfer(struct ledger *l, u32 share, u32 from, u32 to, u64 bytes,
			  struct ledger_group **out_limit)
{
	struct ledger_share *s = share_at(l, share);
	int ret;

	if (!s)
		return -ENOENT;
	if (from >= LEDGER_N_TIERS || to >= LEDGER_N_TIERS || bytes > s->bytes[from])
		return -EINVAL;
	if (from == to)
		return 0;
	ret = ledger_share_charge(l, share, to, bytes, out_limit);
	if (ret)
		return ret;
	return ledger_share_uncharge(l, share, from, bytes);
}

/* ---- limits ----------------------------------------------------------------- */

static u64 limit_default(u32 key)
{
	switch (key) {
	case LEDGER_HIGH:
	case LEDGER_MAX:
		return LEDGER_UNLIMITED;
	case LEDGER_WEIGHT:
		return LEDGER_WEIGHT_DEFAULT;
	default:
		return 0;
	}
}

static int limit_write(struct ledger *l, struct ledger_group *group, u32 dev, u32 tier, u32 key,
		       u64 value, bool set)
{
	int ret = check_place(l, dev, tier);
	struct ledger_counter *c;
	u32 home;

	if (ret)
		return ret;
	if (group->kind == LEDGER_ROOT || key >= LEDGER_N_KEYS)
		return -EINVAL;
	home = l->device[dev].home[tier];
	c = counter_of(group, home, tier);
	c->set = set ? c->set | (1u << key) : c->set & ~(1u << key);
	if (key == LEDGER_WEIGHT) {
		c->weight = value;
		return 0;
	}
	l->device[home].n_over[tier] -= is_over(c);
	c->limit[key] = value;
	l->device[home].n_over[tier] += is_over(c);
	settle(l, group, home, tier);
	return 0;
}

/**
 * ledger_limit_set() - set one limit; in force at once, use above it stays.
 *
 * The root has none but the capacity (ledger_device_resize()).
 *
 * Return: 0; -ENOENT (device), -EINVAL (tier, key, root), -ERANGE (weight).
 */
int ledger_limit_set(struct ledger *l, struct ledger_group *group, u32 dev, u32 tier, u32 key,
		     u64 value)
{
	if (key == LEDGER_WEIGHT && (value < LEDGER_WEIGHT_MIN || value > LEDGER_WEIGHT_MAX))
		return -ERANGE;
	return limit_write(l, group, dev, tier, key, value, true);
}

/**
 * ledger_limit_clear() - back to the default: min, low 0, high, max unlimited, weight 100.
 *
 * A group without min (low) lets the claims of its children pass; one with min
 * set to 0 does not.
 *
 * Return: as ledger_limit_set().
 */
int ledger_limit_clear(struct ledger *l, struct ledger_group *group, u32 dev, u32 tier, u32 key)
{
	return limit_write(l, group, dev, tier, key, limit_default(key), false);
}

/* The effective protection of @group by way of one chain, topmost group first. */
static u64 effective(const struct ledger *l, const struct ledger_group *group, u32 home, u32 tier,
		     u32 chain, u32 key)
{
	const struct ledger_group *path[LEDGER_MAX_DEPTH + 1], *p;
	u64 given = counter_of(&l->root, home, tier)->limit[LEDGER_MAX];
	u64 claimed = l->device[home].root_prot[tier][chain][key];
	u64 parent_usage = 0; /* what of the capacity nobody claims protects nobody */
	u32 n = 0, i;

	for (p = group; p; p = p->parent[chain])
		path[n++] = p;
	for (i = n; i-- > 0;) {
		const struct ledger_counter *c = counter_of(path[i], home, tier);
		u64 e = c->prot[key];

		if (claimed > given)
			e = vram_mul_div(e, given, claimed);
		else if (given > claimed && parent_usage > claimed && c->usage > e)
			e += vram_mul_div(given - claimed, c->usage - e, parent_usage - claimed);
		given = e;
		claimed = c->children_prot[key];
		parent_usage = c->usage;
	}
	return given;
}

/**
 * ledger_protection() - how much of its use a group or session can keep.
 * @out_emin: not to be reclaimed
 * @out_elow: to be reclaimed only when nothing unprotected is left
 *
 * A session has the best of its chains. The root has none.
 *
 * Return: 0; -ENOENT, -EINVAL.
 */
int ledger_protection(const struct ledger *l, const struct ledger_group *group, u32 dev, u32 tier,
		      u64 *out_emin, u64 *out_elow)
{
	int ret = check_place(l, dev, tier);
	u64 best[N_PROT] = { 0, 0 };
	u32 chain, k;

	if (ret)
		return ret;
	for (chain = 0; chain < LEDGER_N_CHAINS && group->kind != LEDGER_ROOT; chain++)
		for (k = 0; k < N_PROT && in_chain(group, chain); k++)
			best[k] = vram_max(best[k], effective(l, group, l->device[dev].home[tier],
							      tier, chain, k));
	*out_emin = best[LEDGER_MIN];
	*out_elow = best[LEDGER_LOW];
	return 0;
}

static u64 above(u64 usage, u64 limit)
{
	return usage > limit ? usage - limit : 0;
}

/**
 * ledger_read() - everything about one (group, device, tier).
 *
 * Return: 0; -ENOENT, -EINVAL.
 */
int ledger_read(const struct ledger *l, const struct ledger_group *group, u32 dev, u32 tier,
		struct ledger_usage *out_usage)
{
	struct ledger_usage *u = out_usage;
	const struct ledger_counter *c;
	u64 emin, elow;
	int ret;
	u32 k;

	ret = ledger_protection(l, group, dev, tier, &emin, &elow);
	if (ret)
		return ret;
	c = counter_of(group, l->device[dev].home[tier], tier);
	u->usage = c->usage;
	u->own = c->own;
	u->peak = c->peak;
	u->refused = c->refused;
	u->emin = emin;
	u->elow = elow;
	u->over_high = above(c->usage, c->limit[LEDGER_HIGH]);
	u->over_max = above(c->usage, c->limit[LEDGER_MAX]);
	for (k = 0; k < LEDGER_WEIGHT; k++)
		u->limit[k] = c->limit[k];
	u->limit[LEDGER_WEIGHT] = c->weight;
	u->set = c->set;
	return 0;
}

/**
 * ledger_over() - the groups above their high or max, the root included.
 *
 * O(1) if there are none, else O(groups).
 *
 * Return: how many there are, the first @n_out of them in @out; -ENOENT, -EINVAL.
 */
int ledger_over(const struct ledger *l, u32 dev, u32 tier, struct ledger_over *out, u32 n_out)
{
	int ret = check_place(l, dev, tier);
	const struct ledger_group *g;
	u32 home, left, n = 0;

	if (ret)
		return ret;
	home = l->device[dev].home[tier];
	left = l->device[home].n_over[tier];
	for (g = &l->root; g && left; g = g->next) {
		const struct ledger_counter *c = counter_of(g, home, tier);

		if (!is_over(c))
			continue;
		left--;
		if (n < n_out) {
			out[n].group = (struct ledger_group *)g;
			out[n].over_high = above(c->usage, c->limit[LEDGER_HIGH]);
			out[n].over_max = above(c->usage, c->limit[LEDGER_MAX]);
		}
		n++;
	}
	return (int)n;
}
