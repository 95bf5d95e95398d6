// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Chunks of the daemon's memory: fetched by id, given back when asked. The rules are in cuda_state.h.
 */
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "common/fd.h"
#include "libclient/cuda_state.h"

/* Ids of RECLAIM that there is room for from the start. */
#define RECLAIMS_FIRST 1024u

/* RECLAIMED for ids one by one, sent in batches. */
struct answer {
	struct vram_client *client;
	uint32_t n;
	uint64_t ids[VRAM_CHUNKS_PER_MSG];
};

static void answer_send(struct answer *answer)
{
	const struct vram_msg_chunks body = { .n = answer->n };

	/* After a loss there is nobody who waits for it. */
	if (answer->n)
		request_post(answer->client, VRAM_MSG_RECLAIMED, &body, sizeof(body), answer->ids,
			     answer->n * sizeof(answer->ids[0]));
	answer->n = 0;
}

static void answer_add(struct answer *answer, uint64_t id)
{
	answer->ids[answer->n++] = id;
	if (answer->n == VRAM_CHUNKS_PER_MSG)
		answer_send(answer);
}

static struct list_node *bucket_of(struct cuda_client *cuda, uint64_t id)
{
	/* Ids count up, so their low bits spread by themselves. */
	return &cuda->buckets[id & (CUDA_BUCKETS - 1)];
}

struct cuda_import *cuda_import_find(struct cuda_client *cuda, uint64_t id)
{
	struct list_node *bucket = bucket_of(cuda, id);
	struct cuda_import *import;

	list_for_each(import, bucket, node)
		if (import->id == id)
			return import;
	return NULL;
}

