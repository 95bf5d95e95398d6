// SPDX-License-Identifier: GPL-2.0-only
/*
 * A session's identity is what its opener was at open(), whatever happens to him afterwards.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/cgroup.c
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/cgroup.h"
#include "tests/kmod/device.h"
#include "tests/kmod/passing.h"
#include "tests/support/skip.h"

#define TOP "/vramtest"

/* Everything that a session is known by. */
struct identity {
	struct vram_ioc_info info;
	struct vram_ioc_adopt adopt;
};

static struct identity identity_of(int fd)
{
	struct identity x;

	x.info = info_of(fd);
	x.adopt = adopt(w.arb, fd, 0);
	return x;
}

static void in_child(void (*what)(int arg), int arg)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (!pid) {
		what(arg);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

/* ---- who ---------------------------------------------------------------------- */

START_TEST(test_credentials_at_open)
{
	struct identity x;
	int pair[2], fd;
	pid_t pid;

	ck_assert_int_eq(passing_pair(pair), 0);
	pid = fork();
	if (!pid) {
		char byte;

		become(UID_A);
		fd = try_open(O_RDWR);
		/* Nobody reads this name: it came too late. */
		prctl(PR_SET_NAME, "somebody-else");
		passing_send(pair[1], fd);
		close(fd);
		_exit((int)read(pair[1], &byte, 1));
	}
	fd = passing_receive(pair[0]);
	ck_assert_int_ge(fd, 0);
	x = identity_of(fd);
	ck_assert_int_eq(x.info.pid, pid);
	ck_assert_uint_eq(x.info.uid, UID_A);
	ck_assert_str_eq(x.info.comm, "test_session");
	ck_assert_int_eq(x.adopt.pid, pid);
	ck_assert_uint_eq(x.adopt.uid, UID_A);
	ck_assert_uint_eq(x.adopt.gid, UID_A);
	ck_assert_str_eq(x.adopt.comm, "test_session");
	ck_assert_uint_eq(x.adopt.group[0].key, UID_A);
	/* The process that passed it is gone: the session is not, and says the same. */
	close(pair[1]);
	ck_assert_int_eq(send(pair[0], "x", 1, 0), 1);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(memcmp(&(struct vram_ioc_info){ 0 }, &x.info, sizeof(x.info)) != 0, 1);
	ck_assert_uint_eq(info_of(fd).uid, UID_A);
	ck_assert_str_eq(info_of(fd).comm, "test_session");
	charge(w.arb, x.info.session, MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_USER, UID_A), MIB);
	close(fd);
	ck_assert_int_eq(event_gone(w.arb, x.info.session).pid, pid);
}
END_TEST

static void change_user(int fd)
{
	struct vram_ioc_info info;

	if (setresgid(UID_B, UID_B, UID_B) || setresuid(UID_B, UID_B, UID_B))
		_exit(1);
	prctl(PR_SET_NAME, "renamed");
	info = info_of(fd);
	_exit(info.uid != 0 || strcmp(info.comm, "test_session") != 0);
}

START_TEST(test_setuid_changes_nothing)
{
	int fd = device_open();

	in_child(change_user, fd);
	prctl(PR_SET_NAME, "renamed");
	ck_assert_str_eq(info_of(fd).comm, "test_session");
	ck_assert_str_eq(adopt(w.arb, fd, 0).comm, "test_session");
	ck_errno(try_group(w.arb, VRAM_KIND_USER, UID_B, &(struct vram_ioc_group){ 0 }), ENOENT);
	close(fd);
}
END_TEST

/* The name is the thread group's, the process's number is too. */
START_TEST(test_name_of_the_group)
{
	struct vram_ioc_info info;
	int fd;

	prctl(PR_SET_NAME, "a name of 15 by");
	fd = device_open();
	info = info_of(fd);
	ck_assert_int_eq(memcmp(info.comm, "a name of 15 by", 16), 0);
	ck_assert_int_eq(info.pid, getpid());
	close(fd);
}
END_TEST

