/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The probes of vramd (USDT, provider `vram`): an interface, which docs/tracing.md describes.
 *
 * Those of the ledger have the names and the fields, in this order, of the kernel module's trace points. They
 * fire where the ledger is in this process; with the module its trace points say the same. The others
 * tell of what only vramd knows (chunks, I/O, names) and fire in both cases.
 *
 * A probe that nobody has attached to costs a load and a branch: ask trace_on() first, look up what the event needs
 * only then, and fire. Whoever attaches sets the semaphore in our memory, so it is read each time.
 *
 * Fields are loaded from memory at fixed offsets behind a pointer (trace.c), a form of argument that every reader of
 * USDT notes understands. Texts are copied to where they have been written before: a page that was never touched
 * cannot be read from within a probe. What is asked for most is among the first six: others bpftrace does not give.
 *
 * Numbers are as in kmod/trace.h. A session that is not known is 0, with pid 0 and an empty comm.
 */
#ifndef VRAM_DAEMON_TRACE_H
#define VRAM_DAEMON_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#define TRACE_COMM_MAX 16
#define TRACE_NO_SHARE UINT32_MAX
#define TRACE_NO_SLOT  UINT32_MAX
/* Tiers beyond those of the ledger. */
#define TRACE_TIER_NONE 3u /* dropped, or made anew */
#define TRACE_TIER_FILE 4u /* a model's file; of I/O only */

#define TRACE_PROBES(probe)                                                                        \
	probe(vram_session_open) probe(vram_session_close) probe(vram_charge) probe(vram_uncharge) \
		probe(vram_limit_hit) probe(vram_stall_begin) probe(vram_stall_end)                \
			probe(vram_evict) probe(vram_restore) probe(vram_limit_change)             \
				probe(vram_arbiter_attach) probe(vram_arbiter_detach)              \
					probe(vram_io_begin) probe(vram_io_end)                    \
						probe(vram_chunk_evict) probe(vram_chunk_fault)    \
							probe(vram_share_new)                      \
								probe(vram_share_free)             \
									probe(vram_layers)

/* The names are the ones that sys/sdt.h makes of provider and probe. */
#define TRACE_SEMAPHORE(name) vram_##name##_semaphore
#define TRACE_DECLARE(name) \
	extern unsigned short TRACE_SEMAPHORE(name) __attribute__((visibility("hidden")));
TRACE_PROBES(TRACE_DECLARE)

#define trace_on(name) \
	__builtin_expect(*(const volatile unsigned short *)&TRACE_SEMAPHORE(name) != 0, 0)

struct trace_session {
	uint64_t session;
	uint64_t bytes[3]; /* close only: by tier */
	uint32_t uid;
	int32_t pid;
	const char *comm;
	const char *cgroup; /* open only: its path, or NULL */
};

struct trace_bytes {
	uint64_t session;
	uint64_t bytes;
	uint32_t share;
	uint32_t dev;
	uint32_t tier;
	int32_t pid;
	const char *comm;
};

struct trace_limit_hit {
	uint64_t session;
	uint64_t bytes;
	uint64_t limit_key;
	uint32_t limit_kind;
	uint32_t share;
	uint32_t dev;
	uint32_t tier;
	int32_t pid;
	const char *comm;
};

struct trace_stall {
	uint64_t session;
	uint64_t stall_ns; /* end only */
	uint32_t dev;
	uint32_t slot;
	int32_t pid;
	const char *comm;
};

struct trace_move {
	uint64_t session;
	uint64_t needed_session;
	uint64_t bytes;
	uint32_t share;
	uint32_t dev;
	uint32_t from;
	uint32_t to;
	int32_t pid;
	int32_t needed_pid;
	const char *comm;
	const char *needed_comm;
};

struct trace_limit_change {
	uint64_t key;
	uint64_t value;
	uint32_t kind;
	uint32_t dev;
	uint32_t tier;
	uint32_t limit;
	uint32_t flags; /* TRACE_LIMIT_* */
	int32_t pid;
	const char *comm;
};
#define TRACE_LIMIT_CLEAR     1u
#define TRACE_LIMIT_INHERITED 2u

struct trace_arbiter {
	uint64_t generation;
	uint32_t grace_ms;
	int32_t pid;
	const char *comm;
};

/* A chunk on its way in or out; for whom: who waits for it, or one of those who use it, or nobody. */
struct trace_io {
	uint64_t session;
	uint64_t bytes;
	uint64_t ns; /* end only */
	uint32_t share;
	uint32_t dev;
	uint32_t chunk;
	uint32_t from; /* tier, with TRACE_TIER_* */
	uint32_t to;
	int32_t error; /* end only: 0 or -errno */
	int32_t pid;
	const char *comm;
};

/* A chunk has left the device, or a thread begins to wait for one. */
struct trace_chunk {
	uint64_t session;
	uint64_t needed_session; /* evict only */
	uint64_t bytes;
	uint32_t share;
	uint32_t dev;
	uint32_t chunk;
	int32_t pid;
	int32_t needed_pid; /* evict only */
	const char *comm;
	const char *needed_comm; /* evict only */
};

/* What a share is: 0 a model, 1 a buffer. */
struct trace_share {
	uint32_t share;
	uint32_t dev;
	uint32_t kind;
	uint32_t chunk_bytes;
	uint64_t bytes;
	const char *name;
};

/* The slots first_slot.. of the session's table are the layers 0.. of the share. */
struct trace_layers {
	uint64_t session;
	uint32_t share;
	uint32_t first_slot;
	uint32_t n_layers;
};

/* Each is to be called only if its probe is on. */
void trace_session_open(const struct trace_session *e);
void trace_session_close(const struct trace_session *e);
void trace_charge(const struct trace_bytes *e);
void trace_uncharge(const struct trace_bytes *e);
void trace_limit_hit(const struct trace_limit_hit *e);
void trace_stall_begin(const struct trace_stall *e);
void trace_stall_end(const struct trace_stall *e);
void trace_evict(const struct trace_move *e);
void trace_restore(const struct trace_move *e);
void trace_limit_change(struct trace_limit_change *e); /* pid and comm are set here: vramd's own */
void trace_arbiter_attach(uint64_t generation, uint32_t grace_ms);
void trace_arbiter_detach(uint64_t generation, uint32_t grace_ms);
void trace_io_begin(const struct trace_io *e);
void trace_io_end(const struct trace_io *e);
void trace_chunk_evict(const struct trace_chunk *e);
void trace_chunk_fault(const struct trace_chunk *e);
void trace_share_new(const struct trace_share *e);
void trace_share_free(const struct trace_share *e);
void trace_layers(const struct trace_layers *e);

/* An empty comm. */
extern const char *const trace_no_comm;

#endif
