// SPDX-License-Identifier: GPL-2.0-only
/*
 * links: tools/vramctl/devices.c tools/shared/cells.c tools/shared/table.c
 * links: common/card.c common/card_use.c common/drm.c common/drm_fdinfo.c common/nvml.c common/pci.c
 * links: common/err.c common/size.c tests/support/gpu_tree.c
 * libs: -ljansson -ldrm
 *
 * What `vramctl devices` says about a machine with five GPUs, as JSON and as tables.
 */
#include "tools/vramctl/devices.h"

#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/nvml.h"
#include "tests/support/gpu_tree.h"

#define M (UINT64_C(1) << 20)
#define G (UINT64_C(1) << 30)

/* ---- a machine ---- */

static int nvml_result;

static int lib_init(unsigned int flags)
{
	(void)flags;
	return 0;
}

static int lib_ok(void)
{
	return 0;
}

static int lib_count(unsigned int *n)
{
	*n = 1;
	return 0;
}

static int lib_handle(unsigned int index, void **device)
{
	(void)index;
	*device = &nvml_result;
	return 0;
}

static int lib_pci(void *device, unsigned int *pci)
{
	(void)device;
	memset(pci, 0, 68);
	pci[5] = 1; /* the bus */
	return 0;
}

static int lib_memory(void *device, unsigned long long *memory)
{
	(void)device;
	memory[0] = 24 * G;
	memory[1] = 18 * G;
	memory[2] = 6 * G;
	return 0;
}

/* Two clients' contexts, of which one cannot be told. */
static int lib_processes(void *device, unsigned int *n, unsigned long long *list)
{
	(void)device;
	memset(list, 0, 48);
	list[0] = 50;
	list[1] = 5 * G;
	list[3] = 51;
	list[4] = ULLONG_MAX;
	*n = 2;
	return 0;
}

static void *lib_symbol(void *handle, const char *name)
{
	static const struct {
		const char *name;
		void *function;
	} functions[] = {
		{ "nvmlInitWithFlags", lib_init },
		{ "nvmlShutdown", lib_ok },
		{ "nvmlDeviceGetCount_v2", lib_count },
		{ "nvmlDeviceGetHandleByIndex_v2", lib_handle },
		{ "nvmlDeviceGetPciInfo_v3", lib_pci },
		{ "nvmlDeviceGetMemoryInfo", lib_memory },
		{ "nvmlDeviceGetComputeRunningProcesses_v3", lib_processes },
	};
	size_t i;

	(void)handle;
	for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		if (!strcmp(name, functions[i].name))
			return functions[i].function;
	}
	return NULL;
}

static int lib_open(struct nvml **out)
{
	return nvml_result < 0 ? nvml_result : nvml_open_by(lib_symbol, NULL, out);
}

static void no_query(struct card *card)
{
	(void)card;
}

static struct devices_source source = {
	.find = gpu_tree_find,
	.query = no_query,
	.nvml = lib_open,
};

static json_t *answer, *clients;

static void machine_new(void)
{
	gpu_tree_new();
	gpu_tree_cards();
	gpu_tree_process(20, "Xorg", 0);
	gpu_tree_fd(20, 3, "/dev/dri/card0", "amdgpu");
	gpu_tree_process(21, "caf\xe9 \033[31m", 1000);
	gpu_tree_fd(21, 3, "/dev/dri/renderD130", "xe");
	gpu_tree_process(50, "engine", 1000);
	gpu_tree_fd(50, 3, "/dev/nvidia0", "no-drm");
	gpu_tree_process(51, "vramd", 0);
	source.root = gpu_tree;
	nvml_result = 0;
	answer =
		json_pack("{s:[{s:s,s:s}]}", "devices", "name", "cuda0", "pci", "00000000:01:00.0");
	clients = json_pack("{s:[{s:i}]}", "clients", "pid", 50);
}

static void machine_free(void)
{
	json_decref(answer);
	json_decref(clients);
	gpu_tree_free();
}

static const json_t *gpu(const char *pci)
{
	const json_t *value;
	const char *text;
	size_t i;

	json_array_foreach(json_object_get(answer, "gpus"), i, value) {
		text = json_string_value(json_object_get(value, "pci"));
		if (!strcmp(text ? text : "", pci))
			return value;
	}
	ck_abort_msg("no GPU %s", pci);
	return NULL;
}

