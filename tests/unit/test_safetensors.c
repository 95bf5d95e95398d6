// SPDX-License-Identifier: GPL-2.0-only
/*
 * The safetensors parser and its index: what is read from valid files, and one file for every
 * field that can be wrong, everything else in it valid.
 *
 * links: libclient/safetensors.c libclient/tensors.c common/err.c tests/support/modelgen.c
 * libs: -ljansson
 */
#define _GNU_SOURCE 1
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libclient/safetensors.h"
#include "tests/support/modelgen.h"

struct parsed {
	int err;
	struct tensor_list list;
	struct safetensors_index index;
	char text[PARSE_MSG_MAX];
};

static void parse_buf(const struct modelgen_buf *buf, struct parsed *p)
{
	struct parse_msg msg = { p->text, sizeof(p->text) };
	int fd = modelgen_memfd(buf);

	*p = (struct parsed){ 0 };
	p->err = safetensors_parse(fd, buf->n, 7, &p->list, &msg);
	close(fd);
}

static void parse(const char *header, size_t data_bytes, struct parsed *p)
{
	struct modelgen_buf buf = { 0 };

	modelgen_safetensors(header, data_bytes, 1, &buf);
	parse_buf(&buf, p);
	modelgen_buf_free(&buf);
}

static void parse_index(const char *text, uint32_t max_files, struct parsed *p)
{
	struct modelgen_buf buf = { 0 };
	struct parse_msg msg = { p->text, sizeof(p->text) };
	int fd;

	modelgen_put(&buf, text, strlen(text));
	fd = modelgen_memfd(&buf);
	*p = (struct parsed){ 0 };
	p->err = safetensors_index_parse(fd, buf.n, max_files, &p->index, &msg);
	close(fd);
	modelgen_buf_free(&buf);
}

static void done(struct parsed *p)
{
	tensor_list_deinit(&p->list);
	safetensors_index_deinit(&p->index);
}

static void check_refused(struct parsed *p, int err, const char *words)
{
	ck_assert_msg(p->err == err, "%d instead of %d: %s", p->err, err, p->text);
	ck_assert_msg(strstr(p->text, words) != NULL, "no '%s' in '%s'", words, p->text);
	done(p);
}

static void refuse(const char *header, size_t data_bytes, int err, const char *words)
{
	struct parsed p;

	parse(header, data_bytes, &p);
	check_refused(&p, err, words);
}

static void refuse_index(const char *text, int err, const char *words)
{
	struct parsed p;

	parse_index(text, 2, &p);
	ck_assert_ptr_null(p.index.files);
	ck_assert_ptr_null(p.index.entries);
	check_refused(&p, err, words);
}

/* A tensor of 8 bytes at the beginning, then the one under test. */
#define FIRST	    "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define AND(tensor) "{" FIRST "," tensor "}"

START_TEST(reads_a_file)
{
	struct parsed p;

	parse("{\"__metadata__\":{\"format\":\"pt\"},"
	      "\"second\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]}," FIRST
	      "}   ",
	      20, &p);
	ck_assert_msg(p.err == 0, "%s", p.text);
	ck_assert_uint_eq(p.list.n, 2);
	/* in the order of the file, not of the header */
	ck_assert_str_eq(p.list.tensors[0].name, "a");
	ck_assert_str_eq(p.list.tensors[0].type, "F32");
	ck_assert_uint_eq(p.list.tensors[0].bytes, 8);
	ck_assert_uint_eq(p.list.tensors[0].file, 7);
	ck_assert_str_eq(p.list.tensors[1].name, "second");
	ck_assert_str_eq(p.list.tensors[1].type, "BF16");
	ck_assert_uint_eq(p.list.tensors[1].n_dims, 2);
	ck_assert_uint_eq(p.list.tensors[1].dims[0], 2);
	ck_assert_uint_eq(p.list.tensors[1].dims[1], 3);
	ck_assert_uint_eq(p.list.tensors[1].bytes, 12);
	ck_assert_uint_eq(p.list.tensors[1].offset, p.list.tensors[0].offset + 8);
	done(&p);
}
END_TEST

