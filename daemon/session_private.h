/* SPDX-License-Identifier: GPL-2.0-only */
/* What session.c (the socket, framing), session_hello.c (who it is, its table), session_object.c (objects,
 * mappings, slots) and session_chunk.c (the memory of a card) share. */
#ifndef VRAM_DAEMON_SESSION_PRIVATE_H
#define VRAM_DAEMON_SESSION_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/proto.h"
#include "daemon/log_refusal.h"
#include "daemon/loop.h"
#include "daemon/session.h"

/* A MODEL_OPEN whose EXTENTS are still coming. */
struct opening {
	struct vram_msg_hdr hdr;
	struct vram_msg_model_open msg;
	struct object *object;
	struct object_extent *extents;
	uint32_t n; /* of msg.n_extents */
};

struct session {
	struct scheduler_session ss; /* first: the scheduler knows a session by it */
	struct list_node node;	     /* of all sessions */
	struct scheduler *scheduler;
	int fd;
	uid_t peer_uid; /* of the socket; ss.uid may be another, of /dev/vram */
	gid_t gid;
	char name[64];
	bool greeted;
	bool admin;
	bool ended; /* to be freed by the reaper */
	struct loop_op readable;
	struct loop_op again;
	struct loop_op reaper;
	struct residency_slot *table;
	uint64_t table_bytes;
	uint64_t n_slots;	 /* of it; no more than limits.max_slots */
	struct opening *opening; /* NULL: none */
	uint32_t next_object;
	uint32_t n_objects;
	uint64_t registered_bytes; /* of all objects */
	uint32_t n_buffer_chunks;  /* of all buffers */
	uint64_t revoked_until_ns;
	struct vram_msg_hdr admit_hdr; /* of the ADMIT that waits */
};

/* Ends the session after the loop's turn; the reason is logged and sent. */
void session_fail(struct session *session, int error, const char *reason);
/* The same for a limit; the numbers are said too. bound may be NULL. */
void session_fail_bound(struct session *session, int error, const char *reason,
			const struct log_bound *bound);
/* fd (may be -1) is taken. */
void session_reply(struct session *session, const struct vram_msg_hdr *request, const void *body,
		   size_t len, int fd);
/* The same with several, all taken. */
void session_reply_fds(struct session *session, const struct vram_msg_hdr *request,
		       const void *body, size_t len, int *fds, size_t n_fds);
/* The request fails; the session goes on. */
void session_refuse(struct session *session, const struct vram_msg_hdr *request, int error,
		    const char *text);
/* The same for a limit; the numbers are said too. bound may be NULL. */
void session_refuse_bound(struct session *session, const struct vram_msg_hdr *request, int error,
			  const char *text, const struct log_bound *bound);

/* fds: one with VRAM_HELLO_DEVICE. */
void session_hello(struct session *session, const struct vram_msg_hdr *hdr,
		   const struct vram_msg_hello *msg, const int *fds);
/* What HELLO has made goes. */
void session_leave(struct session *session);
void session_model_open(struct session *session, const struct vram_msg_hdr *hdr,
			const struct vram_msg_model_open *msg, int *fds);
void session_extents(struct session *session, const struct vram_msg_hdr *hdr,
		     const struct vram_msg_extents *msg, size_t len);
void session_skip_extents(struct session *session, const struct vram_msg_hdr *hdr,
			  const struct vram_msg_model_open *msg);
void session_abort_open(struct session *session);
void session_buffer_new(struct session *session, const struct vram_msg_hdr *hdr,
			const struct vram_msg_buffer_new *msg);
void session_object_close(struct session *session, const struct vram_msg_hdr *hdr,
			  const struct vram_msg_object_close *msg);
/* The session's use of the object; NULL: it has none. */
struct use *session_use_of(struct session *session, const struct gpu_object *mem);
struct gpu_peer session_peer(const struct session *session);
void session_device(struct session *session, const struct vram_msg_hdr *hdr);
void session_attach(struct session *session, const struct vram_msg_hdr *hdr,
		    const struct vram_msg_attach *msg);
void session_chunks(struct session *session, const struct vram_msg_hdr *hdr,
		    const struct vram_msg_chunks *msg, size_t len);
void session_reclaimed(struct session *session, const struct vram_msg_chunks *msg, size_t len);
void session_uffd(struct session *session, const struct vram_msg_hdr *hdr, int *fds);
void session_map(struct session *session, const struct vram_msg_hdr *hdr,
		 const struct vram_msg_map *msg);
void session_unmap(struct session *session, const struct vram_msg_hdr *hdr,
		   const struct vram_msg_unmap *msg);
void session_slot_message(struct session *session, const struct vram_msg_hdr *hdr,
			  const struct vram_msg_slot *msg);
void session_prefetch(struct session *session, const struct vram_msg_prefetch *msg, size_t len);
void session_order(struct session *session, const struct vram_msg_hdr *hdr,
		   const struct vram_msg_order *msg, size_t len);
void session_trigger(struct session *session, const struct vram_msg_hdr *hdr,
		     const struct vram_msg_trigger *msg);
void session_triggers_free(struct session *session);
void session_admit(struct session *session, const struct vram_msg_hdr *hdr,
		   const struct vram_msg_admit *msg);
/* An op of the scheduler's. */
void session_on_admitted(struct scheduler_session *ss, int error, uint64_t reserved_bytes,
			 uint64_t waited_ns);
void session_pass(struct session *session, const struct vram_msg_pass *msg);

#endif
