// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nonsense from all sides at once: for STRESS_SECONDS, processes of root and of nobody open, map,
 * hand on, close and call with numbers that are mostly near the truth, die at any moment, and one
 * of root's may be the arbiter. Nothing is checked on the way but that the kernel lives; its log is
 * the harness's to read.
 *
 * At the end everybody has gone. A new arbiter must then find no session, nothing charged but what
 * shares hold that nobody is a member of, and nothing at all once it has emptied those.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/device.h"

#define N_PROCESSES 12
#define N_FILES	    4
#define N_MAPS	    4

static uint64_t random_state;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)(random64() >> 32) % n;
}

/* A number that somebody might mean, or one that nobody does. */
static uint64_t number(void)
{
	static const uint64_t odd[] = {
		0, ~0ull, 1ull << 63, (1ull << 63) - 1, 0xffffffffu, 1ull << 32, 4096, 65536,
	};

	switch (below(8)) {
	case 0:
		return odd[below(sizeof(odd) / sizeof(odd[0]))];
	case 1:
		return random64();
	case 2:
		return below(1u << 20);
	default:
		return below(6);
	}
}

static const unsigned long requests[] = {
	VRAM_IOC_INFO,	 VRAM_IOC_TABLE,  VRAM_IOC_WAIT,   VRAM_IOC_PRESSURE, VRAM_IOC_TRIGGER,
	VRAM_IOC_USAGE,	 VRAM_IOC_GROUP,  VRAM_IOC_LIMIT,  VRAM_IOC_ATTACH,   VRAM_IOC_DEVICE,
	VRAM_IOC_ADOPT,	 VRAM_IOC_CHARGE, VRAM_IOC_SHARE,  VRAM_IOC_STATE,    VRAM_IOC_WAKE,
	VRAM_IOC_OVER,	 VRAM_IOC_CHARGE, VRAM_IOC_CHARGE, VRAM_IOC_SHARE,    VRAM_IOC_ADOPT,
	VRAM_IOC_ATTACH,
};
#define N_REQUESTS (sizeof(requests) / sizeof(requests[0]))

/* Where names, arrays and bad pointers point. */
static char scratch[8192];

static uint64_t pointer(void)
{
	static const char *const names[] = { "/a", "/a/b", "/a/b/c", "/usr/bin/x", "", "no path" };

	switch (below(6)) {
	case 0:
		return number();
	case 1:
		return (uint64_t)(uintptr_t)(scratch + sizeof(scratch) - below(16));
	default:
		snprintf(scratch, sizeof(scratch), "%s", names[below(6)]);
		return (uint64_t)(uintptr_t)scratch;
	}
}

static struct vram_ref a_ref(void)
{
	return (struct vram_ref){ .kind = below(5), .key = number() };
}

