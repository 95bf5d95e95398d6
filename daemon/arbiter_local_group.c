// SPDX-License-Identifier: GPL-2.0-only
/* The local arbiter's groups as others see them: by subject, by name, one after the other. */
#include "daemon/arbiter_local.h"

#include <errno.h>

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
			g = group_find_path(&l->book, s->kind, s->path);
		break;
	default:
		return -EINVAL;
	}
	if (!g)
		return -ENOENT;
	*out_group = ref_of(g);
	return 0;
}

int local_group_name(struct arbiter *a, const struct arbiter_group *group, char *buf, size_t size)
{
	const struct ledger_group *g = group_of(a, group);

	return g ? group_name(g, buf, size) : -ENOENT;
}

int local_for_each(struct arbiter *a, arbiter_group_fn fn, void *ctx)
{
	struct local *l = local_of(a);
	char name[GROUP_NAME_MAX];
	const struct ledger_group *g, *parent;
	int r = 0;

	for (g = ledger_next(l->ledger, NULL); g && !r; g = ledger_next(l->ledger, g)) {
		struct arbiter_group_info info = { .group = ref_of(g), .name = name, .comm = "" };

		group_name(g, name, sizeof(name));
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
