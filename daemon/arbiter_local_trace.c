// SPDX-License-Identifier: GPL-2.0-only
/* What the local arbiter tells of: the module's trace points, as probes of vramd. */
#include "daemon/arbiter_local.h"

#include "daemon/trace.h"

struct who {
	uint64_t session;
	int32_t pid;
	const char *comm;
};

static struct who who_is(struct local *l, uint64_t session)
{
	const struct ledger_group *g = session ? ledger_find(l->ledger, LEDGER_SESSION, session) :
						 NULL;
	const struct local_session *s = g ? g->priv : NULL;

	if (!s)
		return (struct who){ .comm = trace_no_comm };
	return (struct who){ .session = session, .pid = s->pid, .comm = s->comm };
}

static uint32_t dev_of(const struct local *l, const struct local_charge *c)
{
	const struct ledger_share *share =
		c->share == TRACE_NO_SHARE ? NULL : ledger_share_get(l->ledger, c->share);

	return share ? share->dev : c->dev;
}

void local_trace_open(const struct ledger_group *g, const char *cgroup)
{
	const struct local_session *s = g->priv;

	trace_session_open(&(struct trace_session){
		.session = g->key,
		.uid = s->uid,
		.pid = s->pid,
		.comm = s->comm,
		.cgroup = cgroup,
	});
}

void local_trace_close(struct local *l, const struct ledger_group *g)
{
	const struct local_session *s = g->priv;
	struct trace_session e = {
		.session = g->key, .uid = s->uid, .pid = s->pid, .comm = s->comm
	};
	uint32_t dev, tier;

	for (dev = 0; dev < l->ledger->n_devices; dev++)
		for (tier = 0; tier < LEDGER_N_TIERS; tier++)
			if (l->ledger->device[dev].home[tier] == dev)
				e.bytes[tier] += g->row[dev]->tier[tier].usage;
	trace_session_close(&e);
}

static struct trace_bytes bytes_event(struct local *l, const struct local_charge *c, uint32_t tier)
{
	const struct who who = who_is(l, c->session);

	return (struct trace_bytes){
		.session = who.session,
		.bytes = c->bytes,
		.share = c->share,
		.dev = dev_of(l, c),
		.tier = tier,
		.pid = who.pid,
		.comm = who.comm,
	};
}

static struct trace_move move_event(struct local *l, const struct local_charge *c, uint64_t other)
{
	const struct who who = who_is(l, c->session), needed = who_is(l, other);

	return (struct trace_move){
		.session = who.session,
		.needed_session = needed.session,
		.bytes = c->bytes,
		.share = c->share,
		.dev = dev_of(l, c),
		.from = c->from,
		.to = c->to,
		.pid = who.pid,
		.needed_pid = needed.pid,
		.comm = who.comm,
		.needed_comm = needed.comm,
	};
}

void local_trace_charge(struct local *l, const struct local_charge *c)
{
	struct trace_bytes bytes;
	struct trace_move move;

	if (trace_on(vram_charge)) {
		bytes = bytes_event(l, c, c->to);
		trace_charge(&bytes);
	}
	if (c->flags & ARBITER_HINT_RESTORE && trace_on(vram_restore)) {
		move = move_event(l, c, 0);
		trace_restore(&move);
	}
}

void local_trace_uncharge(struct local *l, const struct local_charge *c)
{
	struct trace_bytes bytes;
	struct trace_move move;

	if (trace_on(vram_uncharge)) {
		bytes = bytes_event(l, c, c->from);
		trace_uncharge(&bytes);
	}
	if (c->flags & ARBITER_HINT_EVICT && trace_on(vram_evict)) {
		move = move_event(l, c, c->other);
		trace_evict(&move);
	}
}

void local_trace_refused(struct local *l, const struct local_charge *c,
			 const struct ledger_group *limit)
{
	const struct who who = who_is(l, c->session);

	trace_limit_hit(&(struct trace_limit_hit){
		.session = who.session,
		.bytes = c->bytes,
		.limit_key = limit->key,
		.limit_kind = limit->kind,
		.share = c->share,
		.dev = dev_of(l, c),
		.tier = c->to,
		.pid = who.pid,
		.comm = who.comm,
	});
}

void local_trace_limit(const struct ledger_group *g, uint32_t dev, uint32_t tier, uint32_t key,
		       uint64_t value, uint32_t flags)
{
	trace_limit_change(&(struct trace_limit_change){
		.key = g->key,
		.value = value,
		.kind = g->kind,
		.dev = dev,
		.tier = tier,
		.limit = key,
		.flags = flags,
	});
}
