// SPDX-License-Identifier: GPL-2.0-only
/* The ledger's shares: bytes split over their members, who join and leave. */
#include "kmod/ledger_internal.h"

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

/*
 * ledger_share_part() - the part of the i-th of n members in @bytes.
 *
 * Return: the bytes; the parts of all members add up to @bytes.
 */
u64 ledger_share_part(u64 bytes, u32 n_members, u32 i)
{
	return i < n_members ? part_of(split_of(bytes, n_members), i) : 0;
}

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

/*
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

/*
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
	if (l->free_share == LEDGER_NO_SHARE) {
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

/*
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

/*
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
			ledger_pend(m[i], home, t, part_of(now, i) - part_of(was, i));
		ledger_pend(session, home, t, part_of(now, n));
		if (!limit && !force) {
			limit = ledger_refusing(session, home, t);
			limit_tier = t;
		}
	}
	for (t = 0; t < LEDGER_N_TIERS; t++)
		for (i = 0; i <= n; i++)
			if (limit)
				ledger_unpend(m[i], l->device[s->dev].home[t], t);
			else
				ledger_settle(l, m[i], l->device[s->dev].home[t], t);
	if (limit)
		return ledger_refuse(l, limit, l->device[s->dev].home[limit_tier], limit_tier,
				     out_limit);
	s->n_members++;
	session->shares[session->n_shares++] = share;
	return 0;
}

/*
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
				ledger_pend(m[i], home, t, -part_of(was, i));
			else
				ledger_pend(m[i], home, t,
					    part_of(now, i - (i > at)) - part_of(was, i));
		for (i = 0; i < n; i++)
			ledger_settle(l, m[i], home, t);
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
		ledger_pend(m[i], l->device[s->dev].home[tier], tier,
			    part_of(now, i) - part_of(was, i));
}

static void share_settle(struct ledger *l, struct ledger_share *s, u32 tier, u64 bytes)
{
	u32 home = l->device[s->dev].home[tier], i;
	struct ledger_group **m = members_of(s);

	for (i = 0; i < s->n_members; i++)
		ledger_settle(l, m[i], home, tier);
	ledger_root_add(l, home, tier, bytes - s->bytes[tier]);
	s->bytes[tier] = bytes;
}

/*
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
		return ledger_refuse(l, &l->root, home, tier, out_limit);
	m = members_of(s);
	share_pend(l, s, tier, s->bytes[tier] + bytes);
	for (i = 0; i < s->n_members && !limit; i++)
		limit = ledger_refusing(m[i], home, tier);
	if (!limit && ledger_root_refuses(l, home, tier, bytes))
		limit = &l->root;
	if (limit) {
		for (i = 0; i < s->n_members; i++)
			ledger_unpend(m[i], home, tier);
		return ledger_refuse(l, limit, home, tier, out_limit);
	}
	share_settle(l, s, tier, s->bytes[tier] + bytes);
	return 0;
}

/*
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

/*
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
