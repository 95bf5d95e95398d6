// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything at once under the shim: threads that map, unmap in pieces, read at random, allocate and fork, while the
 * daemon is killed and started again. No wrong byte, and no dead-lock.
 */
// links: tests/support/vramd.c
#define _GNU_SOURCE 1
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/vramd.h"

#define PAGES	    4096u /* of the model */
#define MODEL_BYTES ((uint64_t)PAGES * 4096)
#define BUDGET	    "6M"
#define SEED	    3
#define MAPPERS	    2
#define READERS	    2

/* ---- under vramrun ---- */

static _Atomic bool stop;
static _Atomic uint64_t wrong, mapped, forked;
static const char *whole;
static int model_fd;

/* A word of the page that the model's head has not overwritten. */
static bool page_right(const char *page, uint64_t number)
{
	return vramd_wrong(page + 64, 8, number * 4096 + 64, SEED) == 0;
}

static void *map_and_unmap(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (!stop) {
		uint64_t first = (unsigned int)rand_r(&seed) % (PAGES - 600);
		uint64_t n = 2 + (unsigned int)rand_r(&seed) % 500, cut;
		char *p = mmap(NULL, n * 4096, PROT_READ, MAP_SHARED, model_fd,
			       (off_t)(first * 4096));

		if (p == MAP_FAILED) {
			wrong++;
			break;
		}
		for (uint64_t i = 0; i < n; i += 7)
			wrong += !page_right(p + i * 4096, first + i);
		cut = 1 + (unsigned int)rand_r(&seed) % (n - 1);
		munmap(p, cut * 4096);
		for (uint64_t i = cut; i < n; i += 11)
			wrong += !page_right(p + i * 4096, first + i);
		munmap(p + cut * 4096, (n - cut) * 4096);
		mapped++;
	}
	return NULL;
}

static void *read_on(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (!stop) {
		uint64_t number = (unsigned int)rand_r(&seed) % PAGES;

		wrong += !page_right(whole + number * 4096, number);
	}
	return NULL;
}

/* Large and small, so that the allocator maps, unmaps and gives advice. */
static void *allocate(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (!stop) {
		void *p[50];

		for (int i = 0; i < 50; i++) {
			size_t bytes = 16 + (unsigned int)rand_r(&seed) % 400000;

			p[i] = malloc(bytes);
			if (p[i])
				memset(p[i], i, bytes < 4096 ? bytes : 4096);
		}
		for (int i = 0; i < 50; i++)
			free(p[i]);
	}
	return NULL;
}

static void *fork_children(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (!stop) {
		int n = rand_r(&seed) % 3 ? 0 : 20, status;
		pid_t pid = fork();

		if (pid == 0) {
			bool right = true;

			for (int i = 0; i < n; i++) {
				uint64_t number = (unsigned int)rand_r(&seed) % PAGES;

				right = page_right(whole + number * 4096, number) && right;
			}
			_exit(!right);
		}
		waitpid(pid, &status, 0);
		wrong += status != 0;
		forked++;
	}
	return NULL;
}

static int storm(const char *path)
{
	pthread_t threads[MAPPERS + READERS + 2];
	char stop_path[256];
	uintptr_t n = 0;

	snprintf(stop_path, sizeof(stop_path), "%s.stop", path);
	model_fd = open(path, O_RDONLY | O_CLOEXEC);
	whole = mmap(NULL, MODEL_BYTES, PROT_READ, MAP_SHARED, model_fd, 0);
	if (whole == MAP_FAILED)
		return 2;
	for (int i = 0; i < MAPPERS; i++, n++)
		pthread_create(&threads[n], NULL, map_and_unmap, (void *)n);
	for (int i = 0; i < READERS; i++, n++)
		pthread_create(&threads[n], NULL, read_on, (void *)n);
	pthread_create(&threads[n], NULL, allocate, (void *)n);
	n++;
	pthread_create(&threads[n], NULL, fork_children, (void *)n);
	n++;
	while (access(stop_path, F_OK))
		usleep(20000);
	stop = true;
	for (uintptr_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	printf("%llu mappings, %llu forks, %llu wrong\n", (unsigned long long)mapped,
	       (unsigned long long)forked, (unsigned long long)wrong);
	return wrong || !mapped || !forked;
}

/* ---- outside ---- */

START_TEST(storm_and_kills)
{
	const char *seconds = getenv("STRESS_SECONDS");
	char vramrun[512], self[512], path[256], stop_path[300];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct vramd d;
	time_t end;
	int status, fd;
	pid_t pid;

	ck_assert_int_gt(len, 0);
	self[len] = '\0';
	vramd_init(&d, BUDGET);
	vramd_start(&d);
	snprintf(path, sizeof(path), "%s", vramd_make_file(&d, "model", MODEL_BYTES, SEED));
	snprintf(stop_path, sizeof(stop_path), "%s.stop", path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(pwrite(fd, "GGUF\3\0\0\0", 8, 0), 8);
	close(fd);
	vramd_build_path(vramrun, sizeof(vramrun), "vramrun");
	pid = fork();
	if (pid == 0) {
		execl(vramrun, vramrun, "--socket", d.socket, "--quiet", self, path, (char *)NULL);
		_exit(127);
	}
	end = time(NULL) + (seconds ? atoi(seconds) : 5);
	srandom(1);
	do {
		nanosleep(&(struct timespec){ .tv_nsec = 300000000 + random() % 600000000 }, NULL);
		ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
		vramd_signal(&d, random() % 4 ? SIGKILL : SIGTERM);
		nanosleep(&(struct timespec){ .tv_nsec = random() % 200000000 }, NULL);
		vramd_start(&d);
	} while (time(NULL) < end);
	close(open(stop_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	vramd_deinit(&d);
}
END_TEST

int main(int argc, char **argv)
{
	const char *san = getenv("SAN");
	Suite *suite = suite_create("storm");
	TCase *tc = tcase_create("storm");
	SRunner *runner;
	int failed;

	if (argc == 2)
		return storm(argv[1]);
	if (san && *san) {
		printf("SKIP: a sanitizer's run time and the shim both want to be first\n");
		return 77;
	}
	if (!vramd_usable())
		return 77;
	tcase_set_timeout(tc, 0);
	tcase_add_test(tc, storm_and_kills);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
