// SPDX-License-Identifier: GPL-2.0-only
/*
 * A card's memory in the long run: streaming costs no mapping once it is under way, what is resident costs nothing at all,
 * and the daemon gives way to programs outside and comes back.
 */
// links: tests/support/vramd.c tests/support/vramd_ask.c tests/support/standin.c tests/support/cuda_world.c
// links: common/cuda_driver.c common/err.c libvram.a
// libs: -ljansson
// timeout: 300
#define _GNU_SOURCE 1
#include <check.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/cuda_world.h"
#undef EVENTUALLY /* that of vramd_ask.h waits longer */
#include "tests/support/vramd_ask.h"

#define PASSES 8

static pid_t own_pid;

static uint64_t calls(const char *function, pid_t pid)
{
	return standin_calls(card, function, pid);
}

static const char *const mapping[] = { "cuMemMap", "cuMemUnmap", "cuMemSetAccess",
				       "cuMemImportFromShareableHandle", "cuMemRelease" };
#define N_MAPPING (sizeof(mapping) / sizeof(mapping[0]))

/* Of every function. No system call is made. */
static uint64_t all_calls(void)
{
	const struct standin *image = card->image;
	uint64_t n = 0;

	for (int p = 0; p < STANDIN_PROCS; p++)
		for (int i = 0; image->procs[p].pid == own_pid && i < STANDIN_MAX_FUNCTIONS; i++)
			n += image->procs[p].calls[i];
	return n;
}

static uint64_t mapping_calls(pid_t pid)
{
	uint64_t n = 0;

	for (size_t i = 0; i < N_MAPPING; i++)
		n += calls(mapping[i], pid);
	return n;
}

static uint64_t device(const char *key)
{
	return vramd_device(&d, key);
}

/* ---- the hot path ---- */

/* Layers of one chunk, more than fit. */
static struct vram_model *stream_open(uint32_t n)
{
	struct vram_extent *extents = calloc(n, sizeof(*extents));
	struct vram_model *m = NULL;
	const char *path = vramd_make_file(&d, "stream", n * CHUNK, SEED);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_ptr_nonnull(extents);
	ck_assert_int_ge(fd, 0);
	for (uint32_t i = 0; i < n; i++)
		extents[i] =
			(struct vram_extent){ .offset = i * CHUNK, .length = CHUNK, .layer = i };
	good(vram_model_open_extents(client, fd, "stream", n, extents, n, &m));
	close(fd);
	free(extents);
	return m;
}

static void stream(struct vram_model *m, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct vram_layer *layer = vram_model_layer(m, i);
		uint64_t bytes, first;
		void *p;

		good(vram_layer_acquire(layer, FOREVER));
		ck_assert_int_eq(vram_layer_extent(layer, 0, &p, &bytes), 0);
		ok(cu.memcpy_dtoh(&first, (uintptr_t)p, sizeof(first)));
		ck_assert_uint_eq(first, vramd_word(i * CHUNK, SEED));
		vram_layer_release(layer);
	}
}

/*
 * Each pass loads what does not fit, and still hardly anything is mapped anew: a chunk comes back to the memory that it
 * had. A program that maps each load would make three calls for each.
 */
START_TEST(streaming_maps_nothing)
{
	uint64_t before, daemon_before, loaded_before, loads, mapped;
	const uint32_t n = 64; /* and 40 fit */
	struct vram_stats stats;
	struct vram_model *m;

	vram_model_close(model);
	vramd_signal(&d, SIGKILL);
	d.budget = "80M";
	vramd_start(&d);
	good(vram_client_reconnect(client, 10 * SECOND));
	m = stream_open(n);
	for (int pass = 0; pass < 3; pass++)
		stream(m, n);
	good(vram_client_stats(client, &stats));
	loaded_before = stats.loaded_bytes;
	before = mapping_calls(getpid());
	daemon_before = mapping_calls(d.pid) + calls("cuMemCreate", d.pid);
	for (int pass = 0; pass < PASSES; pass++)
		stream(m, n);
	good(vram_client_stats(client, &stats));
	loads = (stats.loaded_bytes - loaded_before) / CHUNK;
	mapped = mapping_calls(getpid()) - before;
	printf("%llu loads, %llu calls of the client's\n", (unsigned long long)loads,
	       (unsigned long long)mapped);
	/* It does stream: what does not fit comes in each pass. */
	ck_assert_uint_ge(loads, PASSES * (n - 40));
	ck_assert_uint_lt(mapped, loads / 4);
	/* The daemon makes and maps nothing at all. */
	ck_assert_uint_eq(mapping_calls(d.pid) + calls("cuMemCreate", d.pid), daemon_before);
	model = m;
}
END_TEST

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
	/* For this thread; the watch is another one. Check itself would write: nothing is asserted from here on. */
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		syscall(SYS_exit_group, 2);
}

