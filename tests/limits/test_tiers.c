// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits of the host tier and of swap. What is kept there has no file of its own to count, so the ledger's numbers are
 * held against the pool's and the swap file's, and every byte that clients get back against what they wrote or
 * what the file has.
 */
// timeout: 600
// links: tests/support/tenant.c tests/support/vramd.c tests/support/vramd_ask.c libvram.a
// libs: -ljansson
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/tenant.h"
#include "tests/support/vramd_ask.h"

#define MIB    (1ull << 20)
#define LAYERS 24
#define LOOKS  40

static struct vramd d;
static char path_a[160], path_b[160];
static struct tenant a, b;
static bool has_host;

static void begin(void)
{
	vramd_init(&d, "16M");
	d.for_all = true;
}

static void clients(void)
{
	vramd_start(&d);
	snprintf(path_a, sizeof(path_a), "%s", vramd_make_file(&d, "a", LAYERS * TENANT_LAYER, 7));
	snprintf(path_b, sizeof(path_b), "%s", vramd_make_file(&d, "b", LAYERS * TENANT_LAYER, 7));
	a = (struct tenant){ .name = "a", .model = path_a, .layers = LAYERS, .uid = 2001 };
	b = (struct tenant){ .name = "b", .model = path_b, .layers = LAYERS, .uid = 2002 };
}

/* A device behind a link, 24 MiB of host tier behind it, 32 MiB of swap behind that. */
static void setup_host(void)
{
	begin();
	d.settings[0] = "device.link=1G/s";
	d.settings[1] = "device.host_budget=24M";
	d.settings[2] = "swap.size=32M";
	has_host = true;
	clients();
	tenant_start(&a, &d);
	tenant_start(&b, &d);
}

/* Swap of 16 MiB behind the device. */
static void setup_disk(void)
{
	begin();
	d.settings[0] = "swap.size=16M";
	/* Who waits for what others hold is not to do so for long here. */
	d.settings[1] = "limits.wait_timeout=5s";
	clients();
	tenant_start(&a, &d);
	tenant_start(&b, &d);
}

static void teardown(void)
{
	tenant_end(&a);
	tenant_end(&b);
	limits_end(&d);
	vramd_deinit(&d);
}

static uint64_t host(const char *subject)
{
	return vramd_usage(&d, subject, "host");
}

static uint64_t disk(const char *subject)
{
	return vramd_usage(&d, subject, "disk");
}

/* Both ledgers' sums are what the pools say. */
static void books(void)
{
	EVENTUALLY(vramd_device(&d, "inflight_bytes") == 0 &&
		   (!has_host || host("root") == vramd_device(&d, "host_used_bytes")) &&
		   disk("root") == vramd_device(&d, "swap_used_bytes"));
}

static void run_both(unsigned int rounds)
{
	uint64_t at_a = tenant_ask(&a, "layers"), at_b = tenant_ask(&b, "layers");

	tenant_ask(&a, "run");
	tenant_ask(&b, "run");
	EVENTUALLY(tenant_ask(&a, "layers") >= at_a + rounds * LAYERS &&
		   tenant_ask(&b, "layers") >= at_b + rounds * LAYERS);
}

static void stop_both(void)
{
	tenant_ask(&a, "stop");
	tenant_ask(&b, "stop");
	ck_assert_uint_eq(tenant_ask(&a, "failures") + tenant_ask(&b, "failures"), 0);
}

START_TEST(host_max)
{
	limit_set(&d, "user:2001 host.max=6M");
	run_both(2);
	for (int i = 0; i < looks(LOOKS); i++)
		ck_assert_uint_le(host("user:2001"), 6 * MIB);
	stop_both();
	ck_assert_uint_ge(host("user:2002"), 12 * MIB);
	books();
	/* Lowered for what is there. */
	limit_set(&d, "user:2002 host.max=3M");
	EVENTUALLY(host("user:2002") <= 3 * MIB);
	books();
	tenant_ask(&b, "use %u", LAYERS);
}
END_TEST

/* Copies that are protected stay, whoever passes through. */
START_TEST(host_min)
{
	limit_set(&d, "user:2001 host.%s=10M", _i ? "low" : "min");
	tenant_ask(&a, "use %u", LAYERS);
	ck_assert_uint_ge(host("user:2001"), 10 * MIB);
	tenant_ask(&b, "run");
	EVENTUALLY(tenant_ask(&b, "layers") >= 3 * LAYERS);
	for (int i = 0; i < looks(LOOKS); i++)
		ck_assert_uint_ge(host("user:2001"), 10 * MIB);
	tenant_ask(&b, "stop");
	ck_assert_uint_eq(tenant_ask(&b, "failures"), 0);
	/* All of the pool: what passes needs a slot nevertheless. */
	limit_set(&d, "user:2001 host.%s=24M", _i ? "low" : "min");
	tenant_ask(&a, "use %u", LAYERS);
	tenant_ask(&b, "use %u", LAYERS);
	books();
}
END_TEST

START_TEST(host_weight)
{
	double sum_a = 0, sum_b = 0;

	limit_set(&d, "user:2001 host.weight=300");
	run_both(4);
	for (int i = 0; i < looks(LOOKS); i++) {
		sum_a += (double)host("user:2001") / MIB / looks(LOOKS);
		sum_b += (double)host("user:2002") / MIB / looks(LOOKS);
	}
	stop_both();
	printf("host tier: %.1f and %.1f MiB\n", sum_a, sum_b);
	ck_assert_double_gt(sum_a, 14);
	ck_assert_double_lt(sum_b, 10);
	ck_assert_double_gt(sum_b, 3);
	books();
}
END_TEST

