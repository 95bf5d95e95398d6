// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtop/ui.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CTRL(c) ((c)&0x1f)

const struct ui_key ui_keys[] = {
	{ "Up, Down, j, k", "move the cursor; also PageUp, PageDown, Home, End" },
	{ "Enter", "all about what is at the cursor; a user of the tree: fold" },
	{ "Tab, 1 to 4", "the next view: sessions, tenants, models, queue" },
	{ "s", "choose the column to sort by" },
	{ "<, >", "sort by the column before, or after" },
	{ "r", "reverse the order" },
	{ "/", "only what has a text in name, user or state; Esc: all" },
	{ "t", "sessions below their users, as a tree" },
	{ "p, Space", "stand still, and go on" },
	{ "d", "the seconds between samples; 0.1 to 3600" },
	{ "h, ?, F1", "the help" },
	{ "q, F10", "leave what is shown, or vramtop; Ctrl-C: at once" },
	{ NULL, NULL },
};

void ui_init(struct ui *ui, double interval_s)
{
	memset(ui, 0, sizeof(*ui));
	view_choice_init(&ui->choice);
	ui->interval_s = interval_s;
	ui->page = 1;
}

void ui_deinit(struct ui *ui)
{
	view_rows_deinit(&ui->rows);
}

static void say(struct ui *ui, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct ui *ui, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(ui->message, sizeof(ui->message), format, args);
	va_end(args);
}

const struct row *ui_selected(const struct ui *ui)
{
	return ui->selected < ui->rows.n ? &ui->rows.rows[ui->selected] : NULL;
}

/* ---- rows ---- */

/* Puts the cursor where it was. Return: false if what it was at is gone. */
static bool follow(struct ui *ui, const struct view_rows *before)
{
	const struct row *old = ui->selected < before->n ? &before->rows[ui->selected] : NULL;
	size_t i;

	for (i = 0; old && i < ui->rows.n; i++) {
		if (view_same(old, &ui->rows.rows[i])) {
			ui->selected = i;
			return true;
		}
	}
	if (ui->selected >= ui->rows.n)
		ui->selected = ui->rows.n ? ui->rows.n - 1 : 0;
	return !old;
}

static bool rows_again(struct ui *ui, const struct sample *sample)
{
	struct view_rows before = ui->rows, rows;

	if (!view_rows_init(&rows, sample, &ui->choice))
		return false;
	ui->rows = rows;
	/* At the top it stays at the top: who moves up there is what one wants to see. */
	if (ui->selected == 0 && ui->mode != UI_DETAIL)
		ui->selected = 0;
	else if (!follow(ui, &before) && ui->mode == UI_DETAIL)
		ui->mode = UI_LIST, say(ui, "it is gone");
	view_rows_deinit(&before);
	return true;
}

bool ui_sample(struct ui *ui, const struct sample *sample)
{
	if (!rows_again(ui, sample))
		return false;
	ui->sample = sample;
	ui->away[0] = '\0';
	return true;
}

/* After another choice. */
static void choose(struct ui *ui)
{
	if (ui->sample && !rows_again(ui, ui->sample))
		say(ui, "out of memory");
}

/* ---- keys ---- */

static void show_view(struct ui *ui, enum view view)
{
	ui->choice.view = view;
	ui->mode = UI_LIST;
	ui->selected = ui->top = 0;
	choose(ui);
}

static void sort_by(struct ui *ui, int column)
{
	enum view view = ui->choice.view;

	ui->choice.sort[view] = column;
	ui->choice.reverse[view] = false;
	ui->selected = ui->top = 0;
	choose(ui);
}

static void enter(struct ui *ui)
{
	const struct row *row = ui_selected(ui);

	if (!row)
		return;
	if (row->kind == ROW_USER) {
		view_toggle_collapsed(&ui->choice, row->user->uid);
		choose(ui);
		return;
	}
	ui->mode = UI_DETAIL;
	ui->scroll = 0;
}

static void move(struct ui *ui, long by)
{
	long at = (long)ui->selected + by, last = (long)ui->rows.n - 1;

	at = at > last ? last : at;
	ui->selected = at < 0 ? 0 : (size_t)at;
}

