// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the driver says of addresses inside chunks: programs and libraries ask that of memory that
 * they believe to be of cuMemAlloc.
 */
#include <inttypes.h>
#include <stdio.h>

#include "tests/gpu/card.h"

static const struct {
	const char *name;
	int attribute;
} attributes[] = {
	{ "memory type", CUDA_ABI_POINTER_ATTRIBUTE_MEMORY_TYPE },
	{ "device ordinal", CUDA_ABI_POINTER_ATTRIBUTE_DEVICE_ORDINAL },
	{ "mapped", CUDA_ABI_POINTER_ATTRIBUTE_MAPPED },
	{ "managed", CUDA_ABI_POINTER_ATTRIBUTE_IS_MANAGED },
	{ "fit for classic IPC", CUDA_ABI_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE },
	{ "handle types", CUDA_ABI_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES },
	{ "access flags", CUDA_ABI_POINTER_ATTRIBUTE_ACCESS_FLAGS },
	{ "start of range, from the mapping's start", CUDA_ABI_POINTER_ATTRIBUTE_RANGE_START_ADDR },
	{ "size of range", CUDA_ABI_POINTER_ATTRIBUTE_RANGE_SIZE },
	{ "context is ours", CUDA_ABI_POINTER_ATTRIBUTE_CONTEXT },
};

/* at: an address of the mapping or allocation that begins at start. */
static void say(struct card *card, const char *of, cuda_ptr at, cuda_ptr start)
{
	struct ask *ask = card->ask;
	size_t range_bytes = 0;
	cuda_ptr base = 0;
	char what[96];
	cuda_result r;

	for (size_t i = 0; i < sizeof(attributes) / sizeof(*attributes); i++) {
		int attribute = attributes[i].attribute;
		/* The widest of them has eight bytes; what is narrower leaves the rest alone. */
		uint64_t value = 0;
		char text[64];

		r = card->cu.pointer_get_attribute(&value, attribute, at);
		if (attribute == CUDA_ABI_POINTER_ATTRIBUTE_RANGE_START_ADDR)
			snprintf(text, sizeof(text), "%+" PRId64, (int64_t)(value - start));
		else if (attribute == CUDA_ABI_POINTER_ATTRIBUTE_CONTEXT)
			snprintf(text, sizeof(text), "%s",
				 value == (uintptr_t)card->context ? "yes" :
				 value				   ? "another" :
								     "none");
		else
			snprintf(text, sizeof(text), "%" PRIu64, value);
		snprintf(what, sizeof(what), "%s: %s", of, attributes[i].name);
		answer_text(ask, what, "%s", r == CUDA_ABI_SUCCESS ? text : card_text(card, r));
	}
	r = card->cu.mem_get_address_range(&base, &range_bytes, at);
	snprintf(what, sizeof(what), "%s: cuMemGetAddressRange", of);
	if (r == CUDA_ABI_SUCCESS)
		answer_text(ask, what, "starts at %+" PRId64 ", %zu MiB", (int64_t)(base - start),
			    range_bytes / MIB);
	else
		answer_text(ask, what, "%s", card_text(card, r));
}

static void answer(struct ask *ask)
{
	cuda_ptr classic = 0, own, run = 0;
	cuda_mem mem, mems[2];
	struct card card;
	size_t g;

	card_open(&card, ask);
	g = card.granularity;
	MUST(&card, mem_alloc, &classic, 8 * MIB);
	say(&card, "cuMemAlloc", classic + 4096, classic);
	MUST(&card, mem_free, classic);
	own = card_alloc(&card, g, &mem);
	say(&card, "a chunk", own + 4096, own);

	/* What a layer of several chunks looks like: one range, or one for each? */
	MUST(&card, mem_address_reserve, &run, 2 * g, 0, 0, 0);
	for (int i = 0; i < 2; i++) {
		mems[i] = card_create(&card, g);
		MUST(&card, mem_map, run + (size_t)i * g, g, 0, mems[i], 0);
	}
	card_must(&card, "mem_set_access", card_access(&card, run, 2 * g, true));
	say(&card, "the second of two chunks in a row", run + g + 4096, run);
}

const struct question question_pointers = { "pointers",
					    "What does the driver say of addresses inside chunks?",
					    answer };
