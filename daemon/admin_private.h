/* SPDX-License-Identifier: GPL-2.0-only */
/* What admin.c and admin_limits.c share. */
#ifndef VRAM_DAEMON_ADMIN_PRIVATE_H
#define VRAM_DAEMON_ADMIN_PRIVATE_H

#include <stdbool.h>
#include <sys/socket.h>

#include "daemon/admin_json.h"
#include "daemon/limits_live.h"

struct scheduler;

/* Room for the sentence that says why a request was refused. */
#define ADMIN_REASON_MAX 560

struct admin_request {
	struct scheduler *s;
	const struct ucred *peer;
	bool privileged; /* root or the daemon's own user */
	const json_t *json;
	char reason[ADMIN_REASON_MAX];
	char *text; /* the whole answer, where it was not made of values; freed with the request */
	size_t text_len;
};

/* Notes why. Return: r. */
__attribute__((format(printf, 3, 4))) int admin_fail(struct admin_request *req, int r,
						     const char *format, ...);

/* limits_live_subject(), of which a peer that is not privileged gets no more than the daemon can do without. */
int admin_limit_subject(struct admin_request *req, const char *text, struct limits_subject *out,
			char reason[LIMITS_REASON_MAX]);

int admin_limit_show(struct admin_request *req, struct json_maker *m);
int admin_limit_list(struct admin_request *req, struct json_maker *m);
int admin_limit_set(struct admin_request *req, struct json_maker *m);
int admin_limit_reset(struct admin_request *req, struct json_maker *m);
int admin_reload(struct admin_request *req, struct json_maker *m);
int admin_snapshot(struct admin_request *req, struct json_maker *m);
int admin_metrics(struct admin_request *req, struct json_maker *m);
int admin_pressure(struct admin_request *req, struct json_maker *m);

/* admin_control.c */
int admin_pause(struct admin_request *req, struct json_maker *m);
int admin_resume(struct admin_request *req, struct json_maker *m);
int admin_drain(struct admin_request *req, struct json_maker *m);
int admin_kill(struct admin_request *req, struct json_maker *m);
int admin_pin(struct admin_request *req, struct json_maker *m);
int admin_unpin(struct admin_request *req, struct json_maker *m);
int admin_prefetch(struct admin_request *req, struct json_maker *m);
int admin_job(struct admin_request *req, struct json_maker *m);
int admin_jobs(struct admin_request *req, struct json_maker *m);
/* Parts of status, the queue also alone. */
int admin_put_held(struct admin_request *req, struct json_maker *m);
int admin_queue(struct admin_request *req, struct json_maker *m);

/* admin_trace.c */
int admin_trace_names(struct admin_request *req, struct json_maker *m);

#endif
