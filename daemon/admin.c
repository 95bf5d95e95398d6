// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/admin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "common/fd.h"
#include "common/proto.h"
#include "daemon/admin_private.h"
#include "daemon/arbiter.h"
#include "daemon/config.h"
#include "daemon/gpu.h"
#include "daemon/limits.h"
#include "daemon/log_refusal.h"
#include "daemon/scheduler.h"

int admin_fail(struct admin_request *req, int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(req->reason, sizeof(req->reason), format, args);
	va_end(args);
	return err_origin(r);
}

/* ---- status and devices ---- */

static const char *ledger_name(struct scheduler *s)
{
	return !strcmp(arbiter_name(scheduler_arbiter(s)), "local") ? "daemon" : "module";
}

static const char *backend_name(const struct gpu *gpu)
{
	return gpu->kind == VRAM_DEVICE_CUDA ? "cuda" : "host";
}

static json_t *device_new(struct admin_request *req, const struct scheduler_stats *stats)
{
	const struct gpu *gpu = scheduler_gpu(req->s);
	struct json_maker m = json_maker_new();

	json_put_text(&m, "name", gpu->name);
	json_put_text(&m, "backend", backend_name(gpu));
	json_put_text(&m, "pci", gpu->pci);
	json_put_number(&m, "budget_bytes", stats->budget_bytes);
	json_put_number(&m, "resident_bytes", stats->resident_bytes);
	json_put_number(&m, "peak_bytes", stats->peak_bytes);
	json_put_number(&m, "memory_bytes", scheduler_memory_bytes(req->s));
	json_put_number(&m, "inflight_bytes", stats->inflight_bytes);
	json_put_number(&m, "waiting", stats->n_demands);
	json_put_number(&m, "host_budget_bytes", stats->host_budget_bytes);
	json_put_number(&m, "host_used_bytes", stats->host_used_bytes);
	json_put_number(&m, "swap_size_bytes", stats->swap_size_bytes);
	json_put_number(&m, "swap_used_bytes", stats->swap_used_bytes);
	json_put_number(&m, "link_bytes_per_s", gpu->link_bytes_per_s);
	json_put(&m, "huge_pages", json_boolean(stats->huge));
	return json_maker_take(&m);
}

static int devices_put(struct admin_request *req, struct json_maker *m,
		       const struct scheduler_stats *stats)
{
	_cleanup_json_ json_t *devices = json_array();

	if (!devices || json_append(devices, device_new(req, stats)) < 0)
		return err_origin(-ENOMEM);
	json_put(m, "devices", json_incref(devices));
	return 0;
}

static int handle_devices(struct admin_request *req, struct json_maker *m)
{
	struct scheduler_stats stats;

	scheduler_stats(req->s, &stats);
	return err_trace(devices_put(req, m, &stats));
}

/* Who keeps the ledger. */
static json_t *arbiter_new_json(struct admin_request *req)
{
	const struct arbiter *a = scheduler_arbiter(req->s);
	struct json_maker m = json_maker_new();

	json_put_text(&m, "name", arbiter_adopts(a) ? ARBITER_KMOD_PATH : "vramd");
	json_put_number(&m, "generation", a->generation);
	return json_maker_take(&m);
}

static int handle_status(struct admin_request *req, struct json_maker *m)
{
	struct scheduler_stats stats;
	int r;

	scheduler_stats(req->s, &stats);
	json_put_text(m, "version", VRAM_VERSION);
	json_put_text(m, "ledger", ledger_name(req->s));
	json_put(m, "arbiter", arbiter_new_json(req));
	json_put_number(m, "pid", (uint64_t)getpid());
	json_put_number(m, "uid", geteuid());
	json_put(m, "private", json_boolean(scheduler_config(req->s)->user));
	json_put_number(m, "sessions", scheduler_n_sessions(req->s));
	json_put_number(m, "paged_in_bytes", stats.paged_in_bytes);
	json_put_number(m, "paged_out_bytes", stats.paged_out_bytes);
	json_put_number(m, "evicted_bytes", stats.evicted_bytes);
	json_put_number(m, "faults", stats.faults);
	json_put_number(m, "stall_ns", stats.stall_ns);
	r = admin_queue(req, m);
	if (r == 0)
		r = admin_put_held(req, m);
	if (r < 0)
		return err_trace(r);
	return err_trace(devices_put(req, m, &stats));
}

static int handle_version(struct admin_request *req, struct json_maker *m)
{
	json_put_text(m, "version", VRAM_VERSION);
	json_put_number(m, "protocol", VRAM_PROTO_VERSION);
	json_put_text(m, "ledger", ledger_name(req->s));
	return 0;
}

