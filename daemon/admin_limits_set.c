// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changing limits: limit_set, limit_reset, reload.
 *
 * root and the daemon's own user may change all of them. Everybody else may lower what their own sessions
 * have, and nothing else: not undo it either, or what an administrator had set would be gone.
 */
#define _GNU_SOURCE 1
#include "daemon/admin_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "daemon/admin.h"
#include "daemon/arbiter.h"
#include "daemon/limits_live.h"
#include "daemon/log.h"
#include "daemon/log_refusal.h"
#include "daemon/scheduler.h"

/* Settings in one request. */
#define ADMIN_SETTINGS_MAX 64u
/* Settings in force that one user, and that all users together, have made; of LIMITS_RULES_MAX. */
#define ADMIN_RULES_USER  256u
#define ADMIN_RULES_USERS 2048u

static admin_reload_fn *reload_fn;
static void *reload_ctx;

void admin_set_reload(admin_reload_fn *fn, void *ctx)
{
	reload_fn = fn;
	reload_ctx = ctx;
}

/* ---- what was asked ------------------------------------------------------------------ */

struct change {
	const char *text; /* of the subject */
	struct limits_subject who;
	struct limits_setting settings[ADMIN_SETTINGS_MAX];
	size_t n;
	bool save;
};

static int read_setting(struct admin_request *req, const char *text, bool named,
			struct limits_setting *out)
{
	char name[LIMITS_SETTING_MAX], why[LIMITS_REASON_MAX];
	const char *equal = text ? strchr(text, '=') : NULL;
	size_t len;
	int r;

	if (!text || (!equal && !named))
		return admin_fail(
			req, -EINVAL,
			"'%.60s' is not TIER.KEY=VALUE, like vram.max=4G or vram.low=25%%",
			text ? text : "");
	if (equal && named)
		return admin_fail(req, -EINVAL, "'%.60s': here a key like vram.max has no value",
				  text);
	len = equal ? (size_t)(equal - text) : strlen(text);
	snprintf(name, sizeof(name), "%.*s", (int)(len < sizeof(name) ? len : sizeof(name)), text);
	r = len < sizeof(name) ? limits_name_parse(name, out) : -EINVAL;
	if (r < 0)
		return admin_fail(
			req, -EINVAL,
			"there is no key '%.40s': TIER.KEY, where TIER is vram, host or disk, "
			"and KEY min, low, high, max or weight",
			name);
	if (out->dev != ARBITER_ALL_DEVICES && out->dev != scheduler_device(req->s))
		return admin_fail(req, -ENOENT,
				  "'%.60s': there is no device %u; a vramd has one device, dev%u",
				  text, out->dev, scheduler_device(req->s));
	out->dev = ARBITER_ALL_DEVICES;
	if (!equal)
		return 0;
	r = limits_value_parse(equal + 1, out);
	if (r < 0)
		return admin_fail(req, r, "%.40s: %s", name,
				  limits_value_reason(out, equal + 1, r, why));
	return 0;
}

static int read_change(struct admin_request *req, struct change *out, bool named)
{
	const json_t *list = json_object_get(req->json, "settings");
	const json_t *save = json_object_get(req->json, "save");
	char reason[LIMITS_REASON_MAX];
	size_t i;
	int r;

	out->text = json_string_value(json_object_get(req->json, "subject"));
	out->save = json_is_true(save);
	if (!out->text)
		return admin_fail(req, -EINVAL,
				  "a subject is needed: user:NAME, group:NAME, cgroup:/PATH, "
				  "exe:/PATH, session:ID or default");
	if (save && !json_is_boolean(save))
		return admin_fail(req, -EINVAL, "save is true or false");
	r = admin_limit_subject(req, out->text, &out->who, reason);
	/* What was set for a name that is gone can still be taken back. */
	if (r == -ENOENT && named)
		r = 0;
	if (r < 0)
		return admin_fail(req, r, "%s", reason);
	if (out->save && out->who.subject.kind == ARBITER_SESSION)
		return admin_fail(req, -EINVAL,
				  "'%.60s': a session ends, so nothing is saved for it", out->text);
	out->n = json_array_size(list);
	if ((list && !json_is_array(list)) || out->n > ADMIN_SETTINGS_MAX || (!out->n && !named))
		return admin_fail(req, -EINVAL, "one to %u settings, like vram.max=4G, are needed",
				  ADMIN_SETTINGS_MAX);
	for (i = 0; i < out->n; i++) {
		r = read_setting(req, json_string_value(json_array_get(list, i)), named,
				 &out->settings[i]);
		if (r < 0)
			return err_trace(r);
	}
	return 0;
}

