/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The error contract of all userspace parts.
 *
 *	r < 0	fatal for the operation: -errno, forwarded unchanged by every
 *		frame up to the one that can answer or log it.
 *	r == 0	done.
 *	r > 0	a named outcome (MODULE_E_*) that the direct caller must handle;
 *		a caller that cannot handle it folds it with err_fold().
 *
 * A frame that creates an error writes `return err_origin(-ENOSPC)`, a frame that forwards
 * one writes `return err_trace(r)`. Both return their argument; when a hook is set they
 * also report the place, which gives the path an error took without a debugger. There is no
 * hook by default and the library never sets one, so libvram stays silent.
 */
#ifndef VRAM_COMMON_ERR_H
#define VRAM_COMMON_ERR_H

#include <stdbool.h>

/*
 * Called for every negative result that passes a trace point. Must not fail; errno is kept
 * around it.
 */
typedef void (*err_hook_fn)(int r, bool origin, const char *file, int line, const char *func);

/* Sets the hook, NULL for none. Call it before threads start: it is read without a lock. */
void err_set_hook(err_hook_fn fn);

/* A ready-made hook: one line a trace point on stderr. */
void err_hook_stderr(int r, bool origin, const char *file, int line, const char *func);

/*
 * Return: the short name, "ENOSPC", for an errno of either sign; "OK" for 0, "E???" for
 * what is no errno.
 */
const char *err_name(int r);

/* Return: the untranslated sentence, "No space left on device". Thread-safe, unlike strerror(). */
const char *err_text(int r);

int err_trace_at(int r, bool origin, const char *file, int line, const char *func);
int err_fold_at(int r, const char *file, int line, const char *func);

/* Forwards a result. Value: r. */
#define err_trace(r) err_trace_at((r), false, __FILE__, __LINE__, __func__)

/* Marks the place where a negative result comes into being. Value: r. */
#define err_origin(r) err_trace_at((r), true, __FILE__, __LINE__, __func__)

/* Turns a named outcome that nobody here handles into -ENOTRECOVERABLE. Value: r if r <= 0. */
#define err_fold(r) err_fold_at((r), __FILE__, __LINE__, __func__)

#endif
