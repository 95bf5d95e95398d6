/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device that holds chunks: the seam between the pager and what the memory really is.
 *
 * A device has objects; an object is a row of chunks of one size, each present or absent. Present
 * means that memory is behind it; what the memory holds is the pager's knowledge, not the device's.
 * A client has mappings of objects. In a mapping a chunk is open (the client touches it at will) or
 * closed (a touch stops the thread and raises the fault callback, until the chunk is opened). All
 * chunks of a new mapping are closed.
 *
 * The order that keeps clients from ever seeing wrong bytes: fill a chunk while it is closed
 * everywhere, then open it; close it everywhere, then drop it. The pager keeps to it; the device
 * checks nothing.
 *
 * Bytes reach a chunk in one of two ways. Where the CPU can address device memory (direct), the
 * pager reads files straight into gpu_chunk_addr(). Else it reads into its host tier and
 * calls gpu_copy_start(), which goes over the link and completes later.
 *
 * Memory of a device of its own (a card) is not simply there: the pager asks for it with gpu_chunk_reserve() before
 * it fills a chunk, may be told to come again, and the memory that a chunk gets may be other memory than the
 * last time. Clients of such a device import it chunk by chunk (gpu_chunk_export()) and find out by the object's
 * bindings what to import; they cannot be stopped at a touch, so opening and closing mean nothing there. It cannot be taken
 * from a client against its will: the device asks for it (reclaim), and ends the process that does not obey.
 *
 * Everything runs on the loop's thread. Nothing here knows of sessions, policy or limits.
 */
#ifndef VRAM_DAEMON_GPU_H
#define VRAM_DAEMON_GPU_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/list.h"

struct loop;

struct gpu_params {
	const char *name;	   /* for people; NULL: the backend's own */
	uint64_t budget_bytes;	   /* what may be present at once; the pager keeps to it */
	uint64_t link_bytes_per_s; /* 0: the CPU addresses the memory, no host tier needed */
	int huge;		   /* huge pages: -1 auto, 0 never, 1 required */
	/* A card: */
	const char *card;	/* an ordinal, a PCI address or a UUID; "": the first */
	uint64_t chunk_bytes;	/* 0: the device's choice */
	uint64_t reserve_bytes; /* of its memory, never taken */
	uint64_t idle_ns; /* memory that holds nothing goes back to the driver after so long */
	uint64_t reclaim_timeout_ns; /* for clients to let go of memory */
	const struct gpu_events *events;
	void *owner;
};

/* What a device tells by itself, from the loop's thread and never from inside a call of its owner. */
struct gpu_events {
	/* Memory that gpu_chunk_reserve() had none of may be there now. */
	void (*ready)(void *owner);
	/* What may be present at once is another number than before: somebody else uses the device, or less than before. */
	void (*budget)(void *owner, uint64_t budget_bytes);
	/* The device is gone, or broken for this process: every call fails from now on. Copies in flight have failed. */
	void (*lost)(void *owner, int error, const char *reason);
};

/* The process at the other end. */
struct gpu_peer {
	pid_t pid;
	uid_t uid;
	int pidfd; /* the session's, or -1 */
};

struct gpu_ops;
struct gpu {
	const struct gpu_ops *ops;
	char name[32];
	uint32_t kind; /* enum vram_device_kind */
	bool direct;   /* gpu_chunk_addr() may be read into; no copies over a link */
	bool huge;     /* chunks are made of huge pages */
	bool per_user; /* objects are not shared between users */
	bool imports;  /* clients attach and import chunks; there are no faults and no mappings */
	uint64_t budget_bytes;
	uint64_t link_bytes_per_s;
	uint64_t granularity_bytes; /* imports: of chunks */
	uint32_t chunk_bytes;	    /* the size it likes best; 0: any */
	uint8_t uuid[16];
	char pci[16]; /* "0000:01:00.0", or "" */
};

