/* SPDX-License-Identifier: GPL-2.0-only */
/* What vramd manages: which of the two shims is of use. */
#ifndef VRAM_TOOLS_VRAMRUN_DEVICE_H
#define VRAM_TOOLS_VRAMRUN_DEVICE_H

/* path: of the socket, or NULL for the usual one. Return: enum vram_device_kind, or -errno: nobody says. */
int device_kind(const char *path);

#endif
