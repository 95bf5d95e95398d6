// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/scheduler_control.h"
#include "common/err.h"
#include "common/proto.h"
#include "daemon/gpu.h"
#include "daemon/loop.h"

/* What is being taken. Arrays grow by doubling. */
struct taking {
	struct scheduler *s;
	struct snapshot *out;
	size_t max_tenants, max_sessions, max_models, max_queued;
	bool failed;
};

/* Return: room for one more of size `each` at the end of an array of n, zeroed; NULL when out of memory. */
static void *grow(struct taking *t, void *array, size_t *n, size_t *max, size_t each)
{
	void **at = array, *grown;
	size_t wanted;

	if (*n == *max) {
		wanted = *max ? *max * 2 : 16;
		grown = reallocarray(*at, wanted, each);
		if (!grown) {
			t->failed = true;
			return NULL;
		}
		*at = grown;
		*max = wanted;
	}
	grown = (char *)*at + (*n)++ * each;
	memset(grown, 0, each);
	return grown;
}

/* ---- the device ---- */

/* "device", "device:0" or the device's name, and not a user or a session. */
static int take_hold(void *data, const char *target, uid_t uid)
{
	struct snapshot_device *device = data;

	(void)uid;
	if (!strcmp(target, "device") || !strncmp(target, "device:", 7) ||
	    !strcmp(target, device->name))
		device->held = true;
	return 0;
}

static int take_device(struct taking *t)
{
	struct snapshot_device *device = &t->out->device;
	struct gpu *gpu = scheduler_gpu(t->s);
	uint32_t tier;

	device->index = scheduler_device(t->s);
	device->name = gpu->name;
	device->backend = gpu->kind == VRAM_DEVICE_CUDA ? "cuda" : "host";
	device->pci = gpu->pci;
	device->link_bytes_per_s = gpu->link_bytes_per_s;
	scheduler_stats(t->s, &device->stats);
	scheduler_for_each_hold(t->s, take_hold, device);
	for (tier = 0; tier < ARBITER_N_TIERS; tier++)
		t->out->has_tier[tier] = scheduler_has_tier(t->s, tier);
	return err_trace(arbiter_pressure_device(scheduler_arbiter(t->s), device->index,
						 t->out->time_ns, &device->pressure));
}

/* ---- sessions ---- */

/* Of one (group, device): use in each tier, and pressure. Return: false if the ledger does not know it. */
static bool read_group(struct taking *t, const struct arbiter_group *group,
		       struct arbiter_usage usage[ARBITER_N_TIERS],
		       struct arbiter_pressure *pressure)
{
	struct arbiter *a = scheduler_arbiter(t->s);
	uint32_t tier;

	for (tier = 0; tier < ARBITER_N_TIERS; tier++)
		if (t->out->has_tier[tier] &&
		    arbiter_usage(a, group, t->out->device.index, tier, &usage[tier]) < 0)
			return false;
	return arbiter_pressure_group(a, group, t->out->time_ns, pressure) == 0;
}

static void take_other_session(struct taking *t, const struct arbiter_group *group)
{
	struct snapshot_others *others = &t->out->others;
	struct arbiter_usage usage;
	uint32_t tier;

	others->n_sessions++;
	for (tier = 0; tier < ARBITER_N_TIERS; tier++)
		if (t->out->has_tier[tier] &&
		    arbiter_usage(scheduler_arbiter(t->s), group, t->out->device.index, tier,
				  &usage) == 0)
			others->charged_bytes[tier] += usage.usage;
}

static int take_session(void *data, const struct scheduler_session_info *info)
{
	const struct arbiter_group group = { .kind = ARBITER_SESSION, .key = info->ss->id };
	struct scheduler_session_detail detail;
	struct snapshot_session *session;
	struct taking *t = data;

	scheduler_session_detail(t->s, info->ss, &detail);
	t->out->n_in_state[detail.state]++;
	if (!t->out->view.all && info->ss->uid != t->out->view.uid) {
		take_other_session(t, &group);
		return 0;
	}
	session =
		grow(t, &t->out->sessions, &t->out->n_sessions, &t->max_sessions, sizeof(*session));
	if (!session)
		return 1;
	session->id = info->ss->id;
	session->pid = info->ss->pid;
	session->uid = info->ss->uid;
	session->faults = info->ss->faults;
	session->loaded_bytes = info->ss->loaded_bytes;
	session->evicted_bytes = info->ss->evicted_bytes;
	session->comm = info->ss->comm;
	session->info = *info;
	session->detail = detail;
	if (!read_group(t, &group, session->usage, &session->pressure))
		t->out->n_sessions--;
	return 0;
}

/* ---- tenants ---- */

