// SPDX-License-Identifier: GPL-2.0-only
/*
 * What takes vramd longer than an answer: a job is begun, and waited for with --wait.
 *
 * A model may also be named by a path. vramctl opens it as a client then, and asks for its parts by their numbers. When it is done
 * and gone vramd keeps them for policy.keep, or for as long as they are pinned.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/duration.h"
#include "common/size.h"
#include "libclient/vram.h"
#include "tools/shared/ask.h"
#include "tools/shared/cells.h"
#include "tools/shared/table.h"
#include "tools/vramctl/command.h"
#include "tools/vramctl/progress.h"
#include "tools/vramctl/show.h"

#define N(array)  (sizeof(array) / sizeof((array)[0]))
#define LOOK_NS	  100000000
#define PARTS_MAX 256

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void print_json(const json_t *answer)
{
	json_dumpf(answer, stdout, JSON_INDENT(2));
	putchar('\n');
}

/* Asks; the request is taken. Return: the answer, or NULL after saying why there is none. */
static json_t *ask_for(const struct options *options, json_t *request)
{
	json_t *answer = NULL;

	if (!request)
		fputs("vramctl: out of memory\n", stderr);
	else
		(void)ask(options->socket, request, false, &answer);
	json_decref(request);
	return answer;
}

/* ---- waiting ---- */

/* Return: whether --timeout makes sense. *out_deadline: UINT64_MAX without one. */
static bool find_deadline(const struct options *options, uint64_t *out_deadline)
{
	uint64_t timeout;

	*out_deadline = UINT64_MAX;
	if (!options->timeout)
		return true;
	if (duration_parse(options->timeout, &timeout) < 0) {
		cli_usage(&vramctl_cli, "--timeout: '%s' is not a time, like 30s, 5m or 1h",
			  options->timeout);
		return false;
	}
	*out_deadline = now_ns() + timeout;
	return true;
}

static void say_end(const json_t *job)
{
	const char *error = json_string_value(json_object_get(job, "error"));
	const char *note = json_string_value(json_object_get(job, "note"));
	char done[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX], text[512];
	bool part = number_of(job, "done_bytes") < number_of(job, "total_bytes");

	if (error) {
		snprintf(text, sizeof(text), "%s of %s failed after %s of %s: %s",
			 text_of(job, "kind"), text_of(job, "target"),
			 size_format(done, number_of(job, "done_bytes")),
			 size_format(total, number_of(job, "total_bytes")), error);
		fprintf(stderr, "vramctl: %s\n", table_clean(text));
		return;
	}
	size_format(total, number_of(job, "total_bytes"));
	snprintf(text, sizeof(text), "%s of %s: %s%s%s%s%s%s", text_of(job, "kind"),
		 text_of(job, "target"), size_format(done, number_of(job, "done_bytes")),
		 part ? " of " : "", part ? total : "", note ? " (" : "", note ? note : "",
		 note ? ")" : "");
	printf("%s\n", table_clean(text));
}

/*
 * Until it has ended. Return: an exit status. last: its state is printed with --json.
 */
static int job_wait(const struct options *options, uint64_t id, uint64_t deadline, bool last)
{
	char what[200] = "", state[16] = "";
	int status = EXIT_SUCCESS;
	struct progress progress;
	json_t *job = NULL;
	bool begun = false;

	for (;;) {
		json_decref(job);
		job = ask_for(options,
			      json_pack("{s:s, s:I}", "command", "job", "id", (json_int_t)id));
		if (!job) {
			status = EXIT_FAILURE;
			break;
		}
		snprintf(state, sizeof(state), "%s", text_of(job, "state"));
		if (!begun) {
			snprintf(what, sizeof(what), "%s %s", text_of(job, "kind"),
				 text_of(job, "target"));
			progress_begin(&progress, what, options->json);
			begun = true;
		}
		if (strcmp(state, "running") != 0)
			break;
		progress_show(&progress, number_of(job, "done_bytes"),
			      number_of(job, "total_bytes"));
		if (now_ns() >= deadline) {
			status = EXIT_TIMEOUT;
			break;
		}
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
	}
	if (begun)
		progress_end(&progress);
	if (status == EXIT_SUCCESS && strcmp(state, "done") != 0)
		status = EXIT_FAILURE;
	if (job && options->json && last) {
		show_add_users(job);
		print_json(job);
	} else if (job && status == EXIT_TIMEOUT) {
		fprintf(stderr,
			"vramctl: %s is not done yet and goes on: 'vramctl jobs %" PRIu64
			" --wait' waits for it\n",
			table_clean(what), id);
	} else if (job && !options->json) {
		say_end(job);
	}
	json_decref(job);
	return status;
}

