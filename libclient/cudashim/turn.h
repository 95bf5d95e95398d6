/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The program's turn at the card: the connection to vramd, the way out when vramd asks, the way back.
 *
 * One lock (turn_lock()) serialises what the library allows to one caller at a time: buffers made, freed, acquired
 * and released. It is held while vramd is waited for, in slices, so that the way out is never blocked for long.
 *
 * THE WAY OUT. vramd's REVOKE is taken down in the library's thread and done in one of our own: the gate is closed
 * (gate.h), every context is synchronised, every pin released. If the gate was opened again by somebody's impatience, it is tried again,
 * as long as vramd still waits.
 *
 * THE WAY BACK. The thread that finds the gate closed lets others come first (yield()), waits until no other program is on its way
 * in (queue.h), and asks for all buffers at once. What it does not get within a slice of time it gives back for a moment, to see whether
 * vramd wants it.
 *
 * A NEW BUFFER is acquired beside what is held. If the program was sent out meanwhile, it is released too, and comes
 * with the rest (`held`, under the lock, says which).
 *
 * WHEN VRAMD ENDS, or ends the session, the device memory that is mapped stays as it is: a program that has its turn keeps it,
 * for good, and new allocations are the driver's. A program that was out has lost its bytes: the gate fails.
 */
#ifndef VRAM_LIBCLIENT_CUDASHIM_TURN_H
#define VRAM_LIBCLIENT_CUDASHIM_TURN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cuda_abi.h"

struct vram_buffer;

/* What the tenant may have. */
struct turn_room {
	uint64_t limit_bytes;	    /* of the card, for this program */
	uint64_t used_bytes;	    /* of that, in buffers */
	uint64_t granularity_bytes; /* of buffers */
};

/* When the library is loaded. */
void turn_init(void);

/*
 * Whether allocations of this thread go to vramd: it is there (connected at the first call), its card is the one of the current
 * context. Return: 0; -ENODEV: another card, the driver's; -ENOTCONN: no vramd, the driver's unless shim.require.
 */
int turn_begin(void);

/*
 * Asks without connecting for good, for who only wants to know. device: -1 for the current context's.
 * Return: 0, or -ENODEV, -ENOTCONN.
 */
int turn_room(cuda_device device, struct turn_room *out);

/* Return: the number of vramd's card in this process; -1 while not connected. */
cuda_device turn_device(void);

/*
 * A buffer of so many bytes, acquired. Return: 0, -ENOMEM, -ENOSPC: the limit; -E2BIG: too many buffers; -ENOTCONN: no vramd; or
 * another -errno.
 */
int turn_buffer_new(uint64_t bytes, struct vram_buffer **out, uint64_t *out_address);
/* The device must not be using it. */
void turn_buffer_free(struct vram_buffer *buffer);

/* After the last buffer. */
void turn_disconnect(void);

/* The program has something that cannot be waited for: it keeps what it has. */
void turn_never(void);

/* At the end of the program, with --stats. */
void turn_print_stats(void);

#endif
