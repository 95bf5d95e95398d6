// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/config.c daemon/config_line.c daemon/config_value.c daemon/config_address.c common/cli.c common/err.c common/size.c common/socket.c
// libs: -linih
/* The configuration: defaults, file, command line, and every way to get one wrong. */
#define _GNU_SOURCE 1
#include "daemon/config.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/proto.h"

static char dir[] = "/tmp/vram-config-XXXXXX";
static char path[64];
static char reason[CONFIG_REASON_MAX];
static struct config config;

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/vramd.conf", dir);
	unsetenv("XDG_CONFIG_HOME");
	unsetenv("XDG_STATE_HOME");
	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	setenv("HOME", dir, 1);
	ck_assert_int_eq(config_init(&config, false), 0);
	config.ram_bytes = 1000ull << 20;
	memset(reason, 0, sizeof(reason));
}

static void teardown(void)
{
	config_deinit(&config);
	unlink(path);
	rmdir(dir);
}

static void file_write(const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	close(fd);
}

static void file_put(const char *text)
{
	file_write(text, strlen(text));
}

static int file_read(const char *text)
{
	file_put(text);
	return config_read(&config, path, reason);
}

/* The text of config_print(). */
static char *printed(const struct config *what)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	ck_assert_ptr_nonnull(f);
	config_print(what, f);
	fclose(f);
	return text;
}

static int load(struct config *out, char *first, char *second, char *third)
{
	char *argv[] = { (char[]){ "vramd" }, first, second, third, NULL };
	int argc = 1;

	while (argv[argc])
		argc++;
	return config_load(out, argc, argv);
}

START_TEST(defaults)
{
	ck_assert_int_eq(config_finish(&config, reason), 0);
	ck_assert_str_eq(config.daemon.socket, VRAM_SOCKET_SYSTEM);
	ck_assert_int_eq(config.daemon.log_level, LOG_LEVEL_INFO);
	ck_assert_int_eq(config.arbiter.use, CONFIG_AUTO);
	ck_assert_uint_eq(config.arbiter.grace, 10000000000ull);
	ck_assert_int_eq(config.device.kind, CONFIG_AUTO);
	/* Which budget that is follows from the device, which only the scheduler knows. */
	ck_assert_uint_eq(config.device.budget, 0);
	ck_assert_uint_eq(config.device.reserve, 512 << 20);
	ck_assert_uint_eq(config.policy.turn, 2000000000ull);
	ck_assert_uint_eq(config.device.host_budget, 0);
	ck_assert_uint_eq(config.device.link, 0);
	ck_assert_uint_eq(config.device.chunk, 0);
	ck_assert_int_eq(config.device.huge, CONFIG_AUTO);
	ck_assert_uint_eq(config.io.inflight, 24 << 20);
	ck_assert_uint_eq(config.io.read_size, 1 << 20);
	ck_assert_int_eq(config.io.direct, CONFIG_AUTO);
	ck_assert_str_eq(config.io.fault, "");
	ck_assert_str_eq(config.swap.path, "/var/lib/vramd");
	ck_assert_uint_eq(config.swap.size, 0);
	ck_assert_uint_eq(config.limits.max_sessions, 1024);
	ck_assert_uint_eq(config.limits.pin_timeout, 30000000000ull);
	ck_assert_uint_eq(config.policy.keep, 60000000000ull);
}
END_TEST

