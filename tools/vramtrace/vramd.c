// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtrace/vramd.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/shared/ask.h"

bool vramd_module_loaded(void)
{
	return access("/sys/module/vram", F_OK) == 0;
}

static int ask_for(const char *socket, const char *command, bool quiet, json_t **out)
{
	json_t *request = json_pack("{s:s}", "command", command);
	int r = request ? ask(socket, request, quiet, out) : -ENOMEM;

	json_decref(request);
	return r;
}

static bool read_comm(pid_t pid, char *buf, size_t size)
{
	char path[64];
	bool found;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	found = fgets(buf, (int)size, f);
	fclose(f);
	if (found)
		buf[strcspn(buf, "\n")] = '\0';
	return found;
}

int vramd_find(const char *socket, struct vramd *out)
{
	json_t *status = NULL;
	const char *ledger;
	char comm[32];
	int r;

	*out = (struct vramd){ 0 };
	r = ask_for(socket, "status", true, &status);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	out->pid = (pid_t)json_integer_value(json_object_get(status, "pid"));
	ledger = json_string_value(json_object_get(status, "ledger"));
	out->uses_module = ledger && !strcmp(ledger, "module");
	out->answers = true;
	json_decref(status);
	if (out->pid > 0 && read_comm(out->pid, comm, sizeof(comm)))
		return 0;
	fprintf(stderr,
		"vramtrace: vramd says that it is process %d, which is not seen here: it runs in "
		"another container.\nGive its number here with --vramd PID.\n",
		(int)out->pid);
	return -ESRCH;
}

/* Whose ledger it uses shows in what it has open. */
static int has_module_open(pid_t pid)
{
	char path[64], target[64];
	struct dirent *entry;
	bool found = false;
	ssize_t n;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (!found && (entry = readdir(dir))) {
		n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		found = !strcmp(target, "/dev/vram");
	}
	closedir(dir);
	return found;
}

int vramd_take(const char *socket, pid_t pid, struct vramd *out)
{
	int r = has_module_open(pid);
	struct vramd other;

	if (r < 0) {
		fprintf(stderr, "vramtrace: process %d: %s\n", (int)pid,
			r == -ENOENT ? "there is none" :
			r == -EACCES ? "it cannot be looked at: this needs root, try sudo" :
				       strerror(-r));
		return r;
	}
	*out = (struct vramd){ .pid = pid, .uses_module = r == 1 };
	/* Names can be asked for if it is the one behind the socket. */
	if (vramd_find(socket, &other) == 0 && other.pid == pid)
		out->answers = true;
	return 0;
}

void vramd_others(pid_t than, char *buf, size_t size)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	size_t len = 0;
	char comm[32];
	pid_t pid;

	*buf = '\0';
	while (dir && (entry = readdir(dir))) {
		if (!isdigit((unsigned char)*entry->d_name))
			continue;
		pid = (pid_t)atoi(entry->d_name);
		if (pid == than || !read_comm(pid, comm, sizeof(comm)) || strcmp(comm, "vramd"))
			continue;
		if (len + 16 < size)
			len += (size_t)snprintf(buf + len, size - len, "%s%d", len ? ", " : "",
						(int)pid);
	}
	if (dir)
		closedir(dir);
}

static uint64_t number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void text(const json_t *object, const char *key, char *buf, size_t size)
{
	const char *value = json_string_value(json_object_get(object, key));

	snprintf(buf, size, "%s", value ? value : "");
}

int vramd_names(const char *socket, struct names *names)
{
	json_t *answer = NULL, *entry;
	size_t i;
	int r = ask_for(socket, "trace_names", false, &answer);

	if (r < 0)
		return r;
	json_array_foreach(json_object_get(answer, "sessions"), i, entry) {
		struct names_session session = {
			.session = number(entry, "session"),
			.pid = (pid_t)number(entry, "pid"),
			.uid = (uid_t)number(entry, "uid"),
			.has_uid = true,
		};

		text(entry, "comm", session.comm, sizeof(session.comm));
		names_put_session(names, &session);
	}
	json_array_foreach(json_object_get(answer, "shares"), i, entry) {
		struct names_share share = {
			.share = (uint32_t)number(entry, "share"),
			.size_bytes = number(entry, "size_bytes"),
			.chunk_bytes = (uint32_t)number(entry, "chunk_bytes"),
		};
		char kind[16];

		text(entry, "name", share.name, sizeof(share.name));
		text(entry, "kind", kind, sizeof(kind));
		share.is_buffer = !strcmp(kind, "buffer");
		names_put_share(names, &share);
	}
	json_array_foreach(json_object_get(answer, "layers"), i, entry)
		names_put_layers(names, number(entry, "session"), (uint32_t)number(entry, "share"),
				 (uint32_t)number(entry, "first_slot"),
				 (uint32_t)number(entry, "n_layers"));
	json_decref(answer);
	return 0;
}
