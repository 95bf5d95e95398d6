// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * The watch: a thread that notices the daemon's end and reconnects.
 *
 * It looks at the socket for its end only, not for messages: those are for whoever holds the lock. But on a card it
 * reads messages as well, because the daemon's RECLAIM cannot wait until the program calls the library, and
 * does what cuda_watch() says. While there is no daemon it reads the userfaultfds, so that a munmap of the
 * program's finds somebody who takes note; threads that wait for pages go on waiting.
 *
 * The eventfd only wakes it: what there is to do it finds in `watch_stop` and under the lock.
 */
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/err.h"
#include "libclient/cuda_state.h"
#include "libclient/uffd.h"

#define TICK_MS	       2000
#define RETRY_FIRST_MS 20
#define RETRY_MAX_MS   2000
#define STACK_BYTES    (256u << 10)

/* One attempt. Return: whether there is a connection now; *out_sock is it. */
static bool look(struct vram_client *client, int *out_sock)
{
	bool up;

	client_lock(client);
	up = !client->lost;
	if (!up)
		up = client_reconnect(client) == 0;
	if (!up) {
		if (client->uffd >= 0)
			uffd_drain(client->uffd);
		for (size_t i = 0; i < client->n_stale; i++)
			uffd_drain(client->stale[i]);
	}
	*out_sock = client->sock;
	client_unlock(client);
	return up;
}

/* The descriptor said that there is something, or that the peer has gone: make it official. */
static void take_messages(struct vram_client *client, int sock)
{
	client_lock(client);
	if (client->sock == sock)
		request_poll(client);
	client_unlock(client);
}

static void take_kick(struct vram_client *client)
{
	uint64_t count;

	/* Nothing reads it but the watch, so it does not block. */
	while (read(client->watch_kick_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

/*
 * A client that was never connected (the child of a fork) connects when the first thread touches
 * a mapping, or somebody else has made it connect. Return: false when told to stop.
 */
static bool await_first_touch(struct vram_client *client)
{
	for (;;) {
		struct pollfd fds[2] = {
			{ .fd = client->watch_kick_fd, .events = POLLIN },
			{ .fd = -1, .events = POLLIN },
		};
		bool connected;
		int n;

		if (atomic_load(&client->watch_stop))
			return false;
		client_lock(client);
		connected = client->generation > 0;
		fds[1].fd = client->n_stale ? client->stale[0] : client->uffd;
		client_unlock(client);
		if (connected)
			return true;
		n = poll(fds, 2, TICK_MS);
		if (n > 0 && fds[0].revents)
			take_kick(client);
		if (n > 0 && fds[1].revents)
			return true;
	}
}

static void *watch_main(void *arg)
{
	struct vram_client *client = arg;
	int retry_ms = RETRY_FIRST_MS;
	bool was_up = true;

	if (client->watch_hook)
		client->watch_hook(client, WATCH_BEGINS);
	if (!await_first_touch(client))
		return NULL;
	while (!atomic_load(&client->watch_stop)) {
		struct pollfd fds[2] = { { .fd = client->watch_kick_fd, .events = POLLIN } };
		short wanted = POLLRDHUP;
		int sock, n, tick_ms;
		bool up = look(client, &sock);

		tick_ms = cuda_watch(client, up ? TICK_MS : retry_ms, &wanted);
		if (client->watch_hook)
			client->watch_hook(client, up ? WATCH_UP : WATCH_DOWN);
		if (up && !was_up)
			retry_ms = RETRY_FIRST_MS;
		was_up = up;
		/* A descriptor of -1 is passed over. */
		fds[1] = (struct pollfd){ .fd = up ? sock : -1, .events = wanted };
		n = poll(fds, 2, tick_ms);
		if (n > 0 && fds[0].revents)
			take_kick(client);
		if (n > 0 && fds[1].revents)
			take_messages(client, sock);
		if (!up && retry_ms < RETRY_MAX_MS)
			retry_ms *= 2;
	}
	return NULL;
}

int watch_start(struct vram_client *client)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	atomic_store(&client->watch_stop, false);
	client->watch_kick_fd = eventfd(0, EFD_CLOEXEC);
	if (client->watch_kick_fd < 0)
		return client_fail(-ENOMEM, "no eventfd: %s", err_text(errno));
	pthread_attr_init(&attr);
	/* Thread-local data of the program counts against the stack too. */
	pthread_attr_setstacksize(&attr, STACK_BYTES + (size_t)PTHREAD_STACK_MIN);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&client->watch, &attr, watch_main, client);
	if (r == EINVAL) /* a program with very much thread-local data */
		r = pthread_create(&client->watch, NULL, watch_main, client);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (r) {
		close(client->watch_kick_fd);
		client->watch_kick_fd = -1;
		return client_fail(-ENOMEM, "no thread: %s", err_text(r));
	}
	pthread_setname_np(client->watch, "vram-watch");
	client->has_watch = true;
	return 0;
}

void watch_kick(struct vram_client *client)
{
	uint64_t one = 1;

	if (client->watch_kick_fd < 0)
		return;
	while (write(client->watch_kick_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void watch_stop(struct vram_client *client)
{
	if (!client->has_watch)
		return;
	atomic_store(&client->watch_stop, true);
	watch_kick(client);
	pthread_join(client->watch, NULL);
	close(client->watch_kick_fd);
	client->watch_kick_fd = -1;
	client->has_watch = false;
}
