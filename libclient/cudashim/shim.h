/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * libcuda.so.1 of ours: what an unmodified CUDA program under vramrun finds instead of the driver.
 *
 * It exports every name of the driver's library and passes every call on to it. Of some it makes more:
 *
 *   entry.c	   the exported functions that are passed on, plainly or through the gate
 *   init.c	   what is done when the library is loaded, and in a forked child; cuInit
 *   real.c	   the driver's library: found, opened, its functions' addresses
 *   lookup.c	   cuGetProcAddress: ours in place of theirs, by equal address (proc.c)
 *   gate.c	   where work for the device waits while the program's memory is away
 *   turn.c	   when the program has its memory: the way out and back
 *   session.c	   the connection to vramd, and the buffers
 *   queue.c	   one program at a time is on its way back
 *   limit.c	   what the tenant may have
 *   context.c	   the contexts that the device must be idle in
 *   capture.c	   streams that are being captured
 *   memory.c	   what is allocated: ours at vramd's chunks (ranges.c), counted at the driver's (tally.c)
 *   alloc.c	   the functions that allocate and free
 *   info.c	   the functions that tell about memory, and those that are refused for ours
 *   report.c	   what is said on stderr
 *
 * WHAT IT DOES. An allocation of SHIM_LARGE or more on vramd's card becomes a buffer of vramd's with one layer, at an address
 * that is reserved for it for good. All of them are pinned together while the program may run. When vramd wants
 * the card for somebody else (REVOKE), the gate is closed, what runs is waited for, and all pins are released; vramd copies
 * out what it needs room for. The next call that wants the device takes all of it back, at the same addresses.
 *
 * WHAT IS COPIED. Everything, also weights that were uploaded once and are only read since: CUDA does not tell
 * who writes to memory, and the page tables of the card show no dirty bits. A buffer is therefore written out when its room is needed
 * and read back, both. Nothing is copied while all programs fit.
 *
 * RULES. A program must not fail because of us in a way in which it could not fail at the driver: a refusal is an error of
 * CUDA's own, and without vramd the driver allocates plainly. Only where bytes are lost (vramd has ended while they were
 * away) do all later calls that need the device fail, with CUDA_ERROR_LAUNCH_FAILED, which programs know as final.
 * A thread that is inside the driver (gate_is_inside()) is passed through: the driver's calls of itself are not ours.
 *
 * FORK. A child has no CUDA: shim.forked, and every function passes on, so that the driver says so.
 *
 * LOCKS, in this order: turn.c's (the client, what is pinned), the gate's, those of the tables. Only the first is
 * held while vramd is waited for.
 */
#ifndef VRAM_LIBCLIENT_CUDASHIM_SHIM_H
#define VRAM_LIBCLIENT_CUDASHIM_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cuda_abi.h"
#include "libclient/admit_wish.h"
#include "libclient/cudashim/gate.h"
#include "libclient/cudashim/hooks.h"

/* Smaller allocations stay with the driver: a chunk is never smaller than this. */
#define SHIM_LARGE (2u << 20)

/* What a call returns when the program's memory is lost. */
#define SHIM_LOST CUDA_ABI_ERROR_LAUNCH_FAILED

struct shim {
	_Atomic bool forked;
	_Atomic bool off; /* no vramd, or not for us: the driver alone */

	/* From the environment, set by vramrun. */
	bool quiet;
	bool verbose;
	bool require;
	bool stats;
	const char *name;
	struct admit_wish wish;
};

extern struct shim shim;
extern struct gate shim_gate;

/* Whether a call is to be passed on without a look. */
static inline bool shim_passes(void)
{
	return shim.forked || gate_is_inside();
}

/* The driver's own function, for one that hooks.h has a prototype for. */
#define REAL(name) ((__typeof__(&name))real_##name)

#define SHIM_SLOT(name, ...) extern void *real_##name;
SHIM_HOOKS(SHIM_SLOT)
SHIM_GATES(SHIM_SLOT)
#undef SHIM_SLOT

/* ---- entry.c ---- */

/* What is in a slot before the library is loaded, and for a name that it lacks. */
cuda_result shim_unready(void);
cuda_result shim_missing(void);

struct shim_name {
	const char *name;
	void **slot;
};
extern const struct shim_name shim_names[];
extern const size_t shim_n_names;

/* A function with code of ours. */
struct shim_ours {
	const char *name;
	void *ours;
	void **slot;
	int version;
};
extern const struct shim_ours shim_hooked[];
extern const size_t shim_n_hooked;

/* ---- real.c ---- */

/* Once, before anything else of this library. */
void real_load(void);
/* NULL: there is no driver, and real_error() says why. */
const char *real_path(void);
const char *real_error(void);
/* Whatever function the driver's library exports, for what hooks.h has no prototype of. NULL if it lacks it. */
void *real_find(const char *name);

/* ---- report.c ---- */

/* One line "vramrun: ...", unless quiet. */
void report_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
