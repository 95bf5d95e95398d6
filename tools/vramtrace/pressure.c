// SPDX-License-Identifier: GPL-2.0-only
/* An interval's waits and evictions, tenant by tenant. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/vramtrace/meter.h"
#include "tools/vramtrace/view.h"

struct tenant {
	uint64_t session; /* 0: all of them */
	struct meter meter;
	/* Of the interval. */
	uint64_t open_ns;
	uint64_t n_stalls;
	uint64_t lost_bytes;  /* evicted from it for others */
	uint64_t taken_bytes; /* evicted from others for it */
	uint64_t own_bytes;   /* evicted from it for itself, or for nobody */
	uint64_t restored_bytes;
	uint64_t refused; /* by limits, not by a full device */
	bool closed;
};

static struct map tenants; /* (session, 0): struct tenant */

static struct tenant *tenant_of(const struct trace *trace, uint64_t session)
{
	struct tenant *t = map_get(&tenants, session, 0);

	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t) {
		fputs("vramtrace: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	t->session = session;
	meter_init(&t->meter, trace->since_ns);
	map_put(&tenants, session, 0, t);
	return t;
}

static void on_evict(const struct trace *trace, const struct event *event)
{
	struct tenant *all = tenant_of(trace, 0);

	if (!event->needed_session || event->needed_session == event->session) {
		all->own_bytes += event->bytes;
		if (event->session)
			tenant_of(trace, event->session)->own_bytes += event->bytes;
		return;
	}
	all->lost_bytes += event->bytes;
	all->taken_bytes += event->bytes;
	if (event->session)
		tenant_of(trace, event->session)->lost_bytes += event->bytes;
	tenant_of(trace, event->needed_session)->taken_bytes += event->bytes;
}

static void on_event(struct trace *trace, const struct event *event)
{
	struct tenant *t = tenant_of(trace, event->session), *all = tenant_of(trace, 0);

	switch (event->kind) {
	case EVENT_STALL_BEGIN:
		meter_begin(&t->meter, event->time_ns);
		meter_begin(&all->meter, event->time_ns);
		break;
	case EVENT_STALL_END:
		meter_end(&t->meter, event->time_ns, event->ns);
		meter_end(&all->meter, event->time_ns, event->ns);
		break;
	case EVENT_EVICT:
		on_evict(trace, event);
		break;
	case EVENT_RESTORE:
		all->restored_bytes += event->bytes;
		if (t != all)
			t->restored_bytes += event->bytes;
		break;
	case EVENT_LIMIT_HIT:
		/* A full device refuses all the time, which is how vramd finds that it must evict. */
		if (event->group != 0) {
			all->refused++;
			if (t != all)
				t->refused++;
		}
		break;
	case EVENT_SESSION_CLOSE:
		t->closed = true;
		break;
	}
}

/* ---- printing -------------------------------------------------------------------- */

static int compare(const void *p, const void *q)
{
	const struct tenant *a = *(struct tenant *const *)p, *b = *(struct tenant *const *)q;

	if (a->open_ns != b->open_ns)
		return a->open_ns < b->open_ns ? 1 : -1;
	return a->session < b->session ? -1 : 1;
}

static double percent(uint64_t part_ns, uint64_t whole_ns)
{
	double p = whole_ns ? (double)part_ns * 100.0 / (double)whole_ns : 0.0;

	return p > 100.0 ? 100.0 : p;
}

static void print_row(const struct trace *trace, const struct tenant *t, uint64_t interval_ns)
{
	char text[64] = "all";

	if (t->session)
		names_session_text(&trace->names, t->session, text, sizeof(text));
	printf("%-22s %6.2f %7" PRIu64 " %9.1f %9.1f %9.1f %9.1f %8" PRIu64 "\n", text,
	       percent(t->open_ns, interval_ns), t->n_stalls, (double)t->lost_bytes / (1 << 20),
	       (double)t->taken_bytes / (1 << 20), (double)t->own_bytes / (1 << 20),
	       (double)t->restored_bytes / (1 << 20), t->refused);
}

static json_t *row_json(const struct trace *trace, const struct tenant *t, uint64_t interval_ns)
{
	return json_pack("{s:o, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "tenant",
			 session_json(&trace->names, t->session), "stall_percent",
			 percent(t->open_ns, interval_ns), "stall_ns", (json_int_t)t->open_ns,
			 "stalls", (json_int_t)t->n_stalls, "lost_bytes", (json_int_t)t->lost_bytes,
			 "taken_bytes", (json_int_t)t->taken_bytes, "own_bytes",
			 (json_int_t)t->own_bytes, "restored_bytes", (json_int_t)t->restored_bytes,
			 "refused", (json_int_t)t->refused);
}

static bool was_active(const struct tenant *t)
{
	return t->open_ns || t->n_stalls || t->lost_bytes || t->taken_bytes || t->own_bytes ||
	       t->restored_bytes || t->refused;
}

static void end_interval(struct tenant *t)
{
	const struct meter meter = t->meter;

	if (t->closed && t->session) {
		map_remove(&tenants, t->session, 0);
		free(t);
		return;
	}
	*t = (struct tenant){ .session = t->session, .meter = meter };
}

static void report(struct trace *trace, uint64_t now_ns)
{
	uint64_t interval_ns = now_ns - trace->since_ns;
	struct tenant **rows, *all = tenant_of(trace, 0);
	struct map_entry *entry;
	json_t *list = NULL;
	size_t n = 0, shown = 0;

	rows = calloc(tenants.n, sizeof(struct tenant *));
	if (!rows) {
		fputs("vramtrace: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	for (size_t i = 0; (entry = map_next(&tenants, &i));) {
		struct tenant *t = entry->value;

		t->open_ns = meter_take(&t->meter, now_ns, &t->n_stalls);
		if (t->session)
			rows[n++] = t;
	}
	qsort(rows, n, sizeof(*rows), compare);
	if (trace->options->json) {
		list = json_array();
	} else {
		interval_line(trace, now_ns);
		printf("%-22s %6s %7s %9s %9s %9s %9s %8s\n", "TENANT", "STALL%", "STALLS",
		       "LOST(MB)", "TOOK(MB)", "OWN(MB)", "BACK(MB)", "REFUSED");
		print_row(trace, all, interval_ns);
	}
	for (size_t i = 0; i < n; i++) {
		if (!was_active(rows[i]) || shown >= trace->options->top)
			continue;
		shown++;
		if (list)
			json_array_append_new(list, row_json(trace, rows[i], interval_ns));
		else
			print_row(trace, rows[i], interval_ns);
	}
	if (list)
		json_line(trace, now_ns,
			  json_pack("{s:s, s:I, s:o, s:o}", "view", "pressure", "interval_ns",
				    (json_int_t)interval_ns, "all",
				    row_json(trace, all, interval_ns), "tenants", list));
	for (size_t i = 0; i < n; i++)
		end_interval(rows[i]);
	end_interval(all);
	free(rows);
}

const struct view view_pressure = {
	.name = "pressure",
	.help = "waits and evictions of each tenant, each interval",
	.detail =
		"STALL% is the part of the interval in which at least one thread waited. LOST was evicted for others,\n"
		"TOOK from others, OWN for itself or because of a limit; BACK was loaded again. REFUSED counts\n"
		"limits, not a full device. The interval is 1 s if none is given.\n",
	.title = "pressure",
	.kinds = 1u << EVENT_STALL_BEGIN | 1u << EVENT_STALL_END | 1u << EVENT_EVICT |
		 1u << EVENT_RESTORE | 1u << EVENT_LIMIT_HIT | 1u << EVENT_SESSION_OPEN |
		 1u << EVENT_SESSION_CLOSE,
	.interval_ns = 1000000000u,
	.event = on_event,
	.report = report,
};
