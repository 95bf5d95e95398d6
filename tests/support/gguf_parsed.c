// SPDX-License-Identifier: GPL-2.0-only
#include "tests/support/gguf_parsed.h"

#include <unistd.h>

void gguf_parse_fd(int fd, uint64_t size, struct gguf_parsed *p)
{
	struct parse_msg msg = { p->text, sizeof(p->text) };

	*p = (struct gguf_parsed){ 0 };
	p->err = gguf_parse(fd, size, 7, &p->list, &p->info, &msg);
	if (p->err >= 0)
		p->err = tensor_list_check(&p->list, &msg);
	close(fd);
}

void gguf_parse_buf(const struct modelgen_buf *buf, struct gguf_parsed *p)
{
	gguf_parse_fd(modelgen_memfd(buf), buf->n, p);
}

void gguf_parse_model(struct modelgen_gguf *gguf, struct gguf_parsed *p)
{
	struct modelgen_buf buf = { 0 };

	modelgen_gguf_build(gguf, &buf);
	modelgen_gguf_free(gguf);
	gguf_parse_buf(&buf, p);
	modelgen_buf_free(&buf);
}

void gguf_parsed_deinit(struct gguf_parsed *p)
{
	tensor_list_deinit(&p->list);
}

struct modelgen_gguf *gguf_small_model(void)
{
	return modelgen_llama(1, 32, 64, 96, 0, false);
}
