/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The card: its image, the pages in it, faults, and what a call has to pass before it does anything.
 */
#ifndef VRAM_TESTS_CUDA_STANDIN_DEVICE_H
#define VRAM_TESTS_CUDA_STANDIN_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cuda_abi.h"
#include "tests/cuda-standin/functions.h"
#include "tests/cuda-standin/standin.h"

#define EXPORT __attribute__((visibility("default")))

/* The card's memory that one allocation has in this process. Reference-counted under va_lock. */
struct phys {
	uint64_t id;
	int fd; /* the open file that holds the pages' locks */
	unsigned int n_pages;
	unsigned int handles;  /* references by handle */
	unsigned int mappings; /* references by mapping */
	struct cuda_mem_prop prop;
	uint32_t pages[];
};

/* Return: the image, NULL before cuInit. */
struct standin *device_image(void);

/* Return: where a page of the card lies in this process, for the driver's own eyes. */
void *device_page(uint32_t page);

/* Takes part in the card that VRAM_STANDIN names. */
cuda_result device_attach(void);

/* Before cuInit, too: what the driver's library itself knows. */
int device_driver_version(void);
bool device_hides(const char *base);

/* The context count of this process, for what contexts take and for NVML. */
cuda_result device_add_context(void);
void device_drop_context(void);

uint64_t device_free_bytes(void);

cuda_result device_alloc(struct phys **out_phys, unsigned int n_pages,
			 const struct cuda_mem_prop *prop);
/* fd stays the caller's. */
cuda_result device_import(struct phys **out_phys, int fd);
/* The last reference in this process is gone. */
void device_release(struct phys *phys);

/* One engine for each direction of copies, shared by all processes. */
enum engine {
	ENGINE_H2D,
	ENGINE_D2H,
	ENGINE_D2D
};
/* Takes the engine for size bytes. Return: until when, 0 where time does not count. */
uint64_t device_engine(enum engine engine, size_t size);

uint64_t now_ns(void);
void sleep_until(uint64_t ns);
/* A call that costs this much on each of n pages. */
void device_spend(uint64_t ns_per_page, unsigned int n);

/*
 * What every call does first: counts itself, and fails where a fault is armed for it or the card
 * is gone.
 */
enum enter_flags {
	ENTER_INIT = 1,	   /* needs cuInit */
	ENTER_CONTEXT = 2, /* needs a context that is current and works */
	ENTER_DEVICE = 4,  /* fails when the primary context is dead */
};
cuda_result enter(enum function function, unsigned int flags);

/* The fault that enter() found for what this thread is about to put on a stream; cleared by this. */
cuda_result take_async_fault(void);

#define ENTER(function, flags)                                           \
	do {                                                             \
		cuda_result enter_result_ = enter(FN_##function, flags); \
		if (enter_result_ != CUDA_ABI_SUCCESS)                   \
			return enter_result_;                            \
	} while (0)

#endif
