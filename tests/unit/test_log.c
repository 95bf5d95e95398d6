// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/log.c
/* The log: what a line looks like, what cannot get into it, and how often it may be written. */
#define _GNU_SOURCE 1
#include "daemon/log.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int out_fd;

/* stderr goes to a pipe; a test runs in a process of its own. */
static void setup(void)
{
	int pair[2];

	ck_assert_int_eq(pipe(pair), 0);
	ck_assert_int_eq(dup2(pair[1], STDERR_FILENO), STDERR_FILENO);
	close(pair[1]);
	out_fd = pair[0];
}

static const char *written(void)
{
	static char text[65536];
	ssize_t n;

	/* Something to read, always: so that nothing written is no wait. */
	ck_assert_int_eq(write(STDERR_FILENO, "|", 1), 1);
	n = read(out_fd, text, sizeof(text) - 1);
	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	return text;
}

START_TEST(lines_have_their_level)
{
	log_error("disk %d", 1);
	ck_assert_str_eq(written(), "vramd: error: disk 1\n|");
	log_warn("w");
	ck_assert_str_eq(written(), "vramd: warning: w\n|");
	log_info("i");
	ck_assert_str_eq(written(), "vramd: i\n|");
	log_debug("d");
	ck_assert_str_eq(written(), "|");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("d");
	ck_assert_str_eq(written(), "vramd: debug: d\n|");
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("w");
	ck_assert_str_eq(written(), "|");
	log_error("e");
	ck_assert_str_eq(written(), "vramd: error: e\n|");
}
END_TEST

START_TEST(errno_is_kept)
{
	errno = ENOSPC;
	log_error("x");
	ck_assert_int_eq(errno, ENOSPC);
	close(STDERR_FILENO);
	errno = ENOSPC;
	log_error("nobody hears this");
	ck_assert_int_eq(errno, ENOSPC);
}
END_TEST

START_TEST(clients_cannot_forge_lines)
{
	log_info("client %s", "a\nvramd: error: forged\033[2J\r\177\t\303\251");
	ck_assert_str_eq(written(), "vramd: client a?vramd: error: forged?[2J???\303\251\n|");
}
END_TEST

START_TEST(long_lines_are_cut)
{
	char text[5000];
	const char *line;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	log_info("%s", text);
	line = written();
	ck_assert_uint_eq(strlen(line), LOG_LINE_MAX - 1 + 1);
	ck_assert_str_eq(line + LOG_LINE_MAX - 1 - 4, "...\n|");
	/* The longest that fits is not touched. */
	text[LOG_LINE_MAX - 2 - strlen("vramd: ")] = '\0';
	log_info("%s", text);
	line = written();
	ck_assert_str_eq(line + LOG_LINE_MAX - 1 - 4, "xxx\n|");
}
END_TEST

START_TEST(journal_gets_priorities)
{
	char stream[64];
	struct stat st;

	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init();
	log_error("e");
	ck_assert_str_eq(written(), "<3>e\n|");
	log_warn("w");
	ck_assert_str_eq(written(), "<4>w\n|");
	log_info("i");
	ck_assert_str_eq(written(), "<6>i\n|");
	/* Inherited from somebody whose stderr it was: not ours. */
	setenv("JOURNAL_STREAM", "1:2", 1);
	log_init();
	log_info("i");
	ck_assert_str_eq(written(), "vramd: i\n|");
	setenv("JOURNAL_STREAM", "nonsense", 1);
	log_init();
	log_info("i");
	ck_assert_str_eq(written(), "vramd: i\n|");
}
END_TEST

/* A socket that stands for the journal's, and a stderr that stands for its stream. */
static int journal_make(char *path, size_t size)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char stream[64];
	struct stat st;

	ck_assert_int_ge(fd, 0);
	snprintf(path, size, "/tmp/vram-journal-%d", (int)getpid());
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	return fd;
}

