// SPDX-License-Identifier: GPL-2.0-only
/*
 * What vramtrace makes of events: tables, histograms, refault distances, stall meters, blame and names.
 *
 * links: tools/vramtrace/map.c tools/vramtrace/histogram.c tools/vramtrace/refault.c
 * links: tools/vramtrace/meter.c tools/vramtrace/tally.c tools/vramtrace/blame.c
 * links: tools/vramtrace/names.c
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vramtrace/blame.h"
#include "tools/vramtrace/histogram.h"
#include "tools/vramtrace/meter.h"
#include "tools/vramtrace/names.h"
#include "tools/vramtrace/refault.h"
#include "tools/vramtrace/tally.h"

#define MS 1000000u

/* ---- map ---- */

/* Against an array, with keys that crowd and removals among them. */
START_TEST(map_is_a_map)
{
	static uintptr_t model[512];
	struct map map = { 0 };
	struct map_entry *entry;
	unsigned int seed = 7;
	size_t n = 0, seen = 0;

	memset(model, 0, sizeof(model));
	for (uintptr_t step = 1; step < 100000; step++) {
		uint64_t a, b;
		size_t key;

		seed = seed * 1103515245u + 12345u;
		key = seed >> 16 & 511;
		a = key / 3;
		b = key % 3;
		ck_assert_uint_eq((uintptr_t)map_get(&map, a, b), model[key]);
		if (seed >> 30) {
			ck_assert_uint_eq((uintptr_t)map_put(&map, a, b, (void *)step), model[key]);
			n += !model[key];
			model[key] = step;
		} else {
			ck_assert_uint_eq((uintptr_t)map_remove(&map, a, b), model[key]);
			n -= !!model[key];
			model[key] = 0;
		}
		ck_assert_uint_eq(map.n, n);
	}
	for (size_t i = 0; (entry = map_next(&map, &i)); seen++)
		ck_assert_uint_eq((uintptr_t)entry->value, model[entry->a * 3 + entry->b]);
	ck_assert_uint_eq(seen, n);
	map_clear(&map, NULL);
	ck_assert_ptr_null(map_get(&map, 1, 1));
	ck_assert_ptr_null(map_remove(&map, 1, 1));
}
END_TEST

/* ---- histogram ---- */

START_TEST(slots_are_powers_of_two)
{
	ck_assert_uint_eq(histogram_slot(0), 0);
	ck_assert_uint_eq(histogram_slot(1), 0);
	ck_assert_uint_eq(histogram_slot(2), 1);
	ck_assert_uint_eq(histogram_slot(3), 1);
	ck_assert_uint_eq(histogram_slot(4), 2);
	ck_assert_uint_eq(histogram_slot(UINT64_MAX), 63);
	for (unsigned int slot = 0; slot < HISTOGRAM_SLOTS; slot++) {
		ck_assert_uint_eq(histogram_slot(histogram_low(slot)), slot);
		ck_assert_uint_eq(histogram_slot(histogram_high(slot)), slot);
		if (slot)
			ck_assert_uint_eq(histogram_low(slot), histogram_high(slot - 1) + 1);
	}
}
END_TEST

START_TEST(histogram_as_bcc_prints_it)
{
	struct histogram h = { 0 };
	char *text = NULL;
	size_t size;
	FILE *f;

	for (int i = 0; i < 4; i++)
		histogram_add(&h, 5);
	histogram_add(&h, 17);
	ck_assert_uint_eq(h.n, 5);
	ck_assert_uint_eq(h.sum, 37);
	ck_assert_uint_eq(h.max, 17);
	f = open_memstream(&text, &size);
	histogram_print(&h, "usecs", f);
	fclose(f);
	ck_assert_str_eq(
		text,
		"     usecs              : count    distribution\n"
		"         4 -> 7         : 4        |****************************************|\n"
		"         8 -> 15        : 0        |                                        |\n"
		"        16 -> 31        : 1        |**********                              |\n");
	free(text);
}
END_TEST

START_TEST(empty_histogram_prints_nothing)
{
	const struct histogram h = { 0 };
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	histogram_print(&h, "usecs", f);
	fclose(f);
	ck_assert_uint_eq(size, 0);
	free(text);
}
END_TEST

