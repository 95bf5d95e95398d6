// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtop/sample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S  1e9
#define US_PER_NS 1e-3
#define UNKNOWN	  ((double)NAN)

const char *const tier_names[N_TIERS] = { "vram", "host", "disk" };

static const struct rates no_rates = { NAN, NAN, NAN, NAN, NAN, NAN };

/* ---- reading ---- */

static double number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_number(value))
		return json_number_value(value);
	if (json_is_string(value) && !strcmp(json_string_value(value), "max"))
		return (double)INFINITY;
	return UNKNOWN;
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}

static struct psi_line read_psi_line(const json_t *object, const char *key)
{
	const json_t *line = json_object_get(object, key);

	return (struct psi_line){
		.avg10 = number(line, "avg10"),
		.avg60 = number(line, "avg60"),
		.avg300 = number(line, "avg300"),
		.total_us = number(line, "total_us"),
	};
}

static struct psi read_psi(const json_t *object)
{
	const json_t *pressure = json_object_get(object, "pressure");

	return (struct psi){ .some = read_psi_line(pressure, "some"),
			     .full = read_psi_line(pressure, "full") };
}

static const json_t *tier_of(const json_t *object, int tier)
{
	const json_t *value = json_object_get(json_object_get(object, "tiers"), tier_names[tier]);

	return json_is_object(value) ? value : NULL;
}

static void read_user(double uid, sample_user_fn user_name, char *out, size_t size)
{
	if (!(uid >= 0 && uid < (double)UINT32_MAX))
		snprintf(out, size, "-");
	else if (user_name)
		user_name((uint32_t)uid, out, size);
	else
		snprintf(out, size, "%.0f", uid);
}

static void read_device(struct top_device *out, const json_t *object)
{
	int t;

	out->name = text(object, "name");
	out->backend = text(object, "backend");
	out->pci = text(object, "pci");
	out->index = number(object, "index");
	for (t = 0; t < N_TIERS; t++) {
		const json_t *tier = tier_of(object, t);

		out->tier[t].there = tier;
		out->tier[t].used = number(tier, "used_bytes");
		out->tier[t].size = number(tier, "size_bytes");
	}
	out->peak = number(object, "peak_bytes");
	out->inflight = number(object, "inflight_bytes");
	out->waiting = number(object, "waiting");
	out->link = number(object, "link_bytes_per_s");
	out->faults = number(object, "faults");
	out->loaded = number(object, "paged_in_bytes");
	out->written = number(object, "paged_out_bytes");
	out->evicted = number(object, "evicted_bytes");
	out->stall_ns = number(object, "stall_ns");
	out->held = json_is_true(json_object_get(object, "held"));
	out->pressure = read_psi(object);
	out->rates = no_rates;
}

static void read_tenant(struct top_tenant *out, const json_t *object, sample_user_fn user_name)
{
	char user[40];
	int t;

	out->subject = text(object, "subject");
	out->is_user = !strcmp(text(object, "kind"), "user");
	out->uid = number(object, "uid");
	out->n_sessions = number(object, "sessions");
	if (out->is_user && !isnan(out->uid)) {
		read_user(out->uid, user_name, user, sizeof(user));
		snprintf(out->name, sizeof(out->name), "user:%s", user);
	} else {
		snprintf(out->name, sizeof(out->name), "%s", out->subject);
	}
	for (t = 0; t < N_TIERS; t++) {
		const json_t *tier = tier_of(object, t);

		out->tier[t] = (struct tenant_tier){
			.there = tier,
			.usage = number(tier, "usage_bytes"),
			.peak = number(tier, "peak_bytes"),
			.refused = number(tier, "refused"),
			.min = number(tier, "min"),
			.low = number(tier, "low"),
			.high = number(tier, "high"),
			.max = number(tier, "max"),
			.weight = number(tier, "weight"),
			.over_high = number(tier, "over_high_bytes"),
			.over_max = number(tier, "over_max_bytes"),
		};
	}
	out->pressure = read_psi(object);
	out->rates = no_rates;
}

