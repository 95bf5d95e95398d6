// SPDX-License-Identifier: GPL-2.0-only
#include "tests/support/ledger_model.h"

#include <errno.h>
#include <string.h>

#define KEY_HIGH 2
#define KEY_MAX	 3

void model_init(struct model *m)
{
	static const int parents[MODEL_CGROUPS] = { -1, 0, 0, 1, 3, -1 };
	unsigned int g, c;

	memset(m, 0, sizeof(*m));
	for (g = 0; g < MODEL_GROUPS; g++) {
		m->parent[g] = -1;
		for (c = 0; c < MODEL_CELLS; c++) {
			m->limit[g][c].value[KEY_HIGH] = UINT64_MAX;
			m->limit[g][c].value[KEY_MAX] = UINT64_MAX;
		}
	}
	for (g = 0; g < MODEL_CGROUPS; g++)
		m->parent[MODEL_CGROUP + g] = parents[g] < 0 ? -1 : MODEL_CGROUP + parents[g];
}

unsigned int model_cell(unsigned int dev, unsigned int tier)
{
	return tier == 1 ? 1 : dev * MODEL_TIERS + tier;
}

unsigned int model_above(const struct model *m, unsigned int session, unsigned int *out_groups)
{
	unsigned int n = 0;
	int g;

	out_groups[n++] = session;
	if (m->chain[session][0] >= 0)
		out_groups[n++] = (unsigned int)m->chain[session][0];
	for (g = m->chain[session][1]; g >= 0; g = m->parent[g])
		out_groups[n++] = (unsigned int)g;
	if (m->chain[session][2] >= 0)
		out_groups[n++] = (unsigned int)m->chain[session][2];
	return n;
}

static bool is_below(const struct model *m, unsigned int session, unsigned int group)
{
	unsigned int above[MODEL_GROUPS], n = model_above(m, session, above), i;

	for (i = 0; i < n; i++)
		if (above[i] == group)
			return true;
	return group == MODEL_ROOT;
}

/* Deal the bytes out one after the other, as cards: all but the last round at once. */
static uint64_t part(uint64_t bytes, unsigned int n, unsigned int i)
{
	uint64_t rounds = bytes / n, left = bytes - rounds * n;

	return i < left ? rounds + 1 : rounds;
}

static uint64_t session_usage(const struct model_holdings *h, unsigned int session,
			      unsigned int cell)
{
	uint64_t sum = h->own[session][cell];
	unsigned int s, t, i;

	for (s = 0; s < MODEL_SHARES; s++) {
		const struct model_share *sh = &h->share[s];

		for (t = 0; t < MODEL_TIERS; t++)
			for (i = 0; model_cell(sh->dev, t) == cell && i < sh->n_members; i++)
				if (sh->member[i] == session)
					sum += part(sh->bytes[t], sh->n_members, i);
	}
	return sum;
}

uint64_t model_usage(const struct model *m, const struct model_holdings *h, unsigned int group,
		     unsigned int cell)
{
	unsigned int s, t;
	uint64_t sum = 0;

	if (group >= MODEL_SESSION)
		return h->live[group] ? session_usage(h, group, cell) : 0;
	if (group == MODEL_ROOT) {
		for (s = 0; s < MODEL_GROUPS; s++)
			sum += h->own[s][cell];
		for (s = 0; s < MODEL_SHARES; s++)
			for (t = 0; t < MODEL_TIERS; t++)
				if (model_cell(h->share[s].dev, t) == cell)
					sum += h->share[s].bytes[t];
		return sum;
	}
	for (s = MODEL_SESSION; s < MODEL_GROUPS; s++)
		if (h->live[s] && is_below(m, s, group))
			sum += session_usage(h, s, cell);
	return sum;
}

static uint64_t max_of(const struct model *m, unsigned int group, unsigned int cell)
{
	return group == MODEL_ROOT ? m->capacity[cell] : m->limit[group][cell].value[KEY_MAX];
}

/* Add everything up; from here on @now holds. @excuse: whoever is above max now may be. */
static void settle(struct model *m, bool excuse)
{
	uint64_t session[MODEL_GROUPS];
	unsigned int g, c, s;

	for (c = 0; c < MODEL_CELLS; c++) {
		uint64_t sum[MODEL_GROUPS] = { 0 };

		sum[MODEL_ROOT] = model_usage(m, &m->now, MODEL_ROOT, c);
		for (s = MODEL_SESSION; s < MODEL_GROUPS; s++) {
			unsigned int above[MODEL_GROUPS], n, i;

			if (!m->now.live[s])
				continue;
			session[s] = session_usage(&m->now, s, c);
			n = model_above(m, s, above);
			for (i = 0; i < n; i++)
				sum[above[i]] += session[s];
		}
		for (g = 0; g < MODEL_GROUPS; g++) {
			m->usage[g][c] = sum[g];
			if (sum[g] > m->peak[g][c])
				m->peak[g][c] = sum[g];
			if (sum[g] <= max_of(m, g, c))
				m->excused[g][c] = false;
			else if (excuse)
				m->excused[g][c] = true;
		}
	}
}

