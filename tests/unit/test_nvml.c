// SPDX-License-Identifier: GPL-2.0-only
/*
 * links: common/nvml.c common/pci.c common/err.c
 *
 * NVML played by functions of this program: what is asked, what comes back, every function missing or failing.
 */
#include "common/nvml.h"

#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<nvml.h>)
#include <nvml.h>
#define HAVE_NVML_H 1
#endif

/* The layout as nvml.h of CUDA 12 and 13 has it, said a second time. */
struct pci_info {
	char bus_id_legacy[16];
	unsigned int domain, bus, device, pci_device_id, pci_subsystem_id;
	char bus_id[32];
};

struct memory {
	unsigned long long total, free, used;
};

struct memory_v2 {
	unsigned int version;
	unsigned long long total, reserved, free, used;
};

struct process_info {
	unsigned int pid;
	unsigned long long used;
	unsigned int gpu_instance, compute_instance;
};

enum {
	OK = 0,
	NOT_SUPPORTED = 3,
	NO_PERMISSION = 4,
	INSUFFICIENT_SIZE = 7,
	NOT_LOADED = 9,
	LOST = 15
};
#define G (UINT64_C(1) << 30)

/* ---- a library ---- */

static struct {
	const char *missing; /* a function that this version does not have */
	int init, count, handle, pci, name, memory, memory_v2, compute, graphics;
	unsigned int n_compute, n_graphics, grows;
	int opened, closed;
	unsigned int flags;
} fake;
static struct process_info fake_compute[400];
static struct process_info fake_graphics[2] = { { 100, 3 * G, 0, 0 }, { 200, ULLONG_MAX, 0, 0 } };

static int fake_init(unsigned int flags)
{
	fake.flags = flags;
	fake.opened += fake.init == OK;
	return fake.init;
}

static int fake_shutdown(void)
{
	fake.closed++;
	return OK;
}

static int fake_driver(char *version, unsigned int size)
{
	snprintf(version, size, "550.54.14");
	return OK;
}

static int fake_count(unsigned int *n)
{
	*n = 2;
	return fake.count;
}

static int fake_handle(unsigned int index, void **device)
{
	*device = (void *)(uintptr_t)(index + 1);
	return fake.handle;
}

static int fake_pci(void *device, struct pci_info *pci)
{
	*pci = (struct pci_info){ .domain = 0,
				  .bus = device == (void *)1 ? 0x01 : 0xc1,
				  .device = 0,
				  .pci_device_id = 0x268410de };
	snprintf(pci->bus_id, sizeof(pci->bus_id), "%08X:%02X:00.0", pci->domain, pci->bus);
	return fake.pci;
}

static int fake_name(void *device, char *name, unsigned int size)
{
	(void)device;
	memset(name, 'N', size); /* no end: a library that lies */
	return fake.name;
}

static int fake_uuid(void *device, char *uuid, unsigned int size)
{
	(void)device;
	snprintf(uuid, size, "GPU-0a1b2c3d-0a1b-2c3d-4e5f-0a1b2c3d4e5f");
	return OK;
}

static int fake_minor(void *device, unsigned int *minor)
{
	*minor = device == (void *)1 ? 3 : UINT_MAX;
	return OK;
}

static int fake_memory(void *device, struct memory *memory)
{
	(void)device;
	*memory = (struct memory){ 24 * G, 20 * G, 4 * G };
	return fake.memory;
}

static int fake_memory_v2(void *device, struct memory_v2 *memory)
{
	(void)device;
	ck_assert_uint_eq(memory->version, 40 | 2 << 24);
	*memory = (struct memory_v2){ memory->version, 24 * G, G, 18 * G, 5 * G };
	return fake.memory_v2;
}

static int list_give(const struct process_info *list, unsigned int n, unsigned int *room,
		     struct process_info *out)
{
	if (*room < n) {
		*room = n;
		return INSUFFICIENT_SIZE;
	}
	memcpy(out, list, n * sizeof(*list));
	*room = n;
	return OK;
}

static int fake_compute_processes(void *device, unsigned int *n, struct process_info *out)
{
	int r;

	(void)device;
	if (fake.compute != OK)
		return fake.compute;
	r = list_give(fake_compute, fake.n_compute, n, out);
	/* Somebody comes while we ask again. */
	if (r == INSUFFICIENT_SIZE) {
		fake.n_compute += fake.grows;
		fake.grows = 0;
	}
	return r;
}

