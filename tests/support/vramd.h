/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A real vramd for tests in C: one of its own in a folder of its own, started, killed, started again.
 *
 * VRAM_ARBITER=kmod runs the same tests over /dev/vram: the daemon is started as the machine's (by root, where the
 * module is loaded and no other daemon has it), and `vramctl status` must say so. VRAM_ARBITER=local has the daemon
 * keep the ledger itself, whatever there is.
 *
 * VRAM_TEST_KEEP=1 leaves the folder, with vramd's log, below /var/tmp.
 *
 * VRAM_DEVICE=cuda has it manage a card, that of the stand-in driver: tests/support/device.h.
 */
#ifndef VRAM_TESTS_SUPPORT_VRAMD_H
#define VRAM_TESTS_SUPPORT_VRAMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vramd {
	pid_t pid;
	char dir[80];
	char socket[100];
	const char *budget;
	const char *arbiter; /* between starts: instead of VRAM_ARBITER's */
	bool for_all;	     /* the machine's daemon, which other users reach: needs root */
	/* "section.key=value", NULL behind the last; between init and start. */
	const char *settings[16];
};

/* Whether VRAM_ARBITER wants the kernel module. */
bool vramd_wants_module(void);

/* Whether VRAM_DEVICE wants a card. */
bool vramd_wants_card(void);

/*
 * Whether there is a vramd to start and a userfaultfd to use; else prints why not. Makes a folder
 * for all daemons of the program, which vramd_cleanup() removes; both are for main().
 */
bool vramd_usable(void);
void vramd_cleanup(void);

/* Where a program of ours is. */
void vramd_build_path(char *out, size_t size, const char *name);

/* Each fails the test if it does not succeed. */
void vramd_init(struct vramd *d, const char *budget);
void vramd_start(struct vramd *d);
void vramd_signal(struct vramd *d, int sig); /* and waits for its end */
void vramd_deinit(struct vramd *d);

/* A file in d->dir whose every 8 bytes follow from their place. Return: its path, in a static buffer. */
const char *vramd_make_file(struct vramd *d, const char *name, uint64_t bytes, uint64_t seed);

static inline uint64_t vramd_word(uint64_t offset, uint64_t seed)
{
	uint64_t x = (offset / 8 + 1) * 0x9e3779b97f4a7c15u + seed * 0xd6e8feb86659fd93u;

	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	return x ^ x >> 29 ^ 1; /* never 0 in its lowest bit: a hole shows at once */
}

/* How many 8-byte words at p, which shows the file from `offset` on, are wrong. */
uint64_t vramd_wrong(const void *p, uint64_t bytes, uint64_t offset, uint64_t seed);

#endif
