// SPDX-License-Identifier: GPL-2.0-only
/* The helper's side: reads questions, answers them, and ends when the daemon has gone. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/names_private.h"
#include "daemon/privileges.h"

/* Questions to a name service at once. */
#define PROCESSES 16u

/* ---- the system's answers ----------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int system_groups(uid_t uid, uint32_t *gids, size_t max, size_t *out_n)
{
	int n = (int)max, i, kept = 1;
	const struct passwd *user;

	_Static_assert(sizeof(gid_t) == sizeof(uint32_t), "a gid is 32 bits");
	errno = 0;
	user = getpwuid(uid);
	/* The manual allows these to mean that there is none; so does glibc. */
	if (!user)
		return errno == 0 || errno == ENOENT || errno == ESRCH ? -ENOENT : -errno;
	if (getgrouplist(user->pw_name, user->pw_gid, gids, &n) < 0)
		n = (int)max;
	/* The primary group is somewhere among them. */
	qsort(gids, (size_t)n, sizeof(gids[0]), by_number);
	for (i = 0; i < n && gids[i] != user->pw_gid; i++)
		;
	if (i < n)
		memmove(gids + 1, gids, (size_t)i * sizeof(gids[0]));
	gids[0] = user->pw_gid;
	for (i = 1; i < n; i++)
		if (gids[i] != gids[kept - 1] && gids[i] != gids[0])
			gids[kept++] = gids[i];
	*out_n = (size_t)kept;
	return 0;
}

static int system_id(enum names_kind kind, const char *name, uint64_t *out_id)
{
	const struct passwd *user = NULL;
	const struct group *group = NULL;

	errno = 0;
	if (kind == NAMES_USER)
		user = getpwnam(name);
	else
		group = getgrnam(name);
	if (!user && !group)
		return errno == 0 || errno == ENOENT || errno == ESRCH ? -ENOENT : -errno;
	*out_id = user ? user->pw_uid : group->gr_gid;
	return 0;
}

static int system_exe(pid_t pid, char *buf, size_t size)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, buf, size);
	if (n <= 0)
		return n ? -errno : -ENOENT;
	if ((size_t)n >= size)
		return -ENAMETOOLONG;
	buf[n] = '\0';
	return 0;
}

const struct names_ops names_system = {
	.groups = system_groups,
	.id = system_id,
	.exe = system_exe,
	.drop = privileges_drop_helper,
};

/* ---- answering ---------------------------------------------------------------------- */

static void send_answer(int fd, const struct names_answer *a)
{
	/* To a daemon that has gone, or that does not read, nothing is owed. */
	(void)!send(fd, a, names_answer_size(a), MSG_NOSIGNAL);
}

static void look_up(const struct names_ops *ops, struct names_answer *a)
{
	size_t n = 0;

	switch (a->question.what) {
	case NAMES_ASK_GROUPS:
		a->error = ops->groups((uid_t)a->question.id, a->gids, NAMES_GROUPS_MAX, &n);
		a->n = a->error == 0 ? (uint32_t)n : 0;
		break;
	case NAMES_ASK_USER:
		a->error = ops->id(NAMES_USER, a->question.name, &a->id);
		break;
	default:
		a->error = ops->id(NAMES_GROUP, a->question.name, &a->id);
		break;
	}
}

static unsigned int n_processes;

static void reap(void)
{
	while (n_processes && waitpid(-1, NULL, WNOHANG) > 0)
		n_processes--;
}

static void answer(int fd, const struct names_ops *ops, struct names_answer *a)
{
	pid_t pid;

	if (a->question.what == NAMES_ASK_EXE) {
		a->error = ops->exe((pid_t)a->question.id, a->path, sizeof(a->path));
		a->n = a->error == 0 ? (uint32_t)strlen(a->path) + 1 : 0;
		send_answer(fd, a);
		return;
	}
	reap();
	pid = n_processes < PROCESSES ? fork() : -1;
	if (pid < 0) {
		a->error = -EAGAIN; /* so many hang: it is asked again later */
		send_answer(fd, a);
	} else if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGALRM, SIG_DFL);
		alarm(NAMES_PATIENCE_S);
		look_up(ops, a);
		send_answer(fd, a);
		_exit(EXIT_SUCCESS);
	} else {
		n_processes++;
	}
}

/* Signals that end the daemon reach the whole group or unit: this ends after it. */
static void be_quiet(int fd)
{
	static const int ignored[] = { SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2 };
	size_t i;

	for (i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	prctl(PR_SET_NAME, "vramd-names");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A name service may write to stderr; the socket of systemd is nothing for it. */
	unsetenv("NOTIFY_SOCKET");
	if (fd > 3)
		close_range(3, (unsigned int)fd - 1, 0);
	close_range((unsigned int)fd + 1, ~0u, 0);
}

void names_helper_run(int fd, const struct names_ops *ops)
{
	struct names_answer *a = malloc(sizeof(*a));
	ssize_t n;

	be_quiet(fd);
	if (!a || (ops->drop && ops->drop() < 0))
		_exit(EXIT_FAILURE);
	for (;;) {
		memset(a, 0, offsetof(struct names_answer, gids));
		n = recv(fd, &a->question, sizeof(a->question), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n != sizeof(a->question))
			_exit(EXIT_SUCCESS);
		a->question.name[NAMES_NAME_MAX - 1] = '\0';
		answer(fd, ops, a);
	}
}
