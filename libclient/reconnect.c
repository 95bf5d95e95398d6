// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * After a restart of the daemon: the same models at the same addresses, without a wrong byte.
 *
 * What is there when the daemon has died: mappings of memory files that nobody pages any more. Open
 * chunks of them hold right bytes and can be read on; a touch of a closed chunk waits, because our own
 * copy of the userfaultfd keeps the registration. Nothing may ever open such a chunk: behind it is a hole.
 *
 * With the new daemon, each object is opened anew, which gives a new, empty memory file. A mapping is exchanged like this:
 *
 *   1. map the new file somewhere else, without access rights, and have the daemon register it (MAP) with a new userfaultfd;
 *   2. make it accessible; close all of it once more ourselves, so that it is one area for the kernel;
 *   3. mremap() it over the old mapping. This is one step for every other thread: before it a touch meets the
 *	old file, after it the new one. The registration moves along (EVENT_REMAP tells the daemon);
 *   4. wake whoever waits in that range on the old userfaultfd: they try again, and wait for the new daemon.
 *
 * mremap() does not return before both userfaultfds have been read: the new one by the daemon, for the move; the old
 * one, for the area that vanished under it, by a helper thread of ours. Should the new daemon
 * die as well in the middle, the helper reads for it too; some mappings then hang on each descriptor, so the
 * old ones are kept (`stale`) until a reconnect has gone through to the end.
 *
 * The residency table is exchanged with the objects, in PHASE_EXCHANGE, when no thread is in a section: pins are counted in
 * the old slots and set in the new ones. A pinned layer may then be absent for a while; a touch of it waits.
 */
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/err.h"
#include "libclient/cuda_state.h"
#include "libclient/reader.h"
#include "libclient/uffd.h"

/* Attempts at moving one mapping: the daemon may open a chunk in it at the wrong moment. */
#define MOVE_ATTEMPTS 16

struct helper {
	pthread_t thread;
	struct vram_client *client;
	int stop_fd;
	int sock; /* a duplicate: the client may close its own */
};

/* Reads the uffds that no daemon reads. The lock's holder waits for us and changes nothing. */
static void *helper_main(void *arg)
{
	struct helper *helper = arg;
	struct vram_client *client = helper->client;
	size_t n = client->n_stale;
	struct pollfd *fds = calloc(n + 2, sizeof(*fds));
	struct pollfd few[2];

	/* Without memory: no waiting for several at once, but reading in turns. */
	if (!fds)
		fds = few;
	fds[0] = (struct pollfd){ .fd = helper->stop_fd, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = helper->sock, .events = POLLRDHUP };
	for (size_t i = 0; fds != few && i < n; i++)
		fds[i + 2] = (struct pollfd){ .fd = client->stale[i], .events = POLLIN };
	for (;;) {
		poll(fds, fds == few ? 2 : n + 2, fds == few ? 1 : 100);
		if (fds[0].revents)
			break;
		for (size_t i = 0; i < n; i++)
			uffd_drain(client->stale[i]);
		if (fds[1].revents) {
			uffd_drain(client->uffd);
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		}
	}
	if (fds != few)
		free(fds);
	return NULL;
}

static int helper_start(struct helper *helper, struct vram_client *client)
{
	sigset_t all, old;
	int r;

	helper->client = client;
	helper->sock = fcntl(client->sock, F_DUPFD_CLOEXEC, 3);
	if (helper->sock < 0)
		return client_fail(-ENOMEM, "no descriptor: %s", err_text(errno));
	helper->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (helper->stop_fd < 0) {
		close(helper->sock);
		return client_fail(-ENOMEM, "no eventfd: %s", err_text(errno));
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&helper->thread, NULL, helper_main, helper);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r) {
		close(helper->sock);
		close(helper->stop_fd);
		return client_fail(-ENOMEM, "no thread: %s", err_text(r));
	}
	return 0;
}

