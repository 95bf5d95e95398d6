// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Objects in a card's addresses: reserving, mapping what a layer needs, unmapping. The rules are in cuda_state.h.
 */
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"
#include "libclient/cuda_state.h"

#define NO_MEMORY() client_fail(-ENOMEM, "out of memory")

static uint32_t chunks_of(uint64_t map_bytes, uint32_t chunk_bytes)
{
	return (uint32_t)((map_bytes + chunk_bytes - 1) / chunk_bytes);
}

static cuda_ptr chunk_addr(const struct cuda_object *co, uint32_t c)
{
	return co->base + (uint64_t)c * co->chunk_bytes;
}

/* Where chunk `end` begins, or the object ends. */
static cuda_ptr chunk_end(const struct cuda_object *co, uint32_t end)
{
	uint64_t offset = (uint64_t)end * co->chunk_bytes;

	return co->base + (offset < co->map_bytes ? offset : co->map_bytes);
}

static uint32_t chunk_index(const struct cuda_chunk *chunk)
{
	return (uint32_t)(chunk - chunk->object->cuda->chunks);
}

int cuda_object_check(const struct object *object, const struct vram_msg_object_reply *reply,
		      int fd)
{
	uint64_t granularity = object->client->cuda->granularity_bytes;
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (reply->map_bytes < object->size_bytes || reply->map_bytes % granularity ||
	    reply->map_bytes > INT64_MAX / 2 || reply->chunk_bytes < granularity ||
	    reply->chunk_bytes % granularity ||
	    reply->map_bytes / reply->chunk_bytes >= UINT32_MAX / 8)
		return -EPROTO;
	/* A file that could shrink would end us with SIGBUS. */
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) ||
	    (uint64_t)st.st_size <
		    (uint64_t)chunks_of(reply->map_bytes, reply->chunk_bytes) * sizeof(uint64_t))
		return -EPROTO;
	return 0;
}

/* ---- which slot needs which chunks -------------------------------------------------- */

/* A stretch of chunks of one slot, before it is merged. */
struct stretch {
	uint32_t slot, first, last;
};

static int compare_stretches(const void *a, const void *b)
{
	const struct stretch *x = a, *y = b;

	if (x->slot != y->slot)
		return x->slot < y->slot ? -1 : 1;
	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return 0;
}

static struct stretch *list_stretches(const struct object *object, uint32_t chunk_bytes,
				      size_t *out_n)
{
	size_t n = object->kind == OBJECT_MODEL ? object->n_extents : object->n_layers;
	struct stretch *s = calloc(n + 1, sizeof(*s));

	if (!s)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		uint64_t offset = i * object->layer_bytes, end = offset + object->layer_bytes;

		s[i].slot = (uint32_t)i;
		if (object->kind == OBJECT_MODEL) {
			offset = object->extents[i].offset;
			end = offset + object->extents[i].length;
			s[i].slot = object->extents[i].layer;
		}
		if (end > object->size_bytes)
			end = object->size_bytes;
		s[i].first = (uint32_t)(offset / chunk_bytes);
		s[i].last = (uint32_t)((end - 1) / chunk_bytes);
	}
	qsort(s, n, sizeof(*s), compare_stretches);
	*out_n = n;
	return s;
}

/* runs and slots[].first_run, .n_runs, from sorted stretches. */
static void merge_stretches(struct cuda_object *co, const struct stretch *s, size_t n)
{
	uint32_t n_runs = 0;

	for (size_t i = 0; i < n; i++) {
		struct cuda_slot *slot = &co->slots[s[i].slot];
		struct cuda_run *run = n_runs ? &co->runs[n_runs - 1] : NULL;

		if (slot->n_runs && s[i].first <= run->first + run->n) {
			if (s[i].last >= run->first + run->n)
				run->n = s[i].last - run->first + 1;
			continue;
		}
		if (slot->n_runs++ == 0)
			slot->first_run = n_runs;
		co->runs[n_runs++] =
			(struct cuda_run){ .first = s[i].first, .n = s[i].last - s[i].first + 1 };
	}
}

