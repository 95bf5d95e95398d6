// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtrace/names.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct names_layers {
	struct names_layers *next;
	uint32_t share;
	uint32_t first_slot;
	uint32_t n_layers;
};

static void *copy(const void *from, size_t size)
{
	void *p = malloc(size);

	if (!p) {
		fputs("vramtrace: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	return memcpy(p, from, size);
}

void names_put_session(struct names *names, const struct names_session *session)
{
	if (session->session)
		free(map_put(&names->sessions, session->session, 0,
			     copy(session, sizeof(*session))));
}

void names_put_share(struct names *names, const struct names_share *share)
{
	free(map_put(&names->shares, share->share, 0, copy(share, sizeof(*share))));
}

void names_put_layers(struct names *names, uint64_t session, uint32_t share, uint32_t first_slot,
		      uint32_t n_layers)
{
	struct names_layers *layers = map_get(&names->layers, session, 0);
	const struct names_layers entry = {
		.next = layers, .share = share, .first_slot = first_slot, .n_layers = n_layers
	};

	/* Slots are used again when a model was closed. */
	for (; layers; layers = layers->next) {
		if (layers->first_slot != first_slot)
			continue;
		layers->share = share;
		layers->n_layers = n_layers;
		return;
	}
	map_put(&names->layers, session, 0, copy(&entry, sizeof(entry)));
}

/* A session that is only mentioned: who it is, but not whose. */
static void learn_session(struct names *names, uint64_t session, pid_t pid, const char *comm)
{
	struct names_session s = { .session = session, .pid = pid };
	struct names_session *known = map_get(&names->sessions, session, 0);

	if (known) {
		memcpy(known->comm, comm, sizeof(known->comm));
		known->pid = pid;
		return;
	}
	memcpy(s.comm, comm, sizeof(s.comm));
	names_put_session(names, &s);
}

void names_learn(struct names *names, const struct event *event)
{
	const struct event_named *named = (const struct event_named *)(const void *)event;
	struct names_session session;
	struct names_share share;

	switch (event->kind) {
	case EVENT_SESSION_OPEN:
		session = (struct names_session){
			.session = event->session,
			.pid = event->pid,
			.uid = event->uid,
			.has_uid = true,
		};
		memcpy(session.comm, event->comm, sizeof(session.comm));
		names_put_session(names, &session);
		return;
	case EVENT_SHARE_NEW:
		share = (struct names_share){
			.share = event->share,
			.is_buffer = event->group == 1,
			.size_bytes = event->bytes,
			.chunk_bytes = event->limit,
		};
		memcpy(share.name, named->name, sizeof(share.name) - 1);
		names_put_share(names, &share);
		return;
	case EVENT_LAYERS:
		names_put_layers(names, event->session, event->share, event->slot, event->chunk);
		return;
	case EVENT_LIMIT_CHANGE:
	case EVENT_ARBITER_ATTACH:
	case EVENT_ARBITER_DETACH:
		return;
	}
	if (event->session)
		learn_session(names, event->session, event->pid, event->comm);
	if (event->needed_session)
		learn_session(names, event->needed_session, event->needed_pid, event->needed_comm);
}

static void free_layers(void *value)
{
	struct names_layers *layers = value, *next;

	for (; layers; layers = next) {
		next = layers->next;
		free(layers);
	}
}

void names_clear(struct names *names)
{
	map_clear(&names->sessions, free);
	map_clear(&names->shares, free);
	map_clear(&names->layers, free_layers);
}

const struct names_session *names_session(const struct names *names, uint64_t session)
{
	return map_get(&names->sessions, session, 0);
}

const struct names_share *names_share(const struct names *names, uint32_t share)
{
	return map_get(&names->shares, share, 0);
}

bool names_layer(const struct names *names, uint64_t session, uint32_t slot, uint32_t *out_share,
		 uint32_t *out_layer)
{
	const struct names_layers *layers = map_get(&names->layers, session, 0);

	for (; layers; layers = layers->next) {
		if (slot < layers->first_slot || slot - layers->first_slot >= layers->n_layers)
			continue;
		*out_share = layers->share;
		*out_layer = slot - layers->first_slot;
		return true;
	}
	return false;
}

/* Names come from other users' programs: nothing in them may steer a terminal. */
static char *clean(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c; c++)
		if (*c < 0x20 || *c == 0x7f)
			*c = '?';
	return text;
}

char *names_session_text(const struct names *names, uint64_t session, char *buf, size_t size)
{
	const struct names_session *s = names_session(names, session);

	if (!session)
		snprintf(buf, size, "nobody");
	else if (s && *s->comm)
		snprintf(buf, size, "%.*s[%d]", EVENT_COMM_MAX, s->comm, (int)s->pid);
	else
		snprintf(buf, size, "session %" PRIu64, session);
	return clean(buf);
}

char *names_share_text(const struct names *names, uint32_t share, char *buf, size_t size)
{
	const struct names_share *s = names_share(names, share);

	if (share == EVENT_NO_SHARE)
		snprintf(buf, size, "-");
	else if (s && *s->name)
		snprintf(buf, size, "%s", s->name);
	else
		snprintf(buf, size, "share %u", share);
	return clean(buf);
}