int run_job(const struct options *options, json_t *request)
{
	uint64_t deadline, id;
	json_t *answer;

	if (!find_deadline(options, &deadline)) {
		json_decref(request);
		return EXIT_USAGE;
	}
	answer = ask_for(options, request);
	if (!answer)
		return EXIT_FAILURE;
	id = number_of(answer, "job");
	if (options->wait || options->timeout) {
		json_decref(answer);
		return job_wait(options, id, deadline, true);
	}
	if (options->json)
		print_json(answer);
	else
		printf("job %" PRIu64 " has begun; 'vramctl jobs %" PRIu64
		       " --wait' waits for it\n",
		       id, id);
	json_decref(answer);
	return EXIT_SUCCESS;
}

/* ---- jobs ---- */

static void job_row(struct table *table, const json_t *job)
{
	const char *error = json_string_value(json_object_get(job, "error"));
	const char *note = json_string_value(json_object_get(job, "note"));

	cell_number(table, job, "id");
	table_cell(table, "%s", text_of(job, "kind"));
	table_cell(table, "%s", text_of(job, "target"));
	table_cell(table, "%s", text_of(job, "user"));
	table_cell(table, "%s", text_of(job, "state"));
	cell_size(table, job, "done_bytes");
	cell_size(table, job, "total_bytes");
	table_cell(table, "%s", error ? error : note ? note : "-");
}

static void show_jobs(const json_t *answer)
{
	static const struct table_column columns[] = {
		{ "JOB", true },    { "KIND", false }, { "TARGET", false }, { "USER", false },
		{ "STATE", false }, { "DONE", true },  { "OF", true },	    { "NOTE", false },
	};
	const json_t *job, *jobs = json_object_get(answer, "jobs");
	struct table table;
	size_t i;

	table_init(&table, columns, N(columns));
	if (jobs) {
		json_array_foreach(jobs, i, job)
			job_row(&table, job);
	} else {
		job_row(&table, answer);
	}
	table_print(&table, stdout);
	table_deinit(&table);
}

int run_jobs(const struct options *options, int argc, char *const argv[])
{
	uint64_t deadline;
	json_int_t id;

	if (argc == 0 && (options->wait || options->timeout))
		return cli_usage(&vramctl_cli, "jobs: --wait is for one job: say its number");
	if (argc == 0)
		return ask_and_show(options, json_pack("{s:s}", "command", "jobs"), show_jobs);
	if (!*argv[0] || argv[0][strspn(argv[0], "0123456789")] || strlen(argv[0]) > 18)
		return cli_usage(&vramctl_cli, "jobs: '%s' is not the number of a job", argv[0]);
	if (!find_deadline(options, &deadline))
		return EXIT_USAGE;
	id = (json_int_t)strtoull(argv[0], NULL, 10);
	if (options->wait || options->timeout)
		return job_wait(options, (uint64_t)id, deadline, true);
	return ask_and_show(options, json_pack("{s:s, s:I}", "command", "job", "id", id),
			    show_jobs);
}

void complete_job(const struct options *options, int argc, char *const argv[])
{
	(void)argv;
	if (argc == 0)
		complete_names(options, "jobs", "jobs", "id", "");
}

/* ---- models ---- */

