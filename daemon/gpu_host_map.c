// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clients' mappings of the host device, driven from here through the client's userfaultfd.
 *
 * A closed chunk is a range that is registered (MISSING and MINOR): a touch stops and arrives here as
 * an event. An open chunk is not registered: the client faults natively, with huge pages in
 * one step. UNREGISTER wakes the threads that wait in the range, so opening needs nothing else.
 * Why both modes: with MISSING alone, a client that touches a hole just after another one has
 * planted a zero page there would silently read zeros.
 *
 * The client may do with its mappings what it wants; the kernel tells us through the same descriptor,
 * in order, and the caller in the client waits until we have read it: EVENT_UNMAP takes a range away
 * (whole mappings, their ends, or a hole in the middle that splits one), EVENT_REMAP moves one. A
 * client that lies about what it maps only harms itself: registration applies to its own address
 * space, and memory that is not shmem refuses MINOR.
 *
 * Ownership: a map belongs to its client and is listed in its object. Object and client outlive it.
 */
#include "daemon/gpu_host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/fd.h"
#include "daemon/log.h"
#include "daemon/loop.h"

/* Mappings of one client; fragments count. */
#define MAPS_MAX 1024
/* Each border between an open and a closed chunk is a border between two areas in the client, of
 * which the kernel allows vm.max_map_count (65530); the rest is the program's. There can be as many
 * as the mappings have chunks, so that is what is limited, when mapping: opening must never fail. */
#define MAPPED_CHUNKS_MAX 49152
/* Touches of a chunk that cannot be opened because the client does not map it as it said. */
#define FALSE_TOUCHES_MAX 256

struct host_map {
	struct gpu_client *client;
	struct host_object *object;
	uint64_t addr;
	uint64_t length;
	uint64_t offset;	    /* of addr, in the object */
	struct list_node in_client; /* struct gpu_client.maps */
	struct list_node in_object; /* struct host_object.maps */
	uint8_t open[];		    /* a bit a chunk of the object */
};

struct gpu_client {
	struct loop *loop;
	int uffd;
	const struct gpu_client_events *events;
	void *owner;
	struct loop_op poll;
	struct list_node maps;
	unsigned int n_maps;
	uint64_t n_mapped_chunks;
	unsigned int n_false_touches;
};

static bool chunk_is_open(const struct host_map *map, uint32_t chunk)
{
	return map->open[chunk / 8] >> (chunk % 8) & 1;
}

/* The part of chunks [first, first + n) that the mapping shows. Return: false if nothing. */
static bool clip(const struct host_map *map, uint32_t first, uint32_t n,
		 struct uffdio_range *out_range)
{
	const struct gpu_object *object = &map->object->gpu_object;
	uint64_t start = gpu_chunk_offset(object, first);
	uint64_t end = start + (uint64_t)n * object->chunk_bytes;

	if (start < map->offset)
		start = map->offset;
	if (end > map->offset + map->length)
		end = map->offset + map->length;
	if (start >= end)
		return false;
	out_range->start = map->addr + (start - map->offset);
	out_range->len = end - start;
	return true;
}

/* The client has replaced or removed the area, or is gone: its own business. */
static bool client_changed(int error)
{
	return error == EINVAL || error == ENOENT || error == ESRCH || error == ENOMEM ||
	       error == EBUSY;
}

static int register_range(struct gpu_client *client, const struct uffdio_range *range)
{
	struct uffdio_register reg = {
		.range = *range,
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
	};

	while (ioctl(client->uffd, UFFDIO_REGISTER, &reg))
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	return 0;
}

static int unregister_range(struct gpu_client *client, const struct uffdio_range *range)
{
	struct uffdio_range copy = *range;

	while (ioctl(client->uffd, UFFDIO_UNREGISTER, &copy))
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	return 0;
}

static void wake_range(struct gpu_client *client, const struct uffdio_range *range)
{
	struct uffdio_range copy = *range;

	ioctl(client->uffd, UFFDIO_WAKE, &copy);
}

static void mark(struct host_map *map, uint32_t chunk, bool open)
{
	uint8_t bit = (uint8_t)(1u << (chunk % 8));

	if (open)
		map->open[chunk / 8] |= bit;
	else
		map->open[chunk / 8] &= (uint8_t)~bit;
}

static uint64_t chunks_of(const struct host_map *map)
{
	return map->length / map->object->gpu_object.chunk_bytes + 1;
}

static struct host_map *map_free(struct host_map *map)
{
	map->client->n_mapped_chunks -= chunks_of(map);
	list_del(&map->in_client);
	list_del(&map->in_object);
	map->client->n_maps--;
	free(map);
	return NULL;
}

static struct host_map *map_new(struct gpu_client *client, struct host_object *object,
				uint64_t addr, uint64_t length, uint64_t offset)
{
	size_t bits = (object->gpu_object.n_chunks + 7) / 8;
	struct host_map *map = calloc(1, sizeof(*map) + bits);

	if (!map)
		return NULL;
	map->client = client;
	map->object = object;
	map->addr = addr;
	map->length = length;
	map->offset = offset;
	list_add_tail(&map->in_client, &client->maps);
	list_add_tail(&map->in_object, &object->maps);
	client->n_maps++;
	client->n_mapped_chunks += chunks_of(map);
	return map;
}

