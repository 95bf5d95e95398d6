// SPDX-License-Identifier: GPL-2.0-only
// links: libvram.a
// libs: -ljansson
/*
 * trace_load SOCKET ROUNDS: a client that does nothing but use a model which does not fit, for trace.py. Each round
 * acquires every layer once; its time is printed, in nanoseconds, one a line. Between rounds it waits for a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "libclient/vram.h"

#define N_LAYERS    512
#define LAYER_BYTES 65536

static unsigned long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (unsigned long long)ts.tv_sec * 1000000000u + (unsigned long long)ts.tv_nsec;
}

static int fail(const char *what)
{
	fprintf(stderr, "trace_load: %s: %s\n", what, vram_error_text());
	return 1;
}

int main(int argc, char *argv[])
{
	char path[] = "/var/tmp/vram-trace-load-XXXXXX", line[16];
	struct vram_extent *extents = calloc(N_LAYERS, sizeof(*extents));
	struct vram_client *client;
	struct vram_model *model;
	int fd;

	if (argc != 3 || !extents)
		return 2;
	fd = mkstemp(path);
	if (fd < 0 || unlink(path) < 0 || ftruncate(fd, (off_t)N_LAYERS * LAYER_BYTES) < 0)
		return 1;
	for (uint32_t i = 0; i < N_LAYERS; i++)
		extents[i] = (struct vram_extent){ .offset = (uint64_t)i * LAYER_BYTES,
						   .length = LAYER_BYTES,
						   .layer = i };
	if (vram_connect(argv[1], "trace_load", 0, &client) < 0)
		return fail("no daemon");
	if (vram_model_open_extents(client, fd, "load", N_LAYERS, extents, N_LAYERS, &model) < 0)
		return fail("no model");
	for (int round = atoi(argv[2]); round > 0 && fgets(line, sizeof(line), stdin); round--) {
		unsigned long long began = now_ns();

		for (uint32_t i = 0; i < N_LAYERS; i++) {
			struct vram_layer *layer = vram_model_layer(model, i);

			if (vram_layer_acquire(layer, 30000000000) < 0)
				return fail("a layer");
			vram_layer_release(layer);
		}
		printf("%llu\n", now_ns() - began);
		fflush(stdout);
	}
	vram_model_close(model);
	vram_close(client);
	free(extents);
	return 0;
}