START_TEST(printed_configuration_reads_back)
{
	static const char *const settings[][3] = {
		{ "daemon", "socket", "/tmp/a b.sock" },
		{ "daemon", "log_level", "debug" },
		{ "arbiter", "use", "module" },
		{ "arbiter", "grace", "1500ms" },
		{ "device", "budget", "1537M" },
		{ "device", "host_budget", "3G" },
		{ "device", "link", "1.5G/s" },
		{ "device", "chunk", "2M" },
		{ "device", "huge", "never" },
		{ "io", "direct", "never" },
		{ "io", "fault", "read:7" },
		{ "limits", "pin_timeout", "1500ms" },
		{ "limits", "wait_timeout", "0" },
		{ "limits", "max_registered", "5T" },
		{ "policy", "prefetch", "64M" },
		{ "policy", "share", "bytes" },
		{ "policy", "keep", "2h" },
	};
	struct config again;
	char *first, *second;
	size_t i;

	for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		ck_assert_int_eq(config_set(&config, settings[i][0], settings[i][1], settings[i][2],
					    reason),
				 0);
	ck_assert_int_eq(config_finish(&config, reason), 0);
	first = printed(&config);
	file_put(first);
	ck_assert_int_eq(config_init(&again, false), 0);
	ck_assert_int_eq(config_read(&again, path, reason), 0);
	second = printed(&again);
	ck_assert_str_eq(first, second);
	ck_assert_int_eq(again.arbiter.use, CONFIG_ARBITER_MODULE);
	ck_assert_uint_eq(again.arbiter.grace, 1500000000ull);
	ck_assert_uint_eq(again.device.link, 3ull << 29);
	ck_assert_uint_eq(again.limits.pin_timeout, 1500000000ull);
	ck_assert_uint_eq(again.limits.wait_timeout, 0);
	ck_assert_uint_eq(again.policy.keep, 7200000000000ull);
	ck_assert_ptr_nonnull(strstr(first, "\nkeep = 2h\n"));
	config_deinit(&again);
	free(first);
	free(second);
}
END_TEST

START_TEST(good_values)
{
	char *text;

	ck_assert_int_eq(config_set(&config, "device", "budget", "25%", reason), 0);
	ck_assert_uint_eq(config.device.budget, 250ull << 20);
	ck_assert_int_eq(config_set(&config, "device", "budget", "100%", reason), 0);
	ck_assert_uint_eq(config.device.budget, 1000ull << 20);
	ck_assert_int_eq(config_set(&config, "device", "budget", "1048576", reason), 0);
	ck_assert_uint_eq(config.device.budget, 1 << 20);
	ck_assert_int_eq(config_set(&config, "device", "link", "none", reason), 0);
	ck_assert_uint_eq(config.device.link, 0);
	ck_assert_int_eq(config_set(&config, "device", "link", "16G/s", reason), 0);
	ck_assert_uint_eq(config.device.link, 16ull << 30);
	ck_assert_int_eq(config_set(&config, "device", "chunk", "4K", reason), 0);
	ck_assert_uint_eq(config.device.chunk, 4096);
	ck_assert_int_eq(config_set(&config, "device", "chunk", "auto", reason), 0);
	ck_assert_uint_eq(config.device.chunk, 0);
	ck_assert_int_eq(config_set(&config, "device", "huge", "always", reason), 0);
	ck_assert_int_eq(config.device.huge, 1);
	ck_assert_int_eq(config_set(&config, "limits", "pin_timeout", "0", reason), 0);
	ck_assert_uint_eq(config.limits.pin_timeout, 0);
	ck_assert_int_eq(config_set(&config, "limits", "pin_timeout", "500us", reason), 0);
	ck_assert_uint_eq(config.limits.pin_timeout, 500000);
	ck_assert_int_eq(config_set(&config, "limits", "pin_timeout", "1ns", reason), 0);
	text = printed(&config);
	ck_assert_ptr_nonnull(strstr(text, "\npin_timeout = 1ns\n"));
	ck_assert_ptr_nonnull(strstr(text, "\nwait_timeout = 60s\n"));
	free(text);
}
END_TEST

