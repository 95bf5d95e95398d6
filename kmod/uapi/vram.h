/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * /dev/vram: who holds how much device memory, who may, and who waits for it.
 *
 * This comment is the manual of the ABI. vram(4) tells the administrator's half of it.
 *
 * THE PARTS. Every open of /dev/vram is a *session*. The opener's credentials, its thread group,
 * its name, its cgroup (v2) and its executable are taken at open() and never change, whoever uses
 * the descriptor later. One session at a time is the *arbiter*: the daemon that owns the memory
 * and moves the data (vramd). It charges memory to the sessions that it has adopted. The module
 * counts, refuses what would pass a limit, lets sessions wait, and measures how long. It moves no
 * data and knows no policy.
 *
 * A client opens /dev/vram, makes a residency table (VRAM_IOC_TABLE), maps it, and hands a
 * duplicate of the descriptor to the daemon over a socket. The daemon adopts the session by that
 * descriptor (VRAM_IOC_ADOPT), closes it, and maps the table through its own: so the session ends
 * when the *client's* last reference goes (descriptors inherited, duplicated or under way in a
 * socket, and mappings; death included). Then every charge falls back, and the arbiter reads
 * VRAM_ARBITER_EVENT_GONE.
 *
 * LEDGER. A session is a leaf below its user, its cgroup with all ancestors but the root cgroup,
 * and its executable; all of these groups end in the one root, whose limit is the capacity of the
 * device. Bytes are charged to one session, or to a share, whose bytes count in equal parts in
 * the sessions that joined it. min, low, high, max and weight mean what they mean in cgroup v2;
 * only max is enforced here. A number of bytes is below 2^63. Use stays where it is when max is
 * lowered below it.
 *
 * Whose a session is: the opener's uid; in a user namespace that a user has made, that user's, for
 * all the uids that he has there are his. An opener in a user namespace has no EXE group: there
 * anybody may mount anything over the path of a program.
 *
 * A group is named by kind and key. USER: the uid (in the initial user namespace). SESSION: the
 * session's id, from 1 up, never used twice. CGROUP and EXE: a number that the module gives; the
 * path is the group's name. ROOT: 0. A group exists while a session is below it, a limit is set
 * for it, or a trigger watches it.
 *
 * ARBITER. VRAM_IOC_ATTACH needs CAP_SYS_ADMIN; afterwards the descriptor itself is the right.
 * The arbiter is gone when the last reference to its open file is. Then the ledger stays as it
 * is. Sessions that wait go on waiting for grace_ms milliseconds, which the arbiter chose when it
 * attached; then, or at once with 0, they fail with EHOSTDOWN. The next arbiter finds devices (by
 * name), groups, limits, sessions, shares and charges as they were, and reads which of the
 * sessions that were adopted have ended. Devices stay until the module is unloaded. A session
 * belongs to the arbiter that adopted it: the next one adopts it anew, by a descriptor that the
 * client sends again. When an arbiter attaches, who waits gets ESTALE, for what was asked of the
 * last one is forgotten; so does who waits before the session is adopted anew.
 *
 * TABLE. Pages of the kernel, charged to the memory cgroup of the caller, shared by client and
 * arbiter, never read by anybody else and never believed: the module compares a slot's word with
 * what a waiter expects, and no more. A slot is 64 bytes; the word is its first 32 bits. Map the
 * session's descriptor from offset 0, shared; the arbiter maps its own descriptor from
 * map_offset. A second VRAM_IOC_TABLE replaces the table; mappings of the old one stay what they
 * are. Children do not inherit a mapping.
 *
 * WAITING. Like a futex: VRAM_IOC_WAIT sleeps while the word of a slot is the one expected, until
 * VRAM_IOC_WAKE or the deadline. This time is the stall of the session that pressure counts, on
 * the device that it names. The clock is CLOCK_MONOTONIC of the initial time namespace.
 *
 * PRESSURE. The model, the numbers and the text of the kernel's PSI, per device and per group.
 * VRAM_IOC_TRIGGER arms one trigger a descriptor; poll() then reports POLLPRI, once a window,
 * when the stall within a window has reached the threshold; POLLERR when the session that it
 * watched has ended.
 *
 * EVENTS. The arbiter reads whole struct vram_arbiter_event from its descriptor (read(), also
 * through io_uring; O_NONBLOCK and poll() work). What cannot be delivered now stays queued; an
 * arbiter that reads nothing costs one record a session that it had adopted.
 *
 * RULES. Every structure begins with flags; an unknown bit, a nonzero padding field or a nonzero
 * field that the flags leave unused is EINVAL. Unknown ioctl: ENOTTY. 64-bit fields are aligned
 * to 8 bytes, so that 32-bit programs see the same layout. Order of checks: copy (EFAULT), flags,
 * padding and ranges (EINVAL), permission (EPERM), existence, state. A failed call changes
 * nothing and writes nothing back, with one exception: VRAM_IOC_CHARGE and VRAM_IOC_SHARE write
 * limit_kind and limit_key when they fail with EDQUOT or ENOSPC.
 *
 * PERMISSIONS
 *   any session       INFO, TABLE, WAIT; USAGE, PRESSURE and TRIGGER of itself, of the groups
 *                     above it, of the root and of devices
 *   CAP_SYS_ADMIN     also GROUP, LIMIT, ATTACH, and USAGE, PRESSURE, TRIGGER of every group
 *   the arbiter       everything (but it cannot WAIT); only it may DEVICE, ADOPT, CHARGE, SHARE,
 *                     STATE, WAKE, OVER and read events
 *
 * ERRORS beside those above
 *   EPERM       CAP_SYS_ADMIN or the arbiter's descriptor is needed
 *   ENOENT      no such session, share, device or group; GROUP: none after this one
 *   EDQUOT      CHARGE, SHARE: a group would pass its max, and is named. TABLE, WAIT: a cap for
 *               each user (module parameters max_slots, max_waiters)
 *   EMFILE      open: the user has too many sessions (module parameter max_sessions)
 *   ENOSPC      CHARGE, SHARE: the device has no room; the root is named. DEVICE: too many
 *               devices
 *   EBUSY       ATTACH: there is an arbiter. TRIGGER: this descriptor has one. SHARE free: it
 *               has members or bytes. ADOPT: the session is adopted already
 *   EBADF       ADOPT: no such descriptor, or none of /dev/vram
 *   EEXIST      SHARE join: a member already
 *   EINVAL      uncharge of more than is charged; the device of a share; a window outside
 *               0.5..10 s, a threshold of 0 or above the window
 *   ERANGE      a weight outside 1..10000
 *   ENOTCONN    WAIT: no arbiter has adopted this session
 *   ENXIO       WAIT: no table, or no such slot; mmap: no table
 *   EHOSTDOWN   WAIT: there is no arbiter, and its grace is over
 *   ESTALE      WAIT: another arbiter has attached, or the session was dropped: be adopted anew and
 *               ask again. GROUP: it has gone, begin anew
 *   ETIMEDOUT   WAIT: the deadline has passed
 *   EINTR       WAIT: a signal came (restarted as SA_RESTART says; the deadline is absolute)
 *   E2BIG       LIMIT: a cgroup is nested deeper than 16 below the root
 *   EOVERFLOW   a counter would pass its width
 *   ENOMEM
 */
