// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/metrics_table.h"

#include <stddef.h>

#include "daemon/metrics.h"

#define NS 1000000000u
#define US 1000000u

static struct metric_value value_of(uint64_t n, uint64_t scale)
{
	return (struct metric_value){ .known = true, .n = n, .scale = scale };
}

/* A function for the table that looks at one object. */
#define VALUE(name, type, n, scale)                                                          \
	static struct metric_value name(const struct snapshot *snapshot, const void *object, \
					uint32_t index)                                      \
	{                                                                                    \
		const type *it = object;                                                     \
                                                                                             \
		(void)snapshot;                                                              \
		(void)index;                                                                 \
		return value_of((n), (scale));                                               \
	}

/* ---- the daemon and the device ---- */

static struct metric_value start_time(const struct snapshot *snapshot, const void *object,
				      uint32_t index)
{
	(void)object;
	(void)index;
	return value_of(snapshot->start_time_s, 1);
}

static struct metric_value in_state(const struct snapshot *snapshot, const void *object,
				    uint32_t index)
{
	(void)object;
	return value_of(snapshot->n_in_state[index], 1);
}

static struct metric_value queued(const struct snapshot *snapshot, const void *object,
				  uint32_t index)
{
	(void)object;
	(void)index;
	return value_of(snapshot->n_waiting, 1);
}

static uint64_t beyond(size_t n, size_t max)
{
	return n > max ? n - max : 0;
}

static struct metric_value left_out_sessions(const struct snapshot *snapshot, const void *object,
					     uint32_t index)
{
	(void)object;
	(void)index;
	return value_of(beyond(snapshot->n_sessions, METRICS_MAX_SESSIONS), 1);
}

static struct metric_value left_out_tenants(const struct snapshot *snapshot, const void *object,
					    uint32_t index)
{
	(void)object;
	(void)index;
	return value_of(beyond(snapshot->n_tenants, METRICS_MAX_TENANTS), 1);
}

static struct metric_value tier_used(const struct snapshot *snapshot, const void *object,
				     uint32_t index)
{
	(void)object;
	return value_of(snapshot_tier_used(snapshot, index), 1);
}

static struct metric_value tier_size(const struct snapshot *snapshot, const void *object,
				     uint32_t index)
{
	(void)object;
	return value_of(snapshot_tier_size(snapshot, index), 1);
}

VALUE(device_peak, struct snapshot_device, it->stats.peak_bytes, 1)
VALUE(device_inflight, struct snapshot_device, it->stats.inflight_bytes, 1)
VALUE(device_waiting, struct snapshot_device, it->stats.n_demands, 1)
VALUE(device_link, struct snapshot_device, it->link_bytes_per_s, 1)
VALUE(device_held, struct snapshot_device, it->held, 1)
VALUE(device_faults, struct snapshot_device, it->stats.faults, 1)
VALUE(device_in, struct snapshot_device, it->stats.paged_in_bytes, 1)
VALUE(device_out, struct snapshot_device, it->stats.paged_out_bytes, 1)
VALUE(device_evicted, struct snapshot_device, it->stats.evicted_bytes, 1)
VALUE(device_stall, struct snapshot_device, it->stats.stall_ns, NS)
VALUE(device_some, struct snapshot_device, it->pressure.total_us[0], US)
VALUE(device_full, struct snapshot_device, it->pressure.total_us[1], US)

/* ---- tenants ---- */

VALUE(tenant_sessions, struct snapshot_tenant, it->n_sessions, 1)
VALUE(tenant_usage, struct snapshot_tenant, it->usage[index].usage, 1)
VALUE(tenant_peak, struct snapshot_tenant, it->usage[index].peak, 1)
VALUE(tenant_refused, struct snapshot_tenant, it->usage[index].refused, 1)
VALUE(tenant_over_high, struct snapshot_tenant, it->usage[index].over_high, 1)
VALUE(tenant_over_max, struct snapshot_tenant, it->usage[index].over_max, 1)
VALUE(tenant_weight, struct snapshot_tenant, it->usage[index].limits.value[ARBITER_WEIGHT], 1)
VALUE(tenant_some, struct snapshot_tenant, it->pressure.total_us[0], US)
VALUE(tenant_full, struct snapshot_tenant, it->pressure.total_us[1], US)

