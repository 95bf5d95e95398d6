// SPDX-License-Identifier: GPL-2.0-only
/* The table of columns, and what stands in them. */
#define _GNU_SOURCE 1
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/vramtop/format.h"
#include "tools/vramtop/view.h"

#define SESSIONS (1u << VIEW_SESSIONS)
#define TENANTS	 (1u << VIEW_TENANTS)
#define MODELS	 (1u << VIEW_MODELS)
#define QUEUE	 (1u << VIEW_QUEUE)

enum {
	COL_PLACE,
	COL_ID,
	COL_PID,
	COL_USER,
	COL_NAME,
	COL_KIND,
	COL_STATE,
	COL_COUNT,
	COL_SIZE,
	COL_BAR,
	COL_VRAM,
	COL_HOST,
	COL_DISK,
	COL_TOTAL,
	COL_MIN,
	COL_LOW,
	COL_HIGH,
	COL_MAX,
	COL_WEIGHT,
	COL_OVER,
	COL_REFUSED,
	COL_STALL,
	COL_HIT,
	COL_IN,
	COL_OUT,
	COL_POS,
	COL_PACE,
	COL_PIN,
	COL_ASKED,
	COL_PRIORITY,
	COL_WAITED,
	COL_LEFT,
	COL_PREDICTED,
	COL_FAULTS,
	COL_PRESSURE,
	COL_CHARGED,
	COL_LIMIT,
	COL_WRITTEN,
	COL_PASSES,
	COL_PEAK,
	COL_LOADED,
	COL_EVICTED,
};

