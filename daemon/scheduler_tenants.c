// SPDX-License-Identifier: GPL-2.0-only
/*
 * What limits mean for the sessions that there are.
 *
 * The ledger knows every group and refuses what would pass a max. The rest of a limit is acted on here and in
 * scheduler_room.c: what is protected from whom, who is above its high, and the tree along which the policy
 * divides the memory.
 *
 * The groups that matter are looked up when sessions or limits have changed, before the next
 * decision: every user with sessions, and cgroups and executables for which a limit is set. Each session
 * knows which of them it is in.
 *
 * Shares. A session competes as part of a *party*: of the innermost cgroup above it that has a weight, which in its turn
 * competes in the next such one above it; else of its executable, if that has a weight; else
 * of its user. So ten sessions of a user have no more than one has.
 *
 * Protection. The ledger says how much of a session's use is protected by whatever is above it. That must
 * hold against those outside what protects it, and against nobody inside: two sessions of a user
 * who has a min take from each other by weight, or the first would have it all. So a chunk may
 * be taken if that leaves the session what the ledger says; or if every group that loses by it and does not win
 * as well keeps the min that was set for it.
 *
 * Ownership: the scheduler owns the groups, sessions borrow them until the next look.
 */
#include "daemon/scheduler.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/policy_fill.h"
#include "daemon/scheduler_private.h"

/* So long what the ledger said of protections is good enough for choosing; what is chosen is checked. */
#define PROTECT_NS 10000000ull

static const struct arbiter_limits no_limits = {
	.value[ARBITER_HIGH] = ARBITER_UNLIMITED,
	.value[ARBITER_MAX] = ARBITER_UNLIMITED,
	.value[ARBITER_WEIGHT] = ARBITER_WEIGHT_DEFAULT,
};

/* A user with sessions, or a cgroup or an executable with limits. */
struct tenant_group {
	struct list_node node; /* tenants.groups */
	struct arbiter_group group;
	char *path; /* cgroups: for who is above whom */
	struct arbiter_limits limits[ARBITER_N_TIERS];
	struct policy_group *policy; /* NULL: not a party */
	uint64_t next_ns;	     /* above its high: when the next load may begin */
	struct lane_clock clock;     /* of a party */
	uint32_t index;		     /* in the tree of a tier, while shares are worked out */
	bool seen;
};

/* ---- looking up ------------------------------------------------------------------- */

static void group_free(struct tenant_group *g)
{
	policy_group_free(g->policy);
	list_del(&g->node);
	free(g->path);
	free(g);
}

static struct tenant_group *group_find(const struct tenants *t, const struct arbiter_group *group)
{
	struct tenant_group *g;

	list_for_each(g, &t->groups, node)
		if (g->group.kind == group->kind && g->group.key == group->key)
			return g;
	return NULL;
}

/* arbiter_for_each() may not be called back from: first the groups, then what they have. */
static int collect(void *ctx, const struct arbiter_group_info *info)
{
	struct tenants *t = ctx;
	struct tenant_group *g;

	if (info->group.kind != ARBITER_USER && info->group.kind != ARBITER_CGROUP &&
	    info->group.kind != ARBITER_EXE)
		return 0;
	g = group_find(t, &info->group);
	if (!g) {
		g = calloc(1, sizeof(*g));
		if (!g)
			return -ENOMEM;
		g->group = info->group;
		if (info->group.kind == ARBITER_CGROUP) {
			g->path = strdup(info->name);
			if (!g->path) {
				free(g);
				return -ENOMEM;
			}
		}
		list_add_tail(&g->node, &t->groups);
	}
	g->seen = info->n_sessions > 0;
	return 0;
}

static bool is_limited(const struct arbiter_limits *limits)
{
	return limits->set || limits->value[ARBITER_MIN] || limits->value[ARBITER_LOW] ||
	       limits->value[ARBITER_HIGH] != ARBITER_UNLIMITED ||
	       limits->value[ARBITER_MAX] != ARBITER_UNLIMITED ||
	       limits->value[ARBITER_WEIGHT] != ARBITER_WEIGHT_DEFAULT;
}

/* Set for this one, or what a user has from `default`. */
static bool has_weight(const struct arbiter_limits *limits)
{
	return limits->set & (1u << ARBITER_WEIGHT) ||
	       limits->value[ARBITER_WEIGHT] != ARBITER_WEIGHT_DEFAULT;
}

