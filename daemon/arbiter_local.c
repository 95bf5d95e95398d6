// SPDX-License-Identifier: GPL-2.0-only
/*
 * The arbiter in this process: kmod/ledger.c and kmod/pressure.c linked in.
 *
 * The ledger knows groups by kind and number. This file gives them names, hangs
 * a pressure meter on each, keeps which limits were set for whom, and makes and
 * frees groups: a user, cgroup or executable has a group as long as a session
 * is below it, a limit is set for it or a trigger watches it.
 *
 * Limits are looked up from the most specific to the most general: set for the
 * group on this device, set for the group on all devices, for a user the same
 * two of `default`, then no limit. What comes out is written into the ledger
 * whenever any of these changes; the ledger itself knows no inheritance.
 *
 * Pressure: a session is one unit in the meter of each device it uses (stalled,
 * running or idle there) and one unit in its own meter and in that of each
 * group above it (stalled if it is on any device, else running if it is on any).
 *
 * Locking: one thread. Ownership: the arbiter owns the ledger, everything on
 * `priv` of its groups, and the triggers.
 */
#include "daemon/arbiter.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmod/ledger.h"
#include "kmod/pressure.h"

_Static_assert(ARBITER_MAX_DEVICES == LEDGER_MAX_DEVICES, "same numbers on both sides");
_Static_assert((int)ARBITER_N_TIERS == (int)LEDGER_N_TIERS, "same tiers");
_Static_assert((int)ARBITER_N_KEYS == (int)LEDGER_N_KEYS, "same keys");
_Static_assert((int)ARBITER_SESSION == (int)LEDGER_SESSION, "same kinds");
_Static_assert(ARBITER_UNLIMITED == LEDGER_UNLIMITED, "same idea of no limit");
_Static_assert(ARBITER_CAPACITY_SHARED == LEDGER_SHARED, "same mark of a shared tier");
_Static_assert(ARBITER_PRESSURE_TEXT_MAX == PRESSURE_TEXT_MAX, "same text");

#define N_BUCKETS    1024
#define MAX_TRIGGERS 256
#define MAX_OVER     256
/* The row of limits set for all devices. */
#define ALL	       LEDGER_MAX_DEVICES
#define COMM_MAX       16
#define PATH_BYTES_MAX 4095

/* What was set, by device; kept only for those for whom anything was. */
struct limit_table {
	uint32_t n_set;
	uint8_t set[LEDGER_MAX_DEVICES + 1][LEDGER_N_TIERS];
	uint64_t value[LEDGER_MAX_DEVICES + 1][LEDGER_N_TIERS][LEDGER_N_KEYS];
};

/* On `priv` of every ledger group. */
struct local_group {
	struct pressure pressure;
	struct limit_table *limits;
	char *path;			/* CGROUP, EXE */
	struct ledger_group *hash_next; /* of those with a path */
	uint32_t n_triggers;
};

struct local_session {
	struct local_group group; /* the first: `priv` points to either */
	pid_t pid;
	uid_t uid;
	char comm[COMM_MAX];
	uint32_t stalls[LEDGER_MAX_DEVICES]; /* requests waiting, by device */
	uint32_t running;		     /* bit per device: running or stalled there */
	uint32_t stalled;		     /* bit per device: stalls is not 0 */
};

struct local_trigger {
	struct pressure_trigger trigger;
	struct pressure *pressure;
	struct ledger_group *group; /* NULL: a device's */
};

struct local {
	struct arbiter base;
	struct ledger *ledger;
	struct local_group root;
	struct limit_table defaults;
	uint64_t last_path_key;
	struct pressure device_pressure[LEDGER_MAX_DEVICES];
	struct local_trigger *trigger[MAX_TRIGGERS];
	struct ledger_group *bucket[N_BUCKETS];
};

enum unit_state {
	UNIT_IDLE,
	UNIT_RUNNING,
	UNIT_STALLED
};

static struct local *local_of(struct arbiter *a)
{
	return (struct local *)a;
}

static struct local_group *priv_of(const struct ledger_group *g)
{
	return g->priv;
}

static struct ledger_group *session_of(struct arbiter *a, uint64_t id)
{
	return ledger_find(local_of(a)->ledger, LEDGER_SESSION, id);
}

static struct ledger_group *group_of(struct arbiter *a, const struct arbiter_group *ref)
{
	struct local *l = local_of(a);

	return ref->kind == ARBITER_ROOT ? &l->ledger->root :
					   ledger_find(l->ledger, ref->kind, ref->key);
}

static struct arbiter_group ref_of(const struct ledger_group *g)
{
	return (struct arbiter_group){ .kind = g->kind, .key = g->key };
}

/* ---- groups and their names -------------------------------------------------- */

static uint32_t bucket_of(uint32_t kind, const char *path, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u ^ kind;
	size_t i;

	for (i = 0; i < len; i++)
		h = (h ^ (unsigned char)path[i]) * 0x100000001b3u;
	return (uint32_t)((h ^ (h >> 32)) % N_BUCKETS);
}

