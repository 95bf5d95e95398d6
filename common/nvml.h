/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * NVIDIA's management library, libnvidia-ml.so.1, as it is found at run time: what memory a card has
 * and who uses it. Nothing of NVIDIA's is needed to build. The few structs that we use are declared in nvml.c;
 * where an nvml.h is installed a test compares them with it.
 *
 * A card that is lost, a function that this driver does not have, a right that we do not have: each is
 * an error of that one call, and everything else goes on. A call may take long while the driver
 * comes up or recovers; whoever must not wait calls from a process or thread of its own.
 */
#ifndef VRAM_COMMON_NVML_H
#define VRAM_COMMON_NVML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/pci.h"

struct nvml;

struct nvml_device {
	char pci[PCI_ADDRESS_MAX]; /* as the kernel writes it */
	char name[PCI_NAME_MAX];   /* empty if it was not told, as the following */
	char uuid[48];
	int minor; /* of /dev/nvidiaN; -1: not told */
	bool has_memory;
	uint64_t total_bytes, used_bytes;
};

struct nvml_process {
	pid_t pid;
	bool known; /* its memory was told */
	uint64_t bytes;
};

/*
 * nvml_open() - Return: 0; -ENOENT without the library; -ENODEV if its driver is not loaded; -EPERM if
 * this user may not use it; -ELIBBAD if it does not have what every version has; -EREMOTEIO for its other errors.
 */
int nvml_open(struct nvml **out);

/* For tests: who gives the functions. Its own handle is passed back. */
typedef void *(*nvml_symbol_fn)(void *handle, const char *name);
int nvml_open_by(nvml_symbol_fn symbol, void *handle, struct nvml **out);

/* Return: NULL. Safe for NULL. */
struct nvml *nvml_close(struct nvml *nvml);

/* "550.54.14"; empty if it was not told. */
const char *nvml_driver_version(const struct nvml *nvml);

/* How many cards there are, those that do not answer included. */
unsigned int nvml_count(const struct nvml *nvml);

/* Return: 0, -ENODEV for a card that is lost or not there, -EPERM, -EREMOTEIO. */
int nvml_device(const struct nvml *nvml, unsigned int index, struct nvml_device *out);

/* Return: the index of the card at this address, -ENODEV. */
int nvml_index_of(const struct nvml *nvml, const char *pci);

/*
 * nvml_processes() - who has a context on the card, for computing or drawing, each process once. The
 * array is the caller's to free. Return: 0, -ENODEV, -EPERM, -EOPNOTSUPP, -ENOMEM, -EREMOTEIO.
 */
int nvml_processes(const struct nvml *nvml, unsigned int index, struct nvml_process **out,
		   size_t *out_n);

#endif
