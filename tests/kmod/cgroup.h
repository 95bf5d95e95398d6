/* SPDX-License-Identifier: GPL-2.0-only */
/* Cgroups (v2) of a test, below one of its own. All functions fail the test if they do not succeed. */
#ifndef VRAM_TESTS_KMOD_CGROUP_H
#define VRAM_TESTS_KMOD_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

/* Whether there is version 2 to make cgroups in (and its memory controller). */
bool cgroup_usable(void);
bool cgroup_has_memory(void);
/* path: from the root of the hierarchy, as "/vramtest/a". Parents must exist. */
void cgroup_make(const char *path);
void cgroup_remove(const char *path);
void cgroup_enter(const char *path);
void cgroup_write(const char *path, const char *file, const char *text);
/* A number in a file, or (with key) the one behind the word at the beginning of a line. */
uint64_t cgroup_read(const char *path, const char *file, const char *key);

#endif