/* A call that makes sense but for its numbers. */
static void fill(unsigned long request, void *arg, int other)
{
	switch (request) {
	case VRAM_IOC_TABLE:
		*(struct vram_ioc_table *)arg = (struct vram_ioc_table){ .n_slots = below(300) };
		break;
	case VRAM_IOC_WAIT:
		*(struct vram_ioc_wait *)arg = (struct vram_ioc_wait){
			.flags = below(2),
			.slot = below(4),
			.deadline_ns = now_ns() + below(3000000),
		};
		break;
	case VRAM_IOC_PRESSURE:
		*(struct vram_ioc_pressure *)arg = (struct vram_ioc_pressure){ .group = a_ref() };
		break;
	case VRAM_IOC_TRIGGER:
		*(struct vram_ioc_trigger *)arg = (struct vram_ioc_trigger){
			.group = a_ref(), .threshold_us = 1 + below(1000), .window_us = 500000
		};
		break;
	case VRAM_IOC_USAGE:
		*(struct vram_ioc_usage *)arg =
			(struct vram_ioc_usage){ .tier = below(3), .group = a_ref() };
		break;
	case VRAM_IOC_GROUP:
		*(struct vram_ioc_group *)arg = (struct vram_ioc_group){
			.flags = below(3), .name = (uint64_t)(uintptr_t)scratch, .name_size = 4096
		};
		break;
	case VRAM_IOC_LIMIT: {
		struct vram_ioc_limit limit = {
			.flags = below(3),
			.tier = below(3),
			.limit = below(4),
			.group = a_ref(),
			.value = number(),
		};

		if (limit.flags & VRAM_LIMIT_CLEAR)
			limit.value = 0;
		if (limit.group.kind == VRAM_KIND_CGROUP || limit.group.kind == VRAM_KIND_EXE) {
			limit.group.key = 0;
			limit.name = pointer();
			limit.name_bytes = (uint32_t)strlen(scratch) + 1;
		}
		*(struct vram_ioc_limit *)arg = limit;
		break;
	}
	case VRAM_IOC_ATTACH:
		*(struct vram_ioc_attach *)arg = (struct vram_ioc_attach){ .grace_ms = below(3) };
		break;
	case VRAM_IOC_DEVICE:
		*(struct vram_ioc_device *)arg =
			(struct vram_ioc_device){ .capacity = { 1 << 20, 1 << 20, 1 << 20 },
						  .name = "stress" };
		break;
	case VRAM_IOC_ADOPT:
		*(struct vram_ioc_adopt *)arg =
			(struct vram_ioc_adopt){ .flags = below(2), .fd = other };
		break;
	case VRAM_IOC_CHARGE: {
		struct vram_ioc_charge c = {
			.op = below(4),
			.share = below(2) ? VRAM_NO_SHARE : below(4),
			.bytes = below(4) ? below(1u << 18) : number(),
		};
		struct vram_ioc_info info;

		if (other >= 0 && !ioctl(other, VRAM_IOC_INFO, &info))
			c.session = info.session - below(4);
		if (c.op == VRAM_GIVE)
			c.other = c.session + below(3);
		if (c.op != VRAM_CHARGE)
			c.from = below(3);
		if (c.op == VRAM_CHARGE || c.op == VRAM_TRANSFER)
			c.to = below(3);
		*(struct vram_ioc_charge *)arg = c;
		break;
	}
	case VRAM_IOC_SHARE: {
		struct vram_ioc_share sh = { .op = below(6) };
		struct vram_ioc_info info;

		if (sh.op != VRAM_SHARE_NEW)
			sh.share = below(4);
		if ((sh.op == VRAM_SHARE_JOIN || sh.op == VRAM_SHARE_LEAVE) && other >= 0 &&
		    !ioctl(other, VRAM_IOC_INFO, &info))
			sh.session = info.session - below(4);
		*(struct vram_ioc_share *)arg = sh;
		break;
	}
	case VRAM_IOC_STATE:
		*(struct vram_ioc_state *)arg =
			(struct vram_ioc_state){ .op = below(4), .session = number() };
		break;
	case VRAM_IOC_WAKE:
		*(struct vram_ioc_wake *)arg =
			(struct vram_ioc_wake){ .slot = below(4), .session = number() };
		break;
	case VRAM_IOC_OVER:
		*(struct vram_ioc_over *)arg = (struct vram_ioc_over){
			.tier = below(3), .n = below(4), .array = (uint64_t)(uintptr_t)scratch
		};
		break;
	}
}

static void call(int fd, int other)
{
	uint64_t arg[64] = { 0 };
	uint64_t *deadline_ns = &arg[offsetof(struct vram_ioc_wait, deadline_ns) / sizeof(*arg)];
	unsigned long request = requests[below(N_REQUESTS)];
	uint32_t word;

	fill(request, arg, other);
	/* Now and then one field is something else, or everything is. */
	if (below(4) == 0) {
		word = (uint32_t)number();
		memcpy((char *)arg + 4 * below(_IOC_SIZE(request) / 4), &word, sizeof(word));
	}
	if (below(64) == 0)
		for (size_t i = 0; i < sizeof(arg) / sizeof(arg[0]); i++)
			arg[i] = number();
	/* Devices stay, and there is room for few: one name, or none that is valid. */
	if (request == VRAM_IOC_DEVICE) {
		char *name = (char *)arg + offsetof(struct vram_ioc_device, name);

		memset(name, below(4) ? 0 : 'x', 32);
		memcpy(name, "stress", 6);
	}
	/* Nobody waits for long. */
	if (request == VRAM_IOC_WAIT && *deadline_ns > now_ns() + SECOND)
		*deadline_ns = 0;
	if (below(64) == 0)
		ioctl(fd, request, number());
	else
		ioctl(fd, request, arg);
	if (below(128) == 0)
		ioctl(fd, _IOC(below(4), VRAM_IOC_MAGIC, below(64), below(512)), arg);
}

struct map {
	volatile uint32_t *at;
	size_t bytes;
};

static void remap(struct map *map, int fd)
{
	off_t offset = below(3) ? 0 : (off_t)(number() << 24);
	size_t bytes = 4096 * (1 + below(3));
	void *at;

	if (map->at)
		munmap((void *)(uintptr_t)map->at, map->bytes);
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
	map->at = at == MAP_FAILED ? NULL : at;
	map->bytes = bytes;
	if (map->at)
		map->at[below((uint32_t)bytes / 4)] = (uint32_t)number();
}

