// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/scheduler.h"

#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/proto.h"
#include "common/size.h"
#include "daemon/arbiter_choice.h"
#include "daemon/log.h"
#include "daemon/scheduler_private.h"
#include "daemon/scheduler_trace.h"

#define CHUNK_DEFAULT (2u << 20)
#define CHUNK_MIN     (64u << 10)
/* Fewer chunks than this in the budget and the chunks are made smaller. */
#define CHUNKS_IN_BUDGET 32
/* More chunks than this in an object and they are made larger: each may cost the client a memory area. */
#define CHUNKS_OF_OBJECT 16384
/* On a card, whose chunks are large: on the move at once at least, and loaded ahead for a user. */
#define CHUNKS_MOVING 6
#define CHUNKS_AHEAD  4

static void device_ready(void *owner)
{
	scheduler_pump(owner);
}

static void device_budget(void *owner, uint64_t budget_bytes)
{
	struct scheduler *s = owner;
	int r;

	if (budget_bytes == s->gpu->budget_bytes)
		return;
	s->gpu->budget_bytes = budget_bytes;
	r = arbiter_device_resize(s->arbiter, s->dev, ARBITER_VRAM, budget_bytes);
	if (r < 0)
		log_error("%s: the ledger cannot be told that there are %llu MiB: %s", s->gpu->name,
			  (unsigned long long)(budget_bytes >> 20), strerror(-r));
	policy_set_capacity(s->policy, budget_bytes);
	limits_budget(s);
	scheduler_pump(s);
}

/* Whatever is in the device is lost for its clients too, and for those who come: no object outlives this. */
static void device_lost(void *owner, int error, const char *reason)
{
	struct scheduler *s = owner;
	struct scheduler_session *ss;
	struct object *object, *tmp;
	char text[200];

	log_event(LOG_LEVEL_ERROR, &LOG_ID(DEVICE_LOST), 1, "%s is lost: %s", s->gpu->name, reason);
	snprintf(text, sizeof(text), "the device %s is lost: %s", s->gpu->name, reason);
	list_for_each(ss, &s->sessions, node)
		ss->ops->fail(ss, error, text);
	list_for_each_safe(object, tmp, &s->objects, node) {
		object->dead = true;
		scheduler_object_drop(s, object);
	}
}

static const struct gpu_events gpu_events = {
	.ready = device_ready,
	.budget = device_budget,
	.lost = device_lost,
};

static const struct pager_events pager_events = {
	.loaded = pager_loaded,
	.evicted = pager_evicted,
	.settled = pager_settled,
	.ready = pager_ready,
	.moves = pager_moves,
};

/* The device that the configuration names, or that there is. */
static int open_device(struct scheduler *s)
{
	const struct config *config = s->config;
	struct gpu_params params = {
		.name = *config->device.name ? config->device.name : NULL,
		.budget_bytes = config->device.budget,
		.link_bytes_per_s = config->device.link,
		.huge = config->device.huge,
		.card = config->device.card,
		.chunk_bytes = config->device.chunk,
		.reserve_bytes = config->device.reserve,
		.idle_ns = config->device.idle,
		.reclaim_timeout_ns = config->device.reclaim_timeout,
		.events = &gpu_events,
		.owner = s,
	};
	char reason[256];
	int r;

	/* A link is a property of the host device alone: who sets one means that. */
	if (config->device.kind != VRAM_DEVICE_HOST && !config->device.link) {
		r = gpu_cuda_new(&s->gpu, s->loop, &params, reason, sizeof(reason));
		if (r == 0)
			return 0;
		if (config->device.kind == VRAM_DEVICE_CUDA) {
			log_error("device.kind = cuda: %s; device.kind = host does without",
				  reason);
			return r;
		}
		/* Where there is no driver nobody expects a card; one that does not work is another matter. */
		if (r == -ENOENT)
			log_info("no card, so the device is the host's memory: %s", reason);
		else
			log_warn("the card cannot be used, so the device is the host's memory: %s",
				 reason);
	}
	if (params.budget_bytes == 0)
		params.budget_bytes = config_host_budget(config);
	if (config->device.host_budget && !config->device.link)
		log_warn(
			"device.host_budget: the host device without device.link has no tier of its "
			"own behind it");
	return gpu_host_new(&s->gpu, s->loop, &params);
}

