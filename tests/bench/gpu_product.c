// SPDX-License-Identifier: GPL-2.0-only
/*
 * gpu-product N COUNT: an unmodified program for a card: it allocates COUNT matrices of N rows by cuMemAlloc and multiplies
 * them in pairs. It knows nothing of vram; gpu.py runs it with and without vramrun. Told on standard input:
 *
 *	block ROUNDS	so many products, then a synchronisation: "ns N"
 *	sum		"sum N", of the last result's bits
 *
 * links: tests/gpu/question.c tests/gpu/card.c tests/gpu/kernels.c common/cuda_driver.c common/err.c
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/gpu/card.h"

static uint64_t sum(struct card *card, cuda_ptr at, size_t words)
{
	uint32_t *result = malloc(words * sizeof(*result));
	uint64_t total = 0;

	if (!result)
		abort();
	MUST(card, memcpy_dtoh, result, at, words * sizeof(*result));
	for (size_t i = 0; i < words; i++)
		total = total * 31 + result[i];
	free(result);
	return total;
}

int main(int argc, char **argv)
{
	uint32_t n = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1024;
	size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 8, bytes = (size_t)n * n * 4;
	struct ask ask = { .question = "gpu-product", .role = "", .fd = -1, .bytes = UINT64_MAX };
	cuda_ptr *matrices = calloc(count, sizeof(*matrices));
	float *random = malloc(bytes);
	struct card card;
	cuda_stream stream;
	size_t next = 0;
	char line[64];

	if (!matrices || !random || count < 3 || n % 16)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	card_open(&card, &ask);
	if (!card_kernels(&card)) {
		printf("error %s\n", card.kernels.reason);
		return 1;
	}
	stream = card_stream(&card);
	srand(1);
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < (size_t)n * n; k++)
			random[k] = (float)(rand() % 2001 - 1000) / 1000.f / (float)n;
		MUST(&card, mem_alloc, &matrices[i], bytes);
		MUST(&card, memcpy_htod, matrices[i], random, bytes);
	}
	free(random);
	puts("ok");
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t start = now_ns();
		unsigned int rounds;

		if (sscanf(line, "block %u", &rounds) == 1) {
			/* The last matrix takes every result. */
			for (unsigned int i = 0; i < rounds; i++, next++)
				card_product(&card, matrices[next % (count - 1)],
					     matrices[(next + 1) % (count - 1)],
					     matrices[count - 1], n, stream);
			card_wait(&card, stream);
			printf("ns %" PRIu64 "\n", now_ns() - start);
		} else {
			printf("sum %" PRIu64 "\n", sum(&card, matrices[count - 1], (size_t)n * n));
		}
	}
	return 0;
}