/* ---- clients and models ---- */

struct list_ctx {
	struct admin_request *req;
	json_t *list;
	bool failed;
	uint64_t session;  /* models: of this one alone; 0: all */
	uint64_t n_others; /* those that the peer may not see */
	uint64_t others_resident_bytes;
	uint64_t others_charged_bytes;
};

/* Reads a file or link of /proc/PID; empty if the process is gone or not ours to look at. */
static void proc_exe(pid_t pid, char *buf, size_t size)
{
	static const char deleted[] = " (deleted)";
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink(path, buf, size - 1);
	buf[n > 0 ? n : 0] = '\0';
	if ((size_t)n > strlen(deleted) && n > 0 && !strcmp(buf + n - strlen(deleted), deleted))
		buf[(size_t)n - strlen(deleted)] = '\0';
}

static void proc_comm(pid_t pid, char *buf, size_t size)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64];

	buf[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	f = fopen(path, "re");
	if (f && fgets(buf, (int)size, f))
		buf[strcspn(buf, "\n")] = '\0';
}

static int list_client(void *data, const struct scheduler_session_info *info)
{
	struct list_ctx *ctx = data;
	struct scheduler_session_detail detail;
	struct json_maker m;
	char exe[4096], comm[32];

	if (!ctx->req->privileged && info->ss->uid != ctx->req->peer->uid) {
		ctx->n_others++;
		ctx->others_resident_bytes += info->resident_bytes;
		ctx->others_charged_bytes += info->charged_bytes;
		return 0;
	}
	scheduler_session_detail(ctx->req->s, info->ss, &detail);
	proc_exe(info->ss->pid, exe, sizeof(exe));
	proc_comm(info->ss->pid, comm, sizeof(comm));
	m = json_maker_new();
	json_put_number(&m, "id", info->ss->id);
	json_put_number(&m, "pid", (uint64_t)info->ss->pid);
	json_put_number(&m, "uid", info->ss->uid);
	json_put_text(&m, "name", info->name ? info->name : "");
	json_put_text(&m, "comm", comm);
	json_put_text(&m, "exe", exe);
	json_put_text(&m, "state", scheduler_state_name(detail.state));
	json_put_number(&m, "objects", info->n_objects);
	json_put_number(&m, "resident_bytes", info->resident_bytes);
	json_put_number(&m, "charged_bytes", info->charged_bytes);
	json_put_number(&m, "total_bytes", info->total_bytes);
	json_put_number(&m, "loaded_bytes", info->ss->loaded_bytes);
	json_put_number(&m, "evicted_bytes", info->ss->evicted_bytes);
	json_put_number(&m, "limit_bytes", info->limit_bytes);
	json_put_number(&m, "acquires", detail.acquires);
	json_put_number(&m, "faults", info->ss->faults);
	json_put_number(&m, "stall_ns", info->stall_ns);
	ctx->failed = json_append(ctx->list, json_maker_take(&m)) < 0;
	return ctx->failed;
}

static void put_others(struct json_maker *m, const struct list_ctx *ctx, const char *what)
{
	struct json_maker others;

	if (ctx->req->privileged)
		return;
	others = json_maker_new();
	json_put_number(&others, what, ctx->n_others);
	json_put_number(&others, "resident_bytes", ctx->others_resident_bytes);
	if (!strcmp(what, "clients"))
		json_put_number(&others, "charged_bytes", ctx->others_charged_bytes);
	json_put(m, "others", json_maker_take(&others));
}

static int handle_clients(struct admin_request *req, struct json_maker *m)
{
	_cleanup_json_ json_t *list = json_array();
	struct list_ctx ctx = { .req = req, .list = list };

	if (!list)
		return err_origin(-ENOMEM);
	scheduler_look(req->s);
	scheduler_for_each_session(req->s, list_client, &ctx);
	if (ctx.failed)
		return err_origin(-ENOMEM);
	json_put(m, "clients", json_incref(list));
	put_others(m, &ctx, "clients");
	return 0;
}

/* Of the tiers that are there, as in `snapshot`. */
static json_t *tiers_new(const struct admin_request *req, const struct scheduler_object_info *info)
{
	struct json_maker m = json_maker_new();
	uint32_t tier;

	for (tier = 0; tier < ARBITER_N_TIERS; tier++) {
		struct json_maker one;

		if (!scheduler_has_tier(req->s, tier))
			continue;
		one = json_maker_new();
		json_put_number(&one, "resident_bytes", info->tier_bytes[tier]);
		json_put(&m, limits_tier_name(tier), json_maker_take(&one));
	}
	return json_maker_take(&m);
}

