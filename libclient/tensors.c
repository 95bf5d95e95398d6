// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/tensors.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

int parse_fail_at(const struct parse_msg *msg, int err, const char *format, ...)
{
	char text[PARSE_MSG_MAX];
	va_list args;

	if (!msg || !msg->text || !msg->size)
		return err;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* A name out of the file must not be able to drive the terminal that shows it. */
	for (char *c = text; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	snprintf(msg->text, msg->size, "%s", text);
	return err;
}

void tensor_list_deinit(struct tensor_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->tensors[i].name);
	free(list->tensors);
	*list = (struct tensor_list){ 0 };
}

int tensor_list_add(struct tensor_list *list, const struct vram_tensor *tensor, const char *name,
		    size_t name_bytes, const struct parse_msg *msg)
{
	struct vram_tensor *added;

	if (list->n >= VRAM_TENSOR_MAX)
		return parse_fail(msg, -E2BIG, "more than %d tensors", VRAM_TENSOR_MAX);
	if (list->n == list->n_allocated) {
		size_t n = list->n_allocated ? list->n_allocated * 2 : 64;
		struct vram_tensor *grown = reallocarray(list->tensors, n, sizeof(*grown));

		if (!grown)
			return parse_fail(msg, -ENOMEM, "out of memory for %zu tensors", n);
		list->tensors = grown;
		list->n_allocated = n;
	}
	added = &list->tensors[list->n];
	*added = *tensor;
	added->name = strndup(name, name_bytes);
	if (!added->name)
		return parse_fail(msg, -ENOMEM, "out of memory for a tensor's name");
	list->n++;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp((*(struct vram_tensor *const *)a)->name,
		      (*(struct vram_tensor *const *)b)->name);
}

static int compare_places(const void *a, const void *b)
{
	const struct vram_tensor *x = *(struct vram_tensor *const *)a;
	const struct vram_tensor *y = *(struct vram_tensor *const *)b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return 0;
}

int tensor_list_check(const struct tensor_list *list, const struct parse_msg *msg)
{
	_cleanup_free_ struct vram_tensor **sorted = NULL;
	const struct vram_tensor *before = NULL;

	if (!list->n)
		return 0;
	sorted = reallocarray(NULL, list->n, sizeof(struct vram_tensor *));
	if (!sorted)
		return parse_fail(msg, -ENOMEM, "out of memory for %zu tensors", list->n);
	for (size_t i = 0; i < list->n; i++)
		sorted[i] = &list->tensors[i];

	qsort(sorted, list->n, sizeof(struct vram_tensor *), compare_names);
	for (size_t i = 1; i < list->n; i++)
		if (!strcmp(sorted[i - 1]->name, sorted[i]->name))
			return parse_fail(msg, -EINVAL, "tensor '%.100s' is there twice",
					  sorted[i]->name);

	qsort(sorted, list->n, sizeof(struct vram_tensor *), compare_places);
	for (size_t i = 0; i < list->n; i++) {
		const struct vram_tensor *after = sorted[i];

		/* An empty tensor may lie anywhere, so it must not come between two others. */
		if (!after->bytes)
			continue;
		/* The sum cannot overflow: every tensor lies within its file. */
		if (before && before->file == after->file &&
		    before->offset + before->bytes > after->offset)
			return parse_fail(msg, -EINVAL, "tensors '%.100s' and '%.100s' overlap",
					  before->name, after->name);
		before = after;
	}
	return 0;
}

int file_read_exact(int fd, void *buf, size_t len, uint64_t offset, const struct parse_msg *msg)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return parse_fail(msg, -errno, "cannot read: %s", err_text(errno));
		if (n == 0)
			return parse_fail(msg, -ESTALE,
					  "the file became shorter while it was read");
		done += (size_t)n;
	}
	return 0;
}
