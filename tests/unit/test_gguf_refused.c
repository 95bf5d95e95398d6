// SPDX-License-Identifier: GPL-2.0-only
/*
 * The GGUF parser on hostile files: one file for every field that can be wrong, everything
 * else in it valid.
 *
 * links: libclient/gguf.c libclient/tensors.c common/err.c tests/support/modelgen.c
 * links: tests/support/gguf_parsed.c
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/gguf_parsed.h"

static void accept_model(struct modelgen_gguf *gguf)
{
	struct gguf_parsed p;

	gguf_parse_model(gguf, &p);
	ck_assert_msg(p.err == 0, "refused: %d %s", p.err, p.text);
	gguf_parsed_deinit(&p);
}

/* Frees the model; it must be refused with this error and a message with these words. */
static void refuse(struct modelgen_gguf *gguf, int err, const char *words)
{
	struct gguf_parsed p;

	gguf_parse_model(gguf, &p);
	ck_assert_msg(p.err == err, "%d instead of %d: %s", p.err, err, p.text);
	ck_assert_msg(strstr(p.text, words) != NULL, "no '%s' in '%s'", words, p.text);
	gguf_parsed_deinit(&p);
}

static struct modelgen_gguf *model_with_tensor(struct modelgen_tensor **out, uint32_t type,
					       uint64_t d0, uint64_t d1)
{
	struct modelgen_gguf *gguf = gguf_small_model();

	*out = modelgen_tensor(gguf, "extra", type, d0, d1, 0);
	return gguf;
}

START_TEST(refuses_every_shorter_file)
{
	struct modelgen_gguf *gguf = gguf_small_model();
	struct modelgen_buf buf = { 0 };
	struct gguf_parsed p;

	modelgen_gguf_build(gguf, &buf);
	modelgen_gguf_free(gguf);
	gguf_parse_buf(&buf, &p);
	ck_assert_int_eq(p.err, 0);
	gguf_parsed_deinit(&p);
	for (size_t full = buf.n; buf.n > 0;) {
		/* Every length within the header, and some within the data. */
		buf.n -= buf.n > 1200 ? 97 : 1;
		ck_assert_uint_lt(buf.n, full);
		gguf_parse_buf(&buf, &p);
		ck_assert_msg(p.err == -EINVAL, "%zu bytes: %d %s", buf.n, p.err, p.text);
		ck_assert(p.text[0]);
		gguf_parsed_deinit(&p);
	}
	modelgen_buf_free(&buf);
}
END_TEST

START_TEST(says_that_the_file_shrank)
{
	struct modelgen_gguf *gguf = gguf_small_model();
	struct modelgen_buf buf = { 0 };
	struct gguf_parsed p;

	modelgen_gguf_build(gguf, &buf);
	modelgen_gguf_free(gguf);
	gguf_parse_fd(modelgen_memfd(&buf), buf.n + 1000000, &p);
	ck_assert_int_eq(p.err, -ESTALE);
	gguf_parsed_deinit(&p);
	modelgen_buf_free(&buf);
}
END_TEST

START_TEST(forwards_read_errors)
{
	struct gguf_parsed p;

	gguf_parse_fd(-1, 100000, &p);
	ck_assert_int_eq(p.err, -EBADF);
	ck_assert_ptr_nonnull(strstr(p.text, "cannot read"));
	gguf_parsed_deinit(&p);
}
END_TEST

START_TEST(refuses_bad_magic)
{
	struct modelgen_gguf *gguf = gguf_small_model();

	gguf->magic[3] = 'T';
	refuse(gguf, -EINVAL, "no GGUF file");
}
END_TEST

START_TEST(refuses_bad_versions)
{
	static const struct {
		uint32_t version;
		const char *words;
	} bad[] = { { 0, "version 0 is unknown" },
		    { 1, "version 1 is too old" },
		    { 4, "version 4 is unknown" },
		    { 0x03000000, "big-endian" },
		    { 0x02000000, "big-endian" } };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct modelgen_gguf *gguf = gguf_small_model();

		gguf->version = bad[i].version;
		refuse(gguf, -ENOTSUP, bad[i].words);
	}
}
END_TEST