#ifndef _UAPI_LINUX_VRAM_H
#define _UAPI_LINUX_VRAM_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Raised when something above changes incompatibly. */
#define VRAM_ABI_VERSION 1

/* Bits of vram_ioc_info.features. None is defined beyond version 1 yet. */
#define VRAM_FEATURES 0ULL

#define VRAM_MAX_DEVICES     16
#define VRAM_MAX_CHAIN	     18	  /* groups above a session: user, up to 16 cgroups, exe */
#define VRAM_NAME_MAX	     4096 /* of a group, with the terminating zero */
#define VRAM_SLOT_BYTES	     64
#define VRAM_MAX_SLOTS	     262144 /* of one table */
#define VRAM_MAX_OVER	     256
#define VRAM_NO_SHARE	     0xffffffffU
#define VRAM_UNLIMITED	     (~0ULL)	 /* max and high */
#define VRAM_CAPACITY_SHARED (~0ULL - 1) /* this tier is the one of device 0 */

enum vram_tier {
	VRAM_TIER_VRAM = 0,
	VRAM_TIER_HOST = 1,
	VRAM_TIER_DISK = 2,
	VRAM_N_TIERS = 3,
};

enum vram_limit {
	VRAM_LIMIT_MIN = 0,
	VRAM_LIMIT_LOW = 1,
	VRAM_LIMIT_HIGH = 2,
	VRAM_LIMIT_MAX = 3,
	VRAM_LIMIT_WEIGHT = 4,
	VRAM_N_LIMITS = 5,
};

