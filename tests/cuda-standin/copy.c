// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies, fills, and the values that a stream writes and waits for.
 *
 * A copy goes slice by slice, each under va_lock, so that an address which is unmapped meanwhile
 * faults. Addresses that belong to nothing are refused when the call is made; those that are
 * reserved but not mapped, or not accessible, are found by the work and end the context.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cuda-standin/api.h"
#include "tests/cuda-standin/device.h"
#include "tests/cuda-standin/space.h"
#include "tests/cuda-standin/stream.h"

#define SLICE (1u << 20)

static cuda_result run_copy(struct stream *stream, struct op *op)
{
	enum engine engine = op->copy.from_device && op->copy.to_device ? ENGINE_D2D :
			     op->copy.to_device				? ENGINE_H2D :
									  ENGINE_D2H;
	uint64_t to = op->copy.to, from = op->copy.from;
	size_t left = op->copy.size;

	while (left) {
		size_t n = left < SLICE ? left : SLICE;
		uint64_t until;
		void *d, *s;

		if (!stream_may_work(stream))
			return CUDA_ABI_SUCCESS;
		pthread_rwlock_rdlock(&va_lock);
		d = op->copy.to_device ? space_access(to, &n, true) : (void *)(uintptr_t)to;
		s = op->copy.from_device ? space_access(from, &n, false) : (void *)(uintptr_t)from;
		if (!d || !s) {
			pthread_rwlock_unlock(&va_lock);
			return CUDA_ABI_ERROR_ILLEGAL_ADDRESS;
		}
		until = device_engine(engine, n);
		memmove(d, s, n);
		pthread_rwlock_unlock(&va_lock);
		if (until)
			sleep_until(until);
		to += n;
		from += n;
		left -= n;
	}
	return CUDA_ABI_SUCCESS;
}

static cuda_result run_set(struct stream *stream, struct op *op)
{
	uint64_t to = op->set.to;
	size_t left = op->set.n * op->set.width;

	while (left) {
		size_t n = left < SLICE ? left : SLICE, i;
		uint64_t until;
		void *d;

		if (!stream_may_work(stream))
			return CUDA_ABI_SUCCESS;
		pthread_rwlock_rdlock(&va_lock);
		d = space_access(to, &n, true);
		if (!d) {
			pthread_rwlock_unlock(&va_lock);
			return CUDA_ABI_ERROR_ILLEGAL_ADDRESS;
		}
		until = device_engine(ENGINE_D2D, n);
		if (op->set.width == 1)
			memset(d, op->set.value, n);
		else
			for (i = 0; i < n / 4; i++)
				((uint32_t *)d)[i] = op->set.value;
		pthread_rwlock_unlock(&va_lock);
		if (until)
			sleep_until(until);
		to += n;
		left -= n;
	}
	return CUDA_ABI_SUCCESS;
}

/* A copy that need not wait is one whose host's side, if any, stays where it is: pinned. */
static cuda_result copy(cuda_stream handle, bool per_thread, bool wait, uint64_t to, bool to_device,
			uint64_t from, bool from_device, size_t size)
{
	struct stream *s;
	struct op *op;
	cuda_result result;

	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	if (!size)
		return CUDA_ABI_SUCCESS;
	if ((to_device && !space_knows(to, size)) || (from_device && !space_knows(from, size)) ||
	    (!to_device && !to) || (!from_device && !from))
		return CUDA_ABI_ERROR_INVALID_VALUE;
	op = op_new(run_copy);
	op->copy.to = to;
	op->copy.from = from;
	op->copy.size = size;
	op->copy.to_device = to_device;
	op->copy.from_device = from_device;
	if ((!to_device && !space_is_pinned((void *)(uintptr_t)to, size)) ||
	    (!from_device && !space_is_pinned((void *)(uintptr_t)from, size)))
		wait = true;
	/* What a graph copies it copies later, whatever memory that is. */
	if (wait && !s->capture)
		return stream_run(s, op);
	stream_submit(s, op);
	return CUDA_ABI_SUCCESS;
}

#define COPY(name, symbol, TO, to_device, FROM, from_device)                                   \
	static cuda_result name(TO to, FROM from, size_t size, cuda_stream stream,             \
				bool per_thread, bool wait)                                    \
	{                                                                                      \
		ENTER(symbol, ENTER_INIT | ENTER_CONTEXT);                                     \
		return copy(stream, per_thread, wait, (uint64_t)to, to_device, (uint64_t)from, \
			    from_device, size);                                                \
	}
#define COPY_NOW(name, symbol, symbol_per_thread, TO, FROM)                 \
	EXPORT cuda_result symbol(TO to, FROM from, size_t size)            \
	{                                                                   \
		return name(to, from, size, NULL, false, true);             \
	}                                                                   \
	EXPORT cuda_result symbol_per_thread(TO to, FROM from, size_t size) \
	{                                                                   \
		return name(to, from, size, NULL, true, true);              \
	}