static struct ledger_group *find_path(struct local *l, uint32_t kind, const char *path, size_t len)
{
	struct ledger_group *g;

	for (g = l->bucket[bucket_of(kind, path, len)]; g; g = priv_of(g)->hash_next)
		if (g->kind == kind && !strncmp(priv_of(g)->path, path, len) &&
		    !priv_of(g)->path[len])
			return g;
	return NULL;
}

static void unhash_path(struct local *l, struct ledger_group *g)
{
	const char *path = priv_of(g)->path;
	struct ledger_group **at = &l->bucket[bucket_of(g->kind, path, strlen(path))];

	while (*at != g)
		at = &priv_of(*at)->hash_next;
	*at = priv_of(g)->hash_next;
}

/* The value that holds for @group (NULL: one with nothing set). Return: is there one? */
static bool limit_lookup(const struct local *l, const struct limit_table *own, uint32_t kind,
			 uint32_t dev, uint32_t tier, uint32_t key, uint64_t *out_value)
{
	const struct limit_table *tables[2] = {
		own,
		kind == LEDGER_USER || kind == ARBITER_DEFAULT ? &l->defaults : NULL,
	};
	const uint32_t rows[2] = { dev, ALL };
	unsigned int t, r;

	for (t = 0; t < 2; t++) {
		for (r = 0; r < 2 && tables[t]; r++) {
			if (tables[t]->set[rows[r]][tier] & (1u << key)) {
				*out_value = tables[t]->value[rows[r]][tier][key];
				return true;
			}
		}
	}
	return false;
}

static void limit_apply(struct local *l, struct ledger_group *g, uint32_t dev, uint32_t tier,
			uint32_t key)
{
	uint64_t value;

	if (limit_lookup(l, priv_of(g)->limits, g->kind, dev, tier, key, &value))
		ledger_limit_set(l->ledger, g, dev, tier, key, value);
	else
		ledger_limit_clear(l->ledger, g, dev, tier, key);
}

static void limits_apply_device(struct local *l, struct ledger_group *g, uint32_t dev)
{
	uint32_t tier, key;

	for (tier = 0; tier < LEDGER_N_TIERS; tier++) {
		/* A tier that is device 0's has device 0's limits. */
		if (l->ledger->device[dev].home[tier] != dev)
			continue;
		for (key = 0; key < LEDGER_N_KEYS; key++)
			limit_apply(l, g, dev, tier, key);
	}
}

/* A group of the ledger with all that belongs to it here; path NULL: none. */
static int group_make(struct local *l, uint32_t kind, uint64_t key, struct ledger_group *parent,
		      const char *path, size_t len, uint64_t now_ns, struct ledger_group **out)
{
	struct local_group *priv = calloc(1, sizeof(*priv));
	struct ledger_group *g;
	uint32_t dev;
	int r = -ENOMEM;

	if (!priv)
		return -ENOMEM;
	if (path) {
		priv->path = strndup(path, len);
		if (!priv->path)
			goto err_priv;
	}
	r = ledger_group_new(l->ledger, kind, key, parent, &g);
	if (r)
		goto err_priv;
	pressure_init(&priv->pressure, now_ns);
	g->priv = priv;
	if (path) {
		struct ledger_group **bucket = &l->bucket[bucket_of(kind, path, len)];

		priv->hash_next = *bucket;
		*bucket = g;
	}
	for (dev = 0; dev < l->ledger->n_devices; dev++)
		limits_apply_device(l, g, dev);
	*out = g;
	return 0;

err_priv:
	free(priv->path);
	free(priv);
	return r;
}

/* Free a group that nothing needs, and the groups above it that it was the reason for. */
static void group_collect(struct local *l, struct ledger_group *g)
{
	while (g && g->kind != LEDGER_ROOT && !g->n_children && !priv_of(g)->limits &&
	       !priv_of(g)->n_triggers) {
		struct ledger_group *parent = g->parent[LEDGER_CHAIN(g->kind)];
		struct local_group *priv = priv_of(g);

		if (priv->path)
			unhash_path(l, g);
		ledger_group_free(l->ledger, g);
		free(priv->path);
		free(priv);
		g = parent;
	}
}

static int user_group(struct local *l, uint64_t uid, uint64_t now_ns, struct ledger_group **out)
{
	*out = ledger_find(l->ledger, LEDGER_USER, uid);
	return *out ? 0 : group_make(l, LEDGER_USER, uid, NULL, NULL, 0, now_ns, out);
}

/* One spelling for each path: absolute, no empty component, no slash at the end. */
static bool is_path(const char *path)
{
	size_t len = strlen(path);

	return path[0] == '/' && len > 1 && len <= PATH_BYTES_MAX && path[len - 1] != '/' &&
	       !strstr(path, "//");
}

static int exe_group(struct local *l, const char *path, uint64_t now_ns, struct ledger_group **out)
{
	size_t len = strlen(path);
	int r;

	if (!is_path(path))
		return -EINVAL;
	*out = find_path(l, LEDGER_EXE, path, len);
	if (*out)
		return 0;
	r = group_make(l, LEDGER_EXE, l->last_path_key + 1, NULL, path, len, now_ns, out);
	if (!r)
		l->last_path_key++;
	return r;
}

