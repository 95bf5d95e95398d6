/* SPDX-License-Identifier: GPL-2.0-only */
/* What the scheduler's files share: scheduler.c (objects, sessions), scheduler_wait.c (who waits), scheduler_room.c
 * (charges and victims), scheduler_run.c (what is started when), scheduler_arbiter.c (what the kernel module tells),
 * scheduler_info.c (status). */
#ifndef VRAM_DAEMON_SCHEDULER_PRIVATE_H
#define VRAM_DAEMON_SCHEDULER_PRIVATE_H

#include "common/list.h"
#include "daemon/arbiter_takeover.h"
#include "daemon/hostpool.h"
#include "daemon/loop.h"
#include "daemon/pager.h"
#include "daemon/policy.h"
#include "daemon/scheduler.h"
#include "daemon/scheduler_control.h"
#include "daemon/store.h"

/* A chunk of an object, as a value. */
struct chunk_ref {
	struct object *object;
	uint32_t chunk;
	uint32_t tries; /* demands: loads that failed */
	uint64_t since_ns;
	uint64_t asked_ns; /* pinned: since when it is wanted back from who has all or nothing; or 0 */
};

/* The groups whose limits matter now, and what there is among these: scheduler_tenants.c. */
struct tenants {
	struct list_node groups;	/* struct tenant_group.node */
	bool stale;			/* sessions or limits have changed since it was looked */
	bool protects[ARBITER_N_TIERS]; /* a min or a low is set */
	bool has_high[ARBITER_N_TIERS];
	bool has_max[ARBITER_N_TIERS];
	uint64_t protected_ns; /* when the policy was told what is protected */
	uint32_t n_groups;
	bool ranked; /* several share the lower tiers, or there are limits */
	/* The tiers below the device (scheduler_tiers.c). */
	bool under[ARBITER_N_TIERS]; /* somebody has less than its share and could use more */
	uint64_t shares_ns[ARBITER_N_TIERS]; /* when that was worked out */
};

struct scheduler {
	struct loop *loop;
	const struct config *config;
	struct arbiter *arbiter;
	uint32_t dev;
	struct gpu *gpu;
	struct store *store;
	struct swap *swap;
	struct hostpool *hostpool;
	struct pager *pager;
	struct policy *policy;
	struct limits_live *limits; /* NULL: none are kept */
	uint32_t chunk_bytes;	    /* of objects that are not so large that they need more */

	struct list_node sessions; /* struct scheduler_session.node */
	size_t n_sessions;
	struct list_node objects; /* struct object.node */

	struct tenants tenants;
	struct list_node lanes;	  /* struct lane.node: where demands are */
	struct lane lane;	  /* demands of nobody */
	struct lane_clock nobody; /* the party of these; its now is that of all parties */
	uint32_t n_demands;
	const struct scheduler_session *charged; /* for whom the last load was */
	uint64_t charged_ns;
	uint64_t contended_ns;	   /* when two were loaded for in turns last */
	struct chunk_queue pinned; /* to be looked at again; since_ns: when it was first found so */
	struct list_node waiting;  /* struct layer.node, the longest waiting first */
	struct list_node parked;   /* waiting layers that gave their chunks up for an older one */
	struct list_node active;   /* struct use.active: users to prefetch for, in turn */

	struct loop_op tick;
	struct loop_op retry;
	struct loop_op events;	     /* of the kernel module */
	struct loop_op takeover_end; /* armed while takeover is pending */
	struct arbiter_takeover takeover;
	bool pumping;
	bool blocked;	 /* a demand found no room */
	bool reclaiming; /* something is above a limit, and what can go goes step by step */
	bool over; /* a group is above its limit, or all are above the budget, and nothing can go */
	uint64_t said_waiting_ns; /* when it was last logged that something waits long */
	uint64_t last_memory_check_ns;

	struct admission admission;
	uint64_t admission_look_ns;
	uint64_t pinned_bytes;	/* of models that an administrator has pinned */
	struct list_node holds; /* struct control_hold.node */
	struct list_node works; /* struct work.node, of scheduler_job.c: jobs that are running */
	struct job_table jobs;
	bool stepping;	 /* inside the jobs */
	uint32_t n_held; /* sessions */
	uint64_t last_object_id;

	uint64_t resident_bytes; /* of chunks that take memory of the device */
	uint64_t peak_bytes;	 /* of these; a ledger in the kernel is older than this daemon */
	uint64_t paged_in_bytes;
	uint64_t evicted_bytes;
	uint64_t faults;
	uint64_t stall_ns; /* of sessions that have ended */
	uint64_t started_ns, started_epoch_s;
	scheduler_stall_fn *stall_fn;
	uint64_t look_from; /* the session that scheduler_look() had no time for */
};

