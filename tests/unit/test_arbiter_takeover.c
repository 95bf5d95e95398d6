// SPDX-License-Identifier: GPL-2.0-only
/*
 * Taking over what an earlier daemon has left. The local ledger stands for that of the kernel: what it holds when
 * the takeover begins is what was left. (tests/conformance/test_arbiter_kmod.c does it with two daemons.)
 *
 * links: daemon/arbiter_takeover.c daemon/log.c common/err.c common/size.c
 * links: daemon/arbiter_local.c daemon/arbiter_local_group.c daemon/arbiter_local_limit.c
 * links: daemon/limit_table.c daemon/arbiter_local_pressure.c daemon/arbiter_local_trace.c daemon/trace.c daemon/limits.c
 * links: kmod/ledger.c kmod/ledger_counter.c kmod/ledger_limit.c kmod/ledger_share.c
 * links: kmod/group.c kmod/stall.c kmod/pressure.c
 */
#include <check.h>
#include <errno.h>

#include "daemon/arbiter_takeover.h"

#define SEC 1000000000ull

static struct arbiter *a;
static struct arbiter_takeover t;
static uint32_t dev;

static void setup(void)
{
	const uint64_t capacity[ARBITER_N_TIERS] = { 1000, 1000, 1000 };

	ck_assert_int_eq(arbiter_local_new(0, &a), 0);
	ck_assert_int_eq(arbiter_device_add(a, "device", capacity, 0, &dev), 0);
}

static void teardown(void)
{
	arbiter_takeover_deinit(&t);
	a = arbiter_free(a);
}

static uint64_t open_session(void)
{
	const struct arbiter_peer peer = { .pid = 1, .uid = 1000, .comm = "engine" };
	uint64_t id;

	ck_assert_int_eq(arbiter_session_open(a, &peer, 0, &id), 0);
	return id;
}

static uint32_t share_with(uint64_t bytes, const uint64_t *members, unsigned int n)
{
	uint32_t share;

	ck_assert_int_eq(arbiter_share_new(a, dev, &share), 0);
	for (unsigned int i = 0; i < n; i++)
		ck_assert_int_eq(arbiter_share_join(a, share, members[i], false, NULL), 0);
	ck_assert_int_eq(arbiter_share_charge(a, share, ARBITER_VRAM, bytes, NULL), 0);
	ck_assert_int_eq(arbiter_share_charge(a, share, ARBITER_DISK, 1, NULL), 0);
	return share;
}

static bool share_exists(uint32_t share)
{
	struct arbiter_share_info info;

	return arbiter_share_read(a, share, &info) == 0;
}

static uint64_t used(uint32_t tier)
{
	const struct arbiter_group root = { .kind = ARBITER_ROOT };
	struct arbiter_usage u;

	ck_assert_int_eq(arbiter_usage(a, &root, dev, tier, &u), 0);
	return u.usage;
}

static void begin(void)
{
	ck_assert_int_eq(arbiter_takeover_begin(&t, a, 1, 5 * SEC, 10 * SEC), 0);
}

/* What ADOPT with RESET does: here the session ends. */
static void reset(uint64_t session)
{
	ck_assert_int_eq(arbiter_session_close(a, session, 0), 0);
}

START_TEST(nothing_left)
{
	begin();
	ck_assert(!arbiter_takeover_pending(&t));
	ck_assert(!arbiter_takeover_poll(&t, UINT64_MAX));
	ck_assert(!arbiter_takeover_session(&t, 1));
}
END_TEST

START_TEST(sessions_that_hold_nothing_are_not_waited_for)
{
	uint64_t s = open_session();

	begin();
	ck_assert(!arbiter_takeover_pending(&t));
	ck_assert(!arbiter_takeover_session(&t, s));
}
END_TEST

START_TEST(nobody_s_memory_goes_at_once)
{
	uint32_t share = share_with(100, NULL, 0);

	begin();
	ck_assert(!arbiter_takeover_pending(&t));
	ck_assert(!share_exists(share));
	ck_assert_uint_eq(used(ARBITER_VRAM), 0);
	ck_assert_uint_eq(used(ARBITER_DISK), 0);
}
END_TEST

