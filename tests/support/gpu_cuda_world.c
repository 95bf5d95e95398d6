// SPDX-License-Identifier: GPL-2.0-only
#include "tests/support/gpu_cuda_world.h"

#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cuda_driver.h"
#include "common/fd.h"

struct world world;

/* ---- the device ---- */

static void on_ready(void *owner)
{
	ck_assert_ptr_eq(owner, &world);
	world.n_ready++;
}

static void on_budget(void *owner, uint64_t budget_bytes)
{
	ck_assert_ptr_eq(owner, &world);
	world.n_budget++;
	world.budget_bytes = budget_bytes;
}

static void on_lost(void *owner, int error, const char *reason)
{
	ck_assert_ptr_eq(owner, &world);
	ck_assert_int_lt(error, 0);
	world.n_lost++;
	snprintf(world.lost_reason, sizeof(world.lost_reason), "%s", reason);
}

static const struct gpu_events events = {
	.ready = on_ready,
	.budget = on_budget,
	.lost = on_lost,
};

void world_card(uint64_t card_bytes)
{
	memset(&world, 0, sizeof(world));
	world.card = standin_new(card_bytes);
	/* Whoever opens libcuda.so.1 by its name finds this one, which is loaded already. */
	ck_assert_msg(dlopen(standin_library(), RTLD_NOW | RTLD_GLOBAL) != NULL, "%s", dlerror());
}

struct gpu_params world_params(void)
{
	return (struct gpu_params){
		.card = "",
		.chunk_bytes = WORLD_CHUNK,
		.reserve_bytes = 4 * WORLD_PAGE,
		.idle_ns = 3600000 * WORLD_MS,
		.reclaim_timeout_ns = 300 * WORLD_MS,
		.events = &events,
		.owner = &world,
	};
}

int world_open(const struct gpu_params *params)
{
	struct gpu_params defaults = world_params();

	if (!world.loop)
		ck_assert_int_eq(loop_new(&world.loop, 64), 0);
	world.reason[0] = '\0';
	world.error = gpu_cuda_new(&world.gpu, world.loop, params ? params : &defaults,
				   world.reason, sizeof(world.reason));
	if (world.error < 0)
		world.gpu = NULL;
	else
		world.budget_bytes = world.gpu->budget_bytes;
	return world.error;
}

void world_close(void)
{
	world.gpu = gpu_free(world.gpu);
	world.loop = loop_free(world.loop);
	ck_assert_uint_eq(standin_used_bytes(world.card), 0);
	standin_free(world.card);
}

void world_run(uint64_t ns)
{
	uint64_t until = loop_now() + ns;

	while (loop_now() < until)
		loop_run_once(world.loop, WORLD_MS);
}

struct gpu_object *world_object(uint32_t n_chunks, bool writable, uid_t uid)
{
	struct gpu_object *object = NULL;

	ck_assert_int_eq(gpu_object_new(world.gpu, "test", (uint64_t)n_chunks * WORLD_CHUNK,
					WORLD_CHUNK, writable, uid, &object),
			 0);
	return object;
}

static int copy_result;

static void on_done(struct gpu_copy *copy, int res)
{
	(void)copy;
	copy_result = res;
}

int world_copy(struct gpu_object *object, uint32_t chunk, enum gpu_copy_direction direction,
	       void *host)
{
	struct gpu_copy copy = {
		.done = on_done,
		.object = object,
		.chunk = chunk,
		.direction = direction,
		.host = host,
		.len = gpu_chunk_len(object, chunk),
	};

	copy_result = 1;
	gpu_copy_start(&copy);
	ck_assert_int_eq(copy_result, 1);
	world_until(copy_result != 1);
	return copy_result;
}

int world_reserve(struct gpu_object *object, uint32_t chunk)
{
	uint64_t until = loop_now() + 10000 * WORLD_MS;
	int r;

	while ((r = gpu_chunk_reserve(object, chunk)) == -EAGAIN && loop_now() < until)
		loop_run_once(world.loop, WORLD_MS);
	return r;
}

void world_pattern(void *host, uint32_t bytes, uint64_t seed)
{
	uint64_t *words = host;

	for (uint32_t i = 0; i < bytes / sizeof(*words); i++)
		words[i] = seed * 0x9e3779b97f4a7c15ull + i;
}

void world_load(struct gpu_object *object, uint32_t chunk, uint64_t seed)
{
	uint32_t len = gpu_chunk_len(object, chunk);
	void *host = malloc(len);

	world_pattern(host, len, seed);
	ck_assert_int_eq(world_reserve(object, chunk), 0);
	ck_assert_int_eq(world_copy(object, chunk, GPU_COPY_IN, host), 0);
	free(host);
}

bool world_holds(struct gpu_object *object, uint32_t chunk, uint64_t seed)
{
	uint32_t len = gpu_chunk_len(object, chunk);
	char *host = malloc(len), *expected = malloc(len);
	bool same;

	memset(host, 0xa5, len);
	world_pattern(expected, len, seed);
	ck_assert_int_eq(world_copy(object, chunk, GPU_COPY_OUT, host), 0);
	same = memcmp(host, expected, len) == 0;
	free(host);
	free(expected);
	return same;
}

uint64_t world_binding(struct gpu_object *object, uint32_t chunk)
{
	uint64_t id = 0;
	int fd = -1;

	ck_assert_int_eq(gpu_object_client_fd(object, &fd), 0);
	ck_assert_int_eq(pread(fd, &id, sizeof(id), (off_t)(chunk * sizeof(id))), sizeof(id));
	close(fd);
	return id;
}

/* ---- another process ---- */

