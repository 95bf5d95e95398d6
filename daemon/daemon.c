// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/daemon.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/err.h"
#include "common/size.h"
#include "daemon/admin.h"
#include "daemon/config.h"
#include "daemon/limits_live.h"
#include "daemon/listener.h"
#include "daemon/log_refusal.h"
#include "daemon/loop.h"
#include "daemon/metrics_listen.h"
#include "daemon/names.h"
#include "daemon/privileges.h"
#include "daemon/scheduler.h"
#include "daemon/session.h"

#define DAEMON_RING_ENTRIES 1024u
/* Sessions beyond limits.max_sessions for root, who may have to look why there are so many. */
#define DAEMON_SESSIONS_RESERVED 16u
/* How often a stopping daemon looks whether it is done, and for how long at most. */
#define DAEMON_STOP_POLL_NS 5000000ull
#define DAEMON_STOP_MAX_NS  10000000000ull

struct vramd {
	const struct config *config;
	int argc;
	char *const *argv;
	struct loop *loop;
	struct scheduler *scheduler;
	struct names *names;
	struct limits_live *limits;
	struct listener *listener;
	struct metrics_listen *metrics; /* NULL: not to be served */
	struct loop_op signal_op;
	struct loop_op watchdog_op;
	struct loop_op stop_op;
	int signal_fd;
	uint64_t watchdog_ns; /* between two signs of life; 0: nobody wants any */
	uint64_t stop_by_ns;  /* 0: not stopping */
	char refused[128];    /* why the last client was refused */
};

#define daemon_of(op, member) \
	((struct vramd *)(void *)((char *)(op)-offsetof(struct vramd, member)))

/* ---- clients ---- */

static const char *refuse(struct vramd *d, size_t n, uint64_t max, const char *whose,
			  const char *limit, struct log_bound *out_bound)
{
	*out_bound = (struct log_bound){ .key = limit, .asked = n + 1, .limit = max };
	snprintf(d->refused, sizeof(d->refused), "%s %zu sessions already (%s)", whose, n, limit);
	return d->refused;
}

/* Return: NULL to let the client in, or why not. */
static const char *admit(struct vramd *d, uid_t uid, struct log_bound *out_bound)
{
	bool privileged = uid == 0 || uid == geteuid();
	uint64_t max = d->config->limits.max_sessions;
	size_t n = sessions_count(), n_user;

	if (privileged && !d->config->user)
		max += DAEMON_SESSIONS_RESERVED;
	if (n >= max)
		return refuse(d, n, max, "vramd has", "limits.max_sessions", out_bound);
	if (privileged)
		return NULL;
	n_user = sessions_count_user(uid);
	if (n_user >= d->config->limits.max_sessions_per_user)
		return refuse(d, n_user, d->config->limits.max_sessions_per_user, "this user has",
			      "limits.max_sessions_per_user", out_bound);
	return NULL;
}

static const char *client_connected(void *owner, int fd, const struct ucred *peer, int pidfd,
				    struct log_bound *out_bound)
{
	struct vramd *d = owner;
	const char *reason = admit(d, peer->uid, out_bound);
	struct session *session;
	int r;

	if (reason)
		return reason;
	r = session_new(d->scheduler, fd, peer, pidfd, &session);
	if (r < 0)
		log_warn_limited("no session for user %u, pid %d: %s", peer->uid, peer->pid,
				 err_text(r));
	return NULL;
}

/* ---- ending ---- */

static void stop_look(struct vramd *d)
{
	uint64_t now = loop_now();
	bool done = sessions_count() == 0 && scheduler_is_idle(d->scheduler);

	if (!done && now >= d->stop_by_ns)
		log_warn("stopping although not everything has ended");
	if (done || now >= d->stop_by_ns ||
	    loop_timer(d->loop, &d->stop_op, now + DAEMON_STOP_POLL_NS) < 0)
		loop_stop(d->loop);
}

static void stop_timer(struct loop_op *op, int res)
{
	(void)res;
	stop_look(daemon_of(op, stop_op));
}

