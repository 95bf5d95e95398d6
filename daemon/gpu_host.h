/* SPDX-License-Identifier: GPL-2.0-only */
/* What gpu_host.c (memory, link) and gpu_host_map.c (clients' mappings) share. */
#ifndef VRAM_DAEMON_GPU_HOST_H
#define VRAM_DAEMON_GPU_HOST_H

#include "daemon/gpu.h"
#include "daemon/gpu_host_guard.h"

struct host_object {
	struct gpu_object gpu_object; /* first */
	int fd;
	char *addr;	       /* the daemon's own mapping, shared and writable */
	void *reserve;	       /* the address range around it, for alignment */
	struct list_node maps; /* struct host_map of all clients */
	struct host_guard guard;
};

int host_client_new(struct loop *loop, int fd, const struct gpu_client_events *events, void *owner,
		    struct gpu_client **out);
struct gpu_client *host_client_free(struct gpu_client *client);
int host_client_map(struct gpu_client *client, struct gpu_object *object, uint64_t addr,
		    uint64_t length, uint64_t offset);
void host_client_unmap(struct gpu_client *client, struct gpu_object *object, uint64_t addr,
		       uint64_t length);
void host_client_forget(struct gpu_client *client, struct gpu_object *object);
int host_client_open(struct gpu_client *client, struct gpu_object *object, uint32_t first,
		     uint32_t n);
int host_client_close(struct gpu_client *client, struct gpu_object *object, uint32_t first,
		      uint32_t n);

#endif