static uint32_t choose_chunk(const struct scheduler *s)
{
	uint32_t smallest = s->gpu->imports ? (uint32_t)s->gpu->granularity_bytes : CHUNK_MIN;
	uint32_t bytes = s->gpu->chunk_bytes ? s->gpu->chunk_bytes : CHUNK_DEFAULT;

	if (s->config->device.chunk)
		return s->config->device.chunk < smallest && s->gpu->imports ?
			       smallest :
			       (uint32_t)s->config->device.chunk;
	while (bytes > smallest && s->gpu->budget_bytes / bytes < CHUNKS_IN_BUDGET)
		bytes /= 2;
	return bytes;
}

static int make_device(struct scheduler *s)
{
	const struct config *config = s->config;
	uint64_t capacity[ARBITER_N_TIERS] = { 0 };
	char chunk[SIZE_TEXT_MAX];
	uint64_t host_bytes;
	int r;

	r = open_device(s);
	if (r < 0)
		return r;
	s->chunk_bytes = choose_chunk(s);
	if (s->gpu->imports)
		log_info("%s: chunks of %s", s->gpu->name, size_format(chunk, s->chunk_bytes));
	if (!s->gpu->direct) {
		host_bytes = config->device.host_budget;
		if (!host_bytes && s->gpu->imports)
			host_bytes = config->ram_bytes / 4;
		r = hostpool_new(&s->hostpool, s->gpu, host_bytes, s->chunk_bytes, s->gpu->huge);
		if (r < 0) {
			log_error(
				"device.host_budget: the device is behind a bus and needs a host tier of "
				"at least one chunk (%u bytes): %s",
				s->chunk_bytes, strerror(-r));
			return r;
		}
	}
	if (config->swap.size) {
		r = swap_new(&s->swap, s->store, config->swap.path, config->swap.size,
			     s->chunk_bytes);
		if (r < 0)
			return r;
	}
	capacity[ARBITER_VRAM] = s->gpu->budget_bytes;
	capacity[ARBITER_HOST] = s->hostpool ? (uint64_t)hostpool_n_slots(s->hostpool) *
						       hostpool_slot_bytes(s->hostpool) :
					       0;
	capacity[ARBITER_DISK] = s->swap ? swap_size(s->swap) : 0;
	return arbiter_device_add(s->arbiter, s->gpu->name, capacity, loop_now(), &s->dev);
}

/* The disk, the bus in and the bus out each have one in hand and one to begin with. */
static uint64_t inflight_bytes(const struct scheduler *s)
{
	uint64_t least = (uint64_t)s->chunk_bytes * CHUNKS_MOVING;

	return s->gpu->imports && s->config->io.inflight < least ? least : s->config->io.inflight;
}

int scheduler_new(struct scheduler **out, struct loop *loop, const struct config *config)
{
	const struct store_params store_params = {
		.piece_bytes = (uint32_t)config->io.read_size,
		.direct = config->io.direct != 0,
		.fault = config->io.fault,
		.trust_fuse = config->user,
	};
	struct policy_config policy_config = {
		.window_bytes = config->policy.prefetch,
		.share = config->policy.share ? POLICY_SHARE_BYTES : POLICY_SHARE_FAIR,
	};
	struct pager_params pager_params = { 0 };
	struct scheduler *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->loop = loop;
	s->config = config;
	s->started_ns = loop_now();
	s->started_epoch_s = (uint64_t)time(NULL);
	s->tick.fn = scheduler_tick;
	s->retry.fn = scheduler_retry;
	list_init(&s->sessions);
	list_init(&s->objects);
	list_init(&s->waiting);
	list_init(&s->parked);
	list_init(&s->active);
	list_init(&s->lanes);
	lane_init(&s->lane, NULL);
	tenants_init(s);
	control_start(s);
	r = arbiter_new(config, loop_now(), &s->arbiter);
	if (r < 0)
		goto err_free;
	r = store_new(&s->store, loop, &store_params);
	if (r < 0)
		goto err_free;
	r = make_device(s);
	if (r < 0)
		goto err_free;
	r = admission_start(s);
	if (r < 0)
		goto err_free;
	r = scheduler_arbiter_start(s);
	if (r < 0)
		goto err_free;
	policy_config.capacity_bytes = s->gpu->budget_bytes;
	if (!policy_config.window_bytes && s->gpu->imports)
		policy_config.window_bytes = (uint64_t)s->chunk_bytes * CHUNKS_AHEAD;
	s->policy = policy_new(&policy_config);
	if (!s->policy) {
		r = -ENOMEM;
		goto err_free;
	}
	pager_params = (struct pager_params){
		.loop = loop,
		.gpu = s->gpu,
		.store = s->store,
		.arbiter = s->arbiter,
		.dev = s->dev,
		.swap = s->swap,
		.hostpool = s->hostpool,
		.inflight_bytes = inflight_bytes(s),
		.events = &pager_events,
		.rules = &tiers_rules,
		.owner = s,
	};
	r = pager_new(&s->pager, &pager_params);
	if (r < 0)
		goto err_free;
	*out = s;
	return 0;

err_free:
	scheduler_free(s);
	return r;
}

