// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "common/pci.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/err.h"

void pci_address_format(uint32_t domain, uint32_t bus, uint32_t device, uint32_t function,
			char out[PCI_ADDRESS_MAX])
{
	snprintf(out, PCI_ADDRESS_MAX, "%04x:%02x:%02x.%x", domain, bus & 0xff, device & 0x1f,
		 function & 7);
}

/* Takes one to `digits` hexadecimal digits off the front. */
static bool hex_take(const char **text, unsigned int digits, uint32_t *out)
{
	uint32_t n = 0;
	unsigned int i;
	char c;

	for (i = 0; i < digits && isxdigit((unsigned char)**text); i++) {
		c = (char)tolower((unsigned char)*(*text)++);
		n = n << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	*out = n;
	return i > 0;
}

static bool char_take(const char **text, char c)
{
	if (**text != c)
		return false;
	(*text)++;
	return true;
}

int pci_address_parse(const char *text, char out[PCI_ADDRESS_MAX])
{
	uint32_t part[3], function, domain = 0;

	if (!hex_take(&text, 8, &part[0]) || !char_take(&text, ':') ||
	    !hex_take(&text, 2, &part[1]))
		return err_origin(-EINVAL);
	if (char_take(&text, ':')) {
		if (!hex_take(&text, 2, &part[2]))
			return err_origin(-EINVAL);
		domain = part[0];
		part[0] = part[1];
		part[1] = part[2];
	}
	if (!char_take(&text, '.') || !hex_take(&text, 1, &function) || *text || part[0] > 0xff ||
	    part[1] > 0x1f || function > 7)
		return err_origin(-EINVAL);
	pci_address_format(domain, part[0], part[1], function, out);
	return 0;
}

/* ---- names ---- */

static const char *const ids_files[] = { "/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids" };

/* Who makes GPUs, for machines without the file. */
static const struct {
	uint16_t vendor;
	const char *name;
} makers[] = {
	{ 0x1002, "AMD" },    { 0x10de, "NVIDIA" },
	{ 0x8086, "Intel" },  { 0x1af4, "Red Hat (virtio)" },
	{ 0x1234, "QEMU" },   { 0x15ad, "VMware" },
	{ 0x1a03, "ASPEED" },
};

static void name_copy(char out[PCI_NAME_MAX], const char *name)
{
	snprintf(out, PCI_NAME_MAX, "%s", name);
	out[strcspn(out, "\r\n")] = '\0';
}

/* "10de  NVIDIA Corporation", behind tabs. Return: the name if it is this number's. */
static const char *id_line(const char *line, uint16_t id)
{
	uint32_t n;

	if (!hex_take(&line, 4, &n) || n != id || !isspace((unsigned char)*line))
		return NULL;
	return line + strspn(line, " \t");
}

static void ids_search(FILE *f, uint16_t vendor, uint16_t device, char out_vendor[PCI_NAME_MAX],
		       char out_device[PCI_NAME_MAX])
{
	bool inside = false;
	const char *name;
	char line[512];

	while (fgets(line, sizeof(line), f)) {
		if (*line == '#' || *line == '\n')
			continue;
		if (*line != '\t') {
			if (inside)
				return;
			name = id_line(line, vendor);
			inside = name;
			if (name)
				name_copy(out_vendor, name);
		} else if (inside && line[1] != '\t') {
			name = id_line(line + 1, device);
			if (name) {
				name_copy(out_device, name);
				return;
			}
		}
	}
}

void pci_names(const char *root, uint16_t vendor, uint16_t device, char out_vendor[PCI_NAME_MAX],
	       char out_device[PCI_NAME_MAX])
{
	char path[PATH_MAX];
	size_t i;

	*out_vendor = *out_device = '\0';
	for (i = 0; i < sizeof(ids_files) / sizeof(ids_files[0]) && !*out_vendor; i++) {
		_cleanup_fclose_ FILE *f = NULL;

		snprintf(path, sizeof(path), "%s%s", root, ids_files[i]);
		f = fopen(path, "re");
		if (f)
			ids_search(f, vendor, device, out_vendor, out_device);
	}
	for (i = 0; i < sizeof(makers) / sizeof(makers[0]) && !*out_vendor; i++) {
		if (makers[i].vendor == vendor)
			name_copy(out_vendor, makers[i].name);
	}
}
