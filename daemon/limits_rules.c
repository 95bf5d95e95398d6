// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/limits_rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define INDEX_MIN 64u

void limits_rules_init(struct limits_rules *t)
{
	*t = (struct limits_rules){ 0 };
}

void limits_rules_deinit(struct limits_rules *t)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		free(t->rules[i].name);
	for (i = 0; i < t->n_files; i++)
		free(t->files[i]);
	free(t->rules);
	free(t->files);
	free(t->index);
	limits_rules_init(t);
}

int limits_rules_file(struct limits_rules *t, const char *label)
{
	char **files = reallocarray(t->files, t->n_files + 1, sizeof(*files));

	if (!files)
		return err_origin(-ENOMEM);
	t->files = files;
	files[t->n_files] = strdup(label);
	if (!files[t->n_files])
		return err_origin(-ENOMEM);
	return (int)t->n_files++;
}

/* ---- the index --------------------------------------------------------------------- */

static void index_drop(struct limits_rules *t)
{
	free(t->index);
	t->index = NULL;
	t->index_size = 0;
}

static bool has_path(uint32_t kind)
{
	return kind == ARBITER_CGROUP || kind == ARBITER_EXE;
}

static uint64_t hash(uint32_t kind, uint64_t id, const char *path, uint32_t tier, uint32_t key)
{
	uint64_t h = 0xcbf29ce484222325u ^ (kind << 8 | tier << 4 | key);

	h = (h ^ id) * 0x9e3779b97f4a7c15u;
	for (; path && *path; path++)
		h = (h ^ (unsigned char)*path) * 0x100000001b3u;
	return h ^ (h >> 32);
}

static bool is_at(const struct limits_rule *rule, uint32_t kind, uint64_t id, const char *path,
		  uint32_t tier, uint32_t key)
{
	if (rule->kind != kind || rule->set.tier != tier || rule->set.key != key || !rule->known)
		return false;
	return has_path(kind) ? !strcmp(rule->name, path) : rule->id == id;
}

/* The place of these in the index: taken by a rule about the same, or free. */
static uint32_t *index_at(const struct limits_rules *t, uint32_t kind, uint64_t id,
			  const char *path, uint32_t tier, uint32_t key)
{
	size_t i = hash(kind, id, path, tier, key) & (t->index_size - 1);

	while (t->index[i] && !is_at(&t->rules[t->index[i] - 1], kind, id, path, tier, key))
		i = (i + 1) & (t->index_size - 1);
	return &t->index[i];
}

static void index_put(struct limits_rules *t, size_t i)
{
	const struct limits_rule *rule = &t->rules[i];
	const char *path = has_path(rule->kind) ? rule->name : NULL;

	if (rule->known)
		*index_at(t, rule->kind, rule->id, path, rule->set.tier, rule->set.key) =
			(uint32_t)i + 1;
}

static void index_build(struct limits_rules *t)
{
	size_t size = INDEX_MIN, i;

	while (size < 2 * t->n)
		size *= 2;
	t->index = calloc(size, sizeof(*t->index));
	if (!t->index)
		return; /* limits_rules_at() walks then */
	t->index_size = size;
	for (i = 0; i < t->n; i++)
		index_put(t, i);
}

/* ---- changing ---------------------------------------------------------------------- */

int limits_rules_add(struct limits_rules *t, const struct arbiter_subject *subject,
		     const char *name, const struct limits_rule *rule)
{
	const char *text = has_path(subject->kind) ? subject->path : name;
	struct limits_rule *at;

	if (t->n == LIMITS_RULES_MAX)
		return err_origin(-E2BIG);
	if (t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 16;
		struct limits_rule *grown = reallocarray(t->rules, cap, sizeof(*grown));

		if (!grown)
			return err_origin(-ENOMEM);
		t->rules = grown;
		t->cap = cap;
	}
	at = &t->rules[t->n];
	*at = *rule;
	at->kind = subject->kind;
	at->id = has_path(subject->kind) ? 0 : subject->id;
	at->known = !name || rule->known;
	if (name && rule->known)
		at->id = rule->id;
	at->name = NULL;
	if (text) {
		at->name = strdup(text);
		if (!at->name)
			return err_origin(-ENOMEM);
	}
	t->n++;
	index_drop(t);
	return 0;
}

int limits_rules_append(struct limits_rules *t, const struct limits_rules *from)
{
	size_t i, first = t->n_files;
	int r = 0;

	for (i = 0; i < from->n_files && r >= 0; i++)
		r = limits_rules_file(t, from->files[i]);
	for (i = 0; i < from->n && r >= 0; i++) {
		struct limits_rule rule = from->rules[i];
		struct arbiter_subject subject = { .kind = rule.kind, .id = rule.id };

		if (has_path(rule.kind))
			subject.path = rule.name;
		if (rule.file != LIMITS_RUN_TIME)
			rule.file += (uint32_t)first;
		r = limits_rules_add(t, &subject, has_path(rule.kind) ? NULL : rule.name, &rule);
	}
	return r < 0 ? err_trace(r) : 0;
}

bool limits_rule_is_for(const struct limits_rule *rule, const struct arbiter_subject *subject,
			const char *name)
{
	if (rule->kind != subject->kind)
		return false;
	if (has_path(rule->kind))
		return !strcmp(rule->name, subject->path);
	if (rule->known && subject->id != LIMITS_NO_ID)
		return rule->id == subject->id;
	return name && rule->name && !strcmp(rule->name, name);
}

