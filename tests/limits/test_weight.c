// SPDX-License-Identifier: GPL-2.0-only
/*
 * Weights divide what is short: between users, among the sessions of one, between cgroups and executables that have one.
 * Counted is what is resident, as the kernel says, over a while, because it moves.
 */
// links: tests/support/tenant.c tests/support/vramd.c tests/support/vramd_ask.c libvram.a
// libs: -ljansson
#define _GNU_SOURCE 1
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/tenant.h"
#include "tests/support/vramd_ask.h"

#define MIB    (1ull << 20)
#define LAYERS 24
#define BUDGET 32
#define MAX_N  5

static struct vramd d;
static struct tenant t[MAX_N];
static char paths[MAX_N][160], names[MAX_N][8];
static unsigned int n_tenants;

static void setup(void)
{
	vramd_init(&d, "32M");
	d.for_all = true;
	vramd_start(&d);
	for (unsigned int i = 0; i < MAX_N; i++) {
		snprintf(names[i], sizeof(names[i]), "t%u", i);
		snprintf(paths[i], sizeof(paths[i]), "%s",
			 vramd_make_file(&d, names[i], LAYERS * TENANT_LAYER, 7));
		t[i] = (struct tenant){
			.name = names[i], .model = paths[i], .layers = LAYERS, .uid = 2001
		};
	}
	n_tenants = 0;
}

static void teardown(void)
{
	for (unsigned int i = 0; i < n_tenants; i++)
		tenant_end(&t[i]);
	limits_end(&d);
	tenant_cgroups_end();
	vramd_deinit(&d);
}

static void start(unsigned int n)
{
	for (n_tenants = 0; n_tenants < n; n_tenants++)
		tenant_start(&t[n_tenants], &d);
}

static uint64_t walked(void)
{
	uint64_t least = UINT64_MAX;

	for (unsigned int i = 0; i < n_tenants; i++) {
		uint64_t n = tenant_ask(&t[i], "layers");

		least = n < least ? n : least;
	}
	return least;
}

/* All of them go round. What each has in MiB, when it has come to rest, on average. */
static void measure(double *mib)
{
	const unsigned int n_looks = (unsigned int)looks(40);
	uint64_t begin = walked();

	for (unsigned int i = 0; i < n_tenants; i++)
		tenant_ask(&t[i], "run");
	EVENTUALLY(walked() >= begin + 4 * LAYERS);
	memset(mib, 0, MAX_N * sizeof(*mib));
	for (unsigned int k = 0; k < n_looks; k++) {
		uint64_t until = walked() + 3;

		for (unsigned int i = 0; i < n_tenants; i++)
			mib[i] += (double)tenant_resident(&t[i]) / MIB / n_looks;
		EVENTUALLY(walked() >= until);
	}
	for (unsigned int i = 0; i < n_tenants; i++) {
		tenant_ask(&t[i], "stop");
		ck_assert_uint_eq(tenant_ask(&t[i], "failures"), 0);
		printf("%s: %.1f MiB\n", t[i].name, mib[i]);
	}
}

/* A session's part is only kept to a few chunks, which here is much. */
static void about(double mib, double expected)
{
	ck_assert_msg(mib > expected - 3 && mib < expected + 3, "%.1f MiB, not %.1f", mib,
		      expected);
}

START_TEST(users)
{
	double mib[MAX_N];

	t[1].uid = 2002;
	limit_set(&d, "user:2001 vram.weight=200");
	start(2);
	measure(mib);
	about(mib[0], BUDGET * 2 / 3.0);
	about(mib[1], BUDGET / 3.0);
	/* The other way round, for clients that run. */
	limit_set(&d, "user:2001 vram.weight=100");
	limit_set(&d, "user:2002 vram.weight=200");
	measure(mib);
	about(mib[0], BUDGET / 3.0);
	about(mib[1], BUDGET * 2 / 3.0);
}
END_TEST

/* Four sessions of one user have together what one of another has. */
START_TEST(many_sessions)
{
	double mib[MAX_N];

	t[4].uid = 2002;
	start(5);
	measure(mib);
	about(mib[0] + mib[1] + mib[2] + mib[3], BUDGET / 2.0);
	about(mib[4], BUDGET / 2.0);
}
END_TEST