static struct metric_value tenant_limit(const struct snapshot *snapshot, const void *object,
					uint32_t index)
{
	const struct snapshot_tenant *it = object;
	uint64_t n = it->usage[index / ARBITER_N_KEYS].limits.value[index % ARBITER_N_KEYS];

	(void)snapshot;
	if (index % ARBITER_N_KEYS == ARBITER_WEIGHT || n == ARBITER_UNLIMITED)
		return (struct metric_value){ 0 };
	return value_of(n, 1);
}

/* ---- sessions ---- */

VALUE(session_resident, struct snapshot_session, it->detail.tier_bytes[index], 1)
VALUE(session_charged, struct snapshot_session, it->usage[index].usage, 1)
VALUE(session_objects, struct snapshot_session, it->info.total_bytes, 1)
VALUE(session_limit, struct snapshot_session, it->info.limit_bytes, 1)
VALUE(session_acquires, struct snapshot_session, it->detail.acquires, 1)
VALUE(session_faults, struct snapshot_session, it->faults, 1)
VALUE(session_loaded, struct snapshot_session, it->loaded_bytes, 1)
VALUE(session_evicted, struct snapshot_session, it->evicted_bytes, 1)
VALUE(session_written, struct snapshot_session, it->detail.written_bytes, 1)
VALUE(session_stall, struct snapshot_session, it->info.stall_ns, NS)
VALUE(session_some, struct snapshot_session, it->pressure.total_us[0], US)
VALUE(session_full, struct snapshot_session, it->pressure.total_us[1], US)

static struct metric_value session_position(const struct snapshot *snapshot, const void *object,
					    uint32_t index)
{
	const struct scheduler_session_detail *it =
		&((const struct snapshot_session *)object)->detail;

	(void)snapshot;
	(void)index;
	if (!it->has_position || it->n_positions == 0)
		return (struct metric_value){ 0 };
	return value_of((uint64_t)it->position * 10000 / it->n_positions, 10000);
}

static struct metric_value session_pace(const struct snapshot *snapshot, const void *object,
					uint32_t index)
{
	const struct scheduler_session_detail *it =
		&((const struct snapshot_session *)object)->detail;

	(void)snapshot;
	(void)index;
	return (struct metric_value){ .known = it->pace_ns > 0, .n = it->pace_ns, .scale = NS };
}

/* ---- models ---- */

VALUE(model_size, struct snapshot_model, it->info.size_bytes, 1)
VALUE(model_resident, struct snapshot_model, it->info.tier_bytes[index], 1)
VALUE(model_sessions, struct snapshot_model, it->info.n_uses, 1)
VALUE(model_pinned, struct snapshot_model, it->info.pinned, 1)
VALUE(model_loaded, struct snapshot_model, it->info.loaded_bytes, 1)
VALUE(model_evicted, struct snapshot_model, it->info.evicted_bytes, 1)

#define GAUGE(name, unit, of, over, value, help)                                     \
	{                                                                            \
		name, unit, help, METRIC_GAUGE, METRIC_OF_##of, METRIC_##over, value \
	}
#define COUNTER(name, unit, of, over, value, help)                                     \
	{                                                                              \
		name, unit, help, METRIC_COUNTER, METRIC_OF_##of, METRIC_##over, value \
	}
#define INFO(name, of, help)                                                     \
	{                                                                        \
		name, NULL, help, METRIC_INFO, METRIC_OF_##of, METRIC_ONCE, NULL \
	}

