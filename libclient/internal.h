/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * What the library's files share: the client, its objects, their mappings.
 *
 * A client is one session with the daemon: a socket, a residency table, a userfaultfd. It has
 * objects (a model file, a buffer), and an object has mappings in this process. Models, buffers and layers of
 * vram.h are views of objects; the shim (preload/) uses objects without layers.
 *
 * LOCKS, in this order:
 *   client->lock	the conversation with the daemon, the list of objects, everything of an
 *			object that comes from the daemon. Held while waiting for an answer.
 *   client->maps_lock	what is mapped where (object_map). Held for system calls on our own memory only, and
 *			nothing is allocated under it: the shim takes it inside munmap().
 * The table's slots are reached without a lock, in a section (reader.h). `phase` says to a section
 * whether it may go on:
 *
 *   PHASE_FORKED (0)	the page has been wiped by a fork: this process is a child
 *   PHASE_UP		the table is the current one
 *   PHASE_EXCHANGE	the table is being exchanged: take the lock and look again
 *
 * On a card (cuda_state.h) client->lock guards what is mapped there too, and is held for the driver's calls that map and
 * unmap; cuda_client.release_lock, the innermost of all, guards releases by streams.
 *
 * LOSS AND RETURN. `lost` is set when the socket ends. The mappings and the table stay; old uffds
 * are kept until every mapping has been exchanged (client_reconnect() in reconnect.c).
 */
#ifndef VRAM_LIBCLIENT_INTERNAL_H
#define VRAM_LIBCLIENT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/list.h"
#include "common/proto.h"
#include "common/residency.h"
#include "libclient/vram.h"

enum {
	PHASE_FORKED = 0,
	PHASE_UP = 1,
	PHASE_EXCHANGE = 2,
};

struct cuda_client;
struct cuda_object;
struct table;

/* A session of /dev/vram, the kernel module; it goes with the client and the last table of it. */
struct device {
	struct list_node node; /* all of the process, for its children */
	int fd;		       /* -1 in a forked child */
	unsigned int refs;     /* client->lock */
	uint32_t n_slots;      /* of the table of now */
	/* The one whose words the kernel compares; NULL while it is being made. */
	_Atomic(struct table *) current;
};

/* A residency table; it goes with the last object or sleeping thread that is on it. */
struct table {
	struct residency_slot *slots;
	size_t bytes;
	unsigned int refs;	  /* client->lock */
	struct device *device;	  /* whose pages these are; NULL: a memory file */
	struct cuda_client *cuda; /* whose device can write to it, at device_addr; or NULL */
	uint64_t device_addr;
};

struct object_map {
	struct list_node node; /* struct object.maps */
	uint64_t addr;
	uint64_t length;
	uint64_t offset; /* in the object */
	int prot;
};

enum object_kind {
	OBJECT_MODEL,
	OBJECT_BUFFER,
};

struct object {
	struct list_node node; /* struct vram_client.objects; client->lock */
	struct vram_client *client;
	enum object_kind kind;

	/* What it takes to open it (again). */
	int file_fd;	/* MODEL: our own, close-on-exec; else -1 */
	uint32_t flags; /* VRAM_MODEL_* */
	uint64_t size_bytes;
	struct timespec mtime; /* MODEL: as it was first opened */
	uint64_t layer_bytes;  /* BUFFER */
	uint32_t n_layers;
	uint32_t n_extents;
	struct vram_msg_extent *extents;
	bool has_order;
	uint32_t n_order;
	uint32_t *order;
	char name[128];

	/* What the daemon said. */
	uint32_t id;
	uint32_t slot_base;
	uint32_t n_slots;
	uint32_t chunk_bytes;
	uint64_t map_bytes;
	int mem_fd;
	/* 0; or why it cannot be used any more: -ECONNRESET, -ESTALE, ... Changes like `slots`. */
	_Atomic int error;
	/* Slot of layer 0, and the table that it is in; they change in PHASE_EXCHANGE only. */
	struct residency_slot *slots;
	struct table *table;

