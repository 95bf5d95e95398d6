/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the CUDA backend share.
 *
 *	gpu_cuda.c		the device: start, memory for chunks, watching, loss and return
 *	gpu_cuda_probe.c	which card, and can it be used
 *	gpu_cuda_pool.c		the books (pure)
 *	gpu_cuda_memory.c	allocations of the driver's, and addresses for them
 *	gpu_cuda_copy.c		copies on streams of our own
 *	gpu_cuda_object.c	objects and their bindings
 *	gpu_cuda_client.c	exports, asking back, the end of those that do not obey
 *	gpu_cuda_host.c		pinned memory for the host tier
 *
 * Everything runs on the loop's thread, in which the card's primary context stays current. The driver is called where
 * something has to be done and nowhere else; which of its calls may take long is said where they are.
 */
#ifndef VRAM_DAEMON_GPU_CUDA_H
#define VRAM_DAEMON_GPU_CUDA_H

#include "common/cuda_driver.h"
#include "common/list.h"
#include "daemon/gpu.h"
#include "daemon/gpu_cuda_pool.h"
#include "daemon/loop.h"

/* Copies on the streams at once; more wait here. */
#define CUDA_FLIGHTS 128

/* One allocation of the driver's, mapped for reading and writing in our own address space. */
struct cuda_memory {
	struct cuda_phys phys; /* first */
	cuda_mem mem;
	cuda_ptr at;
	struct cuda_space *space; /* whose slot `at` is */
	bool has_mem;
	bool is_mapped;
	int fd;		       /* what is dup()ed for clients, or -1 */
	struct list_node node; /* struct cuda_device.stuck */
};

/* Addresses for allocations up to one size, reserved many at a time. */
struct cuda_space {
	struct cuda_space *next;
	uint64_t stride;
	cuda_ptr *free_slots;
	uint32_t n_free;
	cuda_ptr *regions;
	uint32_t n_regions;
};

/* One chunk of an object. */
struct cuda_place {
	struct cuda_memory *memory; /* NULL: absent */
	uint64_t last;		    /* the id that it has, or had last; 0: none ever */
	uint64_t stamp;		    /* when that became another one */
};

struct cuda_object {
	struct gpu_object gpu_object; /* first */
	struct list_node node;	      /* struct cuda_device.objects */
	int fd;			      /* the bindings */
	_Atomic uint64_t *bindings;   /* for clients: the id of each chunk's memory */
	size_t bindings_bytes;
	uint64_t bound_bytes;
	struct cuda_place places[];
};

struct gpu_client {
	struct cuda_device *dev;
	struct cuda_holder holder;
	pid_t pid;
	int pidfd; /* the session's, or -1 */
	bool killed;
	const struct gpu_client_events *events;
	void *owner;
};

/* A copy that the driver has, or that failed on the way to it. */
struct cuda_flight {
	struct list_node node; /* free; a lane's flying; broken */
	struct gpu_copy *copy;
	cuda_event event;
	uint64_t start_ns;
	int res; /* broken: why */
};

/* One stream: what it carries ends in order. */
struct cuda_lane {
	struct cuda_device *dev;
	cuda_stream stream;
	struct list_node waiting; /* struct gpu_copy.node: no flight was free */
	struct list_node flying;  /* struct cuda_flight.node */
	struct loop_op timer;
	uint64_t ns_per_mib; /* moving average */
	uint64_t last_end_ns;
	uint32_t n_looks; /* at the head, in vain */
};

struct cuda_device {
	struct gpu gpu; /* first */
	struct loop *loop;
	const struct gpu_events *events;
	void *owner;
	struct cuda_driver cuda;
	cuda_device ordinal_device;
	struct cuda_mem_prop prop;
	struct cuda_mem_access access;
	cuda_context context; /* NULL: not started */
	bool is_retained;     /* the primary context, by us */
	char title[80];	      /* "NVIDIA ... (GPU-...)", for the log */
	uint64_t reclaim_timeout_ns;
	uint64_t total_bytes;

	struct cuda_pool pool;
	struct cuda_space *spaces;
	struct list_node stuck;	  /* struct cuda_memory: the driver did not take it back yet */
	struct list_node objects; /* struct cuda_object */
	uint64_t stamp;

	struct cuda_lane lanes[3]; /* by enum gpu_copy_direction */
	struct cuda_flight flights[CUDA_FLIGHTS];
	struct list_node free_flights;
	struct list_node broken; /* struct cuda_flight, to be ended from the loop */
	struct loop_op broken_op;

	/* Pinned memory; one area. */
	struct {
		char *reserve;
		uint64_t reserve_bytes;
		char *addr;
		uint64_t bytes;
		uint64_t unit_bytes; /* registered at a time; 0: not known yet */
		uint8_t *registered; /* a byte each: 0 not yet, 1 registered, 2 refused */
		bool said_refused;
	} host;

	struct loop_op work; /* what must not be done inside a call of the owner's */
	struct loop_op watch;
	struct loop_op reaper;
	bool hungry;	  /* somebody was told to come again */
	bool tell_budget; /* to the owner */
	uint64_t released_ns;

