// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtrace/attach.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vramtrace.skel.h>

#include "tools/vramtrace/layout.h"

#define MODULE		"vram"
#define PROVIDER	"vram"
#define FORMAT_FILE_MAX 16384
/* Events to be taken in one turn: signals and timers wait for no more. */
#define CONSUME_MAX 16384

static const char *const kind_names[EVENT_N_KINDS] = {
#define EVENT_NAME(kind, name) [EVENT_##kind] = #name,
	EVENT_KINDS(EVENT_NAME)
};

struct tracer {
	struct vramtrace_bpf *bpf;
	struct ring_buffer *ring;
	struct bpf_link *links[EVENT_N_KINDS];	/* of the module */
	struct bpf_link *probes[EVENT_N_KINDS]; /* of vramd */
	uint32_t kinds;
	uint32_t n_consumed; /* in this turn */
	enum source source;
	void (*on_event)(void *owner, const struct event *event);
	void *owner;
};

/* ---- what libbpf says ------------------------------------------------------------ */

static bool is_verbose;

static int say(enum libbpf_print_level level, const char *format, va_list args)
{
	if (!is_verbose && level != LIBBPF_WARN)
		return 0;
	/* Without -v only what it ends with is of use, and that is said by us. */
	return is_verbose ? vfprintf(stderr, format, args) : 0;
}

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
	va_list args;

	fputs("vramtrace: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

/* The mode that stands in brackets: "none [integrity] confidentiality". */
static bool is_locked_down(void)
{
	char text[128] = "";
	FILE *f = fopen("/sys/kernel/security/lockdown", "re");

	if (f) {
		if (!fgets(text, sizeof(text), f))
			text[0] = '\0';
		fclose(f);
	}
	return strstr(text, "[confidentiality]");
}

static int explain(int r, const char *what)
{
	if ((r == -EPERM || r == -EACCES) && geteuid() != 0)
		complain("%s: this needs root (CAP_BPF and CAP_PERFMON): try sudo", what);
	else if ((r == -EPERM || r == -EACCES) && is_locked_down())
		complain("%s: the kernel is locked down (confidentiality) and reads no memory for "
			 "anybody: see kernel_lockdown(7)",
			 what);
	else if (r == -EPERM || r == -EACCES)
		complain(
			"%s: BPF is not permitted here. In a container run vramtrace on the host, or "
			"give the container CAP_SYS_ADMIN and a seccomp profile that allows bpf() and "
			"perf_event_open()",
			what);
	else if (r == -ENOSYS)
		complain("%s: this kernel was built without BPF (CONFIG_BPF_SYSCALL)", what);
	else if (r == -ENOMEM)
		complain("%s: not enough memory: try a smaller --buffer", what);
	else
		complain("%s: %s%s", what, strerror(-r),
			 is_verbose ? "" :
				      " (vramtrace -v says more; Linux 5.15 or newer is needed)");
	return r;
}

/* ---- the module's trace points ----------------------------------------------------- */

static const char *tracefs(void)
{
	static const char *const places[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	char path[128];

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s/events", places[i]);
		if (access(path, R_OK) == 0)
			return places[i];
	}
	return NULL;
}

/* Return: 0; -ENOENT without tracefs or the event; -EPROTO or -EBADMSG with the reason in text. */
static int check_kind(enum event_kind kind, char *text, size_t size)
{
	const char *base = tracefs(), *reason;
	char path[192], *content;
	struct format format;
	size_t len;
	FILE *f;
	int r;

	if (!base) {
		snprintf(text, size, "tracefs is not mounted");
		return -ENOENT;
	}
	snprintf(path, sizeof(path), "%s/events/%s/%s/format", base, MODULE, kind_names[kind]);
	f = fopen(path, "re");
	if (!f) {
		r = -errno;
		snprintf(text, size, "%s: %s", path, strerror(errno));
		return r;
	}
	content = malloc(FORMAT_FILE_MAX);
	if (!content) {
		fclose(f);
		return -ENOMEM;
	}
	len = fread(content, 1, FORMAT_FILE_MAX, f);
	fclose(f);
	r = format_parse(content, len, &format, &reason);
	free(content);
	if (r < 0)
		snprintf(text, size, "%s: %s", path, reason);
	else
		r = layout_check(kind, &format, text, size);
	return r;
}

/* By records if all of them are as they should be. */
static enum source choose(uint32_t kinds)
{
	char text[256] = "";

	for (int kind = 0; kind < EVENT_N_LEDGER; kind++) {
		if (!(kinds & 1u << kind) || check_kind(kind, text, sizeof(text)) == 0)
			continue;
		if (is_verbose)
			complain("%s: %s; using raw trace points", kind_names[kind], text);
		return SOURCE_RAW;
	}
	return SOURCE_TRACEPOINT;
}

static int member_offset(const struct btf *btf, const char *type, const char *member,
			 volatile const __u32 *out)
{
	__s32 id = btf__find_by_name_kind(btf, type, BTF_KIND_STRUCT);
	const struct btf_type *t = id > 0 ? btf__type_by_id(btf, (__u32)id) : NULL;
	const struct btf_member *m = t ? btf_members(t) : NULL;

	for (__u16 i = 0; t && i < btf_vlen(t); i++, m++) {
		if (strcmp(btf__name_by_offset(btf, m->name_off), member) != 0)
			continue;
		/* Set before loading: it is constant only for the programs. */
		*(volatile __u32 *)(uintptr_t)out = btf_member_bit_offset(t, i) / 8;
		return 0;
	}
	complain("the type information has no %s.%s", type, member);
	return -ENOENT;
}

/* Where the raw programs find what: from type information, as the module's structs are its own business. */
static int find_offsets(struct vramtrace_bpf *bpf)
{
	struct btf *kernel = btf__load_vmlinux_btf(), *module;
	int r = -ENOENT;

	module = kernel ? btf__load_module_btf(MODULE, kernel) : NULL;
	if (!module) {
		complain(
			"raw trace points need type information of the %s, which this one was built "
			"without%s",
			kernel ? "module" : "kernel",
			tracefs() ? "" :
				    "; with tracefs it is not needed: mount -t tracefs tracefs "
				    "/sys/kernel/tracing");
		goto out;
	}
	r = member_offset(module, "vram_session", "id", &bpf->rodata->raw_session_id);
	if (r == 0)
		r = member_offset(module, "vram_session", "uid", &bpf->rodata->raw_session_uid);
	if (r == 0)
		r = member_offset(module, "vram_session", "pid", &bpf->rodata->raw_session_pid);
	if (r == 0)
		r = member_offset(module, "vram_session", "comm", &bpf->rodata->raw_session_comm);
	if (r == 0)
		r = member_offset(module, "ledger_group", "kind", &bpf->rodata->raw_group_kind);
	if (r == 0)
		r = member_offset(module, "ledger_group", "key", &bpf->rodata->raw_group_key);
	/* The first of struct pid's numbers is that of the initial namespace, and begins with `nr`. */
	if (r == 0)
		r = member_offset(module, "pid", "numbers", &bpf->rodata->raw_pid_nr);
out:
	btf__free(module);
	btf__free(kernel);
	return r;
}

/* ---- loading ----------------------------------------------------------------------- */

static struct bpf_program *program_of(const struct tracer *t, const char *prefix, int kind)
{
	char name[64];

	/* "vram_charge": "usdt_charge" */
	snprintf(name, sizeof(name), "%s%s", prefix, kind_names[kind] + strlen(PROVIDER "_") - 1);
	return bpf_object__find_program_by_name(t->bpf->obj, name);
}

/* Where the ledger's events come from at all. */
static struct bpf_program *ledger_program(const struct tracer *t, int kind)
{
	static const char *const prefixes[SOURCE_N] = {
		[SOURCE_TRACEPOINT] = "tp", [SOURCE_RAW] = "raw", [SOURCE_USDT] = "usdt"
	};

	return program_of(t, prefixes[t->source], kind);
}

static bool is_probe(const struct tracer *t, int kind)
{
	return kind >= EVENT_N_LEDGER || t->source == SOURCE_USDT;
}

static void set_filter(struct tracer *t, const struct filter *filter)
{
	struct vramtrace_bpf__rodata *rodata = t->bpf->rodata;
	size_t len = strlen(filter->cgroup);

	rodata->filter_pid = filter->pid;
	rodata->filter_by_dev = filter->by_dev;
	rodata->filter_dev = filter->dev;
	rodata->filter_by_session = filter_by_session(filter);
	rodata->filter_by_uid = filter->by_uid;
	rodata->filter_uid = filter->uid;
	rodata->filter_by_cgroup = len > 0;
	memcpy((char *)(uintptr_t)rodata->filter_cgroup, filter->cgroup, len);
	rodata->filter_cgroup_len = (__u32)len;
	rodata->filter_cgroup_id = filter->cgroup_id;
	rodata->filter_cgroup_level = filter->cgroup_level;
}

static int on_record(void *owner, void *data, size_t size)
{
	struct tracer *t = owner;

	if (size >= sizeof(struct event))
		t->on_event(t->owner, data);
	return ++t->n_consumed < CONSUME_MAX ? 0 : -EAGAIN;
}

static int load(struct tracer *t, const struct tracer_params *params)
{
	struct bpf_program *program;
	int r;

	bpf_object__for_each_program(program, t->bpf->obj)
		bpf_program__set_autoload(program, false);
	for (int kind = 0; kind < EVENT_N_KINDS; kind++) {
		if (!(t->kinds & 1u << kind))
			continue;
		program = kind < EVENT_N_LEDGER ? ledger_program(t, kind) :
						  program_of(t, "usdt", kind);
		if (!program) {
			complain("there is no program for %s", kind_names[kind]);
			return -ENOENT;
		}
		bpf_program__set_autoload(program, true);
	}
	set_filter(t, params->filter);
	if (t->source == SOURCE_RAW) {
		r = find_offsets(t->bpf);
		if (r < 0)
			return r;
	}
	r = bpf_map__set_max_entries(t->bpf->maps.events, (__u32)params->buffer_bytes);
	if (r < 0)
		return explain(r, "the buffer");
	r = vramtrace_bpf__load(t->bpf);
	if (r < 0)
		return explain(r, "cannot load the programs");
	t->ring = ring_buffer__new(bpf_map__fd(t->bpf->maps.events), on_record, t, NULL);
	return t->ring ? 0 : explain(-errno, "cannot map the buffer");
}

static int attach_module(struct tracer *t)
{
	struct bpf_link *link;
	int r;

	for (int kind = 0; kind < EVENT_N_LEDGER; kind++) {
		if (!(t->kinds & 1u << kind))
			continue;
		if (t->source == SOURCE_RAW)
			link = bpf_program__attach_raw_tracepoint(ledger_program(t, kind),
								  kind_names[kind]);
		else
			link = bpf_program__attach_tracepoint(ledger_program(t, kind), MODULE,
							      kind_names[kind]);
		if (!link) {
			r = -errno;
			if (r == -ENOENT) {
				complain(
					"the module has no trace point %s: is it loaded, and of this "
					"version?",
					kind_names[kind]);
				return r;
			}
			return explain(r, kind_names[kind]);
		}
		t->links[kind] = link;
	}
	return 0;
}

int tracer_attach_vramd(struct tracer *t, pid_t vramd)
{
	char path[64];
	int r;

	/* Through /proc: the file may have been replaced since, or be in another mount namespace. */
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)vramd);
	for (int kind = 0; kind < EVENT_N_KINDS; kind++) {
		if (!(t->kinds & 1u << kind) || !is_probe(t, kind))
			continue;
		t->probes[kind] = bpf_program__attach_usdt(program_of(t, "usdt", kind), vramd, path,
							   PROVIDER, kind_names[kind], NULL);
		if (t->probes[kind])
			continue;
		r = -errno;
		tracer_detach_vramd(t);
		if (access(path, F_OK) < 0) {
			complain("there is no process %d", (int)vramd);
			return -ESRCH;
		}
		if (r == -ENOENT) {
			complain(
				"process %d has no probe %s:%s: is it a vramd, and of this version?",
				(int)vramd, PROVIDER, kind_names[kind]);
			return r;
		}
		return explain(r, kind_names[kind]);
	}
	return 0;
}

