// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtop/canvas.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool canvas_init(struct canvas *canvas, int width, int height, bool utf8)
{
	int i;

	width = width < 1 ? 1 : width > CANVAS_MAX ? CANVAS_MAX : width;
	height = height < 1 ? 1 : height > CANVAS_MAX ? CANVAS_MAX : height;
	*canvas = (struct canvas){ .width = width, .height = height, .utf8 = utf8 };
	canvas->cells = calloc((size_t)width * (size_t)height, sizeof(*canvas->cells));
	if (!canvas->cells)
		return false;
	for (i = 0; i < width * height; i++)
		canvas->cells[i].text[0] = L' ';
	return true;
}

void canvas_deinit(struct canvas *canvas)
{
	free(canvas->cells);
	*canvas = (struct canvas){ 0 };
}

static bool inside(const struct canvas *canvas, int y, int x)
{
	return y >= 0 && y < canvas->height && x >= 0 && x < canvas->width;
}

static struct cell *cell_at(struct canvas *canvas, int y, int x)
{
	return &canvas->cells[y * canvas->width + x];
}

const struct cell *canvas_at(const struct canvas *canvas, int y, int x)
{
	return inside(canvas, y, x) ? &canvas->cells[y * canvas->width + x] : NULL;
}

/* ---- characters ---- */

/*
 * The next character of UTF-8 and how many bytes it takes, at least 1. Return:
 * -1 for a byte that does not belong. By hand, for mbrtowc() would follow the
 * locale, and JSON is UTF-8 in every one.
 */
