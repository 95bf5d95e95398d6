// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/trace.h"

#include <errno.h>
#include <unistd.h>

#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

#define TRACE_DEFINE(name) \
	__attribute__((section(".probes"), used)) unsigned short TRACE_SEMAPHORE(name);
TRACE_PROBES(TRACE_DEFINE)

/* Not constant: a page of data that was written is there for a probe to read. */
static char no_comm[TRACE_COMM_MAX];
const char *const trace_no_comm = no_comm;

void trace_session_open(const struct trace_session *e)
{
	STAP_PROBE5(vram, vram_session_open, e->session, e->uid, e->pid, e->comm, e->cgroup);
}

void trace_session_close(const struct trace_session *e)
{
	STAP_PROBE7(vram, vram_session_close, e->session, e->bytes[0], e->bytes[1], e->bytes[2],
		    e->uid, e->pid, e->comm);
}

void trace_charge(const struct trace_bytes *e)
{
	STAP_PROBE7(vram, vram_charge, e->session, e->bytes, e->share, e->dev, e->tier, e->pid,
		    e->comm);
}

void trace_uncharge(const struct trace_bytes *e)
{
	STAP_PROBE7(vram, vram_uncharge, e->session, e->bytes, e->share, e->dev, e->tier, e->pid,
		    e->comm);
}

void trace_limit_hit(const struct trace_limit_hit *e)
{
	STAP_PROBE9(vram, vram_limit_hit, e->session, e->bytes, e->limit_key, e->limit_kind,
		    e->share, e->dev, e->tier, e->pid, e->comm);
}

void trace_stall_begin(const struct trace_stall *e)
{
	STAP_PROBE5(vram, vram_stall_begin, e->session, e->dev, e->slot, e->pid, e->comm);
}

void trace_stall_end(const struct trace_stall *e)
{
	STAP_PROBE6(vram, vram_stall_end, e->session, e->stall_ns, e->dev, e->slot, e->pid,
		    e->comm);
}

void trace_evict(const struct trace_move *e)
{
	STAP_PROBE11(vram, vram_evict, e->session, e->needed_session, e->bytes, e->share, e->dev,
		     e->from, e->to, e->pid, e->needed_pid, e->comm, e->needed_comm);
}

void trace_restore(const struct trace_move *e)
{
	STAP_PROBE11(vram, vram_restore, e->session, e->needed_session, e->bytes, e->share, e->dev,
		     e->from, e->to, e->pid, e->needed_pid, e->comm, e->needed_comm);
}

void trace_limit_change(struct trace_limit_change *e)
{
	e->pid = getpid();
	e->comm = program_invocation_short_name;
	STAP_PROBE9(vram, vram_limit_change, e->key, e->value, e->kind, e->dev, e->tier, e->limit,
		    e->flags, e->pid, e->comm);
}

static struct trace_arbiter arbiter_event(uint64_t generation, uint32_t grace_ms)
{
	return (struct trace_arbiter){
		.generation = generation,
		.grace_ms = grace_ms,
		.pid = getpid(),
		.comm = program_invocation_short_name,
	};
}

void trace_arbiter_attach(uint64_t generation, uint32_t grace_ms)
{
	struct trace_arbiter event = arbiter_event(generation, grace_ms), *e = &event;

	STAP_PROBE4(vram, vram_arbiter_attach, e->generation, e->grace_ms, e->pid, e->comm);
}

void trace_arbiter_detach(uint64_t generation, uint32_t grace_ms)
{
	struct trace_arbiter event = arbiter_event(generation, grace_ms), *e = &event;

	STAP_PROBE4(vram, vram_arbiter_detach, e->generation, e->grace_ms, e->pid, e->comm);
}

void trace_io_begin(const struct trace_io *e)
{
	STAP_PROBE9(vram, vram_io_begin, e->session, e->bytes, e->from, e->to, e->share, e->chunk,
		    e->dev, e->pid, e->comm);
}

void trace_io_end(const struct trace_io *e)
{
	STAP_PROBE11(vram, vram_io_end, e->session, e->bytes, e->ns, e->from, e->to, e->error,
		     e->share, e->chunk, e->dev, e->pid, e->comm);
}

void trace_chunk_evict(const struct trace_chunk *e)
{
	STAP_PROBE10(vram, vram_chunk_evict, e->session, e->needed_session, e->bytes, e->share,
		     e->chunk, e->dev, e->pid, e->needed_pid, e->comm, e->needed_comm);
}

void trace_chunk_fault(const struct trace_chunk *e)
{
	STAP_PROBE7(vram, vram_chunk_fault, e->session, e->bytes, e->share, e->chunk, e->dev,
		    e->pid, e->comm);
}

void trace_share_new(const struct trace_share *e)
{
	STAP_PROBE6(vram, vram_share_new, e->share, e->dev, e->kind, e->bytes, e->chunk_bytes,
		    e->name);
}

void trace_share_free(const struct trace_share *e)
{
	STAP_PROBE2(vram, vram_share_free, e->share, e->dev);
}

void trace_layers(const struct trace_layers *e)
{
	STAP_PROBE4(vram, vram_layers, e->session, e->share, e->first_slot, e->n_layers);
}
