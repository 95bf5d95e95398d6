/* SPDX-License-Identifier: GPL-2.0-only */
/* What store.c (model files) and store_swap.c (the swap file) share. */
#ifndef VRAM_DAEMON_STORE_PRIVATE_H
#define VRAM_DAEMON_STORE_PRIVATE_H

#include "daemon/store.h"
#include "daemon/store_fault.h"

struct store {
	struct loop *loop;
	uint32_t piece_bytes;
	bool direct;
	bool trust_fuse;
	bool said_no_direct;
	struct store_fault fault;
	struct list_node files;
};

/* Everything in io but the pieces is filled in: go. */
void store_start(struct store_io *io);

#endif