static int fake_graphics_processes(void *device, unsigned int *n, struct process_info *out)
{
	(void)device;
	if (fake.graphics != OK)
		return fake.graphics;
	return list_give(fake_graphics, fake.n_graphics, n, out);
}

static const struct {
	const char *name;
	void *function;
} functions[] = {
	{ "nvmlInitWithFlags", fake_init },
	{ "nvmlShutdown", fake_shutdown },
	{ "nvmlSystemGetDriverVersion", fake_driver },
	{ "nvmlDeviceGetCount_v2", fake_count },
	{ "nvmlDeviceGetHandleByIndex_v2", fake_handle },
	{ "nvmlDeviceGetPciInfo_v3", fake_pci },
	{ "nvmlDeviceGetName", fake_name },
	{ "nvmlDeviceGetUUID", fake_uuid },
	{ "nvmlDeviceGetMinorNumber", fake_minor },
	{ "nvmlDeviceGetMemoryInfo", fake_memory },
	{ "nvmlDeviceGetMemoryInfo_v2", fake_memory_v2 },
	{ "nvmlDeviceGetComputeRunningProcesses_v3", fake_compute_processes },
	{ "nvmlDeviceGetGraphicsRunningProcesses_v3", fake_graphics_processes },
};

static void *fake_symbol(void *handle, const char *name)
{
	size_t i;

	ck_assert_ptr_eq(handle, &fake);
	for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		if (!strcmp(name, functions[i].name))
			return fake.missing && !strcmp(name, fake.missing) ? NULL :
									     functions[i].function;
	}
	ck_abort_msg("%s is asked for", name);
	return NULL;
}

static struct nvml *nvml;

static void fake_reset(void)
{
	unsigned int i;

	memset(&fake, 0, sizeof(fake));
	for (i = 0; i < 400; i++)
		fake_compute[i] = (struct process_info){ 100 + i, (i + 1) * G, 0, 0 };
	nvml = NULL;
}

static void library_new(void)
{
	fake_reset();
	fake.n_compute = 2;
	fake.n_graphics = 2;
	ck_assert_int_eq(nvml_open_by(fake_symbol, &fake, &nvml), 0);
}

static void library_free(void)
{
	nvml = nvml_close(nvml);
	ck_assert_ptr_null(nvml);
	ck_assert_int_eq(fake.closed, fake.opened);
}

/* ---- opening ---- */

static const struct {
	const char *missing;
	int init, r;
} openings[] = {
	{ NULL, OK, 0 },
	{ NULL, NOT_LOADED, -ENODEV },
	{ NULL, NO_PERMISSION, -EPERM },
	{ NULL, 18, -EREMOTEIO }, /* library and driver of different versions */
	{ NULL, 999, -EREMOTEIO },
	{ "nvmlInitWithFlags", OK, -ELIBBAD },
	{ "nvmlShutdown", OK, -ELIBBAD },
	{ "nvmlDeviceGetCount_v2", OK, -ELIBBAD },
	{ "nvmlDeviceGetHandleByIndex_v2", OK, -ELIBBAD },
	{ "nvmlDeviceGetPciInfo_v3", OK, -ELIBBAD },
	{ "nvmlSystemGetDriverVersion", OK, 0 },
};

START_TEST(test_open)
{
	fake_reset();
	fake.missing = openings[_i].missing;
	fake.init = openings[_i].init;
	ck_assert_int_eq(nvml_open_by(fake_symbol, &fake, &nvml), openings[_i].r);
	ck_assert_int_eq(nvml != NULL, openings[_i].r == 0);
	if (nvml && !fake.missing)
		ck_assert_str_eq(nvml_driver_version(nvml), "550.54.14");
	if (nvml && fake.missing)
		ck_assert_str_eq(nvml_driver_version(nvml), "");
	ck_assert_uint_eq(fake.flags, fake.opened || fake.init ? 1 : 0);
	library_free();
}
END_TEST

