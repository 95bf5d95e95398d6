// SPDX-License-Identifier: GPL-2.0-only
#include "tests/support/standin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECKED(x)                                                                      \
	do {                                                                            \
		if (!(x)) {                                                             \
			fprintf(stderr, "%s: %s: %s\n", __func__, #x, strerror(errno)); \
			abort();                                                        \
		}                                                                       \
	} while (0)

struct standin_card *standin_new(uint64_t size_bytes)
{
	const char *folder = getenv("TEST_TMP") ? getenv("TEST_TMP") :
			     getenv("TMPDIR")	? getenv("TMPDIR") :
						  "/tmp";
	struct standin_card *card = calloc(1, sizeof(*card));
	struct standin *s;
	int fd;

	CHECKED(size_bytes % STANDIN_PAGE == 0 && size_bytes / STANDIN_PAGE <= STANDIN_PAGES);
	snprintf(card->path, sizeof(card->path), "%s/standin.XXXXXX", folder);
	fd = mkostemp(card->path, O_CLOEXEC);
	CHECKED(fd >= 0);
	/* Several users may share a card. */
	CHECKED(fchmod(fd, 0666) == 0);
	CHECKED(ftruncate(fd, STANDIN_DATA + size_bytes) == 0);
	s = mmap(NULL, STANDIN_DATA + size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECKED(s != MAP_FAILED);
	close(fd);
	s->layout_bytes = sizeof(*s);
	s->image_pages = size_bytes / STANDIN_PAGE;
	s->size_bytes = size_bytes;
	s->driver_version = 12040;
	s->latency_ns = 20000;
	memcpy(s->uuid, "vram stand-in \0\1", sizeof(s->uuid));
	strcpy(s->pci, "0000:65:00.0");
	strcpy(s->name, "vram test stand-in");
	s->magic = STANDIN_MAGIC;
	card->image = s;
	CHECKED(setenv("VRAM_STANDIN", card->path, 1) == 0);
	return card;
}

void standin_free(struct standin_card *card)
{
	if (!card)
		return;
	unlink(card->path);
	munmap(card->image, STANDIN_DATA + card->image->image_pages * STANDIN_PAGE);
	free(card);
}

const char *standin_library(void)
{
	static char path[4096];
	char self[2048];
	const char *build = getenv("VRAM_BUILD");
	ssize_t n;
	char *p;

	if (build) {
		snprintf(path, sizeof(path), "%s/cuda-standin/libcuda.so.1", build);
		return path;
	}
	/* BUILD/tests/SUITE/PROGRAM */
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	CHECKED(n > 0);
	self[n] = '\0';
	p = strstr(self, "/tests/");
	CHECKED(p);
	*p = '\0';
	snprintf(path, sizeof(path), "%s/cuda-standin/libcuda.so.1", self);
	return path;
}

int standin_fault(struct standin_card *card, const char *function, uint32_t error, int64_t skip,
		  int64_t times, pid_t pid, uint32_t flags)
{
	int i;

	for (i = 0; i < STANDIN_FAULTS; i++) {
		struct standin_fault *f = &card->image->faults[i];

		if (f->armed || f->hits)
			continue;
		f->error = error;
		f->flags = flags;
		f->pid = pid;
		f->skip = skip;
		f->times = times;
		snprintf(f->function, sizeof(f->function), "%s", function);
		f->armed = 1;
		return i;
	}
	CHECKED(!"a free place for a fault");
	return -1;
}

uint64_t standin_hits(const struct standin_card *card, int fault)
{
	return card->image->faults[fault].hits;
}

void standin_clear_faults(struct standin_card *card)
{
	int i;

	for (i = 0; i < STANDIN_FAULTS; i++) {
		card->image->faults[i].armed = 0;
		card->image->faults[i].hits = 0;
	}
}

uint64_t standin_calls(const struct standin_card *card, const char *function, pid_t pid)
{
	const struct standin *s = card->image;
	unsigned int i, p;

	for (i = 0; i < STANDIN_MAX_FUNCTIONS && strcmp(s->functions[i], function) != 0; i++)
		;
	if (i == STANDIN_MAX_FUNCTIONS)
		return 0;
	if (!pid)
		return s->calls[i];
	for (p = 0; p < STANDIN_PROCS; p++)
		if (s->procs[p].pid == pid)
			return s->procs[p].calls[i];
	return 0;
}

/* Return: whether somebody has a lock on the page. */
static bool is_taken(int fd, uint64_t page)
{
	struct flock lock = { .l_type = F_WRLCK,
			      .l_whence = SEEK_SET,
			      .l_start = STANDIN_DATA + page * STANDIN_PAGE,
			      .l_len = 1 };

	CHECKED(fcntl(fd, F_OFD_GETLK, &lock) == 0);
	return lock.l_type != F_UNLCK;
}

uint64_t standin_used_bytes(const struct standin_card *card)
{
	uint64_t page, bytes = 0;
	int fd = open(card->path, O_RDWR | O_CLOEXEC);

	CHECKED(fd >= 0);
	for (page = 0; page < card->image->image_pages; page++)
		bytes += is_taken(fd, page) ? STANDIN_PAGE : 0;
	close(fd);
	return bytes;
}

bool standin_find(const struct standin_card *card, const void *bytes, size_t size, bool only_free)
{
	const unsigned char *memory = (const unsigned char *)card->image + STANDIN_DATA;
	bool found = false;
	uint64_t page;
	size_t i;
	int fd = open(card->path, O_RDWR | O_CLOEXEC);

	CHECKED(fd >= 0);
	for (page = 0; !found && page < card->image->image_pages; page++) {
		if (only_free && is_taken(fd, page))
			continue;
		for (i = 0; !found && i + size <= STANDIN_PAGE; i += size)
			found = memcmp(memory + page * STANDIN_PAGE + i, bytes, size) == 0;
	}
	close(fd);
	return found;
}
