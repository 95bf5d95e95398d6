// SPDX-License-Identifier: GPL-2.0-only
/* The kernel module's arbiter: charges and shares. */
#include "daemon/arbiter_kmod.h"

#include <stdlib.h>
#include <string.h>

/* The group that refused, from an answer that names one. Return: @r. */
static int answer(int r, uint32_t kind, uint64_t key, struct arbiter_group *out_limit)
{
	if ((r == -EDQUOT || r == -ENOSPC) && out_limit)
		*out_limit = (struct arbiter_group){ .kind = kind, .key = key };
	return r;
}

static int charge(struct arbiter *a, struct vram_ioc_charge *io, struct arbiter_group *out_limit)
{
	int r = kmod_ioctl(kmod_of(a), VRAM_IOC_CHARGE, io);

	return answer(r, io->limit_kind, io->limit_key, out_limit);
}

/* ---- bytes of one session ------------------------------------------------------ */

static int own(struct arbiter *a, struct vram_ioc_charge *io, uint32_t dev,
	       struct arbiter_group *out_limit)
{
	struct kmod *k = kmod_of(a);

	if (dev >= k->n_devices)
		return -ENOENT;
	io->dev = k->device[dev].dev;
	io->share = VRAM_NO_SHARE;
	return charge(a, io, out_limit);
}

int kmod_charge(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier, uint64_t bytes,
		struct arbiter_group *out_limit)
{
	struct vram_ioc_charge io = {
		.op = VRAM_CHARGE, .session = session, .to = tier, .bytes = bytes
	};

	return own(a, &io, dev, out_limit);
}

int kmod_uncharge(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier, uint64_t bytes)
{
	struct vram_ioc_charge io = {
		.op = VRAM_UNCHARGE, .session = session, .from = tier, .bytes = bytes
	};

	return own(a, &io, dev, NULL);
}

int kmod_transfer(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t from, uint32_t to,
		  uint64_t bytes, struct arbiter_group *out_limit)
{
	struct vram_ioc_charge io = {
		.op = VRAM_TRANSFER, .session = session, .from = from, .to = to, .bytes = bytes
	};

	return own(a, &io, dev, out_limit);
}

int kmod_give(struct arbiter *a, uint64_t from_session, uint64_t to_session, uint32_t dev,
	      uint32_t tier, uint64_t bytes, struct arbiter_group *out_limit)
{
	struct vram_ioc_charge io = {
		.op = VRAM_GIVE,
		.session = from_session,
		.other = to_session,
		.from = tier,
		.bytes = bytes,
	};

	return own(a, &io, dev, out_limit);
}

/* ---- shares -------------------------------------------------------------------- */

/* Remember on which device the share is; NO_DEVICE: there is none of this id. */
static int share_note(struct kmod *k, uint32_t share, uint8_t dev)
{
	uint32_t n = k->n_share_dev ? k->n_share_dev : 64;
	uint8_t *grown;

	if (share >= k->n_share_dev) {
		while (n <= share)
			n *= 2;
		grown = realloc(k->share_dev, n);
		if (!grown)
			return -ENOMEM;
		memset(grown + k->n_share_dev, KMOD_NO_DEVICE, n - k->n_share_dev);
		k->share_dev = grown;
		k->n_share_dev = n;
	}
	k->share_dev[share] = dev;
	return 0;
}

int kmod_share_new(struct arbiter *a, uint32_t dev, uint32_t *out_share)
{
	struct vram_ioc_share io = { .op = VRAM_SHARE_NEW };
	struct kmod *k = kmod_of(a);
	int r;

	if (dev >= k->n_devices)
		return -ENOENT;
	io.dev = k->device[dev].dev;
	r = kmod_ioctl(k, VRAM_IOC_SHARE, &io);
	if (r < 0)
		return r;
	r = share_note(k, io.share, (uint8_t)k->device[dev].dev);
	if (r < 0) {
		struct vram_ioc_share undo = { .op = VRAM_SHARE_FREE, .share = io.share };

		kmod_ioctl(k, VRAM_IOC_SHARE, &undo);
		return r;
	}
	*out_share = io.share;
	return 0;
}

int kmod_share_free(struct arbiter *a, uint32_t share)
{
	struct vram_ioc_share io = { .op = VRAM_SHARE_FREE, .share = share };
	struct kmod *k = kmod_of(a);
	int r = kmod_ioctl(k, VRAM_IOC_SHARE, &io);

	if (r == 0 && share < k->n_share_dev)
		k->share_dev[share] = KMOD_NO_DEVICE;
	return r;
}

