// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Being told when memory is waited for too long.
 *
 * The daemon sends a byte over a socket that it has made for it. Every daemon makes another, so what the program polls
 * is an epoll descriptor with the socket of the moment in it. One that has reached its end is taken out, or the
 * descriptor would stay readable for as long as the daemon is away.
 */
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/err.h"

struct vram_pressure {
	struct list_node node; /* client.pressures */
	struct vram_client *client;
	struct vram_msg_trigger message;
	int epoll_fd;
	int sock;  /* -1: the daemon that had made it is gone, or refused the last time */
	int error; /* what the last daemon said */
};

static void drop_socket(struct vram_pressure *pressure)
{
	/* Closing takes it out of the epoll descriptor, but not while a forked child has a copy. */
	if (pressure->sock < 0)
		return;
	epoll_ctl(pressure->epoll_fd, EPOLL_CTL_DEL, pressure->sock, NULL);
	close(pressure->sock);
	pressure->sock = -1;
}

/* The lock is held, and there is a connection. */
static int ask(struct vram_pressure *pressure)
{
	struct epoll_event interest = { .events = EPOLLIN };
	struct request request = {
		.type = VRAM_MSG_TRIGGER,
		.body = &pressure->message,
		.body_bytes = sizeof(pressure->message),
		.fd = -1,
		.out_fd = &pressure->sock,
	};
	int r;

	drop_socket(pressure);
	r = request_call(pressure->client, &request);
	if (r < 0) {
		pressure->sock = -1;
		return r;
	}
	if (epoll_ctl(pressure->epoll_fd, EPOLL_CTL_ADD, pressure->sock, &interest) < 0) {
		close(pressure->sock);
		pressure->sock = -1;
		return client_fail(-ENOMEM, "no descriptor to wait with: %s", err_text(errno));
	}
	return 0;
}

void pressure_renew(struct vram_client *client)
{
	struct vram_pressure *pressure;

	list_for_each(pressure, &client->pressures, node)
		pressure->error = ask(pressure);
}

int vram_pressure_watch(struct vram_client *client, enum vram_pressure_of of, unsigned int flags,
			uint64_t threshold_us, uint64_t window_us,
			struct vram_pressure **out_pressure)
{
	struct vram_pressure *pressure;
	int r = client_check(client);

	client_clear_error();
	if (r < 0)
		return r;
	if (flags & ~VRAM_WATCH_FULL || of < VRAM_PRESSURE_OF_CLIENT ||
	    of > VRAM_PRESSURE_OF_DEVICE)
		return client_fail(-EINVAL, "a client, a user or the device can be watched");
	if (window_us < 500000 || window_us > 10000000 || threshold_us == 0 ||
	    threshold_us > window_us)
		return client_fail(
			-EINVAL, "the window is 500 ms to 10 s, the threshold at most the window");
	pressure = calloc(1, sizeof(*pressure));
	if (!pressure)
		return client_fail(-ENOMEM, "no memory");
	pressure->client = client;
	pressure->sock = -1;
	pressure->message = (struct vram_msg_trigger){
		.kind = of,
		.flags = flags & VRAM_WATCH_FULL ? VRAM_TRIGGER_FULL : 0,
		.threshold_us = threshold_us,
		.window_us = window_us,
	};
	pressure->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (pressure->epoll_fd < 0) {
		free(pressure);
		return client_fail(-ENOMEM, "no epoll descriptor: %s", err_text(errno));
	}
	client_lock(client);
	r = client_reconnect(client);
	if (r == 0)
		r = ask(pressure);
	if (r == 0)
		list_add_tail(&pressure->node, &client->pressures);
	client_unlock(client);
	if (r < 0) {
		close(pressure->epoll_fd);
		free(pressure);
		return client_errno(r);
	}
	*out_pressure = pressure;
	return 0;
}

int vram_pressure_fd(const struct vram_pressure *pressure)
{
	return pressure->epoll_fd;
}

/* Return: 1 if there was something, 0 if not; -1: the socket has ended. */
static int drain(int sock)
{
	char bytes[64];
	bool any = false;
	ssize_t n;

	do {
		n = recv(sock, bytes, sizeof(bytes), MSG_DONTWAIT);
		any |= n > 0;
	} while (n > 0 || (n < 0 && errno == EINTR));
	if (any)
		return 1;
	return n < 0 && errno == EAGAIN ? 0 : -1;
}

int vram_pressure_take(struct vram_pressure *pressure)
{
	struct vram_client *client = pressure->client;
	int r = client_check(client);
	int fired = 0;

	client_clear_error();
	if (r < 0)
		return r;
	client_lock(client);
	if (pressure->sock >= 0)
		fired = drain(pressure->sock);
	if (fired < 0) {
		drop_socket(pressure);
		fired = 0;
	}
	/* Reconnecting asks for all of them anew; what a daemon refused is not asked again. */
	if (pressure->sock < 0) {
		r = client_reconnect(client);
		if (r == 0 && pressure->sock < 0)
			r = pressure->error ? pressure->error : ask(pressure);
	}
	client_unlock(client);
	return fired ? 1 : client_errno(r);
}

void vram_pressure_free(struct vram_pressure *pressure)
{
	struct vram_client *client;

	if (!pressure)
		return;
	client = pressure->client;
	/* In a forked child the lock may be held by a thread that is not there. */
	if (client_check(client) == 0) {
		client_lock(client);
		drop_socket(pressure);
		list_del(&pressure->node);
		client_unlock(client);
	} else if (pressure->sock >= 0) {
		close(pressure->sock);
	}
	close(pressure->epoll_fd);
	free(pressure);
}
