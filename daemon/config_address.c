// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/config_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"

/* Digits alone, 1 to 65535. Return: 0 for anything else. */
static uint16_t port_parse(const char *text)
{
	uint32_t n = 0;

	if (strlen(text) > 5 || *text == '0' || text[strspn(text, "0123456789")])
		return 0;
	for (; *text; text++)
		n = n * 10 + (uint32_t)(*text - '0');
	return n <= UINT16_MAX ? (uint16_t)n : 0;
}

/* Splits "HOST:PORT" and "[HOST]:PORT". Return: false for what is neither. */
static bool split(const char *text, char *host, size_t size, const char **out_port)
{
	const char *end;
	size_t n;

	if (*text == '[') {
		text++;
		end = strchr(text, ']');
		if (!end || end[1] != ':')
			return false;
		*out_port = end + 2;
	} else {
		end = strchr(text, ':');
		/* "::1" without brackets: which colon is the port's? */
		if (!end || strchr(end + 1, ':'))
			return false;
		*out_port = end + 1;
	}
	n = (size_t)(end - text);
	if (n == 0 || n >= size)
		return false;
	memcpy(host, text, n);
	host[n] = '\0';
	return true;
}

int config_address_parse(const char *text, struct sockaddr_storage *out, socklen_t *out_len,
			 char *what, size_t what_size)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in in = { .sin_family = AF_INET };
	char host[INET6_ADDRSTRLEN];
	const char *port_text;
	uint16_t port;
	bool local;

	if (out_len)
		*out_len = 0;
	if (!*text || !strcmp(text, "none"))
		return 0;
	port = split(text, host, sizeof(host), &port_text) ? port_parse(port_text) : 0;
	if (port && *text != '[' && inet_pton(AF_INET, host, &in.sin_addr) == 1) {
		local = ntohl(in.sin_addr.s_addr) >> 24 == 127;
		in.sin_port = htons(port);
	} else if (port && *text == '[' && inet_pton(AF_INET6, host, &in6.sin6_addr) == 1) {
		local = IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
		in6.sin6_port = htons(port);
	} else {
		snprintf(what, what_size,
			 "'%.64s' is not 127.0.0.1:PORT, [::1]:PORT or none (PORT is 1 to 65535)",
			 text);
		return err_origin(-EINVAL);
	}
	if (!local) {
		snprintf(
			what, what_size,
			"'%.64s' can be reached from other machines, and nobody is asked who he is: "
			"take 127.0.0.1 or [::1], and for others a proxy before it",
			text);
		return err_origin(-EINVAL);
	}
	if (!out)
		return 0;
	memset(out, 0, sizeof(*out));
	*out_len = *text == '[' ? sizeof(in6) : sizeof(in);
	memcpy(out, *text == '[' ? (const void *)&in6 : (const void *)&in, *out_len);
	return 0;
}

int config_address_check(const char *text, char *what, size_t what_size)
{
	return err_trace(config_address_parse(text, NULL, NULL, what, what_size));
}
