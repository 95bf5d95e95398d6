/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The binary records of the module's trace points, as tests/kmod/trace_formats.txt pins them. records.c compares
 * them with what the running kernel says before anything is read by them.
 */
#ifndef VRAM_TOOLS_VRAMTRACE_RECORDS_H
#define VRAM_TOOLS_VRAMTRACE_RECORDS_H

#include <linux/types.h>

struct record_session_open {
	__u64 common;
	__u64 session;
	__u32 uid;
	__s32 pid;
	char comm[16];
};

struct record_session_close {
	__u64 common;
	__u64 session;
	__u64 vram_bytes;
	__u64 host_bytes;
	__u64 disk_bytes;
	__u32 uid;
	__s32 pid;
	char comm[16];
};

struct record_bytes {
	__u64 common;
	__u64 session;
	__u64 bytes;
	__u32 share;
	__u32 dev;
	__u32 tier;
	__s32 pid;
	char comm[16];
};

struct record_limit_hit {
	__u64 common;
	__u64 session;
	__u64 bytes;
	__u64 limit_key;
	__u32 limit_kind;
	__u32 share;
	__u32 dev;
	__u32 tier;
	__s32 pid;
	char comm[16];
};

struct record_stall_begin {
	__u64 common;
	__u64 session;
	__u32 dev;
	__u32 slot;
	__s32 pid;
	char comm[16];
};

struct record_stall_end {
	__u64 common;
	__u64 session;
	__u64 stall_ns;
	__u32 dev;
	__u32 slot;
	__s32 pid;
	char comm[16];
};

struct record_move {
	__u64 common;
	__u64 session;
	__u64 needed_session;
	__u64 bytes;
	__u32 share;
	__u32 dev;
	__u32 from;
	__u32 to;
	__s32 pid;
	__s32 needed_pid;
	char comm[16];
	char needed_comm[16];
};

struct record_limit_change {
	__u64 common;
	__u64 key;
	__u64 value;
	__u32 kind;
	__u32 dev;
	__u32 tier;
	__u32 limit;
	__u32 flags;
	__s32 pid;
	char comm[16];
};

struct record_arbiter {
	__u64 common;
	__u64 generation;
	__u32 grace_ms;
	__s32 pid;
	char comm[16];
};

#endif
