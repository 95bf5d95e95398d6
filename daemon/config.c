// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of settings, and the three layers that fill a struct config.
 *
 * What a value of a type looks like is in config_value.c; here is which settings exist and what
 * they mean together.
 */
#define _GNU_SOURCE 1
#include "daemon/config.h"

#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/proto.h"
#include "common/size.h"
#include "common/socket.h"
#include "daemon/config_address.h"
#include "daemon/config_value.h"

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define TIB (1ull << 40)
#define SEC 1000000000ull
/* What a socket's address holds, less the ".new" that the listener needs for a moment. */
#define CONFIG_SOCKET_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof(".new"))

static const struct config_choice level_choices[] = {
	{ "error", LOG_LEVEL_ERROR },
	{ "warning", LOG_LEVEL_WARN },
	{ "info", LOG_LEVEL_INFO },
	{ "debug", LOG_LEVEL_DEBUG },
	{ NULL, 0 },
};
static const struct config_choice arbiter_choices[] = {
	{ "auto", CONFIG_AUTO },
	{ "module", CONFIG_ARBITER_MODULE },
	{ "local", CONFIG_ARBITER_LOCAL },
	{ NULL, 0 },
};
static const struct config_choice kind_choices[] = {
	{ "auto", CONFIG_AUTO },
	{ "host", VRAM_DEVICE_HOST },
	{ "cuda", VRAM_DEVICE_CUDA },
	{ NULL, 0 },
};
static const struct config_choice huge_choices[] = {
	{ "auto", CONFIG_AUTO },
	{ "always", 1 },
	{ "never", 0 },
	{ NULL, 0 },
};
static const struct config_choice direct_choices[] = {
	{ "auto", CONFIG_AUTO },
	{ "never", 0 },
	{ NULL, 0 },
};
static const struct config_choice share_choices[] = {
	{ "fair", 0 },
	{ "bytes", 1 },
	{ NULL, 0 },
};

static const struct config_choice detail_choices[] = {
	{ "users", 0 },
	{ "all", 1 },
	{ NULL, 0 },
};

#define FIELD(member) offsetof(struct config, member)

