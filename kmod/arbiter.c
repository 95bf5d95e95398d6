// SPDX-License-Identifier: GPL-2.0-only
/*
 * The arbiter: who may charge, adopt and wake, and what happens when it has gone.
 *
 * One session at a time is the arbiter. That it has gone is decided in its release and nowhere
 * else. What it did stays: the ledger, limits, shares, adoptions. Waiters are told when the grace
 * is over. A session remembers the generation of the arbiter that adopted it; one of an earlier
 * generation waits to be adopted anew.
 */
#include <linux/capability.h>
#include <linux/file.h>
#include <linux/pid.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "kmod/internal.h"
#include "kmod/trace.h"

#define GRACE_MAX_MS 600000

static void wake_everybody(int result)
{
	struct ledger_group *g;

	for (g = vram_ledger()->root.next; g; g = g->next)
		if (g->kind == LEDGER_SESSION)
			vram_wake_all(vram_session_of(g), result);
}

/* vram_attach() - VRAM_IOC_ATTACH. */
int vram_attach(struct vram_session *s, struct vram_ioc_attach *a)
{
	if (a->flags || a->grace_ms > GRACE_MAX_MS)
		return -EINVAL;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	guard(mutex)(&vram.lock);
	if (vram.arbiter)
		return -EBUSY;
	cancel_delayed_work(&vram.grace_work);
	WRITE_ONCE(vram.arbiter, s);
	vram.state = VRAM_ARBITER_ATTACHED;
	vram.grace_ms = a->grace_ms;
	a->generation = ++vram.generation;
	/* What they had asked the last arbiter is forgotten. */
	wake_everybody(-ESTALE);
	trace_vram_arbiter_attach(s, vram.generation, vram.grace_ms);
	return 0;
}

/* The arbiter tells of a wait that the module does not see: that it begins, or that it ends. */
static int tell_stall(struct vram_session *s, u32 dev, bool begins)
{
	u64 now = vram_now();
	int ret;

	if (!begins && !s->told[dev])
		return -EINVAL;
	ret = stall_event(&vram.book, &vram.device_pressure[dev], s->group, dev,
			  begins ? STALL_BEGIN : STALL_END, now);
	if (ret)
		return ret;
	if (begins) {
		if (!s->told[dev]++) {
			s->told_since_ns[dev] = now;
			trace_vram_stall_begin(s, dev, VRAM_NO_SLOT);
		}
		vram_trigger_kick();
	} else if (!--s->told[dev]) {
		trace_vram_stall_end(s, dev, VRAM_NO_SLOT, now - s->told_since_ns[dev]);
	}
	return 0;
}

/* What an arbiter told of a session ends with it; its own waits go on. */
static void forget_told(struct vram_session *s)
{
	u32 dev;

	for (dev = 0; dev < vram_ledger()->n_devices; dev++) {
		while (s->told[dev])
			tell_stall(s, dev, false);
		stall_event(&vram.book, &vram.device_pressure[dev], s->group, dev, STALL_IDLE,
			    vram_now());
	}
}

/* Nobody will answer any more. */
static void give_up(void)
{
	vram.state = VRAM_ARBITER_GONE;
	wake_everybody(-EHOSTDOWN);
}

/* vram_detach() - the arbiter's last reference has gone. */
void vram_detach(struct vram_session *s)
{
	struct ledger_group *g;

	lockdep_assert_held(&vram.lock);
	for (g = vram_ledger()->root.next; g; g = g->next)
		if (g->kind == LEDGER_SESSION)
			forget_told(vram_session_of(g));
	trace_vram_arbiter_detach(s, vram.generation, vram.grace_ms);
	WRITE_ONCE(vram.arbiter, NULL);
	if (!vram.grace_ms) {
		give_up();
		return;
	}
	vram.state = VRAM_ARBITER_GRACE;
	vram.grace_end_ns = vram_now() + (u64)vram.grace_ms * NSEC_PER_MSEC;
	mod_delayed_work(system_wq, &vram.grace_work, msecs_to_jiffies(vram.grace_ms) + 1);
}

void vram_grace_over(struct work_struct *work)
{
	u64 now;

	guard(mutex)(&vram.lock);
	if (vram.state != VRAM_ARBITER_GRACE)
		return;
	now = vram_now();
	/* The timer of an arbiter before the last one; or jiffies were behind when it was set. */
	if (now < vram.grace_end_ns)
		mod_delayed_work(system_wq, &vram.grace_work,
				 nsecs_to_jiffies(vram.grace_end_ns - now) + 1);
	else
		give_up();
}

/* The groups above a session: user, cgroups from the top down, executable. */
static void list_chain(const struct ledger_group *session, struct vram_ioc_adopt *a)
{
	u32 chain, depth;

	for (chain = 0; chain < LEDGER_N_CHAINS; chain++) {
		const struct ledger_group *g = session->parent[chain];

		if (!g)
			continue;
		for (depth = g->depth + 1; g; g = g->parent[chain]) {
			depth--;
			a->group[a->n_groups + depth].kind = g->kind;
			a->group[a->n_groups + depth].key = g->key;
		}
		a->n_groups += session->parent[chain]->depth + 1;
	}
}

