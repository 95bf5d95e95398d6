/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon's log: lines on stderr, with syslog priorities when the journal reads them.
 *
 * The frame that stops an error from propagating logs it, once. What clients send can
 * end up in a line (names, paths): control characters are replaced, so that a line stays one line
 * and a terminal stays whole. What clients can cause as often as they like goes through the
 * *_limited forms: each place in the source has a budget, and says how much it left out.
 */
#ifndef VRAM_DAEMON_LOG_H
#define VRAM_DAEMON_LOG_H

#include <stdbool.h>
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

/* Looks whether stderr is the journal (JOURNAL_STREAM). Before it, plain lines at level info. */
void log_init(void);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* Return: "error", "warning", "info" or "debug". */
const char *log_level_name(enum log_level level);

/* Keeps errno. */
__attribute__((format(printf, 2, 3))) void log_write(enum log_level level, const char *format, ...);
/* Return: true if the budget allows a line now; *out_suppressed: lines left out before it. */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, uint32_t *out_suppressed);
__attribute__((format(printf, 3, 4))) void
log_write_limited(struct log_limit *limit, enum log_level level, const char *format, ...);

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
