// SPDX-License-Identifier: GPL-2.0-only
/*
 * max is hard: for a session, a user, an executable, a cgroup and what is below it; also where it is lowered below what
 * is resident. Counted are the bytes that the kernel has given to the files that clients map.
 */
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
/* Looks at two running clients. */
#define LOOKS 40

static struct vramd d;
static char path_a[160], path_b[160];
static struct tenant a, b;

static void setup(void)
{
	vramd_init(&d, "40M");
	d.for_all = true;
	vramd_start(&d);
	snprintf(path_a, sizeof(path_a), "%s", vramd_make_file(&d, "a", LAYERS * TENANT_LAYER, 7));
	snprintf(path_b, sizeof(path_b), "%s", vramd_make_file(&d, "b", LAYERS * TENANT_LAYER, 7));
	a = (struct tenant){ .name = "a", .model = path_a, .layers = LAYERS, .uid = 2001 };
	b = (struct tenant){ .name = "b", .model = path_b, .layers = LAYERS, .uid = 2001 };
}

static void teardown(void)
{
	tenant_end(&a);
	tenant_end(&b);
	limits_end(&d);
	tenant_cgroups_end();
	vramd_deinit(&d);
}

/* Both go round for a while: together never more than max, and the ledger says what they see. */
static void run_within(uint64_t max, const char *subject)
{
	uint64_t most = 0, before;

	tenant_ask(&a, "run");
	tenant_ask(&b, "run");
	for (int i = 0; i < looks(LOOKS); i++) {
		uint64_t is = vramd_usage(&d, subject, "vram");

		ck_assert_uint_le(is, max);
		if (is > most)
			most = is;
	}
	before = tenant_ask(&a, "layers");
	EVENTUALLY(tenant_ask(&a, "layers") > before + 2 * LAYERS);
	tenant_ask(&a, "stop");
	tenant_ask(&b, "stop");
	ck_assert_uint_eq(tenant_ask(&a, "failures"), 0);
	ck_assert_uint_eq(tenant_ask(&b, "failures"), 0);
	/* It is used, too. */
	ck_assert_uint_ge(most, max / 4 * 3);
	ck_assert_uint_le(tenant_resident(&a) + tenant_resident(&b), max);
}

START_TEST(of_a_session)
{
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	limit_set(&d, "session:%llu vram.max=8M", (unsigned long long)a.session);
	tenant_ask(&a, "use %u", LAYERS);
	tenant_ask(&b, "use %u", LAYERS);
	ck_assert_uint_le(tenant_resident(&a), 8 * MIB);
	ck_assert_uint_ge(tenant_resident(&a), 7 * MIB);
	/* The other one is not limited. */
	ck_assert_uint_eq(tenant_resident(&b), LAYERS * MIB);
}
END_TEST

START_TEST(of_a_user)
{
	limit_set(&d, "user:2001 vram.max=12M");
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	run_within(12 * MIB, "user:2001");
}
END_TEST

/* It begins to go before the answer comes, and all of it does. */
START_TEST(lowered)
{
	a.layers = 20;
	b.layers = 20;
	b.uid = 2002;
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	tenant_ask(&a, "use 20");
	tenant_ask(&b, "use 20");
	ck_assert_uint_eq(tenant_resident(&a), 20 * MIB);
	limit_set(&d, "user:2001 vram.max=6M");
	await_at_most(&a, 6 * MIB);
	ck_assert_uint_ge(tenant_resident(&a), 5 * MIB);
	ck_assert_uint_le(vramd_usage(&d, "user:2001", "vram"), 6 * MIB);
	/* Nobody else pays for it. */
	ck_assert_uint_eq(tenant_resident(&b), 20 * MIB);
	tenant_ask(&a, "use 20");
	ck_assert_uint_le(tenant_resident(&a), 6 * MIB);
	/* What is pinned cannot go: it is above until it is let go. */
	tenant_ask(&a, "hold 5");
	limit_set(&d, "user:2001 vram.max=2M");
	await_at_most(&a, 5 * MIB);
	ck_assert_uint_eq(tenant_resident(&a), 5 * MIB);
	tenant_ask(&a, "let");
	await_at_most(&a, 2 * MIB);
	tenant_ask(&a, "use 20");
	ck_assert_uint_eq(tenant_resident(&b), 20 * MIB);
}
END_TEST

