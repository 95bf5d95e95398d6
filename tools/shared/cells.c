// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/shared/cells.h"

#include "common/size.h"
#include "tools/shared/table.h"

const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && *text ? text : "-";
}

uint64_t number_of(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

void cell_size(struct table *table, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	char text[SIZE_TEXT_MAX];

	if (json_is_integer(value))
		table_cell(table, "%s", size_format(text, (uint64_t)json_integer_value(value)));
	else
		table_cell(table, "%s", json_is_string(value) ? json_string_value(value) : "-");
}

void cell_number(struct table *table, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_integer(value))
		table_cell(table, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else
		table_cell(table, "-");
}

void cell_percent(struct table *table, const json_t *object, const char *key, const char *whole)
{
	uint64_t all = number_of(object, whole);

	if (all > 0)
		table_cell(table, "%.0f%%", 100.0 * (double)number_of(object, key) / (double)all);
	else
		table_cell(table, "-");
}
