// SPDX-License-Identifier: GPL-2.0-only
#include "tests/cuda-standin/stream.h"

#include <signal.h>
#include <stdlib.h>

#include "tests/cuda-standin/api.h"
#include "tests/cuda-standin/device.h"
#include "tests/cuda-standin/graph.h"

/* What threads still refer to, so that a leak checker finds it. */
static struct stream *ended;
static pthread_mutex_t ended_mutex = PTHREAD_MUTEX_INITIALIZER;

static _Thread_local struct stream *of_thread;

struct op *op_new(cuda_result (*run)(struct stream *stream, struct op *op))
{
	struct op *op = calloc(1, sizeof(*op));

	op->run = run;
	op->fault = take_async_fault();
	return op;
}

void op_depend(struct op *op, struct stream *stream, uint64_t seq)
{
	op->deps = realloc(op->deps, (op->n_deps + 1) * sizeof(op->deps[0]));
	op->deps[op->n_deps++] = (struct dep){ stream, seq };
}

bool stream_may_work(struct stream *stream)
{
	uint32_t lost = device_image()->lost_error;

	if (lost)
		context_kill(stream->context, lost);
	return stream->context->alive && context_error(stream->context) == CUDA_ABI_SUCCESS;
}

bool stream_is_done(struct stream *stream, uint64_t seq)
{
	bool done;

	pthread_mutex_lock(&stream->mutex);
	done = stream->done >= seq;
	pthread_mutex_unlock(&stream->mutex);
	return done;
}

void stream_wait(struct stream *stream, uint64_t seq)
{
	pthread_mutex_lock(&stream->mutex);
	while (stream->done < seq)
		pthread_cond_wait(&stream->changed, &stream->mutex);
	pthread_mutex_unlock(&stream->mutex);
}

static void run(struct stream *stream, struct op *op)
{
	cuda_result result = CUDA_ABI_SUCCESS;
	unsigned int i;

	for (i = 0; i < op->n_deps; i++)
		stream_wait(op->deps[i].stream, op->deps[i].seq);
	if (op->run && device_image()->latency_ns)
		sleep_until(now_ns() + device_image()->latency_ns);
	if (stream_may_work(stream) || op->always) {
		result = op->fault;
		if (op->run && (result == CUDA_ABI_SUCCESS || op->always))
			result = op->run(stream, op);
	}
	if (result != CUDA_ABI_SUCCESS)
		context_kill(stream->context, result);
}

static void *work(void *data)
{
	struct stream *stream = data;

	pthread_mutex_lock(&stream->mutex);
	for (;;) {
		struct op *op = stream->head;

		if (!op) {
			if (stream->ended)
				break;
			pthread_cond_wait(&stream->changed, &stream->mutex);
			continue;
		}
		stream->head = op->next;
		if (!stream->head)
			stream->tail = &stream->head;
		pthread_mutex_unlock(&stream->mutex);
		run(stream, op);
		pthread_mutex_lock(&stream->mutex);
		stream->done = op->seq;
		pthread_cond_broadcast(&stream->changed);
		free(op->deps);
		free(op);
	}
	pthread_mutex_unlock(&stream->mutex);
	return NULL;
}

/* Needs the stream's mutex. The program's signals are none of this thread's business. */
static void start(struct stream *stream)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;

	if (stream->started)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, work, stream) != 0)
		abort();
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	stream->started = true;
}

uint64_t stream_submit(struct stream *stream, struct op *op)
{
	struct context *c = stream->context;
	struct stream *s;
	uint64_t seq;

	pthread_mutex_lock(&c->mutex);
	if (stream->capture) {
		capture_add(stream->capture, op);
		pthread_mutex_unlock(&c->mutex);
		return 0;
	}
	if (stream == c->legacy) {
		for (s = c->streams; s; s = s->next)
			if (s != stream && !(s->flags & CUDA_ABI_STREAM_NON_BLOCKING) &&
			    !stream_is_done(s, s->submitted))
				op_depend(op, s, s->submitted);
	} else if (!(stream->flags & CUDA_ABI_STREAM_NON_BLOCKING) &&
		   !stream_is_done(c->legacy, c->legacy->submitted)) {
		op_depend(op, c->legacy, c->legacy->submitted);
	}
	pthread_mutex_lock(&stream->mutex);
	seq = op->seq = ++stream->submitted;
	*stream->tail = op;
	stream->tail = &op->next;
	start(stream);
	pthread_cond_broadcast(&stream->changed);
	pthread_mutex_unlock(&stream->mutex);
	pthread_mutex_unlock(&c->mutex);
	return seq;
}

