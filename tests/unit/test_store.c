// SPDX-License-Identifier: GPL-2.0-only
// links: daemon/store.c daemon/store_swap.c daemon/loop.c daemon/log.c common/fd.c common/err.c
// libs: -luring -lxxhash -lpthread
/* Reading model files, refusing what is none, and the swap file, with errors made on purpose. */
#include "daemon/store.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/store_fault.h"

#define PIECE (64u << 10)
#define SIZE  (1000000u) /* not a multiple of anything */
#define SLOT  (256u << 10)

static struct loop *loop;
static struct store *store;
static char dir[] = "/var/tmp/vram-store-XXXXXX";
static char path[64];
static unsigned char *content, *buf;
static int fd;
static int n_done, result;

static void done(struct store_io *io, int res)
{
	(void)io;
	n_done++;
	result = res;
}

static void wait_done(void)
{
	for (int i = 0; i < 10000 && !n_done; i++)
		ck_assert_int_ge(loop_run_once(loop, 10000000), 0);
	ck_assert_int_eq(n_done, 1);
}

static void open_store(const char *fault, bool direct)
{
	const struct store_params params = {
		.piece_bytes = PIECE,
		.direct = direct,
		.fault = fault,
		.trust_fuse = false,
	};

	ck_assert_int_eq(store_new(&store, loop, &params), 0);
}

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/model", dir);
	content = malloc(SIZE);
	ck_assert_int_eq(posix_memalign((void **)&buf, 4096, 1u << 20), 0);
	for (size_t i = 0; i < SIZE; i++)
		content[i] = (unsigned char)(i * 7 + i / 4099);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, content, SIZE), SIZE);
	ck_assert_int_eq(fsync(fd), 0);
	ck_assert_int_eq(loop_new(&loop, 64), 0);
	n_done = 0;
	result = 1;
}

static void teardown(void)
{
	store = store_free(store);
	loop = loop_free(loop);
	close(fd);
	unlink(path);
	rmdir(dir);
	free(content);
	free(buf);
}

static struct store_file *open_file(void)
{
	struct store_file *file = NULL;

	ck_assert_int_eq(store_file_open(store, fd, SIZE, 0, &file), 0);
	return file;
}

static int read_whole(struct store_file *file)
{
	struct store_io io = { 0 };

	n_done = 0;
	memset(buf, 0xee, 1u << 20);
	io.done = done;
	store_read(store, file, &io, buf, SIZE, 0);
	wait_done();
	return result;
}

START_TEST(reads_every_byte)
{
	struct store_file *file;

	open_store(NULL, _i == 0);
	file = open_file();
	ck_assert_uint_eq(store_file_size(file), SIZE);
	ck_assert_int_eq(read_whole(file), 0);
	ck_assert_int_eq(memcmp(buf, content, SIZE), 0);
	store_file_unref(file);
}
END_TEST

START_TEST(one_generation_is_one_file)
{
	struct store_file *a, *b, *c;

	open_store(NULL, true);
	a = open_file();
	b = open_file();
	ck_assert_ptr_eq(a, b);
	/* Written to: another generation, another object. */
	ck_assert_int_eq(pwrite(fd, "x", 1, 5), 1);
	ck_assert_int_eq(futimens(fd, (struct timespec[2]){ { 5, 0 }, { 5, 0 } }), 0);
	c = open_file();
	ck_assert_ptr_ne(a, c);
	ck_assert_int_eq(store_file_check(a), -ESTALE);
	ck_assert_int_eq(store_file_check(c), 0);
	store_file_unref(a);
	store_file_unref(b);
	store_file_unref(c);
}
END_TEST

START_TEST(changed_file_is_stale)
{
	struct store_file *file;

	open_store(NULL, true);
	file = open_file();
	ck_assert_int_eq(read_whole(file), 0);
	if (_i == 0)
		ck_assert_int_eq(ftruncate(fd, SIZE / 2), 0);
	else
		ck_assert_int_eq(futimens(fd, (struct timespec[2]){ { 5, 0 }, { 5, 0 } }), 0);
	ck_assert_int_eq(read_whole(file), -ESTALE);
	store_file_unref(file);
}
END_TEST

START_TEST(injected_errors)
{
	struct store_file *file;

	open_store("read:eio:every=5", true);
	file = open_file();
	ck_assert_int_eq(read_whole(file), -EIO);
	store_file_unref(file);
}
END_TEST

START_TEST(short_reads_are_completed)
{
	struct store_file *file;

	open_store("read:short:every=2", true);
	file = open_file();
	ck_assert_int_eq(read_whole(file), 0);
	ck_assert_int_eq(memcmp(buf, content, SIZE), 0);
	store_file_unref(file);
}
END_TEST

