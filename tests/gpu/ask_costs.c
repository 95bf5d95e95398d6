// SPDX-License-Identifier: GPL-2.0-only
/*
 * Question 2: what a chunk costs, by size: create, export, import, map, set access, unmap, release.
 *
 * This process plays the daemon, which creates and exports; the other the client, which imports
 * and maps. A client that lost a chunk imports it again later through a descriptor that it kept,
 * or a dup() of one.
 */
#include <stdio.h>
#include <unistd.h>

#include "tests/gpu/card.h"

enum {
	CHUNKS_MAX = 16
};

static const size_t sizes[] = { 2 * MIB, 16 * MIB, 32 * MIB, 64 * MIB };

/* How many chunks of that size fit what we may take, with room for two sizes at once. */
static size_t count(struct ask *ask, size_t bytes)
{
	size_t n = ask->bytes / bytes / 2;

	return n > CHUNKS_MAX ? CHUNKS_MAX : n;
}

/* Says the median, in microseconds. Sorts. */
static void say(struct ask *ask, size_t bytes, const char *call, double *us, size_t n)
{
	char what[96];

	snprintf(what, sizeof(what), "%s, %zu MiB, median of %zu", call, bytes / MIB, n);
	answer_number(ask, what, median(us, n), "us");
}

#define TIMED(us, statement)                                \
	do {                                                \
		uint64_t start_ = now_ns();                 \
                                                            \
		statement;                                  \
		(us) = (double)(now_ns() - start_) / 1000.; \
	} while (0)

/* Imports, maps, opens, unmaps and forgets n chunks. */
static void client_chunks(struct card *card, size_t bytes, const int *fds, size_t n)
{
	struct ask *ask = card->ask;
	double us[CHUNKS_MAX], whole;
	cuda_mem mem[CHUNKS_MAX];
	cuda_ptr at = 0;
	char what[96];
	size_t i;

	MUST(card, mem_address_reserve, &at, n * bytes, 0, 0, 0);
	for (i = 0; i < n; i++)
		TIMED(us[i], mem[i] = card_import(card, fds[i]));
	say(ask, bytes, "import", us, n);
	for (i = 0; i < n; i++)
		TIMED(us[i], MUST(card, mem_map, at + i * bytes, bytes, 0, mem[i], 0));
	say(ask, bytes, "map", us, n);
	for (i = 0; i < n; i++)
		TIMED(us[i], card_must(card, "mem_set_access",
				       card_access(card, at + i * bytes, bytes, false)));
	say(ask, bytes, "set access to one", us, n);
	for (i = 0; i < n; i++)
		TIMED(us[i], MUST(card, mem_unmap, at + i * bytes, bytes));
	say(ask, bytes, "unmap", us, n);

	/* A layer: its run of chunks opened by one call, and dropped by one. */
	for (i = 0; i < n; i++)
		MUST(card, mem_map, at + i * bytes, bytes, 0, mem[i], 0);
	TIMED(whole, card_must(card, "mem_set_access", card_access(card, at, n * bytes, false)));
	snprintf(what, sizeof(what), "set access to a run of %zu, %zu MiB, a chunk", n,
		 bytes / MIB);
	answer_number(ask, what, whole / (double)n, "us");
	TIMED(whole, MUST(card, mem_unmap, at, n * bytes));
	snprintf(what, sizeof(what), "unmap of a run of %zu, %zu MiB, a chunk", n, bytes / MIB);
	answer_number(ask, what, whole / (double)n, "us");

	for (i = 0; i < n; i++)
		TIMED(us[i], MUST(card, mem_release, mem[i]));
	say(ask, bytes, "release of an import", us, n);
	for (i = 0; i < n; i++) {
		int fd = dup(fds[i]);

		TIMED(us[i], mem[i] = card_import(card, fd));
		close(fd);
	}
	say(ask, bytes, "import again, from a dup() of a kept descriptor", us, n);
	if (n >= 1) {
		/* Twice at once: does it cost, is it one handle or two? */
		cuda_mem twice = 0;
		cuda_result r = card->cu.mem_import(&twice, (void *)(uintptr_t)fds[0],
						    CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);

		answer_text(ask, "a second import while the first is there", "%s%s",
			    card_text(card, r),
			    r != CUDA_ABI_SUCCESS ? "" :
			    twice == mem[0]	  ? ", the same handle" :
						    ", another handle");
		if (r == CUDA_ABI_SUCCESS)
			MUST(card, mem_release, twice);
	}
	for (i = 0; i < n; i++)
		MUST(card, mem_release, mem[i]);
	MUST(card, mem_address_free, at, n * bytes);
}

static void client(struct ask *ask, int sock)
{
	int fds[CHUNKS_MAX];
	struct card card;

	card_open(&card, ask);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
		size_t n = count(ask, sizes[s]);

		if (!n)
			continue;
		hear_fds(ask, sock, fds, n);
		client_chunks(&card, sizes[s], fds, n);
		for (size_t i = 0; i < n; i++)
			close(fds[i]);
		tell(ask, sock, 1);
	}
	card_close(&card);
}

static void answer(struct ask *ask)
{
	double us[CHUNKS_MAX];
	struct card card;
	struct peer peer;

	peer_start(ask, &peer, "client", client);
	card_open(&card, ask);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
		size_t bytes = sizes[s], n = count(ask, bytes), i;
		cuda_mem mem[CHUNKS_MAX];
		int fds[CHUNKS_MAX];

		if (!n) {
			answer_missing(ask, "chunks of a size",
				       "two chunks of %zu MiB are more than may be taken",
				       bytes / MIB);
			continue;
		}
		for (i = 0; i < n; i++)
			TIMED(us[i], mem[i] = card_create(&card, bytes));
		say(ask, bytes, "create", us, n);
		for (i = 0; i < n; i++)
			TIMED(us[i], fds[i] = card_export(&card, mem[i]));
		say(ask, bytes, "export", us, n);
		tell_fds(ask, peer.sock, n, fds, n);
		hear(ask, peer.sock);
		for (i = 0; i < n; i++)
			close(fds[i]);
		for (i = 0; i < n; i++)
			TIMED(us[i], MUST(&card, mem_release, mem[i]));
		say(ask, bytes, "release", us, n);
	}
	peer_end(&peer);
	card_close(&card);
}

const struct question question_costs = { "costs", "What does a chunk cost, by size?", answer };
