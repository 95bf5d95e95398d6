// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any bytes as the format file of a trace point. Beside crashes it looks for a result that breaks the parser's
 * promises: names that are none, fields twice, a layout that is right by accident.
 *
 * links: tools/vramtrace/format.c tools/vramtrace/layout.c
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vramtrace/layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void name_check(const char name[FORMAT_NAME_MAX])
{
	size_t len = strnlen(name, FORMAT_NAME_MAX);

	if (!len || len == FORMAT_NAME_MAX ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz"
			 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			 "0123456789_") != len)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *reason = NULL;
	struct format format;
	char text[128];

	if (format_parse((const char *)data, size, &format, &reason) != 0) {
		if (!reason)
			abort();
		return 0;
	}
	name_check(format.name);
	if (!format.n_fields || format.n_fields > FORMAT_FIELDS_MAX)
		abort();
	for (size_t i = 0; i < format.n_fields; i++) {
		name_check(format.fields[i].name);
		if (format_find(&format, format.fields[i].name) != &format.fields[i])
			abort();
	}
	for (int kind = 0; kind < EVENT_N_LEDGER; kind++) {
		const struct format_field *comm = format_find(&format, "comm");

		if (layout_check((enum event_kind)kind, &format, text, sizeof(text)) == 0 &&
		    (!comm || comm->size != EVENT_COMM_MAX))
			abort();
	}
	return 0;
}