/*
 * The group of a cgroup, with those of its ancestors. @fold: where the path is
 * deeper than the ledger goes, the deepest ancestor that fits will do.
 */
static int cgroup_group(struct local *l, const char *path, bool fold, uint64_t now_ns,
			struct ledger_group **out)
{
	struct ledger_group *g = NULL;
	const char *end = path;
	int r = 0;

	if (!is_path(path))
		return -EINVAL;
	while (*end) {
		struct ledger_group *parent = g;
		size_t len;

		end = end + 1 + strcspn(end + 1, "/");
		len = (size_t)(end - path);
		g = find_path(l, LEDGER_CGROUP, path, len);
		if (g)
			continue;
		r = group_make(l, LEDGER_CGROUP, l->last_path_key + 1, parent, path, len, now_ns,
			       &g);
		if (r) {
			g = parent;
			break;
		}
		l->last_path_key++;
	}
	if (r == -E2BIG && fold)
		r = 0;
	if (r)
		group_collect(l, g);
	else
		*out = g;
	return r;
}

static int local_find(struct arbiter *a, const struct arbiter_subject *s,
		      struct arbiter_group *out_group)
{
	struct local *l = local_of(a);
	struct ledger_group *g = NULL;

	switch (s->kind) {
	case ARBITER_ROOT:
		g = &l->ledger->root;
		break;
	case ARBITER_USER:
	case ARBITER_SESSION:
		g = ledger_find(l->ledger, s->kind, s->id);
		break;
	case ARBITER_CGROUP:
	case ARBITER_EXE:
		if (s->path)
			g = find_path(l, s->kind, s->path, strlen(s->path));
		break;
	default:
		return -EINVAL;
	}
	if (!g)
		return -ENOENT;
	*out_group = ref_of(g);
	return 0;
}

static int name_of(const struct ledger_group *g, char *buf, size_t size)
{
	int n;

	switch (g->kind) {
	case LEDGER_USER:
		n = snprintf(buf, size, "user:%" PRIu64, g->key);
		break;
	case LEDGER_SESSION:
		n = snprintf(buf, size, "session:%" PRIu64, g->key);
		break;
	case LEDGER_CGROUP:
	case LEDGER_EXE:
		n = snprintf(buf, size, "%s:%s", g->kind == LEDGER_EXE ? "exe" : "cgroup",
			     priv_of(g)->path);
		break;
	default:
		n = snprintf(buf, size, "root");
		break;
	}
	return n < 0 || (size_t)n >= size ? -EOVERFLOW : 0;
}

static int local_group_name(struct arbiter *a, const struct arbiter_group *group, char *buf,
			    size_t size)
{
	const struct ledger_group *g = group_of(a, group);

	return g ? name_of(g, buf, size) : -ENOENT;
}

static int local_for_each(struct arbiter *a, arbiter_group_fn fn, void *ctx)
{
	struct local *l = local_of(a);
	char name[PATH_BYTES_MAX + sizeof("cgroup:")];
	const struct ledger_group *g, *parent;
	int r = 0;

	for (g = ledger_next(l->ledger, NULL); g && !r; g = ledger_next(l->ledger, g)) {
		struct arbiter_group_info info = { .group = ref_of(g), .name = name, .comm = "" };

		name_of(g, name, sizeof(name));
		info.n_sessions = g->n_sessions;
		parent = NULL;
		if (g->kind == LEDGER_SESSION) {
			const struct local_session *s = g->priv;

			parent = g->parent[LEDGER_CHAIN(LEDGER_USER)];
			info.pid = s->pid;
			info.uid = s->uid;
			info.comm = s->comm;
		} else if (g->kind != LEDGER_ROOT) {
			parent = g->parent[LEDGER_CHAIN(g->kind)];
			info.uid = g->kind == LEDGER_USER ? (uid_t)g->key : 0;
		}
		info.parent = ref_of(parent ? parent : &l->ledger->root);
		r = fn(ctx, &info);
	}
	return r;
}

/* ---- sessions and devices ---------------------------------------------------- */

static int local_device_add(struct arbiter *a, const uint64_t capacity[ARBITER_N_TIERS],
			    uint64_t now_ns, uint32_t *out_dev)
{
	struct local *l = local_of(a);
	struct ledger_group *g;
	uint32_t dev;
	int r;

	r = ledger_device_add(l->ledger, capacity, &dev);
	if (r)
		return r;
	pressure_init(&l->device_pressure[dev], now_ns);
	for (g = l->ledger->root.next; g; g = g->next)
		limits_apply_device(l, g, dev);
	*out_dev = dev;
	return 0;
}

static int local_device_resize(struct arbiter *a, uint32_t dev, uint32_t tier, uint64_t capacity)
{
	return ledger_device_resize(local_of(a)->ledger, dev, tier, capacity);
}