/* The other way round: which slots each chunk is part of. */
static int invert_runs(struct cuda_object *co)
{
	uint64_t n = 0;

	co->chunk_first = calloc((size_t)co->n_chunks + 2, sizeof(*co->chunk_first));
	if (!co->chunk_first)
		return NO_MEMORY();
	for (uint32_t s = 0; s < co->n_slots; s++)
		for (uint32_t r = 0; r < co->slots[s].n_runs; r++) {
			const struct cuda_run *run = &co->runs[co->slots[s].first_run + r];

			for (uint32_t c = run->first; c < run->first + run->n; c++)
				co->chunk_first[c + 2]++;
			n += run->n;
		}
	if (n > UINT32_MAX)
		return client_fail(-E2BIG, "layers that overlap too often");
	co->chunk_slots = calloc(n + 1, sizeof(*co->chunk_slots));
	if (!co->chunk_slots)
		return NO_MEMORY();
	for (uint32_t c = 0; c < co->n_chunks; c++)
		co->chunk_first[c + 2] += co->chunk_first[c + 1];
	/* chunk_first[c + 1] runs from where c begins to where it ends, which is where c + 1 begins. */
	for (uint32_t s = 0; s < co->n_slots; s++)
		for (uint32_t r = 0; r < co->slots[s].n_runs; r++) {
			const struct cuda_run *run = &co->runs[co->slots[s].first_run + r];

			for (uint32_t c = run->first; c < run->first + run->n; c++)
				co->chunk_slots[co->chunk_first[c + 1]++] = s;
		}
	return 0;
}

