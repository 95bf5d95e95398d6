/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * Scope-bound cleanup.
 *
 *	_cleanup_close_ int fd = -1;
 *	_cleanup_free_ char *name = NULL;
 *	_cleanup_(session_freep) struct session *session = NULL;
 *
 * A variable with one of these attributes is released on every way out of its scope, so it
 * must always hold either an owned object or the empty value (-1, NULL): initialise it in
 * its declaration. To hand an object on, take it with steal_fd() or steal_ptr(), which
 * leave the empty value behind.
 *
 * Do not mix `goto` ladders and scope cleanup in one function: a reader can follow either
 * order of undoing, but not both at once.
 *
 * The helpers keep errno, so that a scope may end between a failing call and the place
 * where errno is read.
 */
#ifndef VRAM_COMMON_CLEANUP_H
#define VRAM_COMMON_CLEANUP_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((__cleanup__(fn)))

/* Defines fnp(type *p) for use with _cleanup_(fnp); fn must accept the empty value. */
#define DEFINE_CLEANUP(type, fn)          \
	static inline void fn##p(type *p) \
	{                                 \
		fn(*p);                   \
	}                                 \
	struct vram_cleanup_##fn##_swallow_semicolon

static inline void cleanup_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void cleanup_free(void *p)
{
	int saved = errno;

	free(*(void **)p);
	errno = saved;
}

static inline void cleanup_fclose(FILE **f)
{
	int saved = errno;

	if (*f)
		fclose(*f);
	errno = saved;
}

#define _cleanup_close_	 _cleanup_(cleanup_close)
#define _cleanup_free_	 _cleanup_(cleanup_free)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)

/* Takes the descriptor out of a cleaned-up variable. Return: the descriptor. */
static inline int steal_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* Takes the pointer out of a cleaned-up variable. Value: the pointer. */
#define steal_ptr(pp)                                         \
	__extension__({                                       \
		__typeof__(pp) steal_pp_ = (pp);              \
		__typeof__(*steal_pp_) steal_p_ = *steal_pp_; \
		*steal_pp_ = NULL;                            \
		steal_p_;                                     \
	})

#endif
