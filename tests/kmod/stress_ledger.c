// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sixteen processes for STRESS_SECONDS: an arbiter whose four threads charge, move, share, limit and wake at random;
 * twelve clients of three users in nested cgroups, that map, scribble, wait, and die at random; three that open and
 * close and are never adopted.
 *
 * Every fraction of a second all of them stop. Then the kernel's ledger must be exactly what follows from the
 * operations that succeeded: use of every group, own bytes of every session, bytes and members of every share.
 * At some of these points the arbiter goes, and a new one takes over. In the end nobody is left, and nothing.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/stress_client.c
 */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kmod/device.h"
#include "tests/kmod/passing.h"
#include "tests/kmod/stress_client.h"

enum {
	N_THREADS = 4,
	N_USERS = 3,
	N_CGROUPS = 4,
	N_SHARES = 8,
	N_CELLS = 2 * VRAM_N_TIERS, /* device * N_TIERS + tier */
};

#define CGROUPS "/sys/fs/cgroup"
static const char *const cgroups[N_CGROUPS] = { "/vramstress", "/vramstress/a", "/vramstress/a/b",
						"/vramstress/c" };
static bool has_cgroups;
static uint64_t exe; /* of all of them */

/* ---- what there should be ----------------------------------------------------------- */

struct client {
	pid_t pid;
	int socket;
	bool dies; /* it was killed, or found dead */
	uint64_t session;
	unsigned int user, cgroup;
	uint64_t own[N_CELLS];
};

struct share {
	bool live;
	uint32_t id;
	unsigned int dev, n_members;
	unsigned int member[N_CLIENTS]; /* in the order they joined */
	uint64_t bytes[VRAM_N_TIERS];
};

static struct client clients[N_CLIENTS];
static struct share shares[N_SHARES];

/* A client's part of all shares in a cell. */
static uint64_t parts(unsigned int c, unsigned int cell)
{
	uint64_t sum = 0;
	unsigned int i, k;

	for (i = 0; i < N_SHARES; i++) {
		const struct share *s = &shares[i];
		uint64_t bytes = s->bytes[cell % VRAM_N_TIERS];

		if (!s->live || s->dev != cell / VRAM_N_TIERS)
			continue;
		for (k = 0; k < s->n_members; k++)
			if (s->member[k] == c)
				sum += bytes / s->n_members + (k < bytes % s->n_members);
	}
	return sum;
}

static void leave(struct share *s, unsigned int c)
{
	unsigned int k, n = 0;

	for (k = 0; k < s->n_members; k++)
		if (s->member[k] != c)
			s->member[n++] = s->member[k];
	s->n_members = n;
}

static bool is_member(const struct share *s, unsigned int c)
{
	unsigned int k;

	for (k = 0; k < s->n_members; k++)
		if (s->member[k] == c)
			return true;
	return false;
}

static void client_start(unsigned int i, uint64_t *rng)
{
	struct client *c = &clients[i];
	uint64_t seed = next(rng);
	int pair[2], fd;

	memset(c, 0, sizeof(*c));
	c->user = (unsigned int)(next(rng) % N_USERS);
	c->cgroup = (unsigned int)(next(rng) % N_CGROUPS);
	atomic_store(&shared->send[i], 0);
	ck_assert_int_eq(passing_pair(pair), 0);
	c->pid = fork();
	ck_assert_int_ge(c->pid, 0);
	if (!c->pid) {
		char path[256];

		snprintf(path, sizeof(path), CGROUPS "%s", cgroups[c->cgroup]);
		client_process(i, UID_A + c->user, has_cgroups ? path : NULL, pair[1], seed);
		_exit(4);
	}
	close(pair[1]);
	c->socket = pair[0];
	fd = passing_receive(c->socket);
	ck_assert_msg(fd >= 0, "a client did not come up");
	c->session = adopt(w.arb, fd, 0).session;
	close(fd);
}

/* ---- the arbiter ---------------------------------------------------------------------- */

static _Atomic bool running;
static _Atomic uint64_t n_done, n_refused, n_lost;

