// SPDX-License-Identifier: GPL-2.0-only
#include "tests/kmod/waiter.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/device.h"

static volatile sig_atomic_t n_signals;

static void on_signal(int sig)
{
	(void)sig;
	n_signals++;
}

static void child(int fd, const struct vram_ioc_wait *arg, uint32_t flags, int report)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct waiter_report r = { 0 };
	struct vram_ioc_wait wait = *arg;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (flags & WAITER_RESTART)
		sa.sa_flags = SA_RESTART;
	if (flags)
		sigaction(SIGUSR1, &sa, NULL);
	/* The descriptor and the pipe only: a waiter must not keep an arbiter alive. */
	if (dup2(fd, 100) != 100 || dup2(report, 101) != 101 || close_range(3, 99, 0) ||
	    close_range(102, ~0u, 0))
		_exit(100);
	r.begin_ns = now_ns();
	r.ret = try_ioctl(100, VRAM_IOC_WAIT, &wait);
	r.end_ns = now_ns();
	r.signals = (uint32_t)n_signals;
	_exit(write(101, &r, sizeof(r)) == sizeof(r) ? 0 : 101);
}

void waiter_start(struct waiter *x, int fd, const struct vram_ioc_wait *arg, uint32_t flags)
{
	int report[2];

	ck_assert_int_eq(pipe(report), 0);
	x->pid = fork();
	ck_assert_int_ge(x->pid, 0);
	if (!x->pid)
		child(fd, arg, flags, report[1]);
	close(report[1]);
	x->report = report[0];
}

void waiter_on(struct waiter *x, int fd, uint32_t slot)
{
	struct vram_ioc_wait wait = { .dev = w.dev[0], .slot = slot, .deadline_ns = FOREVER };

	waiter_start(x, fd, &wait, 0);
}

bool waiter_is_asleep(const struct waiter *x)
{
	char path[64], text[256] = "";
	unsigned long nr = 0, fd = 0;
	FILE *f;

	/* "16 0x64 ...": in ioctl, on the descriptor. It says "running" of who is not asleep. */
	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)x->pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(text, sizeof(text), f))
		text[0] = 0;
	fclose(f);
	return sscanf(text, "%lu %lx", &nr, &fd) == 2 && nr == 16 && fd == 100;
}

void waiter_asleep(const struct waiter *x)
{
	EVENTUALLY(waiter_is_asleep(x));
}

bool waiter_is_back(const struct waiter *x, int timeout_ms)
{
	struct pollfd p = { .fd = x->report, .events = POLLIN };

	return poll(&p, 1, timeout_ms) > 0;
}

struct waiter_report waiter_end(struct waiter *x)
{
	struct waiter_report r = { 0 };
	int status;

	ck_assert_msg(waiter_is_back(x, 20000), "it waits for ever");
	ck_assert_msg(read(x->report, &r, sizeof(r)) == sizeof(r), "a waiter died");
	close(x->report);
	ck_assert_int_eq(waitpid(x->pid, &status, 0), x->pid);
	ck_assert_int_eq(status, 0);
	return r;
}

int waiter_result(struct waiter *x)
{
	return waiter_end(x).ret;
}

void waiter_kill(struct waiter *x)
{
	int status;

	ck_assert_int_eq(kill(x->pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(x->pid, &status, 0), x->pid);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %#x", status);
	close(x->report);
}
