// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/listener.c daemon/listener_members.c daemon/loop.c daemon/log.c daemon/log_refusal.c common/err.c common/fd.c common/size.c
// libs: -luring -lsystemd
/*
 * The listening socket: who gets in, who is told why not, and that a second daemon cannot take it.
 */
#define _GNU_SOURCE 1
#include "daemon/listener.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/proto.h"
#include "daemon/log_refusal.h"
#include "daemon/loop.h"

#define MS   1000000
#define MANY 300

static struct loop *loop;
static char dir[] = "/tmp/vram-listen-XXXXXX";
static char path[80];

/* What the owner of the listener saw. */
static int n_clients, fds[MANY + 1], pidfds[MANY + 1];
static struct ucred peers[MANY + 1];
static const char *refuse_with;

static const char *connected(void *owner, int fd, const struct ucred *peer, int pidfd,
			     struct log_bound *out_bound)
{
	ck_assert_ptr_eq(owner, &n_clients);
	ck_assert_int_le(n_clients, MANY);
	if (refuse_with) {
		*out_bound = (struct log_bound){ .key = "house.max", .asked = 12, .limit = 11 };
		return refuse_with;
	}
	fds[n_clients] = fd;
	pidfds[n_clients] = pidfd;
	peers[n_clients++] = *peer;
	return NULL;
}

static void setup(void)
{
	ck_assert_int_eq(loop_new(&loop, 64), 0);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sub/vramd.sock", dir);
	n_clients = 0;
	refuse_with = NULL;
}