START_TEST(refuses_bad_counts)
{
	static const uint64_t huge[] = { 100000, 1ull << 32, 1ull << 63, UINT64_MAX - 1 };

	for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
		struct modelgen_gguf *gguf = gguf_small_model();

		gguf->n_tensors_said = huge[i];
		refuse(gguf, -EINVAL, "tensors, more than the file holds");
		gguf = gguf_small_model();
		gguf->n_keys_said = huge[i];
		refuse(gguf, -EINVAL, "keys, more than the file holds");
	}
}
END_TEST

START_TEST(refuses_too_many_keys)
{
	struct modelgen_gguf *gguf = gguf_small_model();
	struct modelgen_buf buf = { 0 };
	struct gguf_parsed p;
	int fd;

	gguf->n_keys_said = 65537;
	modelgen_gguf_build(gguf, &buf);
	modelgen_gguf_free(gguf);
	fd = modelgen_memfd(&buf);
	ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
	gguf_parse_fd(fd, 1 << 20, &p);
	ck_assert_int_eq(p.err, -E2BIG);
	gguf_parsed_deinit(&p);
	modelgen_buf_free(&buf);
}
END_TEST

START_TEST(refuses_one_tensor_too_many)
{
	struct gguf_parsed p = { .list = { .n = VRAM_TENSOR_MAX, .n_allocated = VRAM_TENSOR_MAX } };
	struct parse_msg msg = { p.text, sizeof(p.text) };
	struct vram_tensor tensor = { .type = "F32" };

	ck_assert_int_eq(tensor_list_add(&p.list, &tensor, "t", 1, &msg), -E2BIG);
	ck_assert_uint_eq(p.list.n, VRAM_TENSOR_MAX);
	ck_assert_ptr_nonnull(strstr(p.text, "more than 1000000 tensors"));
}
END_TEST

START_TEST(refuses_bad_keys)
{
	struct modelgen_gguf *gguf = gguf_small_model();
	struct modelgen_buf buf = { 0 };
	struct gguf_parsed p;
	char *name;

	modelgen_key_u32(gguf, "", 1);
	refuse(gguf, -EINVAL, "empty name");

	gguf = gguf_small_model();
	modelgen_key_u32(gguf, "general.alignment", 32);
	modelgen_key_u32(gguf, "general.alignment", 32);
	refuse(gguf, -EINVAL, "'general.alignment' is there twice");

	/* Names that the generator cannot hold: one key, written here. */
	for (int i = 0; i < 2; i++) {
		modelgen_put(&buf, "GGUF\3\0\0\0", 8);
		modelgen_put_u64(&buf, 0);
		modelgen_put_u64(&buf, 1);
		if (i == 0) {
			modelgen_put_u64(&buf, 3);
			modelgen_put(&buf, "a\0b", 3);
		} else {
			name = calloc(1, 65537);
			ck_assert_ptr_nonnull(name);
			memset(name, 'k', 65536);
			modelgen_put_string(&buf, name);
			free(name);
		}
		modelgen_put_u32(&buf, MODELGEN_UINT64);
		modelgen_put_u64(&buf, 0);
		gguf_parse_buf(&buf, &p);
		ck_assert_int_eq(p.err, i ? -E2BIG : -EINVAL);
		ck_assert_ptr_nonnull(strstr(p.text, i ? "65536 bytes long" : "NUL"));
		gguf_parsed_deinit(&p);
		buf.n = 0;
	}
	modelgen_buf_free(&buf);
}
END_TEST

