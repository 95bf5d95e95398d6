// SPDX-License-Identifier: GPL-2.0-only
/*
 * Question 6: what do cuMemGetInfo and NVML show of exported and imported chunks, in whose name,
 * and after the exporter has let go?
 *
 * Free memory is of the whole card: other programs on it make these figures wrong. They are said
 * as differences to the step before.
 */
#include <stdio.h>
#include <unistd.h>

#include "tests/gpu/card.h"
#include "tests/gpu/listed.h"

enum step {
	OPEN = 1,
	IMPORT,
	MAP,
	LET_GO
};

static void importer(struct ask *ask, int sock)
{
	cuda_mem mem = 0;
	struct card card;
	cuda_ptr at = 0;
	size_t bytes = 0;
	int fd;

	for (;;) {
		uint64_t step = hear(ask, sock);

		if (step == OPEN) {
			card_open(&card, ask);
		} else if (step == IMPORT) {
			bytes = hear_fds(ask, sock, &fd, 1);
			mem = card_import(&card, fd);
			close(fd);
		} else if (step == MAP) {
			at = card_map(&card, mem, bytes, true);
			MUST(&card, memset_d8, at, 0x77, bytes);
			MUST(&card, ctx_synchronize);
		} else {
			card_unmap(&card, at, bytes);
			MUST(&card, mem_release, mem);
			tell(ask, sock, step);
			return;
		}
		tell(ask, sock, step);
	}
}

struct books {
	struct card *card;
	struct listed listed;
	pid_t exporter, importer;
	size_t free_before;
};

static void say_process(struct books *b, const char *step, const char *who, pid_t pid)
{
	uint64_t bytes = 0;
	char what[96];
	size_t n = 0;

	snprintf(what, sizeof(what), "NVML: the %s, %s", who, step);
	switch (listed_process(&b->listed, pid, &bytes, &n)) {
	case LISTED_PRESENT:
		if (bytes == UINT64_MAX)
			answer_text(b->card->ask, what, "listed, without a size");
		else
			answer_number(b->card->ask, what, (double)bytes / MIB, "MiB");
		break;
	case LISTED_ABSENT:
		answer_text(b->card->ask, what, "not listed (%zu are)", n);
		break;
	default:
		answer_missing(b->card->ask, what, "NVML does not say");
	}
}

/* Free memory since the step before, and what NVML says now. wanted: MiB, or anything if below -1e6. */
static void say(struct books *b, const char *step, double wanted, const char *assumed)
{
	size_t now = card_free_bytes(b->card);
	double mib = ((double)now - (double)b->free_before) / MIB;
	char what[96];

	snprintf(what, sizeof(what), "free memory, %s", step);
	if (assumed)
		/* Contexts keep small things of their own. */
		answer_number_view(b->card->ask, what, mib, "MiB", assumed,
				   mib > wanted - 5 && mib < wanted + 5);
	else
		answer_number(b->card->ask, what, mib, "MiB");
	if (b->listed.nvml) {
		say_process(b, step, "exporter", b->exporter);
		say_process(b, step, "importer", b->importer);
	}
	b->free_before = now;
}

static void walk(struct books *b, struct peer *peer)
{
	struct ask *ask = b->card->ask;
	size_t bytes = card_size(b->card, 256 * MIB, 1);
	double mib = (double)bytes / MIB;
	char assumed[64];
	cuda_mem mem;
	cuda_ptr at;
	int fd;

	tell(ask, peer->sock, OPEN);
	hear(ask, peer->sock);
	say(b, "when a second process has made its context", 0, NULL);

	snprintf(assumed, sizeof(assumed), "%+.0f MiB", -mib);
	at = card_alloc(b->card, bytes, &mem);
	fd = card_export(b->card, mem);
	say(b, "when a chunk has been made and exported", -mib, assumed);

	tell(ask, peer->sock, IMPORT);
	tell_fds(ask, peer->sock, bytes, &fd, 1);
	hear(ask, peer->sock);
	say(b, "when it has been imported", 0, "+0 MiB");

	tell(ask, peer->sock, MAP);
	hear(ask, peer->sock);
	say(b, "when it has been mapped there", 0, "+0 MiB");

	card_unmap(b->card, at, bytes);
	MUST(b->card, mem_release, mem);
	say(b, "when the exporter has let go but for the descriptor", 0, "+0 MiB");
	close(fd);
	say(b, "when the exporter has closed that, too", 0, "+0 MiB: the importer keeps it");

	tell(ask, peer->sock, LET_GO);
	hear(ask, peer->sock);
	snprintf(assumed, sizeof(assumed), "%+.0f MiB", mib);
	say(b, "when the importer has let go", mib, assumed);
	peer_end(peer);
	say(b, "when the importer has ended", 0, NULL);
}

static void answer(struct ask *ask)
{
	struct books books = { .exporter = getpid() };
	char pci[32] = "";
	struct card card;
	struct peer peer;

	peer_start(ask, &peer, "importer", importer);
	books.importer = peer.pid;
	books.card = &card;
	card_open(&card, ask);
	MUST(&card, device_get_pci_bus_id, pci, sizeof(pci), card.device);
	listed_open(&books.listed, pci);
	if (!books.listed.nvml)
		answer_missing(ask, "what NVML shows", "%s", books.listed.reason);
	books.free_before = card_free_bytes(&card);
	walk(&books, &peer);
}

const struct question question_accounting = { "accounting",
					      "What is shown of chunks that two processes have?",
					      answer };
