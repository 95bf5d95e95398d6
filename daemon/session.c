// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "common/fd.h"
#include "daemon/log.h"
#include "daemon/session_private.h"

/* Messages of one session handled in one turn of the loop: others want to be heard too. */
#define BATCH 32

/* Of every kind: those that have not said HELLO, administrators' and clients'. */
static struct list_node sessions = LIST_INIT(sessions);

static session_admin_fn *admin_fn;
static session_gone_fn *gone_fn;
static void *gone_ctx;

void session_set_admin(session_admin_fn *fn)
{
	admin_fn = fn;
}

void session_set_gone(session_gone_fn *fn, void *ctx)
{
	gone_fn = fn;
	gone_ctx = ctx;
}

size_t sessions_count(void)
{
	const struct list_node *at;
	size_t n = 0;

	for (at = sessions.next; at != &sessions; at = at->next)
		n++;
	return n;
}

size_t sessions_count_user(uid_t uid)
{
	const struct session *session;
	size_t n = 0;

	list_for_each(session, &sessions, node)
		n += session->peer_uid == uid;
	return n;
}

static const char *get_name(const struct scheduler_session *ss)
{
	return list_entry(ss, const struct session, ss)->name;
}

/* ---- ending ---- */

static void session_free(struct session *session)
{
	struct scheduler *s = session->scheduler;
	uid_t uid = session->peer_uid;

	list_del(&session->node);
	loop_cancel(scheduler_loop(s), &session->readable);
	loop_cancel(scheduler_loop(s), &session->again);
	loop_cancel(scheduler_loop(s), &session->reaper);
	session_abort_open(session);
	session_triggers_free(session);
	/* First the mappings: a client that lives on stops at closed chunks from now on. */
	session->ss.gpu_client = gpu_client_free(scheduler_gpu(s), session->ss.gpu_client);
	session_leave(session);
	if (session->ss.pidfd >= 0)
		close(session->ss.pidfd);
	close(session->fd);
	free(session);
	if (gone_fn)
		gone_fn(gone_ctx, uid);
}

static void reap(struct loop_op *op, int res)
{
	(void)res;
	session_free(list_entry(op, struct session, reaper));
}

static void session_end(struct session *session)
{
	if (session->ended)
		return;
	session->ended = true;
	loop_cancel(scheduler_loop(session->scheduler), &session->readable);
	session->reaper.fn = reap;
	if (loop_defer(scheduler_loop(session->scheduler), &session->reaper) < 0)
		log_error("session %llu cannot be freed: out of memory",
			  (unsigned long long)session->ss.id);
}

static void send_goodbye(struct session *session, int error, const char *reason)
{
	struct {
		struct vram_msg_hdr hdr;
		struct vram_msg_error body;
	} goodbye = {
		.hdr = {
			.type = VRAM_MSG_GOODBYE,
			.size = sizeof(goodbye),
			.error = error,
		},
	};

	snprintf(goodbye.body.text, sizeof(goodbye.body.text), "%s", reason);
	fd_send(session->fd, &goodbye, sizeof(goodbye), NULL, 0, MSG_DONTWAIT);
}

static void log_session(struct session *session, const char *id, enum log_level level,
			const char *verb, int error, const char *reason,
			const struct log_bound *bound)
{
	log_refusal(level, verb,
		    &(const struct log_refusal){
			    .id = id,
			    .name = session->name,
			    .reason = reason,
			    .bound = bound,
			    .session = session->ss.id,
			    .pid = session->ss.pid,
			    .uid = session->ss.uid,
			    .error = error,
		    });
}

void session_fail_bound(struct session *session, int error, const char *reason,
			const struct log_bound *bound)
{
	char numbers[LOG_BOUND_TEXT_MAX], text[sizeof(((struct vram_msg_error *)0)->text)];

	if (session->ended)
		return;
	log_session(session, LOG_ID_SESSION_ENDED, LOG_LEVEL_WARN, "ended", error, reason, bound);
	snprintf(text, sizeof(text), "%s%s", reason, log_bound_text(bound, numbers));
	send_goodbye(session, error, text);
	session_end(session);
}

void session_fail(struct session *session, int error, const char *reason)
{
	session_fail_bound(session, error, reason, NULL);
}

