/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * arbiter: who holds what, who may hold how much, who is stalled.
 *
 * The arbiter is the daemon's view of the ledger. The ledger itself lives
 * either in this process (arbiter_local.c, the same source that the kernel
 * module is built from) or behind /dev/vram (arbiter_kmod.c); this header is the
 * seam between the two. It is mechanism only: it counts, refuses and names the
 * group that a refusal came from. What to evict is the scheduler's decision.
 *
 * Where the two differ:
 *   - a session is opened here for a peer whom the daemon knows, or adopted from a
 *     descriptor of the client's, by which the kernel knows who it is;
 *   - the module counts the waits for slots itself (arbiter_counts_waits()), wakes who
 *     waits (arbiter_wake()), tells which sessions have ended (arbiter_read_events())
 *     and takes the time by its own clock: what callers give as now_ns is not used;
 *   - what is charged there outlives the daemon (daemon/arbiter_takeover.h).
 *
 * Model
 * -----
 * A *device* has a capacity in each tier. A *session* is one client process. A
 * session is a leaf below up to three groups at the same time: its user, its
 * cgroup (with every ancestor of that cgroup) and its executable. All groups
 * end in the one root, whose limit is the capacity of the device. A charge
 * counts in the session and in every group above it, in the root exactly once,
 * and is refused if any of them would pass its `max`.
 *
 * Bytes are charged in one of two ways:
 *   - to one session (arbiter_charge): a private buffer, a KV cache;
 *   - to a *share*: one handle for everything of one model (or of one buffer
 *     used by several sessions). Its resident bytes per tier are split evenly
 *     over the sessions that joined it. The parts always add up to the whole:
 *     what does not divide goes one byte each to the earliest members.
 * Charge sets of chunks, not single chunks: a share costs the same however
 * large it is.
 *
 * min, low, high, max and weight are those of cgroup v2. Only max is enforced
 * here. high is reported by arbiter_over(), min and low by arbiter_protection(),
 * weight is kept for the policy. Use may stand above max in two cases: max was
 * lowered, or another member left a share and its part fell to those who stay.
 * Nothing is taken away then; arbiter_over() reports it until it is reclaimed,
 * and until then charges to the group are refused.
 *
 * Errors
 * ------
 * 0 or negative -errno; a failed call changed nothing, out parameters included,
 * with one exception: @out_limit of a refused charge.
 *   -EDQUOT  a group would pass its max; *out_limit names it
 *   -ENOSPC  the device has no room in this tier; *out_limit is the root
 *   -ENOENT  no such session, share, device, group or trigger
 *   -EINVAL  nonsense: more uncharged than charged, unknown tier or key
 *   -EEXIST  joined already
 *   -EBUSY   a share that still has members or bytes
 *   -ENOMEM, -EOVERFLOW (a count would wrap) as usual
 *
 * One thread calls all of this; no call blocks in the local carrier. Times are
 * CLOCK_MONOTONIC nanoseconds given by the caller; time never runs backwards
 * (an earlier time counts as the latest one seen).
 */
#ifndef VRAM_DAEMON_ARBITER_H
#define VRAM_DAEMON_ARBITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARBITER_MAX_DEVICES 16

/* "No limit" for max and high; parsed from and printed as `max`. */
#define ARBITER_UNLIMITED UINT64_MAX

/* In device_add: this tier is the one of device 0, not one of its own. */
#define ARBITER_CAPACITY_SHARED (UINT64_MAX - 1)

/* In limit_set: every device, those added later included. */
#define ARBITER_ALL_DEVICES UINT32_MAX

#define ARBITER_WEIGHT_MIN     1
#define ARBITER_WEIGHT_DEFAULT 100
#define ARBITER_WEIGHT_MAX     10000

enum arbiter_tier {
	ARBITER_VRAM,
	ARBITER_HOST,
	ARBITER_DISK,
	ARBITER_N_TIERS,
};

enum arbiter_key {
	ARBITER_MIN,
	ARBITER_LOW,
	ARBITER_HIGH,
	ARBITER_MAX,
	ARBITER_WEIGHT,
	ARBITER_N_KEYS,
};

