// SPDX-License-Identifier: GPL-2.0-only
#include "tests/bench/policy_trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX  8
#define CHUNKS_MAX (1u << 24)

static int event_add(struct trace *t, uint64_t t_ns, enum trace_event_kind kind, uint32_t client,
		     uint64_t value)
{
	struct trace_event *e;

	if (t->n_events == t->cap_events) {
		size_t cap = t->cap_events ? 2 * t->cap_events : 1024;

		e = realloc(t->events, cap * sizeof(*e));
		if (!e)
			return -ENOMEM;
		t->events = e;
		t->cap_events = cap;
	}
	e = &t->events[t->n_events];
	e->t_ns = t_ns;
	e->kind = kind;
	e->client = client;
	e->value = value;
	e->seq = (uint32_t)t->n_events++;
	if (kind == TRACE_USE)
		t->n_uses++;
	return 0;
}

static int by_time(const void *a, const void *b)
{
	const struct trace_event *x = a, *y = b;

	if (x->t_ns != y->t_ns)
		return x->t_ns < y->t_ns ? -1 : 1;
	return x->seq < y->seq ? -1 : 1;
}

static bool number(const char *word, uint64_t max, uint64_t *out)
{
	char *end;

	if (!word || *word < '0' || *word > '9')
		return false;
	errno = 0;
	*out = strtoull(word, &end, 10);
	return !errno && !*end && *out <= max;
}

static bool name(const char *word, char out[32])
{
	if (!word || strlen(word) > 31)
		return false;
	strcpy(out, word);
	return true;
}

static int64_t find_model(const struct trace *t, const char *word)
{
	for (uint32_t i = 0; word && i < t->n_models; i++)
		if (!strcmp(t->models[i].name, word))
			return i;
	return -1;
}

static int64_t find_client(const struct trace *t, const char *word)
{
	for (uint32_t i = 0; word && i < t->n_clients; i++)
		if (!strcmp(t->clients[i].name, word))
			return i;
	return -1;
}

static int parse_model(struct trace *t, char **w)
{
	struct trace_model *m = realloc(t->models, (t->n_models + 1) * sizeof(*m));
	uint64_t n;

	if (!m)
		return -ENOMEM;
	t->models = m;
	m += t->n_models;
	memset(m, 0, sizeof(*m));
	if (find_model(t, w[1]) >= 0 || !name(w[1], m->name) || !number(w[2], CHUNKS_MAX, &n) ||
	    !n || w[3] || t->n_chunks + n > CHUNKS_MAX)
		return -EINVAL;
	m->n_chunks = (uint32_t)n;
	m->first = t->n_chunks;
	t->n_chunks += m->n_chunks;
	t->n_models++;
	return 0;
}

static int parse_expert(struct trace *t, char **w)
{
	int64_t model = find_model(t, w[1]);
	struct trace_model *m;
	uint64_t chunk, pos;

	if (model < 0)
		return -EINVAL;
	m = &t->models[model];
	if (!number(w[2], m->n_chunks - 1, &chunk) || !number(w[3], m->n_chunks - 1, &pos) || w[4])
		return -EINVAL;
	if (!m->expert_pos) {
		m->expert_pos = malloc(m->n_chunks * sizeof(*m->expert_pos));
		if (!m->expert_pos)
			return -ENOMEM;
		memset(m->expert_pos, 0xff, m->n_chunks * sizeof(*m->expert_pos));
	}
	m->expert_pos[chunk] = (uint32_t)pos;
	return 0;
}

static int parse_client(struct trace *t, char **w)
{
	struct trace_client *c = realloc(t->clients, (t->n_clients + 1) * sizeof(*c));
	int64_t model = find_model(t, w[1] ? w[2] : NULL);
	uint64_t weight, lead;

	if (!c)
		return -ENOMEM;
	t->clients = c;
	c += t->n_clients;
	memset(c, 0, sizeof(*c));
	if (model < 0 || find_client(t, w[1]) >= 0 || !name(w[1], c->name) ||
	    !number(w[3], 10000, &weight) || !weight || !number(w[4], CHUNKS_MAX, &lead) || w[5])
		return -EINVAL;
	c->model = (uint32_t)model;
	c->weight = (uint32_t)weight;
	c->lead = (uint32_t)lead;
	t->n_clients++;
	return 0;
}

