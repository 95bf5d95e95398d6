// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "common/cuda_driver.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"

typedef cuda_result (*get_proc_address_fn)(const char *base, void **out_pfn, int version,
					   uint64_t flags, int *out_found);

const char *cuda_result_name(cuda_result result)
{
	switch (result) {
#define CASE(name, value) \
	case value:       \
		return "CUDA_" #name;
		CUDA_ABI_RESULTS(CASE)
#undef CASE
	default:
		return NULL;
	}
}

const char *cuda_driver_error_text(const struct cuda_driver *driver, cuda_result result)
{
	static _Thread_local char text[256];
	const char *name = NULL, *meaning = NULL;

	/* A driver leaves NULL for what it does not know; ours may still have a name for it. */
	if (driver && driver->get_error_name(result, &name) != CUDA_ABI_SUCCESS)
		name = NULL;
	if (driver && driver->get_error_string(result, &meaning) != CUDA_ABI_SUCCESS)
		meaning = NULL;
	if (!name)
		name = cuda_result_name(result);
	if (name)
		snprintf(text, sizeof(text), meaning ? "%s: %s" : "%s", name, meaning);
	else
		snprintf(text, sizeof(text), "CUDA error %d", result);
	return text;
}

bool cuda_is_sticky(cuda_result result)
{
	switch (result) {
	case CUDA_ABI_ERROR_DEINITIALIZED:
	case CUDA_ABI_ERROR_DEVICE_UNAVAILABLE:
	case CUDA_ABI_ERROR_ECC_UNCORRECTABLE:
	case CUDA_ABI_ERROR_NVLINK_UNCORRECTABLE:
	case CUDA_ABI_ERROR_CONTAINED:
	case CUDA_ABI_ERROR_ILLEGAL_ADDRESS:
	case CUDA_ABI_ERROR_LAUNCH_TIMEOUT:
	case CUDA_ABI_ERROR_CONTEXT_IS_DESTROYED:
	case CUDA_ABI_ERROR_ASSERT:
	case CUDA_ABI_ERROR_HARDWARE_STACK_ERROR:
	case CUDA_ABI_ERROR_ILLEGAL_INSTRUCTION:
	case CUDA_ABI_ERROR_MISALIGNED_ADDRESS:
	case CUDA_ABI_ERROR_INVALID_ADDRESS_SPACE:
	case CUDA_ABI_ERROR_INVALID_PC:
	case CUDA_ABI_ERROR_LAUNCH_FAILED:
	case CUDA_ABI_ERROR_TENSOR_MEMORY_LEAK:
	case CUDA_ABI_ERROR_MPS_RPC_FAILURE:
	case CUDA_ABI_ERROR_MPS_CLIENT_TERMINATED:
	case CUDA_ABI_ERROR_EXTERNAL_DEVICE:
		return true;
	default:
		return false;
	}
}

int cuda_errno(cuda_result result)
{
	switch (result) {
	case CUDA_ABI_SUCCESS:
		return 0;
	case CUDA_ABI_ERROR_OUT_OF_MEMORY:
		return -ENOMEM;
	case CUDA_ABI_ERROR_INVALID_VALUE:
	case CUDA_ABI_ERROR_INVALID_CONTEXT:
	case CUDA_ABI_ERROR_INVALID_HANDLE:
	case CUDA_ABI_ERROR_INVALID_IMAGE:
	case CUDA_ABI_ERROR_ILLEGAL_STATE:
	case CUDA_ABI_ERROR_NOT_INITIALIZED:
	case CUDA_ABI_ERROR_NOT_FOUND:
	case CUDA_ABI_ERROR_ALREADY_MAPPED:
	case CUDA_ABI_ERROR_NOT_MAPPED:
	case CUDA_ABI_ERROR_HOST_MEMORY_ALREADY_REGISTERED:
	case CUDA_ABI_ERROR_HOST_MEMORY_NOT_REGISTERED:
		return -EINVAL;
	case CUDA_ABI_ERROR_NO_DEVICE:
	case CUDA_ABI_ERROR_INVALID_DEVICE:
	case CUDA_ABI_ERROR_DEVICE_UNAVAILABLE:
	case CUDA_ABI_ERROR_DEVICE_NOT_LICENSED:
		return -ENODEV;
	case CUDA_ABI_ERROR_NOT_PERMITTED:
		return -EACCES;
	case CUDA_ABI_ERROR_NOT_SUPPORTED:
	case CUDA_ABI_ERROR_STREAM_CAPTURE_UNSUPPORTED:
	case CUDA_ABI_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
		return -ENOTSUP;
	case CUDA_ABI_ERROR_NOT_READY:
	case CUDA_ABI_ERROR_SYSTEM_NOT_READY:
		return -EAGAIN;
	case CUDA_ABI_ERROR_TIMEOUT:
		return -ETIMEDOUT;
	default:
		return -EIO;
	}
}

