// SPDX-License-Identifier: GPL-2.0-only
#include "tests/support/gpu_tree.h"

#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char tree[256];
const char *gpu_tree;

void gpu_tree_new(void)
{
	const char *tmp = getenv("TEST_TMP");

	snprintf(tree, sizeof(tree), "%s/gpus.XXXXXX", tmp ? tmp : "/tmp");
	gpu_tree = mkdtemp(tree);
	ck_assert_ptr_nonnull(gpu_tree);
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void gpu_tree_free(void)
{
	nftw(tree, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
	gpu_tree = NULL;
}

/* The whole path, its parents made. */
static const char *place(const char *path)
{
	static char whole[PATH_MAX];
	char *slash;

	snprintf(whole, sizeof(whole), "%s%s", tree, path);
	for (slash = strchr(whole + strlen(tree) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		ck_assert(mkdir(whole, 0755) == 0 || errno == EEXIST);
		*slash = '/';
	}
	return whole;
}

void gpu_tree_file(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(place(path), "we");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
}

void gpu_tree_text(const char *path, const char *text)
{
	gpu_tree_file(path, text, strlen(text));
}

void gpu_tree_link(const char *path, const char *target)
{
	ck_assert_int_eq(symlink(target, place(path)), 0);
}

void gpu_tree_process(int pid, const char *name, int uid)
{
	char path[64], text[256];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	snprintf(text, sizeof(text),
		 "Name:\t%s\nUmask:\t0022\nState:\tS (sleeping)\nUid:\t%d\t%d\t%d\t%d\n", name, uid,
		 uid, uid, uid);
	gpu_tree_text(path, text);
	snprintf(path, sizeof(path), "/proc/%d/fd/0", pid);
	gpu_tree_link(path, "/dev/null");
}

void gpu_tree_fd(int pid, int fd, const char *target, const char *fdinfo)
{
	static char text[1 << 16];
	const char *src = getenv("VRAM_SRC");
	char path[PATH_MAX];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	gpu_tree_link(path, target);
	if (!fdinfo)
		return;
	snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/fdinfo/%s", src ? src : ".", fdinfo);
	f = fopen(path, "re");
	ck_assert_msg(f != NULL, "%s", path);
	n = fread(text, 1, sizeof(text), f);
	fclose(f);
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	gpu_tree_file(path, text, n);
}

/* ---- cards ---- */

static const struct {
	const char *pci, *driver, *node, *render, *vendor, *device;
} cards_here[] = {
	{ "0000:03:00.0", "amdgpu", "card0", "renderD128", "0x1002\n", "0x744c\n" },
	{ "0000:04:00.0", "i915", "card1", "renderD129", "0x8086\n", "0x56a0\n" },
	{ "0000:05:00.0", "xe", "card2", "renderD130", "0x8086\n", "0xe20b\n" },
	{ "", "vgem", "card3", "", "", "" },
};

static void card_make(size_t i)
{
	char device[128], path[256], target[256];

	snprintf(device, sizeof(device), "/sys/bus/pci/devices/%s", cards_here[i].pci);
	snprintf(path, sizeof(path), "%s/vendor", device);
	gpu_tree_text(path, cards_here[i].vendor);
	snprintf(path, sizeof(path), "%s/device", device);
	gpu_tree_text(path, cards_here[i].device);
	snprintf(path, sizeof(path), "%s/driver", device);
	snprintf(target, sizeof(target), "../../../../bus/pci/drivers/%s", cards_here[i].driver);
	gpu_tree_link(path, target);
	snprintf(path, sizeof(path), "/sys/class/drm/%s/device", cards_here[i].node);
	snprintf(target, sizeof(target), "../../../bus/pci/devices/%s", cards_here[i].pci);
	gpu_tree_link(path, target);
}

void gpu_tree_cards(void)
{
	size_t i;

	for (i = 0; i < 3; i++)
		card_make(i);
	gpu_tree_text("/sys/bus/pci/devices/0000:03:00.0/mem_info_vram_total", "25753026560\n");
	gpu_tree_text("/sys/bus/pci/devices/0000:03:00.0/mem_info_vram_used", "1073741824\n");
	gpu_tree_text("/sys/bus/pci/devices/0000:03:00.0/power/runtime_status", "active\n");
	gpu_tree_text("/sys/bus/pci/devices/0000:04:00.0/power/runtime_status", "suspended\n");
	gpu_tree_text("/sys/bus/pci/devices/0000:05:00.0/tile0/physical_vram_size_bytes",
		      "0x200000000\n");
	gpu_tree_text("/sys/bus/pci/devices/0000:05:00.0/tile1/physical_vram_size_bytes",
		      "0x100000000\n");
	gpu_tree_text("/sys/devices/platform/vgem/uevent", "MODALIAS=platform:vgem\n");
	gpu_tree_link("/sys/class/drm/card3/device", "../../../devices/platform/vgem");

	gpu_tree_text("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n");
	gpu_tree_text("/sys/bus/pci/devices/0000:01:00.0/device", "0x2684\n");
	gpu_tree_link("/sys/bus/pci/devices/0000:01:00.0/driver",
		      "../../../../bus/pci/drivers/nvidia");
	gpu_tree_text("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 ...\n");
	gpu_tree_text("/proc/driver/nvidia/gpus/0000:01:00.0/information",
		      "Model: \t\t NVIDIA GeForce RTX 4090\nIRQ:   \t\t 141\n"
		      "GPU UUID: \t GPU-0a1b2c3d-0a1b-2c3d-4e5f-0a1b2c3d4e5f\n"
		      "Bus Type: \t PCIe\nBus Location: \t 0000:01:00.0\nDevice Minor: \t 0\n");
}

int gpu_tree_find(struct cards *cards)
{
	struct card *card;
	size_t i;

	for (i = 0; i < sizeof(cards_here) / sizeof(cards_here[0]); i++) {
		card = cards_add(cards);
		ck_assert_ptr_nonnull(card);
		strcpy(card->bus, *cards_here[i].pci ? "pci" : "platform");
		strcpy(card->pci, cards_here[i].pci);
		snprintf(card->primary, sizeof(card->primary), "/dev/dri/%s", cards_here[i].node);
		if (*cards_here[i].render)
			snprintf(card->render, sizeof(card->render), "/dev/dri/%s",
				 cards_here[i].render);
	}
	return 0;
}
