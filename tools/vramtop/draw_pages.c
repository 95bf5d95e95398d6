// SPDX-License-Identifier: GPL-2.0-only
/* Pages of lines that scroll: all about one session, tenant or model, and the help. */
#define _GNU_SOURCE 1
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tools/vramtop/draw.h"
#include "tools/vramtop/format.h"

#define LABEL_WIDTH 11

struct page {
	struct canvas *canvas;
	int y, height; /* on the canvas */
	int line;      /* of the page: the next */
	int scroll;
};

/* Where the next line is to be drawn. Return: false if it is not on the screen.
 */
static bool next_line(struct page *page, int *out_y)
{
	int at = page->line++ - page->scroll;

	*out_y = page->y + at;
	return at >= 0 && at < page->height;
}

static void put_heading(struct page *page, const char *text)
{
	int y;

	if (!next_line(page, &y))
		return;
	canvas_fill(page->canvas, y, 0, page->canvas->width, STYLE_TITLE);
	canvas_put(page->canvas, y, 0, page->canvas->width, STYLE_TITLE, text);
}

static void put_line(struct page *page, const char *label, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void put_line(struct page *page, const char *label, const char *format, ...)
{
	char text[512];
	va_list args;
	int y;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!next_line(page, &y))
		return;
	canvas_put(page->canvas, y, 0, LABEL_WIDTH, STYLE_KEY, label);
	canvas_put(page->canvas, y, LABEL_WIDTH + 1, page->canvas->width - LABEL_WIDTH - 1,
		   STYLE_PLAIN, text);
}

static void put_bar(struct page *page, const char *label, enum style style, double of, double whole)
{
	int y, width = page->canvas->width - LABEL_WIDTH - 1;

	if (isnan(of) || !next_line(page, &y))
		return;
	canvas_put(page->canvas, y, 0, LABEL_WIDTH, STYLE_KEY, label);
	draw_bar_of(page->canvas, y, LABEL_WIDTH + 1, width < 60 ? width : 60, style, of, whole);
}

static void put_pressure(struct page *page, const struct psi *pressure)
{
	const struct psi_line *lines[] = { &pressure->some, &pressure->full };
	char a[FORMAT_MAX], b[FORMAT_MAX], c[FORMAT_MAX], total[FORMAT_MAX];
	int i;

	for (i = 0; i < 2; i++)
		put_line(page, i ? "full" : "some",
			 "%s of the last 10 s, %s of 60 s, %s of 300 s; %s in all",
			 format_percent(a, lines[i]->avg10), format_percent(b, lines[i]->avg60),
			 format_percent(c, lines[i]->avg300),
			 format_time(total, lines[i]->total_us * 1e3));
}

/* ---- one thing ---- */

static void session_page(struct page *page, const struct top_session *s)
{
	char a[FORMAT_MAX], b[FORMAT_MAX], c[FORMAT_MAX], text[256];
	double rest = (1 - s->position) * s->pace_ns;
	int t, y;

	snprintf(text, sizeof(text), "Session %.0f: %.128s", s->id, *s->name ? s->name : s->comm);
	put_heading(page, text);
	put_line(page, "program", "%s, process %.0f of %s", s->comm, s->pid, s->user);
	put_line(page, "state", "%s", s->state);
	for (t = 0; t < N_TIERS; t++)
		if (s->tier[t].there)
			put_bar(page, tier_names[t], STYLE_FULL, s->tier[t].resident, s->total);
	put_line(page, "has", "%s in %s objects; %s in vram are its own part, of a limit of %s",
		 format_bytes(a, s->total), format_count(b, s->objects),
		 format_bytes(c, s->tier[TIER_VRAM].charged), format_bytes(text, s->limit));
	put_line(page, "loaded", "%s, %s/s now", format_bytes(a, s->loaded),
		 format_bytes(b, s->rates.in));
	put_line(page, "taken out", "%s, %s/s now", format_bytes(a, s->evicted),
		 format_bytes(b, s->rates.out));
	put_line(page, "written", "%s, %s/s now", format_bytes(a, s->written),
		 format_bytes(b, s->rates.written));
	put_line(page, "uses", "%s, of which %s waited; %s hit now", format_count(a, s->acquires),
		 format_count(b, s->faults), format_percent(c, s->rates.hit));
	put_line(page, "waited", "%s, %s of the time now", format_time(a, s->stall_ns),
		 format_percent(b, s->rates.stall));
	if (!isnan(s->position) && next_line(page, &y)) {
		int width = page->canvas->width - LABEL_WIDTH - 1;

		canvas_put(page->canvas, y, 0, LABEL_WIDTH, STYLE_KEY, "position");
		width = width < 43 ? width : 43;
		canvas_bar(page->canvas, y, LABEL_WIDTH + 1, width, STYLE_FULL, s->position);
		canvas_put(page->canvas, y, LABEL_WIDTH + 2 + width, 5, STYLE_BOLD,
			   format_percent(a, 100 * s->position));
		put_line(page, "", "%s passes; %s a pass, %s to the end of this one",
			 format_count(a, s->passes), format_time(b, s->pace_ns),
			 format_time(c, rest));
	}
	put_pressure(page, &s->pressure);
}

