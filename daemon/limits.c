// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/size.h"

_Static_assert(ARBITER_UNLIMITED == SIZE_UNLIMITED, "`max` reads as no limit");

static const char *const tier_names[ARBITER_N_TIERS] = {
	[ARBITER_VRAM] = "vram",
	[ARBITER_HOST] = "host",
	[ARBITER_DISK] = "disk",
};

static const char *const key_names[ARBITER_N_KEYS] = {
	[ARBITER_MIN] = "min", [ARBITER_LOW] = "low",	    [ARBITER_HIGH] = "high",
	[ARBITER_MAX] = "max", [ARBITER_WEIGHT] = "weight",
};

const char *limits_tier_name(uint32_t tier)
{
	return tier < ARBITER_N_TIERS ? tier_names[tier] : NULL;
}

const char *limits_key_name(uint32_t key)
{
	return key < ARBITER_N_KEYS ? key_names[key] : NULL;
}

/* Digits up to @end, nothing else. Return: 0, -EINVAL, -ERANGE. */
static int parse_number(const char *text, const char *end, uint64_t *out)
{
	uint64_t n = 0;

	if (text == end)
		return -EINVAL;
	for (; text < end; text++) {
		uint64_t digit;

		if (*text < '0' || *text > '9')
			return -EINVAL;
		digit = (uint64_t)(*text - '0');
		if (n > (UINT64_MAX - digit) / 10)
			return -ERANGE;
		n = n * 10 + digit;
	}
	*out = n;
	return 0;
}

static const char *after(const char *text, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(text, prefix, n) ? NULL : text + n;
}

bool limits_is_path(const char *path)
{
	size_t len = strlen(path);

	return path[0] == '/' && len > 1 && len <= LIMITS_PATH_MAX && path[len - 1] != '/' &&
	       !strstr(path, "//");
}

/* What useradd accepts, and the names that directories bring (AD\al, al@example.org). */
static bool is_user_name(const char *name)
{
	size_t len = strlen(name);

	return len && len <= 255 && name[0] != '-' && !strpbrk(name, ":/ \t\n");
}

/* The same; those of directories have spaces in them (AD\domain users). */
static bool is_group_name(const char *name)
{
	size_t len = strlen(name);

	return len && len <= 255 && name[0] != '-' && name[0] != ' ' && name[len - 1] != ' ' &&
	       !strpbrk(name, ":/\t\n");
}

/* A number below the last one, which means "none" to the kernel, or a name. */
static int parse_id(const char *text, bool (*is_name)(const char *), uint64_t *out_id,
		    const char **out_name)
{
	int r = parse_number(text, text + strlen(text), out_id);

	if (r == -ERANGE || (!r && *out_id >= UINT32_MAX))
		return -EINVAL;
	if (!r)
		return 0;
	if (!is_name(text))
		return -EINVAL;
	*out_id = 0;
	*out_name = text;
	return 0;
}

static unsigned int path_depth(const char *path)
{
	unsigned int n = 0;

	for (; *path; path++)
		n += *path == '/';
	return n;
}

/* What would break the lines of a log or of a file. */
static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return true;
	return false;
}

int limits_subject_parse(const char *text, struct arbiter_subject *out, const char **out_name)
{
	struct arbiter_subject s = { 0 };
	const char *name = NULL, *rest;
	int r = 0;

	if (has_control(text))
		return -EINVAL;
	if (!strcmp(text, "default")) {
		s.kind = ARBITER_DEFAULT;
	} else if ((rest = after(text, "user:"))) {
		s.kind = ARBITER_USER;
		r = parse_id(rest, is_user_name, &s.id, &name);
	} else if ((rest = after(text, "group:"))) {
		s.kind = LIMITS_GROUP;
		r = parse_id(rest, is_group_name, &s.id, &name);
	} else if ((rest = after(text, "session:"))) {
		s.kind = ARBITER_SESSION;
		if (parse_number(rest, rest + strlen(rest), &s.id) || !s.id)
			return -EINVAL;
	} else if ((rest = after(text, "cgroup:")) && limits_is_path(rest)) {
		s.kind = ARBITER_CGROUP;
		s.path = rest;
		r = path_depth(rest) > LIMITS_CGROUP_DEPTH ? -E2BIG : 0;
	} else if ((rest = after(text, "exe:")) && limits_is_path(rest)) {
		s.kind = ARBITER_EXE;
		s.path = rest;
	} else {
		return -EINVAL;
	}
	if (r < 0)
		return r;
	*out = s;
	*out_name = name;
	return 0;
}

/* The name that @text begins with, followed by @stop. Return: its number, or -EINVAL. */
static int parse_word(const char **text, char stop, const char *const *names, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		const char *rest = after(*text, names[i]);

		if (rest && *rest == stop) {
			*text = rest + 1;
			return (int)i;
		}
	}
	return -EINVAL;
}

