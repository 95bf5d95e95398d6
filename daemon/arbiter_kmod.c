// SPDX-License-Identifier: GPL-2.0-only
/*
 * The arbiter behind /dev/vram: one ioctl a call.
 *
 * The descriptor that attached is the right to charge; it is taken while the process still has
 * CAP_SYS_ADMIN and used without it. The module has the numbers, this side has what the module does
 * not know: which groups are above a session (asked in loops, so the chain that ADOPT returned is
 * kept), on which device a share is, and the limits that follow from other limits
 * (arbiter_kmod_limit.c).
 *
 * Devices are counted from 0 in the order in which they are added here. The module keeps devices by
 * name for as long as it is loaded and may know more of them, so its numbers are others.
 *
 * A session's id is the module's. It ends when the client's last reference goes: the module then
 * lets every charge fall back and says so by an event. Until the event was read calls for it get
 * -ENOENT, which every caller has to expect.
 *
 * The contract with the module is the comment at the top of kmod/uapi/vram.h. Ownership: descriptors,
 * records of sessions, tables of limits. One thread.
 */
#include "daemon/arbiter_kmod.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"

_Static_assert(ARBITER_MAX_DEVICES == VRAM_MAX_DEVICES, "same numbers on both sides");
_Static_assert((int)ARBITER_N_TIERS == (int)VRAM_N_TIERS, "same tiers");
_Static_assert((int)ARBITER_N_KEYS == (int)VRAM_N_LIMITS, "same keys");
_Static_assert((int)ARBITER_SESSION == (int)VRAM_KIND_SESSION, "same kinds");
_Static_assert(ARBITER_UNLIMITED == VRAM_UNLIMITED, "same idea of no limit");
_Static_assert(ARBITER_CAPACITY_SHARED == VRAM_CAPACITY_SHARED, "same mark of a shared tier");

/* Events taken from the module with one read. */
#define EVENT_BATCH 32

/* ---- devices ------------------------------------------------------------------ */

static int device_write(struct kmod *k, struct kmod_device *d)
{
	struct vram_ioc_device io = { 0 };
	int r;

	memcpy(io.capacity, d->capacity, sizeof(io.capacity));
	memcpy(io.name, d->name, sizeof(io.name));
	_Static_assert(sizeof(io.name) == sizeof(d->name), "same length of names");
	r = kmod_ioctl(k, VRAM_IOC_DEVICE, &io);
	if (r == 0)
		d->dev = io.dev;
	return r;
}

static int kmod_device_add(struct arbiter *a, const char *name,
			   const uint64_t capacity[ARBITER_N_TIERS], uint64_t now_ns,
			   uint32_t *out_dev)
{
	struct kmod_device d = { 0 };
	struct kmod *k = kmod_of(a);
	uint32_t i;
	int r;

	(void)now_ns;
	if (k->n_devices == ARBITER_MAX_DEVICES)
		return -ENOSPC;
	if (!*name || strlen(name) >= sizeof(d.name))
		return -EINVAL;
	for (i = 0; i < k->n_devices; i++)
		if (!strcmp(k->device[i].name, name))
			return -EEXIST;
	memcpy(d.name, name, strlen(name));
	memcpy(d.capacity, capacity, sizeof(d.capacity));
	for (i = 0; i < ARBITER_N_TIERS; i++)
		d.home[i] = capacity[i] == ARBITER_CAPACITY_SHARED ? 0 : k->n_devices;
	r = device_write(k, &d);
	if (r < 0)
		return r;
	k->device[k->n_devices] = d;
	k->n_devices++;
	r = kmod_limits_device(k, k->n_devices - 1);
	if (r < 0) {
		k->n_devices--;
		return r;
	}
	*out_dev = k->n_devices - 1;
	a->number[*out_dev] = d.dev;
	return 0;
}

static int kmod_device_resize(struct arbiter *a, uint32_t dev, uint32_t tier, uint64_t capacity)
{
	struct kmod *k = kmod_of(a);
	struct kmod_device d;
	int r;

	if (dev >= k->n_devices)
		return -ENOENT;
	if (tier >= ARBITER_N_TIERS)
		return -EINVAL;
	dev = k->device[dev].home[tier];
	d = k->device[dev];
	d.capacity[tier] = capacity;
	r = device_write(k, &d);
	if (r == 0)
		k->device[dev] = d;
	return r;
}

/* ---- sessions ----------------------------------------------------------------- */

