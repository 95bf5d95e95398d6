// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramctl/devices.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/card.h"
#include "common/card_use.h"
#include "common/cleanup.h"
#include "common/drm.h"
#include "common/err.h"
#include "common/nvml.h"
#include "common/pci.h"
#include "tools/shared/cells.h"
#include "tools/shared/table.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

const struct devices_source devices_here = {
	.root = "",
	.find = drm_find_cards,
	.query = drm_query_vram,
	.nvml = nvml_open,
};

/* What was found, before it becomes JSON. */
struct found {
	struct cards cards;
	struct card_uses uses;
	struct nvml *nvml;
	int nvml_error;
	bool nvidia; /* the driver is loaded */
};

/* ---- looking ---- */

static void nvml_cards(struct found *found)
{
	struct nvml_device device;
	struct card *card;
	unsigned int i;

	for (i = 0; i < nvml_count(found->nvml); i++) {
		if (nvml_device(found->nvml, i, &device) < 0)
			continue;
		card = cards_by_pci(&found->cards, device.pci);
		if (!card)
			continue;
		card->nvml_index = (int)i;
		snprintf(card->uuid, sizeof(card->uuid), "%s", device.uuid);
		if (device.name[0])
			snprintf(card->name, sizeof(card->name), "%s", device.name);
		if (device.has_memory) {
			card->has_total = card->has_used = true;
			card->total_bytes = device.total_bytes;
			card->used_bytes = device.used_bytes;
		}
	}
}

static int nvml_uses(const char *root, struct found *found)
{
	const struct card *card;
	size_t i, k, n;
	int r = 0;

	for (i = 0; i < found->cards.n && r == 0; i++) {
		_cleanup_free_ struct nvml_process *list = NULL;

		card = &found->cards.card[i];
		if (card->nvml_index < 0 ||
		    nvml_processes(found->nvml, (unsigned int)card->nvml_index, &list, &n) < 0)
			continue;
		for (k = 0; k < n && r == 0; k++)
			r = card_uses_note(root, &found->uses, i, list[k].pid, list[k].known,
					   list[k].bytes);
	}
	return err_trace(r);
}

static int look(const struct devices_source *source, struct found *found)
{
	char path[PATH_MAX];
	size_t i;
	int r;

	/* What cannot be found this way may be found in another. */
	(void)source->find(&found->cards);
	cards_find_rest(source->root, &found->cards);
	cards_find_nvidia(source->root, &found->cards);
	for (i = 0; i < found->cards.n; i++) {
		card_describe(source->root, &found->cards.card[i]);
		source->query(&found->cards.card[i]);
	}
	/* Not before the driver is there: the library would try to load it. */
	snprintf(path, sizeof(path), "%s/proc/driver/nvidia/version", source->root);
	found->nvidia = access(path, F_OK) == 0;
	if (found->nvidia)
		found->nvml_error = source->nvml(&found->nvml);
	if (found->nvml)
		nvml_cards(found);
	if (found->cards.n == 0)
		return 0;
	r = card_uses_read(source->root, &found->cards, &found->uses);
	if (r == -ENOMEM)
		return err_trace(r);
	return found->nvml ? err_trace(nvml_uses(source->root, found)) : 0;
}

/* ---- as JSON ---- */

/* Names of programs are any bytes; JSON takes UTF-8 only. */
static json_t *text_new(const char *text)
{
	json_t *json = json_string(text);
	char *copy, *p;

	if (json)
		return json;
	copy = strdup(text);
	if (!copy)
		return NULL;
	for (p = copy; *p; p++) {
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	}
	json = json_string(copy);
	free(copy);
	return json;
}

static json_t *text_or_null(const char *text)
{
	return *text ? text_new(text) : json_null();
}

static json_t *bytes_or_null(bool known, uint64_t bytes)
{
	return known ? json_integer(bytes <= INT64_MAX ? (json_int_t)bytes : INT64_MAX) :
		       json_null();
}

static json_t *nodes_new(const struct card *card)
{
	const char *const nodes[] = { card->primary, card->render, card->nvidia };
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < N(nodes); i++) {
		if (*nodes[i])
			json_array_append_new(list, json_string(nodes[i]));
	}
	return list;
}

/* The name of vramd's device that is this card; NULL if there is none. */
static const char *managed_as(const json_t *answer, const struct card *card)
{
	char address[PCI_ADDRESS_MAX];
	const json_t *device;
	const char *pci;
	size_t i;

	json_array_foreach(json_object_get(answer, "devices"), i, device) {
		pci = json_string_value(json_object_get(device, "pci"));
		if (pci && *pci && pci_address_parse(pci, address) == 0 &&
		    !strcmp(address, card->pci))
			return json_string_value(json_object_get(device, "name"));
	}
	return NULL;
}

