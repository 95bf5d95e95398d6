// SPDX-License-Identifier: GPL-2.0-only
/*
 * The arbiter in this process: kmod/ledger.c and kmod/pressure.c linked in.
 *
 * kmod/group.c gives the ledger's groups names and makes and frees them, kmod/stall.c
 * knows whose pressure a wait is. What is here is what the kernel module does in its own way: who
 * the sessions are, which limits were set for whom, triggers.
 *
 * Limits are looked up from the most specific to the most general: set for the
 * group on this device, set for the group on all devices, for a user the same
 * two of `default`, then no limit. What comes out is written into the ledger
 * whenever any of these changes; the ledger itself knows no inheritance.
 *
 * Locking: one thread. Ownership: the arbiter owns the ledger, everything on
 * `priv` of its groups, and the triggers.
 */
#include "daemon/arbiter_local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/trace.h"

_Static_assert(ARBITER_MAX_DEVICES == LEDGER_MAX_DEVICES, "same numbers on both sides");
_Static_assert((int)ARBITER_N_TIERS == (int)LEDGER_N_TIERS, "same tiers");
_Static_assert((int)ARBITER_N_KEYS == (int)LEDGER_N_KEYS, "same keys");
_Static_assert((int)ARBITER_SESSION == (int)LEDGER_SESSION, "same kinds");
_Static_assert(ARBITER_UNLIMITED == LEDGER_UNLIMITED, "same idea of no limit");
_Static_assert(ARBITER_CAPACITY_SHARED == LEDGER_SHARED, "same mark of a shared tier");

#define MAX_OVER 256

/* ---- sessions and devices ---------------------------------------------------- */

static int local_device_add(struct arbiter *a, const char *name,
			    const uint64_t capacity[ARBITER_N_TIERS], uint64_t now_ns,
			    uint32_t *out_dev)
{
	struct local *l = local_of(a);
	struct ledger_group *g;
	uint32_t dev;
	int r;

	(void)name;
	r = ledger_device_add(l->ledger, capacity, &dev);
	if (r)
		return r;
	pressure_init(&l->device_pressure[dev], now_ns);
	for (g = l->ledger->root.next; g; g = g->next)
		local_limits_apply(l, g, dev);
	a->number[dev] = dev;
	*out_dev = dev;
	return 0;
}

static int local_device_resize(struct arbiter *a, uint32_t dev, uint32_t tier, uint64_t capacity)
{
	return ledger_device_resize(local_of(a)->ledger, dev, tier, capacity);
}

static int local_session_open(struct arbiter *a, const struct arbiter_peer *peer, uint64_t now_ns,
			      uint64_t *out_session)
{
	struct ledger_group *chain[LEDGER_N_CHAINS] = { NULL }, *g;
	struct local *l = local_of(a);
	struct local_session *s;
	uint32_t c;
	int r;

	if (peer->cgroup && strcmp(peer->cgroup, "/") && !group_is_path(peer->cgroup))
		return -EINVAL;
	if (peer->exe && !group_is_path(peer->exe))
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	r = group_chain(&l->book, peer->uid, peer->cgroup, peer->exe, now_ns, chain);
	if (!r)
		r = ledger_session_new(l->ledger, chain, &g);
	if (r) {
		for (c = 0; c < LEDGER_N_CHAINS; c++)
			group_collect(&l->book, chain[c]);
		free(s);
		return r;
	}
	g->priv = s;
	pressure_init(&s->stall.group.pressure, now_ns);
	s->pid = peer->pid;
	s->uid = peer->uid;
	if (peer->comm)
		memccpy(s->comm, peer->comm, '\0', sizeof(s->comm) - 1);
	if (trace_on(vram_session_open))
		local_trace_open(g, peer->cgroup);
	*out_session = g->key;
	return 0;
}

