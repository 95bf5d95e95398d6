/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * PCI addresses as everybody here writes them, and names from the pci.ids file.
 *
 * The kernel writes "0000:01:00.0", NVML "00000000:01:00.0", libcuda "0000:01:00.0" in upper or
 * lower case. One form makes them comparable as text: the kernel's.
 */
#ifndef VRAM_COMMON_PCI_H
#define VRAM_COMMON_PCI_H

#include <stddef.h>
#include <stdint.h>

/* "ffffffff:ff:1f.7" and its end. */
#define PCI_ADDRESS_MAX 20

void pci_address_format(uint32_t domain, uint32_t bus, uint32_t device, uint32_t function,
			char out[PCI_ADDRESS_MAX]);

/* Takes "domain:bus:device.function" or without the domain. Return: 0 or -EINVAL. */
int pci_address_parse(const char *text, char out[PCI_ADDRESS_MAX]);

#define PCI_NAME_MAX 96

/*
 * pci_names() - from the pci.ids file of this machine, and for the few makers of GPUs without it.
 * What is not known stays empty; a text that the file has is cut at the room there is.
 * root: in front of the paths, for tests; "" is this machine.
 */
void pci_names(const char *root, uint16_t vendor, uint16_t device, char out_vendor[PCI_NAME_MAX],
	       char out_device[PCI_NAME_MAX]);

#endif
