// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/gpu_host.c daemon/gpu_host_guard.c daemon/gpu_host_map.c daemon/loop.c daemon/log.c
// links: common/fd.c common/err.c
// libs: -luring -lpthread
/*
 * The host device, with this process as its own client: a thread touches the mapping while the test
 * runs the daemon's side of it on the loop. Most tests are hazards that once showed wrong bytes.
 */
#include "daemon/gpu.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/loop.h"
#include "tests/support/skip.h"

#define CHUNK	 (2u << 20)
#define N_CHUNKS 8
#define WAIT_NS \
	(10ull * 1000000000) /* before a test gives up; nothing waits so long when it works */

static struct loop *loop;
static struct gpu *gpu;
static struct gpu_object *object;
static struct gpu_client *client;
static char *mapping;
static int uffd;

static unsigned int n_faults, n_unmapped, n_failed;
static uint32_t last_chunk;
static bool serve; /* fill and open on fault, as the scheduler would */

static void fill(uint32_t chunk)
{
	memset(gpu_chunk_addr(object, chunk), 'a' + (int)chunk, gpu_chunk_len(object, chunk));
}

static void on_fault(void *owner, struct gpu_object *o, uint32_t chunk)
{
	(void)owner;
	ck_assert_ptr_eq(o, object);
	n_faults++;
	last_chunk = chunk;
	if (!serve)
		return;
	fill(chunk);
	ck_assert_int_eq(gpu_client_open(client, object, chunk, 1), 0);
}

static void on_unmapped(void *owner, struct gpu_object *o)
{
	(void)owner;
	ck_assert_ptr_eq(o, object);
	n_unmapped++;
}

static void on_failed(void *owner, int error, const char *reason)
{
	(void)owner;
	(void)error;
	(void)reason;
	n_failed++;
}

static const struct gpu_client_events events = {
	.fault = on_fault,
	.unmapped = on_unmapped,
	.failed = on_failed,
};

