// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Objects: what the daemon pages for us, and where it is mapped here.
 *
 * A mapping comes about in an order that never lets anybody read a hole: the address range is
 * reserved, the object is mapped into it without access rights, the daemon registers it
 * (MAP), and only then it becomes readable. Even mlockall(MCL_FUTURE), which fills new mappings at once, then
 * finds nothing that it could fill with zeros.
 *
 * A mapping goes in the opposite order: the daemon forgets it (UNMAP), our own userfaultfd lets go of
 * the range, so that nobody has to read an event about it, then it is unmapped.
 */
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"
#include "libclient/cuda_state.h"
#include "libclient/uffd.h"

static uint64_t page_up(uint64_t bytes)
{
	return (bytes + 4095) & ~4095ull;
}

static struct object *object_destroy(struct object *object)
{
	if (object->file_fd >= 0)
		close(object->file_fd);
	if (object->mem_fd >= 0)
		close(object->mem_fd);
	free(object->extents);
	free(object->order);
	free(object);
	return NULL;
}

static struct object *object_alloc(struct vram_client *client, enum object_kind kind,
				   const char *name)
{
	struct object *object = calloc(1, sizeof(*object));

	if (!object)
		return NULL;
	object->client = client;
	object->kind = kind;
	object->file_fd = -1;
	object->mem_fd = -1;
	snprintf(object->name, sizeof(object->name), "%s", name);
	list_init(&object->node);
	list_init(&object->maps);
	return object;
}

static int check_reply(const struct object *object, const struct vram_msg_object_reply *reply,
		       int fd)
{
	const struct vram_msg_hello_reply *hello = &object->client->hello;
	bool slots = object->kind == OBJECT_BUFFER || (object->flags & VRAM_MODEL_SLOTS);
	struct stat st;

	if (slots && (reply->n_slots != object->n_layers || reply->slot_base > hello->n_slots ||
		      reply->n_slots > hello->n_slots - reply->slot_base))
		return -EPROTO;
	if (object->client->cuda)
		return cuda_object_check(object, reply, fd);
	if (reply->map_bytes < page_up(object->size_bytes) || reply->map_bytes % 4096 ||
	    reply->chunk_bytes < 4096 || (reply->chunk_bytes & (reply->chunk_bytes - 1)))
		return -EPROTO;
	if (fstat(fd, &st) || (uint64_t)st.st_size < reply->map_bytes)
		return -EPROTO;
	return 0;
}

/*
 * Between two daemons nobody but us has seen the file: what is mapped of its former self must not be mixed
 * with what it is now.
 */
static bool file_changed(const struct object *object)
{
	struct stat st;

	return fstat(object->file_fd, &st) || (uint64_t)st.st_size != object->size_bytes ||
	       st.st_mtim.tv_sec != object->mtime.tv_sec ||
	       st.st_mtim.tv_nsec != object->mtime.tv_nsec;
}

int object_open(struct object *object, struct vram_msg_object_reply *out_reply, int *out_fd)
{
	struct vram_msg_model_open model = {
		.size_bytes = object->size_bytes,
		.n_layers = object->n_layers,
		.n_extents = object->n_extents,
		.flags = object->flags,
	};
	struct vram_msg_buffer_new buffer = {
		.size_bytes = object->size_bytes,
		.layer_bytes = object->layer_bytes,
	};
	struct request request = {
		.fd = -1,
		.reply = out_reply,
		.reply_bytes = sizeof(*out_reply),
		.out_fd = out_fd,
	};
	int r;

	if (object->kind == OBJECT_MODEL) {
		if (file_changed(object))
			return client_fail(-ESTALE, "%s has changed since it was opened",
					   object->name);
		memcpy(model.name, object->name, sizeof(model.name));
		request.type = VRAM_MSG_MODEL_OPEN;
		request.body = &model;
		request.body_bytes = sizeof(model);
		request.fd = object->file_fd;
		request.extents = object->extents;
		request.n_extents = object->n_extents;
	} else {
		memcpy(buffer.name, object->name, sizeof(buffer.name));
		request.type = VRAM_MSG_BUFFER_NEW;
		request.body = &buffer;
		request.body_bytes = sizeof(buffer);
	}
	r = request_call(object->client, &request);
	if (r < 0)
		return r;
	r = check_reply(object, out_reply, *out_fd);
	if (r < 0) {
		close(*out_fd);
		request_lose(object->client, "the daemon broke the protocol");
		return client_fail(r, "vramd described an object that cannot be");
	}
	return 0;
}

