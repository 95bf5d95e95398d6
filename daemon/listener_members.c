// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/listener_members.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include "common/cleanup.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59 /* Linux 4.13 */
#endif

/* Groups of a client that are looked at in the first try. */
#define GROUPS_GUESS 64u

void listener_members_find(struct listener_members *members, const char *group)
{
	const struct group *found = getgrnam(group);

	*members = (struct listener_members){ .exists = found };
	if (found)
		members->gid = found->gr_gid;
}

/* Besides the one in its credentials. */
static bool has_group(int fd, gid_t gid)
{
	socklen_t len = GROUPS_GUESS * sizeof(gid_t);
	_cleanup_free_ gid_t *gids = malloc(len);

	if (!gids)
		return false;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &len) < 0) {
		gid_t *more;

		/* len is what it takes. */
		if (errno != ERANGE)
			return false;
		more = realloc(gids, len);
		if (!more)
			return false;
		gids = more;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &len) < 0)
			return false;
	}
	for (size_t i = 0; i < len / sizeof(gid_t); i++)
		if (gids[i] == gid)
			return true;
	return false;
}

bool listener_members_let_in(const struct listener_members *members, int fd,
			     const struct ucred *peer)
{
	if (!members->exists || peer->uid == 0 || peer->uid == geteuid() ||
	    peer->gid == members->gid || has_group(fd, members->gid))
		return true;
	/* Reads a small file below /run/systemd/users. */
	return sd_uid_get_seats(peer->uid, 1, NULL) > 0;
}
