// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/names.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/err.h"
#include "common/list.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/names_private.h"

/* Something that was asked for. */
struct entry {
	struct list_node node; /* names.entries, the longest unused first */
	struct names_question question;
	bool known;	      /* error and what follows are an answer */
	bool stale;	      /* to be asked anew when it is used */
	uint64_t asked_ns;    /* 0: no question is under way */
	uint64_t answered_ns; /* when it became known */
	int error;	      /* 0 or -ENOENT */
	uint64_t id;
	uint32_t *gids;
	size_t n_gids;
};

struct names {
	int fd;
	pid_t pid;
	struct loop *loop;
	struct loop_op readable;
	struct loop_op later; /* to tell what was read while somebody waited */
	void (*changed)(void *ctx);
	void *ctx;
	struct list_node entries;
	size_t n_entries;
	uint32_t serial;
	bool late; /* somebody waited in vain, and no answer has come since */
	bool gone; /* the helper has ended */
	struct names_answer answer;
	uint32_t exe_serial; /* the question that is waited for; 0: none */
	int exe_error;	     /* its answer, -EINPROGRESS before */
	char exe[NAMES_PATH_MAX];
};

/* ---- questions and answers ----------------------------------------------------------- */

static struct entry *entry_free(struct names *n, struct entry *e)
{
	list_del(&e->node);
	n->n_entries--;
	free(e->gids);
	free(e);
	return NULL;
}

static struct entry *entry_find(struct names *n, const struct names_question *q)
{
	struct entry *e;

	list_for_each(e, &n->entries, node)
		if (e->question.what == q->what && e->question.id == q->id &&
		    !strcmp(e->question.name, q->name))
			return e;
	return NULL;
}

static struct entry *entry_get(struct names *n, const struct names_question *q)
{
	struct entry *e = entry_find(n, q);

	if (!e) {
		if (n->n_entries == NAMES_KEPT)
			entry_free(n, list_first(&n->entries, struct entry, node));
		e = calloc(1, sizeof(*e));
		if (!e)
			return NULL;
		e->question = *q;
		list_add_tail(&e->node, &n->entries);
		n->n_entries++;
	} else {
		list_move_tail(&e->node, &n->entries);
	}
	return e;
}

static void helper_gone(struct names *n)
{
	if (n->gone)
		return;
	n->gone = true;
	if (n->loop)
		loop_cancel(n->loop, &n->readable);
	log_error(
		"the helper that looks up names has ended: rules for groups and new names count for "
		"nobody else until vramd is restarted");
}

/* Return: false if it cannot be asked now. */
static bool ask(struct names *n, const struct names_question *q)
{
	struct names_question question = *q;

	if (n->gone)
		return false;
	n->serial += n->serial == UINT32_MAX ? 2 : 1; /* never 0 */
	question.serial = n->serial;
	if (send(n->fd, &question, sizeof(question), MSG_NOSIGNAL | MSG_DONTWAIT) ==
	    (ssize_t)sizeof(question))
		return true;
	if (errno == EPIPE || errno == ECONNRESET)
		helper_gone(n);
	return false;
}

static bool take(struct names *n, const struct names_answer *a)
{
	struct entry *e = entry_find(n, &a->question);
	uint32_t *gids = NULL;
	bool same;

	if (!e)
		return false;
	e->asked_ns = 0;
	/* A service that does not answer now says nothing about the name. */
	if (a->error && a->error != -ENOENT)
		return false;
	if (a->n && a->question.what == NAMES_ASK_GROUPS) {
		gids = malloc(a->n * sizeof(*gids));
		if (!gids)
			return false;
		memcpy(gids, a->gids, a->n * sizeof(*gids));
		if (a->n == NAMES_GROUPS_MAX)
			log_warn_limited(
				"user %llu is in more than %u groups; the rest is not looked at",
				(unsigned long long)a->question.id, NAMES_GROUPS_MAX - 1);
	}
	same = e->known && e->error == a->error && e->id == a->id && e->n_gids == a->n &&
	       (!a->n || !memcmp(e->gids, gids, a->n * sizeof(*gids)));
	free(e->gids);
	e->gids = gids;
	e->n_gids = gids ? a->n : 0;
	e->error = a->error;
	e->id = a->id;
	e->known = true;
	e->stale = false;
	e->answered_ns = loop_now();
	return !same;
}

static bool answer_is_whole(const struct names_answer *a, ssize_t size)
{
	if (size < (ssize_t)offsetof(struct names_answer, gids) || a->n > NAMES_PATH_MAX)
		return false;
	return (size_t)size == names_answer_size(a);
}

/* A path, if it is still waited for. */
static void take_exe(struct names *n, const struct names_answer *a)
{
	if (a->question.serial != n->exe_serial)
		return;
	n->exe_serial = 0;
	n->exe_error = a->error;
	if (a->error)
		return;
	if (!a->n || a->path[a->n - 1])
		n->exe_error = -EBADMSG;
	else
		memcpy(n->exe, a->path, a->n);
}

/* Reads what there is. Return: whether something became known, or is different now. */
static bool read_answers(struct names *n)
{
	struct names_answer *a = &n->answer;
	bool changed = false;
	ssize_t size;

	_Static_assert(NAMES_GROUPS_MAX <= NAMES_PATH_MAX, "one bound for both");
	for (;;) {
		size = recv(n->fd, a, sizeof(*a), MSG_DONTWAIT);
		if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR))
			helper_gone(n);
		if (size <= 0 || !answer_is_whole(a, size))
			return changed;
		if (a->question.what == NAMES_ASK_EXE) {
			take_exe(n, a);
			continue;
		}
		n->late = false;
		changed |= take(n, a);
	}
}

