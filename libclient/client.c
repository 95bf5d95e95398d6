// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/err.h"
#include "common/fd.h"
#include "libclient/cuda_state.h"
#include "libclient/reader.h"

static __thread char error_text[512];

const char *vram_error_text(void)
{
	return error_text;
}

const char *vram_version(void)
{
	return VRAM_VERSION;
}

void client_clear_error(void)
{
	error_text[0] = '\0';
}

int client_fail(int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error_text, sizeof(error_text), format, args);
	va_end(args);
	return err_origin(r);
}

int client_errno(int r)
{
	switch (r) {
	case 0:
	case -EINVAL:
	case -ENOMEM:
	case -ENOENT:
	case -EACCES:
	case -EBADF:
	case -EISDIR:
	case -ENOTSUP:
	case -E2BIG:
	case -ENOSPC:
	case -EAGAIN:
	case -ETIMEDOUT:
	case -EIO:
	case -ESTALE:
	case -ENOTCONN:
	case -ECONNRESET:
	case -EPROTO:
	case -EPROTONOSUPPORT:
	case -ECHILD:
		return r;
	case -EPERM:
		return -EACCES;
	case -ENOTDIR:
	case -ELOOP:
		return -ENOENT;
	case -EMFILE:
	case -ENFILE:
	case -EFBIG:
	case -EDQUOT:
		return -E2BIG;
	case -EBADMSG:
	case -ENAMETOOLONG:
	case -ERANGE:
	case -EEXIST:
		return -EINVAL;
	case -EPIPE:
	case -ESHUTDOWN:
		return -ENOTCONN;
	case -EMSGSIZE:
		return -EPROTO;
	default:
		return r < 0 ? -EIO : r;
	}
}

uint64_t client_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t client_deadline(int64_t timeout_ns)
{
	uint64_t now = client_now_ns();

	if (timeout_ns < 0)
		return UINT64_MAX;
	return (uint64_t)timeout_ns > UINT64_MAX - 1 - now ? UINT64_MAX - 1 :
							     now + (uint64_t)timeout_ns;
}

int client_check(const struct vram_client *client)
{
	if (atomic_load_explicit(client->phase, memory_order_relaxed) == PHASE_FORKED)
		return client_fail(-ECHILD,
				   "this process was forked: the connection is the parent's");
	return 0;
}

void client_lock(struct vram_client *client)
{
	pthread_mutex_lock(&client->lock);
}

void client_add_event(struct vram_client *client, const struct vram_event *event)
{
	struct event_node *node;

	if (!client->callback)
		return;
	/* Without memory the event is lost; REVOKE ends in a GOODBYE, the others in errors of calls. */
	node = calloc(1, sizeof(*node));
	if (!node)
		return;
	node->event = *event;
	if (event->text)
		snprintf(node->text, sizeof(node->text), "%s", event->text);
	node->event.text = node->text;
	list_add_tail(&node->node, &client->events);
}

void client_unlock(struct vram_client *client)
{
	struct list_node events = LIST_INIT(events);
	vram_event_fn *callback = client->callback;
	void *arg = client->callback_arg;
	struct event_node *node, *tmp;

	if (client->cuda && client->cuda->n_reclaims)
		cuda_reclaim_serve(client->cuda);
	list_splice_tail(&client->events, &events);
	pthread_mutex_unlock(&client->lock);
	list_for_each_safe(node, tmp, &events, node) {
		if (callback)
			callback(arg, &node->event);
		free(node);
	}
}

void vram_client_set_callback(struct vram_client *client, vram_event_fn *fn, void *arg)
{
	if (client_check(client) < 0)
		return;
	client_lock(client);
	client->callback = fn;
	client->callback_arg = arg;
	client_unlock(client);
}

static int make_phase(struct vram_client *client)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *addr = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (addr == MAP_FAILED)
		return client_fail(-ENOMEM, "out of memory");
	if (madvise(addr, page, MADV_WIPEONFORK)) {
		munmap(addr, page);
		return client_fail(-ENOTSUP, "the kernel has no MADV_WIPEONFORK");
	}
	client->phase = addr;
	atomic_store(client->phase, PHASE_UP);
	return 0;
}

static void set_name(struct vram_client *client, const char *name)
{
	if (!name)
		name = program_invocation_short_name;
	snprintf(client->name, sizeof(client->name), "%s", name);
}

/* What client_new() has built so far, and no more. */
static void client_destroy(struct vram_client *client)
{
	struct event_node *node, *tmp;

	if (client->sock >= 0)
		close(client->sock);
	if (client->uffd >= 0)
		close(client->uffd);
	if (client->admission.wake_fd >= 0)
		close(client->admission.wake_fd);
	for (size_t i = 0; i < client->n_stale; i++)
		close(client->stale[i]);
	device_leave(client);
	if (client->epoll_fd >= 0)
		close(client->epoll_fd);
	if (client->phase)
		munmap((void *)client->phase, (size_t)sysconf(_SC_PAGESIZE));
	list_for_each_safe(node, tmp, &client->events, node)
		free(node);
	free(client->stale);
	free(client->path);
	free(client->tx);
	free(client->rx);
	free(client);
}

/* Everything but the connection. */
static int client_alloc(const char *path, const char *name, uint32_t hello_flags,
			struct vram_client **out_client)
{
	struct vram_client *client = calloc(1, sizeof(*client));
	int r;

