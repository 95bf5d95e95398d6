// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pinned memory for the host tier: what the card's copy engines reach, and files are read into.
 *
 * Huge pages, because pinning goes page by page. A memory file of the kernel's reserved ones (hugetlbfs) if the whole fits in
 * them; else ordinary memory with the wish for transparent ones. (Not a memory file then: those get huge pages only
 * where shmem_enabled allows it, which it does nowhere by default.)
 *
 * It is pinned (cuMemHostRegister) piece by piece when a piece is first used, so that a large tier costs nothing until
 * it is needed, and starting costs no seconds. Pinning makes the kernel provide the pages, which takes a few
 * milliseconds for 32 MiB; it happens once for each piece. A copy must not cross the border of two pieces, so a piece is a whole number of the
 * slots that the tier is divided into. Where pinning is refused everything goes on with copies that are slower and
 * hold the loop up (gpu_cuda_copy.c); that is said once.
 */
#include "daemon/gpu_cuda.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/log.h"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif

#define HUGE_BYTES  (2ull << 20)
#define PIECE_BYTES (32ull << 20)

enum piece_state {
	PIECE_NEW,
	PIECE_REGISTERED,
	PIECE_REFUSED,
};

static char *map_hugetlb(uint64_t bytes)
{
	int fd = memfd_create("vram-host", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	void *addr = MAP_FAILED;

	if (fd < 0)
		return NULL;
	/* The mapping takes its pages out of the reserve here, or fails here. */
	if (ftruncate(fd, (off_t)bytes) == 0)
		addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return addr == MAP_FAILED ? NULL : addr;
}

void *cuda_host_map(struct gpu *gpu, uint64_t bytes)
{
	struct cuda_device *dev = cuda_device_of(gpu);
	uint64_t whole = (bytes + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
	const char *kind = "hugetlb";
	char *addr;

	if (dev->host.addr)
		return NULL;
	addr = map_hugetlb(whole);
	dev->host.reserve = addr;
	dev->host.reserve_bytes = whole;
	if (!addr) {
		kind = "transparent huge";
		dev->host.reserve_bytes = whole + HUGE_BYTES;
		addr = mmap(NULL, dev->host.reserve_bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (addr == MAP_FAILED)
			return NULL;
		dev->host.reserve = addr;
		addr = (char *)(((uintptr_t)addr + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1));
		madvise(addr, whole, MADV_HUGEPAGE);
	}
	/* A child would make our own pages go away under the card at the next write. */
	madvise(addr, whole, MADV_DONTFORK);
	/* A byte for each piece, were they as small as pages. */
	dev->host.registered = calloc(whole / 4096, 1);
	if (!dev->host.registered) {
		munmap(dev->host.reserve, dev->host.reserve_bytes);
		return NULL;
	}
	dev->host.addr = addr;
	dev->host.bytes = bytes;
	dev->host.unit_bytes = 0;
	log_debug("%s: a host tier of %llu MiB in %s pages", dev->gpu.name,
		  (unsigned long long)(bytes >> 20), kind);
	return addr;
}

static uint64_t piece_len(const struct cuda_device *dev, uint64_t piece)
{
	uint64_t left = dev->host.bytes - piece * dev->host.unit_bytes;

	return left < dev->host.unit_bytes ? left : dev->host.unit_bytes;
}

void cuda_host_touch(struct gpu *gpu, void *addr, uint64_t bytes)
{
	struct cuda_device *dev = cuda_device_of(gpu);
	cuda_result result;
	uint64_t piece;
	char *at;

	if (!bytes || dev->lost)
		return;
	if (!dev->host.unit_bytes)
		dev->host.unit_bytes = bytes < PIECE_BYTES ? PIECE_BYTES / bytes * bytes : bytes;
	piece = (uint64_t)((char *)addr - dev->host.addr) / dev->host.unit_bytes;
	if (dev->host.registered[piece] != PIECE_NEW)
		return;
	at = dev->host.addr + piece * dev->host.unit_bytes;
	result = dev->cuda.mem_host_register(at, piece_len(dev, piece),
					     CUDA_ABI_MEMHOSTREGISTER_PORTABLE);
	/* Already: in a context before this one, which could not be asked to forget it. */
	if (result == CUDA_ABI_SUCCESS || result == CUDA_ABI_ERROR_HOST_MEMORY_ALREADY_REGISTERED) {
		dev->host.registered[piece] = PIECE_REGISTERED;
		return;
	}
	dev->host.registered[piece] = PIECE_REFUSED;
	if (cuda_is_sticky(result)) {
		cuda_failed(dev, result, "cuMemHostRegister");
	} else if (!dev->host.said_refused) {
		dev->host.said_refused = true;
		log_warn("%s: the host tier cannot be pinned, so copies are slow: "
			 "cuMemHostRegister: %s",
			 dev->gpu.name, cuda_driver_error_text(&dev->cuda, result));
	}
}

void cuda_host_unmap(struct gpu *gpu, void *addr, uint64_t bytes)
{
	struct cuda_device *dev = cuda_device_of(gpu);

	(void)bytes;
	if (!addr || addr != dev->host.addr)
		return;
	if (dev->host.unit_bytes)
		for (uint64_t i = 0; i * dev->host.unit_bytes < dev->host.bytes; i++)
			if (dev->host.registered[i] == PIECE_REGISTERED)
				dev->cuda.mem_host_unregister(dev->host.addr +
							      i * dev->host.unit_bytes);
	munmap(dev->host.reserve, dev->host.reserve_bytes);
	free(dev->host.registered);
	memset(&dev->host, 0, sizeof(dev->host));
}

void cuda_host_forget(struct cuda_device *dev)
{
	if (dev->host.registered)
		memset(dev->host.registered, PIECE_NEW, dev->host.bytes / 4096);
	dev->host.said_refused = false;
}
