/* SPDX-License-Identifier: GPL-2.0-only */
/* A table from two numbers to a pointer that is the caller's. Out of memory ends the program. */
#ifndef VRAM_TOOLS_VRAMTRACE_MAP_H
#define VRAM_TOOLS_VRAMTRACE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_entry {
	uint64_t a, b;
	void *value; /* NULL: empty */
};

struct map {
	struct map_entry *entries;
	size_t size; /* a power of two, or 0 */
	size_t n;
};

/* Return: NULL if there is none. */
void *map_get(const struct map *map, uint64_t a, uint64_t b);
/* value is not NULL. Return: what was there before, or NULL. */
void *map_put(struct map *map, uint64_t a, uint64_t b, void *value);
/* Return: what was there, or NULL. */
void *map_remove(struct map *map, uint64_t a, uint64_t b);
/* Frees the table, and with free_value every value. The map is empty then. */
void map_clear(struct map *map, void (*free_value)(void *value));

/* for (size_t i = 0; (entry = map_next(map, &i));) walks all of it, which may not change meanwhile. */
struct map_entry *map_next(const struct map *map, size_t *at);

#endif
