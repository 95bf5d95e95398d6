/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The only place that knows libdrm: finds the GPUs that have DRM nodes, and asks drivers that say
 * the size of their memory by ioctl only.
 */
#ifndef VRAM_COMMON_DRM_H
#define VRAM_COMMON_DRM_H

#include <stddef.h>

#include "common/card.h"

/*
 * Adds every device with DRM nodes; nothing is opened. A bus that libdrm does not know is left to
 * cards_find_rest(). Return: 0, or -errno if libdrm cannot look at all.
 */
int drm_find_cards(struct cards *cards);

/*
 * drm_query_vram() - for i915, xe and nouveau, whose sysfs does not say it: opens the render
 * node, unless the card is asleep and would have to be woken, and asks. Sets what is not set yet and can be had;
 * used_bytes only where the driver tells it to this user (i915 and xe: CAP_PERFMON, and they
 * say 0 used to everybody else).
 */
void drm_query_vram(struct card *card);

/* What the drivers answer, apart from asking. reply: any len bytes. */
void drm_vram_of_i915(const void *reply, size_t len, struct card *card);
void drm_vram_of_xe(const void *reply, size_t len, struct card *card);

#endif