enum arbiter_kind {
	ARBITER_ROOT,
	ARBITER_USER,
	ARBITER_CGROUP,
	ARBITER_EXE,
	ARBITER_SESSION,
	ARBITER_DEFAULT, /* a subject only: limits of users without their own */
};

/* A group in answers. Valid as long as the group has sessions or limits. */
struct arbiter_group {
	uint32_t kind; /* enum arbiter_kind, never ARBITER_DEFAULT */
	uint64_t key;  /* uid, session id, or a number private to the carrier */
};

/*
 * A group in questions, usually made by limits_subject_parse() (daemon/limits.h).
 * @path is borrowed for the call.
 */
struct arbiter_subject {
	uint32_t kind;	  /* enum arbiter_kind */
	uint64_t id;	  /* USER: uid; SESSION: id */
	const char *path; /* CGROUP, EXE: absolute path */
};

/* The identity of a client, taken from the kernel by the caller. */
struct arbiter_peer {
	pid_t pid;
	uid_t uid;
	const char *cgroup; /* "/a/b" as in /proc/PID/cgroup, NULL: unknown */
	const char *exe;    /* absolute path, NULL: unknown */
	const char *comm;   /* up to 15 bytes are kept, NULL: "" */
};

struct arbiter_limits {
	uint64_t value[ARBITER_N_KEYS]; /* by enum arbiter_key, in force */
	uint32_t set;			/* bit per key: set for this very group */
};

/* One (group, device, tier). */
struct arbiter_usage {
	uint64_t usage;	    /* bytes charged, own and parts of shares */
	uint64_t own;	    /* of these by arbiter_charge; sessions only */
	uint64_t peak;	    /* highest usage so far */
	uint64_t refused;   /* charges refused because of this group */
	uint64_t emin;	    /* effective protection, <= usage */
	uint64_t elow;	    /* likewise, >= emin is not implied */
	uint64_t over_high; /* usage above high, 0 if not */
	uint64_t over_max;  /* usage above max, 0 if not */
	struct arbiter_limits limits;
};

/* A group that should give something back. */
struct arbiter_over {
	struct arbiter_group group;
	uint64_t over_high;
	uint64_t over_max;
};

/*
 * Why bytes move, for those who read the module's trace points: nothing else depends on it, and
 * the local carrier does not look. A session that does not exist (any more) is left out.
 */
#define ARBITER_HINT_EVICT   1u /* taken from `session`, because `other` (0: nobody) needs room */
#define ARBITER_HINT_RESTORE 2u /* comes back for `session` after it had been evicted */
struct arbiter_hint {
	uint32_t flags;
	uint64_t session; /* one of those that use it; 0: none */
	uint64_t other;
};

/* A client's session of the kernel module, as the kernel knows it. */
struct arbiter_adopted {
	uint64_t session;
	pid_t pid;
	uid_t uid;
	gid_t gid;
	char comm[16];
	uint32_t n_slots;
	void *table; /* the residency table, mapped shared; the caller's to unmap */
	size_t table_bytes;
};

enum arbiter_event_type {
	ARBITER_EVENT_GONE,   /* a session has ended by itself; all of it fell back */
	ARBITER_EVENT_LIMITS, /* somebody else has changed limits */
};

struct arbiter_event {
	enum arbiter_event_type type;
	uint64_t session;
	uint64_t generation; /* of the arbiter that had adopted it */
	uint64_t bytes[ARBITER_N_TIERS];
	pid_t pid;
	uid_t uid;
};

struct arbiter_share_info {
	uint32_t dev;
	uint32_t n_members;
	uint64_t bytes[ARBITER_N_TIERS];
};

/* For status: what arbiter_for_each() shows of a group. */
struct arbiter_group_info {
	struct arbiter_group group;
	struct arbiter_group parent; /* of a session: its user */
	const char *name;	     /* "user:1000", "cgroup:/a", "session:7", "root" */
	uint32_t n_sessions;	     /* below it; 1 for a session */
	pid_t pid;		     /* sessions only, else 0 */
	uid_t uid;		     /* sessions and users */
	const char *comm;	     /* sessions only, else "" */
};

struct arbiter_pressure {
	uint64_t total_us[2];	  /* [0] some, [1] full */
	uint32_t avg_centi[2][3]; /* avg10, avg60, avg300 in 1/100 percent */
};