/* clang-format off */
const struct metric metrics[] = {
	INFO("vram_build", DAEMON, "The daemon's version, and who keeps the ledger."),
	GAUGE("vram_start_time_seconds", "seconds", DAEMON, ONCE, start_time,
	      "When the daemon started, since the epoch."),

	INFO("vram_device", DEVICE, "What the device is."),
	GAUGE("vram_tier_size_bytes", "bytes", DEVICE, TIERS, tier_size,
	      "How much the tier can hold; of vram, the budget."),
	GAUGE("vram_tier_used_bytes", "bytes", DEVICE, TIERS, tier_used,
	      "What of it is in use."),
	GAUGE("vram_device_peak_bytes", "bytes", DEVICE, ONCE, device_peak,
	      "The most of vram that was in use since the daemon started."),
	GAUGE("vram_inflight_bytes", "bytes", DEVICE, ONCE, device_inflight,
	      "What is being moved now."),
	GAUGE("vram_waiting_loads", NULL, DEVICE, ONCE, device_waiting,
	      "Loads that somebody waits for and that have not begun."),
	GAUGE("vram_link_speed_bytes", "bytes", DEVICE, ONCE, device_link,
	      "Bytes a second that the link to the device was measured to carry; 0 without a link."),
	GAUGE("vram_held", NULL, DEVICE, ONCE, device_held,
	      "Whether the device was drained and is held: 1, else 0."),
	COUNTER("vram_faults", NULL, DEVICE, ONCE, device_faults,
		"Touches and acquires that had to wait."),
	COUNTER("vram_paged_in_bytes", "bytes", DEVICE, ONCE, device_in,
		"Bytes that were brought into vram."),
	COUNTER("vram_paged_out_bytes", "bytes", DEVICE, ONCE, device_out,
		"Bytes of buffers that were written to the host tier or to disk."),
	COUNTER("vram_evicted_bytes", "bytes", DEVICE, ONCE, device_evicted,
		"Bytes that were taken out of vram."),
	COUNTER("vram_stall_seconds", "seconds", DEVICE, ONCE, device_stall,
		"Time that sessions waited for memory, added up over sessions."),
	COUNTER("vram_pressure_waiting_seconds", "seconds", DEVICE, ONCE, device_some,
		"Time in which at least one session waited for memory (PSI: some)."),
	COUNTER("vram_pressure_stalled_seconds", "seconds", DEVICE, ONCE, device_full,
		"Time in which no session that had work could go on (PSI: full)."),
	GAUGE("vram_sessions", NULL, DEVICE, STATES, in_state, "Sessions of clients."),
	GAUGE("vram_queued_sessions", NULL, DEVICE, ONCE, queued,
	      "Sessions that wait to be admitted."),
	GAUGE("vram_unlabelled_sessions", NULL, DEVICE, ONCE, left_out_sessions,
	      "Sessions beyond those that have metrics of their own."),
	GAUGE("vram_unlabelled_tenants", NULL, DEVICE, ONCE, left_out_tenants,
	      "Users, cgroups and programs beyond those that have metrics of their own."),

	GAUGE("vram_tenant_sessions", NULL, TENANT, ONCE, tenant_sessions,
	      "Sessions of the tenant."),
	GAUGE("vram_tenant_usage_bytes", "bytes", TENANT, TIERS, tenant_usage,
	      "What is charged to the tenant."),
	GAUGE("vram_tenant_peak_bytes", "bytes", TENANT, TIERS, tenant_peak,
	      "The most that was charged to it."),
	GAUGE("vram_tenant_limit_bytes", "bytes", TENANT, LIMITS, tenant_limit,
	      "Its limits; there is no sample where there is no limit."),
	GAUGE("vram_tenant_weight", NULL, TENANT, TIERS, tenant_weight,
	      "Its weight, 100 if nobody set another."),
	GAUGE("vram_tenant_over_high_bytes", "bytes", TENANT, TIERS, tenant_over_high,
	      "What of its use is above its high."),
	GAUGE("vram_tenant_over_max_bytes", "bytes", TENANT, TIERS, tenant_over_max,
	      "What of its use is above its max, which was lowered."),
	COUNTER("vram_tenant_refused", NULL, TENANT, TIERS, tenant_refused,
		"Charges that were refused because of its max."),
	COUNTER("vram_tenant_pressure_waiting_seconds", "seconds", TENANT, ONCE, tenant_some,
		"As vram_pressure_waiting_seconds, for its sessions."),
	COUNTER("vram_tenant_pressure_stalled_seconds", "seconds", TENANT, ONCE, tenant_full,
		"As vram_pressure_stalled_seconds, for its sessions."),

	INFO("vram_session", SESSION, "Whose the session is, and what it calls itself."),
	GAUGE("vram_session_resident_bytes", "bytes", SESSION, TIERS, session_resident,
	      "What of its models and buffers is there; shared ones whole."),
	GAUGE("vram_session_charged_bytes", "bytes", SESSION, TIERS, session_charged,
	      "What of that is charged to it; of shared ones its part."),
	GAUGE("vram_session_object_bytes", "bytes", SESSION, ONCE, session_objects,
	      "The size of its models and buffers."),
	GAUGE("vram_session_limit_bytes", "bytes", SESSION, ONCE, session_limit,
	      "What it may have of vram at most."),
	COUNTER("vram_session_acquires", NULL, SESSION, ONCE, session_acquires,
		"How often it came to use something; those that waited are faults."),
	COUNTER("vram_session_faults", NULL, SESSION, ONCE, session_faults,
		"Touches and acquires that had to wait."),
	COUNTER("vram_session_loaded_bytes", "bytes", SESSION, ONCE, session_loaded,
		"Bytes that were brought into vram for it."),
	COUNTER("vram_session_evicted_bytes", "bytes", SESSION, ONCE, session_evicted,
		"Bytes of its models and buffers that were taken out of vram."),
	COUNTER("vram_session_written_bytes", "bytes", SESSION, ONCE, session_written,
		"Bytes of its buffers that were written to the host tier or to disk."),
	COUNTER("vram_session_stall_seconds", "seconds", SESSION, ONCE, session_stall,
		"Time in which it waited for memory."),
	GAUGE("vram_session_position_ratio", "ratio", SESSION, ONCE, session_position,
	      "Where in its largest model it was seen last."),
	GAUGE("vram_session_pass_seconds", "seconds", SESSION, ONCE, session_pace,
	      "How long a pass over its largest model takes it."),
	COUNTER("vram_session_pressure_waiting_seconds", "seconds", SESSION, ONCE, session_some,
		"As vram_pressure_waiting_seconds, for this session."),
	COUNTER("vram_session_pressure_stalled_seconds", "seconds", SESSION, ONCE, session_full,
		"As vram_pressure_stalled_seconds, for this session."),

	GAUGE("vram_model_size_bytes", "bytes", MODEL, ONCE, model_size, "The size of the model."),
	GAUGE("vram_model_resident_bytes", "bytes", MODEL, TIERS, model_resident,
	      "What of it is there."),
	GAUGE("vram_model_sessions", NULL, MODEL, ONCE, model_sessions, "Sessions that use it."),
	GAUGE("vram_model_pinned", NULL, MODEL, ONCE, model_pinned,
	      "Whether an administrator keeps it resident: 1, else 0."),
	COUNTER("vram_model_loaded_bytes", "bytes", MODEL, ONCE, model_loaded,
		"Bytes of it that were brought into vram since it was opened."),
	COUNTER("vram_model_evicted_bytes", "bytes", MODEL, ONCE, model_evicted,
		"Bytes of it that were taken out of vram since it was opened."),
	{ .name = NULL },
};
/* clang-format on */
