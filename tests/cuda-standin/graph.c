// SPDX-License-Identifier: GPL-2.0-only
#include "tests/cuda-standin/graph.h"

#include <stdlib.h>

#include "tests/cuda-standin/api.h"
#include "tests/cuda-standin/device.h"
#include "tests/cuda-standin/space.h"

enum mode {
	MODE_GLOBAL,
	MODE_THREAD_LOCAL,
	MODE_RELAXED
};

struct capture {
	struct capture *next;
	uint64_t id;
	struct context *context;
	struct stream *origin;
	enum mode mode;
	pthread_t thread;
	bool spoilt;
	struct op *head, **tail;
};

/* Also an executable one: a list of work, copied at each step. */
struct graph {
	bool exec;
	struct op *head;
};

static _Atomic unsigned int n_captures; /* so that a call without any costs nothing */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct capture *captures; /* under the mutex, which is taken after a context's */
static struct ranges graphs;	 /* by address, under the mutex */

static void free_ops(struct op *op)
{
	while (op) {
		struct op *next = op->next;

		free(op);
		op = next;
	}
}

static struct op *copy_ops(const struct op *op)
{
	struct op *head = NULL, **tail = &head;

	for (; op; op = op->next) {
		*tail = malloc(sizeof(**tail));
		**tail = *op;
		(*tail)->next = NULL;
		tail = &(*tail)->next;
	}
	return head;
}

void capture_add(struct capture *capture, struct op *op)
{
	/* Order is all that it had to wait for. */
	free(op->deps);
	op->deps = NULL;
	op->n_deps = 0;
	*capture->tail = op;
	capture->tail = &op->next;
}

uint64_t capture_id(struct stream *stream)
{
	struct context *c = stream->context;
	uint64_t id;

	pthread_mutex_lock(&c->mutex);
	id = stream->capture ? stream->capture->id : 0;
	pthread_mutex_unlock(&c->mutex);
	return id;
}

cuda_capture_status capture_status(struct stream *stream)
{
	struct context *c = stream->context;
	cuda_capture_status status = CUDA_ABI_STREAM_CAPTURE_STATUS_NONE;

	pthread_mutex_lock(&c->mutex);
	if (stream->capture)
		status = stream->capture->spoilt ? CUDA_ABI_STREAM_CAPTURE_STATUS_INVALIDATED :
						   CUDA_ABI_STREAM_CAPTURE_STATUS_ACTIVE;
	pthread_mutex_unlock(&c->mutex);
	return status;
}

cuda_result capture_join(struct stream *stream, uint64_t id)
{
	struct context *c = stream->context;
	cuda_result result = CUDA_ABI_SUCCESS;
	struct capture *p;

	pthread_mutex_lock(&c->mutex);
	pthread_mutex_lock(&mutex);
	for (p = captures; p && p->id != id; p = p->next)
		;
	if (!p || (stream->capture && stream->capture != p) || stream == c->legacy) {
		/* An event of no capture, or of another, or of one that is over. */
		result = CUDA_ABI_ERROR_STREAM_CAPTURE_ISOLATION;
		if (stream->capture)
			stream->capture->spoilt = true;
	} else {
		stream->capture = p;
	}
	pthread_mutex_unlock(&mutex);
	pthread_mutex_unlock(&c->mutex);
	return result;
}

bool capture_spoil(struct stream *stream)
{
	struct context *c = stream->context;
	bool captured;

	if (!n_captures)
		return false;
	pthread_mutex_lock(&c->mutex);
	captured = stream->capture;
	if (captured)
		stream->capture->spoilt = true;
	pthread_mutex_unlock(&c->mutex);
	return captured;
}

bool capture_implied(struct context *context)
{
	struct capture *p;
	bool implied = false;

	if (!n_captures)
		return false;
	pthread_mutex_lock(&mutex);
	for (p = captures; p; p = p->next) {
		if (p->context == context && !(p->origin->flags & CUDA_ABI_STREAM_NON_BLOCKING))
			implied = p->spoilt = true;
	}
	pthread_mutex_unlock(&mutex);
	return implied;
}

