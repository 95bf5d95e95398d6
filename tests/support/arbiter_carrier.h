/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The arbiter under test: the ledger in this process, or with VRAM_ARBITER=kmod the kernel module.
 *
 * Over the module a session is a process of the given user, cgroup and executable that has opened /dev/vram. That
 * takes a machine of one's own (tests/vm): users, cgroups and programs are made there, and the module is
 * loaded anew for each test, from VRAM_KO.
 */
#ifndef VRAM_TESTS_SUPPORT_ARBITER_CARRIER_H
#define VRAM_TESTS_SUPPORT_ARBITER_CARRIER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/arbiter.h"

/* First in main(). Return: false if this carrier cannot be had here; why was printed. */
bool carrier_begin(int argc, char *argv[]);
void carrier_end(void);
bool carrier_is_kmod(void);

/* In a fixture: an arbiter without anything. */
struct arbiter *carrier_arbiter(void);
/* The module alone: one more arbiter, after the last has been freed. */
struct arbiter *carrier_attach(void);

/* cgroup and exe may be NULL; over the module the executable is this program's then. */
uint64_t carrier_open(struct arbiter *a, uid_t uid, const char *cgroup, const char *exe);
/* A session's process. */
pid_t carrier_pid(uint64_t session);
/* It ends, for the arbiter and by itself. */
void carrier_close(struct arbiter *a, uint64_t session, uint64_t now_ns);
/* The module alone: the process ends, and nobody tells the arbiter. */
void carrier_kill(struct arbiter *a, uint64_t session);
/* The module alone: a descriptor of a session that nobody has adopted, with a table of so many slots. */
int carrier_fd(uid_t uid, uint32_t n_slots, pid_t *out_pid);

#endif
