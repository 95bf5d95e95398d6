// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "common/card.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

#define NVIDIA_GPUS "/proc/driver/nvidia/gpus"

struct card *cards_add(struct cards *cards)
{
	struct card *card;

	if (cards->n == CARDS_MAX)
		return NULL;
	card = &cards->card[cards->n++];
	*card = (struct card){ .nvml_index = -1 };
	return card;
}

struct card *cards_by_pci(struct cards *cards, const char *pci)
{
	size_t i;

	for (i = 0; *pci && i < cards->n; i++) {
		if (!strcmp(cards->card[i].pci, pci))
			return &cards->card[i];
	}
	return NULL;
}

static bool node_is(const char *node, const char *path)
{
	size_t len = strlen(node);

	/* A device that came back behind an open file: its old node is "... (deleted)". */
	return len > 0 && !strncmp(path, node, len) &&
	       (!path[len] || !strcmp(path + len, " (deleted)"));
}

int cards_by_node(const struct cards *cards, const char *path)
{
	const struct card *card;
	size_t i;

	for (i = 0; i < cards->n; i++) {
		card = &cards->card[i];
		if (node_is(card->primary, path) || node_is(card->render, path) ||
		    node_is(card->nvidia, path))
			return (int)i;
	}
	return -1;
}

/* ---- reading ---- */

/* The first bytes of a file, as text without its last line's end. Return: false if it cannot be read. */
__attribute__((format(printf, 3, 4))) static bool text_read(char *buf, size_t size,
							    const char *format, ...)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	va_list args;
	ssize_t n;
	int len;

	va_start(args, format);
	len = vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	n = fd < 0 ? -1 : read(fd, buf, size - 1);
	if (n < 0)
		return false;
	while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == '\0'))
		n--;
	buf[n] = '\0';
	return true;
}

static bool number_of(const char *text, int base, uint64_t *out)
{
	char *end;

	if (!isalnum((unsigned char)*text))
		return false;
	errno = 0;
	*out = strtoull(text, &end, base);
	return errno == 0 && !*end;
}

static bool file_number(const char *dir, const char *name, int base, uint64_t *out)
{
	char text[64];

	return text_read(text, sizeof(text), "%s/%s", dir, name) && number_of(text, base, out);
}

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The last part of what a link names. Return: false, and nothing written, if there is no link. */
static bool link_name(const char *dir, const char *name, char *out, size_t size)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *base;
	ssize_t n;

	if ((size_t)snprintf(path, sizeof(path), "%s%s%s", dir, *name ? "/" : "", name) >=
	    sizeof(path))
		return false;
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = '\0';
	base = base_of(target);
	snprintf(out, size, "%.*s", (int)size - 1, base);
	return true;
}

/* ---- what libdrm does not know ---- */

/* The last part of a path that is a PCI address: a device on another bus may be a part of one. */
static void pci_of_path(char *path, char out[PCI_ADDRESS_MAX])
{
	char *part, *rest = path;

	while ((part = strsep(&rest, "/")))
		(void)pci_address_parse(part, out);
}

/* A node that no card has: it is one of a card with the same device, or a new card. */
static void rest_add(const char *root, struct cards *cards, const char *name)
{
	char path[PATH_MAX], device[PATH_MAX], other[PATH_MAX], node[CARD_NODE_MAX];
	bool render = !strncmp(name, "renderD", 7);
	struct card *card = NULL;
	size_t i;

	snprintf(node, sizeof(node), "/dev/dri/%.32s", name);
	snprintf(path, sizeof(path), "%s/sys/class/drm/%s/device", root, name);
	if (cards_by_node(cards, node) >= 0 || !realpath(path, device))
		return;
	for (i = 0; i < cards->n && !card; i++) {
		snprintf(path, sizeof(path), "%s/sys/class/drm/%s/device", root,
			 base_of(cards->card[i].primary));
		if (cards->card[i].primary[0] && realpath(path, other) && !strcmp(device, other))
			card = &cards->card[i];
	}
	if (!card)
		card = cards_add(cards);
	if (!card)
		return;
	strcpy(render ? card->render : card->primary, node);
	if (card->bus[0])
		return;
	if (!link_name(device, "subsystem", card->bus, sizeof(card->bus)))
		strcpy(card->bus, "other");
	pci_of_path(device + strlen(root), card->pci);
}

/* "card0" and "renderD128", and not "card0-HDMI-A-1". */
static int is_node(const struct dirent *entry)
{
	const char *name = entry->d_name;

	if (!strncmp(name, "card", 4))
		name += 4;
	else if (!strncmp(name, "renderD", 7))
		name += 7;
	else
		return 0;
	return *name && !name[strspn(name, "0123456789")];
}

void cards_find_rest(const char *root, struct cards *cards)
{
	struct dirent **entries = NULL;
	char path[PATH_MAX];
	int i, n;

	snprintf(path, sizeof(path), "%s/sys/class/drm", root);
	/* "card" comes before "renderD". */
	n = scandir(path, &entries, is_node, alphasort);
	for (i = 0; i < n; i++) {
		rest_add(root, cards, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}

/* ---- NVIDIA ---- */

/* Return: what stands behind "KEY:" in a line of its own; empty if there is no such line. */
static void information_value(const char *text, const char *key, char *out, size_t size)
{
	const char *line = text;
	size_t len = strlen(key);

	*out = '\0';
	for (; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, len) != 0 || line[len] != ':')
			continue;
		line += len + 1;
		line += strspn(line, " \t");
		snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
		return;
	}
}