size_t limits_rules_remove(struct limits_rules *t, const struct arbiter_subject *subject,
			   const char *name, const struct limits_setting *only, uint32_t file)
{
	size_t i, kept = 0, removed;

	for (i = 0; i < t->n; i++) {
		struct limits_rule *rule = &t->rules[i];

		if (limits_rule_is_for(rule, subject, name) &&
		    (!only || (rule->set.tier == only->tier && rule->set.key == only->key)) &&
		    (file == LIMITS_RUN_TIME || rule->file == file))
			free(rule->name);
		else
			t->rules[kept++] = *rule;
	}
	removed = t->n - kept;
	t->n = kept;
	if (removed)
		index_drop(t);
	return removed;
}

bool limits_rules_resolve(struct limits_rules *t, uint32_t kind, const char *name, uint64_t id)
{
	bool changed = false, known = id != LIMITS_NO_ID;
	size_t i;

	for (i = 0; i < t->n; i++) {
		struct limits_rule *rule = &t->rules[i];

		if (rule->kind != kind || !rule->name || strcmp(rule->name, name) != 0)
			continue;
		if (rule->known == known && (!known || rule->id == id))
			continue;
		rule->known = known;
		rule->missing = false;
		rule->id = known ? id : 0;
		changed = true;
	}
	if (changed)
		index_drop(t);
	return changed;
}

/* ---- looking ----------------------------------------------------------------------- */

const struct limits_rule *limits_rules_at(struct limits_rules *t, uint32_t kind, uint64_t id,
					  const char *path, uint32_t tier, uint32_t key)
{
	uint32_t at;
	size_t i;

	if (!t->n)
		return NULL;
	if (has_path(kind))
		id = 0; /* the path says it all */
	if (!t->index)
		index_build(t);
	if (t->index) {
		at = *index_at(t, kind, id, path, tier, key);
		return at ? &t->rules[at - 1] : NULL;
	}
	for (i = t->n; i-- > 0;)
		if (is_at(&t->rules[i], kind, id, path, tier, key))
			return &t->rules[i];
	return NULL;
}

const struct limits_rule *limits_rules_find(struct limits_rules *run_time,
					    struct limits_rules *files,
					    const struct limits_who *who, uint32_t tier,
					    uint32_t key, const struct limits_rules **out_table)
{
	struct limits_rules *tables[2] = { run_time, files };
	const struct limits_rule *rule = NULL;
	/* The subject itself, its groups, default. */
	size_t n = who->kind == ARBITER_USER ? who->n_gids + 2 : 1, i, t;

	for (i = 0; i < n; i++) {
		for (t = 0; t < 2; t++) {
			if (i == 0)
				rule = limits_rules_at(tables[t], who->kind, who->id, who->path,
						       tier, key);
			else if (i <= who->n_gids)
				rule = limits_rules_at(tables[t], LIMITS_GROUP, who->gids[i - 1],
						       NULL, tier, key);
			else
				rule = limits_rules_at(tables[t], ARBITER_DEFAULT, 0, NULL, tier,
						       key);
			if (rule) {
				if (out_table)
					*out_table = tables[t];
				return rule;
			}
		}
	}
	return NULL;
}

/* ---- text -------------------------------------------------------------------------- */

static const char *prefix_of(uint32_t kind)
{
	switch (kind) {
	case ARBITER_USER:
		return "user:";
	case LIMITS_GROUP:
		return "group:";
	case ARBITER_CGROUP:
		return "cgroup:";
	case ARBITER_EXE:
		return "exe:";
	case ARBITER_SESSION:
		return "session:";
	default:
		return "default";
	}
}

const char *limits_rule_subject(const struct limits_rule *rule, char buf[LIMITS_TEXT_MAX])
{
	if (rule->kind == ARBITER_DEFAULT)
		snprintf(buf, LIMITS_TEXT_MAX, "default");
	else if (rule->name)
		snprintf(buf, LIMITS_TEXT_MAX, "%s%s", prefix_of(rule->kind), rule->name);
	else
		snprintf(buf, LIMITS_TEXT_MAX, "%s%" PRIu64, prefix_of(rule->kind), rule->id);
	return buf;
}

const char *limits_rule_source(const struct limits_rules *t, const struct limits_rule *rule,
			       char buf[LIMITS_TEXT_MAX])
{
	if (rule->file == LIMITS_RUN_TIME)
		snprintf(buf, LIMITS_TEXT_MAX, "set at run time by user %" PRIu32, rule->by);
	else
		snprintf(buf, LIMITS_TEXT_MAX, "%s:%" PRIu32, t->files[rule->file], rule->line);
	return buf;
}

const char *limits_rule_why(const struct limits_rules *t, const struct limits_rule *rule,
			    uint32_t kind, char buf[LIMITS_TEXT_MAX])
{
	size_t len;

	if (!rule) {
		snprintf(buf, LIMITS_TEXT_MAX, "built in");
		return buf;
	}
	if (rule->kind == kind)
		return limits_rule_source(t, rule, buf);
	limits_rule_subject(rule, buf);
	len = strlen(buf);
	if (rule->file == LIMITS_RUN_TIME)
		snprintf(buf + len, LIMITS_TEXT_MAX - len, ", set at run time by user %" PRIu32,
			 rule->by);
	else
		snprintf(buf + len, LIMITS_TEXT_MAX - len, " in %s:%" PRIu32, t->files[rule->file],
			 rule->line);
	return buf;
}
