/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * trigger: has the time that is lost waiting passed a threshold within a window?
 *
 * A pure module, the rules of the kernel's PSI triggers: it is given the total of a pressure meter now and then (a tenth of
 * the window is often enough). The window slides approximately: what grew since it began, plus what grew in the one
 * before in proportion to what of that is still in the last window_ns. It fires at most once a window; what comes too early is
 * held back, not dropped.
 */
#ifndef VRAM_DAEMON_TRIGGER_H
#define VRAM_DAEMON_TRIGGER_H

#include <stdbool.h>
#include <stdint.h>

#define TRIGGER_WINDOW_MIN_US 500000u
#define TRIGGER_WINDOW_MAX_US 10000000u

struct trigger {
	uint64_t threshold_us;
	uint64_t window_ns;
	uint64_t start_ns;  /* of the window */
	uint64_t start_us;  /* the total then */
	uint64_t before_us; /* growth in the window before */
	uint64_t last_us;   /* the total that was seen last */
	uint64_t moved_ns;  /* when that had grown */
	uint64_t fired_ns;
	bool fired; /* ever */
	bool pending;
};

/* Return: 0, or -EINVAL: a window outside 0.5 to 10 s, a threshold of 0 or above the window. */
int trigger_init(struct trigger *t, uint64_t threshold_us, uint64_t window_us);
/* A window begins: at first, and when nobody has looked for a while. */
void trigger_restart(struct trigger *t, uint64_t now_ns, uint64_t total_us);
/* Return: whether it fires. */
bool trigger_feed(struct trigger *t, uint64_t now_ns, uint64_t total_us);
/* Nothing has grown for a window and nothing is held back: need not be fed until something stalls; restart it then. */
bool trigger_is_quiet(const struct trigger *t, uint64_t now_ns);
/* When to feed it next. */
static inline uint64_t trigger_next_ns(const struct trigger *t, uint64_t now_ns)
{
	return now_ns + t->window_ns / 10;
}

#endif
