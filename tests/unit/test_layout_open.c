// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finding the files of a model: parts and shards by path and by descriptor, and everything that is not a model file.
 * After every test no descriptor may be left open.
 *
 * links: libclient/layout_open.c libclient/layout.c libclient/layout_names.c libclient/gguf.c
 * links: libclient/safetensors.c libclient/tensors.c common/err.c common/fd.c
 * links: tests/support/modelgen.c tests/support/layout_promises.c
 * libs: -ljansson
 */
#define _GNU_SOURCE 1
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libclient/layout.h"
#include "tests/support/layout_promises.h"
#include "tests/support/modelgen.h"

static char dir[64];
static int n_fds_before;

static int count_fds(void)
{
	DIR *fds = opendir("/proc/self/fd");
	int n = 0;

	ck_assert_ptr_nonnull(fds);
	while (readdir(fds))
		n++;
	closedir(fds);
	return n;
}

static void make_dir(void)
{
	strcpy(dir, "/tmp/vram-layout-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	n_fds_before = count_fds();
}

static void remove_dir(void)
{
	char command[128];

	ck_assert_int_eq(count_fds(), n_fds_before);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

static const char *in_dir(const char *name)
{
	static char path[4][256];
	static int i;

	i = (i + 1) % 4;
	snprintf(path[i], sizeof(path[i]), "%s/%s", dir, name);
	return path[i];
}

static struct modelgen_gguf *model(void)
{
	return modelgen_llama(3, 32, 64, 96, 0, false);
}

static void write_model(const char *name)
{
	struct modelgen_gguf *gguf = model();
	struct modelgen_buf buf = { 0 };

	modelgen_gguf_build(gguf, &buf);
	modelgen_gguf_free(gguf);
	modelgen_write(&buf, dir, name);
	modelgen_buf_free(&buf);
}

static void write_split(uint32_t n_parts)
{
	struct modelgen_gguf *gguf = model();

	modelgen_gguf_split(gguf, n_parts, dir, "m");
	modelgen_gguf_free(gguf);
}

static void write_text(const char *name, const char *text)
{
	struct modelgen_buf buf = { 0 };

	modelgen_put(&buf, text, strlen(text));
	modelgen_write(&buf, dir, name);
	modelgen_buf_free(&buf);
}

/* Two shards with a layer in both, and their index. */
static void write_shards(void)
{
	static const char *const names[2][3] = {
		{ "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
		  "model.layers.1.self_attn.q_proj.weight" },
		{ "model.layers.1.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight" },
	};

	for (int i = 0; i < 2; i++) {
		struct modelgen_buf buf = { 0 };
		char *header = modelgen_safetensors_header(names[i], 3, 16);

		modelgen_safetensors(header, 48, 1, &buf);
		modelgen_write(&buf, dir,
			       i ? "s-00002-of-00002.safetensors" : "s-00001-of-00002.safetensors");
		modelgen_buf_free(&buf);
		free(header);
	}
	write_text("s.safetensors.index.json",
		   "{\"metadata\":{\"total_size\":96},\"weight_map\":{"
		   "\"lm_head.weight\":\"s-00002-of-00002.safetensors\","
		   "\"model.norm.weight\":\"s-00002-of-00002.safetensors\","
		   "\"model.layers.1.mlp.up_proj.weight\":\"s-00002-of-00002.safetensors\","
		   "\"model.layers.1.self_attn.q_proj.weight\":\"s-00001-of-00002.safetensors\","
		   "\"model.layers.0.self_attn.q_proj.weight\":\"s-00001-of-00002.safetensors\","
		   "\"model.embed_tokens.weight\":\"s-00001-of-00002.safetensors\"}}");
}

static struct vram_layout *open_ok(const char *path)
{
	struct vram_layout *layout = NULL;
	char text[PARSE_MSG_MAX];
	int err = layout_open(path, &layout, text, sizeof(text));

	ck_assert_msg(err == 0, "%d %s", err, text);
	ck_assert_str_eq(text, "");
	ck_assert_msg(!layout_broken_promise(layout), "%s", layout_broken_promise(layout));
	return layout;
}

static struct vram_layout *open_fd_ok(const char *path)
{
	struct vram_layout *layout = NULL;
	char text[PARSE_MSG_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = layout_open_fd(fd, &layout, text, sizeof(text));

	ck_assert_msg(err == 0, "%d %s", err, text);
	ck_assert_str_eq(text, "");
	ck_assert_msg(!layout_broken_promise(layout), "%s", layout_broken_promise(layout));
	ck_assert_int_eq(close(fd), 0);
	return layout;
}

static void refuse(const char *path, int err, const char *words)
{
	struct vram_layout *layout = NULL;
	char text[PARSE_MSG_MAX];
	int got = layout_open(path, &layout, text, sizeof(text));

	ck_assert_msg(got == err, "%d instead of %d: %s", got, err, text);
	ck_assert_msg(strstr(text, words) != NULL, "no '%s' in '%s'", words, text);
	ck_assert_ptr_null(layout);
	/* nobody has to want the message */
	ck_assert_int_eq(layout_open(path, &layout, NULL, 0), err);
}

static void refuse_fd(int fd, int err, const char *words)
{
	struct vram_layout *layout = NULL;
	char text[PARSE_MSG_MAX];
	int got = layout_open_fd(fd, &layout, text, sizeof(text));

	ck_assert_msg(got == err, "%d instead of %d: %s", got, err, text);
	ck_assert_msg(strstr(text, words) != NULL, "no '%s' in '%s'", words, text);
	ck_assert_ptr_null(layout);
	if (fd >= 0)
		ck_assert_int_eq(close(fd), 0);
}

START_TEST(opens_one_file)
{
	struct vram_layout *layout;
	struct stat st;
	int fd;

	write_model("m.gguf");
	layout = open_ok(in_dir("m.gguf"));
	ck_assert_uint_eq(layout->n_files, 1);
	ck_assert_uint_eq(layout->n_layers, 5);
	ck_assert_str_eq(layout->files[0].path, in_dir("m.gguf"));
	ck_assert_int_eq(stat(in_dir("m.gguf"), &st), 0);
	ck_assert(layout->files[0].ino == st.st_ino && layout->files[0].dev == st.st_dev);
	ck_assert_uint_eq(layout->files[0].size_bytes, (uint64_t)st.st_size);
	ck_assert_int_eq(layout->files[0].mtime.tv_nsec, st.st_mtim.tv_nsec);

	ck_assert_int_eq(layout_take_fd(layout, 1), -1);
	fd = layout_take_fd(layout, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(layout_take_fd(layout, 0), -1);
	layout_free(layout);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
	ck_assert_int_eq(close(fd), 0);
	layout_free(NULL);
}
END_TEST

static void check_split(struct vram_layout *layout)
{
	char name[64];

	ck_assert_uint_eq(layout->flags, 0);
	ck_assert_uint_eq(layout->n_files, 4);
	ck_assert_uint_eq(layout->n_layers, 5);
	ck_assert_uint_eq(layout->tensors.n, 30);
	ck_assert_str_eq(layout->architecture, "llama");
	ck_assert_str_eq(layout->tensors.tensors[0].name, "token_embd.weight");
	ck_assert_uint_eq(layout->tensors.tensors[29].file, 3);
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "m-%05d-of-00004.gguf", i + 1);
		ck_assert_str_eq(strrchr(layout->files[i].path, '/') + 1, name);
	}
	layout_free(layout);
}

START_TEST(opens_a_split_model_by_any_part)
{
	write_split(4);
	check_split(open_ok(in_dir("m-00001-of-00004.gguf")));
	check_split(open_ok(in_dir("m-00003-of-00004.gguf")));
	check_split(open_ok(in_dir("m-00004-of-00004.gguf")));
	check_split(open_fd_ok(in_dir("m-00001-of-00004.gguf")));
	check_split(open_fd_ok(in_dir("m-00002-of-00004.gguf")));
	ck_assert_int_eq(chdir(dir), 0);
	check_split(open_ok("./m-00002-of-00004.gguf"));
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

/* Hubs keep files by checksum and link the names to them: the name counts, not what it leads to. */
START_TEST(follows_the_names_of_links)
{
	static const char *const parts[] = { "m-00001-of-00002.gguf", "m-00002-of-00002.gguf" };
	struct vram_layout *layout;

	write_split(2);
	ck_assert_int_eq(mkdir(in_dir("blobs"), 0700), 0);
	for (int i = 0; i < 2; i++) {
		char blob[32], target[128];

		snprintf(blob, sizeof(blob), "blobs/%d", i);
		snprintf(target, sizeof(target), "%s/%s", dir, blob);
		ck_assert_int_eq(rename(in_dir(parts[i]), in_dir(blob)), 0);
		ck_assert_int_eq(symlink(target, in_dir(parts[i])), 0);
	}
	layout = open_ok(in_dir(parts[1]));
	ck_assert_uint_eq(layout->n_files, 2);
	ck_assert_uint_eq(layout->flags, 0);
	layout_free(layout);

	/* The descriptor only knows the blob. */
	layout = open_fd_ok(in_dir(parts[1]));
	ck_assert_uint_eq(layout->n_files, 1);
	ck_assert_uint_eq(layout->flags, LAYOUT_PARTIAL);
	ck_assert_uint_eq(layout->tensors.n, 15);
	layout_free(layout);
	refuse(in_dir("blobs/1"), -ENOENT, "is part 2 of 2, but is not named so");
}
END_TEST

START_TEST(misses_a_part)
{
	struct vram_layout *layout;

	write_split(3);
	ck_assert_int_eq(unlink(in_dir("m-00002-of-00003.gguf")), 0);
	refuse(in_dir("m-00001-of-00003.gguf"), -ENOENT, "m-00002-of-00003.gguf: cannot open");
	layout = open_fd_ok(in_dir("m-00003-of-00003.gguf"));
	ck_assert_uint_eq(layout->flags, LAYOUT_PARTIAL);
	ck_assert_uint_eq(layout->n_files, 1);
	ck_assert_uint_eq(layout->tensors.n, 10);
	layout_free(layout);
}
END_TEST

START_TEST(refuses_parts_that_do_not_fit)
{
	struct modelgen_gguf *gguf;
	struct modelgen_buf buf = { 0 };

	write_split(2);
	/* the second part is a copy of the first */
	ck_assert_int_eq(unlink(in_dir("m-00002-of-00002.gguf")), 0);
	ck_assert_int_eq(link(in_dir("m-00001-of-00002.gguf"), in_dir("m-00002-of-00002.gguf")), 0);
	refuse(in_dir("m-00001-of-00002.gguf"), -EINVAL, "says it is part 1 of 2");

	/* a file of another model */
	ck_assert_int_eq(unlink(in_dir("m-00002-of-00002.gguf")), 0);
	write_model("m-00002-of-00002.gguf");
	refuse(in_dir("m-00001-of-00002.gguf"), -EINVAL, "says it is part 1 of 1");

	/* a part with too few tensors */
	gguf = modelgen_gguf_new();
	modelgen_key_u16(gguf, "split.no", 1);
	modelgen_key_u16(gguf, "split.count", 2);
	modelgen_tensor(gguf, "output.weight", MODELGEN_F32, 8, 0, 0);
	modelgen_gguf_build(gguf, &buf);
	modelgen_gguf_free(gguf);
	modelgen_write(&buf, dir, "m-00002-of-00002.gguf");
	refuse(in_dir("m-00001-of-00002.gguf"), -EINVAL, "have 16 tensors, but should have 30");

	/* a broken one: the message names it */
	buf.data[3] = 'X';
	modelgen_write(&buf, dir, "m-00002-of-00002.gguf");
	refuse(in_dir("m-00001-of-00002.gguf"), -EINVAL, "m-00002-of-00002.gguf: no GGUF file");
	modelgen_buf_free(&buf);

	/* something that would make us wait */
	ck_assert_int_eq(unlink(in_dir("m-00002-of-00002.gguf")), 0);
	ck_assert_int_eq(mkfifo(in_dir("m-00002-of-00002.gguf"), 0600), 0);
	refuse(in_dir("m-00001-of-00002.gguf"), -EINVAL,
	       "m-00002-of-00002.gguf is not a regular file");
}
END_TEST

START_TEST(refuses_another_alignment_in_a_part)
{
	for (int i = 0; i < 2; i++) {
		struct modelgen_gguf *gguf = modelgen_gguf_new();
		struct modelgen_buf buf = { 0 };

		modelgen_key_u16(gguf, "split.no", (uint16_t)i);
		modelgen_key_u16(gguf, "split.count", 2);
		gguf->alignment = i ? 64 : 32;
		modelgen_key_u32(gguf, "general.alignment", gguf->alignment);
		modelgen_tensor(gguf, i ? "b" : "a", MODELGEN_F32, 8, 0, 0);
		modelgen_gguf_build(gguf, &buf);
		modelgen_gguf_free(gguf);
		modelgen_write(&buf, dir, i ? "m-00002-of-00002.gguf" : "m-00001-of-00002.gguf");
		modelgen_buf_free(&buf);
	}
	refuse(in_dir("m-00001-of-00002.gguf"), -EINVAL, "another alignment");
}
END_TEST

START_TEST(opens_a_deleted_file)
{
	struct vram_layout *layout = NULL;
	char text[PARSE_MSG_MAX];
	int fd;

	write_split(2);
	fd = open(in_dir("m-00001-of-00002.gguf"), O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(unlink(in_dir("m-00001-of-00002.gguf")), 0);
	/* another file takes its name: that one must not be mixed in */
	write_model("m-00001-of-00002.gguf (deleted)");
	ck_assert_int_eq(layout_open_fd(fd, &layout, text, sizeof(text)), 0);
	ck_assert_uint_eq(layout->flags, LAYOUT_PARTIAL);
	ck_assert_ptr_null(layout->files[0].path);
	ck_assert_uint_eq(layout->tensors.n, 15);
	layout_free(layout);
	close(fd);
}
END_TEST

static void check_shards(struct vram_layout *layout)
{
	const struct layout_layer *block;

	ck_assert_int_eq(layout->format, LAYOUT_SAFETENSORS);
	ck_assert_uint_eq(layout->flags, 0);
	ck_assert_uint_eq(layout->n_files, 2);
	ck_assert_uint_eq(layout->tensors.n, 6);
	ck_assert_uint_eq(layout->n_layers, 4);
	block = &layout->layers[2];
	ck_assert_str_eq(block->name, "model.layers.1");
	ck_assert_uint_eq(block->n_extents, 2);
	ck_assert_uint_eq(block->extents[0].file, 0);
	ck_assert_uint_eq(block->extents[1].file, 1);
	layout_free(layout);
}

START_TEST(opens_shards_by_any_name)
{
	write_shards();
	check_shards(open_ok(in_dir("s.safetensors.index.json")));
	check_shards(open_ok(in_dir("s-00001-of-00002.safetensors")));
	check_shards(open_ok(in_dir("s-00002-of-00002.safetensors")));
	check_shards(open_fd_ok(in_dir("s.safetensors.index.json")));
	check_shards(open_fd_ok(in_dir("s-00002-of-00002.safetensors")));
}
END_TEST

START_TEST(misses_shards)
{
	struct vram_layout *layout;

	write_shards();
	ck_assert_int_eq(unlink(in_dir("s-00001-of-00002.safetensors")), 0);
	refuse(in_dir("s.safetensors.index.json"), -ENOENT,
	       "s-00001-of-00002.safetensors: cannot open");
	refuse(in_dir("s-00002-of-00002.safetensors"), -ENOENT,
	       "s-00001-of-00002.safetensors: cannot open");
	layout = open_fd_ok(in_dir("s-00002-of-00002.safetensors"));
	ck_assert_uint_eq(layout->flags, LAYOUT_PARTIAL);
	ck_assert_uint_eq(layout->tensors.n, 3);
	layout_free(layout);

	/* a shard whose index is missing, or knows nothing of it */
	ck_assert_int_eq(unlink(in_dir("s.safetensors.index.json")), 0);
	layout = open_ok(in_dir("s-00002-of-00002.safetensors"));
	ck_assert_uint_eq(layout->flags, LAYOUT_PARTIAL);
	layout_free(layout);
	write_text("s.safetensors.index.json", "{\"weight_map\":{\"a\":\"x\"}}");
	layout = open_ok(in_dir("s-00002-of-00002.safetensors"));
	ck_assert_uint_eq(layout->flags, LAYOUT_PARTIAL);
	ck_assert_uint_eq(layout->n_files, 1);
	layout_free(layout);
	write_text("s.safetensors.index.json", "{\"weight_map\":{");
	refuse(in_dir("s-00002-of-00002.safetensors"), -EINVAL,
	       "s.safetensors.index.json: the JSON");
}
END_TEST

START_TEST(refuses_shards_that_do_not_fit)
{
	write_shards();
	/* the same tensors in both */
	ck_assert_int_eq(unlink(in_dir("s-00002-of-00002.safetensors")), 0);
	ck_assert_int_eq(link(in_dir("s-00001-of-00002.safetensors"),
			      in_dir("s-00002-of-00002.safetensors")),
			 0);
	refuse(in_dir("s.safetensors.index.json"), -EINVAL, "as the index says");
	write_text("t.json",
		   "{\"weight_map\":{\"model.embed_tokens.weight\":"
		   "\"s-00001-of-00002.safetensors\",\"x\":\"s-00002-of-00002.safetensors\"}}");
	refuse(in_dir("t.json"), -EINVAL, "as the index says");
	/* an index that names itself, and one that leaves the directory */
	write_text("t.json", "{\"weight_map\":{\"a\":\"t.json\"}}");
	refuse(in_dir("t.json"), -EINVAL, "t.json: the header");
	write_text("t.json", "{\"weight_map\":{\"a\":\"../secret.safetensors\"}}");
	refuse(in_dir("t.json"), -EINVAL, "not a file beside it");
	/* a shard of the other format */
	write_model("m.gguf");
	write_text("t.json", "{\"weight_map\":{\"a\":\"m.gguf\"}}");
	refuse(in_dir("t.json"), -EINVAL, "m.gguf: ");
}
END_TEST

/* A header of 123 bytes makes the file begin with a brace. */
START_TEST(tells_formats_apart)
{
	struct modelgen_buf buf = { 0 };
	struct vram_layout *layout;
	char header[124];

	memset(header, ' ', sizeof(header));
	header[0] = '{';
	header[1] = '}';
	header[123] = '\0';
	modelgen_safetensors(header, 0, 1, &buf);
	ck_assert_int_eq(buf.data[0], '{');
	modelgen_write(&buf, dir, "empty.safetensors");
	modelgen_buf_free(&buf);
	layout = open_ok(in_dir("empty.safetensors"));
	ck_assert_int_eq(layout->format, LAYOUT_SAFETENSORS);
	ck_assert_uint_eq(layout->n_layers, 0);
	layout_free(layout);
}
END_TEST

START_TEST(refuses_what_is_no_model)
{
	write_text("text", "not a model at all");
	write_text("empty", "");
	write_text("short", "GG");
	write_text("json", "{\"a\":1}");
	ck_assert_int_eq(mkfifo(in_dir("fifo"), 0600), 0);
	refuse(in_dir("text"), -EINVAL, "text is neither a GGUF nor a safetensors file");
	refuse(in_dir("empty"), -EINVAL, "empty is empty");
	refuse(in_dir("short"), -EINVAL, "neither");
	refuse(in_dir("json"), -EINVAL, "no weight_map");
	refuse(in_dir("fifo"), -EINVAL, "not a regular file");
	refuse(dir, -EISDIR, "is a directory");
	refuse("/dev/null", -EINVAL, "not a regular file");
	refuse(in_dir("nothing"), -ENOENT, "cannot open");
}
END_TEST

START_TEST(refuses_descriptors_without_reading)
{
	int fds[2];

	write_model("m.gguf");
	refuse_fd(-1, -EBADF, "not an open descriptor");
	refuse_fd(open(in_dir("m.gguf"), O_PATH | O_CLOEXEC), -EACCES, "does not allow reading");
	refuse_fd(open(in_dir("m.gguf"), O_WRONLY | O_CLOEXEC), -EACCES, "does not allow reading");
	refuse_fd(open(dir, O_RDONLY | O_CLOEXEC), -EISDIR, "is a directory");
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	refuse_fd(fds[0], -EINVAL, "not a regular file");
	close(fds[1]);
}
END_TEST

START_TEST(refuses_a_file_without_permission)
{
	write_model("m.gguf");
	ck_assert_int_eq(chmod(in_dir("m.gguf"), 0), 0);
	/* Root reads it all the same, so become nobody: each test is a process of its own. */
	if (geteuid() == 0) {
		ck_assert_int_eq(chmod(dir, 0755), 0);
		ck_assert_int_eq(seteuid(65534), 0);
	}
	refuse(in_dir("m.gguf"), -EACCES, "m.gguf: cannot open");
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("layout_open");
	TCase *tcase = tcase_create("core");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, make_dir, remove_dir);
	tcase_add_test(tcase, opens_one_file);
	tcase_add_test(tcase, opens_a_split_model_by_any_part);
	tcase_add_test(tcase, follows_the_names_of_links);
	tcase_add_test(tcase, misses_a_part);
	tcase_add_test(tcase, refuses_parts_that_do_not_fit);
	tcase_add_test(tcase, refuses_another_alignment_in_a_part);
	tcase_add_test(tcase, opens_a_deleted_file);
	tcase_add_test(tcase, opens_shards_by_any_name);
	tcase_add_test(tcase, misses_shards);
	tcase_add_test(tcase, refuses_shards_that_do_not_fit);
	tcase_add_test(tcase, tells_formats_apart);
	tcase_add_test(tcase, refuses_what_is_no_model);
	tcase_add_test(tcase, refuses_descriptors_without_reading);
	tcase_add_test(tcase, refuses_a_file_without_permission);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
