/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ui: what the user has chosen and what a key changes. Pure, but for memory;
 * screen.c brings keys, draw.c shows it.
 *
 * The cursor stays at its session, tenant or model when rows change their order
 * or go: it is found again in every new sample, and only if it is gone the
 * cursor stays at its line.
 */
#ifndef VRAM_TOOLS_VRAMTOP_UI_H
#define VRAM_TOOLS_VRAMTOP_UI_H

#include "tools/vramtop/view.h"

#define UI_INTERVAL_MIN 0.1
#define UI_INTERVAL_MAX 3600.0
#define UI_TEXT_MAX	128

/* Keys that are no characters; all others are code points. */
enum {
	UI_KEY_BASE = 0x110000,
	UI_KEY_UP,
	UI_KEY_DOWN,
	UI_KEY_LEFT,
	UI_KEY_RIGHT,
	UI_KEY_PAGE_UP,
	UI_KEY_PAGE_DOWN,
	UI_KEY_HOME,
	UI_KEY_END,
	UI_KEY_ENTER,
	UI_KEY_ESCAPE,
	UI_KEY_BACKSPACE,
	UI_KEY_TAB,
	UI_KEY_BACK_TAB,
};

enum ui_mode {
	UI_LIST,
	UI_DETAIL,
	UI_HELP,
	UI_SORT,     /* choosing a column */
	UI_FILTER,   /* typing one */
	UI_INTERVAL, /* typing one */
};

struct ui {
	struct view_choice choice;
	enum ui_mode mode;
	const struct sample *sample; /* NULL: none yet; the caller's */
	struct view_rows rows;
	size_t selected, top; /* rows: at the cursor, the first shown */
	size_t page;	      /* how many rows were shown; draw.c says */
	int scroll;	      /* of the help and the details */
	int scroll_max;	      /* draw.c says */
	int menu;	      /* the column at which the sort menu's cursor is */
	double interval_s;
	bool paused, quit, refresh; /* refresh: ask at once */
	char away[UI_TEXT_MAX * 2]; /* why there is no newer sample; "": there is */
	char input[VIEW_FILTER_MAX];
	char message[UI_TEXT_MAX]; /* said until the next key */
	char clock[16];		   /* what the time is, for the title */
	double age_s;		   /* of the sample, while away or paused */
};

struct ui_key {
	const char *keys, *help;
};
/* What --help, the help screen and the manual say; up to one without keys. */
extern const struct ui_key ui_keys[];

void ui_init(struct ui *ui, double interval_s);
void ui_deinit(struct ui *ui);
/*
 * A new sample; the one before must live until this returns. Return: false without memory, and nothing has changed.
 */
bool ui_sample(struct ui *ui, const struct sample *sample);
void ui_press(struct ui *ui, int key);
/* The row at the cursor, NULL: there is none. */
const struct row *ui_selected(const struct ui *ui);

#endif
