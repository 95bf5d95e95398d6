// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/cudashim/context.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/cudashim/memory.h"
#include "libclient/cudashim/shim.h"
#include "libclient/cudashim/turn.h"

/* CU_STREAM_CAPTURE_MODE_RELAXED */
#define CAPTURE_RELAXED 2

/* CUDA_ERROR_PEER_ACCESS_UNSUPPORTED */
#define ERROR_PEER_ACCESS_UNSUPPORTED 217

struct known {
	cuda_context context;
	void *green; /* what it was made from, or NULL */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct known *known;
static size_t n_known, room;

static void add(cuda_context context, void *green)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n_known; i++)
		if (known[i].context == context)
			goto out;
	if (n_known == room) {
		struct known *more = reallocarray(known, room ? 2 * room : 8, sizeof(*more));

		/* Its work would not be waited for: then nothing of this program may ever be taken away. */
		if (!more) {
			turn_never();
			goto out;
		}
		known = more;
		room = room ? 2 * room : 8;
	}
	known[n_known++] = (struct known){ .context = context, .green = green };
out:
	pthread_mutex_unlock(&lock);
}

/* The lock is held. */
static void forget(cuda_context context)
{
	for (size_t i = 0; i < n_known; i++)
		if (known[i].context == context)
			known[i--] = known[--n_known];
}

cuda_context context_current(void)
{
	cuda_result (*get)(cuda_context *) = real_find("cuCtxGetCurrent");
	cuda_context context = NULL;

	return get && get(&context) == CUDA_ABI_SUCCESS ? context : NULL;
}

cuda_device context_device(void)
{
	cuda_result (*get)(cuda_device *) = real_find("cuCtxGetDevice");
	cuda_device device;

	return get && get(&device) == CUDA_ABI_SUCCESS ? device : -1;
}

bool context_push(cuda_context context)
{
	cuda_result (*push)(cuda_context) = real_find("cuCtxPushCurrent_v2");

	return context && push && push(context) == CUDA_ABI_SUCCESS;
}

void context_pop(void)
{
	cuda_result (*pop)(cuda_context *) = real_find("cuCtxPopCurrent_v2");
	cuda_context popped;

	pop(&popped);
}

int context_relax(void)
{
	cuda_result (*exchange)(int *) = real_find("cuThreadExchangeStreamCaptureMode");
	int mode = CAPTURE_RELAXED;

	return exchange && exchange(&mode) == CUDA_ABI_SUCCESS ? mode : -1;
}

void context_restore(int mode)
{
	cuda_result (*exchange)(int *) = real_find("cuThreadExchangeStreamCaptureMode");

	if (mode >= 0)
		exchange(&mode);
}

static void synchronize(cuda_context context)
{
	cuda_result (*wait)(void) = real_find("cuCtxSynchronize");

	/* An error is the context's, and the program will be told: nothing runs there any more. */
	if (context_push(context)) {
		wait();
		context_pop();
	}
}

static void synchronize_primary(cuda_device device)
{
	cuda_result (*state)(cuda_device, unsigned int *, int *) =
		real_find("cuDevicePrimaryCtxGetState");
	cuda_result (*retain)(cuda_context *, cuda_device) = real_find("cuDevicePrimaryCtxRetain");
	cuda_result (*release)(cuda_device) = real_find("cuDevicePrimaryCtxRelease_v2");
	cuda_context context;
	unsigned int flags;
	int active = 0;

	if (device < 0 || !state || !retain || !release ||
	    state(device, &flags, &active) != CUDA_ABI_SUCCESS || !active)
		return;
	if (retain(&context, device) != CUDA_ABI_SUCCESS)
		return;
	synchronize(context);
	release(device);
}

void context_synchronize_all(cuda_device device)
{
	int mode = context_relax();

	synchronize_primary(device);
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n_known; i++)
		synchronize(known[i].context);
	pthread_mutex_unlock(&lock);
	context_restore(mode);
}

/* ---- the functions that make and destroy them ---- */

static cuda_result made(cuda_result result, cuda_context *out_context, void *green)
{
	if (result == CUDA_ABI_SUCCESS && out_context && !shim_passes())
		add(*out_context, green);
	return result;
}

cuda_result cuCtxCreate(cuda_context *out_context, unsigned int flags, cuda_device device)
{
	return made(REAL(cuCtxCreate)(out_context, flags, device), out_context, NULL);
}

