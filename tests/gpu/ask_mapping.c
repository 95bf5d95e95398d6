// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the driver allows of mappings, what waits for kernels that run, and what it says of pointers
 * into chunks.
 *
 * A call "waits" if it returned only when a kernel of 300 ms, which has nothing to do with its memory,
 * was over, or most of it.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/gpu/card.h"

#define VALUE	0x1234567u
#define HOLD_NS 300000000ull

/* ---- what is allowed ------------------------------------------------------------- */

static void two_addresses(struct card *card)
{
	struct ask *ask = card->ask;
	size_t bytes = card->granularity;
	cuda_stream stream = card_stream(card);
	cuda_mem mem, retained = 0;
	cuda_ptr a, b, c;
	cuda_result r;

	a = card_alloc(card, bytes, &mem);
	b = card_map(card, mem, bytes, true);
	c = card_map(card, mem, bytes, false);
	MUST(card, memset_d32_async, a, VALUE, bytes / sizeof(uint32_t), stream);
	card_wait(card, stream);
	answer_view(ask, "one chunk at two addresses", "both show the same bytes",
		    card_words_other(card, b, bytes, VALUE) == 0, "%s",
		    card_words_other(card, b, bytes, VALUE) ? "they differ" :
							      "both show the same bytes");
	answer_view(ask, "the same, one of them read-only", "shows the same bytes",
		    card_words_other(card, c, bytes, VALUE) == 0, "%s",
		    card_words_other(card, c, bytes, VALUE) ? "they differ" :
							      "shows the same bytes");
	r = card->cu.mem_retain(&retained, (void *)(uintptr_t)(a + bytes / 2));
	answer_view(ask, "the handle of an address inside a mapping", "works",
		    r == CUDA_ABI_SUCCESS, "%s%s", card_text(card, r),
		    r != CUDA_ABI_SUCCESS ? "" :
		    retained == mem	  ? ", the same handle" :
					    ", another handle");
	if (r == CUDA_ABI_SUCCESS)
		MUST(card, mem_release, retained);
	/* Without the handle, by its mappings alone. */
	card_unmap(card, a, bytes);
	MUST(card, mem_release, mem);
	answer_view(ask, "a mapping after the handle is released", "keeps the bytes",
		    card_words_other(card, b, bytes, VALUE) == 0, "%s",
		    card_words_other(card, b, bytes, VALUE) ? "lost" : "keeps the bytes");
	card_unmap(card, b, bytes);
	card_unmap(card, c, bytes);
	MUST(card, stream_destroy, stream);
}

static void refused(struct ask *ask, struct card *card, const char *what, cuda_result r)
{
	answer_view(ask, what, "refused", r != CUDA_ABI_SUCCESS, "%s", card_text(card, r));
}

static void edges(struct card *card)
{
	struct ask *ask = card->ask;
	size_t g = card->granularity;
	cuda_ptr at = 0;
	cuda_mem mem, small;
	cuda_result r;

	mem = card_create(card, 2 * g);
	small = card_create(card, g);
	MUST(card, mem_address_reserve, &at, 4 * g, 0, 0, 0);
	refused(ask, card, "a mapping from inside a chunk", card->cu.mem_map(at, g, g, mem, 0));
	MUST(card, mem_map, at, 2 * g, 0, mem, 0);
	refused(ask, card, "a mapping over another", card->cu.mem_map(at, g, 0, small, 0));
	card_must(card, "mem_set_access", card_access(card, at, 2 * g, true));
	refused(ask, card, "unmapping half of a chunk", card->cu.mem_unmap(at, g));
	MUST(card, mem_map, at + 2 * g, g, 0, small, 0);
	card_must(card, "mem_set_access", card_access(card, at + 2 * g, g, true));
	r = card->cu.mem_unmap(at, 3 * g);
	answer_view(ask, "unmapping two chunks in one call", "works", r == CUDA_ABI_SUCCESS, "%s",
		    card_text(card, r));
	if (r == CUDA_ABI_SUCCESS) {
		/* A layer of which a chunk has changed places: mapped with a hole. */
		MUST(card, mem_map, at, g, 0, small, 0);
		refused(ask, card, "access to a run with a hole",
			card_access(card, at, 2 * g, true));
	}
}

static void allowed(struct ask *ask, int sock)
{
	struct card card;

	(void)sock;
	card_open(&card, ask);
	two_addresses(&card);
	edges(&card);
}

/* ---- what waits ------------------------------------------------------------------ */

/* Everything that a call needs, made before the kernel starts. */
struct ready {
	cuda_ptr spare;	  /* reserved, nothing there */
	cuda_ptr mapped;  /* a chunk without access */
	cuda_ptr open;	  /* a chunk with access */
	cuda_mem mem[3];  /* spare, mapped, open */
	cuda_ptr classic; /* of cuMemAlloc */
	void *host;	  /* not registered */
	void *pinned;	  /* registered */
	int fd;
	cuda_mem made, imported;
	cuda_ptr allocated, reserved;
	size_t bytes;
};

