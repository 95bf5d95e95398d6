/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * Which processes have a GPU open, and what of its memory is theirs: a walk over /proc/PID/fd and fdinfo.
 *
 * It runs in the process of who asks, vramctl's, never in vramd: vramd has given up the right to look into
 * other users' processes, and its one loop must not wait for a walk over thousands of them. root sees
 * all; everybody else their own, and how many were closed to them.
 *
 * What is bounded: of one process CARD_USE_FDS descriptors that are a GPU's, of one descriptor
 * CARD_USE_TEXT bytes. Processes may come, end and change under the walk; what is gone is left out.
 * Only links and files of /proc are read, nothing that they name: a file of a process may lie on a
 * server that does not answer.
 *
 * A client of a driver counts once: an open file that several descriptors or processes share (dup, fork, one that was
 * sent to somebody) has one `drm-client-id`, and goes to the process with the lowest pid. Drivers that
 * write no such number: then a process counts as its largest file, rather than the same one twice. A
 * buffer that clients share is counted with each, as the kernel does; shared_bytes says how much it is.
 */
#ifndef VRAM_COMMON_CARD_USE_H
#define VRAM_COMMON_CARD_USE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/card.h"

#define CARD_USE_FDS  4096
#define CARD_USE_TEXT (64u << 10)

struct card_use {
	size_t card; /* index in struct cards */
	pid_t pid;
	uid_t uid;
	char comm[32];
	unsigned int clients; /* open files of the card that count here */
	bool known;	      /* the driver, or NVML, says what VRAM it has */
	bool known_other;     /* and the driver, what else */
	bool truncated;	      /* it has more descriptors than were looked at */
	uint64_t vram_bytes, other_bytes, shared_bytes; /* as struct drm_fdinfo_sum */
};

struct card_uses {
	struct card_use *use; /* by pid, then card */
	size_t n;
	size_t n_hidden; /* processes that may not be looked into */
};

/* card_uses_read() - root as in card.h. Return: 0; -ENOMEM, or -errno if there is no /proc. */
int card_uses_read(const char *root, const struct cards *cards, struct card_uses *out);

/*
 * card_uses_note() - what another source (NVML) knows of a process: it is added, or its memory on that
 * card replaced. Return: 0 or -ENOMEM.
 */
int card_uses_note(const char *root, struct card_uses *uses, size_t card, pid_t pid, bool known,
		   uint64_t vram_bytes);

/* Safe for what is all zero. */
void card_uses_deinit(struct card_uses *uses);

#endif