/* "some avg10=100.00 avg60=100.00 avg300=100.00 total=<20 digits>\n" twice. */
#define ARBITER_PRESSURE_TEXT_MAX 160

struct arbiter;

/* Return nonzero to stop; arbiter_for_each() returns it. May not call back. */
typedef int (*arbiter_group_fn)(void *ctx, const struct arbiter_group_info *info);
/* A pressure trigger fired. May not add or remove triggers. */
typedef void (*arbiter_trigger_fn)(void *ctx, uint32_t trigger);
typedef void (*arbiter_event_fn)(void *ctx, const struct arbiter_event *event);

struct arbiter_ops {
	const char *name;
	bool counts_waits;
	void (*free)(struct arbiter *a);

	int (*device_add)(struct arbiter *a, const char *name,
			  const uint64_t capacity[ARBITER_N_TIERS], uint64_t now_ns,
			  uint32_t *out_dev);
	int (*device_resize)(struct arbiter *a, uint32_t dev, uint32_t tier, uint64_t capacity);

	/* One of the two is NULL. */
	int (*session_open)(struct arbiter *a, const struct arbiter_peer *peer, uint64_t now_ns,
			    uint64_t *out_session);
	int (*session_adopt)(struct arbiter *a, int fd, struct arbiter_adopted *out);
	int (*session_close)(struct arbiter *a, uint64_t session, uint64_t now_ns);

	int (*charge)(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier,
		      uint64_t bytes, struct arbiter_group *out_limit);
	int (*uncharge)(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier,
			uint64_t bytes);
	int (*transfer)(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t from,
			uint32_t to, uint64_t bytes, struct arbiter_group *out_limit);
	int (*give)(struct arbiter *a, uint64_t from_session, uint64_t to_session, uint32_t dev,
		    uint32_t tier, uint64_t bytes, struct arbiter_group *out_limit);

	int (*share_new)(struct arbiter *a, uint32_t dev, uint32_t *out_share);
	int (*share_free)(struct arbiter *a, uint32_t share);
	int (*share_join)(struct arbiter *a, uint32_t share, uint64_t session, bool force,
			  struct arbiter_group *out_limit);
	int (*share_leave)(struct arbiter *a, uint32_t share, uint64_t session);
	int (*share_charge)(struct arbiter *a, uint32_t share, uint32_t tier, uint64_t bytes,
			    const struct arbiter_hint *hint, struct arbiter_group *out_limit);
	int (*share_uncharge)(struct arbiter *a, uint32_t share, uint32_t tier, uint64_t bytes,
			      const struct arbiter_hint *hint);
	int (*share_transfer)(struct arbiter *a, uint32_t share, uint32_t from, uint32_t to,
			      uint64_t bytes, struct arbiter_group *out_limit);
	int (*share_read)(struct arbiter *a, uint32_t share, struct arbiter_share_info *out_info);
	int (*share_next)(struct arbiter *a, uint32_t from, uint32_t *out_share);

	int (*limit_set)(struct arbiter *a, const struct arbiter_subject *subject, uint32_t dev,
			 uint32_t tier, uint32_t key, uint64_t value);
	int (*limit_clear)(struct arbiter *a, const struct arbiter_subject *subject, uint32_t dev,
			   uint32_t tier, uint32_t key);
	int (*limit_get)(struct arbiter *a, const struct arbiter_subject *subject, uint32_t dev,
			 uint32_t tier, struct arbiter_limits *out_limits);

	int (*usage)(struct arbiter *a, const struct arbiter_group *group, uint32_t dev,
		     uint32_t tier, struct arbiter_usage *out_usage);
	int (*over)(struct arbiter *a, uint32_t dev, uint32_t tier, struct arbiter_over *out,
		    unsigned int n_out);
	int (*protection)(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier,
			  uint64_t *out_emin, uint64_t *out_elow);
	int (*is_member)(struct arbiter *a, uint64_t session, const struct arbiter_group *group);
	int (*find)(struct arbiter *a, const struct arbiter_subject *subject,
		    struct arbiter_group *out_group);
	int (*group_name)(struct arbiter *a, const struct arbiter_group *group, char *buf,
			  size_t size);
	int (*for_each)(struct arbiter *a, arbiter_group_fn fn, void *ctx);

