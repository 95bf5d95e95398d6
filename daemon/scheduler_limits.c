// SPDX-License-Identifier: GPL-2.0-only
/* The scheduler and the limits in force: who comes and goes, and what the ledger in this process is told of a client. */
#define _GNU_SOURCE 1
#include "daemon/scheduler.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/limits_live.h"
#include "daemon/names.h"
#include "daemon/scheduler_private.h"

/* How long a session's begin may wait for the name of its program: only a machine that is very busy needs that. */
#define EXE_WAIT_NS 500000000ull

void scheduler_set_limits(struct scheduler *s, struct limits_live *limits)
{
	s->limits = limits;
}

struct limits_live *scheduler_limits(struct scheduler *s)
{
	return s->limits;
}

void limits_enter(struct scheduler *s, uid_t uid)
{
	if (s->limits)
		limits_live_enter(s->limits, uid);
}

void limits_leave(struct scheduler *s, uid_t uid, uint64_t session)
{
	if (s->limits)
		limits_live_leave(s->limits, uid, session);
}

void limits_budget(struct scheduler *s)
{
	if (s->limits && limits_live_budget(s->limits))
		scheduler_limits_changed(s);
}

/* Has the process ended? Then its number may be another's by now. */
static bool is_over(int pidfd)
{
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };

	return pidfd >= 0 && poll(&pfd, 1, 0) != 0;
}

bool limits_read_exe(struct scheduler *s, const struct scheduler_session *ss, char *buf,
		     size_t size)
{
	static const char deleted[] = " (deleted)";
	char path[64];
	ssize_t n;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)ss->pid);
	n = readlink(path, buf, size - 1);
	if (n > 0)
		buf[n] = '\0';
	/* Of other users' processes only the helper may know. */
	else if (errno != EACCES || !s->limits ||
		 names_exe(limits_live_names(s->limits), ss->pid, EXE_WAIT_NS, buf, size) < 0)
		return false;
	/* A program that was replaced while it runs is still that program. */
	len = strlen(buf);
	if (len > strlen(deleted) && !strcmp(buf + len - strlen(deleted), deleted))
		buf[len - strlen(deleted)] = '\0';
	return !is_over(ss->pidfd);
}
