// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

/* Linux 6.3; harmless to ask for, older kernels answer EINVAL. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define FD_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

_Static_assert(FD_CONTROL_MAX >=
		       CMSG_SPACE(FD_MSG_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred)),
	       "control buffer too small");

int fd_msg_prepare_send(struct fd_msg *msg, const void *buf, size_t len, const int *fds,
			size_t n_fds)
{
	struct cmsghdr *cmsg;

	/* The receiver of an empty record cannot tell it from the end of the connection. */
	if (len == 0 || n_fds > FD_MSG_MAX)
		return -EINVAL;

	memset(msg, 0, sizeof(*msg));
	msg->iov.iov_base = (void *)(uintptr_t)buf;
	msg->iov.iov_len = len;
	msg->hdr.msg_iov = &msg->iov;
	msg->hdr.msg_iovlen = 1;
	if (n_fds == 0)
		return 0;

	msg->hdr.msg_control = msg->control.bytes;
	msg->hdr.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	cmsg = CMSG_FIRSTHDR(&msg->hdr);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	return 0;
}

void fd_msg_prepare_recv(struct fd_msg *msg, void *buf, size_t size)
{
	memset(msg, 0, sizeof(*msg));
	msg->iov.iov_base = buf;
	msg->iov.iov_len = size;
	msg->hdr.msg_iov = &msg->iov;
	msg->hdr.msg_iovlen = 1;
	msg->hdr.msg_control = msg->control.bytes;
	msg->hdr.msg_controllen = sizeof(msg->control.bytes);
}

int fd_msg_received(struct fd_msg *msg, int *fds, size_t max_fds, size_t *out_n_fds)
{
	bool bad = msg->hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
	struct cmsghdr *cmsg;
	size_t n = 0;

	for (cmsg = CMSG_FIRSTHDR(&msg->hdr); cmsg; cmsg = CMSG_NXTHDR(&msg->hdr, cmsg)) {
		size_t count, i;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
			if (n < max_fds) {
				fds[n++] = fd;
			} else {
				close(fd);
				bad = true;
			}
		}
	}
	/* A second look at the same message must not take the same descriptors again. */
	msg->hdr.msg_controllen = 0;

	if (bad) {
		fd_close_all(fds, n);
		n = 0;
	}
	for (size_t i = n; i < max_fds; i++)
		fds[i] = -1;
	*out_n_fds = n;
	return bad ? -EMSGSIZE : 0;
}

int fd_send(int sock, const void *buf, size_t len, const int *fds, size_t n_fds, int flags)
{
	struct fd_msg msg;
	ssize_t n;
	int r;

	r = fd_msg_prepare_send(&msg, buf, len, fds, n_fds);
	if (r < 0)
		return r;
	do {
		n = sendmsg(sock, &msg.hdr, flags | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	/* A seqpacket socket sends a record whole or not at all; anything else is not one. */
	return (size_t)n == len ? 0 : -EMSGSIZE;
}

ssize_t fd_recv(int sock, void *buf, size_t size, int *fds, size_t max_fds, size_t *out_n_fds,
		int flags)
{
	struct fd_msg msg;
	ssize_t n;
	int r;

	*out_n_fds = 0;
	do {
		fd_msg_prepare_recv(&msg, buf, size);
		n = recvmsg(sock, &msg.hdr, flags | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	r = fd_msg_received(&msg, fds, max_fds, out_n_fds);
	return r < 0 ? r : n;
}

void fd_close_all(int *fds, size_t n_fds)
{
	for (size_t i = 0; i < n_fds; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

int fd_set_cloexec(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0)
		return -errno;
	flags = on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC;
	return fcntl(fd, F_SETFD, flags) < 0 ? -errno : 0;
}

int fd_set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int fd_memfd_sealed(const char *name, uint64_t size_bytes, unsigned int memfd_flags, int *out_fd)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | memfd_flags;
	_cleanup_close_ int fd = -1;

	if (size_bytes > INT64_MAX)
		return -EFBIG;
	fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, flags);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size_bytes) < 0)
		return -errno;
	if (fcntl(fd, F_ADD_SEALS, FD_SEALS) < 0)
		return -errno;
	*out_fd = steal_fd(&fd);
	return 0;
}

int fd_check_sealed(int fd, uint64_t size_bytes)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	/* EINVAL is also the kernel's answer for a file that cannot have seals. */
	if (seals < 0)
		return -errno;
	if ((seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW))
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	return (uint64_t)st.st_size == size_bytes ? 0 : -EINVAL;
}

int fd_link(int fd, char *buf, size_t size)
{
	char path[40];
	ssize_t n;

	if (fd < 0)
		return -EBADF;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, buf, size);
	if (n < 0) {
		int saved = errno;

		/* Without this the caller cannot tell a closed descriptor from a missing /proc. */
		if (fcntl(fd, F_GETFD) < 0)
			return -errno;
		return -saved;
	}
	if ((size_t)n >= size)
		return -ENAMETOOLONG;
	buf[n] = '\0';
	return 0;
}

int fd_is_anon_inode(int fd, const char *name)
{
	static const char prefix[] = "anon_inode:";
	char link[128];
	int r;

	r = fd_link(fd, link, sizeof(link));
	if (r == -ENAMETOOLONG)
		return 0;
	if (r < 0)
		return r;
	return !strncmp(link, prefix, sizeof(prefix) - 1) &&
	       !strcmp(link + sizeof(prefix) - 1, name);
}

int fd_is_userfaultfd(int fd)
{
	return fd_is_anon_inode(fd, "[userfaultfd]");
}