static int local_session_open(struct arbiter *a, const struct arbiter_peer *peer, uint64_t now_ns,
			      uint64_t *out_session)
{
	struct ledger_group *chain[LEDGER_N_CHAINS] = { NULL }, *g;
	struct local *l = local_of(a);
	struct local_session *s = calloc(1, sizeof(*s));
	uint32_t c;
	int r;

	if (!s)
		return -ENOMEM;
	r = user_group(l, peer->uid, now_ns, &chain[LEDGER_CHAIN(LEDGER_USER)]);
	if (!r && peer->cgroup && strcmp(peer->cgroup, "/"))
		r = cgroup_group(l, peer->cgroup, true, now_ns,
				 &chain[LEDGER_CHAIN(LEDGER_CGROUP)]);
	if (!r && peer->exe)
		r = exe_group(l, peer->exe, now_ns, &chain[LEDGER_CHAIN(LEDGER_EXE)]);
	if (!r)
		r = ledger_session_new(l->ledger, chain, &g);
	if (r) {
		for (c = 0; c < LEDGER_N_CHAINS; c++)
			group_collect(l, chain[c]);
		free(s);
		return r;
	}
	g->priv = s;
	pressure_init(&s->group.pressure, now_ns);
	s->pid = peer->pid;
	s->uid = peer->uid;
	if (peer->comm)
		memccpy(s->comm, peer->comm, '\0', sizeof(s->comm) - 1);
	*out_session = g->key;
	return 0;
}

static void session_set_state(struct local *l, struct ledger_group *g, uint32_t dev,
			      uint32_t stalls, bool running, uint64_t now_ns);
static void trigger_free(struct local *l, uint32_t id);

static int local_session_close(struct arbiter *a, uint64_t session, uint64_t now_ns)
{
	struct ledger_group *g = session_of(a, session), *chain[LEDGER_N_CHAINS];
	struct local *l = local_of(a);
	struct local_session *s;
	uint32_t dev, c, i;

	if (!g)
		return -ENOENT;
	for (dev = 0; dev < l->ledger->n_devices; dev++)
		session_set_state(l, g, dev, 0, false, now_ns);
	for (i = 0; i < MAX_TRIGGERS; i++)
		if (l->trigger[i] && l->trigger[i]->group == g)
			trigger_free(l, i);
	memcpy(chain, g->parent, sizeof(chain));
	s = g->priv;
	ledger_session_free(l->ledger, g);
	free(s->group.limits);
	free(s);
	for (c = 0; c < LEDGER_N_CHAINS; c++)
		group_collect(l, chain[c]);
	return 0;
}

static int local_is_member(struct arbiter *a, uint64_t session, const struct arbiter_group *group)
{
	const struct ledger_group *s = session_of(a, session), *g = group_of(a, group);

	if (!s || !g)
		return -ENOENT;
	return ledger_is_below(local_of(a)->ledger, s, g);
}

/* ---- charges ----------------------------------------------------------------- */

/* Name the group that refused. Return: @r. */
static int answer(int r, struct ledger_group *const *limit, struct arbiter_group *out_limit)
{
	if ((r == -EDQUOT || r == -ENOSPC) && out_limit)
		*out_limit = ref_of(*limit);
	return r;
}

static int local_charge(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier,
			uint64_t bytes, struct arbiter_group *out_limit)
{
	struct ledger_group *g = session_of(a, session), *limit;

	if (!g)
		return -ENOENT;
	return answer(ledger_try_charge(local_of(a)->ledger, g, dev, tier, bytes, &limit), &limit,
		      out_limit);
}

static int local_uncharge(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier,
			  uint64_t bytes)
{
	struct ledger_group *g = session_of(a, session);

	return g ? ledger_uncharge(local_of(a)->ledger, g, dev, tier, bytes) : -ENOENT;
}

static int local_transfer(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t from,
			  uint32_t to, uint64_t bytes, struct arbiter_group *out_limit)
{
	struct ledger_group *g = session_of(a, session), *limit;

	if (!g)
		return -ENOENT;
	return answer(ledger_transfer(local_of(a)->ledger, g, dev, from, to, bytes, &limit), &limit,
		      out_limit);
}

static int local_give(struct arbiter *a, uint64_t from_session, uint64_t to_session, uint32_t dev,
		      uint32_t tier, uint64_t bytes, struct arbiter_group *out_limit)
{
	struct ledger_group *from = session_of(a, from_session), *to = session_of(a, to_session);
	struct ledger_group *limit;

	if (!from || !to)
		return -ENOENT;
	return answer(ledger_give(local_of(a)->ledger, from, to, dev, tier, bytes, &limit), &limit,
		      out_limit);
}

static int local_share_new(struct arbiter *a, uint32_t dev, uint32_t *out_share)
{
	return ledger_share_new(local_of(a)->ledger, dev, out_share);
}

static int local_share_free(struct arbiter *a, uint32_t share)
{
	return ledger_share_free(local_of(a)->ledger, share);
}

static int local_share_join(struct arbiter *a, uint32_t share, uint64_t session, bool force,
			    struct arbiter_group *out_limit)
{
	struct ledger_group *g = session_of(a, session), *limit;

