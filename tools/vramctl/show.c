// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramctl/show.h"

#include <inttypes.h>
#include <pwd.h>
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

static void device_rows(struct table *table, const json_t *answer)
{
	const json_t *device;
	size_t i;

	json_array_foreach(json_object_get(answer, "devices"), i, device) {
		table_cell(table, "%s", text_of(device, "name"));
		table_cell(table, "%s", text_of(device, "backend"));
		cell_size(table, device, "budget_bytes");
		cell_size(table, device, "resident_bytes");
		cell_percent(table, device, "resident_bytes", "budget_bytes");
		cell_size(table, device, "peak_bytes");
	}
}

void show_status(const json_t *answer)
{
	static const struct table_column columns[] = {
		{ "DEVICE", false },  { "BACKEND", false }, { "BUDGET", true },
		{ "RESIDENT", true }, { "USE", true },	    { "PEAK", true },
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
	device_rows(&table, answer);
	table_print(&table, stdout);
	table_deinit(&table);
	json_array_foreach(json_object_get(answer, "held"), i, held) {
		snprintf(text, sizeof(text), "%s was drained by %s, and is held",
			 text_of(held, "target"), text_of(held, "user"));
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
	static const struct {
		const char *tier, *size, *used;
	} tiers[] = {
		{ "host", "host_budget_bytes", "host_used_bytes" },
		{ "disk", "swap_size_bytes", "swap_used_bytes" },
	};
	const json_t *device;
	struct table table;
	size_t i, t;

	table_init(&table, columns, N(columns));
	json_array_foreach(json_object_get(answer, "devices"), i, device) {
		table_cell(&table, "%s", text_of(device, "name"));
		table_cell(&table, "%s", text_of(device, "backend"));
		table_cell(&table, "vram");
		cell_size(&table, device, "budget_bytes");
		cell_size(&table, device, "resident_bytes");
		cell_percent(&table, device, "resident_bytes", "budget_bytes");
		cell_size(&table, device, "peak_bytes");
		cell_size(&table, device, "inflight_bytes");
		table_cell(&table,
			   json_is_true(json_object_get(device, "huge_pages")) ? "huge" : "4K");
		for (t = 0; t < N(tiers); t++) {
			if (number_of(device, tiers[t].size) == 0)
				continue;
			table_cell(&table, "%s", text_of(device, "name"));
			table_cell(&table, "%s", text_of(device, "backend"));
			table_cell(&table, "%s", tiers[t].tier);
			cell_size(&table, device, tiers[t].size);
			cell_size(&table, device, tiers[t].used);
			cell_percent(&table, device, tiers[t].used, tiers[t].size);
			table_cell(&table, "-");
			table_cell(&table, "-");
			table_cell(&table, "-");
		}
	}
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

void show_clients(const json_t *answer)
{
	static const struct table_column columns[] = {
		{ "ID", true },	    { "PID", true },	 { "USER", false },    { "COMMAND", false },
		{ "NAME", false },  { "TOTAL", true },	 { "RESIDENT", true }, { "CHARGED", true },
		{ "LOADED", true }, { "EVICTED", true }, { "FAULTS", true },   { "WAITED", true },
	};
	const char *command;
	const json_t *client;
	struct table table;
	size_t i;

	table_init(&table, columns, N(columns));
	json_array_foreach(json_object_get(answer, "clients"), i, client) {
		cell_number(&table, client, "id");
		cell_number(&table, client, "pid");
		table_cell(&table, "%s", text_of(client, "user"));
		command = text_of(client, "exe");
		table_cell(&table, "%s",
			   strcmp(command, "-") != 0 ? base_name(command) :
						       text_of(client, "comm"));
		table_cell(&table, "%s", text_of(client, "name"));
		cell_size(&table, client, "total_bytes");
		cell_size(&table, client, "resident_bytes");
		cell_size(&table, client, "charged_bytes");
		cell_size(&table, client, "loaded_bytes");
		cell_size(&table, client, "evicted_bytes");
		cell_number(&table, client, "faults");
		cell_seconds(&table, (double)number_of(client, "stall_ns") / NS_PER_S);
	}
	table_print(&table, stdout);
	table_deinit(&table);
	show_others(answer, "clients");
}

void show_models(const json_t *answer)
{
	static const struct table_column columns[] = {
		{ "NAME", false },   { "KIND", false }, { "SIZE", true },    { "RESIDENT", true },
		{ "IN", true },	     { "CHUNK", true }, { "CLIENTS", true }, { "LOADED", true },
		{ "EVICTED", true }, { "ID", true },	{ "PINNED", false },
	};
	const json_t *model;
	struct table table;
	size_t i;

	table_init(&table, columns, N(columns));
	json_array_foreach(json_object_get(answer, "models"), i, model) {
		table_cell(&table, "%s", text_of(model, "name"));
		table_cell(&table, "%s", text_of(model, "kind"));
		cell_size(&table, model, "size_bytes");
		cell_size(&table, model, "resident_bytes");
		cell_percent(&table, model, "resident_bytes", "size_bytes");
		cell_size(&table, model, "chunk_bytes");
		cell_number(&table, model, "clients");
		cell_size(&table, model, "loaded_bytes");
		cell_size(&table, model, "evicted_bytes");
		cell_number(&table, model, "id");
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