	int (*run)(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns);
	int (*idle)(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns);
	int (*stall_begin)(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns);
	int (*stall_end)(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns);
	int (*pressure_group)(struct arbiter *a, const struct arbiter_group *group, uint64_t now_ns,
			      struct arbiter_pressure *out);
	int (*pressure_device)(struct arbiter *a, uint32_t dev, uint64_t now_ns,
			       struct arbiter_pressure *out);
	int (*trigger_add)(struct arbiter *a, const struct arbiter_group *group, uint32_t dev,
			   bool full, uint64_t threshold_us, uint64_t window_us, uint64_t now_ns,
			   uint32_t *out_trigger);
	int (*trigger_del)(struct arbiter *a, uint32_t trigger);
	uint64_t (*poll)(struct arbiter *a, uint64_t now_ns, arbiter_trigger_fn fn, void *ctx);

	/* NULL where they have no meaning. */
	int (*wake)(struct arbiter *a, uint64_t session, uint32_t slot);
	int (*event_fd)(struct arbiter *a);
	int (*read_events)(struct arbiter *a, arbiter_event_fn fn, void *ctx);
};

struct arbiter {
	const struct arbiter_ops *ops;
	uint64_t generation; /* kmod: how many arbiters have attached, with this one; else 0 */
	uint32_t number[ARBITER_MAX_DEVICES]; /* of each device, as events name it */
};

/*
 * arbiter_local_new() - the ledger in this process.
 *
 * Return: 0 and *out_arbiter, to be freed with arbiter_free(); -ENOMEM.
 */
int arbiter_local_new(uint64_t now_ns, struct arbiter **out_arbiter);

/* Where the kernel module is found, if it is loaded. */
#define ARBITER_KMOD_PATH "/dev/vram"

/*
 * arbiter_kmod_new() - become the arbiter of the kernel module. @grace_ms: how long clients wait
 * for the next one when this one has gone.
 *
 * Return: 0 and *out_arbiter; -ENOENT, -ENODEV, -ENXIO the module is not there; -EACCES, -EPERM not
 * allowed (CAP_SYS_ADMIN is needed); -EBUSY another one is attached, its pid in *out_holder
 * (0: in another pid namespace); -EPROTO the module speaks another version of the ABI; -ENOMEM.
 */
int arbiter_kmod_new(uint32_t grace_ms, struct arbiter **out_arbiter, pid_t *out_holder);

/* "local" or "kmod"; static. */
static inline const char *arbiter_name(const struct arbiter *a)
{
	return a->ops->name;
}

/* Are sessions adopted by a descriptor of the client's, not opened for a peer? */
static inline bool arbiter_adopts(const struct arbiter *a)
{
	return a->ops->session_adopt;
}

/* Does the carrier itself see who waits for a slot? Then only other waits are told to it. */
static inline bool arbiter_counts_waits(const struct arbiter *a)
{
	return a->ops->counts_waits;
}

/*
 * Free the arbiter with all sessions, shares and triggers. NULL is fine. What is kept in the
 * kernel stays there for the next one.
 */
static inline struct arbiter *arbiter_free(struct arbiter *a)
{
	if (a)
		a->ops->free(a);
	return NULL;
}

/*
 * Add a device; its index counts up from 0. @name, up to 31 bytes, is how an arbiter that comes
 * after this one finds it again. @capacity is in bytes per tier;
 * ARBITER_CAPACITY_SHARED makes the tier one with device 0's (the host RAM and
 * the disk of a machine with two cards are one budget).
 * Errors: -ENOSPC too many devices, -EINVAL shared with itself, -ENOMEM.
 */
static inline int arbiter_device_add(struct arbiter *a, const char *name,
				     const uint64_t capacity[ARBITER_N_TIERS], uint64_t now_ns,
				     uint32_t *out_dev)
{
	return a->ops->device_add(a, name, capacity, now_ns, out_dev);
}

/* Change a capacity. Below use is allowed: see arbiter_over(). */
static inline int arbiter_device_resize(struct arbiter *a, uint32_t dev, uint32_t tier,
					uint64_t capacity)
{
	return a->ops->device_resize(a, dev, tier, capacity);
}

