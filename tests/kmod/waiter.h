/* SPDX-License-Identifier: GPL-2.0-only */
/* Somebody who waits on a slot: a process of its own, which has nothing of the test's but the descriptor. */
#ifndef VRAM_TESTS_KMOD_WAITER_H
#define VRAM_TESTS_KMOD_WAITER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "kmod/uapi/vram.h"

struct waiter_report {
	int ret;	   /* 0 or -errno of the WAIT */
	uint32_t signals;  /* handled on the way */
	uint64_t begin_ns; /* around the call */
	uint64_t end_ns;
};

struct waiter {
	pid_t pid;
	int report;
};

#define WAITER_HANDLE  1u /* handles SIGUSR1, the call is not restarted */
#define WAITER_RESTART 2u /* handles it with SA_RESTART */

void waiter_start(struct waiter *x, int fd, const struct vram_ioc_wait *arg, uint32_t flags);
/* The usual one: slot, word 0 expected, for ever, on the first device. */
void waiter_on(struct waiter *x, int fd, uint32_t slot);
/* Until it sleeps in the call. */
void waiter_asleep(const struct waiter *x);
bool waiter_is_asleep(const struct waiter *x);
/* Whether it has come back within some time. */
bool waiter_is_back(const struct waiter *x, int timeout_ms);
/* What came of it; fails if nothing does. */
struct waiter_report waiter_end(struct waiter *x);
int waiter_result(struct waiter *x);
/* Kills it. */
void waiter_kill(struct waiter *x);

#endif
