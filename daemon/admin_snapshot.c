// SPDX-License-Identifier: GPL-2.0-only
/* The command `snapshot`: everything at one moment, for who looks again and again (vramtop). */
#define _GNU_SOURCE 1
#include "daemon/admin_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "daemon/json_text.h"
#include "daemon/limits.h"
#include "daemon/loop.h"
#include "daemon/metrics.h"
#include "daemon/snapshot.h"

static void put_pressure_kind(struct json_text *j, const char *key,
			      const struct arbiter_pressure *pressure, int full)
{
	json_text_open(j, key, '{');
	json_text_fraction(j, "avg10", pressure->avg_centi[full][0], 100);
	json_text_fraction(j, "avg60", pressure->avg_centi[full][1], 100);
	json_text_fraction(j, "avg300", pressure->avg_centi[full][2], 100);
	json_text_number(j, "total_us", pressure->total_us[full]);
	json_text_close(j, '}');
}

static void put_pressure(struct json_text *j, const struct arbiter_pressure *pressure)
{
	json_text_open(j, "pressure", '{');
	put_pressure_kind(j, "some", pressure, 0);
	put_pressure_kind(j, "full", pressure, 1);
	json_text_close(j, '}');
}

static void put_device(struct json_text *j, const struct snapshot *snapshot)
{
	const struct snapshot_device *device = &snapshot->device;
	const struct scheduler_stats *stats = &device->stats;
	uint32_t tier;

	json_text_open(j, NULL, '{');
	json_text_number(j, "index", device->index);
	json_text_string(j, "name", device->name);
	json_text_string(j, "backend", device->backend);
	json_text_string(j, "pci", device->pci);
	json_text_open(j, "tiers", '{');
	for (tier = 0; tier < ARBITER_N_TIERS; tier++) {
		if (!snapshot->has_tier[tier])
			continue;
		json_text_open(j, limits_tier_name(tier), '{');
		json_text_number(j, "used_bytes", snapshot_tier_used(snapshot, tier));
		json_text_number(j, "size_bytes", snapshot_tier_size(snapshot, tier));
		json_text_close(j, '}');
	}
	json_text_close(j, '}');
	json_text_number(j, "peak_bytes", stats->peak_bytes);
	json_text_number(j, "inflight_bytes", stats->inflight_bytes);
	json_text_number(j, "waiting", stats->n_demands);
	json_text_number(j, "faults", stats->faults);
	json_text_number(j, "paged_in_bytes", stats->paged_in_bytes);
	json_text_number(j, "paged_out_bytes", stats->paged_out_bytes);
	json_text_number(j, "evicted_bytes", stats->evicted_bytes);
	json_text_number(j, "stall_ns", stats->stall_ns);
	json_text_number(j, "link_bytes_per_s", device->link_bytes_per_s);
	json_text_bool(j, "held", device->held);
	put_pressure(j, &device->pressure);
	json_text_close(j, '}');
}

static void put_limit(struct json_text *j, uint32_t key, const struct arbiter_limits *limits)
{
	if (limits->value[key] == ARBITER_UNLIMITED)
		json_text_string(j, limits_key_name(key), "max");
	else
		json_text_number(j, limits_key_name(key), limits->value[key]);
}

static void put_tenant(struct json_text *j, const struct snapshot *snapshot,
		       const struct snapshot_tenant *tenant)
{
	const struct arbiter_usage *usage;
	uint32_t tier, key;

	json_text_open(j, NULL, '{');
	json_text_string(j, "subject", tenant->subject);
	json_text_string(j, "kind",
			 tenant->group.kind == ARBITER_USER   ? "user" :
			 tenant->group.kind == ARBITER_CGROUP ? "cgroup" :
								"exe");
	if (tenant->group.kind == ARBITER_USER)
		json_text_number(j, "uid", tenant->uid);
	json_text_number(j, "sessions", tenant->n_sessions);
	json_text_open(j, "tiers", '{');
	for (tier = 0; tier < ARBITER_N_TIERS; tier++) {
		if (!snapshot->has_tier[tier])
			continue;
		usage = &tenant->usage[tier];
		json_text_open(j, limits_tier_name(tier), '{');
		json_text_number(j, "usage_bytes", usage->usage);
		json_text_number(j, "peak_bytes", usage->peak);
		json_text_number(j, "refused", usage->refused);
		for (key = 0; key < ARBITER_N_KEYS; key++)
			put_limit(j, key, &usage->limits);
		json_text_number(j, "over_high_bytes", usage->over_high);
		json_text_number(j, "over_max_bytes", usage->over_max);
		json_text_close(j, '}');
	}
	json_text_close(j, '}');
	put_pressure(j, &tenant->pressure);
	json_text_close(j, '}');
}

static void put_position(struct json_text *j, const struct scheduler_session_detail *detail)
{
	if (detail->has_position && detail->n_positions > 0)
		json_text_fraction(j, "position",
				   (uint64_t)detail->position * 10000 / detail->n_positions, 10000);
	else
		json_text_null(j, "position");
	if (detail->has_position)
		json_text_number(j, "passes", detail->passes);
	else
		json_text_null(j, "passes");
	if (detail->pace_ns)
		json_text_number(j, "pace_ns_per_pass", detail->pace_ns);
	else
		json_text_null(j, "pace_ns_per_pass");
}