/* ---- who may ------------------------------------------------------------------------- */

static bool is_own_session(const struct admin_request *req, uint64_t id)
{
	const struct scheduler_session *ss;

	list_for_each(ss, scheduler_sessions(req->s), node)
		if (ss->id == id)
			return req->privileged || ss->uid == req->peer->uid;
	return false;
}

static uint64_t capacity(const struct admin_request *req, uint32_t tier)
{
	const struct arbiter_subject root = { .kind = ARBITER_ROOT };
	struct arbiter_limits limits;

	if (arbiter_limit_get(scheduler_arbiter(req->s), &root, scheduler_device(req->s), tier,
			      &limits) < 0)
		return 0;
	return limits.value[ARBITER_MAX];
}

/* Others than root may fill a part of the table alone, and none of them all of that. */
static int check_room(struct admin_request *req, const struct change *change)
{
	struct limits_live *l = scheduler_limits(req->s);

	if (limits_live_set_by(l, req->peer->uid) + change->n > ADMIN_RULES_USER ||
	    limits_live_set_by(l, UINT32_MAX) + change->n > ADMIN_RULES_USERS)
		return admin_fail(
			req, -EDQUOT,
			"too many limits are set by users already: you may have %u, all users "
			"together %u; those of a session end with it",
			ADMIN_RULES_USER, ADMIN_RULES_USERS);
	return 0;
}

/*
 * What is lower now stays so when the device's budget changes: bytes below an administrator's bytes, a percentage below a
 * percentage of theirs.
 */
static int keep_low(struct admin_request *req, const struct change *change,
		    struct limits_setting *set, uint64_t value)
{
	const struct limits_rule *rule;
	uint64_t before;

	limits_live_find(scheduler_limits(req->s), &change->who.subject, set->tier, set->key,
			 &before, &rule, NULL);
	if (rule && rule->set.percent && (!set->percent || set->value > rule->set.value))
		return admin_fail(req, -EPERM,
				  "%s.%s of %.60s is set in percent: you can lower it to a smaller "
				  "percentage",
				  limits_tier_name(set->tier), limits_key_name(set->key),
				  change->text);
	if (set->percent && rule && !rule->set.percent) {
		set->percent = false;
		set->value = value;
	}
	return 0;
}

/* Every key means more for its session the larger it is. */
static int check_tightens(struct admin_request *req, struct change *change)
{
	struct arbiter_limits now;
	uint64_t value;
	size_t i;
	int r;

	for (i = 0; i < change->n; i++) {
		struct limits_setting *set = &change->settings[i];

		if (arbiter_limit_get(scheduler_arbiter(req->s), &change->who.subject,
				      scheduler_device(req->s), set->tier, &now) < 0)
			return admin_fail(req, -ENOENT, "there is no %.60s", change->text);
		value = limits_value_bytes(set, capacity(req, set->tier));
		if (set->clear || value > now.value[set->key])
			return admin_fail(
				req, -EPERM,
				"%s.%s of %.60s: you can lower limits of your own sessions; "
				"raising them and taking them back is for root",
				limits_tier_name(set->tier), limits_key_name(set->key),
				change->text);
		r = keep_low(req, change, set, value);
		if (r < 0)
			return err_trace(r);
	}
	return 0;
}