static unsigned int some_cell(uint64_t *rng)
{
	return (unsigned int)(next(rng) % N_CELLS);
}

/*
 * Do it, and say whether it happened. Whose session may have died a moment ago may fail with ENOENT; a limit may
 * be in the way; nothing else may be.
 */
static bool happened(int ret, const struct vram_ioc_charge *c)
{
	atomic_fetch_add(&n_done, 1);
	if (ret == -EDQUOT || ret == -ENOSPC)
		atomic_fetch_add(&n_refused, 1);
	else if (ret == -ENOENT)
		atomic_fetch_add(&n_lost, 1);
	else if (ret)
		ck_abort_msg("op %u of %" PRIu64 " bytes: %s", c->op, (uint64_t)c->bytes,
			     strerror(-ret));
	return !ret;
}

static bool act(struct vram_ioc_charge *c, unsigned int cell)
{
	c->dev = w.dev[cell / VRAM_N_TIERS];
	return happened(try_ioctl(w.arb, VRAM_IOC_CHARGE, c), c);
}

/* Own bytes of a client that this thread alone charges. */
static void step_own(unsigned int i, uint64_t *rng)
{
	struct client *c = &clients[i];
	unsigned int cell = some_cell(rng), to = (unsigned int)(next(rng) % VRAM_N_TIERS);
	unsigned int dev = cell / VRAM_N_TIERS, tier = cell % VRAM_N_TIERS;
	struct vram_ioc_charge q = { .session = c->session, .share = VRAM_NO_SHARE };

	switch (next(rng) % 5) {
	case 0 ... 1:
		q.op = VRAM_CHARGE;
		q.to = tier;
		q.bytes = next(rng) % 40000;
		if (act(&q, cell))
			c->own[cell] += q.bytes;
		break;
	case 2:
		q.op = VRAM_UNCHARGE;
		q.from = tier;
		q.bytes = next(rng) % (c->own[cell] + 1);
		if (act(&q, cell))
			c->own[cell] -= q.bytes;
		break;
	case 3:
		q.op = VRAM_TRANSFER;
		q.from = tier;
		q.to = to;
		q.bytes = next(rng) % (c->own[cell] + 1);
		if (act(&q, cell)) {
			c->own[cell] -= q.bytes;
			c->own[dev * VRAM_N_TIERS + to] += q.bytes;
		}
		break;
	default:
		/* To the next client of this thread. */
		i = (i + N_THREADS) % N_CLIENTS;
		if (&clients[i] == c)
			break;
		q.op = VRAM_GIVE;
		q.from = tier;
		q.other = clients[i].session;
		q.bytes = next(rng) % (c->own[cell] + 1);
		if (act(&q, cell)) {
			c->own[cell] -= q.bytes;
			clients[i].own[cell] += q.bytes;
		}
		break;
	}
}

static void share_make(struct share *s, uint64_t *rng)
{
	struct vram_ioc_share q = { .op = VRAM_SHARE_NEW };

	s->dev = (unsigned int)(next(rng) % 2);
	q.dev = w.dev[s->dev];
	ck_assert_int_eq(try_ioctl(w.arb, VRAM_IOC_SHARE, &q), 0);
	s->id = q.share;
	s->n_members = 0;
	memset(s->bytes, 0, sizeof(s->bytes));
	s->live = true;
}

