// SPDX-License-Identifier: GPL-2.0-only
/*
 * Initialisation, the device's properties, contexts.
 */
#include "tests/cuda-standin/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/cuda-standin/api.h"
#include "tests/cuda-standin/device.h"
#include "tests/cuda-standin/space.h"
#include "tests/cuda-standin/stream.h"

#define DEPTH 64

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct context *contexts, *primary;
static _Thread_local struct context *stack[DEPTH];
static _Thread_local unsigned int depth;
static _Thread_local bool in_host_function;

/* ---- contexts ---- */

struct context *context_current(void)
{
	struct context *c = depth ? stack[depth - 1] : NULL;

	return c && c->alive ? c : NULL;
}

cuda_result context_error(const struct context *context)
{
	return context->error;
}

cuda_result context_primary_error(void)
{
	return primary && primary->alive ? primary->error : CUDA_ABI_SUCCESS;
}

void context_kill(struct context *context, cuda_result error)
{
	cuda_result none = CUDA_ABI_SUCCESS;

	atomic_compare_exchange_strong(&context->error, &none, error);
}

void context_kill_all(cuda_result error)
{
	struct context *c;

	pthread_mutex_lock(&mutex);
	for (c = contexts; c; c = c->next)
		if (c->alive)
			context_kill(c, error);
	pthread_mutex_unlock(&mutex);
}

bool context_in_host_function(void)
{
	return in_host_function;
}

void context_run_host_function(cuda_host_fn fn, void *data)
{
	in_host_function = true;
	fn(data);
	in_host_function = false;
}

/* Needs the mutex. */
static cuda_result make(struct context **out_context, bool is_primary)
{
	struct context *c;
	cuda_result result = device_add_context();

	if (result != CUDA_ABI_SUCCESS)
		return result;
	c = calloc(1, sizeof(*c));
	pthread_mutex_init(&c->mutex, NULL);
	c->primary = is_primary;
	c->retained = 1;
	c->alive = true;
	c->next = contexts;
	contexts = c;
	c->legacy = stream_new(c, 0, 0);
	*out_context = c;
	return CUDA_ABI_SUCCESS;
}

/* Needs the mutex. */
static void destroy(struct context *c)
{
	c->alive = false;
	stream_end_all(c);
	space_free_context(c);
	device_drop_context();
}

EXPORT cuda_result cuDevicePrimaryCtxRetain(cuda_context *out_context, cuda_device dev)
{
	cuda_result result = CUDA_ABI_SUCCESS;

	ENTER(cuDevicePrimaryCtxRetain, ENTER_INIT);
	if (!out_context)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (dev != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&mutex);
	if (primary && primary->alive)
		primary->retained++;
	else
		result = make(&primary, true);
	if (result == CUDA_ABI_SUCCESS)
		*out_context = (cuda_context)primary;
	pthread_mutex_unlock(&mutex);
	return result;
}

EXPORT cuda_result cuDevicePrimaryCtxRelease_v2(cuda_device dev)
{
	cuda_result result = CUDA_ABI_SUCCESS;

	ENTER(cuDevicePrimaryCtxRelease, ENTER_INIT);
	if (dev != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&mutex);
	if (!primary || !primary->alive)
		result = CUDA_ABI_ERROR_INVALID_CONTEXT;
	else if (--primary->retained == 0)
		destroy(primary);
	pthread_mutex_unlock(&mutex);
	return result;
}

