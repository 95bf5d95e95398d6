// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Releases by the device, behind the work of a stream. The rules are in cuda_state.h.
 *
 * What the device writes is an absolute number, so two writes of one slot must land in the order of their numbers. In one stream
 * they do. While writes are outstanding in one stream, a release in another one goes by an event: to make the
 * second stream wait for the first would need the first one's handle, which its owner may have destroyed since.
 */
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "common/err.h"
#include "libclient/cuda_state.h"
#include "libclient/vram_cuda.h"

/* The longest that cuda_drain() sleeps between two looks. */
#define DRAIN_MAX_NS 1000000

/* ---- the table ---------------------------------------------------------------------- */

void cuda_table_register(struct cuda_client *cuda, struct table *table)
{
	struct cuda_scope scope;
	cuda_result result;
	cuda_ptr addr = 0;

	/* Whatever fails here, releases go by events instead. */
	if (table->cuda || !cuda->mem_ops || cuda_enter(cuda, &scope) < 0)
		return;
	result = cuda->driver.mem_host_register(table->slots, table->bytes,
						CUDA_ABI_MEMHOSTREGISTER_PORTABLE |
							CUDA_ABI_MEMHOSTREGISTER_DEVICEMAP);
	if (result == CUDA_ABI_SUCCESS) {
		result = cuda->driver.mem_host_get_device_pointer(&addr, table->slots, 0);
		if (result == CUDA_ABI_SUCCESS) {
			table->cuda = cuda;
			table->device_addr = addr;
		} else {
			cuda->driver.mem_host_unregister(table->slots);
		}
	}
	cuda_leave(cuda, &scope);
}

void cuda_table_unregister(struct table *table)
{
	struct cuda_scope scope;
	struct cuda_client *cuda = table->cuda;

	if (!cuda)
		return;
	if (cuda_enter(cuda, &scope) == 0) {
		cuda->driver.mem_host_unregister(table->slots);
		cuda_leave(cuda, &scope);
	}
	table->cuda = NULL;
}

/* ---- releasing ---------------------------------------------------------------------- */

static uint64_t landed_of(struct residency_slot *slot)
{
	return atomic_load_explicit(&slot->device_released, memory_order_acquire);
}

/* By a write of the device. Return: 0; 1 if it must go by an event; -errno. release_lock is held. */
static int write_release(struct cuda_client *cuda, const struct layer_slot *part,
			 cuda_stream stream)
{
	struct object *object = part->object;
	struct residency_slot *slot = &object->slots[part->slot];
	struct cuda_slot *cs = &object->cuda->slots[part->slot];
	struct table *table = object->table;
	uint64_t offset = (uint64_t)((char *)&slot->device_released - (char *)table->slots);
	cuda_result result;

	if (!table->cuda)
		return 1;
	/* The handle of the thread's own default stream stands for as many streams as there are threads. */
	if ((cs->writer != stream || stream == CUDA_ABI_STREAM_PER_THREAD) &&
	    landed_of(slot) != cs->issued)
		return 1;
	result = cuda->driver.stream_write_value64(stream, table->device_addr + offset,
						   cs->issued + 1,
						   CUDA_ABI_STREAM_WRITE_VALUE_DEFAULT);
	/* A device, or a virtual machine, that says it can and cannot. */
	if (result == CUDA_ABI_ERROR_NOT_SUPPORTED)
		return 1;
	if (result != CUDA_ABI_SUCCESS)
		return cuda_fail(cuda, result, "the stream does not take the release");
	cs->issued++;
	cs->writer = stream;
	return 0;
}

static struct cuda_pending *spare_event(struct cuda_client *cuda)
{
	struct cuda_pending *p = list_first(&cuda->spare_events, struct cuda_pending, node);
	cuda_result result;

	if (p) {
		list_del(&p->node);
		return p;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		client_fail(-ENOMEM, "out of memory");
		return NULL;
	}
	result = cuda->driver.event_create(&p->event, CUDA_ABI_EVENT_DISABLE_TIMING);
	if (result != CUDA_ABI_SUCCESS) {
		cuda_fail(cuda, result, "no event for the release");
		free(p);
		return NULL;
	}
	return p;
}

static int event_release(struct cuda_client *cuda, const struct vram_layer *layer,
			 cuda_stream stream)
{
	struct cuda_pending *p = spare_event(cuda);
	cuda_result result;

	if (!p)
		return -ENOMEM;
	result = cuda->driver.event_record(p->event, stream);
	if (result != CUDA_ABI_SUCCESS) {
		list_add_tail(&p->node, &cuda->spare_events);
		return cuda_fail(cuda, result, "the stream does not take the release");
	}
	p->parts = layer->parts;
	p->n_parts = layer->n_parts;
	list_add_tail(&p->node, &cuda->pending);
	/* The watch sleeps long while there is nothing to poll. */
	if (atomic_fetch_add(&cuda->n_pending, 1) == 0)
		watch_kick(cuda->client);
	return 0;
}

