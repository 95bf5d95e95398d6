// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "common/drm.h"

#include <errno.h>
#include <fcntl.h>
#include <i915_drm.h>
#include <nouveau_drm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xf86drm.h>

#include "common/cleanup.h"
#include "common/err.h"

/* ---- finding ---- */

static void node_copy(const drmDevice *device, int type, char out[CARD_NODE_MAX])
{
	if (device->available_nodes & 1 << type)
		snprintf(out, CARD_NODE_MAX, "%s", device->nodes[type]);
}

static void card_fill(const drmDevice *device, struct card *card)
{
	const drmPciBusInfo *pci;

	node_copy(device, DRM_NODE_PRIMARY, card->primary);
	node_copy(device, DRM_NODE_RENDER, card->render);
	switch (device->bustype) {
	case DRM_BUS_PCI:
		strcpy(card->bus, "pci");
		pci = device->businfo.pci;
		pci_address_format(pci->domain, pci->bus, pci->dev, pci->func, card->pci);
		card->vendor_id = device->deviceinfo.pci->vendor_id;
		card->device_id = device->deviceinfo.pci->device_id;
		break;
	case DRM_BUS_USB:
		strcpy(card->bus, "usb");
		break;
	case DRM_BUS_PLATFORM:
		strcpy(card->bus, "platform");
		break;
	case DRM_BUS_HOST1X:
		strcpy(card->bus, "host1x");
		break;
	default:
		strcpy(card->bus, "other");
	}
}

int drm_find_cards(struct cards *cards)
{
	drmDevicePtr devices[CARDS_MAX];
	int n = drmGetDevices2(0, devices, CARDS_MAX), i;
	struct card *card;

	/* -ENOENT: there is no /dev/dri. */
	if (n < 0)
		return n == -ENOENT ? 0 : err_origin(n);
	if (n > CARDS_MAX)
		n = CARDS_MAX;
	for (i = 0; i < n; i++) {
		/* From the kernel 5.19 on accelerators without graphics may look like GPUs. */
		if (!(devices[i]->available_nodes & (1 << DRM_NODE_PRIMARY | 1 << DRM_NODE_RENDER)))
			continue;
		card = cards_add(cards);
		if (card)
			card_fill(devices[i], card);
	}
	drmFreeDevices(devices, n);
	return 0;
}

/* ---- asking ---- */

/*
 * xe's header is newer than the libdrm of Debian 12: of include/uapi/drm/xe_drm.h, Linux 6.8, what is
 * needed. Sizes: query 40, region 88, its list from byte 8 on.
 */
struct xe_device_query {
	uint64_t extensions;
	uint32_t query;
	uint32_t size;
	uint64_t data;
	uint64_t reserved[2];
};
#define XE_DEVICE_QUERY		    DRM_IOWR(DRM_COMMAND_BASE + 0x00, struct xe_device_query)
#define XE_DEVICE_QUERY_MEM_REGIONS 1
#define XE_MEM_REGION_CLASS_VRAM    1

struct xe_mem_region {
	uint16_t mem_class;
	uint16_t instance;
	uint32_t min_page_size;
	uint64_t total_size;
	uint64_t used;
	uint64_t cpu_visible_size;
	uint64_t cpu_visible_used;
	uint64_t reserved[6];
};

struct xe_query_mem_regions {
	uint32_t num_mem_regions;
	uint32_t pad;
	struct xe_mem_region mem_regions[];
};

_Static_assert(sizeof(struct xe_device_query) == 40, "as in xe_drm.h");
_Static_assert(sizeof(struct xe_mem_region) == 88, "as in xe_drm.h");

/* Newer than libdrm's header, too: nouveau says its use since Linux 6.9. */
#define NOUVEAU_PARAM_FB_SIZE	8
#define NOUVEAU_PARAM_VRAM_USED 19

/* An answer is some regions; more is none. */
#define REPLY_MAX (64u << 10)

/* `used` of none is what who may not know it is told. */
static void card_memory(struct card *card, uint64_t total, uint64_t used)
{
	if (total == 0)
		return;
	if (!card->has_total) {
		card->has_total = true;
		card->total_bytes = total;
	}
	if (!card->has_used && used > 0) {
		card->has_used = true;
		card->used_bytes = used;
	}
}

