// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * Finds the files of a model and has them parsed.
 *
 * A model may be split. The other parts lie beside the part that was named: a GGUF file says how many
 * parts there are and the name of each follows from the name of any; safetensors shards are
 * listed in an index. Both are found by the name as it was given, not by the name that symbolic links
 * lead to: the caches of model hubs link readable names to files named by checksum.
 *
 * A descriptor has only the name that /proc shows. It is believed only if that name leads
 * back to the same inode. What cannot be found then is no error: the caller gets the layout of
 * what it has, marked as partial.
 *
 * Whatever is opened must be a regular file; opening is non-blocking, so that a FIFO with the
 * right name cannot make us wait.
 */
#define _GNU_SOURCE 1
#include "libclient/layout_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "libclient/gguf.h"
#include "libclient/safetensors.h"

struct opening {
	struct vram_layout *layout;
	const char *path; /* of the file that was named; NULL if it has none that can be trusted */
	int fd;		  /* the file that was named */
	struct stat st;
	bool by_fd; /* parts that are not found make the layout partial */
	struct parse_msg *msg;
};

/* Return: the file's own name, for messages. */
static const char *base_name(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return !path ? "model" : slash ? slash + 1 : path;
}

/* Puts the name of the file before the message that its parser left. */
static int name_file(const struct opening *o, const char *path, int err)
{
	char text[PARSE_MSG_MAX];

	if (err >= 0 || !o->msg->text)
		return err;
	snprintf(text, sizeof(text), "%s", o->msg->text);
	return parse_fail_at(o->msg, err, "%.100s: %s", base_name(path), text);
}

static int open_file(const char *path, int *out_fd, const struct parse_msg *msg)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return parse_fail(msg, -errno, "%.100s: cannot open: %s", base_name(path),
				  err_text(errno));
	/* io_uring does not wait for a descriptor that is non-blocking, not even on a regular file. */
	fd_set_nonblock(fd, false);
	*out_fd = fd;
	return 0;
}

static int check_file(int fd, const char *path, struct stat *out_st, const struct parse_msg *msg)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return parse_fail(msg, -errno, "not an open descriptor");
	if (flags & O_PATH || (flags & O_ACCMODE) == O_WRONLY)
		return parse_fail(msg, -EACCES, "the descriptor does not allow reading");
	if (fstat(fd, out_st) < 0)
		return parse_fail(msg, -errno, "%.100s: %s", base_name(path), err_text(errno));
	if (S_ISDIR(out_st->st_mode))
		return parse_fail(msg, -EISDIR, "%.100s is a directory", path ? path : "this");
	if (!S_ISREG(out_st->st_mode))
		return parse_fail(msg, -EINVAL, "%.100s is not a regular file", base_name(path));
	if (!out_st->st_size)
		return parse_fail(msg, -EINVAL, "%.100s is empty", base_name(path));
	return 0;
}

/* Makes room for n files, all closed. */
static int alloc_files(struct opening *o, uint32_t n)
{
	o->layout->files = calloc(n, sizeof(*o->layout->files));
	if (!o->layout->files)
		return parse_fail(o->msg, -ENOMEM, "out of memory for %u files", n);
	o->layout->n_files = n;
	for (uint32_t i = 0; i < n; i++)
		o->layout->files[i].fd = -1;
	return 0;
}

/* Enters a file. With fd < 0 it is opened by path; otherwise fd is duplicated. */
static int add_file(struct opening *o, uint32_t i, const char *path, int fd)
{
	struct layout_file *file = &o->layout->files[i];
	struct stat st;
	int err;

	if (fd >= 0) {
		file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (file->fd < 0)
			return parse_fail(o->msg, -errno, "cannot duplicate the descriptor: %s",
					  err_text(errno));
	} else {
		err = open_file(path, &file->fd, o->msg);
		if (err < 0)
			return err_trace(err);
	}
	err = check_file(file->fd, path, &st, o->msg);
	if (err < 0)
		return err_trace(err);
	if (path) {
		file->path = strdup(path);
		if (!file->path)
			return parse_fail(o->msg, -ENOMEM, "out of memory");
	}
	file->size_bytes = (uint64_t)st.st_size;
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	file->mtime = st.st_mtim;
	return 0;
}