static void stop_begin(struct vramd *d, uint32_t signal)
{
	if (d->stop_by_ns > 0) {
		log_warn("second signal: ending at once");
		_exit(EXIT_FAILURE);
	}
	log_event(LOG_LEVEL_INFO, &LOG_ID(STOPPING), 1, "stopping: %s", strsignal((int)signal));
	sd_notify(0, "STOPPING=1");
	d->stop_by_ns = loop_now() + DAEMON_STOP_MAX_NS;
	listener_stop(d->listener);
	sessions_stop("vramd is stopping");
	stop_look(d);
}

/* ---- signals and the watchdog ---- */

/* All of it or nothing: the log level of the configuration, and the limits. */
static int take_files(struct vramd *d, size_t *out_files, size_t *out_rules, char *reason,
		      size_t size)
{
	char why[CONFIG_REASON_MAX], why_limits[LIMITS_REASON_MAX];
	struct config config;
	int r;

	if (config_reload(&config, d->argc, d->argv, why) != 0) {
		snprintf(reason, size, "%s", *why ? why : "the command line is not understood");
		return err_origin(-EINVAL);
	}
	r = limits_live_reload(d->limits, out_files, out_rules, why_limits);
	if (r < 0)
		snprintf(reason, size, "%s", why_limits);
	else
		log_set_level((enum log_level)config.daemon.log_level);
	config_deinit(&config);
	return err_trace(r);
}

static int reload(void *ctx, size_t *out_files, size_t *out_rules, char *reason, size_t size)
{
	struct vramd *d = ctx;
	int r;

	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(loop_now() / 1000));
	r = take_files(d, out_files, out_rules, reason, size);
	if (r == 0) {
		log_event(
			LOG_LEVEL_INFO, &LOG_ID(RELOADED), 1,
			"configuration read again: the log level is %s, %zu rules in %zu files of %s; "
			"other settings need a restart",
			log_level_name(log_get_level()), *out_rules, *out_files,
			d->config->limits.dir);
		scheduler_limits_changed(d->scheduler);
	} else {
		log_event(LOG_LEVEL_ERROR, &LOG_ID(RELOAD_REFUSED), 1,
			  "configuration not taken, everything stays as it is: %s", reason);
	}
	sd_notify(0, "READY=1");
	return err_trace(r);
}

static void limits_changed(void *ctx)
{
	struct vramd *d = ctx;

	scheduler_limits_changed(d->scheduler);
}

/* After the scheduler, which has the ledger, and before anybody can connect. */
static int limits_start(struct vramd *d)
{
	const struct limits_live_params params = {
		.dir = d->config->limits.dir,
		.must_exist = d->config->limits.dir_given,
		.arbiter = scheduler_arbiter(d->scheduler),
		.dev = scheduler_device(d->scheduler),
		.names = d->names,
		.changed = limits_changed,
		.ctx = d,
	};
	char reason[LIMITS_REASON_MAX];
	int r;

	r = limits_live_new(&d->limits, &params, reason);
	if (r < 0) {
		log_error("%s", reason);
		return err_trace(r);
	}
	scheduler_set_limits(d->scheduler, d->limits);
	scheduler_limits_changed(d->scheduler);
	admin_set_reload(reload, d);
	return err_trace(limits_live_watch(d->limits, d->loop));
}

static void signal_ready(struct loop_op *op, int res)
{
	struct vramd *d = daemon_of(op, signal_op);
	struct signalfd_siginfo info;
	char reason[CONFIG_REASON_MAX];
	size_t n_files, n_rules;

	if (res < 0)
		log_error("signals cannot be watched: %s", err_text(res));
	while (read(d->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			(void)reload(d, &n_files, &n_rules, reason, sizeof(reason));
		else
			stop_begin(d, info.ssi_signo);
	}
}

static int signals_take(struct vramd *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_origin(-errno);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d->signal_fd < 0)
		return err_origin(-errno);
	return err_trace(loop_poll(d->loop, &d->signal_op, d->signal_fd, POLLIN));
}

static void watchdog_timer(struct loop_op *op, int res)
{
	struct vramd *d = daemon_of(op, watchdog_op);

	(void)res;
	sd_notify(0, "WATCHDOG=1");
	if (loop_timer(d->loop, op, loop_now() + d->watchdog_ns) < 0)
		log_error("the watchdog's timer cannot be set");
}