/* An object. The first members of the backend's own struct. */
struct gpu_object {
	struct gpu *gpu;
	uint64_t map_bytes; /* a multiple of the page size; the last chunk may be short */
	uint32_t chunk_bytes;
	uint32_t n_chunks;
	bool writable; /* clients write to it: a buffer */
	uid_t uid;     /* whose it is, where objects are per user */
	void *owner;   /* the caller's */
};

/* A client process's side of the device: for the host device its userfaultfd. */
struct gpu_client_events {
	/* A thread touched a closed chunk and waits. */
	void (*fault)(void *owner, struct gpu_object *object, uint32_t chunk);
	/* The last mapping of the object in this client is gone (the client unmapped it). */
	void (*unmapped)(void *owner, struct gpu_object *object);
	/* The channel broke or lied; the session should end. */
	void (*failed)(void *owner, int error, const char *reason);
	/* Ask the client to let go of these chunks; gpu_client_reclaimed() when it says that it has. The deadline is
	 * UINT64_MAX while nobody waits for them. */
	void (*reclaim)(void *owner, const uint64_t *ids, uint32_t n, uint64_t deadline_ns);
};
struct gpu_client;

enum gpu_copy_direction {
	GPU_COPY_IN,
	GPU_COPY_OUT,
	GPU_COPY_ZERO /* no host side: the chunk becomes zero */
};

/* One copy over the link, embedded in its owner; done runs on the loop's thread. */
struct gpu_copy {
	void (*done)(struct gpu_copy *copy, int res);
	struct gpu_object *object;
	uint32_t chunk;
	enum gpu_copy_direction direction;
	void *host;
	uint32_t len;
	struct list_node node; /* the backend's */
};

struct gpu_ops {
	struct gpu *(*free)(struct gpu *gpu);
	int (*object_new)(struct gpu *gpu, const char *name, uint64_t bytes, uint32_t chunk_bytes,
			  bool writable, uid_t uid, struct gpu_object **out);
	struct gpu_object *(*object_free)(struct gpu_object *object);
	int (*object_client_fd)(struct gpu_object *object, int *out_fd);
	uint64_t (*object_memory)(struct gpu_object *object);
	void *(*chunk_addr)(struct gpu_object *object, uint32_t chunk);
	int (*chunk_drop)(struct gpu_object *object, uint32_t first, uint32_t n);
	void (*copy_start)(struct gpu_copy *copy);

	/* NULL where memory is simply there. */
	int (*chunk_reserve)(struct gpu_object *object, uint32_t chunk);
	uint64_t (*chunk_stamp)(struct gpu_object *object, uint32_t chunk);
	bool (*chunk_rival)(struct gpu_object *object, uint32_t chunk,
			    struct gpu_object **out_object, uint32_t *out_chunk);
	struct gpu_object *(*chunk_holder)(struct gpu *gpu, uint64_t id);
	int (*chunk_export)(struct gpu_client *client, uint64_t id, int *out_fd);
	void (*client_reclaimed)(struct gpu_client *client, const uint64_t *ids, uint32_t n);
	/* NULL: the host tier is memory like any other. */
	void *(*host_map)(struct gpu *gpu, uint64_t bytes);
	void (*host_touch)(struct gpu *gpu, void *addr, uint64_t bytes);
	void (*host_unmap)(struct gpu *gpu, void *addr, uint64_t bytes);

	int (*client_new)(struct gpu *gpu, int fd, const struct gpu_peer *peer,
			  const struct gpu_client_events *events, void *owner,
			  struct gpu_client **out);
	struct gpu_client *(*client_free)(struct gpu_client *client);
	int (*client_map)(struct gpu_client *client, struct gpu_object *object, uint64_t addr,
			  uint64_t length, uint64_t offset);
	void (*client_unmap)(struct gpu_client *client, struct gpu_object *object, uint64_t addr,
			     uint64_t length);
	void (*client_forget)(struct gpu_client *client, struct gpu_object *object);
	int (*client_open)(struct gpu_client *client, struct gpu_object *object, uint32_t first,
			   uint32_t n);
	int (*client_close)(struct gpu_client *client, struct gpu_object *object, uint32_t first,
			    uint32_t n);
};