enum vram_kind {
	VRAM_KIND_ROOT = 0,
	VRAM_KIND_USER = 1,
	VRAM_KIND_CGROUP = 2,
	VRAM_KIND_EXE = 3,
	VRAM_KIND_SESSION = 4,
};

/* A group. */
struct vram_ref {
	__u32 kind; /* enum vram_kind */
	__u32 pad;
	__u64 key;
};

/* ---- any session -------------------------------------------------------------- */

enum vram_arbiter_state {
	VRAM_ARBITER_NEVER = 0, /* none has attached since the module was loaded */
	VRAM_ARBITER_ATTACHED = 1,
	VRAM_ARBITER_GRACE = 2, /* it is gone, and waiters wait for the next */
	VRAM_ARBITER_GONE = 3,
};

#define VRAM_INFO_ADOPTED 1U /* this session, by the arbiter of now */
#define VRAM_INFO_ARBITER 2U /* this session is the arbiter */

/* VRAM_IOC_INFO: everything is written, nothing is read. */
struct vram_ioc_info {
	__u32 flags;	     /* VRAM_INFO_* */
	__u32 version;	     /* VRAM_ABI_VERSION */
	__u64 features;	     /* VRAM_FEATURES */
	__u64 session;	     /* of this descriptor */
	__u64 generation;    /* how many arbiters have attached */
	__s32 pid;	     /* taken at open; in the caller's pid namespace, or 0 */
	__u32 uid;	     /* taken at open, as the caller's user namespace sees it */
	__s32 arbiter_pid;   /* likewise; 0: none */
	__u32 arbiter_state; /* enum vram_arbiter_state */
	__u32 n_devices;
	__u32 n_slots;	   /* of this session's table, 0: none */
	__u32 max_slots;   /* what VRAM_IOC_TABLE could have at most now */
	__u32 max_waiters; /* of this user */
	char comm[16];
};

/* VRAM_IOC_TABLE: make the session's table: n_slots * 64 bytes in whole pages, all zero. */
struct vram_ioc_table {
	__u32 flags;   /* 0 */
	__u32 n_slots; /* 1 .. VRAM_MAX_SLOTS */
};

/*
 * VRAM_IOC_WAIT: sleep while the word of the slot is `expected`. Returns 0 when it is not, or
 * after a WAKE: look again.
 */
#define VRAM_WAIT_KILLABLE 1U /* after the first signal go on waiting; only a fatal one ends it */
struct vram_ioc_wait {
	__u32 flags; /* VRAM_WAIT_* */
	__u32 dev;   /* whose memory is waited for */
	__u32 slot;
	__u32 expected;
	__u64 deadline_ns; /* CLOCK_MONOTONIC; ~0: none */
};

/* What PRESSURE and TRIGGER are about: a group, or with this flag the device `dev`. */
#define VRAM_PRESSURE_DEVICE 1U
#define VRAM_PRESSURE_FULL   2U /* TRIGGER: `full`, not `some` */

