// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/limits_live.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "daemon/limit_table.h"
#include "daemon/limits_live_private.h"
#include "daemon/limits_store.h"
#include "daemon/log.h"
#include "daemon/names.h"

/* How long a name service may take at start, and when a session begins. */
#define WAIT_START_NS	3000000000ull
#define WAIT_SESSION_NS 100000000ull

/* ---- what was written ----------------------------------------------------------------- */

static struct list_node *bucket_of(struct limits_live *l, uint32_t kind, uint64_t id,
				   const char *path)
{
	uint64_t h = 0xcbf29ce484222325u ^ kind;

	if (!path)
		h = (h ^ id) * 0x9e3779b97f4a7c15u;
	for (; path && *path; path++)
		h = (h ^ (unsigned char)*path) * 0x100000001b3u;
	return &l->bucket[(h ^ h >> 32) & (LIVE_BUCKETS - 1)];
}

static struct written *written_find(struct limits_live *l, uint32_t kind, uint64_t id,
				    const char *path)
{
	struct list_node *bucket = bucket_of(l, kind, id, path);
	struct written *w;

	list_for_each(w, bucket, in_bucket)
		if (w->kind == kind && (path ? w->path && !strcmp(w->path, path) : w->id == id))
			return w;
	return NULL;
}

static struct written *written_get(struct limits_live *l, uint32_t kind, uint64_t id,
				   const char *path)
{
	struct written *w = written_find(l, kind, id, path);

	if (w)
		return w;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->kind = kind;
	w->id = path ? 0 : id;
	if (path) {
		w->path = strdup(path);
		if (!w->path) {
			free(w);
			return NULL;
		}
	}
	list_add_tail(&w->node, &l->written);
	list_add_tail(&w->in_bucket, bucket_of(l, kind, id, path));
	return w;
}

static void written_free(struct written *w)
{
	list_del(&w->node);
	list_del(&w->in_bucket);
	free(w->path);
	free(w);
}

struct live_user *live_user_find(struct limits_live *l, uint64_t uid)
{
	struct live_user *user;

	list_for_each(user, &l->users, node)
		if (user->uid == uid)
			return user;
	return NULL;
}

static int write_one(struct limits_live *l, struct written *w, uint32_t tier, uint32_t key,
		     bool wanted, uint64_t value, bool *changed)
{
	const struct arbiter_subject subject = { .kind = w->kind, .id = w->id, .path = w->path };
	uint8_t bit = (uint8_t)(1u << key);
	int r;

	if (wanted ? w->set[tier] & bit && w->value[tier][key] == value : !(w->set[tier] & bit))
		return 0;
	r = wanted ? arbiter_limit_set(l->p.arbiter, &subject, l->p.dev, tier, key, value) :
		     arbiter_limit_clear(l->p.arbiter, &subject, l->p.dev, tier, key);
	/* It has ended, and its limits with it. */
	if (r == -ENOENT && w->kind == ARBITER_SESSION)
		r = 0;
	if (r < 0)
		return err_trace(r);
	w->set[tier] = (uint8_t)(wanted ? w->set[tier] | bit : w->set[tier] & ~bit);
	w->value[tier][key] = wanted ? value : 0;
	*changed = true;
	return 0;
}

/* Writes what follows from the rules for one subject. */
static int write_subject(struct limits_live *l, struct written *w, bool *changed)
{
	const struct live_user *user = w->kind == ARBITER_USER ? live_user_find(l, w->id) : NULL;
	const struct limits_who who = {
		.kind = w->kind,
		.id = w->id,
		.path = w->path,
		.gids = user ? user->gids : NULL,
		.n_gids = user ? user->n_gids : 0,
	};
	const struct limits_rule *rule;
	uint32_t tier, key;
	int r, failed = 0;

	for (tier = 0; tier < ARBITER_N_TIERS; tier++) {
		for (key = 0; key < ARBITER_N_KEYS; key++) {
			rule = NULL;
			if (w->wanted)
				rule = limits_rules_find(&l->run_time, &l->files, &who, tier, key,
							 NULL);
			/* What is for everybody the arbiter gives to everybody. */
			if (rule && rule->kind == ARBITER_DEFAULT && w->kind != ARBITER_DEFAULT)
				rule = NULL;
			r = write_one(l, w, tier, key, rule,
				      rule ? limits_value_bytes(&rule->set, l->capacity[tier]) : 0,
				      changed);
			if (r < 0)
				failed = r;
		}
	}
	return failed;
}

