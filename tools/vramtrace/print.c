// SPDX-License-Identifier: GPL-2.0-only
/* What views have in common in printing. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/vramtrace/view.h"

const char *kind_name(uint32_t kind)
{
	static const char *const names[EVENT_N_KINDS] = {
#define EVENT_NAME(kind, name) [EVENT_##kind] = #name,
		EVENT_KINDS(EVENT_NAME)
	};

	return kind < EVENT_N_KINDS ? names[kind] : "?";
}

const char *tier_name(uint32_t tier)
{
	static const char *const names[] = { "vram", "host", "disk", "none", "file" };

	return tier < sizeof(names) / sizeof(names[0]) ? names[tier] : "?";
}

char *time_text(const struct trace *trace, uint64_t time_ns, bool precise, char *buf, size_t size)
{
	uint64_t ns = time_ns + trace->clock_ns;
	time_t seconds = (time_t)(ns / 1000000000u);
	char clock[16];
	struct tm tm;

	if (!localtime_r(&seconds, &tm) || !strftime(clock, sizeof(clock), "%H:%M:%S", &tm))
		snprintf(clock, sizeof(clock), "?");
	if (precise)
		snprintf(buf, size, "%s.%06u", clock, (unsigned int)(ns / 1000 % 1000000));
	else
		snprintf(buf, size, "%s", clock);
	return buf;
}

void json_line(const struct trace *trace, uint64_t time_ns, json_t *object)
{
	if (object && trace->options->timestamps) {
		uint64_t ns = time_ns + trace->clock_ns;

		json_object_set_new(object, "time", json_real((double)(ns / 1000) / 1000000.0));
	}
	if (!object || json_dumpf(object, stdout, JSON_COMPACT) < 0) {
		fputs("vramtrace: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	putchar('\n');
	json_decref(object);
}

void interval_line(const struct trace *trace, uint64_t now_ns)
{
	char text[32];

	if (trace->options->timestamps)
		printf("\n%s\n", time_text(trace, now_ns, false, text, sizeof(text)));
	else if (trace->options->interval_ns)
		putchar('\n');
}

json_t *json_text(const char *text)
{
	json_t *json = json_string(text);
	char *copy;

	/* Names of processes may hold anything. */
	if (json)
		return json;
	copy = strdup(text);
	for (char *c = copy; c && *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	json = copy ? json_string(copy) : NULL;
	free(copy);
	return json;
}

json_t *session_json(const struct names *names, uint64_t session)
{
	const struct names_session *s = names_session(names, session);
	json_t *json;

	if (!session)
		return json_null();
	json = json_pack("{s:I}", "session", (json_int_t)session);
	if (s) {
		json_object_set_new(json, "pid", json_integer(s->pid));
		if (s->has_uid)
			json_object_set_new(json, "uid", json_integer(s->uid));
		json_object_set_new(json, "comm", json_text(s->comm));
	}
	return json;
}

json_t *histogram_json(const struct histogram *h)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < HISTOGRAM_SLOTS; i++)
		if (h->slots[i])
			json_array_append_new(list,
					      json_pack("{s:I, s:I, s:I}", "low",
							(json_int_t)histogram_low(i), "high",
							(json_int_t)(histogram_high(i) & INT64_MAX),
							"count", (json_int_t)h->slots[i]));
	return list;
}
