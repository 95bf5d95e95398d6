// SPDX-License-Identifier: GPL-2.0-only
/*
 * A real daemon, real clients, and what goes wrong: disks that fail, swap that is full, budgets and limits that
 * are too small, clients that wait for each other. Whoever is concerned gets the documented
 * error; the others notice nothing; nothing stays charged.
 *
 * links: tests/support/vramd.c tests/support/vramd_ask.c tests/support/engine.c libvram.a
 * links: tests/support/device.c common/cuda_driver.c common/err.c
 * libs: -ljansson -lpthread
 * timeout: 240
 */
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/engine.h"
#include "tests/support/vramd_ask.h"

#define MIB    (1ull << 20)
#define LAYERS 24
#define BUDGET "8M"
#define SEED   11

static struct vramd d;
static struct vram_client *one, *two;

static void setup(void)
{
	vramd_init(&d, BUDGET);
	d.settings[0] = "policy.keep=0";
}

static void start(const char *setting, const char *another)
{
	d.settings[1] = setting;
	d.settings[2] = setting ? another : NULL;
	vramd_start(&d);
	one = engine_connect(&d, "one");
	two = engine_connect(&d, "two");
}

static void teardown(void)
{
	vramd_deinit(&d);
}

static struct vram_model *model_of(struct vram_client *client, const char *file)
{
	return engine_open(client, vramd_make_file(&d, file, LAYERS * MIB, SEED), LAYERS, MIB);
}

/* All clients leave: the ledger is back at zero, and the daemon ends well. */
static void all_gone(void)
{
	vram_close(one);
	vram_close(two);
	EVENTUALLY(vramd_holds_nothing(&d));
	ck_assert_int_eq(kill(d.pid, SIGTERM), 0);
	{
		int status;

		ck_assert_int_eq(waitpid(d.pid, &status, 0), d.pid);
		ck_assert_int_eq(status, 0);
	}
	d.pid = 0;
}

struct waiter {
	pthread_t thread;
	struct vram_layer *layer;
	int64_t timeout_ns;
	atomic_int done;
	int r;
};

static void *wait_for_layer(void *arg)
{
	struct waiter *w = arg;

	w->r = vram_layer_acquire(w->layer, w->timeout_ns);
	atomic_store(&w->done, 1);
	return NULL;
}

static void waiter_start(struct waiter *w, struct vram_layer *layer, int64_t timeout_ns)
{
	*w = (struct waiter){ .layer = layer, .timeout_ns = timeout_ns };
	ck_assert_int_eq(pthread_create(&w->thread, NULL, wait_for_layer, w), 0);
}

static int waiter_end(struct waiter *w)
{
	ck_assert_int_eq(pthread_join(w->thread, NULL), 0);
	return w->r;
}

/* ---- waiting and giving up ---- */

/* A thread that gives up does not take the request of another one with it. */
START_TEST(one_of_two_gives_up)
{
	struct vram_model *a, *b;
	struct waiter hasty, patient;
	uint32_t n;

	start(NULL, NULL);
	a = model_of(one, "a");
	b = model_of(two, "b");
	n = engine_pin_all(a, 0, ENGINE_SECOND);
	ck_assert_uint_ge(n, 4);
	waiter_start(&patient, vram_model_layer(b, 3), ENGINE_FOREVER);
	EVENTUALLY(vramd_device(&d, "waiting") > 0);
	waiter_start(&hasty, vram_model_layer(b, 3), ENGINE_SECOND / 4);
	ck_assert_int_eq(waiter_end(&hasty), -ETIMEDOUT);
	ck_assert_int_eq(atomic_load(&patient.done), 0);
	engine_unpin(a, 0, n);
	ck_assert_int_eq(waiter_end(&patient), 0);
	ck_assert_uint_eq(engine_wrong(vram_model_layer(b, 3), MIB, SEED), 0);
	vram_layer_release(vram_model_layer(b, 3));
	vram_model_close(a);
	vram_model_close(b);
	all_gone();
}
END_TEST

