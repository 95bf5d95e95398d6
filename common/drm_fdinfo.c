// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "common/drm_fdinfo.h"

#include <string.h>

struct span {
	const char *text;
	size_t len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span s)
{
	while (s.len > 0 && is_blank(*s.text)) {
		s.text++;
		s.len--;
	}
	while (s.len > 0 && is_blank(s.text[s.len - 1]))
		s.len--;
	return s;
}

static bool span_is(struct span s, const char *text)
{
	return s.len == strlen(text) && !memcmp(s.text, text, s.len);
}

/* Takes the prefix off. */
static bool span_skip(struct span *s, const char *prefix)
{
	size_t len = strlen(prefix);

	if (s->len < len || memcmp(s->text, prefix, len) != 0)
		return false;
	s->text += len;
	s->len -= len;
	return true;
}

/* Copies a word of printable ASCII. Return: false, and nothing copied, if it is no such or too long. */
static bool span_copy(struct span s, char *out, size_t size)
{
	size_t i;

	if (s.len == 0 || s.len >= size)
		return false;
	for (i = 0; i < s.len; i++) {
		if (s.text[i] <= ' ' || s.text[i] > '~')
			return false;
	}
	memcpy(out, s.text, s.len);
	out[s.len] = '\0';
	return true;
}

/* Takes a decimal number off the front. */
static bool span_number(struct span *s, uint64_t *out)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < s->len && s->text[i] >= '0' && s->text[i] <= '9'; i++) {
		if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
		    __builtin_add_overflow(n, (uint64_t)(s->text[i] - '0'), &n))
			return false;
	}
	if (i == 0)
		return false;
	s->text += i;
	s->len -= i;
	*out = n;
	return true;
}

static bool size_value(struct span value, uint64_t *out_bytes)
{
	static const struct {
		const char *name;
		unsigned int shift;
	} units[] = { { "", 0 }, { "KiB", 10 }, { "MiB", 20 }, { "GiB", 30 } };
	struct span unit = value;
	uint64_t n;
	size_t i;

	if (!span_number(&unit, &n))
		return false;
	/* "12KiB" is not the format; "12 KiB" is. */
	if (unit.len > 0 && !is_blank(*unit.text))
		return false;
	unit = trim(unit);
	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (span_is(unit, units[i].name))
			return !__builtin_mul_overflow(n, UINT64_C(1) << units[i].shift, out_bytes);
	}
	return false;
}

static struct drm_fdinfo_region *region_get(struct drm_fdinfo *info, struct span name)
{
	struct drm_fdinfo_region *region;
	size_t i;

	for (i = 0; i < info->n_regions; i++) {
		if (span_is(name, info->regions[i].name))
			return &info->regions[i];
	}
	if (info->n_regions == DRM_FDINFO_REGIONS)
		return NULL;
	region = &info->regions[info->n_regions];
	if (!span_copy(name, region->name, sizeof(region->name)))
		return NULL;
	info->n_regions++;
	return region;
}

static void memory_line(struct drm_fdinfo *info, struct span key, struct span value)
{
	static const char *const prefixes[DRM_FDINFO_KINDS] = {
		[DRM_FDINFO_TOTAL] = "drm-total-",
		[DRM_FDINFO_SHARED] = "drm-shared-",
		[DRM_FDINFO_RESIDENT] = "drm-resident-",
		[DRM_FDINFO_MEMORY] = "drm-memory-",
	};
	struct drm_fdinfo_region *region;
	uint64_t bytes;
	size_t kind;

	for (kind = 0; kind < DRM_FDINFO_KINDS && !span_skip(&key, prefixes[kind]); kind++)
		;
	/* Counters of engines: drm-total-cycles-rcs. */
	if (kind == DRM_FDINFO_KINDS || (kind == DRM_FDINFO_TOTAL && span_skip(&key, "cycles-")))
		return;
	if (!size_value(value, &bytes))
		return;
	region = region_get(info, key);
	if (!region || region->has & 1u << kind)
		return;
	region->bytes[kind] = bytes;
	region->has |= 1u << kind;
}

static void line_parse(struct drm_fdinfo *info, struct span line)
{
	const char *colon = memchr(line.text, ':', line.len);
	char pci[PCI_ADDRESS_MAX * 2];
	struct span key, value;
	uint64_t n;

	if (!colon)
		return;
	key = trim((struct span){ line.text, (size_t)(colon - line.text) });
	value = trim((struct span){ colon + 1, line.len - (size_t)(colon - line.text) - 1 });
	if (span_is(key, "drm-driver")) {
		if (!info->driver[0])
			span_copy(value, info->driver, sizeof(info->driver));
	} else if (span_is(key, "drm-pdev")) {
		if (!info->pci[0] && span_copy(value, pci, sizeof(pci)))
			(void)pci_address_parse(pci, info->pci);
	} else if (span_is(key, "drm-client-id")) {
		if (!info->has_client_id && span_number(&value, &n) && value.len == 0) {
			info->has_client_id = true;
			info->client_id = n;
		}
	} else {
		memory_line(info, key, value);
	}
}

int drm_fdinfo_parse(const char *text, size_t len, struct drm_fdinfo *out)
{
	struct drm_fdinfo info = { 0 };
	const char *end;

	while (len > 0) {
		end = memchr(text, '\n', len);
		line_parse(&info, (struct span){ text, end ? (size_t)(end - text) : len });
		if (!end)
			break;
		len -= (size_t)(end + 1 - text);
		text = end + 1;
	}
	if (!info.driver[0])
		return DRM_FDINFO_E_NONE;
	*out = info;
	return 0;
}

bool drm_fdinfo_is_vram(const char *region)
{
	static const char *const names[] = { "vram", "local", "lmem", "stolen-local" };
	const char *rest;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strncmp(region, names[i], strlen(names[i])) != 0)
			continue;
		rest = region + strlen(names[i]);
		if (!rest[strspn(rest, "0123456789")])
			return true;
	}
	return false;
}

static void add(uint64_t *sum, uint64_t n)
{
	if (__builtin_add_overflow(*sum, n, sum))
		*sum = UINT64_MAX;
}

void drm_fdinfo_sum(const struct drm_fdinfo *info, struct drm_fdinfo_sum *out)
{
	static const enum drm_fdinfo_kind best[] = { DRM_FDINFO_RESIDENT, DRM_FDINFO_MEMORY,
						     DRM_FDINFO_TOTAL };
	const struct drm_fdinfo_region *region;
	size_t i, k;

	*out = (struct drm_fdinfo_sum){ 0 };
	for (i = 0; i < info->n_regions; i++) {
		region = &info->regions[i];
		for (k = 0; k < sizeof(best) / sizeof(best[0]); k++) {
			if (region->has & 1u << best[k])
				break;
		}
		if (k == sizeof(best) / sizeof(best[0]))
			continue;
		out->known = true;
		if (!drm_fdinfo_is_vram(region->name)) {
			add(&out->other_bytes, region->bytes[best[k]]);
			continue;
		}
		add(&out->vram_bytes, region->bytes[best[k]]);
		add(&out->shared_bytes, region->bytes[DRM_FDINFO_SHARED]);
	}
}
