// SPDX-License-Identifier: GPL-2.0-only
#include "tests/gpu/listed.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nvml.h"

void listed_open(struct listed *listed, const char *pci)
{
	char lower[PCI_ADDRESS_MAX] = "";
	int r;

	memset(listed, 0, sizeof(*listed));
	/* The kernel writes addresses in small letters. */
	for (size_t i = 0; pci[i] && i + 1 < sizeof(lower); i++)
		lower[i] = (char)tolower((unsigned char)pci[i]);
	r = nvml_open(&listed->nvml);
	if (r == 0) {
		listed->index = nvml_index_of(listed->nvml, lower);
		r = listed->index;
	}
	if (r >= 0)
		return;
	snprintf(listed->reason, sizeof(listed->reason), "NVML: %s", strerror(-r));
	listed->nvml = nvml_close(listed->nvml);
}

enum listed_found listed_process(struct listed *listed, pid_t pid, uint64_t *out_bytes,
				 size_t *out_n)
{
	enum listed_found found = LISTED_ABSENT;
	struct nvml_process *processes = NULL;

	if (!listed->nvml ||
	    nvml_processes(listed->nvml, (unsigned int)listed->index, &processes, out_n) < 0)
		return LISTED_FAILED;
	for (size_t i = 0; i < *out_n; i++)
		if (processes[i].pid == pid) {
			found = LISTED_PRESENT;
			*out_bytes = processes[i].known ? processes[i].bytes : UINT64_MAX;
		}
	free(processes);
	return found;
}