static bool has_any_weight(const struct tenant_group *g)
{
	for (uint32_t tier = 0; tier < ARBITER_N_TIERS; tier++)
		if (has_weight(&g->limits[tier]))
			return true;
	return false;
}

static bool tier_exists(const struct scheduler *s, uint32_t tier)
{
	return tier == ARBITER_VRAM || (tier == ARBITER_HOST && s->hostpool) ||
	       (tier == ARBITER_DISK && s->swap);
}

static void note_limits(struct tenants *t, uint32_t tier, const struct arbiter_limits *limits)
{
	if (limits->value[ARBITER_MIN] || limits->value[ARBITER_LOW])
		t->protects[tier] = true;
	if (limits->value[ARBITER_HIGH] != ARBITER_UNLIMITED)
		t->has_high[tier] = true;
	if (limits->value[ARBITER_MAX] != ARBITER_UNLIMITED)
		t->has_max[tier] = true;
}

/* Return: whether the group matters. */
static bool read_group(struct scheduler *s, struct tenant_group *g)
{
	bool limited = false;

	for (uint32_t tier = 0; tier < ARBITER_N_TIERS; tier++) {
		struct arbiter_usage usage;

		g->limits[tier] = no_limits;
		if (!tier_exists(s, tier))
			continue;
		if (arbiter_usage(s->arbiter, &g->group, s->dev, tier, &usage) < 0)
			return false;
		g->limits[tier] = usage.limits;
		note_limits(&s->tenants, tier, &usage.limits);
		limited |= is_limited(&usage.limits);
	}
	return limited || g->group.kind == ARBITER_USER;
}

static bool is_below(const struct tenant_group *cgroup, const struct tenant_group *above)
{
	size_t n = strlen(above->path);

	return cgroup != above && strncmp(cgroup->path, above->path, n) == 0 &&
	       cgroup->path[n] == '/';
}

/* The nearest cgroup with a weight above this one, or NULL. */
static struct tenant_group *weighted_above(const struct tenants *t,
					   const struct tenant_group *cgroup)
{
	struct tenant_group *g, *best = NULL;

	list_for_each(g, &t->groups, node)
		if (g->group.kind == ARBITER_CGROUP && has_any_weight(g) && is_below(cgroup, g) &&
		    (!best || is_below(g, best)))
			best = g;
	return best;
}

static bool make_party(struct scheduler *s, struct tenant_group *g)
{
	if (!g->policy)
		g->policy = policy_group_new(s->policy);
	return g->policy;
}

/* Users and what has a weight are parties. */
static void set_parties(struct scheduler *s)
{
	struct tenants *t = &s->tenants;
	struct tenant_group *g, *above;

	list_for_each(g, &t->groups, node) {
		if (g->group.kind == ARBITER_USER || has_any_weight(g)) {
			make_party(s, g);
		} else {
			policy_group_free(g->policy);
			g->policy = NULL;
		}
	}
	list_for_each(g, &t->groups, node) {
		const uint64_t *value = g->limits[ARBITER_VRAM].value;

		if (!g->policy)
			continue;
		g->clock.weight = (uint32_t)value[ARBITER_WEIGHT];
		above = g->group.kind == ARBITER_CGROUP ? weighted_above(t, g) : NULL;
		/* Those that a change of limits turns upside down are told one after the other. */
		if (policy_group_set(g->policy, above ? above->policy : NULL,
				     (uint32_t)value[ARBITER_WEIGHT], value[ARBITER_MIN],
				     value[ARBITER_MAX]) < 0)
			policy_group_set(g->policy, NULL, (uint32_t)value[ARBITER_WEIGHT],
					 value[ARBITER_MIN], value[ARBITER_MAX]);
	}
}

static bool is_in(const struct scheduler *s, const struct scheduler_session *ss,
		  const struct arbiter_group *group)
{
	if (group->kind == ARBITER_USER)
		return group->key == ss->uid;
	return arbiter_is_member(s->arbiter, ss->id, group) == 1;
}