static void helper_stop(struct helper *helper)
{
	uint64_t one = 1;

	while (write(helper->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(helper->thread, NULL);
	close(helper->sock);
	close(helper->stop_fd);
}

/* Puts the mapping at `temp` over the one at map->addr. */
static int move_over(struct vram_client *client, const struct object_map *map, uint64_t temp)
{
	void *from = (void *)(uintptr_t)temp, *to = (void *)(uintptr_t)map->addr;
	int error = 0;

	for (int i = 0; i < MOVE_ATTEMPTS; i++) {
		/* mremap() moves one area at a time; closed throughout, the mapping is one. */
		if (uffd_register(client->uffd, temp, map->length) < 0)
			break;
		pthread_mutex_lock(&client->maps_lock);
		if (mremap(from, map->length, map->length, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to)
			error = 0;
		else
			error = errno;
		pthread_mutex_unlock(&client->maps_lock);
		if (error == 0)
			return 0;
		if (error != EFAULT)
			break;
	}
	return client_fail(-ENOMEM, "cannot exchange a mapping: %s", err_text(error));
}

static int exchange_map(struct object *object, const struct object_map *map, int mem_fd,
			uint32_t id)
{
	struct vram_client *client = object->client;
	uint64_t temp = 0;
	int r;

	r = object_place(object, mem_fd, 0, false, map->length, map->offset, &temp);
	if (r < 0)
		return r;
	r = object_send_map(object, id, temp, map->length, map->offset);
	if (r == 0 && mprotect((void *)(uintptr_t)temp, map->length, map->prot))
		r = client_fail(-ENOMEM, "cannot open a mapping: %s", err_text(errno));
	if (r == 0)
		r = move_over(client, map, temp);
	if (r < 0) {
		uffd_unregister(client->uffd, temp, map->length);
		munmap((void *)(uintptr_t)temp, map->length);
		return r;
	}
	/* The daemon may have dropped touches at an address that it did not know yet. */
	uffd_wake(client->uffd, map->addr, map->length);
	for (size_t i = 0; i < client->n_stale; i++)
		uffd_wake(client->stale[i], map->addr, map->length);
	return 0;
}

/* A mapping whose bytes cannot be had any more: a touch raises SIGBUS, as for a truncated file. */
static void bury(struct vram_client *client, int empty_fd, uint64_t addr, uint64_t length)
{
	if (empty_fd >= 0)
		mmap((void *)(uintptr_t)addr, length, PROT_READ, MAP_SHARED | MAP_FIXED, empty_fd,
		     0);
	else
		mmap((void *)(uintptr_t)addr, length, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	for (size_t i = 0; i < client->n_stale; i++)
		uffd_wake(client->stale[i], addr, length);
}

/* The part of mapping `map` that layer i of a buffer covers. Return: false if none. */
static bool layer_range(const struct object *object, const struct object_map *map, uint32_t i,
			uint64_t *out_addr, uint64_t *out_length)
{
	uint64_t start = i * object->layer_bytes, end = start + object->layer_bytes;

	if (start < map->offset)
		start = map->offset;
	if (end > map->offset + map->length)
		end = map->offset + map->length;
	if (start >= end)
		return false;
	*out_addr = map->addr + (start - map->offset);
	*out_length = end - start;
	return true;
}

/* The buffer is gone; layers that are held (they are resident, their pages ours) may be used on. */
static void bury_buffer(struct object *object, int empty_fd)
{
	struct vram_client *client = object->client;
	struct object_map *map;

	list_for_each(map, &object->maps, node) {
		for (uint32_t i = 0; i < object->n_layers; i++) {
			uint64_t addr, length;

			if (!layer_range(object, map, i, &addr, &length))
				continue;
			if (residency_pins(&object->slots[i]) == 0) {
				bury(client, empty_fd, addr, length);
				continue;
			}
			for (size_t k = 0; k < client->n_stale; k++)
				uffd_unregister(client->stale[k], addr, length);
		}
	}
}

static void exchange_slots(struct object *object, struct table *table, uint32_t slot_base)
{
	struct residency_slot *slots = table->slots + slot_base;

	for (uint32_t i = 0; i < object->n_slots; i++) {
		struct residency_slot *old = &object->slots[i];
		uint64_t pins = residency_pins(old);

		/* The device may be releasing meanwhile: what is not counted here is carried over. */
		if (object->cuda)
			pins = atomic_load(&old->acquired) - atomic_load(&old->released) -
			       cuda_slot_exchange(object, i);
		atomic_fetch_add(&slots[i].acquired, pins);
	}
	object->slots = slots;
	table_put(object->table);
	object->table = table_get(table);
}

/* Opens an object at the new daemon and exchanges its mappings. */
static int exchange_object(struct object *object, struct table *table, int empty_fd)
{
	struct vram_client *client = object->client;
	struct vram_msg_object_reply reply;
	struct object_map *map;
	int fd, r;

	if (object->error)
		return 0;
	if (object->kind == OBJECT_BUFFER) {
		bury_buffer(object, empty_fd);
		object->error = -ECONNRESET;
		return 0;
	}
	r = object_open(object, &reply, &fd);
	if (r == 0 && reply.map_bytes < object->map_bytes) {
		close(fd);
		r = -ESTALE;
	}
	if (r < 0) {
		if (client->lost)
			return r;
		/* The file is another one, or may not be read any more: for good. */
		list_for_each(map, &object->maps, node)
			bury(client, empty_fd, map->addr, map->length);
		object->error = r;
		return 0;
	}
	object->id = reply.object;
	object->slot_base = reply.slot_base;
	if (object->mem_fd >= 0)
		close(object->mem_fd);
	object->mem_fd = fd;
	r = cuda_object_renew(object, &reply, fd);
	if (r < 0)
		return r;
	exchange_slots(object, table, reply.slot_base);
	list_for_each(map, &object->maps, node) {
		r = exchange_map(object, map, fd, reply.object);
		if (r < 0)
			return r;
	}
	if (object->has_order) {
		r = object_send_order(object);
		if (r < 0 && client->lost)
			return r;
	}
	return 0;
}

static int retire_uffd(struct vram_client *client)
{
	int *stale;

	if (client->uffd < 0)
		return 0;
	stale = realloc(client->stale, (client->n_stale + 1) * sizeof(*stale));
	if (!stale)
		return client_fail(-ENOMEM, "out of memory");
	client->stale = stale;
	stale[client->n_stale++] = client->uffd;
	client->uffd = -1;
	return 0;
}

static bool any_mapping(const struct vram_client *client)
{
	struct object *object;

	list_for_each(object, &client->objects, node)
		if (!list_is_empty(&object->maps))
			return true;
	return false;
}

/* Everything between a new connection and its use. */
static int exchange(struct vram_client *client, int table_fd)
{
	struct helper helper;
	struct object *object;
	struct table *table;
	int empty_fd, r;

	r = cuda_reattach(client);
	if (r < 0)
		return r;
	r = table_map(client, table_fd, &table);
	if (r < 0)
		return r;
	if (client->cuda)
		cuda_table_register(client->cuda, table);
	r = retire_uffd(client);
	if (r == 0 && any_mapping(client))
		r = object_need_uffd(client);
	if (r == 0)
		r = helper_start(&helper, client);
	if (r < 0) {
		table_put(table);
		return r;
	}
	empty_fd = memfd_create("vram-lost", MFD_CLOEXEC);

	atomic_store(client->phase, PHASE_EXCHANGE);
	reader_wait();
	if (client->cuda) {
		list_for_each(object, &client->objects, node)
			cuda_object_unbind(object);
		cuda_imports_orphan(client->cuda);
	}
	list_for_each(object, &client->objects, node) {
		r = exchange_object(object, table, empty_fd);
		if (r < 0)
			break;
	}
	/* After a failure some objects are on this table and others on older ones; each keeps its own. */
	table_put(client->table);
	client->table = table;
	atomic_store(client->phase, PHASE_UP);
	/* The next daemon has need of that memory. */
	if (client->cuda)
		cuda_sweep(client->cuda);

	if (empty_fd >= 0)
		close(empty_fd);
	helper_stop(&helper);
	if (r < 0)
		return r;
	for (size_t i = 0; i < client->n_stale; i++)
		close(client->stale[i]);
	client->n_stale = 0;
	return 0;
}

int client_reconnect(struct vram_client *client)
{
	struct vram_event event = { .kind = VRAM_EVENT_BACK };
	int table_fd, r;

	if (!client->lost)
		request_poll(client);
	if (!client->lost)
		return 0;
	r = request_connect(client, &table_fd);
	if (r < 0)
		return r;
	r = exchange(client, table_fd);
	if (table_fd >= 0)
		close(table_fd);
	if (r < 0) {
		request_lose(client, "");
		return -ENOTCONN;
	}
	client->told_lost = false;
	admit_renew(client);
	pressure_renew(client);
	client->generation++;
	client->daemon_pid = client->peer_pid;
	client_add_event(client, &event);
	return 0;
}
