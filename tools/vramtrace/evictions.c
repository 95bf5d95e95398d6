// SPDX-License-Identifier: GPL-2.0-only
/* Who pushed out whom, and how soon it was wanted back. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/vramtrace/histogram.h"
#include "tools/vramtrace/refault.h"
#include "tools/vramtrace/tally.h"
#include "tools/vramtrace/view.h"

static struct {
	struct tally pairs; /* (for whom, who lost it); extra: refaults */
	struct refault refault;
	struct histogram distance_kib;
} view;

static void on_loaded(const struct event *event)
{
	struct refault_return back;
	struct tally_row *row;

	/* Only what comes into the device comes back. */
	if (event->to != 0 || !refault_loaded(&view.refault, event->share, event->chunk, &back))
		return;
	histogram_add(&view.distance_kib, back.distance_bytes >> 10);
	row = tally_row(&view.pairs, back.needed_session, back.session);
	row->extra_n++;
	row->extra_sum += back.distance_bytes;
}

static void on_event(struct trace *trace, const struct event *event)
{
	(void)trace;
	switch (event->kind) {
	case EVENT_EVICT:
		tally_add(tally_row(&view.pairs, event->needed_session, event->session),
			  event->bytes);
		break;
	case EVENT_CHUNK_EVICT:
		refault_evicted(&view.refault, event->dev, event->share, event->chunk, event->bytes,
				event->session, event->needed_session);
		break;
	case EVENT_IO_BEGIN:
		on_loaded(event);
		break;
	case EVENT_SHARE_FREE:
		refault_forget(&view.refault, event->share);
		break;
	}
}

/* For whom: a session, or nobody. */
static const char *taker_text(const struct trace *trace, const struct tally_row *row, char *buf,
			      size_t size)
{
	if (row->a && row->a == row->b)
		snprintf(buf, size, "itself");
	else if (!row->a)
		snprintf(buf, size, "limits");
	else
		return names_session_text(&trace->names, row->a, buf, size);
	return buf;
}

static void print_table(const struct trace *trace, struct tally_row **rows, size_t n)
{
	char taker[64], loser[64];

	if (view.distance_kib.n) {
		puts("refault distance");
		histogram_print(&view.distance_kib, "kbytes", stdout);
		putchar('\n');
	}
	printf("%-22s %-22s %9s %9s", "FROM", "FOR", "EVICTIONS", "MBYTES");
	printf(trace->has_vramd ? " %8s %9s\n" : "\n", "REFAULTS", "DIST(MB)");
	for (size_t i = 0; i < n && i < trace->options->top; i++) {
		printf("%-22s %-22s %9" PRIu64 " %9.1f",
		       names_session_text(&trace->names, rows[i]->b, loser, sizeof(loser)),
		       taker_text(trace, rows[i], taker, sizeof(taker)), rows[i]->n,
		       (double)rows[i]->sum / (1 << 20));
		if (trace->has_vramd && rows[i]->extra_n)
			printf(" %8" PRIu64 " %9.1f", rows[i]->extra_n,
			       (double)rows[i]->extra_sum / (double)rows[i]->extra_n / (1 << 20));
		else if (trace->has_vramd)
			printf(" %8d %9s", 0, "-");
		putchar('\n');
	}
}

static json_t *row_json(const struct trace *trace, const struct tally_row *row)
{
	json_t *json = json_pack("{s:o, s:o, s:I, s:I}", "from",
				 session_json(&trace->names, row->b), "for",
				 session_json(&trace->names, row->a), "evictions",
				 (json_int_t)row->n, "bytes", (json_int_t)row->sum);

	if (trace->has_vramd) {
		json_object_set_new(json, "refaults", json_integer((json_int_t)row->extra_n));
		json_object_set_new(json, "refault_distance_bytes",
				    json_integer((json_int_t)row->extra_sum));
	}
	return json;
}

static void report(struct trace *trace, uint64_t now_ns)
{
	struct tally_row **rows;
	uint64_t n_evictions = 0, bytes = 0;
	json_t *list, *json;
	size_t n;

	rows = tally_sorted(&view.pairs, &n);
	for (size_t i = 0; i < n; i++) {
		n_evictions += rows[i]->n;
		bytes += rows[i]->sum;
	}
	if (trace->options->json) {
		list = json_array();
		for (size_t i = 0; i < n && i < trace->options->top; i++)
			json_array_append_new(list, row_json(trace, rows[i]));
		json = json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "view", "evictions",
				 "interval_ns", (json_int_t)(now_ns - trace->since_ns), "evictions",
				 (json_int_t)n_evictions, "bytes", (json_int_t)bytes, "n_rows",
				 (json_int_t)n, "rows", list);
		if (trace->has_vramd) {
			json_object_set_new(json, "refaults",
					    json_integer((json_int_t)view.distance_kib.n));
			json_object_set_new(json, "histogram_refault_kib",
					    histogram_json(&view.distance_kib));
		}
		json_line(trace, now_ns, json);
	} else {
		interval_line(trace, now_ns);
		print_table(trace, rows, n);
	}
	free(rows);
	tally_clear(&view.pairs);
	view.distance_kib = (struct histogram){ 0 };
}

const struct view view_evictions = {
	.name = "evictions",
	.help = "who is pushed out for whom, and how soon it comes back",
	.detail =
		"The refault distance of a chunk is what was evicted from the device since it was evicted itself, its\n"
		"own bytes included, until it is loaded again: so much more memory would have kept it. Without a\n"
		"vramd there are no refaults.\n",
	.title = "evictions",
	.kinds = 1u << EVENT_EVICT | 1u << EVENT_CHUNK_EVICT | 1u << EVENT_IO_BEGIN |
		 1u << EVENT_SESSION_OPEN | 1u << EVENT_SHARE_FREE,
	.event = on_event,
	.report = report,
};