/* Which of the groups the session is in, and as part of which it competes. */
static int find_groups(struct scheduler *s, struct scheduler_session *ss)
{
	struct tenant *tenant = &ss->tenant;
	struct tenant_group *g, *cgroup = NULL, *exe = NULL, *user = NULL, **grown;

	tenant->n_groups = 0;
	list_for_each(g, &s->tenants.groups, node) {
		if (!is_in(s, ss, &g->group))
			continue;
		grown = reallocarray(tenant->groups, tenant->n_groups + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		tenant->groups = grown;
		grown[tenant->n_groups++] = g;
		if (g->group.kind == ARBITER_USER)
			user = g;
		else if (g->group.kind == ARBITER_EXE && g->policy)
			exe = g;
		else if (g->policy && (!cgroup || is_below(g, cgroup)))
			cgroup = g;
	}
	tenant->party = cgroup ? cgroup : exe ? exe : user;
	return 0;
}

static void tell_policy(struct scheduler *s, struct scheduler_session *ss)
{
	const struct tenant *tenant = &ss->tenant;
	const uint64_t *own = tenant->own[ARBITER_VRAM].value;
	uint64_t max = own[ARBITER_MAX];

	/* It cannot have more than any group that it is in. */
	for (uint32_t i = 0; i < tenant->n_groups; i++) {
		uint64_t value = tenant->groups[i]->limits[ARBITER_VRAM].value[ARBITER_MAX];

		max = value < max ? value : max;
	}
	policy_tenant_set(s->policy, (uint32_t)ss->id, (uint32_t)own[ARBITER_WEIGHT],
			  own[ARBITER_MIN], own[ARBITER_LOW], max);
	policy_tenant_join(s->policy, (uint32_t)ss->id,
			   tenant->party ? tenant->party->policy : NULL);
	policy_tenant_due(s->policy, (uint32_t)ss->id, false);
	ss->lane.clock.weight = (uint32_t)own[ARBITER_WEIGHT];
}

static void read_session(struct scheduler *s, struct scheduler_session *ss)
{
	const struct arbiter_subject subject = { .kind = ARBITER_SESSION, .id = ss->id };

	for (uint32_t tier = 0; tier < ARBITER_N_TIERS; tier++) {
		if (!tier_exists(s, tier) || arbiter_limit_get(s->arbiter, &subject, s->dev, tier,
							       &ss->tenant.own[tier]) < 0)
			ss->tenant.own[tier] = no_limits;
		note_limits(&s->tenants, tier, &ss->tenant.own[tier]);
	}
}

void tenants_init(struct scheduler *s)
{
	list_init(&s->tenants.groups);
}

void tenants_deinit(struct scheduler *s)
{
	struct tenant_group *g, *tmp;

	if (!s->tenants.groups.next)
		return;
	list_for_each_safe(g, tmp, &s->tenants.groups, node)
		group_free(g);
}

void tenants_changed(struct scheduler *s)
{
	s->tenants.stale = true;
}

void tenant_forget(struct scheduler *s, struct scheduler_session *ss)
{
	free(ss->tenant.groups);
	ss->tenant = (struct tenant){ 0 };
	tenants_changed(s);
}

void tenants_look(struct scheduler *s)
{
	struct tenants *t = &s->tenants;
	struct scheduler_session *ss;
	struct tenant_group *g, *tmp;
	bool limited = false;

	if (!t->stale)
		return;
	t->stale = false;
	memset(t->protects, 0, sizeof(t->protects));
	memset(t->has_high, 0, sizeof(t->has_high));
	memset(t->has_max, 0, sizeof(t->has_max));
	list_for_each(g, &t->groups, node)
		g->seen = false;
	/* Without memory for one: what is known is acted on, the next look may know more. */
	if (arbiter_for_each(s->arbiter, collect, t) < 0)
		t->stale = true;
	list_for_each(ss, &s->sessions, node)
		ss->tenant.n_groups = 0;
	list_for_each_safe(g, tmp, &t->groups, node)
		if (!g->seen || !read_group(s, g))
			group_free(g);
	list_for_each(ss, &s->sessions, node)
		read_session(s, ss);
	set_parties(s);
	list_for_each(ss, &s->sessions, node) {
		if (find_groups(s, ss) < 0)
			t->stale = true;
		tell_policy(s, ss);
	}
	t->n_groups = 0;
	list_for_each(g, &t->groups, node) {
		t->n_groups++;
		limited |= g->group.kind != ARBITER_USER;
	}
	/* With one session and no limits there is nothing to choose. */
	t->ranked = limited || s->n_sessions > 1 || t->protects[ARBITER_HOST] ||
		    t->has_high[ARBITER_HOST] || t->protects[ARBITER_DISK];
	t->shares_ns[ARBITER_HOST] = t->shares_ns[ARBITER_DISK] = 0;
	pager_rank_host(s->pager, t->ranked);
	tenants_protect(s, true);
}

/* ---- protection -------------------------------------------------------------------- */

static int session_usage(const struct scheduler *s, const struct scheduler_session *ss,
			 uint32_t tier, struct arbiter_usage *out)
{
	const struct arbiter_group group = { .kind = ARBITER_SESSION, .key = ss->id };

	return arbiter_usage(s->arbiter, &group, s->dev, tier, out);
}

static void tenant_protect(struct scheduler *s, const struct scheduler_session *ss)
{
	struct arbiter_usage usage;

	if (session_usage(s, ss, ARBITER_VRAM, &usage) == 0)
		policy_tenant_protect(s->policy, (uint32_t)ss->id,
				      ss->tenant.own[ARBITER_VRAM].value[ARBITER_MIN], usage.emin,
				      usage.elow);
}

void tenants_protect(struct scheduler *s, bool exactly)
{
	struct tenants *t = &s->tenants;
	struct scheduler_session *ss;
	uint64_t now = loop_now();

	if (!t->protects[ARBITER_VRAM] || (!exactly && now - t->protected_ns < PROTECT_NS))
		return;
	t->protected_ns = now;
	list_for_each(ss, &s->sessions, node) {
		struct arbiter_usage usage;

		if (control_is_held(ss))
			policy_tenant_protect(s->policy, (uint32_t)ss->id, 0, 0, 0);
		else if (session_usage(s, ss, ARBITER_VRAM, &usage) == 0)
			policy_tenant_protect(s->policy, (uint32_t)ss->id,
					      ss->tenant.own[ARBITER_VRAM].value[ARBITER_MIN],
					      usage.emin, usage.elow);
	}
}

struct lane_clock *tenant_clock(const struct tenant *tenant)
{
	return tenant->party ? &tenant->party->clock : NULL;
}

bool tenant_protects(const struct tenant *tenant, uint32_t i, uint32_t tier,
		     struct arbiter_group *out)
{
	const struct tenant_group *g = tenant->groups[i];

	*out = g->group;
	return g->limits[tier].value[ARBITER_MIN] || g->limits[tier].value[ARBITER_LOW];
}

bool tenant_is_protected(const struct tenant *tenant)
{
	const uint64_t *own = tenant->own[ARBITER_VRAM].value;
	struct arbiter_group group;

	for (uint32_t i = 0; i < tenant->n_groups; i++)
		if (tenant_protects(tenant, i, ARBITER_VRAM, &group))
			return true;
	return own[ARBITER_MIN] || own[ARBITER_LOW];
}

bool tenant_high(struct scheduler *s, struct scheduler_session *ss, uint32_t i, uint32_t tier,
		 struct tenant_high *out)
{
	struct tenant *tenant = &ss->tenant;
	struct arbiter_usage usage;

	if (i < tenant->n_groups) {
		struct tenant_group *g = tenant->groups[i];

		out->group = g->group;
		out->bytes = g->limits[tier].value[ARBITER_HIGH];
		out->next_ns = &g->next_ns;
	} else {
		out->group = (struct arbiter_group){ .kind = ARBITER_SESSION, .key = ss->id };
		out->bytes = tenant->own[tier].value[ARBITER_HIGH];
		out->next_ns = &tenant->next_ns;
	}
	if (out->bytes == ARBITER_UNLIMITED ||
	    arbiter_usage(s->arbiter, &out->group, s->dev, tier, &usage) < 0)
		return false;
	out->usage = usage.usage;
	return true;
}

static bool is_due(const struct scheduler *s, const struct arbiter_group *group,
		   const struct arbiter_limits *limits, uint64_t bytes)
{
	struct arbiter_usage usage;

	return limits->value[ARBITER_MIN] &&
	       arbiter_usage(s->arbiter, group, s->dev, ARBITER_VRAM, &usage) == 0 &&
	       usage.usage + bytes <= limits->value[ARBITER_MIN];
}

void tenant_wants(struct scheduler *s, const struct scheduler_session *ss, uint64_t bytes)
{
	const struct arbiter_group self = { .kind = ARBITER_SESSION, .key = ss->id };
	const struct tenant *tenant = &ss->tenant;
	bool due;

	if (!s->tenants.protects[ARBITER_VRAM])
		return;
	due = is_due(s, &self, &tenant->own[ARBITER_VRAM], bytes);
	for (uint32_t i = 0; !due && i < tenant->n_groups; i++)
		due = is_due(s, &tenant->groups[i]->group, &tenant->groups[i]->limits[ARBITER_VRAM],
			     bytes);
	policy_tenant_due(s->policy, (uint32_t)ss->id, due);
	if (due)
		tenant_protect(s, ss);
}

/* Who asks, and the group at whose limit it stands; either may be missing. */
struct taker {
	const struct scheduler_session *session;
	const struct arbiter_group *group;
};

/* Does the one who takes something win what this group loses? */
static bool wins(const struct scheduler *s, const struct taker *taker,
		 const struct arbiter_group *group)
{
	if (taker->group && taker->group->kind == group->kind && taker->group->key == group->key)
		return true;
	return taker->session && is_in(s, taker->session, group);
}

static uint64_t kept(const struct arbiter_limits *limits, enum take take)
{
	uint64_t min = limits->value[ARBITER_MIN], low = limits->value[ARBITER_LOW];

	return take == TAKE_FREE && low > min ? low : min;
}

/* Something protects both who takes and who gives, and all else that the latter is in keeps what was set for it. */
static bool is_inside(const struct scheduler *s, const struct scheduler_session *ss, uint32_t tier,
		      uint64_t part, const struct arbiter_usage *own, const struct taker *taker,
		      enum take take)
{
	const struct tenant *tenant = &ss->tenant;
	bool common = false;

	if (own->usage < kept(&tenant->own[tier], take) + part && kept(&tenant->own[tier], take))
		return false;
	for (uint32_t i = 0; i < tenant->n_groups; i++) {
		const struct tenant_group *g = tenant->groups[i];
		uint64_t keep = kept(&g->limits[tier], take);
		struct arbiter_usage usage;

		if (!keep)
			continue;
		if (wins(s, taker, &g->group))
			common = true;
		else if (arbiter_usage(s->arbiter, &g->group, s->dev, tier, &usage) < 0 ||
			 usage.usage < keep + part)
			return false;
	}
	return common;
}

static bool gives(const struct scheduler *s, const struct scheduler_session *ss, uint32_t tier,
		  uint64_t part, const struct taker *taker, enum take take)
{
	struct arbiter_usage usage;
	uint64_t keep;

	/* Of who is held anything may be taken. */
	if (control_is_held(ss) || session_usage(s, ss, tier, &usage) < 0)
		return true;
	keep = take == TAKE_FREE && usage.elow > usage.emin ? usage.elow : usage.emin;
	return !keep || usage.usage >= keep + part ||
	       is_inside(s, ss, tier, part, &usage, taker, take);
}

bool tenants_allow(struct scheduler *s, const struct object *object, uint32_t tier, uint64_t bytes,
		   const struct scheduler_session *who, const struct arbiter_group *group,
		   enum take take)
{
	const struct taker taker = { .session = who, .group = group };
	const struct use *use;
	uint64_t n = 0, part;

	if (!s->tenants.protects[tier])
		return true;
	list_for_each(use, &object->uses, in_object)
		n++;
	if (!n)
		return true;
	part = (bytes + n - 1) / n;
	list_for_each(use, &object->uses, in_object) {
		const struct scheduler_session *ss = use->session;

		if (ss == who)
			continue;
		/* Its own limit a group has to keep whatever it costs those in it. */
		if (take == TAKE_MIN && group && is_in(s, ss, group))
			continue;
		if (!gives(s, ss, tier, part, &taker, take))
			return false;
	}
	return true;
}

void tenants_guard(struct scheduler *s, const struct object *object)
{
	const struct use *use;

	list_for_each(use, &object->uses, in_object)
		policy_tenant_protect(s->policy, (uint32_t)use->session->id, POLICY_NEVER / 2,
				      POLICY_NEVER / 2, 0);
}

/* ---- the tiers below ------------------------------------------------------------------ */

uint64_t tenant_usage(const struct scheduler *s, const struct scheduler_session *ss, uint32_t tier)
{
	struct arbiter_usage usage;

	return session_usage(s, ss, tier, &usage) == 0 ? usage.usage : 0;
}

bool tenant_is_above(struct scheduler *s, const struct scheduler_session *ss, uint32_t tier)
{
	const struct tenant *tenant = &ss->tenant;
	struct arbiter_usage usage;

	if (is_limited(&tenant->own[tier]) && session_usage(s, ss, tier, &usage) == 0 &&
	    (usage.over_high || usage.over_max))
		return true;
	for (uint32_t i = 0; i < tenant->n_groups; i++) {
		const struct tenant_group *g = tenant->groups[i];

		if (is_limited(&g->limits[tier]) &&
		    arbiter_usage(s->arbiter, &g->group, s->dev, tier, &usage) == 0 &&
		    (usage.over_high || usage.over_max))
			return true;
	}
	return false;
}

static bool would_pass(const struct scheduler *s, const struct arbiter_group *group,
		       const struct arbiter_limits *limits, uint32_t tier, uint64_t bytes)
{
	struct arbiter_usage usage;

	return limits->value[ARBITER_MAX] != ARBITER_UNLIMITED &&
	       arbiter_usage(s->arbiter, group, s->dev, tier, &usage) == 0 &&
	       usage.usage + bytes > limits->value[ARBITER_MAX];
}

bool tenants_at_max(const struct scheduler *s, const struct object *object, uint32_t tier,
		    uint64_t bytes)
{
	const struct use *use;

	if (!s->tenants.has_max[tier])
		return false;
	list_for_each(use, &object->uses, in_object) {
		const struct scheduler_session *ss = use->session;
		const struct arbiter_group self = { .kind = ARBITER_SESSION, .key = ss->id };

		if (would_pass(s, &self, &ss->tenant.own[tier], tier, bytes))
			return true;
		for (uint32_t i = 0; i < ss->tenant.n_groups; i++)
			if (would_pass(s, &ss->tenant.groups[i]->group,
				       &ss->tenant.groups[i]->limits[tier], tier, bytes))
				return true;
	}
	return false;
}

static uint64_t unused_of(const struct scheduler *s, const struct arbiter_group *group,
			  const struct arbiter_limits *limits, uint32_t tier, bool low)
{
	uint64_t keep = kept(limits, low ? TAKE_FREE : TAKE_LOW);
	struct arbiter_usage usage;

	if (!keep || arbiter_usage(s->arbiter, group, s->dev, tier, &usage) < 0)
		return 0;
	return usage.usage < keep ? keep - usage.usage : 0;
}

static bool uses_object(const struct scheduler *s, const struct object *object,
			const struct arbiter_group *group)
{
	const struct use *use;

	list_for_each(use, &object->uses, in_object)
		if (is_in(s, use->session, group))
			return true;
	return false;
}

uint64_t tenants_reserved(struct scheduler *s, const struct object *object, uint32_t tier, bool low)
{
	const struct scheduler_session *ss;
	const struct tenant_group *g;
	uint64_t bytes = 0;

	if (!s->tenants.protects[tier])
		return 0;
	list_for_each(g, &s->tenants.groups, node)
		if (!uses_object(s, object, &g->group))
			bytes += unused_of(s, &g->group, &g->limits[tier], tier, low);
	list_for_each(ss, &s->sessions, node) {
		const struct arbiter_group self = { .kind = ARBITER_SESSION, .key = ss->id };

		if (!uses_object(s, object, &self))
			bytes += unused_of(s, &self, &ss->tenant.own[tier], tier, low);
	}
	return bytes;
}

uint32_t tenants_tree(struct scheduler *s, uint32_t tier, struct fill_node *nodes)
{
	struct scheduler_session *ss;
	struct tenant_group *g;
	uint32_t n = 0;

	list_for_each(g, &s->tenants.groups, node)
		g->index = FILL_TOP;
	/* Two levels: what the parties of the device are is what they are here, by the weights of this tier. */
	list_for_each(ss, &s->sessions, node) {
		g = ss->tenant.party;
		if (!g || g->index != FILL_TOP)
			continue;
		g->index = n;
		nodes[n++] = (struct fill_node){
			.parent = FILL_TOP,
			.weight = (uint32_t)g->limits[tier].value[ARBITER_WEIGHT],
			.floor = g->limits[tier].value[ARBITER_MIN],
			.need = g->limits[tier].value[ARBITER_MAX],
		};
	}
	return n;
}

uint32_t tenant_node(const struct tenant *tenant)
{
	return tenant->party ? tenant->party->index : FILL_TOP;
}
