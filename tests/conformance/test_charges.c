// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is charged to whom, when clients and the daemon die: the charges of a dead client fall back, those of
 * the living survive a restart of the daemon, and at every quiet point the sum is what is there.
 *
 * The clients are processes, so that they can be killed. What they report is in memory that they share with the test.
 */
// links: tests/support/vramd.c tests/support/vramd_ask.c tests/support/engine.c libvram.a
// links: tests/support/device.c common/cuda_driver.c common/err.c
// libs: -ljansson
// timeout: 280
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/device.h"
#include "tests/support/engine.h"
#include "tests/support/vramd_ask.h"

#define MIB	    (1ull << 20)
#define SMALL	    (512ull << 10)
#define LAYERS	    8
#define CLIENTS	    8
#define RESTARTS    6
#define FOREVER	    ENGINE_FOREVER
#define FIRST_SEED  11
#define SECOND_SEED 12

static struct vramd d;
static char first_path[160], second_path[160];

/* Shared with the clients. */
static struct shared {
	_Atomic uint32_t ready; /* clients that have come to where they are to be */
	_Atomic bool go, stop, pause;
	_Atomic uint32_t paused;
	_Atomic uint64_t rounds[CLIENTS];
	_Atomic uint64_t wrong;
} * shared;

static void setup(const char *budget, uint64_t layer_bytes, uint32_t n_layers)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	vramd_init(&d, budget);
	/* What is evicted from a card stays in the host tier as long as the model is known. */
	if (vramd_wants_card())
		d.settings[0] = "policy.keep=0";
	vramd_start(&d);
	strcpy(first_path, vramd_make_file(&d, "first", n_layers * layer_bytes, FIRST_SEED));
	strcpy(second_path, vramd_make_file(&d, "second", n_layers * layer_bytes, SECOND_SEED));
}

static void teardown(void)
{
	vramd_deinit(&d);
}

static pid_t start(void (*life)(uint32_t), uint32_t number)
{
	pid_t parent = getpid(), pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		life(number);
		_exit(0);
	}
	return pid;
}

static void end(pid_t pid, int sig)
{
	int status;

	if (sig)
		ck_assert_int_eq(kill(pid, sig), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (sig)
		ck_assert(WIFSIGNALED(status));
	else
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
			      "a client ended with status %#x", status);
}

/* ---- who is charged ---- */

static uint32_t n_sessions(const char *name)
{
	json_t *answer = vramd_ask(&d, "clients"), *row;
	uint32_t n = 0;
	size_t i;

	json_array_foreach(json_object_get(answer, "clients"), i, row)
		n += !name || strcmp(json_string_value(json_object_get(row, "name")), name) == 0;
	json_decref(answer);
	return n;
}

static uint64_t charged_to(const char *name)
{
	char subject[40];

	snprintf(subject, sizeof(subject), "session:%llu",
		 (unsigned long long)vramd_session(&d, name));
	return vramd_usage(&d, subject, "vram");
}

static uint64_t charged_to_all(void)
{
	return vramd_usage(&d, "root", "vram");
}

/*
 * The sessions together are charged what the root is, and this is what is in the device. Shares are equal parts: a
 * session may lack less than a byte of each chunk.
 */
static bool adds_up(void)
{
	json_t *answer = vramd_ask(&d, "limit show"), *row;
	uint64_t sum = 0, root = 0;
	size_t i;

	json_array_foreach(json_object_get(answer, "limits"), i, row) {
		const char *subject = json_string_value(json_object_get(row, "subject"));
		json_int_t usage = json_integer_value(json_object_get(row, "usage_bytes"));

		if (strcmp(json_string_value(json_object_get(row, "tier")), "vram"))
			continue;
		if (strcmp(subject, "root") == 0)
			root = (uint64_t)usage;
		else if (strncmp(subject, "session:", 8) == 0)
			sum += (uint64_t)usage;
	}
	json_decref(answer);
	return root > 0 && root == vramd_device(&d, "resident_bytes") && sum <= root &&
	       root - sum < 1024;
}

/* ---- killed clients ---- */

/* Clients are forked before the test is one itself: a process that uses a card must not fork others that do. */
static void await_go(void)
{
	while (!shared->go)
		usleep(1000);
}

