// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/fd.h"
#include "common/proto.h"
#include "daemon/listener_members.h"
#include "daemon/log_refusal.h"
#include "daemon/loop.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

/* Behind the path, until the socket is ready. */
#define LISTENER_NEW ".new"
/* Accepted in one go, before other work gets its turn. */
#define LISTENER_BATCH 64
/* How long, and how often, a socket is asked whether anybody is behind it. */
#define LISTENER_DOUBT_NS 1500000000ull
#define LISTENER_ASK_US	  20000
#define NOT_A_MEMBER                                                                          \
	"vramd is for the group " LISTENER_GROUP " and for who sits at the machine; as root " \
	"`adduser NAME " LISTENER_GROUP "`, then log in again"
/* When descriptors or memory have run out. */
#define LISTENER_PAUSE_NS 100000000ull

struct listener {
	struct loop *loop;
	struct loop_op poll;
	struct loop_op again; /* more to accept: deferred, or a timer after a shortage */
	listener_fn *fn;
	void *owner;
	int fd;
	int lock_fd;			 /* -1: the socket came from systemd */
	struct listener_members members; /* of such a socket */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/* ---- accepting ---- */

static void refuse(int fd, const char *reason, const struct log_bound *bound)
{
	struct {
		struct vram_msg_hdr hdr;
		struct vram_msg_error error;
	} msg = { .hdr = { .type = VRAM_MSG_GOODBYE, .size = sizeof(msg) } };
	char numbers[LOG_BOUND_TEXT_MAX];

	snprintf(msg.error.text, sizeof(msg.error.text), "%s%s", reason,
		 log_bound_text(bound, numbers));
	/* A fresh socket has room for it; if not, the client sees the end of the connection. */
	(void)fd_send(fd, &msg, sizeof(msg), NULL, 0, MSG_DONTWAIT);
}

/*
 * The client's process. Before Linux 6.5 it is found by number, which can in theory have gone to
 * another process since the client connected; all that follows from that is whose death ends the
 * session.
 */
static int peer_pidfd(int fd, pid_t pid)
{
	socklen_t len = sizeof(int);
	int pidfd = -1;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0)
		return pidfd;
	if (errno != ENOPROTOOPT || pid <= 0)
		return -1;
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void welcome(struct listener *listener, int accepted)
{
	_cleanup_close_ int fd = accepted, pidfd = -1;
	struct ucred peer;
	socklen_t len = sizeof(peer);
	struct log_bound bound = { 0 };
	const char *reason;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
		log_warn_limited("cannot tell who a client is: %s", strerror(errno));
		return;
	}
	pidfd = peer_pidfd(fd, peer.pid);
	reason = listener_members_let_in(&listener->members, fd, &peer) ?
			 listener->fn(listener->owner, fd, &peer, pidfd, &bound) :
			 NOT_A_MEMBER;
	if (!reason) {
		steal_fd(&fd);
		steal_fd(&pidfd);
		return;
	}
	log_refusal(LOG_LEVEL_WARN, "refused",
		    &(const struct log_refusal){ .id = LOG_ID_CLIENT_REFUSED,
						 .reason = reason,
						 .bound = bound.asked ? &bound : NULL,
						 .pid = peer.pid,
						 .uid = peer.uid });
	refuse(fd, reason, bound.asked ? &bound : NULL);
}

static void pause_accepting(struct listener *listener, int error)
{
	log_error_limited("cannot accept a client: %s; trying again", strerror(error));
	if (loop_timer(listener->loop, &listener->again, loop_now() + LISTENER_PAUSE_NS) < 0)
		log_error("cannot accept clients any more: out of memory");
}

/* Until there are no more: the poll tells of new clients only, once for several. */
static void accept_all(struct listener *listener)
{
	int i, fd;

	for (i = 0; i < LISTENER_BATCH; i++) {
		fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			welcome(listener, fd);
			continue;
		}
		switch (errno) {
		case EAGAIN:
			return;
		case EINTR:
		case ECONNABORTED:
			continue;
		default:
			pause_accepting(listener, errno);
			return;
		}
	}
	if (loop_defer(listener->loop, &listener->again) < 0)
		pause_accepting(listener, ENOMEM);
}

static void again_ready(struct loop_op *op, int res)
{
	struct listener *listener =
		(struct listener *)(void *)((char *)op - offsetof(struct listener, again));

	(void)res;
	accept_all(listener);
}

static void poll_ready(struct loop_op *op, int res)
{
	struct listener *listener =
		(struct listener *)(void *)((char *)op - offsetof(struct listener, poll));

	if (res < 0) {
		log_error("the listening socket cannot be watched: %s", strerror(-res));
		return;
	}
	if (!loop_op_armed(&listener->again))
		accept_all(listener);
}

