// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kernels. A module is any text that begins with STANDIN_MODULE (kernels.h); it has all of them.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/cuda-standin/api.h"
#include "tests/cuda-standin/device.h"
#include "tests/cuda-standin/kernels.h"
#include "tests/cuda-standin/space.h"
#include "tests/cuda-standin/stream.h"

#define SLICE (1u << 20)

struct kernel {
	const char *name;
	cuda_result (*run)(struct stream *stream, const uint64_t *arguments);
	unsigned int n_arguments;
	unsigned char widths[OP_ARGUMENTS];
};

struct module {
	struct module *next;
	bool loaded;
};

static struct module *modules;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* Calls fn on a stretch of memory, slice by slice. */
static cuda_result each(struct stream *stream, cuda_ptr ptr, size_t left, bool write,
			void (*fn)(unsigned char *p, size_t n, void *data), void *data)
{
	while (left && stream_may_work(stream)) {
		size_t n = left < SLICE ? left : SLICE;
		void *p;

		pthread_rwlock_rdlock(&va_lock);
		p = space_access(ptr, &n, write);
		if (p)
			fn(p, n, data);
		pthread_rwlock_unlock(&va_lock);
		if (!p)
			return CUDA_ABI_ERROR_ILLEGAL_ADDRESS;
		ptr += n;
		left -= n;
	}
	return CUDA_ABI_SUCCESS;
}

static void fill(unsigned char *p, size_t n, void *data)
{
	memset(p, *(uint64_t *)data, n);
}

static cuda_result run_fill(struct stream *stream, const uint64_t *a)
{
	uint64_t byte = a[2];

	return each(stream, a[0], a[1], true, fill, &byte);
}

static void add(unsigned char *p, size_t n, void *data)
{
	uint64_t sum = 0;

	while (n--)
		sum += *p++;
	*(uint64_t *)data += sum;
}

static void store(unsigned char *p, size_t n, void *data)
{
	memcpy(p, data, n);
}

static cuda_result run_sum(struct stream *stream, const uint64_t *a)
{
	uint64_t sum = 0;
	cuda_result result;

	if (a[0] % sizeof(sum))
		return CUDA_ABI_ERROR_MISALIGNED_ADDRESS;
	result = each(stream, a[1], a[2], false, add, &sum);
	return result == CUDA_ABI_SUCCESS ? each(stream, a[0], sizeof(sum), true, store, &sum) :
					    result;
}

static cuda_result run_copy(struct stream *stream, const uint64_t *a)
{
	uint64_t to = a[0], from = a[1];
	size_t left = a[2];

	while (left && stream_may_work(stream)) {
		size_t n = left < SLICE ? left : SLICE;
		void *d, *s;

		pthread_rwlock_rdlock(&va_lock);
		d = space_access(to, &n, true);
		s = space_access(from, &n, false);
		if (d && s)
			memmove(d, s, n);
		pthread_rwlock_unlock(&va_lock);
		if (!d || !s)
			return CUDA_ABI_ERROR_ILLEGAL_ADDRESS;
		to += n;
		from += n;
		left -= n;
	}
	return CUDA_ABI_SUCCESS;
}

static cuda_result run_spin(struct stream *stream, const uint64_t *a)
{
	uint64_t end = now_ns() + a[0];

	/* In short sleeps: a context that dies ends the kernel. */
	while (stream_may_work(stream)) {
		uint64_t now = now_ns();

		if (now >= end)
			break;
		sleep_until(end - now > 1000000 ? now + 1000000 : end);
	}
	return CUDA_ABI_SUCCESS;
}

static cuda_result run_trap(struct stream *stream, const uint64_t *a)
{
	(void)stream;
	return a[0];
}

static const struct kernel kernels[] = {
	{ "fill", run_fill, 3, { 8, 8, 4 } }, { "copy", run_copy, 3, { 8, 8, 8 } },
	{ "sum", run_sum, 3, { 8, 8, 8 } },   { "spin", run_spin, 1, { 8 } },
	{ "trap", run_trap, 1, { 4 } },
};

static cuda_result run_kernel(struct stream *stream, struct op *op)
{
	return op->launch.kernel->run(stream, op->launch.arguments);
}

