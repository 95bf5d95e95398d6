/* SPDX-License-Identifier: GPL-2.0-only */
/* Which vramd there is, whose the ledger is, and the names that it knows. */
#ifndef VRAM_TOOLS_VRAMTRACE_VRAMD_H
#define VRAM_TOOLS_VRAMTRACE_VRAMD_H

#include <stdbool.h>
#include <sys/types.h>

#include "tools/vramtrace/filter.h"
#include "tools/vramtrace/names.h"

struct vramd {
	pid_t pid;	  /* 0: there is none */
	bool uses_module; /* the ledger is the module's */
	bool answers;	  /* it is the one behind the socket */
};

/* The one behind the socket (NULL: the usual one). Return: 0 also where there is none; -errno after saying why. */
int vramd_find(const char *socket, struct vramd *out);
/* A process that the user names. Return: 0, or -errno after saying why. */
int vramd_take(const char *socket, pid_t pid, struct vramd *out);
/* Other processes of that name, in text for a message; empty: none. */
void vramd_others(pid_t than, char *buf, size_t size);
bool vramd_module_loaded(void);

/*
 * What is there already, from the daemon behind the socket.
 * Return: 0, or -errno after saying why.
 */
int vramd_names(const char *socket, struct names *names);

#endif
