// SPDX-License-Identifier: GPL-2.0-only
/* A session's objects: opening, mapping, closing, and the messages about their slots. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "daemon/scheduler_trace.h"
#include "daemon/session_private.h"

/* Of all buffers of a session: each chunk costs the daemon some 40 bytes, touched or not. At 2 MiB these are
 * 512 GiB. (Models cost little: their chunks grow with them.) */
#define BUFFER_CHUNKS_MAX 262144u

static struct use *find_use(struct session *session, uint32_t id)
{
	struct use *use;

	list_for_each(use, &session->ss.uses, in_session)
		if (use->id == id)
			return use;
	return NULL;
}

static struct layer *find_layer(struct session *session, uint32_t slot)
{
	struct use *use;

	list_for_each(use, &session->ss.uses, in_session) {
		struct layer *layer = use_layer(use, slot);

		if (layer)
			return layer;
	}
	return NULL;
}

/* The first gap of n slots in the table. Return: -ENOSPC if there is none. */
static int64_t find_slots(struct session *session, uint32_t n)
{
	uint64_t base = 0, max = session->n_slots;
	struct use *use;
	bool moved;

	do {
		moved = false;
		list_for_each(use, &session->ss.uses, in_session) {
			if (use->n_layers && base < (uint64_t)use->slot_base + use->n_layers &&
			    use->slot_base < base + n) {
				base = (uint64_t)use->slot_base + use->n_layers;
				moved = true;
			}
		}
	} while (moved);
	return base + n > max ? -ENOSPC : (int64_t)base;
}

/* A limit and what there would be of it. Return: whether it is passed. */
static bool passes(struct log_bound *out, const char *key, uint64_t asked, uint64_t limit,
		   enum log_unit unit)
{
	*out = (struct log_bound){ .key = key, .asked = asked, .limit = limit, .unit = unit };
	return asked > limit;
}

/* Limits that MODEL_OPEN and BUFFER_NEW share. Return: NULL or why not. */
static const char *check_limits(struct session *session, uint64_t size_bytes, uint64_t n_layers,
				struct log_bound *out_bound)
{
	const struct config *config = scheduler_config(session->scheduler);
	uint64_t bytes;

	if (passes(out_bound, "limits.max_objects", (uint64_t)session->n_objects + 1,
		   config->limits.max_objects, LOG_UNIT_COUNT))
		return "more objects than limits.max_objects allows a session";
	if (__builtin_add_overflow(session->registered_bytes, size_bytes, &bytes))
		bytes = UINT64_MAX;
	if (passes(out_bound, "limits.max_registered", bytes, config->limits.max_registered,
		   LOG_UNIT_BYTES))
		return "more bytes than limits.max_registered allows a session";
	if (passes(out_bound, "limits.max_slots", n_layers, config->limits.max_slots,
		   LOG_UNIT_COUNT))
		return "more layers than limits.max_slots allows a session";
	return NULL;
}

void session_abort_open(struct session *session)
{
	struct opening *opening = session->opening;

	if (!opening)
		return;
	session->opening = NULL;
	if (opening->object)
		opening->object->n_openings--;
	scheduler_object_drop_if_new(session->scheduler, opening->object);
	free(opening->extents);
	free(opening);
}

