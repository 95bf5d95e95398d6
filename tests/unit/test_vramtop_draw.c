// SPDX-License-Identifier: GPL-2.0-only
// links: tools/vramtop/canvas.c tools/vramtop/columns.c tools/vramtop/draw.c tools/vramtop/draw_pages.c
// links: tools/vramtop/format.c tools/vramtop/sample.c tools/vramtop/ui.c tools/vramtop/view.c
// libs: -ljansson -lm
/*
 * The screen of vramtop, without a terminal: rows and columns for any width, keys, and that whatever names there are and
 * whatever size, each cell is one that a terminal can be given.
 */
#define _GNU_SOURCE 1
#include "tools/vramtop/draw.h"

#include <check.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include "tools/vramtop/format.h"

static const char *why;
static uint64_t seed;

static uint64_t random_below(uint64_t bound)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % bound;
}

/* ---- samples ---- */

static const char *const hostile[] = {
	"\x1b[31mred\x1b]0;title\x07",
	"a\tb\r\nc\x7f",
	"\xc2\x9b"
	"31m C1",
	"\u65e5\u672c\u8a9e\u306e\u540d\u524d\u306f\u9577\u3044",
	"e\u0301\u0301\u0301\u0301\u0301\u0301\u0301 zalgo",
	"\u0301\u0302 accents without a letter",
	"\u202eevil\u2066 directions \u200b\u200d\ufeff",
	"\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 pictures",
	"%s%n%d",
	"",
	"a name that is much longer than any column could ever be, and then goes on a little",
	"\uffff\U0010ffff\ue000",
};

static const char *any_name(void)
{
	return hostile[random_below(sizeof(hostile) / sizeof(hostile[0]))];
}

static json_t *any_number(void)
{
	switch (random_below(6)) {
	case 0:
		return json_integer(0);
	case 1:
		return json_integer((json_int_t)random_below(1000));
	case 2:
		return json_integer(INT64_MAX);
	case 3:
		return json_real(-1e300);
	case 4:
		return json_string("max");
	default:
		return json_integer((json_int_t)random_below(1ull << 40));
	}
}

static json_t *any_object(const char *const keys[], const char *const texts[])
{
	static const char *const of_tier[] = { "used_bytes", "size_bytes",     "usage_bytes",
					       "max",	     "resident_bytes", "charged_bytes" };
	json_t *object = json_object(), *tiers = json_object(), *tier;
	size_t i;
	int t;

	for (i = 0; keys[i]; i++)
		if (random_below(8))
			json_object_set_new(object, keys[i], any_number());
	for (i = 0; texts[i]; i++)
		json_object_set_new(object, texts[i], json_string(any_name()));
	for (t = 0; t < N_TIERS; t++) {
		tier = json_object();
		for (i = 0; i < sizeof(of_tier) / sizeof(of_tier[0]); i++)
			json_object_set_new(tier, of_tier[i], any_number());
		json_object_set_new(tiers, tier_names[t], tier);
	}
	json_object_set_new(object, "tiers", tiers);
	json_object_set_new(object, "position", json_real((double)random_below(1000) / 999));
	json_object_set_new(object, "held", json_boolean((int)random_below(2)));
	return object;
}

static struct sample *any_sample(void)
{
	static const char *const lists[] = { "devices", "tenants", "sessions", "models", "queue" };
	static const char *const keys[] = { "id",	  "pid",      "uid",	  "total_bytes",
					    "size_bytes", "sessions", "acquires", "loaded_bytes",
					    "faults",	  "passes",   "priority", "waiting_ns",
					    "stall_ns",	  "waiting",  NULL };
	static const char *const texts[] = { "name", "comm", "state", "subject", "kind", NULL };
	json_t *answer = json_pack("{s:s, s:s, s:I, s:I}", "version", any_name(), "ledger",
				   any_name(), "uptime_ns", (json_int_t)random_below(1ull << 60),
				   "time_ns", (json_int_t)1);
	struct sample *sample;
	size_t i, n;