START_TEST(test_open_without_count)
{
	fake_reset();
	fake.count = 999;
	ck_assert_int_eq(nvml_open_by(fake_symbol, &fake, &nvml), 0);
	ck_assert_uint_eq(nvml_count(nvml), 0);
	library_free();
}
END_TEST

START_TEST(test_close_of_nothing)
{
	ck_assert_ptr_null(nvml_close(NULL));
}
END_TEST

/* ---- cards ---- */

START_TEST(test_device)
{
	struct nvml_device device;

	ck_assert_uint_eq(nvml_count(nvml), 2);
	ck_assert_int_eq(nvml_device(nvml, 0, &device), 0);
	ck_assert_str_eq(device.pci, "0000:01:00.0");
	ck_assert_uint_eq(strlen(device.name), sizeof(device.name) - 1);
	ck_assert_int_eq(device.minor, 3);
	ck_assert_str_eq(device.uuid, "GPU-0a1b2c3d-0a1b-2c3d-4e5f-0a1b2c3d4e5f");
	ck_assert(device.has_memory);
	ck_assert_uint_eq(device.total_bytes, 24 * G);
	ck_assert_uint_eq(device.used_bytes, 6 * G);
	ck_assert_int_eq(nvml_device(nvml, 1, &device), 0);
	ck_assert_str_eq(device.pci, "0000:c1:00.0");
	ck_assert_int_eq(device.minor, -1);
	ck_assert_int_eq(nvml_device(nvml, 2, &device), -ENODEV);
	ck_assert_int_eq(nvml_index_of(nvml, "0000:c1:00.0"), 1);
	ck_assert_int_eq(nvml_index_of(nvml, "0000:c2:00.0"), -ENODEV);
}
END_TEST

START_TEST(test_device_without)
{
	struct nvml_device device;

	fake.name = fake.memory_v2 = NOT_SUPPORTED;
	ck_assert_int_eq(nvml_device(nvml, 0, &device), 0);
	ck_assert_str_eq(device.name, "");
	ck_assert_uint_eq(device.used_bytes, 4 * G);
	fake.memory = LOST;
	ck_assert_int_eq(nvml_device(nvml, 0, &device), 0);
	ck_assert(!device.has_memory);
}
END_TEST

START_TEST(test_device_lost)
{
	struct nvml_device device = { .minor = 77 };
	struct nvml_process *list;
	size_t n;

	fake.pci = LOST;
	ck_assert_int_eq(nvml_device(nvml, 0, &device), -ENODEV);
	ck_assert_int_eq(device.minor, 77);
	ck_assert_int_eq(nvml_index_of(nvml, "0000:01:00.0"), -ENODEV);
	fake.handle = LOST;
	ck_assert_int_eq(nvml_processes(nvml, 0, &list, &n), -ENODEV);
	fake.handle = NO_PERMISSION;
	ck_assert_int_eq(nvml_device(nvml, 0, &device), -EPERM);
}
END_TEST

/* ---- processes ---- */

START_TEST(test_processes)
{
	struct nvml_process *list;
	size_t n;

	ck_assert_int_eq(nvml_processes(nvml, 0, &list, &n), 0);
	/* 100 for both kinds, 101 and 200 for one. */
	ck_assert_uint_eq(n, 3);
	ck_assert_int_eq(list[0].pid, 100);
	ck_assert(list[0].known);
	ck_assert_uint_eq(list[0].bytes, 3 * G);
	ck_assert_int_eq(list[1].pid, 101);
	ck_assert_uint_eq(list[1].bytes, 2 * G);
	ck_assert_int_eq(list[2].pid, 200);
	ck_assert(!list[2].known);
	ck_assert_uint_eq(list[2].bytes, 0);
	free(list);
	fake.n_compute = fake.n_graphics = 0;
	ck_assert_int_eq(nvml_processes(nvml, 0, &list, &n), 0);
	ck_assert_uint_eq(n, 0);
	free(list);
}
END_TEST

START_TEST(test_processes_many)
{
	struct nvml_process *list;
	size_t n;

	fake.n_compute = 200;
	fake.grows = 50;
	ck_assert_int_eq(nvml_processes(nvml, 0, &list, &n), 0);
	ck_assert_uint_eq(n, 250);
	ck_assert_int_eq(list[249].pid, 349);
	ck_assert_uint_eq(list[249].bytes, 250 * G);
	free(list);
}
END_TEST

