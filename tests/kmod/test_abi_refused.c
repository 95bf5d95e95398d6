// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bad input: a valid call with one field changed, one test for each change. The call must fail with the
 * documented error, write nothing into its argument, and leave the whole ledger as it was. That the calls
 * are valid without the change is a test, too.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/waiter.c
 * timeout: 900
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/kmod/device.h"

/* Whose descriptor the call is made with. */
enum who {
	ARBITER,
	ADMIN,	/* root's, not the arbiter's */
	CLIENT, /* user A's, adopted, with a table of 16 slots */
	BARE,	/* user B's, not adopted, without a table */
};

/* The valid calls. */
enum base {
	INFO,
	TABLE,
	WAIT,
	PRESSURE_GROUP,
	PRESSURE_DEVICE,
	TRIGGER_GROUP,
	TRIGGER_DEVICE,
	USAGE,
	GROUP,
	GROUP_NEXT,
	GROUP_FIRST,
	GROUP_BY_NAME,
	LIMIT,
	LIMIT_CLEAR,
	LIMIT_NAME,
	ATTACH,
	DEVICE,
	ADOPT,
	CHARGE,
	UNCHARGE,
	TRANSFER,
	GIVE,
	EVICT,
	SHARE_CHARGE,
	SHARE_UNCHARGE,
	SHARE_TRANSFER,
	SHARE_NEW,
	SHARE_FREE,
	SHARE_JOIN,
	SHARE_LEAVE,
	SHARE_READ,
	SHARE_NEXT,
	STATE,
	UNSTALL,
	WAKE,
	OVER,
	N_BASES,
};

union argument {
	struct vram_ioc_info info;
	struct vram_ioc_table table;
	struct vram_ioc_wait wait;
	struct vram_ioc_pressure pressure;
	struct vram_ioc_trigger trigger;
	struct vram_ioc_usage usage;
	struct vram_ioc_group group;
	struct vram_ioc_limit limit;
	struct vram_ioc_attach attach;
	struct vram_ioc_device device;
	struct vram_ioc_adopt adopt;
	struct vram_ioc_charge charge;
	struct vram_ioc_share share;
	struct vram_ioc_state state;
	struct vram_ioc_wake wake;
	struct vram_ioc_over over;
};

/* What there is: sessions a (client, bare) and shares with and without members. */
static int fds[4];
static const uid_t uids[4] = { 0, 0, UID_A, UID_B };
static uint64_t client, bare, self; /* session ids */
static uint32_t share, lonely;	    /* with the client as member; with neither members nor bytes */
static char name[VRAM_NAME_MAX + 8];
static char no_zero[VRAM_NAME_MAX];
static struct vram_over over[4];

static unsigned long fill(enum base base, union argument *arg);

/* Values that are known only once the world is there. */
#define BARE_SESSION   0x7e57000000000001ull
#define CLIENT_SESSION 0x7e57000000000002ull
#define SELF_SESSION   0x7e57000000000003ull
#define SHARE	       0x7e57000000000004ull
#define LONELY_SHARE   0x7e57000000000005ull
#define BAD_POINTER    0x7e57000000000006ull
#define KERNEL_POINTER 0xffff888000001000ull
#define OTHER_DEVICE   0x7e57000000000007ull
#define NO_ZERO	       0x7e57000000000008ull
#define PIPE	       0x7e57000000000009ull
#define CLOSED	       0x7e5700000000000aull
#define BARE_FD	       0x7e5700000000000bull

static uint64_t meant(uint64_t value)
{
	int pipes[2];

	switch (value) {
	case BARE_SESSION:
		return bare;
	case CLIENT_SESSION:
		return client;
	case SELF_SESSION:
		return self;
	case SHARE:
		return share;
	case LONELY_SHARE:
		return lonely;
	case BAD_POINTER:
		return 0x10000 - 8; /* below mmap_min_addr */
	case OTHER_DEVICE:
		return w.dev[1];
	case NO_ZERO:
		return (uintptr_t)no_zero;
	case PIPE:
		ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
		return (uint64_t)pipes[0];
	case CLOSED:
		return 987;
	case BARE_FD:
		return (uint64_t)fds[BARE];
	default:
		return value;
	}
}

static void setup(void)
{
	world_setup();
	fds[ARBITER] = w.arb;
	fds[ADMIN] = device_open();
	fds[CLIENT] = client_new(UID_A, 16);
	fds[BARE] = open_as(UID_B);
	client = session_of(fds[CLIENT]);
	bare = session_of(fds[BARE]);
	self = session_of(w.arb);
	charge(w.arb, client, 64 * MIB);
	share = share_new(w.arb, w.dev[0]);
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, share, client));
	ck_ok(try_share_charge(w.arb, share, 32 * MIB));
	lonely = share_new(w.arb, w.dev[0]);
	ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_A, VRAM_LIMIT_HIGH, GIB));
	memset(no_zero, 'n', sizeof(no_zero));
	no_zero[0] = '/';
}

