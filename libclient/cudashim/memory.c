// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/cudashim/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/cudashim/context.h"
#include "libclient/cudashim/shim.h"
#include "libclient/cudashim/turn.h"

/* CU_EVENT_DISABLE_TIMING, which makes it cheap. */
#define EVENT_FLAGS CUDA_ABI_EVENT_DISABLE_TIMING

struct allocation {
	struct memory_info info;
	struct vram_buffer *buffer;
	/* Freed, but not yet: behind this event, or when no capture runs. 0, or its turn among those. */
	uint64_t leaving;
	cuda_event event;
};

/* Sorted by address. Those that are leaving are still in it: their addresses are not free yet. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct allocation *table;
static size_t n_table, room;
static uint64_t last_id, last_leaving;

/* The first whose base is above ptr. The lock is held. */
static size_t above(cuda_ptr ptr)
{
	size_t low = 0, high = n_table;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (table[mid].info.base > ptr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Return: the allocation that ptr lies in, or NULL. The lock is held. */
static struct allocation *find(cuda_ptr ptr)
{
	size_t i = above(ptr);

	if (i == 0 || ptr - table[i - 1].info.base >= table[i - 1].info.size)
		return NULL;
	return &table[i - 1];
}

static bool make_room(void)
{
	bool ok = true;

	pthread_mutex_lock(&lock);
	if (n_table == room) {
		struct allocation *more = reallocarray(table, room ? 2 * room : 64, sizeof(*more));

		ok = more;
		if (more) {
			table = more;
			room = room ? 2 * room : 64;
		}
	}
	pthread_mutex_unlock(&lock);
	return ok;
}

/* Return: false without memory. */
static bool put(const struct allocation *a)
{
	bool ok;
	size_t i;

	do {
		if (!make_room())
			return false;
		pthread_mutex_lock(&lock);
		ok = n_table < room;
		if (ok) {
			i = above(a->info.base);
			memmove(&table[i + 1], &table[i], (n_table - i) * sizeof(*table));
			table[i] = *a;
			table[i].info.id = ++last_id;
			n_table++;
		}
		pthread_mutex_unlock(&lock);
	} while (!ok);
	return true;
}

/* Takes it out. The lock is held. */
static struct allocation take(size_t i)
{
	struct allocation a = table[i];

	memmove(&table[i], &table[i + 1], (n_table - i - 1) * sizeof(*table));
	n_table--;
	return a;
}

static void end_event(const struct allocation *a)
{
	cuda_result (*destroy)(cuda_event) = real_find("cuEventDestroy_v2");

	if (a->event && destroy)
		destroy(a->event);
}

/* Whether what was put aside may go. The lock is held: the driver's answer comes at once. */
static bool has_passed(const struct allocation *a)
{
	cuda_result (*query)(cuda_event) = real_find("cuEventQuery");
	bool pushed, passed;

	if (!a->event)
		return false; /* only a look at the whole device helps */
	pushed = context_push(a->info.context);
	/* An error is the context's end: nothing runs in it any more. */
	passed = !query || query(a->event) != CUDA_ABI_ERROR_NOT_READY;
	if (pushed)
		context_pop();
	return passed;
}

/* What is put aside now: for reap(), before the device is waited for. */
static uint64_t leaving_now(void)
{
	uint64_t now;

	pthread_mutex_lock(&lock);
	now = last_leaving;
	pthread_mutex_unlock(&lock);
	return now;
}

/* Frees what was put aside and can go: all up to `until`, because the device was waited for since, and what has passed. */
static void reap(uint64_t until)
{
	for (;;) {
		struct allocation a = { 0 };
		bool found = false;

		pthread_mutex_lock(&lock);
		for (size_t i = 0; i < n_table && !found; i++) {
			if (!table[i].leaving ||
			    (table[i].leaving > until && !has_passed(&table[i])))
				continue;
			a = take(i);
			found = true;
		}
		pthread_mutex_unlock(&lock);
		if (!found)
			return;
		end_event(&a);
		turn_buffer_free(a.buffer);
	}
}

/* Whatever can be had back by waiting. Return: whether it was waited. */
static bool reap_hard(void)
{
	uint64_t until = leaving_now();

	if (gate_is_capturing(&shim_gate))
		return false;
	context_synchronize_all(turn_device());
	reap(until);
	return true;
}

enum memory_answer memory_new(size_t size, bool async, cuda_ptr *out_ptr, cuda_result *out_result)
{
	struct allocation a = { .info = { .size = size, .async = async } };
	uint64_t address;
	int r;

	/* In a capture the driver decides whether there may be one at all. */
	if (size < SHIM_LARGE || gate_is_capturing(&shim_gate))
		return MEMORY_DRIVER;
	r = turn_begin();
	if (r == 0) {
		reap(0);
		r = turn_buffer_new(size, &a.buffer, &address);
		if ((r == -ENOMEM || r == -ENOSPC) && reap_hard())
			r = turn_buffer_new(size, &a.buffer, &address);
	}
	switch (r) {
	case 0:
		break;
	case -ENODEV:
	case -E2BIG:
		/* Another card; or more buffers than a session may have. */
		return MEMORY_DRIVER;
	case -ENOTCONN:
	case -ECONNRESET:
		if (!shim.require)
			return MEMORY_DRIVER;
		/* fall through */
	default:
		*out_result = CUDA_ABI_ERROR_OUT_OF_MEMORY;
		return MEMORY_REFUSED;
	}
	a.info.base = address;
	a.info.context = context_current();
	if (!put(&a)) {
		turn_buffer_free(a.buffer);
		*out_result = CUDA_ABI_ERROR_OUT_OF_MEMORY;
		return MEMORY_REFUSED;
	}
	*out_ptr = address;
	return MEMORY_OURS;
}

bool memory_find(cuda_ptr ptr, struct memory_info *out)
{
	struct allocation *a;

	pthread_mutex_lock(&lock);
	a = find(ptr);
	if (a && !a->leaving)
		*out = a->info;
	else
		a = NULL;
	pthread_mutex_unlock(&lock);
	return a;
}

bool memory_touches(cuda_ptr ptr, size_t size)
{
	bool touches;
	size_t i;

	pthread_mutex_lock(&lock);
	i = above(ptr);
	touches = find(ptr) || (i < n_table && table[i].info.base - ptr < size);
	pthread_mutex_unlock(&lock);
	return touches;
}

cuda_result memory_free(cuda_ptr base)
{
	bool later = gate_is_capturing(&shim_gate);
	struct allocation *found, a = { 0 };
	uint64_t until = leaving_now();

	if (!later)
		context_synchronize_all(turn_device());
	pthread_mutex_lock(&lock);
	found = find(base);
	if (found && (found->info.base != base || found->leaving))
		found = NULL;
	if (found && later)
		found->leaving = ++last_leaving;
	else if (found)
		a = take((size_t)(found - table));
	pthread_mutex_unlock(&lock);
	if (!found)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (!later) {
		turn_buffer_free(a.buffer);
		reap(until);
	}
	return CUDA_ABI_SUCCESS;
}

/* An event behind the stream's work. */
static cuda_result mark(cuda_stream stream, cuda_event *out)
{
	cuda_result (*create)(cuda_event *, unsigned int) = real_find("cuEventCreate");
	cuda_result (*record)(cuda_event, cuda_stream) = real_find("cuEventRecord");
	cuda_result result;
	cuda_event event;

	if (!create || !record)
		return CUDA_ABI_ERROR_NOT_SUPPORTED;
	result = create(&event, EVENT_FLAGS);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	result = record(event, stream);
	if (result != CUDA_ABI_SUCCESS) {
		struct allocation a = { .event = event };

		end_event(&a);
		return result;
	}
	*out = event;
	return CUDA_ABI_SUCCESS;
}

cuda_result memory_free_behind(cuda_ptr base, cuda_stream stream)
{
	struct allocation *a;
	cuda_event event;
	cuda_result result = mark(stream, &event);

	if (result != CUDA_ABI_SUCCESS)
		return result;
	pthread_mutex_lock(&lock);
	a = find(base);
	if (a && a->info.base == base && !a->leaving) {
		a->leaving = ++last_leaving;
		a->event = event;
	} else {
		result = CUDA_ABI_ERROR_INVALID_VALUE;
	}
	pthread_mutex_unlock(&lock);
	if (result != CUDA_ABI_SUCCESS) {
		struct allocation none = { .event = event };

		end_event(&none);
		return result;
	}
	reap(0);
	return CUDA_ABI_SUCCESS;
}

void memory_free_all_of(cuda_context context)
{
	uint64_t until = 0;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n_table; i++)
		if (table[i].info.context == context)
			table[i].leaving = until = ++last_leaving;
	pthread_mutex_unlock(&lock);
	if (!until)
		return;
	context_synchronize_all(turn_device());
	reap(until);
}
