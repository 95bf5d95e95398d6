// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tests/support/raw_client.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/residency.h"
#include "tests/support/standin.h"

#define SECOND 1000000000ull
/* Until a daemon is given up. */
#define ANSWER_MS 30000

#define ok(call) ck_assert_int_eq(call, CUDA_ABI_SUCCESS)

const struct cuda_driver *raw_driver(void)
{
	static struct cuda_driver cuda;
	static cuda_context context;
	char reason[CUDA_DRIVER_REASON_SIZE] = "";

	if (!context) {
		ck_assert_msg(cuda_driver_open(&cuda, standin_library(), reason, sizeof(reason)) ==
				      0,
			      "%s", reason);
		ok(cuda.primary_ctx_retain(&context, 0));
	}
	ok(cuda.ctx_set_current(context));
	return &cuda;
}

/* ---- messages ---- */

static void note_reclaim(struct raw_client *c, const char *body)
{
	struct vram_msg_reclaim reclaim;

	memcpy(&reclaim, body, sizeof(reclaim));
	c->n_reclaimed = reclaim.n;
	memcpy(c->reclaimed, body + sizeof(reclaim), reclaim.n * sizeof(c->reclaimed[0]));
}

/* Return: the type of one message that has come, 0 for none within the time, or at the end. */
static uint32_t receive(struct raw_client *c, int timeout_ms, char *packet, int *fds, size_t *n_fds)
{
	struct pollfd pollfd = { .fd = c->sock, .events = POLLIN };
	const struct vram_msg_hdr *hdr = (const void *)packet;
	ssize_t n;

	*n_fds = 0;
	if (c->ended || poll(&pollfd, 1, timeout_ms) <= 0)
		return 0;
	n = fd_recv(c->sock, packet, VRAM_MSG_MAX, fds, FD_MSG_MAX, n_fds, 0);
	if (n < (ssize_t)sizeof(*hdr)) {
		c->ended = true;
		return 0;
	}
	if (hdr->type == VRAM_MSG_RECLAIM)
		note_reclaim(c, packet + sizeof(*hdr));
	if (hdr->type == VRAM_MSG_GOODBYE) {
		c->ended = true;
		snprintf(c->goodbye, sizeof(c->goodbye), "%.239s", packet + sizeof(*hdr));
	}
	return hdr->type;
}

static void say(struct raw_client *c, uint32_t type, const void *body, size_t size)
{
	struct {
		struct vram_msg_hdr hdr;
		char body[512];
	} msg = { .hdr = { .type = type, .size = (uint32_t)(sizeof(msg.hdr) + size) } };

	ck_assert_uint_le(size, sizeof(msg.body));
	if (type != VRAM_MSG_ACQUIRE && type != VRAM_MSG_RECLAIMED)
		msg.hdr.seq = ++c->seq;
	memcpy(msg.body, body, size);
	/* One that was sent away finds out when it listens. */
	fd_send(c->sock, &msg, msg.hdr.size, NULL, 0, 0);
}

/* Return: 0 or -errno of the reply; -ENOTCONN if the session ends first. */
static int ask(struct raw_client *c, uint32_t type, const void *body, size_t size, void *reply,
	       size_t reply_size, int *fd)
{
	static char packet[VRAM_MSG_MAX];
	const struct vram_msg_hdr *hdr = (const void *)packet;
	int fds[FD_MSG_MAX];
	size_t n_fds;
	uint32_t got;

	say(c, type, body, size);
	do {
		got = receive(c, ANSWER_MS, packet, fds, &n_fds);
		if (!got)
			return -ENOTCONN;
		if (got != (type | VRAM_MSG_REPLY))
			fd_close_all(fds, n_fds);
	} while (got != (type | VRAM_MSG_REPLY));
	ck_assert_uint_eq(hdr->seq, c->seq);
	if (hdr->error)
		return hdr->error;
	ck_assert_uint_eq(hdr->size, sizeof(*hdr) + reply_size);
	ck_assert_uint_eq(n_fds, fd ? 1 : 0);
	if (reply_size)
		memcpy(reply, packet + sizeof(*hdr), reply_size);
	if (fd)
		*fd = fds[0];
	return 0;
}

bool raw_poll(struct raw_client *c, int timeout_ms)
{
	static char packet[VRAM_MSG_MAX];
	int fds[FD_MSG_MAX];
	size_t n_fds;

	while (receive(c, timeout_ms, packet, fds, &n_fds)) {
		fd_close_all(fds, n_fds);
		timeout_ms = 0;
	}
	return !c->ended;
}

/* ---- the session ---- */

struct raw_client *raw_connect(const char *path)
{
	const struct vram_msg_hello hello = { .version = VRAM_PROTO_VERSION, .name = "raw" };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct raw_client *c = calloc(1, sizeof(*c));
	struct vram_msg_hello_reply reply;
	struct vram_msg_attach attach = { 0 };
	struct cuda_uuid uuid;
	int fd;

