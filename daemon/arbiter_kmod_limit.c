// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel module's limits.
 *
 * The module has one value for each limit of a group, and a bit that says whether it was set for that
 * very group. Which value that is, when something is set for all devices or for `default`, is worked out
 * here (daemon/limit_table.h) and written there: what is set for the group as set, what follows from
 * `default` as inherited. So the module's numbers stand for themselves, also when no daemon runs.
 *
 * What is set outlives the daemon: it is read back when a device is added. `default` does not; what
 * was inherited from it is taken back then. The same happens when somebody else
 * (CAP_SYS_ADMIN suffices) has changed limits.
 *
 * A user's group exists only while it has sessions or limits of its own; so what is inherited is
 * written when a session is adopted, before anything is charged to it.
 */
#include "daemon/arbiter_kmod.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables -------------------------------------------------------------------- */

static struct kmod_limits *limits_find(const struct kmod *k, uint32_t kind, uint64_t id,
				       const char *path)
{
	struct kmod_limits *l;

	list_for_each(l, &k->limits, node) {
		if (l->kind != kind)
			continue;
		if (l->path ? path && !strcmp(l->path, path) : l->id == id)
			return l;
	}
	return NULL;
}

static struct kmod_limits *limits_free(struct kmod_limits *l)
{
	list_del(&l->node);
	free(l->path);
	free(l);
	return NULL;
}

static int limits_get(struct kmod *k, uint32_t kind, uint64_t id, const char *path,
		      struct kmod_limits **out)
{
	struct kmod_limits *l = limits_find(k, kind, id, path);

	if (!l) {
		l = calloc(1, sizeof(*l));
		if (!l)
			return -ENOMEM;
		l->kind = kind;
		l->id = path ? 0 : id;
		if (path) {
			l->path = strdup(path);
			if (!l->path) {
				free(l);
				return -ENOMEM;
			}
		}
		list_add_tail(&l->node, &k->limits);
	}
	*out = l;
	return 0;
}

static void limits_drop_empty(struct kmod *k)
{
	struct kmod_limits *l, *tmp;

	list_for_each_safe(l, tmp, &k->limits, node)
		if (!l->table.n_set)
			limits_free(l);
}

void kmod_limits_deinit(struct kmod *k)
{
	struct kmod_limits *l, *tmp;

	list_for_each_safe(l, tmp, &k->limits, node)
		limits_free(l);
}

static const struct limit_table *defaults_for(const struct kmod *k, uint32_t kind)
{
	return kind == ARBITER_USER || kind == ARBITER_DEFAULT ? &k->defaults : NULL;
}

/* ---- writing into the module ---------------------------------------------------- */

/* Write what holds for the subject. own may be NULL. */
static int write_one(const struct kmod *k, uint32_t kind, uint64_t id, const char *path,
		     const struct limit_table *own, uint32_t dev, uint32_t tier, uint32_t key)
{
	struct vram_ioc_limit io = {
		.dev = k->device[dev].dev,
		.tier = tier,
		.limit = key,
		.group = { .kind = kind, .key = path ? 0 : id },
	};
	uint64_t value;
	int r;

	if (path) {
		io.name = (uintptr_t)path;
		io.name_bytes = (uint32_t)strlen(path) + 1;
	}
	if (!limit_table_find(own, defaults_for(k, kind), dev, tier, key, &value))
		io.flags = VRAM_LIMIT_CLEAR;
	else if (!(limit_table_mask(own, dev, tier) & 1u << key))
		io.flags = VRAM_LIMIT_INHERITED;
	if (!(io.flags & VRAM_LIMIT_CLEAR))
		io.value = value;
	r = kmod_ioctl(k, VRAM_IOC_LIMIT, &io);
	/* What is not there has no limits that could be taken back. */
	return r == -ENOENT && io.flags & VRAM_LIMIT_CLEAR ? 0 : r;
}

/* On every device that the row stands for. A tier that is another device's is written there. */
static int write_row(const struct kmod *k, uint32_t kind, uint64_t id, const char *path,
		     const struct limit_table *own, uint32_t row, uint32_t tier, uint32_t key)
{
	uint32_t dev;
	int r;

	for (dev = 0; dev < k->n_devices; dev++) {
		if ((row != LIMIT_ROW_ALL && row != dev) || k->device[dev].home[tier] != dev)
			continue;
		r = write_one(k, kind, id, path, own, dev, tier, key);
		if (r < 0)
			return r;
	}
	return 0;
}

