// SPDX-License-Identifier: GPL-2.0-only
/*
 * Format files of trace points: what the kernel writes, what it might, and what the module's are pinned to.
 *
 * links: tools/vramtrace/format.c tools/vramtrace/layout.c
 */
#include "tools/vramtrace/layout.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMON                                                                         \
	"\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"         \
	"\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"         \
	"\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n" \
	"\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"

/* As Debian's 6.1 writes it. */
static const char stall_begin[] =
	"name: vram_stall_begin\nID: 1603\nformat:\n" COMMON
	"\tfield:u64 session;\toffset:8;\tsize:8;\tsigned:0;\n"
	"\tfield:u32 dev;\toffset:16;\tsize:4;\tsigned:0;\n"
	"\tfield:u32 slot;\toffset:20;\tsize:4;\tsigned:0;\n"
	"\tfield:s32 pid;\toffset:24;\tsize:4;\tsigned:1;\n"
	"\tfield:char comm[16];\toffset:28;\tsize:16;\tsigned:0;\n\n"
	"print fmt: \"session=%llu dev=%u slot=%d pid=%d comm=%s\", REC->session, REC->dev\n";

static struct format format;
static const char *reason;

static int parse(const char *text)
{
	reason = NULL;
	return format_parse(text, strlen(text), &format, &reason);
}

START_TEST(what_the_kernel_writes)
{
	const struct format_field *field;
	char text[128];

	ck_assert_int_eq(parse(stall_begin), 0);
	ck_assert_str_eq(format.name, "vram_stall_begin");
	ck_assert_uint_eq(format.id, 1603);
	ck_assert_uint_eq(format.n_fields, 9);
	field = format_find(&format, "comm");
	ck_assert_ptr_nonnull(field);
	ck_assert_uint_eq(field->offset, 28);
	ck_assert_uint_eq(field->size, 16);
	ck_assert(format_find(&format, "pid")->is_signed);
	ck_assert(!format_find(&format, "slot")->is_signed);
	ck_assert_ptr_null(format_find(&format, "share"));
	ck_assert_int_eq(layout_check(EVENT_STALL_BEGIN, &format, text, sizeof(text)), 0);
	/* Another event's record is not this one's. */
	ck_assert_int_eq(layout_check(EVENT_STALL_END, &format, text, sizeof(text)), -EPROTO);
	ck_assert_str_eq(text, "it has no field stall_ns");
}
END_TEST

START_TEST(a_field_more_is_fine)
{
	char longer[sizeof(stall_begin) + 128], text[128];
	const char *at = strstr(stall_begin, "\nprint fmt");

	snprintf(longer, sizeof(longer),
		 "%.*s\tfield:u64 more;\toffset:48;\tsize:8;\tsigned:0;\n%s",
		 (int)(at - stall_begin), stall_begin, at);
	ck_assert_int_eq(parse(longer), 0);
	ck_assert_int_eq(layout_check(EVENT_STALL_BEGIN, &format, text, sizeof(text)), 0);
}
END_TEST

START_TEST(a_field_elsewhere_is_noticed)
{
	char moved[sizeof(stall_begin)], text[128];

	memcpy(moved, stall_begin, sizeof(moved));
	memcpy(strstr(moved, "offset:20"), "offset:24", 9);
	ck_assert_int_eq(parse(moved), 0);
	ck_assert_int_eq(layout_check(EVENT_STALL_BEGIN, &format, text, sizeof(text)), -EPROTO);
	ck_assert_str_eq(text, "slot has 4 bytes at 24, not 4 at 20");
	memcpy(moved, stall_begin, sizeof(moved));
	memcpy(strstr(moved, "size:16"), "size:32", 7);
	ck_assert_int_eq(parse(moved), 0);
	ck_assert_int_eq(layout_check(EVENT_STALL_BEGIN, &format, text, sizeof(text)), -EPROTO);
}
END_TEST

#define HEAD  "name: x\nID: 1\nformat:\n"
#define FIELD "\tfield:u64 a;\toffset:8;\tsize:8;\tsigned:0;\n"

