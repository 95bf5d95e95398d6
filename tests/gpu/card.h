/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A card as a question or a benchmark uses it: the driver, a context, chunks, and some kernels.
 *
 * Everything here ends the question with the driver's words when a call fails that should not;
 * what may fail is called through card.cu.
 */
#ifndef VRAM_TESTS_GPU_CARD_H
#define VRAM_TESTS_GPU_CARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cuda_driver.h"
#include "tests/gpu/question.h"

typedef struct cuda_function_of_driver *cuda_function;

/* Kernels in PTX that any driver compiles for its card; kernels.c says what they do. */
struct kernels {
	bool loaded;
	bool standin;	  /* made of what the tests' driver has */
	char reason[160]; /* where they are not */
	cuda_function busy, hold, fill, differ, scribble, product;
	cuda_result (*launch)(cuda_function f, unsigned int gx, unsigned int gy, unsigned int gz,
			      unsigned int bx, unsigned int by, unsigned int bz,
			      unsigned int shared, cuda_stream stream, void **args, void **extra);
};

struct card {
	struct ask *ask;
	struct cuda_driver cu;
	cuda_device device;
	cuda_context context;
	size_t granularity;
	int n_processors;
	struct kernels kernels;
};

/* Loads the driver, makes the device's primary context current. */
void card_open(struct card *card, struct ask *ask);
/* Its two halves, where the first may fail. */
bool card_driver(struct card *card, struct ask *ask, char *reason, size_t size);
void card_context(struct card *card);
void card_close(struct card *card);

void card_must(struct card *card, const char *call, cuda_result result);
#define MUST(card, call, ...) card_must(card, #call, (card)->cu.call(__VA_ARGS__))
/* "as expected", or what the driver says. */
const char *card_text(struct card *card, cuda_result result);

/* ---- chunks ---- */

/* Return: a multiple of the granularity, at least one and at most the question's bytes / n. */
size_t card_size(struct card *card, size_t wanted, size_t n);
cuda_result card_try_create(struct card *card, size_t bytes, cuda_mem *out_mem);
cuda_mem card_create(struct card *card, size_t bytes);
int card_export(struct card *card, cuda_mem mem);
cuda_mem card_import(struct card *card, int fd);
cuda_result card_access(struct card *card, cuda_ptr at, size_t bytes, bool write);
/* Reserves, maps and opens it. */
cuda_ptr card_map(struct card *card, cuda_mem mem, size_t bytes, bool write);
void card_unmap(struct card *card, cuda_ptr at, size_t bytes);
/* All of it: create and map; the handle stays with the mapping. */
cuda_ptr card_alloc(struct card *card, size_t bytes, cuda_mem *out_mem);
cuda_stream card_stream(struct card *card);
void card_wait(struct card *card, cuda_stream stream);
/* Pinned memory of the driver's own. */
void *card_pinned(struct card *card, size_t bytes);
/* How many 32-bit words are not value, by copying all of it. */
uint64_t card_words_other(struct card *card, cuda_ptr at, size_t bytes, uint32_t value);
size_t card_free_bytes(struct card *card);
/* Waits, for some seconds, until so much is free: what a process had may come back after its end. */
void card_settle(struct card *card, size_t bytes);

/* ---- kernels ---- */

/* Loads them. Return: whether that went well; else kernels.reason says why not. */
bool card_kernels(struct card *card);
/* As above, and says in an answer that `what` cannot be asked. */
bool card_needs_kernels(struct card *card, const char *what);
/*
 * Whether a kernel or copy may be made to fault: it ends this process's context, unless several processes share one
 * (MPS), who would all lose it. Says in an answer that `what` cannot be asked then.
 */
bool card_may_fault(struct card *card, const char *what);
/* Fills the card with arithmetic for about that many rounds. */
void card_busy(struct card *card, uint64_t rounds, cuda_ptr out, cuda_stream stream);
/* Rounds of busy that take about that long when nobody else is there. */
uint64_t card_busy_rounds(struct card *card, uint64_t ns, cuda_ptr out, cuda_stream stream);
/* One block that waits for so long by the card's clock. */
void card_hold(struct card *card, uint64_t ns, cuda_stream stream);
/* Writes value into every word. */
void card_fill(struct card *card, cuda_ptr at, size_t bytes, uint32_t value, cuda_stream stream);
/* Whether a kernel finds value in every word. */
bool card_sees(struct card *card, cuda_ptr at, size_t bytes, uint32_t value);
/* Counts up in the first word of `at`, for so long. */
void card_scribble(struct card *card, cuda_ptr at, uint64_t ns, cuda_stream stream);
/* c = a * b, square matrices of floats, n a multiple of 16. */
void card_product(struct card *card, cuda_ptr a, cuda_ptr b, cuda_ptr c, uint32_t n,
		  cuda_stream stream);

#endif
