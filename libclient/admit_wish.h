/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * What vramrun's user wants of admission, as vramrun hands it to its shims:
 *
 *	VRAMRUN_WAIT		nanoseconds, "forever", or "default" (limits.admit_timeout); not there: nothing is asked
 *	VRAMRUN_PRIORITY	-20 to 19; not there: 0
 *	VRAMRUN_WORKING_SET	bytes; not there: what the shim knows itself
 */
#ifndef VRAM_LIBCLIENT_ADMIT_WISH_H
#define VRAM_LIBCLIENT_ADMIT_WISH_H

#include <stdbool.h>
#include <stdint.h>

struct vram_client;

struct admit_wish {
	bool wanted;
	bool has_bytes;
	int64_t timeout_ns; /* as vram_admit() */
	uint64_t bytes;
	int priority;
	char timeout_text[32]; /* "30.0 s", "" for none that is known here */
};

/* The three variables, NULL for what is not set; what makes no sense counts as not set. */
void admit_wish_read(struct admit_wish *wish, const char *wait, const char *priority,
		     const char *working_set);

typedef void admit_say_fn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Asks, for this many bytes at most that can be had if the wish does not name any; says when it has to wait, and when it is
 * refused. The client's lock is held, and let go meanwhile. Return: 0, or as vram_admit().
 */
int admit_wish_ask(const struct admit_wish *wish, struct vram_client *client, uint64_t bytes,
		   const char *name, admit_say_fn *say);

#endif
