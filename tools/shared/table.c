// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/shared/table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#define TABLE_GAP 2

static void out_of_memory(void)
{
	fprintf(stderr, "%s: out of memory\n", program_invocation_short_name);
	exit(EXIT_FAILURE);
}

/* Bytes of UTF-8 that begin a character; what a terminal shows double is not counted double. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

char *table_clean(char *text)
{
	unsigned char *p;

	for (p = (unsigned char *)text; *p; p++) {
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
		/* The C1 controls, U+0080 to U+009f, are C2 80 to C2 9f. */
		else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
			*p = p[1] = '?';
	}
	return text;
}

void table_init(struct table *table, const struct table_column *columns, size_t n_columns)
{
	*table = (struct table){ .columns = columns, .n_columns = n_columns };
}

void table_deinit(struct table *table)
{
	size_t i;

	for (i = 0; i < table->n_cells; i++)
		free(table->cells[i]);
	free(table->cells);
	*table = (struct table){ 0 };
}

void table_cell(struct table *table, const char *format, ...)
{
	char **cells = reallocarray(table->cells, table->n_cells + 1, sizeof(*cells));
	va_list args;
	int n;

	if (!cells)
		out_of_memory();
	table->cells = cells;
	va_start(args, format);
	n = vasprintf(&cells[table->n_cells], format, args);
	va_end(args);
	if (n < 0)
		out_of_memory();
	table_clean(cells[table->n_cells++]);
}

static void print_cell(const struct table *table, size_t column, const char *text, size_t wide,
		       FILE *f)
{
	bool last = column == table->n_columns - 1;
	size_t pad = wide - width(text);

	if (table->columns[column].right)
		fprintf(f, "%*s%s", (int)pad, "", text);
	else
		fprintf(f, "%s%*s", text, last ? 0 : (int)pad, "");
	fprintf(f, "%*s", last ? 0 : TABLE_GAP, "");
	if (last)
		fputc('\n', f);
}

void table_print(const struct table *table, FILE *f)
{
	size_t *wide = calloc(table->n_columns, sizeof(*wide)), i, column;

	if (!wide)
		out_of_memory();
	for (i = 0; i < table->n_columns; i++)
		wide[i] = width(table->columns[i].title);
	for (i = 0; i < table->n_cells; i++) {
		column = i % table->n_columns;
		if (wide[column] < width(table->cells[i]))
			wide[column] = width(table->cells[i]);
	}
	for (i = 0; i < table->n_columns; i++)
		print_cell(table, i, table->columns[i].title, wide[i], f);
	for (i = 0; i < table->n_cells; i++)
		print_cell(table, i % table->n_columns, table->cells[i], wide[i % table->n_columns],
			   f);
	free(wide);
}
