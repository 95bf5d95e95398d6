// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/gpu_host_guard.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

/*
 * How often in a row one address may be missing. A client that truncates all the time has to hit the moment between
 * the repair and the touch each time; what is not a short file at all (broken memory) is not repaired by this.
 */
#define GUARD_REPAIRS_MAX 10000

static struct list_node guards = LIST_INIT(guards);
static char *last_addr;
static unsigned int n_repairs;

static struct host_guard *find_guard(const char *addr)
{
	struct host_guard *guard;

	list_for_each(guard, &guards, node)
		if (addr >= guard->addr && addr < guard->addr + guard->bytes)
			return guard;
	return NULL;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	struct host_guard *guard = info->si_code == BUS_ADRERR ? find_guard(info->si_addr) : NULL;

	(void)context;
	n_repairs = info->si_addr == last_addr ? n_repairs + 1 : 0;
	last_addr = info->si_addr;
	if (guard && n_repairs < GUARD_REPAIRS_MAX &&
	    ftruncate(guard->fd, (off_t)guard->bytes) == 0)
		return;
	/* Not ours: the same instruction again, and its end. One that was sent by somebody has none. */
	signal(number, SIG_DFL);
	if (info->si_code <= 0)
		raise(number);
}

void host_guard_add(struct host_guard *guard, char *addr, uint64_t bytes, int fd)
{
	static bool installed;
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	if (!installed)
		installed = sigaction(SIGBUS, &action, NULL) == 0;
	guard->addr = addr;
	guard->bytes = bytes;
	guard->fd = fd;
	list_add_tail(&guard->node, &guards);
}

void host_guard_del(struct host_guard *guard)
{
	list_del(&guard->node);
}
