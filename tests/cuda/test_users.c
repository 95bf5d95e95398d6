// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two users and one card: whatever the first one does, lie, keep, hang up or die with work in flight, the second one finds
 * zeros in its fresh buffers and its own bytes later, and the first one never sees those.
 *
 * Needs root, for other users' processes.
 */
// links: tests/support/vramd.c tests/support/vramd_ask.c tests/support/standin.c tests/support/peer.c
// links: tests/support/raw_client.c common/cuda_driver.c common/fd.c common/err.c
// libs: -ljansson
// timeout: 300
#define _GNU_SOURCE 1
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/residency.h"
#include "tests/cuda-standin/kernels.h"
#include "tests/support/peer.h"
#include "tests/support/raw_client.h"
#include "tests/support/standin.h"
#include "tests/support/vramd_ask.h"

#define MIB	 (1ull << 20)
#define CHUNK	 (2 * MIB)
#define CHUNKS	 8 /* of the budget */
#define CARD	 (CHUNKS * CHUNK + 4 * MIB)
#define ALICE	 64101
#define BOB	 64102
#define OF_ALICE 0xa1
#define OF_BOB	 0xb0

static struct vramd d;
static struct standin_card *card;
static struct peer alice, bob;

/* ---- what peers do ---- */

static struct raw_client *me;

static int64_t join(uint64_t a, uint64_t b)
{
	(void)a;
	(void)b;
	me = raw_connect(d.socket);
	return 0;
}

/* A buffer of n chunks, acquired, mapped, found to be zero, and filled. Return: how many bytes were not zero. */
static int64_t take(uint64_t n, uint64_t byte)
{
	uint32_t object = raw_buffer(me, (uint32_t)n, CHUNK);
	uint64_t others = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct raw_chunk *chunk = &me->chunks[me->n_chunks];

		ck_assert_msg(raw_acquire(me, object, i), "no layer %u: %s", i, me->goodbye);
		ck_assert_int_eq(raw_fetch(me, atomic_load(&me->objects[object].bindings[i])), 0);
		raw_map(me, chunk);
		others += raw_others(chunk, 0);
		raw_fill(chunk, (unsigned char)byte);
	}
	return (int64_t)others;
}

/* Return: how many bytes of all that is mapped are not this one. */
static int64_t look(uint64_t byte, uint64_t b)
{
	uint64_t others = 0;

	(void)b;
	for (uint32_t i = 0; i < me->n_chunks; i++)
		if (me->chunks[i].at)
			others += raw_others(&me->chunks[i], (unsigned char)byte);
	return (int64_t)others;
}

static int64_t unpin(uint64_t a, uint64_t b)
{
	(void)a;
	(void)b;
	for (uint32_t o = 0; o < me->n_objects; o++)
		for (uint32_t i = 0; i < me->objects[o].n_chunks; i++)
			raw_release(me, o, i);
	return 0;
}

static void let_go(struct raw_chunk *chunk)
{
	const struct cuda_driver *cuda = raw_driver();

	if (chunk->at) {
		ck_assert_int_eq(cuda->mem_unmap(chunk->at, chunk->bytes), 0);
		ck_assert_int_eq(cuda->mem_release(chunk->mem), 0);
		close(chunk->fd);
	}
	chunk->at = 0;
}

/* Hears RECLAIM for a while, and answers that it has let go. honest: and has. Return: how many ids it was asked for. */
static int64_t obey(uint64_t ms, uint64_t honest)
{
	int64_t n = 0;

	for (uint64_t at = 0; at < ms && raw_poll(me, 10); at += 10) {
		for (uint32_t i = 0; honest && i < me->n_chunks; i++)
			for (uint32_t k = 0; k < me->n_reclaimed; k++)
				if (me->chunks[i].id == me->reclaimed[k])
					let_go(&me->chunks[i]);
		if (me->n_reclaimed)
			raw_say_reclaimed(me, me->reclaimed, me->n_reclaimed);
		n += me->n_reclaimed;
		me->n_reclaimed = 0;
	}
	return n;
}