START_TEST(it_falls_with_the_last_member)
{
	const uint64_t s[2] = { open_session(), open_session() };
	uint32_t both = share_with(100, s, 2), second = share_with(50, &s[1], 1), mine;

	begin();
	ck_assert(arbiter_takeover_pending(&t));
	/* Those of the new daemon are not touched, whatever becomes of the others. */
	mine = share_with(7, NULL, 0);
	reset(s[0]);
	ck_assert(arbiter_takeover_session(&t, s[0]));
	ck_assert(share_exists(both));
	ck_assert_uint_eq(used(ARBITER_VRAM), 157);
	ck_assert(!arbiter_takeover_session(&t, 99));
	ck_assert(arbiter_takeover_pending(&t));
	reset(s[1]);
	ck_assert(arbiter_takeover_session(&t, s[1]));
	ck_assert(!arbiter_takeover_pending(&t));
	ck_assert(!share_exists(both));
	ck_assert(!share_exists(second));
	ck_assert(share_exists(mine));
	ck_assert_uint_eq(used(ARBITER_VRAM), 7);
}
END_TEST

START_TEST(it_is_over_when_nothing_is_charged)
{
	const uint64_t s[2] = { open_session(), open_session() };

	share_with(100, &s[0], 1);
	begin();
	ck_assert(arbiter_takeover_pending(&t));
	reset(s[0]);
	ck_assert(arbiter_takeover_session(&t, s[0]));
	/* The other one held nothing. */
	ck_assert(!arbiter_takeover_pending(&t));
}
END_TEST

START_TEST(a_number_that_is_used_again)
{
	uint64_t s[2] = { open_session(), open_session() };
	uint32_t old = share_with(100, &s[0], 1), new;

	share_with(100, &s[1], 1);
	begin();
	reset(s[0]);
	ck_assert(arbiter_takeover_session(&t, s[0]));
	new = share_with(3, NULL, 0);
	ck_assert_uint_eq(new, old);
	reset(s[1]);
	ck_assert(arbiter_takeover_session(&t, s[1]));
	ck_assert(share_exists(new));
	ck_assert_uint_eq(used(ARBITER_VRAM), 3);
}
END_TEST

START_TEST(who_does_not_come_back)
{
	const uint64_t s[2] = { open_session(), open_session() };
	uint32_t share = share_with(100, s, 2);

	ck_assert_int_eq(arbiter_charge(a, s[0], dev, ARBITER_VRAM, 11, NULL), 0);
	ck_assert_int_eq(arbiter_charge(a, s[1], dev, ARBITER_HOST, 13, NULL), 0);
	begin();
	ck_assert(!arbiter_takeover_poll(&t, 15 * SEC - 1));
	ck_assert(arbiter_takeover_pending(&t));
	ck_assert_uint_eq(used(ARBITER_VRAM), 111);
	ck_assert(arbiter_takeover_poll(&t, 15 * SEC));
	ck_assert(!arbiter_takeover_pending(&t));
	ck_assert(!share_exists(share));
	ck_assert_uint_eq(used(ARBITER_VRAM), 0);
	ck_assert_uint_eq(used(ARBITER_HOST), 0);
	ck_assert_uint_eq(used(ARBITER_DISK), 0);
	ck_assert(!arbiter_takeover_poll(&t, 16 * SEC));
}
END_TEST

START_TEST(own_charges_are_waited_for)
{
	uint64_t s = open_session();

	ck_assert_int_eq(arbiter_charge(a, s, dev, ARBITER_DISK, 11, NULL), 0);
	begin();
	ck_assert(arbiter_takeover_pending(&t));
	reset(s);
	ck_assert(arbiter_takeover_session(&t, s));
	ck_assert(!arbiter_takeover_pending(&t));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("arbiter_takeover");
	TCase *tc = tcase_create("takeover");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, nothing_left);
	tcase_add_test(tc, sessions_that_hold_nothing_are_not_waited_for);
	tcase_add_test(tc, nobody_s_memory_goes_at_once);
	tcase_add_test(tc, it_falls_with_the_last_member);
	tcase_add_test(tc, it_is_over_when_nothing_is_charged);
	tcase_add_test(tc, a_number_that_is_used_again);
	tcase_add_test(tc, who_does_not_come_back);
	tcase_add_test(tc, own_charges_are_waited_for);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