__attribute__((format(printf, 4, 5))) static int refuse(int r, char *reason, size_t size,
							const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reason, size, format, args);
	va_end(args);
	return err_origin(r);
}

/* Writes the first of the driver's device nodes that this process may not open. */
static bool forbidden_node(char *out_path, size_t size)
{
	DIR *dev = opendir("/dev");
	struct dirent *entry;
	bool found = false;

	if (!dev)
		return false;
	while (!found && (entry = readdir(dev))) {
		const char *rest = entry->d_name + strlen("nvidia");

		/* nvidia0..., nvidiactl, nvidia-uvm; nvidia-modeset and nvidia-caps are not needed. */
		if (strncmp(entry->d_name, "nvidia", strlen("nvidia")) != 0 ||
		    !((*rest >= '0' && *rest <= '9') || strcmp(rest, "ctl") == 0 ||
		      strcmp(rest, "-uvm") == 0))
			continue;
		snprintf(out_path, size, "/dev/%.64s", entry->d_name);
		found = access(out_path, R_OK | W_OK) < 0 && errno == EACCES;
	}
	closedir(dev);
	return found;
}

/* cuInit has failed: says why as well as can be told from outside. */
static int init_failed(const struct cuda_driver *d, cuda_result result, char *reason, size_t size)
{
	char node[80];

	/* The driver shows this as no device or as an error of the operating system. */
	if (result != CUDA_ABI_ERROR_SYSTEM_DRIVER_MISMATCH && forbidden_node(node, sizeof(node)))
		return refuse(-EACCES, reason, size, "no permission on %s (cuInit: %s)", node,
			      cuda_driver_error_text(d, result));
	switch (result) {
	case CUDA_ABI_ERROR_SYSTEM_DRIVER_MISMATCH:
		return refuse(
			-EIO, reason, size,
			"the NVIDIA driver in the kernel is of another version than its library: "
			"reload the module or restart the machine (%s)",
			cuda_driver_error_text(d, result));
	case CUDA_ABI_ERROR_NO_DEVICE:
		return refuse(
			-ENODEV, reason, size,
			access("/dev/nvidiactl", F_OK) < 0 ?
				"no NVIDIA device: /dev/nvidiactl is missing, so the kernel module is not "
				"loaded or its nodes are hidden from here (%s)" :
				"no NVIDIA device that may be used; CUDA_VISIBLE_DEVICES may hide it (%s)",
			cuda_driver_error_text(d, result));
	case CUDA_ABI_ERROR_STUB_LIBRARY:
		return refuse(-ELIBBAD, reason, size,
			      "libcuda.so.1 is the toolkit's stub, not a driver (%s)",
			      cuda_driver_error_text(d, result));
	case CUDA_ABI_ERROR_NOT_PERMITTED:
		return refuse(-EACCES, reason, size, "the NVIDIA driver refuses this process (%s)",
			      cuda_driver_error_text(d, result));
	default:
		return refuse(cuda_errno(result) == -ENODEV ? -ENODEV : -EIO, reason, size,
			      "the NVIDIA driver does not start (%s)",
			      cuda_driver_error_text(d, result));
	}
}

