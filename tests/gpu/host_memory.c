// SPDX-License-Identifier: GPL-2.0-only
#include "tests/gpu/host_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kmod/uapi/vram.h"

#define HUGE_PAGE (2u << 20)
#define DEVICE	  "/dev/vram"

const char *host_kind_name(enum host_kind kind)
{
	static const char *const names[HOST_KINDS] = {
		[HOST_ANONYMOUS] = "anonymous",
		[HOST_ANONYMOUS_THP] = "anonymous, transparent huge pages",
		[HOST_MEMFD] = "memfd",
		[HOST_MEMFD_THP] = "memfd, transparent huge pages",
		[HOST_MEMFD_HUGETLB] = "memfd, hugetlb",
		[HOST_MODULE] = "pages of /dev/vram",
	};

	return names[kind];
}

static const char *open_module(struct host_memory *memory)
{
	struct vram_ioc_table table = { .n_slots = 65536 };

	memory->fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (memory->fd < 0)
		return errno == ENOENT ? "no " DEVICE : strerror(errno);
	/* The module gives a user no more than it allows him. */
	while (ioctl(memory->fd, VRAM_IOC_TABLE, &table) < 0) {
		if (table.n_slots <= 64)
			return strerror(errno);
		table.n_slots /= 2;
	}
	memory->bytes = (size_t)table.n_slots * VRAM_SLOT_BYTES;
	return NULL;
}

static const char *open_memfd(struct host_memory *memory, unsigned int flags)
{
	memory->fd = memfd_create("host memory", MFD_CLOEXEC | flags);
	if (memory->fd < 0 || ftruncate(memory->fd, (off_t)memory->bytes) < 0)
		return strerror(errno);
	return NULL;
}

const char *host_memory_new(struct host_memory *memory, enum host_kind kind, size_t bytes)
{
	const char *reason = NULL;
	int flags = MAP_SHARED;

	*memory = (struct host_memory){ .bytes = bytes, .fd = -1 };
	switch (kind) {
	case HOST_ANONYMOUS:
	case HOST_ANONYMOUS_THP:
		flags = MAP_PRIVATE | MAP_ANONYMOUS;
		break;
	case HOST_MEMFD_HUGETLB:
		reason = open_memfd(memory, MFD_HUGETLB);
		break;
	case HOST_MODULE:
		reason = open_module(memory);
		break;
	default:
		reason = open_memfd(memory, 0);
	}
	if (!reason) {
		/* Huge pages of hugetlb that are not there fail here, not at a touch. */
		memory->p = mmap(NULL, memory->bytes, PROT_READ | PROT_WRITE, flags, memory->fd, 0);
		if (memory->p == MAP_FAILED) {
			memory->p = NULL;
			reason = kind == HOST_MEMFD_HUGETLB ? "too few huge pages are reserved" :
							      strerror(errno);
		}
	}
	if (reason) {
		host_memory_free(memory);
		return reason;
	}
	if (kind == HOST_ANONYMOUS_THP || kind == HOST_MEMFD_THP)
		madvise(memory->p, memory->bytes, MADV_HUGEPAGE);
	else if (kind == HOST_ANONYMOUS || kind == HOST_MEMFD)
		madvise(memory->p, memory->bytes, MADV_NOHUGEPAGE);
	memset(memory->p, 0x5a, memory->bytes);
	return NULL;
}

void host_memory_free(struct host_memory *memory)
{
	if (memory->p)
		munmap(memory->p, memory->bytes);
	if (memory->fd >= 0)
		close(memory->fd);
	*memory = (struct host_memory){ .fd = -1 };
}

bool host_memory_is_huge(const struct host_memory *memory)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	bool mine = false, huge = false;
	uintptr_t start, end;
	unsigned long kb;
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2)
			mine = start <= (uintptr_t)memory->p && (uintptr_t)memory->p < end;
		else if (mine && (sscanf(line, "AnonHugePages: %lu", &kb) == 1 ||
				  sscanf(line, "ShmemPmdMapped: %lu", &kb) == 1 ||
				  sscanf(line, "Shared_Hugetlb: %lu", &kb) == 1 ||
				  sscanf(line, "Private_Hugetlb: %lu", &kb) == 1))
			huge |= kb * 1024 >= HUGE_PAGE && kb * 1024 * 2 > memory->bytes;
	}
	if (f)
		fclose(f);
	return huge;
}
