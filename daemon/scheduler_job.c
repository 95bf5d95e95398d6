// SPDX-License-Identifier: GPL-2.0-only
/*
 * Jobs at work: draining a target, loading a model.
 *
 * Each is taken a step further by scheduler_pump(), as far as the pager has room, and by the tick. A job that makes no
 * progress for PATIENCE_NS (limits.pin_timeout, if that is set) ends, and says what was in the way. Clients that hold pins on what is
 * to go are asked to let go once a second; nobody is ended for not doing so.
 */
#include "daemon/scheduler_control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/size.h"
#include "daemon/log_refusal.h"
#include "daemon/scheduler_private.h"

#define PATIENCE_NS 30000000000ull
#define ASK_NS	    1000000000ull
/* Layers that a client is asked for at a time. */
#define ASK_LAYERS 64u

struct work {
	struct list_node node; /* scheduler.works */
	struct job *job;
	uint64_t progress_ns; /* when it last made some */
	uint64_t best_bytes;  /* the most done so far */

	/* drain */
	struct control_target *target;
	struct control_hold *hold; /* for as long as it lasts; NULL: the target is held anyway */
	enum control_tier to;
	uint64_t asked_ns;

	/* pin, prefetch */
	struct object *object;
	uint32_t cursor;
	bool short_of_room;
	bool above_high; /* short of room because of that */
	bool ended;	 /* to be freed when nobody goes through the list */
};

static struct work *work_new(struct scheduler *s, struct control *c, enum job_kind kind,
			     const char *target)
{
	struct work *w = calloc(1, sizeof(*w));

	if (!w) {
		control_fail(c, -ENOMEM, "out of memory");
		return NULL;
	}
	w->job = job_begin(&s->jobs, kind, c->uid, c->privileged, target);
	if (!w->job) {
		free(w);
		control_fail(c, -EBUSY,
			     "too many jobs are running: wait for one of 'vramctl jobs'");
		return NULL;
	}
	w->progress_ns = loop_now();
	list_add_tail(&w->node, &s->works);
	c->job = w->job->id;
	return w;
}

static void sweep(struct scheduler *s)
{
	struct work *w, *tmp;

	list_for_each_safe(w, tmp, &s->works, node) {
		if (!w->ended)
			continue;
		list_del(&w->node);
		free(w->target);
		free(w);
	}
}

static void work_end(struct scheduler *s, struct work *w, enum job_state state)
{
	struct control_hold *hold = w->hold;
	char text[LOG_LINE_MAX];

	job_end(w->job, state);
	snprintf(text, sizeof(text), "job %llu (%s %s) %s: %s", (unsigned long long)w->job->id,
		 job_kind_name(w->job->kind), w->job->target, job_state_name(state), w->job->note);
	if (w->job->note[0])
		log_done(w->job->uid, NULL, 0, text);
	w->ended = true;
	w->hold = NULL;
	w->object = NULL;
	if (!s->stepping)
		sweep(s);
	if (hold)
		control_hold_end(s, hold);
}

static bool is_stuck(const struct scheduler *s, struct work *w)
{
	uint64_t patience = s->config->limits.pin_timeout ? s->config->limits.pin_timeout :
							    PATIENCE_NS;

	if (w->job->done_bytes > w->best_bytes) {
		w->best_bytes = w->job->done_bytes;
		w->progress_ns = loop_now();
	}
	return loop_now() - w->progress_ns > patience;
}

/* ---- draining ------------------------------------------------------------------------ */

enum belongs {
	BELONGS_NOT,
	BELONGS_SHARED, /* with somebody outside of the target */
	BELONGS,
};

static enum belongs belongs(struct scheduler *s, const struct work *w, const struct object *object)
{
	bool inside = false, outside = false;
	const struct use *use;

	if (w->target->device)
		return BELONGS;
	list_for_each(use, &object->uses, in_object) {
		if (control_matches(s, w->target, use->session))
			inside = true;
		else
			outside = true;
	}
	return !inside ? BELONGS_NOT : outside ? BELONGS_SHARED : BELONGS;
}

/* What is where, of a target. */
struct rest {
	uint64_t bytes; /* still to go */
	uint64_t pinned_bytes;
	uint64_t shared_bytes;
	uint64_t no_place_bytes;
	uint64_t held_bytes; /* by pins of clients */
};

