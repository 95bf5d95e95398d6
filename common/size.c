// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "common/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char size_units[] = "KMGT";

/* Locale-free: isdigit() and strtod() are not. */
static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/*
 * Reads the unit at *p and steps over it.
 * Return: log2 of the multiplier, -1 for an unknown unit.
 */
static int parse_unit(const char **p)
{
	const char *at;
	int shift = 0;
	char up;

	if (**p == '\0')
		return 0;
	up = **p >= 'a' && **p <= 'z' ? (char)(**p - 'a' + 'A') : **p;
	at = strchr(size_units, up);
	if (at) {
		shift = 10 * (int)(at - size_units + 1);
		(*p)++;
		if (!strncasecmp(*p, "ib", 2))
			*p += 2;
		else if (**p == 'B' || **p == 'b')
			(*p)++;
		return shift;
	}
	if (up == 'B') {
		(*p)++;
		return 0;
	}
	return -1;
}

/* Parses text[0..len); the caller has dealt with "max". */
static int parse_number(const char *text, uint64_t *out_bytes)
{
	/*
	 * Twelve digits are finer than one byte of a T; a longer fraction only loses what
	 * is dropped anyway.
	 */
	const int frac_digits_max = 13;
	uint64_t whole = 0, frac = 0, frac_scale = 1;
	bool has_frac = false;
	const char *p = text;
	unsigned __int128 bytes;
	int shift;

	if (!is_digit(*p))
		return -EINVAL;
	for (; is_digit(*p); p++) {
		if (__builtin_mul_overflow(whole, (uint64_t)10, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
			whole = UINT64_MAX; /* saturates: the syntax behind it is still checked */
	}
	if (*p == '.') {
		int n = 0;

		has_frac = true;
		p++;
		if (!is_digit(*p))
			return -EINVAL;
		for (; is_digit(*p); p++) {
			if (n++ >= frac_digits_max)
				continue;
			frac = frac * 10 + (uint64_t)(*p - '0');
			frac_scale *= 10;
		}
	}
	shift = parse_unit(&p);
	if (shift < 0 || *p != '\0')
		return -EINVAL;
	if (has_frac && shift == 0)
		return -EINVAL;

	bytes = (unsigned __int128)whole << shift;
	bytes += ((unsigned __int128)frac << shift) / frac_scale;
	/* The last value means "max" and must not come from a number. */
	if (bytes >= SIZE_UNLIMITED)
		return -ERANGE;
	*out_bytes = (uint64_t)bytes;
	return 0;
}

int size_parse(const char *text, uint64_t *out_bytes)
{
	if (!strcmp(text, "max")) {
		*out_bytes = SIZE_UNLIMITED;
		return 0;
	}
	return parse_number(text, out_bytes);
}

int size_parse_rate(const char *text, uint64_t *out_bytes_per_s)
{
	size_t len = strlen(text);
	char number[64];

	if (!strcmp(text, "max")) {
		*out_bytes_per_s = SIZE_UNLIMITED;
		return 0;
	}
	if (len < 3 || strcmp(text + len - 2, "/s") || len - 2 >= sizeof(number))
		return -EINVAL;
	memcpy(number, text, len - 2);
	number[len - 2] = '\0';
	return parse_number(number, out_bytes_per_s);
}

const char *size_format(char buf[SIZE_TEXT_MAX], uint64_t bytes)
{
	uint64_t tenths;
	int unit = -1;

	if (bytes == SIZE_UNLIMITED) {
		strcpy(buf, "max");
		return buf;
	}
	if (bytes < 1024) {
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 "B", bytes);
		return buf;
	}
	/* Rounding may reach the next unit: 1048575 bytes read "1M", not "1024K". */
	do {
		unsigned __int128 one;

		unit++;
		one = (unsigned __int128)1 << (10 * (unit + 1));
		tenths = (uint64_t)(((unsigned __int128)bytes * 10 + one / 2) / one);
	} while (tenths >= 10240 && size_units[unit + 1]);

	if (tenths % 10)
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 ".%u%c", tenths / 10,
			 (unsigned)(tenths % 10), size_units[unit]);
	else
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 "%c", tenths / 10, size_units[unit]);
	return buf;
}

const char *size_format_exact(char buf[SIZE_TEXT_MAX], uint64_t bytes)
{
	int unit = -1;

	if (bytes == SIZE_UNLIMITED) {
		strcpy(buf, "max");
		return buf;
	}
	while (bytes && bytes % 1024 == 0 && size_units[unit + 1]) {
		bytes /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64, bytes);
	else
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 "%c", bytes, size_units[unit]);
	return buf;
}

const char *size_format_rate(char buf[SIZE_TEXT_MAX], uint64_t bytes_per_s)
{
	size_format(buf, bytes_per_s);
	if (bytes_per_s != SIZE_UNLIMITED)
		strcat(buf, "/s");
	return buf;
}
