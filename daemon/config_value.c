// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/config_value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/size.h"

static const struct {
	const char *unit;
	uint64_t ns;
} duration_units[] = {
	{ "h", 3600000000000ull }, { "m", 60000000000ull }, { "s", 1000000000ull },
	{ "ms", 1000000ull },	   { "us", 1000ull },	    { "ns", 1ull },
};
#define N_DURATION_UNITS (sizeof(duration_units) / sizeof(duration_units[0]))

/* Reads digits and steps over them. Return: 0, -EINVAL without any, -ERANGE. */
static int digits_parse(const char **p, uint64_t *out_n)
{
	uint64_t n = 0;

	if (**p < '0' || **p > '9')
		return err_origin(-EINVAL);
	for (; **p >= '0' && **p <= '9'; (*p)++) {
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(**p - '0'), &n))
			return err_origin(-ERANGE);
	}
	*out_n = n;
	return 0;
}

static int count_parse(const char *text, uint64_t *out_n)
{
	int r = digits_parse(&text, out_n);

	return r == 0 && *text ? err_origin(-EINVAL) : err_trace(r);
}

static int duration_parse(const char *text, uint64_t *out_ns)
{
	uint64_t n;
	size_t i;
	int r;

	r = digits_parse(&text, &n);
	if (r < 0)
		return err_trace(r);
	if (n == 0 && !*text) {
		*out_ns = 0;
		return 0;
	}
	for (i = 0; i < N_DURATION_UNITS; i++) {
		if (strcmp(text, duration_units[i].unit) != 0)
			continue;
		if (__builtin_mul_overflow(n, duration_units[i].ns, out_ns))
			return err_origin(-ERANGE);
		return 0;
	}
	return err_origin(-EINVAL);
}

static const char *duration_format(uint64_t ns, char *buf)
{
	size_t i;

	/* The largest unit of which there are at least two: 60s, not 1m. */
	for (i = 0; ns > 0 && i < N_DURATION_UNITS; i++) {
		if (ns % duration_units[i].ns == 0 &&
		    (ns / duration_units[i].ns > 1 || duration_units[i].ns == 1)) {
			snprintf(buf, CONFIG_VALUE_MAX, "%" PRIu64 "%s", ns / duration_units[i].ns,
				 duration_units[i].unit);
			return buf;
		}
	}
	return strcpy(buf, "0");
}

/* "50%": rounded down to 1 MiB, so that it prints shortly. */
static int share_parse(const char *text, uint64_t ram_bytes, uint64_t *out_bytes)
{
	const char *p = text;
	uint64_t percent;

	if (!strchr(text, '%'))
		return err_trace(size_parse(text, out_bytes));
	if (digits_parse(&p, &percent) < 0 || strcmp(p, "%") != 0)
		return err_origin(-EINVAL);
	if (percent < 1 || percent > 100)
		return err_origin(-ERANGE);
	*out_bytes = (uint64_t)((unsigned __int128)ram_bytes * percent / 100) >> 20 << 20;
	return 0;
}

/* What a value of the type looks like, for error messages. */
static const char *type_text(enum config_type type)
{
	switch (type) {
	case CONFIG_COUNT:
		return "a whole number";
	case CONFIG_SIZE:
		return "a size, like 512M or 16G";
	case CONFIG_SIZE_AUTO:
		return "a size, like 512M or 16G, or auto";
	case CONFIG_SHARE:
		return "a size, like 512M or 16G, or a percentage of the RAM, like 50%";
	case CONFIG_SHARE_AUTO:
		return "a size, like 512M or 16G, a percentage of the RAM, like 50%, or auto";
	case CONFIG_RATE:
		return "a rate, like 16G/s, or none";
	case CONFIG_DURATION:
		return "a time, like 30s or 500ms";
	default:
		return "a text";
	}
}

static int number_parse(const struct config_option *option, const char *text, uint64_t ram_bytes,
			uint64_t *out_n)
{
	switch (option->type) {
	case CONFIG_COUNT:
		return err_trace(count_parse(text, out_n));
	case CONFIG_SIZE:
	case CONFIG_SIZE_AUTO:
		return err_trace(size_parse(text, out_n));
	case CONFIG_SHARE:
	case CONFIG_SHARE_AUTO:
		return err_trace(share_parse(text, ram_bytes, out_n));
	case CONFIG_RATE:
		return err_trace(size_parse_rate(text, out_n));
	case CONFIG_DURATION:
		return err_trace(duration_parse(text, out_n));
	default:
		return err_origin(-EINVAL);
	}
}

