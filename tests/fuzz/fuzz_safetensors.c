// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any bytes as a safetensors file, or as the index of a sharded model, told apart by content as
 * the library does it. An index is parsed but its files are not there.
 *
 * links: libclient/layout_open.c libclient/layout.c libclient/layout_names.c libclient/gguf.c
 * links: libclient/safetensors.c libclient/tensors.c common/err.c common/fd.c
 * links: tests/support/layout_promises.c tests/fuzz/memory_file.c
 * libs: -ljansson
 */
#include <stdlib.h>
#include <string.h>

#include "libclient/layout.h"
#include "libclient/safetensors.h"
#include "tests/fuzz/memory_file.h"
#include "tests/support/layout_promises.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_index(int fd, size_t size, const struct tensor_list *list)
{
	struct safetensors_index index;
	char text[PARSE_MSG_MAX] = "";
	struct parse_msg msg = { text, sizeof(text) };

	if (safetensors_index_parse(fd, size, 16, &index, &msg) < 0) {
		if (!text[0])
			abort();
		return;
	}
	for (uint32_t i = 0; i < index.n_files; i++)
		if (strchr(index.files[i], '/') || !strcmp(index.files[i], ".."))
			abort();
	safetensors_index_check(&index, list, &msg);
	safetensors_index_deinit(&index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tensor_list none = { 0 };
	struct vram_layout *layout;
	char text[PARSE_MSG_MAX];
	int fd = memory_file(data, size);
	int err = layout_open_fd(fd, &layout, text, sizeof(text));

	if (err < 0 ? !text[0] : text[0] != '\0')
		abort();
	if (err >= 0) {
		if (layout_broken_promise(layout))
			abort();
		layout_free(layout);
	} else if (size && data[0] == '{') {
		check_index(fd, size, &none);
	}
	return 0;
}