struct kmod_session *kmod_session_find(const struct kmod *k, uint64_t id)
{
	struct kmod_session *s = k->bucket[id % KMOD_BUCKETS];

	while (s && s->id != id)
		s = s->next;
	return s;
}

static void session_forget(struct kmod *k, uint64_t id)
{
	struct kmod_session **at = &k->bucket[id % KMOD_BUCKETS], *s;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	s = *at;
	if (!s)
		return;
	*at = s->next;
	free(s);
}

/* Nobody has adopted it, from now on: what it has falls back. */
static int session_drop(const struct kmod *k, uint64_t session)
{
	struct vram_ioc_state io = { .op = VRAM_SESSION_DROP, .session = session };

	return kmod_ioctl(k, VRAM_IOC_STATE, &io);
}

static int table_map(struct kmod *k, const struct vram_ioc_adopt *io, struct arbiter_adopted *out)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t bytes = ((size_t)io->n_slots * VRAM_SLOT_BYTES + page - 1) / page * page;
	void *table;

	if (!bytes)
		return -ENXIO;
	table = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, k->fd, (off_t)io->map_offset);
	if (table == MAP_FAILED)
		return -errno;
	out->table = table;
	out->table_bytes = bytes;
	return 0;
}

static int kmod_session_adopt(struct arbiter *a, int fd, struct arbiter_adopted *out)
{
	struct vram_ioc_adopt io = { .flags = VRAM_ADOPT_RESET, .fd = fd };
	struct kmod *k = kmod_of(a);
	struct arbiter_adopted adopted;
	struct kmod_session *s;
	uint32_t i;
	int r;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	r = kmod_ioctl(k, VRAM_IOC_ADOPT, &io);
	if (r < 0)
		goto err_free;
	adopted = (struct arbiter_adopted){
		.session = io.session,
		.pid = io.pid,
		.uid = io.uid,
		.gid = io.gid,
		.n_slots = io.n_slots,
	};
	memcpy(adopted.comm, io.comm, sizeof(adopted.comm));
	adopted.comm[sizeof(adopted.comm) - 1] = '\0';
	r = table_map(k, &io, &adopted);
	if (r < 0)
		goto err_drop;
	/* Before anything can be charged to it. */
	r = kmod_limits_user(k, io.uid);
	if (r < 0)
		goto err_map;
	s->id = io.session;
	s->n_groups = io.n_groups < VRAM_MAX_CHAIN ? io.n_groups : VRAM_MAX_CHAIN;
	for (i = 0; i < s->n_groups; i++)
		s->group[i] = kmod_group(&io.group[i]);
	s->next = k->bucket[s->id % KMOD_BUCKETS];
	k->bucket[s->id % KMOD_BUCKETS] = s;
	*out = adopted;
	return 0;

err_map:
	munmap(adopted.table, adopted.table_bytes);
err_drop:
	session_drop(k, io.session);
err_free:
	free(s);
	return r;
}

/* The client may live on, and come again with the same session. */
static int kmod_session_close(struct arbiter *a, uint64_t session, uint64_t now_ns)
{
	struct kmod *k = kmod_of(a);
	bool known = kmod_session_find(k, session);
	int r;

	(void)now_ns;
	kmod_limits_forget(k, session);
	session_forget(k, session);
	r = session_drop(k, session);
	/* It has ended, as its event will say or has said. */
	return r == -ENOENT && known ? 0 : r;
}

static int kmod_is_member(struct arbiter *a, uint64_t session, const struct arbiter_group *group)
{
	const struct kmod_session *s = kmod_session_find(kmod_of(a), session);
	uint32_t i;

	if (!s)
		return -ENOENT;
	if (group->kind == ARBITER_ROOT)
		return 1;
	if (group->kind == ARBITER_SESSION)
		return group->key == session;
	for (i = 0; i < s->n_groups; i++)
		if (s->group[i].kind == group->kind && s->group[i].key == group->key)
			return 1;
	return 0;
}

static int kmod_wake(struct arbiter *a, uint64_t session, uint32_t slot)
{
	struct vram_ioc_wake io = { .slot = slot, .session = session };

	return kmod_ioctl(kmod_of(a), VRAM_IOC_WAKE, &io);
}

/* ---- events ------------------------------------------------------------------- */

static int kmod_event_fd(struct arbiter *a)
{
	return kmod_of(a)->fd;
}

