// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pointers that lead nowhere: arguments that cannot be read, cannot be written, or end at an unmapped page.
 * A call whose answer cannot be delivered has not happened.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/waiter.c
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/kmod/device.h"

static const struct {
	const char *name;
	unsigned long request;
} calls[] = {
	{ "INFO", VRAM_IOC_INFO },	 { "TABLE", VRAM_IOC_TABLE },
	{ "WAIT", VRAM_IOC_WAIT },	 { "PRESSURE", VRAM_IOC_PRESSURE },
	{ "TRIGGER", VRAM_IOC_TRIGGER }, { "USAGE", VRAM_IOC_USAGE },
	{ "GROUP", VRAM_IOC_GROUP },	 { "LIMIT", VRAM_IOC_LIMIT },
	{ "ATTACH", VRAM_IOC_ATTACH },	 { "DEVICE", VRAM_IOC_DEVICE },
	{ "ADOPT", VRAM_IOC_ADOPT },	 { "CHARGE", VRAM_IOC_CHARGE },
	{ "SHARE", VRAM_IOC_SHARE },	 { "STATE", VRAM_IOC_STATE },
	{ "WAKE", VRAM_IOC_WAKE },	 { "OVER", VRAM_IOC_OVER },
};
#define N_CALLS ((int)(sizeof(calls) / sizeof(*calls)))

static int a, b; /* adopted, of user A; not adopted, of user B */
static size_t page;
/* Two pages; the second one is unmapped (edge), may only be read (closed). */
static char *edge, *closed;

static void setup(void)
{
	world_setup();
	a = client_new(UID_A, 8);
	b = open_as(UID_B);
	page = (size_t)sysconf(_SC_PAGESIZE);
	edge = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	closed = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(edge != MAP_FAILED && closed != MAP_FAILED);
	ck_assert_int_eq(munmap(edge + page, page), 0);
}

/* Puts an argument where it can be read, and not written. */
static void *read_only(const void *arg, size_t size)
{
	ck_assert_int_eq(mprotect(closed, page, PROT_READ | PROT_WRITE), 0);
	memcpy(closed, arg, size);
	ck_assert_int_eq(mprotect(closed, page, PROT_READ), 0);
	return closed;
}

START_TEST(test_unreadable)
{
	static const uintptr_t nowhere[] = {
		0, 8, 0xfff0, 0x7fffffffeff8, 0xffff888000001000, 0xffffffffff600000, ~(uintptr_t)7
	};
	size_t size = _IOC_SIZE(calls[_i].request), cut, k;
	int fds[3] = { w.arb, a, b }, f;
	char *was = snapshot(w.arb);

	for (f = 0; f < 3; f++) {
		for (k = 0; k < sizeof(nowhere) / sizeof(*nowhere); k++)
			ck_errno(try_ioctl(fds[f], calls[_i].request, (void *)nowhere[k]), EFAULT);
		/* Only the last bytes are missing; then all but the first. */
		for (cut = 4; cut<size; cut += size> 64 ? 28 : 4) {
			memset(edge, 0, page);
			ck_errno(try_ioctl(fds[f], calls[_i].request, edge + page - size + cut),
				 EFAULT);
		}
	}
	snapshot_same(w.arb, was, calls[_i].name);
	free(was);
}
END_TEST

START_TEST(test_info_unwritable)
{
	ck_errno(try_ioctl(a, VRAM_IOC_INFO, read_only("", 1)), EFAULT);
}
END_TEST

START_TEST(test_adopt_unwritable)
{
	struct vram_ioc_adopt arg = { .fd = b };
	char *was = snapshot(w.arb);

	ck_errno(try_ioctl(w.arb, VRAM_IOC_ADOPT, read_only(&arg, sizeof(arg))), EFAULT);
	snapshot_same(w.arb, was, "ADOPT");
	ck_assert_uint_eq(info_of(b).flags, 0);
	ck_ok(try_ioctl(w.arb, VRAM_IOC_ADOPT, &arg));
	free(was);
}
END_TEST

