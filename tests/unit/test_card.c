// SPDX-License-Identifier: GPL-2.0-only
/*
 * links: common/card.c common/card_use.c common/drm_fdinfo.c common/pci.c common/err.c
 * links: tests/support/gpu_tree.c
 *
 * What sysfs and /proc tell about cards, and the walk over processes, in a tree of files.
 */
#include "common/card.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/card_use.h"
#include "tests/support/gpu_tree.h"

#define K UINT64_C(1024)
#define M (1024 * K)

static struct cards cards;
static struct card_uses uses;

enum {
	AMD,
	INTEL,
	XE,
	VGEM,
	NVIDIA
};

static void look(void)
{
	size_t i;

	gpu_tree_find(&cards);
	cards_find_nvidia(gpu_tree, &cards);
	for (i = 0; i < cards.n; i++)
		card_describe(gpu_tree, &cards.card[i]);
}

static void tree_new(void)
{
	memset(&cards, 0, sizeof(cards));
	memset(&uses, 0, sizeof(uses));
	gpu_tree_new();
	gpu_tree_cards();
	look();
}

static void tree_free(void)
{
	card_uses_deinit(&uses);
	gpu_tree_free();
}

/* ---- cards ---- */

START_TEST(test_amdgpu)
{
	const struct card *card = &cards.card[AMD];

	ck_assert_str_eq(card->driver, "amdgpu");
	ck_assert_str_eq(card->vendor, "AMD");
	ck_assert_uint_eq(card->vendor_id, 0x1002);
	ck_assert_uint_eq(card->device_id, 0x744c);
	ck_assert(card->has_total && card->has_used && !card->asleep);
	ck_assert_uint_eq(card->total_bytes, UINT64_C(25753026560));
	ck_assert_uint_eq(card->used_bytes, 1024 * M);
}
END_TEST

START_TEST(test_asleep)
{
	ck_assert_str_eq(cards.card[INTEL].driver, "i915");
	ck_assert(cards.card[INTEL].asleep);
	ck_assert(!cards.card[INTEL].has_total);
}
END_TEST

START_TEST(test_xe_tiles)
{
	ck_assert(cards.card[XE].has_total && !cards.card[XE].has_used);
	ck_assert_uint_eq(cards.card[XE].total_bytes, 12 * 1024 * M);
}
END_TEST

START_TEST(test_without_driver)
{
	ck_assert_str_eq(cards.card[VGEM].driver, "vgem");
	ck_assert_str_eq(cards.card[VGEM].vendor, "");
}
END_TEST

START_TEST(test_nvidia)
{
	const struct card *card = &cards.card[NVIDIA];

	ck_assert_uint_eq(cards.n, 5);
	ck_assert_str_eq(card->pci, "0000:01:00.0");
	ck_assert_str_eq(card->driver, "nvidia");
	ck_assert_str_eq(card->name, "NVIDIA GeForce RTX 4090");
	ck_assert_str_eq(card->nvidia, "/dev/nvidia0");
	ck_assert_str_eq(card->primary, "");
	/* Once more: nothing comes twice. */
	cards_find_nvidia(gpu_tree, &cards);
	ck_assert_uint_eq(cards.n, 5);
}
END_TEST

/* With nvidia-drm the card has nodes already, and gets the third. */
START_TEST(test_nvidia_with_drm)
{
	struct card *card;

	memset(&cards, 0, sizeof(cards));
	card = cards_add(&cards);
	strcpy(card->pci, "0000:01:00.0");
	strcpy(card->render, "/dev/dri/renderD131");
	cards_find_nvidia(gpu_tree, &cards);
	ck_assert_uint_eq(cards.n, 1);
	ck_assert_str_eq(card->nvidia, "/dev/nvidia0");
	ck_assert_int_eq(cards_by_node(&cards, "/dev/dri/renderD131"), 0);
	ck_assert_int_eq(cards_by_node(&cards, "/dev/nvidia0"), 0);
}
END_TEST

