// SPDX-License-Identifier: GPL-2.0-only
/*
 * A thousand clients are killed at random moments (VRAM_KILLS says another number); those that live on read right
 * bytes, and nothing is kept of the dead.
 */
// links: tests/support/vramd.c tests/support/device.c common/cuda_driver.c common/err.c libvram.a
// libs: -ljansson
// timeout: 280
#define _GNU_SOURCE 1
#include <check.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libclient/vram.h"
#include "tests/support/device.h"
#include "tests/support/vramd.h"

#define MIB	    (1ull << 20)
#define LAYERS	    8
#define LAYER_BYTES MIB
#define AT_ONCE	    4
#define MODELS	    2

static struct vramd d;
static unsigned int kills = 1000;
static char paths[MODELS][160];

static struct vram_model *open_model(struct vram_client *client, const char *path)
{
	struct vram_extent extents[LAYERS];
	struct vram_model *model = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	memset(extents, 0, sizeof(extents));
	for (uint32_t i = 0; i < LAYERS; i++) {
		extents[i].offset = i * LAYER_BYTES;
		extents[i].length = LAYER_BYTES;
		extents[i].layer = i;
	}
	if (vram_model_open_extents(client, fd, "blob", LAYERS, extents, LAYERS, &model))
		printf("no model: %s\n", vram_error_text());
	close(fd);
	return model;
}

/* Looks at some of the words; all of them would take most of a life. */
static bool layer_right(struct vram_layer *layer, uint64_t seed)
{
	uint64_t bytes, offset = vram_layer_index(layer) * LAYER_BYTES;
	const char *p;
	void *at_device;

	vram_layer_extent(layer, 0, &at_device, &bytes);
	p = device_bytes(at_device, bytes);
	for (uint64_t at = 0; at < bytes; at += 4096)
		if (vramd_wrong(p + at, 8, offset + at, seed))
			return false;
	return true;
}

/* A client that lives dangerously. Ends with 9 if it ever sees a wrong byte or an error. */
static void live(unsigned int seed)
{
	struct vram_client *client;
	struct vram_model *model;
	struct vram_buffer *buffer = NULL;
	uint32_t which = seed % MODELS;

	srandom(seed);
	if (vram_connect(d.socket, "victim", (seed % 3) ? 0 : VRAM_CONNECT_WATCH, &client))
		_exit(9);
	device_attach(client);
	model = open_model(client, paths[which]);
	if (!model)
		_exit(9);
	if (seed % 2 && vram_buffer_new(client, "kv", 2 * MIB, MIB / 4, &buffer))
		_exit(9);
	for (;;) {
		struct vram_layer *layer = vram_model_layer(model, (uint32_t)random() % LAYERS);
		/* On a card nothing may be touched unpinned. */
		bool pinned = random() % 4 != 0 || vramd_wants_card();

		if (pinned && vram_layer_acquire(layer, -1))
			_exit(9);
		if (!layer_right(layer, which))
			_exit(9);
		if (buffer) {
			struct vram_layer *b = vram_buffer_layer(buffer, (uint32_t)random() % 8);
			static char written[MIB];
			uint64_t bytes;
			void *p;

			if (vram_layer_acquire(b, -1))
				_exit(9);
			vram_layer_extent(b, 0, &p, &bytes);
			memset(written, (int)random(), bytes);
			device_write(p, written, bytes);
			vram_layer_release(b);
		}
		/* Some are killed while they hold a pin that they never give back. */
		if (pinned && random() % 8)
			vram_layer_release(layer);
		else if (pinned)
			pause();
	}
}

/*
 * A process, as all clients here, so that the one that forks has no threads. Ends with 0 if it has seen right bytes
 * only, and within the budget.
 */
static struct shared {
	_Atomic bool stop;
	_Atomic uint64_t rounds;
} * shared;

static void witness(void)
{
	struct vram_client *client;
	struct vram_model *model;
	struct vram_stats stats;

	if (vram_connect(d.socket, "witness", 0, &client))
		_exit(9);
	device_attach(client);
	model = open_model(client, paths[0]);
	if (!model)
		_exit(9);
	for (; !shared->stop; shared->rounds++) {
		for (uint32_t i = 0; i < LAYERS; i++) {
			struct vram_layer *layer = vram_model_layer(model, i);
			uint64_t bytes;
			void *p;

			if (vram_layer_acquire(layer, 60000000000))
				_exit(9);
			vram_layer_extent(layer, 0, &p, &bytes);
			if (vramd_wrong(device_bytes(p, bytes), bytes, i * LAYER_BYTES, 0))
				_exit(9);
			vram_layer_release(layer);
		}
	}
	if (vram_client_stats(client, &stats) || stats.resident_bytes > 6 * MIB)
		_exit(9);
	vram_model_close(model);
	vram_close(client);
	_exit(0);
}

