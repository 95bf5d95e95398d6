// SPDX-License-Identifier: GPL-2.0-only
/* Who waited how long for what, and who had taken it. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vramtrace/blame.h"
#include "tools/vramtrace/histogram.h"
#include "tools/vramtrace/tally.h"
#include "tools/vramtrace/view.h"

/* In a row's key: what no layer or chunk is. */
#define PLACE_NONE  UINT64_MAX
#define PLACE_CHUNK (UINT64_C(1) << 32)
/* Causes that are named in a row. */
#define CAUSES_SHOWN 3

/* A wait that is open: what was known when it began. */
struct open_stall {
	uint32_t share; /* or EVENT_NO_SHARE */
	uint64_t place; /* layer, or chunk with PLACE_CHUNK, or PLACE_NONE */
	uint64_t blame;
};

static struct {
	struct tally rows;
	struct histogram us;
	struct blame blame;
	struct map open;   /* (session, slot): struct open_stall */
	struct map faults; /* (session, 0): struct open_stall, for the page fault that comes next */
} view;

static struct open_stall *stall_new(void)
{
	struct open_stall *stall = calloc(1, sizeof(*stall));

	if (!stall) {
		fputs("vramtrace: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	*stall = (struct open_stall){ .share = EVENT_NO_SHARE,
				      .place = PLACE_NONE,
				      .blame = BLAME_NOBODY };
	return stall;
}

/* What a wait is for. The caller's to free. */
static struct open_stall *look_at(const struct trace *trace, const struct event *event)
{
	const struct open_stall *fault;
	struct open_stall *stall = stall_new();
	uint32_t share, layer;

