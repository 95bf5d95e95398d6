// SPDX-License-Identifier: GPL-2.0-only
// links: common/cuda_driver.c common/err.c tests/support/standin.c
/*
 * Opening the driver: what is said when there is none, or one that cannot serve. The driver is the
 * stand-in, told to be wrong in one way each.
 */
#include "common/cuda_driver.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/standin.h"

static struct standin_card *card;
static struct cuda_driver driver;
static char reason[CUDA_DRIVER_REASON_SIZE];

static void setup(void)
{
	card = standin_new(8 * STANDIN_PAGE);
	memset(&driver, 0xa5, sizeof(driver));
	reason[0] = '\0';
}

static void teardown(void)
{
	standin_free(card);
}

static int open_driver(const char *path)
{
	return cuda_driver_open(&driver, path ? path : standin_library(), reason, sizeof(reason));
}

/* One line, about this, and nothing written. */
static void refused(int r, int wanted, const char *about)
{
	struct cuda_driver untouched;

	memset(&untouched, 0xa5, sizeof(untouched));
	ck_assert_msg(r == wanted, "%d: %s", r, reason);
	ck_assert_msg(strstr(reason, about) != NULL, "'%s' is not about '%s'", reason, about);
	ck_assert_ptr_null(strchr(reason, '\n'));
	ck_assert_mem_eq(&driver, &untouched, sizeof(driver));
}

