/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Streams: a queue and a thread each. Work is done in the order in which it was put there.
 *
 * The stream NULL and those that were not made non-blocking wait for each other as the driver's
 * do: work on one of them begins after all that was put on the other before it.
 *
 * Once the context has an error nothing is done any more; what is queued counts as done, but no
 * function of cuLaunchHostFunc is called.
 *
 * LOCKING. context->mutex, then stream->mutex. A stream's memory is never given back.
 */
#ifndef VRAM_TESTS_CUDA_STANDIN_STREAM_H
#define VRAM_TESTS_CUDA_STANDIN_STREAM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/cuda-standin/context.h"

struct event;
struct capture;
struct kernel;
struct op;

struct stream {
	struct stream *next;
	struct context *context;
	unsigned int flags;
	int priority;
	bool destroyed;		 /* under the context's mutex, as the next */
	struct capture *capture; /* graph.h */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	/* Under the mutex. */
	uint64_t submitted, done;
	struct op *head, **tail;
	bool started, ended;
};

#define OP_ARGUMENTS 8

/* One piece of work. */
struct op {
	struct op *next;
	uint64_t seq;
	struct dep {
		struct stream *stream;
		uint64_t seq;
	} * deps;
	unsigned int n_deps;
	cuda_result fault; /* what it is to fail with */
	bool always;	   /* is run in a dead context, too: it has something to give back */
	/* Return: what becomes the context's error, or success. */
	cuda_result (*run)(struct stream *stream, struct op *op);
	union {
		struct {
			uint64_t to, from;
			size_t size;
			bool to_device, from_device;
		} copy;
		struct {
			cuda_ptr to;
			size_t n;
			uint32_t value;
			unsigned int width;
		} set;
		struct {
			cuda_ptr ptr;
			uint64_t value;
			unsigned int width, flags;
		} value;
		struct {
			cuda_host_fn fn;
			void *data;
		} host;
		struct event *event;
		cuda_ptr freed;
		struct {
			const struct kernel *kernel;
			uint64_t arguments[OP_ARGUMENTS];
		} launch;
	};
};

struct op *op_new(cuda_result (*run)(struct stream *stream, struct op *op));
/* op->run begins when that work is done. */
void op_depend(struct op *op, struct stream *stream, uint64_t seq);

struct stream *stream_new(struct context *context, unsigned int flags, int priority);

/* The stream that a call means; per_thread: whether NULL is the thread's own. */
cuda_result stream_find(cuda_stream handle, bool per_thread, struct stream **out_stream);

/* Takes op. Return: its number. */
uint64_t stream_submit(struct stream *stream, struct op *op);
void stream_wait(struct stream *stream, uint64_t seq);
bool stream_is_done(struct stream *stream, uint64_t seq);
/* Submits and waits. Return: the context's error. */
cuda_result stream_run(struct stream *stream, struct op *op);

void stream_wait_all(struct context *context);
void stream_end_all(struct context *context);

/* The card may be gone, or the context dead: whether work should go on. */
bool stream_may_work(struct stream *stream);

#endif
