/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The limits in force: the rules of limits.d and those set at run time, written into the ledger.
 *
 * The rules say what is wanted (daemon/limits_rules.h). The ledger has one value for each limit of a
 * group, and `default` for users without one. Here is worked out what follows for whom, and what changes is
 * written there, nothing else: for every subject that a rule names, and for every user who has sessions,
 * since the groups that a user is in may have rules. A percentage is worked out anew when the device's budget
 * changes.
 *
 * What the ledger holds when this begins is what an earlier daemon has left in the kernel module. It is
 * taken for written, so what no rule sets is cleared: after a start the files are the truth. Settings made
 * through /dev/vram by somebody else later are left alone until a rule about the same changes.
 *
 * A reload takes all new files or none. Run-time settings outlive it; they end with `limit reset`, with
 * their session, and with the daemon. One that was saved becomes the file's.
 *
 * Names (daemon/names.h): users and groups of rules, and the groups of a user when a session of it begins.
 * What is not known by then counts as soon as it is.
 *
 * One thread. Borrowed: the arbiter, names, the folder's name.
 */
#ifndef VRAM_DAEMON_LIMITS_LIVE_H
#define VRAM_DAEMON_LIMITS_LIVE_H

#include "daemon/limits_file.h"
#include "daemon/limits_rules.h"

struct limits_live;
struct loop;
struct names;

struct limits_live_params {
	const char *dir;
	bool must_exist; /* the folder */
	struct arbiter *arbiter;
	uint32_t dev;
	struct names *names;
	/* Limits have changed by themselves (a name became known); may be NULL. */
	void (*changed)(void *ctx);
	void *ctx;
};

/* Reads the folder and writes what follows. Return: 0; -errno with the reason. */
int limits_live_new(struct limits_live **out, const struct limits_live_params *params,
		    char reason[LIMITS_REASON_MAX]);
struct limits_live *limits_live_free(struct limits_live *l);
/* From now on names that become known count at once. Return: 0 or -errno. */
int limits_live_watch(struct limits_live *l, struct loop *loop);

/* Return: 0 with how many there are; -errno with the reason, and everything is as it was. */
int limits_live_reload(struct limits_live *l, size_t *out_files, size_t *out_rules,
		       char reason[LIMITS_REASON_MAX]);

/* A session of the user begins: before anything is charged to it. */
void limits_live_enter(struct limits_live *l, uid_t uid);
/* It has ended, in the arbiter too. */
void limits_live_leave(struct limits_live *l, uid_t uid, uint64_t session);
/* The device has another budget. Return: whether limits have changed by that. */
bool limits_live_budget(struct limits_live *l);

/* A subject of an administrator's, with its name looked up. path and name are borrowed. */
struct limits_subject {
	struct arbiter_subject subject; /* id LIMITS_NO_ID: nobody has this name */
	const char *name;
};
/* Return: 0; -EINVAL, -E2BIG, -ENOENT, -EAGAIN (a name service is late) with the reason. */
int limits_live_subject(struct limits_live *l, const char *text, struct limits_subject *out,
			char reason[LIMITS_REASON_MAX]);

/*
 * Sets limits at run time, all or none of them; with save in LIMITS_SAVED too. *out_saved: it was saved,
 * and *out_shadow (LIMITS_TEXT_MAX) names a later file that has another value and wins after a restart, or is
 * empty. Return: 0; -errno with the reason.
 */
int limits_live_set(struct limits_live *l, const struct limits_subject *who,
		    const struct limits_setting *settings, size_t n, uint32_t by, bool save,
		    char *out_shadow, char reason[LIMITS_REASON_MAX]);
/* Takes run-time settings back, n 0: all of the subject; with save also saved ones. *out_n: how many. */
int limits_live_reset(struct limits_live *l, const struct limits_subject *who,
		      const struct limits_setting *settings, size_t n, bool save, size_t *out_n,
		      char reason[LIMITS_REASON_MAX]);
/* How many run-time settings there are of this user's, or with UINT32_MAX of all but root and the daemon's own user. */
size_t limits_live_set_by(const struct limits_live *l, uint32_t uid);
/* Where saved settings are. */
void limits_live_saved_path(const struct limits_live *l, char *buf, size_t size);

/*
 * limits_live_find() - what holds for a subject, by the rules. A user need not have sessions.
 * @out_value: bytes or weight
 * @out_rule: NULL: built in
 * @out_why: LIMITS_TEXT_MAX, or NULL
 */
void limits_live_find(struct limits_live *l, const struct arbiter_subject *subject, uint32_t tier,
		      uint32_t key, uint64_t *out_value, const struct limits_rule **out_rule,
		      char *out_why);

/* Every rule, the files' first; fn returns nonzero to stop. in_force: no other rule of the same subject wins. */
typedef int (*limits_live_fn)(void *ctx, const struct limits_rules *table,
			      const struct limits_rule *rule, bool in_force);
int limits_live_for_each(struct limits_live *l, limits_live_fn fn, void *ctx);
/* Is the user in the group, as far as is known? */
bool limits_live_is_in(struct limits_live *l, uid_t uid, uint32_t gid);

/* Has the user sessions? Else what its groups say is not written into the ledger. */
bool limits_live_has(struct limits_live *l, uid_t uid);

/* For sessions of the ledger in this process (scheduler.c). */
struct names *limits_live_names(struct limits_live *l);

#endif
