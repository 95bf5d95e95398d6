// SPDX-License-Identifier: GPL-2.0-only
/* What administrators change at run time: setting, taking back, saving. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "daemon/limits_live_private.h"
#include "daemon/limits_store.h"
#include "daemon/names.h"

int limits_live_subject(struct limits_live *l, const char *text, struct limits_subject *out,
			char reason[LIMITS_REASON_MAX])
{
	bool group;
	int r;

	r = limits_subject_parse(text, &out->subject, &out->name);
	if (r < 0) {
		limits_subject_reason(text, r, reason);
		return err_trace(r);
	}
	if (!out->name)
		return 0;
	group = out->subject.kind == LIMITS_GROUP;
	r = names_id(l->p.names, group ? NAMES_GROUP : NAMES_USER, out->name, LIVE_WAIT_ASK_NS,
		     &out->subject.id);
	if (r == -ENOENT)
		snprintf(reason, LIMITS_REASON_MAX, "there is no %s '%.60s'",
			 group ? "group" : "user", out->name);
	else if (r < 0)
		snprintf(
			reason, LIMITS_REASON_MAX,
			"no name service has said yet who '%.60s' is: try again, or give the number",
			out->name);
	if (r < 0)
		out->subject.id = LIMITS_NO_ID;
	return r == 0 || r == -ENOENT ? r : err_origin(-EAGAIN);
}

static int copy_table(struct limits_rules *out, const struct limits_rules *from)
{
	int r;

	limits_rules_init(out);
	r = limits_rules_append(out, from);
	if (r < 0)
		limits_rules_deinit(out);
	return err_trace(r);
}

/* Puts settings into a table, in the place of what it says about the same. */
static int put_settings(struct limits_rules *t, const struct limits_subject *who,
			const struct limits_setting *settings, size_t n, uint32_t file, uint32_t by)
{
	struct limits_rule rule = { .file = file, .by = by };
	size_t i;
	int r = 0;

	for (i = 0; i < n && r == 0; i++) {
		limits_rules_remove(t, &who->subject, who->name, &settings[i], LIMITS_RUN_TIME);
		if (settings[i].clear)
			continue;
		rule.set = settings[i];
		rule.known = true;
		rule.id = who->subject.id;
		r = limits_rules_add(t, &who->subject, who->name, &rule);
	}
	return err_trace(r);
}

/* The files' table with other rules in the place of one file's, which has the label of saved's file 0. */
static int replace_file(const struct limits_rules *files, const struct limits_rules *saved,
			struct limits_rules *out)
{
	const char *label = saved->files[0];
	struct limits_rules one;
	bool done = false;
	size_t i, k;
	int r = 0;

	limits_rules_init(out);
	for (i = 0; i < files->n_files && r >= 0; i++) {
		if (!done && strcmp(files->files[i], label) >= 0) {
			r = limits_rules_append(out, saved);
			done = true;
		}
		if (!strcmp(files->files[i], label) || r < 0)
			continue;
		r = limits_rules_file(out, files->files[i]);
		/* The rules of this file alone. */
		one = (struct limits_rules){ .rules = files->rules, .n = 0 };
		for (k = 0; k < files->n && r >= 0; k++) {
			struct limits_rule rule = files->rules[k];

			if (rule.file != i)
				continue;
			rule.file = LIMITS_RUN_TIME; /* its number there is another */
			one.rules = &rule;
			one.n = 1;
			r = limits_rules_append(out, &one);
			if (r == 0)
				out->rules[out->n - 1].file = (uint32_t)out->n_files - 1;
		}
	}
	if (r >= 0 && !done)
		r = limits_rules_append(out, saved);
	if (r < 0)
		limits_rules_deinit(out);
	return r < 0 ? err_trace(r) : 0;
}

/* The saved rules as they are on the disk, names looked up as far as they are known. */
static int read_saved(struct limits_live *l, struct limits_rules *out, char *reason)
{
	int r = limits_store_read_saved(l->p.dir, out, reason);

	if (r == 0)
		limits_live_resolve(l, out, LIVE_WAIT_ASK_NS);
	return err_trace(r);
}

/* Lines are told to administrators: number the saved rules as the file has them. */
static int save(struct limits_live *l, const struct limits_rules *saved, char *reason)
{
	struct limits_rules again, files;
	int r;

	r = limits_store_save(l->p.dir, saved, reason);
	if (r == 0)
		r = read_saved(l, &again, reason);
	if (r < 0)
		return err_trace(r);
	r = replace_file(&l->files, &again, &files);
	limits_rules_deinit(&again);
	if (r < 0) {
		snprintf(reason, LIMITS_REASON_MAX, "saved, but not in force: %s", err_text(r));
		return err_trace(r);
	}
	limits_rules_deinit(&l->files);
	l->files = files;
	return 0;
}