static const struct {
	const char *section, *key, *value;
	int r;
	const char *says;
} bad[] = {
	{ "nope", "budget", "1G", -ENOENT, "there is no section [nope]" },
	{ "device", "nope", "1G", -ENOENT, "section [device] has no key 'nope'" },
	{ "device", "inflight", "1G", -ENOENT, "section [device] has no key 'inflight'" },
	{ "daemon", "metrics_listen", "9838", -EINVAL,
	  "is not 127.0.0.1:PORT, [::1]:PORT or none" },
	{ "daemon", "metrics_listen", "localhost:9838", -EINVAL, "is not 127.0.0.1:PORT" },
	{ "daemon", "metrics_listen", "127.0.0.1", -EINVAL, "is not 127.0.0.1:PORT" },
	{ "daemon", "metrics_listen", "127.0.0.1:", -EINVAL, "is not 127.0.0.1:PORT" },
	{ "daemon", "metrics_listen", "127.0.0.1:0", -EINVAL, "PORT is 1 to 65535" },
	{ "daemon", "metrics_listen", "127.0.0.1:65536", -EINVAL, "PORT is 1 to 65535" },
	{ "daemon", "metrics_listen", "127.0.0.1:99999999999", -EINVAL, "PORT is 1 to 65535" },
	{ "daemon", "metrics_listen", "127.0.0.1:80x", -EINVAL, "is not 127.0.0.1:PORT" },
	{ "daemon", "metrics_listen", "127.1:9838", -EINVAL, "is not 127.0.0.1:PORT" },
	{ "daemon", "metrics_listen", "::1:9838", -EINVAL, "is not 127.0.0.1:PORT" },
	{ "daemon", "metrics_listen", "[::1]", -EINVAL, "is not 127.0.0.1:PORT" },
	{ "daemon", "metrics_listen", "[::1:9838", -EINVAL, "is not 127.0.0.1:PORT" },
	{ "daemon", "metrics_listen", "[127.0.0.1]:9838", -EINVAL, "is not 127.0.0.1:PORT" },
	{ "daemon", "metrics_listen", "[::1%lo]:9838", -EINVAL, "is not 127.0.0.1:PORT" },
	{ "daemon", "metrics_listen", "0.0.0.0:9838", -EINVAL, "reached from other machines" },
	{ "daemon", "metrics_listen", "192.168.1.2:9838", -EINVAL, "reached from other machines" },
	{ "daemon", "metrics_listen", "[::]:9838", -EINVAL, "reached from other machines" },
	{ "daemon", "metrics_listen", "[fe80::1]:9838", -EINVAL, "reached from other machines" },
	{ "daemon", "metrics_listen", "[::ffff:127.0.0.1]:9838", -EINVAL, "from other machines" },
	{ "daemon", "metrics_detail", "some", -EINVAL, "is not one of users, all" },
	{ "device", "budget", "", -EINVAL, "is not a size" },
	{ "device", "budget", "12X", -EINVAL, "'12X' is not a size" },
	{ "device", "budget", "-1G", -EINVAL, "is not a size" },
	{ "device", "budget", "50 %", -EINVAL, "is not a size" },
	{ "device", "budget", "%", -EINVAL, "is not a size" },
	{ "device", "budget", "0%", -ERANGE, "out of range" },
	{ "device", "budget", "101%", -ERANGE, "out of range" },
	{ "device", "budget", "max", -ERANGE, "out of range: 1M to 64T" },
	{ "device", "budget", "1023K", -ERANGE, "out of range: 1M to 64T" },
	{ "device", "budget", "99999999999999999999", -ERANGE, "out of range" },
	{ "device", "chunk", "3M", -EINVAL, "not a power of two" },
	{ "device", "chunk", "2K", -ERANGE, "out of range: 4K to 1G" },
	{ "device", "chunk", "2G", -ERANGE, "out of range: 4K to 1G" },
	{ "device", "chunk", "0", -ERANGE, "out of range" },
	{ "device", "link", "16G", -EINVAL, "is not a rate, like 16G/s" },
	{ "device", "huge", "maybe", -EINVAL, "'maybe' is not one of auto, always, never" },
	{ "device", "kind", "rocm", -EINVAL, "'rocm' is not one of auto, host, cuda" },
	{ "device", "reclaim_timeout", "10ms", -ERANGE, "out of range" },
	{ "device", "name", "a name that is longer than a device's name can be", -ERANGE,
	  "at most 31 bytes" },
	{ "io", "direct", "always", -EINVAL, "is not one of auto, never" },
	{ "io", "read_size", "1.5M", -EINVAL, "not a power of two" },
	{ "limits", "max_sessions", "0", -ERANGE, "out of range: 1 to 65536" },
	{ "limits", "max_sessions", "65537", -ERANGE, "out of range: 1 to 65536" },
	{ "limits", "max_sessions", "12a", -EINVAL, "is not a whole number" },
	{ "limits", "max_sessions", "1K", -EINVAL, "is not a whole number" },
	{ "limits", "max_sessions", "-1", -EINVAL, "is not a whole number" },
	{ "limits", "max_sessions", "18446744073709551617", -ERANGE, "out of range" },
	{ "limits", "pin_timeout", "30", -EINVAL, "is not a time, like 30s" },
	{ "limits", "pin_timeout", "s", -EINVAL, "is not a time" },
	{ "limits", "pin_timeout", "2d", -EINVAL, "is not a time" },
	{ "limits", "pin_timeout", "25h", -ERANGE, "out of range: 0 to 24h" },
	{ "limits", "pin_timeout", "99999999999999999h", -ERANGE, "out of range" },
	{ "daemon", "log_level", "loud", -EINVAL, "is not one of error, warning, info, debug" },
};