enum call {
	RESERVE,
	CREATE,
	EXPORT,
	IMPORT,
	MAP,
	SET_ACCESS,
	SET_ACCESS_AGAIN,
	UNMAP,
	RELEASE,
	ALLOC,
	FREE,
	REGISTER,
	UNREGISTER,
	GET_INFO,
	CALLS
};

static const struct {
	const char *name;
	const char *assumed; /* NULL: nothing is */
} calls[CALLS] = {
	[RESERVE] = { "reserve addresses", "does not wait" },
	[CREATE] = { "create", "does not wait" },
	[EXPORT] = { "export", "does not wait" },
	[IMPORT] = { "import", "does not wait" },
	[MAP] = { "map", "does not wait" },
	[SET_ACCESS] = { "set access", NULL },
	[SET_ACCESS_AGAIN] = { "set access that is there already", NULL },
	[UNMAP] = { "unmap", NULL },
	[RELEASE] = { "release", NULL },
	[ALLOC] = { "cuMemAlloc", NULL },
	[FREE] = { "cuMemFree", NULL },
	[REGISTER] = { "register host memory", NULL },
	[UNREGISTER] = { "unregister host memory", NULL },
	[GET_INFO] = { "cuMemGetInfo", "does not wait" },
};

static void get_ready(struct card *card, struct ready *r)
{
	memset(r, 0, sizeof(*r));
	r->bytes = card->granularity;
	for (int i = 0; i < 3; i++)
		r->mem[i] = card_create(card, r->bytes);
	MUST(card, mem_address_reserve, &r->spare, r->bytes, 0, 0, 0);
	MUST(card, mem_address_reserve, &r->mapped, r->bytes, 0, 0, 0);
	MUST(card, mem_map, r->mapped, r->bytes, 0, r->mem[1], 0);
	r->open = card_map(card, r->mem[2], r->bytes, true);
	MUST(card, mem_alloc, &r->classic, 8 * MIB);
	r->fd = card_export(card, r->mem[0]);
	r->host = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r->pinned = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(r->host, 1, 2 * MIB);
	memset(r->pinned, 1, 2 * MIB);
	MUST(card, mem_host_register, r->pinned, 2 * MIB, 0);
}

