/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/* Times as people give them to a program: "2" and "2s" are seconds; "500ms", "1.5s", "10m", "2h". */
#ifndef VRAM_COMMON_DURATION_H
#define VRAM_COMMON_DURATION_H

#include <stdint.h>

/*
 * No sign, no white space; a fraction of up to nine digits. What is left below one nanosecond is dropped.
 * Return: 0, -EINVAL for what is not a time, -ERANGE for one that does not fit.
 */
int duration_parse(const char *text, uint64_t *out_ns);

#endif