/* Opens it for the first time and puts it on the client's list. Destroys it on failure. */
static int object_begin(struct object *object, struct object **out_object)
{
	struct vram_client *client = object->client;
	struct vram_msg_object_reply reply;
	int fd, r;

	r = cuda_check_world(client);
	if (r == 0)
		r = object_open(object, &reply, &fd);
	if (r < 0) {
		object_destroy(object);
		return r;
	}
	object->id = reply.object;
	object->slot_base = reply.slot_base;
	object->n_slots = reply.n_slots;
	object->chunk_bytes = reply.chunk_bytes;
	object->map_bytes = reply.map_bytes;
	object->mem_fd = fd;
	object->table = table_get(client->table);
	object->slots = object->table->slots + reply.slot_base;
	list_add_tail(&object->node, &client->objects);
	*out_object = object;
	return 0;
}

int object_new_model(struct vram_client *client, int file_fd, uint64_t size_bytes, const char *name,
		     uint32_t flags, uint32_t n_layers, const struct vram_msg_extent *extents,
		     uint32_t n_extents, struct object **out_object)
{
	struct object *object = object_alloc(client, OBJECT_MODEL, name);
	struct stat st;

	if (!object) {
		close(file_fd);
		return client_fail(-ENOMEM, "out of memory");
	}
	object->file_fd = file_fd;
	if (fstat(file_fd, &st) == 0)
		object->mtime = st.st_mtim;
	object->size_bytes = size_bytes;
	object->flags = flags;
	object->n_layers = n_layers;
	if (n_extents) {
		object->extents = malloc(n_extents * sizeof(*extents));
		if (!object->extents) {
			object_destroy(object);
			return client_fail(-ENOMEM, "out of memory");
		}
		memcpy(object->extents, extents, n_extents * sizeof(*extents));
		object->n_extents = n_extents;
	}
	return object_begin(object, out_object);
}

int object_new_buffer(struct vram_client *client, const char *name, uint64_t bytes,
		      uint64_t layer_bytes, struct object **out_object)
{
	struct object *object = object_alloc(client, OBJECT_BUFFER, name);

	if (!object)
		return client_fail(-ENOMEM, "out of memory");
	object->size_bytes = bytes;
	object->layer_bytes = layer_bytes;
	object->n_layers = (uint32_t)((bytes + layer_bytes - 1) / layer_bytes);
	return object_begin(object, out_object);
}

struct object *object_free(struct object *object)
{
	struct vram_client *client;
	struct object_map *map;

	if (!object)
		return NULL;
	client = object->client;
	while ((map = list_first(&object->maps, struct object_map, node)))
		object_unmap(client, map->addr, map->length, false);
	/* Before the daemon hears of the end: then it knows that nobody has the memory any more. */
	cuda_object_free(object);
	if (!client->lost && !object->error) {
		struct vram_msg_object_close body = { .object = object->id };

		request_call(client, &(struct request){ .type = VRAM_MSG_OBJECT_CLOSE,
							.body = &body,
							.body_bytes = sizeof(body),
							.fd = -1 });
	}
	list_del(&object->node);
	table_put(object->table);
	return object_destroy(object);
}

void object_abandon(struct object *object)
{
	cuda_object_forget(object);
	close(object->mem_fd);
}

int object_send_order(struct object *object)
{
	struct vram_msg_order body = { .object = object->id, .n = object->n_order };

	return request_call(object->client,
			    &(struct request){
				    .type = VRAM_MSG_ORDER,
				    .body = &body,
				    .body_bytes = sizeof(body),
				    .more = object->order,
				    .more_bytes = object->n_order * sizeof(uint32_t),
				    .fd = -1,
			    });
}

