// SPDX-License-Identifier: GPL-2.0-only
/*
 * min and low protect: what one has of them stays resident whatever others do. Counted are the bytes that the kernel has
 * given to the files that clients map.
 */
// links: tests/support/tenant.c tests/support/vramd.c tests/support/vramd_ask.c libvram.a
// libs: -ljansson
#define _GNU_SOURCE 1
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/tenant.h"
#include "tests/support/vramd_ask.h"

#define MIB    (1ull << 20)
#define LAYERS 28
#define BUDGET 32
#define LOOKS  60

static struct vramd d;
static char path_a[160], path_b[160], path_c[160];
static struct tenant a, b, c;

static void make(struct tenant *t, char *path, size_t size, const char *name, uid_t uid)
{
	snprintf(path, size, "%s", vramd_make_file(&d, name, LAYERS * TENANT_LAYER, 7));
	*t = (struct tenant){ .name = name, .model = path, .layers = LAYERS, .uid = uid };
}

static void setup(void)
{
	vramd_init(&d, "32M");
	d.for_all = true;
	vramd_start(&d);
	make(&a, path_a, sizeof(path_a), "a", 2001);
	make(&b, path_b, sizeof(path_b), "b", 2002);
	make(&c, path_c, sizeof(path_c), "c", 2003);
}

static void teardown(void)
{
	tenant_end(&a);
	tenant_end(&b);
	tenant_end(&c);
	limits_end(&d);
	tenant_cgroups_end();
	vramd_deinit(&d);
}

/* b goes round as fast as it can, a rests: a keeps so much to the byte, b gets the rest and is refused nothing. */
static void keeps(uint64_t bytes)
{
	uint64_t begin = tenant_ask(&b, "layers"), most = 0;
	int left = 3000;

	tenant_ask(&b, "run");
	for (int i = 0; i < looks(LOOKS) || tenant_ask(&b, "layers") < begin + 3 * LAYERS ||
			most < BUDGET * MIB - tenant_resident(&a) - MIB;
	     i++) {
		uint64_t is = tenant_resident(&b);

		most = is > most ? is : most;
		ck_assert_uint_ge(tenant_resident(&a), bytes);
		ck_assert_int_gt(left--, 0);
		usleep(1000);
	}
	tenant_ask(&b, "stop");
	ck_assert_uint_eq(tenant_ask(&b, "failures"), 0);
}

/* Set before there is anything to protect. */
START_TEST(of_a_user)
{
	limit_set(&d, "user:2001 vram.min=16M");
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	tenant_ask(&a, "use 20");
	keeps(16 * MIB);
	/* What it has above goes to others. */
	ck_assert_uint_le(tenant_resident(&a), 17 * MIB);
	/* Without it, so does the rest. */
	limit_set(&d, "user:2001 vram.min=0");
	tenant_ask(&b, "run");
	await_at_most(&a, 5 * MIB);
	tenant_ask(&b, "stop");
}
END_TEST

/* While both load. The model has no more than that: what is being loaded ahead would count, too, but is not here yet. */
START_TEST(grows_under_pressure)
{
	a.layers = 16;
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	limit_set(&d, "session:%llu vram.min=16M", (unsigned long long)a.session);
	tenant_ask(&b, "run");
	await_at_least(&b, 20 * MIB);
	tenant_ask(&a, "use 16");
	ck_assert_uint_ge(tenant_resident(&a), 16 * MIB);
	for (int i = 0; i < looks(LOOKS); i++)
		ck_assert_uint_ge(tenant_resident(&a), 16 * MIB);
	tenant_ask(&b, "stop");
	ck_assert_uint_eq(tenant_ask(&b, "failures"), 0);
}
END_TEST

START_TEST(of_an_executable)
{
	a.exe = tenant_other_exe(&d, "engine");
	limit_set(&d, "'exe:%s' vram.min=12M", a.exe);
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	tenant_ask(&a, "use 12");
	keeps(12 * MIB);
}
END_TEST

START_TEST(of_a_cgroup)
{
	const char *folder = tenant_cgroups();
	char one[200], command[600];

	if (!folder)
		return;
	snprintf(one, sizeof(one), "%s/svc/one", folder);
	snprintf(command, sizeof(command), "cd /sys/fs/cgroup && mkdir -p .%s", one);
	ck_assert_int_eq(system(command), 0);
	a.cgroup = one;
	limit_set(&d, "cgroup:%s/svc vram.min=12M", folder);
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	tenant_ask(&a, "use 12");
	keeps(12 * MIB);
}
END_TEST