/* ---- making the socket ---- */

static int fail(int error, const char *what, const char *path)
{
	log_error("%s %s: %s", what, path, strerror(error));
	return err_origin(-error);
}

/* The socket's directory; those above it have to exist. */
static int directory_make(const char *path, bool private)
{
	_cleanup_free_ char *copy = strdup(path);
	struct stat st;
	char *dir;

	if (!copy)
		return err_origin(-ENOMEM);
	dir = dirname(copy);
	if (mkdir(dir, private ? 0700 : 0755) == 0)
		return 0;
	if (errno != EEXIST) {
		log_error("cannot create %s for the socket: %s%s", dir, strerror(errno),
			  errno == EACCES ? " (as an ordinary user, start `vramd --user`)" : "");
		return err_origin(-errno);
	}
	if (stat(dir, &st) < 0)
		return fail(errno, "cannot look at", dir);
	if (!S_ISDIR(st.st_mode))
		return fail(ENOTDIR, "cannot put the socket into", dir);
	return 0;
}

static int lock_take(const char *path, int *out_fd)
{
	char lock_path[sizeof(((struct sockaddr_un *)0)->sun_path) + 8], pid[16] = "";
	_cleanup_close_ int fd = -1;
	ssize_t n;

	snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
	fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		log_error("cannot open %s: %s%s", lock_path, strerror(errno),
			  errno == EACCES ? " (as an ordinary user, start `vramd --user`)" : "");
		return err_origin(-errno);
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return fail(errno, "cannot lock", lock_path);
		n = pread(fd, pid, sizeof(pid) - 1, 0);
		if (n > 0)
			pid[strcspn(pid, "\n")] = '\0';
		log_error(
			"another vramd listens on %s already%s%s; stop it, or choose another --socket",
			path, n > 0 ? ", pid " : "", pid);
		return err_origin(-EADDRINUSE);
	}
	snprintf(pid, sizeof(pid), "%d\n", getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, strlen(pid), 0) < 0)
		return fail(errno, "cannot write", lock_path);
	*out_fd = steal_fd(&fd);
	return 0;
}

static int address_make(const char *path, const char *suffix, struct sockaddr_un *out_addr)
{
	*out_addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if ((size_t)snprintf(out_addr->sun_path, sizeof(out_addr->sun_path), "%s%s", path,
			     suffix) >= sizeof(out_addr->sun_path))
		return fail(ENAMETOOLONG, "cannot listen on", path);
	return 0;
}

/*
 * Whether somebody listens there. After a daemon was killed its io_uring keeps the listening socket
 * open until the kernel's worker has taken the ring down, milliseconds after the process is gone.
 * So a connection that is made is watched for a while: it ends with the socket.
 */