/* ---- refaults ---- */

START_TEST(refault_distance)
{
	struct refault r = { 0 };
	struct refault_return back;

	ck_assert(!refault_loaded(&r, 1, 7, &back));
	refault_evicted(&r, 0, 1, 7, 100, 11, 12);
	refault_evicted(&r, 0, 1, 8, 100, 11, 12);
	refault_evicted(&r, 0, 2, 7, 50, 13, 11);
	/* Another device is another memory. */
	refault_evicted(&r, 1, 3, 7, 1000, 13, 11);
	ck_assert(refault_loaded(&r, 1, 7, &back));
	ck_assert_uint_eq(back.distance_bytes, 250);
	ck_assert_uint_eq(back.session, 11);
	ck_assert_uint_eq(back.needed_session, 12);
	/* Once back it is forgotten. */
	ck_assert(!refault_loaded(&r, 1, 7, &back));
	ck_assert(refault_loaded(&r, 2, 7, &back));
	ck_assert_uint_eq(back.distance_bytes, 50);
	/* Its own bytes are the least. */
	ck_assert(refault_loaded(&r, 3, 7, &back));
	ck_assert_uint_eq(back.distance_bytes, 1000);
	/* A share that has ended takes its chunks along, and no others. */
	refault_evicted(&r, 0, 2, 9, 10, 13, 0);
	refault_forget(&r, 1);
	ck_assert(!refault_loaded(&r, 1, 8, &back));
	ck_assert(refault_loaded(&r, 2, 9, &back));
	/* Evicted again without a load that was seen: the later one counts. */
	refault_evicted(&r, 0, 2, 9, 10, 13, 0);
	refault_evicted(&r, 0, 2, 9, 10, 13, 0);
	ck_assert(refault_loaded(&r, 2, 9, &back));
	ck_assert_uint_eq(back.distance_bytes, 10);
	refault_evicted(&r, REFAULT_DEVICES, 2, 9, 10, 13, 0);
	ck_assert(!refault_loaded(&r, 2, 9, &back));
	refault_clear(&r);
}
END_TEST

/* ---- meters ---- */

