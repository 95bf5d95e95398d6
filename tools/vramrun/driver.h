/* SPDX-License-Identifier: GPL-2.0-only */
/* The CUDA driver's library that a program would find: what the shim stands in front of. */
#ifndef VRAM_TOOLS_VRAMRUN_DRIVER_H
#define VRAM_TOOLS_VRAMRUN_DRIVER_H

#include <stddef.h>

/*
 * The path of libcuda.so.1 as the dynamic linker finds it with our environment, which the program will have. Looked for in
 * a child, because a driver does things when it is loaded. Return: 0, or -ENOENT with a reason in `out`.
 */
int driver_find(char *out, size_t size);

#endif
