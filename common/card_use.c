// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "common/card_use.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/drm_fdinfo.h"
#include "common/err.h"

static inline void cleanup_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}
#define _cleanup_dir_ _cleanup_(cleanup_dir)

struct client {
	size_t card;
	uint64_t id;
};

struct walk {
	const struct cards *cards;
	struct card_uses *uses;
	void *clients; /* tsearch()'s, of struct client */
	char *text;    /* CARD_USE_TEXT bytes */
	int proc;
	int r; /* -ENOMEM ends the walk */
};

static int client_compare(const void *a, const void *b)
{
	const struct client *x = a, *y = b;

	if (x->card != y->card)
		return x->card < y->card ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Return: 1 for a client that was not seen before, 0 for one that was, -ENOMEM. */
static int client_is_new(struct walk *w, size_t card, uint64_t id)
{
	struct client *client = malloc(sizeof(*client));
	struct client **found;

	if (!client)
		return err_origin(-ENOMEM);
	*client = (struct client){ card, id };
	found = tsearch(client, &w->clients, client_compare);
	if (found && *found == client)
		return 1;
	free(client);
	return found ? 0 : err_origin(-ENOMEM);
}

static struct card_use *use_add(struct card_uses *uses, size_t card, pid_t pid)
{
	struct card_use *use;

	/* Powers of two: the array grows by doubling. */
	if ((uses->n & (uses->n - 1)) == 0) {
		use = reallocarray(uses->use, uses->n ? uses->n * 2 : 1, sizeof(*use));
		if (!use)
			return NULL;
		uses->use = use;
	}
	use = &uses->use[uses->n++];
	*use = (struct card_use){ .card = card, .pid = pid, .uid = (uid_t)-1 };
	return use;
}

/* Among those from `first` on. */
static struct card_use *use_get(struct card_uses *uses, size_t first, size_t card, pid_t pid)
{
	size_t i;

	for (i = first; i < uses->n; i++) {
		if (uses->use[i].card == card && uses->use[i].pid == pid)
			return &uses->use[i];
	}
	return use_add(uses, card, pid);
}

/* ---- one process ---- */

/* Reads a small file of /proc whole. Return: its length, -1 if it is gone or closed to us. */
static ssize_t file_read(int dir, const char *name, char *buf, size_t size)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return -1;
	while (len < size) {
		n = read(fd, buf + len, size - len);
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

/* Whose process it is, and its name, from /proc/PID/status: that file everybody may read. */
static void process_describe(int proc, pid_t pid, char comm[32], uid_t *out_uid)
{
	char path[32], text[4096], *line, *end;
	ssize_t n;

	*out_uid = (uid_t)-1;
	*comm = '\0';
	snprintf(path, sizeof(path), "%d/status", pid);
	n = file_read(proc, path, text, sizeof(text) - 1);
	if (n < 0)
		return;
	text[n] = '\0';
	for (line = text; line; line = end ? end + 1 : NULL) {
		end = strchr(line, '\n');
		if (end)
			*end = '\0';
		if (!strncmp(line, "Name:\t", 6)) {
			snprintf(comm, 32, "%.31s", line + 6);
		} else if (!strncmp(line, "Uid:\t", 5)) {
			*out_uid = (uid_t)strtoul(line + 5, NULL, 10);
			return;
		}
	}
}

static void use_count(struct walk *w, struct card_use *use, const struct drm_fdinfo *info)
{
	struct drm_fdinfo_sum sum;
	int r = 1;

	drm_fdinfo_sum(info, &sum);
	if (info->has_client_id) {
		r = client_is_new(w, use->card, info->client_id);
		if (r < 0)
			w->r = err_trace(r);
		if (r <= 0) {
			/* Counted already, here or with another process. */
			use->known |= sum.known;
			use->known_other |= sum.known;
			return;
		}
		use->clients++;
	} else {
		/* It may be a file that was seen: the largest stands for all. */
		use->clients = use->clients ? use->clients : 1;
		if (use->known &&
		    sum.vram_bytes + sum.other_bytes < use->vram_bytes + use->other_bytes)
			return;
		use->vram_bytes = use->other_bytes = use->shared_bytes = 0;
	}
	if (!sum.known)
		return;
	use->known = use->known_other = true;
	if (__builtin_add_overflow(use->vram_bytes, sum.vram_bytes, &use->vram_bytes))
		use->vram_bytes = UINT64_MAX;
	if (__builtin_add_overflow(use->other_bytes, sum.other_bytes, &use->other_bytes))
		use->other_bytes = UINT64_MAX;
	if (__builtin_add_overflow(use->shared_bytes, sum.shared_bytes, &use->shared_bytes))
		use->shared_bytes = UINT64_MAX;
}

static void descriptor_read(struct walk *w, pid_t pid, const char *fd, size_t card, size_t first)
{
	struct drm_fdinfo info;
	struct card_use *use;
	char path[PATH_MAX];
	ssize_t n;

	use = use_get(w->uses, first, card, pid);
	if (!use) {
		w->r = err_origin(-ENOMEM);
		return;
	}
	snprintf(path, sizeof(path), "%d/fdinfo/%s", pid, fd);
	n = file_read(w->proc, path, w->text, CARD_USE_TEXT);
	if (n >= 0 && drm_fdinfo_parse(w->text, (size_t)n, &info) == 0)
		use_count(w, use, &info);
}

static void process_read(struct walk *w, pid_t pid)
{
	_cleanup_dir_ DIR *dir = NULL;
	size_t first = w->uses->n, n_found = 0, i;
	char path[32], target[CARD_NODE_MAX + 16];
	const struct dirent *entry;
	bool truncated = false;
	char comm[32];
	uid_t uid;
	ssize_t n;
	int fd, card;

	snprintf(path, sizeof(path), "%d/fd", pid);
	fd = openat(w->proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir) {
		if (errno == EACCES || errno == EPERM)
			w->uses->n_hidden++;
		if (fd >= 0)
			close(fd);
		return;
	}
	while (w->r == 0 && (entry = readdir(dir))) {
		/* A longer target is cut, and is then no node of ours. */
		n = readlinkat(fd, entry->d_name, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		card = cards_by_node(w->cards, target);
		if (card < 0)
			continue;
		truncated = n_found++ == CARD_USE_FDS;
		if (truncated)
			break;
		descriptor_read(w, pid, entry->d_name, (size_t)card, first);
	}
	if (w->uses->n == first)
		return;
	process_describe(w->proc, pid, comm, &uid);
	for (i = first; i < w->uses->n; i++) {
		memcpy(w->uses->use[i].comm, comm, sizeof(comm));
		w->uses->use[i].uid = uid;
		w->uses->use[i].truncated = truncated;
	}
}

/* ---- all of them ---- */

static int pid_compare(const void *a, const void *b)
{
	const pid_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The numbers in a folder, from the lowest. Return: 0 or -errno. */
static int pids_read(int proc, pid_t **out, size_t *out_n)
{
	_cleanup_dir_ DIR *dir = NULL;
	_cleanup_free_ pid_t *pids = NULL;
	const struct dirent *entry;
	size_t n = 0, room = 0;
	pid_t *more;
	char *end;
	long pid;
	int fd;

	fd = openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir)
		return err_origin(-errno);
	while ((entry = readdir(dir))) {
		pid = strtol(entry->d_name, &end, 10);
		if (pid <= 0 || pid > INT_MAX || *end)
			continue;
		if (n == room) {
			room = room ? room * 2 : 256;
			more = reallocarray(pids, room, sizeof(*pids));
			if (!more)
				return err_origin(-ENOMEM);
			pids = more;
		}
		pids[n++] = (pid_t)pid;
	}
	if (n > 0)
		qsort(pids, n, sizeof(*pids), pid_compare);
	*out = steal_ptr(&pids);
	*out_n = n;
	return 0;
}

static int proc_open(const char *root)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/proc", root);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int card_uses_read(const char *root, const struct cards *cards, struct card_uses *out)
{
	_cleanup_free_ char *text = malloc(CARD_USE_TEXT);
	_cleanup_free_ pid_t *pids = NULL;
	_cleanup_close_ int proc = proc_open(root);
	struct card_uses uses = { 0 };
	struct walk w = { .cards = cards, .uses = &uses, .text = text, .proc = proc };
	size_t i, n = 0;
	int r;

	if (proc < 0)
		return err_origin(-errno);
	if (!text)
		return err_origin(-ENOMEM);
	r = pids_read(proc, &pids, &n);
	if (r < 0)
		return err_trace(r);
	for (i = 0; i < n && w.r == 0; i++)
		process_read(&w, pids[i]);
	tdestroy(w.clients, free);
	if (w.r < 0) {
		card_uses_deinit(&uses);
		return err_trace(w.r);
	}
	*out = uses;
	return 0;
}

int card_uses_note(const char *root, struct card_uses *uses, size_t card, pid_t pid, bool known,
		   uint64_t vram_bytes)
{
	size_t before = uses->n;
	struct card_use *use = use_get(uses, 0, card, pid);
	_cleanup_close_ int proc = -1;

	if (!use)
		return err_origin(-ENOMEM);
	if (uses->n > before) {
		proc = proc_open(root);
		if (proc >= 0)
			process_describe(proc, pid, use->comm, &use->uid);
	}
	if (known) {
		use->known = true;
		use->vram_bytes = vram_bytes;
	}
	return 0;
}

void card_uses_deinit(struct card_uses *uses)
{
	free(uses->use);
	*uses = (struct card_uses){ 0 };
}
