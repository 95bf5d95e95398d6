// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * A client's session does not tell about limits; an administrator's, which anybody may open, tells everybody about his own.
 * So this asks in a session of its own, once a second at most.
 */
#define _GNU_SOURCE 1
#include "libclient/cudashim/limit.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/proto.h"
#include "common/socket.h"
#include "libclient/internal.h"

/* A program is not held up for longer by a daemon that does not answer. */
#define ANSWER_S   5
#define ANSWER_MAX (1u << 20)
#define AGE_NS	   1000000000ull

union packet {
	struct vram_msg_hdr hdr;
	char bytes[4096];
};

static int connect_admin(void)
{
	const struct {
		struct vram_msg_hdr hdr;
		struct vram_msg_hello body;
	} hello = {
		.hdr = { .type = VRAM_MSG_HELLO, .size = sizeof(hello), .seq = 1 },
		.body = { .version = VRAM_PROTO_VERSION,
			  .flags = VRAM_HELLO_ADMIN,
			  .name = "libcuda" },
	};
	struct timeval limit = { .tv_sec = ANSWER_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int sock = -1;
	int fds[VRAM_MSG_MAX_FDS], r;
	union packet reply;
	size_t n_fds;
	ssize_t n;

	r = vram_socket_path(addr.sun_path, sizeof(addr.sun_path));
	if (r < 0)
		return r;
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(sock, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	r = fd_send(sock, &hello, sizeof(hello), NULL, 0, 0);
	if (r < 0)
		return r;
	n = fd_recv(sock, &reply, sizeof(reply), fds, VRAM_MSG_MAX_FDS, &n_fds, 0);
	if (n < 0)
		return (int)n;
	fd_close_all(fds, n_fds);
	if ((size_t)n < sizeof(reply.hdr) || reply.hdr.error)
		return -EPROTO;
	r = sock;
	sock = -1;
	return r;
}

/* The answer to one question; NULL if there is none. */
static json_t *question(int sock, uint32_t seq, const char *text)
{
	size_t len = strlen(text), n_fds;
	int fds[VRAM_MSG_MAX_FDS];
	json_t *answer = NULL;
	union packet packet;
	struct stat st;
	void *map;
	ssize_t n;

	packet.hdr = (struct vram_msg_hdr){ .type = VRAM_MSG_ADMIN,
					    .size = (uint32_t)(sizeof(packet.hdr) + len),
					    .seq = seq };
	memcpy(packet.bytes + sizeof(packet.hdr), text, len);
	if (fd_send(sock, &packet, packet.hdr.size, NULL, 0, 0) < 0)
		return NULL;
	n = fd_recv(sock, &packet, sizeof(packet), fds, VRAM_MSG_MAX_FDS, &n_fds, 0);
	if (n < 0)
		return NULL;
	if ((size_t)n >= sizeof(packet.hdr) && packet.hdr.seq == seq && !packet.hdr.error &&
	    n_fds == 1 && !fstat(fds[0], &st) && st.st_size > 0 && st.st_size <= ANSWER_MAX) {
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fds[0], 0);
		if (map != MAP_FAILED) {
			answer = json_loadb(map, (size_t)st.st_size, 0, NULL);
			munmap(map, (size_t)st.st_size);
		}
	}
	fd_close_all(fds, n_fds);
	return answer;
}

/* The limit of one subject on the card, if it is less. */
static void lower(int sock, uint32_t seq, const char *kind, unsigned long long key,
		  uint64_t *in_out)
{
	json_t *answer, *row, *max;
	char text[128];
	size_t i;

	snprintf(text, sizeof(text), "{\"command\": \"limit_show\", \"subject\": \"%s:%llu\"}",
		 kind, key);
	answer = question(sock, seq, text);
	json_array_foreach(json_object_get(answer, "limits"), i, row) {
		const char *tier = json_string_value(json_object_get(row, "tier"));

		max = json_object_get(row, "max");
		if (tier && !strcmp(tier, "vram") && json_is_integer(max) &&
		    (uint64_t)json_integer_value(max) < *in_out)
			*in_out = (uint64_t)json_integer_value(max);
	}
	json_decref(answer);
}

/* What the tenant's limits say; UINT64_MAX where there are none, or nobody answers. */
static uint64_t own_limit(const struct vram_client *client)
{
	_cleanup_close_ int sock = connect_admin();
	uint64_t limit = UINT64_MAX;

	if (sock < 0)
		return limit;
	lower(sock, 2, "user", geteuid(), &limit);
	lower(sock, 3, "session", client->hello.session, &limit);
	return limit;
}

int limit_ask(struct vram_client *client, uint64_t *out_bytes)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static uint64_t cached, cached_ns;
	uint64_t now = client_now_ns();
	struct vram_stats stats;
	int r = vram_client_stats(client, &stats);

	if (r < 0)
		return r;
	pthread_mutex_lock(&lock);
	if (!cached_ns || now - cached_ns > AGE_NS) {
		cached = own_limit(client);
		cached_ns = now;
	}
	*out_bytes = cached < stats.budget_bytes ? cached : stats.budget_bytes;
	pthread_mutex_unlock(&lock);
	return 0;
}
