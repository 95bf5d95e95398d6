// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/gpu_cuda.c daemon/gpu_cuda_probe.c daemon/gpu_cuda_pool.c daemon/gpu_cuda_memory.c daemon/gpu_cuda_copy.c daemon/gpu_cuda_object.c daemon/gpu_cuda_client.c daemon/gpu_cuda_host.c daemon/loop.c daemon/log.c common/cuda_driver.c common/fd.c common/err.c common/size.c common/pci.c tests/support/standin.c tests/support/gpu_cuda_world.c
// libs: -luring -lpthread
/*
 * Memory of a card in other processes: what they are given and what not, letting go when asked, what happens to one that
 * does not, and that two users never see each other's bytes whatever they do.
 */
#include "tests/support/gpu_cuda_world.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CARD  (64 * WORLD_PAGE)
#define ALICE 1000u
#define BOB   1001u
/* What is planted is looked for in all of the card's memory. */
#define SECRET 0x5ec2e7ull

static struct far far_alice, far_bob;
static struct gpu_client *alice, *bob;
static struct gpu_object *of_alice, *of_bob;

static uint64_t asked[64];
static uint32_t n_asked;
static uint64_t asked_deadline_ns;
static unsigned int n_failed;
static int failed_error;

static void on_failed(void *owner, int error, const char *reason)
{
	(void)owner;
	ck_assert_str_ne(reason, "");
	n_failed++;
	failed_error = error;
}

static void on_reclaim(void *owner, const uint64_t *ids, uint32_t n, uint64_t deadline_ns)
{
	ck_assert_ptr_eq(owner, &far_alice);
	memcpy(asked + n_asked, ids, n * sizeof(ids[0]));
	n_asked += n;
	asked_deadline_ns = deadline_ns;
}

static const struct gpu_client_events events = {
	.failed = on_failed,
	.reclaim = on_reclaim,
};

static struct gpu_client *client_of(struct far *far, uid_t uid)
{
	const struct gpu_peer peer = { .pid = far->pid, .uid = uid, .pidfd = far->pidfd };
	struct gpu_client *client = NULL;

	ck_assert_int_eq(gpu_client_new(world.gpu, -1, &peer, &events, far, &client), 0);
	return client;
}

/* Room for four chunks. */
static void setup(void)
{
	struct gpu_params params = world_params();

	world_card(CARD);
	far_alice = far_new();
	far_bob = far_new();
	params.budget_bytes = 4 * WORLD_CHUNK;
	ck_assert_msg(world_open(&params) == 0, "%s", world.reason);
	far_attach(&far_alice);
	far_attach(&far_bob);
	alice = client_of(&far_alice, ALICE);
	bob = client_of(&far_bob, BOB);
	of_alice = world_object(4, false, ALICE);
	of_bob = world_object(4, false, BOB);
}

static void teardown(void)
{
	alice = gpu_client_free(world.gpu, alice);
	bob = gpu_client_free(world.gpu, bob);
	of_alice = gpu_object_free(of_alice);
	of_bob = gpu_object_free(of_bob);
	far_end(&far_alice);
	far_end(&far_bob);
	world_close();
}

/* As a client does it: the descriptor, the import. Return: the id. */
static uint64_t give(struct gpu_client *client, struct far *far, struct gpu_object *object,
		     uint32_t chunk)
{
	uint64_t id = world_binding(object, chunk);
	int fd = -1;

	ck_assert_ptr_eq(gpu_chunk_holder(world.gpu, id), object);
	ck_assert_int_eq(gpu_chunk_export(world.gpu, client, id, &fd), 0);
	ck_assert_int_eq(far_import(far, id, fd, WORLD_CHUNK), 0);
	return id;
}

/* Alice has everything, imported, and none of it in use. */
static void alice_has_all(uint64_t ids[4])
{
	for (uint32_t i = 0; i < 4; i++) {
		world_load(of_alice, i, SECRET);
		ids[i] = give(alice, &far_alice, of_alice, i);
	}
	gpu_chunk_drop(of_alice, 0, 4);
}

START_TEST(another_process_sees_what_is_loaded)
{
	char host[16];
	uint64_t id;

	world_load(of_alice, 0, 7);
	id = give(alice, &far_alice, of_alice, 0);
	world_pattern(host, sizeof(host), 7);
	ck_assert_mem_eq(host, &(uint64_t){ far_read(&far_alice, id, 0) }, 8);
	ck_assert_mem_eq(host + 8, &(uint64_t){ far_read(&far_alice, id, 8) }, 8);
	/* Other bytes of the same user come to the same place. */
	gpu_chunk_drop(of_alice, 0, 1);
	world_load(of_alice, 1, 8);
	ck_assert_uint_eq(world_binding(of_alice, 1), id);
	world_pattern(host, sizeof(host), 8);
	ck_assert_mem_eq(host, &(uint64_t){ far_read(&far_alice, id, 0) }, 8);
}
END_TEST

