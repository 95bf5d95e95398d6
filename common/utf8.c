// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "common/utf8.h"

#include <stdint.h>

/* Table 3-7 of the Unicode standard. Return: length of the sequence, 0 if it is none. */
static size_t sequence(const unsigned char *p)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n, i;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	/* The terminating zero is no continuation, so nothing behind it is read. */
	for (i = 1; i < n; i++, low = 0x80, high = 0xbf)
		if (p[i] < low || p[i] > high)
			return 0;
	return n;
}

bool utf8_is_valid(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t n;

	for (; *p; p += n) {
		n = sequence(p);
		if (n == 0)
			return false;
	}
	return true;
}
