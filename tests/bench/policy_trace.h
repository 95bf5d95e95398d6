/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef VRAM_BENCH_POLICY_TRACE_H
#define VRAM_BENCH_POLICY_TRACE_H

/*
 * Traces of chunk uses (docs/policy.md describes the text), a generator of them,
 * and their replay against our policy, LRU and the offline optimum.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "daemon/policy.h"

enum trace_event_kind {
	TRACE_USE,
	TRACE_PASS,
	TRACE_IDLE,
	TRACE_BUDGET,
};

struct trace_event {
	uint64_t t_ns;
	uint64_t value; /* chunk, pass kind or bytes */
	uint32_t client;
	uint32_t seq; /* place in the file: keeps equal times in order */
	enum trace_event_kind kind;
};

struct trace_model {
	char name[32];
	uint32_t n_chunks;
	uint32_t first;	      /* of its chunks, in the numbering over all models */
	uint32_t *expert_pos; /* position of an expert chunk, else UINT32_MAX; NULL: none */
};

struct trace_client {
	char name[32];
	uint32_t model;
	uint32_t weight;
	uint32_t lead; /* uses that are loaded ahead */
};

struct trace {
	uint64_t chunk_bytes;
	uint64_t budget_bytes; /* at the start */
	uint32_t n_chunks;     /* of all models */
	struct trace_model *models;
	uint32_t n_models;
	struct trace_client *clients;
	uint32_t n_clients;
	struct trace_event *events;
	size_t n_events, cap_events;
	size_t n_uses;
};

/* Return: 0, -ENOMEM, or -EINVAL with the line's number in *out_line. */
int trace_read(FILE *from, struct trace *out, unsigned int *out_line);
void trace_deinit(struct trace *trace);

struct trace_shape {
	uint64_t seed;
	bool moe;    /* the first client has experts */
	bool random; /* lengths of requests and pauses are exponential, else about the same */
};

/* Writes a trace; the same shape always gives the same one. */
void trace_generate(const struct trace_shape *shape, FILE *to);

struct replay_options {
	enum policy_share share;
	bool sightings; /* the policy sees only first uses after a load */
	bool no_spread;
};

struct replay_result {
	uint64_t uses;
	uint64_t distinct;	     /* chunks that any trace must load once */
	uint64_t ours, lru, optimum; /* loads, the first ones included */
};

/* Return: 0 or -ENOMEM. */
int trace_replay(const struct trace *trace, const struct replay_options *options,
		 struct replay_result *out);
/* Chunks loaded again, ours or LRU's, relative to the optimum; 1 if nothing had to be. */
double replay_ratio(const struct replay_result *result, uint64_t loads);

#endif