/* A library that never has enough room, or too many for anybody, ends in an error. */
START_TEST(test_processes_endless)
{
	struct nvml_process *list;
	size_t n;

	fake.compute = fake.graphics = INSUFFICIENT_SIZE;
	ck_assert_int_eq(nvml_processes(nvml, 0, &list, &n), -EREMOTEIO);
	fake.compute = OK;
	fake.n_compute = UINT_MAX;
	ck_assert_int_eq(nvml_processes(nvml, 0, &list, &n), -EREMOTEIO);
}
END_TEST

START_TEST(test_processes_one_kind)
{
	struct nvml_process *list;
	size_t n;

	fake.graphics = NOT_SUPPORTED;
	ck_assert_int_eq(nvml_processes(nvml, 0, &list, &n), 0);
	ck_assert_uint_eq(n, 2);
	free(list);
	fake.compute = NO_PERMISSION;
	fake.graphics = NO_PERMISSION;
	ck_assert_int_eq(nvml_processes(nvml, 0, &list, &n), -EPERM);
}
END_TEST

START_TEST(test_processes_missing)
{
	struct nvml_process *list;
	struct nvml *other;
	size_t n;

	fake.missing = "nvmlDeviceGetComputeRunningProcesses_v3";
	ck_assert_int_eq(nvml_open_by(fake_symbol, &fake, &other), 0);
	fake.graphics = NOT_SUPPORTED;
	ck_assert_int_eq(nvml_processes(other, 0, &list, &n), -EOPNOTSUPP);
	nvml_close(other);
}
END_TEST

START_TEST(test_layout)
{
	ck_assert_uint_eq(sizeof(struct pci_info), 68);
	ck_assert_uint_eq(sizeof(struct memory), 24);
	ck_assert_uint_eq(sizeof(struct memory_v2), 40);
	ck_assert_uint_eq(sizeof(struct process_info), 24);
#ifdef HAVE_NVML_H
	ck_assert_uint_eq(sizeof(nvmlPciInfo_t), sizeof(struct pci_info));
	ck_assert_uint_eq(offsetof(nvmlPciInfo_t, domain), offsetof(struct pci_info, domain));
	ck_assert_uint_eq(offsetof(nvmlPciInfo_t, busId), offsetof(struct pci_info, bus_id));
	ck_assert_uint_eq(sizeof(nvmlMemory_t), sizeof(struct memory));
	ck_assert_uint_eq(offsetof(nvmlMemory_t, used), offsetof(struct memory, used));
	ck_assert_uint_eq(sizeof(nvmlMemory_v2_t), sizeof(struct memory_v2));
	ck_assert_uint_eq(offsetof(nvmlMemory_v2_t, free), offsetof(struct memory_v2, free));
	ck_assert_uint_eq(sizeof(nvmlProcessInfo_t), sizeof(struct process_info));
	ck_assert_uint_eq(offsetof(nvmlProcessInfo_t, usedGpuMemory),
			  offsetof(struct process_info, used));
	ck_assert_int_eq(NVML_ERROR_INSUFFICIENT_SIZE, INSUFFICIENT_SIZE);
	ck_assert_int_eq(NVML_ERROR_GPU_IS_LOST, LOST);
	ck_assert_int_eq(NVML_ERROR_DRIVER_NOT_LOADED, NOT_LOADED);
#endif
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nvml");
	TCase *opening = tcase_create("opening"), *tc = tcase_create("cards");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(opening, test_open, 0, sizeof(openings) / sizeof(openings[0]));
	tcase_add_test(opening, test_open_without_count);
	tcase_add_test(opening, test_close_of_nothing);
	tcase_add_test(opening, test_layout);
	suite_add_tcase(s, opening);
	tcase_add_checked_fixture(tc, library_new, library_free);
	tcase_add_test(tc, test_device);
	tcase_add_test(tc, test_device_without);
	tcase_add_test(tc, test_device_lost);
	tcase_add_test(tc, test_processes);
	tcase_add_test(tc, test_processes_many);
	tcase_add_test(tc, test_processes_endless);
	tcase_add_test(tc, test_processes_one_kind);
	tcase_add_test(tc, test_processes_missing);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
