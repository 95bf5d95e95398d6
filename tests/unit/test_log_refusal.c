// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/log.c daemon/log_refusal.c common/err.c common/size.c
/* What a refusal says, in words and in fields, and that one user's do not hide another's. */
#define _GNU_SOURCE 1
#include "daemon/log_refusal.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int out_fd;

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

	ck_assert_int_eq(write(STDERR_FILENO, "|", 1), 1);
	n = read(out_fd, text, sizeof(text) - 1);
	ck_assert_int_gt(n, 0);
	text[n - 1] = '\0';
	return text;
}

static const struct log_bound objects = { .key = "limits.max_objects", .asked = 5, .limit = 4 };

START_TEST(sentences)
{
	struct log_refusal refusal = {
		.id = LOG_ID_REQUEST_REFUSED,
		.name = "engine\nvramd: forged",
		.reason = "more objects",
		.bound = &objects,
		.session = 7,
		.pid = 33,
		.uid = 1000,
		.error = -E2BIG,
	};

	log_refusal(LOG_LEVEL_INFO, "refused", &refusal);
	ck_assert_str_eq(written(),
			 "vramd: session 7 (engine?vramd: forged, pid 33, user 1000): refused: "
			 "more objects: asked for 5, the limit is 4 (E2BIG)\n");
	refusal.session = 0;
	refusal.error = 0;
	log_refusal(LOG_LEVEL_WARN, "refused", &refusal);
	ck_assert_str_eq(written(),
			 "vramd: warning: client of user 1000, pid 33, refused: more objects: "
			 "asked for 5, the limit is 4\n");
	refusal.bound = NULL;
	refusal.asked = "drain user:0";
	refusal.reason = "that is for root";
	refusal.error = -EPERM;
	log_refusal(LOG_LEVEL_WARN, "refused", &refusal);
	ck_assert_str_eq(written(), "vramd: warning: client of user 1000, pid 33, refused: "
				    "that is for root: asked for drain user:0 (EPERM)\n");
}
END_TEST

START_TEST(numbers_tell_the_difference)
{
	struct log_bound bound = { .asked = 5ull << 40,
				   .limit = 4ull << 40,
				   .unit = LOG_UNIT_BYTES };
	char text[LOG_BOUND_TEXT_MAX];

	ck_assert_str_eq(log_bound_text(&bound, text), ": asked for 5T, the limit is 4T");
	bound.asked = bound.limit + 4096;
	ck_assert_str_eq(log_bound_text(&bound, text), ": asked for 4294967300K, the limit is 4T");
	bound = (struct log_bound){ .asked = 90100000000,
				    .limit = 60000000000,
				    .unit = LOG_UNIT_NS };
	ck_assert_str_eq(log_bound_text(&bound, text), ": asked for 90.1 s, the limit is 60.0 s");
	bound = (struct log_bound){ .asked = UINT64_MAX, .limit = UINT64_MAX };
	ck_assert_str_eq(log_bound_text(&bound, text),
			 ": asked for 18446744073709551615, the limit is 18446744073709551615");
	ck_assert_str_eq(log_bound_text(NULL, text), "");
}
END_TEST

START_TEST(fields)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char text[4096] = "", stream[64];
	struct stat st;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/vram-journal-%d", (int)getpid());
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init_at(addr.sun_path);
	log_refusal(LOG_LEVEL_WARN, "ended",
		    &(const struct log_refusal){ .id = LOG_ID_SESSION_ENDED,
						 .name = "x\nVRAM_UID=0",
						 .reason = "r",
						 .bound = &objects,
						 .session = 7,
						 .pid = 33,
						 .uid = 1000,
						 .error = -E2BIG });
	ck_assert_int_gt(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT), 0);
	ck_assert_str_eq(
		text, "MESSAGE=session 7 (x?VRAM_UID=0, pid 33, user 1000): ended: r: asked for 5, "
		      "the limit is 4 (E2BIG)\nPRIORITY=4\nSYSLOG_IDENTIFIER=vramd\n"
		      "MESSAGE_ID=" LOG_ID_SESSION_ENDED "\nVRAM_SUBJECT=user:1000\nVRAM_UID=1000\n"
		      "VRAM_PID=33\nVRAM_SESSION=7\nVRAM_NAME=x?VRAM_UID=0\nVRAM_ASKED=5\n"
		      "VRAM_LIMIT=4\nVRAM_KEY=limits.max_objects\nVRAM_ERRNO=E2BIG\n");
	unlink(addr.sun_path);
}
END_TEST

static unsigned int lines(uid_t uid, enum log_level level)
{
	const struct log_refusal refusal = { .id = "", .reason = "no", .uid = uid };
	const char *text;
	unsigned int n = 0;

	log_refusal(level, "refused", &refusal);
	for (text = written(); (text = strchr(text, '\n')); text++)
		n++;
	return n;
}

START_TEST(users_have_budgets_of_their_own)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < 3 * LOG_LIMIT_BURST; i++)
		n += lines(1000, LOG_LEVEL_INFO);
	ck_assert_uint_eq(n, LOG_LIMIT_BURST);
	/* Nor are warnings about the same user hidden. */
	ck_assert_uint_eq(lines(1000, LOG_LEVEL_WARN), 1);
	ck_assert_uint_eq(lines(1001, LOG_LEVEL_INFO), 1);
	/* More users than there is room for: each is heard. */
	for (uid_t uid = 2000; uid < 2100; uid++)
		ck_assert_uint_eq(lines(uid, LOG_LEVEL_INFO), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log_refusal");
	TCase *tcase = tcase_create("log_refusal");
	SRunner *runner;
	int n_failed;

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, sentences);
	tcase_add_test(tcase, numbers_tell_the_difference);
	tcase_add_test(tcase, fields);
	tcase_add_test(tcase, users_have_budgets_of_their_own);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
