// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Forked children read the same models.
 *
 * Mappings of the daemon's memory are not inherited (MADV_DONTFORK): unregistered, they would read zeros.
 * In their place the child gets, at the same addresses, memory that is not there yet, registered with a userfaultfd of
 * its own, and a client that has lost its connection, as it were, before it had one. Most children exec
 * soon and never ask the daemon anything; the first touch lets the watch connect, and from then on it is a reconnect as
 * after a restart of the daemon: models are opened and mapped over those addresses.
 *
 * vfork and posix_spawn run no handlers and need none: their child shares the memory until it execs.
 */
#define _GNU_SOURCE 1
#include "libclient/preload/shim.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libclient/preload/ranges.h"
#include "libclient/uffd.h"

/* In the forking thread: that the locks that prepare() took are to be let go. */
static struct vram_client *locked;

static void prepare(void)
{
	struct vram_client *client = atomic_load(&shim.client);

	if (client)
		pthread_mutex_lock(&client->maps_lock);
	locked = client;
}

static void parent(void)
{
	struct vram_client *client = locked;

	locked = NULL;
	if (client)
		pthread_mutex_unlock(&client->maps_lock);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Without these the parent's session would seem to live as long as the child. */
static void drop_parent(struct vram_client *client)
{
	close_fd(&client->sock);
	close_fd(&client->uffd);
	close_fd(&client->epoll_fd);
	close_fd(&client->watch_kick_fd);
	for (size_t i = 0; i < client->n_stale; i++)
		close_fd(&client->stale[i]);
}

/* Memory at the mapping's address that stops whoever touches it. */
static bool hold_place(const struct object_map *map, int uffd)
{
	void *want = (void *)(uintptr_t)map->addr;
	void *p = mmap(want, map->length, PROT_READ,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != want) {
		if (p != MAP_FAILED)
			munmap(p, map->length);
		return false;
	}
	if (uffd_register_missing(uffd, map->addr, map->length) < 0) {
		munmap(p, map->length);
		return false;
	}
	madvise(p, map->length, MADV_DONTFORK);
	return true;
}

static void adopt(struct vram_client *client, struct object *object)
{
	struct object_map *map, *tmp;

	object->client = client;
	object->table = NULL;
	object->slots = NULL;
	object->n_slots = 0;
	close_fd(&object->mem_fd);
	list_init(&object->node);
	list_add_tail(&object->node, &client->objects);
	/* A place that cannot be held stays empty: touching it is a fault, not a zero. */
	list_for_each_safe(map, tmp, &object->maps, node)
		if (!hold_place(map, client->uffd))
			list_del(&map->node);
}

static void child(void)
{
	struct vram_client *old = locked, *client = NULL;
	uint32_t n = atomic_load(&shim.n_files);
	int saved = errno, was_busy = shim_busy;
	int uffd;

	locked = NULL;
	if (!old)
		return;
	shim_busy = 1;
	pthread_mutex_init(&shim.lock, NULL);
	drop_parent(old);
	atomic_store(&shim.client, NULL);
	ranges_set(NULL, 0);
	shim.off = true;
	shim.peak_anon_bytes = 0;
	if (uffd_new(&uffd) == 0 &&
	    client_new_lost(NULL, shim.name, VRAM_HELLO_SHIM, uffd, &client) == 0) {
		for (uint32_t i = 0; i < n; i++) {
			struct object *object = atomic_load(&shim.files[i].object);

			shim.files[i].inherited = true;
			if (object)
				adopt(client, object);
		}
		client->watch_hook = serve_watch_hook;
		if (watch_start(client) == 0) {
			shim.off = false;
			atomic_store(&shim.client, client);
			serve_reindex(client);
		}
	}
	shim_busy = was_busy;
	errno = saved;
}

void fork_init(void)
{
	static bool done;

	if (!done)
		pthread_atfork(prepare, parent, child);
	done = true;
}
