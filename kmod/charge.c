// SPDX-License-Identifier: GPL-2.0-only
/* Charges and shares: the arbiter's requests checked, done by the ledger, and traced. */
#include "kmod/internal.h"
#include "kmod/trace.h"

/* The session on whose behalf, or NULL for 0. Return: is it there, or not named? */
static bool find_named(u64 id, struct vram_session **out)
{
	*out = id ? vram_client_find(id) : NULL;
	return !id || *out;
}

static int check_charge(const struct vram_ioc_charge *c)
{
	bool has_from = c->op != VRAM_CHARGE, has_to = c->op == VRAM_CHARGE;
	u32 flags = 0;

	if (c->op > VRAM_GIVE || c->pad || c->bytes > S64_MAX || c->limit_kind || c->limit_key)
		return -EINVAL;
	if (c->op == VRAM_TRANSFER) {
		has_to = true;
		flags = VRAM_CHARGE_EVICT | VRAM_CHARGE_RESTORE;
	} else if (c->op == VRAM_CHARGE) {
		flags = VRAM_CHARGE_RESTORE;
	} else if (c->op == VRAM_UNCHARGE) {
		flags = VRAM_CHARGE_EVICT;
	}
	if (c->flags & ~flags || c->flags == (VRAM_CHARGE_EVICT | VRAM_CHARGE_RESTORE))
		return -EINVAL;
	if ((has_from ? c->from >= VRAM_N_TIERS : c->from) ||
	    (has_to ? c->to >= VRAM_N_TIERS : c->to))
		return -EINVAL;
	if (c->op == VRAM_GIVE)
		return c->share == VRAM_NO_SHARE && c->session && c->other ? 0 : -EINVAL;
	if (c->other && !(c->flags & VRAM_CHARGE_EVICT))
		return -EINVAL;
	return c->share == VRAM_NO_SHARE && !c->session ? -EINVAL : 0;
}

static int charge_share(const struct vram_ioc_charge *c, struct ledger_group **limit)
{
	const struct ledger_share *share = ledger_share_get(vram_ledger(), c->share);

	if (!share)
		return -ENOENT;
	if (share->dev != c->dev)
		return -EINVAL;
	if (c->op == VRAM_CHARGE)
		return ledger_share_charge(vram_ledger(), c->share, c->to, c->bytes, limit);
	if (c->op == VRAM_UNCHARGE)
		return ledger_share_uncharge(vram_ledger(), c->share, c->from, c->bytes);
	return ledger_share_transfer(vram_ledger(), c->share, c->from, c->to, c->bytes, limit);
}

static int charge_session(const struct vram_ioc_charge *c, struct vram_session *s,
			  struct vram_session *other, struct ledger_group **limit)
{
	struct ledger *l = vram_ledger();

	switch (c->op) {
	case VRAM_CHARGE:
		return ledger_try_charge(l, s->group, c->dev, c->to, c->bytes, limit);
	case VRAM_UNCHARGE:
		return ledger_uncharge(l, s->group, c->dev, c->from, c->bytes);
	case VRAM_TRANSFER:
		return ledger_transfer(l, s->group, c->dev, c->from, c->to, c->bytes, limit);
	default:
		return ledger_give(l, s->group, other->group, c->dev, c->from, c->bytes, limit);
	}
}

static void trace_charge(const struct vram_ioc_charge *c, const struct vram_session *s,
			 const struct vram_session *other)
{
	if (c->op == VRAM_TRANSFER && c->from == c->to)
		return;
	if (c->op == VRAM_UNCHARGE || c->op == VRAM_TRANSFER || c->op == VRAM_GIVE)
		trace_vram_uncharge(s, c->share, c->dev, c->from, c->bytes);
	if (c->op == VRAM_CHARGE || c->op == VRAM_TRANSFER)
		trace_vram_charge(s, c->share, c->dev, c->to, c->bytes);
	else if (c->op == VRAM_GIVE)
		trace_vram_charge(other, c->share, c->dev, c->from, c->bytes);
	if (c->flags & VRAM_CHARGE_EVICT)
		trace_vram_evict(s, other, c->share, c->dev, c->from,
				 c->op == VRAM_TRANSFER ? c->to : VRAM_N_TIERS, c->bytes);
	if (c->flags & VRAM_CHARGE_RESTORE)
		trace_vram_restore(s, NULL, c->share, c->dev,
				   c->op == VRAM_TRANSFER ? c->from : VRAM_N_TIERS, c->to,
				   c->bytes);
}

