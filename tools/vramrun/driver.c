// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramrun/driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"

/* What the child writes before its text. */
enum {
	FOUND = '+',
	NOT_FOUND = '-',
};

static void put(int fd, char kind, const char *text)
{
	char line[PATH_MAX + 1];
	int n = snprintf(line, sizeof(line), "%c%s", kind, text);

	if (n > 0)
		n = (int)write(fd, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
	_exit(n > 0 ? 0 : 1);
}

static void look(int fd)
{
	char path[PATH_MAX];
	struct link_map *map;
	void *driver;
	int null;

	/* It may have things to say. */
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0)
		dup2(null, STDERR_FILENO);
	driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
	if (!driver)
		put(fd, NOT_FOUND, dlerror());
	/* A vramrun in a vramrun whose environment was half cleared. */
	if (dlsym(driver, "vram_cuda_shim"))
		put(fd, NOT_FOUND, "libcuda.so.1 is vram's own library here");
	if (dlinfo(driver, RTLD_DI_LINKMAP, &map) || !realpath(map->l_name, path))
		put(fd, NOT_FOUND, "libcuda.so.1 has no path");
	put(fd, FOUND, path);
}

int driver_find(char *out, size_t size)
{
	_cleanup_close_ int from = -1;
	int pipes[2], status;
	char line[PATH_MAX + 2];
	size_t n = 0;
	ssize_t got;
	pid_t pid;

	snprintf(out, size, "cannot look for libcuda.so.1");
	if (pipe2(pipes, O_CLOEXEC))
		return -ENOENT;
	from = pipes[0];
	pid = fork();
	if (pid == 0)
		look(pipes[1]);
	close(pipes[1]);
	if (pid < 0)
		return -ENOENT;
	while (n < sizeof(line) - 1 && (got = read(from, line + n, sizeof(line) - 1 - n)) > 0)
		n += (size_t)got;
	line[n] = '\0';
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (n < 2) {
		snprintf(out, size, "libcuda.so.1 ends a program that loads it");
		return -ENOENT;
	}
	snprintf(out, size, "%s", line + 1);
	return line[0] == FOUND ? 0 : -ENOENT;
}
