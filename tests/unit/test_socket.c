// SPDX-License-Identifier: GPL-2.0-only
// links: common/socket.c common/err.c
/* Where the daemon's socket is looked for. */
#define _GNU_SOURCE 1
#include "common/socket.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/proto.h"

static char dir[] = "/tmp/vram-socket-XXXXXX";
static char path[VRAM_SOCKET_PATH_MAX];

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	unsetenv("VRAM_SOCKET");
	setenv("XDG_RUNTIME_DIR", dir, 1);
	strcpy(path, "untouched");
}

static void teardown(void)
{
	char name[80];

	snprintf(name, sizeof(name), "%s/%s", dir, VRAM_SOCKET_USER);
	unlink(name);
	*strrchr(name, '/') = '\0';
	rmdir(name);
	rmdir(dir);
}

/* A file will do: what listens there is found out by connecting. */
static void user_socket_make(char *name, size_t size)
{
	int fd;

	snprintf(name, size, "%s/vramd", dir);
	ck_assert_int_eq(mkdir(name, 0700), 0);
	snprintf(name, size, "%s/%s", dir, VRAM_SOCKET_USER);
	fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
}

START_TEST(environment_counts_most)
{
	char name[80];

	user_socket_make(name, sizeof(name));
	setenv("VRAM_SOCKET", "/somewhere/else.sock", 1);
	ck_assert_int_eq(vram_socket_path(path, sizeof(path)), 0);
	ck_assert_str_eq(path, "/somewhere/else.sock");
}
END_TEST

START_TEST(empty_environment_does_not_count)
{
	setenv("VRAM_SOCKET", "", 1);
	ck_assert_int_eq(vram_socket_path(path, sizeof(path)), 0);
	ck_assert_str_eq(path, VRAM_SOCKET_SYSTEM);
}
END_TEST

START_TEST(users_socket_if_it_is_there)
{
	char name[80];

	ck_assert_int_eq(vram_socket_path(path, sizeof(path)), 0);
	ck_assert_str_eq(path, VRAM_SOCKET_SYSTEM);
	user_socket_make(name, sizeof(name));
	ck_assert_int_eq(vram_socket_path(path, sizeof(path)), 0);
	/* Unless a system's daemon runs where the test does. */
	ck_assert_str_eq(path, access(VRAM_SOCKET_SYSTEM, F_OK) == 0 ? VRAM_SOCKET_SYSTEM : name);
}
END_TEST

START_TEST(users_socket_of_a_private_daemon)
{
	char name[80];

	snprintf(name, sizeof(name), "%s/vramd/vramd.sock", dir);
	ck_assert_int_eq(vram_socket_path_user(path, sizeof(path)), 0);
	ck_assert_str_eq(path, name);
	setenv("XDG_RUNTIME_DIR", "relative", 1);
	ck_assert_int_eq(vram_socket_path_user(path, sizeof(path)), -ENOENT);
	unsetenv("XDG_RUNTIME_DIR");
	ck_assert_int_eq(vram_socket_path_user(path, sizeof(path)), -ENOENT);
	ck_assert_int_eq(vram_socket_path(path, sizeof(path)), 0);
	ck_assert_str_eq(path, VRAM_SOCKET_SYSTEM);
}
END_TEST

START_TEST(too_long_is_said)
{
	char name[300];

	memset(name, 'x', sizeof(name));
	name[0] = '/';
	name[sizeof(name) - 1] = '\0';
	setenv("VRAM_SOCKET", name, 1);
	ck_assert_int_eq(vram_socket_path(path, sizeof(path)), -ENAMETOOLONG);
	/* The longest that a socket's address can hold. */
	name[VRAM_SOCKET_PATH_MAX - 1] = '\0';
	setenv("VRAM_SOCKET", name, 1);
	ck_assert_int_eq(vram_socket_path(path, sizeof(path)), 0);
	ck_assert_str_eq(path, name);
	unsetenv("VRAM_SOCKET");
	setenv("XDG_RUNTIME_DIR", name, 1);
	ck_assert_int_eq(vram_socket_path_user(path, sizeof(path)), -ENAMETOOLONG);
	ck_assert_int_eq(vram_socket_path(path, sizeof(path)), 0);
	ck_assert_str_eq(path, VRAM_SOCKET_SYSTEM);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("socket");
	TCase *tcase = tcase_create("socket");
	SRunner *runner;
	int n_failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, environment_counts_most);
	tcase_add_test(tcase, empty_environment_does_not_count);
	tcase_add_test(tcase, users_socket_if_it_is_there);
	tcase_add_test(tcase, users_socket_of_a_private_daemon);
	tcase_add_test(tcase, too_long_is_said);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
