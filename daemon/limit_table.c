// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/limit_table.h"

#include <errno.h>

int limit_check(uint32_t n_devices, uint32_t dev, uint32_t tier, uint32_t key, uint64_t value)
{
	if (tier >= ARBITER_N_TIERS || key >= ARBITER_N_KEYS)
		return -EINVAL;
	if (dev != ARBITER_ALL_DEVICES && dev >= n_devices)
		return -ENOENT;
	if (key == ARBITER_WEIGHT && (value < ARBITER_WEIGHT_MIN || value > ARBITER_WEIGHT_MAX))
		return -ERANGE;
	return 0;
}

static void clear_one(struct limit_table *table, uint32_t row, uint32_t tier, uint32_t key)
{
	if (!(table->set[row][tier] & (1u << key)))
		return;
	table->set[row][tier] &= (uint8_t) ~(1u << key);
	table->n_set--;
}

void limit_table_clear(struct limit_table *table, uint32_t row, uint32_t tier, uint32_t key)
{
	uint32_t i;

	for (i = 0; i < LIMIT_N_ROWS; i++)
		if (row == LIMIT_ROW_ALL || i == row)
			clear_one(table, i, tier, key);
}

void limit_table_set(struct limit_table *table, uint32_t row, uint32_t tier, uint32_t key,
		     uint64_t value)
{
	limit_table_clear(table, row, tier, key);
	table->set[row][tier] |= (uint8_t)(1u << key);
	table->value[row][tier][key] = value;
	table->n_set++;
}

uint32_t limit_table_mask(const struct limit_table *table, uint32_t row, uint32_t tier)
{
	return table ? table->set[row][tier] | table->set[LIMIT_ROW_ALL][tier] : 0;
}

bool limit_table_find(const struct limit_table *own, const struct limit_table *defaults,
		      uint32_t row, uint32_t tier, uint32_t key, uint64_t *out_value)
{
	const struct limit_table *tables[2] = { own, defaults };
	const uint32_t rows[2] = { row, LIMIT_ROW_ALL };
	unsigned int t, i;

	for (t = 0; t < 2; t++) {
		for (i = 0; i < 2 && tables[t]; i++) {
			if (tables[t]->set[rows[i]][tier] & (1u << key)) {
				*out_value = tables[t]->value[rows[i]][tier][key];
				return true;
			}
		}
	}
	*out_value = limit_none(key);
	return false;
}

void limit_table_read(const struct limit_table *own, const struct limit_table *defaults,
		      uint32_t row, uint32_t tier, struct arbiter_limits *out_limits)
{
	uint32_t key;

	for (key = 0; key < ARBITER_N_KEYS; key++)
		limit_table_find(own, defaults, row, tier, key, &out_limits->value[key]);
	out_limits->set = limit_table_mask(own, row, tier);
}

uint64_t limit_none(uint32_t key)
{
	if (key == ARBITER_WEIGHT)
		return ARBITER_WEIGHT_DEFAULT;
	return key == ARBITER_HIGH || key == ARBITER_MAX ? ARBITER_UNLIMITED : 0;
}
