// SPDX-License-Identifier: GPL-2.0-only
// Links common/cuda_driver.c and common/err.c beside libvram.a, which shows nothing of its own.
#include "tests/support/device.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/cuda_driver.h"
#include "libclient/vram.h"
#include "libclient/vram_cuda.h"
#include "tests/support/vramd.h"

static struct cuda_driver cuda;
static cuda_context context;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_end; /* of a thread: its copy goes */
static _Thread_local struct {
	char *bytes;
	uint64_t size;
	bool entered;
} own;

static void open_card(void)
{
	char reason[CUDA_DRIVER_REASON_SIZE] = "";

	ck_assert_msg(cuda_driver_open(&cuda, NULL, reason, sizeof(reason)) == 0, "%s", reason);
	ck_assert_int_eq(cuda.primary_ctx_retain(&context, 0), CUDA_ABI_SUCCESS);
	ck_assert_int_eq(pthread_key_create(&at_end, free), 0);
}

static void enter(void)
{
	pthread_once(&once, open_card);
	if (!own.entered)
		ck_assert_int_eq(cuda.ctx_set_current(context), CUDA_ABI_SUCCESS);
	own.entered = true;
}

void device_attach(struct vram_client *client)
{
	if (!vramd_wants_card())
		return;
	enter();
	ck_assert_msg(vram_client_attach_cuda(client, 0) == 0, "%s", vram_error_text());
}

static cuda_ptr address(const void *p)
{
	return (cuda_ptr)(uintptr_t)p;
}

const void *device_bytes(const void *p, uint64_t bytes)
{
	cuda_result result;

	if (!vramd_wants_card())
		return p;
	enter();
	if (own.size < bytes) {
		free(own.bytes);
		own.bytes = malloc(bytes);
		own.size = own.bytes ? bytes : 0;
		pthread_setspecific(at_end, own.bytes);
		ck_assert_ptr_nonnull(own.bytes);
	}
	result = cuda.memcpy_dtoh(own.bytes, address(p), bytes);
	ck_assert_msg(result == CUDA_ABI_SUCCESS, "cuMemcpyDtoH: %s",
		      cuda_driver_error_text(&cuda, result));
	return own.bytes;
}

void device_write(void *p, const void *from, uint64_t bytes)
{
	cuda_result result;

	if (!vramd_wants_card()) {
		memcpy(p, from, bytes);
		return;
	}
	enter();
	result = cuda.memcpy_htod(address(p), from, bytes);
	ck_assert_msg(result == CUDA_ABI_SUCCESS, "cuMemcpyHtoD: %s",
		      cuda_driver_error_text(&cuda, result));
}