static cuda_result do_call(struct card *card, struct ready *r, enum call call)
{
	size_t a, b;
	int fd = -1;
	cuda_result result;

	switch (call) {
	case RESERVE:
		return card->cu.mem_address_reserve(&r->reserved, 64 * MIB, 0, 0, 0);
	case CREATE:
		return card_try_create(card, r->bytes, &r->made);
	case EXPORT:
		result = card->cu.mem_export(&fd, r->mem[1],
					     CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
		if (result == CUDA_ABI_SUCCESS)
			close(fd);
		return result;
	case IMPORT:
		return card->cu.mem_import(&r->imported, (void *)(uintptr_t)r->fd,
					   CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	case MAP:
		return card->cu.mem_map(r->spare, r->bytes, 0, r->mem[0], 0);
	case SET_ACCESS:
		return card_access(card, r->mapped, r->bytes, true);
	case SET_ACCESS_AGAIN:
		return card_access(card, r->open, r->bytes, true);
	case UNMAP:
		return card->cu.mem_unmap(r->open, r->bytes);
	case RELEASE:
		return card->cu.mem_release(r->mem[0]);
	case ALLOC:
		return card->cu.mem_alloc(&r->allocated, 8 * MIB);
	case FREE:
		return card->cu.mem_free(r->classic);
	case REGISTER:
		return card->cu.mem_host_register(r->host, 2 * MIB, 0);
	case UNREGISTER:
		return card->cu.mem_host_unregister(r->pinned);
	default:
		return card->cu.mem_get_info(&a, &b);
	}
}

/* Leaves nothing: what a call has made or taken apart is known by which call it was. */
static void clear_away(struct card *card, struct ready *r, enum call call)
{
	if (call == RESERVE)
		MUST(card, mem_address_free, r->reserved, 64 * MIB);
	if (call == CREATE)
		MUST(card, mem_release, r->made);
	if (call == IMPORT)
		MUST(card, mem_release, r->imported);
	if (call == ALLOC)
		MUST(card, mem_free, r->allocated);
	if (call != FREE)
		MUST(card, mem_free, r->classic);
	if (call == MAP)
		MUST(card, mem_unmap, r->spare, r->bytes);
	if (call != UNMAP)
		MUST(card, mem_unmap, r->open, r->bytes);
	MUST(card, mem_unmap, r->mapped, r->bytes);
	for (int i = call == RELEASE; i < 3; i++)
		MUST(card, mem_release, r->mem[i]);
	MUST(card, mem_address_free, r->spare, r->bytes);
	MUST(card, mem_address_free, r->mapped, r->bytes);
	MUST(card, mem_address_free, r->open, r->bytes);
	if (call == REGISTER)
		MUST(card, mem_host_unregister, r->host);
	if (call != UNREGISTER)
		MUST(card, mem_host_unregister, r->pinned);
	munmap(r->host, 2 * MIB);
	munmap(r->pinned, 2 * MIB);
	close(r->fd);
}

static void time_calls(struct card *card, struct peer *peer, const char *beside)
{
	struct ask *ask = card->ask;
	cuda_stream stream = card_stream(card);
	struct ready ready;

	for (int call = 0; call < CALLS; call++) {
		double ms, plain;
		uint64_t start;
		cuda_result r;
		char what[96];
		bool waits;

		get_ready(card, &ready);
		start = now_ns();
		r = do_call(card, &ready, call);
		plain = (double)(now_ns() - start) / 1e6;
		card_must(card, calls[call].name, r);
		clear_away(card, &ready, call);

		get_ready(card, &ready);
		if (peer) {
			tell(ask, peer->sock, 1);
			hear(ask, peer->sock);
		} else {
			card_hold(card, HOLD_NS, stream);
		}
		sleep_ns(10000000);
		start = now_ns();
		r = do_call(card, &ready, call);
		ms = (double)(now_ns() - start) / 1e6;
		if (peer)
			hear(ask, peer->sock);
		else
			card_wait(card, stream);
		card_must(card, calls[call].name, r);
		clear_away(card, &ready, call);
		waits = ms > (double)HOLD_NS / 2e6;
		snprintf(what, sizeof(what), "%s beside %s", calls[call].name, beside);
		if (calls[call].assumed)
			answer_view(ask, what, calls[call].assumed, !waits,
				    "%s: %.3f ms, else %.3f", waits ? "waits" : "does not wait", ms,
				    plain);
		else
			answer_text(ask, what, "%s: %.3f ms, else %.3f",
				    waits ? "waits" : "does not wait", ms, plain);
	}
}

static void hold_when_told(struct ask *ask, int sock)
{
	cuda_stream stream;
	struct card card;

	card_open(&card, ask);
	if (!card_kernels(&card)) {
		tell(ask, sock, 0);
		return;
	}
	stream = card_stream(&card);
	tell(ask, sock, 1);
	while (hear(ask, sock)) {
		card_hold(&card, HOLD_NS, stream);
		tell(ask, sock, 1);
		card_wait(&card, stream);
		tell(ask, sock, 1);
	}
}

static void waiting(struct ask *ask, int sock)
{
	struct card card;
	struct peer peer;

	(void)sock;
	peer_start(ask, &peer, "another process's kernel", hold_when_told);
	card_open(&card, ask);
	if (!hear(ask, peer.sock)) {
		card_needs_kernels(&card, "calls beside a kernel");
		return;
	}
	card_kernels(&card);
	time_calls(&card, NULL, "a kernel of this context");
	time_calls(&card, &peer, "a kernel of another process");
	tell(ask, peer.sock, 0);
	peer_end(&peer);
}

/* Unmaps what a kernel is writing to. */
static void pulled_away(struct ask *ask, int sock)
{
	cuda_stream stream;
	struct card card;
	uint64_t start;
	cuda_result unmap, after;
	cuda_mem mem;
	cuda_ptr at;
	double ms;

	(void)sock;
	card_open(&card, ask);
	if (!card_may_fault(&card, "unmapping what a kernel uses") ||
	    !card_needs_kernels(&card, "unmapping what a kernel uses"))
		return;
	at = card_alloc(&card, card.granularity, &mem);
	stream = card_stream(&card);
	card_scribble(&card, at, HOLD_NS, stream);
	sleep_ns(50000000);
	start = now_ns();
	unmap = card.cu.mem_unmap(at, card.granularity);
	ms = (double)(now_ns() - start) / 1e6;
	answer_text(ask, "unmapping what a kernel uses", "%s, %s: %.3f ms", card_text(&card, unmap),
		    ms > (double)HOLD_NS / 2e6 ? "waits for the kernel" : "does not wait", ms);
	after = card.cu.stream_synchronize(stream);
	answer_text(ask, "and the kernel", "%s", card_text(&card, after));
}

static void answer_mapping(struct ask *ask)
{
	struct peer peer;

	peer_start(ask, &peer, "", allowed);
	peer_end(&peer);
	peer_start(ask, &peer, "", waiting);
	peer_end(&peer);
	peer_start(ask, &peer, "", pulled_away);
	peer_end(&peer);
}

const struct question question_mapping = {
	"mapping", "What of mappings is allowed, and which calls wait for kernels?", answer_mapping
};
