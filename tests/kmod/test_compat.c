// SPDX-License-Identifier: GPL-2.0-only
/*
 * A 32-bit program sees the same ABI. There is no 32-bit C library to link with, so the program
 * (compat/client32.c) makes its system calls itself, and is compiled here.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/device.h"
#include "tests/support/skip.h"

static char program[4096];

/* Return: NULL, or why there is no such program. */
static const char *compile(void)
{
	const char *src = getenv("VRAM_SRC"), *tmp = getenv("TEST_TMP");
	static char command[16384];

	if (!src)
		src = ".";
	snprintf(program, sizeof(program), "%s/client32-%d", tmp ? tmp : "/tmp", (int)getpid());
	snprintf(command, sizeof(command),
		 "gcc -m32 -nostdlib -static -ffreestanding -fno-pie -no-pie -fno-stack-protector "
		 "-fcf-protection=none -mno-sse -O2 -Wall -Wextra -Werror -I%s "
		 "-isystem /usr/include/x86_64-linux-gnu -o %s %s/tests/kmod/compat/client32.c",
		 src, program, src);
	return system(command) ? "no 32-bit program can be compiled here" : NULL;
}

/* Whether this kernel runs one at all. */
static bool runs(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		close_range(3, ~0u, 0);
		execl(program, program, (char *)NULL);
		_exit(errno == ENOEXEC ? 255 : 254);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) != 255;
}

START_TEST(test_compat)
{
	int fd = client_new(UID_A, 64), status;
	uint32_t *table = table_map(fd, 64, 0);
	pid_t pid;

	table[63 * 16] = w.dev[0];
	pid = fork();
	if (!pid) {
		if (dup2(fd, 9) != 9 || dup2(w.arb, 10) != 10)
			_exit(254);
		execl(program, program, (char *)NULL);
		_exit(255);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "status %#x", status);
	ck_assert_msg(WEXITSTATUS(status) == 0, "client32.c:%d", WEXITSTATUS(status));
	/* It has written what a 64-bit program reads. */
	ck_assert_uint_eq(table[5 * 16], 1);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_ROOT, 0), 0);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("compat");
	TCase *tc = world_case(suite, "compat");
	const char *why = NULL;
	int status;

	tcase_add_test(tc, test_compat);
	if (!access(DEVICE_PATH, F_OK) && !geteuid()) {
		why = compile();
		if (!why && !runs())
			why = "this kernel runs no 32-bit programs";
	}
	if (why) {
		srunner_free(srunner_create(suite));
		unlink(program);
		return skip(why);
	}
	status = device_main(suite);
	unlink(program);
	return status;
}
