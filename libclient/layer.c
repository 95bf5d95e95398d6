// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Acquire and release.
 *
 * The way that nearly every call takes: in a section, find the slot, raise the pin, see RESIDENT. All
 * else goes through acquire_slowly(). A layer whose extents lie in several files of a split model has a part, and a
 * slot, in each; it is acquired when all are.
 *
 * On a card what is resident must be mapped as well, see cuda_state.h.
 *
 * A pin that is raised stays raised while the thread waits, over restarts of the daemon too (reconnect.c carries
 * it over); so every way out of layer_acquire_parts() without success gives it back exactly once.
 */
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <string.h>

#include "common/err.h"
#include "libclient/cuda_state.h"
#include "libclient/reader.h"

/* How long a thread sleeps on a slot before it looks whether the daemon is still there. */
#define SLICE_NS 200000000u
/* Slots of one layer: one in each file of a split model. */
#define PARTS_MAX 1024

void layer_init(struct vram_layer *layer, struct vram_client *client)
{
	layer->client = client;
	layer->phase = client->phase;
	layer->object = layer->parts[0].object;
	layer->slot = layer->parts[0].slot;
}

const char *vram_layer_name(const struct vram_layer *layer)
{
	return layer->name;
}

uint32_t vram_layer_index(const struct vram_layer *layer)
{
	return layer->index;
}

uint64_t vram_layer_bytes(const struct vram_layer *layer)
{
	return layer->bytes;
}

uint32_t vram_layer_flags(const struct vram_layer *layer)
{
	return layer->flags;
}

uint32_t vram_layer_n_extents(const struct vram_layer *layer)
{
	return layer->n_extents;
}

int vram_layer_extent(const struct vram_layer *layer, uint32_t index, void **out_ptr,
		      uint64_t *out_bytes)
{
	if (index >= layer->n_extents)
		return -ENOENT;
	*out_ptr = layer->extents[index].ptr;
	*out_bytes = layer->extents[index].bytes;
	return 0;
}

static inline bool phase_up(const struct vram_layer *layer)
{
	return atomic_load_explicit(layer->phase, memory_order_seq_cst) == PHASE_UP;
}

/* What the slot says, in the words of vram.h. */
static int slot_errno(int error)
{
	return error == -EDQUOT ? -ENOSPC : client_errno(error);
}

static struct residency_slot *slot_of(const struct layer_slot *part)
{
	return &part->object->slots[part->slot];
}

bool vram_layer_is_resident(const struct vram_layer *layer)
{
	bool resident = false;

	reader_enter();
	if (phase_up(layer)) {
		resident = true;
		for (uint32_t i = 0; i < layer->n_parts; i++) {
			uint32_t word = atomic_load_explicit(&slot_of(&layer->parts[i])->word,
							     memory_order_relaxed);

			resident = resident && residency_word_state(word) == RESIDENCY_RESIDENT;
		}
		resident = resident && layer->object->error == 0;
	}
	reader_leave();
	return resident;
}

/* Tells the daemon about the slot: ACQUIRE, CANCEL or USED. The lock is held. */
static int post_slot(const struct layer_slot *part, uint32_t type)
{
	struct vram_msg_slot body = { .slot = part->object->slot_base + part->slot };

	return request_post(part->object->client, type, &body, sizeof(body), NULL, 0);
}

static void post_prefetch(const struct layer_slot *part)
{
	struct vram_msg_prefetch body = { .n = 1 };
	uint32_t slot = part->object->slot_base + part->slot;

	request_post(part->object->client, VRAM_MSG_PREFETCH, &body, sizeof(body), &slot,
		     sizeof(slot));
}

/* The mark was found: say so. A report that cannot be sent is left to the next acquire. */
static void report(const struct layer_slot *part, uint32_t seen)
{
	struct residency_slot *slot = slot_of(part);

	if (residency_claim_report(slot, seen) && post_slot(part, VRAM_MSG_USED) < 0)
		residency_unclaim_report(slot);
}

/*
 * Sleeps on the slot for a while without the lock. The table stays, the pin is held.
 * Return: as table_wait().
 */
static int sleep_on(struct vram_client *client, const struct layer_slot *part, uint32_t seen,
		    uint64_t deadline)
{
	struct table *table = table_get(part->object->table);
	struct residency_slot *slot = slot_of(part);
	uint64_t until = client_now_ns() + SLICE_NS;
	int r;

	client_unlock(client);
	r = table_wait(table, slot, seen, until < deadline ? until : deadline);
	client_lock(client);
	table_put(table);
	return r;
}