static const char *number_format(enum config_type type, uint64_t n, char *buf)
{
	char size[SIZE_TEXT_MAX];

	switch (type) {
	case CONFIG_COUNT:
		snprintf(buf, CONFIG_VALUE_MAX, "%" PRIu64, n);
		return buf;
	case CONFIG_DURATION:
		return duration_format(n, buf);
	case CONFIG_RATE:
		snprintf(buf, CONFIG_VALUE_MAX, "%s/s", size_format_exact(size, n));
		return buf;
	default:
		return strcpy(buf, size_format_exact(size, n));
	}
}

static int text_parse(const struct config_option *option, const char *text, char **field,
		      char *what, size_t what_size)
{
	char *copy;
	int r;

	if (option->max > 0 && strlen(text) > option->max) {
		snprintf(what, what_size, "at most %" PRIu64 " bytes", option->max);
		return err_origin(-ERANGE);
	}
	r = option->check ? option->check(text, what, what_size) : 0;
	if (r < 0)
		return err_trace(r);
	copy = strdup(text);
	if (!copy) {
		snprintf(what, what_size, "out of memory");
		return err_origin(-ENOMEM);
	}
	free(*field);
	*field = copy;
	return 0;
}

static int choice_parse(const struct config_choice *choices, const char *text, int *field,
			char *what, size_t what_size)
{
	const struct config_choice *choice;
	size_t n;

	for (choice = choices; choice->name; choice++) {
		if (!strcmp(choice->name, text)) {
			*field = choice->value;
			return 0;
		}
	}
	n = (size_t)snprintf(what, what_size, "'%.64s' is not one of", text);
	for (choice = choices; choice->name && n < what_size; choice++)
		n += (size_t)snprintf(what + n, what_size - n, "%s %s", choice > choices ? "," : "",
				      choice->name);
	return err_origin(-EINVAL);
}

/* The word that stands for 0 and lies outside the range. */
static const char *zero_word(enum config_type type)
{
	if (type == CONFIG_SIZE_AUTO || type == CONFIG_SHARE_AUTO)
		return "auto";
	return type == CONFIG_RATE ? "none" : NULL;
}

int config_value_parse(const struct config_option *option, const char *text, uint64_t ram_bytes,
		       void *field, char *what, size_t what_size)
{
	char low[CONFIG_VALUE_MAX], high[CONFIG_VALUE_MAX];
	const char *zero = zero_word(option->type);
	uint64_t n = 0;
	int r;

	if (option->type == CONFIG_TEXT)
		return err_trace(text_parse(option, text, field, what, what_size));
	if (option->type == CONFIG_CHOICE)
		return err_trace(choice_parse(option->choices, text, field, what, what_size));
	if (zero && !strcmp(text, zero)) {
		*(uint64_t *)field = 0;
		return 0;
	}
	r = option->type == CONFIG_RATE && !strcmp(text, "0") ?
		    0 :
		    number_parse(option, text, ram_bytes, &n);
	if (r == -EINVAL) {
		snprintf(what, what_size, "'%.64s' is not %s", text, type_text(option->type));
		return err_trace(r);
	}
	if (r < 0 || n < option->min || n > option->max) {
		snprintf(what, what_size, "'%.64s' is out of range: %.60s to %.60s", text,
			 number_format(option->type, option->min, low),
			 number_format(option->type, option->max, high));
		return err_origin(-ERANGE);
	}
	if (option->power_of_two && (n & (n - 1)) != 0) {
		snprintf(what, what_size, "'%.64s' is not a power of two", text);
		return err_origin(-EINVAL);
	}
	*(uint64_t *)field = n;
	return 0;
}

const char *config_value_format(const struct config_option *option, const void *field,
				char buf[CONFIG_VALUE_MAX])
{
	const struct config_choice *choice;
	uint64_t n;

	if (option->type == CONFIG_TEXT) {
		snprintf(buf, CONFIG_VALUE_MAX, "%s", *(const char *const *)field);
		return buf;
	}
	if (option->type == CONFIG_CHOICE) {
		for (choice = option->choices; choice->value != *(const int *)field; choice++)
			;
		return strcpy(buf, choice->name);
	}
	n = *(const uint64_t *)field;
	if (n == 0 && zero_word(option->type))
		return strcpy(buf, zero_word(option->type));
	return number_format(option->type, n, buf);
}
