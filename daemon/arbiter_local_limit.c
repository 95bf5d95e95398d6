// SPDX-License-Identifier: GPL-2.0-only
/* The local arbiter's limits: what was set for whom, and writing what follows into the ledger. */
#include "daemon/arbiter_local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The value that holds for @group (NULL: one with nothing set). Return: is there one? */
static bool limit_lookup(const struct local *l, const struct limit_table *own, uint32_t kind,
			 uint32_t dev, uint32_t tier, uint32_t key, uint64_t *out_value)
{
	const struct limit_table *tables[2] = {
		own,
		kind == LEDGER_USER || kind == ARBITER_DEFAULT ? &l->defaults : NULL,
	};
	const uint32_t rows[2] = { dev, LOCAL_ALL };
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

	if (limit_lookup(l, limits_of(g), g->kind, dev, tier, key, &value))
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
			if ((dev == LOCAL_ALL || d == dev) && l->ledger->device[d].home[tier] == d)
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

/* One row, or with LOCAL_ALL every one of them. */
static void table_clear_rows(struct limit_table *t, uint32_t row, uint32_t tier, uint32_t key)
{
	uint32_t d;

	for (d = 0; d <= LOCAL_ALL; d++)
		if (row == LOCAL_ALL || d == row)
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

	r = check_limit(l, dev, tier, key);
	if (r)
		return r;
	if (key == ARBITER_WEIGHT && (value < ARBITER_WEIGHT_MIN || value > ARBITER_WEIGHT_MAX))
		return -ERANGE;
	row = local_limit_row(l, dev, tier);
	if (s->kind == ARBITER_DEFAULT) {
		table_set(&l->defaults, row, tier, key, value);
		limits_changed(l, NULL, row, tier, key);
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
	table_set(*own, row, tier, key, value);
	limits_changed(l, g, row, tier, key);
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

	r = check_limit(l, dev, tier, key);
	if (r)
		return r;
	row = local_limit_row(l, dev, tier);
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
	own = limits_at(g);
	if (!*own)
		return 0;
	table_clear_rows(*own, row, tier, key);
	limits_changed(l, g, row, tier, key);
	if (!(*own)->n_set) {
		free(*own);
		*own = NULL;
		group_priv(g)->n_holds--;
		if (g->kind != LEDGER_SESSION)
			group_collect(&l->book, g);
	}
	return 0;
}

static uint64_t limit_default(uint32_t key)
{
	if (key == ARBITER_WEIGHT)
		return ARBITER_WEIGHT_DEFAULT;
	return key == ARBITER_HIGH || key == ARBITER_MAX ? ARBITER_UNLIMITED : 0;
}

int local_limit_get(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev, uint32_t tier,
		    struct arbiter_limits *out_limits)
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
	for (key = 0; key < LEDGER_N_KEYS; key++)
		if (!limit_lookup(l, own, s->kind, row, tier, key, &lim.value[key]))
			lim.value[key] = limit_default(key);
	if (s->kind == ARBITER_ROOT && row != LOCAL_ALL)
		lim.value[ARBITER_MAX] = l->ledger->root.row[row]->tier[tier].limit[LEDGER_MAX];
	if (own)
		lim.set = own->set[row][tier] | own->set[LOCAL_ALL][tier];
	*out_limits = lim;
	return 0;
}
