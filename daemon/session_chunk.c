// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory of a card, as a session sees it: what the card is, attaching to it, descriptors of the chunks that hold its
 * objects, and giving them back when asked.
 *
 * A descriptor that was handed out is a capability that cannot be taken back. So one is given only for memory that is bound to
 * an object which this session has open: its own buffers, and models that it may read and shares with
 * nobody but its own user.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "common/err.h"
#include "common/fd.h"
#include "daemon/session_private.h"

_Static_assert(VRAM_CHUNKS_PER_MSG <= FD_MSG_MAX, "one message carries them");

struct gpu_peer session_peer(const struct session *session)
{
	return (struct gpu_peer){
		.pid = session->ss.pid,
		.uid = session->ss.uid,
		.pidfd = session->ss.pidfd,
	};
}

void session_device(struct session *session, const struct vram_msg_hdr *hdr)
{
	const struct gpu *gpu = scheduler_gpu(session->scheduler);
	struct vram_msg_device_reply reply = {
		.granularity_bytes = gpu->granularity_bytes,
		.kind = gpu->kind,
	};

	memcpy(reply.uuid, gpu->uuid, sizeof(reply.uuid));
	memcpy(reply.pci, gpu->pci, sizeof(reply.pci));
	session_reply(session, hdr, &reply, sizeof(reply), -1);
}

static void on_failed(void *owner, int error, const char *reason)
{
	session_fail(owner, error, reason);
}

static void on_reclaim(void *owner, const uint64_t *ids, uint32_t n, uint64_t deadline_ns)
{
	struct session *session = owner;
	struct {
		struct vram_msg_hdr hdr;
		struct vram_msg_reclaim body;
		uint64_t ids[VRAM_CHUNKS_PER_MSG];
	} msg = { .hdr = { .type = VRAM_MSG_RECLAIM }, .body = { .deadline_ns = deadline_ns } };

	for (uint32_t at = 0; at < n && !session->ended; at += msg.body.n) {
		size_t bytes;

		msg.body.n = n - at < VRAM_CHUNKS_PER_MSG ? n - at : VRAM_CHUNKS_PER_MSG;
		memcpy(msg.ids, ids + at, msg.body.n * sizeof(ids[0]));
		bytes = sizeof(msg.hdr) + sizeof(msg.body) + msg.body.n * sizeof(ids[0]);
		msg.hdr.size = (uint32_t)bytes;
		/* One who does not read does not let go either: the deadline ends that. */
		fd_send(session->fd, &msg, bytes, NULL, 0, MSG_DONTWAIT);
	}
}

static const struct gpu_client_events chunk_events = {
	.failed = on_failed,
	.reclaim = on_reclaim,
};

void session_attach(struct session *session, const struct vram_msg_hdr *hdr,
		    const struct vram_msg_attach *msg)
{
	const struct gpu_peer peer = session_peer(session);
	struct gpu *gpu = scheduler_gpu(session->scheduler);
	int r;

	if (msg->flags || msg->pad) {
		session_fail(session, -EPROTO, "an ATTACH that makes no sense");
		return;
	}
	if (!gpu->imports) {
		session_refuse(session, hdr, -EOPNOTSUPP, "the device is not a card");
		return;
	}
	if (memcmp(msg->uuid, gpu->uuid, sizeof(gpu->uuid)) != 0) {
		session_refuse(session, hdr, -EXDEV,
			       "the context is on another card than the one that vramd manages");
		return;
	}
	if (session->ss.gpu_client) {
		session_refuse(session, hdr, -EEXIST, "a second ATTACH");
		return;
	}
	r = gpu_client_new(gpu, -1, &peer, &chunk_events, session, &session->ss.gpu_client);
	if (r < 0)
		session_refuse(session, hdr, r, "the client cannot be attached to the card");
	else
		session_reply(session, hdr, NULL, 0, -1);
}

static bool count_is_right(const struct vram_msg_chunks *msg, size_t len)
{
	return !msg->pad && msg->n > 0 && msg->n <= VRAM_CHUNKS_PER_MSG &&
	       len == sizeof(*msg) + msg->n * sizeof(msg->ids[0]);
}

void session_chunks(struct session *session, const struct vram_msg_hdr *hdr,
		    const struct vram_msg_chunks *msg, size_t len)
{
	struct gpu *gpu = scheduler_gpu(session->scheduler);
	const struct vram_msg_chunks_reply reply = { .n = msg->n };
	int fds[VRAM_CHUNKS_PER_MSG];
	uint32_t n = 0;
	int r = 0;

	if (!count_is_right(msg, len)) {
		session_fail(session, -EPROTO, "CHUNKS of a wrong number");
		return;
	}
	if (!session->ss.gpu_client) {
		session_refuse(session, hdr, -EINVAL, "CHUNKS needs an ATTACH first");
		return;
	}
	while (r == 0 && n < msg->n) {
		struct gpu_object *mem = gpu_chunk_holder(gpu, msg->ids[n]);

		if (!mem || !session_use_of(session, mem))
			r = -ENOENT;
		else
			r = gpu_chunk_export(gpu, session->ss.gpu_client, msg->ids[n], &fds[n]);
		n += r == 0;
	}
	if (r == 0) {
		session_reply_fds(session, hdr, &reply, sizeof(reply), fds, n);
		return;
	}
	fd_close_all(fds, n);
	session_refuse(session, hdr, r,
		       r == -ENOENT ? "a chunk that holds no object of this session" :
				      "a chunk cannot be exported");
}

void session_reclaimed(struct session *session, const struct vram_msg_chunks *msg, size_t len)
{
	if (!count_is_right(msg, len))
		session_fail(session, -EPROTO, "RECLAIMED of a wrong number");
	else if (!session->ss.gpu_client)
		session_fail(session, -EPROTO, "RECLAIMED without an ATTACH");
	else
		gpu_client_reclaimed(scheduler_gpu(session->scheduler), session->ss.gpu_client,
				     msg->ids, msg->n);
}
