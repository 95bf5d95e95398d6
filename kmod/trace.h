/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Trace points. They are an interface: docs/tracing.md describes every field, tests/kmod pins the
 * formats. Fields have fixed sizes; ids are those of the ABI (uapi/vram.h); pids are of the
 * initial namespace. A session that is not known is 0, with pid 0 and an empty comm. A stall that
 * the arbiter tells of has no slot (-1).
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vram

#if !defined(VRAM_KMOD_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define VRAM_KMOD_TRACE_H

#include <linux/pid.h>
#include <linux/tracepoint.h>
#include <linux/user_namespace.h>

#include "kmod/internal.h"

#ifndef VRAM_TRACE_HELPERS
#define VRAM_TRACE_HELPERS
static inline void vram_trace_comm(char to[TASK_COMM_LEN], const struct vram_session *s)
{
	if (s)
		memcpy(to, s->comm, TASK_COMM_LEN);
	else
		memset(to, 0, TASK_COMM_LEN);
}

static inline u64 vram_trace_id(const struct vram_session *s)
{
	return s ? s->id : 0;
}

static inline pid_t vram_trace_pid(const struct vram_session *s)
{
	return s ? pid_nr(s->pid) : 0;
}
#endif

/* clang-format off */
#define vram_tier_name(tier)						\
	__print_symbolic(tier, { VRAM_TIER_VRAM, "vram" },		\
			 { VRAM_TIER_HOST, "host" },			\
			 { VRAM_TIER_DISK, "disk" }, { VRAM_N_TIERS, "none" })

#define vram_kind_name(kind)						\
	__print_symbolic(kind, { VRAM_KIND_ROOT, "root" },		\
			 { VRAM_KIND_USER, "user" },			\
			 { VRAM_KIND_CGROUP, "cgroup" },		\
			 { VRAM_KIND_EXE, "exe" },			\
			 { VRAM_KIND_SESSION, "session" })

TRACE_EVENT(vram_session_open,
	TP_PROTO(const struct vram_session *s),
	TP_ARGS(s),
	TP_STRUCT__entry(
		__field(u64, session)
		__field(u32, uid)
		__field(s32, pid)
		__array(char, comm, TASK_COMM_LEN)
	),
	TP_fast_assign(
		__entry->session = s->id;
		__entry->uid = from_kuid(&init_user_ns, s->uid);
		__entry->pid = vram_trace_pid(s);
		vram_trace_comm(__entry->comm, s);
	),
	TP_printk("session=%llu uid=%u pid=%d comm=%s", __entry->session, __entry->uid,
		  __entry->pid, __entry->comm)
);

TRACE_EVENT(vram_session_close,
	TP_PROTO(const struct vram_session *s, const u64 *bytes),
	TP_ARGS(s, bytes),
	TP_STRUCT__entry(
		__field(u64, session)
		__field(u64, vram_bytes)
		__field(u64, host_bytes)
		__field(u64, disk_bytes)
		__field(u32, uid)
		__field(s32, pid)
		__array(char, comm, TASK_COMM_LEN)
	),
	TP_fast_assign(
		__entry->session = s->id;
		__entry->vram_bytes = bytes[VRAM_TIER_VRAM];
		__entry->host_bytes = bytes[VRAM_TIER_HOST];
		__entry->disk_bytes = bytes[VRAM_TIER_DISK];
		__entry->uid = from_kuid(&init_user_ns, s->uid);
		__entry->pid = vram_trace_pid(s);
		vram_trace_comm(__entry->comm, s);
	),
	TP_printk("session=%llu vram=%llu host=%llu disk=%llu uid=%u pid=%d comm=%s",
		  __entry->session, __entry->vram_bytes, __entry->host_bytes,
		  __entry->disk_bytes, __entry->uid, __entry->pid, __entry->comm)
);

DECLARE_EVENT_CLASS(vram_bytes,
	TP_PROTO(const struct vram_session *s, u32 share, u32 dev, u32 tier, u64 bytes),
	TP_ARGS(s, share, dev, tier, bytes),
	TP_STRUCT__entry(
		__field(u64, session)
		__field(u64, bytes)
		__field(u32, share)
		__field(u32, dev)
		__field(u32, tier)
		__field(s32, pid)
		__array(char, comm, TASK_COMM_LEN)
	),
	TP_fast_assign(
		__entry->session = vram_trace_id(s);
		__entry->bytes = bytes;
		__entry->share = share;
		__entry->dev = dev;
		__entry->tier = tier;
		__entry->pid = vram_trace_pid(s);
		vram_trace_comm(__entry->comm, s);
	),
	TP_printk("session=%llu share=%d dev=%u tier=%s bytes=%llu pid=%d comm=%s",
		  __entry->session, (int)__entry->share, __entry->dev,
		  vram_tier_name(__entry->tier), __entry->bytes, __entry->pid, __entry->comm)
);

