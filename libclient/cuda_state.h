/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * What a client has on a card, and the rules about it. For the library's cuda files, and for the files that call them
 * where an object or a connection begins, changes and ends.
 *
 * ADDRESSES. Each object has one range of addresses, reserved when it is opened and freed when it is closed: base + offset in
 * the file. Chunk c of the object takes the range's bytes from c * chunk_bytes. What is mapped there is an
 * import, or nothing.
 *
 * IMPORTS. The memory itself comes from the daemon in chunks with an id that is never used again. An import is our handle of one. It
 * is made the first time that a layer needs it, and kept until the daemon asks for it (RECLAIM) or the last object that maps it
 * is closed. It may be mapped at several places: what an object's binding file says is mapped when a layer is
 * acquired, and what that chunk held before stays mapped where it was, as long as nothing needs the place. So
 * places that nobody has acquired may show other bytes of the same user, or nothing.
 *
 * BINDING. A slot that is RESIDENT has in `binding` a stamp that changes when any of its chunks moves. `bound` of the layer is the
 * stamp for which everything was mapped. Equal: nothing to do, and that is the whole cost of a card on the fast path.
 * Not: cuda_bind(), under the client's lock, with the layer pinned, compares the binding file chunk by chunk.
 * It changes a place only if the layer is RESIDENT and the place does not have what the binding file says; so
 * never under a running kernel, for then the chunk would be pinned and would not have moved.
 *
 * RECLAIM. The ids come in whatever thread reads the socket, are put down, and are served when the client's lock is let go
 * (client_unlock()), normally by the watch. The daemon asks only for what no pinned layer holds. To be sure nevertheless,
 * `bound` of every layer over the place is cleared first and the pins are read then, both in the one order of the
 * sequentially consistent operations; an acquire pins first and reads `bound` then. So either the acquire sees that it must
 * map, and waits for the lock, or the pin is seen here, and the chunk is kept, to be looked at again later.
 *
 * A DAEMON THAT ENDS. Its memory stays as long as our handles do. With the next connection all ids are void: every import becomes an
 * orphan, every `bound` is cleared. A place is `held` if a layer over it was resident, mapped (slots[].bound) and had
 * users at that moment; users are pins but those of acquires that are still under way (`waiting`). A held place stays as
 * it is while a layer over it has users. All other orphans are let go of at once, and the held ones when their
 * last user has gone (cuda_sweep(), by the watch). An acquire that meets a held place which others use keeps it: of a model the
 * bytes are the same, because the file is, and who could write to it has ended. If that is not sure, because the daemon has only
 * ended the session, or ended while it looked at the pins, the place is `spoilt`: it stays for its users, and who
 * acquires anew waits for them. The new chunk is mapped by the first acquire that finds no users. An object that comes back with another chunk size can be taken over only when nothing of it is held and used; until
 * then the reconnect fails and is tried again.
 *
 * RELEASES BY STREAMS. Each slot has one writer on the device: the stream that `writer` names, while writes of it are outstanding
 * (`issued` is not yet what the slot says). All other releases go by an event in `pending`, which the watch polls. When
 * the table is exchanged, what is outstanding lands in the old table, which therefore stays; a pending entry waits for it and releases
 * in the new one.
 *
 * ERRORS. A call of the driver that fails in the middle leaves what is recorded as mapped mapped with access, and
 * everything else is unmapped. Errors of a context that has died come back from every call; then acquires fail with -EIO.
 */
#ifndef VRAM_LIBCLIENT_CUDA_STATE_H
#define VRAM_LIBCLIENT_CUDA_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/list.h"
#include "common/proto.h"
#include "libclient/cuda.h"
#include "libclient/internal.h"

#define CUDA_BUCKETS 1024u /* a power of two */

struct cuda_import {
	struct list_node node;	 /* cuda_client.buckets or .orphans */
	struct list_node places; /* struct cuda_chunk.node: where it is mapped */
	uint64_t id;		 /* 0: of a daemon that has gone */
	cuda_mem mem;
};

/* One chunk's place in an object's addresses. */
struct cuda_chunk {
	struct cuda_import *import; /* what is mapped there; NULL: nothing */
	bool held;		    /* an orphan that somebody may be using */
	bool spoilt;		    /* held, but the bytes may be others by now */
	bool closed; /* mapped without access: for the moment, or because undoing it failed */
	struct list_node node; /* import->places */
	struct object *object;
};

