// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/err.h"

/* Linux 6.1; the kernel headers of Debian 12 have it, older ones do not. */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#define FEATURES                                                                            \
	(UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_EVENT_REMAP | \
	 UFFD_FEATURE_EVENT_UNMAP)

static int open_device(void)
{
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd;

	if (dev < 0)
		return -errno;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		fd = -errno;
	close(dev);
	return fd;
}

int uffd_new(int *out_fd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };
	int fd;

	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOSYS)
		return err_origin(-ENOTSUP);
	if (fd < 0)
		fd = open_device();
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (fd < 0) {
		if (errno == EPERM || errno == EACCES)
			return err_origin(-EACCES);
		return err_origin(errno == EINVAL ? -ENOTSUP : -errno);
	}
	if (ioctl(fd, UFFDIO_API, &api)) {
		int r = errno == EINVAL ? -ENOTSUP : -errno;

		close(fd);
		return err_origin(r);
	}
	*out_fd = fd;
	return 0;
}

static int register_mode(int fd, uint64_t addr, uint64_t length, uint64_t mode)
{
	struct uffdio_register reg = {
		.range = { .start = addr, .len = length },
		.mode = mode,
	};

	while (ioctl(fd, UFFDIO_REGISTER, &reg))
		if (errno != EAGAIN && errno != EINTR)
			return err_origin(-errno);
	return 0;
}

int uffd_register(int fd, uint64_t addr, uint64_t length)
{
	return register_mode(fd, addr, length,
			     UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR);
}

int uffd_register_missing(int fd, uint64_t addr, uint64_t length)
{
	return register_mode(fd, addr, length, UFFDIO_REGISTER_MODE_MISSING);
}

void uffd_unregister(int fd, uint64_t addr, uint64_t length)
{
	struct uffdio_range range = { .start = addr, .len = length };

	while (ioctl(fd, UFFDIO_UNREGISTER, &range))
		if (errno != EAGAIN && errno != EINTR)
			return;
}

void uffd_wake(int fd, uint64_t addr, uint64_t length)
{
	struct uffdio_range range = { .start = addr, .len = length };

	while (ioctl(fd, UFFDIO_WAKE, &range))
		if (errno != EINTR)
			return;
}

void uffd_drain(int fd)
{
	struct uffd_msg msgs[16];
	ssize_t n;

	do {
		n = read(fd, msgs, sizeof(msgs));
	} while (n > 0 || (n < 0 && errno == EINTR));
}
