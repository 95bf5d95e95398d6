// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/limits_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

struct reader {
	struct limits_rules *t;
	const char *path;
	uint32_t file;
	uint32_t line;
	char *reason;
	/* The section that the line is in. */
	bool in_section;
	struct arbiter_subject subject;
	const char *name;
	char section[LIMITS_LINE_MAX + 1]; /* subject.path and name point into it */
};

__attribute__((format(printf, 3, 4))) static int fail(const struct reader *rd, int r,
						      const char *format, ...)
{
	va_list args;
	int n;

	n = snprintf(rd->reason, LIMITS_REASON_MAX, "%.300s:%u: ", rd->path, rd->line);
	va_start(args, format);
	vsnprintf(rd->reason + n, LIMITS_REASON_MAX - (size_t)n, format, args);
	va_end(args);
	return err_origin(r);
}

/* ---- characters -------------------------------------------------------------------- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* How many bytes the character takes with which `s` begins; 0: none begins so. */
static size_t utf8_len(const unsigned char *s, size_t len)
{
	size_t n = *s < 0x80 ? 1 : *s >= 0xc2 && *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : 4, i;

	if ((*s >= 0x80 && *s < 0xc2) || *s > 0xf4 || n > len)
		return 0;
	for (i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* Longer than need be, halves of pairs, beyond the last. */
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static int check_characters(const struct reader *rd, const char *line, size_t len)
{
	const unsigned char *s = (const unsigned char *)line;
	size_t i, n;

	for (i = 0; i < len; i += n) {
		if ((s[i] < ' ' && s[i] != '\t') || s[i] == 0x7f)
			return fail(rd, -EILSEQ, "a control character (0x%02x) in column %zu", s[i],
				    i + 1);
		n = utf8_len(s + i, len - i);
		if (!n)
			return fail(rd, -EILSEQ, "byte 0x%02x in column %zu is not UTF-8", s[i],
				    i + 1);
	}
	return 0;
}

/* ---- lines ------------------------------------------------------------------------- */

/* Cuts blanks at both ends. Return: where it begins now. */
static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (end > text && is_blank(end[-1]))
		end--;
	*end = '\0';
	return text + strspn(text, " \t");
}

/* Nothing but blanks, or a comment. */
static bool is_empty(const char *text)
{
	text += strspn(text, " \t");
	return !*text || *text == '#' || *text == ';';
}

const char *limits_subject_reason(const char *text, int r, char *buf)
{
	if (r == -E2BIG)
		snprintf(buf, LIMITS_REASON_MAX, "'%.60s' is nested more than %d deep", text,
			 LIMITS_CGROUP_DEPTH);
	else if (!strcmp(text, "cgroup:/"))
		snprintf(buf, LIMITS_REASON_MAX,
			 "everything is in '%s': that limit is device.budget in vramd.conf", text);
	else if (!strncmp(text, "cgroup:", 7) || !strncmp(text, "exe:", 4))
		snprintf(buf, LIMITS_REASON_MAX, "'%.60s': " LIMITS_PATH_HELP, text);
	else
		snprintf(buf, LIMITS_REASON_MAX, "'%.60s' " LIMITS_SUBJECT_HELP, text);
	return buf;
}

const char *limits_value_reason(const struct limits_setting *setting, const char *text, int r,
				char *buf)
{
	bool weight = setting->key == ARBITER_WEIGHT;

	if (weight)
		snprintf(buf, LIMITS_REASON_MAX, "'%.60s' is no weight: a number from %d to %d",
			 text, ARBITER_WEIGHT_MIN, ARBITER_WEIGHT_MAX);
	else if (r == -ERANGE)
		snprintf(buf, LIMITS_REASON_MAX,
			 strchr(text, '%') ? "'%.60s' is out of range: at most 100%%" :
					     "'%.60s' is out of range: less than 16777216T, or max",
			 text);
	else
		snprintf(buf, LIMITS_REASON_MAX,
			 "'%.60s' is no size like 512M or 8G, no percentage like 50%%, and not max",
			 text);
	return buf;
}

static int read_section(struct reader *rd, const char *line)
{
	const char *end = strchr(line, ']');
	char why[LIMITS_REASON_MAX];
	char *name;
	int r;

	while (end && !is_empty(end + 1))
		end = strchr(end + 1, ']');
	if (!end)
		return fail(rd, -EINVAL, "a section's name ends with ']'");
	memcpy(rd->section, line + 1, (size_t)(end - line) - 1);
	rd->section[end - line - 1] = '\0';
	name = trim(rd->section);
	r = limits_subject_parse(name, &rd->subject, &rd->name);
	if (r < 0)
		return fail(rd, r, "%s", limits_subject_reason(name, r, why));
	if (rd->subject.kind == ARBITER_SESSION)
		return fail(rd, -EINVAL,
			    "'%.60s': a session ends, so nothing is kept for it in a file", name);
	rd->in_section = true;
	return 0;
}

/* A comment begins behind a blank. */
static void cut_comment(char *text)
{
	char *at;

	for (at = text; *at; at++) {
		if ((*at == '#' || *at == ';') && (at == text || is_blank(at[-1]))) {
			*at = '\0';
			return;
		}
	}
}

static int read_setting(struct reader *rd, char *line)
{
	struct limits_rule rule = { .file = rd->file, .line = rd->line };
	char *equal = strchr(line, '='), *key, *value;
	char why[LIMITS_REASON_MAX];
	int r;

	if (!equal)
		return fail(rd, -EINVAL, "neither a [section] nor 'key = value' nor a '#' comment");
	*equal = '\0';
	cut_comment(equal + 1);
	key = trim(line);
	value = trim(equal + 1);
	if (!rd->in_section)
		return fail(rd, -EINVAL, "a setting before the first [section]");
	if (limits_name_parse(key, &rule.set) < 0)
		return fail(
			rd, -EINVAL,
			"there is no key '%.60s': TIER.KEY, where TIER is vram, host or disk, and "
			"KEY min, low, high, max or weight",
			key);
	if (rule.set.dev != ARBITER_ALL_DEVICES && rule.set.dev != 0)
		return fail(rd, -ENOENT,
			    "'%.60s': there is no device %u; a vramd has one device, dev0", key,
			    rule.set.dev);
	rule.set.dev = ARBITER_ALL_DEVICES;
	r = limits_value_parse(value, &rule.set);
	if (r < 0)
		return fail(rd, r, "%s: %s", key, limits_value_reason(&rule.set, value, r, why));
	if (rule.set.clear)
		return fail(rd, -EINVAL,
			    "%s: 'default' is for the command line; leave the line out", key);
	r = limits_rules_add(rd->t, &rd->subject, rd->name, &rule);
	if (r == -E2BIG)
		return fail(rd, r, "there are more than %u rules", LIMITS_RULES_MAX);
	if (r < 0)
		return fail(rd, r, "out of memory");
	return 0;
}

static int read_line(struct reader *rd, const char *text, size_t len)
{
	char line[LIMITS_LINE_MAX + 1], *start;
	int r;

	if (len && text[len - 1] == '\r')
		len--;
	if (len > LIMITS_LINE_MAX)
		return fail(rd, -E2BIG, "the line is longer than %d bytes", LIMITS_LINE_MAX);
	r = check_characters(rd, text, len);
	if (r < 0)
		return err_trace(r);
	memcpy(line, text, len);
	line[len] = '\0';
	start = line + strspn(line, " \t");
	if (is_empty(start))
		return 0;
	return err_trace(*start == '[' ? read_section(rd, start) : read_setting(rd, start));
}

int limits_file_parse(struct limits_rules *t, const char *text, size_t len, const char *path,
		      uint32_t file, char reason[LIMITS_REASON_MAX])
{
	static const char mark[] = "\xef\xbb\xbf"; /* some editors begin with it */
	struct reader *rd = calloc(1, sizeof(*rd));
	const char *end = text + len, *stop;
	int r = 0;

	if (!rd) {
		snprintf(reason, LIMITS_REASON_MAX, "out of memory");
		return err_origin(-ENOMEM);
	}
	*rd = (struct reader){ .t = t, .path = path, .file = file, .reason = reason };
	if (len >= 3 && !memcmp(text, mark, 3))
		text += 3;
	while (r == 0 && text < end) {
		rd->line++;
		stop = memchr(text, '\n', (size_t)(end - text));
		r = read_line(rd, text, (size_t)((stop ? stop : end) - text));
		text = stop ? stop + 1 : end;
	}
	free(rd);
	return err_trace(r);
}

/* ---- writing ----------------------------------------------------------------------- */

static bool is_same_subject(const struct limits_rule *a, const struct limits_rule *b)
{
	if (a->kind != b->kind || !a->name != !b->name)
		return false;
	return a->name ? !strcmp(a->name, b->name) : a->id == b->id;
}

/* Is there a later rule about the very same in this file? */
static bool is_overwritten(const struct limits_rules *t, size_t i, uint32_t file)
{
	const struct limits_rule *rule = &t->rules[i], *at;

	for (at = rule + 1; at < t->rules + t->n; at++)
		if (at->file == file && is_same_subject(at, rule) &&
		    at->set.tier == rule->set.tier && at->set.key == rule->set.key)
			return true;
	return false;
}

static void print_section(const struct limits_rules *t, size_t first, uint32_t file, FILE *f)
{
	char subject[LIMITS_TEXT_MAX], key[LIMITS_SETTING_MAX], value[LIMITS_VALUE_MAX];
	size_t i;

	fprintf(f, "\n[%s]\n", limits_rule_subject(&t->rules[first], subject));
	for (i = first; i < t->n; i++) {
		const struct limits_rule *rule = &t->rules[i];

		if (rule->file != file || !is_same_subject(rule, &t->rules[first]) ||
		    is_overwritten(t, i, file))
			continue;
		fprintf(f, "%s = %s\n", limits_name_format(rule->set.tier, rule->set.key, key),
			limits_value_format(&rule->set, value));
	}
}

void limits_file_print(const struct limits_rules *t, uint32_t file, FILE *f)
{
	size_t i, k;

	for (i = 0; i < t->n; i++) {
		if (t->rules[i].file != file)
			continue;
		for (k = 0; k < i; k++)
			if (t->rules[k].file == file && is_same_subject(&t->rules[k], &t->rules[i]))
				break;
		if (k == i)
			print_section(t, i, file, f);
	}
}

bool limits_file_can_say(const struct arbiter_subject *subject, const char *name)
{
	char text[LIMITS_TEXT_MAX + 32], reason[LIMITS_REASON_MAX], was[LIMITS_TEXT_MAX];
	struct limits_rule rule = { .known = !name };
	struct limits_rules t;
	char is[LIMITS_TEXT_MAX];
	bool same = false;
	int len;

	rule.kind = subject->kind;
	rule.id = subject->id;
	/* Borrowed, and not given to a table. */
	rule.name = (char *)(uintptr_t)(subject->path ? subject->path : name);
	len = snprintf(text, sizeof(text), "[%s]\nvram.max = 1\n", limits_rule_subject(&rule, was));
	limits_rules_init(&t);
	if (limits_file_parse(&t, text, (size_t)len, "", 0, reason) == 0 && t.n == 1)
		same = !strcmp(limits_rule_subject(&t.rules[0], is), was);
	limits_rules_deinit(&t);
	return same;
}
