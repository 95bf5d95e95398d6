// SPDX-License-Identifier: GPL-2.0-only
// links: common/cuda_driver.c common/err.c tests/support/standin.c
/*
 * The stand-in driver does what tests rely on, and refuses what the real one would: one process on
 * its card. tests/unit/test_standin_shared.c has several.
 */
#include "common/cuda_driver.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/standin.h"

#define PAGE STANDIN_PAGE
#define CARD (64 * PAGE)
#define RW   CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE
#define RO   CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READ
#define PFD  CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR

static struct standin_card *card;
static struct cuda_driver cu;
static cuda_context context;
static unsigned char *pinned;

#define ok(call)	    ck_assert_int_eq(call, CUDA_ABI_SUCCESS)
#define fails(call, result) ck_assert_int_eq(call, CUDA_ABI_##result)

static const struct cuda_mem_prop prop = {
	.type = CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED,
	.handle_types = PFD,
	.location = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, 0 },
};

static void setup(void)
{
	char reason[CUDA_DRIVER_REASON_SIZE] = "";

	card = standin_new(CARD);
	ck_assert_msg(cuda_driver_open(&cu, standin_library(), reason, sizeof(reason)) == 0, "%s",
		      reason);
	ok(cu.primary_ctx_retain(&context, 0));
	ok(cu.ctx_set_current(context));
	ok(cu.mem_host_alloc((void **)&pinned, 4 * PAGE, 0));
}

static void teardown(void)
{
	standin_free(card);
}

static size_t free_bytes(void)
{
	size_t free, total;

	ok(cu.mem_get_info(&free, &total));
	ck_assert_uint_eq(total, card->image->size_bytes);
	return free;
}

static cuda_mem create(unsigned int pages)
{
	cuda_mem mem;

	ok(cu.mem_create(&mem, pages * PAGE, &prop, 0));
	return mem;
}

static cuda_ptr reserve(unsigned int pages)
{
	cuda_ptr ptr;

	ok(cu.mem_address_reserve(&ptr, pages * PAGE, 0, 0, 0));
	ck_assert_uint_eq(ptr % PAGE, 0);
	return ptr;
}

static cuda_result set_access(cuda_ptr ptr, unsigned int pages, int flags)
{
	const struct cuda_mem_access access = { { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, 0 }, flags };

	return cu.mem_set_access(ptr, pages * PAGE, &access, 1);
}

/* Memory with an address, accessible. */
static cuda_ptr mapped(unsigned int pages)
{
	cuda_ptr ptr = reserve(pages);
	cuda_mem mem = create(pages);

	ok(cu.mem_map(ptr, pages * PAGE, 0, mem, 0));
	ok(set_access(ptr, pages, RW));
	ok(cu.mem_release(mem));
	return ptr;
}

/* ---- memory ---- */

START_TEST(test_bytes_go_and_come)
{
	cuda_ptr ptr = mapped(2);
	size_t i;

	for (i = 0; i < 2 * PAGE; i++)
		pinned[i] = i * 7 + i / 4096;
	ok(cu.memcpy_htod_async(ptr, pinned, 2 * PAGE, NULL));
	ok(cu.memcpy_dtoh_async(pinned + 2 * PAGE, ptr, 2 * PAGE, NULL));
	ok(cu.ctx_synchronize());
	ck_assert(memcmp(pinned, pinned + 2 * PAGE, 2 * PAGE) == 0);
	/* Memory of the host that is not pinned, at odd places. */
	memset(pinned, 0, PAGE);
	ok(cu.memcpy_dtoh(pinned + 1, ptr + PAGE - 1000, 2001));
	for (i = 0; i < 2001; i++)
		ck_assert_uint_eq(pinned[i + 1], (unsigned char)((PAGE - 1000 + i) * 7 +
								 (PAGE - 1000 + i) / 4096));
}
END_TEST