static int list_model(void *data, const struct scheduler_object_info *info)
{
	struct list_ctx *ctx = data;
	char file[48] = "";
	struct json_maker m;

	if (ctx->session && !scheduler_session_has(ctx->req->s, ctx->session, info->id))
		return 0;
	if (!ctx->req->privileged && info->uid != ctx->req->peer->uid &&
	    !scheduler_session_is_of(ctx->req->s, ctx->session, ctx->req->peer->uid)) {
		ctx->n_others++;
		ctx->others_resident_bytes += info->resident_bytes;
		return 0;
	}
	m = json_maker_new();
	json_put_text(&m, "name", info->name);
	json_put_text(&m, "kind", info->buffer ? "buffer" : "model");
	json_put_number(&m, "id", info->id);
	if (!info->buffer)
		snprintf(file, sizeof(file), "%" PRIx64 ":%" PRIu64, (uint64_t)info->dev,
			 (uint64_t)info->ino);
	json_put_text(&m, "file", file);
	json_put(&m, "pinned", json_boolean(info->pinned));
	json_put_number(&m, "size_bytes", info->size_bytes);
	json_put_number(&m, "resident_bytes", info->resident_bytes);
	json_put(&m, "tiers", tiers_new(ctx->req, info));
	json_put_number(&m, "chunk_bytes", info->chunk_bytes);
	json_put_number(&m, "clients", info->n_uses);
	json_put_number(&m, "loaded_bytes", info->loaded_bytes);
	json_put_number(&m, "evicted_bytes", info->evicted_bytes);
	ctx->failed = json_append(ctx->list, json_maker_take(&m)) < 0;
	return ctx->failed;
}

static int handle_models(struct admin_request *req, struct json_maker *m)
{
	const json_t *session = json_object_get(req->json, "session");
	_cleanup_json_ json_t *list = json_array();
	struct list_ctx ctx = { .req = req, .list = list };

	if (!list)
		return err_origin(-ENOMEM);
	if (session && (!json_is_integer(session) || json_integer_value(session) <= 0))
		return admin_fail(req, -EINVAL, "'session' must be the number of a session");
	ctx.session = session ? (uint64_t)json_integer_value(session) : 0;
	scheduler_look(req->s);
	scheduler_for_each_object(req->s, list_model, &ctx);
	if (ctx.failed)
		return err_origin(-ENOMEM);
	json_put(m, "models", json_incref(list));
	put_others(m, &ctx, "models");
	return 0;
}

/* ---- evict ---- */

static int name_is(void *data, const struct scheduler_object_info *info)
{
	return !strcmp(data, info->name);
}

static int handle_evict(struct admin_request *req, struct json_maker *m)
{
	const char *name = json_string_value(json_object_get(req->json, "model"));
	bool all = json_is_true(json_object_get(req->json, "all"));
	uint64_t bytes;

	if (!name == !all)
		return admin_fail(req, -EINVAL, "either a model's name or all is needed");
	if (name && !scheduler_for_each_object(req->s, name_is, (void *)(uintptr_t)name))
		return admin_fail(req, -ENOENT, "there is no model '%.120s'", name);
	bytes = scheduler_evict(req->s, name);
	log_info("%" PRIu64 " bytes of %s evicted by user %u", bytes, name ? name : "all models",
		 req->peer->uid);
	json_put_number(m, "evicted_bytes", bytes);
	return 0;
}

/* ---- dispatch ---- */

