/* SPDX-License-Identifier: GPL-2.0-only */
/* A file with given contents for fuzzers, the same one every time: making one costs more than a run. */
#ifndef VRAM_TESTS_FUZZ_MEMORY_FILE_H
#define VRAM_TESTS_FUZZ_MEMORY_FILE_H

#include <stddef.h>
#include <stdint.h>

/* Return: a descriptor that stays open; the next call changes the file. */
int memory_file(const uint8_t *data, size_t size);

#endif
