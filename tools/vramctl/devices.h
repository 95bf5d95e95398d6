/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * `vramctl devices`: beside the devices that vramd has, every GPU of this machine and who uses it.
 *
 * vramctl looks itself. vramd could not: it gives up the right to look into other users' processes
 * when it starts, and must not be busy with it while clients wait; and who asks sees what they may see
 * themselves. So it works without a vramd, too.
 */
#ifndef VRAM_TOOLS_VRAMCTL_DEVICES_H
#define VRAM_TOOLS_VRAMCTL_DEVICES_H

#include <jansson.h>

struct card;
struct cards;
struct nvml;

/* Where it looks; tests have a place of their own. */
struct devices_source {
	const char *root; /* in front of /proc and /sys */
	int (*find)(struct cards *cards);
	void (*query)(struct card *card);
	int (*nvml)(struct nvml **out);
};
extern const struct devices_source devices_here;

/*
 * devices_add() - adds "gpus", "hidden_processes" and "nvml" to the answer of a daemon, or to an answer
 * without one that has an empty list "devices". The managed GPU is told by the "pci" of a device; its
 * processes by `clients` (the answer to the request of that name) and the daemon's pid; NULL and 0: none.
 * Return: 0 or -ENOMEM.
 */
int devices_add(json_t *answer, const struct devices_source *source, const json_t *clients,
		json_int_t daemon_pid);

/* As tables; nothing where there is no GPU. */
void devices_show(const json_t *answer);

#endif
