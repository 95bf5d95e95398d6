// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/cudashim/tally.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* Open addressing with linear probing; a removal moves back what follows, so no graves are needed. */
struct entry {
	uint64_t key; /* 0: empty */
	uint64_t bytes;
};

struct table {
	struct entry *entries;
	size_t size; /* a power of two, or 0 */
	size_t n;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct table tables[TALLY_KINDS];
static _Atomic uint64_t total;

static size_t place(const struct table *t, uint64_t key)
{
	return (size_t)((key * 0x9e3779b97f4a7c15u) >> 20) & (t->size - 1);
}

static void insert(struct table *t, struct entry e)
{
	size_t i = place(t, e.key);

	while (t->entries[i].key)
		i = (i + 1) & (t->size - 1);
	t->entries[i] = e;
	t->n++;
}

static bool grow(struct table *t)
{
	struct table more = { .size = t->size ? 2 * t->size : 256 };

	more.entries = calloc(more.size, sizeof(*more.entries));
	if (!more.entries)
		return false;
	for (size_t i = 0; i < t->size; i++)
		if (t->entries[i].key)
			insert(&more, t->entries[i]);
	free(t->entries);
	*t = more;
	return true;
}

static void remove_at(struct table *t, size_t hole)
{
	size_t mask = t->size - 1;

	for (size_t i = (hole + 1) & mask; t->entries[i].key; i = (i + 1) & mask) {
		/* Whatever would not be found any more with a hole before it moves into the hole. */
		if (((i - place(t, t->entries[i].key)) & mask) < ((i - hole) & mask))
			continue;
		t->entries[hole] = t->entries[i];
		hole = i;
	}
	t->entries[hole].key = 0;
	t->n--;
}

static void drop(struct table *t, uint64_t key)
{
	size_t i;

	if (!key || !t->n)
		return;
	for (i = place(t, key); t->entries[i].key && t->entries[i].key != key;)
		i = (i + 1) & (t->size - 1);
	if (!t->entries[i].key)
		return;
	atomic_fetch_sub(&total, t->entries[i].bytes);
	remove_at(t, i);
}

void tally_add(enum tally_kind kind, uint64_t key, uint64_t bytes)
{
	struct table *t = &tables[kind];

	if (!key)
		return;
	pthread_mutex_lock(&lock);
	/* The driver gives an address anew whose end we have not seen: it went with its context. */
	drop(t, key);
	if (t->n < t->size / 2 || grow(t)) {
		insert(t, (struct entry){ .key = key, .bytes = bytes });
		atomic_fetch_add(&total, bytes);
	}
	pthread_mutex_unlock(&lock);
}

void tally_remove(enum tally_kind kind, uint64_t key)
{
	pthread_mutex_lock(&lock);
	drop(&tables[kind], key);
	pthread_mutex_unlock(&lock);
}

uint64_t tally_bytes(void)
{
	return atomic_load(&total);
}
