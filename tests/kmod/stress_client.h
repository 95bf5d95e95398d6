/* SPDX-License-Identifier: GPL-2.0-only */
/* The clients of stress_ledger: processes that do at random whatever a client can do, and stop when asked. */
#ifndef VRAM_TESTS_KMOD_STRESS_CLIENT_H
#define VRAM_TESTS_KMOD_STRESS_CLIENT_H

#include <stdatomic.h>
#include <stdint.h>

#include "tests/kmod/device.h"

enum {
	N_CLIENTS = 12,
	N_STRANGERS = 3,
	N_SLOTS = 256,
};

/* Shared with all processes. */
struct stress_shared {
	_Atomic uint32_t pause; /* a number: stop, and say so */
	_Atomic uint32_t paused[N_CLIENTS + N_STRANGERS];
	_Atomic uint32_t send[N_CLIENTS]; /* the descriptor once more, please */
	_Atomic uint64_t n_waits, n_opens;
};
extern struct stress_shared *shared;

static inline uint64_t next(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return *rng >> 11;
}

/* Number i becomes this user in this cgroup (NULL: stays), and sends its session's descriptor. */
void client_process(unsigned int i, uid_t uid, const char *cgroup, int socket, uint64_t seed);
/* One that opens and closes, and that nobody adopts. */
void stranger_process(unsigned int i, uid_t uid, uint64_t seed);

#endif
