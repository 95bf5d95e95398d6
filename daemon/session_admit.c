// SPDX-License-Identifier: GPL-2.0-only
/* ADMIT: a session asks for its working set, and is answered when it may begin. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "common/err.h"
#include "daemon/session_private.h"

#define PRIORITY_MIN (-20)
#define PRIORITY_MAX 19

static void answer(struct session *session, const struct vram_msg_hdr *hdr, uint64_t reserved_bytes,
		   uint64_t waited_ns)
{
	const struct vram_msg_admit_reply reply = {
		.reserved_bytes = reserved_bytes,
		.waited_ns = waited_ns,
	};

	session_reply(session, hdr, &reply, sizeof(reply), -1);
}

void session_admit(struct session *session, const struct vram_msg_hdr *hdr,
		   const struct vram_msg_admit *msg)
{
	const struct scheduler_admit ask = {
		.bytes = msg->working_set_bytes,
		.timeout_ns = msg->timeout_ns,
		.priority = msg->priority,
		.clamp = msg->flags & VRAM_ADMIT_CLAMP,
	};
	struct scheduler_admit_answer out;
	struct log_bound bound;
	int r;

	if (msg->flags & ~VRAM_ADMIT_CLAMP || msg->priority < PRIORITY_MIN ||
	    msg->priority > PRIORITY_MAX) {
		session_fail(session, -EPROTO, "an ADMIT that makes no sense");
		return;
	}
	if (msg->priority < 0 && session->ss.uid != 0 && session->ss.uid != geteuid()) {
		session_refuse(session, hdr, -EPERM, "a priority below 0 is for root");
		return;
	}
	r = scheduler_admit(session->scheduler, &session->ss, &ask, &out);
	switch (r) {
	case 0:
		answer(session, hdr, out.reserved_bytes, 0);
		break;
	case 1:
		session->admit_hdr = *hdr;
		break;
	case -ENOSPC:
	case -EDQUOT:
		bound = (struct log_bound){
			.key = r == -EDQUOT ? "vram.max" : "device.budget",
			.asked = out.asked_bytes,
			.limit = out.limit_bytes,
			.unit = LOG_UNIT_BYTES,
		};
		session_refuse_bound(session, hdr, r, out.text, &bound);
		break;
	case -ETIMEDOUT:
		session_refuse(session, hdr, r,
			       "there is no room now, and it did not want to wait");
		break;
	default:
		session_refuse(session, hdr, r, out.text);
		break;
	}
}

void session_on_admitted(struct scheduler_session *ss, int error, uint64_t reserved_bytes,
			 uint64_t waited_ns)
{
	struct session *session = list_entry(ss, struct session, ss);
	char text[160];

	if (session->ended)
		return;
	if (error == 0) {
		answer(session, &session->admit_hdr, reserved_bytes, waited_ns);
		return;
	}
	snprintf(text, sizeof(text),
		 "%llu MiB of the device were not to be had within the %.1f s given",
		 (unsigned long long)(reserved_bytes >> 20), (double)waited_ns / 1e9);
	session_refuse(session, &session->admit_hdr, error, text);
}