	if (!g)
		return -ENOENT;
	return answer(ledger_share_join(local_of(a)->ledger, share, g, force, &limit), &limit,
		      out_limit);
}

static int local_share_leave(struct arbiter *a, uint32_t share, uint64_t session)
{
	struct ledger_group *g = session_of(a, session);

	return g ? ledger_share_leave(local_of(a)->ledger, share, g) : -ENOENT;
}

static int local_share_charge(struct arbiter *a, uint32_t share, uint32_t tier, uint64_t bytes,
			      struct arbiter_group *out_limit)
{
	struct ledger_group *limit;

	return answer(ledger_share_charge(local_of(a)->ledger, share, tier, bytes, &limit), &limit,
		      out_limit);
}

static int local_share_uncharge(struct arbiter *a, uint32_t share, uint32_t tier, uint64_t bytes)
{
	return ledger_share_uncharge(local_of(a)->ledger, share, tier, bytes);
}

static int local_share_transfer(struct arbiter *a, uint32_t share, uint32_t from, uint32_t to,
				uint64_t bytes, struct arbiter_group *out_limit)
{
	struct ledger_group *limit;

	return answer(ledger_share_transfer(local_of(a)->ledger, share, from, to, bytes, &limit),
		      &limit, out_limit);
}

static int local_share_read(struct arbiter *a, uint32_t share, struct arbiter_share_info *out_info)
{
	const struct ledger_share *s = ledger_share_get(local_of(a)->ledger, share);

	if (!s)
		return -ENOENT;
	out_info->dev = s->dev;
	out_info->n_members = s->n_members;
	memcpy(out_info->bytes, s->bytes, sizeof(out_info->bytes));
	return 0;
}

/* ---- limits ------------------------------------------------------------------ */

static int check_limit(struct local *l, uint32_t dev, uint32_t tier, uint32_t key)
{
	if (tier >= LEDGER_N_TIERS || key >= LEDGER_N_KEYS)
		return -EINVAL;
	return dev == ARBITER_ALL_DEVICES || dev < l->ledger->n_devices ? 0 : -ENOENT;
}

/* Write what holds now into the ledger: for one group, or after `default` changed for all users. */
static void limits_changed(struct local *l, struct ledger_group *only, uint32_t dev, uint32_t tier,
			   uint32_t key)
{
	struct ledger_group *g;
	uint32_t d;

	for (g = only ? only : l->ledger->root.next; g; g = only ? NULL : g->next) {
		if (!only && g->kind != LEDGER_USER)
			continue;
		for (d = 0; d < l->ledger->n_devices; d++)
			if ((dev == ALL || d == dev) &&
			    (l->ledger->device[d].home[tier] == d || dev == d))
				limit_apply(l, g, d, tier, key);
	}
}

static void table_clear(struct limit_table *t, uint32_t row, uint32_t tier, uint32_t key)
{
	if (!(t->set[row][tier] & (1u << key)))
		return;
	t->set[row][tier] &= (uint8_t) ~(1u << key);
	t->n_set--;
}

/* One row, or with ALL every one of them. */
static void table_clear_rows(struct limit_table *t, uint32_t row, uint32_t tier, uint32_t key)
{
	uint32_t d;

	for (d = 0; d <= ALL; d++)
		if (row == ALL || d == row)
			table_clear(t, d, tier, key);
}

static void table_set(struct limit_table *t, uint32_t row, uint32_t tier, uint32_t key,
		      uint64_t value)
{
	table_clear_rows(t, row, tier, key);
	t->set[row][tier] |= (uint8_t)(1u << key);
	t->value[row][tier][key] = value;
	t->n_set++;
}

/* The group that a subject's limits hang on, made if need be. */
static int limit_group(struct local *l, const struct arbiter_subject *s, struct ledger_group **out)
{
	/* No meter begins before the latest time that any of them has seen. */
	uint64_t now_ns = l->root.pressure.now_ns;

	switch (s->kind) {
	case ARBITER_USER:
		return s->id < UINT32_MAX ? user_group(l, s->id, now_ns, out) : -EINVAL;
	case ARBITER_CGROUP:
		return s->path ? cgroup_group(l, s->path, false, now_ns, out) : -EINVAL;
	case ARBITER_EXE:
		return s->path ? exe_group(l, s->path, now_ns, out) : -EINVAL;
	case ARBITER_SESSION:
		*out = ledger_find(l->ledger, LEDGER_SESSION, s->id);
		return *out ? 0 : -ENOENT;
	default:
		return -EINVAL;
	}
}

/*
 * A tier that is one with device 0's is written as device 0's: there is one limit,
 * whichever of the two names it.
 */
static uint32_t row_of(const struct local *l, uint32_t dev, uint32_t tier)
{
	return dev == ARBITER_ALL_DEVICES ? ALL : l->ledger->device[dev].home[tier];
}