static int new_uffd(int flags)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM |
			    UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP,
	};
	int fd = (int)syscall(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

/* The host device asks for nobody's. */
static const struct gpu_peer peer = { .pidfd = -1 };

static char *map_object(int fd, uint64_t bytes)
{
	char *reserve = mmap(NULL, bytes + CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at = (char *)(((uintptr_t)reserve + CHUNK - 1) & ~(uintptr_t)(CHUNK - 1));

	ck_assert_ptr_ne(reserve, MAP_FAILED);
	ck_assert_ptr_eq(mmap(at, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0), at);
	return at;
}

static void make(uint64_t link)
{
	const struct gpu_params params = {
		.budget_bytes = 1u << 30,
		.link_bytes_per_s = link,
		.huge = -1,
	};

	ck_assert_int_eq(loop_new(&loop, 64), 0);
	ck_assert_int_eq(gpu_host_new(&gpu, loop, &params), 0);
	ck_assert_int_eq(gpu_object_new(gpu, "test", N_CHUNKS * CHUNK, CHUNK, false, 0, &object),
			 0);
	ck_assert_uint_eq(object->n_chunks, N_CHUNKS);
}

static void setup(void)
{
	int fd;

	make(0);
	n_faults = n_unmapped = n_failed = 0;
	serve = true;
	ck_assert_int_eq(gpu_object_client_fd(object, &fd), 0);
	mapping = map_object(fd, N_CHUNKS * CHUNK);
	close(fd);
	uffd = new_uffd(O_CLOEXEC | O_NONBLOCK);
	ck_assert_int_eq(gpu_client_new(gpu, dup(uffd), &peer, &events, NULL, &client), 0);
	ck_assert_int_eq(gpu_client_map(client, object, (uintptr_t)mapping, N_CHUNKS * CHUNK, 0),
			 0);
}

static void teardown(void)
{
	client = gpu_client_free(gpu, client);
	object = gpu_object_free(object);
	gpu = gpu_free(gpu);
	loop = loop_free(loop);
}

/* A thread of the client that does one thing to its memory. */
struct toucher {
	pthread_t thread;
	char *at;
	char *to;   /* mremap */
	size_t len; /* 0: read one byte */
	atomic_int done;
	char value;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	if (t->to)
		ck_assert_ptr_eq(
			mremap(t->at, t->len, t->len, MREMAP_MAYMOVE | MREMAP_FIXED, t->to), t->to);
	else if (t->len)
		ck_assert_int_eq(munmap(t->at, t->len), 0);
	else
		t->value = *(volatile char *)t->at;
	atomic_store(&t->done, 1);
	return NULL;
}

static void start(struct toucher *t, char *at, size_t len, char *to)
{
	*t = (struct toucher){ .at = at, .len = len, .to = to };
	ck_assert_int_eq(pthread_create(&t->thread, NULL, touch, t), 0);
}

static void finish(struct toucher *t)
{
	uint64_t until = loop_now() + WAIT_NS;

	while (!atomic_load(&t->done)) {
		ck_assert_msg(loop_now() < until, "the thread still waits");
		ck_assert_int_ge(loop_run_once(loop, 1000000), 0);
	}
	pthread_join(t->thread, NULL);
	/* Events that are still in the queue. */
	for (int i = 0; i < 3; i++)
		loop_run_once(loop, 1000000);
}

static char read_at(size_t offset)
{
	struct toucher t;

	start(&t, mapping + offset, 0, NULL);
	finish(&t);
	return t.value;
}

static void wait_for_fault(unsigned int n)
{
	uint64_t until = loop_now() + WAIT_NS;

	while (n_faults < n) {
		ck_assert_msg(loop_now() < until, "no fault came");
		ck_assert_int_ge(loop_run_once(loop, 1000000), 0);
	}
}

START_TEST(first_touch_traps_once)
{
	ck_assert_int_eq(read_at(3 * CHUNK + 5), 'd');
	ck_assert_uint_eq(n_faults, 1);
	ck_assert_uint_eq(last_chunk, 3);
	ck_assert_int_eq(read_at(3 * CHUNK + 4096), 'd');
	ck_assert_uint_eq(n_faults, 1);
	ck_assert_int_eq(read_at(4 * CHUNK), 'e');
	ck_assert_uint_eq(n_faults, 2);
}
END_TEST

START_TEST(filled_ahead_still_traps)
{
	/* MINOR: the page is there but has not been opened; this is the reading position. */
	fill(2);
	ck_assert_int_eq(read_at(2 * CHUNK), 'c');
	ck_assert_uint_eq(n_faults, 1);
}
END_TEST

START_TEST(evicted_chunk_traps_again)
{
	ck_assert_int_eq(read_at(0), 'a');
	ck_assert_int_eq(gpu_client_close(client, object, 0, 1), 0);
	ck_assert_int_eq(gpu_chunk_drop(object, 0, 1), 0);
	ck_assert_int_eq(read_at(7), 'a');
	ck_assert_uint_eq(n_faults, 2);
}
END_TEST

START_TEST(drop_gives_memory_back)
{
	fill(0);
	fill(1);
	ck_assert_uint_eq(gpu_object_memory(object), 2 * CHUNK);
	ck_assert_int_eq(gpu_chunk_drop(object, 0, 2), 0);
	ck_assert_uint_eq(gpu_object_memory(object), 0);
}
END_TEST

/* Another client without registration reads a hole: a page of zeros appears in the file. With
 * MISSING alone, our client would read it. */
/* Also of chunks that are smaller than a huge page. */
START_TEST(takes_no_more_memory_than_its_chunks)
{
	const uint32_t len = 256u << 10;
	struct gpu_object *small;

	ck_assert_int_eq(gpu_object_new(gpu, "small", 8 * CHUNK, len, _i, 0, &small), 0);
	for (uint32_t c = 3; c < small->n_chunks; c += 10)
		memset(gpu_chunk_addr(small, c), 1, len);
	ck_assert_uint_eq(gpu_object_memory(small), 7 * len);
	ck_assert_int_eq(gpu_chunk_drop(small, 3, 11), 0);
	ck_assert_uint_eq(gpu_object_memory(small), 5 * len);
	gpu_object_free(small);
}
END_TEST

START_TEST(planted_zeros_are_never_seen)
{
	char *other;
	int fd;

	ck_assert_int_eq(gpu_object_client_fd(object, &fd), 0);
	other = map_object(fd, N_CHUNKS * CHUNK);
	close(fd);
	ck_assert_int_eq(*(volatile char *)(other + 5 * CHUNK), 0);
	ck_assert_uint_gt(gpu_object_memory(object), 0);
	ck_assert_int_eq(read_at(5 * CHUNK), 'f');
	ck_assert_uint_eq(n_faults, 1);
}
END_TEST

START_TEST(clients_cannot_write)
{
	char path[64];
	int fd, status;
	pid_t child;

	ck_assert_int_eq(gpu_object_client_fd(object, &fd), 0);
	ck_assert_ptr_eq(mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	ck_assert_int_eq(ftruncate(fd, 0), -1);
	/* A private write copies, and changes nobody else's bytes. */
	ck_assert_int_eq(mprotect(mapping, CHUNK, PROT_READ | PROT_WRITE), 0);
	ck_assert_int_eq(read_at(0), 'a');
	mapping[0] = 'X';
	ck_assert_int_eq(*(char *)gpu_chunk_addr(object, 0), 'a');
	if (geteuid() != 0) {
		close(fd);
		return; /* the rest needs another user */
	}
	child = fork();
	if (child == 0) {
		if (setuid(65534))
			_exit(2);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		_exit(open(path, O_RDWR) < 0 ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	close(fd);
}
END_TEST

/* The daemon ends, the client keeps its userfaultfd: threads wait, they do not read zeros, and
 * the next daemon can serve them. */
START_TEST(threads_wait_without_a_daemon)
{
	struct toucher t;

	ck_assert_int_eq(read_at(0), 'a');
	client = gpu_client_free(gpu, client);
	ck_assert_int_eq(gpu_chunk_drop(object, 0, N_CHUNKS), 0);
	start(&t, mapping + 9, 0, NULL);
	usleep(100000);
	ck_assert_int_eq(atomic_load(&t.done), 0);
	ck_assert_int_eq(gpu_client_new(gpu, dup(uffd), &peer, &events, NULL, &client), 0);
	ck_assert_int_eq(gpu_client_map(client, object, (uintptr_t)mapping, N_CHUNKS * CHUNK, 0),
			 0);
	finish(&t);
	ck_assert_int_eq(t.value, 'a');
}
END_TEST

START_TEST(fragments_may_be_unmapped)
{
	struct toucher t;

	start(&t, mapping, CHUNK + 4096, NULL); /* the beginning, up to inside a chunk */
	finish(&t);
	start(&t, mapping + 4 * CHUNK, CHUNK, NULL); /* a hole in the middle */
	finish(&t);
	start(&t, mapping + 7 * CHUNK, CHUNK, NULL); /* the end */
	finish(&t);
	ck_assert_uint_eq(n_unmapped, 0);
	ck_assert_int_eq(read_at(CHUNK + 4096), 'b');
	ck_assert_int_eq(read_at(3 * CHUNK), 'd');
	ck_assert_int_eq(read_at(5 * CHUNK), 'f');
	ck_assert_int_eq(read_at(6 * CHUNK + 1), 'g');
	/* Evicting a chunk of which one part is mapped, and one of which nothing is. */
	ck_assert_int_eq(gpu_client_close(client, object, 0, N_CHUNKS), 0);
	ck_assert_int_eq(gpu_chunk_drop(object, 0, N_CHUNKS), 0);
	ck_assert_int_eq(read_at(CHUNK + 8192), 'b');
	ck_assert_uint_eq(n_failed, 0);
	start(&t, mapping + CHUNK, 6 * CHUNK, NULL);
	finish(&t);
	ck_assert_uint_eq(n_unmapped, 1);
}
END_TEST

START_TEST(mapping_may_move)
{
	char *to = mmap(NULL, N_CHUNKS * CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct toucher t;

	/* Whole and closed, as when a client exchanges its mapping: mremap takes one area at a time. */
	start(&t, mapping, N_CHUNKS * CHUNK, to);
	finish(&t);
	mapping = to;
	ck_assert_int_eq(read_at(6 * CHUNK + 3), 'g');
	ck_assert_int_eq(read_at(1), 'a');
	ck_assert_uint_eq(n_failed, 0);
	ck_assert_uint_eq(n_unmapped, 0);
}
END_TEST

START_TEST(two_threads_one_chunk)
{
	struct toucher a, b;

	serve = false;
	start(&a, mapping, 0, NULL);
	wait_for_fault(1);
	start(&b, mapping + 4096, 0, NULL);
	wait_for_fault(2);
	fill(0);
	ck_assert_int_eq(gpu_client_open(client, object, 0, 1), 0);
	finish(&a);
	finish(&b);
	ck_assert_int_eq(a.value, 'a');
	ck_assert_int_eq(b.value, 'a');
}
END_TEST

START_TEST(bad_mappings_are_refused)
{
	char *anon = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t at = (uintptr_t)anon;

	/* Memory that is not ours refuses MINOR. */
	ck_assert_int_lt(gpu_client_map(client, object, at, CHUNK, 0), 0);
	ck_assert_int_eq(gpu_client_map(client, object, at + 1, CHUNK, 0), -EINVAL);
	ck_assert_int_eq(gpu_client_map(client, object, at, 0, 0), -EINVAL);
	ck_assert_int_eq(gpu_client_map(client, object, at, CHUNK, N_CHUNKS * CHUNK), -EINVAL);
	ck_assert_int_eq(gpu_client_map(client, object, at, UINT64_MAX - 4095, 0), -EINVAL);
	ck_assert_int_eq(gpu_client_map(client, object, (uintptr_t)mapping + CHUNK, CHUNK, 0),
			 -EEXIST);
	/* And the good one still works. */
	ck_assert_int_eq(read_at(0), 'a');
}
END_TEST

START_TEST(other_descriptors_are_refused)
{
	struct gpu_client *none = NULL;
	int pair[2];

	ck_assert_int_eq(pipe(pair), 0);
	ck_assert_int_eq(gpu_client_new(gpu, pair[0], &peer, &events, NULL, &none), -EINVAL);
	ck_assert_int_eq(fcntl(pair[0], F_GETFD), -1); /* taken */
	close(pair[1]);
	ck_assert_int_eq(gpu_client_new(gpu, new_uffd(O_CLOEXEC), &peer, &events, NULL, &none),
			 -EINVAL);
	ck_assert_ptr_null(none);
}
END_TEST

static int n_copied;

static void copied(struct gpu_copy *copy, int res)
{
	(void)copy;
	ck_assert_int_eq(res, 0);
	n_copied++;
}

START_TEST(link_copies_both_ways_at_its_rate)
{
	static char host[2][CHUNK];
	struct gpu_copy in = { .done = copied, .chunk = 1, .host = host[0], .len = CHUNK };
	struct gpu_copy out = { .done = copied, .chunk = 1, .host = host[1], .len = CHUNK };
	uint64_t began, until;

	make(64u << 20); /* a chunk takes 1/32 s */
	ck_assert(!gpu->direct);
	memset(host[0], 'q', CHUNK);
	in.object = out.object = object;
	in.direction = GPU_COPY_IN;
	out.direction = GPU_COPY_OUT;
	n_copied = 0;
	began = loop_now();
	until = began + WAIT_NS;
	gpu_copy_start(&in);
	ck_assert_int_eq(n_copied, 0);
	while (n_copied < 1 && loop_now() < until)
		loop_run_once(loop, 1000000);
	gpu_copy_start(&out);
	while (n_copied < 2 && loop_now() < until)
		loop_run_once(loop, 1000000);
	ck_assert_int_eq(n_copied, 2);
	/* Never faster than the link. */
	ck_assert_uint_ge(loop_now() - began, 2 * (1000000000ull / 32));
	ck_assert_int_eq(memcmp(host[0], host[1], CHUNK), 0);
}
END_TEST

/* A buffer's file can be written to by its client, and so be cut: the daemon's touch must not be its end. */
START_TEST(files_that_are_cut_are_made_whole)
{
	struct gpu_object *buffer;
	struct stat st;
	int fd;

	ck_assert_int_eq(gpu_object_new(gpu, "cut", 4 * CHUNK, CHUNK, true, 0, &buffer), 0);
	ck_assert_int_eq(gpu_object_client_fd(buffer, &fd), 0);
	for (uint32_t c = 0; c < 4; c++)
		memset(gpu_chunk_addr(buffer, c), 'a', CHUNK);
	ck_assert_int_eq(ftruncate(fd, CHUNK + 4096), 0);
	ck_assert_int_eq(*(volatile char *)gpu_chunk_addr(buffer, 3), 0);
	ck_assert_int_eq(((volatile char *)gpu_chunk_addr(buffer, 1))[4095], 'a');
	ck_assert_int_eq(((volatile char *)gpu_chunk_addr(buffer, 1))[4096], 0);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	memset(gpu_chunk_addr(buffer, 2), 'b', CHUNK);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 4 * CHUNK);
	/* Made longer it would hold memory that no chunk is charged for. */
	ck_assert_int_eq(ftruncate(fd, 9 * CHUNK), 0);
	ck_assert_int_eq(fallocate(fd, 0, 8 * CHUNK, CHUNK), 0);
	ck_assert_uint_eq(gpu_object_memory(buffer), CHUNK);
	close(fd);
	gpu_object_free(buffer);
}
END_TEST

/* Anywhere else SIGBUS is what it was. */
START_TEST(other_files_that_are_cut_are_the_end)
{
	int fd = memfd_create("other", MFD_CLOEXEC);
	volatile char *at;

	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert(at != MAP_FAILED);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	*at = 1;
}
END_TEST

START_TEST(last_chunk_may_be_short)
{
	struct gpu_object *odd;

	ck_assert_int_eq(gpu_object_new(gpu, "odd", CHUNK + 5000, CHUNK, true, 0, &odd), 0);
	ck_assert_uint_eq(odd->n_chunks, 2);
	ck_assert_uint_eq(odd->map_bytes, CHUNK + 8192);
	ck_assert_uint_eq(gpu_chunk_len(odd, 0), CHUNK);
	ck_assert_uint_eq(gpu_chunk_len(odd, 1), 8192);
	/* It takes no more memory than it is charged. */
	memset(gpu_chunk_addr(odd, 1), 'x', 8192);
	ck_assert_uint_eq(gpu_object_memory(odd), 8192);
	odd = gpu_object_free(odd);
	ck_assert_int_eq(gpu_object_new(gpu, "none", 0, CHUNK, true, 0, &odd), -EINVAL);
	ck_assert_ptr_null(odd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gpu_host");
	TCase *touching = tcase_create("touching"), *link = tcase_create("link");
	SRunner *runner;
	int n_failed_tests;

	if (!can_userfaultfd())
		return skip("userfaultfd is not allowed here");
	tcase_add_checked_fixture(touching, setup, teardown);
	tcase_set_timeout(touching, 60);
	tcase_add_test(touching, first_touch_traps_once);
	tcase_add_test(touching, filled_ahead_still_traps);
	tcase_add_test(touching, evicted_chunk_traps_again);
	tcase_add_test(touching, drop_gives_memory_back);
	tcase_add_loop_test(touching, takes_no_more_memory_than_its_chunks, 0, 2);
	tcase_add_test(touching, planted_zeros_are_never_seen);
	tcase_add_test(touching, clients_cannot_write);
	tcase_add_test(touching, threads_wait_without_a_daemon);
	tcase_add_test(touching, fragments_may_be_unmapped);
	tcase_add_test(touching, mapping_may_move);
	tcase_add_test(touching, two_threads_one_chunk);
	tcase_add_test(touching, bad_mappings_are_refused);
	tcase_add_test(touching, other_descriptors_are_refused);
	tcase_add_test(touching, files_that_are_cut_are_made_whole);
	tcase_add_test_raise_signal(touching, other_files_that_are_cut_are_the_end, SIGBUS);
	tcase_add_test(touching, last_chunk_may_be_short);
	tcase_set_timeout(link, 60);
	tcase_add_test(link, link_copies_both_ways_at_its_rate);
	suite_add_tcase(suite, touching);
	suite_add_tcase(suite, link);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	n_failed_tests = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed_tests ? EXIT_FAILURE : EXIT_SUCCESS;
}
