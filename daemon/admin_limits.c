// SPDX-License-Identifier: GPL-2.0-only
/* The commands about limits of users and sessions. */
#define _GNU_SOURCE 1
#include "daemon/admin_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/err.h"
#include "daemon/arbiter.h"
#include "daemon/limits.h"
#include "daemon/log.h"
#include "daemon/scheduler.h"

/* Settings in one limit_set. */
#define ADMIN_SETTINGS_MAX 64u

/* A limit: `max` is a word, not the largest number. */
static void put_limit(struct json_maker *m, const char *key, uint64_t n)
{
	json_put(m, key, n == ARBITER_UNLIMITED ? json_string("max") : json_number_new(n));
}

struct group {
	struct arbiter_group group;
	char name[64];
	pid_t pid;
};

struct groups {
	struct admin_request *req;
	struct group *groups;
	size_t n;
	bool failed;
};

/*
 * The root, users and sessions that the peer may see. The callback must not ask the arbiter
 * anything.
 */
static int groups_add(void *data, const struct arbiter_group_info *info)
{
	struct groups *all = data;
	struct group *grown;
	bool own = info->uid == all->req->peer->uid;

	if (info->group.kind == ARBITER_CGROUP || info->group.kind == ARBITER_EXE)
		return 0;
	if (info->group.kind != ARBITER_ROOT && !own && !all->req->privileged)
		return 0;
	grown = reallocarray(all->groups, all->n + 1, sizeof(*grown));
	if (!grown) {
		all->failed = true;
		return 1;
	}
	all->groups = grown;
	grown[all->n] = (struct group){ .group = info->group, .pid = info->pid };
	snprintf(grown[all->n].name, sizeof(grown[all->n].name), "%s", info->name);
	all->n++;
	return 0;
}

static int groups_collect(struct admin_request *req, struct groups *out)
{
	*out = (struct groups){ .req = req };
	arbiter_for_each(scheduler_arbiter(req->s), groups_add, out);
	if (!out->failed)
		return 0;
	free(out->groups);
	return err_origin(-ENOMEM);
}

/* Tiers that this machine has not are left out of the answers. */
static bool tier_exists(const struct scheduler_stats *stats, uint32_t tier)
{
	return tier == ARBITER_VRAM || (tier == ARBITER_HOST && stats->host_budget_bytes > 0) ||
	       (tier == ARBITER_DISK && stats->swap_size_bytes > 0);
}

static void put_limits(struct json_maker *m, const struct arbiter_limits *limits)
{
	json_t *set = json_array();
	uint32_t key;

	for (key = 0; key < ARBITER_N_KEYS; key++) {
		put_limit(m, limits_key_name(key), limits->value[key]);
		if (limits->set & 1u << key)
			json_array_append_new(set, json_string(limits_key_name(key)));
	}
	json_put(m, "set", set);
}

static json_t *limit_row(struct admin_request *req, const struct group *group, uint32_t tier)
{
	uint32_t dev = scheduler_device(req->s);
	struct arbiter_usage usage;
	struct json_maker m;

	if (arbiter_usage(scheduler_arbiter(req->s), &group->group, dev, tier, &usage) < 0)
		return NULL;
	m = json_maker_new();
	json_put_text(&m, "subject", group->name);
	json_put_number(&m, "device", dev);
	json_put_text(&m, "tier", limits_tier_name(tier));
	json_put_number(&m, "usage_bytes", usage.usage);
	json_put_number(&m, "peak_bytes", usage.peak);
	json_put_number(&m, "refused", usage.refused);
	put_limits(&m, &usage.limits);
	return json_maker_take(&m);
}

static json_t *limit_row_default(struct admin_request *req, uint32_t tier)
{
	const struct arbiter_subject subject = { .kind = ARBITER_DEFAULT };
	uint32_t dev = scheduler_device(req->s);
	struct arbiter_limits limits;
	struct json_maker m;

	if (arbiter_limit_get(scheduler_arbiter(req->s), &subject, dev, tier, &limits) < 0)
		return NULL;
	m = json_maker_new();
	json_put_text(&m, "subject", "default");
	json_put_number(&m, "device", dev);
	json_put_text(&m, "tier", limits_tier_name(tier));
	put_limits(&m, &limits);
	return json_maker_take(&m);
}

/* The subject of a request: the ones that limits work for in this version. */
static int subject_parse(struct admin_request *req, const char *text, struct arbiter_subject *out)
{
	const char *name;

	if (limits_subject_parse(text, out, &name) < 0)
		return admin_fail(req, -EINVAL, "'%.60s' is not user:UID, session:ID or default",
				  text);
	if (name)
		return admin_fail(req, -EINVAL,
				  "'%.60s': users are numbers here, names are for vramctl", text);
	if (out->kind == ARBITER_CGROUP || out->kind == ARBITER_EXE)
		return admin_fail(req, -EOPNOTSUPP,
				  "'%.60s': limits are for users and sessions in this version",
				  text);
	return 0;
}