/* rank: sessions, tenants, models, queue. */
const struct column top_columns[] = {
	[COL_PLACE] = { "place",
			"#",
			"the place in the queue",
			QUEUE,
			3,
			0,
			{ 0, 0, 0, 1 },
			-1,
			.ascending = true },
	[COL_ID] = { "id",
		     "ID",
		     "the session's number",
		     SESSIONS | QUEUE,
		     4,
		     0,
		     { 1, 0, 0, 4 },
		     -1,
		     .ascending = true },
	[COL_PID] = { "pid",
		      "PID",
		      "the process",
		      SESSIONS | QUEUE,
		      7,
		      0,
		      { 13, 0, 0, 5 },
		      -1,
		      .ascending = true },
	[COL_USER] = { "user",
		       "USER",
		       "whose it is; of models, who opened it first",
		       SESSIONS | MODELS | QUEUE,
		       6,
		       14,
		       { 7, 0, 8, 3 },
		       -1,
		       .left = true,
		       .ascending = true },
	[COL_NAME] = { "name",
		       "NAME",
		       "the session's, tenant's or model's name",
		       SESSIONS | TENANTS | MODELS | QUEUE,
		       8,
		       60,
		       { 0, 0, 0, 0 },
		       -1,
		       .left = true,
		       .ascending = true },
	[COL_KIND] = { "kind",
		       "KIND",
		       "model or buffer",
		       MODELS,
		       6,
		       0,
		       { 0, 0, 9, 0 },
		       -1,
		       .left = true,
		       .ascending = true },
	[COL_STATE] = { "state",
			"STATE",
			"running, idle, stalled, queued or paused",
			SESSIONS,
			1,
			7,
			{ 3, 0, 0, 0 },
			-1,
			.left = true,
			.ascending = true },
	[COL_COUNT] = { "sessions",
			"SESS",
			"how many sessions",
			TENANTS | MODELS,
			4,
			0,
			{ 0, 5, 4, 0 },
			-1 },
	[COL_SIZE] = { "size", "SIZE", "the model's size", MODELS, 5, 0, { 0, 0, 2, 0 }, -1 },
	[COL_BAR] = { "bar",
		      "IN VRAM",
		      "the part of it that is resident",
		      SESSIONS | MODELS,
		      12,
		      0,
		      { 14, 0, 10, 0 },
		      -1,
		      .left = true,
		      .bar = true },
	[COL_VRAM] = { "vram",
		       "VRAM",
		       "resident in the device; of tenants, charged",
		       SESSIONS | TENANTS | MODELS,
		       5,
		       0,
		       { 2, 2, 1, 0 },
		       -1 },
	[COL_HOST] = { "host",
		       "HOST",
		       "the same in the host tier",
		       SESSIONS | TENANTS | MODELS,
		       5,
		       0,
		       { 8, 8, 6, 0 },
		       TIER_HOST },
	[COL_DISK] = { "disk",
		       "DISK",
		       "the same in the swap file",
		       SESSIONS | TENANTS | MODELS,
		       5,
		       0,
		       { 9, 9, 7, 0 },
		       TIER_DISK },
	[COL_TOTAL] = { "total",
			"TOTAL",
			"all that it has, resident or not",
			SESSIONS,
			5,
			0,
			{ 5, 0, 0, 0 },
			-1 },
	[COL_MIN] = { "min", "MIN", "the limit vram.min", TENANTS, 5, 0, { 0, 12, 0, 0 }, -1 },
	[COL_LOW] = { "low", "LOW", "the limit vram.low", TENANTS, 5, 0, { 0, 11, 0, 0 }, -1 },
	[COL_HIGH] = { "high", "HIGH", "the limit vram.high", TENANTS, 5, 0, { 0, 10, 0, 0 }, -1 },
	[COL_MAX] = { "max", "MAX", "the limit vram.max", TENANTS, 5, 0, { 0, 4, 0, 0 }, -1 },
	[COL_WEIGHT] = { "weight", "WGHT", "vram.weight", TENANTS, 5, 0, { 0, 13, 0, 0 }, -1 },
	[COL_OVER] = { "over",
		       "OVER",
		       "what it has above vram.max, or else vram.high",
		       TENANTS,
		       5,
		       0,
		       { 0, 6, 0, 0 },
		       -1 },
	[COL_REFUSED] = { "refused",
			  "REFUS",
			  "charges that a limit refused",
			  TENANTS,
			  5,
			  0,
			  { 0, 7, 0, 0 },
			  -1 },
	[COL_STALL] = { "stall",
			"STALL",
			"percent of the time in which it waited",
			SESSIONS | TENANTS,
			5,
			0,
			{ 4, 3, 0, 0 },
			-1 },
	[COL_HIT] = { "hit",
		      "HIT",
		      "percent of its uses that did not have to wait",
		      SESSIONS | TENANTS,
		      4,
		      0,
		      { 10, 15, 0, 0 },
		      -1 },
	[COL_IN] = { "in",
		     "IN/s",
		     "bytes a second that were loaded",
		     SESSIONS | TENANTS | MODELS,
		     5,
		     0,
		     { 6, 5, 3, 0 },
		     -1 },
	[COL_OUT] = { "out",
		      "OUT/s",
		      "bytes a second that were taken out",
		      SESSIONS | TENANTS | MODELS,
		      5,
		      0,
		      { 9, 6, 5, 0 },
		      -1 },
	[COL_POS] = { "pos",
		      "POS",
		      "where it is in its largest model",
		      SESSIONS,
		      4,
		      0,
		      { 11, 0, 0, 0 },
		      -1 },
	[COL_PACE] = { "pace",
		       "PACE",
		       "the time that a pass over it takes",
		       SESSIONS,
		       5,
		       0,
		       { 12, 0, 0, 0 },
		       -1 },
	[COL_PIN] = { "pin",
		      "PIN",
		      "whether it is kept resident",
		      MODELS,
		      3,
		      0,
		      { 0, 0, 5, 0 },
		      -1,
		      .left = true },
	[COL_ASKED] = { "asked", "ASKED", "what it asks for", QUEUE, 5, 0, { 0, 0, 0, 1 }, -1 },
	[COL_PRIORITY] = { "priority",
			   "PRIO",
			   "its priority; the lowest is first",
			   QUEUE,
			   4,
			   0,
			   { 0, 0, 0, 2 },
			   -1,
			   .ascending = true },
	[COL_WAITED] = { "waited",
			 "WAIT",
			 "how long it has waited",
			 QUEUE,
			 5,
			 0,
			 { 0, 0, 0, 1 },
			 -1 },
	[COL_LEFT] = { "timeout",
		       "TMOUT",
		       "how long it waits at most",
		       QUEUE,
		       5,
		       0,
		       { 0, 0, 0, 4 },
		       -1 },
	[COL_PREDICTED] = { "predicted",
			    "PRED",
			    "how much longer it is likely to wait",
			    QUEUE,
			    5,
			    0,
			    { 0, 0, 0, 1 },
			    -1 },
	[COL_FAULTS] = { "faults", "FLT/s", "waits a second", SESSIONS, 5, 0, { 15, 0, 0, 0 }, -1 },
	[COL_PRESSURE] = { "pressure",
			   "SOME",
			   "percent of the last 10 s with a wait, as vramd averages it",
			   SESSIONS | TENANTS,
			   5,
			   0,
			   { 16, 5, 0, 0 },
			   -1 },
	[COL_CHARGED] = { "charged",
			  "CHRGD",
			  "its part of what is resident, which limits count",
			  SESSIONS,
			  5,
			  0,
			  { 17, 0, 0, 0 },
			  -1 },
	[COL_LIMIT] = { "limit", "LIMIT", "what it may have", SESSIONS, 5, 0, { 18, 0, 0, 0 }, -1 },
	[COL_WRITTEN] = { "written",
			  "WR/s",
			  "bytes a second that were written to a lower tier",
			  SESSIONS | TENANTS,
			  5,
			  0,
			  { 19, 16, 0, 0 },
			  -1 },
	[COL_PASSES] = { "passes",
			 "PASS",
			 "how often it has passed its largest model",
			 SESSIONS,
			 5,
			 0,
			 { 20, 0, 0, 0 },
			 -1 },
	[COL_PEAK] = { "peak",
		       "PEAK",
		       "the most that was charged to it",
		       TENANTS,
		       5,
		       0,
		       { 0, 14, 0, 0 },
		       -1 },
	[COL_LOADED] = { "loaded",
			 "LOADD",
			 "bytes loaded since it was there",
			 SESSIONS | MODELS,
			 5,
			 0,
			 { 21, 0, 11, 0 },
			 -1 },
	[COL_EVICTED] = { "evicted",
			  "EVICT",
			  "bytes taken out since it was there",
			  SESSIONS | MODELS,
			  5,
			  0,
			  { 22, 0, 12, 0 },
			  -1 },
	{ .name = NULL },
};

