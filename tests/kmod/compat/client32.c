// SPDX-License-Identifier: GPL-2.0-only
/*
 * A 32-bit program without a C library, which test_compat compiles and runs: descriptor 9 is a client's with a
 * table, in whose last slot the number of a device stands, 10 is the arbiter that has adopted it. The exit status is
 * 0, or the line of what is wrong.
 */
#include "kmod/uapi/vram.h"

_Static_assert(sizeof(void *) == 4, "to be compiled with -m32");
_Static_assert(sizeof(struct vram_ref) == 16, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_info) == 80, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_table) == 8, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_wait) == 24, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_pressure) == 64, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_trigger) == 40, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_usage) == 136, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_group) == 88, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_limit) == 56, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_attach) == 16, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_device) == 64, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_adopt) == 352, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_charge) == 64, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_share) == 64, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_state) == 24, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_wake) == 16, "as on 64 bits");
_Static_assert(sizeof(struct vram_ioc_over) == 24, "as on 64 bits");
_Static_assert(sizeof(struct vram_arbiter_event) == 56, "as on 64 bits");

enum {
	NR_EXIT = 1,
	NR_OPEN = 5,
	NR_CLOSE = 6,
	NR_IOCTL = 54,
	NR_MMAP2 = 192,
	O_RDWR_CLOEXEC = 02000002,
	PROT_RW = 3,
	MAP_SHARED_ = 1,
	CLIENT = 9,
	ARBITER = 10,
	E_NOTTY = -25,
	E_FAULT = -14,
	E_INVAL = -22,
	E_TIMEDOUT = -110,
};

static long call6(long nr, long a, long b, long c, long d, long e)
{
	long ret;

	/* The sixth argument, an offset in pages, is 0: it goes through ebp. */
	__asm__ volatile("push %%ebp; xor %%ebp, %%ebp; int $0x80; pop %%ebp"
			 : "=a"(ret)
			 : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "memory");
	return ret;
}

static long ioctl32(int fd, unsigned long request, void *arg)
{
	return call6(NR_IOCTL, fd, (long)request, (long)arg, 0, 0);
}

static void must(int condition, int line)
{
	if (!condition)
		call6(NR_EXIT, line, 0, 0, 0, 0);
}
#define MUST(condition) must((condition) != 0, __LINE__)

/* gcc may ask for them. */
void *memset(void *to, int c, __SIZE_TYPE__ n);
void *memset(void *to, int c, __SIZE_TYPE__ n)
{
	volatile char *p = to;

	while (n--)
		*p++ = (char)c;
	return to;
}

static __u32 dev;

static __u64 as_client(void)
{
	struct vram_ioc_info info = { .flags = 77 };
	struct vram_ioc_wait wait = { .slot = 5, .deadline_ns = 1 };
	struct vram_ioc_usage u = { .group = { .kind = VRAM_KIND_SESSION } };
	struct vram_ioc_pressure p = { .flags = VRAM_PRESSURE_DEVICE };
	volatile __u32 *table;
	long at, fd;

	MUST(ioctl32(CLIENT, VRAM_IOC_INFO, &info) == 0);
	MUST(info.version == VRAM_ABI_VERSION && info.session && info.n_slots == 64);
	MUST(info.flags == VRAM_INFO_ADOPTED && info.arbiter_state == VRAM_ARBITER_ATTACHED);
	at = call6(NR_MMAP2, 0, 4096, PROT_RW, MAP_SHARED_, CLIENT);
	MUST(at > 0 || at < -4095);
	table = (volatile __u32 *)at;
	dev = table[63 * 16];
	wait.dev = u.dev = p.dev = dev;
	MUST(ioctl32(CLIENT, VRAM_IOC_WAIT, &wait) == E_TIMEDOUT);
	table[5 * 16] = 1;
	wait.deadline_ns = ~0ull;
	MUST(ioctl32(CLIENT, VRAM_IOC_WAIT, &wait) == 0);
	wait.flags = 2;
	MUST(ioctl32(CLIENT, VRAM_IOC_WAIT, &wait) == E_INVAL);
	u.group.key = info.session;
	MUST(ioctl32(CLIENT, VRAM_IOC_USAGE, &u) == 0);
	MUST(u.usage == 0 && u.limit[VRAM_LIMIT_MAX] == VRAM_UNLIMITED);
	MUST(ioctl32(CLIENT, VRAM_IOC_PRESSURE, &p) == 0);
	MUST(ioctl32(CLIENT, VRAM_IOC_INFO, (void *)16) == E_FAULT);
	MUST(ioctl32(CLIENT, _IO(VRAM_IOC_MAGIC, 0x77), &p) == E_NOTTY);
	/* One of its own. */
	fd = call6(NR_OPEN, (long)"/dev/vram", O_RDWR_CLOEXEC, 0, 0, 0);
	MUST(fd >= 0);
	MUST(ioctl32((int)fd, VRAM_IOC_TABLE, &(struct vram_ioc_table){ .n_slots = 3 }) == 0);
	MUST(call6(NR_CLOSE, fd, 0, 0, 0, 0) == 0);
	return info.session;
}

