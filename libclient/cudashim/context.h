/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The contexts in which the program gives the device work: they must all be idle before its memory goes.
 *
 * The primary context of the card is always one of them; the others are known from the functions that make them. A context is
 * not destroyed while it is being synchronised (one lock for both, which a program meets only when it makes or destroys
 * contexts at that very moment).
 */
#ifndef VRAM_LIBCLIENT_CUDASHIM_CONTEXT_H
#define VRAM_LIBCLIENT_CUDASHIM_CONTEXT_H

#include <stdbool.h>

#include "common/cuda_abi.h"

/* Waits for all that was given to the device, in all contexts. device: whose primary context. */
void context_synchronize_all(cuda_device device);

/* Return: the calling thread's context, or NULL. */
cuda_context context_current(void);
/* Return: the device of the calling thread's context, or -1. */
cuda_device context_device(void);

/*
 * For driver calls of ours that a capture in another thread could forbid: this thread asks for "relaxed". Return: what
 * to hand to context_restore().
 */
int context_relax(void);
void context_restore(int mode);

/* Makes `context` current if it is not NULL. Return: whether context_pop() is due. */
bool context_push(cuda_context context);
void context_pop(void);

#endif
