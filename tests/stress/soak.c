// SPDX-License-Identifier: GPL-2.0-only
/*
 * Six clients of every kind over three models and a small device with three tiers, for a while: they walk, jump,
 * open, close, write buffers, and some are killed. Every byte is looked at. What the daemon's memory
 * files really hold is sampled all the time: never more than the budget. In the end nothing is
 * charged to anybody.
 *
 * links: tests/support/vramd.c tests/support/vramd_ask.c tests/support/engine.c libvram.a
 * links: tests/support/device.c common/cuda_driver.c common/err.c
 * libs: -ljansson -lpthread -lcheck
 */
#define _GNU_SOURCE 1
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/engine.h"
#include "tests/support/vramd_ask.h"

#define MIB	(1ull << 20)
#define CLIENTS 6
#define MODELS	3
#define BUDGET	(12 * MIB)

static struct vramd d;
static char paths[MODELS][160];
static const uint32_t n_layers[MODELS] = { 20, 9, 33 };
static const uint64_t layer_bytes[MODELS] = { MIB, 3 * MIB / 2 + 4096, MIB / 4 + 4096 };

struct walker {
	struct vram_model *model;
	uint32_t which;
	unsigned int random;
	int steps;
};

static void look(struct walker *w, uint32_t i)
{
	struct vram_layer *layer = vram_model_layer(w->model, i);

	ck_assert_msg(vram_layer_acquire(layer, ENGINE_FOREVER) == 0, "%s", vram_error_text());
	ck_assert_uint_eq(engine_wrong(layer, layer_bytes[w->which], w->which), 0);
	vram_layer_release(layer);
}

/* Mostly in order, as inference goes; now and then somewhere else, or without asking. */
static void *walk(void *arg)
{
	struct walker *w = arg;
	uint32_t at = (uint32_t)rand_r(&w->random) % n_layers[w->which];

	for (int step = 0; step < w->steps; step++) {
		int dice = rand_r(&w->random) % 16;

		at = dice == 0 ? (uint32_t)rand_r(&w->random) : at + 1;
		at %= n_layers[w->which];
		if (dice == 1)
			ck_assert_uint_eq(engine_wrong(vram_model_layer(w->model, at),
						       layer_bytes[w->which], w->which),
					  0);
		else if (dice == 2 && vram_layer_acquire(vram_model_layer(w->model, at), 1000) == 0)
			vram_layer_release(vram_model_layer(w->model, at));
		else
			look(w, at);
	}
	return NULL;
}

static void use_buffer(struct vram_client *client, unsigned int *random)
{
	uint64_t bytes = (uint64_t)(1 + rand_r(random) % 6) * MIB;
	struct vram_buffer *buffer = engine_buffer(client, bytes, MIB / 2);

	for (uint64_t seed = 1; seed < 4; seed++) {
		engine_fill_buffer(buffer, MIB / 2, seed);
		engine_walk_buffer(buffer, MIB / 2, seed);
	}
	vram_buffer_free(buffer);
}

/* A life: some models, one or two threads, perhaps a buffer. */
static void live(unsigned int seed)
{
	unsigned int random = seed;
	char name[16];

	snprintf(name, sizeof(name), "life%u", seed);
	for (int round = 0; round < 3; round++) {
		struct vram_client *client = engine_connect(&d, name);
		uint32_t which = (uint32_t)rand_r(&random) % MODELS;
		struct walker walkers[2] = { 0 };
		pthread_t thread;

		for (int i = 0; i < 2; i++) {
			walkers[i].which = (which + (uint32_t)i) % MODELS;
			walkers[i].random = (unsigned int)rand_r(&random);
			walkers[i].steps = 20 + rand_r(&random) % 60;
			walkers[i].model = engine_open(client, paths[walkers[i].which],
						       n_layers[walkers[i].which],
						       layer_bytes[walkers[i].which]);
		}
		ck_assert_int_eq(pthread_create(&thread, NULL, walk, &walkers[0]), 0);
		if (rand_r(&random) % 2)
			use_buffer(client, &random);
		walk(&walkers[1]);
		pthread_join(thread, NULL);
		for (int i = 0; i < 2; i++)
			vram_model_close(walkers[i].model);
		vram_close(client);
	}
}

static pid_t start_life(unsigned int seed)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		live(seed);
		_exit(0);
	}
	return pid;
}