/* Forgets files and tensors, to begin again. */
static void reset(struct vram_layout *layout)
{
	tensor_list_deinit(&layout->tensors);
	for (uint32_t i = 0; i < layout->n_files; i++) {
		cleanup_close(&layout->files[i].fd);
		free(layout->files[i].path);
	}
	free(layout->files);
	layout->files = NULL;
	layout->n_files = 0;
}

static int finish(struct opening *o, uint32_t alignment, bool is_encoder)
{
	int err = tensor_list_check(&o->layout->tensors, o->msg);

	if (err >= 0)
		err = layout_group(o->layout, alignment, is_encoder, o->msg);
	return err_trace(err);
}

/* ---- GGUF ---------------------------------------------------------------- */

static int parse_gguf_file(struct opening *o, uint32_t i, struct gguf_info *info)
{
	struct layout_file *file = &o->layout->files[i];
	int err = gguf_parse(file->fd, file->size_bytes, i, &o->layout->tensors, info, o->msg);

	return err < 0 ? name_file(o, file->path, err) : 0;
}

/* Parses all parts, in their order; the named one is `own`. */
static int parse_gguf_parts(struct opening *o, const struct gguf_info *own,
			    struct gguf_info *out_first)
{
	char path[PATH_MAX];
	int err = alloc_files(o, own->split_count);

	for (uint32_t i = 0; err >= 0 && i < own->split_count; i++) {
		struct gguf_info info;

		err = gguf_split_path(o->path, own->split_no, i, own->split_count, path,
				      sizeof(path));
		if (err < 0)
			return parse_fail(
				o->msg, -ENOENT,
				"%.100s is part %u of %u, but is not named so: the others cannot be found",
				base_name(o->path), own->split_no + 1, own->split_count);
		err = add_file(o, i, path, i == own->split_no ? o->fd : -1);
		if (err >= 0)
			err = parse_gguf_file(o, i, &info);
		if (err < 0)
			return err_trace(err);
		if (info.split_count != own->split_count || info.split_no != i)
			return parse_fail(o->msg, -EINVAL, "%.100s says it is part %u of %u",
					  base_name(path), info.split_no + 1, info.split_count);
		if (info.alignment != own->alignment)
			return parse_fail(o->msg, -EINVAL,
					  "%.100s has another alignment than %.100s",
					  base_name(path), base_name(o->path));
		if (i == 0)
			*out_first = info;
	}
	if (err < 0)
		return err_trace(err);
	if (own->split_tensors && o->layout->tensors.n != own->split_tensors)
		return parse_fail(o->msg, -EINVAL,
				  "the parts have %zu tensors, but should have %llu",
				  o->layout->tensors.n, (unsigned long long)own->split_tensors);
	return 0;
}

static int copy_text(char **out, const char *text, const struct parse_msg *msg)
{
	if (!*text)
		return 0;
	*out = strdup(text);
	return *out ? 0 : parse_fail(msg, -ENOMEM, "out of memory");
}

/* The named file alone. */
static int open_gguf_alone(struct opening *o, struct gguf_info *info)
{
	int err;

	reset(o->layout);
	err = alloc_files(o, 1);
	if (err >= 0)
		err = add_file(o, 0, o->path, o->fd);
	if (err >= 0)
		err = parse_gguf_file(o, 0, info);
	return err_trace(err);
}