/* Would @group refuse what changes from @was to m->now? */
static bool refuses(const struct model *m, const struct model_holdings *was, unsigned int group,
		    unsigned int cell)
{
	uint64_t before = model_usage(m, was, group, cell);
	uint64_t after = model_usage(m, &m->now, group, cell);

	return after > before && after > max_of(m, group, cell);
}

/*
 * Keep what m->now holds if neither the groups of the sessions nor the root refuse;
 * else go back to @was.
 */
static int judge(struct model *m, const struct model_holdings *was, const unsigned int *sessions,
		 unsigned int n_sessions, unsigned int cell, bool ask_root, unsigned int *out_limit)
{
	unsigned int above[MODEL_GROUPS], n, i, k;

	for (i = 0; i < n_sessions; i++) {
		n = model_above(m, sessions[i], above);
		for (k = 0; k < n; k++) {
			if (refuses(m, was, above[k], cell)) {
				*out_limit = above[k];
				goto refused;
			}
		}
	}
	if (!ask_root || !refuses(m, was, MODEL_ROOT, cell))
		return 0;
	*out_limit = MODEL_ROOT;
refused:
	m->now = *was;
	m->refused[*out_limit][cell]++;
	return *out_limit == MODEL_ROOT ? -ENOSPC : -EDQUOT;
}

int model_charge(struct model *m, unsigned int session, unsigned int dev, unsigned int tier,
		 uint64_t bytes, unsigned int *out_limit)
{
	struct model_holdings was = m->now;
	unsigned int cell = model_cell(dev, tier);
	int r;

	m->now.own[session][cell] += bytes;
	r = judge(m, &was, &session, 1, cell, true, out_limit);
	settle(m, false);
	return r;
}

int model_uncharge(struct model *m, unsigned int session, unsigned int dev, unsigned int tier,
		   uint64_t bytes)
{
	unsigned int cell = model_cell(dev, tier);

	if (bytes > m->now.own[session][cell])
		return -EINVAL;
	m->now.own[session][cell] -= bytes;
	settle(m, false);
	return 0;
}

int model_transfer(struct model *m, unsigned int session, unsigned int dev, unsigned int from,
		   unsigned int to, uint64_t bytes, unsigned int *out_limit)
{
	struct model_holdings was = m->now;
	int r;

	if (bytes > m->now.own[session][model_cell(dev, from)])
		return -EINVAL;
	m->now.own[session][model_cell(dev, from)] -= bytes;
	m->now.own[session][model_cell(dev, to)] += bytes;
	r = judge(m, &was, &session, 1, model_cell(dev, to), true, out_limit);
	settle(m, false);
	return r;
}

int model_give(struct model *m, unsigned int from, unsigned int to, unsigned int dev,
	       unsigned int tier, uint64_t bytes, unsigned int *out_limit)
{
	struct model_holdings was = m->now;
	unsigned int cell = model_cell(dev, tier);
	int r;

	if (bytes > m->now.own[from][cell])
		return -EINVAL;
	m->now.own[from][cell] -= bytes;
	m->now.own[to][cell] += bytes;
	r = judge(m, &was, &to, 1, cell, false, out_limit);
	settle(m, false);
	return r;
}

static unsigned int find_member(const struct model_share *s, unsigned int session)
{
	unsigned int i;

	for (i = 0; i < s->n_members && s->member[i] != session; i++)
		;
	return i;
}

int model_join(struct model *m, unsigned int share, unsigned int session, bool force,
	       unsigned int *out_limit)
{
	struct model_holdings was = m->now;
	struct model_share *s = &m->now.share[share];
	unsigned int t;
	int r = 0;

	if (find_member(s, session) < s->n_members)
		return -EEXIST;
	s->member[s->n_members++] = session;
	for (t = 0; t < MODEL_TIERS && !force && !r; t++)
		r = judge(m, &was, &session, 1, model_cell(s->dev, t), false, out_limit);
	settle(m, force);
	return r;
}

static void drop_member(struct model_share *s, unsigned int at)
{
	for (s->n_members--; at < s->n_members; at++)
		s->member[at] = s->member[at + 1];
}

int model_leave(struct model *m, unsigned int share, unsigned int session)
{
	struct model_share *s = &m->now.share[share];
	unsigned int at = find_member(s, session);

	if (at == s->n_members)
		return -ENOENT;
	drop_member(s, at);
	settle(m, true);
	return 0;
}

int model_share_charge(struct model *m, unsigned int share, unsigned int tier, uint64_t bytes,
		       unsigned int *out_limit)
{
	struct model_holdings was = m->now;
	struct model_share *s = &m->now.share[share];
	int r;

	s->bytes[tier] += bytes;
	r = judge(m, &was, was.share[share].member, s->n_members, model_cell(s->dev, tier), true,
		  out_limit);
	settle(m, false);
	return r;
}

int model_share_uncharge(struct model *m, unsigned int share, unsigned int tier, uint64_t bytes)
{
	struct model_share *s = &m->now.share[share];

	if (bytes > s->bytes[tier])
		return -EINVAL;
	s->bytes[tier] -= bytes;
	settle(m, false);
	return 0;
}

