// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernels, in PTX for the oldest card that a driver of today runs; the driver compiles them for
 * the card that is there. Entry points for code are not among what the project uses of the driver
 * (common/cuda_abi.h), so they are looked up here.
 *
 * The stand-in driver of the tests runs no PTX; it has some kernels by name. There ours are made of those, so
 * that the programs that use them can be tried. What they take of time there means nothing.
 */
#include "tests/gpu/card.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "tests/cuda-standin/kernels.h"

/* clang-format off */
static const char ptx[] =
".version 6.4\n"
".target sm_52\n"
".address_size 64\n"

/* busy(rounds, out): arithmetic in registers. It stores nothing, but the compiler cannot know. */
".visible .entry busy(.param .u64 p_rounds, .param .u64 p_out)\n"
"{\n"
"	.reg .f32 %f<3>; .reg .b64 %d<4>; .reg .b32 %r<2>; .reg .pred %p<3>;\n"
"	ld.param.u64 %d1, [p_rounds];\n"
"	ld.param.u64 %d2, [p_out];\n"
"	mov.u32 %r1, %tid.x;\n"
"	cvt.rn.f32.u32 %f1, %r1;\n"
"	mov.f32 %f2, 0f3F7FFFFF;\n"
"	mov.u64 %d3, 0;\n"
"again:\n"
"	fma.rn.f32 %f1, %f1, %f2, %f2;\n"
"	fma.rn.f32 %f1, %f1, %f2, %f2;\n"
"	fma.rn.f32 %f1, %f1, %f2, %f2;\n"
"	fma.rn.f32 %f1, %f1, %f2, %f2;\n"
"	add.u64 %d3, %d3, 1;\n"
"	setp.lt.u64 %p1, %d3, %d1;\n"
"	@%p1 bra again;\n"
"	setp.lt.f32 %p2, %f1, 0f00000000;\n"
"	@%p2 st.global.f32 [%d2], %f1;\n"
"	ret;\n"
"}\n"

/* hold(ns): until the card's clock has gone on by so much. */
".visible .entry hold(.param .u64 p_ns)\n"
"{\n"
"	.reg .b64 %d<5>; .reg .pred %p<2>;\n"
"	ld.param.u64 %d1, [p_ns];\n"
"	mov.u64 %d2, %globaltimer;\n"
"again:\n"
"	mov.u64 %d3, %globaltimer;\n"
"	sub.u64 %d4, %d3, %d2;\n"
"	setp.lt.u64 %p1, %d4, %d1;\n"
"	@%p1 bra again;\n"
"	ret;\n"
"}\n"

/* fill(at, words, value) */
".visible .entry fill(.param .u64 p_at, .param .u64 p_words, .param .u32 p_value)\n"
"{\n"
"	.reg .b64 %d<8>; .reg .b32 %r<7>; .reg .pred %p<2>;\n"
"	ld.param.u64 %d1, [p_at];\n"
"	ld.param.u64 %d2, [p_words];\n"
"	ld.param.u32 %r1, [p_value];\n"
"	mov.u32 %r2, %ctaid.x;\n"
"	mov.u32 %r3, %ntid.x;\n"
"	mov.u32 %r4, %tid.x;\n"
"	mov.u32 %r5, %nctaid.x;\n"
"	mad.lo.u32 %r6, %r2, %r3, %r4;\n"
"	cvt.u64.u32 %d3, %r6;\n"
"	mul.wide.u32 %d4, %r3, %r5;\n"
"again:\n"
"	setp.ge.u64 %p1, %d3, %d2;\n"
"	@%p1 ret;\n"
"	shl.b64 %d5, %d3, 2;\n"
"	add.u64 %d6, %d1, %d5;\n"
"	st.global.u32 [%d6], %r1;\n"
"	add.u64 %d3, %d3, %d4;\n"
"	bra again;\n"
"}\n"

/* differ(at, words, value, count) */
".visible .entry differ(.param .u64 p_at, .param .u64 p_words, .param .u32 p_value,\n"
"	.param .u64 p_count)\n"
"{\n"
"	.reg .b64 %d<9>; .reg .b32 %r<8>; .reg .pred %p<3>;\n"
"	ld.param.u64 %d1, [p_at];\n"
"	ld.param.u64 %d2, [p_words];\n"
"	ld.param.u32 %r1, [p_value];\n"
"	ld.param.u64 %d7, [p_count];\n"
"	mov.u32 %r2, %ctaid.x;\n"
"	mov.u32 %r3, %ntid.x;\n"
"	mov.u32 %r4, %tid.x;\n"
"	mov.u32 %r5, %nctaid.x;\n"
"	mad.lo.u32 %r6, %r2, %r3, %r4;\n"
"	cvt.u64.u32 %d3, %r6;\n"
"	mul.wide.u32 %d4, %r3, %r5;\n"
"	mov.u64 %d8, 1;\n"
"again:\n"
"	setp.ge.u64 %p1, %d3, %d2;\n"
"	@%p1 ret;\n"
"	shl.b64 %d5, %d3, 2;\n"
"	add.u64 %d6, %d1, %d5;\n"
"	ld.global.u32 %r7, [%d6];\n"
"	setp.ne.u32 %p2, %r7, %r1;\n"
"	@%p2 red.global.add.u64 [%d7], %d8;\n"
"	add.u64 %d3, %d3, %d4;\n"
"	bra again;\n"
"}\n"

