// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * The exported functions that are passed on.
 *
 * Each name has a slot with the driver's address. A function without code of ours is a jump through its slot: all argument
 * registers, the vector registers and the stack stay as the caller has left them, so no prototype is needed, and
 * it costs one indirect jump. The slots are filled when the library is loaded (real.c), before anybody can call.
 *
 * A function behind the gate is C, with as many arguments as the driver's has. They are declared as whole
 * registers: on x86-64 and aarch64 Linux every argument that is no floating-point number and not larger than 8 bytes takes one register, or one
 * 8-byte place on the stack, and whoever is called looks only at as much of it as belongs to it.
 */
#include "libclient/cudashim/names.h"
#include "libclient/cudashim/shim.h"

cuda_result shim_unready(void)
{
	return CUDA_ABI_ERROR_NOT_INITIALIZED;
}

cuda_result shim_missing(void)
{
	return CUDA_ABI_ERROR_NOT_FOUND;
}

#define HIDDEN		__attribute__((visibility("hidden")))
#define SLOT(name, ...) HIDDEN void *real_##name = (void *)shim_unready;
SHIM_FORWARDS(SLOT)
SHIM_GATES(SLOT)
SHIM_HOOKS(SLOT)

/* ---- jumps ---- */

#if defined(__x86_64__)
/* endbr64: the name may be the target of an indirect call where control-flow enforcement is on. */
#define JUMP(name)                               \
	__asm__(".pushsection .text\n"           \
		".globl " #name "\n"             \
		".type " #name ", @function\n"   \
		".p2align 4\n" #name ":\n"       \
		"\tendbr64\n"                    \
		"\tjmp *real_" #name "(%rip)\n"  \
		".size " #name ", .-" #name "\n" \
		".popsection\n");
#elif defined(__aarch64__)
/* x16 is for this by the procedure call standard; hint #34 is bti c. */
#define JUMP(name)                                          \
	__asm__(".pushsection .text\n"                      \
		".globl " #name "\n"                        \
		".type " #name ", %function\n"              \
		".p2align 4\n" #name ":\n"                  \
		"\thint #34\n"                              \
		"\tadrp x16, real_" #name "\n"              \
		"\tldr x16, [x16, #:lo12:real_" #name "]\n" \
		"\tbr x16\n"                                \
		".size " #name ", .-" #name "\n"            \
		".popsection\n");
#else
#error "a jump for this machine is missing"
#endif
SHIM_FORWARDS(JUMP)

/* ---- through the gate ---- */

typedef uintptr_t word;

#define TYPES_1	 word
#define TYPES_2	 TYPES_1, word
#define TYPES_3	 TYPES_2, word
#define TYPES_4	 TYPES_3, word
#define TYPES_5	 TYPES_4, word
#define TYPES_6	 TYPES_5, word
#define TYPES_8	 TYPES_6, word, word
#define TYPES_9	 TYPES_8, word
#define TYPES_10 TYPES_9, word
#define TYPES_11 TYPES_10, word

#define PARAMS_1  word a
#define PARAMS_2  PARAMS_1, word b
#define PARAMS_3  PARAMS_2, word c
#define PARAMS_4  PARAMS_3, word d
#define PARAMS_5  PARAMS_4, word e
#define PARAMS_6  PARAMS_5, word f
#define PARAMS_8  PARAMS_6, word g, word h
#define PARAMS_9  PARAMS_8, word i
#define PARAMS_10 PARAMS_9, word j
#define PARAMS_11 PARAMS_10, word k

#define ARGS_1	a
#define ARGS_2	ARGS_1, b
#define ARGS_3	ARGS_2, c
#define ARGS_4	ARGS_3, d
#define ARGS_5	ARGS_4, e
#define ARGS_6	ARGS_5, f
#define ARGS_8	ARGS_6, g, h
#define ARGS_9	ARGS_8, i
#define ARGS_10 ARGS_9, j
#define ARGS_11 ARGS_10, k

#define GATED(name, version, n)                                              \
	__attribute__((visibility("default"))) cuda_result name(TYPES_##n);  \
	cuda_result name(PARAMS_##n)                                         \
	{                                                                    \
		cuda_result result;                                          \
                                                                             \
		if (!gate_enter(&shim_gate))                                 \
			return SHIM_LOST;                                    \
		result = ((cuda_result(*)(TYPES_##n))real_##name)(ARGS_##n); \
		gate_leave();                                                \
		return result;                                               \
	}
SHIM_GATES(GATED)

/* ---- tables ---- */

const struct shim_name shim_names[] = {
#define NAME(name, ...) { #name, &real_##name },
	SHIM_FORWARDS(NAME) SHIM_GATES(NAME) SHIM_HOOKS(NAME)
};
const size_t shim_n_names = sizeof(shim_names) / sizeof(shim_names[0]);

const struct shim_ours shim_hooked[] = {
#define OURS(name, version, ...) { #name, (void *)name, &real_##name, version },
	SHIM_GATES(OURS) SHIM_HOOKS(OURS)
};
const size_t shim_n_hooked = sizeof(shim_hooked) / sizeof(shim_hooked[0]);
