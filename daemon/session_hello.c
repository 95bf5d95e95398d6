// SPDX-License-Identifier: GPL-2.0-only
/*
 * HELLO: who the client is, and its residency table.
 *
 * With the ledger in this process the client is whoever the socket says, and gets a table. With the kernel
 * module it brings a session of /dev/vram that has one already; the module knows who opened that, and says so
 * when the session is adopted. Nothing else is ever asked of that descriptor: it might be anything.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/err.h"
#include "common/fd.h"
#include "daemon/session_private.h"

/* A smaller table is good for nothing; limits.max_slots is not smaller either. */
#define TABLE_MIN_SLOTS 64u
#define NO_DEVICE                                                                             \
	"this vramd works with the kernel module, so its clients have to open /dev/vram: be " \
	"in the group vram, or have the device in the container (ls -l /dev/vram)"

static void copy_name(char *to, size_t size, const char *from)
{
	size_t i;

	for (i = 0; i + 1 < size && from[i]; i++)
		to[i] = from[i] >= ' ' && from[i] != 0x7f ? from[i] : '?';
	to[i] = '\0';
}

void session_leave(struct session *session)
{
	if (session->ss.id)
		scheduler_session_del(session->scheduler, &session->ss);
	if (session->table)
		munmap(session->table, session->table_bytes);
	session->table = NULL;
}

/* ---- the ledger in this process ---------------------------------------------------- */

static int make_table(struct session *session, int *out_fd)
{
	const struct config *config = scheduler_config(session->scheduler);
	uint64_t bytes = config->limits.max_slots * sizeof(struct residency_slot);
	void *table;
	int fd, r;

	bytes = (bytes + 4095) & ~4095ull;
	r = fd_memfd_sealed("vram-table", bytes, 0, &fd);
	if (r < 0)
		return r;
	table = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (table == MAP_FAILED) {
		r = -errno;
		close(fd);
		return r;
	}
	session->table = table;
	session->table_bytes = bytes;
	session->n_slots = config->limits.max_slots;
	*out_fd = fd;
	return 0;
}

static int enter_local(struct session *session, struct vram_msg_hello_reply *reply, int *out_fd,
		       const char **why)
{
	int r = make_table(session, out_fd);

	*why = "no memory for the residency table";
	if (r < 0)
		return r;
	r = scheduler_session_add(session->scheduler, &session->ss);
	if (r < 0) {
		*why = "no memory for a session";
		close(*out_fd);
		*out_fd = -1;
		session_leave(session);
		return r;
	}
	reply->n_slots = (uint32_t)session->n_slots;
	return 0;
}

/* ---- the kernel module -------------------------------------------------------------- */

static const char *adopt_error(int r)
{
	switch (r) {
	case -EBADF:
		return "the descriptor beside HELLO is none of " ARBITER_KMOD_PATH;
	case -EBUSY:
		return "this session of " ARBITER_KMOD_PATH " is that of another connection";
	case -ENXIO:
		return "this session of " ARBITER_KMOD_PATH " has no residency table "
		       "(VRAM_IOC_TABLE)";
	default:
		return "this session of " ARBITER_KMOD_PATH " cannot be adopted";
	}
}

static int enter_module(struct session *session, struct vram_msg_hello_reply *reply, int fd,
			const char **why)
{
	const uint64_t max = scheduler_config(session->scheduler)->limits.max_slots;
	struct arbiter_adopted adopted;
	int r;

	if (fd < 0) {
		*why = NO_DEVICE;
		return -EACCES;
	}
	r = scheduler_session_adopt(session->scheduler, &session->ss, fd, &adopted);
	if (r < 0) {
		*why = adopt_error(r);
		return r;
	}
	session->table = adopted.table;
	session->table_bytes = adopted.table_bytes;
	session->gid = adopted.gid;
	if (adopted.n_slots < TABLE_MIN_SLOTS) {
		session_leave(session);
		*why = "the residency table has fewer than 64 slots";
		return -EINVAL;
	}
	session->n_slots = adopted.n_slots < max ? adopted.n_slots : max;
	reply->n_slots = adopted.n_slots;
	reply->flags = VRAM_HELLO_REPLY_DEVICE;
	return 0;
}

/* ---- the message ---------------------------------------------------------------------- */

/* Return: NULL, or what breaks the rules. */
static const char *check(const struct session *session, const struct vram_msg_hello *msg)
{
	if (session->greeted)
		return "a second HELLO";
	if (msg->flags & ~(VRAM_HELLO_SHIM | VRAM_HELLO_ADMIN | VRAM_HELLO_DEVICE))
		return "unknown flags in HELLO";
	if (msg->flags & VRAM_HELLO_ADMIN && msg->flags & VRAM_HELLO_DEVICE)
		return "an administrator's HELLO with a descriptor";
	if (!memchr(msg->name, '\0', sizeof(msg->name)))
		return "a name without end in HELLO";
	return NULL;
}

void session_hello(struct session *session, const struct vram_msg_hdr *hdr,
		   const struct vram_msg_hello *msg, const int *fds)
{
	struct scheduler *s = session->scheduler;
	const struct config *config = scheduler_config(s);
	struct gpu *gpu = scheduler_gpu(s);
	struct vram_msg_hello_reply reply = {
		.version = VRAM_PROTO_VERSION,
		.device_kind = gpu->kind,
		.budget_bytes = gpu->budget_bytes,
		.n_slots = (uint32_t)config->limits.max_slots,
		.max_objects = (uint32_t)config->limits.max_objects,
		.max_extents = (uint32_t)config->limits.max_extents,
	};
	const char *why = NULL;
	char text[128];
	int fd = -1, r = 0;

	if (!session->greeted && msg->version != VRAM_PROTO_VERSION) {
		snprintf(text, sizeof(text), "protocol version %u; this vramd speaks %u",
			 msg->version, VRAM_PROTO_VERSION);
		session_refuse(session, hdr, -EPROTONOSUPPORT, text);
		session_fail(session, -EPROTONOSUPPORT, text);
		return;
	}
	why = check(session, msg);
	if (why) {
		session_fail(session, -EPROTO, why);
		return;
	}
	copy_name(session->name, sizeof(session->name), msg->name);
	if (msg->flags & VRAM_HELLO_ADMIN)
		session->admin = true;
	else if (arbiter_adopts(scheduler_arbiter(s)))
		r = enter_module(session, &reply, msg->flags & VRAM_HELLO_DEVICE ? fds[0] : -1,
				 &why);
	else
		r = enter_local(session, &reply, &fd, &why);
	if (r < 0) {
		session_refuse(session, hdr, r, why);
		return;
	}
	session->greeted = true;
	session->ss.whole = gpu->imports && msg->flags & VRAM_HELLO_SHIM;
	reply.session = session->ss.id;
	snprintf(reply.device_name, sizeof(reply.device_name), "%s", gpu->name);
	session_reply(session, hdr, &reply, sizeof(reply), fd);
}
