// SPDX-License-Identifier: GPL-2.0-only
// links: tests/stress/residency_world.c common/fd.c
//
// The residency slot between processes: a sealed memfd that each maps at another address, as a
// session's table is, so that a futex or an atomic that works only inside one
// process is found out.
#define _GNU_SOURCE 1
#include "tests/stress/residency_world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"

enum {
	WORKERS = 4
};

static struct world_daemon daemon_state;

static struct world *map_world(int fd)
{
	void *p = mmap(NULL, sizeof(struct world), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int work(int fd, unsigned int id, struct world *inherited)
{
	struct world *world;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Mapped before the old one is gone, so that it lies elsewhere. */
	if (fd_check_sealed(fd, sizeof(struct world)) < 0 || !(world = map_world(fd)) ||
	    world == inherited)
		return 1;
	munmap(inherited, sizeof(struct world));
	world_work(world, id);
	return 0;
}

int main(void)
{
	pid_t workers[WORKERS];
	struct world *world;
	int fd, r, bad = 0;

	r = fd_memfd_sealed("vram-slots", sizeof(struct world), 0, &fd);
	if (r < 0 || !(world = map_world(fd))) {
		fprintf(stderr, "no shared memory: %s\n", strerror(r < 0 ? -r : errno));
		return 1;
	}
	world_init(world, &daemon_state);
	atomic_store(&world->workers_left, WORKERS);
	fflush(NULL);
	for (unsigned int i = 0; i < WORKERS; i++) {
		workers[i] = fork();
		if (workers[i] == 0)
			_exit(work(fd, i, world));
		if (workers[i] < 0) {
			perror("fork");
			atomic_fetch_sub(&world->workers_left, 1);
			atomic_store(&world->stop, 1);
			bad = 1;
		}
	}
	world_serve(world, &daemon_state, world_seconds());
	for (int i = 0; i < WORKERS; i++) {
		int status = 0;

		if (workers[i] > 0 && (waitpid(workers[i], &status, 0) != workers[i] || status)) {
			printf("worker %d ended with status %#x\n", i, (unsigned int)status);
			bad = 1;
		}
	}
	return world_verdict(world, &daemon_state, "processes") || bad;
}
