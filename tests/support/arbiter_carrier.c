// SPDX-License-Identifier: GPL-2.0-only
#include "tests/support/arbiter_carrier.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kmod/uapi/vram.h"
#include "tests/kmod/passing.h"

#define MAX_CLIENTS 4096
#define N_SLOTS	    64
#define TRIES	    500
#define TRY_NS	    10000000

static struct client {
	uint64_t id;
	pid_t pid;
} clients[MAX_CLIENTS];
static unsigned int n_clients;
static struct stat node;

bool carrier_is_kmod(void)
{
	const char *arbiter = getenv("VRAM_ARBITER");

	return arbiter && !strcmp(arbiter, "kmod");
}

static void pause_a_moment(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = TRY_NS }, NULL);
}

/* ---- a client's process ---------------------------------------------------------- */

/* This program, started anew by another user, elsewhere: opens the device, sends it, and waits to be killed. */
static void be_a_client(int sock, uint32_t n_slots)
{
	struct vram_ioc_table table = { .n_slots = n_slots };
	char byte;
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "engine");
	fd = open(ARBITER_KMOD_PATH, O_RDWR | O_CLOEXEC);
	if (fd < 0 || (n_slots && ioctl(fd, VRAM_IOC_TABLE, &table) < 0)) {
		perror("client: " ARBITER_KMOD_PATH);
		_exit(1);
	}
	if (passing_send(sock, fd) < 0)
		_exit(1);
	/* Until the other side is gone. */
	_exit(read(sock, &byte, 1) < 0);
}

static void copy_program(const char *to)
{
	char command[512];

	if (access(to, X_OK) == 0)
		return;
	snprintf(command, sizeof(command), "cp /proc/%d/exe '%s' && chmod 755 '%s'", (int)getpid(),
		 to, to);
	ck_assert_int_eq(system(command), 0);
}

static int enter_cgroup(const char *path)
{
	char command[2048];

	snprintf(command, sizeof(command),
		 "mkdir -p '/sys/fs/cgroup%s' && echo %d > '/sys/fs/cgroup%s/cgroup.procs'", path,
		 (int)getpid(), path);
	return system(command);
}

static int client_start(uid_t uid, const char *cgroup, const char *exe, uint32_t n_slots,
			pid_t *out_pid)
{
	char number[16], slots[16];
	int pair[2], fd;
	pid_t pid;

	if (exe)
		copy_program(exe);
	ck_assert_int_eq(passing_pair(pair), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		const char *path = exe ? exe : "/proc/self/exe";

		if (cgroup && enter_cgroup(cgroup))
			_exit(1);
		snprintf(number, sizeof(number), "%d", dup(pair[1]));
		snprintf(slots, sizeof(slots), "%u", n_slots);
		if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
			_exit(1);
		execl(path, path, "--client", number, slots, NULL);
		_exit(127);
	}
	close(pair[1]);
	fd = passing_receive(pair[0]);
	ck_assert_msg(fd >= 0, "no session of user %u: %s", uid, strerror(-fd));
	/* The other end stays open: the client lives as long as this process. */
	*out_pid = pid;
	return fd;
}

int carrier_fd(uid_t uid, uint32_t n_slots, pid_t *out_pid)
{
	return client_start(uid, NULL, NULL, n_slots, out_pid);
}

static struct client *client_of(uint64_t session)
{
	for (unsigned int i = 0; i < n_clients; i++)
		if (clients[i].id == session)
			return &clients[i];
	ck_abort_msg("no client has session %llu", (unsigned long long)session);
}

/* ---- the module ------------------------------------------------------------------- */

static void reload(void)
{
	const char *ko = getenv("VRAM_KO");
	char command[512];
	int i;

	for (i = 0; i < TRIES && !access("/sys/module/vram", F_OK); i++) {
		if (system("rmmod vram 2>/dev/null"))
			pause_a_moment();
	}
	snprintf(command, sizeof(command), "insmod '%s'", ko);
	ck_assert_int_eq(system(command), 0);
	for (i = 0; i < TRIES && access(ARBITER_KMOD_PATH, F_OK); i++)
		pause_a_moment();
	/* Users without the group open it, too. */
	ck_assert_int_eq(chmod(ARBITER_KMOD_PATH, 0666), 0);
}

