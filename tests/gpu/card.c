// SPDX-License-Identifier: GPL-2.0-only
#include "tests/gpu/card.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void card_must(struct card *card, const char *call, cuda_result result)
{
	if (result != CUDA_ABI_SUCCESS)
		answer_failed(card->ask, "%s: %s", call, cuda_driver_error_text(&card->cu, result));
}

const char *card_text(struct card *card, cuda_result result)
{
	return result == CUDA_ABI_SUCCESS ? "works" : cuda_driver_error_text(&card->cu, result);
}

bool card_driver(struct card *card, struct ask *ask, char *reason, size_t size)
{
	memset(card, 0, sizeof(*card));
	card->ask = ask;
	return cuda_driver_open(&card->cu, ask->driver, reason, size) == 0;
}

void card_context(struct card *card)
{
	struct cuda_mem_prop prop = {
		.type = CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED,
		.handle_types = CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
		.location = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, card->ask->ordinal },
	};

	MUST(card, device_get, &card->device, card->ask->ordinal);
	MUST(card, primary_ctx_retain, &card->context, card->device);
	MUST(card, ctx_set_current, card->context);
	MUST(card, mem_get_allocation_granularity, &card->granularity, &prop,
	     CUDA_ABI_MEM_ALLOC_GRANULARITY_MINIMUM);
	MUST(card, device_get_attribute, &card->n_processors,
	     CUDA_ABI_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, card->device);
}

void card_open(struct card *card, struct ask *ask)
{
	char reason[CUDA_DRIVER_REASON_SIZE];

	if (!card_driver(card, ask, reason, sizeof(reason)))
		answer_failed(ask, "%s", reason);
	card_context(card);
}

void card_close(struct card *card)
{
	MUST(card, primary_ctx_release, card->device);
}

/* ---- chunks ------------------------------------------------------------------- */

size_t card_size(struct card *card, size_t wanted, size_t n)
{
	size_t most = card->ask->bytes / n;

	if (wanted > most)
		wanted = most;
	wanted -= wanted % card->granularity;
	return wanted ? wanted : card->granularity;
}

cuda_result card_try_create(struct card *card, size_t bytes, cuda_mem *out_mem)
{
	struct cuda_mem_prop prop = {
		.type = CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED,
		.handle_types = CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
		.location = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, card->device },
	};

	return card->cu.mem_create(out_mem, bytes, &prop, 0);
}

cuda_mem card_create(struct card *card, size_t bytes)
{
	cuda_mem mem = 0;

	card_must(card, "mem_create", card_try_create(card, bytes, &mem));
	return mem;
}

int card_export(struct card *card, cuda_mem mem)
{
	int fd = -1;

	MUST(card, mem_export, &fd, mem, CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
	return fd;
}

cuda_mem card_import(struct card *card, int fd)
{
	cuda_mem mem = 0;

	MUST(card, mem_import, &mem, (void *)(uintptr_t)fd,
	     CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	return mem;
}

cuda_result card_access(struct card *card, cuda_ptr at, size_t bytes, bool write)
{
	struct cuda_mem_access access = {
		.location = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, card->device },
		.flags = write ? CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE :
				 CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READ,
	};

	return card->cu.mem_set_access(at, bytes, &access, 1);
}

cuda_ptr card_map(struct card *card, cuda_mem mem, size_t bytes, bool write)
{
	cuda_ptr at = 0;

	MUST(card, mem_address_reserve, &at, bytes, 0, 0, 0);
	MUST(card, mem_map, at, bytes, 0, mem, 0);
	card_must(card, "mem_set_access", card_access(card, at, bytes, write));
	return at;
}

void card_unmap(struct card *card, cuda_ptr at, size_t bytes)
{
	MUST(card, mem_unmap, at, bytes);
	MUST(card, mem_address_free, at, bytes);
}

cuda_ptr card_alloc(struct card *card, size_t bytes, cuda_mem *out_mem)
{
	*out_mem = card_create(card, bytes);
	return card_map(card, *out_mem, bytes, true);
}

cuda_stream card_stream(struct card *card)
{
	cuda_stream stream = NULL;

	MUST(card, stream_create, &stream, CUDA_ABI_STREAM_NON_BLOCKING);
	return stream;
}

void card_wait(struct card *card, cuda_stream stream)
{
	MUST(card, stream_synchronize, stream);
}

void *card_pinned(struct card *card, size_t bytes)
{
	void *p = NULL;

	MUST(card, mem_host_alloc, &p, bytes, CUDA_ABI_MEMHOSTALLOC_PORTABLE);
	return p;
}

uint64_t card_words_other(struct card *card, cuda_ptr at, size_t bytes, uint32_t value)
{
	size_t step = 8 * MIB, i, n;
	uint32_t *words = malloc(step);
	uint64_t other = 0;

	if (!words)
		answer_failed(card->ask, "no memory");
	for (; bytes; at += n, bytes -= n) {
		n = bytes < step ? bytes : step;
		MUST(card, memcpy_dtoh, words, at, n);
		for (i = 0; i < n / sizeof(*words); i++)
			other += words[i] != value;
	}
	free(words);
	return other;
}

void card_settle(struct card *card, size_t bytes)
{
	uint64_t start = now_ns();

	while (card_free_bytes(card) < bytes && now_ns() - start < 10000000000u)
		sleep_ns(5000000);
}

size_t card_free_bytes(struct card *card)
{
	size_t free_bytes = 0, total = 0;

	MUST(card, mem_get_info, &free_bytes, &total);
	return free_bytes;
}

bool card_may_fault(struct card *card, const char *what)
{
	int mps = 1;
	cuda_result r = card->cu.device_get_attribute(&mps, CUDA_ABI_DEVICE_ATTRIBUTE_MPS_ENABLED,
						      card->device);

	if (r == CUDA_ABI_SUCCESS && !mps)
		return true;
	answer_missing(card->ask, what, "%s",
		       r == CUDA_ABI_SUCCESS ? "under MPS a fault would hit others" :
					       card_text(card, r));
	return false;
}
