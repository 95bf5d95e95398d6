// SPDX-License-Identifier: GPL-2.0-only
#include "tools/vramrun/device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/proto.h"
#include "common/socket.h"

/* A program is not held up for longer by a daemon that does not answer. */
#define ANSWER_S 5

static int connect_to(const char *path)
{
	struct timeval limit = { .tv_sec = ANSWER_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int sock = -1;
	int r;

	if (path)
		r = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path) >=
				    (int)sizeof(addr.sun_path) ?
			    -ENAMETOOLONG :
			    0;
	else
		r = vram_socket_path(addr.sun_path, sizeof(addr.sun_path));
	if (r < 0)
		return r;
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(sock, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	r = sock;
	sock = -1;
	return r;
}

int device_kind(const char *path)
{
	/* An administrator's session: it takes no table, and nobody sees it as a client. */
	const struct {
		struct vram_msg_hdr hdr;
		struct vram_msg_hello body;
	} hello = {
		.hdr = { .type = VRAM_MSG_HELLO, .size = sizeof(hello), .seq = 1 },
		.body = { .version = VRAM_PROTO_VERSION,
			  .flags = VRAM_HELLO_ADMIN,
			  .name = "vramrun" },
	};
	struct {
		struct vram_msg_hdr hdr;
		struct vram_msg_hello_reply body;
	} reply;
	_cleanup_close_ int sock = connect_to(path);
	int fds[VRAM_MSG_MAX_FDS];
	size_t n_fds = 0;
	ssize_t n;

	if (sock < 0)
		return sock;
	n = fd_send(sock, &hello, sizeof(hello), NULL, 0, 0);
	if (n >= 0)
		n = fd_recv(sock, &reply, sizeof(reply), fds, VRAM_MSG_MAX_FDS, &n_fds, 0);
	if (n < 0)
		return (int)n;
	fd_close_all(fds, n_fds);
	if (n != sizeof(reply) || reply.hdr.type != (VRAM_MSG_HELLO | VRAM_MSG_REPLY) ||
	    reply.hdr.error)
		return -EPROTO;
	return (int)reply.body.device_kind;
}