/* The host device (gpu_host.c). Return: 0 or -errno with the reason logged. */
int gpu_host_new(struct gpu **out, struct loop *loop, const struct gpu_params *params);
/*
 * A card, by CUDA (gpu_cuda.c). budget_bytes: 0 for all of it but the reserve. Return: 0; -ENOENT if there is no driver
 * or no card, -errno for one that cannot be used; with a reason in one line.
 */
int gpu_cuda_new(struct gpu **out, struct loop *loop, const struct gpu_params *params, char *reason,
		 size_t reason_size);

static inline struct gpu *gpu_free(struct gpu *gpu)
{
	return gpu ? gpu->ops->free(gpu) : NULL;
}

/* gpu_object_new() - map_bytes is bytes rounded up to pages, or to the granularity. Return: 0 or -errno. */
static inline int gpu_object_new(struct gpu *gpu, const char *name, uint64_t bytes,
				 uint32_t chunk_bytes, bool writable, uid_t uid,
				 struct gpu_object **out)
{
	return gpu->ops->object_new(gpu, name, bytes, chunk_bytes, writable, uid, out);
}

/* No client may have a mapping any more (client_forget or client_free first). */
static inline struct gpu_object *gpu_object_free(struct gpu_object *object)
{
	return object ? object->gpu->ops->object_free(object) : NULL;
}

/* A new descriptor, the caller's, for the client to map: the memory, read-only unless the object is writable; or the
 * bindings. */
static inline int gpu_object_client_fd(struct gpu_object *object, int *out_fd)
{
	return object->gpu->ops->object_client_fd(object, out_fd);
}

/* Bytes of memory that are really behind the object, also those that nobody asked for. */
static inline uint64_t gpu_object_memory(struct gpu_object *object)
{
	return object->gpu->ops->object_memory(object);
}

static inline uint64_t gpu_chunk_offset(const struct gpu_object *object, uint32_t chunk)
{
	return (uint64_t)chunk * object->chunk_bytes;
}

/* The chunk's length; only the last one of an object may be shorter than chunk_bytes. */
static inline uint32_t gpu_chunk_len(const struct gpu_object *object, uint32_t chunk)
{
	uint64_t left = object->map_bytes - gpu_chunk_offset(object, chunk);

	return left < object->chunk_bytes ? (uint32_t)left : object->chunk_bytes;
}

/* Where the CPU finds the chunk; direct devices only. Writing there makes the chunk present. */
static inline void *gpu_chunk_addr(struct gpu_object *object, uint32_t chunk)
{
	return object->gpu->ops->chunk_addr(object, chunk);
}

/*
 * Memory for a chunk that is absent: it is the chunk's until gpu_chunk_drop(), and holds anything of the same user. Return: 0;
 * -EAGAIN (later: `ready` comes, or come again); -ENOMEM (there is none: `budget` comes); -ENODEV.
 */
static inline int gpu_chunk_reserve(struct gpu_object *object, uint32_t chunk)
{
	return object->gpu->ops->chunk_reserve ? object->gpu->ops->chunk_reserve(object, chunk) : 0;
}

/* A number that is another one, and larger, whenever the chunk got other memory than it had before. 0: nobody needs to know. */
static inline uint64_t gpu_chunk_stamp(struct gpu_object *object, uint32_t chunk)
{
	return object->gpu->ops->chunk_stamp ? object->gpu->ops->chunk_stamp(object, chunk) : 0;
}

/* Which chunk has the memory that this absent one had last: clients would have to map nothing if that went. */
static inline bool gpu_chunk_rival(struct gpu_object *object, uint32_t chunk,
				   struct gpu_object **out_object, uint32_t *out_chunk)
{
	const struct gpu_ops *ops = object->gpu->ops;

	return ops->chunk_rival && ops->chunk_rival(object, chunk, out_object, out_chunk);
}

