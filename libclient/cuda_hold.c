// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Holding everything at once: for programs that cannot say which layer they use when. See cuda.h.
 *
 * A slot is `kept` while one pin of it is held here. The caller is one at a time, so between looking and marking nothing
 * changes but what the lock is let go for: waiting.
 */
#define _GNU_SOURCE 1
#include "libclient/cuda.h"

#include <errno.h>
#include <stdlib.h>

#include "common/err.h"
#include "libclient/cuda_state.h"

/* The slots of `object` (NULL: of all objects) that are kept or not. parts: NULL only counts. */
static uint32_t list_slots(struct vram_client *client, const struct object *object, bool kept,
			   struct layer_slot *parts)
{
	struct object *each;
	uint32_t n = 0;

	list_for_each(each, &client->objects, node) {
		if (!each->cuda || (object && each != object))
			continue;
		for (uint32_t i = 0; i < each->cuda->n_slots; i++) {
			if (each->cuda->slots[i].kept != kept)
				continue;
			if (parts)
				parts[n] = (struct layer_slot){ .object = each, .slot = i };
			n++;
		}
	}
	return n;
}

void cuda_revoke_note(struct cuda_client *cuda, struct residency_slot *slot, uint64_t deadline_ns)
{
	/*
	 * There is one for every slot, and the first had all given back. Those that come after must not count against
	 * the next turn: layer_acquire_parts() reads what has come before it pins.
	 */
	if (residency_pins(slot) == 0)
		return;
	if (!cuda->revoked || deadline_ns < cuda->revoke_deadline_ns)
		cuda->revoke_deadline_ns = deadline_ns;
	cuda->revoked = true;
	watch_kick(cuda->client);
}

static int hold(struct vram_client *client, const struct object *object, int64_t timeout_ns)
{
	uint64_t deadline = timeout_ns == 0 ? 0 : client_deadline(timeout_ns);
	struct layer_slot *parts;
	uint32_t n, *seen;
	int r;

	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	client_lock(client);
	/* What was asked for before belongs to a turn that is over. */
	if (list_slots(client, NULL, true, NULL) == 0)
		client->cuda->revoked = false;
	n = list_slots(client, object, false, NULL);
	parts = calloc((size_t)n + 1, sizeof(*parts));
	seen = calloc((size_t)n + 1, sizeof(*seen));
	r = parts && seen ? 0 : client_fail(-ENOMEM, "out of memory");
	if (r == 0) {
		list_slots(client, object, false, parts);
		r = layer_acquire_parts(client, parts, n, 0, seen, timeout_ns != 0, deadline);
	}
	for (uint32_t i = 0; i < n && r == 0; i++)
		parts[i].object->cuda->slots[parts[i].slot].kept = true;
	client_unlock(client);
	free(parts);
	free(seen);
	return r;
}

int cuda_client_acquire_all(struct vram_client *client, int64_t timeout_ns)
{
	return hold(client, NULL, timeout_ns);
}

int cuda_buffer_acquire(struct vram_buffer *buffer, int64_t timeout_ns)
{
	struct vram_layer *layer = vram_buffer_layer(buffer, 0);

	return hold(layer->client, layer->object, timeout_ns);
}

void cuda_client_release_all(struct vram_client *client)
{
	struct object *object;

	if (client_check(client) < 0)
		return;
	client_lock(client);
	list_for_each(object, &client->objects, node) {
		for (uint32_t i = 0; object->cuda && i < object->cuda->n_slots; i++) {
			if (!object->cuda->slots[i].kept)
				continue;
			object->cuda->slots[i].kept = false;
			residency_release(&object->slots[i]);
		}
	}
	client_unlock(client);
}
