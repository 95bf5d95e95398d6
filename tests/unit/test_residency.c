// SPDX-License-Identifier: GPL-2.0-only
// The residency slot, one step at a time. What happens between steps is the
// model's (tests/model) and the stress tests' (tests/stress) business.
#define _GNU_SOURCE 1
#include "common/residency.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static struct residency_slot slot;
static struct residency_shadow shadow;
static uint32_t seen;

static void setup(void)
{
	memset(&slot, 0xaa, sizeof(slot));
	residency_init(&slot, &shadow);
	seen = 0;
}

static void load(void)
{
	residency_begin_load(&slot, &shadow);
	residency_finish_load(&slot, &shadow, NULL);
}

static enum residency_state shown(void)
{
	return residency_word_state(atomic_load(&slot.word));
}

static int acquire(void)
{
	return (int)residency_try_acquire(&slot, 1000, &seen);
}

START_TEST(starts_absent_and_unpinned)
{
	ck_assert_int_eq(residency_state(&shadow), RESIDENCY_ABSENT);
	ck_assert_int_eq(shown(), RESIDENCY_ABSENT);
	ck_assert(!residency_is_marked(&shadow));
	ck_assert_uint_eq(residency_pins(&slot), 0);
	ck_assert_uint_eq(residency_uses(&slot), 0);
	ck_assert_uint_eq(residency_last_use_ns(&slot, UINT64_MAX), 0);
}
END_TEST

START_TEST(acquire_pins_in_every_state)
{
	ck_assert_int_eq(acquire(), RESIDENCY_E_WAIT);
	ck_assert_uint_eq(residency_pins(&slot), 1);
	residency_begin_load(&slot, &shadow);
	ck_assert_int_eq(acquire(), RESIDENCY_E_WAIT);
	ck_assert_uint_eq(residency_pins(&slot), 2);
	residency_fail(&slot, &shadow, NULL, -EIO);
	ck_assert_int_eq(acquire(), RESIDENCY_E_FAILED);
	ck_assert_uint_eq(residency_pins(&slot), 3);
	load();
	ck_assert_int_eq(acquire(), RESIDENCY_OK);
	ck_assert_uint_eq(residency_pins(&slot), 4);
	for (int i = 4; i-- > 0;) {
		residency_release(&slot);
		ck_assert_uint_eq(residency_pins(&slot), i);
	}
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), 0);
	ck_assert_int_eq(acquire(), RESIDENCY_E_WAIT);
	ck_assert_uint_eq(residency_pins(&slot), 1);
	ck_assert_uint_eq(residency_uses(&slot), 5);
}
END_TEST

START_TEST(pinned_layer_stays)
{
	uint32_t word;

	load();
	ck_assert_int_eq(acquire(), RESIDENCY_OK);
	ck_assert_int_eq(acquire(), RESIDENCY_OK);
	word = atomic_load(&slot.word);
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), RESIDENCY_E_PINNED);
	residency_release(&slot);
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), RESIDENCY_E_PINNED);
	ck_assert_int_eq(shown(), RESIDENCY_RESIDENT);
	/* A waiter must not be shown EVICTING by one who tries again and again. */
	ck_assert_uint_eq(atomic_load(&slot.word), word);
	residency_release(&slot);
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), 0);
	ck_assert_int_eq(residency_state(&shadow), RESIDENCY_EVICTING);
	ck_assert_int_eq(shown(), RESIDENCY_EVICTING);
	residency_finish_evict(&slot, &shadow);
	ck_assert_int_eq(shown(), RESIDENCY_ABSENT);
}
END_TEST

START_TEST(waiter_is_pinned_when_its_load_ends)
{
	ck_assert_int_eq(acquire(), RESIDENCY_E_WAIT);
	load();
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), RESIDENCY_E_PINNED);
	ck_assert_int_eq(residency_wait(&slot, seen, 0), RESIDENCY_OK);
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), RESIDENCY_E_PINNED);
	residency_release(&slot);
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), 0);
}
END_TEST

START_TEST(eviction_taken_back)
{
	load();
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), 0);
	ck_assert_int_eq(acquire(), RESIDENCY_E_WAIT);
	residency_cancel_evict(&slot, &shadow, NULL);
	ck_assert_int_eq(residency_wait(&slot, seen, 0), RESIDENCY_OK);
	ck_assert_int_eq(residency_state(&shadow), RESIDENCY_RESIDENT);
}
END_TEST

START_TEST(load_taken_back)
{
	residency_begin_load(&slot, &shadow);
	residency_cancel_load(&slot, &shadow);
	ck_assert_int_eq(shown(), RESIDENCY_ABSENT);
	load();
	ck_assert_int_eq(shown(), RESIDENCY_RESIDENT);
}
END_TEST

