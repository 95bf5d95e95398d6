// SPDX-License-Identifier: GPL-2.0-only
/*
 * libnvidia-ml.so.1 of the stand-in: the same card, asked from outside. It needs no context and
 * takes no memory; what it says comes from the image alone.
 *
 * The memory of a process is what it made itself and its contexts; what it imports counts for
 * whoever made it. How the real one adds this up is not known.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/cuda-standin/standin.h"

#define EXPORT __attribute__((visibility("default")))

enum {
	SUCCESS = 0,
	UNINITIALIZED = 1,
	INVALID_ARGUMENT = 2,
	NOT_FOUND = 6,
	INSUFFICIENT_SIZE = 7,
	DRIVER_NOT_LOADED = 9,
	GPU_IS_LOST = 15,
	ARGUMENT_VERSION_MISMATCH = 25,
};

struct pci_info {
	char legacy[16];
	unsigned int domain, bus, device, pci_device_id, pci_subsystem_id;
	char bus_id[32];
};

struct memory {
	unsigned long long total, free, used;
};

struct memory_v2 {
	unsigned int version;
	unsigned long long total, reserved, free, used;
};

struct process {
	unsigned int pid;
	unsigned long long used;
	unsigned int gpu_instance, compute_instance;
};

int nvmlInit_v2(void);
int nvmlInitWithFlags(unsigned int flags);
int nvmlShutdown(void);
const char *nvmlErrorString(int result);
int nvmlSystemGetDriverVersion(char *version, unsigned int size);
int nvmlDeviceGetCount_v2(unsigned int *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device);
int nvmlDeviceGetHandleByPciBusId_v2(const char *address, void **device);
int nvmlDeviceGetPciInfo_v3(void *device, struct pci_info *info);
int nvmlDeviceGetName(void *device, char *name, unsigned int size);
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int size);
int nvmlDeviceGetMinorNumber(void *device, unsigned int *minor);
int nvmlDeviceGetMigMode(void *device, unsigned int *current, unsigned int *pending);
int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory);
int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory_v2 *memory);
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *n, struct process *list);
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned int *n, struct process *list);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned int n_inits; /* under the mutex */
static struct standin *image;
static int image_fd = -1;

/* Needs the mutex. */
static int find_image(void)
{
	const char *path = getenv("VRAM_STANDIN");

	if (image)
		return SUCCESS;
	image_fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (image_fd < 0)
		return DRIVER_NOT_LOADED;
	image = mmap(NULL, sizeof(*image), PROT_READ, MAP_SHARED, image_fd, 0);
	if (image == MAP_FAILED || image->magic != STANDIN_MAGIC ||
	    image->layout_bytes != sizeof(*image)) {
		image = NULL;
		close(image_fd);
		return DRIVER_NOT_LOADED;
	}
	return SUCCESS;
}

EXPORT int nvmlInitWithFlags(unsigned int flags)
{
	int result;

	(void)flags;
	pthread_mutex_lock(&mutex);
	result = find_image();
	n_inits += result == SUCCESS;
	pthread_mutex_unlock(&mutex);
	return result;
}

EXPORT int nvmlInit_v2(void)
{
	return nvmlInitWithFlags(0);
}

EXPORT int nvmlShutdown(void)
{
	int result = UNINITIALIZED;

	pthread_mutex_lock(&mutex);
	if (n_inits) {
		n_inits--;
		result = SUCCESS;
	}
	pthread_mutex_unlock(&mutex);
	return result;
}

EXPORT const char *nvmlErrorString(int result)
{
	static _Thread_local char text[64];

	snprintf(text, sizeof(text), "error %d of the stand-in", result);
	return text;
}

/* What every call about a card does first. */
static int check(const void *device)
{
	bool ready;

	pthread_mutex_lock(&mutex);
	ready = n_inits;
	pthread_mutex_unlock(&mutex);
	if (!ready)
		return UNINITIALIZED;
	if (device && device != image)
		return INVALID_ARGUMENT;
	return image->lost_error && device ? GPU_IS_LOST : SUCCESS;
}

#define CHECK(device, argument)                  \
	do {                                     \
		int result_ = check(device);     \
		if (result_ != SUCCESS)          \
			return result_;          \
		if (!(argument))                 \
			return INVALID_ARGUMENT; \
	} while (0)

static int put(char *to, unsigned int size, const char *text)
{
	if (strlen(text) >= size)
		return INSUFFICIENT_SIZE;
	strcpy(to, text);
	return SUCCESS;
}

EXPORT int nvmlSystemGetDriverVersion(char *version, unsigned int size)
{
	CHECK(NULL, version);
	return put(version, size, "0.0 (vram test stand-in)");
}

