/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The residency slot: who may use a layer without asking, and who may take it away.
 *
 * One slot of 64 bytes stands for one layer of one session. It lies in memory that the
 * session's processes and the daemon both map. This header is the only place with atomics
 * on it; docs/residency.md tells the same story at length, and tests/model/residency.pml is
 * what spin checks.
 *
 * One writer a field. The daemon writes `word` and `error`, the client (its threads, its
 * forked processes, its GPU) writes everything else. The daemon never reads what it wrote:
 * the true state is in its own struct residency_shadow, so a client that scribbles over its
 * slots only misleads itself. About the client the daemon believes two things, pins and
 * marks of use; a lie there costs the liar (its own data vanishes) or ends at the pin
 * timeout.
 *
 *	     begin_load        finish_load           try_evict
 *	ABSENT -----> LOADING ------------> RESIDENT ---------> EVICTING
 *	  ^  ^           |  ^                   ^                 |   |
 *	  |  '-----------'  | begin_load        '-----------------'   |
 *	  |  cancel_load    |                   pinned, cancel_evict  |
 *	  |               FAILED <----- fail() from any but RESIDENT  |
 *	  '-----------------------------------------------------------'
 *	                            finish_evict
 *
 * The promise: data of a RESIDENT layer stays while the layer is pinned. To pin, the client
 * raises `acquired` and then looks at the state. To evict, the daemon changes the state and
 * then looks at the pins. Whoever comes second sees the other (Dekker), so an acquire of a
 * resident layer needs no system call.
 *
 * A pin is raised whatever the acquire finds, and kept while waiting: every
 * residency_try_acquire(), whatever it returned, is ended by exactly one
 * residency_release(). So a layer that was loaded for a waiter is already pinned when it
 * becomes RESIDENT and cannot be evicted before the waiter has run.
 *
 * The client that finds anything but RESIDENT always sends its request for the layer,
 * LOADING included: the daemon may drop a load that nobody asked for. Requests for one slot
 * merge, so a client that gives up releases first and then says so, and the daemon drops the
 * request only if residency_pins() is 0: else somebody else waits for the same load. One who
 * pins after that look finds the state of that moment or a later one, and sends a request
 * of its own.
 *
 * Orders. "SC" below is the single total order of the seq_cst operations (C11 7.17.3). No
 * fences are used, so TSan understands every edge.
 */
#ifndef VRAM_COMMON_RESIDENCY_H
#define VRAM_COMMON_RESIDENCY_H

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum residency_state {
	RESIDENCY_ABSENT = 0,	/* not there, nobody is loading it */
	RESIDENCY_LOADING = 1,	/* being loaded; ends in RESIDENT, FAILED or ABSENT */
	RESIDENCY_RESIDENT = 2, /* there; the only state in which the data may be used */
	RESIDENCY_EVICTING = 3, /* being taken away, or about to be RESIDENT again */
	RESIDENCY_FAILED = 4,	/* the last attempt failed, `error` says why; a request retries */
};

/* The state word: 3 bits of state, the mark, 28 bits that count the daemon's writes. */
#define RESIDENCY_STATE_MASK 0x7u
#define RESIDENCY_NOTIFY     0x8u
#define RESIDENCY_SEQ_ONE    0x10u

/* What an acquire found. The pin is held in every case. */
enum residency_outcome {
	RESIDENCY_OK = 0,	/* use it */
	RESIDENCY_E_NOTIFY = 1, /* use it, and report: the layer is marked */
	RESIDENCY_E_WAIT = 2,	/* request it and wait, or release */
	RESIDENCY_E_FAILED =
		3, /* residency_error() says why; release, or request and wait to retry */
	RESIDENCY_E_PINNED = 4, /* daemon side only: not evicted */
};