/* scribble(at, ns): counts up in memory, so that it can be seen when the writing stops. */
".visible .entry scribble(.param .u64 p_at, .param .u64 p_ns)\n"
"{\n"
"	.reg .b64 %d<6>; .reg .b32 %r<2>; .reg .pred %p<2>;\n"
"	ld.param.u64 %d1, [p_at];\n"
"	ld.param.u64 %d2, [p_ns];\n"
"	mov.u64 %d3, %globaltimer;\n"
"again:\n"
"	ld.volatile.global.u32 %r1, [%d1];\n"
"	add.u32 %r1, %r1, 1;\n"
"	st.volatile.global.u32 [%d1], %r1;\n"
"	membar.sys;\n"
"	mov.u64 %d4, %globaltimer;\n"
"	sub.u64 %d5, %d4, %d3;\n"
"	setp.lt.u64 %p1, %d5, %d2;\n"
"	@%p1 bra again;\n"
"	ret;\n"
"}\n"

/* product(a, b, c, n): one thread an element. Slow on purpose: it shall read memory. */
".visible .entry product(.param .u64 p_a, .param .u64 p_b, .param .u64 p_c, .param .u32 p_n)\n"
"{\n"
"	.reg .b64 %d<10>; .reg .b32 %r<11>; .reg .f32 %f<4>; .reg .pred %p<2>;\n"
"	ld.param.u64 %d1, [p_a];\n"
"	ld.param.u64 %d2, [p_b];\n"
"	ld.param.u64 %d3, [p_c];\n"
"	ld.param.u32 %r1, [p_n];\n"
"	mov.u32 %r2, %ctaid.x;\n"
"	mov.u32 %r3, %ntid.x;\n"
"	mov.u32 %r4, %tid.x;\n"
"	mad.lo.u32 %r5, %r2, %r3, %r4;\n"	/* column */
"	mov.u32 %r6, %ctaid.y;\n"
"	mov.u32 %r7, %ntid.y;\n"
"	mov.u32 %r8, %tid.y;\n"
"	mad.lo.u32 %r9, %r6, %r7, %r8;\n"	/* row */
"	mul.lo.u32 %r10, %r9, %r1;\n"
"	mul.wide.u32 %d4, %r10, 4;\n"
"	add.u64 %d1, %d1, %d4;\n"		/* a's row */
"	mul.wide.u32 %d5, %r5, 4;\n"
"	add.u64 %d2, %d2, %d5;\n"		/* b's column */
"	add.u64 %d6, %d3, %d4;\n"
"	add.u64 %d6, %d6, %d5;\n"
"	mul.wide.u32 %d7, %r1, 4;\n"
"	mov.f32 %f1, 0f00000000;\n"
"	mov.u32 %r10, 0;\n"
"again:\n"
"	ld.global.f32 %f2, [%d1];\n"
"	ld.global.f32 %f3, [%d2];\n"
"	fma.rn.f32 %f1, %f2, %f3, %f1;\n"
"	add.u64 %d1, %d1, 4;\n"
"	add.u64 %d2, %d2, %d7;\n"
"	add.u32 %r10, %r10, 1;\n"
"	setp.lt.u32 %p1, %r10, %r1;\n"
"	@%p1 bra again;\n"
"	st.global.f32 [%d6], %f1;\n"
"	ret;\n"
"}\n";
/* clang-format on */

enum {
	THREADS = 256
};

/* The driver's function of that name, in *out_fn (a pointer to a pointer to a function). */
static bool find(struct card *card, const char *name, void *out_fn)
{
	void *pfn = dlsym(card->cu.library, name);

	if (!pfn)
		snprintf(card->kernels.reason, sizeof(card->kernels.reason), "the driver has no %s",
			 name);
	memcpy(out_fn, &pfn, sizeof(pfn));
	return pfn;
}

struct wanted {
	const char *name;
	cuda_function *function;
};

static const char *load(struct card *card, const struct wanted *wanted, size_t n, const char *image)
{
	cuda_result (*load_data)(void **out_module, const void *image);
	cuda_result (*get)(cuda_function * out_function, void *module, const char *name);
	cuda_result result;
	void *module;

	if (!find(card, "cuModuleLoadData", &load_data) ||
	    !find(card, "cuModuleGetFunction", &get) ||
	    !find(card, "cuLaunchKernel", &card->kernels.launch))
		return card->kernels.reason;
	result = load_data(&module, image);
	for (size_t i = 0; i < n && result == CUDA_ABI_SUCCESS; i++)
		result = get(wanted[i].function, module, wanted[i].name);
	if (result == CUDA_ABI_SUCCESS)
		return NULL;
	snprintf(card->kernels.reason, sizeof(card->kernels.reason), "loading a module: %s",
		 cuda_driver_error_text(&card->cu, result));
	return card->kernels.reason;
}

