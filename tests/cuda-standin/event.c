// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events: a place in a stream. An event that was never recorded is complete.
 */
#include <stdlib.h>

#include "tests/cuda-standin/api.h"
#include "tests/cuda-standin/device.h"
#include "tests/cuda-standin/graph.h"
#include "tests/cuda-standin/ranges.h"
#include "tests/cuda-standin/stream.h"

/* refs: the program's, and one for each record on its way. All under the mutex. */
struct event {
	unsigned int refs;
	unsigned int flags;
	struct stream *stream;
	uint64_t seq;
	uint64_t capture; /* recorded in that one, and never done */
	uint64_t done_ns;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
/* By address; what the program may use. */
static struct ranges events;

/* Needs the mutex. */
static void put(struct event *e)
{
	if (--e->refs == 0)
		free(e);
}

/* Needs the mutex. */
static struct event *find(cuda_event handle)
{
	struct range *r = ranges_find(&events, (uintptr_t)handle);

	return r && r->start == (uintptr_t)handle ? r->item : NULL;
}

EXPORT cuda_result cuEventCreate(cuda_event *out_event, unsigned int flags)
{
	const unsigned int all = CUDA_ABI_EVENT_BLOCKING_SYNC | CUDA_ABI_EVENT_DISABLE_TIMING |
				 CUDA_ABI_EVENT_INTERPROCESS;
	struct event *e;

	ENTER(cuEventCreate, ENTER_INIT | ENTER_CONTEXT);
	if (!out_event || flags & ~all ||
	    (flags & CUDA_ABI_EVENT_INTERPROCESS && !(flags & CUDA_ABI_EVENT_DISABLE_TIMING)))
		return CUDA_ABI_ERROR_INVALID_VALUE;
	e = calloc(1, sizeof(*e));
	e->refs = 1;
	e->flags = flags;
	pthread_mutex_lock(&mutex);
	ranges_add(&events, (uintptr_t)e, sizeof(*e), e);
	pthread_mutex_unlock(&mutex);
	*out_event = (cuda_event)e;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuEventDestroy_v2(cuda_event event)
{
	struct event *e;

	ENTER(cuEventDestroy, ENTER_INIT | ENTER_CONTEXT);
	pthread_mutex_lock(&mutex);
	e = find(event);
	if (e) {
		ranges_remove(&events, ranges_find(&events, (uintptr_t)e));
		put(e);
	}
	pthread_mutex_unlock(&mutex);
	return e ? CUDA_ABI_SUCCESS : CUDA_ABI_ERROR_INVALID_HANDLE;
}

static cuda_result run_record(struct stream *stream, struct op *op)
{
	struct event *e = op->event;

	pthread_mutex_lock(&mutex);
	if (e->stream == stream && e->seq == op->seq)
		e->done_ns = now_ns();
	put(e);
	pthread_mutex_unlock(&mutex);
	return op->fault;
}

static cuda_result record(cuda_event event, cuda_stream handle, bool per_thread)
{
	struct stream *s;
	struct event *e;
	struct op *op;
	cuda_result result;

	ENTER(cuEventRecord, ENTER_INIT | ENTER_CONTEXT);
	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	op = op_new(run_record);
	op->always = true;
	pthread_mutex_lock(&mutex);
	e = find(event);
	if (e) {
		e->capture = capture_id(s);
		e->stream = e->capture ? NULL : s;
	}
	if (e && !e->capture) {
		e->refs++;
		op->event = e;
		e->seq = stream_submit(s, op);
	} else {
		free(op);
	}
	pthread_mutex_unlock(&mutex);
	return e ? CUDA_ABI_SUCCESS : CUDA_ABI_ERROR_INVALID_HANDLE;
}

EXPORT cuda_result cuEventRecord(cuda_event event, cuda_stream stream)
{
	return record(event, stream, false);
}

EXPORT cuda_result cuEventRecord_ptsz(cuda_event event, cuda_stream stream)
{
	return record(event, stream, true);
}

/* Where it was last recorded. out_capture: NULL where an event of a capture is an error. */
static cuda_result place(cuda_event event, struct stream **out_stream, uint64_t *out_seq,
			 uint64_t *out_capture)
{
	cuda_result result = CUDA_ABI_SUCCESS;
	struct event *e;

	pthread_mutex_lock(&mutex);
	e = find(event);
	if (e) {
		*out_stream = e->stream;
		*out_seq = e->seq;
		if (out_capture)
			*out_capture = e->capture;
		else if (e->capture)
			result = CUDA_ABI_ERROR_CAPTURED_EVENT;
	}
	pthread_mutex_unlock(&mutex);
	return e ? result : CUDA_ABI_ERROR_INVALID_HANDLE;
}

EXPORT cuda_result cuEventQuery(cuda_event event)
{
	struct stream *s;
	uint64_t seq;
	cuda_result result;

	ENTER(cuEventQuery, ENTER_INIT | ENTER_CONTEXT);
	result = place(event, &s, &seq, NULL);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	if (s && !stream_is_done(s, seq))
		return CUDA_ABI_ERROR_NOT_READY;
	return context_error(context_current());
}

EXPORT cuda_result cuEventSynchronize(cuda_event event)
{
	struct stream *s;
	uint64_t seq;
	cuda_result result;

	ENTER(cuEventSynchronize, ENTER_INIT | ENTER_CONTEXT);
	result = place(event, &s, &seq, NULL);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	if (s)
		stream_wait(s, seq);
	return context_error(context_current());
}

EXPORT cuda_result cuEventElapsedTime(float *out_ms, cuda_event from, cuda_event to)
{
	struct event *a, *b;
	cuda_result result = CUDA_ABI_SUCCESS;

	ENTER(cuEventElapsedTime, ENTER_INIT | ENTER_CONTEXT);
	pthread_mutex_lock(&mutex);
	a = find(from);
	b = find(to);
	if (!out_ms)
		result = CUDA_ABI_ERROR_INVALID_VALUE;
	else if (!a || !b || !a->stream || !b->stream ||
		 (a->flags | b->flags) & CUDA_ABI_EVENT_DISABLE_TIMING)
		result = CUDA_ABI_ERROR_INVALID_HANDLE;
	else if (!stream_is_done(a->stream, a->seq) || !stream_is_done(b->stream, b->seq))
		result = CUDA_ABI_ERROR_NOT_READY;
	else
		*out_ms = (int64_t)(b->done_ns - a->done_ns) / 1e6f;
	pthread_mutex_unlock(&mutex);
	return result;
}

static cuda_result wait_event(cuda_stream handle, cuda_event event, unsigned int flags,
			      bool per_thread)
{
	struct stream *s, *at;
	uint64_t seq, capture;
	struct op *op;
	cuda_result result;

	ENTER(cuStreamWaitEvent, ENTER_INIT | ENTER_CONTEXT);
	if (flags != CUDA_ABI_EVENT_WAIT_DEFAULT)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	result = stream_find(handle, per_thread, &s);
	if (result == CUDA_ABI_SUCCESS)
		result = place(event, &at, &seq, &capture);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	if (capture || s->capture)
		return capture_join(s, capture);
	op = op_new(NULL);
	if (at && at != s)
		op_depend(op, at, seq);
	stream_submit(s, op);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuStreamWaitEvent(cuda_stream stream, cuda_event event, unsigned int flags)
{
	return wait_event(stream, event, flags, false);
}

EXPORT cuda_result cuStreamWaitEvent_ptsz(cuda_stream stream, cuda_event event, unsigned int flags)
{
	return wait_event(stream, event, flags, true);
}