struct residency_slot {
	_Alignas(64) _Atomic uint32_t word; /* daemon: state, mark, sequence; the futex */
	_Atomic uint32_t error;		    /* daemon: errno, positive, valid while FAILED */
	_Atomic uint64_t acquired;	    /* client: acquires ever begun */
	_Atomic uint64_t released;	    /* client: releases by processors */
	/*
	 * client: releases by a device, as an absolute number that one ordered stream of
	 * plain 64-bit writes raises (cuStreamWriteValue64 behind the kernels that use the
	 * layer). It is a field of its own because a plain write beside fetch_add on the
	 * same counter would lose releases. One stream a slot: the writes of two streams
	 * could arrive in the wrong order.
	 */
	_Atomic uint64_t device_released;
	_Atomic uint64_t last_use_ns; /* client: CLOCK_MONOTONIC_COARSE at the last acquire */
	_Atomic uint32_t reported;    /* client: the marked word that was reported last */
	uint32_t reserved0;
	/*
	 * daemon: which device memory holds the layer, as a stamp that changes whenever a part of the layer is
	 * bound to other memory than before. Written before RESIDENT; valid while the layer is
	 * pinned and RESIDENT. 0 where the client has nothing to follow (the host device).
	 */
	_Atomic uint64_t binding;
	uint64_t reserved1;
};

_Static_assert(sizeof(struct residency_slot) == 64, "one cache line a slot");
_Static_assert(offsetof(struct residency_slot, acquired) == 8, "slot layout is shared");
_Static_assert(offsetof(struct residency_slot, device_released) == 24, "slot layout is shared");
_Static_assert(offsetof(struct residency_slot, reported) == 40, "slot layout is shared");
_Static_assert(offsetof(struct residency_slot, binding) == 48, "slot layout is shared");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
	       "a lock inside an atomic would not be shared between processes");
_Static_assert(sizeof(long) == 8, "the futex system call takes a 64-bit timespec");

/* The daemon's own record of a slot; one owner, no locking. */
struct residency_shadow {
	uint32_t word; /* as struct residency_slot.word, with the mark kept in every state */
};

/*
 * How the daemon wakes who sleeps on a slot. Where the table is a file both sides use a futex,
 * and no waker is needed: pass NULL. Pages of the kernel module cannot be futexes; there clients
 * sleep in the module, and the daemon embeds this in what it needs to name the slot to it.
 * wake() runs after the word was stored, and only if the slot has pins.
 */
struct residency_waker {
	void (*wake)(const struct residency_waker *waker, struct residency_slot *slot);
};

static inline enum residency_state residency_word_state(uint32_t word)
{
	return (enum residency_state)(word & RESIDENCY_STATE_MASK);
}

/* ---- client side ------------------------------------------------------------ */

/*
 * The stamp for residency_try_acquire(): no system call (vDSO), one reading may serve many
 * layers.
 */
static inline uint64_t residency_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline enum residency_outcome residency_classify(uint32_t word)
{
	switch (residency_word_state(word)) {
	case RESIDENCY_RESIDENT:
		return word & RESIDENCY_NOTIFY ? RESIDENCY_E_NOTIFY : RESIDENCY_OK;
	case RESIDENCY_FAILED:
		return RESIDENCY_E_FAILED;
	default:
		return RESIDENCY_E_WAIT;
	}
}

/*
 * Pins a layer and looks whether it is there. `seen` gets the word that was found, for
 * residency_wait() and residency_claim_report(). The caller owes one release, whatever the
 * result.
 * Return: OK, E_NOTIFY, E_WAIT or E_FAILED.
 */
static inline enum residency_outcome residency_try_acquire(struct residency_slot *slot,
							   uint64_t now_ns, uint32_t *seen)
{
	uint32_t word;

	/* Before the count: who sees the count sees a stamp at least as new. */
	atomic_store_explicit(&slot->last_use_ns, now_ns, memory_order_relaxed);
	/*
	 * The client's half of Dekker: write the pin, then read the state, both seq_cst. A
	 * daemon whose later look does not count this pin has looked before it in SC, and
	 * wrote the state before looking; so the load here finds that state or a newer one.
	 * If it finds RESIDENT, it synchronizes with the store in finish_load(), and the
	 * data is visible.
	 */
	atomic_fetch_add_explicit(&slot->acquired, 1, memory_order_seq_cst);
	word = atomic_load_explicit(&slot->word, memory_order_seq_cst);
	*seen = word;
	return residency_classify(word);
}

/* The stamp of the memory that holds the layer: after OK or E_NOTIFY, while the pin is held. */
static inline uint64_t residency_binding(struct residency_slot *slot)
{
	/* The load of the word that found RESIDENT synchronizes with the store after this was written. */
	return atomic_load_explicit(&slot->binding, memory_order_relaxed);
}