	for (i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		json_t *list = json_array();

		for (n = random_below(i == 0 ? 4 : 30); n > 0; n--)
			json_array_append_new(list, any_object(keys, texts));
		json_object_set_new(answer, lists[i], list);
	}
	sample = sample_new(answer, NULL, NULL, &why);
	ck_assert_msg(sample != NULL, "%s", why);
	return sample;
}

/* Sessions of two users; `n` of them from `first` on, the first with the most. */
static struct sample *sample_from(int first, int n)
{
	json_t *answer = json_pack(
		"{s:[{s:i, s:s, s:{s:{s:i, s:i}, s:{s:i, s:i}}}], s:[], s:[], s:[]}", "devices",
		"index", 0, "name", "card", "tiers", "vram", "used_bytes", 512, "size_bytes", 1024,
		"host", "used_bytes", 1, "size_bytes", 4, "tenants", "models", "queue");
	json_t *sessions = json_array();
	struct sample *sample;
	char name[24];
	int i;

	for (i = first; i < n; i++) {
		json_t *session;

		snprintf(name, sizeof(name), "engine%d", i);
		session = json_pack("{s:i, s:i, s:i, s:s, s:s, s:{s:{s:i}}, s:i}", "id", i + 1,
				    "pid", 1000 + i, "uid", i % 2, "name", name, "state", "running",
				    "tiers", "vram", "resident_bytes", 100 * (n - i), "total_bytes",
				    5000);
		/* Known of one alone. */
		if (i == 1)
			json_object_set_new(session, "pace_ns_per_pass", json_integer(1000000));
		json_array_append_new(sessions, session);
	}
	json_object_set_new(answer, "sessions", sessions);
	sample = sample_new(answer, NULL, NULL, &why);
	ck_assert_msg(sample != NULL, "%s", why);
	return sample;
}

static struct sample *plain_sample(int n)
{
	return sample_from(0, n);
}

/* ---- what is drawn ---- */

static struct canvas canvas;
static struct ui ui;

static void render(int width, int height, bool utf8)
{
	canvas_deinit(&canvas);
	ck_assert(canvas_init(&canvas, width, height, utf8));
	draw(&canvas, &ui);
}

/* A line as text. */
static const char *line(int y)
{
	static char text[4 * 4 * CANVAS_MAX];
	size_t len = 0;
	int x, i;

	for (x = 0; x < canvas.width; x++)
		for (i = 0; canvas_at(&canvas, y, x)->text[i]; i++)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%lc",
						(wint_t)canvas_at(&canvas, y, x)->text[i]);
	text[len] = '\0';
	return text;
}

static bool screen_has(const char *what)
{
	int y;

	for (y = 0; y < canvas.height; y++)
		if (strstr(line(y), what))
			return true;
	return false;
}

/* What is wrong with a cell; NULL: nothing. Its width goes to *out_width. */
static const char *cell_wrong(int y, int x, bool utf8, int *out_width)
{
	const struct cell *cell = canvas_at(&canvas, y, x);
	int i;

	/* A right half is only ever behind its left one, which jumps over it. */
	*out_width = 1;
	if (!cell->text[0])
		return "half a character";
	*out_width = wcwidth(cell->text[0]);
	if (*out_width != 1 && *out_width != 2)
		return "without a width";
	if (!iswprint((wint_t)cell->text[0]) || (!utf8 && cell->text[0] >= 0x7f))
		return "not to be printed";
	if (cell->style >= N_STYLES)
		return "no style";
	for (i = 1; cell->text[i]; i++)
		if (i > CANVAS_ACCENTS || cell->text[i] < 0x300 || cell->text[i] > 0x36f)
			return "no accent";
	if (*out_width == 2 && (x + 1 >= canvas.width || canvas_at(&canvas, y, x + 1)->text[0]))
		return "a wide one without its right half";
	return NULL;
}