static int local_session_close(struct arbiter *a, uint64_t session, uint64_t now_ns)
{
	struct ledger_group *g = session_of(a, session), *chain[LEDGER_N_CHAINS];
	struct local *l = local_of(a);
	struct local_session *s;
	uint32_t c, i;

	if (!g)
		return -ENOENT;
	stall_stop(&l->book, l->device_pressure, g, now_ns);
	for (i = 0; i < LOCAL_MAX_TRIGGERS; i++)
		if (l->trigger[i] && l->trigger[i]->group == g)
			local_trigger_free(l, i);
	if (trace_on(vram_session_close))
		local_trace_close(l, g);
	memcpy(chain, g->parent, sizeof(chain));
	s = g->priv;
	ledger_session_free(l->ledger, g);
	free(s->limits);
	free(s);
	for (c = 0; c < LEDGER_N_CHAINS; c++)
		group_collect(&l->book, chain[c]);
	return 0;
}

static int local_is_member(struct arbiter *a, uint64_t session, const struct arbiter_group *group)
{
	const struct ledger_group *s = session_of(a, session), *g = group_of(a, group);

	if (!s || !g)
		return -ENOENT;
	return ledger_is_below(local_of(a)->ledger, s, g);
}
/* ---- charges ----------------------------------------------------------------- */

/* Tell who traces, and name the group that refused. Return: @r. */
static int answer(struct local *l, const struct local_charge *c, int r,
		  struct ledger_group *const *limit, struct arbiter_group *out_limit)
{
	if (r == 0) {
		if (c->from != TRACE_TIER_NONE && c->from != c->to)
			local_trace_uncharge(l, c);
		if (c->to != TRACE_TIER_NONE && c->from != c->to)
			local_trace_charge(l, c);
	} else if (r == -EDQUOT || r == -ENOSPC) {
		if (trace_on(vram_limit_hit))
			local_trace_refused(l, c, *limit);
		if (out_limit)
			*out_limit = ref_of(*limit);
	}
	return r;
}

static int local_charge(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier,
			uint64_t bytes, struct arbiter_group *out_limit)
{
	const struct local_charge c = { .session = session,
					.bytes = bytes,
					.share = TRACE_NO_SHARE,
					.dev = dev,
					.to = tier,
					.from = TRACE_TIER_NONE };
	struct ledger_group *g = session_of(a, session), *limit = NULL;

	if (!g)
		return -ENOENT;
	return answer(local_of(a), &c,
		      ledger_try_charge(local_of(a)->ledger, g, dev, tier, bytes, &limit), &limit,
		      out_limit);
}

static int local_uncharge(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier,
			  uint64_t bytes)
{
	const struct local_charge c = { .session = session,
					.bytes = bytes,
					.share = TRACE_NO_SHARE,
					.dev = dev,
					.from = tier,
					.to = TRACE_TIER_NONE };
	struct ledger_group *g = session_of(a, session);

	if (!g)
		return -ENOENT;
	return answer(local_of(a), &c, ledger_uncharge(local_of(a)->ledger, g, dev, tier, bytes),
		      NULL, NULL);
}

static int local_transfer(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t from,
			  uint32_t to, uint64_t bytes, struct arbiter_group *out_limit)
{
	const struct local_charge c = { .session = session,
					.bytes = bytes,
					.share = TRACE_NO_SHARE,
					.dev = dev,
					.from = from,
					.to = to };
	struct ledger_group *g = session_of(a, session), *limit = NULL;

	if (!g)
		return -ENOENT;
	return answer(local_of(a), &c,
		      ledger_transfer(local_of(a)->ledger, g, dev, from, to, bytes, &limit), &limit,
		      out_limit);
}

static int local_give(struct arbiter *a, uint64_t from_session, uint64_t to_session, uint32_t dev,
		      uint32_t tier, uint64_t bytes, struct arbiter_group *out_limit)
{
	struct ledger_group *from = session_of(a, from_session), *to = session_of(a, to_session);
	struct local_charge c = { .session = from_session,
				  .bytes = bytes,
				  .share = TRACE_NO_SHARE,
				  .dev = dev,
				  .from = tier,
				  .to = TRACE_TIER_NONE };
	struct ledger_group *limit = NULL;
	int r;

	if (!from || !to)
		return -ENOENT;
	r = ledger_give(local_of(a)->ledger, from, to, dev, tier, bytes, &limit);
	if (r == 0)
		local_trace_uncharge(local_of(a), &c);
	/* The other half, and on whom a refusal falls. */
	c.session = r == 0 ? to_session : from_session;
	c.from = TRACE_TIER_NONE;
	c.to = tier;
	return answer(local_of(a), &c, r, &limit, out_limit);
}

