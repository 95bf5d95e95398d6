// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any bytes as the fdinfo of a DRM file. Beside crashes it looks for a result that breaks the parser's
 * promises: texts that are not printable words, a region twice, a sum that depends on what stands behind the end.
 *
 * links: common/drm_fdinfo.c common/pci.c common/err.c
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/drm_fdinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void word_check(const char *text, size_t room)
{
	size_t len = strnlen(text, room), i;

	if (len == room)
		abort();
	for (i = 0; i < len; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct drm_fdinfo info, again;
	struct drm_fdinfo_sum sum;
	char *copy;
	size_t i, k;

	if (drm_fdinfo_parse((const char *)data, size, &info) != 0)
		return 0;
	if (!info.driver[0] || info.n_regions > DRM_FDINFO_REGIONS)
		abort();
	word_check(info.driver, sizeof(info.driver));
	word_check(info.pci, sizeof(info.pci));
	for (i = 0; i < info.n_regions; i++) {
		word_check(info.regions[i].name, sizeof(info.regions[i].name));
		if (info.regions[i].has >> DRM_FDINFO_KINDS)
			abort();
		for (k = 0; k < i; k++) {
			if (!strcmp(info.regions[i].name, info.regions[k].name))
				abort();
		}
	}
	drm_fdinfo_sum(&info, &sum);
	if (!sum.known && (sum.vram_bytes || sum.other_bytes || sum.shared_bytes))
		abort();
	/* An end of line at the end, or none, is the same. */
	copy = malloc(size + 1);
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	copy[size] = '\n';
	if (drm_fdinfo_parse(copy, size + 1, &again) != 0 ||
	    memcmp(&info, &again, sizeof(info)) != 0)
		abort();
	free(copy);
	return 0;
}