static void on_revoke(struct scheduler_session *ss, uint32_t slot, uint64_t deadline_ns)
{
	struct session *session = list_entry(ss, struct session, ss);
	const struct {
		struct vram_msg_hdr hdr;
		struct vram_msg_revoke body;
	} msg = {
		.hdr = { .type = VRAM_MSG_REVOKE, .size = sizeof(msg) },
		.body = { .slot = slot, .deadline_ns = deadline_ns },
	};

	if (session->ended || session->revoked_until_ns >= deadline_ns)
		return;
	session->revoked_until_ns = deadline_ns;
	fd_send(session->fd, &msg, sizeof(msg), NULL, 0, MSG_DONTWAIT);
}

static void on_fail(struct scheduler_session *ss, int error, const char *reason)
{
	session_fail(list_entry(ss, struct session, ss), error, reason);
}

static void on_fail_bound(struct scheduler_session *ss, int error, const char *reason,
			  const struct log_bound *bound)
{
	session_fail_bound(list_entry(ss, struct session, ss), error, reason, bound);
}

static void on_load_refused(struct scheduler_session *ss, int error, const char *reason,
			    const struct log_bound *bound)
{
	log_session(list_entry(ss, struct session, ss), LOG_ID_REQUEST_REFUSED, LOG_LEVEL_INFO,
		    "refused", error, reason, bound);
}

/* A client that ends closes /dev/vram and the socket in any order: no reason for a warning. */
static void on_gone(struct scheduler_session *ss)
{
	struct session *session = list_entry(ss, struct session, ss);

	if (session->ended)
		return;
	log_debug("session %llu (%s, pid %d) has let go of %s", (unsigned long long)ss->id,
		  session->name, (int)ss->pid, ARBITER_KMOD_PATH);
	send_goodbye(session, -ENODEV, "the session of the kernel module has ended");
	session_end(session);
}

static const struct scheduler_session_ops session_ops = {
	.revoke = on_revoke,
	.fail = on_fail,
	.fail_bound = on_fail_bound,
	.load_refused = on_load_refused,
	.gone = on_gone,
	.admitted = session_on_admitted,
	.name = get_name,
};

void sessions_stop(const char *reason)
{
	struct session *session, *tmp;

	list_for_each_safe(session, tmp, &sessions, node) {
		session_fail(session, -ESHUTDOWN, reason);
		session_free(session);
	}
}

/* ---- answering ---- */

void session_reply(struct session *session, const struct vram_msg_hdr *request, const void *body,
		   size_t len, int fd)
{
	session_reply_fds(session, request, body, len, &fd, fd >= 0);
}

void session_reply_fds(struct session *session, const struct vram_msg_hdr *request,
		       const void *body, size_t len, int *fds, size_t n_fds)
{
	struct {
		struct vram_msg_hdr hdr;
		char body[256];
	} msg = {
		.hdr = {
			.type = request->type | VRAM_MSG_REPLY,
			.size = (uint32_t)(sizeof(msg.hdr) + len),
			.seq = request->seq,
		},
	};
	int r;

	if (len)
		memcpy(msg.body, body, len);
	r = fd_send(session->fd, &msg, msg.hdr.size, fds, n_fds, MSG_DONTWAIT);
	fd_close_all(fds, n_fds);
	if (r == -EAGAIN)
		session_fail(session, -ENOBUFS, "the client does not read its answers");
	else if (r < 0)
		session_end(session);
}

void session_refuse_bound(struct session *session, const struct vram_msg_hdr *request, int error,
			  const char *text, const struct log_bound *bound)
{
	char numbers[LOG_BOUND_TEXT_MAX];
	struct {
		struct vram_msg_hdr hdr;
		struct vram_msg_error body;
	} msg = {
		.hdr = {
			.type = request->type | VRAM_MSG_REPLY,
			.size = sizeof(msg),
			.seq = request->seq,
			.error = error,
		},
	};
	int r;

	log_session(session, LOG_ID_REQUEST_REFUSED, LOG_LEVEL_INFO, "refused", error, text, bound);
	snprintf(msg.body.text, sizeof(msg.body.text), "%s%s", text,
		 log_bound_text(bound, numbers));
	r = fd_send(session->fd, &msg, sizeof(msg), NULL, 0, MSG_DONTWAIT);
	if (r == -EAGAIN)
		session_fail(session, -ENOBUFS, "the client does not read its answers");
	else if (r < 0)
		session_end(session);
}