/* There is no daemon: wait a little before the next attempt. Return: 0, or -ENOTCONN at the deadline. */
static int sleep_without_daemon(struct vram_client *client, uint64_t deadline)
{
	uint64_t now = client_now_ns(), pause = SLICE_NS / 4;

	if (now >= deadline)
		return client_fail(-ENOTCONN, "vramd is gone");
	if (pause > deadline - now)
		pause = deadline - now;
	client_unlock(client);
	nanosleep(&(struct timespec){ .tv_nsec = (long)pause }, NULL);
	client_lock(client);
	return 0;
}

/*
 * A pin of this part has been raised and `seen` found. Makes it resident or gives the reason; the
 * pin stays in any case. If the daemon is left with a request, *out_cancel is the part: to be
 * cancelled once the pin is gone. The lock is held, and let go while sleeping.
 */
static int wait_for(const struct layer_slot *part, uint32_t seen, uint64_t deadline,
		    const struct layer_slot **out_cancel)
{
	struct object *object = part->object;
	struct vram_client *client = object->client;
	uint64_t asked = 0; /* the generation in which the request was sent */
	int r;

	for (;;) {
		if (object->error)
			return client_fail(object->error,
					   object->error == -ECONNRESET ?
						   "the buffer was lost when vramd ended" :
						   "the model could not be opened anew");
		r = client_reconnect(client);
		if (r == -ENOTCONN)
			r = sleep_without_daemon(client, deadline);
		else if (r == 0 && object->error == 0 && asked != client->generation) {
			if (asked)
				seen = atomic_load(&slot_of(part)->word);
			asked = client->generation;
			post_slot(part, VRAM_MSG_ACQUIRE);
			continue;
		}
		if (r < 0)
			return r;
		if (object->error || client->lost)
			continue;
		r = sleep_on(client, part, seen, deadline);
		if (asked != client->generation || object->error)
			continue;
		switch (r) {
		case RESIDENCY_E_NOTIFY:
			report(part, atomic_load(&slot_of(part)->word));
			return 0;
		case RESIDENCY_OK:
			return 0;
		case RESIDENCY_E_FAILED:
			r = residency_error(slot_of(part));
			return client_fail(slot_errno(r), "the layer cannot be loaded: %s",
					   err_text(r));
		case -ETIMEDOUT:
			if (client_now_ns() < deadline)
				continue;
			*out_cancel = part;
			return client_fail(-ETIMEDOUT, "the layer was not loaded in time");
		case -ENOTCONN:
			/* Its socket has not told us yet, and may not for a while. */
			r = sleep_without_daemon(client, deadline);
			if (r == 0)
				continue;
			*out_cancel = part;
			return r;
		default:
			return client_fail(client_errno(r), "cannot wait for the layer: %s",
					   err_text(r));
		}
	}
}

/* Without waiting. Return: 0, -EAGAIN, or why it failed. */
static int look_at(const struct layer_slot *part, uint32_t seen)
{
	struct residency_slot *slot = slot_of(part);

	switch (residency_classify(seen)) {
	case RESIDENCY_OK:
		return 0;
	case RESIDENCY_E_NOTIFY:
		report(part, seen);
		return 0;
	case RESIDENCY_E_FAILED:
		post_prefetch(part);
		return client_fail(slot_errno(residency_error(slot)),
				   "the layer cannot be loaded: %s",
				   err_text(residency_error(slot)));
	default:
		if (residency_word_state(seen) != RESIDENCY_LOADING)
			post_prefetch(part);
		return -EAGAIN;
	}
}

/* Takes the lock, within the deadline. */
static int lock_until(struct vram_client *client, uint64_t deadline)
{
	if (deadline == UINT64_MAX) {
		client_lock(client);
		return 0;
	}
#ifdef __SANITIZE_THREAD__
	/* gcc 12's ThreadSanitizer does not know pthread_mutex_clocklock(). */
	while (pthread_mutex_trylock(&client->lock)) {
		if (client_now_ns() >= deadline)
			return -ETIMEDOUT;
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
	}
	return 0;
#else
	const struct timespec at = {
		.tv_sec = (time_t)(deadline / 1000000000u),
		.tv_nsec = (long)(deadline % 1000000000u),
	};

	return pthread_mutex_clocklock(&client->lock, CLOCK_MONOTONIC, &at) ? -ETIMEDOUT : 0;
#endif
}

