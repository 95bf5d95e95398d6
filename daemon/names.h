/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names: which groups a user is in, which number a name has, which program a process runs.
 *
 * The first two are asked of the name services, which may ask a network and take half a minute to fail;
 * the loop must not wait for that, and foreign code of those services must not run in a process that
 * maps every user's memory. The third takes a right (CAP_SYS_PTRACE) that the daemon gives up. So a
 * helper, forked before anything else is set up, does these, and keeps nothing but that one right. Each
 * question to a name service is a process of its own there, ended after NAMES_PATIENCE_S seconds: one
 * that hangs keeps up nobody.
 *
 * Answers are kept, and asked for anew when they are used after NAMES_LIFE_NS; the old one is good until
 * the new one is there. Who asks for something that is not known waits as long as it says, once: while an
 * answer is late nobody waits for any. What comes later is told by `changed`.
 *
 * The helper ends when the daemon does, however that ends. A helper that dies is not replaced: names stay
 * as they are known, which is logged.
 */
#ifndef VRAM_DAEMON_NAMES_H
#define VRAM_DAEMON_NAMES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct loop;
struct names;

#define NAMES_LIFE_NS	 60000000000ull
#define NAMES_PATIENCE_S 20u
/* Groups of one user that are looked at. */
#define NAMES_GROUPS_MAX 4096u
/* Users, and names, that are kept. */
#define NAMES_KEPT 1024u

enum names_kind {
	NAMES_USER,
	NAMES_GROUP,
};

/* What the helper does; tests bring their own. All return 0 or -errno, -ENOENT: there is none. */
struct names_ops {
	int (*groups)(uid_t uid, uint32_t *gids, size_t max, size_t *out_n);
	int (*id)(enum names_kind kind, const char *name, uint64_t *out_id);
	int (*exe)(pid_t pid, char *buf, size_t size);
	int (*drop)(void); /* gives up rights; may be NULL */
};
extern const struct names_ops names_system;

/* Forks the helper: before there are threads, rings and sockets. Return: 0 or -errno. */
int names_new(struct names **out, const struct names_ops *ops);
struct names *names_free(struct names *n);

/* From now on answers are read when they come. changed may ask again. Return: 0 or -errno. */
int names_watch(struct names *n, struct loop *loop, void (*changed)(void *ctx), void *ctx);
/* What is known may be wrong by now. */
void names_forget(struct names *n);

/*
 * names_groups() - the groups of a user, the primary one first, then ascending. *out_gids is good until
 * names are asked or read again; a user whom nobody knows is in none.
 * Return: 0; -EAGAIN: not known yet.
 */
int names_groups(struct names *n, uid_t uid, uint64_t wait_ns, const uint32_t **out_gids,
		 size_t *out_n);
/* Return: 0; -ENOENT: there is no such name; -EAGAIN: not known yet. */
int names_id(struct names *n, enum names_kind kind, const char *name, uint64_t wait_ns,
	     uint64_t *out_id);
/* /proc/PID/exe. No name service is in the way of that. Return: 0; -EAGAIN: not in time; -errno of the helper. */
int names_exe(struct names *n, pid_t pid, uint64_t wait_ns, char *buf, size_t size);

#endif
