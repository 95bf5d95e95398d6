// SPDX-License-Identifier: GPL-2.0-only
/*
 * cold_load SOCKET MODEL: how long libvram takes from a file to resident layers.
 *
 * Opens the model, asks for all of it, and acquires layer after layer. Prints one line of JSON: the
 * bytes of the layers, ns until the model was open and until its last layer was resident. For cold.py.
 *
 * links: libvram.a
 * libs: -ljansson -lxxhash
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "libclient/vram.h"

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int failed(const char *what, int ret)
{
	fprintf(stderr, "cold_load: %s: error %d: %s\n", what, -ret, vram_error_text());
	return 1;
}

static int load(struct vram_client *client, const char *path)
{
	struct vram_layer **layers;
	struct vram_model *model;
	uint64_t bytes = 0, start, opened, done;
	uint32_t i, n;
	int ret;

	start = now_ns();
	ret = vram_model_open(client, path, &model);
	if (ret)
		return failed("vram_model_open", ret);
	opened = now_ns();

	n = vram_model_n_layers(model);
	layers = calloc(n, sizeof(*layers));
	if (!layers)
		ret = -1;
	for (i = 0; !ret && i < n; i++)
		layers[i] = vram_model_layer(model, i);
	if (!ret)
		ret = vram_layer_prefetch(layers, n);
	for (i = 0; !ret && i < n; i++) {
		ret = vram_layer_acquire(layers[i], -1);
		if (ret)
			break;
		bytes += vram_layer_bytes(layers[i]);
		vram_layer_release(layers[i]);
	}
	done = now_ns();
	free(layers);
	vram_model_close(model);
	if (ret)
		return failed("loading", ret);
	printf("{\"bytes\": %" PRIu64 ", \"open_ns\": %" PRIu64 ", \"resident_ns\": %" PRIu64 "}\n",
	       bytes, opened - start, done - start);
	return 0;
}

int main(int argc, char **argv)
{
	struct vram_client *client;
	int ret;

	if (argc != 3) {
		fputs("usage: cold_load SOCKET MODEL\n", stderr);
		return 2;
	}
	ret = vram_connect(argv[1], "cold_load", 0, &client);
	if (ret)
		return failed("vram_connect", ret);
	ret = load(client, argv[2]);
	vram_close(client);
	return ret;
}
