// SPDX-License-Identifier: GPL-2.0-only
/*
 * Taking over a ledger that an earlier daemon has left.
 *
 * A ledger in the kernel outlives the daemon, and so does what it counted: the clients still map
 * the old daemon's memory, whoever wrote the numbers down. A daemon that began at zero would hand the
 * same memory out a second time. So the new one begins with the old numbers, and they fall one by
 * one, as the memory behind them goes:
 *
 *   - A client whose daemon died says HELLO to the next one with the same session, and exchanges its
 *     memory for the new daemon's. By being adopted its own charges fall back and it leaves all
 *     shares of before (arbiter_session_adopt()).
 *   - A client that ends takes its mappings with it. The kernel lets its charges fall and says so.
 *   - A share of before is memory of the old daemon, kept by the clients that map it. When the last
 *     member has left, nothing of it is there any more: its bytes are uncharged and it is freed.
 *   - A client that does neither (it is stopped, or cannot speak to this daemon) keeps memory that
 *     nobody manages. After the grace time its session is closed, with a warning: it must not keep all
 *     others out for ever. From then on its memory is not counted; that is the price.
 *
 * Until then a charge that is refused is not refused for good: arbiter_takeover_pending() tells the
 * scheduler to wait, and it tries again when something fell.
 *
 * What the module keeps beside charges, limits and devices, is read back by the arbiter itself.
 *
 * Only seam calls (daemon/arbiter.h) and no clock. One thread.
 */
#include "daemon/arbiter_takeover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/size.h"
#include "daemon/log.h"

/* ---- what there is -------------------------------------------------------------- */

struct collect {
	struct arbiter_takeover *t;
	bool failed;
};

static int collect_session(void *ctx, const struct arbiter_group_info *info)
{
	struct collect *c = ctx;
	struct arbiter_takeover *t = c->t;
	uint64_t *grown;

	if (info->group.kind != ARBITER_SESSION)
		return 0;
	grown = reallocarray(t->session, t->n_sessions + 1, sizeof(*grown));
	c->failed = !grown;
	if (!grown)
		return 1;
	t->session = grown;
	grown[t->n_sessions++] = info->group.key;
	return 0;
}

static int collect_shares(struct arbiter_takeover *t)
{
	uint32_t share, from = 0, *grown;
	int r;

	while ((r = arbiter_share_next(t->arbiter, from, &share)) == 0) {
		grown = reallocarray(t->share, t->n_shares + 1, sizeof(*grown));
		if (!grown)
			return err_origin(-ENOMEM);
		t->share = grown;
		grown[t->n_shares++] = share;
		from = share + 1;
	}
	return r == -ENOENT ? 0 : err_trace(r);
}

/* Bytes of one tier that are charged now, by whomever. */
static uint64_t charged(const struct arbiter_takeover *t, uint32_t tier)
{
	const struct arbiter_group root = { .kind = ARBITER_ROOT };
	struct arbiter_usage usage;
	uint64_t bytes = 0;
	uint32_t dev;

	for (dev = 0; dev < t->n_devices; dev++)
		if (arbiter_usage(t->arbiter, &root, dev, tier, &usage) == 0)
			bytes += usage.usage;
	return bytes;
}

static uint64_t in_shares(const struct arbiter_takeover *t, uint32_t tier)
{
	struct arbiter_share_info info;
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < t->n_shares; i++)
		if (arbiter_share_read(t->arbiter, t->share[i], &info) == 0 &&
		    info.dev < t->n_devices)
			bytes += info.bytes[tier];
	return bytes;
}

/* ---- letting go ------------------------------------------------------------------ */

/* The share has no members: nobody maps that memory any more. Return: true if it is gone. */
static bool drop_share(struct arbiter_takeover *t, uint32_t share)
{
	struct arbiter_share_info info;
	uint32_t tier;
	int r;

	r = arbiter_share_read(t->arbiter, share, &info);
	if (r == 0 && info.n_members)
		return false;
	for (tier = 0; tier < ARBITER_N_TIERS && r == 0; tier++)
		if (info.bytes[tier])
			r = arbiter_share_uncharge(t->arbiter, share, tier, info.bytes[tier]);
	if (r == 0)
		r = arbiter_share_free(t->arbiter, share);
	if (r < 0 && r != -ENOENT)
		log_error_limited("share %u of an earlier vramd cannot be freed: %s", share,
				  err_text(r));
	return true;
}

