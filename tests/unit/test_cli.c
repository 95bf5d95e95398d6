// SPDX-License-Identifier: GPL-2.0-only
// links: common/cli.c
/* Tables of options: parsing, with what is wrong named, and what may follow. */
#define _GNU_SOURCE 1
#include "common/cli.h"

#include <check.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	OPT_ALL = 1,
	OPT_FILE,
	OPT_WAIT,
	OPT_TO,
	OPT_SECRET,
	OPT_COMPLETE
};

static const struct cli_option table[] = {
	{ OPT_ALL, 'a', "all", NULL, "everything", " evict " },
	{ OPT_FILE, 'f', "file", "FILE", "a file", NULL },
	{ OPT_WAIT, 'w', "wait", "[TIME]", "wait", NULL },
	{ OPT_TO, 0, "to", "host|disk", "where", NULL },
	{ OPT_SECRET, 0, "secret", NULL, NULL, NULL },
	CLI_OPTION_COMPLETE(OPT_COMPLETE),
	{ .id = 0 },
};
static const struct cli cli = { .program = "prog", .options = table, .column = 20 };
static const struct cli runner_cli = { .program = "prog",
				       .options = table,
				       .stop_at_operand = true };

static char *words[16];
static int n_words;

/* Splits at blanks; the first word is the program. */
static void set_words(const char *line)
{
	static char copy[256];
	char *at, *state;

	snprintf(copy, sizeof(copy), "%s", line);
	n_words = 0;
	for (at = strtok_r(copy, " ", &state); at; at = strtok_r(NULL, " ", &state))
		words[n_words++] = at;
	words[n_words] = NULL;
	optind = 0;
}