bool capture_forbids(enum function function, struct context *context)
{
	struct capture *p;
	bool forbidden = false;

	if (!n_captures)
		return false;
	switch (function) {
	case FN_cuCtxSynchronize:
	case FN_cuMemAlloc:
	case FN_cuMemAllocPitch:
	case FN_cuMemAllocManaged:
	case FN_cuMemFree:
	case FN_cuMemHostAlloc:
	case FN_cuMemFreeHost:
	case FN_cuMemcpyHtoD:
	case FN_cuMemcpyDtoH:
	case FN_cuMemcpyDtoD:
	case FN_cuMemcpy:
	case FN_cuMemsetD8:
	case FN_cuMemsetD32:
		break;
	default:
		return false;
	}
	pthread_mutex_lock(&mutex);
	for (p = captures; p; p = p->next) {
		if (p->context != context || p->mode == MODE_RELAXED ||
		    (p->mode == MODE_THREAD_LOCAL && !pthread_equal(p->thread, pthread_self())))
			continue;
		p->spoilt = true;
		forbidden = true;
	}
	pthread_mutex_unlock(&mutex);
	return forbidden;
}

static cuda_result begin(cuda_stream handle, cuda_capture_mode mode, bool per_thread)
{
	struct capture *p;
	struct context *c;
	struct stream *s;
	cuda_result result;

	ENTER(cuStreamBeginCapture, ENTER_INIT | ENTER_CONTEXT);
	if (mode < MODE_GLOBAL || mode > MODE_RELAXED)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	c = s->context;
	if (s == c->legacy)
		return CUDA_ABI_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	p = calloc(1, sizeof(*p));
	p->id = space_next_id();
	p->context = c;
	p->origin = s;
	p->mode = mode;
	p->thread = pthread_self();
	p->tail = &p->head;
	pthread_mutex_lock(&c->mutex);
	if (s->capture) {
		result = CUDA_ABI_ERROR_ILLEGAL_STATE;
		free(p);
	} else {
		s->capture = p;
		pthread_mutex_lock(&mutex);
		p->next = captures;
		captures = p;
		n_captures++;
		pthread_mutex_unlock(&mutex);
	}
	pthread_mutex_unlock(&c->mutex);
	return result;
}

EXPORT cuda_result cuStreamBeginCapture_v2(cuda_stream stream, cuda_capture_mode mode)
{
	return begin(stream, mode, false);
}

EXPORT cuda_result cuStreamBeginCapture_v2_ptsz(cuda_stream stream, cuda_capture_mode mode)
{
	return begin(stream, mode, true);
}

static void add_graph(struct graph *g)
{
	pthread_mutex_lock(&mutex);
	ranges_add(&graphs, (uintptr_t)g, sizeof(*g), g);
	pthread_mutex_unlock(&mutex);
}

/* Needs the mutex. */
static struct graph *find_graph(const void *handle, bool exec)
{
	struct range *r = ranges_find(&graphs, (uintptr_t)handle);
	struct graph *g = r && r->start == (uintptr_t)handle ? r->item : NULL;

	return g && g->exec == exec ? g : NULL;
}

/* Takes the capture from all streams and from the list. Needs the context's mutex. */
static void finish(struct capture *capture)
{
	struct capture **p;
	struct stream *s;

	for (s = capture->context->streams; s; s = s->next)
		if (s->capture == capture)
			s->capture = NULL;
	pthread_mutex_lock(&mutex);
	for (p = &captures; *p != capture; p = &(*p)->next)
		;
	*p = capture->next;
	n_captures--;
	pthread_mutex_unlock(&mutex);
}

