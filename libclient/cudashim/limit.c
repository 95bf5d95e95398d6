// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/cudashim/limit.h"

#include "libclient/vram.h"

int limit_ask(struct vram_client *client, uint64_t *out_bytes)
{
	struct vram_stats stats;
	int r = vram_client_stats(client, &stats);

	if (r < 0)
		return r;
	*out_bytes = stats.budget_bytes;
	return 0;
}