EXPORT cuda_result cuDevicePrimaryCtxReset_v2(cuda_device dev)
{
	ENTER(cuDevicePrimaryCtxReset, ENTER_INIT);
	if (dev != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&mutex);
	if (primary && primary->alive)
		destroy(primary);
	pthread_mutex_unlock(&mutex);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuDevicePrimaryCtxGetState(cuda_device dev, unsigned int *out_flags,
					      int *out_active)
{
	ENTER(cuDevicePrimaryCtxGetState, ENTER_INIT);
	if (dev != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	if (!out_flags || !out_active)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	*out_flags = 0;
	*out_active = primary && primary->alive;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuDevicePrimaryCtxSetFlags_v2(cuda_device dev, unsigned int flags)
{
	(void)flags;
	ENTER(cuDevicePrimaryCtxSetFlags, ENTER_INIT);
	return dev == 0 ? CUDA_ABI_SUCCESS : CUDA_ABI_ERROR_INVALID_DEVICE;
}

static struct context *find(cuda_context context)
{
	struct context *c;

	pthread_mutex_lock(&mutex);
	for (c = contexts; c && (c != (struct context *)context || !c->alive); c = c->next)
		;
	pthread_mutex_unlock(&mutex);
	return c;
}

EXPORT cuda_result cuCtxCreate_v2(cuda_context *out_context, unsigned int flags, cuda_device dev)
{
	struct context *c = NULL;
	cuda_result result;

	(void)flags;
	ENTER(cuCtxCreate, ENTER_INIT);
	if (!out_context || depth == DEPTH)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (dev != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&mutex);
	result = make(&c, false);
	pthread_mutex_unlock(&mutex);
	if (result == CUDA_ABI_SUCCESS) {
		stack[depth++] = c;
		*out_context = (cuda_context)c;
	}
	return result;
}

EXPORT cuda_result cuCtxDestroy_v2(cuda_context context)
{
	struct context *c;

	ENTER(cuCtxDestroy, ENTER_INIT);
	c = find(context);
	if (!c || c->primary)
		return CUDA_ABI_ERROR_INVALID_CONTEXT;
	if (depth && stack[depth - 1] == c)
		depth--;
	pthread_mutex_lock(&mutex);
	destroy(c);
	pthread_mutex_unlock(&mutex);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuCtxSetCurrent(cuda_context context)
{
	struct context *c = NULL;

	ENTER(cuCtxSetCurrent, ENTER_INIT);
	if (context) {
		c = find(context);
		if (!c)
			return CUDA_ABI_ERROR_INVALID_CONTEXT;
	}
	if (depth)
		depth--;
	if (c)
		stack[depth++] = c;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuCtxGetCurrent(cuda_context *out_context)
{
	ENTER(cuCtxGetCurrent, ENTER_INIT);
	if (!out_context)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	*out_context = (cuda_context)context_current();
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuCtxPushCurrent_v2(cuda_context context)
{
	struct context *c;

	ENTER(cuCtxPushCurrent, ENTER_INIT);
	c = find(context);
	if (!c)
		return CUDA_ABI_ERROR_INVALID_CONTEXT;
	if (depth == DEPTH)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	stack[depth++] = c;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuCtxPopCurrent_v2(cuda_context *out_context)
{
	ENTER(cuCtxPopCurrent, ENTER_INIT);
	if (!depth)
		return CUDA_ABI_ERROR_INVALID_CONTEXT;
	depth--;
	if (out_context)
		*out_context = (cuda_context)stack[depth];
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuCtxGetDevice(cuda_device *out_device)
{
	ENTER(cuCtxGetDevice, ENTER_INIT);
	if (!context_current())
		return CUDA_ABI_ERROR_INVALID_CONTEXT;
	if (!out_device)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	*out_device = 0;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuCtxSynchronize(void)
{
	ENTER(cuCtxSynchronize, ENTER_INIT | ENTER_CONTEXT);
	stream_wait_all(context_current());
	return context_error(context_current());
}

EXPORT cuda_result cuCtxGetStreamPriorityRange(int *out_least, int *out_greatest)
{
	ENTER(cuCtxGetStreamPriorityRange, ENTER_INIT | ENTER_CONTEXT);
	if (out_least)
		*out_least = 0;
	if (out_greatest)
		*out_greatest = -5;
	return CUDA_ABI_SUCCESS;
}

/* ---- the driver and its device ---- */

EXPORT cuda_result cuInit(unsigned int flags)
{
	cuda_result result;

	if (flags)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&mutex);
	result = device_attach();
	pthread_mutex_unlock(&mutex);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	ENTER(cuInit, ENTER_INIT);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuDriverGetVersion(int *out_version)
{
	if (!out_version)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	ENTER(cuDriverGetVersion, 0);
	*out_version = device_driver_version();
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuDeviceGetCount(int *out_count)
{
	ENTER(cuDeviceGetCount, ENTER_INIT);
	if (!out_count)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	*out_count = 1;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuDeviceGet(cuda_device *out_device, int ordinal)
{
	ENTER(cuDeviceGet, ENTER_INIT);
	if (!out_device)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (ordinal != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	*out_device = 0;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuDeviceGetName(char *out_name, int size, cuda_device dev)
{
	ENTER(cuDeviceGetName, ENTER_INIT);
	if (!out_name || size <= 0)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (dev != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	snprintf(out_name, size, "%s", device_image()->name);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuDeviceGetUuid_v2(struct cuda_uuid *out_uuid, cuda_device dev)
{
	ENTER(cuDeviceGetUuid, ENTER_INIT);
	if (!out_uuid)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (dev != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	memcpy(out_uuid->bytes, device_image()->uuid, sizeof(out_uuid->bytes));
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuDeviceGetPCIBusId(char *out_address, int size, cuda_device dev)
{
	ENTER(cuDeviceGetPCIBusId, ENTER_INIT);
	if (!out_address || size < 13)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (dev != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	snprintf(out_address, size, "%s", device_image()->pci);
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuDeviceGetByPCIBusId(cuda_device *out_device, const char *address)
{
	ENTER(cuDeviceGetByPCIBusId, ENTER_INIT);
	if (!out_device || !address)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (strcasecmp(address, device_image()->pci) != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	*out_device = 0;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuDeviceTotalMem_v2(size_t *out_bytes, cuda_device dev)
{
	ENTER(cuDeviceTotalMem, ENTER_INIT);
	if (!out_bytes)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (dev != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	*out_bytes = device_image()->size_bytes;
	return CUDA_ABI_SUCCESS;
}

static const struct standin_override attributes[] = {
	{ CUDA_ABI_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 1 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 2 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 8 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 6 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 1 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED, 1 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 1 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 1 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, 1 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, 1 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 1 },
	{ CUDA_ABI_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR, 1 },
};

EXPORT cuda_result cuDeviceGetAttribute(int *out_value, cuda_device_attribute attribute,
					cuda_device dev)
{
	const struct standin *s = device_image();
	unsigned int domain, bus, slot, i;

	ENTER(cuDeviceGetAttribute, ENTER_INIT);
	if (!out_value || attribute <= 0 || attribute > 200)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (dev != 0)
		return CUDA_ABI_ERROR_INVALID_DEVICE;
	*out_value = 0;
	for (i = 0; i < STANDIN_OVERRIDES; i++) {
		if (s->overrides[i].attribute == attribute) {
			*out_value = s->overrides[i].value;
			return CUDA_ABI_SUCCESS;
		}
	}
	for (i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
		if (attributes[i].attribute == attribute)
			*out_value = attributes[i].value;
	if (sscanf(s->pci, "%x:%x:%x", &domain, &bus, &slot) == 3) {
		if (attribute == CUDA_ABI_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)
			*out_value = domain;
		else if (attribute == CUDA_ABI_DEVICE_ATTRIBUTE_PCI_BUS_ID)
			*out_value = bus;
		else if (attribute == CUDA_ABI_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)
			*out_value = slot;
	}
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuGetErrorName(cuda_result result, const char **out_name)
{
	if (!out_name)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	switch (result) {
#define CASE(name, value)                  \
	case value:                        \
		*out_name = "CUDA_" #name; \
		return CUDA_ABI_SUCCESS;
		CUDA_ABI_RESULTS(CASE)
#undef CASE
	default:
		*out_name = NULL;
		return CUDA_ABI_ERROR_INVALID_VALUE;
	}
}

EXPORT cuda_result cuGetErrorString(cuda_result result, const char **out_text)
{
	static _Thread_local char text[96];
	const char *name;
	cuda_result r;

	if (!out_text)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	r = cuGetErrorName(result, &name);
	if (r == CUDA_ABI_SUCCESS)
		snprintf(text, sizeof(text), "as the stand-in has it (%d)", result);
	*out_text = r == CUDA_ABI_SUCCESS ? text : NULL;
	return r;
}

EXPORT cuda_result cuMemGetInfo_v2(size_t *out_free, size_t *out_total)
{
	ENTER(cuMemGetInfo, ENTER_INIT | ENTER_CONTEXT);
	if (!out_free || !out_total)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	*out_total = device_image()->size_bytes;
	*out_free = device_free_bytes();
	return CUDA_ABI_SUCCESS;
}