void session_refuse(struct session *session, const struct vram_msg_hdr *request, int error,
		    const char *text)
{
	session_refuse_bound(session, request, error, text, NULL);
}

/* ---- requests ---- */

static void handle_stats(struct session *session, const struct vram_msg_hdr *hdr)
{
	struct scheduler_session_info info;
	struct vram_msg_stats_reply reply;

	scheduler_session_info(session->scheduler, &session->ss, &info);
	reply = (struct vram_msg_stats_reply){
		.resident_bytes = info.resident_bytes,
		.charged_bytes = info.charged_bytes,
		.total_bytes = info.total_bytes,
		.loaded_bytes = session->ss.loaded_bytes,
		.evicted_bytes = session->ss.evicted_bytes,
		.faults = session->ss.faults,
		.stall_ns = info.stall_ns,
		.budget_bytes = scheduler_gpu(session->scheduler)->budget_bytes,
		.limit_bytes = info.limit_bytes,
	};
	session_reply(session, hdr, &reply, sizeof(reply), -1);
}

static void handle_admin(struct session *session, const struct vram_msg_hdr *hdr, const char *json,
			 size_t len)
{
	const struct ucred peer = {
		.pid = session->ss.pid,
		.uid = session->ss.uid,
		.gid = session->gid,
	};
	int fd = -1, r;

	r = admin_fn ? admin_fn(session->scheduler, &peer, json, len, &fd) : -EOPNOTSUPP;
	if (r < 0)
		session_refuse(session, hdr, r, "the request cannot be answered");
	else
		session_reply(session, hdr, NULL, 0, fd);
}

/* The one message that comes with a descriptor or without. */
static int hello_n_fds(const struct vram_msg_hdr *hdr)
{
	const struct vram_msg_hello *msg = (const struct vram_msg_hello *)(const void *)(hdr + 1);

	return hdr->size == sizeof(*hdr) + sizeof(*msg) && msg->flags & VRAM_HELLO_DEVICE;
}

/* What a type demands. */
struct rule {
	uint32_t min; /* of the body */
	uint32_t max;
	int n_fds;
	bool reply;
};

static bool find_rule(const struct vram_msg_hdr *hdr, struct rule *out)
{
#define EXACT(t, n, r) \
	((struct rule){ .min = sizeof(t), .max = sizeof(t), .n_fds = (n), .reply = (r) })
	switch (hdr->type) {
	case VRAM_MSG_HELLO:
		*out = EXACT(struct vram_msg_hello, hello_n_fds(hdr), true);
		break;
	case VRAM_MSG_MODEL_OPEN:
		*out = EXACT(struct vram_msg_model_open, 1, true);
		break;
	case VRAM_MSG_EXTENTS:
		*out = (struct rule){
			.min = sizeof(struct vram_msg_extents) + sizeof(struct vram_msg_extent),
			.max = sizeof(struct vram_msg_extents) +
			       VRAM_EXTENTS_PER_MSG * sizeof(struct vram_msg_extent),
		};
		break;
	case VRAM_MSG_BUFFER_NEW:
		*out = EXACT(struct vram_msg_buffer_new, 0, true);
		break;
	case VRAM_MSG_OBJECT_CLOSE:
		*out = EXACT(struct vram_msg_object_close, 0, true);
		break;
	case VRAM_MSG_UFFD:
		*out = (struct rule){ .n_fds = 1, .reply = true };
		break;
	case VRAM_MSG_MAP:
		*out = EXACT(struct vram_msg_map, 0, true);
		break;
	case VRAM_MSG_UNMAP:
		*out = EXACT(struct vram_msg_unmap, 0, true);
		break;
	case VRAM_MSG_ACQUIRE:
	case VRAM_MSG_CANCEL:
	case VRAM_MSG_USED:
		*out = EXACT(struct vram_msg_slot, 0, false);
		break;
	case VRAM_MSG_PREFETCH:
		*out = (struct rule){
			.min = sizeof(struct vram_msg_prefetch) + sizeof(uint32_t),
			.max = sizeof(struct vram_msg_prefetch) +
			       VRAM_SLOTS_PER_MSG * sizeof(uint32_t),
		};
		break;
	case VRAM_MSG_ORDER:
		*out = (struct rule){
			.min = sizeof(struct vram_msg_order) + sizeof(uint32_t),
			.max = sizeof(struct vram_msg_order) +
			       VRAM_ORDER_PER_MSG * sizeof(uint32_t),
			.reply = true,
		};
		break;
	case VRAM_MSG_PASS:
		*out = EXACT(struct vram_msg_pass, 0, false);
		break;
	case VRAM_MSG_STATS:
		*out = (struct rule){ .reply = true };
		break;
	case VRAM_MSG_TRIGGER:
		*out = EXACT(struct vram_msg_trigger, 0, true);
		break;
	case VRAM_MSG_ADMIT:
		*out = EXACT(struct vram_msg_admit, 0, true);
		break;
	case VRAM_MSG_DEVICE:
		*out = (struct rule){ .reply = true };
		break;
	case VRAM_MSG_ATTACH:
		*out = EXACT(struct vram_msg_attach, 0, true);
		break;
	case VRAM_MSG_CHUNKS:
	case VRAM_MSG_RECLAIMED:
		*out = (struct rule){
			.min = sizeof(struct vram_msg_chunks) + sizeof(uint64_t),
			.max = sizeof(struct vram_msg_chunks) +
			       VRAM_CHUNKS_PER_MSG * sizeof(uint64_t),
			.reply = hdr->type == VRAM_MSG_CHUNKS,
		};
		break;
	case VRAM_MSG_ADMIN:
		*out = (struct rule){
			.min = 2,
			.max = VRAM_MSG_MAX - sizeof(struct vram_msg_hdr),
			.reply = true,
		};
		break;
	default:
		return false;
	}
#undef EXACT
	return true;
}

