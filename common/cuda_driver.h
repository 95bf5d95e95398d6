/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * libcuda.so.1, found at run time.
 *
 * Whoever uses a card opens the driver once and calls it through the pointers in struct
 * cuda_driver. Nothing is linked, so a machine without NVIDIA's driver runs the same binaries and
 * gets a reason in one line.
 *
 * OWNERSHIP. The library stays loaded for the life of the process, also when opening failed after
 * cuInit: it starts threads, and nothing can say that they are gone. Opening twice gives the same
 * library. After fork() a child must not call it.
 *
 * LOCKING. None: struct cuda_driver is written by cuda_driver_open() and only read afterwards.
 */
#ifndef VRAM_COMMON_CUDA_DRIVER_H
#define VRAM_COMMON_CUDA_DRIVER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cuda_abi.h"

/* CUDA 12.4, the r550 series: the oldest driver that the project was written for. */
#define CUDA_DRIVER_OLDEST 12040

/* What a reason of cuda_driver_open() may need, with its final zero. */
#define CUDA_DRIVER_REASON_SIZE 256

struct cuda_driver {
	void *library;
	int version; /* what cuDriverGetVersion says: 1000 * major + 10 * minor */
#define CUDA_ABI_POINTER(field, base, symbol, version, need, prototype) \
	cuda_result(*field) prototype;
	CUDA_ABI_ENTRIES(CUDA_ABI_POINTER)
#undef CUDA_ABI_POINTER
};

/*
 * Loads the driver and initialises it (cuInit). path: NULL for libcuda.so.1 as the loader finds
 * it, or the file to load.
 *
 * Return: 0, or with a line for people in reason (at most size bytes, no newline):
 *	-ENOENT		there is no such library
 *	-ELIBBAD	it cannot be loaded, or it is no CUDA driver
 *	-ENOTSUP	the driver is too old, or lacks an entry point that is needed
 *	-EACCES		no permission on the device nodes
 *	-ENODEV		the driver works, but there is no device that it may use
 *	-EIO		the driver does not start: another version in the kernel, a device that failed
 * out is written only on success.
 */
int cuda_driver_open(struct cuda_driver *out, const char *path, char *reason, size_t size);

/*
 * Return: "CUDA_ERROR_X: what that means", good until this thread's next call. driver: NULL where
 * there is none; the meaning is then left out.
 */
const char *cuda_driver_error_text(const struct cuda_driver *driver, cuda_result result);

/* Return: the name, "CUDA_ERROR_X", without asking a driver; NULL for what this header does not list. */
const char *cuda_result_name(cuda_result result);

/*
 * A result as errno. For the daemon's backend and libvram alone; everything above them sees errnos.
 *
 * Return: 0, -ENOMEM, -EINVAL, -ENODEV (the device is gone or may not be used), -EACCES, -ENOTSUP,
 * -EAGAIN (not ready), -ETIMEDOUT, -EIO (everything else, all that is sticky included).
 */
int cuda_errno(cuda_result result);

/*
 * Return: whether this error ends the context that returns it: every later call in that context
 * returns it again, its memory cannot be read any more, and only a new process, or destroying the
 * context, helps.
 *
 * CUDA_ERROR_UNKNOWN is not among them, although a card that fell off the bus may show as that:
 * it is also what a harmless refusal looks like. Who gets it asks cuCtxSynchronize.
 */
bool cuda_is_sticky(cuda_result result);

#endif