static bool press_move(struct ui *ui, int key)
{
	long page = ui->page > 1 ? (long)ui->page - 1 : 1;

	switch (key) {
	case UI_KEY_UP:
	case 'k':
		move(ui, -1);
		return true;
	case UI_KEY_DOWN:
	case 'j':
		move(ui, 1);
		return true;
	case UI_KEY_PAGE_UP:
	case CTRL('b'):
		move(ui, -page);
		return true;
	case UI_KEY_PAGE_DOWN:
	case CTRL('f'):
		move(ui, page);
		return true;
	case UI_KEY_HOME:
	case 'g':
		move(ui, -(long)ui->rows.n);
		return true;
	case UI_KEY_END:
	case 'G':
		move(ui, (long)ui->rows.n);
		return true;
	}
	return false;
}

static void press_list(struct ui *ui, int key)
{
	enum view view = ui->choice.view;

	if (press_move(ui, key))
		return;
	switch (key) {
	case UI_KEY_ENTER:
	case UI_KEY_RIGHT:
		enter(ui);
		break;
	case UI_KEY_TAB:
		show_view(ui, (view + 1) % N_VIEWS);
		break;
	case UI_KEY_BACK_TAB:
		show_view(ui, (view + N_VIEWS - 1) % N_VIEWS);
		break;
	case '1':
	case '2':
	case '3':
	case '4':
		show_view(ui, (enum view)(key - '1'));
		break;
	case 's':
		ui->menu = ui->choice.sort[view];
		ui->mode = UI_SORT;
		break;
	case '<':
		sort_by(ui, column_next(ui->choice.sort[view], view, -1));
		break;
	case '>':
		sort_by(ui, column_next(ui->choice.sort[view], view, 1));
		break;
	case 'r':
		ui->choice.reverse[view] = !ui->choice.reverse[view];
		ui->selected = ui->top = 0;
		choose(ui);
		break;
	case 't':
		ui->choice.tree = !ui->choice.tree;
		show_view(ui, VIEW_SESSIONS);
		break;
	case '/':
		memcpy(ui->input, ui->choice.filter, sizeof(ui->input));
		ui->mode = UI_FILTER;
		break;
	case UI_KEY_ESCAPE:
		ui->choice.filter[0] = '\0';
		choose(ui);
		break;
	case 'q':
		ui->quit = true;
		break;
	}
}

/* Help and details: lines that scroll. */
static void press_pages(struct ui *ui, int key)
{
	int page = ui->page > 1 ? (int)ui->page - 1 : 1;

	switch (key) {
	case UI_KEY_UP:
	case 'k':
		ui->scroll--;
		break;
	case UI_KEY_DOWN:
	case 'j':
		ui->scroll++;
		break;
	case UI_KEY_PAGE_UP:
		ui->scroll -= page;
		break;
	case UI_KEY_PAGE_DOWN:
		ui->scroll += page;
		break;
	case UI_KEY_HOME:
		ui->scroll = 0;
		break;
	case UI_KEY_END:
		ui->scroll = ui->scroll_max;
		break;
	case 'q':
	case UI_KEY_ESCAPE:
	case UI_KEY_LEFT:
	case UI_KEY_BACKSPACE:
	case UI_KEY_ENTER:
		ui->mode = UI_LIST;
		break;
	case UI_KEY_TAB:
	case '1':
	case '2':
	case '3':
	case '4':
		ui->mode = UI_LIST;
		press_list(ui, key);
		break;
	}
	if (ui->scroll > ui->scroll_max)
		ui->scroll = ui->scroll_max;
	if (ui->scroll < 0)
		ui->scroll = 0;
}

static void press_sort(struct ui *ui, int key)
{
	switch (key) {
	case UI_KEY_UP:
	case 'k':
		ui->menu = column_next(ui->menu, ui->choice.view, -1);
		break;
	case UI_KEY_DOWN:
	case 'j':
		ui->menu = column_next(ui->menu, ui->choice.view, 1);
		break;
	case UI_KEY_ENTER:
	case 's':
		ui->mode = UI_LIST;
		sort_by(ui, ui->menu);
		break;
	case UI_KEY_ESCAPE:
	case UI_KEY_LEFT:
	case 'q':
		ui->mode = UI_LIST;
		break;
	}
}

