/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The subcommands: each a view of the events, which takes them one by one and prints, at once or once an interval.
 * main.c has the command line, run.c the loop.
 */
#ifndef VRAM_TOOLS_VRAMTRACE_VIEW_H
#define VRAM_TOOLS_VRAMTRACE_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cli.h"
#include "tools/vramtrace/attach.h"
#include "tools/vramtrace/histogram.h"
#include "tools/vramtrace/names.h"

/* What a stall is summed up by. */
enum by {
	BY_TENANT,
	BY_USER,
	BY_MODEL,
	BY_LAYER,
};

struct options {
	struct filter filter;
	const char *socket;
	pid_t vramd; /* 0: the one behind the socket */
	enum source source;
	uint64_t buffer_bytes;
	uint32_t kinds; /* events: a bit a kind */
	enum by by;
	size_t top;
	bool timestamps;
	bool json;
	bool verbose;
	uint64_t interval_ns; /* 0: none */
	uint64_t count;	      /* intervals; 0: without end */
};

struct trace {
	const struct options *options;
	struct names names;
	bool has_vramd;	   /* names and I/O are known */
	uint64_t since_ns; /* the interval's begin */
	uint64_t lost;	   /* reported so far */
	uint64_t clock_ns; /* to be added to the time of an event for that of the day */
};

struct view {
	const char *name;
	const char *help;
	const char *detail;
	const char *title; /* "Tracing what"; Ctrl-C to end */
	uint32_t kinds;
	/* What of it is needed from vramd at the least; a bit a kind. */
	uint32_t needs_vramd;
	uint64_t interval_ns; /* if none is given; 0: only at the end */
	void (*event)(struct trace *trace, const struct event *event);
	/* An interval, or tracing, ends. NULL: everything was printed at once. */
	void (*report)(struct trace *trace, uint64_t now_ns);
};

extern const struct view view_events, view_stalls, view_evictions, view_io, view_pressure;
extern const struct cli vramtrace_cli;

static inline uint32_t kind_bit(enum event_kind kind)
{
	return 1u << kind;
}

/* Return: an exit status. */
int trace_run(const struct view *view, const struct options *options);

/* ---- what views have in common (print.c) ---- */

/* The name of a kind, "vram_charge". */
const char *kind_name(uint32_t kind);
const char *tier_name(uint32_t tier);
/* CLOCK_MONOTONIC as "12:34:56", with microseconds if asked for. Return: buf. */
char *time_text(const struct trace *trace, uint64_t time_ns, bool precise, char *buf, size_t size);
/* Prints one object as a line, and lets go of it. It gets "time" first if there are timestamps. */
void json_line(const struct trace *trace, uint64_t time_ns, json_t *object);
/* The line above a table of an interval; nothing if there is only one and no timestamps. */
void interval_line(const struct trace *trace, uint64_t now_ns);
/* {"session":..,"pid":..,"comm":".."}; null for 0. */
json_t *session_json(const struct names *names, uint64_t session);
json_t *json_text(const char *text);
/* [{"low":..,"high":..,"count":..}] of the slots in use. */
json_t *histogram_json(const struct histogram *h);

#endif
