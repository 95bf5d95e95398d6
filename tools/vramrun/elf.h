/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether the dynamic linker will put a shim into a program: what vramrun checks before exec. */
#ifndef VRAM_TOOLS_VRAMRUN_ELF_H
#define VRAM_TOOLS_VRAMRUN_ELF_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Looks at the file that exec would run, and at the interpreter if it is a script. *out_harmful: the
 * program would not even start with the shim.
 * Return: NULL if nothing speaks against it (also if the file cannot be read: exec will say why),
 * else the reason, written to text.
 */
const char *elf_why_not(const char *path, bool *out_harmful, char *text, size_t size);

/*
 * Whether the program says itself where libcuda.so.1 is, in a way that comes before the environment (DT_RPATH without
 * DT_RUNPATH): then it finds the driver and not what stands in front of it. As elf_why_not().
 */
const char *elf_escapes(const char *path, char *text, size_t size);

#endif
