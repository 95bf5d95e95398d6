/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * One program at a time comes in.
 *
 * Two programs that come in at once may each get a part of what both need, and hold it while they wait for the rest. vramd cannot
 * take it from them, and asks only who has had his turn. So whoever wants in takes a lock that all of one vramd's programs
 * know: flock(2) on the folder of its socket, which goes with the process that has it.
 *
 * The lock is a courtesy. Any process that can see the folder can hold it for ever; so nobody waits for it without
 * end, who has waited in vain waits for a moment only until he has had it, and who goes without is only slower.
 */
#ifndef VRAM_LIBCLIENT_CUDASHIM_QUEUE_H
#define VRAM_LIBCLIENT_CUDASHIM_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

/* Waits, at most so long, or until *give_up. One caller at a time; no effect for who has it. */
void queue_enter(uint64_t max_ns, const _Atomic bool *give_up);
void queue_leave(void);
/* In a child: the parent's lock is not kept. */
void queue_forked(void);

#endif
