// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/cudashim/gate.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* How often who closes looks whether all have left: closing is rare, and so leaving stays cheap. */
#define LOOK_FIRST_NS 20000
#define LOOK_MAX_NS   1000000

__thread struct gate_thread *gate_self __attribute__((tls_model("initial-exec")));

/* All places that were ever made, for all gates; none is freed, a new thread takes one that was left. */
static _Atomic(struct gate_thread *) threads;
static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void thread_ends(void *arg)
{
	struct gate_thread *self = arg;

	gate_self = NULL;
	self->depth = 0;
	atomic_store_explicit(&self->inside, 0, memory_order_release);
	atomic_store_explicit(&self->taken, false, memory_order_release);
}

static void make_key(void)
{
	/* Without a key places are not taken again: some memory for each thread that ever was. */
	if (pthread_key_create(&thread_key, thread_ends))
		thread_key = (pthread_key_t)-1;
}

static struct gate_thread *take_left(void)
{
	struct gate_thread *t;

	for (t = atomic_load(&threads); t; t = t->next) {
		bool taken = false;

		if (!atomic_load_explicit(&t->taken, memory_order_relaxed) &&
		    atomic_compare_exchange_strong(&t->taken, &taken, true))
			return t;
	}
	return NULL;
}

struct gate_thread *gate_thread_new(void)
{
	struct gate_thread *t;

	pthread_once(&thread_once, make_key);
	t = take_left();
	if (!t) {
		/* There is no way to say no: whoever calls the driver in such need waits for 128 bytes. */
		while (!(t = aligned_alloc(_Alignof(struct gate_thread), sizeof(*t))))
			nanosleep(&(struct timespec){ .tv_nsec = LOOK_MAX_NS }, NULL);
		*t = (struct gate_thread){ .taken = true };
		t->next = atomic_load(&threads);
		while (!atomic_compare_exchange_weak(&threads, &t->next, t))
			;
	}
	if (thread_key != (pthread_key_t)-1)
		pthread_setspecific(thread_key, t);
	gate_self = t;
	return t;
}

void gate_init(struct gate *gate, const struct gate_ops *ops)
{
	pthread_condattr_t attr;

	*gate = (struct gate){ .ops = ops };
	pthread_mutex_init(&gate->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&gate->changed, &attr);
	pthread_condattr_destroy(&attr);
}

static void set_state(struct gate *gate, enum gate_state state)
{
	/* Seq_cst: the closer's half of Dekker. Release: what was acquired comes before who finds it OPEN. */
	atomic_store_explicit(&gate->state, state, memory_order_seq_cst);
	pthread_cond_broadcast(&gate->changed);
}

static void wait_until(struct gate *gate, uint64_t until_ns)
{
	const struct timespec ts = {
		.tv_sec = (time_t)(until_ns / 1000000000u),
		.tv_nsec = (long)(until_ns % 1000000000u),
	};

	pthread_cond_timedwait(&gate->changed, &gate->lock, &ts);
}

/* Waits for OPEN, does what is due for it. The lock is held. Return: false if the gate has FAILED. */
static bool await_open(struct gate *gate)
{
	for (;;) {
		int r;

		switch (atomic_load(&gate->state)) {
		case GATE_OPEN:
			return true;
		case GATE_FAILED:
			return false;
		case GATE_DRAINING:
			if (now_ns() >= gate->impatient_ns)
				set_state(gate, GATE_OPEN);
			else
				wait_until(gate, gate->impatient_ns);
			break;
		case GATE_CLOSED:
			set_state(gate, GATE_OPENING);
			pthread_mutex_unlock(&gate->lock);
			r = gate->ops->open(gate->ops->arg);
			pthread_mutex_lock(&gate->lock);
			set_state(gate, r < 0 ? GATE_FAILED : GATE_OPEN);
			break;
		default:
			pthread_cond_wait(&gate->changed, &gate->lock);
			break;
		}
	}
}

bool gate_enter_slow(struct gate *gate, struct gate_thread *self)
{
	bool open;

	do {
		atomic_store_explicit(&self->inside, 0, memory_order_release);
		pthread_mutex_lock(&gate->lock);
		open = await_open(gate);
		pthread_mutex_unlock(&gate->lock);
		if (!open) {
			self->depth = 0;
			return false;
		}
		atomic_store_explicit(&self->inside, 1, memory_order_seq_cst);
	} while (atomic_load_explicit(&gate->state, memory_order_seq_cst) != GATE_OPEN);
	return true;
}