/* The device and inode of a file as vramd writes them in `models`. */
static bool file_id(const char *path, char *out, size_t size)
{
	struct stat st;

	if (!strchr(path, '/') || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	snprintf(out, size, "%" PRIx64 ":%" PRIu64, (uint64_t)st.st_dev, (uint64_t)st.st_ino);
	return true;
}

/* The models that vramd has of a file; of `session` alone if that is not 0. */
static size_t find_models(const struct options *options, const char *file, json_int_t session,
			  uint64_t *out_ids, size_t max)
{
	json_t *request = session ?
				  json_pack("{s:s, s:I}", "command", "models", "session", session) :
				  json_pack("{s:s}", "command", "models");
	json_t *answer = ask_for(options, request), *model;
	size_t n = 0, i;

	json_array_foreach(json_object_get(answer, "models"), i, model)
		if (n < max && !strcmp(text_of(model, "kind"), "model") &&
		    (!file || !strcmp(text_of(model, "file"), file)))
			out_ids[n++] = number_of(model, "id");
	json_decref(answer);
	return n;
}

/* Our own session's number, by a name that nobody else has. Return: 0 if it is not found. */
static json_int_t own_session(const struct options *options, const char *name)
{
	json_t *answer = ask_for(options, json_pack("{s:s}", "command", "clients")), *client;
	json_int_t id = 0;
	size_t i;

	json_array_foreach(json_object_get(answer, "clients"), i, client)
		if (!strcmp(text_of(client, "name"), name))
			id = (json_int_t)number_of(client, "id");
	json_decref(answer);
	return id;
}

struct opened {
	struct vram_client *client;
	struct vram_model *model;
};

static void opened_close(struct opened *opened)
{
	vram_model_close(opened->model);
	vram_close(opened->client);
}

/* Opens the file as a client. Return: how many models it is for vramd; 0 after saying why not. */
static size_t open_path(const struct options *options, const char *path, struct opened *opened,
			uint64_t *out_ids)
{
	char name[64];
	size_t n = 0;
	int r;

	snprintf(name, sizeof(name), "vramctl %d %" PRIx64, (int)getpid(), now_ns());
	*opened = (struct opened){ 0 };
	r = vram_connect(options->socket, name, 0, &opened->client);
	if (r == 0)
		r = vram_model_open(opened->client, path, &opened->model);
	if (r < 0) {
		fprintf(stderr, "vramctl: %s cannot be opened: %s\n", path, vram_error_text());
		opened_close(opened);
		return 0;
	}
	n = find_models(options, NULL, own_session(options, name), out_ids, PARTS_MAX);
	if (n == 0) {
		fprintf(stderr, "vramctl: vramd does not say which model %s is\n", path);
		opened_close(opened);
	}
	return n;
}

/* The same for each of a model's files, one after the other. Return: an exit status. */
static int for_each_part(const struct options *options, const char *command, const uint64_t *ids,
			 size_t n, bool wait, uint64_t deadline)
{
	int status = EXIT_SUCCESS;

	for (size_t i = 0; i < n && status == EXIT_SUCCESS; i++) {
		char model[40];
		json_t *answer;

		snprintf(model, sizeof(model), "model:%" PRIu64, ids[i]);
		answer = ask_for(options,
				 json_pack("{s:s, s:s}", "command", command, "model", model));
		if (!answer)
			return EXIT_FAILURE;
		if (number_of(answer, "job") && wait)
			status = job_wait(options, number_of(answer, "job"), deadline, i + 1 == n);
		else if (options->json && i + 1 == n)
			print_json(answer);
		json_decref(answer);
	}
	return status;
}

/* A path that vramd may not know yet. Return: an exit status. */
static int run_path(const struct options *options, const char *command, const char *path,
		    const char *file, uint64_t deadline)
{
	struct opened opened = { 0 };
	uint64_t ids[PARTS_MAX];
	size_t n = find_models(options, file, 0, ids, PARTS_MAX);
	int status;

	if (n == 0 && !strcmp(command, "unpin")) {
		fprintf(stderr, "vramctl: vramd does not have %s\n", path);
		return EXIT_FAILURE;
	}
	if (n == 0)
		n = open_path(options, path, &opened, ids);
	if (n == 0)
		return EXIT_FAILURE;
	/* When we are gone nobody may use it any more: what was asked for must have come by then. */
	status = for_each_part(options, command, ids, n,
			       opened.client || options->wait || options->timeout, deadline);
	opened_close(&opened);
	return status;
}

static int about_model(const struct options *options, const char *command, const char *model)
{
	uint64_t deadline;
	char file[64];

	if (!find_deadline(options, &deadline))
		return EXIT_USAGE;
	if (file_id(model, file, sizeof(file)))
		return run_path(options, command, model, file, deadline);
	if (strchr(model, '/') && access(model, F_OK) < 0 && errno != ENOENT) {
		fprintf(stderr, "vramctl: %s: %m\n", model);
		return EXIT_FAILURE;
	}
	return run_job(options, json_pack("{s:s, s:s}", "command", command, "model", model));
}

int run_pin(const struct options *options, int argc, char *const argv[])
{
	(void)argc;
	return about_model(options, "pin", argv[0]);
}

int run_prefetch(const struct options *options, int argc, char *const argv[])
{
	(void)argc;
	return about_model(options, "prefetch", argv[0]);
}

int run_unpin(const struct options *options, int argc, char *const argv[])
{
	char file[64];

	(void)argc;
	if (file_id(argv[0], file, sizeof(file)))
		return run_path(options, "unpin", argv[0], file, UINT64_MAX);
	return ask_and_show(options, json_pack("{s:s, s:s}", "command", "unpin", "model", argv[0]),
			    NULL);
}
