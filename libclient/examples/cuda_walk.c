// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * cuda_walk: walk.c for a card. It opens a model on the card that vramd manages, goes through its layers as inference
 * would, and instead of computing copies every tensor back and compares it with the file. Two streams take turns: while
 * one still copies, the bytes of the other are compared; a layer is released by the stream that copies it.
 *
 *	cuda_walk [-s SOCKET] [-p PASSES] [-v] MODEL
 *
 * Ends with one line, "cuda_walk: passes=.. layers=.. tensors=.. bytes=.. wrong=.. loaded=..", and with 0
 * if nothing was wrong.
 *
 * An engine would include <cuda.h> and link libcuda; this program finds the few functions that it needs at run time,
 * so that it can be built without a toolkit.
 */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "libclient/vram.h"
#include "libclient/vram_cuda.h"

#define BLOCK (1u << 20)

/* Of <cuda.h>. */
typedef struct CUctx_st *context_t;
typedef struct CUstream_st *stream_t;
#define STREAM_NON_BLOCKING 1

static struct {
	int (*init)(unsigned int flags);
	int (*device_get_count)(int *count);
	int (*device_get)(int *device, int ordinal);
	int (*device_get_uuid)(uint8_t *uuid, int device);
	int (*primary_ctx_retain)(context_t *context, int device);
	int (*primary_ctx_release)(int device);
	int (*ctx_set_current)(context_t context);
	int (*stream_create)(stream_t *stream, unsigned int flags);
	int (*stream_synchronize)(stream_t stream);
	int (*stream_destroy)(stream_t stream);
	int (*memcpy_dtoh_async)(void *to, uint64_t from, size_t bytes, stream_t stream);
	int (*get_error_name)(int error, const char **name);
} cu;

/* One of the two: what it has copied and not compared so far. */
struct lane {
	stream_t stream;
	struct vram_layer *layer;
	char *bytes;
	uint64_t room;
};

static struct vram_model *model;
static XXH64_hash_t *hashes;

static int die(const char *what, int r)
{
	fprintf(stderr, "cuda_walk: %s: %s%s%s\n", what, strerror(-r),
		*vram_error_text() ? ": " : "", vram_error_text());
	exit(1);
}

static void must(int error, const char *call)
{
	const char *name = NULL;

	if (error == 0)
		return;
	cu.get_error_name(error, &name);
	fprintf(stderr, "cuda_walk: %s: %s\n", call, name ? name : "error");
	exit(1);
}

static void load(void *out, void *library, const char *name)
{
	void *pfn = dlsym(library, name);

	if (!pfn) {
		fprintf(stderr, "cuda_walk: the driver has no %s\n", name);
		exit(1);
	}
	memcpy(out, &pfn, sizeof(pfn));
}

static void load_driver(void)
{
	void *library = dlopen("libcuda.so.1", RTLD_NOW);

	if (!library) {
		fprintf(stderr, "cuda_walk: %s\n", dlerror());
		exit(1);
	}
	load(&cu.init, library, "cuInit");
	load(&cu.device_get_count, library, "cuDeviceGetCount");
	load(&cu.device_get, library, "cuDeviceGet");
	load(&cu.device_get_uuid, library, "cuDeviceGetUuid_v2");
	load(&cu.primary_ctx_retain, library, "cuDevicePrimaryCtxRetain");
	load(&cu.primary_ctx_release, library, "cuDevicePrimaryCtxRelease_v2");
	load(&cu.ctx_set_current, library, "cuCtxSetCurrent");
	load(&cu.stream_create, library, "cuStreamCreate");
	load(&cu.stream_synchronize, library, "cuStreamSynchronize");
	load(&cu.stream_destroy, library, "cuStreamDestroy_v2");
	load(&cu.memcpy_dtoh_async, library, "cuMemcpyDtoHAsync_v2");
	load(&cu.get_error_name, library, "cuGetErrorName");
	must(cu.init(0), "cuInit");
}

/* A context on the card that vramd manages, current in this thread. Return: its device. */
static int make_context(struct vram_client *client)
{
	struct vram_cuda_device wanted;
	context_t context;
	uint8_t uuid[16];
	int n, device, r;

	r = vram_client_cuda_device(client, &wanted);
	if (r < 0)
		die("which card?", r);
	must(cu.device_get_count(&n), "cuDeviceGetCount");
	for (int i = 0; i < n; i++) {
		must(cu.device_get(&device, i), "cuDeviceGet");
		must(cu.device_get_uuid(uuid, device), "cuDeviceGetUuid");
		if (memcmp(uuid, wanted.uuid, sizeof(uuid)) != 0)
			continue;
		must(cu.primary_ctx_retain(&context, device), "cuDevicePrimaryCtxRetain");
		must(cu.ctx_set_current(context), "cuCtxSetCurrent");
		return device;
	}
	die("this process does not see vramd's card", -ENODEV);
	return -1;
}

/* The hash of what the file holds, read past the library. */
static XXH64_hash_t hash_file(int fd, uint64_t offset, uint64_t bytes)
{
	static char block[BLOCK];
	XXH64_state_t *state = XXH64_createState();
	XXH64_hash_t hash;

	XXH64_reset(state, 0);
	while (bytes > 0) {
		ssize_t n = pread(fd, block, bytes < BLOCK ? bytes : BLOCK, (off_t)offset);

		if (n <= 0)
			die("cannot read the file", n < 0 ? -errno : -EIO);
		XXH64_update(state, block, (size_t)n);
		offset += (uint64_t)n;
		bytes -= (uint64_t)n;
	}
	hash = XXH64_digest(state);
	XXH64_freeState(state);
	return hash;
}

