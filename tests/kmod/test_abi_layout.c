// SPDX-License-Identifier: GPL-2.0-only
/*
 * The layout of the ABI, pinned: what a program was compiled with stays right for ever, on 32 bits, too.
 * Nothing here needs a module.
 */
#include <check.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kmod/uapi/vram.h"

struct row {
	const char *type, *field; /* no field: the structure as a whole */
	size_t offset, size;
	size_t want_offset, want_size;
};

#define STRUCT(type, size)                                   \
	{                                                    \
#type, NULL, 0, sizeof(struct type), 0, size \
	}
#define FIELD(type, field, offset, size)                                                        \
	{                                                                                       \
#type, #field, offsetof(struct type, field), sizeof(((struct type *)0)->field), \
			offset, size                                                            \
	}

/* clang-format off */
static const struct row rows[] = {
	STRUCT(vram_ref, 16),
	FIELD(vram_ref, kind, 0, 4),
	FIELD(vram_ref, pad, 4, 4),
	FIELD(vram_ref, key, 8, 8),
	STRUCT(vram_ioc_info, 80),
	FIELD(vram_ioc_info, flags, 0, 4),
	FIELD(vram_ioc_info, version, 4, 4),
	FIELD(vram_ioc_info, features, 8, 8),
	FIELD(vram_ioc_info, session, 16, 8),
	FIELD(vram_ioc_info, generation, 24, 8),
	FIELD(vram_ioc_info, pid, 32, 4),
	FIELD(vram_ioc_info, uid, 36, 4),
	FIELD(vram_ioc_info, arbiter_pid, 40, 4),
	FIELD(vram_ioc_info, arbiter_state, 44, 4),
	FIELD(vram_ioc_info, n_devices, 48, 4),
	FIELD(vram_ioc_info, n_slots, 52, 4),
	FIELD(vram_ioc_info, max_slots, 56, 4),
	FIELD(vram_ioc_info, max_waiters, 60, 4),
	FIELD(vram_ioc_info, comm, 64, 16),
	STRUCT(vram_ioc_table, 8),
	FIELD(vram_ioc_table, flags, 0, 4),
	FIELD(vram_ioc_table, n_slots, 4, 4),
	STRUCT(vram_ioc_wait, 24),
	FIELD(vram_ioc_wait, flags, 0, 4),
	FIELD(vram_ioc_wait, dev, 4, 4),
	FIELD(vram_ioc_wait, slot, 8, 4),
	FIELD(vram_ioc_wait, expected, 12, 4),
	FIELD(vram_ioc_wait, deadline_ns, 16, 8),
	STRUCT(vram_ioc_pressure, 64),
	FIELD(vram_ioc_pressure, flags, 0, 4),
	FIELD(vram_ioc_pressure, dev, 4, 4),
	FIELD(vram_ioc_pressure, group, 8, 16),
	FIELD(vram_ioc_pressure, total_us, 24, 16),
	FIELD(vram_ioc_pressure, avg_centi, 40, 24),
	STRUCT(vram_ioc_trigger, 40),
	FIELD(vram_ioc_trigger, flags, 0, 4),
	FIELD(vram_ioc_trigger, dev, 4, 4),
	FIELD(vram_ioc_trigger, group, 8, 16),
	FIELD(vram_ioc_trigger, threshold_us, 24, 8),
	FIELD(vram_ioc_trigger, window_us, 32, 8),
	STRUCT(vram_ioc_usage, 136),
	FIELD(vram_ioc_usage, flags, 0, 4),
	FIELD(vram_ioc_usage, dev, 4, 4),
	FIELD(vram_ioc_usage, tier, 8, 4),
	FIELD(vram_ioc_usage, set, 12, 4),
	FIELD(vram_ioc_usage, group, 16, 16),
	FIELD(vram_ioc_usage, usage, 32, 8),
	FIELD(vram_ioc_usage, own, 40, 8),
	FIELD(vram_ioc_usage, peak, 48, 8),
	FIELD(vram_ioc_usage, refused, 56, 8),
	FIELD(vram_ioc_usage, emin, 64, 8),
	FIELD(vram_ioc_usage, elow, 72, 8),
	FIELD(vram_ioc_usage, over_high, 80, 8),
	FIELD(vram_ioc_usage, over_max, 88, 8),
	FIELD(vram_ioc_usage, limit, 96, 40),
	STRUCT(vram_ioc_group, 88),
	FIELD(vram_ioc_group, flags, 0, 4),
	FIELD(vram_ioc_group, n_sessions, 4, 4),
	FIELD(vram_ioc_group, group, 8, 16),
	FIELD(vram_ioc_group, parent, 24, 16),
	FIELD(vram_ioc_group, pid, 40, 4),
	FIELD(vram_ioc_group, uid, 44, 4),
	FIELD(vram_ioc_group, session_flags, 48, 4),
	FIELD(vram_ioc_group, n_slots, 52, 4),
	FIELD(vram_ioc_group, comm, 56, 16),
	FIELD(vram_ioc_group, name, 72, 8),
	FIELD(vram_ioc_group, name_size, 80, 4),
	FIELD(vram_ioc_group, name_bytes, 84, 4),
	STRUCT(vram_ioc_limit, 56),
	FIELD(vram_ioc_limit, flags, 0, 4),
	FIELD(vram_ioc_limit, dev, 4, 4),
	FIELD(vram_ioc_limit, tier, 8, 4),
	FIELD(vram_ioc_limit, limit, 12, 4),
	FIELD(vram_ioc_limit, group, 16, 16),
	FIELD(vram_ioc_limit, value, 32, 8),
	FIELD(vram_ioc_limit, name, 40, 8),
	FIELD(vram_ioc_limit, name_bytes, 48, 4),
	FIELD(vram_ioc_limit, pad, 52, 4),
	STRUCT(vram_ioc_attach, 16),
	FIELD(vram_ioc_attach, flags, 0, 4),
	FIELD(vram_ioc_attach, grace_ms, 4, 4),
	FIELD(vram_ioc_attach, generation, 8, 8),
	STRUCT(vram_ioc_device, 64),
	FIELD(vram_ioc_device, flags, 0, 4),
	FIELD(vram_ioc_device, dev, 4, 4),
	FIELD(vram_ioc_device, capacity, 8, 24),
	FIELD(vram_ioc_device, name, 32, 32),
	STRUCT(vram_ioc_adopt, 352),
	FIELD(vram_ioc_adopt, flags, 0, 4),
	FIELD(vram_ioc_adopt, fd, 4, 4),
	FIELD(vram_ioc_adopt, session, 8, 8),
	FIELD(vram_ioc_adopt, map_offset, 16, 8),
	FIELD(vram_ioc_adopt, pid, 24, 4),
	FIELD(vram_ioc_adopt, uid, 28, 4),
	FIELD(vram_ioc_adopt, gid, 32, 4),
	FIELD(vram_ioc_adopt, n_slots, 36, 4),
	FIELD(vram_ioc_adopt, n_groups, 40, 4),
	FIELD(vram_ioc_adopt, pad, 44, 4),
	FIELD(vram_ioc_adopt, comm, 48, 16),
	FIELD(vram_ioc_adopt, group, 64, 288),
	STRUCT(vram_ioc_charge, 64),
	FIELD(vram_ioc_charge, flags, 0, 4),
	FIELD(vram_ioc_charge, op, 4, 4),
	FIELD(vram_ioc_charge, session, 8, 8),
	FIELD(vram_ioc_charge, other, 16, 8),
	FIELD(vram_ioc_charge, share, 24, 4),
	FIELD(vram_ioc_charge, dev, 28, 4),
	FIELD(vram_ioc_charge, from, 32, 4),
	FIELD(vram_ioc_charge, to, 36, 4),
	FIELD(vram_ioc_charge, bytes, 40, 8),
	FIELD(vram_ioc_charge, limit_kind, 48, 4),
	FIELD(vram_ioc_charge, pad, 52, 4),
	FIELD(vram_ioc_charge, limit_key, 56, 8),
	STRUCT(vram_ioc_share, 64),
	FIELD(vram_ioc_share, flags, 0, 4),
	FIELD(vram_ioc_share, op, 4, 4),
	FIELD(vram_ioc_share, share, 8, 4),
	FIELD(vram_ioc_share, dev, 12, 4),
	FIELD(vram_ioc_share, session, 16, 8),
	FIELD(vram_ioc_share, bytes, 24, 24),
	FIELD(vram_ioc_share, n_members, 48, 4),
	FIELD(vram_ioc_share, limit_kind, 52, 4),
	FIELD(vram_ioc_share, limit_key, 56, 8),
	STRUCT(vram_ioc_state, 24),
	FIELD(vram_ioc_state, flags, 0, 4),
	FIELD(vram_ioc_state, op, 4, 4),
	FIELD(vram_ioc_state, session, 8, 8),
	FIELD(vram_ioc_state, dev, 16, 4),
	FIELD(vram_ioc_state, pad, 20, 4),
	STRUCT(vram_ioc_wake, 16),
	FIELD(vram_ioc_wake, flags, 0, 4),
	FIELD(vram_ioc_wake, slot, 4, 4),
	FIELD(vram_ioc_wake, session, 8, 8),
	STRUCT(vram_over, 32),
	FIELD(vram_over, group, 0, 16),
	FIELD(vram_over, over_high, 16, 8),
	FIELD(vram_over, over_max, 24, 8),
	STRUCT(vram_ioc_over, 24),
	FIELD(vram_ioc_over, flags, 0, 4),
	FIELD(vram_ioc_over, dev, 4, 4),
	FIELD(vram_ioc_over, tier, 8, 4),
	FIELD(vram_ioc_over, n, 12, 4),
	FIELD(vram_ioc_over, array, 16, 8),
	STRUCT(vram_arbiter_event, 56),
	FIELD(vram_arbiter_event, type, 0, 4),
	FIELD(vram_arbiter_event, pad, 4, 4),
	FIELD(vram_arbiter_event, session, 8, 8),
	FIELD(vram_arbiter_event, generation, 16, 8),
	FIELD(vram_arbiter_event, bytes, 24, 24),
	FIELD(vram_arbiter_event, pid, 48, 4),
	FIELD(vram_arbiter_event, uid, 52, 4),
};
/* clang-format on */
#define N_ROWS (sizeof(rows) / sizeof(*rows))

