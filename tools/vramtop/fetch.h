/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fetch: asks the daemon for samples in a thread of its own, so that a daemon
 * that does not answer does not keep the screen from anything.
 *
 * The thread asks once for every fetch_start() and then makes a descriptor
 * readable; fetch_take() gives what came. One question at a time. What was
 * taken is the caller's. The thread lives as long as the program.
 */
#ifndef VRAM_TOOLS_VRAMTOP_FETCH_H
#define VRAM_TOOLS_VRAMTOP_FETCH_H

#include <pthread.h>
#include <stdbool.h>

#include "tools/shared/ask.h"
#include "tools/vramtop/sample.h"

struct fetch {
	const char *socket;
	int done_fd; /* readable: there is an answer to take */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* The rest under the lock. */
	bool wanted; /* an answer is asked for */
	bool busy;   /* since fetch_start() until fetch_take() */
	json_t *answer;
	char why[ASK_WHY_MAX]; /* "": there is an answer */
};

/* socket: NULL for the default; it must live as long. Return: 0 or -errno. */
int fetch_init(struct fetch *fetch, const char *socket);
/* Return: false if a question is out already. */
bool fetch_start(struct fetch *fetch);
/* The answer, the caller's; NULL: why says what is wrong. Only when the descriptor is readable. */
json_t *fetch_take(struct fetch *fetch, char why[ASK_WHY_MAX]);

/* One question, at once, in the caller's thread. Return: as fetch_take(). */
json_t *fetch_now(const char *socket, char why[ASK_WHY_MAX]);
/* The name of a user, remembered; for one thread. A sample_user_fn. */
void fetch_user(uint32_t uid, char *out, size_t size);

#endif