/* The last one that gives up does: the daemon stops looking for room. */
START_TEST(the_last_gives_up)
{
	struct vram_model *a, *b;
	uint32_t n;

	start(NULL, NULL);
	a = model_of(one, "a");
	b = model_of(two, "b");
	n = engine_pin_all(a, 0, ENGINE_SECOND);
	EVENTUALLY(vramd_device(&d, "waiting") == 0);
	ck_assert_int_eq(vram_layer_acquire(vram_model_layer(b, 0), ENGINE_SECOND / 4), -ETIMEDOUT);
	EVENTUALLY(vramd_device(&d, "waiting") == 0);
	engine_unpin(a, 0, n);
	engine_walk(b, MIB, SEED);
	vram_model_close(a);
	vram_model_close(b);
	all_gone();
}
END_TEST

START_TEST(too_many_requests)
{
	struct vram_model *a, *b;
	struct waiter w[3];
	uint32_t n;

	start("limits.max_requests=2", NULL);
	a = model_of(one, "a");
	b = model_of(two, "b");
	n = engine_pin_all(a, 0, ENGINE_SECOND);
	for (uint32_t i = 0; i < 3; i++)
		waiter_start(&w[i], vram_model_layer(b, i), 2 * ENGINE_SECOND);
	EVENTUALLY(vramd_logged(&d, "more requests in flight than limits.max_requests") > 0);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_int_lt(waiter_end(&w[i]), 0);
	/* The other session has lost nothing. */
	for (uint32_t i = 0; i < n; i++)
		ck_assert_uint_eq(engine_wrong(vram_model_layer(a, i), MIB, SEED), 0);
	engine_unpin(a, 0, n);
	engine_walk(a, MIB, SEED);
	/* And two at a time are fine. */
	engine_walk(b, MIB, SEED);
	vram_model_close(a);
	vram_model_close(b);
	all_gone();
}
END_TEST

START_TEST(stop_while_clients_wait)
{
	struct vram_model *a, *b;
	struct waiter w;
	int status;

	start(NULL, NULL);
	a = model_of(one, "a");
	b = model_of(two, "b");
	engine_pin_all(a, 0, ENGINE_SECOND);
	waiter_start(&w, vram_model_layer(b, 0), 4 * ENGINE_SECOND);
	EVENTUALLY(vramd_device(&d, "waiting") > 0);
	ck_assert_int_eq(kill(d.pid, SIGTERM), 0);
	ck_assert_int_eq(waitpid(d.pid, &status, 0), d.pid);
	ck_assert_int_eq(status, 0);
	d.pid = 0;
	ck_assert_int_eq(waiter_end(&w), -ENOTCONN);
}
END_TEST

/* ---- the disk ---- */

START_TEST(reads_fail)
{
	unsigned int failed = 0, right = 0;
	struct vram_model *a;

	start("io.fault=read:eio:every=5", NULL);
	a = model_of(one, "a");
	/* What fails when it is loaded ahead is tried again for whoever asks: it takes some passes until
	 * the fifth read is one that somebody waits for. */
	for (int pass = 0; pass < 4 || (failed == 0 && pass < 100); pass++) {
		for (uint32_t i = pass % 3; i < LAYERS; i++) {
			int r = vram_layer_acquire(vram_model_layer(a, i), ENGINE_FOREVER);

			if (r < 0) {
				ck_assert_int_eq(r, -EIO);
				failed++;
				continue;
			}
			ck_assert_uint_eq(engine_wrong(vram_model_layer(a, i), MIB, SEED), 0);
			vram_layer_release(vram_model_layer(a, i));
			right++;
		}
	}
	ck_assert_uint_gt(failed, 0);
	ck_assert_uint_gt(right, 0);
	vram_model_close(a);
	all_gone();
}
END_TEST

static unsigned long long bytes_read(void)
{
	unsigned long long n = 0;
	char line[128];
	FILE *f;

	snprintf(line, sizeof(line), "/proc/%d/io", (int)d.pid);
	f = fopen(line, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "read_bytes: %llu", &n) == 1)
			break;
	fclose(f);
	return n;
}

/* What cannot be read is not read again and again for a session that waits for nothing. */
START_TEST(broken_disk_is_left_alone)
{
	struct vram_model *a;
	unsigned long long n;

	start("io.fault=read:eio:after=1", NULL);
	a = model_of(one, "a");
	ck_assert_int_eq(vram_layer_acquire(vram_model_layer(a, 0), ENGINE_FOREVER), -EIO);
	usleep(300000); /* each chunk may be tried once ahead */
	n = bytes_read();
	ck_assert_uint_gt(n, 0);
	usleep(400000); /* the session counts as active for a second */
	ck_assert_uint_eq(bytes_read(), n);
	vram_model_close(a);
	all_gone();
}
END_TEST