	if (!client)
		return client_fail(-ENOMEM, "out of memory");
	pthread_mutex_init(&client->lock, NULL);
	pthread_mutex_init(&client->maps_lock, NULL);
	client->epoll_fd = -1;
	client->sock = -1;
	client->uffd = -1;
	client->device_fd = -1;
	client->watch_kick_fd = -1;
	client->admission.wake_fd = -1;
	client->hello_flags = hello_flags;
	list_init(&client->objects);
	list_init(&client->pressures);
	list_init(&client->events);
	set_name(client, name);
	client->tx = malloc(VRAM_MSG_MAX);
	client->rx = malloc(VRAM_MSG_MAX);
	if (path)
		client->path = strdup(path);
	client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!client->tx || !client->rx || (path && !client->path))
		r = client_fail(-ENOMEM, "out of memory");
	else if (client->epoll_fd < 0)
		r = client_fail(-ENOMEM, "no epoll descriptor: %s", err_text(errno));
	else
		r = reader_init();
	if (r == 0)
		r = make_phase(client);
	if (r < 0) {
		client_destroy(client);
		return r;
	}
	*out_client = client;
	return 0;
}

int client_new(const char *path, const char *name, uint32_t hello_flags,
	       struct vram_client **out_client)
{
	struct vram_client *client;
	int table_fd, r;

	r = client_alloc(path, name, hello_flags, &client);
	if (r < 0)
		return r;
	r = request_connect(client, &table_fd);
	if (r == 0) {
		r = table_map(client, table_fd, &client->table);
		if (table_fd >= 0)
			close(table_fd);
	}
	if (r < 0) {
		client_destroy(client);
		return r;
	}
	client->generation = 1;
	client->daemon_pid = client->peer_pid;
	*out_client = client;
	return 0;
}

int client_new_lost(const char *path, const char *name, uint32_t hello_flags, int uffd,
		    struct vram_client **out_client)
{
	struct vram_client *client;
	int r;

	r = client_alloc(path, name, hello_flags, &client);
	if (r < 0) {
		close(uffd);
		return r;
	}
	client->uffd = uffd;
	client->lost = true;
	client->told_lost = true;
	*out_client = client;
	return 0;
}

int vram_connect(const char *path, const char *name, unsigned int flags,
		 struct vram_client **out_client)
{
	struct vram_client *client;
	int r;

	client_clear_error();
	if (!out_client || (flags & ~VRAM_CONNECT_WATCH))
		return client_fail(-EINVAL, "vram_connect: unknown flags, or nowhere to return to");
	r = client_new(path, name, 0, &client);
	if (r < 0)
		return r;
	if (flags & VRAM_CONNECT_WATCH) {
		r = watch_start(client);
		if (r < 0) {
			vram_close(client);
			return r;
		}
	}
	*out_client = client;
	return 0;
}

void vram_close(struct vram_client *client)
{
	bool forked;

	if (!client)
		return;
	forked = client_check(client) < 0;
	if (!forked) {
		watch_stop(client);
		if (client->cuda) {
			cuda_drain(client, NULL);
			cuda_detach(client);
		}
		table_put(client->table);
		if (client->cuda)
			cuda_free(client);
	} else {
		/* The mapping was not inherited: at its address may be something else. */
		free(client->table);
		if (client->device)
			device_free(client->device);
		client->device = NULL;
		if (client->watch_kick_fd >= 0)
			close(client->watch_kick_fd);
		if (client->cuda)
			cuda_forget(client);
	}
	client_destroy(client);
}

int vram_client_fd(const struct vram_client *client)
{
	return client->epoll_fd;
}

int vram_client_dispatch(struct vram_client *client)
{
	int r;

	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	client_lock(client);
	r = request_poll(client);
	if (r < 0)
		r = client_reconnect(client);
	client_unlock(client);
	return r < 0 ? -ENOTCONN : 0;
}

int vram_client_reconnect(struct vram_client *client, int64_t timeout_ns)
{
	uint64_t deadline = client_deadline(timeout_ns);
	uint64_t pause_ns = 10000000;
	int r;

	client_clear_error();
	for (;;) {
		uint64_t now;

		r = client_check(client);
		if (r < 0)
			return r;
		client_lock(client);
		r = request_poll(client);
		if (r < 0)
			r = client_reconnect(client);
		client_unlock(client);
		now = client_now_ns();
		if (r != -ENOTCONN || now >= deadline)
			return r;
		if (pause_ns > deadline - now)
			pause_ns = deadline - now;
		nanosleep(&(struct timespec){ .tv_nsec = (long)pause_ns }, NULL);
		if (pause_ns < 500000000)
			pause_ns *= 2;
	}
}

int vram_client_stats(struct vram_client *client, struct vram_stats *out_stats)
{
	struct vram_msg_stats_reply reply;
	const struct request request = {
		.type = VRAM_MSG_STATS,
		.fd = -1,
		.reply = &reply,
		.reply_bytes = sizeof(reply),
	};
	int r;

	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	client_lock(client);
	r = client_reconnect(client);
	if (r == 0)
		r = request_call(client, &request);
	client_unlock(client);
	if (r < 0)
		return r;
	*out_stats = (struct vram_stats){
		.resident_bytes = reply.resident_bytes,
		.charged_bytes = reply.charged_bytes,
		.total_bytes = reply.total_bytes,
		.loaded_bytes = reply.loaded_bytes,
		.evicted_bytes = reply.evicted_bytes,
		.faults = reply.faults,
		.stall_ns = reply.stall_ns,
		.budget_bytes = reply.budget_bytes,
		.limit_bytes = reply.limit_bytes,
	};
	return 0;
}