static const struct command {
	const char *name;
	int (*handle)(struct admin_request *req, struct json_maker *m);
	bool privileged;
	const char *keys[5]; /* beside "command" */
} commands[] = {
	{ "status", handle_status, false, { NULL } },
	{ "devices", handle_devices, false, { NULL } },
	{ "clients", handle_clients, false, { NULL } },
	{ "models", handle_models, false, { "session", NULL } },
	{ "limit_show", admin_limit_show, false, { "subject", NULL } },
	{ "limit_set", admin_limit_set, false, { "subject", "settings", "save", NULL } },
	{ "limit_reset", admin_limit_reset, true, { "subject", "settings", "save", NULL } },
	{ "limit_list", admin_limit_list, false, { NULL } },
	{ "reload", admin_reload, true, { NULL } },
	{ "pressure", admin_pressure, false, { "subject", NULL } },
	{ "snapshot", admin_snapshot, false, { NULL } },
	{ "metrics", admin_metrics, false, { "format", NULL } },
	{ "evict", handle_evict, true, { "model", "all", NULL } },
	{ "queue", admin_queue, false, { NULL } },
	{ "pause", admin_pause, false, { "session", NULL } },
	{ "resume", admin_resume, false, { "target", NULL } },
	{ "drain", admin_drain, false, { "target", "to", "hold", NULL } },
	{ "kill", admin_kill, false, { "session", "signal", NULL } },
	{ "pin", admin_pin, true, { "model", NULL } },
	{ "unpin", admin_unpin, true, { "model", NULL } },
	{ "prefetch", admin_prefetch, false, { "model", NULL } },
	{ "job", admin_job, false, { "id", NULL } },
	{ "jobs", admin_jobs, false, { NULL } },
	{ "trace_names", admin_trace_names, true, { NULL } },
	{ "version", handle_version, false, { NULL } },
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *command_find(const char *name)
{
	size_t i;

	for (i = 0; i < N_COMMANDS; i++) {
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	}
	return NULL;
}

/* What is not understood is refused: a mistyped key must not mean "no restriction". */
static int keys_check(struct admin_request *req, const struct command *command)
{
	const char *const *known;
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)req->json, key, value) {
		if (!strcmp(key, "command"))
			continue;
		for (known = command->keys; *known && strcmp(*known, key) != 0; known++)
			;
		if (!*known)
			return admin_fail(req, -EINVAL, "%s has no parameter '%.60s'",
					  command->name, key);
	}
	return 0;
}

static int dispatch(struct admin_request *req, struct json_maker *m)
{
	const char *name = json_string_value(json_object_get(req->json, "command"));
	const struct command *command;
	int r;

	if (!name)
		return admin_fail(req, -EBADMSG,
				  "the request is not a JSON object with a \"command\"");
	command = command_find(name);
	if (!command)
		return admin_fail(req, -EOPNOTSUPP, "vramd %s has no command '%.60s'", VRAM_VERSION,
				  name);
	r = keys_check(req, command);
	if (r < 0)
		return err_trace(r);
	if (command->privileged && !req->privileged)
		return admin_fail(req, -EPERM, "%s is for root%s", name,
				  scheduler_config(req->s)->user ? " and the daemon's own user" :
								   "");
	return err_trace(command->handle(req, m));
}

/* What was asked is the request itself. */
static void log_admin_refusal(const struct admin_request *req, int r)
{
	_cleanup_free_ char *asked =
		req->json ? json_dumps(req->json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	log_refusal(r == -EPERM ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "refused",
		    &(const struct log_refusal){
			    .id = LOG_ID_ADMIN_REFUSED,
			    .reason = req->reason[0] ? req->reason : err_text(r),
			    .asked = asked,
			    .pid = req->peer->pid,
			    .uid = req->peer->uid,
			    .error = r,
		    });
}

static json_t *refusal_new(const struct admin_request *req, int r)
{
	struct json_maker m = json_maker_new();

	json_put_text(&m, "error", req->reason[0] ? req->reason : err_text(r));
	json_put_text(&m, "errno", err_name(r));
	return json_maker_take(&m);
}

static json_t *answer_new(struct admin_request *req, const char *json, size_t len)
{
	_cleanup_json_ json_t *request = NULL;
	struct json_maker m = json_maker_new();
	json_error_t error;
	json_t *answer;
	int r;

	request = json_loadb(json, len, JSON_REJECT_DUPLICATES, &error);
	req->json = request;
	if (!request)
		r = admin_fail(req, -EBADMSG, "the request is not JSON: %.120s", error.text);
	else
		r = m.failed ? err_origin(-ENOMEM) : dispatch(req, &m);
	answer = json_maker_take(&m);
	if (r == 0)
		return answer;
	json_decref(answer);
	log_admin_refusal(req, r);
	return refusal_new(req, r);
}

int admin_handle(struct scheduler *s, const struct ucred *peer, const char *json, size_t len,
		 int *out_fd)
{
	struct admin_request req = {
		.s = s,
		.peer = peer,
		.privileged = peer->uid == 0 || peer->uid == geteuid(),
	};
	_cleanup_json_ json_t *answer = answer_new(&req, json, len);
	_cleanup_free_ char *text = req.text;
	_cleanup_close_ int fd = -1;
	size_t text_len = req.text_len;
	int r;

	if (!text) {
		text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
		text_len = text ? strlen(text) : 0;
	}
	if (!text)
		return err_origin(-ENOMEM);
	r = fd_memfd_sealed("vramd-admin", text_len, 0, &fd);
	if (r < 0)
		return err_trace(r);
	if (pwrite(fd, text, text_len, 0) != (ssize_t)text_len)
		return err_origin(-ENOMEM);
	*out_fd = steal_fd(&fd);
	return 0;
}