/* Holds the whole model, which others hold as well, and a buffer. */
static void hold(uint32_t number)
{
	struct vram_client *client;
	struct vram_model *model;
	struct vram_buffer *buffer;

	await_go();
	client = engine_connect(&d, "victim");
	model = engine_open(client, first_path, 4, MIB);
	buffer = engine_buffer(client, 2 * MIB, MIB);
	ck_assert_uint_eq(engine_pin_all(model, 0, FOREVER), 4);
	engine_fill_buffer(buffer, MIB, 5);
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_int_eq(vram_layer_acquire(vram_buffer_layer(buffer, i), FOREVER), 0);
	/* A child that lives on has no part in it. */
	if (number && fork() == 0) {
		prctl(PR_SET_PDEATHSIG, 0);
		shared->ready++;
		while (!shared->stop)
			usleep(10000);
		_exit(0);
	}
	shared->ready++;
	for (;;)
		pause();
}

/* With a child that outlives it: the module counts for it no longer, a daemon alone sees the child's socket. */
START_TEST(holder_killed)
{
	struct vram_client *client;
	struct vram_model *model;
	struct vram_stats stats;
	pid_t victim;

	setup("12M", MIB, 4);
	victim = start(hold, (uint32_t)_i);
	client = engine_connect(&d, "witness");
	model = engine_open(client, first_path, 4, MIB);
	ck_assert_uint_eq(engine_pin_all(model, 0, FOREVER), 4);
	ck_assert_uint_eq(charged_to("witness"), 4 * MIB);
	shared->go = true;
	EVENTUALLY(shared->ready == 1 + (uint32_t)_i);
	/* The model in halves. */
	ck_assert_uint_eq(charged_to("witness"), 2 * MIB);
	ck_assert_uint_eq(charged_to("victim"), 4 * MIB);
	ck_assert_uint_eq(charged_to_all(), 6 * MIB);
	ck_assert(adds_up());
	end(victim, SIGKILL);
	EVENTUALLY(n_sessions("victim") == 0);
	EVENTUALLY(charged_to("witness") == 4 * MIB);
	EVENTUALLY(charged_to_all() == 4 * MIB);
	ck_assert(adds_up());
	ck_assert_int_eq(vram_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.charged_bytes, 4 * MIB);
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_uint_eq(engine_wrong(vram_model_layer(model, i), MIB, FIRST_SEED), 0);
	engine_unpin(model, 0, 4);
	vram_model_close(model);
	vram_close(client);
	shared->stop = true;
	json_decref(vramd_ask(&d, "evict --all"));
	EVENTUALLY(vramd_holds_nothing(&d));
}
END_TEST

/* Wants what there is no room for: in an acquire, or by a touch. */
static void want(uint32_t touch)
{
	struct vram_client *client;
	struct vram_model *model;

	await_go();
	client = engine_connect(&d, "victim");
	model = engine_open(client, second_path, 16, MIB);
	shared->ready++;
	if (touch)
		engine_wrong(vram_model_layer(model, 3), MIB, SECOND_SEED);
	else
		vram_layer_acquire(vram_model_layer(model, 3), FOREVER);
	/* It was not to be had. */
	shared->wrong++;
}

START_TEST(waiter_killed)
{
	struct vram_client *client;
	struct vram_model *model;
	pid_t victim;
	uint32_t n;

	setup("12M", MIB, 16);
	victim = start(want, (uint32_t)_i);
	client = engine_connect(&d, "witness");
	model = engine_open(client, first_path, 16, MIB);
	n = engine_pin_all(model, 0, ENGINE_SECOND / 2);
	ck_assert_uint_ge(n, 8);
	shared->go = true;
	EVENTUALLY(shared->ready == 1);
	EVENTUALLY(vramd_device(&d, "waiting") > 0);
	end(victim, SIGKILL);
	EVENTUALLY(n_sessions("victim") == 0);
	EVENTUALLY(vramd_device(&d, "waiting") == 0);
	ck_assert_uint_eq(shared->wrong, 0);
	EVENTUALLY(adds_up());
	ck_assert_uint_eq(charged_to("witness"), charged_to_all());
	for (uint32_t i = 0; i < n; i++)
		ck_assert_uint_eq(engine_wrong(vram_model_layer(model, i), MIB, FIRST_SEED), 0);
	engine_unpin(model, 0, n);
	engine_walk(model, MIB, FIRST_SEED);
	vram_model_close(model);
	vram_close(client);
	json_decref(vramd_ask(&d, "evict --all"));
	EVENTUALLY(vramd_holds_nothing(&d));
}
END_TEST