/* Whether the peer asked for this group (or for all). */
static bool subject_matches(const struct arbiter_subject *subject, const struct group *group)
{
	return !subject || (subject->kind == group->group.kind && subject->id == group->group.key);
}

int admin_limit_show(struct admin_request *req, struct json_maker *m)
{
	const char *text = json_string_value(json_object_get(req->json, "subject"));
	struct arbiter_subject subject, *wanted = text ? &subject : NULL;
	_cleanup_json_ json_t *list = json_array();
	struct scheduler_stats stats;
	struct groups all;
	uint32_t tier;
	size_t i;
	int r = 0;

	if (!list)
		return err_origin(-ENOMEM);
	if (wanted)
		r = subject_parse(req, text, &subject);
	if (r == 0)
		r = groups_collect(req, &all);
	if (r < 0)
		return err_trace(r);
	scheduler_stats(req->s, &stats);
	for (i = 0; i < all.n && r == 0; i++) {
		for (tier = 0; tier < ARBITER_N_TIERS && r == 0; tier++) {
			if (tier_exists(&stats, tier) && subject_matches(wanted, &all.groups[i]))
				r = json_append(list, limit_row(req, &all.groups[i], tier));
		}
	}
	free(all.groups);
	for (tier = 0; tier < ARBITER_N_TIERS && r == 0; tier++) {
		if (tier_exists(&stats, tier) && (!wanted || wanted->kind == ARBITER_DEFAULT))
			r = json_append(list, limit_row_default(req, tier));
	}
	if (r < 0)
		return err_trace(r);
	if (json_array_size(list) == 0)
		return admin_fail(req, -ENOENT, "'%.60s' has no sessions and no limits",
				  text ? text : "");
	json_put(m, "limits", json_incref(list));
	return 0;
}

static int settings_parse(struct admin_request *req, const json_t *list, struct limits_setting *out,
			  size_t *out_n)
{
	const char *text;
	size_t i;
	int r;

	*out_n = json_array_size(list);
	if (*out_n == 0 || *out_n > ADMIN_SETTINGS_MAX)
		return admin_fail(req, -EINVAL, "one to %u settings, like vram.max=4G, are needed",
				  ADMIN_SETTINGS_MAX);
	for (i = 0; i < *out_n; i++) {
		text = json_string_value(json_array_get(list, i));
		r = text ? limits_setting_parse(text, &out[i]) : -EINVAL;
		if (r == -ERANGE)
			return admin_fail(req, r, "'%.60s': the number is out of range", text);
		if (r < 0)
			return admin_fail(
				req, r,
				"'%.60s' is not TIER.KEY=VALUE, like vram.max=4G or vram.low=default",
				text ? text : "");
		if (out[i].dev != ARBITER_ALL_DEVICES && out[i].dev != scheduler_device(req->s))
			return admin_fail(req, -ENOENT, "'%.60s': there is no such device", text);
	}
	return 0;
}

int admin_limit_set(struct admin_request *req, struct json_maker *m)
{
	const char *text = json_string_value(json_object_get(req->json, "subject"));
	const json_t *list = json_object_get(req->json, "settings");
	struct limits_setting settings[ADMIN_SETTINGS_MAX], *set;
	struct arbiter *a = scheduler_arbiter(req->s);
	struct arbiter_subject subject;
	size_t i, n = 0;
	int r;

	if (!text)
		return admin_fail(req, -EINVAL,
				  "a subject is needed: user:UID, session:ID or default");
	r = subject_parse(req, text, &subject);
	if (r == 0)
		r = settings_parse(req, list, settings, &n);
	for (i = 0; i < n && r == 0; i++) {
		set = &settings[i];
		r = set->clear ? arbiter_limit_clear(a, &subject, set->dev, set->tier, set->key) :
				 arbiter_limit_set(a, &subject, set->dev, set->tier, set->key,
						   set->value);
		if (r == -ENOENT)
			r = admin_fail(req, r, "there is no %.60s", text);
		else if (r < 0)
			r = admin_fail(req, r,
				       "'%.60s' of %.60s cannot be set: %s (those before it are)",
				       json_string_value(json_array_get(list, i)), text,
				       err_text(r));
		else
			log_info("limit of %.60s by user %u: %.60s", text, req->peer->uid,
				 json_string_value(json_array_get(list, i)));
	}
	scheduler_limits_changed(req->s);
	if (r < 0)
		return err_trace(r);
	json_put_number(m, "settings", n);
	return 0;
}