cuda_result cuCtxCreate_v2(cuda_context *out_context, unsigned int flags, cuda_device device)
{
	return made(REAL(cuCtxCreate_v2)(out_context, flags, device), out_context, NULL);
}

cuda_result cuCtxCreate_v3(cuda_context *out_context, void *affinity, int n, unsigned int flags,
			   cuda_device device)
{
	return made(REAL(cuCtxCreate_v3)(out_context, affinity, n, flags, device), out_context,
		    NULL);
}

cuda_result cuCtxCreate_v4(cuda_context *out_context, void *params, unsigned int flags,
			   cuda_device device)
{
	return made(REAL(cuCtxCreate_v4)(out_context, params, flags, device), out_context, NULL);
}

cuda_result cuCtxFromGreenCtx(cuda_context *out_context, void *green)
{
	return made(REAL(cuCtxFromGreenCtx)(out_context, green), out_context, green);
}

/* What was allocated in a context ends with it. */
static cuda_result destroy(cuda_result (*real)(cuda_context), cuda_context context)
{
	cuda_result result;

	if (shim_passes())
		return real(context);
	memory_free_all_of(context);
	pthread_mutex_lock(&lock);
	result = real(context);
	if (result == CUDA_ABI_SUCCESS)
		forget(context);
	pthread_mutex_unlock(&lock);
	return result;
}

cuda_result cuCtxDestroy(cuda_context context)
{
	return destroy(REAL(cuCtxDestroy), context);
}

cuda_result cuCtxDestroy_v2(cuda_context context)
{
	return destroy(REAL(cuCtxDestroy_v2), context);
}

cuda_result cuGreenCtxDestroy(void *green)
{
	cuda_result result;

	if (shim_passes())
		return REAL(cuGreenCtxDestroy)(green);
	pthread_mutex_lock(&lock);
	result = REAL(cuGreenCtxDestroy)(green);
	for (size_t i = 0; result == CUDA_ABI_SUCCESS && i < n_known; i++)
		if (known[i].green == green)
			known[i--] = known[--n_known];
	pthread_mutex_unlock(&lock);
	return result;
}

static cuda_context primary_of(cuda_device device)
{
	cuda_result (*retain)(cuda_context *, cuda_device) = real_find("cuDevicePrimaryCtxRetain");
	cuda_result (*release)(cuda_device) = real_find("cuDevicePrimaryCtxRelease_v2");
	cuda_context context = NULL;

	if (!retain || !release || retain(&context, device) != CUDA_ABI_SUCCESS)
		return NULL;
	release(device);
	return context;
}

/*
 * A reset destroys the primary context, whoever holds it, and with it what libvram has made there: our memory goes first, then the
 * connection. The next allocation makes a new one.
 */
static cuda_result reset(cuda_result (*real)(cuda_device), cuda_device device)
{
	if (!shim_passes() && device == turn_device()) {
		memory_free_all_of(primary_of(device));
		turn_disconnect();
	}
	return real(device);
}

cuda_result cuDevicePrimaryCtxReset(cuda_device device)
{
	return reset(REAL(cuDevicePrimaryCtxReset), device);
}

cuda_result cuDevicePrimaryCtxReset_v2(cuda_device device)
{
	return reset(REAL(cuDevicePrimaryCtxReset_v2), device);
}

/* ---- peers -------------------------------------------------------------------------------- */

/*
 * The chunks of vramd's card are mapped for that card alone: another one that reached into them would end its context. Programs ask
 * before they try, and copy through the host where the answer is no.
 */
static bool is_served(cuda_device device)
{
	struct turn_room unused;

	return device == turn_device() || turn_room(device, &unused) == 0;
}

cuda_result cuDeviceCanAccessPeer(int *out_can, cuda_device device, cuda_device peer)
{
	cuda_result result = REAL(cuDeviceCanAccessPeer)(out_can, device, peer);

	if (result == CUDA_ABI_SUCCESS && *out_can && !shim_passes() &&
	    (is_served(device) || is_served(peer)))
		*out_can = 0;
	return result;
}

cuda_result cuCtxEnablePeerAccess(cuda_context peer, unsigned int flags)
{
	cuda_device device = -1;

	if (!shim_passes() && turn_device() >= 0 && context_push(peer)) {
		device = context_device();
		context_pop();
	}
	return device >= 0 && device == turn_device() ? ERROR_PEER_ACCESS_UNSUPPORTED :
							REAL(cuCtxEnablePeerAccess)(peer, flags);
}