/* As the kernel counts it: memory files without a name, other than the swap file and small tables. */
static uint64_t memory_of_daemon(void)
{
	char path[320], target[256];
	ino_t seen[1024];
	struct dirent *entry;
	struct stat st, here;
	uint64_t total = 0;
	int n_seen = 0;
	DIR *dir;

	ck_assert_int_eq(stat(d.dir, &here), 0);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)d.pid);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir))) {
		bool again = false;
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%.20s", (int)d.pid, entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		if ((!strstr(target, "(deleted)") && strncmp(target, "/memfd:vram-", 12)) ||
		    strstr(target, "vram-table") || stat(path, &st) || !S_ISREG(st.st_mode) ||
		    st.st_dev == here.st_dev)
			continue;
		for (int i = 0; i < n_seen; i++)
			again |= seen[i] == st.st_ino;
		if (again)
			continue;
		if (n_seen < 1024)
			seen[n_seen++] = st.st_ino;
		total += (uint64_t)st.st_blocks * 512;
	}
	closedir(dir);
	return total;
}

/* The files are looked at one after the other, while memory moves between them: only what is seen again and
 * again is too much. */
static uint64_t sample(void)
{
	uint64_t memory = memory_of_daemon();

	for (int i = 0; i < 20 && memory > BUDGET; i++) {
		uint64_t again = memory_of_daemon();

		memory = again < memory ? again : memory;
	}
	return memory;
}

START_TEST(soak)
{
	const char *env = getenv("STRESS_SECONDS");
	time_t end = time(NULL) + (env && atoi(env) > 0 ? atoi(env) : 5);
	unsigned int seed = (unsigned int)getpid(), n_lives = 0, n_killed = 0, n_samples = 0;
	uint64_t peak = 0;
	pid_t pids[CLIENTS];

	printf("seed %u\n", seed);
	for (int i = 0; i < CLIENTS; i++)
		pids[i] = start_life(seed + n_lives++);
	while (time(NULL) < end) {
		uint64_t memory = sample();
		int status;

		ck_assert_msg(memory <= BUDGET, "%llu bytes of memory", (unsigned long long)memory);
		peak = memory > peak ? memory : peak;
		n_samples++;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
		if (rand_r(&seed) % 20 == 0 && kill(pids[rand_r(&seed) % CLIENTS], SIGKILL) == 0)
			n_killed++;
		for (int i = 0; i < CLIENTS; i++) {
			if (waitpid(pids[i], &status, WNOHANG) != pids[i])
				continue;
			ck_assert_msg(status == 0 || status == SIGKILL, "a client ended with %#x",
				      (unsigned int)status);
			pids[i] = start_life(seed + n_lives++);
		}
		ck_assert_int_eq(waitpid(d.pid, &status, WNOHANG), 0);
	}
	for (int i = 0; i < CLIENTS; i++) {
		int status;

		if (i % 2)
			kill(pids[i], SIGKILL);
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_msg(status == 0 || status == SIGKILL, "a client ended with %#x",
			      (unsigned int)status);
	}
	EVENTUALLY(vramd_holds_nothing(&d));
	ck_assert_uint_eq(memory_of_daemon(), 0);
	printf("%u lives, %u killed, %u samples of memory, at most %llu of %llu bytes\n", n_lives,
	       n_killed, n_samples, (unsigned long long)peak, (unsigned long long)BUDGET);
	{
		int status;

		ck_assert_int_eq(kill(d.pid, SIGTERM), 0);
		ck_assert_int_eq(waitpid(d.pid, &status, 0), d.pid);
		ck_assert_int_eq(status, 0);
		d.pid = 0;
	}
}
END_TEST

static void setup(bool has_link)
{
	vramd_init(&d, "12M");
	d.settings[0] = "policy.keep=0";
	d.settings[1] = "swap.size=64M";
	if (has_link) {
		d.settings[2] = "device.link=4G/s";
		d.settings[3] = "device.host_budget=4M";
	}
	vramd_start(&d);
	for (uint32_t i = 0; i < MODELS; i++) {
		char name[8];

		snprintf(name, sizeof(name), "m%u", i);
		snprintf(paths[i], sizeof(paths[i]), "%s",
			 vramd_make_file(&d, name, n_layers[i] * layer_bytes[i], i));
	}
}

static void setup_direct(void)
{
	setup(false);
}

static void setup_link(void)
{
	setup(true);
}

static void teardown(void)
{
	vramd_deinit(&d);
}

int main(void)
{
	Suite *suite = suite_create("soak");
	SRunner *runner;
	int failed;

	if (!vramd_usable())
		return 77;
	for (int link = 0; link < 2; link++) {
		TCase *tc = tcase_create(link ? "link" : "direct");

		tcase_add_checked_fixture(tc, link ? setup_link : setup_direct, teardown);
		tcase_set_timeout(tc, 0);
		tcase_add_test(tc, soak);
		suite_add_tcase(suite, tc);
	}
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