START_TEST(refuses_bad_values)
{
	struct modelgen_gguf *gguf = gguf_small_model();
	struct modelgen_buf *value;

	modelgen_put_u64(modelgen_key(gguf, "k", 13), 0);
	refuse(gguf, -EINVAL, "unknown value type 13");

	gguf = gguf_small_model();
	modelgen_put_u64(modelgen_key(gguf, "k", MODELGEN_STRING), 1 << 30);
	refuse(gguf, -EINVAL, "the file ends within k");

	gguf = gguf_small_model();
	modelgen_put_u64(modelgen_key(gguf, "general.name", MODELGEN_STRING), UINT64_MAX);
	refuse(gguf, -EINVAL, "ends within general.name");

	gguf = gguf_small_model();
	value = modelgen_key(gguf, "k", MODELGEN_ARRAY);
	modelgen_put_u32(value, 13);
	modelgen_put_u64(value, 0);
	refuse(gguf, -EINVAL, "unknown value type 13");

	gguf = gguf_small_model();
	value = modelgen_key(gguf, "k", MODELGEN_ARRAY);
	modelgen_put_u32(value, MODELGEN_UINT64);
	modelgen_put_u64(value, 1ull << 61);
	refuse(gguf, -EINVAL, "elements, more than the file holds");

	gguf = gguf_small_model();
	value = modelgen_key(gguf, "k", MODELGEN_ARRAY);
	modelgen_put_u32(value, MODELGEN_STRING);
	modelgen_put_u64(value, 2);
	modelgen_put_string(value, "fine");
	modelgen_put_u64(value, UINT64_MAX - 7);
	refuse(gguf, -EINVAL, "the file ends within k");
}
END_TEST

START_TEST(limits_nesting)
{
	for (uint32_t depth = 4; depth <= 5; depth++) {
		struct modelgen_gguf *gguf = gguf_small_model();
		struct modelgen_buf *value = modelgen_key(gguf, "k", MODELGEN_ARRAY);

		for (uint32_t i = 1; i < depth; i++) {
			modelgen_put_u32(value, MODELGEN_ARRAY);
			modelgen_put_u64(value, 1);
		}
		modelgen_put_u32(value, MODELGEN_UINT8);
		modelgen_put_u64(value, 1);
		modelgen_put(value, "x", 1);
		if (depth == 4)
			accept_model(gguf);
		else
			refuse(gguf, -E2BIG, "nested deeper than 4");
	}
}
END_TEST

START_TEST(refuses_bad_alignments)
{
	static const uint32_t bad[] = { 0, 3, 48, UINT32_MAX };
	struct modelgen_gguf *gguf;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		gguf = gguf_small_model();
		modelgen_key_u32(gguf, "general.alignment", bad[i]);
		refuse(gguf, -EINVAL, "not a power of two");
	}
	gguf = gguf_small_model();
	modelgen_put_u64(modelgen_key(gguf, "general.alignment", MODELGEN_UINT64), 1ull << 32);
	refuse(gguf, -EINVAL, "not a power of two");
	gguf = gguf_small_model();
	modelgen_key_string(gguf, "general.alignment", "32");
	refuse(gguf, -EINVAL, "no integer");
	gguf = gguf_small_model();
	modelgen_put_u32(modelgen_key(gguf, "general.alignment", MODELGEN_INT32), (uint32_t)-32);
	refuse(gguf, -EINVAL, "is negative");
	/* So large that the data would begin behind the end. */
	gguf = gguf_small_model();
	modelgen_key_u32(gguf, "general.alignment", 1u << 31);
	refuse(gguf, -EINVAL, "beyond the file's");
}
END_TEST

START_TEST(refuses_bad_splits)
{
	struct modelgen_gguf *gguf = gguf_small_model();

	modelgen_key_u16(gguf, "split.count", 0);
	refuse(gguf, -EINVAL, "split.count is 0");
	gguf = gguf_small_model();
	modelgen_key_u16(gguf, "split.no", 2);
	modelgen_key_u16(gguf, "split.count", 2);
	refuse(gguf, -EINVAL, "split.no is 2, but split.count is 2");
	gguf = gguf_small_model();
	modelgen_key_u16(gguf, "split.count", 1025);
	refuse(gguf, -E2BIG, "split.count is 1025");
	gguf = gguf_small_model();
	modelgen_put(modelgen_key(gguf, "split.no", MODELGEN_INT8), "\xff", 1);
	refuse(gguf, -EINVAL, "is negative");
	gguf = gguf_small_model();
	modelgen_key_u32(gguf, "general.architecture2", 1);
	modelgen_put_u32(modelgen_key(gguf, "split.tensors.count", MODELGEN_FLOAT32), 0);
	refuse(gguf, -EINVAL, "no integer");
}
END_TEST