static int local_limit_set(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev,
			   uint32_t tier, uint32_t key, uint64_t value)
{
	struct local *l = local_of(a);
	struct ledger_group *g;
	uint32_t row;
	int r;

	r = check_limit(l, dev, tier, key);
	if (r)
		return r;
	if (key == ARBITER_WEIGHT && (value < ARBITER_WEIGHT_MIN || value > ARBITER_WEIGHT_MAX))
		return -ERANGE;
	row = row_of(l, dev, tier);
	if (s->kind == ARBITER_DEFAULT) {
		table_set(&l->defaults, row, tier, key, value);
		limits_changed(l, NULL, row, tier, key);
		return 0;
	}
	r = limit_group(l, s, &g);
	if (r)
		return r;
	if (!priv_of(g)->limits) {
		priv_of(g)->limits = calloc(1, sizeof(*priv_of(g)->limits));
		if (!priv_of(g)->limits) {
			if (g->kind != LEDGER_SESSION)
				group_collect(l, g);
			return -ENOMEM;
		}
	}
	table_set(priv_of(g)->limits, row, tier, key, value);
	limits_changed(l, g, row, tier, key);
	return 0;
}

static int local_limit_clear(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev,
			     uint32_t tier, uint32_t key)
{
	struct local *l = local_of(a);
	struct arbiter_group ref;
	struct ledger_group *g;
	uint32_t row;
	int r;

	r = check_limit(l, dev, tier, key);
	if (r)
		return r;
	row = row_of(l, dev, tier);
	if (s->kind == ARBITER_DEFAULT) {
		table_clear_rows(&l->defaults, row, tier, key);
		limits_changed(l, NULL, row, tier, key);
		return 0;
	}
	if (s->kind == ARBITER_ROOT)
		return -EINVAL;
	r = local_find(a, s, &ref);
	if (r)
		return r == -ENOENT && s->kind != ARBITER_SESSION ? 0 : r;
	g = group_of(a, &ref);
	if (!priv_of(g)->limits)
		return 0;
	table_clear_rows(priv_of(g)->limits, row, tier, key);
	limits_changed(l, g, row, tier, key);
	if (!priv_of(g)->limits->n_set) {
		free(priv_of(g)->limits);
		priv_of(g)->limits = NULL;
		if (g->kind != LEDGER_SESSION)
			group_collect(l, g);
	}
	return 0;
}

static uint64_t limit_default(uint32_t key)
{
	if (key == ARBITER_WEIGHT)
		return ARBITER_WEIGHT_DEFAULT;
	return key == ARBITER_HIGH || key == ARBITER_MAX ? ARBITER_UNLIMITED : 0;
}

static int local_limit_get(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev,
			   uint32_t tier, struct arbiter_limits *out_limits)
{
	const struct limit_table *own = NULL;
	struct arbiter_limits lim = { 0 };
	struct local *l = local_of(a);
	struct arbiter_group ref;
	uint32_t key, row;
	int r;

	r = check_limit(l, dev, tier, 0);
	if (r)
		return r;
	row = row_of(l, dev, tier);
	if (s->kind == ARBITER_DEFAULT) {
		own = &l->defaults;
	} else {
		r = local_find(a, s, &ref);
		if (r && (r != -ENOENT || s->kind == ARBITER_SESSION))
			return r;
		if (!r)
			own = priv_of(group_of(a, &ref))->limits;
	}
	for (key = 0; key < LEDGER_N_KEYS; key++)
		if (!limit_lookup(l, own, s->kind, row, tier, key, &lim.value[key]))
			lim.value[key] = limit_default(key);
	if (s->kind == ARBITER_ROOT && row != ALL)
		lim.value[ARBITER_MAX] = l->ledger->root.row[row]->tier[tier].limit[LEDGER_MAX];
	if (own)
		lim.set = own->set[row][tier] | own->set[ALL][tier];
	*out_limits = lim;
	return 0;
}

/* ---- looking ----------------------------------------------------------------- */

static int local_usage(struct arbiter *a, const struct arbiter_group *group, uint32_t dev,
		       uint32_t tier, struct arbiter_usage *out)
{
	const struct ledger_group *g = group_of(a, group);
	const struct limit_table *own;
	struct ledger_usage u;
	uint32_t row;
	int r;

	if (!g)
		return -ENOENT;
	r = ledger_read(local_of(a)->ledger, g, dev, tier, &u);
	if (r)
		return r;
	own = priv_of(g)->limits;
	row = row_of(local_of(a), dev, tier);
	*out = (struct arbiter_usage){
		.usage = u.usage,
		.own = u.own,
		.peak = u.peak,
		.refused = u.refused,
		.emin = u.emin,
		.elow = u.elow,
		.over_high = u.over_high,
		.over_max = u.over_max,
		.limits.set = own ? own->set[row][tier] | own->set[ALL][tier] : 0,
	};
	memcpy(out->limits.value, u.limit, sizeof(u.limit));
	return 0;
}

