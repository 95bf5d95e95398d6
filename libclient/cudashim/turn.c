// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "libclient/cudashim/turn.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cuda_driver.h"
#include "common/size.h"
#include "libclient/cuda.h"
#include "libclient/cudashim/context.h"
#include "libclient/cudashim/limit.h"
#include "libclient/cudashim/queue.h"
#include "libclient/cudashim/shim.h"
#include "libclient/internal.h"
#include "libclient/vram_cuda.h"

#define SEC 1000000000ull
/* How long all buffers, or a new one, are waited for before it is asked whether to go on waiting. */
#define SLICE_NS     (2 * SEC)
#define SLICE_NEW_NS (SEC / 5)
#define PAUSE_NS     (SEC / 200)
#define ERRORS_MAX   3
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
/* A program that stands still for so long says why. */
#define SAY_AFTER_NS (10 * SEC)

static struct {
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
	bool said_none, said_many; /* lock */

	/* What the thread is to do. */
	pthread_mutex_t wish_lock;
	pthread_cond_t wish_changed;
	bool has_thread;
	bool wanted;
	uint64_t wanted_at; /* how often the gate had been closed then */
	uint64_t not_before_ns;
	uint64_t deadline_ns;
} turn = {
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

static void nap(uint64_t ns)
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

		nap(YIELD_LOOK_NS);
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
			nap(PAUSE_NS);
		if (client_now_ns() - entered > QUEUE_OWN_NS) {
			queue_leave();
			drop_wish();
			yield();
			entered = client_now_ns();
		}
		if (!said && client_now_ns() - since > SAY_AFTER_NS) {
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

static void on_revoke(void *arg, uint64_t deadline_ns)
{
	(void)arg;
	pthread_mutex_lock(&turn.wish_lock);
	turn.wanted = true;
	turn.wanted_at = atomic_load(&shim_gate.n_closed);
	turn.not_before_ns = 0;
	turn.deadline_ns = deadline_ns;
	pthread_cond_signal(&turn.wish_changed);
	pthread_mutex_unlock(&turn.wish_lock);
}

static void on_lost(void *arg, const char *text)
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
		nap(LOOK_NS);
	else if (r == -EAGAIN)
		nap(ns / 2);
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
			nap(LOOK_NS);
			pthread_mutex_lock(&turn.wish_lock);
			continue;
		}
		go_out();
	}
	return NULL;
}

/* The lock is held. */
static int start_thread(void)
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

/* ---- the connection ------------------------------------------------------------------ */

/* Return: the device of this process with that UUID, or -1. */
static cuda_device find_device(const struct cuda_driver *driver, const uint8_t uuid[16])
{
	struct cuda_uuid mine;
	cuda_device device;
	int n = 0;

	if (driver->device_get_count(&n) != CUDA_ABI_SUCCESS)
		return -1;
	for (int i = 0; i < n; i++)
		if (driver->device_get(&device, i) == CUDA_ABI_SUCCESS &&
		    driver->device_get_uuid(&mine, device) == CUDA_ABI_SUCCESS &&
		    memcmp(mine.bytes, uuid, 16) == 0)
			return device;
	return -1;
}