/* ---- a restart under work ---- */

static void work(uint32_t number)
{
	bool second = number % 2;
	struct vram_client *client;
	struct vram_model *model;
	char name[16];

	snprintf(name, sizeof(name), "worker%u", number);
	/* It may touch a page of what it holds for the first time when there is no daemon. */
	if (vram_connect(d.socket, name, VRAM_CONNECT_WATCH, &client)) {
		printf("%s: %s\n", name, vram_error_text());
		_exit(9);
	}
	device_attach(client);
	model = engine_open(client, second ? second_path : first_path, LAYERS, SMALL);
	shared->ready++;
	while (!shared->stop) {
		for (uint32_t i = 0; i < LAYERS; i++) {
			struct vram_layer *layer = vram_model_layer(model, (i + number) % LAYERS);

			if (vram_layer_acquire(layer, FOREVER)) {
				printf("%s: %s\n", name, vram_error_text());
				_exit(9);
			}
			shared->wrong +=
				engine_wrong(layer, SMALL, second ? SECOND_SEED : FIRST_SEED);
			vram_layer_release(layer);
		}
		shared->rounds[number]++;
		if (!shared->pause)
			continue;
		/* Who has nothing to ask finds out by itself that the daemon is another one. */
		vram_client_reconnect(client, 60 * ENGINE_SECOND);
		shared->paused++;
		while (shared->pause)
			usleep(10000);
		shared->paused--;
	}
	vram_model_close(model);
	vram_close(client);
}

static void everybody_works(void)
{
	uint64_t before[CLIENTS];

	for (uint32_t i = 0; i < CLIENTS; i++)
		before[i] = shared->rounds[i];
	for (uint32_t i = 0; i < CLIENTS; i++)
		EVENTUALLY(shared->rounds[i] > before[i] + 1);
}

static void everybody_rests(void)
{
	shared->pause = true;
	EVENTUALLY(shared->paused == CLIENTS);
	EVENTUALLY(n_sessions(NULL) == CLIENTS);
	EVENTUALLY(adds_up());
	ck_assert_uint_le(charged_to_all(), 6 * MIB);
	shared->pause = false;
	EVENTUALLY(shared->paused == 0);
}

START_TEST(restarts_under_work)
{
	pid_t workers[CLIENTS];

	setup("6M", SMALL, LAYERS);
	for (uint32_t i = 0; i < CLIENTS; i++)
		workers[i] = start(work, i);
	EVENTUALLY(shared->ready == CLIENTS);
	everybody_works();
	everybody_rests();
	for (int i = 0; i < RESTARTS; i++) {
		everybody_works();
		vramd_signal(&d, i % 3 == 2 ? SIGTERM : SIGKILL);
		/* One of them goes while nobody is there to be told. */
		if (i == 2) {
			end(workers[0], SIGKILL);
			workers[0] = 0;
		}
		nanosleep(&(struct timespec){ .tv_nsec = (i % 2) * 200000000 }, NULL);
		vramd_start(&d);
		if (!workers[0])
			workers[0] = start(work, 0);
		everybody_works();
		everybody_rests();
		ck_assert_uint_eq(shared->wrong, 0);
	}
	shared->stop = true;
	for (uint32_t i = 0; i < CLIENTS; i++)
		end(workers[i], 0);
	ck_assert_uint_eq(shared->wrong, 0);
	EVENTUALLY(n_sessions(NULL) == 0);
	json_decref(vramd_ask(&d, "evict --all"));
	EVENTUALLY(vramd_holds_nothing(&d));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("charges");
	TCase *tc = tcase_create("charges");
	SRunner *runner;
	int failed;

	if (!vramd_usable())
		return 77;
	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, holder_killed, 0, vramd_wants_module() ? 2 : 1);
	/* By a touch only where a touch can wait. */
	tcase_add_loop_test(tc, waiter_killed, 0, vramd_wants_card() ? 1 : 2);
	tcase_add_test(tc, restarts_under_work);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