static int32_t decode(const char *text, int *out_len)
{
	static const int32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = (const unsigned char *)text;
	int len = *p < 0x80 ? 1 : *p < 0xc0 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf8 ? 4 : 0;
	int32_t c;
	int i;

	*out_len = 1;
	if (len <= 1)
		return len == 1 ? *p : -1;
	c = *p & (0x7f >> len);
	for (i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return -1;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return -1;
	*out_len = len;
	return c;
}

/* Accents that every terminal puts upon the letter before. */
static bool is_accent(int32_t c)
{
	return c >= 0x300 && c <= 0x36f;
}

struct glyph {
	wchar_t text[1 + CANVAS_ACCENTS + 1];
	int width; /* 1 or 2 */
};

/* The next thing to show, and where the text goes on. Return: NULL at its end.
 */
static const char *glyph_next(const char *text, bool utf8, struct glyph *out)
{
	size_t accents = 0;
	int32_t c;
	int len, width;

	for (; *text; text += len) {
		c = decode(text, &len);
		width = c < 0 ? 1 : utf8 || c < 0x80 ? wcwidth((wchar_t)c) : 1;
		if (c < 0 || width < 0 || (!utf8 && c >= 0x80))
			c = L'?', width = 1;
		if (width == 0)
			continue; /* without a letter to be upon */
		*out = (struct glyph){ .text = { (wchar_t)c }, .width = width > 2 ? 1 : width };
		if (width > 2)
			out->text[0] = L'?';
		for (text += len; *text; text += len) {
			c = decode(text, &len);
			if (!is_accent(c))
				break;
			if (utf8 && accents < CANVAS_ACCENTS)
				out->text[1 + accents++] = (wchar_t)c;
		}
		return text;
	}
	return NULL;
}

int text_width(const char *text, bool utf8)
{
	struct glyph glyph;
	int width = 0;

	while ((text = glyph_next(text, utf8, &glyph)) && width < INT_MAX - 2)
		width += glyph.width;
	return width;
}

/* ---- drawing ---- */

/* A cell that is overwritten takes the other half of a wide character with it.
 */
static void clear(struct canvas *canvas, int y, int x)
{
	struct cell *cell = cell_at(canvas, y, x);

	if (!cell->text[0] && x > 0)
		*cell_at(canvas, y, x - 1) =
			(struct cell){ .text = { L' ' }, .style = cell[-1].style };
	if (x + 1 < canvas->width && !cell[1].text[0])
		cell[1] = (struct cell){ .text = { L' ' }, .style = cell[1].style };
}

static void put_glyph(struct canvas *canvas, int y, int x, enum style style,
		      const struct glyph *glyph)
{
	struct cell *cell;

	if (!inside(canvas, y, x) || !inside(canvas, y, x + glyph->width - 1))
		return;
	clear(canvas, y, x);
	if (glyph->width == 2)
		clear(canvas, y, x + 1);
	cell = cell_at(canvas, y, x);
	memcpy(cell->text, glyph->text, sizeof(cell->text));
	cell->style = (unsigned char)style;
	if (glyph->width == 2)
		cell[1] = (struct cell){ .style = (unsigned char)style };
}

static const struct glyph blank = { .text = { L' ' }, .width = 1 };

int canvas_put(struct canvas *canvas, int y, int x, int width, enum style style, const char *text)
{
	struct glyph glyph;
	int used = 0;

	while (used < width && (text = glyph_next(text, canvas->utf8, &glyph))) {
		if (used + glyph.width > width) {
			put_glyph(canvas, y, x + used++, style, &blank);
			break;
		}
		put_glyph(canvas, y, x + used, style, &glyph);
		used += glyph.width;
	}
	return used;
}

int canvas_put_right(struct canvas *canvas, int y, int x, int width, enum style style,
		     const char *text)
{
	int wide = text_width(text, canvas->utf8);

	return canvas_put(canvas, y, wide < width ? x + width - wide : x, width, style, text);
}

int canvas_put_path(struct canvas *canvas, int y, int x, int width, enum style style,
		    const char *text)
{
	const char *colon = strchr(text, ':'), *rest = colon ? colon + 1 : text;
	int used = 0, head = (int)(rest - text);
	struct glyph glyph;

	if (text_width(text, canvas->utf8) <= width)
		return canvas_put(canvas, y, x, width, style, text);
	if (head > 0 && head + 4 <= width)
		used = canvas_put(canvas, y, x, head, style, text);
	while (rest && text_width(rest, canvas->utf8) > width - used - 1)
		rest = glyph_next(rest, canvas->utf8, &glyph);
	if (used < width)
		used += canvas_put(canvas, y, x + used, 1, STYLE_DIM,
				   canvas->utf8 ? "\u2026" : "~");
	return used + (rest ? canvas_put(canvas, y, x + used, width - used, style, rest) : 0);
}

int canvas_printf(struct canvas *canvas, int y, int x, int width, enum style style,
		  const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return canvas_put(canvas, y, x, width, style, text);
}

void canvas_fill(struct canvas *canvas, int y, int x, int width, enum style style)
{
	int end = width < canvas->width - x ? x + width : canvas->width;

	for (x = x < 0 ? 0 : x; x < end; x++)
		put_glyph(canvas, y, x, style, &blank);
}

void canvas_restyle(struct canvas *canvas, int y, int x, int width, enum style style)
{
	int i;

	for (i = 0; i < width; i++)
		if (inside(canvas, y, x + i))
			cell_at(canvas, y, x + i)->style = (unsigned char)style;
}

/* ---- bars ---- */

void canvas_bar(struct canvas *canvas, int y, int x, int width, enum style style, double part)
{
	static const wchar_t eighths[] = L" \u258f\u258e\u258d\u258c\u258b\u258a\u2589\u2588";
	int inner = width - 2, steps, i;

	if (width < 3)
		return;
	part = isnan(part) || part < 0 ? 0 : part > 1 ? 1 : part;
	canvas_put(canvas, y, x, 1, STYLE_BOLD, "[");
	canvas_put(canvas, y, x + width - 1, 1, STYLE_BOLD, "]");
	/* Something is not nothing, and nearly all is not all. */
	steps = (int)(part * inner * 8 + 0.5);
	if (steps == 0 && part > 0)
		steps = 1;
	if (!canvas->utf8)
		steps = (steps + 7) / 8 * 8;
	if (steps >= inner * 8 && part < 1 && inner > 1)
		steps = inner * 8 - (canvas->utf8 ? 1 : 8);
	for (i = 0; i < inner; i++) {
		int left = steps - 8 * i;
		struct glyph glyph = { .width = 1 };

		left = left < 0 ? 0 : left > 8 ? 8 : left;
		glyph.text[0] = canvas->utf8 ? eighths[left] : left ? L'|' : L' ';
		put_glyph(canvas, y, x + 1 + i, style, &glyph);
	}
}
