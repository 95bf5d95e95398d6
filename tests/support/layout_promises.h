/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What libclient/layout.h promises of any layout, whatever file it came from.
 */
#ifndef VRAM_TESTS_SUPPORT_LAYOUT_PROMISES_H
#define VRAM_TESTS_SUPPORT_LAYOUT_PROMISES_H

struct vram_layout;

/* Return: NULL, or what is wrong with the layout. */
const char *layout_broken_promise(const struct vram_layout *layout);

#endif
