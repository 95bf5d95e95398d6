// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtop/draw.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tools/vramtop/format.h"

#define TENANTS_MAX 8
/* Percent of the time; from here on waiting is worth a colour. */
#define STALL_WARN 10.0

struct frame {
	struct canvas *canvas;
	struct ui *ui;
	const struct sample *sample;
	int y, end; /* the next free line, and the first that is not */
};

/* ---- the title ---- */

/* Adds to the title what there is room for as a whole. */
static void add(char *text, size_t room, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void add(char *text, size_t room, const char *format, ...)
{
	char more[256];
	va_list args;

	va_start(args, format);
	vsnprintf(more, sizeof(more), format, args);
	va_end(args);
	if (strlen(text) + strlen(more) <= room)
		strcat(text, more);
}

/* text has room for more than `room`. */
static void title_text(const struct frame *frame, char *text, size_t room)
{
	const struct sample *sample = frame->sample;
	char number[FORMAT_MAX];

	strcpy(text, "vramtop");
	if (!sample)
		return;
	add(text, room, "  vramd %.64s, up %s", sample->version,
	    format_time(number, sample->uptime_ns));
	add(text, room, "  %zu session%s", sample->n_sessions, sample->n_sessions == 1 ? "" : "s");
	if (sample->n_queue > 0)
		add(text, room, ", %zu queued", sample->n_queue);
	if (sample->others_sessions > 0)
		add(text, room, " (+%.0f of others)", sample->others_sessions);
	add(text, room, "  ledger: %.64s", *sample->ledger ? sample->ledger : "-");
}

static void draw_away(struct frame *frame)
{
	const struct ui *ui = frame->ui;
	struct canvas *canvas = frame->canvas;
	char age[FORMAT_MAX];
	int x;

	canvas_fill(canvas, frame->y, 0, canvas->width, STYLE_ALERT);
	x = canvas_put(canvas, frame->y, 0, canvas->width, STYLE_ALERT, ui->away);
	if (frame->sample)
		canvas_printf(canvas, frame->y, x, canvas->width - x, STYLE_ALERT,
			      "; this is %s old", format_time(age, ui->age_s * 1e9));
	frame->y++;
}

static void draw_title(struct frame *frame)
{
	const struct ui *ui = frame->ui;
	struct canvas *canvas = frame->canvas;
	char text[512], right[64];
	int wide, room;

	if (*ui->away) {
		draw_away(frame);
		return;
	}
	if (ui->paused)
		snprintf(right, sizeof(right), "PAUSED");
	else
		snprintf(right, sizeof(right), "%s%s%gs", ui->clock, *ui->clock ? " " : "",
			 ui->interval_s);
	wide = (int)strlen(right);
	room = canvas->width - wide - 2;
	if (room < 9)
		room = canvas->width;
	title_text(frame, text, room > 400 ? 400 : (size_t)room);
	canvas_put(canvas, frame->y, 0, canvas->width, STYLE_BOLD, text);
	if (room < canvas->width)
		canvas_put(canvas, frame->y, canvas->width - wide, wide,
			   ui->paused ? STYLE_WARN : STYLE_DIM, right);
	frame->y++;
}

/* ---- devices ---- */

void draw_bar_of(struct canvas *canvas, int y, int x, int width, enum style style, double of,
		 double whole)
{
	char text[96], used[FORMAT_MAX], size[FORMAT_MAX], part[FORMAT_MAX];
	double percent = whole > 0 ? 100 * of / whole : (double)NAN;
	int wide;

	format_bytes(used, of);
	format_bytes(size, whole);
	format_percent(part, percent);
	/* Numbers below each other stand in columns. */
	if (width >= 30)
		snprintf(text, sizeof(text), " %5s/%-5s %4s", used, size, part);
	else if (width >= 22)
		snprintf(text, sizeof(text), " %5s/%-5s", used, size);
	else
		snprintf(text, sizeof(text), " %4s", part);
	wide = width >= 10 ? (int)strlen(text) : 0;
	canvas_bar(canvas, y, x, width - wide, style, percent / 100);
	canvas_put(canvas, y, x + width - wide, wide, STYLE_BOLD, text);
}

enum style draw_part_style(double part)
{
	return !(part >= 0.7) ? STYLE_FULL : part < 0.95 ? STYLE_FULLER : STYLE_FULLEST;
}

enum style draw_wait_style(double percent)
{
	return !(percent >= STALL_WARN) ? STYLE_FULL : percent < 50 ? STYLE_FULLER : STYLE_FULLEST;
}

/* The device and the host tier are there to be full; swap that is full is the end. */
static enum style tier_style(const struct top_device *device, int tier)
{
	if (tier == TIER_DISK)
		return draw_part_style(device->tier[tier].used / device->tier[tier].size);
	return draw_wait_style(device->pressure.some.avg10);
}

static int count_tiers(const struct top_device *device)
{
	int n = 0, t;

	for (t = 0; t < N_TIERS; t++)
		n += device->tier[t].there;
	return n;
}

/* "name value", with a look that says whether it matters. Return: where the next one begins. */
static int draw_fact(struct frame *frame, int x, const char *name, const char *value,
		     enum style style)
{
	struct canvas *canvas = frame->canvas;

	if (x + (int)strlen(name) + (int)strlen(value) + 1 > canvas->width)
		return x;
	x += canvas_put(canvas, frame->y, x, canvas->width - x, STYLE_DIM, name) + 1;
	x += canvas_put(canvas, frame->y, x, canvas->width - x, style, value);
	return x + 2;
}

static const char *per_second(char buf[FORMAT_MAX], const char *number)
{
	size_t len = strlen(number);

	if (number != buf)
		memmove(buf, number, len + 1);
	return len + 3 <= FORMAT_MAX ? strcat(buf, "/s") : buf;
}

static void draw_device_facts(struct frame *frame, const struct top_device *device)
{
	const struct rates *rates = &device->rates;
	struct canvas *canvas = frame->canvas;
	char text[FORMAT_MAX];
	int x, name = canvas->width / 3 < 8 ? 8 : canvas->width / 3;

	x = canvas_printf(canvas, frame->y, 0, name, STYLE_BOLD, "%.0f %s", device->index,
			  *device->name ? device->name : device->backend);
	x += 2;
	if (device->held)
		x = draw_fact(frame, x, "held,", "drained", STYLE_WARN);
	x = draw_fact(frame, x, "in", per_second(text, format_bytes(text, rates->in)), STYLE_BOLD);
	x = draw_fact(frame, x, "out", per_second(text, format_bytes(text, rates->out)),
		      STYLE_BOLD);
	x = draw_fact(frame, x, "stall", format_percent(text, rates->stall),
		      rates->stall >= STALL_WARN ? STYLE_WARN : STYLE_BOLD);
	x = draw_fact(frame, x, "some", format_percent(text, device->pressure.some.avg10),
		      device->pressure.some.avg10 >= STALL_WARN ? STYLE_WARN : STYLE_BOLD);
	x = draw_fact(frame, x, "full", format_percent(text, device->pressure.full.avg10),
		      device->pressure.full.avg10 >= STALL_WARN ? STYLE_WARN : STYLE_BOLD);
	if (!(device->waiting <= 0))
		x = draw_fact(frame, x, "waiting", format_count(text, device->waiting), STYLE_WARN);
	x = draw_fact(frame, x, "faults", per_second(text, format_count(text, rates->faults)),
		      STYLE_BOLD);
	x = draw_fact(frame, x, "written", per_second(text, format_bytes(text, rates->written)),
		      STYLE_BOLD);
	x = draw_fact(frame, x, "peak", format_bytes(text, device->peak), STYLE_BOLD);
	(void)draw_fact(frame, x, "inflight", format_bytes(text, device->inflight), STYLE_BOLD);
	frame->y++;
}

/* Bars beside each other, or below. Return: how many lines it takes (with lines > 0) or took. */
static int draw_bars(struct frame *frame, const struct top_device *device, int lines)
{
	struct canvas *canvas = frame->canvas;
	int n = count_tiers(device), abreast, width, i = 0, t;

	if (n == 0)
		return 0;
	abreast = lines >= n && canvas->width < 40 * n ? 1 : n;
	width = (canvas->width + 1) / abreast - 1;
	for (t = 0; t < N_TIERS && i / abreast < lines; t++) {
		int x, y;

		if (!device->tier[t].there)
			continue;
		x = i % abreast * (width + 1);
		y = frame->y + i / abreast;
		i++;
		if (width >= 16) {
			canvas_put(canvas, y, x, 4, STYLE_DIM, tier_names[t]);
			draw_bar_of(canvas, y, x + 5, width - 5, tier_style(device, t),
				    device->tier[t].used, device->tier[t].size);
		} else {
			draw_bar_of(canvas, y, x, width, tier_style(device, t),
				    device->tier[t].used, device->tier[t].size);
		}
	}
	return (i + abreast - 1) / abreast;
}

static void draw_devices(struct frame *frame)
{
	const struct sample *sample = frame->sample;
	/* At most half of the screen is not the table's. */
	int room = (frame->end - frame->y) / 2;
	size_t i;

	for (i = 0; i < sample->n_devices && room > 0; i++) {
		int tiers = count_tiers(&sample->devices[i]), took;

		if (room > 1) {
			draw_device_facts(frame, &sample->devices[i]);
			room--;
		}
		took = draw_bars(frame, &sample->devices[i], room < tiers ? room : tiers);
		frame->y += took;
		room -= took;
	}
}

/* ---- tables ---- */

/* Cut texts end with a sign that they go on. */
static void draw_text(struct canvas *canvas, int y, int x, int width, enum style style,
		      const char *text)
{
	bool cut = width > 2 && text_width(text, canvas->utf8) > width;

	if (cut && strchr(text, '/')) {
		canvas_put_path(canvas, y, x, width, style, text);
		return;
	}
	canvas_put(canvas, y, x, cut ? width - 1 : width, style, text);
	if (cut)
		canvas_put(canvas, y, x + width - 1, 1, STYLE_DIM, canvas->utf8 ? "\u2026" : "~");
}

static enum style cell_style(const struct row *row, const struct value *value, const char *column)
{
	if (value->type == VALUE_TEXT) {
		if (!strcmp(column, "state") && !strcmp(value->text, "stalled"))
			return STYLE_WARN;
		return row->kind == ROW_USER ? STYLE_BOLD : STYLE_PLAIN;
	}
	if (isnan(value->number))
		return STYLE_DIM;
	if (!strcmp(column, "stall") && value->number >= STALL_WARN)
		return STYLE_WARN;
	if (!strcmp(column, "over") && value->number > 0)
		return STYLE_ALERT;
	return row->kind == ROW_USER ? STYLE_BOLD : STYLE_PLAIN;
}

/* The name of a user above its sessions, or of a session below. */
static int draw_tree(struct canvas *canvas, int y, int x, int width, const struct row *row)
{
	if (row->kind == ROW_USER)
		return canvas_put(canvas, y, x, width, STYLE_BOLD, row->collapsed ? "+ " : "- ");
	if (!row->child)
		return 0;
	if (canvas->utf8)
		return canvas_put(canvas, y, x, width, STYLE_DIM,
				  row->last ? "\u2514\u2500 " : "\u251c\u2500 ");
	return canvas_put(canvas, y, x, width, STYLE_DIM, row->last ? "`- " : "|- ");
}

static void draw_row(struct frame *frame, const struct row *row, const struct view_columns *list,
		     bool selected)
{
	struct canvas *canvas = frame->canvas;
	char buf[64], name[128];
	int x = 0, i;

	for (i = 0; i < list->n && x < canvas->width; i++) {
		const struct column *column = &top_columns[list->at[i].column];
		int width = list->at[i].width;
		struct value value = column_value(list->at[i].column, row);
		const char *text = value_text(&value, buf, sizeof(buf));
		enum style style = cell_style(row, &value, column->name);

		if (column->bar) {
			canvas_bar(canvas, frame->y, x, width - 5, STYLE_FULL, value.number);
			canvas_put_right(canvas, frame->y, x + width - 4, 4, style, text);
		} else if (column->left) {
			int indent = 0;

			if (!strcmp(column->name, "name")) {
				indent = draw_tree(canvas, frame->y, x, width, row);
				if (row->kind == ROW_USER) {
					snprintf(name, sizeof(name), "%.60s (%zu)", text,
						 row->user->n_sessions);
					text = name;
				}
			}
			draw_text(canvas, frame->y, x + indent, width - indent, style, text);
		} else {
			canvas_put_right(canvas, frame->y, x, width, style, text);
		}
		x += width + 1;
	}
	if (selected)
		canvas_restyle(canvas, frame->y, 0, canvas->width, STYLE_SELECTED);
	frame->y++;
}

static void draw_titles(struct frame *frame, const struct view_columns *list, int sorted)
{
	struct canvas *canvas = frame->canvas;
	int x = 0, i;

	canvas_fill(canvas, frame->y, 0, canvas->width, STYLE_TITLE);
	for (i = 0; i < list->n && x < canvas->width; i++) {
		const struct column *column = &top_columns[list->at[i].column];
		int width = list->at[i].width;
		enum style style = list->at[i].column == sorted ? STYLE_SELECTED : STYLE_TITLE;

		if (column->left)
			canvas_put(canvas, frame->y, x, width, style, column->title);
		else
			canvas_put_right(canvas, frame->y, x, width, style, column->title);
		x += width + 1;
	}
	frame->y++;
}

/* Above the sessions: whoever has most. */
static void draw_tenants(struct frame *frame)
{
	struct view_choice choice = frame->ui->choice;
	struct view_columns list;
	struct view_rows rows;
	int lines = (frame->end - frame->y - 6) / 2, i;

	if (choice.view != VIEW_SESSIONS || choice.tree || lines < 2)
		return;
	choice.view = VIEW_TENANTS;
	choice.filter[0] = '\0';
	if (!view_rows_init(&rows, frame->sample, &choice))
		return;
	if (rows.n > 0) {
		lines = lines > TENANTS_MAX + 1 ? TENANTS_MAX + 1 : lines;
		view_columns(&list, frame->sample, &choice, &rows, frame->canvas->width);
		draw_titles(frame, &list, -1);
		for (i = 0; i < lines - 1 && (size_t)i < rows.n; i++) {
			if (i == lines - 2 && rows.n > (size_t)i + 1) {
				canvas_printf(frame->canvas, frame->y++, 0, frame->canvas->width,
					      STYLE_DIM, "and %zu more tenants: Tab",
					      rows.n - (size_t)i);
				break;
			}
			draw_row(frame, &rows.rows[i], &list, false);
		}
	}
	view_rows_deinit(&rows);
}

static void draw_nothing(struct frame *frame)
{
	static const char *const nothing[N_VIEWS] = {
		"no sessions: nobody uses the device",
		"no tenants",
		"no models",
		"nobody waits to be admitted",
	};
	const struct ui *ui = frame->ui;

	if (ui->rows.n_all > 0)
		canvas_printf(frame->canvas, frame->y, 0, frame->canvas->width, STYLE_DIM,
			      "none of %zu has '%s'", ui->rows.n_all, ui->choice.filter);
	else
		canvas_put(frame->canvas, frame->y, 0, frame->canvas->width, STYLE_DIM,
			   nothing[ui->choice.view]);
}

static void draw_table(struct frame *frame)
{
	struct ui *ui = frame->ui;
	struct view_columns list;
	size_t i, height;

	view_columns(&list, frame->sample, &ui->choice, &ui->rows, frame->canvas->width);
	if (frame->end - frame->y > 1)
		draw_titles(frame, &list, ui->choice.sort[ui->choice.view]);
	height = frame->end > frame->y ? (size_t)(frame->end - frame->y) : 1;
	ui->page = height;
	if (ui->top > ui->selected)
		ui->top = ui->selected;
	if (ui->selected - ui->top >= height)
		ui->top = ui->selected - height + 1;
	if (ui->top + height > ui->rows.n)
		ui->top = ui->rows.n > height ? ui->rows.n - height : 0;
	if (ui->rows.n == 0)
		draw_nothing(frame);
	for (i = ui->top; i < ui->rows.n && i - ui->top < height; i++)
		draw_row(frame, &ui->rows.rows[i], &list, i == ui->selected);
}

/* ---- the last line, and menus ---- */

static int draw_hint(struct canvas *canvas, int y, int x, const char *key, const char *text)
{
	int wide = (int)strlen(key) + text_width(text, canvas->utf8) + 2;

	if (x + wide > canvas->width)
		return canvas->width;
	x += canvas_put(canvas, y, x, canvas->width - x, STYLE_KEY, key);
	canvas_put(canvas, y, x, 1, STYLE_PLAIN, " ");
	x += 1 + canvas_put(canvas, y, x + 1, canvas->width - x - 1, STYLE_DIM, text);
	return x + 1;
}

static void draw_hints(struct frame *frame, int y)
{
	const struct ui *ui = frame->ui;
	struct canvas *canvas = frame->canvas;
	enum view view = ui->choice.view;
	char text[VIEW_FILTER_MAX + 32];
	int x = 0;

	if (ui->mode == UI_HELP || ui->mode == UI_DETAIL) {
		x = draw_hint(canvas, y, x, "q", "back");
		if (ui->scroll_max > 0)
			draw_hint(canvas, y, x, "Up Down", "scroll");
		return;
	}
	x = draw_hint(canvas, y, x, "q", "quit");
	x = draw_hint(canvas, y, x, "h", "help");
	snprintf(text, sizeof(text), "%s", view_names[view]);
	x = draw_hint(canvas, y, x, "Tab", text);
	snprintf(text, sizeof(text), "sort: %s%s", top_columns[ui->choice.sort[view]].name,
		 ui->choice.reverse[view] ? ", reversed" : "");
	x = draw_hint(canvas, y, x, "s", text);
	if (*ui->choice.filter)
		snprintf(text, sizeof(text), "has '%s': %zu of %zu", ui->choice.filter, ui->rows.n,
			 ui->rows.n_all);
	else
		snprintf(text, sizeof(text), "filter");
	x = draw_hint(canvas, y, x, "/", text);
	x = draw_hint(canvas, y, x, "t", ui->choice.tree ? "list" : "tree");
	x = draw_hint(canvas, y, x, "Enter", "details");
	x = draw_hint(canvas, y, x, "d", "interval");
	draw_hint(canvas, y, x, "p", ui->paused ? "go on" : "pause");
}

static void draw_last_line(struct frame *frame, int y)
{
	const struct ui *ui = frame->ui;
	struct canvas *canvas = frame->canvas;
	int x;

	if (ui->mode == UI_FILTER || ui->mode == UI_INTERVAL) {
		x = canvas_put(canvas, y, 0, canvas->width, STYLE_KEY,
			       ui->mode == UI_FILTER ? "Only with: " : "Seconds: ");
		x += canvas_put(canvas, y, x, canvas->width - x, STYLE_BOLD,
				ui->mode == UI_FILTER ? ui->choice.filter : ui->input);
		canvas_put(canvas, y, x, 1, STYLE_SELECTED, " ");
	} else if (*ui->message) {
		canvas_put(canvas, y, 0, canvas->width, STYLE_WARN, ui->message);
	} else {
		draw_hints(frame, y);
	}
}

static void draw_menu(struct frame *frame)
{
	const struct ui *ui = frame->ui;
	struct canvas *canvas = frame->canvas;
	enum view view = ui->choice.view;
	int first = column_next(-1, view, 1), n = 1, at = 0, height, top, i, column;
	int width = canvas->width < 80 ? canvas->width : 80;

	for (column = column_next(first, view, 1); column != first;
	     column = column_next(column, view, 1), n++)
		if (column == ui->menu)
			at = n;
	height = frame->end - 1 < n ? frame->end - 1 : n;
	if (height < 1)
		height = 1;
	top = at >= height ? at - height + 1 : 0;
	canvas_fill(canvas, 0, 0, width, STYLE_TITLE);
	canvas_printf(canvas, 0, 0, width, STYLE_TITLE, "Sort the %s by", view_names[view]);
	for (i = 0, column = first; i < n; i++, column = column_next(column, view, 1)) {
		int y = 1 + i - top;

		if (i < top || y > height)
			continue;
		canvas_fill(canvas, y, 0, width, STYLE_PLAIN);
		canvas_put(canvas, y, 1, 10, STYLE_KEY, top_columns[column].name);
		canvas_put(canvas, y, 12, width - 12, STYLE_PLAIN, top_columns[column].help);
		if (i == at)
			canvas_restyle(canvas, y, 0, width, STYLE_SELECTED);
	}
}

/* ---- the whole ---- */

void draw(struct canvas *canvas, struct ui *ui)
{
	struct frame frame = { .canvas = canvas, .ui = ui, .sample = ui->sample };
	bool last_line = canvas->height >= 4 || ui->mode == UI_FILTER || ui->mode == UI_INTERVAL ||
			 *ui->message;

	frame.end = canvas->height - last_line;
	/* What is wrong is said even where there is one line. */
	if (canvas->height >= 4 || *ui->away || !ui->sample)
		draw_title(&frame);
	if (ui->mode == UI_HELP) {
		draw_help(canvas, ui, frame.y, frame.end - frame.y);
	} else if (!ui->sample) {
		if (!*ui->away)
			canvas_put(canvas, frame.y + 1, 0, canvas->width, STYLE_DIM,
				   "asking vramd ...");
	} else if (ui->mode == UI_DETAIL) {
		draw_detail(canvas, ui, frame.y, frame.end - frame.y);
	} else {
		if (frame.end - frame.y >= 5)
			draw_devices(&frame);
		draw_tenants(&frame);
		if (frame.y < frame.end)
			draw_table(&frame);
	}
	if (ui->mode == UI_SORT)
		draw_menu(&frame);
	if (last_line)
		draw_last_line(&frame, canvas->height - 1);
}