START_TEST(descriptors_that_are_refused)
{
	struct store_file *file = NULL;
	int pair[2], other;

	open_store(NULL, true);
	other = open(path, O_PATH);
	ck_assert_int_eq(store_file_open(store, other, SIZE, 0, &file), -EBADF);
	close(other);
	other = open(path, O_WRONLY);
	ck_assert_int_eq(store_file_open(store, other, SIZE, 0, &file), -EBADF);
	close(other);
	other = open(dir, O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(store_file_open(store, other, SIZE, 0, &file), -EISDIR);
	close(other);
	ck_assert_int_eq(pipe(pair), 0);
	/* No mount is visible for a pipe; without that check it would be no regular file. */
	ck_assert_int_lt(store_file_open(store, pair[0], SIZE, 0, &file), 0);
	close(pair[0]);
	close(pair[1]);
	ck_assert_int_eq(store_file_open(store, fd, SIZE + 1, 0, &file), -ESTALE);
	ck_assert_int_eq(store_file_open(store, -1, SIZE, 0, &file), -EBADF);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(store_file_open(store, fd, 0, 0, &file), -ENODATA);
	ck_assert_ptr_null(file);
}
END_TEST

START_TEST(fault_words)
{
	static const char *const bad[] = { "x",
					   "read:eio",
					   "read:eio:every=0",
					   "read:eio:every=1x",
					   "sniff:eio:every=1",
					   "read:no:every=1",
					   "read:eio:when=1" };
	struct store_fault fault;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(store_fault_parse(bad[i], &fault), -EINVAL);
	ck_assert_int_eq(store_fault_parse("write:enospc:after=2", &fault), 0);
	ck_assert_int_eq(store_fault_apply(&fault, false, 10), 10);
	ck_assert_int_eq(store_fault_apply(&fault, true, 10), 10);
	ck_assert_int_eq(store_fault_apply(&fault, true, 10), -ENOSPC);
	ck_assert_int_eq(store_fault_apply(&fault, true, 10), -ENOSPC);
}
END_TEST

START_TEST(swap_keeps_content)
{
	struct swap *swap;
	struct store_io io = { 0 };
	int64_t a, b;

	open_store(NULL, true);
	ck_assert_int_eq(swap_new(&swap, store, dir, 2 * SLOT, SLOT), 0);
	a = swap_slot_get(swap);
	b = swap_slot_get(swap);
	ck_assert_int_ge(a, 0);
	ck_assert_int_ge(b, 0);
	ck_assert_int_ne(a, b);
	ck_assert_int_eq(swap_slot_get(swap), -ENOSPC);
	ck_assert_uint_eq(swap_used(swap), 2 * SLOT);
	memset(buf, 'k', SLOT);
	io.done = done;
	swap_write(swap, &io, (uint32_t)a, buf, SLOT);
	wait_done();
	ck_assert_int_eq(result, 0);
	memset(buf, 0, SLOT);
	n_done = 0;
	swap_read(swap, &io, (uint32_t)a, buf, SLOT);
	wait_done();
	ck_assert_int_eq(result, 0);
	ck_assert_int_eq(swap_verify(swap, (uint32_t)a, buf, SLOT), 0);
	ck_assert_int_eq(buf[SLOT - 1], 'k');
	buf[77] ^= 1;
	ck_assert_int_eq(swap_verify(swap, (uint32_t)a, buf, SLOT), -EILSEQ);
	swap_slot_put(swap, (uint32_t)b);
	ck_assert_uint_eq(swap_used(swap), SLOT);
	ck_assert_int_eq(swap_slot_get(swap), b);
	swap_free(swap);
}
END_TEST

START_TEST(swap_leaves_no_name)
{
	char nested[128];
	struct swap *swap;

	open_store(NULL, true);
	ck_assert_int_eq(swap_new(&swap, store, dir, 2 * SLOT, SLOT), 0);
	unlink(path);
	ck_assert_int_eq(rmdir(dir), 0); /* nothing else is in it */
	swap_free(swap);
	ck_assert_int_eq(mkdir(dir, 0700), 0);
	ck_assert_int_eq(swap_new(&swap, store, dir, 0, SLOT), -EINVAL);
	/* Directories on the way are made. */
	snprintf(nested, sizeof(nested), "%s/a/b", dir);
	ck_assert_int_eq(swap_new(&swap, store, nested, 2 * SLOT, SLOT), 0);
	swap_free(swap);
	ck_assert_int_eq(rmdir(nested), 0);
	nested[strlen(nested) - 2] = '\0';
	ck_assert_int_eq(rmdir(nested), 0);
	/* More than any disk has. */
	ck_assert_int_lt(swap_new(&swap, store, dir, 1ull << 48, SLOT), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store");
	TCase *tests = tcase_create("store");
	SRunner *runner;
	int n_failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, reads_every_byte, 0, 2);
	tcase_add_test(tests, one_generation_is_one_file);
	tcase_add_loop_test(tests, changed_file_is_stale, 0, 2);
	tcase_add_test(tests, injected_errors);
	tcase_add_test(tests, short_reads_are_completed);
	tcase_add_test(tests, descriptors_that_are_refused);
	tcase_add_test(tests, fault_words);
	tcase_add_test(tests, swap_keeps_content);
	tcase_add_test(tests, swap_leaves_no_name);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
