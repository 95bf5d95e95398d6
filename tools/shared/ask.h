/* SPDX-License-Identifier: GPL-2.0-only */
/* One question to the daemon: connect, greet, ask, take the answer. */
#ifndef VRAM_TOOLS_SHARED_ASK_H
#define VRAM_TOOLS_SHARED_ASK_H

#include <jansson.h>
#include <stdbool.h>

/*
 * ask() - request is an ADMIN request; path may be NULL for the default socket. Errors are reported
 * on stderr, but for a daemon that is not there if `quiet`.
 * Return: 0 with the answer, the caller's; -ENOENT if no daemon listens; another -errno.
 */
int ask(const char *path, const json_t *request, bool quiet, json_t **out_answer);

#endif
