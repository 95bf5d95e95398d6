/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * draw: the whole screen into a canvas, for any size from 1x1. Pure, but for
 * memory.
 *
 * What there is little room for is left out in this order: the tenants above
 * the sessions, bars beside each other, the line of the device, the line of
 * keys, the bars, the title.
 */
#ifndef VRAM_TOOLS_VRAMTOP_DRAW_H
#define VRAM_TOOLS_VRAMTOP_DRAW_H

#include "tools/vramtop/canvas.h"
#include "tools/vramtop/ui.h"

/* Sets the ui's page and scrolling to what there was room for. */
void draw(struct canvas *canvas, struct ui *ui);

/* The details of a row and the help (draw_pages.c): from line y on, `height` lines. */
void draw_detail(struct canvas *canvas, struct ui *ui, int y, int height);
void draw_help(struct canvas *canvas, struct ui *ui, int y, int height);

/* "[|||    ] 3.2G/8G 40%": as much of it as there is room for. */
void draw_bar_of(struct canvas *canvas, int y, int x, int width, enum style style, double of,
		 double whole);
/* How a bar looks: of what is not to become full, by the part; of what may be, by how long is waited for it. */
enum style draw_part_style(double part);
enum style draw_wait_style(double percent);

#endif
