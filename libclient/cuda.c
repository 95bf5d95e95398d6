// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Attaching a client to the daemon's card, and everything that happens once a client: the driver, the context, the watch's
 * part, the end.
 */
#define _GNU_SOURCE 1
#include "libclient/cuda.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "libclient/cuda_state.h"
#include "libclient/vram_cuda.h"

_Static_assert(sizeof(((struct vram_cuda_device *)0)->uuid) == sizeof(struct cuda_uuid) &&
		       sizeof(((struct vram_cuda_device *)0)->pci) ==
			       sizeof(((struct vram_msg_device_reply *)0)->pci),
	       "both are copied");

/* How often the watch looks at what the device has still to do, and at orphans. */
#define PENDING_MS 1
#define SWEEP_MS   100
/* CU_STREAM_CAPTURE_MODE_RELAXED */
#define CAPTURE_MODE_RELAXED 2

int cuda_fail(struct cuda_client *cuda, cuda_result result, const char *what)
{
	int r = client_errno(cuda_errno(result));

	if (cuda_is_sticky(result))
		atomic_store(&cuda->dead, true);
	return client_fail(r, "%s: %s", what, cuda_driver_error_text(&cuda->driver, result));
}

int cuda_enter(struct cuda_client *cuda, struct cuda_scope *out_scope)
{
	cuda_result result = cuda->driver.ctx_push_current(cuda->context);

	if (result != CUDA_ABI_SUCCESS) {
		cuda_fail(cuda, result, "the context of the attachment cannot be made current");
		return -EIO;
	}
	out_scope->capture_mode = CAPTURE_MODE_RELAXED;
	out_scope->relaxed = cuda->exchange_capture_mode &&
			     cuda->exchange_capture_mode(&out_scope->capture_mode) ==
				     CUDA_ABI_SUCCESS;
	return 0;
}

void cuda_leave(struct cuda_client *cuda, struct cuda_scope *scope)
{
	cuda_context was;

	if (scope->relaxed)
		cuda->exchange_capture_mode(&scope->capture_mode);
	cuda->driver.ctx_pop_current(&was);
}

/* It has one form only, so that no version has to be asked for; a driver without it has no captures. */
static void find_capture_mode(struct cuda_client *cuda)
{
	void *pfn = cuda->driver.library ?
			    dlsym(cuda->driver.library, "cuThreadExchangeStreamCaptureMode") :
			    NULL;

	memcpy(&cuda->exchange_capture_mode, &pfn, sizeof(pfn));
}

int cuda_check_world(struct vram_client *client)
{
	if (client->hello.device_kind == VRAM_DEVICE_CUDA && !client->cuda)
		return client_fail(-EINVAL,
				   "vramd manages a card: call vram_client_attach_cuda() first");
	return 0;
}

/* ---- which card ------------------------------------------------------------------- */

static int ask_device(struct vram_client *client, struct vram_msg_device_reply *out_device)
{
	int r = request_call(client, &(struct request){
					     .type = VRAM_MSG_DEVICE,
					     .fd = -1,
					     .reply = out_device,
					     .reply_bytes = sizeof(*out_device),
				     });

	if (r < 0)
		return r;
	out_device->pci[sizeof(out_device->pci) - 1] = '\0';
	if (out_device->kind != VRAM_DEVICE_CUDA)
		return client_fail(-ENOTSUP,
				   "the device of vramd is the host's memory, not a card");
	if (out_device->granularity_bytes < 4096 ||
	    (out_device->granularity_bytes & (out_device->granularity_bytes - 1)))
		return client_fail(-EPROTO, "vramd described a card that cannot be");
	return 0;
}

int vram_client_cuda_device(struct vram_client *client, struct vram_cuda_device *out_device)
{
	struct vram_msg_device_reply reply;
	int r;

	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	client_lock(client);
	r = client_reconnect(client);
	if (r == 0)
		r = ask_device(client, &reply);
	client_unlock(client);
	if (r < 0)
		return r;
	memcpy(out_device->uuid, reply.uuid, sizeof(out_device->uuid));
	memcpy(out_device->pci, reply.pci, sizeof(out_device->pci));
	out_device->granularity_bytes = reply.granularity_bytes;
	return 0;
}

