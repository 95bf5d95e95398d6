// SPDX-License-Identifier: GPL-2.0-only
/*
 * What libvram promises, held against a real daemon with less memory than its clients want.
 */
// links: tests/support/vramd.c tests/support/client_world.c libvram.a
// links: tests/support/device.c common/cuda_driver.c common/err.c
// libs: -ljansson
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/client_world.h"
#include "tests/support/device.h"

/* ---- connecting ---- */

START_TEST(no_daemon)
{
	struct vram_client *c = NULL;

	ck_assert_int_eq(vram_connect("/var/tmp/vram-no-such-socket", NULL, 0, &c), -ENOTCONN);
	ck_assert_ptr_null(c);
	ck_assert_ptr_nonnull(strstr(vram_error_text(), "vram-no-such-socket"));
	ck_assert_int_eq(vram_connect(NULL, NULL, 0x80, &c), -EINVAL);
	vram_close(NULL);
	vram_model_close(NULL);
	vram_buffer_free(NULL);
}
END_TEST

START_TEST(wrong_arguments)
{
	struct vram_extent extent = { .offset = MODEL_BYTES - 8, .length = 16 };
	const uint32_t twice[] = { 0, 1, 0 }, beyond[] = { LAYERS };
	struct vram_model *m = NULL;
	struct vram_buffer *b = NULL;
	const char *path = vramd_make_file(&d, "other", 8 * MIB, 1);
	int fd = open(path, O_RDONLY), dir = open("/", O_RDONLY), wronly = open(path, O_WRONLY),
	    opath = open(path, O_PATH);

	ck_assert_int_eq(vram_model_open(client, "/no/such/file.gguf", &m), -ENOENT);
	ck_assert_int_eq(vram_model_open(client, "/", &m), -EISDIR);
	ck_assert_int_eq(vram_model_open(client, path, &m), -EINVAL); /* no model file */
	ck_assert_int_eq(vram_model_open_extents(client, fd, NULL, 1, &extent, 1, &m), -EINVAL);
	extent.offset = 0;
	ck_assert_int_eq(vram_model_open_extents(client, fd, NULL, 2, &extent, 1, &m), -EINVAL);
	ck_assert_int_eq(vram_model_open_extents(client, fd, NULL, 0, &extent, 1, &m), -EINVAL);
	ck_assert_int_eq(vram_model_open_extents(client, dir, NULL, 1, &extent, 1, &m), -EISDIR);
	ck_assert_int_eq(vram_model_open_extents(client, wronly, NULL, 1, &extent, 1, &m), -EBADF);
	ck_assert_int_eq(vram_model_open_extents(client, opath, NULL, 1, &extent, 1, &m), -EBADF);
	ck_assert_int_eq(vram_model_open_extents(client, 999, NULL, 1, &extent, 1, &m), -EBADF);
	ck_assert_int_eq(vram_model_set_order(model, twice, 3), -EINVAL);
	ck_assert_int_eq(vram_model_set_order(model, beyond, 1), -EINVAL);
	ck_assert_int_eq(vram_model_pass(model, (enum vram_pass)77), -EINVAL);
	ck_assert_int_eq(vram_buffer_new(client, NULL, 0, 4096, &b), -EINVAL);
	ck_assert_int_eq(vram_buffer_new(client, NULL, 8192, 100, &b), -EINVAL);
	ck_assert_ptr_null(m);
	ck_assert_ptr_null(b);
	ck_assert_ptr_null(vram_model_layer(model, LAYERS));
	ck_assert_ptr_null(vram_model_layer_by_name(model, "nobody"));
	ck_assert_ptr_eq(vram_model_layer_by_name(model, "3"), vram_model_layer(model, 3));
	/* The session has survived all of it. */
	walk(model);
	close(fd);
	close(dir);
	close(wronly);
	close(opath);
}
END_TEST

/* ---- models ---- */

START_TEST(model_larger_than_budget)
{
	struct vram_stats stats;

	ck_assert_int_eq(vram_model_pass(model, VRAM_PASS_DECODE_START), 0);
	for (int pass = 0; pass < 5; pass++)
		walk(model);
	ck_assert_int_eq(vram_client_stats(client, &stats), 0);
	ck_assert_uint_eq(stats.budget_bytes, 12 * MIB);
	ck_assert_uint_eq(stats.limit_bytes, stats.budget_bytes);
	ck_assert_uint_le(stats.resident_bytes, stats.budget_bytes);
	ck_assert_uint_ge(stats.loaded_bytes, MODEL_BYTES);
	ck_assert_uint_ge(stats.total_bytes, MODEL_BYTES);
}
END_TEST