START_TEST(sessions_of_a_user)
{
	double mib[MAX_N];

	t[2].uid = 2002;
	start(3);
	limit_set(&d, "session:%llu vram.weight=300", (unsigned long long)t[0].session);
	measure(mib);
	about(mib[0], BUDGET / 2.0 * 0.75);
	about(mib[1], BUDGET / 2.0 * 0.25);
	about(mib[2], BUDGET / 2.0);
}
END_TEST

/* What has a weight of its own is divided before users are. */
START_TEST(cgroups)
{
	const char *folder = tenant_cgroups();
	char one[200], two[200], command[600];
	double mib[MAX_N];

	if (!folder)
		return;
	snprintf(one, sizeof(one), "%s/one", folder);
	snprintf(two, sizeof(two), "%s/two", folder);
	snprintf(command, sizeof(command), "cd /sys/fs/cgroup && mkdir -p .%s .%s", one, two);
	ck_assert_int_eq(system(command), 0);
	t[0].cgroup = one;
	t[1].cgroup = two;
	t[2].cgroup = two;
	limit_set(&d, "cgroup:%s vram.weight=200", one);
	limit_set(&d, "cgroup:%s vram.weight=200", two);
	start(3);
	measure(mib);
	about(mib[0], BUDGET / 2.0);
	about(mib[1], BUDGET / 4.0);
	about(mib[2], BUDGET / 4.0);
}
END_TEST

START_TEST(executables)
{
	double mib[MAX_N];

	t[0].exe = tenant_other_exe(&d, "engine");
	limit_set(&d, "'exe:%s' vram.weight=200", t[0].exe);
	start(3);
	measure(mib);
	about(mib[0], BUDGET * 2 / 3.0);
	about(mib[1], BUDGET / 6.0);
	about(mib[2], BUDGET / 6.0);
}
END_TEST

/*
 * Bytes over a link that is too slow for both: each has room for a sixth of its model, so that most of what it uses has to
 * come over the link.
 */
START_TEST(of_the_link)
{
	uint64_t begin[2], done[2];

	vramd_signal(&d, SIGTERM);
	d.settings[0] = "device.link=24M/s";
	d.settings[1] = "device.host_budget=64M";
	d.settings[2] = "device.chunk=64K";
	vramd_start(&d);
	t[1].uid = 2002;
	limit_set(&d, "default vram.max=4M");
	limit_set(&d, "user:2001 vram.weight=%d", _i ? 100 : 300);
	limit_set(&d, "user:2002 vram.weight=%d", _i ? 300 : 100);
	start(2);
	for (int i = 0; i < 2; i++)
		tenant_ask(&t[i], "run");
	EVENTUALLY(walked() > LAYERS);
	for (int i = 0; i < 2; i++)
		begin[i] = tenant_ask(&t[i], "layers");
	EVENTUALLY(tenant_ask(&t[_i], "layers") > begin[_i] + 3 * LAYERS);
	for (int i = 0; i < 2; i++) {
		done[i] = tenant_ask(&t[i], "layers") - begin[i];
		tenant_ask(&t[i], "stop");
		ck_assert_uint_eq(tenant_ask(&t[i], "failures"), 0);
	}
	printf("%llu and %llu layers\n", (unsigned long long)done[0], (unsigned long long)done[1]);
	/* Three to one, if both asked all the time; who has its layer asks a little later for the next. */
	ck_assert_uint_gt(done[_i], 2 * done[1 - _i]);
	ck_assert_uint_gt(4 * done[1 - _i], done[_i]);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("weight");
	TCase *tc = tcase_create("weight");
	SRunner *runner;
	int failed;

	tenant_main(argc, argv);
	if (!vramd_usable() || !tenant_users_usable())
		return 77;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, users);
	tcase_add_test(tc, many_sessions);
	tcase_add_test(tc, sessions_of_a_user);
	tcase_add_test(tc, cgroups);
	tcase_add_test(tc, executables);
	tcase_add_loop_test(tc, of_the_link, 0, 2);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