static void group_ref(struct vram_ref *ref)
{
	ref->kind = VRAM_KIND_SESSION;
	ref->key = client;
}

static unsigned long fill_charge(enum base base, struct vram_ioc_charge *c)
{
	static const uint32_t ops[] = { VRAM_CHARGE,   VRAM_UNCHARGE, VRAM_TRANSFER, VRAM_GIVE,
					VRAM_UNCHARGE, VRAM_CHARGE,   VRAM_UNCHARGE, VRAM_TRANSFER };

	c->op = ops[base - CHARGE];
	c->session = base < SHARE_CHARGE ? client : 0;
	c->share = base < SHARE_CHARGE ? VRAM_NO_SHARE : share;
	c->dev = w.dev[0];
	c->to = c->op == VRAM_TRANSFER ? VRAM_TIER_HOST : 0;
	c->bytes = MIB;
	if (base == GIVE)
		c->other = client;
	if (base == EVICT)
		c->flags = VRAM_CHARGE_EVICT;
	return VRAM_IOC_CHARGE;
}

static unsigned long fill_share(enum base base, struct vram_ioc_share *s)
{
	s->op = base - SHARE_NEW + VRAM_SHARE_NEW;
	if (base == SHARE_NEW)
		s->dev = w.dev[0];
	else if (base != SHARE_NEXT)
		s->share = base == SHARE_FREE || base == SHARE_JOIN ? lonely : share;
	if (base == SHARE_JOIN || base == SHARE_LEAVE)
		s->session = client;
	return VRAM_IOC_SHARE;
}

static unsigned long fill_group(enum base base, struct vram_ioc_group *g)
{
	static const uint32_t flags[] = { 0, VRAM_GROUP_NEXT, VRAM_GROUP_FIRST,
					  VRAM_GROUP_BY_NAME };

	g->flags = flags[base - GROUP];
	if (base == GROUP)
		group_ref(&g->group);
	g->name = (uintptr_t)name;
	g->name_size = VRAM_NAME_MAX;
	memset(name, 0, sizeof(name));
	if (base == GROUP_BY_NAME) {
		g->group.kind = VRAM_KIND_EXE;
		ck_assert_int_gt(readlink("/proc/self/exe", name, VRAM_NAME_MAX - 1), 0);
	}
	return VRAM_IOC_GROUP;
}

static unsigned long fill_limit(enum base base, struct vram_ioc_limit *l)
{
	l->dev = w.dev[0];
	l->limit = VRAM_LIMIT_HIGH;
	l->group.kind = VRAM_KIND_USER;
	l->group.key = UID_A;
	if (base == LIMIT_CLEAR)
		l->flags = VRAM_LIMIT_CLEAR;
	else
		l->value = 7 * MIB;
	if (base == LIMIT_NAME) {
		strcpy(name, "/usr/bin/some-engine");
		l->group.kind = VRAM_KIND_EXE;
		l->group.key = 0;
		l->name = (uintptr_t)name;
		l->name_bytes = (uint32_t)strlen(name) + 1;
	}
	return VRAM_IOC_LIMIT;
}

static unsigned long fill(enum base base, union argument *arg)
{
	memset(arg, 0, sizeof(*arg));
	switch (base) {
	case INFO:
		return VRAM_IOC_INFO;
	case TABLE:
		arg->table.n_slots = 8;
		return VRAM_IOC_TABLE;
	case WAIT:
		/* Another word than the slot's: it is back at once. */
		arg->wait.dev = w.dev[0];
		arg->wait.slot = 15;
		arg->wait.expected = 1;
		arg->wait.deadline_ns = FOREVER;
		return VRAM_IOC_WAIT;
	case PRESSURE_DEVICE:
		arg->pressure.flags = VRAM_PRESSURE_DEVICE;
		arg->pressure.dev = w.dev[0];
		return VRAM_IOC_PRESSURE;
	case PRESSURE_GROUP:
		group_ref(&arg->pressure.group);
		return VRAM_IOC_PRESSURE;
	case TRIGGER_DEVICE:
	case TRIGGER_GROUP:
		arg->trigger.threshold_us = 100000;
		arg->trigger.window_us = 1000000;
		if (base == TRIGGER_GROUP) {
			group_ref(&arg->trigger.group);
		} else {
			arg->trigger.flags = VRAM_PRESSURE_DEVICE;
			arg->trigger.dev = w.dev[0];
		}
		return VRAM_IOC_TRIGGER;
	case USAGE:
		arg->usage.dev = w.dev[0];
		group_ref(&arg->usage.group);
		return VRAM_IOC_USAGE;
	case GROUP ... GROUP_BY_NAME:
		return fill_group(base, &arg->group);
	case LIMIT ... LIMIT_NAME:
		return fill_limit(base, &arg->limit);
	case ATTACH:
		return VRAM_IOC_ATTACH;
	case DEVICE:
		memcpy(arg->device.capacity, world_capacity, sizeof(world_capacity));
		strcpy(arg->device.name, "test0");
		return VRAM_IOC_DEVICE;
	case ADOPT:
		arg->adopt.fd = fds[BARE];
		return VRAM_IOC_ADOPT;
	case CHARGE ... SHARE_TRANSFER:
		return fill_charge(base, &arg->charge);
	case SHARE_NEW ... SHARE_NEXT:
		return fill_share(base, &arg->share);
	case STATE:
	case UNSTALL:
		arg->state.op = base == STATE ? VRAM_SESSION_RUN : VRAM_SESSION_UNSTALL;
		arg->state.session = client;
		arg->state.dev = w.dev[0];
		return VRAM_IOC_STATE;
	case WAKE:
		arg->wake.session = client;
		return VRAM_IOC_WAKE;
	case OVER:
		arg->over.dev = w.dev[0];
		arg->over.n = 4;
		arg->over.array = (uintptr_t)over;
		return VRAM_IOC_OVER;
	default:
		ck_abort_msg("no such base");
	}
}