static int local_over(struct arbiter *a, uint32_t dev, uint32_t tier, struct arbiter_over *out,
		      unsigned int n_out)
{
	struct ledger_over over[MAX_OVER];
	unsigned int i;
	int n;

	n_out = n_out < MAX_OVER ? n_out : MAX_OVER;
	n = ledger_over(local_of(a)->ledger, dev, tier, over, n_out);
	for (i = 0; n > 0 && i < n_out && i < (unsigned int)n; i++)
		out[i] = (struct arbiter_over){
			.group = ref_of(over[i].group),
			.over_high = over[i].over_high,
			.over_max = over[i].over_max,
		};
	return n;
}

static int local_protection(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier,
			    uint64_t *out_emin, uint64_t *out_elow)
{
	const struct ledger_group *g = session_of(a, session);

	return g ? ledger_protection(local_of(a)->ledger, g, dev, tier, out_emin, out_elow) :
		   -ENOENT;
}

/* ---- pressure ---------------------------------------------------------------- */

static void unit_move(struct pressure *p, enum unit_state from, enum unit_state to, uint64_t now_ns)
{
	if (from == to)
		return;
	if (from == UNIT_IDLE)
		pressure_run(p, now_ns);
	else if (from == UNIT_STALLED)
		pressure_leave(p, now_ns);
	if (to == UNIT_IDLE)
		pressure_idle(p, now_ns);
	else if (to == UNIT_STALLED)
		pressure_enter(p, now_ns);
}

static enum unit_state state_of(uint32_t stalled, uint32_t running)
{
	return stalled ? UNIT_STALLED : running ? UNIT_RUNNING : UNIT_IDLE;
}

static void session_set_state(struct local *l, struct ledger_group *g, uint32_t dev,
			      uint32_t stalls, bool running, uint64_t now_ns)
{
	struct local_session *s = g->priv;
	uint32_t bit = 1u << dev, stalled = s->stalled, runs = s->running, chain;
	struct ledger_group *p;

	s->stalls[dev] = stalls;
	s->stalled = stalls ? stalled | bit : stalled & ~bit;
	s->running = running ? runs | bit : runs & ~bit;
	unit_move(&l->device_pressure[dev], state_of(stalled & bit, runs & bit),
		  state_of(s->stalled & bit, s->running & bit), now_ns);
	unit_move(&s->group.pressure, state_of(stalled, runs), state_of(s->stalled, s->running),
		  now_ns);
	unit_move(&l->root.pressure, state_of(stalled, runs), state_of(s->stalled, s->running),
		  now_ns);
	for (chain = 0; chain < LEDGER_N_CHAINS; chain++)
		for (p = g->parent[chain]; p; p = p->parent[chain])
			unit_move(&priv_of(p)->pressure, state_of(stalled, runs),
				  state_of(s->stalled, s->running), now_ns);
}

enum session_event {
	EVENT_RUN,
	EVENT_IDLE,
	EVENT_STALL,
	EVENT_UNSTALL
};

static int session_event(struct arbiter *a, uint64_t session, uint32_t dev,
			 enum session_event event, uint64_t now_ns)
{
	struct ledger_group *g = session_of(a, session);
	struct local *l = local_of(a);
	uint32_t stalls;

	if (!g || dev >= l->ledger->n_devices)
		return -ENOENT;
	stalls = ((struct local_session *)g->priv)->stalls[dev];
	if (event == EVENT_UNSTALL && !stalls)
		return -EINVAL;
	if (event == EVENT_STALL && stalls == UINT32_MAX)
		return -EOVERFLOW;
	stalls += (event == EVENT_STALL) - (event == EVENT_UNSTALL);
	/* While it waits it is not idle, whatever it says. */
	session_set_state(l, g, dev, stalls, event != EVENT_IDLE || stalls, now_ns);
	return 0;
}

static int local_run(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	return session_event(a, session, dev, EVENT_RUN, now_ns);
}

static int local_idle(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	return session_event(a, session, dev, EVENT_IDLE, now_ns);
}

static int local_stall_begin(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	return session_event(a, session, dev, EVENT_STALL, now_ns);
}

static int local_stall_end(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	return session_event(a, session, dev, EVENT_UNSTALL, now_ns);
}

static void read_pressure(struct pressure *p, uint64_t now_ns, struct arbiter_pressure *out)
{
	struct pressure_reading reading;

	_Static_assert(sizeof(out->avg_centi) == sizeof(reading.avg_centi), "same averages");
	pressure_read(p, now_ns, &reading);
	memcpy(out->total_us, reading.total_us, sizeof(out->total_us));
	memcpy(out->avg_centi, reading.avg_centi, sizeof(out->avg_centi));
}

static int local_pressure_group(struct arbiter *a, const struct arbiter_group *group,
				uint64_t now_ns, struct arbiter_pressure *out)
{
	const struct ledger_group *g = group_of(a, group);

	if (!g)
		return -ENOENT;
	read_pressure(&priv_of(g)->pressure, now_ns, out);
	return 0;
}

static int local_pressure_device(struct arbiter *a, uint32_t dev, uint64_t now_ns,
				 struct arbiter_pressure *out)
{
	struct local *l = local_of(a);

	if (dev >= l->ledger->n_devices)
		return -ENOENT;
	read_pressure(&l->device_pressure[dev], now_ns, out);
	return 0;
}