static bool in_care(const json_t *clients, json_int_t daemon_pid, pid_t pid)
{
	const json_t *client;
	size_t i;

	if (pid == daemon_pid)
		return true;
	json_array_foreach(json_object_get(clients, "clients"), i, client) {
		if (json_integer_value(json_object_get(client, "pid")) == pid)
			return true;
	}
	return false;
}

static json_t *process_new(const struct card_use *use, bool care)
{
	json_t *process =
		json_pack("{s:i, s:o, s:b, s:o, s:o, s:o, s:i, s:b}", "pid", (int)use->pid, "comm",
			  text_or_null(use->comm), "vramd", (int)care, "vram_bytes",
			  bytes_or_null(use->known, use->vram_bytes), "other_bytes",
			  bytes_or_null(use->known_other, use->other_bytes), "shared_bytes",
			  bytes_or_null(use->known_other, use->shared_bytes), "files",
			  (int)use->clients, "truncated", (int)use->truncated);

	if (process && use->uid != (uid_t)-1)
		json_object_set_new(process, "uid", json_integer(use->uid));
	return process;
}

static json_t *card_new(const struct card *card)
{
	return json_pack("{s:o, s:s, s:o, s:o, s:o, s:i, s:i, s:o, s:b, s:o, s:o, s:o, s:o}", "pci",
			 text_or_null(card->pci), "bus", card->bus, "driver",
			 text_or_null(card->driver), "vendor", text_or_null(card->vendor), "name",
			 text_or_null(card->name), "vendor_id", (int)card->vendor_id, "device_id",
			 (int)card->device_id, "nodes", nodes_new(card), "asleep",
			 (int)card->asleep, "vram_bytes",
			 bytes_or_null(card->has_total, card->total_bytes), "vram_used_bytes",
			 bytes_or_null(card->has_used, card->used_bytes), "uuid",
			 text_or_null(card->uuid), "nvml_index",
			 card->nvml_index < 0 ? json_null() : json_integer(card->nvml_index));
}

static json_t *nvml_new(const struct found *found)
{
	if (!found->nvidia)
		return json_null();
	if (found->nvml)
		return json_pack("{s:o}", "driver_version",
				 text_or_null(nvml_driver_version(found->nvml)));
	return json_pack("{s:s}", "error", err_name(found->nvml_error));
}

static int found_put(json_t *answer, const struct found *found, const json_t *clients,
		     json_int_t daemon_pid)
{
	json_t *gpus = json_array(), *gpu, *processes;
	const struct card_use *use;
	const char *managed;
	size_t i, k;
	int r = 0;

	for (i = 0; i < found->cards.n; i++) {
		gpu = card_new(&found->cards.card[i]);
		processes = json_array();
		managed = managed_as(answer, &found->cards.card[i]);
		for (k = 0; k < found->uses.n; k++) {
			use = &found->uses.use[k];
			if (use->card == i)
				r |= json_array_append_new(
					processes,
					process_new(use, in_care(clients, daemon_pid, use->pid)));
		}
		r |= json_object_set_new(gpu, "device", managed ? text_new(managed) : json_null());
		r |= json_object_set_new(gpu, "processes", processes);
		r |= json_array_append_new(gpus, gpu);
	}
	r |= json_object_set_new(answer, "gpus", gpus);
	r |= json_object_set_new(answer, "hidden_processes",
				 json_integer((json_int_t)found->uses.n_hidden));
	r |= json_object_set_new(answer, "nvml", nvml_new(found));
	return r ? err_origin(-ENOMEM) : 0;
}

int devices_add(json_t *answer, const struct devices_source *source, const json_t *clients,
		json_int_t daemon_pid)
{
	_cleanup_free_ struct found *found = calloc(1, sizeof(*found));
	int r;

	if (!found)
		return err_origin(-ENOMEM);
	r = look(source, found);
	if (r == 0)
		r = found_put(answer, found, clients, daemon_pid);
	card_uses_deinit(&found->uses);
	nvml_close(found->nvml);
	return err_trace(r);
}

/* ---- as tables ---- */