static void uuid_text(const uint8_t *uuid, char *out, size_t size)
{
	snprintf(out, size,
		 "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 uuid[0], uuid[1], uuid[2], uuid[3], uuid[4], uuid[5], uuid[6], uuid[7], uuid[8],
		 uuid[9], uuid[10], uuid[11], uuid[12], uuid[13], uuid[14], uuid[15]);
}

/* The context's device must be the daemon's. */
static int take_context(struct cuda_client *cuda, const struct vram_msg_device_reply *device)
{
	char theirs[48], ours[48];
	cuda_context was;
	struct cuda_uuid uuid;
	cuda_result result;

	result = cuda->driver.ctx_push_current(cuda->context);
	if (result != CUDA_ABI_SUCCESS)
		return cuda_fail(cuda, result, "the context cannot be used");
	result = cuda->driver.ctx_get_device(&cuda->device);
	cuda->driver.ctx_pop_current(&was);
	if (result == CUDA_ABI_SUCCESS)
		result = cuda->driver.device_get_uuid(&uuid, cuda->device);
	if (result != CUDA_ABI_SUCCESS)
		return cuda_fail(cuda, result, "the context does not tell its device");
	if (memcmp(uuid.bytes, device->uuid, sizeof(uuid.bytes)) == 0)
		return 0;
	uuid_text(device->uuid, theirs, sizeof(theirs));
	uuid_text((const uint8_t *)uuid.bytes, ours, sizeof(ours));
	return client_fail(-EINVAL, "the context is on %s, and vramd manages %s at %s", ours,
			   theirs, device->pci);
}

/* The primary context of the daemon's card. */
static int retain_primary(struct cuda_client *cuda, const struct vram_msg_device_reply *device)
{
	char text[48];
	int n = 0;
	cuda_result result = cuda->driver.device_get_count(&n);

	for (int i = 0; i < n && result == CUDA_ABI_SUCCESS; i++) {
		struct cuda_uuid uuid;

		result = cuda->driver.device_get(&cuda->device, i);
		if (result == CUDA_ABI_SUCCESS)
			result = cuda->driver.device_get_uuid(&uuid, cuda->device);
		if (result != CUDA_ABI_SUCCESS ||
		    memcmp(uuid.bytes, device->uuid, sizeof(uuid.bytes)) != 0)
			continue;
		result = cuda->driver.primary_ctx_retain(&cuda->context, cuda->device);
		if (result != CUDA_ABI_SUCCESS)
			return cuda_fail(cuda, result, "no context on the card");
		cuda->retained = true;
		return 0;
	}
	if (result != CUDA_ABI_SUCCESS)
		return cuda_fail(cuda, result, "the driver does not list its devices");
	uuid_text(device->uuid, text, sizeof(text));
	return client_fail(-ENOENT,
			   "this process does not see the card of vramd, %s at %s; "
			   "CUDA_VISIBLE_DEVICES may hide it",
			   text, device->pci);
}

static int attribute(struct cuda_client *cuda, int which)
{
	int value = 0;

	if (cuda->driver.device_get_attribute(&value, which, cuda->device) != CUDA_ABI_SUCCESS)
		return 0;
	return value;
}

static int check_abilities(struct cuda_client *cuda, const struct vram_msg_device_reply *device)
{
	const struct cuda_mem_prop prop = {
		.type = CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED,
		.handle_types = CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
		.location = { .type = CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, .id = cuda->device },
	};
	cuda_result result;
	size_t bytes = 0;

	if (!attribute(cuda, CUDA_ABI_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED) ||
	    !attribute(cuda, CUDA_ABI_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED))
		return client_fail(-ENOTSUP,
				   "the driver cannot share this card's memory between processes");
	result = cuda->driver.mem_get_allocation_granularity(
		&bytes, &prop, CUDA_ABI_MEM_ALLOC_GRANULARITY_MINIMUM);
	if (result != CUDA_ABI_SUCCESS)
		return cuda_fail(cuda, result, "the driver does not tell its granularity");
	if (bytes == 0 || device->granularity_bytes % bytes)
		return client_fail(-ENOTSUP, "the driver maps memory by %zu bytes, vramd by %llu",
				   bytes, (unsigned long long)device->granularity_bytes);
	cuda->granularity_bytes = device->granularity_bytes;
	cuda->mem_ops = attribute(cuda, CUDA_ABI_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS) !=
			0;
	return 0;
}

