/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The shim: what vramrun puts into an unmodified program.
 *
 * It stands in front of a handful of functions of the C library. A read-only mapping of a model file becomes a
 * mapping of the daemon's memory for that file; calls that would defeat the paging of such a mapping (mlock, populate) are
 * answered without doing it; everything else goes straight through.
 *
 *   interpose.c  the functions that stand in front
 *   serve.c	  model files and their mappings: asking the daemon
 *   fork.c	  the same in a forked child
 *   report.c	  what is said on stderr
 *   ranges.c	  where our mappings are
 *   recognise.c  which files are models
 *
 * RULES. Nothing here may change what the program sees beyond its mappings: errno is kept, no signal is
 * touched, no output but the shim's own lines on stderr. Every thread that is inside the shim has shim_busy
 * set, and the functions then do nothing of ours: what the shim itself calls (the libraries below it too)
 * is not served. All of the program's threads may be here at once.
 *
 * LOCKS. shim.lock: files, the client, opening and mapping; it comes before the client's own
 * locks. A fork takes the client's maps_lock only: the rest the child makes anew.
 */
#ifndef VRAM_LIBCLIENT_PRELOAD_SHIM_H
#define VRAM_LIBCLIENT_PRELOAD_SHIM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "libclient/admit_wish.h"
#include "libclient/internal.h"

/* Model files of one process. */
#define SHIM_FILES_MAX 256

/* Never removed: a file that was closed may be mapped again. */
struct shim_file {
	dev_t dev;
	ino_t ino;
	uint64_t size;
	struct timespec mtime;
	char name[128]; /* the last part of its path */
	_Atomic(struct object *) object;
	bool refused;	/* not asked for again */
	bool said;	/* why not */
	bool mapped;	/* at least once through us */
	bool direct;	/* opened with O_DIRECT */
	bool inherited; /* from before a fork: the parent reports */
	bool reported;
};

struct shim {
	pthread_mutex_t lock;
	_Atomic(struct vram_client *) client; /* NULL until the first model */
	bool off;			      /* no daemon was there: plain mmap for good */
	struct shim_file files[SHIM_FILES_MAX];
	_Atomic uint32_t n_files;
	uint64_t peak_anon_bytes; /* of the process, as the watch has seen it */

	/* From the environment, set by vramrun. */
	bool quiet;
	bool verbose;
	bool require;
	bool stats;
	const char *name;
	struct admit_wish wish;

	bool admitted; /* lock: asked, and let in */
};

extern struct shim shim;
extern __thread int shim_busy __attribute__((tls_model("initial-exec")));

/* ---- serve.c ---- */

/*
 * mmap of a descriptor that may be a model. Return: 1: *out is the answer; 0: not ours, do it plainly; -errno: fail
 * with it (only with --require, or when it was not admitted).
 */
int serve_mmap(void *addr, size_t length, int flags, int fd, off_t offset, void **out);
/* Whatever of ours lies in the range is forgotten; it stays mapped, for the caller to unmap or replace. */
void serve_forget(uint64_t addr, uint64_t length);
/* mremap of a range of ours. As serve_mmap(). */
int serve_mremap(uint64_t addr, size_t old_length, size_t new_length, int flags, void *new_addr,
		 void **out);
/* The program has opened a file. */
void serve_note_open(int fd);
/* After the mappings have changed. */
void serve_reindex(struct vram_client *client);
void serve_watch_hook(struct vram_client *client, enum watch_event event);

/* ---- fork.c ---- */

void fork_init(void);

/* ---- report.c ---- */

/* One line "vramrun: ...", unless quiet. */
void report_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Looks how much anonymous memory there is, and complains if it looks like a copy of the weights. */
void report_look(void);
void report_at_exit(void);

#endif
