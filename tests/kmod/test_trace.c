// SPDX-License-Identifier: GPL-2.0-only
/*
 * Trace points are an interface: their fields are where trace_formats.txt pins them, and every one of
 * them comes, with the right numbers, when what it tells of happens; and nothing else comes.
 *
 * links: tests/kmod/device.c tests/kmod/passing.c tests/kmod/waiter.c
 */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/kmod/device.h"
#include "tests/kmod/waiter.h"
#include "tests/support/skip.h"

#define TRACING "/sys/kernel/tracing/"
#define EVENTS	TRACING "events/vram/"
/* A buffer of our own: whoever traces beside us is not in it. */
#define BUFFER TRACING "instances/vram-test/"

static void put(const char *path, const char *value)
{
	FILE *f = fopen(path, "we");

	ck_assert_msg(f, "%s: %s", path, strerror(errno));
	fputs(value, f);
	ck_assert_msg(fclose(f) == 0, "%s: %s", path, strerror(errno));
}

static char *get(const char *path)
{
	static char text[1 << 18];
	FILE *f = fopen(path, "re");
	size_t n;

	ck_assert_msg(f, "%s: %s", path, strerror(errno));
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	return text;
}

/* ---- formats -------------------------------------------------------------------- */

struct field {
	char event[64], type[264], name[128];
	unsigned int offset, size;
};

static struct field pinned[256];
static unsigned int n_pinned;

static void read_pinned(void)
{
	const char *src = getenv("VRAM_SRC");
	char path[4096], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/tests/kmod/trace_formats.txt", src ? src : ".");
	f = fopen(path, "re");
	ck_assert_msg(f, "%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		struct field *x = &pinned[n_pinned];

		if (line[0] == '#')
			continue;
		ck_assert_int_eq(sscanf(line, "%63s %u %u %263s %127s", x->event, &x->offset,
					&x->size, x->type, x->name),
				 5);
		ck_assert_uint_lt(++n_pinned, 256);
	}
	fclose(f);
	ck_assert_uint_gt(n_pinned, 60);
}

/* "\tfield:char comm[16];\toffset:28;\tsize:16;\tsigned:1;" Return: is this a field at all? */
static bool parse_field(const char *line, struct field *out)
{
	char text[128], *name, *bracket;

	if (sscanf(line, " field:%127[^;]; offset:%u; size:%u;", text, &out->offset, &out->size) !=
	    3)
		return false;
	name = strrchr(text, ' ');
	ck_assert_ptr_nonnull(name);
	*name++ = 0;
	bracket = strchr(name, '[');
	snprintf(out->type, sizeof(out->type), "%s%s", text, bracket ? bracket : "");
	if (bracket)
		*bracket = 0;
	snprintf(out->name, sizeof(out->name), "%s", name);
	return true;
}

/* The fields of an event, but the common ones, in order, no more and no less. */
START_TEST(test_formats)
{
	unsigned int i, n_events = 0;

	read_pinned();
	for (i = 0; i < n_pinned;) {
		char path[256], *line, *next;
		unsigned int first = i;

		snprintf(path, sizeof(path), EVENTS "%s/format", pinned[i].event);
		n_events++;
		for (line = get(path); line; line = next) {
			struct field x;

			next = strchr(line, '\n');
			if (next)
				*next++ = 0;
			if (!parse_field(line, &x) || !strncmp(x.name, "common_", 7))
				continue;
			ck_assert_msg(i < n_pinned && !strcmp(pinned[i].event, pinned[first].event),
				      "%s has a field %s that is not pinned", pinned[first].event,
				      x.name);
			ck_assert_str_eq(x.name, pinned[i].name);
			ck_assert_str_eq(x.type, pinned[i].type);
			ck_assert_msg(x.offset == pinned[i].offset && x.size == pinned[i].size,
				      "%s.%s: %u bytes at %u", pinned[i].event, x.name, x.size,
				      x.offset);
			i++;
		}
		ck_assert_msg(i > first, "%s has no fields", pinned[first].event);
		ck_assert_msg(i == n_pinned || strcmp(pinned[i].event, pinned[first].event),
			      "%s has lost its field %s", pinned[i].event, pinned[i].name);
	}
	ck_assert_uint_eq(n_events, 12);
}
END_TEST

