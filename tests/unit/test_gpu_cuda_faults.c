// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/gpu_cuda.c daemon/gpu_cuda_probe.c daemon/gpu_cuda_pool.c daemon/gpu_cuda_memory.c daemon/gpu_cuda_copy.c daemon/gpu_cuda_object.c daemon/gpu_cuda_client.c daemon/gpu_cuda_host.c daemon/loop.c daemon/log.c common/cuda_driver.c common/fd.c common/err.c common/size.c common/pci.c tests/support/standin.c tests/support/gpu_cuda_world.c
// libs: -luring -lpthread
// timeout: 300
/*
 * A driver that fails: every call that the backend makes, once and for good, and the loss of the card with copies in
 * flight. Whatever happens ends with a reason, without a wrong byte, and with nothing of the card held.
 */
#include "tests/support/gpu_cuda_world.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cuda_abi.h"

#define CARD (64 * WORLD_PAGE)

static void setup(void)
{
	world_card(CARD);
}

static void setup_open(void)
{
	setup();
	ck_assert_msg(world_open(NULL) == 0, "%s", world.reason);
}

static void teardown(void)
{
	standin_clear_faults(world.card);
	world_close();
}

/* ---- every call ---- */

static const struct gpu_peer peer = { .pid = 1, .uid = 0, .pidfd = -1 };
static unsigned int n_failed;

static void on_failed(void *owner, int error, const char *reason)
{
	(void)owner;
	(void)error;
	(void)reason;
	n_failed++;
}

static void on_reclaim(void *owner, const uint64_t *ids, uint32_t n, uint64_t deadline_ns)
{
	(void)owner;
	(void)ids;
	(void)n;
	(void)deadline_ns;
}

static const struct gpu_client_events events = {
	.failed = on_failed,
	.reclaim = on_reclaim,
};

/*
 * What a life with a card looks like; anything may fail on the way. What was loaded without an error must hold what was
 * loaded. Return: the number of calls that reported an error.
 */
static unsigned int live(void)
{
	struct gpu_params params = world_params();
	struct gpu_object *object = NULL, *other = NULL;
	struct gpu_client *client = NULL;
	char *host, *slot, *expected = malloc(WORLD_CHUNK);
	unsigned int n_errors = 0;
	int fd, r;

	params.budget_bytes = 6 * WORLD_CHUNK;
	n_errors += world_open(&params) < 0;
	if (!world.gpu) {
		ck_assert_str_ne(world.reason, "");
		free(expected);
		return n_errors;
	}
	host = world.gpu->ops->host_map(world.gpu, 4 * WORLD_CHUNK);
	n_errors += gpu_object_new(world.gpu, "a", 3 * WORLD_CHUNK + 1, WORLD_CHUNK, true, 0,
				   &object) < 0;
	n_errors += gpu_client_new(world.gpu, -1, &peer, &events, NULL, &client) < 0;
	for (uint32_t i = 0; object && i < object->n_chunks; i++) {
		uint32_t len = gpu_chunk_len(object, i);
		bool zero = i == 2;

		slot = host + i % 4 * WORLD_CHUNK;
		world.gpu->ops->host_touch(world.gpu, slot, WORLD_CHUNK);
		world_pattern(slot, len, 40 + i);
		r = world_reserve(object, i);
		n_errors += r < 0;
		if (r == 0)
			r = world_copy(object, i, zero ? GPU_COPY_ZERO : GPU_COPY_IN, slot);
		n_errors += r < 0;
		if (r < 0) {
			/* As the pager does. */
			gpu_chunk_drop(object, i, 1);
			continue;
		}
		if (client && gpu_chunk_export(world.gpu, client, world_binding(object, i), &fd)) {
			n_errors++;
		} else if (client) {
			close(fd);
			n_errors += i == 3 && gpu_chunk_stamp(object, i) == 0;
		}
		memset(slot, 0x77, len);
		r = world_copy(object, i, GPU_COPY_OUT, slot);
		n_errors += r < 0;
		world_pattern(expected, len, 40 + i);
		if (zero)
			memset(expected, 0, len);
		if (r == 0)
			ck_assert_msg(memcmp(slot, expected, len) == 0, "wrong bytes in %u", i);
	}
	/* Another user needs the room. */
	if (object)
		gpu_chunk_drop(object, 0, object->n_chunks);
	client = gpu_client_free(world.gpu, client);
	n_errors += gpu_object_new(world.gpu, "b", 5 * WORLD_CHUNK, WORLD_CHUNK, false, 1, &other) <
		    0;
	for (uint32_t i = 0; other && i < other->n_chunks; i++) {
		r = world_reserve(other, i);
		if (r == 0)
			r = world_copy(other, i, GPU_COPY_ZERO, NULL);
		n_errors += r < 0;
	}
	if (other)
		gpu_chunk_drop(other, 1, 3);
	world_run(5 * WORLD_MS);
	object = gpu_object_free(object);
	other = gpu_object_free(other);
	world.gpu->ops->host_unmap(world.gpu, host, 4 * WORLD_CHUNK);
	world.gpu = gpu_free(world.gpu);
	free(expected);
	return n_errors;
}

