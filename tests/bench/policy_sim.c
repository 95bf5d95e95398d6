// SPDX-License-Identifier: GPL-2.0-only
#include "tests/bench/policy_sim.h"

/*
 * Time goes from event to event: a thread finishes a chunk, the disk finishes
 * a read, a tick. The pager here does what the real one does and no
 * more: demand first, then what policy_prefetch() names, bounded reads in flight, and
 * a victim whenever there is no free memory.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/policy.h"

#define TICK_NS 100000000ULL

enum chunk_state {
	ABSENT,
	READING,
	RESIDENT
};

struct file {
	struct policy_object *obj;
	uint8_t *state;
	uint32_t *order; /* chunk used at each place of a pass */
};

struct process;

struct thread {
	struct process *proc;
	uint64_t ready_ns; /* UINT64_MAX: waits for a chunk or at a barrier */
	uint32_t chunk;
	bool waits;
	bool at_barrier;
	uint32_t next, end; /* split: its part of the tensor */
};

struct process {
	struct file *file;
	struct policy_user *user;
	uint8_t *open;
	struct thread thread[SIM_MAX_THREADS];
	uint32_t place; /* next place of the pass to hand out */
	uint32_t tensor_end;
	uint32_t passes;
	uint64_t warm_ns, first_ns, end_ns;
	bool done;
};

struct read_op {
	struct file *file;
	uint32_t chunk;
	uint64_t start_ns, done_ns;
};

struct sim {
	const struct sim_config *cfg;
	struct policy *policy;
	struct file files[SIM_MAX_PROCESSES];
	uint32_t n_files;
	uint32_t n_places; /* chunks that a pass uses */
	struct process proc[SIM_MAX_PROCESSES];
	uint64_t now;
	uint64_t rng;

	struct read_op ops[256]; /* ring, in order of completion */
	uint32_t op_head, n_ops;
	uint32_t turn;
	uint64_t disk_free_ns, disk_busy_ns;
	uint64_t capacity, resident; /* chunks */
	uint64_t loads, demands, refused;
	uint64_t loads_warm, busy_warm, demands_warm, warm_ns;
	bool warm;
};

static uint64_t next_random(struct sim *s)
{
	s->rng ^= s->rng << 13;
	s->rng ^= s->rng >> 7;
	s->rng ^= s->rng << 17;
	return s->rng;
}

static double uniform(struct sim *s)
{
	return (double)(next_random(s) >> 11) / 9007199254740992.0;
}

void sim_defaults(struct sim_config *c)
{
	memset(c, 0, sizeof(*c));
	c->n_chunks = 2800;
	c->chunk_bytes = 2 << 20;
	c->n_processes = 1;
	c->n_threads = 2;
	c->tensor_chunks = 31;
	c->capacity = 0.6;
	c->pass_ns = 300000000;
	c->jitter = 0.1;
	c->bytes_per_ns = 3.6;
	c->latency_ns = 150000;
	c->touch_ns = 6000;
	c->max_in_flight = 12;
	c->passes = 10;
	c->warm_passes = 4;
	c->seed = 88172645463325252ULL;
}

static void start_read(struct sim *s, struct file *f, uint32_t chunk)
{
	struct read_op *op = &s->ops[(s->op_head + s->n_ops++) % 256];
	uint64_t begin = s->now > s->disk_free_ns ? s->now : s->disk_free_ns;
	uint64_t ns = (uint64_t)((double)s->cfg->chunk_bytes / s->cfg->bytes_per_ns);

	op->file = f;
	op->chunk = chunk;
	op->start_ns = s->now;
	s->disk_free_ns = begin + ns;
	s->disk_busy_ns += ns;
	op->done_ns = s->disk_free_ns + s->cfg->latency_ns;
	f->state[chunk] = READING;
	policy_evictable(f->obj, chunk, false);
	policy_resident(f->obj, chunk, true);
	s->resident++;
	s->loads++;
}

