/* SPDX-License-Identifier: GPL-2.0-only */
/* The families of metrics: names, units, meaning, and where in a snapshot the values are. */
#ifndef VRAM_DAEMON_METRICS_TABLE_H
#define VRAM_DAEMON_METRICS_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/snapshot.h"

enum metric_type {
	METRIC_GAUGE,
	METRIC_COUNTER,
	METRIC_INFO,
};

/* What a family has one sample of, or more where it goes over tiers or limits too. */
enum metric_of {
	METRIC_OF_DAEMON,
	METRIC_OF_DEVICE,
	METRIC_OF_TENANT,
	METRIC_OF_SESSION,
	METRIC_OF_MODEL,
};

enum metric_over {
	METRIC_ONCE,
	METRIC_TIERS,  /* index: the tier */
	METRIC_LIMITS, /* index: the tier * ARBITER_N_KEYS + the key */
	METRIC_STATES, /* index: enum scheduler_session_state */
};

struct metric_value {
	bool known; /* else the sample is left out */
	uint64_t n;
	uint64_t scale; /* the value is n / scale: 1, or a power of ten */
};

struct metric {
	const char *name; /* as in TYPE: a counter's without _total, an info's without _info */
	const char *unit; /* how the name ends; NULL: none */
	const char *help;
	enum metric_type type;
	enum metric_of of;
	enum metric_over over;
	/* object: the device, tenant, session or model; NULL for the daemon. NULL for an info, whose value is 1. */
	struct metric_value (*value)(const struct snapshot *snapshot, const void *object,
				     uint32_t index);
};

extern const struct metric metrics[]; /* up to one without a name */

#endif
