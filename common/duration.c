// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "common/duration.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "common/err.h"

static const struct {
	const char *unit;
	uint64_t ns;
} units[] = {
	{ "", 1000000000ull },	 { "s", 1000000000ull },    { "ms", 1000000ull }, { "us", 1000ull },
	{ "m", 60000000000ull }, { "h", 3600000000000ull }, { "ns", 1ull },
};

static uint64_t unit_find(const char *text)
{
	size_t i;

	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (!strcmp(text, units[i].unit))
			return units[i].ns;
	return 0;
}

int duration_parse(const char *text, uint64_t *out_ns)
{
	uint64_t whole = 0, fraction = 0, scale = 1, unit, ns;
	const char *p = text;

	if (*p < '0' || *p > '9')
		return err_origin(-EINVAL);
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
			return err_origin(-ERANGE);
	if (*p == '.') {
		if (p[1] < '0' || p[1] > '9')
			return err_origin(-EINVAL);
		for (p++; *p >= '0' && *p <= '9'; p++) {
			if (scale >= 1000000000ull)
				return err_origin(-EINVAL);
			fraction = fraction * 10 + (uint64_t)(*p - '0');
			scale *= 10;
		}
	}
	unit = unit_find(p);
	if (!unit)
		return err_origin(-EINVAL);
	if (__builtin_mul_overflow(whole, unit, &ns) ||
	    __builtin_add_overflow(ns, (uint64_t)((unsigned __int128)fraction * unit / scale), &ns))
		return err_origin(-ERANGE);
	*out_ns = ns;
	return 0;
}