void tracer_detach_vramd(struct tracer *t)
{
	for (int kind = 0; kind < EVENT_N_KINDS; kind++) {
		bpf_link__destroy(t->probes[kind]);
		t->probes[kind] = NULL;
	}
}

/* ---- the whole --------------------------------------------------------------------- */

int tracer_new(struct tracer **out, const struct tracer_params *params)
{
	struct tracer *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return explain(-ENOMEM, "out of memory");
	is_verbose = params->verbose;
	libbpf_set_print(say);
	t->kinds = params->kinds;
	t->on_event = params->on_event;
	t->owner = params->owner;
	t->source = params->source == SOURCE_AUTO ? choose(t->kinds) : params->source;
	/* Without a vramd what only it has cannot come. */
	if (!params->vramd)
		t->kinds &= (1u << EVENT_N_LEDGER) - 1;
	t->bpf = vramtrace_bpf__open();
	r = t->bpf ? load(t, params) : explain(-errno, "cannot open the programs");
	if (r == 0 && t->source != SOURCE_USDT)
		r = attach_module(t);
	if (r == 0 && params->vramd)
		r = tracer_attach_vramd(t, params->vramd);
	if (r < 0) {
		tracer_free(t);
		return r;
	}
	*out = t;
	return 0;
}

void tracer_detach(struct tracer *t)
{
	tracer_detach_vramd(t);
	for (int kind = 0; kind < EVENT_N_KINDS; kind++) {
		bpf_link__destroy(t->links[kind]);
		t->links[kind] = NULL;
	}
}

