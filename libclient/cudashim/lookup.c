// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/* cuGetProcAddress, in both forms, which are asked for through themselves as well. See proc.h. */
#include <pthread.h>

#include "libclient/cudashim/proc.h"
#include "libclient/cudashim/shim.h"

static struct proc_table table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void learn(void)
{
	proc_get_fn *get = (proc_get_fn *)real_find("cuGetProcAddress_v2");

	/* What is exported first: an answer of the driver's that is one of these stays what it is. */
	for (size_t i = 0; i < shim_n_hooked; i++)
		if (*shim_hooked[i].slot != (void *)shim_missing)
			proc_add(&table, *shim_hooked[i].slot, shim_hooked[i].ours);
	for (size_t i = 0; get && i < shim_n_hooked; i++)
		if (*shim_hooked[i].slot != (void *)shim_missing)
			proc_learn(&table, get, shim_hooked[i].name, shim_hooked[i].version,
				   shim_hooked[i].ours);
}

static cuda_result replaced(cuda_result result, void **out_pfn)
{
	if (result == CUDA_ABI_SUCCESS && out_pfn && *out_pfn && real_path()) {
		pthread_once(&once, learn);
		*out_pfn = proc_replace(&table, *out_pfn);
	}
	return result;
}

/* The form of CUDA 11.3. */
cuda_result cuGetProcAddress(const char *name, void **out_pfn, int version, uint64_t flags)
{
	return replaced(REAL(cuGetProcAddress)(name, out_pfn, version, flags), out_pfn);
}

/* The form of CUDA 12.0. */
cuda_result cuGetProcAddress_v2(const char *name, void **out_pfn, int version, uint64_t flags,
				int *out_found)
{
	return replaced(REAL(cuGetProcAddress_v2)(name, out_pfn, version, flags, out_found),
			out_pfn);
}
