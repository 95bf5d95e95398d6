// SPDX-License-Identifier: GPL-2.0-only
#include "tests/kmod/device.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/passing.h"
#include "tests/support/skip.h"

struct world w;
const uint64_t world_capacity[VRAM_N_TIERS] = { 24 * GIB, 64 * GIB, 1024 * GIB };

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

void sleep_ms(unsigned int ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL);
}

int try_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

int try_open(int flags)
{
	int fd = open(DEVICE_PATH, flags | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int device_open(void)
{
	int fd = try_open(O_RDWR);

	ck_assert_msg(fd >= 0, "%s: %s", DEVICE_PATH, strerror(-fd));
	return fd;
}

/* The node's group may open it; which one that is, the udev rule says. */
void become(uid_t uid)
{
	struct stat st;

	if (stat(DEVICE_PATH, &st) || !(st.st_mode & 0060) || setgroups(1, &st.st_gid) ||
	    setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
		_exit(100);
	/* A change of user takes the right away to be looked at in /proc. */
	prctl(PR_SET_DUMPABLE, 1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

int open_as(uid_t uid)
{
	int pair[2], fd, status;
	pid_t pid;

	ck_assert_int_eq(passing_pair(pair), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		become(uid);
		fd = try_open(O_RDWR);
		_exit(fd < 0 ? -fd : passing_send(pair[1], fd));
	}
	close(pair[1]);
	fd = passing_receive(pair[0]);
	close(pair[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "open as %d: status %#x", (int)uid, status);
	ck_assert_int_ge(fd, 0);
	return fd;
}

void as_user(uid_t uid)
{
	ck_assert_int_eq(seteuid(uid), 0);
}

struct vram_ioc_info info_of(int fd)
{
	struct vram_ioc_info info;

	memset(&info, 0xa5, sizeof(info));
	ck_ok(try_ioctl(fd, VRAM_IOC_INFO, &info));
	return info;
}

uint64_t session_of(int fd)
{
	return info_of(fd).session;
}

int try_attach(int fd, uint32_t grace_ms)
{
	struct vram_ioc_attach a = { .grace_ms = grace_ms };

	return try_ioctl(fd, VRAM_IOC_ATTACH, &a);
}

uint64_t attach(int fd, uint32_t grace_ms)
{
	struct vram_ioc_attach a = { .grace_ms = grace_ms };

	ck_ok(try_ioctl(fd, VRAM_IOC_ATTACH, &a));
	return a.generation;
}

int arbiter_new(uint32_t grace_ms)
{
	int fd = try_open(O_RDWR | O_NONBLOCK), ret;
	uint64_t until = now_ns() + 20 * SECOND;

	ck_assert_msg(fd >= 0, "%s: %s", DEVICE_PATH, strerror(-fd));
	while ((ret = try_attach(fd, grace_ms)) == -EBUSY && now_ns() < until)
		sleep_ms(5);
	ck_assert_msg(ret == 0, "attach: %s", strerror(-ret));
	return fd;
}

uint32_t device_add(int arb, const char *name, const uint64_t capacity[VRAM_N_TIERS])
{
	struct vram_ioc_device d = { .dev = 0 };

	memcpy(d.capacity, capacity, sizeof(d.capacity));
	strncpy(d.name, name, sizeof(d.name) - 1);
	ck_ok(try_ioctl(arb, VRAM_IOC_DEVICE, &d));
	return d.dev;
}

int try_adopt(int arb, int fd, uint32_t flags, struct vram_ioc_adopt *out)
{
	memset(out, 0, sizeof(*out));
	out->flags = flags;
	out->fd = fd;
	return try_ioctl(arb, VRAM_IOC_ADOPT, out);
}

struct vram_ioc_adopt adopt(int arb, int fd, uint32_t flags)
{
	struct vram_ioc_adopt a;

	ck_ok(try_adopt(arb, fd, flags, &a));
	return a;
}

void table_make(int fd, uint32_t n_slots)
{
	struct vram_ioc_table t = { .n_slots = n_slots };

	ck_ok(try_ioctl(fd, VRAM_IOC_TABLE, &t));
}

void *table_map(int fd, uint32_t n_slots, uint64_t offset)
{
	void *p = mmap(NULL, (size_t)n_slots * VRAM_SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		       fd, (off_t)offset);

	ck_assert_msg(p != MAP_FAILED, "mmap: %s", strerror(errno));
	return p;
}

int client_new(uid_t uid, uint32_t n_slots)
{
	int fd = open_as(uid);

	table_make(fd, n_slots);
	adopt(w.arb, fd, 0);
	return fd;
}

static int charge_op(int arb, uint32_t op, uint64_t session, uint32_t share, uint64_t bytes)
{
	struct vram_ioc_charge c = {
		.op = op,
		.session = session,
		.share = share,
		.dev = w.dev[0],
		.bytes = bytes,
	};

	return try_ioctl(arb, VRAM_IOC_CHARGE, &c);
}

int try_charge(int arb, uint64_t session, uint64_t bytes)
{
	return charge_op(arb, VRAM_CHARGE, session, VRAM_NO_SHARE, bytes);
}

int try_uncharge(int arb, uint64_t session, uint64_t bytes)
{
	return charge_op(arb, VRAM_UNCHARGE, session, VRAM_NO_SHARE, bytes);
}

void charge(int arb, uint64_t session, uint64_t bytes)
{
	ck_ok(try_charge(arb, session, bytes));
}

uint32_t share_new(int arb, uint32_t dev)
{
	struct vram_ioc_share s = { .op = VRAM_SHARE_NEW, .dev = dev };

	ck_ok(try_ioctl(arb, VRAM_IOC_SHARE, &s));
	return s.share;
}

int try_share(int arb, uint32_t op, uint32_t share, uint64_t session)
{
	struct vram_ioc_share s = { .op = op, .share = share, .session = session };

	return try_ioctl(arb, VRAM_IOC_SHARE, &s);
}

int try_share_charge(int arb, uint32_t share, uint64_t bytes)
{
	return charge_op(arb, VRAM_CHARGE, 0, share, bytes);
}

int try_limit(int fd, uint32_t kind, uint64_t key, uint32_t limit, uint64_t value)
{
	struct vram_ioc_limit l = {
		.dev = w.dev[0],
		.limit = limit,
		.group = { .kind = kind, .key = key },
		.value = value,
	};

	return try_ioctl(fd, VRAM_IOC_LIMIT, &l);
}

int try_wake(int arb, uint64_t session, uint32_t slot)
{
	struct vram_ioc_wake wake = { .slot = slot, .session = session };

	return try_ioctl(arb, VRAM_IOC_WAKE, &wake);
}

int try_state(int arb, uint64_t session, uint32_t dev, uint32_t op)
{
	struct vram_ioc_state s = { .op = op, .session = session, .dev = dev };

	return try_ioctl(arb, VRAM_IOC_STATE, &s);
}

int try_usage(int fd, uint32_t kind, uint64_t key, uint32_t dev, uint32_t tier,
	      struct vram_ioc_usage *out)
{
	memset(out, 0, sizeof(*out));
	out->dev = dev;
	out->tier = tier;
	out->group.kind = kind;
	out->group.key = key;
	return try_ioctl(fd, VRAM_IOC_USAGE, out);
}

uint64_t used(int fd, uint32_t kind, uint64_t key)
{
	struct vram_ioc_usage u;

	ck_ok(try_usage(fd, kind, key, w.dev[0], VRAM_TIER_VRAM, &u));
	return u.usage;
}

int try_pressure(int fd, uint32_t flags, uint32_t dev, uint32_t kind, uint64_t key,
		 struct vram_ioc_pressure *out)
{
	memset(out, 0, sizeof(*out));
	out->flags = flags;
	out->dev = dev;
	out->group.kind = kind;
	out->group.key = key;
	return try_ioctl(fd, VRAM_IOC_PRESSURE, out);
}

int try_group(int fd, uint32_t kind, uint64_t key, struct vram_ioc_group *out)
{
	memset(out, 0, sizeof(*out));
	out->group.kind = kind;
	out->group.key = key;
	return try_ioctl(fd, VRAM_IOC_GROUP, out);
}

uint64_t group_key(int fd, uint32_t kind, const char *path)
{
	struct vram_ioc_group g = { .flags = VRAM_GROUP_BY_NAME, .group = { .kind = kind } };
	char name[VRAM_NAME_MAX];
	int ret;

	memset(name, 0, sizeof(name));
	strncpy(name, path, sizeof(name) - 1);
	g.name = (uintptr_t)name;
	g.name_size = sizeof(name);
	ret = try_ioctl(fd, VRAM_IOC_GROUP, &g);
	ck_assert_msg(ret == 0 || ret == -ENOENT, "group %s: %s", path, strerror(-ret));
	return ret ? 0 : g.group.key;
}

/* ---- events ----------------------------------------------------------------- */

int try_event(int arb, struct vram_arbiter_event *out)
{
	ssize_t n = read(arb, out, sizeof(*out));

	if (n < 0)
		return -errno;
	ck_assert_int_eq(n, sizeof(*out));
	ck_assert_uint_eq(out->pad, 0);
	return 0;
}

int event_within(int arb, int timeout_ms, struct vram_arbiter_event *out)
{
	struct pollfd p = { .fd = arb, .events = POLLIN };

	if (poll(&p, 1, timeout_ms) <= 0)
		return -EAGAIN;
	return try_event(arb, out);
}

/* Those that were read on the way to another. */
static struct vram_arbiter_event put_by[64];
static unsigned int n_put_by;

struct vram_arbiter_event event_gone(int arb, uint64_t session)
{
	struct vram_arbiter_event e, found = { 0 };
	uint64_t until = now_ns() + 20 * SECOND;
	unsigned int i;

	for (i = 0; i < n_put_by && !found.session; i++)
		if (put_by[i].type == VRAM_ARBITER_EVENT_GONE && put_by[i].session == session) {
			found = put_by[i];
			put_by[i] = put_by[--n_put_by];
		}
	while (!found.session || !event_within(arb, 30, &e)) {
		if (!found.session) {
			ck_assert_msg(now_ns() < until, "no event of the end of session %" PRIu64,
				      session);
			if (event_within(arb, 100, &e))
				continue;
		}
		if (e.type == VRAM_ARBITER_EVENT_GONE && e.session == session) {
			ck_assert_msg(!found.session, "session %" PRIu64 " ended twice", session);
			found = e;
			continue;
		}
		ck_assert_uint_lt(n_put_by, 64);
		put_by[n_put_by++] = e;
	}
	return found;
}

/* ---- the ledger as text ----------------------------------------------------- */

struct text {
	char *buf;
	size_t n, size;
};

__attribute__((format(printf, 2, 3))) static void text_add(struct text *t, const char *format, ...)
{
	va_list ap;

	if (t->size - t->n < 2 * VRAM_NAME_MAX) {
		t->size = t->size * 2 + 4 * VRAM_NAME_MAX;
		t->buf = realloc(t->buf, t->size);
		ck_assert_ptr_nonnull(t->buf);
	}
	va_start(ap, format);
	t->n += (size_t)vsnprintf(t->buf + t->n, t->size - t->n, format, ap);
	va_end(ap);
}

static int group_next(int fd, bool first, struct vram_ref from, struct vram_ioc_group *g,
		      char name[VRAM_NAME_MAX])
{
	memset(g, 0, sizeof(*g));
	memset(name, 0, VRAM_NAME_MAX);
	g->flags = first ? VRAM_GROUP_FIRST : VRAM_GROUP_NEXT;
	g->group = from;
	g->name = (uintptr_t)name;
	g->name_size = VRAM_NAME_MAX;
	return try_ioctl(fd, VRAM_IOC_GROUP, g);
}

static void text_usage(struct text *t, int fd, const struct vram_ref *ref, uint32_t n_devices)
{
	struct vram_ioc_usage u;
	uint32_t dev, tier;

	for (dev = 0; dev < n_devices; dev++)
		for (tier = 0; tier < VRAM_N_TIERS; tier++) {
			ck_ok(try_usage(fd, ref->kind, ref->key, dev, tier, &u));
			text_add(t, "\n  %u.%u use %" PRIu64 " own %" PRIu64 " peak %" PRIu64, dev,
				 tier, (uint64_t)u.usage, (uint64_t)u.own, (uint64_t)u.peak);
			text_add(t, " refused %" PRIu64 " min %" PRIu64 " low %" PRIu64,
				 (uint64_t)u.refused, (uint64_t)u.emin, (uint64_t)u.elow);
			text_add(t, " set %x: %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64, u.set,
				 (uint64_t)u.limit[0], (uint64_t)u.limit[1], (uint64_t)u.limit[2],
				 (uint64_t)u.limit[3]);
			text_add(t, " %" PRIu64, (uint64_t)u.limit[4]);
		}
}

char *snapshot(int fd)
{
	struct vram_ioc_info info = info_of(fd);
	struct vram_ref at = { .kind = VRAM_KIND_ROOT };
	char name[VRAM_NAME_MAX];
	struct vram_ioc_group g;
	struct text t = { 0 };
	bool first = true;
	uint32_t share;

	text_add(&t, "arbiter %u generation %" PRIu64 " devices %u", info.arbiter_state,
		 (uint64_t)info.generation, info.n_devices);
	for (; !group_next(fd, first, at, &g, name); at = g.group, first = false) {
		text_add(&t, "\ngroup %u:%" PRIu64 " in %u:%" PRIu64 " sessions %u", g.group.kind,
			 (uint64_t)g.group.key, g.parent.kind, (uint64_t)g.parent.key,
			 g.n_sessions);
		text_add(&t, " flags %x slots %u '%.16s' '%s'", g.session_flags, g.n_slots, g.comm,
			 name);
		text_usage(&t, fd, &g.group, info.n_devices);
	}
	for (share = 0;; share++) {
		struct vram_ioc_share s = { .op = VRAM_SHARE_NEXT, .share = share };

		if (try_ioctl(fd, VRAM_IOC_SHARE, &s))
			break;
		share = s.share;
		text_add(&t, "\nshare %u of %u: %u members %" PRIu64 " %" PRIu64 " %" PRIu64,
			 s.share, s.dev, s.n_members, (uint64_t)s.bytes[0], (uint64_t)s.bytes[1],
			 (uint64_t)s.bytes[2]);
	}
	return t.buf;
}

void snapshot_same(int fd, const char *before, const char *what)
{
	char *now = snapshot(fd);
	size_t i = 0;

	while (before[i] && before[i] == now[i])
		i++;
	/* All of it is far too long to read: the line and what is around. */
	if (before[i] != now[i]) {
		while (i && before[i] != '\n')
			i--;
		ck_abort_msg("%s has changed the ledger:\nwas %.200s\nis %.200s", what, before + i,
			     now + i);
	}
	free(now);
}

/* ---- fixtures --------------------------------------------------------------- */

/* Takes back every limit, by the bits and values that differ from a fresh group's. Return: whether there was one. */
static bool clear_limits(int fd, const struct vram_ref *ref, uint32_t n_devices)
{
	static const uint64_t fresh[VRAM_N_LIMITS] = { 0, 0, VRAM_UNLIMITED, VRAM_UNLIMITED, 100 };
	uint32_t dev, tier, k;
	bool any = false;

	for (dev = 0; dev < n_devices; dev++)
		for (tier = 0; tier < VRAM_N_TIERS; tier++) {
			struct vram_ioc_usage u;

			/* It is gone when its last limit is. */
			if (try_usage(fd, ref->kind, ref->key, dev, tier, &u))
				return any;
			for (k = 0; k < VRAM_N_LIMITS; k++) {
				struct vram_ioc_limit l = {
					.flags = VRAM_LIMIT_CLEAR,
					.dev = dev,
					.tier = tier,
					.limit = k,
					.group = *ref,
				};

				if (!(u.set & 1u << k) && u.limit[k] == fresh[k])
					continue;
				ck_ok(try_ioctl(fd, VRAM_IOC_LIMIT, &l));
				any = true;
			}
		}
	return any;
}

static void clear_shares(int arb)
{
	struct vram_ioc_share s = { .op = VRAM_SHARE_NEXT };
	uint32_t tier;

	while (!try_ioctl(arb, VRAM_IOC_SHARE, &s)) {
		for (tier = 0; tier < VRAM_N_TIERS; tier++) {
			struct vram_ioc_charge c = {
				.op = VRAM_UNCHARGE,
				.share = s.share,
				.dev = s.dev,
				.from = tier,
				.bytes = s.bytes[tier],
			};

			ck_ok(try_ioctl(arb, VRAM_IOC_CHARGE, &c));
		}
		ck_ok(try_share(arb, VRAM_SHARE_FREE, s.share, 0));
		s = (struct vram_ioc_share){ .op = VRAM_SHARE_NEXT };
	}
}

/* Return: how many sessions there are beside fd's own. */
static unsigned int others(int fd)
{
	struct vram_ref at = { .kind = VRAM_KIND_ROOT };
	uint64_t own = session_of(fd);
	char name[VRAM_NAME_MAX];
	struct vram_ioc_group g;
	unsigned int n = 0;
	bool first = true;

	for (; !group_next(fd, first, at, &g, name); at = g.group, first = false)
		n += g.group.kind == VRAM_KIND_SESSION && g.group.key != own;
	return n;
}

/* Return: whether a limit was found, and is gone; the walk must begin anew, as its group may be, too. */
static bool clear_one_group(int arb, uint32_t n_devices)
{
	struct vram_ref at = { .kind = VRAM_KIND_ROOT };
	char name[VRAM_NAME_MAX];
	struct vram_ioc_group g;
	bool first = true;

	for (; !group_next(arb, first, at, &g, name); at = g.group, first = false)
		if (g.group.kind != VRAM_KIND_ROOT && clear_limits(arb, &g.group, n_devices))
			return true;
	return false;
}

static void clean(int arb)
{
	uint32_t n_devices = info_of(arb).n_devices;
	struct vram_arbiter_event e;

	EVENTUALLY(others(arb) == 0);
	clear_shares(arb);
	while (clear_one_group(arb, n_devices))
		;
	while (!try_event(arb, &e))
		;
}

void world_setup(void)
{
	w.arb = arbiter_new(0);
	w.generation = info_of(w.arb).generation;
	clean(w.arb);
	w.dev[0] = device_add(w.arb, "test0", world_capacity);
	w.dev[1] = device_add(w.arb, "test1", world_capacity);
}

void world_teardown(void)
{
	close(w.arb);
}

void world_setup_alone(void)
{
	world_setup();
	close(w.arb);
	w.arb = -1;
	EVENTUALLY(({
		int fd = device_open(), ret = info_of(fd).arbiter_state != VRAM_ARBITER_ATTACHED;

		close(fd);
		ret;
	}));
}

TCase *world_case(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, world_setup, world_teardown);
	suite_add_tcase(suite, tc);
	return tc;
}

int device_main(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	const char *why = NULL;
	int fd, failed;

	if (geteuid())
		why = "not root";
	else if (access(DEVICE_PATH, F_OK))
		why = "no " DEVICE_PATH ": the module is not loaded";
	if (why) {
		srunner_free(runner);
		return skip(why);
	}
	fd = try_open(O_RDWR);
	if (fd < 0) {
		printf("%s: %s\n", DEVICE_PATH, strerror(-fd));
		srunner_free(runner);
		return 1;
	}
	close(fd);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