DEFINE_EVENT(vram_bytes, vram_charge,
	TP_PROTO(const struct vram_session *s, u32 share, u32 dev, u32 tier, u64 bytes),
	TP_ARGS(s, share, dev, tier, bytes)
);

DEFINE_EVENT(vram_bytes, vram_uncharge,
	TP_PROTO(const struct vram_session *s, u32 share, u32 dev, u32 tier, u64 bytes),
	TP_ARGS(s, share, dev, tier, bytes)
);

TRACE_EVENT(vram_limit_hit,
	TP_PROTO(const struct vram_session *s, const struct ledger_group *limit, u32 share,
		 u32 dev, u32 tier, u64 bytes),
	TP_ARGS(s, limit, share, dev, tier, bytes),
	TP_STRUCT__entry(
		__field(u64, session)
		__field(u64, bytes)
		__field(u64, limit_key)
		__field(u32, limit_kind)
		__field(u32, share)
		__field(u32, dev)
		__field(u32, tier)
		__field(s32, pid)
		__array(char, comm, TASK_COMM_LEN)
	),
	TP_fast_assign(
		__entry->session = vram_trace_id(s);
		__entry->bytes = bytes;
		__entry->limit_key = limit->key;
		__entry->limit_kind = limit->kind;
		__entry->share = share;
		__entry->dev = dev;
		__entry->tier = tier;
		__entry->pid = vram_trace_pid(s);
		vram_trace_comm(__entry->comm, s);
	),
	TP_printk("session=%llu share=%d dev=%u tier=%s bytes=%llu limit=%s:%llu pid=%d comm=%s",
		  __entry->session, (int)__entry->share, __entry->dev,
		  vram_tier_name(__entry->tier), __entry->bytes,
		  vram_kind_name(__entry->limit_kind), __entry->limit_key, __entry->pid,
		  __entry->comm)
);

TRACE_EVENT(vram_stall_begin,
	TP_PROTO(const struct vram_session *s, u32 dev, u32 slot),
	TP_ARGS(s, dev, slot),
	TP_STRUCT__entry(
		__field(u64, session)
		__field(u32, dev)
		__field(u32, slot)
		__field(s32, pid)
		__array(char, comm, TASK_COMM_LEN)
	),
	TP_fast_assign(
		__entry->session = s->id;
		__entry->dev = dev;
		__entry->slot = slot;
		__entry->pid = vram_trace_pid(s);
		vram_trace_comm(__entry->comm, s);
	),
	TP_printk("session=%llu dev=%u slot=%d pid=%d comm=%s", __entry->session, __entry->dev,
		  (int)__entry->slot, __entry->pid, __entry->comm)
);

TRACE_EVENT(vram_stall_end,
	TP_PROTO(const struct vram_session *s, u32 dev, u32 slot, u64 stall_ns),
	TP_ARGS(s, dev, slot, stall_ns),
	TP_STRUCT__entry(
		__field(u64, session)
		__field(u64, stall_ns)
		__field(u32, dev)
		__field(u32, slot)
		__field(s32, pid)
		__array(char, comm, TASK_COMM_LEN)
	),
	TP_fast_assign(
		__entry->session = s->id;
		__entry->stall_ns = stall_ns;
		__entry->dev = dev;
		__entry->slot = slot;
		__entry->pid = vram_trace_pid(s);
		vram_trace_comm(__entry->comm, s);
	),
	TP_printk("session=%llu dev=%u slot=%d stall_ns=%llu pid=%d comm=%s", __entry->session,
		  __entry->dev, (int)__entry->slot, __entry->stall_ns, __entry->pid,
		  __entry->comm)
);