/* Who may make a call. ATTACH is valid for nobody while there is an arbiter. */
static enum who entitled(enum base base)
{
	if (base == ATTACH)
		return ADMIN;
	if (base == TABLE || base == WAIT || base == TRIGGER_GROUP || base == TRIGGER_DEVICE)
		return CLIENT;
	return ARBITER;
}

START_TEST(test_valid)
{
	union argument arg;
	unsigned long request = fill((enum base)_i, &arg);
	int fd = fds[entitled((enum base)_i)];

	if (_i == UNSTALL)
		ck_ok(try_state(w.arb, client, w.dev[0], VRAM_SESSION_STALL));
	ck_errno(try_ioctl(fd, request, &arg), (_i == ATTACH ? EBUSY : 0));
}
END_TEST

struct change {
	enum base base;
	enum who who;
	const char *what;
	size_t offset, size;
	uint64_t value;
	int want;
};

/* clang-format off */
#define AT(type, field) offsetof(struct vram_ioc_##type, field), sizeof(((struct vram_ioc_##type *)0)->field)
#define BAD(base, who, type, field, value, want) \
	{ base, who, #base " " #field "=" #value " by " #who, AT(type, field), value, want }
/* The same call, valid in itself, by somebody who may not. */
#define BY(base, who, want) { base, who, #base " by " #who, 0, 0, 0, want }

static const struct change changes[] = {
	/* TABLE */
	BAD(TABLE, CLIENT, table, flags, 1, EINVAL),
	BAD(TABLE, CLIENT, table, flags, 0x80000000, EINVAL),
	BAD(TABLE, CLIENT, table, n_slots, 0, EINVAL),
	BAD(TABLE, CLIENT, table, n_slots, VRAM_MAX_SLOTS + 1, EINVAL),
	BAD(TABLE, CLIENT, table, n_slots, 0xffffffff, EINVAL),
	BAD(TABLE, CLIENT, table, n_slots, 0x04000001, EINVAL), /* times 64 it is 64 in 32 bits */
	/* WAIT */
	BAD(WAIT, CLIENT, wait, flags, 2, EINVAL),
	BAD(WAIT, CLIENT, wait, flags, 0x80000001, EINVAL),
	BAD(WAIT, CLIENT, wait, dev, VRAM_MAX_DEVICES, ENOENT),
	BAD(WAIT, CLIENT, wait, dev, 0xffffffff, ENOENT),
	BAD(WAIT, CLIENT, wait, slot, 16, ENXIO),
	BAD(WAIT, CLIENT, wait, slot, 0xffffffff, ENXIO),
	BAD(WAIT, CLIENT, wait, slot, 0x04000000, ENXIO),
	BY(WAIT, BARE, ENXIO),
	BY(WAIT, ARBITER, EPERM),
	/* PRESSURE */
	BAD(PRESSURE_GROUP, CLIENT, pressure, flags, 4, EINVAL),
	BAD(PRESSURE_GROUP, CLIENT, pressure, flags, VRAM_PRESSURE_FULL, EINVAL),
	BAD(PRESSURE_GROUP, CLIENT, pressure, flags, VRAM_PRESSURE_DEVICE, EINVAL), /* and a group */
	BAD(PRESSURE_GROUP, CLIENT, pressure, dev, 1, EINVAL),
	BAD(PRESSURE_GROUP, CLIENT, pressure, group.kind, 5, EINVAL),
	BAD(PRESSURE_GROUP, CLIENT, pressure, group.kind, 0xffffffff, EINVAL),
	BAD(PRESSURE_GROUP, CLIENT, pressure, group.pad, 1, EINVAL),
	BAD(PRESSURE_GROUP, CLIENT, pressure, group.key, BARE_SESSION, EPERM),
	BAD(PRESSURE_GROUP, CLIENT, pressure, group.key, 1ull << 60, EPERM), /* not even whether it exists */
	BAD(PRESSURE_GROUP, ADMIN, pressure, group.key, 1ull << 60, ENOENT),
	BAD(PRESSURE_GROUP, ADMIN, pressure, group.key, 0, ENOENT),
	BAD(PRESSURE_GROUP, ARBITER, pressure, group.key, 1ull << 60, ENOENT),
	BAD(PRESSURE_DEVICE, CLIENT, pressure, dev, VRAM_MAX_DEVICES, ENOENT),
	BAD(PRESSURE_DEVICE, CLIENT, pressure, dev, 0xffffffff, ENOENT),
	BAD(PRESSURE_DEVICE, CLIENT, pressure, group.kind, 1, EINVAL),
	BAD(PRESSURE_DEVICE, CLIENT, pressure, group.key, 1, EINVAL),
	BAD(PRESSURE_DEVICE, CLIENT, pressure, group.pad, 1, EINVAL),
	/* TRIGGER */
	BAD(TRIGGER_GROUP, CLIENT, trigger, flags, 4, EINVAL),
	BAD(TRIGGER_GROUP, CLIENT, trigger, dev, 1, EINVAL),
	BAD(TRIGGER_GROUP, CLIENT, trigger, group.kind, 5, EINVAL),
	BAD(TRIGGER_GROUP, CLIENT, trigger, group.pad, 1, EINVAL),
	BAD(TRIGGER_GROUP, CLIENT, trigger, group.key, BARE_SESSION, EPERM),
	BAD(TRIGGER_GROUP, CLIENT, trigger, threshold_us, 0, EINVAL),
	BAD(TRIGGER_GROUP, CLIENT, trigger, threshold_us, 1000001, EINVAL),
	BAD(TRIGGER_GROUP, CLIENT, trigger, threshold_us, ~0ull, EINVAL),
	BAD(TRIGGER_GROUP, CLIENT, trigger, window_us, 0, EINVAL),
	BAD(TRIGGER_GROUP, CLIENT, trigger, window_us, 499999, EINVAL),
	BAD(TRIGGER_GROUP, CLIENT, trigger, window_us, 10000001, EINVAL),
	BAD(TRIGGER_GROUP, CLIENT, trigger, window_us, ~0ull, EINVAL),
	BAD(TRIGGER_GROUP, CLIENT, trigger, window_us, (1ull << 32) + 1000000, EINVAL),
	BAD(TRIGGER_GROUP, ADMIN, trigger, group.key, 1ull << 60, ENOENT),
	BAD(TRIGGER_DEVICE, CLIENT, trigger, dev, VRAM_MAX_DEVICES, ENOENT),
	BAD(TRIGGER_DEVICE, CLIENT, trigger, group.key, 1, EINVAL),
	BAD(TRIGGER_DEVICE, CLIENT, trigger, group.kind, 1, EINVAL),
	/* USAGE */
	BAD(USAGE, CLIENT, usage, flags, 1, EINVAL),
	BAD(USAGE, CLIENT, usage, dev, VRAM_MAX_DEVICES, ENOENT),
	BAD(USAGE, CLIENT, usage, dev, 0xffffffff, ENOENT),
	BAD(USAGE, CLIENT, usage, tier, VRAM_N_TIERS, EINVAL),
	BAD(USAGE, CLIENT, usage, tier, 0xffffffff, EINVAL),
	BAD(USAGE, CLIENT, usage, group.kind, 5, EINVAL),
	BAD(USAGE, CLIENT, usage, group.pad, 1, EINVAL),
	BAD(USAGE, CLIENT, usage, group.key, BARE_SESSION, EPERM),
	BAD(USAGE, CLIENT, usage, group.key, 1ull << 60, EPERM),
	BAD(USAGE, ADMIN, usage, group.key, 1ull << 60, ENOENT),
	BY(USAGE, BARE, EPERM),
	/* GROUP */
	BAD(GROUP, ADMIN, group, flags, 8, EINVAL),
	BAD(GROUP, ADMIN, group, flags, VRAM_GROUP_FIRST, EINVAL), /* not from a group */
	BAD(GROUP, ADMIN, group, flags, VRAM_GROUP_NEXT | VRAM_GROUP_BY_NAME, EINVAL),
	BAD(GROUP_NEXT, ADMIN, group, flags, VRAM_GROUP_NEXT | VRAM_GROUP_FIRST, EINVAL),
	BAD(GROUP, ADMIN, group, group.kind, 5, EINVAL),
	BAD(GROUP, ADMIN, group, group.pad, 1, EINVAL),
	BAD(GROUP, ADMIN, group, group.key, 1ull << 60, ENOENT),
	BAD(GROUP_BY_NAME, ADMIN, group, group.kind, VRAM_KIND_USER, EINVAL),
	BAD(GROUP_BY_NAME, ADMIN, group, group.kind, VRAM_KIND_SESSION, EINVAL),
	BAD(GROUP_BY_NAME, ADMIN, group, group.kind, VRAM_KIND_ROOT, EINVAL),
	BAD(GROUP_BY_NAME, ADMIN, group, group.kind, VRAM_KIND_CGROUP, ENOENT),
	BAD(GROUP_BY_NAME, ADMIN, group, group.key, 1, EINVAL),
	BAD(GROUP_BY_NAME, ADMIN, group, name, 0, EINVAL), /* of some size */
	BAD(GROUP_BY_NAME, ADMIN, group, name, BAD_POINTER, EFAULT),
	BAD(GROUP_BY_NAME, ADMIN, group, name, KERNEL_POINTER, EFAULT),
	BAD(GROUP_BY_NAME, ADMIN, group, name, NO_ZERO, EINVAL),
	BAD(GROUP_NEXT, ADMIN, group, group.kind, 5, EINVAL),
	BAD(GROUP_NEXT, ADMIN, group, group.key, 1, EINVAL), /* there is one root */
	BAD(GROUP_FIRST, ADMIN, group, group.key, 1, EINVAL),
	BY(GROUP, CLIENT, EPERM),
	BY(GROUP_NEXT, CLIENT, EPERM),
	BY(GROUP_BY_NAME, BARE, EPERM),
	/* LIMIT */
	BAD(LIMIT, ADMIN, limit, flags, 4, EINVAL),
	BAD(LIMIT, ADMIN, limit, flags, VRAM_LIMIT_CLEAR, EINVAL), /* with a value */
	BAD(LIMIT_CLEAR, ADMIN, limit, flags, VRAM_LIMIT_CLEAR | VRAM_LIMIT_INHERITED, EINVAL),
	BAD(LIMIT, ADMIN, limit, dev, VRAM_MAX_DEVICES, ENOENT),
	BAD(LIMIT, ADMIN, limit, tier, VRAM_N_TIERS, EINVAL),
	BAD(LIMIT, ADMIN, limit, limit, VRAM_N_LIMITS, EINVAL),
	BAD(LIMIT, ADMIN, limit, limit, 0xffffffff, EINVAL),
	BAD(LIMIT, ADMIN, limit, limit, VRAM_LIMIT_WEIGHT, ERANGE), /* 7 MiB is no weight */
	BAD(LIMIT, ADMIN, limit, group.kind, VRAM_KIND_ROOT, EINVAL),
	BAD(LIMIT, ADMIN, limit, group.kind, 5, EINVAL),
	BAD(LIMIT, ADMIN, limit, group.pad, 1, EINVAL),
	BAD(LIMIT, ADMIN, limit, group.kind, VRAM_KIND_SESSION, ENOENT),
	BAD(LIMIT, ADMIN, limit, group.kind, VRAM_KIND_CGROUP, ENOENT),
	BAD(LIMIT, ADMIN, limit, group.kind, VRAM_KIND_EXE, ENOENT),
	BAD(LIMIT, ADMIN, limit, group.key, 1ull << 32, EINVAL), /* no uid */
	BAD(LIMIT, ADMIN, limit, group.key, 0xffffffff, EINVAL), /* nobody's */
	BAD(LIMIT, ADMIN, limit, pad, 1, EINVAL),
	BAD(LIMIT, ADMIN, limit, name_bytes, 1, EINVAL),
	BAD(LIMIT, ADMIN, limit, value, 1ull << 63, EINVAL),
	BAD(LIMIT, ADMIN, limit, value, VRAM_CAPACITY_SHARED, EINVAL),
	BAD(LIMIT_CLEAR, ADMIN, limit, value, 1, EINVAL),
	BAD(LIMIT_CLEAR, ADMIN, limit, limit, VRAM_N_LIMITS, EINVAL),
	BAD(LIMIT_NAME, ADMIN, limit, group.key, 1, EINVAL),
	BAD(LIMIT_NAME, ADMIN, limit, group.kind, VRAM_KIND_USER, EINVAL),
	BAD(LIMIT_NAME, ADMIN, limit, group.kind, VRAM_KIND_SESSION, EINVAL),
	BAD(LIMIT_NAME, ADMIN, limit, name, BAD_POINTER, EFAULT),
	BAD(LIMIT_NAME, ADMIN, limit, name, KERNEL_POINTER, EFAULT),
	BAD(LIMIT_NAME, ADMIN, limit, name, 0, EINVAL),
	BAD(LIMIT_NAME, ADMIN, limit, name, NO_ZERO, EINVAL),
	BAD(LIMIT_NAME, ADMIN, limit, name_bytes, 0, EINVAL),
	BAD(LIMIT_NAME, ADMIN, limit, name_bytes, 1, EINVAL),
	BAD(LIMIT_NAME, ADMIN, limit, name_bytes, 20, EINVAL), /* the zero is the next */
	BAD(LIMIT_NAME, ADMIN, limit, name_bytes, 22, EINVAL), /* and there is one within */
	BAD(LIMIT_NAME, ADMIN, limit, name_bytes, VRAM_NAME_MAX + 1, EINVAL),
	BAD(LIMIT_NAME, ADMIN, limit, name_bytes, 0xffffffff, EINVAL),
	BY(LIMIT, CLIENT, EPERM),
	BY(LIMIT_CLEAR, CLIENT, EPERM),
	BY(LIMIT_NAME, BARE, EPERM),
	/* ATTACH */
	BAD(ATTACH, ADMIN, attach, flags, 1, EINVAL),
	BAD(ATTACH, ADMIN, attach, grace_ms, 600001, EINVAL),
	BAD(ATTACH, ADMIN, attach, grace_ms, 0xffffffff, EINVAL),
	BY(ATTACH, ADMIN, EBUSY),
	BY(ATTACH, ARBITER, EBUSY),
	/* DEVICE */
	BAD(DEVICE, ARBITER, device, flags, 1, EINVAL),
	BAD(DEVICE, ARBITER, device, capacity[0], 1ull << 63, EINVAL),
	BAD(DEVICE, ARBITER, device, capacity[2], ~0ull - 2, EINVAL),
	BAD(DEVICE, ARBITER, device, name[0], 0, EINVAL),
	BAD(DEVICE, ARBITER, device, name[6], 'x', EINVAL), /* behind the zero */
	BAD(DEVICE, ARBITER, device, name[31], 'x', EINVAL),
	BY(DEVICE, ADMIN, EPERM),
	BY(DEVICE, CLIENT, EPERM),
	/* ADOPT */
	BAD(ADOPT, ARBITER, adopt, flags, 2, EINVAL),
	BAD(ADOPT, ARBITER, adopt, pad, 1, EINVAL),
	BAD(ADOPT, ARBITER, adopt, fd, 0xffffffff, EBADF),
	BAD(ADOPT, ARBITER, adopt, fd, 0x7fffffff, EBADF),
	BAD(ADOPT, ARBITER, adopt, fd, CLOSED, EBADF),
	BAD(ADOPT, ARBITER, adopt, fd, PIPE, EBADF),
	BY(ADOPT, ADMIN, EPERM),
	BY(ADOPT, CLIENT, EPERM),
	/* CHARGE: every op, flags that are not the op's, fields that are not the op's */
	BAD(CHARGE, ARBITER, charge, flags, 4, EINVAL),
	BAD(CHARGE, ARBITER, charge, flags, VRAM_CHARGE_EVICT, EINVAL),
	BAD(CHARGE, ARBITER, charge, op, 4, EINVAL),
	BAD(CHARGE, ARBITER, charge, op, 0xffffffff, EINVAL),
	BAD(CHARGE, ARBITER, charge, session, 0, EINVAL),
	BAD(CHARGE, ARBITER, charge, session, 1ull << 60, ENOENT),
	BAD(CHARGE, ARBITER, charge, session, BARE_SESSION, ENOENT),
	BAD(CHARGE, ARBITER, charge, session, SELF_SESSION, ENOENT),
	BAD(CHARGE, ARBITER, charge, other, CLIENT_SESSION, EINVAL),
	BAD(CHARGE, ARBITER, charge, share, 12345678, ENOENT),
	BAD(CHARGE, ARBITER, charge, dev, VRAM_MAX_DEVICES, ENOENT),
	BAD(CHARGE, ARBITER, charge, dev, 0xffffffff, ENOENT),
	BAD(CHARGE, ARBITER, charge, from, 1, EINVAL),
	BAD(CHARGE, ARBITER, charge, to, VRAM_N_TIERS, EINVAL),
	BAD(CHARGE, ARBITER, charge, to, 0xffffffff, EINVAL),
	BAD(CHARGE, ARBITER, charge, bytes, 1ull << 63, EINVAL),
	BAD(CHARGE, ARBITER, charge, bytes, ~0ull, EINVAL),
	BAD(CHARGE, ARBITER, charge, pad, 1, EINVAL),
	BAD(UNCHARGE, ARBITER, charge, flags, VRAM_CHARGE_RESTORE, EINVAL),
	BAD(UNCHARGE, ARBITER, charge, other, CLIENT_SESSION, EINVAL), /* without EVICT */
	BAD(UNCHARGE, ARBITER, charge, from, VRAM_N_TIERS, EINVAL),
	BAD(UNCHARGE, ARBITER, charge, from, VRAM_TIER_HOST, EINVAL), /* it has none there */
	BAD(UNCHARGE, ARBITER, charge, to, 1, EINVAL),
	BAD(UNCHARGE, ARBITER, charge, bytes, 64 * MIB + 1, EINVAL),
	BAD(UNCHARGE, ARBITER, charge, bytes, 96 * MIB, EINVAL), /* the share's are not its own */
	BAD(UNCHARGE, ARBITER, charge, bytes, 1ull << 63, EINVAL),
	BAD(UNCHARGE, ARBITER, charge, bytes, ~0ull, EINVAL),
	BAD(UNCHARGE, ARBITER, charge, session, BARE_SESSION, ENOENT),
	BAD(TRANSFER, ARBITER, charge, flags, VRAM_CHARGE_EVICT | VRAM_CHARGE_RESTORE, EINVAL),
	BAD(TRANSFER, ARBITER, charge, from, VRAM_N_TIERS, EINVAL),
	BAD(TRANSFER, ARBITER, charge, to, VRAM_N_TIERS, EINVAL),
	BAD(TRANSFER, ARBITER, charge, bytes, 64 * MIB + 1, EINVAL),
	BAD(TRANSFER, ARBITER, charge, bytes, ~0ull, EINVAL),
	BAD(TRANSFER, ARBITER, charge, other, CLIENT_SESSION, EINVAL),
	BAD(GIVE, ARBITER, charge, flags, VRAM_CHARGE_EVICT, EINVAL),
	BAD(GIVE, ARBITER, charge, flags, VRAM_CHARGE_RESTORE, EINVAL),
	BAD(GIVE, ARBITER, charge, other, 0, EINVAL),
	BAD(GIVE, ARBITER, charge, other, 1ull << 60, ENOENT),
	BAD(GIVE, ARBITER, charge, other, BARE_SESSION, ENOENT),
	BAD(GIVE, ARBITER, charge, share, SHARE, EINVAL),
	BAD(GIVE, ARBITER, charge, to, 1, EINVAL),
	BAD(GIVE, ARBITER, charge, bytes, 64 * MIB + 1, EINVAL),
	BAD(GIVE, ARBITER, charge, session, 1ull << 60, ENOENT),
	BAD(SHARE_CHARGE, ARBITER, charge, dev, OTHER_DEVICE, EINVAL),
	BAD(SHARE_CHARGE, ARBITER, charge, dev, VRAM_MAX_DEVICES, EINVAL),
	BAD(SHARE_CHARGE, ARBITER, charge, share, 0xfffffffe, ENOENT),
	BAD(SHARE_CHARGE, ARBITER, charge, session, 1ull << 60, ENOENT),
	BAD(SHARE_CHARGE, ARBITER, charge, bytes, 1ull << 63, EINVAL),
	BAD(SHARE_CHARGE, ARBITER, charge, to, VRAM_N_TIERS, EINVAL),
	BAD(SHARE_UNCHARGE, ARBITER, charge, share, LONELY_SHARE, EINVAL), /* has no bytes */
	BAD(SHARE_UNCHARGE, ARBITER, charge, bytes, 32 * MIB + 1, EINVAL),
	BAD(SHARE_UNCHARGE, ARBITER, charge, bytes, ~0ull, EINVAL),
	BAD(SHARE_UNCHARGE, ARBITER, charge, dev, OTHER_DEVICE, EINVAL),
	BAD(SHARE_TRANSFER, ARBITER, charge, bytes, 32 * MIB + 1, EINVAL),
	BAD(SHARE_TRANSFER, ARBITER, charge, dev, OTHER_DEVICE, EINVAL),
	BY(CHARGE, ADMIN, EPERM),
	BY(CHARGE, CLIENT, EPERM),
	BY(UNCHARGE, CLIENT, EPERM),
	BY(SHARE_CHARGE, CLIENT, EPERM),
	BAD(CHARGE, CLIENT, charge, flags, 4, EINVAL), /* sooner than EPERM */
	BAD(CHARGE, CLIENT, charge, session, 1ull << 60, EPERM), /* sooner than ENOENT */
	/* SHARE */
	BAD(SHARE_NEW, ARBITER, share, flags, VRAM_SHARE_FORCE, EINVAL),
	BAD(SHARE_NEW, ARBITER, share, op, 6, EINVAL),
	BAD(SHARE_NEW, ARBITER, share, op, 0xffffffff, EINVAL),
	BAD(SHARE_NEW, ARBITER, share, share, 1, EINVAL),
	BAD(SHARE_NEW, ARBITER, share, session, CLIENT_SESSION, EINVAL),
	BAD(SHARE_NEW, ARBITER, share, dev, VRAM_MAX_DEVICES, ENOENT),
	BAD(SHARE_NEW, ARBITER, share, dev, 0xffffffff, ENOENT),
	BAD(SHARE_FREE, ARBITER, share, share, SHARE, EBUSY),
	BAD(SHARE_FREE, ARBITER, share, share, 0xfffffffe, ENOENT),
	BAD(SHARE_FREE, ARBITER, share, share, VRAM_NO_SHARE, ENOENT),
	BAD(SHARE_FREE, ARBITER, share, dev, 1, EINVAL),
	BAD(SHARE_JOIN, ARBITER, share, flags, 2, EINVAL),
	BAD(SHARE_JOIN, ARBITER, share, share, SHARE, EEXIST),
	BAD(SHARE_JOIN, ARBITER, share, share, 0xfffffffe, ENOENT),
	BAD(SHARE_JOIN, ARBITER, share, session, BARE_SESSION, ENOENT),
	BAD(SHARE_JOIN, ARBITER, share, session, 0, ENOENT),
	BAD(SHARE_JOIN, ARBITER, share, dev, 1, EINVAL),
	BAD(SHARE_LEAVE, ARBITER, share, flags, VRAM_SHARE_FORCE, EINVAL),
	BAD(SHARE_LEAVE, ARBITER, share, share, LONELY_SHARE, ENOENT),
	BAD(SHARE_LEAVE, ARBITER, share, session, BARE_SESSION, ENOENT),
	BAD(SHARE_READ, ARBITER, share, share, 0xfffffffe, ENOENT),
	BAD(SHARE_READ, ARBITER, share, session, CLIENT_SESSION, EINVAL),
	BAD(SHARE_NEXT, ARBITER, share, share, 0xfffffffe, ENOENT),
	BAD(SHARE_NEXT, ARBITER, share, flags, VRAM_SHARE_FORCE, EINVAL),
	BY(SHARE_NEW, ADMIN, EPERM),
	BY(SHARE_JOIN, CLIENT, EPERM),
	BY(SHARE_READ, ADMIN, EPERM),
	/* STATE, WAKE, OVER */
	BAD(STATE, ARBITER, state, flags, 1, EINVAL),
	BAD(STATE, ARBITER, state, op, 5, EINVAL),
	BAD(STATE, ARBITER, state, pad, 1, EINVAL),
	BAD(STATE, ARBITER, state, session, 1ull << 60, ENOENT),
	BAD(STATE, ARBITER, state, session, BARE_SESSION, ENOENT),
	BAD(STATE, ARBITER, state, dev, VRAM_MAX_DEVICES, ENOENT),
	BY(UNSTALL, ARBITER, EINVAL), /* it is not stalled */
	BY(STATE, ADMIN, EPERM),
	BY(STATE, CLIENT, EPERM),
	BAD(WAKE, ARBITER, wake, flags, 1, EINVAL),
	BAD(WAKE, ARBITER, wake, session, 1ull << 60, ENOENT),
	BAD(WAKE, ARBITER, wake, session, BARE_SESSION, ENOENT),
	BY(WAKE, ADMIN, EPERM),
	BY(WAKE, CLIENT, EPERM),
	BAD(OVER, ARBITER, over, flags, 1, EINVAL),
	BAD(OVER, ARBITER, over, dev, VRAM_MAX_DEVICES, ENOENT),
	BAD(OVER, ARBITER, over, tier, VRAM_N_TIERS, EINVAL),
	BAD(OVER, ARBITER, over, n, VRAM_MAX_OVER + 1, EINVAL),
	BAD(OVER, ARBITER, over, n, 0xffffffff, EINVAL),
	BY(OVER, ADMIN, EPERM),
	BY(OVER, CLIENT, EPERM),
};
/* clang-format on */

START_TEST(test_refused)
{
	const struct change *c = &changes[_i];
	union argument arg, before;
	unsigned long request = fill(c->base, &arg);
	uint64_t value = meant(c->value);
	char *was;
	int ret;

	ck_assert_uint_le(c->offset + c->size, _IOC_SIZE(request));
	/* A change that changes nothing would be no test. */
	memcpy(&before, &arg, sizeof(arg));
	memcpy((char *)&arg + c->offset, &value, c->size);
	ck_assert_msg(!c->size || memcmp(&before, &arg, sizeof(arg)), "%s is no change", c->what);
	memcpy(&before, &arg, sizeof(arg));

	was = snapshot(w.arb);
	as_user(uids[c->who]);
	ret = try_ioctl(fds[c->who], request, &arg);
	as_user(0);
	ck_assert_msg(ret == -c->want, "%s: %s, not %s", c->what, strerror(-ret),
		      strerror(c->want));
	ck_assert_msg(!memcmp(&before, &arg, sizeof(arg)), "%s has written", c->what);
	snapshot_same(w.arb, was, c->what);
	free(was);
	ck_assert_uint_eq(info_of(fds[CLIENT]).n_slots, 16);
	ck_assert_uint_eq(info_of(fds[BARE]).n_slots, 0);
	ck_assert_uint_eq(info_of(fds[BARE]).flags, 0);
}
END_TEST

/* Whoever asks for what needs the arbiter's descriptor or a capability gets EPERM, whatever ids he names. */
START_TEST(test_not_entitled)
{
	static const enum who outsiders[] = { CLIENT, BARE };
	enum base base = (enum base)_i;
	union argument arg, before;
	unsigned long request = fill(base, &arg);
	char *was = snapshot(w.arb);
	size_t k;

	memcpy(&before, &arg, sizeof(arg));
	for (k = 0; k < 2; k++) {
		int ret;

		as_user(uids[outsiders[k]]);
		ret = try_ioctl(fds[outsiders[k]], request, &arg);
		as_user(0);
		ck_errno(ret, EPERM);
		ck_assert_int_eq(memcmp(&before, &arg, sizeof(arg)), 0);
	}
	if (base >= DEVICE)
		ck_errno(try_ioctl(fds[ADMIN], request, &arg), EPERM);
	snapshot_same(w.arb, was, "somebody who may not");
	free(was);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("abi_refused");
	TCase *tc = tcase_create("refused");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, world_teardown);
	tcase_add_loop_test(tc, test_valid, 0, N_BASES);
	tcase_add_loop_test(tc, test_refused, 0, (int)(sizeof(changes) / sizeof(*changes)));
	tcase_add_loop_test(tc, test_not_entitled, GROUP, N_BASES);
	suite_add_tcase(suite, tc);
	return device_main(suite);
}