/* Ends one acquire. All uses of the data by this processor are over. */
static inline void residency_release(struct residency_slot *slot)
{
	/*
	 * Release order: the uses of the data come before the daemon's overwriting it,
	 * which is after its acquire load of the sum. fetch_add keeps the release sequence
	 * of other threads' releases, so one load synchronizes with all.
	 */
	atomic_fetch_add_explicit(&slot->released, 1, memory_order_release);
}

/* Why the layer FAILED. Return: -errno; -EIO if the slot holds nonsense. */
static inline int residency_error(struct residency_slot *slot)
{
	uint32_t error = atomic_load_explicit(&slot->error, memory_order_relaxed);

	return error > 0 && error < 4096 ? -(int)error : -EIO;
}

/*
 * After E_NOTIFY: decides which of the acquires that saw the same mark reports it. A mark
 * that several threads or processes find at once is reported at least once and rarely
 * twice.
 * Return: true if this caller must send the report.
 */
static inline bool residency_claim_report(struct residency_slot *slot, uint32_t seen)
{
	/* Only the exchange's atomicity counts: nobody reads other data by it. */
	return atomic_exchange_explicit(&slot->reported, seen, memory_order_relaxed) != seen;
}

/* Gives a claim back when the report could not be sent: the next acquire reports. */
static inline void residency_unclaim_report(struct residency_slot *slot)
{
	/* No marked word is 0: the mark is a bit of it. */
	atomic_store_explicit(&slot->reported, 0, memory_order_relaxed);
}

/*
 * Waits, after E_WAIT (or E_FAILED, to retry) and after the request has been sent, until
 * the layer is there or an attempt has failed since `seen`. The pin is held throughout and
 * after every result. `deadline_ns` is CLOCK_MONOTONIC, UINT64_MAX for none; 0 only looks.
 * Signals do not end the wait. A daemon that has died wakes nobody: wait in slices of some
 * 100 ms and look at the socket in between.
 * Return: OK, E_NOTIFY, E_FAILED, or -ETIMEDOUT, or what the futex call answered (-errno).
 */
static inline int residency_wait(struct residency_slot *slot, uint32_t seen, uint64_t deadline_ns)
{
	const struct timespec deadline = {
		.tv_sec = (time_t)(deadline_ns / 1000000000u),
		.tv_nsec = (long)(deadline_ns % 1000000000u),
	};

	for (;;) {
		/*
		 * Coherence: never older than the word of try_acquire(). The kernel
		 * compares the word once more under the lock that the waker takes after it
		 * has stored, so a change between this load and the sleep is not missed.
		 */
		uint32_t word = atomic_load_explicit(&slot->word, memory_order_acquire);
		enum residency_outcome outcome = residency_classify(word);

		/*
		 * The sequence tells a new failure from the one that is being retried:
		 * while the layer is not RESIDENT the daemon writes the word at state
		 * changes only.
		 */
		if (outcome != RESIDENCY_E_WAIT && !(outcome == RESIDENCY_E_FAILED && word == seen))
			return outcome;
		if (deadline_ns == 0)
			return -ETIMEDOUT;
		/*
		 * Shared, not FUTEX_PRIVATE: the waker is another process. BITSET: absolute
		 * time.
		 */
		if (syscall(SYS_futex, &slot->word, FUTEX_WAIT_BITSET, word,
			    deadline_ns == UINT64_MAX ? NULL : &deadline, NULL,
			    FUTEX_BITSET_MATCH_ANY) < 0 &&
		    errno != EAGAIN && errno != EINTR)
			return -errno;
	}
}

/* ---- daemon side: looking --------------------------------------------------- */

/*
 * How many acquires have not been released. Exact or too high for an honest client, never
 * too low; a client that claims more releases than acquires reads as pinned very often,
 * which ends at the pin timeout.
 */