/* What people call a card: "Navi 31 [Radeon RX 7900 XTX]" has it in brackets. Without a name: its number. */
static void cell_name(struct table *table, const json_t *gpu, const char *key)
{
	const char *text = text_of(gpu, key), *open = strchr(text, '['), *end;

	end = open ? strchr(open, ']') : NULL;
	if (!strcmp(key, "name") && !strcmp(text, "-") && number_of(gpu, "vendor_id") > 0)
		table_cell(table, "%04x:%04x", (unsigned int)number_of(gpu, "vendor_id"),
			   (unsigned int)number_of(gpu, "device_id"));
	else if (end && !end[1])
		table_cell(table, "%.*s", (int)(end - open - 1), open + 1);
	else
		table_cell(table, "%s", text);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The address; of what has none, its first node. */
static void cell_gpu(struct table *table, const json_t *gpu)
{
	const char *node = json_string_value(json_array_get(json_object_get(gpu, "nodes"), 0));

	table_cell(table, "%s",
		   json_is_string(json_object_get(gpu, "pci")) ? text_of(gpu, "pci") :
		   node					       ? base_name(node) :
								 "-");
}

static void cell_nodes(struct table *table, const json_t *gpu)
{
	const json_t *node;
	char text[128] = "";
	size_t i, len = 0;

	json_array_foreach(json_object_get(gpu, "nodes"), i, node) {
		if (len < sizeof(text))
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
						i ? "," : "", base_name(json_string_value(node)));
	}
	table_cell(table, "%s", *text ? text : "-");
}

static void show_gpus(const json_t *gpus)
{
	static const struct table_column columns[] = {
		{ "GPU", false },    { "DRIVER", false }, { "NODES", false },
		{ "VENDOR", false }, { "NAME", false },	  { "VRAM", true },
		{ "USED", true },    { "USE", true },	  { "DEVICE", false },
	};
	struct table table;
	const json_t *gpu;
	size_t i;

	table_init(&table, columns, N(columns));
	json_array_foreach(gpus, i, gpu) {
		cell_gpu(&table, gpu);
		table_cell(&table, "%s", text_of(gpu, "driver"));
		cell_nodes(&table, gpu);
		cell_name(&table, gpu, "vendor");
		cell_name(&table, gpu, "name");
		cell_size(&table, gpu, "vram_bytes");
		cell_size(&table, gpu, "vram_used_bytes");
		if (json_is_integer(json_object_get(gpu, "vram_used_bytes")))
			cell_percent(&table, gpu, "vram_used_bytes", "vram_bytes");
		else
			table_cell(&table, "-");
		table_cell(&table, "%s", text_of(gpu, "device"));
	}
	table_print(&table, stdout);
	table_deinit(&table);
}

static void process_row(struct table *table, const json_t *gpu, const json_t *process)
{
	cell_gpu(table, gpu);
	cell_number(table, process, "pid");
	table_cell(table, "%s", text_of(process, "user"));
	table_cell(table, "%s", text_of(process, "comm"));
	cell_size(table, process, "vram_bytes");
	cell_size(table, process, "other_bytes");
	cell_size(table, process, "shared_bytes");
	table_cell(table, "%s",
		   json_is_true(json_object_get(process, "vramd")) ? "vramd" : "outside");
}

static size_t show_processes(const json_t *gpus)
{
	static const struct table_column columns[] = {
		{ "GPU", false }, { "PID", true },   { "USER", false },	 { "COMMAND", false },
		{ "VRAM", true }, { "OTHER", true }, { "SHARED", true }, { "CARE", false },
	};
	const json_t *gpu, *process;
	struct table table;
	size_t i, k, n = 0;

	table_init(&table, columns, N(columns));
	json_array_foreach(gpus, i, gpu) {
		json_array_foreach(json_object_get(gpu, "processes"), k, process) {
			process_row(&table, gpu, process);
			n++;
		}
	}
	if (n > 0) {
		putchar('\n');
		table_print(&table, stdout);
	}
	table_deinit(&table);
	return n;
}

void devices_show(const json_t *answer)
{
	const json_t *gpus = json_object_get(answer, "gpus");
	const char *error =
		json_string_value(json_object_get(json_object_get(answer, "nvml"), "error"));
	uint64_t hidden = number_of(answer, "hidden_processes");

	if (json_array_size(gpus) == 0)
		return;
	show_gpus(gpus);
	show_processes(gpus);
	if (error || hidden > 0)
		putchar('\n');
	if (error)
		printf("NVIDIA's management library (libnvidia-ml.so.1) cannot be used: %s\n",
		       error);
	if (hidden > 0)
		printf("%" PRIu64
		       " process%s of other users could not be looked into; root sees all\n",
		       hidden, hidden == 1 ? "" : "es");
}