/* ---- values ---- */

static struct value none(void)
{
	return (struct value){ .type = VALUE_NONE, .number = (double)NAN };
}

static struct value words(const char *text)
{
	return (struct value){ .type = VALUE_TEXT, .number = (double)NAN, .text = text };
}

static struct value counted(double number)
{
	return (struct value){ .type = VALUE_COUNT, .number = number };
}

static struct value bytes(double number)
{
	return (struct value){ .type = VALUE_BYTES, .number = number };
}

static struct value percent(double number)
{
	return (struct value){ .type = VALUE_PERCENT, .number = number };
}

static struct value elapsed(double ns)
{
	return (struct value){ .type = VALUE_TIME, .number = ns };
}

static struct value part(double of, double whole)
{
	return (struct value){ .type = VALUE_PART, .number = whole > 0 ? of / whole : (double)NAN };
}

static struct value rate(int column, const struct rates *rates)
{
	switch (column) {
	case COL_STALL:
		return percent(rates->stall);
	case COL_HIT:
		return percent(rates->hit);
	case COL_IN:
		return bytes(rates->in);
	case COL_OUT:
		return bytes(rates->out);
	case COL_WRITTEN:
		return bytes(rates->written);
	case COL_FAULTS:
		return counted(rates->faults);
	default:
		return none();
	}
}

static struct value of_session(int column, const struct top_session *s)
{
	switch (column) {
	case COL_ID:
		return counted(s->id);
	case COL_PID:
		return counted(s->pid);
	case COL_USER:
		return words(s->user);
	case COL_NAME:
		return words(*s->name ? s->name : s->comm);
	case COL_STATE:
		return words(s->state);
	case COL_BAR:
		return part(s->tier[TIER_VRAM].resident, s->total);
	case COL_VRAM:
		return bytes(s->tier[TIER_VRAM].resident);
	case COL_HOST:
		return bytes(s->tier[TIER_HOST].resident);
	case COL_DISK:
		return bytes(s->tier[TIER_DISK].resident);
	case COL_TOTAL:
		return bytes(s->total);
	case COL_POS:
		return percent(100 * s->position);
	case COL_PACE:
		return elapsed(s->pace_ns);
	case COL_PRESSURE:
		return percent(s->pressure.some.avg10);
	case COL_CHARGED:
		return bytes(s->tier[TIER_VRAM].charged);
	case COL_LIMIT:
		return bytes(s->limit);
	case COL_PASSES:
		return counted(s->passes);
	case COL_LOADED:
		return bytes(s->loaded);
	case COL_EVICTED:
		return bytes(s->evicted);
	default:
		return rate(column, &s->rates);
	}
}

static struct value of_user(int column, const struct top_user *u)
{
	switch (column) {
	case COL_USER:
	case COL_NAME:
		return words(u->name);
	case COL_BAR:
		return part(u->tier[TIER_VRAM].resident, u->total);
	case COL_VRAM:
		return bytes(u->tier[TIER_VRAM].resident);
	case COL_HOST:
		return bytes(u->tier[TIER_HOST].resident);
	case COL_DISK:
		return bytes(u->tier[TIER_DISK].resident);
	case COL_TOTAL:
		return bytes(u->total);
	case COL_CHARGED:
		return bytes(u->tier[TIER_VRAM].charged);
	case COL_LIMIT:
		return u->tenant ? bytes(u->tenant->tier[TIER_VRAM].max) : none();
	case COL_PRESSURE:
		return u->tenant ? percent(u->tenant->pressure.some.avg10) : none();
	default:
		return rate(column, &u->rates);
	}
}

