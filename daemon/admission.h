/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * admission - who may begin now, and who waits for how long.
 *
 * A pure module: no clock, no I/O, no globals; times are nanoseconds of any monotonic clock.
 *
 * The nouns:
 *   entry  one session that has asked for its working set. It waits, or it holds a reservation.
 *   pool   what reservations come out of: the device (pool 0, always there), and every group with a limit of its own
 *	    that one of the sessions is in. A session fits if it fits in all of its pools.
 *
 * A reservation is a word between those who ask, not a wall: it takes no memory, and is nothing to sessions that
 * never asked. It ends with its session. It LAPSES when the session has done nothing for idle_ns and somebody waits
 * for what it holds; it comes back, before anybody who waits, when the session works again and there is room.
 *
 * ORDER. By priority (the smaller number first), then by the time of asking. Whoever is first and does not fit into the
 * device holds back those behind it, or smaller ones would pass it for ever; but only while it can be foreseen that its turn
 * comes within pass_ns, for else everybody would wait for something that nobody knows. Whoever is kept out by a
 * limit of its own group holds back nobody else.
 *
 * PREDICTION. How long reservations are held is measured: of the last ADMISSION_HOLDS that ended, those that lasted longer
 * than a given one has lasted so far say, by their mean, how long it will go on. If none did, its end is unknown.
 * An idle one ends at the latest when it lapses. Those who wait are then let in on paper, one after the other.
 */
#ifndef VRAM_DAEMON_ADMISSION_H
#define VRAM_DAEMON_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/list.h"

/* Ended reservations that are remembered. */
#define ADMISSION_HOLDS 32u
/* Of one entry, the device included: groups beyond that are not looked at. */
#define ADMISSION_POOLS 8u

#define ADMISSION_UNKNOWN UINT64_MAX

enum admission_state {
	ADMISSION_NONE,	    /* has not asked */
	ADMISSION_WAITING,  /* in `waiting` */
	ADMISSION_ADMITTED, /* in `admitted`; its bytes are reserved */
	ADMISSION_LAPSED,   /* in `admitted`; they are not, for now */
};

struct admission_entry {
	struct list_node node;
	enum admission_state state;
	int32_t priority;
	uint64_t bytes;
	uint64_t asked_ns;
	uint64_t since_ns;    /* when it asked, or was admitted */
	uint64_t deadline_ns; /* waiting: UINT64_MAX: none */
	uint64_t busy_ns;     /* admitted: when it was last seen at work */
	bool barred; /* no room is given to it, whatever there is (held by an administrator) */
	uint32_t pools[ADMISSION_POOLS];
	uint32_t n_pools;
	uint64_t predicted_ns; /* waiting: by admission_predict(): from now on, or ADMISSION_UNKNOWN */
};

struct admission_pool {
	uint64_t key[2];
	uint64_t capacity; /* for reservations, now */
};

struct admission {
	uint64_t idle_ns;
	uint64_t pass_ns;
	struct list_node waiting;  /* in order */
	struct list_node admitted; /* the oldest first */
	struct admission_pool *pools;
	uint32_t n_pools, size_pools;
	uint64_t holds[ADMISSION_HOLDS];
	uint32_t n_holds, next_hold;
};

/* Return: 0 or -ENOMEM. */
int admission_init(struct admission *a, uint64_t idle_ns, uint64_t pass_ns);
/* Its entries must have been removed. */
void admission_deinit(struct admission *a);

/*
 * Pools are made anew whenever limits or sessions may have changed: reset, then for every entry the device and its groups.
 * admission_join() without memory, or beyond ADMISSION_POOLS, leaves the pool out for this entry.
 */
void admission_reset(struct admission *a, uint64_t capacity);
void admission_clear(struct admission_entry *e);
void admission_join(struct admission *a, struct admission_entry *e, const uint64_t key[2],
		    uint64_t capacity);

/* The entry, with bytes and priority set, asks. deadline_ns UINT64_MAX: none. */
void admission_ask(struct admission *a, struct admission_entry *e, uint64_t now_ns,
		   uint64_t deadline_ns);
/* It goes, from wherever it is. */
void admission_remove(struct admission *a, struct admission_entry *e, uint64_t now_ns);
/* An admitted one is no longer seen at work, and is not to be: its reservation lapses at once. */
void admission_lapse(struct admission_entry *e);

/* Reservations that lapsed come back, as long as there is room, of entries at work for less than idle_ns. */
void admission_regain(struct admission *a, uint64_t now_ns);
/*
 * The next one that can be let in is let in; idle reservations lapse for it if they must. Return: it, or
 * NULL.
 */
struct admission_entry *admission_next(struct admission *a, uint64_t now_ns);
/* A waiting one whose deadline is over, removed. Return: NULL if there is none. */
struct admission_entry *admission_expired(struct admission *a, uint64_t now_ns);

/* Sets predicted_ns of all that wait. */
void admission_predict(struct admission *a, uint64_t now_ns);

/* Bytes of a pool that are reserved. */
uint64_t admission_reserved(const struct admission *a, uint32_t pool);

#endif
