// SPDX-License-Identifier: GPL-2.0-only
/*
 * Question 5: what does read-only access to an imported chunk hold against, and can a hostile
 * importer write? And beside it: is a chunk zero when it is made, whoever had the memory before?
 *
 * What ends in a dead context is tried in a process of its own.
 */
#include <stdio.h>
#include <unistd.h>

#include "tests/gpu/card.h"

#define PLANTED	 0x5eed5eedu
#define HOSTILE	 0xbad0bad0u
#define SOMEBODY 65534 /* a user that owns nothing */

enum importer {
	READS,
	WRITES_BY_COPY,
	WRITES_BY_KERNEL,
	OPENS_FOR_WRITING, /* asks for write access at once */
	RAISES,		   /* asks for read access first */
	ANOTHER_USER,
	IMPORTERS
};

static const char *const names[IMPORTERS] = {
	[READS] = "an importer with read access",
	[WRITES_BY_COPY] = "an importer with read access that copies into it",
	[WRITES_BY_KERNEL] = "an importer with read access whose kernel writes",
	[OPENS_FOR_WRITING] = "a hostile importer",
	[RAISES] = "an importer that raises its access",
	[ANOTHER_USER] = "an importer that is another user",
};

static enum importer importer;

static void try_reading(struct card *card, cuda_ptr at, size_t bytes)
{
	struct cuda_mem_location here = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, card->device };
	unsigned long long flags = 0;

	answer_view(card->ask, "reads what the exporter wrote", "yes",
		    card_words_other(card, at, bytes, PLANTED) == 0, "%s",
		    card_words_other(card, at, bytes, PLANTED) ? "no" : "yes");
	if (card_needs_kernels(card, "a kernel reads what the exporter wrote")) {
		bool sees = card_sees(card, at, bytes, PLANTED);

		answer_view(card->ask, "a kernel reads what the exporter wrote", "yes", sees, "%s",
			    sees ? "yes" : "no");
	}
	MUST(card, mem_get_access, &flags, &here, at);
	answer_view(card->ask, "the driver says its access is", "read",
		    flags == CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READ, "%s",
		    flags == CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READ      ? "read" :
		    flags == CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE ? "read and write" :
									"another");
}

static void try_copying(struct card *card, cuda_ptr at)
{
	uint32_t words[4] = { HOSTILE, HOSTILE, HOSTILE, HOSTILE };
	cuda_result r;

	if (!card_may_fault(card, "the copy"))
		return;
	r = card->cu.memcpy_htod(at, words, sizeof(words));
	if (r == CUDA_ABI_SUCCESS)
		r = card->cu.ctx_synchronize();
	answer_view(card->ask, "the copy", "an error", r != CUDA_ABI_SUCCESS, "%s",
		    card_text(card, r));
}

static void try_kernel(struct card *card, cuda_ptr at, size_t bytes)
{
	cuda_result r;

	if (!card_may_fault(card, "the kernel") || !card_needs_kernels(card, "the kernel"))
		return;
	card_fill(card, at, bytes, HOSTILE, NULL);
	r = card->cu.ctx_synchronize();
	answer_view(card->ask, "the kernel", "an error that ends its context", cuda_is_sticky(r),
		    "%s", card_text(card, r));
}

