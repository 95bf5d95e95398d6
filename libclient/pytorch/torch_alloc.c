// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * libvram-torch.so: PyTorch's memory from vramd, through its pluggable allocator.
 *
 *	import torch
 *	vram = torch.cuda.memory.CUDAPluggableAllocator(
 *		"/usr/local/lib/vram/libvram-torch.so", "vram_torch_alloc", "vram_torch_free")
 *	pool = torch.cuda.MemPool(vram.allocator())
 *	with torch.cuda.use_mem_pool(pool):
 *		model = Net().cuda()
 *
 * A MemPool keeps PyTorch's caching allocator in front, which asks here for large blocks only. With
 * torch.cuda.memory.change_current_allocator(vram) every tensor is a buffer of its own, of at least one
 * chunk of the card; that is for programs with few and large tensors.
 *
 * WHAT IT GIVES is quota and accounting, not paging: each block is a buffer of vramd (vram_buffer_new()) that is acquired as
 * long as it is allocated, because nobody knows when PyTorch uses it. So it counts against the user's limits, waits for room
 * that others give up, and is shown by vramctl. It is never moved out while it exists; a user whose blocks others must wait for
 * longer than limits.pin_timeout loses its session unless a `min` covers them. Programs that are to be moved out as a whole run
 * under vramrun.
 *
 * An allocation waits for room for at most VRAM_TORCH_WAIT seconds (60) and then returns NULL, which PyTorch reports as out of
 * memory; the reason is on standard error. Freeing waits until the device is idle, as cudaFree() does. There is one client a
 * process, made by the first allocation; it ends with the process.
 */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "libclient/vram.h"
#include "libclient/vram_cuda.h"

#define WAIT_S	  60
#define N_BUCKETS 1024u

struct block {
	struct block *next;
	struct vram_buffer *buffer;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* lock: */
static struct vram_client *client;
static int our_device; /* the ordinal of vramd's card here */
static int (*ctx_synchronize)(void);
static struct block *blocks[N_BUCKETS];

static void *refuse(size_t bytes, const char *what)
{
	fprintf(stderr, "vram: no %zu bytes for PyTorch: %s\n", bytes, what);
	return NULL;
}

static struct block **bucket_of(const void *ptr)
{
	return &blocks[((uintptr_t)ptr >> 21) % N_BUCKETS];
}

static bool load(void *library, void *out, const char *name)
{
	void *pfn = dlsym(library, name);

	memcpy(out, &pfn, sizeof(pfn));
	return pfn;
}

/* The ordinal of the card with this uuid, as PyTorch counts. Return: -1 if it is not to be seen. */
static int find_device(const uint8_t *uuid)
{
	int (*init)(unsigned int flags), (*get_count)(int *count), (*get)(int *device, int ordinal),
		(*get_uuid)(uint8_t * uuid, int device);
	void *library = dlopen("libcuda.so.1", RTLD_NOW);
	uint8_t other[16];
	int n = 0, device;

	if (!library || !load(library, &init, "cuInit") ||
	    !load(library, &get_count, "cuDeviceGetCount") || !load(library, &get, "cuDeviceGet") ||
	    !load(library, &get_uuid, "cuDeviceGetUuid_v2") ||
	    !load(library, &ctx_synchronize, "cuCtxSynchronize") || init(0) || get_count(&n))
		return -1;
	for (int i = 0; i < n; i++)
		if (get(&device, i) == 0 && get_uuid(other, device) == 0 &&
		    memcmp(other, uuid, sizeof(other)) == 0)
			return i;
	return -1;
}

/* Return: 0 or -errno, with a text of the library's. */
static int connect_once(void)
{
	struct vram_cuda_device device;
	struct vram_client *fresh;
	int r;

	if (client)
		return 0;
	r = vram_connect(NULL, "pytorch", 0, &fresh);
	if (r < 0)
		return r;
	r = vram_client_cuda_device(fresh, &device);
	if (r == 0)
		our_device = find_device(device.uuid);
	if (r == 0)
		r = vram_client_attach_cuda(fresh, 0);
	if (r < 0) {
		char text[512];

		/* Closing may leave another one. */
		snprintf(text, sizeof(text), "%s", vram_error_text());
		fprintf(stderr, "vram: %s\n", text);
		vram_close(fresh);
		return r;
	}
	client = fresh;
	return 0;
}

static int64_t wait_ns(void)
{
	const char *text = getenv("VRAM_TORCH_WAIT");
	long seconds = text ? strtol(text, NULL, 10) : WAIT_S;

	return (seconds < 0 || seconds > 1000000 ? WAIT_S : seconds) * 1000000000ll;
}

/* Outside the lock: waiting for room must not keep others from freeing. */
static void *allocate(size_t bytes)
{
	struct block *block = calloc(1, sizeof(*block));
	struct block **bucket;
	void *ptr;
	int r;

	if (!block)
		return refuse(bytes, "out of memory");
	r = vram_buffer_new(client, "tensors", bytes, 0, &block->buffer);
	if (r == 0)
		r = vram_layer_acquire(vram_buffer_layer(block->buffer, 0), wait_ns());
	if (r < 0) {
		refuse(bytes, *vram_error_text() ? vram_error_text() : strerror(-r));
		vram_buffer_free(block->buffer);
		free(block);
		return NULL;
	}
	ptr = vram_buffer_ptr(block->buffer);
	pthread_mutex_lock(&lock);
	bucket = bucket_of(ptr);
	block->next = *bucket;
	*bucket = block;
	pthread_mutex_unlock(&lock);
	return ptr;
}

VRAM_API void *vram_torch_alloc(ssize_t bytes, int device, struct CUstream_st *stream);
VRAM_API void vram_torch_free(void *ptr, ssize_t bytes, int device, struct CUstream_st *stream);

/* NULL if there is none; also for 0 bytes. The stream does not matter: the memory is there at once. */
void *vram_torch_alloc(ssize_t bytes, int device, struct CUstream_st *stream)
{
	char text[128];
	int r, ours;

	(void)stream;
	if (bytes <= 0)
		return NULL;
	pthread_mutex_lock(&lock);
	r = connect_once();
	ours = our_device;
	pthread_mutex_unlock(&lock);
	if (r < 0)
		return refuse((size_t)bytes, "there is no client of vramd");
	if (device != ours) {
		snprintf(text, sizeof(text), "they are for device %d, and vramd manages device %d",
			 device, ours);
		return refuse((size_t)bytes, text);
	}
	return allocate((size_t)bytes);
}

void vram_torch_free(void *ptr, ssize_t bytes, int device, struct CUstream_st *stream)
{
	struct block **at, *block;
	struct vram_layer *layer;

	(void)bytes;
	(void)device;
	if (!ptr)
		return;
	pthread_mutex_lock(&lock);
	for (at = bucket_of(ptr); *at && vram_buffer_ptr((*at)->buffer) != ptr; at = &(*at)->next)
		;
	block = *at;
	if (block)
		*at = block->next;
	pthread_mutex_unlock(&lock);
	if (!block) {
		fprintf(stderr, "vram: PyTorch frees what was not allocated here\n");
		return;
	}
	/* PyTorch lets go of a tensor when the work is queued. All streams, as far as this thread has a context; its own in any case. */
	if (ctx_synchronize)
		ctx_synchronize();
	layer = vram_buffer_layer(block->buffer, 0);
	if (vram_layer_release_on(layer, stream) < 0)
		vram_layer_release(layer);
	vram_buffer_free(block->buffer);
	free(block);
}