/* `phase` is the client's, which the fast path has at hand. */
static inline void unpin(_Atomic uint32_t *phase, struct vram_client *client,
			 const struct layer_slot *parts, uint32_t n)
{
	bool done = false;

	reader_enter();
	if (__builtin_expect(atomic_load_explicit(phase, memory_order_seq_cst) == PHASE_UP, 1)) {
		for (uint32_t i = 0; i < n; i++)
			residency_release(slot_of(&parts[i]));
		done = true;
	}
	reader_leave();
	if (__builtin_expect(done, 1) || client_check(client) < 0)
		return;
	/* The table is being exchanged, and these pins with it. */
	client_lock(client);
	for (uint32_t i = 0; i < n; i++)
		residency_release(slot_of(&parts[i]));
	client_unlock(client);
}

void layer_unpin(struct vram_client *client, const struct layer_slot *parts, uint32_t n)
{
	unpin(client->phase, client, parts, n);
}

/* Asks for all parts that are not there, so that the daemon can load one while it loads another. */
static bool ask_for_all(const struct layer_slot *parts, const uint32_t *seen, uint32_t n)
{
	bool asked = false;

	for (uint32_t i = 0; i < n; i++) {
		if (parts[i].object->error || residency_word_state(seen[i]) == RESIDENCY_RESIDENT)
			continue;
		post_slot(&parts[i], VRAM_MSG_ACQUIRE);
		asked = true;
	}
	return asked;
}

/* One after the other, until all are there. */
static int wait_for_all(const struct layer_slot *parts, const uint32_t *seen, uint32_t n, bool wait,
			uint64_t deadline, const struct layer_slot **out_cancel)
{
	int r = 0;

	for (uint32_t i = 0; i < n && r == 0; i++) {
		enum residency_outcome outcome = residency_classify(seen[i]);

		if (parts[i].object->error)
			r = client_fail(parts[i].object->error,
					"what the layer was part of is lost");
		else if (!wait || outcome == RESIDENCY_OK || outcome == RESIDENCY_E_NOTIFY)
			r = look_at(&parts[i], seen[i]);
		else
			r = wait_for(&parts[i], seen[i], deadline, out_cancel);
	}
	return r;
}

/* On a card: what is there must be mapped, too. Return: as cuda_bind(). */
static int bind_all(const struct layer_slot *parts, uint32_t n)
{
	int r = 0;

	for (uint32_t i = 0; i < n && r == 0; i++)
		r = parts[i].object->error ? -EAGAIN : cuda_bind(&parts[i]);
	return r;
}

/* Mapping has met a daemon that has gone, or moved what was there. Return: 0 to wait for all once more. */
static int after_bind(struct vram_client *client, int r, uint64_t deadline)
{
	if (r == -EAGAIN && client_now_ns() >= deadline)
		return client_fail(-ETIMEDOUT, "the layer was not loaded in time");
	if (r == -ENOTCONN) {
		r = client_reconnect(client);
		if (r == -ENOTCONN)
			r = sleep_without_daemon(client, deadline);
		return r;
	}
	if (r != -EAGAIN)
		return r;
	/* So that a daemon in error is not asked without pause. */
	client_unlock(client);
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	client_lock(client);
	return 0;
}

int layer_acquire_parts(struct vram_client *client, const struct layer_slot *parts, uint32_t n,
			uint32_t n_pinned, uint32_t *seen, bool wait, uint64_t deadline)
{
	const struct layer_slot *cancel = NULL;
	bool asked = false;
	int r;

	r = request_poll(client);
	if (r < 0)
		client_reconnect(client);
	/* All parts are pinned first, so that none goes while another one comes. */
	for (uint32_t i = 0; i < n; i++) {
		if (i < n_pinned)
			seen[i] = atomic_load(&slot_of(&parts[i])->word);
		else
			residency_try_acquire(slot_of(&parts[i]), residency_now_ns(), &seen[i]);
	}
	if (client->cuda)
		cuda_count_waiting(parts, n, 1);
	if (wait && n > 1)
		asked = ask_for_all(parts, seen, n);
	for (;;) {
		r = wait_for_all(parts, seen, n, wait, deadline, &cancel);
		if (r < 0 || !client->cuda)
			break;
		r = bind_all(parts, n);
		if (r == 0 || !wait)
			break;
		r = after_bind(client, r, deadline);
		if (r < 0)
			break;
		for (uint32_t i = 0; i < n; i++)
			seen[i] = atomic_load(&slot_of(&parts[i])->word);
	}
	if (client->cuda)
		cuda_count_waiting(parts, n, -1);
	if (r == 0)
		return 0;
	for (uint32_t i = 0; i < n; i++)
		residency_release(slot_of(&parts[i]));
	/* Only now: the daemon drops a request that nobody's pin stands for any more, so threads that
	 * wait for the same layer keep theirs. */
	for (uint32_t i = 0; i < n && asked; i++)
		if (residency_word_state(atomic_load(&slot_of(&parts[i])->word)) !=
		    RESIDENCY_RESIDENT)
			post_slot(&parts[i], VRAM_MSG_CANCEL);
	if (cancel && !asked)
		post_slot(cancel, VRAM_MSG_CANCEL);
	return r;
}