static int check_may_set(struct admin_request *req, struct change *change)
{
	const struct arbiter_subject *s = &change->who.subject;
	int r;

	if (s->kind == ARBITER_SESSION && !is_own_session(req, s->id))
		return req->privileged ?
			       admin_fail(req, -ENOENT, "there is no %.60s", change->text) :
			       admin_fail(
				       req, -EPERM,
				       "there is no %.60s of yours; limits of others' are for root",
				       change->text);
	if (req->privileged)
		return 0;
	if (s->kind != ARBITER_SESSION)
		return admin_fail(
			req, -EPERM,
			"limits of %.60s are for root; your own sessions' (session:ID) can "
			"be lowered",
			change->text);
	r = check_tightens(req, change);
	return r < 0 ? err_trace(r) : err_trace(check_room(req, change));
}

/* ---- how far it is ------------------------------------------------------------------- */

static json_t *over_row(const char *subject, uint32_t tier, uint32_t key, uint64_t usage,
			uint64_t limit, uint64_t over)
{
	struct json_maker m = json_maker_new();

	json_put_text(&m, "subject", subject);
	json_put_text(&m, "tier", limits_tier_name(tier));
	json_put_text(&m, "key", limits_key_name(key));
	json_put_number(&m, "usage_bytes", usage);
	json_put_number(&m, "limit_bytes", limit);
	json_put_number(&m, "over_bytes", over);
	return json_maker_take(&m);
}

static int over_group(struct admin_request *req, json_t *list, const struct arbiter_group *group,
		      const struct limits_setting *set)
{
	struct arbiter *a = scheduler_arbiter(req->s);
	struct arbiter_usage usage;
	char name[4200];
	uint64_t over;

	if (set->key != ARBITER_MAX && set->key != ARBITER_HIGH)
		return 0;
	if (arbiter_usage(a, group, scheduler_device(req->s), set->tier, &usage) < 0 ||
	    arbiter_group_name(a, group, name, sizeof(name)) < 0)
		return 0;
	over = set->key == ARBITER_MAX ? usage.over_max : usage.over_high;
	if (!over)
		return 0;
	return err_trace(json_append(list, over_row(name, set->tier, set->key, usage.usage,
						    usage.limits.value[set->key], over)));
}

/* Every user that has sessions, for rules of groups and of everybody. */
static int over_users(struct admin_request *req, json_t *list, const struct change *change,
		      const struct limits_setting *set)
{
	const struct scheduler_session *ss, *before;
	const struct limits_rule *rule;
	uint64_t value;
	int r = 0;

	list_for_each(ss, scheduler_sessions(req->s), node) {
		const struct arbiter_group user = { .kind = ARBITER_USER, .key = ss->uid };
		const struct arbiter_subject subject = { .kind = ARBITER_USER, .id = ss->uid };

		list_for_each(before, scheduler_sessions(req->s), node)
			if (before == ss || before->uid == ss->uid)
				break;
		if (before != ss)
			continue;
		limits_live_find(scheduler_limits(req->s), &subject, set->tier, set->key, &value,
				 &rule, NULL);
		if (rule && limits_rule_is_for(rule, &change->who.subject, change->who.name))
			r = over_group(req, list, &user, set);
		if (r < 0)
			return err_trace(r);
	}
	return 0;
}

static int put_over(struct admin_request *req, struct json_maker *m, const struct change *change)
{
	const struct arbiter_subject *s = &change->who.subject;
	_cleanup_json_ json_t *list = json_array();
	struct arbiter_group group;
	size_t i;
	int r = list ? 0 : err_origin(-ENOMEM);

	for (i = 0; i < change->n && r == 0; i++) {
		if (s->kind == LIMITS_GROUP || s->kind == ARBITER_DEFAULT)
			r = over_users(req, list, change, &change->settings[i]);
		else if (arbiter_find(scheduler_arbiter(req->s), s, &group) == 0)
			r = over_group(req, list, &group, &change->settings[i]);
	}
	if (r < 0)
		return err_trace(r);
	json_put(m, "over", json_incref(list));
	return 0;
}

