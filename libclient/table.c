// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Residency tables: a sealed memory file of the daemon's, or pages of the kernel module's. Which of the two
 * makes a difference in two places only: how the table is mapped, and how a thread sleeps on a slot.
 */
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/err.h"
#include "common/fd.h"
#include "libclient/cuda_state.h"

struct table *table_get(struct table *table)
{
	table->refs++;
	return table;
}

void table_put(struct table *table)
{
	if (!table || --table->refs > 0)
		return;
	cuda_table_unregister(table);
	munmap(table->slots, table->bytes);
	if (table->device)
		device_put(table->device);
	free(table);
}

int table_map(struct vram_client *client, int fd, struct table **out_table)
{
	struct device *device = client->device;
	/* Whole pages, as every memory file of the daemon's and every table of the kernel's. */
	size_t bytes = ((size_t)client->hello.n_slots * sizeof(struct residency_slot) + 4095) &
		       ~(size_t)4095;
	struct table *table;
	void *slots;

	if (!device && fd_check_sealed(fd, bytes) < 0)
		return client_fail(-EPROTO, "vramd sent a residency table that is none");
	table = calloc(1, sizeof(*table));
	if (!table)
		return client_fail(-ENOMEM, "out of memory");
	slots = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, device ? device->fd : fd, 0);
	if (slots == MAP_FAILED) {
		free(table);
		return client_fail(-ENOMEM, "cannot map the residency table: %s", err_text(errno));
	}
	/* A child that counted here would unpin what its parent uses. The kernel's pages are never inherited. */
	madvise(slots, bytes, MADV_DONTFORK);
	table->slots = slots;
	table->bytes = bytes;
	table->refs = 1;
	if (device) {
		table->device = device_get(device);
		atomic_store(&device->current, table);
	}
	*out_table = table;
	return 0;
}

int table_wait(struct table *table, struct residency_slot *slot, uint32_t seen,
	       uint64_t deadline_ns)
{
	if (table->device)
		return device_wait(table, slot, seen, deadline_ns);
	return residency_wait(slot, seen, deadline_ns);
}