static void import(struct ask *ask, int sock)
{
	bool write = importer == OPENS_FOR_WRITING;
	char reason[CUDA_DRIVER_REASON_SIZE];
	cuda_mem mem = 0;
	struct card card;
	cuda_result r;
	size_t bytes;
	cuda_ptr at;
	int fd;

	bytes = hear_fds(ask, sock, &fd, 1);
	if (importer == ANOTHER_USER && (setgid(SOMEBODY) < 0 || setuid(SOMEBODY) < 0)) {
		answer_missing(ask, "the import", "becoming another user needs root");
		return;
	}
	if (!card_driver(&card, ask, reason, sizeof(reason))) {
		/* Another user need not see what we see. */
		if (importer != ANOTHER_USER)
			answer_failed(ask, "%s", reason);
		answer_missing(ask, "the import", "%s", reason);
		return;
	}
	card_context(&card);
	r = card.cu.mem_import(&mem, (void *)(uintptr_t)fd,
			       CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	if (importer == ANOTHER_USER)
		answer_view(ask, "the import", "works: a descriptor is all it takes",
			    r == CUDA_ABI_SUCCESS, "%s", card_text(&card, r));
	else
		card_must(&card, "mem_import", r);
	if (r != CUDA_ABI_SUCCESS)
		return;
	at = card_map(&card, mem, bytes, write);
	switch (importer) {
	case WRITES_BY_COPY:
		try_copying(&card, at);
		break;
	case WRITES_BY_KERNEL:
		try_kernel(&card, at, bytes);
		break;
	case RAISES:
		r = card_access(&card, at, bytes, true);
		answer_view(ask, "it is given write access", "yes: the driver cannot refuse",
			    r == CUDA_ABI_SUCCESS, "%s", card_text(&card, r));
		if (r == CUDA_ABI_SUCCESS)
			MUST(&card, memset_d8, at, 0xee, bytes);
		break;
	case OPENS_FOR_WRITING:
		MUST(&card, memset_d8, at, 0xee, bytes);
		break;
	default:
		try_reading(&card, at, bytes);
	}
	/* A process that ends takes work along that it has not waited for. */
	card.cu.ctx_synchronize();
}

static void answer_readonly(struct ask *ask)
{
	struct peer peers[IMPORTERS];
	struct card card;
	cuda_stream stream;
	size_t bytes;
	cuda_ptr at;
	cuda_mem mem;
	int fd;

	for (importer = 0; importer < IMPORTERS; importer++)
		peer_start(ask, &peers[importer], names[importer], import);
	card_open(&card, ask);
	bytes = card_size(&card, 2 * MIB, 1);
	at = card_alloc(&card, bytes, &mem);
	stream = card_stream(&card);
	fd = card_export(&card, mem);
	for (importer = 0; importer < IMPORTERS; importer++) {
		bool may_write = importer == OPENS_FOR_WRITING || importer == RAISES;
		uint64_t other;

		MUST(&card, memset_d32_async, at, PLANTED, bytes / sizeof(uint32_t), stream);
		card_wait(&card, stream);
		tell_fds(ask, peers[importer].sock, bytes, &fd, 1);
		peer_end(&peers[importer]);
		other = card_words_other(&card, at, bytes, PLANTED);
		ask->role = names[importer];
		answer_view(ask, "the exporter's bytes afterwards",
			    may_write ? "changed" : "as they were", !!other == may_write, "%s",
			    other ? "changed" : "as they were");
		ask->role = "";
	}
}

const struct question question_readonly = { "readonly", "What does read-only access hold against?",
					    answer_readonly };

/* ---- zero --------------------------------------------------------------------- */

/* Words of the pattern among new memory, and words that are not zero. */
static void look(struct card *card, cuda_ptr at, size_t bytes, uint64_t *dirty, uint64_t *planted)
{
	*dirty += card_words_other(card, at, bytes, 0);
	*planted += bytes / sizeof(uint32_t) - card_words_other(card, at, bytes, PLANTED);
}

/* Plants, gives back, and makes anew, by the given number of bytes. */
static void again(struct ask *ask, struct card *card, size_t bytes, unsigned int rounds,
		  const char *how)
{
	uint64_t dirty = 0, planted = 0;
	cuda_stream stream = card_stream(card);
	char what[96];

	for (unsigned int i = 0; i < rounds; i++) {
		cuda_mem mem;
		cuda_ptr at = card_alloc(card, bytes, &mem);

		look(card, at, bytes, &dirty, &planted);
		MUST(card, memset_d32_async, at, PLANTED, bytes / sizeof(uint32_t), stream);
		card_wait(card, stream);
		card_unmap(card, at, bytes);
		MUST(card, mem_release, mem);
	}
	snprintf(what, sizeof(what), "%s: words not zero in new memory", how);
	answer_number_view(ask, what, (double)dirty, "", "0", dirty == 0);
	snprintf(what, sizeof(what), "%s: words of what was there before", how);
	answer_number_view(ask, what, (double)planted, "", "0", planted == 0);
	MUST(card, stream_destroy, stream);
}

static void same_process(struct ask *ask, int sock)
{
	struct card card;

	(void)sock;
	card_open(&card, ask);
	card_settle(&card, ask->bytes);
	again(ask, &card, card_size(&card, 32 * MIB, 1), ask->quick ? 2 : 16,
	      "released and created again");
	again(ask, &card, card_size(&card, ask->bytes, 1), 2, "the same, all at once");
}

/* Memory that a process has planted and left behind by ending. */
static void plant_and_end(struct ask *ask, int sock)
{
	struct card card;
	cuda_stream stream;
	cuda_ptr at;
	cuda_mem mem;
	size_t bytes;

	(void)sock;
	card_open(&card, ask);
	card_settle(&card, ask->bytes);
	bytes = card_size(&card, ask->bytes, 1);
	at = card_alloc(&card, bytes, &mem);
	stream = card_stream(&card);
	MUST(&card, memset_d32_async, at, PLANTED, bytes / sizeof(uint32_t), stream);
	card_wait(&card, stream);
}

static void after_another(struct ask *ask, int sock)
{
	struct card card;

	(void)sock;
	card_open(&card, ask);
	card_settle(&card, ask->bytes);
	again(ask, &card, card_size(&card, ask->bytes, 1), 1, "after another process");
}

static void answer_zero(struct ask *ask)
{
	struct peer peer;

	peer_start(ask, &peer, "", same_process);
	peer_end(&peer);
	peer_start(ask, &peer, "", plant_and_end);
	peer_end(&peer);
	peer_start(ask, &peer, "", after_another);
	peer_end(&peer);
}

const struct question question_zero = { "zero", "Is a new chunk zero?", answer_zero };