_Noreturn static void live(unsigned int i, uint64_t until)
{
	struct map maps[N_MAPS] = { 0 };
	int fds[N_FILES];

	random_state = 0x9e3779b97f4a7c15u * (i + 1) + (uint64_t)getpid();
	if (i % 3)
		become(UID_A + i % 2);
	for (int k = 0; k < N_FILES; k++)
		fds[k] = open(DEVICE_PATH, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	while (now_ns() < until) {
		/* The first one's first descriptor is the arbiter for most of the time. */
		uint32_t k = i == 0 && below(4) ? 0 : below(N_FILES);

		if (i == 0 && below(200) == 0) {
			struct vram_ioc_attach attach = { .grace_ms = below(3) };
			struct vram_ioc_device device = { .capacity = { 1 << 20, 1 << 20, 1 << 20 },
							  .name = "stress" };

			ioctl(fds[0], VRAM_IOC_ATTACH, &attach);
			ioctl(fds[0], VRAM_IOC_DEVICE, &device);
		}
		switch (below(40)) {
		case 0:
			if (k == 0 && below(20))
				break;
			close(fds[k]);
			fds[k] = open(DEVICE_PATH, O_RDWR | O_CLOEXEC | O_NONBLOCK);
			break;
		case 1:
		case 2:
			remap(&maps[below(N_MAPS)], fds[k]);
			break;
		case 3: {
			struct pollfd p = { .fd = fds[k], .events = POLLIN | POLLPRI };
			char buf[512];

			if (poll(&p, 1, 0) > 0 && read(fds[k], buf, sizeof(buf)) > 0)
				break;
			break;
		}
		case 4:
			/* A reference that outlives its process for a moment. */
			if (below(20) == 0 && fork() == 0) {
				usleep(below(2000));
				_exit(0);
			}
			break;
		case 5:
			if (below(60) == 0)
				raise(SIGKILL);
			break;
		default:
			call(fds[k], fds[below(N_FILES)]);
			break;
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	_exit(0);
}

/* Shares without members keep their bytes: a new arbiter's to give back. */
static void empty_shares(int arb)
{
	struct vram_ioc_share sh = { .op = VRAM_SHARE_NEXT };

	while (!try_ioctl(arb, VRAM_IOC_SHARE, &sh)) {
		struct vram_ioc_share gone = { .op = VRAM_SHARE_FREE, .share = sh.share };

		ck_assert_uint_eq(sh.n_members, 0);
		for (uint32_t t = 0; t < VRAM_N_TIERS; t++) {
			struct vram_ioc_charge c = {
				.op = VRAM_UNCHARGE,
				.share = sh.share,
				.dev = sh.dev,
				.from = t,
				.bytes = sh.bytes[t],
			};

			ck_assert_int_eq(try_ioctl(arb, VRAM_IOC_CHARGE, &c), 0);
		}
		ck_assert_int_eq(try_ioctl(arb, VRAM_IOC_SHARE, &gone), 0);
		sh = (struct vram_ioc_share){ .op = VRAM_SHARE_NEXT, .share = sh.share + 1 };
	}
}

START_TEST(test_nonsense_from_all_sides)
{
	uint64_t until = now_ns() + strtoull(getenv("STRESS_SECONDS") ?: "5", NULL, 10) * SECOND;
	struct vram_ioc_group g = { .flags = VRAM_GROUP_FIRST };
	pid_t pid[N_PROCESSES] = { 0 };
	unsigned int deaths = 0;
	int arb, r;

	while (now_ns() < until) {
		for (unsigned int i = 0; i < N_PROCESSES; i++) {
			if (pid[i] && waitpid(pid[i], NULL, WNOHANG) != pid[i])
				continue;
			deaths += pid[i] != 0;
			pid[i] = fork();
			ck_assert_int_ge(pid[i], 0);
			if (pid[i] == 0)
				live(i, until);
		}
		usleep(20000);
		if (below(10) == 0)
			kill(pid[below(N_PROCESSES)], SIGKILL);
	}
	for (unsigned int i = 0; i < N_PROCESSES; i++)
		waitpid(pid[i], NULL, 0);
	usleep(200000);
	printf("%u processes ended before their time\n", deaths);

	arb = arbiter_new(0);
	empty_shares(arb);
	do {
		struct vram_ioc_group next;

		for (uint32_t t = 0; t < VRAM_N_TIERS; t++) {
			struct vram_ioc_usage u = { .tier = t, .group = g.group };

			r = try_ioctl(arb, VRAM_IOC_USAGE, &u);
			/* No device was made if nobody ever was the arbiter. */
			ck_assert(r == 0 || r == -ENOENT);
			ck_assert_uint_eq(u.usage, 0);
		}
		next = (struct vram_ioc_group){ .flags = VRAM_GROUP_NEXT, .group = g.group };
		r = try_ioctl(arb, VRAM_IOC_GROUP, &next);
		if (r == 0)
			ck_assert(next.group.kind != VRAM_KIND_SESSION ||
				  next.session_flags & VRAM_INFO_ARBITER);
		g = next;
	} while (r == 0);
	ck_assert_int_eq(r, -ENOENT);
	close(arb);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stress_ioctl");
	TCase *tcase = tcase_create("nonsense");

	setvbuf(stdout, NULL, _IOLBF, 0);
	random_state = 0x2545f4914f6cdd1du;
	tcase_set_timeout(tcase, 600);
	tcase_add_test(tcase, test_nonsense_from_all_sides);
	suite_add_tcase(suite, tcase);
	return device_main(suite);
}
