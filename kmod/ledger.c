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

#include "kmod/ledger_internal.h"

#define HASH_BITS 10

_Static_assert(1 << HASH_BITS == LEDGER_N_BUCKETS, "as many buckets as the hash has values");

/* ---- the ledger and its devices --------------------------------------------- */

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

/*
 * ledger_new() - an empty ledger: no devices, the root alone.
 *
 * Return: the ledger, to be freed with ledger_free(), or NULL.
 */
struct ledger *ledger_new(void)
{
	struct ledger *l = vram_zalloc(sizeof(*l));

	if (!l)
		return NULL;
	l->free_share = LEDGER_NO_SHARE;
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

/*
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

/*
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
			ledger_counter_of(&l->root, dev, t)->limit[LEDGER_MAX] = capacity[t];
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

/*
 * ledger_device_resize() - change a capacity; it may fall below use.
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int ledger_device_resize(struct ledger *l, u32 dev, u32 tier, u64 capacity)
{
	int ret = ledger_check_place(l, dev, tier);
	struct ledger_counter *c;
	u32 home;

	if (ret)
		return ret;
	if (capacity == LEDGER_SHARED)
		return -EINVAL;
	home = l->device[dev].home[tier];
	c = ledger_counter_of(&l->root, home, tier);
	l->device[home].n_over[tier] -= ledger_is_over(c);
	c->limit[LEDGER_MAX] = capacity;
	l->device[home].n_over[tier] += ledger_is_over(c);
	return 0;
}

/* ---- groups and sessions ---------------------------------------------------- */

static u32 bucket_of(u32 kind, u64 key)
{
	return (u32)(((key + kind) * 0x9e3779b97f4a7c15ull) >> (64 - HASH_BITS));
}

/*
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

/*
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

/*
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

/*
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

/*
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

/*
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
			ledger_uncharge(l, session, d, t, ledger_counter_of(session, d, t)->own);
	count_session(l, session, false);
	group_unlink(l, session);
	rows_free(session);
	vram_free(session->shares);
	vram_free(session);
}

/*
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

static int check_session(const struct ledger *l, const struct ledger_group *session, u32 dev,
			 u32 tier)
{
	if (session->kind != LEDGER_SESSION)
		return -EINVAL;
	return ledger_check_place(l, dev, tier);
}

/*
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
	ledger_pend(session, home, tier, bytes);
	limit = ledger_refusing(session, home, tier);
	if (!limit && ledger_root_refuses(l, home, tier, bytes))
		limit = &l->root;
	if (limit) {
		ledger_unpend(session, home, tier);
		return ledger_refuse(l, limit, home, tier, out_limit);
	}
	ledger_settle(l, session, home, tier);
	ledger_root_add(l, home, tier, bytes);
	ledger_counter_of(session, home, tier)->own += bytes;
	return 0;
}

/*
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
	c = ledger_counter_of(session, home, tier);
	if (bytes > c->own)
		return -EINVAL;
	c->own -= bytes;
	ledger_pend(session, home, tier, -bytes);
	ledger_settle(l, session, home, tier);
	ledger_root_add(l, home, tier, -bytes);
	return 0;
}

/*
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
	if (bytes > ledger_counter_of(session, l->device[dev].home[from], from)->own)
		return -EINVAL;
	if (from == to)
		return 0;
	ret = ledger_try_charge(l, session, dev, to, bytes, out_limit);
	if (ret)
		return ret;
	return ledger_uncharge(l, session, dev, from, bytes);
}

/*
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
	if (bytes > ledger_counter_of(from, home, tier)->own)
		return -EINVAL;
	ledger_pend(from, home, tier, -bytes);
	ledger_pend(to, home, tier, bytes);
	limit = ledger_refusing(to, home, tier);
	if (limit) {
		ledger_unpend(from, home, tier);
		ledger_unpend(to, home, tier);
		return ledger_refuse(l, limit, home, tier, out_limit);
	}
	ledger_settle(l, from, home, tier);
	ledger_settle(l, to, home, tier);
	ledger_counter_of(from, home, tier)->own -= bytes;
	ledger_counter_of(to, home, tier)->own += bytes;
	return 0;
}
