/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * compat: what the sources shared with vramd need from their surroundings, in the kernel and in
 * user space (everything else they do with C alone), and what differs between the kernels that the
 * module is built for: 6.1 to 7.2.
 *
 * Our own names (vram_*), never redefined kernel ones: those get backported to
 * stable kernels, and a name defined twice breaks the build there.
 */
#ifndef VRAM_KMOD_COMPAT_H
#define VRAM_KMOD_COMPAT_H

#ifdef __KERNEL__

#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/types.h>
#include <linux/version.h>

#define VRAM_U64_MAX  U64_MAX
#define vram_snprintf snprintf

/*
 * May sleep: the callers hold a mutex, never a spinlock. Not charged to a memory cgroup: a client
 * at its limit would reclaim while it holds the lock that all need. What bounds it is the caps for
 * each user.
 */
static inline void *vram_zalloc(size_t n_bytes)
{
	return kvzalloc(n_bytes, GFP_KERNEL);
}

static inline void vram_free(const void *p)
{
	kvfree(p);
}

static inline u64 vram_mul_div(u64 a, u64 b, u64 divisor)
{
	return mul_u64_u64_div_u64(a, b, divisor);
}

static inline u64 vram_div_rem(u64 a, u64 divisor, u64 *out_rem)
{
	return div64_u64_rem(a, divisor, out_rem);
}

static inline void vram_vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

/* The executable of a process, with a reference, or NULL. */
static inline struct file *vram_exe_file(struct mm_struct *mm)
{
	struct file *file;

	rcu_read_lock();
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	file = get_file_rcu(&mm->exe_file);
#else
	do {
		file = rcu_dereference(mm->exe_file);
	} while (file && !get_file_rcu(file));
#endif
	rcu_read_unlock();
	return file;
}

#else /* userspace */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define VRAM_U64_MAX  UINT64_MAX
#define vram_snprintf snprintf

/*
 * A test program that defines this decides which allocations fail; in every other
 * program the name stays undefined, and its address is NULL.
 */
extern bool vram_alloc_fails(size_t n_bytes) __attribute__((weak));

/* Return: n_bytes of zeros, or NULL. */
static inline void *vram_zalloc(size_t n_bytes)
{
	if (vram_alloc_fails && vram_alloc_fails(n_bytes))
		return NULL;
	return calloc(1, n_bytes);
}

/* NULL is fine. */
static inline void vram_free(const void *p)
{
	free((void *)(uintptr_t)p);
}

/* Return: a * b / divisor without overflow in between; the result must fit. */
static inline u64 vram_mul_div(u64 a, u64 b, u64 divisor)
{
	return (u64)((__uint128_t)a * b / divisor);
}

static inline u64 vram_div_rem(u64 a, u64 divisor, u64 *out_rem)
{
	*out_rem = a % divisor;
	return a / divisor;
}

#endif

/* 32-bit kernels have no 64-bit division operator. */
static inline u64 vram_div(u64 a, u64 divisor)
{
	u64 rem;

	return vram_div_rem(a, divisor, &rem);
}

static inline u64 vram_min(u64 a, u64 b)
{
	return a < b ? a : b;
}

static inline u64 vram_max(u64 a, u64 b)
{
	return a > b ? a : b;
}

#endif