START_TEST(test_attach_unwritable)
{
	struct vram_ioc_attach arg = { .grace_ms = 0 };
	uint64_t generation = w.generation;
	int fd = device_open();

	close(w.arb);
	EVENTUALLY(info_of(fd).arbiter_state == VRAM_ARBITER_GONE);
	ck_errno(try_ioctl(fd, VRAM_IOC_ATTACH, read_only(&arg, sizeof(arg))), EFAULT);
	ck_assert_uint_eq(info_of(fd).arbiter_state, VRAM_ARBITER_GONE);
	ck_assert_uint_eq(info_of(fd).generation, generation);
	ck_assert_uint_eq(info_of(fd).flags, 0);
	ck_ok(try_ioctl(fd, VRAM_IOC_ATTACH, &arg));
	ck_assert_uint_eq(arg.generation, generation + 1);
	close(fd);
	w.arb = -1;
}
END_TEST

START_TEST(test_device_unwritable)
{
	struct vram_ioc_device arg = { .capacity = { 1, 2, 3 }, .name = "test0" };
	char *was = snapshot(w.arb);

	ck_errno(try_ioctl(w.arb, VRAM_IOC_DEVICE, read_only(&arg, sizeof(arg))), EFAULT);
	snapshot_same(w.arb, was, "DEVICE of an old device");
	strcpy(arg.name, "never-made");
	ck_errno(try_ioctl(w.arb, VRAM_IOC_DEVICE, read_only(&arg, sizeof(arg))), EFAULT);
	snapshot_same(w.arb, was, "DEVICE of a new device");
	free(was);
}
END_TEST

START_TEST(test_share_unwritable)
{
	struct vram_ioc_share arg = { .op = VRAM_SHARE_NEW, .dev = w.dev[0] };
	char *was = snapshot(w.arb);

	ck_errno(try_ioctl(w.arb, VRAM_IOC_SHARE, read_only(&arg, sizeof(arg))), EFAULT);
	snapshot_same(w.arb, was, "SHARE new");
	free(was);
	arg.op = VRAM_SHARE_READ;
	arg.dev = 0;
	arg.share = share_new(w.arb, w.dev[0]);
	ck_errno(try_ioctl(w.arb, VRAM_IOC_SHARE, read_only(&arg, sizeof(arg))), EFAULT);
}
END_TEST

/* A refusal that cannot be delivered is still a refusal. */
START_TEST(test_charge_unwritable)
{
	struct vram_ioc_charge arg = {
		.session = session_of(a),
		.share = VRAM_NO_SHARE,
		.dev = w.dev[0],
		.bytes = world_capacity[0] + 1,
	};

	ck_errno(try_ioctl(w.arb, VRAM_IOC_CHARGE, read_only(&arg, sizeof(arg))), EFAULT);
	ck_assert_uint_eq(used(w.arb, VRAM_KIND_ROOT, 0), 0);
}
END_TEST

START_TEST(test_out_only_unwritable)
{
	struct vram_ioc_usage u = { .dev = w.dev[0] };
	struct vram_ioc_pressure p = { .flags = VRAM_PRESSURE_DEVICE, .dev = w.dev[0] };
	struct vram_ioc_group g = { .flags = VRAM_GROUP_FIRST };
	struct vram_ioc_over o = { .dev = w.dev[0] };

	ck_errno(try_ioctl(w.arb, VRAM_IOC_USAGE, read_only(&u, sizeof(u))), EFAULT);
	ck_errno(try_ioctl(w.arb, VRAM_IOC_PRESSURE, read_only(&p, sizeof(p))), EFAULT);
	ck_errno(try_ioctl(w.arb, VRAM_IOC_GROUP, read_only(&g, sizeof(g))), EFAULT);
	ck_errno(try_ioctl(w.arb, VRAM_IOC_OVER, read_only(&o, sizeof(o))), EFAULT);
}
END_TEST