DECLARE_EVENT_CLASS(vram_move,
	TP_PROTO(const struct vram_session *s, const struct vram_session *needed, u32 share,
		 u32 dev, u32 from, u32 to, u64 bytes),
	TP_ARGS(s, needed, share, dev, from, to, bytes),
	TP_STRUCT__entry(
		__field(u64, session)
		__field(u64, needed_session)
		__field(u64, bytes)
		__field(u32, share)
		__field(u32, dev)
		__field(u32, from)
		__field(u32, to)
		__field(s32, pid)
		__field(s32, needed_pid)
		__array(char, comm, TASK_COMM_LEN)
		__array(char, needed_comm, TASK_COMM_LEN)
	),
	TP_fast_assign(
		__entry->session = vram_trace_id(s);
		__entry->needed_session = vram_trace_id(needed);
		__entry->bytes = bytes;
		__entry->share = share;
		__entry->dev = dev;
		__entry->from = from;
		__entry->to = to;
		__entry->pid = vram_trace_pid(s);
		__entry->needed_pid = vram_trace_pid(needed);
		vram_trace_comm(__entry->comm, s);
		vram_trace_comm(__entry->needed_comm, needed);
	),
	TP_printk("session=%llu share=%d dev=%u from=%s to=%s bytes=%llu pid=%d comm=%s needed_session=%llu needed_pid=%d needed_comm=%s",
		  __entry->session, (int)__entry->share, __entry->dev,
		  vram_tier_name(__entry->from), vram_tier_name(__entry->to), __entry->bytes,
		  __entry->pid, __entry->comm, __entry->needed_session, __entry->needed_pid,
		  __entry->needed_comm)
);

DEFINE_EVENT(vram_move, vram_evict,
	TP_PROTO(const struct vram_session *s, const struct vram_session *needed, u32 share,
		 u32 dev, u32 from, u32 to, u64 bytes),
	TP_ARGS(s, needed, share, dev, from, to, bytes)
);

DEFINE_EVENT(vram_move, vram_restore,
	TP_PROTO(const struct vram_session *s, const struct vram_session *needed, u32 share,
		 u32 dev, u32 from, u32 to, u64 bytes),
	TP_ARGS(s, needed, share, dev, from, to, bytes)
);

TRACE_EVENT(vram_limit_change,
	TP_PROTO(u32 kind, u64 key, u32 dev, u32 tier, u32 limit, u64 value, u32 flags),
	TP_ARGS(kind, key, dev, tier, limit, value, flags),
	TP_STRUCT__entry(
		__field(u64, key)
		__field(u64, value)
		__field(u32, kind)
		__field(u32, dev)
		__field(u32, tier)
		__field(u32, limit)
		__field(u32, flags)
		__field(s32, pid)
		__array(char, comm, TASK_COMM_LEN)
	),
	TP_fast_assign(
		__entry->key = key;
		__entry->value = value;
		__entry->kind = kind;
		__entry->dev = dev;
		__entry->tier = tier;
		__entry->limit = limit;
		__entry->flags = flags;
		__entry->pid = task_tgid_nr(current);
		memcpy(__entry->comm, current->comm, TASK_COMM_LEN);
	),
	TP_printk("group=%s:%llu dev=%u tier=%s limit=%s value=%llu flags=%u pid=%d comm=%s",
		  vram_kind_name(__entry->kind), __entry->key, __entry->dev,
		  vram_tier_name(__entry->tier),
		  __print_symbolic(__entry->limit, { VRAM_LIMIT_MIN, "min" },
				   { VRAM_LIMIT_LOW, "low" }, { VRAM_LIMIT_HIGH, "high" },
				   { VRAM_LIMIT_MAX, "max" }, { VRAM_LIMIT_WEIGHT, "weight" }),
		  __entry->value, __entry->flags, __entry->pid, __entry->comm)
);

DECLARE_EVENT_CLASS(vram_arbiter,
	TP_PROTO(const struct vram_session *s, u64 generation, u32 grace_ms),
	TP_ARGS(s, generation, grace_ms),
	TP_STRUCT__entry(
		__field(u64, generation)
		__field(u32, grace_ms)
		__field(s32, pid)
		__array(char, comm, TASK_COMM_LEN)
	),
	TP_fast_assign(
		__entry->generation = generation;
		__entry->grace_ms = grace_ms;
		__entry->pid = vram_trace_pid(s);
		vram_trace_comm(__entry->comm, s);
	),
	TP_printk("generation=%llu grace_ms=%u pid=%d comm=%s", __entry->generation,
		  __entry->grace_ms, __entry->pid, __entry->comm)
);

DEFINE_EVENT(vram_arbiter, vram_arbiter_attach,
	TP_PROTO(const struct vram_session *s, u64 generation, u32 grace_ms),
	TP_ARGS(s, generation, grace_ms)
);

DEFINE_EVENT(vram_arbiter, vram_arbiter_detach,
	TP_PROTO(const struct vram_session *s, u64 generation, u32 grace_ms),
	TP_ARGS(s, generation, grace_ms)
);

/* clang-format on */
#endif

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