static void read_session(struct top_session *out, const json_t *object, sample_user_fn user_name)
{
	int t;

	out->id = number(object, "id");
	out->pid = number(object, "pid");
	out->uid = number(object, "uid");
	out->name = text(object, "name");
	out->comm = text(object, "comm");
	out->state = text(object, "state");
	read_user(out->uid, user_name, out->user, sizeof(out->user));
	for (t = 0; t < N_TIERS; t++) {
		const json_t *tier = tier_of(object, t);

		out->tier[t].there = tier;
		out->tier[t].resident = number(tier, "resident_bytes");
		out->tier[t].charged = number(tier, "charged_bytes");
	}
	out->total = number(object, "total_bytes");
	out->limit = number(object, "limit_bytes");
	out->objects = number(object, "objects");
	out->acquires = number(object, "acquires");
	out->faults = number(object, "faults");
	out->loaded = number(object, "loaded_bytes");
	out->evicted = number(object, "evicted_bytes");
	out->written = number(object, "written_bytes");
	out->stall_ns = number(object, "stall_ns");
	out->position = number(object, "position");
	out->passes = number(object, "passes");
	out->pace_ns = number(object, "pace_ns_per_pass");
	out->pressure = read_psi(object);
	out->rates = no_rates;
	out->d_acquires = out->d_faults = UNKNOWN;
}

static void read_model(struct top_model *out, const json_t *object, sample_user_fn user_name)
{
	int t;

	out->name = text(object, "name");
	out->kind = text(object, "kind");
	out->size = number(object, "size_bytes");
	out->n_sessions = number(object, "sessions");
	out->uid = number(object, "uid");
	out->loaded = number(object, "loaded_bytes");
	out->evicted = number(object, "evicted_bytes");
	out->pinned = json_is_true(json_object_get(object, "pinned"));
	read_user(out->uid, user_name, out->user, sizeof(out->user));
	for (t = 0; t < N_TIERS; t++) {
		const json_t *tier = tier_of(object, t);

		out->tier[t].there = tier;
		out->tier[t].resident = number(tier, "resident_bytes");
	}
	out->rates = no_rates;
}

static void read_waiter(struct top_waiter *out, const json_t *object, size_t place,
			sample_user_fn user_name)
{
	out->place = place;
	out->session = number(object, "session");
	out->pid = number(object, "pid");
	out->uid = number(object, "uid");
	out->name = text(object, "name");
	out->asked = number(object, "asked_bytes");
	out->priority = number(object, "priority");
	out->waiting_ns = number(object, "waiting_ns");
	out->timeout_ns = number(object, "timeout_ns");
	out->predicted_ns = number(object, "predicted_ns");
	read_user(out->uid, user_name, out->user, sizeof(out->user));
}

/* ---- rates ---- */

/* What a counter has grown by; UNKNOWN if it is not known or went back. */
static double growth(double now, double before)
{
	return now >= before ? now - before : UNKNOWN;
}

static double per_second(double now, double before, double ns)
{
	return growth(now, before) * NS_PER_S / ns;
}

/* Part of the time, in percent. Counters are read a moment after the clock: it may come out above 100. */
static double share_of_time(double now_ns, double before_ns, double ns)
{
	double percent = 100.0 * growth(now_ns, before_ns) / ns;

	return percent > 100.0 ? 100.0 : percent;
}

static double hit_percent(double acquires, double faults)
{
	if (!(acquires > 0) || isnan(faults))
		return UNKNOWN;
	return faults >= acquires ? 0.0 : 100.0 * (acquires - faults) / acquires;
}