void kmod_limits_forget(struct kmod *k, uint64_t session)
{
	struct kmod_limits *l = limits_find(k, ARBITER_SESSION, session, NULL);
	uint32_t tier, key;

	if (!l)
		return;
	l->table = (struct limit_table){ 0 };
	for (tier = 0; tier < ARBITER_N_TIERS; tier++)
		for (key = 0; key < ARBITER_N_KEYS; key++)
			write_row(k, ARBITER_SESSION, session, NULL, &l->table, LIMIT_ROW_ALL, tier,
				  key);
	limits_free(l);
}

/* `default` has changed: write what follows for every user. */
static int write_users(const struct kmod *k, uint32_t row, uint32_t tier, uint32_t key)
{
	struct arbiter_group *groups;
	const struct kmod_limits *l;
	int r, failed;
	size_t i, n;

	/* All of them first: writing a limit may be the end of a group. */
	failed = kmod_groups(k, &groups, &n);
	if (failed < 0)
		return failed;
	for (i = 0; i < n; i++) {
		if (groups[i].kind != ARBITER_USER)
			continue;
		l = limits_find(k, ARBITER_USER, groups[i].key, NULL);
		r = write_row(k, ARBITER_USER, groups[i].key, NULL, l ? &l->table : NULL, row, tier,
			      key);
		if (r < 0)
			failed = r;
	}
	free(groups);
	return failed;
}

int kmod_limits_user(struct kmod *k, uint64_t uid)
{
	const struct kmod_limits *l = limits_find(k, ARBITER_USER, uid, NULL);
	uint32_t dev, tier, key, missing;
	int r;

	for (dev = 0; dev < k->n_devices; dev++) {
		for (tier = 0; tier < ARBITER_N_TIERS; tier++) {
			missing = limit_table_mask(&k->defaults, dev, tier) &
				  ~limit_table_mask(l ? &l->table : NULL, dev, tier);
			for (key = 0; key < ARBITER_N_KEYS; key++) {
				if (!(missing & 1u << key) || k->device[dev].home[tier] != dev)
					continue;
				r = write_one(k, ARBITER_USER, uid, NULL, l ? &l->table : NULL, dev,
					      tier, key);
				if (r < 0)
					return r;
			}
		}
	}
	return 0;
}

/* ---- reading back ---------------------------------------------------------------- */

/* Note what is set for a group. path: room for its name. */
static int read_group(struct kmod *k, const struct arbiter_group *group, uint32_t dev,
		      char path[VRAM_NAME_MAX])
{
	struct vram_ioc_group io = { .group = kmod_ref(group),
				     .name = (uintptr_t)path,
				     .name_size = VRAM_NAME_MAX };
	struct arbiter_usage usage;
	struct kmod_limits *l;
	bool named = false;
	uint32_t tier, key;
	int r = 0;

	for (tier = 0; tier < ARBITER_N_TIERS && r == 0; tier++) {
		if (k->device[dev].home[tier] != dev)
			continue;
		r = kmod_usage(&k->base, group, dev, tier, &usage);
		if (r < 0 || !usage.limits.set)
			continue;
		if (!named)
			r = kmod_ioctl(k, VRAM_IOC_GROUP, &io);
		named = true;
		if (r == 0)
			r = limits_get(k, group->kind, group->key, io.name_bytes ? path : NULL, &l);
		for (key = 0; key < ARBITER_N_KEYS && r == 0; key++)
			if (usage.limits.set & 1u << key)
				limit_table_set(&l->table, dev, tier, key, usage.limits.value[key]);
	}
	/* It may have ended meanwhile. */
	return r == -ENOENT ? 0 : r;
}

static int read_device(struct kmod *k, uint32_t dev)
{
	struct arbiter_group *groups;
	char path[VRAM_NAME_MAX];
	size_t i, n;
	int r;

	r = kmod_groups(k, &groups, &n);
	if (r < 0)
		return r;
	for (i = 0; i < n && r == 0; i++)
		if (groups[i].kind != ARBITER_ROOT)
			r = read_group(k, &groups[i], dev, path);
	free(groups);
	return r;
}

