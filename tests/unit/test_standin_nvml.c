// SPDX-License-Identifier: GPL-2.0-only
// links: common/cuda_driver.c common/nvml.c common/pci.c common/err.c tests/support/standin.c
/*
 * The stand-in's management library, asked by our own reader: it shows the same card as its driver.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cuda_driver.h"
#include "common/nvml.h"
#include "tests/support/standin.h"

#define PAGE STANDIN_PAGE
#define CARD (32 * PAGE)

static struct standin_card *card;
static struct nvml *nvml;
static void *library;

static void setup(void)
{
	char path[4200];

	card = standin_new(CARD);
	snprintf(path, sizeof(path), "%s", standin_library());
	strcpy(strrchr(path, '/') + 1, "libnvidia-ml.so.1");
	library = dlopen(path, RTLD_NOW);
	ck_assert_msg(library != NULL, "%s", dlerror());
}

static void teardown(void)
{
	nvml_close(nvml);
	standin_free(card);
}

static void open_it(void)
{
	ck_assert_int_eq(nvml_open_by(dlsym, library, &nvml), 0);
}

START_TEST(test_the_same_card)
{
	struct nvml_device d;

	open_it();
	card->image->outside_bytes = 3 * PAGE;
	ck_assert_uint_eq(nvml_count(nvml), 1);
	ck_assert_int_eq(nvml_device(nvml, 0, &d), 0);
	ck_assert_str_eq(d.pci, "0000:65:00.0");
	ck_assert_str_eq(d.name, "vram test stand-in");
	ck_assert_str_eq(d.uuid, "GPU-7672616d-2073-7461-6e64-2d696e200001");
	ck_assert(d.has_memory);
	ck_assert_uint_eq(d.total_bytes, CARD);
	ck_assert_uint_eq(d.used_bytes, 3 * PAGE);
	ck_assert_int_eq(nvml_index_of(nvml, "0000:65:00.0"), 0);
	ck_assert_int_eq(nvml_index_of(nvml, "0000:66:00.0"), -ENODEV);
}
END_TEST

START_TEST(test_processes)
{
	const struct cuda_mem_prop prop = {
		.type = CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED,
		.location = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, 0 },
	};
	char reason[CUDA_DRIVER_REASON_SIZE] = "";
	struct nvml_process *list = NULL;
	struct cuda_driver cu;
	struct nvml_device d;
	cuda_context context;
	cuda_mem mem;
	size_t n = 99;

	open_it();
	card->image->context_bytes = 2 * PAGE;
	ck_assert_int_eq(nvml_processes(nvml, 0, &list, &n), 0);
	ck_assert_uint_eq(n, 0);
	free(list);
	ck_assert_msg(cuda_driver_open(&cu, standin_library(), reason, sizeof(reason)) == 0, "%s",
		      reason);
	/* Without a context it is nobody. */
	ck_assert_int_eq(nvml_processes(nvml, 0, &list, &n), 0);
	ck_assert_uint_eq(n, 0);
	free(list);
	ck_assert_int_eq(cu.primary_ctx_retain(&context, 0), CUDA_ABI_SUCCESS);
	ck_assert_int_eq(cu.ctx_set_current(context), CUDA_ABI_SUCCESS);
	ck_assert_int_eq(cu.mem_create(&mem, 5 * PAGE, &prop, 0), CUDA_ABI_SUCCESS);
	ck_assert_int_eq(nvml_processes(nvml, 0, &list, &n), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_int_eq(list[0].pid, getpid());
	ck_assert(list[0].known);
	ck_assert_uint_eq(list[0].bytes, 7 * PAGE);
	free(list);
	ck_assert_int_eq(nvml_device(nvml, 0, &d), 0);
	ck_assert_uint_eq(d.used_bytes, 7 * PAGE);
}
END_TEST

START_TEST(test_lost)
{
	struct nvml_device d;

	open_it();
	card->image->lost_error = 719;
	ck_assert_int_eq(nvml_device(nvml, 0, &d), -ENODEV);
	card->image->lost_error = 0;
	ck_assert_int_eq(nvml_device(nvml, 0, &d), 0);
}
END_TEST

START_TEST(test_no_card)
{
	unsetenv("VRAM_STANDIN");
	ck_assert_int_eq(nvml_open_by(dlsym, library, &nvml), -ENODEV);
	nvml = NULL;
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("standin_nvml");
	TCase *t = tcase_create("nvml");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_the_same_card);
	tcase_add_test(t, test_processes);
	tcase_add_test(t, test_lost);
	tcase_add_test(t, test_no_card);
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