START_TEST(reads_what_the_reference_writes)
{
	/* The empty file and the one of a [1,2,3] tensor that the reference library's tests contain. */
	static const char one[] =
		"\x40\0\0\0\0\0\0\0{\"attn.0\":{\"dtype\":\"F32\",\"shape\":[1,2,3],"
		"\"data_offsets\":[0,24]}}";
	struct modelgen_buf buf = { 0 };
	struct parsed p;

	modelgen_put(&buf, "\x8\0\0\0\0\0\0\0{}      ", 16);
	parse_buf(&buf, &p);
	ck_assert_msg(p.err == 0, "%s", p.text);
	ck_assert_uint_eq(p.list.n, 0);
	done(&p);
	buf.n = 0;
	modelgen_put(&buf, one, sizeof(one) - 1);
	ck_assert_uint_eq(buf.n, 8 + 64);
	modelgen_fill(&buf, 1, buf.n + 24);
	parse_buf(&buf, &p);
	ck_assert_msg(p.err == 0, "%s", p.text);
	ck_assert_uint_eq(p.list.n, 1);
	ck_assert_uint_eq(p.list.tensors[0].offset, 72);
	done(&p);
	modelgen_buf_free(&buf);
}
END_TEST

START_TEST(knows_every_dtype)
{
	static const struct {
		const char *name;
		size_t bits;
	} dtypes[] = {
		{ "BOOL", 8 },	  { "F4", 4 },		{ "F6_E2M3", 6 },     { "F6_E3M2", 6 },
		{ "U8", 8 },	  { "I8", 8 },		{ "F8_E5M2", 8 },     { "F8_E4M3", 8 },
		{ "F8_E8M0", 8 }, { "F8_E4M3FNUZ", 8 }, { "F8_E5M2FNUZ", 8 }, { "I16", 16 },
		{ "U16", 16 },	  { "F16", 16 },	{ "BF16", 16 },	      { "I32", 32 },
		{ "U32", 32 },	  { "F32", 32 },	{ "C64", 64 },	      { "F64", 64 },
		{ "I64", 64 },	  { "U64", 64 },
	};

	for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++) {
		size_t bytes = dtypes[i].bits * 4 * 3 / 8;
		struct parsed p;
		char header[256];

		snprintf(header, sizeof(header),
			 "{\"t\":{\"dtype\":\"%s\",\"shape\":[4,3],\"data_offsets\":[0,%zu]}}",
			 dtypes[i].name, bytes);
		parse(header, bytes, &p);
		ck_assert_msg(p.err == 0, "%s", p.text);
		ck_assert_str_eq(p.list.tensors[0].type, dtypes[i].name);
		ck_assert_uint_eq(p.list.tensors[0].bytes, bytes);
		done(&p);
	}
}
END_TEST

START_TEST(allows_empty_and_scalar_tensors)
{
	struct parsed p;

	parse(AND("\"e\":{\"dtype\":\"F32\",\"shape\":[0,9],\"data_offsets\":[8,8]},"
		  "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[8,12]}"),
	      12, &p);
	ck_assert_msg(p.err == 0, "%s", p.text);
	ck_assert_uint_eq(p.list.n, 3);
	ck_assert_str_eq(p.list.tensors[1].name, "e");
	ck_assert_uint_eq(p.list.tensors[1].bytes, 0);
	ck_assert_str_eq(p.list.tensors[2].name, "s");
	ck_assert_uint_eq(p.list.tensors[2].bytes, 4);
	done(&p);
}
END_TEST

START_TEST(refuses_every_shorter_file)
{
	struct modelgen_buf buf = { 0 };
	struct parsed p;

	modelgen_safetensors("{" FIRST "}", 8, 1, &buf);
	parse_buf(&buf, &p);
	ck_assert_int_eq(p.err, 0);
	done(&p);
	while (buf.n) {
		buf.n--;
		parse_buf(&buf, &p);
		ck_assert_msg(p.err == -EINVAL, "%zu bytes: %d %s", buf.n, p.err, p.text);
		ck_assert(p.text[0]);
		done(&p);
	}
	modelgen_buf_free(&buf);
}
END_TEST