static void tenant_page(struct page *page, const struct sample *sample, const struct top_tenant *t)
{
	char n[8][FORMAT_MAX], text[128];
	double whole;
	size_t i;
	int tier;

	snprintf(text, sizeof(text), "Tenant %.100s", t->name);
	put_heading(page, text);
	put_line(page, "subject", "%s, %s sessions", t->subject, format_count(n[0], t->n_sessions));
	for (tier = 0; tier < N_TIERS; tier++) {
		const struct tenant_tier *it = &t->tier[tier];

		if (!it->there)
			continue;
		whole = isfinite(it->max) ? it->max :
			sample->n_devices ? sample->devices[0].tier[tier].size :
					    (double)NAN;
		/* Near its own limit is worth a look; near the end of the device is not. */
		put_bar(page, tier_names[tier],
			isfinite(it->max) ? draw_part_style(it->usage / whole) : STYLE_FULL,
			it->usage, whole);
		put_line(page, "", "min %s  low %s  high %s  max %s  weight %s",
			 format_bytes(n[0], it->min), format_bytes(n[1], it->low),
			 format_bytes(n[2], it->high), format_bytes(n[3], it->max),
			 format_count(n[4], it->weight));
		put_line(page, "", "peak %s  refused %s  above high %s  above max %s",
			 format_bytes(n[0], it->peak), format_count(n[1], it->refused),
			 format_bytes(n[2], it->over_high), format_bytes(n[3], it->over_max));
	}
	put_line(page, "loads", "%s/s in, %s/s out", format_bytes(n[0], t->rates.in),
		 format_bytes(n[1], t->rates.out));
	put_line(page, "waits", "%s of the time now; %s of the uses hit",
		 format_percent(n[0], t->rates.stall), format_percent(n[1], t->rates.hit));
	put_pressure(page, &t->pressure);
	for (i = 0; t->is_user && i < sample->n_sessions; i++) {
		const struct top_session *s = &sample->sessions[i];

		if (s->uid == t->uid)
			put_line(page, "session", "%.0f %s, %s, %s of %s", s->id,
				 *s->name ? s->name : s->comm, s->state,
				 format_bytes(n[0], s->tier[TIER_VRAM].resident),
				 format_bytes(n[1], s->total));
	}
}

static void model_page(struct page *page, const struct top_model *m)
{
	char a[FORMAT_MAX], b[FORMAT_MAX], text[256];
	int t;

	snprintf(text, sizeof(text), "%s %.128s", !strcmp(m->kind, "buffer") ? "Buffer" : "Model",
		 m->name);
	put_heading(page, text);
	put_line(page, "opened by", "%s; %s sessions use it", m->user,
		 format_count(a, m->n_sessions));
	put_line(page, "pinned", "%s", m->pinned ? "yes: it is kept resident" : "no");
	for (t = 0; t < N_TIERS; t++)
		if (m->tier[t].there)
			put_bar(page, tier_names[t], STYLE_FULL, m->tier[t].resident, m->size);
	put_line(page, "size", "%s", format_bytes(a, m->size));
	put_line(page, "loaded", "%s, %s/s now", format_bytes(a, m->loaded),
		 format_bytes(b, m->rates.in));
	put_line(page, "taken out", "%s, %s/s now", format_bytes(a, m->evicted),
		 format_bytes(b, m->rates.out));
}

static void waiter_page(struct page *page, const struct top_waiter *w)
{
	char a[FORMAT_MAX], b[FORMAT_MAX], text[256];

	snprintf(text, sizeof(text), "Waits to be admitted: %.128s", w->name);
	put_heading(page, text);
	put_line(page, "session", "%.0f, process %.0f of %s", w->session, w->pid, w->user);
	put_line(page, "place", "%zu, priority %.0f", w->place, w->priority);
	put_line(page, "asks for", "%s", format_bytes(a, w->asked));
	put_line(page, "waits", "%s, at most %s", format_time(a, w->waiting_ns),
		 isnan(w->timeout_ns) ? "for ever" : format_time(b, w->timeout_ns));
	put_line(page, "predicted", "%s",
		 isnan(w->predicted_ns) ? "not known yet" : format_time(a, w->predicted_ns));
}

/* ---- pages ---- */

static void page_done(const struct page *page, struct ui *ui)
{
	ui->page = page->height > 0 ? (size_t)page->height : 1;
	ui->scroll_max = page->line > page->height ? page->line - page->height : 0;
	if (ui->scroll > ui->scroll_max)
		ui->scroll = ui->scroll_max;
}

void draw_detail(struct canvas *canvas, struct ui *ui, int y, int height)
{
	struct page page = { .canvas = canvas, .y = y, .height = height, .scroll = ui->scroll };
	const struct row *row = ui_selected(ui);

	if (!row)
		return;
	switch (row->kind) {
	case ROW_SESSION:
		session_page(&page, row->session);
		break;
	case ROW_TENANT:
		tenant_page(&page, ui->sample, row->tenant);
		break;
	case ROW_USER:
		if (row->user->tenant)
			tenant_page(&page, ui->sample, row->user->tenant);
		break;
	case ROW_MODEL:
		model_page(&page, row->model);
		break;
	case ROW_WAITER:
		waiter_page(&page, row->waiter);
		break;
	}
	page_done(&page, ui);
}

void draw_help(struct canvas *canvas, struct ui *ui, int y, int height)
{
	struct page page = { .canvas = canvas, .y = y, .height = height, .scroll = ui->scroll };
	int i, at;

	put_heading(&page, "Keys");
	for (i = 0; ui_keys[i].keys; i++) {
		if (!next_line(&page, &at))
			continue;
		canvas_put(canvas, at, 1, 16, STYLE_KEY, ui_keys[i].keys);
		canvas_put(canvas, at, 18, canvas->width - 18, STYLE_PLAIN, ui_keys[i].help);
	}
	put_heading(&page, "Columns");
	for (i = 0; top_columns[i].name; i++) {
		if (!next_line(&page, &at))
			continue;
		canvas_put(canvas, at, 1, 16, STYLE_KEY, top_columns[i].title);
		canvas_put(canvas, at, 18, canvas->width - 18, STYLE_PLAIN, top_columns[i].help);
	}
	put_heading(&page, "Bytes are in units of 1024; '-': not known; 'max': no bound");
	page_done(&page, ui);
}
