/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A client in a process of its own: another user, another executable, in a cgroup. It has one model whose layers of
 * TENANT_LAYER bytes it goes through, and perhaps a buffer, and does what it is asked over a socket.
 *
 * What is resident is asked of the kernel: the blocks of the memory file that the client has mapped (mincore(2) answers
 * only who owns a file).
 *
 * A test program that starts such clients calls tenant_main() first in main(): the clients are the same program.
 */
#ifndef VRAM_TESTS_SUPPORT_TENANT_H
#define VRAM_TESTS_SUPPORT_TENANT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/support/vramd.h"

#define TENANT_LAYER (1ull << 20)

struct tenant {
	/* To be set before tenant_start(). */
	const char *name;
	const char *model;  /* a file of vramd_make_file() with seed 7; NULL: none */
	uint32_t layers;    /* of it */
	uid_t uid;	    /* 0: this one's */
	const char *exe;    /* a copy of this program; NULL: itself */
	const char *cgroup; /* "/a/b"; NULL: this one's */
	pid_t pid;
	int fd;
	uint64_t session;
	const struct vramd *d;
	uint64_t model_inode;
};

/* Return: if this process is a client, it does not. */
void tenant_main(int argc, char **argv);

/* Whether clients can be other users here; else prints why not. */
bool tenant_users_usable(void);
/* A folder for cgroups of a test; NULL: there can be none, and why is printed. Removed by tenant_cgroups_end(). */
const char *tenant_cgroups(void);
void tenant_cgroups_end(void);
/* Another executable, as /proc/PID/exe names it. */
const char *tenant_other_exe(const struct vramd *d, const char *name);

/* Each fails the test if it does not succeed. */
void tenant_start(struct tenant *t, const struct vramd *d);
void tenant_end(struct tenant *t);
/*
 * The answer's number. Commands:
 *   use N        the first N layers once, every byte compared
 *   run, stop    all layers, round and round, in the background
 *   hold N, let  the first N layers stay pinned, until let
 *   layers       uses in the background so far
 *   failures     of these, that were refused
 *   error        the errno of the last one of them
 *   buffer N     a buffer of N layers, all written
 *   check        all of the buffer read and compared
 *   forget       the buffer is freed
 */
uint64_t tenant_ask(struct tenant *t, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The same where a refusal is an answer. Return: 0 or -errno. */
int tenant_try(struct tenant *t, const char *command, uint64_t *out);

/* `vramctl limit set ...`. */
void limit_set(const struct vramd *d, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Takes back what was set so: to be called before the daemon ends. */
void limits_end(const struct vramd *d);
/* How often to look: in a machine that is emulated starting vramctl takes a second. */
static inline int looks(int n)
{
	return vramd_wants_module() ? n / 10 + 1 : n;
}
/* Bytes of its model, of its buffer, that are resident. */
uint64_t tenant_resident(struct tenant *t);
uint64_t tenant_buffered(struct tenant *t);
/* Waits a while until that is so of its model. */
void await_at_most(struct tenant *t, uint64_t bytes);
void await_at_least(struct tenant *t, uint64_t bytes);

#endif
