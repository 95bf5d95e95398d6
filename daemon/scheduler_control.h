/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What administrators, and users for their own sessions, make the scheduler do at once.
 *
 * HELD. A session whose loads wait for somebody's word is held: paused itself, or part of a target that was drained and is kept
 * out. It keeps its session, its objects and its pins; its threads wait at closed pages and its requests for layers are parked, so
 * that its memory may be taken. No deadline of ours runs against it meanwhile, with one exception: pins of a session that
 * its own user has paused are revoked as ever, or a user could keep memory for good by pausing.
 * New sessions that match a drained target begin held.
 *
 * DRAIN holds the target while everything of it goes, so that nothing comes back behind its back; then it lets it go on, or keeps
 * it out (hold). What others outside of the target use as well stays, and so do models that are pinned.
 *
 * PINNED models are the administrator's: they are loaded and stay, with users or without, and are charged to nobody but
 * the device. What is pinned must fit beside what else is pinned, protected and promised.
 *
 * Whoever asks is root or the daemon's own user (privileged), or somebody who may do so for sessions and models of
 * his own. Whatever a user does here never makes another's session wait.
 */
#ifndef VRAM_DAEMON_SCHEDULER_CONTROL_H
#define VRAM_DAEMON_SCHEDULER_CONTROL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/job.h"

struct scheduler;

struct control {
	uid_t uid;
	bool privileged;
	uint64_t n;	  /* out: sessions that it concerned */
	uint64_t job;	  /* out: the job that was begun, 0: none */
	char reason[240]; /* out: why not */
};

enum control_tier {
	CONTROL_ANYWHERE,
	CONTROL_TO_HOST,
	CONTROL_TO_DISK,
};

/*
 * Return: 0; -EINVAL (what is named makes no sense), -ENOENT (it is not there), -EPERM, -EOPNOTSUPP (not on this device),
 * -ENOSPC (it does not fit), -EBUSY (too many jobs), -ENOMEM, -EEXIST (there are several); then with a reason.
 * A target is a subject (daemon/limits.h, users as numbers), `device:0`, or the device's name.
 */
int scheduler_pause(struct scheduler *s, struct control *c, uint64_t session);
int scheduler_resume(struct scheduler *s, struct control *c, const char *target);
int scheduler_drain(struct scheduler *s, struct control *c, const char *target,
		    enum control_tier to, bool hold);
/* A model is a name, or `model:ID`. */
int scheduler_pin(struct scheduler *s, struct control *c, const char *model);
int scheduler_unpin(struct scheduler *s, struct control *c, const char *model);
int scheduler_prefetch(struct scheduler *s, struct control *c, const char *model);
/* signal: a number. *out_pid: whom it was sent to. */
int scheduler_kill(struct scheduler *s, struct control *c, uint64_t session, int signal,
		   pid_t *out_pid);

/* Is the device held: drained, and kept empty until it is resumed? */
bool scheduler_device_is_held(const struct scheduler *s);
/* What is held by a drain --hold, as texts; as scheduler_for_each_session(). uid: of who has asked for it. */
int scheduler_for_each_hold(const struct scheduler *s,
			    int (*fn)(void *ctx, const char *target, uid_t uid), void *ctx);

/* Jobs; NULL: there is none, or none that this peer may see. */
const struct job *scheduler_job(struct scheduler *s, const struct control *c, uint64_t id);
/* The next one after this number that the peer may see. */
const struct job *scheduler_job_next(struct scheduler *s, const struct control *c, uint64_t id);

#endif