/* One that leaves no room for a layer is said so, at once, to who asks for the layer. */
START_TEST(too_low)
{
	uint64_t value;

	tenant_start(&a, &d);
	limit_set(&d, "user:2001 vram.max=512K");
	ck_assert_int_eq(tenant_try(&a, "use 1", &value), -ENOSPC);
	limit_set(&d, "user:2001 vram.max=1M");
	tenant_ask(&a, "use %u", LAYERS);
	ck_assert_uint_le(tenant_resident(&a), MIB);
}
END_TEST

START_TEST(of_an_executable)
{
	char subject[256];

	a.exe = tenant_other_exe(&d, "engine");
	b.exe = a.exe;
	b.uid = 2002;
	snprintf(subject, sizeof(subject), "exe:%s", a.exe);
	limit_set(&d, "'%s' vram.max=12M", subject);
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	run_within(12 * MIB, subject);
}
END_TEST

START_TEST(of_a_cgroup)
{
	const char *folder = tenant_cgroups();
	char above[100], one[200], two[200], command[600], subject[120];

	if (!folder)
		return;
	snprintf(above, sizeof(above), "%s/svc", folder);
	snprintf(one, sizeof(one), "%s/one", above);
	snprintf(two, sizeof(two), "%s/two", above);
	snprintf(command, sizeof(command), "cd /sys/fs/cgroup && mkdir -p .%s .%s", one, two);
	ck_assert_int_eq(system(command), 0);
	a.cgroup = one;
	b.cgroup = two;
	b.uid = 2002;
	snprintf(subject, sizeof(subject), "cgroup:%s", above);
	limit_set(&d, "%s vram.max=12M", subject);
	limit_set(&d, "cgroup:%s vram.max=4M", one);
	tenant_start(&a, &d);
	tenant_start(&b, &d);
	run_within(12 * MIB, subject);
	ck_assert_uint_le(tenant_resident(&a), 4 * MIB);
}
END_TEST

/* A max takes nothing from a min beside it, in the same user or in another. */
START_TEST(beside_a_min)
{
	struct tenant c = { .name = "c", .model = path_b, .layers = LAYERS, .uid = 2002 };

	tenant_start(&a, &d);
	tenant_start(&b, &d);
	tenant_start(&c, &d);
	limit_set(&d, "session:%llu vram.min=8M", (unsigned long long)a.session);
	limit_set(&d, "user:2001 vram.max=16M");
	tenant_ask(&a, "use 8");
	for (int i = 0; i < 2; i++) {
		tenant_ask(&b, "use %u", LAYERS);
		ck_assert_uint_eq(tenant_resident(&a), 8 * MIB);
	}
	tenant_ask(&c, "use %u", LAYERS);
	/* b and c have one model: each has half of what is resident of it. */
	ck_assert_uint_eq(tenant_resident(&a), 8 * MIB);
	/* Where both cannot be, max is what counts. */
	limit_set(&d, "user:2001 vram.max=4M");
	await_at_most(&a, 4 * MIB);
	tenant_end(&c);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("max");
	TCase *tc = tcase_create("max");
	SRunner *runner;
	int failed;

	tenant_main(argc, argv);
	if (!vramd_usable() || !tenant_users_usable())
		return 77;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, of_a_session);
	tcase_add_test(tc, of_a_user);
	tcase_add_test(tc, lowered);
	tcase_add_test(tc, too_low);
	tcase_add_test(tc, of_an_executable);
	tcase_add_test(tc, of_a_cgroup);
	tcase_add_test(tc, beside_a_min);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