EXPORT int nvmlDeviceGetCount_v2(unsigned int *count)
{
	CHECK(NULL, count);
	*count = 1;
	return SUCCESS;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{
	CHECK(NULL, device);
	if (index != 0)
		return INVALID_ARGUMENT;
	*device = image;
	return SUCCESS;
}

static bool pci_of(const char *address, unsigned int out[4])
{
	return sscanf(address, "%x:%x:%x.%x", &out[0], &out[1], &out[2], &out[3]) == 4;
}

/* The domain may be written with four digits or with eight. */
EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *address, void **device)
{
	unsigned int theirs[4], ours[4];

	CHECK(NULL, device && address);
	if (!pci_of(address, theirs) || !pci_of(image->pci, ours))
		return INVALID_ARGUMENT;
	if (memcmp(theirs, ours, sizeof(ours)) != 0)
		return NOT_FOUND;
	*device = image;
	return SUCCESS;
}

EXPORT int nvmlDeviceGetPciInfo_v3(void *device, struct pci_info *info)
{
	unsigned int at[4];

	CHECK(device, device && info);
	memset(info, 0, sizeof(*info));
	if (!pci_of(image->pci, at))
		return INVALID_ARGUMENT;
	info->domain = at[0];
	info->bus = at[1];
	info->device = at[2];
	snprintf(info->legacy, sizeof(info->legacy), "%04X:%02X:%02X.0", at[0] & 0xffff,
		 at[1] & 0xff, at[2] & 0x1f);
	snprintf(info->bus_id, sizeof(info->bus_id), "%08X:%02X:%02X.0", at[0], at[1], at[2]);
	return SUCCESS;
}

EXPORT int nvmlDeviceGetName(void *device, char *name, unsigned int size)
{
	CHECK(device, device && name);
	return put(name, size, image->name);
}

EXPORT int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int size)
{
	const unsigned char *u = (const unsigned char *)image->uuid;
	char text[64];

	CHECK(device, device && uuid);
	snprintf(text, sizeof(text),
		 "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0],
		 u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13],
		 u[14], u[15]);
	return put(uuid, size, text);
}

EXPORT int nvmlDeviceGetMinorNumber(void *device, unsigned int *minor)
{
	CHECK(device, device && minor);
	*minor = 0;
	return SUCCESS;
}

EXPORT int nvmlDeviceGetMigMode(void *device, unsigned int *current, unsigned int *pending)
{
	CHECK(device, device && current && pending);
	*current = *pending = image->mig;
	return SUCCESS;
}

/* ---- memory ---- */

static bool is_locked(off_t start, off_t size)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = size
	};

	return fcntl(image_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static bool page_taken(uint64_t page)
{
	return is_locked(STANDIN_DATA + page * STANDIN_PAGE, STANDIN_PAGE);
}

static bool is_alive(unsigned int slot)
{
	return image->procs[slot].pid && is_locked(STANDIN_LOCK_PROC + slot, 1);
}

static uint64_t used_bytes(void)
{
	uint64_t page, bytes = image->outside_bytes;
	unsigned int i;

	for (page = 0; page < image->image_pages; page++)
		bytes += page_taken(page) ? STANDIN_PAGE : 0;
	for (i = 0; i < STANDIN_PROCS; i++)
		bytes += is_alive(i) ? image->procs[i].contexts * image->context_bytes : 0;
	return bytes < image->size_bytes ? bytes : image->size_bytes;
}

EXPORT int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory)
{
	CHECK(device, device && memory);
	memory->total = image->size_bytes;
	memory->used = used_bytes();
	memory->free = memory->total - memory->used;
	return SUCCESS;
}

EXPORT int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory_v2 *memory)
{
	CHECK(device, device && memory);
	if (memory->version != (sizeof(*memory) | 2u << 24))
		return ARGUMENT_VERSION_MISMATCH;
	memory->total = image->size_bytes;
	memory->reserved = 0;
	memory->used = used_bytes();
	memory->free = memory->total - memory->used;
	return SUCCESS;
}

static uint64_t made_by(int pid)
{
	uint64_t page, bytes = 0;

	for (page = 0; page < image->image_pages; page++)
		if (image->pages[page].owner && image->pages[page].creator == pid &&
		    page_taken(page))
			bytes += STANDIN_PAGE;
	return bytes;
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *n,
						   struct process *list)
{
	unsigned int i, found = 0, room;

	CHECK(device, device && n);
	room = list ? *n : 0;
	for (i = 0; i < STANDIN_PROCS; i++) {
		if (!is_alive(i) || !image->procs[i].contexts)
			continue;
		if (found < room)
			list[found] = (struct process){
				.pid = image->procs[i].pid,
				.used = image->procs[i].contexts * image->context_bytes +
					made_by(image->procs[i].pid),
				.gpu_instance = UINT32_MAX,
				.compute_instance = UINT32_MAX,
			};
		found++;
	}
	*n = found;
	return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

EXPORT int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned int *n,
						    struct process *list)
{
	(void)list;
	CHECK(device, device && n);
	*n = 0;
	return SUCCESS;
}
