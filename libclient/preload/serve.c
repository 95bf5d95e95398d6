// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "libclient/preload/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"
#include "common/fd.h"
#include "libclient/layout.h"
#include "libclient/plan.h"
#include "libclient/preload/ranges.h"
#include "libclient/preload/recognise.h"

/* ---- files ------------------------------------------------------------------------ */

static struct shim_file *find_file(const struct stat *st)
{
	uint32_t n = atomic_load(&shim.n_files);

	for (uint32_t i = 0; i < n; i++) {
		struct shim_file *file = &shim.files[i];

		if (file->dev == st->st_dev && file->ino == st->st_ino &&
		    file->size == (uint64_t)st->st_size &&
		    file->mtime.tv_sec == st->st_mtim.tv_sec &&
		    file->mtime.tv_nsec == st->st_mtim.tv_nsec)
			return file;
	}
	return NULL;
}

/* A descriptor of our own: without O_DIRECT, which wants aligned reads, and with a position of its own. */
static int own_fd(int fd)
{
	char path[40];
	int own;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static bool looks_like_model(int fd, int open_flags, uint64_t size)
{
	unsigned char head[RECOGNISE_BYTES];
	int own = (open_flags & O_DIRECT) ? own_fd(fd) : fd;
	ssize_t n = own < 0 ? -1 : pread(own, head, sizeof(head), 0);

	if (own >= 0 && own != fd)
		close(own);
	return n > 0 && recognise_model(head, (size_t)n, size);
}

static void name_file(struct shim_file *file, int fd)
{
	const char *slash, *name;
	char link[512];

	if (fd_link(fd, link, sizeof(link)) < 0)
		snprintf(link, sizeof(link), "a model");
	slash = strrchr(link, '/');
	name = slash ? slash + 1 : link;
	snprintf(file->name, sizeof(file->name), "%.*s", (int)sizeof(file->name) - 1, name);
}

/* Whether the descriptor is a readable model file: for every file that is opened or mapped, so without a lock. */
static bool is_model(int fd, struct stat *st, int *flags)
{
	if (fstat(fd, st) || !S_ISREG(st->st_mode) || st->st_size < (off_t)RECOGNISE_MIN_FILE)
		return false;
	*flags = fcntl(fd, F_GETFL);
	if (*flags < 0 || (*flags & O_PATH) || (*flags & O_ACCMODE) == O_WRONLY)
		return false;
	return looks_like_model(fd, *flags, (uint64_t)st->st_size);
}

/* The file's place in the table, a new one if need be; NULL if the table is full. The lock is held. */
static struct shim_file *enter(int fd, const struct stat *st, int flags)
{
	struct shim_file *file = find_file(st);
	uint32_t n = atomic_load(&shim.n_files);

	if (!file && n == SHIM_FILES_MAX)
		return NULL;
	if (!file) {
		file = &shim.files[n];
		file->dev = st->st_dev;
		file->ino = st->st_ino;
		file->size = (uint64_t)st->st_size;
		file->mtime = st->st_mtim;
		name_file(file, fd);
		atomic_store(&shim.n_files, n + 1);
	}
	file->direct = file->direct || (flags & O_DIRECT);
	return file;
}

void serve_note_open(int fd)
{
	struct stat st;
	int flags;

	if (!is_model(fd, &st, &flags))
		return;
	pthread_mutex_lock(&shim.lock);
	enter(fd, &st, flags);
	pthread_mutex_unlock(&shim.lock);
}

/* ---- the daemon ------------------------------------------------------------------- */

void serve_watch_hook(struct vram_client *client, enum watch_event event)
{
	static _Atomic bool down;

	(void)client;
	shim_busy = 1;
	if (event == WATCH_DOWN && !atomic_exchange(&down, true))
		report_line("vramd has gone; %s waits for it where it needs it",
			    program_invocation_short_name);
	if (event == WATCH_UP) {
		if (atomic_exchange(&down, false))
			report_line("vramd is back");
		report_look();
	}
}

/* Return: the client, or NULL. The lock is held. */
static struct vram_client *need_client(void)
{
	struct vram_client *client = atomic_load(&shim.client);
	int r;

	if (client || shim.off)
		return client;
	r = client_new(NULL, shim.name, VRAM_HELLO_SHIM, &client);
	if (r < 0) {
		shim.off = true;
		report_line(shim.require ? "%s" : "%s; %s runs without it, with plain mmap",
			    vram_error_text(), program_invocation_short_name);
		return NULL;
	}
	client->watch_hook = serve_watch_hook;
	/* Not earlier: the handlers must come after those of the program's allocator. */
	fork_init();
	r = watch_start(client);
	if (r < 0)
		report_line("no thread to watch vramd with: %s will not survive its end",
			    program_invocation_short_name);
	atomic_store(&shim.client, client);
	return client;
}

/* Said once; only that the daemon is away just now may be different next time. */
static void refuse(struct shim_file *file, int r, const char *why)
{
	if (!file->said)
		report_line(r == -ENOTCONN ? "%s is mapped plainly while vramd is away: %s" :
					     "%s is not paged: %s",
			    file->name, why);
	file->said = true;
	file->refused = file->refused || r != -ENOTCONN;
}

/*
 * What the file says about its layers; without it the daemon learns the order. *out_bytes: of all files of the
 * model, if it has several.
 */
static void make_plan(struct plan *plan, int fd, const struct shim_file *file, uint64_t *out_bytes)
{
	struct vram_layout *layout;
	char text[200];

	memset(plan, 0, sizeof(*plan));
	*out_bytes = file->size;
	if (layout_open_fd(fd, &layout, text, sizeof(text)) < 0) {
		if (shim.verbose)
			report_line("%s: its layers are not known: %s", file->name, text);
		return;
	}
	*out_bytes = 0;
	for (uint32_t f = 0; f < layout->n_files; f++)
		*out_bytes += layout->files[f].size_bytes;
	for (uint32_t f = 0; f < layout->n_files; f++) {
		if (layout->files[f].dev != file->dev || layout->files[f].ino != file->ino)
			continue;
		if (plan_make(plan, layout, f) < 0)
			memset(plan, 0, sizeof(*plan));
		break;
	}
	layout_free(layout);
}

/* Waits its turn, with the first model. Both locks are held, the client's not while it waits. */
static int be_admitted(struct vram_client *client, uint64_t bytes)
{
	int r;

	if (!shim.wish.wanted || shim.admitted)
		return 0;
	r = admit_wish_ask(&shim.wish, client, bytes, program_invocation_short_name, report_line);
	shim.admitted = r == 0;
	/* Without a daemon it is as without the wish. */
	return r == -ENOTCONN ? 0 : r;
}

/* The daemon's object for the file, opened at its first mapping. Both locks are held. */
static struct object *need_object(struct vram_client *client, struct shim_file *file, int fd,
				  int *out_error)
{
	struct object *object = atomic_load(&file->object);
	struct plan plan;
	uint64_t bytes;
	int own, r;

	if (object || file->refused)
		return object;
	own = own_fd(fd);
	if (own < 0) {
		refuse(file, -EMFILE, "no descriptor left");
		return NULL;
	}
	make_plan(&plan, own, file, &bytes);
	r = be_admitted(client, bytes);
	if (r < 0) {
		plan_deinit(&plan);
		close(own);
		*out_error = r == -EAGAIN ? -ETIMEDOUT : r;
		return NULL;
	}
	if (plan.n_extents > client->hello.max_extents)
		plan_deinit(&plan);
	r = object_new_model(client, own, file->size, file->name, 0, plan.n_layers, plan.extents,
			     plan.n_extents, &object);
	plan_deinit(&plan);
	if (r < 0) {
		refuse(file, r, vram_error_text());
		return NULL;
	}
	if (shim.verbose)
		report_line("%s is served by vramd", file->name);
	atomic_store(&file->object, object);
	return object;
}

/* ---- mappings --------------------------------------------------------------------- */

void serve_reindex(struct vram_client *client)
{
	/* Guarded by maps_lock. */
	static struct range ranges[RANGES_MAX];
	struct object_map *map;
	struct object *object;
	size_t n = 0;

	pthread_mutex_lock(&client->maps_lock);
	list_for_each(object, &client->objects, node) {
		list_for_each(map, &object->maps, node) {
			if (n == RANGES_MAX)
				break;
			ranges[n++] = (struct range){ map->addr, map->addr + map->length };
		}
	}
	ranges_set(ranges, n);
	pthread_mutex_unlock(&client->maps_lock);
}

/* Return: as serve_mmap(). Both locks are held. */
static int map_object(struct vram_client *client, struct object *object, void *addr, size_t length,
		      int flags, off_t offset, void **out)
{
	bool fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
	uint64_t start = fixed ? (uintptr_t)addr : 0;
	uint64_t got;
	int r;

	if (start % 4096 || offset % 4096 || length == 0 || object->error ||
	    (uint64_t)offset >= object->map_bytes || length > object->map_bytes - (uint64_t)offset)
		return 0;
	if (flags & MAP_FIXED)
		object_unmap(client, start, length, true);
	r = object_map(object, start, (flags & MAP_FIXED) && !(flags & MAP_FIXED_NOREPLACE), length,
		       (uint64_t)offset, PROT_READ, &got);
	serve_reindex(client);
	if (r < 0)
		return r;
	*out = (void *)(uintptr_t)got;
	return 1;
}

int serve_mmap(void *addr, size_t length, int flags, int fd, off_t offset, void **out)
{
	struct vram_client *client;
	struct shim_file *file;
	struct object *object;
	int open_flags, r = 0, refused = 0;
	struct stat st;

	if (!is_model(fd, &st, &open_flags))
		return 0;
	pthread_mutex_lock(&shim.lock);
	file = enter(fd, &st, open_flags);
	client = file ? need_client() : NULL;
	if (client) {
		client_lock(client);
		r = client_reconnect(client);
		object = r == 0 ? need_object(client, file, fd, &refused) : NULL;
		if (object)
			r = map_object(client, object, addr, length, flags, offset, out);
		if (r < 0)
			refuse(file, r, vram_error_text());
		client_unlock(client);
		if (r > 0)
			file->mapped = true;
	}
	pthread_mutex_unlock(&shim.lock);
	if (refused)
		return refused;
	if (file && r <= 0)
		return shim.require ? -EIO : 0;
	return r;
}

void serve_forget(uint64_t addr, uint64_t length)
{
	struct vram_client *client = atomic_load(&shim.client);

	if (!client)
		return;
	client_lock(client);
	object_unmap(client, addr, length, true);
	serve_reindex(client);
	client_unlock(client);
}

/* The mapping that has all of the range. The client's lock is held. */
static struct object *find_map(struct vram_client *client, uint64_t addr, uint64_t length,
			       uint64_t *out_offset)
{
	struct object_map *map;
	struct object *object;

	list_for_each(object, &client->objects, node)
		list_for_each(map, &object->maps, node)
			if (addr >= map->addr && addr - map->addr < map->length &&
			    length <= map->length - (addr - map->addr)) {
				*out_offset = map->offset + (addr - map->addr);
				return object;
			}
	return NULL;
}

int serve_mremap(uint64_t addr, size_t old_length, size_t new_length, int flags, void *new_addr,
		 void **out)
{
	struct vram_client *client = atomic_load(&shim.client);
	struct object *object;
	uint64_t offset;
	int r;

	if (!client || old_length == 0 || new_length == 0 || addr % 4096)
		return 0;
	old_length = (old_length + 4095) & ~(size_t)4095;
	new_length = (new_length + 4095) & ~(size_t)4095;
	if (new_length <= old_length && !(flags & MREMAP_FIXED)) {
		/* The kernel cuts it; what it cuts off is not ours any more. */
		if (new_length < old_length)
			serve_forget(addr + new_length, old_length - new_length);
		return 0;
	}
	if (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED))
		return -EINVAL;
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	/* Growing and moving: the same bytes, mapped anew. */
	client_lock(client);
	object = find_map(client, addr, old_length, &offset);
	r = client_reconnect(client);
	if (!object)
		r = -EFAULT;
	if (r == 0)
		r = map_object(client, object, new_addr, new_length,
			       (flags & MREMAP_FIXED) ? MAP_FIXED : 0, (off_t)offset, out);
	if (r == 0)
		r = -ENOMEM;
	if (r > 0) {
		object_unmap(client, addr, old_length, false);
		serve_reindex(client);
	}
	client_unlock(client);
	return r;
}
