/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The image: one file that is the card of the stand-in driver.
 *
 * VRAM_STANDIN names it. Its first STANDIN_DATA bytes are struct standin, mapped by every process
 * that uses the card and by the test that set it up; behind that lie the pages of the card's
 * memory. Tests change the first part while processes run; every field there may be written at any
 * time and is read anew at every call.
 *
 * A page belongs to whoever holds a write lock of an open file description (F_OFD_SETLK) on it.
 * Such a lock lives as long as the last descriptor or mapping of that open file in any process, so
 * the kernel keeps the reference counts of the card's memory, and lets go of what a killed process
 * held. The table below only says what the locks mean; where they disagree the lock is right.
 *
 * tests/support/standin.c and standin.py make images and change them; standin.py repeats this
 * layout and refuses an image whose layout_bytes differ.
 */
#ifndef VRAM_TESTS_CUDA_STANDIN_STANDIN_H
#define VRAM_TESTS_CUDA_STANDIN_STANDIN_H

#include <stdatomic.h>
#include <stdint.h>

#define STANDIN_MAGIC	      0x314e4453565242ull
#define STANDIN_PAGE	      (2ull << 20)
#define STANDIN_DATA	      (16ull << 20)
#define STANDIN_PAGES	      65536
#define STANDIN_PROCS	      64
#define STANDIN_MAX_FUNCTIONS 224
#define STANDIN_FAULTS	      64
#define STANDIN_OVERRIDES     16

/* Bytes that are locked and never exist: one for changing the table, one for each process. */
#define STANDIN_LOCK_TABLE (1ll << 60)
#define STANDIN_LOCK_PROC  (STANDIN_LOCK_TABLE + 1)

/* A call that is to fail. Written by the test, armed last; the driver counts skip and times down. */
struct standin_fault {
	_Atomic uint32_t armed;
	uint32_t error;	       /* what the call returns */
	uint32_t flags;	       /* STANDIN_FAULT_* */
	int32_t pid;	       /* 0: in any process */
	_Atomic int64_t skip;  /* matching calls that still pass */
	_Atomic int64_t times; /* calls that fail after those; negative: all */
	_Atomic uint64_t hits; /* how many have failed */
	char function[48];     /* base name, "cuMemMap"; "*": every call */
};
#define STANDIN_FAULT_STICKY 1u /* the context is dead from then on */
#define STANDIN_FAULT_ASYNC \
	2u /* the call works, its work on the stream fails with a sticky error */

/* A process that has initialised the driver. Alive while it holds the lock of its slot. */
struct standin_proc {
	_Atomic int32_t pid;
	_Atomic uint32_t contexts;
	char name[16];
	_Atomic uint64_t calls[STANDIN_MAX_FUNCTIONS];
};

/* owner: 0, or the id of the allocation that the page is part of. */
struct standin_page {
	uint64_t owner;
	uint64_t orphaned_ns; /* when it was first seen without a lock; 0: not yet */
	uint32_t next;	      /* the allocation's next page, or STANDIN_PAGES */
	int32_t creator;      /* pid */
	uint32_t handle_types;
	uint32_t pad;
};

struct standin_override {
	int32_t attribute; /* 0: none */
	int32_t value;
};

struct standin {
	uint64_t magic;
	uint64_t layout_bytes; /* sizeof(struct standin) */
	uint64_t image_pages;  /* what the file has room for; size_bytes may be less */

	/* The card. */
	_Atomic uint64_t size_bytes;
	_Atomic uint64_t context_bytes; /* what each context takes */
	_Atomic uint64_t outside_bytes; /* what programs outside hold */
	_Atomic int32_t driver_version;
	_Atomic uint32_t init_error; /* what cuInit returns */
	_Atomic uint32_t
		lost_error; /* not 0: the card is gone, and this is what everything returns */
	_Atomic uint32_t mig;
	_Atomic uint32_t
		vmm_survives; /* calls for memory and addresses work when the context is dead */
	uint32_t pad;
	char uuid[16];
	char pci[16];
	char name[64];
	struct standin_override overrides[STANDIN_OVERRIDES];
	char hidden[4][48]; /* base names that cuGetProcAddress does not find */

	/* Time. 0 takes none. */
	_Atomic uint64_t h2d_bytes_per_s; /* shared by all processes, each direction its own */
	_Atomic uint64_t d2h_bytes_per_s;
	_Atomic uint64_t d2d_bytes_per_s; /* memset, too */
	_Atomic uint64_t latency_ns;	  /* before each operation on a stream */
	_Atomic uint64_t create_ns;	  /* of the calls themselves, for each page */
	_Atomic uint64_t set_access_ns;
	_Atomic uint64_t unmap_ns;
	_Atomic uint64_t linger_ns; /* for how long the pages of a process that ended stay taken */

	/* The driver's own. */
	_Atomic uint64_t serial;
	_Atomic uint64_t engine_free_ns[3]; /* until when a copy engine is taken */
	_Atomic uint64_t refused;	    /* creates and allocations that found no room */
	uint64_t spare[16];

	struct standin_fault faults[STANDIN_FAULTS];
	char functions[STANDIN_MAX_FUNCTIONS][48]; /* base names; written by the first process */
	_Atomic uint64_t
		calls[STANDIN_MAX_FUNCTIONS]; /* of all processes since the image was made */
	struct standin_proc procs[STANDIN_PROCS];
	struct standin_page pages[STANDIN_PAGES];
};

_Static_assert(sizeof(struct standin) <= STANDIN_DATA, "the table reaches into the memory");

#endif
