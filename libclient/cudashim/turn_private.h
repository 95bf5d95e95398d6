/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/* What the two halves of turn.h share: turn.c, out and back; session.c, the connection and the buffers. */
#ifndef VRAM_LIBCLIENT_CUDASHIM_TURN_PRIVATE_H
#define VRAM_LIBCLIENT_CUDASHIM_TURN_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cuda_driver.h"
#include "libclient/cudashim/turn.h"

struct vram_client;

#define SEC 1000000000ull
/* Between two attempts that did not fail for want of time. */
#define TURN_PAUSE_NS (SEC / 200)
/* A program that stands still for so long says why. */
#define TURN_SAY_AFTER_NS (10 * SEC)

struct turn {
	pthread_mutex_t lock;
	/* lock; the pointer is read without it where it is only compared with NULL */
	struct vram_client *client;
	struct cuda_driver driver;
	uint64_t granularity_bytes;
	struct vram_buffer **buffers;
	uint32_t n_buffers, room;
	uint64_t bytes; /* of all buffers, rounded */
	uint64_t released_ns;
	bool held; /* all buffers are acquired, or were when they were made */

	_Atomic int device;
	_Atomic bool lost; /* the session of the buffers is over */
	_Atomic bool never;

	/* What the thread is to do. */
	pthread_mutex_t wish_lock;
	pthread_cond_t wish_changed;
	bool has_thread;
	bool wanted;
	uint64_t wanted_at; /* how often the gate had been closed then */
	uint64_t not_before_ns;
	uint64_t deadline_ns;
};

extern struct turn turn;

/* ---- turn.c ---- */

void turn_nap(uint64_t ns);
/* The hooks of the library's thread. */
void turn_on_revoke(void *arg, uint64_t deadline_ns);
void turn_on_lost(void *arg, const char *text);
/* The thread that sends the program out; once. The lock is held. Return: 0 or -ENOMEM. */
int turn_start_thread(void);

#endif
