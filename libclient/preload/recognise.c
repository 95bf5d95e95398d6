// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/preload/recognise.h"

#include <string.h>

/* The format itself allows 100 MB of JSON in front of the tensors. */
#define SAFETENSORS_HEADER_MAX (100u << 20)

static uint64_t little_endian(const unsigned char *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

bool recognise_model(const unsigned char *head, size_t n, uint64_t file_bytes)
{
	uint64_t json;

	if (n < RECOGNISE_BYTES || file_bytes < RECOGNISE_MIN_FILE)
		return false;
	/* "GGUF" and a version that is small in this machine's byte order. */
	if (!memcmp(head, "GGUF", 4))
		return head[4] >= 1 && head[5] == 0 && head[6] == 0 && head[7] == 0;
	/* safetensors: the length of the JSON header, then the JSON: an object with a name first. */
	json = little_endian(head);
	if (json < 2 || json > SAFETENSORS_HEADER_MAX || json > file_bytes - 8)
		return false;
	return head[8] == '{' && (head[9] == '"' || head[9] == ' ' || head[9] == '\n');
}