static bool make_room(struct sim *s, struct process *p, uint32_t chunk, bool demand)
{
	struct policy_victim v;
	struct file *f;

	if (s->resident < s->capacity)
		return true;
	if (policy_victim(s->policy, s->now, p->file->obj, chunk, p->user, demand, &v)) {
		s->refused++;
		return false;
	}
	f = policy_object_owner(v.obj);
	if (f->state[v.chunk] != RESIDENT)
		abort();
	f->state[v.chunk] = ABSENT;
	policy_resident(v.obj, v.chunk, false);
	for (uint32_t i = 0; i < s->cfg->n_processes; i++)
		if (s->proc[i].file == f)
			s->proc[i].open[v.chunk] = 0;
	s->resident--;
	return true;
}

static void pump(struct sim *s)
{
	uint32_t list[1], idle = 0;

	for (uint32_t i = 0; i < s->cfg->n_processes; i++) {
		struct process *p = &s->proc[i];

		for (uint32_t k = 0; k < s->cfg->n_threads; k++) {
			struct thread *t = &p->thread[k];

			if (!t->waits || p->file->state[t->chunk] != ABSENT)
				continue;
			if (!make_room(s, p, t->chunk, true))
				continue;
			start_read(s, p->file, t->chunk);
			s->demands++;
		}
	}
	/* One chunk each in turns, or the first would have the disk for itself. */
	while (s->n_ops < s->cfg->max_in_flight && idle < s->cfg->n_processes) {
		struct process *p = &s->proc[s->turn++ % s->cfg->n_processes];

		if (policy_prefetch(p->user, s->now, list, 1) && make_room(s, p, list[0], false)) {
			start_read(s, p->file, list[0]);
			idle = 0;
		} else {
			idle++;
		}
	}
}

/* Return: false if the pass or the tensor has nothing left for this thread. */
static bool next_place(struct sim *s, struct thread *t, uint32_t *place)
{
	struct process *p = t->proc;

	if (s->cfg->split) {
		if (t->next >= t->end)
			return false;
		*place = t->next++;
		return true;
	}
	if (p->place >= p->tensor_end)
		return false;
	*place = p->place++;
	return true;
}

static void begin_tensor(struct sim *s, struct process *p, uint32_t from)
{
	uint32_t end = from + s->cfg->tensor_chunks, n = s->cfg->n_threads;

	if (end > s->n_places)
		end = s->n_places;
	p->place = from;
	p->tensor_end = end;
	for (uint32_t k = 0; k < n; k++) {
		struct thread *t = &p->thread[k];

		t->next = from + (end - from) * k / n;
		t->end = from + (end - from) * (k + 1) / n;
		t->at_barrier = false;
		t->ready_ns = s->now;
	}
}

static void end_of_pass(struct sim *s, struct process *p)
{
	bool all_warm = true;

	p->passes++;
	if (p->passes == 1)
		p->first_ns = s->now;
	if (p->passes == s->cfg->warm_passes)
		p->warm_ns = s->now;
	p->end_ns = s->now;
	if (p->passes >= s->cfg->warm_passes + s->cfg->passes)
		p->done = true;
	for (uint32_t i = 0; i < s->cfg->n_processes; i++)
		all_warm &= s->proc[i].passes >= s->cfg->warm_passes;
	if (all_warm && !s->warm) {
		s->warm = true;
		s->warm_ns = s->now;
		s->loads_warm = s->loads;
		s->demands_warm = s->demands;
		s->busy_warm = s->disk_busy_ns;
	}
}

static void compute(struct sim *s, struct thread *t, uint64_t extra)
{
	double ns = (double)s->cfg->pass_ns / s->n_places * s->cfg->n_threads;

	ns *= 1 + s->cfg->jitter * (2 * uniform(s) - 1);
	t->ready_ns = s->now + extra + (uint64_t)ns;
}