static int local_share_new(struct arbiter *a, uint32_t dev, uint32_t *out_share)
{
	return ledger_share_new(local_of(a)->ledger, dev, out_share);
}

static int local_share_free(struct arbiter *a, uint32_t share)
{
	return ledger_share_free(local_of(a)->ledger, share);
}

static int local_share_join(struct arbiter *a, uint32_t share, uint64_t session, bool force,
			    struct arbiter_group *out_limit)
{
	struct ledger_group *g = session_of(a, session), *limit = NULL;
	struct local *l = local_of(a);
	const struct local_charge c = {
		.session = session,
		.share = share,
		.from = TRACE_TIER_NONE,
		.to = TRACE_TIER_NONE,
	};

	if (!g)
		return -ENOENT;
	return answer(l, &c, ledger_share_join(l->ledger, share, g, force, &limit), &limit,
		      out_limit);
}

static int local_share_leave(struct arbiter *a, uint32_t share, uint64_t session)
{
	struct ledger_group *g = session_of(a, session);

	return g ? ledger_share_leave(local_of(a)->ledger, share, g) : -ENOENT;
}

/* What a charge of a share is for who traces it. */
static struct local_charge of_share(uint32_t share, uint32_t from, uint32_t to, uint64_t bytes,
				    const struct arbiter_hint *hint)
{
	return (struct local_charge){
		.session = hint ? hint->session : 0,
		.other = hint ? hint->other : 0,
		.flags = hint ? hint->flags : 0,
		.bytes = bytes,
		.share = share,
		.from = from,
		.to = to,
	};
}

static int local_share_charge(struct arbiter *a, uint32_t share, uint32_t tier, uint64_t bytes,
			      const struct arbiter_hint *hint, struct arbiter_group *out_limit)
{
	struct local *l = local_of(a);
	const struct local_charge c = of_share(share, TRACE_TIER_NONE, tier, bytes, hint);
	struct ledger_group *limit = NULL;

	return answer(l, &c, ledger_share_charge(l->ledger, share, tier, bytes, &limit), &limit,
		      out_limit);
}

static int local_share_uncharge(struct arbiter *a, uint32_t share, uint32_t tier, uint64_t bytes,
				const struct arbiter_hint *hint)
{
	struct local *l = local_of(a);
	const struct local_charge c = of_share(share, tier, TRACE_TIER_NONE, bytes, hint);

	return answer(l, &c, ledger_share_uncharge(l->ledger, share, tier, bytes), NULL, NULL);
}

static int local_share_transfer(struct arbiter *a, uint32_t share, uint32_t from, uint32_t to,
				uint64_t bytes, struct arbiter_group *out_limit)
{
	struct local *l = local_of(a);
	const struct local_charge c = of_share(share, from, to, bytes, NULL);
	struct ledger_group *limit = NULL;

	return answer(l, &c, ledger_share_transfer(l->ledger, share, from, to, bytes, &limit),
		      &limit, out_limit);
}

static int local_share_read(struct arbiter *a, uint32_t share, struct arbiter_share_info *out_info)
{
	const struct ledger_share *s = ledger_share_get(local_of(a)->ledger, share);

	if (!s)
		return -ENOENT;
	out_info->dev = s->dev;
	out_info->n_members = s->n_members;
	memcpy(out_info->bytes, s->bytes, sizeof(out_info->bytes));
	return 0;
}

static int local_share_next(struct arbiter *a, uint32_t from, uint32_t *out_share)
{
	const struct ledger *l = local_of(a)->ledger;
	uint32_t id;

	for (id = from; id < l->n_pages * LEDGER_SHARES_PER_PAGE; id++) {
		if (ledger_share_get(l, id)) {
			*out_share = id;
			return 0;
		}
	}
	return -ENOENT;
}
/* ---- looking ----------------------------------------------------------------- */