static void step_share(struct share *s, uint64_t *rng)
{
	unsigned int i = (unsigned int)(next(rng) % N_CLIENTS),
		     tier = (unsigned int)(next(rng) % 3);
	struct vram_ioc_share q = { .share = s->id, .session = clients[i].session };
	struct vram_ioc_charge c = { .share = s->id };
	unsigned int cell = s->dev * VRAM_N_TIERS + tier;
	int ret;

	if (!s->live) {
		share_make(s, rng);
		return;
	}
	switch (next(rng) % 8) {
	case 0 ... 1:
		q.op = VRAM_SHARE_JOIN;
		q.flags = next(rng) % 4 ? 0 : VRAM_SHARE_FORCE;
		ret = try_ioctl(w.arb, VRAM_IOC_SHARE, &q);
		/* A member that died is none, and the model does not know that yet. */
		ck_assert_msg(!ret || ret == -EDQUOT || ret == -ENOENT ||
				      (ret == -EEXIST && is_member(s, i)),
			      "join: %s", strerror(-ret));
		if (!ret)
			s->member[s->n_members++] = i;
		break;
	case 2:
		q.op = VRAM_SHARE_LEAVE;
		ret = try_ioctl(w.arb, VRAM_IOC_SHARE, &q);
		ck_assert_msg(ret == 0 || ret == -ENOENT, "leave: %s", strerror(-ret));
		ck_assert(ret || is_member(s, i));
		if (!ret)
			leave(s, i);
		break;
	case 3:
		q.op = VRAM_SHARE_FREE;
		q.session = 0;
		ret = try_ioctl(w.arb, VRAM_IOC_SHARE, &q);
		ck_assert(!ret || ret == -EBUSY);
		s->live = ret != 0;
		break;
	case 4:
		c.op = VRAM_UNCHARGE;
		c.from = tier;
		c.bytes = next(rng) % 2 ? s->bytes[tier] : next(rng) % (s->bytes[tier] + 1);
		if (act(&c, cell))
			s->bytes[tier] -= c.bytes;
		break;
	case 5:
		c.op = VRAM_TRANSFER;
		c.from = tier;
		c.to = (uint32_t)(next(rng) % 3);
		c.bytes = next(rng) % (s->bytes[tier] + 1);
		if (act(&c, cell)) {
			s->bytes[tier] -= c.bytes;
			s->bytes[c.to] += c.bytes;
		}
		break;
	default:
		c.op = VRAM_CHARGE;
		c.to = tier;
		c.bytes = next(rng) % 60000;
		if (act(&c, cell))
			s->bytes[tier] += c.bytes;
		break;
	}
}

static void step_rest(unsigned int i, uint64_t *rng)
{
	struct vram_ioc_limit l = {
		.dev = w.dev[next(rng) % 2],
		.tier = (uint32_t)(next(rng) % 3),
		.limit = (uint32_t)(next(rng) % 4),
		.group = { .kind = VRAM_KIND_USER, .key = UID_A + next(rng) % N_USERS },
		.value = next(rng) % 3 ? next(rng) % 60000 : VRAM_UNLIMITED,
	};
	int ret;

	switch (next(rng) % 4) {
	case 0:
		if (next(rng) % 2) {
			l.group.kind = VRAM_KIND_SESSION;
			l.group.key = clients[i].session;
		}
		if (next(rng) % 2) {
			l.flags = VRAM_LIMIT_CLEAR;
			l.value = 0;
		}
		ret = try_ioctl(w.arb, VRAM_IOC_LIMIT, &l);
		ck_assert_msg(!ret || ret == -ENOENT, "limit: %s", strerror(-ret));
		break;
	case 1:
		ret = try_state(w.arb, clients[i].session, l.dev, (uint32_t)(next(rng) % 4));
		ck_assert_msg(!ret || ret == -ENOENT || ret == -EINVAL, "state: %s",
			      strerror(-ret));
		break;
	default:
		ret = try_wake(w.arb, clients[i].session, (uint32_t)(next(rng) % 8));
		ck_assert_msg(!ret || ret == -ENOENT, "wake: %s", strerror(-ret));
		break;
	}
}

static uint64_t seeds[N_THREADS];

static void *arbiter_thread(void *arg)
{
	unsigned int t = (unsigned int)(uintptr_t)arg;
	uint64_t *rng = &seeds[t];

	while (atomic_load(&running)) {
		unsigned int i =
			t + N_THREADS * (unsigned int)(next(rng) % (N_CLIENTS / N_THREADS));

		switch (next(rng) % 4) {
		case 0:
			step_rest(i, rng);
			break;
		case 1:
			step_share(&shares[t + N_THREADS * (next(rng) % (N_SHARES / N_THREADS))],
				   rng);
			break;
		default:
			step_own(i, rng);
			break;
		}
	}
	return NULL;
}