/* ---- what is told ------------------------------------------------------------------ */

static char *lines[256];
static unsigned int n_lines, at;

static void begin(void)
{
	ck_assert_msg(mkdir(BUFFER, 0700) == 0 || errno == EEXIST, "%s: %s", BUFFER,
		      strerror(errno));
	put(BUFFER "events/vram/enable", "0");
	put(BUFFER "trace", "");
	put(BUFFER "events/vram/enable", "1");
}

/* "  test_trace-123 [001] ..... 12.345: vram_charge: session=..." */
static void end(void)
{
	char *line, *next;

	put(BUFFER "events/vram/enable", "0");
	for (line = strdup(get(BUFFER "trace")); line; line = next) {
		char *event;

		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		event = strstr(line, ": vram_");
		if (line[0] == '#' || !event)
			continue;
		ck_assert_uint_lt(n_lines, 256);
		lines[n_lines++] = event + 2;
	}
	ck_assert_msg(rmdir(BUFFER) == 0, "%s: %s", BUFFER, strerror(errno));
}

__attribute__((format(printf, 1, 2))) static void next_is(const char *format, ...)
{
	char want[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(want, sizeof(want), format, ap);
	va_end(ap);
	ck_assert_msg(at < n_lines, "nothing behind %u lines, but: %s", n_lines, want);
	ck_assert_str_eq(lines[at], want);
	at++;
}

static int try_op(uint32_t op, uint64_t session, uint32_t share, uint32_t from, uint32_t to,
		  uint64_t bytes, uint32_t flags, uint64_t other)
{
	struct vram_ioc_charge c = {
		.flags = flags,
		.op = op,
		.session = session,
		.other = other,
		.share = share,
		.dev = w.dev[0],
		.from = from,
		.to = to,
		.bytes = bytes,
	};

	return try_ioctl(w.arb, VRAM_IOC_CHARGE, &c);
}

START_TEST(test_charges)
{
	int a = client_new(UID_A, 4), b = client_new(UID_B, 4);
	uint64_t ida = session_of(a), idb = session_of(b);
	int pa = info_of(a).pid, pb = info_of(b).pid;
	uint32_t dev = w.dev[0], share = share_new(w.arb, dev);

	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, share, ida));
	begin();
	ck_ok(try_op(VRAM_CHARGE, ida, VRAM_NO_SHARE, 0, VRAM_TIER_HOST, 1000, 0, 0));
	ck_ok(try_op(VRAM_CHARGE, ida, VRAM_NO_SHARE, 0, 0, 500, VRAM_CHARGE_RESTORE, 0));
	ck_ok(try_op(VRAM_TRANSFER, ida, VRAM_NO_SHARE, 0, 2, 200, VRAM_CHARGE_EVICT, idb));
	ck_ok(try_op(VRAM_TRANSFER, ida, VRAM_NO_SHARE, 2, 0, 100, VRAM_CHARGE_RESTORE, 0));
	ck_ok(try_op(VRAM_GIVE, ida, VRAM_NO_SHARE, 1, 0, 300, 0, idb));
	ck_ok(try_op(VRAM_UNCHARGE, ida, VRAM_NO_SHARE, 0, 0, 50, VRAM_CHARGE_EVICT, 0));
	ck_ok(try_op(VRAM_CHARGE, 0, share, 0, 0, 4096, 0, 0));
	ck_ok(try_op(VRAM_CHARGE, idb, share, 0, 0, 4096, 0, 0));
	ck_ok(try_op(VRAM_UNCHARGE, 0, share, 0, 0, 8192, VRAM_CHARGE_EVICT, idb));
	/* What moves nothing, or fails, is not told. */
	ck_ok(try_op(VRAM_TRANSFER, ida, VRAM_NO_SHARE, 0, 0, 10, 0, 0));
	ck_errno(try_op(VRAM_UNCHARGE, ida, VRAM_NO_SHARE, 0, 0, GIB, 0, 0), EINVAL);
	end();

	next_is("vram_charge: session=%" PRIu64 " share=-1 dev=%u tier=host bytes=1000 pid=%d "
		"comm=test_trace",
		ida, dev, pa);
	next_is("vram_charge: session=%" PRIu64 " share=-1 dev=%u tier=vram bytes=500 pid=%d "
		"comm=test_trace",
		ida, dev, pa);
	next_is("vram_restore: session=%" PRIu64 " share=-1 dev=%u from=none to=vram bytes=500 "
		"pid=%d comm=test_trace needed_session=0 needed_pid=0 needed_comm=",
		ida, dev, pa);
	next_is("vram_uncharge: session=%" PRIu64 " share=-1 dev=%u tier=vram bytes=200 pid=%d "
		"comm=test_trace",
		ida, dev, pa);
	next_is("vram_charge: session=%" PRIu64 " share=-1 dev=%u tier=disk bytes=200 pid=%d "
		"comm=test_trace",
		ida, dev, pa);
	next_is("vram_evict: session=%" PRIu64 " share=-1 dev=%u from=vram to=disk bytes=200 "
		"pid=%d comm=test_trace needed_session=%" PRIu64
		" needed_pid=%d needed_comm=test_trace",
		ida, dev, pa, idb, pb);
	next_is("vram_uncharge: session=%" PRIu64 " share=-1 dev=%u tier=disk bytes=100 pid=%d "
		"comm=test_trace",
		ida, dev, pa);
	next_is("vram_charge: session=%" PRIu64 " share=-1 dev=%u tier=vram bytes=100 pid=%d "
		"comm=test_trace",
		ida, dev, pa);
	next_is("vram_restore: session=%" PRIu64 " share=-1 dev=%u from=disk to=vram bytes=100 "
		"pid=%d comm=test_trace needed_session=0 needed_pid=0 needed_comm=",
		ida, dev, pa);
	next_is("vram_uncharge: session=%" PRIu64 " share=-1 dev=%u tier=host bytes=300 pid=%d "
		"comm=test_trace",
		ida, dev, pa);
	next_is("vram_charge: session=%" PRIu64 " share=-1 dev=%u tier=host bytes=300 pid=%d "
		"comm=test_trace",
		idb, dev, pb);
	next_is("vram_uncharge: session=%" PRIu64 " share=-1 dev=%u tier=vram bytes=50 pid=%d "
		"comm=test_trace",
		ida, dev, pa);
	next_is("vram_evict: session=%" PRIu64 " share=-1 dev=%u from=vram to=none bytes=50 "
		"pid=%d comm=test_trace needed_session=0 needed_pid=0 needed_comm=",
		ida, dev, pa);
	next_is("vram_charge: session=0 share=%u dev=%u tier=vram bytes=4096 pid=0 comm=", share,
		dev);
	next_is("vram_charge: session=%" PRIu64 " share=%u dev=%u tier=vram bytes=4096 pid=%d "
		"comm=test_trace",
		idb, share, dev, pb);
	next_is("vram_uncharge: session=0 share=%u dev=%u tier=vram bytes=8192 pid=0 comm=", share,
		dev);
	next_is("vram_evict: session=0 share=%u dev=%u from=vram to=none bytes=8192 pid=0 comm= "
		"needed_session=%" PRIu64 " needed_pid=%d needed_comm=test_trace",
		share, dev, idb, pb);
	ck_assert_uint_eq(at, n_lines);
	close(a);
	close(b);
}
END_TEST

