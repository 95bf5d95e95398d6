// SPDX-License-Identifier: GPL-2.0-only
/* Who is held, and what is pinned; what takes time is in scheduler_job.c. */
#include "daemon/scheduler_control.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/err.h"
#include "common/size.h"
#include "daemon/limits.h"
#include "daemon/log_refusal.h"
#include "daemon/scheduler_private.h"

int control_fail(struct control *c, int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(c->reason, sizeof(c->reason), format, args);
	va_end(args);
	return err_origin(r);
}

/* ---- targets ------------------------------------------------------------------------- */

bool control_matches(struct scheduler *s, const struct control_target *target,
		     const struct scheduler_session *ss)
{
	struct arbiter_subject subject = target->subject;
	struct arbiter_group group;

	if (target->device)
		return true;
	switch (subject.kind) {
	case ARBITER_USER:
		return ss->uid == subject.id;
	case ARBITER_SESSION:
		return ss->id == subject.id;
	default:
		subject.path = target->path;
		return arbiter_find(s->arbiter, &subject, &group) == 0 &&
		       arbiter_is_member(s->arbiter, ss->id, &group) == 1;
	}
}

static bool is_device(const struct scheduler *s, const char *text)
{
	return strcmp(text, "device:0") == 0 || strcmp(text, "dev0") == 0 ||
	       strcmp(text, s->gpu->name) == 0;
}

struct scheduler_session *control_session(struct scheduler *s, uint64_t id)
{
	struct scheduler_session *ss;

	list_for_each(ss, &s->sessions, node)
		if (ss->id == id && id)
			return ss;
	return NULL;
}

/* May the peer do this to the session? Others' are not there, for who may not see them. */
static int own_session(struct scheduler *s, struct control *c, uint64_t id,
		       struct scheduler_session **out)
{
	struct scheduler_session *ss = control_session(s, id);

	if (!ss || (!c->privileged && ss->uid != c->uid))
		return control_fail(c, -ENOENT, "there is no session %llu%s",
				    (unsigned long long)id, c->privileged ? "" : " of yours");
	*out = ss;
	return 0;
}

int control_target_parse(struct scheduler *s, struct control *c, const char *text,
			 struct control_target **out)
{
	struct arbiter_subject subject = { 0 };
	struct scheduler_session *ss;
	struct control_target *target;
	const char *name = NULL, *path;
	bool device = is_device(s, text);
	int r;

	if (!device && strncmp(text, "device:", 7) == 0)
		return control_fail(c, -ENOENT, "this vramd has one device: device:0 (%s)",
				    s->gpu->name);
	r = device ? 0 : limits_subject_parse(text, &subject, &name);
	if (r < 0 || name || (!device && subject.kind > ARBITER_SESSION) ||
	    (!device && subject.kind == ARBITER_ROOT))
		return control_fail(
			c, -EINVAL,
			name ? "'%.80s': users are numbers here, names are for vramctl" :
			       "'%.80s' is not user:UID, session:ID, cgroup:/PATH, "
			       "exe:/PATH, nor the device",
			text);
	if (!device && subject.kind == ARBITER_SESSION) {
		r = own_session(s, c, subject.id, &ss);
		if (r < 0)
			return r;
	} else if (!c->privileged &&
		   (device || subject.kind != ARBITER_USER || subject.id != c->uid)) {
		return control_fail(c, -EPERM,
				    "%.80s is for root: yours are user:%u and your "
				    "sessions",
				    text, c->uid);
	}
	path = subject.path ? subject.path : "";
	target = calloc(1, sizeof(*target) + strlen(path) + 1);
	if (!target)
		return control_fail(c, -ENOMEM, "out of memory");
	target->device = device;
	target->subject = subject;
	target->subject.path = NULL;
	strcpy(target->path, path);
	snprintf(target->text, sizeof(target->text), "%s", device ? "device:0" : text);
	*out = target;
	return 0;
}

static bool same_target(const struct control_target *a, const struct control_target *b)
{
	return a->device == b->device && a->subject.kind == b->subject.kind &&
	       a->subject.id == b->subject.id && strcmp(a->path, b->path) == 0;
}

/* ---- holding ------------------------------------------------------------------------- */

static void for_each_chunk_of(struct scheduler *s, struct layer *layer,
			      void (*fn)(struct scheduler *s, struct object *object,
					 uint32_t chunk))
{
	const struct use *use = layer->use;

	for (uint32_t j = 0; j < layer->n_runs; j++) {
		const struct chunk_run *run = &use->runs[layer->first_run + j];

		for (uint32_t c = run->first; c < run->first + run->n; c++)
			fn(s, use->object, c);
	}
}

