/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * view: which rows and columns of a sample are shown, in which order, and what
 * stands in them.
 *
 * One table (columns.c) has every column: its title, how wide it is, in which
 * views it stands, how much it is wanted when there is little room, and what
 * its value is for each kind of row. The screen, --batch, sorting, --help, the
 * shell's completion and the test of the manual page read it.
 *
 * Pure, but for memory. Rows point into the sample that they were made of and
 * live as long.
 */
#ifndef VRAM_TOOLS_VRAMTOP_VIEW_H
#define VRAM_TOOLS_VRAMTOP_VIEW_H

#include "tools/vramtop/sample.h"

enum view {
	VIEW_SESSIONS,
	VIEW_TENANTS,
	VIEW_MODELS,
	VIEW_QUEUE,
	N_VIEWS,
};
extern const char *const view_names[N_VIEWS];

/* ---- rows ---- */

enum row_kind {
	ROW_SESSION,
	ROW_USER, /* above the sessions, in a tree */
	ROW_TENANT,
	ROW_MODEL,
	ROW_WAITER,
};

struct row {
	enum row_kind kind;
	bool child, last; /* of a user, and its last one */
	bool collapsed;
	union {
		const struct top_session *session;
		const struct top_user *user;
		const struct top_tenant *tenant;
		const struct top_model *model;
		const struct top_waiter *waiter;
	};
};

#define VIEW_FILTER_MAX	   64
#define VIEW_COLLAPSED_MAX 64

/* What the user has chosen. */
struct view_choice {
	enum view view;
	int sort[N_VIEWS]; /* a column */
	bool reverse[N_VIEWS];
	bool tree;
	char filter[VIEW_FILTER_MAX]; /* "": everything; upper and lower case are the same */
	double collapsed[VIEW_COLLAPSED_MAX]; /* uids whose sessions are not shown in the tree */
	size_t n_collapsed;
};

struct view_rows {
	struct row *rows;
	size_t n;
	size_t n_all; /* without the filter */
};

void view_choice_init(struct view_choice *choice);
void view_toggle_collapsed(struct view_choice *choice, double uid);
/* The rows of choice->view. Return: false without memory. */
bool view_rows_init(struct view_rows *out, const struct sample *sample,
		    const struct view_choice *choice);
void view_rows_deinit(struct view_rows *rows);
/* Two rows of different samples that are of the same thing. */
bool view_same(const struct row *a, const struct row *b);

/* ---- columns ---- */

enum value_type {
	VALUE_NONE, /* this row has none */
	VALUE_TEXT,
	VALUE_BYTES,
	VALUE_COUNT, /* a whole number */
	VALUE_PERCENT,
	VALUE_TIME, /* ns */
	VALUE_PART, /* 0 to 1 */
};

struct value {
	enum value_type type;
	double number; /* NaN: not known */
	const char *text;
};

struct column {
	const char *name;  /* for --sort */
	const char *title; /* as wide as the column at most */
	const char *help;
	unsigned views; /* bits */
	int width;	/* what numbers need; of texts the least */
	int grow;	/* of texts: the most; 0: does not grow */
	int rank[N_VIEWS]; /* where there is little room: the higher, the earlier it is left out; 0: never */
	int tier;	   /* left out where the machine has no such tier; -1: always there */
	bool left;
	bool bar;	/* on a screen only */
	bool ascending; /* what is usual when it is sorted by */
};

/* Up to one without a name. */
extern const struct column top_columns[];
/* What a column's cell in a row is. */
struct value column_value(int column, const struct row *row);
/* As it is shown, in buf or the value's own text. */
const char *value_text(const struct value *value, char *buf, size_t size);

/* Return: the column of that name that the view has, or -1. */
int column_find(const char *name, enum view view);
/* The next column of the view to sort by, in direction 1 or -1. */
int column_next(int column, enum view view, int direction);

#define VIEW_COLUMNS_MAX 48
struct view_columns {
	int n;
	struct {
		int column, width;
	} at[VIEW_COLUMNS_MAX];
};

/*
 * view_columns() - those that fit into so many columns of the screen with a
 * blank between them, in the table's order; the one that is sorted by stays
 * longer than others. width 0: all of them, without bars.
 */
void view_columns(struct view_columns *out, const struct sample *sample,
		  const struct view_choice *choice, const struct view_rows *rows, int width);

#endif
