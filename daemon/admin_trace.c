// SPDX-License-Identifier: GPL-2.0-only
/* The names of what the probes and the trace points speak of, for vramtrace. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/err.h"
#include "daemon/admin_private.h"
#include "daemon/scheduler_trace.h"

struct names_ctx {
	json_t *sessions;
	json_t *shares;
	json_t *layers;
};

static int put_name(void *data, const struct scheduler_name *name)
{
	struct names_ctx *ctx = data;
	struct json_maker m = json_maker_new();

	if (name->session) {
		json_put_number(&m, "session", name->session->id);
		json_put_number(&m, "pid", (uint64_t)name->session->pid);
		json_put_number(&m, "uid", name->session->uid);
		json_put_text(&m, "comm", name->session->comm);
		return json_append(ctx->sessions, json_maker_take(&m));
	}
	json_put_number(&m, "share", name->object->share);
	if (name->use) {
		json_put_number(&m, "session", name->use->session->id);
		json_put_number(&m, "first_slot", name->use->slot_base);
		json_put_number(&m, "n_layers", name->use->n_layers);
		return json_append(ctx->layers, json_maker_take(&m));
	}
	json_put_number(&m, "device", name->dev);
	json_put_text(&m, "name", name->object->name);
	json_put_text(&m, "kind", name->object->kind == POLICY_BUFFER ? "buffer" : "model");
	json_put_number(&m, "size_bytes", name->object->size_bytes);
	json_put_number(&m, "chunk_bytes", name->object->mem->chunk_bytes);
	return json_append(ctx->shares, json_maker_take(&m));
}

int admin_trace_names(struct admin_request *req, struct json_maker *m)
{
	_cleanup_json_ json_t *sessions = json_array(), *shares = json_array();
	_cleanup_json_ json_t *layers = json_array();
	struct names_ctx ctx = { .sessions = sessions, .shares = shares, .layers = layers };

	if (!sessions || !shares || !layers || scheduler_for_each_name(req->s, put_name, &ctx) != 0)
		return err_origin(-ENOMEM);
	json_put(m, "sessions", json_incref(sessions));
	json_put(m, "shares", json_incref(shares));
	json_put(m, "layers", json_incref(layers));
	return 0;
}
