// SPDX-License-Identifier: GPL-2.0-only
/* Groups as others see and limit them: use, names, limits. */
#include <linux/capability.h>
#include <linux/pid.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/user_namespace.h>

#include "kmod/internal.h"
#include "kmod/trace.h"

/* vram_group_get() - the group that a reference names, or NULL. */
struct ledger_group *vram_group_get(const struct vram_ref *ref)
{
	lockdep_assert_held(&vram.lock);
	if (ref->kind == VRAM_KIND_ROOT)
		return &vram_ledger()->root;
	return ledger_find(vram_ledger(), ref->kind, ref->key);
}

static bool is_ref(const struct vram_ref *ref)
{
	return !ref->pad && ref->kind <= VRAM_KIND_SESSION && (ref->kind || !ref->key);
}

static u32 session_flags(const struct vram_session *s)
{
	u32 flags = 0;

	if (vram.arbiter && s->adopted == vram.generation)
		flags |= VRAM_INFO_ADOPTED;
	if (vram.arbiter == s)
		flags |= VRAM_INFO_ARBITER;
	return flags;
}

static u32 n_slots(struct vram_session *s)
{
	struct vram_table *table = vram_table_get(s);
	u32 n = table ? table->n_slots : 0;

	vram_table_put(table);
	return n;
}

/* vram_info() - VRAM_IOC_INFO. */
int vram_info(struct vram_session *s, struct vram_ioc_info *info)
{
	u32 used = atomic_read(&s->user->n_slots), cap = READ_ONCE(vram_max_slots);

	guard(mutex)(&vram.lock);
	*info = (struct vram_ioc_info){
		.flags = session_flags(s),
		.version = VRAM_ABI_VERSION,
		.features = VRAM_FEATURES,
		.session = s->id,
		.generation = vram.generation,
		.pid = pid_vnr(s->pid),
		.uid = from_kuid_munged(current_user_ns(), s->uid),
		.arbiter_pid = vram.arbiter ? pid_vnr(vram.arbiter->pid) : 0,
		.arbiter_state = vram.state,
		.n_devices = vram_ledger()->n_devices,
		.n_slots = n_slots(s),
		.max_slots = min_t(u32,
				   round_down(cap > used ? cap - used : 0, VRAM_SLOTS_PER_PAGE),
				   VRAM_MAX_SLOTS),
		.max_waiters = READ_ONCE(vram_max_waiters),
	};
	memcpy(info->comm, s->comm, sizeof(info->comm));
	return 0;
}

/* vram_usage() - VRAM_IOC_USAGE. */
int vram_usage(struct vram_session *s, struct vram_ioc_usage *u)
{
	const struct ledger_group *g;
	const struct ledger *l;
	struct ledger_usage read;
	int ret;

	if (u->flags || !is_ref(&u->group) || u->tier >= VRAM_N_TIERS)
		return -EINVAL;
	guard(mutex)(&vram.lock);
	l = vram_ledger();
	g = vram_group_get(&u->group);
	/* Whether there is one is not told to those who may not see it. */
	if (!g || !vram_may_read(s, g))
		return g || (vram.arbiter != s && !capable(CAP_SYS_ADMIN)) ? -EPERM : -ENOENT;
	ret = ledger_read(l, g, u->dev, u->tier, &read);
	if (ret)
		return ret;
	u->set = read.set & ~g->row[l->device[u->dev].home[u->tier]]->tier[u->tier].inherited;
	u->usage = read.usage;
	u->own = read.own;
	u->peak = read.peak;
	u->refused = read.refused;
	u->emin = read.emin;
	u->elow = read.elow;
	u->over_high = read.over_high;
	u->over_max = read.over_max;
	memcpy(u->limit, read.limit, sizeof(u->limit));
	return 0;
}

/* What a GROUP request names. vram.lock is held. */
static const struct ledger_group *find(const struct vram_ioc_group *a, const char *path)
{
	const struct ledger_group *g;

	if (a->flags & VRAM_GROUP_FIRST)
		return &vram_ledger()->root;
	if (a->flags & VRAM_GROUP_BY_NAME)
		return group_find_path(&vram.book, a->group.kind, path);
	g = vram_group_get(&a->group);
	return g && a->flags & VRAM_GROUP_NEXT ? ledger_next(vram_ledger(), g) : g;
}

