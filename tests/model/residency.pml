// SPDX-License-Identifier: GPL-2.0-only
/*
 * The protocol of common/residency.h, for spin. tests/model/run.sh runs it; docs/residency.md
 * tells what is proven and what is not.
 *
 * CLIENTS threads acquire one layer ROUNDS times each, while a daemon loads, fails, evicts and marks
 * it in every order. One statement is one access to shared memory, and statements
 * interleave freely: that is the single total order of C11's seq_cst operations, which all the
 * accesses that matter here are. (Weaker accesses are argued in the header and run under TSan.)
 *
 * Checked by assertion:
 *  - data is whole whenever a client uses it, and nobody uses it when it is destroyed;
 *  - a layer that became RESIDENT while a client waited is not destroyed before that client
 *    has released (a waiter cannot be starved by the next eviction);
 *  - an acquire that set_notify() did not count sees the mark or sends a request;
 *  - the newest mark that any acquire saw has been reported by one of them.
 * Checked by the absence of invalid end states: no lost wake-up and no dead-lock.
 * Checked as liveness (-DLIVENESS, weak fairness), with a daemon that evicts and loads
 * ahead for ever: every client finishes.
 *
 * -DMUTANT=M_... builds in one mistake; spin must find it. The list is in run.sh.
 */

#ifndef CLIENTS
#define CLIENTS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef EVENTS
#define EVENTS 3	/* what the daemon does unasked: evict, fail, mark, load ahead */
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 1
#endif

#define M_NONE			0
#define M_LOOK_BEFORE_PIN	1	/* client: state first, as if the store were delayed */
#define M_PINS_BEFORE_STATE	2	/* daemon: pins first, then EVICTING */
#define M_ACQUIRED_FIRST	3	/* daemon: reads acquired before released */
#define M_NO_WAKE_ON_BACKOFF	4	/* daemon: back to RESIDENT in silence */
#define M_WAKE_LOOK_FIRST	5	/* daemon: looks for waiters before it stores the state */
#define M_NO_COMPARE		6	/* futex: sleeps without comparing the word */
#define M_UNPIN_TO_WAIT		7	/* client: waits without its pin, pins again afterwards */
#define M_COUNT_BEFORE_MARK	8	/* daemon: reads the uses before it sets the mark */
#define M_MARK_DROPPED		9	/* daemon: a reload forgets the mark */
#define M_CLAIM_ONCE		10	/* client: claims once, not once a mark */
#define M_FORGET_REQUEST	11	/* daemon: drops requests that come while evicting */
#define M_NO_WAKE_ON_FAIL	12	/* daemon: fails in silence */
#define M_NO_EARLY_LOOK		13	/* daemon: tries to evict what is pinned (liveness) */
#define M_SHARED_RELEASE	14	/* client: device and processor write one counter */
#define M_CANCEL_BLINDLY	15	/* daemon: one waiter's cancellation ends another's request */

#ifndef MUTANT
#define MUTANT M_NONE
#endif

#define ABSENT		0
#define LOADING		1
#define RESIDENT	2
#define EVICTING	3
#define FAILED		4

#define NOTIFY		8
#define SEQ		16
#ifdef MARKS
#define SEQ_END		(1024 * SEQ)
#else
#define SEQ_END		(8 * SEQ)	/* wraps early: fewer states, and an endless daemon stays finite */
#endif

#define STATE(w)	((w) & 7)
#define MARKED(w)	(((w) & NOTIFY) != 0)

/* The slot. */
short word = ABSENT;
byte acquired, released, device_released;
short reported = 0;

/* The socket: a request for the layer, its cancellation, or a report of a mark. */
mtype = { want, cancel, report };
chan socket = [2 * CLIENTS] of { mtype, short };

/* Sleeping in the futex. */
bool asleep[CLIENTS];

/* What only the proof knows. */
bool whole;			/* the data is there */
bool using[CLIENTS];		/* the client reads the data */
bool waiting[CLIENTS];		/* it waits for a load */
bool served[CLIENTS];		/* a load ended while it waited */
bool marked;			/* set_notify() has returned, and no clear since */
byte mark_uses;			/* what it returned */
byte silent;			/* the newest acquire that the daemon did not hear of */
short saw_mark, got_mark;	/* the newest marked word seen by an acquire, and reported */
byte done;

inline look()
{
	atomic {
		seen = word;
		/* `mine` is this acquire's number: 0 if the pin is not yet raised (a mutant). */
		if
		:: STATE(seen) == RESIDENT && !MARKED(seen) ->
			assert(!marked || mine <= mark_uses);
			silent = (mine > silent -> mine : silent)
		:: else
		fi
	}
}

inline pin()
{
	atomic {
		acquired++;
		mine = acquired;
	}
}