START_TEST(test_offsets)
{
	size_t i;

	for (i = 0; i < N_ROWS; i++) {
		ck_assert_msg(rows[i].offset == rows[i].want_offset, "%s.%s is at %zu",
			      rows[i].type, rows[i].field ? rows[i].field : "", rows[i].offset);
		ck_assert_msg(rows[i].size == rows[i].want_size, "%s.%s has %zu bytes",
			      rows[i].type, rows[i].field ? rows[i].field : "", rows[i].size);
	}
}
END_TEST

/* Each field begins where the one before ends, and the last one ends the structure. */
START_TEST(test_no_hidden_padding)
{
	size_t i, end = 0, size = 0, n_structs = 0;

	for (i = 0; i <= N_ROWS; i++) {
		if (i == N_ROWS || !rows[i].field) {
			ck_assert_msg(end == size, "before row %zu: %zu bytes of %zu", i, end,
				      size);
			if (i == N_ROWS)
				break;
			size = rows[i].size;
			end = 0;
			n_structs++;
			/* As large on 32 bits, where the alignment of 64-bit fields is 4. */
			ck_assert_uint_eq(size % 8, 0);
			continue;
		}
		ck_assert_msg(rows[i].offset == end, "a hole before %s.%s", rows[i].type,
			      rows[i].field);
		end += rows[i].size;
	}
	ck_assert_uint_eq(n_structs, 19);
}
END_TEST

