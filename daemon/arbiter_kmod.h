/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the kernel module's arbiter share; nobody else includes it. The model is told at
 * the top of arbiter_kmod.c.
 */
#ifndef VRAM_DAEMON_ARBITER_KMOD_H
#define VRAM_DAEMON_ARBITER_KMOD_H

#include <errno.h>
#include <sys/ioctl.h>

#include "common/list.h"
#include "daemon/arbiter.h"
#include "daemon/limit_table.h"
#include "kmod/uapi/vram.h"

#define KMOD_BUCKETS	  1024
#define KMOD_MAX_TRIGGERS 256
#define KMOD_DEVICE_NAME  32
/* A share that the daemon does not know. */
#define KMOD_NO_DEVICE 0xff

struct kmod_device {
	uint32_t dev; /* in the module */
	char name[KMOD_DEVICE_NAME];
	uint64_t capacity[ARBITER_N_TIERS];
	uint32_t home[ARBITER_N_TIERS]; /* index here of the device whose tier this is */
};

/* A session that this arbiter has adopted. */
struct kmod_session {
	struct kmod_session *next; /* in its bucket */
	uint64_t id;
	uint32_t n_groups;
	struct arbiter_group group[VRAM_MAX_CHAIN]; /* above it, but for the root */
};

/* Somebody for whom limits were set. */
struct kmod_limits {
	struct list_node node; /* kmod.limits */
	uint32_t kind;
	uint64_t id; /* users and sessions */
	char *path;  /* cgroups and executables, else NULL */
	struct limit_table table;
};

struct kmod {
	struct arbiter base;
	int fd;
	uint32_t n_devices;
	struct kmod_device device[ARBITER_MAX_DEVICES];
	struct kmod_session *bucket[KMOD_BUCKETS];
	struct limit_table defaults;
	struct list_node limits;
	uint8_t *share_dev; /* the module's device of each share, by id */
	uint32_t n_share_dev;
	int trigger[KMOD_MAX_TRIGGERS]; /* descriptor + 1; 0: free */
};

static inline struct kmod *kmod_of(struct arbiter *a)
{
	return (struct kmod *)a;
}

/* Return: 0 or -errno. */
static inline int kmod_ioctl(const struct kmod *k, unsigned long request, void *arg)
{
	return ioctl(k->fd, request, arg) < 0 ? -errno : 0;
}

static inline struct vram_ref kmod_ref(const struct arbiter_group *group)
{
	return (struct vram_ref){ .kind = group->kind, .key = group->key };
}

static inline struct arbiter_group kmod_group(const struct vram_ref *ref)
{
	return (struct arbiter_group){ .kind = ref->kind, .key = ref->key };
}

/* ---- arbiter_kmod.c ---- */

struct kmod_session *kmod_session_find(const struct kmod *k, uint64_t id);

/* ---- arbiter_kmod_charge.c ---- */

int kmod_charge(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier, uint64_t bytes,
		struct arbiter_group *out_limit);
int kmod_uncharge(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier, uint64_t bytes);
int kmod_transfer(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t from, uint32_t to,
		  uint64_t bytes, struct arbiter_group *out_limit);
int kmod_give(struct arbiter *a, uint64_t from_session, uint64_t to_session, uint32_t dev,
	      uint32_t tier, uint64_t bytes, struct arbiter_group *out_limit);
int kmod_share_new(struct arbiter *a, uint32_t dev, uint32_t *out_share);
int kmod_share_free(struct arbiter *a, uint32_t share);
int kmod_share_join(struct arbiter *a, uint32_t share, uint64_t session, bool force,
		    struct arbiter_group *out_limit);
int kmod_share_leave(struct arbiter *a, uint32_t share, uint64_t session);
int kmod_share_charge(struct arbiter *a, uint32_t share, uint32_t tier, uint64_t bytes,
		      const struct arbiter_hint *hint, struct arbiter_group *out_limit);
int kmod_share_uncharge(struct arbiter *a, uint32_t share, uint32_t tier, uint64_t bytes,
			const struct arbiter_hint *hint);
int kmod_share_transfer(struct arbiter *a, uint32_t share, uint32_t from, uint32_t to,
			uint64_t bytes, struct arbiter_group *out_limit);
int kmod_share_read(struct arbiter *a, uint32_t share, struct arbiter_share_info *out_info);
int kmod_share_next(struct arbiter *a, uint32_t from, uint32_t *out_share);

/* ---- arbiter_kmod_group.c ---- */

/* Every group there is, the root first; the array is the caller's to free. */
int kmod_groups(const struct kmod *k, struct arbiter_group **out_groups, size_t *out_n);
int kmod_find(struct arbiter *a, const struct arbiter_subject *s, struct arbiter_group *out_group);
int kmod_group_name(struct arbiter *a, const struct arbiter_group *group, char *buf, size_t size);
int kmod_for_each(struct arbiter *a, arbiter_group_fn fn, void *ctx);
int kmod_usage(struct arbiter *a, const struct arbiter_group *group, uint32_t dev, uint32_t tier,
	       struct arbiter_usage *out_usage);
int kmod_over(struct arbiter *a, uint32_t dev, uint32_t tier, struct arbiter_over *out,
	      unsigned int n_out);
int kmod_protection(struct arbiter *a, uint64_t session, uint32_t dev, uint32_t tier,
		    uint64_t *out_emin, uint64_t *out_elow);

/* ---- arbiter_kmod_limit.c ---- */

/* A device was added: take over what is set for it in the module, and write there what is not. */
int kmod_limits_device(struct kmod *k, uint32_t dev);
/* A user has a session now: it gets what `default` says. */
int kmod_limits_user(struct kmod *k, uint64_t uid);
/* Somebody else has changed limits. */
int kmod_limits_reload(struct kmod *k);
/* A session has ended, for the arbiter at least: its limits end with it. */
void kmod_limits_forget(struct kmod *k, uint64_t session);
void kmod_limits_deinit(struct kmod *k);
int kmod_limit_set(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev, uint32_t tier,
		   uint32_t key, uint64_t value);
int kmod_limit_clear(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev,
		     uint32_t tier, uint32_t key);
int kmod_limit_get(struct arbiter *a, const struct arbiter_subject *s, uint32_t dev, uint32_t tier,
		   struct arbiter_limits *out_limits);

/* ---- arbiter_kmod_pressure.c ---- */

int kmod_run(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns);
int kmod_idle(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns);
int kmod_stall_begin(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns);
int kmod_stall_end(struct arbiter *a, uint64_t session, uint32_t dev, uint64_t now_ns);
int kmod_pressure_group(struct arbiter *a, const struct arbiter_group *group, uint64_t now_ns,
			struct arbiter_pressure *out);
int kmod_pressure_device(struct arbiter *a, uint32_t dev, uint64_t now_ns,
			 struct arbiter_pressure *out);
int kmod_trigger_add(struct arbiter *a, const struct arbiter_group *group, uint32_t dev, bool full,
		     uint64_t threshold_us, uint64_t window_us, uint64_t now_ns,
		     uint32_t *out_trigger);
int kmod_trigger_del(struct arbiter *a, uint32_t trigger);
uint64_t kmod_poll(struct arbiter *a, uint64_t now_ns, arbiter_trigger_fn fn, void *ctx);

#endif