static uint64_t tier_bytes(const struct scheduler *s, const struct work *w,
			   const struct object *object)
{
	uint64_t bytes = object->resident_bytes;

	if (w->to == CONTROL_TO_DISK && s->hostpool)
		for (uint32_t c = 0; c < object->mem->n_chunks; c++)
			if (object->chunks[c].host_slot)
				bytes += gpu_chunk_len(object->mem, c);
	return bytes;
}

static void count_kept(const struct object *object, struct rest *rest)
{
	for (uint32_t c = 0; c < object->mem->n_chunks; c++) {
		if (object->chunks[c].state != CHUNK_RESIDENT)
			continue;
		if (object->chunks[c].flags & CHUNK_NO_PLACE)
			rest->no_place_bytes += gpu_chunk_len(object->mem, c);
		else
			rest->held_bytes += gpu_chunk_len(object->mem, c);
	}
}

static struct rest look(struct scheduler *s, const struct work *w, bool closely)
{
	struct rest rest = { 0 };
	struct object *object;

	list_for_each(object, &s->objects, node) {
		enum belongs b = belongs(s, w, object);

		if (b == BELONGS_NOT)
			continue;
		if (object->pinned) {
			rest.pinned_bytes += object->resident_bytes;
		} else if (b == BELONGS_SHARED) {
			rest.shared_bytes += object->resident_bytes;
		} else {
			rest.bytes += tier_bytes(s, w, object);
			if (closely)
				count_kept(object, &rest);
		}
	}
	return rest;
}

static void note_add(struct job *job, uint64_t bytes, const char *what)
{
	char size[SIZE_TEXT_MAX];
	size_t n = strlen(job->note);

	if (bytes)
		snprintf(job->note + n, sizeof(job->note) - n, "%s%s %s", n ? ", " : "",
			 size_format(size, bytes), what);
}

static void note_what_stays(struct scheduler *s, struct job *job, const struct rest *rest)
{
	note_add(job, rest->no_place_bytes,
		 s->swap ? "of buffers that find no room in swap (swap.size)" :
			   "of buffers, without a swap file to go to (swap.size)");
	note_add(job, rest->held_bytes, "held by pins of clients that do not let go");
	note_add(job, rest->shared_bytes, "used by others as well");
	note_add(job, rest->pinned_bytes, "of models that are pinned");
	if (job->note[0]) {
		size_t n = strlen(job->note);

		snprintf(job->note + n, sizeof(job->note) - n, ": stays");
	}
}

/* A layer that its client keeps. */
static bool is_kept(const struct layer *layer)
{
	return residency_state(&layer->shadow) == RESIDENCY_RESIDENT &&
	       residency_pins(layer_residency(layer)) != 0;
}

static void ask_clients(struct scheduler *s, struct work *w)
{
	uint64_t now = loop_now(), deadline;
	struct scheduler_session *ss;
	struct use *use;

	if (now - w->asked_ns < ASK_NS)
		return;
	w->asked_ns = now;
	deadline =
		now + (s->config->limits.pin_timeout ? s->config->limits.pin_timeout : PATIENCE_NS);
	list_for_each(ss, &s->sessions, node) {
		uint32_t n = 0;

		if (!control_matches(s, w->target, ss))
			continue;
		list_for_each(use, &ss->uses, in_session)
			for (uint32_t i = 0; i < use->n_layers && n < ASK_LAYERS; i++)
				if (is_kept(&use->layers[i]))
					ss->ops->revoke(ss, layer_slot(&use->layers[i]),
							deadline + n++);
	}
}

static void drain_step(struct scheduler *s, struct work *w, bool tick)
{
	struct object *object;
	struct rest rest;

	list_for_each(object, &s->objects, node) {
		if (object->pinned || object->dead || belongs(s, w, object) != BELONGS)
			continue;
		object_evict_all(s, object);
		if (w->to == CONTROL_TO_DISK && s->hostpool)
			pager_empty_host(s->pager, object);
	}
	rest = look(s, w, false);
	if (rest.bytes + w->job->done_bytes > w->job->total_bytes)
		w->job->total_bytes = rest.bytes + w->job->done_bytes;
	w->job->done_bytes = w->job->total_bytes - rest.bytes;
	if (rest.bytes == 0) {
		note_what_stays(s, w->job, &rest);
		work_end(s, w, JOB_DONE);
		return;
	}
	if (!tick)
		return;
	ask_clients(s, w);
	if (!is_stuck(s, w) || !pager_is_idle(s->pager))
		return;
	rest = look(s, w, true);
	note_what_stays(s, w->job, &rest);
	work_end(s, w, JOB_FAILED);
}