START_TEST(reads_are_short)
{
	struct vram_model *a, *b;

	start("io.fault=read:short:every=2", NULL);
	a = model_of(one, "a");
	b = model_of(two, "b");
	for (int pass = 0; pass < 2; pass++) {
		engine_walk(a, MIB, SEED);
		engine_walk(b, MIB, SEED);
	}
	vram_model_close(a);
	vram_model_close(b);
	all_gone();
}
END_TEST

/* Some writes to swap fail: those chunks stay, others go. */
START_TEST(some_writes_fail)
{
	static const char *const faults[] = { "io.fault=write:eio:every=3",
					      "io.fault=write:enospc:every=4",
					      "io.fault=write:short:every=2" };
	struct vram_buffer *b;

	start(faults[_i], NULL);
	b = engine_buffer(one, 20 * MIB, MIB);
	engine_fill_buffer(b, MIB, 3);
	engine_walk_buffer(b, MIB, 3);
	engine_fill_buffer(b, MIB, 4);
	engine_walk_buffer(b, MIB, 4);
	ck_assert_uint_eq(vramd_logged(&d, "cannot be written") > 0, _i < 2);
	vram_buffer_free(b);
	all_gone();
}
END_TEST

/* Every write fails: whoever needs the room waits for as long as it may, and nothing is lost. */
START_TEST(all_writes_fail)
{
	struct vram_buffer *b;
	struct vram_model *a;
	uint32_t n = 0;
	int r;

	start("io.fault=write:eio:after=1", "limits.wait_timeout=1s");
	a = model_of(two, "a");
	b = engine_buffer(one, 20 * MIB, MIB);
	while ((r = vram_layer_acquire(vram_buffer_layer(b, n), ENGINE_FOREVER)) == 0) {
		engine_fill(vram_buffer_layer(b, n), MIB, 5);
		vram_layer_release(vram_buffer_layer(b, n));
		n++;
		ck_assert_uint_lt(n, 20);
	}
	ck_assert_msg(r == -ETIMEDOUT || r == -ENOSPC, "%d", r);
	ck_assert_uint_ge(n, 4);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_int_eq(vram_layer_acquire(vram_buffer_layer(b, i), ENGINE_FOREVER), 0);
		ck_assert_uint_eq(engine_wrong(vram_buffer_layer(b, i), MIB, 5), 0);
		vram_layer_release(vram_buffer_layer(b, i));
	}
	vram_buffer_free(b);
	engine_walk(a, MIB, SEED);
	vram_model_close(a);
	all_gone();
}
END_TEST

/* There is no swap, or too little of it. */
START_TEST(swap_is_full)
{
	static const char *const sizes[] = { "swap.size=0", "swap.size=2M" };
	struct vram_buffer *b;
	struct vram_model *a;
	uint32_t n = 0;
	int r;

	start(sizes[_i], NULL);
	a = model_of(two, "a");
	/* What can go, goes, although the buffer comes to stand before it. */
	engine_walk(a, MIB, SEED);
	b = engine_buffer(one, 20 * MIB, MIB);
	while ((r = vram_layer_acquire(vram_buffer_layer(b, n), ENGINE_FOREVER)) == 0) {
		engine_fill(vram_buffer_layer(b, n), MIB, 6);
		vram_layer_release(vram_buffer_layer(b, n));
		n++;
		ck_assert_uint_lt(n, 20);
	}
	ck_assert_int_eq(r, -ENOSPC);
	ck_assert_uint_ge(n, _i == 0 ? 8 : 9);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_int_eq(vram_layer_acquire(vram_buffer_layer(b, i), ENGINE_FOREVER), 0);
		ck_assert_uint_eq(engine_wrong(vram_buffer_layer(b, i), MIB, 6), 0);
		vram_layer_release(vram_buffer_layer(b, i));
	}
	vram_buffer_free(b);
	EVENTUALLY(vramd_device(&d, "swap_used_bytes") == 0);
	engine_walk(a, MIB, SEED);
	vram_model_close(a);
	all_gone();
}
END_TEST

