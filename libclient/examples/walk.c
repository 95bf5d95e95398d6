// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * walk: a small engine. It opens a model, goes through its layers as inference would, and instead of computing
 * compares every tensor with the file.
 *
 *	walk [-s SOCKET] [-p PASSES] [-v] MODEL
 *
 * Ends with one line, "walk: passes=.. layers=.. tensors=.. bytes=.. wrong=.. loaded=..", and with 0
 * if nothing was wrong.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "libclient/vram.h"

#define BLOCK (1u << 20)

static int die(const char *what, int r)
{
	fprintf(stderr, "walk: %s: %s%s%s\n", what, strerror(-r), *vram_error_text() ? ": " : "",
		vram_error_text());
	exit(1);
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

static uint64_t check_layer(struct vram_model *model, struct vram_layer *layer,
			    const XXH64_hash_t *hashes, uint64_t *bytes)
{
	uint64_t wrong = 0;

	for (size_t i = 0; i < vram_model_n_tensors(model); i++) {
		struct vram_tensor_info t;

		vram_model_tensor(model, i, &t);
		if (t.layer != layer)
			continue;
		*bytes += t.bytes;
		if (XXH64(t.ptr, t.bytes, 0) == hashes[i])
			continue;
		fprintf(stderr, "walk: %s differs from the file\n", t.name);
		wrong++;
	}
	return wrong;
}

int main(int argc, char **argv)
{
	const char *socket_path = NULL;
	uint64_t bytes = 0, wrong = 0;
	struct vram_client *client;
	struct vram_model *model;
	struct vram_stats stats;
	XXH64_hash_t *hashes;
	int passes = 2, verbose = 0, opt, fd, r;

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
		fprintf(stderr, "usage: walk [-s SOCKET] [-p PASSES] [-v] MODEL\n");
		return 2;
	}
	r = vram_connect(socket_path, "walk", VRAM_CONNECT_WATCH, &client);
	if (r < 0)
		die("cannot connect", r);
	r = vram_model_open(client, argv[optind], &model);
	if (r < 0)
		die(argv[optind], r);
	fd = open(argv[optind], O_RDONLY | O_CLOEXEC);
	hashes = calloc(vram_model_n_tensors(model) + 1, sizeof(*hashes));
	if (fd < 0 || !hashes)
		die(argv[optind], -errno);
	for (size_t i = 0; i < vram_model_n_tensors(model); i++) {
		struct vram_tensor_info t;

		vram_model_tensor(model, i, &t);
		if (t.file != 0)
			die("a model in several files", -ENOTSUP);
		hashes[i] = hash_file(fd, t.offset, t.bytes);
	}
	for (int pass = 0; pass < passes; pass++) {
		vram_model_pass(model, VRAM_PASS_DECODE_START);
		for (uint32_t i = 0; i < vram_model_n_layers(model); i++) {
			struct vram_layer *layer = vram_model_layer(model, i);

			r = vram_layer_acquire(layer, -1);
			if (r < 0)
				die(vram_layer_name(layer), r);
			wrong += check_layer(model, layer, hashes, &bytes);
			vram_layer_release(layer);
			if (verbose)
				printf("pass %d layer %s\n", pass, vram_layer_name(layer));
		}
	}
	r = vram_client_stats(client, &stats);
	if (r < 0)
		die("no statistics", r);
	printf("walk: passes=%d layers=%u tensors=%zu bytes=%" PRIu64 " wrong=%" PRIu64
	       " loaded=%" PRIu64 "\n",
	       passes, vram_model_n_layers(model), vram_model_n_tensors(model), bytes, wrong,
	       stats.loaded_bytes);
	vram_model_close(model);
	vram_close(client);
	close(fd);
	free(hashes);
	return wrong ? 1 : 0;
}