/* The GPU's counter is absolute; the sum of both counts. */
START_TEST(device_releases)
{
	load();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(acquire(), RESIDENCY_OK);
	*(volatile uint64_t *)&slot.device_released = 1;
	ck_assert_uint_eq(residency_pins(&slot), 2);
	residency_release(&slot);
	ck_assert_uint_eq(residency_pins(&slot), 1);
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), RESIDENCY_E_PINNED);
	*(volatile uint64_t *)&slot.device_released = 2;
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), 0);
}
END_TEST

START_TEST(failure_reaches_the_waiter)
{
	ck_assert_int_eq(acquire(), RESIDENCY_E_WAIT);
	ck_assert_int_eq(residency_wait(&slot, seen, 0), -ETIMEDOUT);
	residency_begin_load(&slot, &shadow);
	ck_assert_int_eq(residency_wait(&slot, seen, 0), -ETIMEDOUT);
	residency_fail(&slot, &shadow, NULL, -ESTALE);
	ck_assert_int_eq(residency_wait(&slot, seen, 0), RESIDENCY_E_FAILED);
	ck_assert_int_eq(residency_error(&slot), -ESTALE);
	residency_release(&slot);

	/* A later acquire meets the old failure and may retry: only a new one counts then. */
	ck_assert_int_eq(acquire(), RESIDENCY_E_FAILED);
	ck_assert_int_eq(residency_error(&slot), -ESTALE);
	ck_assert_int_eq(residency_wait(&slot, seen, 0), -ETIMEDOUT);
	residency_set_notify(&slot, &shadow);
	ck_assert_int_eq(residency_wait(&slot, seen, 0), -ETIMEDOUT);
	residency_begin_load(&slot, &shadow);
	residency_fail(&slot, &shadow, NULL, -EIO);
	ck_assert_int_eq(residency_wait(&slot, seen, 0), RESIDENCY_E_FAILED);
	ck_assert_int_eq(residency_error(&slot), -EIO);

	/* Refused outright: as new as a failed load. */
	ck_assert_int_eq(acquire(), RESIDENCY_E_FAILED);
	residency_fail(&slot, &shadow, NULL, -EDQUOT);
	ck_assert_int_eq(residency_wait(&slot, seen, 0), RESIDENCY_E_FAILED);
	ck_assert_int_eq(residency_error(&slot), -EDQUOT);
	residency_release(&slot);
	residency_release(&slot);
	ck_assert_uint_eq(residency_pins(&slot), 0);
}
END_TEST

START_TEST(failure_while_evicting)
{
	load();
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), 0);
	ck_assert_int_eq(acquire(), RESIDENCY_E_WAIT);
	residency_fail(&slot, &shadow, NULL, -ENOSPC);
	ck_assert_int_eq(residency_wait(&slot, seen, 0), RESIDENCY_E_FAILED);
	ck_assert_int_eq(residency_error(&slot), -ENOSPC);
}
END_TEST

START_TEST(wait_ends_at_its_deadline)
{
	struct timespec ts;
	uint64_t before, after;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	before = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	ck_assert_int_eq(acquire(), RESIDENCY_E_WAIT);
	ck_assert_int_eq(residency_wait(&slot, seen, before + 20000000), -ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	after = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	ck_assert_uint_ge(after, before + 20000000);
	/* One that has passed. */
	ck_assert_int_eq(residency_wait(&slot, seen, before), -ETIMEDOUT);
	/* The pin is still the caller's. */
	ck_assert_uint_eq(residency_pins(&slot), 1);
}
END_TEST

static void on_signal(int sig)
{
	(void)sig;
}

static void *wait_for_ever(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)residency_wait(&slot, seen, UINT64_MAX);
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 30000000 }, NULL);
}

START_TEST(sleeper_is_woken)
{
	struct sigaction action = { .sa_handler = on_signal };
	pthread_t thread;
	void *result;

	sigaction(SIGUSR1, &action, NULL);
	ck_assert_int_eq(acquire(), RESIDENCY_E_WAIT);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_ever, NULL), 0);
	nap();
	/* Neither a signal nor a step that leads nowhere ends the wait. */
	pthread_kill(thread, SIGUSR1);
	residency_begin_load(&slot, &shadow);
	syscall(SYS_futex, &slot.word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	nap();
	ck_assert_int_eq(pthread_tryjoin_np(thread, &result), EBUSY);
	switch (_i) {
	case 0:
		residency_finish_load(&slot, &shadow, NULL);
		break;
	case 1:
		residency_fail(&slot, &shadow, NULL, -EIO);
		break;
	default:
		/* EVICTING with a sleeper, then taken back. */
		shadow.word = (shadow.word & ~RESIDENCY_STATE_MASK) | RESIDENCY_EVICTING;
		residency_cancel_evict(&slot, &shadow, NULL);
		break;
	}
	/* Without the wake-up this hangs, and Check's time limit ends it. */
	ck_assert_int_eq(pthread_join(thread, &result), 0);
	ck_assert_int_eq((intptr_t)result, _i == 1 ? RESIDENCY_E_FAILED : RESIDENCY_OK);
}
END_TEST

