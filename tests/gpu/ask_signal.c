// SPDX-License-Identifier: GPL-2.0-only
/*
 * Question 3: the card writes a count into a page that another process polls. Does that work, and
 * how long does it take? And the other way: does a stream wait for what another process writes?
 *
 * This process plays the client, which registers the page and lets its stream write; the other
 * plays the daemon, which has the page mapped and no driver at all.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/gpu/card.h"
#include "tests/gpu/host_memory.h"

enum {
	ROUNDS_MAX = 2000,
	BURST = 5000,
	FORWARD = 0, /* words of the page: what the card writes */
	BACK = 8     /* and what it waits for */
};

/* What the two tell each other beside the page itself. */
struct board {
	_Atomic uint64_t expect; /* the daemon waits for this count; UINT64_MAX: end */
	_Atomic uint64_t seen_ns;
	_Atomic uint64_t backward; /* how often the count has gone down */
	_Atomic uint64_t wake;	   /* the daemon shall write this into BACK */
	_Atomic uint64_t woke_ns;
};

static struct board *board;
static _Atomic uint64_t *page;

static void daemon_polls(struct ask *ask, int sock)
{
	uint64_t last = 0, expect = 0, wake = 0, now;

	(void)ask;
	(void)sock;
	for (;;) {
		uint64_t value = atomic_load_explicit(&page[FORWARD], memory_order_acquire);

		if (value < last)
			atomic_fetch_add(&board->backward, 1);
		last = value;
		now = atomic_load(&board->expect);
		if (now == UINT64_MAX)
			return;
		if (now != expect && value >= now) {
			atomic_store(&board->seen_ns, now_ns());
			expect = now;
		}
		now = atomic_load(&board->wake);
		if (now != wake) {
			wake = now;
			atomic_store(&board->woke_ns, now_ns());
			atomic_store(&page[BACK], wake);
		}
	}
}

/* Waits until the word is not 0. Return: it, 0 after a second. */
static uint64_t appears(_Atomic uint64_t *word)
{
	uint64_t start = now_ns(), value;

	while (!(value = atomic_load(word)))
		if (now_ns() - start > 1000000000u)
			return 0;
	return value;
}

/* One count, seen by the other process. Return: microseconds from the call, negative if never seen. */
static double one(struct card *card, cuda_ptr at, uint64_t count, cuda_stream stream)
{
	uint64_t start, seen;

	atomic_store(&board->seen_ns, 0);
	atomic_store(&board->expect, count);
	start = now_ns();
	MUST(card, stream_write_value64, stream, at + FORWARD * sizeof(*page), count,
	     CUDA_ABI_STREAM_WRITE_VALUE_DEFAULT);
	seen = appears(&board->seen_ns);
	return seen ? (double)(seen - start) / 1000. : -1;
}

static void forward(struct card *card, cuda_ptr at, cuda_stream stream)
{
	struct ask *ask = card->ask;
	static double us[ROUNDS_MAX];
	size_t n = ask->quick ? 20 : ROUNDS_MAX, i;
	uint64_t count = 0;
	double took;

	for (i = 0; i < n; i++) {
		us[i] = one(card, at, ++count, stream);
		if (us[i] < 0) {
			answer_view(ask, "a stream's write is seen by another process",
				    "it is seen", false, "not within a second");
			return;
		}
	}
	answer_view(ask, "a stream's write is seen by another process", "it is seen", true, "yes");
	answer_number(ask, "from the call until it is seen, median", median(us, n), "us");
	answer_number(ask, "from the call until it is seen, 99 of 100", percentile(us, n, 0.99),
		      "us");
	if (card_needs_kernels(card, "a write behind a kernel of 20 ms")) {
		card_hold(card, 1000, stream);
		card_wait(card, stream);
		card_hold(card, 20000000, stream);
		took = one(card, at, ++count, stream);
		answer_number_view(ask, "a write behind a kernel of 20 ms is seen after",
				   took / 1000, "ms", "after the kernel", took > 19000);
	}
	for (i = 0; i < BURST; i++)
		MUST(card, stream_write_value64, stream, at + FORWARD * sizeof(*page), ++count,
		     CUDA_ABI_STREAM_WRITE_VALUE_DEFAULT);
	took = one(card, at, ++count, stream);
	answer_view(ask, "5000 counts in a row", "none goes down, the last is seen",
		    took >= 0 && !atomic_load(&board->backward), "%s, %u went down",
		    took >= 0 ? "the last is seen" : "the last is not seen",
		    (unsigned int)atomic_load(&board->backward));
}