START_TEST(refuses_texts_that_are_none)
{
	struct modelgen_gguf *gguf = modelgen_gguf_new();

	modelgen_key_u32(gguf, "general.architecture", 1);
	refuse(gguf, -EINVAL, "'general.architecture' is no string");
}
END_TEST

START_TEST(refuses_bad_tensor_names)
{
	struct modelgen_buf buf = { 0 };
	struct gguf_parsed p;
	char name[VRAM_TENSOR_NAME_MAX + 2];
	const struct {
		const char *text;
		size_t n;
		int err;
	} names[] = { { "", 0, -EINVAL },
		      { "a\0b", 3, -EINVAL },
		      { name, VRAM_TENSOR_NAME_MAX + 1, -E2BIG },
		      { name, VRAM_TENSOR_NAME_MAX, 0 } };

	memset(name, 'n', sizeof(name));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		buf.n = 0;
		modelgen_put(&buf, "GGUF\3\0\0\0", 8);
		modelgen_put_u64(&buf, 1);
		modelgen_put_u64(&buf, 0);
		modelgen_put_u64(&buf, names[i].n);
		modelgen_put(&buf, names[i].text, names[i].n);
		modelgen_put_u32(&buf, 1);
		modelgen_put_u64(&buf, 8);
		modelgen_put_u32(&buf, MODELGEN_F32);
		modelgen_put_u64(&buf, 0);
		modelgen_fill(&buf, 1, buf.n + 64);
		gguf_parse_buf(&buf, &p);
		ck_assert_msg(p.err == names[i].err, "%zu: %d %s", i, p.err, p.text);
		gguf_parsed_deinit(&p);
	}
	modelgen_buf_free(&buf);
}
END_TEST

START_TEST(refuses_the_same_tensor_twice)
{
	struct modelgen_gguf *gguf = gguf_small_model();

	modelgen_tensor(gguf, "blk.0.attn_q.weight", MODELGEN_F32, 8, 0, 0);
	refuse(gguf, -EINVAL, "'blk.0.attn_q.weight' is there twice");
}
END_TEST

START_TEST(refuses_bad_dimensions)
{
	struct modelgen_tensor *t;
	struct modelgen_gguf *gguf = model_with_tensor(&t, MODELGEN_F32, 1, 1);

	t->n_dims = 5;
	t->dims[2] = t->dims[3] = t->dims[4] = 1;
	t->bytes = 4;
	refuse(gguf, -EINVAL, "has 5 dimensions");

	gguf = model_with_tensor(&t, MODELGEN_Q8_0, 33, 2);
	t->bytes = 68;
	refuse(gguf, -EINVAL, "rows of 33 elements, not a multiple of Q8_0's 32");

	gguf = model_with_tensor(&t, MODELGEN_F32, 1ull << 62, 0);
	t->bytes = 4;
	refuse(gguf, -EINVAL, "product overflows");

	gguf = model_with_tensor(&t, MODELGEN_F32, 1ull << 40, 1ull << 40);
	t->bytes = 4;
	refuse(gguf, -EINVAL, "product overflows");

	gguf = model_with_tensor(&t, MODELGEN_F32, 1ull << 40, 1);
	t->bytes = 4;
	refuse(gguf, -EINVAL, "beyond the file's");
}
END_TEST

START_TEST(refuses_bad_tensor_types)
{
	static const uint32_t bad[] = { 4, 5, 31, 36, 38, 43, 1000, UINT32_MAX };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct modelgen_tensor *t;
		struct modelgen_gguf *gguf = model_with_tensor(&t, bad[i], 256, 1);

		t->bytes = 256;
		refuse(gguf, -ENOTSUP, "unknown type");
	}
}
END_TEST

