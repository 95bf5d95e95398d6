// SPDX-License-Identifier: GPL-2.0-only
/* The table of commands, and how they ask and show. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/shared/ask.h"
#include "tools/vramctl/command.h"
#include "tools/vramctl/show.h"

#define SUBJECTS                                                                                              \
	"SUBJECT is user:NAME or user:UID (all sessions of the user together), group:NAME or group:GID\n"     \
	"(each user who is in it), cgroup:/PATH (with what is below it), exe:/PATH (a program), session:ID\n" \
	"(as in 'vramctl clients') or default (users without a limit of their own or their groups').\n"

const struct command commands[] = {
	{ .name = "status",
	  .help = "the daemon, its devices and what was paged",
	  .request = "status",
	  .show = show_status },
	{ .name = "devices",
	  .run = run_devices,
	  .help = "vramd's devices, and every GPU and who uses it",
	  .detail =
		  "GPUs and their processes are looked up by vramctl itself, also without a vramd. root sees the\n"
		  "processes of all users.\n" },
	{ .name = "clients",
	  .help = "the programs that use a device",
	  .request = "clients",
	  .show = show_clients },
	{ .name = "models",
	  .help = "the models and buffers, and what of them is resident",
	  .request = "models",
	  .show = show_models },
	{ .name = "limit list",
	  .run = run_limit_list,
	  .help = "every rule about limits, and where it comes from",
	  .detail =
		  "Rules come from the files in limits.d (vramd.limits(5)) and from 'limit set'.\n" },
	{ .name = "limit reset",
	  .args = "SUBJECT [TIER.KEY]...",
	  .min_args = 1,
	  .max_args = 65,
	  .run = run_limit_reset,
	  .complete = complete_limit_reset,
	  .help = "take back what was set at run time",
	  .detail =
		  "Without TIER.KEY everything that was set for SUBJECT. Files in limits.d stay as they are, but\n"
		  "for what --save had kept, with --save.\n" },
	{ .name = "limit show",
	  .args = "[SUBJECT]",
	  .max_args = 1,
	  .run = run_limit_show,
	  .complete = complete_subject,
	  .help = "limits, use, and which rule gave each value",
	  .detail = SUBJECTS },
	{ .name = "limit set",
	  .args = "SUBJECT TIER.KEY=VALUE...",
	  .min_args = 2,
	  .max_args = 65,
	  .run = run_limit_set,
	  .complete = complete_limit_set,
	  .help = "set limits, until the daemon ends or for good",
	  .detail = SUBJECTS
	  "TIER is vram, host or disk.\n"
	  "KEY is min (never taken away), low (taken away only when nothing else is left), high\n"
	  "(throttled and taken away above it), max (hard) or weight (1 to 10000, 100 is usual).\n"
	  "VALUE is a size like 4G, a percentage of what the device has, max for no limit, or default\n"
	  "to take the setting back.\n" },
	{ .name = "pressure",
	  .args = "[SUBJECT]",
	  .max_args = 1,
	  .run = run_pressure,
	  .complete = complete_pressure,
	  .help = "how much of the time clients wait for memory",
	  .detail =
		  "SUBJECT is device, user:NAME, user:UID, cgroup:/PATH, exe:/PATH or session:ID; it is shown as\n"
		  "/proc/pressure/memory is. Without one, all are shown as a table.\n" },
	{ .name = "metrics",
	  .run = run_metrics,
	  .help = "print the daemon's numbers for Prometheus",
	  .detail =
		  "What every user may see of them can be had over HTTP too: daemon.metrics_listen in\n"
		  "vramd.conf(5).\n" },
	{ .name = "evict",
	  .args = "MODEL|--all",
	  .max_args = 1,
	  .run = run_evict,
	  .complete = complete_model,
	  .help = "take models out of the device; they come back when used",
	  .detail =
		  "MODEL is a name as in 'vramctl models'. What is in use at the moment stays.\n" },
	{ .name = "queue",
	  .run = run_queue,
	  .help = "who waits to be admitted, and for how long still",
	  .detail =
		  "Sessions that have asked for a working set for which there is no room yet, the next one first.\n"
		  "LEFT is foreseen from how long sessions have kept their room so far; '?' when nothing is known.\n" },
	{ .name = "drain",
	  .args = "TARGET",
	  .min_args = 1,
	  .max_args = 1,
	  .run = run_drain,
	  .complete = complete_target,
	  .help = "move what a user, a session or the device has out of the device",
	  .detail =
		  "TARGET is the device's name or device:0, or user:NAME, session:ID, cgroup:/PATH, exe:/PATH. Its loads\n"
		  "wait meanwhile. What others use as well stays, and what is pinned. Users may drain their own.\n" },
	{ .name = "pause",
	  .args = "SESSION",
	  .min_args = 1,
	  .max_args = 1,
	  .run = run_pause,
	  .complete = complete_session,
	  .help = "let a session load nothing, and its memory go" },
	{ .name = "resume",
	  .args = "TARGET",
	  .min_args = 1,
	  .max_args = 1,
	  .run = run_resume,
	  .complete = complete_target,
	  .help = "let a paused session, or what was drained with --hold, go on" },
	{ .name = "prefetch",
	  .args = "MODEL|PATH",
	  .min_args = 1,
	  .max_args = 1,
	  .run = run_prefetch,
	  .complete = complete_model_or_path,
	  .help = "load a model ahead, as far as there is room",
	  .detail =
		  "MODEL is a name as in 'vramctl models', or model:ID where several have that name. PATH has a slash:\n"
		  "a model that vramd need not know yet; it stays for policy.keep when it was loaded.\n" },
	{ .name = "pin",
	  .args = "MODEL|PATH",
	  .min_args = 1,
	  .max_args = 1,
	  .run = run_pin,
	  .complete = complete_model_or_path,
	  .help = "load a model and keep it in the device, used or not" },
	{ .name = "unpin",
	  .args = "MODEL|PATH",
	  .min_args = 1,
	  .max_args = 1,
	  .run = run_unpin,
	  .complete = complete_model_or_path,
	  .help = "let a pinned model go again" },
	{ .name = "kill",
	  .args = "SESSION",
	  .min_args = 1,
	  .max_args = 1,
	  .run = run_kill,
	  .complete = complete_session,
	  .help = "send a signal to the process of a session" },
	{ .name = "jobs",
	  .args = "[JOB]",
	  .max_args = 1,
	  .run = run_jobs,
	  .complete = complete_job,
	  .help = "what vramd is doing for administrators, or has done" },
	{ .name = "reload",
	  .run = run_reload,
	  .help = "let vramd read its configuration and limits again",
	  .detail =
		  "A mistake in one of the files refuses all of them: what was in force stays in force.\n" },
	{ .name = "version", .run = run_version, .help = "the versions of vramctl and vramd" },
	{ .name = NULL },
};

void complete_names(const struct options *options, const char *request, const char *list,
		    const char *key, const char *prefix)
{
	json_t *question = json_pack("{s:s}", "command", request), *answer = NULL, *value, *name;
	size_t i;

	if (question && ask(options->socket, question, true, &answer) == 0) {
		json_array_foreach(json_object_get(answer, list), i, value) {
			name = json_object_get(value, key);
			if (json_is_string(name))
				printf("%s%s\n", prefix, json_string_value(name));
			else if (json_is_integer(name))
				printf("%s%" JSON_INTEGER_FORMAT "\n", prefix,
				       json_integer_value(name));
		}
	}
	json_decref(question);
	json_decref(answer);
}

/* Asks, and prints the answer as JSON or by `show`. The request is taken. */
int ask_and_show(const struct options *options, json_t *request, void (*show)(const json_t *))
{
	json_t *answer = NULL;
	int r;

	if (!request) {
		fputs("vramctl: out of memory\n", stderr);
		return EXIT_FAILURE;
	}
	r = ask(options->socket, request, false, &answer);
	json_decref(request);
	if (r < 0)
		return EXIT_FAILURE;
	show_answer(options, answer, show);
	return EXIT_SUCCESS;
}

void show_answer(const struct options *options, json_t *answer, void (*show)(const json_t *))
{
	show_add_users(answer);
	if (options->json) {
		json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
		putchar('\n');
	} else if (show) {
		show(answer);
	}
	json_decref(answer);
}

/* Asks for what `devices` says besides. Return: NULL if the daemon does not say. */
json_t *ask_quietly(const struct options *options, const char *command)
{
	json_t *request = json_pack("{s:s}", "command", command), *answer = NULL;

	(void)ask(options->socket, request, true, &answer);
	json_decref(request);
	return answer;
}
