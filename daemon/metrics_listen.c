// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/metrics_listen.h"

#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/err.h"
#include "common/list.h"
#include "daemon/config.h"
#include "daemon/config_address.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/metrics.h"
#include "daemon/snapshot.h"

/* Of one connection, request and answer's header: longer requests are refused. */
#define MEMORY_BYTES 8192u
/* Rendering may take a part in so much of the time. */
#define SHARE_OF_TIME 20u

static const char index_text[] = "vramd's metrics are at /metrics\n";

struct connection {
	struct list_node node; /* metrics_listen.connections, the oldest first */
	int fd;
	uint64_t until_ns;
};

struct metrics_listen {
	struct scheduler *s;
	struct MHD_Daemon *http;
	int epoll_fd; /* http's */
	struct list_node connections;
	struct loop_op ready;
	struct loop_op again;
	struct loop_op timer;
	/* What was rendered last, by enum metrics_format, for as long as it may serve. */
	struct MHD_Response *text[2];
	uint64_t text_until_ns[2];
};

/* ---- answers ---- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned int status,
			      const char *text, const char *allow)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
	enum MHD_Result r;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, "Content-Type", "text/plain; charset=utf-8");
	MHD_add_response_header(response, "Connection", "close");
	if (allow)
		MHD_add_response_header(response, "Allow", allow);
	r = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return r;
}

static struct MHD_Response *render(struct metrics_listen *l, enum metrics_format format)
{
	const struct snapshot_view view = { .all = true };
	bool details = scheduler_config(l->s)->daemon.metrics_detail;
	struct MHD_Response *response;
	struct snapshot snapshot;
	char *text;
	size_t len;

	if (snapshot_take(l->s, &view, &snapshot) < 0)
		return NULL;
	text = metrics_render(&snapshot, format, details, &len);
	snapshot_deinit(&snapshot);
	if (!text)
		return NULL;
	response = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(text);
		return NULL;
	}
	MHD_add_response_header(response, "Content-Type",
				format == METRICS_OPENMETRICS ? METRICS_TYPE_OPENMETRICS :
								METRICS_TYPE_PROMETHEUS);
	MHD_add_response_header(response, "Connection", "close");
	return response;
}

/* Owned by l. */
static struct MHD_Response *text_of(struct metrics_listen *l, enum metrics_format format)
{
	uint64_t begin = loop_now(), end;

	if (l->text[format] && begin < l->text_until_ns[format])
		return l->text[format];
	if (l->text[format])
		MHD_destroy_response(l->text[format]);
	l->text[format] = render(l, format);
	end = loop_now();
	l->text_until_ns[format] = end + (end - begin) * SHARE_OF_TIME;
	return l->text[format];
}

/*
 * A page in a browser can have its own name lead here and then read the answer: what it cannot do is name the machine itself in
 * Host.
 */
