// SPDX-License-Identifier: GPL-2.0-only
// links: tests/support/bench_daemon.c
/*
 * kmod_calls: what calls of /dev/vram cost, as multiples of an ioctl that does nothing (an unknown one,
 * ENOTTY). For kmod.py, which runs it as root in a virtual machine, where a nanosecond means nothing and
 * a ratio something.
 *
 *   charge_pair  a charge and an uncharge of a session: CHARGE takes the module's lock twice, and counts in
 *                session, user, cgroups of the machine, executable and root
 *   share_pair   the same of a share with four members
 *   info         INFO, the smallest call that does something
 *   wait_no      WAIT whose word is another: it returns at once
 *   round_trip   WAKE, the waiter returns from WAIT and answers by a futex; the same with two futexes beside it
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kmod/uapi/vram.h"
#include "tests/support/bench_daemon.h"

#define BATCHES 15
#define CALLS	2000
#define ROUNDS	300

static int arbiter, clients[4];
static uint64_t session[4];
static uint32_t dev, share;
static _Atomic uint32_t *word, answer;

static void must(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "kmod_calls: %s: %s\n", what, strerror(errno));
		exit(1);
	}
}

static void setup(void)
{
	struct vram_ioc_attach attach = { 0 };
	struct vram_ioc_device device = {
		.capacity = { 1ull << 40, 1ull << 40, 1ull << 40 },
		.name = "bench",
	};
	struct vram_ioc_table table = { .n_slots = 64 };
	struct vram_ioc_share s = { .op = VRAM_SHARE_NEW };
	int i;

	arbiter = open("/dev/vram", O_RDWR | O_CLOEXEC);
	must(arbiter >= 0, "/dev/vram");
	must(!ioctl(arbiter, VRAM_IOC_ATTACH, &attach), "ATTACH");
	must(!ioctl(arbiter, VRAM_IOC_DEVICE, &device), "DEVICE");
	s.dev = dev = device.dev;
	must(!ioctl(arbiter, VRAM_IOC_SHARE, &s), "SHARE");
	share = s.share;
	for (i = 0; i < 4; i++) {
		struct vram_ioc_adopt adopt = { 0 };

		clients[i] = open("/dev/vram", O_RDWR | O_CLOEXEC);
		must(clients[i] >= 0, "/dev/vram");
		must(!ioctl(clients[i], VRAM_IOC_TABLE, &table), "TABLE");
		adopt.fd = clients[i];
		must(!ioctl(arbiter, VRAM_IOC_ADOPT, &adopt), "ADOPT");
		session[i] = adopt.session;
		s = (struct vram_ioc_share){
			.op = VRAM_SHARE_JOIN,
			.share = share,
			.session = session[i],
		};
		must(!ioctl(arbiter, VRAM_IOC_SHARE, &s), "SHARE");
	}
	word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, clients[0], 0);
	must(word != MAP_FAILED, "mmap");
}

/* ---- what is measured: each does one of it -------------------------------------- */

static void null_ioctl(void)
{
	must(ioctl(clients[0], _IO(VRAM_IOC_MAGIC, 0x7f), 0) < 0 && errno == ENOTTY, "null");
}

static void info(void)
{
	struct vram_ioc_info arg;

	must(!ioctl(clients[0], VRAM_IOC_INFO, &arg), "INFO");
}

static void charge_op(uint32_t op, uint64_t id, uint32_t of_share)
{
	struct vram_ioc_charge c = {
		.op = op,
		.session = id,
		.share = of_share,
		.dev = dev,
		.bytes = 4096,
	};

	must(!ioctl(arbiter, VRAM_IOC_CHARGE, &c), "CHARGE");
}

static void charge_pair(void)
{
	charge_op(VRAM_CHARGE, session[0], VRAM_NO_SHARE);
	charge_op(VRAM_UNCHARGE, session[0], VRAM_NO_SHARE);
}

static void share_pair(void)
{
	charge_op(VRAM_CHARGE, 0, share);
	charge_op(VRAM_UNCHARGE, 0, share);
}

static void wait_no(void)
{
	struct vram_ioc_wait arg = { .dev = dev, .slot = 1, .expected = 1, .deadline_ns = ~0ull };

	must(!ioctl(clients[0], VRAM_IOC_WAIT, &arg), "WAIT");
}

static double median_ns(void (*what)(void))
{
	uint64_t batch[BATCHES];
	int b, i;

	for (i = 0; i < CALLS / 10; i++)
		what();
	for (b = 0; b < BATCHES; b++) {
		uint64_t began = bench_now_ns();

		for (i = 0; i < CALLS; i++)
			what();
		batch[b] = bench_now_ns() - began;
	}
	return (double)bench_median(batch, BATCHES) / CALLS;
}

/* ---- the round trip -------------------------------------------------------------- */

static void futex(_Atomic uint32_t *at, int op, uint32_t value)
{
	syscall(SYS_futex, at, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static void await(_Atomic uint32_t *at, uint32_t old)
{
	while (atomic_load(at) == old)
		futex(at, FUTEX_WAIT, old);
}

static void wake(_Atomic uint32_t *at)
{
	atomic_fetch_add(at, 1);
	futex(at, FUTEX_WAKE, 1);
}

static _Atomic uint32_t question;
static int by_module;

static void *waiter(void *arg)
{
	uint32_t n, end = BATCHES * ROUNDS;

	(void)arg;
	bench_pin(0, 1);
	for (n = 0; n < end; n++) {
		if (by_module) {
			struct vram_ioc_wait wait = {
				.dev = dev,
				.expected = n,
				.deadline_ns = ~0ull,
			};

			while (atomic_load(word) == n)
				must(!ioctl(clients[0], VRAM_IOC_WAIT, &wait), "WAIT");
		} else {
			await(&question, n);
		}
		wake(&answer);
	}
	return NULL;
}

static double round_trip_ns(int module)
{
	struct vram_ioc_wake arg = { .session = session[0] };
	uint64_t batch[BATCHES];
	pthread_t thread;
	uint32_t n = 0;
	int b, i;

	by_module = module;
	atomic_store(word, 0);
	atomic_store(&question, 0);
	atomic_store(&answer, 0);
	must(!pthread_create(&thread, NULL, waiter, NULL), "thread");
	for (b = 0; b < BATCHES; b++) {
		uint64_t began = bench_now_ns();

		for (i = 0; i < ROUNDS; i++, n++) {
			if (module) {
				atomic_fetch_add(word, 1);
				must(!ioctl(arbiter, VRAM_IOC_WAKE, &arg), "WAKE");
			} else {
				wake(&question);
			}
			await(&answer, n);
		}
		batch[b] = bench_now_ns() - began;
	}
	pthread_join(thread, NULL);
	return (double)bench_median(batch, BATCHES) / ROUNDS;
}

int main(void)
{
	double null, round_trip;

	setup();
	bench_pin(0, 0);
	null = median_ns(null_ioctl);
	bench_json("kmod", "info", median_ns(info), "ns in a guest", "null ioctl", null);
	bench_json("kmod", "wait_no", median_ns(wait_no), "ns in a guest", "null ioctl", null);
	bench_json("kmod", "charge_pair", median_ns(charge_pair), "ns in a guest", "null ioctl",
		   null);
	bench_json("kmod", "share_pair", median_ns(share_pair), "ns in a guest", "null ioctl",
		   null);
	round_trip = round_trip_ns(1);
	bench_json("kmod", "round_trip", round_trip, "ns in a guest", "null ioctl", null);
	bench_json("kmod", "round_trip_vs_futex", round_trip, "ns in a guest", "futex round trip",
		   round_trip_ns(0));
	return 0;
}