static int adopt(struct vram_session *client, struct vram_record **record, struct vram_ioc_adopt *a)
{
	struct vram_table *table;

	guard(mutex)(&vram.lock);
	if (vram.arbiter == client)
		return -EINVAL;
	if (client->adopted == vram.generation)
		return -EBUSY;
	if (!client->gone)
		client->gone = no_free_ptr(*record);
	client->adopted = vram.generation;
	if (a->flags & VRAM_ADOPT_RESET)
		vram_session_reset(client);
	table = vram_table_get(client);
	*a = (struct vram_ioc_adopt){
		.flags = a->flags,
		.fd = a->fd,
		.session = client->id,
		.map_offset = vram_table_offset(client->id),
		.pid = pid_vnr(client->pid),
		.uid = from_kuid_munged(current_user_ns(), client->uid),
		.gid = from_kgid_munged(current_user_ns(), client->gid),
		.n_slots = table ? table->n_slots : 0,
	};
	vram_table_put(table);
	memcpy(a->comm, client->comm, sizeof(a->comm));
	list_chain(client->group, a);
	return 0;
}

/* vram_adopt() - VRAM_IOC_ADOPT. */
int vram_adopt(struct vram_session *s, struct vram_ioc_adopt *a)
{
	struct vram_record *record;
	struct file *file;
	int ret = -EBADF;

	if (a->flags & ~VRAM_ADOPT_RESET || a->pad)
		return -EINVAL;
	if (!vram_is_arbiter(s))
		return -EPERM;
	file = fget(a->fd);
	if (!file)
		return -EBADF;
	record = kzalloc(sizeof(*record), GFP_KERNEL_ACCOUNT);
	if (file->f_op == &vram_fops)
		ret = record ? adopt(file->private_data, &record, a) : -ENOMEM;
	kfree(record);
	fput(file);
	return ret;
}

/* An existing device with other capacities: all of them fit, or none is changed. */
static int resize(u32 dev, const u64 *capacity)
{
	struct ledger *l = vram_ledger();
	u32 tier;

	for (tier = 0; tier < LEDGER_N_TIERS; tier++)
		if ((l->device[dev].home[tier] != dev) != (capacity[tier] == LEDGER_SHARED))
			return -EINVAL;
	for (tier = 0; tier < LEDGER_N_TIERS; tier++)
		if (capacity[tier] != LEDGER_SHARED)
			ledger_device_resize(l, dev, tier, capacity[tier]);
	return 0;
}

static bool is_name(const char name[32])
{
	size_t len = strnlen(name, 32);

	return len && len < 32 && !memchr_inv(name + len, 0, 32 - len);
}

/* The device of a name, made if need be. vram.lock is held. */
static int device_by_name(struct vram_ioc_device *d, bool *out_is_new)
{
	u32 dev;
	int ret;

	*out_is_new = false;
	for (dev = 0; dev < vram_ledger()->n_devices; dev++) {
		if (strcmp(vram.device_name[dev], d->name))
			continue;
		ret = resize(dev, d->capacity);
		if (!ret)
			d->dev = dev;
		return ret;
	}
	ret = ledger_device_add(vram_ledger(), d->capacity, &dev);
	if (ret)
		return ret;
	strscpy(vram.device_name[dev], d->name, sizeof(vram.device_name[dev]));
	pressure_init(&vram.device_pressure[dev], vram_now());
	d->dev = dev;
	*out_is_new = true;
	return 0;
}

static bool are_capacities(const u64 capacity[VRAM_N_TIERS])
{
	u32 tier;

	for (tier = 0; tier < VRAM_N_TIERS; tier++)
		if (capacity[tier] > S64_MAX && capacity[tier] != VRAM_CAPACITY_SHARED &&
		    capacity[tier] != VRAM_UNLIMITED)
			return false;
	return true;
}

/* vram_device() - VRAM_IOC_DEVICE. */
int vram_device(struct vram_session *s, struct vram_ioc_device *d)
{
	bool is_new;
	int ret;

	if (d->flags || d->dev || !is_name(d->name) || !are_capacities(d->capacity))
		return -EINVAL;
	if (!vram_is_arbiter(s))
		return -EPERM;
	mutex_lock(&vram.lock);
	ret = device_by_name(d, &is_new);
	mutex_unlock(&vram.lock);
	if (!ret && is_new)
		vram_debugfs_device(d->dev);
	return ret;
}

/* As if no arbiter had ever adopted it. */
static void drop_session(struct vram_session *client)
{
	vram_session_reset(client);
	forget_told(client);
	vram_wake_all(client, -ESTALE);
	client->adopted = 0;
	kfree(client->gone);
	client->gone = NULL;
}

/* vram_state() - VRAM_IOC_STATE. */
int vram_state(struct vram_session *s, const struct vram_ioc_state *st)
{
	struct vram_session *client;

	if (st->flags || st->pad || st->op > VRAM_SESSION_DROP ||
	    (st->op == VRAM_SESSION_DROP && st->dev))
		return -EINVAL;
	if (!vram_is_arbiter(s))
		return -EPERM;
	guard(mutex)(&vram.lock);
	client = vram_client_find(st->session);
	if (!client)
		return -ENOENT;
	if (st->op == VRAM_SESSION_DROP) {
		drop_session(client);
		return 0;
	}
	if (st->dev >= vram_ledger()->n_devices)
		return -ENOENT;
	if (st->op == VRAM_SESSION_STALL || st->op == VRAM_SESSION_UNSTALL)
		return tell_stall(client, st->dev, st->op == VRAM_SESSION_STALL);
	return stall_event(&vram.book, &vram.device_pressure[st->dev], client->group, st->dev,
			   st->op == VRAM_SESSION_RUN ? STALL_RUN : STALL_IDLE, vram_now());
}

/* vram_wake_slot() - VRAM_IOC_WAKE. */
int vram_wake_slot(struct vram_session *s, const struct vram_ioc_wake *w)
{
	struct vram_session *client;

	if (w->flags)
		return -EINVAL;
	if (!vram_is_arbiter(s))
		return -EPERM;
	guard(mutex)(&vram.lock);
	client = vram_client_find(w->session);
	if (!client)
		return -ENOENT;
	vram_wake(client, w->slot);
	return 0;
}
