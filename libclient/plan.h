/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * What the daemon is told of one file of a model: a layout, cut down to the file's own extents.
 *
 * The daemon's objects are files, and their layers are numbered file by file; a layer of the model whose extents lie
 * in several files has a number in each. Pure: nothing is opened or asked.
 */
#ifndef VRAM_LIBCLIENT_PLAN_H
#define VRAM_LIBCLIENT_PLAN_H

#include <stdint.h>

#include "common/proto.h"
#include "libclient/layout.h"

#define PLAN_NONE UINT32_MAX

struct plan {
	struct vram_msg_extent *extents; /* in the cyclic order of their use */
	uint32_t n_extents;
	uint32_t n_layers;   /* of this file */
	uint32_t *layer_of;  /* layer of the model by layer of the file */
	uint32_t *number_of; /* layer of the file by layer of the model, or PLAN_NONE */
};

/* Return: 0, -ENOMEM, -E2BIG. */
int plan_make(struct plan *plan, const struct vram_layout *layout, uint32_t file);
void plan_deinit(struct plan *plan);

#endif
