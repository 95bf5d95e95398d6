// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tests/support/vramd.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* Two folders above the program: build/tests/SUITE/NAME. */
void vramd_build_path(char *out, size_t size, const char *name)
{
	const char *env = getenv("VRAM_BUILD");
	char self[PATH_MAX];
	ssize_t n;

	if (env) {
		snprintf(out, size, "%s/%s", env, name);
		return;
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = '\0';
	for (int i = 0; i < 3; i++) {
		char *slash = strrchr(self, '/');

		if (slash)
			*slash = '\0';
	}
	snprintf(out, size, "%.3900s/%s", self, name);
}

static char base[64];

void vramd_cleanup(void)
{
	char command[128];

	if (getenv("VRAM_TEST_KEEP"))
		return;
	snprintf(command, sizeof(command), "rm -rf '%s'", base);
	if (!base[0] || system(command))
		printf("cannot remove %s\n", base);
}

bool vramd_wants_module(void)
{
	const char *arbiter = getenv("VRAM_ARBITER");

	return arbiter && strcmp(arbiter, "kmod") == 0;
}

bool vramd_wants_card(void)
{
	const char *device = getenv("VRAM_DEVICE");

	return device && strcmp(device, "cuda") == 0;
}

static bool has_userfaultfd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		printf("userfaultfd is not permitted here: %s\n", strerror(errno));
	else
		close(fd);
	return fd >= 0;
}

bool vramd_usable(void)
{
	const char *tmp = getenv("VRAM_TEST_DISK"), *arbiter = getenv("VRAM_ARBITER");
	char path[PATH_MAX];

	if (arbiter && *arbiter && strcmp(arbiter, "kmod") && strcmp(arbiter, "local")) {
		printf("VRAM_ARBITER is kmod or local, not %s\n", arbiter);
		exit(1);
	}
	if (vramd_wants_module() && access("/dev/vram", R_OK | W_OK)) {
		printf("VRAM_ARBITER=kmod, but no /dev/vram: %s\n", strerror(errno));
		return false;
	}
	vramd_build_path(path, sizeof(path), "vramd");
	if (access(path, X_OK)) {
		printf("no vramd at %s\n", path);
		return false;
	}
	if (!vramd_wants_card() && !has_userfaultfd())
		return false;
	/* On a disk, and with a short name: a socket's has 107 bytes. */
	snprintf(base, sizeof(base), "%s/vram-test-XXXXXX",
		 tmp && strlen(tmp) < 40 ? tmp : "/var/tmp");
	if (!mkdtemp(base)) {
		printf("cannot make %s: %s\n", base, strerror(errno));
		return false;
	}
	return true;
}

void vramd_init(struct vramd *d, const char *budget)
{
	memset(d, 0, sizeof(*d));
	d->budget = budget;
	snprintf(d->dir, sizeof(d->dir), "%s/XXXXXX", base);
	ck_assert_ptr_nonnull(mkdtemp(d->dir));
	snprintf(d->socket, sizeof(d->socket), "%s/s", d->dir);
}

/*
 * How often a daemon has said that it listens. Connecting would prove nothing: the socket of one that was killed
 * can answer for a while longer, until the kernel has undone its io_uring.
 */
static unsigned int count_starts(const char *log)
{
	unsigned int n = 0;
	char line[512];
	FILE *f = fopen(log, "re");

	while (f && fgets(line, sizeof(line), f))
		n += strstr(line, "listening on") != NULL;
	if (f)
		fclose(f);
	return n;
}

/* "kmod", "local", or "" for whatever the daemon finds. */
static const char *arbiter_of(const struct vramd *d)
{
	const char *arbiter = d->arbiter ? d->arbiter : getenv("VRAM_ARBITER");

	return arbiter ? arbiter : "";
}