/* Refused with the reason, and nothing is changed. */
START_TEST(bad_value)
{
	char *before = printed(&config), *after;

	ck_assert_int_eq(config_set(&config, bad[_i].section, bad[_i].key, bad[_i].value, reason),
			 bad[_i].r);
	ck_assert_msg(strstr(reason, bad[_i].says), "'%s' does not say '%s'", reason, bad[_i].says);
	after = printed(&config);
	ck_assert_str_eq(before, after);
	free(before);
	free(after);
}
END_TEST

START_TEST(file_with_everything_odd_but_right)
{
	ck_assert_int_eq(file_read("# a comment\n"
				   "; another\n"
				   "\n"
				   "[device]\n"
				   "budget=2G\n"
				   "   chunk   =   2M   ; behind the value\n"
				   "\thuge: never\n"
				   "[limits]\n"
				   "[io]\n"
				   "inflight = 32M"),
			 0);
	ck_assert_uint_eq(config.device.budget, 2ull << 30);
	ck_assert_uint_eq(config.device.chunk, 2 << 20);
	ck_assert_int_eq(config.device.huge, 0);
	ck_assert_uint_eq(config.io.inflight, 32 << 20);
	ck_assert_int_eq(file_read(""), 0);
}
END_TEST

static const struct {
	const char *text;
	int r;
	const char *says; /* behind the path */
} bad_files[] = {
	{ "[device]\nbudget = 12X\n", -EINVAL, ":2: device.budget: '12X' is not a size" },
	{ "\n\n[device]\n\nnope = 1\n", -ENOENT, ":5: section [device] has no key 'nope'" },
	{ "[nope]\n", -ENOENT, ":1: there is no section [nope]" },
	{ "[nope]\nkey = 1\n", -ENOENT, ":1: there is no section [nope]" },
	{ "budget = 1G\n", -EINVAL, ":1: a setting before the first [section]" },
	{ "[device]\nbudget\n", -EINVAL, ":2: neither a [section] nor 'key = value'" },
	{ "[device\nbudget = 1G\n", -EINVAL, ":1: neither a [section] nor 'key = value'" },
	{ "[device]\nbudget = 1G\n[io]\n[device]\nbudget = 2G\n", -EINVAL,
	  ":5: device.budget is given twice, first in line 2" },
	{ "[device]\nbudget = 1G\n  2G\n", -EINVAL, ":3: neither a [section] nor 'key = value'" },
	{ "[device]\nbudget = 1G\nnonsense\n[nope]\n", -EINVAL, ":3: neither a [section]" },
	{ "[device]\nbudget = x\nnonsense\n", -EINVAL, ":2: device.budget: 'x' is not a size" },
	{ "[device]\nname = xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
	  -EINVAL, ":2: the line is too long" },
};

START_TEST(bad_file)
{
	ck_assert_int_eq(file_read(bad_files[_i].text), bad_files[_i].r);
	ck_assert_msg(!strncmp(reason, path, strlen(path)), "'%s' does not name the file", reason);
	ck_assert_msg(!strncmp(reason + strlen(path), bad_files[_i].says,
			       strlen(bad_files[_i].says)),
		      "'%s' does not say '%s'", reason, bad_files[_i].says);
}
END_TEST