/* ---- scheduler_queue.c ---- */

struct chunk_ref *queue_at(struct chunk_queue *queue, uint32_t i);
int queue_push(struct chunk_queue *queue, const struct chunk_ref *ref);
void queue_pop(struct chunk_queue *queue);
void queue_forget(struct chunk_queue *queue, const struct object *object);

void lane_init(struct lane *lane, struct scheduler_session *session);
/* What others wait for as well goes to their lanes. */
void lane_deinit(struct scheduler *s, struct lane *lane);
int lane_push(struct scheduler *s, struct lane *lane, const struct chunk_ref *ref);
void lane_pop(struct scheduler *s, struct lane *lane);
/* The first becomes the last. */
void lane_rotate(struct lane *lane);
/* It begins to ask: what it did not ask for before is not owed to it. */
void lane_wake(struct scheduler *s, struct lane *lane);
/* So much is being loaded for it. */
void lane_charge(struct scheduler *s, struct lane *lane, uint64_t bytes);
/* May one more load begin now? */
bool loads_have_room(struct scheduler *s, const struct object *object);
void lanes_forget(struct scheduler *s, const struct object *object);
/* A turn: every demand that there is now, once. */
void lanes_begin(struct scheduler *s);
/* The lane that is next in this turn, also of those alone whom a min or low protects; NULL: it is over. */
struct lane *lanes_next(struct scheduler *s, bool protected);
/* What would be loaded next, or NULL. */
const struct chunk_ref *lanes_first(struct scheduler *s);
/* Since when somebody waits; now_ns if nobody does. */
uint64_t lanes_oldest_ns(struct scheduler *s, uint64_t now_ns);
/* For whom to read ahead next; there is somebody. */
struct use *active_next(struct scheduler *s);
/* Does somebody of this use wait for the chunk? */
bool use_waits(const struct use *use, uint32_t chunk);
/* Some use that waits for the chunk, of this session if it does; else any use, or NULL. */
struct use *wanting_use(struct object *object, uint32_t chunk,
			const struct scheduler_session *first);
/* The session waits for the chunk: queue its load if it is absent. */
void demand_for(struct scheduler *s, struct scheduler_session *ss, struct object *object,
		uint32_t chunk, uint64_t now_ns);
/* Somebody does. */
void demand(struct scheduler *s, struct object *object, uint32_t chunk, uint64_t now_ns);

/* ---- scheduler.c ---- */

/* Frees an object without uses, now or when nothing of it moves any more. */
void scheduler_object_drop(struct scheduler *s, struct object *object);
void object_free_now(struct scheduler *s, struct object *object);

/* ---- scheduler_info.c ---- */

/* A use ends: what was counted of it stays with its session. */
void info_use_ends(const struct use *use);

/* ---- scheduler_wait.c ---- */

/* What a session waits at: a closed page, or a slot of its table. */
enum stall_kind {
	STALL_FAULT,
	STALL_SLOT,
};
/* The session's waits, counted once however many there are. */
void stall_begin(struct scheduler *s, struct scheduler_session *ss, enum stall_kind kind,
		 uint64_t now_ns);
void stall_end(struct scheduler *s, struct scheduler_session *ss, enum stall_kind kind,
	       uint64_t now_ns);
void session_active(struct scheduler *s, struct scheduler_session *ss, uint64_t now_ns);
/* There may be something to load ahead for this use. */
void make_active(struct scheduler *s, struct use *use);
/* Does anybody wait for the chunk still? */
bool is_wanted(const struct object *object, uint32_t chunk);
/* A layer whose chunks are all there becomes resident, with a mark if its use shall be told. */
void complete_layer(struct layer *layer);
/* A layer that is waited for gets its answer. */
void serve_layer(struct scheduler *s, struct layer *layer);
void refuse_layer(struct scheduler *s, struct layer *layer, int error);
/* The bytes of the chunks it lies in. */
uint64_t layer_bytes(const struct layer *layer);
/* scheduler_refusal.c: tells the log which limit it was, if it was one. */
void say_load_refused(struct scheduler *s, const struct layer *layer, int error);
/* Likewise, for a chunk that threads stand at: they wait until the limit is another one. */
void say_fault_waits(struct scheduler *s, const struct object *object, uint32_t chunk);
/* Likewise, for what could not be read. */
void say_load_failed(const struct object *object, uint64_t offset, uint32_t len, int error);
/* A wait of a layer ends without an answer: the client gave up or is gone. */
void layer_stop_waiting(struct scheduler *s, struct layer *layer);
/* The chunk is RESIDENT (or is so again): everybody who waits for it goes on. Return: true if anybody did. */
bool serve_chunk(struct scheduler *s, struct object *object, uint32_t chunk);
/* Everybody who waits for the chunk gets the error. */
void refuse_chunk(struct scheduler *s, struct object *object, uint32_t chunk, int error);
/* The layers alone; threads go on waiting. */
void refuse_chunk_layers(struct scheduler *s, struct object *object, uint32_t chunk, int error);
/* Return: false if no layer but the first that waits has anything that could go for the session (NULL: for nobody). */
bool park_youngest(struct scheduler *s, const struct scheduler_session *who);
void time_out_waits(struct scheduler *s, uint64_t now_ns);

