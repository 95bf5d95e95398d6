/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/* Which files are models: by what they begin with, not by their names. Pure. */
#ifndef VRAM_LIBCLIENT_PRELOAD_RECOGNISE_H
#define VRAM_LIBCLIENT_PRELOAD_RECOGNISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* So much of the file's beginning is wanted. */
#define RECOGNISE_BYTES 16
/* Smaller files are vocabularies and test data: not worth a place at the daemon. */
#define RECOGNISE_MIN_FILE (64u << 10)

/* head: the first n bytes of a file of file_bytes. */
bool recognise_model(const unsigned char *head, size_t n, uint64_t file_bytes);

#endif