static int local_trigger_add(struct arbiter *a, const struct arbiter_group *group, uint32_t dev,
			     bool full, uint64_t threshold_us, uint64_t window_us, uint64_t now_ns,
			     uint32_t *out_trigger)
{
	struct ledger_group *g = group ? group_of(a, group) : NULL;
	struct local *l = local_of(a);
	struct local_trigger *t;
	uint32_t id;
	int r;

	if (group ? !g : dev >= l->ledger->n_devices)
		return -ENOENT;
	for (id = 0; id < MAX_TRIGGERS && l->trigger[id]; id++)
		;
	if (id == MAX_TRIGGERS)
		return -ENOSPC;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->group = g;
	t->pressure = g ? &priv_of(g)->pressure : &l->device_pressure[dev];
	r = pressure_trigger_add(t->pressure, &t->trigger, full ? PRESSURE_FULL : PRESSURE_SOME,
				 threshold_us, window_us, now_ns);
	if (r) {
		free(t);
		return r;
	}
	if (g)
		priv_of(g)->n_triggers++;
	l->trigger[id] = t;
	*out_trigger = id;
	return 0;
}

static void trigger_free(struct local *l, uint32_t id)
{
	struct local_trigger *t = l->trigger[id];

	pressure_trigger_del(t->pressure, &t->trigger);
	if (t->group)
		priv_of(t->group)->n_triggers--;
	l->trigger[id] = NULL;
	free(t);
}

static int local_trigger_del(struct arbiter *a, uint32_t trigger)
{
	struct local *l = local_of(a);
	struct ledger_group *g;

	if (trigger >= MAX_TRIGGERS || !l->trigger[trigger])
		return -ENOENT;
	g = l->trigger[trigger]->group;
	trigger_free(l, trigger);
	if (g && g->kind != LEDGER_SESSION)
		group_collect(l, g);
	return 0;
}

static uint64_t local_poll(struct arbiter *a, uint64_t now_ns, arbiter_trigger_fn fn, void *ctx)
{
	struct local *l = local_of(a);
	uint64_t next = UINT64_MAX;
	uint32_t i;

	for (i = 0; i < MAX_TRIGGERS; i++)
		if (l->trigger[i])
			next = vram_min(next, pressure_poll(l->trigger[i]->pressure, now_ns));
	for (i = 0; i < MAX_TRIGGERS; i++)
		if (l->trigger[i] && pressure_trigger_take(&l->trigger[i]->trigger))
			fn(ctx, i);
	return next;
}

int arbiter_pressure_format(const struct arbiter_pressure *p, char *buf, size_t size)
{
	struct pressure_reading reading;

	memcpy(reading.total_us, p->total_us, sizeof(reading.total_us));
	memcpy(reading.avg_centi, p->avg_centi, sizeof(reading.avg_centi));
	return pressure_format(&reading, buf, size);
}

/* ---- making and freeing ------------------------------------------------------ */

static void local_free(struct arbiter *a)
{
	struct local *l = local_of(a);
	struct ledger_group *g;
	uint32_t i;

	for (i = 0; i < MAX_TRIGGERS; i++)
		free(l->trigger[i]);
	for (g = l->ledger->root.next; g; g = g->next) {
		free(priv_of(g)->limits);
		free(priv_of(g)->path);
		free(g->priv);
	}
	ledger_free(l->ledger);
	free(l);
}

static const struct arbiter_ops local_ops = {
	.name = "local",
	.free = local_free,
	.device_add = local_device_add,
	.device_resize = local_device_resize,
	.session_open = local_session_open,
	.session_close = local_session_close,
	.charge = local_charge,
	.uncharge = local_uncharge,
	.transfer = local_transfer,
	.give = local_give,
	.share_new = local_share_new,
	.share_free = local_share_free,
	.share_join = local_share_join,
	.share_leave = local_share_leave,
	.share_charge = local_share_charge,
	.share_uncharge = local_share_uncharge,
	.share_transfer = local_share_transfer,
	.share_read = local_share_read,
	.limit_set = local_limit_set,
	.limit_clear = local_limit_clear,
	.limit_get = local_limit_get,
	.usage = local_usage,
	.over = local_over,
	.protection = local_protection,
	.is_member = local_is_member,
	.find = local_find,
	.group_name = local_group_name,
	.for_each = local_for_each,
	.run = local_run,
	.idle = local_idle,
	.stall_begin = local_stall_begin,
	.stall_end = local_stall_end,
	.pressure_group = local_pressure_group,
	.pressure_device = local_pressure_device,
	.trigger_add = local_trigger_add,
	.trigger_del = local_trigger_del,
	.poll = local_poll,
};

int arbiter_local_new(uint64_t now_ns, struct arbiter **out_arbiter)
{
	struct local *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->ledger = ledger_new();
	if (!l->ledger) {
		free(l);
		return -ENOMEM;
	}
	l->base.ops = &local_ops;
	l->ledger->root.priv = &l->root;
	pressure_init(&l->root.pressure, now_ns);
	*out_arbiter = &l->base;
	return 0;
}