static const char *const calls[] = {
	"cuInit",
	"cuDeviceGetCount",
	"cuDeviceGet",
	"cuDeviceGetName",
	"cuDeviceGetUuid",
	"cuDeviceGetPCIBusId",
	"cuDeviceGetAttribute",
	"cuDeviceTotalMem",
	"cuMemGetAllocationGranularity",
	"cuDevicePrimaryCtxRetain",
	"cuDevicePrimaryCtxRelease",
	"cuCtxSetCurrent",
	"cuMemGetInfo",
	"cuStreamCreate",
	"cuStreamDestroy",
	"cuEventCreate",
	"cuEventDestroy",
	"cuMemAddressReserve",
	"cuMemAddressFree",
	"cuMemCreate",
	"cuMemMap",
	"cuMemSetAccess",
	"cuMemExportToShareableHandle",
	"cuMemUnmap",
	"cuMemRelease",
	"cuMemHostRegister",
	"cuMemHostUnregister",
	"cuMemcpyHtoDAsync",
	"cuMemcpyDtoHAsync",
	"cuMemsetD8Async",
	"cuEventRecord",
	"cuEventQuery",
};
#define N_CALLS ((int)(sizeof(calls) / sizeof(calls[0])))

static const struct {
	uint32_t error;
	uint32_t flags;
	const char *what;
} failures[] = {
	{ CUDA_ABI_ERROR_INVALID_VALUE, 0, "once" },
	{ CUDA_ABI_ERROR_OUT_OF_MEMORY, 0, "for want of memory" },
	{ CUDA_ABI_ERROR_UNKNOWN, 0, "for no reason" },
	{ CUDA_ABI_ERROR_ILLEGAL_ADDRESS, STANDIN_FAULT_STICKY, "for good" },
};
#define N_FAILURES ((int)(sizeof(failures) / sizeof(failures[0])))

/* Without a failure there is no error, and every call of the list is made: else the next test would prove nothing. */
START_TEST(a_life_without_failures)
{
	ck_assert_uint_eq(live(), 0);
	ck_assert_uint_eq(world.n_lost, 0);
	for (int i = 0; i < N_CALLS; i++)
		ck_assert_msg(standin_calls(world.card, calls[i], 0) > 0, "%s", calls[i]);
}
END_TEST

/* Must the owner have heard of it? What only frees, or asks, has no one to tell; and what lacks memory is tried again. */
static bool is_silent(const char *call, uint32_t error)
{
	static const char *const silent[] = {
		"cuDevicePrimaryCtxRelease", "cuMemGetInfo", "cuStreamDestroy", "cuEventDestroy",
		"cuMemAddressFree",	     "cuMemUnmap",   "cuMemRelease",	"cuMemHostRegister",
		"cuMemHostUnregister",
	};
	static const char *const retried[] = {
		"cuMemAddressReserve",
		"cuMemCreate",
		"cuMemMap",
		"cuMemSetAccess",
	};

	for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++)
		if (strcmp(call, silent[i]) == 0)
			return true;
	for (size_t i = 0; i < sizeof(retried) / sizeof(retried[0]); i++)
		if (strcmp(call, retried[i]) == 0)
			return error == CUDA_ABI_ERROR_OUT_OF_MEMORY;
	return false;
}

START_TEST(each_call_fails_in_turn)
{
	const char *call = calls[_i / N_FAILURES];
	int kind = _i % N_FAILURES;
	unsigned int n_errors;
	int fault;

	/* The first, a middle one, a late one. */
	for (int skip = 0; skip < 12; skip = skip * 2 + 1) {
		world.n_lost = 0;
		standin_clear_faults(world.card);
		fault = standin_fault(world.card, call, failures[kind].error, skip, 1, 0,
				      failures[kind].flags);
		n_errors = live();
		if (!standin_hits(world.card, fault))
			break;
		if (!is_silent(call, failures[kind].error))
			ck_assert_msg(n_errors || world.n_lost, "%s fails %s, number %d: unnoticed",
				      call, failures[kind].what, skip);
		ck_assert_uint_le(world.n_lost, 1);
		ck_assert_msg(standin_used_bytes(world.card) == 0, "%s fails %s, number %d: %llu",
			      call, failures[kind].what, skip,
			      (unsigned long long)standin_used_bytes(world.card));
	}
	/* And it works again. */
	standin_clear_faults(world.card);
	world.n_lost = 0;
	ck_assert_uint_eq(live(), 0);
}
END_TEST