int model_share_transfer(struct model *m, unsigned int share, unsigned int from, unsigned int to,
			 uint64_t bytes, unsigned int *out_limit)
{
	struct model_holdings was = m->now;
	struct model_share *s = &m->now.share[share];
	int r;

	if (bytes > s->bytes[from])
		return -EINVAL;
	s->bytes[from] -= bytes;
	s->bytes[to] += bytes;
	r = judge(m, &was, was.share[share].member, s->n_members, model_cell(s->dev, to), true,
		  out_limit);
	settle(m, false);
	return r;
}

void model_close(struct model *m, unsigned int session)
{
	unsigned int s, c;

	for (s = 0; s < MODEL_SHARES; s++) {
		struct model_share *sh = &m->now.share[s];
		unsigned int at = find_member(sh, session);

		if (at < sh->n_members) {
			drop_member(sh, at);
			settle(m, true);
		}
	}
	memset(m->now.own[session], 0, sizeof(m->now.own[session]));
	m->now.live[session] = false;
	settle(m, true);
	for (c = 0; c < MODEL_CELLS; c++) {
		m->peak[session][c] = 0;
		m->refused[session][c] = 0;
		memset(&m->limit[session][c], 0, sizeof(m->limit[session][c]));
		m->limit[session][c].value[KEY_HIGH] = UINT64_MAX;
		m->limit[session][c].value[KEY_MAX] = UINT64_MAX;
	}
}

void model_limit(struct model *m, unsigned int group, unsigned int dev, unsigned int tier,
		 unsigned int key, const uint64_t *value)
{
	struct model_limit *lim = &m->limit[group][model_cell(dev, tier)];

	lim->set[key] = value;
	lim->value[key] = value ? *value : key >= KEY_HIGH ? UINT64_MAX : 0;
	settle(m, true);
}

void model_resize(struct model *m, unsigned int dev, unsigned int tier, uint64_t capacity)
{
	m->capacity[model_cell(dev, tier)] = capacity;
	settle(m, true);
}

/* ---- protection --------------------------------------------------------------- */

/* Is @group directly below @parent in this chain? */
static bool is_child(const struct model *m, unsigned int group, unsigned int parent,
		     unsigned int chain)
{
	static const unsigned int first[3] = { MODEL_USER, MODEL_CGROUP, MODEL_EXE };
	static const unsigned int end[3] = { MODEL_CGROUP, MODEL_EXE, MODEL_SESSION };
	const int *c = m->chain[group];
	int above;

	if (group >= MODEL_SESSION) {
		/* One without any group is below the root as if it were a user. */
		if (!m->now.live[group] || (c[chain] < 0 && (chain || c[1] >= 0 || c[2] >= 0)))
			return false;
		above = c[chain];
	} else {
		if (group < first[chain] || group >= end[chain])
			return false;
		above = m->parent[group];
	}
	return parent == (above < 0 ? MODEL_ROOT : (unsigned int)above);
}

static uint64_t claim(const struct model *m, unsigned int group, unsigned int cell,
		      unsigned int key, unsigned int chain)
{
	const struct model_limit *lim = &m->limit[group][cell];
	unsigned int g;
	uint64_t sum = 0;

	if (group >= MODEL_SESSION || (group != MODEL_ROOT && lim->set[key]))
		return m->usage[group][cell] < lim->value[key] ? m->usage[group][cell] :
								 lim->value[key];
	for (g = 1; g < MODEL_GROUPS; g++)
		if (is_child(m, g, group, chain))
			sum += claim(m, g, cell, key, chain);
	return sum;
}

static uint64_t given(const struct model *m, unsigned int group, unsigned int cell,
		      unsigned int key, unsigned int chain)
{
	uint64_t mine = claim(m, group, cell, key, chain), usage = m->usage[group][cell];
	uint64_t siblings = 0, budget;
	unsigned int parent, g;

	for (parent = 0; !is_child(m, group, parent, chain); parent++)
		;
	for (g = 1; g < MODEL_GROUPS; g++)
		if (is_child(m, g, parent, chain))
			siblings += claim(m, g, cell, key, chain);
	budget = parent == MODEL_ROOT ? m->capacity[cell] : given(m, parent, cell, key, chain);
	if (siblings > budget)
		mine = (uint64_t)((unsigned __int128)mine * budget / siblings);
	else if (parent != MODEL_ROOT && budget > siblings && m->usage[parent][cell] > siblings &&
		 usage > mine)
		mine += (uint64_t)((unsigned __int128)(budget - siblings) * (usage - mine) /
				   (m->usage[parent][cell] - siblings));
	return mine < usage ? mine : usage;
}

uint64_t model_protection(const struct model *m, unsigned int group, unsigned int cell,
			  unsigned int key)
{
	unsigned int chain, parent;
	uint64_t best = 0;

	for (chain = 0; chain < 3; chain++) {
		for (parent = 0; parent < MODEL_SESSION; parent++) {
			if (group != MODEL_ROOT && is_child(m, group, parent, chain)) {
				uint64_t g = given(m, group, cell, key, chain);

				best = g > best ? g : best;
			}
		}
	}
	return best;
}
