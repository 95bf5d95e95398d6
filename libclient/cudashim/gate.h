/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The gate: every call that gives the device work passes here, and may be held up here.
 *
 * While the program may run, the gate is OPEN and a passage costs one atomic exchange on a line of the thread's own and
 * one load: a thread says that it is inside, then looks whether the gate is open. Who closes it writes the state, then
 * looks who is inside. Whoever comes second sees the other (Dekker; both seq_cst), so that after the look nobody is inside who has not
 * been counted. It is the same argument as in common/residency.h.
 *
 *	  OPEN --close--> DRAINING --all out, device idle--> LEAVING --pins released--> CLOSED
 *	   ^  ^               |                                                           |
 *	   |  '---impatience--'                                        the first who comes |
 *	   '------------------------------ all acquired -------------- OPENING <----------'
 *
 * A call that comes in LEAVING or OPENING waits; one that comes in CLOSED becomes OPENING's worker: it brings
 * everything back (gate_ops.open). FAILED is for good: what the memory held is lost, and every passage says so.
 *
 * IMPATIENCE. To close means to wait: for calls that are inside, and for the device. Either may depend on a call that is now held
 * up: a stream that waits for a value which a later launch would write, a host function
 * (cuLaunchHostFunc) that wants a lock whose owner stands at the gate. So DRAINING is undone when somebody
 * has waited for `patience`: up to LEAVING nothing was given away, and opening again is always right. Who closes tries again
 * later. A program that never comes to rest within the patience keeps its memory until vramd ends the session.
 *
 * CAPTURES. While any stream is being captured (gate_capture_begin()), the device cannot be synchronised, and the
 * calls in the capture are only recorded. The gate then stays open, and who wants to close it waits until the last capture has ended;
 * meanwhile no capture begins when none is running.
 *
 * NESTING. A call that was let in passes freely until it has left: the driver may call itself through us.
 *
 * FORK. In a child CUDA does not work; gate_forked() opens the gate for good, so that calls reach the driver, which says so.
 *
 * Nothing here knows of CUDA.
 */
#ifndef VRAM_LIBCLIENT_CUDASHIM_GATE_H
#define VRAM_LIBCLIENT_CUDASHIM_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum gate_state {
	GATE_OPEN,
	GATE_DRAINING,
	GATE_LEAVING,
	GATE_CLOSED,
	GATE_OPENING,
	GATE_FAILED,
};

struct gate_ops {
	/* Waits until the device does nothing any more for this process. */
	void (*drain)(void *arg);
	/* Gives everything back. Nobody is inside, the device is idle. */
	void (*leave)(void *arg);
	/* Takes everything back; may take long. Return: 0, or -errno: the content is lost. */
	int (*open)(void *arg);
	void *arg;
};

/* A thread's place, on a cache line of its own. Written by its thread; the closer reads `inside`. */
struct gate_thread {
	_Alignas(64) _Atomic uint32_t inside;
	uint32_t depth; /* of passages within each other */
	_Atomic bool taken;
	struct gate_thread *next;
};

struct gate {
	_Alignas(64) _Atomic uint32_t state; /* enum gate_state; written with the lock held */

	_Alignas(64) pthread_mutex_t lock;
	pthread_cond_t changed;
	const struct gate_ops *ops;
	/* lock */
	bool wanted;		   /* somebody wants to close, and waits for captures */
	uint32_t captures;	   /* running, or waiting for a place */
	uint64_t impatient_ns;	   /* DRAINING: CLOCK_MONOTONIC, from when on who waits undoes it */
	_Atomic uint64_t n_closed; /* how often it was CLOSED; read without the lock */
};

extern __thread struct gate_thread *gate_self __attribute__((tls_model("initial-exec")));

void gate_init(struct gate *gate, const struct gate_ops *ops);

/* ---- the passage ---- */

struct gate_thread *gate_thread_new(void);
bool gate_enter_slow(struct gate *gate, struct gate_thread *self);

/* Return: true: inside, gate_leave() is due. false: the gate has FAILED. */
static inline bool gate_enter(struct gate *gate)
{
	struct gate_thread *self = gate_self;

	if (__builtin_expect(!self, 0))
		self = gate_thread_new();
	if (self->depth++)
		return true;
	/* The passage's half of Dekker. */
	atomic_store_explicit(&self->inside, 1, memory_order_seq_cst);
	if (__builtin_expect(atomic_load_explicit(&gate->state, memory_order_seq_cst) == GATE_OPEN,
			     1))
		return true;
	return gate_enter_slow(gate, self);
}

static inline void gate_leave(void)
{
	struct gate_thread *self = gate_self;

	/* Release: what this thread has asked of the driver comes before what the closer does then. */
	if (--self->depth == 0)
		atomic_store_explicit(&self->inside, 0, memory_order_release);
}

/* Whether this thread is inside: then its calls are the driver's own. */
static inline bool gate_is_inside(void)
{
	return gate_self && gate_self->depth;
}

/* A capture: counted from before it begins until after it has ended. Return: as gate_enter(). */
bool gate_capture_begin(struct gate *gate);
void gate_capture_end(struct gate *gate);
bool gate_is_capturing(struct gate *gate);

/* ---- the closing; one thread at a time ---- */

/*
 * OPEN to CLOSED. Return: 0; -EALREADY if it is CLOSED; -EBUSY if it is OPENING; -EAGAIN if it was undone, or captures
 * did not end, within patience_ns; -ECANCELED in FAILED.
 */
int gate_close(struct gate *gate, uint64_t patience_ns);

/* For good, from any state but OPENING (there open() says so). */
void gate_fail(struct gate *gate);
enum gate_state gate_get(struct gate *gate);
void gate_forked(struct gate *gate);

#endif
