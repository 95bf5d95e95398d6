// SPDX-License-Identifier: GPL-2.0-only
/*
 * acquire [SOCKET MODEL]: what an acquire and a release of a resident layer cost.
 *
 * The slot alone, and with a daemon's socket and a model that fits its budget, through libvram as
 * an engine would. Peers in the same run: a pair of atomic operations on one word, and an ioctl that
 * does nothing. Every way takes its turn in each round; the median of the rounds is printed.
 *
 * System calls are counted, not assumed: a child goes through the same loops between two marks under
 * ptrace. The loop of ioctls must count one each, or the counter is wrong.
 *
 * links: libvram.a
 * libs: -ljansson -lxxhash
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/residency.h"
#include "libclient/vram.h"

enum {
	ROUNDS = 31,
	PAIRS = 200000,
	IOCTLS = 20000,
	COUNTED = 1000,
	SKIP = 77
};

/* close(MARK - way) opens and close(MARK) ends a counted stretch: no descriptor has such a number. */
#define MARK (-123400)

static struct residency_slot slot;
static _Atomic uint64_t pair_word;
static int null_fd = -1;
static struct vram_client *client;
static struct vram_model *model;
static struct vram_layer *layer;

/* ---- the ways ----------------------------------------------------------------- */

static void through_slot(int n)
{
	uint32_t seen;

	for (int i = 0; i < n; i++) {
		if (residency_try_acquire(&slot, residency_now_ns(), &seen) != RESIDENCY_OK)
			abort();
		residency_release(&slot);
	}
}

static void through_library(int n)
{
	for (int i = 0; i < n; i++) {
		if (vram_layer_acquire(layer, -1))
			abort();
		vram_layer_release(layer);
	}
}

static void atomic_pair(int n)
{
	for (int i = 0; i < n; i++) {
		atomic_fetch_add(&pair_word, 1);
		atomic_fetch_sub(&pair_word, 1);
	}
}

static void null_ioctl(int n)
{
	/* The driver of /dev/null has no ioctls: in and out, ENOTTY. */
	for (int i = 0; i < n; i++)
		ioctl(null_fd, 0, 0);
}

enum way {
	SLOT,
	LIBRARY,
	PAIR,
	IOCTL,
	WAYS
};

static void (*const ways[WAYS])(int n) = { through_slot, through_library, atomic_pair, null_ioctl };

/* ---- setting up --------------------------------------------------------------- */

static int set_up_slot(void)
{
	struct residency_shadow shadow;

	residency_init(&slot, &shadow);
	residency_begin_load(&slot, &shadow);
	residency_finish_load(&slot, &shadow, NULL);
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return null_fd < 0 ? -errno : 0;
}

/* Makes all layers resident, so that no marks are left, and takes the first. */
static int set_up_library(const char *socket, const char *path)
{
	uint32_t n;
	int r;

	r = vram_connect(socket, "acquire", 0, &client);
	if (r < 0)
		return r;
	r = vram_model_open(client, path, &model);
	if (r < 0)
		return r;
	n = vram_model_n_layers(model);
	for (int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < n; i++) {
			layer = vram_model_layer(model, i);
			r = vram_layer_acquire(layer, -1);
			if (r < 0)
				return r;
			vram_layer_release(layer);
		}
		/* The daemon reads what was reported and clears the marks. */
		usleep(50000);
	}
	layer = vram_model_layer(model, 0);
	return 0;
}

static int set_up(char **argv)
{
	int r = set_up_slot();

	if (r == 0 && argv[1])
		r = set_up_library(argv[1], argv[2]);
	if (r < 0)
		fprintf(stderr, "acquire: %s (%s)\n", strerror(-r), vram_error_text());
	return r;
}

static void tear_down(void)
{
	if (model)
		vram_model_close(model);
	if (client)
		vram_close(client);
}

