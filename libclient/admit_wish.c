// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "libclient/admit_wish.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/size.h"
#include "libclient/internal.h"

static bool number(const char *text, int64_t *out)
{
	char *end;

	if (!text || !*text)
		return false;
	errno = 0;
	*out = strtoll(text, &end, 10);
	return !errno && !*end;
}

void admit_wish_read(struct admit_wish *wish, const char *wait, const char *priority,
		     const char *working_set)
{
	int64_t n;

	*wish = (struct admit_wish){ .timeout_ns = VRAM_TIMEOUT_DEFAULT };
	if (!wait || !*wait)
		return;
	wish->wanted = true;
	if (strcmp(wait, "forever") == 0) {
		wish->timeout_ns = -1;
	} else if (number(wait, &n) && n >= 0) {
		wish->timeout_ns = n;
		snprintf(wish->timeout_text, sizeof(wish->timeout_text), "%.1f s", (double)n / 1e9);
	}
	if (number(priority, &n) && n >= -20 && n <= 19)
		wish->priority = (int)n;
	if (number(working_set, &n) && n >= 0) {
		wish->has_bytes = true;
		wish->bytes = (uint64_t)n;
	}
}

int admit_wish_ask(const struct admit_wish *wish, struct vram_client *client, uint64_t bytes,
		   const char *name, admit_say_fn *say)
{
	const struct vram_admission want = {
		.working_set_bytes = wish->has_bytes ? wish->bytes : bytes,
		.priority = wish->priority,
		.flags = wish->has_bytes ? 0 : VRAM_ADMISSION_CLAMP,
	};
	char size[SIZE_TEXT_MAX];
	int r;

	r = client_admit(client, &want, 0, NULL);
	if (r == -EAGAIN && wish->timeout_ns != 0) {
		say("%s waits to be admitted with %s%s%s", name,
		    size_format(size, want.working_set_bytes), *wish->timeout_text ? ", for " : "",
		    wish->timeout_text);
		r = client_admit(client, &want, wish->timeout_ns, NULL);
		if (r == 0)
			say("%s is admitted", name);
	}
	if (r < 0)
		say("%s is not admitted: %s", name, vram_error_text());
	return r;
}