static const char *const refused[] = {
	"",
	"\n\n\n",
	"name: x\n",
	HEAD,
	"name: x\n" FIELD,
	"ID: 1\n" FIELD,
	"name: \nID: 1\n" FIELD,
	"name: a/b\nID: 1\n" FIELD,
	"name: x\nname: y\nID: 1\n" FIELD,
	"name: x\nID: 1\nID: 2\n" FIELD,
	"name: x\nID: -1\n" FIELD,
	"name: x\nID: 4294967296\n" FIELD,
	"name: x\nID: 99999999999999999999999999\n" FIELD,
	"name: x\nID: 1 \n" FIELD,
	"name: this_name_is_longer_than_any_that_the_kernel_has_ever_had\nID: 1\n" FIELD,
	HEAD "\tfield:\n",
	HEAD "\tfield:;\n",
	HEAD "\tfield:u64 a\n",
	HEAD "\tfield:u64 a;\n",
	HEAD "\tfield:a;\toffset:8;\tsize:8;\tsigned:0;\n",
	HEAD "\tfield:u64 ;\toffset:8;\tsize:8;\tsigned:0;\n",
	HEAD "\tfield:u64 [4];\toffset:8;\tsize:8;\tsigned:0;\n",
	HEAD "\tfield:u64 a;\toffset:;\tsize:8;\tsigned:0;\n",
	HEAD "\tfield:u64 a;\toffset:-8;\tsize:8;\tsigned:0;\n",
	HEAD "\tfield:u64 a;\toffset:0x8;\tsize:8;\tsigned:0;\n",
	HEAD "\tfield:u64 a;\toffset:65537;\tsize:8;\tsigned:0;\n",
	HEAD "\tfield:u64 a;\toffset:8;\tsize:4294967304;\tsigned:0;\n",
	HEAD "\tfield:u64 a;\toffset:8;\tsize:8;\tsigned:2;\n",
	HEAD "\tfield:u64 a;\toffset:8;\tsize:8;\tsigned:0\n",
	HEAD "\tfield:u64 a;\toffset:8;\tsize:8;\tsigned:0;x\n",
	HEAD "\tfield:u64 a;\toffset:8;\tsigned:0;\tsize:8;\n",
	HEAD FIELD FIELD,
	HEAD FIELD "\tfield:u64 this_field_has_a_name_longer_than_any_that_there_is;"
		   "\toffset:8;\tsize:8;\tsigned:0;\n",
};

START_TEST(what_is_not_understood_is_refused)
{
	ck_assert_int_eq(parse(HEAD FIELD), 0);
	ck_assert_int_eq(parse(refused[_i]), -EBADMSG);
	ck_assert_ptr_nonnull(reason);
}
END_TEST

START_TEST(many_fields)
{
	char text[8192] = HEAD;
	size_t len = strlen(text);

	for (int i = 0; i < FORMAT_FIELDS_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"\tfield:u8 f%d;\toffset:%d;\tsize:1;\tsigned:0;\n", i, i);
	ck_assert_int_eq(parse(text), 0);
	ck_assert_uint_eq(format.n_fields, FORMAT_FIELDS_MAX);
	snprintf(text + len, sizeof(text) - len, FIELD);
	ck_assert_int_eq(parse(text), -EBADMSG);
}
END_TEST

/* Cut off anywhere and changed anywhere it is refused or understood, and nothing behind its end is read. */
START_TEST(cut_off_and_changed)
{
	size_t len = strlen(stall_begin);
	char *copy;

	for (size_t n = 0; n <= len; n++) {
		copy = malloc(n ? n : 1);
		ck_assert_ptr_nonnull(copy);
		memcpy(copy, stall_begin, n);
		format_parse(copy, n, &format, &reason);
		for (size_t i = 0; i < n; i += 7) {
			char before = copy[i];

			copy[i] = (char)(0xff - before);
			format_parse(copy, n, &format, &reason);
			copy[i] = before;
		}
		free(copy);
	}
}
END_TEST

/* tests/kmod/trace_formats.txt pins the module's records: they are the same ones. */
START_TEST(the_module_agrees)
{
	static const char *const names[] = {
#define EVENT_NAME(kind, name) #name,
		EVENT_KINDS(EVENT_NAME)
	};
	const char *src = getenv("VRAM_SRC");
	char path[4096], line[256], event[64], type[32], name[64];
	struct format_field field;
	enum event_kind kind;
	unsigned int offset, size;
	size_t n_lines = 0, n_known = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/tests/kmod/trace_formats.txt", src ? src : ".");
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		if (*line == '#' ||
		    sscanf(line, "%63s %u %u %31s %63s", event, &offset, &size, type, name) != 5)
			continue;
		n_lines++;
		for (size_t i = 0; layout_field(i, &kind, &field); i++)
			if (!strcmp(names[kind], event) && !strcmp(field.name, name)) {
				ck_assert_uint_eq(field.offset, offset);
				ck_assert_uint_eq(field.size, size);
				n_known++;
			}
	}
	fclose(f);
	ck_assert_uint_gt(n_lines, 80);
	ck_assert_uint_eq(n_known, n_lines);
	ck_assert(!layout_field(n_known, &kind, &field));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vramtrace_format");
	TCase *tc = tcase_create("format");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, what_the_kernel_writes);
	tcase_add_test(tc, a_field_more_is_fine);
	tcase_add_test(tc, a_field_elsewhere_is_noticed);
	tcase_add_loop_test(tc, what_is_not_understood_is_refused, 0,
			    sizeof(refused) / sizeof(refused[0]));
	tcase_add_test(tc, many_fields);
	tcase_add_test(tc, cut_off_and_changed);
	tcase_add_test(tc, the_module_agrees);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