static void log_failed(const struct written *w, int r)
{
	log_error("limits of %s%s%" PRIu64 " cannot be written into the ledger: %s",
		  w->path ? w->path : "", w->kind == ARBITER_SESSION ? " session " : " number ",
		  w->id, err_text(r));
}

static int want_rules(struct limits_live *l, const struct limits_rules *table)
{
	const struct limits_rule *rule;
	struct written *w;
	bool path;

	for (rule = table->rules; rule < table->rules + table->n; rule++) {
		l->has_groups |= rule->kind == LIMITS_GROUP;
		l->has_unknown |= !rule->known;
		if (rule->kind == LIMITS_GROUP || !rule->known)
			continue;
		path = rule->kind == ARBITER_CGROUP || rule->kind == ARBITER_EXE;
		w = written_get(l, rule->kind, rule->id, path ? rule->name : NULL);
		if (!w)
			return err_origin(-ENOMEM);
		w->wanted = true;
	}
	return 0;
}

static void read_capacity(struct limits_live *l)
{
	const struct arbiter_subject root = { .kind = ARBITER_ROOT };
	struct arbiter_limits limits;
	uint32_t tier;

	for (tier = 0; tier < ARBITER_N_TIERS; tier++)
		if (arbiter_limit_get(l->p.arbiter, &root, l->p.dev, tier, &limits) == 0)
			l->capacity[tier] = limits.value[ARBITER_MAX];
}

/* Writes whatever is different now. Return: 0 or the last error. */
int limits_live_apply(struct limits_live *l, bool *out_changed)
{
	const struct live_user *user;
	struct written *w, *tmp;
	bool changed = false;
	int r, failed = 0;

	read_capacity(l);
	l->has_groups = l->has_unknown = false;
	list_for_each(w, &l->written, node)
		w->wanted = false;
	failed = want_rules(l, &l->files);
	if (failed == 0)
		failed = want_rules(l, &l->run_time);
	list_for_each(user, &l->users, node) {
		w = written_get(l, ARBITER_USER, user->uid, NULL);
		if (w)
			w->wanted = true;
		else
			failed = err_origin(-ENOMEM);
	}
	/* Half of the new picture is worse than the old one. */
	if (failed < 0)
		return err_trace(failed);
	list_for_each_safe(w, tmp, &l->written, node) {
		r = write_subject(l, w, &changed);
		if (r < 0) {
			log_failed(w, r);
			failed = r;
		} else if (!w->wanted) {
			written_free(w);
		}
	}
	if (out_changed)
		*out_changed |= changed;
	return failed;
}

/* ---- names ----------------------------------------------------------------------------- */

/* The groups of a user who has sessions. Return: whether they are others than before. */
static bool user_look_up(struct limits_live *l, struct live_user *user, uint64_t wait_ns)
{
	const uint32_t *gids = NULL;
	uint32_t *copy;
	size_t n = 0;

	if (!l->has_groups || names_groups(l->p.names, user->uid, wait_ns, &gids, &n) < 0)
		return false;
	if (user->known && user->n_gids == n &&
	    (!n || !memcmp(user->gids, gids, n * sizeof(*gids))))
		return false;
	copy = malloc((n + 1) * sizeof(*copy));
	if (!copy)
		return false;
	if (n)
		memcpy(copy, gids, n * sizeof(*copy));
	free(user->gids);
	user->gids = copy;
	user->n_gids = n;
	user->known = true;
	return true;
}