/* exec() closes nothing that is not marked so, and the program that was opened with stays. */
START_TEST(test_exec_changes_nothing)
{
	char self[VRAM_NAME_MAX] = "", fd_path[64];
	uint64_t exe, id;
	struct vram_ioc_group g;
	int fd, hold[2];
	pid_t pid;

	ck_assert_int_gt(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
	fd = open_as(UID_A);
	id = adopt(w.arb, fd, 0).session;
	ck_assert_int_eq(pipe(hold), 0);
	pid = fork();
	if (!pid) {
		close(w.arb);
		close(hold[1]);
		dup2(hold[0], 0);
		dup2(fd, 9); /* not closed by exec */
		execl("/bin/cat", "cat", (char *)NULL);
		_exit(1);
	}
	close(hold[0]);
	close(fd);
	snprintf(fd_path, sizeof(fd_path), "/proc/%d/exe", (int)pid);
	EVENTUALLY(({
		char now[VRAM_NAME_MAX] = "";

		readlink(fd_path, now, sizeof(now) - 1) > 0 && strcmp(now, self) != 0;
	}));
	exe = group_key(w.arb, VRAM_KIND_EXE, self);
	ck_assert_uint_ne(exe, 0);
	charge(w.arb, id, 5 * MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_EXE, exe), 5 * MIB);
	ck_ok(try_group(w.arb, VRAM_KIND_SESSION, id, &g));
	ck_assert_str_eq(g.comm, "test_session");
	ck_assert_uint_eq(group_key(w.arb, VRAM_KIND_EXE, "/usr/bin/cat"), 0);
	close(hold[1]);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_uint_eq(event_gone(w.arb, id).bytes[0], 5 * MIB);
}
END_TEST

/* ---- executables ---------------------------------------------------------------- */

static uint64_t exe_of(const struct vram_ioc_adopt *a)
{
	ck_assert_uint_eq(a->group[a->n_groups - 1].kind, VRAM_KIND_EXE);
	return a->group[a->n_groups - 1].key;
}

/* Sessions of one program, whoever runs it, are in one group; another program is another. */
START_TEST(test_executable)
{
	char self[VRAM_NAME_MAX] = "", other[] = "/tmp/vram-test-exe.XXXXXX",
	     command[VRAM_NAME_MAX * 2];
	struct vram_ioc_adopt a, b;
	struct vram_ioc_group g;
	char name[VRAM_NAME_MAX];
	int fa = open_as(UID_A), fb = open_as(UID_B), tmp;

	ck_assert_int_gt(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
	a = adopt(w.arb, fa, 0);
	b = adopt(w.arb, fb, 0);
	ck_assert_uint_eq(exe_of(&a), exe_of(&b));
	ck_assert_uint_eq(exe_of(&a), group_key(w.arb, VRAM_KIND_EXE, self));
	charge(w.arb, a.session, MIB);
	charge(w.arb, b.session, 2 * MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_EXE, exe_of(&a)), 3 * MIB);

	/* A copy of a shell at another place. */
	tmp = mkstemp(other);
	ck_assert_int_ge(tmp, 0);
	close(tmp);
	snprintf(command, sizeof(command),
		 "cp /bin/bash %s && chmod 755 %s && exec %s -c 'exec 7<>" DEVICE_PATH
		 "; echo >&9; read -r line'",
		 other, other, other);
	{
		int out[2], hold[2];
		uint64_t key;
		char byte;
		pid_t pid;

		ck_assert_int_eq(pipe(out), 0);
		ck_assert_int_eq(pipe(hold), 0);
		pid = fork();
		if (!pid) {
			close(w.arb);
			dup2(hold[0], 0);
			dup2(out[1], 9);
			execl("/bin/sh", "sh", "-c", command, (char *)NULL);
			_exit(1);
		}
		ck_assert_int_eq(read(out[0], &byte, 1), 1);
		key = group_key(w.arb, VRAM_KIND_EXE, other);
		ck_assert_uint_ne(key, 0);
		ck_assert_uint_ne(key, exe_of(&a));
		memset(&g, 0, sizeof(g));
		g.group.kind = VRAM_KIND_EXE;
		g.group.key = key;
		g.name = (uintptr_t)name;
		g.name_size = sizeof(name);
		ck_ok(try_ioctl(w.arb, VRAM_IOC_GROUP, &g));
		ck_assert_str_eq(name, other);
		ck_assert_uint_eq(g.n_sessions, 1);
		close(hold[1]);
		close(hold[0]);
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		EVENTUALLY(group_key(w.arb, VRAM_KIND_EXE, other) == 0);
	}
	unlink(other);
	close(fa);
	close(fb);
}
END_TEST

/* ---- cgroups -------------------------------------------------------------------- */

static void cgroups_setup(void)
{
	world_setup();
	cgroup_make(TOP);
	cgroup_make(TOP "/a");
	cgroup_make(TOP "/a/b");
	cgroup_make(TOP "/c");
}

