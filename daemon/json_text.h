/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * JSON as text, written from front to back: for answers that are long, where a tree of values would
 * cost several times as much.
 *
 *	json_text_open(&j, NULL, '{');
 *	json_text_number(&j, "id", 7);
 *	json_text_open(&j, "list", '[');
 *	json_text_string(&j, NULL, "a");
 *	json_text_close(&j, ']');
 *	json_text_close(&j, '}');
 *	text = json_text_take(&j);
 *
 * `key`, a word that needs no escaping, is NULL for the outermost value and in arrays. What went wrong shows when the text is taken. Pure.
 */
#ifndef VRAM_DAEMON_JSON_TEXT_H
#define VRAM_DAEMON_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_text {
	char *buf;
	size_t len, size;
	bool comma;  /* the next value comes behind another */
	bool failed; /* out of memory */
};

/* kind: '{' or '['; closed with its counterpart. */
void json_text_open(struct json_text *j, const char *key, char kind);
void json_text_close(struct json_text *j, char kind);
/* Numbers above INT64_MAX, which readers could not take, are written as that. */
void json_text_number(struct json_text *j, const char *key, uint64_t n);
void json_text_signed(struct json_text *j, const char *key, int64_t n);
/* n / scale, with as many digits as the scale has noughts: 1234 of 100 is 12.34. */
void json_text_fraction(struct json_text *j, const char *key, uint64_t n, uint32_t scale);
void json_text_bool(struct json_text *j, const char *key, bool value);
void json_text_null(struct json_text *j, const char *key);
/* Of a text that is not UTF-8 every byte beyond ASCII becomes a question mark. */
void json_text_string(struct json_text *j, const char *key, const char *text);

/* Return: the text, to be freed, with its length without the end in *out_len; NULL when out of memory. */
char *json_text_take(struct json_text *j, size_t *out_len);

#endif
