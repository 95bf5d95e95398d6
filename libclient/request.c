// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * The conversation with the daemon: one question at a time, by whoever holds the client's lock.
 *
 * Between a question and its answer events may arrive; they are put aside and delivered when the lock is let go.
 * A connection that breaks, that answers nonsense, or that stays silent for ANSWER_S is lost: the socket
 * is closed, `lost` is set, and reconnect.c has the rest.
 */
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/err.h"
#include "common/fd.h"
#include "common/socket.h"
#include "libclient/cuda_state.h"

/* A daemon that does not answer for so long is taken for dead: nothing that it is asked takes long. */
#define ANSWER_S 60

void request_lose(struct vram_client *client, const char *text)
{
	struct vram_event event = { .kind = VRAM_EVENT_LOST, .text = text };

	if (client->lost)
		return;
	client->lost = true;
	admit_wake(client);
	if (client->sock >= 0)
		close(client->sock);
	client->sock = -1;
	if (!client->told_lost)
		client_add_event(client, &event);
	if (!client->told_lost && client->cuda && client->cuda->hooks.lost) {
		snprintf(client->cuda->lost_text, sizeof(client->cuda->lost_text), "%s", text);
		client->cuda->was_lost = true;
		watch_kick(client);
	}
	client->told_lost = true;
}

static void take_revoke(struct vram_client *client, const struct vram_msg_revoke *revoke)
{
	struct cuda_client *cuda = client->cuda;
	struct object *object;

	list_for_each(object, &client->objects, node) {
		struct vram_event event = { .kind = VRAM_EVENT_REVOKE };

		if (!object->layer_of || revoke->slot < object->slot_base ||
		    revoke->slot - object->slot_base >= object->n_layers)
			continue;
		if (cuda && cuda->hooks.revoke) {
			cuda_revoke_note(cuda, &object->slots[revoke->slot - object->slot_base],
					 revoke->deadline_ns);
			return;
		}
		event.layer = object->layer_of(object, revoke->slot - object->slot_base);
		event.deadline_ns = revoke->deadline_ns;
		client_add_event(client, &event);
		return;
	}
}

static int take_reclaim(struct vram_client *client, const char *body, size_t body_bytes)
{
	struct vram_msg_reclaim reclaim;

	if (body_bytes < sizeof(reclaim))
		return -EPROTO;
	memcpy(&reclaim, body, sizeof(reclaim));
	if (reclaim.n > VRAM_CHUNKS_PER_MSG ||
	    body_bytes != sizeof(reclaim) + reclaim.n * sizeof(uint64_t))
		return -EPROTO;
	/* It comes to those who have attached; without memory for it the daemon's deadline decides. */
	if (client->cuda)
		cuda_reclaim_note(client->cuda, (const uint64_t *)(body + sizeof(reclaim)),
				  reclaim.n);
	return 0;
}

/* An event in client->rx, or the answer to an ADMIT, which comes like one. Return: 0, -ENOTCONN after a GOODBYE, -EPROTO. */
static int take_event(struct vram_client *client)
{
	const struct vram_msg_hdr *hdr = (const void *)client->rx;
	const void *body = client->rx + sizeof(*hdr);
	size_t body_bytes = hdr->size - sizeof(*hdr);
	struct vram_msg_error goodbye;
	struct vram_msg_revoke revoke;

	switch (hdr->type) {
	case VRAM_MSG_REVOKE:
		if (body_bytes != sizeof(revoke))
			return -EPROTO;
		memcpy(&revoke, body, sizeof(revoke));
		take_revoke(client, &revoke);
		return 0;
	case VRAM_MSG_RECLAIM:
		return take_reclaim(client, body, body_bytes);
	case VRAM_MSG_ADMIT | VRAM_MSG_REPLY:
		return admit_take(client, hdr, body, body_bytes);
	case VRAM_MSG_GOODBYE:
		if (body_bytes != sizeof(goodbye))
			return -EPROTO;
		memcpy(&goodbye, body, sizeof(goodbye));
		goodbye.text[sizeof(goodbye.text) - 1] = '\0';
		request_lose(client, goodbye.text);
		return -ENOTCONN;
	default:
		/* A newer daemon may have events that we need not know. */
		return 0;
	}
}

/*
 * One packet into client->rx, its size checked. Return: 0, -EAGAIN (DONTWAIT only), -ENOTCONN,
 * -EPROTO.
 */
static int receive(struct vram_client *client, int flags, int *fds, size_t *n_fds)
{
	const struct vram_msg_hdr *hdr = (const void *)client->rx;
	ssize_t n;

	n = fd_recv(client->sock, client->rx, VRAM_MSG_MAX, fds, FD_MSG_MAX, n_fds, flags);
	/* Said once, and ahead of what is queued: the daemon's GOODBYE may be behind it. */
	if (n == -ECONNRESET)
		n = fd_recv(client->sock, client->rx, VRAM_MSG_MAX, fds, FD_MSG_MAX, n_fds, flags);
	if (n == -EAGAIN && (flags & MSG_DONTWAIT))
		return -EAGAIN;
	if (n == -EMSGSIZE)
		return -EPROTO;
	if (n <= 0)
		return -ENOTCONN;
	if ((size_t)n < sizeof(*hdr) || hdr->size != (size_t)n) {
		fd_close_all(fds, *n_fds);
		return -EPROTO;
	}
	return 0;
}

