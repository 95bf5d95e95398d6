/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * job - what the daemon does for administrators that takes longer than an answer.
 *
 * A pure table: no clock, no I/O. Who works on a job writes done_bytes, total_bytes and note, and ends it. A job that has
 * ended stays to be asked for until newer ones need its place: the last JOBS_MAX are kept. One user's jobs
 * cannot push out all of another's: beyond JOBS_PER_USER a user replaces own ones first, and may not have more than
 * JOBS_RUNNING_PER_USER at once. Numbers are never used twice.
 */
#ifndef VRAM_DAEMON_JOB_H
#define VRAM_DAEMON_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define JOBS_MAX	      64u
#define JOBS_PER_USER	      16u
#define JOBS_RUNNING_PER_USER 8u

enum job_kind {
	JOB_DRAIN,
	JOB_PREFETCH,
	JOB_PIN,
};

enum job_state {
	JOB_NONE,
	JOB_RUNNING,
	JOB_DONE,
	JOB_FAILED,
};

struct job {
	uint64_t id; /* from 1 on */
	enum job_kind kind;
	enum job_state state;
	uid_t uid; /* of who asked */
	char target[160];
	uint64_t done_bytes;
	uint64_t total_bytes;
	char note[240]; /* done: what is to be known besides; failed: why */
};

struct job_table {
	struct job jobs[JOBS_MAX];
	uint64_t last_id;
};

/*
 * A job of the user's begins. any: no bounds for this user but the table's. Return: NULL if too many are running; the
 * place of an ended one may be taken for it.
 */
struct job *job_begin(struct job_table *table, enum job_kind kind, uid_t uid, bool any,
		      const char *target);
void job_end(struct job *job, enum job_state state);
struct job *job_find(struct job_table *table, uint64_t id);
/* The next one after this number, by number; NULL: there is none. */
struct job *job_next(struct job_table *table, uint64_t id);

const char *job_kind_name(enum job_kind kind);
const char *job_state_name(enum job_state state);

#endif
