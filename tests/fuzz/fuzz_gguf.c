// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any bytes as a GGUF file, through parser and grouping. Beside crashes it looks for a layout that breaks
 * its promises: a part outside the file or a layer that shares bytes with another.
 *
 * links: libclient/layout_open.c libclient/layout.c libclient/layout_names.c libclient/gguf.c
 * links: libclient/safetensors.c libclient/tensors.c common/err.c common/fd.c
 * links: tests/support/layout_promises.c tests/fuzz/memory_file.c
 * libs: -ljansson
 */
#include <stdlib.h>
#include <string.h>

#include "libclient/layout.h"
#include "tests/fuzz/memory_file.h"
#include "tests/support/layout_promises.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vram_layout *layout;
	char text[PARSE_MSG_MAX];
	int fd = memory_file(data, size);
	int err = layout_open_fd(fd, &layout, text, sizeof(text));

	if (err < 0 ? !text[0] : text[0] != '\0')
		abort();
	if (err < 0)
		return 0;
	if (layout_broken_promise(layout))
		abort();
	layout_free(layout);
	return 0;
}
