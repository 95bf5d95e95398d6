// SPDX-License-Identifier: GPL-2.0-only
/*
 * The pager on the real host device, once direct and once behind a link, with the real store and swap
 * file: what comes in, what goes out, what happens when a stage fails. After each test nothing is
 * charged and no slot is taken.
 *
 * links: daemon/pager.c daemon/hostpool.c daemon/store.c daemon/store_swap.c daemon/gpu_host.c
 * links: daemon/gpu_host_guard.c daemon/gpu_host_map.c daemon/loop.c daemon/log.c daemon/limits.c
 * links: daemon/arbiter_local.c daemon/arbiter_local_group.c daemon/arbiter_local_limit.c
 * links: daemon/limit_table.c daemon/arbiter_local_pressure.c daemon/arbiter_local_trace.c daemon/trace.c kmod/ledger.c kmod/ledger_counter.c
 * links: kmod/ledger_limit.c kmod/ledger_share.c kmod/group.c kmod/stall.c kmod/pressure.c
 * links: common/fd.c common/err.c common/size.c
 * libs: -luring -lxxhash -lpthread
 */
#include "daemon/pager.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/loop.h"

#define CHUNK	 (128u << 10)
#define N_CHUNKS 6
/* The model's last chunk is short, and its last page is, too. */
#define FILE_BYTES (N_CHUNKS * CHUNK - 70000)

static char dir[] = "/var/tmp/vram-pager-XXXXXX";
static char path[64];
static int fd;
static unsigned char *content;
static struct loop *loop;
static struct gpu *gpu;
static struct store *store;
static struct swap *swap;
static struct hostpool *hostpool;
static struct arbiter *arbiter;
static uint32_t dev;
static uint64_t session;
static struct pager *pager;
static struct object *object;
static char *view; /* of the object, as a client sees it */

static unsigned int n_loaded, n_evicted, n_settled;
static uint64_t last_who;
static int last_res;

/* The policy is not there: chunks are needed in the order of their numbers. */
uint64_t policy_next_use(const struct policy_object *obj, uint32_t chunk, uint64_t now_ns)
{
	(void)obj;
	return now_ns + chunk;
}

static void on_loaded(void *owner, struct object *o, uint32_t chunk, int res, uint64_t ns)
{
	(void)owner;
	(void)ns;
	ck_assert_ptr_eq(o, object);
	ck_assert_uint_eq(o->chunks[chunk].state, res == 0 ? CHUNK_RESIDENT : CHUNK_ABSENT);
	n_loaded++;
	last_res = res;
}

static void on_evicted(void *owner, struct object *o, uint32_t chunk, int res, uint64_t who)
{
	(void)owner;
	ck_assert_uint_eq(o->chunks[chunk].state, res == 0 ? CHUNK_ABSENT : CHUNK_RESIDENT);
	n_evicted++;
	last_who = who;
	last_res = res;
}

static void on_settled(void *owner, struct object *o, uint32_t chunk)
{
	(void)owner;
	ck_assert_uint_eq(o->chunks[chunk].state, CHUNK_ABSENT);
	n_settled++;
}

static void on_ready(void *owner)
{
	(void)owner;
}

static const struct pager_events events = {
	.loaded = on_loaded,
	.evicted = on_evicted,
	.settled = on_settled,
	.ready = on_ready,
};

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/model", dir);
	content = malloc(N_CHUNKS * CHUNK);
	for (size_t i = 0; i < N_CHUNKS * CHUNK; i++)
		content[i] = (unsigned char)(1 + (i * 7 + i / 4099) % 255);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, content, FILE_BYTES), FILE_BYTES);
	ck_assert_int_eq(fsync(fd), 0);
	ck_assert_int_eq(loop_new(&loop, 64), 0);
	n_loaded = n_evicted = n_settled = 0;
	last_res = 1;
}