static const struct config_option options[] = {
	{ "daemon", "socket", CONFIG_TEXT, FIELD(daemon.socket), "",
	  .show = "the system's or the user's",
	  .help = "where to listen, unless systemd passes the socket" },
	{ "daemon", "log_level", CONFIG_CHOICE, FIELD(daemon.log_level), "info",
	  .choices = level_choices, .help = "how much is logged; SIGHUP reads it again" },
	{ "daemon", "metrics_listen", CONFIG_TEXT, FIELD(daemon.metrics_listen), "none",
	  .check = config_address_check,
	  .help = "serve metrics over HTTP at 127.0.0.1:PORT or [::1]:PORT" },
	{ "daemon", "metrics_detail", CONFIG_CHOICE, FIELD(daemon.metrics_detail), "users",
	  .choices = detail_choices,
	  .help = "what they say to everybody on the machine: users, or all" },

	{ "arbiter", "use", CONFIG_CHOICE, FIELD(arbiter.use), "auto", .choices = arbiter_choices,
	  .help = "who keeps the ledger: the kernel module, vramd itself, or what there is" },
	{ "arbiter", "grace", CONFIG_DURATION, FIELD(arbiter.grace), "10s", .max = 600 * SEC,
	  .help = "how long clients and their charges outlast a vramd that has gone; module only" },

	{ "device", "kind", CONFIG_CHOICE, FIELD(device.kind), "auto", .choices = kind_choices,
	  .help = "what holds the layers: a card, by CUDA, or the host; auto: a card if there is one" },
	{ "device", "name", CONFIG_TEXT, FIELD(device.name), "", .show = "the device's own",
	  .max = 31, .help = "what the device is called in tables" },
	{ "device", "card", CONFIG_TEXT, FIELD(device.card), "", .show = "the first", .max = 63,
	  .help = "which card: a number, a PCI address or a UUID as nvidia-smi shows them" },
	{ "device", "budget", CONFIG_SHARE_AUTO, FIELD(device.budget), "auto", .min = MIB,
	  .max = 64 * TIB,
	  .help = "memory for resident layers; % is of the RAM; auto: half of the RAM, or the card "
		  "but for reserve" },
	{ "device", "host_budget", CONFIG_SHARE, FIELD(device.host_budget), "0", .max = 64 * TIB,
	  .help = "a host tier behind the device: a card's, where 0 is a quarter of the RAM, or one "
		  "with link" },
	{ "device", "reserve", CONFIG_SIZE, FIELD(device.reserve), "512M", .max = TIB,
	  .help = "memory of a card that is left to programs without vramd" },
	{ "device", "idle", CONFIG_DURATION, FIELD(device.idle), "30s", .max = 86400 * SEC,
	  .help = "how long memory of a card that holds nothing is kept" },
	{ "device", "reclaim_timeout", CONFIG_DURATION, FIELD(device.reclaim_timeout), "5s",
	  .min = SEC / 10, .max = 3600 * SEC,
	  .help = "how long a client has to unmap a card's memory before its process is killed" },
	{ "device", "link", CONFIG_RATE, FIELD(device.link), "0", .max = TIB, .show = "none",
	  .help = "imitate a card behind a bus of this rate, like 16G/s" },
	{ "device", "chunk", CONFIG_SIZE_AUTO, FIELD(device.chunk), "auto", .min = 4 * KIB,
	  .max = GIB, .power_of_two = true, .help = "the grain of paging; a power of two" },
	{ "device", "huge", CONFIG_CHOICE, FIELD(device.huge), "auto", .choices = huge_choices,
	  .help = "huge pages for the layers" },

	{ "io", "inflight", CONFIG_SIZE, FIELD(io.inflight), "24M", .min = 64 * KIB, .max = 4 * GIB,
	  .help = "bytes being read at once" },
	{ "io", "read_size", CONFIG_SIZE, FIELD(io.read_size), "1M", .min = 4 * KIB,
	  .max = 64 * MIB, .power_of_two = true, .help = "bytes of one read; a power of two" },
	{ "io", "direct", CONFIG_CHOICE, FIELD(io.direct), "auto", .choices = direct_choices,
	  .help = "O_DIRECT where the file system has it" },
	{ "io", "fault", CONFIG_TEXT, FIELD(io.fault), "", .show = "none",
	  .help = "for tests only: which reads and writes are to fail" },

	{ "swap", "path", CONFIG_TEXT, FIELD(swap.path), "",
	  .show = "/var/lib/vramd, or with --user "
		  "$XDG_STATE_HOME/vramd",
	  .help = "the directory of the swap file for buffers" },
	{ "swap", "size", CONFIG_SIZE, FIELD(swap.size), "0", .max = 64 * TIB,
	  .help = "its size, taken at start; 0: buffers are never written out" },

	{ "limits", "dir", CONFIG_TEXT, FIELD(limits.dir), "",
	  .show = VRAM_SYSCONFDIR "/limits.d, or with --user $XDG_CONFIG_HOME/vramd/limits.d",
	  .max = CONFIG_DIR_MAX, .help = "the directory of limits; see vramd.limits(5)" },
	{ "limits", "max_sessions", CONFIG_COUNT, FIELD(limits.max_sessions), "1024", .min = 1,
	  .max = 65536, .help = "sessions at once" },
	{ "limits", "max_sessions_per_user", CONFIG_COUNT, FIELD(limits.max_sessions_per_user),
	  "256", .min = 1, .max = 65536,
	  .help = "sessions of one user other than root and the daemon's own" },
	{ "limits", "max_slots", CONFIG_COUNT, FIELD(limits.max_slots), "16384", .min = 64,
	  .max = 1048576, .help = "layers of a session" },
	{ "limits", "max_objects", CONFIG_COUNT, FIELD(limits.max_objects), "1024", .min = 1,
	  .max = 65536, .help = "models and buffers of a session" },
	{ "limits", "max_extents", CONFIG_COUNT, FIELD(limits.max_extents), "262144", .min = 1,
	  .max = 16777216, .help = "extents of a model" },
	{ "limits", "max_registered", CONFIG_SIZE, FIELD(limits.max_registered), "4T", .min = MIB,
	  .max = 1024 * TIB, .help = "bytes of all models and buffers of a session" },
	{ "limits", "max_requests", CONFIG_COUNT, FIELD(limits.max_requests), "1024", .min = 1,
	  .max = 1048576, .help = "requests of a session in flight" },
	{ "limits", "pin_timeout", CONFIG_DURATION, FIELD(limits.pin_timeout), "30s",
	  .max = 86400 * SEC,
	  .help = "how long a pin may keep out who needs the memory; 0: for ever" },
	{ "limits", "wait_timeout", CONFIG_DURATION, FIELD(limits.wait_timeout), "60s",
	  .max = 86400 * SEC, .help = "how long a request may wait for memory; 0: for ever" },
	{ "limits", "admit_timeout", CONFIG_DURATION, FIELD(limits.admit_timeout), "5m",
	  .max = 30 * 86400 * SEC,
	  .help = "how long a session waits to be admitted if it does not say; 0: for ever" },
	{ "limits", "admit_idle", CONFIG_DURATION, FIELD(limits.admit_idle), "30s", .min = SEC / 10,
	  .max = 86400 * SEC,
	  .help = "how long an admitted session may be idle before those who wait come first" },

	{ "policy", "prefetch", CONFIG_SIZE_AUTO, FIELD(policy.prefetch), "auto", .min = 4 * KIB,
	  .max = 64 * GIB, .help = "bytes loaded ahead for each user of a model" },
	{ "policy", "share", CONFIG_CHOICE, FIELD(policy.share), "fair", .choices = share_choices,
	  .help = "fair: quotas by weight; bytes: move the fewest bytes over all" },
	{ "policy", "keep", CONFIG_DURATION, FIELD(policy.keep), "60s", .max = 30 * 86400 * SEC,
	  .help = "how long a model without users stays cached" },
	{ "policy", "turn", CONFIG_DURATION, FIELD(policy.turn), "2s", .min = SEC / 100,
	  .max = 3600 * SEC,
	  .help = "how long an unmodified CUDA program keeps the card while another one waits" },
};
#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

