// SPDX-License-Identifier: GPL-2.0-only
// links: common/fd.c
#define _GNU_SOURCE 1
#include "common/fd.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"

static int pair[2];

static void setup(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void teardown(void)
{
	close(pair[0]);
	close(pair[1]);
}

/* How many descriptors this process has open. */
static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static bool same_file(int a, int b)
{
	struct stat x, y;

	ck_assert_int_eq(fstat(a, &x), 0);
	ck_assert_int_eq(fstat(b, &y), 0);
	return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

START_TEST(record_without_fds)
{
	char buf[8] = "";
	size_t n_fds = 99;

	ck_assert_int_eq(fd_send(pair[0], "hello", 5, NULL, 0, 0), 0);
	ck_assert_int_eq(fd_recv(pair[1], buf, sizeof(buf), NULL, 0, &n_fds, 0), 5);
	ck_assert_mem_eq(buf, "hello", 5);
	ck_assert_uint_eq(n_fds, 0);
	ck_assert_int_eq(fd_recv(pair[1], buf, sizeof(buf), NULL, 0, &n_fds, MSG_DONTWAIT),
			 -EAGAIN);
}
END_TEST

START_TEST(most_fds_arrive_in_order)
{
	int sent[FD_MSG_MAX], got[FD_MSG_MAX], before;
	char buf[1];
	size_t n_fds = 0;

	for (int i = 0; i < FD_MSG_MAX; i++) {
		sent[i] = memfd_create("test", 0);
		ck_assert_int_ge(sent[i], 0);
	}
	before = open_fds();
	ck_assert_int_eq(fd_send(pair[0], "x", 1, sent, FD_MSG_MAX, 0), 0);
	ck_assert_int_eq(fd_recv(pair[1], buf, 1, got, FD_MSG_MAX, &n_fds, 0), 1);
	ck_assert_uint_eq(n_fds, FD_MSG_MAX);
	for (int i = 0; i < FD_MSG_MAX; i++) {
		ck_assert(same_file(sent[i], got[i]));
		ck_assert(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
	}
	ck_assert_int_eq(open_fds(), before + FD_MSG_MAX);
	fd_close_all(got, n_fds);
	ck_assert_int_eq(got[0], -1);
	ck_assert_int_eq(open_fds(), before);
	fd_close_all(sent, FD_MSG_MAX);
}
END_TEST

START_TEST(unused_entries_are_minus_one)
{
	int got[3] = { 7, 7, 7 };
	char buf[1];
	size_t n_fds;

	ck_assert_int_eq(fd_send(pair[0], "x", 1, &pair[0], 1, 0), 0);
	ck_assert_int_eq(fd_recv(pair[1], buf, 1, got, 3, &n_fds, 0), 1);
	ck_assert_uint_eq(n_fds, 1);
	ck_assert_int_ge(got[0], 0);
	ck_assert_int_eq(got[1], -1);
	ck_assert_int_eq(got[2], -1);
	close(got[0]);
}
END_TEST

START_TEST(refused_before_sending)
{
	int fds[FD_MSG_MAX + 1];
	char buf[1];
	size_t n_fds;

	for (int i = 0; i <= FD_MSG_MAX; i++)
		fds[i] = pair[0];
	ck_assert_int_eq(fd_send(pair[0], "x", 1, fds, FD_MSG_MAX + 1, 0), -EINVAL);
	ck_assert_int_eq(fd_send(pair[0], "", 0, NULL, 0, 0), -EINVAL);
	fds[0] = -1;
	ck_assert_int_eq(fd_send(pair[0], "x", 1, fds, 1, 0), -EBADF);
	ck_assert_int_eq(fd_recv(pair[1], buf, 1, NULL, 0, &n_fds, MSG_DONTWAIT), -EAGAIN);
}
END_TEST

START_TEST(long_record_is_an_error)
{
	int before = open_fds(), got[1] = { 7 };
	char buf[4];
	size_t n_fds = 99;

	ck_assert_int_eq(fd_send(pair[0], "12345", 5, &pair[0], 1, 0), 0);
	ck_assert_int_eq(fd_recv(pair[1], buf, 4, got, 1, &n_fds, 0), -EMSGSIZE);
	ck_assert_uint_eq(n_fds, 0);
	ck_assert_int_eq(got[0], -1);
	ck_assert_int_eq(open_fds(), before);

	/* The connection is not hurt. */
	ck_assert_int_eq(fd_send(pair[0], "1234", 4, NULL, 0, 0), 0);
	ck_assert_int_eq(fd_recv(pair[1], buf, 4, NULL, 0, &n_fds, 0), 4);
}
END_TEST

START_TEST(unwanted_fds_are_closed)
{
	int before = open_fds(), got[2] = { 7, 7 };
	int fds[3] = { pair[0], pair[0], pair[0] };
	char buf[4];
	size_t n_fds = 99;

	ck_assert_int_eq(fd_send(pair[0], "x", 1, fds, 1, 0), 0);
	ck_assert_int_eq(fd_recv(pair[1], buf, 4, NULL, 0, &n_fds, 0), -EMSGSIZE);
	ck_assert_uint_eq(n_fds, 0);
	ck_assert_int_eq(open_fds(), before);

	ck_assert_int_eq(fd_send(pair[0], "x", 1, fds, 3, 0), 0);
	ck_assert_int_eq(fd_recv(pair[1], buf, 4, got, 2, &n_fds, 0), -EMSGSIZE);
	ck_assert_uint_eq(n_fds, 0);
	ck_assert_int_eq(got[0], -1);
	ck_assert_int_eq(got[1], -1);
	ck_assert_int_eq(open_fds(), before);
}
END_TEST

/* More than the control buffer holds: the kernel cuts the list (MSG_CTRUNC). */
START_TEST(flood_of_fds_is_closed)
{
	enum {
		FLOOD = 200
	};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FLOOD * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct msghdr hdr = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *cmsg;
	int before = open_fds(), got[FD_MSG_MAX];
	char buf[1];
	size_t n_fds;

	memset(&control, 0, sizeof(control));
	cmsg = CMSG_FIRSTHDR(&hdr);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(FLOOD * sizeof(int));
	for (int i = 0; i < FLOOD; i++)
		memcpy(CMSG_DATA(cmsg) + (size_t)i * sizeof(int), &pair[0], sizeof(int));
	ck_assert_int_eq(sendmsg(pair[0], &hdr, 0), 1);

	ck_assert_int_eq(fd_recv(pair[1], buf, 1, got, FD_MSG_MAX, &n_fds, 0), -EMSGSIZE);
	ck_assert_uint_eq(n_fds, 0);
	ck_assert_int_eq(open_fds(), before);
}
END_TEST

/* With credentials in the same control data the descriptors are still found. */
START_TEST(credentials_beside_fds)
{
	int on = 1, got[FD_MSG_MAX], sent[FD_MSG_MAX];
	char buf[1];
	size_t n_fds;

	for (int i = 0; i < FD_MSG_MAX; i++)
		sent[i] = pair[0];
	ck_assert_int_eq(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	ck_assert_int_eq(fd_send(pair[0], "x", 1, sent, FD_MSG_MAX, 0), 0);
	ck_assert_int_eq(fd_recv(pair[1], buf, 1, got, FD_MSG_MAX, &n_fds, 0), 1);
	ck_assert_uint_eq(n_fds, FD_MSG_MAX);
	fd_close_all(got, n_fds);
}
END_TEST

START_TEST(taking_twice_takes_nothing)
{
	struct fd_msg msg;
	int got[1];
	char buf[1];
	size_t n_fds;

	ck_assert_int_eq(fd_send(pair[0], "x", 1, &pair[0], 1, 0), 0);
	fd_msg_prepare_recv(&msg, buf, 1);
	ck_assert_int_eq(recvmsg(pair[1], &msg.hdr, MSG_CMSG_CLOEXEC), 1);
	ck_assert_int_eq(fd_msg_received(&msg, got, 1, &n_fds), 0);
	ck_assert_uint_eq(n_fds, 1);
	close(got[0]);
	ck_assert_int_eq(fd_msg_received(&msg, got, 1, &n_fds), 0);
	ck_assert_uint_eq(n_fds, 0);
	ck_assert_int_eq(got[0], -1);
}
END_TEST

START_TEST(closed_peer)
{
	char buf[1];
	size_t n_fds;

	close(pair[0]);
	ck_assert_int_eq(fd_recv(pair[1], buf, 1, NULL, 0, &n_fds, 0), 0);
	/* A signal would end this process. */
	ck_assert_int_eq(fd_send(pair[1], "x", 1, NULL, 0, 0), -EPIPE);
	pair[0] = dup(pair[1]);
}
END_TEST

START_TEST(full_socket)
{
	char buf[1024] = "";
	int r = 0, sent = 0;
	size_t n_fds;

	while (sent < 100000 && !(r = fd_send(pair[0], buf, sizeof(buf), NULL, 0, MSG_DONTWAIT)))
		sent++;
	ck_assert_int_eq(r, -EAGAIN);
	for (; sent > 0; sent--)
		ck_assert_int_eq(fd_recv(pair[1], buf, sizeof(buf), NULL, 0, &n_fds, MSG_DONTWAIT),
				 sizeof(buf));
	ck_assert_int_eq(fd_recv(pair[1], buf, 1, NULL, 0, &n_fds, MSG_DONTWAIT), -EAGAIN);
}
END_TEST

START_TEST(flags)
{
	int fd = memfd_create("test", 0);

	ck_assert_int_eq(fd_set_cloexec(fd, true), 0);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	ck_assert_int_eq(fd_set_cloexec(fd, false), 0);
	ck_assert(!(fcntl(fd, F_GETFD) & FD_CLOEXEC));
	ck_assert_int_eq(fd_set_nonblock(fd, true), 0);
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	ck_assert_int_eq(fd_set_nonblock(fd, false), 0);
	ck_assert(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
	close(fd);
	ck_assert_int_eq(fd_set_cloexec(fd, true), -EBADF);
	ck_assert_int_eq(fd_set_nonblock(fd, true), -EBADF);
}
END_TEST

START_TEST(sealed_memory_keeps_its_size)
{
	int fd = -1;
	struct stat st;

	ck_assert_int_eq(fd_memfd_sealed("vram-test", 12288, 0, &fd), 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 12288);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	ck_assert_int_eq(ftruncate(fd, 4096), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(ftruncate(fd, 1 << 20), -1);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	ck_assert_int_eq(pwrite(fd, "x", 1, 100), 1);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 12288);

	ck_assert_int_eq(fd_check_sealed(fd, 12288), 0);
	ck_assert_int_eq(fd_check_sealed(fd, 12289), -EINVAL);
	close(fd);

	fd = -7;
	ck_assert_int_eq(fd_memfd_sealed("vram-test", UINT64_MAX, 0, &fd), -EFBIG);
	ck_assert_int_eq(fd_memfd_sealed("vram-test", 4096, 0x80000000u >> 1, &fd), -EINVAL);
	ck_assert_int_eq(fd, -7);
}
END_TEST

START_TEST(unsealed_memory_is_refused)
{
	int fd = memfd_create("test", MFD_ALLOW_SEALING), null = open("/dev/null", O_RDWR);
	int before = open_fds();

	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	ck_assert_int_eq(fd_check_sealed(fd, 4096), -EINVAL);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	ck_assert_int_eq(fd_check_sealed(fd, 4096), -EINVAL);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	ck_assert_int_eq(fd_check_sealed(fd, 4096), 0);
	ck_assert_int_eq(fd_check_sealed(null, 0), -EINVAL);
	ck_assert_int_eq(fd_check_sealed(-1, 0), -EBADF);
	ck_assert_int_eq(open_fds(), before);
	close(fd);
	close(null);
}
END_TEST

START_TEST(links_and_kinds)
{
	char link[64], small[6];
	int event = eventfd(0, EFD_CLOEXEC), null = open("/dev/null", O_RDONLY);

	ck_assert_int_eq(fd_link(null, link, sizeof(link)), 0);
	ck_assert_str_eq(link, "/dev/null");
	ck_assert_int_eq(fd_link(event, link, sizeof(link)), 0);
	ck_assert_str_eq(link, "anon_inode:[eventfd]");
	ck_assert_int_eq(fd_link(null, small, sizeof(small)), -ENAMETOOLONG);

	ck_assert_int_eq(fd_is_anon_inode(event, "[eventfd]"), 1);
	ck_assert_int_eq(fd_is_anon_inode(event, "[event]"), 0);
	ck_assert_int_eq(fd_is_anon_inode(null, "[eventfd]"), 0);
	ck_assert_int_eq(fd_is_userfaultfd(event), 0);
	ck_assert_int_eq(fd_is_userfaultfd(pair[0]), 0);
	close(event);
	close(null);
	ck_assert_int_eq(fd_is_userfaultfd(null), -EBADF);
	ck_assert_int_eq(fd_is_userfaultfd(-1), -EBADF);
	ck_assert_int_eq(fd_link(-1, link, sizeof(link)), -EBADF);
}
END_TEST

/* A file whose name looks like the link, and one whose path is long. */
START_TEST(files_cannot_pose)
{
	char dir[] = "/tmp/vram-fd.XXXXXX", path[400], name[200];
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/anon_inode:[userfaultfd]", dir);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fd_is_userfaultfd(fd), 0);
	unlink(path);
	close(fd);

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fd_is_userfaultfd(fd), 0);
	unlink(path);
	close(fd);
	rmdir(dir);
}
END_TEST

START_TEST(userfaultfd_is_known)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fd_is_userfaultfd(fd), 1);
	close(fd);
}
END_TEST

/* The cleanup attributes close and keep; errno survives them. */
static int scoped(bool keep, int *out_was)
{
	_cleanup_close_ int fd = dup(pair[0]);

	*out_was = fd;
	errno = EILSEQ;
	return keep ? steal_fd(&fd) : -1;
}

START_TEST(scopes)
{
	int was, fd;
	char *text = strdup("x"), *taken;

	fd = scoped(false, &was);
	ck_assert_int_eq(errno, EILSEQ);
	ck_assert_int_eq(fd, -1);
	ck_assert_int_eq(fcntl(was, F_GETFD), -1);
	fd = scoped(true, &was);
	ck_assert_int_eq(fd, was);
	ck_assert_int_ne(fcntl(fd, F_GETFD), -1);
	close(fd);

	taken = steal_ptr(&text);
	ck_assert_ptr_null(text);
	ck_assert_str_eq(taken, "x");
	free(taken);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fd");
	TCase *tcase = tcase_create("fd");
	SRunner *runner;
	int failed, fd;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, record_without_fds);
	tcase_add_test(tcase, most_fds_arrive_in_order);
	tcase_add_test(tcase, unused_entries_are_minus_one);
	tcase_add_test(tcase, refused_before_sending);
	tcase_add_test(tcase, long_record_is_an_error);
	tcase_add_test(tcase, unwanted_fds_are_closed);
	tcase_add_test(tcase, flood_of_fds_is_closed);
	tcase_add_test(tcase, credentials_beside_fds);
	tcase_add_test(tcase, taking_twice_takes_nothing);
	tcase_add_test(tcase, closed_peer);
	tcase_add_test(tcase, full_socket);
	tcase_add_test(tcase, flags);
	tcase_add_test(tcase, sealed_memory_keeps_its_size);
	tcase_add_test(tcase, unsealed_memory_is_refused);
	tcase_add_test(tcase, links_and_kinds);
	tcase_add_test(tcase, files_cannot_pose);
	tcase_add_test(tcase, scopes);
	/* Check cannot skip at run time; some containers forbid this system call. */
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd >= 0) {
		close(fd);
		tcase_add_test(tcase, userfaultfd_is_known);
	} else {
		printf("no userfaultfd here (%s): one test left out\n", strerror(errno));
	}
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