/* ---- loading ------------------------------------------------------------------------- */

int control_load_begin(struct scheduler *s, struct control *c, struct object *object,
		       enum job_kind kind)
{
	char target[160];
	struct work *w;

	snprintf(target, sizeof(target), "%s", object->name);
	w = work_new(s, c, kind, target);
	if (!w)
		return -EBUSY;
	w->object = object;
	for (uint32_t chunk = 0; chunk < object->mem->n_chunks; chunk++) {
		w->job->total_bytes += gpu_chunk_len(object->mem, chunk);
		object->chunks[chunk].flags &= (uint8_t)~CHUNK_BAD;
	}
	return 0;
}

void control_load_end(struct scheduler *s, const struct object *object, const char *why)
{
	bool stepping = s->stepping;
	struct work *w;

	/* Nothing is freed while we go through the list. */
	s->stepping = true;
	list_for_each(w, &s->works, node) {
		if (w->ended || w->object != object)
			continue;
		snprintf(w->job->note, sizeof(w->job->note), "%s", why);
		work_end(s, w, JOB_FAILED);
	}
	s->stepping = stepping;
	if (!stepping)
		sweep(s);
}

static uint64_t loaded_bytes(const struct object *object, bool *out_bad)
{
	uint64_t bytes = 0;

	*out_bad = false;
	for (uint32_t c = 0; c < object->mem->n_chunks; c++) {
		if (object->chunks[c].state == CHUNK_RESIDENT)
			bytes += gpu_chunk_len(object->mem, c);
		else if (object->chunks[c].flags & CHUNK_BAD)
			*out_bad = true;
	}
	return bytes;
}

/* For a prefetch nothing of use goes: what is free, and what is cached for nobody. */
static bool may_take_for(const struct scheduler *s, const struct work *w, uint32_t len)
{
	const struct object *other;

	if (w->job->kind == JOB_PIN || s->resident_bytes + len <= s->gpu->budget_bytes)
		return true;
	list_for_each(other, &s->objects, node)
		if (other != w->object && list_is_empty(&other->uses) && other->resident_bytes &&
		    !other->pinned)
			return true;
	return !list_is_empty(&w->object->uses);
}

/* Starts what can be started. Return: false if it cannot go on for now. */
static bool load_some(struct scheduler *s, struct work *w)
{
	struct object *object = w->object;

	for (; w->cursor < object->mem->n_chunks; w->cursor++) {
		uint32_t chunk = w->cursor;
		struct chunk *c = &object->chunks[chunk];
		int r;

		if (c->state != CHUNK_ABSENT || c->flags & (CHUNK_QUEUED | CHUNK_BAD))
			continue;
		if (!pager_has_room(s->pager, object))
			return false;
		if (!may_take_for(s, w, gpu_chunk_len(object->mem, chunk))) {
			w->short_of_room = true;
			return false;
		}
		/* make_room() heeds no high where nobody asks: one's own would be passed by loading ahead. */
		if (w->job->kind == JOB_PREFETCH &&
		    !high_allows(s, object, gpu_chunk_len(object->mem, chunk))) {
			w->short_of_room = w->above_high = true;
			return false;
		}
		r = make_room(s, object, chunk, NULL, w->job->kind == JOB_PIN);
		if (r == 0)
			r = start_load(s, object, chunk);
		if (r < 0) {
			/* What is in the way of a pin may go. */
			w->short_of_room = w->job->kind == JOB_PREFETCH;
			return false;
		}
		c->flags |= CHUNK_PREFETCH;
	}
	return true;
}