static int64_t hang_up(uint64_t a, uint64_t b)
{
	(void)a;
	(void)b;
	raw_hang_up(me);
	return 0;
}

static int64_t id_of(uint64_t chunk, uint64_t b)
{
	(void)b;
	return (int64_t)me->chunks[chunk].id;
}

static int64_t fetch(uint64_t id, uint64_t b)
{
	(void)b;
	return raw_fetch(me, id);
}

/* A kernel that takes its time, and behind it writes to all that is mapped. */
static int64_t leave_work_behind(uint64_t ns, uint64_t byte)
{
	const struct cuda_driver *cuda = raw_driver();
	cuda_result (*load)(void **, const void *);
	cuda_result (*function)(void **, void *, const char *);
	cuda_result (*launch)(void *, unsigned int, unsigned int, unsigned int, unsigned int,
			      unsigned int, unsigned int, unsigned int, cuda_stream, void **,
			      void **);
	void *module, *spin, *arguments[] = { &ns };
	cuda_stream stream;

	*(void **)&load = dlsym(cuda->library, "cuModuleLoadData");
	*(void **)&function = dlsym(cuda->library, "cuModuleGetFunction");
	*(void **)&launch = dlsym(cuda->library, "cuLaunchKernel");
	ck_assert(load && function && launch);
	ck_assert_int_eq(load(&module, STANDIN_MODULE), 0);
	ck_assert_int_eq(function(&spin, module, "spin"), 0);
	ck_assert_int_eq(cuda->stream_create(&stream, CUDA_ABI_STREAM_NON_BLOCKING), 0);
	ck_assert_int_eq(launch(spin, 1, 1, 1, 1, 1, 1, 0, stream, arguments, NULL), 0);
	for (uint32_t i = 0; i < me->n_chunks; i++)
		if (me->chunks[i].at)
			ck_assert_int_eq(cuda->memset_d8_async(me->chunks[i].at,
							       (unsigned char)byte, CHUNK, stream),
					 0);
	return 0;
}

/* Sends all descriptors to another process, by the test. */
static int hand[2];

static int64_t give_away(uint64_t a, uint64_t b)
{
	int fds[VRAM_CHUNKS_PER_MSG], n = 0;

	(void)a;
	(void)b;
	for (uint32_t i = 0; i < me->n_chunks && n < (int)VRAM_CHUNKS_PER_MSG; i++)
		fds[n++] = me->chunks[i].fd;
	ck_assert_int_eq(fd_send(hand[1], "f", 1, fds, (size_t)n, 0), 0);
	return n;
}

/* ---- the world ---- */

static void setup(void)
{
	char library[4096];

	vramd_init(&d, "16M");
	/* Both users open the card's file. */
	setenv("TEST_TMP", d.dir, 1);
	card = standin_new(CARD);
	/* For the daemon; peers open it by its path. */
	snprintf(library, sizeof(library), "%s", standin_library());
	*strrchr(library, '/') = '\0';
	setenv("LD_LIBRARY_PATH", library, 1);
	d.for_all = true;
	d.settings[0] = "device.kind=cuda";
	d.settings[1] = "device.chunk=2M";
	d.settings[2] = "device.reserve=0";
	d.settings[3] = "device.host_budget=32M";
	d.settings[4] = "device.reclaim_timeout=1s";
	d.settings[5] = "limits.pin_timeout=2s";
	d.settings[6] = "policy.keep=0";
	d.settings[7] = "device.idle=1s";
	vramd_start(&d);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, hand), 0);
	alice = peer_start(ALICE);
	bob = peer_start(BOB);
	peer_ask(&alice, join, 0, 0);
	peer_ask(&bob, join, 0, 0);
}

static void teardown(void)
{
	vramd_deinit(&d);
	standin_free(card);
}

static uint64_t budget(void)
{
	return vramd_device(&d, "budget_bytes");
}

