// SPDX-License-Identifier: GPL-2.0-only
/* Looking at limits: what everybody has and may have, and which rule says so. */
#define _GNU_SOURCE 1
#include "daemon/admin_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "daemon/arbiter.h"
#include "daemon/limits_live.h"
#include "daemon/loop.h"
#include "daemon/scheduler.h"

/* A limit: `max` is a word, not the largest number. */
static void put_limit(struct json_maker *m, const char *key, uint64_t n)
{
	json_put(m, key, n == ARBITER_UNLIMITED ? json_string("max") : json_number_new(n));
}

/* ---- groups of the ledger ---------------------------------------------------------- */

struct group {
	struct arbiter_group group;
	char *name; /* "user:1000" */
	uint32_t uid, n_sessions;
};

struct groups {
	struct admin_request *req;
	struct group *groups;
	size_t n;
	bool failed;
};

static void groups_free(struct groups *all)
{
	size_t i;

	for (i = 0; i < all->n; i++)
		free(all->groups[i].name);
	free(all->groups);
}

/* The callback must not ask the arbiter anything. */
static int groups_add(void *data, const struct arbiter_group_info *info)
{
	struct groups *all = data;
	struct group *grown = reallocarray(all->groups, all->n + 1, sizeof(*grown));
	char *name = grown ? strdup(info->name) : NULL;

	if (grown)
		all->groups = grown;
	all->failed = !name;
	if (!name)
		return 1;
	grown[all->n++] = (struct group){
		.group = info->group,
		.name = name,
		.uid = info->uid,
		.n_sessions = info->n_sessions,
	};
	return 0;
}

/* How many of the peer's own sessions are below a group. */
static uint32_t n_own_below(const struct admin_request *req, const struct arbiter_group *group)
{
	const struct scheduler_session *ss;
	uint32_t n = 0;

	list_for_each(ss, scheduler_sessions(req->s), node)
		n += ss->uid == req->peer->uid &&
		     arbiter_is_member(scheduler_arbiter(req->s), ss->id, group) == 1;
	return n;
}

/* Others see the device, themselves, and what is theirs alone. */
static bool group_is_visible(const struct admin_request *req, const struct group *g)
{
	if (req->privileged || g->group.kind == ARBITER_ROOT)
		return true;
	if (g->group.kind == ARBITER_USER || g->group.kind == ARBITER_SESSION)
		return g->uid == req->peer->uid;
	return g->n_sessions && n_own_below(req, &g->group) == g->n_sessions;
}

static int groups_collect(struct admin_request *req, struct groups *out)
{
	size_t i, kept = 0;

	*out = (struct groups){ .req = req };
	arbiter_for_each(scheduler_arbiter(req->s), groups_add, out);
	for (i = 0; i < out->n; i++) {
		if (group_is_visible(req, &out->groups[i]))
			out->groups[kept++] = out->groups[i];
		else
			free(out->groups[i].name);
	}
	out->n = kept;
	if (!out->failed)
		return 0;
	groups_free(out);
	return err_origin(-ENOMEM);
}

/* ---- limit_show --------------------------------------------------------------------- */

/* Tiers that this machine has not are left out of the answers. */
static bool tier_exists(const struct scheduler_stats *stats, uint32_t tier)
{
	return tier == ARBITER_VRAM || (tier == ARBITER_HOST && stats->host_budget_bytes > 0) ||
	       (tier == ARBITER_DISK && stats->swap_size_bytes > 0);
}

/* One of limit_show's rows. */
struct shown {
	struct arbiter_subject subject;
	const char *name;
	const struct arbiter_group *group; /* NULL: it has none, so nothing is charged to it */
};

static void put_usage(struct json_maker *m, const struct arbiter_usage *usage)
{
	json_put_number(m, "usage_bytes", usage->usage);
	json_put_number(m, "peak_bytes", usage->peak);
	json_put_number(m, "refused", usage->refused);
	json_put_number(m, "over_high_bytes", usage->over_high);
	json_put_number(m, "over_max_bytes", usage->over_max);
}

/* The values, which of them were set for this very subject, and the rule of each. */
static void put_limits(struct admin_request *req, struct json_maker *m, const struct shown *shown,
		       uint32_t tier, const struct arbiter_usage *usage)
{
	struct json_maker rules = json_maker_new();
	const struct limits_rule *rule = NULL;
	/* Of a user without sessions the ledger need not know yet. */
	bool is_written = shown->subject.kind != ARBITER_USER ||
			  limits_live_has(scheduler_limits(req->s), (uid_t)shown->subject.id);
	json_t *set = json_array();
	char why[LIMITS_TEXT_MAX];
	uint64_t value, in_force;
	uint32_t key;

	for (key = 0; key < ARBITER_N_KEYS; key++) {
		if (shown->subject.kind == ARBITER_ROOT) {
			value = usage->limits.value[key];
			snprintf(why, sizeof(why), key == ARBITER_MAX ? "the device" : "built in");
		} else {
			limits_live_find(scheduler_limits(req->s), &shown->subject, tier, key,
					 &value, &rule, why);
		}
		in_force = usage && is_written ? usage->limits.value[key] : value;
		if (in_force != value)
			snprintf(why, sizeof(why), "set through %s by somebody else",
				 ARBITER_KMOD_PATH);
		put_limit(m, limits_key_name(key), in_force);
		json_put_text(&rules, limits_key_name(key), why);
		if (rule && rule->kind == shown->subject.kind)
			json_array_append_new(set, json_string(limits_key_name(key)));
	}
	json_put(m, "set", set);
	json_put(m, "rules", json_maker_take(&rules));
}

