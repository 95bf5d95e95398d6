// SPDX-License-Identifier: GPL-2.0-only
/*
 * The GGUF parser: what it reads from valid files and how it says what is wrong.
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

static struct modelgen_gguf *model_with_tensor(struct modelgen_tensor **out, uint32_t type,
					       uint64_t d0, uint64_t d1)
{
	struct modelgen_gguf *gguf = gguf_small_model();

	*out = modelgen_tensor(gguf, "extra", type, d0, d1, 0);
	return gguf;
}

START_TEST(reads_a_model)
{
	struct gguf_parsed p;

	gguf_parse_model(gguf_small_model(), &p);
	ck_assert_msg(p.err == 0, "%s", p.text);
	ck_assert_uint_eq(p.info.version, 3);
	ck_assert_uint_eq(p.info.alignment, 32);
	ck_assert_uint_eq(p.info.split_count, 1);
	ck_assert_uint_eq(p.info.split_no, 0);
	ck_assert(!p.info.is_encoder);
	ck_assert_str_eq(p.info.architecture, "llama");
	ck_assert_str_eq(p.info.name, "made for tests");
	ck_assert_uint_eq(p.list.n, 12);
	ck_assert_uint_eq(p.info.data_offset % 32, 0);

	/* token_embd: 32 columns are one block of 34 bytes, 96 rows */
	ck_assert_str_eq(p.list.tensors[0].name, "token_embd.weight");
	ck_assert_str_eq(p.list.tensors[0].type, "Q8_0");
	ck_assert_uint_eq(p.list.tensors[0].file, 7);
	ck_assert_uint_eq(p.list.tensors[0].n_dims, 2);
	ck_assert_uint_eq(p.list.tensors[0].dims[0], 96);
	ck_assert_uint_eq(p.list.tensors[0].dims[1], 32);
	ck_assert_uint_eq(p.list.tensors[0].offset, p.info.data_offset);
	ck_assert_uint_eq(p.list.tensors[0].bytes, 96 * 34);
	ck_assert_str_eq(p.list.tensors[1].name, "blk.0.attn_norm.weight");
	ck_assert_str_eq(p.list.tensors[1].type, "F32");
	ck_assert_uint_eq(p.list.tensors[1].n_dims, 1);
	ck_assert_uint_eq(p.list.tensors[1].bytes, 32 * 4);
	ck_assert_uint_eq(p.list.tensors[1].offset, p.info.data_offset + 96 * 34);
	gguf_parsed_deinit(&p);
}
END_TEST

START_TEST(reads_version_2)
{
	struct modelgen_gguf *gguf = gguf_small_model();
	struct gguf_parsed p;

	gguf->version = 2;
	gguf_parse_model(gguf, &p);
	ck_assert_int_eq(p.err, 0);
	ck_assert_uint_eq(p.info.version, 2);
	ck_assert_uint_eq(p.list.n, 12);
	gguf_parsed_deinit(&p);
}
END_TEST

START_TEST(reads_another_alignment)
{
	struct modelgen_gguf *gguf = gguf_small_model();
	struct gguf_parsed p;

	gguf->alignment = 4096;
	modelgen_key_u32(gguf, "general.alignment", 4096);
	gguf_parse_model(gguf, &p);
	ck_assert_msg(p.err == 0, "%s", p.text);
	ck_assert_uint_eq(p.info.alignment, 4096);
	ck_assert_uint_eq(p.info.data_offset, 4096);
	ck_assert_uint_eq(p.list.tensors[1].offset, 8192);
	gguf_parsed_deinit(&p);
}
END_TEST

START_TEST(reads_a_vocabulary_alone)
{
	struct modelgen_gguf *gguf = modelgen_gguf_new();
	struct gguf_parsed p;

	modelgen_key_string(gguf, "general.architecture", "llama");
	gguf_parse_model(gguf, &p);
	ck_assert_int_eq(p.err, 0);
	ck_assert_uint_eq(p.list.n, 0);
	gguf_parsed_deinit(&p);
}
END_TEST