static cuda_result launch(cuda_function function, const unsigned int *dims, cuda_stream handle,
			  void **params, void **extra, bool per_thread)
{
	const struct kernel *k = (const struct kernel *)function;
	struct stream *s;
	struct op *op;
	cuda_result result;
	unsigned int i;

	if (k < kernels || k >= kernels + sizeof(kernels) / sizeof(kernels[0]))
		return CUDA_ABI_ERROR_INVALID_HANDLE;
	for (i = 0; i < 6; i++)
		if (!dims[i])
			return CUDA_ABI_ERROR_INVALID_VALUE;
	/* Arguments in a buffer (extra) are not imitated. */
	if (!params || extra)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	op = op_new(run_kernel);
	op->launch.kernel = k;
	for (i = 0; i < k->n_arguments; i++)
		memcpy(&op->launch.arguments[i], params[i], k->widths[i]);
	stream_submit(s, op);
	return CUDA_ABI_SUCCESS;
}

static cuda_result launch_plain(cuda_function function, const unsigned int *dims,
				cuda_stream stream, void **params, void **extra, bool per_thread)
{
	ENTER(cuLaunchKernel, ENTER_INIT | ENTER_CONTEXT);
	return launch(function, dims, stream, params, extra, per_thread);
}

EXPORT cuda_result cuLaunchKernel(cuda_function function, unsigned int gx, unsigned int gy,
				  unsigned int gz, unsigned int bx, unsigned int by,
				  unsigned int bz, unsigned int shared, cuda_stream stream,
				  void **params, void **extra)
{
	const unsigned int dims[] = { gx, gy, gz, bx, by, bz };

	(void)shared;
	return launch_plain(function, dims, stream, params, extra, false);
}

EXPORT cuda_result cuLaunchKernel_ptsz(cuda_function function, unsigned int gx, unsigned int gy,
				       unsigned int gz, unsigned int bx, unsigned int by,
				       unsigned int bz, unsigned int shared, cuda_stream stream,
				       void **params, void **extra)
{
	const unsigned int dims[] = { gx, gy, gz, bx, by, bz };

	(void)shared;
	return launch_plain(function, dims, stream, params, extra, true);
}

static cuda_result launch_config(const struct cuda_launch_config *config, cuda_function function,
				 void **params, void **extra, bool per_thread)
{
	ENTER(cuLaunchKernelEx, ENTER_INIT | ENTER_CONTEXT);
	if (!config || config->n_attributes)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	return launch(function, &config->gx, config->stream, params, extra, per_thread);
}

EXPORT cuda_result cuLaunchKernelEx(const struct cuda_launch_config *config, cuda_function function,
				    void **params, void **extra)
{
	return launch_config(config, function, params, extra, false);
}

EXPORT cuda_result cuLaunchKernelEx_ptsz(const struct cuda_launch_config *config,
					 cuda_function function, void **params, void **extra)
{
	return launch_config(config, function, params, extra, true);
}

/* ---- modules ---- */

/* Needs the mutex. */
static struct module *find(cuda_module handle)
{
	struct module *m;

	for (m = modules; m && (m != (struct module *)handle || !m->loaded); m = m->next)
		;
	return m;
}

EXPORT cuda_result cuModuleLoadData(cuda_module *out_module, const void *image)
{
	struct module *m;

	ENTER(cuModuleLoadData, ENTER_INIT | ENTER_CONTEXT);
	if (!out_module || !image)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (strncmp(image, STANDIN_MODULE, strlen(STANDIN_MODULE)) != 0)
		return CUDA_ABI_ERROR_INVALID_IMAGE;
	m = calloc(1, sizeof(*m));
	m->loaded = true;
	pthread_mutex_lock(&mutex);
	m->next = modules;
	modules = m;
	pthread_mutex_unlock(&mutex);
	*out_module = (cuda_module)m;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuModuleUnload(cuda_module module)
{
	struct module *m;

	ENTER(cuModuleUnload, ENTER_INIT | ENTER_CONTEXT);
	pthread_mutex_lock(&mutex);
	m = find(module);
	if (m)
		m->loaded = false;
	pthread_mutex_unlock(&mutex);
	return m ? CUDA_ABI_SUCCESS : CUDA_ABI_ERROR_INVALID_HANDLE;
}

EXPORT cuda_result cuModuleGetFunction(cuda_function *out_function, cuda_module module,
				       const char *name)
{
	struct module *m;
	unsigned int i;

	ENTER(cuModuleGetFunction, ENTER_INIT | ENTER_CONTEXT);
	if (!out_function || !name)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&mutex);
	m = find(module);
	pthread_mutex_unlock(&mutex);
	if (!m)
		return CUDA_ABI_ERROR_INVALID_HANDLE;
	for (i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		if (strcmp(kernels[i].name, name) == 0) {
			*out_function = (cuda_function)&kernels[i];
			return CUDA_ABI_SUCCESS;
		}
	}
	return CUDA_ABI_ERROR_NOT_FOUND;
}