/* ---- time --------------------------------------------------------------------- */

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* ns a turn of each way. */
static void measure(double ns[WAYS])
{
	static double rounds[WAYS][ROUNDS];
	cpu_set_t cpus;
	int cpu = sched_getcpu();

	CPU_ZERO(&cpus);
	CPU_SET(cpu < 0 ? 0 : cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	for (int round = 0; round < ROUNDS; round++) {
		for (int way = 0; way < WAYS; way++) {
			int n = way == IOCTL ? IOCTLS : PAIRS;
			double start;

			if (way == LIBRARY && !layer)
				continue;
			ways[way](n / 100);
			start = now_ns();
			ways[way](n);
			rounds[way][round] = (now_ns() - start) / n;
		}
	}
	for (int way = 0; way < WAYS; way++) {
		qsort(rounds[way], ROUNDS, sizeof(double), by_value);
		ns[way] = rounds[way][ROUNDS / 2];
	}
}

/* ---- system calls ------------------------------------------------------------- */

static int counted_child(char **argv)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		return SKIP;
	raise(SIGSTOP);
	if (set_up(argv) < 0)
		return 1;
	for (int way = 0; way < WAYS; way++) {
		if (way == LIBRARY && !layer)
			continue;
		close(MARK - 1 - way);
		ways[way](COUNTED);
		close(MARK);
	}
	tear_down();
	return 0;
}

/* Follows the child to its end. Return: its exit status, -1 if it did not exit. */
static int follow(pid_t pid, uint64_t calls[WAYS])
{
	int status, signal, way = -1;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
	for (signal = 0;; signal = 0) {
		struct __ptrace_syscall_info info;

		if (ptrace(PTRACE_SYSCALL, pid, NULL, signal) < 0 ||
		    waitpid(pid, &status, 0) != pid)
			return -1;
		if (!WIFSTOPPED(status))
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
			signal = WSTOPSIG(status);
			continue;
		}
		if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0)
			return SKIP;
		if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
			continue;
		if (info.entry.nr == SYS_close && (int)info.entry.args[0] <= MARK) {
			way = MARK - 1 - (int)info.entry.args[0];
			continue;
		}
		if (way >= 0 && way < WAYS)
			calls[way]++;
	}
}

static int count_calls(char **argv, uint64_t calls[WAYS])
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(counted_child(argv));
	return pid < 0 ? -1 : follow(pid, calls);
}

/* ---- output ------------------------------------------------------------------- */

static void emit(const char *figure, double value, const char *unit, const char *peer,
		 double peer_value, double ratio)
{
	printf("{\"bench\": \"acquire\", \"figure\": \"%s\", \"value\": %.4g, \"unit\": \"%s\", "
	       "\"peer\": \"%s\", \"peer_value\": %.4g, \"ratio\": %.4g}\n",
	       figure, value, unit, peer, peer_value, ratio);
}

static void emit_way(const char *prefix, enum way way, const double ns[WAYS],
		     const uint64_t calls[WAYS])
{
	char figure[64];
	double each = (double)calls[way] / COUNTED;

	snprintf(figure, sizeof(figure), "%sacquire_release_ns", prefix);
	emit(figure, ns[way], "ns", "atomic fetch_add/fetch_sub pair", ns[PAIR],
	     ns[way] / ns[PAIR]);
	snprintf(figure, sizeof(figure), "%sacquire_release_vs_ioctl", prefix);
	emit(figure, ns[way], "ns", "null ioctl", ns[IOCTL], ns[IOCTL] / ns[way]);
	snprintf(figure, sizeof(figure), "%ssyscalls_per_acquire", prefix);
	emit(figure, each, "calls", "null ioctl", (double)calls[IOCTL] / COUNTED,
	     each / ((double)calls[IOCTL] / COUNTED));
}

int main(int argc, char **argv)
{
	uint64_t calls[WAYS] = { 0 };
	double ns[WAYS];
	int r;

	if (argc != 1 && argc != 3) {
		fputs("usage: acquire [SOCKET MODEL]\n", stderr);
		return 2;
	}
	/* First: the library does not survive a fork. */
	r = count_calls(argv, calls);
	if (r == SKIP) {
		fputs("acquire: ptrace is not allowed here, system calls cannot be counted\n",
		      stderr);
		return SKIP;
	}
	if (r != 0) {
		fprintf(stderr, "acquire: the counted child failed (%d)\n", r);
		return 1;
	}
	if (calls[IOCTL] != COUNTED) {
		fprintf(stderr, "acquire: %" PRIu64 " of %d ioctls were counted\n", calls[IOCTL],
			COUNTED);
		return 1;
	}
	if (set_up(argv) < 0)
		return 1;
	measure(ns);
	if (layer)
		emit_way("", LIBRARY, ns, calls);
	emit_way("slot_", SLOT, ns, calls);
	tear_down();
	return 0;
}
