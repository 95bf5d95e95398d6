// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel module's pressure: who works, readings, triggers. Times are the module's own.
 *
 * A descriptor has one trigger, so each takes an open of its own. Such a descriptor is an ordinary session:
 * without CAP_SYS_ADMIN, that is once the daemon has dropped its privileges, it may watch devices,
 * the root and what is above the daemon itself.
 */
#include "daemon/arbiter_kmod.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* How often triggers are looked at by who does not poll their descriptors. */
#define POLL_NS 50000000ull

static int state(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t op)
{
	struct vram_ioc_state io = { .op = op, .session = session };
	const struct kmod *k = kmod_of(a);

	if (dev >= k->n_devices)
		return -ENOENT;
	io.dev = k->device[dev].dev;
	return kmod_ioctl(k, VRAM_IOC_STATE, &io);
}

int kmod_run(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	(void)now_ns;
	return state(a, session, dev, VRAM_SESSION_RUN);
}

int kmod_idle(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	(void)now_ns;
	return state(a, session, dev, VRAM_SESSION_IDLE);
}

int kmod_stall_begin(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	(void)now_ns;
	return state(a, session, dev, VRAM_SESSION_STALL);
}

int kmod_stall_end(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns)
{
	(void)now_ns;
	return state(a, session, dev, VRAM_SESSION_UNSTALL);
}

static int read_pressure(const struct kmod *k, struct vram_ioc_pressure *io,
			 struct arbiter_pressure *out)
{
	int r = kmod_ioctl(k, VRAM_IOC_PRESSURE, io);

	if (r < 0)
		return r;
	_Static_assert(sizeof(out->avg_centi) == sizeof(io->avg_centi), "same averages");
	memcpy(out->total_us, io->total_us, sizeof(out->total_us));
	memcpy(out->avg_centi, io->avg_centi, sizeof(out->avg_centi));
	return 0;
}

int kmod_pressure_group(struct arbiter *a, const struct arbiter_group *group, uint64_t now_ns,
			struct arbiter_pressure *out)
{
	struct vram_ioc_pressure io = { .group = kmod_ref(group) };

	(void)now_ns;
	return read_pressure(kmod_of(a), &io, out);
}

int kmod_pressure_device(struct arbiter *a, uint32_t dev, uint64_t now_ns,
			 struct arbiter_pressure *out)
{
	struct vram_ioc_pressure io = { .flags = VRAM_PRESSURE_DEVICE };
	const struct kmod *k = kmod_of(a);

	(void)now_ns;
	if (dev >= k->n_devices)
		return -ENOENT;
	io.dev = k->device[dev].dev;
	return read_pressure(k, &io, out);
}

int kmod_trigger_add(struct arbiter *a, const struct arbiter_group *group, uint32_t dev, bool full,
		     uint64_t threshold_us, uint64_t window_us, uint64_t now_ns,
		     uint32_t *out_trigger)
{
	struct vram_ioc_trigger io = {
		.flags = full ? VRAM_PRESSURE_FULL : 0,
		.threshold_us = threshold_us,
		.window_us = window_us,
	};
	struct kmod *k = kmod_of(a);
	uint32_t id;
	int fd, r;

	(void)now_ns;
	if (group) {
		io.group = kmod_ref(group);
	} else {
		if (dev >= k->n_devices)
			return -ENOENT;
		io.flags |= VRAM_PRESSURE_DEVICE;
		io.dev = k->device[dev].dev;
	}
	for (id = 0; id < KMOD_MAX_TRIGGERS && k->trigger[id]; id++)
		;
	if (id == KMOD_MAX_TRIGGERS)
		return -ENOSPC;
	fd = open(ARBITER_KMOD_PATH, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, VRAM_IOC_TRIGGER, &io) < 0) {
		r = -errno;
		close(fd);
		return r == -ERANGE ? -EINVAL : r;
	}
	k->trigger[id] = fd + 1;
	*out_trigger = id;
	return 0;
}

int kmod_trigger_del(struct arbiter *a, uint32_t trigger)
{
	struct kmod *k = kmod_of(a);

	if (trigger >= KMOD_MAX_TRIGGERS || !k->trigger[trigger])
		return -ENOENT;
	close(k->trigger[trigger] - 1);
	k->trigger[trigger] = 0;
	return 0;
}

uint64_t kmod_poll(struct arbiter *a, uint64_t now_ns, arbiter_trigger_fn fn, void *ctx)
{
	const struct kmod *k = kmod_of(a);
	bool any = false;
	uint32_t i;

	for (i = 0; i < KMOD_MAX_TRIGGERS; i++) {
		struct pollfd p = { .fd = k->trigger[i] - 1, .events = POLLPRI };

		if (!k->trigger[i])
			continue;
		any = true;
		if (poll(&p, 1, 0) == 1 && p.revents & POLLPRI)
			fn(ctx, i);
	}
	return any ? now_ns + POLL_NS : UINT64_MAX;
}