static void refresh(struct scheduler *s, struct object *object, uint32_t chunk)
{
	(void)s;
	refresh_evictable(object, chunk);
}

static void ask_again(struct scheduler *s, struct object *object, uint32_t chunk)
{
	demand(s, object, chunk, loop_now());
}

void control_park(struct scheduler *s, struct layer *layer)
{
	if (!layer->waiting || layer->parked || !control_is_held(layer->use->session))
		return;
	list_move_tail(&layer->node, &s->parked);
	layer->parked = true;
	layer_unhold(layer);
	for_each_chunk_of(s, layer, refresh);
}

bool control_holds_back(const struct scheduler *s, const struct object *object, uint32_t chunk)
{
	const struct use *use;
	bool held = false;

	if (!s->n_held || object->chunks[chunk].holds)
		return false;
	list_for_each(use, &object->uses, in_object) {
		if (!use_is_waiting(use, chunk))
			continue;
		if (!control_is_held(use->session))
			return false;
		held = true;
	}
	return held;
}

static void hold(struct scheduler *s, struct scheduler_session *ss)
{
	struct layer *layer, *tmp;
	struct use *use;

	s->n_held++;
	tenants_changed(s);
	list_for_each_safe(layer, tmp, &s->waiting, node)
		if (layer->use->session == ss)
			control_park(s, layer);
	list_for_each(use, &ss->uses, in_session) {
		policy_user_idle(use->policy, loop_now());
		list_del(&use->active);
	}
	/* What it was promised is for others now. */
	admission_lapse(&ss->admit);
}

static void release(struct scheduler *s, struct scheduler_session *ss)
{
	uint64_t now = loop_now();
	struct layer *layer, *tmp;
	struct use *use;

	s->n_held--;
	tenants_changed(s);
	list_for_each_safe(layer, tmp, &s->parked, node) {
		if (layer->use->session != ss)
			continue;
		list_move_tail(&layer->node, &s->waiting);
		layer->parked = false;
		layer->since_ns = now;
		layer_hold(layer);
		for_each_chunk_of(s, layer, refresh);
		for_each_chunk_of(s, layer, ask_again);
	}
	list_for_each(use, &ss->uses, in_session) {
		for (uint32_t c = 0; use->n_waiting && c < use->object->mem->n_chunks; c++)
			if (use_is_waiting(use, c))
				demand(s, use->object, c, now);
		make_active(s, use);
	}
	ss->admit.barred = false;
	ss->admit.busy_ns = now;
}

/* Whatever may hold the session has changed. */
static void look_at(struct scheduler *s, struct scheduler_session *ss)
{
	const struct control_hold *h;
	bool held = ss->held;

	ss->drained = false;
	ss->held_by_root = ss->paused && ss->paused_by_root;
	list_for_each(h, &s->holds, node) {
		if (!control_matches(s, h->target, ss))
			continue;
		ss->drained = true;
		ss->held_by_root |= h->privileged;
	}
	ss->held = ss->paused || ss->drained;
	if (!held && ss->held)
		hold(s, ss);
	else if (held && !ss->held)
		release(s, ss);
}

static void look_at_all(struct scheduler *s)
{
	struct scheduler_session *ss;

	list_for_each(ss, &s->sessions, node)
		look_at(s, ss);
	admission_pump(s);
	scheduler_pump(s);
}

void control_enter(struct scheduler *s, struct scheduler_session *ss)
{
	look_at(s, ss);
}

void control_leave(struct scheduler *s, struct scheduler_session *ss)
{
	struct control_hold *h, *tmp;

	if (ss->held)
		s->n_held--;
	ss->held = false;
	/* Its number is not used again. */
	list_for_each_safe(h, tmp, &s->holds, node)
		if (!h->job && !h->target->device && h->target->subject.kind == ARBITER_SESSION &&
		    h->target->subject.id == ss->id)
			control_hold_free(s, h);
}

struct control_hold *control_hold_new(struct scheduler *s, const struct control *c,
				      const struct control_target *target, uint64_t job)
{
	size_t bytes = sizeof(*target) + strlen(target->path) + 1;
	struct control_hold *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->target = malloc(bytes);
	if (!h->target) {
		free(h);
		return NULL;
	}
	memcpy(h->target, target, bytes);
	h->job = job;
	h->uid = c->uid;
	h->privileged = c->privileged;
	list_add_tail(&h->node, &s->holds);
	look_at_all(s);
	return h;
}

