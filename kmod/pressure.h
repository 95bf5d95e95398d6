/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pressure: how much time is lost waiting for device memory, in PSI's terms.
 * The model is told at the top of pressure.c; every function at its definition.
 */
#ifndef VRAM_KMOD_PRESSURE_H
#define VRAM_KMOD_PRESSURE_H

#include "kmod/compat.h"

#define PRESSURE_PERIOD_NS     2000000000ull
#define PRESSURE_WINDOW_MIN_US 500000u
#define PRESSURE_WINDOW_MAX_US 10000000u

enum pressure_state {
	PRESSURE_SOME,
	PRESSURE_FULL,
	PRESSURE_N_STATES,
};

#define PRESSURE_N_AVGS 3 /* 10 s, 60 s, 300 s */

struct pressure_trigger {
	struct pressure_trigger *next;
	u32 state;    /* enum pressure_state */
	bool event;   /* fired, not yet taken */
	bool pending; /* the threshold was reached, the event is held back */
	bool has_fired;
	u64 threshold_ns;
	u64 window_ns;
	u64 start_ns; /* of the current window */
	u64 start_total;
	u64 prev_growth; /* of the window before */
	u64 last_event_ns;
};

struct pressure {
	u32 n_running;
	u32 n_stalled;
	u64 now_ns; /* the time up to which everything is counted */
	u64 period_end_ns;
	u64 total_ns[PRESSURE_N_STATES];
	u64 period_total_ns[PRESSURE_N_STATES];	     /* total at the period's begin */
	u32 avg[PRESSURE_N_STATES][PRESSURE_N_AVGS]; /* percent << 11 */

	struct pressure_trigger *triggers;
	u64 poll_min_ns;  /* a tenth of the smallest window */
	u64 poll_next_ns; /* VRAM_U64_MAX: not polling */
	u64 poll_until_ns;
	u64 poll_total_ns[PRESSURE_N_STATES];	 /* at the last poll */
	u64 trigger_total_ns[PRESSURE_N_STATES]; /* at the last evaluation */
};

struct pressure_reading {
	u64 total_us[PRESSURE_N_STATES];
	u32 avg_centi[PRESSURE_N_STATES][PRESSURE_N_AVGS]; /* 1/100 percent */
};

/* Two lines with the largest numbers, and the terminating zero. */
#define PRESSURE_TEXT_MAX 160

void pressure_init(struct pressure *p, u64 now_ns);
int pressure_run(struct pressure *p, u64 now_ns);
int pressure_idle(struct pressure *p, u64 now_ns);
int pressure_enter(struct pressure *p, u64 now_ns);
int pressure_leave(struct pressure *p, u64 now_ns);
void pressure_read(struct pressure *p, u64 now_ns, struct pressure_reading *out_reading);
int pressure_format(const struct pressure_reading *reading, char *buf, size_t size);

int pressure_trigger_add(struct pressure *p, struct pressure_trigger *t, u32 state,
			 u64 threshold_us, u64 window_us, u64 now_ns);
void pressure_trigger_del(struct pressure *p, struct pressure_trigger *t);
bool pressure_trigger_take(struct pressure_trigger *t);
u64 pressure_poll(struct pressure *p, u64 now_ns);

#endif