static int show_row(struct admin_request *req, json_t *list, const struct shown *shown,
		    uint32_t tier)
{
	uint32_t dev = scheduler_device(req->s);
	struct arbiter_usage usage;
	struct json_maker m;
	bool used = shown->group &&
		    arbiter_usage(scheduler_arbiter(req->s), shown->group, dev, tier, &usage) == 0;

	/* It has ended meanwhile. */
	if (shown->group && !used)
		return 0;
	m = json_maker_new();
	json_put_text(&m, "subject", shown->name);
	json_put_number(&m, "device", dev);
	json_put_text(&m, "tier", limits_tier_name(tier));
	if (used)
		put_usage(&m, &usage);
	put_limits(req, &m, shown, tier, used ? &usage : NULL);
	return err_trace(json_append(list, json_maker_take(&m)));
}

static int show_rows(struct admin_request *req, json_t *list, const struct shown *shown)
{
	struct scheduler_stats stats;
	uint32_t tier;
	int r = 0;

	scheduler_stats(req->s, &stats);
	for (tier = 0; tier < ARBITER_N_TIERS && r == 0; tier++)
		if (tier_exists(&stats, tier))
			r = show_row(req, list, shown, tier);
	return err_trace(r);
}

/* "cgroup:/a": the path in it. */
static const char *path_in(uint32_t kind, const char *name)
{
	return kind == ARBITER_CGROUP || kind == ARBITER_EXE ? strchr(name, ':') + 1 : NULL;
}

struct show_groups {
	struct admin_request *req;
	json_t *list;
	uint64_t done[64]; /* groups of users that have had their row */
	size_t n_done;
	int r;
};

static int show_group_rule(void *ctx, const struct limits_rules *table,
			   const struct limits_rule *rule, bool in_force)
{
	struct shown shown = { .subject = { .kind = LIMITS_GROUP, .id = rule->id } };
	struct show_groups *show = ctx;
	char name[LIMITS_TEXT_MAX];
	size_t i;

	(void)table;
	if (rule->kind != LIMITS_GROUP || !in_force)
		return 0;
	for (i = 0; i < show->n_done; i++)
		if (show->done[i] == rule->id)
			return 0;
	if (show->n_done < sizeof(show->done) / sizeof(show->done[0]))
		show->done[show->n_done++] = rule->id;
	if (!show->req->privileged && !limits_live_is_in(scheduler_limits(show->req->s),
							 show->req->peer->uid, (uint32_t)rule->id))
		return 0;
	shown.name = limits_rule_subject(rule, name);
	show->r = show_rows(show->req, show->list, &shown);
	return show->r;
}

static int show_all(struct admin_request *req, json_t *list)
{
	const struct shown others = { .subject = { .kind = ARBITER_DEFAULT }, .name = "default" };
	struct show_groups show = { .req = req, .list = list };
	struct groups all;
	size_t i;
	int r;

	r = groups_collect(req, &all);
	if (r < 0)
		return err_trace(r);
	for (i = 0; i < all.n && r == 0; i++) {
		const struct group *g = &all.groups[i];
		const struct shown shown = {
			.subject = { g->group.kind, g->group.key, path_in(g->group.kind, g->name) },
			.name = g->name,
			.group = &g->group,
		};

		r = show_rows(req, list, &shown);
	}
	groups_free(&all);
	if (r == 0)
		limits_live_for_each(scheduler_limits(req->s), show_group_rule, &show);
	if (r == 0)
		r = show.r;
	if (r == 0)
		r = show_rows(req, list, &others);
	return err_trace(r);
}

/*
 * The daemon waits for a name that it does not know. Who asks for many, of a slow service, gets a tenth of its time: all
 * others than administrators together, and what is known already costs nothing.
 */
int admin_limit_subject(struct admin_request *req, const char *text, struct limits_subject *out,
			char reason[LIMITS_REASON_MAX])
{
	static uint64_t not_before_ns;
	uint64_t begin_ns = loop_now(), end_ns;
	struct arbiter_subject subject;
	const char *name = NULL;
	int r;

	if (req->privileged || limits_subject_parse(text, &subject, &name) < 0 || !name)
		return limits_live_subject(scheduler_limits(req->s), text, out, reason);
	if (begin_ns < not_before_ns) {
		snprintf(reason, LIMITS_REASON_MAX,
			 "names were asked for a moment ago: try '%.60s' again, or give the number",
			 name);
		return -EAGAIN;
	}
	r = limits_live_subject(scheduler_limits(req->s), text, out, reason);
	end_ns = loop_now();
	not_before_ns = end_ns + 9 * (end_ns - begin_ns);
	return r;
}