START_TEST(refuses_bad_header_lengths)
{
	static const struct {
		uint64_t length;
		int err;
	} bad[] = { { 0, -EINVAL },	     { 55, -EINVAL },	      { 1000, -EINVAL },
		    { 1ull << 32, -EINVAL }, { 1ull << 63, -EINVAL }, { UINT64_MAX, -EINVAL } };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct modelgen_buf buf = { 0 };
		struct parsed p;

		modelgen_put_u64(&buf, bad[i].length);
		modelgen_put(&buf, "{" FIRST "}", strlen("{" FIRST "}"));
		modelgen_fill(&buf, 1, buf.n + 8);
		parse_buf(&buf, &p);
		ck_assert_msg(p.err == bad[i].err, "%zu: %d %s", i, p.err, p.text);
		done(&p);
		modelgen_buf_free(&buf);
	}
}
END_TEST

START_TEST(limits_the_header)
{
	struct parse_msg msg = { NULL, 0 };
	struct modelgen_buf buf = { 0 };
	struct tensor_list list = { 0 };
	int fd;

	modelgen_put_u64(&buf, 100000001);
	fd = modelgen_memfd(&buf);
	ck_assert_int_eq(ftruncate(fd, 200000000), 0);
	ck_assert_int_eq(safetensors_parse(fd, 200000000, 0, &list, &msg), -E2BIG);
	close(fd);
	modelgen_buf_free(&buf);
}
END_TEST

START_TEST(limits_nesting_and_values)
{
	struct modelgen_buf text = { 0 };
	struct parsed p;

	refuse("{\"a\":[[[[[[[[1]]]]]]]]}", 0, -E2BIG, "nested deeper than 8");
	modelgen_put(&text, "{\"a\":[0", 7);
	for (size_t i = 0; i < 4000001; i++)
		modelgen_put(&text, ",0", 2);
	modelgen_put(&text, "]}", 3);
	parse((char *)text.data, 0, &p);
	check_refused(&p, -E2BIG, "more than 4000000 values");
	modelgen_buf_free(&text);
}
END_TEST

START_TEST(refuses_bad_json)
{
	refuse(" {" FIRST "}", 8, -EINVAL, "does not begin with '{'");
	refuse("[1]", 0, -EINVAL, "does not begin with '{'");
	refuse("{" FIRST, 8, -EINVAL, "not valid");
	refuse("{" FIRST "} x", 8, -EINVAL, "not valid");
	refuse("{\"a\\u0000b\":{}}", 0, -EINVAL, "not valid");
	refuse("{\"a\xff\":{}}", 0, -EINVAL, "not valid");
	refuse("{\"a\\\":{}}", 0, -EINVAL, "not valid");
	refuse(AND(FIRST), 8, -EINVAL, "duplicate");
	refuse("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
	       8, -EINVAL, "duplicate");
}
END_TEST

START_TEST(refuses_bad_metadata)
{
	refuse(AND("\"__metadata__\":[]"), 8, -EINVAL, "__metadata__ is not an object");
	refuse(AND("\"__metadata__\":{\"k\":1}"), 8, -EINVAL, "'k' that is not a string");
}
END_TEST

START_TEST(refuses_bad_names)
{
	struct parsed p;
	char *name = malloc(VRAM_TENSOR_NAME_MAX + 2);
	char *header;

	ck_assert_ptr_nonnull(name);
	memset(name, 'n', VRAM_TENSOR_NAME_MAX + 1);
	name[VRAM_TENSOR_NAME_MAX + 1] = '\0';
	for (int i = 0; i < 2; i++) {
		ck_assert_int_gt(
			asprintf(&header,
				 "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
				 name),
			0);
		parse(header, 1, &p);
		ck_assert_msg(p.err == (i ? 0 : -E2BIG), "%s", p.text);
		done(&p);
		free(header);
		name[VRAM_TENSOR_NAME_MAX] = '\0';
	}
	free(name);
	refuse("{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, -EINVAL,
	       "empty name");
}
END_TEST

START_TEST(refuses_bad_tensors)
{
	refuse(AND("\"t\":1"), 8, -EINVAL, "'t' is not an object");
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[8,9],\"x\":1}"), 9,
	       -EINVAL, "more than dtype, shape");
	refuse(AND("\"t\":{\"shape\":[1],\"data_offsets\":[8,9]}"), 9, -EINVAL, "has no dtype");
	refuse(AND("\"t\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[8,9]}"), 9, -EINVAL,
	       "has no dtype");
	refuse(AND("\"t\":{\"dtype\":\"X8\",\"shape\":[1],\"data_offsets\":[8,9]}"), 9, -ENOTSUP,
	       "unknown dtype 'X8'");
}
END_TEST

