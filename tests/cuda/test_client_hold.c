// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the shim for unmodified programs builds on (libclient/cuda.h): a client with a driver table of the caller's, buffers
 * of one layer, all of them held and given back in one go, and the hooks.
 */
// links: tests/support/vramd.c tests/support/standin.c tests/support/cuda_world.c
// links: libclient/buffer.c libclient/client.c libclient/cuda.c libclient/cuda_hold.c libclient/cuda_import.c
// links: libclient/cuda_map.c libclient/cuda_release.c libclient/gguf.c libclient/layer.c libclient/layout.c
// links: libclient/layout_names.c libclient/layout_open.c libclient/model.c libclient/object.c libclient/plan.c
// links: libclient/reader.c libclient/reconnect.c libclient/request.c libclient/safetensors.c libclient/table.c
// links: libclient/admit.c libclient/pressure.c
// links: libclient/table_kmod.c libclient/tensors.c libclient/uffd.c libclient/watch.c
// links: common/cuda_driver.c common/err.c common/fd.c common/size.c common/socket.c
// libs: -ljansson
// timeout: 600
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libclient/cuda.h"
#include "tests/support/cuda_world.h"

#define MAX_BUFFERS 16

/* One program under a shim. */
struct program {
	struct vram_client *client;
	struct vram_buffer *buffers[MAX_BUFFERS];
	int n;
	uint64_t seed;
	pthread_t thread; /* of the first hook */
	atomic_int revoked, lost;
	bool obeys;
};

static void on_revoke(void *arg, uint64_t deadline_ns)
{
	struct program *p = arg;

	ck_assert_uint_gt(deadline_ns, 0);
	p->thread = pthread_self();
	if (p->obeys)
		cuda_client_release_all(p->client);
	atomic_fetch_add(&p->revoked, 1);
}

static void on_lost(void *arg, const char *text)
{
	struct program *p = arg;

	ck_assert_ptr_nonnull(text);
	p->thread = pthread_self();
	atomic_fetch_add(&p->lost, 1);
}

static void connect_program(struct program *p, uint64_t seed)
{
	const struct cuda_hooks hooks = { .revoke = on_revoke, .lost = on_lost, .arg = p };

	memset(p, 0, sizeof(*p));
	p->seed = seed;
	p->obeys = true;
	good(cuda_client_connect(d.socket, "program", &cu, NULL, &hooks, &p->client));
}

static struct vram_layer *layer_of(struct program *p, int i)
{
	return vram_buffer_layer(p->buffers[i], 0);
}

static void allocate(struct program *p, uint64_t bytes)
{
	int i = p->n++;

	good(vram_buffer_new(p->client, "cuMemAlloc", bytes, 0, &p->buffers[i]));
	ck_assert_uint_eq(vram_buffer_n_layers(p->buffers[i]), 1);
	good(cuda_buffer_acquire(p->buffers[i], FOREVER));
	world_fill(layer_of(p, i), p->seed + (uint64_t)i);
}

static void check_program(struct program *p)
{
	for (int i = 0; i < p->n; i++) {
		ck_assert_uint_eq(world_pins(layer_of(p, i)), 1);
		ck_assert_uint_eq(world_wrong_fill(layer_of(p, i), p->seed + (uint64_t)i), 0);
	}
}

/* What the program does in its turn: a REVOKE that comes meanwhile ends it, and it must come again. */
static void run_program(struct program *p)
{
	int revoked;

	do {
		revoked = atomic_load(&p->revoked);
		good(cuda_client_acquire_all(p->client, 60 * SECOND));
		for (int i = 0; i < p->n; i++)
			ck_assert_uint_eq(world_wrong_fill(layer_of(p, i), p->seed + (uint64_t)i),
					  0);
	} while (atomic_load(&p->revoked) != revoked);
}

static void end_program(struct program *p)
{
	for (int i = 0; i < p->n; i++)
		vram_buffer_free(p->buffers[i]);
	vram_close(p->client);
}

static struct program a, b;

START_TEST(held_and_given_back)
{
	struct vram_stats stats;

	connect_program(&a, 100);
	for (int i = 0; i < 4; i++)
		allocate(&a, (uint64_t)(i + 1) * MIB + 4096);
	check_program(&a);
	/* A second time changes nothing. */
	good(cuda_client_acquire_all(a.client, FOREVER));
	check_program(&a);
	cuda_client_release_all(a.client);
	for (int i = 0; i < 4; i++)
		ck_assert_uint_eq(world_pins(layer_of(&a, i)), 0);
	cuda_client_release_all(a.client);
	for (int i = 0; i < 4; i++)
		ck_assert_uint_eq(world_pins(layer_of(&a, i)), 0);
	good(cuda_client_acquire_all(a.client, FOREVER));
	check_program(&a);
	good(vram_client_stats(a.client, &stats));
	ck_assert_uint_eq(stats.budget_bytes, 24 * MIB);
	ck_assert_uint_ge(stats.total_bytes, 10 * MIB);
	/* Held or not. */
	vram_buffer_free(a.buffers[3]);
	a.n = 3;
	check_program(&a);
	end_program(&a);
}
END_TEST

/* Two programs that do not fit beside each other take turns, as often as one of them wants to run. */
START_TEST(turns)
{
	connect_program(&a, 100);
	connect_program(&b, 200);
	for (int i = 0; i < 4; i++)
		allocate(&a, 4 * MIB);
	allocate(&b, 8 * MIB);
	allocate(&b, 6 * MIB);
	EVENTUALLY(atomic_load(&a.revoked) > 0);
	ck_assert(!pthread_equal(a.thread, pthread_self()));
	for (int turn = 0; turn < 3; turn++) {
		run_program(&b);
		ck_assert_int_gt(atomic_load(&a.revoked), turn);
		run_program(&a);
		ck_assert_int_gt(atomic_load(&b.revoked), turn);
	}
	end_program(&a);
	end_program(&b);
}
END_TEST