/* Return: NULL, or what is wrong with the frame. */
static const char *check_frame(const struct session *session, const struct vram_msg_hdr *hdr,
			       size_t len, size_t n_fds)
{
	size_t body = len - sizeof(*hdr);
	struct rule rule;

	if (len < sizeof(*hdr) || hdr->size != len)
		return "a message of another size than it says";
	if (!find_rule(hdr, &rule))
		return "a message of an unknown type";
	if (body < rule.min || body > rule.max)
		return "a message of the wrong size for its type";
	if (n_fds != (size_t)rule.n_fds)
		return "a message with the wrong number of descriptors";
	if (hdr->error != 0)
		return "a request with an error";
	if (rule.reply != (hdr->seq != 0) && hdr->type != VRAM_MSG_EXTENTS)
		return rule.reply ? "a request without a seq" : "a seq where no answer comes";
	if (!session->greeted && hdr->type != VRAM_MSG_HELLO)
		return "a message before HELLO";
	if (session->admin && hdr->type != VRAM_MSG_ADMIN && hdr->type != VRAM_MSG_HELLO)
		return "not a request of an administrator's session";
	if (session->opening && hdr->type != VRAM_MSG_EXTENTS)
		return "another message in the middle of EXTENTS";
	return NULL;
}

static void dispatch(struct session *session, const struct vram_msg_hdr *hdr, int *fds)
{
	const void *body = hdr + 1;
	size_t len = hdr->size - sizeof(*hdr);

	switch (hdr->type) {
	case VRAM_MSG_HELLO:
		session_hello(session, hdr, body, fds);
		break;
	case VRAM_MSG_MODEL_OPEN:
		session_model_open(session, hdr, body, fds);
		break;
	case VRAM_MSG_EXTENTS:
		session_extents(session, hdr, body, len);
		break;
	case VRAM_MSG_BUFFER_NEW:
		session_buffer_new(session, hdr, body);
		break;
	case VRAM_MSG_OBJECT_CLOSE:
		session_object_close(session, hdr, body);
		break;
	case VRAM_MSG_UFFD:
		session_uffd(session, hdr, fds);
		break;
	case VRAM_MSG_MAP:
		session_map(session, hdr, body);
		break;
	case VRAM_MSG_UNMAP:
		session_unmap(session, hdr, body);
		break;
	case VRAM_MSG_ACQUIRE:
	case VRAM_MSG_CANCEL:
	case VRAM_MSG_USED:
		session_slot_message(session, hdr, body);
		break;
	case VRAM_MSG_PREFETCH:
		session_prefetch(session, body, len);
		break;
	case VRAM_MSG_ORDER:
		session_order(session, hdr, body, len);
		break;
	case VRAM_MSG_PASS:
		session_pass(session, body);
		break;
	case VRAM_MSG_STATS:
		handle_stats(session, hdr);
		break;
	case VRAM_MSG_TRIGGER:
		session_trigger(session, hdr, body);
		break;
	case VRAM_MSG_ADMIT:
		session_admit(session, hdr, body);
		break;
	case VRAM_MSG_DEVICE:
		session_device(session, hdr);
		break;
	case VRAM_MSG_ATTACH:
		session_attach(session, hdr, body);
		break;
	case VRAM_MSG_CHUNKS:
		session_chunks(session, hdr, body, len);
		break;
	case VRAM_MSG_RECLAIMED:
		session_reclaimed(session, body, len);
		break;
	case VRAM_MSG_ADMIN:
		if (session->admin)
			handle_admin(session, hdr, body, len);
		else
			session_fail(session, -EPROTO, "ADMIN in a client's session");
		break;
	}
}