START_TEST(files_that_cannot_be_read)
{
	static const char zeros[] = "[device]\nbudget\0 = 1G\n";

	ck_assert_int_eq(config_read(&config, "/nonexistent/vramd.conf", reason), -ENOENT);
	ck_assert_ptr_nonnull(strstr(reason, "No such file"));
	ck_assert_int_eq(config_read(&config, dir, reason), -EISDIR);
	ck_assert_ptr_nonnull(strstr(reason, "Is a directory"));
	file_write(zeros, sizeof(zeros) - 1);
	ck_assert_int_eq(config_read(&config, path, reason), -EINVAL);
	ck_assert_ptr_nonnull(strstr(reason, "zero byte"));
}
END_TEST

static const struct {
	const char *section, *key, *value;
	const char *says;
} contradictions[] = {
	{ "device", "host_budget", "1G", "device.host_budget: without device.link" },
	{ "device", "link", "1G/s", "device.link: imitates a card" },
	{ "io", "read_size", "32M", "io.read_size: at most io.inflight, which is 24M" },
	{ "device", "budget", "1M", "device.chunk: at most device.budget, which is 1M" },
	{ "daemon", "socket", "relative.sock", "is not an absolute path" },
	{ "daemon", "socket",
	  "/a/path/that/is/longer/than/a/sockets/path/can/be/0123456789/0123456789/0123456789/"
	  "0123456789/0123456789/x.sock",
	  "the path has at most 103 bytes" },
	{ "swap", "path", "relative", "swap.path: 'relative' is not an absolute path" },
};

/* The host device's budget is known at once. */
START_TEST(auto_budget_of_the_host)
{
	ck_assert_int_eq(config_set(&config, "device", "kind", "host", reason), 0);
	ck_assert_int_eq(config_finish(&config, reason), 0);
	ck_assert_uint_eq(config.device.budget, config_host_budget(&config));
	ck_assert_uint_ge(config.device.budget, 1 << 20);
	ck_assert_uint_le(config.device.budget, config.ram_bytes / 2);
}
END_TEST

START_TEST(contradiction)
{
	ck_assert_int_eq(config_set(&config, "device", "chunk", "2M", reason), 0);
	ck_assert_int_eq(config_set(&config, "device", "kind",
				    strcmp(contradictions[_i].key, "link") ? "host" : "cuda",
				    reason),
			 0);
	ck_assert_int_eq(config_set(&config, contradictions[_i].section, contradictions[_i].key,
				    contradictions[_i].value, reason),
			 0);
	ck_assert_int_lt(config_finish(&config, reason), 0);
	ck_assert_msg(strstr(reason, contradictions[_i].says), "'%s'", reason);
}
END_TEST

START_TEST(command_line_wins_over_the_file)
{
	char file[80], set[] = "--set=io.inflight=8M", budget[] = "--budget=3G";
	struct config loaded;

	file_put("[device]\nbudget = 2G\n[io]\ninflight = 4M\nread_size = 2M\n");
	snprintf(file, sizeof(file), "-c%s", path);
	ck_assert_int_eq(load(&loaded, set, file, budget), 0);
	ck_assert_uint_eq(loaded.device.budget, 3ull << 30);
	ck_assert_uint_eq(loaded.io.inflight, 8 << 20);
	ck_assert_uint_eq(loaded.io.read_size, 2 << 20);
	ck_assert(!loaded.user);
	ck_assert(!loaded.check_only);
	config_deinit(&loaded);
}
END_TEST

START_TEST(private_daemon_has_its_own_paths)
{
	char user[] = "--user", check[] = "--check-config";
	struct config loaded;
	char wanted[80];

	ck_assert_int_eq(load(&loaded, user, check, NULL), 0);
	ck_assert(loaded.user);
	ck_assert(loaded.check_only);
	ck_assert_str_eq(loaded.daemon.socket, "/run/user/7/vramd/vramd.sock");
	snprintf(wanted, sizeof(wanted), "%s/.local/state/vramd", dir);
	ck_assert_str_eq(loaded.swap.path, wanted);
	config_deinit(&loaded);

	setenv("XDG_STATE_HOME", "/state", 1);
	ck_assert_int_eq(load(&loaded, user, NULL, NULL), 0);
	ck_assert_str_eq(loaded.swap.path, "/state/vramd");
	config_deinit(&loaded);
}
END_TEST