void control_hold_free(struct scheduler *s, struct control_hold *h)
{
	(void)s;
	list_del(&h->node);
	free(h->target);
	free(h);
}

void control_hold_end(struct scheduler *s, struct control_hold *h)
{
	control_hold_free(s, h);
	look_at_all(s);
}

struct control_hold *control_hold_find(struct scheduler *s, const struct control_target *target)
{
	struct control_hold *h;

	list_for_each(h, &s->holds, node)
		if (!h->job && same_target(h->target, target))
			return h;
	return NULL;
}

int scheduler_pause(struct scheduler *s, struct control *c, uint64_t session)
{
	struct scheduler_session *ss;
	int r = own_session(s, c, session, &ss);
	char subject[32];

	if (r < 0)
		return r;
	/* root's stays root's. */
	ss->paused_by_root = c->privileged || (ss->paused && ss->paused_by_root);
	ss->paused = true;
	look_at(s, ss);
	admission_pump(s);
	scheduler_pump(s);
	c->n = 1;
	snprintf(subject, sizeof(subject), "session:%llu", (unsigned long long)ss->id);
	log_control(subject, "pause", c->uid, "session %llu (pid %d, user %u) is paused by user %u",
		    (unsigned long long)ss->id, (int)ss->pid, ss->uid, c->uid);
	return 0;
}

static int resume_session(struct control *c, struct scheduler_session *ss)
{
	if (ss->paused && ss->paused_by_root && !c->privileged)
		return control_fail(c, -EPERM, "session %llu was paused by an administrator",
				    (unsigned long long)ss->id);
	ss->paused = false;
	ss->paused_by_root = false;
	return 0;
}

/* What still holds the session, for who wonders. */
static int still_held(struct scheduler *s, struct control *c, const struct scheduler_session *ss)
{
	const struct control_hold *h;

	list_for_each(h, &s->holds, node)
		if (control_matches(s, h->target, ss))
			return control_fail(c, -EBUSY,
					    h->job ? "%.80s is being drained at the moment" :
						     "%.80s was drained, and is held: resume that",
					    h->target->text);
	return 0;
}

int scheduler_resume(struct scheduler *s, struct control *c, const char *text)
{
	struct control_target *target;
	struct scheduler_session *ss;
	struct control_hold *h;
	bool one;
	int r;

	r = control_target_parse(s, c, text, &target);
	if (r < 0)
		return r;
	h = control_hold_find(s, target);
	one = !target->device && target->subject.kind == ARBITER_SESSION;
	ss = one ? control_session(s, target->subject.id) : NULL;
	if (h && h->privileged && !c->privileged) {
		r = control_fail(c, -EPERM, "%.80s is held by an administrator", text);
		goto out;
	}
	if (ss && ss->paused)
		r = resume_session(c, ss);
	else if (!h && ss && !still_held(s, c, ss))
		r = control_fail(c, -EINVAL, "session %llu is not paused",
				 (unsigned long long)ss->id);
	else if (!h && ss)
		r = -EBUSY;
	else if (!h)
		r = control_fail(c, -EINVAL, "%.80s is not held", text);
	if (r < 0)
		goto out;
	list_for_each(ss, &s->sessions, node)
		c->n += control_matches(s, target, ss);
	if (h)
		control_hold_free(s, h);
	look_at_all(s);
	log_control(target->text, "resume", c->uid, "%s goes on, by user %u", target->text, c->uid);
out:
	free(target);
	return r;
}

bool scheduler_device_is_held(const struct scheduler *s)
{
	const struct control_hold *h;

	list_for_each(h, &s->holds, node)
		if (h->target->device && !h->job)
			return true;
	return false;
}

int scheduler_for_each_hold(const struct scheduler *s,
			    int (*fn)(void *ctx, const char *target, uid_t uid), void *ctx)
{
	const struct control_hold *h;
	int r = 0;

	list_for_each(h, &s->holds, node)
		if (!h->job && !r)
			r = fn(ctx, h->target->text, h->uid);
	return r;
}

/* ---- models -------------------------------------------------------------------------- */

static bool may_see(const struct control *c, const struct object *object)
{
	const struct use *use;

	if (c->privileged)
		return true;
	list_for_each(use, &object->uses, in_object)
		if (use->session->uid == c->uid)
			return true;
	return list_is_empty(&object->uses) && object->uid == c->uid;
}

