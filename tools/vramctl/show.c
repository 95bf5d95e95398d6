// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramctl/show.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/size.h"
#include "tools/shared/cells.h"
#include "tools/shared/table.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define NS_PER_S 1e9

void cell_seconds(struct table *table, double seconds)
{
	table_cell(table, seconds > 0 && seconds < 0.1 ? "%.4fs" : "%.1fs", seconds);
}

void show_add_users(json_t *answer)
{
	const char *subject, *key;
	const struct passwd *user;
	json_t *value, *uid;
	char *end;
	size_t i;
	uid_t id;

	json_array_foreach(answer, i, value)
		show_add_users(value);
	if (!json_is_object(answer))
		return;
	json_object_foreach(answer, key, value)
		show_add_users(value);
	uid = json_object_get(answer, "uid");
	subject = json_string_value(json_object_get(answer, "subject"));
	if (json_is_integer(uid)) {
		id = (uid_t)json_integer_value(uid);
	} else if (subject && !strncmp(subject, "user:", 5)) {
		id = (uid_t)strtoul(subject + 5, &end, 10);
		if (*end)
			return;
	} else {
		return;
	}
	user = getpwuid(id);
	if (user)
		json_object_set_new(answer, "user", json_string(user->pw_name));
	else
		json_object_set_new(answer, "user", json_sprintf("%u", id));
}

/* ---- tables ---- */

static const struct {
	const char *tier, *size, *used;
} tiers[] = {
	{ "vram", "budget_bytes", "resident_bytes" },
	{ "host", "host_budget_bytes", "host_used_bytes" },
	{ "disk", "swap_size_bytes", "swap_used_bytes" },
};

/* A row for each tier that is there. `more`: what `devices` shows besides. */
static void device_rows(struct table *table, const json_t *answer, bool more)
{
	const json_t *device;
	size_t i, t;

	json_array_foreach(json_object_get(answer, "devices"), i, device) {
		for (t = 0; t < N(tiers); t++) {
			if (t > 0 && number_of(device, tiers[t].size) == 0)
				continue;
			table_cell(table, "%s", text_of(device, "name"));
			table_cell(table, "%s", text_of(device, "backend"));
			table_cell(table, "%s", tiers[t].tier);
			cell_size(table, device, tiers[t].size);
			cell_size(table, device, tiers[t].used);
			cell_percent(table, device, tiers[t].used, tiers[t].size);
			if (t == 0)
				cell_size(table, device, "peak_bytes");
			else
				table_cell(table, "-");
			if (!more)
				continue;
			if (t == 0)
				cell_size(table, device, "inflight_bytes");
			else
				table_cell(table, "-");
			table_cell(table, "%s",
				   t > 0					       ? "-" :
				   json_is_true(json_object_get(device, "huge_pages")) ? "huge" :
											 "4K");
		}
	}
}

void show_status(const json_t *answer)
{
	static const struct table_column columns[] = {
		{ "DEVICE", false }, { "BACKEND", false }, { "TIER", false }, { "SIZE", true },
		{ "USED", true },    { "USE", true },	   { "PEAK", true },
	};
	char in[SIZE_TEXT_MAX], out[SIZE_TEXT_MAX], evicted[SIZE_TEXT_MAX];
	const json_t *held;
	struct table table;
	char text[400];
	size_t i;

	printf("vramd %s, pid %" PRIu64 ", %s; ledger: %s; sessions: %" PRIu64 "\n",
	       text_of(answer, "version"), number_of(answer, "pid"),
	       json_is_true(json_object_get(answer, "private")) ? "private" : "of the system",
	       text_of(answer, "ledger"), number_of(answer, "sessions"));
	printf("arbiter: %s\n", text_of(json_object_get(answer, "arbiter"), "name"));
	printf("paged in %s, paged out %s, evicted %s; %" PRIu64 " faults waited %.1fs\n\n",
	       size_format(in, number_of(answer, "paged_in_bytes")),
	       size_format(out, number_of(answer, "paged_out_bytes")),
	       size_format(evicted, number_of(answer, "evicted_bytes")),
	       number_of(answer, "faults"), (double)number_of(answer, "stall_ns") / NS_PER_S);
	table_init(&table, columns, N(columns));
	device_rows(&table, answer, false);
	table_print(&table, stdout);
	table_deinit(&table);
	json_array_foreach(json_object_get(answer, "held"), i, held) {
		snprintf(text, sizeof(text),
			 "%s was drained by %s, and is held until 'vramctl resume %s'",
			 text_of(held, "target"), text_of(held, "user"), text_of(held, "target"));
		printf("\n%s\n", table_clean(text));
	}
	if (json_array_size(json_object_get(answer, "queue")) || number_of(answer, "queue_others"))
		putchar('\n');
	show_queue(answer);
}

