/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Making JSON objects without looking at every step: what went wrong shows when the object is
 * taken.
 */
#ifndef VRAM_DAEMON_ADMIN_JSON_H
#define VRAM_DAEMON_ADMIN_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

static inline void cleanup_json(json_t **json)
{
	json_decref(*json);
}
#define _cleanup_json_ _cleanup_(cleanup_json)

struct json_maker {
	json_t *object;
	bool failed;
};

struct json_maker json_maker_new(void);
/* Return: the object, the caller's; NULL if something of it could not be had. */
json_t *json_maker_take(struct json_maker *m);

/* value is taken; NULL makes the whole object fail. */
void json_put(struct json_maker *m, const char *key, json_t *value);
void json_put_number(struct json_maker *m, const char *key, uint64_t n);
/* Bytes that are not UTF-8 become question marks: names come from clients. */
void json_put_text(struct json_maker *m, const char *key, const char *text);

json_t *json_number_new(uint64_t n);
/* value is taken; NULL is out of memory. Return: 0 or -ENOMEM. */
int json_append(json_t *array, json_t *value);

#endif
