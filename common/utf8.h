/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/* Names come from other programs and may be any bytes; JSON and OpenMetrics take UTF-8 only. */
#ifndef VRAM_COMMON_UTF8_H
#define VRAM_COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Well-formed UTF-8: no surrogates, nothing beyond U+10FFFF, no longer form than needed. */
bool utf8_is_valid(const char *text);

#endif
