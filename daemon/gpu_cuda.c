// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>

#include "daemon/gpu.h"

int gpu_cuda_new(struct gpu **out, struct loop *loop, const struct gpu_params *params, char *reason,
		 size_t reason_size)
{
	(void)out;
	(void)loop;
	(void)params;
	snprintf(reason, reason_size, "built without CUDA");
	return -ENOENT;
}