START_TEST(test_nvidia_hostile)
{
	memset(&cards, 0, sizeof(cards));
	gpu_tree_text("/proc/driver/nvidia/gpus/nonsense/information", "Model: x\n");
	gpu_tree_text("/proc/driver/nvidia/gpus/0000:02:00.0/information",
		      "Device Minor: 99999999999999999999\nModel:");
	gpu_tree_text("/proc/driver/nvidia/gpus/0000:02:00.1/nothing", "");
	cards_find_nvidia(gpu_tree, &cards);
	ck_assert_uint_eq(cards.n, 2);
	ck_assert_str_eq(cards.card[1].pci, "0000:02:00.0");
	ck_assert_str_eq(cards.card[1].nvidia, "");
	ck_assert_str_eq(cards.card[1].name, "");
}
END_TEST

START_TEST(test_numbers_that_are_none)
{
	static const char *const texts[] = { "", "-1", "12x", " 12", "99999999999999999999", "\n" };
	struct card card = { .pci = "0000:03:00.0" };
	char path[] = "/sys/bus/pci/devices/0000:03:00.0/mem_info_vram_total";

	gpu_tree_text(path, texts[_i]);
	card_describe(gpu_tree, &card);
	ck_assert(!card.has_total && !card.has_used);
	ck_assert_str_eq(card.driver, "amdgpu");
}
END_TEST

START_TEST(test_card_that_is_gone)
{
	struct card card = { .pci = "0000:99:00.0" }, bare = { 0 };

	card_describe(gpu_tree, &card);
	card_describe(gpu_tree, &bare);
	ck_assert_str_eq(card.driver, "");
	ck_assert(!card.has_total && !bare.has_total);
}
END_TEST

START_TEST(test_nodes)
{
	ck_assert_int_eq(cards_by_node(&cards, "/dev/dri/card0"), AMD);
	ck_assert_int_eq(cards_by_node(&cards, "/dev/dri/renderD129"), INTEL);
	ck_assert_int_eq(cards_by_node(&cards, "/dev/dri/renderD129 (deleted)"), INTEL);
	ck_assert_int_eq(cards_by_node(&cards, "/dev/nvidia0"), NVIDIA);
	ck_assert_int_eq(cards_by_node(&cards, "/dev/dri/card"), -1);
	ck_assert_int_eq(cards_by_node(&cards, "/dev/dri/card01"), -1);
	ck_assert_int_eq(cards_by_node(&cards, "/dev/dri/renderD12"), -1);
	ck_assert_int_eq(cards_by_node(&cards, "/srv/x/dev/dri/card0"), -1);
	ck_assert_int_eq(cards_by_node(&cards, "/dev/nvidiactl"), -1);
	ck_assert_int_eq(cards_by_node(&cards, ""), -1);
}
END_TEST

/* Buses that libdrm does not know; and nothing that is there already comes twice. */
START_TEST(test_rest)
{
	const struct card *card;

	gpu_tree_text("/sys/devices/faux/vgem2/uevent", "");
	gpu_tree_link("/sys/devices/faux/vgem2/driver", "../../../bus/faux/drivers/faux_driver");
	gpu_tree_link("/sys/devices/faux/vgem2/subsystem", "../../../bus/faux");
	gpu_tree_link("/sys/class/drm/card7/device", "../../../devices/faux/vgem2");
	gpu_tree_text(
		"/sys/devices/pci0000:00/0000:00:01.0/0000:02:00.0/nova_core.nova-drm.0/uevent",
		"");
	gpu_tree_text("/sys/bus/pci/devices/0000:02:00.0/vendor", "0x10de");
	gpu_tree_link("/sys/class/drm/card8/device",
		      "../../../devices/pci0000:00/0000:00:01.0/0000:02:00.0/nova_core.nova-drm.0");
	gpu_tree_link("/sys/class/drm/renderD136/device",
		      "../../../devices/pci0000:00/0000:00:01.0/0000:02:00.0/nova_core.nova-drm.0");
	gpu_tree_link("/sys/class/drm/card8-DP-1/device", "../card8");
	gpu_tree_link("/sys/class/drm/card9/device", "../../../devices/gone");
	gpu_tree_link("/sys/class/drm/renderD128/device", "../../../bus/pci/devices/0000:03:00.0");
	cards_find_rest(gpu_tree, &cards);
	ck_assert_uint_eq(cards.n, 7);
	card_describe(gpu_tree, &cards.card[5]);
	ck_assert_str_eq(cards.card[5].primary, "/dev/dri/card7");
	ck_assert_str_eq(cards.card[5].bus, "faux");
	ck_assert_str_eq(cards.card[5].driver, "vgem2");
	ck_assert_str_eq(cards.card[5].pci, "");
	card = &cards.card[6];
	card_describe(gpu_tree, &cards.card[6]);
	ck_assert_str_eq(card->primary, "/dev/dri/card8");
	ck_assert_str_eq(card->render, "/dev/dri/renderD136");
	ck_assert_str_eq(card->pci, "0000:02:00.0");
	ck_assert_str_eq(card->bus, "other");
	ck_assert_uint_eq(card->vendor_id, 0x10de);
	cards_find_rest(gpu_tree, &cards);
	ck_assert_uint_eq(cards.n, 7);
}
END_TEST