/* The same for all threads in one pass. */
static bool chosen_not(const struct sim *s, const struct process *p, uint32_t group)
{
	uint64_t z = s->cfg->seed + (uint64_t)p->passes * 1000003 + group * 7919ULL +
		     (uint64_t)(p - s->proc) * 104729;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0 < s->cfg->skipped;
}

/* The thread is done with its chunk: it takes the next. */
static void step(struct sim *s, struct thread *t)
{
	struct process *p = t->proc;
	struct file *f = p->file;
	uint32_t place;

again:
	while (!next_place(s, t, &place)) {
		uint32_t end = p->tensor_end;

		t->at_barrier = true;
		t->ready_ns = UINT64_MAX;
		for (uint32_t k = 0; k < s->cfg->n_threads; k++)
			if (!p->thread[k].at_barrier)
				return;
		if (end >= s->n_places) {
			end_of_pass(s, p);
			end = 0;
		}
		begin_tensor(s, p, end);
	}
	t->chunk = f->order[place];
	if (s->cfg->skipped > 0 && chosen_not(s, p, place / 4))
		goto again;
	if (s->cfg->embed_chunks && place == 0)
		t->chunk += (uint32_t)(uniform(s) * s->cfg->embed_chunks);
	if (p->open[t->chunk]) {
		compute(s, t, 0);
		return;
	}
	policy_touch(p->user, t->chunk, s->now);
	if (f->state[t->chunk] == RESIDENT) {
		p->open[t->chunk] = 1;
		compute(s, t, s->cfg->touch_ns);
	} else {
		t->waits = true;
		t->ready_ns = UINT64_MAX;
	}
	pump(s);
}

static void read_done(struct sim *s)
{
	struct read_op op = s->ops[s->op_head];
	struct file *f = op.file;

	s->op_head = (s->op_head + 1) % 256;
	s->n_ops--;
	f->state[op.chunk] = RESIDENT;
	policy_evictable(f->obj, op.chunk, true);
	policy_loaded(s->policy, s->cfg->chunk_bytes, s->now - op.start_ns);
	for (uint32_t i = 0; i < s->cfg->n_processes; i++) {
		struct process *p = &s->proc[i];

		if (p->file != f)
			continue;
		for (uint32_t k = 0; k < s->cfg->n_threads; k++) {
			struct thread *t = &p->thread[k];

			if (!t->waits || t->chunk != op.chunk)
				continue;
			t->waits = false;
			p->open[op.chunk] = 1;
			compute(s, t, s->cfg->touch_ns);
		}
	}
	pump(s);
}

/*
 * The file: output, embedding, layers. A pass: a row of the embedding, the layers,
 * the output. Tensors of a layer are stored by name and used by need: groups of four
 * are shuffled.
 */
static void make_order(struct sim *s, struct file *f)
{
	static const uint32_t use[4] = { 2, 0, 3, 1 };
	const struct sim_config *c = s->cfg;
	uint32_t n = c->n_chunks, t = c->tensor_chunks, out = 0;

	if (c->embed_chunks)
		f->order[out++] = c->output_chunks;
	for (uint32_t group = c->output_chunks + c->embed_chunks; group < n; group += 4 * t) {
		for (uint32_t k = 0; k < 4; k++) {
			uint32_t from = group + (c->shuffled ? use[k] : k) * t;

			for (uint32_t i = from; i < from + t && i < n; i++)
				f->order[out++] = i;
		}
	}
	for (uint32_t i = 0; i < c->output_chunks; i++)
		f->order[out++] = i;
	s->n_places = out;
}

