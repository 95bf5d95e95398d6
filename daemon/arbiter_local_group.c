// SPDX-License-Identifier: GPL-2.0-only
/* The local arbiter's groups: names, making them on demand, freeing them when nothing needs them. */
#include "daemon/arbiter_local.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/limits.h"

static uint32_t bucket_of(uint32_t kind, const char *path, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u ^ kind;
	size_t i;

	for (i = 0; i < len; i++)
		h = (h ^ (unsigned char)path[i]) * 0x100000001b3u;
	return (uint32_t)((h ^ (h >> 32)) % LOCAL_N_BUCKETS);
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
		local_limits_apply(l, g, dev);
	*out = g;
	return 0;

err_priv:
	free(priv->path);
	free(priv);
	return r;
}

/* Free a group that nothing needs, and the groups above it that it was the reason for. */
void local_group_collect(struct local *l, struct ledger_group *g)
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

int local_user_group(struct local *l, uint64_t uid, uint64_t now_ns, struct ledger_group **out)
{
	*out = ledger_find(l->ledger, LEDGER_USER, uid);
	return *out ? 0 : group_make(l, LEDGER_USER, uid, NULL, NULL, 0, now_ns, out);
}

int local_exe_group(struct local *l, const char *path, uint64_t now_ns, struct ledger_group **out)
{
	size_t len = strlen(path);
	int r;

	if (!limits_is_path(path))
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
int local_cgroup_group(struct local *l, const char *path, bool fold, uint64_t now_ns,
		       struct ledger_group **out)
{
	struct ledger_group *g = NULL;
	const char *end = path;
	int r = 0;

	if (!limits_is_path(path))
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
		local_group_collect(l, g);
	else
		*out = g;
	return r;
}

int local_find(struct arbiter *a, const struct arbiter_subject *s, struct arbiter_group *out_group)
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

int local_group_name(struct arbiter *a, const struct arbiter_group *group, char *buf, size_t size)
{
	const struct ledger_group *g = group_of(a, group);

	return g ? name_of(g, buf, size) : -ENOENT;
}

int local_for_each(struct arbiter *a, arbiter_group_fn fn, void *ctx)
{
	struct local *l = local_of(a);
	char name[LIMITS_PATH_MAX + sizeof("cgroup:")];
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