/* Two sessions of the user whom it protects divide what it protects; nobody else gets any of it. */
START_TEST(shared_by_two)
{
	b.uid = 2001;
	limit_set(&d, "user:2001 vram.min=16M");
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	tenant_start(&c, &d);
	tenant_ask(&a, "use 16");
	tenant_ask(&c, "use 16");
	ck_assert_uint_eq(tenant_resident(&a), 16 * MIB);
	/* a goes on using what it has, so it is not taken for one that rests. */
	tenant_ask(&a, "run");
	tenant_ask(&b, "run");
	tenant_ask(&c, "run");
	await_at_least(&b, 6 * MIB);
	for (int i = 0; i < looks(LOOKS); i++)
		ck_assert_uint_ge(vramd_usage(&d, "user:2001", "vram"), 15 * MIB);
	ck_assert_uint_ge(tenant_resident(&a), 5 * MIB);
	tenant_ask(&a, "stop");
	tenant_ask(&b, "stop");
	tenant_ask(&c, "stop");
	EVENTUALLY(tenant_resident(&a) + tenant_resident(&b) >= 15 * MIB);
	ck_assert_uint_eq(tenant_ask(&a, "failures") + tenant_ask(&b, "failures") +
				  tenant_ask(&c, "failures"),
			  0);
}
END_TEST

/* Who finds everything protected waits, however long, and is not refused. */
START_TEST(nothing_left)
{
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	limit_set(&d, "user:2001 vram.min=32M");
	tenant_ask(&a, "use %u", LAYERS);
	tenant_ask(&b, "use 4");
	tenant_ask(&b, "run");
	for (int i = 0; i < looks(LOOKS); i++) {
		ck_assert_uint_ge(tenant_resident(&a), LAYERS * MIB);
		ck_assert_uint_le(tenant_resident(&b), 4 * MIB);
	}
	limit_set(&d, "user:2001 vram.min=8M");
	await_at_least(&b, 14 * MIB);
	tenant_ask(&b, "stop");
	ck_assert_uint_eq(tenant_ask(&b, "failures"), 0);
	ck_assert_uint_ge(tenant_resident(&a), 8 * MIB);
}
END_TEST

/* On an administrator's word it goes all the same. */
START_TEST(an_administrator_may)
{
	tenant_start(&a, &d);
	limit_set(&d, "user:2001 vram.min=16M");
	tenant_ask(&a, "use 16");
	json_decref(vramd_ask(&d, "evict --all"));
	/* What it will use next is being loaded again already. */
	ck_assert_uint_lt(tenant_resident(&a), 12 * MIB);
	tenant_ask(&a, "use 16");
}
END_TEST

/* What a low protects goes after everything else, and before anybody has to do without. */
START_TEST(a_low)
{
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	tenant_start(&c, &d);
	limit_set(&d, "user:2001 vram.low=12M");
	tenant_ask(&a, "use 12");
	tenant_ask(&c, "use %u", LAYERS);
	ck_assert_uint_ge(tenant_resident(&a), 12 * MIB);
	tenant_end(&c);
	keeps(12 * MIB);
	/* 26 of 32 are pinned: six are left. */
	tenant_ask(&b, "hold 26");
	ck_assert_uint_ge(tenant_resident(&b), 26 * MIB);
	ck_assert_uint_ge(tenant_resident(&a), 5 * MIB);
	ck_assert_uint_le(tenant_resident(&a), 6 * MIB);
	tenant_ask(&b, "let");
}
END_TEST

/* Down to min, and no farther. */
START_TEST(a_low_and_a_min)
{
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	limit_set(&d, "user:2001 vram.low=12M vram.min=8M");
	tenant_ask(&a, "use 12");
	tenant_ask(&b, "hold 24");
	ck_assert_uint_eq(tenant_resident(&a), 8 * MIB);
	tenant_ask(&b, "let");
	keeps(8 * MIB);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("min");
	TCase *tc = tcase_create("min");
	SRunner *runner;
	int failed;

	tenant_main(argc, argv);
	if (!vramd_usable() || !tenant_users_usable())
		return 77;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, of_a_user);
	tcase_add_test(tc, grows_under_pressure);
	tcase_add_test(tc, of_an_executable);
	tcase_add_test(tc, of_a_cgroup);
	tcase_add_test(tc, shared_by_two);
	tcase_add_test(tc, nothing_left);
	tcase_add_test(tc, an_administrator_may);
	tcase_add_test(tc, a_low);
	tcase_add_test(tc, a_low_and_a_min);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
