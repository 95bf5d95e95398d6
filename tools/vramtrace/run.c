// SPDX-License-Identifier: GPL-2.0-only
/*
 * The loop: events, the interval's timer, signals, and vramd, which may go and come again.
 *
 * With the module the ledger's events go on when vramd ends; what only vramd tells of, and all of it without the
 * module, begins again with the next vramd behind the socket.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "tools/vramtrace/view.h"
#include "tools/vramtrace/vramd.h"

/* How often a next vramd is looked for. */
#define LOOK_MS 200

struct run {
	const struct view *view;
	const struct options *options;
	struct trace trace;
	struct tracer *tracer;
	struct vramd vramd;
	int signals;
	int timer;
	int pidfd; /* of vramd, or -1 */
	uint64_t n_reports;
	bool end;
	int status;
};

static uint64_t now_of(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void on_event(void *owner, const struct event *event)
{
	struct run *run = owner;

	/* Before names are forgotten, and after they are learnt. */
	if (event->kind != EVENT_SHARE_FREE)
		names_learn(&run->trace.names, event);
	run->view->event(&run->trace, event);
}

/* ---- vramd --------------------------------------------------------------------- */

static bool needs_probes(const struct run *run)
{
	return tracer_source(run->tracer) == SOURCE_USDT;
}

/* What is there already: names, and which sessions the filter lets through. */
static int take_stock(struct run *run)
{
	const struct filter *filter = &run->options->filter;
	struct map_entry *entry;
	int r;

	if (!run->vramd.answers) {
		if (filter_by_session(filter)) {
			fputs("vramtrace: -u and -c need to know which sessions there are, but no vramd "
			      "answers: only sessions that begin now are seen\n",
			      stderr);
		}
		return 0;
	}
	r = vramd_names(run->options->socket, &run->trace.names);
	if (r < 0 || !filter_by_session(filter))
		return r;
	for (size_t i = 0; (entry = map_next(&run->trace.names.sessions, &i));) {
		const struct names_session *s = entry->value;

		if (filter_fits(filter, s->pid, s->uid))
			tracer_allow_session(run->tracer, s->session);
	}
	return 0;
}

static void watch_vramd(struct run *run)
{
	run->pidfd = run->vramd.pid ? (int)syscall(SYS_pidfd_open, run->vramd.pid, 0) : -1;
}

static void vramd_ended(struct run *run)
{
	close(run->pidfd);
	run->pidfd = -1;
	tracer_detach_vramd(run->tracer);
	if (run->options->vramd && needs_probes(run)) {
		fprintf(stderr, "vramtrace: vramd %d has ended\n", (int)run->vramd.pid);
		run->end = true;
		return;
	}
	fprintf(stderr, "vramtrace: vramd %d has ended%s\n", (int)run->vramd.pid,
		run->options->vramd ? "" : "; waiting for the next one");
	run->vramd = (struct vramd){ 0 };
}

static void look_for_vramd(struct run *run)
{
	struct vramd next;

	if (vramd_find(run->options->socket, &next) < 0 || !next.pid)
		return;
	if (next.uses_module == needs_probes(run)) {
		fprintf(stderr,
			"vramtrace: vramd %d keeps its ledger elsewhere than the one before: start "
			"vramtrace again\n",
			(int)next.pid);
		run->end = true;
		run->status = EXIT_FAILURE;
		return;
	}
	if (tracer_attach_vramd(run->tracer, next.pid) < 0) {
		run->end = true;
		run->status = EXIT_FAILURE;
		return;
	}
	run->vramd = next;
	/* Its numbers begin anew. */
	names_clear(&run->trace.names);
	take_stock(run);
	watch_vramd(run);
	fprintf(stderr, "vramtrace: tracing vramd %d\n", (int)next.pid);
}

/* Which vramd, and where the ledger's events come from. Return: 0, or -errno after saying why not. */
static int choose(struct run *run, struct tracer_params *params)
{
	const struct options *options = run->options;
	char others[128];
	int r;

	if (options->vramd)
		r = vramd_take(options->socket, options->vramd, &run->vramd);
	else
		r = vramd_find(options->socket, &run->vramd);
	if (r < 0)
		return r;
	vramd_others(run->vramd.pid, others, sizeof(others));
	params->source = options->source;
	if (!run->vramd.pid && (options->source == SOURCE_USDT || !vramd_module_loaded())) {
		fprintf(stderr,
			"vramtrace: there is nothing to trace: no vramd answers%s%s%s\n"
			"Start it with 'systemctl start vramd' or 'vramd --user'.%s%s%s\n",
			options->socket ? " at " : "", options->socket ? options->socket : "",
			vramd_module_loaded() ? "" : ", and the module vram is not loaded",
			*others ? " Process " : "", others,
			*others ? " is called vramd: name one with --vramd." : "");
		return -ENOENT;
	}
	if (run->view->needs_vramd && !run->vramd.pid) {
		fprintf(stderr,
			"vramtrace: %s is told by vramd alone, and none answers: start it, or name it "
			"with --vramd PID\n",
			run->view->name);
		return -ENOENT;
	}
	if (options->source == SOURCE_AUTO && run->vramd.pid && !run->vramd.uses_module)
		params->source = SOURCE_USDT;
	params->vramd = run->vramd.pid;
	if (*others && !options->vramd)
		fprintf(stderr,
			"vramtrace: tracing vramd %d; there is also %s, which --vramd selects\n",
			(int)run->vramd.pid, others);
	return 0;
}

/* ---- the loop -------------------------------------------------------------------- */

static void report_lost(struct run *run)
{
	uint64_t lost = tracer_lost(run->tracer), more = lost - run->trace.lost;

	if (!more)
		return;
	run->trace.lost = lost;
	fflush(stdout);
	fprintf(stderr,
		"vramtrace: %" PRIu64 " events lost: give a larger --buffer, or filter more\n",
		more);
	if (run->options->json)
		json_line(&run->trace, now_of(CLOCK_MONOTONIC),
			  json_pack("{s:s, s:I, s:I}", "event", "lost", "lost", (json_int_t)more,
				    "lost_total", (json_int_t)lost));
}

static void report(struct run *run)
{
	uint64_t now = now_of(CLOCK_MONOTONIC);

	if (run->view->report)
		run->view->report(&run->trace, now);
	run->trace.since_ns = now;
	report_lost(run);
	fflush(stdout);
}

static void on_timer(struct run *run)
{
	uint64_t expirations;

	if (read(run->timer, &expirations, sizeof(expirations)) < 0)
		return;
	report(run);
	if (run->options->count && ++run->n_reports >= run->options->count)
		run->end = true;
}

static int consume(struct run *run)
{
	int n = tracer_consume(run->tracer);

	if (n < 0 && n != -EINTR && n != -EAGAIN) {
		fprintf(stderr, "vramtrace: the events cannot be read: %s\n", strerror(-n));
		run->end = true;
		run->status = EXIT_FAILURE;
	}
	if ((n > 0 || n == -EAGAIN) && !run->view->report) {
		report_lost(run);
		fflush(stdout);
	}
	return n;
}

static void loop(struct run *run)
{
	while (!run->end) {
		struct pollfd fds[] = {
			{ .fd = tracer_fd(run->tracer), .events = POLLIN },
			{ .fd = run->signals, .events = POLLIN },
			{ .fd = run->timer, .events = POLLIN },
			{ .fd = run->pidfd, .events = POLLIN },
		};
		bool waits = run->pidfd < 0 && !run->options->vramd &&
			     (needs_probes(run) || run->trace.has_vramd);
		int n = poll(fds, 4, waits ? LOOK_MS : -1);

		if (n < 0 && errno != EINTR)
			break;
		consume(run);
		if (fds[1].revents)
			break;
		if (fds[2].revents)
			on_timer(run);
		if (fds[3].revents)
			vramd_ended(run);
		else if (waits)
			look_for_vramd(run);
	}
}

static int prepare(struct run *run)
{
	uint64_t ns = run->options->interval_ns ? run->options->interval_ns :
						  run->view->interval_ns;
	const struct itimerspec every = {
		.it_interval = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) },
		.it_value = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) },
	};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	/* Who has been told to ignore them (nohup) does. SIGPIPE ends us: nobody reads any more. */
	for (int i = 1; i < NSIG; i++) {
		struct sigaction action;

		if (sigismember(&set, i) == 1 && sigaction(i, NULL, &action) == 0 &&
		    action.sa_handler == SIG_IGN)
			sigdelset(&set, i);
	}
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	run->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	run->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (run->signals < 0 || run->timer < 0 || timerfd_settime(run->timer, 0, &every, NULL) < 0)
		return -errno;
	return 0;
}

