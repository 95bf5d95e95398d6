// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/limits.h"

#include <errno.h>
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

int limits_subject_parse(const char *text, struct arbiter_subject *out, const char **out_name)
{
	struct arbiter_subject s = { 0 };
	const char *name = NULL, *rest;
	int r;

	if (!strcmp(text, "default")) {
		s.kind = ARBITER_DEFAULT;
	} else if ((rest = after(text, "user:"))) {
		s.kind = ARBITER_USER;
		r = parse_number(rest, rest + strlen(rest), &s.id);
		/* The last uid means "none" to the kernel. */
		if (r == -ERANGE || (!r && s.id >= UINT32_MAX))
			return -EINVAL;
		if (r) {
			if (!is_user_name(rest))
				return -EINVAL;
			name = rest;
		}
	} else if ((rest = after(text, "session:"))) {
		s.kind = ARBITER_SESSION;
		if (parse_number(rest, rest + strlen(rest), &s.id) || !s.id)
			return -EINVAL;
	} else if ((rest = after(text, "cgroup:")) && limits_is_path(rest)) {
		s.kind = ARBITER_CGROUP;
		s.path = rest;
	} else if ((rest = after(text, "exe:")) && limits_is_path(rest)) {
		s.kind = ARBITER_EXE;
		s.path = rest;
	} else {
		return -EINVAL;
	}
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

int limits_setting_parse(const char *text, struct limits_setting *out)
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
	r = parse_word(&text, '=', key_names, ARBITER_N_KEYS);
	if (r < 0)
		return r;
	s.key = (uint32_t)r;
	if (!strcmp(text, "default")) {
		s.clear = true;
	} else if (s.key == ARBITER_WEIGHT) {
		r = parse_number(text, text + strlen(text), &s.value);
		if (!r && (s.value < ARBITER_WEIGHT_MIN || s.value > ARBITER_WEIGHT_MAX))
			r = -ERANGE;
	} else {
		r = size_parse(text, &s.value);
	}
	if (r < 0)
		return r;
	*out = s;
	return 0;
}
