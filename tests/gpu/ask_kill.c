// SPDX-License-Identifier: GPL-2.0-only
/*
 * Question 7: after SIGKILL of a client with work in flight, when is it really over? When has the
 * process ended, when does its work stop writing, when is its memory free, when does NVML forget
 * it, and what is in that memory then?
 *
 * The client's work writes into a small chunk that this process, the daemon, keeps, so that it
 * can be seen to stop. A large chunk is in the client's hands alone. Where the card is ours, the rest of it
 * is filled, so that the large chunk's memory is the only memory that can come back.
 */
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "tests/gpu/card.h"
#include "tests/gpu/listed.h"

#define PLANTED 0x5eed5eedu

enum {
	FILLERS_MAX = 8192,
	/* For so long after the kill we look. */
	LOOK_MS = 10000
};

enum work {
	MEMSETS,
	LONG_KERNEL,
	SHORT_KERNELS,
	WORKS
};

static const char *const names[WORKS] = { "killed amid memsets", "killed amid a long kernel",
					  "killed amid many kernels" };
static enum work work;

/* Enough that it would go on for seconds. */
static void submit(struct card *card, cuda_ptr at, cuda_stream stream)
{
	unsigned int i;

	switch (work) {
	case LONG_KERNEL:
		card_scribble(card, at, 6000000000u, stream);
		break;
	case SHORT_KERNELS:
		for (i = 0; i < 600; i++)
			card_scribble(card, at, 10000000, stream);
		break;
	default:
		for (i = 1; i < (card->ask->quick ? 2000u : 200000u); i++)
			MUST(card, memset_d32_async, at, i, card->granularity / sizeof(i), stream);
	}
}

static void client(struct ask *ask, int sock)
{
	cuda_stream stream;
	cuda_ptr small, large;
	struct card card;
	size_t bytes;
	int fds[2];

	bytes = hear_fds(ask, sock, fds, 2);
	card_open(&card, ask);
	stream = card_stream(&card);
	small = card_map(&card, card_import(&card, fds[0]), card.granularity, true);
	large = card_map(&card, card_import(&card, fds[1]), bytes, true);
	close(fds[0]);
	close(fds[1]);
	MUST(&card, memset_d32_async, large, PLANTED, bytes / sizeof(uint32_t), stream);
	card_wait(&card, stream);
	if (work != MEMSETS && !card_kernels(&card)) {
		tell(ask, sock, 0);
		return;
	}
	/* With the card full nothing may be left that the driver puts off until it is first used. */
	if (work != MEMSETS)
		card_scribble(&card, small, 1000, stream);
	MUST(&card, memset_d32_async, small, 0, card.granularity / sizeof(uint32_t), stream);
	card_wait(&card, stream);
	tell(ask, sock, 1);
	hear(ask, sock);
	submit(&card, small, stream);
	for (;;)
		pause();
}

struct after {
	double exited_ms, silent_ms, free_ms, forgotten_ms, created_ms; /* negative: not seen */
	cuda_mem mem;
};

static uint32_t first_word(struct card *card, cuda_ptr at)
{
	uint32_t word = 0;

	MUST(card, memcpy_dtoh, &word, at, sizeof(word));
	return word;
}

/*
 * Looks until nothing more is expected. filled: nobody but the client can give memory back, so that creating as much
 * as it had works when it has; otherwise free memory tells, which must not be taken meanwhile.
 */
static void watch(struct card *card, struct peer *peer, struct listed *listed, cuda_ptr small,
		  size_t bytes, bool known, bool filled, struct after *after)
{
	struct pollfd p = { .fd = peer->pidfd, .events = POLLIN };
	size_t wanted = card_free_bytes(card) + bytes - bytes / 16, n;
	uint32_t last = first_word(card, small), word;
	uint64_t start = now_ns(), used;
	double ms;

	*after = (struct after){ -1, 0, -1, -1, -1, 0 };
	kill(peer->pid, SIGKILL);
	do {
		if (after->exited_ms < 0 && poll(&p, 1, 0) > 0)
			after->exited_ms = (double)(now_ns() - start) / 1e6;
		word = first_word(card, small);
		if (word != last)
			after->silent_ms = (double)(now_ns() - start) / 1e6;
		last = word;
		if (!filled && after->free_ms < 0 && card_free_bytes(card) >= wanted)
			after->free_ms = (double)(now_ns() - start) / 1e6;
		if (filled && after->created_ms < 0 &&
		    card_try_create(card, bytes, &after->mem) == CUDA_ABI_SUCCESS)
			after->created_ms = (double)(now_ns() - start) / 1e6;
		if (known && after->forgotten_ms < 0 &&
		    listed_process(listed, peer->pid, &used, &n) == LISTED_ABSENT)
			after->forgotten_ms = (double)(now_ns() - start) / 1e6;
		ms = (double)(now_ns() - start) / 1e6;
		/* Half a second without a change is silence. */
	} while (ms < LOOK_MS &&
		 (after->exited_ms < 0 || (filled ? after->created_ms : after->free_ms) < 0 ||
		  (known && after->forgotten_ms < 0) || ms < after->silent_ms + 500));
	if (!filled && card_try_create(card, bytes, &after->mem) == CUDA_ABI_SUCCESS)
		after->created_ms = ms;
}

