// SPDX-License-Identifier: GPL-2.0-only
/* The commands that make the scheduler do something to sessions and models, jobs, and the queue. */
#define _GNU_SOURCE 1
#include "daemon/admin_private.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "common/err.h"
#include "daemon/admission.h"
#include "daemon/scheduler.h"
#include "daemon/scheduler_control.h"

static struct control control_of(const struct admin_request *req)
{
	return (struct control){ .uid = req->peer->uid, .privileged = req->privileged };
}

static int refuse(struct admin_request *req, int r, const struct control *c)
{
	return admin_fail(req, r, "%s", c->reason);
}

/* A text that must be there. Return: 0 or -EINVAL. */
static int get_text(struct admin_request *req, const char *key, const char **out)
{
	*out = json_string_value(json_object_get(req->json, key));
	if (!*out || !**out)
		return admin_fail(req, -EINVAL, "'%s' must be a text", key);
	return 0;
}

/* A number that must be there and is not negative. */
static int get_id(struct admin_request *req, const char *key, uint64_t *out)
{
	const json_t *value = json_object_get(req->json, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return admin_fail(req, -EINVAL, "'%s' must be a number", key);
	*out = (uint64_t)json_integer_value(value);
	return 0;
}

/* A flag that may be there. */
static int get_flag(struct admin_request *req, const char *key, bool *out)
{
	const json_t *value = json_object_get(req->json, key);

	if (value && !json_is_boolean(value))
		return admin_fail(req, -EINVAL, "'%s' must be true or false", key);
	*out = json_is_true(value);
	return 0;
}

/* ---- sessions ---- */

int admin_pause(struct admin_request *req, struct json_maker *m)
{
	struct control c = control_of(req);
	uint64_t session;
	int r = get_id(req, "session", &session);

	if (r < 0)
		return r;
	r = scheduler_pause(req->s, &c, session);
	if (r < 0)
		return refuse(req, r, &c);
	json_put_number(m, "sessions", c.n);
	return 0;
}

int admin_resume(struct admin_request *req, struct json_maker *m)
{
	struct control c = control_of(req);
	const char *target;
	int r = get_text(req, "target", &target);

	if (r < 0)
		return r;
	r = scheduler_resume(req->s, &c, target);
	if (r < 0)
		return refuse(req, r, &c);
	json_put_number(m, "sessions", c.n);
	return 0;
}

int admin_drain(struct admin_request *req, struct json_maker *m)
{
	const json_t *where = json_object_get(req->json, "to");
	const char *to = json_string_value(where), *target;
	enum control_tier tier = CONTROL_ANYWHERE;
	struct control c = control_of(req);
	bool hold = false;
	int r = get_text(req, "target", &target);

	if (r == 0)
		r = get_flag(req, "hold", &hold);
	if (r < 0)
		return r;
	if (where && (!to || (strcmp(to, "host") != 0 && strcmp(to, "disk") != 0)))
		return admin_fail(req, -EINVAL, "what is drained goes to host or to disk");
	if (to)
		tier = strcmp(to, "host") == 0 ? CONTROL_TO_HOST : CONTROL_TO_DISK;
	r = scheduler_drain(req->s, &c, target, tier, hold);
	if (r < 0)
		return refuse(req, r, &c);
	json_put_number(m, "job", c.job);
	return 0;
}

/* SIGKILL and its like by number; names are for vramctl. */
int admin_kill(struct admin_request *req, struct json_maker *m)
{
	struct control c = control_of(req);
	uint64_t session, signal = SIGTERM;
	pid_t pid;
	int r = get_id(req, "session", &session);

	if (r == 0 && json_object_get(req->json, "signal"))
		r = get_id(req, "signal", &signal);
	if (r < 0)
		return r;
	if (signal < 1 || signal > (uint64_t)SIGRTMAX)
		return admin_fail(req, -EINVAL, "there is no signal %llu",
				  (unsigned long long)signal);
	r = scheduler_kill(req->s, &c, session, (int)signal, &pid);
	if (r < 0)
		return refuse(req, r, &c);
	json_put_number(m, "pid", (uint64_t)pid);
	json_put_number(m, "signal", signal);
	return 0;
}

/* ---- models ---- */

static int about_model(struct admin_request *req, struct json_maker *m,
		       int (*fn)(struct scheduler *s, struct control *c, const char *model))
{
	struct control c = control_of(req);
	const char *model;
	int r = get_text(req, "model", &model);

	if (r < 0)
		return r;
	r = fn(req->s, &c, model);
	if (r < 0)
		return refuse(req, r, &c);
	if (c.job)
		json_put_number(m, "job", c.job);
	return 0;
}

int admin_pin(struct admin_request *req, struct json_maker *m)
{
	return about_model(req, m, scheduler_pin);
}

int admin_unpin(struct admin_request *req, struct json_maker *m)
{
	return about_model(req, m, scheduler_unpin);
}

int admin_prefetch(struct admin_request *req, struct json_maker *m)
{
	return about_model(req, m, scheduler_prefetch);
}

/* ---- jobs ---- */

static void put_job(struct json_maker *m, const struct job *job)
{
	json_put_number(m, "id", job->id);
	json_put_text(m, "kind", job_kind_name(job->kind));
	json_put_text(m, "target", job->target);
	json_put_number(m, "uid", job->uid);
	json_put_text(m, "state", job_state_name(job->state));
	json_put_number(m, "done_bytes", job->done_bytes);
	json_put_number(m, "total_bytes", job->total_bytes);
	json_put(m, "error",
		 job->state == JOB_FAILED ? json_string(job->note[0] ? job->note : "failed") :
					    json_null());
	json_put(m, "note",
		 job->state == JOB_DONE && job->note[0] ? json_string(job->note) : json_null());
}

int admin_job(struct admin_request *req, struct json_maker *m)
{
	const struct control c = control_of(req);
	const struct job *job;
	uint64_t id;
	int r = get_id(req, "id", &id);

	if (r < 0)
		return r;
	job = scheduler_job(req->s, &c, id);
	if (!job)
		return admin_fail(req, -ENOENT, "there is no job %llu%s, or not any more",
				  (unsigned long long)id, c.privileged ? "" : " of yours");
	put_job(m, job);
	return 0;
}

int admin_jobs(struct admin_request *req, struct json_maker *m)
{
	_cleanup_json_ json_t *list = json_array();
	const struct control c = control_of(req);
	const struct job *job;

	if (!list)
		return err_origin(-ENOMEM);
	for (job = scheduler_job_next(req->s, &c, 0); job;
	     job = scheduler_job_next(req->s, &c, job->id)) {
		struct json_maker row = json_maker_new();

		put_job(&row, job);
		if (json_append(list, json_maker_take(&row)) < 0)
			return err_origin(-ENOMEM);
	}
	json_put(m, "jobs", json_incref(list));
	return 0;
}

/* ---- what is held ---- */

struct held_ctx {
	const struct admin_request *req;
	json_t *list;
	bool failed;
};

static int put_hold(void *data, const char *target, uid_t uid)
{
	struct held_ctx *ctx = data;
	struct json_maker m;

	if (!ctx->req->privileged && uid != ctx->req->peer->uid)
		return 0;
	m = json_maker_new();
	json_put_text(&m, "target", target);
	json_put_number(&m, "uid", uid);
	ctx->failed = json_append(ctx->list, json_maker_take(&m)) < 0;
	return ctx->failed;
}

int admin_put_held(struct admin_request *req, struct json_maker *m)
{
	_cleanup_json_ json_t *list = json_array();
	struct held_ctx ctx = { .req = req, .list = list };

	if (!list)
		return err_origin(-ENOMEM);
	scheduler_for_each_hold(req->s, put_hold, &ctx);
	if (ctx.failed)
		return err_origin(-ENOMEM);
	json_put(m, "held", json_incref(list));
	return 0;
}

/* ---- the queue ---- */

struct queue_ctx {
	const struct admin_request *req;
	json_t *list;
	uint64_t n_others;
	bool failed;
};

/* null for what is not known, or has no end. */
static void put_time(struct json_maker *m, const char *key, uint64_t ns)
{
	json_put(m, key, ns == UINT64_MAX ? json_null() : json_number_new(ns));
}

static int put_waiting(void *data, const struct scheduler_waiting_info *info)
{
	struct queue_ctx *ctx = data;
	struct json_maker m;

	if (!ctx->req->privileged && info->ss->uid != ctx->req->peer->uid) {
		ctx->n_others++;
		return 0;
	}
	m = json_maker_new();
	json_put_number(&m, "session", info->ss->id);
	json_put_number(&m, "pid", (uint64_t)info->ss->pid);
	json_put_number(&m, "uid", info->ss->uid);
	json_put_text(&m, "name", info->name);
	json_put_number(&m, "asked_bytes", info->asked_bytes);
	json_put(&m, "priority", json_integer(info->priority));
	json_put_number(&m, "waiting_ns", info->waiting_ns);
	put_time(&m, "timeout_ns", info->timeout_ns);
	put_time(&m, "predicted_ns", info->predicted_ns);
	ctx->failed = json_append(ctx->list, json_maker_take(&m)) < 0;
	return ctx->failed;
}

int admin_queue(struct admin_request *req, struct json_maker *m)
{
	_cleanup_json_ json_t *list = json_array();
	struct queue_ctx ctx = { .req = req, .list = list };

	if (!list)
		return err_origin(-ENOMEM);
	scheduler_for_each_waiting(req->s, put_waiting, &ctx);
	if (ctx.failed)
		return err_origin(-ENOMEM);
	json_put(m, "queue", json_incref(list));
	if (!req->privileged)
		json_put_number(m, "queue_others", ctx.n_others);
	return 0;
}