static void load_step(struct scheduler *s, struct work *w, bool tick)
{
	struct object *object = w->object;
	bool all, bad, moving;

	all = load_some(s, w);
	if (!all && !w->short_of_room && !tick)
		return;
	w->job->done_bytes = loaded_bytes(object, &bad);
	moving = object->n_moving != 0;
	if (w->job->done_bytes == w->job->total_bytes) {
		work_end(s, w, JOB_DONE);
	} else if (bad && !moving) {
		snprintf(w->job->note, sizeof(w->job->note),
			 "a part of it cannot be read: the log of vramd says why");
		work_end(s, w, JOB_FAILED);
	} else if (w->short_of_room && !moving) {
		snprintf(w->job->note, sizeof(w->job->note), "%s",
			 w->above_high ? "with more of it those who use it would be above a high" :
					 "nothing else that is in the device can go for it");
		work_end(s, w, JOB_DONE);
	} else if (all && !moving) {
		/* Others have taken something meanwhile, or it was on its way out. */
		w->cursor = 0;
		if (is_stuck(s, w)) {
			snprintf(w->job->note, sizeof(w->job->note), "it does not stay");
			work_end(s, w, JOB_FAILED);
		}
	} else if (tick && is_stuck(s, w)) {
		snprintf(w->job->note, sizeof(w->job->note),
			 "clients hold pins on what would have to go for it");
		work_end(s, w, JOB_FAILED);
	}
}

/* ---- the works ----------------------------------------------------------------------- */

static void step_all(struct scheduler *s, bool tick)
{
	struct work *w, *tmp;

	if (s->stepping)
		return;
	s->stepping = true;
	list_for_each_safe(w, tmp, &s->works, node) {
		if (w->ended)
			continue;
		if (w->object)
			load_step(s, w, tick);
		else
			drain_step(s, w, tick);
	}
	s->stepping = false;
	sweep(s);
}

int scheduler_drain(struct scheduler *s, struct control *c, const char *text, enum control_tier to,
		    bool hold)
{
	struct control_target *target;
	struct control_hold *kept;
	struct work *w;
	int r;

	if (to == CONTROL_TO_HOST && !s->hostpool)
		return control_fail(c, -EOPNOTSUPP,
				    "%s has no host tier behind it (device.host_budget): what "
				    "leaves it goes to disk",
				    s->gpu->name);
	r = control_target_parse(s, c, text, &target);
	if (r < 0)
		return r;
	w = work_new(s, c, JOB_DRAIN, target->text);
	if (!w) {
		free(target);
		return c->reason[0] == 'o' ? -ENOMEM : -EBUSY;
	}
	w->target = target;
	w->to = to;
	w->job->total_bytes = look(s, w, false).bytes;
	/* Holding sessions starts what others wait for, and would take this job along before it is complete. */
	s->stepping = true;
	kept = control_hold_find(s, target);
	if (hold && kept)
		kept->privileged |= c->privileged;
	else if (hold)
		kept = control_hold_new(s, c, target, 0);
	/* Also beside a lasting one, which may be taken back meanwhile. */
	w->hold = control_hold_new(s, c, target, w->job->id);
	s->stepping = false;
	if (!w->hold || (hold && !kept)) {
		work_end(s, w, JOB_FAILED);
		return control_fail(c, -ENOMEM, "out of memory");
	}
	log_control(target->text, "drain", c->uid, "%s is drained%s by user %u", target->text,
		    hold ? " and held" : "", c->uid);
	scheduler_tick_start(s);
	step_all(s, true);
	return 0;
}

void control_pump(struct scheduler *s)
{
	if (!list_is_empty(&s->works))
		step_all(s, false);
}

void control_tick(struct scheduler *s)
{
	if (s->pinned_bytes)
		control_tell_capacity(s);
	if (!list_is_empty(&s->works))
		step_all(s, true);
}

void control_jobs_stop(struct scheduler *s)
{
	struct work *w, *tmp;

	list_for_each_safe(w, tmp, &s->works, node) {
		list_del(&w->node);
		free(w->target);
		free(w);
	}
}

static bool may_see(const struct control *c, const struct job *job)
{
	return c->privileged || job->uid == c->uid;
}

const struct job *scheduler_job(struct scheduler *s, const struct control *c, uint64_t id)
{
	const struct job *job = job_find(&s->jobs, id);

	return job && may_see(c, job) ? job : NULL;
}

const struct job *scheduler_job_next(struct scheduler *s, const struct control *c, uint64_t id)
{
	const struct job *job;

	do {
		job = job_next(&s->jobs, id);
		id = job ? job->id : 0;
	} while (job && !may_see(c, job));
	return job;
}