/* Attach and answer. The extents may be none. */
static void finish_open(struct session *session, const struct vram_msg_hdr *hdr,
			struct object *object, uint32_t n_layers, bool slots,
			const struct object_extent *extents, uint32_t n_extents)
{
	struct vram_msg_object_reply reply = { 0 };
	struct scheduler *s = session->scheduler;
	struct use *use = NULL;
	int64_t base = 0;
	int fd = -1, r;

	if (slots && n_layers) {
		base = find_slots(session, n_layers);
		if (base < 0) {
			scheduler_object_drop_if_new(s, object);
			session_refuse_bound(
				session, hdr, -ENOSPC,
				"the session's residency table has no gap for so many layers "
				"(limits.max_slots)",
				&(struct log_bound){ .key = "limits.max_slots",
						     .asked = n_layers,
						     .limit = session->n_slots });
			return;
		}
	}
	r = scheduler_use_attach(s, &session->ss, object, &use);
	if (r < 0) {
		scheduler_object_drop_if_new(s, object);
		session_refuse(session, hdr, r, "out of memory");
		return;
	}
	use->id = ++session->next_object;
	if (n_extents && object->kind == POLICY_MODEL)
		r = object_declare_order(object, extents, n_extents);
	if (r == 0 && slots && n_layers)
		r = use_set_layers(use, extents, n_extents, n_layers, session->table,
				   (uint32_t)base);
	if (r == 0)
		scheduler_trace_layers(use);
	if (r == 0)
		r = gpu_object_client_fd(object->mem, &fd);
	if (r < 0) {
		scheduler_use_detach(s, use);
		session_refuse(session, hdr, r,
			       r == -EINVAL ? "a layer without extents" :
			       r == -E2BIG  ? "layers that overlap too often" :
					      "the object cannot be set up");
		return;
	}
	session->n_objects++;
	session->registered_bytes += object->size_bytes;
	if (object->kind == POLICY_BUFFER)
		session->n_buffer_chunks += object->mem->n_chunks;
	reply.object = use->id;
	reply.slot_base = use->slot_base;
	reply.map_bytes = object->mem->map_bytes;
	reply.chunk_bytes = object->mem->chunk_bytes;
	reply.n_slots = use->n_layers;
	session_reply(session, hdr, &reply, sizeof(reply), fd);
}

static const char *open_error(int r)
{
	switch (r) {
	case -EBADF:
		return "the descriptor does not allow reading";
	case -EISDIR:
		return "the descriptor is a directory";
	case -EINVAL:
		return "the descriptor is not a regular file";
	case -ENODATA:
		return "the file is empty";
	case -ESTALE:
		return "the file has changed: its size is another than the client says";
	case -EOPNOTSUPP:
		return "models on this file system are refused: its owner could stall everybody";
	case -EACCES:
	case -EPERM:
		return "vramd may not open this file";
	default:
		return "the model cannot be opened";
	}
}

void session_model_open(struct session *session, const struct vram_msg_hdr *hdr,
			const struct vram_msg_model_open *msg, int *fds)
{
	const struct config *config = scheduler_config(session->scheduler);
	struct opening *opening;
	struct object *object;
	struct log_bound bound;
	const char *wrong;
	char name[128];
	int r;

	if (msg->flags & ~VRAM_MODEL_SLOTS || msg->pad ||
	    !memchr(msg->name, '\0', sizeof(msg->name)) ||
	    (msg->n_layers == 0) != (msg->n_extents == 0)) {
		session_fail(session, -EPROTO, "a MODEL_OPEN that makes no sense");
		return;
	}
	wrong = check_limits(session, msg->size_bytes, msg->n_layers, &bound);
	if (!wrong && passes(&bound, "limits.max_extents", msg->n_extents,
			     config->limits.max_extents, LOG_UNIT_COUNT))
		wrong = "more extents than limits.max_extents allows an object";
	if (wrong) {
		/* The extents are on their way already and would not be understood. */
		session_refuse_bound(session, hdr, -E2BIG, wrong, &bound);
		if (msg->n_extents)
			session_skip_extents(session, hdr, msg);
		return;
	}
	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = msg->name[i] && (msg->name[i] < ' ' || msg->name[i] == 0x7f) ?
				  '?' :
				  msg->name[i];
	r = scheduler_model_open(session->scheduler, &session->ss, fds[0], msg->size_bytes, name,
				 &object);
	if (r < 0) {
		session_refuse(session, hdr, r, open_error(r));
		if (msg->n_extents)
			session_skip_extents(session, hdr, msg);
		return;
	}
	if (!msg->n_extents) {
		finish_open(session, hdr, object, 0, false, NULL, 0);
		return;
	}
	opening = calloc(1, sizeof(*opening));
	if (opening)
		opening->extents = calloc(msg->n_extents, sizeof(*opening->extents));
	if (!opening || !opening->extents) {
		free(opening);
		scheduler_object_drop_if_new(session->scheduler, object);
		session_fail(session, -ENOMEM, "out of memory");
		return;
	}
	opening->hdr = *hdr;
	opening->msg = *msg;
	opening->object = object;
	object->n_openings++;
	session->opening = opening;
}

