// SPDX-License-Identifier: GPL-2.0-only
/* The stream of events, as they happen. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/vramtrace/view.h"

/* How a field is shown. */
enum form {
	FORM_U64,
	FORM_U32,
	FORM_S32,
	FORM_ID, /* 4294967295 is none: -1 */
	FORM_TIER,
	FORM_KIND, /* of a group */
	FORM_LIMIT,
	FORM_VALUE, /* of a limit: `max` */
	FORM_SHARE_KIND,
	FORM_COMM,
	FORM_NAME,
};

struct field {
	uint32_t kinds;
	const char *name; /* as in docs/tracing.md */
	size_t offset;
	enum form form;
};

#define K(kind)	     (1u << EVENT_##kind)
#define FIELD(field) offsetof(struct event, field)
#define MOVES	     (K(EVICT) | K(RESTORE))
#define BYTES	     (K(CHARGE) | K(UNCHARGE))
#define STALLS	     (K(STALL_BEGIN) | K(STALL_END))
#define IO	     (K(IO_BEGIN) | K(IO_END))
#define CHUNKS	     (K(CHUNK_EVICT) | K(CHUNK_FAULT))
#define ARBITER	     (K(ARBITER_ATTACH) | K(ARBITER_DETACH))
#define SESSIONS     (K(SESSION_OPEN) | K(SESSION_CLOSE))