START_TEST(nonblocking)
{
	struct vram_layer *last = vram_model_layer(model, LAYERS - 1);

	ck_assert(!vram_layer_is_resident(last));
	ck_assert_int_eq(vram_layer_acquire(last, 0), -EAGAIN);
	/* It has asked for the layer: a later attempt finds it. */
	EVENTUALLY(vram_layer_acquire(last, 0) == 0);
	ck_assert(vram_layer_is_resident(last));
	ck_assert_uint_eq(wrong_in(last), 0);
	vram_layer_release(last);
}
END_TEST

START_TEST(prefetch)
{
	struct vram_layer *layers[2] = { vram_model_layer(model, 4), vram_model_layer(model, 5) };

	ck_assert_int_eq(vram_layer_prefetch(layers, 2), 0);
	EVENTUALLY(vram_layer_is_resident(layers[0]) && vram_layer_is_resident(layers[1]));
	ck_assert_int_eq(vram_layer_prefetch(layers, 0), 0);
}
END_TEST

/* All memory is pinned: an acquire waits as long as it may, and succeeds when there is room. */
START_TEST(timeout)
{
	uint32_t n = 0;
	int r;

	while ((r = vram_layer_acquire(vram_model_layer(model, n), SECOND)) == 0) {
		n++;
		ck_assert_uint_lt(n, LAYERS);
	}
	ck_assert_int_eq(r, -ETIMEDOUT);
	ck_assert_uint_ge(n, FIT);
	/* What is pinned has stayed. */
	for (uint32_t i = 0; i < n; i++) {
		ck_assert(vram_layer_is_resident(vram_model_layer(model, i)));
		ck_assert_uint_eq(wrong_in(vram_model_layer(model, i)), 0);
	}
	vram_layer_release(vram_model_layer(model, 0));
	ck_assert_int_eq(vram_layer_acquire(vram_model_layer(model, n), 20ll * SECOND), 0);
	vram_layer_release(vram_model_layer(model, n));
	for (uint32_t i = 1; i < n; i++)
		vram_layer_release(vram_model_layer(model, i));
	walk(model);
}
END_TEST

START_TEST(nested)
{
	struct vram_layer *layer = vram_model_layer(model, 0);

	ck_assert_int_eq(vram_layer_acquire(layer, FOREVER), 0);
	ck_assert_int_eq(vram_layer_acquire(layer, FOREVER), 0);
	vram_layer_release(layer);
	/* Still pinned once: the others must do with the rest. */
	for (uint32_t i = 1; i < LAYERS; i++) {
		ck_assert_int_eq(vram_layer_acquire(vram_model_layer(model, i), FOREVER), 0);
		vram_layer_release(vram_model_layer(model, i));
		ck_assert(vram_layer_is_resident(layer));
	}
	ck_assert_uint_eq(wrong_in(layer), 0);
	vram_layer_release(layer);
}
END_TEST

START_TEST(order)
{
	uint32_t backwards[LAYERS];

	for (uint32_t i = 0; i < LAYERS; i++)
		backwards[i] = LAYERS - 1 - i;
	ck_assert_int_eq(vram_model_set_order(model, backwards, LAYERS), 0);
	ck_assert_int_eq(vram_model_set_order(model, backwards, LAYERS / 2), 0);
	for (int pass = 0; pass < 3; pass++)
		for (uint32_t i = 0; i < LAYERS; i++) {
			struct vram_layer *layer = vram_model_layer(model, backwards[i]);

			ck_assert_int_eq(vram_layer_acquire(layer, FOREVER), 0);
			ck_assert_uint_eq(wrong_in(layer), 0);
			vram_layer_release(layer);
		}
}
END_TEST

/* Without acquire: slow, never wrong. */
START_TEST(stray_touch)
{
	for (int pass = 0; pass < 2; pass++)
		for (uint32_t i = 0; i < LAYERS; i++)
			ck_assert_uint_eq(wrong_in(vram_model_layer(model, (i * 5) % LAYERS)), 0);
}
END_TEST

static void *walk_thread(void *arg)
{
	for (int pass = 0; pass < 4; pass++)
		walk(arg);
	return NULL;
}