static void cgroups_teardown(void)
{
	cgroup_remove(TOP "/c");
	cgroup_remove(TOP "/a/b");
	cgroup_remove(TOP "/a");
	cgroup_remove(TOP);
	world_teardown();
}

/* Opens in a cgroup by a process of its own, that moves away afterwards. */
static int open_in(const char *path, uid_t uid, const char *moves_to)
{
	int pair[2], fd, status;
	pid_t pid;

	ck_assert_int_eq(passing_pair(pair), 0);
	pid = fork();
	if (!pid) {
		cgroup_enter(path);
		if (!uid) {
			fd = device_open();
			if (moves_to)
				cgroup_enter(moves_to);
		} else {
			become(uid);
			fd = try_open(O_RDWR);
		}
		_exit(fd < 0 ? 1 : passing_send(pair[1], fd) ? 2 : 0);
	}
	close(pair[1]);
	fd = passing_receive(pair[0]);
	close(pair[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	return fd;
}

START_TEST(test_cgroup_chain)
{
	const char *want[] = { TOP, TOP "/a", TOP "/a/b" };
	int fd = open_in(TOP "/a/b", UID_A, NULL), other = open_in(TOP "/c", UID_A, NULL);
	struct vram_ioc_adopt a = adopt(w.arb, fd, 0), b = adopt(w.arb, other, 0);
	char name[VRAM_NAME_MAX];
	struct vram_ioc_group g;
	uint32_t i;

	ck_assert_uint_eq(a.n_groups, 5);
	ck_assert_uint_eq(a.group[0].kind, VRAM_KIND_USER);
	ck_assert_uint_eq(a.group[4].kind, VRAM_KIND_EXE);
	for (i = 0; i < 3; i++) {
		ck_assert_uint_eq(a.group[1 + i].kind, VRAM_KIND_CGROUP);
		memset(&g, 0, sizeof(g));
		g.group = a.group[1 + i];
		g.name = (uintptr_t)name;
		g.name_size = sizeof(name);
		ck_ok(try_ioctl(w.arb, VRAM_IOC_GROUP, &g));
		ck_assert_str_eq(name, want[i]);
		ck_assert_uint_eq(g.parent.kind, i ? VRAM_KIND_CGROUP : VRAM_KIND_ROOT);
		ck_assert_uint_eq(g.parent.key, i ? a.group[i].key : 0);
		ck_assert_uint_eq(g.n_sessions, i ? 1 : 2);
	}
	ck_assert_uint_eq(b.n_groups, 4);
	ck_assert_uint_eq(b.group[1].key, a.group[1].key);
	charge(w.arb, a.session, 4 * MIB);
	charge(w.arb, b.session, MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_CGROUP, a.group[1].key), 5 * MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_CGROUP, a.group[2].key), 4 * MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_CGROUP, a.group[3].key), 4 * MIB);
	/* A limit far above takes effect below. */
	ck_ok(try_limit(w.arb, VRAM_KIND_CGROUP, a.group[1].key, VRAM_LIMIT_MAX, 6 * MIB));
	ck_ok(try_charge(w.arb, b.session, MIB));
	ck_errno(try_charge(w.arb, a.session, 1), EDQUOT);
	close(fd);
	close(other);
	event_gone(w.arb, a.session);
	event_gone(w.arb, b.session);
	/* The one with the limit stays, what was below goes. */
	ck_assert_uint_eq(group_key(w.arb, VRAM_KIND_CGROUP, TOP), a.group[1].key);
	ck_assert_uint_eq(group_key(w.arb, VRAM_KIND_CGROUP, TOP "/a"), 0);
}
END_TEST

/* A limit by path, before anybody is there: the session finds it, in the same group. */
START_TEST(test_cgroup_limit_first)
{
	struct vram_ioc_limit l = {
		.dev = w.dev[0],
		.limit = VRAM_LIMIT_MAX,
		.group = { .kind = VRAM_KIND_CGROUP },
		.value = MIB,
		.name = (uintptr_t)(TOP "/a"),
		.name_bytes = sizeof(TOP "/a"),
	};
	struct vram_ioc_adopt a;
	int fd;

	ck_ok(try_ioctl(w.arb, VRAM_IOC_LIMIT, &l));
	fd = open_in(TOP "/a/b", UID_A, NULL);
	a = adopt(w.arb, fd, 0);
	ck_assert_uint_eq(a.group[2].key, group_key(w.arb, VRAM_KIND_CGROUP, TOP "/a"));
	ck_errno(try_charge(w.arb, a.session, MIB + 1), EDQUOT);
	ck_ok(try_charge(w.arb, a.session, MIB));
	close(fd);
	event_gone(w.arb, a.session);
}
END_TEST

