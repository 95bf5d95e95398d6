/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How far something is, on stderr: a bar that is drawn anew on a terminal, a line every five seconds elsewhere, so that logs
 * of scripts stay short.
 */
#ifndef VRAM_TOOLS_VRAMCTL_PROGRESS_H
#define VRAM_TOOLS_VRAMCTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what; /* "drain session:3"; borrowed */
	bool quiet;	  /* nothing is shown (--json) */
	bool terminal;
	bool drawn;
	uint64_t begin_ns;
	uint64_t said_ns;
	uint64_t first_bytes; /* that were done when it began */
	bool has_first;
};

void progress_begin(struct progress *p, const char *what, bool quiet);
void progress_show(struct progress *p, uint64_t done_bytes, uint64_t total_bytes);
/* Takes the bar off the terminal. */
void progress_end(struct progress *p);

/*
 * One line of it, without what is around it on a terminal; for progress_show(), and to be tested. width: of the whole line; 0: no
 * bar. Return: line.
 */
const char *progress_format(char *line, int size, const char *what, int width, uint64_t done_bytes,
			    uint64_t total_bytes, uint64_t bytes_per_s);

#endif