/* vram_charge() - VRAM_IOC_CHARGE. */
int vram_charge(struct vram_session *s, struct vram_ioc_charge *c)
{
	struct vram_session *client, *other;
	struct ledger_group *limit;
	int ret;

	ret = check_charge(c);
	if (ret)
		return ret;
	if (!vram_is_arbiter(s))
		return -EPERM;
	guard(mutex)(&vram.lock);
	if (!find_named(c->session, &client) || !find_named(c->other, &other))
		return -ENOENT;
	if (c->share == VRAM_NO_SHARE)
		ret = charge_session(c, client, other, &limit);
	else
		ret = charge_share(c, &limit);
	if (!ret) {
		trace_charge(c, client, other);
	} else if (ret == -EDQUOT || ret == -ENOSPC) {
		c->limit_kind = limit->kind;
		c->limit_key = limit->key;
		trace_vram_limit_hit(client, limit, c->share, c->dev,
				     c->op == VRAM_GIVE ? c->from : c->to, c->bytes);
	}
	return ret;
}

static int check_share(const struct vram_ioc_share *sh)
{
	bool has_session = sh->op == VRAM_SHARE_JOIN || sh->op == VRAM_SHARE_LEAVE;
	u32 t;

	if (sh->op > VRAM_SHARE_NEXT || sh->n_members || sh->limit_kind || sh->limit_key)
		return -EINVAL;
	for (t = 0; t < VRAM_N_TIERS; t++)
		if (sh->bytes[t])
			return -EINVAL;
	if (sh->flags & ~(sh->op == VRAM_SHARE_JOIN ? VRAM_SHARE_FORCE : 0))
		return -EINVAL;
	if (sh->op == VRAM_SHARE_NEW ? sh->share : sh->dev)
		return -EINVAL;
	return !has_session && sh->session ? -EINVAL : 0;
}

static int read_share(struct vram_ioc_share *sh)
{
	const struct ledger_share *share = ledger_share_get(vram_ledger(), sh->share);

	if (!share)
		return -ENOENT;
	sh->dev = share->dev;
	sh->n_members = share->n_members;
	memcpy(sh->bytes, share->bytes, sizeof(sh->bytes));
	return 0;
}

/* The first share in use at or after the one that is named. */
static int next_share(struct vram_ioc_share *sh)
{
	u32 end = vram_ledger()->n_pages * LEDGER_SHARES_PER_PAGE, id;

	for (id = sh->share; id < end; id++) {
		if (!ledger_share_get(vram_ledger(), id))
			continue;
		sh->share = id;
		return read_share(sh);
	}
	return -ENOENT;
}

/* vram_share() - VRAM_IOC_SHARE. */
int vram_share(struct vram_session *s, struct vram_ioc_share *sh)
{
	struct ledger *l = vram_ledger();
	struct vram_session *client;
	struct ledger_group *limit;
	int ret;

	ret = check_share(sh);
	if (ret)
		return ret;
	if (!vram_is_arbiter(s))
		return -EPERM;
	guard(mutex)(&vram.lock);
	switch (sh->op) {
	case VRAM_SHARE_NEW:
		return ledger_share_new(l, sh->dev, &sh->share);
	case VRAM_SHARE_FREE:
		return ledger_share_free(l, sh->share);
	case VRAM_SHARE_READ:
		return read_share(sh);
	case VRAM_SHARE_NEXT:
		return next_share(sh);
	}
	client = vram_client_find(sh->session);
	if (!client || !ledger_share_get(l, sh->share))
		return -ENOENT;
	if (sh->op == VRAM_SHARE_LEAVE)
		return ledger_share_leave(l, sh->share, client->group);
	ret = ledger_share_join(l, sh->share, client->group, sh->flags & VRAM_SHARE_FORCE, &limit);
	if (ret == -EDQUOT || ret == -ENOSPC) {
		sh->limit_kind = limit->kind;
		sh->limit_key = limit->key;
		trace_vram_limit_hit(client, limit, sh->share, ledger_share_get(l, sh->share)->dev,
				     VRAM_N_TIERS, 0);
	}
	return ret;
}