START_TEST(test_cgroup_move_changes_nothing)
{
	int fd = open_in(TOP "/a/b", 0, TOP "/c");
	struct vram_ioc_adopt a = adopt(w.arb, fd, 0);

	ck_assert_uint_eq(a.n_groups, 5);
	ck_assert_uint_eq(a.group[3].key, group_key(w.arb, VRAM_KIND_CGROUP, TOP "/a/b"));
	ck_assert_uint_eq(group_key(w.arb, VRAM_KIND_CGROUP, TOP "/c"), 0);
	/* The cgroup may even be removed: its group is there as long as the session is. */
	cgroup_remove(TOP "/a/b");
	charge(w.arb, a.session, MIB);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_CGROUP, a.group[3].key), MIB);
	ck_assert_uint_eq(group_key(w.arb, VRAM_KIND_CGROUP, TOP "/a/b"), a.group[3].key);
	close(fd);
	event_gone(w.arb, a.session);
	ck_assert_uint_eq(group_key(w.arb, VRAM_KIND_CGROUP, TOP "/a/b"), 0);
	cgroup_make(TOP "/a/b");
}
END_TEST

/* In the root cgroup there is none above a session. */
START_TEST(test_cgroup_root)
{
	int fd = open_in("", UID_A, NULL);
	struct vram_ioc_adopt a = adopt(w.arb, fd, 0);

	ck_assert_uint_eq(a.n_groups, 2);
	ck_assert_uint_eq(a.group[0].kind, VRAM_KIND_USER);
	ck_assert_uint_eq(a.group[1].kind, VRAM_KIND_EXE);
	close(fd);
}
END_TEST

/* Deeper than 16: what is below counts in the ancestor there; a limit for it is refused. */
START_TEST(test_cgroup_deep)
{
	char path[512] = TOP;
	struct vram_ioc_limit l = {
		.dev = w.dev[0],
		.limit = VRAM_LIMIT_MAX,
		.group = { .kind = VRAM_KIND_CGROUP },
		.value = GIB,
	};
	struct vram_ioc_adopt a;
	char *was;
	int i, fd;

	for (i = 2; i <= 18; i++) {
		strcat(path, "/d");
		cgroup_make(path);
	}
	fd = open_in(path, UID_A, NULL);
	a = adopt(w.arb, fd, 0);
	ck_assert_uint_eq(a.n_groups, 18);
	path[strlen(path) - 4] = 0; /* the 16th */
	ck_assert_uint_eq(a.group[16].key, group_key(w.arb, VRAM_KIND_CGROUP, path));
	strcat(path, "/d");
	l.name = (uintptr_t)path;
	l.name_bytes = (uint32_t)strlen(path) + 1;
	was = snapshot(w.arb);
	ck_errno(try_ioctl(w.arb, VRAM_IOC_LIMIT, &l), E2BIG);
	snapshot_same(w.arb, was, "a limit 17 deep");
	free(was);
	close(fd);
	strcat(path, "/d");
	for (i = 18; i >= 2; i--) {
		cgroup_remove(path);
		*strrchr(path, '/') = 0;
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session");
	TCase *tc = world_case(suite, "who");

	tcase_add_test(tc, test_credentials_at_open);
	tcase_add_test(tc, test_setuid_changes_nothing);
	tcase_add_test(tc, test_name_of_the_group);
	tcase_add_test(tc, test_exec_changes_nothing);
	tcase_add_test(tc, test_executable);
	if (!cgroup_usable()) {
		printf("note: no cgroups of version 2, so none of their tests\n");
		return device_main(suite);
	}
	tc = tcase_create("cgroups");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, cgroups_setup, cgroups_teardown);
	tcase_add_test(tc, test_cgroup_chain);
	tcase_add_test(tc, test_cgroup_limit_first);
	tcase_add_test(tc, test_cgroup_move_changes_nothing);
	tcase_add_test(tc, test_cgroup_root);
	tcase_add_test(tc, test_cgroup_deep);
	suite_add_tcase(suite, tc);
	return device_main(suite);
}
