// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "common/nvml.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/err.h"

#define NVML_LIBRARY "libnvidia-ml.so.1"

/*
 * The ABI, as of nvml.h of CUDA 12 and 13 on 64-bit Linux. tests/unit/test_nvml.c holds sizes and
 * offsets. The list of processes that the functions ending in _v3 fill is the struct that is called
 * nvmlProcessInfo_v2_t in some headers: 24 bytes. (Drivers 535.43 to 535.86 had 32 there by
 * mistake; vram asks for 550 or newer.)
 */
enum {
	NVML_SUCCESS = 0,
	NVML_NOT_SUPPORTED = 3,
	NVML_NO_PERMISSION = 4,
	NVML_NOT_FOUND = 6,
	NVML_INSUFFICIENT_SIZE = 7,
	NVML_DRIVER_NOT_LOADED = 9,
	NVML_FUNCTION_NOT_FOUND = 13,
	NVML_GPU_IS_LOST = 15,
	NVML_MEMORY = 20,
	NVML_GPU_NOT_FOUND = 28,
};

/* Come up although no card does. */
#define NVML_INIT_FLAG_NO_GPUS 1u

struct nvml_pci_info { /* nvmlPciInfo_t, 68 bytes */
	char bus_id_legacy[16];
	unsigned int domain, bus, device, pci_device_id, pci_subsystem_id;
	char bus_id[32];
};

struct nvml_memory { /* nvmlMemory_t, 24 bytes; `used` includes what the driver keeps for itself */
	unsigned long long total, free, used;
};

struct nvml_memory_v2 { /* nvmlMemory_v2_t, 40 bytes */
	unsigned int version;
	unsigned long long total, reserved, free, used;
};
#define NVML_MEMORY_V2 (sizeof(struct nvml_memory_v2) | 2u << 24)

struct nvml_process_info { /* nvmlProcessInfo_t, 24 bytes */
	unsigned int pid;
	unsigned long long used;
	unsigned int gpu_instance, compute_instance;
};

_Static_assert(sizeof(struct nvml_pci_info) == 68, "nvmlPciInfo_t");
_Static_assert(sizeof(struct nvml_memory) == 24, "nvmlMemory_t");
_Static_assert(sizeof(struct nvml_memory_v2) == 40, "nvmlMemory_v2_t");
_Static_assert(sizeof(struct nvml_process_info) == 24, "nvmlProcessInfo_t");

/* More processes than this on a card are not listed. */
#define PROCESSES_MAX 65536u

typedef void *device_handle;
typedef int (*processes_fn)(device_handle device, unsigned int *n, struct nvml_process_info *list);

struct nvml {
	void *library; /* dlopen()'s; NULL in tests */
	unsigned int count;
	char driver_version[80];
	int (*init)(unsigned int flags);
	int (*shutdown)(void);
	int (*driver)(char *version, unsigned int size);
	int (*get_count)(unsigned int *n);
	int (*get_handle)(unsigned int index, device_handle *device);
	int (*get_pci)(device_handle device, struct nvml_pci_info *pci);
	int (*get_name)(device_handle device, char *name, unsigned int size);
	int (*get_uuid)(device_handle device, char *uuid, unsigned int size);
	int (*get_minor)(device_handle device, unsigned int *minor);
	int (*get_memory)(device_handle device, struct nvml_memory *memory);
	int (*get_memory_v2)(device_handle device, struct nvml_memory_v2 *memory);
	processes_fn get_compute, get_graphics;
};

/* Every function may be missing but those that make a library an NVML. */
static const struct {
	const char *name;
	size_t offset;
	bool needed;
} symbols[] = {
	{ "nvmlInitWithFlags", offsetof(struct nvml, init), true },
	{ "nvmlShutdown", offsetof(struct nvml, shutdown), true },
	{ "nvmlSystemGetDriverVersion", offsetof(struct nvml, driver), false },
	{ "nvmlDeviceGetCount_v2", offsetof(struct nvml, get_count), true },
	{ "nvmlDeviceGetHandleByIndex_v2", offsetof(struct nvml, get_handle), true },
	{ "nvmlDeviceGetPciInfo_v3", offsetof(struct nvml, get_pci), true },
	{ "nvmlDeviceGetName", offsetof(struct nvml, get_name), false },
	{ "nvmlDeviceGetUUID", offsetof(struct nvml, get_uuid), false },
	{ "nvmlDeviceGetMinorNumber", offsetof(struct nvml, get_minor), false },
	{ "nvmlDeviceGetMemoryInfo", offsetof(struct nvml, get_memory), false },
	{ "nvmlDeviceGetMemoryInfo_v2", offsetof(struct nvml, get_memory_v2), false },
	{ "nvmlDeviceGetComputeRunningProcesses_v3", offsetof(struct nvml, get_compute), false },
	{ "nvmlDeviceGetGraphicsRunningProcesses_v3", offsetof(struct nvml, get_graphics), false },
};

