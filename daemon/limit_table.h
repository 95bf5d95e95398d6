/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * limit_table: which limits were set for one subject, and what follows from them.
 *
 * Limits are looked up from the most specific to the most general: set for the subject on this
 * device, set for the subject on all devices, for a user the same two of `default`, then no limit.
 * Neither the ledger nor the kernel module knows this inheritance: an arbiter keeps a table for
 * everybody for whom something was set, and writes what comes out into the ledger whenever one of
 * them changes.
 *
 * Pure: numbers in, numbers out.
 */
#ifndef VRAM_DAEMON_LIMIT_TABLE_H
#define VRAM_DAEMON_LIMIT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/arbiter.h"

/* The row of limits that were set for all devices. The others are a device each. */
#define LIMIT_ROW_ALL ARBITER_MAX_DEVICES
#define LIMIT_N_ROWS  (ARBITER_MAX_DEVICES + 1)

/* All zero: nothing is set. */
struct limit_table {
	uint32_t n_set;
	uint8_t set[LIMIT_N_ROWS][ARBITER_N_TIERS];
	uint64_t value[LIMIT_N_ROWS][ARBITER_N_TIERS][ARBITER_N_KEYS];
};

/* What an arbiter checks of a limit before anything else. Return: 0, -EINVAL, -ENOENT, -ERANGE. */
int limit_check(uint32_t n_devices, uint32_t dev, uint32_t tier, uint32_t key, uint64_t value);

/* Set one limit; the row of all devices takes the place of what single ones had. */
void limit_table_set(struct limit_table *table, uint32_t row, uint32_t tier, uint32_t key,
		     uint64_t value);
/* Take one back; with LIMIT_ROW_ALL from every row. */
void limit_table_clear(struct limit_table *table, uint32_t row, uint32_t tier, uint32_t key);
/* Bit per key: set for this very subject, on the row's device or on all. table may be NULL. */
uint32_t limit_table_mask(const struct limit_table *table, uint32_t row, uint32_t tier);

/*
 * What holds. own is the subject's table, defaults that of `default` for users and for nobody else;
 * either may be NULL.
 * Return: false if nothing was set anywhere; *out_value is limit_none(key) then.
 */
bool limit_table_find(const struct limit_table *own, const struct limit_table *defaults,
		      uint32_t row, uint32_t tier, uint32_t key, uint64_t *out_value);
/* All keys at once. */
void limit_table_read(const struct limit_table *own, const struct limit_table *defaults,
		      uint32_t row, uint32_t tier, struct arbiter_limits *out_limits);

/* The value of a limit that nobody has set. */
uint64_t limit_none(uint32_t key);

#endif
