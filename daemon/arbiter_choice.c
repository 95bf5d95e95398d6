// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/arbiter_choice.h"

#include <errno.h>

#include "common/err.h"
#include "daemon/log.h"

#define NS_PER_MS 1000000ull

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

int arbiter_new(const struct config *config, uint64_t now_ns, struct arbiter **out_arbiter)
{
	bool must = config->arbiter.use == CONFIG_ARBITER_MODULE;
	pid_t holder = 0;
	int r;

	if (config->arbiter.use == CONFIG_ARBITER_LOCAL || (config->user && !must))
		return err_trace(arbiter_local_new(now_ns, out_arbiter));
	r = arbiter_kmod_new((uint32_t)(config->arbiter.grace / NS_PER_MS), out_arbiter, &holder);
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
