/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The client's side of a card: what the library's other files, and the shim for unmodified CUDA programs, call.
 *
 * A client that is attached has a struct cuda_client, and each of its objects a struct cuda_object: an address range that is
 * reserved once, and what is mapped into it chunk by chunk. cuda_state.h has the rules about both.
 */
#ifndef VRAM_LIBCLIENT_CUDA_H
#define VRAM_LIBCLIENT_CUDA_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cuda_driver.h"

struct cuda_client;
struct cuda_object;
struct layer_slot;
struct object;
struct table;
struct vram_buffer;
struct vram_client;

/* ---- for the shim ----------------------------------------------------------------- */

/*
 * The shim is libcuda.so.1 itself in its process, so it cannot let the library look for the driver: it passes a table of
 * real entry points. All of its memory is buffers of one layer each; all of them are acquired for as long as the program may
 * run, and given back in one go:
 *
 *	cuda_client_connect(NULL, name, &real, NULL, &hooks, &client);	lazily, at the first allocation that matters
 *	vram_buffer_new(client, "cuMemAlloc", bytes, 0, &buffer);	at a fresh address: vram_buffer_ptr()
 *	cuda_buffer_acquire(buffer, -1);				a new one, while the others are held
 *	... the program runs ...
 *	revoke():	close the gate, cuCtxSynchronize, cuda_client_release_all(client)
 *	cuda_client_acquire_all(client, -1);				before the gate opens again
 *	vram_buffer_free(buffer);					held or not
 *	vram_client_stats(client, &stats);				budget_bytes, total_bytes, charged_bytes
 *	vram_close(client);						after the last buffer
 *
 * The functions below are for one caller at a time (acquire_all, release_all, buffer_acquire, vram_buffer_new and
 * vram_buffer_free among each other); the shim has a lock for that. revoke() may call cuda_client_release_all().
 *
 * Everything here returns the errnos of vram.h, with a sentence in vram_error_text().
 */
struct cuda_hooks {
	/*
	 * The daemon wants the device for somebody else: release all pins before deadline_ns (CLOCK_MONOTONIC), or
	 * the session ends. Runs in the watch thread without a lock, once for a burst of REVOKE messages, and not
	 * again before it has returned. While it runs nobody answers the daemon's RECLAIM, unless another
	 * thread calls the library: a deadline of seconds. NULL: REVOKE is the callback's of vram.h.
	 */
	void (*revoke)(void *arg, uint64_t deadline_ns);
	/*
	 * The daemon has ended, or has ended the session. Runs in the watch thread without a lock. The buffers
	 * are lost to the next daemon, but what is acquired now stays mapped and intact until it is released; whoever
	 * releases loses the bytes (the next acquire says -ECONNRESET). May be NULL.
	 */
	void (*lost)(void *arg, const char *text);
	void *arg;
};

/*
 * vram_connect() with the watch, and vram_client_attach_cuda(), in one, as an unmodified program (VRAM_HELLO_SHIM).
 * driver: copied; at least what CUDA_ABI_ENTRIES marks as needed is there, initialised (cuInit). context: current in the
 * library's calls; NULL: the primary context of the daemon's card. hooks: copied; NULL for none.
 * Return: as vram_connect() and vram_client_attach_cuda(); -ENOTSUP on a daemon without a card.
 */
int cuda_client_connect(const char *path, const char *name, const struct cuda_driver *driver,
			cuda_context context, const struct cuda_hooks *hooks,
			struct vram_client **out_client);

/*
 * Pins every layer of every object, asks for all that are not resident, then waits for each, then maps. What
 * is held already stays held once. timeout_ns: as for vram_layer_acquire(), for all of it.
 * Return: 0, or as vram_layer_acquire(); then what was not held before is not held.
 */
int cuda_client_acquire_all(struct vram_client *client, int64_t timeout_ns);

/* Gives back every pin of acquire_all() and cuda_buffer_acquire(). The device must not be using any of it. */
void cuda_client_release_all(struct vram_client *client);

/* The same for the layers of one buffer. No effect on what is held already. Return: as vram_layer_acquire(). */
int cuda_buffer_acquire(struct vram_buffer *buffer, int64_t timeout_ns);

#endif
