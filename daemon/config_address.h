/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Addresses to listen at over TCP: "127.0.0.1:9838", "[::1]:9838", or "none". Only addresses of the machine itself are
 * taken, because what is served there asks nobody who he is. Pure: no name is looked up.
 */
#ifndef VRAM_DAEMON_CONFIG_ADDRESS_H
#define VRAM_DAEMON_CONFIG_ADDRESS_H

#include <stddef.h>
#include <sys/socket.h>

/*
 * *out_len is 0 for "none" and "". out may be NULL, to check only.
 * Return: 0, or -EINVAL with the reason in `what`.
 */
int config_address_parse(const char *text, struct sockaddr_storage *out, socklen_t *out_len,
			 char *what, size_t what_size);

/* The same as a check of a setting. */
int config_address_check(const char *text, char *what, size_t what_size);

#endif