/* Everything but the addresses. Whatever is set is cuda_object_destroy()'s. */
static int lay_out(struct cuda_object *co, struct object *object, int fd)
{
	struct stretch *stretches;
	size_t n = 0;
	void *map;
	int r;

	co->n_chunks = chunks_of(co->map_bytes, co->chunk_bytes);
	co->n_slots = object->n_slots;
	co->binding_bytes = ((size_t)co->n_chunks * sizeof(uint64_t) + 4095) & ~(size_t)4095;
	stretches = list_stretches(object, co->chunk_bytes, &n);
	co->chunks = calloc(co->n_chunks, sizeof(*co->chunks));
	co->slots = calloc((size_t)co->n_slots + 1, sizeof(*co->slots));
	co->runs = calloc(n + 1, sizeof(*co->runs));
	r = stretches && co->chunks && co->slots && co->runs ? 0 : NO_MEMORY();
	if (r == 0) {
		for (uint32_t c = 0; c < co->n_chunks; c++) {
			co->chunks[c].object = object;
			list_init(&co->chunks[c].node);
		}
		if (co->n_slots)
			merge_stretches(co, stretches, n);
		r = invert_runs(co);
	}
	free(stretches);
	if (r < 0)
		return r;
	map = mmap(NULL, co->binding_bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return client_fail(-ENOMEM, "cannot map the bindings of an object: %s",
				   err_text(errno));
	madvise(map, co->binding_bytes, MADV_DONTFORK);
	co->binding = map;
	return 0;
}

static void destroy(struct cuda_object *co, bool forked)
{
	if (!co)
		return;
	if (co->binding && !forked)
		munmap((void *)(uintptr_t)co->binding, co->binding_bytes);
	free(co->chunks);
	free(co->slots);
	free(co->runs);
	free(co->chunk_first);
	free(co->chunk_slots);
	free(co);
}

int cuda_object_new(struct object *object, uint64_t *out_addr)
{
	struct cuda_scope scope;
	struct cuda_client *cuda = object->client->cuda;
	struct cuda_object *co = calloc(1, sizeof(*co));
	cuda_result result;
	int r;

	if (!co)
		return NO_MEMORY();
	co->map_bytes = object->map_bytes;
	co->chunk_bytes = object->chunk_bytes;
	r = lay_out(co, object, object->mem_fd);
	if (r == 0)
		r = cuda_enter(cuda, &scope);
	if (r == 0) {
		result = cuda->driver.mem_address_reserve(&co->base, co->map_bytes, 0, 0, 0);
		cuda_leave(cuda, &scope);
		if (result != CUDA_ABI_SUCCESS)
			r = cuda_fail(cuda, result, "no addresses on the card for the object");
		/* What the driver does not like about the size is nothing that the caller can mend. */
		if (r == -EINVAL)
			r = -EIO;
	}
	if (r < 0) {
		destroy(co, false);
		return r;
	}
	object->cuda = co;
	*out_addr = co->base;
	return 0;
}

/* ---- unmapping ---------------------------------------------------------------------- */

static void forget_place(struct cuda_chunk *chunk)
{
	struct cuda_object *co = chunk->object->cuda;
	uint32_t c = chunk_index(chunk);

	for (uint32_t i = co->chunk_first[c]; i < co->chunk_first[c + 1]; i++)
		co->slots[co->chunk_slots[i]].bound = 0;
	list_del(&chunk->node);
	list_init(&chunk->node);
	chunk->import = NULL;
	chunk->held = false;
	chunk->spoilt = false;
	chunk->closed = false;
}

static void set_bound(const struct object *object, uint32_t slot, uint64_t stamp)
{
	struct vram_layer *layer =
		object->layer_of ? object->layer_of((struct object *)object, slot) : NULL;

	if (layer && layer->n_parts == 1)
		atomic_store_explicit(&layer->bound, stamp, memory_order_seq_cst);
}

void cuda_count_waiting(const struct layer_slot *parts, uint32_t n, int change)
{
	for (uint32_t i = 0; i < n; i++) {
		struct cuda_object *co = parts[i].object->cuda;

		co->slots[parts[i].slot].waiting += (uint32_t)change;
	}
}

static bool has_users(const struct object *object, uint32_t s)
{
	return residency_pins(&object->slots[s]) > object->cuda->slots[s].waiting;
}

/* An orphan's place: whether any layer over it has users. */
static bool any_users(const struct object *object, uint32_t c)
{
	const struct cuda_object *co = object->cuda;

	for (uint32_t i = co->chunk_first[c]; i < co->chunk_first[c + 1]; i++)
		if (has_users(object, co->chunk_slots[i]))
			return true;
	return false;
}

/*
 * Whether somebody who has acquired a layer may be using the place: the layer is there, mapped, and has users. Its pin alone
 * says less, as it comes before the look. *out_sure: false if all that there is was about to be evicted.
 */
static bool in_use(const struct object *object, uint32_t c, bool *out_sure)
{
	const struct cuda_object *co = object->cuda;
	bool maybe = false;

	*out_sure = false;
	for (uint32_t i = co->chunk_first[c]; i < co->chunk_first[c + 1]; i++) {
		uint32_t s = co->chunk_slots[i];
		struct residency_slot *slot = &object->slots[s];
		enum residency_state state = residency_word_state(atomic_load(&slot->word));

		if (!co->slots[s].bound || co->slots[s].bound != residency_binding(slot) ||
		    !has_users(object, s))
			continue;
		*out_sure = *out_sure || state == RESIDENCY_RESIDENT;
		maybe = maybe || state == RESIDENCY_EVICTING;
	}
	return *out_sure || maybe;
}

bool cuda_chunk_is_used(struct cuda_chunk *chunk, uint64_t id)
{
	struct object *object = chunk->object;
	struct cuda_object *co = object->cuda;
	uint32_t c = chunk_index(chunk);
	bool sure;

	for (uint32_t i = co->chunk_first[c]; i < co->chunk_first[c + 1]; i++)
		set_bound(object, co->chunk_slots[i], 0);
	return id ? in_use(object, c, &sure) : chunk->held && any_users(object, c);
}

int cuda_chunk_unmap(struct cuda_client *cuda, struct cuda_chunk *chunk)
{
	struct cuda_object *co = chunk->object->cuda;
	uint32_t c = chunk_index(chunk);
	cuda_result result =
		cuda->driver.mem_unmap(chunk_addr(co, c), chunk_end(co, c + 1) - chunk_addr(co, c));

	if (result != CUDA_ABI_SUCCESS) {
		cuda_fail(cuda, result, "a chunk of vramd's memory cannot be unmapped");
		return -EIO;
	}
	forget_place(chunk);
	return 0;
}

/* What is mapped of the chunks [first, end), a stretch at a time. */
static int unmap_range(struct cuda_client *cuda, struct cuda_object *co, uint32_t first,
		       uint32_t end)
{
	uint32_t c = first;

	while (c < end) {
		uint32_t from = c;
		cuda_result result;

		while (c < end && co->chunks[c].import)
			c++;
		if (c == from) {
			c++;
			continue;
		}
		result = cuda->driver.mem_unmap(chunk_addr(co, from),
						chunk_end(co, c) - chunk_addr(co, from));
		if (result != CUDA_ABI_SUCCESS) {
			cuda_fail(cuda, result, "memory of vramd cannot be unmapped");
			return -EIO;
		}
		for (uint32_t i = from; i < c; i++)
			forget_place(&co->chunks[i]);
	}
	return 0;
}

struct cuda_object *cuda_object_free(struct object *object)
{
	struct cuda_scope scope;
	struct cuda_client *cuda = object->client->cuda;
	struct cuda_object *co = object->cuda;
	bool clean = false;

	if (!co)
		return NULL;
	if (cuda_enter(cuda, &scope) == 0) {
		clean = unmap_range(cuda, co, 0, co->n_chunks) == 0;
		if (clean)
			cuda->driver.mem_address_free(co->base, co->map_bytes);
		cuda_leave(cuda, &scope);
	}
	/* In a context that has died the range cannot be given back; our record of it goes all the same. */
	for (uint32_t c = 0; c < co->n_chunks && !clean; c++)
		if (co->chunks[c].import)
			forget_place(&co->chunks[c]);
	cuda_imports_prune(cuda);
	destroy(co, false);
	object->cuda = NULL;
	return NULL;
}

void cuda_object_forget(struct object *object)
{
	destroy(object->cuda, true);
	object->cuda = NULL;
}

/* ---- after a reconnect -------------------------------------------------------------- */

void cuda_object_unbind(struct object *object)
{
	struct cuda_object *co = object->cuda;

	for (uint32_t c = 0; co && c < co->n_chunks; c++) {
		struct cuda_chunk *chunk = &co->chunks[c];
		bool sure;

		/* Of an orphan it has been said before, when its daemon went. */
		if (!chunk->import || !chunk->import->id)
			continue;
		chunk->held = !chunk->closed && in_use(object, c, &sure);
		chunk->spoilt = chunk->held && (!sure || object->client->same_daemon);
	}
	for (uint32_t s = 0; co && s < co->n_slots; s++) {
		co->slots[s].bound = 0;
		set_bound(object, s, 0);
	}
}

static bool any_use(const struct object *object)
{
	const struct cuda_object *co = object->cuda;

	for (uint32_t c = 0; c < co->n_chunks; c++)
		if (co->chunks[c].held && any_users(object, c))
			return true;
	return false;
}

int cuda_object_renew(struct object *object, const struct vram_msg_object_reply *reply, int fd)
{
	struct cuda_scope scope;
	struct cuda_client *cuda = object->client->cuda;
	struct cuda_object *co = object->cuda, *fresh;
	int r;

	if (!co)
		return 0;
	if (reply->map_bytes != co->map_bytes)
		return client_fail(-ENOTCONN, "vramd maps %s otherwise than before", object->name);
	if (reply->chunk_bytes != co->chunk_bytes && any_use(object))
		return client_fail(
			-ENOTCONN,
			"vramd has other chunks now, and layers of %s are held in the old",
			object->name);
	fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		return NO_MEMORY();
	fresh->base = co->base;
	fresh->map_bytes = co->map_bytes;
	fresh->chunk_bytes = reply->chunk_bytes;
	r = lay_out(fresh, object, fd);
	if (r == 0 && reply->chunk_bytes != co->chunk_bytes) {
		r = cuda_enter(cuda, &scope);
		if (r == 0) {
			r = unmap_range(cuda, co, 0, co->n_chunks);
			cuda_leave(cuda, &scope);
		}
	}
	if (r < 0) {
		destroy(fresh, false);
		return r;
	}
	for (uint32_t c = 0; c < fresh->n_chunks && reply->chunk_bytes == co->chunk_bytes; c++) {
		struct cuda_import *import = co->chunks[c].import;

		if (!import)
			continue;
		fresh->chunks[c].import = import;
		fresh->chunks[c].closed = co->chunks[c].closed;
		fresh->chunks[c].held = co->chunks[c].held;
		fresh->chunks[c].spoilt = co->chunks[c].spoilt;
		forget_place(&co->chunks[c]);
		list_add_tail(&fresh->chunks[c].node, &import->places);
	}
	pthread_mutex_lock(&cuda->release_lock);
	for (uint32_t s = 0; s < fresh->n_slots; s++) {
		fresh->slots[s].kept = co->slots[s].kept;
		fresh->slots[s].waiting = co->slots[s].waiting;
		fresh->slots[s].issued = co->slots[s].issued;
		fresh->slots[s].writer = co->slots[s].writer;
	}
	object->cuda = fresh;
	pthread_mutex_unlock(&cuda->release_lock);
	destroy(co, false);
	return 0;
}

/* ---- binding ------------------------------------------------------------------------ */

enum place {
	PLACE_WRONG, /* nothing, or something else, and nobody uses it */
	PLACE_RIGHT,
	PLACE_KEPT,  /* an orphan that is as good, and in use */
	PLACE_TAKEN, /* an orphan that is in use and not as good */
};

static enum place look_at(const struct cuda_object *co, uint32_t c)
{
	const struct cuda_chunk *chunk = &co->chunks[c];

	if (!chunk->import || chunk->closed)
		return PLACE_WRONG;
	if (chunk->import->id)
		return chunk->import->id == atomic_load(&co->binding[c]) ? PLACE_RIGHT :
									   PLACE_WRONG;
	if (!chunk->held || !any_users(chunk->object, c))
		return PLACE_WRONG;
	return chunk->spoilt ? PLACE_TAKEN : PLACE_KEPT;
}

/* Imports what the run needs and is not here. */
static int fetch_run(struct cuda_client *cuda, struct cuda_object *co, const struct cuda_run *run)
{
	uint64_t ids[VRAM_CHUNKS_PER_MSG];
	uint32_t n = 0;
	int r = 0;

	for (uint32_t c = run->first; c < run->first + run->n && r == 0; c++) {
		uint64_t id = atomic_load(&co->binding[c]);

		if (look_at(co, c) != PLACE_WRONG || (id && cuda_import_find(cuda, id)))
			continue;
		if (id == 0)
			return client_fail(-EAGAIN, "a layer that is there has no memory");
		ids[n++] = id;
		if (n == VRAM_CHUNKS_PER_MSG) {
			r = cuda_import_fetch(cuda, ids, n);
			n = 0;
		}
	}
	return r == 0 && n ? cuda_import_fetch(cuda, ids, n) : r;
}

/* [first, end) gets what the binding file says; none of it is mapped. */
static int map_range(struct cuda_client *cuda, struct cuda_object *co, uint32_t first, uint32_t end)
{
	const bool writable = co->chunks[first].object->kind == OBJECT_BUFFER;
	const struct cuda_mem_access access = {
		.location = { .type = CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, .id = cuda->device },
		.flags = writable ? CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE :
				    CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READ,
	};
	cuda_result result = CUDA_ABI_SUCCESS;
	uint32_t c;
	int r;

	for (c = first; c < end; c++) {
		struct cuda_import *import = cuda_import_find(cuda, atomic_load(&co->binding[c]));

		if (!import)
			break;
		result = cuda->driver.mem_map(chunk_addr(co, c),
					      chunk_end(co, c + 1) - chunk_addr(co, c), 0,
					      import->mem, 0);
		if (result != CUDA_ABI_SUCCESS)
			break;
		co->chunks[c].import = import;
		co->chunks[c].closed = true;
		list_add_tail(&co->chunks[c].node, &import->places);
	}
	if (c == end)
		result = cuda->driver.mem_set_access(chunk_addr(co, first),
						     chunk_end(co, end) - chunk_addr(co, first),
						     &access, 1);
	if (c == end && result == CUDA_ABI_SUCCESS) {
		for (c = first; c < end; c++)
			co->chunks[c].closed = false;
		return 0;
	}
	/* The binding may not have moved while the layer is pinned, unless the daemon is another. */
	r = result == CUDA_ABI_SUCCESS ?
		    client_fail(-EAGAIN, "vramd has moved the layer") :
		    cuda_fail(cuda, result, "memory of vramd cannot be mapped");
	if (unmap_range(cuda, co, first, c) < 0)
		return -EIO;
	return r == -EAGAIN || r == -ENOMEM ? r : -EIO;
}

static int bind_run(struct cuda_client *cuda, struct cuda_object *co, const struct cuda_run *run,
		    bool *out_kept)
{
	uint32_t c = run->first, run_end = run->first + run->n;
	int r = 0;

	while (c < run_end && r == 0) {
		enum place place = look_at(co, c);
		uint32_t first = c;

		if (place != PLACE_WRONG) {
			*out_kept = *out_kept || place == PLACE_KEPT;
			if (place == PLACE_TAKEN)
				r = client_fail(-EAGAIN, "the layer's memory of before is in use");
			c++;
			continue;
		}
		while (c < run_end && look_at(co, c) == PLACE_WRONG)
			c++;
		r = unmap_range(cuda, co, first, c);
		if (r == 0)
			r = map_range(cuda, co, first, c);
	}
	return r;
}

int cuda_bind(const struct layer_slot *part)
{
	struct cuda_scope scope;
	struct object *object = part->object;
	struct cuda_client *cuda = object->client->cuda;
	struct cuda_object *co = object->cuda;
	struct residency_slot *slot = &object->slots[part->slot];
	const struct cuda_slot *cs = &co->slots[part->slot];
	bool kept = false;
	uint64_t stamp;
	int r = 0;

	if (residency_word_state(atomic_load(&slot->word)) != RESIDENCY_RESIDENT)
		return -EAGAIN;
	stamp = residency_binding(slot);
	for (uint32_t i = 0; i < cs->n_runs && r == 0; i++)
		r = fetch_run(cuda, co, &co->runs[cs->first_run + i]);
	if (r < 0)
		return r;
	r = cuda_enter(cuda, &scope);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < cs->n_runs && r == 0; i++)
		r = bind_run(cuda, co, &co->runs[cs->first_run + i], &kept);
	cuda_leave(cuda, &scope);
	if (r < 0)
		return r;
	co->slots[part->slot].bound = stamp;
	set_bound(object, part->slot, kept ? 0 : stamp);
	return 0;
}