static void say_ms(struct ask *ask, const char *what, double ms)
{
	if (ms < 0)
		answer_text(ask, what, "not within %u s", LOOK_MS / 1000);
	else
		answer_number(ask, what, ms, "ms");
}

/* Takes what is left of the card. Return: how many chunks that took. */
static size_t fill_card(struct card *card, cuda_mem *fillers)
{
	size_t n = 0;

	for (size_t bytes = 1024 * MIB; bytes >= card->granularity; bytes /= 4)
		while (n < FILLERS_MAX &&
		       card_try_create(card, bytes, &fillers[n]) == CUDA_ABI_SUCCESS)
			n++;
	return n;
}

static void say(struct card *card, struct after *after, size_t bytes, bool filled, bool known)
{
	struct ask *ask = card->ask;
	uint64_t words = bytes / sizeof(uint32_t), planted;
	cuda_ptr at;

	say_ms(ask, "the process has ended after", after->exited_ms);
	answer_number(ask, "its work last wrote after", after->silent_ms, "ms");
	answer_text(ask, "its work wrote after its process had ended", "%s",
		    after->silent_ms > after->exited_ms ? "yes" : "no");
	if (!filled)
		say_ms(ask, "free memory has gone up after", after->free_ms);
	if (known)
		say_ms(ask, "NVML has forgotten it after", after->forgotten_ms);
	if (filled)
		say_ms(ask, "the same memory can be created after", after->created_ms);
	if (after->created_ms < 0) {
		answer_missing(ask, "what is in the memory", "as much cannot be created");
		return;
	}
	at = card_map(card, after->mem, bytes, true);
	planted = words - card_words_other(card, at, bytes, PLANTED);
	answer_number_view(ask, "words of the client's in it", (double)planted, "", "0",
			   planted == 0);
	answer_number_view(ask, "words not zero in it",
			   (double)card_words_other(card, at, bytes, 0), "", "0",
			   card_words_other(card, at, bytes, 0) == 0);
}

static void one(struct ask *ask, int sock)
{
	static cuda_mem fillers[FILLERS_MAX];
	char pci[32] = "";
	struct after after;
	struct card card;
	struct listed listed;
	struct peer peer;
	cuda_mem small_mem, large_mem;
	cuda_ptr small;
	size_t bytes, n, n_fillers = 0;
	uint64_t used;
	bool known;
	int fds[2];

	(void)sock;
	peer_start(ask, &peer, "client", client);
	card_open(&card, ask);
	MUST(&card, device_get_pci_bus_id, pci, sizeof(pci), card.device);
	listed_open(&listed, pci);
	/*
	 * Twice: the client's and, while it is not free, what is tried. As large as may be, so that
	 * it is more than the client's context, which comes back, too.
	 */
	bytes = card_size(&card, (ask->bytes - card.granularity) / 2, 1);
	card_settle(&card, 2 * bytes + card.granularity);
	small = card_alloc(&card, card.granularity, &small_mem);
	MUST(&card, memset_d8, small, 0, card.granularity);
	large_mem = card_create(&card, bytes);
	fds[0] = card_export(&card, small_mem);
	fds[1] = card_export(&card, large_mem);
	tell_fds(ask, peer.sock, bytes, fds, 2);
	if (!hear(ask, peer.sock)) {
		card_needs_kernels(&card, "work of a killed client");
		return;
	}
	MUST(&card, mem_release, large_mem);
	close(fds[0]);
	close(fds[1]);
	/* Whatever a copy needs for itself it shall have before the card is full. */
	first_word(&card, small);
	if (ask->whole) {
		n_fillers = fill_card(&card, fillers);
		answer_number(ask, "chunks that filled the rest of the card", (double)n_fillers,
			      "");
	}
	tell(ask, peer.sock, 1);
	for (int i = 0; i < 2000 && !first_word(&card, small); i++)
		sleep_ns(1000000);
	answer_view(ask, "its work is seen to write", "yes", first_word(&card, small), "%s",
		    first_word(&card, small) ? "yes" : "no");
	known = listed_process(&listed, peer.pid, &used, &n) == LISTED_PRESENT;
	if (!known)
		answer_missing(ask, "when NVML forgets it", "%s",
			       listed.nvml ?
				       "NVML does not list it: another pid namespace, perhaps" :
				       listed.reason);
	watch(&card, &peer, &listed, small, bytes, known, ask->whole, &after);
	/* So does a mapping. */
	while (n_fillers)
		MUST(&card, mem_release, fillers[--n_fillers]);
	say(&card, &after, bytes, ask->whole, known);
	peer_end(&peer);
}

static void answer(struct ask *ask)
{
	struct peer peer;

	for (work = 0; work < WORKS; work++) {
		peer_start(ask, &peer, names[work], one);
		peer_end(&peer);
	}
}

const struct question question_kill = { "kill", "When is a killed client's work really over?",
					answer };
