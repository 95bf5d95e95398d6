// SPDX-License-Identifier: GPL-2.0-only
/*
 * gpu-client SOCKET card|host: a client of vramd that does what it is told on standard input, and says for
 * how many nanoseconds it took. gpu.py runs several of them.
 *
 *	extents FILE BYTES LAYERS	open a file as a model of equal layers
 *	buffer BYTES LAYERS		make a buffer
 *	switch		acquire all layers, asked for at once, then release them: "ns N"
 *	write BYTE	the same, and write that byte everywhere meanwhile: "ns N"
 *	check BYTE	the same, and look at both ends of every layer: "wrong N"
 *	drop		close the model or free the buffer
 *	acquire ROUNDS	acquire and release of a layer that is resident: "ns N", a median, of one pair
 *
 * Everything else is answered with "ok", or with "error" and why; an error of the card ends it.
 *
 * links: common/cuda_driver.c common/err.c libvram.a
 * libs: -ljansson -lxxhash
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cuda_driver.h"
#include "libclient/vram.h"
#include "libclient/vram_cuda.h"

enum {
	PAIRS = 1000
};

static struct vram_client *client;
static struct vram_model *model;
static struct vram_buffer *buffer;
static struct cuda_driver cu;
static bool on_card;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int error(const char *what, int r)
{
	printf("error %s: %s%s%s\n", what, strerror(-r), *vram_error_text() ? ": " : "",
	       vram_error_text());
	return r;
}

static void must(const char *what, cuda_result result)
{
	if (result == CUDA_ABI_SUCCESS)
		return;
	printf("error %s: %s\n", what, cuda_driver_error_text(&cu, result));
	fflush(stdout);
	exit(1);
}

/* ---- layers -------------------------------------------------------------------- */

static uint32_t n_layers(void)
{
	return model ? vram_model_n_layers(model) : buffer ? vram_buffer_n_layers(buffer) : 0;
}

static struct vram_layer *layer(uint32_t i)
{
	return model ? vram_model_layer(model, i) : vram_buffer_layer(buffer, i);
}

static void release_all(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		vram_layer_release(layer(i));
}

/* Asks for all before it waits for one. Return: 0, or what an acquire said; then nothing is held. */
static int acquire_all(void)
{
	uint32_t n = n_layers(), i;
	int r = 0;

	for (i = 0; i < n; i++)
		if (vram_layer_acquire(layer(i), 0) == 0)
			vram_layer_release(layer(i));
	for (i = 0; i < n && r == 0; i++)
		r = vram_layer_acquire(layer(i), -1);
	if (r < 0)
		release_all(i - 1);
	return r < 0 ? error("acquire", r) : 0;
}

/* ---- bytes --------------------------------------------------------------------- */

static void fill(void *p, uint64_t bytes, unsigned char byte)
{
	if (on_card)
		must("memset", cu.memset_d8((cuda_ptr)(uintptr_t)p, byte, bytes));
	else
		memset(p, byte, bytes);
}

static bool is(const void *p, unsigned char byte)
{
	unsigned char found;

	if (on_card)
		must("copy", cu.memcpy_dtoh(&found, (cuda_ptr)(uintptr_t)p, 1));
	else
		found = *(const unsigned char *)p;
	return found == byte;
}

static int each(bool write, unsigned char byte)
{
	uint64_t start = now_ns(), bytes;
	unsigned int wrong = 0;
	int r = acquire_all();
	void *p;

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n_layers(); i++) {
		if (vram_layer_extent(layer(i), 0, &p, &bytes) < 0)
			continue;
		if (write)
			fill(p, bytes, byte);
		else
			wrong += !is(p, byte) + !is((char *)p + bytes - 1, byte);
	}
	if (on_card)
		must("synchronise", cu.ctx_synchronize());
	release_all(n_layers());
	if (write)
		printf("ns %" PRIu64 "\n", now_ns() - start);
	else
		printf("wrong %u\n", wrong);
	return 0;
}

/* ---- commands ------------------------------------------------------------------ */

