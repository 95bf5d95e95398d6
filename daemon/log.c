// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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

/* How many bytes the character at text takes; 0: it is none that can be shown. */
static size_t character(const unsigned char *text, size_t len)
{
	size_t n, i;

	if (text[0] < 0x80)
		return text[0] >= 0x20 && text[0] != 0x7f;
	n = text[0] >= 0xf0 && text[0] <= 0xf4 ? 4 :
	    text[0] >= 0xe0 && text[0] < 0xf0  ? 3 :
	    text[0] >= 0xc2 && text[0] < 0xe0  ? 2 :
						 0;
	if (n > len)
		return 0;
	for (i = 1; i < n; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	/* Control characters of more than one byte. */
	return text[0] == 0xc2 && text[1] < 0xa0 ? 0 : n;
}

/* Of an entry with anything else in it the journal shows "[blob data]". */
static void make_text(char *text, size_t len)
{
	size_t i = 0, n;

	while (i < len) {
		n = character((const unsigned char *)text + i, len - i);
		if (n == 0)
			text[i++] = '?';
		i += n;
	}
}

/* A log is one for the process: the only globals of the daemon. */
static enum log_level log_level = LOG_LEVEL_INFO;
static bool log_journal;    /* stderr is its stream */
static int journal_fd = -1; /* of its socket; -1: lines with a priority go to the stream */
static struct sockaddr_un journal_addr;
static uint32_t n_journal_lost;

/* ---- the journal ---- */

/* JOURNAL_STREAM is inherited: it counts only if stderr is still that very stream. */
static bool stderr_is_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return text && sscanf(text, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static bool journal_connect(void)
{
	return connect(journal_fd, (const struct sockaddr *)&journal_addr, sizeof(journal_addr)) ==
	       0;
}

/* A datagram is one entry: lines NAME=VALUE. No value has a newline in it here. */
static bool journal_send(const char *entry, size_t len)
{
	struct pollfd pollfd = { .fd = journal_fd, .events = POLLOUT };
	int tries;

	for (tries = 0; tries < 3; tries++) {
		if (send(journal_fd, entry, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return true;
		switch (errno) {
		case EINTR:
			break;
		case EAGAIN:
			if (tries > 0 || poll(&pollfd, 1, LOG_JOURNAL_PATIENCE_MS) <= 0) {
				n_journal_lost++;
				return true;
			}
			break;
		default: /* it was started anew, with another socket */
			if (!journal_connect())
				return false;
		}
	}
	return false;
}

/* Appends NAME=VALUE and a newline, or nothing. Return: how much there is now. */
static size_t put_field(char *entry, size_t size, size_t at, const char *name, const char *value,
			size_t len)
{
	size_t name_len = strlen(name);

	if (at + name_len + len + 2 > size)
		return at;
	memcpy(entry + at, name, name_len);
	at += name_len;
	entry[at++] = '=';
	memcpy(entry + at, value, len);
	make_text(entry + at, len);
	at += len;
	entry[at++] = '\n';
	return at;
}

static size_t put_event_field(char *entry, size_t size, size_t at, const struct log_field *field)
{
	char number[24];

	if (field->text)
		return put_field(entry, size, at, field->name, field->text,
				 strnlen(field->text, LOG_VALUE_MAX - 1));
	snprintf(number, sizeof(number), "%" PRIu64, field->number);
	return put_field(entry, size, at, field->name, number, strlen(number));
}

static bool journal_write(enum log_level level, const struct log_field *fields, size_t n,
			  const char *message, size_t len)
{
	static char entry[LOG_LINE_MAX + 256 + LOG_FIELDS_MAX * (LOG_VALUE_MAX + 32)];
	char priority[2] = { (char)('0' + log_levels[level].priority), '\0' };
	uint32_t n_lost = n_journal_lost;
	size_t at = 0, i;

	at = put_field(entry, sizeof(entry), at, "MESSAGE", message, len);
	at = put_field(entry, sizeof(entry), at, "PRIORITY", priority, 1);
	at = put_field(entry, sizeof(entry), at, "SYSLOG_IDENTIFIER", "vramd", 5);
	if (n_lost > 0)
		at = put_event_field(entry, sizeof(entry), at, &LOG_NUMBER("VRAM_LOST", n_lost));
	for (i = 0; i < n && i < LOG_FIELDS_MAX; i++)
		at = put_event_field(entry, sizeof(entry), at, &fields[i]);
	if (!journal_send(entry, at))
		return false;
	/* Unless this one is lost as well. */
	if (n_journal_lost == n_lost)
		n_journal_lost = 0;
	return true;
}

void log_init_at(const char *journal_socket)
{
	if (journal_fd >= 0)
		close(journal_fd);
	journal_fd = -1;
	log_journal = stderr_is_journal();
	if (!log_journal)
		return;
	journal_addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(journal_addr.sun_path, sizeof(journal_addr.sun_path), "%s", journal_socket);
	journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	/* Its stream alone will do, as in a container that has been given nothing else. */
	if (journal_fd >= 0 && !journal_connect()) {
		close(journal_fd);
		journal_fd = -1;
	}
}

void log_init(void)
{
	log_init_at(LOG_JOURNAL_SOCKET);
}

/* ---- lines ---- */

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

static void log_vwrite(enum log_level level, uint32_t n_suppressed, const struct log_field *fields,
		       size_t n_fields, const char *format, va_list args)
{
	char line[LOG_LINE_MAX];
	size_t head, end;
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
	make_text(line + head, end - head);
	if (journal_fd >= 0 && journal_write(level, fields, n_fields, line + head, end - head)) {
		errno = saved;
		return;
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
	log_vwrite(level, 0, NULL, 0, format, args);
	va_end(args);
}

void log_event(enum log_level level, const struct log_field *fields, size_t n, const char *format,
	       ...)
{
	va_list args;

	if (level > log_level)
		return;
	va_start(args, format);
	log_vwrite(level, 0, fields, n, format, args);
	va_end(args);
}

/* ---- budgets ---- */

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

static bool may_write(struct log_limit *limit, enum log_level level, uint32_t *out_suppressed)
{
	struct timespec ts;

	if (level > log_level)
		return false;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return log_limit_pass(limit, (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec,
			      out_suppressed);
}

void log_write_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
{
	uint32_t n_suppressed;
	va_list args;

	if (!may_write(limit, level, &n_suppressed))
		return;
	va_start(args, format);
	log_vwrite(level, n_suppressed, NULL, 0, format, args);
	va_end(args);
}

void log_event_limited(struct log_limit *limit, enum log_level level,
		       const struct log_field *fields, size_t n, const char *format, ...)
{
	uint32_t n_suppressed;
	va_list args;

	if (!may_write(limit, level, &n_suppressed))
		return;
	va_start(args, format);
	log_vwrite(level, n_suppressed, fields, n, format, args);
	va_end(args);
}
