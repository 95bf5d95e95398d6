/* SPDX-License-Identifier: GPL-2.0-only */
/* A machine with GPUs as files: /proc and /sys below a folder of its own. Failing to make it aborts the test. */
#ifndef VRAM_TESTS_SUPPORT_GPU_TREE_H
#define VRAM_TESTS_SUPPORT_GPU_TREE_H

#include <stddef.h>

#include "common/card.h"

/* The folder; NULL until gpu_tree_new(). */
extern const char *gpu_tree;

void gpu_tree_new(void);
void gpu_tree_free(void);

/* Paths are below the folder and begin with '/'; parents are made. */
void gpu_tree_file(const char *path, const void *bytes, size_t len);
void gpu_tree_text(const char *path, const char *text);
void gpu_tree_link(const char *path, const char *target);

/* /proc/PID with status and no descriptors. */
void gpu_tree_process(int pid, const char *name, int uid);
/* One of its descriptors; fdinfo: a file of tests/fuzz/corpus/fdinfo, or NULL for none. */
void gpu_tree_fd(int pid, int fd, const char *target, const char *fdinfo);

/*
 * An amdgpu at 0000:03:00.0 (card0, renderD128), i915 at 0000:04:00.0 (card1, renderD129), xe at 0000:05:00.0
 * (card2, renderD130), NVIDIA's at 0000:01:00.0 without DRM nodes (nvidia0) and vgem (card3).
 * gpu_tree_find() is what libdrm would find of them.
 */
void gpu_tree_cards(void);
int gpu_tree_find(struct cards *cards);

#endif