static bool is_above_own(struct taking *t, const struct arbiter_group *group)
{
	size_t i;

	for (i = 0; i < t->out->n_sessions; i++)
		if (arbiter_is_member(scheduler_arbiter(t->s), t->out->sessions[i].id, group) == 1)
			return true;
	return false;
}

/* May not ask the arbiter anything: what the groups are is found out afterwards. */
static int take_group(void *data, const struct arbiter_group_info *info)
{
	struct snapshot_tenant *tenant;
	struct taking *t = data;

	if (info->group.kind != ARBITER_USER && info->group.kind != ARBITER_CGROUP &&
	    info->group.kind != ARBITER_EXE)
		return 0;
	if (info->group.kind == ARBITER_USER && !t->out->view.all && info->uid != t->out->view.uid)
		return 0;
	tenant = grow(t, &t->out->tenants, &t->out->n_tenants, &t->max_tenants, sizeof(*tenant));
	if (!tenant)
		return 1;
	tenant->group = info->group;
	tenant->uid = info->uid;
	tenant->n_sessions = info->n_sessions;
	tenant->subject = strdup(info->name);
	t->failed |= !tenant->subject;
	return t->failed;
}

/* Users first, by uid; what others are called is a number, too, which grows. */
static int compare_tenants(const void *a, const void *b)
{
	const struct arbiter_group *x = &((const struct snapshot_tenant *)a)->group;
	const struct arbiter_group *y = &((const struct snapshot_tenant *)b)->group;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->key < y->key ? -1 : x->key > y->key;
}

/* Fills in what the groups are, and drops those that the viewer may not see. */
static void take_tenants(struct taking *t)
{
	struct snapshot *out = t->out;
	struct snapshot_tenant *tenant;
	size_t i, n = 0;

	arbiter_for_each(scheduler_arbiter(t->s), take_group, t);
	for (i = 0; i < out->n_tenants; i++) {
		tenant = &out->tenants[i];
		if ((out->view.all || tenant->group.kind == ARBITER_USER ||
		     is_above_own(t, &tenant->group)) &&
		    read_group(t, &tenant->group, tenant->usage, &tenant->pressure))
			out->tenants[n++] = *tenant;
		else
			free(tenant->subject);
	}
	out->n_tenants = n;
	if (n > 1)
		qsort(out->tenants, n, sizeof(*out->tenants), compare_tenants);
}

/* ---- models ---- */

static int take_model(void *data, const struct scheduler_object_info *info)
{
	struct snapshot_model *model;
	struct taking *t = data;
	uint32_t tier;

	if (!t->out->view.all && info->uid != t->out->view.uid) {
		t->out->others.n_models++;
		for (tier = 0; tier < ARBITER_N_TIERS; tier++)
			t->out->others.resident_bytes[tier] += info->tier_bytes[tier];
		return 0;
	}
	model = grow(t, &t->out->models, &t->out->n_models, &t->max_models, sizeof(*model));
	if (!model)
		return 1;
	model->info = *info;
	return 0;
}

static int take_queued(void *data, const struct scheduler_waiting_info *info)
{
	struct snapshot_queued *queued;
	struct taking *t = data;

	t->out->n_waiting++;
	if (!t->out->view.all && info->ss->uid != t->out->view.uid)
		return 0;
	queued = grow(t, &t->out->queue, &t->out->n_queue, &t->max_queued, sizeof(*queued));
	if (!queued)
		return 1;
	queued->session = info->ss->id;
	queued->pid = info->ss->pid;
	queued->uid = info->ss->uid;
	queued->info = *info;
	return 0;
}

int snapshot_take(struct scheduler *s, const struct snapshot_view *view, struct snapshot *out)
{
	struct taking t = { .s = s, .out = out };
	int r;

	*out = (struct snapshot){ .view = *view, .time_ns = loop_now() };
	out->uptime_ns = out->time_ns - scheduler_started_ns(s, &out->start_time_s);
	out->ledger = arbiter_adopts(scheduler_arbiter(s)) ? "module" : "daemon";
	r = take_device(&t);
	if (r < 0)
		return err_trace(r);
	scheduler_look(s);
	scheduler_for_each_session(s, take_session, &t);
	if (!t.failed)
		take_tenants(&t);
	if (!t.failed)
		scheduler_for_each_object(s, take_model, &t);
	if (!t.failed)
		scheduler_for_each_waiting(s, take_queued, &t);
	if (!t.failed)
		return 0;
	snapshot_deinit(out);
	return err_origin(-ENOMEM);
}

void snapshot_deinit(struct snapshot *snapshot)
{
	size_t i;

	for (i = 0; i < snapshot->n_tenants; i++)
		free(snapshot->tenants[i].subject);
	free(snapshot->tenants);
	free(snapshot->sessions);
	free(snapshot->models);
	free(snapshot->queue);
	*snapshot = (struct snapshot){ 0 };
}