/* A virtio device on PCI: the bus's driver is not the one that is meant. */
START_TEST(test_virtio)
{
	struct card card = { .pci = "0000:07:00.0" };

	gpu_tree_text("/sys/bus/pci/devices/0000:07:00.0/vendor", "0x1af4");
	gpu_tree_link("/sys/bus/pci/devices/0000:07:00.0/driver", "../../drivers/virtio-pci");
	card_describe(gpu_tree, &card);
	ck_assert_str_eq(card.driver, "virtio-pci");
	gpu_tree_link("/sys/bus/pci/devices/0000:07:00.0/virtio3/driver",
		      "../../drivers/virtio_gpu");
	card_describe(gpu_tree, &card);
	ck_assert_str_eq(card.driver, "virtio_gpu");
}
END_TEST

START_TEST(test_too_many_cards)
{
	size_t i;

	for (i = cards.n; i < CARDS_MAX; i++)
		ck_assert_ptr_nonnull(cards_add(&cards));
	ck_assert_ptr_null(cards_add(&cards));
	ck_assert_uint_eq(cards.n, CARDS_MAX);
}
END_TEST

/* ---- processes ---- */

static const struct card_use *use_of(pid_t pid, size_t card)
{
	size_t i;

	for (i = 0; i < uses.n; i++) {
		if (uses.use[i].pid == pid && uses.use[i].card == card)
			return &uses.use[i];
	}
	return NULL;
}

static void walk(void)
{
	card_uses_deinit(&uses);
	ck_assert_int_eq(card_uses_read(gpu_tree, &cards, &uses), 0);
}

START_TEST(test_one_process_two_cards)
{
	const struct card_use *use;

	gpu_tree_process(4242, "Xorg", 1000);
	gpu_tree_fd(4242, 3, "/dev/dri/renderD128", "amdgpu");
	gpu_tree_fd(4242, 4, "/dev/dri/renderD130", "xe");
	gpu_tree_fd(4242, 5, "/srv/ann/renderD128", "amdgpu-6.1");
	gpu_tree_process(4243, "bash", 1000);
	walk();
	ck_assert_uint_eq(uses.n, 2);
	use = use_of(4242, AMD);
	ck_assert_ptr_nonnull(use);
	ck_assert_str_eq(use->comm, "Xorg");
	ck_assert_uint_eq(use->uid, 1000);
	ck_assert(use->known && !use->truncated);
	ck_assert_uint_eq(use->vram_bytes, 512 * M);
	ck_assert_uint_eq(use->other_bytes, 16 * M);
	ck_assert_uint_eq(use->shared_bytes, 8 * M);
	ck_assert_uint_eq(use->clients, 1);
	ck_assert_uint_eq(use_of(4242, XE)->vram_bytes, 23992 * K);
}
END_TEST