START_TEST(overlapping_waits_count_once)
{
	struct meter m;
	uint64_t n;

	meter_init(&m, 100 * MS);
	meter_begin(&m, 110 * MS);
	meter_begin(&m, 120 * MS);
	meter_end(&m, 130 * MS, 20 * MS);
	meter_end(&m, 150 * MS, 30 * MS);
	ck_assert_uint_eq(meter_take(&m, 200 * MS, &n), 40 * MS);
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_eq(meter_take(&m, 300 * MS, &n), 0);
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(a_wait_over_several_intervals)
{
	struct meter m;
	uint64_t n;

	meter_init(&m, 0);
	meter_begin(&m, 50 * MS);
	ck_assert_uint_eq(meter_take(&m, 100 * MS, &n), 50 * MS);
	ck_assert_uint_eq(n, 0);
	ck_assert_uint_eq(meter_take(&m, 200 * MS, &n), 100 * MS);
	meter_end(&m, 210 * MS, 160 * MS);
	ck_assert_uint_eq(meter_take(&m, 300 * MS, &n), 10 * MS);
	ck_assert_uint_eq(n, 1);
}
END_TEST

/* It began before the tracer did. */
START_TEST(an_end_without_a_begin)
{
	struct meter m;
	uint64_t n;

	meter_init(&m, 1000 * MS);
	meter_end(&m, 1030 * MS, 20 * MS);
	ck_assert_uint_eq(meter_take(&m, 1100 * MS, &n), 20 * MS);
	ck_assert_uint_eq(n, 1);
	/* No more than since the meter began, however long it says that it was. */
	meter_init(&m, 1000 * MS);
	meter_end(&m, 1030 * MS, 5000 * MS);
	ck_assert_uint_eq(meter_take(&m, 1100 * MS, &n), 30 * MS);
	/* And not what another one has counted. */
	meter_init(&m, 1000 * MS);
	meter_begin(&m, 1010 * MS);
	meter_end(&m, 1020 * MS, 10 * MS);
	meter_end(&m, 1025 * MS, 25 * MS);
	ck_assert_uint_eq(meter_take(&m, 1100 * MS, &n), 15 * MS);
	ck_assert_uint_eq(n, 2);
}
END_TEST

START_TEST(time_that_runs_backwards)
{
	struct meter m;
	uint64_t n;

	meter_init(&m, 1000 * MS);
	meter_begin(&m, 1020 * MS);
	meter_begin(&m, 1010 * MS);
	meter_end(&m, 1005 * MS, 1 * MS);
	meter_end(&m, 1040 * MS, 1 * MS);
	ck_assert_uint_eq(meter_take(&m, 1030 * MS, &n), 20 * MS);
	ck_assert_uint_eq(n, 2);
}
END_TEST

/* ---- tallies ---- */

START_TEST(the_greatest_first)
{
	struct tally tally = { 0 };
	struct tally_cause **causes;
	struct tally_row **rows;
	size_t n;

	tally_add(tally_row(&tally, 1, 0), 10);
	tally_add(tally_row(&tally, 2, 0), 5);
	tally_add(tally_row(&tally, 2, 0), 6);
	tally_add(tally_row(&tally, 3, 1), 10);
	tally_add(tally_row(&tally, 3, 0), 10);
	tally_add_cause(tally_row(&tally, 2, 0), 7, 5);
	tally_add_cause(tally_row(&tally, 2, 0), 9, 4);
	tally_add_cause(tally_row(&tally, 2, 0), 9, 2);
	rows = tally_sorted(&tally, &n);
	ck_assert_uint_eq(n, 4);
	ck_assert_uint_eq(rows[0]->a, 2);
	ck_assert_uint_eq(rows[0]->n, 2);
	ck_assert_uint_eq(rows[0]->sum, 11);
	ck_assert_uint_eq(rows[0]->max, 6);
	ck_assert_uint_eq(rows[1]->a, 1);
	ck_assert_uint_eq(rows[2]->a, 3);
	ck_assert_uint_eq(rows[2]->b, 0);
	ck_assert_uint_eq(rows[3]->b, 1);
	causes = tally_causes(rows[0], &n);
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_eq(causes[0]->cause, 9);
	ck_assert_uint_eq(causes[0]->sum, 6);
	ck_assert_uint_eq(causes[0]->n, 2);
	free(causes);
	causes = tally_causes(rows[1], &n);
	ck_assert_uint_eq(n, 0);
	free(causes);
	free(rows);
	tally_clear(&tally);
	rows = tally_sorted(&tally, &n);
	ck_assert_uint_eq(n, 0);
	free(rows);
}
END_TEST

/* ---- blame ---- */

START_TEST(who_took_it_last)
{
	struct blame b = { 0 };

	ck_assert_uint_eq(blame_for(&b, 1, UINT32_MAX), BLAME_NOBODY);
	ck_assert_uint_eq(blame_for(&b, 1, 5), BLAME_NOBODY);
	blame_evicted(&b, 1, 5, 2);
	blame_evicted(&b, 1, 6, 3);
	ck_assert_uint_eq(blame_for(&b, 1, UINT32_MAX), 3);
	ck_assert_uint_eq(blame_for(&b, 1, 5), 2);
	ck_assert_uint_eq(blame_for(&b, 1, 6), 3);
	/* Of a share that is known nobody is to blame for another. */
	ck_assert_uint_eq(blame_for(&b, 1, 7), BLAME_NOBODY);
	/* vramd names one of those who share it: the others have lost it, too. */
	ck_assert_uint_eq(blame_for(&b, 9, 5), 2);
	/* Nobody's model, and for nobody. */
	blame_evicted(&b, 0, 5, BLAME_ADMIN);
	ck_assert_uint_eq(blame_for(&b, 1, 5), BLAME_ADMIN);
	ck_assert_uint_eq(blame_for(&b, 0, UINT32_MAX), BLAME_NOBODY);
	blame_forget_share(&b, 5);
	ck_assert_uint_eq(blame_for(&b, 1, 5), BLAME_NOBODY);
	blame_clear(&b);
}
END_TEST

/* ---- names ---- */

static struct event event_of(uint32_t kind, uint64_t session, int pid, const char *comm)
{
	struct event e = { .kind = kind, .session = session, .pid = pid };

	snprintf(e.comm, sizeof(e.comm), "%s", comm);
	return e;
}

START_TEST(names_are_learnt)
{
	struct names names = { 0 };
	struct event e = event_of(EVENT_SESSION_OPEN, 3, 33, "walk");
	struct event_named named = {
		.event = { .kind = EVENT_SHARE_NEW, .share = 4, .bytes = 99, .limit = 64 },
		.name = "llama",
	};
	uint32_t share, layer;
	char text[64];

	e.uid = 1000;
	names_learn(&names, &e);
	ck_assert_uint_eq(names_session(&names, 3)->uid, 1000);
	ck_assert_str_eq(names_session_text(&names, 3, text, sizeof(text)), "walk[33]");
	ck_assert_str_eq(names_session_text(&names, 8, text, sizeof(text)), "session 8");
	ck_assert_str_eq(names_session_text(&names, 0, text, sizeof(text)), "nobody");
	/* An event that mentions somebody leaves what is known of him, and tells of others. */
	e = event_of(EVENT_EVICT, 3, 33, "walk");
	e.needed_session = 5;
	e.needed_pid = 55;
	memcpy(e.needed_comm, "t\033[2J", 6);
	names_learn(&names, &e);
	ck_assert(names_session(&names, 3)->has_uid);
	ck_assert(!names_session(&names, 5)->has_uid);
	ck_assert_str_eq(names_session_text(&names, 5, text, sizeof(text)), "t?[2J[55]");
	/* Sixteen bytes without a zero. */
	e = event_of(EVENT_CHARGE, 6, 66, "");
	memset(e.comm, 'x', sizeof(e.comm));
	names_learn(&names, &e);
	ck_assert_str_eq(names_session_text(&names, 6, text, sizeof(text)), "xxxxxxxxxxxxxxxx[66]");

	ck_assert_str_eq(names_share_text(&names, 4, text, sizeof(text)), "share 4");
	names_learn(&names, &named.event);
	ck_assert_str_eq(names_share_text(&names, 4, text, sizeof(text)), "llama");
	ck_assert_uint_eq(names_share(&names, 4)->size_bytes, 99);
	ck_assert_str_eq(names_share_text(&names, EVENT_NO_SHARE, text, sizeof(text)), "-");

	e = (struct event){ .kind = EVENT_LAYERS, .session = 3, .share = 4, .slot = 10, .chunk = 5 };
	names_learn(&names, &e);
	names_put_layers(&names, 3, 7, 20, 1);
	ck_assert(!names_layer(&names, 3, 9, &share, &layer));
	ck_assert(names_layer(&names, 3, 14, &share, &layer));
	ck_assert_uint_eq(share, 4);
	ck_assert_uint_eq(layer, 4);
	ck_assert(!names_layer(&names, 3, 15, &share, &layer));
	ck_assert(names_layer(&names, 3, 20, &share, &layer));
	ck_assert_uint_eq(share, 7);
	ck_assert(!names_layer(&names, 4, 14, &share, &layer));
	/* The slots are used again. */
	names_put_layers(&names, 3, 9, 10, 2);
	ck_assert(names_layer(&names, 3, 11, &share, &layer));
	ck_assert_uint_eq(share, 9);
	ck_assert(!names_layer(&names, 3, 12, &share, &layer));
	names_clear(&names);
	ck_assert_ptr_null(names_session(&names, 3));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vramtrace_tables");
	TCase *tc = tcase_create("tables");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, map_is_a_map);
	tcase_add_test(tc, slots_are_powers_of_two);
	tcase_add_test(tc, histogram_as_bcc_prints_it);
	tcase_add_test(tc, empty_histogram_prints_nothing);
	tcase_add_test(tc, refault_distance);
	tcase_add_test(tc, overlapping_waits_count_once);
	tcase_add_test(tc, a_wait_over_several_intervals);
	tcase_add_test(tc, an_end_without_a_begin);
	tcase_add_test(tc, time_that_runs_backwards);
	tcase_add_test(tc, the_greatest_first);
	tcase_add_test(tc, who_took_it_last);
	tcase_add_test(tc, names_are_learnt);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