static bool resolve_rule(struct limits_live *l, struct limits_rules *t, struct limits_rule *rule,
			 uint64_t wait_ns)
{
	bool group = rule->kind == LIMITS_GROUP;
	char text[LIMITS_TEXT_MAX];
	uint64_t id;
	int r;

	r = names_id(l->p.names, group ? NAMES_GROUP : NAMES_USER, rule->name, wait_ns, &id);
	if (r == 0)
		return limits_rules_resolve(t, rule->kind, rule->name, id);
	if (r == -ENOENT && !rule->missing) {
		rule->missing = true;
		log_warn("%s: there is no %s '%s': the rule counts for nobody until there is one",
			 limits_rule_source(t, rule, text), group ? "group" : "user", rule->name);
	}
	return r == -ENOENT && rule->known &&
	       limits_rules_resolve(t, rule->kind, rule->name, LIMITS_NO_ID);
}

/* Looks up every name of a table. Return: whether something changed. */
bool limits_live_resolve(struct limits_live *l, struct limits_rules *t, uint64_t wait_ns)
{
	bool changed = false;
	size_t i;

	for (i = 0; i < t->n; i++)
		if (t->rules[i].name &&
		    (t->rules[i].kind == ARBITER_USER || t->rules[i].kind == LIMITS_GROUP))
			changed |= resolve_rule(l, t, &t->rules[i], wait_ns);
	return changed;
}

static void on_names(void *ctx)
{
	struct limits_live *l = ctx;
	struct live_user *user;
	bool news, changed = false;

	news = limits_live_resolve(l, &l->files, 0);
	news |= limits_live_resolve(l, &l->run_time, 0);
	list_for_each(user, &l->users, node)
		news |= user_look_up(l, user, 0);
	if (!news)
		return;
	limits_live_apply(l, &changed);
	if (changed && l->p.changed)
		l->p.changed(l->p.ctx);
}

int limits_live_watch(struct limits_live *l, struct loop *loop)
{
	return err_trace(names_watch(l->p.names, loop, on_names, l));
}

/* ---- sessions and the device ------------------------------------------------------------ */

void limits_live_enter(struct limits_live *l, uid_t uid)
{
	struct live_user *user = live_user_find(l, uid);
	bool changed = false;
	struct written *w;
	int r;

	if (!user) {
		user = calloc(1, sizeof(*user));
		if (!user)
			return;
		user->uid = uid;
		list_add_tail(&user->node, &l->users);
	}
	user->n_sessions++;
	if (l->has_unknown &&
	    (limits_live_resolve(l, &l->files, 0) | limits_live_resolve(l, &l->run_time, 0)))
		limits_live_apply(l, &changed);
	user_look_up(l, user, WAIT_SESSION_NS);
	if (l->has_groups && !user->known)
		log_info("the groups of user %u are not known yet; their limits hold when they are",
			 user->uid);
	w = written_get(l, ARBITER_USER, uid, NULL);
	if (!w)
		return;
	w->wanted = true;
	r = write_subject(l, w, &changed);
	if (r < 0)
		log_failed(w, r);
}

static bool has_rule(struct limits_live *l, uint32_t kind, uint64_t id)
{
	uint32_t tier, key;

	for (tier = 0; tier < ARBITER_N_TIERS; tier++)
		for (key = 0; key < ARBITER_N_KEYS; key++)
			if (limits_rules_at(&l->run_time, kind, id, NULL, tier, key) ||
			    limits_rules_at(&l->files, kind, id, NULL, tier, key))
				return true;
	return false;
}

void limits_live_leave(struct limits_live *l, uid_t uid, uint64_t session)
{
	const struct arbiter_subject subject = { .kind = ARBITER_SESSION, .id = session };
	struct written *w = written_find(l, ARBITER_SESSION, session, NULL);
	struct live_user *user = live_user_find(l, uid);
	bool changed = false;

	limits_rules_remove(&l->run_time, &subject, NULL, NULL, LIMITS_RUN_TIME);
	if (w)
		written_free(w);
	if (!user || --user->n_sessions)
		return;
	list_del(&user->node);
	free(user->gids);
	free(user);
	w = written_find(l, ARBITER_USER, uid, NULL);
	if (!w || has_rule(l, ARBITER_USER, uid))
		return;
	w->wanted = false;
	if (write_subject(l, w, &changed) == 0)
		written_free(w);
}