/* Run-time settings that the files have now need not be kept beside them. */
static void drop_saved(struct limits_live *l, const struct limits_subject *who,
		       const struct limits_setting *settings, size_t n, char *shadow)
{
	const struct arbiter_subject *s = &who->subject;
	const struct limits_rule *rule;
	char label[512];
	size_t i;

	limits_store_label(l->p.dir, LIMITS_SAVED, label, sizeof(label));
	for (i = 0; i < n; i++) {
		rule = limits_rules_at(&l->files, s->kind, s->id, s->path, settings[i].tier,
				       settings[i].key);
		if (rule && strcmp(l->files.files[rule->file], label) != 0)
			limits_rule_source(&l->files, rule, shadow);
		else
			limits_rules_remove(&l->run_time, s, who->name, &settings[i],
					    LIMITS_RUN_TIME);
	}
}

/* Back to what was, after something failed. */
static void restore(struct limits_live *l, struct limits_rules *old)
{
	limits_rules_deinit(&l->run_time);
	l->run_time = *old;
	limits_live_apply(l, NULL);
}

int limits_live_set(struct limits_live *l, const struct limits_subject *who,
		    const struct limits_setting *settings, size_t n, uint32_t by, bool want_save,
		    char *out_shadow, char reason[LIMITS_REASON_MAX])
{
	struct limits_rules old, saved;
	int r;

	*out_shadow = '\0';
	snprintf(reason, LIMITS_REASON_MAX, "out of memory");
	limits_rules_init(&saved);
	r = copy_table(&old, &l->run_time);
	if (r < 0)
		return err_trace(r);
	if (want_save && !limits_file_can_say(&who->subject, who->name)) {
		snprintf(reason, LIMITS_REASON_MAX,
			 "this subject cannot be saved: in a file it would read as another one");
		r = err_origin(-EINVAL);
	}
	if (r == 0 && want_save)
		r = read_saved(l, &saved, reason);
	if (r == 0)
		r = put_settings(&l->run_time, who, settings, n, LIMITS_RUN_TIME, by);
	if (r == -E2BIG)
		snprintf(reason, LIMITS_REASON_MAX, "there are %u rules already", LIMITS_RULES_MAX);
	if (r == 0) {
		r = limits_live_apply(l, NULL);
		if (r < 0)
			snprintf(reason, LIMITS_REASON_MAX, "cannot be set: %s", err_text(r));
	}
	if (r == 0 && want_save) {
		r = put_settings(&saved, who, settings, n, 0, by);
		if (r == 0)
			r = save(l, &saved, reason);
	}
	limits_rules_deinit(&saved);
	if (r < 0) {
		restore(l, &old);
		return err_trace(r);
	}
	limits_rules_deinit(&old);
	if (want_save) {
		drop_saved(l, who, settings, n, out_shadow);
		limits_live_apply(l, NULL);
	}
	return 0;
}

/* Return: how many rules went. */
static size_t remove_settings(struct limits_rules *t, const struct limits_subject *who,
			      const struct limits_setting *settings, size_t n)
{
	size_t i, removed = 0;

	if (!n)
		return limits_rules_remove(t, &who->subject, who->name, NULL, LIMITS_RUN_TIME);
	for (i = 0; i < n; i++)
		removed += limits_rules_remove(t, &who->subject, who->name, &settings[i],
					       LIMITS_RUN_TIME);
	return removed;
}

int limits_live_reset(struct limits_live *l, const struct limits_subject *who,
		      const struct limits_setting *settings, size_t n, bool want_save,
		      size_t *out_n, char reason[LIMITS_REASON_MAX])
{
	struct limits_rules old, saved;
	size_t removed, removed_saved = 0;
	int r;

	snprintf(reason, LIMITS_REASON_MAX, "out of memory");
	limits_rules_init(&saved);
	r = copy_table(&old, &l->run_time);
	if (r < 0)
		return err_trace(r);
	removed = remove_settings(&l->run_time, who, settings, n);
	if (want_save) {
		r = read_saved(l, &saved, reason);
		if (r == 0)
			removed_saved = remove_settings(&saved, who, settings, n);
		if (r == 0 && removed_saved)
			r = save(l, &saved, reason);
	}
	if (r == 0) {
		r = limits_live_apply(l, NULL);
		if (r < 0)
			snprintf(reason, LIMITS_REASON_MAX, "cannot be taken back: %s",
				 err_text(r));
	}
	limits_rules_deinit(&saved);
	if (r < 0) {
		restore(l, &old);
		return err_trace(r);
	}
	limits_rules_deinit(&old);
	*out_n = removed + removed_saved;
	return 0;
}

size_t limits_live_set_by(const struct limits_live *l, uint32_t uid)
{
	const struct limits_rule *rule;
	size_t n = 0;

	for (rule = l->run_time.rules; rule < l->run_time.rules + l->run_time.n; rule++)
		n += uid == UINT32_MAX ? rule->by != 0 && rule->by != geteuid() : rule->by == uid;
	return n;
}

void limits_live_saved_path(const struct limits_live *l, char *buf, size_t size)
{
	snprintf(buf, size, "%s/%s", l->p.dir, LIMITS_SAVED);
}
