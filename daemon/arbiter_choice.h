/* SPDX-License-Identifier: GPL-2.0-only */
/* Which arbiter is in force: the kernel module's where there is one that may be used. */
#ifndef VRAM_DAEMON_ARBITER_CHOICE_H
#define VRAM_DAEMON_ARBITER_CHOICE_H

#include "daemon/arbiter.h"
#include "daemon/config.h"

/*
 * arbiter_new() - as arbiter.use says. With `auto` it is the module if that is there and this process may
 * attach, else this process itself; a module that somebody else is the arbiter of is an error, for two
 * daemons would each hand out the whole device.
 * Return: 0, or -errno with the reason logged.
 */
int arbiter_new(const struct config *config, uint64_t now_ns, struct arbiter **out_arbiter);

#endif
