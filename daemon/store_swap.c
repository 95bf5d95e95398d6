// SPDX-License-Identifier: GPL-2.0-only
/*
 * The swap file of buffers. It has no name (O_TMPFILE), so its space is given back however the daemon
 * ends, and it is preallocated, so that writing to it cannot run out of space. A slot's
 * content is private to one session; it is overwritten before it is ever read for another, because a slot is
 * only read after it was written (the pager knows which chunks are in swap).
 */
#include "daemon/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "daemon/log.h"
#include "daemon/store_private.h"

struct swap {
	struct store *store;
	int fd;
	uint32_t slot_bytes;
	uint32_t n_slots;
	uint32_t n_used;
	uint32_t next; /* where to look for a free slot first */
	uint64_t *sums;
	uint8_t *used;
};

static int open_nameless(const char *dir, bool direct)
{
	char path[4096];
	int flags = O_RDWR | O_CLOEXEC | (direct ? O_DIRECT : 0);
	int fd = open(dir, O_TMPFILE | flags, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd < 0 ? -errno : fd;
	snprintf(path, sizeof(path), "%s/swap.XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC | (direct ? O_DIRECT : 0));
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

/* As mkdir -p, 0700. Return: 0 or -errno. */
static int make_dirs(const char *dir)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	for (char *at = path + 1; *at; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		if (mkdir(path, 0700) && errno != EEXIST)
			return -errno;
		*at = '/';
	}
	return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

/* Under the shipped unit all but its own folders is read-only. */
static const char *hint(int r)
{
	return r == -EROFS ?
		       "; `systemctl edit vramd`, [Service], ReadWritePaths= lets the unit write there" :
		       "";
}

int swap_new(struct swap **out, struct store *store, const char *dir, uint64_t size_bytes,
	     uint32_t slot_bytes)
{
	uint64_t n_slots = size_bytes / slot_bytes;
	struct swap *swap;
	int r;

	if (n_slots == 0 || n_slots > UINT32_MAX / 2)
		return -EINVAL;
	swap = calloc(1, sizeof(*swap));
	if (!swap)
		return -ENOMEM;
	swap->store = store;
	swap->slot_bytes = slot_bytes;
	swap->n_slots = (uint32_t)n_slots;
	swap->sums = calloc(n_slots, sizeof(*swap->sums));
	swap->used = calloc(n_slots, 1);
	if (!swap->sums || !swap->used) {
		r = -ENOMEM;
		goto err_free;
	}
	r = make_dirs(dir);
	if (r < 0) {
		log_error("swap.path: cannot make %s: %s%s", dir, strerror(-r), hint(r));
		goto err_free;
	}
	swap->fd = open_nameless(dir, store->direct);
	if (swap->fd == -EINVAL && store->direct)
		swap->fd = open_nameless(dir, false);
	if (swap->fd < 0) {
		r = swap->fd;
		log_error("swap.path: cannot make a file in %s: %s%s", dir, strerror(-r), hint(r));
		goto err_free;
	}
	if (fallocate(swap->fd, 0, 0, (off_t)(n_slots * slot_bytes))) {
		r = -errno;
		log_error(
			"swap.size: cannot set %llu bytes aside in %s: %s; free space there, or set "
			"swap.size or swap.path",
			(unsigned long long)(n_slots * slot_bytes), dir, strerror(-r));
		close(swap->fd);
		goto err_free;
	}
	*out = swap;
	return 0;

err_free:
	free(swap->sums);
	free(swap->used);
	free(swap);
	return r;
}

struct swap *swap_free(struct swap *swap)
{
	if (!swap)
		return NULL;
	close(swap->fd);
	free(swap->sums);
	free(swap->used);
	free(swap);
	return NULL;
}

uint64_t swap_size(const struct swap *swap)
{
	return (uint64_t)swap->n_slots * swap->slot_bytes;
}

uint64_t swap_used(const struct swap *swap)
{
	return (uint64_t)swap->n_used * swap->slot_bytes;
}

uint32_t swap_slot_count(const struct swap *swap)
{
	return swap->n_slots;
}

uint32_t swap_used_count(const struct swap *swap)
{
	return swap->n_used;
}

int64_t swap_slot_get(struct swap *swap)
{
	for (uint32_t i = 0; i < swap->n_slots; i++) {
		uint32_t slot = (swap->next + i) % swap->n_slots;

		if (swap->used[slot])
			continue;
		swap->used[slot] = 1;
		swap->n_used++;
		swap->next = slot + 1;
		return slot;
	}
	return -ENOSPC;
}

void swap_slot_put(struct swap *swap, uint32_t slot)
{
	swap->used[slot] = 0;
	swap->n_used--;
	swap->next = slot;
}

static void prepare(struct swap *swap, struct store_io *io, uint32_t slot, void *buf, uint32_t len,
		    bool write)
{
	io->store = swap->store;
	io->file = NULL;
	io->fd = swap->fd;
	io->buf = buf;
	io->offset = (uint64_t)slot * swap->slot_bytes;
	io->len = len;
	io->read_len = len;
	io->write = write;
}

void swap_write(struct swap *swap, struct store_io *io, uint32_t slot, void *buf, uint32_t len)
{
	swap->sums[slot] = XXH3_64bits(buf, len);
	prepare(swap, io, slot, buf, len, true);
	store_start(io);
}

void swap_read(struct swap *swap, struct store_io *io, uint32_t slot, void *buf, uint32_t len)
{
	prepare(swap, io, slot, buf, len, false);
	store_start(io);
}

int swap_verify(struct swap *swap, uint32_t slot, const void *buf, uint32_t len)
{
	return XXH3_64bits(buf, len) == swap->sums[slot] ? 0 : -EILSEQ;
}
