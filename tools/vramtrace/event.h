/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An event, as the programs in the kernel hand it to vramtrace: one record for all kinds, whichever source
 * it comes from (the module's trace points, by their records or raw; vramd's probes). What a kind does not have is 0.
 *
 * docs/tracing.md tells what the fields mean.
 */
#ifndef VRAM_TOOLS_VRAMTRACE_EVENT_H
#define VRAM_TOOLS_VRAMTRACE_EVENT_H

#include <linux/types.h>

#define EVENT_COMM_MAX 16
#define EVENT_NAME_MAX 128
#define EVENT_NO_SHARE 0xffffffffu
#define EVENT_NO_SLOT  0xffffffffu

/* The ledger's, which have trace points and probes, then those that only vramd has. */
#define EVENT_KINDS(kind)                                                                          \
	kind(SESSION_OPEN, vram_session_open) kind(SESSION_CLOSE, vram_session_close) kind(        \
		CHARGE, vram_charge) kind(UNCHARGE, vram_uncharge) kind(LIMIT_HIT, vram_limit_hit) \
		kind(STALL_BEGIN, vram_stall_begin) kind(STALL_END,                                \
							 vram_stall_end) kind(EVICT, vram_evict)   \
			kind(RESTORE, vram_restore) kind(LIMIT_CHANGE, vram_limit_change) kind(    \
				ARBITER_ATTACH, vram_arbiter_attach) kind(ARBITER_DETACH,          \
									  vram_arbiter_detach)     \
				kind(IO_BEGIN, vram_io_begin) kind(IO_END, vram_io_end)            \
					kind(CHUNK_EVICT, vram_chunk_evict)                        \
						kind(CHUNK_FAULT, vram_chunk_fault)                \
							kind(SHARE_NEW, vram_share_new)            \
								kind(SHARE_FREE, vram_share_free)  \
									kind(LAYERS, vram_layers)

enum event_kind {
#define EVENT_ENUM(kind, name) EVENT_##kind,
	EVENT_KINDS(EVENT_ENUM) EVENT_N_KINDS,
	/* Kinds below have trace points in the module. */
	EVENT_N_LEDGER = EVENT_IO_BEGIN,
};

struct event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 session;
	__u64 needed_session;
	__u64 bytes; /* session_close: vram_bytes */
	__u64 ns;    /* stall_ns; I/O: ns */
	__u64 key;   /* limit_key, key; session_close: host_bytes; arbiter: generation */
	__u64 value; /* limit_change; session_close: disk_bytes */
	__u32 kind;  /* enum event_kind */
	__u32 share;
	__u32 dev;
	__u32 from; /* tiers; charge, uncharge, limits: `tier` is here */
	__u32 to;
	__u32 slot;  /* stalls; layers: first_slot */
	__u32 chunk; /* I/O, chunk_*; layers: n_layers */
	__u32 group; /* limit_kind, kind (of a group, or a share) */
	__u32 limit; /* limit_change; arbiter: grace_ms; share_new: chunk_bytes */
	__u32 flags; /* limit_change */
	__s32 error; /* I/O */
	__u32 uid;
	__s32 pid;
	__s32 needed_pid;
	char comm[EVENT_COMM_MAX];
	char needed_comm[EVENT_COMM_MAX];
};

/* share_new has this behind it. */
struct event_named {
	struct event event;
	char name[EVENT_NAME_MAX];
};

#endif