struct cuda_run {
	uint32_t first, n; /* chunks */
};

struct cuda_slot {
	uint32_t first_run, n_runs;
	uint64_t bound; /* client->lock: the stamp for which all its places are right, or are kept; 0: none */
	uint32_t waiting; /* client->lock: pins of acquires that have not ended */
	bool kept; /* client->lock: pinned by cuda_client_acquire_all() or cuda_buffer_acquire() */
	/* release_lock: */
	uint64_t issued; /* releases that were handed to `writer`, for the slot of the table of now */
	cuda_stream writer;
};

/* All but slots[].issued and .writer: client->lock; the object's pointer to it: both locks. */
struct cuda_object {
	cuda_ptr base;
	uint64_t map_bytes;
	uint32_t chunk_bytes;
	uint32_t n_chunks;
	struct cuda_chunk *chunks;
	const _Atomic uint64_t *binding; /* the daemon's: ids */
	size_t binding_bytes;
	struct cuda_run *runs; /* of the slots, merged and ascending */
	struct cuda_slot *slots;
	uint32_t n_slots;
	uint32_t *chunk_first; /* chunk c is part of the slots chunk_slots[chunk_first[c]...] */
	uint32_t *chunk_slots;
};

/* A release that the library does itself when the device has come so far. */
struct cuda_pending {
	struct list_node node;
	const struct layer_slot *parts;
	uint32_t n_parts;
	cuda_event event; /* NULL: */
	/* Writes of a stream to a slot of a table that has been exchanged. */
	struct table *table;
	struct residency_slot *slot;
	uint64_t issued; /* what the slot will say at last, which then is n_releases more than at the exchange */
	uint64_t n_releases;
	struct layer_slot part;
};

struct cuda_client {
	struct vram_client *client;
	struct cuda_driver driver;
	struct cuda_hooks hooks;
	cuda_context context;
	cuda_device device;
	bool retained; /* the primary context is ours to give back */
	bool mem_ops;  /* streams can write 64-bit values */
	cuda_result (*exchange_capture_mode)(int *mode); /* or NULL */
	_Atomic bool dead; /* a call has returned an error that ends the context */
	uint8_t uuid[16];
	char pci[16];
	uint64_t granularity_bytes;

	/* client->lock: */
	struct list_node buckets[CUDA_BUCKETS];
	struct list_node orphans;
	uint64_t *reclaims; /* ids that the daemon wants back */
	size_t n_reclaims, max_reclaims;
	bool revoked, was_lost; /* for the hooks */
	uint64_t revoke_deadline_ns;
	char lost_text[240];

	/* The innermost lock: taken with client->lock held or without, and nothing is taken under it. */
	pthread_mutex_t release_lock;
	struct list_node pending;
	struct list_node finishing;    /* what the poll that runs has taken from there */
	struct list_node spare_events; /* struct cuda_pending, with an event */
	_Atomic uint32_t n_pending;
	/* One poll at a time; taken before client->lock, and held while callbacks run. */
	pthread_mutex_t poll_lock;
};

/* ---- cuda.c ---- */

/*
 * Makes the context current, and has the driver not mind captures: while any thread of the program captures a stream, calls such as
 * ours would else fail and end the capture, although they have nothing to do with it. cuda_leave() restores what
 * the thread had. Return: 0, -EIO with a text.
 */
struct cuda_scope {
	bool relaxed;
	int capture_mode;
};
int cuda_enter(struct cuda_client *cuda, struct cuda_scope *out_scope);
void cuda_leave(struct cuda_client *cuda, struct cuda_scope *scope);
/* A failed call as an errno of vram.h, with a text. */
int cuda_fail(struct cuda_client *cuda, cuda_result result, const char *what);
/* Whether this client can have objects at the daemon that it talks to. Return: 0, -EINVAL with a text. */
int cuda_check_world(struct vram_client *client);
/* After a HELLO: the same card, attached again. Return: 0, -ENOTCONN, or what the daemon says. */
int cuda_reattach(struct vram_client *client);
/* Everything given back, the daemon told. All objects are closed; no lock, the watch has stopped. Then the tables go, then: */
void cuda_detach(struct vram_client *client);
void cuda_free(struct vram_client *client);
/* In a forked child: memory only. */
void cuda_forget(struct vram_client *client);
/*
 * What the watch does for a card; what it must poll the socket for is added. Return: in how many milliseconds it must
 * be called again, at the latest.
 */
