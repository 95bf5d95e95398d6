/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * metrics_listen: the numbers over HTTP, on an address of the machine itself.
 *
 * libmicrohttpd does the HTTP, without a thread: its epoll descriptor is watched by the daemon's loop, and it runs when that has
 * something or one of its times is over. What comes from there is hostile: anybody on the machine may connect, and a page in
 * anybody's browser may try to. So
 *   - only GET and HEAD of / and /metrics are answered, and only where Host is an address of the machine itself;
 *   - METRICS_CONNECTIONS connections at a time, one request each, METRICS_SECONDS in all, some KiB of headers;
 *   - the text is rendered anew at most so often that it takes a twentieth of the loop's time.
 * What is served does not say who uses what, unless the administrator wants it to (metrics.h).
 */
#ifndef VRAM_DAEMON_METRICS_LISTEN_H
#define VRAM_DAEMON_METRICS_LISTEN_H

#include "daemon/scheduler.h"

#define METRICS_CONNECTIONS 32u
#define METRICS_SECONDS	    5u

struct metrics_listen;

/*
 * Does what daemon.metrics_listen says. Return: 0 (*out is NULL if it says none), or -errno, which is in the log.
 */
int metrics_listen_new(struct metrics_listen **out, struct scheduler *s);
struct metrics_listen *metrics_listen_free(struct metrics_listen *l);

#endif