static void sync_user(struct kmod *k, const struct arbiter_group *user, uint32_t dev, uint32_t tier)
{
	const struct kmod_limits *l = limits_find(k, ARBITER_USER, user->key, NULL);
	const struct limit_table *own = l ? &l->table : NULL;
	struct arbiter_usage usage;
	uint64_t value;
	uint32_t key;

	if (kmod_usage(&k->base, user, dev, tier, &usage) < 0)
		return;
	for (key = 0; key < ARBITER_N_KEYS; key++) {
		limit_table_find(own, &k->defaults, dev, tier, key, &value);
		if (usage.limits.value[key] != value)
			write_one(k, ARBITER_USER, user->key, NULL, own, dev, tier, key);
	}
}

/* What the users of a device inherit, as it has to be now; what earlier daemons had left goes. */
static int sync_users(struct kmod *k, uint32_t dev)
{
	struct arbiter_group *groups;
	uint32_t tier;
	size_t i, n;
	int r;

	r = kmod_groups(k, &groups, &n);
	if (r < 0)
		return r;
	for (i = 0; i < n; i++)
		for (tier = 0; tier < ARBITER_N_TIERS && groups[i].kind == ARBITER_USER; tier++)
			if (k->device[dev].home[tier] == dev)
				sync_user(k, &groups[i], dev, tier);
	free(groups);
	return 0;
}

int kmod_limits_device(struct kmod *k, uint32_t dev)
{
	struct kmod_limits *l;
	uint32_t tier, key;
	int r;

	r = read_device(k, dev);
	/* What is set for all devices holds on this one too, unless it has its own. */
	list_for_each(l, &k->limits, node)
		for (tier = 0; tier < ARBITER_N_TIERS && r == 0; tier++)
			for (key = 0; key < ARBITER_N_KEYS && r == 0; key++)
				if (l->table.set[LIMIT_ROW_ALL][tier] & 1u << key)
					r = write_row(k, l->kind, l->id, l->path, &l->table, dev,
						      tier, key);
	return r < 0 ? r : sync_users(k, dev);
}

/* Does the module have on every device what had been set for all of them? */
static bool is_still_for_all(const struct kmod *k, const struct limit_table *now, uint32_t tier,
			     uint32_t key, uint64_t value)
{
	uint32_t dev;

	for (dev = 0; dev < k->n_devices; dev++)
		if (k->device[dev].home[tier] == dev &&
		    (!(now->set[dev][tier] & 1u << key) || now->value[dev][tier][key] != value))
			return false;
	return k->n_devices > 0;
}

int kmod_limits_reload(struct kmod *k)
{
	struct kmod_limits *old, *now, *tmp;
	uint32_t dev, tier, key;
	struct list_node before;
	int r = 0, failed = 0;

	list_init(&before);
	list_for_each_safe(old, tmp, &k->limits, node)
		list_move_tail(&old->node, &before);
	for (dev = 0; dev < k->n_devices && r == 0; dev++)
		r = read_device(k, dev);
	failed = r;
	list_for_each_safe(old, tmp, &before, node) {
		now = limits_find(k, old->kind, old->id, old->path);
		for (tier = 0; tier < ARBITER_N_TIERS && now; tier++) {
			for (key = 0; key < ARBITER_N_KEYS; key++) {
				uint64_t value = old->table.value[LIMIT_ROW_ALL][tier][key];

				if (old->table.set[LIMIT_ROW_ALL][tier] & 1u << key &&
				    is_still_for_all(k, &now->table, tier, key, value))
					limit_table_set(&now->table, LIMIT_ROW_ALL, tier, key,
							value);
			}
		}
		limits_free(old);
	}
	for (dev = 0; dev < k->n_devices; dev++) {
		r = sync_users(k, dev);
		if (r < 0)
			failed = r;
	}
	return failed;
}

/* ---- the arbiter's calls ---------------------------------------------------------- */

static int check_subject(const struct arbiter_subject *s)
{
	switch (s->kind) {
	case ARBITER_USER:
		return s->id < UINT32_MAX ? 0 : -EINVAL;
	case ARBITER_CGROUP:
	case ARBITER_EXE:
		return s->path ? 0 : -EINVAL;
	case ARBITER_SESSION:
	case ARBITER_DEFAULT:
		return 0;
	default:
		return -EINVAL;
	}
}