static const json_t *process(const char *pci, int pid)
{
	const json_t *value;
	size_t i;

	json_array_foreach(json_object_get(gpu(pci), "processes"), i, value) {
		if (json_integer_value(json_object_get(value, "pid")) == pid)
			return value;
	}
	ck_abort_msg("no process %d", pid);
	return NULL;
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "(none)";
}

static json_int_t number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_integer(value) ? json_integer_value(value) : -1;
}

/* ---- JSON ---- */

START_TEST(test_gpus)
{
	const json_t *card;

	ck_assert_int_eq(devices_add(answer, &source, clients, 51), 0);
	ck_assert_uint_eq(json_array_size(json_object_get(answer, "gpus")), 5);
	card = gpu("0000:03:00.0");
	ck_assert_str_eq(text(card, "bus"), "pci");
	ck_assert_str_eq(text(card, "driver"), "amdgpu");
	ck_assert_str_eq(text(card, "vendor"), "AMD");
	ck_assert_int_eq(number(card, "vendor_id"), 0x1002);
	ck_assert_int_eq(number(card, "vram_bytes"), 25753026560);
	ck_assert_int_eq(number(card, "vram_used_bytes"), (json_int_t)G);
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(card, "nodes"), 1)),
			 "/dev/dri/renderD128");
	ck_assert(json_is_null(json_object_get(card, "device")));
	ck_assert(json_is_null(json_object_get(card, "nvml_index")));
	ck_assert(json_is_null(json_object_get(gpu("0000:04:00.0"), "vram_bytes")));
	ck_assert(json_is_true(json_object_get(gpu("0000:04:00.0"), "asleep")));
	ck_assert(json_is_null(json_object_get(gpu(""), "pci")));
	ck_assert_str_eq(text(gpu(""), "driver"), "vgem");
	ck_assert_int_eq(number(answer, "hidden_processes"), 0);
}
END_TEST

START_TEST(test_managed)
{
	const json_t *card;

	ck_assert_int_eq(devices_add(answer, &source, clients, 51), 0);
	card = gpu("0000:01:00.0");
	ck_assert_str_eq(text(card, "device"), "cuda0");
	ck_assert_int_eq(number(card, "nvml_index"), 0);
	ck_assert_int_eq(number(card, "vram_bytes"), (json_int_t)(24 * G));
	ck_assert_int_eq(number(card, "vram_used_bytes"), (json_int_t)(6 * G));
	ck_assert_str_eq(text(card, "name"), "NVIDIA GeForce RTX 4090");
	ck_assert(json_is_true(json_object_get(process("0000:01:00.0", 50), "vramd")));
	ck_assert(json_is_true(json_object_get(process("0000:01:00.0", 51), "vramd")));
	ck_assert_int_eq(number(process("0000:01:00.0", 50), "vram_bytes"), (json_int_t)(5 * G));
	ck_assert(json_is_null(json_object_get(process("0000:01:00.0", 51), "vram_bytes")));
	ck_assert(json_is_false(json_object_get(process("0000:03:00.0", 20), "vramd")));
	ck_assert_int_eq(number(process("0000:03:00.0", 20), "vram_bytes"), (json_int_t)(512 * M));
	ck_assert_int_eq(number(process("0000:03:00.0", 20), "uid"), 0);
	/* What the daemon said stays. */
	ck_assert_uint_eq(json_array_size(json_object_get(answer, "devices")), 1);
}
END_TEST

START_TEST(test_without_daemon)
{
	json_object_clear(answer);
	json_object_set_new(answer, "devices", json_array());
	ck_assert_int_eq(devices_add(answer, &source, NULL, 0), 0);
	ck_assert(json_is_null(json_object_get(gpu("0000:01:00.0"), "device")));
	ck_assert(json_is_false(json_object_get(process("0000:01:00.0", 50), "vramd")));
}
END_TEST

START_TEST(test_names_are_any_bytes)
{
	ck_assert_int_eq(devices_add(answer, &source, clients, 51), 0);
	ck_assert_str_eq(text(process("0000:05:00.0", 21), "comm"), "caf? \033[31m");
}
END_TEST

