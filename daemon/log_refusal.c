// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/log_refusal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/err.h"
#include "common/size.h"

/* Users with a budget of their own at a time. Beyond it the one who was refused longest ago is forgotten. */
#define N_BUDGETS 32u

static struct user_budget {
	struct log_limit
		limits[3]; /* of warnings, of what is less, and of what was done for the user */
	uint64_t used_ns;  /* 0: free */
	uid_t uid;
} budgets[N_BUDGETS];

static struct user_budget *budget_of(uid_t uid)
{
	struct user_budget *budget = &budgets[0];
	struct timespec ts;

	for (unsigned int i = 0; i < N_BUDGETS; i++) {
		if (budgets[i].used_ns && budgets[i].uid == uid) {
			budget = &budgets[i];
			break;
		}
		if (budgets[i].used_ns < budget->used_ns)
			budget = &budgets[i];
	}
	if (!budget->used_ns || budget->uid != uid)
		*budget = (struct user_budget){ .uid = uid };
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	budget->used_ns = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec + 1;
	return budget;
}

static const char *amount(char *text, size_t size, uint64_t n, enum log_unit unit, bool exact)
{
	char bytes[SIZE_TEXT_MAX];

	switch (unit) {
	case LOG_UNIT_BYTES:
		snprintf(text, size, "%s",
			 exact ? size_format_exact(bytes, n) : size_format(bytes, n));
		break;
	case LOG_UNIT_NS:
		snprintf(text, size, "%.1f s", (double)n / 1e9);
		break;
	default:
		snprintf(text, size, "%" PRIu64, n);
	}
	return text;
}

const char *log_bound_text(const struct log_bound *bound, char text[LOG_BOUND_TEXT_MAX])
{
	char asked[40], limit[40];
	bool exact = false;

	text[0] = '\0';
	if (!bound)
		return text;
	/* Not "asked for 4T, the limit is 4T" for a byte more. */
	do {
		amount(asked, sizeof(asked), bound->asked, bound->unit, exact);
		amount(limit, sizeof(limit), bound->limit, bound->unit, exact);
		exact = !exact;
	} while (exact && bound->unit == LOG_UNIT_BYTES && !strcmp(asked, limit));
	snprintf(text, LOG_BOUND_TEXT_MAX, ": asked for %s, the limit is %s", asked, limit);
	return text;
}

/* Return: how many there are. */
static size_t fields_fill(struct log_field *fields, const struct log_refusal *refusal,
			  const char *subject)
{
	const struct log_bound *bound = refusal->bound;
	size_t n = 0;

	fields[n++] = LOG_TEXT("MESSAGE_ID", refusal->id);
	fields[n++] = LOG_TEXT("VRAM_SUBJECT", subject);
	fields[n++] = LOG_NUMBER("VRAM_UID", refusal->uid);
	fields[n++] = LOG_NUMBER("VRAM_PID", (uint64_t)refusal->pid);
	if (refusal->session)
		fields[n++] = LOG_NUMBER("VRAM_SESSION", refusal->session);
	if (refusal->name)
		fields[n++] = LOG_TEXT("VRAM_NAME", refusal->name);
	if (bound) {
		fields[n++] = LOG_NUMBER("VRAM_ASKED", bound->asked);
		fields[n++] = LOG_NUMBER("VRAM_LIMIT", bound->limit);
	} else if (refusal->asked) {
		fields[n++] = LOG_TEXT("VRAM_ASKED", refusal->asked);
	}
	if (bound && bound->key)
		fields[n++] = LOG_TEXT("VRAM_KEY", bound->key);
	if (refusal->error)
		fields[n++] = LOG_TEXT("VRAM_ERRNO", err_name(refusal->error));
	return n;
}

void log_refusal(enum log_level level, const char *verb, const struct log_refusal *refusal)
{
	char who[192], subject[32], bound[LOG_BOUND_TEXT_MAX], error[24] = "";
	struct log_field fields[LOG_FIELDS_MAX];
	size_t n;

	if (!refusal->subject)
		snprintf(subject, sizeof(subject), "user:%u", refusal->uid);
	if (refusal->session)
		snprintf(who, sizeof(who), "session %" PRIu64 " (%.80s, pid %d, user %u)",
			 refusal->session, refusal->name ? refusal->name : "?", (int)refusal->pid,
			 refusal->uid);
	else
		snprintf(who, sizeof(who), "client of user %u, pid %d", refusal->uid,
			 (int)refusal->pid);
	if (refusal->error)
		snprintf(error, sizeof(error), " (%s)", err_name(refusal->error));
	n = fields_fill(fields, refusal, refusal->subject ? refusal->subject : subject);
	log_event_limited(&budget_of(refusal->uid)->limits[level > LOG_LEVEL_WARN], level, fields,
			  n, "%s%s %s: %s%s%s%s%s", who, refusal->session ? ":" : ",", verb,
			  refusal->reason, refusal->asked ? ": asked for " : "",
			  refusal->asked ? refusal->asked : "",
			  log_bound_text(refusal->bound, bound), error);
}

void log_done(uid_t by, const struct log_field *fields, size_t n, const char *text)
{
	/* All that an administrator does; who pauses and resumes without end fills no journal. */
	if (by == 0 || by == geteuid())
		log_event(LOG_LEVEL_INFO, fields, n, "%s", text);
	else
		log_event_limited(&budget_of(by)->limits[2], LOG_LEVEL_INFO, fields, n, "%s", text);
}

void log_control(const char *subject, const char *asked, uid_t by, const char *format, ...)
{
	const struct log_field fields[] = {
		LOG_ID(CONTROL),
		LOG_TEXT("VRAM_SUBJECT", subject),
		LOG_TEXT("VRAM_ASKED", asked),
		LOG_NUMBER("VRAM_UID", by),
	};
	char text[LOG_LINE_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_done(by, fields, sizeof(fields) / sizeof(fields[0]), text);
}