	if (event->slot != EVENT_NO_SLOT) {
		if (names_layer(&trace->names, event->session, event->slot, &share, &layer)) {
			stall->share = share;
			stall->place = layer;
		}
	} else {
		fault = map_get(&view.faults, event->session, 0);
		if (fault)
			*stall = *fault;
	}
	stall->blame = blame_for(&view.blame, event->session, stall->share);
	return stall;
}

static uint64_t uid_of(const struct trace *trace, uint64_t session)
{
	const struct names_session *s = names_session(&trace->names, session);

	return s && s->has_uid ? s->uid : UINT64_MAX;
}

static void on_end(const struct trace *trace, const struct event *event)
{
	struct open_stall *stall = map_remove(&view.open, event->session, event->slot);
	struct tally_row *row;

	/* It began before we did. */
	if (!stall)
		stall = look_at(trace, event);
	switch (trace->options->by) {
	case BY_TENANT:
		row = tally_row(&view.rows, event->session, 0);
		break;
	case BY_USER:
		row = tally_row(&view.rows, uid_of(trace, event->session), 0);
		break;
	case BY_MODEL:
		row = tally_row(&view.rows, stall->share, 0);
		break;
	default:
		row = tally_row(&view.rows, stall->share, stall->place);
		break;
	}
	tally_add(row, event->ns);
	tally_add_cause(row, stall->blame == event->session ? BLAME_ITSELF : stall->blame,
			event->ns);
	histogram_add(&view.us, event->ns / 1000);
	free(stall);
}

static void on_event(struct trace *trace, const struct event *event)
{
	struct open_stall *stall;

	switch (event->kind) {
	case EVENT_STALL_BEGIN:
		free(map_put(&view.open, event->session, event->slot, look_at(trace, event)));
		break;
	case EVENT_STALL_END:
		on_end(trace, event);
		break;
	case EVENT_EVICT:
		blame_evicted(&view.blame, event->session, event->share, event->needed_session);
		break;
	case EVENT_CHUNK_FAULT:
		stall = stall_new();
		stall->share = event->share;
		stall->place = PLACE_CHUNK | event->chunk;
		free(map_put(&view.faults, event->session, 0, stall));
		break;
	case EVENT_SHARE_FREE:
		blame_forget_share(&view.blame, event->share);
		break;
	}
}

/* ---- printing -------------------------------------------------------------------- */

static const char *user_text(uint64_t uid, char *buf, size_t size)
{
	const struct passwd *user = uid == UINT64_MAX ? NULL : getpwuid((uid_t)uid);

	if (uid == UINT64_MAX)
		snprintf(buf, size, "user unknown");
	else if (user)
		snprintf(buf, size, "%s", user->pw_name);
	else
		snprintf(buf, size, "user %" PRIu64, uid);
	return buf;
}

static const char *row_text(const struct trace *trace, const struct tally_row *row, char *buf,
			    size_t size)
{
	char share[EVENT_NAME_MAX + 16];

	switch (trace->options->by) {
	case BY_TENANT:
		return names_session_text(&trace->names, row->a, buf, size);
	case BY_USER:
		return user_text(row->a, buf, size);
	case BY_MODEL:
		if (row->a == EVENT_NO_SHARE)
			snprintf(buf, size, "(not known)");
		else
			names_share_text(&trace->names, (uint32_t)row->a, buf, size);
		return buf;
	default:
		break;
	}
	names_share_text(&trace->names, (uint32_t)row->a, share, sizeof(share));
	if (row->a == EVENT_NO_SHARE)
		snprintf(buf, size, "(not known)");
	else if (row->b & PLACE_CHUNK)
		snprintf(buf, size, "%s, chunk %u", share, (unsigned int)row->b);
	else
		snprintf(buf, size, "%s, layer %u", share, (unsigned int)row->b);
	return buf;
}

static const char *cause_text(const struct trace *trace, uint64_t cause, char *buf, size_t size)
{
	if (cause == BLAME_NOBODY)
		snprintf(buf, size, "first load");
	else if (cause == BLAME_ITSELF)
		snprintf(buf, size, "itself");
	else if (cause == BLAME_ADMIN)
		snprintf(buf, size, "limits");
	else
		return names_session_text(&trace->names, cause, buf, size);
	return buf;
}

static void print_causes(const struct trace *trace, const struct tally_row *row)
{
	struct tally_cause **causes;
	char text[64];
	size_t n;

	causes = tally_causes(row, &n);
	for (size_t i = 0; i < n && i < CAUSES_SHOWN; i++)
		printf("%s%s %u%%", i ? ", " : "",
		       cause_text(trace, causes[i]->cause, text, sizeof(text)),
		       row->sum ? (unsigned int)(causes[i]->sum * 100.0 / (double)row->sum + 0.5) :
				  0);
	free(causes);
}

static void print_table(const struct trace *trace, struct tally_row **rows, size_t n)
{
	static const char *const titles[] = { "TENANT", "USER", "MODEL", "LAYER" };
	char text[EVENT_NAME_MAX + 64];

	histogram_print(&view.us, "usecs", stdout);
	printf("%s%-28s %8s %11s %9s %9s  %s\n", view.us.n ? "\n" : "", titles[trace->options->by],
	       "STALLS", "TOTAL(ms)", "AVG(ms)", "MAX(ms)", "TAKEN BY");
	for (size_t i = 0; i < n && i < trace->options->top; i++) {
		printf("%-28s %8" PRIu64 " %11.3f %9.3f %9.3f  ",
		       row_text(trace, rows[i], text, sizeof(text)), rows[i]->n,
		       (double)rows[i]->sum / 1e6, (double)rows[i]->sum / (double)rows[i]->n / 1e6,
		       (double)rows[i]->max / 1e6);
		print_causes(trace, rows[i]);
		putchar('\n');
	}
}

static json_t *causes_json(const struct trace *trace, const struct tally_row *row)
{
	struct tally_cause **causes;
	json_t *list = json_array();
	char text[64];
	size_t n;

	causes = tally_causes(row, &n);
	for (size_t i = 0; i < n; i++) {
		uint64_t cause = causes[i]->cause;
		json_t *by = json_pack("{s:o, s:I, s:I}", "by",
				       json_text(cause_text(trace, cause, text, sizeof(text))),
				       "stalls", (json_int_t)causes[i]->n, "stall_ns",
				       (json_int_t)causes[i]->sum);

		if (cause != BLAME_NOBODY && cause != BLAME_ITSELF && cause != BLAME_ADMIN)
			json_object_set_new(by, "session", json_integer((json_int_t)cause));
		json_array_append_new(list, by);
	}
	free(causes);
	return list;
}

static json_t *row_json(const struct trace *trace, const struct tally_row *row)
{
	char text[EVENT_NAME_MAX + 64];
	json_t *json = json_pack("{s:o, s:I, s:I, s:I, s:o}", "name",
				 json_text(row_text(trace, row, text, sizeof(text))), "stalls",
				 (json_int_t)row->n, "stall_ns", (json_int_t)row->sum, "max_ns",
				 (json_int_t)row->max, "taken_by", causes_json(trace, row));

	switch (trace->options->by) {
	case BY_TENANT:
		json_object_set_new(json, "tenant", session_json(&trace->names, row->a));
		break;
	case BY_USER:
		json_object_set_new(json, "uid",
				    row->a == UINT64_MAX ? json_null() :
							   json_integer((json_int_t)row->a));
		break;
	default:
		json_object_set_new(json, "share",
				    row->a == EVENT_NO_SHARE ? json_null() :
							       json_integer((json_int_t)row->a));
		if (trace->options->by == BY_LAYER && row->b != PLACE_NONE)
			json_object_set_new(json, row->b & PLACE_CHUNK ? "chunk" : "layer",
					    json_integer((uint32_t)row->b));
		break;
	}
	return json;
}

static void report(struct trace *trace, uint64_t now_ns)
{
	static const char *const bys[] = { "tenant", "user", "model", "layer" };
	struct tally_row **rows;
	json_t *list;
	size_t n;

	rows = tally_sorted(&view.rows, &n);
	if (trace->options->json) {
		list = json_array();
		for (size_t i = 0; i < n && i < trace->options->top; i++)
			json_array_append_new(list, row_json(trace, rows[i]));
		json_line(trace, now_ns,
			  json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:I, s:o}", "view", "stalls",
				    "by", bys[trace->options->by], "interval_ns",
				    (json_int_t)(now_ns - trace->since_ns), "stalls",
				    (json_int_t)view.us.n, "stall_us", (json_int_t)view.us.sum,
				    "histogram_us", histogram_json(&view.us), "n_rows",
				    (json_int_t)n, "rows", list));
	} else {
		interval_line(trace, now_ns);
		print_table(trace, rows, n);
	}
	free(rows);
	tally_clear(&view.rows);
	view.us = (struct histogram){ 0 };
}

const struct view view_stalls = {
	.name = "stalls",
	.help = "how long who waits for what, and who had taken it",
	.detail =
		"TAKEN BY names for whom the memory was taken that is waited for, by share of the time: itself (a\n"
		"program that streams through its own model), limits, or first load: nobody since tracing began.\n"
		"Models and layers are known by vramd alone.\n",
	.title = "stalls",
	.kinds = 1u << EVENT_STALL_BEGIN | 1u << EVENT_STALL_END | 1u << EVENT_EVICT |
		 1u << EVENT_SESSION_OPEN | 1u << EVENT_CHUNK_FAULT | 1u << EVENT_SHARE_NEW |
		 1u << EVENT_SHARE_FREE | 1u << EVENT_LAYERS,
	.event = on_event,
	.report = report,
};