/* ---- the commands -------------------------------------------------------------------- */

static void log_change(const struct admin_request *req, const struct change *change,
		       const char *what, const char *setting)
{
	const struct log_field fields[] = {
		LOG_ID(LIMIT_CHANGED),
		LOG_TEXT("VRAM_SUBJECT", change->text),
		LOG_TEXT("VRAM_KEY", setting),
		LOG_NUMBER("VRAM_UID", req->peer->uid),
	};
	char text[LOG_LINE_MAX];

	snprintf(text, sizeof(text), "limit of %.120s %s by user %u: %.60s%s", change->text, what,
		 req->peer->uid, setting, change->save ? ", saved" : "");
	log_done(req->peer->uid, fields, sizeof(fields) / sizeof(fields[0]), text);
}

static void put_saved(struct admin_request *req, struct json_maker *m, const struct change *change)
{
	char path[4608];

	if (!change->save)
		return;
	limits_live_saved_path(scheduler_limits(req->s), path, sizeof(path));
	json_put_text(m, "saved", path);
}

int admin_limit_set(struct admin_request *req, struct json_maker *m)
{
	char reason[LIMITS_REASON_MAX], shadow[LIMITS_TEXT_MAX];
	const json_t *list = json_object_get(req->json, "settings");
	struct change change;
	size_t i;
	int r;

	r = read_change(req, &change, false);
	if (r == 0)
		r = check_may_set(req, &change);
	if (r == 0 && change.save && !req->privileged)
		r = admin_fail(req, -EPERM, "saving limits is for root");
	if (r < 0)
		return err_trace(r);
	r = limits_live_set(scheduler_limits(req->s), &change.who, change.settings, change.n,
			    req->peer->uid, change.save, shadow, reason);
	if (r < 0)
		return admin_fail(req, r, "%s", reason);
	for (i = 0; i < change.n; i++)
		log_change(req, &change, "set", json_string_value(json_array_get(list, i)));
	scheduler_limits_changed(req->s);
	json_put_number(m, "settings", change.n);
	put_saved(req, m, &change);
	if (*shadow)
		json_put_text(m, "shadowed_by", shadow);
	return err_trace(put_over(req, m, &change));
}

int admin_limit_reset(struct admin_request *req, struct json_maker *m)
{
	const json_t *list = json_object_get(req->json, "settings");
	char reason[LIMITS_REASON_MAX];
	struct change change;
	size_t i, n = 0;
	int r;

	r = read_change(req, &change, true);
	if (r < 0)
		return err_trace(r);
	r = limits_live_reset(scheduler_limits(req->s), &change.who, change.settings, change.n,
			      change.save, &n, reason);
	if (r < 0)
		return admin_fail(req, r, "%s", reason);
	for (i = 0; i < change.n; i++)
		log_change(req, &change, "taken back", json_string_value(json_array_get(list, i)));
	if (!change.n)
		log_change(req, &change, "taken back", "all");
	scheduler_limits_changed(req->s);
	json_put_number(m, "settings", n);
	put_saved(req, m, &change);
	return 0;
}

int admin_reload(struct admin_request *req, struct json_maker *m)
{
	size_t n_files = 0, n_rules = 0;
	char reason[LIMITS_REASON_MAX];
	int r;

	if (!reload_fn)
		return admin_fail(req, -EOPNOTSUPP, "this vramd cannot reload");
	r = reload_fn(reload_ctx, &n_files, &n_rules, reason, sizeof(reason));
	if (r < 0)
		return admin_fail(req, r, "%s", reason);
	json_put_number(m, "files", n_files);
	json_put_number(m, "rules", n_rules);
	return 0;
}
