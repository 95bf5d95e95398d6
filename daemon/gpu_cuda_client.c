// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clients of a card: what they were given, asking for it back, and the end of those that do not obey.
 *
 * What a client has imported cannot be taken from it. It is asked, and has until a deadline if somebody waits for the
 * memory; while nobody does it may take its time. One that lets the deadline pass is killed: with the
 * process its mappings go, and that is the only revocation there is. (A process that has ended its session and keeps what it imported
 * is a program like any other that uses the card without us: the budget is less by so much.)
 *
 * What a client says is not relied on. Memory that it claims to have let go of is given to the driver, never to another
 * user; see gpu_cuda_pool.h.
 */
#include "daemon/gpu_cuda.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/log.h"

/* Ids of one round of asking. */
#define ASK_MAX 64u
/* More than any card has chunks of the smallest size. */
#define EXPORTS_MAX 262144u
/* After a client was killed, until its session is looked for again. */
#define REAP_NS 20000000u

int cuda_client_new(struct gpu *gpu, int fd, const struct gpu_peer *peer,
		    const struct gpu_client_events *events, void *owner, struct gpu_client **out)
{
	struct cuda_device *dev = cuda_device_of(gpu);
	struct gpu_client *client;

	if (fd >= 0) {
		close(fd);
		return -EINVAL;
	}
	if (dev->lost && cuda_revive(dev) < 0)
		return -ENODEV;
	client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	client->dev = dev;
	client->pid = peer->pid;
	client->pidfd = peer->pidfd;
	client->events = events;
	client->owner = owner;
	cuda_holder_init(&client->holder, peer->uid);
	*out = client;
	return 0;
}

struct gpu_client *cuda_client_free(struct gpu_client *client)
{
	struct cuda_device *dev = client->dev;

	cuda_pool_holder_end(&dev->pool, &client->holder);
	free(client);
	cuda_kick(dev);
	return NULL;
}

int cuda_chunk_export(struct gpu_client *client, uint64_t id, int *out_fd)
{
	struct cuda_device *dev = client->dev;
	struct gpu_object *object = cuda_chunk_holder(&dev->gpu, id);
	struct cuda_phys *phys = cuda_pool_find(&dev->pool, id);
	int fd = -1, r;

	if (dev->lost)
		return -ENODEV;
	if (!object)
		return -ENOENT;
	/* The caller has seen to it that the client may have the object; users are kept apart here once more. */
	if (phys->uid != client->holder.uid)
		return -EACCES;
	if (client->holder.n_exports >= EXPORTS_MAX)
		return -ENOSPC;
	r = cuda_memory_export(dev, (struct cuda_memory *)phys, &fd);
	if (r < 0)
		return r;
	r = cuda_pool_export(&dev->pool, phys, &client->holder);
	if (r < 0) {
		close(fd);
		return r;
	}
	*out_fd = fd;
	return 0;
}

void cuda_client_reclaimed(struct gpu_client *client, const uint64_t *ids, uint32_t n)
{
	struct cuda_device *dev = client->dev;

	for (uint32_t i = 0; i < n; i++) {
		if (cuda_pool_reclaimed(&dev->pool, &client->holder, ids[i]) == 0)
			continue;
		client->events->failed(client->owner, -EPROTO,
				       "RECLAIMED of a chunk that it was never given");
		break;
	}
	cuda_kick(dev);
}

void cuda_clients_ask(struct cuda_device *dev)
{
	uint64_t ids[ASK_MAX], deadline_ns;
	struct cuda_holder *holder;
	uint32_t n;

	while ((holder = cuda_pool_next_ask(&dev->pool, ids, ASK_MAX, &n, &deadline_ns))) {
		struct gpu_client *client = list_entry(holder, struct gpu_client, holder);

		client->events->reclaim(client->owner, ids, n,
					deadline_ns ? deadline_ns : UINT64_MAX);
	}
}

static void kill_client(struct cuda_device *dev, struct gpu_client *client)
{
	const char *what = "killed";

	client->killed = true;
	if (client->pid == getpid())
		what = "this very process, so left alone";
	else if (client->pidfd < 0)
		what = "not killed, for want of a pidfd";
	else if (syscall(SYS_pidfd_send_signal, client->pidfd, SIGKILL, NULL, 0) < 0 &&
		 errno != ESRCH)
		what = strerror(errno);
	log_warn_limited("%s: pid %d of user %u did not let go of memory in time: %s",
			 dev->gpu.name, (int)client->pid, client->holder.uid, what);
	client->events->failed(client->owner, -ETIMEDOUT,
			       "it did not let go of device memory when asked");
}

void cuda_clients_reap(struct cuda_device *dev)
{
	uint64_t now = loop_now(), deadline_ns;
	struct cuda_holder *holder = cuda_pool_overdue(&dev->pool, now);

	if (holder) {
		struct gpu_client *client = list_entry(holder, struct gpu_client, holder);

		if (!client->killed)
			kill_client(dev, client);
	}
	deadline_ns = cuda_pool_deadline(&dev->pool);
	/* The session of one that was killed ends in a later round of the loop; then it is the next one's turn. */
	if (deadline_ns && deadline_ns <= now)
		deadline_ns = now + REAP_NS;
	if (deadline_ns && !loop_op_armed(&dev->reaper))
		loop_timer(dev->loop, &dev->reaper, deadline_ns);
}
