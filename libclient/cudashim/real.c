// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * The driver's library: the one that the program would have found without us.
 *
 * vramrun has looked and says its path in VRAM_CUDA_REAL. Without that (somebody has set LD_LIBRARY_PATH by hand) the usual
 * places are tried; the name alone would lead to ourselves. It is opened by its path, so its symbols stay its own
 * (RTLD_LOCAL), and it stays open for good: it has threads.
 */
#define _GNU_SOURCE 1
#include "libclient/cudashim/shim.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void *library;
static char path[4096];
static char error[512];

static const char *const usual[] = {
#if defined(__x86_64__)
	"/usr/lib/x86_64-linux-gnu/libcuda.so.1",
#else
	"/usr/lib/aarch64-linux-gnu/libcuda.so.1",
#endif
	"/usr/lib64/libcuda.so.1",
	"/usr/lib/libcuda.so.1",
	"/usr/lib/wsl/lib/libcuda.so.1",
	"/usr/local/nvidia/lib64/libcuda.so.1",
};

/* What only our library exports: how one copy of it knows another. */
__attribute__((visibility("default"))) extern const char vram_cuda_shim[];
const char vram_cuda_shim[] = VRAM_VERSION;

static bool is_this_file(const char *file)
{
	struct stat a, b;
	Dl_info self;

	return dladdr(vram_cuda_shim, &self) && self.dli_fname && stat(self.dli_fname, &a) == 0 &&
	       stat(file, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Return: whether it is open now; else `error` has a sentence. */
static bool open_library(const char *file)
{
	void *handle;

	if (is_this_file(file)) {
		snprintf(error, sizeof(error), "%s is vram's own library, not the driver", file);
		return false;
	}
	handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		const char *why = dlerror();

		snprintf(error, sizeof(error), "%s", why ? why : file);
		return false;
	}
	/* Stays open in either case: a driver may have started threads. */
	if (dlsym(handle, "vram_cuda_shim")) {
		snprintf(error, sizeof(error), "%s is vram's own library, not the driver", file);
		return false;
	}
	if (!dlsym(handle, "cuInit")) {
		snprintf(error, sizeof(error), "%s is no CUDA driver: it has no cuInit", file);
		return false;
	}
	library = handle;
	snprintf(path, sizeof(path), "%s", file);
	error[0] = '\0';
	return true;
}

static void find_library(void)
{
	const char *set = secure_getenv("VRAM_CUDA_REAL");

	if (set && *set) {
		/* A relative path would depend on where the program is just now. */
		if (set[0] == '/')
			open_library(set);
		else
			snprintf(error, sizeof(error), "VRAM_CUDA_REAL is no absolute path: %.200s",
				 set);
		return;
	}
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]) && !library; i++)
		if (access(usual[i], R_OK) == 0)
			open_library(usual[i]);
	if (!library && !error[0])
		snprintf(error, sizeof(error),
			 "no libcuda.so.1 in the usual places, and "
			 "VRAM_CUDA_REAL is not set");
}

void real_load(void)
{
	find_library();
	for (size_t i = 0; i < shim_n_names; i++) {
		void *address = library ? dlsym(library, shim_names[i].name) : NULL;

		*shim_names[i].slot = address ? address : (void *)shim_missing;
	}
}

const char *real_path(void)
{
	return library ? path : NULL;
}

const char *real_error(void)
{
	return error;
}

void *real_find(const char *name)
{
	return library ? dlsym(library, name) : NULL;
}