static int errno_of(int result)
{
	switch (result) {
	case NVML_SUCCESS:
		return 0;
	case NVML_NO_PERMISSION:
		return err_origin(-EPERM);
	case NVML_NOT_SUPPORTED:
	case NVML_FUNCTION_NOT_FOUND:
		return err_origin(-EOPNOTSUPP);
	case NVML_DRIVER_NOT_LOADED:
	case NVML_NOT_FOUND:
	case NVML_GPU_IS_LOST:
	case NVML_GPU_NOT_FOUND:
		return err_origin(-ENODEV);
	case NVML_MEMORY:
		return err_origin(-ENOMEM);
	default:
		return err_origin(-EREMOTEIO);
	}
}

int nvml_open_by(nvml_symbol_fn symbol, void *handle, struct nvml **out)
{
	_cleanup_free_ struct nvml *nvml = calloc(1, sizeof(*nvml));
	void *function;
	size_t i;
	int r;

	if (!nvml)
		return err_origin(-ENOMEM);
	for (i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		function = symbol(handle, symbols[i].name);
		if (!function && symbols[i].needed)
			return err_origin(-ELIBBAD);
		memcpy((char *)nvml + symbols[i].offset, &function, sizeof(function));
	}
	r = errno_of(nvml->init(NVML_INIT_FLAG_NO_GPUS));
	if (r < 0)
		return err_trace(r);
	if (nvml->get_count(&nvml->count) != NVML_SUCCESS)
		nvml->count = 0;
	if (!nvml->driver ||
	    nvml->driver(nvml->driver_version, sizeof(nvml->driver_version)) != NVML_SUCCESS)
		nvml->driver_version[0] = '\0';
	nvml->driver_version[sizeof(nvml->driver_version) - 1] = '\0';
	*out = steal_ptr(&nvml);
	return 0;
}

int nvml_open(struct nvml **out)
{
	void *library = dlopen(NVML_LIBRARY, RTLD_NOW | RTLD_LOCAL);
	int r;

	if (!library)
		return err_origin(-ENOENT);
	r = nvml_open_by(dlsym, library, out);
	if (r < 0) {
		dlclose(library);
		return err_trace(r);
	}
	(*out)->library = library;
	return 0;
}

struct nvml *nvml_close(struct nvml *nvml)
{
	if (!nvml)
		return NULL;
	nvml->shutdown();
	if (nvml->library)
		dlclose(nvml->library);
	free(nvml);
	return NULL;
}

const char *nvml_driver_version(const struct nvml *nvml)
{
	return nvml->driver_version;
}

unsigned int nvml_count(const struct nvml *nvml)
{
	return nvml->count;
}

/* ---- cards ---- */

static int handle_get(const struct nvml *nvml, unsigned int index, device_handle *out)
{
	if (index >= nvml->count)
		return err_origin(-ENODEV);
	return err_trace(errno_of(nvml->get_handle(index, out)));
}

/* The second version tells what the driver keeps for itself apart from what programs use. */
static void memory_get(const struct nvml *nvml, device_handle device, struct nvml_device *out)
{
	struct nvml_memory_v2 v2 = { .version = NVML_MEMORY_V2 };
	struct nvml_memory v1 = { 0 };

	if (nvml->get_memory_v2 && nvml->get_memory_v2(device, &v2) == NVML_SUCCESS) {
		out->has_memory = true;
		out->total_bytes = v2.total;
		/* What is not free, as cuMemGetInfo and the first version have it. */
		out->used_bytes = v2.total - v2.free;
	} else if (nvml->get_memory && nvml->get_memory(device, &v1) == NVML_SUCCESS) {
		out->has_memory = true;
		out->total_bytes = v1.total;
		out->used_bytes = v1.used;
	}
}