/* Above it goes what is kept, and loads are slow; others' are not. */
START_TEST(host_high)
{
	limit_set(&d, "user:2001 host.high=4M");
	tenant_ask(&b, "run");
	tenant_ask(&a, "use %u", LAYERS);
	tenant_ask(&b, "stop");
	ck_assert_uint_eq(tenant_ask(&b, "failures"), 0);
	ck_assert_uint_ge(tenant_ask(&b, "layers"), LAYERS);
	EVENTUALLY(host("user:2001") <= 4 * MIB);
	books();
}
END_TEST

/* What may not stay in the host tier passes through it to swap. */
START_TEST(host_max_of_buffers)
{
	limit_set(&d, "user:2001 host.max=2M");
	tenant_ask(&a, "buffer 28");
	for (int i = 0; i < 2; i++) {
		tenant_ask(&a, "check");
		ck_assert_uint_le(host("user:2001"), 2 * MIB);
	}
	EVENTUALLY(disk("user:2001") + host("user:2001") >= 10 * MIB);
	/* Without one as well. */
	limit_set(&d, "user:2001 host.max=0");
	EVENTUALLY(host("user:2001") == 0);
	tenant_ask(&a, "check");
	ck_assert_uint_eq(host("user:2001"), 0);
	tenant_ask(&b, "use %u", LAYERS);
	tenant_ask(&a, "check");
	books();
	tenant_ask(&a, "forget");
	EVENTUALLY(disk("root") == 0);
	books();
}
END_TEST

START_TEST(disk_max)
{
	uint64_t value;

	limit_set(&d, "user:2001 disk.max=4M");
	/* 16 on the device and 4 in swap. */
	tenant_ask(&a, "buffer 18");
	ck_assert_uint_le(disk("user:2001"), 4 * MIB);
	tenant_ask(&a, "check");
	tenant_ask(&a, "forget");
	EVENTUALLY(disk("root") == 0);
	ck_assert_int_eq(tenant_try(&a, "buffer 26", &value), -ENOSPC);
	ck_assert_uint_le(disk("user:2001"), 4 * MIB);
	tenant_ask(&a, "forget");
	/* It was its own limit: others have the rest of swap. */
	tenant_ask(&b, "buffer 26");
	tenant_ask(&b, "check");
	ck_assert_uint_ge(disk("user:2002"), 9 * MIB);
	books();
}
END_TEST

/* So much of swap is kept free for a that all of what it has finds a place. */
START_TEST(disk_min)
{
	uint64_t value;

	limit_set(&d, "user:2001 disk.%s=8M", _i ? "low" : "min");
	tenant_ask(&a, "buffer 8");
	ck_assert_int_lt(tenant_try(&b, "buffer 40", &value), 0);
	/* That somebody has more than its share is found a little later. */
	ck_assert_uint_le(disk("user:2002"), 8 * MIB + (_i ? MIB : 0));
	tenant_ask(&b, "forget");
	tenant_ask(&a, "check");
	tenant_ask(&b, "buffer 20");
	tenant_ask(&b, "check");
	tenant_ask(&a, "check");
	ck_assert_uint_le(disk("user:2002"), 8 * MIB + (_i ? MIB : 0));
	books();
}
END_TEST

/* While somebody with less than its share could use it, the last quarter is not for who has more. */
START_TEST(disk_weight)
{
	uint64_t value;

	limit_set(&d, "user:2001 disk.weight=300");
	tenant_ask(&a, "buffer 12");
	ck_assert_int_lt(tenant_try(&b, "buffer 40", &value), 0);
	ck_assert_uint_le(disk("user:2002"), 12 * MIB);
	tenant_ask(&a, "check");
	books();
}
END_TEST

START_TEST(disk_high)
{
	uint64_t begin;

	limit_set(&d, "user:2001 disk.high=2M");
	tenant_ask(&a, "buffer 19");
	ck_assert_uint_gt(disk("user:2001"), 2 * MIB);
	limit_set(&d, "user:2002 vram.min=4M");
	tenant_ask(&b, "run");
	begin = tenant_ask(&b, "layers");
	tenant_ask(&a, "check");
	ck_assert_uint_gt(tenant_ask(&b, "layers"), begin + 18);
	tenant_ask(&b, "stop");
	ck_assert_uint_eq(tenant_ask(&b, "failures"), 0);
	books();
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("tiers");
	TCase *host_case = tcase_create("host"), *disk_case = tcase_create("disk");
	SRunner *runner;
	int failed;

	tenant_main(argc, argv);
	if (!vramd_usable() || !tenant_users_usable())
		return 77;
	tcase_add_checked_fixture(host_case, setup_host, teardown);
	tcase_set_timeout(host_case, 120);
	tcase_add_test(host_case, host_max);
	tcase_add_loop_test(host_case, host_min, 0, 2);
	tcase_add_test(host_case, host_weight);
	tcase_add_test(host_case, host_high);
	tcase_add_test(host_case, host_max_of_buffers);
	suite_add_tcase(suite, host_case);
	tcase_add_checked_fixture(disk_case, setup_disk, teardown);
	tcase_set_timeout(disk_case, 120);
	tcase_add_test(disk_case, disk_max);
	tcase_add_loop_test(disk_case, disk_min, 0, 2);
	tcase_add_test(disk_case, disk_weight);
	tcase_add_test(disk_case, disk_high);
	suite_add_tcase(suite, disk_case);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