static int open_gguf(struct opening *o)
{
	struct gguf_info own, info;
	int err;

	o->layout->format = LAYOUT_GGUF;
	err = open_gguf_alone(o, &own);
	if (err < 0)
		return err_trace(err);
	info = own;
	if (own.split_count > 1) {
		reset(o->layout);
		err = o->path ? parse_gguf_parts(o, &own, &info) : -ENOENT;
		if (o->by_fd && (err == -ENOENT || err == -EACCES)) {
			o->layout->flags |= LAYOUT_PARTIAL;
			err = open_gguf_alone(o, &info);
		}
		if (err < 0)
			return err_trace(err);
	}
	err = copy_text(&o->layout->architecture, info.architecture, o->msg);
	if (err >= 0)
		err = copy_text(&o->layout->name, info.name, o->msg);
	if (err >= 0)
		err = finish(o, info.alignment, info.is_encoder);
	return err_trace(err);
}

/* ---- safetensors --------------------------------------------------------- */

static int parse_safetensors_file(struct opening *o, uint32_t i, const char *path, int fd)
{
	struct layout_file *file = &o->layout->files[i];
	int err = add_file(o, i, path, fd);

	if (err < 0)
		return err_trace(err);
	err = safetensors_parse(file->fd, file->size_bytes, i, &o->layout->tensors, o->msg);
	return err < 0 ? name_file(o, path, err) : 0;
}

/* Opens every file that the index at index_path names; the named file, if it is one of them, is not opened again. */
static int parse_shards(struct opening *o, const struct safetensors_index *index,
			const char *index_path)
{
	size_t dir_len = (size_t)(base_name(index_path) - index_path);
	char path[PATH_MAX];
	int err = alloc_files(o, index->n_files);

	for (uint32_t i = 0; err >= 0 && i < index->n_files; i++) {
		int len = snprintf(path, sizeof(path), "%.*s%s", (int)dir_len, index_path,
				   index->files[i]);
		bool own = !strcmp(index->files[i], base_name(o->path));

		if (len < 0 || (size_t)len >= sizeof(path))
			return parse_fail(o->msg, -ENAMETOOLONG, "%.100s: the path is too long",
					  index->files[i]);
		err = parse_safetensors_file(o, i, path, own ? o->fd : -1);
	}
	if (err >= 0)
		err = safetensors_index_check(index, &o->layout->tensors, o->msg);
	return err_trace(err);
}

static bool index_has_file(const struct safetensors_index *index, const char *name)
{
	for (uint32_t i = 0; i < index->n_files; i++)
		if (!strcmp(index->files[i], name))
			return true;
	return false;
}

/* Return: 0 and the parsed index, -ENOENT if there is none beside the shard, or an error. */
static int find_index(const struct opening *o, char *path, size_t size,
		      struct safetensors_index *out)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int err;

	if (!o->path || safetensors_index_path(o->path, path, size) < 0)
		return -ENOENT;
	err = open_file(path, &fd, o->msg);
	if (err < 0)
		return err;
	err = check_file(fd, path, &st, o->msg);
	if (err >= 0) {
		err = safetensors_index_parse(fd, (uint64_t)st.st_size, LAYOUT_MAX_FILES, out,
					      o->msg);
		if (err < 0)
			err = name_file(o, path, err);
	}
	return err_trace(err);
}

static int open_safetensors(struct opening *o)
{
	struct safetensors_index index = { 0 };
	char index_path[PATH_MAX], unused[PATH_MAX];
	int err;

	o->layout->format = LAYOUT_SAFETENSORS;
	err = find_index(o, index_path, sizeof(index_path), &index);
	if (err < 0 && err != -ENOENT)
		return err_trace(err);
	if (err == 0 && index_has_file(&index, base_name(o->path))) {
		err = parse_shards(o, &index, index_path);
		if (o->by_fd && (err == -ENOENT || err == -EACCES)) {
			reset(o->layout);
			err = -ENOENT;
		}
	} else {
		err = -ENOENT;
	}
	safetensors_index_deinit(&index);
	if (err == -ENOENT && !o->layout->n_files) {
		/* A file on its own, or a shard without an index that knows it. */
		if (o->path && safetensors_index_path(o->path, unused, sizeof(unused)) == 0)
			o->layout->flags |= LAYOUT_PARTIAL;
		err = alloc_files(o, 1);
		if (err >= 0)
			err = parse_safetensors_file(o, 0, o->path, o->fd);
	}
	if (err < 0)
		return err_trace(err);
	return err_trace(finish(o, 1, false));
}