static void teardown(void)
{
	char command[200];

	loop = loop_free(loop);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static struct listener *listen_here(bool private)
{
	struct listener *listener = NULL;

	ck_assert_int_eq(listener_new(&listener, loop, path, private, connected, &n_clients), 0);
	return listener;
}

static int client_socket(int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0), r;

	ck_assert_int_ge(fd, 0);
	strcpy(addr.sun_path, path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

static int client_new(void)
{
	int fd = client_socket(SOCK_SEQPACKET);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static void run_until(int n)
{
	while (n_clients < n)
		ck_assert_int_eq(loop_run_once(loop, 10 * MS), 0);
}

static mode_t mode_of(const char *name)
{
	struct stat st;

	ck_assert_int_eq(lstat(name, &st), 0);
	return st.st_mode;
}

START_TEST(client_is_known)
{
	struct listener *listener = listen_here(true);
	int client = client_new();

	run_until(1);
	ck_assert_uint_eq(peers[0].uid, getuid());
	ck_assert_int_eq(peers[0].pid, getpid());
	ck_assert_int_ge(pidfds[0], 0);
	ck_assert_int_ne(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(fds[0], F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_str_eq(listener_path(listener), path);
	close(client);
	close(fds[0]);
	close(pidfds[0]);
	listener_free(listener);
}
END_TEST

START_TEST(client_that_is_gone_is_handled)
{
	struct listener *listener = listen_here(true);
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(client_socket(SOCK_SEQPACKET) >= 0 ? 0 : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	run_until(1);
	ck_assert_int_eq(peers[0].pid, pid);
	close(fds[0]);
	if (pidfds[0] >= 0)
		close(pidfds[0]);
	listener_free(listener);
}
END_TEST

/* More than one batch, all there before the loop looks for the first time: one event for all. */
START_TEST(no_client_of_many_is_lost)
{
	struct listener *listener = listen_here(true);
	int clients[MANY], i;

	for (i = 0; i < MANY; i++)
		clients[i] = client_new();
	run_until(MANY);
	for (i = 0; i < MANY; i++) {
		close(clients[i]);
		close(fds[i]);
		close(pidfds[i]);
	}
	/* And one more, after the rest. */
	n_clients = 0;
	clients[0] = client_new();
	run_until(1);
	listener_free(listener);
}
END_TEST

START_TEST(refused_client_is_told_why)
{
	struct listener *listener = listen_here(true);
	struct {
		struct vram_msg_hdr hdr;
		struct vram_msg_error error;
	} msg;
	int client = client_new(), i;

	refuse_with = "the house is full";
	for (i = 0; i < 5; i++)
		ck_assert_int_eq(loop_run_once(loop, 0), 0);
	ck_assert_int_eq(recv(client, &msg, sizeof(msg), 0), sizeof(msg));
	ck_assert_uint_eq(msg.hdr.type, VRAM_MSG_GOODBYE);
	ck_assert_uint_eq(msg.hdr.size, sizeof(msg));
	ck_assert_uint_eq(msg.hdr.seq, 0);
	ck_assert_str_eq(msg.error.text, "the house is full: asked for 12, the limit is 11");
	ck_assert_int_eq(recv(client, &msg, sizeof(msg), 0), 0);
	ck_assert_int_eq(n_clients, 0);
	close(client);
	listener_free(listener);
}
END_TEST

START_TEST(clients_wait_out_a_lack_of_descriptors)
{
	struct listener *listener = listen_here(true);
	struct rlimit limit, none;
	int client = client_new(), i;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)client + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (i = 0; i < 5; i++)
		ck_assert_int_eq(loop_run_once(loop, 0), 0);
	ck_assert_int_eq(n_clients, 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	run_until(1);
	close(client);
	listener_free(listener);
}
END_TEST

START_TEST(private_socket_is_private)
{
	struct listener *listener = listen_here(true);

	ck_assert_uint_eq(mode_of(path), S_IFSOCK | 0600);
	*strrchr(path, '/') = '\0';
	ck_assert_uint_eq(mode_of(path), S_IFDIR | 0700);
	listener_free(listener);
}
END_TEST

START_TEST(socket_of_the_system_is_for_all)
{
	struct listener *listener;
	mode_t mask = umask(0077);
	bool group = getgrnam("vram") != NULL;

	listener = listen_here(false);
	umask(mask);
	ck_assert_uint_eq(mode_of(path), S_IFSOCK | (group ? 0660 : 0666));
	listener_free(listener);
}
END_TEST

START_TEST(second_daemon_is_refused)
{
	struct listener *listener = listen_here(true), *second = NULL;
	int client;

	ck_assert_int_eq(listener_new(&second, loop, path, true, connected, &n_clients),
			 -EADDRINUSE);
	ck_assert_ptr_null(second);
	/* The first one goes on. */
	client = client_new();
	run_until(1);
	close(client);
	listener_free(listener);
	listener_free(listen_here(true));
}
END_TEST

START_TEST(socket_of_a_dead_daemon_is_replaced)
{
	int status, client;
	struct listener *listener;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct loop *own;

		if (loop_new(&own, 8) < 0 ||
		    listener_new(&listener, own, path, true, connected, NULL) < 0)
			_exit(1);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(mode_of(path) & S_IFMT, S_IFSOCK);
	ck_assert_int_eq(client_socket(SOCK_SEQPACKET), -ECONNREFUSED);
	listener = listen_here(true);
	client = client_new();
	run_until(1);
	close(client);
	listener_free(listener);
}
END_TEST

static void directory_new(void)
{
	char sub[80];

	snprintf(sub, sizeof(sub), "%s/sub", dir);
	ck_assert_int_eq(mkdir(sub, 0700), 0);
}

/* Somebody who knows nothing of our lock. */
static void foreign_socket(int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct listener *listener = NULL;
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	directory_new();
	strcpy(addr.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 5), 0);
	ck_assert_int_eq(listener_new(&listener, loop, path, true, connected, &n_clients),
			 -EADDRINUSE);
	ck_assert_ptr_null(listener);
	close(client_socket(type));
	close(fd);
}

START_TEST(foreign_socket_is_left_alone)
{
	foreign_socket(SOCK_SEQPACKET);
}
END_TEST

START_TEST(foreign_socket_of_another_type_is_left_alone)
{
	foreign_socket(SOCK_STREAM);
}
END_TEST

START_TEST(file_in_the_way_is_left_alone)
{
	struct listener *listener = NULL;
	int fd;

	directory_new();
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, "precious", 8), 8);
	close(fd);
	ck_assert_int_eq(listener_new(&listener, loop, path, true, connected, &n_clients), -EEXIST);
	ck_assert_uint_eq(mode_of(path), S_IFREG | 0600);
	ck_assert_int_eq(unlink(path), 0);
	listener_free(listen_here(true));
}
END_TEST

START_TEST(lock_that_is_a_link_is_not_followed)
{
	struct listener *listener = NULL;
	char lock[100], target[100];

	directory_new();
	snprintf(lock, sizeof(lock), "%s.lock", path);
	snprintf(target, sizeof(target), "%s/target", dir);
	ck_assert_int_eq(symlink(target, lock), 0);
	ck_assert_int_eq(listener_new(&listener, loop, path, true, connected, &n_clients), -ELOOP);
	ck_assert_int_eq(access(target, F_OK), -1);
}
END_TEST

START_TEST(directory_that_cannot_be_made)
{
	struct listener *listener = NULL;

	snprintf(path, sizeof(path), "%s/no/such/vramd.sock", dir);
	ck_assert_int_eq(listener_new(&listener, loop, path, true, connected, &n_clients), -ENOENT);
}
END_TEST

START_TEST(path_that_is_too_long)
{
	struct listener *listener = NULL;
	char name[256];

	memset(name, 'x', sizeof(name));
	memcpy(name, "/tmp/", 5);
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(listener_new(&listener, loop, name, true, connected, &n_clients),
			 -ENAMETOOLONG);
	ck_assert_ptr_null(listener);
}
END_TEST

START_TEST(stopped_listener_is_gone)
{
	struct listener *listener = listen_here(true);
	char new[100];

	listener_stop(listener);
	listener_stop(listener);
	ck_assert_int_eq(access(path, F_OK), -1);
	snprintf(new, sizeof(new), "%s.new", path);
	ck_assert_int_eq(access(new, F_OK), -1);
	ck_assert_int_eq(client_socket(SOCK_SEQPACKET), -ENOENT);
	/* While it still holds the lock nobody else comes in. */
	ck_assert_int_eq(listener_new(&(struct listener *){ NULL }, loop, path, true, connected,
				      &n_clients),
			 -EADDRINUSE);
	listener_free(listener);
	ck_assert_ptr_null(listener_free(NULL));
	listener_free(listen_here(true));
}
END_TEST

/* Hands a socket over as systemd does: as descriptor 3, with the environment. */
static void pass_socket(int type, bool listening)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char pid[16];
	int fd = socket(AF_UNIX, type, 0);

	directory_new();
	strcpy(addr.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	if (listening)
		ck_assert_int_eq(listen(fd, 5), 0);
	/* Whatever is there is a test's. */
	if (fd != 3) {
		ck_assert_int_eq(dup2(fd, 3), 3);
		close(fd);
	}
	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
}

/* Descriptor 3 has to be free for it: before the loop is made. */
static void setup_systemd(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sub/vramd.sock", dir);
	n_clients = 0;
	refuse_with = NULL;
}

START_TEST(systemds_socket_is_used_and_left)
{
	struct listener *listener;
	int client;

	pass_socket(SOCK_SEQPACKET, true);
	ck_assert_int_eq(loop_new(&loop, 64), 0);
	ck_assert_int_eq(listener_new(&listener, loop, "/elsewhere/vramd.sock", false, connected,
				      &n_clients),
			 0);
	ck_assert_str_eq(listener_path(listener), path);
	client = client_new();
	run_until(1);
	close(client);
	listener_free(listener);
	ck_assert_uint_eq(mode_of(path) & S_IFMT, S_IFSOCK);
}
END_TEST

START_TEST(systemds_socket_of_a_wrong_type)
{
	struct listener *listener = NULL;

	pass_socket(SOCK_STREAM, true);
	ck_assert_int_eq(loop_new(&loop, 64), 0);
	ck_assert_int_eq(listener_new(&listener, loop, path, false, connected, &n_clients),
			 -EINVAL);
	ck_assert_ptr_null(listener);
}
END_TEST

START_TEST(systemds_socket_that_does_not_listen)
{
	struct listener *listener = NULL;

	pass_socket(SOCK_SEQPACKET, false);
	ck_assert_int_eq(loop_new(&loop, 64), 0);
	ck_assert_int_eq(listener_new(&listener, loop, path, false, connected, &n_clients),
			 -EINVAL);
	ck_assert_ptr_null(listener);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		client_is_known,
		client_that_is_gone_is_handled,
		no_client_of_many_is_lost,
		refused_client_is_told_why,
		clients_wait_out_a_lack_of_descriptors,
		private_socket_is_private,
		socket_of_the_system_is_for_all,
		second_daemon_is_refused,
		socket_of_a_dead_daemon_is_replaced,
		foreign_socket_is_left_alone,
		foreign_socket_of_another_type_is_left_alone,
		file_in_the_way_is_left_alone,
		lock_that_is_a_link_is_not_followed,
		directory_that_cannot_be_made,
		path_that_is_too_long,
		stopped_listener_is_gone,
	};
	Suite *suite = suite_create("listener");
	TCase *tcase = tcase_create("own socket"), *systemd = tcase_create("systemd's socket");
	SRunner *runner;
	struct loop *probe;
	size_t i;
	int n_failed, r;

	r = loop_new(&probe, 8);
	if (r == -ENOSYS || r == -EPERM) {
		printf("skip: io_uring is not to be had here\n");
		return 77;
	}
	if (r == 0)
		loop_free(probe);
	tcase_add_checked_fixture(tcase, setup, teardown);
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(systemd, setup_systemd, teardown);
	tcase_add_test(systemd, systemds_socket_is_used_and_left);
	tcase_add_test(systemd, systemds_socket_of_a_wrong_type);
	tcase_add_test(systemd, systemds_socket_that_does_not_listen);
	suite_add_tcase(suite, systemd);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