/* host_slots 0: a direct device. */
static void open_pager(uint32_t host_slots, uint32_t swap_slots, const char *fault)
{
	const struct store_params store_params = { .piece_bytes = 32u << 10,
						   .direct = true,
						   .fault = fault };
	const struct gpu_params gpu_params = {
		.budget_bytes = 1u << 30,
		.link_bytes_per_s = host_slots ? 4ull << 30 : 0,
		.huge = 0,
	};
	const uint64_t capacity[ARBITER_N_TIERS] = {
		[ARBITER_VRAM] = 1u << 30,
		[ARBITER_HOST] = (uint64_t)host_slots * CHUNK,
		[ARBITER_DISK] = (uint64_t)swap_slots * CHUNK,
	};
	const struct arbiter_peer peer = { .pid = 1, .uid = 1, .comm = "test" };
	struct pager_params params = { 0 };

	ck_assert_int_eq(store_new(&store, loop, &store_params), 0);
	ck_assert_int_eq(gpu_host_new(&gpu, loop, &gpu_params), 0);
	ck_assert_int_eq(arbiter_local_new(loop_now(), &arbiter), 0);
	ck_assert_int_eq(arbiter_device_add(arbiter, "test", capacity, loop_now(), &dev), 0);
	ck_assert_int_eq(arbiter_session_open(arbiter, &peer, loop_now(), &session), 0);
	if (host_slots)
		ck_assert_int_eq(hostpool_new(&hostpool, NULL, (uint64_t)host_slots * CHUNK, CHUNK,
					      false),
				 0);
	if (swap_slots)
		ck_assert_int_eq(swap_new(&swap, store, dir, (uint64_t)swap_slots * CHUNK, CHUNK),
				 0);
	params = (struct pager_params){
		.loop = loop,
		.gpu = gpu,
		.store = store,
		.arbiter = arbiter,
		.dev = dev,
		.swap = swap,
		.hostpool = hostpool,
		.inflight_bytes = 4 * CHUNK,
		.events = &events,
	};
	ck_assert_int_eq(pager_new(&pager, &params), 0);
}

static void open_object(bool buffer)
{
	int client_fd;

	object = calloc(1, sizeof(*object));
	object->kind = buffer ? POLICY_BUFFER : POLICY_MODEL;
	object->size_bytes = buffer ? N_CHUNKS * CHUNK : FILE_BYTES;
	snprintf(object->name, sizeof(object->name), "test");
	list_init(&object->uses);
	ck_assert_int_eq(
		gpu_object_new(gpu, "test", object->size_bytes, CHUNK, buffer, 0, &object->mem), 0);
	ck_assert_uint_eq(object->mem->n_chunks, N_CHUNKS);
	object->chunks = calloc(N_CHUNKS, sizeof(*object->chunks));
	if (!buffer)
		ck_assert_int_eq(store_file_open(store, fd, FILE_BYTES, 0, &object->file), 0);
	ck_assert_int_eq(arbiter_share_new(arbiter, dev, &object->share), 0);
	ck_assert_int_eq(arbiter_share_join(arbiter, object->share, session, false, NULL), 0);
	ck_assert_int_eq(gpu_object_client_fd(object->mem, &client_fd), 0);
	view = mmap(NULL, object->mem->map_bytes, PROT_READ | (buffer ? PROT_WRITE : 0), MAP_SHARED,
		    client_fd, 0);
	ck_assert_ptr_ne(view, MAP_FAILED);
	close(client_fd);
}

static uint64_t charged(uint32_t tier)
{
	struct arbiter_share_info info;

	ck_assert_int_eq(arbiter_share_read(arbiter, object->share, &info), 0);
	return info.bytes[tier];
}

static void run_until_idle(void)
{
	uint64_t until = loop_now() + 20ull * 1000000000;

	while (!pager_is_idle(pager)) {
		ck_assert(loop_now() < until);
		ck_assert_int_ge(loop_run_once(loop, 10000000), 0);
	}
}