/* May the peer look at this subject, which need not have a group? */
static bool subject_is_visible(struct admin_request *req, const struct arbiter_subject *subject,
			       const struct arbiter_group *group)
{
	struct arbiter *a = scheduler_arbiter(req->s);
	const struct scheduler_session *ss;
	uint32_t n_own = 0, n_others = 0;

	if (req->privileged || subject->kind == ARBITER_DEFAULT)
		return true;
	if (subject->kind == ARBITER_USER)
		return subject->id == req->peer->uid;
	if (subject->kind == LIMITS_GROUP)
		return limits_live_is_in(scheduler_limits(req->s), req->peer->uid,
					 (uint32_t)subject->id);
	if (!group)
		return false;
	list_for_each(ss, scheduler_sessions(req->s), node)
		if (arbiter_is_member(a, ss->id, group) == 1)
			*(ss->uid == req->peer->uid ? &n_own : &n_others) += 1;
	return n_own && !n_others;
}

static int show_one(struct admin_request *req, json_t *list, const char *text)
{
	char reason[LIMITS_REASON_MAX], name[32];
	struct limits_subject who;
	struct arbiter_group group;
	struct shown shown;
	int r;

	r = admin_limit_subject(req, text, &who, reason);
	if (r < 0)
		return admin_fail(req, r, "%s", reason);
	shown = (struct shown){ .subject = who.subject, .name = text };
	/* One spelling for each user. */
	if (who.subject.kind == ARBITER_USER) {
		snprintf(name, sizeof(name), "user:%u", (unsigned int)who.subject.id);
		shown.name = name;
	}
	if (who.subject.kind != LIMITS_GROUP && who.subject.kind != ARBITER_DEFAULT &&
	    arbiter_find(scheduler_arbiter(req->s), &who.subject, &group) == 0)
		shown.group = &group;
	if (!subject_is_visible(req, &who.subject, shown.group))
		return admin_fail(req, -ENOENT, "there is no '%.60s' of yours", text);
	if (who.subject.kind == ARBITER_SESSION && !shown.group)
		return admin_fail(req, -ENOENT, "there is no %.60s", text);
	return err_trace(show_rows(req, list, &shown));
}

int admin_limit_show(struct admin_request *req, struct json_maker *m)
{
	const json_t *subject = json_object_get(req->json, "subject");
	_cleanup_json_ json_t *list = json_array();
	int r;

	if (!list)
		return err_origin(-ENOMEM);
	if (subject && !json_is_string(subject))
		return admin_fail(req, -EINVAL, "the subject has to be a text");
	r = subject ? show_one(req, list, json_string_value(subject)) : show_all(req, list);
	if (r < 0)
		return err_trace(r);
	json_put(m, "limits", json_incref(list));
	return 0;
}

/* ---- limit_list --------------------------------------------------------------------- */

struct listing {
	struct admin_request *req;
	json_t *list;
	int r;
};

static bool rule_is_visible(struct admin_request *req, const struct limits_rule *rule)
{
	struct arbiter_subject subject = { .kind = rule->kind, .id = rule->id };
	struct arbiter_group group;
	bool found;

	if (req->privileged)
		return true;
	if (!rule->known)
		return false;
	if (rule->kind == ARBITER_CGROUP || rule->kind == ARBITER_EXE)
		subject.path = rule->name;
	found = rule->kind != LIMITS_GROUP && rule->kind != ARBITER_DEFAULT &&
		arbiter_find(scheduler_arbiter(req->s), &subject, &group) == 0;
	return subject_is_visible(req, &subject, found ? &group : NULL);
}

static int list_rule(void *ctx, const struct limits_rules *table, const struct limits_rule *rule,
		     bool in_force)
{
	struct listing *l = ctx;
	char text[LIMITS_TEXT_MAX], value[LIMITS_VALUE_MAX];
	struct json_maker m;

	if (!rule_is_visible(l->req, rule))
		return 0;
	m = json_maker_new();
	json_put_text(&m, "subject", limits_rule_subject(rule, text));
	json_put_text(&m, "tier", limits_tier_name(rule->set.tier));
	json_put_text(&m, "key", limits_key_name(rule->set.key));
	json_put_text(&m, "value", limits_value_format(&rule->set, value));
	json_put_text(&m, "source", limits_rule_source(table, rule, text));
	json_put(&m, "in_force", json_boolean(in_force));
	/* A name that nobody has (yet). */
	json_put(&m, "known", json_boolean(rule->known));
	l->r = json_append(l->list, json_maker_take(&m));
	return l->r;
}

int admin_limit_list(struct admin_request *req, struct json_maker *m)
{
	_cleanup_json_ json_t *list = json_array();
	struct listing l = { .req = req, .list = list };

	if (!list)
		return err_origin(-ENOMEM);
	limits_live_for_each(scheduler_limits(req->s), list_rule, &l);
	if (l.r < 0)
		return err_trace(l.r);
	json_put(m, "rules", json_incref(list));
	return 0;
}
