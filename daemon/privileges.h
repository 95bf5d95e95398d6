/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the daemon gives up after start, and what it keeps.
 *
 * Needed for setting up only, with root's rights: the socket's directory and group, the private tmpfs for
 * huge pages and attaching to /dev/vram (CAP_SYS_ADMIN; afterwards that descriptor is the right), the
 * resource limits (CAP_SYS_RESOURCE), the swap file's directory.
 *
 * Kept for running, and only by the system's daemon:
 *   CAP_DAC_READ_SEARCH  A client proves that it may read a model by passing a descriptor that reads it.
 *			  O_DIRECT cannot be switched on there, the description is the
 *			  client's; so the same inode is opened anew through /proc/self/fd,
 *			  which checks the mode bits of the file and, for a file of mode 0600 of somebody
 *			  else, needs this. Nothing is ever opened by a name that a client sent.
 *
 *   CAP_KILL		  A thread that stands at a page whose file cannot be read any more is sent
 *			  SIGBUS, as the kernel does to a process that maps a broken file. Clients
 *			  belong to other users; the pidfd of the connection says which process. The only other
 *			  signal is SIGKILL, on a card, to a client that does not let go of memory in time.
 *
 *   CAP_IPC_LOCK	  Only where the limit of locked memory could not be lifted (no CAP_SYS_RESOURCE,
 *			  as in some containers).
 *
 * Not kept, with what that costs:
 *   CAP_SYS_PTRACE  the daemon cannot read which executable a process of another user runs
 *		     (/proc/PID/exe). A daemon that can read any process's memory is not worth that: a small
 *		     helper has this right and nothing else (daemon/names.h), for limits of executables where
 *		     the kernel module does not know them; tables show the command name.
 *
 * The user stays root: the socket, the lock and the swap file are root's. Without capabilities
 * and with no_new_privs that is a name more than a right.
 *
 * The system's daemon is also made not dumpable: its memory is every user's. A private daemon serves one
 * user, who may debug it.
 */
#ifndef VRAM_DAEMON_PRIVILEGES_H
#define VRAM_DAEMON_PRIVILEGES_H

#include <stdbool.h>

/* Open files and locked memory, as many as one may have. Never fails: the defaults may do. */
void privileges_raise_limits(void);

/*
 * Engines keep every processor busy, also while they wait: their threads poll at barriers. The daemon needs a processor
 * seldom and briefly, and then at once, because the disk or a thread of the engine waits for it. As root it
 * takes a better nice value; anybody may ask for a short slice. Never fails.
 */
void privileges_raise_priority(void);

/* Drops for good. private: `vramd --user`, which keeps nothing. Return: 0, or -errno with the reason logged. */
int privileges_drop(bool private);

/*
 * The same for the helper that looks up names (daemon/names.h): of root's it keeps CAP_SYS_PTRACE alone, to read
 * which program a client runs. Return: 0 or -errno; it logs nothing.
 */
int privileges_drop_helper(void);

#endif