/* Every type of value, arrays of arrays among them, before the keys that are kept. */
START_TEST(skips_all_values)
{
	static const size_t bytes[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
	struct modelgen_gguf *gguf = modelgen_gguf_new();
	struct modelgen_buf *value;
	char name[16];
	struct gguf_parsed p;

	for (uint32_t type = 0; type < 13; type++) {
		if (!bytes[type])
			continue;
		snprintf(name, sizeof(name), "x.%u", type);
		modelgen_put(modelgen_key(gguf, name, type), "\1\1\1\1\1\1\1\1", bytes[type]);
	}
	modelgen_key_string(gguf, "x.string", "text");
	value = modelgen_key(gguf, "x.strings", MODELGEN_ARRAY);
	modelgen_put_u32(value, MODELGEN_STRING);
	modelgen_put_u64(value, 3);
	modelgen_put_string(value, "a");
	modelgen_put_string(value, "");
	modelgen_put_string(value, "ccc");
	value = modelgen_key(gguf, "x.arrays", MODELGEN_ARRAY);
	modelgen_put_u32(value, MODELGEN_ARRAY);
	modelgen_put_u64(value, 2);
	for (int i = 0; i < 2; i++) {
		modelgen_put_u32(value, MODELGEN_ARRAY);
		modelgen_put_u64(value, 1);
		modelgen_put_u32(value, MODELGEN_UINT16);
		modelgen_put_u64(value, 2);
		modelgen_put_u32(value, 0x12345678);
	}
	value = modelgen_key(gguf, "x.empty", MODELGEN_ARRAY);
	modelgen_put_u32(value, MODELGEN_FLOAT64);
	modelgen_put_u64(value, 0);
	modelgen_key_string(gguf, "general.architecture", "last");
	modelgen_tensor(gguf, "t", MODELGEN_F32, 8, 0, 0);
	gguf_parse_model(gguf, &p);
	ck_assert_msg(p.err == 0, "%s", p.text);
	ck_assert_str_eq(p.info.architecture, "last");
	ck_assert_uint_eq(p.list.n, 1);
	gguf_parsed_deinit(&p);
}
END_TEST

/* A vocabulary larger than the window that is read at once. */
START_TEST(reads_past_its_window)
{
	struct modelgen_gguf *gguf = gguf_small_model();
	struct modelgen_buf *value = modelgen_key(gguf, "tokenizer.ggml.tokens", MODELGEN_ARRAY);
	struct gguf_parsed p;
	char text[16];

	modelgen_put_u32(value, MODELGEN_STRING);
	modelgen_put_u64(value, 30000);
	for (int i = 0; i < 30000; i++) {
		snprintf(text, sizeof(text), "token%d", i);
		modelgen_put_string(value, text);
	}
	gguf_parse_model(gguf, &p);
	ck_assert_msg(p.err == 0, "%s", p.text);
	ck_assert_uint_eq(p.list.n, 12);
	ck_assert_str_eq(p.list.tensors[11].name, "output.weight");
	gguf_parsed_deinit(&p);
}
END_TEST

START_TEST(knows_every_tensor_type)
{
	/* Bytes of a row of 256 elements, computed from the structs of ggml-common.h. */
	static const struct {
		uint32_t type;
		const char *name;
		uint64_t bytes;
	} types[] = {
		{ 0, "F32", 1024 },
		{ 1, "F16", 512 },
		{ 2, "Q4_0", 8 * (2 + 16) },
		{ 3, "Q4_1", 8 * (2 + 2 + 16) },
		{ 6, "Q5_0", 8 * (2 + 4 + 16) },
		{ 7, "Q5_1", 8 * (2 + 2 + 4 + 16) },
		{ 8, "Q8_0", 8 * (2 + 32) },
		{ 9, "Q8_1", 8 * (2 + 2 + 32) },
		{ 10, "Q2_K", 2 + 2 + 256 / 16 + 256 / 4 },
		{ 11, "Q3_K", 2 + 256 / 4 + 256 / 8 + 12 },
		{ 12, "Q4_K", 2 + 2 + 12 + 256 / 2 },
		{ 13, "Q5_K", 2 + 2 + 12 + 256 / 2 + 256 / 8 },
		{ 14, "Q6_K", 2 + 256 / 16 + 3 * 256 / 4 },
		{ 15, "Q8_K", 4 + 256 + 256 / 16 * 2 },
		{ 16, "IQ2_XXS", 2 + 256 / 8 * 2 },
		{ 17, "IQ2_XS", 2 + 256 / 8 * 2 + 256 / 32 },
		{ 18, "IQ3_XXS", 2 + 3 * 256 / 8 },
		{ 19, "IQ1_S", 2 + 256 / 8 + 256 / 16 },
		{ 20, "IQ4_NL", 8 * (2 + 16) },
		{ 21, "IQ3_S", 2 + 13 * 256 / 32 + 256 / 64 },
		{ 22, "IQ2_S", 2 + 256 / 4 + 256 / 16 },
		{ 23, "IQ4_XS", 2 + 2 + 256 / 64 + 256 / 2 },
		{ 24, "I8", 256 },
		{ 25, "I16", 512 },
		{ 26, "I32", 1024 },
		{ 27, "I64", 2048 },
		{ 28, "F64", 2048 },
		{ 29, "IQ1_M", 256 / 8 + 256 / 16 + 256 / 32 },
		{ 30, "BF16", 512 },
		{ 34, "TQ1_0", 2 + 256 / 64 + (256 - 4 * 256 / 64) / 5 },
		{ 35, "TQ2_0", 2 + 256 / 4 },
		{ 39, "MXFP4", 8 * (1 + 16) },
		{ 40, "NVFP4", 4 * (4 + 32) },
		{ 41, "Q1_0", 2 * (2 + 16) },
		{ 42, "Q2_0", 4 * (2 + 16) },
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct modelgen_gguf *gguf = modelgen_gguf_new();
		struct modelgen_tensor *t = modelgen_tensor(gguf, "t", types[i].type, 256, 3, 0);
		struct gguf_parsed p;

		t->bytes = types[i].bytes * 3;
		gguf_parse_model(gguf, &p);
		ck_assert_msg(p.err == 0, "%s", p.text);
		ck_assert_str_eq(p.list.tensors[0].type, types[i].name);
		ck_assert_msg(p.list.tensors[0].bytes == types[i].bytes * 3, "%s: %llu",
			      types[i].name, (unsigned long long)p.list.tensors[0].bytes);
		gguf_parsed_deinit(&p);
	}
}
END_TEST

START_TEST(allows_empty_and_scalar_tensors)
{
	struct modelgen_gguf *gguf = gguf_small_model();
	struct modelgen_tensor *scalar = modelgen_tensor(gguf, "scalar", MODELGEN_F32, 1, 0, 0);
	struct gguf_parsed p;

	scalar->n_dims = 0;
	modelgen_tensor(gguf, "empty", MODELGEN_F32, 0, 0, 0);
	modelgen_tensor(gguf, "behind", MODELGEN_F32, 2, 0, 0);
	gguf_parse_model(gguf, &p);
	ck_assert_msg(p.err == 0, "%s", p.text);
	ck_assert_uint_eq(p.list.tensors[12].bytes, 4);
	ck_assert_uint_eq(p.list.tensors[12].n_dims, 0);
	ck_assert_uint_eq(p.list.tensors[13].bytes, 0);
	ck_assert_uint_eq(p.list.tensors[14].bytes, 8);
	gguf_parsed_deinit(&p);
}
END_TEST

START_TEST(tells_encoders)
{
	struct modelgen_gguf *gguf = gguf_small_model();
	struct gguf_parsed p;

	modelgen_key_u32(gguf, "bert.pooling_type", 1);
	gguf_parse_model(gguf, &p);
	ck_assert(p.info.is_encoder);
	gguf_parsed_deinit(&p);

	gguf = gguf_small_model();
	modelgen_put(modelgen_key(gguf, "bert.attention.causal", MODELGEN_BOOL), "\0", 1);
	gguf_parse_model(gguf, &p);
	ck_assert(p.info.is_encoder);
	gguf_parsed_deinit(&p);

	gguf = gguf_small_model();
	modelgen_key_u32(gguf, "llama.pooling_type", 0);
	modelgen_put(modelgen_key(gguf, "llama.attention.causal", MODELGEN_BOOL), "\1", 1);
	gguf_parse_model(gguf, &p);
	ck_assert(!p.info.is_encoder);
	gguf_parsed_deinit(&p);
}
END_TEST

START_TEST(cuts_long_texts)
{
	struct modelgen_gguf *gguf = modelgen_gguf_new();
	struct gguf_parsed p;
	char text[500];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	modelgen_key_string(gguf, "general.name", text);
	modelgen_key_string(gguf, "general.architecture", "behind");
	gguf_parse_model(gguf, &p);
	ck_assert_int_eq(p.err, 0);
	ck_assert_uint_eq(strlen(p.info.name), GGUF_TEXT_MAX - 1);
	ck_assert_str_eq(p.info.architecture, "behind");
	gguf_parsed_deinit(&p);
}
END_TEST

START_TEST(names_of_parts)
{
	const char *path = "/m/x-00002-of-00003.gguf";
	char buf[64];

	ck_assert_int_eq(gguf_split_path(path, 1, 0, 3, buf, sizeof(buf)), 0);
	ck_assert_str_eq(buf, "/m/x-00001-of-00003.gguf");
	ck_assert_int_eq(gguf_split_path(path, 1, 2, 3, buf, sizeof(buf)), 0);
	ck_assert_str_eq(buf, "/m/x-00003-of-00003.gguf");
	/* The name says other numbers than the file. */
	ck_assert_int_eq(gguf_split_path(path, 0, 2, 3, buf, sizeof(buf)), -EINVAL);
	ck_assert_int_eq(gguf_split_path(path, 1, 2, 4, buf, sizeof(buf)), -EINVAL);
	ck_assert_int_eq(gguf_split_path("/m/x.gguf", 0, 1, 2, buf, sizeof(buf)), -EINVAL);
	ck_assert_int_eq(gguf_split_path("-00001-of-00002.gguf", 0, 1, 2, buf, sizeof(buf)),
			 -EINVAL);
	ck_assert_int_eq(gguf_split_path("x-0000a-of-00002.gguf", 0, 1, 2, buf, sizeof(buf)),
			 -EINVAL);
	ck_assert_int_eq(gguf_split_path(path, 1, 2, 3, buf, 10), -ENAMETOOLONG);
}
END_TEST

/* What a file says must not reach a terminal as it is. */
START_TEST(messages_are_printable)
{
	struct modelgen_tensor *t;
	struct modelgen_gguf *gguf = model_with_tensor(&t, 99, 8, 0);
	struct gguf_parsed p;

	snprintf(t->name, sizeof(t->name), "\033[2J\xc3\xa4\n");
	t->bytes = 32;
	gguf_parse_model(gguf, &p);
	ck_assert_int_eq(p.err, -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(p.text, "?[2J?"));
	for (const char *c = p.text; *c; c++)
		ck_assert(*c >= 0x20 && *c < 0x7f);
	gguf_parsed_deinit(&p);
}
END_TEST

START_TEST(messages_may_be_short_or_unwanted)
{
	struct modelgen_gguf *gguf = gguf_small_model();
	struct modelgen_buf buf = { 0 };
	struct tensor_list list = { 0 };
	struct gguf_info info;
	char text[8] = "unused";
	struct parse_msg msg = { text, 4 };
	int fd;

	gguf->version = 9;
	modelgen_gguf_build(gguf, &buf);
	modelgen_gguf_free(gguf);
	fd = modelgen_memfd(&buf);
	ck_assert_int_eq(gguf_parse(fd, buf.n, 0, &list, &info, &msg), -ENOTSUP);
	ck_assert_str_eq(text, "GGU");
	ck_assert_str_eq(text + 5, "d");
	msg.text = NULL;
	ck_assert_int_eq(gguf_parse(fd, buf.n, 0, &list, &info, &msg), -ENOTSUP);
	close(fd);
	modelgen_buf_free(&buf);
	tensor_list_deinit(&list);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gguf");
	TCase *tcase = tcase_create("core");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, reads_a_model);
	tcase_add_test(tcase, reads_version_2);
	tcase_add_test(tcase, reads_another_alignment);
	tcase_add_test(tcase, reads_a_vocabulary_alone);
	tcase_add_test(tcase, skips_all_values);
	tcase_add_test(tcase, reads_past_its_window);
	tcase_add_test(tcase, knows_every_tensor_type);
	tcase_add_test(tcase, allows_empty_and_scalar_tensors);
	tcase_add_test(tcase, tells_encoders);
	tcase_add_test(tcase, cuts_long_texts);
	tcase_add_test(tcase, names_of_parts);
	tcase_add_test(tcase, messages_are_printable);
	tcase_add_test(tcase, messages_may_be_short_or_unwanted);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
