// SPDX-License-Identifier: GPL-2.0-only
/*
 * Let every allocation of every call to /dev/vram fail once (LD_PRELOAD; a kernel with fault injection).
 *
 * open(), ioctl() and mmap() of the device are first made with the first allocation failing, then with the
 * second, until a call meets no failure or succeeds in spite of it; that call's result is
 * the program's. So every test runs as it is, and sees if a call that failed in the middle has left anything behind.
 * A call that failed must have failed with ENOMEM, or with EFAULT where the page was missing that it copies to.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kmod/uapi/vram.h"

#pragma GCC visibility push(default)

#define DEVICE	    "/dev/vram"
#define MAX_FAILURE 200 /* a large table has more pages; they are all alike */

/* Raw calls: the ones of the C library are replaced here, or replaced by others. */
static int raw_open(const char *path, int flags)
{
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

/* Counts of one program, its children included: they share the page. */
struct counts {
	_Atomic unsigned long calls, failures;
};
static struct counts *counts;
static pid_t owner;

__attribute__((constructor)) static void begin(void)
{
	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (counts == MAP_FAILED)
		counts = NULL;
	owner = getpid();
}

__attribute__((destructor)) static void end(void)
{
	if (counts && getpid() == owner && counts->calls) {
		printf("failnth: %lu calls, %lu failures injected\n", counts->calls,
		       counts->failures);
		fflush(stdout);
	}
}

/* Arms the n-th failure of this thread's next calls. Return: a descriptor for disarm(), or -1. */
static int arm(unsigned int n)
{
	char text[16];
	int fd = raw_open("/proc/thread-self/fail-nth", O_RDWR);

	if (fd < 0)
		return -1;
	snprintf(text, sizeof(text), "%u", n);
	if (write(fd, text, strlen(text)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Return: whether the failure has happened. */
static int disarm(int fd)
{
	char text[16] = "";
	int happened = pread(fd, text, sizeof(text) - 1, 0) > 0 && atoi(text) == 0;

	if (!happened && pwrite(fd, "0", 1, 0) < 0) {
		dprintf(STDERR_FILENO, "failnth: cannot end it: %s\n", strerror(errno));
		abort();
	}
	close(fd);
	return happened;
}

struct call {
	long number, arg[6];
};

/*
 * Where the call of this kind begins next time: a call that succeeds in spite of a failure cannot be made
 * again, so the failures behind that one are left for the next call.
 */
static _Atomic unsigned int next_first[512];

static unsigned int kind_of(const struct call *c)
{
	return c->number == SYS_ioctl ? _IOC_NR(c->arg[1]) : 256 + (unsigned int)c->number % 256;
}

/* Sees to it that a failure that was injected looks like one. Return: as the system call. */
static long call_until_whole(const struct call *c)
{
	unsigned int n, kind = kind_of(c), first_n = next_first[kind] + 1;

	for (n = first_n; n <= MAX_FAILURE; n++) {
		int saved = errno, fd = arm(n), happened;
		long ret;

		errno = saved;
		ret = syscall(c->number, c->arg[0], c->arg[1], c->arg[2], c->arg[3], c->arg[4],
			      c->arg[5]);
		saved = errno;
		if (fd < 0)
			return ret;
		happened = disarm(fd);
		errno = saved;
		if (counts) {
			counts->calls += n == first_n;
			counts->failures += happened != 0;
		}
		if (!happened || ret != -1) {
			next_first[kind] = happened ? n : 0;
			return ret;
		}
		if (errno != ENOMEM && errno != EFAULT) {
			/* Its own failure, or a failure under a wrong name? Only without injection can one tell. */
			int first = errno;

			ret = syscall(c->number, c->arg[0], c->arg[1], c->arg[2], c->arg[3],
				      c->arg[4], c->arg[5]);
			if (ret == -1 && errno == first)
				return ret;
			dprintf(STDERR_FILENO,
				"failnth: call %ld (%lx) failed with %s where memory was short\n",
				c->number, c->arg[1], strerror(first));
			abort();
		}
	}
	return syscall(c->number, c->arg[0], c->arg[1], c->arg[2], c->arg[3], c->arg[4], c->arg[5]);
}

int ioctl(int fd, unsigned long request, ...)
{
	struct call c = { .number = SYS_ioctl, .arg = { fd, (long)request } };
	va_list ap;

	va_start(ap, request);
	c.arg[2] = (long)va_arg(ap, void *);
	va_end(ap);
	if (_IOC_TYPE(request) != VRAM_IOC_MAGIC)
		return (int)syscall(SYS_ioctl, fd, request, c.arg[2]);
	return (int)call_until_whole(&c);
}

static int open_any(int dir, const char *path, int flags, mode_t mode)
{
	struct call c = { .number = SYS_openat, .arg = { dir, (long)path, flags, mode } };

	if (path && strcmp(path, DEVICE) == 0)
		return (int)call_until_whole(&c);
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

#define MODE_OF(flags)                                                   \
	({                                                               \
		va_list ap_;                                             \
		mode_t mode_ = 0;                                        \
                                                                         \
		va_start(ap_, flags);                                    \
		if ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE) \
			mode_ = va_arg(ap_, mode_t);                     \
		va_end(ap_);                                             \
		mode_;                                                   \
	})

int open(const char *path, int flags, ...)
{
	return open_any(AT_FDCWD, path, flags, MODE_OF(flags));
}

int open64(const char *path, int flags, ...)
{
	return open_any(AT_FDCWD, path, flags, MODE_OF(flags));
}

int openat(int dir, const char *path, int flags, ...)
{
	return open_any(dir, path, flags, MODE_OF(flags));
}

static int is_device(int fd)
{
	struct stat want, have;

	return fd >= 0 && stat(DEVICE, &want) == 0 && S_ISCHR(want.st_mode) &&
	       fstat(fd, &have) == 0 && S_ISCHR(have.st_mode) && have.st_rdev == want.st_rdev;
}

void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	struct call c = { .number = SYS_mmap,
			  .arg = { (long)addr, (long)length, prot, flags, fd, offset } };

	if (!is_device(fd))
		return (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);
	return (void *)call_until_whole(&c);
}
