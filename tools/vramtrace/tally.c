// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtrace/tally.h"

#include <stdio.h>
#include <stdlib.h>

static void *make(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p) {
		fputs("vramtrace: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	return p;
}

struct tally_row *tally_row(struct tally *tally, uint64_t a, uint64_t b)
{
	struct tally_row *row = map_get(&tally->rows, a, b);

	if (row)
		return row;
	row = make(sizeof(*row));
	row->a = a;
	row->b = b;
	map_put(&tally->rows, a, b, row);
	return row;
}

void tally_add(struct tally_row *row, uint64_t value)
{
	row->n++;
	row->sum += value;
	if (value > row->max)
		row->max = value;
}

void tally_add_cause(struct tally_row *row, uint64_t cause, uint64_t value)
{
	struct tally_cause *c = map_get(&row->causes, cause, 0);

	if (!c) {
		c = make(sizeof(*c));
		c->cause = cause;
		map_put(&row->causes, cause, 0, c);
	}
	c->n++;
	c->sum += value;
}

static void free_row(void *value)
{
	struct tally_row *row = value;

	map_clear(&row->causes, free);
	free(row);
}

void tally_clear(struct tally *tally)
{
	map_clear(&tally->rows, free_row);
}

static int by_greater(uint64_t a, uint64_t b)
{
	return a < b ? 1 : a > b ? -1 : 0;
}

static int compare_rows(const void *p, const void *q)
{
	const struct tally_row *a = *(struct tally_row *const *)p;
	const struct tally_row *b = *(struct tally_row *const *)q;
	int r = by_greater(a->sum, b->sum);

	if (!r)
		r = by_greater(a->n, b->n);
	if (!r)
		r = by_greater(b->a, a->a);
	return r ? r : by_greater(b->b, a->b);
}

static int compare_causes(const void *p, const void *q)
{
	const struct tally_cause *a = *(struct tally_cause *const *)p;
	const struct tally_cause *b = *(struct tally_cause *const *)q;
	int r = by_greater(a->sum, b->sum);

	return r ? r : by_greater(b->cause, a->cause);
}

/* Return: the values of a map in an array. */
static void **values_of(const struct map *map, size_t *out_n)
{
	void **values = make(map->n * sizeof(*values));
	struct map_entry *entry;

	*out_n = 0;
	for (size_t i = 0; (entry = map_next(map, &i));)
		values[(*out_n)++] = entry->value;
	return values;
}

struct tally_row **tally_sorted(const struct tally *tally, size_t *out_n)
{
	void **rows = values_of(&tally->rows, out_n);

	qsort(rows, *out_n, sizeof(*rows), compare_rows);
	return (struct tally_row **)rows;
}

struct tally_cause **tally_causes(const struct tally_row *row, size_t *out_n)
{
	void **causes = values_of(&row->causes, out_n);

	qsort(causes, *out_n, sizeof(*causes), compare_causes);
	return (struct tally_cause **)causes;
}
