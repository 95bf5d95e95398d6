// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/admission.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int admission_init(struct admission *a, uint64_t idle_ns, uint64_t pass_ns)
{
	memset(a, 0, sizeof(*a));
	a->idle_ns = idle_ns;
	a->pass_ns = pass_ns;
	list_init(&a->waiting);
	list_init(&a->admitted);
	a->pools = calloc(1, sizeof(*a->pools));
	if (!a->pools)
		return -ENOMEM;
	a->size_pools = 1;
	a->n_pools = 1;
	return 0;
}

void admission_deinit(struct admission *a)
{
	free(a->pools);
	a->pools = NULL;
	a->n_pools = a->size_pools = 0;
}

/* ---- pools ---- */

void admission_reset(struct admission *a, uint64_t capacity)
{
	a->n_pools = 1;
	a->pools[0] = (struct admission_pool){ .capacity = capacity };
}

void admission_clear(struct admission_entry *e)
{
	e->pools[0] = 0;
	e->n_pools = 1;
}

void admission_join(struct admission *a, struct admission_entry *e, const uint64_t key[2],
		    uint64_t capacity)
{
	uint32_t i;

	if (e->n_pools == ADMISSION_POOLS)
		return;
	for (i = 1; i < a->n_pools; i++)
		if (a->pools[i].key[0] == key[0] && a->pools[i].key[1] == key[1])
			break;
	if (i == a->size_pools) {
		struct admission_pool *pools = realloc(a->pools, 2 * i * sizeof(*pools));

		if (!pools)
			return;
		a->pools = pools;
		a->size_pools = 2 * i;
	}
	if (i == a->n_pools)
		a->n_pools++;
	a->pools[i] = (struct admission_pool){ .key = { key[0], key[1] }, .capacity = capacity };
	e->pools[e->n_pools++] = i;
}

static bool is_in(const struct admission_entry *e, uint32_t pool)
{
	for (uint32_t i = 0; i < e->n_pools; i++)
		if (e->pools[i] == pool)
			return true;
	return false;
}

uint64_t admission_reserved(const struct admission *a, uint32_t pool)
{
	const struct admission_entry *e;
	uint64_t sum = 0;

	list_for_each(e, &a->admitted, node)
		if (e->state == ADMISSION_ADMITTED && is_in(e, pool))
			sum += e->bytes;
	return sum;
}

/* ---- asking and going ---- */

void admission_ask(struct admission *a, struct admission_entry *e, uint64_t now_ns,
		   uint64_t deadline_ns)
{
	struct admission_entry *at;

	e->state = ADMISSION_WAITING;
	e->asked_ns = now_ns;
	e->since_ns = now_ns;
	e->deadline_ns = deadline_ns;
	e->predicted_ns = ADMISSION_UNKNOWN;
	if (e->n_pools == 0)
		admission_clear(e);
	list_for_each(at, &a->waiting, node)
		if (at->priority > e->priority)
			break;
	/* Before that one; at the end of the loop that is the head of the list. */
	list_add_tail(&e->node, &at->node);
}

static void note_hold(struct admission *a, uint64_t ns)
{
	a->holds[a->next_hold] = ns;
	a->next_hold = (a->next_hold + 1) % ADMISSION_HOLDS;
	if (a->n_holds < ADMISSION_HOLDS)
		a->n_holds++;
}

void admission_remove(struct admission *a, struct admission_entry *e, uint64_t now_ns)
{
	if (e->state == ADMISSION_NONE)
		return;
	/* What lapsed was given back before. */
	if (e->state == ADMISSION_ADMITTED && e->bytes)
		note_hold(a, now_ns - e->since_ns);
	e->state = ADMISSION_NONE;
	list_del(&e->node);
}

void admission_lapse(struct admission_entry *e)
{
	if (e->state == ADMISSION_ADMITTED)
		e->state = ADMISSION_LAPSED;
}

struct admission_entry *admission_expired(struct admission *a, uint64_t now_ns)
{
	struct admission_entry *e;

	list_for_each(e, &a->waiting, node) {
		if (now_ns < e->deadline_ns)
			continue;
		admission_remove(a, e, now_ns);
		return e;
	}
	return NULL;
}

/* ---- letting in ---- */

/* How much is missing in the pool for this entry. */
static uint64_t missing(const struct admission *a, uint32_t pool, uint64_t bytes)
{
	uint64_t reserved = admission_reserved(a, pool), capacity = a->pools[pool].capacity;
	uint64_t room = capacity > reserved ? capacity - reserved : 0;

	return bytes > room ? bytes - room : 0;
}

