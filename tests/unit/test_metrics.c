// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/metrics.c daemon/metrics_table.c daemon/limits.c common/utf8.c common/size.c common/err.c
/* The text for Prometheus. tests/integration/test_metrics.py has other people's parsers read it. */
#include "daemon/metrics.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct snapshot snapshot;
static struct snapshot_tenant tenants[METRICS_MAX_TENANTS + 3];
static struct snapshot_session sessions[METRICS_MAX_SESSIONS + 5];
static struct snapshot_model models[METRICS_MAX_MODELS + 4];
static char *text;

static void setup(void)
{
	memset(&snapshot, 0, sizeof(snapshot));
	memset(tenants, 0, sizeof(tenants));
	memset(sessions, 0, sizeof(sessions));
	memset(models, 0, sizeof(models));
	snapshot.view.all = true;
	snapshot.ledger = "daemon";
	snapshot.has_tier[ARBITER_VRAM] = true;
	snapshot.has_tier[ARBITER_DISK] = true;
	snapshot.device.name = "host";
	snapshot.device.backend = "host";
	snapshot.device.pci = "";
	snapshot.tenants = tenants;
	snapshot.sessions = sessions;
	snapshot.models = models;
}

static void teardown(void)
{
	free(text);
	text = NULL;
}

static void render(enum metrics_format format, bool details)
{
	size_t len;

	free(text);
	text = metrics_render(&snapshot, format, details, &len);
	ck_assert_ptr_nonnull(text);
	ck_assert_uint_eq(len, strlen(text));
}

/* The rest of the line that begins with this, which must be there exactly once. */
static const char *value_of(const char *start)
{
	static char value[256];
	const char *at, *line = NULL;
	size_t len = strlen(start);
	int n = 0;

	for (at = text; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
		if (!strncmp(at, start, len)) {
			line = at + len;
			n++;
		}
	}
	ck_assert_msg(n == 1, "%d lines begin with %s", n, start);
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(line, "\n"), line);
	return value;
}

