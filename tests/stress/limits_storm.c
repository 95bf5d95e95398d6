// SPDX-License-Identifier: GPL-2.0-only
/*
 * limits_storm: limits of users, sessions and an executable change as fast as vramctl starts, at random, while four clients of
 * two users walk models and one keeps a buffer, in too little memory, a small host tier and swap.
 *
 * What must hold all the time: the use of the sessions of a user adds up to the user's, that of the users to the
 * device's. In the end: no client was refused anything (no max is lower than what one needs at once), every byte was
 * right, and with the clients everything is given back.
 *
 * links: tests/support/tenant.c tests/support/vramd.c tests/support/vramd_ask.c libvram.a
 * libs: -ljansson -lcheck
 */
#define _GNU_SOURCE 1
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/tenant.h"
#include "tests/support/vramd_ask.h"

#define MIB	 (1ull << 20)
#define N	 4
#define LAYERS	 20
#define BUFFERED 6

static struct vramd d;
static struct tenant t[N];
static char paths[N][160], names[N][8], exe[200];
static unsigned int seed;
static bool linked;

static unsigned int draw(unsigned int n)
{
	return (unsigned int)rand_r(&seed) % n;
}

static void start(bool behind_a_link)
{
	linked = behind_a_link;
	vramd_init(&d, "24M");
	d.for_all = true;
	d.settings[0] = "policy.keep=0";
	d.settings[1] = "swap.size=64M";
	if (linked) {
		d.settings[2] = "device.link=2G/s";
		d.settings[3] = "device.host_budget=24M";
	}
	vramd_start(&d);
	snprintf(exe, sizeof(exe), "%s", tenant_other_exe(&d, "engine"));
	for (unsigned int i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "t%u", i);
		snprintf(paths[i], sizeof(paths[i]), "%s",
			 vramd_make_file(&d, names[i], LAYERS * TENANT_LAYER, 7));
		t[i] = (struct tenant){ .name = names[i],
					.model = paths[i],
					.layers = LAYERS,
					.uid = 2001 + i / 2,
					.exe = i & 1 ? exe : NULL };
		tenant_start(&t[i], &d);
	}
	tenant_ask(&t[N - 1], "buffer %u", BUFFERED);
	for (unsigned int i = 0; i < N; i++)
		tenant_ask(&t[i], "run");
}

static void setup_direct(void)
{
	start(false);
}

static void setup_link(void)
{
	start(true);
}

static void teardown(void)
{
	limits_end(&d);
	vramd_deinit(&d);
}

static void change(void)
{
	static const char *const keys[] = { "min", "low", "high", "max", "weight" };
	const char *tier = linked && draw(3) == 0 ? "host" : draw(6) == 0 ? "disk" : "vram";
	unsigned int key = draw(5), bytes = draw(20);
	char subject[240], value[32];

	switch (draw(4)) {
	case 0:
		snprintf(subject, sizeof(subject), "session:%llu",
			 (unsigned long long)t[draw(N)].session);
		break;
	case 1:
		snprintf(subject, sizeof(subject), "'exe:%s'", exe);
		break;
	default:
		snprintf(subject, sizeof(subject), "user:%u", 2001 + draw(2));
		break;
	}
	/* Of the device two layers at least, and one for each client that a group may have. Of swap what buffers need. */
	if (key == 3)
		bytes = strcmp(tier, "disk") == 0 ? 64 : bytes + 6;
	/* All that is promised fits beside what must be there for each. */
	if (key < 2)
		bytes /= 6;
	if (key == 4)
		snprintf(value, sizeof(value), "%u", 1 + draw(1000));
	else if (draw(4) == 0)
		snprintf(value, sizeof(value), "default");
	else
		snprintf(value, sizeof(value), "%uM", bytes);
	limit_set(&d, "%s %s.%s=%s", subject, tier, keys[key], value);
}

static uint64_t sum_of(const json_t *rows, const char *kind, const char *tier)
{
	uint64_t sum = 0;
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		const char *subject = json_string_value(json_object_get(row, "subject"));

		if (strncmp(subject, kind, strlen(kind)) == 0 &&
		    strcmp(json_string_value(json_object_get(row, "tier")), tier) == 0)
			sum += (uint64_t)json_integer_value(json_object_get(row, "usage_bytes"));
	}
	return sum;
}

/* One answer is of one moment. */
static void check_sums(void)
{
	static const char *const tiers[] = { "vram", "host", "disk" };
	json_t *answer = vramd_ask(&d, "limit show");
	const json_t *rows = json_object_get(answer, "limits");

	for (int i = 0; i < 3; i++) {
		uint64_t root = sum_of(rows, "root", tiers[i]);

		ck_assert_uint_eq(sum_of(rows, "user:", tiers[i]), root);
		ck_assert_uint_eq(sum_of(rows, "session:", tiers[i]), root);
	}
	json_decref(answer);
}

START_TEST(storm)
{
	const char *text = getenv("STRESS_SECONDS");
	time_t until = time(NULL) + (text ? atoi(text) : 5) / 2 + 1;
	unsigned int n = 0;
	uint64_t layers = 0;

	seed = text && getenv("VRAM_TEST_SEED") ? (unsigned int)atoi(getenv("VRAM_TEST_SEED")) :
						  (unsigned int)time(NULL);
	printf("seed %u\n", seed);
	while (time(NULL) < until) {
		change();
		if (++n % 8 == 0)
			check_sums();
	}
	limits_end(&d);
	for (unsigned int i = 0; i < N; i++) {
		limit_set(
			&d,
			"session:%llu vram.min=0 vram.low=0 vram.high=max vram.max=max host.min=0 "
			"host.low=0 host.high=max host.max=max disk.high=max",
			(unsigned long long)t[i].session);
		layers += tenant_ask(&t[i], "layers");
	}
	for (unsigned int i = 0; i < N; i++) {
		uint64_t at = tenant_ask(&t[i], "layers");

		EVENTUALLY(tenant_ask(&t[i], "layers") > at);
		tenant_ask(&t[i], "stop");
		ck_assert_uint_eq(tenant_ask(&t[i], "failures"), 0);
	}
	tenant_ask(&t[N - 1], "check");
	for (unsigned int i = 0; i < N; i++)
		tenant_ask(&t[i], "use %u", LAYERS);
	check_sums();
	printf("%u changes, %llu layers\n", n, (unsigned long long)layers);
	for (unsigned int i = 0; i < N; i++)
		tenant_end(&t[i]);
	EVENTUALLY(vramd_holds_nothing(&d));
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("limits_storm");
	SRunner *runner;
	int failed;

	tenant_main(argc, argv);
	if (!vramd_usable() || !tenant_users_usable())
		return 77;
	for (int link = 0; link < 2; link++) {
		TCase *tc = tcase_create(link ? "link" : "direct");

		tcase_add_checked_fixture(tc, link ? setup_link : setup_direct, teardown);
		tcase_set_timeout(tc, 0);
		tcase_add_test(tc, storm);
		suite_add_tcase(suite, tc);
	}
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
