/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * Between the file that opens a model's files and the one that groups its tensors.
 */
#ifndef VRAM_LIBCLIENT_LAYOUT_INTERNAL_H
#define VRAM_LIBCLIENT_LAYOUT_INTERNAL_H

#include <stdbool.h>

#include "libclient/layout.h"

/*
 * Fills layout->layers, ->bytes and LAYOUT_TIED_EMBEDDINGS from layout->tensors. `alignment` is that of
 * tensors in the files; gaps smaller than it are padding. An encoder ties nothing.
 * Return: 0, -E2BIG, -ENOMEM; the layout is good for layout_free() in any case.
 */
int layout_group(struct vram_layout *layout, uint32_t alignment, bool is_encoder,
		 const struct parse_msg *msg);

#endif