static size_t count(const char *start)
{
	size_t n = 0, len = strlen(start);
	const char *at;

	for (at = text; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
		n += !strncmp(at, start, len);
	return n;
}

START_TEST(test_formats)
{
	snapshot.device.stats.faults = 7;
	snapshot.device.stats.stall_ns = 1500000001;
	render(METRICS_OPENMETRICS, true);
	ck_assert_str_eq(value_of("# TYPE vram_faults "), "counter");
	ck_assert_str_eq(value_of("vram_faults_total{device=\"0\"} "), "7");
	ck_assert_str_eq(value_of("# UNIT vram_stall_seconds "), "seconds");
	ck_assert_str_eq(value_of("vram_stall_seconds_total{device=\"0\"} "), "1.500000001");
	ck_assert_str_eq(value_of("# TYPE vram_build "), "info");
	ck_assert_str_eq(text + strlen(text) - 6, "# EOF\n");

	render(METRICS_PROMETHEUS, true);
	ck_assert_str_eq(value_of("# TYPE vram_faults_total "), "counter");
	ck_assert_str_eq(value_of("vram_faults_total{device=\"0\"} "), "7");
	ck_assert_str_eq(value_of("# TYPE vram_build_info "), "gauge");
	ck_assert_uint_eq(count("# UNIT"), 0);
	ck_assert_uint_eq(count("# EOF"), 0);
}
END_TEST

START_TEST(test_tiers_that_are_there)
{
	snapshot.device.stats.resident_bytes = 100;
	snapshot.device.stats.host_used_bytes = 200;
	snapshot.device.stats.swap_used_bytes = 300;
	snapshot.device.stats.budget_bytes = 1000;
	snapshot.device.stats.swap_size_bytes = 3000;
	render(METRICS_OPENMETRICS, true);
	ck_assert_str_eq(value_of("vram_tier_used_bytes{device=\"0\",tier=\"vram\"} "), "100");
	ck_assert_str_eq(value_of("vram_tier_used_bytes{device=\"0\",tier=\"disk\"} "), "300");
	ck_assert_str_eq(value_of("vram_tier_size_bytes{device=\"0\",tier=\"vram\"} "), "1000");
	ck_assert_str_eq(value_of("vram_tier_size_bytes{device=\"0\",tier=\"disk\"} "), "3000");
	ck_assert_uint_eq(count("vram_tier_used_bytes{"), 2);
}
END_TEST

START_TEST(test_limits)
{
	struct arbiter_limits *limits = &tenants[0].usage[ARBITER_VRAM].limits;
	char subject[] = "user:1000";

	tenants[0].subject = subject;
	tenants[0].group.kind = ARBITER_USER;
	limits->value[ARBITER_LOW] = 5;
	limits->value[ARBITER_HIGH] = ARBITER_UNLIMITED;
	limits->value[ARBITER_MAX] = UINT64_MAX - 1;
	limits->value[ARBITER_WEIGHT] = 300;
	snapshot.n_tenants = 1;
	render(METRICS_OPENMETRICS, true);
#define LIMIT "vram_tenant_limit_bytes{device=\"0\",subject=\"user:1000\",tier=\"vram\",limit="
	ck_assert_str_eq(value_of(LIMIT "\"min\"} "), "0");
	ck_assert_str_eq(value_of(LIMIT "\"low\"} "), "5");
	ck_assert_str_eq(value_of(LIMIT "\"max\"} "), "18446744073709551614");
	ck_assert_uint_eq(count(LIMIT), 3);
	ck_assert_str_eq(
		value_of("vram_tenant_weight{device=\"0\",subject=\"user:1000\",tier=\"vram\"} "),
		"300");
}
END_TEST

static void name_is(const char *name, const char *shown)
{
	char line[256];

	snapshot.n_sessions = 1;
	sessions[0].id = 9;
	sessions[0].info.name = name;
	render(METRICS_OPENMETRICS, true);
	snprintf(
		line, sizeof(line),
		"vram_session_info{device=\"0\",session=\"9\",pid=\"0\",uid=\"0\",name=\"%s\",comm=\"\"} ",
		shown);
	ck_assert_str_eq(value_of(line), "1");
}

START_TEST(test_hostile_names)
{
	name_is("say \"x\"} 1\\", "say \\\"x\\\"} 1\\\\");
	name_is("two\nlines\r", "two?lines?");
	name_is("\033[2Jred\x7f", "?[2Jred?");
	name_is("gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\xa7", "gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\xa7");
	name_is("c1 \xc2\x9b control", "c1 ? control");
	name_is("half \xc3", "half ?");
	name_is("lone \xff \xc3\xbc", "lone ? ??");
	name_is("surrogate \xed\xa0\x80", "surrogate ???");
	name_is(NULL, "");
}
END_TEST

START_TEST(test_without_details)
{
	char user[] = "user:1000", cgroup[] = "cgroup:/secret", exe[] = "exe:/opt/secret";

	tenants[0] = (struct snapshot_tenant){ .subject = user, .group.kind = ARBITER_USER };
	tenants[1] = (struct snapshot_tenant){ .subject = cgroup, .group.kind = ARBITER_CGROUP };
	tenants[2] = (struct snapshot_tenant){ .subject = exe, .group.kind = ARBITER_EXE };
	snapshot.n_tenants = 3;
	sessions[0].info.name = "secret";
	sessions[0].comm = "secret";
	snapshot.n_sessions = 1;
	models[0].info.name = "secret";
	snapshot.n_models = 1;
	render(METRICS_OPENMETRICS, false);
	ck_assert_ptr_null(strstr(text, "secret"));
	ck_assert_ptr_null(strstr(text, "vram_session_"));
	ck_assert_ptr_null(strstr(text, "vram_model_"));
	ck_assert_uint_eq(count("vram_tenant_sessions{"), 1);

	render(METRICS_OPENMETRICS, true);
	ck_assert_uint_eq(count("vram_tenant_sessions{"), 3);
	ck_assert_uint_eq(count("vram_model_size_bytes{"), 1);
}
END_TEST

START_TEST(test_models_of_one_name)
{
	models[0].info = (struct scheduler_object_info){ .name = "b", .size_bytes = 1 };
	models[1].info = (struct scheduler_object_info){ .name = "kv", .buffer = true };
	models[2].info = (struct scheduler_object_info){ .name = "a", .size_bytes = 10 };
	models[3].info = (struct scheduler_object_info){ .name = "b", .size_bytes = 100 };
	snapshot.n_models = 4;
	render(METRICS_OPENMETRICS, true);
	ck_assert_str_eq(value_of("vram_model_size_bytes{device=\"0\",model=\"a\"} "), "10");
	ck_assert_str_eq(value_of("vram_model_size_bytes{device=\"0\",model=\"b\"} "), "101");
	ck_assert_uint_eq(count("vram_model_size_bytes{"), 2);
}
END_TEST

START_TEST(test_many)
{
	static char subjects[METRICS_MAX_TENANTS + 3][16], names[METRICS_MAX_MODELS + 4][16];
	size_t i;

	for (i = 0; i < METRICS_MAX_TENANTS + 3; i++) {
		snprintf(subjects[i], sizeof(subjects[i]), "user:%zu", i);
		tenants[i].subject = subjects[i];
		tenants[i].group.kind = ARBITER_USER;
	}
	snapshot.n_tenants = METRICS_MAX_TENANTS + 3;
	for (i = 0; i < METRICS_MAX_SESSIONS + 5; i++)
		sessions[i].id = i + 1;
	snapshot.n_sessions = METRICS_MAX_SESSIONS + 5;
	for (i = 0; i < METRICS_MAX_MODELS + 4; i++) {
		snprintf(names[i], sizeof(names[i]), "m%zu", i);
		models[i].info.name = names[i];
		models[i].info.size_bytes = i < 5 ? 1 : 1000 + i;
	}
	snapshot.n_models = METRICS_MAX_MODELS + 4;
	render(METRICS_OPENMETRICS, true);
	ck_assert_uint_eq(count("vram_tenant_sessions{"), METRICS_MAX_TENANTS);
	ck_assert_uint_eq(count("vram_session_info{"), METRICS_MAX_SESSIONS);
	ck_assert_uint_eq(count("vram_model_size_bytes{"), METRICS_MAX_MODELS);
	ck_assert_str_eq(value_of("vram_unlabelled_sessions{device=\"0\"} "), "5");
	ck_assert_str_eq(value_of("vram_unlabelled_tenants{device=\"0\"} "), "3");
	/* The five smallest are together. */
	ck_assert_str_eq(value_of("vram_model_size_bytes{device=\"0\",model=\"\"} "), "5");
	/* The next: those that are shown, as before. */
	ck_assert_uint_eq(count("vram_model_size_bytes{device=\"0\",model=\"m5\"}"), 1);
	ck_assert_uint_eq(count("vram_model_size_bytes{device=\"0\",model=\"m4\"}"), 0);
}
END_TEST

START_TEST(test_what_is_not_known)
{
	snapshot.n_sessions = 1;
	render(METRICS_OPENMETRICS, true);
	ck_assert_uint_eq(count("vram_session_position_ratio{"), 0);
	ck_assert_uint_eq(count("vram_session_pass_seconds{"), 0);
	sessions[0].detail.has_position = true;
	sessions[0].detail.position = 3;
	sessions[0].detail.n_positions = 4;
	sessions[0].detail.pace_ns = 2500000000;
	render(METRICS_OPENMETRICS, true);
	ck_assert_str_eq(value_of("vram_session_position_ratio{device=\"0\",session=\"0\"} "),
			 "0.7500");
	ck_assert_str_eq(value_of("vram_session_pass_seconds{device=\"0\",session=\"0\"} "),
			 "2.500000000");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metrics");
	TCase *tcase = tcase_create("metrics");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_formats);
	tcase_add_test(tcase, test_tiers_that_are_there);
	tcase_add_test(tcase, test_limits);
	tcase_add_test(tcase, test_hostile_names);
	tcase_add_test(tcase, test_without_details);
	tcase_add_test(tcase, test_models_of_one_name);
	tcase_add_test(tcase, test_many);
	tcase_add_test(tcase, test_what_is_not_known);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
