// SPDX-License-Identifier: GPL-2.0-only
/* The command `pressure`: how much of the time memory is waited for, in PSI's terms. */
#define _GNU_SOURCE 1
#include "daemon/admin_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "daemon/snapshot.h"

static json_t *pressure_new(const struct arbiter_pressure *pressure, int full)
{
	static const char *const names[] = { "avg10", "avg60", "avg300" };
	struct json_maker m = json_maker_new();
	size_t i;

	for (i = 0; i < 3; i++)
		json_put(&m, names[i], json_real(pressure->avg_centi[full][i] / 100.0));
	json_put_number(&m, "total_us", pressure->total_us[full]);
	return json_maker_take(&m);
}

static json_t *pressure_row(const char *key, const char *name,
			    const struct arbiter_pressure *pressure)
{
	struct json_maker m = json_maker_new();

	json_put_text(&m, key, name);
	json_put(&m, "some", pressure_new(pressure, 0));
	json_put(&m, "full", pressure_new(pressure, 1));
	return json_maker_take(&m);
}

/* wanted: NULL for all. "device" is any of them. */
static int put_devices(const struct snapshot *snapshot, const char *wanted, json_t *out)
{
	const struct snapshot_device *device = &snapshot->device;
	char numbered[32];

	snprintf(numbered, sizeof(numbered), "device:%u", device->index);
	if (wanted && strcmp(wanted, "device") != 0 && strcmp(wanted, numbered) != 0 &&
	    (strncmp(wanted, "device:", 7) != 0 || strcmp(wanted + 7, device->name) != 0))
		return 0;
	return json_append(out, pressure_row("name", device->name, &device->pressure));
}

static int put_groups(const struct snapshot *snapshot, const char *wanted, json_t *out)
{
	char name[32];
	size_t i;
	int r = 0;

	for (i = 0; i < snapshot->n_tenants && r == 0; i++)
		if (!wanted || !strcmp(wanted, snapshot->tenants[i].subject))
			r = json_append(out, pressure_row("subject", snapshot->tenants[i].subject,
							  &snapshot->tenants[i].pressure));
	for (i = 0; i < snapshot->n_sessions && r == 0; i++) {
		snprintf(name, sizeof(name), "session:%" PRIu64, snapshot->sessions[i].id);
		if (!wanted || !strcmp(wanted, name))
			r = json_append(out, pressure_row("subject", name,
							  &snapshot->sessions[i].pressure));
	}
	return r;
}

int admin_pressure(struct admin_request *req, struct json_maker *m)
{
	const struct snapshot_view view = { .all = req->privileged, .uid = req->peer->uid };
	const char *wanted = json_string_value(json_object_get(req->json, "subject"));
	_cleanup_json_ json_t *devices = json_array(), *groups = json_array();
	struct snapshot snapshot;
	int r;

	if (!devices || !groups)
		return err_origin(-ENOMEM);
	if (!wanted && json_object_get(req->json, "subject"))
		return admin_fail(req, -EINVAL, "subject: a text like user:1000 is needed");
	r = snapshot_take(req->s, &view, &snapshot);
	if (r < 0)
		return err_trace(r);
	r = put_devices(&snapshot, wanted, devices);
	if (r == 0)
		r = put_groups(&snapshot, wanted, groups);
	json_put_number(m, "time_ns", snapshot.time_ns);
	snapshot_deinit(&snapshot);
	if (r < 0)
		return err_trace(r);
	if (wanted && json_array_size(devices) + json_array_size(groups) == 0)
		return admin_fail(
			req, -ENOENT,
			"'%.60s' has no sessions, or they are not yours; device, user:UID, cgroup:/PATH, "
			"exe:/PATH and session:ID are what there may be",
			wanted);
	json_put(m, "devices", json_incref(devices));
	json_put(m, "groups", json_incref(groups));
	return 0;
}
