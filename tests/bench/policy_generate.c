// SPDX-License-Identifier: GPL-2.0-only
#include "tests/bench/policy_trace.h"

/*
 * Traces as language models make them: requests that begin with a slow prefill
 * pass and go on with decode passes, pauses between requests, one to four
 * clients of different size and speed, jitter on every step.
 */

#include <inttypes.h>
#include <math.h>

#define CHUNK_BYTES (16ULL << 20)

struct generator {
	uint64_t state;
	FILE *to;
	double jitter;
	bool random;
};

struct client {
	uint32_t layers, per_layer; /* dense chunks of a layer */
	uint32_t experts, top, per_expert;
	uint32_t layer_chunks; /* all of a layer */
	uint64_t layer_ns;     /* compute of one, decoding */
	double prefill;	       /* a prefill pass is so much slower */
	uint32_t tokens;       /* mean of a request */
	uint64_t idle_ns;      /* mean between requests; 0: none */
	double zipf;
};

static uint64_t draw(struct generator *g)
{
	uint64_t z = (g->state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static double uniform(struct generator *g)
{
	return ((double)(draw(g) >> 11) + 0.5) / 9007199254740992.0;
}

static uint32_t between(struct generator *g, uint32_t low, uint32_t high)
{
	return low + (uint32_t)(draw(g) % (high - low + 1));
}

static double exponential(struct generator *g, double mean)
{
	return -log(uniform(g)) * mean;
}

/* How long something lasts this time: about its mean, or anything if `random`. */
static double lasts(struct generator *g, double mean)
{
	if (g->random)
		return exponential(g, mean);
	return mean * (1 + g->jitter * (2 * uniform(g) - 1));
}

static uint32_t all_chunks(const struct client *c)
{
	return c->layers * c->layer_chunks;
}

/* Picks an expert: the layer's own ranking, the k-th with 1/k^zipf. */
static uint32_t pick_expert(struct generator *g, const struct client *c, uint32_t layer)
{
	double sum = 0, at;
	uint32_t k;

	for (k = 1; k <= c->experts; k++)
		sum += pow(k, -c->zipf);
	at = uniform(g) * sum;
	for (k = 1; k < c->experts && at > pow(k, -c->zipf); k++)
		at -= pow(k, -c->zipf);
	return (k * 7 + layer * 13) % c->experts;
}

static void write_layer(struct generator *g, const struct client *c, uint32_t id, uint32_t layer,
			uint64_t t, uint64_t step)
{
	uint32_t first = layer * c->layer_chunks;
	uint64_t chosen = 0;

	fprintf(g->to, "%" PRIu64 " use c%" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu64 "\n", t, id,
		first, c->per_layer, step);
	t += c->per_layer * step;
	for (uint32_t i = 0; i < c->top; i++) {
		uint32_t e;

		do
			e = pick_expert(g, c, layer);
		while (chosen >> e & 1);
		chosen |= 1ULL << e;
		fprintf(g->to, "%" PRIu64 " use c%" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu64 "\n",
			t, id, first + c->per_layer + e * c->per_expert, c->per_expert, step);
		t += c->per_expert * step;
	}
}

static uint64_t write_pass(struct generator *g, const struct client *c, uint32_t id, uint64_t t,
			   bool prefill)
{
	uint32_t used = c->per_layer + c->top * c->per_expert;

	fprintf(g->to, "%" PRIu64 " pass c%" PRIu32 " %s\n", t, id, prefill ? "prefill" : "decode");
	for (uint32_t layer = 0; layer < c->layers; layer++) {
		double ns = (double)c->layer_ns * (prefill ? c->prefill : 1);

		ns *= 1 + g->jitter * (2 * uniform(g) - 1);
		write_layer(g, c, id, layer, t, (uint64_t)(ns / used));
		t += (uint64_t)ns;
	}
	return t;
}

static void write_client(struct generator *g, const struct client *c, uint32_t id, uint64_t until)
{
	uint64_t t = c->idle_ns ? (uint64_t)(uniform(g) * (double)c->idle_ns / 2) : 0;

	while (t < until) {
		uint32_t tokens = c->idle_ns ? 1 + (uint32_t)lasts(g, c->tokens) : UINT32_MAX;

		for (uint32_t i = 0; i < tokens && t < until; i++)
			t = write_pass(g, c, id, t, i == 0);
		if (!c->idle_ns)
			break;
		fprintf(g->to, "%" PRIu64 " idle c%" PRIu32 "\n", t, id);
		t += (uint64_t)lasts(g, (double)c->idle_ns);
	}
}

static void make_client(struct generator *g, struct client *c, bool moe)
{
	static const uint32_t layers[] = { 16, 24, 28, 32, 40, 48 };

	c->layers = layers[between(g, 0, 5)];
	c->per_layer = between(g, 6, 12);
	c->layer_ns = between(g, 500, 2500) * 1000ULL;
	c->prefill = 1 + 3 * uniform(g);
	c->tokens = between(g, 6, 60);
	c->idle_ns = between(g, 0, 2) ? between(g, 200, 4000) * 1000000ULL : 0;
	c->experts = 0;
	c->top = 0;
	c->per_expert = 0;
	if (moe) {
		bool many = between(g, 0, 1);

		c->layers = between(g, 16, 32);
		c->per_layer = 2;
		c->experts = many ? 64 : 8;
		c->top = many ? 6 : 2;
		c->per_expert = many ? 1 : 4;
		c->zipf = 0.2 * between(g, 0, 6);
	}
	c->layer_chunks = c->per_layer + c->experts * c->per_expert;
}

static void write_experts(struct generator *g, const struct client *c, uint32_t id)
{
	for (uint32_t l = 0; l < c->layers; l++)
		for (uint32_t e = 0; e < c->experts * c->per_expert; e++)
			fprintf(g->to, "expert m%" PRIu32 " %" PRIu32 " %" PRIu32 "\n", id,
				l * c->layer_chunks + c->per_layer + e,
				l * c->layer_chunks + c->per_layer + e);
}

void trace_generate(const struct trace_shape *shape, FILE *to)
{
	struct generator g = { .state = shape->seed * 2 + shape->moe,
			       .to = to,
			       .random = shape->random };
	struct client clients[4];
	uint32_t n = between(&g, 1, 4), total = 0;
	uint64_t budget, longest = 0;
	double slowest = 0;

	if (shape->moe)
		n = between(&g, 1, 2);
	g.jitter = 0.3 * uniform(&g);
	for (uint32_t i = 0; i < n; i++) {
		make_client(&g, &clients[i], shape->moe && i == 0);
		total += all_chunks(&clients[i]);
		if ((double)clients[i].layer_ns * clients[i].layers > slowest)
			slowest = (double)clients[i].layer_ns * clients[i].layers;
		if (clients[i].idle_ns > longest)
			longest = clients[i].idle_ns;
	}
	budget = (uint64_t)(total * (0.4 + 0.55 * uniform(&g)));
	fprintf(to,
		"vram-trace 1\n# seed %" PRIu64 ", jitter %.2f\nchunk %llu\nbudget %" PRIu64 "\n",
		shape->seed, g.jitter, CHUNK_BYTES, budget * (uint64_t)CHUNK_BYTES);
	for (uint32_t i = 0; i < n; i++) {
		fprintf(to, "model m%" PRIu32 " %" PRIu32 "\n", i, all_chunks(&clients[i]));
		write_experts(&g, &clients[i], i);
		fprintf(to, "client c%" PRIu32 " m%" PRIu32 " 100 %" PRIu32 "\n", i, i,
			between(&g, 0, 3) * clients[i].per_layer);
	}
	for (uint32_t i = 0; i < n; i++)
		write_client(&g, &clients[i], i, (uint64_t)(60 * slowest) + 25 * longest);
}