static bool section_known(const char *section)
{
	size_t i;

	for (i = 0; i < N_OPTIONS; i++) {
		if (!strcmp(options[i].section, section))
			return true;
	}
	return false;
}

/* Return: the index of the setting, or -1. */
static int option_find(const char *section, const char *key)
{
	size_t i;

	for (i = 0; i < N_OPTIONS; i++) {
		if (!strcmp(options[i].section, section) && !strcmp(options[i].key, key))
			return (int)i;
	}
	return -1;
}

static int reason_set(char *reason, int r, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static int reason_set(char *reason, int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reason, CONFIG_REASON_MAX, format, args);
	va_end(args);
	return err_origin(r);
}

int config_set(struct config *config, const char *section, const char *key, const char *value,
	       char reason[CONFIG_REASON_MAX])
{
	char what[CONFIG_REASON_MAX / 2];
	int i = option_find(section, key);
	int r;

	if (i < 0 && !section_known(section))
		return reason_set(reason, -ENOENT, "there is no section [%.64s]", section);
	if (i < 0)
		return reason_set(reason, -ENOENT, "section [%.64s] has no key '%.64s'", section,
				  key);
	r = config_value_parse(&options[i], value, config->ram_bytes,
			       (char *)config + options[i].offset, what, sizeof(what));
	if (r < 0)
		return reason_set(reason, r, "%s.%s: %s", section, key, what);
	return 0;
}