static int event_handle(struct kmod *k, const struct vram_arbiter_event *in, arbiter_event_fn fn,
			void *ctx)
{
	struct arbiter_event event = {
		.session = in->session,
		.generation = in->generation,
		.pid = in->pid,
		.uid = in->uid,
	};
	int r = 0;

	memcpy(event.bytes, in->bytes, sizeof(event.bytes));
	switch (in->type) {
	case VRAM_ARBITER_EVENT_GONE:
		event.type = ARBITER_EVENT_GONE;
		break;
	case VRAM_ARBITER_EVENT_LIMITS:
		event.type = ARBITER_EVENT_LIMITS;
		r = kmod_limits_reload(k);
		break;
	default: /* of a later version */
		return 0;
	}
	fn(ctx, &event);
	return r;
}

static int kmod_read_events(struct arbiter *a, arbiter_event_fn fn, void *ctx)
{
	struct vram_arbiter_event events[EVENT_BATCH];
	struct kmod *k = kmod_of(a);
	ssize_t n;
	size_t i;
	int r, failed = 0;

	for (;;) {
		n = read(k->fd, events, sizeof(events));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? failed : -errno;
		if (n == 0)
			return failed;
		for (i = 0; i < (size_t)n / sizeof(events[0]); i++) {
			r = event_handle(k, &events[i], fn, ctx);
			if (r < 0)
				failed = r;
		}
	}
}

/* ---- making and freeing ------------------------------------------------------- */

static void kmod_free(struct arbiter *a)
{
	struct kmod *k = kmod_of(a);
	struct kmod_session *s;
	uint32_t i;

	for (i = 0; i < KMOD_MAX_TRIGGERS; i++)
		if (k->trigger[i])
			close(k->trigger[i] - 1);
	for (i = 0; i < KMOD_BUCKETS; i++) {
		while (k->bucket[i]) {
			s = k->bucket[i];
			k->bucket[i] = s->next;
			free(s);
		}
	}
	kmod_limits_deinit(k);
	free(k->share_dev);
	close(k->fd);
	free(k);
}

static const struct arbiter_ops kmod_ops = {
	.name = "kmod",
	.counts_waits = true,
	.free = kmod_free,
	.device_add = kmod_device_add,
	.device_resize = kmod_device_resize,
	.session_adopt = kmod_session_adopt,
	.session_close = kmod_session_close,
	.charge = kmod_charge,
	.uncharge = kmod_uncharge,
	.transfer = kmod_transfer,
	.give = kmod_give,
	.share_new = kmod_share_new,
	.share_free = kmod_share_free,
	.share_join = kmod_share_join,
	.share_leave = kmod_share_leave,
	.share_charge = kmod_share_charge,
	.share_uncharge = kmod_share_uncharge,
	.share_transfer = kmod_share_transfer,
	.share_read = kmod_share_read,
	.share_next = kmod_share_next,
	.limit_set = kmod_limit_set,
	.limit_clear = kmod_limit_clear,
	.limit_get = kmod_limit_get,
	.usage = kmod_usage,
	.over = kmod_over,
	.protection = kmod_protection,
	.is_member = kmod_is_member,
	.find = kmod_find,
	.group_name = kmod_group_name,
	.for_each = kmod_for_each,
	.run = kmod_run,
	.idle = kmod_idle,
	.stall_begin = kmod_stall_begin,
	.stall_end = kmod_stall_end,
	.pressure_group = kmod_pressure_group,
	.pressure_device = kmod_pressure_device,
	.trigger_add = kmod_trigger_add,
	.trigger_del = kmod_trigger_del,
	.poll = kmod_poll,
	.wake = kmod_wake,
	.event_fd = kmod_event_fd,
	.read_events = kmod_read_events,
};

int arbiter_kmod_new(uint32_t grace_ms, struct arbiter **out_arbiter, pid_t *out_holder)
{
	struct vram_ioc_attach attach = { .grace_ms = grace_ms };
	struct vram_ioc_info info = { 0 };
	_cleanup_close_ int fd = -1;
	struct kmod *k;

	fd = open(ARBITER_KMOD_PATH, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, VRAM_IOC_INFO, &info) < 0)
		return errno == ENOTTY ? -EPROTO : -errno;
	if (info.version != VRAM_ABI_VERSION)
		return -EPROTO;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	if (ioctl(fd, VRAM_IOC_ATTACH, &attach) < 0) {
		int r = -errno;

		free(k);
		*out_holder = info.arbiter_pid;
		return r;
	}
	k->base.ops = &kmod_ops;
	k->base.generation = attach.generation;
	k->fd = steal_fd(&fd);
	list_init(&k->limits);
	*out_arbiter = &k->base;
	return 0;
}