/* One assertion for all of them: each costs a system call. */
static void check_cells(bool utf8)
{
	const char *wrong = NULL;
	int y, x, width;

	for (y = 0; y < canvas.height && !wrong; y++)
		for (x = 0; x < canvas.width && !wrong; x += width)
			wrong = cell_wrong(y, x, utf8, &width);
	ck_assert_msg(!wrong, "%s at line %d of %dx%d: '%s'", wrong, y, canvas.width, canvas.height,
		      line(y - 1));
}

static void setup(void)
{
	seed = 88172645463325252ull;
	ui_init(&ui, 2);
}

static void teardown(void)
{
	canvas_deinit(&canvas);
	ui_deinit(&ui);
}

/* The property: random samples, sizes and keys; every cell can be shown. */
START_TEST(test_any_screen)
{
	static const int keys[] = { 'j',
				    'k',
				    'G',
				    'g',
				    's',
				    't',
				    'r',
				    '<',
				    '>',
				    '/',
				    'h',
				    'q',
				    'd',
				    'p',
				    '1',
				    '2',
				    '3',
				    '4',
				    'a',
				    '.',
				    0x65e5,
				    0x301,
				    UI_KEY_ENTER,
				    UI_KEY_ESCAPE,
				    UI_KEY_TAB,
				    UI_KEY_DOWN,
				    UI_KEY_UP,
				    UI_KEY_PAGE_DOWN,
				    UI_KEY_BACKSPACE,
				    UI_KEY_BASE,
				    UI_KEY_BACK_TAB,
				    1,
				    0x1f600 };
	struct sample *sample = NULL, *next;
	int round, n;

	seed += (uint64_t)_i * 7919;
	for (round = 0; round < 150; round++) {
		bool utf8 = random_below(3) > 0;

		if (random_below(3) == 0) {
			next = any_sample();
			ck_assert(ui_sample(&ui, next));
			sample_free(sample);
			sample = next;
		}
		if (random_below(10) == 0)
			snprintf(ui.away, sizeof(ui.away), "%s", any_name());
		for (n = (int)random_below(4); n > 0; n--)
			ui_press(&ui, keys[random_below(sizeof(keys) / sizeof(keys[0]))]);
		render((int)random_below(random_below(4) ? 100 : 400),
		       (int)random_below(random_below(4) ? 30 : 100), utf8);
		check_cells(utf8);
		ck_assert(ui.rows.n == 0 || ui.selected < ui.rows.n);
	}
	sample_free(sample);
}
END_TEST

/* Every size from 1x1 to beyond what there is to show, with nothing, one and many sessions. */
START_TEST(test_every_size)
{
	static const int counts[] = { 0, 1, 40 };
	struct sample *sample = plain_sample(counts[_i]);
	int width, height;

	ck_assert(ui_sample(&ui, sample));
	for (width = 1; width < 130; width += 1 + width / 20) {
		for (height = 1; height < 40; height++) {
			render(width, height, true);
			check_cells(true);
		}
	}
	sample_free(sample);
}
END_TEST

START_TEST(test_small)
{
	struct sample *sample = plain_sample(5);

	ck_assert(ui_sample(&ui, sample));
	render(10, 3, true);
	ck_assert_ptr_nonnull(strstr(line(0), "NAME"));
	ck_assert_ptr_nonnull(strstr(line(1), "engine0"));
	ck_assert_ptr_nonnull(strstr(line(2), "engine1"));
	sample_free(sample);
}
END_TEST

START_TEST(test_80_columns)
{
	static const char *const wanted[] = { "ID",  "NAME", "VRAM",  "HOST", "TOTAL", "STALL",
					      "HIT", "IN/s", "OUT/s", "POS",  "PACE",  "USER" };
	struct sample *sample = plain_sample(5);
	size_t i;

	ck_assert(ui_sample(&ui, sample));
	render(80, 24, false);
	for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		ck_assert_msg(screen_has(wanted[i]), "%s", wanted[i]);
	/* There is no swap file. */
	ck_assert(!screen_has("DISK") && !screen_has("disk"));
	ck_assert(screen_has("vram [||||||") && screen_has(" 512/1K     50%"));
	sample_free(sample);
}
END_TEST