START_TEST(test_all_memory_then_none)
{
	cuda_mem mem[64], more;
	unsigned int i;

	ck_assert_uint_eq(free_bytes(), CARD);
	for (i = 0; i < 64; i++)
		mem[i] = create(1);
	ck_assert_uint_eq(free_bytes(), 0);
	fails(cu.mem_create(&more, PAGE, &prop, 0), ERROR_OUT_OF_MEMORY);
	for (i = 0; i < 64; i += 2)
		ok(cu.mem_release(mem[i]));
	ck_assert_uint_eq(free_bytes(), CARD / 2);
	/* Pages need not lie together. */
	ok(cu.mem_create(&more, 32 * PAGE, &prop, 0));
	fails(cu.mem_create(&mem[0], PAGE, &prop, 0), ERROR_OUT_OF_MEMORY);
}
END_TEST

START_TEST(test_memory_lives_while_anything_holds_it)
{
	cuda_ptr ptr = reserve(1);
	cuda_mem mem = create(1), same, import;
	int fd;

	ok(cu.mem_export(&fd, mem, PFD, 0));
	ok(cu.mem_map(ptr, PAGE, 0, mem, 0));
	ok(cu.mem_release(mem));
	fails(cu.mem_release(mem), ERROR_INVALID_VALUE);
	ck_assert_uint_eq(free_bytes(), CARD - PAGE);
	ok(cu.mem_retain(&same, (void *)(uintptr_t)(ptr + 4711)));
	ck_assert_uint_eq(same, mem);
	ok(cu.mem_release(same));
	ok(cu.mem_unmap(ptr, PAGE));
	ck_assert_uint_eq(free_bytes(), CARD - PAGE);
	ok(cu.mem_import(&import, (void *)(intptr_t)fd, PFD));
	close(fd);
	ck_assert_uint_eq(free_bytes(), CARD - PAGE);
	ok(cu.mem_release(import));
	ck_assert_uint_eq(free_bytes(), CARD);
}
END_TEST

START_TEST(test_freed_memory_keeps_its_bytes)
{
	static const char secret[16] = "0123456789abcde";
	cuda_ptr ptr = mapped(1);

	ok(cu.memcpy_htod(ptr, secret, sizeof(secret)));
	ok(cu.mem_unmap(ptr, PAGE));
	ck_assert_uint_eq(free_bytes(), CARD);
	ck_assert(standin_find(card, secret, sizeof(secret), true));
	ptr = mapped(1);
	ok(cu.memcpy_dtoh(pinned, ptr, sizeof(secret)));
	ck_assert_mem_eq(pinned, secret, sizeof(secret));
}
END_TEST

START_TEST(test_outside_takes_room)
{
	cuda_mem mem;

	card->image->outside_bytes = CARD - 2 * PAGE;
	ck_assert_uint_eq(free_bytes(), 2 * PAGE);
	fails(cu.mem_create(&mem, 3 * PAGE, &prop, 0), ERROR_OUT_OF_MEMORY);
	ok(cu.mem_create(&mem, 2 * PAGE, &prop, 0));
	card->image->outside_bytes = CARD;
	ck_assert_uint_eq(free_bytes(), 0);
	card->image->outside_bytes = 0;
	ck_assert_uint_eq(free_bytes(), CARD - 2 * PAGE);
}
END_TEST

/* ---- what cuMemCreate and its like refuse ---- */

