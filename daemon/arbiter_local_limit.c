// SPDX-License-Identifier: GPL-2.0-only
/* The local arbiter's limits: what was set for whom, and writing what follows into the ledger. */
#include "daemon/arbiter_local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/trace.h"

/* What users without their own have; NULL for everybody else. */
static const struct limit_table *defaults_for(const struct local *l, uint32_t kind)
{
	return kind == ARBITER_USER || kind == ARBITER_DEFAULT ? &l->defaults : NULL;
}

static void limit_apply(struct local *l, struct ledger_group *g, uint32_t dev, uint32_t tier,
			uint32_t key)
{
	uint64_t value;

	if (limit_table_find(limits_of(g), defaults_for(l, g->kind), dev, tier, key, &value))
		ledger_limit_set(l->ledger, g, dev, tier, key, value);
	else
		ledger_limit_clear(l->ledger, g, dev, tier, key);
}

void local_limits_apply(struct local *l, struct ledger_group *g, uint32_t dev)
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

/* Write what holds now into the ledger: for one group, or after `default` changed for all users. value: as it was set; NULL: cleared. */
static void limits_changed(struct local *l, struct ledger_group *only, uint32_t dev, uint32_t tier,
			   uint32_t key, const uint64_t *value)
{
	uint32_t flags = (only ? 0 : TRACE_LIMIT_INHERITED) | (value ? 0 : TRACE_LIMIT_CLEAR);
	struct ledger_group *g;
	uint32_t d;

	for (g = only ? only : l->ledger->root.next; g; g = only ? NULL : g->next) {
		if (!only && g->kind != LEDGER_USER)
			continue;
		for (d = 0; d < l->ledger->n_devices; d++)
			if ((dev == LIMIT_ROW_ALL || d == dev) &&
			    l->ledger->device[d].home[tier] == d) {
				limit_apply(l, g, d, tier, key);
				if (trace_on(vram_limit_change))
					local_trace_limit(g, d, tier, key, value ? *value : 0,
							  flags);
			}
	}
}

/* The group that a subject's limits hang on, made if need be. */
static int limit_group(struct local *l, const struct arbiter_subject *s, struct ledger_group **out)
{
	/* No meter begins before the latest time that any of them has seen. */
	uint64_t now_ns = l->book.root.pressure.now_ns;

	switch (s->kind) {
	case ARBITER_USER:
		return s->id < UINT32_MAX ? group_user(&l->book, s->id, now_ns, out) : -EINVAL;
	case ARBITER_CGROUP:
		return s->path ? group_cgroup(&l->book, s->path, false, now_ns, out) : -EINVAL;
	case ARBITER_EXE:
		return s->path ? group_exe(&l->book, s->path, now_ns, out) : -EINVAL;
	case ARBITER_SESSION:
		*out = ledger_find(l->ledger, LEDGER_SESSION, s->id);
		return *out ? 0 : -ENOENT;
	default:
		return -EINVAL;
	}
}

int local_limit_set(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev, uint32_t tier,
		    uint32_t key, uint64_t value)
{
	struct local *l = local_of(a);
	struct limit_table **own;
	struct ledger_group *g;
	uint32_t row;
	int r;

	r = limit_check(l->ledger->n_devices, dev, tier, key, value);
	if (r)
		return r;
	row = local_limit_row(l, dev, tier);
	if (s->kind == ARBITER_DEFAULT) {
		limit_table_set(&l->defaults, row, tier, key, value);
		limits_changed(l, NULL, row, tier, key, &value);
		return 0;
	}
	r = limit_group(l, s, &g);
	if (r)
		return r;
	own = limits_at(g);
	if (!*own) {
		*own = calloc(1, sizeof(**own));
		if (!*own) {
			if (g->kind != LEDGER_SESSION)
				group_collect(&l->book, g);
			return -ENOMEM;
		}
		group_priv(g)->n_holds++;
	}
	limit_table_set(*own, row, tier, key, value);
	limits_changed(l, g, row, tier, key, &value);
	return 0;
}

int local_limit_clear(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev,
		      uint32_t tier, uint32_t key)
{
	struct local *l = local_of(a);
	struct limit_table **own;
	struct arbiter_group ref;
	struct ledger_group *g;
	uint32_t row;
	int r;

	r = limit_check(l->ledger->n_devices, dev, tier, key, limit_none(key));
	if (r)
		return r;
	row = local_limit_row(l, dev, tier);
	if (s->kind == ARBITER_DEFAULT) {
		limit_table_clear(&l->defaults, row, tier, key);
		limits_changed(l, NULL, row, tier, key, NULL);
		return 0;
	}
	if (s->kind == ARBITER_ROOT)
		return -EINVAL;
	r = local_find(a, s, &ref);
	if (r)
		return r == -ENOENT && s->kind != ARBITER_SESSION ? 0 : r;
	g = group_of(a, &ref);
	own = limits_at(g);
	if (!*own)
		return 0;
	limit_table_clear(*own, row, tier, key);
	limits_changed(l, g, row, tier, key, NULL);
	if (!(*own)->n_set) {
		free(*own);
		*own = NULL;
		group_priv(g)->n_holds--;
		if (g->kind != LEDGER_SESSION)
			group_collect(&l->book, g);
	}
	return 0;
}

int local_limit_get(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev, uint32_t tier,
		    struct arbiter_limits *out_limits)
{
	const struct limit_table *own = NULL;
	struct arbiter_limits lim = { 0 };
	struct local *l = local_of(a);
	struct arbiter_group ref;
	uint32_t row;
	int r;

	r = limit_check(l->ledger->n_devices, dev, tier, 0, 0);
	if (r)
		return r;
	row = local_limit_row(l, dev, tier);
	if (s->kind == ARBITER_DEFAULT) {
		own = &l->defaults;
	} else {
		r = local_find(a, s, &ref);
		if (r && (r != -ENOENT || s->kind == ARBITER_SESSION))
			return r;
		if (!r)
			own = limits_of(group_of(a, &ref));
	}
	limit_table_read(own, defaults_for(l, s->kind), row, tier, &lim);
	if (s->kind == ARBITER_ROOT && row != LIMIT_ROW_ALL)
		lim.value[ARBITER_MAX] = l->ledger->root.row[row]->tier[tier].limit[LEDGER_MAX];
	*out_limits = lim;
	return 0;
}