int nvml_device(const struct nvml *nvml, unsigned int index, struct nvml_device *out)
{
	struct nvml_device device = { .minor = -1 };
	struct nvml_pci_info pci = { 0 };
	device_handle handle;
	unsigned int minor;
	int r = handle_get(nvml, index, &handle);

	if (r == 0)
		r = errno_of(nvml->get_pci(handle, &pci));
	if (r < 0)
		return err_trace(r);
	pci_address_format(pci.domain, pci.bus, pci.device, 0, device.pci);
	if (nvml->get_name && nvml->get_name(handle, device.name, sizeof(device.name)))
		device.name[0] = '\0';
	if (nvml->get_uuid && nvml->get_uuid(handle, device.uuid, sizeof(device.uuid)))
		device.uuid[0] = '\0';
	device.name[sizeof(device.name) - 1] = device.uuid[sizeof(device.uuid) - 1] = '\0';
	if (nvml->get_minor && nvml->get_minor(handle, &minor) == NVML_SUCCESS && minor <= INT_MAX)
		device.minor = (int)minor;
	memory_get(nvml, handle, &device);
	*out = device;
	return 0;
}

int nvml_index_of(const struct nvml *nvml, const char *pci)
{
	struct nvml_device device;
	unsigned int i;

	for (i = 0; i < nvml->count && i <= INT_MAX; i++) {
		if (nvml_device(nvml, i, &device) == 0 && !strcmp(device.pci, pci))
			return (int)i;
	}
	return err_origin(-ENODEV);
}

/* ---- processes ---- */

/* Adds one list to those that are there already. */
static int processes_add(device_handle device, processes_fn get, struct nvml_process_info **list,
			 size_t *n)
{
	struct nvml_process_info *more;
	unsigned int room = 64, given = 0, tries = 8;
	int result = NVML_INSUFFICIENT_SIZE;

	/* The list may grow between asking how long it is and asking for it. */
	while (result == NVML_INSUFFICIENT_SIZE && room <= PROCESSES_MAX && tries-- > 0) {
		more = reallocarray(*list, *n + room, sizeof(*more));
		if (!more)
			return err_origin(-ENOMEM);
		*list = more;
		given = room;
		result = get(device, &room, more + *n);
		if (result == NVML_INSUFFICIENT_SIZE && room <= PROCESSES_MAX)
			room += 16;
	}
	if (result != NVML_SUCCESS)
		return err_trace(errno_of(result));
	if (room > given)
		return err_origin(-EREMOTEIO);
	*n += room;
	return 0;
}

/* One process may stand there for computing and for drawing. */
static void process_merge(struct nvml_process *list, size_t *n,
			  const struct nvml_process_info *info)
{
	struct nvml_process process = {
		.pid = (pid_t)info->pid,
		.known = info->used != ULLONG_MAX, /* NVML_VALUE_NOT_AVAILABLE */
		.bytes = info->used != ULLONG_MAX ? info->used : 0,
	};
	size_t i;

	if (process.pid <= 0)
		return;
	for (i = 0; i < *n && list[i].pid != process.pid; i++)
		;
	if (i == *n) {
		list[(*n)++] = process;
		return;
	}
	/* The same figure twice for the two kinds of use: the larger one stands. */
	list[i].known |= process.known;
	if (list[i].bytes < process.bytes)
		list[i].bytes = process.bytes;
}

int nvml_processes(const struct nvml *nvml, unsigned int index, struct nvml_process **out,
		   size_t *out_n)
{
	const processes_fn kinds[] = { nvml->get_compute, nvml->get_graphics };
	_cleanup_free_ struct nvml_process_info *infos = NULL;
	struct nvml_process *list;
	size_t n = 0, n_list = 0, i;
	device_handle device;
	int r = handle_get(nvml, index, &device), failed = -EOPNOTSUPP;
	bool told = false;

	if (r < 0)
		return err_trace(r);
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		r = kinds[i] ? processes_add(device, kinds[i], &infos, &n) : -EOPNOTSUPP;
		told |= r == 0;
		if (r < 0)
			failed = r;
	}
	if (!told)
		return err_trace(failed);
	list = calloc(n + 1, sizeof(*list));
	if (!list)
		return err_origin(-ENOMEM);
	for (i = 0; i < n; i++)
		process_merge(list, &n_list, &infos[i]);
	*out = list;
	*out_n = n_list;
	return 0;
}
