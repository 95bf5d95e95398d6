// SPDX-License-Identifier: GPL-2.0-only
/*
 * gpu-copy CHUNK_MIB: the yardstick of gpu.py: what the card's driver copies from and to pinned memory of its own,
 * in chunks of that size, by a loop that does nothing else. Told on standard input:
 *
 *	up BYTES, down BYTES, both BYTES	"ns N"; both: so much in each direction, at once
 *
 * links: tests/gpu/question.c tests/gpu/card.c tests/gpu/kernels.c common/cuda_driver.c common/err.c
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/card.h"

enum {
	/* Different ones by turns, so that nothing is copied twice in a row. */
	CHUNKS = 4
};

struct side {
	cuda_ptr at;
	char *host;
	cuda_stream stream;
};

static void submit(struct card *card, struct side *side, bool up, size_t i, size_t chunk, size_t n)
{
	cuda_ptr at = side->at + i % CHUNKS * chunk;
	char *host = side->host + i % CHUNKS * chunk;

	if (up)
		MUST(card, memcpy_htod_async, at, host, n, side->stream);
	else
		MUST(card, memcpy_dtoh_async, host, at, n, side->stream);
}

static uint64_t copy(struct card *card, struct side *up, struct side *down, size_t chunk,
		     uint64_t bytes)
{
	uint64_t start = now_ns();

	for (size_t i = 0; i * chunk < bytes; i++) {
		size_t n = bytes - i * chunk < chunk ? bytes - i * chunk : chunk;

		if (up)
			submit(card, up, true, i, chunk, n);
		if (down)
			submit(card, down, false, i, chunk, n);
	}
	if (up)
		card_wait(card, up->stream);
	if (down)
		card_wait(card, down->stream);
	return now_ns() - start;
}

int main(int argc, char **argv)
{
	size_t chunk = (argc > 1 ? strtoul(argv[1], NULL, 10) : 32) * MIB;
	struct ask ask = { .question = "gpu-copy", .role = "", .fd = -1, .bytes = UINT64_MAX };
	struct side sides[2];
	struct card card;
	char line[64], direction[8];
	uint64_t bytes;

	if (!chunk)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	card_open(&card, &ask);
	for (int i = 0; i < 2; i++) {
		cuda_mem mem;

		sides[i].at = card_alloc(&card, CHUNKS * chunk, &mem);
		sides[i].host = card_pinned(&card, CHUNKS * chunk);
		memset(sides[i].host, 0x5a, CHUNKS * chunk);
		sides[i].stream = card_stream(&card);
	}
	copy(&card, &sides[0], &sides[1], chunk, CHUNKS * chunk);
	puts("ok");
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%7s %" SCNu64, direction, &bytes) != 2)
			puts("error up, down or both, and how many bytes");
		else
			printf("ns %" PRIu64 "\n",
			       copy(&card, strcmp(direction, "down") ? &sides[0] : NULL,
				    strcmp(direction, "up") ? &sides[1] : NULL, chunk, bytes));
	}
	return 0;
}
