// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any text as a subject and as a setting, which is what vramctl passes on and the daemon understands. What is taken has to
 * be in range, and its text form has to mean the same.
 *
 * links: daemon/limits.c daemon/limits_file.c daemon/limits_rules.c common/size.c common/err.c
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/limits_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

static void try_subject(const char *text)
{
	char why[LIMITS_REASON_MAX];
	struct arbiter_subject s;
	const char *name = NULL;
	int r = limits_subject_parse(text, &s, &name);

	if (r != 0) {
		check(r == -EINVAL || r == -E2BIG);
		check(*limits_subject_reason(text, r, why));
		return;
	}
	(void)limits_file_can_say(&s, name);
	switch (s.kind) {
	case ARBITER_USER:
	case LIMITS_GROUP:
		check(s.id < UINT32_MAX && (!name || (*name && strlen(name) <= 255)));
		break;
	case ARBITER_CGROUP:
	case ARBITER_EXE:
		check(!name && limits_is_path(s.path) && s.path > text &&
		      s.path < text + strlen(text));
		break;
	case ARBITER_SESSION:
		check(!name && s.id);
		break;
	default:
		check(s.kind == ARBITER_DEFAULT && !strcmp(text, "default"));
	}
}

static void try_setting(const char *text)
{
	char name[LIMITS_SETTING_MAX], value[LIMITS_VALUE_MAX], again[128];
	struct limits_setting a, b;
	int r = limits_setting_parse(text, &a);

	if (r != 0) {
		check(r == -EINVAL || r == -ERANGE);
		return;
	}
	check(a.tier < ARBITER_N_TIERS && a.key < ARBITER_N_KEYS);
	check(a.dev == ARBITER_ALL_DEVICES || a.dev < ARBITER_MAX_DEVICES);
	check(a.percent ? limits_value_bytes(&a, UINT64_MAX - 1) <= UINT64_MAX - 1 :
			  limits_value_bytes(&a, 1) == a.value);
	snprintf(again, sizeof(again), "%s=%s", limits_name_format(a.tier, a.key, name),
		 limits_value_format(&a, value));
	check(limits_setting_parse(again, &b) == 0);
	check(a.clear == b.clear && (a.clear || (a.value == b.value && a.percent == b.percent)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	check(text);
	memcpy(text, data, size);
	text[size] = '\0';
	try_subject(text);
	try_setting(text);
	free(text);
	return 0;
}