/* VRAM_IOC_PRESSURE: [0] some, [1] full; averages over 10, 60 and 300 s in 1/100 percent. */
struct vram_ioc_pressure {
	__u32 flags;	       /* in: VRAM_PRESSURE_DEVICE */
	__u32 dev;	       /* in, with that flag */
	struct vram_ref group; /* in, without */
	__u64 total_us[2];     /* out */
	__u32 avg_centi[2][3]; /* out */
};

/* VRAM_IOC_TRIGGER: one a descriptor, for as long as it is open. */
struct vram_ioc_trigger {
	__u32 flags; /* VRAM_PRESSURE_* */
	__u32 dev;
	struct vram_ref group;
	__u64 threshold_us; /* of stall within a window */
	__u64 window_us;    /* 500000 .. 10000000 */
};

/* VRAM_IOC_USAGE: everything about one (group, device, tier). */
struct vram_ioc_usage {
	__u32 flags; /* 0 */
	__u32 dev;
	__u32 tier;
	__u32 set;	       /* out: bit for each limit that was set for this group itself */
	struct vram_ref group; /* in */
	__u64 usage;	       /* out, bytes, as all below */
	__u64 own;	       /* of these charged to the session itself, not through a share */
	__u64 peak;
	__u64 refused; /* how many charges were refused because of this group */
	__u64 emin;    /* effective protection */
	__u64 elow;
	__u64 over_high;
	__u64 over_max;
	__u64 limit[VRAM_N_LIMITS];
};

/* ---- CAP_SYS_ADMIN ------------------------------------------------------------ */

/*
 * VRAM_IOC_GROUP: look at a group: the one of kind and key; with NEXT the one after it (root
 * first, parents before children; kind ROOT, key 0 and VRAM_GROUP_FIRST for the first); with
 * BY_NAME the CGROUP or EXE group of the name in the buffer.
 */
#define VRAM_GROUP_NEXT	   1U
#define VRAM_GROUP_FIRST   2U
#define VRAM_GROUP_BY_NAME 4U
struct vram_ioc_group {
	__u32 flags;
	__u32 n_sessions;	/* out: below it; 1 for a session */
	struct vram_ref group;	/* in and out */
	struct vram_ref parent; /* out; a session's: its user */
	__s32 pid;		/* out; sessions only, as all below but the name */
	__u32 uid;		/* also a user's */
	__u32 session_flags;	/* VRAM_INFO_* */
	__u32 n_slots;
	char comm[16];
	__u64 name;	  /* in: pointer to a buffer; BY_NAME: with the path in it */
	__u32 name_size;  /* in: of the buffer */
	__u32 name_bytes; /* out: length with the terminating zero; 0: it has none */
};

/*
 * VRAM_IOC_LIMIT: set one limit. A USER is made if need be, and so is a CGROUP or EXE whose path
 * is in `name` (key 0 then). A SESSION must exist. The root has none: its max is the capacity of
 * the device.
 */
#define VRAM_LIMIT_CLEAR     1U /* back to the default; value 0 */
#define VRAM_LIMIT_INHERITED 2U /* in force, but not counted as set for this very group */
struct vram_ioc_limit {
	__u32 flags;
	__u32 dev;
	__u32 tier;
	__u32 limit; /* enum vram_limit */
	struct vram_ref group;
	__u64 value;	  /* bytes; a weight: 1 .. 10000 */
	__u64 name;	  /* 0, or pointer to the path */
	__u32 name_bytes; /* its length with the terminating zero */
	__u32 pad;
};

/* VRAM_IOC_ATTACH: this descriptor is the arbiter from now on. */
struct vram_ioc_attach {
	__u32 flags;	  /* 0 */
	__u32 grace_ms;	  /* up to 600000 */
	__u64 generation; /* out: 1 for the first arbiter */
};

/* ---- the arbiter -------------------------------------------------------------- */

