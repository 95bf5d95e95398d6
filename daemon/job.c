// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/job.h"

#include <stdio.h>
#include <string.h>

/* The oldest that has ended; of this user alone if `own`. */
static struct job *oldest_ended(struct job_table *table, uid_t uid, bool own)
{
	struct job *oldest = NULL;

	for (size_t i = 0; i < JOBS_MAX; i++) {
		struct job *job = &table->jobs[i];

		if (job->state != JOB_DONE && job->state != JOB_FAILED)
			continue;
		if ((!own || job->uid == uid) && (!oldest || job->id < oldest->id))
			oldest = job;
	}
	return oldest;
}

struct job *job_begin(struct job_table *table, enum job_kind kind, uid_t uid, bool any,
		      const char *target)
{
	struct job *place = NULL;
	uint32_t n = 0, running = 0;

	for (size_t i = 0; i < JOBS_MAX; i++) {
		struct job *job = &table->jobs[i];

		if (job->state == JOB_NONE)
			place = job;
		else if (job->uid == uid)
			n++;
		if (job->state == JOB_RUNNING && job->uid == uid)
			running++;
	}
	if (!any && running >= JOBS_RUNNING_PER_USER)
		return NULL;
	if (!any && n >= JOBS_PER_USER)
		place = oldest_ended(table, uid, true);
	if (!place)
		place = oldest_ended(table, uid, false);
	if (!place)
		return NULL;
	*place = (struct job){
		.id = ++table->last_id,
		.kind = kind,
		.state = JOB_RUNNING,
		.uid = uid,
	};
	snprintf(place->target, sizeof(place->target), "%s", target);
	return place;
}

void job_end(struct job *job, enum job_state state)
{
	job->state = state;
}

struct job *job_find(struct job_table *table, uint64_t id)
{
	for (size_t i = 0; id && i < JOBS_MAX; i++)
		if (table->jobs[i].state != JOB_NONE && table->jobs[i].id == id)
			return &table->jobs[i];
	return NULL;
}

struct job *job_next(struct job_table *table, uint64_t id)
{
	struct job *next = NULL;

	for (size_t i = 0; i < JOBS_MAX; i++) {
		struct job *job = &table->jobs[i];

		if (job->state != JOB_NONE && job->id > id && (!next || job->id < next->id))
			next = job;
	}
	return next;
}

const char *job_kind_name(enum job_kind kind)
{
	static const char *const names[] = { "drain", "prefetch", "pin" };

	return names[kind];
}

const char *job_state_name(enum job_state state)
{
	static const char *const names[] = { "none", "running", "done", "failed" };

	return names[state];
}
