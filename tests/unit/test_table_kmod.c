// SPDX-License-Identifier: GPL-2.0-only
/*
 * The client's use of /dev/vram against a kernel that is played here: what the real one answers rarely.
 */
// links: libclient/table_kmod.c common/err.c
// libs: -Wl,--wrap=open -Wl,--wrap=ioctl
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kmod/uapi/vram.h"
#include "libclient/internal.h"

/* ---- the kernel ---- */

static struct kernel {
	int open_error, info_error, table_error;
	uint32_t version, info_flags, max_slots;
	uint32_t most_slots; /* TABLE with more than these: EDQUOT */
	unsigned int opened, tables, waits;
	uint32_t n_slots;
	/* What the next waits answer, and what they do meanwhile. */
	int wait_errors[8];
	unsigned int n_wait_errors;
	void (*during_wait)(unsigned int n);
	struct vram_ioc_wait last_wait;
} kernel;

static struct vram_client client;
static struct residency_slot slots[4];
static struct residency_shadow shadow;

uint64_t client_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_open(const char *path, int flags, ...)
{
	if (strcmp(path, "/dev/vram"))
		return __real_open(path, flags);
	ck_assert_int_eq(flags & O_ACCMODE, O_RDWR);
	ck_assert_int_ne(flags & O_CLOEXEC, 0);
	if (kernel.open_error) {
		errno = kernel.open_error;
		return -1;
	}
	kernel.opened++;
	return __real_open("/dev/null", flags);
}

static int answer(int error)
{
	errno = error;
	return error ? -1 : 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
	if (request == VRAM_IOC_INFO) {
		struct vram_ioc_info *info = arg;

		if (kernel.info_error)
			return answer(kernel.info_error);
		memset(info, 0, sizeof(*info));
		info->version = kernel.version;
		info->flags = kernel.info_flags;
		info->max_slots = kernel.max_slots;
		return 0;
	}
	if (request == VRAM_IOC_TABLE) {
		const struct vram_ioc_table *table = arg;

		ck_assert_uint_eq(table->flags, 0);
		kernel.tables++;
		if (kernel.table_error)
			return answer(kernel.table_error);
		if (table->n_slots > kernel.most_slots)
			return answer(EDQUOT);
		kernel.n_slots = table->n_slots;
		return 0;
	}
	ck_assert_uint_eq(request, VRAM_IOC_WAIT);
	kernel.last_wait = *(const struct vram_ioc_wait *)arg;
	ck_assert_uint_eq(kernel.last_wait.flags, 0);
	kernel.waits++;
	if (kernel.during_wait)
		kernel.during_wait(kernel.waits);
	if (kernel.waits <= kernel.n_wait_errors)
		return answer(kernel.wait_errors[kernel.waits - 1]);
	return answer(0);
}

static void setup(void)
{
	memset(&kernel, 0, sizeof(kernel));
	memset(&client, 0, sizeof(client));
	list_init(&client.objects);
	kernel.version = VRAM_ABI_VERSION;
	kernel.max_slots = VRAM_MAX_SLOTS;
	kernel.most_slots = VRAM_MAX_SLOTS;
}

static void teardown(void)
{
	device_leave(&client);
}

/* ---- sessions ---- */

