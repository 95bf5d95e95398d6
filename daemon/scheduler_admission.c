// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who may begin: what the queue (daemon/admission.h) is told of the device, of limits, and of who works.
 *
 * A session asks for the bytes that it needs at once, its working set; the `min` that limits promise to it counts like
 * an asking, if it is more. It is let in when that fits beside what others have been promised:
 *
 *   the device's budget
 *     - models that are pinned
 *     - what `min` protects of sessions that have not asked
 *     - reservations of those that were let in
 *
 * and in every group of its own that has a `max`. What else is resident does not count: it can go. So a session that never
 * asks is neither kept out nor protected by all this. Pausing and draining a session ends its reservation for as long.
 *
 * AT WORK is who has asked the daemon for something, acquired a layer (its slots tell, also where no
 * message is sent because all is there), or whose process used more than 2 % of a processor; all this is looked at
 * once a second, of sessions with a reservation alone.
 */
#include "daemon/scheduler.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/proto.h"
#include "common/size.h"
#include "daemon/log.h"
#include "daemon/scheduler_private.h"

#define LOOK_NS 1000000000ull
/* The first in the queue holds others back while its turn is foreseen within so long. */
#define PASS_NS 60000000000ull
/* A shorter time than this to wait is none. */
#define NO_WAIT_NS 1000000ull
/* Hundredths of a processor from which on a process counts as working. */
#define WORKS_PERCENT 2u

int admission_start(struct scheduler *s)
{
	return admission_init(&s->admission, s->config->limits.admit_idle, PASS_NS);
}

void admission_stop(struct scheduler *s)
{
	if (s->admission.pools)
		admission_deinit(&s->admission);
}

static struct scheduler_session *session_of(struct admission_entry *e)
{
	return list_entry(e, struct scheduler_session, admit);
}

bool scheduler_is_waiting(const struct scheduler_session *ss)
{
	return ss->admit.state == ADMISSION_WAITING;
}

/* ---- room ---------------------------------------------------------------------------- */