static void rate_devices(struct sample *sample, const struct sample *before, double ns)
{
	size_t i, j;

	for (i = 0; i < sample->n_devices; i++) {
		struct top_device *now = &sample->devices[i];
		const struct top_device *old = NULL;

		for (j = 0; j < before->n_devices; j++)
			if (before->devices[j].index == now->index)
				old = &before->devices[j];
		if (!old)
			continue;
		now->rates = (struct rates){
			.in = per_second(now->loaded, old->loaded, ns),
			.out = per_second(now->evicted, old->evicted, ns),
			.written = per_second(now->written, old->written, ns),
			.stall = share_of_time(now->pressure.some.total_us,
					       old->pressure.some.total_us, ns * US_PER_NS),
			.hit = UNKNOWN,
			.faults = per_second(now->faults, old->faults, ns),
		};
	}
}

static void rate_tenants(struct sample *sample, const struct sample *before, double ns)
{
	size_t i;

	for (i = 0; i < sample->n_tenants; i++) {
		struct top_tenant *now = &sample->tenants[i];
		const struct top_tenant *old = sample_tenant(before, now->subject);

		if (old)
			now->rates.stall = share_of_time(now->pressure.some.total_us,
							 old->pressure.some.total_us,
							 ns * US_PER_NS);
	}
}

static void rate_sessions(struct sample *sample, const struct sample *before, double ns)
{
	static const struct top_session fresh; /* every counter 0 */
	size_t i;

	for (i = 0; i < sample->n_sessions; i++) {
		struct top_session *now = &sample->sessions[i];
		const struct top_session *old = sample_session(before, now->id);

		if (!old)
			old = &fresh;
		now->d_acquires = growth(now->acquires, old->acquires);
		now->d_faults = growth(now->faults, old->faults);
		now->rates = (struct rates){
			.in = per_second(now->loaded, old->loaded, ns),
			.out = per_second(now->evicted, old->evicted, ns),
			.written = per_second(now->written, old->written, ns),
			.stall = share_of_time(now->stall_ns, old->stall_ns, ns),
			.hit = hit_percent(now->d_acquires, now->d_faults),
			.faults = per_second(now->faults, old->faults, ns),
		};
	}
}

static void rate_models(struct sample *sample, const struct sample *before, double ns)
{
	size_t i, j;

	/* Names need not be unique, and a closed model may come back: the nearest of the same name and size. */
	for (i = 0; i < sample->n_models; i++) {
		struct top_model *now = &sample->models[i];

		for (j = 0; j < before->n_models; j++) {
			const struct top_model *old = &before->models[j];

			if (strcmp(old->name, now->name) != 0 || old->size != now->size ||
			    growth(now->loaded, old->loaded) < 0)
				continue;
			now->rates.in = per_second(now->loaded, old->loaded, ns);
			now->rates.out = per_second(now->evicted, old->evicted, ns);
			break;
		}
	}
}

/* ---- users ---- */

static double add(double a, double b)
{
	return isnan(a) ? b : isnan(b) ? a : a + b;
}

static void add_rates(struct rates *sum, const struct rates *one)
{
	sum->in = add(sum->in, one->in);
	sum->out = add(sum->out, one->out);
	sum->written = add(sum->written, one->written);
	sum->faults = add(sum->faults, one->faults);
}

static struct top_user *user_of(struct sample *sample, const struct top_session *session)
{
	struct top_user *user;
	size_t i;
	int t;

	for (i = 0; i < sample->n_users; i++)
		if (sample->users[i].uid == session->uid)
			return &sample->users[i];
	user = &sample->users[sample->n_users++];
	*user = (struct top_user){ .uid = session->uid, .total = UNKNOWN, .rates = no_rates };
	memcpy(user->name, session->user, sizeof(user->name));
	for (t = 0; t < N_TIERS; t++)
		user->tier[t].resident = user->tier[t].charged = UNKNOWN;
	return user;
}

static int compare_users(const void *a, const void *b)
{
	const struct top_user *one = a, *two = b;

	return (one->uid > two->uid) - (one->uid < two->uid);
}