START_TEST(opened)
{
	int fd;

	device_renew(&client);
	ck_assert_ptr_nonnull(client.device);
	ck_assert_uint_eq(client.device->n_slots, 16384);
	ck_assert_uint_eq(kernel.tables, 1);
	ck_assert_str_eq(client.device_note, "");
	/* Again, after a restart of the daemon: the same session, another table. */
	fd = client.device->fd;
	device_renew(&client);
	ck_assert_int_eq(client.device->fd, fd);
	ck_assert_uint_eq(kernel.opened, 1);
	ck_assert_uint_eq(kernel.tables, 2);
	device_leave(&client);
	ck_assert_ptr_null(client.device);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

START_TEST(not_there)
{
	static const int errors[] = { ENOENT, ENXIO, ENODEV };

	kernel.open_error = errors[_i];
	device_renew(&client);
	ck_assert_ptr_null(client.device);
	ck_assert_str_eq(client.device_note, "");
	ck_assert_int_eq(client.device_error, 0);
}
END_TEST

START_TEST(not_permitted)
{
	kernel.open_error = _i ? EPERM : EACCES;
	device_renew(&client);
	ck_assert_ptr_null(client.device);
	ck_assert_int_eq(client.device_error, kernel.open_error);
	ck_assert_ptr_nonnull(strstr(client.device_note, "cannot open /dev/vram"));
	/* And once it is, no word of it is left. */
	kernel.open_error = 0;
	device_renew(&client);
	ck_assert_ptr_nonnull(client.device);
	ck_assert_str_eq(client.device_note, "");
	ck_assert_int_eq(client.device_error, 0);
}
END_TEST

START_TEST(too_many_sessions)
{
	kernel.open_error = EMFILE;
	device_renew(&client);
	ck_assert_ptr_null(client.device);
	ck_assert_int_eq(client.device_error, EMFILE);
	ck_assert_ptr_nonnull(strstr(client.device_note, "max_sessions"));
}
END_TEST

START_TEST(another_version)
{
	kernel.version++;
	device_renew(&client);
	ck_assert_ptr_null(client.device);
	ck_assert_uint_eq(kernel.tables, 0);
	ck_assert_ptr_nonnull(strstr(client.device_note, "version"));
	kernel.info_error = ENOTTY;
	device_renew(&client);
	ck_assert_ptr_null(client.device);
	ck_assert_int_eq(client.device_error, ENOTTY);
}
END_TEST

START_TEST(administrators_need_none)
{
	client.hello_flags = VRAM_HELLO_ADMIN;
	device_renew(&client);
	ck_assert_ptr_null(client.device);
	ck_assert_uint_eq(kernel.opened, 0);
}
END_TEST

START_TEST(smaller_table)
{
	/* The kernel knows what is left for this user... */
	kernel.max_slots = 5000;
	device_renew(&client);
	ck_assert_uint_eq(kernel.tables, 1);
	ck_assert_uint_eq(client.device->n_slots, 5000);
	/* ...or another process was faster. */
	kernel.most_slots = 700;
	device_renew(&client);
	ck_assert_uint_eq(client.device->n_slots, 625);
	kernel.most_slots = 64;
	device_renew(&client);
	ck_assert_uint_eq(client.device->n_slots, 64);
}
END_TEST

START_TEST(no_table)
{
	int fd;

	kernel.most_slots = 63;
	device_renew(&client);
	ck_assert_ptr_null(client.device);
	ck_assert_int_eq(client.device_error, EDQUOT);
	ck_assert_ptr_nonnull(strstr(client.device_note, "max_slots"));
	kernel.max_slots = 0;
	device_renew(&client);
	ck_assert_int_eq(client.device_error, EDQUOT);
	kernel.table_error = ENOMEM;
	device_renew(&client);
	ck_assert_ptr_null(client.device);
	ck_assert_int_eq(client.device_error, ENOMEM);
	/* Another error is not tried to death. */
	kernel.table_error = EINVAL;
	kernel.max_slots = VRAM_MAX_SLOTS;
	kernel.tables = 0;
	device_renew(&client);
	ck_assert_uint_eq(kernel.tables, 1);
	ck_assert_int_eq(client.device_error, EINVAL);
	/* Nothing stays open. */
	fd = dup(0);
	ck_assert_int_ge(fd, 0);
	close(fd);
	kernel.table_error = 0;
	kernel.most_slots = VRAM_MAX_SLOTS;
	device_renew(&client);
	ck_assert_int_eq(client.device->fd, fd);
}
END_TEST

/* A table for a client that has models already: they must fit, or be tried again later. */
START_TEST(not_too_small)
{
	struct object model = { .n_slots = 600 }, kv = { .n_slots = 400 };

	list_init(&model.node);
	list_init(&kv.node);
	list_add_tail(&model.node, &client.objects);
	list_add_tail(&kv.node, &client.objects);
	kernel.max_slots = 100;
	kernel.most_slots = 1000;
	device_renew(&client);
	ck_assert_uint_eq(client.device->n_slots, 1000);
	kernel.max_slots = VRAM_MAX_SLOTS;
	kernel.most_slots = 1500;
	device_renew(&client);
	ck_assert_uint_eq(client.device->n_slots, 1024);
	kernel.most_slots = 999;
	device_renew(&client);
	ck_assert_ptr_null(client.device);
	ck_assert_int_eq(client.device_error, EDQUOT);
}
END_TEST

/* The daemon that is there has the session: what it was adopted for has ended without the daemon. */
START_TEST(adopted_already)
{
	struct device *old;

	device_renew(&client);
	old = device_get(client.device); /* as a table has it */
	kernel.info_flags = VRAM_INFO_ADOPTED;
	device_renew(&client);
	ck_assert_uint_eq(kernel.opened, 2);
	ck_assert_ptr_ne(client.device, old);
	ck_assert_int_ne(client.device->fd, old->fd);
	ck_assert_int_ge(fcntl(old->fd, F_GETFD), 0);
	device_put(old);
}
END_TEST

START_TEST(child_holds_nothing)
{
	struct device *other;
	struct stat st;
	int fds[2], status;
	pid_t child;

	device_renew(&client);
	other = device_get(client.device);
	kernel.info_flags = VRAM_INFO_ADOPTED;
	device_renew(&client);
	kernel.info_flags = 0;
	fds[0] = other->fd;
	fds[1] = client.device->fd;
	child = fork();
	if (child == 0) {
		if (other->fd != -1 || client.device->fd != -1 || fcntl(fds[0], F_GETFD) >= 0 ||
		    fcntl(fds[1], F_GETFD) >= 0)
			_exit(1);
		/* It can have one of its own, and its child drops that as well. */
		device_free(client.device);
		client.device = NULL;
		device_renew(&client);
		if (!client.device || fstat(client.device->fd, &st))
			_exit(2);
		child = fork();
		if (child == 0)
			_exit(client.device->fd == -1 ? 42 : 3);
		waitpid(child, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 4);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 42);
	/* The parent has both as before. */
	ck_assert_int_ge(fcntl(other->fd, F_GETFD), 0);
	ck_assert_int_ge(fcntl(client.device->fd, F_GETFD), 0);
	device_put(other);
}
END_TEST

/* ---- waiting ---- */

static struct table table;

static void setup_wait(void)
{
	setup();
	device_renew(&client);
	memset(&table, 0, sizeof(table));
	table.slots = slots;
	table.device = client.device;
	atomic_store(&client.device->current, &table);
	memset(slots, 0, sizeof(slots));
	residency_init(&slots[2], &shadow);
}

static int wait_slot(uint64_t deadline)
{
	uint32_t seen;
	int r;

	residency_try_acquire(&slots[2], 0, &seen);
	r = device_wait(&table, &slots[2], seen, deadline);
	residency_release(&slots[2]);
	return r;
}

static void load_at_third(unsigned int n)
{
	if (n == 1)
		residency_begin_load(&slots[2], &shadow);
	if (n == 3)
		residency_publish(&slots[2], &shadow, RESIDENCY_RESIDENT);
}

START_TEST(waits)
{
	uint32_t loading;

	kernel.during_wait = load_at_third;
	ck_assert_int_eq(wait_slot(UINT64_MAX), RESIDENCY_OK);
	ck_assert_uint_eq(kernel.waits, 3);
	ck_assert_uint_eq(kernel.last_wait.slot, 2);
	ck_assert_uint_eq(kernel.last_wait.dev, 0);
	ck_assert_uint_eq(kernel.last_wait.deadline_ns, UINT64_MAX);
	/* It slept on the word of its last look, not on the first. */
	loading = kernel.last_wait.expected;
	ck_assert_int_eq(residency_word_state(loading), RESIDENCY_LOADING);
	/* Resident: no call at all. Marked: the other outcome. */
	ck_assert_int_eq(wait_slot(UINT64_MAX), RESIDENCY_OK);
	ck_assert_uint_eq(kernel.waits, 3);
	residency_set_notify(&slots[2], &shadow);
	ck_assert_int_eq(wait_slot(UINT64_MAX), RESIDENCY_E_NOTIFY);
}
END_TEST

START_TEST(only_looks)
{
	ck_assert_int_eq(wait_slot(0), -ETIMEDOUT);
	ck_assert_uint_eq(kernel.waits, 0);
}
END_TEST

START_TEST(answers)
{
	static const struct {
		int error, r;
	} cases[] = {
		{ ETIMEDOUT, -ETIMEDOUT }, { ESTALE, -ENOTCONN }, { EHOSTDOWN, -ENOTCONN },
		{ ENOTCONN, -ENOTCONN },   { ENXIO, -ENXIO },	  { EINVAL, -EINVAL },
	};

	kernel.wait_errors[0] = cases[_i].error;
	kernel.n_wait_errors = 1;
	ck_assert_int_eq(wait_slot(UINT64_MAX), cases[_i].r);
	ck_assert_uint_eq(kernel.waits, 1);
}
END_TEST

/* Neither a signal nor a crowd of waiters ends the wait. */
START_TEST(goes_on)
{
	kernel.wait_errors[0] = _i ? EDQUOT : EINTR;
	kernel.wait_errors[1] = _i ? EDQUOT : EINTR;
	kernel.n_wait_errors = 2;
	kernel.during_wait = load_at_third;
	ck_assert_int_eq(wait_slot(UINT64_MAX), RESIDENCY_OK);
	ck_assert_uint_eq(kernel.waits, 3);
}
END_TEST

START_TEST(crowd_until_deadline)
{
	for (int i = 0; i < 8; i++)
		kernel.wait_errors[i] = EDQUOT;
	kernel.n_wait_errors = 8;
	ck_assert_int_eq(wait_slot(client_now_ns() + 3000000), -ETIMEDOUT);
	ck_assert_uint_lt(kernel.waits, 8);
}
END_TEST

static void fail_again(unsigned int n)
{
	if (n == 2) {
		residency_begin_load(&slots[2], &shadow);
		atomic_store(&slots[2].error, EIO);
		residency_publish(&slots[2], &shadow, RESIDENCY_FAILED);
	}
}

/* The failure that is being retried is not the answer to the retry. */
START_TEST(retried)
{
	residency_fail(&slots[2], &shadow, NULL, -ENOSPC);
	kernel.during_wait = fail_again;
	ck_assert_int_eq(wait_slot(UINT64_MAX), RESIDENCY_E_FAILED);
	ck_assert_uint_eq(kernel.waits, 2);
	ck_assert_int_eq(residency_error(&slots[2]), -EIO);
}
END_TEST

static void renew(unsigned int n)
{
	if (n == 2)
		device_renew(&client);
	ck_assert_uint_le(n, 2);
}

/* The session has another table now, whose words differ: not to be compared with for ever. */
START_TEST(another_table)
{
	kernel.during_wait = renew;
	ck_assert_int_eq(wait_slot(UINT64_MAX), -ENOTCONN);
	ck_assert_uint_eq(kernel.waits, 2);
	ck_assert_int_eq(wait_slot(UINT64_MAX), -ENOTCONN);
	ck_assert_uint_eq(kernel.waits, 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("table_kmod");
	TCase *tc = tcase_create("session");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, opened);
	tcase_add_loop_test(tc, not_there, 0, 3);
	tcase_add_loop_test(tc, not_permitted, 0, 2);
	tcase_add_test(tc, too_many_sessions);
	tcase_add_test(tc, another_version);
	tcase_add_test(tc, administrators_need_none);
	tcase_add_test(tc, smaller_table);
	tcase_add_test(tc, no_table);
	tcase_add_test(tc, not_too_small);
	tcase_add_test(tc, adopted_already);
	tcase_add_test(tc, child_holds_nothing);
	suite_add_tcase(suite, tc);
	tc = tcase_create("wait");
	tcase_add_checked_fixture(tc, setup_wait, teardown);
	tcase_add_test(tc, waits);
	tcase_add_test(tc, only_looks);
	tcase_add_loop_test(tc, answers, 0, 6);
	tcase_add_loop_test(tc, goes_on, 0, 2);
	tcase_add_test(tc, crowd_until_deadline);
	tcase_add_test(tc, retried);
	tcase_add_test(tc, another_table);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