static struct value of_tenant(int column, const struct top_tenant *t)
{
	const struct tenant_tier *vram = &t->tier[TIER_VRAM];

	switch (column) {
	case COL_NAME:
		return words(t->name);
	case COL_COUNT:
		return counted(t->n_sessions);
	case COL_VRAM:
		return bytes(vram->usage);
	case COL_HOST:
		return bytes(t->tier[TIER_HOST].usage);
	case COL_DISK:
		return bytes(t->tier[TIER_DISK].usage);
	case COL_MIN:
		return bytes(vram->min);
	case COL_LOW:
		return bytes(vram->low);
	case COL_HIGH:
		return bytes(vram->high);
	case COL_MAX:
		return bytes(vram->max);
	case COL_WEIGHT:
		return counted(vram->weight);
	case COL_OVER:
		return bytes(vram->over_max > 0 ? vram->over_max : vram->over_high);
	case COL_REFUSED:
		return counted(vram->refused);
	case COL_PRESSURE:
		return percent(t->pressure.some.avg10);
	case COL_PEAK:
		return bytes(vram->peak);
	default:
		return rate(column, &t->rates);
	}
}

static struct value of_model(int column, const struct top_model *m)
{
	switch (column) {
	case COL_USER:
		return words(m->user);
	case COL_NAME:
		return words(m->name);
	case COL_KIND:
		return words(m->kind);
	case COL_COUNT:
		return counted(m->n_sessions);
	case COL_SIZE:
		return bytes(m->size);
	case COL_BAR:
		return part(m->tier[TIER_VRAM].resident, m->size);
	case COL_VRAM:
		return bytes(m->tier[TIER_VRAM].resident);
	case COL_HOST:
		return bytes(m->tier[TIER_HOST].resident);
	case COL_DISK:
		return bytes(m->tier[TIER_DISK].resident);
	case COL_PIN:
		return words(m->pinned ? "pin" : "");
	case COL_LOADED:
		return bytes(m->loaded);
	case COL_EVICTED:
		return bytes(m->evicted);
	default:
		return rate(column, &m->rates);
	}
}

static struct value of_waiter(int column, const struct top_waiter *w)
{
	switch (column) {
	case COL_PLACE:
		return counted((double)w->place);
	case COL_ID:
		return counted(w->session);
	case COL_PID:
		return counted(w->pid);
	case COL_USER:
		return words(w->user);
	case COL_NAME:
		return words(w->name);
	case COL_ASKED:
		return bytes(w->asked);
	case COL_PRIORITY:
		return counted(w->priority);
	case COL_WAITED:
		return elapsed(w->waiting_ns);
	case COL_LEFT:
		return elapsed(w->timeout_ns);
	case COL_PREDICTED:
		return elapsed(w->predicted_ns);
	default:
		return none();
	}
}

struct value column_value(int column, const struct row *row)
{
	switch (row->kind) {
	case ROW_SESSION:
		return of_session(column, row->session);
	case ROW_USER:
		return of_user(column, row->user);
	case ROW_TENANT:
		return of_tenant(column, row->tenant);
	case ROW_MODEL:
		return of_model(column, row->model);
	case ROW_WAITER:
		return of_waiter(column, row->waiter);
	}
	return none();
}

const char *value_text(const struct value *value, char *buf, size_t size)
{
	char number[FORMAT_MAX];

	switch (value->type) {
	case VALUE_NONE:
		return "";
	case VALUE_TEXT:
		return value->text ? value->text : "";
	case VALUE_BYTES:
		format_bytes(number, value->number);
		break;
	case VALUE_COUNT:
		format_count(number, value->number);
		break;
	case VALUE_PERCENT:
		format_percent(number, value->number);
		break;
	case VALUE_PART:
		format_percent(number, 100 * value->number);
		break;
	case VALUE_TIME:
		format_time(number, value->number);
		break;
	}
	snprintf(buf, size, "%s", number);
	return buf;
}

/* ---- finding ---- */

int column_find(const char *name, enum view view)
{
	int i;

	for (i = 0; top_columns[i].name; i++)
		if (!top_columns[i].bar && top_columns[i].views & 1u << view &&
		    !strcmp(top_columns[i].name, name))
			return i;
	return -1;
}

int column_next(int column, enum view view, int direction)
{
	int n = 0, i;

	while (top_columns[n].name)
		n++;
	for (i = 0; i < n; i++) {
		column = (column + direction + n) % n;
		if (top_columns[column].views & 1u << view && !top_columns[column].bar)
			break;
	}
	return column;
}
