// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/json_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"

#define FIRST_BYTES 4096u

/* Room for n more bytes and a terminating zero. */
static bool reserve(struct json_text *j, size_t n)
{
	size_t size = j->size ? j->size : FIRST_BYTES;
	char *grown;

	if (j->failed)
		return false;
	if (j->len + n < j->size)
		return true;
	while (size <= j->len + n)
		size *= 2;
	grown = realloc(j->buf, size);
	if (!grown) {
		j->failed = true;
		return false;
	}
	j->buf = grown;
	j->size = size;
	return true;
}

static void put(struct json_text *j, const char *text, size_t n)
{
	if (!reserve(j, n))
		return;
	memcpy(j->buf + j->len, text, n);
	j->len += n;
	j->buf[j->len] = '\0';
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void put_quoted(struct json_text *j, const char *text)
{
	bool valid = utf8_is_valid(text);
	const char *p = text, *run;
	char escape[8];

	put(j, "\"", 1);
	while (*p) {
		unsigned char c;

		for (run = p; is_plain((unsigned char)*p); p++)
			;
		put(j, run, (size_t)(p - run));
		c = (unsigned char)*p;
		if (!c)
			break;
		if (c == '"' || c == '\\') {
			snprintf(escape, sizeof(escape), "\\%c", c);
			put(j, escape, 2);
		} else if (c < 0x20 || c == 0x7f) {
			snprintf(escape, sizeof(escape), "\\u%04x", c);
			put(j, escape, 6);
		} else {
			put(j, valid ? p : "?", 1);
		}
		p++;
	}
	put(j, "\"", 1);
}

/* Keys are ours: there is nothing to escape. */
static void begin(struct json_text *j, const char *key)
{
	if (j->comma)
		put(j, ",", 1);
	j->comma = true;
	if (!key)
		return;
	put(j, "\"", 1);
	put(j, key, strlen(key));
	put(j, "\":", 2);
}

static void put_digits(struct json_text *j, uint64_t n, int at_least)
{
	char digits[24];
	int i = sizeof(digits);

	do {
		digits[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n || (int)sizeof(digits) - i < at_least);
	put(j, digits + i, sizeof(digits) - (size_t)i);
}

void json_text_open(struct json_text *j, const char *key, char kind)
{
	begin(j, key);
	put(j, &kind, 1);
	j->comma = false;
}

void json_text_close(struct json_text *j, char kind)
{
	put(j, &kind, 1);
	j->comma = true;
}

void json_text_number(struct json_text *j, const char *key, uint64_t n)
{
	begin(j, key);
	put_digits(j, n <= INT64_MAX ? n : INT64_MAX, 1);
}

void json_text_signed(struct json_text *j, const char *key, int64_t n)
{
	begin(j, key);
	if (n < 0)
		put(j, "-", 1);
	put_digits(j, n < 0 ? 0 - (uint64_t)n : (uint64_t)n, 1);
}

void json_text_fraction(struct json_text *j, const char *key, uint64_t n, uint32_t scale)
{
	int places = 0;
	uint32_t at;

	for (at = scale; at >= 10; at /= 10)
		places++;
	begin(j, key);
	put_digits(j, n / scale, 1);
	put(j, ".", 1);
	put_digits(j, n % scale, places ? places : 1);
}

void json_text_bool(struct json_text *j, const char *key, bool value)
{
	begin(j, key);
	put(j, value ? "true" : "false", value ? 4 : 5);
}

void json_text_null(struct json_text *j, const char *key)
{
	begin(j, key);
	put(j, "null", 4);
}

void json_text_string(struct json_text *j, const char *key, const char *text)
{
	begin(j, key);
	put_quoted(j, text);
}

char *json_text_take(struct json_text *j, size_t *out_len)
{
	char *text = j->failed ? NULL : j->buf;

	if (j->failed)
		free(j->buf);
	*out_len = j->len;
	*j = (struct json_text){ 0 };
	return text;
}