/* Copies the layer's tensors one behind the other and lets the stream release it. */
static void start_layer(struct lane *lane, struct vram_layer *layer)
{
	uint64_t at = 0;
	int r;

	r = vram_layer_acquire(layer, -1);
	if (r < 0)
		die(vram_layer_name(layer), r);
	if (lane->room < vram_layer_bytes(layer)) {
		free(lane->bytes);
		lane->room = vram_layer_bytes(layer);
		lane->bytes = malloc(lane->room);
		if (!lane->bytes)
			die("no memory for a layer", -ENOMEM);
	}
	for (size_t i = 0; i < vram_model_n_tensors(model); i++) {
		struct vram_tensor_info t;

		vram_model_tensor(model, i, &t);
		if (t.layer != layer)
			continue;
		must(cu.memcpy_dtoh_async(lane->bytes + at, (uintptr_t)t.ptr, t.bytes,
					  lane->stream),
		     "cuMemcpyDtoHAsync");
		at += t.bytes;
	}
	r = vram_layer_release_on(layer, lane->stream);
	if (r < 0)
		die("cannot release by the stream", r);
	lane->layer = layer;
}

/* Waits for the lane's copies and compares them. Return: tensors that are wrong. */
static uint64_t finish_layer(struct lane *lane, uint64_t *bytes)
{
	uint64_t wrong = 0, at = 0;

	if (!lane->layer)
		return 0;
	must(cu.stream_synchronize(lane->stream), "cuStreamSynchronize");
	for (size_t i = 0; i < vram_model_n_tensors(model); i++) {
		struct vram_tensor_info t;

		vram_model_tensor(model, i, &t);
		if (t.layer != lane->layer)
			continue;
		if (XXH64(lane->bytes + at, t.bytes, 0) != hashes[i]) {
			fprintf(stderr, "cuda_walk: %s differs from the file\n", t.name);
			wrong++;
		}
		at += t.bytes;
		*bytes += t.bytes;
	}
	lane->layer = NULL;
	return wrong;
}

static void hash_tensors(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	hashes = calloc(vram_model_n_tensors(model) + 1, sizeof(*hashes));
	if (fd < 0 || !hashes)
		die(path, -errno);
	for (size_t i = 0; i < vram_model_n_tensors(model); i++) {
		struct vram_tensor_info t;

		vram_model_tensor(model, i, &t);
		if (t.file != 0)
			die("a model in several files", -ENOTSUP);
		hashes[i] = hash_file(fd, t.offset, t.bytes);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	uint64_t bytes = 0, wrong = 0, turn = 0;
	const char *socket_path = NULL;
	struct lane lanes[2] = { 0 };
	struct vram_client *client;
	struct vram_stats stats;
	int passes = 2, verbose = 0, opt, device, r;

	while ((opt = getopt(argc, argv, "s:p:v")) != -1) {
		if (opt == 's')
			socket_path = optarg;
		else if (opt == 'p')
			passes = atoi(optarg);
		else if (opt == 'v')
			verbose = 1;
		else
			return 2;
	}
	if (optind + 1 != argc) {
		fprintf(stderr, "usage: cuda_walk [-s SOCKET] [-p PASSES] [-v] MODEL\n");
		return 2;
	}
	load_driver();
	r = vram_connect(socket_path, "cuda_walk", 0, &client);
	if (r < 0)
		die("cannot connect", r);
	device = make_context(client);
	r = vram_client_attach_cuda(client, 0);
	if (r < 0)
		die("cannot attach to the card", r);
	r = vram_model_open(client, argv[optind], &model);
	if (r < 0)
		die(argv[optind], r);
	hash_tensors(argv[optind]);
	for (int i = 0; i < 2; i++)
		must(cu.stream_create(&lanes[i].stream, STREAM_NON_BLOCKING), "cuStreamCreate");

	for (int pass = 0; pass < passes; pass++) {
		vram_model_pass(model, VRAM_PASS_DECODE_START);
		for (uint32_t i = 0; i < vram_model_n_layers(model); i++) {
			struct vram_layer *layer = vram_model_layer(model, i);
			struct lane *lane = &lanes[turn++ % 2];

			wrong += finish_layer(lane, &bytes);
			start_layer(lane, layer);
			if (verbose)
				printf("pass %d layer %s\n", pass, vram_layer_name(layer));
		}
	}
	for (int i = 0; i < 2; i++) {
		wrong += finish_layer(&lanes[i], &bytes);
		must(cu.stream_destroy(lanes[i].stream), "cuStreamDestroy");
		free(lanes[i].bytes);
	}
	r = vram_client_stats(client, &stats);
	if (r < 0)
		die("no statistics", r);
	printf("cuda_walk: passes=%d layers=%u tensors=%zu bytes=%" PRIu64 " wrong=%" PRIu64
	       " loaded=%" PRIu64 "\n",
	       passes, vram_model_n_layers(model), vram_model_n_tensors(model), bytes, wrong,
	       stats.loaded_bytes);
	vram_model_close(model);
	vram_close(client);
	cu.primary_ctx_release(device);
	free(hashes);
	return wrong ? 1 : 0;
}
