// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/arbiter_choice.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "common/err.h"
#include "daemon/log.h"

#define NS_PER_MS 1000000ull
/* One that was killed is the arbiter until the kernel has undone its io_uring: so often, and how long after, it is
 * asked again. */
#define BUSY_TRIES 75
#define BUSY_NS	   20000000

static const char *why_not(int r)
{
	switch (r) {
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		return "the kernel module is not loaded (modprobe vram)";
	case -EACCES:
	case -EPERM:
		return "attaching needs root with CAP_SYS_ADMIN, and the device in this container";
	case -EPROTO:
		return "the module is of another version than this vramd";
	default:
		return err_text(r);
	}
}

static int attach(const struct config *config, struct arbiter **out_arbiter, pid_t *out_holder)
{
	const uint32_t grace_ms = (uint32_t)(config->arbiter.grace / NS_PER_MS);
	int i, r = -EBUSY;

	for (i = 0; i < BUSY_TRIES && r == -EBUSY; i++) {
		if (i)
			nanosleep(&(struct timespec){ .tv_nsec = BUSY_NS }, NULL);
		r = arbiter_kmod_new(grace_ms, out_arbiter, out_holder);
	}
	return r;
}

int arbiter_new(const struct config *config, uint64_t now_ns, struct arbiter **out_arbiter)
{
	bool must = config->arbiter.use == CONFIG_ARBITER_MODULE;
	pid_t holder = 0;
	int r;

	if (config->arbiter.use == CONFIG_ARBITER_LOCAL)
		return err_trace(arbiter_local_new(now_ns, out_arbiter));
	if (config->user && !must) {
		if (access(ARBITER_KMOD_PATH, F_OK) == 0)
			log_info("%s is there, but this daemon is private: it is its own arbiter",
				 ARBITER_KMOD_PATH);
		return err_trace(arbiter_local_new(now_ns, out_arbiter));
	}
	r = attach(config, out_arbiter, &holder);
	if (r == 0)
		return 0;
	if (r == -EBUSY) {
		log_error("%s has an arbiter already: process %d", ARBITER_KMOD_PATH, (int)holder);
		return err_trace(r);
	}
	if (must) {
		log_error("%s cannot be used: %s", ARBITER_KMOD_PATH, why_not(r));
		return err_trace(r);
	}
	switch (r) {
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		log_debug("no %s: vramd is its own arbiter", ARBITER_KMOD_PATH);
		break;
	case -EACCES:
	case -EPERM:
		log_info("%s is there, but %s: vramd is its own arbiter", ARBITER_KMOD_PATH,
			 why_not(r));
		break;
	default:
		log_warn("%s is there, but %s: vramd is its own arbiter", ARBITER_KMOD_PATH,
			 why_not(r));
		break;
	}
	return err_trace(arbiter_local_new(now_ns, out_arbiter));
}