static int watchdog_start(struct vramd *d)
{
	uint64_t usec = 0;

	if (sd_watchdog_enabled(0, &usec) <= 0 || usec == 0)
		return 0;
	d->watchdog_ns = usec * 1000 / 2;
	return err_trace(loop_timer(d->loop, &d->watchdog_op, loop_now() + d->watchdog_ns));
}

/* ---- the whole ---- */

static int setup(struct vramd *d)
{
	const struct config *config = d->config;
	int r;

	/* While the process has nothing yet that the helper should not have. */
	r = names_new(&d->names, &names_system);
	if (r < 0) {
		log_error("cannot start the helper that looks up names: %s", err_text(r));
		return err_trace(r);
	}
	privileges_raise_limits();
	privileges_raise_priority();
	r = loop_new(&d->loop, DAEMON_RING_ENTRIES);
	if (r < 0) {
		log_error(
			"io_uring is not to be had: %s (Linux 6.1 or newer is needed, and neither the "
			"sysctl kernel.io_uring_disabled nor a container's seccomp profile may forbid it)",
			err_text(r));
		return err_trace(r);
	}
	r = signals_take(d);
	if (r == 0)
		r = watchdog_start(d);
	if (r < 0) {
		log_error("cannot set up signals: %s", err_text(r));
		return err_trace(r);
	}
	r = scheduler_new(&d->scheduler, d->loop, config);
	if (r < 0) {
		log_error("cannot set up the device: %s", err_text(r));
		return err_trace(r);
	}
	r = limits_start(d);
	if (r < 0)
		return err_trace(r);
	session_set_admin(admin_handle);
	r = listener_new(&d->listener, d->loop, config->daemon.socket, config->user,
			 client_connected, d);
	if (r == 0)
		r = metrics_listen_new(&d->metrics, d->scheduler);
	if (r < 0)
		return err_trace(r);
	return err_trace(privileges_drop(config->user));
}

int daemon_new(struct vramd **out, const struct config *config, int argc, char *const argv[])
{
	struct vramd *d = calloc(1, sizeof(*d));
	int r;

	if (!d) {
		log_error("out of memory");
		return err_origin(-ENOMEM);
	}
	d->config = config;
	d->argc = argc;
	d->argv = argv;
	d->signal_fd = -1;
	d->signal_op.fn = signal_ready;
	d->watchdog_op.fn = watchdog_timer;
	d->stop_op.fn = stop_timer;
	r = setup(d);
	if (r < 0) {
		daemon_free(d);
		return err_trace(r);
	}
	*out = d;
	return 0;
}

int daemon_run(struct vramd *d)
{
	struct scheduler_stats stats;
	char budget[SIZE_TEXT_MAX];
	int r;

	scheduler_stats(d->scheduler, &stats);
	size_format(budget, stats.budget_bytes);
	log_event(LOG_LEVEL_INFO,
		  (const struct log_field[]){ LOG_ID(STARTED),
					      LOG_TEXT("VRAM_VERSION", VRAM_VERSION),
					      LOG_NUMBER("VRAM_LIMIT", stats.budget_bytes) },
		  3, "version %s, budget %s, listening on %s", VRAM_VERSION, budget,
		  listener_path(d->listener));
	sd_notifyf(0, "READY=1\nSTATUS=Budget %s, listening on %s", budget,
		   listener_path(d->listener));
	r = loop_run(d->loop);
	if (r < 0)
		log_error("the event loop failed: %s", err_text(r));
	else
		log_info("stopped");
	return err_trace(r);
}

struct vramd *daemon_free(struct vramd *d)
{
	if (!d)
		return NULL;
	d->listener = listener_free(d->listener);
	d->metrics = metrics_listen_free(d->metrics);
	sessions_stop("vramd has failed");
	d->scheduler = scheduler_free(d->scheduler);
	d->limits = limits_live_free(d->limits);
	d->names = names_free(d->names);
	if (d->loop) {
		loop_cancel(d->loop, &d->signal_op);
		loop_cancel(d->loop, &d->watchdog_op);
		loop_cancel(d->loop, &d->stop_op);
	}
	if (d->signal_fd >= 0)
		close(d->signal_fd);
	d->loop = loop_free(d->loop);
	free(d);
	return NULL;
}
