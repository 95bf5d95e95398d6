// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/shared/ask.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/fd.h"
#include "common/proto.h"
#include "common/socket.h"

/* The daemon answers at once; when it does not, something is wrong with it. */
#define ASK_TIMEOUT_S  20
#define ASK_ANSWER_MAX (256u << 20)
/* It does not wait for name services, and says so: then we do, for five seconds. */
#define TRIES  25u
#define TRY_NS 200000000l

union packet {
	struct vram_msg_hdr hdr;
	char bytes[VRAM_MSG_MAX];
};

static void complain(char why[ASK_WHY_MAX], const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void complain(char why[ASK_WHY_MAX], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, ASK_WHY_MAX, format, args);
	va_end(args);
}

static int connect_to(const char *path, char *why, int *out_fd)
{
	const struct timeval timeout = { .tv_sec = ASK_TIMEOUT_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	int r;

	if (!*path) {
		complain(why, "the socket's path is empty: see --socket and $VRAM_SOCKET");
		return err_origin(-EINVAL);
	}
	if (strlen(path) >= sizeof(addr.sun_path)) {
		complain(why, "%s: too long for a socket", path);
		return err_origin(-ENAMETOOLONG);
	}
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0) {
		complain(why, "cannot make a socket: %s", strerror(errno));
		return err_origin(-errno);
	}
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		r = -errno;
		if (r == -ENOENT || r == -ECONNREFUSED) {
			complain(why, "no vramd listens on %s", path);
			return -ENOENT;
		}
		complain(why, "cannot connect to %s: %s%s", path, strerror(-r),
			 r == -EACCES ? " (are you in the group of the socket?)" : "");
		return err_origin(r);
	}
	*out_fd = steal_fd(&fd);
	return 0;
}

/* Receives the reply of that seq, or what the daemon says instead. */
static int reply_receive(int sock, uint32_t seq, union packet *packet, char *why, int *out_fd)
{
	int fds[VRAM_MSG_MAX_FDS], want_fd = out_fd ? 1 : 0;
	const struct vram_msg_error *error;
	size_t n_fds;
	ssize_t n;

	n = fd_recv(sock, packet, sizeof(*packet), fds, VRAM_MSG_MAX_FDS, &n_fds, 0);
	/* Said once, and ahead of what is queued: the reason may be behind it. */
	if (n == -ECONNRESET)
		n = fd_recv(sock, packet, sizeof(*packet), fds, VRAM_MSG_MAX_FDS, &n_fds, 0);
	if (n <= 0) {
		complain(why, "vramd %s",
			 n == 0		  ? "has closed the connection" :
			 n == -EAGAIN	  ? "does not answer" :
			 n == -ECONNRESET ? "has closed the connection" :
					    err_text((int)n));
		return err_origin(n == 0 ? -ECONNRESET : (int)n);
	}
	error = (const struct vram_msg_error *)(const void *)(&packet->hdr + 1);
	if ((size_t)n >= sizeof(packet->hdr) + sizeof(*error) &&
	    (packet->hdr.error < 0 || packet->hdr.type == VRAM_MSG_GOODBYE)) {
		complain(why, "vramd: %.*s", (int)sizeof(error->text), error->text);
		fd_close_all(fds, n_fds);
		return err_origin(packet->hdr.error < 0 ? packet->hdr.error : -ECONNREFUSED);
	}
	if ((size_t)n < sizeof(packet->hdr) || packet->hdr.seq != seq || (int)n_fds != want_fd) {
		complain(why, "this is not the answer of a vramd");
		fd_close_all(fds, n_fds);
		return err_origin(-EPROTO);
	}
	if (want_fd)
		*out_fd = fds[0];
	return 0;
}

static int greet(int sock, union packet *packet, char *why)
{
	struct {
		struct vram_msg_hdr hdr;
		struct vram_msg_hello body;
	} hello = {
		.hdr = { .type = VRAM_MSG_HELLO, .size = sizeof(hello), .seq = 1 },
		.body = { .version = VRAM_PROTO_VERSION, .flags = VRAM_HELLO_ADMIN },
	};
	int r;

	snprintf(hello.body.name, sizeof(hello.body.name), "%s", program_invocation_short_name);
	r = fd_send(sock, &hello, sizeof(hello), NULL, 0, 0);

	/* A daemon that refuses us closes at once, but its reason lies in the socket. */
	if (r < 0 && r != -EPIPE)
		return err_trace(r);
	return err_trace(reply_receive(sock, 1, packet, why, NULL));
}

