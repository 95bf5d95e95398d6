/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * limits: the text form of limits, as in limits.d and `vramctl limit`.
 *
 *   subject  user:NAME user:UID cgroup:/PATH exe:/PATH session:ID default
 *   setting  [devN.]TIER.KEY=VALUE     vram.max=4G  dev1.host.low=512M
 *   TIER     vram host disk
 *   KEY      min low high max weight
 *   VALUE    bytes as in common/size.h, `max` for no limit, `default` to take the
 *            setting back; a weight is a number from 1 to 10000
 *
 * Pure functions: text in, numbers out. User names are left to the caller,
 * since looking them up reads files.
 */
#ifndef VRAM_DAEMON_LIMITS_H
#define VRAM_DAEMON_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/arbiter.h"

/* As the kernel's PATH_MAX, the terminating zero left out. */
#define LIMITS_PATH_MAX 4095

struct limits_setting {
	uint32_t dev;  /* or ARBITER_ALL_DEVICES */
	uint32_t tier; /* enum arbiter_tier */
	uint32_t key;  /* enum arbiter_key */
	bool clear;    /* `default`: value is not used */
	uint64_t value;
};

/*
 * Parse a subject. For `user:NAME` with a NAME that is not a number, *out_name
 * is that name (in @text) and out->id is to be filled in by the caller; otherwise
 * *out_name is NULL. out->path points into @text.
 * Return: 0, or -EINVAL.
 */
int limits_subject_parse(const char *text, struct arbiter_subject *out, const char **out_name);

/* Parse a setting. Return: 0, -EINVAL, or -ERANGE (number too large). */
int limits_setting_parse(const char *text, struct limits_setting *out);

/* One spelling for each path: absolute, no empty component, no slash at the end. */
bool limits_is_path(const char *path);

/* "vram" ... / "min" ... for a number in range; NULL else. */
const char *limits_tier_name(uint32_t tier);
const char *limits_key_name(uint32_t key);

#endif
