// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the scheduler and the pager tell of through vramd's probes.
 *
 * Waits are told here only where the ledger is in this process: the kernel module tells of them itself. As there,
 * of several threads of a session in page faults at once the first begins the wait and the last
 * ends it, and such a wait has no slot; a wait for a layer is one of its own.
 */
#include "daemon/scheduler_trace.h"

#include "daemon/scheduler_private.h"

/* The device's number in the ledger. */
static uint32_t dev_of(const struct scheduler *s)
{
	return s->arbiter->number[s->dev];
}

static const struct scheduler_session *find(const struct scheduler *s, uint64_t id)
{
	const struct scheduler_session *ss;

	if (id)
		list_for_each(ss, &s->sessions, node)
			if (ss->id == id)
				return ss;
	return NULL;
}

/* Who waits for the chunk, or one who uses it, or NULL. */
static const struct scheduler_session *whose(const struct object *object, uint32_t chunk)
{
	const struct use *use, *any = NULL;

	list_for_each(use, &object->uses, in_object) {
		if (use_is_waiting(use, chunk))
			return use->session;
		for (uint32_t i = use->n_layers ? use->chunk_first[chunk] : 0;
		     use->n_layers && i < use->chunk_first[chunk + 1]; i++)
			if (use->layers[use->chunk_layers[i]].waiting)
				return use->session;
		if (!any)
			any = use;
	}
	return any ? any->session : NULL;
}

/* ---- waits ----------------------------------------------------------------------- */

static struct trace_stall stall_event(const struct scheduler *s, const struct scheduler_session *ss,
				      uint32_t slot, uint64_t ns)
{
	return (struct trace_stall){
		.session = ss->id,
		.stall_ns = ns,
		.dev = dev_of(s),
		.slot = slot,
		.pid = ss->pid,
		.comm = ss->comm,
	};
}

void scheduler_trace_stall_begin(const struct scheduler *s, const struct scheduler_session *ss,
				 const struct layer *layer)
{
	const struct trace_stall e =
		stall_event(s, ss, layer ? layer_slot(layer) : TRACE_NO_SLOT, 0);

	if (!arbiter_counts_waits(s->arbiter))
		trace_stall_begin(&e);
}

void scheduler_trace_stall_end(const struct scheduler *s, const struct scheduler_session *ss,
			       const struct layer *layer, uint64_t ns)
{
	const struct trace_stall e =
		stall_event(s, ss, layer ? layer_slot(layer) : TRACE_NO_SLOT, ns);

	if (!arbiter_counts_waits(s->arbiter))
		trace_stall_end(&e);
}

/* ---- chunks ---------------------------------------------------------------------- */

void scheduler_trace_fault(const struct scheduler *s, const struct use *use, uint32_t chunk)
{
	const struct scheduler_session *ss = use->session;

	trace_chunk_fault(&(struct trace_chunk){
		.session = ss->id,
		.bytes = gpu_chunk_len(use->object->mem, chunk),
		.share = use->object->share,
		.dev = dev_of(s),
		.chunk = chunk,
		.pid = ss->pid,
		.comm = ss->comm,
	});
}

void scheduler_trace_gone(const struct scheduler *s, const struct object *object, uint32_t chunk,
			  const struct arbiter_hint *hint)
{
	const struct scheduler_session *ss = find(s, hint->session), *other = find(s, hint->other);

	trace_chunk_evict(&(struct trace_chunk){
		.session = ss ? ss->id : 0,
		.needed_session = other ? other->id : 0,
		.bytes = gpu_chunk_len(object->mem, chunk),
		.share = object->share,
		.dev = dev_of(s),
		.chunk = chunk,
		.pid = ss ? ss->pid : 0,
		.needed_pid = other ? other->pid : 0,
		.comm = ss ? ss->comm : trace_no_comm,
		.needed_comm = other ? other->comm : trace_no_comm,
	});
}

uint64_t pager_moves(void *owner, const struct pager_move *move)
{
	const struct scheduler *s = owner;
	/* Who waited for it at the begin may not wait any more at the end. */
	const struct scheduler_session *ss = move->ended && move->session != PAGER_NOT_TOLD ?
						     find(s, move->session) :
						     whose(move->object, move->chunk);
	const struct trace_io e = {
		.session = ss ? ss->id : 0,
		.bytes = gpu_chunk_len(move->object->mem, move->chunk),
		.ns = move->ns,
		.share = move->object->share,
		.dev = dev_of(s),
		.chunk = move->chunk,
		.from = move->from,
		.to = move->to,
		.error = move->res,
		.pid = ss ? ss->pid : 0,
		.comm = ss ? ss->comm : trace_no_comm,
	};

	if (move->ended)
		trace_io_end(&e);
	else
		trace_io_begin(&e);
	return e.session;
}

/* ---- names ----------------------------------------------------------------------- */

void scheduler_trace_share_new(const struct scheduler *s, const struct object *object)
{
	trace_share_new(&(struct trace_share){
		.share = object->share,
		.dev = dev_of(s),
		.kind = object->kind == POLICY_BUFFER,
		.chunk_bytes = object->mem->chunk_bytes,
		.bytes = object->size_bytes,
		.name = object->name,
	});
}

void scheduler_trace_share_free(const struct scheduler *s, const struct object *object)
{
	trace_share_free(&(struct trace_share){ .share = object->share, .dev = dev_of(s) });
}

void scheduler_trace_layers(const struct use *use)
{
	if (!trace_on(vram_layers) || !use->n_layers)
		return;
	trace_layers(&(struct trace_layers){
		.session = use->session->id,
		.share = use->object->share,
		.first_slot = use->slot_base,
		.n_layers = use->n_layers,
	});
}

int scheduler_for_each_name(struct scheduler *s,
			    int (*fn)(void *ctx, const struct scheduler_name *name), void *ctx)
{
	const struct scheduler_session *ss;
	const struct object *object;
	const struct use *use;
	int r = 0;

	list_for_each(ss, &s->sessions, node) {
		const struct scheduler_name name = { .session = ss, .dev = dev_of(s) };

		r = fn(ctx, &name);
		if (r)
			return r;
	}
	list_for_each(object, &s->objects, node) {
		struct scheduler_name name = { .object = object, .dev = dev_of(s) };

		r = fn(ctx, &name);
		list_for_each(use, &object->uses, in_object) {
			name.use = use;
			if (!r && use->n_layers)
				r = fn(ctx, &name);
		}
		if (r)
			return r;
	}
	return r;
}