START_TEST(test_limits)
{
	int a = client_new(UID_A, 4), pid;
	uint64_t id = session_of(a);
	uint32_t dev = w.dev[0], share = share_new(w.arb, dev);

	pid = info_of(a).pid;
	ck_ok(try_share(w.arb, VRAM_SHARE_JOIN, share, id));
	begin();
	ck_ok(try_limit(w.arb, VRAM_KIND_USER, UID_A, VRAM_LIMIT_MAX, 1000));
	ck_errno(try_op(VRAM_CHARGE, id, VRAM_NO_SHARE, 0, 0, 1001, 0, 0), EDQUOT);
	ck_errno(try_op(VRAM_CHARGE, 0, share, 0, 0, 1001, 0, 0), EDQUOT);
	ck_errno(try_op(VRAM_CHARGE, id, VRAM_NO_SHARE, 0, 1, world_capacity[1] + 1, 0, 0), ENOSPC);
	ck_ok(try_limit(w.arb, VRAM_KIND_SESSION, id, VRAM_LIMIT_WEIGHT, 7));
	ck_errno(try_limit(w.arb, VRAM_KIND_SESSION, id, VRAM_LIMIT_WEIGHT, 0), ERANGE);
	end();
	next_is("vram_limit_change: group=user:%u dev=%u tier=vram limit=max value=1000 flags=0 "
		"pid=%d comm=test_trace",
		UID_A, dev, (int)getpid());
	next_is("vram_limit_hit: session=%" PRIu64 " share=-1 dev=%u tier=vram bytes=1001 "
		"limit=user:%u pid=%d comm=test_trace",
		id, dev, UID_A, pid);
	next_is("vram_limit_hit: session=0 share=%u dev=%u tier=vram bytes=1001 limit=user:%u "
		"pid=0 comm=",
		share, dev, UID_A);
	next_is("vram_limit_hit: session=%" PRIu64 " share=-1 dev=%u tier=host bytes=%" PRIu64
		" limit=root:0 pid=%d comm=test_trace",
		id, dev, world_capacity[1] + 1, pid);
	next_is("vram_limit_change: group=session:%" PRIu64 " dev=%u tier=vram limit=weight "
		"value=7 flags=0 pid=%d comm=test_trace",
		id, dev, (int)getpid());
	ck_assert_uint_eq(at, n_lines);
	close(a);
}
END_TEST