	struct list_node maps;	  /* maps_lock; changed with client->lock held too */
	struct cuda_object *cuda; /* on a card, in the place of maps; NULL elsewhere */

	/* REVOKE: finds the layer of a slot; NULL for the shim. */
	struct vram_layer *(*layer_of)(struct object *object, uint32_t index);
	void *owner;
};

enum watch_event {
	WATCH_BEGINS,
	WATCH_UP,
	WATCH_DOWN,
};

struct event_node {
	struct list_node node;
	struct vram_event event;
	char text[240];
};

struct vram_client {
	_Atomic uint32_t *phase; /* a page of its own, wiped in a child */
	pthread_mutex_t lock;
	pthread_mutex_t maps_lock;

	/* lock */
	int epoll_fd;
	int sock; /* -1 or, after a loss, closed */
	bool lost;
	bool told_lost; /* VRAM_EVENT_LOST was sent, and no BACK since */
	uint32_t seq;
	uint32_t hello_flags;
	pid_t daemon_pid;    /* of the connection that was used last, as far as the kernel tells */
	pid_t peer_pid;	     /* of the one that has just been made */
	bool same_daemon;    /* as before, or that cannot be told */
	uint64_t generation; /* of connections; 1 is the first */
	char *path;	     /* NULL: the usual one */
	char name[64];
	char *tx, *rx; /* VRAM_MSG_MAX each */
	struct table *table;
	struct device *device; /* NULL: the daemon or the machine has none, or we may not have it */
	int device_fd;	       /* its, or -1, for who has not got the lock (the shim) */
	int device_error;      /* why not, a positive errno; 0 where there is no module */
	char device_note[160]; /* the same for people, or "" */
	int uffd;	       /* -1 until the first mapping */
	bool uffd_sent;
	int *stale; /* uffds of daemons that are gone, with mappings still on them */
	size_t n_stale;
	struct list_node objects;
	struct list_node pressures; /* struct vram_pressure.node */
	struct list_node events;    /* to be delivered when the lock is let go */
	vram_event_fn *callback;
	void *callback_arg;
	struct vram_msg_hello_reply hello;

	struct admission {
		bool pending; /* a thread waits in client_admit() */
		bool done;    /* the answer is here */
		bool granted; /* `message` is what was asked for, and is in force */
		uint32_t seq;
		int result;
		int wake_fd; /* an eventfd; -1: nobody has waited yet */
		struct vram_msg_admit message;
		struct vram_msg_admit_reply reply;
		char text[240];
	} admission;

	struct cuda_client
		*cuda; /* NULL: not attached to a card. Set once, before the first object */

	pthread_t watch;
	bool has_watch;
	int watch_kick_fd; /* an eventfd: look again */
	_Atomic bool watch_stop;
	/* For the shim: in the watch's thread, at its begin and then about every two seconds. */
	void (*watch_hook)(struct vram_client *client, enum watch_event event);
};

struct vram_layer {
	/* First, for the fast path: the one part that nearly every layer has. */
	struct object *object;
	uint32_t slot; /* index within the object */
	uint32_t n_parts;
	_Atomic uint32_t *phase; /* the client's */
	/*
	 * The slot's `binding` for which everything is mapped, 0 for none: an acquire that finds another one there has
	 * to map first. Both are 0 on the host. A layer of several parts does not use it.
	 */
	_Atomic uint64_t bound;
	struct layer_slot {
		struct object *object;
		uint32_t slot;
	} * parts; /* all of them; the first is repeated above */
	struct vram_client *client;
	const char *name;
	uint32_t index;
	uint32_t flags;
	uint64_t bytes;
	uint32_t n_extents;
	struct layer_extent {
		char *ptr;
		uint64_t bytes;
	} * extents;
};

/* ---- client.c ---- */

/* vram_connect() for library and shim. hello_flags: VRAM_HELLO_*. */
int client_new(const char *path, const char *name, uint32_t hello_flags,
	       struct vram_client **out_client);