static inline uint64_t residency_pins(struct residency_slot *slot)
{
	/*
	 * Releases first. Every release counted here happened after its acquire and
	 * synchronizes with this load, so the later load counts that acquire too: a
	 * difference of 0 means that all counted acquires are over. The other order would
	 * let the release of a late acquire (one that saw EVICTING and gave up) cancel the
	 * pin of an early one that is still in use.
	 */
	uint64_t over = atomic_load_explicit(&slot->released, memory_order_seq_cst) +
			atomic_load_explicit(&slot->device_released, memory_order_seq_cst);

	/* Seq_cst: the daemon's half of Dekker, after a store of the word. */
	return atomic_load_explicit(&slot->acquired, memory_order_seq_cst) - over;
}

/* Acquires ever begun; what set_notify() returns and used_since() takes. */
static inline uint64_t residency_uses(struct residency_slot *slot)
{
	return atomic_load_explicit(&slot->acquired, memory_order_seq_cst);
}

/* Return: true if an acquire began since residency_uses() returned `uses`. */
static inline bool residency_used_since(struct residency_slot *slot, uint64_t uses)
{
	return residency_uses(slot) != uses;
}

/* The client's stamp of its last acquire; never in the future, whatever the slot says. */
static inline uint64_t residency_last_use_ns(struct residency_slot *slot, uint64_t now_ns)
{
	uint64_t stamp = atomic_load_explicit(&slot->last_use_ns, memory_order_relaxed);

	return stamp < now_ns ? stamp : now_ns;
}

static inline enum residency_state residency_state(const struct residency_shadow *shadow)
{
	return residency_word_state(shadow->word);
}

static inline bool residency_is_marked(const struct residency_shadow *shadow)
{
	return shadow->word & RESIDENCY_NOTIFY;
}

/* ---- daemon side: changing -------------------------------------------------- */

/*
 * Stores the shadow's word. The mark shows in RESIDENT only: in every other state an
 * acquire sends a request anyway, and the word then changes at state changes only, on which
 * residency_wait() relies.
 */
static inline void residency_publish(struct residency_slot *slot, struct residency_shadow *shadow,
				     enum residency_state state)
{
	uint32_t word = (shadow->word & ~RESIDENCY_STATE_MASK) | (uint32_t)state;

	word += RESIDENCY_SEQ_ONE; /* wraps out of the top: 28 bits of sequence */
	shadow->word = word;
	if (state != RESIDENCY_RESIDENT)
		word &= ~RESIDENCY_NOTIFY;
	/*
	 * Seq_cst: Dekker, see residency_try_acquire(). It is a release as well: data
	 * written before RESIDENT, and the error before FAILED, are visible to who sees the
	 * word.
	 */
	atomic_store_explicit(&slot->word, word, memory_order_seq_cst);
}

/*
 * Wakes the waiters after a word they wait for was published. Without a pin nobody waits: a
 * waiter whose pin this look does not count raised it later in SC and finds the published
 * word before it sleeps. So a load ahead of need costs no system call.
 */