/* "model:4, model:7 or model:9" */
static void list_choices(struct scheduler *s, struct control *c, const char *name, char *out,
			 size_t size)
{
	const struct object *object;
	size_t n = 0;

	out[0] = '\0';
	list_for_each(object, &s->objects, node)
		if (!object->dead && object->kind == POLICY_MODEL && may_see(c, object) &&
		    strcmp(object->name, name) == 0 && n < size)
			n += (size_t)snprintf(out + n, size - n, "%smodel:%llu", n ? ", " : "",
					      (unsigned long long)object->id);
}

int control_model(struct scheduler *s, struct control *c, const char *text, struct object **out)
{
	const char *digits = strncmp(text, "model:", 6) == 0 ? text + 6 : NULL;
	struct object *object, *found = NULL;
	char choices[100];
	uint64_t id = 0;
	int n = 0;

	/* A number is a number: a client calls its model as it likes. */
	if (digits && *digits && strlen(digits) < 20 && !digits[strspn(digits, "0123456789")])
		id = strtoull(digits, NULL, 10);
	list_for_each(object, &s->objects, node) {
		if (object->dead || object->kind != POLICY_MODEL || !may_see(c, object))
			continue;
		if (id ? object->id != id : strcmp(object->name, text) != 0)
			continue;
		found = object;
		n++;
	}
	if (n == 0)
		return control_fail(c, -ENOENT, "there is no model '%.80s'%s", text,
				    c->privileged ? "" : " that a session of yours uses");
	if (n > 1) {
		list_choices(s, c, text, choices, sizeof(choices));
		return control_fail(c, -EEXIST, "%d models are called '%.80s': say one of %s", n,
				    text, choices);
	}
	*out = found;
	return 0;
}

/* What is promised to sessions, by min or by having been admitted. */
static uint64_t promised_bytes(struct scheduler *s)
{
	struct scheduler_session *ss;
	uint64_t sum = 0;

	list_for_each(ss, &s->sessions, node) {
		uint64_t emin = 0, elow = 0;

		arbiter_protection(s->arbiter, ss->id, s->dev, ARBITER_VRAM, &emin, &elow);
		if (ss->admit.state == ADMISSION_ADMITTED && ss->admit.bytes > emin)
			emin = ss->admit.bytes;
		sum += emin;
	}
	return sum;
}

void control_tell_capacity(struct scheduler *s)
{
	uint64_t capacity = s->gpu->budget_bytes;
	const struct object *object;

	/* Nobody's quota can count on what is there for nobody. */
	list_for_each(object, &s->objects, node)
		if (object->pinned && list_is_empty(&object->uses))
			capacity -= object->mem->map_bytes < capacity ? object->mem->map_bytes :
									capacity;
	policy_set_capacity(s->policy, capacity);
}

static void set_pinned(struct scheduler *s, struct object *object, bool pinned)
{
	const struct use *use;

	object->pinned = pinned;
	s->pinned_bytes += pinned ? object->mem->map_bytes : -object->mem->map_bytes;
	object->unused_since_ns = loop_now();
	list_for_each(use, &object->uses, in_object) {
		if (pinned)
			arbiter_share_leave(s->arbiter, object->share, use->session->id);
		else
			arbiter_share_join(s->arbiter, object->share, use->session->id, true, NULL);
	}
	for (uint32_t chunk = 0; chunk < object->mem->n_chunks; chunk++)
		refresh_evictable(object, chunk);
	control_tell_capacity(s);
}

int scheduler_pin(struct scheduler *s, struct control *c, const char *model)
{
	char size[SIZE_TEXT_MAX], pinned[SIZE_TEXT_MAX], promised[SIZE_TEXT_MAX];
	char budget[SIZE_TEXT_MAX];
	uint64_t keep, others;
	struct object *object;
	int r = control_model(s, c, model, &object);

	if (r < 0)
		return r;
	if (!c->privileged)
		return control_fail(c, -EPERM, "pin is for root");
	/* Others must still get something through. */
	keep = 2ull * object->mem->chunk_bytes;
	others = promised_bytes(s);
	if (!object->pinned &&
	    object->mem->map_bytes + s->pinned_bytes + others + keep > s->gpu->budget_bytes)
		return control_fail(c, -ENOSPC,
				    "%.60s has %s: beside %s that are pinned and %s that are "
				    "protected or promised it does not fit into the %s of %s",
				    object->name, size_format(size, object->mem->map_bytes),
				    size_format(pinned, s->pinned_bytes),
				    size_format(promised, others),
				    size_format(budget, s->gpu->budget_bytes), s->gpu->name);
	r = control_load_begin(s, c, object, JOB_PIN);
	if (r < 0)
		return r;
	if (!object->pinned)
		set_pinned(s, object, true);
	admission_pump(s);
	scheduler_tick_start(s);
	scheduler_pump(s);
	log_control(object->name, "pin", c->uid, "%s (%llu bytes) is pinned by user %u",
		    object->name, (unsigned long long)object->mem->map_bytes, c->uid);
	return 0;
}

