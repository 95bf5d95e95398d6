/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The text of /proc/PID/fdinfo/FD of an open DRM file, as the kernel's
 * Documentation/gpu/drm-usage-stats.rst says it: lines "key: value", sizes in bytes or with the unit
 * KiB or MiB.
 *
 * The parser reads memory only. What it does not know it passes over, and so it does with a line
 * that is malformed or a number that does not fit: the kernel's drivers write these files, and new
 * ones bring new keys. Of a key that comes twice the first counts.
 *
 * What memory a client has in a region stands there in up to three ways, which are not to be added:
 * `drm-memory-REGION` (kernels before 6.5, still written by amdgpu beside the newer keys) and
 * `drm-resident-REGION` mean what is in the region now, `drm-total-REGION` all buffers that belong
 * there, whether they have memory or not.
 */
#ifndef VRAM_COMMON_DRM_FDINFO_H
#define VRAM_COMMON_DRM_FDINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/pci.h"

/* Regions beyond these are not kept; xe, which has most, writes six. */
#define DRM_FDINFO_REGIONS    16
#define DRM_FDINFO_REGION_MAX 24
#define DRM_FDINFO_DRIVER_MAX 32

enum drm_fdinfo_kind {
	DRM_FDINFO_TOTAL,
	DRM_FDINFO_SHARED,
	DRM_FDINFO_RESIDENT,
	DRM_FDINFO_MEMORY,
	DRM_FDINFO_KINDS,
};

struct drm_fdinfo_region {
	char name[DRM_FDINFO_REGION_MAX];
	uint64_t bytes[DRM_FDINFO_KINDS];
	unsigned int has; /* bits of enum drm_fdinfo_kind */
};

struct drm_fdinfo {
	char driver[DRM_FDINFO_DRIVER_MAX];
	char pci[PCI_ADDRESS_MAX]; /* of drm-pdev; empty: no PCI device, or not said */
	bool has_client_id;
	uint64_t client_id; /* files of one device with the same number are one */
	struct drm_fdinfo_region regions[DRM_FDINFO_REGIONS];
	size_t n_regions;
};

/* What is not a DRM file, or one whose driver says nothing. */
#define DRM_FDINFO_E_NONE 1

/* drm_fdinfo_parse() - any len bytes. Return: 0, or DRM_FDINFO_E_NONE without a line drm-driver. */
int drm_fdinfo_parse(const char *text, size_t len, struct drm_fdinfo *out);

/* Whether a region of this name is memory of the device: vram, vram0, local0, stolen-local0, ... */
bool drm_fdinfo_is_vram(const char *region);

struct drm_fdinfo_sum {
	bool known;	       /* the file names at least one region */
	uint64_t vram_bytes;   /* in the device's memory now */
	uint64_t other_bytes;  /* in memory of the system: gtt, system, memory, cpu, ... */
	uint64_t shared_bytes; /* those of the device's memory that other files use, too */
};

/* Adds the regions up, saturating. Where the driver does not say what is resident, all counts. */
void drm_fdinfo_sum(const struct drm_fdinfo *info, struct drm_fdinfo_sum *out);

#endif