START_TEST(a_buffer_is_written_by_its_client)
{
	struct gpu_object *buffer = world_object(1, true, ALICE);
	uint64_t host[WORLD_CHUNK / 8], id;

	world_load(buffer, 0, 7);
	id = give(alice, &far_alice, buffer, 0);
	far_write(&far_alice, id, 80, 0x1234);
	ck_assert_int_eq(world_copy(buffer, 0, GPU_COPY_OUT, host), 0);
	ck_assert_uint_eq(host[10], 0x1234);
	gpu_object_free(buffer);
}
END_TEST

/* One descriptor is made of each, however often it is given out. */
START_TEST(descriptors_are_copies_of_one)
{
	uint64_t id;
	int fd[3];

	world_load(of_alice, 0, 7);
	id = world_binding(of_alice, 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(gpu_chunk_export(world.gpu, alice, id, &fd[i]), 0);
	/* One more was made to see whether that works at all. */
	ck_assert_uint_eq(standin_calls(world.card, "cuMemExportToShareableHandle", getpid()), 2);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(
			far_import(&far_alice, id + 1000 * (uint64_t)i, fd[i], WORLD_CHUNK), 0);
}
END_TEST

START_TEST(memory_is_not_given_before_it_was_written)
{
	uint64_t id;
	int fd = -1;

	ck_assert_int_eq(world_reserve(of_alice, 0), 0);
	id = world_binding(of_alice, 0);
	ck_assert_ptr_null(gpu_chunk_holder(world.gpu, id));
	ck_assert_int_eq(gpu_chunk_export(world.gpu, alice, id, &fd), -ENOENT);
	/* Also not when the copy fails that was to fill it. */
	standin_fault(world.card, "cuMemsetD8Async", 1, 0, 1, getpid(), 0);
	ck_assert_int_lt(world_copy(of_alice, 0, GPU_COPY_ZERO, NULL), 0);
	ck_assert_int_eq(gpu_chunk_export(world.gpu, alice, id, &fd), -ENOENT);
	ck_assert_int_eq(world_copy(of_alice, 0, GPU_COPY_ZERO, NULL), 0);
	give(alice, &far_alice, of_alice, 0);
}
END_TEST

START_TEST(memory_of_another_user_is_not_given)
{
	int fd = -1;

	world_load(of_alice, 0, 7);
	ck_assert_int_eq(gpu_chunk_export(world.gpu, bob, world_binding(of_alice, 0), &fd),
			 -EACCES);
	ck_assert_int_eq(gpu_chunk_export(world.gpu, bob, 4711, &fd), -ENOENT);
	ck_assert_int_eq(gpu_chunk_export(world.gpu, bob, 0, &fd), -ENOENT);
}
END_TEST

START_TEST(one_who_lets_go_is_left_alone)
{
	uint64_t ids[4], before = loop_now();

	alice_has_all(ids);
	ck_assert_int_eq(gpu_chunk_reserve(of_bob, 0), -EAGAIN);
	world_until(n_asked);
	ck_assert_uint_eq(n_asked, 1);
	ck_assert_uint_eq(asked[0], ids[0]);
	ck_assert_uint_gt(asked_deadline_ns, before);
	ck_assert_uint_lt(asked_deadline_ns, loop_now() + 300 * WORLD_MS);
	ck_assert_int_eq(gpu_chunk_reserve(of_bob, 0), -EAGAIN);
	ck_assert_uint_eq(n_asked, 1);
	far_drop(&far_alice, ids[0]);
	gpu_client_reclaimed(world.gpu, alice, asked, 1);
	world_until(world.n_ready);
	world_load(of_bob, 0, 9);
	ck_assert_uint_gt(world_binding(of_bob, 0), ids[3]);
	ck_assert(world_holds(of_bob, 0, 9));
	ck_assert_uint_eq(n_failed, 0);
	ck_assert(!far_is_dead(&far_alice));
	/* What she still has is what she had. */
	ck_assert_uint_eq(far_read(&far_alice, ids[1], 0), SECRET * 0x9e3779b97f4a7c15ull);
}
END_TEST

START_TEST(one_who_does_not_is_killed)
{
	uint64_t ids[4];

	alice_has_all(ids);
	ck_assert_int_eq(gpu_chunk_reserve(of_bob, 0), -EAGAIN);
	world_until(n_failed);
	ck_assert_int_eq(failed_error, -ETIMEDOUT);
	world_until(far_is_dead(&far_alice));
	ck_assert_int_eq(gpu_chunk_reserve(of_bob, 0), -EAGAIN);
	alice = gpu_client_free(world.gpu, alice);
	world_load(of_bob, 0, 9);
	ck_assert(world_holds(of_bob, 0, 9));
	ck_assert_uint_eq(n_failed, 1);
}
END_TEST

/* Nobody waits for the memory, so nobody is killed for it. */
START_TEST(idle_memory_is_asked_for_in_peace)
{
	uint64_t ids[4], looks;

	alice_has_all(ids);
	/* As when it has been idle for long. */
	world.card->image->outside_bytes = CARD - 4 * WORLD_CHUNK - 2 * WORLD_PAGE;
	world_until(n_asked);
	ck_assert_uint_eq(asked_deadline_ns, UINT64_MAX);
	looks = standin_calls(world.card, "cuMemGetInfo", getpid());
	world_run(1000 * WORLD_MS);
	ck_assert_uint_eq(n_failed, 0);
	/* She may take for ever, so nobody looks all the time. */
	ck_assert_uint_lt(standin_calls(world.card, "cuMemGetInfo", getpid()) - looks, 40);
	ck_assert(!far_is_dead(&far_alice));
	/* Until somebody does, which she is told. */
	n_asked = 0;
	ck_assert_int_eq(gpu_chunk_reserve(of_bob, 0), -EAGAIN);
	world_until(n_asked);
	ck_assert_uint_lt(asked_deadline_ns, loop_now() + 300 * WORLD_MS);
	world_until(n_failed);
	world_until(far_is_dead(&far_alice));
}
END_TEST

/* She says that she has let go, and keeps everything. */
START_TEST(a_liar_keeps_its_own_bytes_and_sees_no_others)
{
	uint64_t ids[4], secret = SECRET * 0x9e3779b97f4a7c15ull;

	/* The card has no more than the budget, so that what she keeps is missing. */
	world.card->image->outside_bytes =
		CARD - 4 * WORLD_CHUNK - 4 * WORLD_PAGE - 3 * world.card->image->context_bytes;
	alice_has_all(ids);
	while (!world.n_budget) {
		ck_assert_int_lt(gpu_chunk_reserve(of_bob, 0), 0);
		gpu_client_reclaimed(world.gpu, alice, asked, n_asked);
		n_asked = 0;
		loop_run_once(world.loop, WORLD_MS);
	}
	ck_assert_uint_lt(world.budget_bytes, WORLD_CHUNK);
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_uint_eq(far_read(&far_alice, ids[i], 8 * i), secret + i);
	/* With the process her memory is there again. */
	kill(far_alice.pid, SIGKILL);
	world_until(gpu_chunk_reserve(of_bob, 0) == 0);
	for (uint32_t i = 0; i < 4; i++) {
		world_load(of_bob, i, 30 + i);
		give(bob, &far_bob, of_bob, i);
	}
	for (uint32_t i = 0; i < 4; i++)
		ck_assert(world_holds(of_bob, i, 30 + i));
	ck_assert_uint_eq(n_failed, 0);
}
END_TEST

START_TEST(two_users_in_turn_see_their_own_bytes_only)
{
	char secret[WORLD_CHUNK / 1024];
	uint64_t ids[4], zero;

	alice_has_all(ids);
	for (uint32_t i = 0; i < 4; i++) {
		while (gpu_chunk_reserve(of_bob, i) == -EAGAIN) {
			loop_run_once(world.loop, WORLD_MS);
			for (uint32_t j = 0; j < n_asked; j++)
				far_drop(&far_alice, asked[j]);
			gpu_client_reclaimed(world.gpu, alice, asked, n_asked);
			n_asked = 0;
		}
		/* The stand-in does not clear memory, so her bytes are there, and nobody can have them. */
		ck_assert_ptr_null(gpu_chunk_holder(world.gpu, world_binding(of_bob, i)));
		ck_assert_int_eq(world_copy(of_bob, i, GPU_COPY_ZERO, NULL), 0);
		zero = give(bob, &far_bob, of_bob, i);
		for (uint64_t at = 0; at < WORLD_CHUNK; at += 65536)
			ck_assert_uint_eq(far_read(&far_bob, zero, at), 0);
	}
	world_pattern(secret, sizeof(secret), SECRET);
	ck_assert(!standin_find(world.card, secret, sizeof(secret), false));
	ck_assert_uint_eq(n_failed, 0);
}
END_TEST

START_TEST(what_a_dead_client_had_is_not_recycled)
{
	struct gpu_object *buffer = world_object(2, true, ALICE);
	uint64_t id, made;

	world_load(buffer, 0, 7);
	world_load(buffer, 1, 8);
	id = give(alice, &far_alice, buffer, 0);
	kill(far_alice.pid, SIGKILL);
	world_until(far_is_dead(&far_alice));
	alice = gpu_client_free(world.gpu, alice);
	gpu_object_free(buffer);
	made = standin_calls(world.card, "cuMemCreate", getpid());
	/* The one that she did not have is, the other goes back to the driver. */
	world_load(of_alice, 0, 9);
	ck_assert_uint_eq(standin_calls(world.card, "cuMemCreate", getpid()), made);
	world_load(of_alice, 1, 10);
	ck_assert_uint_eq(standin_calls(world.card, "cuMemCreate", getpid()), made + 1);
	ck_assert_uint_ne(world_binding(of_alice, 0), id);
	ck_assert_uint_ne(world_binding(of_alice, 1), id);
	world_until(standin_used_bytes(world.card) ==
		    2 * WORLD_CHUNK + 2 * world.card->image->context_bytes);
}
END_TEST

/* Memory that was given back may be free late, as after a process was killed: until then there is none. */
START_TEST(memory_that_comes_late_is_waited_for)
{
	uint64_t ids[4], start;

	world.card->image->outside_bytes =
		CARD - 4 * WORLD_CHUNK - 4 * WORLD_PAGE - 3 * world.card->image->context_bytes;
	alice_has_all(ids);
	ck_assert_int_eq(gpu_chunk_reserve(of_bob, 0), -EAGAIN);
	world_until(n_asked);
	gpu_client_reclaimed(world.gpu, alice, asked, 1);
	for (start = loop_now(); loop_now() - start < 200 * WORLD_MS; world_run(WORLD_MS))
		ck_assert_int_eq(gpu_chunk_reserve(of_bob, 0), -EAGAIN);
	kill(far_alice.pid, SIGKILL);
	world_load(of_bob, 0, 9);
	ck_assert_uint_eq(world.n_budget, 0);
	ck_assert(world_holds(of_bob, 0, 9));
}
END_TEST

START_TEST(a_false_answer_ends_the_session)
{
	uint64_t id;

	world_load(of_bob, 0, 7);
	id = world_binding(of_bob, 0);
	gpu_client_reclaimed(world.gpu, alice, &id, 1);
	ck_assert_uint_eq(n_failed, 1);
	ck_assert_int_eq(failed_error, -EPROTO);
	ck_assert(world_holds(of_bob, 0, 7));
}
END_TEST

START_TEST(a_client_brings_no_descriptor)
{
	const struct gpu_peer peer = { .pid = far_alice.pid, .uid = ALICE, .pidfd = -1 };
	struct gpu_client *client = NULL;
	int fd = dup(2);

	ck_assert_int_eq(gpu_client_new(world.gpu, fd, &peer, &events, NULL, &client), -EINVAL);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	ck_assert_ptr_null(client);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("gpu_cuda_clients");
	TCase *tc = tcase_create("clients");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, another_process_sees_what_is_loaded);
	tcase_add_test(tc, a_buffer_is_written_by_its_client);
	tcase_add_test(tc, descriptors_are_copies_of_one);
	tcase_add_test(tc, memory_is_not_given_before_it_was_written);
	tcase_add_test(tc, memory_of_another_user_is_not_given);
	tcase_add_test(tc, one_who_lets_go_is_left_alone);
	tcase_add_test(tc, one_who_does_not_is_killed);
	tcase_add_test(tc, idle_memory_is_asked_for_in_peace);
	tcase_add_test(tc, a_liar_keeps_its_own_bytes_and_sees_no_others);
	tcase_add_test(tc, two_users_in_turn_see_their_own_bytes_only);
	tcase_add_test(tc, what_a_dead_client_had_is_not_recycled);
	tcase_add_test(tc, memory_that_comes_late_is_waited_for);
	tcase_add_test(tc, a_false_answer_ends_the_session);
	tcase_add_test(tc, a_client_brings_no_descriptor);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