START_TEST(mark_is_seen_once_set)
{
	load();
	ck_assert_int_eq(acquire(), RESIDENCY_OK);
	/* One acquire came before the mark: it is in the count. */
	ck_assert_uint_eq(residency_set_notify(&slot, &shadow), 1);
	ck_assert(residency_is_marked(&shadow));
	ck_assert_int_eq(acquire(), RESIDENCY_E_NOTIFY);
	residency_clear_notify(&slot, &shadow);
	ck_assert(!residency_is_marked(&shadow));
	ck_assert_int_eq(acquire(), RESIDENCY_OK);
	ck_assert_uint_eq(residency_pins(&slot), 3);
}
END_TEST

START_TEST(mark_outlives_eviction)
{
	ck_assert_uint_eq(residency_set_notify(&slot, &shadow), 0);
	/* Not shown while not resident. */
	ck_assert(!(atomic_load(&slot.word) & RESIDENCY_NOTIFY));
	load();
	ck_assert(atomic_load(&slot.word) & RESIDENCY_NOTIFY);
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), 0);
	ck_assert(!(atomic_load(&slot.word) & RESIDENCY_NOTIFY));
	ck_assert_int_eq(acquire(), RESIDENCY_E_WAIT);
	residency_finish_evict(&slot, &shadow);
	load();
	ck_assert_int_eq(residency_wait(&slot, seen, 0), RESIDENCY_E_NOTIFY);
	residency_clear_notify(&slot, &shadow);
	residency_clear_notify(&slot, &shadow);
	ck_assert_int_eq(residency_wait(&slot, seen, 0), RESIDENCY_OK);
}
END_TEST

START_TEST(one_report_a_mark)
{
	uint32_t first;

	load();
	residency_set_notify(&slot, &shadow);
	ck_assert_int_eq(acquire(), RESIDENCY_E_NOTIFY);
	first = seen;
	ck_assert(residency_claim_report(&slot, first));
	ck_assert_int_eq(acquire(), RESIDENCY_E_NOTIFY);
	ck_assert_uint_eq(seen, first);
	ck_assert(!residency_claim_report(&slot, seen));
	/* The report was not sent: somebody else's turn. */
	residency_unclaim_report(&slot);
	ck_assert(residency_claim_report(&slot, seen));
	ck_assert(!residency_claim_report(&slot, seen));
	/* A new mark, with or without clearing the old one. */
	residency_set_notify(&slot, &shadow);
	ck_assert_int_eq(acquire(), RESIDENCY_E_NOTIFY);
	ck_assert(residency_claim_report(&slot, seen));
	residency_clear_notify(&slot, &shadow);
	residency_set_notify(&slot, &shadow);
	ck_assert_int_eq(acquire(), RESIDENCY_E_NOTIFY);
	ck_assert(residency_claim_report(&slot, seen));
}
END_TEST

START_TEST(sequence_wraps_cleanly)
{
	load();
	residency_set_notify(&slot, &shadow);
	shadow.word |= 0xfffffff0u;
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), 0);
	ck_assert_uint_eq(shadow.word, RESIDENCY_NOTIFY | RESIDENCY_EVICTING);
	ck_assert_uint_eq(atomic_load(&slot.word), RESIDENCY_EVICTING);
	residency_cancel_evict(&slot, &shadow, NULL);
	ck_assert_uint_eq(atomic_load(&slot.word),
			  RESIDENCY_SEQ_ONE | RESIDENCY_NOTIFY | RESIDENCY_RESIDENT);
}
END_TEST

START_TEST(use_is_noticed)
{
	uint64_t uses;

	load();
	uses = residency_uses(&slot);
	ck_assert(!residency_used_since(&slot, uses));
	residency_try_acquire(&slot, 5000, &seen);
	residency_release(&slot);
	ck_assert(residency_used_since(&slot, uses));
	ck_assert_uint_eq(residency_last_use_ns(&slot, 9000), 5000);
	/* A stamp from the future is not believed. */
	ck_assert_uint_eq(residency_last_use_ns(&slot, 4000), 4000);
	ck_assert_uint_gt(residency_now_ns(), 0);
}
END_TEST

/*
 * A client writes anything anywhere at any time: the daemon's states are what it made
 * them, the words it shows are right again after its next write, and no call hangs or aborts.
 */