/* Return: 0 with a descriptor of the answer's text. */
static int question_send(int sock, const json_t *request, union packet *packet, char *why,
			 int *out_fd)
{
	size_t len = json_dumpb(request, packet->bytes + sizeof(packet->hdr),
				sizeof(*packet) - sizeof(packet->hdr), JSON_COMPACT);
	int r;

	if (len == 0 || len > sizeof(*packet) - sizeof(packet->hdr)) {
		complain(why, "the request is too long");
		return err_origin(-EMSGSIZE);
	}
	packet->hdr = (struct vram_msg_hdr){
		.type = VRAM_MSG_ADMIN,
		.size = (uint32_t)(sizeof(packet->hdr) + len),
		.seq = 2,
	};
	r = fd_send(sock, packet, packet->hdr.size, NULL, 0, 0);
	if (r < 0 && r != -EPIPE) {
		complain(why, "cannot ask vramd: %s", err_text(r));
		return err_trace(r);
	}
	return err_trace(reply_receive(sock, 2, packet, why, out_fd));
}

static int answer_parse(int fd, char *why, json_t **out_answer)
{
	json_error_t error;
	struct stat st;
	json_t *answer;
	void *text;

	if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > ASK_ANSWER_MAX) {
		complain(why, "the answer of vramd cannot be read");
		return err_origin(-EPROTO);
	}
	text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (text == MAP_FAILED) {
		complain(why, "the answer of vramd cannot be read: %s", strerror(errno));
		return err_origin(-errno);
	}
	answer = json_loadb(text, (size_t)st.st_size, 0, &error);
	munmap(text, (size_t)st.st_size);
	if (!answer) {
		complain(why, "the answer of vramd is not JSON: %s", error.text);
		return err_origin(-EPROTO);
	}
	*out_answer = answer;
	return 0;
}

int ask_why(const char *path, const json_t *request, char why[ASK_WHY_MAX], json_t **out_answer)
{
	_cleanup_close_ int sock = -1, fd = -1;
	_cleanup_free_ union packet *packet = malloc(sizeof(*packet));
	char default_path[VRAM_SOCKET_PATH_MAX];
	const char *text;
	json_t *answer = NULL;
	int r;

	why[0] = '\0';
	if (!packet) {
		complain(why, "out of memory");
		return err_origin(-ENOMEM);
	}
	if (!path) {
		r = vram_socket_path(default_path, sizeof(default_path));
		if (r < 0) {
			complain(why, "VRAM_SOCKET: too long for a socket");
			return err_trace(r);
		}
		path = default_path;
	}
	r = connect_to(path, why, &sock);
	if (r == 0)
		r = greet(sock, packet, why);
	if (r == 0)
		r = question_send(sock, request, packet, why, &fd);
	if (r == 0)
		r = answer_parse(fd, why, &answer);
	if (r < 0) {
		if (!*why)
			complain(why, "cannot ask vramd: %s", err_text(r));
		return err_trace(r);
	}
	text = json_string_value(json_object_get(answer, "error"));
	if (text) {
		const char *error = json_string_value(json_object_get(answer, "errno"));

		complain(why, "%s", text);
		r = error && !strcmp(error, "EAGAIN") ? -EINPROGRESS : -EPERM;
		json_decref(answer);
		return err_origin(r);
	}
	*out_answer = answer;
	return 0;
}

int ask(const char *path, const json_t *request, bool quiet, json_t **out_answer)
{
	char why[ASK_WHY_MAX];
	unsigned int tries;
	bool nobody;
	int r;

	for (tries = 0;; tries++) {
		r = ask_why(path, request, why, out_answer);
		if (r != -EINPROGRESS || tries == TRIES)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = TRY_NS }, NULL);
	}
	nobody = r == -ENOENT && !strncmp(why, "no vramd", 8);
	if (r == 0 || (nobody && quiet))
		return r;
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, why);
	if (nobody)
		fputs("Start the system's with 'systemctl start vramd', or one of your own with 'vramd --user'.\n",
		      stderr);
	return r;
}