/* ---- a copy that fails ---- */

START_TEST(a_copy_that_fails_fails_alone)
{
	struct gpu_object *object = world_object(3, true, 0);
	char *host = malloc(WORLD_CHUNK);

	world_load(object, 0, 1);
	world_load(object, 1, 2);
	standin_fault(world.card, "cuMemcpyDtoHAsync", CUDA_ABI_ERROR_INVALID_VALUE, 0, 1, 0, 0);
	ck_assert_int_eq(world_copy(object, 0, GPU_COPY_OUT, host), -EINVAL);
	ck_assert(world_holds(object, 0, 1));
	standin_fault(world.card, "cuEventQuery", CUDA_ABI_ERROR_UNKNOWN, 0, 1, 0, 0);
	ck_assert_int_lt(world_copy(object, 1, GPU_COPY_OUT, host), 0);
	ck_assert(world_holds(object, 1, 2));
	ck_assert_uint_eq(world.n_lost, 0);
	free(host);
	gpu_object_free(object);
}
END_TEST

/* ---- the card is lost ---- */

static unsigned int n_done;

static void lost_done(struct gpu_copy *copy, int res)
{
	(void)copy;
	ck_assert_int_eq(res, -EIO);
	ck_assert_uint_eq(world.n_lost, 0);
	n_done++;
}

static void start_slow(struct gpu_object *object, struct gpu_copy copies[4], char *host)
{
	world.card->image->h2d_bytes_per_s = 1 << 20;
	world.card->image->d2h_bytes_per_s = 1 << 20;
	for (uint32_t i = 0; i < 4; i++) {
		copies[i] = (struct gpu_copy){
			.done = lost_done,
			.object = object,
			.chunk = i,
			.direction = i % 2 ? GPU_COPY_OUT : GPU_COPY_IN,
			.host = host + i * WORLD_CHUNK,
			.len = WORLD_CHUNK,
		};
		gpu_copy_start(&copies[i]);
	}
}

START_TEST(a_lost_card_is_told_once)
{
	struct gpu_object *object = world_object(5, true, 0), *second = NULL;
	char *host = world.gpu->ops->host_map(world.gpu, 4 * WORLD_CHUNK);
	struct gpu_client *client = NULL;
	struct gpu_copy copies[4];
	uint64_t id;
	int fd;

	for (uint32_t i = 0; i < 4; i++) {
		world.gpu->ops->host_touch(world.gpu, host + i * WORLD_CHUNK, WORLD_CHUNK);
		world_load(object, i, i);
	}
	ck_assert_int_eq(gpu_client_new(world.gpu, -1, &peer, &events, NULL, &client), 0);
	id = world_binding(object, 0);
	ck_assert_int_eq(gpu_chunk_export(world.gpu, client, id, &fd), 0);
	close(fd);
	start_slow(object, copies, host);
	world_run(5 * WORLD_MS);
	ck_assert_uint_eq(n_done, 0);
	world.card->image->lost_error = CUDA_ABI_ERROR_DEVICE_UNAVAILABLE;
	world_until(world.n_lost);
	ck_assert_uint_eq(n_done, 4);
	ck_assert_str_ne(world.lost_reason, "");
	/* Everything says so, and everything can be freed. */
	ck_assert_int_eq(gpu_chunk_reserve(object, 4), -ENODEV);
	ck_assert_int_eq(gpu_chunk_export(world.gpu, client, id, &fd), -ENODEV);
	ck_assert_int_lt(world_copy(object, 0, GPU_COPY_OUT, host), 0);
	ck_assert_int_eq(gpu_object_new(world.gpu, "x", 1, WORLD_CHUNK, false, 0, &second),
			 -ENODEV);
	client = gpu_client_free(world.gpu, client);
	ck_assert_int_eq(gpu_chunk_drop(object, 0, 5), 0);
	gpu_object_free(object);
	world_run(20 * WORLD_MS);
	ck_assert_uint_eq(world.n_lost, 1);
	/* As long as the driver takes nothing back it has everything. */
	ck_assert_uint_gt(standin_used_bytes(world.card), 0);
	world.card->image->lost_error = 0;
	world.gpu->ops->host_unmap(world.gpu, host, 4 * WORLD_CHUNK);
}
END_TEST