static void teardown(void)
{
	run_until_idle();
	pager_forget(pager, object);
	for (uint32_t tier = ARBITER_HOST; tier < ARBITER_N_TIERS; tier++)
		ck_assert_uint_eq(charged(tier), 0);
	for (uint32_t c = 0; c < N_CHUNKS; c++) {
		ck_assert_uint_eq(object->chunks[c].swap_slot, 0);
		ck_assert_uint_eq(object->chunks[c].host_slot, 0);
	}
	ck_assert_uint_eq(object->n_moving, 0);
	ck_assert_uint_eq(pager_stats(pager)->inflight_bytes, 0);
	if (hostpool)
		ck_assert_uint_eq(hostpool_used(hostpool), 0);
	if (swap)
		ck_assert_uint_eq(swap_used(swap), 0);
	munmap(view, object->mem->map_bytes);
	pager_free(pager);
	swap_free(swap);
	hostpool_free(hostpool);
	gpu_object_free(object->mem);
	store_file_unref(object->file);
	free(object->chunks);
	free(object);
	arbiter_free(arbiter);
	gpu_free(gpu);
	store_free(store);
	loop_free(loop);
	close(fd);
	unlink(path);
	rmdir(dir);
	free(content);
}

static int load(uint32_t chunk)
{
	n_loaded = 0;
	ck_assert_int_eq(pager_load(pager, object, chunk), 0);
	ck_assert_uint_eq(object->chunks[chunk].state, CHUNK_LOADING);
	ck_assert_uint_eq(n_loaded, 0); /* never from inside */
	run_until_idle();
	ck_assert_uint_eq(n_loaded, 1);
	return last_res;
}

/* Return: what pager_evict() said if it was not 1, else how it ended. */
static int evict(uint32_t chunk)
{
	int r;

	n_evicted = 0;
	r = pager_evict(pager, object, chunk, 7);
	ck_assert_uint_eq(n_evicted, 0);
	if (r != 1)
		return r;
	ck_assert_uint_eq(object->chunks[chunk].state, CHUNK_EVICTING);
	run_until_idle();
	ck_assert_uint_eq(n_evicted, 1);
	ck_assert_uint_eq(last_who, 7);
	return last_res;
}

/* As a client would: it is opened, and written to. */
static void write_chunk(uint32_t chunk, int value)
{
	object->chunks[chunk].flags |= CHUNK_WRITTEN | CHUNK_DIRTY;
	memset(view + chunk * CHUNK, value, CHUNK);
}

static void assert_chunk(uint32_t chunk, int value)
{
	for (uint32_t i = 0; i < CHUNK; i++)
		ck_assert_int_eq(view[chunk * CHUNK + i], value);
}

START_TEST(model_comes_and_goes)
{
	open_pager(_i ? N_CHUNKS : 0, 0, NULL);
	open_object(false);
	for (uint32_t c = 0; c < N_CHUNKS; c++)
		ck_assert_int_eq(load(c), 0);
	ck_assert_int_eq(memcmp(view, content, FILE_BYTES), 0);
	/* Behind the end of the file there is nothing, and not what somebody had in the slot before. */
	for (uint64_t i = FILE_BYTES; i < object->mem->map_bytes; i++)
		ck_assert_int_eq(view[i], 0);
	ck_assert_uint_eq(pager_stats(pager)->read_bytes, FILE_BYTES);
	for (uint32_t c = 0; c < N_CHUNKS; c++) {
		ck_assert_int_eq(pager_may_evict(pager, object, c, NULL), 0);
		ck_assert_int_eq(evict(c), 0);
		ck_assert_uint_eq(object->chunks[c].state, CHUNK_ABSENT);
	}
	ck_assert_uint_eq(gpu_object_memory(object->mem), 0);
	ck_assert_int_eq(load(1), 0);
	ck_assert_int_eq(memcmp(view + CHUNK, content + CHUNK, CHUNK), 0);
	/* Behind a link the host tier had a copy of it. */
	ck_assert_uint_eq(pager_stats(pager)->read_bytes, FILE_BYTES + (_i ? 0 : CHUNK));
	ck_assert_uint_eq(charged(ARBITER_HOST), _i ? (uint64_t)N_CHUNKS * CHUNK : 0);
}
END_TEST

