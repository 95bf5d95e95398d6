/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /dev/vram for tests: sessions of other users, an arbiter with two devices, and the whole ledger as
 * text, to compare before and after.
 *
 * Functions named try_* return 0 or -errno; the others fail the test if they do not succeed.
 */
#ifndef VRAM_TESTS_KMOD_DEVICE_H
#define VRAM_TESTS_KMOD_DEVICE_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "kmod/uapi/vram.h"

#define DEVICE_PATH "/dev/vram"
#define KIB	    (1ull << 10)
#define MIB	    (1ull << 20)
#define GIB	    (1ull << 30)
#define MS	    1000000ull /* in ns */
#define SECOND	    1000000000ull
#define FOREVER	    (~0ull)

/* Users that own nothing else. */
#define UID_A 41001
#define UID_B 41002

/*
 * What the tests of a module run in: `arb` is attached, two devices exist, and nothing else does.
 * Device 1 has no host tier of its own if it was made so (world_shared_home).
 */
struct world {
	int arb;
	uint64_t generation;
	uint32_t dev[2];
};
extern struct world w;
extern const uint64_t world_capacity[VRAM_N_TIERS];

/* For main(): runs the suite, or ends with 77 and says why. Return: the exit status. */
int device_main(Suite *suite);
/* Checked fixtures: the world, or only a ledger in which nobody is left. */
void world_setup(void);
void world_teardown(void);
void world_setup_alone(void);
TCase *world_case(Suite *suite, const char *name);

/* ---- calls ---- */

int try_ioctl(int fd, unsigned long request, void *arg);
int try_open(int flags);
int device_open(void);
/* A session of this user, opened by a process of its own that is gone again. */
int open_as(uid_t uid);
/* In a child: becomes this user, who may open the device. */
void become(uid_t uid);
/* This process's effective user, and with it its capabilities, until as_user(0). */
void as_user(uid_t uid);

struct vram_ioc_info info_of(int fd);
uint64_t session_of(int fd);
int try_attach(int fd, uint32_t grace_ms);
uint64_t attach(int fd, uint32_t grace_ms);
/* Opens and attaches, after the last arbiter if need be. */
int arbiter_new(uint32_t grace_ms);
uint32_t device_add(int arb, const char *name, const uint64_t capacity[VRAM_N_TIERS]);
int try_adopt(int arb, int fd, uint32_t flags, struct vram_ioc_adopt *out);
struct vram_ioc_adopt adopt(int arb, int fd, uint32_t flags);
void table_make(int fd, uint32_t n_slots);
/* Maps the whole table; offset 0 for a client. */
void *table_map(int fd, uint32_t n_slots, uint64_t offset);
/* A session of this user with a table, adopted. */
int client_new(uid_t uid, uint32_t n_slots);

/* In VRAM of the first device. */
int try_charge(int arb, uint64_t session, uint64_t bytes);
int try_uncharge(int arb, uint64_t session, uint64_t bytes);
void charge(int arb, uint64_t session, uint64_t bytes);
uint32_t share_new(int arb, uint32_t dev);
int try_share(int arb, uint32_t op, uint32_t share, uint64_t session);
int try_share_charge(int arb, uint32_t share, uint64_t bytes);
int try_limit(int fd, uint32_t kind, uint64_t key, uint32_t limit, uint64_t value);
int try_wake(int arb, uint64_t session, uint32_t slot);
int try_state(int arb, uint64_t session, uint32_t dev, uint32_t op);
int try_usage(int fd, uint32_t kind, uint64_t key, uint32_t dev, uint32_t tier,
	      struct vram_ioc_usage *out);
/* Bytes in VRAM of the first device. */
uint64_t used(int fd, uint32_t kind, uint64_t key);
int try_pressure(int fd, uint32_t flags, uint32_t dev, uint32_t kind, uint64_t key,
		 struct vram_ioc_pressure *out);
int try_group(int fd, uint32_t kind, uint64_t key, struct vram_ioc_group *out);
/* The group of a path. Return: its key, 0: there is none. */
uint64_t group_key(int fd, uint32_t kind, const char *path);

/* The next event that is there now (-EAGAIN: none), or within some time. */
int try_event(int arb, struct vram_arbiter_event *out);
int event_within(int arb, int timeout_ms, struct vram_arbiter_event *out);
/* Waits for the GONE event of a session; others are read on the way. Fails if it comes twice. */
struct vram_arbiter_event event_gone(int arb, uint64_t session);

/* ---- the ledger as text ---- */

/* Every group with every number, every share, by an administrator's descriptor. To be freed. */
char *snapshot(int fd);
/* Fails, naming `what`, if the ledger is no longer as it was. */
void snapshot_same(int fd, const char *before, const char *what);

/* ---- time ---- */

uint64_t now_ns(void);
void sleep_ms(unsigned int ms);

/* Waits a while until a condition holds. */
#define EVENTUALLY(condition)                                        \
	do {                                                         \
		uint64_t until_ = now_ns() + 20 * SECOND;            \
		bool holds_;                                         \
                                                                     \
		while (!(holds_ = (condition)) && now_ns() < until_) \
			sleep_ms(5);                                 \
		ck_assert_msg(holds_, "never: %s", #condition);      \
	} while (0)

#define ck_ok(call)                                                         \
	do {                                                                \
		int ret_ = (call);                                          \
                                                                            \
		ck_assert_msg(ret_ == 0, "%s: %s", #call, strerror(-ret_)); \
	} while (0)
#define ck_errno(call, want)                                                                     \
	do {                                                                                     \
		int ret_ = (call);                                                               \
                                                                                                 \
		ck_assert_msg(ret_ == -(want), "%s: %s, not %s", #call, strerror(-ret_), #want); \
	} while (0)

#endif