int trace_run(const struct view *view, const struct options *options)
{
	struct run run = {
		.view = view,
		.options = options,
		.trace.options = options,
		.signals = -1,
		.timer = -1,
		.pidfd = -1,
	};
	struct tracer_params params = {
		.kinds = view->kinds,
		.filter = &options->filter,
		.buffer_bytes = options->buffer_bytes,
		.verbose = options->verbose,
		.on_event = on_event,
		.owner = &run,
	};
	static const char *const sources[] = { "", "trace points", "raw trace points", "probes" };

	if (view == &view_events)
		params.kinds &= options->kinds;
	if (choose(&run, &params) < 0 || tracer_new(&run.tracer, &params) < 0)
		return EXIT_FAILURE;
	run.trace.has_vramd = run.vramd.pid;
	run.trace.clock_ns = now_of(CLOCK_REALTIME) - now_of(CLOCK_MONOTONIC);
	run.trace.since_ns = now_of(CLOCK_MONOTONIC);
	watch_vramd(&run);
	if (take_stock(&run) < 0 || prepare(&run) < 0) {
		tracer_free(run.tracer);
		return EXIT_FAILURE;
	}
	if (options->verbose)
		fprintf(stderr, "vramtrace: by %s%s\n", sources[tracer_source(run.tracer)],
			run.vramd.pid ? "" : ", without a vramd");
	/* In JSON there is nothing but JSON. */
	fprintf(options->json ? stderr : stdout, "Tracing %s... Hit Ctrl-C to end.\n", view->title);
	fflush(stdout);
	loop(&run);
	/* What happened before we were asked to end counts. */
	tracer_detach(run.tracer);
	while (consume(&run) == -EAGAIN)
		;
	if (!options->count || run.n_reports < options->count)
		report(&run);
	report_lost(&run);
	tracer_free(run.tracer);
	names_clear(&run.trace.names);
	return run.status;
}
