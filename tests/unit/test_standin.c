// SPDX-License-Identifier: GPL-2.0-only
// links: common/cuda_driver.c common/err.c tests/support/standin.c
/*
 * The stand-in driver does what tests rely on, and refuses what the real one would: one process on
 * its card. tests/unit/test_standin_shared.c has several.
 */
#include "common/cuda_driver.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/standin.h"

#define PAGE  STANDIN_PAGE
#define CARD  (64 * PAGE)
#define RW    CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE
#define RO    CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READ
#define PFD   CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
#define WRONG CUDA_ABI_ERROR_INVALID_VALUE

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
