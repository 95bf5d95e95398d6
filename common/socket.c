// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "common/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/err.h"
#include "common/proto.h"

static int path_fits(int n, size_t size)
{
	return n < 0 || (size_t)n >= size ? err_origin(-ENAMETOOLONG) : 0;
}

int vram_socket_path_user(char *buf, size_t size)
{
	const char *dir = secure_getenv("XDG_RUNTIME_DIR");

	if (!dir || dir[0] != '/')
		return err_origin(-ENOENT);
	return path_fits(snprintf(buf, size, "%s/%s", dir, VRAM_SOCKET_USER), size);
}

int vram_socket_path(char *buf, size_t size)
{
	const char *env = secure_getenv("VRAM_SOCKET");

	if (env && *env)
		return path_fits(snprintf(buf, size, "%s", env), size);
	if (access(VRAM_SOCKET_SYSTEM, F_OK) != 0 && vram_socket_path_user(buf, size) == 0 &&
	    access(buf, F_OK) == 0)
		return 0;
	return path_fits(snprintf(buf, size, "%s", VRAM_SOCKET_SYSTEM), size);
}