int scheduler_unpin(struct scheduler *s, struct control *c, const char *model)
{
	struct object *object;
	int r = control_model(s, c, model, &object);

	if (r < 0)
		return r;
	if (!c->privileged)
		return control_fail(c, -EPERM, "unpin is for root");
	if (!object->pinned)
		return control_fail(c, -EINVAL, "%.80s is not pinned", object->name);
	control_load_end(s, object, "the model was unpinned");
	set_pinned(s, object, false);
	log_control(object->name, "unpin", c->uid, "%s is no longer pinned, by user %u",
		    object->name, c->uid);
	/* With policy.keep = 0 nothing stays that nobody uses. */
	if (s->config->policy.keep == 0)
		scheduler_object_drop(s, object);
	admission_pump(s);
	scheduler_pump(s);
	return 0;
}

int scheduler_prefetch(struct scheduler *s, struct control *c, const char *model)
{
	struct object *object;
	int r = control_model(s, c, model, &object);

	if (r < 0)
		return r;
	r = control_load_begin(s, c, object, JOB_PREFETCH);
	if (r < 0)
		return r;
	object->unused_since_ns = loop_now();
	scheduler_tick_start(s);
	scheduler_pump(s);
	return 0;
}

void control_forget(struct scheduler *s, struct object *object)
{
	if (object->pinned)
		s->pinned_bytes -= object->mem->map_bytes;
	object->pinned = false;
	control_load_end(s, object, "the model is not there any more");
}

/* ---- killing ------------------------------------------------------------------------- */

/* Whose process the descriptor means, as its own status says. Return: 0 or -errno. */
static int process_of(int pidfd, pid_t *out_pid, uid_t *out_real, uid_t *out_saved)
{
	unsigned int real, effective, saved;
	char path[64], line[256];
	bool found = false;
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, "Pid: %d", &pid) == 1;
	fclose(f);
	if (!found || pid <= 0)
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	if (!f)
		return -ESRCH;
	found = false;
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, "Uid: %u %u %u", &real, &effective, &saved) == 3;
	fclose(f);
	if (!found)
		return -ESRCH;
	*out_pid = pid;
	*out_real = real;
	*out_saved = saved;
	return 0;
}

int scheduler_kill(struct scheduler *s, struct control *c, uint64_t session, int signal,
		   pid_t *out_pid)
{
	struct scheduler_session *ss;
	uid_t real = 0, saved = 0;
	char subject[32];
	pid_t pid = 0;
	int r = own_session(s, c, session, &ss);

	if (r < 0)
		return r;
	if (ss->pidfd < 0)
		return control_fail(c, -EOPNOTSUPP,
				    "the kernel did not say which process session %llu is (pid %d)",
				    (unsigned long long)session, (int)ss->pid);
	r = process_of(ss->pidfd, &pid, &real, &saved);
	if (r < 0)
		return control_fail(c, -ESRCH, "the process of session %llu has ended",
				    (unsigned long long)session);
	/* As kill(2) would say: a program may have been somebody else when it connected. */
	if (!c->privileged && c->uid != real && c->uid != saved)
		return control_fail(c, -EPERM, "process %d is not yours", (int)pid);
	if (syscall(SYS_pidfd_send_signal, ss->pidfd, signal, NULL, 0)) {
		r = -errno;
		return control_fail(c, r, "process %d: %s", (int)pid, err_text(r));
	}
	snprintf(subject, sizeof(subject), "session:%llu", (unsigned long long)ss->id);
	log_control(subject, "kill", c->uid, "session %llu (pid %d, user %u): signal %d by user %u",
		    (unsigned long long)ss->id, (int)pid, ss->uid, signal, c->uid);
	*out_pid = pid;
	c->n = 1;
	return 0;
}

/* ---- beginning and end ---------------------------------------------------------------- */

void control_start(struct scheduler *s)
{
	list_init(&s->holds);
	list_init(&s->works);
}

void control_stop(struct scheduler *s)
{
	struct control_hold *h, *tmp;

	control_jobs_stop(s);
	list_for_each_safe(h, tmp, &s->holds, node)
		control_hold_free(s, h);
}
