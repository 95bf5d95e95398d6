/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon's log: entries with fields in the journal where the journal reads our stderr, lines on stderr else.
 *
 * The frame that stops an error from propagating logs it, once. What clients send can
 * end up in a line (names, paths): control characters are replaced, so that a line stays one line
 * and a terminal stays whole. What clients can cause as often as they like goes through the
 * *_limited forms: each place in the source has a budget, and says how much it left out.
 *
 * An event is a line with fields beside it. Only the journal keeps them, so the sentence has to name what
 * matters by itself. vramd(8) lists the fields and the message ids; they are kept from version to version.
 *
 * The journal is written to without waiting for long: every client would wait with us. What it does not take in
 * LOG_JOURNAL_PATIENCE_MS is left out, and the next entry says how much that was.
 */
#ifndef VRAM_DAEMON_LOG_H
#define VRAM_DAEMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/* The longest line; what is longer ends in "...". */
#define LOG_LINE_MAX 1024

/* At most BURST lines in every INTERVAL. Zero-initialised. */
#define LOG_LIMIT_BURST	      10u
#define LOG_LIMIT_INTERVAL_NS 5000000000ull
struct log_limit {
	uint64_t since_ns;
	uint32_t n;
	uint32_t n_suppressed;
};

/* name: as the journal wants it, A-Z, 0-9 and _. text, or where that is NULL number. */
struct log_field {
	const char *name;
	const char *text;
	uint64_t number;
};
#define LOG_TEXT(field, value)	 ((struct log_field){ .name = (field), .text = (value) })
#define LOG_NUMBER(field, value) ((struct log_field){ .name = (field), .number = (value) })
#define LOG_ID(id)		 LOG_TEXT("MESSAGE_ID", LOG_ID_##id)
/* Of one event; more are left out. A value is cut at LOG_VALUE_MAX - 1 bytes. */
#define LOG_FIELDS_MAX 16u
#define LOG_VALUE_MAX  256u

/* What an administrator may want to search for. */
#define LOG_ID_STARTED	       "09cd7cf0828b4f498a84c1036cd262fe"
#define LOG_ID_STOPPING	       "7117593941c34f7b8ed1e428b43385cf"
#define LOG_ID_RELOADED	       "124ed37d88e94ecb8a7c7f39c4339ee0"
#define LOG_ID_RELOAD_REFUSED  "346249f280254cd8b5e90582107f8da5"
#define LOG_ID_CLIENT_REFUSED  "2d390f56654d47d49dcc0320bbefc2c6"
#define LOG_ID_REQUEST_REFUSED "940be195e1384e4982962e5de5111c74"
#define LOG_ID_SESSION_ENDED   "7c2482bb277f41c29b7a6ffd6d96d9fa"
#define LOG_ID_ADMIN_REFUSED   "abd2b642b90c4aee958d132f03812d5b"
#define LOG_ID_LIMIT_CHANGED   "2504e3b9b8874143be88c538733193f1"
#define LOG_ID_CONTROL	       "727e3e2053a54c6180fc8e869b2963bb"
#define LOG_ID_LOAD_FAILED     "33662d50939448fea57e8c29425429bb"
#define LOG_ID_LOADS_WAIT      "5b512047a80b4321ad2c6ea5c4d597de"
#define LOG_ID_DEVICE_LOST     "f1c6921f212c49518ef50b2e537e1d0f"
#define LOG_ID_DEVICE_BACK     "996e84d673934723a4839fbaa711f75e"

#define LOG_JOURNAL_SOCKET	"/run/systemd/journal/socket"
#define LOG_JOURNAL_PATIENCE_MS 100

/* Looks whether stderr is the journal (JOURNAL_STREAM). Before it, plain lines at level info. */
void log_init(void);
/* The same with another socket; for tests. */
void log_init_at(const char *journal_socket);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* Return: "error", "warning", "info" or "debug". */
const char *log_level_name(enum log_level level);

/* Keeps errno. */
__attribute__((format(printf, 2, 3))) void log_write(enum log_level level, const char *format, ...);
/* With fields; n may be 0. Keeps errno. */
__attribute__((format(printf, 4, 5))) void
log_event(enum log_level level, const struct log_field *fields, size_t n, const char *format, ...);
/* Return: true if the budget allows a line now; *out_suppressed: lines left out before it. */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, uint32_t *out_suppressed);
__attribute__((format(printf, 3, 4))) void
log_write_limited(struct log_limit *limit, enum log_level level, const char *format, ...);
__attribute__((format(printf, 5, 6))) void log_event_limited(struct log_limit *limit,
							     enum log_level level,
							     const struct log_field *fields,
							     size_t n, const char *format, ...);

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#define log_limited_(level, ...)                                      \
	do {                                                          \
		static struct log_limit log_limit_;                   \
		log_write_limited(&log_limit_, (level), __VA_ARGS__); \
	} while (0)
#define log_error_limited(...) log_limited_(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn_limited(...)  log_limited_(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info_limited(...)  log_limited_(LOG_LEVEL_INFO, __VA_ARGS__)

#endif