/* Memory that this process can have: the machine's. */
static uint64_t ram_bytes(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

int config_init(struct config *config, bool user)
{
	char reason[CONFIG_REASON_MAX];
	size_t i;
	int r;

	memset(config, 0, sizeof(*config));
	config->user = user;
	config->ram_bytes = ram_bytes();
	for (i = 0; i < N_OPTIONS; i++) {
		r = config_set(config, options[i].section, options[i].key, options[i].value,
			       reason);
		/* A default that its own table refuses is our mistake. */
		assert(r == 0 || r == -ENOMEM);
		if (r < 0) {
			config_deinit(config);
			return err_trace(r);
		}
	}
	return 0;
}

void config_deinit(struct config *config)
{
	char **text;
	size_t i;

	for (i = 0; i < N_OPTIONS; i++) {
		if (options[i].type != CONFIG_TEXT)
			continue;
		text = (char **)(void *)((char *)config + options[i].offset);
		free(*text);
		*text = NULL;
	}
}

/* ---- the file ---- */

/*
 * inih leaves out what a strict reader needs: the line of a setting, sections without keys, lines
 * that are too long, settings given twice. So it reads through line_read(), which sees every line
 * first.
 */
struct file_reader {
	struct config *config;
	FILE *f;
	const char *path;
	char *reason; /* of the first mistake; empty: none yet */
	int r;
	int line;
	int seen_at[N_OPTIONS]; /* the line of each setting, 0: not yet */
};

static void reader_fail(struct file_reader *reader, int r, int line, const char *what)
{
	if (reader->r == 0)
		reader->r = reason_set(reader->reason, r, "%s:%d: %s", reader->path, line, what);
}

static void line_check_section(struct file_reader *reader, const char *start)
{
	const char *end = strchr(start, ']');
	char name[64], what[128];
	size_t len;

	if (!end)
		return; /* inih says so */
	len = (size_t)(end - start) - 1;
	if (len < sizeof(name)) {
		memcpy(name, start + 1, len);
		name[len] = '\0';
		if (section_known(name))
			return;
	}
	snprintf(what, sizeof(what), "there is no section %.*s", (int)(len < 60 ? len + 2 : 62),
		 start);
	reader_fail(reader, -ENOENT, reader->line, what);
}

static char *line_read(char *buf, int size, void *stream)
{
	struct file_reader *reader = stream;
	char *start;
	size_t len;

	if (reader->r != 0 || !fgets(buf, size, reader->f))
		return NULL;
	reader->line++;
	len = strlen(buf);
	if ((len == 0 || buf[len - 1] != '\n') && !feof(reader->f)) {
		reader_fail(reader, -EINVAL, reader->line,
			    "the line is too long or holds a zero byte");
		return NULL;
	}
	/* An indented line would be taken for more of the value before it. */
	start = buf + strspn(buf, " \t");
	memmove(buf, start, strlen(start) + 1);
	if (*buf == '[')
		line_check_section(reader, buf);
	return buf;
}

static int line_handle(void *user, const char *section, const char *key, const char *value)
{
	struct file_reader *reader = user;
	char reason[CONFIG_REASON_MAX];
	int i = option_find(section, key);
	int r;

	if (reader->r != 0)
		return 0;
	if (!*section) {
		reader_fail(reader, -EINVAL, reader->line, "a setting before the first [section]");
		return 0;
	}
	if (i >= 0 && reader->seen_at[i] > 0) {
		snprintf(reason, sizeof(reason), "%s.%s is given twice, first in line %d", section,
			 key, reader->seen_at[i]);
		reader_fail(reader, -EINVAL, reader->line, reason);
		return 0;
	}
	r = config_set(reader->config, section, key, value, reason);
	if (r < 0) {
		reader_fail(reader, r, reader->line, reason);
		return 0;
	}
	reader->seen_at[i] = reader->line;
	return 1;
}

int config_read(struct config *config, const char *path, char reason[CONFIG_REASON_MAX])
{
	struct file_reader reader = { .config = config, .path = path, .reason = reason };
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	int line;

	if (!f)
		return reason_set(reason, -errno, "%s: %s", path, strerror(errno));
	reader.f = f;
	line = ini_parse_stream(line_read, &reader, line_handle, &reader);
	if (ferror(f))
		return reason_set(reason, errno ? -errno : -EIO, "%s: %s", path,
				  strerror(errno ? errno : EIO));
	/* inih reports the first line that it did not understand; ours may have come before. */
	if (line > 0 && (reader.r == 0 || line < reader.line)) {
		reader.r = 0;
		reader_fail(&reader, -EINVAL, line,
			    "neither a [section] nor 'key = value' nor a '#' comment");
	} else if (line < 0) {
		reader_fail(&reader, -ENOMEM, reader.line, "out of memory");
	}
	return err_trace(reader.r);
}

/* ---- what belongs together ---- */

static int text_default(char **text, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return err_origin(-ENOMEM);
	free(*text);
	*text = copy;
	return 0;
}

static int finish_socket(struct config *config, char *reason)
{
	char path[VRAM_SOCKET_PATH_MAX];

	if (!*config->daemon.socket) {
		snprintf(path, sizeof(path), "%s", VRAM_SOCKET_SYSTEM);
		if (config->user && vram_socket_path_user(path, sizeof(path)) < 0)
			return reason_set(reason, -ENOENT,
					  "XDG_RUNTIME_DIR is not set, or is too long: "
					  "say with --socket where to listen");
		return err_trace(text_default(&config->daemon.socket, path));
	}
	if (config->daemon.socket[0] != '/')
		return reason_set(reason, -EINVAL,
				  "daemon.socket: '%.200s' is not an absolute path",
				  config->daemon.socket);
	if (strlen(config->daemon.socket) > CONFIG_SOCKET_MAX)
		return reason_set(reason, -ERANGE, "daemon.socket: the path has at most %zu bytes",
				  CONFIG_SOCKET_MAX);
	return 0;
}

static int finish_swap(struct config *config, char *reason)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char path[4096];

	if (*config->swap.path && config->swap.path[0] != '/')
		return reason_set(reason, -EINVAL, "swap.path: '%.200s' is not an absolute path",
				  config->swap.path);
	if (*config->swap.path)
		return 0;
	if (!config->user)
		snprintf(path, sizeof(path), "/var/lib/vramd");
	else if (state && state[0] == '/')
		snprintf(path, sizeof(path), "%s/vramd", state);
	else
		snprintf(path, sizeof(path), "%s/.local/state/vramd",
			 home && home[0] == '/' ? home : "/tmp");
	return err_trace(text_default(&config->swap.path, path));
}