START_TEST(test_stall)
{
	int a = client_new(UID_A, 4), pid = info_of(a).pid;
	uint64_t id = session_of(a), seen, woken;
	unsigned long long stall_ns = 0;
	struct vram_ioc_wait wait = { .dev = w.dev[1], .slot = 2, .expected = 1 };
	struct waiter_report r;
	struct waiter x;
	char head[128];

	begin();
	/* Back at once: no stall, and no word of it. */
	ck_ok(try_ioctl(a, VRAM_IOC_WAIT, &wait));
	wait.expected = 0;
	wait.deadline_ns = FOREVER;
	waiter_start(&x, a, &wait, 0);
	waiter_asleep(&x);
	seen = now_ns();
	sleep_ms(100);
	woken = now_ns();
	ck_ok(try_wake(w.arb, id, 2));
	r = waiter_end(&x);
	ck_assert_int_eq(r.ret, 0);
	end();
	next_is("vram_stall_begin: session=%" PRIu64 " dev=%u slot=2 pid=%d comm=test_trace", id,
		w.dev[1], pid);
	snprintf(head, sizeof(head),
		 "vram_stall_end: session=%" PRIu64 " dev=%u slot=2 stall_ns=", id, w.dev[1]);
	ck_assert_uint_lt(at, n_lines);
	ck_assert_int_eq(strncmp(lines[at], head, strlen(head)), 0);
	ck_assert_int_eq(sscanf(lines[at] + strlen(head), "%llu", &stall_ns), 1);
	ck_assert_uint_ge(stall_ns, woken - seen);
	ck_assert_uint_le(stall_ns, r.end_ns - r.begin_ns);
	next_is("%s%llu pid=%d comm=test_trace", head, stall_ns, pid);
	ck_assert_uint_eq(at, n_lines);
	close(a);
}
END_TEST