/* What limits protect of sessions without a reservation. */
static uint64_t protected_bytes(struct scheduler *s)
{
	uint64_t sum = 0, emin, elow;
	struct scheduler_session *ss;

	list_for_each(ss, &s->sessions, node)
		if (ss->admit.state != ADMISSION_ADMITTED &&
		    arbiter_protection(s->arbiter, ss->id, s->dev, ARBITER_VRAM, &emin, &elow) == 0)
			sum += emin;
	return sum;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* A group with a max. */
struct bounded {
	struct arbiter_group group;
	uint64_t max;
};

struct bounded_list {
	struct bounded *at;
	size_t n, size;
};

static int note_group(void *ctx, const struct arbiter_group_info *info)
{
	struct bounded_list *list = ctx;

	if (info->group.kind == ARBITER_ROOT)
		return 0;
	if (list->n == list->size) {
		size_t size = list->size ? 2 * list->size : 32;
		struct bounded *at = reallocarray(list->at, size, sizeof(*at));

		if (!at)
			return 1;
		list->at = at;
		list->size = size;
	}
	list->at[list->n++].group = info->group;
	return 0;
}

/* Every group that has a max. The caller frees `at`. */
static struct bounded_list bounded_groups(struct scheduler *s)
{
	struct bounded_list list = { 0 };
	struct arbiter_usage usage;
	size_t n = 0;

	arbiter_for_each(s->arbiter, note_group, &list);
	for (size_t i = 0; i < list.n; i++) {
		if (arbiter_usage(s->arbiter, &list.at[i].group, s->dev, ARBITER_VRAM, &usage) <
			    0 ||
		    usage.limits.value[ARBITER_MAX] == ARBITER_UNLIMITED)
			continue;
		list.at[n] = list.at[i];
		list.at[n++].max = usage.limits.value[ARBITER_MAX];
	}
	list.n = n;
	return list;
}

static void join_pools(struct scheduler *s, struct scheduler_session *ss,
		       const struct bounded_list *groups)
{
	admission_clear(&ss->admit);
	for (size_t i = 0; i < groups->n; i++) {
		const struct bounded *b = &groups->at[i];
		const uint64_t key[2] = { b->group.kind, b->group.key };

		if (arbiter_is_member(s->arbiter, ss->id, &b->group) == 1)
			admission_join(&s->admission, &ss->admit, key, b->max);
	}
}

/* Limits, budget and sessions as they are now. */
static void refresh_pools(struct scheduler *s)
{
	struct bounded_list groups = bounded_groups(s);
	uint64_t capacity = s->gpu->budget_bytes;
	struct scheduler_session *ss;

	capacity = less(capacity, s->pinned_bytes);
	capacity = less(capacity, protected_bytes(s));
	admission_reset(&s->admission, capacity);
	list_for_each(ss, &s->sessions, node) {
		if (ss->admit.state == ADMISSION_NONE)
			continue;
		join_pools(s, ss, &groups);
		ss->admit.barred = control_is_held(ss);
		if (ss->admit.barred)
			admission_lapse(&ss->admit);
	}
	free(groups.at);
}

/*
 * The most that the session could ever get under the limits in force. *out_error: what it is if that is too little;
 * *out_group: which group it is that allows no more.
 */
static uint64_t most_ever(struct scheduler *s, struct scheduler_session *ss, int *out_error,
			  struct arbiter_group *out_group)
{
	struct bounded_list groups = bounded_groups(s);
	uint64_t most = less(s->gpu->budget_bytes, s->pinned_bytes);

	*out_error = -ENOSPC;
	for (size_t i = 0; i < groups.n; i++) {
		if (groups.at[i].max >= most ||
		    arbiter_is_member(s->arbiter, ss->id, &groups.at[i].group) != 1)
			continue;
		most = groups.at[i].max;
		*out_error = -EDQUOT;
		*out_group = groups.at[i].group;
	}
	free(groups.at);
	return most;
}

static uint64_t min_of(struct scheduler *s, uint32_t kind, uint64_t id)
{
	const struct arbiter_subject subject = { .kind = kind, .id = id };
	struct arbiter_limits limits;

	return arbiter_limit_get(s->arbiter, &subject, s->dev, ARBITER_VRAM, &limits) == 0 ?
		       limits.value[ARBITER_MIN] :
		       0;
}

/* What limits promise to the session: its own min, and what is left of its user's. */
static uint64_t promised(struct scheduler *s, const struct scheduler_session *ss)
{
	uint64_t own = min_of(s, ARBITER_SESSION, ss->id);
	uint64_t user = min_of(s, ARBITER_USER, ss->uid);
	const struct scheduler_session *other;

	list_for_each(other, &s->sessions, node)
		if (other != ss && other->uid == ss->uid &&
		    other->admit.state == ADMISSION_ADMITTED)
			user = less(user, other->admit.bytes);
	return own > user ? own : user;
}

/* ---- asking -------------------------------------------------------------------------- */

static int refuse_for_ever(struct scheduler *s, struct scheduler_session *ss, uint64_t bytes,
			   uint64_t most, int error, const struct arbiter_group *group,
			   struct scheduler_admit_answer *out)
{
	char name[128] = "a group of it";

	(void)ss;
	if (error == -EDQUOT)
		arbiter_group_name(s->arbiter, group, name, sizeof(name));
	snprintf(out->text, sizeof(out->text), "%s",
		 error == -EDQUOT ? "the working set is larger than a limit will ever allow" :
		 s->pinned_bytes ? "the working set is larger than the device less the models that "
				   "are pinned in it" :
				   "the working set is larger than the device");
	if (error == -EDQUOT)
		snprintf(out->text + strlen(out->text), sizeof(out->text) - strlen(out->text),
			 " (vram.max of %s)", name);
	out->asked_bytes = bytes;
	out->limit_bytes = most;
	return error;
}

int scheduler_admit(struct scheduler *s, struct scheduler_session *ss,
		    const struct scheduler_admit *ask, struct scheduler_admit_answer *out)
{
	uint64_t now = loop_now(), timeout = ask->timeout_ns, bytes = ask->bytes, most, min;
	struct arbiter_group group = { 0 };
	int error;

	*out = (struct scheduler_admit_answer){ 0 };
	if (scheduler_is_waiting(ss)) {
		snprintf(out->text, sizeof(out->text), "the session has asked already, and waits");
		return -EBUSY;
	}
	most = most_ever(s, ss, &error, &group);
	min = promised(s, ss);
	if (bytes < min)
		bytes = min;
	if (bytes > most && !ask->clamp && ask->bytes > most)
		return refuse_for_ever(s, ss, bytes, most, error, &group, out);
	/* A min that its own max contradicts keeps nobody out. */
	if (bytes > most)
		bytes = most;
	/* What it had is given back for it: the new one is instead. */
	admission_remove(&s->admission, &ss->admit, now);
	if (timeout == 0)
		timeout = s->config->limits.admit_timeout ? s->config->limits.admit_timeout :
							    UINT64_MAX;
	ss->admit.bytes = bytes;
	ss->admit.priority = ask->priority;
	admission_ask(&s->admission, &ss->admit, now,
		      timeout > UINT64_MAX - 1 - now ? UINT64_MAX : now + timeout);
	ss->admit_asking = true;
	admission_pump(s);
	ss->admit_asking = false;
	/* Who does not want to wait is told so at once. */
	if (scheduler_is_waiting(ss) && timeout < NO_WAIT_NS)
		admission_remove(&s->admission, &ss->admit, now);
	if (ss->admit.state == ADMISSION_NONE)
		return -ETIMEDOUT;
	out->reserved_bytes = ss->admit.bytes;
	return scheduler_is_waiting(ss);
}

void admission_forget(struct scheduler *s, struct scheduler_session *ss)
{
	bool mattered = ss->admit.state != ADMISSION_NONE;

	admission_remove(&s->admission, &ss->admit, loop_now());
	if (mattered)
		admission_pump(s);
}

void admission_pump(struct scheduler *s)
{
	struct admission_entry *e, *lapsed = NULL;
	uint64_t now = loop_now();

	list_for_each(e, &s->admission.admitted, node)
		if (e->state == ADMISSION_LAPSED)
			lapsed = e;
	if (list_is_empty(&s->admission.waiting) && !lapsed)
		return;
	refresh_pools(s);
	admission_regain(&s->admission, now);
	while ((e = admission_next(&s->admission, now))) {
		log_debug("session %llu was admitted after %llu ms",
			  (unsigned long long)session_of(e)->id,
			  (unsigned long long)((now - e->asked_ns) / 1000000u));
		if (!session_of(e)->admit_asking)
			session_of(e)->ops->admitted(session_of(e), 0, e->bytes, now - e->asked_ns);
	}
	/* Who is asking at this moment gets scheduler_admit()'s answer and no second one. */
	while ((e = admission_expired(&s->admission, now)))
		if (!session_of(e)->admit_asking)
			session_of(e)->ops->admitted(session_of(e), -ETIMEDOUT, e->bytes,
						     now - e->asked_ns);
}

/* ---- who works ----------------------------------------------------------------------- */

/* Processor time of the process, in ticks. */
static uint64_t cpu_ticks(pid_t pid)
{
	unsigned long long user, system;
	char path[64], text[512], *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* Its name may hold anything, a bracket too. */
	end = strrchr(text, ')');
	if (!end || sscanf(end, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
			   &system) != 2)
		return 0;
	return user + system;
}

static uint64_t acquires(const struct scheduler_session *ss)
{
	const struct use *use;
	uint64_t sum = 0;

	list_for_each(use, &ss->uses, in_session)
		for (uint32_t i = 0; i < use->n_layers; i++)
			sum += residency_uses(&use->slots[i]);
	return sum;
}

static void look_at(struct scheduler_session *ss, uint64_t now_ns, uint64_t passed_ns)
{
	uint64_t ticks = cpu_ticks(ss->pid), uses = acquires(ss);
	uint64_t hertz = (uint64_t)sysconf(_SC_CLK_TCK);

	if (uses != ss->admit_uses || ss->n_stalls ||
	    (ticks - ss->admit_ticks) * 100 * 1000000000ull / hertz >= passed_ns * WORKS_PERCENT)
		ss->admit.busy_ns = now_ns;
	if (ss->active_ns > ss->admit.busy_ns)
		ss->admit.busy_ns = ss->active_ns;
	ss->admit_uses = uses;
	ss->admit_ticks = ticks;
}

void admission_tick(struct scheduler *s, uint64_t now_ns)
{
	uint64_t every = s->config->limits.admit_idle / 4 < LOOK_NS ?
				 s->config->limits.admit_idle / 4 :
				 LOOK_NS;
	struct admission_entry *e;

	/* So often that who works never looks idle in between. */
	if (now_ns - s->admission_look_ns >= every) {
		list_for_each(e, &s->admission.admitted, node)
			look_at(session_of(e), now_ns, now_ns - s->admission_look_ns);
		s->admission_look_ns = now_ns;
	}
	admission_pump(s);
}

/* ---- for status ---------------------------------------------------------------------- */

int scheduler_for_each_waiting(struct scheduler *s,
			       int (*fn)(void *ctx, const struct scheduler_waiting_info *info),
			       void *ctx)
{
	struct admission_entry *e;
	uint64_t now = loop_now();
	int r = 0;

	if (list_is_empty(&s->admission.waiting))
		return 0;
	refresh_pools(s);
	admission_predict(&s->admission, now);
	list_for_each(e, &s->admission.waiting, node) {
		const struct scheduler_session *ss = session_of(e);
		struct scheduler_waiting_info info = {
			.ss = ss,
			.name = ss->ops->name(ss),
			.asked_bytes = e->bytes,
			.priority = e->priority,
			.waiting_ns = now - e->asked_ns,
			.timeout_ns = e->deadline_ns == UINT64_MAX ? UINT64_MAX :
								     e->deadline_ns - e->asked_ns,
			.predicted_ns = e->predicted_ns,
		};

		r = fn(ctx, &info);
		if (r)
			break;
	}
	return r;
}

/* ---- whose doing it is ------------------------------------------------------------------ */

/* What the session needs at once of this object: the largest of its layers that wait for the chunk. */
static uint64_t needed(const struct use *use, uint32_t chunk)
{
	uint64_t most = gpu_chunk_len(use->object->mem, chunk);

	for (uint32_t i = use->n_layers ? use->chunk_first[chunk] : 0;
	     use->n_layers && i < use->chunk_first[chunk + 1]; i++) {
		const struct layer *layer = &use->layers[use->chunk_layers[i]];

		if (layer->waiting && layer_bytes(layer) > most)
			most = layer_bytes(layer);
	}
	return most;
}

bool admission_others_hold(struct scheduler *s, const struct use *use, uint32_t chunk,
			   const struct arbiter_group *group)
{
	struct arbiter_usage usage;
	struct object *object;
	struct use *other;

	if (!use)
		return false;
	/* What could not be met with everything given back is its own doing. */
	if (group && (arbiter_usage(s->arbiter, group, s->dev, ARBITER_VRAM, &usage) < 0 ||
		      needed(use, chunk) > usage.limits.value[ARBITER_MAX]))
		return false;
	list_for_each(object, &s->objects, node) {
		if (!object->resident_bytes)
			continue;
		list_for_each(other, &object->uses, in_object)
			if (other->session != use->session &&
			    (!group ||
			     arbiter_is_member(s->arbiter, other->session->id, group) == 1))
				return true;
	}
	return false;
}

bool admission_others_fill(struct scheduler *s, const struct layer *layer)
{
	uint64_t own = layer_bytes(layer), others = 0;

	for (uint32_t i = 0; i < s->pinned.n; i++) {
		const struct chunk_ref *ref = queue_at(&s->pinned, i);
		uint32_t len = gpu_chunk_len(ref->object->mem, ref->chunk);
		const struct use *use;
		bool mine = false;

		list_for_each(use, &ref->object->uses, in_object)
			mine |= use->session == layer->use->session;
		if (mine)
			own += len;
		else
			others += len;
	}
	return others && own <= s->gpu->budget_bytes;
}