/* A refused MODEL_OPEN: its extents are counted off and forgotten. */
void session_skip_extents(struct session *session, const struct vram_msg_hdr *hdr,
			  const struct vram_msg_model_open *msg)
{
	struct opening *opening = calloc(1, sizeof(*opening));

	if (!opening) {
		session_fail(session, -ENOMEM, "out of memory");
		return;
	}
	opening->hdr = *hdr;
	opening->msg = *msg;
	session->opening = opening;
}

static const char *check_extent(const struct opening *opening, const struct vram_msg_extent *extent)
{
	uint64_t size = opening->object->size_bytes;

	if (extent->length == 0 || extent->offset >= size || extent->length > size - extent->offset)
		return "an extent that lies outside the file";
	if (extent->layer >= opening->msg.n_layers)
		return "an extent of a layer that does not exist";
	if (extent->flags & ~(VRAM_EXTENT_EXPERT | VRAM_EXTENT_UNORDERED))
		return "unknown flags in an extent";
	return NULL;
}

void session_extents(struct session *session, const struct vram_msg_hdr *hdr,
		     const struct vram_msg_extents *msg, size_t len)
{
	struct opening *opening = session->opening;
	bool skip;

	if (!opening || hdr->seq != opening->hdr.seq) {
		session_fail(session, -EPROTO, "EXTENTS without a MODEL_OPEN");
		return;
	}
	if (msg->pad || msg->n == 0 || msg->n > VRAM_EXTENTS_PER_MSG ||
	    len != sizeof(*msg) + msg->n * sizeof(msg->extents[0]) ||
	    msg->n > opening->msg.n_extents - opening->n) {
		session_fail(session, -EPROTO, "EXTENTS of a wrong number");
		return;
	}
	skip = !opening->object;
	for (uint32_t i = 0; i < msg->n && !skip; i++) {
		const char *wrong = check_extent(opening, &msg->extents[i]);

		if (wrong) {
			session_fail(session, -EPROTO, wrong);
			return;
		}
		opening->extents[opening->n + i] = (struct object_extent){
			.offset = msg->extents[i].offset,
			.length = msg->extents[i].length,
			.layer = msg->extents[i].layer,
			.flags = msg->extents[i].flags,
		};
	}
	opening->n += msg->n;
	if (opening->n < opening->msg.n_extents)
		return;
	session->opening = NULL;
	if (!skip) {
		opening->object->n_openings--;
		finish_open(session, &opening->hdr, opening->object, opening->msg.n_layers,
			    opening->msg.flags & VRAM_MODEL_SLOTS, opening->extents, opening->n);
	}
	free(opening->extents);
	free(opening);
}

void session_buffer_new(struct session *session, const struct vram_msg_hdr *hdr,
			const struct vram_msg_buffer_new *msg)
{
	struct object_extent *extents;
	struct object *object;
	struct log_bound bound;
	const char *wrong;
	uint64_t n, n_chunks;
	char name[128];
	int r;

	if (msg->flags || msg->pad || !memchr(msg->name, '\0', sizeof(msg->name))) {
		session_fail(session, -EPROTO, "a BUFFER_NEW that makes no sense");
		return;
	}
	if (msg->size_bytes == 0 || msg->layer_bytes == 0 || msg->layer_bytes % 4096) {
		session_refuse(session, hdr, -EINVAL,
			       "a buffer needs a size, and layers of a multiple of 4096 bytes");
		return;
	}
	n = msg->size_bytes / msg->layer_bytes + (msg->size_bytes % msg->layer_bytes != 0);
	n_chunks = session->n_buffer_chunks + 1 +
		   msg->size_bytes / scheduler_chunk_bytes(session->scheduler);
	wrong = check_limits(session, msg->size_bytes, n, &bound);
	if (!wrong && passes(&bound, NULL, n_chunks, BUFFER_CHUNKS_MAX, LOG_UNIT_COUNT))
		wrong = "buffers of too many chunks; a larger device.chunk would help";
	if (wrong) {
		session_refuse_bound(session, hdr, -E2BIG, wrong, &bound);
		return;
	}
	snprintf(name, sizeof(name), "%s", msg->name);
	extents = calloc(n, sizeof(*extents));
	r = extents ? scheduler_buffer_new(session->scheduler, &session->ss, msg->size_bytes, name,
					   &object) :
		      -ENOMEM;
	if (r < 0) {
		free(extents);
		session_refuse(session, hdr, r, "the buffer cannot be set up");
		return;
	}
	for (uint64_t i = 0; i < n; i++) {
		uint64_t offset = i * msg->layer_bytes, left = msg->size_bytes - offset;

		extents[i] = (struct object_extent){
			.offset = offset,
			.length = left < msg->layer_bytes ? left : msg->layer_bytes,
			.layer = (uint32_t)i,
		};
	}
	finish_open(session, hdr, object, (uint32_t)n, true, extents, (uint32_t)n);
	free(extents);
}

