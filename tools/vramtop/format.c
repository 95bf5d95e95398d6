// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtop/format.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *special(char buf[FORMAT_MAX], double value)
{
	if (!isnan(value) && !isinf(value))
		return NULL;
	return strcpy(buf, isnan(value) ? "-" : "max");
}

/* With the one digit that would be shown. */
static bool is_whole(double value)
{
	long long tenths = (long long)(value * 10 + 0.5);

	return tenths % 10 == 0;
}

/* With one digit behind the point as long as that is no longer than a whole number of the same unit. */
static const char *scaled(char buf[FORMAT_MAX], double value, double step, const char *units)
{
	while (fabs(value) >= step - 0.5 && units[1]) {
		value /= step;
		units++;
	}
	if (fabs(value) >= 99.95 || *units == ' ' || is_whole(value))
		snprintf(buf, FORMAT_MAX, "%.0f%.*s", value, *units != ' ', units);
	else
		snprintf(buf, FORMAT_MAX, "%.1f%c", value, *units);
	return buf;
}

const char *format_bytes(char buf[FORMAT_MAX], double bytes)
{
	const char *text = special(buf, bytes);

	return text ? text : scaled(buf, bytes, 1024, " KMGTPE");
}

const char *format_count(char buf[FORMAT_MAX], double count)
{
	const char *text = special(buf, count);

	if (text)
		return text;
	if (fabs(count) < 99999.5) {
		snprintf(buf, FORMAT_MAX, "%.0f", count);
		return buf;
	}
	return scaled(buf, count, 1000, " kMGTPE");
}

const char *format_percent(char buf[FORMAT_MAX], double percent)
{
	const char *text = special(buf, percent);

	if (text)
		return text;
	/* 99.96 is not all, and 0.04 is not nothing. */
	if (percent > 0 && percent < 0.1)
		percent = 0.1;
	snprintf(buf, FORMAT_MAX, "%.*f%%", percent > 0 && percent < 9.95,
		 percent < 100 && percent > 99 ? 99 : percent);
	return buf;
}

const char *format_time(char buf[FORMAT_MAX], double ns)
{
	const char *text = special(buf, ns);
	double seconds = ns / 1e9;
	unsigned long s;

	if (text)
		return text;
	if (ns < 0)
		return strcpy(buf, "-");
	if (ns < 999.5)
		snprintf(buf, FORMAT_MAX, "%.0fns", ns);
	else if (ns < 999.5e3)
		snprintf(buf, FORMAT_MAX, "%.0fus", ns / 1e3);
	else if (ns < 999.5e6)
		snprintf(buf, FORMAT_MAX, "%.0fms", ns / 1e6);
	else if (seconds < 9.995)
		snprintf(buf, FORMAT_MAX, "%.2fs", seconds);
	else if (seconds < 59.95)
		snprintf(buf, FORMAT_MAX, "%.1fs", seconds);
	else if (seconds < 3600e6) {
		s = (unsigned long)(seconds + 0.5);
		if (s < 600)
			snprintf(buf, FORMAT_MAX, "%lum%02lus", s / 60, s % 60);
		else if (s < 3600)
			snprintf(buf, FORMAT_MAX, "%lum", s / 60);
		else if (s < 10 * 3600)
			snprintf(buf, FORMAT_MAX, "%luh%02lum", s / 3600, s / 60 % 60);
		else if (s < 100 * 3600)
			snprintf(buf, FORMAT_MAX, "%luh", s / 3600);
		else
			snprintf(buf, FORMAT_MAX, "%lud", s / 86400);
	} else {
		snprintf(buf, FORMAT_MAX, "%.0fy", seconds / (365.25 * 86400));
	}
	return buf;
}