static int parse_timed(struct trace *t, char **w)
{
	static const char *const kinds[] = { "unknown", "decode", "prefill" };
	uint64_t t_ns, chunk, count = 1, step = 0;
	int64_t client;
	int r;

	if (!number(w[0], INT64_MAX, &t_ns) || !w[1])
		return -EINVAL;
	if (!strcmp(w[1], "budget")) {
		if (!number(w[2], INT64_MAX, &chunk) || w[3])
			return -EINVAL;
		return event_add(t, t_ns, TRACE_BUDGET, 0, chunk);
	}
	client = find_client(t, w[2]);
	if (client < 0)
		return -EINVAL;
	if (!strcmp(w[1], "idle") && !w[3])
		return event_add(t, t_ns, TRACE_IDLE, (uint32_t)client, 0);
	if (!strcmp(w[1], "pass") && w[3] && !w[4]) {
		for (unsigned int i = 0; i < POLICY_N_PASS; i++)
			if (!strcmp(w[3], kinds[i]))
				return event_add(t, t_ns, TRACE_PASS, (uint32_t)client, i);
		return -EINVAL;
	}
	if (strcmp(w[1], "use") || !number(w[3], CHUNKS_MAX, &chunk) ||
	    (w[4] && !number(w[4], CHUNKS_MAX, &count)) ||
	    (w[4] && w[5] && !number(w[5], 1000000000000, &step)) || (w[4] && w[5] && w[6]))
		return -EINVAL;
	if (!count || chunk + count > t->models[t->clients[client].model].n_chunks)
		return -EINVAL;
	for (uint64_t i = 0; i < count; i++) {
		r = event_add(t, t_ns + i * step, TRACE_USE, (uint32_t)client, chunk + i);
		if (r)
			return r;
	}
	return 0;
}

static int parse_line(struct trace *t, char **w, bool *version)
{
	uint64_t v;

	if (!*version) {
		*version = w[1] && !w[2] && !strcmp(w[0], "vram-trace") && !strcmp(w[1], "1");
		return *version ? 0 : -EINVAL;
	}
	if (!strcmp(w[0], "chunk")) {
		if (!number(w[1], 1ULL << 40, &v) || !v || w[2])
			return -EINVAL;
		t->chunk_bytes = v;
		return 0;
	}
	if (!strcmp(w[0], "budget")) {
		if (!number(w[1], INT64_MAX, &v) || w[2])
			return -EINVAL;
		t->budget_bytes = v;
		return 0;
	}
	if (!strcmp(w[0], "model"))
		return parse_model(t, w);
	if (!strcmp(w[0], "expert"))
		return parse_expert(t, w);
	if (!strcmp(w[0], "client"))
		return parse_client(t, w);
	return parse_timed(t, w);
}

int trace_read(FILE *from, struct trace *out, unsigned int *out_line)
{
	char line[512], *words[WORDS_MAX + 1], *save;
	bool version = false;
	int r = 0;

	memset(out, 0, sizeof(*out));
	for (*out_line = 1; !r && fgets(line, sizeof(line), from); ++*out_line) {
		int n = 0;

		for (char *w = strtok_r(line, " \t\n", &save); w && *w != '#' && n < WORDS_MAX;
		     w = strtok_r(NULL, " \t\n", &save))
			words[n++] = w;
		for (int i = n; i <= WORDS_MAX; i++)
			words[i] = NULL;
		if (n)
			r = parse_line(out, words, &version);
	}
	--*out_line;
	if (!r && (!version || !out->chunk_bytes || !out->budget_bytes))
		r = -EINVAL;
	if (r) {
		trace_deinit(out);
		return r;
	}
	qsort(out->events, out->n_events, sizeof(*out->events), by_time);
	return 0;
}

void trace_deinit(struct trace *t)
{
	for (uint32_t i = 0; i < t->n_models; i++)
		free(t->models[i].expert_pos);
	free(t->models);
	free(t->clients);
	free(t->events);
	memset(t, 0, sizeof(*t));
}
