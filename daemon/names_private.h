/* SPDX-License-Identifier: GPL-2.0-only */
/* What names.c and its helper (names_helper.c) say to each other, one message a datagram. */
#ifndef VRAM_DAEMON_NAMES_PRIVATE_H
#define VRAM_DAEMON_NAMES_PRIVATE_H

#include <stddef.h>

#include "daemon/names.h"

#define NAMES_NAME_MAX 256u
#define NAMES_PATH_MAX 4096u

enum names_what {
	NAMES_ASK_GROUPS, /* id: the uid */
	NAMES_ASK_USER,	  /* name */
	NAMES_ASK_GROUP,  /* name */
	NAMES_ASK_EXE,	  /* id: the pid */
};

struct names_question {
	uint32_t what;
	uint32_t serial;
	uint64_t id;
	char name[NAMES_NAME_MAX];
};

struct names_answer {
	struct names_question question;
	int32_t error;
	uint32_t n;  /* gids, or bytes of the path with its zero */
	uint64_t id; /* USER, GROUP */
	union {
		uint32_t gids[NAMES_GROUPS_MAX];
		char path[NAMES_PATH_MAX];
	};
};

/* Bytes of an answer that are sent: without what is not used at its end. */
static inline size_t names_answer_size(const struct names_answer *a)
{
	size_t used = a->question.what == NAMES_ASK_GROUPS ? a->n * sizeof(a->gids[0]) :
		      a->question.what == NAMES_ASK_EXE	   ? a->n :
							     0;

	return offsetof(struct names_answer, gids) + used;
}

/* The helper's life; does not return. */
__attribute__((noreturn)) void names_helper_run(int fd, const struct names_ops *ops);

#endif
