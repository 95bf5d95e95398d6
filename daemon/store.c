// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reading files; see store.h for the model. The descriptor that a client passes is only the proof: the
 * same inode is opened again through /proc, so that neither the client's file position nor its
 * flags matter, and O_DIRECT can be set without changing the client's description.
 */
#include "daemon/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/log.h"
#include "daemon/store_fault.h"
#include "daemon/store_private.h"

#define BLOCK 4096u
/* Lines of a client's own mount table: it may have made as many as it likes, and they are read by the one thread. */
#define MOUNTS_MAX 8192u

struct store_file {
	struct store *store;
	struct list_node node; /* store.files */
	unsigned int refs;
	int fd;
	bool direct;
	dev_t dev;
	ino_t ino;
	uint64_t size;
	struct timespec mtime;
};

int store_new(struct store **out, struct loop *loop, const struct store_params *params)
{
	struct store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return -ENOMEM;
	store->loop = loop;
	store->piece_bytes = params->piece_bytes;
	store->direct = params->direct;
	store->trust_fuse = params->trust_fuse;
	list_init(&store->files);
	r = store_fault_parse(params->fault, &store->fault);
	if (r < 0) {
		log_error("io.fault: cannot understand '%s'", params->fault);
		free(store);
		return r;
	}
	if (store->fault.kind != STORE_FAULT_NONE)
		log_warn("io.fault = %s: errors are injected for testing", params->fault);
	*out = store;
	return 0;
}

struct store *store_free(struct store *store)
{
	free(store);
	return NULL;
}

/* The type of the file system that holds fd, from a mount table. Asking the file system itself could block
 * for as long as a user-space file system likes. Return: true if found. */
static bool find_fstype(const char *table, uint32_t max_lines, int mnt_id, char *type, size_t size)
{
	_cleanup_fclose_ FILE *f = fopen(table, "re");
	_cleanup_free_ char *line = NULL;
	size_t room = 0;

	if (!f)
		return false;
	while (max_lines-- > 0 && getline(&line, &room, f) > 0) {
		char *dash;

		if (atoi(line) != mnt_id)
			continue;
		dash = strstr(line, " - ");
		if (!dash)
			return false;
		dash += 3;
		snprintf(type, size, "%.*s", (int)strcspn(dash, " \n"), dash);
		return true;
	}
	return false;
}

static int check_fstype(int fd, pid_t pid)
{
	char path[64], type[64] = "";
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx))
		return -errno;
	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	/* Ours; the machine's, of which a unit's restrictions give us a copy with other numbers; the client's. */
	if (!find_fstype("/proc/self/mountinfo", UINT32_MAX, (int)stx.stx_mnt_id, type,
			 sizeof(type)) &&
	    !find_fstype("/proc/1/mountinfo", UINT32_MAX, (int)stx.stx_mnt_id, type,
			 sizeof(type)) &&
	    !(pid > 0 && find_fstype(path, MOUNTS_MAX, (int)stx.stx_mnt_id, type, sizeof(type)))) {
		log_warn_limited(
			"refused a model on a mount that cannot be found (detached, in another "
			"namespace, or behind %u others)",
			MOUNTS_MAX);
		return -EOPNOTSUPP;
	}
	if (strncmp(type, "fuse", 4) == 0) {
		log_warn_limited(
			"refused a model on a %s file system: its owner could stall all clients",
			type);
		return -EOPNOTSUPP;
	}
	return 0;
}

static bool same_generation(const struct store_file *file, const struct stat *st)
{
	return file->dev == st->st_dev && file->ino == st->st_ino &&
	       file->size == (uint64_t)st->st_size && file->mtime.tv_sec == st->st_mtim.tv_sec &&
	       file->mtime.tv_nsec == st->st_mtim.tv_nsec;
}

static int reopen(struct store *store, int fd, bool *out_direct)
{
	char path[64];
	int own = -1;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	*out_direct = false;
	if (store->direct) {
		own = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NOCTTY);
		*out_direct = own >= 0;
		if (own < 0 && !store->said_no_direct) {
			store->said_no_direct = true;
			log_warn("a model cannot be read with O_DIRECT (%s): reading through the "
				 "page cache, which is slower and takes memory twice",
				 strerror(errno));
		}
	}
	if (own < 0)
		own = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	/* No permission of our own: the client's description serves as well. */
	if (own < 0)
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return own < 0 ? -errno : own;
}

int store_file_open(struct store *store, int fd, uint64_t size_bytes, pid_t pid,
		    struct store_file **out)
{
	struct store_file *file;
	struct stat st, own_st;
	int flags, r;

	flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return -errno;
	if ((flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY)
		return -EBADF;
	if (!store->trust_fuse) {
		r = check_fstype(fd, pid);
		if (r < 0)
			return r;
	}
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (st.st_size == 0)
		return -ENODATA;
	if ((uint64_t)st.st_size != size_bytes)
		return -ESTALE;
	list_for_each(file, &store->files, node) {
		if (same_generation(file, &st)) {
			file->refs++;
			*out = file;
			return 0;
		}
	}
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->fd = reopen(store, fd, &file->direct);
	if (file->fd < 0) {
		r = file->fd;
		free(file);
		return r;
	}
	file->store = store;
	file->refs = 1;
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	file->size = (uint64_t)st.st_size;
	file->mtime = st.st_mtim;
	if (fstat(file->fd, &own_st) || !same_generation(file, &own_st)) {
		close(file->fd);
		free(file);
		return -ESTALE;
	}
	list_add_tail(&file->node, &store->files);
	*out = file;
	return 0;
}

struct store_file *store_file_unref(struct store_file *file)
{
	if (!file || --file->refs > 0)
		return NULL;
	list_del(&file->node);
	close(file->fd);
	free(file);
	return NULL;
}

void store_file_id(const struct store_file *file, dev_t *out_dev, ino_t *out_ino)
{
	*out_dev = file->dev;
	*out_ino = file->ino;
}

uint64_t store_file_size(const struct store_file *file)
{
	return file->size;
}

int store_file_check(const struct store_file *file)
{
	struct stat st;

	if (fstat(file->fd, &st))
		return -errno;
	return same_generation(file, &st) ? 0 : -ESTALE;
}

static void start_piece(struct store_io *io, struct store_piece *piece);

static void io_finish(struct store_io *io)
{
	int r = io->error;

	if (r == 0 && io->file)
		r = store_file_check(io->file);
	io->done(io, r);
}

/* The next part for a piece that is free. Return: false if everything has been handed out. */
static bool next_part(struct store_io *io, struct store_piece *piece)
{
	uint32_t left = io->read_len - io->next;

	if (left == 0 || io->error)
		return false;
	piece->offset = io->next;
	piece->len = left < io->store->piece_bytes ? left : io->store->piece_bytes;
	piece->done = 0;
	io->next += piece->len;
	return true;
}

static void piece_done(struct loop_op *op, int res)
{
	struct store_piece *piece = list_entry(op, struct store_piece, op);
	struct store_io *io = piece->io;

	io->n_busy--;
	res = store_fault_apply(&io->store->fault, io->write, res);
	if (res == -EAGAIN || res == -EINTR) {
		start_piece(io, piece);
		return;
	}
	if (res < 0) {
		io->error = io->error ? io->error : res;
	} else if (res == 0) {
		/* Reads: the file ends before what we want; writes: the disk takes nothing. */
		if (piece->offset + piece->done < io->len)
			io->error = io->error ? io->error : (io->write ? -EIO : -ESTALE);
	} else {
		uint32_t before = piece->done;

		piece->done += (uint32_t)res;
		/* Short of what was asked for, but not of what is wanted: the end of the file. */
		if (piece->done < piece->len && piece->offset + piece->done < io->len) {
			if (io->file && io->file->direct)
				piece->done -= piece->done % BLOCK;
			if (piece->done > before) {
				start_piece(io, piece);
				return;
			}
			/* Less than a block, again: here the file ends. */
			io->error = io->error ? io->error : -ESTALE;
		}
	}
	if (next_part(io, piece))
		start_piece(io, piece);
	else if (io->n_busy == 0)
		io_finish(io);
}

static void start_piece(struct store_io *io, struct store_piece *piece)
{
	char *buf = io->buf + piece->offset + piece->done;
	uint64_t offset = io->offset + piece->offset + piece->done;
	size_t len = piece->len - piece->done;
	int r;

	piece->op.fn = piece_done;
	r = io->write ? loop_write(io->store->loop, &piece->op, io->fd, buf, len, offset) :
			loop_read(io->store->loop, &piece->op, io->fd, buf, len, offset);
	io->n_busy++;
	if (r < 0) {
		/* Out of memory for an op: pass it on as the result, but from the loop. */
		io->error = io->error ? io->error : r;
		loop_defer(io->store->loop, &piece->op);
	}
}

void store_start(struct store_io *io)
{
	io->next = 0;
	io->n_busy = 0;
	io->error = 0;
	for (int i = 0; i < STORE_PIECES; i++)
		io->pieces[i].io = io;
	for (int i = 0; i < STORE_PIECES && next_part(io, &io->pieces[i]); i++)
		start_piece(io, &io->pieces[i]);
}

void store_read(struct store *store, struct store_file *file, struct store_io *io, void *buf,
		uint32_t len, uint64_t offset)
{
	io->store = store;
	io->file = file;
	io->fd = file->fd;
	io->buf = buf;
	io->offset = offset;
	io->len = len;
	io->read_len = file->direct ? (len + BLOCK - 1) / BLOCK * BLOCK : len;
	io->write = false;
	store_start(io);
}