static const struct field fields[] = {
	{ SESSIONS | BYTES | K(LIMIT_HIT) | STALLS | MOVES | IO | CHUNKS | K(LAYERS), "session",
	  FIELD(session), FORM_U64 },
	{ MOVES | K(CHUNK_EVICT), "needed_session", FIELD(needed_session), FORM_U64 },
	{ K(LIMIT_CHANGE), "kind", FIELD(group), FORM_KIND },
	{ K(LIMIT_CHANGE), "key", FIELD(key), FORM_U64 },
	{ ARBITER, "generation", FIELD(key), FORM_U64 },
	{ ARBITER, "grace_ms", FIELD(limit), FORM_U32 },
	{ BYTES | K(LIMIT_HIT) | MOVES | IO | CHUNKS | K(SHARE_NEW) | K(SHARE_FREE) | K(LAYERS),
	  "share", FIELD(share), FORM_ID },
	{ BYTES | K(LIMIT_HIT) | STALLS | MOVES | K(LIMIT_CHANGE) | IO | CHUNKS | K(SHARE_NEW) |
		  K(SHARE_FREE),
	  "dev", FIELD(dev), FORM_U32 },
	{ IO | CHUNKS, "chunk", FIELD(chunk), FORM_U32 },
	{ STALLS, "slot", FIELD(slot), FORM_ID },
	{ BYTES | K(LIMIT_HIT) | K(LIMIT_CHANGE), "tier", FIELD(from), FORM_TIER },
	{ MOVES | IO, "from", FIELD(from), FORM_TIER },
	{ MOVES | IO, "to", FIELD(to), FORM_TIER },
	{ BYTES | K(LIMIT_HIT) | MOVES | IO | CHUNKS | K(SHARE_NEW), "bytes", FIELD(bytes),
	  FORM_U64 },
	{ K(SESSION_CLOSE), "vram_bytes", FIELD(bytes), FORM_U64 },
	{ K(SESSION_CLOSE), "host_bytes", FIELD(key), FORM_U64 },
	{ K(SESSION_CLOSE), "disk_bytes", FIELD(value), FORM_U64 },
	{ K(STALL_END), "stall_ns", FIELD(ns), FORM_U64 },
	{ K(IO_END), "ns", FIELD(ns), FORM_U64 },
	{ K(IO_END), "error", FIELD(error), FORM_S32 },
	{ K(LIMIT_HIT), "limit_kind", FIELD(group), FORM_KIND },
	{ K(LIMIT_HIT), "limit_key", FIELD(key), FORM_U64 },
	{ K(LIMIT_CHANGE), "limit", FIELD(limit), FORM_LIMIT },
	{ K(LIMIT_CHANGE), "value", FIELD(value), FORM_VALUE },
	{ K(LIMIT_CHANGE), "flags", FIELD(flags), FORM_U32 },
	{ K(SHARE_NEW), "kind", FIELD(group), FORM_SHARE_KIND },
	{ K(SHARE_NEW), "chunk_bytes", FIELD(limit), FORM_U32 },
	{ K(SHARE_NEW), "name", 0, FORM_NAME },
	{ K(LAYERS), "first_slot", FIELD(slot), FORM_U32 },
	{ K(LAYERS), "n_layers", FIELD(chunk), FORM_U32 },
	{ SESSIONS, "uid", FIELD(uid), FORM_U32 },
	{ ~(K(SHARE_NEW) | K(SHARE_FREE) | K(LAYERS)), "pid", FIELD(pid), FORM_S32 },
	{ ~(K(SHARE_NEW) | K(SHARE_FREE) | K(LAYERS)), "comm", FIELD(comm), FORM_COMM },
	{ MOVES | K(CHUNK_EVICT), "needed_pid", FIELD(needed_pid), FORM_S32 },
	{ MOVES | K(CHUNK_EVICT), "needed_comm", FIELD(needed_comm), FORM_COMM },
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static const char *text_of(const char *const *texts, size_t n, uint32_t i)
{
	return i < n ? texts[i] : "?";
}

static const char *word_of(const struct field *field, uint32_t value)
{
	static const char *const kinds[] = { "root", "user", "cgroup", "exe", "session" };
	static const char *const limits[] = { "min", "low", "high", "max", "weight" };
	static const char *const shares[] = { "model", "buffer" };

	switch (field->form) {
	case FORM_TIER:
		return tier_name(value);
	case FORM_KIND:
		return text_of(kinds, 5, value);
	case FORM_LIMIT:
		return text_of(limits, 5, value);
	default:
		return text_of(shares, 2, value);
	}
}

static uint64_t number_of(const struct field *field, const struct event *event)
{
	const char *at = (const char *)event + field->offset;
	uint64_t wide;
	uint32_t narrow;

	if (field->form == FORM_U64 || field->form == FORM_VALUE) {
		memcpy(&wide, at, sizeof(wide));
		return wide;
	}
	memcpy(&narrow, at, sizeof(narrow));
	return narrow;
}

/* comm and names end with a zero only where there is room. */
static const char *string_of(const struct field *field, const struct event *event, char *buf,
			     size_t size)
{
	const struct event_named *named = (const struct event_named *)(const void *)event;

	if (field->form == FORM_NAME)
		snprintf(buf, size, "%.*s", EVENT_NAME_MAX, named->name);
	else
		snprintf(buf, size, "%.*s", EVENT_COMM_MAX, (const char *)event + field->offset);
	return buf;
}

static void print_field(const struct field *field, const struct event *event)
{
	uint64_t n = number_of(field, event);
	char text[EVENT_NAME_MAX + 1];

	switch (field->form) {
	case FORM_U64:
	case FORM_U32:
		printf(" %s=%" PRIu64, field->name, n);
		return;
	case FORM_S32:
	case FORM_ID:
		printf(" %s=%d", field->name, (int)(int32_t)(uint32_t)n);
		return;
	case FORM_VALUE:
		if (n == UINT64_MAX)
			printf(" %s=max", field->name);
		else
			printf(" %s=%" PRIu64, field->name, n);
		return;
	case FORM_COMM:
	case FORM_NAME:
		string_of(field, event, text, sizeof(text));
		for (unsigned char *c = (unsigned char *)text; *c; c++)
			if (*c <= 0x20 || *c == 0x7f)
				*c = *c == ' ' && field->form == FORM_NAME ? ' ' : '?';
		printf(" %s=%s", field->name, text);
		return;
	default:
		printf(" %s=%s", field->name, word_of(field, (uint32_t)n));
	}
}

static json_t *field_json(const struct field *field, const struct event *event)
{
	uint64_t n = number_of(field, event);
	char text[EVENT_NAME_MAX + 1];

	switch (field->form) {
	case FORM_S32:
	case FORM_ID:
		return json_integer((int32_t)(uint32_t)n);
	case FORM_VALUE:
		return n == UINT64_MAX ? json_string("max") : json_integer((json_int_t)n);
	case FORM_U64:
	case FORM_U32:
		return json_integer((json_int_t)n);
	case FORM_COMM:
	case FORM_NAME:
		return json_text(string_of(field, event, text, sizeof(text)));
	default:
		return json_string(word_of(field, (uint32_t)n));
	}
}

static bool has_field(const struct field *field, const struct event *event)
{
	return event->kind < EVENT_N_KINDS && field->kinds & 1u << event->kind;
}

static void on_event(struct trace *trace, const struct event *event)
{
	char text[32];
	json_t *json;
	size_t i;

	if (!(trace->options->kinds & 1u << event->kind))
		return;
	if (trace->options->json) {
		json = json_pack("{s:s, s:I}", "event", kind_name(event->kind), "time_ns",
				 (json_int_t)event->time_ns);
		for (i = 0; i < N_FIELDS; i++)
			if (has_field(&fields[i], event))
				json_object_set_new(json, fields[i].name,
						    field_json(&fields[i], event));
		json_line(trace, event->time_ns, json);
		return;
	}
	if (trace->options->timestamps)
		printf("%s ", time_text(trace, event->time_ns, true, text, sizeof(text)));
	printf("%-20s", kind_name(event->kind));
	for (i = 0; i < N_FIELDS; i++)
		if (has_field(&fields[i], event))
			print_field(&fields[i], event);
	putchar('\n');
}

const struct view view_events = {
	.name = "events",
	.help = "events as they happen, one a line",
	.detail =
		"Fields are those of docs/tracing.md. --event NAME,... selects; a * at the end of a name\n"
		"stands for anything. Without it all are shown but vram_chunk_* and vram_layers.\n",
	.title = "events of vram",
	.kinds = (1u << EVENT_N_KINDS) - 1,
	.event = on_event,
};
