/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * Sections that may be waited for: how the residency table is exchanged under running threads.
 *
 * An acquire or release of a resident layer looks up its slot and changes a count there. When the
 * daemon has been restarted, the table is a new one, and the pins of the old one have to be carried over exactly:
 * none lost, none counted twice. So the two steps are a section that the thread announces by a plain
 * store to a flag of its own, and who exchanges the table first says so (struct vram_client.phase),
 * then calls reader_wait() to see every section over that might not have read it.
 *
 * The announcement must be visible before the section reads the phase. A full barrier in every
 * section would cost more than all the rest of it; instead reader_wait() makes all
 * other processors do one with membarrier(2). Where the kernel refuses that, and under
 * ThreadSanitizer, which does not know it, sections pay.
 *
 * Sections are a few instructions, never nest, and never call anything that waits.
 */
#ifndef VRAM_LIBCLIENT_READER_H
#define VRAM_LIBCLIENT_READER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"

struct reader {
	_Atomic uint32_t inside;
	bool known; /* this thread is in the list */
	struct list_node node;
};

extern __thread struct reader reader_self __attribute__((tls_model("initial-exec")));
extern bool reader_needs_fence;

/* Before the first section; may be repeated. Return: 0, -ENOMEM (the process has no thread key left). */
int reader_init(void);

/* A thread's first section; see reader_enter(). */
void reader_introduce(void);

static inline void reader_enter(void)
{
	if (__builtin_expect(!reader_self.known, 0))
		reader_introduce();
#ifdef __SANITIZE_THREAD__
	atomic_exchange_explicit(&reader_self.inside, 1, memory_order_seq_cst);
#else
	if (__builtin_expect(reader_needs_fence, 0))
		atomic_exchange_explicit(&reader_self.inside, 1, memory_order_seq_cst);
	else
		atomic_store_explicit(&reader_self.inside, 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
#endif
}

static inline void reader_leave(void)
{
	atomic_store_explicit(&reader_self.inside, 0, memory_order_release);
}

/*
 * Waits until every section of any thread that was under way, and may have read what the caller has changed
 * (by a seq_cst store) since, is over.
 */
void reader_wait(void);

#endif