/* The context is current, release_lock held. */
static int release_on(struct cuda_client *cuda, struct vram_layer *layer, cuda_stream stream)
{
	cuda_capture_status capture = CUDA_ABI_STREAM_CAPTURE_STATUS_NONE;
	cuda_result result = cuda->driver.stream_is_capturing(stream, &capture);
	int r = 1;

	if (result != CUDA_ABI_SUCCESS)
		return cuda_fail(cuda, result, "the stream cannot be used");
	if (capture != CUDA_ABI_STREAM_CAPTURE_STATUS_NONE)
		return client_fail(-EINVAL, "the stream is being captured: a graph would release "
					    "the layer whenever it is launched");
	/* All parts or none: several go by one event. */
	if (layer->n_parts == 1)
		r = write_release(cuda, &layer->parts[0], stream);
	return r == 1 ? event_release(cuda, layer, stream) : r;
}

int vram_layer_release_on(struct vram_layer *layer, struct CUstream_st *stream)
{
	struct cuda_scope scope;
	struct vram_client *client = layer->client;
	struct cuda_client *cuda = client->cuda;
	int r;

	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	if (!cuda)
		return client_fail(-EINVAL, "the client is not attached to a card");
	r = cuda_enter(cuda, &scope);
	if (r < 0)
		return r;
	pthread_mutex_lock(&cuda->release_lock);
	while (atomic_load(client->phase) != PHASE_UP) {
		/* The table is being exchanged, by who holds the client's lock. */
		pthread_mutex_unlock(&cuda->release_lock);
		client_lock(client);
		client_unlock(client);
		pthread_mutex_lock(&cuda->release_lock);
	}
	r = release_on(cuda, layer, (cuda_stream)stream);
	pthread_mutex_unlock(&cuda->release_lock);
	cuda_leave(cuda, &scope);
	/* Out of memory on the card is nothing that a release could mean. */
	return r == 0 || r == -EINVAL || r == -ENOMEM ? r : -EIO;
}

/* ---- what the library releases itself --------------------------------------------------- */

/* The context is current. Return: whether the device has come so far, or never will. */
static bool is_over(struct cuda_client *cuda, const struct cuda_pending *p)
{
	cuda_result result;

	if (atomic_load(&cuda->dead))
		return true;
	if (!p->event)
		return landed_of(p->slot) == p->issued;
	result = cuda->driver.event_query(p->event);
	if (result == CUDA_ABI_ERROR_NOT_READY)
		return false;
	/* An error is that of the context, whose work has ended with it. */
	if (result != CUDA_ABI_SUCCESS)
		cuda_fail(cuda, result, "a stream has failed");
	return true;
}

bool cuda_pending_poll(struct cuda_client *cuda)
{
	struct cuda_scope scope;
	struct cuda_pending *p, *tmp;
	bool entered;

	if (atomic_load(&cuda->n_pending) == 0)
		return false;
	pthread_mutex_lock(&cuda->poll_lock);
	entered = cuda_enter(cuda, &scope) == 0;
	if (!entered)
		atomic_store(&cuda->dead, true);
	pthread_mutex_lock(&cuda->release_lock);
	list_for_each_safe(p, tmp, &cuda->pending, node)
		if (is_over(cuda, p))
			list_move_tail(&p->node, &cuda->finishing);
	pthread_mutex_unlock(&cuda->release_lock);
	if (entered)
		cuda_leave(cuda, &scope);

	/* Without the other locks: a release may have to wait for the exchange of a table. */
	list_for_each(p, &cuda->finishing, node) {
		for (uint64_t n = p->event ? 1 : p->n_releases; n > 0; n--)
			layer_unpin(cuda->client, p->parts, p->n_parts);
	}
	client_lock(cuda->client);
	while ((p = list_first(&cuda->finishing, struct cuda_pending, node))) {
		struct table *table = p->table;

		pthread_mutex_lock(&cuda->release_lock);
		list_del(&p->node);
		if (p->event)
			list_add_tail(&p->node, &cuda->spare_events);
		else
			free(p);
		atomic_fetch_sub(&cuda->n_pending, 1);
		pthread_mutex_unlock(&cuda->release_lock);
		table_put(table);
	}
	client_unlock(cuda->client);
	pthread_mutex_unlock(&cuda->poll_lock);
	return atomic_load(&cuda->n_pending) > 0;
}