static int open_index(struct opening *o)
{
	struct safetensors_index index = { 0 };
	int err;

	o->layout->format = LAYOUT_SAFETENSORS;
	err = safetensors_index_parse(o->fd, (uint64_t)o->st.st_size, LAYOUT_MAX_FILES, &index,
				      o->msg);
	if (err < 0)
		return name_file(o, o->path, err);
	if (o->path)
		err = parse_shards(o, &index, o->path);
	else
		err = parse_fail(o->msg, -ENOENT, "an index, but its directory is not known");
	safetensors_index_deinit(&index);
	return err < 0 ? err_trace(err) : err_trace(finish(o, 1, false));
}

/* ---- both ---------------------------------------------------------------- */

/*
 * Tells the formats apart by their first bytes. A safetensors file begins with the length of its
 * header, whose lowest byte may be a brace too; but the length ends in zeros, and JSON
 * has none.
 */
static int open_by_content(struct opening *o)
{
	uint8_t head[9] = { 0 };
	size_t n = (uint64_t)o->st.st_size < sizeof(head) ? (size_t)o->st.st_size : sizeof(head);
	static const uint8_t zeros[4] = { 0 };
	int err = file_read_exact(o->fd, head, n, 0, o->msg);

	if (err < 0)
		return name_file(o, o->path, err);
	if (n >= 4 && !memcmp(head, GGUF_MAGIC, 4))
		return open_gguf(o);
	if (n == sizeof(head) && head[8] == '{' && !memcmp(head + 4, zeros, sizeof(zeros)))
		return open_safetensors(o);
	if (head[0] == '{')
		return open_index(o);
	return parse_fail(o->msg, -EINVAL, "%.100s is neither a GGUF nor a safetensors file",
			  base_name(o->path));
}

static int layout_from(struct opening *o, struct vram_layout **out_layout)
{
	int err = check_file(o->fd, o->path, &o->st, o->msg);

	if (err < 0)
		return err_trace(err);
	o->layout = calloc(1, sizeof(*o->layout));
	if (!o->layout)
		return parse_fail(o->msg, -ENOMEM, "out of memory");
	err = open_by_content(o);
	if (err < 0) {
		layout_free(o->layout);
		return err_trace(err);
	}
	/* Looking for parts that turned out not to be needed may have left a message. */
	if (o->msg->text && o->msg->size)
		o->msg->text[0] = '\0';
	*out_layout = o->layout;
	return 0;
}

int layout_open(const char *path, struct vram_layout **out_layout, char *text, size_t text_size)
{
	struct parse_msg msg = { text, text_size };
	_cleanup_close_ int fd = -1;
	struct opening o = { .path = path, .msg = &msg };
	int err = open_file(path, &fd, &msg);

	if (err < 0)
		return err_trace(err);
	o.fd = fd;
	return err_trace(layout_from(&o, out_layout));
}

int layout_open_fd(int fd, struct vram_layout **out_layout, char *text, size_t text_size)
{
	struct parse_msg msg = { text, text_size };
	struct opening o = { .fd = fd, .by_fd = true, .msg = &msg };
	struct stat here, there;
	char path[PATH_MAX];

	if (fd_link(fd, path, sizeof(path)) >= 0 && path[0] == '/' && fstat(fd, &here) == 0 &&
	    stat(path, &there) == 0 && here.st_dev == there.st_dev && here.st_ino == there.st_ino)
		o.path = path;
	return err_trace(layout_from(&o, out_layout));
}
