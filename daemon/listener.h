/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon's socket: making it, keeping a second daemon off it, accepting clients.
 *
 * Who may connect. The system's socket is open to every local user (0666), because being a client
 * gives nothing away: who a client is comes from the kernel (SO_PEERCRED), what it may use is
 * limited per user, and what it may read it proves with a descriptor of its own. An administrator
 * who wants fewer clients creates the group `vram`: then the socket is 0660 and the group's. A
 * private daemon's socket is 0600 in a directory of mode 0700.
 *
 * One daemon a socket. A lock file beside it is held for the daemon's life; who has the lock may
 * replace a socket that a dead daemon left, if nothing answers there. The lock file stays: removing
 * it would let two daemons hold two different files of one name.
 *
 * A socket that systemd passes is used as it is, and left alone at the end. Its unit opens it to every local
 * user; who of them may be a client is listener_members.h's, which can say what is missing, as a mode cannot.
 */
#ifndef VRAM_DAEMON_LISTENER_H
#define VRAM_DAEMON_LISTENER_H

#include <stdbool.h>
#include <sys/socket.h>

struct listener;
struct log_bound;
struct loop;

/*
 * A client has connected. fd is non-blocking, pidfd is the client's process or -1 if it is gone.
 * Return: NULL if both were taken, also when the session failed later on; else why the client is
 * refused: it is told so and both are closed. *out_bound is set then.
 */
typedef const char *listener_fn(void *owner, int fd, const struct ucred *peer, int pidfd,
				struct log_bound *out_bound);

/*
 * listener_new() - private: the modes of `vramd --user`. Return: 0, or -errno with the reason
 * logged.
 */
int listener_new(struct listener **out, struct loop *loop, const char *path, bool private,
		 listener_fn *fn, void *owner);
/*
 * Accepts no more, and removes the socket so that clients find nobody rather than nobody answering.
 */
void listener_stop(struct listener *listener);
struct listener *listener_free(struct listener *listener);

/* Where it listens, for messages. */
const char *listener_path(const struct listener *listener);

#endif