static void use_own_functions(void)
{
	void *own;

#define OWN(field, base, symbol, version, need, prototype) \
	own = real_find(#symbol);                          \
	if (own)                                           \
		turn.driver.field = (__typeof__(turn.driver.field))own;
	CUDA_ABI_ENTRIES(OWN)
}

/* The lock is held. */
static int open_driver(void)
{
	char reason[CUDA_DRIVER_REASON_SIZE];
	int r;

	if (turn.driver.library)
		return 0;
	if (!real_path())
		return -ENODEV;
	r = cuda_driver_open(&turn.driver, real_path(), reason, sizeof(reason));
	/*
	 * Where the program is linked with us, our names come before the driver's for everybody, and a driver that is not
	 * linked with -Bsymbolic hands out ours as its own. What its handle says is its own.
	 */
	if (r == 0)
		use_own_functions();
	if (r < 0) {
		shim.off = true;
		report_line("%s runs without vramd: %s", shim.name, reason);
		return -ENOTCONN;
	}
	return 0;
}

/* Said once; the driver alone from now on. The lock is held. */
static int do_without(const char *why)
{
	shim.off = true;
	report_line(shim.require ? "%s gets no large memory of the card: %s" :
				   "%s runs without vramd, with the driver's memory: %s",
		    shim.name, why);
	return -ENOTCONN;
}

/* The lock is held. */
static int connect_vramd(void)
{
	const struct cuda_hooks hooks = { .revoke = on_revoke, .lost = on_lost };
	struct vram_cuda_device card;
	struct vram_client *client;
	int r;

	r = open_driver();
	if (r < 0)
		return r;
	r = cuda_client_connect(NULL, shim.name, &turn.driver, NULL, &hooks, &client);
	if (r < 0)
		return do_without(vram_error_text());
	r = vram_client_cuda_device(client, &card);
	if (r == 0)
		r = start_thread();
	if (r < 0) {
		vram_close(client);
		return do_without(r == -ENOMEM ? "no thread" : vram_error_text());
	}
	turn.client = client;
	turn.granularity_bytes = card.granularity_bytes ? card.granularity_bytes : SHIM_LARGE;
	atomic_store(&turn.device, find_device(&turn.driver, card.uuid));
	if (shim.verbose)
		report_line("%s: the memory of card %.16s is vramd's", shim.name, card.pci);
	return 0;
}

int turn_begin(void)
{
	int r = 0, mode;

	if (shim.forked || shim.off || atomic_load(&turn.lost))
		return -ENOTCONN;
	if (turn_device() < 0) {
		mode = context_relax();
		pthread_mutex_lock(&turn.lock);
		if (!turn.client)
			r = connect_vramd();
		pthread_mutex_unlock(&turn.lock);
		context_restore(mode);
	}
	if (r < 0)
		return r;
	return context_device() == turn_device() ? 0 : -ENODEV;
}

void turn_disconnect(void)
{
	struct vram_client *client = NULL;

	pthread_mutex_lock(&turn.lock);
	if (turn.n_buffers == 0) {
		client = turn.client;
		turn.client = NULL;
		turn.held = true;
		atomic_store(&turn.device, -1);
	}
	pthread_mutex_unlock(&turn.lock);
	/* Not under the lock: it ends the watch, in which a hook may be running. */
	vram_close(client);
}

/* ---- room ---------------------------------------------------------------------------- */

/* A connection for one question, where there is none for good: making that would make a context. */
static int ask(cuda_device device, struct turn_room *out)
{
	struct vram_cuda_device card;
	struct vram_client *client;
	int r;

	pthread_mutex_lock(&turn.lock);
	r = open_driver();
	pthread_mutex_unlock(&turn.lock);
	if (r < 0)
		return r;
	if (vram_connect(NULL, shim.name, 0, &client) < 0)
		return -ENOTCONN;
	r = vram_client_cuda_device(client, &card);
	if (r == 0)
		r = find_device(&turn.driver, card.uuid) == device ?
			    limit_ask(client, &out->limit_bytes) :
			    -ENODEV;
	vram_close(client);
	out->used_bytes = 0;
	out->granularity_bytes = card.granularity_bytes;
	return r;
}

int turn_room(cuda_device device, struct turn_room *out)
{
	int r;

	if (shim.forked || shim.off || atomic_load(&turn.lost))
		return -ENOTCONN;
	if (device < 0)
		device = context_device();
	if (turn_device() < 0)
		return ask(device, out);
	if (device != turn_device())
		return -ENODEV;
	pthread_mutex_lock(&turn.lock);
	r = turn.client ? limit_ask(turn.client, &out->limit_bytes) : -ENOTCONN;
	out->used_bytes = turn.bytes;
	out->granularity_bytes = turn.granularity_bytes;
	pthread_mutex_unlock(&turn.lock);
	return r < 0 ? -ENOTCONN : 0;
}

/* ---- buffers ------------------------------------------------------------------------- */

static uint64_t rounded(uint64_t bytes)
{
	uint64_t g = turn.granularity_bytes;

	return (bytes + g - 1) / g * g;
}

/* The lock is held. */
static int make_buffer(uint64_t bytes, struct vram_buffer **out)
{
	uint64_t limit;
	int r;

	if (!turn.client || atomic_load(&turn.lost))
		return -ENOTCONN;
	if (bytes > UINT64_MAX / 2)
		return -ENOMEM;
	r = limit_ask(turn.client, &limit);
	if (r < 0)
		return r;
	/* All of it must be there at once. */
	if (rounded(bytes) > limit || turn.bytes > limit - rounded(bytes))
		return -ENOMEM;
	if (turn.n_buffers == turn.room) {
		uint32_t more = turn.room ? 2 * turn.room : 64;
		void *buffers = reallocarray(turn.buffers, more, sizeof(*turn.buffers));

		if (!buffers)
			return -ENOMEM;
		turn.buffers = buffers;
		turn.room = more;
	}
	r = vram_buffer_new(turn.client, "cuMemAlloc", bytes, 0, out);
	if (r < 0)
		return r;
	turn.bytes += rounded(bytes);
	turn.buffers[turn.n_buffers++] = *out;
	return 0;
}

/* Acquires a new buffer beside the others; or leaves it to come with them. The lock is held. */
static int take_new(struct vram_buffer *buffer)
{
	int r;

	if (atomic_load(&turn.lost))
		return -ENOTCONN;
	r = cuda_buffer_acquire(buffer, SLICE_NEW_NS);
	/* Nothing of the program runs now, so nothing uses it: this is a test whether there is room. */
	if (r == 0 && !turn.held)
		cuda_client_release_all(turn.client);
	return r;
}

/* The lock is held. */
static void drop_buffer(struct vram_buffer *buffer)
{
	turn.bytes -= rounded(vram_buffer_bytes(buffer));
	for (uint32_t i = 0; i < turn.n_buffers; i++)
		if (turn.buffers[i] == buffer)
			turn.buffers[i--] = turn.buffers[--turn.n_buffers];
	vram_buffer_free(buffer);
}

int turn_buffer_new(uint64_t bytes, struct vram_buffer **out, uint64_t *out_address)
{
	uint64_t since = client_now_ns();
	struct vram_buffer *buffer = NULL;
	bool said = false;
	int r, mode = context_relax();

	pthread_mutex_lock(&turn.lock);
	r = make_buffer(bytes, &buffer);
	while (r == 0) {
		r = take_new(buffer);
		if (r != -ETIMEDOUT)
			break;
		/* Others are at their turn, or we hold it ourselves and are about to be sent out. */
		pthread_mutex_unlock(&turn.lock);
		if (!said && client_now_ns() - since > SAY_AFTER_NS) {
			report_line("%s waits for memory of the card", shim.name);
			said = true;
		}
		nap(PAUSE_NS);
		pthread_mutex_lock(&turn.lock);
		r = 0;
	}
	if (r < 0 && buffer)
		drop_buffer(buffer);
	pthread_mutex_unlock(&turn.lock);
	context_restore(mode);
	if (r < 0)
		return r;
	*out = buffer;
	*out_address = (uintptr_t)vram_buffer_ptr(buffer);
	return 0;
}

void turn_buffer_free(struct vram_buffer *buffer)
{
	int mode = context_relax();

	pthread_mutex_lock(&turn.lock);
	drop_buffer(buffer);
	pthread_mutex_unlock(&turn.lock);
	context_restore(mode);
}

void turn_print_stats(void)
{
	char loaded[SIZE_TEXT_MAX], evicted[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX];
	struct vram_stats stats;
	int r = -ENOTCONN;

	if (pthread_mutex_trylock(&turn.lock))
		return;
	if (turn.client && !atomic_load(&turn.lost))
		r = vram_client_stats(turn.client, &stats);
	pthread_mutex_unlock(&turn.lock);
	if (r == 0)
		report_line(
			"%s: on the card %s, brought back %s, moved out %s, sent out %llu times",
			shim.name, size_format(total, stats.total_bytes),
			size_format(loaded, stats.loaded_bytes),
			size_format(evicted, stats.evicted_bytes),
			(unsigned long long)shim_gate.n_closed);
}