START_TEST(test_create_refuses)
{
	struct cuda_mem_prop p = prop;
	cuda_mem mem;

	fails(cu.mem_create(&mem, PAGE + 4096, &prop, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_create(&mem, 0, &prop, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_create(&mem, PAGE, &prop, 1), ERROR_INVALID_VALUE);
	fails(cu.mem_create(&mem, PAGE, NULL, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_create(NULL, PAGE, &prop, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_create(&mem, 1ull << 60, &prop, 0), ERROR_OUT_OF_MEMORY);
	p.type = CUDA_ABI_MEM_ALLOCATION_TYPE_INVALID;
	fails(cu.mem_create(&mem, PAGE, &p, 0), ERROR_INVALID_VALUE);
	p = prop;
	p.location.type = CUDA_ABI_MEM_LOCATION_TYPE_HOST;
	fails(cu.mem_create(&mem, PAGE, &p, 0), ERROR_INVALID_VALUE);
	p = prop;
	p.location.id = 1;
	fails(cu.mem_create(&mem, PAGE, &p, 0), ERROR_INVALID_DEVICE);
	p = prop;
	p.handle_types = 8;
	fails(cu.mem_create(&mem, PAGE, &p, 0), ERROR_NOT_SUPPORTED);
	p = prop;
	p.flags.reserved[3] = 1;
	fails(cu.mem_create(&mem, PAGE, &p, 0), ERROR_INVALID_VALUE);
	ck_assert_uint_eq(free_bytes(), CARD);
}
END_TEST

START_TEST(test_granularity)
{
	size_t bytes = 0;

	ok(cu.mem_get_allocation_granularity(&bytes, &prop,
					     CUDA_ABI_MEM_ALLOC_GRANULARITY_MINIMUM));
	ck_assert_uint_eq(bytes, PAGE);
	fails(cu.mem_get_allocation_granularity(&bytes, &prop, 2), ERROR_INVALID_VALUE);
	fails(cu.mem_get_allocation_granularity(NULL, &prop, 0), ERROR_INVALID_VALUE);
}
END_TEST

START_TEST(test_export_and_import_refuse)
{
	struct cuda_mem_prop p = prop;
	cuda_mem mem = create(1), private, import;
	int fd = -1, text, other;

	fails(cu.mem_export(&fd, mem, PFD, 1), ERROR_INVALID_VALUE);
	fails(cu.mem_export(&fd, mem, CUDA_ABI_MEM_HANDLE_TYPE_NONE, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_export(&fd, mem + 16, PFD, 0), ERROR_INVALID_VALUE);
	/* It was not asked for when the memory was made. */
	p.handle_types = 0;
	ok(cu.mem_create(&private, PAGE, &p, 0));
	fails(cu.mem_export(&fd, private, PFD, 0), ERROR_INVALID_VALUE);
	ck_assert_int_eq(fd, -1);

	ok(cu.mem_export(&fd, mem, PFD, 0));
	fails(cu.mem_import(&import, (void *)(intptr_t)fd, CUDA_ABI_MEM_HANDLE_TYPE_NONE),
	      ERROR_INVALID_VALUE);
	fails(cu.mem_import(&import, (void *)(intptr_t)-1, PFD), ERROR_INVALID_VALUE);
	fails(cu.mem_import(&import, (void *)(intptr_t)4000, PFD), ERROR_INVALID_VALUE);
	text = open("/proc/self/comm", O_RDONLY);
	fails(cu.mem_import(&import, (void *)(intptr_t)text, PFD), ERROR_INVALID_VALUE);
	/* The card's own file is no memory of the card; nor if it claims to be this very allocation. */
	other = open(card->path, O_RDWR);
	fails(cu.mem_import(&import, (void *)(intptr_t)other, PFD), ERROR_INVALID_VALUE);
	lseek(other, lseek(fd, 0, SEEK_CUR), SEEK_SET);
	fails(cu.mem_import(&import, (void *)(intptr_t)other, PFD), ERROR_INVALID_VALUE);
	ok(cu.mem_import(&import, (void *)(intptr_t)fd, PFD));
}
END_TEST

START_TEST(test_properties)
{
	struct cuda_mem_prop p;
	cuda_mem mem = create(1), import;
	int fd;

	ok(cu.mem_get_prop(&p, mem));
	ck_assert_mem_eq(&p, &prop, sizeof(p));
	ok(cu.mem_export(&fd, mem, PFD, 0));
	ok(cu.mem_import(&import, (void *)(intptr_t)fd, PFD));
	ck_assert_uint_ne(import, mem);
	ok(cu.mem_get_prop(&p, import));
	ck_assert_mem_eq(&p, &prop, sizeof(p));
	ok(cu.mem_release(mem));
	fails(cu.mem_get_prop(&p, mem), ERROR_INVALID_VALUE);
	fails(cu.mem_export(&fd, mem, PFD, 0), ERROR_INVALID_VALUE);
}
END_TEST

/* ---- addresses ---- */

START_TEST(test_reserve_refuses)
{
	cuda_ptr ptr, big;

	fails(cu.mem_address_reserve(&ptr, 0, 0, 0, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_address_reserve(&ptr, PAGE + 4096, 0, 0, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_address_reserve(&ptr, PAGE, 3 * PAGE, 0, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_address_reserve(&ptr, PAGE, 0, 17, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_address_reserve(&ptr, PAGE, 0, 0, 1), ERROR_INVALID_VALUE);
	fails(cu.mem_address_reserve(&ptr, 1ull << 50, 0, 0, 0), ERROR_OUT_OF_MEMORY);
	ok(cu.mem_address_reserve(&big, 4 * PAGE, 64 * PAGE, 0, 0));
	ck_assert_uint_eq(big % (64 * PAGE), 0);
	fails(cu.mem_address_free(big, 2 * PAGE), ERROR_INVALID_VALUE);
	fails(cu.mem_address_free(big + PAGE, 3 * PAGE), ERROR_INVALID_VALUE);
	ok(cu.mem_address_free(big, 4 * PAGE));
	fails(cu.mem_address_free(big, 4 * PAGE), ERROR_INVALID_VALUE);
	/* A hint is followed where there is room. */
	ok(cu.mem_address_reserve(&ptr, 4 * PAGE, 0, big, 0));
	ck_assert_uint_eq(ptr, big);
	ok(cu.mem_address_reserve(&ptr, 4 * PAGE, 0, big, 0));
	ck_assert_uint_ne(ptr, big);
}
END_TEST

START_TEST(test_map_refuses)
{
	cuda_ptr ptr = reserve(4);
	cuda_mem mem = create(2);

	fails(cu.mem_map(ptr, 2 * PAGE, 0, mem, 1), ERROR_INVALID_VALUE);
	fails(cu.mem_map(ptr, 2 * PAGE, PAGE, mem, 0), ERROR_INVALID_VALUE);
	/* All of it or nothing. */
	fails(cu.mem_map(ptr, PAGE, 0, mem, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_map(ptr, PAGE, PAGE, mem, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_map(ptr, 3 * PAGE, 0, mem, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_map(ptr, 0, 0, mem, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_map(ptr + 4096, 2 * PAGE, 0, mem, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_map(ptr, 2 * PAGE, 0, mem + 16, 0), ERROR_INVALID_VALUE);
	/* Within one reservation. */
	fails(cu.mem_map(ptr + 3 * PAGE, 2 * PAGE, 0, mem, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_map(ptr - PAGE, 2 * PAGE, 0, mem, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_map((uintptr_t)pinned & ~(PAGE - 1), 2 * PAGE, 0, mem, 0),
	      ERROR_INVALID_VALUE);
	/* Not over another mapping, in whole or in part. */
	ok(cu.mem_map(ptr + PAGE, 2 * PAGE, 0, mem, 0));
	fails(cu.mem_map(ptr + PAGE, 2 * PAGE, 0, mem, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_map(ptr, 2 * PAGE, 0, mem, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_map(ptr + 2 * PAGE, 2 * PAGE, 0, mem, 0), ERROR_INVALID_VALUE);
	/* Not with a handle that was released, although the memory lives. */
	ok(cu.mem_release(mem));
	fails(cu.mem_map(ptr + 4 * PAGE, 2 * PAGE, 0, mem, 0), ERROR_INVALID_VALUE);
	/* Addresses that are mapped are not freed. */
	fails(cu.mem_address_free(ptr, 4 * PAGE), ERROR_INVALID_VALUE);
	ok(cu.mem_unmap(ptr + PAGE, 2 * PAGE));
	ok(cu.mem_address_free(ptr, 4 * PAGE));
	ck_assert_uint_eq(free_bytes(), CARD);
}
END_TEST

/* Three mappings side by side: of two pages, one, and one. */
static cuda_ptr three(void)
{
	cuda_ptr ptr = reserve(8);

	ok(cu.mem_map(ptr, 2 * PAGE, 0, create(2), 0));
	ok(cu.mem_map(ptr + 2 * PAGE, PAGE, 0, create(1), 0));
	ok(cu.mem_map(ptr + 3 * PAGE, PAGE, 0, create(1), 0));
	return ptr;
}

START_TEST(test_unmap_takes_whole_mappings)
{
	cuda_ptr ptr = three();

	fails(cu.mem_unmap(ptr, PAGE), ERROR_INVALID_VALUE);
	fails(cu.mem_unmap(ptr + PAGE, PAGE), ERROR_INVALID_VALUE);
	fails(cu.mem_unmap(ptr + PAGE, 2 * PAGE), ERROR_INVALID_VALUE);
	fails(cu.mem_unmap(ptr, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_unmap(ptr, 5 * PAGE), ERROR_INVALID_VALUE);
	fails(cu.mem_unmap(ptr + 4 * PAGE, PAGE), ERROR_INVALID_VALUE);
	ok(cu.mem_unmap(ptr + 2 * PAGE, PAGE));
	fails(cu.mem_unmap(ptr + 2 * PAGE, PAGE), ERROR_INVALID_VALUE);
	/* Not across a hole either. */
	fails(cu.mem_unmap(ptr, 4 * PAGE), ERROR_INVALID_VALUE);
	ok(cu.mem_map(ptr + 2 * PAGE, PAGE, 0, create(1), 0));
	/* Several at once. */
	ok(cu.mem_unmap(ptr, 4 * PAGE));
}
END_TEST

START_TEST(test_set_access_takes_whole_mappings)
{
	const struct cuda_mem_location here = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, 0 };
	struct cuda_mem_access access = { here, RW };
	cuda_ptr ptr = three();
	unsigned long long flags = 99;

	fails(set_access(ptr, 1, RW), ERROR_INVALID_VALUE);
	fails(set_access(ptr, 5, RW), ERROR_INVALID_VALUE);
	fails(set_access(ptr + PAGE, 3, RW), ERROR_INVALID_VALUE);
	fails(set_access(ptr + 5 * PAGE, 1, RW), ERROR_INVALID_VALUE);
	fails(set_access(ptr, 4, 2), ERROR_INVALID_VALUE);
	fails(cu.mem_set_access(ptr, 4 * PAGE, &access, 0), ERROR_INVALID_VALUE);
	fails(cu.mem_set_access(ptr, 4 * PAGE, NULL, 1), ERROR_INVALID_VALUE);
	access.location.id = 1;
	fails(cu.mem_set_access(ptr, 4 * PAGE, &access, 1), ERROR_INVALID_DEVICE);
	access.location.type = CUDA_ABI_MEM_LOCATION_TYPE_HOST;
	fails(cu.mem_set_access(ptr, 4 * PAGE, &access, 1), ERROR_INVALID_VALUE);
	/* Nothing of this took effect. */
	ok(cu.mem_get_access(&flags, &here, ptr));
	ck_assert_uint_eq(flags, CUDA_ABI_MEM_ACCESS_FLAGS_PROT_NONE);
	ok(set_access(ptr, 4, RO));
	ok(cu.mem_get_access(&flags, &here, ptr + 4 * PAGE - 1));
	ck_assert_uint_eq(flags, RO);
	fails(cu.mem_get_access(&flags, &here, ptr + 4 * PAGE), ERROR_INVALID_VALUE);
	/* A new mapping starts without access. */
	ok(cu.mem_unmap(ptr, 4 * PAGE));
	ok(cu.mem_map(ptr, PAGE, 0, create(1), 0));
	ok(cu.mem_get_access(&flags, &here, ptr));
	ck_assert_uint_eq(flags, CUDA_ABI_MEM_ACCESS_FLAGS_PROT_NONE);
}
END_TEST

START_TEST(test_one_memory_in_two_places)
{
	cuda_ptr a = reserve(1), b = reserve(1);
	cuda_mem mem = create(1);

	ok(cu.mem_map(a, PAGE, 0, mem, 0));
	ok(cu.mem_map(b, PAGE, 0, mem, 0));
	ok(set_access(a, 1, RW));
	ok(set_access(b, 1, RO));
	ok(cu.memset_d8(a, 0x5c, PAGE));
	ok(cu.memcpy_dtoh(pinned, b, PAGE));
	ck_assert_uint_eq(pinned[PAGE - 1], 0x5c);
	ok(cu.mem_unmap(a, PAGE));
	ok(cu.mem_release(mem));
	ck_assert_uint_eq(free_bytes(), CARD - PAGE);
	ok(cu.mem_unmap(b, PAGE));
	ck_assert_uint_eq(free_bytes(), CARD);
}
END_TEST

START_TEST(test_addresses_are_not_the_processors)
{
	cuda_ptr ptr = mapped(1);
	int pipes[2];

	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(write(pipes[1], (void *)(uintptr_t)ptr, 1), -1);
	ck_assert_int_eq(errno, EFAULT);
}
END_TEST

/* ---- access by the device ---- */

/* The context is dead with this error, and says so whatever is asked. */
static void is_dead(cuda_result error)
{
	cuda_stream stream;
	size_t free, total;
	cuda_mem mem;

	ck_assert_int_eq(cu.ctx_synchronize(), error);
	ck_assert_int_eq(cu.stream_query(NULL), error);
	ck_assert_int_eq(cu.stream_create(&stream, 0), error);
	ck_assert_int_eq(cu.mem_get_info(&free, &total), error);
	ck_assert_int_eq(cu.mem_create(&mem, PAGE, &prop, 0), error);
	ck_assert(cuda_is_sticky(error));
}

enum wrong_access {
	UNMAPPED,
	NO_ACCESS,
	READ_ONLY_WRITE,
	HALF,
	AFTER_UNMAP,
	N_WRONG
};

START_TEST(test_wrong_access_ends_the_context)
{
	cuda_ptr ptr = reserve(2);
	cuda_mem mem = create(1);

	if (_i != UNMAPPED)
		ok(cu.mem_map(ptr, PAGE, 0, mem, 0));
	if (_i == READ_ONLY_WRITE) {
		ok(set_access(ptr, 1, RO));
		ok(cu.memcpy_dtoh_async(pinned, ptr, PAGE, NULL));
		ok(cu.ctx_synchronize());
	}
	if (_i == HALF || _i == AFTER_UNMAP)
		ok(set_access(ptr, 1, RW));
	if (_i == AFTER_UNMAP)
		ok(cu.mem_unmap(ptr, PAGE));
	/* The call itself is in order: what it asks for is not. */
	ok(cu.memcpy_htod_async(ptr, pinned, _i == HALF ? 2 * PAGE : PAGE, NULL));
	is_dead(CUDA_ABI_ERROR_ILLEGAL_ADDRESS);
	fails(cu.mem_release(mem), ERROR_ILLEGAL_ADDRESS);
	/* The process has not died, and a new context works. */
	ok(cu.primary_ctx_release(0));
	ok(cu.primary_ctx_retain(&context, 0));
	ok(cu.ctx_set_current(context));
	ok(cu.memcpy_dtoh(pinned, mapped(1), PAGE));
}
END_TEST

START_TEST(test_memory_calls_in_a_dead_context)
{
	cuda_ptr ptr = mapped(1);

	standin_fault(card, "cuCtxSynchronize", CUDA_ABI_ERROR_LAUNCH_FAILED, 0, 1, 0,
		      STANDIN_FAULT_STICKY);
	fails(cu.ctx_synchronize(), ERROR_LAUNCH_FAILED);
	fails(cu.mem_unmap(ptr, PAGE), ERROR_LAUNCH_FAILED);
	/* Nobody knows whether the real one is like that, so a test may have it either way. */
	card->image->vmm_survives = 1;
	ok(cu.mem_unmap(ptr, PAGE));
	ck_assert_uint_eq(standin_used_bytes(card), 0);
	fails(cu.ctx_synchronize(), ERROR_LAUNCH_FAILED);
}
END_TEST

START_TEST(test_address_of_nobody)
{
	fails(cu.memcpy_htod(0x1000, pinned, 16), ERROR_INVALID_VALUE);
	fails(cu.memset_d8((uintptr_t)&card, 0, 1), ERROR_INVALID_VALUE);
	/* Beyond the end of what is reserved. */
	fails(cu.memset_d8_async(reserve(1), 0, 1ull << 40, NULL), ERROR_INVALID_VALUE);
	ok(cu.ctx_synchronize());
}
END_TEST

START_TEST(test_unmap_below_a_running_copy)
{
	cuda_ptr ptr = mapped(2);

	/* 4 MiB at 10 MB/s. */
	card->image->h2d_bytes_per_s = 10000000;
	ok(cu.memcpy_htod_async(ptr, pinned, 2 * PAGE, NULL));
	usleep(20000);
	ok(cu.mem_unmap(ptr, 2 * PAGE));
	fails(cu.ctx_synchronize(), ERROR_ILLEGAL_ADDRESS);
}
END_TEST

START_TEST(test_alignment_of_values)
{
	cuda_ptr ptr = mapped(1);

	fails(cu.memset_d32_async(ptr + 2, 1, 1, NULL), ERROR_INVALID_VALUE);
	fails(cu.stream_write_value64(NULL, ptr + 4, 1, 0), ERROR_INVALID_VALUE);
	fails(cu.stream_write_value32(NULL, ptr + 2, 1, 0), ERROR_INVALID_VALUE);
	fails(cu.stream_write_value64(NULL, ptr, 1, 1), ERROR_INVALID_VALUE);
	fails(cu.stream_wait_value64(NULL, ptr + 4, 1, 0), ERROR_INVALID_VALUE);
	fails(cu.stream_wait_value64(NULL, ptr, 1, 4), ERROR_INVALID_VALUE);
	ok(cu.memset_d32_async(ptr, 0x01020304, 2, NULL));
	ok(cu.stream_write_value32(NULL, ptr + 4, 0x0a0b0c0d, 0));
	ok(cu.memcpy_dtoh(pinned, ptr, 8));
	ck_assert_mem_eq(pinned, "\4\3\2\1\r\f\v\n", 8);
}
END_TEST

/* ---- contexts and initialisation ---- */

START_TEST(test_without_a_context)
{
	cuda_stream stream;
	cuda_event event;
	size_t free, total;

	ok(cu.ctx_set_current(NULL));
	fails(cu.stream_create(&stream, 0), ERROR_INVALID_CONTEXT);
	fails(cu.event_create(&event, 0), ERROR_INVALID_CONTEXT);
	fails(cu.mem_get_info(&free, &total), ERROR_INVALID_CONTEXT);
	fails(cu.memset_d8(0x1000, 0, 1), ERROR_INVALID_CONTEXT);
	fails(cu.ctx_synchronize(), ERROR_INVALID_CONTEXT);
	ok(cu.ctx_push_current(context));
	ok(cu.ctx_synchronize());
	ok(cu.ctx_pop_current(&context));
	fails(cu.ctx_pop_current(NULL), ERROR_INVALID_CONTEXT);
	fails(cu.ctx_set_current((cuda_context)&card), ERROR_INVALID_CONTEXT);
}
END_TEST

START_TEST(test_context_ends)
{
	unsigned int flags;
	cuda_ptr ptr;
	int active;

	ok(cu.mem_alloc(&ptr, 3 * PAGE));
	ck_assert_uint_eq(free_bytes(), CARD - 3 * PAGE);
	ok(cu.primary_ctx_release(0));
	ok(cu.primary_ctx_get_state(0, &flags, &active));
	ck_assert_int_eq(active, 0);
	fails(cu.ctx_synchronize(), ERROR_INVALID_CONTEXT);
	fails(cu.primary_ctx_release(0), ERROR_INVALID_CONTEXT);
	fails(cu.ctx_set_current(context), ERROR_INVALID_CONTEXT);
	ok(cu.primary_ctx_retain(&context, 0));
	ok(cu.ctx_set_current(context));
	/* What cuMemAlloc gave went with it. */
	ck_assert_uint_eq(free_bytes(), CARD);
	fails(cu.mem_free(ptr), ERROR_INVALID_VALUE);
}
END_TEST

START_TEST(test_contexts_take_memory)
{
	cuda_context second;

	card->image->context_bytes = 8 * PAGE;
	ck_assert_uint_eq(free_bytes(), CARD - 8 * PAGE);
	/* Retaining it again is free of charge. */
	ok(cu.primary_ctx_retain(&second, 0));
	ck_assert_uint_eq(free_bytes(), CARD - 8 * PAGE);
	ok(cu.primary_ctx_release(0));
	ok(cu.primary_ctx_release(0));
	card->image->outside_bytes = CARD - 4 * PAGE;
	fails(cu.primary_ctx_retain(&context, 0), ERROR_OUT_OF_MEMORY);
	card->image->outside_bytes = 0;
	ok(cu.primary_ctx_retain(&context, 0));
}
END_TEST

START_TEST(test_other_devices)
{
	cuda_device device;
	cuda_context c;
	char name[64];
	int value;

	fails(cu.device_get(&device, 1), ERROR_INVALID_DEVICE);
	fails(cu.primary_ctx_retain(&c, 1), ERROR_INVALID_DEVICE);
	fails(cu.device_get_name(name, sizeof(name), 1), ERROR_INVALID_DEVICE);
	fails(cu.device_get_attribute(&value, CUDA_ABI_DEVICE_ATTRIBUTE_INTEGRATED, 1),
	      ERROR_INVALID_DEVICE);
	fails(cu.device_get_attribute(&value, 0, 0), ERROR_INVALID_VALUE);
	ok(cu.device_get_name(name, sizeof(name), 0));
	ck_assert_str_eq(name, "vram test stand-in");
	ok(cu.device_get_pci_bus_id(name, sizeof(name), 0));
	ck_assert_str_eq(name, "0000:65:00.0");
	ok(cu.device_get_attribute(&value, CUDA_ABI_DEVICE_ATTRIBUTE_PCI_BUS_ID, 0));
	ck_assert_int_eq(value, 0x65);
	ok(cu.device_get_attribute(
		&value, CUDA_ABI_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0));
	ck_assert_int_eq(value, 1);
	card->image->overrides[0].value = 0;
	card->image->overrides[0].attribute =
		CUDA_ABI_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED;
	ok(cu.device_get_attribute(
		&value, CUDA_ABI_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0));
	ck_assert_int_eq(value, 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("standin");
	TCase *t = tcase_create("memory");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_bytes_go_and_come);
	tcase_add_test(t, test_all_memory_then_none);
	tcase_add_test(t, test_memory_lives_while_anything_holds_it);
	tcase_add_test(t, test_freed_memory_keeps_its_bytes);
	tcase_add_test(t, test_outside_takes_room);
	tcase_add_test(t, test_create_refuses);
	tcase_add_test(t, test_granularity);
	tcase_add_test(t, test_export_and_import_refuse);
	tcase_add_test(t, test_properties);
	suite_add_tcase(s, t);

	t = tcase_create("addresses");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_reserve_refuses);
	tcase_add_test(t, test_map_refuses);
	tcase_add_test(t, test_unmap_takes_whole_mappings);
	tcase_add_test(t, test_set_access_takes_whole_mappings);
	tcase_add_test(t, test_one_memory_in_two_places);
	tcase_add_test(t, test_addresses_are_not_the_processors);
	suite_add_tcase(s, t);

	t = tcase_create("access");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, test_wrong_access_ends_the_context, 0, N_WRONG);
	tcase_add_test(t, test_memory_calls_in_a_dead_context);
	tcase_add_test(t, test_address_of_nobody);
	tcase_add_test(t, test_unmap_below_a_running_copy);
	tcase_add_test(t, test_alignment_of_values);
	suite_add_tcase(s, t);

	t = tcase_create("contexts");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_without_a_context);
	tcase_add_test(t, test_context_ends);
	tcase_add_test(t, test_contexts_take_memory);
	tcase_add_test(t, test_other_devices);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