START_TEST(a_card_that_is_back_is_used_again)
{
	struct gpu_object *object = world_object(2, true, 0), *again = NULL;
	char *host = world.gpu->ops->host_map(world.gpu, 4 * WORLD_CHUNK);
	uint64_t id;

	world.gpu->ops->host_touch(world.gpu, host, WORLD_CHUNK);
	world_load(object, 0, 1);
	world_load(object, 1, 2);
	id = world_binding(object, 1);
	standin_fault(world.card, "cuMemcpyHtoDAsync", CUDA_ABI_ERROR_LAUNCH_FAILED, 0, 1, 0,
		      STANDIN_FAULT_ASYNC);
	ck_assert_int_lt(world_copy(object, 0, GPU_COPY_IN, host), 0);
	world_until(world.n_lost == 1);
	/* Not while there is something of before. */
	world_run(2100 * WORLD_MS);
	ck_assert_int_eq(gpu_object_new(world.gpu, "x", 1, WORLD_CHUNK, false, 0, &again), -ENODEV);
	gpu_object_free(object);
	/* Not while it is still gone, and not in a hurry. */
	world.card->image->lost_error = CUDA_ABI_ERROR_DEVICE_UNAVAILABLE;
	ck_assert_int_eq(gpu_object_new(world.gpu, "x", 1, WORLD_CHUNK, false, 0, &again), -ENODEV);
	world.card->image->lost_error = 0;
	ck_assert_int_eq(gpu_object_new(world.gpu, "x", 1, WORLD_CHUNK, false, 0, &again), -ENODEV);
	world_run(2100 * WORLD_MS);
	again = world_object(2, true, 0);
	world_load(again, 0, 11);
	world_load(again, 1, 12);
	ck_assert_uint_gt(world_binding(again, 0), id);
	ck_assert(world_holds(again, 0, 11));
	ck_assert(world_holds(again, 1, 12));
	world.gpu->ops->host_touch(world.gpu, host, WORLD_CHUNK);
	world_pattern(host, WORLD_CHUNK, 13);
	ck_assert_int_eq(world_copy(again, 0, GPU_COPY_IN, host), 0);
	ck_assert(world_holds(again, 0, 13));
	ck_assert_uint_eq(world.n_lost, 1);
	gpu_object_free(again);
	world.gpu->ops->host_unmap(world.gpu, host, 4 * WORLD_CHUNK);
}
END_TEST

/* A driver that has no memory although it says so. */
START_TEST(a_driver_that_refuses_memory_is_believed)
{
	struct gpu_object *object = world_object(8, true, 0);
	uint64_t all = world.gpu->budget_bytes;
	int fault;

	for (uint32_t i = 0; i < 3; i++)
		world_load(object, i, i);
	world_run(250 * WORLD_MS);
	fault = standin_fault(world.card, "cuMemCreate", CUDA_ABI_ERROR_OUT_OF_MEMORY, 0, -1, 0, 0);
	ck_assert_int_eq(gpu_chunk_reserve(object, 3), -EAGAIN);
	world_until(world.n_budget == 1);
	ck_assert_uint_eq(world.budget_bytes, 3 * WORLD_CHUNK);
	ck_assert_uint_gt(standin_hits(world.card, fault), 0);
	/* Something is given up for it. */
	gpu_chunk_drop(object, 0, 1);
	world_load(object, 3, 3);
	ck_assert(world_holds(object, 3, 3));
	standin_clear_faults(world.card);
	world_until(world.n_budget == 2);
	ck_assert_uint_eq(world.budget_bytes, all);
	gpu_object_free(object);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("gpu_cuda_faults");
	TCase *tc = tcase_create("calls");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_life_without_failures);
	tcase_add_loop_test(tc, each_call_fails_in_turn, 0, N_CALLS * N_FAILURES);
	suite_add_tcase(s, tc);
	tc = tcase_create("losses");
	tcase_add_checked_fixture(tc, setup_open, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_copy_that_fails_fails_alone);
	tcase_add_test(tc, a_lost_card_is_told_once);
	tcase_add_test(tc, a_card_that_is_back_is_used_again);
	tcase_add_test(tc, a_driver_that_refuses_memory_is_believed);
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
