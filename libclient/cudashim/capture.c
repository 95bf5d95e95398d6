// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/cudashim/capture.h"

#include <pthread.h>
#include <stdlib.h>

#include "libclient/cudashim/shim.h"

/* CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD */
#define ERROR_CAPTURE_WRONG_THREAD 908

struct captured {
	cuda_stream stream;
	pthread_t thread; /* of a per-thread default stream: there is one for each */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct captured *all;
static size_t n_all;

static bool is_it(const struct captured *c, cuda_stream stream)
{
	return c->stream == stream &&
	       (stream != CUDA_ABI_STREAM_PER_THREAD || pthread_equal(c->thread, pthread_self()));
}

bool capture_has(cuda_stream stream)
{
	cuda_result (*ask)(cuda_stream, int *) = real_find("cuStreamIsCapturing");
	int status = CUDA_ABI_STREAM_CAPTURE_STATUS_NONE;

	/* No question to the driver where there is no capture at all. */
	if (!gate_is_capturing(&shim_gate) || !ask)
		return false;
	return ask(stream, &status) == CUDA_ABI_SUCCESS &&
	       status != CUDA_ABI_STREAM_CAPTURE_STATUS_NONE;
}

static bool put(cuda_stream stream)
{
	bool ok = true;
	struct captured *more;

	pthread_mutex_lock(&lock);
	more = reallocarray(all, n_all + 1, sizeof(*more));
	if (more) {
		all = more;
		all[n_all++] = (struct captured){ .stream = stream, .thread = pthread_self() };
	} else {
		ok = false;
	}
	pthread_mutex_unlock(&lock);
	return ok;
}

static bool take(cuda_stream stream)
{
	bool found = false;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n_all && !found; i++) {
		if (!is_it(&all[i], stream))
			continue;
		all[i] = all[--n_all];
		found = true;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

/*
 * Before the driver's begin: known first, as a capture that is not known could not be waited for. Return: SUCCESS, or
 * what to return instead of asking the driver.
 */
static cuda_result before(cuda_stream stream)
{
	if (!put(stream))
		return CUDA_ABI_ERROR_OUT_OF_MEMORY;
	if (gate_capture_begin(&shim_gate))
		return CUDA_ABI_SUCCESS;
	take(stream);
	return SHIM_LOST;
}

static cuda_result ended(cuda_result result, cuda_stream stream)
{
	/* With any other error it has ended too: it was spoilt. A stream that was none is not in the list. */
	if (result != ERROR_CAPTURE_WRONG_THREAD && take(stream))
		gate_capture_end(&shim_gate);
	return result;
}

static cuda_result begun(cuda_result result, cuda_stream stream)
{
	return result == CUDA_ABI_SUCCESS ? result : ended(result, stream);
}

/* The default stream of a _ptsz function is the thread's own. */
#define PLAIN(stream)	   (stream)
#define PER_THREAD(stream) ((stream) ? (stream) : CUDA_ABI_STREAM_PER_THREAD)

#define BEGIN(name, which, call)                              \
	{                                                     \
		cuda_result result;                           \
                                                              \
		if (shim_passes())                            \
			return REAL(name) call;               \
		result = before(which(stream));               \
		if (result != CUDA_ABI_SUCCESS)               \
			return result;                        \
		return begun(REAL(name) call, which(stream)); \
	}
#define END(name, which, call)                                \
	{                                                     \
		if (shim_passes())                            \
			return REAL(name) call;               \
		return ended(REAL(name) call, which(stream)); \
	}

/* clang-format off */
cuda_result cuStreamBeginCapture(cuda_stream stream)
	BEGIN(cuStreamBeginCapture, PLAIN, (stream))
cuda_result cuStreamBeginCapture_ptsz(cuda_stream stream)
	BEGIN(cuStreamBeginCapture_ptsz, PER_THREAD, (stream))
cuda_result cuStreamBeginCapture_v2(cuda_stream stream, int mode)
	BEGIN(cuStreamBeginCapture_v2, PLAIN, (stream, mode))
cuda_result cuStreamBeginCapture_v2_ptsz(cuda_stream stream, int mode)
	BEGIN(cuStreamBeginCapture_v2_ptsz, PER_THREAD, (stream, mode))

cuda_result cuStreamBeginCaptureToGraph(cuda_stream stream, void *graph, const void *dependencies,
					const void *edges, size_t n, int mode)
	BEGIN(cuStreamBeginCaptureToGraph, PLAIN, (stream, graph, dependencies, edges, n, mode))
cuda_result cuStreamBeginCaptureToGraph_ptsz(cuda_stream stream, void *graph,
					     const void *dependencies, const void *edges, size_t n,
					     int mode)
	BEGIN(cuStreamBeginCaptureToGraph_ptsz, PER_THREAD,
	      (stream, graph, dependencies, edges, n, mode))

cuda_result cuStreamBeginRecaptureToGraph(cuda_stream stream, int mode, void *graph,
					  void *callback, void *data)
	BEGIN(cuStreamBeginRecaptureToGraph, PLAIN, (stream, mode, graph, callback, data))
cuda_result cuStreamBeginRecaptureToGraph_ptsz(cuda_stream stream, int mode, void *graph,
					       void *callback, void *data)
	BEGIN(cuStreamBeginRecaptureToGraph_ptsz, PER_THREAD,
	      (stream, mode, graph, callback, data))

cuda_result cuStreamBeginCaptureToCig(cuda_stream stream, void *params)
	BEGIN(cuStreamBeginCaptureToCig, PLAIN, (stream, params))
cuda_result cuStreamBeginCaptureToCig_ptsz(cuda_stream stream, void *params)
	BEGIN(cuStreamBeginCaptureToCig_ptsz, PER_THREAD, (stream, params))

cuda_result cuStreamEndCapture(cuda_stream stream, void **out_graph)
	END(cuStreamEndCapture, PLAIN, (stream, out_graph))
cuda_result cuStreamEndCapture_ptsz(cuda_stream stream, void **out_graph)
	END(cuStreamEndCapture_ptsz, PER_THREAD, (stream, out_graph))
cuda_result cuStreamEndCaptureToCig(cuda_stream stream)
	END(cuStreamEndCaptureToCig, PLAIN, (stream))
cuda_result cuStreamEndCaptureToCig_ptsz(cuda_stream stream)
	END(cuStreamEndCaptureToCig_ptsz, PER_THREAD, (stream))

cuda_result cuStreamDestroy(cuda_stream stream)
	END(cuStreamDestroy, PLAIN, (stream))
cuda_result cuStreamDestroy_v2(cuda_stream stream)
	END(cuStreamDestroy_v2, PLAIN, (stream))
	/* clang-format on */