int limits_name_parse(const char *text, struct limits_setting *out)
{
	struct limits_setting s = { .dev = ARBITER_ALL_DEVICES };
	const char *rest = after(text, "dev");
	int r;

	if (rest) {
		const char *dot = strchr(rest, '.');
		uint64_t dev;

		if (!dot)
			return -EINVAL;
		r = parse_number(rest, dot, &dev);
		if (r)
			return r;
		if (dev >= ARBITER_MAX_DEVICES)
			return -ERANGE;
		s.dev = (uint32_t)dev;
		text = dot + 1;
	}
	r = parse_word(&text, '.', tier_names, ARBITER_N_TIERS);
	if (r < 0)
		return r;
	s.tier = (uint32_t)r;
	r = parse_word(&text, '\0', key_names, ARBITER_N_KEYS);
	if (r < 0)
		return r;
	s.key = (uint32_t)r;
	*out = s;
	return 0;
}

/* "12.5%": up to two decimals, up to 100. */
static int parse_percent(const char *text, const char *sign, uint64_t *out_centi)
{
	const char *dot = memchr(text, '.', (size_t)(sign - text));
	uint64_t whole, part = 0;
	int r;

	r = parse_number(text, dot ? dot : sign, &whole);
	if (r == 0 && dot)
		r = sign - dot > 3 ? -EINVAL : parse_number(dot + 1, sign, &part);
	if (r < 0)
		return r;
	if (dot && sign - dot == 2)
		part *= 10;
	if (whole > 100 || (whole == 100 && part))
		return -ERANGE;
	*out_centi = whole * 100 + part;
	return 0;
}

int limits_value_parse(const char *text, struct limits_setting *setting)
{
	const char *sign = strchr(text, '%');
	uint64_t value = 0;
	bool clear = false;
	int r = 0;

	if (!strcmp(text, "default")) {
		clear = true;
	} else if (setting->key == ARBITER_WEIGHT) {
		r = parse_number(text, text + strlen(text), &value);
		if (!r && (value < ARBITER_WEIGHT_MIN || value > ARBITER_WEIGHT_MAX))
			r = -ERANGE;
	} else if (sign) {
		r = sign[1] ? -EINVAL : parse_percent(text, sign, &value);
	} else {
		r = size_parse(text, &value);
	}
	if (r < 0)
		return r;
	setting->clear = clear;
	setting->percent = sign;
	setting->value = value;
	return 0;
}

int limits_setting_parse(const char *text, struct limits_setting *out)
{
	const char *equal = strchr(text, '=');
	char name[LIMITS_SETTING_MAX];
	struct limits_setting s;
	int r;

	if (!equal || (size_t)(equal - text) >= sizeof(name))
		return -EINVAL;
	memcpy(name, text, (size_t)(equal - text));
	name[equal - text] = '\0';
	r = limits_name_parse(name, &s);
	if (r == 0)
		r = limits_value_parse(equal + 1, &s);
	if (r == 0)
		*out = s;
	return r;
}

const char *limits_value_format(const struct limits_setting *setting, char buf[LIMITS_VALUE_MAX])
{
	uint64_t whole = setting->value / 100, part = setting->value % 100;

	_Static_assert(LIMITS_VALUE_MAX >= SIZE_TEXT_MAX, "a size is a value");
	if (setting->clear)
		snprintf(buf, LIMITS_VALUE_MAX, "default");
	else if (setting->percent && part % 10)
		snprintf(buf, LIMITS_VALUE_MAX, "%" PRIu64 ".%02" PRIu64 "%%", whole, part);
	else if (setting->percent && part)
		snprintf(buf, LIMITS_VALUE_MAX, "%" PRIu64 ".%" PRIu64 "%%", whole, part / 10);
	else if (setting->percent)
		snprintf(buf, LIMITS_VALUE_MAX, "%" PRIu64 "%%", whole);
	else if (setting->key == ARBITER_WEIGHT)
		snprintf(buf, LIMITS_VALUE_MAX, "%" PRIu64, setting->value);
	else
		size_format_exact(buf, setting->value);
	return buf;
}

uint64_t limits_value_bytes(const struct limits_setting *setting, uint64_t capacity)
{
	if (!setting->percent)
		return setting->value;
	return (uint64_t)((unsigned __int128)capacity * setting->value / 10000);
}

const char *limits_name_format(uint32_t tier, uint32_t key, char buf[LIMITS_SETTING_MAX])
{
	snprintf(buf, LIMITS_SETTING_MAX, "%s.%s", limits_tier_name(tier), limits_key_name(key));
	return buf;
}