static bool fits(const struct admission *a, const struct admission_entry *e)
{
	if (e->barred)
		return false;
	for (uint32_t i = 0; e->bytes && i < e->n_pools; i++)
		if (missing(a, e->pools[i], e->bytes))
			return false;
	return true;
}

void admission_regain(struct admission *a, uint64_t now_ns)
{
	struct admission_entry *e;

	list_for_each(e, &a->admitted, node)
		if (e->state == ADMISSION_LAPSED && now_ns - e->busy_ns < a->idle_ns &&
		    fits(a, e)) {
			e->state = ADMISSION_ADMITTED;
			e->since_ns = now_ns;
		}
}

/* The reservation that has been idle longest, for long enough, in a pool where something is missing. */
static struct admission_entry *idlest(const struct admission *a, const struct admission_entry *want,
				      uint64_t now_ns)
{
	struct admission_entry *e, *best = NULL;

	list_for_each(e, &a->admitted, node) {
		bool helps = false;

		if (e->state != ADMISSION_ADMITTED || !e->bytes || now_ns - e->busy_ns < a->idle_ns)
			continue;
		for (uint32_t i = 0; i < want->n_pools && !helps; i++)
			helps = is_in(e, want->pools[i]) && missing(a, want->pools[i], want->bytes);
		if (helps && (!best || e->busy_ns < best->busy_ns))
			best = e;
	}
	return best;
}

/* Would it fit if everything idle lapsed? Only then anything does. */
static bool fits_without_idle(const struct admission *a, const struct admission_entry *e,
			      uint64_t now_ns)
{
	const struct admission_entry *other;

	if (e->barred)
		return false;
	for (uint32_t i = 0; i < e->n_pools; i++) {
		uint64_t sum = 0, capacity = a->pools[e->pools[i]].capacity;

		list_for_each(other, &a->admitted, node)
			if (other->state == ADMISSION_ADMITTED && is_in(other, e->pools[i]) &&
			    now_ns - other->busy_ns < a->idle_ns)
				sum += other->bytes;
		if (e->bytes && (sum > capacity || e->bytes > capacity - sum))
			return false;
	}
	return true;
}

static void admit(struct admission *a, struct admission_entry *e, uint64_t now_ns)
{
	struct admission_entry *idle;

	while (!fits(a, e) && (idle = idlest(a, e, now_ns))) {
		note_hold(a, idle->busy_ns + a->idle_ns - idle->since_ns);
		admission_lapse(idle);
	}
	list_del(&e->node);
	e->state = ADMISSION_ADMITTED;
	e->since_ns = now_ns;
	e->busy_ns = now_ns;
	list_add_tail(&e->node, &a->admitted);
}

struct admission_entry *admission_next(struct admission *a, uint64_t now_ns)
{
	struct admission_entry *e;
	bool predicted = false;

	list_for_each(e, &a->waiting, node) {
		if (fits_without_idle(a, e, now_ns)) {
			admit(a, e, now_ns);
			return e;
		}
		if (e->barred || !missing(a, 0, e->bytes))
			continue;
		if (!predicted)
			admission_predict(a, now_ns);
		predicted = true;
		if (e->predicted_ns <= a->pass_ns)
			return NULL;
	}
	return NULL;
}

/* ---- foreseeing ---- */

/* How long a reservation goes on that has lasted so long. */
static uint64_t residual(const struct admission *a, uint64_t age_ns)
{
	uint64_t sum = 0, n = 0;

	for (uint32_t i = 0; i < a->n_holds; i++) {
		if (a->holds[i] <= age_ns)
			continue;
		sum += a->holds[i] - age_ns;
		n++;
	}
	return n ? sum / n : ADMISSION_UNKNOWN;
}

/* A reservation on paper, and when it ends, from now on. */
struct paper {
	const struct admission_entry *e;
	uint64_t end_ns;
};

static uint64_t end_of(const struct admission *a, const struct admission_entry *e, uint64_t now_ns)
{
	uint64_t end = residual(a, now_ns - e->since_ns), idle = now_ns - e->busy_ns;

	/* Somebody waits, so it lapses if it stays as it is. One that has just worked is not idle. */
	if (idle > a->idle_ns / 4 && (idle >= a->idle_ns ? 0 : a->idle_ns - idle) < end)
		end = idle >= a->idle_ns ? 0 : a->idle_ns - idle;
	return end;
}