/* A host tier of one slot: every chunk passes through it. */
START_TEST(model_through_one_slot)
{
	open_pager(1, 0, NULL);
	open_object(false);
	ck_assert_int_eq(pager_load(pager, object, 0), 0);
	ck_assert_int_eq(pager_load(pager, object, 1), -EAGAIN);
	ck_assert_uint_eq(object->chunks[1].state, CHUNK_ABSENT);
	run_until_idle();
	for (uint32_t c = 1; c < N_CHUNKS; c++)
		ck_assert_int_eq(load(c), 0);
	ck_assert_int_eq(memcmp(view, content, FILE_BYTES), 0);
	ck_assert_uint_eq(charged(ARBITER_HOST), CHUNK);
}
END_TEST

START_TEST(in_flight_is_bounded)
{
	uint32_t n = 0;

	open_pager(0, 0, NULL);
	open_object(false);
	while (n < N_CHUNKS && pager_load(pager, object, n) == 0)
		n++;
	ck_assert_uint_eq(n, 4);
	ck_assert(!pager_has_room(pager, object));
	ck_assert_uint_eq(pager_stats(pager)->inflight_bytes, 4 * CHUNK);
	run_until_idle();
	ck_assert_uint_eq(n_loaded, 4);
	ck_assert(pager_has_room(pager, object));
}
END_TEST

START_TEST(buffer_comes_back)
{
	open_pager(_i ? 3 : 0, 8, NULL);
	open_object(true);
	ck_assert_int_eq(load(2), 0);
	assert_chunk(2, 0);
	for (int round = 1; round < 4; round++) {
		write_chunk(2, 'a' + round);
		ck_assert_int_eq(pager_may_evict(pager, object, 2, NULL), 0);
		ck_assert_int_eq(evict(2), 0);
		ck_assert_uint_eq(gpu_object_memory(object->mem), 0);
		ck_assert_uint_eq(charged(_i ? ARBITER_HOST : ARBITER_DISK), CHUNK);
		ck_assert_int_eq(load(2), 0);
		assert_chunk(2, 'a' + round);
		ck_assert_uint_eq(charged(ARBITER_HOST) + charged(ARBITER_DISK), 0);
	}
	ck_assert_uint_eq(_i ? pager_stats(pager)->link_out_bytes :
			       pager_stats(pager)->swap_out_bytes,
			  3 * CHUNK);
}
END_TEST

START_TEST(untouched_buffer_is_a_drop)
{
	open_pager(_i ? 3 : 0, 8, NULL);
	open_object(true);
	ck_assert_int_eq(load(0), 0);
	ck_assert_int_eq(pager_evict(pager, object, 0, 0), 0);
	ck_assert_uint_eq(object->chunks[0].state, CHUNK_ABSENT);
	ck_assert_uint_eq(pager_stats(pager)->swap_out_bytes, 0);
	ck_assert_uint_eq(charged(ARBITER_HOST) + charged(ARBITER_DISK), 0);
	ck_assert_int_eq(load(0), 0);
	assert_chunk(0, 0);
}
END_TEST

/* Of eight slots two are kept for chunks that come back in exchange. */
START_TEST(swap_is_full)
{
	open_pager(0, 8, NULL);
	open_object(true);
	for (uint32_t i = 0; i < 6; i++)
		ck_assert_int_ge(swap_slot_get(swap), 0);
	ck_assert_int_eq(load(0), 0);
	write_chunk(0, 'x');
	ck_assert_int_eq(pager_may_evict(pager, object, 0, NULL), -ENOSPC);
	ck_assert_int_eq(pager_may_evict(pager, object, 0, &object->chunks[1]), -ENOSPC);
	object->chunks[1].swap_slot = 1;
	ck_assert_int_eq(pager_may_evict(pager, object, 0, &object->chunks[1]), 0);
	object->chunks[1].swap_slot = 0;
	/* Full to the last: even if nobody asked before. */
	for (uint32_t i = 6; i < 8; i++)
		ck_assert_int_ge(swap_slot_get(swap), 0);
	ck_assert_int_eq(pager_evict(pager, object, 0, 0), -ENOSPC);
	ck_assert_uint_eq(object->chunks[0].state, CHUNK_RESIDENT);
	assert_chunk(0, 'x');
	for (uint32_t i = 0; i < 8; i++)
		swap_slot_put(swap, i);
	ck_assert_int_eq(pager_may_evict(pager, object, 0, NULL), 0);
	ck_assert_int_eq(evict(0), 0);
}
END_TEST

