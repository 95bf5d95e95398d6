/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon's one event loop, on one io_uring.
 *
 * Everything that waits is a struct loop_op, embedded in the object that owns it: a poll, a timer,
 * a read, a write. An op is idle or armed. The callback runs on the loop's thread, never from
 * within the call that armed the op. When a one-shot op's callback runs the op is idle again and
 * may be armed anew or freed; a poll stays armed until it is cancelled or fails (res < 0, then
 * idle).
 *
 * loop_cancel() detaches the owner: the callback will not run any more, and the kernel's answer,
 * when it comes, is swallowed. The op's memory may be freed at once. The buffer of a read or write
 * could not, so reads and writes cannot be cancelled; wait for them. loop_free() detaches whatever
 * is still armed and returns when no buffer is in use any more.
 *
 * Submission is batched: armed ops go to the kernel when the loop next enters it.
 *
 * The loop is not thread-safe. This is the only header through which liburing is used.
 */
#ifndef VRAM_DAEMON_LOOP_H
#define VRAM_DAEMON_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct loop;
struct loop_op;
struct loop_token; /* the kernel-visible half of an armed op; loop.c's own */

typedef void loop_fn(struct loop_op *op, int res);

struct loop_op {
	loop_fn *fn;
	struct loop_token *token; /* NULL: idle */
};

/* loop_new() - entries: submissions batched at most, a power of two. Return: 0 or -errno. */
int loop_new(struct loop **out_loop, unsigned int entries);
/*
 * The same without the first `worse` of the loop's LOOP_SETUPS ways to set a ring up, for tests of
 * the others.
 */
#define LOOP_SETUPS 3u
int loop_new_worse(struct loop **out_loop, unsigned int entries, unsigned int worse);
struct loop *loop_free(struct loop *loop);

/* loop_run() - until loop_stop(). Return: 0 or a fatal -errno. */
int loop_run(struct loop *loop);
/* loop_run_once() - submit, wait at most wait_ns (-1: for ever, 0: not at all), run callbacks. */
int loop_run_once(struct loop *loop, int64_t wait_ns);
void loop_stop(struct loop *loop);

/* Requests that are armed, or detached and not yet over. */
unsigned int loop_n_busy(const struct loop *loop);

/* CLOCK_MONOTONIC in ns. */
uint64_t loop_now(void);

static inline bool loop_op_armed(const struct loop_op *op)
{
	return op->token != NULL;
}

/*
 * Watch fd for poll events (multishot): fn gets the ready events, or -errno once and is idle.
 * Changes are reported, not states: work until EAGAIN, or come back through another op with
 * loop_defer(). What is ready when the op is armed is reported too.
 */
int loop_poll(struct loop *loop, struct loop_op *op, int fd, uint32_t events);
/* One-shot timer at an absolute CLOCK_MONOTONIC time; fn gets 0. */
int loop_timer(struct loop *loop, struct loop_op *op, uint64_t at_ns);
/* File I/O; fn gets the byte count or -errno. The buffer stays the caller's and must live on. */
int loop_read(struct loop *loop, struct loop_op *op, int fd, void *buf, size_t len,
	      uint64_t offset);
int loop_write(struct loop *loop, struct loop_op *op, int fd, const void *buf, size_t len,
	       uint64_t offset);
/* fallocate(2) off the loop's thread where the kernel can; fn gets 0 or -errno. */
int loop_fallocate(struct loop *loop, struct loop_op *op, int fd, int mode, uint64_t offset,
		   uint64_t len);
/*
 * Run fn with 0 in the next round of the loop: to go on later with work that would take too long
 * now.
 */
int loop_defer(struct loop *loop, struct loop_op *op);
/* Polls, timers and deferred ops only (see above). Safe on an idle op. */
void loop_cancel(struct loop *loop, struct loop_op *op);

#endif