/* ---- attaching -------------------------------------------------------------------- */

static void give_context_back(struct cuda_client *cuda)
{
	if (cuda->retained)
		cuda->driver.primary_ctx_release(cuda->device);
	cuda->retained = false;
}

static int send_attach(struct vram_client *client, const uint8_t *uuid)
{
	struct vram_msg_attach body = { 0 };

	memcpy(body.uuid, uuid, sizeof(body.uuid));
	return request_call(client, &(struct request){ .type = VRAM_MSG_ATTACH,
						       .body = &body,
						       .body_bytes = sizeof(body),
						       .fd = -1 });
}

static int open_driver(struct cuda_driver *out_driver)
{
	char reason[CUDA_DRIVER_REASON_SIZE];
	int r = cuda_driver_open(out_driver, NULL, reason, sizeof(reason));

	if (r == 0)
		return 0;
	/* That there is no driver, or none that works, is one thing; that it has no device for us another. */
	if (r == -ENOENT || r == -ELIBBAD)
		r = -ENOTSUP;
	else if (r == -ENODEV)
		r = -ENOENT;
	return client_fail(client_errno(r), "%s", reason);
}

/* The lock is held, the daemon is there. driver, context, hooks: as for cuda_client_connect(). */
static int attach(struct vram_client *client, const struct cuda_driver *driver,
		  cuda_context context, const struct cuda_hooks *hooks)
{
	struct vram_msg_device_reply device;
	struct cuda_client *cuda;
	int r;

	if (client->cuda)
		return client_fail(-EINVAL, "the client is attached already");
	if (!list_is_empty(&client->objects))
		return client_fail(-EINVAL, "attach before the first model or buffer");
	r = ask_device(client, &device);
	if (r < 0)
		return r;
	cuda = calloc(1, sizeof(*cuda));
	if (!cuda)
		return client_fail(-ENOMEM, "out of memory");
	cuda->client = client;
	for (uint32_t i = 0; i < CUDA_BUCKETS; i++)
		list_init(&cuda->buckets[i]);
	list_init(&cuda->orphans);
	if (hooks)
		cuda->hooks = *hooks;
	if (driver)
		cuda->driver = *driver;
	else
		r = open_driver(&cuda->driver);
	if (r == 0)
		find_capture_mode(cuda);
	if (r == 0 && !context && !driver &&
	    cuda->driver.ctx_get_current(&context) != CUDA_ABI_SUCCESS)
		context = NULL;
	cuda->context = context;
	if (r == 0)
		r = context ? take_context(cuda, &device) : retain_primary(cuda, &device);
	if (r == 0)
		r = check_abilities(cuda, &device);
	if (r == 0)
		r = send_attach(client, device.uuid);
	if (r < 0) {
		give_context_back(cuda);
		free(cuda);
		return r;
	}
	memcpy(cuda->uuid, device.uuid, sizeof(cuda->uuid));
	memcpy(cuda->pci, device.pci, sizeof(cuda->pci));
	cuda_release_init(cuda);
	client->cuda = cuda;
	cuda_table_register(cuda, client->table);
	return 0;
}

static int attach_and_watch(struct vram_client *client, const struct cuda_driver *driver,
			    cuda_context context, const struct cuda_hooks *hooks)
{
	bool had_watch = client->has_watch;
	int r;

	/* First, so that nothing has to be undone for want of a thread. */
	if (!had_watch) {
		r = watch_start(client);
		if (r < 0)
			return r;
	}
	client_lock(client);
	r = client_reconnect(client);
	if (r == 0)
		r = attach(client, driver, context, hooks);
	client_unlock(client);
	if (r < 0 && !had_watch) {
		char text[512];

		snprintf(text, sizeof(text), "%s", vram_error_text());
		watch_stop(client);
		return client_fail(r, "%s", text);
	}
	/* It must learn to listen for RECLAIM. */
	watch_kick(client);
	return r;
}

