// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/gpu_cuda.c daemon/gpu_cuda_probe.c daemon/gpu_cuda_pool.c daemon/gpu_cuda_memory.c daemon/gpu_cuda_copy.c daemon/gpu_cuda_object.c daemon/gpu_cuda_client.c daemon/gpu_cuda_host.c daemon/loop.c daemon/log.c common/cuda_driver.c common/fd.c common/err.c common/size.c common/pci.c tests/support/standin.c tests/support/gpu_cuda_world.c
// libs: -luring -lpthread
/*
 * A card over the stand-in driver, alone in its process: which card, what is refused, memory for chunks, copies,
 * bindings, size. tests/unit/test_gpu_cuda_clients.c has other processes, test_gpu_cuda_faults.c a driver that fails.
 */
#include "tests/support/gpu_cuda_world.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cuda_abi.h"
#include "common/fd.h"
#include "common/proto.h"

#define CARD (64 * WORLD_PAGE)

static void setup(void)
{
	world_card(CARD);
}

static void open_default(void)
{
	ck_assert_msg(world_open(NULL) == 0, "%s", world.reason);
}

static void setup_open(void)
{
	setup();
	open_default();
}

static void teardown(void)
{
	world_close();
}

static void refused(int error, const char *phrase)
{
	ck_assert_int_eq(world_open(NULL), error);
	ck_assert_msg(strstr(world.reason, phrase) != NULL, "'%s' does not say '%s'", world.reason,
		      phrase);
	ck_assert_ptr_null(strchr(world.reason, '\n'));
}

static void refused_card(const char *name, int error, const char *phrase)
{
	struct gpu_params params = world_params();

	params.card = name;
	ck_assert_int_eq(world_open(&params), error);
	ck_assert_msg(strstr(world.reason, phrase) != NULL, "'%s' does not say '%s'", world.reason,
		      phrase);
}

static void attribute(int which, int value)
{
	static int n;

	world.card->image->overrides[n].value = value;
	world.card->image->overrides[n++].attribute = which;
}

/* ---- which card, and can it be used ---- */

START_TEST(a_card_says_what_it_is)
{
	struct gpu *gpu;

	open_default();
	gpu = world.gpu;
	ck_assert_str_eq(gpu->name, "cuda0");
	ck_assert_uint_eq(gpu->kind, VRAM_DEVICE_CUDA);
	ck_assert(gpu->imports);
	ck_assert(gpu->per_user);
	ck_assert(!gpu->direct);
	ck_assert_uint_eq(gpu->granularity_bytes, WORLD_PAGE);
	ck_assert_uint_eq(gpu->chunk_bytes, WORLD_CHUNK);
	ck_assert_uint_eq(gpu->budget_bytes,
			  CARD - 4 * WORLD_PAGE - world.card->image->context_bytes);
	ck_assert_mem_eq(gpu->uuid, world.card->image->uuid, 16);
	ck_assert_str_eq(gpu->pci, "0000:65:00.0");
	/* Starting has taken nothing but the context. */
	ck_assert_uint_eq(standin_used_bytes(world.card), world.card->image->context_bytes);
}
END_TEST

START_TEST(a_budget_is_what_is_set)
{
	struct gpu_params params = world_params();

	params.budget_bytes = 10 * WORLD_PAGE;
	ck_assert_int_eq(world_open(&params), 0);
	ck_assert_uint_eq(world.gpu->budget_bytes, 10 * WORLD_PAGE);
}
END_TEST

START_TEST(a_budget_is_no_more_than_there_is)
{
	struct gpu_params params = world_params();

	params.budget_bytes = 4 * CARD;
	world.card->image->outside_bytes = 20 * WORLD_PAGE;
	ck_assert_int_eq(world_open(&params), 0);
	ck_assert_uint_eq(world.gpu->budget_bytes,
			  CARD - 24 * WORLD_PAGE - world.card->image->context_bytes);
}
END_TEST

START_TEST(the_usual_chunk_is_large)
{
	struct gpu_params params = world_params();

	params.chunk_bytes = 0;
	ck_assert_int_eq(world_open(&params), 0);
	ck_assert_uint_eq(world.gpu->chunk_bytes, 32u << 20);
}
END_TEST

