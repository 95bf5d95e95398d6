/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules: who set which limit for whom, and which of them counts.
 *
 * A rule is one setting of one subject, from a line of a file in limits.d or from an administrator at
 * run time. There are two tables of them: the files' (files in the order of their names, lines in
 * theirs) and the run-time ones. Within a table the last rule about the same thing wins. For the
 * same subject, run time goes before the files.
 *
 * A value of a user comes from the first of these that has a rule about it:
 *
 *   the user
 *   the groups that the user is in: the primary one, then by ascending number
 *   default
 *
 * and else it is built in. A rule for a group holds for each user in it: it is no sum. Every other
 * subject (a cgroup, an executable, a session) has its own rules and nothing else. A session of a user
 * below a cgroup is under all of them: whether a charge passes is for the ledger to say, level by level.
 *
 * Users and groups may be named. A rule whose name has no number yet is in the table, and counts
 * for nobody (limits_rules_resolve()).
 *
 * Pure: no files, no names looked up. The table owns its rules and the text in them.
 */
#ifndef VRAM_DAEMON_LIMITS_RULES_H
#define VRAM_DAEMON_LIMITS_RULES_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/limits.h"

/* Rules in one table. */
#define LIMITS_RULES_MAX 4096u
/* In limits_rule.file: set at run time. */
#define LIMITS_RUN_TIME UINT32_MAX
/* In arbiter_subject.id beside a name: the number is not known. */
#define LIMITS_NO_ID UINT64_MAX
/* Room for where a rule comes from, or the subject of one: a path and what is around it. */
#define LIMITS_TEXT_MAX (LIMITS_PATH_MAX + 320)

struct limits_rule {
	uint32_t kind; /* enum arbiter_kind, or LIMITS_GROUP */
	bool known;    /* id is right; false: a name that has no number yet */
	bool missing;  /* it was looked up, and nobody has this name */
	uint64_t id;   /* users, groups, sessions */
	char *name;    /* the path, or the name as it was written; NULL: a number */
	struct limits_setting set;
	uint32_t file; /* in the table's files, or LIMITS_RUN_TIME */
	uint32_t line;
	uint32_t by; /* at run time: the uid */
};

struct limits_rules {
	struct limits_rule *rules; /* in order: later ones win */
	size_t n, cap;
	char **files; /* what they are called in messages: "limits.d/50-lab.conf" */
	size_t n_files;
	uint32_t *index; /* open hash: number + 1 of the rule that wins; NULL: to be built */
	size_t index_size;
};

/* Whom a limit is looked up for. */
struct limits_who {
	uint32_t kind;
	uint64_t id;
	const char *path;
	const uint32_t *gids; /* of a user: the primary one, then ascending */
	size_t n_gids;
};

void limits_rules_init(struct limits_rules *t);
void limits_rules_deinit(struct limits_rules *t);

/* Return: its number for limits_rule.file, or -ENOMEM. */
int limits_rules_file(struct limits_rules *t, const char *label);
/*
 * Adds a copy. `rule` itself has the settings and where it is from; subject and name are as from
 * limits_subject_parse(). Return: 0, -ENOMEM, -E2BIG (LIMITS_RULES_MAX).
 */
int limits_rules_add(struct limits_rules *t, const struct arbiter_subject *subject,
		     const char *name, const struct limits_rule *rule);
/* All rules of one table after those of another; files too. Return: as limits_rules_add(). */
int limits_rules_append(struct limits_rules *t, const struct limits_rules *from);
/*
 * Takes out the rules of this subject, of one key if `only` is not NULL (its dev is not looked at), and
 * of one file if that is not LIMITS_RUN_TIME - else whatever their file. Return: how many.
 */
size_t limits_rules_remove(struct limits_rules *t, const struct arbiter_subject *subject,
			   const char *name, const struct limits_setting *only, uint32_t file);
/* A name's number; LIMITS_NO_ID: there is no such name. Return: whether a rule changed. */
bool limits_rules_resolve(struct limits_rules *t, uint32_t kind, const char *name, uint64_t id);

/* The rule of this very subject; NULL: none. */
const struct limits_rule *limits_rules_at(struct limits_rules *t, uint32_t kind, uint64_t id,
					  const char *path, uint32_t tier, uint32_t key);
/*
 * The rule that gives the value; NULL: it is built in. out_table: which table it is of; may be NULL.
 */
const struct limits_rule *limits_rules_find(struct limits_rules *run_time,
					    struct limits_rules *files,
					    const struct limits_who *who, uint32_t tier,
					    uint32_t key, const struct limits_rules **out_table);

/*
 * Are they about the same subject? By number where both have one (subject->id is LIMITS_NO_ID else), by name
 * otherwise.
 */
bool limits_rule_is_for(const struct limits_rule *rule, const struct arbiter_subject *subject,
			const char *name);

/* "user:alice", "group:50", "default". Return: buf. */
const char *limits_rule_subject(const struct limits_rule *rule, char buf[LIMITS_TEXT_MAX]);
/* "limits.d/50-lab.conf:12", "set at run time by user 0". Return: buf. */
const char *limits_rule_source(const struct limits_rules *t, const struct limits_rule *rule,
			       char buf[LIMITS_TEXT_MAX]);
/*
 * The same for somebody to whom it may apply through a group or `default`: "group:staff in
 * limits.d/50-lab.conf:12", "default in ...", "default, set at run time by user 0"; rule NULL: "built
 * in". Return: buf.
 */
const char *limits_rule_why(const struct limits_rules *t, const struct limits_rule *rule,
			    uint32_t kind, char buf[LIMITS_TEXT_MAX]);

#endif
