/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The `format` file of a trace point: which fields its records have, and where. The text comes from a kernel,
 * which may be any; what is not as expected is refused, never guessed.
 */
#ifndef VRAM_TOOLS_VRAMTRACE_FORMAT_H
#define VRAM_TOOLS_VRAMTRACE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FORMAT_FIELDS_MAX 32
#define FORMAT_NAME_MAX	  48

struct format_field {
	char name[FORMAT_NAME_MAX]; /* without the brackets of an array */
	uint32_t offset;
	uint32_t size;
	bool is_signed;
};

struct format {
	char name[FORMAT_NAME_MAX];
	uint32_t id;
	size_t n_fields;
	struct format_field fields[FORMAT_FIELDS_MAX]; /* the common ones, too */
};

/* text need not end with a zero. Return: 0; -EBADMSG and why in *out_reason (static). */
int format_parse(const char *text, size_t len, struct format *out, const char **out_reason);
/* Return: NULL if there is none. */
const struct format_field *format_find(const struct format *format, const char *name);

#endif
