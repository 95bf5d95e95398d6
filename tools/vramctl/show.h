/* SPDX-License-Identifier: GPL-2.0-only */
/* Answers of the daemon as tables. What an answer does not have is shown as '-'. */
#ifndef VRAM_TOOLS_VRAMCTL_SHOW_H
#define VRAM_TOOLS_VRAMCTL_SHOW_H

#include <jansson.h>

void show_status(const json_t *answer);
void show_devices(const json_t *answer);
void show_clients(const json_t *answer);
void show_models(const json_t *answer);
void show_pressure(const json_t *answer);
void show_evicted(const json_t *answer);
/* control.c; nothing where nobody waits. */
void show_queue(const json_t *answer);

struct table;
void cell_seconds(struct table *table, double seconds);
/* "user:ann" for "user:1000". */
void cell_subject(struct table *table, const json_t *object);

/* Adds "user", the name, to every object that has a "uid" or a subject "user:UID". */
void show_add_users(json_t *answer);

#endif