void show_devices(const json_t *answer)
{
	static const struct table_column columns[] = {
		{ "DEVICE", false }, { "BACKEND", false }, { "TIER", false },
		{ "SIZE", true },    { "USED", true },	   { "USE", true },
		{ "PEAK", true },    { "INFLIGHT", true }, { "PAGES", false },
	};
	struct table table;

	table_init(&table, columns, N(columns));
	device_rows(&table, answer, true);
	table_print(&table, stdout);
	table_deinit(&table);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

/* What the peer may not see in detail. */
static void show_others(const json_t *answer, const char *what)
{
	const json_t *others = json_object_get(answer, "others");
	char resident[SIZE_TEXT_MAX];
	uint64_t n = number_of(others, what);

	if (n == 0)
		return;
	printf("and %" PRIu64 " %.*s of other users, %s resident\n", n,
	       (int)strlen(what) - (n == 1), what,
	       size_format(resident, number_of(others, "resident_bytes")));
}

/* How much of what it used was there. */
static void cell_hits(struct table *table, const json_t *client)
{
	uint64_t acquires = number_of(client, "acquires"), faults = number_of(client, "faults");

	if (acquires == 0 || acquires < faults)
		table_cell(table, "-");
	else
		table_cell(table, "%.0f%%", 100.0 * (double)(acquires - faults) / (double)acquires);
}

void show_clients(const json_t *answer)
{
	static const struct table_column columns[] = {
		{ "ID", true },	    { "PID", true },	{ "USER", false },    { "NAME", false },
		{ "STATE", false }, { "TOTAL", true },	{ "RESIDENT", true }, { "CHARGED", true },
		{ "HITS", true },   { "WAITED", true },
	};
	const json_t *client;
	const char *name;
	struct table table;
	size_t i;

	table_init(&table, columns, N(columns));
	json_array_foreach(json_object_get(answer, "clients"), i, client) {
		name = text_of(client, "name");
		if (!strcmp(name, "-"))
			name = text_of(client, "exe");
		if (!strcmp(name, "-"))
			name = text_of(client, "comm");
		cell_number(&table, client, "id");
		cell_number(&table, client, "pid");
		table_cell(&table, "%s", text_of(client, "user"));
		table_cell(&table, "%s", base_name(name));
		table_cell(&table, "%s", text_of(client, "state"));
		cell_size(&table, client, "total_bytes");
		cell_size(&table, client, "resident_bytes");
		cell_size(&table, client, "charged_bytes");
		cell_hits(&table, client);
		cell_seconds(&table, (double)number_of(client, "stall_ns") / NS_PER_S);
	}
	table_print(&table, stdout);
	table_deinit(&table);
	show_others(answer, "clients");
}

/* What of a model is in a tier; "-" where there is no such tier. */
static void cell_tier(struct table *table, const json_t *model, const char *tier)
{
	cell_size(table, json_object_get(json_object_get(model, "tiers"), tier), "resident_bytes");
}

void show_models(const json_t *answer)
{
	static const struct table_column columns[] = {
		{ "ID", true },	      { "NAME", false },  { "KIND", false },   { "SIZE", true },
		{ "RESIDENT", true }, { "IN", true },	  { "HOST", true },    { "DISK", true },
		{ "CLIENTS", true },  { "LOADED", true }, { "PINNED", false },
	};
	const json_t *model;
	struct table table;
	size_t i;

	table_init(&table, columns, N(columns));
	json_array_foreach(json_object_get(answer, "models"), i, model) {
		cell_number(&table, model, "id");
		table_cell(&table, "%s", text_of(model, "name"));
		table_cell(&table, "%s", text_of(model, "kind"));
		cell_size(&table, model, "size_bytes");
		cell_size(&table, model, "resident_bytes");
		cell_percent(&table, model, "resident_bytes", "size_bytes");
		cell_tier(&table, model, "host");
		cell_tier(&table, model, "disk");
		cell_number(&table, model, "clients");
		cell_size(&table, model, "loaded_bytes");
		table_cell(&table, "%s",
			   json_is_true(json_object_get(model, "pinned")) ? "yes" : "-");
	}
	table_print(&table, stdout);
	table_deinit(&table);
	show_others(answer, "models");
}

/* "user:ann" for "user:1000". */
void cell_subject(struct table *table, const json_t *object)
{
	const char *user = json_string_value(json_object_get(object, "user"));

	if (user)
		table_cell(table, "user:%s", user);
	else
		table_cell(table, "%s", text_of(object, "subject"));
}

void show_evicted(const json_t *answer)
{
	char text[SIZE_TEXT_MAX];

	printf("%s evicted\n", size_format(text, number_of(answer, "evicted_bytes")));
}