int object_need_uffd(struct vram_client *client)
{
	int r;

	if (client->uffd < 0) {
		r = uffd_new(&client->uffd);
		if (r < 0)
			return client_fail(client_errno(r),
					   r == -EACCES ? "userfaultfd is not permitted here" :
							  "the kernel's userfaultfd lacks what is "
							  "needed (Linux 5.14 or newer)");
	}
	if (client->uffd_sent)
		return 0;
	r = request_call(client, &(struct request){ .type = VRAM_MSG_UFFD, .fd = client->uffd });
	if (r == 0)
		client->uffd_sent = true;
	return r;
}

int object_place(const struct object *object, int mem_fd, uint64_t addr, bool replace,
		 uint64_t length, uint64_t offset, uint64_t *out_addr)
{
	int flags = object->kind == OBJECT_BUFFER ? MAP_SHARED : MAP_PRIVATE;
	/* Larger than any huge page that one could get is no use. */
	uint64_t align = object->chunk_bytes < (2u << 20) ? object->chunk_bytes : 2u << 20;
	uint64_t room = length + align;
	char *reserve = NULL;
	void *p;

	if (addr == 0) {
		reserve = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			       -1, 0);
		if (reserve == MAP_FAILED)
			return client_fail(-ENOMEM, "no address space: %s", err_text(errno));
		addr = (uintptr_t)reserve + ((offset - (uintptr_t)reserve) & (align - 1));
		replace = true;
	}
	p = mmap((void *)(uintptr_t)addr, length, PROT_NONE,
		 flags | MAP_NORESERVE | (replace ? MAP_FIXED : MAP_FIXED_NOREPLACE), mem_fd,
		 (off_t)offset);
	if (p == MAP_FAILED || (uintptr_t)p != addr) {
		int r = p == MAP_FAILED ? errno : EEXIST;

		if (p != MAP_FAILED)
			munmap(p, length);
		if (reserve)
			munmap(reserve, room);
		return client_fail(-ENOMEM, "cannot map the memory of vramd: %s", err_text(r));
	}
	if (reserve) {
		uint64_t head = addr - (uintptr_t)reserve;

		if (head)
			munmap(reserve, head);
		if (head < align)
			munmap(reserve + head + length, align - head);
	}
	/* A child's copy would not be registered: it would read zeros, and plant them for others. */
	madvise(p, length, MADV_DONTFORK);
	*out_addr = addr;
	return 0;
}

static int send_unmap(struct vram_client *client, const struct object *object, uint64_t addr,
		      uint64_t length)
{
	struct vram_msg_unmap body = { .object = object->id, .addr = addr, .length = length };

	return request_call(client, &(struct request){ .type = VRAM_MSG_UNMAP,
						       .body = &body,
						       .body_bytes = sizeof(body),
						       .fd = -1 });
}

int object_send_map(struct object *object, uint32_t id, uint64_t addr, uint64_t length,
		    uint64_t offset)
{
	struct vram_client *client = object->client;
	struct vram_msg_map body = {
		.object = id, .addr = addr, .length = length, .offset = offset
	};
	const struct request request = {
		.type = VRAM_MSG_MAP,
		.body = &body,
		.body_bytes = sizeof(body),
		.fd = -1,
	};
	struct object *other;
	int r;

	r = request_call(client, &request);
	if (r != -EINVAL && r != -EEXIST)
		return r;
	/*
	 * The program may have unmapped something of ours behind our back where every chunk was
	 * open, of which the kernel does not tell the daemon: make it forget that range.
	 */
	list_for_each(other, &client->objects, node)
		if (!other->error && !client->lost)
			send_unmap(client, other, addr, length);
	return request_call(client, &request);
}