struct scheduler *scheduler_free(struct scheduler *s)
{
	struct object *object, *tmp;

	if (!s)
		return NULL;
	loop_cancel(s->loop, &s->tick);
	loop_cancel(s->loop, &s->retry);
	scheduler_arbiter_stop(s);
	control_stop(s);
	admission_stop(s);
	list_for_each_safe(object, tmp, &s->objects, node)
		object_free_now(s, object);
	tenants_deinit(s);
	policy_free(s->policy);
	pager_free(s->pager);
	swap_free(s->swap);
	hostpool_free(s->hostpool);
	gpu_free(s->gpu);
	store_free(s->store);
	arbiter_free(s->arbiter);
	lane_deinit(s, &s->lane);
	free(s->pinned.refs);
	free(s);
	return NULL;
}

struct loop *scheduler_loop(struct scheduler *s)
{
	return s->loop;
}

struct arbiter *scheduler_arbiter(struct scheduler *s)
{
	return s->arbiter;
}

const struct config *scheduler_config(const struct scheduler *s)
{
	return s->config;
}

struct gpu *scheduler_gpu(struct scheduler *s)
{
	return s->gpu;
}

uint32_t scheduler_device(const struct scheduler *s)
{
	return s->dev;
}

uint32_t scheduler_chunk_bytes(const struct scheduler *s)
{
	return s->chunk_bytes;
}

size_t scheduler_n_sessions(const struct scheduler *s)
{
	return s->n_sessions;
}

bool scheduler_is_idle(const struct scheduler *s)
{
	return pager_is_idle(s->pager);
}

struct list_node *scheduler_sessions(struct scheduler *s)
{
	return &s->sessions;
}

/* The version-2 path of the process, "/a/b". */
static bool read_cgroup(pid_t pid, char *buf, size_t size)
{
	char path[64], line[4200];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::/", 4) == 0 && strlen(line + 3) < size) {
			snprintf(buf, size, "%s", line + 3);
			found = true;
		}
	}
	fclose(f);
	return found;
}

static void read_comm(pid_t pid, char *buf, size_t size)
{
	char path[64];
	FILE *f;

	buf[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(buf, (int)size, f))
		buf[strcspn(buf, "\n")] = '\0';
	fclose(f);
}

static void session_enter(struct scheduler *s, struct scheduler_session *ss)
{
	list_init(&ss->uses);
	lane_init(&ss->lane, ss);
	list_add_tail(&ss->node, &s->sessions);
	s->n_sessions++;
	tenants_changed(s);
	control_enter(s, ss);
	scheduler_tick_start(s);
}

int scheduler_session_add(struct scheduler *s, struct scheduler_session *ss)
{
	char cgroup[4096] = "", exe[4096] = "", comm[32] = "";
	struct arbiter_peer peer = { .pid = ss->pid, .uid = ss->uid, .comm = comm };
	int r;

	read_comm(ss->pid, comm, sizeof(comm));
	memccpy(ss->comm, comm, '\0', sizeof(ss->comm) - 1);
	if (read_cgroup(ss->pid, cgroup, sizeof(cgroup)))
		peer.cgroup = cgroup;
	if (limits_read_exe(s, ss, exe, sizeof(exe)))
		peer.exe = exe;
	limits_enter(s, ss->uid);
	r = arbiter_session_open(s->arbiter, &peer, loop_now(), &ss->id);
	if (r < 0) {
		limits_leave(s, ss->uid, 0);
		return r;
	}
	session_enter(s, ss);
	return 0;
}

