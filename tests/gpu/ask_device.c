// SPDX-License-Identifier: GPL-2.0-only
/* What the card and its driver say of themselves: the ground of all other answers. */
#include "tests/gpu/card.h"

static void attribute(struct card *card, const char *what, int attribute, bool wanted)
{
	int value = 0;
	cuda_result r = card->cu.device_get_attribute(&value, attribute, card->device);

	if (r != CUDA_ABI_SUCCESS)
		answer_missing(card->ask, what, "%s", card_text(card, r));
	else if (wanted)
		answer_view(card->ask, what, "1", value == 1, "%d", value);
	else
		answer_text(card->ask, what, "%d", value);
}

static void answer(struct ask *ask)
{
	struct cuda_mem_prop prop = {
		.type = CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED,
		.handle_types = CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
		.location = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, ask->ordinal },
	};
	int major = 0, minor = 0;
	size_t recommended = 0, total = 0;
	struct card card;
	char name[128] = "", pci[32] = "";

	card_open(&card, ask);
	MUST(&card, device_get_name, name, sizeof(name), card.device);
	MUST(&card, device_get_pci_bus_id, pci, sizeof(pci), card.device);
	MUST(&card, device_get_attribute, &major,
	     CUDA_ABI_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, card.device);
	MUST(&card, device_get_attribute, &minor,
	     CUDA_ABI_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, card.device);
	MUST(&card, device_total_mem, &total, card.device);
	MUST(&card, mem_get_allocation_granularity, &recommended, &prop,
	     CUDA_ABI_MEM_ALLOC_GRANULARITY_RECOMMENDED);
	answer_text(ask, "card", "%s", name);
	answer_text(ask, "PCI address", "%s", pci);
	answer_text(ask, "driver made for CUDA", "%d.%d", card.cu.version / 1000,
		    card.cu.version % 1000 / 10);
	answer_text(ask, "compute capability", "%d.%d", major, minor);
	answer_number(ask, "memory", (double)total / MIB, "MiB");
	answer_number_view(ask, "granularity of chunks, least", (double)card.granularity / MIB,
			   "MiB", "2 MiB", card.granularity == 2 * MIB);
	answer_number(ask, "granularity of chunks, recommended", (double)recommended / MIB, "MiB");
	attribute(&card, "virtual memory management",
		  CUDA_ABI_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, true);
	attribute(&card, "chunks as file descriptors",
		  CUDA_ABI_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, true);
	attribute(&card, "64-bit stream memory operations",
		  CUDA_ABI_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, true);
	attribute(&card, "host memory can be registered",
		  CUDA_ABI_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, true);
	attribute(&card, "read-only host memory can be registered",
		  CUDA_ABI_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, false);
	attribute(&card, "a host pointer serves as device pointer",
		  CUDA_ABI_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, false);
	attribute(&card, "copy engines", CUDA_ABI_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, false);
	attribute(&card, "MPS in use", CUDA_ABI_DEVICE_ATTRIBUTE_MPS_ENABLED, false);
	attribute(&card, "compute mode", CUDA_ABI_DEVICE_ATTRIBUTE_COMPUTE_MODE, false);
	if (card_kernels(&card) && card.kernels.standin)
		answer_text(ask, "what this is", "the stand-in driver of the tests, no card");
	else if (card_kernels(&card))
		answer_text(ask, "PTX for sm_52 is compiled", "works");
	else
		answer_missing(ask, "PTX for sm_52 is compiled", "%s", card.kernels.reason);
	card_close(&card);
}

const struct question question_device = { "device", "What is this card?", answer };