static int is_answered(const char *path, bool *out_answered)
{
	uint64_t now, give_up_at = loop_now() + LISTENER_DOUBT_NS;
	struct sockaddr_un addr;
	struct pollfd pollfd = { 0 };
	int r;

	r = address_make(path, "", &addr);
	if (r < 0)
		return err_trace(r);
	for (now = loop_now(); now < give_up_at; now = loop_now()) {
		pollfd.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (pollfd.fd < 0)
			return fail(errno, "cannot make a socket for", path);
		r = connect(pollfd.fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno :
											   0;
		if (r == 0)
			(void)poll(&pollfd, 1, (int)((give_up_at - now) / 1000000));
		close(pollfd.fd);
		if (r == -ECONNREFUSED || r == -ENOENT) {
			*out_answered = false;
			return 0;
		}
		/* EAGAIN: its queue is full. EPROTOTYPE: it is no vramd. */
		usleep(LISTENER_ASK_US);
	}
	*out_answered = true;
	return 0;
}

/* We hold the lock: what is at the path is a dead daemon's, unless something answers there. */
static int stale_check(const char *path)
{
	bool answered = false;
	struct stat st;
	int r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : fail(errno, "cannot look at", path);
	if (!S_ISSOCK(st.st_mode)) {
		log_error("cannot listen on %s: there is something that is not a socket", path);
		return err_origin(-EEXIST);
	}
	r = is_answered(path, &answered);
	if (r < 0)
		return err_trace(r);
	if (answered) {
		log_error("cannot listen on %s: another program does", path);
		return err_origin(-EADDRINUSE);
	}
	return 0;
}

/* See the top of listener.h. */
static int modes_set(const char *path, bool private)
{
	const struct group *group;

	if (private)
		return chmod(path, 0600) < 0 ? fail(errno, "cannot set the mode of", path) : 0;
	group = getgrnam(LISTENER_GROUP);
	if (group && chown(path, (uid_t)-1, group->gr_gid) < 0)
		return fail(errno, "cannot give to group " LISTENER_GROUP ":", path);
	if (chmod(path, group ? 0660 : 0666) < 0)
		return fail(errno, "cannot set the mode of", path);
	return 0;
}

/*
 * Under a name of its own first: whoever waits for the socket to appear finds one that listens and
 * has its final mode, and a dead daemon's socket is replaced in one step.
 */
static int socket_bind(const char *path, bool private, int *out_fd)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un addr;
	int r;

	r = address_make(path, LISTENER_NEW, &addr);
	if (r < 0)
		return err_trace(r);
	if (unlink(addr.sun_path) < 0 && errno != ENOENT)
		return fail(errno, "cannot remove", addr.sun_path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(errno, "cannot make a socket for", path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return fail(errno, "cannot listen on", path);
	r = modes_set(addr.sun_path, private);
	if (r == 0 && listen(fd, SOMAXCONN) < 0)
		r = fail(errno, "cannot listen on", path);
	if (r == 0 && rename(addr.sun_path, path) < 0)
		r = fail(errno, "cannot put a socket at", path);
	if (r < 0) {
		unlink(addr.sun_path);
		return err_trace(r);
	}
	*out_fd = steal_fd(&fd);
	return 0;
}

static int socket_make(struct listener *listener, bool private)
{
	_cleanup_close_ int lock_fd = -1;
	int r;

	r = directory_make(listener->path, private);
	if (r == 0)
		r = lock_take(listener->path, &lock_fd);
	if (r == 0)
		r = stale_check(listener->path);
	if (r == 0)
		r = socket_bind(listener->path, private, &listener->fd);
	if (r == 0)
		listener->lock_fd = steal_fd(&lock_fd);
	return err_trace(r);
}

/* Return: 1 if systemd passed the socket, 0 if it passed none, or -errno. */
static int socket_inherit(struct listener *listener, bool private)
{
	struct sockaddr_un addr = { 0 };
	socklen_t len = sizeof(addr) - 1;
	int r, fd = SD_LISTEN_FDS_START;

	r = sd_listen_fds(1);
	if (r <= 0)
		return err_trace(r);
	if (r > 1 || sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0) {
		log_error("systemd has to pass one listening socket, a ListenSequentialPacket=");
		return err_origin(-EINVAL);
	}
	r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = fd_set_cloexec(fd, true);
	if (r < 0)
		return err_trace(r);
	if (getsockname(fd, (struct sockaddr *)&addr, &len) == 0)
		memcpy(listener->path, addr.sun_path, sizeof(listener->path));
	listener->fd = fd;
	if (!private)
		listener_members_find(&listener->members, LISTENER_GROUP);
	return 1;
}

int listener_new(struct listener **out, struct loop *loop, const char *path, bool private,
		 listener_fn *fn, void *owner)
{
	struct listener *listener = calloc(1, sizeof(*listener));
	int r;

	if (!listener)
		return err_origin(-ENOMEM);
	listener->loop = loop;
	listener->fn = fn;
	listener->owner = owner;
	listener->poll.fn = poll_ready;
	listener->again.fn = again_ready;
	listener->fd = -1;
	listener->lock_fd = -1;
	snprintf(listener->path, sizeof(listener->path), "%s", path);
	r = socket_inherit(listener, private);
	if (r == 0)
		r = strlen(path) < sizeof(listener->path) ?
			    socket_make(listener, private) :
			    fail(ENAMETOOLONG, "cannot listen on", path);
	if (r >= 0)
		r = loop_poll(loop, &listener->poll, listener->fd, POLLIN);
	if (r < 0) {
		listener_free(listener);
		return err_trace(r);
	}
	*out = listener;
	return 0;
}

void listener_stop(struct listener *listener)
{
	if (listener->fd < 0)
		return;
	loop_cancel(listener->loop, &listener->poll);
	loop_cancel(listener->loop, &listener->again);
	/* Of systemd's socket systemd keeps its end: clients wait for the next daemon. */
	if (listener->lock_fd >= 0)
		unlink(listener->path);
	close(listener->fd);
	listener->fd = -1;
}

struct listener *listener_free(struct listener *listener)
{
	if (!listener)
		return NULL;
	listener_stop(listener);
	if (listener->lock_fd >= 0)
		close(listener->lock_fd);
	free(listener);
	return NULL;
}

const char *listener_path(const struct listener *listener)
{
	return listener->path;
}