START_TEST(no_swap)
{
	open_pager(_i ? 2 : 0, 0, NULL);
	open_object(true);
	for (uint32_t c = 0; c < 3; c++) {
		ck_assert_int_eq(load(c), 0);
		write_chunk(c, 'p' + (int)c);
	}
	/* With a host tier all but one of its slots serve. */
	if (_i) {
		ck_assert_int_eq(pager_may_evict(pager, object, 0, NULL), 0);
		ck_assert_int_eq(evict(0), 0);
	}
	ck_assert_int_eq(pager_may_evict(pager, object, 1, NULL), -ENOSPC);
	ck_assert_uint_eq(object->chunks[1].state, CHUNK_RESIDENT);
	if (_i) {
		/* But in exchange for what comes back from it, also the last. */
		ck_assert_int_eq(pager_may_evict(pager, object, 1, &object->chunks[0]), 0);
		ck_assert_int_eq(evict(1), 0);
		ck_assert_int_eq(load(0), 0);
		assert_chunk(0, 'p');
		ck_assert_int_eq(load(1), 0);
		assert_chunk(1, 'q');
	}
	assert_chunk(2, 'r');
}
END_TEST

/* More than the host tier holds goes on to swap, and everything comes back from wherever it is. */
START_TEST(writeback)
{
	open_pager(2, 16, NULL);
	open_object(true);
	for (uint32_t c = 0; c < N_CHUNKS; c++) {
		ck_assert_int_eq(load(c), 0);
		write_chunk(c, 'A' + (int)c);
	}
	for (uint32_t c = 0; c < N_CHUNKS; c++) {
		int tries = 0, r;

		while ((r = evict(c)) == -EAGAIN) {
			ck_assert_uint_eq(object->chunks[c].state, CHUNK_RESIDENT);
			ck_assert_int_lt(tries++, 10);
			run_until_idle();
		}
		ck_assert_int_eq(r, 0);
	}
	ck_assert_uint_eq(n_settled, N_CHUNKS - 2);
	ck_assert_uint_eq(charged(ARBITER_HOST), 2 * CHUNK);
	ck_assert_uint_eq(charged(ARBITER_DISK), (N_CHUNKS - 2) * CHUNK);
	ck_assert_uint_eq(gpu_object_memory(object->mem), 0);
	for (uint32_t c = 0; c < N_CHUNKS; c++) {
		int tries = 0;

		while (object->chunks[c].state != CHUNK_RESIDENT) {
			int r = pager_load(pager, object, c);

			ck_assert(r == 0 || r == -EAGAIN);
			ck_assert_int_lt(tries++, 10);
			run_until_idle();
		}
		assert_chunk(c, 'A' + (int)c);
	}
	ck_assert_uint_eq(charged(ARBITER_HOST) + charged(ARBITER_DISK), 0);
}
END_TEST

/* A chunk that is written back can neither be loaded nor be lost. */
START_TEST(writeback_fails)
{
	open_pager(1, 4, "write:eio:every=1");
	open_object(true);
	ck_assert_int_eq(load(0), 0);
	ck_assert_int_eq(load(1), 0);
	write_chunk(0, 'm');
	write_chunk(1, 'n');
	ck_assert_int_eq(evict(0), 0);
	n_settled = 0;
	ck_assert_int_eq(pager_evict(pager, object, 1, 0), -EAGAIN);
	ck_assert_uint_eq(object->chunks[0].state, CHUNK_EVICTING);
	run_until_idle();
	ck_assert_uint_eq(n_settled, 1);
	ck_assert_uint_eq(object->chunks[0].state, CHUNK_ABSENT);
	ck_assert_uint_eq(charged(ARBITER_DISK), 0);
	ck_assert_uint_eq(charged(ARBITER_HOST), CHUNK);
	/* Not again and again: for a while there is no place. */
	ck_assert_int_eq(pager_may_evict(pager, object, 1, NULL), -ENOSPC);
	assert_chunk(1, 'n');
	ck_assert_int_eq(load(0), 0);
	assert_chunk(0, 'm');
}
END_TEST