int cuda_watch(struct vram_client *client, int tick_ms, short *out_wanted);

/* ---- cuda_hold.c: client->lock ---- */

/* A REVOKE of this slot, for hooks.revoke(). */
void cuda_revoke_note(struct cuda_client *cuda, struct residency_slot *slot, uint64_t deadline_ns);

/* ---- cuda_import.c: client->lock ---- */

struct cuda_import *cuda_import_find(struct cuda_client *cuda, uint64_t id);
/* Imports n <= VRAM_CHUNKS_PER_MSG ids that are not there. Return: 0, -ENOTCONN, -EAGAIN (not bound any more), -ENOMEM, -EIO. */
int cuda_import_fetch(struct cuda_client *cuda, const uint64_t *ids, uint32_t n);
void cuda_imports_orphan(struct cuda_client *cuda);
/* Releases those that are mapped nowhere, and says so to the daemon. */
void cuda_imports_prune(struct cuda_client *cuda);
/* A RECLAIM has come. Return: 0, -ENOMEM. */
int cuda_reclaim_note(struct cuda_client *cuda, const uint64_t *ids, uint32_t n);
/* Serves what cuda_reclaim_note() put down. */
void cuda_reclaim_serve(struct cuda_client *cuda);
/* Lets go of orphans that no pin needs any more. Return: whether some are left. */
bool cuda_sweep(struct cuda_client *cuda);

/* ---- cuda_map.c: client->lock ---- */

/* What the daemon said of an object. Return: 0, -EPROTO. */
int cuda_object_check(const struct object *object, const struct vram_msg_object_reply *reply,
		      int fd);
/* Reserves the addresses, maps the binding file (object->mem_fd). */
int cuda_object_new(struct object *object, uint64_t *out_addr);
/* After a reconnect: the new daemon's idea of it. Return: 0, -ENOTCONN while it cannot be. */
int cuda_object_renew(struct object *object, const struct vram_msg_object_reply *reply, int fd);
/* Unmaps everything and frees the addresses. NULL is fine. */
struct cuda_object *cuda_object_free(struct object *object);
/* The same in a forked child: memory only. */
void cuda_object_forget(struct object *object);
/* A reconnect begins: nothing that is mapped counts as bound. In PHASE_EXCHANGE, before cuda_imports_orphan(). */
void cuda_object_unbind(struct object *object);
/* An acquire of these begins (1) or ends (-1); their pins are raised. */
void cuda_count_waiting(const struct layer_slot *parts, uint32_t n, int change);
/*
 * Maps what a pinned slot needs. Return: 0; -EAGAIN if it is not RESIDENT (any more): wait again; -ENOTCONN; -ENOMEM, -EIO.
 */
int cuda_bind(const struct layer_slot *part);
/* Unmaps one place. Return: 0, or a failure with a text: it stays mapped. */
int cuda_chunk_unmap(struct cuda_client *cuda, struct cuda_chunk *chunk);
/*
 * Whether users of a layer over the place forbid to unmap it. Clears `bound` of the layers over it first. id: what is
 * mapped there, 0 for an orphan.
 */
bool cuda_chunk_is_used(struct cuda_chunk *chunk, uint64_t id);

/* ---- cuda_release.c ---- */

/* Lets the device write to it, if that can be. client->lock. */
void cuda_table_register(struct cuda_client *cuda, struct table *table);
void cuda_table_unregister(struct table *table);
/*
 * Slot i is about to go to another table, in PHASE_EXCHANGE. Return: how many releases of the device the old table has, to be
 * used for counting its pins; for what comes later there is a pending entry.
 */
uint64_t cuda_slot_exchange(struct object *object, uint32_t i);
/* The context has died: what its streams owe will never come. client->lock. */
void cuda_release_settle(struct cuda_client *cuda);
/* Looks at `pending`. Without client->lock. Return: whether there are any left. */
bool cuda_pending_poll(struct cuda_client *cuda);
/* Waits until no stream owes a release of this object's layers (NULL: of any). Without client->lock. */
void cuda_drain(struct vram_client *client, struct object *object);
void cuda_release_init(struct cuda_client *cuda);
void cuda_release_deinit(struct cuda_client *cuda);

#endif
