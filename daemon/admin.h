/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ADMIN messages: a request as JSON text, an answer as JSON text (docs/protocol.md lists them).
 *
 * Everybody may ask; who may see and change what follows from the peer's uid, as the kernel gave
 * it: root and the daemon's own user see every session and may change limits and evict. Others see
 * the device as a whole, their own sessions and models in detail, and of everybody else's only
 * sums.
 *
 * A request that is refused is answered too: {"error": a sentence, "errno": "EPERM"}.
 *
 * Answers have users as numbers, which vramctl turns into names. Requests about limits may have names, which
 * a helper of the daemon looks up (daemon/names.h); 200 ms is waited for it, and no longer.
 */
#ifndef VRAM_DAEMON_ADMIN_H
#define VRAM_DAEMON_ADMIN_H

#include <stddef.h>
#include <sys/socket.h>

struct scheduler;

/*
 * admin_handle() - json: len bytes, not terminated, from a client. Runs on the loop's thread and
 * does not block but for reading /proc. It is a session_admin_fn.
 * Return: 0 with the answer in *out_fd, a memfd of fixed size; -ENOMEM or what else keeps a memfd
 * from being made.
 */
int admin_handle(struct scheduler *s, const struct ucred *peer, const char *json, size_t len,
		 int *out_fd);

/*
 * What `reload` does, as SIGHUP: reads the configuration and the limits again. It is the daemon's, which is above
 * this. Return of fn: 0 with the counts, or -errno with the reason.
 */
typedef int admin_reload_fn(void *ctx, size_t *out_files, size_t *out_rules, char *reason,
			    size_t size);
void admin_set_reload(admin_reload_fn *fn, void *ctx);

#endif