/* ---- rows ---- */

static const char *name_at(size_t i)
{
	return ui.rows.rows[i].session->name;
}

START_TEST(test_sorting)
{
	struct sample *sample = plain_sample(4);

	ck_assert(ui_sample(&ui, sample));
	ck_assert_str_eq(name_at(0), "engine0"); /* vram, the most first */
	ui_press(&ui, 'r');
	ck_assert_str_eq(name_at(0), "engine3");
	ui_press(&ui, 'r');
	ui.choice.sort[VIEW_SESSIONS] = column_find("name", VIEW_SESSIONS);
	ui_press(&ui, 'r'); /* names begin with the least */
	ck_assert_str_eq(name_at(0), "engine3");
	/* What is not known is last in both directions, and in the daemon's order. */
	ui.choice.sort[VIEW_SESSIONS] = column_find("pace", VIEW_SESSIONS);
	ui_press(&ui, 'r');
	ck_assert_str_eq(name_at(0), "engine1");
	ck_assert_str_eq(name_at(1), "engine0");
	ui_press(&ui, 'r');
	ck_assert_str_eq(name_at(0), "engine1");
	ck_assert_str_eq(name_at(1), "engine0");
	ck_assert_int_eq(column_find("pace", VIEW_MODELS), -1);
	ck_assert_int_eq(column_find("bar", VIEW_SESSIONS), -1);
	sample_free(sample);
}
END_TEST

START_TEST(test_filter)
{
	struct sample *sample = plain_sample(12);
	const char *text = "ENGINE1";

	ck_assert(ui_sample(&ui, sample));
	for (ui_press(&ui, '/'); *text; text++)
		ui_press(&ui, *text);
	ck_assert_uint_eq(ui.rows.n, 3); /* 1, 10, 11 */
	ck_assert_uint_eq(ui.rows.n_all, 12);
	ui_press(&ui, UI_KEY_ENTER);
	render(80, 24, false);
	ck_assert(screen_has("has 'ENGINE1': 3 of 12"));
	ui_press(&ui, '/');
	ui_press(&ui, 'x');
	ck_assert_uint_eq(ui.rows.n, 0);
	render(80, 24, false);
	ck_assert(screen_has("none of 12 has 'ENGINE1x'"));
	ui_press(&ui, UI_KEY_ESCAPE); /* as it was before typing */
	ck_assert_uint_eq(ui.rows.n, 3);
	ui_press(&ui, UI_KEY_ESCAPE);
	ck_assert_uint_eq(ui.rows.n, 12);
	sample_free(sample);
}
END_TEST

START_TEST(test_tree)
{
	struct sample *sample = plain_sample(4);

	ck_assert(ui_sample(&ui, sample));
	ui_press(&ui, 't');
	ck_assert_uint_eq(ui.rows.n, 6);
	/* User 0 has 400 + 200, user 1 300 + 100. */
	ck_assert_int_eq(ui.rows.rows[0].kind, ROW_USER);
	ck_assert(ui.rows.rows[0].user->uid == 0);
	ck_assert(ui.rows.rows[0].user->tier[TIER_VRAM].resident == 600);
	ck_assert_str_eq(name_at(1), "engine0");
	ck_assert(ui.rows.rows[2].last && ui.rows.rows[2].child);
	ck_assert_int_eq(ui.rows.rows[3].kind, ROW_USER);
	ui_press(&ui, UI_KEY_ENTER); /* fold */
	ck_assert_uint_eq(ui.rows.n, 4);
	ck_assert_int_eq(ui.rows.rows[1].kind, ROW_USER);
	ui_press(&ui, UI_KEY_ENTER);
	ck_assert_uint_eq(ui.rows.n, 6);
	render(80, 24, false);
	ck_assert(screen_has("- 0 (2)") && screen_has("`- engine2"));
	sample_free(sample);
}
END_TEST

