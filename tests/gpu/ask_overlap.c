// SPDX-License-Identifier: GPL-2.0-only
/*
 * Question 1: does a copy on one process's stream overlap another process's kernels, without MPS?
 *
 * The other process keeps the card full of kernels of some milliseconds and counts them; this one
 * copies. Each is measured alone, then both together. Kernels of two processes take turns on a card;
 * if copies did too, both rates would halve.
 */
#include <poll.h>
#include <stdio.h>

#include "tests/gpu/card.h"

enum work {
	STOP,
	ARITHMETIC, /* registers only */
	WRITING	    /* writes memory as fast as it can */
};

static const char *const work_names[] = { "", "arithmetic", "kernels that write memory" };

/* So many that the card never waits for us: of some milliseconds, and of much less. */
static const int in_flight[] = { [ARITHMETIC] = 4, [WRITING] = 64 };

/* Told what to run, it runs that until it is told something again; answers with kernels a second. */
static void run_kernels(struct ask *ask, int sock)
{
	struct card card;
	uint64_t rounds, work;
	cuda_stream stream;
	cuda_ptr memory;
	cuda_mem mem;
	size_t bytes;

	card_open(&card, ask);
	if (!card_kernels(&card)) {
		tell(ask, sock, 0);
		return;
	}
	bytes = card_size(&card, 256 * MIB, 2);
	memory = card_alloc(&card, bytes, &mem);
	stream = card_stream(&card);
	rounds = card_busy_rounds(&card, 3000000, memory, stream);
	card_fill(&card, memory, bytes, 0, stream);
	card_wait(&card, stream);
	tell(ask, sock, 1);
	while ((work = hear(ask, sock)) != STOP) {
		struct pollfd p = { .fd = sock, .events = POLLIN };
		uint64_t start = now_ns(), n = 0;

		do {
			for (int i = 0; i < (ask->quick ? 4 : in_flight[work]); i++, n++)
				if (work == ARITHMETIC)
					card_busy(&card, rounds, memory, stream);
				else
					card_fill(&card, memory, bytes, (uint32_t)n, stream);
			card_wait(&card, stream);
		} while (poll(&p, 1, 0) == 0);
		hear(ask, sock);
		/* In millionths, as messages carry whole numbers. */
		tell(ask, sock, (uint64_t)((double)n * 1e15 / (double)(now_ns() - start)));
	}
}

enum direction {
	TO_CARD,
	FROM_CARD,
	ZEROING,
	DIRECTIONS
};

static const char *const direction_names[] = { "copy to the card", "copy from the card",
					       "memset of the card" };

/* Bytes a second. */
static double copy(struct card *card, enum direction direction, cuda_ptr memory, void *host,
		   size_t bytes, cuda_stream stream, uint64_t ns)
{
	uint64_t start = now_ns(), end, total = 0;

	do {
		/* Two in flight, so that the engine does not wait for us. */
		for (int i = 0; i < 2; i++, total += bytes)
			switch (direction) {
			case TO_CARD:
				MUST(card, memcpy_htod_async, memory, host, bytes, stream);
				break;
			case FROM_CARD:
				MUST(card, memcpy_dtoh_async, host, memory, bytes, stream);
				break;
			default:
				MUST(card, memset_d8_async, memory, 0, bytes, stream);
			}
		card_wait(card, stream);
		end = now_ns();
	} while (end - start < ns);
	return (double)total * 1e9 / (double)(end - start);
}

static void together(struct card *card, struct peer *peer, enum work work, double alone_kernels,
		     const double *alone_copies, cuda_ptr memory, void *host, size_t bytes,
		     cuda_stream stream, uint64_t ns)
{
	struct ask *ask = card->ask;
	char what[96];

	for (int d = 0; d < DIRECTIONS; d++) {
		double copies, kernels;

		tell(ask, peer->sock, work);
		sleep_ns(ns / 10);
		copies = copy(card, d, memory, host, bytes, stream, ns);
		tell(ask, peer->sock, STOP);
		kernels = (double)hear(ask, peer->sock) / 1e6;
		snprintf(what, sizeof(what), "%s beside %s, of alone", direction_names[d],
			 work_names[work]);
		if (d == ZEROING)
			answer_number(ask, what, copies / alone_copies[d], "");
		else
			answer_number_view(ask, what, copies / alone_copies[d], "",
					   "copies overlap: above 0.8",
					   copies / alone_copies[d] > 0.8);
		snprintf(what, sizeof(what), "%s beside %s, of alone", work_names[work],
			 direction_names[d]);
		if (d == ZEROING || work == WRITING)
			answer_number(ask, what, kernels / alone_kernels, "");
		else
			answer_number_view(ask, what, kernels / alone_kernels, "",
					   "kernels go on: above 0.8",
					   kernels / alone_kernels > 0.8);
	}
}

static void answer(struct ask *ask)
{
	uint64_t ns = ask->quick ? 50000000 : 1000000000;
	double alone[DIRECTIONS];
	cuda_stream stream;
	struct card card;
	struct peer peer;
	cuda_ptr memory;
	cuda_mem mem;
	size_t bytes;
	void *host;

	peer_start(ask, &peer, "kernels", run_kernels);
	card_open(&card, ask);
	if (!hear(ask, peer.sock)) {
		card_needs_kernels(&card, "copies beside kernels");
		return;
	}
	bytes = card_size(&card, ask->quick ? 2 * MIB : 64 * MIB, 4);
	memory = card_alloc(&card, bytes, &mem);
	host = card_pinned(&card, bytes);
	stream = card_stream(&card);
	copy(&card, TO_CARD, memory, host, bytes, stream, ns / 10);
	for (int d = 0; d < DIRECTIONS; d++) {
		alone[d] = copy(&card, d, memory, host, bytes, stream, ns);
		answer_number(ask, direction_names[d], alone[d] / 1e9, "GB/s");
	}
	for (int work = ARITHMETIC; work <= WRITING; work++) {
		double kernels;

		tell(ask, peer.sock, (uint64_t)work);
		sleep_ns(ns);
		tell(ask, peer.sock, STOP);
		kernels = (double)hear(ask, peer.sock) / 1e6;
		answer_number(ask, work_names[work], kernels, "1/s");
		together(&card, &peer, work, kernels, alone, memory, host, bytes, stream, ns);
	}
	tell(ask, peer.sock, STOP);
	peer_end(&peer);
}

const struct question question_overlap = {
	"overlap", "Does a process's copy overlap another's kernels, without MPS?", answer
};
