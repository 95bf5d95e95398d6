// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a program finds the functions: by name and version, and the tables without names. Beside
 * these, what is refused: IPC of the old kind.
 */
#include <stdio.h>
#include <string.h>

#include "tests/cuda-standin/api.h"
#include "tests/cuda-standin/device.h"

#define FIRST(base, version, newer, prototype, arguments) \
	EXPORT cuda_result base prototype                 \
	{                                                 \
		return newer arguments;                   \
	}
STANDIN_FIRST(FIRST)

static const struct entry {
	const char *base;
	int version;
	bool per_thread;
	void *function;
} entries[] = {
#define ENTRY(field, base, symbol, version, need, prototype) \
	{ #base, version, false, (void *)symbol },
	CUDA_ABI_ENTRIES(ENTRY) STANDIN_ENTRIES(ENTRY)
#undef ENTRY
#define ENTRY(base, version, suffix, kind, prototype) \
	{ #base, version, true, (void *)base##_##suffix },
		STANDIN_PER_THREAD(ENTRY)
#undef ENTRY
#define ENTRY(base, version, newer, prototype, arguments) { #base, version, false, (void *)base },
			STANDIN_FIRST(ENTRY)
#undef ENTRY
				{ "cuGetProcAddress", 11030, false, (void *)cuGetProcAddress },
};

/* Return: the newest form that is not newer than version; *out_known: whether there is any at all. */
static const struct entry *find(const char *base, int version, bool per_thread, bool *out_known)
{
	const struct entry *best = NULL;
	unsigned int i;

	*out_known = false;
	for (i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		const struct entry *e = &entries[i];

		if (strcmp(e->base, base) != 0 || (e->per_thread && !per_thread))
			continue;
		*out_known = true;
		if (e->version > version)
			continue;
		if (!best || (e->per_thread && !best->per_thread) ||
		    (e->per_thread == best->per_thread && e->version > best->version))
			best = e;
	}
	return best;
}

static cuda_result get(const char *base, void **out_pfn, int version, uint64_t flags,
		       int *out_found)
{
	const struct entry *e;
	bool known;

	ENTER(cuGetProcAddress, 0);
	if (!base || !out_pfn || flags > CUDA_ABI_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM ||
	    version > device_driver_version())
		return CUDA_ABI_ERROR_INVALID_VALUE;
	e = find(base, version, flags & CUDA_ABI_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM,
		 &known);
	if (device_hides(base)) {
		e = NULL;
		known = false;
	}
	*out_pfn = e ? e->function : NULL;
	*out_found = e	   ? CUDA_ABI_GET_PROC_ADDRESS_SUCCESS :
		     known ? CUDA_ABI_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT :
			     CUDA_ABI_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	return CUDA_ABI_SUCCESS;
}

EXPORT cuda_result cuGetProcAddress_v2(const char *base, void **out_pfn, int version,
				       uint64_t flags, cuda_query_result *out_found)
{
	int found;
	cuda_result result = get(base, out_pfn, version, flags, &found);

	if (result == CUDA_ABI_SUCCESS && out_found)
		*out_found = found;
	return result;
}

EXPORT cuda_result cuGetProcAddress(const char *base, void **out_pfn, int version, uint64_t flags)
{
	int found;
	cuda_result result = get(base, out_pfn, version, flags, &found);

	if (result == CUDA_ABI_SUCCESS && found != CUDA_ABI_GET_PROC_ADDRESS_SUCCESS)
		result = CUDA_ABI_ERROR_NOT_FOUND;
	return result;
}

/* One table, so that a test can see it come through a shim unchanged. Its id is the image's name. */
static const void *const table[] = { (void *)(2 * sizeof(void *)), (void *)0x5354414e44494eul };

EXPORT cuda_result cuGetExportTable(const void **out_table, const struct cuda_uuid *id)
{
	ENTER(cuGetExportTable, 0);
	if (!out_table || !id)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	if (memcmp(id->bytes, "vram stand-in 01", sizeof(id->bytes)) != 0)
		return CUDA_ABI_ERROR_NOT_FOUND;
	*out_table = table;
	return CUDA_ABI_SUCCESS;
}

/* ---- IPC ---- */

EXPORT cuda_result cuIpcGetMemHandle(struct cuda_ipc_mem *out_handle, cuda_ptr ptr)
{
	(void)out_handle;
	(void)ptr;
	ENTER(cuIpcGetMemHandle, ENTER_INIT | ENTER_CONTEXT);
	return CUDA_ABI_ERROR_NOT_SUPPORTED;
}

EXPORT cuda_result cuIpcOpenMemHandle_v2(cuda_ptr *out_ptr, struct cuda_ipc_mem handle,
					 unsigned int flags)
{
	(void)out_ptr;
	(void)handle;
	(void)flags;
	ENTER(cuIpcOpenMemHandle, ENTER_INIT | ENTER_CONTEXT);
	return CUDA_ABI_ERROR_NOT_SUPPORTED;
}

EXPORT cuda_result cuIpcCloseMemHandle(cuda_ptr ptr)
{
	(void)ptr;
	ENTER(cuIpcCloseMemHandle, ENTER_INIT | ENTER_CONTEXT);
	return CUDA_ABI_ERROR_INVALID_VALUE;
}

EXPORT cuda_result cuIpcGetEventHandle(struct cuda_ipc_event *out_handle, cuda_event event)
{
	(void)out_handle;
	(void)event;
	ENTER(cuIpcGetEventHandle, ENTER_INIT | ENTER_CONTEXT);
	return CUDA_ABI_ERROR_NOT_SUPPORTED;
}

EXPORT cuda_result cuIpcOpenEventHandle(cuda_event *out_event, struct cuda_ipc_event handle)
{
	(void)out_event;
	(void)handle;
	ENTER(cuIpcOpenEventHandle, ENTER_INIT | ENTER_CONTEXT);
	return CUDA_ABI_ERROR_NOT_SUPPORTED;
}