inline unpin()
{
	if
#if MUTANT == M_SHARED_RELEASE
	:: me == 0 ->
		old = released;
		released = old + 1
#else
	/* The GPU of client 0: a plain write of an absolute number, one writer. */
	:: me == 0 -> device_released++
#endif
	:: else -> released++
	fi
}

proctype client(byte me; byte rounds; byte patience)
{
	byte mine = 0;
	bool gave_up;
	short seen, w, old;

	do
	:: rounds == 0 -> break
	:: else ->
		rounds--;
#if MUTANT == M_LOOK_BEFORE_PIN
		mine = 0;
		look();
		pin();
#else
		pin();
		look();
#endif
		if
		:: STATE(seen) == RESIDENT ->
			w = seen;
			goto use
		:: STATE(seen) == FAILED -> goto giveup
		:: else	/* a FAILED layer may be tried again, too */
		fi;

		atomic {
			waiting[me] = true;
			socket!want(0)
		}
#if MUTANT == M_UNPIN_TO_WAIT
		unpin();
#endif
sleep:
		w = word;
		if
		:: STATE(w) == RESIDENT || (STATE(w) == FAILED && w != seen) -> goto waited
		:: else
		fi;
		if
#if MUTANT == M_NO_COMPARE
		:: asleep[me] = true
#else
		/* The kernel compares and queues in one step. */
		:: atomic { word == w -> asleep[me] = true }
#endif
			if
			:: !asleep[me]
			:: patience > 0 ->	/* the deadline */
				atomic {
					patience--;
					gave_up = true;
					asleep[me] = false;
#if MUTANT == M_UNPIN_TO_WAIT
					goto waited
#else
					goto giveup
#endif
				}
			fi
#if MUTANT != M_NO_COMPARE
		:: word != w	/* EAGAIN */
#endif
		fi;
		goto sleep;
waited:
#if MUTANT == M_UNPIN_TO_WAIT
		pin();
		w = word;
#endif
		if
		:: STATE(w) == RESIDENT
		:: else -> goto giveup
		fi;
use:
		atomic {
			using[me] = true;
			assert(whole);
			saw_mark = (MARKED(w) && w > saw_mark -> w : saw_mark)
		}
		if
		:: MARKED(w) ->
			atomic {
				old = reported;
				reported = w;
#if MUTANT == M_CLAIM_ONCE
				old = (old != 0 -> w : 0)
#endif
			}
			if
			:: old != w -> socket!report(w)
			:: else
			fi
		:: else
		fi;
giveup:
		atomic {
			using[me] = false;
			waiting[me] = false;
			served[me] = false;
			/* Dead values would only multiply the states. */
			seen = 0;
			w = 0;
			mine = 0;
#if MUTANT == M_SHARED_RELEASE
		}
		unpin();
		atomic {
#else
			unpin();
#endif
			old = 0
		}
		/* After the release, so that the daemon's look at the pins does not count ours. */
		if
		:: gave_up -> gave_up = false; socket!cancel(0)
		:: else
		fi
	od;
	done++
}

inline publish(state)
{
	atomic {
		shadow = ((shadow + SEQ) % SEQ_END & ~7) | state;
		/* The mark shows in RESIDENT only. */
		word = (state == RESIDENT -> shadow : shadow & ~NOTIFY);
		if
		:: state == RESIDENT && whole ->
			for (i : 0 .. CLIENTS - 1) {
				served[i] = served[i] || waiting[i];
			}
		:: else
		fi;
		i = 0;
	}
}

/* residency_pins() into `held`. */
inline pins()
{
#if MUTANT == M_ACQUIRED_FIRST
	held = acquired;
	held = held - released;
	held = held - device_released;
#else
	held = released;
	held = held + device_released;
	held = acquired - held;
#endif
}

inline wake_all()
{
	d_step {
		i = 0;
		do
		:: i < CLIENTS -> asleep[i] = false; i++
		:: else -> break
		od;
		i = 0;
	}
}

inline wake()
{
	pins();
	if
	:: held != 0 -> wake_all()
	:: else
	fi;
	held = 0
}

inline publish_and_wake(state)
{
#if MUTANT == M_WAKE_LOOK_FIRST
	pins();
	publish(state);
	if
	:: held != 0 -> wake_all()
	:: else
	fi;
	held = 0
#else
	publish(state);
	wake()
#endif
}

inline back_to_resident()
{
#if MUTANT == M_NO_WAKE_ON_BACKOFF
	publish(RESIDENT)
#else
	publish_and_wake(RESIDENT)
#endif
}

inline try_evict()
{
#if MUTANT == M_NO_EARLY_LOOK
	held = 0;
#else
	pins();
#endif
	if
	:: held == 0 ->
#if MUTANT == M_PINS_BEFORE_STATE
		pins();
		publish(EVICTING);
#else
		publish(EVICTING);
		pins();
#endif
		if
		:: held == 0
		:: else -> back_to_resident()
		fi
	:: else
	fi;
	held = 0
}

