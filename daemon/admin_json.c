// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/admin_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

/* Names come from clients and may be anything; JSON takes UTF-8 only. */
static json_t *json_text_new(const char *text)
{
	json_t *json = json_string(text);
	char *copy, *p;

	if (json)
		return json;
	copy = strdup(text);
	if (!copy)
		return NULL;
	for (p = copy; *p; p++) {
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	}
	json = json_string(copy);
	free(copy);
	return json;
}

json_t *json_number_new(uint64_t n)
{
	return json_integer(n <= INT64_MAX ? (json_int_t)n : INT64_MAX);
}

void json_put(struct json_maker *m, const char *key, json_t *value)
{
	if (json_object_set_new(m->object, key, value) < 0)
		m->failed = true;
}

void json_put_number(struct json_maker *m, const char *key, uint64_t n)
{
	json_put(m, key, json_number_new(n));
}

void json_put_text(struct json_maker *m, const char *key, const char *text)
{
	json_put(m, key, json_text_new(text));
}

struct json_maker json_maker_new(void)
{
	struct json_maker m = { .object = json_object() };

	m.failed = !m.object;
	return m;
}

json_t *json_maker_take(struct json_maker *m)
{
	if (!m->failed)
		return m->object;
	json_decref(m->object);
	return NULL;
}

/* Appends what json_maker_take() returned. Return: 0 or -ENOMEM. */
int json_append(json_t *array, json_t *value)
{
	return json_array_append_new(array, value) < 0 ? err_origin(-ENOMEM) : 0;
}
