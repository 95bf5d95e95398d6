// SPDX-License-Identifier: GPL-2.0-only
/*
 * vramtrace in the kernel: for each event up to three programs (a trace point by its record, the same raw, a
 * probe of vramd), of which one is loaded. All of them filter, and hand on one kind of record through a ring
 * buffer; what finds no room there is counted.
 *
 * No type information is needed but what libbpf itself needs for USDT. The records of the trace points are
 * given as structs here; vramtrace has compared them with the format files before it loads a program. The raw ones read the
 * module's structs at offsets that vramtrace gives.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

#include "tools/vramtrace/event.h"
#include "tools/vramtrace/records.h"

char LICENSE[] SEC("license") = "GPL";

#define CGROUP_MAX 256

/* ---- what vramtrace sets before loading ------------------------------------------ */

const volatile __s32 filter_pid = 0;
const volatile __u32 filter_dev = 0;
const volatile bool filter_by_dev = false;
/* Only sessions that are in the map `sessions`; new ones come into it if they fit these. */
const volatile bool filter_by_session = false;
const volatile __u32 filter_uid = 0;
const volatile bool filter_by_uid = false;
const volatile bool filter_by_cgroup = false;
const volatile char filter_cgroup[CGROUP_MAX] = {};
const volatile __u32 filter_cgroup_len = 0;
const volatile __u64 filter_cgroup_id = 0;
const volatile __s32 filter_cgroup_level = 0;

/* Offsets in the module's structs, for the raw programs. */
const volatile __u32 raw_session_id = 0;
const volatile __u32 raw_session_uid = 0;
const volatile __u32 raw_session_pid = 0;
const volatile __u32 raw_session_comm = 0;
const volatile __u32 raw_pid_nr = 0;
const volatile __u32 raw_group_kind = 0;
const volatile __u32 raw_group_key = 0;

/* ---- what it reads --------------------------------------------------------------- */

__u64 n_lost = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* set anew by vramtrace */
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u8);
} sessions SEC(".maps");

/* ---- filters --------------------------------------------------------------------- */

static __always_inline bool session_fits(__u64 session)
{
	return session && bpf_map_lookup_elem(&sessions, &session);
}

/* Of whom it tells; what names no device or nobody passes only where that is not asked for. */
static __always_inline bool passes(__u64 session, __u64 needed, __s32 pid, __s32 needed_pid)
{
	if (filter_pid && pid != filter_pid && needed_pid != filter_pid)
		return false;
	return !filter_by_session || session_fits(session) || session_fits(needed);
}

static __always_inline bool passes_dev(__u32 dev)
{
	return !filter_by_dev || dev == filter_dev;
}

static __always_inline struct event *begin(__u32 kind)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		__sync_fetch_and_add(&n_lost, 1);
		return NULL;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->time_ns = bpf_ktime_get_ns();
	e->kind = kind;
	return e;
}

static __always_inline void copy_comm(char *to, const void *from, bool user)
{
	if (user)
		bpf_probe_read_user_str(to, EVENT_COMM_MAX, from);
	else
		bpf_probe_read_kernel(to, EVENT_COMM_MAX, from);
}

static __always_inline void remember(__u64 session, __u32 uid, bool in_cgroup)
{
	__u8 one = 1;

	if (filter_by_session && (!filter_by_uid || uid == filter_uid) &&
	    (!filter_by_cgroup || in_cgroup))
		bpf_map_update_elem(&sessions, &session, &one, BPF_ANY);
}

/* A trace point is passed in the task that opens. */
static __always_inline bool current_in_cgroup(void)
{
	return filter_by_cgroup &&
	       bpf_get_current_ancestor_cgroup_id(filter_cgroup_level) == filter_cgroup_id;
}

/* vramd names the path. */
static __always_inline bool path_in_cgroup(const void *path)
{
	char text[CGROUP_MAX] = {};
	__u32 i;

	if (!filter_by_cgroup || bpf_probe_read_user_str(text, sizeof(text), path) < 0)
		return false;
	for (i = 0; i < CGROUP_MAX - 1; i++) {
		if (i >= filter_cgroup_len)
			break;
		if (text[i] != filter_cgroup[i])
			return false;
	}
	return i < CGROUP_MAX && (text[i] == '\0' || text[i] == '/');
}

