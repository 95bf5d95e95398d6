/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a question is, and how it is answered.
 *
 * A question runs in a process of its own, since an error of the driver may be the end of the
 * context that met it, and since a call may never return. It writes answers into a pipe, one
 * record each, as it finds them; whatever it has written before it failed, hung or died counts. All
 * that it starts is in its process group, which is killed when it has ended or its time is over.
 *
 * The driver must not be used on both sides of a fork(): a question that needs a second process
 * starts it with peer_start() before it calls card_open(), and the process that asks never calls
 * the driver at all.
 */
#ifndef VRAM_TESTS_GPU_QUESTION_H
#define VRAM_TESTS_GPU_QUESTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	MIB = 1 << 20,
	/* Addresses and descriptors that one message between processes carries. */
	PEER_FDS = 64
};

struct ask {
	const char *question;
	const char *role;   /* of the process: "" or who it plays */
	const char *driver; /* the library to load, NULL for the usual one */
	uint64_t bytes;	    /* of the card's memory, never more at once */
	int ordinal;
	bool quick; /* few rounds: to see that it works, not to measure */
	bool whole; /* the card is ours alone: its memory may be filled */
	double seconds;
	int fd; /* where answers go; -1: a program that asks nothing, failures go to stderr */
};

struct question {
	const char *name;
	const char *asks;
	void (*answer)(struct ask *ask);
};

extern const struct question question_device, question_overlap, question_costs, question_signal,
	question_pinned, question_readonly, question_accounting, question_kill, question_zero,
	question_mapping, question_pointers;

enum answer_kind {
	ANSWER_TEXT,
	ANSWER_NUMBER,
	ANSWER_MISSING, /* cannot be asked here; text says why */
	ANSWER_FAILED	/* a call failed that should not; text says which */
};

enum answer_view {
	VIEW_NONE, /* nothing was assumed */
	VIEW_HOLDS,
	VIEW_WRONG
};

/* A record: less than PIPE_BUF, so that two processes' do not mix. */
struct answer {
	enum answer_kind kind;
	enum answer_view view;
	double number;
	char unit[16];
	char what[96];
	char text[256];
	char assumed[160];
};

/* ---- for a question ---- */

#define PRINTF(f, a) __attribute__((format(printf, f, a)))

PRINTF(3, 4) void answer_text(struct ask *ask, const char *what, const char *format, ...);
void answer_number(struct ask *ask, const char *what, double number, const char *unit);
/* The same with what the design assumes, and whether that holds. */
PRINTF(5, 6)
void answer_view(struct ask *ask, const char *what, const char *assumed, bool holds,
		 const char *format, ...);
void answer_number_view(struct ask *ask, const char *what, double number, const char *unit,
			const char *assumed, bool holds);
PRINTF(3, 4) void answer_missing(struct ask *ask, const char *what, const char *format, ...);
/* Says what failed and ends the process. */
PRINTF(2, 3) _Noreturn void answer_failed(struct ask *ask, const char *format, ...);

uint64_t now_ns(void);
void sleep_ns(uint64_t ns);

/* Figures of a row of measurements; median() sorts it. */
double mean(const double *values, size_t n);
double median(double *values, size_t n);
double percentile(double *values, size_t n, double p); /* sorted */

struct peer {
	pid_t pid;
	int pidfd;
	int sock;
};

/* Starts fn in a child; sock leads to this process. The child ends when fn returns or this process does. */
void peer_start(struct ask *ask, struct peer *peer, const char *role,
		void (*fn)(struct ask *ask, int sock));
/* Waits for its end. */
void peer_end(struct peer *peer);

/* Messages between them: one number and up to PEER_FDS descriptors. */
void tell(struct ask *ask, int sock, uint64_t value);
void tell_fds(struct ask *ask, int sock, uint64_t value, const int *fds, size_t n);
/* Fails the question if nothing comes within its time. */
uint64_t hear(struct ask *ask, int sock);
/* As hear(); n descriptors must come along. */
uint64_t hear_fds(struct ask *ask, int sock, int *fds, size_t n);

/* ---- for who asks ---- */

/* Asks in a child, and gives each answer to `each` as it comes. */
void question_ask(struct ask *ask, const struct question *question,
		  void (*each)(void *arg, const struct answer *answer), void *arg);

#endif