int object_map(struct object *object, uint64_t addr, bool replace, uint64_t length, uint64_t offset,
	       int prot, uint64_t *out_addr)
{
	struct vram_client *client = object->client;
	struct object_map *map;
	int r;

	length = page_up(length);
	r = object_need_uffd(client);
	if (r < 0)
		return r;
	map = calloc(1, sizeof(*map));
	if (!map)
		return client_fail(-ENOMEM, "out of memory");
	r = object_place(object, object->mem_fd, addr, replace, length, offset, &addr);
	if (r < 0) {
		free(map);
		return r;
	}
	r = object_send_map(object, object->id, addr, length, offset);
	if (r == 0 && mprotect((void *)(uintptr_t)addr, length, prot))
		r = client_fail(-ENOMEM, "cannot open a mapping: %s", err_text(errno));
	if (r < 0) {
		uffd_unregister(client->uffd, addr, length);
		munmap((void *)(uintptr_t)addr, length);
		free(map);
		return r;
	}
	map->addr = addr;
	map->length = length;
	map->offset = offset;
	map->prot = prot;
	pthread_mutex_lock(&client->maps_lock);
	list_add_tail(&map->node, &object->maps);
	pthread_mutex_unlock(&client->maps_lock);
	*out_addr = addr;
	return 0;
}

int object_map_whole(struct object *object, int prot, uint64_t *out_addr)
{
	if (object->client->cuda)
		return cuda_object_new(object, out_addr);
	return object_map(object, 0, false, object->map_bytes, 0, prot, out_addr);
}

static bool overlaps(const struct object_map *map, uint64_t start, uint64_t end)
{
	return map->addr < end && start < map->addr + map->length;
}

/* Cuts [start, end) out of a mapping's record; `spare` becomes the upper part if there are two. */
static void cut(struct object *object, struct object_map *map, uint64_t start, uint64_t end,
		struct object_map **spare, struct object_map **out_dead)
{
	uint64_t map_end = map->addr + map->length;

	if (start <= map->addr && end >= map_end) {
		list_del(&map->node);
		*out_dead = map;
	} else if (start <= map->addr) {
		map->offset += end - map->addr;
		map->length = map_end - end;
		map->addr = end;
	} else if (end >= map_end) {
		map->length = start - map->addr;
	} else {
		struct object_map *upper = *spare;

		*spare = NULL;
		*upper = *map;
		upper->addr = end;
		upper->length = map_end - end;
		upper->offset += end - map->addr;
		map->length = start - map->addr;
		list_init(&upper->node);
		list_add_tail(&upper->node, &object->maps);
	}
}

/* One mapping's part of the range. */
static void unmap_part(struct object *object, struct object_map *map, uint64_t start, uint64_t end,
		       bool leave)
{
	struct vram_client *client = object->client;
	/* Nothing may be allocated under maps_lock. */
	struct object_map *spare = calloc(1, sizeof(*spare));
	struct object_map *dead = NULL;

	if (start < map->addr)
		start = map->addr;
	if (end > map->addr + map->length)
		end = map->addr + map->length;
	if (!spare) {
		/* Without memory to cut it in two, the whole of it is forgotten and stays mapped. */
		start = map->addr;
		end = map->addr + map->length;
	}
	if (!client->lost && !object->error)
		send_unmap(client, object, start, end - start);
	pthread_mutex_lock(&client->maps_lock);
	cut(object, map, start, end, &spare, &dead);
	if (client->uffd >= 0)
		uffd_unregister(client->uffd, start, end - start);
	for (size_t i = 0; i < client->n_stale; i++)
		uffd_unregister(client->stale[i], start, end - start);
	if (!leave)
		munmap((void *)(uintptr_t)start, end - start);
	pthread_mutex_unlock(&client->maps_lock);
	free(spare);
	free(dead);
}

void object_unmap(struct vram_client *client, uint64_t addr, uint64_t length, bool leave)
{
	uint64_t end = addr + length;
	struct object *object;

	list_for_each(object, &client->objects, node) {
		struct object_map *map, *tmp;

		/* What a cut adds lies outside the range. */
		list_for_each_safe(map, tmp, &object->maps, node)
			if (overlaps(map, addr, end))
				unmap_part(object, map, addr, end, leave);
	}
}
