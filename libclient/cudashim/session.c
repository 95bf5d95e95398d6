// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/* The connection to vramd, and the buffers that the program's memory is. See turn.h. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/cuda_driver.h"
#include "common/size.h"
#include "libclient/cuda.h"
#include "libclient/cudashim/context.h"
#include "libclient/cudashim/shim.h"
#include "libclient/cudashim/turn_private.h"
#include "libclient/internal.h"
#include "libclient/vram_cuda.h"

/* How long a new buffer is waited for before the others get a chance to go. */
#define SLICE_NEW_NS (SEC / 5)

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

/*
 * Waits its turn, if the user wants that. How much the program will allocate nobody knows: without --working-set it is
 * what limits promise to it.
 */
static int be_admitted(struct vram_client *client)
{
	int r = 0;

	if (!shim.wish.wanted)
		return 0;
	client_lock(client);
	r = admit_wish_ask(&shim.wish, client, 0, shim.name, report_line);
	client_unlock(client);
	return r == -ENOTCONN ? 0 : r;
}

/* The lock is held. */
static int connect_vramd(void)
{
	const struct cuda_hooks hooks = { .revoke = turn_on_revoke, .lost = turn_on_lost };
	struct vram_cuda_device card;
	struct vram_client *client;
	int r;

	r = open_driver();
	if (r < 0)
		return r;
	r = cuda_client_connect(NULL, shim.name, &turn.driver, NULL, &hooks, &client);
	if (r < 0)
		return do_without(vram_error_text());
	r = be_admitted(client);
	if (r < 0) {
		/* Asked for again with the next allocation. */
		vram_close(client);
		return -ENOMEM;
	}
	r = vram_client_cuda_device(client, &card);
	if (r == 0)
		r = turn_start_thread();
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
/* How much of the card the program may have: what vramd can give at all, and the tenant's own limits. */
static int limit_ask(struct vram_client *client, uint64_t *out_bytes)
{
	struct vram_stats stats;
	int r = vram_client_stats(client, &stats);

	if (r < 0)
		return r;
	*out_bytes = stats.limit_bytes;
	return 0;
}

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
		if (!said && client_now_ns() - since > TURN_SAY_AFTER_NS) {
			report_line("%s waits for memory of the card", shim.name);
			said = true;
		}
		turn_nap(TURN_PAUSE_NS);
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