static cuda_result finish_capture(cuda_stream handle, cuda_graph *out_graph, bool per_thread)
{
	struct capture *p;
	struct context *c;
	struct stream *s;
	struct graph *g;
	cuda_result result;

	ENTER(cuStreamEndCapture, ENTER_INIT | ENTER_CONTEXT);
	if (!out_graph)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	c = s->context;
	pthread_mutex_lock(&c->mutex);
	p = s->capture;
	if (!p || p->origin != s) {
		pthread_mutex_unlock(&c->mutex);
		return p ? CUDA_ABI_ERROR_STREAM_CAPTURE_UNMATCHED : CUDA_ABI_ERROR_ILLEGAL_STATE;
	}
	if (p->mode != MODE_RELAXED && !pthread_equal(p->thread, pthread_self())) {
		pthread_mutex_unlock(&c->mutex);
		return CUDA_ABI_ERROR_STREAM_CAPTURE_WRONG_THREAD;
	}
	finish(p);
	pthread_mutex_unlock(&c->mutex);
	*out_graph = NULL;
	if (p->spoilt) {
		free_ops(p->head);
		free(p);
		return CUDA_ABI_ERROR_STREAM_CAPTURE_INVALIDATED;
	}
	g = calloc(1, sizeof(*g));
	g->head = p->head;
	free(p);
	add_graph(g);
	*out_graph = (cuda_graph)g;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuStreamEndCapture(cuda_stream stream, cuda_graph *out_graph)
{
	return finish_capture(stream, out_graph, false);
}

EXPORT cuda_result cuStreamEndCapture_ptsz(cuda_stream stream, cuda_graph *out_graph)
{
	return finish_capture(stream, out_graph, true);
}

EXPORT cuda_result cuGraphInstantiateWithFlags(cuda_graph_exec *out_exec, cuda_graph graph,
					       unsigned long long flags)
{
	struct graph *g, *exec = NULL;

	ENTER(cuGraphInstantiateWithFlags, ENTER_INIT | ENTER_CONTEXT);
	if (!out_exec || flags)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&mutex);
	g = find_graph(graph, false);
	if (g) {
		exec = calloc(1, sizeof(*exec));
		exec->exec = true;
		exec->head = copy_ops(g->head);
	}
	pthread_mutex_unlock(&mutex);
	if (!exec)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	add_graph(exec);
	*out_exec = (cuda_graph_exec)exec;
	return CUDA_ABI_SUCCESS;
}

static cuda_result launch(cuda_graph_exec exec, cuda_stream handle, bool per_thread)
{
	struct op *op = NULL, *next;
	struct stream *s;
	struct graph *g;
	cuda_result result, fault;

	ENTER(cuGraphLaunch, ENTER_INIT | ENTER_CONTEXT);
	fault = take_async_fault();
	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	pthread_mutex_lock(&mutex);
	g = find_graph(exec, true);
	if (g)
		op = copy_ops(g->head);
	pthread_mutex_unlock(&mutex);
	if (!g)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	for (; op; op = next) {
		next = op->next;
		op->next = NULL;
		op->fault = fault;
		stream_submit(s, op);
	}
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuGraphLaunch(cuda_graph_exec exec, cuda_stream stream)
{
	return launch(exec, stream, false);
}

EXPORT cuda_result cuGraphLaunch_ptsz(cuda_graph_exec exec, cuda_stream stream)
{
	return launch(exec, stream, true);
}

static cuda_result destroy(const void *handle, bool exec)
{
	struct graph *g;

	pthread_mutex_lock(&mutex);
	g = find_graph(handle, exec);
	if (g)
		ranges_remove(&graphs, ranges_find(&graphs, (uintptr_t)g));
	pthread_mutex_unlock(&mutex);
	if (!g)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	free_ops(g->head);
	free(g);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuGraphExecDestroy(cuda_graph_exec exec)
{
	ENTER(cuGraphExecDestroy, ENTER_INIT | ENTER_CONTEXT);
	return destroy(exec, true);
}

EXPORT cuda_result cuGraphDestroy(cuda_graph graph)
{
	ENTER(cuGraphDestroy, ENTER_INIT | ENTER_CONTEXT);
	return destroy(graph, false);
}