START_TEST(test_opens)
{
	int count = 0;

	ck_assert_msg(open_driver(NULL) == 0, "%s", reason);
	ck_assert_int_eq(driver.version, 12040);
	ck_assert_int_eq(driver.device_get_count(&count), CUDA_ABI_SUCCESS);
	ck_assert_int_eq(count, 1);
#define PRESENT(field, base, symbol, version, need, prototype) \
	ck_assert_msg(driver.field != NULL, #base);
	CUDA_ABI_ENTRIES(PRESENT)
#undef PRESENT
	/* Once more is the same. */
	ck_assert_int_eq(open_driver(NULL), 0);
}
END_TEST

START_TEST(test_no_library)
{
	refused(open_driver("libcuda-of-nobody.so.1"), -ENOENT,
		"libcuda-of-nobody.so.1 is not here");
	refused(open_driver("/nowhere/libcuda.so.1"), -ENOENT, "/nowhere/libcuda.so.1 is not here");
}
END_TEST

START_TEST(test_no_library_at_all)
{
	char path[sizeof(card->path) + 4];
	FILE *f;

	snprintf(path, sizeof(path), "%s.so", card->path);
	f = fopen(path, "w");
	fputs("this is text\n", f);
	fclose(f);
	refused(open_driver(path), -ELIBBAD, "cannot be loaded");
	unlink(path);
}
END_TEST

START_TEST(test_another_library)
{
	refused(open_driver("libm.so.6"), -ELIBBAD, "libm.so.6 is no CUDA driver");
}
END_TEST

START_TEST(test_old_driver)
{
	card->image->driver_version = 12030;
	refused(open_driver(NULL), -ENOTSUP, "CUDA 12.3: r550 (CUDA 12.4)");
}
END_TEST

START_TEST(test_newer_driver)
{
	card->image->driver_version = 13050;
	ck_assert_msg(open_driver(NULL) == 0, "%s", reason);
	ck_assert_int_eq(driver.version, 13050);
}
END_TEST

START_TEST(test_missing_entry)
{
	strcpy(card->image->hidden[0], "cuMemSetAccess");
	refused(open_driver(NULL), -ENOTSUP, "no cuMemSetAccess of CUDA 10.2");
}
END_TEST

START_TEST(test_missing_entry_that_is_not_needed)
{
	strcpy(card->image->hidden[0], "cuMemAllocAsync");
	ck_assert_msg(open_driver(NULL) == 0, "%s", reason);
	ck_assert_ptr_null(driver.mem_alloc_async);
	ck_assert_ptr_nonnull(driver.mem_free_async);
}
END_TEST

static const struct {
	uint32_t error;
	int r;
	const char *about;
} starts[] = {
	{ CUDA_ABI_ERROR_SYSTEM_DRIVER_MISMATCH, -EIO, "another version than its library" },
	{ CUDA_ABI_ERROR_NO_DEVICE, -ENODEV, "no NVIDIA device" },
	{ CUDA_ABI_ERROR_STUB_LIBRARY, -ELIBBAD, "stub" },
	{ CUDA_ABI_ERROR_NOT_PERMITTED, -EACCES, "refuses this process" },
	{ CUDA_ABI_ERROR_DEVICE_UNAVAILABLE, -ENODEV, "CUDA_ERROR_DEVICE_UNAVAILABLE" },
	{ CUDA_ABI_ERROR_UNKNOWN, -EIO, "CUDA_ERROR_UNKNOWN" },
	{ 12345, -EIO, "CUDA error 12345" },
};

START_TEST(test_does_not_start)
{
	card->image->init_error = starts[_i].error;
	/* On a machine whose nodes may not be opened that is the reason that is given. */
	if (open_driver(NULL) == -EACCES && starts[_i].error != CUDA_ABI_ERROR_NOT_PERMITTED)
		refused(-EACCES, -EACCES, "no permission on /dev/nvidia");
	else
		refused(open_driver(NULL), starts[_i].r, starts[_i].about);
}
END_TEST

START_TEST(test_no_card)
{
	unsetenv("VRAM_STANDIN");
	refused(open_driver(NULL), -ENODEV, "CUDA_ERROR_NO_DEVICE");
}
END_TEST

START_TEST(test_short_reason)
{
	char little[8];

	memset(little, 'x', sizeof(little));
	ck_assert_int_eq(cuda_driver_open(&driver, "/nowhere/libcuda.so.1", little, sizeof(little)),
			 -ENOENT);
	ck_assert_str_eq(little, "no NVID");
}
END_TEST

START_TEST(test_texts)
{
	ck_assert_str_eq(cuda_driver_error_text(NULL, CUDA_ABI_ERROR_OUT_OF_MEMORY),
			 "CUDA_ERROR_OUT_OF_MEMORY");
	ck_assert_str_eq(cuda_driver_error_text(NULL, 4711), "CUDA error 4711");
	ck_assert_int_eq(open_driver(NULL), 0);
	ck_assert_str_eq(cuda_driver_error_text(&driver, CUDA_ABI_ERROR_OUT_OF_MEMORY),
			 "CUDA_ERROR_OUT_OF_MEMORY: as the stand-in has it (2)");
	ck_assert_str_eq(cuda_driver_error_text(&driver, 4711), "CUDA error 4711");
	ck_assert_ptr_null(cuda_result_name(4711));
}
END_TEST

START_TEST(test_errnos)
{
	ck_assert_int_eq(cuda_errno(CUDA_ABI_SUCCESS), 0);
	ck_assert_int_eq(cuda_errno(CUDA_ABI_ERROR_OUT_OF_MEMORY), -ENOMEM);
	ck_assert_int_eq(cuda_errno(CUDA_ABI_ERROR_INVALID_VALUE), -EINVAL);
	ck_assert_int_eq(cuda_errno(CUDA_ABI_ERROR_NO_DEVICE), -ENODEV);
	ck_assert_int_eq(cuda_errno(CUDA_ABI_ERROR_NOT_PERMITTED), -EACCES);
	ck_assert_int_eq(cuda_errno(CUDA_ABI_ERROR_NOT_SUPPORTED), -ENOTSUP);
	ck_assert_int_eq(cuda_errno(CUDA_ABI_ERROR_NOT_READY), -EAGAIN);
	ck_assert_int_eq(cuda_errno(CUDA_ABI_ERROR_TIMEOUT), -ETIMEDOUT);
	ck_assert_int_eq(cuda_errno(CUDA_ABI_ERROR_UNKNOWN), -EIO);
	ck_assert_int_eq(cuda_errno(4711), -EIO);
	/* Nothing is success but success. */
#define NEGATIVE(name, value) ck_assert_msg((cuda_errno(value) < 0) == (value != 0), #name);
	CUDA_ABI_RESULTS(NEGATIVE)
#undef NEGATIVE
}
END_TEST

START_TEST(test_sticky)
{
	ck_assert(cuda_is_sticky(CUDA_ABI_ERROR_ILLEGAL_ADDRESS));
	ck_assert(cuda_is_sticky(CUDA_ABI_ERROR_LAUNCH_FAILED));
	ck_assert(cuda_is_sticky(CUDA_ABI_ERROR_ECC_UNCORRECTABLE));
	ck_assert(cuda_is_sticky(CUDA_ABI_ERROR_DEVICE_UNAVAILABLE));
	ck_assert(!cuda_is_sticky(CUDA_ABI_SUCCESS));
	ck_assert(!cuda_is_sticky(CUDA_ABI_ERROR_OUT_OF_MEMORY));
	ck_assert(!cuda_is_sticky(CUDA_ABI_ERROR_NOT_READY));
	ck_assert(!cuda_is_sticky(CUDA_ABI_ERROR_INVALID_VALUE));
	ck_assert(!cuda_is_sticky(CUDA_ABI_ERROR_UNKNOWN));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cuda_driver");
	TCase *t = tcase_create("open");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_opens);
	tcase_add_test(t, test_no_library);
	tcase_add_test(t, test_no_library_at_all);
	tcase_add_test(t, test_another_library);
	tcase_add_test(t, test_old_driver);
	tcase_add_test(t, test_newer_driver);
	tcase_add_test(t, test_missing_entry);
	tcase_add_test(t, test_missing_entry_that_is_not_needed);
	tcase_add_loop_test(t, test_does_not_start, 0, sizeof(starts) / sizeof(starts[0]));
	tcase_add_test(t, test_no_card);
	tcase_add_test(t, test_short_reason);
	tcase_add_test(t, test_texts);
	tcase_add_test(t, test_errnos);
	tcase_add_test(t, test_sticky);
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
