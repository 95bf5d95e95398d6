// SPDX-License-Identifier: GPL-2.0-only
/*
 * JSON as text: what jansson reads back.
 *
 * links: daemon/json_text.c common/utf8.c
 * libs: -ljansson
 */
#include "daemon/json_text.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static struct json_text j;
static json_t *json;

static void take(void)
{
	size_t len;
	char *text = json_text_take(&j, &len);
	json_error_t error;

	ck_assert_ptr_nonnull(text);
	ck_assert_uint_eq(len, strlen(text));
	json_decref(json);
	json = json_loads(text, 0, &error);
	ck_assert_msg(json != NULL, "%s: %s", error.text, text);
	free(text);
}

static const char *as_read(const char *text)
{
	json_text_open(&j, NULL, '[');
	json_text_string(&j, NULL, text);
	json_text_close(&j, ']');
	take();
	return json_string_value(json_array_get(json, 0));
}

START_TEST(test_strings)
{
	static const char *const same[] = {
		"",
		"a",
		"\"quoted\"",
		"back\\slash",
		"\n\t\r\b\f\x01\x1f\x7f",
		"gr\xc3\xbc\xc3\x9f",
		"\xf4\x8f\xbf\xbf",
		"\xe2\x82\xac/",
	};
	static const struct {
		const char *text, *shown;
	} wrong[] = {
		{ "\xff", "?" },
		{ "a\xc3", "a?" },
		{ "\xc0\x80", "??" },
		{ "\xed\xa0\x80", "???" },
		{ "\xf4\x90\x80\x80", "????" },
		{ "\xe0\x80\x80", "???" },
		{ "\xc3\xbc\xff", "???" },
	};

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		ck_assert_str_eq(as_read(same[i]), same[i]);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_str_eq(as_read(wrong[i].text), wrong[i].shown);
}
END_TEST

START_TEST(test_values)
{
	json_text_open(&j, NULL, '{');
	json_text_number(&j, "none", 0);
	json_text_number(&j, "most", INT64_MAX);
	json_text_number(&j, "more", UINT64_MAX);
	json_text_signed(&j, "least", INT64_MIN);
	json_text_signed(&j, "minus", -20);
	json_text_fraction(&j, "part", 1204, 100);
	json_text_fraction(&j, "small", 5, 10000);
	json_text_bool(&j, "yes", true);
	json_text_bool(&j, "no", false);
	json_text_null(&j, "null");
	json_text_open(&j, "empty", '[');
	json_text_close(&j, ']');
	json_text_open(&j, "list", '[');
	for (uint64_t i = 0; i < 5000; i++) {
		json_text_open(&j, NULL, '{');
		json_text_number(&j, "i", i);
		json_text_close(&j, '}');
	}
	json_text_close(&j, ']');
	json_text_close(&j, '}');
	take();
	ck_assert_int_eq(json_integer_value(json_object_get(json, "none")), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(json, "most")), INT64_MAX);
	ck_assert_int_eq(json_integer_value(json_object_get(json, "more")), INT64_MAX);
	ck_assert_int_eq(json_integer_value(json_object_get(json, "least")), INT64_MIN);
	ck_assert_int_eq(json_integer_value(json_object_get(json, "minus")), -20);
	ck_assert_double_eq(json_real_value(json_object_get(json, "part")), 12.04);
	ck_assert_double_eq(json_real_value(json_object_get(json, "small")), 0.0005);
	ck_assert(json_is_true(json_object_get(json, "yes")));
	ck_assert(json_is_false(json_object_get(json, "no")));
	ck_assert(json_is_null(json_object_get(json, "null")));
	ck_assert_uint_eq(json_array_size(json_object_get(json, "empty")), 0);
	ck_assert_uint_eq(json_array_size(json_object_get(json, "list")), 5000);
	ck_assert_int_eq(json_integer_value(json_object_get(
				 json_array_get(json_object_get(json, "list"), 4999), "i")),
			 4999);
}
END_TEST

static void teardown(void)
{
	json_decref(json);
	json = NULL;
}

int main(void)
{
	Suite *suite = suite_create("json_text");
	TCase *tcase = tcase_create("json_text");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_add_test(tcase, test_strings);
	tcase_add_test(tcase, test_values);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
