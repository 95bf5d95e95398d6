// SPDX-License-Identifier: GPL-2.0-only
/*
 * Question 4: which host memory can be registered, what does that cost, and how fast are copies
 * from and to it, each direction alone and both at once?
 *
 * Every kind is asked in a process of its own: registering takes memory away from the machine until
 * it is undone.
 */
#include <string.h>
#include <sys/mman.h>

#include "tests/gpu/card.h"
#include "tests/gpu/host_memory.h"

enum {
	CHUNK = 32 * MIB
};

struct copies {
	cuda_ptr to, from; /* on the card */
	cuda_stream up, down;
	char *host;
	size_t bytes; /* of host; the first half goes up, the second comes down */
	size_t chunk;
};

/* Bytes a second, of both directions added up. */
static double copy(struct card *card, struct copies *c, bool up, bool down, uint64_t ns)
{
	uint64_t start = now_ns(), end, total = 0;
	size_t half = c->bytes / 2;

	half -= half % c->chunk;
	do {
		for (size_t i = 0; i < half; i += c->chunk) {
			if (up)
				MUST(card, memcpy_htod_async, c->to, c->host + i, c->chunk, c->up);
			if (down)
				MUST(card, memcpy_dtoh_async, c->host + half + i, c->from, c->chunk,
				     c->down);
			total += c->chunk * ((size_t)up + (size_t)down);
		}
		card_wait(card, c->up);
		card_wait(card, c->down);
		end = now_ns();
	} while (end - start < ns);
	return (double)total * 1e9 / (double)(end - start);
}

static void rates(struct card *card, void *host, size_t bytes)
{
	struct ask *ask = card->ask;
	uint64_t ns = ask->quick ? 20000000 : 500000000;
	struct copies c = { .host = host, .bytes = bytes };
	double up, down, both;
	cuda_mem mem[2];

	c.chunk = card_size(card, CHUNK, 4);
	while (c.chunk > bytes / 2)
		c.chunk /= 2;
	c.to = card_alloc(card, card_size(card, CHUNK, 4), &mem[0]);
	c.from = card_alloc(card, card_size(card, CHUNK, 4), &mem[1]);
	c.up = card_stream(card);
	c.down = card_stream(card);
	copy(card, &c, true, true, 0);
	up = copy(card, &c, true, false, ns);
	down = copy(card, &c, false, true, ns);
	both = copy(card, &c, true, true, ns);
	answer_number(ask, "to the card", up / 1e9, "GB/s");
	answer_number(ask, "from the card", down / 1e9, "GB/s");
	answer_number(ask, "both at once, together", both / 1e9, "GB/s");
	answer_number_view(ask, "both at once, of the better one alone",
			   both / (up > down ? up : down), "", "at least 1.6",
			   both >= 1.6 * (up > down ? up : down));
}

static size_t wanted(struct ask *ask)
{
	return ask->quick ? 16 * MIB : (size_t)512 * MIB;
}

static double per_gib(uint64_t ns, size_t bytes)
{
	return (double)ns / 1e6 * (double)(1ull << 30) / (double)bytes;
}

static enum host_kind kind;

static void registered(struct ask *ask, int sock)
{
	struct host_memory memory;
	const char *reason = host_memory_new(&memory, kind, wanted(ask));
	struct card card;
	uint64_t start;
	cuda_result r;

	(void)sock;
	if (reason) {
		answer_missing(ask, "registering", "%s", reason);
		return;
	}
	if (kind == HOST_ANONYMOUS_THP || kind == HOST_MEMFD_THP) {
		if (!host_memory_is_huge(&memory)) {
			answer_missing(ask, "registering", "the kernel gave no huge pages");
			return;
		}
	}
	card_open(&card, ask);
	start = now_ns();
	r = card.cu.mem_host_register(memory.p, memory.bytes, CUDA_ABI_MEMHOSTREGISTER_PORTABLE);
	answer_view(ask, "registering", "works", r == CUDA_ABI_SUCCESS, "%s", card_text(&card, r));
	if (r != CUDA_ABI_SUCCESS)
		return;
	answer_number(ask, "registering, a GiB", per_gib(now_ns() - start, memory.bytes), "ms");
	rates(&card, memory.p, memory.bytes);
	start = now_ns();
	MUST(&card, mem_host_unregister, memory.p);
	answer_number(ask, "unregistering, a GiB", per_gib(now_ns() - start, memory.bytes), "ms");
	host_memory_free(&memory);
	card_close(&card);
}

static void drivers_own(struct ask *ask, int sock)
{
	size_t bytes = wanted(ask);
	struct card card;
	uint64_t start;
	void *p;

	(void)sock;
	card_open(&card, ask);
	start = now_ns();
	p = card_pinned(&card, bytes);
	answer_number(ask, "allocating, a GiB", per_gib(now_ns() - start, bytes), "ms");
	memset(p, 0x5a, bytes);
	rates(&card, p, bytes);
	MUST(&card, mem_free_host, p);
	card_close(&card);
}

/* What a client maps read-only can be the source of copies only if the driver asks for no more. */
static void read_only(struct ask *ask, int sock)
{
	struct host_memory memory;
	const char *reason = host_memory_new(&memory, HOST_MEMFD, 2 * MIB);
	struct card card;
	cuda_result r;
	int can = 0;
	void *p;

	(void)sock;
	if (reason)
		answer_failed(ask, "%s", reason);
	p = mmap(NULL, memory.bytes, PROT_READ, MAP_SHARED, memory.fd, 0);
	card_open(&card, ask);
	MUST(&card, device_get_attribute, &can,
	     CUDA_ABI_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, card.device);
	r = card.cu.mem_host_register(p, memory.bytes, 0);
	answer_view(ask, "registering without a flag", "refused", r != CUDA_ABI_SUCCESS, "%s",
		    card_text(&card, r));
	if (r == CUDA_ABI_SUCCESS)
		MUST(&card, mem_host_unregister, p);
	r = card.cu.mem_host_register(p, memory.bytes, CUDA_ABI_MEMHOSTREGISTER_READ_ONLY);
	answer_view(ask, "registering as read-only", "works where the attribute says so",
		    (r == CUDA_ABI_SUCCESS) == !!can, "%s (attribute %d)", card_text(&card, r),
		    can);
}

static void answer(struct ask *ask)
{
	struct peer peer;

	peer_start(ask, &peer, "the driver's own", drivers_own);
	peer_end(&peer);
	for (kind = 0; kind < HOST_KINDS; kind++) {
		peer_start(ask, &peer, host_kind_name(kind), registered);
		peer_end(&peer);
	}
	peer_start(ask, &peer, "memfd, mapped read-only", read_only);
	peer_end(&peer);
}

const struct question question_pinned = {
	"pinned", "Which host memory can be pinned, at what cost, and how fast are copies?", answer
};
