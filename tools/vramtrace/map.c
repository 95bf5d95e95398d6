// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtrace/map.h"

#include <stdio.h>
#include <stdlib.h>

#define SIZE_MIN 64

static size_t hash(uint64_t a, uint64_t b)
{
	uint64_t h = a * 0x9e3779b97f4a7c15ull ^ (b + 0x632be59bd9b4e019ull);

	h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93ull;
	return (size_t)(h ^ (h >> 32));
}

static struct map_entry *find(const struct map *map, uint64_t a, uint64_t b)
{
	size_t i = hash(a, b) & (map->size - 1);

	while (map->entries[i].value && (map->entries[i].a != a || map->entries[i].b != b))
		i = (i + 1) & (map->size - 1);
	return &map->entries[i];
}

static void grow(struct map *map)
{
	struct map bigger = { .size = map->size ? map->size * 2 : SIZE_MIN, .n = map->n };

	bigger.entries = calloc(bigger.size, sizeof(*bigger.entries));
	if (!bigger.entries) {
		fputs("vramtrace: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	for (size_t i = 0; i < map->size; i++)
		if (map->entries[i].value)
			*find(&bigger, map->entries[i].a, map->entries[i].b) = map->entries[i];
	free(map->entries);
	*map = bigger;
}

void *map_get(const struct map *map, uint64_t a, uint64_t b)
{
	return map->size ? find(map, a, b)->value : NULL;
}

void *map_put(struct map *map, uint64_t a, uint64_t b, void *value)
{
	struct map_entry *entry;
	void *before;

	if (map->n * 4 >= map->size * 3)
		grow(map);
	entry = find(map, a, b);
	before = entry->value;
	if (!before)
		map->n++;
	*entry = (struct map_entry){ .a = a, .b = b, .value = value };
	return before;
}

void *map_remove(struct map *map, uint64_t a, uint64_t b)
{
	struct map_entry *entry = map->size ? find(map, a, b) : NULL;
	size_t hole, i;
	void *value;

	if (!entry || !entry->value)
		return NULL;
	value = entry->value;
	entry->value = NULL;
	map->n--;
	/* Whoever was put behind it for want of its place moves up. */
	hole = (size_t)(entry - map->entries);
	for (i = (hole + 1) & (map->size - 1); map->entries[i].value;
	     i = (i + 1) & (map->size - 1)) {
		size_t home = hash(map->entries[i].a, map->entries[i].b) & (map->size - 1);

		if (((i - home) & (map->size - 1)) < ((i - hole) & (map->size - 1)))
			continue;
		map->entries[hole] = map->entries[i];
		map->entries[i].value = NULL;
		hole = i;
	}
	return value;
}

void map_clear(struct map *map, void (*free_value)(void *value))
{
	for (size_t i = 0; i < map->size; i++)
		if (free_value && map->entries[i].value)
			free_value(map->entries[i].value);
	free(map->entries);
	*map = (struct map){ 0 };
}

struct map_entry *map_next(const struct map *map, size_t *at)
{
	while (*at < map->size) {
		struct map_entry *entry = &map->entries[(*at)++];

		if (entry->value)
			return entry;
	}
	return NULL;
}
