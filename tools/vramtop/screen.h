/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * screen: the terminal. The only file that knows of ncurses.
 *
 * On every way out the terminal is as it was: at the end, after an error, and
 * when a signal ends vramtop (SIGINT, SIGTERM, SIGHUP, SIGQUIT; also SIGSEGV
 * and its like, by means that a signal handler may use). The process then ends
 * by that signal.
 */
#ifndef VRAM_TOOLS_VRAMTOP_SCREEN_H
#define VRAM_TOOLS_VRAMTOP_SCREEN_H

#include <stdbool.h>

#include "tools/vramtop/canvas.h"

/*
 * screen_init() - takes the terminal. colours: may be used, if it has any.
 * Return: 0, or -errno after saying on stderr what is wrong.
 */
int screen_init(bool colours);
void screen_deinit(void);
void screen_size(int *out_width, int *out_height);
void screen_show(const struct canvas *canvas);
/* The next key (see ui.h), 0: there is none. Ctrl-L and a new size are SCREEN_REDRAW. */
int screen_key(void);
#define SCREEN_REDRAW 0x120000
/* The signal that asks for the end, 0: none. It also interrupts poll(). */
int screen_signal(void);

#endif
