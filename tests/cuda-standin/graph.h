/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Captures and graphs. A capture takes what is put on its streams instead of doing it; a stream that waits for an
 * event of a capture joins it. A graph is the work in the order in which it was captured, and launching it puts all of
 * that on one stream. So nothing of a graph runs side by side, which is one of the orders it allows.
 *
 * LOCKING. A stream's capture changes under its context's mutex.
 */
#ifndef VRAM_TESTS_CUDA_STANDIN_GRAPH_H
#define VRAM_TESTS_CUDA_STANDIN_GRAPH_H

#include <stdbool.h>

#include "tests/cuda-standin/functions.h"
#include "tests/cuda-standin/stream.h"

/* Takes the work. Needs the context's mutex. */
void capture_add(struct capture *capture, struct op *op);

/* Return: the capture that the stream is in, 0 for none. */
uint64_t capture_id(struct stream *stream);
cuda_capture_status capture_status(struct stream *stream);

/* The stream waits for an event of that capture; 0: for one of none, which a stream in a capture must not. */
cuda_result capture_join(struct stream *stream, uint64_t id);

/* What may not be asked of a stream in a capture was asked. Return: whether it is in one; it is no good any more. */
bool capture_spoil(struct stream *stream);

/* The stream NULL is used while one that waits for it is in a capture. Return: whether that is so; it spoils the capture. */
bool capture_implied(struct context *context);

/* The same for calls that are forbidden while there is any capture that minds the calling thread. */
bool capture_forbids(enum function function, struct context *context);

#endif
