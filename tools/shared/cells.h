/* SPDX-License-Identifier: GPL-2.0-only */
/* Values of an answer, and the cells of a table that show them. What is not there is shown as '-'. */
#ifndef VRAM_TOOLS_SHARED_CELLS_H
#define VRAM_TOOLS_SHARED_CELLS_H

#include <jansson.h>
#include <stdint.h>

struct table;

/* "-" for what is empty or no text. */
const char *text_of(const json_t *object, const char *key);
/* 0 for what is no number. */
uint64_t number_of(const json_t *object, const char *key);

void cell_size(struct table *table, const json_t *object, const char *key);
void cell_number(struct table *table, const json_t *object, const char *key);
/* "43%" of the whole, to see at a glance what is in. */
void cell_percent(struct table *table, const json_t *object, const char *key, const char *whole);

#endif
