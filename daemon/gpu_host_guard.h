/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory files that a client may make shorter while the daemon touches them.
 *
 * Who may write to a buffer's file may also truncate it, and the tmpfs that gives us huge pages has no seals. A touch beyond
 * the end of a mapped file is SIGBUS, and the daemon's touches (checksums, copies over a link) may come at any moment. So for the mappings that
 * are listed here SIGBUS makes the file as long as it was and lets the touch happen again: it finds a hole,
 * zeros. The client has lost its bytes, which was its own doing. Calls of the kernel say EFAULT in this case and are
 * errors of that one transfer.
 *
 * The list is changed by the loop's thread only, and read by the handler in the middle of that thread's touch.
 * A SIGBUS anywhere else ends the process as ever.
 */
#ifndef VRAM_DAEMON_GPU_HOST_GUARD_H
#define VRAM_DAEMON_GPU_HOST_GUARD_H

#include <stdint.h>

#include "common/list.h"

struct host_guard {
	struct list_node node;
	char *addr;
	uint64_t bytes; /* of the mapping and of the file */
	int fd;
};

void host_guard_add(struct host_guard *guard, char *addr, uint64_t bytes, int fd);
void host_guard_del(struct host_guard *guard);

#endif