/* VRAM_IOC_DEVICE: a device of this name with these capacities; an existing one's are changed. */
struct vram_ioc_device {
	__u32 flags; /* 0 */
	__u32 dev;   /* out */
	/* bytes, or VRAM_CAPACITY_SHARED; an existing device's sharing stays */
	__u64 capacity[VRAM_N_TIERS];
	char name[32]; /* not empty, with a terminating zero, zero behind it */
};

/* VRAM_IOC_ADOPT: take the session of a client by a descriptor of it. */
/* its own charges fall back and it leaves all shares: a new start after a restart */
#define VRAM_ADOPT_RESET 1U
struct vram_ioc_adopt {
	__u32 flags;
	__s32 fd;	  /* in */
	__u64 session;	  /* out, as all below */
	__u64 map_offset; /* where the table is in the arbiter's own descriptor */
	__s32 pid;
	__u32 uid;
	__u32 gid;
	__u32 n_slots; /* 0: no table yet */
	__u32 n_groups;
	__u32 pad;
	char comm[16];
	/* above it: the user, cgroups from the top down, the executable */
	struct vram_ref group[VRAM_MAX_CHAIN];
};

enum vram_charge_op {
	VRAM_CHARGE = 0,   /* to: more bytes there */
	VRAM_UNCHARGE = 1, /* from: fewer bytes there */
	VRAM_TRANSFER = 2, /* from one tier to another */
	VRAM_GIVE = 3,	   /* from: to session `other`; not with a share */
};

/*
 * VRAM_IOC_CHARGE: all or nothing. Of `share`, or (VRAM_NO_SHARE) of `session`. With a share
 * `session` is 0 or the session on whose behalf, for trace points only; dev is the share's and
 * must be given right.
 */
/* UNCHARGE, TRANSFER: it is evicted, because session `other` (0: nobody) needs room */
#define VRAM_CHARGE_EVICT   1U
#define VRAM_CHARGE_RESTORE 2U /* CHARGE, TRANSFER: it comes back, after it had been evicted */
struct vram_ioc_charge {
	__u32 flags;
	__u32 op; /* enum vram_charge_op */
	__u64 session;
	__u64 other; /* GIVE: the receiver; EVICT: who needs it; else 0 */
	__u32 share;
	__u32 dev;
	__u32 from; /* tier; 0 where the op has none */
	__u32 to;   /* tier; likewise */
	__u64 bytes;
	__u32 limit_kind; /* out, on EDQUOT and ENOSPC: who refused */
	__u32 pad;
	__u64 limit_key; /* likewise */
};

enum vram_share_op {
	VRAM_SHARE_NEW = 0,   /* dev -> share */
	VRAM_SHARE_FREE = 1,  /* without members and bytes */
	VRAM_SHARE_JOIN = 2,  /* share, session */
	VRAM_SHARE_LEAVE = 3, /* share, session */
	VRAM_SHARE_READ = 4,  /* share -> dev, n_members, bytes */
	VRAM_SHARE_NEXT = 5,  /* the first at or after `share` -> share and as READ; ENOENT: none */
};

/* VRAM_IOC_SHARE. What is freed is used again. */
#define VRAM_SHARE_FORCE 1U /* JOIN: even past a max; to be reclaimed then */
struct vram_ioc_share {
	__u32 flags;
	__u32 op; /* enum vram_share_op */
	__u32 share;
	__u32 dev;
	__u64 session;
	__u64 bytes[VRAM_N_TIERS]; /* out */
	__u32 n_members;	   /* out */
	__u32 limit_kind;	   /* out, as in CHARGE */
	__u64 limit_key;
};

enum vram_session_op {
	VRAM_SESSION_RUN = 0,  /* it works on this device */
	VRAM_SESSION_IDLE = 1, /* unless it is stalled */
	VRAM_SESSION_STALL =
		2, /* begins a wait that the module does not see (a page fault); nests */
	VRAM_SESSION_UNSTALL = 3,
	/* It is adopted no longer: its charges fall back, it leaves all shares, who waits gets
	 * ESTALE. Its end is not told, and it may be adopted anew.
	 */
	VRAM_SESSION_DROP = 4,
};

