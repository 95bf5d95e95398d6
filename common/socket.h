/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/* Where the daemon's socket is: the rule that the library and the tools share. */
#ifndef VRAM_COMMON_SOCKET_H
#define VRAM_COMMON_SOCKET_H

#include <stddef.h>

/* Room for every path that a socket can have. */
#define VRAM_SOCKET_PATH_MAX 108

/*
 * $VRAM_SOCKET if it is set and not empty; else the system's socket if it exists; else the user's,
 * below $XDG_RUNTIME_DIR, if that exists; else the system's. The environment does not count in
 * set-user-ID programs.
 * Return: 0, or -ENAMETOOLONG.
 */
int vram_socket_path(char *buf, size_t size);

/* The socket of `vramd --user`. Return: 0, -ENOENT without XDG_RUNTIME_DIR, or -ENAMETOOLONG. */
int vram_socket_path_user(char *buf, size_t size);

#endif