int scheduler_session_adopt(struct scheduler *s, struct scheduler_session *ss, int fd,
			    struct arbiter_adopted *out)
{
	int r = arbiter_session_adopt(s->arbiter, fd, out);

	if (r < 0)
		return r;
	ss->id = out->session;
	ss->pid = out->pid;
	ss->uid = out->uid;
	memccpy(ss->comm, out->comm, '\0', sizeof(ss->comm) - 1);
	limits_enter(s, ss->uid);
	session_enter(s, ss);
	scheduler_arbiter_adopted(s, ss, out->table);
	return 0;
}

void scheduler_session_del(struct scheduler *s, struct scheduler_session *ss)
{
	struct use *use, *tmp;

	list_for_each_safe(use, tmp, &ss->uses, in_session)
		scheduler_use_detach(s, use);
	control_leave(s, ss);
	lane_deinit(s, &ss->lane);
	s->stall_ns += ss->stall_ns;
	arbiter_session_close(s->arbiter, ss->id, loop_now());
	limits_leave(s, ss->uid, ss->id);
	policy_tenant_forget(s->policy, (uint32_t)ss->id);
	tenant_forget(s, ss);
	ss->id = 0;
	list_del(&ss->node);
	s->n_sessions--;
	admission_forget(s, ss);
	scheduler_pump(s);
}

void scheduler_limits_changed(struct scheduler *s)
{
	tenants_changed(s);
	tenants_look(s);
	/* What is above a limit now begins to go before who has set it gets the answer. */
	reclaim_over(s, loop_now());
	scheduler_pump(s);
}

static uint32_t chunk_bytes_for(const struct scheduler *s, uint64_t size_bytes)
{
	uint64_t chunk = s->chunk_bytes;

	/* The host tier's slots and the swap's have the basic size. */
	if (s->hostpool)
		return s->chunk_bytes;
	while (size_bytes / chunk >= CHUNKS_OF_OBJECT)
		chunk *= 2;
	return (uint32_t)chunk;
}

static int object_new(struct scheduler *s, enum policy_kind kind, uid_t uid, uint64_t size_bytes,
		      uint32_t chunk_bytes, const char *name, struct object **out)
{
	struct object *object = calloc(1, sizeof(*object));
	int r = -ENOMEM;

	if (!object)
		return -ENOMEM;
	object->id = ++s->last_object_id;
	object->kind = kind;
	object->uid = uid;
	object->size_bytes = size_bytes;
	object->unused_since_ns = loop_now();
	snprintf(object->name, sizeof(object->name), "%s", name);
	list_init(&object->uses);
	r = gpu_object_new(s->gpu, kind == POLICY_MODEL ? "vram-model" : "vram-buffer", size_bytes,
			   chunk_bytes, kind == POLICY_BUFFER, uid, &object->mem);
	if (r < 0)
		goto err_free;
	object->mem->owner = object;
	r = -ENOMEM;
	object->chunks = calloc(object->mem->n_chunks, sizeof(*object->chunks));
	if (!object->chunks)
		goto err_mem;
	object->policy =
		policy_object_new(s->policy, object->mem->n_chunks, chunk_bytes, kind, object);
	if (!object->policy)
		goto err_chunks;
	r = arbiter_share_new(s->arbiter, s->dev, &object->share);
	if (r < 0)
		goto err_policy;
	list_add_tail(&object->node, &s->objects);
	if (trace_on(vram_share_new))
		scheduler_trace_share_new(s, object);
	*out = object;
	return 0;

err_policy:
	policy_object_free(object->policy);
err_chunks:
	free(object->chunks);
err_mem:
	gpu_object_free(object->mem);
err_free:
	free(object);
	return r;
}

int scheduler_model_open(struct scheduler *s, struct scheduler_session *ss, int fd,
			 uint64_t size_bytes, const char *name, struct object **out)
{
	struct store_file *file;
	struct object *object;
	int r;

	r = store_file_open(s->store, fd, size_bytes, ss->pid, &file);
	if (r < 0)
		return r;
	list_for_each(object, &s->objects, node) {
		if (object->file == file && !object->dead &&
		    (!s->gpu->per_user || object->uid == ss->uid)) {
			store_file_unref(file);
			*out = object;
			return 0;
		}
	}
	r = object_new(s, POLICY_MODEL, ss->uid, size_bytes, chunk_bytes_for(s, size_bytes), name,
		       &object);
	if (r < 0) {
		store_file_unref(file);
		return r;
	}
	object->file = file;
	*out = object;
	return 0;
}