	bool lost;
	bool told_lost;
	bool closing;	   /* nobody is told anything any more */
	uint64_t tried_ns; /* when we last tried to begin anew */
	char lost_reason[160];
	char last_error[160];
	struct loop_op lost_op;
};

/* ---- gpu_cuda.c ---- */

/* Something is to be done from the loop: clients to ask, memory to release, the owner to be told. */
void cuda_kick(struct cuda_device *dev);
/*
 * A call of the driver's has failed: says so in the log, and finds out whether the device is lost by it.
 * Return: -errno.
 */
int cuda_failed(struct cuda_device *dev, cuda_result result, const char *call);
void cuda_lose(struct cuda_device *dev, const char *reason);
/* Begins anew on a device that was lost and that nobody has anything on. Return: 0 or -ENODEV. */
int cuda_revive(struct cuda_device *dev);
/* Measures what is free. Return: 0 or -errno. */
int cuda_measure(struct cuda_device *dev);

/* ---- gpu_cuda_probe.c ---- */

/* Chooses the card that `card` names ("": the first that can be used) and looks what it can do. Return: 0 or -errno with a reason. */
int cuda_probe(struct cuda_device *dev, const char *card, char *reason, size_t size);

/* ---- gpu_cuda_memory.c ---- */

/* A new phys, BOUND. Return: 0, -ENOMEM: the driver has no memory, or -errno. */
int cuda_memory_new(struct cuda_device *dev, uid_t uid, uint64_t bytes, void *object,
		    uint32_t chunk, struct cuda_memory **out);
/* Out of the books and back to the driver, which may wait in cuMemUnmap for copies that run. */
void cuda_memory_free(struct cuda_device *dev, struct cuda_memory *memory);
/* Those that the driver did not take back. Return: true if none is left. */
bool cuda_memory_retry(struct cuda_device *dev);
/* They are given up. */
void cuda_memory_abandon(struct cuda_device *dev);
/* A descriptor of it, the caller's. Return: 0 or -errno. */
int cuda_memory_export(struct cuda_device *dev, struct cuda_memory *memory, int *out_fd);
/* All addresses go. */
void cuda_spaces_free(struct cuda_device *dev);

/* ---- gpu_cuda_copy.c ---- */

void cuda_copy_init(struct cuda_device *dev);
/* Streams and events of a new context. Return: 0 or -errno with a reason. */
int cuda_copy_start_lanes(struct cuda_device *dev, char *reason, size_t size);
void cuda_copy_stop_lanes(struct cuda_device *dev);
void cuda_copy_start(struct gpu_copy *copy);
/* The device is lost: whatever is on its way ends with res. */
void cuda_copy_fail_all(struct cuda_device *dev, int res);
/* Looks at what no timer looks at. */
void cuda_copy_watch(struct cuda_device *dev);

/* ---- gpu_cuda_object.c ---- */

int cuda_object_new(struct gpu *gpu, const char *name, uint64_t bytes, uint32_t chunk_bytes,
		    bool writable, uid_t uid, struct gpu_object **out);
struct gpu_object *cuda_object_free(struct gpu_object *object);
int cuda_object_client_fd(struct gpu_object *object, int *out_fd);
uint64_t cuda_object_memory(struct gpu_object *object);
int cuda_chunk_drop(struct gpu_object *object, uint32_t first, uint32_t n);
uint64_t cuda_chunk_stamp(struct gpu_object *object, uint32_t chunk);
bool cuda_chunk_rival(struct gpu_object *object, uint32_t chunk, struct gpu_object **out_object,
		      uint32_t *out_chunk);
struct gpu_object *cuda_chunk_holder(struct gpu *gpu, uint64_t id);
/* The chunk has this memory now, which is BOUND to it in the books. */
void cuda_object_bound(struct cuda_object *object, uint32_t chunk, struct cuda_memory *memory);

/* ---- gpu_cuda_client.c ---- */

int cuda_client_new(struct gpu *gpu, int fd, const struct gpu_peer *peer,
		    const struct gpu_client_events *events, void *owner, struct gpu_client **out);
struct gpu_client *cuda_client_free(struct gpu_client *client);
int cuda_chunk_export(struct gpu_client *client, uint64_t id, int *out_fd);
void cuda_client_reclaimed(struct gpu_client *client, const uint64_t *ids, uint32_t n);
/* Asks whoever is to be asked. */
void cuda_clients_ask(struct cuda_device *dev);
/* Ends those who have not obeyed in time, and comes back for the next. */
void cuda_clients_reap(struct cuda_device *dev);

/* ---- gpu_cuda_host.c ---- */

void *cuda_host_map(struct gpu *gpu, uint64_t bytes);
void cuda_host_touch(struct gpu *gpu, void *addr, uint64_t bytes);
void cuda_host_unmap(struct gpu *gpu, void *addr, uint64_t bytes);
/* The context is gone, and with it what was registered in it. */
void cuda_host_forget(struct cuda_device *dev);

static inline struct cuda_device *cuda_device_of(struct gpu *gpu)
{
	return (struct cuda_device *)gpu;
}

#endif
