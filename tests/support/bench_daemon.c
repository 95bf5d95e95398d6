// SPDX-License-Identifier: GPL-2.0-only
#include "tests/support/bench_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void bench_pin(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(pid, sizeof(set), &set);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t bench_median(uint64_t *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare);
	return values[n / 2];
}

static bool answers(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	bool ok;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	ok = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;
	close(fd);
	return ok;
}

int bench_daemon_start(struct bench_daemon *d, const char *const *settings)
{
	const char *build = getenv("VRAM_BUILD");
	const char *argv[32];
	char program[4096];
	int n = 0;

	snprintf(d->dir, sizeof(d->dir), "/tmp/vram-bench-XXXXXX");
	if (!mkdtemp(d->dir))
		return -errno;
	snprintf(d->socket, sizeof(d->socket), "%s/sock", d->dir);
	snprintf(program, sizeof(program), "%s/vramd", build ? build : "build");
	argv[n++] = program;
	argv[n++] = "--user";
	argv[n++] = "--socket";
	argv[n++] = d->socket;
	/* Also where there is a card; what measures cards says so in its settings. */
	argv[n++] = "--set";
	argv[n++] = "device.kind=host";
	for (; *settings && n < 30; settings++) {
		argv[n++] = "--set";
		argv[n++] = *settings;
	}
	argv[n] = NULL;
	d->pid = fork();
	if (d->pid == 0) {
		char log[128];
		int fd;

		snprintf(log, sizeof(log), "%s/log", d->dir);
		fd = open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		dup2(fd, 2);
		setenv("XDG_RUNTIME_DIR", d->dir, 1);
		setenv("XDG_CONFIG_HOME", d->dir, 1);
		execv(program, (char *const *)argv);
		_exit(127);
	}
	for (int i = 0; i < 500; i++) {
		if (answers(d->socket))
			return 0;
		if (waitpid(d->pid, NULL, WNOHANG) == d->pid)
			return -ECHILD;
		usleep(10000);
	}
	return -ETIMEDOUT;
}

void bench_daemon_stop(struct bench_daemon *d)
{
	char path[128];

	kill(d->pid, SIGTERM);
	waitpid(d->pid, NULL, 0);
	snprintf(path, sizeof(path), "%s/log", d->dir);
	unlink(path);
	unlink(d->socket);
	snprintf(path, sizeof(path), "%s.lock", d->socket);
	unlink(path);
	rmdir(d->dir);
}

uint64_t bench_daemon_rss(const struct bench_daemon *d)
{
	uint64_t kb = 0;
	char line[256];
	FILE *f;

	snprintf(line, sizeof(line), "/proc/%d/status", (int)d->pid);
	f = fopen(line, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %lu kB", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb * 1024;
}

void bench_json(const char *bench, const char *figure, double value, const char *unit,
		const char *peer, double peer_value)
{
	printf("{\"bench\":\"%s\",\"figure\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"peer\":\"%s\","
	       "\"peer_value\":%.6g,\"ratio\":%.4g}\n",
	       bench, figure, value, unit, peer, peer_value, peer_value ? value / peer_value : 0.0);
	fflush(stdout);
}