/* The book of who holds what, on paper. */
struct book {
	struct paper *papers;
	uint32_t n;
	struct book_pool {
		uint64_t reserved;
		uint64_t at_ns; /* until then what was given back in it is spoken for */
	} * pools;
};

static bool lacks(const struct admission *a, const struct book *book,
		  const struct admission_entry *e, uint32_t pool)
{
	uint64_t capacity = a->pools[pool].capacity, reserved = book->pools[pool].reserved;

	return e->bytes && (reserved > capacity || e->bytes > capacity - reserved);
}

/* Will there be room when all has ended whose end is known? */
static bool is_foreseeable(const struct admission *a, const struct book *book,
			   const struct admission_entry *e)
{
	if (e->barred)
		return false;
	for (uint32_t i = 0; e->bytes && i < e->n_pools; i++) {
		uint64_t capacity = a->pools[e->pools[i]].capacity, stays = 0;

		for (uint32_t k = 0; k < book->n; k++)
			if (book->papers[k].end_ns == ADMISSION_UNKNOWN &&
			    is_in(book->papers[k].e, e->pools[i]))
				stays += book->papers[k].e->bytes;
		if (stays > capacity || e->bytes > capacity - stays)
			return false;
	}
	return true;
}

static void book_add(struct book *book, const struct admission_entry *e, uint64_t end_ns)
{
	for (uint32_t i = 0; i < e->n_pools; i++)
		book->pools[e->pools[i]].reserved += e->bytes;
	book->papers[book->n++] = (struct paper){ .e = e, .end_ns = end_ns };
}

/* The next known end in a pool where the entry lacks room. Return: false if it lacks none. */
static bool book_end_one(const struct admission *a, struct book *book,
			 const struct admission_entry *want)
{
	uint32_t best = book->n;
	struct paper paper;

	for (uint32_t k = 0; k < book->n; k++) {
		bool helps = false;

		for (uint32_t i = 0; i < want->n_pools && !helps; i++)
			helps = lacks(a, book, want, want->pools[i]) &&
				is_in(book->papers[k].e, want->pools[i]);
		if (helps && book->papers[k].end_ns != ADMISSION_UNKNOWN &&
		    (best == book->n || book->papers[k].end_ns < book->papers[best].end_ns))
			best = k;
	}
	if (best == book->n)
		return false;
	paper = book->papers[best];
	for (uint32_t i = 0; i < want->n_pools; i++) {
		struct book_pool *pool = &book->pools[want->pools[i]];

		if (lacks(a, book, want, want->pools[i]) && is_in(paper.e, want->pools[i]) &&
		    paper.end_ns > pool->at_ns)
			pool->at_ns = paper.end_ns;
	}
	for (uint32_t i = 0; i < paper.e->n_pools; i++)
		book->pools[paper.e->pools[i]].reserved -= paper.e->bytes;
	book->papers[best] = book->papers[--book->n];
	return true;
}

static uint32_t count(const struct list_node *head)
{
	const struct list_node *at;
	uint32_t n = 0;

	for (at = head->next; at != head; at = at->next)
		n++;
	return n;
}

void admission_predict(struct admission *a, uint64_t now_ns)
{
	uint32_t room = count(&a->admitted) + count(&a->waiting);
	uint64_t length = residual(a, 0);
	struct admission_entry *e;
	struct book book = { 0 };

	book.papers = calloc(room + 1, sizeof(*book.papers));
	book.pools = calloc(a->n_pools, sizeof(*book.pools));
	list_for_each(e, &a->waiting, node)
		e->predicted_ns = ADMISSION_UNKNOWN;
	if (!book.papers || !book.pools)
		goto out;
	list_for_each(e, &a->admitted, node)
		if (e->state == ADMISSION_ADMITTED && e->bytes)
			book_add(&book, e, end_of(a, e, now_ns));
	list_for_each(e, &a->waiting, node) {
		uint64_t at_ns = 0;

		if (!is_foreseeable(a, &book, e))
			continue;
		while (book_end_one(a, &book, e))
			;
		for (uint32_t i = 0; i < e->n_pools; i++)
			if (book.pools[e->pools[i]].at_ns > at_ns)
				at_ns = book.pools[e->pools[i]].at_ns;
		e->predicted_ns = at_ns;
		book_add(&book, e,
			 length == ADMISSION_UNKNOWN ? ADMISSION_UNKNOWN : at_ns + length);
	}
out:
	free(book.papers);
	free(book.pools);
}