static void describe(const struct ledger_group *g, struct vram_ioc_group *a)
{
	const struct ledger_group *parent = NULL;

	a->group.kind = g->kind;
	a->group.key = g->key;
	a->n_sessions = g->n_sessions;
	if (g->kind == LEDGER_SESSION) {
		struct vram_session *s = vram_session_of(g);

		parent = g->parent[LEDGER_CHAIN(LEDGER_USER)];
		a->pid = pid_vnr(s->pid);
		a->uid = from_kuid_munged(current_user_ns(), s->uid);
		a->session_flags = session_flags(s);
		a->n_slots = n_slots(s);
		memcpy(a->comm, s->comm, sizeof(a->comm));
	} else if (g->kind != LEDGER_ROOT) {
		parent = g->parent[LEDGER_CHAIN(g->kind)];
		a->uid = g->kind == LEDGER_USER ? g->key : 0;
	}
	a->parent.kind = parent ? parent->kind : LEDGER_ROOT;
	a->parent.key = parent ? parent->key : 0;
}

/* A path of the caller's. Return: it, to be freed, or ERR_PTR: -EFAULT, -EINVAL, -ENOMEM. */
static char *path_from_user(u64 name, u32 n_bytes)
{
	char *path;

	if (!n_bytes || n_bytes > GROUP_PATH_MAX)
		return ERR_PTR(-EINVAL);
	path = strndup_user(u64_to_user_ptr(name), n_bytes);
	if (IS_ERR(path) || (strlen(path) + 1 == n_bytes && group_is_path(path)))
		return path;
	kfree(path);
	return ERR_PTR(-EINVAL);
}