static int local_usage(struct arbiter *a, const struct arbiter_group *group, uint32_t dev,
		       uint32_t tier, struct arbiter_usage *out)
{
	const struct ledger_group *g = group_of(a, group);
	const struct limit_table *own;
	struct ledger_usage u;
	uint32_t row;
	int r;

	if (!g)
		return -ENOENT;
	r = ledger_read(local_of(a)->ledger, g, dev, tier, &u);
	if (r)
		return r;
	own = limits_of(g);
	row = local_limit_row(local_of(a), dev, tier);
	*out = (struct arbiter_usage){
		.usage = u.usage,
		.own = u.own,
		.peak = u.peak,
		.refused = u.refused,
		.emin = u.emin,
		.elow = u.elow,
		.over_high = u.over_high,
		.over_max = u.over_max,
		.limits.set = limit_table_mask(own, row, tier),
	};
	memcpy(out->limits.value, u.limit, sizeof(u.limit));
	return 0;
}

static int local_over(struct arbiter *a, uint32_t dev, uint32_t tier, struct arbiter_over *out,
		      unsigned int n_out)
{
	struct ledger_over over[MAX_OVER];
	unsigned int i;
	int n;

	n_out = n_out < MAX_OVER ? n_out : MAX_OVER;
	n = ledger_over(local_of(a)->ledger, dev, tier, over, n_out);
	for (i = 0; n > 0 && i < n_out && i < (unsigned int)n; i++)
		out[i] = (struct arbiter_over){
			.group = ref_of(over[i].group),
			.over_high = over[i].over_high,
			.over_max = over[i].over_max,
		};
	return n;
}

static int local_protection(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier,
			    uint64_t *out_emin, uint64_t *out_elow)
{
	const struct ledger_group *g = session_of(a, session);

	return g ? ledger_protection(local_of(a)->ledger, g, dev, tier, out_emin, out_elow) :
		   -ENOENT;
}
/* ---- making and freeing ------------------------------------------------------ */

static void local_free(struct arbiter *a)
{
	struct local *l = local_of(a);
	struct ledger_group *g;
	uint32_t i;

	for (i = 0; i < LOCAL_MAX_TRIGGERS; i++)
		free(l->trigger[i]);
	for (g = l->ledger->root.next; g; g = g->next)
		free(*limits_at(g));
	group_book_deinit(&l->book);
	if (trace_on(vram_arbiter_detach))
		trace_arbiter_detach(1, 0);
	free(l);
}

static const struct arbiter_ops local_ops = {
	.name = "local",
	.free = local_free,
	.device_add = local_device_add,
	.device_resize = local_device_resize,
	.session_open = local_session_open,
	.session_close = local_session_close,
	.charge = local_charge,
	.uncharge = local_uncharge,
	.transfer = local_transfer,
	.give = local_give,
	.share_new = local_share_new,
	.share_free = local_share_free,
	.share_join = local_share_join,
	.share_leave = local_share_leave,
	.share_charge = local_share_charge,
	.share_uncharge = local_share_uncharge,
	.share_transfer = local_share_transfer,
	.share_read = local_share_read,
	.share_next = local_share_next,
	.limit_set = local_limit_set,
	.limit_clear = local_limit_clear,
	.limit_get = local_limit_get,
	.usage = local_usage,
	.over = local_over,
	.protection = local_protection,
	.is_member = local_is_member,
	.find = local_find,
	.group_name = local_group_name,
	.for_each = local_for_each,
	.run = local_run,
	.idle = local_idle,
	.stall_begin = local_stall_begin,
	.stall_end = local_stall_end,
	.pressure_group = local_pressure_group,
	.pressure_device = local_pressure_device,
	.trigger_add = local_trigger_add,
	.trigger_del = local_trigger_del,
	.poll = local_poll,
};

/* A new group has what is set for it already, or for all of its kind. */
static void on_made(struct group_book *book, struct ledger_group *g)
{
	struct local *l = (struct local *)((char *)book - offsetof(struct local, book));
	uint32_t dev;

	for (dev = 0; dev < l->ledger->n_devices; dev++)
		local_limits_apply(l, g, dev);
}

int arbiter_local_new(uint64_t now_ns, struct arbiter **out_arbiter)
{
	struct local *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	if (group_book_init(&l->book, sizeof(struct local_group), now_ns)) {
		free(l);
		return -ENOMEM;
	}
	l->base.ops = &local_ops;
	l->book.made = on_made;
	l->ledger = l->book.ledger;
	if (trace_on(vram_arbiter_attach))
		trace_arbiter_attach(1, 0);
	*out_arbiter = &l->base;
	return 0;
}