START_TEST(two_sessions_one_model)
{
	struct vram_client *other;
	struct vram_model *same;
	struct vram_stats mine, theirs;
	pthread_t thread;
	char path[160];

	snprintf(path, sizeof(path), "%s/model", d.dir);
	ck_assert_int_eq(vram_connect(d.socket, "other", 0, &other), 0);
	device_attach(other);
	same = open_model(other, path);
	pthread_create(&thread, NULL, walk_thread, same);
	walk_thread(model);
	pthread_join(thread, NULL);
	ck_assert_int_eq(vram_client_stats(client, &mine), 0);
	ck_assert_int_eq(vram_client_stats(other, &theirs), 0);
	/* One copy: what is resident for one is resident for the other, and each pays half. */
	ck_assert_uint_le(mine.charged_bytes + theirs.charged_bytes, mine.budget_bytes);
	vram_model_close(same);
	vram_close(other);
	walk(model);
}
END_TEST

START_TEST(many_threads)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, walk_thread, model), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

START_TEST(file_changes)
{
	char path[160];
	int fd;

	walk(model);
	snprintf(path, sizeof(path), "%s/model", d.dir);
	fd = open(path, O_WRONLY);
	ck_assert_int_eq(pwrite(fd, "changed", 7, 0), 7);
	close(fd);
	/* What has to be loaded from now on fails; nothing is mixed. */
	for (uint32_t i = 0; i < LAYERS; i++) {
		int r = vram_layer_acquire(vram_model_layer(model, i), 20ll * SECOND);

		if (r == 0)
			vram_layer_release(vram_model_layer(model, i));
		else
			ck_assert_int_eq(r, -ESTALE);
	}
}
END_TEST

/* ---- buffers ---- */

START_TEST(buffer)
{
	const uint32_t n = 33;
	struct vram_buffer *b;
	uint64_t bytes;
	void *p;

	/* Nearly three times the budget; the last layer is a short one. */
	ck_assert_msg(vram_buffer_new(client, "kv", 32 * MIB + 4096, MIB, &b) == 0, "%s",
		      vram_error_text());
	ck_assert_uint_eq(vram_buffer_n_layers(b), n);
	ck_assert_ptr_null(vram_buffer_layer(b, n));
	ck_assert_int_eq(vram_layer_extent(vram_buffer_layer(b, n - 1), 0, &p, &bytes), 0);
	ck_assert_uint_eq(bytes, 4096);
	ck_assert_ptr_eq(p, (char *)vram_buffer_ptr(b) + 32 * MIB);
	for (uint64_t round = 1; round < 4; round++) {
		for (uint32_t i = 0; i < n; i++) {
			struct vram_layer *layer = vram_buffer_layer(b, i);

			ck_assert_msg(vram_layer_acquire(layer, FOREVER) == 0, "%s",
				      vram_error_text());
			if (round == 1) {
				const char *fresh;

				ck_assert_int_eq(vram_layer_extent(layer, 0, &p, &bytes), 0);
				fresh = device_bytes(p, bytes);
				for (uint64_t k = 0; k < bytes; k += 512)
					ck_assert_int_eq(fresh[k], 0);
			} else {
				ck_assert_uint_eq(wrong_in_buffer(layer, round - 1), 0);
			}
			fill(layer, round);
			vram_layer_release(layer);
		}
		walk(model);
	}
	vram_buffer_free(b);
	walk(model);
}
END_TEST

START_TEST(buffer_stray_writes)
{
	struct vram_buffer *b;

	ck_assert_int_eq(vram_buffer_new(client, "kv", 24 * MIB, MIB, &b), 0);
	for (uint32_t i = 0; i < 24; i++)
		fill(vram_buffer_layer(b, i), 5);
	for (uint32_t i = 0; i < 24; i++)
		ck_assert_uint_eq(wrong_in_buffer(vram_buffer_layer(b, i), 5), 0);
	vram_buffer_free(b);
}
END_TEST

/* ---- fork ---- */

