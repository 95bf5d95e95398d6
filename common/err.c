// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "common/err.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static err_hook_fn err_hook;

void err_set_hook(err_hook_fn fn)
{
	err_hook = fn;
}

void err_hook_stderr(int r, bool origin, const char *file, int line, const char *func)
{
	fprintf(stderr, "%s %s (%d) at %s:%d in %s()\n", origin ? "error" : "  via", err_name(r), r,
		file, line, func);
}

/* -INT_MIN does not fit; it is no errno either. */
static int err_magnitude(int r)
{
	if (r == INT_MIN)
		return INT_MAX;
	return r < 0 ? -r : r;
}

const char *err_name(int r)
{
	const char *name;

	if (r == 0)
		return "OK";
	name = strerrorname_np(err_magnitude(r));
	return name ? name : "E???";
}

const char *err_text(int r)
{
	const char *text = strerrordesc_np(err_magnitude(r));

	return text ? text : "Unknown error";
}

int err_trace_at(int r, bool origin, const char *file, int line, const char *func)
{
	if (r < 0 && err_hook) {
		int saved = errno;

		err_hook(r, origin, file, line, func);
		errno = saved;
	}
	return r;
}

int err_fold_at(int r, const char *file, int line, const char *func)
{
	if (r > 0)
		return err_trace_at(-ENOTRECOVERABLE, true, file, line, func);
	return err_trace_at(r, false, file, line, func);
}