static void backward(struct card *card, cuda_ptr at, cuda_stream stream)
{
	struct ask *ask = card->ask;
	static double us[ROUNDS_MAX];
	size_t n = ask->quick ? 20 : ROUNDS_MAX / 4, i;

	for (i = 0; i < n; i++) {
		cuda_result r = card->cu.stream_wait_value64(stream, at + BACK * sizeof(*page),
							     i + 1, CUDA_ABI_STREAM_WAIT_VALUE_GEQ);

		if (r != CUDA_ABI_SUCCESS) {
			answer_missing(ask, "a stream waits for another process's write", "%s",
				       card_text(card, r));
			return;
		}
		if (card->cu.stream_query(stream) != CUDA_ABI_ERROR_NOT_READY) {
			answer_view(ask, "a stream waits for another process's write", "it waits",
				    false, "it does not wait");
			return;
		}
		atomic_store(&board->woke_ns, 0);
		atomic_store(&board->wake, i + 1);
		card_wait(card, stream);
		us[i] = (double)(now_ns() - appears(&board->woke_ns)) / 1000.;
	}
	answer_view(ask, "a stream waits for another process's write", "it waits", true, "yes");
	answer_number(ask, "from the write until the stream has gone on, median", median(us, n),
		      "us");
}

/* The page is made before the processes part, so that both have it. */
static void over(struct ask *ask, enum host_kind kind)
{
	struct host_memory memory;
	const char *reason = host_memory_new(&memory, kind, 2 * MIB);
	struct card card;
	struct peer peer;
	cuda_stream stream;
	cuda_ptr at = 0;
	cuda_result r;

	if (reason) {
		answer_missing(ask, "a stream's write is seen by another process", "%s", reason);
		return;
	}
	memset(memory.p, 0, memory.bytes);
	page = memory.p;
	peer_start(ask, &peer, ask->role, daemon_polls);
	card_open(&card, ask);
	r = card.cu.mem_host_register(memory.p, memory.bytes, CUDA_ABI_MEMHOSTREGISTER_DEVICEMAP);
	answer_view(ask, "the page is registered", "works", r == CUDA_ABI_SUCCESS, "%s",
		    card_text(&card, r));
	if (r == CUDA_ABI_SUCCESS) {
		MUST(&card, mem_host_get_device_pointer, &at, memory.p, 0);
		stream = card_stream(&card);
		forward(&card, at, stream);
		backward(&card, at, stream);
		MUST(&card, mem_host_unregister, memory.p);
	}
	atomic_store(&board->expect, UINT64_MAX);
	peer_end(&peer);
}

static void over_memfd(struct ask *ask, int sock)
{
	(void)sock;
	over(ask, HOST_MEMFD);
}

static void over_module(struct ask *ask, int sock)
{
	(void)sock;
	over(ask, HOST_MODULE);
}

static void answer(struct ask *ask)
{
	struct peer peer;

	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (board == MAP_FAILED)
		answer_failed(ask, "no memory");
	peer_start(ask, &peer, host_kind_name(HOST_MEMFD), over_memfd);
	peer_end(&peer);
	memset(board, 0, sizeof(*board));
	peer_start(ask, &peer, host_kind_name(HOST_MODULE), over_module);
	peer_end(&peer);
}

const struct question question_signal = {
	"signal", "Does a stream's write reach a process that polls, and how fast?", answer
};