START_TEST(reads_fail)
{
	open_pager(_i ? 2 : 0, 0, "read:eio:every=2");
	open_object(false);
	ck_assert_int_eq(load(0), -EIO);
	ck_assert_uint_eq(object->chunks[0].state, CHUNK_ABSENT);
	ck_assert_uint_eq(gpu_object_memory(object->mem), 0);
	ck_assert_uint_eq(charged(ARBITER_HOST), 0);
	if (hostpool)
		ck_assert_uint_eq(hostpool_used(hostpool), 0);
}
END_TEST

START_TEST(writes_fail)
{
	open_pager(0, 8, "write:eio:every=1");
	open_object(true);
	ck_assert_int_eq(load(3), 0);
	write_chunk(3, 'w');
	ck_assert_int_eq(evict(3), -EIO);
	ck_assert_uint_eq(object->chunks[3].state, CHUNK_RESIDENT);
	assert_chunk(3, 'w');
	ck_assert_uint_eq(charged(ARBITER_DISK), 0);
	ck_assert_uint_eq(swap_used(swap), 0);
}
END_TEST

/* A write that comes while the chunk is on its way to swap is not lost. */
START_TEST(written_while_written_out)
{
	open_pager(0, 8, NULL);
	open_object(true);
	ck_assert_int_eq(load(3), 0);
	write_chunk(3, 'w');
	n_evicted = 0;
	ck_assert_int_eq(pager_evict(pager, object, 3, 7), 1);
	view[3 * CHUNK + 4711] = '!';
	run_until_idle();
	ck_assert_uint_eq(n_evicted, 1);
	ck_assert_int_eq(last_res, -EBUSY);
	ck_assert_uint_eq(object->chunks[3].state, CHUNK_RESIDENT);
	ck_assert_int_eq(view[3 * CHUNK + 4711], '!');
	ck_assert_uint_eq(charged(ARBITER_DISK), 0);
	ck_assert_uint_eq(swap_used(swap), 0);
	/* Nobody writes any more. */
	ck_assert_int_eq(evict(3), 0);
	ck_assert_int_eq(load(3), 0);
	ck_assert_int_eq(view[3 * CHUNK + 4711], '!');
}
END_TEST

START_TEST(file_changed)
{
	open_pager(_i ? 2 : 0, 0, NULL);
	open_object(false);
	ck_assert_int_eq(load(0), 0);
	ck_assert_int_eq(ftruncate(fd, 2 * CHUNK), 0);
	ck_assert_int_eq(load(1), -ESTALE);
	ck_assert_int_eq(load(4), -ESTALE);
	ck_assert_uint_eq(object->chunks[1].state, CHUNK_ABSENT);
	/* What is there already stays what it was. */
	ck_assert_int_eq(memcmp(view, content, CHUNK), 0);
}
END_TEST