static int lose_for(struct vram_client *client, int r)
{
	request_lose(client, r == -EPROTO ? "the daemon broke the protocol" : "");
	return err_origin(r);
}

int request_poll(struct vram_client *client)
{
	int fds[FD_MSG_MAX];
	size_t n_fds;
	int r;

	while (!client->lost) {
		r = receive(client, MSG_DONTWAIT, fds, &n_fds);
		if (r == -EAGAIN)
			return 0;
		if (r == 0) {
			fd_close_all(fds, n_fds);
			r = take_event(client);
		}
		if (r == -EPROTO)
			r = lose_for(client, r);
		else if (r < 0)
			request_lose(client, "");
	}
	return -ENOTCONN;
}

static int post(struct vram_client *client, uint32_t type, uint32_t seq, const void *body,
		size_t body_bytes, const void *more, size_t more_bytes, int fd)
{
	struct vram_msg_hdr hdr = {
		.type = type,
		.size = (uint32_t)(sizeof(hdr) + body_bytes + more_bytes),
		.seq = seq,
	};
	int r;

	if (client->lost)
		return -ENOTCONN;
	memcpy(client->tx, &hdr, sizeof(hdr));
	if (body_bytes)
		memcpy(client->tx + sizeof(hdr), body, body_bytes);
	if (more_bytes)
		memcpy(client->tx + sizeof(hdr) + body_bytes, more, more_bytes);
	r = fd_send(client->sock, client->tx, hdr.size, fd >= 0 ? &fd : NULL, fd >= 0 ? 1 : 0, 0);
	if (r < 0) {
		/* The reason of the end may be waiting to be read. */
		if (request_poll(client) == 0)
			request_lose(client, "");
		return -ENOTCONN;
	}
	return 0;
}

int request_post(struct vram_client *client, uint32_t type, const void *body, size_t body_bytes,
		 const void *more, size_t more_bytes)
{
	return post(client, type, 0, body, body_bytes, more, more_bytes, -1);
}

static uint32_t next_seq(struct vram_client *client)
{
	if (++client->seq == 0)
		client->seq = 1;
	return client->seq;
}

int request_ask(struct vram_client *client, uint32_t type, const void *body, size_t body_bytes,
		uint32_t *out_seq)
{
	*out_seq = next_seq(client);
	return post(client, type, *out_seq, body, body_bytes, NULL, 0, -1);
}

static int send_extents(struct vram_client *client, uint32_t seq,
			const struct vram_msg_extent *extents, uint32_t n)
{
	while (n > 0) {
		struct vram_msg_extents head = {
			.n = n < VRAM_EXTENTS_PER_MSG ? n : VRAM_EXTENTS_PER_MSG,
		};
		int r = post(client, VRAM_MSG_EXTENTS, seq, &head, sizeof(head), extents,
			     head.n * sizeof(*extents), -1);

		if (r < 0)
			return r;
		extents += head.n;
		n -= head.n;
	}
	return 0;
}

/* The reply in client->rx. Return: 0, the daemon's error, -EPROTO. */
static int take_reply(struct vram_client *client, const struct request *request, int *fds,
		      size_t n_fds)
{
	const struct vram_msg_hdr *hdr = (const void *)client->rx;
	size_t body_bytes = hdr->size - sizeof(*hdr);
	struct vram_msg_error error;
	size_t want;

	if (hdr->error) {
		fd_close_all(fds, n_fds);
		if (hdr->error > 0 || hdr->error < -4095 || body_bytes != sizeof(error))
			return -EPROTO;
		memcpy(&error, client->rx + sizeof(*hdr), sizeof(error));
		error.text[sizeof(error.text) - 1] = '\0';
		return client_fail(client_errno(hdr->error), "%s", error.text);
	}
	want = !request->out_fd ? 0 : request->n_fds ? request->n_fds : 1;
	if (body_bytes != request->reply_bytes ||
	    (n_fds != want && !(n_fds == 0 && request->may_lack_fd))) {
		fd_close_all(fds, n_fds);
		return -EPROTO;
	}
	if (body_bytes)
		memcpy(request->reply, client->rx + sizeof(*hdr), body_bytes);
	for (size_t i = 0; i < want; i++)
		request->out_fd[i] = i < n_fds ? fds[i] : -1;
	return 0;
}

