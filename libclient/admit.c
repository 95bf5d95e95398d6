// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Waiting to be admitted.
 *
 * The answer to ADMIT may take minutes, and the conversation with the daemon has to go on meanwhile: so the lock
 * is not held while we wait, and the answer is taken by whichever thread reads the socket next (request.c), like an
 * event. It leaves the answer in client->admission and wakes us by an eventfd.
 *
 * What was asked for last is remembered. A daemon that comes after this one knows nothing of it: reconnect.c asks again, without
 * waiting, so that the new one takes it into account; one that still waits asks again by itself.
 */
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/err.h"

/* Between attempts at a daemon that is away. */
#define PAUSE_NS 100000000
/* The daemon keeps the time; this much later it is taken for dead. */
#define GRACE_NS 10000000000ull

void admit_wake(struct vram_client *client)
{
	uint64_t one = 1;

	if (client->admission.pending && client->admission.wake_fd >= 0)
		while (write(client->admission.wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
}

int admit_take(struct vram_client *client, const struct vram_msg_hdr *hdr, const void *body,
	       size_t body_bytes)
{
	struct admission *a = &client->admission;
	struct vram_msg_error error;

	if (hdr->error ? body_bytes != sizeof(error) : body_bytes != sizeof(a->reply))
		return -EPROTO;
	/* Of a question that was given up, or that reconnect.c has asked. */
	if (!a->pending || hdr->seq != a->seq)
		return 0;
	a->done = true;
	a->result = hdr->error;
	if (hdr->error) {
		memcpy(&error, body, sizeof(error));
		error.text[sizeof(error.text) - 1] = '\0';
		memcpy(a->text, error.text, sizeof(a->text));
	} else {
		memcpy(&a->reply, body, sizeof(a->reply));
	}
	admit_wake(client);
	return 0;
}

void admit_renew(struct vram_client *client)
{
	struct admission *a = &client->admission;
	struct vram_msg_admit again = a->message;
	uint32_t seq;

	/* Who waits asks by itself. */
	if (!a->granted || a->pending)
		return;
	again.flags |= VRAM_ADMIT_CLAMP;
	again.timeout_ns = UINT64_MAX;
	request_ask(client, VRAM_MSG_ADMIT, &again, sizeof(again), &seq);
}

static uint64_t left(uint64_t deadline)
{
	uint64_t now = client_now_ns();

	return deadline == UINT64_MAX ? UINT64_MAX : deadline > now ? deadline - now : 0;
}

/* The lock is held. Return: 0 (asked), -ENOTCONN, or another error of connecting. */
static int ask(struct vram_client *client, uint64_t deadline, bool by_default)
{
	struct admission *a = &client->admission;
	int r;

	r = client_reconnect(client);
	if (r < 0)
		return r;
	if (!by_default) {
		a->message.timeout_ns = left(deadline);
		if (a->message.timeout_ns == 0)
			a->message.timeout_ns = 1;
	}
	a->done = false;
	r = request_ask(client, VRAM_MSG_ADMIT, &a->message, sizeof(a->message), &a->seq);
	return r < 0 ? client_fail(r, "the connection to vramd was lost") : 0;
}

/* Until the answer, or the connection's end, or the deadline and some. The lock is held, and let go meanwhile. */
static void sleep_for_answer(struct vram_client *client, uint64_t deadline)
{
	struct pollfd fds[] = {
		{ .fd = client->epoll_fd, .events = POLLIN },
		{ .fd = client->admission.wake_fd, .events = POLLIN },
	};
	uint64_t late = deadline > UINT64_MAX - GRACE_NS ? UINT64_MAX : deadline + GRACE_NS;
	uint64_t count;

	while (!client->admission.done && !client->lost && left(late)) {
		uint64_t ms = left(late) / 1000000 + 1;

		client_unlock(client);
		poll(fds, 2, ms > 60000 ? 60000 : (int)ms);
		client_lock(client);
		if (read(client->admission.wake_fd, &count, sizeof(count)) < 0)
			count = 0;
		request_poll(client);
	}
}

/* The lock is held, and let go meanwhile. */
static int wait_for_admission(struct vram_client *client, uint64_t deadline, bool by_default)
{
	struct admission *a = &client->admission;
	bool asked = false;
	int r;

	for (;;) {
		r = ask(client, deadline, by_default);
		if (r == 0) {
			asked = true;
			sleep_for_answer(client, deadline);
			if (a->done)
				return a->result ?
					       client_fail(client_errno(a->result), "%s", a->text) :
					       0;
			if (!client->lost)
				return client_fail(-ETIMEDOUT, "vramd does not answer");
		}
		if (r < 0 && (r != -ENOTCONN || !asked))
			return r;
		/* One that was there a moment ago may come back. */
		if (left(deadline) == 0)
			return client_fail(-ENOTCONN, "the connection to vramd was lost");
		client_unlock(client);
		nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
		client_lock(client);
	}
}

static int need_wake_fd(struct vram_client *client)
{
	if (client->admission.wake_fd < 0)
		client->admission.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (client->admission.wake_fd < 0)
		return client_fail(-ENOMEM, "no eventfd: %s", err_text(errno));
	return 0;
}

int client_admit(struct vram_client *client, const struct vram_admission *want, int64_t timeout_ns,
		 uint64_t *out_reserved_bytes)
{
	struct admission *a = &client->admission;
	bool by_default = timeout_ns == VRAM_TIMEOUT_DEFAULT;
	int r;

	if (a->pending)
		return client_fail(-EINVAL, "another thread waits to be admitted already");
	r = need_wake_fd(client);
	if (r < 0)
		return r;
	a->message = (struct vram_msg_admit){
		.working_set_bytes = want->working_set_bytes,
		.priority = want->priority,
		.flags = want->flags,
	};
	a->pending = true;
	a->granted = false;
	r = wait_for_admission(client, by_default ? UINT64_MAX : client_deadline(timeout_ns),
			       by_default);
	a->pending = false;
	a->granted = r == 0;
	if (r == -ETIMEDOUT && timeout_ns == 0)
		return client_fail(-EAGAIN, "there is no room now, and the caller does not wait");
	if (r == 0 && out_reserved_bytes)
		*out_reserved_bytes = a->reply.reserved_bytes;
	return r;
}

int vram_admit(struct vram_client *client, const struct vram_admission *want, int64_t timeout_ns,
	       uint64_t *out_reserved_bytes)
{
	int r;

	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	if (!want || want->flags & ~VRAM_ADMISSION_CLAMP || want->priority < -20 ||
	    want->priority > 19)
		return client_fail(-EINVAL, "vram_admit: a priority is from -20 to 19");
	client_lock(client);
	r = client_admit(client, want, timeout_ns, out_reserved_bytes);
	client_unlock(client);
	return r;
}
