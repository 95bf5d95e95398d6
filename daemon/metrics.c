// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "daemon/limits.h"
#include "daemon/metrics_table.h"

static const char *const type_names[] = {
	[METRIC_GAUGE] = "gauge",
	[METRIC_COUNTER] = "counter",
	[METRIC_INFO] = "info",
};

struct rendering {
	FILE *f;
	struct snapshot *snapshot;
	enum metrics_format format;
	bool details;
	const struct metric *metric;
	char device[16];
	bool labelled; /* a label was written */
};

/* ---- labels ---- */

/* Return: what of the text may be written as it is, at least one byte; 0: a control character, or no UTF-8. */
static size_t plain(const unsigned char *p, bool valid)
{
	if (p[0] < 0x20 || p[0] == 0x7f)
		return 0;
	if (p[0] < 0x80)
		return 1;
	/* U+0080 to U+009F steer terminals too. */
	if (!valid || (p[0] == 0xc2 && p[1] < 0xa0))
		return 0;
	return p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
}

static void put_label(struct rendering *r, const char *name, const char *value)
{
	const unsigned char *p = (const unsigned char *)value;
	bool valid = utf8_is_valid(value);
	size_t n;

	fprintf(r->f, "%c%s=\"", r->labelled ? ',' : '{', name);
	r->labelled = true;
	while (*p) {
		n = plain(p, valid);
		if (*p == '"' || *p == '\\')
			putc_unlocked('\\', r->f);
		if (n == 0) {
			putc_unlocked('?', r->f);
			p += valid && *p >= 0x80 ? 2 : 1;
		} else {
			fwrite_unlocked(p, 1, n, r->f);
			p += n;
		}
	}
	putc_unlocked('"', r->f);
}

__attribute__((format(printf, 3, 4))) static void
put_label_number(struct rendering *r, const char *name, const char *format, ...)
{
	char text[32];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	put_label(r, name, text);
}

static void put_daemon_info(struct rendering *r)
{
	put_label(r, "version", VRAM_VERSION);
	put_label(r, "ledger", r->snapshot->ledger);
}

static void put_device_info(struct rendering *r, const struct snapshot_device *device)
{
	put_label(r, "name", device->name);
	put_label(r, "backend", device->backend);
	put_label(r, "pci", device->pci);
}

static void put_session_info(struct rendering *r, const struct snapshot_session *session)
{
	put_label_number(r, "pid", "%d", (int)session->pid);
	put_label_number(r, "uid", "%u", session->uid);
	put_label(r, "name", session->info.name ? session->info.name : "");
	put_label(r, "comm", session->comm ? session->comm : "");
}

/* What tells the samples of a family apart, and what an info says. */
static void put_labels(struct rendering *r, const void *object, uint32_t index)
{
	const struct metric *metric = r->metric;
	bool info = metric->type == METRIC_INFO;

	if (metric->of != METRIC_OF_DAEMON)
		put_label(r, "device", r->device);
	switch (metric->of) {
	case METRIC_OF_DAEMON:
		if (info)
			put_daemon_info(r);
		break;
	case METRIC_OF_DEVICE:
		if (info)
			put_device_info(r, object);
		break;
	case METRIC_OF_TENANT:
		put_label(r, "subject", ((const struct snapshot_tenant *)object)->subject);
		break;
	case METRIC_OF_SESSION:
		put_label_number(r, "session", "%" PRIu64,
				 ((const struct snapshot_session *)object)->id);
		if (info)
			put_session_info(r, object);
		break;
	case METRIC_OF_MODEL:
		put_label(r, "model", ((const struct snapshot_model *)object)->info.name);
		break;
	}
	if (metric->over == METRIC_TIERS)
		put_label(r, "tier", limits_tier_name(index));
	if (metric->over == METRIC_STATES)
		put_label(r, "state", scheduler_state_name(index));
	if (metric->over == METRIC_LIMITS) {
		put_label(r, "tier", limits_tier_name(index / ARBITER_N_KEYS));
		put_label(r, "limit", limits_key_name(index % ARBITER_N_KEYS));
	}
}

/* ---- samples ---- */

static void put_value(struct rendering *r, const struct metric_value *value)
{
	int places = 0;
	uint64_t at;

	for (at = value->scale; at >= 10; at /= 10)
		places++;
	if (places)
		fprintf(r->f, " %" PRIu64 ".%0*" PRIu64 "\n", value->n / value->scale, places,
			value->n % value->scale);
	else
		fprintf(r->f, " %" PRIu64 "\n", value->n);
}

static void put_sample(struct rendering *r, const void *object, uint32_t index)
{
	static const char *const suffixes[] = {
		[METRIC_GAUGE] = "",
		[METRIC_COUNTER] = "_total",
		[METRIC_INFO] = "_info",
	};
	struct metric_value value = { .known = true, .n = 1, .scale = 1 };

	if (r->metric->value)
		value = r->metric->value(r->snapshot, object, index);
	if (!value.known)
		return;
	fprintf(r->f, "%s%s", r->metric->name, suffixes[r->metric->type]);
	r->labelled = false;
	put_labels(r, object, index);
	if (r->labelled)
		putc_unlocked('}', r->f);
	put_value(r, &value);
}