cuda_result stream_run(struct stream *stream, struct op *op)
{
	stream_wait(stream, stream_submit(stream, op));
	return context_error(stream->context);
}

/* Takes from the context the streams that were destroyed and have done all. Needs context->mutex. */
static void drop_finished(struct context *context)
{
	struct stream **p = &context->streams, *s;

	while ((s = *p)) {
		if (!s->destroyed || !stream_is_done(s, s->submitted)) {
			p = &s->next;
			continue;
		}
		*p = s->next;
		pthread_mutex_lock(&s->mutex);
		s->ended = true;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->mutex);
		pthread_mutex_lock(&ended_mutex);
		s->next = ended;
		ended = s;
		pthread_mutex_unlock(&ended_mutex);
	}
}

struct stream *stream_new(struct context *context, unsigned int flags, int priority)
{
	struct stream *s = calloc(1, sizeof(*s));

	s->context = context;
	s->flags = flags;
	s->priority = priority;
	s->tail = &s->head;
	pthread_mutex_init(&s->mutex, NULL);
	pthread_cond_init(&s->changed, NULL);
	pthread_mutex_lock(&context->mutex);
	drop_finished(context);
	s->next = context->streams;
	context->streams = s;
	pthread_mutex_unlock(&context->mutex);
	return s;
}

cuda_result stream_find(cuda_stream handle, bool per_thread, struct stream **out_stream)
{
	struct context *c = context_current();
	struct stream *s;

	if (!handle)
		handle = per_thread ? CUDA_ABI_STREAM_PER_THREAD : CUDA_ABI_STREAM_LEGACY;
	if (handle == CUDA_ABI_STREAM_LEGACY) {
		if (capture_implied(c))
			return CUDA_ABI_ERROR_STREAM_CAPTURE_IMPLICIT;
		*out_stream = c->legacy;
		return CUDA_ABI_SUCCESS;
	}
	if (handle == CUDA_ABI_STREAM_PER_THREAD) {
		if (!of_thread || of_thread->context != c)
			of_thread = stream_new(c, 0, 0);
		*out_stream = of_thread;
		return CUDA_ABI_SUCCESS;
	}
	pthread_mutex_lock(&c->mutex);
	for (s = c->streams; s && (s != (struct stream *)handle || s->destroyed); s = s->next)
		;
	pthread_mutex_unlock(&c->mutex);
	if (!s)
		return CUDA_ABI_ERROR_INVALID_HANDLE;
	*out_stream = s;
	return CUDA_ABI_SUCCESS;
}

void stream_wait_all(struct context *context)
{
	struct stream **all, *s;
	uint64_t *seqs;
	size_t n = 0, i;

	/* Not with the mutex held: what is waited for may need it. */
	pthread_mutex_lock(&context->mutex);
	for (s = context->streams; s; s = s->next)
		n++;
	all = calloc(n + 1, sizeof(all[0]));
	seqs = calloc(n + 1, sizeof(seqs[0]));
	for (i = 0, s = context->streams; s; s = s->next, i++) {
		all[i] = s;
		seqs[i] = s->submitted;
	}
	pthread_mutex_unlock(&context->mutex);
	for (i = 0; i < n; i++)
		stream_wait(all[i], seqs[i]);
	free(all);
	free(seqs);
}

/* The program has it no longer. What is on it is still done, and others still wait for that. */
static void end(struct stream *stream)
{
	pthread_mutex_lock(&stream->context->mutex);
	stream->destroyed = true;
	drop_finished(stream->context);
	pthread_mutex_unlock(&stream->context->mutex);
}

void stream_end_all(struct context *context)
{
	struct stream *s;

	stream_wait_all(context);
	pthread_mutex_lock(&context->mutex);
	for (s = context->streams; s; s = s->next)
		s->destroyed = true;
	drop_finished(context);
	pthread_mutex_unlock(&context->mutex);
}

/* ---- calls ---- */