static int setup(struct sim *s)
{
	const struct sim_config *c = s->cfg;
	struct policy_config pc = {
		.window_bytes = c->window_bytes,
		.no_spread = c->no_spread,
	};

	s->n_files = c->same_file ? 1 : c->n_processes;
	s->capacity = (uint64_t)(c->capacity * c->n_chunks * s->n_files);
	pc.capacity_bytes = s->capacity * c->chunk_bytes;
	s->policy = policy_new(&pc);
	if (!s->policy)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->n_files; i++) {
		struct file *f = &s->files[i];

		f->state = calloc(c->n_chunks, 1);
		f->order = calloc(c->n_chunks, sizeof(*f->order));
		f->obj = policy_object_new(s->policy, c->n_chunks, c->chunk_bytes, POLICY_MODEL, f);
		if (!f->state || !f->order || !f->obj)
			return -ENOMEM;
		make_order(s, f);
	}
	for (uint32_t i = 0; i < c->n_processes; i++) {
		struct process *p = &s->proc[i];

		p->file = &s->files[c->same_file ? 0 : i];
		p->open = calloc(c->n_chunks, 1);
		p->user = policy_user_new(p->file->obj, i + 1, p);
		if (!p->open || !p->user)
			return -ENOMEM;
		begin_tensor(s, p, 0);
		for (uint32_t k = 0; k < c->n_threads; k++) {
			p->thread[k].proc = p;
			p->thread[k].ready_ns = (uint64_t)(i * c->phase * (double)c->pass_ns) + k;
		}
	}
	return 0;
}

static void teardown(struct sim *s)
{
	for (uint32_t i = 0; i < s->cfg->n_processes; i++) {
		policy_user_free(s->proc[i].user);
		free(s->proc[i].open);
	}
	for (uint32_t i = 0; i < s->n_files; i++) {
		policy_object_free(s->files[i].obj);
		free(s->files[i].state);
		free(s->files[i].order);
	}
	policy_free(s->policy);
}

static void run(struct sim *s, struct sim_result *out)
{
	uint64_t tick = TICK_NS;

	for (;;) {
		struct thread *first = NULL;
		uint64_t at = tick;
		bool done = true;

		for (uint32_t i = 0; i < s->cfg->n_processes; i++) {
			struct process *p = &s->proc[i];

			done &= p->done;
			for (uint32_t k = 0; k < s->cfg->n_threads; k++) {
				if (p->thread[k].ready_ns < at) {
					at = p->thread[k].ready_ns;
					first = &p->thread[k];
				}
			}
		}
		if (done)
			return;
		if (s->n_ops && s->ops[s->op_head].done_ns <= at) {
			s->now = s->ops[s->op_head].done_ns;
			read_done(s);
		} else if (first) {
			s->now = at;
			step(s, first);
		} else {
			s->now = tick;
			tick += TICK_NS;
			policy_tick(s->policy, s->now);
			pump(s);
			if (s->now > 600000000000ULL) {
				out->stuck = true;
				return;
			}
		}
	}
}

int sim_run(const struct sim_config *config, struct sim_result *out)
{
	struct sim *s = calloc(1, sizeof(*s));
	double missing, total = (double)config->passes;
	int r;

	memset(out, 0, sizeof(*out));
	if (!s)
		return -ENOMEM;
	s->cfg = config;
	s->rng = config->seed;
	r = setup(s);
	if (!r) {
		run(s, out);
		for (uint32_t i = 0; i < config->n_processes; i++) {
			struct process *p = &s->proc[i];

			out->pass_ns += (double)(p->end_ns - p->warm_ns) /
					(p->passes - config->warm_passes) / config->n_processes;
			if (p->first_ns > out->first_pass_ns)
				out->first_pass_ns = p->first_ns;
		}
		total = (double)(s->now - s->warm_ns) / out->pass_ns;
		out->chunks_per_pass = (double)(s->loads - s->loads_warm) / total;
		out->demand_per_pass = (double)(s->demands - s->demands_warm) / total;
		out->disk_busy =
			(double)(s->disk_busy_ns - s->busy_warm) / (double)(s->now - s->warm_ns);
		out->refused = s->refused;
		missing = ((double)s->n_places * s->n_files - (double)s->capacity) *
			  (double)config->chunk_bytes / config->bytes_per_ns;
		out->limit_ns = missing > (double)config->pass_ns ? missing :
								    (double)config->pass_ns;
	}
	teardown(s);
	free(s);
	return r;
}
