/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the module share. The ABI is told in uapi/vram.h.
 *
 * LOCKS, in this order:
 *   mmap_lock (of a task in mmap())
 *   vram.lock	the ledger, all meters, adoption, triggers, events, the arbiter. No user memory
 *		is touched under it. What clients may call holds it for O(groups above them), but
 *		for the end of a session: O(members of the shares that it is in).
 *   session->lock	(spinlock) its table pointer and its list of waiters
 *   users_lock	(spinlock, user.c) the list of users
 *
 * LIFETIMES
 *   session	from open() to release(), the last reference to the open file. Its ledger group
 *		goes with it; what the arbiter must still be told is in session->gone, made when it
 *		was adopted.
 *   table	counted: one for the session, one for each mapping. Pages outlive a session while
 *		the arbiter has them mapped.
 *   user	counted: one for each session and each table.
 */
#ifndef VRAM_KMOD_INTERNAL_H
#define VRAM_KMOD_INTERNAL_H

#include <linux/cleanup.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>
#include <linux/uio.h>
#include <linux/workqueue.h>

#include "kmod/stall.h"
#include "kmod/uapi/vram.h"

/* In trace points: a wait for no slot, a page fault that the arbiter told of. */
#define VRAM_NO_SLOT	    (~0U)
#define VRAM_SLOTS_PER_PAGE (PAGE_SIZE / VRAM_SLOT_BYTES)

struct vram_user {
	struct list_head node; /* users_lock */
	kuid_t uid;
	refcount_t refs;
	atomic_t n_sessions;
	atomic_t n_slots;
	atomic_t n_waiters;
};

struct vram_table {
	struct kref ref;
	struct vram_user *user;
	u32 n_slots;
	u32 n_counted; /* of the user's slots: all that fit in its pages */
	u32 n_pages;
	struct page *page[];
};

/* An event on its way to the arbiter. */
struct vram_record {
	struct list_head node;
	struct vram_arbiter_event event;
	struct pid *pid;
	kuid_t uid;
};

struct vram_session {
	struct stall_session stall; /* the first: the ledger's `priv`; vram.lock */
	struct ledger_group *group;
	u64 id;

	/* Taken at open, never changed. */
	struct vram_user *user;
	kuid_t uid;
	kgid_t gid;
	struct pid *pid; /* of the thread group */
	char comm[TASK_COMM_LEN];

	/* vram.lock */
	u64 adopted; /* the generation of the arbiter that did, 0: none has */
	struct vram_record *gone;
	u32 told[LEDGER_MAX_DEVICES]; /* of stall.stalls, those that the arbiter told of */
	u64 told_since_ns[LEDGER_MAX_DEVICES];
	bool has_trigger;
	bool trigger_lost; /* what it watched has gone */
	struct pressure_trigger trigger;
	struct pressure *trigger_of;
	struct ledger_group *trigger_group; /* NULL: a device's */
	struct list_head trigger_node;
	wait_queue_head_t poll_wait;

	spinlock_t lock;
	struct vram_table *table; /* lock */
	struct list_head waiters; /* lock */
};

struct vram {
	struct mutex lock;
	struct group_book book;
	struct pressure device_pressure[LEDGER_MAX_DEVICES];
	char device_name[LEDGER_MAX_DEVICES][32];

	struct vram_session *arbiter; /* read without the lock only to compare */
	u64 generation;
	u32 state; /* enum vram_arbiter_state */
	u32 grace_ms;
	u64 grace_end_ns;
	struct delayed_work grace_work;

	struct list_head events; /* struct vram_record */
	bool limits_changed;	 /* an event by itself */

	struct list_head triggers; /* of sessions */
	struct delayed_work trigger_work;
};

extern struct vram vram;
extern unsigned int vram_max_sessions;
extern unsigned int vram_max_slots;
extern unsigned int vram_max_waiters;

static inline u64 vram_now(void)
{
	return ktime_get_ns();
}

