// SPDX-License-Identifier: GPL-2.0-only
#include "tests/kmod/stress_client.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/kmod/passing.h"

struct stress_shared *shared;

static void stop_if_asked(unsigned int i, int fd, int socket)
{
	uint32_t n;

	while ((n = atomic_load(&shared->pause))) {
		atomic_store(&shared->paused[i], n);
		if (i < N_CLIENTS && atomic_exchange(&shared->send[i], 0))
			passing_send(socket, fd);
		sleep_ms(1);
	}
	atomic_store(&shared->paused[i], 0);
}

static void client_step(int fd, uint32_t **table, uint64_t *rng)
{
	struct vram_ioc_wait wait = {
		.flags = next(rng) % 2,
		.dev = w.dev[next(rng) % 2],
		.slot = (uint32_t)(next(rng) % 8),
		.expected = (uint32_t)(next(rng) % 2),
		.deadline_ns = now_ns() + next(rng) % (20 * MS),
	};
	struct vram_ioc_usage u;
	int other;

	switch (next(rng) % 16) {
	case 0:
		/* A new table; the old one stays mapped until the end of this step. */
		munmap(*table, N_SLOTS * VRAM_SLOT_BYTES);
		if (try_ioctl(fd, VRAM_IOC_TABLE, &(struct vram_ioc_table){ .n_slots = N_SLOTS }))
			_exit(10);
		*table = mmap(NULL, N_SLOTS * VRAM_SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			      fd, 0);
		if (*table == MAP_FAILED)
			_exit(11);
		break;
	case 1:
		other = dup(fd);
		if (try_usage(other, VRAM_KIND_ROOT, 0, wait.dev, 0, &u))
			_exit(12);
		close(other);
		break;
	case 2:
		if (next(rng) % 100 == 0)
			_exit(0);
		break;
	case 3:
		if (next(rng) % 100 == 0)
			kill(getpid(), SIGKILL);
		break;
	case 4 ... 9:
		(*table)[next(rng) % (N_SLOTS * 16)] = (uint32_t)next(rng);
		(*table)[wait.slot * 16] = (uint32_t)(next(rng) % 2);
		break;
	default:
		/* Not adopted yet, or by nobody any more: as good as waiting. */
		other = try_ioctl(fd, VRAM_IOC_WAIT, &wait);
		if (other && other != -ETIMEDOUT && other != -EHOSTDOWN && other != -ESTALE &&
		    other != -ENOTCONN)
			_exit(13);
		atomic_fetch_add(&shared->n_waits, 1);
		break;
	}
}

void client_process(unsigned int i, uid_t uid, const char *cgroup, int socket, uint64_t seed)
{
	uint64_t rng = seed | 1;
	uint32_t *table;
	int fd;

	close_range(3, (unsigned int)socket - 1, 0);
	close_range((unsigned int)socket + 1, ~0u, 0);
	if (cgroup) {
		char path[256];
		FILE *f;

		snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
		f = fopen(path, "we");
		if (!f || fputs("0", f) < 0 || fclose(f))
			_exit(1);
	}
	become(uid);
	fd = try_open(O_RDWR);
	if (fd < 0 || try_ioctl(fd, VRAM_IOC_TABLE, &(struct vram_ioc_table){ .n_slots = N_SLOTS }))
		_exit(2);
	table = mmap(NULL, N_SLOTS * VRAM_SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (table == MAP_FAILED || passing_send(socket, fd))
		_exit(3);
	for (;;) {
		stop_if_asked(i, fd, socket);
		client_step(fd, &table, &rng);
	}
}

void stranger_process(unsigned int i, uid_t uid, uint64_t seed)
{
	uint64_t rng = seed | 1;

	close_range(3, ~0u, 0);
	become(uid);
	for (;;) {
		void *p;
		int fd;

		stop_if_asked(i, -1, -1);
		fd = try_open(O_RDWR);
		if (fd < 0)
			_exit(1);
		if (next(&rng) % 2)
			try_ioctl(fd, VRAM_IOC_TABLE,
				  &(struct vram_ioc_table){ .n_slots =
								    (uint32_t)next(&rng) % 999 });
		p = MAP_FAILED;
		if (next(&rng) % 2)
			p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd,
				 (off_t)((next(&rng) % 4) << 24));
		close(fd);
		if (p != MAP_FAILED)
			munmap(p, 4096);
		atomic_fetch_add(&shared->n_opens, 1);
	}
}
