// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/cudashim/proc.h"

#include <ctype.h>
#include <string.h>

static size_t place(const void *real)
{
	/* Functions are aligned to 16 bytes. */
	return ((uintptr_t)real >> 4) * 2654435761u % PROC_SLOTS;
}

void proc_add(struct proc_table *table, void *real, void *ours)
{
	size_t i = place(real);

	/* Never full: a look must find an end. */
	if (!real || table->n >= PROC_SLOTS / 2)
		return;
	for (; table->entries[i].real; i = (i + 1) % PROC_SLOTS)
		if (table->entries[i].real == real)
			return;
	table->entries[i] = (struct proc_entry){ .real = real, .ours = ours };
	table->n++;
}

void *proc_replace(const struct proc_table *table, void *real)
{
	size_t i;

	for (i = place(real); table->entries[i].real; i = (i + 1) % PROC_SLOTS)
		if (table->entries[i].real == real)
			return table->entries[i].ours;
	return real;
}

static bool cut(char *text, const char *end)
{
	size_t len = strlen(text), n = strlen(end);

	if (len < n || strcmp(text + len - n, end) != 0)
		return false;
	text[len - n] = '\0';
	return true;
}

bool proc_base(const char *symbol, char *out, size_t size, bool *out_per_thread)
{
	size_t len = strlen(symbol);

	if (len >= size)
		return false;
	memcpy(out, symbol, len + 1);
	*out_per_thread = cut(out, "_ptsz") || cut(out, "_ptds");
	len = strlen(out);
	if (len > 3 && isdigit((unsigned char)out[len - 1]) && out[len - 2] == 'v' &&
	    out[len - 3] == '_')
		out[len - 3] = '\0';
	return true;
}

void proc_learn(struct proc_table *table, proc_get_fn *get, const char *symbol, int version,
		void *ours)
{
	static const uint64_t plain[] = { CUDA_ABI_GET_PROC_ADDRESS_DEFAULT,
					  CUDA_ABI_GET_PROC_ADDRESS_LEGACY_STREAM };
	static const uint64_t per_thread[] = { CUDA_ABI_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM };
	const uint64_t *flags;
	size_t n_flags;
	char base[96];
	bool pt;

	if (version == 0 || !proc_base(symbol, base, sizeof(base), &pt))
		return;
	flags = pt ? per_thread : plain;
	n_flags = pt ? 1 : sizeof(plain) / sizeof(plain[0]);
	for (size_t i = 0; i < n_flags; i++) {
		int found = CUDA_ABI_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
		void *pfn = NULL;

		if (get(base, &pfn, version, flags[i], &found) == CUDA_ABI_SUCCESS &&
		    found == CUDA_ABI_GET_PROC_ADDRESS_SUCCESS)
			proc_add(table, pfn, ours);
	}
}