/* The disk has not that much: said at start, not when somebody's buffer is to be written. */
START_TEST(swap_larger_than_the_disk)
{
	char vramd[4096], command[8192], line[512] = "";
	bool said = false;
	FILE *f;
	int status;

	vramd_build_path(vramd, sizeof(vramd), "vramd");
	snprintf(command, sizeof(command),
		 "XDG_RUNTIME_DIR='%s' '%s' --user --budget 8M --set swap.path='%s' "
		 "--set swap.size=60T 2>&1",
		 d.dir, vramd, d.dir);
	f = popen(command, "r");
	ck_assert_ptr_nonnull(f);
	/* Where the kernel module is loaded it says first why it does not use that. */
	while (fgets(line, sizeof(line), f) && !said)
		said = strstr(line, "swap.size: cannot set ");
	status = pclose(f);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	ck_assert(said);
}
END_TEST

/* ---- files ---- */

START_TEST(no_regular_files)
{
	struct vram_extent extent = { .length = 4096 };
	struct vram_model *m = NULL;
	char path[160];
	int fds[2], fifo, zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	start(NULL, NULL);
	snprintf(path, sizeof(path), "%s/fifo", d.dir);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	fifo = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	ck_assert_int_eq(vram_model_open_extents(one, fifo, NULL, 1, &extent, 1, &m), -EINVAL);
	ck_assert_int_eq(vram_model_open_extents(one, fds[0], NULL, 1, &extent, 1, &m), -EINVAL);
	ck_assert_int_eq(vram_model_open_extents(one, zero, NULL, 1, &extent, 1, &m), -EINVAL);
	ck_assert_ptr_null(m);
	close(fifo);
	close(zero);
	close(fds[0]);
	close(fds[1]);
	all_gone();
}
END_TEST

/* ramfs has no O_DIRECT (tmpfs has since Linux 6.6). Said once, and everything works. */
START_TEST(no_direct_io)
{
	struct vram_model *a, *b;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/ram", d.dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ck_assert_int_eq(mount("none", path, "ramfs", 0, NULL), 0);
	start(NULL, NULL);
	fd = open(vramd_make_file(&d, "ram/a", LAYERS * MIB, SEED), O_RDONLY | O_DIRECT);
	ck_assert_int_eq(fd, -1);
	a = model_of(one, "ram/a");
	b = model_of(two, "ram/b");
	engine_walk(a, MIB, SEED);
	engine_walk(b, MIB, SEED);
	ck_assert_uint_eq(vramd_logged(&d, "cannot be read with O_DIRECT"), 1);
	vram_model_close(a);
	vram_model_close(b);
	all_gone();
}
END_TEST

/* The same file twice in one session: two models, which come and go apart. */
START_TEST(one_file_twice)
{
	struct vram_model *a, *b;
	uint64_t bytes;
	void *p;

	start(NULL, NULL);
	a = model_of(one, "a");
	b = engine_open(one, vramd_make_file(&d, "b", 4096, 1), 1, 4096);
	vram_model_close(b);
	{
		char path[160];

		snprintf(path, sizeof(path), "%s/a", d.dir);
		b = engine_open(one, path, LAYERS, MIB);
	}
	engine_walk(a, MIB, SEED);
	engine_walk(b, MIB, SEED);
	ck_assert_int_eq(vram_layer_extent(vram_model_layer(a, 0), 0, &p, &bytes), 0);
	vram_model_close(b);
	/* Its going has opened no holes in the other one. */
	for (int pass = 0; pass < 2; pass++)
		ck_assert_uint_eq(vramd_wrong(p, LAYERS * MIB, 0, SEED), 0);
	engine_walk(a, MIB, SEED);
	vram_model_close(a);
	all_gone();
}
END_TEST

/* ---- budgets and limits ---- */