struct wanted {
	const char *base;
	size_t offset; /* of its pointer in struct cuda_driver */
	int version;
	bool needed;
};

static const struct wanted wanted[] = {
#define WANTED(field, base, symbol, version, need, prototype) \
	{ #base, offsetof(struct cuda_driver, field), version, need },
	CUDA_ABI_ENTRIES(WANTED)
#undef WANTED
};

static int find_entries(struct cuda_driver *d, get_proc_address_fn get, char *reason, size_t size)
{
	unsigned int i;

	for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		const struct wanted *w = &wanted[i];
		void *pfn = NULL;
		int found = CUDA_ABI_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
		cuda_result result;

		result = get(w->base, &pfn, w->version, CUDA_ABI_GET_PROC_ADDRESS_LEGACY_STREAM,
			     &found);
		/* A driver may report the same refusal in any of three ways. */
		if (result != CUDA_ABI_SUCCESS || found != CUDA_ABI_GET_PROC_ADDRESS_SUCCESS)
			pfn = NULL;
		if (!pfn && w->needed)
			return refuse(-ENOTSUP, reason, size,
				      "the NVIDIA driver has no %s of CUDA %d.%d", w->base,
				      w->version / 1000, w->version % 1000 / 10);
		memcpy((char *)d + w->offset, &pfn, sizeof(pfn));
	}
	return 0;
}

/* The library is loaded: everything up to a driver that works. */
static int start(struct cuda_driver *d, const char *name, char *reason, size_t size)
{
	get_proc_address_fn get;
	cuda_result result;
	void *pfn;
	int r;

	pfn = dlsym(d->library, "cuGetProcAddress_v2");
	if (!pfn) {
		if (dlsym(d->library, "cuInit"))
			return refuse(
				-ENOTSUP, reason, size,
				"the NVIDIA driver is older than CUDA 12: r550 (CUDA 12.4) is the oldest "
				"that works");
		return refuse(-ELIBBAD, reason, size,
			      "%s is no CUDA driver: it has no cuGetProcAddress_v2", name);
	}
	memcpy(&get, &pfn, sizeof(get));

	/* The version comes first: it explains best what an old driver lacks. */
	pfn = dlsym(d->library, "cuDriverGetVersion");
	memcpy(&d->driver_get_version, &pfn, sizeof(pfn));
	if (!pfn || (result = d->driver_get_version(&d->version)) != CUDA_ABI_SUCCESS)
		return refuse(-ELIBBAD, reason, size, "%s does not tell its version (%s)", name,
			      pfn ? cuda_driver_error_text(NULL, result) : "no cuDriverGetVersion");
	if (d->version < CUDA_DRIVER_OLDEST)
		return refuse(
			-ENOTSUP, reason, size,
			"the NVIDIA driver is made for CUDA %d.%d: r550 (CUDA %d.%d) is the oldest that works",
			d->version / 1000, d->version % 1000 / 10, CUDA_DRIVER_OLDEST / 1000,
			CUDA_DRIVER_OLDEST % 1000 / 10);
	r = find_entries(d, get, reason, size);
	if (r < 0)
		return err_trace(r);
	result = d->init(0);
	return result == CUDA_ABI_SUCCESS ? 0 : init_failed(d, result, reason, size);
}

int cuda_driver_open(struct cuda_driver *out, const char *path, char *reason, size_t size)
{
	const char *name = path ? path : "libcuda.so.1";
	struct cuda_driver d = { .library = dlopen(name, RTLD_NOW | RTLD_LOCAL) };
	int r;

	if (!d.library) {
		const char *why = dlerror();

		/* The loader says it in words only; a dependency that is missing is named there instead. */
		if (!why || (strncmp(why, name, strlen(name)) == 0 &&
			     strstr(why, "No such file or directory")))
			return refuse(-ENOENT, reason, size, "no NVIDIA driver: %s is not here",
				      name);
		return refuse(-ELIBBAD, reason, size, "%s cannot be loaded: %s", name, why);
	}
	r = start(&d, name, reason, size);
	if (r < 0)
		return err_trace(r);
	*out = d;
	return 0;
}
