/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The client's userfaultfd: what stops a thread at bytes that are not there yet.
 *
 * The daemon does all the paging through its copy of the descriptor. The client keeps its own: the
 * registration lives as long as any copy does, so when the daemon dies, threads go on waiting
 * instead of reading zeros. The few calls here are for beginning, for the daemon's absence,
 * and for taking mappings away.
 */
#ifndef VRAM_LIBCLIENT_UFFD_H
#define VRAM_LIBCLIENT_UFFD_H

#include <stdint.h>

/*
 * A userfaultfd with the features that the protocol demands: for faults of the kernel on our behalf
 * too (read(2) into a buffer, mlock) where we may have that, else for those of user mode only.
 * Return: 0, -EACCES (not allowed at all), -ENOTSUP (the kernel has no MINOR faults on shmem), or -errno.
 */
int uffd_new(int *out_fd);

/* Closes the range to everybody: a touch of it waits. Return: 0 or -errno. */
int uffd_register(int fd, uint64_t addr, uint64_t length);

/* As uffd_register() for memory that is not shmem: only what is not there stops. */
int uffd_register_missing(int fd, uint64_t addr, uint64_t length);

/* Opens the range and wakes who waits in it. Errors are ignored: the range may be unmapped. */
void uffd_unregister(int fd, uint64_t addr, uint64_t length);

/* Lets every thread that waits in the range try its touch again. */
void uffd_wake(int fd, uint64_t addr, uint64_t length);

/*
 * Reads and forgets what the descriptor has to say, so that nobody waits in munmap or mremap for a
 * daemon that is not there. Threads that wait for pages go on waiting.
 */
void uffd_drain(int fd);

#endif