static void readable(struct loop_op *op, int res)
{
	/* One thread: one buffer serves all sessions. Aligned for the messages in it. */
	static uint64_t buffer[VRAM_MSG_MAX / sizeof(uint64_t) + 1];
	struct session *session = list_entry(op, struct session, readable);
	const struct vram_msg_hdr *hdr = (const struct vram_msg_hdr *)(const void *)buffer;
	int fds[VRAM_MSG_MAX_FDS];

	if (res < 0) {
		session_fail(session, res, "the socket cannot be watched");
		return;
	}
	for (int i = 0; i < BATCH && !session->ended; i++) {
		const char *wrong;
		size_t n_fds = 0;
		ssize_t n;

		n = fd_recv(session->fd, buffer, VRAM_MSG_MAX, fds, VRAM_MSG_MAX_FDS, &n_fds,
			    MSG_DONTWAIT);
		if (n == -EAGAIN)
			return;
		if (n == -EMSGSIZE) {
			session_fail(session, -EMSGSIZE, "a message that is too long");
			return;
		}
		if (n <= 0) {
			session_end(session);
			return;
		}
		wrong = check_frame(session, hdr, (size_t)n, n_fds);
		if (wrong)
			session_fail(session, -EPROTO, wrong);
		else
			dispatch(session, hdr, fds);
		fd_close_all(fds, n_fds);
		/* Opening a file may take a while, also on purpose, and so may looking at everything: one in a turn. */
		if (hdr->type == VRAM_MSG_MODEL_OPEN || hdr->type == VRAM_MSG_ADMIN)
			break;
	}
	/* More may be there, and the poll reports only what is new. */
	if (!session->ended && !loop_op_armed(&session->again))
		loop_defer(scheduler_loop(session->scheduler), &session->again);
}

static void readable_again(struct loop_op *op, int res)
{
	struct session *session = list_entry(op, struct session, again);

	(void)res;
	if (!session->ended)
		readable(&session->readable, POLLIN);
}

int session_new(struct scheduler *s, int fd, const struct ucred *peer, int pidfd,
		struct session **out)
{
	struct session *session = calloc(1, sizeof(*session));
	int r;

	if (!session) {
		r = -ENOMEM;
		goto err_close;
	}
	session->scheduler = s;
	session->fd = fd;
	session->gid = peer->gid;
	session->ss.ops = &session_ops;
	session->ss.pid = peer->pid;
	session->ss.uid = peer->uid;
	session->peer_uid = peer->uid;
	session->ss.pidfd = pidfd;
	session->readable.fn = readable;
	session->again.fn = readable_again;
	snprintf(session->name, sizeof(session->name), "?");
	r = loop_poll(scheduler_loop(s), &session->readable, fd, POLLIN);
	if (r < 0)
		goto err_free;
	list_add_tail(&session->node, &sessions);
	*out = session;
	return 0;

err_free:
	free(session);
err_close:
	close(fd);
	if (pidfd >= 0)
		close(pidfd);
	return r;
}
