// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which card, and can it be used. Every refusal is one line that says what is missing and what can be done.
 */
#include "daemon/gpu_cuda.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/pci.h"
#include "daemon/log.h"

#define UUID_TEXT 41 /* "GPU-" and 36 characters, and the end */

struct card {
	int ordinal;
	cuda_device device;
	char name[64];
	struct cuda_uuid uuid;
	char uuid_text[UUID_TEXT];
	char pci[PCI_ADDRESS_MAX];
};

__attribute__((format(printf, 4, 5))) static int refuse(int r, char *reason, size_t size,
							const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reason, size, format, args);
	va_end(args);
	return r;
}

static int refuse_call(const struct cuda_driver *cuda, cuda_result result, const char *call,
		       char *reason, size_t size)
{
	return refuse(cuda_errno(result), reason, size, "%s: %s", call,
		      cuda_driver_error_text(cuda, result));
}

static void uuid_format(const struct cuda_uuid *uuid, char out[UUID_TEXT])
{
	char *at = out + sprintf(out, "GPU-");

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		at += sprintf(at, "%02x", (unsigned char)uuid->bytes[i]);
	}
}

static int describe(const struct cuda_driver *cuda, int ordinal, struct card *out, char *reason,
		    size_t size)
{
	struct card card = { .ordinal = ordinal };
	char pci[32] = "";
	cuda_result result;

	result = cuda->device_get(&card.device, ordinal);
	if (result != CUDA_ABI_SUCCESS)
		return refuse_call(cuda, result, "cuDeviceGet", reason, size);
	result = cuda->device_get_name(card.name, sizeof(card.name), card.device);
	if (result != CUDA_ABI_SUCCESS)
		return refuse_call(cuda, result, "cuDeviceGetName", reason, size);
	result = cuda->device_get_uuid(&card.uuid, card.device);
	if (result != CUDA_ABI_SUCCESS)
		return refuse_call(cuda, result, "cuDeviceGetUuid", reason, size);
	result = cuda->device_get_pci_bus_id(pci, sizeof(pci), card.device);
	if (result != CUDA_ABI_SUCCESS)
		return refuse_call(cuda, result, "cuDeviceGetPCIBusId", reason, size);
	card.name[sizeof(card.name) - 1] = '\0';
	uuid_format(&card.uuid, card.uuid_text);
	if (pci_address_parse(pci, card.pci) < 0)
		card.pci[0] = '\0';
	*out = card;
	return 0;
}

static bool is_number(const char *text)
{
	for (const char *c = text; *c; c++)
		if (!isdigit((unsigned char)*c))
			return false;
	return *text && strlen(text) < 5;
}

/* Does `wanted` name this card? */
static bool is_named(const struct card *card, const char *wanted)
{
	char pci[PCI_ADDRESS_MAX];

	if (is_number(wanted))
		return atoi(wanted) == card->ordinal;
	if (strncasecmp(wanted, "GPU-", 4) == 0)
		return strcasecmp(wanted, card->uuid_text) == 0;
	return pci_address_parse(wanted, pci) == 0 && strcmp(pci, card->pci) == 0;
}

static int check_name(const char *wanted, char *reason, size_t size)
{
	char pci[PCI_ADDRESS_MAX];

	if (strncasecmp(wanted, "MIG-", 4) == 0)
		return refuse(-ENOTSUP, reason, size,
			      "device.card = %s: parts of a card (MIG) are not supported", wanted);
	if (!*wanted || is_number(wanted) || strncasecmp(wanted, "GPU-", 4) == 0 ||
	    pci_address_parse(wanted, pci) == 0)
		return 0;
	return refuse(-EINVAL, reason, size,
		      "device.card = %.64s is no number, no PCI address and no UUID (GPU-...)",
		      wanted);
}

/* Return: 0 or 1 for what the card says, or -errno. */
static int has(const struct cuda_driver *cuda, const struct card *card, int attribute, char *reason,
	       size_t size)
{
	int value = 0;
	cuda_result result = cuda->device_get_attribute(&value, attribute, card->device);

	/* An attribute that the driver does not know is one that the card does not have. */
	if (result == CUDA_ABI_ERROR_INVALID_VALUE)
		return 0;
	if (result != CUDA_ABI_SUCCESS)
		return refuse_call(cuda, result, "cuDeviceGetAttribute", reason, size);
	return value != 0;
}