/* Everybody is gone: the card is empty, and the ledger knows it. */
static void nothing_is_left(void)
{
	EVENTUALLY(vramd_holds_nothing(&d));
	EVENTUALLY(standin_used_bytes(card) == vramd_device(&d, "memory_bytes"));
	EVENTUALLY(budget() == CHUNKS * CHUNK);
	vramd_signal(&d, SIGTERM);
	EVENTUALLY(standin_used_bytes(card) == 0);
}

/* ---- tests ---- */

/* Nobody lies. Memory goes to and fro, always through the driver. */
START_TEST(in_turns)
{
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(peer_ask(&alice, take, CHUNKS, OF_ALICE), 0);
		ck_assert_int_eq(peer_ask(&alice, look, OF_ALICE, 0), 0);
		peer_ask(&alice, unpin, 0, 0);
		peer_tell(&bob, take, CHUNKS, OF_BOB);
		ck_assert_int_ge(peer_ask(&alice, obey, 1500, true), CHUNKS);
		{
			int64_t others = -1;

			ck_assert(peer_answer(&bob, &others));
			ck_assert_int_eq(others, 0);
		}
		ck_assert_int_eq(peer_ask(&bob, look, OF_BOB, 0), 0);
		/* Both start anew; what they had goes. */
		ck_assert_int_eq(peer_end(&alice, 0), 0);
		ck_assert_int_eq(peer_end(&bob, 0), 0);
		alice = peer_start(ALICE);
		bob = peer_start(BOB);
		peer_ask(&alice, join, 0, 0);
		peer_ask(&bob, join, 0, 0);
	}
	ck_assert_int_eq(peer_end(&alice, 0), 0);
	ck_assert_int_eq(peer_end(&bob, 0), 0);
	nothing_is_left();
}
END_TEST

/* Alice says that she has let go, and has not: she keeps her memory, and sees nothing of Bob's; he gets what there is. */
START_TEST(a_liar)
{
	int64_t others = -1;

	ck_assert_int_eq(peer_ask(&alice, take, CHUNKS, OF_ALICE), 0);
	peer_ask(&alice, unpin, 0, 0);
	/* Two chunks are outside the budget and free, as nobody else is there. */
	peer_tell(&bob, take, 2, OF_BOB);
	ck_assert_int_gt(peer_ask(&alice, obey, 1500, false), 0);
	ck_assert(peer_answer(&bob, &others));
	ck_assert_int_eq(others, 0);
	ck_assert_int_eq(peer_ask(&alice, look, OF_ALICE, 0), 0);
	/* What she writes now reaches nobody. */
	for (uint64_t byte = 1; byte < 4; byte++) {
		peer_ask(&alice, leave_work_behind, 1000000, byte);
		nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
		ck_assert_int_eq(peer_ask(&alice, look, byte, 0), 0);
		ck_assert_int_eq(peer_ask(&bob, look, OF_BOB, 0), 0);
	}
	/* It costs: what she says to have given back and has not is missing while she lives. */
	json_decref(vramd_ask(&d, "evict --all"));
	ck_assert_int_gt(peer_ask(&alice, obey, 3000, false), 0);
	ck_assert_int_eq(peer_ask(&alice, look, 3, 0), 0);
	EVENTUALLY(budget() < CHUNKS * CHUNK);
	ck_assert_int_eq(peer_end(&alice, SIGKILL), SIGKILL);
	EVENTUALLY(budget() == CHUNKS * CHUNK);
	ck_assert_int_eq(peer_end(&bob, 0), 0);
	nothing_is_left();
}
END_TEST

