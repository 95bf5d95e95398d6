/* SPDX-License-Identifier: GPL-2.0-only */
/* Are the records of the running kernel's trace points as records.h has them? */
#ifndef VRAM_TOOLS_VRAMTRACE_LAYOUT_H
#define VRAM_TOOLS_VRAMTRACE_LAYOUT_H

#include "tools/vramtrace/event.h"
#include "tools/vramtrace/format.h"

/*
 * layout_check() - compares what the format file of a kind's trace point says. More fields are fine.
 * Return: 0; -EPROTO, and how they differ in text.
 */
int layout_check(enum event_kind kind, const struct format *format, char *text, size_t size);

/* For a test: the fields that are known, one after the other. Return: false behind the last. */
bool layout_field(size_t i, enum event_kind *out_kind, struct format_field *out_field);

#endif