#define COPY_LATER(name, symbol, symbol_per_thread, TO, FROM)                                   \
	EXPORT cuda_result symbol(TO to, FROM from, size_t size, cuda_stream stream)            \
	{                                                                                       \
		return name(to, from, size, stream, false, false);                              \
	}                                                                                       \
	EXPORT cuda_result symbol_per_thread(TO to, FROM from, size_t size, cuda_stream stream) \
	{                                                                                       \
		return name(to, from, size, stream, true, false);                               \
	}

COPY(htod, cuMemcpyHtoD, cuda_ptr, true, const void *, false)
COPY_NOW(htod, cuMemcpyHtoD_v2, cuMemcpyHtoD_v2_ptds, cuda_ptr, const void *)
COPY(dtoh, cuMemcpyDtoH, void *, false, cuda_ptr, true)
COPY_NOW(dtoh, cuMemcpyDtoH_v2, cuMemcpyDtoH_v2_ptds, void *, cuda_ptr)
COPY(dtod, cuMemcpyDtoD, cuda_ptr, true, cuda_ptr, true)
COPY_NOW(dtod, cuMemcpyDtoD_v2, cuMemcpyDtoD_v2_ptds, cuda_ptr, cuda_ptr)
COPY(htod_async, cuMemcpyHtoDAsync, cuda_ptr, true, const void *, false)
COPY_LATER(htod_async, cuMemcpyHtoDAsync_v2, cuMemcpyHtoDAsync_v2_ptsz, cuda_ptr, const void *)
COPY(dtoh_async, cuMemcpyDtoHAsync, void *, false, cuda_ptr, true)
COPY_LATER(dtoh_async, cuMemcpyDtoHAsync_v2, cuMemcpyDtoHAsync_v2_ptsz, void *, cuda_ptr)
COPY(dtod_async, cuMemcpyDtoDAsync, cuda_ptr, true, cuda_ptr, true)
COPY_LATER(dtod_async, cuMemcpyDtoDAsync_v2, cuMemcpyDtoDAsync_v2_ptsz, cuda_ptr, cuda_ptr)

/* These find out by the address what is where. */
COPY(any, cuMemcpy, cuda_ptr, space_knows(to, 1), cuda_ptr, space_knows(from, 1))
COPY_NOW(any, cuMemcpy, cuMemcpy_ptds, cuda_ptr, cuda_ptr)
COPY(any_async, cuMemcpyAsync, cuda_ptr, space_knows(to, 1), cuda_ptr, space_knows(from, 1))
COPY_LATER(any_async, cuMemcpyAsync, cuMemcpyAsync_ptsz, cuda_ptr, cuda_ptr)

/* A fill by a call without a stream need not be over when it returns, but what follows it waits. */
static cuda_result set(cuda_stream handle, bool per_thread, cuda_ptr to, uint32_t value,
		       unsigned int width, size_t n)
{
	struct stream *s;
	struct op *op;
	cuda_result result;

	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	if (!n)
		return CUDA_ABI_SUCCESS;
	if (to % width || n > SIZE_MAX / width || !space_knows(to, n * width))
		return CUDA_ABI_ERROR_INVALID_VALUE;
	op = op_new(run_set);
	op->set.to = to;
	op->set.n = n;
	op->set.value = value;
	op->set.width = width;
	stream_submit(s, op);
	return CUDA_ABI_SUCCESS;
}

#define SET(base, VALUE, width)                                                              \
	static cuda_result do_##base(cuda_ptr to, VALUE value, size_t n, cuda_stream stream, \
				     bool per_thread)                                        \
	{                                                                                    \
		ENTER(base, ENTER_INIT | ENTER_CONTEXT);                                     \
		return set(stream, per_thread, to, value, width, n);                         \
	}
#define SET_NOW(base, symbol, symbol_per_thread, VALUE)                          \
	EXPORT cuda_result symbol(cuda_ptr to, VALUE value, size_t n)            \
	{                                                                        \
		return do_##base(to, value, n, NULL, false);                     \
	}                                                                        \
	EXPORT cuda_result symbol_per_thread(cuda_ptr to, VALUE value, size_t n) \
	{                                                                        \
		return do_##base(to, value, n, NULL, true);                      \
	}
#define SET_LATER(base, symbol, symbol_per_thread, VALUE)                                 \
	EXPORT cuda_result symbol(cuda_ptr to, VALUE value, size_t n, cuda_stream stream) \
	{                                                                                 \
		return do_##base(to, value, n, stream, false);                            \
	}                                                                                 \
	EXPORT cuda_result symbol_per_thread(cuda_ptr to, VALUE value, size_t n,          \
					     cuda_stream stream)                          \
	{                                                                                 \
		return do_##base(to, value, n, stream, true);                             \
	}