/* The data goes: nobody may use it, nobody may have been promised it. */
inline destroy()
{
	d_step {
		i = 0;
		do
		:: i < CLIENTS ->
			assert(!using[i]);
			assert(!served[i]);
			i++
		:: else -> break
		od;
		i = 0;
		whole = false;
	}
}

inline set_notify()
{
#if MUTANT == M_COUNT_BEFORE_MARK
	uses = acquired;
#endif
	marked = false;
	shadow = shadow | NOTIFY;
	if
	:: STATE(shadow) == RESIDENT -> publish(RESIDENT)
	:: else
	fi;
	atomic {
#if MUTANT != M_COUNT_BEFORE_MARK
		uses = acquired;
#endif
		assert(silent <= uses);
		mark_uses = uses;
		marked = true;
		uses = 0;
	}
}

inline clear_notify()
{
	marked = false;
	shadow = shadow & ~NOTIFY;
	if
	:: STATE(shadow) == RESIDENT -> publish(RESIDENT)
	:: else
	fi
}

/* A message, if there is one. */
inline receive()
{
	if
	:: socket?want(msg) ->
		if
#if MUTANT == M_FORGET_REQUEST
		:: STATE(shadow) == EVICTING
#endif
		:: STATE(shadow) == RESIDENT	/* answered already */
		:: else -> wanted = true
		fi
	:: socket?cancel(msg) ->
		/* Only if nobody else waits. One who pins later sends a request later. */
#if MUTANT != M_CANCEL_BLINDLY
		pins();
#endif
		if
		:: held == 0 -> wanted = false
		:: else
		fi;
		held = 0
	:: socket?report(msg) ->
		got_mark = (msg > got_mark -> msg : got_mark);
		if
		:: MARKED(shadow) -> clear_notify()
		:: skip
		fi
	fi;
	msg = 0
}

proctype daemon()
{
	short shadow = ABSENT;
	bool wanted = false;
	byte held = 0, i = 0, uses = 0;
	byte events = EVENTS;
	short msg = 0;

	do
#ifdef LIVENESS
	/* Messages first; then any one step. Fairness among choices is the daemon's own duty. */
	:: done == CLIENTS && empty(socket) -> break
	:: nempty(socket) -> receive()
	:: empty(socket) && done < CLIENTS ->
		if
		:: STATE(shadow) == RESIDENT -> try_evict()
		:: STATE(shadow) == EVICTING -> destroy(); publish(ABSENT)
		:: STATE(shadow) == LOADING -> whole = true; publish_and_wake(RESIDENT); wanted = false
		:: STATE(shadow) == LOADING && events > 0 ->
			events--; publish_and_wake(FAILED); wanted = false
		:: STATE(shadow) == ABSENT || STATE(shadow) == FAILED -> publish(LOADING)
		fi
#else
	:: done == CLIENTS && empty(socket) -> break
	:: nempty(socket) -> receive()
	:: STATE(shadow) == RESIDENT && events > 0 -> events--; try_evict()
	:: STATE(shadow) == EVICTING -> destroy(); publish(ABSENT)
	:: STATE(shadow) == EVICTING && wanted -> back_to_resident(); wanted = false
	:: (STATE(shadow) == ABSENT || STATE(shadow) == FAILED) && wanted -> publish(LOADING)
	:: (STATE(shadow) == ABSENT || STATE(shadow) == FAILED) && wanted && events > 0 ->
		events--; publish_and_wake(FAILED); wanted = false
	:: STATE(shadow) == ABSENT && events > 0 -> events--; publish(LOADING)
	:: STATE(shadow) == LOADING && !wanted -> publish(ABSENT)
	:: STATE(shadow) == LOADING ->
		whole = true;
#if MUTANT == M_MARK_DROPPED
		shadow = shadow & ~NOTIFY;
#endif
		publish_and_wake(RESIDENT);
		wanted = false
	:: STATE(shadow) == LOADING && events > 0 ->
		events--;
#if MUTANT == M_NO_WAKE_ON_FAIL
		publish(FAILED);
#else
		publish_and_wake(FAILED);
#endif
		wanted = false
#ifdef MARKS
	:: events > 0 -> events--; set_notify()
#endif
#endif
	od;
	assert(got_mark >= saw_mark);
	/* No release was lost. */
	assert(acquired == released + device_released)
}

init
{
	byte n = 0;

	atomic {
		run daemon();
		do
		:: n < CLIENTS ->
			/* One is patient and comes back; the others come once and may lose patience. */
			run client(n, (n == 0 -> ROUNDS : 1), (n == 0 -> 0 : TIMEOUTS));
			n++
		:: else -> break
		od
	}
}

#ifdef LIVENESS
ltl all_finish { <> (done == CLIENTS) }
#endif