START_TEST(refuses_bad_shapes)
{
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"data_offsets\":[8,9]}"), 9, -EINVAL, "has no shape");
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[8,9]}"), 9, -EINVAL,
	       "has no shape");
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[8,9]}"), 9, -EINVAL,
	       "not a count");
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[8,9]}"), 9, -EINVAL,
	       "not a count");
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"shape\":[\"1\"],\"data_offsets\":[8,9]}"), 9, -EINVAL,
	       "not a count");
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[8,9]}"),
	       9, -E2BIG, "9 dimensions");
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[8,8]}"),
	       8, -EINVAL, "product overflows");
	refuse(AND("\"t\":{\"dtype\":\"U64\",\"shape\":[2305843009213693952],\"data_offsets\":[8,8]}"),
	       8, -EINVAL, "product overflows");
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"shape\":[9223372036854775808],\"data_offsets\":[8,8]}"),
	       8, -EINVAL, "not valid");
	refuse(AND("\"t\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[8,9]}"), 9, -EINVAL,
	       "whole bytes");
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[8,9]}"), 9, -EINVAL,
	       "needs 2 bytes, but has 1");
}
END_TEST

START_TEST(refuses_bad_offsets)
{
	static const char *const bad[] = { "",
					   ",\"data_offsets\":8",
					   ",\"data_offsets\":[8]",
					   ",\"data_offsets\":[8,9,10]",
					   ",\"data_offsets\":[9,8]",
					   ",\"data_offsets\":[-1,0]",
					   ",\"data_offsets\":[8,9.0]",
					   ",\"data_offsets\":[8,null]" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char header[256];

		snprintf(header, sizeof(header), AND("\"t\":{\"dtype\":\"U8\",\"shape\":[1]%s}"),
			 bad[i]);
		refuse(header, 9, -EINVAL, "no valid data_offsets");
	}
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"shape\":[1],"
		   "\"data_offsets\":[9223372036854775806,9223372036854775807]}"),
	       9, -EINVAL, "beyond the file's");
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[8,10]}"), 9, -EINVAL,
	       "'t' ends at");
}
END_TEST

START_TEST(refuses_gaps_and_overlaps)
{
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[7,8]}"), 8, -EINVAL,
	       "overlaps another one");
	refuse(AND("\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"), 8, -EINVAL,
	       "overlaps another one");
	refuse(AND("\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[9,10]}"), 10, -EINVAL,
	       "a gap of 1 bytes before tensor 't'");
	refuse("{" FIRST "}", 9, -EINVAL, "but the file has");
	refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2, -EINVAL,
	       "a gap");
}
END_TEST

START_TEST(reads_an_index)
{
	struct parsed p;

	parse_index("{\"metadata\":{\"total_size\":24},\"weight_map\":"
		    "{\"b\":\"m-2\",\"a\":\"m-1\",\"c\":\"m-2\"}}",
		    2, &p);
	ck_assert_msg(p.err == 0, "%s", p.text);
	ck_assert_uint_eq(p.index.n_files, 2);
	ck_assert_str_eq(p.index.files[0], "m-1");
	ck_assert_str_eq(p.index.files[1], "m-2");
	ck_assert_uint_eq(p.index.n_entries, 3);
	ck_assert_str_eq(p.index.entries[0].name, "a");
	ck_assert_uint_eq(p.index.entries[0].file, 0);
	ck_assert_str_eq(p.index.entries[2].name, "c");
	ck_assert_uint_eq(p.index.entries[2].file, 1);
	done(&p);
}
END_TEST

START_TEST(refuses_bad_indices)
{
	static const char *const names[] = {
		"", ".", "..", "/etc/passwd", "../x.safetensors", "a/b"
	};
	char *text, name[300];

	refuse_index("", -EINVAL, "does not begin");
	refuse_index("{", -EINVAL, "not valid");
	refuse_index("{}", -EINVAL, "no weight_map");
	refuse_index("{\"weight_map\":[]}", -EINVAL, "no weight_map");
	refuse_index("{\"weight_map\":{}}", -EINVAL, "no weight_map");
	refuse_index("{\"weight_map\":{\"a\":1}}", -EINVAL, "'a' of the index has no file");
	refuse_index("{\"weight_map\":{\"a\":\"x\",\"a\":\"y\"}}", -EINVAL, "duplicate");
	refuse_index("{\"weight_map\":{\"a\":\"x\",\"b\":\"y\",\"c\":\"z\"}}", -E2BIG,
		     "3 files, more than 2");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		ck_assert_int_gt(asprintf(&text, "{\"weight_map\":{\"a\":\"%s\"}}", names[i]), 0);
		refuse_index(text, -EINVAL, "not a file beside it");
		free(text);
	}
	memset(name, 'n', 256);
	name[256] = '\0';
	ck_assert_int_gt(asprintf(&text, "{\"weight_map\":{\"a\":\"%s\"}}", name), 0);
	refuse_index(text, -EINVAL, "not a file beside it");
	free(text);
}
END_TEST