static void put_session(struct json_text *j, const struct snapshot *snapshot,
			const struct snapshot_session *session)
{
	const struct scheduler_session_detail *detail = &session->detail;
	const struct scheduler_session_info *info = &session->info;
	uint32_t tier;

	json_text_open(j, NULL, '{');
	json_text_number(j, "id", session->id);
	json_text_number(j, "pid", (uint64_t)session->pid);
	json_text_number(j, "uid", session->uid);
	json_text_string(j, "name", info->name ? info->name : "");
	json_text_string(j, "comm", session->comm);
	json_text_string(j, "state", scheduler_state_name(detail->state));
	json_text_open(j, "tiers", '{');
	for (tier = 0; tier < ARBITER_N_TIERS; tier++) {
		if (!snapshot->has_tier[tier])
			continue;
		json_text_open(j, limits_tier_name(tier), '{');
		json_text_number(j, "resident_bytes", detail->tier_bytes[tier]);
		json_text_number(j, "charged_bytes", session->usage[tier].usage);
		json_text_close(j, '}');
	}
	json_text_close(j, '}');
	json_text_number(j, "total_bytes", info->total_bytes);
	json_text_number(j, "limit_bytes", info->limit_bytes);
	json_text_number(j, "objects", info->n_objects);
	json_text_number(j, "acquires", detail->acquires);
	json_text_number(j, "faults", session->faults);
	json_text_number(j, "loaded_bytes", session->loaded_bytes);
	json_text_number(j, "evicted_bytes", session->evicted_bytes);
	json_text_number(j, "written_bytes", detail->written_bytes);
	json_text_number(j, "stall_ns", info->stall_ns);
	put_position(j, detail);
	put_pressure(j, &session->pressure);
	json_text_close(j, '}');
}

static void put_model(struct json_text *j, const struct snapshot *snapshot,
		      const struct scheduler_object_info *info)
{
	uint32_t tier;

	json_text_open(j, NULL, '{');
	json_text_string(j, "name", info->name);
	json_text_string(j, "kind", info->buffer ? "buffer" : "model");
	json_text_number(j, "size_bytes", info->size_bytes);
	json_text_open(j, "tiers", '{');
	for (tier = 0; tier < ARBITER_N_TIERS; tier++) {
		if (!snapshot->has_tier[tier])
			continue;
		json_text_open(j, limits_tier_name(tier), '{');
		json_text_number(j, "resident_bytes", info->tier_bytes[tier]);
		json_text_close(j, '}');
	}
	json_text_close(j, '}');
	json_text_bool(j, "pinned", info->pinned);
	json_text_number(j, "sessions", info->n_uses);
	if (info->uid == (uid_t)-1)
		json_text_null(j, "uid");
	else
		json_text_number(j, "uid", info->uid);
	json_text_number(j, "loaded_bytes", info->loaded_bytes);
	json_text_number(j, "evicted_bytes", info->evicted_bytes);
	json_text_close(j, '}');
}

static void put_time(struct json_text *j, const char *key, uint64_t ns)
{
	if (ns == UINT64_MAX)
		json_text_null(j, key);
	else
		json_text_number(j, key, ns);
}

static void put_queued(struct json_text *j, const struct snapshot_queued *queued)
{
	json_text_open(j, NULL, '{');
	json_text_number(j, "session", queued->session);
	json_text_number(j, "pid", (uint64_t)queued->pid);
	json_text_number(j, "uid", queued->uid);
	json_text_string(j, "name", queued->info.name ? queued->info.name : "");
	json_text_number(j, "asked_bytes", queued->info.asked_bytes);
	json_text_signed(j, "priority", queued->info.priority);
	json_text_number(j, "waiting_ns", queued->info.waiting_ns);
	put_time(j, "timeout_ns", queued->info.timeout_ns);
	put_time(j, "predicted_ns", queued->info.predicted_ns);
	json_text_close(j, '}');
}

static void put_others(struct json_text *j, const struct snapshot *snapshot)
{
	const struct snapshot_others *others = &snapshot->others;
	uint32_t tier;

	json_text_open(j, "others", '{');
	json_text_number(j, "sessions", others->n_sessions);
	json_text_number(j, "models", others->n_models);
	json_text_number(j, "queued", snapshot->n_waiting - snapshot->n_queue);
	json_text_open(j, "tiers", '{');
	for (tier = 0; tier < ARBITER_N_TIERS; tier++) {
		if (!snapshot->has_tier[tier])
			continue;
		json_text_open(j, limits_tier_name(tier), '{');
		json_text_number(j, "resident_bytes", others->resident_bytes[tier]);
		json_text_number(j, "charged_bytes", others->charged_bytes[tier]);
		json_text_close(j, '}');
	}
	json_text_close(j, '}');
	json_text_close(j, '}');
}