bool carrier_begin(int argc, char *argv[])
{
	if (argc == 4 && !strcmp(argv[1], "--client"))
		be_a_client(atoi(argv[2]), (uint32_t)atoi(argv[3]));
	if (!carrier_is_kmod())
		return true;
	if (!getenv("VRAM_GUEST") || !getenv("VRAM_KO") || geteuid() != 0) {
		printf("loads modules and makes users: run by tests/vm in a guest\n");
		return false;
	}
	if (stat(ARBITER_KMOD_PATH, &node)) {
		printf("no " ARBITER_KMOD_PATH "\n");
		return false;
	}
	return true;
}

void carrier_end(void)
{
	if (!carrier_is_kmod())
		return;
	if (chown(ARBITER_KMOD_PATH, node.st_uid, node.st_gid) ||
	    chmod(ARBITER_KMOD_PATH, node.st_mode & 07777))
		perror(ARBITER_KMOD_PATH);
}

struct arbiter *carrier_attach(void)
{
	struct arbiter *a = NULL;
	pid_t holder = 0;

	ck_assert_int_eq(arbiter_kmod_new(10000, &a, &holder), 0);
	return a;
}

struct arbiter *carrier_arbiter(void)
{
	struct arbiter *a = NULL;

	n_clients = 0;
	if (!carrier_is_kmod()) {
		ck_assert_int_eq(arbiter_local_new(0, &a), 0);
		ck_assert_str_eq(arbiter_name(a), "local");
		return a;
	}
	reload();
	a = carrier_attach();
	ck_assert_str_eq(arbiter_name(a), "kmod");
	return a;
}

/* ---- sessions ----------------------------------------------------------------------- */

static uint64_t open_local(struct arbiter *a, uid_t uid, const char *cgroup, const char *exe)
{
	const struct arbiter_peer peer = {
		.pid = 100 + (pid_t)uid, .uid = uid, .cgroup = cgroup, .exe = exe, .comm = "engine"
	};
	uint64_t id;

	ck_assert_int_eq(arbiter_session_open(a, &peer, 0, &id), 0);
	clients[n_clients++] = (struct client){ .id = id, .pid = peer.pid };
	return id;
}

uint64_t carrier_open(struct arbiter *a, uid_t uid, const char *cgroup, const char *exe)
{
	struct arbiter_adopted adopted;
	pid_t pid;
	int fd;

	ck_assert_uint_lt(n_clients, MAX_CLIENTS);
	if (!carrier_is_kmod())
		return open_local(a, uid, cgroup, exe);
	fd = client_start(uid, cgroup, exe, N_SLOTS, &pid);
	ck_assert_int_eq(arbiter_session_adopt(a, fd, &adopted), 0);
	close(fd);
	ck_assert_int_eq(adopted.pid, pid);
	ck_assert_uint_eq(adopted.uid, uid);
	ck_assert_uint_eq(adopted.gid, uid);
	ck_assert_str_eq(adopted.comm, "engine");
	ck_assert_uint_eq(adopted.n_slots, N_SLOTS);
	ck_assert_int_eq(munmap(adopted.table, adopted.table_bytes), 0);
	clients[n_clients++] = (struct client){ .id = adopted.session, .pid = pid };
	return adopted.session;
}

pid_t carrier_pid(uint64_t session)
{
	return client_of(session)->pid;
}

void carrier_kill(struct arbiter *a, uint64_t session)
{
	const struct arbiter_subject subject = { .kind = ARBITER_SESSION, .id = session };
	struct arbiter_group group;
	pid_t pid = carrier_pid(session);
	int i, r = 0;

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	for (i = 0; i < TRIES && r == 0; i++) {
		r = arbiter_find(a, &subject, &group);
		if (r == 0)
			pause_a_moment();
	}
	ck_assert_int_eq(r, -ENOENT);
}

void carrier_close(struct arbiter *a, uint64_t session, uint64_t now_ns)
{
	ck_assert_int_eq(arbiter_session_close(a, session, now_ns), 0);
	if (carrier_is_kmod())
		carrier_kill(a, session);
}