START_TEST(compares_index_and_files)
{
	struct vram_tensor at[] = { { .file = 0 }, { .file = 1 }, { .file = 1 } };
	struct tensor_list list = { 0 };
	struct parsed p;
	struct parse_msg msg = { p.text, sizeof(p.text) };

	parse_index("{\"weight_map\":{\"a\":\"m-1\",\"b\":\"m-2\"}}", 2, &p);
	ck_assert_int_eq(p.err, 0);
	ck_assert_int_eq(tensor_list_add(&list, &at[0], "a", 1, &msg), 0);
	/* b is missing */
	ck_assert_int_eq(safetensors_index_check(&p.index, &list, &msg), -EINVAL);
	ck_assert_str_eq(p.text, "tensor 'b' is not in 'm-2', as the index says");
	ck_assert_int_eq(tensor_list_add(&list, &at[1], "b", 1, &msg), 0);
	ck_assert_int_eq(safetensors_index_check(&p.index, &list, &msg), 0);
	/* one more is fine */
	ck_assert_int_eq(tensor_list_add(&list, &at[2], "extra", 5, &msg), 0);
	ck_assert_int_eq(safetensors_index_check(&p.index, &list, &msg), 0);
	list.tensors[0].file = 1;
	ck_assert_int_eq(safetensors_index_check(&p.index, &list, &msg), -EINVAL);
	ck_assert_str_eq(p.text, "tensor 'a' is not in 'm-1', as the index says");
	tensor_list_deinit(&list);
	done(&p);
}
END_TEST

START_TEST(names_of_indices)
{
	char buf[64];

	ck_assert_int_eq(
		safetensors_index_path("/m/model-00002-of-00003.safetensors", buf, sizeof(buf)), 0);
	ck_assert_str_eq(buf, "/m/model.safetensors.index.json");
	ck_assert_int_eq(safetensors_index_path("/m/model.safetensors", buf, sizeof(buf)), -EINVAL);
	ck_assert_int_eq(safetensors_index_path("m-00002-of-0000x.safetensors", buf, sizeof(buf)),
			 -EINVAL);
	ck_assert_int_eq(safetensors_index_path("m-00002-of-00003.safetensors", buf, 8),
			 -ENAMETOOLONG);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("safetensors");
	TCase *valid = tcase_create("valid");
	TCase *refused = tcase_create("refused");
	SRunner *runner;
	int failed;

	tcase_add_test(valid, reads_a_file);
	tcase_add_test(valid, reads_what_the_reference_writes);
	tcase_add_test(valid, knows_every_dtype);
	tcase_add_test(valid, allows_empty_and_scalar_tensors);
	tcase_add_test(valid, reads_an_index);
	tcase_add_test(valid, compares_index_and_files);
	tcase_add_test(valid, names_of_indices);
	suite_add_tcase(suite, valid);

	tcase_set_timeout(refused, 60);
	tcase_add_test(refused, refuses_every_shorter_file);
	tcase_add_test(refused, refuses_bad_header_lengths);
	tcase_add_test(refused, limits_the_header);
	tcase_add_test(refused, limits_nesting_and_values);
	tcase_add_test(refused, refuses_bad_json);
	tcase_add_test(refused, refuses_bad_metadata);
	tcase_add_test(refused, refuses_bad_names);
	tcase_add_test(refused, refuses_bad_tensors);
	tcase_add_test(refused, refuses_bad_shapes);
	tcase_add_test(refused, refuses_bad_offsets);
	tcase_add_test(refused, refuses_gaps_and_overlaps);
	tcase_add_test(refused, refuses_bad_indices);
	suite_add_tcase(suite, refused);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