static void put_snapshot(struct json_text *j, const struct snapshot *snapshot)
{
	size_t i;

	json_text_open(j, NULL, '{');
	json_text_number(j, "time_ns", snapshot->time_ns);
	json_text_string(j, "version", VRAM_VERSION);
	json_text_string(j, "ledger", snapshot->ledger);
	json_text_number(j, "pid", (uint64_t)getpid());
	json_text_number(j, "uptime_ns", snapshot->uptime_ns);
	json_text_open(j, "devices", '[');
	put_device(j, snapshot);
	json_text_close(j, ']');
	json_text_open(j, "tenants", '[');
	for (i = 0; i < snapshot->n_tenants; i++)
		put_tenant(j, snapshot, &snapshot->tenants[i]);
	json_text_close(j, ']');
	json_text_open(j, "sessions", '[');
	for (i = 0; i < snapshot->n_sessions; i++)
		put_session(j, snapshot, &snapshot->sessions[i]);
	json_text_close(j, ']');
	json_text_open(j, "models", '[');
	for (i = 0; i < snapshot->n_models; i++)
		put_model(j, snapshot, &snapshot->models[i].info);
	json_text_close(j, ']');
	json_text_open(j, "queue", '[');
	for (i = 0; i < snapshot->n_queue; i++)
		put_queued(j, &snapshot->queue[i]);
	json_text_close(j, ']');
	if (!snapshot->view.all)
		put_others(j, snapshot);
	json_text_close(j, '}');
}

/*
 * What was answered last, to whom. With many sessions an answer takes milliseconds, in which the loop does nothing else: one
 * that is asked for again within ten times as long is the same, so that whoever asks without a pause holds up a
 * tenth of the work and no more. `time_ns` says how old it is.
 */
#define N_ANSWERS	8
#define ANSWER_TIMES	10u
#define ANSWER_CHEAP_NS 1000000u

static struct answer {
	bool all;
	uid_t uid;
	char *text;
	size_t len;
	uint64_t until_ns;
} answers[N_ANSWERS];

/* Return: the answer for this view that still serves, or NULL with *out_place for a new one. */
static const struct answer *answer_find(const struct snapshot_view *view, uint64_t now_ns,
					struct answer **out_place)
{
	struct answer *answer;

	*out_place = &answers[0];
	for (answer = answers; answer < answers + N_ANSWERS; answer++) {
		if (now_ns < answer->until_ns && answer->all == view->all &&
		    (view->all || answer->uid == view->uid))
			return answer;
		if (answer->until_ns < (*out_place)->until_ns)
			*out_place = answer;
	}
	return NULL;
}

static char *copy_text(const char *text, size_t len)
{
	char *copy = malloc(len + 1);

	return copy ? memcpy(copy, text, len + 1) : NULL;
}

static void answer_keep(struct answer *place, const struct snapshot_view *view, const char *text,
			size_t len, uint64_t begin_ns, uint64_t end_ns)
{
	free(place->text);
	*place = (struct answer){
		.all = view->all,
		.uid = view->uid,
		.text = copy_text(text, len),
		.len = len,
	};
	if (place->text)
		place->until_ns = end_ns + (end_ns - begin_ns) * ANSWER_TIMES;
}

int admin_snapshot(struct admin_request *req, struct json_maker *m)
{
	const struct snapshot_view view = { .all = req->privileged, .uid = req->peer->uid };
	uint64_t begin = loop_now(), end;
	const struct answer *last;
	struct snapshot snapshot;
	struct json_text j = { 0 };
	struct answer *place;
	int r;

	(void)m;
	last = answer_find(&view, begin, &place);
	if (last) {
		req->text = copy_text(last->text, last->len);
		req->text_len = last->len;
		return req->text ? 0 : err_origin(-ENOMEM);
	}
	r = snapshot_take(req->s, &view, &snapshot);
	if (r < 0)
		return err_trace(r);
	put_snapshot(&j, &snapshot);
	snapshot_deinit(&snapshot);
	req->text = json_text_take(&j, &req->text_len);
	if (!req->text)
		return err_origin(-ENOMEM);
	end = loop_now();
	if (end - begin > ANSWER_CHEAP_NS)
		answer_keep(place, &view, req->text, req->text_len, begin, end);
	return 0;
}

/* The same numbers for Prometheus. */
int admin_metrics(struct admin_request *req, struct json_maker *m)
{
	const struct snapshot_view view = { .all = req->privileged, .uid = req->peer->uid };
	const char *format = json_string_value(json_object_get(req->json, "format"));
	bool old = format && !strcmp(format, "prometheus");
	_cleanup_free_ char *text = NULL;
	struct snapshot snapshot;
	size_t len;
	int r;

	if (json_object_get(req->json, "format") && !old &&
	    (!format || strcmp(format, "openmetrics") != 0))
		return admin_fail(req, -EINVAL, "format: either \"openmetrics\" or \"prometheus\"");
	r = snapshot_take(req->s, &view, &snapshot);
	if (r < 0)
		return err_trace(r);
	text = metrics_render(&snapshot, old ? METRICS_PROMETHEUS : METRICS_OPENMETRICS, true,
			      &len);
	snapshot_deinit(&snapshot);
	if (!text)
		return err_origin(-ENOMEM);
	json_put_text(m, "text", text);
	return 0;
}