void drm_vram_of_i915(const void *reply, size_t len, struct card *card)
{
	const struct drm_i915_query_memory_regions *list = reply;
	const struct drm_i915_memory_region_info *region;
	uint64_t total = 0, used = 0;
	uint32_t i;

	if (len < sizeof(*list) || list->num_regions > (len - sizeof(*list)) / sizeof(*region))
		return;
	for (i = 0; i < list->num_regions; i++) {
		region = &list->regions[i];
		if (region->region.memory_class != I915_MEMORY_CLASS_DEVICE)
			continue;
		total += region->probed_size;
		/* -1 is "not known". */
		if (region->unallocated_size <= region->probed_size)
			used += region->probed_size - region->unallocated_size;
	}
	card_memory(card, total, used);
}

void drm_vram_of_xe(const void *reply, size_t len, struct card *card)
{
	const struct xe_query_mem_regions *list = reply;
	const struct xe_mem_region *region;
	uint64_t total = 0, used = 0;
	uint32_t i;

	if (len < sizeof(*list) || list->num_mem_regions > (len - sizeof(*list)) / sizeof(*region))
		return;
	for (i = 0; i < list->num_mem_regions; i++) {
		region = &list->mem_regions[i];
		if (region->mem_class != XE_MEM_REGION_CLASS_VRAM)
			continue;
		total += region->total_size;
		used += region->used;
	}
	card_memory(card, total, used);
}

static void i915_query(int fd, struct card *card)
{
	struct drm_i915_query_item item = { .query_id = DRM_I915_QUERY_MEMORY_REGIONS };
	struct drm_i915_query query = { .num_items = 1, .items_ptr = (uintptr_t)&item };
	_cleanup_free_ void *reply = NULL;

	/* The first time for the length, which is an error code if it is negative. */
	if (drmIoctl(fd, DRM_IOCTL_I915_QUERY, &query) < 0 || item.length <= 0 ||
	    (uint32_t)item.length > REPLY_MAX)
		return;
	reply = calloc(1, (size_t)item.length);
	item.data_ptr = (uintptr_t)reply;
	if (reply && drmIoctl(fd, DRM_IOCTL_I915_QUERY, &query) == 0 && item.length > 0)
		drm_vram_of_i915(reply, (size_t)item.length, card);
}

static void xe_query(int fd, struct card *card)
{
	struct xe_device_query query = { .query = XE_DEVICE_QUERY_MEM_REGIONS };
	_cleanup_free_ void *reply = NULL;

	if (drmIoctl(fd, XE_DEVICE_QUERY, &query) < 0 || query.size == 0 || query.size > REPLY_MAX)
		return;
	reply = calloc(1, query.size);
	query.data = (uintptr_t)reply;
	if (reply && drmIoctl(fd, XE_DEVICE_QUERY, &query) == 0)
		drm_vram_of_xe(reply, query.size, card);
}

static uint64_t nouveau_param(int fd, uint64_t param)
{
	struct drm_nouveau_getparam getparam = { .param = param };
	unsigned long request =
		DRM_IOWR(DRM_COMMAND_BASE + DRM_NOUVEAU_GETPARAM, struct drm_nouveau_getparam);

	return drmIoctl(fd, request, &getparam) < 0 ? 0 : getparam.value;
}

void drm_query_vram(struct card *card)
{
	_cleanup_close_ int fd = -1;

	if ((card->has_total && card->has_used) || card->asleep || !card->render[0] ||
	    (strcmp(card->driver, "i915") != 0 && strcmp(card->driver, "xe") != 0 &&
	     strcmp(card->driver, "nouveau") != 0))
		return;
	fd = open(card->render, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	if (!strcmp(card->driver, "i915"))
		i915_query(fd, card);
	else if (!strcmp(card->driver, "xe"))
		xe_query(fd, card);
	else
		card_memory(card, nouveau_param(fd, NOUVEAU_PARAM_FB_SIZE),
			    nouveau_param(fd, NOUVEAU_PARAM_VRAM_USED));
}
