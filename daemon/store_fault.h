/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Disk errors on purpose, for tests: `io.fault = read:eio:every=7`.
 *
 *   OP    read or write
 *   KIND  eio, enospc, or short (half of what was transferred is reported)
 *   every=N  each Nth operation; after=N  all from the Nth on (one of them)
 */
#ifndef VRAM_DAEMON_STORE_FAULT_H
#define VRAM_DAEMON_STORE_FAULT_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum store_fault_kind {
	STORE_FAULT_NONE,
	STORE_FAULT_ERROR,
	STORE_FAULT_SHORT
};

struct store_fault {
	enum store_fault_kind kind;
	int error;
	bool on_write;
	bool from_then_on;
	uint32_t n;
	uint32_t count;
};

/* Return: 0 or -EINVAL. NULL and "" are no fault. */
static inline int store_fault_parse(const char *text, struct store_fault *out)
{
	char op[8] = "", kind[8] = "", when[8] = "";
	unsigned int n = 0;
	int used = 0;

	memset(out, 0, sizeof(*out));
	if (!text || !*text)
		return 0;
	if (sscanf(text, "%7[a-z]:%7[a-z]:%7[a-z]=%u%n", op, kind, when, &n, &used) != 4 ||
	    text[used] || n == 0)
		return -EINVAL;
	if (strcmp(op, "read") && strcmp(op, "write"))
		return -EINVAL;
	if (strcmp(when, "every") && strcmp(when, "after"))
		return -EINVAL;
	if (strcmp(kind, "eio") == 0)
		out->error = -EIO;
	else if (strcmp(kind, "enospc") == 0)
		out->error = -ENOSPC;
	else if (strcmp(kind, "short"))
		return -EINVAL;
	out->kind = out->error ? STORE_FAULT_ERROR : STORE_FAULT_SHORT;
	out->on_write = strcmp(op, "write") == 0;
	out->from_then_on = strcmp(when, "after") == 0;
	out->n = n;
	return 0;
}

/* What to report instead of the true result of one operation. */
static inline int store_fault_apply(struct store_fault *fault, bool write, int res)
{
	if (fault->kind == STORE_FAULT_NONE || fault->on_write != write || res <= 0)
		return res;
	fault->count++;
	if (fault->from_then_on ? fault->count < fault->n : fault->count % fault->n != 0)
		return res;
	if (fault->kind == STORE_FAULT_ERROR)
		return fault->error;
	return res >= 8192 ? res / 2 & ~4095 : res;
}

#endif
