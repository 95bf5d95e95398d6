// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtrace/layout.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/vramtrace/records.h"

struct known {
	enum event_kind kind;
	const char *name;
	uint32_t offset;
	uint32_t size;
};

#define KNOWN(kind, record, field)                                    \
	{                                                             \
		EVENT_##kind, #field, offsetof(struct record, field), \
			sizeof(((struct record *)0)->field)           \
	}

#define KNOWN_BYTES(kind)                                                         \
	KNOWN(kind, record_bytes, session), KNOWN(kind, record_bytes, bytes),     \
		KNOWN(kind, record_bytes, share), KNOWN(kind, record_bytes, dev), \
		KNOWN(kind, record_bytes, tier), KNOWN(kind, record_bytes, pid),  \
		KNOWN(kind, record_bytes, comm)
#define KNOWN_MOVE(kind)                                                              \
	KNOWN(kind, record_move, session), KNOWN(kind, record_move, needed_session),  \
		KNOWN(kind, record_move, bytes), KNOWN(kind, record_move, share),     \
		KNOWN(kind, record_move, dev), KNOWN(kind, record_move, from),        \
		KNOWN(kind, record_move, to), KNOWN(kind, record_move, pid),          \
		KNOWN(kind, record_move, needed_pid), KNOWN(kind, record_move, comm), \
		KNOWN(kind, record_move, needed_comm)
#define KNOWN_ARBITER(kind)                                                             \
	KNOWN(kind, record_arbiter, generation), KNOWN(kind, record_arbiter, grace_ms), \
		KNOWN(kind, record_arbiter, pid), KNOWN(kind, record_arbiter, comm)

static const struct known known[] = {
	KNOWN(SESSION_OPEN, record_session_open, session),
	KNOWN(SESSION_OPEN, record_session_open, uid),
	KNOWN(SESSION_OPEN, record_session_open, pid),
	KNOWN(SESSION_OPEN, record_session_open, comm),
	KNOWN(SESSION_CLOSE, record_session_close, session),
	KNOWN(SESSION_CLOSE, record_session_close, vram_bytes),
	KNOWN(SESSION_CLOSE, record_session_close, host_bytes),
	KNOWN(SESSION_CLOSE, record_session_close, disk_bytes),
	KNOWN(SESSION_CLOSE, record_session_close, uid),
	KNOWN(SESSION_CLOSE, record_session_close, pid),
	KNOWN(SESSION_CLOSE, record_session_close, comm),
	KNOWN_BYTES(CHARGE),
	KNOWN_BYTES(UNCHARGE),
	KNOWN(LIMIT_HIT, record_limit_hit, session),
	KNOWN(LIMIT_HIT, record_limit_hit, bytes),
	KNOWN(LIMIT_HIT, record_limit_hit, limit_key),
	KNOWN(LIMIT_HIT, record_limit_hit, limit_kind),
	KNOWN(LIMIT_HIT, record_limit_hit, share),
	KNOWN(LIMIT_HIT, record_limit_hit, dev),
	KNOWN(LIMIT_HIT, record_limit_hit, tier),
	KNOWN(LIMIT_HIT, record_limit_hit, pid),
	KNOWN(LIMIT_HIT, record_limit_hit, comm),
	KNOWN(STALL_BEGIN, record_stall_begin, session),
	KNOWN(STALL_BEGIN, record_stall_begin, dev),
	KNOWN(STALL_BEGIN, record_stall_begin, slot),
	KNOWN(STALL_BEGIN, record_stall_begin, pid),
	KNOWN(STALL_BEGIN, record_stall_begin, comm),
	KNOWN(STALL_END, record_stall_end, session),
	KNOWN(STALL_END, record_stall_end, stall_ns),
	KNOWN(STALL_END, record_stall_end, dev),
	KNOWN(STALL_END, record_stall_end, slot),
	KNOWN(STALL_END, record_stall_end, pid),
	KNOWN(STALL_END, record_stall_end, comm),
	KNOWN_MOVE(EVICT),
	KNOWN_MOVE(RESTORE),
	KNOWN(LIMIT_CHANGE, record_limit_change, key),
	KNOWN(LIMIT_CHANGE, record_limit_change, value),
	KNOWN(LIMIT_CHANGE, record_limit_change, kind),
	KNOWN(LIMIT_CHANGE, record_limit_change, dev),
	KNOWN(LIMIT_CHANGE, record_limit_change, tier),
	KNOWN(LIMIT_CHANGE, record_limit_change, limit),
	KNOWN(LIMIT_CHANGE, record_limit_change, flags),
	KNOWN(LIMIT_CHANGE, record_limit_change, pid),
	KNOWN(LIMIT_CHANGE, record_limit_change, comm),
	KNOWN_ARBITER(ARBITER_ATTACH),
	KNOWN_ARBITER(ARBITER_DETACH),
};
#define N_KNOWN (sizeof(known) / sizeof(known[0]))

int layout_check(enum event_kind kind, const struct format *format, char *text, size_t size)
{
	const struct format_field *field;
	size_t i;

	for (i = 0; i < N_KNOWN; i++) {
		if (known[i].kind != kind)
			continue;
		field = format_find(format, known[i].name);
		if (!field) {
			snprintf(text, size, "it has no field %s", known[i].name);
			return -EPROTO;
		}
		if (field->offset != known[i].offset || field->size != known[i].size) {
			snprintf(text, size, "%s has %u bytes at %u, not %u at %u", known[i].name,
				 field->size, field->offset, known[i].size, known[i].offset);
			return -EPROTO;
		}
	}
	return 0;
}

bool layout_field(size_t i, enum event_kind *out_kind, struct format_field *out_field)
{
	if (i >= N_KNOWN)
		return false;
	*out_kind = known[i].kind;
	*out_field = (struct format_field){ .offset = known[i].offset, .size = known[i].size };
	snprintf(out_field->name, sizeof(out_field->name), "%s", known[i].name);
	return true;
}