SET(cuMemsetD8, unsigned char, 1)
SET_NOW(cuMemsetD8, cuMemsetD8_v2, cuMemsetD8_v2_ptds, unsigned char)
SET(cuMemsetD32, unsigned int, 4)
SET_NOW(cuMemsetD32, cuMemsetD32_v2, cuMemsetD32_v2_ptds, unsigned int)
SET(cuMemsetD8Async, unsigned char, 1)
SET_LATER(cuMemsetD8Async, cuMemsetD8Async, cuMemsetD8Async_ptsz, unsigned char)
SET(cuMemsetD32Async, unsigned int, 4)
SET_LATER(cuMemsetD32Async, cuMemsetD32Async, cuMemsetD32Async_ptsz, unsigned int)

/* ---- values ---- */

static cuda_result run_write(struct stream *stream, struct op *op)
{
	size_t n = op->value.width;
	cuda_result result = CUDA_ABI_SUCCESS;
	void *p;

	(void)stream;
	pthread_rwlock_rdlock(&va_lock);
	p = space_access(op->value.ptr, &n, true);
	if (!p || n < op->value.width)
		result = CUDA_ABI_ERROR_ILLEGAL_ADDRESS;
	else if (op->value.width == 4)
		atomic_store((_Atomic uint32_t *)p, (uint32_t)op->value.value);
	else
		atomic_store((_Atomic uint64_t *)p, op->value.value);
	pthread_rwlock_unlock(&va_lock);
	return result;
}

/* Return: whether the value that is there lets the stream go on. */
static bool satisfied(const struct op *op, uint64_t there)
{
	uint64_t mask = op->value.width == 4 ? UINT32_MAX : UINT64_MAX;
	uint64_t wanted = op->value.value;

	switch (op->value.flags) {
	case CUDA_ABI_STREAM_WAIT_VALUE_GEQ:
		/* Cyclic. */
		return op->value.width == 4 ? (int32_t)(uint32_t)(there - wanted) >= 0 :
					      (int64_t)(there - wanted) >= 0;
	case CUDA_ABI_STREAM_WAIT_VALUE_EQ:
		return there == wanted;
	case CUDA_ABI_STREAM_WAIT_VALUE_AND:
		return there & wanted;
	default:
		return (~(there | wanted) & mask) != 0;
	}
}

static cuda_result run_wait(struct stream *stream, struct op *op)
{
	while (stream_may_work(stream)) {
		size_t n = op->value.width;
		uint64_t there = 0;
		void *p;

		pthread_rwlock_rdlock(&va_lock);
		p = space_access(op->value.ptr, &n, false);
		if (p && n >= op->value.width)
			there = op->value.width == 4 ? atomic_load((_Atomic uint32_t *)p) :
						       atomic_load((_Atomic uint64_t *)p);
		else
			p = NULL;
		pthread_rwlock_unlock(&va_lock);
		if (!p)
			return CUDA_ABI_ERROR_ILLEGAL_ADDRESS;
		if (satisfied(op, there))
			break;
		sleep_until(now_ns() + 20000);
	}
	return CUDA_ABI_SUCCESS;
}

static cuda_result value_op(cuda_stream handle, bool per_thread, bool is_wait, cuda_ptr ptr,
			    uint64_t value, unsigned int width, unsigned int flags)
{
	struct stream *s;
	struct op *op;
	cuda_result result;

	result = stream_find(handle, per_thread, &s);
	if (result != CUDA_ABI_SUCCESS)
		return result;
	if (flags > (is_wait ? CUDA_ABI_STREAM_WAIT_VALUE_NOR :
			       CUDA_ABI_STREAM_WRITE_VALUE_DEFAULT) ||
	    ptr % width || !space_knows(ptr, width))
		return CUDA_ABI_ERROR_INVALID_VALUE;
	op = op_new(is_wait ? run_wait : run_write);
	op->value.ptr = ptr;
	op->value.value = value;
	op->value.width = width;
	op->value.flags = flags;
	stream_submit(s, op);
	return CUDA_ABI_SUCCESS;
}

#define VALUE(base, VALUE_TYPE, is_wait)                                                        \
	static cuda_result do_##base(cuda_stream stream, cuda_ptr ptr, VALUE_TYPE value,        \
				     unsigned int flags, bool per_thread)                       \
	{                                                                                       \
		ENTER(base, ENTER_INIT | ENTER_CONTEXT);                                        \
		return value_op(stream, per_thread, is_wait, ptr, value, sizeof(value), flags); \
	}                                                                                       \
	EXPORT cuda_result base##_v2(cuda_stream stream, cuda_ptr ptr, VALUE_TYPE value,        \
				     unsigned int flags)                                        \
	{                                                                                       \
		return do_##base(stream, ptr, value, flags, false);                             \
	}                                                                                       \
	EXPORT cuda_result base##_v2_ptsz(cuda_stream stream, cuda_ptr ptr, VALUE_TYPE value,   \
					  unsigned int flags)                                   \
	{                                                                                       \
		return do_##base(stream, ptr, value, flags, true);                              \
	}

VALUE(cuStreamWriteValue32, uint32_t, false)
VALUE(cuStreamWriteValue64, uint64_t, false)
VALUE(cuStreamWaitValue32, uint32_t, true)
VALUE(cuStreamWaitValue64, uint64_t, true)
