// SPDX-License-Identifier: GPL-2.0-only
/* How long page-in and page-out take, and how much they move. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/vramtrace/histogram.h"
#include "tools/vramtrace/view.h"

#define TIERS 5 /* with none and file */

struct way {
	struct histogram us;
	struct histogram kib;
	uint64_t n;
	uint64_t bytes; /* of those that did not fail */
	uint64_t errors;
	int32_t last_error;
};

static struct way ways[TIERS][TIERS]; /* from, to */

static void on_event(struct trace *trace, const struct event *event)
{
	struct way *way;

	(void)trace;
	if (event->kind != EVENT_IO_END || event->from >= TIERS || event->to >= TIERS)
		return;
	way = &ways[event->from][event->to];
	way->n++;
	if (event->error) {
		way->errors++;
		way->last_error = event->error;
	} else {
		way->bytes += event->bytes;
	}
	histogram_add(&way->us, event->ns / 1000);
	histogram_add(&way->kib, event->bytes >> 10);
}

/* Into the device, out of it, or from the host tier to swap. */
static const char *direction(uint32_t from, uint32_t to)
{
	return to == 0 ? "page-in" : from == 0 ? "page-out" : "write-back";
}

static void print_way(const struct trace *trace, uint64_t now_ns, uint32_t from, uint32_t to)
{
	const struct way *way = &ways[from][to];
	double seconds = (double)(now_ns - trace->since_ns) / 1e9;

	printf("%s %s -> %s: %" PRIu64 " transfers, %.1f MB, %.1f MB/s, %" PRIu64 " failed%s\n",
	       direction(from, to), tier_name(from), tier_name(to), way->n,
	       (double)way->bytes / (1 << 20),
	       seconds > 0 ? (double)way->bytes / (1 << 20) / seconds : 0.0, way->errors,
	       from == 3 ? " (pages that were never written: nothing is read)" : "");
	histogram_print(&way->us, "usecs", stdout);
	histogram_print(&way->kib, "kbytes", stdout);
	putchar('\n');
}

static json_t *way_json(uint32_t from, uint32_t to)
{
	const struct way *way = &ways[from][to];
	json_t *json = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:o}", "direction",
				 direction(from, to), "from", tier_name(from), "to", tier_name(to),
				 "transfers", (json_int_t)way->n, "bytes", (json_int_t)way->bytes,
				 "errors", (json_int_t)way->errors, "total_us",
				 (json_int_t)way->us.sum, "histogram_us", histogram_json(&way->us),
				 "histogram_kib", histogram_json(&way->kib));

	if (way->errors)
		json_object_set_new(json, "last_error", json_integer(way->last_error));
	return json;
}

static void report(struct trace *trace, uint64_t now_ns)
{
	json_t *list = trace->options->json ? json_array() : NULL;
	bool any = false;

	if (!list)
		interval_line(trace, now_ns);
	for (uint32_t from = 0; from < TIERS; from++) {
		for (uint32_t to = 0; to < TIERS; to++) {
			if (!ways[from][to].n)
				continue;
			if (list)
				json_array_append_new(list, way_json(from, to));
			else
				print_way(trace, now_ns, from, to);
			ways[from][to] = (struct way){ 0 };
			any = true;
		}
	}
	if (list)
		json_line(trace, now_ns,
			  json_pack("{s:s, s:I, s:o}", "view", "io", "interval_ns",
				    (json_int_t)(now_ns - trace->since_ns), "ways", list));
	else if (!any)
		puts("no transfers");
}

const struct view view_io = {
	.name = "io",
	.help = "latency and size of page-in and page-out",
	.detail =
		"vramd alone tells of I/O. A transfer is one chunk; from is `file` for a model's weights, `disk` for\n"
		"what is in swap, `host` for what is in the host tier, `none` for pages never written.\n",
	.title = "page-in and page-out",
	.kinds = 1u << EVENT_IO_END,
	.needs_vramd = 1u << EVENT_IO_END,
	.event = on_event,
	.report = report,
};