int scheduler_buffer_new(struct scheduler *s, struct scheduler_session *ss, uint64_t size_bytes,
			 const char *name, struct object **out)
{
	/* One slot of the swap file holds one chunk. */
	return object_new(s, POLICY_BUFFER, ss->uid, size_bytes, s->chunk_bytes, name, out);
}

void object_free_now(struct scheduler *s, struct object *object)
{
	control_forget(s, object);
	lanes_forget(s, object);
	queue_forget(&s->pinned, object);
	pager_forget(s->pager, object);
	if (object->resident_bytes)
		arbiter_share_uncharge(s->arbiter, object->share, ARBITER_VRAM,
				       object->resident_bytes);
	s->resident_bytes -= object->resident_bytes;
	if (trace_on(vram_share_free))
		scheduler_trace_share_free(s, object);
	arbiter_share_free(s->arbiter, object->share);
	policy_object_free(object->policy);
	gpu_object_free(object->mem);
	store_file_unref(object->file);
	list_del(&object->node);
	free(object->chunks);
	free(object);
}

void scheduler_object_drop(struct scheduler *s, struct object *object)
{
	if (!list_is_empty(&object->uses) || object->n_openings ||
	    (object->pinned && !object->dead))
		return;
	if (object->n_moving)
		object->dead = true;
	else
		object_free_now(s, object);
}

void scheduler_object_drop_if_new(struct scheduler *s, struct object *object)
{
	if (object && list_is_empty(&object->uses) && (object->resident_bytes == 0 || object->dead))
		scheduler_object_drop(s, object);
}

/* Has the session opened this object more than once? Its share and its mappings are one. */
static bool has_other_use(const struct scheduler_session *ss, const struct object *object,
			  const struct use *than)
{
	const struct use *use;

	list_for_each(use, &object->uses, in_object)
		if (use != than && use->session == ss)
			return true;
	return false;
}

int scheduler_use_attach(struct scheduler *s, struct scheduler_session *ss, struct object *object,
			 struct use **out)
{
	struct use *use;
	bool again;
	int r;

	use = use_new(object, ss, &ss->gpu_client);
	if (!use)
		return -ENOMEM;
	again = has_other_use(ss, object, use);
	/* By force: what is resident already must not keep a client out; it is reclaimed then. What is pinned is
	 * charged to nobody. */
	if (!again && !object->pinned) {
		r = arbiter_share_join(s->arbiter, object->share, ss->id, true, NULL);
		if (r < 0)
			goto err_use;
	}
	use->policy = policy_user_new(object->policy, (uint32_t)ss->id, use);
	if (!use->policy) {
		r = -ENOMEM;
		goto err_share;
	}
	if (arbiter_adopts(s->arbiter))
		use->waker = &ss->waker.base;
	list_add_tail(&use->in_session, &ss->uses);
	*out = use;
	return 0;

err_share:
	if (!again && !object->pinned)
		arbiter_share_leave(s->arbiter, object->share, ss->id);
err_use:
	use_free(use);
	return r;
}

void scheduler_use_detach(struct scheduler *s, struct use *use)
{
	struct scheduler_session *ss = use->session;
	struct object *object = use->object;
	uint64_t now = loop_now();

	for (uint32_t i = 0; i < use->n_layers; i++)
		if (use->layers[i].waiting)
			layer_stop_waiting(s, &use->layers[i]);
	for (; use->n_waiting; use->n_waiting--)
		stall_end(s, ss, STALL_FAULT, now);
	list_del(&use->active);
	info_use_ends(use);
	policy_user_free(use->policy);
	/* With another use of the same session its mappings stay closed where they have to be. */
	if (!has_other_use(ss, object, use)) {
		if (ss->gpu_client)
			gpu_client_forget(ss->gpu_client, object->mem);
		arbiter_share_leave(s->arbiter, object->share, ss->id);
	}
	use_free(use);
	if (!list_is_empty(&object->uses))
		return;
	object->unused_since_ns = now;
	if (object->kind == POLICY_BUFFER || s->config->policy.keep == 0 || object->dead)
		scheduler_object_drop(s, object);
}
