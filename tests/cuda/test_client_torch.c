// SPDX-License-Identifier: GPL-2.0-only
/*
 * libvram-torch.so as PyTorch uses it: loaded by its path, called by the names of its two functions. Without PyTorch, which has
 * no use for the stand-in driver; tests/gpu has the rest.
 */
// links: tests/support/vramd.c tests/support/standin.c tests/support/cuda_world.c common/cuda_driver.c common/err.c libvram.a
// libs: -ljansson
// timeout: 600
#define _GNU_SOURCE 1
#include <check.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "tests/support/cuda_world.h"

static void *(*torch_alloc)(ssize_t bytes, int device, cuda_stream stream);
static void (*torch_free)(void *ptr, ssize_t bytes, int device, cuda_stream stream);

static void load(void)
{
	char path[4096];
	void *library, *pfn;

	vramd_build_path(path, sizeof(path), "libvram-torch.so");
	setenv("VRAM_SOCKET", d.socket, 1);
	setenv("VRAM_TORCH_WAIT", "1", 1);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	ck_assert_msg(library, "%s", dlerror());
	pfn = dlsym(library, "vram_torch_alloc");
	ck_assert_ptr_nonnull(pfn);
	memcpy(&torch_alloc, &pfn, sizeof(pfn));
	pfn = dlsym(library, "vram_torch_free");
	ck_assert_ptr_nonnull(pfn);
	memcpy(&torch_free, &pfn, sizeof(pfn));
	/* Nothing else of it can be seen. */
	ck_assert_ptr_null(dlsym(library, "vram_connect"));
}

START_TEST(blocks_are_memory)
{
	enum {
		N = 6
	};
	static unsigned char bytes[N][100];
	void *blocks[N];

	load();
	for (int i = 0; i < N; i++) {
		blocks[i] = torch_alloc((i + 1) * 1000, 0, NULL);
		ck_assert_ptr_nonnull(blocks[i]);
		ok(cu.memset_d8((uintptr_t)blocks[i], (unsigned char)(i + 1), 100));
	}
	for (int i = 0; i < N; i++) {
		ok(cu.memcpy_dtoh(bytes[i], (uintptr_t)blocks[i], 100));
		for (int k = 0; k < 100; k++)
			ck_assert_uint_eq(bytes[i][k], i + 1);
	}
	for (int i = 0; i < N; i++)
		torch_free(blocks[i], (i + 1) * 1000, 0, NULL);
	ck_assert_uint_eq(standin_calls(card, "cuMemAddressReserve", getpid()),
			  standin_calls(card, "cuMemAddressFree", getpid()));
}
END_TEST

START_TEST(refusals)
{
	void *p;

	load();
	ck_assert_ptr_null(torch_alloc(0, 0, NULL));
	ck_assert_ptr_null(torch_alloc(-1, 0, NULL));
	/* Another device than vramd's. */
	ck_assert_ptr_null(torch_alloc(1000, 1, NULL));
	/* More than there can ever be, and more than there is within the time. */
	ck_assert_ptr_null(torch_alloc(100 * MIB, 0, NULL));
	p = torch_alloc(20 * MIB, 0, NULL);
	ck_assert_ptr_nonnull(p);
	ck_assert_ptr_null(torch_alloc(20 * MIB, 0, NULL));
	torch_free(p, 20 * MIB, 0, NULL);
	p = torch_alloc(20 * MIB, 0, NULL);
	ck_assert_ptr_nonnull(p);
	torch_free(p, 20 * MIB, 0, NULL);
	torch_free(NULL, 0, 0, NULL);
	torch_free(&p, 1, 0, NULL);
}
END_TEST

START_TEST(without_daemon)
{
	load();
	setenv("VRAM_SOCKET", "/nowhere", 1);
	ck_assert_ptr_null(torch_alloc(1000, 0, NULL));
	setenv("VRAM_SOCKET", d.socket, 1);
	torch_free(torch_alloc(1000, 0, NULL), 1000, 0, NULL);
}
END_TEST

/* PyTorch lets go of a tensor while the work on it is still queued. */
START_TEST(freed_while_in_use)
{
	unsigned char *pinned;
	cuda_stream stream;
	void *p;

	load();
	ok(cu.stream_create(&stream, CUDA_ABI_STREAM_NON_BLOCKING));
	ok(cu.mem_host_alloc((void **)&pinned, 4096, 0));
	p = torch_alloc(1000, 0, stream);
	card->image->latency_ns = 200000000;
	ok(cu.memset_d8_async((uintptr_t)p, 77, 1000, stream));
	ok(cu.memcpy_dtoh_async(pinned, (uintptr_t)p, 1000, stream));
	torch_free(p, 1000, 0, stream);
	ok(cu.stream_query(stream));
	ck_assert_uint_eq(pinned[999], 77);
}
END_TEST

static void *allocate_and_free(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	uintptr_t failed = 0;

	ok(cu.ctx_set_current(context));
	for (int i = 0; i < 40; i++) {
		ssize_t bytes = 1 + rand_r(&seed) % 3000000;
		void *p = torch_alloc(bytes, 0, NULL);

		failed += !p;
		torch_free(p, bytes, 0, NULL);
	}
	return (void *)failed;
}

START_TEST(threads)
{
	pthread_t thread[4];
	void *failed;

	load();
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, allocate_and_free, (void *)(i + 1));
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], &failed);
		ck_assert_uint_eq((uintptr_t)failed, 0);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("memory for PyTorch");
	SRunner *runner;
	TCase *tc;
	int failed;

	if (!vramd_usable())
		return 77;
	tc = world_bare_case(suite, "allocator");
	tcase_add_test(tc, blocks_are_memory);
	tcase_add_test(tc, refusals);
	tcase_add_test(tc, without_daemon);
	tcase_add_test(tc, freed_while_in_use);
	tcase_add_test(tc, threads);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