static void put_samples_of(struct rendering *r, const void *object)
{
	static const uint32_t n_indexes[] = {
		[METRIC_ONCE] = 1,
		[METRIC_TIERS] = ARBITER_N_TIERS,
		[METRIC_LIMITS] = ARBITER_N_TIERS * ARBITER_N_KEYS,
		[METRIC_STATES] = SESSION_N_STATES,
	};
	enum metric_over over = r->metric->over;
	uint32_t i, tier;

	for (i = 0; i < n_indexes[over]; i++) {
		tier = over == METRIC_TIERS ? i : over == METRIC_LIMITS ? i / ARBITER_N_KEYS : 0;
		if (r->snapshot->has_tier[tier])
			put_sample(r, object, i);
	}
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static void put_samples(struct rendering *r)
{
	const struct snapshot *s = r->snapshot;
	size_t i;

	switch (r->metric->of) {
	case METRIC_OF_DAEMON:
		put_samples_of(r, NULL);
		break;
	case METRIC_OF_DEVICE:
		put_samples_of(r, &s->device);
		break;
	case METRIC_OF_TENANT:
		for (i = 0; i < least(s->n_tenants, METRICS_MAX_TENANTS); i++)
			if (r->details || s->tenants[i].group.kind == ARBITER_USER)
				put_samples_of(r, &s->tenants[i]);
		break;
	case METRIC_OF_SESSION:
		for (i = 0; i < least(s->n_sessions, METRICS_MAX_SESSIONS); i++)
			put_samples_of(r, &s->sessions[i]);
		break;
	case METRIC_OF_MODEL:
		for (i = 0; i < s->n_models && !s->models[i].info.buffer; i++)
			put_samples_of(r, &s->models[i]);
		break;
	}
}

/* OpenMetrics calls a family without what its samples end with; in the older format a family is its samples' name. */
static void put_family(struct rendering *r)
{
	const struct metric *metric = r->metric;
	bool old = r->format == METRICS_PROMETHEUS;
	const char *suffix = !old			    ? "" :
			     metric->type == METRIC_COUNTER ? "_total" :
			     metric->type == METRIC_INFO    ? "_info" :
							      "";

	fprintf(r->f, "# HELP %s%s %s\n", metric->name, suffix, metric->help);
	fprintf(r->f, "# TYPE %s%s %s\n", metric->name, suffix,
		type_names[old && metric->type == METRIC_INFO ? METRIC_GAUGE : metric->type]);
	if (metric->unit && !old)
		fprintf(r->f, "# UNIT %s %s\n", metric->name, metric->unit);
	put_samples(r);
}

/* ---- models ---- */

static int compare_names(const void *a, const void *b)
{
	const struct scheduler_object_info *x = &((const struct snapshot_model *)a)->info;
	const struct scheduler_object_info *y = &((const struct snapshot_model *)b)->info;

	if (x->buffer != y->buffer)
		return x->buffer ? 1 : -1;
	return strcmp(x->name, y->name);
}

static int compare_sizes(const void *a, const void *b)
{
	const struct scheduler_object_info *x = &((const struct snapshot_model *)a)->info;
	const struct scheduler_object_info *y = &((const struct snapshot_model *)b)->info;

	if (x->size_bytes != y->size_bytes)
		return x->size_bytes > y->size_bytes ? -1 : 1;
	return strcmp(x->name, y->name);
}

static void add_model(struct scheduler_object_info *to, const struct scheduler_object_info *from)
{
	uint32_t tier;

	for (tier = 0; tier < ARBITER_N_TIERS; tier++)
		to->tier_bytes[tier] += from->tier_bytes[tier];
	to->size_bytes += from->size_bytes;
	to->resident_bytes += from->resident_bytes;
	to->loaded_bytes += from->loaded_bytes;
	to->evicted_bytes += from->evicted_bytes;
	to->n_uses += from->n_uses;
	to->pinned |= from->pinned;
}

/*
 * Several files may have one name, but no two samples the same labels: they are added up. Buffers are their
 * sessions' and not shown. Beyond the limit the smaller models become one without a name.
 */
static void merge_models(struct snapshot *s)
{
	struct snapshot_model *models = s->models;
	size_t i, n = 0;

	if (s->n_models > 1)
		qsort(models, s->n_models, sizeof(*models), compare_names);
	for (i = 0; i < s->n_models && !models[i].info.buffer; i++) {
		if (n && !strcmp(models[n - 1].info.name, models[i].info.name))
			add_model(&models[n - 1].info, &models[i].info);
		else
			models[n++] = models[i];
	}
	if (n > METRICS_MAX_MODELS) {
		qsort(models, n, sizeof(*models), compare_sizes);
		for (i = METRICS_MAX_MODELS; i < n; i++)
			add_model(&models[METRICS_MAX_MODELS - 1].info, &models[i].info);
		n = METRICS_MAX_MODELS;
		models[n - 1].info.name = "";
	}
	s->n_models = n;
}

char *metrics_render(struct snapshot *snapshot, enum metrics_format format, bool details,
		     size_t *out_len)
{
	struct rendering r = { .snapshot = snapshot, .format = format, .details = details };
	char *text = NULL;
	bool failed;

	merge_models(snapshot);
	snprintf(r.device, sizeof(r.device), "%u", snapshot->device.index);
	r.f = open_memstream(&text, out_len);
	if (!r.f)
		return NULL;
	for (r.metric = metrics; r.metric->name; r.metric++)
		if (details || r.metric->of == METRIC_OF_DAEMON ||
		    r.metric->of == METRIC_OF_DEVICE || r.metric->of == METRIC_OF_TENANT)
			put_family(&r);
	if (format == METRICS_OPENMETRICS)
		fputs("# EOF\n", r.f);
	failed = ferror(r.f);
	if (fclose(r.f) == 0 && !failed)
		return text;
	free(text);
	return NULL;
}