static int finish_limits(struct config *config, char *reason)
{
	const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char path[4096];

	if (*config->limits.dir && config->limits.dir[0] != '/')
		return reason_set(reason, -EINVAL, "limits.dir: '%.200s' is not an absolute path",
				  config->limits.dir);
	if (!config->user)
		snprintf(path, sizeof(path), "%s/limits.d", VRAM_SYSCONFDIR);
	else if (base && base[0] == '/')
		snprintf(path, sizeof(path), "%s/vramd/limits.d", base);
	else
		snprintf(path, sizeof(path), "%s/.config/vramd/limits.d", home ? home : "");
	/* One that was asked for has to be there, as a configuration file has to. */
	config->limits.dir_given = *config->limits.dir && strcmp(config->limits.dir, path) != 0;
	if (*config->limits.dir)
		return 0;
	return err_trace(text_default(&config->limits.dir, path));
}

uint64_t config_host_budget(const struct config *config)
{
	uint64_t half = config->ram_bytes / 2 / MIB * MIB;

	return half > MIB ? half : MIB;
}

int config_finish(struct config *config, char reason[CONFIG_REASON_MAX])
{
	char limit[SIZE_TEXT_MAX];
	int r;

	reason[0] = '\0';
	r = finish_socket(config, reason);
	if (r == 0)
		r = finish_swap(config, reason);
	if (r == 0)
		r = finish_limits(config, reason);
	if (r < 0)
		return err_trace(r);
	if (config->device.kind == VRAM_DEVICE_CUDA && config->device.link > 0)
		return reason_set(
			reason, -EINVAL,
			"device.link: imitates a card on the host device; a real card has a bus");
	if (config->device.kind == VRAM_DEVICE_HOST && config->device.budget == 0)
		config->device.budget = config_host_budget(config);
	if (config->device.kind == VRAM_DEVICE_HOST && config->device.host_budget > 0 &&
	    config->device.link == 0)
		return reason_set(reason, -EINVAL,
				  "device.host_budget: without device.link the host is the device "
				  "itself and has no tier of its own");
	if (config->io.read_size > config->io.inflight)
		return reason_set(reason, -ERANGE, "io.read_size: at most io.inflight, which is %s",
				  size_format_exact(limit, config->io.inflight));
	if (config->device.budget > 0 && config->device.chunk > config->device.budget)
		return reason_set(reason, -ERANGE,
				  "device.chunk: at most device.budget, which is %s",
				  size_format_exact(limit, config->device.budget));
	return 0;
}

void config_print(const struct config *config, FILE *f)
{
	char value[CONFIG_VALUE_MAX];
	const char *section = "";
	size_t i;

	for (i = 0; i < N_OPTIONS; i++) {
		if (strcmp(section, options[i].section) != 0) {
			section = options[i].section;
			fprintf(f, "%s[%s]\n", i ? "\n" : "", section);
		}
		fprintf(f, "%s = %s\n", options[i].key,
			config_value_format(&options[i], (const char *)config + options[i].offset,
					    value));
	}
}

void config_each(void (*fn)(const struct config_option *option, void *userdata), void *userdata)
{
	size_t i;

	for (i = 0; i < N_OPTIONS; i++)
		fn(&options[i], userdata);
}
