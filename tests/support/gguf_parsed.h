/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One run of the GGUF parser over a made file, and what came of it.
 */
#ifndef VRAM_TESTS_SUPPORT_GGUF_PARSED_H
#define VRAM_TESTS_SUPPORT_GGUF_PARSED_H

#include "libclient/gguf.h"
#include "tests/support/modelgen.h"

struct gguf_parsed {
	int err;
	struct tensor_list list;
	struct gguf_info info;
	char text[PARSE_MSG_MAX];
};

/* Parses and checks the tensors' places; closes fd, frees the model; the buffer stays. */
void gguf_parse_fd(int fd, uint64_t size, struct gguf_parsed *p);
void gguf_parse_buf(const struct modelgen_buf *buf, struct gguf_parsed *p);
void gguf_parse_model(struct modelgen_gguf *gguf, struct gguf_parsed *p);
void gguf_parsed_deinit(struct gguf_parsed *p);

/* A valid model of one block. */
struct modelgen_gguf *gguf_small_model(void);

#endif