static void nvidia_add(const char *root, struct cards *cards, const char *folder)
{
	char text[2048], pci[PCI_ADDRESS_MAX], minor[16];
	struct card *card;
	uint64_t n;

	if (pci_address_parse(folder, pci) < 0 ||
	    !text_read(text, sizeof(text), "%s%s/%s/information", root, NVIDIA_GPUS, folder))
		return;
	card = cards_by_pci(cards, pci);
	if (!card) {
		card = cards_add(cards);
		if (!card)
			return;
		strcpy(card->bus, "pci");
		strcpy(card->pci, pci);
	}
	information_value(text, "Model", card->name, sizeof(card->name));
	information_value(text, "Device Minor", minor, sizeof(minor));
	if (number_of(minor, 10, &n) && n < 256)
		snprintf(card->nvidia, sizeof(card->nvidia), "/dev/nvidia%u", (unsigned int)n);
}

void cards_find_nvidia(const char *root, struct cards *cards)
{
	struct dirent **entries = NULL;
	char path[PATH_MAX];
	int i, n;

	snprintf(path, sizeof(path), "%s%s", root, NVIDIA_GPUS);
	n = scandir(path, &entries, NULL, alphasort);
	for (i = 0; i < n; i++) {
		nvidia_add(root, cards, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}

/* ---- sysfs ---- */

/* Where sysfs has the device: by address, or through a node's entry. */
static bool device_path(const char *root, const struct card *card, char *out, size_t size)
{
	const char *node = card->primary[0] ? card->primary : card->render;

	if (card->pci[0])
		snprintf(out, size, "%s/sys/bus/pci/devices/%s", root, card->pci);
	else if (*node)
		snprintf(out, size, "%s/sys/class/drm/%s/device", root, base_of(node));
	else
		return false;
	return true;
}

/* A virtio device on PCI has two drivers, one for the bus and one that is meant. */
static void driver_of_virtio(const char *device, struct card *card)
{
	struct dirent **entries = NULL;
	char path[PATH_MAX];
	int i, n;

	n = scandir(device, &entries, NULL, alphasort);
	for (i = 0; i < n; i++) {
		if (!strncmp(entries[i]->d_name, "virtio", 6)) {
			snprintf(path, sizeof(path), "%s/driver", entries[i]->d_name);
			(void)link_name(device, path, card->driver, sizeof(card->driver));
		}
		free(entries[i]);
	}
	free(entries);
}

/* Of what the node belongs to, else of the PCI device. vgem has none; its device is named after it. */
static void driver_describe(const char *root, const char *device, struct card *card)
{
	const char *node = card->primary[0] ? card->primary : card->render;
	char path[PATH_MAX];
	bool known = false;

	if (*node) {
		snprintf(path, sizeof(path), "%s/sys/class/drm/%s/device", root, base_of(node));
		known = link_name(path, "driver", card->driver, sizeof(card->driver));
	}
	if (!known)
		known = link_name(device, "driver", card->driver, sizeof(card->driver));
	/* On the faux bus all have one driver that says nothing. */
	known = known && strcmp(card->driver, "faux_driver") != 0;
	if (!known && !card->pci[0] && link_name(device, "", card->driver, sizeof(card->driver)))
		card->driver[strcspn(card->driver, ".")] = '\0';
	if (!strcmp(card->driver, "virtio-pci"))
		driver_of_virtio(device, card);
}

/* amdgpu documents these two; xe has one file a tile, and nothing for use. */
static void memory_describe(const char *device, struct card *card)
{
	uint64_t bytes;
	char name[64];
	unsigned int i;

	card->has_total = file_number(device, "mem_info_vram_total", 10, &card->total_bytes);
	if (card->has_total) {
		card->has_used = file_number(device, "mem_info_vram_used", 10, &card->used_bytes);
		return;
	}
	for (i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "tile%u/physical_vram_size_bytes", i);
		if (!file_number(device, name, 0, &bytes) ||
		    __builtin_add_overflow(card->total_bytes, bytes, &card->total_bytes))
			break;
		card->has_total = true;
	}
}

void card_describe(const char *root, struct card *card)
{
	char device[PATH_MAX], text[64], vendor[PCI_NAME_MAX], name[PCI_NAME_MAX];
	uint64_t n;

	if (!device_path(root, card, device, sizeof(device)))
		return;
	driver_describe(root, device, card);
	if (!card->vendor_id && file_number(device, "vendor", 0, &n))
		card->vendor_id = (uint16_t)n;
	if (!card->device_id && file_number(device, "device", 0, &n))
		card->device_id = (uint16_t)n;
	if (card->vendor_id) {
		pci_names(root, card->vendor_id, card->device_id, vendor, name);
		strcpy(card->vendor, vendor);
		/* NVIDIA's own names tell more, and so does what amdgpu reads from the board. */
		if (!card->name[0] &&
		    !text_read(card->name, sizeof(card->name), "%s/product_name", device))
			card->name[0] = '\0';
		if (!card->name[0])
			strcpy(card->name, name);
	}
	card->asleep = text_read(text, sizeof(text), "%s/power/runtime_status", device) &&
		       !strcmp(text, "suspended");
	memory_describe(device, card);
}