static void *want_more(void *arg)
{
	struct vram_buffer *more = arg;

	/* More than there is beside what is held. */
	cuda_buffer_acquire(more, 30 * SECOND);
	return NULL;
}

static void *want_most(void *arg)
{
	struct program *p = arg;

	ok(cu.ctx_set_current(context));
	connect_program(p, 200);
	allocate(p, 20 * MIB);
	cuda_client_release_all(p->client);
	return NULL;
}

/*
 * Who waited for long, and only for room beside what it holds itself, has as much time to leave as anybody when
 * somebody else comes.
 */
START_TEST(asked_before_it_is_ended)
{
	struct vram_buffer *more;
	pthread_t threads[2];

	vramd_signal(&d, SIGTERM);
	d.settings[3] = "policy.turn=300ms";
	d.settings[4] = "limits.pin_timeout=2s";
	d.settings[5] = NULL;
	vramd_start(&d);
	connect_program(&a, 100);
	for (int i = 0; i < 4; i++)
		allocate(&a, 4 * MIB);
	good(vram_buffer_new(a.client, "cuMemAlloc", 10 * MIB, 0, &more));
	pthread_create(&threads[0], NULL, want_more, more);
	nanosleep(&(struct timespec){ .tv_sec = 3 }, NULL);
	ck_assert_int_eq(atomic_load(&a.revoked), 0);
	pthread_create(&threads[1], NULL, want_most, &b);
	EVENTUALLY(atomic_load(&a.revoked) > 0 || atomic_load(&a.lost) > 0);
	ck_assert_int_eq(atomic_load(&a.lost), 0);
	pthread_join(threads[0], NULL);
	cuda_client_release_all(a.client);
	pthread_join(threads[1], NULL);
	vram_buffer_free(more);
	run_program(&a);
	ck_assert_int_eq(atomic_load(&a.lost), 0);
	end_program(&a);
	end_program(&b);
}
END_TEST

/* Addresses stay, over turns, too. */
START_TEST(addresses_stay)
{
	void *ptr;

	connect_program(&a, 100);
	allocate(&a, 12 * MIB);
	ptr = vram_buffer_ptr(a.buffers[0]);
	cuda_client_release_all(a.client);
	connect_program(&b, 200);
	allocate(&b, 16 * MIB);
	cuda_client_release_all(b.client);
	good(cuda_client_acquire_all(a.client, 60 * SECOND));
	ck_assert_ptr_eq(vram_buffer_ptr(a.buffers[0]), ptr);
	check_program(&a);
	end_program(&a);
	end_program(&b);
}
END_TEST

/* What does not succeed leaves nothing held, and what was held before is held. */
START_TEST(all_or_nothing)
{
	connect_program(&a, 100);
	a.obeys = false;
	allocate(&a, 3 * MIB);
	allocate(&a, 3 * MIB);
	cuda_client_release_all(a.client);
	good(cuda_buffer_acquire(a.buffers[0], FOREVER));
	connect_program(&b, 200);
	b.obeys = false;
	allocate(&b, 18 * MIB);
	ck_assert_int_eq(cuda_client_acquire_all(a.client, SECOND / 2), -ETIMEDOUT);
	ck_assert_uint_eq(world_pins(layer_of(&a, 0)), 1);
	ck_assert_uint_eq(world_pins(layer_of(&a, 1)), 0);
	ck_assert_uint_eq(world_wrong_fill(layer_of(&a, 0), 100), 0);
	cuda_client_release_all(b.client);
	good(cuda_client_acquire_all(a.client, 60 * SECOND));
	check_program(&a);
	end_program(&a);
	end_program(&b);
}
END_TEST

/* The daemon ends: what is held stays, for as long as it is held. */
START_TEST(daemon_ends)
{
	connect_program(&a, 100);
	allocate(&a, 4 * MIB);
	allocate(&a, 6 * MIB);
	vramd_signal(&d, SIGKILL);
	EVENTUALLY(atomic_load(&a.lost) == 1);
	ck_assert(!pthread_equal(a.thread, pthread_self()));
	check_program(&a);
	vramd_start(&d);
	good(vram_client_reconnect(a.client, 20 * SECOND));
	nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
	check_program(&a);
	cuda_client_release_all(a.client);
	ck_assert_int_eq(cuda_client_acquire_all(a.client, SECOND), -ECONNRESET);
	/* New ones can be had. */
	vram_buffer_free(a.buffers[0]);
	vram_buffer_free(a.buffers[1]);
	a.n = 0;
	allocate(&a, 4 * MIB);
	check_program(&a);
	end_program(&a);
}
END_TEST

START_TEST(no_card)
{
	struct vram_client *c = NULL;

	vramd_signal(&d, SIGTERM);
	world_settings("host", "2M");
	vramd_start(&d);
	ck_assert_int_eq(cuda_client_connect(d.socket, "program", &cu, NULL, NULL, &c), -ENOTSUP);
	ck_assert_ptr_null(c);
	ck_assert_ptr_nonnull(strstr(vram_error_text(), "not a card"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("holding everything on a card");
	SRunner *runner;
	TCase *tc;
	int failed;

	if (!vramd_usable())
		return 77;
	tc = world_bare_case(suite, "hold");
	tcase_add_test(tc, held_and_given_back);
	tcase_add_test(tc, turns);
	tcase_add_test(tc, asked_before_it_is_ended);
	tcase_add_test(tc, addresses_stay);
	tcase_add_test(tc, all_or_nothing);
	tcase_add_test(tc, daemon_ends);
	tcase_add_test(tc, no_card);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