/* dup() and both nodes of one open file; and a second file of the same process. */
START_TEST(test_descriptors_of_one_client)
{
	gpu_tree_process(10, "game", 1000);
	gpu_tree_fd(10, 3, "/dev/dri/renderD128", "amdgpu");
	gpu_tree_fd(10, 4, "/dev/dri/renderD128", "amdgpu");
	gpu_tree_fd(10, 5, "/dev/dri/card0", "amdgpu-6.1");
	walk();
	ck_assert_uint_eq(uses.n, 1);
	ck_assert_uint_eq(uses.use[0].clients, 2);
	ck_assert_uint_eq(uses.use[0].vram_bytes, 512 * M + 60060 * K);
}
END_TEST

/* fork(): the lowest pid has it, the other one is there with nothing. As texts "9" is behind "10". */
START_TEST(test_file_of_two_processes)
{
	gpu_tree_process(10, "child", 1000);
	gpu_tree_fd(10, 3, "/dev/dri/renderD128", "amdgpu");
	gpu_tree_process(9, "parent", 1000);
	gpu_tree_fd(9, 3, "/dev/dri/renderD128", "amdgpu");
	walk();
	ck_assert_uint_eq(uses.n, 2);
	ck_assert_int_eq(uses.use[0].pid, 9);
	ck_assert_uint_eq(use_of(9, AMD)->vram_bytes, 512 * M);
	ck_assert_uint_eq(use_of(10, AMD)->vram_bytes, 0);
	ck_assert_uint_eq(use_of(10, AMD)->clients, 0);
	ck_assert(use_of(10, AMD)->known);
}
END_TEST

/* The same number on two cards is two clients. */
START_TEST(test_client_numbers_are_per_card)
{
	gpu_tree_process(10, "game", 1000);
	gpu_tree_fd(10, 3, "/dev/dri/renderD128", "i915");
	gpu_tree_fd(10, 4, "/dev/dri/renderD129", "i915");
	walk();
	ck_assert_uint_eq(use_of(10, AMD)->vram_bytes, 129 * M);
	ck_assert_uint_eq(use_of(10, INTEL)->vram_bytes, 129 * M);
}
END_TEST

/* Without numbers the largest file stands for all: they may be one. */
START_TEST(test_without_client_numbers)
{
	static const char small[] = "drm-driver: old\ndrm-memory-vram: 3 MiB\n";
	static const char large[] = "drm-driver: old\ndrm-memory-vram: 5 MiB\n";

	gpu_tree_process(10, "game", 1000);
	gpu_tree_fd(10, 3, "/dev/dri/card0", NULL);
	gpu_tree_fd(10, 4, "/dev/dri/card0", NULL);
	gpu_tree_fd(10, 5, "/dev/dri/card0", NULL);
	gpu_tree_text("/proc/10/fdinfo/3", small);
	gpu_tree_text("/proc/10/fdinfo/4", large);
	gpu_tree_text("/proc/10/fdinfo/5", small);
	walk();
	ck_assert_uint_eq(uses.use[0].vram_bytes, 5 * M);
}
END_TEST

/* It is there, but what it has is not known. */
START_TEST(test_driver_that_says_nothing)
{
	gpu_tree_process(10, "old", 1000);
	gpu_tree_fd(10, 3, "/dev/dri/card3", "no-drm");
	gpu_tree_process(11, "gone", 1000);
	gpu_tree_fd(11, 3, "/dev/dri/card3", NULL);
	gpu_tree_process(12, "nouveau", 1000);
	gpu_tree_fd(12, 3, "/dev/dri/card3", "nouveau");
	gpu_tree_process(13, "cuda", 1000);
	gpu_tree_fd(13, 3, "/dev/nvidia0", "no-drm");
	walk();
	ck_assert_uint_eq(uses.n, 4);
	ck_assert(!use_of(10, VGEM)->known && !use_of(11, VGEM)->known && !use_of(12, VGEM)->known);
	ck_assert(!use_of(13, NVIDIA)->known);
}
END_TEST

