/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A client of a card that speaks the protocol by hand and keeps to none of its rules unless told to: it is for what
 * libvram would never do. All of it belongs to one process and one connection.
 */
#ifndef VRAM_TESTS_SUPPORT_RAW_CLIENT_H
#define VRAM_TESTS_SUPPORT_RAW_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cuda_driver.h"
#include "common/proto.h"

#define RAW_OBJECTS 4
#define RAW_CHUNKS  64

struct raw_chunk {
	uint64_t id;
	int fd;
	cuda_ptr at; /* where it is mapped, or 0 */
	uint64_t bytes;
	cuda_mem mem;
};

struct raw_object {
	struct vram_msg_object_reply reply;
	const _Atomic uint64_t *bindings;
	uint32_t n_chunks;
};

struct raw_client {
	int sock;
	uint32_t seq;
	struct residency_slot *table;
	struct raw_object objects[RAW_OBJECTS];
	uint32_t n_objects;
	struct raw_chunk chunks[RAW_CHUNKS]; /* whatever it was ever given */
	uint32_t n_chunks;
	bool ended; /* by the daemon */
	char goodbye[240];
	/* The RECLAIM that came last. */
	uint64_t reclaimed[VRAM_CHUNKS_PER_MSG];
	uint32_t n_reclaimed;
};

/* The driver, with the primary context current in this thread. Opened once a process. */
const struct cuda_driver *raw_driver(void);

/* HELLO and ATTACH. Fails the test if it is not let in. */
struct raw_client *raw_connect(const char *path);
/* Closes the socket and nothing else: what is mapped stays. */
void raw_hang_up(struct raw_client *c);

/* A buffer of n layers of one chunk each. Return: its number in c->objects. */
uint32_t raw_buffer(struct raw_client *c, uint32_t n, uint64_t chunk_bytes);
/* Pins a layer, asks for it and waits. Return: whether it has come. */
bool raw_acquire(struct raw_client *c, uint32_t object, uint32_t layer);
void raw_release(struct raw_client *c, uint32_t object, uint32_t layer);
/* CHUNKS for one id. Return: 0 or -errno; with 0 it is the last of c->chunks, not mapped yet. */
int raw_fetch(struct raw_client *c, uint64_t id);
/* Maps it, readable and writable whatever it is. */
void raw_map(struct raw_client *c, struct raw_chunk *chunk);
/* The same by a descriptor that came some other way. */
void raw_import(struct raw_chunk *chunk);
/* Says RECLAIMED, true or not. */
void raw_say_reclaimed(struct raw_client *c, const uint64_t *ids, uint32_t n);
/* Takes what has come. Return: false once the session has ended. */
bool raw_poll(struct raw_client *c, int timeout_ms);

/* How many bytes of a mapped chunk are not this one. */
uint64_t raw_others(const struct raw_chunk *chunk, unsigned char byte);
void raw_fill(const struct raw_chunk *chunk, unsigned char byte);

#endif