bool gate_capture_begin(struct gate *gate)
{
	bool open = true;

	pthread_mutex_lock(&gate->lock);
	while (open) {
		open = await_open(gate);
		/* One within another must begin, or the other never ends. */
		if (!open || !gate->wanted || gate->captures)
			break;
		pthread_cond_wait(&gate->changed, &gate->lock);
	}
	if (open)
		gate->captures++;
	pthread_mutex_unlock(&gate->lock);
	return open;
}

void gate_capture_end(struct gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	if (gate->captures && --gate->captures == 0)
		pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->lock);
}

bool gate_is_capturing(struct gate *gate)
{
	bool capturing;

	pthread_mutex_lock(&gate->lock);
	capturing = gate->captures;
	pthread_mutex_unlock(&gate->lock);
	return capturing;
}

static bool all_left(void)
{
	struct gate_thread *t;

	for (t = atomic_load(&threads); t; t = t->next)
		if (atomic_load_explicit(&t->inside, memory_order_seq_cst))
			return false;
	return true;
}

/* Return: false if somebody has undone the closing meanwhile. */
static bool await_all_left(struct gate *gate)
{
	struct timespec pause = { .tv_nsec = LOOK_FIRST_NS };

	while (!all_left()) {
		if (atomic_load(&gate->state) != GATE_DRAINING)
			return false;
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < LOOK_MAX_NS)
			pause.tv_nsec *= 2;
		/* Nobody waits at the gate, so nobody is impatient for us. */
		pthread_mutex_lock(&gate->lock);
		if (atomic_load(&gate->state) == GATE_DRAINING && now_ns() >= gate->impatient_ns)
			set_state(gate, GATE_OPEN);
		pthread_mutex_unlock(&gate->lock);
	}
	return true;
}

/* OPEN to DRAINING, when no capture is running. The lock is held. */
static int begin_draining(struct gate *gate, uint64_t patience_ns)
{
	uint64_t until = now_ns() + patience_ns;
	int r = 0;

	gate->wanted = true;
	while (gate->captures && now_ns() < until)
		wait_until(gate, until);
	switch (atomic_load(&gate->state)) {
	case GATE_OPEN:
		if (gate->captures) {
			r = -EAGAIN;
			break;
		}
		gate->impatient_ns = now_ns() + patience_ns;
		set_state(gate, GATE_DRAINING);
		break;
	case GATE_FAILED:
		r = -ECANCELED;
		break;
	case GATE_CLOSED:
		r = -EALREADY;
		break;
	default:
		r = -EBUSY;
		break;
	}
	gate->wanted = false;
	pthread_cond_broadcast(&gate->changed);
	return r;
}

int gate_close(struct gate *gate, uint64_t patience_ns)
{
	int r;

	pthread_mutex_lock(&gate->lock);
	r = begin_draining(gate, patience_ns);
	pthread_mutex_unlock(&gate->lock);
	if (r < 0)
		return r;
	if (!await_all_left(gate))
		return -EAGAIN;
	gate->ops->drain(gate->ops->arg);

	pthread_mutex_lock(&gate->lock);
	if (atomic_load(&gate->state) != GATE_DRAINING) {
		pthread_mutex_unlock(&gate->lock);
		return -EAGAIN;
	}
	set_state(gate, GATE_LEAVING);
	pthread_mutex_unlock(&gate->lock);

	gate->ops->leave(gate->ops->arg);

	pthread_mutex_lock(&gate->lock);
	if (atomic_load(&gate->state) == GATE_LEAVING) {
		atomic_fetch_add(&gate->n_closed, 1);
		set_state(gate, GATE_CLOSED);
	}
	pthread_mutex_unlock(&gate->lock);
	return 0;
}

void gate_fail(struct gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	set_state(gate, GATE_FAILED);
	pthread_mutex_unlock(&gate->lock);
}

enum gate_state gate_get(struct gate *gate)
{
	return (enum gate_state)atomic_load(&gate->state);
}

void gate_forked(struct gate *gate)
{
	const struct gate_ops *ops = gate->ops;

	gate_init(gate, ops);
}