/* Open a session. Ids start at 1 and are never used twice. -ENOMEM, -EINVAL. */
static inline int arbiter_session_open(struct arbiter *a, const struct arbiter_peer *peer,
				       uint64_t now_ns, uint64_t *out_session)
{
	return a->ops->session_open(a, peer, now_ns, out_session);
}

/*
 * Adopt a client's session by a descriptor of it, which stays the caller's to close. What an earlier
 * arbiter had charged to it falls back, and it leaves the shares of that time. Only where
 * arbiter_adopts().
 * Errors: -EBADF not a descriptor of the module; -EBUSY adopted already; -ENXIO it has no residency
 * table; what mmap() says.
 */
static inline int arbiter_session_adopt(struct arbiter *a, int fd, struct arbiter_adopted *out)
{
	return a->ops->session_adopt(a, fd, out);
}

/*
 * End a session: its own charges go back, it leaves every share, it is no
 * longer stalled. Cannot fail but for -ENOENT. An adopted one lives on, unadopted, for as long as
 * its client holds it, and may be adopted anew. A share whose last member leaves
 * keeps its bytes; they then count in the root only ("unclaimed") until
 * somebody joins or the owner uncharges them.
 */
static inline int arbiter_session_close(struct arbiter *a, uint64_t session, uint64_t now_ns)
{
	return a->ops->session_close(a, session, now_ns);
}

/* Charge @bytes to one session. -EDQUOT or -ENOSPC with *out_limit (or NULL). */
static inline int arbiter_charge(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier,
				 uint64_t bytes, struct arbiter_group *out_limit)
{
	return a->ops->charge(a, session, dev, tier, bytes, out_limit);
}

/* Give back what arbiter_charge() took. -EINVAL: more than that. */
static inline int arbiter_uncharge(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier,
				   uint64_t bytes)
{
	return a->ops->uncharge(a, session, dev, tier, bytes);
}

/* Move a session's own bytes from one tier to another; all or nothing. */
static inline int arbiter_transfer(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t from,
				   uint32_t to, uint64_t bytes, struct arbiter_group *out_limit)
{
	return a->ops->transfer(a, session, dev, from, to, bytes, out_limit);
}

/* Move own bytes from one session to another; all or nothing. */
static inline int arbiter_give(struct arbiter *a, uint64_t from_session, uint64_t to_session,
			       uint32_t dev, uint32_t tier, uint64_t bytes,
			       struct arbiter_group *out_limit)
{
	return a->ops->give(a, from_session, to_session, dev, tier, bytes, out_limit);
}

/* A new share on @dev without members or bytes. Ids are used again once freed. */
static inline int arbiter_share_new(struct arbiter *a, uint32_t dev, uint32_t *out_share)
{
	return a->ops->share_new(a, dev, out_share);
}

/* Free a share. -EBUSY: it has members or bytes. */
static inline int arbiter_share_free(struct arbiter *a, uint32_t share)
{
	return a->ops->share_free(a, share);
}

/*
 * Take part in a share: the session is charged its part, the others are relieved.
 * With @force the part is charged even if it passes a max (to be reclaimed
 * then: a client should not fail to open a model because it is resident).
 * Errors: -EEXIST, -EDQUOT, -ENOMEM, -ENOENT.
 */
static inline int arbiter_share_join(struct arbiter *a, uint32_t share, uint64_t session,
				     bool force, struct arbiter_group *out_limit)
{
	return a->ops->share_join(a, share, session, force, out_limit);
}

/* Leave a share; the part falls to the other members. -ENOENT: not in it. */
static inline int arbiter_share_leave(struct arbiter *a, uint32_t share, uint64_t session)
{
	return a->ops->share_leave(a, share, session);
}

/* @bytes of the share became resident in @tier: try-charge over all members. */
static inline int arbiter_share_charge(struct arbiter *a, uint32_t share, uint32_t tier,
				       uint64_t bytes, struct arbiter_group *out_limit)
{
	return a->ops->share_charge(a, share, tier, bytes, NULL, out_limit);
}