/* Alice's session ends and her process keeps everything. */
START_TEST(one_who_hangs_up)
{
	ck_assert_int_eq(peer_ask(&alice, take, CHUNKS - 2, OF_ALICE), 0);
	peer_ask(&alice, hang_up, 0, 0);
	EVENTUALLY(vramd_usage(&d, "root", "vram") == 0);
	ck_assert_int_eq(peer_ask(&bob, take, 2, OF_BOB), 0);
	ck_assert_int_eq(peer_ask(&alice, look, OF_ALICE, 0), 0);
	peer_ask(&alice, leave_work_behind, 1000000, 0x77);
	nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
	ck_assert_int_eq(peer_ask(&alice, look, 0x77, 0), 0);
	ck_assert_int_eq(peer_ask(&bob, look, OF_BOB, 0), 0);
	ck_assert_int_eq(peer_end(&alice, 0), 0);
	/* Now there is room for all. */
	EVENTUALLY(budget() == CHUNKS * CHUNK);
	ck_assert_int_eq(peer_ask(&bob, take, CHUNKS - 2, OF_BOB), 0);
	ck_assert_int_eq(peer_ask(&bob, look, OF_BOB, 0), 0);
	ck_assert_int_eq(peer_end(&bob, 0), 0);
	nothing_is_left();
}
END_TEST

/* Alice gives her descriptors to a third process before she is killed: the memory is gone until that lets go, and no more. */
START_TEST(one_who_gives_away)
{
	int fds[FD_MSG_MAX];
	size_t n_fds;
	char byte;

	ck_assert_int_eq(peer_ask(&alice, take, CHUNKS - 2, OF_ALICE), 0);
	ck_assert_int_eq(peer_ask(&alice, give_away, 0, 0), CHUNKS - 2);
	ck_assert_int_eq(peer_end(&alice, SIGKILL), SIGKILL);
	ck_assert_int_eq(fd_recv(hand[0], &byte, 1, fds, FD_MSG_MAX, &n_fds, 0), 1);
	ck_assert_uint_eq(n_fds, CHUNKS - 2);
	ck_assert_int_eq(peer_ask(&bob, take, 2, OF_BOB), 0);
	/* What the descriptors still hold is hers. */
	for (size_t i = 0; i < n_fds; i++) {
		struct raw_chunk chunk = { .fd = fds[i], .bytes = CHUNK };

		raw_map(NULL, &chunk);
		ck_assert_uint_eq(raw_others(&chunk, OF_ALICE), 0);
		let_go(&chunk);
	}
	EVENTUALLY(budget() == CHUNKS * CHUNK);
	ck_assert_int_eq(peer_ask(&bob, take, CHUNKS - 2, OF_BOB), 0);
	ck_assert_int_eq(peer_ask(&bob, look, OF_BOB, 0), 0);
	ck_assert_int_eq(peer_end(&bob, 0), 0);
	EVENTUALLY(vramd_holds_nothing(&d));
}
END_TEST

/* Alice is killed while her kernels run, and the driver takes its time to notice. */
START_TEST(one_who_dies_at_work)
{
	card->image->linger_ns = 700000000;
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(peer_ask(&alice, take, CHUNKS, OF_ALICE), 0);
		peer_ask(&alice, leave_work_behind, 300000000, 0x66);
		ck_assert_int_eq(peer_end(&alice, SIGKILL), SIGKILL);
		ck_assert_int_eq(peer_ask(&bob, take, CHUNKS, OF_BOB), 0);
		nanosleep(&(struct timespec){ .tv_nsec = 500000000 }, NULL);
		ck_assert_int_eq(peer_ask(&bob, look, OF_BOB, 0), 0);
		ck_assert_int_eq(peer_end(&bob, 0), 0);
		alice = peer_start(ALICE);
		/* The same user's next process as well. */
		bob = peer_start(round ? BOB : ALICE);
		peer_ask(&alice, join, 0, 0);
		peer_ask(&bob, join, 0, 0);
	}
	ck_assert_int_eq(peer_end(&alice, 0), 0);
	ck_assert_int_eq(peer_end(&bob, 0), 0);
	nothing_is_left();
}
END_TEST