/* What fn prints on fd. */
static const char *printed(int fd, void (*fn)(void))
{
	static char text[4096];
	FILE *f = tmpfile();
	int saved = dup(fd);
	size_t n;

	fflush(NULL);
	dup2(fileno(f), fd);
	fn();
	fflush(NULL);
	dup2(saved, fd);
	close(saved);
	rewind(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	fclose(f);
	return text;
}

START_TEST(test_options)
{
	set_words("prog one -f x --wait two --wait=3s -w4 --to=disk");
	ck_assert_int_eq(cli_next(&cli, n_words, words), OPT_FILE);
	ck_assert_str_eq(optarg, "x");
	ck_assert_int_eq(cli_next(&cli, n_words, words), OPT_WAIT);
	ck_assert_ptr_null(optarg); /* "two" is not taken */
	ck_assert_int_eq(cli_next(&cli, n_words, words), OPT_WAIT);
	ck_assert_str_eq(optarg, "3s");
	ck_assert_int_eq(cli_next(&cli, n_words, words), OPT_WAIT);
	ck_assert_str_eq(optarg, "4");
	ck_assert_int_eq(cli_next(&cli, n_words, words), OPT_TO);
	ck_assert_str_eq(optarg, "disk");
	ck_assert_int_eq(cli_next(&cli, n_words, words), -1);
	ck_assert_str_eq(words[optind], "one");
	ck_assert_str_eq(words[optind + 1], "two");
}
END_TEST

START_TEST(test_stop_at_operand)
{
	set_words("prog -a ls -f");
	ck_assert_int_eq(cli_next(&runner_cli, n_words, words), OPT_ALL);
	ck_assert_int_eq(cli_next(&runner_cli, n_words, words), -1);
	ck_assert_str_eq(words[optind], "ls");
}
END_TEST

static int got;
static void next(void)
{
	while ((got = cli_next(&cli, n_words, words)) > 0)
		;
}

START_TEST(test_mistakes)
{
	static const struct {
		const char *line, *says;
	} wrong[] = {
		{ "prog -ax", "prog: there is no option -x\n" },
		{ "prog --none", "prog: there is no option --none\n" },
		{ "prog -f", "prog: -f needs an argument\n" },
		{ "prog --file", "prog: --file needs an argument\n" },
		{ "prog --all=3", "prog: --all takes no argument\n" },
	};
	const char *said;

	set_words(wrong[_i].line);
	said = printed(STDERR_FILENO, next);
	ck_assert_int_eq(got, 0);
	ck_assert_msg(!strncmp(said, wrong[_i].says, strlen(wrong[_i].says)), "%s", said);
	ck_assert_ptr_nonnull(strstr(said, "Try 'prog --help'."));
}
END_TEST

static void complete(void)
{
	got = cli_complete(&cli, n_words, words, "operand");
}

static void complete_runner(void)
{
	got = cli_complete(&runner_cli, n_words, words, ":programs");
}

#define OPTIONS "--file\n--wait\n--to\n--complete\n"

START_TEST(test_complete)
{
	static const struct {
		const char *line, *words;
		bool runner;
	} asked[] = {
		{ "prog --complete", OPTIONS "operand\n", false },
		{ "prog --complete x", OPTIONS "operand\n", false },
		{ "prog --complete -f", ":files\n", false },
		{ "prog --complete --file", ":files\n", false },
		{ "prog --complete --file=", ":files\n", false },
		{ "prog --complete -af", ":files\n", false },
		{ "prog --complete -fx", OPTIONS "operand\n", false }, /* it has one */
		{ "prog --complete -f -f", OPTIONS "operand\n", false },
		{ "prog --complete --to", "host\ndisk\n", false },
		{ "prog --complete --wait", OPTIONS "operand\n", false }, /* needs none */
		{ "prog --complete --wait=", "", false },
		{ "prog --complete -- -f", OPTIONS "operand\n", false },
		{ "prog --complete --none", OPTIONS "operand\n", false },
		{ "prog --complete", OPTIONS ":programs\n", true },
		{ "prog --complete -f x ls", ":offset 2\n", true },
		{ "prog --complete -- ls -f", ":offset 1\n", true },
		{ "prog --complete --", OPTIONS ":programs\n", true },
	};
	const char *said;

	set_words(asked[_i].line);
	said = printed(STDOUT_FILENO, asked[_i].runner ? complete_runner : complete);
	ck_assert(got);
	ck_assert_str_eq(said, asked[_i].words);
}
END_TEST

START_TEST(test_complete_comes_first)
{
	set_words("prog x --complete");
	ck_assert(!cli_complete(&cli, n_words, words, NULL));
	set_words("prog");
	ck_assert(!cli_complete(&cli, n_words, words, NULL));
}
END_TEST

static void help(void)
{
	cli_print_options(&cli, NULL);
}

START_TEST(test_help)
{
	const char *said = printed(STDOUT_FILENO, help);

	ck_assert_ptr_nonnull(strstr(said, "\n  -a, --all            everything\n"));
	ck_assert_ptr_nonnull(strstr(said, "\n  -w, --wait[=TIME]    wait\n"));
	ck_assert_ptr_nonnull(strstr(said, "\n      --to host|disk   where\n"));
	ck_assert_ptr_null(strstr(said, "secret"));
	ck_assert(cli_option_is_for(&table[0], "evict") && !cli_option_is_for(&table[0], "evic"));
	ck_assert(!cli_option_is_for(&table[0], NULL) && cli_option_is_for(&table[1], NULL));
}
END_TEST

static void row(void)
{
	cli_print_row(&cli, "a left side that is long", "right");
}

START_TEST(test_long_row)
{
	ck_assert_str_eq(printed(STDOUT_FILENO, row),
			 "  a left side that is long\n                       right\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cli");
	TCase *tcase = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, test_options);
	tcase_add_test(tcase, test_stop_at_operand);
	tcase_add_loop_test(tcase, test_mistakes, 0, 5);
	tcase_add_loop_test(tcase, test_complete, 0, 17);
	tcase_add_test(tcase, test_complete_comes_first);
	tcase_add_test(tcase, test_help);
	tcase_add_test(tcase, test_long_row);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