static void close_use(struct session *session, struct use *use)
{
	session->n_objects--;
	session->registered_bytes -= use->object->size_bytes;
	if (use->object->kind == POLICY_BUFFER)
		session->n_buffer_chunks -= use->object->mem->n_chunks;
	scheduler_use_detach(session->scheduler, use);
}

void session_object_close(struct session *session, const struct vram_msg_hdr *hdr,
			  const struct vram_msg_object_close *msg)
{
	struct use *use = find_use(session, msg->object);

	if (msg->pad) {
		session_fail(session, -EPROTO, "padding that is not zero");
		return;
	}
	if (!use) {
		session_refuse(session, hdr, -ENOENT, "no such object");
		return;
	}
	close_use(session, use);
	session_reply(session, hdr, NULL, 0, -1);
}

/* ---- mappings ---- */

struct use *session_use_of(struct session *session, const struct gpu_object *mem)
{
	struct use *use;

	list_for_each(use, &session->ss.uses, in_session)
		if (use->object->mem == mem)
			return use;
	return NULL;
}

static void on_fault(void *owner, struct gpu_object *mem, uint32_t chunk)
{
	struct session *session = owner;
	struct use *use = session_use_of(session, mem);

	if (use && !session->ended)
		scheduler_fault(session->scheduler, use, chunk);
}

static void on_unmapped(void *owner, struct gpu_object *mem)
{
	struct session *session = owner;
	struct use *use = session_use_of(session, mem);

	/* An object with layers can be mapped again; one that was used through its mapping alone
	 * is of no more use. */
	if (use && use->n_layers == 0 && !session->ended)
		close_use(session, use);
}

static void on_failed(void *owner, int error, const char *reason)
{
	session_fail(owner, error, reason);
}

static const struct gpu_client_events gpu_events = {
	.fault = on_fault,
	.unmapped = on_unmapped,
	.failed = on_failed,
};

void session_uffd(struct session *session, const struct vram_msg_hdr *hdr, int *fds)
{
	const struct gpu_peer peer = session_peer(session);
	int fd = fds[0], r;

	if (scheduler_gpu(session->scheduler)->imports) {
		session_refuse(session, hdr, -EOPNOTSUPP,
			       "a card's memory is not mapped but imported: ATTACH and CHUNKS");
		return;
	}
	if (session->ss.gpu_client) {
		session_refuse(session, hdr, -EEXIST, "a second userfaultfd");
		return;
	}
	fds[0] = -1; /* taken */
	r = gpu_client_new(scheduler_gpu(session->scheduler), fd, &peer, &gpu_events, session,
			   &session->ss.gpu_client);
	if (r < 0)
		session_refuse(session, hdr, r, "the descriptor is not a non-blocking userfaultfd");
	else
		session_reply(session, hdr, NULL, 0, -1);
}

static const char *map_error(int r)
{
	switch (r) {
	case -EEXIST:
		return "the range overlaps another mapping";
	case -ENOSPC:
		return "too many or too large mappings: each chunk may take a memory area of the "
		       "process, of which the kernel allows vm.max_map_count";
	default:
		return "the range is not a mapping of this object";
	}
}

