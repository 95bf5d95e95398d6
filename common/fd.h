/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * Descriptors: messages that carry them, flags, sealed memory, what kind they are.
 *
 * One message is one SOCK_SEQPACKET record. The rules of receiving: every descriptor
 * arrives close-on-exec; a record or descriptor list that does not fit is an error, not a
 * shorter message; on every error no descriptor is left open, whatever the peer sent.
 */
#ifndef VRAM_COMMON_FD_H
#define VRAM_COMMON_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Most descriptors in one message, in either direction. */
#define FD_MSG_MAX 16

/* Room for the control data of FD_MSG_MAX descriptors and the peer's credentials. */
#define FD_CONTROL_MAX 160

/*
 * Everything that one sendmsg or recvmsg needs, for callers that submit the call themselves
 * (io_uring): prepare, submit &msg->hdr, then fd_msg_received(). The struct must stay in
 * place until the call has completed.
 */
struct fd_msg {
	struct msghdr hdr;
	struct iovec iov;
	union {
		struct cmsghdr align;
		char bytes[FD_CONTROL_MAX];
	} control;
};

/*
 * Prepares a message for sending. The descriptors stay the caller's; the kernel takes its
 * own references during the call.
 * Return: 0, -EINVAL for more than FD_MSG_MAX descriptors or an empty message.
 */
int fd_msg_prepare_send(struct fd_msg *msg, const void *buf, size_t len, const int *fds,
			size_t n_fds);

/* Prepares a message for receiving into buf; the call itself needs MSG_CMSG_CLOEXEC. */
void fd_msg_prepare_recv(struct fd_msg *msg, void *buf, size_t size);

/*
 * Takes the descriptors out of a completed receive. They belong to the caller afterwards;
 * entries behind *out_n_fds are set to -1.
 * Return: 0, -EMSGSIZE if the record or its control data was truncated or holds more than
 * max_fds descriptors; then everything has been closed and *out_n_fds is 0.
 */
int fd_msg_received(struct fd_msg *msg, int *fds, size_t max_fds, size_t *out_n_fds);

/*
 * Sends one record. Retries on EINTR, never raises SIGPIPE. `flags` is 0 or MSG_DONTWAIT.
 * Return: 0 or -errno (-EAGAIN, -EPIPE, -EMSGSIZE, ...).
 */
int fd_send(int sock, const void *buf, size_t len, const int *fds, size_t n_fds, int flags);

/*
 * Receives one record. `flags` is 0 or MSG_DONTWAIT.
 * Return: the length, 0 when the peer has closed, or -errno; -EMSGSIZE as in
 * fd_msg_received().
 */
ssize_t fd_recv(int sock, void *buf, size_t size, int *fds, size_t max_fds, size_t *out_n_fds,
		int flags);

/* Closes all and sets each to -1. */
void fd_close_all(int *fds, size_t n_fds);

int fd_set_cloexec(int fd, bool on);
int fd_set_nonblock(int fd, bool on);

/*
 * A memfd of fixed size: close-on-exec, not executable where the kernel can say so, sealed
 * against growing, shrinking and further seals. Whoever maps it can rely on the size for
 * good. `memfd_flags` adds e.g. MFD_HUGETLB.
 * Return: 0 or -errno.
 */
int fd_memfd_sealed(const char *name, uint64_t size_bytes, unsigned int memfd_flags, int *out_fd);

/*
 * Checks that a received descriptor is a memfd of exactly this size whose size cannot
 * change.
 * Return: 0, -EINVAL if it is not, or -errno.
 */
int fd_check_sealed(int fd, uint64_t size_bytes);

/*
 * What /proc says a descriptor is: a path, "socket:[1]", "anon_inode:[eventfd]".
 * Return: 0, -ENAMETOOLONG, or -errno.
 */
int fd_link(int fd, char *buf, size_t size);

/*
 * Return: 1 if the descriptor is the anonymous inode of that name ("[userfaultfd]"), 0 if
 * it is something else, or -errno (-EBADF, or -ENOENT without /proc). A file cannot pose as
 * one: its link is a path and begins with '/'.
 */
int fd_is_anon_inode(int fd, const char *name);
int fd_is_userfaultfd(int fd);

#endif