/* The cursor stays with its session when the order changes and others go. */
START_TEST(test_cursor_follows)
{
	struct sample *sample = plain_sample(6), *next = sample_from(2, 4);

	ck_assert(ui_sample(&ui, sample));
	ui_press(&ui, 'j');
	ui_press(&ui, 'j');
	ck_assert_str_eq(ui_selected(&ui)->session->name, "engine2");
	ck_assert(ui_sample(&ui, next));
	ck_assert_str_eq(ui_selected(&ui)->session->name, "engine2");
	sample_free(sample);
	sample = plain_sample(1); /* it is gone */
	ck_assert(ui_sample(&ui, sample));
	ck_assert_str_eq(ui_selected(&ui)->session->name, "engine0");
	sample_free(next);
	sample_free(sample);
}
END_TEST

START_TEST(test_details_of_what_goes)
{
	struct sample *sample = plain_sample(3), *next = plain_sample(1);

	ck_assert(ui_sample(&ui, sample));
	ui_press(&ui, UI_KEY_END);
	ui_press(&ui, UI_KEY_ENTER);
	ck_assert_int_eq(ui.mode, UI_DETAIL);
	render(80, 24, false);
	ck_assert(screen_has("Session 3: engine2") && screen_has("process 1002"));
	ck_assert(ui_sample(&ui, next));
	ck_assert_int_eq(ui.mode, UI_LIST);
	render(80, 24, false);
	ck_assert(screen_has("it is gone"));
	sample_free(sample);
	sample_free(next);
}
END_TEST

/* Narrower by and by: never wider than asked, the name never goes, and what is sorted by is the last but few. */
START_TEST(test_columns_fit)
{
	struct sample *sample = plain_sample(3);
	struct view_columns list;
	int width, i, sum, view;
	bool name, sorted;

	ck_assert(ui_sample(&ui, sample));
	ui.choice.sort[VIEW_SESSIONS] = column_find("passes", VIEW_SESSIONS);
	for (view = 0; view < N_VIEWS; view++) {
		ui.choice.view = (enum view)view;
		for (width = 1; width < 250; width++) {
			view_columns(&list, sample, &ui.choice, NULL, width);
			sum = list.n - 1;
			name = sorted = false;
			for (i = 0; i < list.n; i++) {
				sum += list.at[i].width;
				name |= !strcmp(top_columns[list.at[i].column].name, "name");
				sorted |= list.at[i].column == ui.choice.sort[view];
			}
			ck_assert_int_le(sum, width);
			ck_assert(name);
			ck_assert(sorted || width < 25 || view != VIEW_SESSIONS);
		}
	}
	sample_free(sample);
}
END_TEST

START_TEST(test_interval)
{
	struct sample *sample = plain_sample(1);

	ck_assert(ui_sample(&ui, sample));
	ui_press(&ui, 'd');
	ui_press(&ui, '0');
	ui_press(&ui, 'x'); /* is no part of a number */
	ui_press(&ui, '.');
	ui_press(&ui, '5');
	ui_press(&ui, UI_KEY_ENTER);
	ck_assert(ui.interval_s == 0.5 && ui.refresh);
	ui_press(&ui, 'd');
	ui_press(&ui, '0');
	ui_press(&ui, UI_KEY_ENTER);
	ck_assert(ui.interval_s == 0.5 && *ui.message);
	sample_free(sample);
}
END_TEST

/* ---- texts ---- */

