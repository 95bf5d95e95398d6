// SPDX-License-Identifier: GPL-2.0-only
/*
 * Giving a session back: VRAM_SESSION_DROP.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/waiter.c
 */
#include <check.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/kmod/device.h"
#include "tests/kmod/waiter.h"

static int client;
static uint64_t session;

static void setup(void)
{
	world_setup();
	client = client_new(UID_A, 64);
	session = session_of(client);
}

static void teardown(void)
{
	close(client);
	world_teardown();
}

static int drop(int arb)
{
	return try_state(arb, session, 0, VRAM_SESSION_DROP);
}

START_TEST(test_everything_falls_back)
{
	uint32_t share = share_new(w.arb, w.dev[0]);
	int other = client_new(UID_B, 64);

	charge(w.arb, session, 3 * MIB);
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, share, session));
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, share, session_of(other)));
	ck_ok(try_share_charge(w.arb, share, 4 * MIB));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, session), 5 * MIB);

	ck_ok(drop(w.arb));
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, session), 0);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, session_of(other)), 4 * MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_USER, UID_A), 0);
	ck_assert_uint_eq(info_of(client).flags & VRAM_INFO_ADOPTED, 0);
	close(other);
}
END_TEST

START_TEST(test_it_is_nobody_s_until_it_is_adopted_anew)
{
	struct vram_ioc_wait wait = { .deadline_ns = now_ns() + SECOND };
	struct vram_ioc_adopt adopted;

	ck_ok(drop(w.arb));
	ck_errno(drop(w.arb), ENOENT);
	ck_errno(try_charge(w.arb, session, MIB), ENOENT);
	ck_errno(try_ioctl(client, VRAM_IOC_WAIT, &wait), ENOTCONN);
	ck_ok(try_adopt(w.arb, client, 0, &adopted));
	ck_assert_uint_eq(adopted.session, session);
	ck_errno(try_adopt(w.arb, client, 0, &adopted), EBUSY);
	charge(w.arb, session, MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_SESSION, session), MIB);
}
END_TEST

START_TEST(test_who_waits_is_told)
{
	struct waiter x;

	waiter_on(&x, client, 3);
	waiter_asleep(&x);
	ck_ok(drop(w.arb));
	ck_assert_int_eq(waiter_result(&x), -ESTALE);
}
END_TEST

START_TEST(test_its_end_is_not_told)
{
	struct vram_arbiter_event event;

	ck_ok(drop(w.arb));
	close(client);
	client = -1;
	ck_errno(event_within(w.arb, 300, &event), EAGAIN);
	ck_errno(drop(w.arb), ENOENT);
}
END_TEST

START_TEST(test_only_the_arbiter_may)
{
	char *before;

	charge(w.arb, session, MIB);
	before = snapshot(w.arb);
	ck_errno(drop(client), EPERM);
	ck_errno(try_state(w.arb, session, 1, VRAM_SESSION_DROP), EINVAL);
	ck_errno(try_state(w.arb, session, 0, VRAM_SESSION_DROP + 1), EINVAL);
	ck_errno(try_state(w.arb, session + 1000, 0, VRAM_SESSION_DROP), ENOENT);
	snapshot_same(w.arb, before, "a refused DROP");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("drop");
	TCase *tcase = tcase_create("drop");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_everything_falls_back);
	tcase_add_test(tcase, test_it_is_nobody_s_until_it_is_adopted_anew);
	tcase_add_test(tcase, test_who_waits_is_told);
	tcase_add_test(tcase, test_its_end_is_not_told);
	tcase_add_test(tcase, test_only_the_arbiter_may);
	suite_add_tcase(suite, tcase);
	return device_main(suite);
}
