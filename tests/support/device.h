/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device below a test's daemon: host memory, or with VRAM_DEVICE=cuda a card.
 *
 * A test that asks here for bytes instead of touching them runs on both. For a card the environment names the stand-in driver
 * (tests/cuda/ has the scripts that make one): VRAM_STANDIN, and its folder in LD_LIBRARY_PATH. A process that has called
 * device_attach() must not fork others that do.
 */
#ifndef VRAM_TESTS_SUPPORT_DEVICE_H
#define VRAM_TESTS_SUPPORT_DEVICE_H

#include <stdint.h>

struct vram_client;

/* A client that is to have objects: nothing on the host device; on a card, with the primary context. */
void device_attach(struct vram_client *client);

/* The bytes at p: p itself, or a copy that is good until this thread's next call. */
const void *device_bytes(const void *p, uint64_t bytes);
/* Writes them. */
void device_write(void *p, const void *from, uint64_t bytes);

#endif
