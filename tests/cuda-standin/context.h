/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Contexts, and which of them a thread uses.
 *
 * A context lives from the first retain (or cuCtxCreate) to the last release; its memory is never
 * given back, so that a stale pointer is told from a good one by what it points to. An error that
 * work on a stream meets is the context's from then on, and what every call in it returns.
 */
#ifndef VRAM_TESTS_CUDA_STANDIN_CONTEXT_H
#define VRAM_TESTS_CUDA_STANDIN_CONTEXT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/cuda_abi.h"

struct stream;

struct context {
	struct context *next;
	bool primary;
	_Atomic bool alive;
	_Atomic cuda_result error;
	unsigned int retained;
	pthread_mutex_t mutex; /* of the list of streams; taken before the mutex of a stream */
	struct stream *streams;
	struct stream *legacy; /* the stream NULL */
};

/* Return: the context of the calling thread, NULL for none or one that is gone. */
struct context *context_current(void);

/* Return: what calls in it return. */
cuda_result context_error(const struct context *context);

/* The same of the primary context; success where there is none. */
cuda_result context_primary_error(void);

/* The first error stays. */
void context_kill(struct context *context, cuda_result error);
void context_kill_all(cuda_result error);

/* Whether this thread runs a function of cuLaunchHostFunc. */
bool context_in_host_function(void);
void context_run_host_function(cuda_host_fn fn, void *data);

#endif