static void add_users(struct sample *sample)
{
	size_t i;
	int t;

	for (i = 0; i < sample->n_sessions; i++) {
		const struct top_session *session = &sample->sessions[i];
		struct top_user *user = user_of(sample, session);

		user->n_sessions++;
		user->total = add(user->total, session->total);
		for (t = 0; t < N_TIERS; t++) {
			user->tier[t].resident =
				add(user->tier[t].resident, session->tier[t].resident);
			user->tier[t].charged =
				add(user->tier[t].charged, session->tier[t].charged);
		}
		add_rates(&user->rates, &session->rates);
	}
	qsort(sample->users, sample->n_users, sizeof(*sample->users), compare_users);
	for (i = 0; i < sample->n_users; i++) {
		struct top_user *user = &sample->users[i];
		double acquires = 0, faults = 0;
		size_t j;

		for (j = 0; j < sample->n_sessions; j++) {
			if (sample->sessions[j].uid != user->uid)
				continue;
			acquires = add(acquires, sample->sessions[j].d_acquires);
			faults = add(faults, sample->sessions[j].d_faults);
		}
		user->rates.hit = hit_percent(acquires, faults);
		for (j = 0; j < sample->n_tenants; j++) {
			struct top_tenant *tenant = &sample->tenants[j];

			if (!tenant->is_user || tenant->uid != user->uid)
				continue;
			user->tenant = tenant;
			user->rates.stall = tenant->rates.stall;
			add_rates(&tenant->rates, &user->rates);
			tenant->rates.hit = user->rates.hit;
		}
	}
}

/* ---- the whole ---- */

static void *list_new(const json_t *answer, const char *key, size_t size, size_t *out_n)
{
	*out_n = json_array_size(json_object_get(answer, key));
	return calloc(*out_n + 1, size);
}

static bool allocate(struct sample *sample)
{
	const json_t *answer = sample->answer;

	sample->devices = list_new(answer, "devices", sizeof(*sample->devices), &sample->n_devices);
	sample->tenants = list_new(answer, "tenants", sizeof(*sample->tenants), &sample->n_tenants);
	sample->sessions =
		list_new(answer, "sessions", sizeof(*sample->sessions), &sample->n_sessions);
	sample->users = calloc(sample->n_sessions + 1, sizeof(*sample->users));
	sample->models = list_new(answer, "models", sizeof(*sample->models), &sample->n_models);
	sample->queue = list_new(answer, "queue", sizeof(*sample->queue), &sample->n_queue);
	return sample->devices && sample->tenants && sample->sessions && sample->users &&
	       sample->models && sample->queue;
}

static void read_all(struct sample *sample, sample_user_fn user_name)
{
	const json_t *answer = sample->answer, *others = json_object_get(answer, "others"), *value;
	size_t i;
	int t;

	sample->version = text(answer, "version");
	sample->ledger = text(answer, "ledger");
	sample->pid = number(answer, "pid");
	sample->uptime_ns = number(answer, "uptime_ns");
	sample->time_ns = number(answer, "time_ns");
	json_array_foreach(json_object_get(answer, "devices"), i, value) {
		read_device(&sample->devices[i], value);
		for (t = 0; t < N_TIERS; t++)
			sample->has_tier[t] |= sample->devices[i].tier[t].there;
	}
	json_array_foreach(json_object_get(answer, "tenants"), i, value)
		read_tenant(&sample->tenants[i], value, user_name);
	json_array_foreach(json_object_get(answer, "sessions"), i, value)
		read_session(&sample->sessions[i], value, user_name);
	json_array_foreach(json_object_get(answer, "models"), i, value)
		read_model(&sample->models[i], value, user_name);
	json_array_foreach(json_object_get(answer, "queue"), i, value)
		read_waiter(&sample->queue[i], value, i + 1, user_name);
	sample->others_sessions = number(others, "sessions");
	sample->others_models = number(others, "models");
	for (t = 0; t < N_TIERS; t++)
		sample->others_resident[t] = number(tier_of(others, t), "resident_bytes");
}

