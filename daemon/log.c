// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const struct {
	const char *name;
	int priority; /* of syslog(3) */
} log_levels[] = {
	[LOG_LEVEL_ERROR] = { "error", 3 },
	[LOG_LEVEL_WARN] = { "warning", 4 },
	[LOG_LEVEL_INFO] = { "info", 6 },
	[LOG_LEVEL_DEBUG] = { "debug", 7 },
};

/* A log is one for the process: the only globals of the daemon. */
static enum log_level log_level = LOG_LEVEL_INFO;
static bool log_journal;

/* JOURNAL_STREAM is inherited: it counts only if stderr is still that very stream. */
static bool stderr_is_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return text && sscanf(text, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_init(void)
{
	log_journal = stderr_is_journal();
}

void log_set_level(enum log_level level)
{
	log_level = level;
}

enum log_level log_get_level(void)
{
	return log_level;
}

const char *log_level_name(enum log_level level)
{
	return log_levels[level].name;
}

static void log_vwrite(enum log_level level, uint32_t n_suppressed, const char *format,
		       va_list args)
{
	char line[LOG_LINE_MAX];
	size_t head = 0, end, i;
	int saved = errno, n;

	/* One byte stays for the newline. */
	if (log_journal)
		head = (size_t)snprintf(line, sizeof(line), "<%d>", log_levels[level].priority);
	else
		head = (size_t)snprintf(line, sizeof(line), "vramd: %s%s",
					level == LOG_LEVEL_INFO ? "" : log_levels[level].name,
					level == LOG_LEVEL_INFO ? "" : ": ");
	n = vsnprintf(line + head, sizeof(line) - head - 1, format, args);
	if (n < 0) {
		errno = saved;
		return;
	}
	end = head + (size_t)n;
	if (end > sizeof(line) - 2) {
		end = sizeof(line) - 2;
		memcpy(line + end - 3, "...", 3);
	} else if (n_suppressed > 0) {
		n = snprintf(line + end, sizeof(line) - end - 1,
			     " (%" PRIu32 " more like it left out)", n_suppressed);
		end = end + (size_t)n < sizeof(line) - 2 ? end + (size_t)n : sizeof(line) - 2;
	}
	for (i = head; i < end; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	line[end++] = '\n';
	/*
	 * One write, so that lines of several processes on one terminal do not mix. Nobody is left
	 * to tell if it fails.
	 */
	if (write(STDERR_FILENO, line, end) < 0)
		errno = saved;
	errno = saved;
}

void log_write(enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > log_level)
		return;
	va_start(args, format);
	log_vwrite(level, 0, format, args);
	va_end(args);
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, uint32_t *out_suppressed)
{
	if (limit->n == 0 || now_ns - limit->since_ns >= LOG_LIMIT_INTERVAL_NS) {
		*out_suppressed = limit->n_suppressed;
		*limit = (struct log_limit){ .since_ns = now_ns, .n = 1 };
		return true;
	}
	if (limit->n < LOG_LIMIT_BURST) {
		limit->n++;
		*out_suppressed = 0;
		return true;
	}
	limit->n_suppressed++;
	return false;
}

void log_write_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
{
	uint32_t n_suppressed;
	struct timespec ts;
	va_list args;

	if (level > log_level)
		return;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	if (!log_limit_pass(limit, (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec,
			    &n_suppressed))
		return;
	va_start(args, format);
	log_vwrite(level, n_suppressed, format, args);
	va_end(args);
}
