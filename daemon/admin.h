/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ADMIN messages: a request as JSON text, an answer as JSON text (docs/protocol.md lists them).
 *
 * Everybody may ask; who may see and change what follows from the peer's uid, as the kernel gave it:
 * root and the daemon's own user see every session and may change limits and evict. Others see the device as a
 * whole, their own sessions and models in detail, and of everybody else's only sums.
 *
 * No name service is asked here, a daemon must not wait for a network: users are numbers, and
 * vramctl turns them into names and back.
 */
#ifndef VRAM_DAEMON_ADMIN_H
#define VRAM_DAEMON_ADMIN_H

#include <stddef.h>
#include <sys/socket.h>

#include "common/proto.h"

struct scheduler;

#define ADMIN_REASON_MAX sizeof(((struct vram_msg_error *)0)->text)

/*
 * admin_handle() - json: len bytes, not terminated, from a client. Runs on the loop's thread and does not block.
 * Return: 0 with the answer in *out_text (to be freed) and its length; or -errno with a sentence for people in
 * reason, both for the reply: -EBADMSG no JSON or not of the right form, -EOPNOTSUPP an unknown command, -EPERM,
 * -ENOENT no such session, -EINVAL a bad value, -ENOMEM.
 */
int admin_handle(struct scheduler *s, const struct ucred *peer, const char *json, size_t len,
		 char **out_text, size_t *out_len, char reason[ADMIN_REASON_MAX]);

#endif