int vram_client_attach_cuda(struct vram_client *client, unsigned int flags)
{
	int r;

	client_clear_error();
	r = client_check(client);
	if (r < 0)
		return r;
	if (flags)
		return client_fail(-EINVAL, "vram_client_attach_cuda: unknown flags");
	return attach_and_watch(client, NULL, NULL, NULL);
}

int cuda_client_connect(const char *path, const char *name, const struct cuda_driver *driver,
			cuda_context context, const struct cuda_hooks *hooks,
			struct vram_client **out_client)
{
	struct vram_client *client;
	char text[512];
	int r;

	client_clear_error();
	r = client_new(path, name, VRAM_HELLO_SHIM, &client);
	if (r < 0)
		return r;
	r = attach_and_watch(client, driver, context, hooks);
	if (r < 0) {
		snprintf(text, sizeof(text), "%s", vram_error_text());
		vram_close(client);
		return client_fail(r, "%s", text);
	}
	*out_client = client;
	return 0;
}

int cuda_reattach(struct vram_client *client)
{
	struct vram_msg_device_reply device;
	struct cuda_client *cuda = client->cuda;
	int r;

	if (!cuda) {
		/* Objects of the host device mean nothing to a card. */
		if (client->hello.device_kind == VRAM_DEVICE_CUDA &&
		    !list_is_empty(&client->objects))
			return client_fail(-ENOTCONN,
					   "vramd manages a card now, and not the host's memory");
		return 0;
	}
	r = ask_device(client, &device);
	if (r == -ENOTSUP || (r == 0 && memcmp(device.uuid, cuda->uuid, sizeof(cuda->uuid)) != 0))
		return client_fail(-ENOTCONN, "vramd manages another device now than %s",
				   cuda->pci);
	if (r == 0 && device.granularity_bytes != cuda->granularity_bytes)
		return client_fail(-ENOTCONN, "vramd maps memory by another granularity now");
	return r < 0 ? r : send_attach(client, cuda->uuid);
}

/* ---- the watch's part --------------------------------------------------------------- */

int cuda_watch(struct vram_client *client, int tick_ms, short *out_wanted)
{
	struct cuda_client *cuda;
	bool revoked, was_lost, more;
	uint64_t deadline_ns;
	char text[240];

	client_lock(client);
	cuda = client->cuda;
	if (!cuda) {
		client_unlock(client);
		return tick_ms;
	}
	*out_wanted |= POLLIN;
	if (atomic_load(&cuda->dead))
		cuda_release_settle(cuda);
	more = cuda_sweep(cuda);
	/* Mostly served by client_unlock() below; what a pin protects is not. */
	more = more || cuda->n_reclaims > 0;
	revoked = cuda->revoked;
	deadline_ns = cuda->revoke_deadline_ns;
	was_lost = cuda->was_lost;
	memcpy(text, cuda->lost_text, sizeof(text));
	cuda->revoked = false;
	cuda->was_lost = false;
	client_unlock(client);
	if (was_lost && cuda->hooks.lost)
		cuda->hooks.lost(cuda->hooks.arg, text);
	if (revoked && cuda->hooks.revoke)
		cuda->hooks.revoke(cuda->hooks.arg, deadline_ns);
	if (cuda_pending_poll(cuda))
		return PENDING_MS;
	return more ? SWEEP_MS : tick_ms;
}

/* ---- the end ------------------------------------------------------------------------ */

void cuda_detach(struct vram_client *client)
{
	struct cuda_client *cuda = client->cuda;

	client_lock(client);
	/* What the daemon has asked for and what it has not: all of it, before the socket closes. */
	cuda_imports_prune(cuda);
	client_unlock(client);
	cuda_release_deinit(cuda);
}

void cuda_free(struct vram_client *client)
{
	give_context_back(client->cuda);
	/* In a context that has died some handles could not be given back. */
	cuda_forget(client);
}

void cuda_forget(struct vram_client *client)
{
	struct cuda_client *cuda = client->cuda;
	struct cuda_import *import, *tmp;

	for (uint32_t i = 0; i <= CUDA_BUCKETS; i++) {
		struct list_node *head = i < CUDA_BUCKETS ? &cuda->buckets[i] : &cuda->orphans;

		list_for_each_safe(import, tmp, head, node)
			free(import);
	}
	free(cuda->reclaims);
	free(cuda);
	client->cuda = NULL;
}