/* vram_group() - VRAM_IOC_GROUP. */
int vram_group(struct vram_session *s, struct vram_ioc_group *a)
{
	bool by_name = a->flags == VRAM_GROUP_BY_NAME;
	const struct ledger_group *g;
	struct vram_ioc_group in = *a;
	char *path = NULL;
	int ret = -ENOENT;

	if ((a->flags & (a->flags - 1)) || a->flags > VRAM_GROUP_BY_NAME || !is_ref(&a->group) ||
	    a->n_sessions || a->parent.kind || a->parent.pad || a->parent.key || a->pid || a->uid ||
	    a->session_flags || a->n_slots || a->name_bytes || memchr_inv(a->comm, 0, 16) ||
	    (!a->name && a->name_size) || (a->flags == VRAM_GROUP_FIRST && a->group.kind))
		return -EINVAL;
	if (by_name &&
	    (a->group.key || (a->group.kind != VRAM_KIND_CGROUP && a->group.kind != VRAM_KIND_EXE)))
		return -EINVAL;
	if (!vram_is_arbiter(s) && !capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (by_name) {
		path = strndup_user(u64_to_user_ptr(a->name), GROUP_PATH_MAX);
		if (IS_ERR(path))
			return PTR_ERR(path);
	}
	mutex_lock(&vram.lock);
	if (a->flags & VRAM_GROUP_NEXT && !vram_group_get(&a->group))
		ret = -ESTALE;
	g = find(a, path);
	kfree(path);
	path = NULL;
	if (g) {
		describe(g, a);
		if (g->kind == LEDGER_CGROUP || g->kind == LEDGER_EXE) {
			a->name_bytes = strlen(group_priv(g)->path) + 1;
			path = kstrdup(group_priv(g)->path, GFP_KERNEL);
		}
		ret = a->name_bytes && !path ? -ENOMEM : 0;
	}
	mutex_unlock(&vram.lock);
	if (!ret && path && a->name_bytes <= a->name_size &&
	    copy_to_user(u64_to_user_ptr(a->name), path, a->name_bytes))
		ret = -EFAULT;
	kfree(path);
	if (ret)
		*a = in;
	return ret;
}

/* How many limits are set for a group, inherited ones not counted. */
static u32 n_set(const struct ledger_group *g)
{
	u32 dev, tier, n = 0;

	for (dev = 0; dev < vram_ledger()->n_devices; dev++)
		for (tier = 0; tier < LEDGER_N_TIERS; tier++) {
			const struct ledger_counter *c = &g->row[dev]->tier[tier];

			n += hweight8(c->set & ~c->inherited);
		}
	return n;
}

/* The group to limit, made if need be. */
static int limit_group(const struct vram_ioc_limit *a, const char *path, struct ledger_group **out)
{
	u64 now = vram_now();

	*out = path ? group_find_path(&vram.book, a->group.kind, path) : vram_group_get(&a->group);
	if (*out)
		return 0;
	/* A limit that is not there need not be cleared, nor one be handed down to nobody. */
	if (a->flags || a->group.kind == VRAM_KIND_SESSION)
		return -ENOENT;
	if (a->group.kind == VRAM_KIND_USER)
		return group_user(&vram.book, a->group.key, now, out);
	if (!path)
		return -ENOENT;
	return a->group.kind == VRAM_KIND_EXE ? group_exe(&vram.book, path, now, out) :
						group_cgroup(&vram.book, path, false, now, out);
}

static int limit_write(const struct vram_ioc_limit *a, struct ledger_group *g)
{
	struct ledger *l = vram_ledger();
	u32 had = n_set(g), has, bit = 1u << a->limit;
	struct ledger_counter *c;
	int ret;

	if (a->flags & VRAM_LIMIT_CLEAR)
		ret = ledger_limit_clear(l, g, a->dev, a->tier, a->limit);
	else
		ret = ledger_limit_set(l, g, a->dev, a->tier, a->limit, a->value);
	if (!ret) {
		c = &g->row[l->device[a->dev].home[a->tier]]->tier[a->tier];
		c->inherited = a->flags & VRAM_LIMIT_INHERITED ? c->inherited | bit :
								 c->inherited & ~bit;
		has = n_set(g);
		group_priv(g)->n_holds += !!has - !!had;
	}
	if (g->kind != LEDGER_SESSION)
		group_collect(&vram.book, g);
	return ret;
}

/* vram_limit() - VRAM_IOC_LIMIT. */
int vram_limit(struct vram_session *s, const struct vram_ioc_limit *a)
{
	struct ledger_group *g;
	char *path = NULL;
	u32 kind;
	u64 key;
	int ret;

	if (a->flags & ~(VRAM_LIMIT_CLEAR | VRAM_LIMIT_INHERITED) || a->flags == 3 || a->pad ||
	    !is_ref(&a->group) || a->group.kind == VRAM_KIND_ROOT || a->tier >= VRAM_N_TIERS ||
	    a->limit >= VRAM_N_LIMITS || !a->name != !a->name_bytes ||
	    (a->flags & VRAM_LIMIT_CLEAR && a->value))
		return -EINVAL;
	if (a->name &&
	    (a->group.key || (a->group.kind != VRAM_KIND_CGROUP && a->group.kind != VRAM_KIND_EXE)))
		return -EINVAL;
	if (a->group.kind == VRAM_KIND_USER && a->group.key >= (u32)-1)
		return -EINVAL;
	if (a->limit == VRAM_LIMIT_WEIGHT && !(a->flags & VRAM_LIMIT_CLEAR) &&
	    (a->value < LEDGER_WEIGHT_MIN || a->value > LEDGER_WEIGHT_MAX))
		return -ERANGE;
	if (a->value > S64_MAX && a->value != VRAM_UNLIMITED)
		return -EINVAL;
	if (!vram_is_arbiter(s) && !capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (a->name) {
		path = path_from_user(a->name, a->name_bytes);
		if (IS_ERR(path))
			return PTR_ERR(path);
	}
	mutex_lock(&vram.lock);
	ret = a->dev < vram_ledger()->n_devices ? limit_group(a, path, &g) : -ENOENT;
	if (!ret) {
		kind = g->kind;
		key = g->key;
		ret = limit_write(a, g);
		if (!ret)
			trace_vram_limit_change(kind, key, a->dev, a->tier, a->limit, a->value,
						a->flags);
		if (!ret && vram.arbiter != s)
			vram_event_limits();
	} else if (ret == -ENOENT && a->flags & VRAM_LIMIT_CLEAR &&
		   a->dev < vram_ledger()->n_devices && a->group.kind != VRAM_KIND_SESSION) {
		ret = 0;
	}
	mutex_unlock(&vram.lock);
	kfree(path);
	return ret;
}

/* vram_over() - VRAM_IOC_OVER. */
int vram_over(struct vram_session *s, struct vram_ioc_over *o)
{
	struct ledger_over *over;
	struct vram_over *out;
	int n, i, ret = 0;

	if (o->flags || o->tier >= VRAM_N_TIERS || o->n > VRAM_MAX_OVER)
		return -EINVAL;
	if (!vram_is_arbiter(s))
		return -EPERM;
	over = kvcalloc(o->n + 1, sizeof(*over), GFP_KERNEL);
	out = kvcalloc(o->n + 1, sizeof(*out), GFP_KERNEL);
	if (!over || !out) {
		n = -ENOMEM;
		goto out_free;
	}
	mutex_lock(&vram.lock);
	n = ledger_over(vram_ledger(), o->dev, o->tier, over, o->n);
	for (i = 0; i < n && i < o->n; i++) {
		out[i].group.kind = over[i].group->kind;
		out[i].group.key = over[i].group->key;
		out[i].over_high = over[i].over_high;
		out[i].over_max = over[i].over_max;
	}
	mutex_unlock(&vram.lock);
	if (n > 0 &&
	    copy_to_user(u64_to_user_ptr(o->array), out, min_t(u32, n, o->n) * sizeof(*out)))
		n = -EFAULT;
out_free:
	kvfree(over);
	kvfree(out);
	if (n < 0)
		ret = n;
	else
		o->n = n;
	return ret;
}