int request_call(struct vram_client *client, const struct request *request)
{
	const struct vram_msg_hdr *hdr = (const void *)client->rx;
	int fds[FD_MSG_MAX];
	uint32_t seq;
	size_t n_fds;
	int r;

	seq = next_seq(client);
	r = post(client, request->type, seq, request->body, request->body_bytes, request->more,
		 request->more_bytes, request->fd);
	if (r == 0)
		r = send_extents(client, seq, request->extents, request->n_extents);
	if (r < 0)
		return client_fail(r, "the connection to vramd was lost");
	for (;;) {
		r = receive(client, 0, fds, &n_fds);
		if (r == 0 && (!(hdr->type & VRAM_MSG_REPLY) ||
			       hdr->type == (VRAM_MSG_ADMIT | VRAM_MSG_REPLY))) {
			fd_close_all(fds, n_fds);
			r = take_event(client);
			if (r == 0)
				continue;
		}
		if (r < 0)
			break;
		if (hdr->type != (request->type | VRAM_MSG_REPLY) || hdr->seq != seq) {
			fd_close_all(fds, n_fds);
			r = -EPROTO;
			break;
		}
		r = take_reply(client, request, fds, n_fds);
		if (r != -EPROTO)
			return r;
		break;
	}
	client_fail(r,
		    r == -EPROTO ? "vramd broke the protocol" : "the connection to vramd was lost");
	return lose_for(client, r);
}

static int connect_socket(struct vram_client *client, int *out_sock)
{
	struct timeval limit = { .tv_sec = ANSWER_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock, r;

	_Static_assert(sizeof(addr.sun_path) >= VRAM_SOCKET_PATH_MAX, "a path must fit");
	if (client->path)
		r = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", client->path) >=
				    (int)sizeof(addr.sun_path) ?
			    -ENAMETOOLONG :
			    0;
	else
		r = vram_socket_path(addr.sun_path, sizeof(addr.sun_path));
	if (r < 0)
		return client_fail(-EINVAL, "the path of the socket is too long");
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return client_fail(-ENOMEM, "no socket: %s", err_text(errno));
	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(sock, (struct sockaddr *)&addr, sizeof(addr))) {
		r = errno == EACCES || errno == EPERM ? -EACCES : -ENOTCONN;
		client_fail(r, "cannot reach vramd at %s: %s", addr.sun_path, err_text(errno));
		close(sock);
		return r;
	}
	*out_sock = sock;
	return 0;
}

/* Whether the answer to HELLO fits what was asked, and what came beside it. */
static bool check_hello(const struct vram_client *client, int table_fd)
{
	const struct vram_msg_hello_reply *hello = &client->hello;
	bool device = hello->flags & VRAM_HELLO_REPLY_DEVICE;

	if (hello->version != VRAM_PROTO_VERSION || hello->n_slots == 0)
		return false;
	if (device)
		return table_fd < 0 && client->device && hello->n_slots <= client->device->n_slots;
	return table_fd >= 0;
}

/* What the daemon has said, and what of our own may be the reason for it. */
static int refused(const struct vram_client *client, int r)
{
	char text[256];

	if (!client->device_note[0])
		return r;
	snprintf(text, sizeof(text), "%s", vram_error_text());
	switch (client->device_error) {
	case EMFILE:
	case EDQUOT:
	case ENOMEM:
		/* Where all clients of a user connect anew, some have room when others have given theirs back. */
		r = client->generation ? -ENOTCONN : client_errno(-client->device_error);
		break;
	}
	return client_fail(r, "%s (%s)", text, client->device_note);
}

/* Who listens: with a socket that somebody else has opened for the daemons it is always the same process. */
static void note_peer(struct vram_client *client, int sock)
{
	struct ucred peer = { 0 };
	socklen_t size = sizeof(peer);

	getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	client->peer_pid = peer.pid;
	client->same_daemon = peer.pid <= 0 || peer.pid == client->daemon_pid;
}

int request_connect(struct vram_client *client, int *out_table_fd)
{
	struct vram_msg_hello hello = {
		.version = VRAM_PROTO_VERSION,
		.flags = client->hello_flags,
	};
	struct request request = {
		.type = VRAM_MSG_HELLO,
		.body = &hello,
		.body_bytes = sizeof(hello),
		.fd = -1,
		.reply = &client->hello,
		.reply_bytes = sizeof(client->hello),
		.out_fd = out_table_fd,
		.may_lack_fd = true,
	};
	struct epoll_event interest = { .events = EPOLLIN | EPOLLRDHUP };
	int sock = -1, r;

	memcpy(hello.name, client->name, sizeof(hello.name));
	r = connect_socket(client, &sock);
	if (r < 0)
		return r;
	note_peer(client, sock);
	client->sock = sock;
	client->lost = false;
	client->uffd_sent = false;
	device_renew(client);
	if (client->device) {
		hello.flags |= VRAM_HELLO_DEVICE;
		request.fd = client->device->fd;
	}
	r = request_call(client, &request);
	if (r < 0) {
		if (client->lost)
			return r;
		request_lose(client, "");
		return refused(client, r);
	}
	if (!check_hello(client, *out_table_fd)) {
		if (*out_table_fd >= 0)
			close(*out_table_fd);
		request_lose(client, "");
		return client_fail(-EPROTO, "vramd answered HELLO with nonsense");
	}
	if (!(client->hello.flags & VRAM_HELLO_REPLY_DEVICE))
		device_leave(client);
	epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, sock, &interest);
	return 0;
}