/*
 * A client that has lost its connection before it had one: objects and mappings can be put into it, and client_reconnect()
 * makes them real. `uffd` is taken: what the mappings are registered with. Return: 0, -ENOMEM, -ENOTSUP.
 */
int client_new_lost(const char *path, const char *name, uint32_t hello_flags, int uffd,
		    struct vram_client **out_client);
/* Folds an error into the set of vram.h. */
int client_errno(int r);
/* Return: 0, or -ECHILD in a forked child. */
int client_check(const struct vram_client *client);
void client_lock(struct vram_client *client);
/* Lets the lock go, then delivers the events that have piled up. */
void client_unlock(struct vram_client *client);
void client_add_event(struct vram_client *client, const struct vram_event *event);
/* Writes what vram_error_text() returns. Value: r. */
int client_fail(int r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void client_clear_error(void);
uint64_t client_now_ns(void);
/* An absolute time for a timeout of vram.h; UINT64_MAX for none. */
uint64_t client_deadline(int64_t timeout_ns);

/* ---- table.c ---- */

/* Maps the table of the HELLO that was answered last: `fd` is it, or it is client->device's. */
int table_map(struct vram_client *client, int fd, struct table **out_table);
/* With the lock held, as table_put(). */
struct table *table_get(struct table *table);
void table_put(struct table *table);
/* residency_wait() for a slot of this table; also -ENOTCONN: there may be no daemon, or a new one, that knows of us. */
int table_wait(struct table *table, struct residency_slot *slot, uint32_t seen,
	       uint64_t deadline_ns);

/* ---- table_kmod.c: with the lock held, but for the wait ---- */

/*
 * Before a HELLO: client->device becomes a session of /dev/vram with a new table, to be offered to the daemon; or
 * NULL, and device_note says why.
 */
void device_renew(struct vram_client *client);
/* The daemon does not take it. */
void device_leave(struct vram_client *client);
struct device *device_get(struct device *device);
void device_put(struct device *device);
/* Whatever still refers to it: in a forked child. */
void device_free(struct device *device);
int device_wait(struct table *table, struct residency_slot *slot, uint32_t seen,
		uint64_t deadline_ns);

/* ---- request.c: all with the lock held ---- */

/* The socket connected, HELLO answered; *out_table_fd is the table, or -1 if it is client->device's. */
int request_connect(struct vram_client *client, int *out_table_fd);
void request_lose(struct vram_client *client, const char *text);
/* Takes events that are there. Return: 0, or -ENOTCONN when the connection is (now) lost. */
int request_poll(struct vram_client *client);

struct request {
	uint32_t type;
	const void *body;
	size_t body_bytes;
	const void *more; /* goes behind the body */
	size_t more_bytes;
	int fd;				       /* -1 or one to send */
	const struct vram_msg_extent *extents; /* sent behind it as EXTENTS */
	uint32_t n_extents;
	void *reply; /* where the body goes; its size must be exact */
	size_t reply_bytes;
	int *out_fd;	  /* NULL, or where the descriptors that must come go */
	uint32_t n_fds;	  /* how many; 0 is 1 */
	bool may_lack_fd; /* it need not: *out_fd is -1 then */
};
/* Return: 0, -ENOTCONN if the connection was lost, what the daemon said, or -EPROTO. */
int request_call(struct vram_client *client, const struct request *request);
/* A request whose answer is taken by admit_take(), whenever it comes. Return: 0 or -ENOTCONN. */
int request_ask(struct vram_client *client, uint32_t type, const void *body, size_t body_bytes,
		uint32_t *out_seq);
/* A message without a reply. Return: 0 or -ENOTCONN. */
int request_post(struct vram_client *client, uint32_t type, const void *body, size_t body_bytes,
		 const void *more, size_t more_bytes);

/* ---- object.c: with the lock held unless it says otherwise ---- */

/*
 * Opens a model; takes file_fd in any case. `extents` are copied. Return: 0 or -errno.
 */
int object_new_model(struct vram_client *client, int file_fd, uint64_t size_bytes, const char *name,
		     uint32_t flags, uint32_t n_layers, const struct vram_msg_extent *extents,
		     uint32_t n_extents, struct object **out_object);
int object_new_buffer(struct vram_client *client, const char *name, uint64_t bytes,
		      uint64_t layer_bytes, struct object **out_object);
/* Unmaps what is mapped, tells the daemon if it is there. NULL is fine. */
struct object *object_free(struct object *object);
/* In a forked child, instead. */
void object_abandon(struct object *object);
/* MODEL_OPEN or BUFFER_NEW for an object that is filled in; the reply's descriptor is *out_fd. */
int object_open(struct object *object, struct vram_msg_object_reply *out_reply, int *out_fd);
int object_send_order(struct object *object);
/*
 * Maps a part of the object. addr: 0, or where exactly; `replace` says that what is there goes.
 * The mapping can be touched when this returns.
 */
int object_map(struct object *object, uint64_t addr, bool replace, uint64_t length, uint64_t offset,
	       int prot, uint64_t *out_addr);
/*
 * The range, or the parts of it that are mapped, is forgotten here and at the daemon, and unmapped; or left, with
 * undefined content, for the caller to unmap or to replace in one step.
 */
void object_unmap(struct vram_client *client, uint64_t addr, uint64_t length, bool leave);
/* Maps all of it, for the processor or in the card's address space. */
int object_map_whole(struct object *object, int prot, uint64_t *out_addr);
/* Makes sure that the daemon has our userfaultfd. */
int object_need_uffd(struct vram_client *client);
/* Reserves and maps; PROT_NONE and not inherited. For object_map() and the exchange. */
int object_place(const struct object *object, int mem_fd, uint64_t addr, bool replace,
		 uint64_t length, uint64_t offset, uint64_t *out_addr);
int object_send_map(struct object *object, uint32_t id, uint64_t addr, uint64_t length,
		    uint64_t offset);

/* ---- admit.c: with the lock held ---- */

/* vram_admit() for library and shims; lets the lock go meanwhile. */
int client_admit(struct vram_client *client, const struct vram_admission *want, int64_t timeout_ns,
		 uint64_t *out_reserved_bytes);
/* The reply to an ADMIT. Return: 0 or -EPROTO. */
int admit_take(struct vram_client *client, const struct vram_msg_hdr *hdr, const void *body,
	       size_t body_bytes);
/* The connection is lost: whoever waits looks. */
void admit_wake(struct vram_client *client);
/* Connected anew: what was admitted is asked for again. */
void admit_renew(struct vram_client *client);

/* ---- pressure.c: with the lock held ---- */

/* Connected anew: what is watched is asked for again. */
void pressure_renew(struct vram_client *client);

/* ---- reconnect.c ---- */

/* With the lock held: one attempt. Return: 0 (also if nothing was lost), -ENOTCONN, or -errno. */
int client_reconnect(struct vram_client *client);

/* ---- watch.c ---- */

int watch_start(struct vram_client *client);
void watch_stop(struct vram_client *client);
/* Has the watch look at everything anew. Needs no lock. */
void watch_kick(struct vram_client *client);

/* ---- layer.c ---- */

/* For a loaded layer's first part; see struct vram_layer. */
void layer_init(struct vram_layer *layer, struct vram_client *client);
/*
 * Pins these parts, which need not be of one layer, asks for all that are absent, and waits for each; maps them
 * where that is needed. deadline: CLOCK_MONOTONIC, UINT64_MAX for none; `wait` false: only looks. `*seen` has room
 * for n words. The first n_pinned are pinned already. Return: as vram_layer_acquire(); without 0 nothing of
 * it is pinned. The lock is held, and let go meanwhile.
 */
int layer_acquire_parts(struct vram_client *client, const struct layer_slot *parts, uint32_t n,
			uint32_t n_pinned, uint32_t *seen, bool wait, uint64_t deadline);
/* Takes back one pin of each; without the lock. */
void layer_unpin(struct vram_client *client, const struct layer_slot *parts, uint32_t n);

#endif