START_TEST(test_hostile_texts)
{
	gpu_tree_process(10, "a\033[31m", 1000);
	gpu_tree_fd(10, 3, "/dev/dri/card0", "hostile");
	gpu_tree_fd(10, 4, "/dev/dri/card0", "binary");
	gpu_tree_fd(10, 5, "/dev/dri/card1", "twice");
	walk();
	ck_assert_uint_eq(uses.n, 2);
	ck_assert_uint_eq(use_of(10, AMD)->vram_bytes, 4 * K);
	ck_assert_uint_eq(use_of(10, INTEL)->vram_bytes, M);
}
END_TEST

/* A file without end: its first CARD_USE_TEXT bytes count. */
START_TEST(test_long_text)
{
	size_t size = 3 * CARD_USE_TEXT, len;
	char *text = malloc(size);

	ck_assert_ptr_nonnull(text);
	len = (size_t)snprintf(text, size, "drm-driver: x\ndrm-client-id: 1\ndrm-memory-vram: 9\n");
	memset(text + len, 'a', size - len);
	memcpy(text + size - 24, "\ndrm-memory-local0: 100\n", 24);
	gpu_tree_process(10, "long", 1000);
	gpu_tree_fd(10, 3, "/dev/dri/card0", NULL);
	gpu_tree_file("/proc/10/fdinfo/3", text, size);
	free(text);
	walk();
	ck_assert_uint_eq(uses.use[0].vram_bytes, 9);
}
END_TEST

START_TEST(test_too_many_descriptors)
{
	char text[128], path[64];
	int i;

	gpu_tree_process(10, "greedy", 1000);
	for (i = 1; i <= CARD_USE_FDS + 10; i++) {
		gpu_tree_fd(10, i, "/dev/dri/card0", NULL);
		snprintf(path, sizeof(path), "/proc/10/fdinfo/%d", i);
		snprintf(text, sizeof(text),
			 "drm-driver: x\ndrm-client-id: %d\ndrm-memory-vram: 1\n", i + 1000);
		gpu_tree_text(path, text);
	}
	gpu_tree_process(11, "other", 1000);
	gpu_tree_fd(11, 3, "/dev/dri/card0", "amdgpu");
	walk();
	ck_assert(use_of(10, AMD)->truncated);
	ck_assert_uint_eq(use_of(10, AMD)->clients, CARD_USE_FDS);
	ck_assert_uint_eq(use_of(10, AMD)->vram_bytes, CARD_USE_FDS);
	ck_assert(!use_of(11, AMD)->truncated);
	ck_assert_uint_eq(use_of(11, AMD)->vram_bytes, 512 * M);
}
END_TEST

START_TEST(test_no_status)
{
	gpu_tree_fd(10, 3, "/dev/dri/card0", "amdgpu");
	gpu_tree_text("/proc/10/fd/none", "");
	gpu_tree_text("/proc/self/status", "Name:\tx\n");
	gpu_tree_text("/proc/99999999999/status", "Name:\tx\n");
	gpu_tree_text("/proc/12/status", "Name:\tkthreadd\n");
	walk();
	ck_assert_uint_eq(uses.n, 1);
	ck_assert_str_eq(uses.use[0].comm, "");
	ck_assert_uint_eq(uses.use[0].uid, (uid_t)-1);
	ck_assert_uint_eq(uses.n_hidden, 0);
}
END_TEST

START_TEST(test_hidden)
{
	char path[512];

	gpu_tree_process(10, "mine", 1000);
	gpu_tree_fd(10, 3, "/dev/dri/card0", "amdgpu");
	gpu_tree_process(11, "theirs", 1001);
	gpu_tree_fd(11, 3, "/dev/dri/card0", "amdgpu-6.1");
	snprintf(path, sizeof(path), "%s/proc/11/fd", gpu_tree);
	ck_assert_int_eq(chmod(path, 0), 0);
	ck_assert(chmod(gpu_tree, 0755) == 0);
	/* root may read everything. */
	if (geteuid() == 0)
		ck_assert(setegid(65534) == 0 && seteuid(65534) == 0);
	walk();
	if (getuid() == 0)
		ck_assert(seteuid(0) == 0 && setegid(0) == 0);
	ck_assert_int_eq(chmod(path, 0755), 0);
	ck_assert_uint_eq(uses.n, 1);
	ck_assert_uint_eq(uses.n_hidden, 1);
}
END_TEST

