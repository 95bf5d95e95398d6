/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The names of what events speak of: sessions, shares, and which layer a slot is. They come from vramd when
 * tracing begins, and from events after that. What has ended keeps its name until its number is used again, so
 * that a table at the end can still tell.
 */
#ifndef VRAM_TOOLS_VRAMTRACE_NAMES_H
#define VRAM_TOOLS_VRAMTRACE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tools/vramtrace/event.h"
#include "tools/vramtrace/map.h"

struct names_session {
	uint64_t session;
	pid_t pid;
	uid_t uid;
	bool has_uid;
	char comm[EVENT_COMM_MAX];
};

struct names_share {
	uint32_t share;
	bool is_buffer;
	uint64_t size_bytes;
	uint32_t chunk_bytes;
	char name[EVENT_NAME_MAX];
};

struct names {
	struct map sessions; /* (session, 0): struct names_session */
	struct map shares;   /* (share, 0): struct names_share */
	struct map layers;   /* (session, 0): struct names_layers, a list */
};

void names_put_session(struct names *names, const struct names_session *session);
void names_put_share(struct names *names, const struct names_share *share);
void names_put_layers(struct names *names, uint64_t session, uint32_t share, uint32_t first_slot,
		      uint32_t n_layers);
/* Takes from an event what it says. */
void names_learn(struct names *names, const struct event *event);
void names_clear(struct names *names);

/* Return: NULL if it is not known. */
const struct names_session *names_session(const struct names *names, uint64_t session);
const struct names_share *names_share(const struct names *names, uint32_t share);
/* Return: does anybody know which layer of which share the slot is? */
bool names_layer(const struct names *names, uint64_t session, uint32_t slot, uint32_t *out_share,
		 uint32_t *out_layer);

/* "walk[123]", "session 7", "nobody" for 0. Return: buf. */
char *names_session_text(const struct names *names, uint64_t session, char *buf, size_t size);
/* The name of a model or buffer, "share 3", "-" for none. Return: buf. */
char *names_share_text(const struct names *names, uint32_t share, char *buf, size_t size);

#endif