static json_t *ask(const char *what)
{
	const char *build = getenv("VRAM_BUILD");
	char command[512];
	json_t *answer;
	FILE *f;

	snprintf(command, sizeof(command), "'%s/vramctl' --socket '%s' -j %s",
		 build ? build : "build", d.socket, what);
	f = popen(command, "re");
	ck_assert_ptr_nonnull(f);
	answer = json_loadf(f, 0, NULL);
	pclose(f);
	ck_assert_msg(answer != NULL, "no answer: %s", command);
	return answer;
}

static size_t n_clients(void)
{
	json_t *answer = ask("clients");
	json_t *list = json_object_get(answer, "clients"), *one;
	size_t i, n = 0;

	json_array_foreach(list, i, one)
		n += !strcmp(json_string_value(json_object_get(one, "name")), "victim");
	json_decref(answer);
	return n;
}

/* A figure of the only device. */
static int64_t device_figure(const char *key)
{
	json_t *answer = ask("status");
	json_t *device = json_array_get(json_object_get(answer, "devices"), 0);
	json_t *value = json_object_get(device, key);
	int64_t number = json_is_integer(value) ? json_integer_value(value) : -1;

	json_decref(answer);
	return number;
}

/* What the ledger says is charged to everybody together. */
static int64_t charged_to_all(void)
{
	json_t *answer = ask("limit show");
	json_t *list = json_object_get(answer, "limits"), *one;
	int64_t most = -1;
	size_t i;

	json_array_foreach(list, i, one) {
		int64_t usage = json_integer_value(json_object_get(one, "usage_bytes"));

		most = usage > most ? usage : most;
	}
	json_decref(answer);
	return most;
}

static pid_t begin_life(unsigned int seed)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (seed)
			live(seed);
		witness();
	}
	return pid;
}

START_TEST(a_thousand_kills)
{
	pid_t alive[AT_ONCE], observer;
	size_t left = 1;
	int status;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	vramd_init(&d, "6M");
	if (vramd_wants_card())
		d.settings[0] = "policy.keep=0";
	vramd_start(&d);
	for (int i = 0; i < MODELS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "model%d", i);
		strcpy(paths[i], vramd_make_file(&d, name, LAYERS * LAYER_BYTES, (uint64_t)i));
	}
	observer = begin_life(0);
	for (unsigned int i = 0; i < AT_ONCE; i++)
		alive[i] = begin_life(i + 1);
	srandom(4711);
	for (unsigned int i = 0; i < kills; i++) {
		uint32_t which = (uint32_t)random() % AT_ONCE;

		nanosleep(&(struct timespec){ .tv_nsec = random() % 30000000 }, NULL);
		ck_assert_int_eq(kill(alive[which], SIGKILL), 0);
		ck_assert_int_eq(waitpid(alive[which], &status, 0), alive[which]);
		ck_assert_msg(WIFSIGNALED(status), "victim %u ended by itself with %d", i,
			      WEXITSTATUS(status));
		alive[which] = begin_life(i + 100);
	}
	for (unsigned int i = 0; i < AT_ONCE; i++) {
		kill(alive[i], SIGKILL);
		waitpid(alive[i], NULL, 0);
	}
	for (int i = 0; i < 500 && (left = n_clients()); i++)
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	ck_assert_uint_eq(left, 0);
	shared->stop = true;
	ck_assert_int_eq(waitpid(observer, &status, 0), observer);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	ck_assert_uint_gt(shared->rounds, 0);
	/*
	 * And without the witness nothing is left at all. Again and again: its session may not have ended for vramd, and
	 * what was just being loaded for it arrives and stays, as a model that nobody uses does for a while.
	 */
	for (int i = 0; i < 500; i++) {
		json_decref(ask("evict --all"));
		if (device_figure("memory_bytes") + device_figure("resident_bytes") == 0)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	}
	ck_assert_int_eq(device_figure("resident_bytes"), 0);
	ck_assert_int_eq(device_figure("memory_bytes"), 0);
	ck_assert_int_eq(device_figure("swap_used_bytes"), 0);
	ck_assert_int_eq(charged_to_all(), 0);
	printf("%u kills, %llu rounds of the witness\n", kills, (unsigned long long)shared->rounds);
	vramd_signal(&d, SIGTERM);
	vramd_deinit(&d);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("kills");
	TCase *tc = tcase_create("kills");
	SRunner *runner;
	int failed;

	if (!vramd_usable())
		return 77;
	if (getenv("VRAM_KILLS"))
		kills = (unsigned int)strtoul(getenv("VRAM_KILLS"), NULL, 10);
	tcase_set_timeout(tc, 240);
	tcase_add_test(tc, a_thousand_kills);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