	ck_assert_ptr_nonnull(c);
	ok(raw_driver()->device_get_uuid(&uuid, 0));
	memcpy(attach.uuid, uuid.bytes, sizeof(attach.uuid));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	c->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_msg(connect(c->sock, (struct sockaddr *)&address, sizeof(address)) == 0, "%s: %s",
		      path, strerror(errno));
	ck_assert_int_eq(ask(c, VRAM_MSG_HELLO, &hello, sizeof(hello), &reply, sizeof(reply), &fd),
			 0);
	c->table = mmap(NULL, reply.n_slots * sizeof(*c->table), PROT_READ | PROT_WRITE, MAP_SHARED,
			fd, 0);
	ck_assert_ptr_ne(c->table, MAP_FAILED);
	close(fd);
	ck_assert_int_eq(ask(c, VRAM_MSG_ATTACH, &attach, sizeof(attach), NULL, 0, NULL), 0);
	return c;
}

void raw_hang_up(struct raw_client *c)
{
	close(c->sock);
	c->sock = -1;
	c->ended = true;
}

uint32_t raw_buffer(struct raw_client *c, uint32_t n, uint64_t chunk_bytes)
{
	const struct vram_msg_buffer_new msg = {
		.size_bytes = n * chunk_bytes,
		.layer_bytes = chunk_bytes,
		.name = "raw",
	};
	struct raw_object *object = &c->objects[c->n_objects];
	int fd;

	ck_assert_uint_lt(c->n_objects, RAW_OBJECTS);
	ck_assert_int_eq(ask(c, VRAM_MSG_BUFFER_NEW, &msg, sizeof(msg), &object->reply,
			     sizeof(object->reply), &fd),
			 0);
	ck_assert_uint_eq(object->reply.chunk_bytes, chunk_bytes);
	object->n_chunks = n;
	object->bindings = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne((const void *)object->bindings, MAP_FAILED);
	close(fd);
	return c->n_objects++;
}

bool raw_acquire(struct raw_client *c, uint32_t object, uint32_t layer)
{
	const struct vram_msg_slot msg = { .slot = c->objects[object].reply.slot_base + layer };
	struct residency_slot *slot = &c->table[msg.slot];
	uint64_t until = residency_now_ns() + 20 * SECOND;
	enum residency_outcome outcome;
	uint32_t seen;

	outcome = residency_try_acquire(slot, residency_now_ns(), &seen);
	if (outcome == RESIDENCY_OK || outcome == RESIDENCY_E_NOTIFY)
		return true;
	say(c, VRAM_MSG_ACQUIRE, &msg, sizeof(msg));
	while (raw_poll(c, 1) && residency_now_ns() < until)
		if (residency_word_state(atomic_load(&slot->word)) == RESIDENCY_RESIDENT)
			return true;
	residency_release(slot);
	return false;
}

void raw_release(struct raw_client *c, uint32_t object, uint32_t layer)
{
	residency_release(&c->table[c->objects[object].reply.slot_base + layer]);
}

/* ---- chunks ---- */

int raw_fetch(struct raw_client *c, uint64_t id)
{
	struct {
		struct vram_msg_chunks msg;
		uint64_t id;
	} body = { .msg = { .n = 1 }, .id = id };
	struct raw_chunk *chunk = &c->chunks[c->n_chunks];
	struct vram_msg_chunks_reply reply;
	int r;

	ck_assert_uint_lt(c->n_chunks, RAW_CHUNKS);
	r = ask(c, VRAM_MSG_CHUNKS, &body, sizeof(body), &reply, sizeof(reply), &chunk->fd);
	if (r < 0)
		return r;
	chunk->id = id;
	c->n_chunks++;
	return 0;
}

void raw_import(struct raw_chunk *chunk)
{
	const struct cuda_driver *cuda = raw_driver();

	ok(cuda->mem_import(&chunk->mem, (void *)(intptr_t)chunk->fd,
			    CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
}

void raw_map(struct raw_client *c, struct raw_chunk *chunk)
{
	const struct cuda_mem_access access = {
		.location = { .type = CUDA_ABI_MEM_LOCATION_TYPE_DEVICE },
		.flags = CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE,
	};
	const struct cuda_driver *cuda = raw_driver();

	if (c)
		chunk->bytes = c->objects[0].reply.chunk_bytes;
	if (!chunk->mem)
		raw_import(chunk);
	ok(cuda->mem_address_reserve(&chunk->at, chunk->bytes, 0, 0, 0));
	ok(cuda->mem_map(chunk->at, chunk->bytes, 0, chunk->mem, 0));
	ok(cuda->mem_set_access(chunk->at, chunk->bytes, &access, 1));
}

void raw_say_reclaimed(struct raw_client *c, const uint64_t *ids, uint32_t n)
{
	struct {
		struct vram_msg_chunks msg;
		uint64_t ids[VRAM_CHUNKS_PER_MSG];
	} body = { .msg = { .n = n } };

	memcpy(body.ids, ids, n * sizeof(ids[0]));
	say(c, VRAM_MSG_RECLAIMED, &body, sizeof(body.msg) + n * sizeof(ids[0]));
}

uint64_t raw_others(const struct raw_chunk *chunk, unsigned char byte)
{
	unsigned char *copy = malloc(chunk->bytes);
	uint64_t n = 0;

	ck_assert_ptr_nonnull(copy);
	ok(raw_driver()->memcpy_dtoh(copy, chunk->at, chunk->bytes));
	for (uint64_t i = 0; i < chunk->bytes; i++)
		n += copy[i] != byte;
	free(copy);
	return n;
}

void raw_fill(const struct raw_chunk *chunk, unsigned char byte)
{
	ok(raw_driver()->memset_d8(chunk->at, byte, chunk->bytes));
	/* The call may return before the card has done it. */
	ok(raw_driver()->ctx_synchronize());
}