/* Waits a while for something to read. Return: whether there may be something. */
static bool wait_readable(struct names *n, uint64_t until_ns)
{
	struct pollfd pfd = { .fd = n->fd, .events = POLLIN };
	uint64_t now = loop_now();
	int r;

	if (n->gone || now >= until_ns)
		return false;
	r = poll(&pfd, 1, (int)((until_ns - now + 999999) / 1000000));
	return r > 0 || (r < 0 && errno == EINTR);
}

static void on_readable(struct loop_op *op, int res)
{
	struct names *n = list_entry(op, struct names, readable);

	(void)res;
	if (read_answers(n) && n->changed)
		n->changed(n->ctx);
}

static void tell_later(struct loop_op *op, int res)
{
	struct names *n = list_entry(op, struct names, later);

	(void)res;
	if (n->changed)
		n->changed(n->ctx);
}

/* Whoever waits for one answer is in the middle of something: what it may not expect is told later. */
static void read_now(struct names *n)
{
	if (read_answers(n) && n->loop && !loop_op_armed(&n->later))
		loop_defer(n->loop, &n->later);
}

/* The answer, asked for if need be. Return: NULL if it is not known (yet). */
static struct entry *look_up(struct names *n, const struct names_question *q, uint64_t wait_ns)
{
	struct entry *e = entry_get(n, q);
	uint64_t now = loop_now(), until = now + wait_ns;
	/* One that the helper has given up is asked for anew. */
	uint64_t patience = 2 * NAMES_PATIENCE_S * 1000000000ull;

	if (!e)
		return NULL;
	if (e->known && now - e->answered_ns > NAMES_LIFE_NS)
		e->stale = true;
	if ((!e->known || e->stale) && (!e->asked_ns || now - e->asked_ns > patience) && ask(n, q))
		e->asked_ns = now;
	/* Reading drops no entries; only getting new ones does. */
	if (!e->known && e->asked_ns)
		read_now(n);
	while (!e->known && e->asked_ns && !n->late && wait_ns) {
		if (wait_readable(n, until))
			read_now(n);
		else
			n->late = true;
	}
	return e->known ? e : NULL;
}

/* ---- the interface -------------------------------------------------------------------- */

int names_groups(struct names *n, uid_t uid, uint64_t wait_ns, const uint32_t **out_gids,
		 size_t *out_n)
{
	const struct names_question q = { .what = NAMES_ASK_GROUPS, .id = uid };
	const struct entry *e = look_up(n, &q, wait_ns);

	if (!e)
		return -EAGAIN;
	*out_gids = e->gids;
	*out_n = e->n_gids;
	return 0;
}

int names_id(struct names *n, enum names_kind kind, const char *name, uint64_t wait_ns,
	     uint64_t *out_id)
{
	struct names_question q = {
		.what = kind == NAMES_USER ? NAMES_ASK_USER : NAMES_ASK_GROUP,
	};
	const struct entry *e;

	if (strlen(name) >= sizeof(q.name))
		return -ENOENT;
	strcpy(q.name, name);
	e = look_up(n, &q, wait_ns);
	if (!e)
		return -EAGAIN;
	if (e->error)
		return e->error;
	*out_id = e->id;
	return 0;
}

int names_exe(struct names *n, pid_t pid, uint64_t wait_ns, char *buf, size_t size)
{
	const struct names_question q = { .what = NAMES_ASK_EXE, .id = (uint64_t)pid };
	uint64_t until = loop_now() + wait_ns;

	if (!ask(n, &q))
		return -EAGAIN;
	n->exe_serial = n->serial;
	n->exe_error = -EAGAIN;
	while (n->exe_serial && wait_readable(n, until))
		read_now(n);
	n->exe_serial = 0;
	if (n->exe_error)
		return n->exe_error;
	if (strlen(n->exe) >= size)
		return -ENAMETOOLONG;
	strcpy(buf, n->exe);
	return 0;
}

void names_forget(struct names *n)
{
	struct entry *e;

	list_for_each(e, &n->entries, node)
		e->stale = true;
}

int names_watch(struct names *n, struct loop *loop, void (*changed)(void *ctx), void *ctx)
{
	n->loop = loop;
	n->changed = changed;
	n->ctx = ctx;
	n->readable.fn = on_readable;
	n->later.fn = tell_later;
	return err_trace(loop_poll(loop, &n->readable, n->fd, POLLIN));
}

int names_new(struct names **out, const struct names_ops *ops)
{
	struct names *n = calloc(1, sizeof(*n));
	int fds[2];

	if (!n)
		return err_origin(-ENOMEM);
	list_init(&n->entries);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
		free(n);
		return err_origin(-errno);
	}
	n->pid = fork();
	if (n->pid < 0) {
		int r = -errno;

		close(fds[0]);
		close(fds[1]);
		free(n);
		return err_origin(r);
	}
	if (n->pid == 0) {
		close(fds[0]);
		names_helper_run(fds[1], ops);
	}
	close(fds[1]);
	n->fd = fds[0];
	*out = n;
	return 0;
}

struct names *names_free(struct names *n)
{
	struct entry *e, *tmp;

	if (!n)
		return NULL;
	if (n->loop)
		loop_cancel(n->loop, &n->readable);
	if (n->loop)
		loop_cancel(n->loop, &n->later);
	/* It ends by this; a question that hangs there does not keep us. The ring may still hold the socket. */
	shutdown(n->fd, SHUT_RDWR);
	close(n->fd);
	waitpid(n->pid, NULL, 0);
	list_for_each_safe(e, tmp, &n->entries, node)
		entry_free(n, e);
	free(n);
	return NULL;
}