static cuda_result create(cuda_stream *out_stream, unsigned int flags, int priority)
{
	if (!out_stream || flags & ~CUDA_ABI_STREAM_NON_BLOCKING)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	*out_stream = (cuda_stream)stream_new(context_current(), flags, priority);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuStreamCreate(cuda_stream *out_stream, unsigned int flags)
{
	ENTER(cuStreamCreate, ENTER_INIT | ENTER_CONTEXT);
	return create(out_stream, flags, 0);
}

EXPORT cuda_result cuStreamCreateWithPriority(cuda_stream *out_stream, unsigned int flags,
					      int priority)
{
	ENTER(cuStreamCreateWithPriority, ENTER_INIT | ENTER_CONTEXT);
	return create(out_stream, flags, priority > 0 ? 0 : priority < -5 ? -5 : priority);
}

EXPORT cuda_result cuStreamDestroy_v2(cuda_stream handle)
{
	struct stream *s;
	cuda_result result;

	ENTER(cuStreamDestroy, ENTER_INIT | ENTER_CONTEXT);
	if ((uintptr_t)handle <= (uintptr_t)CUDA_ABI_STREAM_PER_THREAD)
		return CUDA_ABI_ERROR_INVALID_HANDLE;
	result = stream_find(handle, false, &s);
	if (result == CUDA_ABI_SUCCESS)
		end(s);
	return result;
}

static cuda_result query(cuda_stream handle, bool per_thread)
{
	struct context *c;
	struct stream *s;
	bool done = true;
	cuda_result result;

	ENTER(cuStreamQuery, ENTER_INIT | ENTER_CONTEXT);
	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	if (capture_spoil(s))
		return CUDA_ABI_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	c = s->context;
	pthread_mutex_lock(&c->mutex);
	done = stream_is_done(s, s->submitted);
	if (s == c->legacy)
		for (s = c->streams; s; s = s->next)
			if (!(s->flags & CUDA_ABI_STREAM_NON_BLOCKING))
				done = done && stream_is_done(s, s->submitted);
	pthread_mutex_unlock(&c->mutex);
	return context_error(c) != CUDA_ABI_SUCCESS ? context_error(c) :
	       done				    ? CUDA_ABI_SUCCESS :
						      CUDA_ABI_ERROR_NOT_READY;
}

EXPORT cuda_result cuStreamQuery(cuda_stream stream)
{
	return query(stream, false);
}

EXPORT cuda_result cuStreamQuery_ptsz(cuda_stream stream)
{
	return query(stream, true);
}

static cuda_result synchronize(cuda_stream handle, bool per_thread)
{
	struct stream *s;
	cuda_result result;

	ENTER(cuStreamSynchronize, ENTER_INIT | ENTER_CONTEXT);
	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	if (capture_spoil(s))
		return CUDA_ABI_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	if (s == s->context->legacy)
		return stream_run(s, op_new(NULL));
	stream_wait(s, s->submitted);
	return context_error(s->context);
}

EXPORT cuda_result cuStreamSynchronize(cuda_stream stream)
{
	return synchronize(stream, false);
}

EXPORT cuda_result cuStreamSynchronize_ptsz(cuda_stream stream)
{
	return synchronize(stream, true);
}

/* What a stream is, by its handle. */
#define QUESTION(base, TYPE, answer)                                                 \
	static cuda_result do_##base(cuda_stream handle, TYPE *out, bool per_thread) \
	{                                                                            \
		struct stream *s;                                                    \
		cuda_result result;                                                  \
                                                                                     \
		ENTER(base, ENTER_INIT | ENTER_CONTEXT);                             \
		if (!out)                                                            \
			return CUDA_ABI_ERROR_INVALID_VALUE;                         \
		result = stream_find(handle, per_thread, &s);                        \
		if (result == CUDA_ABI_SUCCESS)                                      \
			*out = (answer);                                             \
		return result;                                                       \
	}                                                                            \
	EXPORT cuda_result base(cuda_stream stream, TYPE *out)                       \
	{                                                                            \
		return do_##base(stream, out, false);                                \
	}                                                                            \
	EXPORT cuda_result base##_ptsz(cuda_stream stream, TYPE *out)                \
	{                                                                            \
		return do_##base(stream, out, true);                                 \
	}

QUESTION(cuStreamIsCapturing, cuda_capture_status, capture_status(s))
QUESTION(cuStreamGetPriority, int, s->priority)
QUESTION(cuStreamGetFlags, unsigned int, s->flags)
QUESTION(cuStreamGetCtx, cuda_context, (cuda_context)s->context)

static cuda_result run_host(struct stream *stream, struct op *op)
{
	(void)stream;
	context_run_host_function(op->host.fn, op->host.data);
	return CUDA_ABI_SUCCESS;
}

static cuda_result launch_host(cuda_stream handle, cuda_host_fn fn, void *data, bool per_thread)
{
	struct stream *s;
	struct op *op;
	cuda_result result;

	ENTER(cuLaunchHostFunc, ENTER_INIT | ENTER_CONTEXT);
	if (!fn)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	op = op_new(run_host);
	op->host.fn = fn;
	op->host.data = data;
	stream_submit(s, op);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuLaunchHostFunc(cuda_stream stream, cuda_host_fn fn, void *data)
{
	return launch_host(stream, fn, data, false);
}

EXPORT cuda_result cuLaunchHostFunc_ptsz(cuda_stream stream, cuda_host_fn fn, void *data)
{
	return launch_host(stream, fn, data, true);
}
