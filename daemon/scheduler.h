/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Decides what is loaded and what is evicted, when, and for whom.
 *
 * The scheduler owns the device, the pager, the store, the arbiter and the policy, and the list of objects.
 * Sessions tell it what clients ask and touch; it answers through the objects' mappings and
 * the sessions' residency tables.
 *
 * Three kinds of work, in this order of importance:
 *   demands    a thread stands at a closed chunk, or a client waits for a layer. Sessions in turn, by weight.
 *   prefetch   chunks that the policy expects to be needed next, users in turn.
 *   eviction   only to make room for one of the above (and on an administrator's word).
 * Before a chunk is loaded its bytes are charged; a charge that is refused names the group that must
 * give something back, and the victim comes from there.
 *
 * Nothing waits for ever on a client: chunks that are found pinned are looked at again every few
 * milliseconds, pins that outlast `limits.pin_timeout` while somebody waits are revoked, first
 * by asking and then by ending the session.
 */
#ifndef VRAM_DAEMON_SCHEDULER_H
#define VRAM_DAEMON_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/admission.h"
#include "daemon/arbiter.h"
#include "daemon/config.h"
#include "daemon/object.h"

struct limits_live;
struct loop;
struct scheduler;

/* What the scheduler asks of a session. */
struct log_bound;

struct scheduler_session_ops {
	/* Ask the client to let go of a layer before a time. */
	void (*revoke)(struct scheduler_session *ss, uint32_t slot, uint64_t deadline_ns);
	/* End the session after the loop's turn; the reason is logged and sent. */
	void (*fail)(struct scheduler_session *ss, int error, const char *reason);
	/* The same for a limit that was passed: the numbers are said too. */
	void (*fail_bound)(struct scheduler_session *ss, int error, const char *reason,
			   const struct log_bound *bound);
	/* A load was refused because of a limit; the client knows. bound may be NULL. */
	void (*load_refused)(struct scheduler_session *ss, int error, const char *reason,
			     const struct log_bound *bound);
	/* The same in silence: the client has ended it, by letting go of /dev/vram. */
	void (*gone)(struct scheduler_session *ss);
	/* The answer to an ADMIT that had to wait: 0 or -ETIMEDOUT. */
	void (*admitted)(struct scheduler_session *ss, int error, uint64_t reserved_bytes,
			 uint64_t waited_ns);
	const char *(*name)(const struct scheduler_session *ss);
};

/* Wakes who waits in the kernel module on a slot of the session's table. */
struct scheduler_waker {
	struct residency_waker base;
	struct arbiter *arbiter;
	uint64_t session;
	const struct residency_slot *table;
};

/* What limits mean for a session: scheduler_tenants.c. */
struct tenant_group;
struct tenant {
	struct arbiter_limits own[ARBITER_N_TIERS];
	struct tenant_group **groups; /* that it is in, of those that matter */
	uint32_t n_groups;
	struct tenant_group *party;	 /* as part of which it competes */
	uint64_t share[ARBITER_N_TIERS]; /* of a tier below the device, when it was worked out last */
	uint64_t next_ns;		 /* above its high: when the next load may begin */
	uint64_t throttled_ns; /* when it was last held back because something is above its high */
};

/* A growing ring of chunks: first in, first out. */
struct chunk_ref;
struct chunk_queue {
	struct chunk_ref *refs;
	uint32_t size; /* a power of two, or 0 */
	uint32_t first;
	uint32_t n;
};

/* What was loaded, by weight: scheduler_queue.c. */
struct lane_clock {
	uint64_t at;	     /* bytes by weight */
	uint64_t now;	     /* of a party: where the clock stood that was served last in it */
	uint64_t charged_ns; /* when something was loaded last */
	uint32_t weight;
};

/* The chunks that a session waits for. */
struct lane {
	struct list_node node;		   /* scheduler.lanes, while there are any */
	struct scheduler_session *session; /* NULL: asked for by nobody */
	struct chunk_queue demands;
	struct lane_clock clock;
	uint32_t left; /* of demands, to be looked at in this turn */
};

/* The part of a session that the scheduler works with; embedded first in struct session. */
struct scheduler_session {
	struct list_node node; /* scheduler.sessions */
	const struct scheduler_session_ops *ops;
	struct gpu_client *gpu_client; /* NULL: it has no mappings */
	struct scheduler_waker waker;  /* of use only where sessions are adopted */
	uint64_t id;		       /* in the arbiter; also the policy's tenant; 0: not added */
	pid_t pid;
	uid_t uid;
	int pidfd; /* or -1 */
	struct lane lane;
	struct tenant tenant;
	struct list_node uses;
	struct admission_entry admit;
	bool admit_asking;    /* inside scheduler_admit() */
	uint64_t admit_uses;  /* acquires of its slots, when it was looked at last */
	uint64_t admit_ticks; /* and its processor time */
	bool left_share;      /* only while a chunk is charged past its limit */
	bool held;	      /* its loads wait: one of the following */
	bool held_by_root;    /* and no deadline of ours runs against it */
	bool paused;	      /* until it is resumed */
	bool paused_by_root;  /* and not by its own user */
	bool drained;	    /* the same because of a drain --hold of something that it is part of */
	bool whole;	    /* an unmodified CUDA program: it has all of its layers or none */
	uint64_t active_ns; /* when it last asked or touched */
	uint64_t served_ns; /* when a layer that it waited for came last */
	bool running;	    /* told to the arbiter */
	char comm[16];	    /* of its process, when it came */
	uint32_t n_stalls;  /* waits that are open */
	uint32_t n_faulting; /* of these, threads at closed chunks */
	uint64_t faulting_since_ns;
	uint32_t n_requests; /* layers that are waited for */
	uint64_t stall_since_ns;
	uint64_t stall_ns; /* time in which at least one wait was open */
	uint64_t faults;
	uint64_t loaded_bytes;
	uint64_t evicted_bytes;
	uint64_t written_bytes;	 /* of buffers that have been closed */
	uint64_t ended_acquires; /* of uses that have ended */
};

int scheduler_new(struct scheduler **out, struct loop *loop, const struct config *config);
struct scheduler *scheduler_free(struct scheduler *s);

struct loop *scheduler_loop(struct scheduler *s);
struct arbiter *scheduler_arbiter(struct scheduler *s);
const struct config *scheduler_config(const struct scheduler *s);
struct gpu *scheduler_gpu(struct scheduler *s);
/* The limits in force, borrowed; before the first session begins. */
void scheduler_set_limits(struct scheduler *s, struct limits_live *limits);
struct limits_live *scheduler_limits(struct scheduler *s);
uint32_t scheduler_device(const struct scheduler *s); /* in the arbiter */
/* Of buffers, and of models that are not very large. */
uint32_t scheduler_chunk_bytes(const struct scheduler *s);
size_t scheduler_n_sessions(const struct scheduler *s);
/* The list head of struct scheduler_session.node. */
struct list_node *scheduler_sessions(struct scheduler *s);
/* Nothing is being moved: safe to free. */
bool scheduler_is_idle(const struct scheduler *s);

/* A client's session begins: ops, pid, uid and pidfd are set. Return: 0 or -errno. */
int scheduler_session_add(struct scheduler *s, struct scheduler_session *ss);
/*
 * The same where arbiter_adopts(): who the client is follows from a descriptor of /dev/vram, and pid and uid
 * are set from it. The table in *out is the caller's to unmap, after the session was deleted.
 * Return: 0 or -errno as arbiter_session_adopt().
 */
int scheduler_session_adopt(struct scheduler *s, struct scheduler_session *ss, int fd,
			    struct arbiter_adopted *out);
/* It ends; all its uses are detached. */
void scheduler_session_del(struct scheduler *s, struct scheduler_session *ss);

/*
 * A model by the client's descriptor, or a buffer; the object is there for good only once a
 * use is attached. Return: 0 or -errno as store_file_open(); -ENOSPC if the budget is too small for any use.
 */
int scheduler_model_open(struct scheduler *s, struct scheduler_session *ss, int fd,
			 uint64_t size_bytes, const char *name, struct object **out);
int scheduler_buffer_new(struct scheduler *s, struct scheduler_session *ss, uint64_t size_bytes,
			 const char *name, struct object **out);
/* Frees an object that got no use and holds nothing; NULL and others are left alone. */
void scheduler_object_drop_if_new(struct scheduler *s, struct object *object);
int scheduler_use_attach(struct scheduler *s, struct scheduler_session *ss, struct object *object,
			 struct use **out);
void scheduler_use_detach(struct scheduler *s, struct use *use);

/* What clients do. */
void scheduler_fault(struct scheduler *s, struct use *use, uint32_t chunk);
void scheduler_acquire(struct scheduler *s, struct layer *layer);
void scheduler_cancel(struct scheduler *s, struct layer *layer);
void scheduler_used(struct scheduler *s, struct layer *layer);
void scheduler_wish(struct scheduler *s, struct layer *layer);
void scheduler_pass(struct scheduler *s, struct use *use, uint32_t kind /* enum vram_pass_kind */);
/* ---- scheduler_admission.c ---- */

struct scheduler_admit {
	uint64_t bytes;
	uint64_t timeout_ns; /* 0: limits.admit_timeout; UINT64_MAX: none */
	int32_t priority;
	bool clamp;
};
struct scheduler_admit_answer {
	uint64_t reserved_bytes;
	uint64_t asked_bytes; /* refused: this, where there can be only */
	uint64_t limit_bytes;
	char text[224];
};
/*
 * Return: 0 (admitted), 1 (it waits; ops->admitted() will say), -EBUSY (it waits already), -ENOSPC or -EDQUOT (it can
 * never be, with a text), -ETIMEDOUT.
 */
int scheduler_admit(struct scheduler *s, struct scheduler_session *ss,
		    const struct scheduler_admit *ask, struct scheduler_admit_answer *out);
bool scheduler_is_waiting(const struct scheduler_session *ss);

struct scheduler_waiting_info {
	const struct scheduler_session *ss;
	const char *name;
	uint64_t asked_bytes;
	int32_t priority;
	uint64_t waiting_ns;
	uint64_t timeout_ns;   /* UINT64_MAX: none */
	uint64_t predicted_ns; /* from now on; UINT64_MAX: unknown */
};
/* Who waits to be admitted, the first one first; as scheduler_for_each_session(). */
int scheduler_for_each_waiting(struct scheduler *s,
			       int (*fn)(void *ctx, const struct scheduler_waiting_info *info),
			       void *ctx);

/* Who is told when a session that did not wait begins to; NULL: nobody. */
typedef void scheduler_stall_fn(struct scheduler *s, const struct scheduler_session *ss,
				uint64_t now_ns);
void scheduler_set_stall_hook(struct scheduler *s, scheduler_stall_fn *fn);
/* The limits of somebody have changed: look at what is over, take the new ones to the policy. */
void scheduler_limits_changed(struct scheduler *s);
/* Evicts what can be evicted of objects with this name (NULL: of all). Return: the bytes. */
uint64_t scheduler_evict(struct scheduler *s, const char *name);
/* Does the session use the model or buffer with this number? */
bool scheduler_session_has(struct scheduler *s, uint64_t session, uint64_t object);
/* Is it a session of this user's? */
bool scheduler_session_is_of(struct scheduler *s, uint64_t session, uid_t uid);

/* For status. */
struct scheduler_stats {
	uint64_t paged_in_bytes;  /* into the device, from wherever */
	uint64_t paged_out_bytes; /* written to swap or to the host tier */
	uint64_t evicted_bytes;
	uint64_t faults;
	uint64_t stall_ns;
	uint64_t resident_bytes;
	uint64_t peak_bytes;
	uint64_t budget_bytes;
	uint64_t host_used_bytes;
	uint64_t host_budget_bytes;
	uint64_t swap_used_bytes;
	uint64_t swap_size_bytes;
	uint64_t inflight_bytes;
	uint64_t n_demands; /* waiting to be started */
	bool huge;
};
void scheduler_stats(struct scheduler *s, struct scheduler_stats *out);
/* Is there such a tier (enum arbiter_tier) on this machine? */
bool scheduler_has_tier(const struct scheduler *s, uint32_t tier);
/* What is really behind the objects: a system call each. */
uint64_t scheduler_memory_bytes(const struct scheduler *s);

struct scheduler_session_info {
	const struct scheduler_session *ss;
	const char *name;
	uint64_t resident_bytes; /* shared objects whole */
	uint64_t charged_bytes;
	uint64_t total_bytes;
	uint64_t limit_bytes; /* of vram: the least max, or the budget */
	uint64_t stall_ns;    /* with the open ones */
	uint32_t n_objects;
};
struct scheduler_object_info {
	uint64_t id;
	const char *name;
	dev_t dev; /* of a model's file */
	ino_t ino;
	bool buffer;
	uint64_t size_bytes;
	uint64_t resident_bytes;
	uint64_t loaded_bytes;
	uint64_t evicted_bytes;
	uint64_t tier_bytes[ARBITER_N_TIERS]; /* in the ledger, when scheduler_look() was called last */
	uint32_t chunk_bytes;
	uint32_t n_uses;
	uid_t uid; /* of the first user; (uid_t)-1: nobody */
	bool pinned;
};

enum scheduler_session_state {
	SESSION_IDLE,	 /* has asked nothing for a while */
	SESSION_RUNNING, /* goes on without waiting */
	SESSION_STALLED, /* waits for memory */
	SESSION_QUEUED,	 /* waits to be admitted */
	SESSION_PAUSED,	 /* by an administrator or its owner */
	SESSION_N_STATES,
};

/* "idle", "running" and so on. */
static inline const char *scheduler_state_name(enum scheduler_session_state state)
{
	static const char *const names[SESSION_N_STATES] = {
		[SESSION_IDLE] = "idle",       [SESSION_RUNNING] = "running",
		[SESSION_STALLED] = "stalled", [SESSION_QUEUED] = "queued",
		[SESSION_PAUSED] = "paused",
	};

	return names[state];
}

/* What costs more to find out than the info above. */
struct scheduler_session_detail {
	enum scheduler_session_state state;
	uint64_t tier_bytes[ARBITER_N_TIERS]; /* of its objects, shared ones whole */
	/*
	 * How often it came to use something: acquires of layers, of which those that waited are faults too. Of a
	 * program without layers: the chunks that it is known to have passed.
	 */
	uint64_t acquires;
	uint64_t written_bytes; /* of its buffers, to the host tier and to swap */
	/* Of its largest model. */
	bool has_position;
	uint32_t position, n_positions;
	uint64_t passes;
	uint64_t pace_ns; /* a pass; 0: unknown */
};

/*
 * Brings up to date what scheduler_session_detail() and the tier_bytes of objects say. Looks at so many slots of residency
 * tables at most; with more of them it takes several calls until each was looked at.
 */
void scheduler_look(struct scheduler *s);
void scheduler_session_detail(struct scheduler *s, const struct scheduler_session *ss,
			      struct scheduler_session_detail *out);
/* CLOCK_MONOTONIC, and seconds since the epoch. */
uint64_t scheduler_started_ns(const struct scheduler *s, uint64_t *out_epoch_s);
void scheduler_session_info(struct scheduler *s, const struct scheduler_session *ss,
			    struct scheduler_session_info *out);
/* fn returns nonzero to stop. The scheduler must not be changed meanwhile. */
int scheduler_for_each_session(struct scheduler *s,
			       int (*fn)(void *ctx, const struct scheduler_session_info *info),
			       void *ctx);
int scheduler_for_each_object(struct scheduler *s,
			      int (*fn)(void *ctx, const struct scheduler_object_info *info),
			      void *ctx);

#endif