static const char *entry(int fd)
{
	static char text[16384];
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

START_TEST(journal_gets_entries)
{
	char path[64];
	int fd = journal_make(path, sizeof(path));

	log_init_at(path);
	errno = ENOSPC;
	log_warn("disk %d", 3);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_str_eq(entry(fd), "MESSAGE=disk 3\nPRIORITY=4\nSYSLOG_IDENTIFIER=vramd\n");
	ck_assert_str_eq(written(), "|");
	log_event(LOG_LEVEL_INFO,
		  (struct log_field[]){ LOG_ID(LIMIT_CHANGED), LOG_TEXT("VRAM_SUBJECT", "user:7"),
					LOG_NUMBER("VRAM_LIMIT", UINT64_MAX) },
		  3, "changed");
	ck_assert_str_eq(entry(fd), "MESSAGE=changed\nPRIORITY=6\nSYSLOG_IDENTIFIER=vramd\n"
				    "MESSAGE_ID=" LOG_ID_LIMIT_CHANGED "\nVRAM_SUBJECT=user:7\n"
				    "VRAM_LIMIT=18446744073709551615\n");
	log_debug("too much");
	ck_assert_str_eq(entry(fd), "");
	unlink(path);
}
END_TEST

START_TEST(fields_cannot_be_forged)
{
	char path[64], many[LOG_VALUE_MAX * 2];
	int fd = journal_make(path, sizeof(path));
	struct log_field fields[LOG_FIELDS_MAX + 5];
	const char *text, *p;
	size_t n = 0;

	log_init_at(path);
	log_event(LOG_LEVEL_WARN,
		  (struct log_field[]){ LOG_TEXT("VRAM_MODEL", "x\nPRIORITY=0\nVRAM_UID=0") }, 1,
		  "name %s", "y\nMESSAGE=z");
	ck_assert_str_eq(entry(fd),
			 "MESSAGE=name y?MESSAGE=z\nPRIORITY=4\nSYSLOG_IDENTIFIER=vramd\n"
			 "VRAM_MODEL=x?PRIORITY=0?VRAM_UID=0\n");
	/* Long values are cut, and more fields than there is room for are left out. */
	memset(many, 'm', sizeof(many));
	many[sizeof(many) - 1] = '\0';
	for (size_t i = 0; i < LOG_FIELDS_MAX + 5; i++)
		fields[i] = LOG_TEXT("VRAM_X", many);
	log_event(LOG_LEVEL_WARN, fields, LOG_FIELDS_MAX + 5, "%s", many);
	text = entry(fd);
	for (p = text; (p = strstr(p, "VRAM_X=")); p += 7) {
		n++;
		ck_assert_uint_eq(strcspn(p + 7, "\n"), LOG_VALUE_MAX - 1);
	}
	ck_assert_uint_eq(n, LOG_FIELDS_MAX);
	unlink(path);
}
END_TEST

START_TEST(text_is_text)
{
	/* Latin-1, a cut character, a C1 control, an overlong slash, a surrogate's first byte; what is right stays. */
	log_info("\351 \303\251 \342\202\254 \360\237\222\276 \302\233 \300\257 \360\237\222");
	ck_assert_str_eq(written(), "vramd: ? \303\251 \342\202\254 \360\237\222\276 ?? ?? ???\n|");
}
END_TEST

START_TEST(journal_that_goes_and_comes)
{
	char path[64];
	int fd = journal_make(path, sizeof(path));

	log_init_at(path);
	log_info("one");
	ck_assert_str_eq(entry(fd), "MESSAGE=one\nPRIORITY=6\nSYSLOG_IDENTIFIER=vramd\n");
	/* Gone: its stream gets lines with a priority. */
	close(fd);
	unlink(path);
	log_error("two");
	ck_assert_str_eq(written(), "<3>two\n|");
	/* Another one has taken its place. */
	fd = journal_make(path, sizeof(path));
	log_info("three");
	ck_assert_str_eq(written(), "|");
	ck_assert_str_eq(entry(fd), "MESSAGE=three\nPRIORITY=6\nSYSLOG_IDENTIFIER=vramd\n");
	unlink(path);
	/* None from the start. */
	log_init_at("/nowhere/socket");
	log_event(LOG_LEVEL_INFO, (struct log_field[]){ LOG_NUMBER("VRAM_PID", 1) }, 1, "four");
	ck_assert_str_eq(written(), "<6>four\n|");
}
END_TEST

START_TEST(journal_that_does_not_read)
{
	char path[64];
	int i, n = 0, fd = journal_make(path, sizeof(path));
	const char *text;
	unsigned int n_lost = 0;

	log_init_at(path);
	/* Until its queue is full, and three more. */
	for (i = 0; n < 3 && i < 100000; i++) {
		struct pollfd pollfd;
		struct sockaddr_un addr = { .sun_family = AF_UNIX };
		int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
		ck_assert_int_eq(connect(probe, (struct sockaddr *)&addr, sizeof(addr)), 0);
		pollfd = (struct pollfd){ .fd = probe, .events = POLLOUT };
		n += poll(&pollfd, 1, 0) == 0;
		close(probe);
		log_info("line %d", i);
	}
	ck_assert_int_eq(n, 3);
	while (*entry(fd))
		;
	log_info("after");
	text = entry(fd);
	ck_assert_msg(strstr(text, "MESSAGE=after\n") != NULL, "%s", text);
	text = strstr(text, "VRAM_LOST=");
	ck_assert_ptr_nonnull(text);
	ck_assert_int_eq(sscanf(text, "VRAM_LOST=%u", &n_lost), 1);
	ck_assert_uint_eq(n_lost, 3);
	log_info("later");
	ck_assert_ptr_null(strstr(entry(fd), "VRAM_LOST"));
	ck_assert_str_eq(written(), "|");
	unlink(path);
}
END_TEST

START_TEST(budget_of_lines)
{
	struct log_limit limit = { 0 };
	uint32_t n_suppressed = 99;
	uint64_t now = 1000;
	unsigned int i;

	for (i = 0; i < LOG_LIMIT_BURST; i++) {
		ck_assert(log_limit_pass(&limit, now + i, &n_suppressed));
		ck_assert_uint_eq(n_suppressed, 0);
	}
	for (i = 0; i < 77; i++)
		ck_assert(!log_limit_pass(&limit, now + 100 + i, &n_suppressed));
	ck_assert(!log_limit_pass(&limit, now + LOG_LIMIT_INTERVAL_NS - 1, &n_suppressed));
	ck_assert(log_limit_pass(&limit, now + LOG_LIMIT_INTERVAL_NS, &n_suppressed));
	ck_assert_uint_eq(n_suppressed, 78);
	ck_assert(log_limit_pass(&limit, now + LOG_LIMIT_INTERVAL_NS + 1, &n_suppressed));
	ck_assert_uint_eq(n_suppressed, 0);
}
END_TEST

START_TEST(flood_is_counted)
{
	const char *text, *p;
	int i, n = 0;

	for (i = 0; i < 1000; i++)
		log_warn_limited("client %d misbehaves", i);
	text = written();
	for (p = text; (p = strstr(p, "misbehaves")); p++)
		n++;
	ck_assert_int_eq(n, LOG_LIMIT_BURST);
	/* Another place has a budget of its own. */
	log_warn_limited("another");
	ck_assert_str_eq(written(), "vramd: warning: another\n|");
}
END_TEST

START_TEST(what_was_left_out_is_said)
{
	struct log_limit limit = { .n = LOG_LIMIT_BURST, .n_suppressed = 12, .since_ns = 0 };

	/* The interval is long over: the machine runs for longer than it. */
	log_write_limited(&limit, LOG_LEVEL_WARN, "again");
	ck_assert_str_eq(written(), "vramd: warning: again (12 more like it left out)\n|");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		lines_have_their_level,
		errno_is_kept,
		clients_cannot_forge_lines,
		long_lines_are_cut,
		journal_gets_priorities,
		budget_of_lines,
		flood_is_counted,
		what_was_left_out_is_said,
		journal_gets_entries,
		fields_cannot_be_forged,
		text_is_text,
		journal_that_goes_and_comes,
		journal_that_does_not_read,
	};
	Suite *suite = suite_create("log");
	TCase *tcase = tcase_create("log");
	SRunner *runner;
	size_t i;
	int n_failed;

	tcase_add_checked_fixture(tcase, setup, NULL);
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
