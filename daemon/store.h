/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files: the models that clients open, and the swap file for buffers.
 *
 * A store_file is one generation of one regular file that a client proved it may read: device, inode,
 * size and mtime. It is read through a descriptor of the daemon's own, with O_DIRECT where the
 * file system has it. Every read checks the generation again when it completes: a file that was changed
 * or truncated meanwhile fails with -ESTALE and never mixes.
 *
 * A store_io is one transfer of any length, split into pieces of the configured size of which several
 * are in flight. It is embedded in its owner, zero at first, and must live until done was
 * called; it may be used again then.
 */
#ifndef VRAM_DAEMON_STORE_H
#define VRAM_DAEMON_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/list.h"
#include "daemon/loop.h"

#define STORE_PIECES 8

struct store;
struct store_file;

struct store_io;
struct store_piece {
	struct loop_op op;
	struct store_io *io;
	uint64_t offset;
	uint32_t done;
	uint32_t len;
};

struct store_io {
	void (*done)(struct store_io *io, int res);
	struct store *store;
	struct store_file *file;
	int fd;
	char *buf;
	uint64_t offset;   /* of buf, in the file */
	uint32_t len;	   /* wanted */
	uint32_t read_len; /* asked for: len rounded up where O_DIRECT demands it */
	uint32_t next;	   /* what has been handed to pieces */
	int n_busy;
	int error;
	bool write;
	struct store_piece pieces[STORE_PIECES];
};

struct store_params {
	uint32_t piece_bytes; /* a multiple of 4096 */
	bool direct;	      /* try O_DIRECT */
	const char *fault;    /* see store_fault.h; NULL or "": none */
	bool trust_fuse;      /* a file system served by a user may stall us: only in --user mode */
};

int store_new(struct store **out, struct loop *loop, const struct store_params *params);
struct store *store_free(struct store *store);

/*
 * store_file_open() - a file for reading, by the client's descriptor (which stays the caller's).
 * @size_bytes: what the client saw. @pid: the client, for finding its mount; 0: ourselves.
 *
 * The same generation of the same file is one store_file, counted.
 *
 * Return: 0; -EBADF not open for reading (O_PATH, write-only); -EISDIR, -EINVAL not a regular file;
 * -ESTALE its size is another; -ENODATA it is empty; -EOPNOTSUPP its file system is refused; -errno.
 */
int store_file_open(struct store *store, int fd, uint64_t size_bytes, pid_t pid,
		    struct store_file **out);
struct store_file *store_file_unref(struct store_file *file);
uint64_t store_file_size(const struct store_file *file);
/* Which file it is. */
void store_file_id(const struct store_file *file, dev_t *out_dev, ino_t *out_ino);
/* Cheap enough for every load. Return: 0, -ESTALE or -errno. */
int store_file_check(const struct store_file *file);

/* Start; io->done comes later, with 0 or -errno, never from inside. buf is aligned to 4096 and has
 * room for len rounded up to 4096. Reading behind the end of the file is -ESTALE. */
void store_read(struct store *store, struct store_file *file, struct store_io *io, void *buf,
		uint32_t len, uint64_t offset);

/*
 * The swap file: a preallocated file without a name, 0600, divided into slots of one chunk size, with a
 * checksum of each slot's content in memory. Space is given back when a slot is freed.
 */
struct swap;
int swap_new(struct swap **out, struct store *store, const char *dir, uint64_t size_bytes,
	     uint32_t slot_bytes);
struct swap *swap_free(struct swap *swap);
uint64_t swap_size(const struct swap *swap);
uint64_t swap_used(const struct swap *swap);
uint32_t swap_slot_count(const struct swap *swap);
uint32_t swap_used_count(const struct swap *swap);
/* Return: a slot, or -ENOSPC. */
int64_t swap_slot_get(struct swap *swap);
void swap_slot_put(struct swap *swap, uint32_t slot);
/* As store_read(). A slot whose content is not what was written fails with -EILSEQ. */
void swap_write(struct swap *swap, struct store_io *io, uint32_t slot, void *buf, uint32_t len);
void swap_read(struct swap *swap, struct store_io *io, uint32_t slot, void *buf, uint32_t len);
/* To be called by done of a read before the content is used. Return: 0 or -EILSEQ. */
int swap_verify(struct swap *swap, uint32_t slot, const void *buf, uint32_t len);

#endif