START_TEST(test_numbers)
{
	static const struct {
		double number;
		const char *bytes, *percent, *time;
	} shown[] = {
		{ 0, "0", "0%", "0ns" },
		{ 1, "1", "1.0%", "1ns" },
		{ 0.01, "0", "0.1%", "0ns" },
		{ 99.99, "100", "99%", "100ns" },
		{ 1023, "1023", "1023%", "1us" },
		{ 1024, "1K", "1024%", "1us" },
		{ 1.5 * 1024 * 1024, "1.5M", NULL, "2ms" },
		{ 1024.0 * 1024 * 1024 - 1, "1G", NULL, "1.07s" },
		{ 100.5 * 1024 * 1024, NULL, NULL, "105ms" },
		{ 65e9, NULL, NULL, "1m05s" },
		{ 700e9, NULL, NULL, "11m" },
		{ 4000e9, NULL, NULL, "1h06m" },
		{ 90000e9, NULL, NULL, "25h" },
		{ 1e15, NULL, NULL, "11d" },
	};
	char buf[FORMAT_MAX];

	if (shown[_i].bytes)
		ck_assert_str_eq(format_bytes(buf, shown[_i].number), shown[_i].bytes);
	if (shown[_i].percent)
		ck_assert_str_eq(format_percent(buf, shown[_i].number), shown[_i].percent);
	if (shown[_i].time)
		ck_assert_str_eq(format_time(buf, shown[_i].number), shown[_i].time);
	ck_assert_str_eq(format_bytes(buf, (double)NAN), "-");
	ck_assert_str_eq(format_bytes(buf, (double)INFINITY), "max");
}
END_TEST

/* In five columns, whatever it is that is likely. */
START_TEST(test_number_widths)
{
	char buf[FORMAT_MAX];
	double number;

	for (number = 0.001; number < 1e17; number *= 1.0137) {
		ck_assert_uint_le(strlen(format_bytes(buf, number)), 5);
		ck_assert_uint_le(strlen(format_count(buf, number)), 5);
		ck_assert_uint_le(strlen(format_time(buf, number)), 5);
	}
	for (number = 0; number <= 100; number += 0.013)
		ck_assert_uint_le(strlen(format_percent(buf, number)), 4);
}
END_TEST

START_TEST(test_texts)
{
	static const struct {
		const char *text, *utf8, *ascii;
		int width;
	} put[] = {
		{ "plain", "plain", "plain", 5 },
		{ "\x1b[1m", "?[1m", "?[1m", 4 },
		{ "\u65e5\u672c", "\u65e5\u672c", "??", 4 },
		{ "e\u0301x", "e\u0301x", "ex", 2 },
		{ "\u0301x", "x", NULL, 1 },
		{ "a\u202eb", "ab", NULL, 2 },
		{ "\xff\xc3z", "??z", "??z", 3 },
		{ "\xe6\x97", "??", "??", 2 }, /* ends in the middle */
	};
	char text[64] = "";
	int x, i;

	ck_assert_int_eq(text_width(put[_i].text, true), put[_i].width);
	ck_assert(canvas_init(&canvas, 20, 1, true));
	ck_assert_int_eq(canvas_put(&canvas, 0, 0, 20, STYLE_PLAIN, put[_i].text), put[_i].width);
	for (x = 0; x < put[_i].width; x++)
		for (i = 0; canvas_at(&canvas, 0, x)->text[i]; i++)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%lc",
				 (wint_t)canvas_at(&canvas, 0, x)->text[i]);
	ck_assert_str_eq(text, put[_i].utf8);
	if (put[_i].ascii) {
		render(20, 1, false);
		canvas_fill(&canvas, 0, 0, 20, STYLE_PLAIN);
		canvas_put(&canvas, 0, 0, 20, STYLE_PLAIN, put[_i].ascii);
		snprintf(text, sizeof(text), "%s", line(0));
		canvas_fill(&canvas, 0, 0, 20, STYLE_PLAIN);
		canvas_put(&canvas, 0, 0, 20, STYLE_PLAIN, put[_i].text);
		ck_assert_str_eq(line(0), text);
	}
}
END_TEST

/* A wide character does not hang over an edge, and half of one is never left. */
START_TEST(test_wide)
{
	ck_assert(canvas_init(&canvas, 5, 1, true));
	ck_assert_int_eq(canvas_put(&canvas, 0, 0, 3, STYLE_PLAIN, "\u65e5\u672c"), 3);
	ck_assert_str_eq(line(0), "\u65e5   ");
	canvas_put(&canvas, 0, 3, 2, STYLE_PLAIN, "\u672c");
	canvas_put(&canvas, 0, 4, 1, STYLE_PLAIN, "x");
	ck_assert_str_eq(line(0), "\u65e5  x");
	canvas_put(&canvas, 0, 0, 1, STYLE_PLAIN, "y");
	ck_assert_str_eq(line(0), "y   x");
	canvas_put(&canvas, 0, -1, 4, STYLE_PLAIN, "\u65e5z");
	check_cells(true);
}
END_TEST