/* Alice does not answer at all. She is killed when her time is over, and Bob has his memory. */
START_TEST(one_who_ignores)
{
	int64_t others = -1;

	ck_assert_int_eq(peer_ask(&alice, take, CHUNKS, OF_ALICE), 0);
	peer_ask(&alice, unpin, 0, 0);
	peer_tell(&bob, take, CHUNKS, OF_BOB);
	ck_assert_int_eq(peer_wait(&alice), SIGKILL);
	ck_assert(peer_answer(&bob, &others));
	ck_assert_int_eq(others, 0);
	ck_assert_int_eq(peer_ask(&bob, look, OF_BOB, 0), 0);
	ck_assert_uint_gt(vramd_logged(&d, "did not let go of memory in time: killed"), 0);
	ck_assert_int_eq(peer_end(&bob, 0), 0);
	nothing_is_left();
}
END_TEST

/* Alice keeps her pins, too: first her session ends for that, then her memory goes or she does. */
START_TEST(one_who_pins)
{
	int64_t others = -1;

	ck_assert_int_eq(peer_ask(&alice, take, CHUNKS, OF_ALICE), 0);
	peer_tell(&bob, take, 2, OF_BOB);
	EVENTUALLY(vramd_logged(&d, "stayed pinned longer than limits.pin_timeout") > 0);
	/* Her session is gone, her memory is not: she is a program like any other now. */
	ck_assert_int_eq(peer_ask(&alice, look, OF_ALICE, 0), 0);
	ck_assert(peer_answer(&bob, &others));
	ck_assert_int_eq(others, 0);
	ck_assert_int_eq(peer_ask(&bob, look, OF_BOB, 0), 0);
	ck_assert_int_eq(peer_end(&alice, SIGKILL), SIGKILL);
	ck_assert_int_eq(peer_end(&bob, 0), 0);
	nothing_is_left();
}
END_TEST

/* Numbers of chunks are no secret and give nothing. */
START_TEST(ids_are_no_keys)
{
	int64_t id, last;

	ck_assert_int_eq(peer_ask(&alice, take, 3, OF_ALICE), 0);
	ck_assert_int_eq(peer_ask(&bob, take, 2, OF_BOB), 0);
	last = peer_ask(&bob, id_of, 1, 0);
	for (uint64_t i = 0; i < 3; i++) {
		id = peer_ask(&alice, id_of, i, 0);
		ck_assert_int_gt(id, 0);
		ck_assert_int_eq(peer_ask(&bob, fetch, (uint64_t)id, 0), -ENOENT);
		ck_assert_int_eq(peer_ask(&alice, fetch, (uint64_t)id, 0), 0);
	}
	for (id = 0; id < last + 50; id++) {
		int64_t r = peer_ask(&bob, fetch, (uint64_t)id, 0);

		ck_assert(r == -ENOENT ||
			  (r == 0 && (id == peer_ask(&bob, id_of, 0, 0) || id == last)));
	}
	ck_assert_int_eq(peer_ask(&bob, fetch, UINT64_MAX, 0), -ENOENT);
	/* Nor another process of the same user, which has no object there. */
	ck_assert_int_eq(peer_end(&bob, 0), 0);
	id = peer_ask(&alice, id_of, 0, 0);
	bob = peer_start(ALICE);
	peer_ask(&bob, join, 0, 0);
	ck_assert_int_eq(peer_ask(&bob, fetch, (uint64_t)id, 0), -ENOENT);
	ck_assert_int_eq(peer_end(&alice, 0), 0);
	ck_assert_int_eq(peer_end(&bob, 0), 0);
	nothing_is_left();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("users");
	TCase *tc = tcase_create("users");
	SRunner *runner;
	int failed;

	if (geteuid() != 0) {
		printf("needs root, for processes of other users\n");
		return 77;
	}
	setenv("VRAM_DEVICE", "cuda", 1);
	if (!vramd_usable())
		return 77;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, in_turns);
	tcase_add_test(tc, a_liar);
	tcase_add_test(tc, one_who_hangs_up);
	tcase_add_test(tc, one_who_gives_away);
	tcase_add_test(tc, one_who_dies_at_work);
	tcase_add_test(tc, one_who_ignores);
	tcase_add_test(tc, one_who_pins);
	tcase_add_test(tc, ids_are_no_keys);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
