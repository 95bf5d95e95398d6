// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "libclient/cudashim/turn.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "libclient/cuda.h"
#include "libclient/cudashim/context.h"
#include "libclient/cudashim/queue.h"
#include "libclient/cudashim/shim.h"
#include "libclient/cudashim/turn_private.h"
#include "libclient/internal.h"

/* How long all buffers are waited for before it is asked whether to go on waiting. */
#define SLICE_NS   (2 * SEC)
#define ERRORS_MAX 3
/* How long one waits for others to come in, and keeps others from it: see queue.h. */
#define QUEUE_MAX_NS (60 * SEC)
#define QUEUE_OWN_NS (30 * SEC)
/* A wish from the time of coming in waits for so long. */
#define STALE_NS (2 * SEC)
/* How long a call may stand at a gate that does not get closed: a part of what vramd grants, within these. */
#define PATIENCE_MIN_NS (SEC / 20)
#define PATIENCE_MAX_NS (5 * SEC)
/* How often is looked whether somebody has come in, or a time has come. */
#define LOOK_NS (SEC / 100)
/* Who was sent out lets the others come first: see yield(). */
#define YIELD_NS      (3 * SEC / 10)
#define YIELD_CALM_NS (SEC / 20)
#define YIELD_MAX_NS  (5 * SEC)
#define YIELD_LOOK_NS (SEC / 500)

struct turn turn = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.held = true,
	.device = -1,
	.wish_lock = PTHREAD_MUTEX_INITIALIZER,
	.wish_changed = PTHREAD_COND_INITIALIZER,
};

cuda_device turn_device(void)
{
	return atomic_load(&turn.device);
}

void turn_never(void)
{
	if (!atomic_exchange(&turn.never, true))
		report_line(
			"%s keeps the memory that it has: out of memory for what has to be known",
			shim.name);
}

void turn_nap(uint64_t ns)
{
	const struct timespec ts = { .tv_sec = (time_t)(ns / SEC), .tv_nsec = (long)(ns % SEC) };

	nanosleep(&ts, NULL);
}

/* ---- out and back: what the gate calls --------------------------------------------- */

static void drain(void *arg)
{
	(void)arg;
	context_synchronize_all(turn_device());
}

static void leave(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&turn.lock);
	/* The bytes of a session that is over exist nowhere else. */
	if (turn.client && !atomic_load(&turn.lost)) {
		cuda_client_release_all(turn.client);
		turn.held = false;
		turn.released_ns = client_now_ns();
	}
	pthread_mutex_unlock(&turn.lock);
}

static uint32_t count_resident(void)
{
	uint32_t n = 0;

	pthread_mutex_lock(&turn.lock);
	for (uint32_t i = 0; i < turn.n_buffers; i++)
		n += vram_layer_is_resident(vram_buffer_layer(turn.buffers[i], 0));
	pthread_mutex_unlock(&turn.lock);
	return n;
}

/*
 * After everything was given back because somebody else wants the card. To take it again at once would be quicker than vramd
 * sees that it was given; to take what is left while the other is still getting the rest would make each hold a part of
 * what both need. So: until nothing is left, or no more is taken; or nobody has begun to take.
 */
static void yield(void)
{
	uint64_t since = turn.released_ns, now = client_now_ns(), changed = now;
	uint32_t first = count_resident(), last = first;

	while (last > 0 && !atomic_load(&turn.lost) && now - since < YIELD_MAX_NS) {
		uint32_t n;

		turn_nap(YIELD_LOOK_NS);
		n = count_resident();
		now = client_now_ns();
		if (n != last)
			changed = now;
		last = n;
		if (now - changed > YIELD_CALM_NS && (last < first || now - since > YIELD_NS))
			break;
	}
}

/* One attempt to get everything back. Return: 0; -ETIMEDOUT, -ENOMEM and the like: not yet; -ECONNRESET. */
static int take_all(void)
{
	int r = 0;

	pthread_mutex_lock(&turn.lock);
	if (!turn.held && turn.n_buffers == 0)
		turn.held = true;
	if (!turn.held) {
		r = atomic_load(&turn.lost) || !turn.client ?
			    -ECONNRESET :
			    cuda_client_acquire_all(turn.client, SLICE_NS);
		turn.held = r == 0;
	}
	pthread_mutex_unlock(&turn.lock);
	return r;
}

/* n_errors: how often the disk or the driver has failed; once may be chance. */
static bool is_final(int r, unsigned int *n_errors)
{
	if (r == -EIO)
		return ++*n_errors > ERRORS_MAX;
	/* The rest may pass: room that outsiders took, a limit that was lowered, a swap file that is full. */
	return r == -ECONNRESET || r == -ESTALE || r == -ECHILD || r == -EINVAL;
}

/* What was held has been given back: whatever vramd wanted of it is done. */
static void drop_wish(void)
{
	pthread_mutex_lock(&turn.wish_lock);
	turn.wanted = false;
	pthread_mutex_unlock(&turn.wish_lock);
	turn.released_ns = client_now_ns();
}

/*
 * All is there. What vramd wished while it came in was about a part of it: the turn begins now, and at its end vramd says so
 * anew. Should it not, because that wish was already about all of it, it is heeded after a while.
 */