/* The same with a word on why. */
static inline int arbiter_share_charge_for(struct arbiter *a, uint32_t share, uint32_t tier,
					   uint64_t bytes, const struct arbiter_hint *hint,
					   struct arbiter_group *out_limit)
{
	return a->ops->share_charge(a, share, tier, bytes, hint, out_limit);
}

/* @bytes of the share left @tier. -EINVAL: it has fewer. */
static inline int arbiter_share_uncharge(struct arbiter *a, uint32_t share, uint32_t tier,
					 uint64_t bytes)
{
	return a->ops->share_uncharge(a, share, tier, bytes, NULL);
}

static inline int arbiter_share_uncharge_for(struct arbiter *a, uint32_t share, uint32_t tier,
					     uint64_t bytes, const struct arbiter_hint *hint)
{
	return a->ops->share_uncharge(a, share, tier, bytes, hint);
}

/* Move bytes of the share between tiers; all or nothing. */
static inline int arbiter_share_transfer(struct arbiter *a, uint32_t share, uint32_t from,
					 uint32_t to, uint64_t bytes,
					 struct arbiter_group *out_limit)
{
	return a->ops->share_transfer(a, share, from, to, bytes, out_limit);
}

static inline int arbiter_share_read(struct arbiter *a, uint32_t share,
				     struct arbiter_share_info *out_info)
{
	return a->ops->share_read(a, share, out_info);
}

/* The first share at or after @from, in no order that means anything. -ENOENT: none. */
static inline int arbiter_share_next(struct arbiter *a, uint32_t from, uint32_t *out_share)
{
	return a->ops->share_next(a, from, out_share);
}

/*
 * Set one limit of a subject on one device or on all. Takes effect at once;
 * use above a lowered max stays. Users, cgroups and executables need not be
 * known yet; sessions must be. A weight is ARBITER_WEIGHT_MIN..MAX.
 * The root's max is the capacity: set it with arbiter_device_resize().
 */
static inline int arbiter_limit_set(struct arbiter *a, const struct arbiter_subject *subject,
				    uint32_t dev, uint32_t tier, uint32_t key, uint64_t value)
{
	return a->ops->limit_set(a, subject, dev, tier, key, value);
}

/* Take one limit back: the default is in force again. */
static inline int arbiter_limit_clear(struct arbiter *a, const struct arbiter_subject *subject,
				      uint32_t dev, uint32_t tier, uint32_t key)
{
	return a->ops->limit_clear(a, subject, dev, tier, key);
}

/* The limits in force for a subject; for one without a group, what it would get. */
static inline int arbiter_limit_get(struct arbiter *a, const struct arbiter_subject *subject,
				    uint32_t dev, uint32_t tier, struct arbiter_limits *out_limits)
{
	return a->ops->limit_get(a, subject, dev, tier, out_limits);
}

/* Everything about one (group, device, tier). */
static inline int arbiter_usage(struct arbiter *a, const struct arbiter_group *group, uint32_t dev,
				uint32_t tier, struct arbiter_usage *out_usage)
{
	return a->ops->usage(a, group, dev, tier, out_usage);
}

/*
 * The groups above their high or max on (dev, tier), the root (above its
 * capacity) included; O(1) if there are none.
 * Return: how many there are, of which the first @n_out are in @out; -errno.
 */
static inline int arbiter_over(struct arbiter *a, uint32_t dev, uint32_t tier,
			       struct arbiter_over *out, unsigned int n_out)
{
	return a->ops->over(a, dev, tier, out, n_out);
}

/*
 * How much of a session's use is protected: never reclaim below *out_emin, below
 * *out_elow only when nothing else is left. The better of the session's
 * user, cgroup and executable counts.
 */
static inline int arbiter_protection(struct arbiter *a, uint64_t session, uint32_t dev,
				     uint32_t tier, uint64_t *out_emin, uint64_t *out_elow)
{
	return a->ops->protection(a, session, dev, tier, out_emin, out_elow);
}

/* Return: 1 if the session is, or is below, @group; 0 if not; -ENOENT. */
static inline int arbiter_is_member(struct arbiter *a, uint64_t session,
				    const struct arbiter_group *group)
{
	return a->ops->is_member(a, session, group);
}