/* ---- scheduler_tenants.c ---- */

void tenants_init(struct scheduler *s);
void tenants_deinit(struct scheduler *s);
/* Sessions have come or gone, or limits have changed. */
void tenants_changed(struct scheduler *s);
void tenant_forget(struct scheduler *s, struct scheduler_session *ss);
/* To be called before something is decided: finds the groups that matter, if they have changed. */
void tenants_look(struct scheduler *s);
/* Tells the policy what is protected now, if that was long ago or must be exact. */
void tenants_protect(struct scheduler *s, bool exactly);
/* Nothing of the object may go, by the ledger, although the policy named it: not until it is told again. */
void tenants_guard(struct scheduler *s, const struct object *object);

/* What may be taken. */
enum take {
	TAKE_FREE, /* nothing that is protected */
	TAKE_LOW,  /* what only a low protects, too */
	TAKE_MIN,  /* all that those in the group at its limit have */
};
/*
 * May bytes of the object be taken from a tier? For who (NULL: nobody in particular), because group stands at
 * its limit (NULL: the device is full).
 */
bool tenants_allow(struct scheduler *s, const struct object *object, uint32_t tier, uint64_t bytes,
		   const struct scheduler_session *who, const struct arbiter_group *group,
		   enum take take);

/* The session asks for room: tells the policy whether something that protects it is below its min. */
void tenant_wants(struct scheduler *s, const struct scheduler_session *ss, uint64_t bytes);
/* The clock of the party that the session belongs to; NULL: not known yet. */
struct lane_clock *tenant_clock(const struct tenant *tenant);
/* Whether the i-th of a session's groups protects what is in it, and which one that is. */
bool tenant_protects(const struct tenant *tenant, uint32_t i, uint32_t tier,
		     struct arbiter_group *out);
/* Whether anything protects what the session has in the device. */
bool tenant_is_protected(const struct tenant *tenant);
/* A high, and what there is of it. */
struct tenant_high {
	struct arbiter_group group;
	uint64_t bytes, usage;
	uint64_t *next_ns; /* when the next load above it may begin */
};
/* Return: whether the i-th of a session's groups (the one behind the last: itself) has one. */
bool tenant_high(struct scheduler *s, struct scheduler_session *ss, uint32_t i, uint32_t tier,
		 struct tenant_high *out);

/* Is anything that the session is in, or the session, above its high or its max there? */
bool tenant_is_above(struct scheduler *s, const struct scheduler_session *ss, uint32_t tier);
uint64_t tenant_usage(const struct scheduler *s, const struct scheduler_session *ss, uint32_t tier);
/* Would a max of those who use the object (of a buffer: one session) refuse so many bytes more of it? */
bool tenants_at_max(const struct scheduler *s, const struct object *object, uint32_t tier,
		    uint64_t bytes);
/*
 * Bytes of a tier that must stay free, from who wants more of it for the object, because of what others have not used
 * of their min, and of their low if that one has more than its share.
 */
uint64_t tenants_reserved(struct scheduler *s, const struct object *object, uint32_t tier,
			  bool low);
/* The tree of the parties of a tier, without the sessions. Return: how many nodes. */
struct fill_node;
uint32_t tenants_tree(struct scheduler *s, uint32_t tier, struct fill_node *nodes);
/* The node of the session's party in it. */
uint32_t tenant_node(const struct tenant *tenant);

/* ---- scheduler_tiers.c ---- */

extern const struct pager_rules tiers_rules;
/* A group gives back what it has in the host tier. Return: the bytes that are gone, or on their way to swap. */
uint64_t tiers_give(struct scheduler *s, const struct arbiter_group *group, uint64_t bytes);
/* Groups above a limit of the host tier do. */
void tiers_reclaim(struct scheduler *s);

/* ---- scheduler_over.c ---- */