START_TEST(scribbles_confuse_nobody)
{
	unsigned int seed = (unsigned int)_i;
	unsigned char junk[sizeof(slot)];
	int r;

	for (int round = 0; round < 2000; round++) {
		enum residency_state before = residency_state(&shadow), after = before;

		for (size_t i = 0; i < sizeof(junk); i++)
			junk[i] = (unsigned char)(round == 0 ? 0xff : rand_r(&seed));
		memcpy((void *)&slot, junk, sizeof(slot));
		switch (before) {
		case RESIDENCY_ABSENT:
		case RESIDENCY_FAILED:
			residency_begin_load(&slot, &shadow);
			after = RESIDENCY_LOADING;
			break;
		case RESIDENCY_LOADING:
			if (rand_r(&seed) % 4 == 0) {
				residency_fail(&slot, &shadow, NULL, -EIO);
				after = RESIDENCY_FAILED;
				ck_assert_int_eq(residency_error(&slot), -EIO);
			} else {
				residency_finish_load(&slot, &shadow, NULL);
				after = RESIDENCY_RESIDENT;
			}
			break;
		case RESIDENCY_RESIDENT:
			if (rand_r(&seed) % 2)
				residency_set_notify(&slot, &shadow);
			else
				residency_clear_notify(&slot, &shadow);
			if (rand_r(&seed) % 2) {
				atomic_store(&slot.acquired, 0);
				atomic_store(&slot.released, 0);
				atomic_store(&slot.device_released, 0);
			}
			r = residency_try_evict(&slot, &shadow, NULL);
			after = r == 0 ? RESIDENCY_EVICTING : RESIDENCY_RESIDENT;
			break;
		case RESIDENCY_EVICTING:
			residency_finish_evict(&slot, &shadow);
			after = RESIDENCY_ABSENT;
			break;
		}
		ck_assert_int_eq(residency_state(&shadow), after);
		if (after != before)
			ck_assert_int_eq(shown(), after);
		ck_assert_uint_le(residency_last_use_ns(&slot, 77), 77);
		r = residency_error(&slot);
		ck_assert(r < 0 && r > -4096);
	}
}
END_TEST

START_TEST(lies_about_pins)
{
	load();
	/* More releases than acquires: taken for pinned, not for a licence. */
	atomic_store(&slot.released, 1);
	ck_assert_int_eq(residency_try_evict(&slot, &shadow, NULL), RESIDENCY_E_PINNED);
	ck_assert_int_eq(residency_state(&shadow), RESIDENCY_RESIDENT);
	atomic_store(&slot.error, 0);
	ck_assert_int_eq(residency_error(&slot), -EIO);
	atomic_store(&slot.error, 4096);
	ck_assert_int_eq(residency_error(&slot), -EIO);
}
END_TEST

/* Steps that the state does not allow are mistakes of the daemon, not of a client. */
START_TEST(wrong_step_aborts)
{
	switch (_i) {
	case 0:
		residency_finish_load(&slot, &shadow, NULL);
		break;
	case 1:
		residency_try_evict(&slot, &shadow, NULL);
		break;
	case 2:
		residency_finish_evict(&slot, &shadow);
		break;
	case 3:
		load();
		residency_begin_load(&slot, &shadow);
		break;
	case 4:
		load();
		residency_fail(&slot, &shadow, NULL, -EIO);
		break;
	case 5:
		residency_fail(&slot, &shadow, NULL, EIO);
		break;
	case 6:
		residency_cancel_load(&slot, &shadow);
		break;
	default:
		residency_cancel_evict(&slot, &shadow, NULL);
		break;
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("residency");
	TCase *tcase = tcase_create("residency");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, starts_absent_and_unpinned);
	tcase_add_test(tcase, acquire_pins_in_every_state);
	tcase_add_test(tcase, pinned_layer_stays);
	tcase_add_test(tcase, waiter_is_pinned_when_its_load_ends);
	tcase_add_test(tcase, eviction_taken_back);
	tcase_add_test(tcase, load_taken_back);
	tcase_add_test(tcase, device_releases);
	tcase_add_test(tcase, failure_reaches_the_waiter);
	tcase_add_test(tcase, failure_while_evicting);
	tcase_add_test(tcase, wait_ends_at_its_deadline);
	tcase_add_loop_test(tcase, sleeper_is_woken, 0, 3);
	tcase_add_test(tcase, mark_is_seen_once_set);
	tcase_add_test(tcase, mark_outlives_eviction);
	tcase_add_test(tcase, one_report_a_mark);
	tcase_add_test(tcase, sequence_wraps_cleanly);
	tcase_add_test(tcase, use_is_noticed);
	tcase_add_loop_test(tcase, scribbles_confuse_nobody, 1, 9);
	tcase_add_test(tcase, lies_about_pins);
	/* Without a process of its own an abort would end the whole program. */
	if (srunner_fork_status(runner) == CK_FORK)
		tcase_add_loop_test_raise_signal(tcase, wrong_step_aborts, SIGABRT, 0, 8);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
