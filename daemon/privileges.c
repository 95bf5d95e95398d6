// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/privileges.h"

#include <cap-ng.h>
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/err.h"
#include "daemon/log.h"

/* A session takes four descriptors and two for each object; this is enough for thousands. */
#define PRIVILEGES_FILES 524288u

/* What root's daemon is given: it runs little, and whoever waits for it runs much. */
#define PRIVILEGES_NICE (-10)
/* The shortest slice that Linux 6.12 and newer grant on request (sched_runtime of SCHED_OTHER): who asks for little
 * at a time is served sooner. Older kernels ignore it. */
#define PRIVILEGES_SLICE_NS 100000u

#if defined(__SANITIZE_ADDRESS__)
#define PRIVILEGES_DUMPABLE 1 /* the leak check attaches to the process */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PRIVILEGES_DUMPABLE 1
#endif
#endif
#ifndef PRIVILEGES_DUMPABLE
#define PRIVILEGES_DUMPABLE 0
#endif

static const unsigned int kept[] = { CAP_DAC_READ_SEARCH, CAP_KILL, CAP_IPC_LOCK };
#define N_KEPT (sizeof(kept) / sizeof(kept[0]))

static void limit_raise(int resource, rlim_t wanted, const char *name)
{
	struct rlimit limit, raised;

	if (getrlimit(resource, &limit) < 0)
		return;
	raised = limit;
	if (raised.rlim_max < wanted)
		raised.rlim_max = wanted;
	raised.rlim_cur = raised.rlim_max;
	if (setrlimit(resource, &raised) == 0)
		return;
	/* Not root: as far as the hard limit goes. */
	raised.rlim_max = limit.rlim_max;
	raised.rlim_cur = limit.rlim_max;
	if (setrlimit(resource, &raised) < 0)
		log_debug("the limit of %s stays at %llu: %s", name,
			  (unsigned long long)limit.rlim_cur, strerror(errno));
}

void privileges_raise_limits(void)
{
	limit_raise(RLIMIT_NOFILE, PRIVILEGES_FILES, "open files");
	limit_raise(RLIMIT_MEMLOCK, RLIM_INFINITY, "locked memory");
}

/* What sched_setattr(2) takes; no C library here declares it. */
struct sched_attributes {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime;
	uint64_t deadline;
	uint64_t period;
};

void privileges_raise_priority(void)
{
	struct sched_attributes attributes = {
		.size = sizeof(attributes),
		.policy = SCHED_OTHER,
		.nice = PRIVILEGES_NICE,
		.runtime = PRIVILEGES_SLICE_NS,
	};

	if (syscall(SYS_sched_setattr, 0, &attributes, 0) == 0)
		return;
	attributes.nice = getpriority(PRIO_PROCESS, 0);
	if (syscall(SYS_sched_setattr, 0, &attributes, 0) < 0)
		log_debug("the scheduling slice stays as it is: %s", strerror(errno));
}

static bool is_needed(unsigned int capability)
{
	struct rlimit limit;

	if (capability != CAP_IPC_LOCK)
		return true;
	return getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur != RLIM_INFINITY;
}

static int capabilities_drop(bool private)
{
	bool have[N_KEPT], bounds;
	size_t i;

	if (capng_get_caps_process() < 0) {
		log_error("cannot read the capabilities of this process");
		return err_origin(-EPERM);
	}
	for (i = 0; i < N_KEPT; i++)
		have[i] = !private && is_needed(kept[i]) &&
			  capng_have_capability(CAPNG_PERMITTED, kept[i]);
	/* Only who has this may shrink the bounding set; without it no_new_privs has to do. */
	bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_clear(CAPNG_SELECT_ALL);
	for (i = 0; i < N_KEPT; i++) {
		if (have[i] &&
		    capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, kept[i]) < 0)
			return err_origin(-EINVAL);
	}
	if (capng_apply(bounds ? CAPNG_SELECT_ALL : CAPNG_SELECT_CAPS) < 0) {
		log_error("cannot drop capabilities");
		return err_origin(-EPERM);
	}
	return 0;
}

int privileges_drop(bool private)
{
	int r = capabilities_drop(private);

	if (r < 0)
		return err_trace(r);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		log_error("cannot set no_new_privs: %s", strerror(errno));
		return err_origin(-errno);
	}
	if (!private && prctl(PR_SET_DUMPABLE, PRIVILEGES_DUMPABLE, 0, 0, 0) < 0) {
		log_error("cannot make the process undumpable: %s", strerror(errno));
		return err_origin(-errno);
	}
	return 0;
}

int privileges_drop_helper(void)
{
	bool have, bounds;

	/* The daemon waits for it. */
	privileges_raise_priority();
	if (capng_get_caps_process() < 0)
		return err_origin(-EPERM);
	have = capng_have_capability(CAPNG_PERMITTED, CAP_SYS_PTRACE);
	bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_clear(CAPNG_SELECT_ALL);
	if (have && capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SYS_PTRACE) < 0)
		return err_origin(-EINVAL);
	if (capng_apply(bounds ? CAPNG_SELECT_ALL : CAPNG_SELECT_CAPS) < 0)
		return err_origin(-EPERM);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_DUMPABLE, PRIVILEGES_DUMPABLE, 0, 0, 0) < 0)
		return err_origin(-errno);
	return 0;
}