/* A buffer that an argument points to. */
START_TEST(test_inner_buffers)
{
	struct vram_over *over = (struct vram_over *)(edge + page) - 1;
	struct vram_ioc_over o = { .dev = w.dev[0], .n = 2, .array = (uintptr_t)over };
	struct vram_ioc_group g = { .group = { .kind = VRAM_KIND_EXE } }, before;
	uint64_t id = session_of(a);
	char self[VRAM_NAME_MAX] = "";

	charge(w.arb, id, MIB);
	ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_A, VRAM_LIMIT_HIGH, KIB));
	/* One is over and fits, although two would not. */
	ck_ok(try_ioctl(w.arb, VRAM_IOC_OVER, &o));
	ck_assert_uint_eq(o.n, 1);
	ck_assert_uint_eq(over->group.key, UID_A);
	ck_ok(try_limit(w.arb, VRAM_KIND_SESSION, id, VRAM_LIMIT_HIGH, KIB));
	o.n = 2;
	ck_errno(try_ioctl(w.arb, VRAM_IOC_OVER, &o), EFAULT);
	ck_assert_uint_eq(o.n, 2);
	o.array = 8;
	ck_errno(try_ioctl(w.arb, VRAM_IOC_OVER, &o), EFAULT);
	o.array = (uintptr_t)read_only("", 1);
	ck_errno(try_ioctl(w.arb, VRAM_IOC_OVER, &o), EFAULT);

	ck_assert_int_gt(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
	g.group.key = group_key(w.arb, VRAM_KIND_EXE, self);
	g.name_size = VRAM_NAME_MAX;
	/* Just as long as the name: fine. One byte less: not. */
	g.name = (uintptr_t)(edge + page - strlen(self) - 1);
	ck_ok(try_ioctl(w.arb, VRAM_IOC_GROUP, &g));
	ck_assert_str_eq((char *)(uintptr_t)g.name, self);
	g = (struct vram_ioc_group){
		.group = g.group,
		.name = g.name + 1,
		.name_size = VRAM_NAME_MAX,
	};
	before = g;
	ck_errno(try_ioctl(w.arb, VRAM_IOC_GROUP, &g), EFAULT);
	ck_assert_int_eq(memcmp(&before, &g, sizeof(g)), 0);
}
END_TEST

/* Events that cannot be delivered stay. */
START_TEST(test_read_unwritable)
{
	struct vram_arbiter_event e;
	uint64_t id = session_of(a);

	close(a);
	EVENTUALLY(try_group(w.arb, VRAM_KIND_SESSION, id, &(struct vram_ioc_group){ 0 }) ==
		   -ENOENT);
	ck_assert_int_eq(read(w.arb, read_only("", 1), sizeof(e)), -1);
	ck_assert_int_eq(errno, EFAULT);
	ck_assert_int_eq(read(w.arb, edge + page - 8, sizeof(e)), -1);
	ck_assert_int_eq(errno, EFAULT);
	ck_ok(try_event(w.arb, &e));
	ck_assert_uint_eq(e.type, VRAM_ARBITER_EVENT_GONE);
	ck_assert_uint_eq(e.session, id);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("abi_pointers");
	TCase *tc = tcase_create("pointers");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, world_teardown);
	tcase_add_loop_test(tc, test_unreadable, 0, N_CALLS);
	tcase_add_test(tc, test_info_unwritable);
	tcase_add_test(tc, test_adopt_unwritable);
	tcase_add_test(tc, test_attach_unwritable);
	tcase_add_test(tc, test_device_unwritable);
	tcase_add_test(tc, test_share_unwritable);
	tcase_add_test(tc, test_charge_unwritable);
	tcase_add_test(tc, test_out_only_unwritable);
	tcase_add_test(tc, test_inner_buffers);
	tcase_add_test(tc, test_read_unwritable);
	suite_add_tcase(suite, tc);
	return device_main(suite);
}
