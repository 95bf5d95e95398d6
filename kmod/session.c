// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sessions: one for each open of /dev/vram, from open() to the end of the last reference.
 *
 * Who a session is, is read from the opener here and nowhere else. What it holds falls back here
 * and nowhere else: its release is the only place that knows that a client has gone.
 */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/pid.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "kmod/internal.h"
#include "kmod/trace.h"

/* The path of the opener's cgroup in the v2 hierarchy. Return: it, in @buf, or NULL: unknown. */
static const char *cgroup_of_current(char *buf, size_t size)
{
#ifdef CONFIG_CGROUPS
	struct cgroup *cgroup;
	int ret;

	rcu_read_lock();
	do {
		cgroup = task_dfl_cgroup(current);
	} while (!cgroup_tryget(cgroup));
	rcu_read_unlock();
	ret = cgroup_path(cgroup, buf, size);
	cgroup_put(cgroup);
	return ret < 0 || (size_t)ret >= size ? NULL : buf;
#else
	return NULL;
#endif
}

/*
 * The path of the opener's executable. Return: likewise; unknown in a user namespace, where anybody
 * can mount anything over the path of a program.
 */
static const char *exe_of_current(char *buf, size_t size)
{
	struct file *file = NULL;
	const char *path;

	if (current->mm && current_user_ns() == &init_user_ns)
		file = vram_exe_file(current->mm);
	if (!file)
		return NULL;
	path = file_path(file, buf, size);
	fput(file);
	return IS_ERR(path) ? NULL : path;
}

/*
 * Whose the opener is. In a user namespace it may be any of a range of uids; they are all of the
 * user who made the namespace, unless that was root.
 */
static kuid_t user_of_current(void)
{
	const struct user_namespace *ns = current_user_ns();

	if (ns == &init_user_ns)
		return current_uid();
	while (ns->parent != &init_user_ns)
		ns = ns->parent;
	return uid_eq(ns->owner, GLOBAL_ROOT_UID) ? current_uid() : ns->owner;
}

/* The session's place in the ledger. vram.lock is held. */
static int enter_ledger(struct vram_session *s, const char *cgroup, const char *exe)
{
	struct ledger_group *chain[LEDGER_N_CHAINS];
	u64 now = vram_now();
	int ret;
	u32 c;

	lockdep_assert_held(&vram.lock);
	ret = group_chain(&vram.book, from_kuid(&init_user_ns, s->uid), cgroup, exe, now, chain);
	if (ret)
		return ret;
	ret = ledger_session_new(vram_ledger(), chain, &s->group);
	if (ret) {
		for (c = 0; c < LEDGER_N_CHAINS; c++)
			group_collect(&vram.book, chain[c]);
		return ret;
	}
	s->group->priv = s;
	s->id = s->group->key;
	pressure_init(&s->stall.group.pressure, now);
	return 0;
}

/*
 * vram_session_open() - a session of the caller.
 *
 * Return: 0; -EMFILE (the user has too many), -ENOMEM.
 */
int vram_session_open(struct vram_session **out_session)
{
	char *cgroup_buf, *exe_buf;
	const char *cgroup, *exe;
	struct vram_session *s;
	int ret = -ENOMEM;

	s = kvzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);
	cgroup_buf = kmalloc(GROUP_PATH_MAX, GFP_KERNEL_ACCOUNT);
	exe_buf = kmalloc(GROUP_PATH_MAX, GFP_KERNEL_ACCOUNT);
	if (!s || !cgroup_buf || !exe_buf)
		goto err_free;
	s->uid = user_of_current();
	s->gid = current_gid();
	s->user = vram_user_get(s->uid);
	if (!s->user)
		goto err_free;
	ret = -EMFILE;
	if (!vram_user_take(&s->user->n_sessions, 1, READ_ONCE(vram_max_sessions)))
		goto err_user;
	s->pid = get_task_pid(current, PIDTYPE_TGID);
	get_task_comm(s->comm, current->group_leader);
	spin_lock_init(&s->lock);
	INIT_LIST_HEAD(&s->waiters);
	init_waitqueue_head(&s->poll_wait);
	cgroup = cgroup_of_current(cgroup_buf, GROUP_PATH_MAX);
	exe = exe_of_current(exe_buf, GROUP_PATH_MAX);
	mutex_lock(&vram.lock);
	ret = enter_ledger(s, cgroup, exe);
	if (!ret)
		trace_vram_session_open(s);
	mutex_unlock(&vram.lock);
	if (ret)
		goto err_pid;
	kfree(cgroup_buf);
	kfree(exe_buf);
	*out_session = s;
	return 0;

