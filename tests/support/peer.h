/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Clients that are processes of their own, and do what the test tells them.
 *
 * A peer is forked from the test, so it has the test's functions: the test sends it one with two numbers, the peer calls it and
 * sends its result back. What a peer asserts fails the test. A test that has peers must not itself use the card before it
 * has started the last of them.
 */
#ifndef VRAM_TESTS_SUPPORT_PEER_H
#define VRAM_TESTS_SUPPORT_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct peer {
	pid_t pid;
	int fd;
};

typedef int64_t peer_fn(uint64_t a, uint64_t b);

/* As this user; 0 is the test's own. It is killed with the test. */
struct peer peer_start(uid_t uid);
/* Calls fn(a, b) there. Return: what it returned. Fails the test if the peer dies of it. */
int64_t peer_ask(const struct peer *peer, peer_fn *fn, uint64_t a, uint64_t b);
/* The same without waiting: peer_answer() has the result. Return there: false if the peer is gone. */
void peer_tell(const struct peer *peer, peer_fn *fn, uint64_t a, uint64_t b);
bool peer_answer(const struct peer *peer, int64_t *out);
/* Ends it, well or (sig) by a signal; waits for its end. Return: its wait status. */
int peer_end(struct peer *peer, int sig);
/* Waits for the end that somebody else brings about. Return: its wait status; fails the test if none comes. */
int peer_wait(struct peer *peer);

#endif
