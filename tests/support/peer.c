// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tests/support/peer.h"

#include <check.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Until a peer is given up: nothing that works takes so long. */
#define ANSWER_MS 60000

struct order {
	peer_fn *fn;
	uint64_t a, b;
};

static void become(uid_t uid)
{
	const struct group *group = getgrnam("vram");
	gid_t gid = group ? group->gr_gid : 0;

	if (uid == 0)
		return;
	/* The socket is for that group, where there is one. */
	if (setgroups(group ? 1 : 0, &gid) || setgid(uid) || setuid(uid))
		_exit(99);
}

static void live(int fd)
{
	struct order order;
	int64_t result;

	while (read(fd, &order, sizeof(order)) == sizeof(order) && order.fn) {
		result = order.fn(order.a, order.b);
		if (write(fd, &result, sizeof(result)) != sizeof(result))
			break;
	}
}

struct peer peer_start(uid_t uid)
{
	pid_t parent = getpid();
	struct peer peer;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	fflush(NULL);
	peer.pid = fork();
	ck_assert_int_ge(peer.pid, 0);
	if (peer.pid == 0) {
		close(pair[0]);
		become(uid);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			live(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	peer.fd = pair[0];
	return peer;
}

void peer_tell(const struct peer *peer, peer_fn *fn, uint64_t a, uint64_t b)
{
	const struct order order = { .fn = fn, .a = a, .b = b };

	ck_assert_msg(send(peer->fd, &order, sizeof(order), MSG_NOSIGNAL) == sizeof(order),
		      "peer %d is gone", (int)peer->pid);
}

bool peer_answer(const struct peer *peer, int64_t *out)
{
	struct pollfd pollfd = { .fd = peer->fd, .events = POLLIN };

	ck_assert_msg(poll(&pollfd, 1, ANSWER_MS) == 1, "no answer from peer %d", (int)peer->pid);
	return read(peer->fd, out, sizeof(*out)) == sizeof(*out);
}

int64_t peer_ask(const struct peer *peer, peer_fn *fn, uint64_t a, uint64_t b)
{
	int64_t result;

	peer_tell(peer, fn, a, b);
	ck_assert_msg(peer_answer(peer, &result), "peer %d has died", (int)peer->pid);
	return result;
}

int peer_end(struct peer *peer, int sig)
{
	const struct order end = { 0 };

	/* Closing the socket would not do: later peers have inherited it. */
	if (sig)
		ck_assert_int_eq(kill(peer->pid, sig), 0);
	else
		send(peer->fd, &end, sizeof(end), MSG_NOSIGNAL);
	close(peer->fd);
	return peer_wait(peer);
}

int peer_wait(struct peer *peer)
{
	int status = 0, left = ANSWER_MS / 10;
	pid_t pid;

	while ((pid = waitpid(peer->pid, &status, WNOHANG)) == 0 && left-- > 0)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	ck_assert_msg(pid == peer->pid, "peer %d does not end", (int)peer->pid);
	return status;
}
