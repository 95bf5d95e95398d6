/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * metrics: a snapshot as text for Prometheus and what is like it. Pure.
 *
 * Two formats of one table of families (metrics_table.c): OpenMetrics 1.0, and Prometheus' own text format 0.0.4, for
 * readers that know no other. docs/metrics.md lists the families; a test compares.
 *
 * Labels are bounded, or a user who makes names could fill the reader's disk: what is beyond METRICS_MAX_*
 * counts in the sums, and in a metric that says how many were left out. Users come
 * before cgroups and programs, older sessions before younger ones, larger models before smaller ones. Values of labels come from clients: control characters and what
 * is not UTF-8 become question marks, quotes and backslashes are escaped.
 *
 * Without `details` nothing is said but the device and its users: no program, no name of a model, no cgroup.
 */
#ifndef VRAM_DAEMON_METRICS_H
#define VRAM_DAEMON_METRICS_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/snapshot.h"

#define METRICS_MAX_TENANTS  256u
#define METRICS_MAX_SESSIONS 256u
#define METRICS_MAX_MODELS   256u

enum metrics_format {
	METRICS_OPENMETRICS,
	METRICS_PROMETHEUS,
};

/* What the answer to a GET says of itself. */
#define METRICS_TYPE_OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define METRICS_TYPE_PROMETHEUS	 "text/plain; version=0.0.4; charset=utf-8"

/*
 * details: sessions, models, cgroups and programs too. The snapshot's models are put into order.
 * Return: the text, to be freed, with its length in *out_len; NULL when out of memory.
 */
char *metrics_render(struct snapshot *snapshot, enum metrics_format format, bool details,
		     size_t *out_len);

#endif
