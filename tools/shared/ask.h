/* SPDX-License-Identifier: GPL-2.0-only */
/* One question to the daemon: connect, greet, ask, take the answer. */
#ifndef VRAM_TOOLS_SHARED_ASK_H
#define VRAM_TOOLS_SHARED_ASK_H

#include <jansson.h>
#include <stdbool.h>

/* Room for why there is no answer. */
#define ASK_WHY_MAX 2048

/*
 * ask() - request is an ADMIN request; path may be NULL for the default socket. Errors are reported
 * on stderr, but for a daemon that is not there if `quiet`.
 * Return: 0 with the answer, the caller's; -ENOENT if no daemon listens; another -errno.
 */
int ask(const char *path, const json_t *request, bool quiet, json_t **out_answer);

/*
 * The same, and nothing is printed: what is wrong is in `why`. For any thread. -EINPROGRESS: the daemon is still asking a
 * name service, which ask() waits for.
 */
int ask_why(const char *path, const json_t *request, char why[ASK_WHY_MAX], json_t **out_answer);

#endif