static const char *path_of(const struct arbiter_subject *s)
{
	return s->kind == ARBITER_CGROUP || s->kind == ARBITER_EXE ? s->path : NULL;
}

/*
 * The row of a limit table. A tier that is one with device 0's is written as device 0's: there is one
 * limit, whichever of the two names it.
 */
static uint32_t limit_row(const struct kmod *k, uint32_t dev, uint32_t tier)
{
	return dev == ARBITER_ALL_DEVICES ? LIMIT_ROW_ALL : k->device[dev].home[tier];
}

int kmod_limit_set(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev, uint32_t tier,
		   uint32_t key, uint64_t value)
{
	struct kmod *k = kmod_of(a);
	struct limit_table before;
	struct kmod_limits *l;
	uint32_t row;
	int r;

	r = limit_check(k->n_devices, dev, tier, key, value);
	if (r == 0)
		r = check_subject(s);
	if (r < 0)
		return r;
	row = limit_row(k, dev, tier);
	if (s->kind == ARBITER_DEFAULT) {
		limit_table_set(&k->defaults, row, tier, key, value);
		return write_users(k, row, tier, key);
	}
	r = limits_get(k, s->kind, s->id, path_of(s), &l);
	if (r < 0)
		return r;
	before = l->table;
	limit_table_set(&l->table, row, tier, key, value);
	r = write_row(k, l->kind, l->id, l->path, &l->table, row, tier, key);
	if (r < 0) {
		l->table = before;
		write_row(k, l->kind, l->id, l->path, &l->table, row, tier, key);
		limits_drop_empty(k);
	}
	return r;
}

int kmod_limit_clear(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev,
		     uint32_t tier, uint32_t key)
{
	struct kmod *k = kmod_of(a);
	struct arbiter_group group;
	struct kmod_limits *l;
	uint32_t row;
	int r;

	r = limit_check(k->n_devices, dev, tier, key, limit_none(key));
	if (r == 0 && s->kind == ARBITER_ROOT)
		r = -EINVAL;
	if (r == 0 && s->kind == ARBITER_SESSION)
		r = kmod_find(a, s, &group);
	if (r < 0)
		return r;
	row = limit_row(k, dev, tier);
	if (s->kind == ARBITER_DEFAULT) {
		limit_table_clear(&k->defaults, row, tier, key);
		return write_users(k, row, tier, key);
	}
	l = limits_find(k, s->kind, s->id, path_of(s));
	if (!l)
		return 0;
	limit_table_clear(&l->table, row, tier, key);
	r = write_row(k, l->kind, l->id, l->path, &l->table, row, tier, key);
	limits_drop_empty(k);
	return r;
}

int kmod_limit_get(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev, uint32_t tier,
		   struct arbiter_limits *out_limits)
{
	const struct arbiter_group root = { .kind = ARBITER_ROOT };
	const struct limit_table *own = NULL;
	struct arbiter_limits lim = { 0 };
	struct kmod *k = kmod_of(a);
	const struct kmod_limits *l;
	struct arbiter_group group;
	struct arbiter_usage usage;
	uint32_t row;
	int r;

	r = limit_check(k->n_devices, dev, tier, 0, 0);
	if (r == 0 && s->kind == ARBITER_SESSION && !kmod_session_find(k, s->id))
		r = kmod_find(a, s, &group);
	if (r < 0)
		return r;
	row = limit_row(k, dev, tier);
	if (s->kind == ARBITER_DEFAULT) {
		own = &k->defaults;
	} else {
		l = limits_find(k, s->kind, s->id, path_of(s));
		own = l ? &l->table : NULL;
	}
	limit_table_read(own, defaults_for(k, s->kind), row, tier, &lim);
	if (s->kind == ARBITER_ROOT && row != LIMIT_ROW_ALL) {
		r = kmod_usage(a, &root, row, tier, &usage);
		if (r < 0)
			return r;
		lim.value[ARBITER_MAX] = usage.limits.value[ARBITER_MAX];
	}
	*out_limits = lim;
	return 0;
}
