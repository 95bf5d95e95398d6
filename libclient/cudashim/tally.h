/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * What the program has from the driver itself: small allocations, managed memory, physical memory of cuMemCreate.
 *
 * Only counted, so that cuMemGetInfo can tell the program honestly what is left of its limit. Keys are addresses or handles of
 * one kind. When there is no memory to remember one, it is not counted.
 */
#ifndef VRAM_LIBCLIENT_CUDASHIM_TALLY_H
#define VRAM_LIBCLIENT_CUDASHIM_TALLY_H

#include <stdint.h>

enum tally_kind {
	TALLY_ADDRESS,
	TALLY_HANDLE,
	TALLY_KINDS,
};

void tally_add(enum tally_kind kind, uint64_t key, uint64_t bytes);
/* No effect on a key that is not there. */
void tally_remove(enum tally_kind kind, uint64_t key);
uint64_t tally_bytes(void);

#endif
