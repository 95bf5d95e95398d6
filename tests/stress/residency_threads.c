// SPDX-License-Identifier: GPL-2.0-only
// links: tests/stress/residency_world.c
//
// The residency slot between threads. With SAN=thread, ThreadSanitizer sees every
// access, the plain ones to the data included, so a missing order is reported even
// where it did no harm in this run.
#define _GNU_SOURCE 1
#include "tests/stress/residency_world.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	WORKERS = 4
};

static struct world world;
static struct world_daemon daemon_state;

static void *work(void *arg)
{
	world_work(&world, (unsigned int)(uintptr_t)arg);
	return NULL;
}

static int run(double seconds, bool broken)
{
	pthread_t threads[WORKERS];

	world_init(&world, &daemon_state);
	daemon_state.broken = broken;
	atomic_store(&world.workers_left, WORKERS);
	for (uintptr_t i = 0; i < WORKERS; i++) {
		if (pthread_create(&threads[i], NULL, work, (void *)i) != 0) {
			perror("pthread_create");
			return 1;
		}
	}
	world_serve(&world, &daemon_state, seconds);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	return world_verdict(&world, &daemon_state, broken ? "broken on purpose" : "threads");
}

/*
 * An eviction that does not look at the pins must be noticed, or the run below says
 * nothing. In a child, silent: ThreadSanitizer would report it as well.
 */
static int self_check(void)
{
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		_exit(run(5, true));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("fork");
		return 1;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		printf("an eviction of layers in use went unnoticed\n");
		return 1;
	}
	return 0;
}

int main(void)
{
	return self_check() || run(world_seconds(), false);
}
