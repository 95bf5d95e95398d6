// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/cudashim/shim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void report_line(const char *format, ...)
{
	char line[512] = "vramrun: ";
	size_t prefix = strlen(line);
	int saved = errno, n;
	va_list args;

	if (shim.quiet)
		return;
	va_start(args, format);
	n = vsnprintf(line + prefix, sizeof(line) - prefix - 1, format, args);
	va_end(args);
	if (n >= 0) {
		n = (size_t)n < sizeof(line) - prefix - 1 ? n : (int)(sizeof(line) - prefix - 2);
		line[prefix + (size_t)n] = '\n';
		/* One write: lines of several threads and processes do not mix. */
		if (write(STDERR_FILENO, line, prefix + (size_t)n + 1) < 0)
			errno = saved;
	}
	errno = saved;
}