static void put_off_wish(void)
{
	uint64_t now = client_now_ns();

	pthread_mutex_lock(&turn.wish_lock);
	if (turn.wanted) {
		uint64_t left = turn.deadline_ns > now ? (turn.deadline_ns - now) / 2 : 0;

		turn.not_before_ns = now + (left < STALE_NS ? left : STALE_NS);
	}
	pthread_mutex_unlock(&turn.wish_lock);
}

static int come_back(void *arg)
{
	uint64_t since = client_now_ns(), entered = since;
	unsigned int n_errors = 0;
	int mode = context_relax();
	bool said = false;
	int r;

	(void)arg;
	yield();
	for (;;) {
		queue_enter(QUEUE_MAX_NS, &turn.lost);
		r = take_all();
		if (r == 0 || is_final(r, &n_errors))
			break;
		if (r != -ETIMEDOUT)
			turn_nap(TURN_PAUSE_NS);
		if (client_now_ns() - entered > QUEUE_OWN_NS) {
			queue_leave();
			drop_wish();
			yield();
			entered = client_now_ns();
		}
		if (!said && client_now_ns() - since > TURN_SAY_AFTER_NS) {
			report_line("%s waits for memory of the card: %s", shim.name,
				    r == -ETIMEDOUT ? "others use it" : vram_error_text());
			said = true;
		}
	}
	put_off_wish();
	queue_leave();
	context_restore(mode);
	if (r < 0)
		report_line("%s has lost its memory on the card: %s", shim.name,
			    atomic_load(&turn.lost) ? "vramd has ended while it held it" :
						      vram_error_text());
	return r;
}

static const struct gate_ops gate_operations = {
	.drain = drain,
	.leave = leave,
	.open = come_back,
};
struct gate shim_gate;

void turn_init(void)
{
	gate_init(&shim_gate, &gate_operations);
}

/* ---- the thread that sends the program out ------------------------------------------ */

void turn_on_revoke(void *arg, uint64_t deadline_ns)
{
	(void)arg;
	/* For good: in this thread the library unmaps what vramd reclaims, captures of the program or not. */
	context_relax();
	pthread_mutex_lock(&turn.wish_lock);
	turn.wanted = true;
	turn.wanted_at = atomic_load(&shim_gate.n_closed);
	turn.not_before_ns = 0;
	turn.deadline_ns = deadline_ns;
	pthread_cond_signal(&turn.wish_changed);
	pthread_mutex_unlock(&turn.wish_lock);
}

void turn_on_lost(void *arg, const char *text)
{
	enum gate_state state = gate_get(&shim_gate);
	/* Who is out learns at the next call what has become of it. */
	bool in = state == GATE_OPEN || state == GATE_DRAINING;

	(void)arg;
	if (!atomic_exchange(&turn.lost, true))
		report_line("vramd has gone%s%s%s%s%s", *text ? " (" : "", text, *text ? ")" : "",
			    in ? ": what it holds stays with " : "", in ? shim.name : "");
	pthread_mutex_lock(&turn.wish_lock);
	turn.wanted = false;
	pthread_mutex_unlock(&turn.wish_lock);
}

static uint64_t patience(uint64_t deadline_ns)
{
	uint64_t now = client_now_ns();
	uint64_t ns = deadline_ns > now ? (deadline_ns - now) / 4 : 0;

	return ns < PATIENCE_MIN_NS ? PATIENCE_MIN_NS : ns > PATIENCE_MAX_NS ? PATIENCE_MAX_NS : ns;
}

/* Out, if nothing has made it needless. The lock is held, and let go meanwhile. */
static void go_out(void)
{
	uint64_t ns = patience(turn.deadline_ns);
	int r;

	pthread_mutex_unlock(&turn.wish_lock);
	r = atomic_load(&turn.never) ? -ECANCELED : gate_close(&shim_gate, ns);
	/* Who is coming in looks at the wish itself. */
	if (r == -EBUSY)
		turn_nap(LOOK_NS);
	else if (r == -EAGAIN)
		turn_nap(ns / 2);
	pthread_mutex_lock(&turn.wish_lock);
	/* A wish that came meanwhile counts, unless this was the answer to it. */
	if (r == -ECANCELED || r == -EALREADY || atomic_load(&shim_gate.n_closed) > turn.wanted_at)
		turn.wanted = false;
}

static void *turn_main(void *arg)
{
	(void)arg;
	context_relax();
	pthread_mutex_lock(&turn.wish_lock);
	for (;;) {
		while (!turn.wanted)
			pthread_cond_wait(&turn.wish_changed, &turn.wish_lock);
		if (client_now_ns() < turn.not_before_ns) {
			pthread_mutex_unlock(&turn.wish_lock);
			turn_nap(LOOK_NS);
			pthread_mutex_lock(&turn.wish_lock);
			continue;
		}
		go_out();
	}
	return NULL;
}

/* The lock is held. */
int turn_start_thread(void)
{
	pthread_t thread;
	sigset_t all, old;
	int r;

	if (turn.has_thread)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, turn_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return -ENOMEM;
	pthread_setname_np(thread, "vram-turn");
	pthread_detach(thread);
	turn.has_thread = true;
	return 0;
}