/* The tests would pass over the wrong arbiter, too. */
static void check_arbiter(const struct vramd *d)
{
	bool module = strcmp(arbiter_of(d), "kmod") == 0;
	char vramctl[PATH_MAX], command[PATH_MAX + 256], text[2048];
	size_t n;
	FILE *f;

	vramd_build_path(vramctl, sizeof(vramctl), "vramctl");
	snprintf(command, sizeof(command), "'%s' --socket '%s' status", vramctl, d->socket);
	f = popen(command, "re");
	ck_assert_ptr_nonnull(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	ck_assert_msg(pclose(f) == 0, "%s failed", command);
	ck_assert_msg((strstr(text, "arbiter: /dev/vram") != NULL) == module,
		      "this is not the arbiter that the test is for:\n%s", text);
}

/* The options that say who keeps the ledger. Return: how many were put there. */
static int arbiter_options(const struct vramd *d, const char **argv)
{
	static char swap[128];
	const char *arbiter = arbiter_of(d);
	int n = 0;

	if (strcmp(arbiter, "kmod")) {
		if (!d->for_all)
			argv[n++] = "--user";
		if (*arbiter || d->for_all) {
			argv[n++] = "--set";
			argv[n++] = "arbiter.use=local";
		}
		if (!d->for_all)
			return n;
	} else {
		argv[n++] = "--set";
		argv[n++] = "arbiter.use=module";
	}
	/* The machine's daemon, but for its places: the socket's is always given. */
	snprintf(swap, sizeof(swap), "swap.path=%s", d->dir);
	argv[n++] = "--set";
	argv[n++] = swap;
	return n;
}

static int device_options(const char **argv)
{
	static const char *const card[] = { "--set", "device.kind=cuda",
					    "--set", "device.reserve=0",
					    "--set", "device.host_budget=64M" };
	/* Also where there is a card. */
	static const char *const host[] = { "--set", "device.kind=host" };
	int n = vramd_wants_card() ? 6 : 2;

	for (int i = 0; i < n; i++)
		argv[i] = vramd_wants_card() ? card[i] : host[i];
	return n;
}

void vramd_start(struct vramd *d)
{
	pid_t parent = getpid();
	char path[PATH_MAX], log[128];
	unsigned int before;

	vramd_build_path(path, sizeof(path), "vramd");
	snprintf(log, sizeof(log), "%s/log", d->dir);
	before = count_starts(log);
	/* So that others come to the socket. */
	if (d->for_all && (chmod(base, 0711) || chmod(d->dir, 0711)))
		ck_abort_msg("%s cannot be opened to others", d->dir);
	d->pid = fork();
	/* Nothing of Check in the child: another thread may have had its lock. */
	if (d->pid == 0) {
		int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		const char *argv[64] = {
			path,	 "--socket",	   d->socket, "--budget",	  d->budget,
			"--set", "swap.size=256M", "--set",   "device.chunk=256K"
		};
		int n = 9;

		/* A test that fails must not leave it behind. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		dup2(fd, 1);
		dup2(fd, 2);
		setenv("XDG_RUNTIME_DIR", d->dir, 1);
		setenv("XDG_STATE_HOME", d->dir, 1);
		n += arbiter_options(d, argv + n);
		n += device_options(argv + n);
		for (int i = 0; d->settings[i]; i++) {
			argv[n++] = "--set";
			argv[n++] = d->settings[i];
		}
		execv(path, (char *const *)(void *)argv);
		_exit(127);
	}
	ck_assert_int_ge(d->pid, 0);
	for (int i = 0; i < 2000 && count_starts(log) == before; i++) {
		if (waitpid(d->pid, NULL, WNOHANG) != 0)
			ck_abort_msg("vramd did not start: see %s", log);
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	ck_assert_uint_gt(count_starts(log), before);
	if (*arbiter_of(d))
		check_arbiter(d);
}

void vramd_signal(struct vramd *d, int sig)
{
	ck_assert_int_eq(kill(d->pid, sig), 0);
	ck_assert_int_eq(waitpid(d->pid, NULL, 0), d->pid);
	d->pid = 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

void vramd_deinit(struct vramd *d)
{
	if (d->pid > 0)
		vramd_signal(d, SIGKILL);
	if (getenv("VRAM_TEST_KEEP"))
		return;
	/* Now, not at the program's end: the disk may be a small one. */
	nftw(d->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *vramd_make_file(struct vramd *d, const char *name, uint64_t bytes, uint64_t seed)
{
	static char path[160];
	static uint64_t block[8192];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", d->dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ck_assert_int_ge(fd, 0);
	for (uint64_t at = 0; at < bytes; at += sizeof(block)) {
		size_t len = bytes - at < sizeof(block) ? bytes - at : sizeof(block);

		for (size_t i = 0; i < sizeof(block) / 8; i++)
			block[i] = vramd_word(at + i * 8, seed);
		ck_assert_int_eq(write(fd, block, len), (ssize_t)len);
	}
	close(fd);
	return path;
}

uint64_t vramd_wrong(const void *p, uint64_t bytes, uint64_t offset, uint64_t seed)
{
	const uint64_t *words = p;
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < bytes / 8; i++)
		wrong += words[i] != vramd_word(offset + i * 8, seed);
	return wrong;
}