/* 64-bit fields are where a 64-bit machine wants them without the compiler's help. */
START_TEST(test_natural_alignment)
{
	size_t i;

	for (i = 0; i < N_ROWS; i++)
		if (rows[i].field && rows[i].size == 8)
			ck_assert_msg(rows[i].offset % 8 == 0, "%s.%s", rows[i].type,
				      rows[i].field);
}
END_TEST

/* Every argument begins with its flags. */
START_TEST(test_flags_first)
{
	size_t i, n = 0;

	for (i = 0; i + 1 < N_ROWS; i++)
		if (!rows[i].field && !strncmp(rows[i].type, "vram_ioc_", 9)) {
			ck_assert_str_eq(rows[i + 1].field, "flags");
			ck_assert_uint_eq(rows[i + 1].size, 4);
			n++;
		}
	ck_assert_uint_eq(n, 16);
}
END_TEST

static const struct {
	const char *name;
	unsigned long value, want;
} requests[] = {
	{ "VRAM_IOC_INFO", VRAM_IOC_INFO, 0x8050c700 },
	{ "VRAM_IOC_TABLE", VRAM_IOC_TABLE, 0x4008c701 },
	{ "VRAM_IOC_WAIT", VRAM_IOC_WAIT, 0x4018c702 },
	{ "VRAM_IOC_PRESSURE", VRAM_IOC_PRESSURE, 0xc040c703 },
	{ "VRAM_IOC_TRIGGER", VRAM_IOC_TRIGGER, 0x4028c704 },
	{ "VRAM_IOC_USAGE", VRAM_IOC_USAGE, 0xc088c705 },
	{ "VRAM_IOC_GROUP", VRAM_IOC_GROUP, 0xc058c710 },
	{ "VRAM_IOC_LIMIT", VRAM_IOC_LIMIT, 0x4038c711 },
	{ "VRAM_IOC_ATTACH", VRAM_IOC_ATTACH, 0xc010c712 },
	{ "VRAM_IOC_DEVICE", VRAM_IOC_DEVICE, 0xc040c720 },
	{ "VRAM_IOC_ADOPT", VRAM_IOC_ADOPT, 0xc160c721 },
	{ "VRAM_IOC_CHARGE", VRAM_IOC_CHARGE, 0xc040c722 },
	{ "VRAM_IOC_SHARE", VRAM_IOC_SHARE, 0xc040c723 },
	{ "VRAM_IOC_STATE", VRAM_IOC_STATE, 0x4018c724 },
	{ "VRAM_IOC_WAKE", VRAM_IOC_WAKE, 0x4010c725 },
	{ "VRAM_IOC_OVER", VRAM_IOC_OVER, 0xc018c726 },
};