/* ---- what each source makes of an event -------------------------------------------- */

static __always_inline int on_open(__u64 session, __u32 uid, __s32 pid, const void *comm, bool user,
				   bool in_cgroup)
{
	struct event *e;

	remember(session, uid, in_cgroup);
	if (!passes(session, 0, pid, 0))
		return 0;
	e = begin(EVENT_SESSION_OPEN);
	if (!e)
		return 0;
	e->session = session;
	e->uid = uid;
	e->pid = pid;
	copy_comm(e->comm, comm, user);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

static __always_inline int on_close(__u64 session, __u64 vram, __u64 host, __u64 disk, __u32 uid,
				    __s32 pid, const void *comm, bool user)
{
	bool passed = passes(session, 0, pid, 0);
	struct event *e;

	if (filter_by_session)
		bpf_map_delete_elem(&sessions, &session);
	if (!passed)
		return 0;
	e = begin(EVENT_SESSION_CLOSE);
	if (!e)
		return 0;
	e->session = session;
	e->bytes = vram;
	e->key = host;
	e->value = disk;
	e->uid = uid;
	e->pid = pid;
	copy_comm(e->comm, comm, user);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

static __always_inline int on_bytes(__u32 kind, __u64 session, __u64 bytes, __u32 share, __u32 dev,
				    __u32 tier, __s32 pid, const void *comm, bool user)
{
	struct event *e;

	if (!passes(session, 0, pid, 0) || !passes_dev(dev))
		return 0;
	e = begin(kind);
	if (!e)
		return 0;
	e->session = session;
	e->bytes = bytes;
	e->share = share;
	e->dev = dev;
	e->from = tier;
	e->pid = pid;
	copy_comm(e->comm, comm, user);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

static __always_inline int on_limit_hit(__u64 session, __u64 bytes, __u64 key, __u32 group,
					__u32 share, __u32 dev, __u32 tier, __s32 pid,
					const void *comm, bool user)
{
	struct event *e;

	if (!passes(session, 0, pid, 0) || !passes_dev(dev))
		return 0;
	e = begin(EVENT_LIMIT_HIT);
	if (!e)
		return 0;
	e->session = session;
	e->bytes = bytes;
	e->key = key;
	e->group = group;
	e->share = share;
	e->dev = dev;
	e->from = tier;
	e->pid = pid;
	copy_comm(e->comm, comm, user);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

static __always_inline int on_stall(__u32 kind, __u64 session, __u64 ns, __u32 dev, __u32 slot,
				    __s32 pid, const void *comm, bool user)
{
	struct event *e;

	if (!passes(session, 0, pid, 0) || !passes_dev(dev))
		return 0;
	e = begin(kind);
	if (!e)
		return 0;
	e->session = session;
	e->ns = ns;
	e->dev = dev;
	e->slot = slot;
	e->pid = pid;
	copy_comm(e->comm, comm, user);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/* Also a chunk's: no tiers then. */
static __always_inline int on_move(__u32 kind, __u64 session, __u64 needed, __u64 bytes,
				   __u32 share, __u32 dev, __u32 from, __u32 to, __u32 chunk,
				   __s32 pid, __s32 needed_pid, const void *comm,
				   const void *needed_comm, bool user)
{
	struct event *e;

	if (!passes(session, needed, pid, needed_pid) || !passes_dev(dev))
		return 0;
	e = begin(kind);
	if (!e)
		return 0;
	e->session = session;
	e->needed_session = needed;
	e->bytes = bytes;
	e->share = share;
	e->dev = dev;
	e->from = from;
	e->to = to;
	e->chunk = chunk;
	e->pid = pid;
	e->needed_pid = needed_pid;
	copy_comm(e->comm, comm, user);
	copy_comm(e->needed_comm, needed_comm, user);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

static __always_inline int on_limit_change(__u64 key, __u64 value, __u32 group, __u32 dev,
					   __u32 tier, __u32 limit, __u32 flags, __s32 pid,
					   const void *comm, bool user)
{
	struct event *e;

	if (!passes(group == 4 ? key : 0, 0, pid, 0) || !passes_dev(dev))
		return 0;
	e = begin(EVENT_LIMIT_CHANGE);
	if (!e)
		return 0;
	e->key = key;
	e->value = value;
	e->group = group;
	e->dev = dev;
	e->from = tier;
	e->limit = limit;
	e->flags = flags;
	e->pid = pid;
	copy_comm(e->comm, comm, user);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

static __always_inline int on_arbiter(__u32 kind, __u64 generation, __u32 grace_ms, __s32 pid,
				      const void *comm, bool user)
{
	struct event *e;

	if (!passes(0, 0, pid, 0))
		return 0;
	e = begin(kind);
	if (!e)
		return 0;
	e->key = generation;
	e->limit = grace_ms;
	e->pid = pid;
	copy_comm(e->comm, comm, user);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/* ---- trace points, by their records ------------------------------------------------- */

SEC("tp/vram/vram_session_open")
int tp_session_open(struct record_session_open *r)
{
	return on_open(r->session, r->uid, r->pid, r->comm, false, current_in_cgroup());
}

SEC("tp/vram/vram_session_close")
int tp_session_close(struct record_session_close *r)
{
	return on_close(r->session, r->vram_bytes, r->host_bytes, r->disk_bytes, r->uid, r->pid,
			r->comm, false);
}

SEC("tp/vram/vram_charge")
int tp_charge(struct record_bytes *r)
{
	return on_bytes(EVENT_CHARGE, r->session, r->bytes, r->share, r->dev, r->tier, r->pid,
			r->comm, false);
}

SEC("tp/vram/vram_uncharge")
int tp_uncharge(struct record_bytes *r)
{
	return on_bytes(EVENT_UNCHARGE, r->session, r->bytes, r->share, r->dev, r->tier, r->pid,
			r->comm, false);
}

SEC("tp/vram/vram_limit_hit")
int tp_limit_hit(struct record_limit_hit *r)
{
	return on_limit_hit(r->session, r->bytes, r->limit_key, r->limit_kind, r->share, r->dev,
			    r->tier, r->pid, r->comm, false);
}

SEC("tp/vram/vram_stall_begin")
int tp_stall_begin(struct record_stall_begin *r)
{
	return on_stall(EVENT_STALL_BEGIN, r->session, 0, r->dev, r->slot, r->pid, r->comm, false);
}

SEC("tp/vram/vram_stall_end")
int tp_stall_end(struct record_stall_end *r)
{
	return on_stall(EVENT_STALL_END, r->session, r->stall_ns, r->dev, r->slot, r->pid, r->comm,
			false);
}

SEC("tp/vram/vram_evict")
int tp_evict(struct record_move *r)
{
	return on_move(EVENT_EVICT, r->session, r->needed_session, r->bytes, r->share, r->dev,
		       r->from, r->to, 0, r->pid, r->needed_pid, r->comm, r->needed_comm, false);
}

SEC("tp/vram/vram_restore")
int tp_restore(struct record_move *r)
{
	return on_move(EVENT_RESTORE, r->session, r->needed_session, r->bytes, r->share, r->dev,
		       r->from, r->to, 0, r->pid, r->needed_pid, r->comm, r->needed_comm, false);
}

SEC("tp/vram/vram_limit_change")
int tp_limit_change(struct record_limit_change *r)
{
	return on_limit_change(r->key, r->value, r->kind, r->dev, r->tier, r->limit, r->flags,
			       r->pid, r->comm, false);
}

SEC("tp/vram/vram_arbiter_attach")
int tp_arbiter_attach(struct record_arbiter *r)
{
	return on_arbiter(EVENT_ARBITER_ATTACH, r->generation, r->grace_ms, r->pid, r->comm, false);
}

SEC("tp/vram/vram_arbiter_detach")
int tp_arbiter_detach(struct record_arbiter *r)
{
	return on_arbiter(EVENT_ARBITER_DETACH, r->generation, r->grace_ms, r->pid, r->comm, false);
}

/* ---- the same, raw ------------------------------------------------------------------ */

/* Of a session of the module; NULL is none. */
struct raw_session {
	__u64 session;
	__u32 uid;
	__s32 pid;
	const void *comm;
};

static __always_inline __u64 raw_u64(const void *p, __u32 offset)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), p + offset);
	return value;
}

static __always_inline __u32 raw_u32(const void *p, __u32 offset)
{
	__u32 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), p + offset);
	return value;
}

static __always_inline struct raw_session raw_session(__u64 arg)
{
	const void *s = (const void *)arg;
	struct raw_session raw = {};
	const void *pid;

	/* Reading at NULL fails, and leaves zeros. */
	raw.comm = s ? s + raw_session_comm : NULL;
	if (!s)
		return raw;
	raw.session = raw_u64(s, raw_session_id);
	raw.uid = raw_u32(s, raw_session_uid);
	pid = (const void *)raw_u64(s, raw_session_pid);
	raw.pid = (__s32)raw_u32(pid, raw_pid_nr);
	return raw;
}

SEC("raw_tp/vram_session_open")
int raw_session_open(struct bpf_raw_tracepoint_args *ctx)
{
	const struct raw_session s = raw_session(ctx->args[0]);

	return on_open(s.session, s.uid, s.pid, s.comm, false, current_in_cgroup());
}

SEC("raw_tp/vram_session_close")
int raw_session_close(struct bpf_raw_tracepoint_args *ctx)
{
	const struct raw_session s = raw_session(ctx->args[0]);
	const void *bytes = (const void *)ctx->args[1];

	return on_close(s.session, raw_u64(bytes, 0), raw_u64(bytes, 8), raw_u64(bytes, 16), s.uid,
			s.pid, s.comm, false);
}

static __always_inline int raw_bytes(struct bpf_raw_tracepoint_args *ctx, __u32 kind)
{
	const struct raw_session s = raw_session(ctx->args[0]);

	return on_bytes(kind, s.session, ctx->args[4], ctx->args[1], ctx->args[2], ctx->args[3],
			s.pid, s.comm, false);
}

SEC("raw_tp/vram_charge")
int raw_charge(struct bpf_raw_tracepoint_args *ctx)
{
	return raw_bytes(ctx, EVENT_CHARGE);
}

SEC("raw_tp/vram_uncharge")
int raw_uncharge(struct bpf_raw_tracepoint_args *ctx)
{
	return raw_bytes(ctx, EVENT_UNCHARGE);
}

SEC("raw_tp/vram_limit_hit")
int raw_limit_hit(struct bpf_raw_tracepoint_args *ctx)
{
	const struct raw_session s = raw_session(ctx->args[0]);
	const void *group = (const void *)ctx->args[1];

	return on_limit_hit(s.session, ctx->args[5], raw_u64(group, raw_group_key),
			    raw_u32(group, raw_group_kind), ctx->args[2], ctx->args[3],
			    ctx->args[4], s.pid, s.comm, false);
}

SEC("raw_tp/vram_stall_begin")
int raw_stall_begin(struct bpf_raw_tracepoint_args *ctx)
{
	const struct raw_session s = raw_session(ctx->args[0]);

	return on_stall(EVENT_STALL_BEGIN, s.session, 0, ctx->args[1], ctx->args[2], s.pid, s.comm,
			false);
}

SEC("raw_tp/vram_stall_end")
int raw_stall_end(struct bpf_raw_tracepoint_args *ctx)
{
	const struct raw_session s = raw_session(ctx->args[0]);

	return on_stall(EVENT_STALL_END, s.session, ctx->args[3], ctx->args[1], ctx->args[2], s.pid,
			s.comm, false);
}

static __always_inline int raw_move(struct bpf_raw_tracepoint_args *ctx, __u32 kind)
{
	const struct raw_session s = raw_session(ctx->args[0]), n = raw_session(ctx->args[1]);

	return on_move(kind, s.session, n.session, ctx->args[6], ctx->args[2], ctx->args[3],
		       ctx->args[4], ctx->args[5], 0, s.pid, n.pid, s.comm, n.comm, false);
}

SEC("raw_tp/vram_evict")
int raw_evict(struct bpf_raw_tracepoint_args *ctx)
{
	return raw_move(ctx, EVENT_EVICT);
}

SEC("raw_tp/vram_restore")
int raw_restore(struct bpf_raw_tracepoint_args *ctx)
{
	return raw_move(ctx, EVENT_RESTORE);
}

SEC("raw_tp/vram_limit_change")
int raw_limit_change(struct bpf_raw_tracepoint_args *ctx)
{
	char comm[EVENT_COMM_MAX] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	return on_limit_change(ctx->args[1], ctx->args[5], ctx->args[0], ctx->args[2], ctx->args[3],
			       ctx->args[4], ctx->args[6], bpf_get_current_pid_tgid() >> 32, comm,
			       false);
}

SEC("raw_tp/vram_arbiter_attach")
int raw_arbiter_attach(struct bpf_raw_tracepoint_args *ctx)
{
	const struct raw_session s = raw_session(ctx->args[0]);

	return on_arbiter(EVENT_ARBITER_ATTACH, ctx->args[1], ctx->args[2], s.pid, s.comm, false);
}

SEC("raw_tp/vram_arbiter_detach")
int raw_arbiter_detach(struct bpf_raw_tracepoint_args *ctx)
{
	const struct raw_session s = raw_session(ctx->args[0]);

	return on_arbiter(EVENT_ARBITER_DETACH, ctx->args[1], ctx->args[2], s.pid, s.comm, false);
}

/* ---- probes of vramd ------------------------------------------------------------------ */

SEC("usdt")
int BPF_USDT(usdt_session_open, __u64 session, __u32 uid, __s32 pid, void *comm, void *cgroup)
{
	return on_open(session, uid, pid, comm, true, path_in_cgroup(cgroup));
}

SEC("usdt")
int BPF_USDT(usdt_session_close, __u64 session, __u64 vram, __u64 host, __u64 disk, __u32 uid,
	     __s32 pid, void *comm)
{
	return on_close(session, vram, host, disk, uid, pid, comm, true);
}

SEC("usdt")
int BPF_USDT(usdt_charge, __u64 session, __u64 bytes, __u32 share, __u32 dev, __u32 tier, __s32 pid,
	     void *comm)
{
	return on_bytes(EVENT_CHARGE, session, bytes, share, dev, tier, pid, comm, true);
}

SEC("usdt")
int BPF_USDT(usdt_uncharge, __u64 session, __u64 bytes, __u32 share, __u32 dev, __u32 tier,
	     __s32 pid, void *comm)
{
	return on_bytes(EVENT_UNCHARGE, session, bytes, share, dev, tier, pid, comm, true);
}

SEC("usdt")
int BPF_USDT(usdt_limit_hit, __u64 session, __u64 bytes, __u64 key, __u32 group, __u32 share,
	     __u32 dev, __u32 tier, __s32 pid, void *comm)
{
	return on_limit_hit(session, bytes, key, group, share, dev, tier, pid, comm, true);
}

SEC("usdt")
int BPF_USDT(usdt_stall_begin, __u64 session, __u32 dev, __u32 slot, __s32 pid, void *comm)
{
	return on_stall(EVENT_STALL_BEGIN, session, 0, dev, slot, pid, comm, true);
}

SEC("usdt")
int BPF_USDT(usdt_stall_end, __u64 session, __u64 ns, __u32 dev, __u32 slot, __s32 pid, void *comm)
{
	return on_stall(EVENT_STALL_END, session, ns, dev, slot, pid, comm, true);
}

SEC("usdt")
int BPF_USDT(usdt_evict, __u64 session, __u64 needed, __u64 bytes, __u32 share, __u32 dev,
	     __u32 from, __u32 to, __s32 pid, __s32 needed_pid, void *comm, void *needed_comm)
{
	return on_move(EVENT_EVICT, session, needed, bytes, share, dev, from, to, 0, pid,
		       needed_pid, comm, needed_comm, true);
}

SEC("usdt")
int BPF_USDT(usdt_restore, __u64 session, __u64 needed, __u64 bytes, __u32 share, __u32 dev,
	     __u32 from, __u32 to, __s32 pid, __s32 needed_pid, void *comm, void *needed_comm)
{
	return on_move(EVENT_RESTORE, session, needed, bytes, share, dev, from, to, 0, pid,
		       needed_pid, comm, needed_comm, true);
}

SEC("usdt")
int BPF_USDT(usdt_limit_change, __u64 key, __u64 value, __u32 group, __u32 dev, __u32 tier,
	     __u32 limit, __u32 flags, __s32 pid, void *comm)
{
	return on_limit_change(key, value, group, dev, tier, limit, flags, pid, comm, true);
}

SEC("usdt")
int BPF_USDT(usdt_arbiter_attach, __u64 generation, __u32 grace_ms, __s32 pid, void *comm)
{
	return on_arbiter(EVENT_ARBITER_ATTACH, generation, grace_ms, pid, comm, true);
}

SEC("usdt")
int BPF_USDT(usdt_arbiter_detach, __u64 generation, __u32 grace_ms, __s32 pid, void *comm)
{
	return on_arbiter(EVENT_ARBITER_DETACH, generation, grace_ms, pid, comm, true);
}

static __always_inline int on_io(__u32 kind, __u64 session, __u64 bytes, __u64 ns, __u32 from,
				 __u32 to, __s32 error, __u32 share, __u32 chunk, __u32 dev,
				 __s32 pid, const void *comm)
{
	struct event *e;

	if (!passes(session, 0, pid, 0) || !passes_dev(dev))
		return 0;
	e = begin(kind);
	if (!e)
		return 0;
	e->session = session;
	e->bytes = bytes;
	e->ns = ns;
	e->from = from;
	e->to = to;
	e->error = error;
	e->share = share;
	e->chunk = chunk;
	e->dev = dev;
	e->pid = pid;
	copy_comm(e->comm, comm, true);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("usdt")
int BPF_USDT(usdt_io_begin, __u64 session, __u64 bytes, __u32 from, __u32 to, __u32 share,
	     __u32 chunk, __u32 dev, __s32 pid, void *comm)
{
	return on_io(EVENT_IO_BEGIN, session, bytes, 0, from, to, 0, share, chunk, dev, pid, comm);
}

SEC("usdt")
int BPF_USDT(usdt_io_end, __u64 session, __u64 bytes, __u64 ns, __u32 from, __u32 to, __s32 error,
	     __u32 share, __u32 chunk, __u32 dev, __s32 pid, void *comm)
{
	return on_io(EVENT_IO_END, session, bytes, ns, from, to, error, share, chunk, dev, pid,
		     comm);
}

SEC("usdt")
int BPF_USDT(usdt_chunk_evict, __u64 session, __u64 needed, __u64 bytes, __u32 share, __u32 chunk,
	     __u32 dev, __s32 pid, __s32 needed_pid, void *comm, void *needed_comm)
{
	return on_move(EVENT_CHUNK_EVICT, session, needed, bytes, share, dev, 0, 0, chunk, pid,
		       needed_pid, comm, needed_comm, true);
}

SEC("usdt")
int BPF_USDT(usdt_chunk_fault, __u64 session, __u64 bytes, __u32 share, __u32 chunk, __u32 dev,
	     __s32 pid, void *comm)
{
	return on_io(EVENT_CHUNK_FAULT, session, bytes, 0, 0, 0, 0, share, chunk, dev, pid, comm);
}

/* Names pass all filters but that of devices: what they name may be met later. */
SEC("usdt")
int BPF_USDT(usdt_share_new, __u32 share, __u32 dev, __u32 kind, __u64 bytes, __u32 chunk_bytes,
	     void *name)
{
	struct event_named *e;

	if (!passes_dev(dev))
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&n_lost, 1);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->event.time_ns = bpf_ktime_get_ns();
	e->event.kind = EVENT_SHARE_NEW;
	e->event.share = share;
	e->event.dev = dev;
	e->event.group = kind;
	e->event.bytes = bytes;
	e->event.limit = chunk_bytes;
	bpf_probe_read_user_str(e->name, sizeof(e->name), name);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("usdt")
int BPF_USDT(usdt_share_free, __u32 share, __u32 dev)
{
	struct event *e;

	if (!passes_dev(dev))
		return 0;
	e = begin(EVENT_SHARE_FREE);
	if (!e)
		return 0;
	e->share = share;
	e->dev = dev;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("usdt")
int BPF_USDT(usdt_layers, __u64 session, __u32 share, __u32 first_slot, __u32 n_layers)
{
	struct event *e = begin(EVENT_LAYERS);

	if (!e)
		return 0;
	e->session = session;
	e->share = share;
	e->slot = first_slot;
	e->chunk = n_layers;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