/* The object that the memory of this id is bound to; NULL: none, no such id, or nothing was loaded into it yet. */
static inline struct gpu_object *gpu_chunk_holder(struct gpu *gpu, uint64_t id)
{
	return gpu->ops->chunk_holder ? gpu->ops->chunk_holder(gpu, id) : NULL;
}

/* A new descriptor, the caller's, of memory that is bound; remembered until gpu_client_reclaimed(). Return: 0 or -errno. */
static inline int gpu_chunk_export(struct gpu *gpu, struct gpu_client *client, uint64_t id,
				   int *out_fd)
{
	return gpu->ops->chunk_export ? gpu->ops->chunk_export(client, id, out_fd) : -EOPNOTSUPP;
}

static inline void gpu_client_reclaimed(struct gpu *gpu, struct gpu_client *client,
					const uint64_t *ids, uint32_t n)
{
	if (gpu->ops->client_reclaimed)
		gpu->ops->client_reclaimed(client, ids, n);
}

/* Gives the memory of n chunks back; they must be closed in every mapping. Return: 0 or -errno. */
static inline int gpu_chunk_drop(struct gpu_object *object, uint32_t first, uint32_t n)
{
	return object->gpu->ops->chunk_drop(object, first, n);
}

/* Starts a copy between copy->host and the chunk; done is called later, never from inside. */
static inline void gpu_copy_start(struct gpu_copy *copy)
{
	copy->object->gpu->ops->copy_start(copy);
}

/*
 * gpu_client_new() - fd is a received descriptor, taken on success and on failure; -1 where clients import. Return: 0, -EINVAL if the
 * descriptor is not what the device needs, or -errno.
 */
static inline int gpu_client_new(struct gpu *gpu, int fd, const struct gpu_peer *peer,
				 const struct gpu_client_events *events, void *owner,
				 struct gpu_client **out)
{
	return gpu->ops->client_new(gpu, fd, peer, events, owner, out);
}

/* The process is gone or leaves: forget its mappings, touch nothing of it. The events stop. */
static inline struct gpu_client *gpu_client_free(struct gpu *gpu, struct gpu_client *client)
{
	return client ? gpu->ops->client_free(client) : NULL;
}

/* A mapping with all chunks closed. Return: 0, -EINVAL for a range that the client does not map so, -ENOSPC
 * for too many mappings, or -errno. */
static inline int gpu_client_map(struct gpu_client *client, struct gpu_object *object,
				 uint64_t addr, uint64_t length, uint64_t offset)
{
	return object->gpu->ops->client_map ?
		       object->gpu->ops->client_map(client, object, addr, length, offset) :
		       -EOPNOTSUPP;
}

/* Forgets the mappings in the range; no event. */
static inline void gpu_client_unmap(struct gpu_client *client, struct gpu_object *object,
				    uint64_t addr, uint64_t length)
{
	if (object->gpu->ops->client_unmap)
		object->gpu->ops->client_unmap(client, object, addr, length);
}

/* Opens every chunk and forgets all mappings of the object. No event. */
static inline void gpu_client_forget(struct gpu_client *client, struct gpu_object *object)
{
	if (object->gpu->ops->client_forget)
		object->gpu->ops->client_forget(client, object);
}

/* In all the client's mappings of the object. Opening wakes the threads that wait. Errors of a client
 * that has changed its mappings behind our back are its own loss and are not reported; -errno is
 * for what concerns others: close failing means that the chunk must not be dropped. */
static inline int gpu_client_open(struct gpu_client *client, struct gpu_object *object,
				  uint32_t first, uint32_t n)
{
	return object->gpu->ops->client_open ?
		       object->gpu->ops->client_open(client, object, first, n) :
		       0;
}

static inline int gpu_client_close(struct gpu_client *client, struct gpu_object *object,
				   uint32_t first, uint32_t n)
{
	return object->gpu->ops->client_close ?
		       object->gpu->ops->client_close(client, object, first, n) :
		       0;
}

#endif
