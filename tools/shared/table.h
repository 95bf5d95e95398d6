/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tables for people: columns as wide as their widest cell, numbers to the right.
 *
 * Cells may come from other users' programs (names): control characters are shown as '?', so that
 * nothing in a table can steer the terminal. Out of memory ends the program; there is nothing to
 * save.
 */
#ifndef VRAM_TOOLS_SHARED_TABLE_H
#define VRAM_TOOLS_SHARED_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table_column {
	const char *title;
	bool right;
};

struct table {
	const struct table_column *columns;
	size_t n_columns;
	char **cells; /* row by row, without the titles */
	size_t n_cells;
};

void table_init(struct table *table, const struct table_column *columns, size_t n_columns);
void table_deinit(struct table *table);
/* The next cell, row by row from the left. */
__attribute__((format(printf, 2, 3))) void table_cell(struct table *table, const char *format, ...);
void table_print(const struct table *table, FILE *f);

/* Makes a text harmless for a terminal, in place. Return: text. */
char *table_clean(char *text);

#endif
