/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * Streams that are being captured into graphs.
 *
 * While there is one, the device must not be synchronised (that would fail and spoil the capture), so the gate is told
 * (gate_capture_begin()), and the calls in the capture go through. A capture ends with cuStreamEndCapture, also one that was
 * spoilt, or with its stream. What a graph holds afterwards are addresses, which are the same after the program was out.
 */
#ifndef VRAM_LIBCLIENT_CUDASHIM_CAPTURE_H
#define VRAM_LIBCLIENT_CUDASHIM_CAPTURE_H

#include <stdbool.h>

#include "common/cuda_abi.h"

/* Whether what is given to this stream is captured now: it is one, or has been drawn into another's capture by an event. */
bool capture_has(cuda_stream stream);

#endif