START_TEST(layer_larger_than_the_budget)
{
	struct vram_extent extents[2] = { { .length = 16 * MIB },
					  { .offset = 16 * MIB, .length = 4 * MIB, .layer = 1 } };
	struct vram_model *m = NULL;
	int fd;

	start(NULL, NULL);
	fd = open(vramd_make_file(&d, "a", LAYERS * MIB, SEED), O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(vram_model_open_extents(one, fd, NULL, 2, extents, 2, &m), 0);
	close(fd);
	for (int i = 0; i < 3; i++) {
		struct vram_layer *layer = vram_model_layer(m, 1);

		ck_assert_int_eq(vram_layer_acquire(vram_model_layer(m, 0), ENGINE_FOREVER),
				 -ENOMEM);
		ck_assert_int_eq(vram_layer_acquire(layer, ENGINE_FOREVER), 0);
		ck_assert_uint_eq(engine_wrong(layer, 16 * MIB, SEED), 0);
		vram_layer_release(layer);
	}
	/* All of it can be touched nevertheless, a part at a time. */
	{
		uint64_t bytes;
		void *p;

		ck_assert_int_eq(vram_layer_extent(vram_model_layer(m, 0), 0, &p, &bytes), 0);
		ck_assert_uint_eq(vramd_wrong(p, bytes, 0, SEED), 0);
	}
	vram_model_close(m);
	all_gone();
}
END_TEST

static void limit(const char *subject, const char *setting)
{
	char args[128];

	snprintf(args, sizeof(args), "limit set %s %s", subject, setting);
	json_decref(vramd_ask(&d, args));
}

START_TEST(limit_below_use)
{
	struct vram_model *a, *b;
	char subject[32];

	start(NULL, NULL);
	a = model_of(one, "a");
	b = model_of(two, "b");
	snprintf(subject, sizeof(subject), "session:%llu",
		 (unsigned long long)vramd_session(&d, "one"));
	engine_walk(a, MIB, SEED);
	EVENTUALLY(vramd_usage(&d, subject, "vram") > 4 * MIB);
	limit(subject, "vram.max=2M");
	EVENTUALLY(vramd_usage(&d, subject, "vram") <= 2 * MIB);
	engine_walk(a, MIB, SEED);
	ck_assert_uint_le(vramd_usage(&d, subject, "vram"), 2 * MIB);
	engine_walk(b, MIB, SEED);
	limit(subject, "vram.max=default");
	engine_walk(a, MIB, SEED);
	vram_model_close(a);
	vram_model_close(b);
	all_gone();
}
END_TEST

START_TEST(layer_larger_than_the_limit)
{
	struct vram_model *a, *b;
	char subject[32];

	start(NULL, NULL);
	a = engine_open(one, vramd_make_file(&d, "a", LAYERS * MIB, SEED), LAYERS / 4, 4 * MIB);
	b = model_of(two, "b");
	snprintf(subject, sizeof(subject), "session:%llu",
		 (unsigned long long)vramd_session(&d, "one"));
	limit(subject, "vram.max=3M");
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_int_eq(vram_layer_acquire(vram_model_layer(a, i), ENGINE_FOREVER),
				 -ENOSPC);
		engine_walk(b, MIB, SEED);
	}
	limit(subject, "vram.max=5M");
	engine_walk(a, 4 * MIB, SEED);
	vram_model_close(a);
	vram_model_close(b);
	all_gone();
}
END_TEST

/* Whoever stands at a limit of its own waits alone. */
START_TEST(waiting_at_a_limit_keeps_nobody_out)
{
	struct vram_model *a, *b;
	char subject[32];
	struct waiter w;
	uint32_t n;

	start(NULL, NULL);
	a = model_of(one, "a");
	b = model_of(two, "b");
	snprintf(subject, sizeof(subject), "session:%llu",
		 (unsigned long long)vramd_session(&d, "one"));
	limit(subject, "vram.max=2M");
	n = engine_pin_all(a, 0, ENGINE_SECOND / 2);
	ck_assert_uint_ge(n, 1);
	ck_assert_uint_le(n, 2);
	waiter_start(&w, vram_model_layer(a, 5), ENGINE_FOREVER);
	EVENTUALLY(vramd_device(&d, "waiting") > 0);
	for (int pass = 0; pass < 2; pass++)
		for (uint32_t i = 0; i < LAYERS; i++) {
			struct vram_layer *layer = vram_model_layer(b, i);

			ck_assert_msg(vram_layer_acquire(layer, 10 * ENGINE_SECOND) == 0,
				      "layer %u: %s", i, vram_error_text());
			ck_assert_uint_eq(engine_wrong(layer, MIB, SEED), 0);
			vram_layer_release(layer);
		}
	ck_assert_int_eq(atomic_load(&w.done), 0);
	engine_unpin(a, 0, n);
	ck_assert_int_eq(waiter_end(&w), 0);
	vram_layer_release(vram_model_layer(a, 5));
	vram_model_close(a);
	vram_model_close(b);
	all_gone();
}
END_TEST

