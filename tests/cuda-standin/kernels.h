/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernels that the stand-in knows by name. A program for it loads STANDIN_MODULE with
 * cuModuleLoadData and takes its functions from there:
 *
 *	fill(u64 ptr, u64 n, u32 byte)		n bytes at ptr become byte
 *	copy(u64 to, u64 from, u64 n)
 *	sum(u64 to, u64 from, u64 n)		the u64 at to becomes the sum of n bytes
 *	spin(u64 ns)				takes that long
 *	trap(u32 error)				ends with this error, which is sticky
 *
 * Grid and block must not be empty and mean nothing.
 */
#ifndef VRAM_TESTS_CUDA_STANDIN_KERNELS_H
#define VRAM_TESTS_CUDA_STANDIN_KERNELS_H

#define STANDIN_MODULE "vram test stand-in module\n"

#endif