static void drop_shares(struct arbiter_takeover *t)
{
	size_t i, kept = 0;

	for (i = 0; i < t->n_shares; i++)
		if (!drop_share(t, t->share[i]))
			t->share[kept++] = t->share[i];
	t->n_shares = kept;
}

static void finish(struct arbiter_takeover *t)
{
	free(t->session);
	free(t->share);
	*t = (struct arbiter_takeover){ 0 };
}

void arbiter_takeover_deinit(struct arbiter_takeover *t)
{
	finish(t);
}

/* Nothing of before is charged any more, or nobody is left who could be waited for. */
static bool is_done(const struct arbiter_takeover *t)
{
	return !t->n_sessions || (!t->n_shares && !t->has_own);
}

bool arbiter_takeover_session(struct arbiter_takeover *t, uint64_t session)
{
	size_t i;

	for (i = 0; i < t->n_sessions && t->session[i] != session; i++)
		;
	if (i == t->n_sessions)
		return false;
	t->session[i] = t->session[--t->n_sessions];
	drop_shares(t);
	if (is_done(t)) {
		log_info("nothing is charged any more that an earlier vramd had left");
		finish(t);
	}
	return true;
}

static uint64_t held_by(const struct arbiter_takeover *t, uint64_t session)
{
	const struct arbiter_group group = { .kind = ARBITER_SESSION, .key = session };
	struct arbiter_usage usage;
	uint32_t dev, tier;
	uint64_t bytes = 0;

	for (dev = 0; dev < t->n_devices; dev++)
		for (tier = 0; tier < ARBITER_N_TIERS; tier++)
			if (arbiter_usage(t->arbiter, &group, dev, tier, &usage) == 0)
				bytes += usage.usage;
	return bytes;
}

bool arbiter_takeover_poll(struct arbiter_takeover *t, uint64_t now_ns)
{
	char text[SIZE_TEXT_MAX];
	uint64_t bytes, total = 0;
	size_t i, n = 0;

	if (!t->deadline_ns || now_ns < t->deadline_ns)
		return false;
	/* All of them first: what one leaves of a share falls to the others. */
	for (i = 0; i < t->n_sessions; i++) {
		bytes = held_by(t, t->session[i]);
		n += bytes > 0;
		total += bytes;
	}
	/* Later they may still come, and are adopted as if they were new. */
	for (i = 0; i < t->n_sessions; i++)
		arbiter_session_close(t->arbiter, t->session[i], now_ns);
	if (n)
		log_warn(
			"%zu clients of an earlier vramd have not come back (arbiter.grace): the %s "
			"that they may still hold are not counted any more",
			n, size_format(text, total));
	drop_shares(t);
	finish(t);
	return true;
}

int arbiter_takeover_begin(struct arbiter_takeover *t, struct arbiter *a, uint32_t n_devices,
			   uint64_t now_ns, uint64_t grace_ns)
{
	struct collect c = { .t = t };
	char text[ARBITER_N_TIERS][SIZE_TEXT_MAX];
	uint64_t bytes;
	uint32_t tier;
	int r;

	*t = (struct arbiter_takeover){ .arbiter = a, .n_devices = n_devices };
	r = arbiter_for_each(a, collect_session, &c);
	if (c.failed)
		r = err_origin(-ENOMEM);
	if (r == 0)
		r = collect_shares(t);
	if (r < 0) {
		finish(t);
		return err_trace(r);
	}
	for (tier = 0; tier < ARBITER_N_TIERS; tier++) {
		bytes = charged(t, tier);
		t->has_own |= bytes != in_shares(t, tier);
		size_format(text[tier], bytes);
	}
	log_info(
		"%s: arbiter number %llu; found %zu sessions and %zu shares, charged %s of vram, %s of "
		"host, %s of disk",
		ARBITER_KMOD_PATH, (unsigned long long)a->generation, t->n_sessions, t->n_shares,
		text[ARBITER_VRAM], text[ARBITER_HOST], text[ARBITER_DISK]);
	drop_shares(t);
	if (is_done(t))
		finish(t);
	else
		t->deadline_ns = now_ns + grace_ns;
	return 0;
}