START_TEST(limits_of_a_session)
{
	struct vram_extent *extents = calloc(65, sizeof(*extents));
	struct vram_model *a, *b, *m = NULL;
	struct vram_buffer *buffer = NULL;
	int fd;

	d.settings[3] = "limits.max_registered=60M";
	start("limits.max_slots=64", "limits.max_objects=2");
	for (uint32_t i = 0; i < 65; i++)
		extents[i] = (struct vram_extent){ .offset = i * 4096, .length = 4096, .layer = i };
	a = model_of(one, "a");
	fd = open(vramd_make_file(&d, "b", LAYERS * MIB, SEED), O_RDONLY | O_CLOEXEC);
	/* 24 layers are there: 41 are too many now, 65 always. */
	ck_assert_int_lt(vram_model_open_extents(one, fd, NULL, 41, extents, 41, &m), 0);
	ck_assert_int_eq(vram_model_open_extents(one, fd, NULL, 65, extents, 65, &m), -E2BIG);
	ck_assert_int_eq(vram_buffer_new(one, NULL, 40 * MIB, MIB, &buffer), -E2BIG);
	ck_assert_ptr_null(m);
	ck_assert_ptr_null(buffer);
	b = model_of(one, "b");
	ck_assert_int_eq(vram_buffer_new(one, NULL, MIB, MIB, &buffer), -E2BIG);
	ck_assert_ptr_null(buffer);
	/* Only this session, and only as long as it has them. */
	ck_assert_int_eq(vram_buffer_new(two, NULL, 40 * MIB, MIB, &buffer), 0);
	vram_buffer_free(buffer);
	engine_walk(a, MIB, SEED);
	engine_walk(b, MIB, SEED);
	vram_model_close(a);
	ck_assert_msg(vram_model_open_extents(one, fd, NULL, LAYERS, extents, LAYERS, &m) == 0,
		      "%s", vram_error_text());
	vram_model_close(m);
	vram_model_close(b);
	close(fd);
	free(extents);
	all_gone();
}
END_TEST

/* Books for each chunk: nobody may make the daemon keep millions of them. */
START_TEST(buffers_of_too_many_chunks)
{
	struct vram_buffer *buffer = NULL;

	start("device.chunk=64K", NULL);
	ck_assert_int_eq(vram_buffer_new(one, NULL, 16ull << 30, 1ull << 30, &buffer), -E2BIG);
	ck_assert_ptr_null(buffer);
	ck_assert_int_eq(vram_buffer_new(one, NULL, 1ull << 30, MIB, &buffer), 0);
	vram_buffer_free(buffer);
	all_gone();
}
END_TEST

static void add(Suite *suite, const char *name, const TTest *test, int n)
{
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 100);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, test, 0, n);
	suite_add_tcase(suite, tc);
}

int main(void)
{
	Suite *suite = suite_create("faults");
	SRunner *runner;
	int failed;

	if (!vramd_usable())
		return 77;
	add(suite, "waiting", one_of_two_gives_up, 1);
	add(suite, "waiting", the_last_gives_up, 1);
	add(suite, "waiting", too_many_requests, 1);
	add(suite, "waiting", stop_while_clients_wait, 1);
	add(suite, "disk", reads_fail, 1);
	add(suite, "disk", broken_disk_is_left_alone, 1);
	add(suite, "disk", reads_are_short, 1);
	add(suite, "disk", some_writes_fail, 3);
	add(suite, "disk", all_writes_fail, 1);
	add(suite, "disk", swap_is_full, 2);
	add(suite, "disk", swap_larger_than_the_disk, 1);
	add(suite, "files", no_regular_files, 1);
	if (geteuid() == 0)
		add(suite, "files", no_direct_io, 1);
	else
		printf("without root a file system without O_DIRECT cannot be mounted\n");
	add(suite, "files", one_file_twice, 1);
	add(suite, "limits", layer_larger_than_the_budget, 1);
	add(suite, "limits", limit_below_use, 1);
	add(suite, "limits", layer_larger_than_the_limit, 1);
	add(suite, "limits", waiting_at_a_limit_keeps_nobody_out, 1);
	add(suite, "limits", limits_of_a_session, 1);
	add(suite, "limits", buffers_of_too_many_chunks, 1);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