static bool has_percent(const struct limits_rules *t)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		if (t->rules[i].set.percent)
			return true;
	return false;
}

bool limits_live_budget(struct limits_live *l)
{
	bool changed = false;

	if (has_percent(&l->files) || has_percent(&l->run_time))
		limits_live_apply(l, &changed);
	return changed;
}

/* ---- making, reloading ------------------------------------------------------------------- */

struct import {
	struct limits_live *l;
	bool failed;
};

/* A group of the ledger. What it has is asked for later: not within this walk. */
static int import_group(void *ctx, const struct arbiter_group_info *info)
{
	struct import *import = ctx;
	const char *path = NULL;
	uint32_t kind = info->group.kind;

	if (kind == ARBITER_ROOT)
		return 0;
	if (kind == ARBITER_CGROUP || kind == ARBITER_EXE)
		path = strchr(info->name, ':') + 1;
	import->failed = !written_get(import->l, kind, info->group.key, path);
	return import->failed;
}

/* What an earlier daemon has left in the kernel counts as written. */
static int import_all(struct limits_live *l)
{
	struct import import = { .l = l };
	struct arbiter_limits limits;
	struct written *w, *tmp;
	size_t n = 0;
	uint32_t tier;

	arbiter_for_each(l->p.arbiter, import_group, &import);
	if (import.failed)
		return err_origin(-ENOMEM);
	list_for_each_safe(w, tmp, &l->written, node) {
		const struct arbiter_subject subject = { w->kind, w->id, w->path };
		uint8_t any = 0;

		for (tier = 0; tier < ARBITER_N_TIERS; tier++) {
			if (arbiter_limit_get(l->p.arbiter, &subject, l->p.dev, tier, &limits) < 0)
				continue;
			w->set[tier] = (uint8_t)limits.set;
			memcpy(w->value[tier], limits.value, sizeof(limits.value));
			any |= w->set[tier];
		}
		n += any != 0;
		if (!any)
			written_free(w);
	}
	if (n)
		log_info(
			"found limits of %zu users, cgroups, programs and sessions in the ledger; what no "
			"rule sets is cleared",
			n);
	return 0;
}

int limits_live_new(struct limits_live **out, const struct limits_live_params *params,
		    char reason[LIMITS_REASON_MAX])
{
	struct limits_live *l = calloc(1, sizeof(*l));
	size_t i;
	int r;

	snprintf(reason, LIMITS_REASON_MAX, "out of memory");
	if (!l)
		return err_origin(-ENOMEM);
	l->p = *params;
	list_init(&l->users);
	list_init(&l->written);
	for (i = 0; i < LIVE_BUCKETS; i++)
		list_init(&l->bucket[i]);
	r = limits_store_read(l->p.dir, l->p.must_exist, &l->files, reason);
	if (r == 0) {
		limits_live_resolve(l, &l->files, WAIT_START_NS);
		r = import_all(l);
	}
	if (r == 0) {
		r = limits_live_apply(l, NULL);
		if (r < 0)
			snprintf(reason, LIMITS_REASON_MAX,
				 "limits cannot be written into the ledger: %s", err_text(r));
	}
	if (r < 0) {
		limits_live_free(l);
		return err_trace(r);
	}
	if (l->files.n)
		log_info("%zu rules in %zu files of %s", l->files.n, l->files.n_files, l->p.dir);
	*out = l;
	return 0;
}

struct limits_live *limits_live_free(struct limits_live *l)
{
	struct live_user *user, *next;
	struct written *w, *tmp;

	if (!l)
		return NULL;
	list_for_each_safe(w, tmp, &l->written, node)
		written_free(w);
	list_for_each_safe(user, next, &l->users, node) {
		list_del(&user->node);
		free(user->gids);
		free(user);
	}
	limits_rules_deinit(&l->files);
	limits_rules_deinit(&l->run_time);
	free(l);
	return NULL;
}

