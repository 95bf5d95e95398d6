/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The GPUs of this machine, of whichever maker: what the kernel says about each.
 *
 * drm.c finds those with DRM nodes, by libdrm; here are those that libdrm is too old for, NVIDIA's without any (a
 * driver without nvidia-drm has only /dev/nvidiaN) and what sysfs and /proc/driver/nvidia tell about a card. No
 * device node is opened: opening one wakes a sleeping GPU, and root's opening of a primary node takes the
 * display from who wants to start one. Only card_query_vram() in drm.c opens a node, and says when.
 *
 * `root` stands in front of /proc and /sys: "" in the tools, a tree of files in tests.
 */
#ifndef VRAM_COMMON_CARD_H
#define VRAM_COMMON_CARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/pci.h"

#define CARDS_MAX     64
#define CARD_NODE_MAX 64

struct card {
	char bus[16];		   /* "pci", "platform", "usb", "host1x", "faux", ... */
	char pci[PCI_ADDRESS_MAX]; /* empty unless on the PCI bus */
	char driver[32];	   /* the kernel's; empty if none is known */
	char vendor[PCI_NAME_MAX]; /* names of people's; may be empty */
	char name[PCI_NAME_MAX];
	uint16_t vendor_id, device_id; /* 0 unless on the PCI bus */
	char primary[CARD_NODE_MAX];   /* "/dev/dri/card0"; empty: none */
	char render[CARD_NODE_MAX];    /* "/dev/dri/renderD128" */
	char nvidia[CARD_NODE_MAX];    /* "/dev/nvidia0" */
	bool asleep;		       /* powered down until somebody uses it */
	bool has_total, has_used;
	uint64_t total_bytes, used_bytes; /* of its own memory, all programs together */
	char uuid[48];			  /* NVIDIA's, of NVML */
	int nvml_index;			  /* as nvidia-smi counts; -1: not known to NVML */
};

struct cards {
	struct card card[CARDS_MAX];
	size_t n;
};

/* Return: an empty card of the list, NULL if that is full. */
struct card *cards_add(struct cards *cards);

/* Return: the card with this address, NULL if there is none or pci is empty. */
struct card *cards_by_pci(struct cards *cards, const char *pci);

/*
 * cards_by_node() - path: a device node, as a link in /proc/PID/fd has it.
 * Return: the index of its card, -1 if it is no card's.
 */
int cards_by_node(const struct cards *cards, const char *path);

/*
 * Adds what sysfs has in class drm and is not there yet: devices on buses that libdrm is too old for (faux:
 * vgem since Linux 6.16; auxiliary: nova).
 */
void cards_find_rest(const char *root, struct cards *cards);

/* Adds what /proc/driver/nvidia/gpus knows: cards that are not there yet, node and name of all. */
void cards_find_nvidia(const char *root, struct cards *cards);

/* Fills in what sysfs says: driver, names, sleep, and where it says so, memory. */
void card_describe(const char *root, struct card *card);

#endif