static bool same_run(const struct sample *now, const struct sample *before)
{
	return now->pid == before->pid && now->uptime_ns > before->uptime_ns &&
	       now->time_ns > before->time_ns;
}

struct sample *sample_new(json_t *answer, const struct sample *before, sample_user_fn user_name,
			  const char **out_why)
{
	struct sample *sample = calloc(1, sizeof(*sample));

	*out_why = "out of memory";
	if (!sample) {
		json_decref(answer);
		return NULL;
	}
	sample->answer = answer;
	if (!json_is_array(json_object_get(answer, "devices"))) {
		*out_why = "this vramd does not answer `snapshot`: is it older than vramtop?";
		sample_free(sample);
		return NULL;
	}
	if (!allocate(sample)) {
		sample_free(sample);
		return NULL;
	}
	read_all(sample, user_name);
	sample->interval_ns = UNKNOWN;
	if (before && same_run(sample, before)) {
		/* The daemon's own clock: ours may be set, and an answer may have been long on the way. */
		double ns = sample->time_ns - before->time_ns;

		sample->interval_ns = ns;
		rate_devices(sample, before, ns);
		rate_tenants(sample, before, ns);
		rate_sessions(sample, before, ns);
		rate_models(sample, before, ns);
	}
	add_users(sample);
	return sample;
}

void sample_free(struct sample *sample)
{
	if (!sample)
		return;
	free(sample->devices);
	free(sample->tenants);
	free(sample->sessions);
	free(sample->users);
	free(sample->models);
	free(sample->queue);
	json_decref(sample->answer);
	free(sample);
}

const struct top_session *sample_session(const struct sample *sample, double id)
{
	size_t i;

	for (i = 0; i < sample->n_sessions; i++)
		if (sample->sessions[i].id == id)
			return &sample->sessions[i];
	return NULL;
}

const struct top_tenant *sample_tenant(const struct sample *sample, const char *subject)
{
	size_t i;

	for (i = 0; i < sample->n_tenants; i++)
		if (!strcmp(sample->tenants[i].subject, subject))
			return &sample->tenants[i];
	return NULL;
}

const struct top_user *sample_user(const struct sample *sample, double uid)
{
	size_t i;

	for (i = 0; i < sample->n_users; i++)
		if (sample->users[i].uid == uid)
			return &sample->users[i];
	return NULL;
}

/* ---- for scripts ---- */

static void put(json_t *object, const char *key, double value)
{
	json_object_set_new(object, key, isfinite(value) ? json_real(value) : json_null());
}

static void put_rates(json_t *object, const struct rates *rates, bool uses)
{
	json_t *out = json_object();

	if (!out || !json_is_object(object)) {
		json_decref(out);
		return;
	}
	put(out, "in_bytes_per_s", rates->in);
	put(out, "out_bytes_per_s", rates->out);
	put(out, "stall_percent", rates->stall);
	if (uses) {
		put(out, "hit_percent", rates->hit);
		put(out, "faults_per_s", rates->faults);
	}
	json_object_set_new(object, "rates", out);
}

const json_t *sample_json(struct sample *sample)
{
	json_t *answer = sample->answer, *value;
	size_t i;

	json_array_foreach(json_object_get(answer, "devices"), i, value)
		put_rates(value, &sample->devices[i].rates, true);
	json_array_foreach(json_object_get(answer, "tenants"), i, value)
		put_rates(value, &sample->tenants[i].rates, true);
	json_array_foreach(json_object_get(answer, "sessions"), i, value) {
		put_rates(value, &sample->sessions[i].rates, true);
		json_object_set_new(value, "user", json_string(sample->sessions[i].user));
	}
	json_array_foreach(json_object_get(answer, "models"), i, value)
		put_rates(value, &sample->models[i].rates, false);
	put(answer, "interval_ns", sample->interval_ns);
	return answer;
}