static inline void residency_wake(struct residency_slot *slot, const struct residency_waker *waker)
{
	if (residency_pins(slot) == 0)
		return;
	if (waker)
		waker->wake(waker, slot);
	else
		syscall(SYS_futex, &slot->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* A slot before any client maps it: ABSENT, unmarked, no pins. */
static inline void residency_init(struct residency_slot *slot, struct residency_shadow *shadow)
{
	atomic_store_explicit(&slot->error, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->acquired, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->released, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->device_released, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->last_use_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->reported, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->binding, 0, memory_order_relaxed);
	shadow->word = 0;
	residency_publish(slot, shadow, RESIDENCY_ABSENT);
}

/* ABSENT or FAILED: a load begins. */
static inline void residency_begin_load(struct residency_slot *slot,
					struct residency_shadow *shadow)
{
	assert(residency_state(shadow) == RESIDENCY_ABSENT ||
	       residency_state(shadow) == RESIDENCY_FAILED);
	residency_publish(slot, shadow, RESIDENCY_LOADING);
}

/* Any state but RESIDENT and EVICTING: where the data will be, before finish_load(). */
static inline void residency_bind(struct residency_slot *slot, uint64_t binding)
{
	atomic_store_explicit(&slot->binding, binding, memory_order_relaxed);
}

/* LOADING: the data is complete. Waiters go on. */
static inline void residency_finish_load(struct residency_slot *slot,
					 struct residency_shadow *shadow,
					 const struct residency_waker *waker)
{
	assert(residency_state(shadow) == RESIDENCY_LOADING);
	residency_publish(slot, shadow, RESIDENCY_RESIDENT);
	residency_wake(slot, waker);
}

/* LOADING: given up, for a load that no request waits for. Nobody is woken. */
static inline void residency_cancel_load(struct residency_slot *slot,
					 struct residency_shadow *shadow)
{
	assert(residency_state(shadow) == RESIDENCY_LOADING);
	residency_publish(slot, shadow, RESIDENCY_ABSENT);
}

/*
 * Any state but RESIDENT: the attempt ends with -errno, for everybody who waits. From
 * ABSENT and FAILED it refuses a request outright.
 */
static inline void residency_fail(struct residency_slot *slot, struct residency_shadow *shadow,
				  const struct residency_waker *waker, int r)
{
	assert(r < 0 && r > -4096);
	assert(residency_state(shadow) != RESIDENCY_RESIDENT);
	atomic_store_explicit(&slot->error, (uint32_t)-r, memory_order_relaxed);
	residency_publish(slot, shadow, RESIDENCY_FAILED);
	residency_wake(slot, waker);
}

/*
 * RESIDENT: begins to evict, unless the layer is pinned. After 0 the state is EVICTING and
 * the data may be destroyed at once: who acquires now finds EVICTING and sends a request.
 * Several sessions that map the same data: try each slot, and on the first E_PINNED take
 * the others back with cancel_evict().
 * Return: 0, or RESIDENCY_E_PINNED with the state RESIDENT as before.
 */
static inline int residency_try_evict(struct residency_slot *slot, struct residency_shadow *shadow,
				      const struct residency_waker *waker)
{
	assert(residency_state(shadow) == RESIDENCY_RESIDENT);
	/*
	 * Not for safety: this look proves nothing. But without it a daemon that tries again
	 * and again could show a waiter EVICTING whenever that wakes, and so starve it.
	 */
	if (residency_pins(slot) != 0)
		return RESIDENCY_E_PINNED;
	residency_publish(slot, shadow, RESIDENCY_EVICTING);
	if (residency_pins(slot) == 0)
		return 0;
	/* The pin's owner may have seen EVICTING and gone to sleep. */
	residency_publish(slot, shadow, RESIDENCY_RESIDENT);
	residency_wake(slot, waker);
	return RESIDENCY_E_PINNED;
}

/* EVICTING, with the data still whole: it stays after all. */
static inline void residency_cancel_evict(struct residency_slot *slot,
					  struct residency_shadow *shadow,
					  const struct residency_waker *waker)
{
	assert(residency_state(shadow) == RESIDENCY_EVICTING);
	residency_publish(slot, shadow, RESIDENCY_RESIDENT);
	residency_wake(slot, waker);
}

/*
 * EVICTING: the data is gone. Requests that came while evicting are the caller's to
 * remember; those who wait go on waiting for the load that answers them.
 */
static inline void residency_finish_evict(struct residency_slot *slot,
					  struct residency_shadow *shadow)
{
	assert(residency_state(shadow) == RESIDENCY_EVICTING);
	residency_publish(slot, shadow, RESIDENCY_ABSENT);
}

/*
 * Marks the layer in any state; every call is a new mark, to be reported anew. The mark
 * outlives eviction and reload.
 * Return: residency_uses() after the mark was set. Not lost: an acquire that this number
 * does not count sees the mark (or sends a request), because it is later in SC.
 */
static inline uint64_t residency_set_notify(struct residency_slot *slot,
					    struct residency_shadow *shadow)
{
	shadow->word |= RESIDENCY_NOTIFY;
	if (residency_state(shadow) == RESIDENCY_RESIDENT)
		residency_publish(slot, shadow, RESIDENCY_RESIDENT);
	return residency_uses(slot);
}

static inline void residency_clear_notify(struct residency_slot *slot,
					  struct residency_shadow *shadow)
{
	if (!residency_is_marked(shadow))
		return;
	shadow->word &= ~RESIDENCY_NOTIFY;
	if (residency_state(shadow) == RESIDENCY_RESIDENT)
		residency_publish(slot, shadow, RESIDENCY_RESIDENT);
}

#endif