/* Takes the descriptor in any case. */
static int import_fd(struct cuda_client *cuda, uint64_t id, int fd)
{
	struct cuda_import *import = calloc(1, sizeof(*import));
	cuda_result result;
	int r;

	if (!import) {
		close(fd);
		return client_fail(-ENOMEM, "out of memory");
	}
	result = cuda->driver.mem_import(&import->mem, (void *)(intptr_t)fd,
					 CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	/* The handle has a reference of its own. */
	close(fd);
	if (result != CUDA_ABI_SUCCESS) {
		free(import);
		r = cuda_fail(cuda, result, "the driver does not take a chunk of vramd's memory");
		return r == -ENOMEM ? -ENOMEM : -EIO;
	}
	import->id = id;
	list_init(&import->places);
	list_add_tail(&import->node, bucket_of(cuda, id));
	return 0;
}

int cuda_import_fetch(struct cuda_client *cuda, const uint64_t *ids, uint32_t n)
{
	const struct vram_msg_chunks body = { .n = n };
	struct answer answer = { .client = cuda->client };
	struct vram_msg_chunks_reply reply;
	int fds[VRAM_CHUNKS_PER_MSG];
	struct cuda_scope scope;
	bool entered;
	const struct request request = {
		.type = VRAM_MSG_CHUNKS,
		.body = &body,
		.body_bytes = sizeof(body),
		.more = ids,
		.more_bytes = n * sizeof(ids[0]),
		.fd = -1,
		.reply = &reply,
		.reply_bytes = sizeof(reply),
		.out_fd = fds,
		.n_fds = n,
	};
	int r;

	r = request_call(cuda->client, &request);
	if (r == -ENOENT)
		return client_fail(-EAGAIN, "vramd has moved the layer");
	if (r < 0)
		return r == -ENOTCONN || r == -ENOMEM ? r : -EIO;
	r = cuda_enter(cuda, &scope);
	entered = r == 0;
	for (uint32_t i = 0; i < n; i++) {
		if (r < 0) {
			close(fds[i]);
			/* It counts as imported until we say otherwise. */
			answer_add(&answer, ids[i]);
			continue;
		}
		r = import_fd(cuda, ids[i], fds[i]);
		if (r < 0)
			answer_add(&answer, ids[i]);
	}
	if (entered)
		cuda_leave(cuda, &scope);
	answer_send(&answer);
	return r;
}

/* It is mapped nowhere. Return: whether the driver let go of it. */
static bool import_release(struct cuda_client *cuda, struct cuda_import *import)
{
	cuda_result result = cuda->driver.mem_release(import->mem);

	if (result != CUDA_ABI_SUCCESS) {
		cuda_fail(cuda, result, "a chunk of vramd's memory cannot be released");
		return false;
	}
	list_del(&import->node);
	free(import);
	return true;
}

void cuda_imports_orphan(struct cuda_client *cuda)
{
	struct cuda_import *import, *tmp;

	for (uint32_t i = 0; i < CUDA_BUCKETS; i++) {
		list_for_each_safe(import, tmp, &cuda->buckets[i], node) {
			import->id = 0;
			list_move_tail(&import->node, &cuda->orphans);
		}
	}
	cuda->n_reclaims = 0;
}

void cuda_imports_prune(struct cuda_client *cuda)
{
	struct cuda_scope scope;
	struct answer answer = { .client = cuda->client };
	struct cuda_import *import, *tmp;

	if (cuda_enter(cuda, &scope) < 0)
		return;
	for (uint32_t i = 0; i <= CUDA_BUCKETS; i++) {
		struct list_node *head = i < CUDA_BUCKETS ? &cuda->buckets[i] : &cuda->orphans;

		list_for_each_safe(import, tmp, head, node) {
			uint64_t id = import->id;

			if (list_is_empty(&import->places) && import_release(cuda, import) && id)
				answer_add(&answer, id);
		}
	}
	cuda_leave(cuda, &scope);
	answer_send(&answer);
}

/* ---- RECLAIM ------------------------------------------------------------------------ */

int cuda_reclaim_note(struct cuda_client *cuda, const uint64_t *ids, uint32_t n)
{
	size_t need = cuda->n_reclaims + n;

	if (need > cuda->max_reclaims) {
		size_t max = need < RECLAIMS_FIRST ? RECLAIMS_FIRST : 2 * need;
		uint64_t *more = realloc(cuda->reclaims, max * sizeof(*more));

		if (!more)
			return -ENOMEM;
		cuda->reclaims = more;
		cuda->max_reclaims = max;
	}
	memcpy(cuda->reclaims + cuda->n_reclaims, ids, n * sizeof(ids[0]));
	cuda->n_reclaims = need;
	return 0;
}

/* Return: whether nothing of it is left. */
static bool let_go(struct cuda_client *cuda, struct cuda_import *import)
{
	struct cuda_chunk *chunk, *tmp;

	list_for_each_safe(chunk, tmp, &import->places, node) {
		if (cuda_chunk_is_used(chunk, import->id))
			continue;
		cuda_chunk_unmap(cuda, chunk);
	}
	return list_is_empty(&import->places) && import_release(cuda, import);
}

void cuda_reclaim_serve(struct cuda_client *cuda)
{
	struct cuda_scope scope;
	struct answer answer = { .client = cuda->client };
	size_t n = cuda->n_reclaims, kept = 0;

	if (n == 0 || cuda_enter(cuda, &scope) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		uint64_t id = cuda->reclaims[i];
		struct cuda_import *import = cuda_import_find(cuda, id);

		if (!import || let_go(cuda, import))
			answer_add(&answer, id);
		else
			cuda->reclaims[kept++] = id;
	}
	/*
	 * Sending may read, and so put more behind the n that we have looked at, or void them all; it does when
	 * a batch is full, too, so what is there now is behind n.
	 */
	if (cuda->n_reclaims >= n) {
		memmove(cuda->reclaims + kept, cuda->reclaims + n,
			(cuda->n_reclaims - n) * sizeof(*cuda->reclaims));
		cuda->n_reclaims -= n - kept;
	}
	cuda_leave(cuda, &scope);
	answer_send(&answer);
}

bool cuda_sweep(struct cuda_client *cuda)
{
	struct cuda_scope scope;
	struct cuda_import *import, *tmp;

	if (list_is_empty(&cuda->orphans) || cuda_enter(cuda, &scope) < 0)
		return false;
	list_for_each_safe(import, tmp, &cuda->orphans, node)
		let_go(cuda, import);
	cuda_leave(cuda, &scope);
	return !list_is_empty(&cuda->orphans);
}