START_TEST(private_daemon_reads_its_own_file)
{
	char user[] = "--user", sub[80], own[128];
	struct config loaded;

	setenv("XDG_CONFIG_HOME", dir, 1);
	snprintf(sub, sizeof(sub), "%s/vramd", dir);
	snprintf(own, sizeof(own), "%s/vramd.conf", sub);
	file_put("[device]\nbudget = 77M\n");
	ck_assert_int_eq(mkdir(sub, 0700), 0);
	ck_assert_int_eq(rename(path, own), 0);
	ck_assert_int_eq(load(&loaded, user, NULL, NULL), 0);
	ck_assert_uint_eq(loaded.device.budget, 77ull << 20);
	config_deinit(&loaded);
	unlink(own);
	rmdir(sub);
}
END_TEST

START_TEST(private_daemon_without_a_runtime_directory)
{
	char user[] = "--user", socket[] = "--socket=/tmp/x.sock";
	struct config loaded;

	unsetenv("XDG_RUNTIME_DIR");
	ck_assert_int_eq(load(&loaded, user, NULL, NULL), CONFIG_E_USAGE);
	ck_assert_int_eq(load(&loaded, user, socket, NULL), 0);
	ck_assert_str_eq(loaded.daemon.socket, "/tmp/x.sock");
	config_deinit(&loaded);
}
END_TEST

static const char *const bad_lines[][3] = {
	{ "--nope", NULL, NULL },
	{ "-x", NULL, NULL },
	{ "-c", NULL, NULL },
	{ "--budget", NULL, NULL },
	{ "--budget", "12X", NULL },
	{ "--set", "budget=1G", NULL },
	{ "--set", "device.budget", NULL },
	{ "--set", "device=1.G", NULL },
	{ "--set", "device.nope=1", NULL },
	{ "--socket", "relative", NULL },
	{ "-c", "/nonexistent/vramd.conf", NULL },
	{ "word", NULL, NULL },
	{ "--user=yes", NULL, NULL },
};

START_TEST(bad_command_line)
{
	char words[3][64] = { "", "", "" };
	struct config loaded;
	int i;

	for (i = 0; i < 3 && bad_lines[_i][i]; i++)
		snprintf(words[i], sizeof(words[i]), "%s", bad_lines[_i][i]);
	ck_assert_int_eq(load(&loaded, words[0], *words[1] ? words[1] : NULL, NULL),
			 CONFIG_E_USAGE);
}
END_TEST

START_TEST(help_and_version_are_answered)
{
	char help[] = "--help", version[] = "--version";
	struct config loaded;

	ck_assert_int_eq(load(&loaded, help, NULL, NULL), CONFIG_E_DONE);
	ck_assert_int_eq(load(&loaded, version, NULL, NULL), CONFIG_E_DONE);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		defaults,
		printed_configuration_reads_back,
		good_values,
		file_with_everything_odd_but_right,
		files_that_cannot_be_read,
		command_line_wins_over_the_file,
		private_daemon_has_its_own_paths,
		private_daemon_reads_its_own_file,
		private_daemon_without_a_runtime_directory,
		help_and_version_are_answered,
	};
	Suite *suite = suite_create("config");
	TCase *tcase = tcase_create("config");
	SRunner *runner;
	size_t i;
	int n_failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	tcase_add_loop_test(tcase, bad_value, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_loop_test(tcase, bad_file, 0, sizeof(bad_files) / sizeof(bad_files[0]));
	tcase_add_test(tcase, auto_budget_of_the_host);
	tcase_add_loop_test(tcase, contradiction, 0,
			    sizeof(contradictions) / sizeof(contradictions[0]));
	tcase_add_loop_test(tcase, bad_command_line, 0, sizeof(bad_lines) / sizeof(bad_lines[0]));
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
