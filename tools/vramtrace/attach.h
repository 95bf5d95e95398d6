/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one place that talks to libbpf: loads the programs that a subcommand needs, attaches them, and hands
 * their events on.
 *
 * The ledger's events come from the module's trace points, by their records or raw, or from probes of vramd.
 * vramd's own come from its probes in any case. Errors are said on stderr with what to do about them.
 */
#ifndef VRAM_TOOLS_VRAMTRACE_ATTACH_H
#define VRAM_TOOLS_VRAMTRACE_ATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tools/vramtrace/event.h"
#include "tools/vramtrace/filter.h"

enum source {
	SOURCE_AUTO,
	SOURCE_TRACEPOINT, /* of the module, by their records */
	SOURCE_RAW,	   /* of the module, raw */
	SOURCE_USDT,	   /* of vramd */
	SOURCE_N,
};

struct tracer;

struct tracer_params {
	uint32_t kinds; /* a bit per enum event_kind */
	enum source
		source; /* of the ledger's; AUTO: records, or raw where these are not as they should be */
	pid_t vramd; /* 0: none; kinds that only it has do not come */
	const struct filter *filter;
	size_t buffer_bytes; /* a power of two and of pages */
	bool verbose;
	void (*on_event)(void *owner, const struct event *event);
	void *owner;
};

/* Return: 0, or -errno after saying what is wrong. */
int tracer_new(struct tracer **out, const struct tracer_params *params);
struct tracer *tracer_free(struct tracer *t);

/* The source of the ledger's events that was taken. */
enum source tracer_source(const struct tracer *t);
/* A descriptor that polls readable when there are events. */
int tracer_fd(const struct tracer *t);
/*
 * Calls on_event for what is there, but not without end where events come faster than they are taken.
 * Return: how many; -EAGAIN: there are more; another -errno.
 */
int tracer_consume(struct tracer *t);
/* Events that found no room, or whose program the kernel could not run, so far. */
uint64_t tracer_lost(const struct tracer *t);

/* Filters by user or control group: this session, which was there before, fits. */
int tracer_allow_session(struct tracer *t, uint64_t session);

/* Lets go of everything; what has come by then can still be consumed. */
void tracer_detach(struct tracer *t);
/* vramd has gone: let go of it. Another one has come: attach to that. */
void tracer_detach_vramd(struct tracer *t);
int tracer_attach_vramd(struct tracer *t, pid_t vramd);

#endif