static int check_mode(const struct cuda_driver *cuda, const struct card *card, char *reason,
		      size_t size)
{
	int mode = CUDA_ABI_COMPUTEMODE_DEFAULT;
	cuda_result result;

	/* There is no attribute for it; the driver says it in the name. */
	if (strstr(card->name, " MIG "))
		return refuse(
			-ENOTSUP, reason, size,
			"%s is a part of a card (MIG), which is not supported: name another in "
			"device.card, or turn MIG off",
			card->name);
	result = cuda->device_get_attribute(&mode, CUDA_ABI_DEVICE_ATTRIBUTE_COMPUTE_MODE,
					    card->device);
	if (result != CUDA_ABI_SUCCESS)
		return refuse_call(cuda, result, "cuDeviceGetAttribute", reason, size);
	if (mode == CUDA_ABI_COMPUTEMODE_DEFAULT)
		return 0;
	return refuse(-EBUSY, reason, size,
		      "%s (%s) is in compute mode %s: vramd and its clients need `nvidia-smi "
		      "--compute-mode=DEFAULT`",
		      card->name, card->pci,
		      mode == CUDA_ABI_COMPUTEMODE_PROHIBITED	     ? "PROHIBITED" :
		      mode == CUDA_ABI_COMPUTEMODE_EXCLUSIVE_PROCESS ? "EXCLUSIVE_PROCESS" :
								       "other than DEFAULT");
}

/* Can it do what we need? */
static int check(const struct cuda_driver *cuda, const struct card *card, char *reason, size_t size)
{
	static const struct {
		int attribute;
		const char *what;
	} needed[] = {
		{ CUDA_ABI_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
		  "virtual memory management (cuMemCreate, cuMemMap)" },
		{ CUDA_ABI_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
		  "memory that can be exported as a file descriptor" },
		{ CUDA_ABI_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, "unified addressing" },
	};
	int r = check_mode(cuda, card, reason, size);

	for (size_t i = 0; r >= 0 && i < sizeof(needed) / sizeof(needed[0]); i++) {
		r = has(cuda, card, needed[i].attribute, reason, size);
		if (r == 0)
			return refuse(-ENOTSUP, reason, size, "%s (%s) has no %s", card->name,
				      card->pci, needed[i].what);
	}
	if (r < 0)
		return r;
	r = has(cuda, card, CUDA_ABI_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, reason, size);
	if (r == 0)
		log_warn("%s (%s) has no 64-bit memory operations on streams: its clients cannot "
			 "release layers behind their kernels (vram_layer_release_on)",
			 card->name, card->pci);
	return r < 0 ? r : 0;
}

static int find_granularity(struct cuda_device *dev, const struct card *card, char *reason,
			    size_t size)
{
	size_t bytes = 0;
	cuda_result result;

	dev->prop = (struct cuda_mem_prop){
		.type = CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED,
		.handle_types = CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
		.location = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, card->device },
	};
	dev->access = (struct cuda_mem_access){
		.location = dev->prop.location,
		.flags = CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE,
	};
	result = dev->cuda.mem_get_allocation_granularity(&bytes, &dev->prop,
							  CUDA_ABI_MEM_ALLOC_GRANULARITY_MINIMUM);
	if (result != CUDA_ABI_SUCCESS)
		return refuse_call(&dev->cuda, result, "cuMemGetAllocationGranularity", reason,
				   size);
	if (bytes < 4096 || bytes & (bytes - 1) || bytes > 1u << 30)
		return refuse(-ENOTSUP, reason, size, "%s: memory comes in units of %zu bytes",
			      card->name, bytes);
	dev->gpu.granularity_bytes = bytes;
	return 0;
}

int cuda_probe(struct cuda_device *dev, const char *wanted, char *reason, size_t size)
{
	char first_reason[256] = "";
	bool found = false, named;
	int count = 0, first = 0, r;
	cuda_result result;
	struct card card;

	r = check_name(wanted, reason, size);
	if (r < 0)
		return r;
	result = dev->cuda.device_get_count(&count);
	if (result != CUDA_ABI_SUCCESS)
		return refuse_call(&dev->cuda, result, "cuDeviceGetCount", reason, size);
	if (count == 0)
		return refuse(-ENOENT, reason, size, "the NVIDIA driver knows no card");
	for (int i = 0; i < count && !found; i++) {
		r = describe(&dev->cuda, i, &card, reason, size);
		named = r == 0 && is_named(&card, wanted);
		if (r == 0 && *wanted && !named)
			continue;
		if (r == 0)
			r = check(&dev->cuda, &card, reason, size);
		if (r == 0)
			r = find_granularity(dev, &card, reason, size);
		found = r == 0;
		if (named && !found)
			return r;
		/* One that fails keeps nobody from another. */
		if (!found && !first) {
			first = r;
			snprintf(first_reason, sizeof(first_reason), "%s", reason);
		}
	}
	if (!found && first)
		return refuse(first, reason, size, "%s", first_reason);
	if (!found)
		return refuse(-ENOENT, reason, size,
			      "device.card = %.64s: the NVIDIA driver knows %d card%s and not this "
			      "one (CUDA_VISIBLE_DEVICES may hide it)",
			      wanted, count, count == 1 ? "" : "s");
	dev->ordinal_device = card.device;
	snprintf(dev->gpu.name, sizeof(dev->gpu.name), "cuda%d", card.ordinal);
	snprintf(dev->gpu.pci, sizeof(dev->gpu.pci), "%.15s", card.pci);
	memcpy(dev->gpu.uuid, card.uuid.bytes, sizeof(dev->gpu.uuid));
	snprintf(dev->title, sizeof(dev->title), "%.40s, %.15s", card.name, card.pci);
	return 0;
}
