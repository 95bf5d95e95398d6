// SPDX-License-Identifier: GPL-2.0-only
// links: tests/support/bench_daemon.c libvram.a
// libs: -ljansson
// bench:
/*
 * scale: what many sessions cost. 1,000 of them with 100 layers each: the daemon's own memory a layer
 * (its heap and the residency tables), and the time of a request among 1,000 sessions against the same
 * among 10. (victim_ns is policy's part: see policy-scale.)
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "libclient/vram.h"
#include "tests/support/bench_daemon.h"

#define N_FEW	    10
#define N_MANY	    1000
#define N_LAYERS    100
#define LAYER_BYTES (64u << 10)
#define N_FILES	    10
#define N_SAMPLES   20000

static struct vram_client *clients[N_MANY];
static struct vram_model *models[N_MANY];
static uint64_t samples[N_SAMPLES];
static int files[N_FILES];

static void open_session(const struct bench_daemon *d, int i)
{
	struct vram_extent extents[N_LAYERS];

	for (uint32_t j = 0; j < N_LAYERS; j++)
		extents[j] = (struct vram_extent){
			.offset = (uint64_t)j * LAYER_BYTES,
			.length = LAYER_BYTES,
			.layer = j,
		};
	if (vram_connect(d->socket, "scale", 0, &clients[i]) < 0 ||
	    vram_model_open_extents(clients[i], files[i % N_FILES], "scale", N_LAYERS, extents,
				    N_LAYERS, &models[i]) < 0) {
		fprintf(stderr, "scale: session %d: %s\n", i, vram_error_text());
		exit(1);
	}
}

/* Requests of layers that are in the device but that the session has not asked for yet: sessions are
 * closed and opened again to have new ones. */
static uint64_t request_ns(const struct bench_daemon *d, int n_sessions)
{
	size_t n = 0;

	while (n < N_SAMPLES) {
		for (int i = 0; i < n_sessions && n < N_SAMPLES; i++) {
			for (uint32_t j = 0; j < N_LAYERS && n < N_SAMPLES; j++) {
				struct vram_layer *layer = vram_model_layer(models[i], j);
				uint64_t began = bench_now_ns();

				if (vram_layer_is_resident(layer))
					continue;
				if (vram_layer_acquire(layer, 10000000000) < 0) {
					fprintf(stderr, "scale: %s\n", vram_error_text());
					exit(1);
				}
				samples[n++] = bench_now_ns() - began;
				vram_layer_release(layer);
			}
		}
		for (int i = 0; i < n_sessions && n < N_SAMPLES; i++) {
			vram_model_close(models[i]);
			vram_close(clients[i]);
			open_session(d, i);
		}
	}
	return bench_median(samples, n);
}

int main(void)
{
	static const char *const settings[] = { "device.budget=256M", "limits.max_sessions=1100",
						NULL };
	struct rlimit limit = { .rlim_cur = 16384, .rlim_max = 16384 };
	uint64_t empty, full, few_ns, many_ns;
	struct bench_daemon d;

	if (setrlimit(RLIMIT_NOFILE, &limit)) {
		printf("SKIP: %d open files are not allowed here\n", 16384);
		return 77;
	}
	for (int i = 0; i < N_FILES; i++) {
		char path[] = "/var/tmp/vram-scale-XXXXXX";

		files[i] = mkstemp(path);
		if (files[i] < 0 || ftruncate(files[i], (off_t)N_LAYERS * LAYER_BYTES) ||
		    unlink(path))
			return 1;
	}
	if (bench_daemon_start(&d, settings) < 0) {
		fprintf(stderr, "scale: vramd does not start: see %s/log\n", d.dir);
		return 1;
	}
	bench_pin(d.pid, 0);
	bench_pin(0, 0);
	for (int i = 0; i < N_FEW; i++)
		open_session(&d, i);
	few_ns = request_ns(&d, N_FEW);
	empty = bench_daemon_rss(&d);
	for (int i = N_FEW; i < N_MANY; i++)
		open_session(&d, i);
	full = bench_daemon_rss(&d);
	many_ns = request_ns(&d, N_MANY);
	/* The tables are shared memory: 64 bytes a slot, in whole pages. */
	full += (uint64_t)(N_MANY - N_FEW) * ((N_LAYERS * 64 + 4095) / 4096 * 4096);
	bench_json("scale", "bytes_per_layer",
		   (double)(full - empty) / ((N_MANY - N_FEW) * N_LAYERS), "B", "goal", 256);
	bench_json("scale", "request_growth", (double)many_ns / 1000, "us", "among 10 sessions",
		   (double)few_ns / 1000);
	for (int i = 0; i < N_MANY; i++) {
		vram_model_close(models[i]);
		vram_close(clients[i]);
	}
	bench_daemon_stop(&d);
	return 0;
}
