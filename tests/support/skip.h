/* SPDX-License-Identifier: GPL-2.0-only */
/* Skipping: a test program decides before it runs, prints the reason and ends with 77. */
#ifndef VRAM_TESTS_SUPPORT_SKIP_H
#define VRAM_TESTS_SUPPORT_SKIP_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SKIP_STATUS 77

static inline int skip(const char *reason)
{
	printf("SKIP: %s\n", reason);
	return SKIP_STATUS;
}

/* Containers may forbid it altogether. */
static inline bool can_userfaultfd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

#endif
