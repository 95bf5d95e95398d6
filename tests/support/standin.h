/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The card of the stand-in driver, as a test sets it up, changes it and looks at it.
 *
 * A test makes a card before anything uses it, hands its path to every process that shall (VRAM_STANDIN
 * in the environment, which standin_new() sets for this process and its children) and the folder of
 * the library (LD_LIBRARY_PATH, or the path for cuda_driver_open()). The fields of card->image may
 * be changed at any time.
 */
#ifndef VRAM_TESTS_SUPPORT_STANDIN_H
#define VRAM_TESTS_SUPPORT_STANDIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/cuda-standin/standin.h"

struct standin_card {
	struct standin *image;
	char path[4096];
};

/*
 * A new card with that much memory, in TEST_TMP or, without it, in TMPDIR. Fails the test by
 * aborting: there is nothing to test without it. Also sets VRAM_STANDIN.
 */
struct standin_card *standin_new(uint64_t size_bytes);

/* Removes the file. Processes that still use it go on. */
void standin_free(struct standin_card *card);

/* Return: the library, from VRAM_BUILD or, without it, from build/ beside this program's. */
const char *standin_library(void);

/*
 * Lets a call fail. function: base name or "*". skip: how many matching calls pass before; times: how
 * many then fail, negative for all. pid: 0 for every process. flags: STANDIN_FAULT_*.
 * Return: its number, for standin_hits().
 */
int standin_fault(struct standin_card *card, const char *function, uint32_t error, int64_t skip,
		  int64_t times, pid_t pid, uint32_t flags);
uint64_t standin_hits(const struct standin_card *card, int fault);
void standin_clear_faults(struct standin_card *card);

/* Return: how often a function was called, by one process that still runs, or (pid 0) by all so far. */
uint64_t standin_calls(const struct standin_card *card, const char *function, pid_t pid);

/* Return: bytes of the card that somebody holds, right now. */
uint64_t standin_used_bytes(const struct standin_card *card);

/* Whether any page of the card, taken or free, has these bytes somewhere at a multiple of their length. */
bool standin_find(const struct standin_card *card, const void *bytes, size_t size, bool only_free);

#endif