static int open_extents(const char *path, uint64_t bytes, uint32_t n)
{
	struct vram_extent *extents = calloc(n, sizeof(*extents));
	int fd = open(path, O_RDONLY | O_CLOEXEC), r;

	for (uint32_t i = 0; extents && i < n; i++)
		extents[i] = (struct vram_extent){ .offset = bytes / n * i,
						   .length = bytes / n,
						   .layer = i };
	r = fd < 0 || !extents ?
		    -errno :
		    vram_model_open_extents(client, fd, "benchmark", n, extents, n, &model);
	if (fd >= 0)
		close(fd);
	free(extents);
	return r;
}

static int switch_to(void)
{
	uint64_t start = now_ns();
	int r = acquire_all();

	if (r < 0)
		return r;
	printf("ns %" PRIu64 "\n", now_ns() - start);
	release_all(n_layers());
	return 0;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int acquire(unsigned int rounds)
{
	uint64_t *ns = calloc(rounds, sizeof(*ns));
	int r = ns ? acquire_all() : -ENOMEM;

	if (r < 0)
		return r;
	/* Resident, and the first touch of the slot is over. */
	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t start = now_ns();

		for (int k = 0; k < PAIRS; k++) {
			if (vram_layer_acquire(layer(0), -1) < 0)
				abort();
			vram_layer_release(layer(0));
		}
		ns[i] = now_ns() - start;
	}
	release_all(n_layers());
	qsort(ns, rounds, sizeof(*ns), by_value);
	printf("ns %.2f\n", (double)ns[rounds / 2] / PAIRS);
	free(ns);
	return 0;
}

static void drop(void)
{
	vram_model_close(model);
	vram_buffer_free(buffer);
	model = NULL;
	buffer = NULL;
}

static void obey(const char *line)
{
	uint64_t bytes;
	char path[4096];
	unsigned int n;
	int r;

	if (sscanf(line, "extents %4095s %" SCNu64 " %u", path, &bytes, &n) == 3) {
		r = open_extents(path, bytes, n);
	} else if (sscanf(line, "buffer %" SCNu64 " %u", &bytes, &n) == 2) {
		r = vram_buffer_new(client, "benchmark", bytes, bytes / n, &buffer);
	} else if (strcmp(line, "switch\n") == 0) {
		switch_to();
		return;
	} else if (sscanf(line, "write %u", &n) == 1) {
		each(true, (unsigned char)n);
		return;
	} else if (sscanf(line, "check %u", &n) == 1) {
		each(false, (unsigned char)n);
		return;
	} else if (sscanf(line, "acquire %u", &n) == 1) {
		acquire(n);
		return;
	} else if (strcmp(line, "drop\n") == 0) {
		drop();
		r = 0;
	} else {
		r = -EINVAL;
	}
	if (r < 0)
		error(line, r);
	else
		puts("ok");
}

static int attach(void)
{
	char reason[CUDA_DRIVER_REASON_SIZE];
	struct vram_cuda_device card;
	cuda_context context;
	struct cuda_uuid uuid;
	cuda_device device;
	int n = 0, r;

	r = vram_client_cuda_device(client, &card);
	if (r < 0)
		return error("card", r);
	if (cuda_driver_open(&cu, NULL, reason, sizeof(reason)) < 0) {
		printf("error %s\n", reason);
		return -EIO;
	}
	/* The daemon's card may have another number here. */
	must("count", cu.device_get_count(&n));
	for (int i = 0; i < n; i++) {
		must("device", cu.device_get(&device, i));
		must("uuid", cu.device_get_uuid(&uuid, device));
		if (memcmp(uuid.bytes, card.uuid, sizeof(card.uuid)) == 0)
			break;
	}
	must("context", cu.primary_ctx_retain(&context, device));
	must("context", cu.ctx_set_current(context));
	r = vram_client_attach_cuda(client, 0);
	return r < 0 ? error("attach", r) : 0;
}

int main(int argc, char **argv)
{
	char line[8192];
	int r;

	if (argc != 3)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	on_card = strcmp(argv[2], "card") == 0;
	r = vram_connect(argv[1], "gpu-client", 0, &client);
	if (r < 0) {
		error("connect", r);
		return 1;
	}
	if (on_card && attach() < 0)
		return 1;
	puts("ok");
	while (fgets(line, sizeof(line), stdin))
		obey(line);
	drop();
	vram_close(client);
	return 0;
}
