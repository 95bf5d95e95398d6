/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who may be a client where everybody can reach the socket, as with the one that systemd passes: root, the daemon's
 * own user, members of the group `vram`, and users who sit at the machine, that is have the foreground session
 * of a seat; the same as may open /dev/vram by its rule (60-vram.rules). Without such a group everybody may.
 */
#ifndef VRAM_DAEMON_LISTENER_MEMBERS_H
#define VRAM_DAEMON_LISTENER_MEMBERS_H

#include <stdbool.h>
#include <sys/socket.h>

#define LISTENER_GROUP "vram"

/* gid: of the group that this is about. */
struct listener_members {
	bool exists;
	gid_t gid;
};

/* Asks the name services, which may take a while: once, at the start. */
void listener_members_find(struct listener_members *members, const char *group);
/* fd: the connection, which knows the groups that the client had when it connected. */
bool listener_members_let_in(const struct listener_members *members, int fd,
			     const struct ucred *peer);

#endif