START_TEST(a_chunk_is_a_multiple_of_the_granularity)
{
	struct gpu_params params = world_params();
	struct gpu_object *object;

	params.chunk_bytes = 64 << 10;
	ck_assert_int_eq(world_open(&params), 0);
	ck_assert_uint_eq(world.gpu->chunk_bytes, WORLD_PAGE);
	ck_assert_int_eq(gpu_object_new(world.gpu, "x", 1, 64 << 10, false, 0, &object), -EINVAL);
	ck_assert_int_eq(gpu_object_new(world.gpu, "x", 0, WORLD_PAGE, false, 0, &object), -EINVAL);
}
END_TEST

START_TEST(a_card_is_named_in_three_ways)
{
	static const char *const names[] = { "0", "0000:65:00.0", "00000000:65:00.0", "65:00.0",
					     NULL };
	struct gpu_params params = world_params();
	char uuid[64] = "GPU-";
	const unsigned char *u = (const unsigned char *)world.card->image->uuid;

	for (int i = 0; i < 16; i++)
		sprintf(uuid + strlen(uuid), "%s%02X",
			i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
	for (int i = 0; i < 5; i++) {
		params.card = names[i] ? names[i] : uuid;
		ck_assert_msg(world_open(&params) == 0, "%s: %s", params.card, world.reason);
		world.gpu = gpu_free(world.gpu);
	}
}
END_TEST

START_TEST(another_card_is_refused)
{
	refused_card("1", -ENOENT, "device.card = 1");
	refused_card("0000:66:00.0", -ENOENT, "0000:66:00.0");
	refused_card("GPU-00000000-0000-0000-0000-000000000000", -ENOENT, "GPU-0000");
	refused_card("the big one", -EINVAL, "no number, no PCI address and no UUID");
	refused_card("MIG-00000000-0000-0000-0000-000000000000", -ENOTSUP, "MIG");
}
END_TEST

START_TEST(a_part_of_a_card_is_refused)
{
	strcpy(world.card->image->name, "NVIDIA A100-SXM4-40GB MIG 1g.5gb");
	refused(-ENOTSUP, "MIG");
}
END_TEST

START_TEST(without_virtual_memory_management)
{
	attribute(CUDA_ABI_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0);
	refused(-ENOTSUP, "virtual memory management");
}
END_TEST

START_TEST(without_file_descriptors)
{
	attribute(CUDA_ABI_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, 0);
	refused(-ENOTSUP, "file descriptor");
}
END_TEST

START_TEST(an_exclusive_card_is_refused)
{
	attribute(CUDA_ABI_DEVICE_ATTRIBUTE_COMPUTE_MODE, CUDA_ABI_COMPUTEMODE_EXCLUSIVE_PROCESS);
	refused(-EBUSY, "EXCLUSIVE_PROCESS");
}
END_TEST

START_TEST(a_prohibited_card_is_refused)
{
	attribute(CUDA_ABI_DEVICE_ATTRIBUTE_COMPUTE_MODE, CUDA_ABI_COMPUTEMODE_PROHIBITED);
	refused(-EBUSY, "PROHIBITED");
}
END_TEST

START_TEST(without_stream_memory_operations_it_goes)
{
	attribute(CUDA_ABI_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 0);
	open_default();
}
END_TEST

START_TEST(an_old_driver_is_refused)
{
	world.card->image->driver_version = 11080;
	refused(-ENOTSUP, "r550");
}
END_TEST

START_TEST(no_card_is_no_error)
{
	world.card->image->init_error = CUDA_ABI_ERROR_NO_DEVICE;
	ck_assert_int_eq(world_open(NULL), -ENOENT);
	ck_assert_str_ne(world.reason, "");
}
END_TEST

START_TEST(a_reserve_of_everything_is_refused)
{
	struct gpu_params params = world_params();

	params.reserve_bytes = CARD;
	ck_assert_int_eq(world_open(&params), -EINVAL);
	ck_assert_ptr_nonnull(strstr(world.reason, "device.reserve"));
}
END_TEST

/* ---- chunks and copies ---- */

START_TEST(copies_are_exact_both_ways)
{
	struct gpu_object *object = world_object(5, true, 0);

	world.card->image->h2d_bytes_per_s = 2ull << 30;
	world.card->image->d2h_bytes_per_s = 1ull << 30;
	for (uint32_t i = 0; i < 5; i++)
		world_load(object, i, 100 + i);
	for (uint32_t i = 0; i < 5; i++)
		ck_assert(world_holds(object, i, 100 + i));
	ck_assert_uint_eq(gpu_object_memory(object), 5 * WORLD_CHUNK);
	gpu_object_free(object);
}
END_TEST

START_TEST(a_short_last_chunk_is_short)
{
	struct gpu_object *object;

	ck_assert_int_eq(
		gpu_object_new(world.gpu, "x", WORLD_CHUNK + 5, WORLD_CHUNK, true, 0, &object), 0);
	ck_assert_uint_eq(object->map_bytes, WORLD_CHUNK + WORLD_PAGE);
	ck_assert_uint_eq(object->n_chunks, 2);
	world_load(object, 0, 1);
	world_load(object, 1, 2);
	ck_assert(world_holds(object, 0, 1));
	ck_assert(world_holds(object, 1, 2));
	ck_assert_uint_eq(gpu_object_memory(object), WORLD_CHUNK + WORLD_PAGE);
	ck_assert_uint_eq(standin_used_bytes(world.card),
			  WORLD_CHUNK + WORLD_PAGE + world.card->image->context_bytes);
	gpu_object_free(object);
}
END_TEST

START_TEST(a_fresh_buffer_is_zero)
{
	struct gpu_object *object = world_object(1, true, 0);
	char *host = malloc(WORLD_CHUNK);

	world_load(object, 0, 1);
	gpu_chunk_drop(object, 0, 1);
	ck_assert_int_eq(world_reserve(object, 0), 0);
	ck_assert_int_eq(world_copy(object, 0, GPU_COPY_ZERO, NULL), 0);
	memset(host, 1, WORLD_CHUNK);
	ck_assert_int_eq(world_copy(object, 0, GPU_COPY_OUT, host), 0);
	for (uint32_t i = 0; i < WORLD_CHUNK; i++)
		ck_assert_msg(host[i] == 0, "byte %u", i);
	free(host);
	gpu_object_free(object);
}
END_TEST

/* More than there are flights, in both directions at once. */
#define MANY 300

static struct gpu_copy copies[MANY];
static unsigned int n_done, n_done_of[2];

static void count_done(struct gpu_copy *copy, int res)
{
	ck_assert_int_eq(res, 0);
	/* In order, each lane. */
	ck_assert_ptr_eq(copy, &copies[2 * n_done_of[copy->direction] + copy->direction]);
	n_done_of[copy->direction]++;
	n_done++;
}

START_TEST(many_copies_at_once)
{
	struct gpu_object *object = world_object(2, true, 0);
	char *host = aligned_alloc(4096, 2 * WORLD_CHUNK);
	uint64_t start;

	world.card->image->h2d_bytes_per_s = 40ull << 30;
	world.card->image->d2h_bytes_per_s = 40ull << 30;
	world_load(object, 0, 7);
	world_load(object, 1, 8);
	memset(host, 0, 2 * WORLD_CHUNK);
	start = standin_calls(world.card, "cuEventQuery", getpid());
	for (int i = 0; i < MANY; i++) {
		copies[i] = (struct gpu_copy){
			.done = count_done,
			.object = object,
			.chunk = i % 2,
			.direction = i % 2 ? GPU_COPY_OUT : GPU_COPY_IN,
			.host = host + i % 2 * WORLD_CHUNK,
			.len = WORLD_CHUNK,
		};
		gpu_copy_start(&copies[i]);
	}
	ck_assert_uint_eq(n_done, 0);
	world_until(n_done == MANY);
	ck_assert_mem_eq(host + WORLD_CHUNK, &(uint64_t){ 8 * 0x9e3779b97f4a7c15ull }, 8);
	/* No busy loop: a few looks a copy. */
	ck_assert_uint_lt(standin_calls(world.card, "cuEventQuery", getpid()) - start, 20 * MANY);
	free(host);
	gpu_object_free(object);
}
END_TEST

/* The driver is not asked all the time while a slow copy runs. */
START_TEST(a_slow_copy_costs_few_looks)
{
	struct gpu_object *object = world_object(1, true, 0);
	char *host = world.gpu->ops->host_map(world.gpu, WORLD_CHUNK);
	uint64_t before, looks;

	world.gpu->ops->host_touch(world.gpu, host, WORLD_CHUNK);
	memset(host, 3, WORLD_CHUNK);
	ck_assert_int_eq(world_reserve(object, 0), 0);
	world.card->image->h2d_bytes_per_s = 16ull << 20; /* a quarter of a second */
	before = standin_calls(world.card, "cuEventQuery", getpid());
	ck_assert_int_eq(world_copy(object, 0, GPU_COPY_IN, host), 0);
	looks = standin_calls(world.card, "cuEventQuery", getpid()) - before;
	ck_assert_uint_ge(looks, 1);
	ck_assert_uint_lt(looks, 260);
	/* What was seen is believed: the next ones cost less. */
	for (int i = 0; i < 12; i++)
		ck_assert_int_eq(world_copy(object, 0, GPU_COPY_IN, host), 0);
	before = standin_calls(world.card, "cuEventQuery", getpid());
	ck_assert_int_eq(world_copy(object, 0, GPU_COPY_IN, host), 0);
	ck_assert_uint_lt(standin_calls(world.card, "cuEventQuery", getpid()) - before, 20);
	world.gpu->ops->host_unmap(world.gpu, host, WORLD_CHUNK);
	gpu_object_free(object);
}
END_TEST

/* One copy that was held up does not slow those after it down. */
START_TEST(a_slow_copy_costs_the_next_nothing)
{
	struct gpu_object *object = world_object(1, true, 0);
	char *host = world.gpu->ops->host_map(world.gpu, WORLD_CHUNK);
	uint64_t since, usual;

	world.gpu->ops->host_touch(world.gpu, host, WORLD_CHUNK);
	memset(host, 3, WORLD_CHUNK);
	ck_assert_int_eq(world_reserve(object, 0), 0);
	since = loop_now();
	for (int i = 0; i < 40; i++)
		ck_assert_int_eq(world_copy(object, 0, GPU_COPY_IN, host), 0);
	usual = loop_now() - since;
	world.card->image->h2d_bytes_per_s = 8ull << 20; /* half a second */
	ck_assert_int_eq(world_copy(object, 0, GPU_COPY_IN, host), 0);
	world.card->image->h2d_bytes_per_s = 0;
	since = loop_now();
	for (int i = 0; i < 40; i++)
		ck_assert_int_eq(world_copy(object, 0, GPU_COPY_IN, host), 0);
	ck_assert_uint_lt(loop_now() - since, 5 * usual + 500 * WORLD_MS);
	world.gpu->ops->host_unmap(world.gpu, host, WORLD_CHUNK);
	gpu_object_free(object);
}
END_TEST

START_TEST(a_chunk_comes_back_to_its_memory)
{
	struct gpu_object *object = world_object(3, false, 0);
	uint64_t stamps[3], ids[3], made;

	for (uint32_t i = 0; i < 3; i++) {
		world_load(object, i, i);
		stamps[i] = gpu_chunk_stamp(object, i);
		ids[i] = world_binding(object, i);
		ck_assert_uint_ne(ids[i], 0);
		ck_assert_uint_ne(stamps[i], 0);
	}
	made = standin_calls(world.card, "cuMemCreate", getpid());
	gpu_chunk_drop(object, 0, 3);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_uint_eq(world_binding(object, i), 0);
	for (uint32_t i = 3; i-- > 0;) {
		ck_assert_int_eq(gpu_chunk_reserve(object, i), 0);
		ck_assert_uint_eq(world_binding(object, i), ids[i]);
		ck_assert_uint_eq(gpu_chunk_stamp(object, i), stamps[i]);
	}
	ck_assert_uint_eq(standin_calls(world.card, "cuMemCreate", getpid()), made);
	gpu_object_free(object);
}
END_TEST

START_TEST(other_memory_is_another_stamp)
{
	struct gpu_object *object = world_object(2, false, 0), *rival = NULL;
	uint64_t stamp, id;
	uint32_t chunk = 9;

	world_load(object, 0, 1);
	id = world_binding(object, 0);
	stamp = gpu_chunk_stamp(object, 0);
	ck_assert(!gpu_chunk_rival(object, 1, &rival, &chunk));
	gpu_chunk_drop(object, 0, 1);
	world_load(object, 1, 2);
	ck_assert_uint_eq(world_binding(object, 1), id);
	ck_assert_uint_gt(gpu_chunk_stamp(object, 1), stamp);
	/* Who has what chunk 0 had. */
	ck_assert(gpu_chunk_rival(object, 0, &rival, &chunk));
	ck_assert_ptr_eq(rival, object);
	ck_assert_uint_eq(chunk, 1);
	world_load(object, 0, 1);
	ck_assert_uint_ne(world_binding(object, 0), id);
	ck_assert_uint_gt(gpu_chunk_stamp(object, 0), gpu_chunk_stamp(object, 1));
	ck_assert(world_holds(object, 0, 1));
	ck_assert(world_holds(object, 1, 2));
	gpu_object_free(object);
}
END_TEST

START_TEST(memory_of_a_closed_object_serves_the_next)
{
	struct gpu_object *object = world_object(3, false, 0);
	uint64_t made;

	for (uint32_t i = 0; i < 3; i++)
		world_load(object, i, i);
	gpu_object_free(object);
	made = standin_calls(world.card, "cuMemCreate", getpid());
	object = world_object(3, true, 0);
	for (uint32_t i = 0; i < 3; i++)
		world_load(object, i, 10 + i);
	ck_assert_uint_eq(standin_calls(world.card, "cuMemCreate", getpid()), made);
	ck_assert(world_holds(object, 2, 12));
	gpu_object_free(object);
}
END_TEST

START_TEST(another_user_never_gets_it)
{
	struct gpu_object *alice = world_object(3, false, 1000),
			  *bob = world_object(3, false, 1001);
	uint64_t ids[3];

	for (uint32_t i = 0; i < 3; i++) {
		world_load(alice, i, i);
		ids[i] = world_binding(alice, i);
	}
	gpu_chunk_drop(alice, 0, 3);
	for (uint32_t i = 0; i < 3; i++) {
		world_load(bob, i, i);
		for (int j = 0; j < 3; j++)
			ck_assert_uint_ne(world_binding(bob, i), ids[j]);
	}
	gpu_object_free(alice);
	gpu_object_free(bob);
}
END_TEST

/* ---- bindings ---- */

START_TEST(clients_cannot_change_bindings)
{
	struct gpu_object *object = world_object(3, true, 0);
	uint64_t id = 77;
	char path[64];
	void *addr;
	int fd, again;

	world_load(object, 1, 1);
	ck_assert_int_eq(gpu_object_client_fd(object, &fd), 0);
	ck_assert_int_eq(fd_check_sealed(fd, 3 * sizeof(id)), 0);
	ck_assert_int_lt(pwrite(fd, &id, sizeof(id), 8), 0);
	ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	ck_assert_int_ne(ftruncate(fd, 0), 0);
	addr = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(addr, MAP_FAILED);
	ck_assert_int_ne(mprotect(addr, 4096, PROT_READ | PROT_WRITE), 0);
	/* The same user may open it for writing, and cannot write even so. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again >= 0) {
		ck_assert_int_lt(pwrite(again, &id, sizeof(id), 8), 0);
		ck_assert_int_eq(errno, EPERM);
		ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0),
				 MAP_FAILED);
		ck_assert_int_ne(ftruncate(again, 0), 0);
		close(again);
	}
	/* What is written later is seen in a mapping that exists. */
	ck_assert_uint_eq(((uint64_t *)addr)[0], 0);
	ck_assert_uint_ne(((uint64_t *)addr)[1], 0);
	world_load(object, 0, 1);
	ck_assert_uint_ne(((uint64_t *)addr)[0], 0);
	munmap(addr, 4096);
	close(fd);
	gpu_object_free(object);
}
END_TEST

/* ---- size ---- */

START_TEST(idle_memory_goes_back_to_the_driver)
{
	struct gpu_params params = world_params();
	struct gpu_object *object;

	params.idle_ns = 100 * WORLD_MS;
	ck_assert_int_eq(world_open(&params), 0);
	object = world_object(4, false, 0);
	for (uint32_t i = 0; i < 4; i++)
		world_load(object, i, i);
	gpu_chunk_drop(object, 0, 3);
	world_until(standin_used_bytes(world.card) ==
		    WORLD_CHUNK + world.card->image->context_bytes);
	ck_assert(world_holds(object, 3, 3));
	world_load(object, 0, 50);
	ck_assert(world_holds(object, 0, 50));
	gpu_object_free(object);
}
END_TEST

START_TEST(programs_outside_shrink_the_budget)
{
	struct gpu_object *object = world_object(4, false, 0);
	uint64_t all = world.gpu->budget_bytes;

	for (uint32_t i = 0; i < 4; i++)
		world_load(object, i, i);
	world.card->image->outside_bytes = 40 * WORLD_PAGE;
	world_until(world.n_budget == 1);
	ck_assert_uint_eq(world.budget_bytes, all - 40 * WORLD_PAGE);
	world.card->image->outside_bytes = 0;
	world_until(world.n_budget == 2);
	ck_assert_uint_eq(world.budget_bytes, all);
	gpu_object_free(object);
}
END_TEST

START_TEST(free_memory_goes_to_programs_outside)
{
	struct gpu_object *object = world_object(8, false, 0);
	uint64_t kept = WORLD_CHUNK + world.card->image->context_bytes;
	uint64_t until;

	for (uint32_t i = 0; i < 8; i++)
		world_load(object, i, i);
	gpu_chunk_drop(object, 1, 7);
	/* Somebody takes whatever there is. */
	for (until = loop_now() + 10000 * WORLD_MS;
	     loop_now() < until && standin_used_bytes(world.card) > kept; world_run(WORLD_MS))
		world.card->image->outside_bytes = CARD - standin_used_bytes(world.card);
	ck_assert_uint_eq(standin_used_bytes(world.card), kept);
	world_until(world.n_budget && world.budget_bytes <= WORLD_CHUNK);
	ck_assert(world_holds(object, 0, 0));
	gpu_object_free(object);
}
END_TEST

START_TEST(a_shortage_is_told_and_recycling_goes_on)
{
	struct gpu_object *object = world_object(31, false, 0);
	uint32_t n = 0;

	/* The budget was made for what is not there any more. */
	for (; n < 10; n++)
		world_load(object, n, n);
	world.card->image->outside_bytes = CARD - 24 * WORLD_PAGE;
	ck_assert_int_eq(gpu_chunk_reserve(object, n), -EAGAIN);
	/* Not from inside the call. */
	ck_assert_uint_eq(world.n_budget, 0);
	loop_run_once(world.loop, WORLD_MS);
	ck_assert_uint_eq(world.n_budget, 1);
	ck_assert_uint_eq(world.budget_bytes, 10 * WORLD_CHUNK);
	ck_assert_int_eq(gpu_chunk_reserve(object, n), -EAGAIN);
	gpu_chunk_drop(object, 3, 1);
	ck_assert_int_eq(gpu_chunk_reserve(object, n), 0);
	gpu_object_free(object);
}
END_TEST

START_TEST(with_nothing_to_give_up_there_is_none)
{
	struct gpu_object *object = world_object(1, false, 0);

	world.card->image->outside_bytes = CARD - 4 * WORLD_PAGE;
	ck_assert_int_eq(gpu_chunk_reserve(object, 0), -ENOMEM);
	loop_run_once(world.loop, WORLD_MS);
	ck_assert_uint_eq(world.n_budget, 1);
	ck_assert_uint_lt(world.budget_bytes, WORLD_CHUNK);
	world.card->image->outside_bytes = 0;
	world_load(object, 0, 5);
	gpu_object_free(object);
}
END_TEST

/* ---- pinned memory ---- */

START_TEST(the_host_tier_is_pinned_when_it_is_used)
{
	struct gpu_object *object = world_object(2, true, 0);
	char *host = world.gpu->ops->host_map(world.gpu, 16 * WORLD_CHUNK), *slot;

	ck_assert_ptr_nonnull(host);
	ck_assert_uint_eq(standin_calls(world.card, "cuMemHostRegister", getpid()), 0);
	slot = host + 3 * WORLD_CHUNK;
	world.gpu->ops->host_touch(world.gpu, slot, WORLD_CHUNK);
	world.gpu->ops->host_touch(world.gpu, slot, WORLD_CHUNK);
	ck_assert_uint_eq(standin_calls(world.card, "cuMemHostRegister", getpid()), 1);
	world_pattern(slot, WORLD_CHUNK, 9);
	ck_assert_int_eq(world_reserve(object, 0), 0);
	ck_assert_int_eq(world_copy(object, 0, GPU_COPY_IN, slot), 0);
	ck_assert(world_holds(object, 0, 9));
	slot = host + 15 * WORLD_CHUNK;
	world.gpu->ops->host_touch(world.gpu, slot, WORLD_CHUNK);
	ck_assert_uint_eq(standin_calls(world.card, "cuMemHostRegister", getpid()), 2);
	ck_assert_int_eq(world_copy(object, 0, GPU_COPY_OUT, slot), 0);
	ck_assert_mem_eq(slot, host + 3 * WORLD_CHUNK, WORLD_CHUNK);
	world.gpu->ops->host_unmap(world.gpu, host, 16 * WORLD_CHUNK);
	ck_assert_uint_eq(standin_calls(world.card, "cuMemHostUnregister", getpid()), 2);
	gpu_object_free(object);
}
END_TEST

START_TEST(without_pinning_it_goes_on)
{
	struct gpu_object *object = world_object(1, true, 0);
	char *host = world.gpu->ops->host_map(world.gpu, 2 * WORLD_CHUNK);

	standin_fault(world.card, "cuMemHostRegister", CUDA_ABI_ERROR_OPERATING_SYSTEM, 0, -1, 0,
		      0);
	world.gpu->ops->host_touch(world.gpu, host, WORLD_CHUNK);
	world_pattern(host, WORLD_CHUNK, 9);
	ck_assert_int_eq(world_reserve(object, 0), 0);
	ck_assert_int_eq(world_copy(object, 0, GPU_COPY_IN, host), 0);
	ck_assert(world_holds(object, 0, 9));
	world.gpu->ops->host_unmap(world.gpu, host, 2 * WORLD_CHUNK);
	gpu_object_free(object);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("gpu_cuda");
	TCase *tc = tcase_create("which card");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_card_says_what_it_is);
	tcase_add_test(tc, a_budget_is_what_is_set);
	tcase_add_test(tc, a_budget_is_no_more_than_there_is);
	tcase_add_test(tc, the_usual_chunk_is_large);
	tcase_add_test(tc, a_chunk_is_a_multiple_of_the_granularity);
	tcase_add_test(tc, a_card_is_named_in_three_ways);
	tcase_add_test(tc, another_card_is_refused);
	tcase_add_test(tc, a_part_of_a_card_is_refused);
	tcase_add_test(tc, without_virtual_memory_management);
	tcase_add_test(tc, without_file_descriptors);
	tcase_add_test(tc, an_exclusive_card_is_refused);
	tcase_add_test(tc, a_prohibited_card_is_refused);
	tcase_add_test(tc, without_stream_memory_operations_it_goes);
	tcase_add_test(tc, an_old_driver_is_refused);
	tcase_add_test(tc, no_card_is_no_error);
	tcase_add_test(tc, a_reserve_of_everything_is_refused);
	tcase_add_test(tc, idle_memory_goes_back_to_the_driver);
	suite_add_tcase(s, tc);
	tc = tcase_create("a card");
	tcase_add_checked_fixture(tc, setup_open, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, copies_are_exact_both_ways);
	tcase_add_test(tc, a_short_last_chunk_is_short);
	tcase_add_test(tc, a_fresh_buffer_is_zero);
	tcase_add_test(tc, many_copies_at_once);
	tcase_add_test(tc, a_slow_copy_costs_few_looks);
	tcase_add_test(tc, a_slow_copy_costs_the_next_nothing);
	tcase_add_test(tc, a_chunk_comes_back_to_its_memory);
	tcase_add_test(tc, other_memory_is_another_stamp);
	tcase_add_test(tc, memory_of_a_closed_object_serves_the_next);
	tcase_add_test(tc, another_user_never_gets_it);
	tcase_add_test(tc, clients_cannot_change_bindings);
	tcase_add_test(tc, programs_outside_shrink_the_budget);
	tcase_add_test(tc, free_memory_goes_to_programs_outside);
	tcase_add_test(tc, a_shortage_is_told_and_recycling_goes_on);
	tcase_add_test(tc, with_nothing_to_give_up_there_is_none);
	tcase_add_test(tc, the_host_tier_is_pinned_when_it_is_used);
	tcase_add_test(tc, without_pinning_it_goes_on);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