void session_map(struct session *session, const struct vram_msg_hdr *hdr,
		 const struct vram_msg_map *msg)
{
	struct use *use = find_use(session, msg->object);
	int r;

	if (msg->pad) {
		session_fail(session, -EPROTO, "padding that is not zero");
		return;
	}
	if (use && scheduler_gpu(session->scheduler)->imports) {
		session_refuse(session, hdr, -EOPNOTSUPP,
			       "a card's memory is not mapped but imported: ATTACH and CHUNKS");
		return;
	}
	if (!use || !session->ss.gpu_client) {
		session_refuse(session, hdr, use ? -EINVAL : -ENOENT,
			       use ? "MAP needs a userfaultfd first" : "no such object");
		return;
	}
	r = gpu_client_map(session->ss.gpu_client, use->object->mem, msg->addr, msg->length,
			   msg->offset);
	if (r < 0) {
		session_refuse(session, hdr, r, map_error(r));
		return;
	}
	use_reopen_layers(use);
	session_reply(session, hdr, NULL, 0, -1);
}

void session_unmap(struct session *session, const struct vram_msg_hdr *hdr,
		   const struct vram_msg_unmap *msg)
{
	struct use *use = find_use(session, msg->object);

	if (msg->pad) {
		session_fail(session, -EPROTO, "padding that is not zero");
		return;
	}
	if (!use || !session->ss.gpu_client) {
		session_refuse(session, hdr, -ENOENT, "no such object or mapping");
		return;
	}
	gpu_client_unmap(session->ss.gpu_client, use->object->mem, msg->addr, msg->length);
	session_reply(session, hdr, NULL, 0, -1);
}

/* ---- slots ---- */

void session_slot_message(struct session *session, const struct vram_msg_hdr *hdr,
			  const struct vram_msg_slot *msg)
{
	struct layer *layer = find_layer(session, msg->slot);

	if (!layer || msg->pad) {
		session_fail(session, -EPROTO, "a slot that does not exist");
		return;
	}
	if (hdr->type == VRAM_MSG_ACQUIRE && !layer->waiting &&
	    session->ss.n_requests >= scheduler_config(session->scheduler)->limits.max_requests)
		session_fail_bound(
			session, -E2BIG,
			"more requests in flight than limits.max_requests allows a session",
			&(struct log_bound){
				.key = "limits.max_requests",
				.asked = (uint64_t)session->ss.n_requests + 1,
				.limit = scheduler_config(session->scheduler)->limits.max_requests,
			});
	else if (hdr->type == VRAM_MSG_ACQUIRE)
		scheduler_acquire(session->scheduler, layer);
	else if (hdr->type == VRAM_MSG_CANCEL)
		scheduler_cancel(session->scheduler, layer);
	else
		scheduler_used(session->scheduler, layer);
}

void session_prefetch(struct session *session, const struct vram_msg_prefetch *msg, size_t len)
{
	if (msg->pad || msg->n == 0 || msg->n > VRAM_SLOTS_PER_MSG ||
	    len != sizeof(*msg) + msg->n * sizeof(msg->slots[0])) {
		session_fail(session, -EPROTO, "a PREFETCH of a wrong number");
		return;
	}
	for (uint32_t i = 0; i < msg->n; i++) {
		struct layer *layer = find_layer(session, msg->slots[i]);

		if (!layer) {
			session_fail(session, -EPROTO, "a slot that does not exist");
			return;
		}
		scheduler_wish(session->scheduler, layer);
	}
}

void session_order(struct session *session, const struct vram_msg_hdr *hdr,
		   const struct vram_msg_order *msg, size_t len)
{
	struct use *use = find_use(session, msg->object);
	int r;

	if (msg->n == 0 || msg->n > VRAM_ORDER_PER_MSG ||
	    len != sizeof(*msg) + msg->n * sizeof(msg->layers[0])) {
		session_fail(session, -EPROTO, "an ORDER of a wrong number");
		return;
	}
	if (!use) {
		session_refuse(session, hdr, -ENOENT, "no such object");
		return;
	}
	r = use_set_order(use, msg->layers, msg->n);
	if (r < 0)
		session_refuse(session, hdr, r, "a layer that does not exist, or twice");
	else
		session_reply(session, hdr, NULL, 0, -1);
}

void session_pass(struct session *session, const struct vram_msg_pass *msg)
{
	struct use *use = find_use(session, msg->object);

	if (!use || msg->kind > VRAM_PASS_IDLE)
		session_fail(session, -EPROTO, "a PASS that makes no sense");
	else
		scheduler_pass(session->scheduler, use, msg->kind);
}