START_TEST(test_request_numbers)
{
	size_t i, k;

	for (i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
		ck_assert_msg(requests[i].value == requests[i].want, "%s is %#lx", requests[i].name,
			      requests[i].value);
		for (k = 0; k < i; k++)
			ck_assert_uint_ne(_IOC_NR(requests[i].value), _IOC_NR(requests[k].value));
	}
}
END_TEST

START_TEST(test_constants)
{
	ck_assert_uint_eq(VRAM_ABI_VERSION, 1);
	ck_assert_uint_eq(VRAM_SLOT_BYTES, 64);
	ck_assert_uint_eq(VRAM_MAX_SLOTS, 1 << 18);
	ck_assert_uint_eq(VRAM_MAX_DEVICES, 16);
	ck_assert_uint_eq(VRAM_MAX_CHAIN, 18);
	ck_assert_uint_eq(VRAM_NO_SHARE, UINT32_MAX);
	ck_assert_uint_eq(VRAM_UNLIMITED, UINT64_MAX);
	ck_assert_uint_eq(VRAM_CAPACITY_SHARED, UINT64_MAX - 1);
	ck_assert_uint_eq(VRAM_TIER_VRAM | VRAM_TIER_HOST << 4 | VRAM_TIER_DISK << 8, 0x210);
	ck_assert_uint_eq(VRAM_N_TIERS, 3);
	ck_assert_uint_eq(VRAM_N_LIMITS, 5);
	ck_assert_uint_eq(VRAM_LIMIT_MIN | VRAM_LIMIT_LOW << 4 | VRAM_LIMIT_HIGH << 8 |
				  VRAM_LIMIT_MAX << 12 | VRAM_LIMIT_WEIGHT << 16,
			  0x43210);
	ck_assert_uint_eq(VRAM_KIND_ROOT | VRAM_KIND_USER << 4 | VRAM_KIND_CGROUP << 8 |
				  VRAM_KIND_EXE << 12 | VRAM_KIND_SESSION << 16,
			  0x43210);
	ck_assert_uint_eq(VRAM_CHARGE | VRAM_UNCHARGE << 4 | VRAM_TRANSFER << 8 | VRAM_GIVE << 12,
			  0x3210);
	ck_assert_uint_eq(VRAM_SHARE_NEW | VRAM_SHARE_FREE << 4 | VRAM_SHARE_JOIN << 8 |
				  VRAM_SHARE_LEAVE << 12 | VRAM_SHARE_READ << 16 |
				  VRAM_SHARE_NEXT << 20,
			  0x543210);
	ck_assert_uint_eq(VRAM_SESSION_RUN | VRAM_SESSION_IDLE << 4 | VRAM_SESSION_STALL << 8 |
				  VRAM_SESSION_UNSTALL << 12 | VRAM_SESSION_DROP << 16,
			  0x43210);
	ck_assert_uint_eq(VRAM_ARBITER_NEVER | VRAM_ARBITER_ATTACHED << 4 |
				  VRAM_ARBITER_GRACE << 8 | VRAM_ARBITER_GONE << 12,
			  0x3210);
	ck_assert_uint_eq(VRAM_ARBITER_EVENT_GONE | VRAM_ARBITER_EVENT_LIMITS << 4, 0x21);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("abi_layout");
	TCase *tc = tcase_create("layout");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, test_offsets);
	tcase_add_test(tc, test_no_hidden_padding);
	tcase_add_test(tc, test_natural_alignment);
	tcase_add_test(tc, test_flags_first);
	tcase_add_test(tc, test_request_numbers);
	tcase_add_test(tc, test_constants);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