/* Finds the nameless swap file among our descriptors and spoils a byte of it. */
static void spoil_swap(void)
{
	char link[64], target[256];
	unsigned char block[4096];
	bool found = false;

	for (int i = 3; i < 256 && !found; i++) {
		ssize_t n;
		int own;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", i);
		n = readlink(link, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		if (strncmp(target, dir, strlen(dir)) || !strstr(target, "(deleted)"))
			continue;
		own = open(link, O_RDWR | O_CLOEXEC);
		ck_assert_int_ge(own, 0);
		for (uint32_t slot = 0; slot < 8; slot++) {
			ck_assert_int_eq(pread(own, block, 4096, slot * CHUNK + 8192), 4096);
			block[17] ^= 1;
			ck_assert_int_eq(pwrite(own, block, 4096, slot * CHUNK + 8192), 4096);
		}
		ck_assert_int_eq(fsync(own), 0);
		close(own);
		found = true;
	}
	ck_assert(found);
}

START_TEST(swap_comes_back_changed)
{
	open_pager(_i ? 1 : 0, 8, NULL);
	open_object(true);
	ck_assert_int_eq(load(0), 0);
	ck_assert_int_eq(load(1), 0);
	write_chunk(0, 's');
	write_chunk(1, 't');
	ck_assert_int_eq(evict(0), 0);
	if (_i) {
		/* On to swap, for the second one's sake. */
		ck_assert_int_eq(evict(1), -EAGAIN);
		run_until_idle();
	}
	ck_assert_uint_eq(charged(ARBITER_DISK), CHUNK);
	spoil_swap();
	ck_assert_int_eq(load(0), -EILSEQ);
	ck_assert_uint_eq(object->chunks[0].state, CHUNK_ABSENT);
	ck_assert_uint_eq(gpu_object_memory(object->mem), CHUNK);
	assert_chunk(1, 't');
}
END_TEST

/* No quota in the host tier: models pass through without leaving a copy, buffers stay where they are. */
START_TEST(host_limit)
{
	struct arbiter_subject subject = { .kind = ARBITER_SESSION };

	open_pager(2, 0, NULL);
	open_object(_i);
	subject.id = session;
	ck_assert_int_eq(arbiter_limit_set(arbiter, &subject, dev, ARBITER_HOST, ARBITER_MAX, 0),
			 0);
	ck_assert_int_eq(load(0), 0);
	if (_i) {
		write_chunk(0, 'h');
		ck_assert_int_eq(evict(0), -EDQUOT);
		assert_chunk(0, 'h');
	} else {
		ck_assert_int_eq(memcmp(view, content, CHUNK), 0);
	}
	ck_assert_uint_eq(charged(ARBITER_HOST), 0);
	ck_assert_uint_eq(hostpool_used(hostpool), 0);
}
END_TEST

START_TEST(disk_limit)
{
	struct arbiter_subject subject = { .kind = ARBITER_SESSION };

	open_pager(0, 8, NULL);
	open_object(true);
	subject.id = session;
	ck_assert_int_eq(
		arbiter_limit_set(arbiter, &subject, dev, ARBITER_DISK, ARBITER_MAX, CHUNK), 0);
	ck_assert_int_eq(load(0), 0);
	ck_assert_int_eq(load(1), 0);
	write_chunk(0, 'd');
	write_chunk(1, 'e');
	ck_assert_int_eq(evict(0), 0);
	ck_assert_int_eq(evict(1), -ENOSPC);
	assert_chunk(1, 'e');
	ck_assert_uint_eq(swap_used(swap), CHUNK);
}
END_TEST

/* The object goes while its content is in both lower tiers: everything is given back (see teardown). */
START_TEST(forget)
{
	open_pager(1, 8, NULL);
	open_object(true);
	for (uint32_t c = 0; c < 2; c++) {
		ck_assert_int_eq(load(c), 0);
		write_chunk(c, 'f');
	}
	ck_assert_int_eq(evict(0), 0);
	ck_assert_int_eq(evict(1), -EAGAIN);
	run_until_idle();
	ck_assert_int_eq(evict(1), 0);
	ck_assert_uint_eq(charged(ARBITER_HOST), CHUNK);
	ck_assert_uint_eq(charged(ARBITER_DISK), CHUNK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pager");
	TCase *tc = tcase_create("pager");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, model_comes_and_goes, 0, 2);
	tcase_add_test(tc, model_through_one_slot);
	tcase_add_test(tc, in_flight_is_bounded);
	tcase_add_loop_test(tc, buffer_comes_back, 0, 2);
	tcase_add_loop_test(tc, untouched_buffer_is_a_drop, 0, 2);
	tcase_add_test(tc, swap_is_full);
	tcase_add_loop_test(tc, no_swap, 0, 2);
	tcase_add_test(tc, writeback);
	tcase_add_test(tc, writeback_fails);
	tcase_add_loop_test(tc, reads_fail, 0, 2);
	tcase_add_test(tc, writes_fail);
	tcase_add_test(tc, written_while_written_out);
	tcase_add_loop_test(tc, file_changed, 0, 2);
	tcase_add_loop_test(tc, swap_comes_back_changed, 0, 2);
	tcase_add_loop_test(tc, host_limit, 0, 2);
	tcase_add_test(tc, disk_limit);
	tcase_add_test(tc, forget);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
