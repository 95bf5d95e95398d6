/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sample: what one answer of the daemon says, and what has changed since the
 * one before it.
 *
 * The daemon's counters only grow; rates are worked out here from two
 * snapshots. Invariants:
 *   - a number that is not known is a NaN, here and in everything that is
 * computed from it; it is never shown as 0;
 *   - a rate is known only if both snapshots are of the same run of the same
 * daemon and time has passed between them; a counter that went back makes its
 * rate unknown, not huge or negative;
 *   - a session that came in between counts from 0, for numbers of sessions are
 * not used again while a daemon runs;
 *   - texts are as the daemon gave them, with whatever other users' programs
 * have put there: text.h makes them harmless when they are shown.
 *
 * Pure: no input or output. Names of users are asked for through a function. A
 * sample owns the answer that it was made of, and texts point into it.
 */
#ifndef VRAM_TOOLS_VRAMTOP_SAMPLE_H
#define VRAM_TOOLS_VRAMTOP_SAMPLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tier {
	TIER_VRAM,
	TIER_HOST,
	TIER_DISK,
	N_TIERS,
};
extern const char *const tier_names[N_TIERS];

struct psi_line {
	double avg10, avg60, avg300; /* percent */
	double total_us;
};
struct psi {
	struct psi_line some, full;
};

struct rates {
	double in, out; /* bytes a second: loaded; taken out, written or dropped */
	double written; /* bytes a second: of these, written to the host tier or to swap */
	double stall;	/* percent of the time in which something waited */
	double hit;	/* percent of the uses that did not wait */
	double faults;	/* a second */
};

struct top_device {
	const char *name, *backend, *pci;
	double index;
	struct {
		bool there;
		double used, size;
	} tier[N_TIERS];
	double peak, inflight, waiting, link;
	double faults, loaded, written, evicted, stall_ns;
	bool held;
	struct psi pressure;
	struct rates rates;
};

struct tenant_tier {
	bool there;
	double usage, peak, refused, min, low, high, max, weight, over_high,
		over_max; /* max: INFINITY */
};

struct top_tenant {
	const char *subject; /* as the daemon says it */
	char name[64];	     /* "user:ann" for "user:1000" */
	bool is_user;
	double uid, n_sessions;
	struct tenant_tier tier[N_TIERS];
	struct psi pressure;
	struct rates rates; /* of users: what their sessions add up to; stall of all */
};

struct top_session {
	double id, pid, uid;
	const char *name, *comm, *state;
	char user[40];
	struct {
		bool there;
		double resident, charged;
	} tier[N_TIERS];
	double total, limit, objects;
	double acquires, faults, loaded, evicted, written, stall_ns;
	double d_acquires, d_faults; /* since the sample before */
	double position, passes, pace_ns;
	struct psi pressure;
	struct rates rates;
};

/* What the sessions of a user add up to. */
struct top_user {
	double uid;
	char name[40];
	size_t n_sessions;
	struct {
		double resident, charged;
	} tier[N_TIERS];
	double total;
	struct rates rates;
	const struct top_tenant *tenant; /* NULL: the daemon does not say */
};

struct top_model {
	const char *name, *kind;
	double size, n_sessions, uid, loaded, evicted;
	char user[40];
	struct {
		bool there;
		double resident;
	} tier[N_TIERS];
	bool pinned;
	struct rates rates;
};

struct top_waiter {
	double session, pid, uid, asked, priority, waiting_ns, timeout_ns, predicted_ns;
	const char *name;
	char user[40];
	size_t place; /* from 1 */
};

struct sample {
	json_t *answer;
	const char *version, *ledger;
	double pid, uptime_ns, time_ns;
	double interval_ns; /* since the one before; NaN: there is none */
	bool has_tier[N_TIERS];
	struct top_device *devices;
	struct top_tenant *tenants;
	struct top_session *sessions;
	struct top_user *users; /* of sessions, by uid */
	struct top_model *models;
	struct top_waiter *queue;
	size_t n_devices, n_tenants, n_sessions, n_users, n_models, n_queue;
	double others_sessions, others_models; /* that the asker may not see */
	double others_resident[N_TIERS];
};

/* The name of a user into out; NULL: numbers are shown. */
typedef void (*sample_user_fn)(uint32_t uid, char *out, size_t size);

/*
 * sample_new() - takes the answer to `snapshot`, also where it fails. before:
 * the sample of the time before, NULL for none; it is only read here. Return:
 * NULL without memory, or if the answer is none; *out_why says which.
 */
struct sample *sample_new(json_t *answer, const struct sample *before, sample_user_fn user_name,
			  const char **out_why);
void sample_free(struct sample *sample);

/* The answer with `rates` put in where they are known, for scripts. Return: the sample's own. */
const json_t *sample_json(struct sample *sample);

const struct top_session *sample_session(const struct sample *sample, double id);
const struct top_tenant *sample_tenant(const struct sample *sample, const char *subject);
const struct top_user *sample_user(const struct sample *sample, double uid);

#endif