bool card_kernels(struct card *card)
{
	struct kernels *k = &card->kernels;
	const struct wanted ours[] = {
		{ "busy", &k->busy },	  { "hold", &k->hold },		{ "fill", &k->fill },
		{ "differ", &k->differ }, { "scribble", &k->scribble }, { "product", &k->product },
	};
	const struct wanted theirs[] = {
		{ "spin", &k->hold },
		{ "fill", &k->fill },
		{ "sum", &k->differ },
	};
	char reason[sizeof(k->reason)];

	if (k->loaded)
		return true;
	k->loaded = !load(card, ours, sizeof(ours) / sizeof(*ours), ptx);
	if (k->loaded)
		return true;
	memcpy(reason, k->reason, sizeof(reason));
	k->standin = !load(card, theirs, sizeof(theirs) / sizeof(*theirs), STANDIN_MODULE);
	k->loaded = k->standin;
	memcpy(k->reason, reason, sizeof(reason));
	return k->loaded;
}

bool card_needs_kernels(struct card *card, const char *what)
{
	if (card_kernels(card))
		return true;
	answer_missing(card->ask, what, "no kernels: %s", card->kernels.reason);
	return false;
}

static void launch(struct card *card, cuda_function f, unsigned int gx, unsigned int gy,
		   unsigned int bx, unsigned int by, cuda_stream stream, void **args)
{
	card_must(card, "cuLaunchKernel",
		  card->kernels.launch(f, gx, gy, 1, bx, by, 1, 0, stream, args, NULL));
}

/* As many blocks as fill the card. */
static unsigned int blocks(struct card *card)
{
	return (unsigned int)card->n_processors * 8;
}

void card_busy(struct card *card, uint64_t rounds, cuda_ptr out, cuda_stream stream)
{
	void *args[] = { &rounds, &out };

	if (card->kernels.standin)
		card_hold(card, rounds, stream);
	else
		launch(card, card->kernels.busy, blocks(card), 1, THREADS, 1, stream, args);
}

uint64_t card_busy_rounds(struct card *card, uint64_t ns, cuda_ptr out, cuda_stream stream)
{
	uint64_t rounds = 1000, took;

	/* The first run pays for what the driver puts off. */
	card_busy(card, rounds, out, stream);
	card_wait(card, stream);
	for (;;) {
		uint64_t start = now_ns();

		card_busy(card, rounds, out, stream);
		card_wait(card, stream);
		took = now_ns() - start;
		if (took > 2000000 || rounds > UINT32_MAX)
			break;
		rounds *= 4;
	}
	rounds = (uint64_t)((double)rounds * (double)ns / (double)took);
	return rounds ? rounds : 1;
}

void card_hold(struct card *card, uint64_t ns, cuda_stream stream)
{
	void *args[] = { &ns };

	launch(card, card->kernels.hold, 1, 1, 1, 1, stream, args);
}

void card_fill(struct card *card, cuda_ptr at, size_t bytes, uint32_t value, cuda_stream stream)
{
	uint64_t words = bytes / sizeof(value), n = bytes;
	void *args[] = { &at, &words, &value };

	/* Theirs writes bytes. */
	if (card->kernels.standin)
		args[1] = &n;
	launch(card, card->kernels.fill, blocks(card), 1, THREADS, 1, stream, args);
}

bool card_sees(struct card *card, cuda_ptr at, size_t bytes, uint32_t value)
{
	uint64_t words = bytes / sizeof(value), n = bytes, count = 0, expected = 0;
	const unsigned char *b = (const unsigned char *)&value;
	void *args[] = { &at, &words, &value, NULL };
	cuda_ptr out = 0;

	MUST(card, mem_alloc, &out, sizeof(count));
	MUST(card, memset_d8, out, 0, sizeof(count));
	args[3] = &out;
	if (card->kernels.standin) {
		/* Theirs adds bytes up. */
		expected = words * ((uint64_t)b[0] + b[1] + b[2] + b[3]);
		args[0] = &out;
		args[1] = &at;
		args[2] = &n;
	}
	launch(card, card->kernels.differ, blocks(card), 1, THREADS, 1, NULL, args);
	MUST(card, memcpy_dtoh, &count, out, sizeof(count));
	MUST(card, mem_free, out);
	return count == expected;
}

void card_scribble(struct card *card, cuda_ptr at, uint64_t ns, cuda_stream stream)
{
	void *args[] = { &at, &ns };

	if (!card->kernels.standin) {
		launch(card, card->kernels.scribble, 1, 1, 1, 1, stream, args);
		return;
	}
	for (uint64_t i = 1; i <= ns / 1000000; i++) {
		card_fill(card, at, sizeof(uint32_t), (uint32_t)i % 255 + 1, stream);
		card_hold(card, 1000000, stream);
	}
}

void card_product(struct card *card, cuda_ptr a, cuda_ptr b, cuda_ptr c, uint32_t n,
		  cuda_stream stream)
{
	void *args[] = { &a, &b, &c, &n };

	if (card->kernels.standin)
		card_hold(card, n * 1000, stream);
	else
		launch(card, card->kernels.product, n / 16, n / 16, 16, 16, stream, args);
}