START_TEST(refuses_bad_offsets)
{
	struct modelgen_tensor *t;
	struct modelgen_gguf *gguf = model_with_tensor(&t, MODELGEN_F32, 8, 0);

	t->offset = 4;
	refuse(gguf, -EINVAL, "not a multiple of the alignment 32");

	gguf = model_with_tensor(&t, MODELGEN_F32, 8, 0);
	t->offset = UINT64_MAX - 31;
	refuse(gguf, -EINVAL, "offset that overflows");

	gguf = model_with_tensor(&t, MODELGEN_F32, 8, 0);
	t->offset = 1 << 20;
	refuse(gguf, -EINVAL, "'extra' ends at");

	gguf = model_with_tensor(&t, MODELGEN_F32, 8, 0);
	t->offset = 0;
	refuse(gguf, -EINVAL, "'token_embd.weight' overlap");
}
END_TEST

/* An empty tensor in the middle must not hide it. */
START_TEST(refuses_overlaps_around_empty_tensors)
{
	struct modelgen_gguf *gguf = modelgen_gguf_new();

	modelgen_tensor(gguf, "around", MODELGEN_F32, 64, 0, 0);
	modelgen_tensor(gguf, "empty", MODELGEN_F32, 0, 0, 0)->offset = 32;
	modelgen_tensor(gguf, "inside", MODELGEN_F32, 1, 0, 0)->offset = 32;
	refuse(gguf, -EINVAL, "'around' and 'inside' overlap");
}
END_TEST

START_TEST(limits_the_header)
{
	const uint64_t size = 1ull << 30;
	struct modelgen_buf buf = { 0 };
	struct gguf_parsed p;
	int fd;

	/* One array, in the hole behind what is written. */
	modelgen_put(&buf, "GGUF\3\0\0\0", 8);
	modelgen_put_u64(&buf, 0);
	modelgen_put_u64(&buf, 1);
	modelgen_put_string(&buf, "k");
	modelgen_put_u32(&buf, MODELGEN_ARRAY);
	modelgen_put_u32(&buf, MODELGEN_UINT8);
	for (int i = 0; i < 2; i++) {
		modelgen_put_u64(&buf, i ? 256ull << 20 : 255ull << 20);
		fd = modelgen_memfd(&buf);
		ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
		gguf_parse_fd(fd, size, &p);
		ck_assert_msg(p.err == (i ? -E2BIG : 0), "%d %s", p.err, p.text);
		ck_assert_int_eq(!i, !strstr(p.text, "longer than 268435456 bytes"));
		gguf_parsed_deinit(&p);
		buf.n -= 8;
	}

	/* The same with a string. */
	buf.n -= 8;
	modelgen_put_u32(&buf, MODELGEN_STRING);
	modelgen_put_u64(&buf, 256ull << 20);
	fd = modelgen_memfd(&buf);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	gguf_parse_fd(fd, size, &p);
	ck_assert_int_eq(p.err, -E2BIG);
	gguf_parsed_deinit(&p);
	modelgen_buf_free(&buf);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gguf_refused");
	TCase *tcase = tcase_create("core");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, refuses_every_shorter_file);
	tcase_add_test(tcase, says_that_the_file_shrank);
	tcase_add_test(tcase, forwards_read_errors);
	tcase_add_test(tcase, refuses_bad_magic);
	tcase_add_test(tcase, refuses_bad_versions);
	tcase_add_test(tcase, refuses_bad_counts);
	tcase_add_test(tcase, refuses_too_many_keys);
	tcase_add_test(tcase, refuses_one_tensor_too_many);
	tcase_add_test(tcase, refuses_bad_keys);
	tcase_add_test(tcase, refuses_bad_values);
	tcase_add_test(tcase, limits_nesting);
	tcase_add_test(tcase, refuses_bad_alignments);
	tcase_add_test(tcase, refuses_bad_splits);
	tcase_add_test(tcase, refuses_texts_that_are_none);
	tcase_add_test(tcase, refuses_bad_tensor_names);
	tcase_add_test(tcase, refuses_the_same_tensor_twice);
	tcase_add_test(tcase, refuses_bad_dimensions);
	tcase_add_test(tcase, refuses_bad_tensor_types);
	tcase_add_test(tcase, refuses_bad_offsets);
	tcase_add_test(tcase, refuses_overlaps_around_empty_tensors);
	tcase_add_test(tcase, limits_the_header);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