START_TEST(forked)
{
	struct vram_layer *layer = vram_model_layer(model, 0);
	struct vram_stats stats;
	struct vram_buffer *b;
	struct vram_model *m;
	int status;
	pid_t child;

	ck_assert_int_eq(vram_layer_acquire(layer, FOREVER), 0);
	child = fork();
	if (child == 0) {
		struct vram_client *mine;
		char path[160];

		if (vram_layer_acquire(layer, FOREVER) != -ECHILD ||
		    vram_client_stats(client, &stats) != -ECHILD ||
		    vram_client_dispatch(client) != -ECHILD ||
		    vram_model_open(client, "x", &m) != -ECHILD ||
		    vram_buffer_new(client, "x", 4096, 4096, &b) != -ECHILD ||
		    vram_layer_prefetch(&layer, 1) != -ECHILD || vram_layer_is_resident(layer))
			_exit(1);
		vram_layer_release(layer); /* does nothing */
		vram_model_close(model);
		vram_close(client);
		/* And a connection of its own works. */
		snprintf(path, sizeof(path), "%s/model", d.dir);
		if (vram_connect(d.socket, "child", 0, &mine))
			_exit(2);
		m = open_model(mine, path);
		walk(m);
		vram_model_close(m);
		vram_close(mine);
		_exit(42);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 42);
	/* The parent's pin has not been touched. */
	for (uint32_t i = 1; i < LAYERS; i++) {
		ck_assert_int_eq(vram_layer_acquire(vram_model_layer(model, i), FOREVER), 0);
		vram_layer_release(vram_model_layer(model, i));
		ck_assert(vram_layer_is_resident(layer));
	}
	vram_layer_release(layer);
	walk(model);
}
END_TEST

/* A child's touch of the parent's mapping is a fault, not a zero. */
START_TEST(forked_touch)
{
	uint64_t bytes;
	int status;
	pid_t child;
	void *p;

	walk(model);
	ck_assert_int_eq(vram_layer_extent(vram_model_layer(model, 0), 0, &p, &bytes), 0);
	child = fork();
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		_exit(*(volatile char *)p != 0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
}
END_TEST

/* ---- cost ---- */

static void forbid_system_calls(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = { .len = 4, .filter = filter };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	/* Check itself would write: nothing may be asserted from here on. */
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		syscall(SYS_exit_group, 2);
}

/* Ends with 42, or by SIGSYS if the fast path made a system call. */
START_TEST(resident_without_system_call)
{
	struct vram_extent extent = { .length = 4 * MIB };
	int fd = open(vramd_make_file(&d, "small", 4 * MIB, 1), O_RDONLY);
	struct vram_model *small;
	struct vram_layer *layer;

	/* Nothing else: where everything fits, no layer is marked. */
	vram_model_close(model);
	ck_assert_int_eq(vram_model_open_extents(client, fd, NULL, 1, &extent, 1, &small), 0);
	layer = vram_model_layer(small, 0);
	ck_assert_int_eq(vram_layer_acquire(layer, FOREVER), 0);
	forbid_system_calls();
	for (int i = 0; i < 100000; i++) {
		if (vram_layer_acquire(layer, FOREVER))
			syscall(SYS_exit_group, 1);
		vram_layer_release(layer);
	}
	syscall(SYS_exit_group, 42);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client");
	TCase *tc;
	SRunner *runner;
	int failed;

	if (!vramd_usable())
		return 77;
	tc = world_case(suite, "connect");
	tcase_add_test(tc, no_daemon);
	tcase_add_test(tc, wrong_arguments);
	tc = world_case(suite, "model");
	tcase_add_test(tc, model_larger_than_budget);
	tcase_add_test(tc, nonblocking);
	tcase_add_test(tc, prefetch);
	tcase_add_test(tc, timeout);
	tcase_add_test(tc, nested);
	tcase_add_test(tc, order);
	/* A card cannot make a touch wait. */
	if (!vramd_wants_card())
		tcase_add_test(tc, stray_touch);
	tcase_add_test(tc, two_sessions_one_model);
	tcase_add_test(tc, many_threads);
	tcase_add_test(tc, file_changes);
	tc = world_case(suite, "buffer");
	tcase_add_test(tc, buffer);
	if (!vramd_wants_card()) {
		tcase_add_test(tc, buffer_stray_writes);
		tc = world_case(suite, "fork");
		tcase_add_test(tc, forked);
		tcase_add_test(tc, forked_touch);
	}
	/* A sanitizer makes system calls of its own. */
	if (!getenv("SAN") || !*getenv("SAN")) {
		tc = world_case(suite, "cost");
		tcase_add_exit_test(tc, resident_without_system_call, 42);
	}
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