/* Structures with 64-bit fields and with pointers. */
static void as_arbiter(__u64 session)
{
	static char path[VRAM_NAME_MAX] = "/no/such/program/of/32/bits";
	static struct vram_over over[4];
	struct vram_ioc_charge c = {
		.session = session,
		.share = VRAM_NO_SHARE,
		.dev = dev,
		.bytes = 0x300000001ull,
	};
	struct vram_ioc_usage u = {
		.dev = dev,
		.group = { .kind = VRAM_KIND_SESSION, .key = session },
	};
	struct vram_ioc_limit l = {
		.dev = dev,
		.limit = VRAM_LIMIT_HIGH,
		.group = { .kind = VRAM_KIND_EXE },
		.value = 0x200000000ull,
		.name = (unsigned long)path,
		.name_bytes = 28,
	};
	struct vram_ioc_group g = {
		.flags = VRAM_GROUP_BY_NAME,
		.group = { .kind = VRAM_KIND_EXE },
		.name = (unsigned long)path,
		.name_size = sizeof(path),
	};
	struct vram_ioc_share s = { .op = VRAM_SHARE_NEW, .dev = dev };
	struct vram_ioc_over o = { .dev = dev, .n = 4, .array = (unsigned long)over };

	MUST(ioctl32(ARBITER, VRAM_IOC_CHARGE, &c) == 0);
	MUST(ioctl32(ARBITER, VRAM_IOC_USAGE, &u) == 0);
	MUST(u.usage == 0x300000001ull);
	MUST(ioctl32(ARBITER, VRAM_IOC_LIMIT, &l) == 0);
	MUST(ioctl32(ARBITER, VRAM_IOC_GROUP, &g) == 0);
	MUST(g.group.key && g.name_bytes == 28);
	l.group.kind = VRAM_KIND_SESSION;
	l.group.key = session;
	l.name = 0;
	l.name_bytes = 0;
	MUST(ioctl32(ARBITER, VRAM_IOC_LIMIT, &l) == 0);
	MUST(ioctl32(ARBITER, VRAM_IOC_OVER, &o) == 0);
	MUST(o.n == 1 && over[0].group.key == session && over[0].over_high == 0x100000001ull);
	MUST(ioctl32(ARBITER, VRAM_IOC_SHARE, &s) == 0);
	s.op = VRAM_SHARE_FREE;
	s.dev = 0;
	MUST(ioctl32(ARBITER, VRAM_IOC_SHARE, &s) == 0);
	c.op = VRAM_UNCHARGE;
	MUST(ioctl32(ARBITER, VRAM_IOC_CHARGE, &c) == 0);
}

void _start(void);
void _start(void)
{
	as_arbiter(as_client());
	call6(NR_EXIT, 0, 0, 0, 0, 0);
	__builtin_unreachable();
}