START_TEST(test_no_proc)
{
	struct card_uses none = { .n = 77 };

	ck_assert_int_eq(card_uses_read("/does/not/exist", &cards, &none), -ENOENT);
	ck_assert_uint_eq(none.n, 77);
}
END_TEST

START_TEST(test_note)
{
	gpu_tree_process(10, "cuda", 1000);
	gpu_tree_fd(10, 3, "/dev/nvidia0", "no-drm");
	gpu_tree_process(11, "hidden", 1001);
	walk();
	ck_assert_int_eq(card_uses_note(gpu_tree, &uses, NVIDIA, 10, true, 5 * M), 0);
	ck_assert_int_eq(card_uses_note(gpu_tree, &uses, NVIDIA, 11, true, 6 * M), 0);
	ck_assert_int_eq(card_uses_note(gpu_tree, &uses, NVIDIA, 12, false, 7), 0);
	ck_assert_uint_eq(uses.n, 3);
	ck_assert_uint_eq(use_of(10, NVIDIA)->vram_bytes, 5 * M);
	ck_assert_str_eq(use_of(11, NVIDIA)->comm, "hidden");
	ck_assert_uint_eq(use_of(11, NVIDIA)->uid, 1001);
	ck_assert(!use_of(12, NVIDIA)->known);
}
END_TEST

/* Of this machine: something is found in this process if it has a node open; here is none. */
START_TEST(test_real_proc)
{
	struct cards here = { .n = 1 };
	FILE *f;

	strcpy(here.card[0].primary, gpu_tree);
	strcat(here.card[0].primary, "/n");
	f = fopen(here.card[0].primary, "we");
	ck_assert_ptr_nonnull(f);
	card_uses_deinit(&uses);
	ck_assert_int_eq(card_uses_read("", &here, &uses), 0);
	ck_assert_ptr_nonnull(use_of(getpid(), 0));
	ck_assert_uint_eq(use_of(getpid(), 0)->uid, getuid());
	ck_assert(!use_of(getpid(), 0)->known);
	fclose(f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("card");
	TCase *sysfs = tcase_create("cards"), *proc = tcase_create("processes");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(sysfs, tree_new, tree_free);
	tcase_add_test(sysfs, test_amdgpu);
	tcase_add_test(sysfs, test_asleep);
	tcase_add_test(sysfs, test_xe_tiles);
	tcase_add_test(sysfs, test_without_driver);
	tcase_add_test(sysfs, test_nvidia);
	tcase_add_test(sysfs, test_nvidia_with_drm);
	tcase_add_test(sysfs, test_nvidia_hostile);
	tcase_add_loop_test(sysfs, test_numbers_that_are_none, 0, 6);
	tcase_add_test(sysfs, test_card_that_is_gone);
	tcase_add_test(sysfs, test_nodes);
	tcase_add_test(sysfs, test_rest);
	tcase_add_test(sysfs, test_virtio);
	tcase_add_test(sysfs, test_too_many_cards);
	suite_add_tcase(s, sysfs);
	tcase_add_checked_fixture(proc, tree_new, tree_free);
	tcase_add_test(proc, test_one_process_two_cards);
	tcase_add_test(proc, test_descriptors_of_one_client);
	tcase_add_test(proc, test_file_of_two_processes);
	tcase_add_test(proc, test_client_numbers_are_per_card);
	tcase_add_test(proc, test_without_client_numbers);
	tcase_add_test(proc, test_driver_that_says_nothing);
	tcase_add_test(proc, test_hostile_texts);
	tcase_add_test(proc, test_long_text);
	tcase_add_test(proc, test_too_many_descriptors);
	tcase_add_test(proc, test_no_status);
	tcase_add_test(proc, test_hidden);
	tcase_add_test(proc, test_no_proc);
	tcase_add_test(proc, test_note);
	tcase_add_test(proc, test_real_proc);
	suite_add_tcase(s, proc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