int limits_live_reload(struct limits_live *l, size_t *out_files, size_t *out_rules,
		       char reason[LIMITS_REASON_MAX])
{
	struct limits_rules fresh, old = l->files;
	struct live_user *user;
	int r;

	r = limits_store_read(l->p.dir, l->p.must_exist, &fresh, reason);
	if (r < 0)
		return err_trace(r);
	/* Who is in which group may have changed with the files. */
	names_forget(l->p.names);
	limits_live_resolve(l, &fresh, LIVE_WAIT_ASK_NS);
	limits_live_resolve(l, &l->run_time, 0);
	l->files = fresh;
	r = limits_live_apply(l, NULL);
	/* Whether groups matter is known only now. */
	list_for_each(user, &l->users, node)
		user_look_up(l, user, WAIT_SESSION_NS);
	if (r == 0)
		r = limits_live_apply(l, NULL);
	if (r < 0) {
		l->files = old;
		limits_live_apply(l, NULL);
		limits_rules_deinit(&fresh);
		snprintf(reason, LIMITS_REASON_MAX, "limits cannot be written into the ledger: %s",
			 err_text(r));
		return err_trace(r);
	}
	limits_rules_deinit(&old);
	*out_files = l->files.n_files;
	*out_rules = l->files.n;
	return 0;
}

/* ---- looking ------------------------------------------------------------------------------- */

void limits_live_find(struct limits_live *l, const struct arbiter_subject *subject, uint32_t tier,
		      uint32_t key, uint64_t *out_value, const struct limits_rule **out_rule,
		      char *out_why)
{
	const struct live_user *user = NULL;
	struct limits_who who = { subject->kind, subject->id, subject->path, NULL, 0 };
	const struct limits_rules *table = NULL;
	const struct limits_rule *rule;

	if (subject->kind == ARBITER_USER)
		user = live_user_find(l, subject->id);
	if (user && user->known) {
		who.gids = user->gids;
		who.n_gids = user->n_gids;
	} else if (subject->kind == ARBITER_USER && l->has_groups) {
		names_groups(l->p.names, (uid_t)subject->id, LIVE_WAIT_ASK_NS, &who.gids,
			     &who.n_gids);
	}
	rule = limits_rules_find(&l->run_time, &l->files, &who, tier, key, &table);
	*out_value = rule ? limits_value_bytes(&rule->set, l->capacity[tier]) : limit_none(key);
	*out_rule = rule;
	if (out_why)
		limits_rule_why(table, rule, subject->kind, out_why);
}

int limits_live_for_each(struct limits_live *l, limits_live_fn fn, void *ctx)
{
	struct limits_rules *tables[2] = { &l->files, &l->run_time };
	size_t t, i;
	int r = 0;

	for (t = 0; t < 2; t++) {
		for (i = 0; i < tables[t]->n && r == 0; i++) {
			const struct limits_rule *rule = &tables[t]->rules[i], *at;
			bool path = rule->kind == ARBITER_CGROUP || rule->kind == ARBITER_EXE;
			const char *name = path ? rule->name : NULL;

			at = limits_rules_at(&l->run_time, rule->kind, rule->id, name,
					     rule->set.tier, rule->set.key);
			if (!at)
				at = limits_rules_at(&l->files, rule->kind, rule->id, name,
						     rule->set.tier, rule->set.key);
			r = fn(ctx, tables[t], rule, rule->known && at == rule);
		}
	}
	return r;
}

bool limits_live_is_in(struct limits_live *l, uid_t uid, uint32_t gid)
{
	const uint32_t *gids;
	size_t n, i;

	if (names_groups(l->p.names, uid, LIVE_WAIT_ASK_NS, &gids, &n) < 0)
		return false;
	for (i = 0; i < n; i++)
		if (gids[i] == gid)
			return true;
	return false;
}

struct names *limits_live_names(struct limits_live *l)
{
	return l->p.names;
}

bool limits_live_has(struct limits_live *l, uid_t uid)
{
	return live_user_find(l, uid);
}
