// SPDX-License-Identifier: GPL-2.0-only
#include "tests/gpu/question.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void sleep_ns(uint64_t ns)
{
	struct timespec t = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

double mean(const double *values, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += values[i];
	return n ? sum / (double)n : 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), by_value);
	return percentile(values, n, 0.5);
}

double percentile(double *values, size_t n, double p)
{
	size_t i = (size_t)(p * (double)n);

	return n ? values[i < n ? i : n - 1] : 0;
}

/* ---- answers ------------------------------------------------------------------ */

static void put(struct ask *ask, struct answer *a, const char *what)
{
	snprintf(a->what, sizeof(a->what), "%s%s%s", ask->role, *ask->role && *what ? ": " : "",
		 what);
	if (ask->fd < 0) {
		if (a->kind == ANSWER_FAILED)
			fprintf(stderr, "%s: %s\n", ask->question, a->text);
		return;
	}
	/* A reader that is gone has given up on us. */
	if (write(ask->fd, a, sizeof(*a)) != sizeof(*a))
		_exit(1);
}

#define FORMATTED(a, format)                                           \
	do {                                                           \
		va_list args;                                          \
                                                                       \
		va_start(args, format);                                \
		vsnprintf((a)->text, sizeof((a)->text), format, args); \
		va_end(args);                                          \
	} while (0)

void answer_text(struct ask *ask, const char *what, const char *format, ...)
{
	struct answer a = { .kind = ANSWER_TEXT };

	FORMATTED(&a, format);
	put(ask, &a, what);
}

void answer_number(struct ask *ask, const char *what, double number, const char *unit)
{
	struct answer a = { .kind = ANSWER_NUMBER, .number = number };

	snprintf(a.unit, sizeof(a.unit), "%s", unit);
	put(ask, &a, what);
}

void answer_view(struct ask *ask, const char *what, const char *assumed, bool holds,
		 const char *format, ...)
{
	struct answer a = { .kind = ANSWER_TEXT, .view = holds ? VIEW_HOLDS : VIEW_WRONG };

	snprintf(a.assumed, sizeof(a.assumed), "%s", assumed);
	FORMATTED(&a, format);
	put(ask, &a, what);
}

void answer_number_view(struct ask *ask, const char *what, double number, const char *unit,
			const char *assumed, bool holds)
{
	struct answer a = { .kind = ANSWER_NUMBER,
			    .number = number,
			    .view = holds ? VIEW_HOLDS : VIEW_WRONG };

	snprintf(a.unit, sizeof(a.unit), "%s", unit);
	snprintf(a.assumed, sizeof(a.assumed), "%s", assumed);
	put(ask, &a, what);
}

void answer_missing(struct ask *ask, const char *what, const char *format, ...)
{
	struct answer a = { .kind = ANSWER_MISSING };

	FORMATTED(&a, format);
	put(ask, &a, what);
}

void answer_failed(struct ask *ask, const char *format, ...)
{
	struct answer a = { .kind = ANSWER_FAILED };

	FORMATTED(&a, format);
	put(ask, &a, "");
	/* No exit handlers: the driver's may hang after an error. */
	_exit(1);
}

/* ---- processes ---------------------------------------------------------------- */