struct tracer *tracer_free(struct tracer *t)
{
	if (!t)
		return NULL;
	tracer_detach(t);
	ring_buffer__free(t->ring);
	vramtrace_bpf__destroy(t->bpf);
	free(t);
	return NULL;
}

enum source tracer_source(const struct tracer *t)
{
	return t->source;
}

int tracer_fd(const struct tracer *t)
{
	return ring_buffer__epoll_fd(t->ring);
}

int tracer_consume(struct tracer *t)
{
	t->n_consumed = 0;
	return ring_buffer__consume(t->ring);
}

uint64_t tracer_lost(const struct tracer *t)
{
	uint64_t n = __atomic_load_n(&t->bpf->bss->n_lost, __ATOMIC_RELAXED);
	struct bpf_program *program;

	/* A program that the kernel did not run because another one was running on this processor. */
	bpf_object__for_each_program(program, t->bpf->obj)
	{
		struct bpf_prog_info info = { 0 };
		__u32 size = sizeof(info);
		int fd = bpf_program__fd(program);

		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0)
			n += info.recursion_misses;
	}
	return n;
}

int tracer_allow_session(struct tracer *t, uint64_t session)
{
	const uint8_t one = 1;

	return bpf_map__update_elem(t->bpf->maps.sessions, &session, sizeof(session), &one,
				    sizeof(one), BPF_ANY);
}
