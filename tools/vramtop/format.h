/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers in five columns, for people. What is not known (a NaN) is "-", without bound "max". */
#ifndef VRAM_TOOLS_VRAMTOP_FORMAT_H
#define VRAM_TOOLS_VRAMTOP_FORMAT_H

#define FORMAT_MAX 24

/* All return buf. */
const char *format_bytes(char buf[FORMAT_MAX], double bytes);	  /* "12.3G", "1023M", "0" */
const char *format_count(char buf[FORMAT_MAX], double count);	  /* "12345", "1.2M" (thousands) */
const char *format_percent(char buf[FORMAT_MAX], double percent); /* "0.4%", "43%", "100%" */
const char *format_time(char buf[FORMAT_MAX],
			double ns); /* "350us", "1.25s", "2m05s", "3h10m", "4d" */

#endif