/* ---- quiet points ------------------------------------------------------------------------ */

static pid_t strangers[N_STRANGERS];
static uint64_t n_quiet, n_deaths, n_takeovers, n_compared;

static bool is_dead(struct client *c)
{
	int status;

	if (!c->dies && waitpid(c->pid, &status, WNOHANG) == c->pid) {
		ck_assert_msg(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL),
			      "a client ended with %#x", status);
		c->dies = true;
	}
	return c->dies;
}

/* Everybody stands still, and who died is known to be gone. */
static void quieten(void)
{
	static uint32_t number;
	unsigned int i, k;

	atomic_store(&shared->pause, ++number);
	for (i = 0; i < N_CLIENTS; i++) {
		struct client *c = &clients[i];
		struct vram_arbiter_event e;
		unsigned int t;

		EVENTUALLY(is_dead(c) || atomic_load(&shared->paused[i]) == number);
		if (!c->dies)
			continue;
		e = event_gone(w.arb, c->session);
		ck_assert_uint_eq(e.uid, UID_A + c->user);
		/* Its own bytes fell back, and of its shares something. */
		for (t = 0; t < VRAM_N_TIERS; t++)
			ck_assert_uint_ge(e.bytes[t], c->own[t] + c->own[VRAM_N_TIERS + t]);
		for (k = 0; k < N_SHARES; k++)
			leave(&shares[k], i);
		close(c->socket);
		n_deaths++;
		memset(c, 0, sizeof(*c));
	}
	for (i = 0; i < N_STRANGERS; i++)
		EVENTUALLY(atomic_load(&shared->paused[N_CLIENTS + i]) == number);
}

static void same(uint32_t kind, uint64_t key, unsigned int cell, uint64_t want, uint64_t want_own)
{
	struct vram_ioc_usage u;

	ck_assert_int_eq(try_usage(w.arb, kind, key, w.dev[cell / VRAM_N_TIERS],
				   cell % VRAM_N_TIERS, &u),
			 0);
	if (u.usage != want || u.own != want_own)
		ck_abort_msg("%u:%" PRIu64 " cell %u: uses %" PRIu64 " (own %" PRIu64
			     "), not %" PRIu64 " (%" PRIu64 ")",
			     kind, key, cell, (uint64_t)u.usage, (uint64_t)u.own, want, want_own);
	n_compared++;
}

/* Is a client in a cgroup, or below it? */
static bool is_in(const struct client *c, unsigned int cgroup)
{
	const char *at = cgroups[c->cgroup], *above = cgroups[cgroup];
	size_t n = strlen(above);

	return !strncmp(at, above, n) && (!at[n] || at[n] == '/');
}

static void compare(void)
{
	unsigned int cell, i, k;

	for (cell = 0; cell < N_CELLS; cell++) {
		uint64_t root = 0, all = 0, user[N_USERS] = { 0 }, cgroup[N_CGROUPS] = { 0 };

		for (i = 0; i < N_CLIENTS; i++) {
			struct client *c = &clients[i];
			uint64_t use;

			if (!c->pid)
				continue;
			use = c->own[cell] + parts(i, cell);
			same(VRAM_KIND_SESSION, c->session, cell, use, c->own[cell]);
			root += c->own[cell];
			all += use;
			user[c->user] += use;
			for (k = 0; k < N_CGROUPS; k++)
				cgroup[k] += is_in(c, k) ? use : 0;
		}
		for (i = 0; i < N_SHARES; i++)
			if (shares[i].live && shares[i].dev == cell / VRAM_N_TIERS)
				root += shares[i].bytes[cell % VRAM_N_TIERS];
		same(VRAM_KIND_ROOT, 0, cell, root, 0);
		for (i = 0; i < N_USERS; i++)
			same(VRAM_KIND_USER, UID_A + i, cell, user[i], 0);
		for (i = 0; i < N_CGROUPS && has_cgroups; i++)
			same(VRAM_KIND_CGROUP, group_key(w.arb, VRAM_KIND_CGROUP, cgroups[i]), cell,
			     cgroup[i], 0);
		same(VRAM_KIND_EXE, exe, cell, all, 0);
	}
	for (i = 0; i < N_SHARES; i++) {
		struct vram_ioc_share q = { .op = VRAM_SHARE_READ, .share = shares[i].id };

		if (!shares[i].live)
			continue;
		ck_assert_int_eq(try_ioctl(w.arb, VRAM_IOC_SHARE, &q), 0);
		ck_assert_uint_eq(q.n_members, shares[i].n_members);
		for (k = 0; k < VRAM_N_TIERS; k++)
			ck_assert_uint_eq(q.bytes[k], shares[i].bytes[k]);
	}
}