static inline struct ledger *vram_ledger(void)
{
	return vram.book.ledger;
}

static inline bool vram_is_arbiter(const struct vram_session *s)
{
	return READ_ONCE(vram.arbiter) == s;
}

static inline struct vram_session *vram_session_of(const struct ledger_group *g)
{
	return container_of((struct stall_session *)g->priv, struct vram_session, stall);
}

/* main.c */
extern const struct file_operations vram_fops;

/* user.c */
struct vram_user *vram_user_get(kuid_t uid);
struct vram_user *vram_user_ref(struct vram_user *user);
void vram_user_put(struct vram_user *user);
bool vram_user_take(atomic_t *count, u32 n, u32 max);

/* session.c */
int vram_session_open(struct vram_session **out_session);
void vram_session_close(struct vram_session *s);
struct vram_session *vram_session_find(u64 id);
struct vram_session *vram_client_find(u64 id);
void vram_session_reset(struct vram_session *s);

/* table.c */
int vram_table_new(struct vram_session *s, u32 n_slots);
struct vram_table *vram_table_get(struct vram_session *s);
void vram_table_put(struct vram_table *table);
u32 vram_table_word(const struct vram_table *table, u32 slot);
u64 vram_table_offset(u64 session);
int vram_table_mmap(struct vram_session *s, struct vm_area_struct *vma);

/* wait.c */
int vram_wait(struct vram_session *s, const struct vram_ioc_wait *w);
void vram_wake(struct vram_session *s, u32 slot);
void vram_wake_all(struct vram_session *s, int result);

/* arbiter.c */
int vram_attach(struct vram_session *s, struct vram_ioc_attach *a);
void vram_detach(struct vram_session *s);
int vram_adopt(struct vram_session *s, struct vram_ioc_adopt *a);
int vram_device(struct vram_session *s, struct vram_ioc_device *d);
int vram_state(struct vram_session *s, const struct vram_ioc_state *st);
int vram_wake_slot(struct vram_session *s, const struct vram_ioc_wake *w);
void vram_grace_over(struct work_struct *work);

/* charge.c */
int vram_charge(struct vram_session *s, struct vram_ioc_charge *c);
int vram_share(struct vram_session *s, struct vram_ioc_share *sh);

/* query.c */
struct ledger_group *vram_group_get(const struct vram_ref *ref);
int vram_info(struct vram_session *s, struct vram_ioc_info *info);
int vram_usage(struct vram_session *s, struct vram_ioc_usage *u);
int vram_group(struct vram_session *s, struct vram_ioc_group *g);
int vram_limit(struct vram_session *s, const struct vram_ioc_limit *l);
int vram_over(struct vram_session *s, struct vram_ioc_over *o);

/* event.c */
void vram_event_gone(struct vram_session *s, const u64 bytes[VRAM_N_TIERS]);
void vram_event_limits(void);
void vram_events_free(void);
ssize_t vram_event_read(struct kiocb *iocb, struct iov_iter *to);
__poll_t vram_event_poll(struct file *file, poll_table *pt);

/* trigger.c */
int vram_pressure(struct vram_session *s, struct vram_ioc_pressure *p);
int vram_trigger(struct vram_session *s, const struct vram_ioc_trigger *t);
bool vram_trigger_take(struct vram_session *s);
void vram_trigger_drop(struct vram_session *s);
void vram_trigger_drop_group(struct ledger_group *g);
void vram_trigger_kick(void);
void vram_trigger_tick(struct work_struct *work);
bool vram_may_read(const struct vram_session *s, const struct ledger_group *g);

/* debugfs.c */
#ifdef CONFIG_DEBUG_FS
void vram_debugfs_init(void);
void vram_debugfs_device(u32 dev);
void vram_debugfs_exit(void);
#else
static inline void vram_debugfs_init(void)
{
}

static inline void vram_debugfs_device(u32 dev)
{
}

static inline void vram_debugfs_exit(void)
{
}
#endif

#endif