START_TEST(test_nvml_errors)
{
	static const int errors[] = { -ENOENT, -ENODEV, -EPERM, -EREMOTEIO };
	static const char *const names[] = { "ENOENT", "ENODEV", "EPERM", "EREMOTEIO" };

	nvml_result = errors[_i];
	ck_assert_int_eq(devices_add(answer, &source, clients, 51), 0);
	ck_assert_str_eq(text(json_object_get(answer, "nvml"), "error"), names[_i]);
	/* The rest is there; the card's processes by their descriptors. */
	ck_assert_uint_eq(json_array_size(json_object_get(answer, "gpus")), 5);
	ck_assert(json_is_null(json_object_get(gpu("0000:01:00.0"), "vram_bytes")));
	ck_assert(json_is_null(json_object_get(process("0000:01:00.0", 50), "vram_bytes")));
	ck_assert_str_eq(text(gpu("0000:01:00.0"), "device"), "cuda0");
}
END_TEST

/* Without the driver the library is not even looked for. */
static int must_not_open(struct nvml **out)
{
	(void)out;
	ck_abort_msg("NVML is opened");
	return 0;
}

static int find_nothing(struct cards *cards)
{
	(void)cards;
	return -EIO;
}

START_TEST(test_empty_machine)
{
	static const struct devices_source empty = {
		.root = "/does/not/exist",
		.find = find_nothing,
		.query = no_query,
		.nvml = must_not_open,
	};

	ck_assert_int_eq(devices_add(answer, &empty, clients, 51), 0);
	ck_assert_uint_eq(json_array_size(json_object_get(answer, "gpus")), 0);
	ck_assert(json_is_null(json_object_get(answer, "nvml")));
	devices_show(answer);
}
END_TEST

/* ---- tables ---- */

static char shown[1 << 14];

/* What devices_show() prints. */
static void show(void)
{
	FILE *f = tmpfile();
	int saved = dup(STDOUT_FILENO);
	size_t n;

	ck_assert(f && saved >= 0);
	fflush(stdout);
	ck_assert_int_ge(dup2(fileno(f), STDOUT_FILENO), 0);
	devices_show(answer);
	fflush(stdout);
	ck_assert_int_ge(dup2(saved, STDOUT_FILENO), 0);
	close(saved);
	rewind(f);
	n = fread(shown, 1, sizeof(shown) - 1, f);
	shown[n] = '\0';
	fclose(f);
}

START_TEST(test_tables)
{
	ck_assert_int_eq(devices_add(answer, &source, clients, 51), 0);
	json_object_set_new(answer, "hidden_processes", json_integer(3));
	show();
	ck_assert_ptr_nonnull(
		strstr(shown, "GPU           DRIVER  NODES             VENDOR  NAME "));
	ck_assert_ptr_nonnull(
		strstr(shown, "0000:03:00.0  amdgpu  card0,renderD128  AMD     1002:744c "));
	ck_assert_ptr_nonnull(strstr(shown, "  24G    1G   4%  -\n"));
	ck_assert_ptr_nonnull(strstr(shown, "  NVIDIA GeForce RTX 4090   24G    6G  25%  cuda0\n"));
	ck_assert_ptr_nonnull(strstr(
		shown, "0000:03:00.0   20  -     Xorg         512M    16M      8M  outside\n"));
	ck_assert_ptr_nonnull(strstr(
		shown, "0000:01:00.0   50  -     engine         5G      -       -  vramd\n"));
	ck_assert_ptr_nonnull(strstr(shown, "\ncard3 "));
	ck_assert_ptr_nonnull(
		strstr(shown, "\n3 processes of other users could not be looked into"));
	/* Nothing in a name steers the terminal. */
	ck_assert_ptr_null(strchr(shown, '\033'));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("devices");
	TCase *tc = tcase_create("devices");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, machine_new, machine_free);
	tcase_add_test(tc, test_gpus);
	tcase_add_test(tc, test_managed);
	tcase_add_test(tc, test_without_daemon);
	tcase_add_test(tc, test_names_are_any_bytes);
	tcase_add_loop_test(tc, test_nvml_errors, 0, 4);
	tcase_add_test(tc, test_empty_machine);
	tcase_add_test(tc, test_tables);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