/* A page fault that the arbiter tells of; two of them are one wait. */
START_TEST(test_told_stall)
{
	int a = client_new(UID_A, 4), pid = info_of(a).pid;
	uint64_t id = session_of(a), before;
	unsigned long long stall_ns = 0;
	char head[128];

	begin();
	before = now_ns();
	ck_ok(try_state(w.arb, id, w.dev[0], VRAM_SESSION_STALL));
	ck_ok(try_state(w.arb, id, w.dev[0], VRAM_SESSION_STALL));
	ck_ok(try_state(w.arb, id, w.dev[0], VRAM_SESSION_UNSTALL));
	sleep_ms(50);
	ck_ok(try_state(w.arb, id, w.dev[0], VRAM_SESSION_UNSTALL));
	ck_errno(try_state(w.arb, id, w.dev[0], VRAM_SESSION_UNSTALL), EINVAL);
	end();
	next_is("vram_stall_begin: session=%" PRIu64 " dev=%u slot=-1 pid=%d comm=test_trace", id,
		w.dev[0], pid);
	snprintf(head, sizeof(head),
		 "vram_stall_end: session=%" PRIu64 " dev=%u slot=-1 stall_ns=", id, w.dev[0]);
	ck_assert_uint_lt(at, n_lines);
	ck_assert_int_eq(strncmp(lines[at], head, strlen(head)), 0);
	ck_assert_int_eq(sscanf(lines[at] + strlen(head), "%llu", &stall_ns), 1);
	ck_assert_uint_ge(stall_ns, 50 * MS);
	ck_assert_uint_le(stall_ns, now_ns() - before);
	next_is("%s%llu pid=%d comm=test_trace", head, stall_ns, pid);
	ck_assert_uint_eq(at, n_lines);
	close(a);
}
END_TEST

START_TEST(test_life)
{
	int a, any = device_open(), pid;
	uint64_t id, arbiter, own = w.generation;

	arbiter = session_of(w.arb);
	begin();
	a = open_as(UID_A);
	id = adopt(w.arb, a, 0).session;
	pid = info_of(a).pid;
	ck_ok(try_op(VRAM_CHARGE, id, VRAM_NO_SHARE, 0, 1, 77, 0, 0));
	close(a);
	event_gone(w.arb, id);
	close(w.arb);
	EVENTUALLY(info_of(any).arbiter_state == VRAM_ARBITER_GONE);
	w.arb = any;
	attach(w.arb, 250);
	end();
	next_is("vram_session_open: session=%" PRIu64 " uid=%u pid=%d comm=test_trace", id, UID_A,
		pid);
	next_is("vram_charge: session=%" PRIu64 " share=-1 dev=%u tier=host bytes=77 pid=%d "
		"comm=test_trace",
		id, w.dev[0], pid);
	next_is("vram_session_close: session=%" PRIu64 " vram=0 host=77 disk=0 uid=%u pid=%d "
		"comm=test_trace",
		id, UID_A, pid);
	next_is("vram_arbiter_detach: generation=%" PRIu64 " grace_ms=0 pid=%d comm=test_trace",
		own, (int)getpid());
	next_is("vram_session_close: session=%" PRIu64 " vram=0 host=0 disk=0 uid=0 pid=%d "
		"comm=test_trace",
		arbiter, (int)getpid());
	next_is("vram_arbiter_attach: generation=%" PRIu64 " grace_ms=250 pid=%d comm=test_trace",
		own + 1, (int)getpid());
	ck_assert_uint_eq(at, n_lines);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trace");
	TCase *tc = world_case(suite, "trace");

	tcase_add_test(tc, test_formats);
	tcase_add_test(tc, test_charges);
	tcase_add_test(tc, test_limits);
	tcase_add_test(tc, test_stall);
	tcase_add_test(tc, test_told_stall);
	tcase_add_test(tc, test_life);
	if (!access(DEVICE_PATH, F_OK) && !geteuid() && access(EVENTS, F_OK)) {
		srunner_free(srunner_create(suite));
		return skip("no " EVENTS ": the kernel has no tracing, or it is not mounted");
	}
	return device_main(suite);
}
