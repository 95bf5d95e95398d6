/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/* How much of the card a program may have: what vramd can give at all, and the tenant's own limits. */
#ifndef VRAM_LIBCLIENT_CUDASHIM_LIMIT_H
#define VRAM_LIBCLIENT_CUDASHIM_LIMIT_H

#include <stdint.h>

struct vram_client;

/* Return: 0 or -errno. */
int limit_ask(struct vram_client *client, uint64_t *out_bytes);

#endif