void peer_start(struct ask *ask, struct peer *peer, const char *role,
		void (*fn)(struct ask *ask, int sock))
{
	struct timeval patience = { .tv_sec = (time_t)ask->seconds + 1 };
	int pair[2];
	pid_t parent = getpid();

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		answer_failed(ask, "socketpair: %s", strerror(errno));
	for (int i = 0; i < 2; i++)
		setsockopt(pair[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	peer->pid = fork();
	if (peer->pid < 0)
		answer_failed(ask, "fork: %s", strerror(errno));
	if (peer->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		close(pair[0]);
		ask->role = role;
		fn(ask, pair[1]);
		_exit(0);
	}
	close(pair[1]);
	peer->sock = pair[0];
	peer->pidfd = (int)syscall(SYS_pidfd_open, peer->pid, 0);
}

void peer_end(struct peer *peer)
{
	/* One that does not end is ended with the question. */
	while (waitpid(peer->pid, NULL, 0) < 0 && errno == EINTR)
		;
	close(peer->sock);
	if (peer->pidfd >= 0)
		close(peer->pidfd);
}

void tell(struct ask *ask, int sock, uint64_t value)
{
	tell_fds(ask, sock, value, NULL, 0);
}

void tell_fds(struct ask *ask, int sock, uint64_t value, const int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(PEER_FDS * sizeof(int))];
	} control;
	struct iovec iov = { &value, sizeof(value) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n) {
		struct cmsghdr *c = &control.align;

		memset(&control, 0, sizeof(control));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	if (sendmsg(sock, &message, MSG_NOSIGNAL) < 0)
		answer_failed(ask, "the other process has gone");
}

uint64_t hear(struct ask *ask, int sock)
{
	return hear_fds(ask, sock, NULL, 0);
}

uint64_t hear_fds(struct ask *ask, int sock, int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(PEER_FDS * sizeof(int))];
	} control;
	uint64_t value = 0;
	struct iovec iov = { &value, sizeof(value) };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	ssize_t r;

	do {
		r = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
	} while (r < 0 && errno == EINTR);
	if (r != sizeof(value))
		answer_failed(ask, r < 0 ? "no word from the other process" :
					   "the other process has gone");
	c = CMSG_FIRSTHDR(&message);
	if (n && (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(n * sizeof(int))))
		answer_failed(ask, "the other process sent other descriptors than %zu", n);
	if (n)
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	return value;
}

/* ---- who asks ------------------------------------------------------------------ */

/* Reads whole records until the question's processes have all closed the pipe, or its time is over. */
static bool collect(int fd, uint64_t deadline, pid_t child,
		    void (*each)(void *arg, const struct answer *answer), void *arg, bool *failed)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct answer a;
	bool over = false;

	for (;;) {
		uint64_t now = now_ns();
		siginfo_t info = { 0 };

		if (now > deadline)
			return false;
		/* A peer that hangs must not keep us: with the child gone only what is there is read. */
		over = over ||
		       (waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
			info.si_pid == child);
		if (poll(&p, 1, over ? 0 : 20) <= 0) {
			if (over)
				return true;
			continue;
		}
		if (read(fd, &a, sizeof(a)) != sizeof(a))
			return true;
		*failed |= a.kind == ANSWER_FAILED;
		each(arg, &a);
	}
}

void question_ask(struct ask *ask, const struct question *question,
		  void (*each)(void *arg, const struct answer *answer), void *arg)
{
	struct answer end = { .kind = ANSWER_FAILED };
	uint64_t start = now_ns();
	bool failed = false, in_time;
	int pipe_fds[2], status = 0;
	pid_t child;

	ask->question = question->name;
	ask->role = "";
	if (pipe(pipe_fds) < 0) {
		snprintf(end.text, sizeof(end.text), "pipe: %s", strerror(errno));
		each(arg, &end);
		return;
	}
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0);
		close(pipe_fds[0]);
		ask->fd = pipe_fds[1];
		question->answer(ask);
		_exit(0);
	}
	close(pipe_fds[1]);
	if (child < 0) {
		snprintf(end.text, sizeof(end.text), "fork: %s", strerror(errno));
		each(arg, &end);
		close(pipe_fds[0]);
		return;
	}
	setpgid(child, child);
	in_time = collect(pipe_fds[0], start + (uint64_t)(ask->seconds * 1e9), child, each, arg,
			  &failed);
	close(pipe_fds[0]);
	/* Before the child is waited for: its number is its group's. */
	kill(-child, SIGKILL);
	for (int i = 0; i < 2500 && waitpid(child, &status, WNOHANG) == 0; i++)
		sleep_ns(4000000);
	if (!in_time)
		snprintf(end.text, sizeof(end.text), "no end within %.0f s: killed", ask->seconds);
	else if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		snprintf(end.text, sizeof(end.text), "died of signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else if ((WIFSIGNALED(status) || WEXITSTATUS(status)) && !failed)
		snprintf(end.text, sizeof(end.text), "ended without saying why");
	if (*end.text)
		each(arg, &end);
}