enum far_order {
	FAR_ATTACH,
	FAR_IMPORT,
	FAR_READ,
	FAR_WRITE,
	FAR_DROP,
};

struct far_msg {
	enum far_order order;
	int result;
	uint64_t id;
	uint64_t bytes; /* of an import; the offset of a read or write */
	uint64_t value;
};

#define FAR_IMPORTS 64

struct far_import {
	uint64_t id, bytes;
	cuda_mem mem;
	cuda_ptr at;
};

static struct far_import *far_find(struct far_import *imports, uint64_t id)
{
	for (int i = 0; i < FAR_IMPORTS; i++)
		if (imports[i].id == id)
			return &imports[i];
	abort();
}

static int far_map(struct cuda_driver *cu, struct far_import *import, int fd)
{
	struct cuda_mem_access access = {
		.location = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, 0 },
		.flags = CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE,
	};
	int result = cu->mem_import(&import->mem, (void *)(intptr_t)fd,
				    CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);

	if (!result)
		result = cu->mem_address_reserve(&import->at, import->bytes, 0, 0, 0);
	if (!result)
		result = cu->mem_map(import->at, import->bytes, 0, import->mem, 0);
	if (!result)
		result = cu->mem_set_access(import->at, import->bytes, &access, 1);
	return result;
}

static void far_obey(struct cuda_driver *cu, struct far_import *imports, struct far_msg *msg,
		     int fd)
{
	char reason[CUDA_DRIVER_REASON_SIZE];
	struct far_import *import;
	cuda_context context;

	switch (msg->order) {
	case FAR_ATTACH:
		msg->result = cuda_driver_open(cu, standin_library(), reason, sizeof(reason));
		if (!msg->result)
			msg->result = cu->primary_ctx_retain(&context, 0);
		if (!msg->result)
			msg->result = cu->ctx_set_current(context);
		break;
	case FAR_IMPORT:
		import = far_find(imports, 0);
		import->id = msg->id;
		import->bytes = msg->bytes;
		msg->result = far_map(cu, import, fd);
		if (msg->result)
			import->id = 0;
		close(fd);
		break;
	case FAR_READ:
		import = far_find(imports, msg->id);
		msg->result = cu->memcpy_dtoh(&msg->value, import->at + msg->bytes, 8);
		break;
	case FAR_WRITE:
		import = far_find(imports, msg->id);
		msg->result = cu->memcpy_htod(import->at + msg->bytes, &msg->value, 8);
		break;
	case FAR_DROP:
		import = far_find(imports, msg->id);
		msg->result = cu->mem_unmap(import->at, import->bytes) +
			      cu->mem_release(import->mem) +
			      cu->mem_address_free(import->at, import->bytes);
		import->id = 0;
		break;
	}
}

static void far_live(int sock)
{
	static struct far_import imports[FAR_IMPORTS];
	static struct cuda_driver cu;
	struct far_msg msg;
	size_t n_fds;
	int fd;

	for (;;) {
		fd = -1;
		if (fd_recv(sock, &msg, sizeof(msg), &fd, 1, &n_fds, 0) != sizeof(msg))
			_exit(0);
		far_obey(&cu, imports, &msg, fd);
		if (fd_send(sock, &msg, sizeof(msg), NULL, 0, 0) < 0)
			_exit(0);
	}
}

struct far far_new(void)
{
	struct far far;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	far.pid = fork();
	ck_assert_int_ge(far.pid, 0);
	if (far.pid == 0) {
		close(pair[0]);
		far_live(pair[1]);
	}
	close(pair[1]);
	far.sock = pair[0];
	far.pidfd = (int)syscall(SYS_pidfd_open, far.pid, 0);
	ck_assert_int_ge(far.pidfd, 0);
	return far;
}

static struct far_msg far_order(struct far *far, struct far_msg msg, int fd)
{
	size_t n_fds;

	ck_assert_int_eq(fd_send(far->sock, &msg, sizeof(msg), &fd, fd >= 0, 0), 0);
	ck_assert_int_eq(fd_recv(far->sock, &msg, sizeof(msg), NULL, 0, &n_fds, 0), sizeof(msg));
	return msg;
}

void far_attach(struct far *far)
{
	ck_assert_int_eq(far_order(far, (struct far_msg){ .order = FAR_ATTACH }, -1).result, 0);
}

int far_import(struct far *far, uint64_t id, int fd, uint64_t bytes)
{
	struct far_msg msg = { .order = FAR_IMPORT, .id = id, .bytes = bytes };

	msg = far_order(far, msg, fd);
	close(fd);
	return msg.result;
}

uint64_t far_read(struct far *far, uint64_t id, uint64_t offset)
{
	struct far_msg msg = { .order = FAR_READ, .id = id, .bytes = offset };

	msg = far_order(far, msg, -1);
	ck_assert_int_eq(msg.result, 0);
	return msg.value;
}

void far_write(struct far *far, uint64_t id, uint64_t offset, uint64_t value)
{
	struct far_msg msg = { .order = FAR_WRITE, .id = id, .bytes = offset, .value = value };

	ck_assert_int_eq(far_order(far, msg, -1).result, 0);
}

void far_drop(struct far *far, uint64_t id)
{
	ck_assert_int_eq(far_order(far, (struct far_msg){ .order = FAR_DROP, .id = id }, -1).result,
			 0);
}

bool far_is_dead(struct far *far)
{
	struct pollfd pfd = { .fd = far->pidfd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

void far_end(struct far *far)
{
	/* Closing would not do: one that was made later holds a duplicate. */
	shutdown(far->sock, SHUT_RDWR);
	close(far->sock);
	waitpid(far->pid, NULL, 0);
	close(far->pidfd);
}
