// SPDX-License-Identifier: GPL-2.0-only
// links: tests/bench/policy_generate.c
// libs: -lm

/* policy-gen SEED [moe|random]: writes a generated trace to its standard output. */

#include <stdlib.h>
#include <string.h>

#include "tests/bench/policy_trace.h"

int main(int argc, char **argv)
{
	struct trace_shape shape = { 0 };
	char *end;

	if (argc > 1)
		shape.seed = strtoull(argv[1], &end, 10);
	if (argc < 2 || argc > 3 || *end ||
	    (argc == 3 && strcmp(argv[2], "moe") && strcmp(argv[2], "random"))) {
		fprintf(stderr, "usage: policy-gen SEED [moe|random]\n");
		return 2;
	}
	shape.moe = argc == 3 && !strcmp(argv[2], "moe");
	shape.random = argc == 3 && !shape.moe;
	trace_generate(&shape, stdout);
	return fflush(stdout) ? 1 : 0;
}