/* Ends with 42, by SIGSYS for a system call, or with 3 for a call of the driver's. */
START_TEST(resident_costs_no_call)
{
	struct vram_layer *layer = vram_model_layer(model, 0);
	uint64_t before;

	/* Everything fits, so that nothing is marked. */
	vramd_signal(&d, SIGKILL);
	d.budget = "64M";
	vramd_start(&d);
	good(vram_client_reconnect(client, 10 * SECOND));
	world_walk(model);
	world_walk(model);
	good(vram_layer_acquire(layer, FOREVER));
	vram_layer_release(layer);
	/* The watch sleeps, as nothing moves. */
	own_pid = getpid();
	before = all_calls();
	forbid_system_calls();
	for (int i = 0; i < 100000; i++) {
		if (vram_layer_acquire(layer, FOREVER))
			syscall(SYS_exit_group, 1);
		vram_layer_release(layer);
	}
	if (all_calls() != before || before == 0)
		syscall(SYS_exit_group, 3);
	syscall(SYS_exit_group, 42);
}
END_TEST

/* ---- programs outside ---- */

/* They take more and more, down to the reserve; the client goes on with less; they leave, and it has all again. */
START_TEST(outsiders_come_and_go)
{
	uint64_t full = device("budget_bytes"), least = full;

	world_walk(model);
	for (uint64_t left = 40; left >= 16; left -= 8) {
		card->image->outside_bytes = CARD_BYTES - left * MIB;
		EVENTUALLY(device("budget_bytes") <= (left - 8) * MIB);
		EVENTUALLY(standin_used_bytes(card) + card->image->outside_bytes + 8 * MIB <=
			   CARD_BYTES);
		world_walk(model);
		ck_assert_uint_le(device("resident_bytes"), device("budget_bytes"));
		least = device("budget_bytes");
	}
	ck_assert_uint_le(least, 8 * MIB);
	ck_assert_uint_ge(least, 6 * MIB);
	card->image->outside_bytes = 0;
	EVENTUALLY(device("budget_bytes") == full);
	world_walk(model);
	world_walk(model);
	EVENTUALLY(device("resident_bytes") > 8 * MIB);
}
END_TEST

/* So much that no layer fits any more: an error, and not the end. */
START_TEST(outsiders_take_everything)
{
	struct vram_layer *layer = vram_model_layer(model, 3);
	int r;

	world_walk(model);
	card->image->outside_bytes = CARD_BYTES - 9 * MIB;
	EVENTUALLY(device("budget_bytes") <= 2 * MIB);
	r = vram_layer_acquire(layer, 2 * SECOND);
	ck_assert_msg(r < 0, "a layer of two chunks in one");
	ck_assert_str_ne(vram_error_text(), "");
	card->image->outside_bytes = 0;
	EVENTUALLY(device("budget_bytes") == 24 * MIB);
	world_walk(model);
}
END_TEST

/* What nobody uses goes back to the card after device.idle, with the client still there. */
START_TEST(idle_memory_goes_back)
{
	world_walk(model);
	ck_assert_uint_gt(standin_used_bytes(card), 16 * MIB);
	/* Else it would be loaded ahead again. */
	good(vram_model_pass(model, VRAM_PASS_IDLE_NOW));
	json_decref(vramd_ask(&d, "evict --all"));
	EVENTUALLY(standin_used_bytes(card) == 0);
	world_walk(model);
	ck_assert_uint_gt(standin_used_bytes(card), 16 * MIB);
}
END_TEST

/* At every quiet point the ledger, the daemon and the driver have the same number. */
START_TEST(the_books_agree)
{
	struct vram_buffer *b;

	for (int round = 0; round < 3; round++) {
		good(vram_buffer_new(client, "kv", 12 * MIB, CHUNK, &b));
		for (uint32_t i = 0; i < 6; i++) {
			good(vram_layer_acquire(vram_buffer_layer(b, i), FOREVER));
			world_fill(vram_buffer_layer(b, i), i);
			vram_layer_release(vram_buffer_layer(b, i));
		}
		world_walk(model);
		for (uint32_t i = 0; i < 6; i++) {
			good(vram_layer_acquire(vram_buffer_layer(b, i), FOREVER));
			ck_assert_uint_eq(world_wrong_fill(vram_buffer_layer(b, i), i), 0);
			vram_layer_release(vram_buffer_layer(b, i));
		}
		EVENTUALLY(device("inflight_bytes") == 0);
		EVENTUALLY(device("memory_bytes") == device("resident_bytes"));
		ck_assert_uint_eq(vramd_usage(&d, "root", "vram"), device("resident_bytes"));
		/* Free memory is kept for a moment, and is the only difference. */
		EVENTUALLY(standin_used_bytes(card) == device("memory_bytes"));
		vram_buffer_free(b);
	}
}
END_TEST

static void short_idle(void)
{
	vramd_signal(&d, SIGKILL);
	d.settings[3] = "device.idle=1s";
	vramd_start(&d);
	good(vram_client_reconnect(client, 10 * SECOND));
}

int main(void)
{
	Suite *suite = suite_create("pool");
	TCase *tc;
	SRunner *runner;
	int failed;

	if (!vramd_usable())
		return 77;
	tc = world_case(suite, "hot");
	tcase_add_test(tc, streaming_maps_nothing);
	/* A sanitizer makes system calls of its own. */
	if (!getenv("SAN") || !*getenv("SAN"))
		tcase_add_exit_test(tc, resident_costs_no_call, 42);
	tc = world_case(suite, "size");
	tcase_add_checked_fixture(tc, short_idle, NULL);
	tcase_add_test(tc, outsiders_come_and_go);
	tcase_add_test(tc, outsiders_take_everything);
	tcase_add_test(tc, idle_memory_goes_back);
	tcase_add_test(tc, the_books_agree);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