uint64_t cuda_slot_exchange(struct object *object, uint32_t i)
{
	struct cuda_client *cuda = object->client->cuda;
	struct residency_slot *slot = &object->slots[i];
	struct cuda_slot *cs = &object->cuda->slots[i];
	struct cuda_pending *p;
	uint64_t landed;

	pthread_mutex_lock(&cuda->release_lock);
	landed = landed_of(slot);
	if (landed != cs->issued && !atomic_load(&cuda->dead)) {
		p = calloc(1, sizeof(*p));
		/* Without memory for the record: wait, as the device's work ends by itself. */
		while (!p && landed != cs->issued && !atomic_load(&cuda->dead)) {
			nanosleep(&(struct timespec){ .tv_nsec = DRAIN_MAX_NS }, NULL);
			landed = landed_of(slot);
		}
		if (p) {
			p->table = table_get(object->table);
			p->slot = slot;
			p->issued = cs->issued;
			p->n_releases = cs->issued - landed;
			p->part = (struct layer_slot){ .object = object, .slot = i };
			p->parts = &p->part;
			p->n_parts = 1;
			list_add_tail(&p->node, &cuda->pending);
			atomic_fetch_add(&cuda->n_pending, 1);
		}
	} else {
		/* In a context that has died nothing lands any more, and nothing runs. */
		landed = cs->issued;
	}
	cs->issued = 0;
	cs->writer = NULL;
	pthread_mutex_unlock(&cuda->release_lock);
	return landed;
}

void cuda_release_settle(struct cuda_client *cuda)
{
	struct object *object;

	pthread_mutex_lock(&cuda->release_lock);
	list_for_each(object, &cuda->client->objects, node) {
		for (uint32_t i = 0; object->cuda && i < object->cuda->n_slots; i++) {
			struct residency_slot *slot = &object->slots[i];
			struct cuda_slot *cs = &object->cuda->slots[i];
			uint64_t landed = landed_of(slot);

			for (; landed < cs->issued; landed++)
				residency_release(slot);
			cs->issued = landed_of(slot);
		}
	}
	pthread_mutex_unlock(&cuda->release_lock);
}

/* ---- the end -------------------------------------------------------------------------- */

static bool has_one_of(const struct list_node *list, const struct object *object)
{
	const struct cuda_pending *p;

	list_for_each(p, list, node)
		for (uint32_t i = 0; i < p->n_parts; i++)
			if (!object || p->parts[i].object == object)
				return true;
	return false;
}

static bool owes(struct cuda_client *cuda, struct object *object)
{
	bool any;

	pthread_mutex_lock(&cuda->release_lock);
	any = has_one_of(&cuda->pending, object) || has_one_of(&cuda->finishing, object);
	for (uint32_t i = 0; object && object->cuda && i < object->cuda->n_slots && !any; i++)
		any = landed_of(&object->slots[i]) != object->cuda->slots[i].issued;
	pthread_mutex_unlock(&cuda->release_lock);
	return any;
}

void cuda_drain(struct vram_client *client, struct object *object)
{
	struct cuda_scope scope;
	struct cuda_client *cuda = client->cuda;
	long pause_ns = 10000;

	if (!cuda)
		return;
	for (;;) {
		bool any;

		cuda_pending_poll(cuda);
		/* The lock: the table may be exchanged. */
		client_lock(client);
		any = owes(cuda, object);
		/* Work that ended with the context shows in its streams, and only there. */
		if (any && cuda_enter(cuda, &scope) == 0) {
			cuda_result result = cuda->driver.stream_query(NULL);

			if (result != CUDA_ABI_SUCCESS && result != CUDA_ABI_ERROR_NOT_READY &&
			    cuda_is_sticky(result))
				atomic_store(&cuda->dead, true);
			cuda_leave(cuda, &scope);
		} else if (any) {
			atomic_store(&cuda->dead, true);
		}
		if (atomic_load(&cuda->dead))
			cuda_release_settle(cuda);
		client_unlock(client);
		if (!any)
			return;
		nanosleep(&(struct timespec){ .tv_nsec = pause_ns }, NULL);
		if (pause_ns < DRAIN_MAX_NS)
			pause_ns *= 2;
	}
}

void cuda_release_init(struct cuda_client *cuda)
{
	pthread_mutex_init(&cuda->release_lock, NULL);
	pthread_mutex_init(&cuda->poll_lock, NULL);
	list_init(&cuda->pending);
	list_init(&cuda->finishing);
	list_init(&cuda->spare_events);
}

void cuda_release_deinit(struct cuda_client *cuda)
{
	struct cuda_scope scope;
	struct cuda_pending *p, *tmp;
	bool entered = cuda_enter(cuda, &scope) == 0;

	list_for_each_safe(p, tmp, &cuda->spare_events, node) {
		if (entered)
			cuda->driver.event_destroy(p->event);
		free(p);
	}
	if (entered)
		cuda_leave(cuda, &scope);
	pthread_mutex_destroy(&cuda->release_lock);
	pthread_mutex_destroy(&cuda->poll_lock);
}