int kmod_share_join(struct arbiter *a, uint32_t share, uint64_t session, bool force,
		    struct arbiter_group *out_limit)
{
	struct vram_ioc_share io = {
		.flags = force ? VRAM_SHARE_FORCE : 0,
		.op = VRAM_SHARE_JOIN,
		.share = share,
		.session = session,
	};
	int r = kmod_ioctl(kmod_of(a), VRAM_IOC_SHARE, &io);

	return answer(r, io.limit_kind, io.limit_key, out_limit);
}

int kmod_share_leave(struct arbiter *a, uint32_t share, uint64_t session)
{
	struct vram_ioc_share io = { .op = VRAM_SHARE_LEAVE, .share = share, .session = session };

	return kmod_ioctl(kmod_of(a), VRAM_IOC_SHARE, &io);
}

/* With a share a session is named for the trace points only, and only one that exists. */
static uint64_t session_for_trace(const struct kmod *k, uint64_t session)
{
	return session && kmod_session_find(k, session) ? session : 0;
}

static int of_share(struct arbiter *a, struct vram_ioc_charge *io, uint32_t share,
		    const struct arbiter_hint *hint, struct arbiter_group *out_limit)
{
	struct kmod *k = kmod_of(a);
	int r;

	if (share >= k->n_share_dev || k->share_dev[share] == KMOD_NO_DEVICE)
		return -ENOENT;
	io->share = share;
	io->dev = k->share_dev[share];
	if (hint) {
		io->session = session_for_trace(k, hint->session);
		if (hint->flags & ARBITER_HINT_EVICT) {
			io->flags |= VRAM_CHARGE_EVICT;
			io->other = session_for_trace(k, hint->other);
		}
		if (hint->flags & ARBITER_HINT_RESTORE)
			io->flags |= VRAM_CHARGE_RESTORE;
	}
	r = charge(a, io, out_limit);
	/* One of the two has just ended, and its event is still to be read. */
	if (r == -ENOENT && (io->session || io->other)) {
		io->session = 0;
		io->other = 0;
		r = charge(a, io, out_limit);
	}
	return r;
}

int kmod_share_charge(struct arbiter *a, uint32_t share, uint32_t tier, uint64_t bytes,
		      const struct arbiter_hint *hint, struct arbiter_group *out_limit)
{
	struct vram_ioc_charge io = { .op = VRAM_CHARGE, .to = tier, .bytes = bytes };

	return of_share(a, &io, share, hint, out_limit);
}

int kmod_share_uncharge(struct arbiter *a, uint32_t share, uint32_t tier, uint64_t bytes,
			const struct arbiter_hint *hint)
{
	struct vram_ioc_charge io = { .op = VRAM_UNCHARGE, .from = tier, .bytes = bytes };

	return of_share(a, &io, share, hint, NULL);
}

int kmod_share_transfer(struct arbiter *a, uint32_t share, uint32_t from, uint32_t to,
			uint64_t bytes, struct arbiter_group *out_limit)
{
	struct vram_ioc_charge io = { .op = VRAM_TRANSFER, .from = from, .to = to, .bytes = bytes };

	return of_share(a, &io, share, NULL, out_limit);
}

static uint32_t device_here(const struct kmod *k, uint32_t dev)
{
	uint32_t i;

	for (i = 0; i < k->n_devices; i++)
		if (k->device[i].dev == dev)
			return i;
	return UINT32_MAX;
}

int kmod_share_read(struct arbiter *a, uint32_t share, struct arbiter_share_info *out_info)
{
	struct vram_ioc_share io = { .op = VRAM_SHARE_READ, .share = share };
	struct kmod *k = kmod_of(a);
	int r = kmod_ioctl(k, VRAM_IOC_SHARE, &io);

	if (r < 0)
		return r;
	out_info->dev = device_here(k, io.dev);
	out_info->n_members = io.n_members;
	memcpy(out_info->bytes, io.bytes, sizeof(out_info->bytes));
	return 0;
}

int kmod_share_next(struct arbiter *a, uint32_t from, uint32_t *out_share)
{
	struct vram_ioc_share io = { .op = VRAM_SHARE_NEXT, .share = from };
	struct kmod *k = kmod_of(a);
	int r = kmod_ioctl(k, VRAM_IOC_SHARE, &io);

	/* It may be one that an earlier arbiter made. */
	if (r == 0)
		r = share_note(k, io.share, (uint8_t)io.dev);
	if (r == 0)
		*out_share = io.share;
	return r;
}
