// SPDX-License-Identifier: GPL-2.0-only
/*
 * The folder limits.d: what is read, what is refused, and saving.
 *
 * links: daemon/limits_store.c daemon/limits_rules.c daemon/limits_file.c daemon/limits.c
 * links: common/size.c common/err.c
 */
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/limits_store.h"

static char top[64], dir[80];
static char reason[LIMITS_REASON_MAX];
static struct limits_rules rules;

static const char *in(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void put(const char *name, const char *text)
{
	int fd = open(in(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fchmod(fd, 0644), 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void setup(void)
{
	snprintf(top, sizeof(top), "/tmp/vram-limits-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	snprintf(dir, sizeof(dir), "%s/limits.d", top);
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	limits_rules_init(&rules);
	memset(reason, 0, sizeof(reason));
}

static void teardown(void)
{
	char command[128];

	limits_rules_deinit(&rules);
	snprintf(command, sizeof(command), "rm -rf %s", top);
	ck_assert_int_eq(system(command), 0);
}

static int take(void)
{
	limits_rules_deinit(&rules);
	return limits_store_read(dir, true, &rules, reason);
}

/* One file of the folder is refused, and with it all. */
static void refused(int error, const char *says)
{
	int r = take();

	ck_assert_msg(r == error, "%d: %s", r, reason);
	ck_assert_msg(strstr(reason, says) != NULL, "%s", reason);
	ck_assert_uint_eq(rules.n, 0);
}

START_TEST(test_order)
{
	put("50-b.conf", "[default]\nvram.max=2G\n");
	put("10-a.conf", "[default]\nvram.max=1G\n");
	put("9.conf", "[default]\nvram.low=1G\n");
	put(".hidden.conf", "nonsense");
	put("50-b.conf~", "nonsense");
	put("README", "nonsense");
	put(".conf", "nonsense");
	ck_assert_int_eq(take(), 0);
	ck_assert_uint_eq(rules.n, 3);
	ck_assert_uint_eq(rules.n_files, 3);
	ck_assert_str_eq(rules.files[0], "limits.d/10-a.conf");
	ck_assert_str_eq(rules.files[1], "limits.d/50-b.conf");
	/* By bytes, as everywhere: 9 stands behind 50. */
	ck_assert_str_eq(rules.files[2], "limits.d/9.conf");
}
END_TEST

START_TEST(test_folder_that_is_not_there)
{
	ck_assert_int_eq(rmdir(dir), 0);
	ck_assert_int_eq(limits_store_read(dir, false, &rules, reason), 0);
	ck_assert_uint_eq(rules.n, 0);
	refused(-ENOENT, "limits.d: No such file or directory");
	ck_assert_int_eq(symlink("/dev/null", dir), 0);
	refused(-ENOTDIR, "limits.d: Not a directory");
}
END_TEST

START_TEST(test_mistake_refuses_all)
{
	put("10-a.conf", "[default]\nvram.max=1G\n");
	put("20-b.conf", "[default]\n\nvram.max=x\n");
	refused(-EINVAL, "limits.d/20-b.conf:3: vram.max: 'x' is no size");
	ck_assert_int_eq(strncmp(reason, dir, strlen(dir)), 0);
}
END_TEST

START_TEST(test_links)
{
	put("../elsewhere", "[default]\nvram.max=1G\n");
	ck_assert_int_eq(symlink("../elsewhere", in("10.conf")), 0);
	ck_assert_int_eq(symlink("/dev/null", in("20.conf")), 0);
	ck_assert_int_eq(take(), 0);
	ck_assert_uint_eq(rules.n, 1);
	ck_assert_uint_eq(rules.n_files, 2);
	ck_assert_int_eq(symlink("gone", in("30.conf")), 0);
	refused(-ENOENT, "30.conf: No such file");
	ck_assert_int_eq(unlink(in("30.conf")), 0);
	ck_assert_int_eq(symlink("30.conf", in("30.conf")), 0);
	refused(-ELOOP, "30.conf: Too many levels");
}
END_TEST

START_TEST(test_no_files)
{
	ck_assert_int_eq(mkdir(in("10.conf"), 0755), 0);
	refused(-EISDIR, "10.conf: is a directory");
	ck_assert_int_eq(rmdir(in("10.conf")), 0);
	/* Does not wait for somebody who writes. */
	ck_assert_int_eq(mkfifo(in("10.conf"), 0644), 0);
	refused(-EINVAL, "10.conf: is a device, a pipe or a socket");
	ck_assert_int_eq(unlink(in("10.conf")), 0);
	ck_assert_int_eq(symlink("/dev/zero", in("10.conf")), 0);
	refused(-EINVAL, "10.conf: is a device");
}
END_TEST

START_TEST(test_others_may_not_write)
{
	put("10.conf", "[default]\nvram.max=1G\n");
	ck_assert_int_eq(chmod(in("10.conf"), 0664), 0);
	refused(-EPERM, "10.conf: is writable by others (chmod go-w)");
	ck_assert_int_eq(chmod(in("10.conf"), 0646), 0);
	refused(-EPERM, "10.conf: is writable by others");
	ck_assert_int_eq(chmod(in("10.conf"), 0644), 0);
	ck_assert_int_eq(chmod(dir, 0775), 0);
	refused(-EPERM, "limits.d: is writable by others");
	ck_assert_int_eq(chmod(dir, 0755), 0);
	ck_assert_int_eq(take(), 0);
	if (geteuid() == 0) {
		ck_assert_int_eq(chown(in("10.conf"), 65534, 65534), 0);
		refused(-EPERM, "10.conf: belongs to user 65534");
		ck_assert_int_eq(chown(in("10.conf"), 0, 65534), 0);
		ck_assert_int_eq(chown(dir, 65534, 0), 0);
		refused(-EPERM, "limits.d: belongs to user 65534");
	}
}
END_TEST

START_TEST(test_sizes)
{
	char name[64];
	unsigned int i;

	put("10.conf", "# just so large\n");
	ck_assert_int_eq(truncate(in("10.conf"), 0), 0);
	for (i = 0; i < LIMITS_FILES_MAX; i++) {
		snprintf(name, sizeof(name), "%u.conf", i);
		put(name, "[default]\nvram.max=1G\n");
	}
	ck_assert_int_eq(take(), 0);
	ck_assert_uint_eq(rules.n, LIMITS_FILES_MAX);
	put("one-more.conf", "");
	refused(-E2BIG, "has more than 256 files");
	ck_assert_int_eq(unlink(in("one-more.conf")), 0);
	/* A hole of zero bytes, which would be refused for them if it were read. */
	ck_assert_int_eq(truncate(in("7.conf"), (off_t)LIMITS_FILE_MAX + 1), 0);
	refused(-EFBIG, "7.conf: is larger than 1048576 bytes");
}
END_TEST

static void add(const char *subject, const char *setting)
{
	struct limits_rule rule = { 0 };
	struct arbiter_subject s;
	const char *name;

	ck_assert_int_eq(limits_subject_parse(subject, &s, &name), 0);
	ck_assert_int_eq(limits_setting_parse(setting, &rule.set), 0);
	ck_assert_int_eq(limits_rules_add(&rules, &s, name, &rule), 0);
}

START_TEST(test_save)
{
	struct stat st;

	ck_assert_int_eq(rmdir(dir), 0);
	ck_assert_int_eq(limits_store_read_saved(dir, &rules, reason), 0);
	ck_assert_uint_eq(rules.n, 0);
	ck_assert_str_eq(rules.files[0], "limits.d/90-vramctl.conf");
	add("user:ann", "vram.max=8G");
	add("cgroup:/a b", "host.low=12.5%");
	umask(077);
	ck_assert_int_eq(limits_store_save(dir, &rules, reason), 0);
	umask(022);
	ck_assert_int_eq(chmod(dir, 0755), 0);
	ck_assert_int_eq(stat(in("90-vramctl.conf"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0644);
	ck_assert_int_ne(access(in(".90-vramctl.conf.new"), F_OK), 0);
	ck_assert_int_eq(take(), 0);
	ck_assert_uint_eq(rules.n, 2);
	ck_assert_str_eq(rules.rules[0].name, "ann");
	ck_assert_str_eq(rules.rules[1].name, "/a b");
	ck_assert(rules.rules[1].set.percent);
	/* What an attempt left that was cut short is in nobody's way. */
	put(".90-vramctl.conf.new", "half");
	limits_rules_deinit(&rules);
	ck_assert_int_eq(limits_store_read_saved(dir, &rules, reason), 0);
	add("user:ann", "vram.low=1G");
	ck_assert_int_eq(limits_store_save(dir, &rules, reason), 0);
	ck_assert_int_eq(take(), 0);
	ck_assert_uint_eq(rules.n, 3);
}
END_TEST

START_TEST(test_save_fails)
{
	put("90-vramctl.conf", "[default]\nvram.max=1G\n");
	ck_assert_int_eq(take(), 0);
	add("user:ann", "vram.max=8G");
	ck_assert_int_eq(chmod(dir, 0777), 0);
	ck_assert_int_eq(limits_store_save(dir, &rules, reason), -EPERM);
	ck_assert_ptr_nonnull(strstr(reason, "is writable by others"));
	ck_assert_int_eq(chmod(dir, 0755), 0);
	ck_assert_int_eq(take(), 0);
	ck_assert_uint_eq(rules.n, 1);
	/* A directory of this name cannot be replaced. */
	ck_assert_int_eq(unlink(in("90-vramctl.conf")), 0);
	ck_assert_int_eq(mkdir(in("90-vramctl.conf"), 0755), 0);
	ck_assert_int_lt(limits_store_save(dir, &rules, reason), 0);
	ck_assert_ptr_nonnull(strstr(reason, "90-vramctl.conf: cannot be written"));
	ck_assert_int_ne(access(in(".90-vramctl.conf.new"), F_OK), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("limits_store");
	TCase *t = tcase_create("limits_store");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_order);
	tcase_add_test(t, test_folder_that_is_not_there);
	tcase_add_test(t, test_mistake_refuses_all);
	tcase_add_test(t, test_links);
	tcase_add_test(t, test_no_files);
	tcase_add_test(t, test_others_may_not_write);
	tcase_add_test(t, test_sizes);
	tcase_add_test(t, test_save);
	tcase_add_test(t, test_save_fails);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