/* ---- typing ---- */

static void type(char *text, size_t size, int key)
{
	size_t len = strlen(text);
	char utf8[5] = "";

	if (key == UI_KEY_BACKSPACE || key == CTRL('h')) {
		while (len > 0 && ((unsigned char)text[len - 1] & 0xc0) == 0x80)
			len--;
		text[len > 0 ? len - 1 : 0] = '\0';
	} else if (key == CTRL('u')) {
		text[0] = '\0';
	} else if (key >= 0x20 && key != 0x7f && key < UI_KEY_BASE) {
		if (key < 0x80) {
			utf8[0] = (char)key;
		} else if (key < 0x800) {
			utf8[0] = (char)(0xc0 | key >> 6);
			utf8[1] = (char)(0x80 | (key & 0x3f));
		} else if (key < 0x10000) {
			utf8[0] = (char)(0xe0 | key >> 12);
			utf8[1] = (char)(0x80 | (key >> 6 & 0x3f));
			utf8[2] = (char)(0x80 | (key & 0x3f));
		} else {
			utf8[0] = (char)(0xf0 | key >> 18);
			utf8[1] = (char)(0x80 | (key >> 12 & 0x3f));
			utf8[2] = (char)(0x80 | (key >> 6 & 0x3f));
			utf8[3] = (char)(0x80 | (key & 0x3f));
		}
		if (len + strlen(utf8) < size)
			strcat(text, utf8);
	}
}

static void press_filter(struct ui *ui, int key)
{
	switch (key) {
	case UI_KEY_ENTER:
		ui->mode = UI_LIST;
		break;
	case UI_KEY_ESCAPE: /* as it was */
		memcpy(ui->choice.filter, ui->input, sizeof(ui->choice.filter));
		ui->mode = UI_LIST;
		choose(ui);
		break;
	default:
		type(ui->choice.filter, sizeof(ui->choice.filter), key);
		choose(ui);
	}
}

static void press_interval(struct ui *ui, int key)
{
	double seconds;
	char *end;

	if (key == UI_KEY_ESCAPE || (key == UI_KEY_ENTER && !ui->input[0])) {
		ui->mode = UI_LIST;
	} else if (key == UI_KEY_ENTER) {
		seconds = strtod(ui->input, &end);
		ui->mode = UI_LIST;
		if (*end || !(seconds >= UI_INTERVAL_MIN && seconds <= UI_INTERVAL_MAX)) {
			say(ui, "'%s': from %.1f to %.0f seconds", ui->input, UI_INTERVAL_MIN,
			    UI_INTERVAL_MAX);
			return;
		}
		ui->interval_s = seconds;
		ui->refresh = true;
	} else if (key > 0x7e || (key >= '0' && key <= '9') || key == '.' || key < 0x20) {
		type(ui->input, 8, key);
	}
}

void ui_press(struct ui *ui, int key)
{
	ui->message[0] = '\0';
	switch (ui->mode) {
	case UI_FILTER:
		press_filter(ui, key);
		return;
	case UI_INTERVAL:
		press_interval(ui, key);
		return;
	case UI_SORT:
		press_sort(ui, key);
		return;
	case UI_LIST:
	case UI_DETAIL:
	case UI_HELP:
		break;
	}
	switch (key) {
	case 'h':
	case '?':
		ui->mode = ui->mode == UI_HELP ? UI_LIST : UI_HELP;
		ui->scroll = 0;
		return;
	case 'p':
	case ' ':
		ui->paused = !ui->paused;
		ui->refresh = !ui->paused;
		return;
	case 'd':
		ui->input[0] = '\0';
		ui->mode = UI_INTERVAL;
		return;
	}
	if (ui->mode == UI_LIST)
		press_list(ui, key);
	else
		press_pages(ui, key);
}