/* The way of what is not there, or not mapped. n_pinned: 1 if the first part's pin has been raised already. */
static int acquire_slowly(struct vram_layer *layer, int64_t timeout_ns, uint32_t n_pinned,
			  bool usable)
{
	uint64_t deadline = timeout_ns == 0 ? 0 : client_deadline(timeout_ns);
	struct vram_client *client = layer->client;
	uint32_t seen[PARTS_MAX];
	int r;

	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	if (lock_until(client, deadline) < 0) {
		/* Somebody is talking to the daemon, for longer than we may wait. */
		if (n_pinned && usable)
			return 0;
		if (n_pinned)
			layer_unpin(client, layer->parts, n_pinned);
		return timeout_ns == 0 ? -EAGAIN : -ETIMEDOUT;
	}
	r = layer_acquire_parts(client, layer->parts, layer->n_parts, n_pinned, seen,
				timeout_ns != 0, deadline);
	client_unlock(client);
	return r;
}

int vram_layer_acquire(struct vram_layer *layer, int64_t timeout_ns)
{
	enum residency_outcome outcome = RESIDENCY_E_WAIT;
	bool pinned = false, mapped = false;
	uint32_t seen;

	if (layer->n_parts == 1) {
		uint64_t now = residency_now_ns();

		reader_enter();
		if (__builtin_expect(phase_up(layer), 1)) {
			struct residency_slot *slot = &layer->object->slots[layer->slot];

			outcome = residency_try_acquire(slot, now, &seen);
			/* Always so on the host. In this order: see RECLAIM in cuda_state.h. */
			mapped = residency_binding(slot) ==
				 atomic_load_explicit(&layer->bound, memory_order_seq_cst);
			pinned = true;
		}
		reader_leave();
	}
	if (__builtin_expect(outcome == RESIDENCY_OK && mapped && layer->object->error == 0, 1))
		return 0;
	/* A marked layer may be used; only the report is still to be made. */
	return acquire_slowly(layer, timeout_ns, pinned, outcome == RESIDENCY_E_NOTIFY && mapped);
}

void vram_layer_release(struct vram_layer *layer)
{
	unpin(layer->phase, layer->client, layer->parts, layer->n_parts);
}

int vram_layer_prefetch(struct vram_layer *const *layers, size_t n)
{
	struct vram_client *client;
	uint32_t slots[VRAM_SLOTS_PER_MSG];
	struct vram_msg_prefetch body = { 0 };
	int r;

	client_clear_error();
	if (n == 0)
		return 0;
	client = layers[0]->client;
	r = client_check(client);
	if (r < 0)
		return r;
	for (size_t i = 1; i < n; i++)
		if (layers[i]->client != client)
			return client_fail(-EINVAL, "the layers belong to several clients");
	client_lock(client);
	r = client_reconnect(client);
	for (size_t i = 0; i < n && r == 0; i++) {
		for (uint32_t k = 0; k < layers[i]->n_parts && r == 0; k++) {
			const struct layer_slot *part = &layers[i]->parts[k];

			if (part->object->error)
				continue;
			slots[body.n++] = part->object->slot_base + part->slot;
			if (body.n < VRAM_SLOTS_PER_MSG)
				continue;
			r = request_post(client, VRAM_MSG_PREFETCH, &body, sizeof(body), slots,
					 body.n * sizeof(slots[0]));
			body.n = 0;
		}
	}
	if (r == 0 && body.n)
		r = request_post(client, VRAM_MSG_PREFETCH, &body, sizeof(body), slots,
				 body.n * sizeof(slots[0]));
	client_unlock(client);
	return r;
}