/*
 * VRAM_IOC_STATE: for `full` pressure the module must know who works. A session that WAITs is
 * running afterwards.
 */
struct vram_ioc_state {
	__u32 flags; /* 0 */
	__u32 op;    /* enum vram_session_op */
	__u64 session;
	__u32 dev; /* DROP: 0 */
	__u32 pad;
};

/* VRAM_IOC_WAKE: who waits on this slot looks again. */
struct vram_ioc_wake {
	__u32 flags; /* 0 */
	__u32 slot;
	__u64 session;
};

/* VRAM_IOC_OVER: the groups above their high or max, the root above its capacity included. */
struct vram_over {
	struct vram_ref group;
	__u64 over_high;
	__u64 over_max;
};
struct vram_ioc_over {
	__u32 flags; /* 0 */
	__u32 dev;
	__u32 tier;
	__u32 n;     /* in: room in the array, up to VRAM_MAX_OVER; out: how many there are */
	__u64 array; /* pointer to struct vram_over; at most the first n are written */
};

enum vram_arbiter_event_type {
	VRAM_ARBITER_EVENT_GONE = 1,   /* one that was adopted, by this arbiter or an earlier one */
	VRAM_ARBITER_EVENT_LIMITS = 2, /* by somebody else; any number of changes is one event */
};

struct vram_arbiter_event {
	__u32 type;
	__u32 pad;
	__u64 session;
	__u64 generation;	   /* of the arbiter that had adopted it */
	__u64 bytes[VRAM_N_TIERS]; /* what fell back, parts of shares included, over all devices */
	__s32 pid;
	__u32 uid;
};

#define VRAM_IOC_MAGIC 0xC7

#define VRAM_IOC_INFO	  _IOR(VRAM_IOC_MAGIC, 0x00, struct vram_ioc_info)
#define VRAM_IOC_TABLE	  _IOW(VRAM_IOC_MAGIC, 0x01, struct vram_ioc_table)
#define VRAM_IOC_WAIT	  _IOW(VRAM_IOC_MAGIC, 0x02, struct vram_ioc_wait)
#define VRAM_IOC_PRESSURE _IOWR(VRAM_IOC_MAGIC, 0x03, struct vram_ioc_pressure)
#define VRAM_IOC_TRIGGER  _IOW(VRAM_IOC_MAGIC, 0x04, struct vram_ioc_trigger)
#define VRAM_IOC_USAGE	  _IOWR(VRAM_IOC_MAGIC, 0x05, struct vram_ioc_usage)
#define VRAM_IOC_GROUP	  _IOWR(VRAM_IOC_MAGIC, 0x10, struct vram_ioc_group)
#define VRAM_IOC_LIMIT	  _IOW(VRAM_IOC_MAGIC, 0x11, struct vram_ioc_limit)
#define VRAM_IOC_ATTACH	  _IOWR(VRAM_IOC_MAGIC, 0x12, struct vram_ioc_attach)
#define VRAM_IOC_DEVICE	  _IOWR(VRAM_IOC_MAGIC, 0x20, struct vram_ioc_device)
#define VRAM_IOC_ADOPT	  _IOWR(VRAM_IOC_MAGIC, 0x21, struct vram_ioc_adopt)
#define VRAM_IOC_CHARGE	  _IOWR(VRAM_IOC_MAGIC, 0x22, struct vram_ioc_charge)
#define VRAM_IOC_SHARE	  _IOWR(VRAM_IOC_MAGIC, 0x23, struct vram_ioc_share)
#define VRAM_IOC_STATE	  _IOW(VRAM_IOC_MAGIC, 0x24, struct vram_ioc_state)
#define VRAM_IOC_WAKE	  _IOW(VRAM_IOC_MAGIC, 0x25, struct vram_ioc_wake)
#define VRAM_IOC_OVER	  _IOWR(VRAM_IOC_MAGIC, 0x26, struct vram_ioc_over)

#endif