/* Only chunks that nobody outside the group uses: taking others would not help the group's books. */
bool used_by_group_only(struct scheduler *s, const struct object *object,
			const struct arbiter_group *group);
bool used_by_group(struct scheduler *s, const struct object *object,
		   const struct arbiter_group *group);

/* For what a victim is looked for. */
struct want {
	struct object *object;		     /* NULL: for nothing, something is above a limit */
	const struct scheduler_session *who; /* or NULL */
	bool below;			     /* who has less than its share */
};
struct want want_of(struct scheduler *s, struct object *object, const struct use *use);
/*
 * A group stands at its limit and pays for its own evictions: this walks the objects.
 * Return: 0, or -EAGAIN if nothing of it can go now.
 */
int victim_in_group(struct scheduler *s, const struct arbiter_group *group, const struct want *want,
		    uint64_t now_ns, enum take most, struct chunk_ref *out);
/* The same for any group that protects the one who asks too. */
int victim_beside(struct scheduler *s, const struct want *want, uint64_t now_ns,
		  struct chunk_ref *out);
/* Before a load: who is above its high gives something back. Return: 0, -EAGAIN, -EBUSY as make_room(). */
int heed_high(struct scheduler *s, struct object *object, uint32_t chunk, struct use *use,
	      bool is_demand);
/* May something be loaded for nobody who waits, without anybody who uses the object passing a high? */
bool high_allows(struct scheduler *s, const struct object *object, uint32_t len);

/* ---- scheduler_room.c ---- */

/* want: what for, or NULL; who: for which session, or 0. Return: 0 (gone), 1 (on its way out), -EBUSY (cannot
 * go now), -EAGAIN (later). */
int evict(struct scheduler *s, struct object *object, uint32_t chunk, const struct chunk *want,
	  uint64_t who);
/* A chunk of an object that nobody uses, the longest unused first. */
bool find_unused(struct scheduler *s, struct object **out_object, uint32_t *out_chunk);

/* Tell the policy whether the chunk may go now. */
void refresh_evictable(struct object *object, uint32_t chunk);
/* The books of a chunk that has left the device, for the session `who` (0: nobody). */
void chunk_gone(struct scheduler *s, struct object *object, uint32_t chunk, uint64_t who);
/* It cannot go now: look again in a moment. */
void set_aside(struct scheduler *s, struct object *object, uint32_t chunk);
/* Is all that cannot go only kept by a lack of swap? Then nothing will change that by itself. */
bool only_swap_is_missing(struct scheduler *s);
/*
 * Charge the chunk, evicting for it. use: on whose behalf, or NULL. Return: 0 (charged); -EAGAIN (wait for an
 * event or the retry timer); -EBUSY (the same, but only a group's own limit is in the way: others
 * need not wait); -ENOSPC or -EDQUOT (limits leave no room, and nothing will change that by itself).
 */
int make_room(struct scheduler *s, struct object *object, uint32_t chunk, struct use *use,
	      bool is_demand);
void recheck_pinned(struct scheduler *s, uint64_t now_ns);
/* Drop every evictable chunk of an object. Return: bytes given back at once. */
uint64_t object_evict_all(struct scheduler *s, struct object *object);
/* Groups above a limit that was lowered, or above high, give something back. */
void reclaim_over(struct scheduler *s, uint64_t now_ns);
/* Take memory back that clients made appear in holes. */
void drop_planted(struct scheduler *s);

/* ---- scheduler_admission.c ---- */

int admission_start(struct scheduler *s);
void admission_stop(struct scheduler *s);
/* Lets in who can be let in. After whatever may have made room. */
void admission_pump(struct scheduler *s);
void admission_tick(struct scheduler *s, uint64_t now_ns);
void admission_forget(struct scheduler *s, struct scheduler_session *ss);
/*
 * A load finds no room, and nothing will change that by itself. Do other sessions have something (in the group at whose
 * limit it failed; NULL: in the device), so that it has to be waited for? Else whoever asked gets the error.
 */
bool admission_others_hold(struct scheduler *s, const struct use *use, uint32_t chunk,
			   const struct arbiter_group *group);
/* Swap is full. Is it for others' buffers that the layer finds no room? */
bool admission_others_fill(struct scheduler *s, const struct layer *layer);

/* ---- scheduler_control.c ---- */

struct control_target {
	bool device;
	struct arbiter_subject subject; /* its path is in path */
	char text[160];
	char path[];
};

/* A target that is kept out. */
struct control_hold {
	struct list_node node; /* scheduler.holds */
	struct control_target *target;
	uint64_t job; /* for as long as this one lasts; 0: until it is resumed */
	uid_t uid;
	bool privileged;
};

