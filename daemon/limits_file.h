/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The text of a file in limits.d, read and written.
 *
 *	# a comment, also with ';'
 *	[user:alice]
 *	vram.max = 8G        # a comment behind a blank
 *	vram.weight = 300
 *
 * A section is a subject, a key is TIER.KEY (daemon/limits.h). It is read by hand and not by inih, as
 * vramd.conf is: inih cuts a section's name after 49 bytes and a line after 200, without a word, and
 * a cgroup's path is longer. What is accepted is the same but for that, and but for this: the name
 * of a section ends at the last ']' that could end it, so that a path may have brackets in it.
 *
 * A text with a mistake is refused as a whole. Text that is not UTF-8 and control characters are mistakes:
 * what cannot be shown cannot be administered.
 *
 * Pure: text in, rules out.
 */
#ifndef VRAM_DAEMON_LIMITS_FILE_H
#define VRAM_DAEMON_LIMITS_FILE_H

#include <stddef.h>
#include <stdio.h>

#include "daemon/limits_rules.h"

/* A line, without its end: a path of LIMITS_PATH_MAX bytes and what is around it. */
#define LIMITS_LINE_MAX	  (LIMITS_PATH_MAX + 256)
#define LIMITS_REASON_MAX 512

/*
 * limits_file_parse() - adds the rules of a text to a table.
 * @len: of text, which need not end with a zero
 * @path: what the file is called in a reason, `file` its number in the table
 *
 * Return: 0; -EINVAL, -ERANGE, -E2BIG, -EILSEQ with "PATH:LINE: what is wrong" in reason, and -ENOMEM.
 * After a failure the table may have some of the rules; it is to be thrown away.
 */
int limits_file_parse(struct limits_rules *t, const char *text, size_t len, const char *path,
		      uint32_t file, char reason[LIMITS_REASON_MAX]);

/* Writes those rules of a table that came from this file, a section for each subject. */
void limits_file_print(const struct limits_rules *t, uint32_t file, FILE *f);

/*
 * Would the subject read back as it is? A path that ends with a blank, or has a comment behind a ']', would not.
 */
bool limits_file_can_say(const struct arbiter_subject *subject, const char *name);

/* The end of a refusal for a subject and for a setting: what would be right. */
#define LIMITS_SUBJECT_HELP                                                                    \
	"is no subject: user:NAME, user:UID, group:NAME, group:GID, cgroup:/PATH, exe:/PATH, " \
	"session:ID or default"
#define LIMITS_PATH_HELP                                                                    \
	"a path is absolute, has no empty part and no slash at its end, and is not longer " \
	"than 4095 bytes"

/*
 * Why limits_subject_parse() (r, of text) or limits_value_parse() has refused it; for people.
 * Return: buf, of LIMITS_REASON_MAX.
 */
const char *limits_subject_reason(const char *text, int r, char *buf);
const char *limits_value_reason(const struct limits_setting *setting, const char *text, int r,
				char *buf);

#endif