/* Cut at an address inside the mapping: the upper part becomes a mapping of its own. */
static int map_split(struct host_map *map, uint64_t at)
{
	size_t bits = (map->object->gpu_object.n_chunks + 7) / 8;
	struct host_map *upper;

	if (map->client->n_maps >= MAPS_MAX)
		return -ENOSPC;
	upper = map_new(map->client, map->object, at, map->addr + map->length - at,
			map->offset + (at - map->addr));
	if (!upper)
		return -ENOMEM;
	memcpy(upper->open, map->open, bits);
	map->client->n_mapped_chunks -= chunks_of(map);
	map->length = at - map->addr;
	map->client->n_mapped_chunks += chunks_of(map);
	return 0;
}

/* Split mappings so that none crosses either end of the range. */
static int isolate(struct gpu_client *client, uint64_t start, uint64_t end)
{
	struct host_map *map;
	int r;

	list_for_each(map, &client->maps, in_client) {
		uint64_t map_end = map->addr + map->length;

		/* A split appends the upper part, which this walk then meets. */
		if (map->addr < start && start < map_end)
			r = map_split(map, start);
		else if (map->addr < end && end < map_end)
			r = map_split(map, end);
		else
			r = 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static bool has_maps(const struct gpu_client *client, const struct host_object *object)
{
	struct host_map *map;

	list_for_each(map, &client->maps, in_client)
		if (map->object == object)
			return true;
	return false;
}

static void range_gone(struct gpu_client *client, uint64_t start, uint64_t end)
{
	struct host_map *map, *tmp;
	int r = isolate(client, start, end);

	if (r < 0) {
		client->events->failed(client->owner, r, "too many fragments of mappings");
		return;
	}
again:
	list_for_each_safe(map, tmp, &client->maps, in_client) {
		struct host_object *object = map->object;

		if (map->addr < start || map->addr >= end)
			continue;
		map_free(map);
		if (has_maps(client, object))
			continue;
		/* The owner may close the object in reply; begin anew on a list that may have changed. */
		client->events->unmapped(client->owner, &object->gpu_object);
		goto again;
	}
}

static void range_moved(struct gpu_client *client, uint64_t from, uint64_t to, uint64_t len)
{
	struct host_map *map;
	int r = isolate(client, from, from + len);

	if (r < 0) {
		client->events->failed(client->owner, r, "too many fragments of mappings");
		return;
	}
	list_for_each(map, &client->maps, in_client)
		if (map->addr >= from && map->addr < from + len)
			map->addr = map->addr - from + to;
}

static void touched(struct gpu_client *client, uint64_t addr)
{
	struct host_map *map;

	list_for_each(map, &client->maps, in_client) {
		struct uffdio_range range;
		uint64_t offset;
		uint32_t chunk;

		if (addr < map->addr || addr - map->addr >= map->length)
			continue;
		offset = map->offset + (addr - map->addr);
		chunk = (uint32_t)(offset / map->object->gpu_object.chunk_bytes);
		if (!chunk_is_open(map, chunk) || !clip(map, chunk, 1, &range)) {
			client->events->fault(client->owner, &map->object->gpu_object, chunk);
			return;
		}
		/* A second thread's event may lie in the queue while the chunk was opened for the first.
		 * But a range that cannot be opened would trap for ever. */
		if (unregister_range(client, &range) == 0)
			client->n_false_touches = 0;
		else if (++client->n_false_touches > FALSE_TOUCHES_MAX)
			client->events->failed(client->owner, -EPROTO,
					       "a mapping is not what MAP said it was");
		wake_range(client, &range);
		return;
	}
	/* Unmapped meanwhile: let the thread find out by itself. */
	wake_range(client, &(struct uffdio_range){ .start = addr & ~4095ull, .len = 4096 });
}

/*
 * The owner may free the client from inside a callback; it does so only by freeing the session after
 * the loop's turn (see session.c), so the client stays valid here.
 */
static void readable(struct loop_op *op, int res)
{
	struct gpu_client *client = list_entry(op, struct gpu_client, poll);
	struct uffd_msg msgs[16];
	ssize_t n;

	if (res < 0 || (res & (POLLERR | POLLHUP | POLLNVAL))) {
		client->events->failed(client->owner, res < 0 ? res : -EIO, "userfaultfd broke");
		return;
	}
	for (;;) {
		n = read(client->uffd, msgs, sizeof(msgs));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		for (size_t i = 0; i < (size_t)n / sizeof(msgs[0]); i++) {
			const struct uffd_msg *msg = &msgs[i];

			if (!loop_op_armed(&client->poll))
				return; /* the session has ended meanwhile */
			switch (msg->event) {
			case UFFD_EVENT_PAGEFAULT:
				touched(client, msg->arg.pagefault.address);
				break;
			case UFFD_EVENT_UNMAP:
				range_gone(client, msg->arg.remove.start, msg->arg.remove.end);
				break;
			case UFFD_EVENT_REMAP:
				range_moved(client, msg->arg.remap.from, msg->arg.remap.to,
					    msg->arg.remap.len);
				break;
			default:
				break; /* features that were not asked for */
			}
		}
	}
	if (n < 0 && errno != EAGAIN)
		client->events->failed(client->owner, -errno, "userfaultfd cannot be read");
}

int host_client_new(struct loop *loop, int fd, const struct gpu_client_events *events, void *owner,
		    struct gpu_client **out)
{
	struct gpu_client *client;
	int flags, r;

	r = fd_is_userfaultfd(fd);
	if (r <= 0) {
		r = r < 0 ? r : -EINVAL;
		goto err_close;
	}
	/* Without O_NONBLOCK one read could stop the daemon; poll does not work then either. */
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || !(flags & O_NONBLOCK)) {
		r = -EINVAL;
		goto err_close;
	}
	client = calloc(1, sizeof(*client));
	if (!client) {
		r = -ENOMEM;
		goto err_close;
	}
	client->loop = loop;
	client->uffd = fd;
	client->events = events;
	client->owner = owner;
	client->poll.fn = readable;
	list_init(&client->maps);
	r = loop_poll(loop, &client->poll, fd, POLLIN);
	if (r < 0) {
		free(client);
		goto err_close;
	}
	*out = client;
	return 0;

err_close:
	close(fd);
	return r;
}

struct gpu_client *host_client_free(struct gpu_client *client)
{
	struct host_map *map, *tmp;

	loop_cancel(client->loop, &client->poll);
	list_for_each_safe(map, tmp, &client->maps, in_client) {
		struct uffdio_range range = { .start = map->addr, .len = map->length };

		/* If the process lives on it shall wait for the next daemon, not read what comes
		 * after us in these pages. */
		register_range(client, &range);
		map_free(map);
	}
	close(client->uffd);
	free(client);
	return NULL;
}

int host_client_map(struct gpu_client *client, struct gpu_object *gpu_object, uint64_t addr,
		    uint64_t length, uint64_t offset)
{
	struct host_object *object = (struct host_object *)gpu_object;
	struct uffdio_range range = { .start = addr, .len = length };
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct host_map *map;
	int r;

	if (addr % page || length % page || offset % page || length == 0)
		return -EINVAL;
	if (offset > gpu_object->map_bytes || length > gpu_object->map_bytes - offset ||
	    addr > UINT64_MAX - length)
		return -EINVAL;
	list_for_each(map, &client->maps, in_client)
		if (addr < map->addr + map->length && map->addr < addr + length)
			return -EEXIST;
	if (client->n_maps >= MAPS_MAX ||
	    client->n_mapped_chunks + length / gpu_object->chunk_bytes + 1 > MAPPED_CHUNKS_MAX)
		return -ENOSPC;
	map = map_new(client, object, addr, length, offset);
	if (!map)
		return -ENOMEM;
	r = register_range(client, &range);
	if (r < 0)
		map_free(map);
	return r;
}

void host_client_unmap(struct gpu_client *client, struct gpu_object *gpu_object, uint64_t addr,
		       uint64_t length)
{
	struct host_object *object = (struct host_object *)gpu_object;
	struct host_map *map, *tmp;

	if (addr > UINT64_MAX - length || isolate(client, addr, addr + length) < 0)
		return;
	list_for_each_safe(map, tmp, &client->maps, in_client)
		if (map->object == object && map->addr >= addr && map->addr < addr + length)
			map_free(map);
}

void host_client_forget(struct gpu_client *client, struct gpu_object *gpu_object)
{
	struct host_object *object = (struct host_object *)gpu_object;
	struct host_map *map, *tmp;

	list_for_each_safe(map, tmp, &object->maps, in_object) {
		if (map->client != client)
			continue;
		register_range(client,
			       &(struct uffdio_range){ .start = map->addr, .len = map->length });
		map_free(map);
	}
}

static int set_open(struct gpu_client *client, struct gpu_object *gpu_object, uint32_t first,
		    uint32_t n, bool open)
{
	struct host_object *object = (struct host_object *)gpu_object;
	struct uffdio_range range;
	struct host_map *map;
	bool changes;
	int result = 0;

	list_for_each(map, &object->maps, in_object) {
		if (map->client != client || !clip(map, first, n, &range))
			continue;
		changes = false;
		for (uint32_t i = first; i < first + n; i++) {
			changes |= chunk_is_open(map, i) != open;
			mark(map, i, open);
		}
		/* Closing is what others rely on: never skipped on the strength of our own books. */
		if (open && !changes)
			continue;
		if (open) {
			if (unregister_range(client, &range) < 0)
				wake_range(client, &range);
		} else {
			int r = register_range(client, &range);

			if (r < 0 && !client_changed(-r))
				result = r;
		}
	}
	return result;
}

int host_client_open(struct gpu_client *client, struct gpu_object *object, uint32_t first,
		     uint32_t n)
{
	return set_open(client, object, first, n, true);
}

int host_client_close(struct gpu_client *client, struct gpu_object *object, uint32_t first,
		      uint32_t n)
{
	return set_open(client, object, first, n, false);
}