/* The arbiter goes; the next one adopts everybody anew, and finds everything as it was. */
static void take_over(void)
{
	unsigned int i;

	close(w.arb);
	w.arb = arbiter_new(0);
	compare();
	for (i = 0; i < N_CLIENTS; i++) {
		int fd;

		if (!clients[i].pid)
			continue;
		atomic_store(&shared->send[i], 1);
		fd = passing_receive(clients[i].socket);
		ck_assert_int_ge(fd, 0);
		ck_assert_uint_eq(adopt(w.arb, fd, 0).session, clients[i].session);
		close(fd);
	}
	n_takeovers++;
}

/* ---- the run ------------------------------------------------------------------------------ */

/* A limit that is never taken back keeps a group, and with it what is read here. */
static void pin(uint32_t kind, uint64_t key, const char *path)
{
	struct vram_ioc_limit l = {
		.dev = w.dev[0],
		.limit = VRAM_LIMIT_WEIGHT,
		.group = { .kind = kind, .key = key },
		.value = 100,
		.name = (uintptr_t)path,
		.name_bytes = path ? (uint32_t)strlen(path) + 1 : 0,
	};

	ck_ok(try_ioctl(w.arb, VRAM_IOC_LIMIT, &l));
}

static void setup(void)
{
	const uint64_t capacity[VRAM_N_TIERS] = { 300000, 400000, 500000 };
	char self[VRAM_NAME_MAX] = "";
	unsigned int i;

	world_setup();
	device_add(w.arb, "test0", capacity);
	device_add(w.arb, "test1", capacity);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	has_cgroups = !access(CGROUPS "/cgroup.controllers", F_OK);
	for (i = 0; i < N_CGROUPS && has_cgroups; i++) {
		char path[256];

		snprintf(path, sizeof(path), CGROUPS "%s", cgroups[i]);
		ck_assert(!mkdir(path, 0755) || errno == EEXIST);
		pin(VRAM_KIND_CGROUP, 0, cgroups[i]);
	}
	for (i = 0; i < N_USERS; i++)
		pin(VRAM_KIND_USER, UID_A + i, NULL);
	ck_assert_int_gt(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
	exe = group_key(w.arb, VRAM_KIND_EXE, self);
	ck_assert_uint_ne(exe, 0);
}

static void end_all(void)
{
	unsigned int i;

	for (i = 0; i < N_STRANGERS; i++) {
		kill(strangers[i], SIGKILL);
		ck_assert_int_eq(waitpid(strangers[i], NULL, 0), strangers[i]);
	}
	for (i = 0; i < N_CLIENTS; i++) {
		if (!clients[i].pid)
			continue;
		kill(clients[i].pid, SIGKILL);
		ck_assert_int_eq(waitpid(clients[i].pid, NULL, 0), clients[i].pid);
		event_gone(w.arb, clients[i].session);
	}
}

static void all_is_zero(void)
{
	struct vram_ioc_pressure p, q;
	unsigned int cell, i;

	for (i = 0; i < N_SHARES; i++) {
		if (!shares[i].live)
			continue;
		for (cell = 0; cell < VRAM_N_TIERS; cell++) {
			struct vram_ioc_charge c = {
				.op = VRAM_UNCHARGE,
				.share = shares[i].id,
				.dev = w.dev[shares[i].dev],
				.from = cell,
				.bytes = shares[i].bytes[cell],
			};

			ck_ok(try_ioctl(w.arb, VRAM_IOC_CHARGE, &c));
		}
		ck_ok(try_share(w.arb, VRAM_SHARE_FREE, shares[i].id, 0));
	}
	for (cell = 0; cell < N_CELLS; cell++) {
		same(VRAM_KIND_ROOT, 0, cell, 0, 0);
		for (i = 0; i < N_USERS; i++)
			same(VRAM_KIND_USER, UID_A + i, cell, 0, 0);
		for (i = 0; i < N_CGROUPS && has_cgroups; i++)
			same(VRAM_KIND_CGROUP, group_key(w.arb, VRAM_KIND_CGROUP, cgroups[i]), cell,
			     0, 0);
	}
	/* And nobody stalls any more. */
	ck_ok(try_pressure(w.arb, 0, 0, VRAM_KIND_ROOT, 0, &p));
	sleep_ms(50);
	ck_ok(try_pressure(w.arb, 0, 0, VRAM_KIND_ROOT, 0, &q));
	ck_assert_uint_eq(p.total_us[0], q.total_us[0]);
	ck_assert_uint_gt(p.total_us[0], 0);
}

START_TEST(test_stress)
{
	const char *text = getenv("STRESS_SECONDS");
	uint64_t seconds = text ? strtoull(text, NULL, 10) : 5, rng = now_ns() | 1, seed = rng;
	uint64_t until = now_ns() + seconds * SECOND;
	unsigned int i;

	printf("seed %" PRIu64 "\n", seed);
	for (i = 0; i < N_THREADS; i++)
		seeds[i] = next(&rng) | 1;
	for (i = 0; i < N_STRANGERS; i++) {
		strangers[i] = fork();
		if (!strangers[i])
			stranger_process(N_CLIENTS + i, UID_A + N_USERS, next(&rng) + i);
	}
	while (now_ns() < until) {
		pthread_t threads[N_THREADS];

		for (i = 0; i < N_CLIENTS; i++)
			if (!clients[i].pid)
				client_start(i, &rng);
		atomic_store(&shared->pause, 0);
		atomic_store(&running, true);
		for (i = 0; i < N_THREADS; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, arbiter_thread,
							(void *)(uintptr_t)i),
					 0);
		sleep_ms(100 + (unsigned int)(next(&rng) % 400));
		/* One of them does not die by its own hand. */
		kill(clients[next(&rng) % N_CLIENTS].pid, SIGKILL);
		sleep_ms((unsigned int)(next(&rng) % 20));
		atomic_store(&running, false);
		for (i = 0; i < N_THREADS; i++)
			ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
		quieten();
		compare();
		if (n_quiet++ % 3 == 1)
			take_over();
	}
	end_all();
	all_is_zero();
	printf("ledger: %" PRIu64 " operations, %" PRIu64 " refused, %" PRIu64 " too late; %" PRIu64
	       " waits, %" PRIu64 " opens, %" PRIu64 " deaths, %" PRIu64 " takeovers; %" PRIu64
	       " numbers compared\n",
	       atomic_load(&n_done), atomic_load(&n_refused), atomic_load(&n_lost),
	       atomic_load(&shared->n_waits), atomic_load(&shared->n_opens), n_deaths, n_takeovers,
	       n_compared);
	/* What the run was for did happen. */
	/* How many is the machine's affair. */
	ck_assert_uint_gt(n_done, 0);
	ck_assert_uint_gt(n_refused, 0);
	ck_assert_uint_gt(n_deaths, 0);
	ck_assert_uint_gt(atomic_load(&shared->n_waits), 0);
	ck_assert_uint_gt(atomic_load(&shared->n_opens), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stress_ledger");
	TCase *tc = tcase_create("stress");

	tcase_set_timeout(tc, 3600);
	tcase_add_checked_fixture(tc, setup, world_teardown);
	tcase_add_test(tc, test_stress);
	suite_add_tcase(suite, tc);
	return device_main(suite);
}
