/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * snapshot: what the daemon knows at one moment, as numbers.
 *
 * It is taken on the loop's thread between two turns, so its numbers belong together. Whoever shows it
 * (admin_snapshot.c as JSON, metrics.c as OpenMetrics) only writes down what is here: that is why they agree.
 *
 * Invariants:
 *   - the bytes in use of a tier are the ledger's, for the device as for tenants and sessions;
 *   - counters only grow while the daemon (or, for what the ledger counts, the module) lives;
 *   - a view that is not `all` has of others' sessions and models nothing but sums.
 *
 * Ownership: what a snapshot points to is its own, but for the texts of sessions, models and the device (and info.ss): those
 * are borrowed, and valid until the loop goes on.
 */
#ifndef VRAM_DAEMON_SNAPSHOT_H
#define VRAM_DAEMON_SNAPSHOT_H

#include "daemon/arbiter.h"
#include "daemon/scheduler.h"

struct snapshot_view {
	bool all;  /* root and the daemon's own user */
	uid_t uid; /* else: whose sessions */
};

struct snapshot_device {
	const char *name, *backend, *pci;
	uint32_t index;
	bool held; /* drained, and nothing is loaded until it is resumed */
	uint64_t link_bytes_per_s;
	struct scheduler_stats stats;
	struct arbiter_pressure pressure;
};

struct snapshot_tenant {
	char *subject; /* "user:1000", "cgroup:/a" */
	struct arbiter_group group;
	uid_t uid; /* of users */
	uint32_t n_sessions;
	struct arbiter_usage usage[ARBITER_N_TIERS];
	struct arbiter_pressure pressure;
};

struct snapshot_session {
	uint64_t id;
	pid_t pid;
	uid_t uid;
	uint64_t faults, loaded_bytes, evicted_bytes;
	struct scheduler_session_info info;
	struct scheduler_session_detail detail;
	struct arbiter_usage usage[ARBITER_N_TIERS];
	struct arbiter_pressure pressure;
	const char *comm;
};

struct snapshot_model {
	struct scheduler_object_info info;
};

struct snapshot_queued {
	uint64_t session;
	pid_t pid;
	uid_t uid;
	struct scheduler_waiting_info info;
};

struct snapshot_others {
	uint64_t n_sessions, n_models;
	uint64_t resident_bytes[ARBITER_N_TIERS]; /* of models */
	uint64_t charged_bytes[ARBITER_N_TIERS];  /* to sessions */
};

struct snapshot {
	struct snapshot_view view;
	uint64_t time_ns, uptime_ns;
	uint64_t start_time_s;		/* since the epoch */
	const char *ledger;		/* "daemon", "module" */
	bool has_tier[ARBITER_N_TIERS]; /* of the machine */
	struct snapshot_device device;
	struct snapshot_tenant *tenants;
	struct snapshot_session *sessions;
	struct snapshot_model *models;
	struct snapshot_queued *queue; /* in order */
	size_t n_tenants, n_sessions, n_models, n_queue;
	uint64_t n_waiting; /* in the queue, others' too */
	struct snapshot_others others;
	uint64_t n_in_state[SESSION_N_STATES]; /* sessions, others' too */
};

static inline uint64_t snapshot_tier_used(const struct snapshot *snapshot, uint32_t tier)
{
	const struct scheduler_stats *stats = &snapshot->device.stats;

	return tier == ARBITER_VRAM ? stats->resident_bytes :
	       tier == ARBITER_HOST ? stats->host_used_bytes :
				      stats->swap_used_bytes;
}

static inline uint64_t snapshot_tier_size(const struct snapshot *snapshot, uint32_t tier)
{
	const struct scheduler_stats *stats = &snapshot->device.stats;

	return tier == ARBITER_VRAM ? stats->budget_bytes :
	       tier == ARBITER_HOST ? stats->host_budget_bytes :
				      stats->swap_size_bytes;
}

/*
 * Return: 0 and the caller's to snapshot_deinit(); -ENOMEM, or what the ledger said of the device. A tenant or session that
 * the ledger does not know (any more) is left out.
 */
int snapshot_take(struct scheduler *s, const struct snapshot_view *view, struct snapshot *out);
void snapshot_deinit(struct snapshot *snapshot);

#endif