/* The group of a subject, if it exists; -ENOENT. */
static inline int arbiter_find(struct arbiter *a, const struct arbiter_subject *subject,
			       struct arbiter_group *out_group)
{
	return a->ops->find(a, subject, out_group);
}

/* Name of a group as in arbiter_group_info. -EOVERFLOW: @size too small. */
static inline int arbiter_group_name(struct arbiter *a, const struct arbiter_group *group,
				     char *buf, size_t size)
{
	return a->ops->group_name(a, group, buf, size);
}

/* Every group once: the root first, parents before children. */
static inline int arbiter_for_each(struct arbiter *a, arbiter_group_fn fn, void *ctx)
{
	return a->ops->for_each(a, fn, ctx);
}

/*
 * A session is idle until it runs or stalls. `full` pressure means that nobody
 * who is not idle can go on, so tell when a session works: run at its first
 * request, idle when it has asked nothing for a while. Both may be repeated.
 * After the last stall_end a session is running.
 */
static inline int arbiter_run(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	return a->ops->run(a, session, dev, now_ns);
}

static inline int arbiter_idle(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	return a->ops->idle(a, session, dev, now_ns);
}

/* A request of the session waits for memory of @dev. Nests: count them. */
static inline int arbiter_stall_begin(struct arbiter *a, uint64_t session, uint32_t dev,
				      uint64_t now_ns)
{
	return a->ops->stall_begin(a, session, dev, now_ns);
}

/* It waits no longer. -EINVAL: it did not. */
static inline int arbiter_stall_end(struct arbiter *a, uint64_t session, uint32_t dev,
				    uint64_t now_ns)
{
	return a->ops->stall_end(a, session, dev, now_ns);
}

static inline int arbiter_pressure_group(struct arbiter *a, const struct arbiter_group *group,
					 uint64_t now_ns, struct arbiter_pressure *out)
{
	return a->ops->pressure_group(a, group, now_ns, out);
}

static inline int arbiter_pressure_device(struct arbiter *a, uint32_t dev, uint64_t now_ns,
					  struct arbiter_pressure *out)
{
	return a->ops->pressure_device(a, dev, now_ns, out);
}

/*
 * Print pressure as /proc/pressure does, two lines.
 * Return: the length, or -EOVERFLOW if @size < ARBITER_PRESSURE_TEXT_MAX.
 */
int arbiter_pressure_format(const struct arbiter_pressure *p, char *buf, size_t size);

/*
 * Fire when the stall time within any window reaches @threshold_us, once a
 * window. @group NULL: the pressure of device @dev. Windows are 500 ms to 10 s.
 */
static inline int arbiter_trigger_add(struct arbiter *a, const struct arbiter_group *group,
				      uint32_t dev, bool full, uint64_t threshold_us,
				      uint64_t window_us, uint64_t now_ns, uint32_t *out_trigger)
{
	return a->ops->trigger_add(a, group, dev, full, threshold_us, window_us, now_ns,
				   out_trigger);
}

static inline int arbiter_trigger_del(struct arbiter *a, uint32_t trigger)
{
	return a->ops->trigger_del(a, trigger);
}

/*
 * Evaluate triggers; @fn is called for each that fired.
 * Return: when to call again (UINT64_MAX: not before the next stall_begin).
 */
static inline uint64_t arbiter_poll(struct arbiter *a, uint64_t now_ns, arbiter_trigger_fn fn,
				    void *ctx)
{
	return a->ops->poll(a, now_ns, fn, ctx);
}

/* Who waits on a slot of the session's table looks again; only where arbiter_adopts(). */
static inline int arbiter_wake(struct arbiter *a, uint64_t session, uint32_t slot)
{
	return a->ops->wake(a, session, slot);
}

/* A descriptor to poll for reading; -1: this carrier has no events. */
static inline int arbiter_event_fd(struct arbiter *a)
{
	return a->ops->event_fd ? a->ops->event_fd(a) : -1;
}

/* Read what there is; @fn may call everything but this. Return: 0 or -errno. */
static inline int arbiter_read_events(struct arbiter *a, arbiter_event_fn fn, void *ctx)
{
	return a->ops->read_events ? a->ops->read_events(a, fn, ctx) : 0;
}

#endif
