/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What vramd has said no to: who asked, for what, and which limit was in the way; and what it was told to do. Every refusal
 * comes through here, so that the sentence and the journal's fields say the same, and so that no user's refusals use up the
 * lines of another's: budgets are kept for each user.
 */
#ifndef VRAM_DAEMON_LOG_REFUSAL_H
#define VRAM_DAEMON_LOG_REFUSAL_H

#include <stdint.h>
#include <sys/types.h>

#include "daemon/log.h"

enum log_unit {
	LOG_UNIT_COUNT,
	LOG_UNIT_BYTES,
	LOG_UNIT_NS,
};

/* The limit in the way. key: as vramd.conf(5) or limits call it, "limits.max_objects"; NULL: it has no name. */
struct log_bound {
	const char *key;
	uint64_t asked; /* what there would have been */
	uint64_t limit;
	enum log_unit unit;
};

struct log_refusal {
	const char *id;	     /* LOG_ID_* */
	const char *subject; /* NULL: "user:UID" */
	const char *name;    /* of the client; NULL: it has none */
	const char *reason;
	const char *asked;	       /* in words, where bound does not say it; or NULL */
	const struct log_bound *bound; /* NULL: no limit, it is wrong as such */
	uint64_t session;	       /* 0: none */
	pid_t pid;
	uid_t uid;
	int error;
};

#define LOG_BOUND_TEXT_MAX 112u
/* ": asked for 1025, the limit is 1024"; "" for NULL. Return: text. */
const char *log_bound_text(const struct log_bound *bound, char text[LOG_BOUND_TEXT_MAX]);

/*
 * One line: `session 4 (name, pid 3, user 1): refused: REASON: asked for N, the limit is M (E2BIG)`. verb: "refused" or "ended". The
 * numbers come from bound; reason has none of them.
 */
void log_refusal(enum log_level level, const char *verb, const struct log_refusal *refusal);

/* by has told subject ("session:4", a model's name) to do something. The sentence names all of it, too. */
__attribute__((format(printf, 4, 5))) void log_control(const char *subject, const char *asked,
						       uid_t by, const char *format, ...);

/* At level info; of what others than administrators do no more than a few lines in a while. */
void log_done(uid_t by, const struct log_field *fields, size_t n, const char *text);

#endif
