/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * limits: the text form of limits, as in limits.d and `vramctl limit`.
 *
 *   subject  user:NAME user:UID group:NAME group:GID cgroup:/PATH exe:/PATH session:ID default
 *   setting  [devN.]TIER.KEY=VALUE     vram.max=4G  host.low=25%
 *   TIER     vram host disk
 *   KEY      min low high max weight
 *   VALUE    bytes as in common/size.h, a percentage of what the device has of the tier, `max`
 *            for no limit, `default` to take the setting back; a weight is a number from 1 to 10000
 *
 * A percentage stays one: how many bytes it is changes with the device's budget.
 *
 * Pure functions: text in, numbers out, and back. Names of users and groups are left to the
 * caller, since looking them up reads files.
 */
#ifndef VRAM_DAEMON_LIMITS_H
#define VRAM_DAEMON_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/arbiter.h"

/* As the kernel's PATH_MAX, the terminating zero left out. */
#define LIMITS_PATH_MAX 4095

/* As deep as a cgroup may be nested below the root: the ledger counts no deeper. */
#define LIMITS_CGROUP_DEPTH 16

/* In arbiter_subject.kind, beside enum arbiter_kind: each user who is in the group; id is the gid. */
#define LIMITS_GROUP (ARBITER_DEFAULT + 1)

/* What limits_setting_format() writes at most: "dev15.vram.weight=" and a value. */
#define LIMITS_SETTING_MAX 48
#define LIMITS_VALUE_MAX   24

struct limits_setting {
	uint32_t dev;  /* or ARBITER_ALL_DEVICES */
	uint32_t tier; /* enum arbiter_tier */
	uint32_t key;  /* enum arbiter_key */
	bool clear;    /* `default`: value is not used */
	bool percent;  /* value is 1/100 percent of the tier */
	uint64_t value;
};

/*
 * Parse a subject. For `user:NAME` and `group:NAME` with a NAME that is not a number, *out_name
 * is that name (in @text) and out->id is to be filled in by the caller; otherwise
 * *out_name is NULL. out->path points into @text.
 * Return: 0, -EINVAL, or -E2BIG for a cgroup that is nested too deeply.
 */
int limits_subject_parse(const char *text, struct arbiter_subject *out, const char **out_name);

/* Parse a setting. Return: 0, -EINVAL, or -ERANGE (number too large). */
int limits_setting_parse(const char *text, struct limits_setting *out);
/* The two halves of it: "[devN.]TIER.KEY", and what the value of such a key may be. */
int limits_name_parse(const char *text, struct limits_setting *out);
int limits_value_parse(const char *text, struct limits_setting *setting);

/* The value as text that reads back as the same: "8G", "12.5%", "max", "300". Return: buf. */
const char *limits_value_format(const struct limits_setting *setting, char buf[LIMITS_VALUE_MAX]);
/* What it is in bytes, of a tier with this capacity (or the weight). */
uint64_t limits_value_bytes(const struct limits_setting *setting, uint64_t capacity);
/* "vram.max". Return: buf. */
const char *limits_name_format(uint32_t tier, uint32_t key, char buf[LIMITS_SETTING_MAX]);

/* One spelling for each path: absolute, no empty component, no slash at the end. */
bool limits_is_path(const char *path);

/* "vram" ... / "min" ... for a number in range; NULL else. */
const char *limits_tier_name(uint32_t tier);
const char *limits_key_name(uint32_t key);

#endif