void control_start(struct scheduler *s);
void control_stop(struct scheduler *s);
/* A session has come, or goes. */
void control_enter(struct scheduler *s, struct scheduler_session *ss);
void control_leave(struct scheduler *s, struct scheduler_session *ss);
/* What there is to be divided, where models are pinned; their users come and go. */
void control_tell_capacity(struct scheduler *s);
/* The object goes. */
void control_forget(struct scheduler *s, struct object *object);
/* Do the session's loads wait for an administrator's or its owner's word? */
static inline bool control_is_held(const struct scheduler_session *ss)
{
	return ss->held;
}
/* A layer that waits gives up its hold on chunks if its session is held. */
void control_park(struct scheduler *s, struct layer *layer);
/* Do only threads of held sessions wait for the chunk? Then it is not loaded; their release asks again. */
bool control_holds_back(const struct scheduler *s, const struct object *object, uint32_t chunk);

/* Notes why. Return: r. */
__attribute__((format(printf, 3, 4))) int control_fail(struct control *c, int r, const char *format,
						       ...);
struct scheduler_session *control_session(struct scheduler *s, uint64_t id);
/* *out is the caller's to free. Checks that the peer may do something to it. */
int control_target_parse(struct scheduler *s, struct control *c, const char *text,
			 struct control_target **out);
bool control_matches(struct scheduler *s, const struct control_target *target,
		     const struct scheduler_session *ss);
/* Return: NULL without memory. */
struct control_hold *control_hold_new(struct scheduler *s, const struct control *c,
				      const struct control_target *target, uint64_t job);
void control_hold_free(struct scheduler *s, struct control_hold *h);
/* The same, and its sessions go on if nothing else holds them. */
void control_hold_end(struct scheduler *s, struct control_hold *h);
/* The lasting one of this target, or NULL. */
struct control_hold *control_hold_find(struct scheduler *s, const struct control_target *target);
/* The model that the text means. Return: 0 or -errno, with a reason. */
int control_model(struct scheduler *s, struct control *c, const char *text, struct object **out);

/* ---- scheduler_job.c ---- */

/* Takes jobs a step further. */
void control_pump(struct scheduler *s);
void control_tick(struct scheduler *s);
void control_jobs_stop(struct scheduler *s);
int control_load_begin(struct scheduler *s, struct control *c, struct object *object,
		       enum job_kind kind);
/* Jobs that load the object fail. */
void control_load_end(struct scheduler *s, const struct object *object, const char *why);

/* ---- scheduler_run.c ---- */

/* The chunk is charged: begin to read it. Return: 0 or -errno as pager_load(), then it is uncharged. */
int start_load(struct scheduler *s, struct object *object, uint32_t chunk);
/* Start whatever can be started. */
void scheduler_pump(struct scheduler *s);
void scheduler_tick_start(struct scheduler *s);
/* What could not be done now is tried again in a moment. */
void retry_soon(struct scheduler *s);
void pager_loaded(void *owner, struct object *object, uint32_t chunk, int res, uint64_t ns);
void pager_evicted(void *owner, struct object *object, uint32_t chunk, int res, uint64_t who);
void pager_settled(void *owner, struct object *object, uint32_t chunk);
void pager_ready(void *owner);
/* scheduler_trace.c */
uint64_t pager_moves(void *owner, const struct pager_move *move);
void scheduler_tick(struct loop_op *op, int res);
void scheduler_retry(struct loop_op *op, int res);

/* ---- scheduler_arbiter.c ---- */

/* The device was added: what an earlier daemon has left, and what the module will tell. Return: 0 or -errno. */
int scheduler_arbiter_start(struct scheduler *s);
void scheduler_arbiter_stop(struct scheduler *s);
/* An adopted session is the scheduler's now. */
void scheduler_arbiter_adopted(struct scheduler *s, struct scheduler_session *ss,
			       const struct residency_slot *table);
/* Why the chunk is charged, or uncharged when it is evicted. */
struct arbiter_hint hint_load(const struct object *object, uint32_t chunk, const struct use *want);
struct arbiter_hint hint_evict(const struct object *object, uint64_t who);

/* ---- scheduler_limits.c ---- */

/* A session of the user begins, and has ended; the device has another budget. */
void limits_enter(struct scheduler *s, uid_t uid);
void limits_leave(struct scheduler *s, uid_t uid, uint64_t session);
void limits_budget(struct scheduler *s);
/* Which program the client runs. Return: false if that is not known. */
bool limits_read_exe(struct scheduler *s, const struct scheduler_session *ss, char *buf,
		     size_t size);

#endif
