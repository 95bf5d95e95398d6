/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One client: its socket, its residency table, its objects.
 *
 * A client is hostile until proven otherwise, and nothing proves it: every message must have exactly
 * the size and the descriptors of its type, every number is checked, everything that
 * costs memory is counted against `limits.*`. A message that breaks the rules ends the session, with the reason
 * in the log and in a GOODBYE; a request that merely cannot be met gets an error and the session goes on.
 *
 * It is the scheduler's only from HELLO on, and only if it is a client: administrators hold nothing. Who a client
 * is the kernel says: by the socket, or where the kernel module is the arbiter by the client's descriptor of it.
 *
 * A session is freed by the loop after the turn in which it failed, never inside a callback, so that callers up
 * the stack may still hold it.
 */
#ifndef VRAM_DAEMON_SESSION_H
#define VRAM_DAEMON_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "daemon/scheduler.h"

struct session;

/* Answers an ADMIN request with a descriptor to read. Return: 0 or -errno (for the reply's header). */
typedef int session_admin_fn(struct scheduler *s, const struct ucred *peer, const char *json,
			     size_t len, int *out_fd);
void session_set_admin(session_admin_fn *fn);
/* Called after a session was freed; for whoever counts them. */
typedef void session_gone_fn(void *ctx, uid_t uid);
void session_set_gone(session_gone_fn *fn, void *ctx);

/* How many there are, of every kind; and of them those whose sockets are a user's. */
size_t sessions_count(void);
size_t sessions_count_user(uid_t uid);

/* fd and pidfd (may be -1) are taken, also on failure. Return: 0 or -errno. */
int session_new(struct scheduler *s, int fd, const struct ucred *peer, int pidfd,
		struct session **out);

/* Ends every session at once; nothing is left to the loop. */
void sessions_stop(const char *reason);

#endif
