// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramctl/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common/size.h"
#include "tools/shared/table.h"

#define SAY_NS	  5000000000ull
#define RATE_NS	  500000000ull /* before that a rate says nothing */
#define BAR_WIDTH 30
#define LINE_SIZE 256

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		return 80;
	return size.ws_col;
}

const char *progress_format(char *line, int size, const char *what, int width, uint64_t done_bytes,
			    uint64_t total_bytes, uint64_t bytes_per_s)
{
	unsigned int percent =
		total_bytes ? (unsigned int)((double)done_bytes * 100.0 / (double)total_bytes) :
			      100;
	char done[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX], rate[SIZE_TEXT_MAX];
	char bar[2 * BAR_WIDTH + 4] = "", tail[128];
	int n, room;

	if (percent > 100)
		percent = 100;
	n = snprintf(tail, sizeof(tail), "%3u%% %s of %s", percent, size_format(done, done_bytes),
		     size_format(total, total_bytes));
	if (bytes_per_s && done_bytes < total_bytes)
		snprintf(tail + n, sizeof(tail) - (size_t)n, ", %s/s, %llu s left",
			 size_format(rate, bytes_per_s),
			 (unsigned long long)((total_bytes - done_bytes) / bytes_per_s + 1));
	if (width) {
		unsigned int full = percent * BAR_WIDTH / 100;

		snprintf(bar, sizeof(bar), "[%.*s%.*s] ", (int)full,
			 "##############################", (int)(BAR_WIDTH - full),
			 "------------------------------");
	}
	room = width ? width - (int)strlen(tail) - 2 : size;
	/* In a narrow window first the bar goes, then the name is cut. */
	if (width && room < BAR_WIDTH + 3 + 8)
		bar[0] = '\0';
	room -= (int)strlen(bar);
	snprintf(line, (size_t)size, "%.*s %s%s", room > 0 ? room : 0, what, bar, tail);
	if (width > 0 && (int)strlen(line) >= width)
		line[width > 1 ? width - 1 : 0] = '\0';
	return line;
}

void progress_begin(struct progress *p, const char *what, bool quiet)
{
	*p = (struct progress){
		.what = what,
		.quiet = quiet,
		.terminal = isatty(STDERR_FILENO),
		.begin_ns = now_ns(),
	};
	p->said_ns = p->begin_ns;
}

void progress_show(struct progress *p, uint64_t done_bytes, uint64_t total_bytes)
{
	uint64_t now = now_ns(), rate = 0;
	char line[LINE_SIZE];

	if (p->quiet)
		return;
	if (!p->has_first)
		p->first_bytes = done_bytes;
	p->has_first = true;
	if (now - p->begin_ns >= RATE_NS && done_bytes > p->first_bytes)
		rate = (uint64_t)((double)(done_bytes - p->first_bytes) * 1e9 /
				  (double)(now - p->begin_ns));
	if (p->terminal) {
		int width = terminal_width();

		progress_format(line, sizeof(line), p->what, width < LINE_SIZE ? width : LINE_SIZE,
				done_bytes, total_bytes, rate);
		fprintf(stderr, "\r%s\033[K", table_clean(line));
		fflush(stderr);
		p->drawn = true;
	} else if (now - p->said_ns >= SAY_NS) {
		progress_format(line, sizeof(line), p->what, 0, done_bytes, total_bytes, rate);
		fprintf(stderr, "%s\n", table_clean(line));
		p->said_ns = now;
	}
}

void progress_end(struct progress *p)
{
	if (p->drawn)
		fputs("\r\033[K", stderr);
	p->drawn = false;
}
