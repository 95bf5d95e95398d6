// SPDX-License-Identifier: GPL-2.0-only
// links: tests/support/bench_daemon.c libvram.a
// libs: -ljansson
// bench:
/*
 * miss: what a miss costs beyond the transfer. The bytes are in the device already, brought in by one
 * session; another session acquires the layers for the first time: request, decision, answer through
 * the slot. Against a round trip of a message of the same size over the same kind of socket, between
 * processes in the same places.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/proto.h"
#include "libclient/vram.h"
#include "tests/support/bench_daemon.h"

#define N_LAYERS    2048
#define LAYER_BYTES 4096
#define ROUNDS	    8

static uint64_t samples[N_LAYERS * ROUNDS];

static uint64_t round_trip(int cpu_here, int cpu_there)
{
	char msg[sizeof(struct vram_msg_hdr) + sizeof(struct vram_msg_slot)] = { 0 };
	size_t n = sizeof(samples) / sizeof(samples[0]);
	int pair[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
		exit(1);
	child = fork();
	if (child == 0) {
		bench_pin(0, cpu_there);
		close(pair[0]);
		while (recv(pair[1], msg, sizeof(msg), 0) > 0)
			if (send(pair[1], msg, sizeof(msg), 0) < 0)
				break;
		_exit(0);
	}
	close(pair[1]);
	bench_pin(0, cpu_here);
	for (size_t i = 0; i < n; i++) {
		uint64_t began = bench_now_ns();

		if (send(pair[0], msg, sizeof(msg), 0) < 0 ||
		    recv(pair[0], msg, sizeof(msg), 0) != sizeof(msg))
			exit(1);
		samples[i] = bench_now_ns() - began;
	}
	close(pair[0]);
	waitpid(child, NULL, 0);
	return bench_median(samples, n);
}

static struct vram_model *open_model(struct vram_client *client, int fd)
{
	struct vram_extent *extents = calloc(N_LAYERS, sizeof(*extents));
	struct vram_model *model;
	int r;

	for (uint32_t i = 0; i < N_LAYERS; i++)
		extents[i] = (struct vram_extent){
			.offset = (uint64_t)i * LAYER_BYTES,
			.length = LAYER_BYTES,
			.layer = i,
		};
	r = vram_model_open_extents(client, fd, "miss", N_LAYERS, extents, N_LAYERS, &model);
	free(extents);
	if (r < 0) {
		fprintf(stderr, "miss: cannot open the model: %s\n", vram_error_text());
		exit(1);
	}
	return model;
}

static void acquire(struct vram_model *model, uint32_t i)
{
	struct vram_layer *layer = vram_model_layer(model, i);

	if (vram_layer_acquire(layer, 5000000000) < 0) {
		fprintf(stderr, "miss: %s\n", vram_error_text());
		exit(1);
	}
	vram_layer_release(layer);
}

static uint64_t miss(const struct bench_daemon *d, int fd, int cpu_here, int cpu_there)
{
	struct vram_client *first, *second;
	struct vram_model *resident;
	size_t n = 0;

	bench_pin(d->pid, cpu_there);
	bench_pin(0, cpu_here);
	if (vram_connect(d->socket, "miss first", 0, &first) < 0 ||
	    vram_connect(d->socket, "miss second", 0, &second) < 0)
		exit(1);
	resident = open_model(first, fd);
	for (uint32_t i = 0; i < N_LAYERS; i++)
		acquire(resident, i);
	for (int round = 0; round < ROUNDS; round++) {
		struct vram_model *model = open_model(second, fd);

		for (uint32_t i = 0; i < N_LAYERS; i++) {
			uint64_t began = bench_now_ns();

			acquire(model, i);
			samples[n++] = bench_now_ns() - began;
		}
		vram_model_close(model);
	}
	vram_model_close(resident);
	vram_close(first);
	vram_close(second);
	return bench_median(samples, n);
}

int main(void)
{
	static const char *const settings[] = { "device.budget=64M", "limits.wait_timeout=0",
						NULL };
	char path[] = "/var/tmp/vram-miss-XXXXXX";
	int fd = mkstemp(path), n_cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	struct bench_daemon d;
	static const struct {
		const char *figure;
		int cpu_there;
	} places[] = { { "miss_vs_round_trip", 0 }, { "miss_vs_round_trip_two_cpus", 1 } };

	if (fd < 0 || ftruncate(fd, (off_t)N_LAYERS * LAYER_BYTES) || unlink(path))
		return 1;
	if (bench_daemon_start(&d, settings) < 0) {
		fprintf(stderr, "miss: vramd does not start: see %s/log\n", d.dir);
		return 1;
	}
	for (size_t i = 0; i < 2 && places[i].cpu_there < n_cpus; i++) {
		uint64_t before = round_trip(0, places[i].cpu_there);
		uint64_t ours = miss(&d, fd, 0, places[i].cpu_there);
		uint64_t after = round_trip(0, places[i].cpu_there);

		bench_json("miss", places[i].figure, (double)ours / 1000, "us",
			   "seqpacket round trip", (double)(before + after) / 2000);
	}
	bench_daemon_stop(&d);
	return 0;
}