err_pid:
	put_pid(s->pid);
	atomic_dec(&s->user->n_sessions);
err_user:
	vram_user_put(s->user);
err_free:
	kfree(exe_buf);
	kfree(cgroup_buf);
	kvfree(s);
	return ret;
}

/* What a session is charged with, over all devices. vram.lock is held. */
static void holdings(const struct vram_session *s, u64 out_bytes[VRAM_N_TIERS])
{
	const struct ledger *l = vram_ledger();
	u32 dev, tier;

	memset(out_bytes, 0, VRAM_N_TIERS * sizeof(*out_bytes));
	for (dev = 0; dev < l->n_devices; dev++)
		for (tier = 0; tier < LEDGER_N_TIERS; tier++)
			if (l->device[dev].home[tier] == dev)
				out_bytes[tier] += s->group->row[dev]->tier[tier].usage;
}

/* vram_session_close() - the last reference has gone. */
void vram_session_close(struct vram_session *s)
{
	struct ledger_group *chain[LEDGER_N_CHAINS];
	u64 bytes[VRAM_N_TIERS];
	u32 c;

	mutex_lock(&vram.lock);
	if (vram.arbiter == s)
		vram_detach(s);
	vram_trigger_drop(s);
	vram_trigger_drop_group(s->group);
	stall_stop(&vram.book, vram.device_pressure, s->group, vram_now());
	holdings(s, bytes);
	trace_vram_session_close(s, bytes);
	if (s->gone)
		vram_event_gone(s, bytes);
	memcpy(chain, s->group->parent, sizeof(chain));
	ledger_session_free(vram_ledger(), s->group);
	for (c = 0; c < LEDGER_N_CHAINS; c++)
		group_collect(&vram.book, chain[c]);
	mutex_unlock(&vram.lock);

	vram_table_put(s->table);
	put_pid(s->pid);
	atomic_dec(&s->user->n_sessions);
	vram_user_put(s->user);
	kvfree(s);
}

/* vram_session_find() - the session of an id, or NULL. vram.lock is held, and keeps it. */
struct vram_session *vram_session_find(u64 id)
{
	struct ledger_group *g;

	lockdep_assert_held(&vram.lock);
	g = ledger_find(vram_ledger(), LEDGER_SESSION, id);
	return g ? vram_session_of(g) : NULL;
}

/* vram_client_find() - likewise, but only one that some arbiter has adopted. */
struct vram_session *vram_client_find(u64 id)
{
	struct vram_session *s = vram_session_find(id);

	return s && s->adopted ? s : NULL;
}

static void reset_own(struct vram_session *s, u32 dev, u32 tier)
{
	u64 own = s->group->row[dev]->tier[tier].own;

	if (vram_ledger()->device[dev].home[tier] != dev || !own)
		return;
	ledger_uncharge(vram_ledger(), s->group, dev, tier, own);
	trace_vram_uncharge(s, VRAM_NO_SHARE, dev, tier, own);
}

/* vram_session_reset() - its own charges fall back and it leaves all shares. */
void vram_session_reset(struct vram_session *s)
{
	struct ledger *l = vram_ledger();
	u32 dev, tier;

	lockdep_assert_held(&vram.lock);
	while (s->group->n_shares)
		if (WARN_ON_ONCE(ledger_share_leave(l, s->group->shares[0], s->group)))
			break;
	for (dev = 0; dev < l->n_devices; dev++)
		for (tier = 0; tier < LEDGER_N_TIERS; tier++)
			reset_own(s, dev, tier);
}
