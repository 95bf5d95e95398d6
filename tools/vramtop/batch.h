/* SPDX-License-Identifier: GPL-2.0-only */
/* --batch: plain tables, or one JSON object a line, for scripts. */
#ifndef VRAM_TOOLS_VRAMTOP_BATCH_H
#define VRAM_TOOLS_VRAMTOP_BATCH_H

#include "tools/vramtop/view.h"

struct batch {
	const char *socket;
	bool json;
	double interval_s; /* 0: one sample at once */
	unsigned long n;   /* samples; 0: until it is ended */
	bool all_views;	   /* not only that of the choice */
	struct view_choice choice;
};

/* Return: an exit status. */
int batch_run(const struct batch *batch);

#endif
