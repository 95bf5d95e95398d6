// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/* What is done when the library is loaded, in a forked child, and at the end; and cuInit. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "libclient/cudashim/queue.h"
#include "libclient/cudashim/shim.h"
#include "libclient/cudashim/turn.h"

struct shim shim;

static bool flag(const char *name)
{
	const char *value = secure_getenv(name);

	return value && *value && *value != '0';
}

static void child(void)
{
	shim.forked = true;
	gate_forked(&shim_gate);
	queue_forked();
}

/* Before the constructors of the program and of whatever needs this library. */
__attribute__((constructor(101))) static void load(void)
{
	int saved = errno;

	shim.quiet = flag("VRAMRUN_QUIET");
	shim.verbose = flag("VRAMRUN_VERBOSE");
	shim.require = flag("VRAMRUN_REQUIRE");
	shim.stats = flag("VRAMRUN_STATS");
	shim.name = secure_getenv("VRAMRUN_NAME");
	admit_wish_read(&shim.wish, secure_getenv("VRAMRUN_WAIT"),
			secure_getenv("VRAMRUN_PRIORITY"), secure_getenv("VRAMRUN_WORKING_SET"));
	if (!shim.name)
		shim.name = program_invocation_short_name;
	turn_init();
	real_load();
	if (!real_path())
		report_line("%s finds no CUDA driver: %s", shim.name, real_error());
	pthread_atfork(NULL, NULL, child);
	errno = saved;
}

__attribute__((destructor)) static void unload(void)
{
	if (shim.stats && !shim.forked)
		turn_print_stats();
}

/* Without a driver as on a machine without a card: programs know what to do then. */
cuda_result cuInit(unsigned int flags)
{
	return real_path() ? REAL(cuInit)(flags) : CUDA_ABI_ERROR_NO_DEVICE;
}
