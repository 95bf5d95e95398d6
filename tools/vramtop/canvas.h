/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * canvas: a rectangle of character cells, drawn in memory and shown by screen.c
 * (or by a test).
 *
 * Texts come from other users' programs. What reaches a cell is harmless for a
 * terminal, whatever the text:
 *   - a cell holds one printable character of one column, the left half of one
 * of two columns, or nothing (its right half); control characters, bytes that
 * are no UTF-8 and what has no width are never in a cell;
 *   - up to two combining accents stay with their letter; all others, and marks
 * that change the direction of writing, are left out;
 *   - nothing is drawn outside of the canvas, and a wide character is never cut
 * in half: where only one column is left, a blank is;
 *   - on a canvas that is not `utf8` every character beyond ASCII is a question
 * mark, one per character.
 */
#ifndef VRAM_TOOLS_VRAMTOP_CANVAS_H
#define VRAM_TOOLS_VRAMTOP_CANVAS_H

#include <stdbool.h>
#include <stddef.h>
#include <wchar.h>

/* What a part of the screen is; screen.c says how it looks. */
enum style {
	STYLE_PLAIN,
	STYLE_DIM,
	STYLE_BOLD,
	STYLE_TITLE,	/* of a table */
	STYLE_SELECTED, /* the row at which the cursor is */
	STYLE_KEY,	/* of the help */
	STYLE_FULL,	/* the part of a bar that is in use, as it should be */
	STYLE_FULLER,	/* the same, and worth a look */
	STYLE_FULLEST,	/* the same, and somebody suffers */
	STYLE_WARN,	/* somebody waits */
	STYLE_ALERT,	/* something is wrong */
	N_STYLES,
};

#define CANVAS_ACCENTS 2
#define CANVAS_MAX     1000 /* columns and lines */

struct cell {
	wchar_t text[1 + CANVAS_ACCENTS +
		     1]; /* ends with 0; text[0] is 0 in the right half of a wide one */
	unsigned char style;
};

struct canvas {
	int width, height;
	bool utf8;
	struct cell *cells; /* line by line */
};

/* Return: false without memory. Sizes below 1 and above CANVAS_MAX are brought into that range. */
bool canvas_init(struct canvas *canvas, int width, int height, bool utf8);
void canvas_deinit(struct canvas *canvas);

const struct cell *canvas_at(const struct canvas *canvas, int y, int x);

/*
 * canvas_put() - the text, at most `width` columns of it, from (y, x); parts
 * outside are not drawn. Return: the columns that it took.
 */
int canvas_put(struct canvas *canvas, int y, int x, int width, enum style style, const char *text);
/* The same with its end at x + width. Return: as above. */
int canvas_put_right(struct canvas *canvas, int y, int x, int width, enum style style,
		     const char *text);
__attribute__((format(printf, 6, 7))) int canvas_printf(struct canvas *canvas, int y, int x,
							int width, enum style style,
							const char *format, ...);
/* Blanks. */
void canvas_fill(struct canvas *canvas, int y, int x, int width, enum style style);
/* Gives what is there already another look. */
void canvas_restyle(struct canvas *canvas, int y, int x, int width, enum style style);

/*
 * canvas_put_path() - as canvas_put(), of what ends with what matters: where there is no room for all, what is behind
 * the first colon loses its beginning.
 */
int canvas_put_path(struct canvas *canvas, int y, int x, int width, enum style style,
		    const char *text);

/* "[||||    ]" of these columns; part is from 0 to 1, NaN is none. With utf8 it has eighths of a column. */
void canvas_bar(struct canvas *canvas, int y, int x, int width, enum style style, double part);

/* Columns that canvas_put() would take without a limit. */
int text_width(const char *text, bool utf8);

#endif