static bool is_host_local(const char *host)
{
	static const char *const names[] = { "localhost", "127.", "[::1]" };
	size_t i, n;

	if (!host) /* HTTP/1.0 */
		return true;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		n = strlen(names[i]);
		if (strncasecmp(host, names[i], n) != 0)
			continue;
		/* 127.0.0.1 to 127.255.255.255, but not 127.example.org. */
		if (names[i][n - 1] == '.')
			n += strspn(host + n, "0123456789.");
		if (!host[n] || host[n] == ':')
			return true;
	}
	return false;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection,
				  const char *url, const char *method, const char *version,
				  const char *body, size_t *body_len, void **state)
{
	static const char seen = 1;
	struct metrics_listen *l = userdata;
	struct MHD_Response *response;
	const char *accept;

	(void)version;
	(void)body;
	/* Called once for the header, and then until the body, which nobody reads, is over. */
	if (!*state) {
		*state = (void *)(uintptr_t)&seen;
		return MHD_YES;
	}
	if (*body_len) {
		*body_len = 0;
		return MHD_YES;
	}
	if (!is_host_local(MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host")))
		return answer(
			connection, MHD_HTTP_FORBIDDEN,
			"the machine itself is to be named in Host: 127.0.0.1, [::1] or localhost\n",
			NULL);
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n",
			      "GET, HEAD");
	if (!strcmp(url, "/"))
		return answer(connection, MHD_HTTP_OK, index_text, NULL);
	if (strcmp(url, "/metrics") != 0)
		return answer(connection, MHD_HTTP_NOT_FOUND, index_text, NULL);
	accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Accept");
	response = text_of(l, accept && strstr(accept, "application/openmetrics-text") ?
				      METRICS_OPENMETRICS :
				      METRICS_PROMETHEUS);
	if (!response)
		return answer(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n", NULL);
	return MHD_queue_response(connection, MHD_HTTP_OK, response);
}

/* ---- connections ---- */

static void on_connection(void *userdata, struct MHD_Connection *http, void **state,
			  enum MHD_ConnectionNotificationCode what)
{
	struct connection *connection = *state;
	struct metrics_listen *l = userdata;
	const union MHD_ConnectionInfo *info;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (connection)
			list_del(&connection->node);
		free(connection);
		*state = NULL;
		return;
	}
	connection = calloc(1, sizeof(*connection));
	info = MHD_get_connection_info(http, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (!connection || !info) {
		/* It still ends when it has been silent for as long. */
		free(connection);
		return;
	}
	connection->fd = info->connect_fd;
	connection->until_ns = loop_now() + METRICS_SECONDS * 1000000000ull;
	list_add_tail(&connection->node, &l->connections);
	*state = connection;
}

/* One that sends a byte now and then is never silent: its time is over all the same. */
static void end_old(struct metrics_listen *l, uint64_t now_ns)
{
	const struct connection *connection;

	list_for_each(connection, &l->connections, node)
		if (connection->until_ns <= now_ns)
			shutdown(connection->fd, SHUT_RDWR);
}

/* ---- the loop ---- */

static void arm(struct metrics_listen *l)
{
	struct pollfd ready = { .fd = l->epoll_fd, .events = POLLIN };
	uint64_t now = loop_now(), next = UINT64_MAX;
	const struct connection *connection;
	struct loop *loop = scheduler_loop(l->s);
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(l->http, &ms) == MHD_YES)
		next = now + ms * 1000000ull;
	/* The loop's poll tells of changes: what is left over must be asked for. */
	if (next == now || poll(&ready, 1, 0) == 1) {
		if (!loop_op_armed(&l->again))
			loop_defer(loop, &l->again);
		return;
	}
	/* One that was shut down goes when MHD looks at it. */
	list_for_each(connection, &l->connections, node)
		if (connection->until_ns > now && connection->until_ns < next)
			next = connection->until_ns;
	loop_cancel(loop, &l->timer);
	if (next != UINT64_MAX)
		loop_timer(loop, &l->timer, next);
}

static void run(struct metrics_listen *l)
{
	end_old(l, loop_now());
	MHD_run(l->http);
	arm(l);
}

static void on_ready(struct loop_op *op, int res)
{
	struct metrics_listen *l = list_entry(op, struct metrics_listen, ready);

	if (res < 0)
		log_error("metrics cannot be served any more: %s", err_text(res));
	else
		run(l);
}

static void on_again(struct loop_op *op, int res)
{
	(void)res;
	run(list_entry(op, struct metrics_listen, again));
}

static void on_timer(struct loop_op *op, int res)
{
	(void)res;
	run(list_entry(op, struct metrics_listen, timer));
}

/* ---- beginning and end ---- */

/* What MHD finds wrong with clients is theirs to know. */
static void on_log(void *userdata, const char *format, va_list args)
{
	char text[256];

	(void)userdata;
	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	log_debug("metrics: %s", text);
}

static int open_socket(const struct sockaddr_storage *address, socklen_t len)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int one = 1;
	int r;

	if (fd < 0)
		return err_origin(-errno);
	/* Not to wait for connections of an earlier daemon to be forgotten. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)address, len) == 0 &&
	    listen(fd, METRICS_CONNECTIONS) == 0)
		return fd;
	r = -errno;
	close(fd);
	return err_origin(r);
}

static int start(struct metrics_listen *l, int fd)
{
	const union MHD_DaemonInfo *info;

	l->http = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, l,
				   MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
				   MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
				   METRICS_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
				   METRICS_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				   (size_t)MEMORY_BYTES, MHD_OPTION_NOTIFY_CONNECTION,
				   on_connection, l, MHD_OPTION_STRICT_FOR_CLIENT, 1,
				   MHD_OPTION_END);
	if (!l->http)
		return err_origin(-ENOMEM);
	info = MHD_get_daemon_info(l->http, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info || info->epoll_fd < 0)
		return err_origin(-EOPNOTSUPP);
	l->epoll_fd = info->epoll_fd;
	return err_trace(loop_poll(scheduler_loop(l->s), &l->ready, l->epoll_fd, POLLIN));
}

int metrics_listen_new(struct metrics_listen **out, struct scheduler *s)
{
	const char *text = scheduler_config(s)->daemon.metrics_listen;
	struct sockaddr_storage address;
	struct metrics_listen *l;
	char what[256];
	socklen_t len;
	int fd, r;

	*out = NULL;
	r = config_address_parse(text, &address, &len, what, sizeof(what));
	if (r < 0 || len == 0)
		return err_trace(r);
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_origin(-ENOMEM);
	l->s = s;
	l->epoll_fd = -1;
	list_init(&l->connections);
	l->ready.fn = on_ready;
	l->again.fn = on_again;
	l->timer.fn = on_timer;
	fd = open_socket(&address, len);
	r = fd < 0 ? fd : start(l, fd);
	if (r < 0) {
		log_error("daemon.metrics_listen: cannot listen at %s: %s%s", text, err_text(r),
			  r == -EADDRINUSE ? " (another program does; take another port)" : "");
		if (fd >= 0 && !l->http)
			close(fd);
		metrics_listen_free(l);
		return err_trace(r);
	}
	log_info("metrics at http://%s/metrics, %s", text,
		 scheduler_config(s)->daemon.metrics_detail ? "of everything" :
							      "of the device and of users");
	*out = l;
	return 0;
}

struct metrics_listen *metrics_listen_free(struct metrics_listen *l)
{
	int i;

	if (!l)
		return NULL;
	loop_cancel(scheduler_loop(l->s), &l->ready);
	loop_cancel(scheduler_loop(l->s), &l->again);
	loop_cancel(scheduler_loop(l->s), &l->timer);
	/* Closes the socket, too. */
	if (l->http)
		MHD_stop_daemon(l->http);
	for (i = 0; i < 2; i++)
		if (l->text[i])
			MHD_destroy_response(l->text[i]);
	free(l);
	return NULL;
}
