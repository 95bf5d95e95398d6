/* SPDX-License-Identifier: GPL-2.0-only */
/* Asking a daemon that a test in C has started, with vramctl -j, and reading its log. */
#ifndef VRAM_TESTS_SUPPORT_VRAMD_ASK_H
#define VRAM_TESTS_SUPPORT_VRAMD_ASK_H

#include <jansson.h>

#include "tests/support/vramd.h"

/* Waits a while until a condition holds. */
#define EVENTUALLY(condition)                                                       \
	do {                                                                        \
		int left_ = 3000;                                                   \
                                                                                    \
		while (!(condition) && left_-- > 0)                                 \
			nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL); \
		ck_assert_msg(left_ >= 0, "never: %s", #condition);                 \
	} while (0)

/* `vramctl -j ARGS`; the test fails if it does. The answer is the caller's: json_decref(). */
json_t *vramd_ask(const struct vramd *d, const char *args);

/* A number of the device in `vramctl -j status`, like "resident_bytes". */
uint64_t vramd_device(const struct vramd *d, const char *key);

/* The number of the session that calls itself so. */
uint64_t vramd_session(const struct vramd *d, const char *name);

/* Bytes charged to a subject ("root", "session:3") in a tier ("vram", "host", "disk"). */
uint64_t vramd_usage(const struct vramd *d, const char *subject, const char *tier);

/* Nothing is charged to anybody, and nothing is kept in any tier. */
bool vramd_holds_nothing(const struct vramd *d);

/* How many lines of the daemon's log have the text. */
unsigned int vramd_logged(const struct vramd *d, const char *text);

#endif