/* Of a path the end says more. */
START_TEST(test_paths)
{
	ck_assert(canvas_init(&canvas, 16, 1, false));
	canvas_put_path(&canvas, 0, 0, 16, STYLE_PLAIN, "exe:/usr/bin/a");
	ck_assert_str_eq(line(0), "exe:/usr/bin/a  ");
	canvas_put_path(&canvas, 0, 0, 16, STYLE_PLAIN, "exe:/opt/engines/bin/walk");
	ck_assert_str_eq(line(0), "exe:~es/bin/walk");
	canvas_put_path(&canvas, 0, 0, 16, STYLE_PLAIN, "/opt/engines/bin/walker");
	ck_assert_str_eq(line(0), "~ines/bin/walker");
	canvas_fill(&canvas, 0, 0, 16, STYLE_PLAIN);
	ck_assert_int_eq(canvas_put_path(&canvas, 0, 0, 5, STYLE_PLAIN, "exe:/opt/walk"), 5);
	ck_assert_str_eq(line(0), "~walk           ");
}
END_TEST

START_TEST(test_bars)
{
	ck_assert(canvas_init(&canvas, 12, 1, false));
	canvas_bar(&canvas, 0, 0, 12, STYLE_FULL, 0.5);
	ck_assert_str_eq(line(0), "[|||||     ]");
	canvas_bar(&canvas, 0, 0, 12, STYLE_FULL, 0.0001); /* not nothing */
	ck_assert_str_eq(line(0), "[|         ]");
	canvas_bar(&canvas, 0, 0, 12, STYLE_FULL, 0.9999); /* not all */
	ck_assert_str_eq(line(0), "[||||||||| ]");
	canvas_bar(&canvas, 0, 0, 12, STYLE_FULL, 1);
	ck_assert_str_eq(line(0), "[||||||||||]");
	canvas_bar(&canvas, 0, 0, 12, STYLE_FULL, (double)NAN);
	ck_assert_str_eq(line(0), "[          ]");
	canvas_bar(&canvas, 0, 0, 12, STYLE_FULL, 1e300);
	ck_assert_str_eq(line(0), "[||||||||||]");
	canvas_deinit(&canvas);
	ck_assert(canvas_init(&canvas, 4, 1, true));
	canvas_bar(&canvas, 0, 0, 4, STYLE_FULL, 0.75);
	ck_assert_str_eq(line(0), "[\u2588\u258c]");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vramtop_draw");
	TCase *tcase = tcase_create("all");
	SRunner *runner;
	int failed;

	/* What is wide and what can be printed is the locale's to say. */
	if (!setlocale(LC_CTYPE, "C.UTF-8")) {
		printf("there is no locale C.UTF-8\n");
		return 77;
	}
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, test_any_screen, 0, 8);
	tcase_add_loop_test(tcase, test_every_size, 0, 3);
	tcase_add_test(tcase, test_small);
	tcase_add_test(tcase, test_80_columns);
	tcase_add_test(tcase, test_sorting);
	tcase_add_test(tcase, test_filter);
	tcase_add_test(tcase, test_tree);
	tcase_add_test(tcase, test_cursor_follows);
	tcase_add_test(tcase, test_details_of_what_goes);
	tcase_add_test(tcase, test_columns_fit);
	tcase_add_test(tcase, test_interval);
	tcase_add_loop_test(tcase, test_numbers, 0, 14);
	tcase_add_test(tcase, test_number_widths);
	tcase_add_loop_test(tcase, test_texts, 0, 8);
	tcase_add_test(tcase, test_wide);
	tcase_add_test(tcase, test_paths);
	tcase_add_test(tcase, test_bars);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
