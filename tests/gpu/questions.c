// SPDX-License-Identifier: GPL-2.0-only
/*
 * questions [OPTION...] [QUESTION...]: ask a card what nobody has measured yet.
 *
 * The design rests on assumptions about NVIDIA's driver that its documentation leaves open. Each
 * question here is put to the driver itself, and the answers are printed as a table beside
 * what was assumed; -j prints one JSON object a line instead. The program needs the driver's library and
 * nothing else of ours or theirs, and leaves the card's settings alone.
 *
 *	-j		JSON
 *	-m MIB		never take more of the card's memory at once (2048)
 *	-t SECONDS	for each question (90)
 *	-d ORDINAL	of the card (0)
 *	-l FILE		the driver's library (libcuda.so.1)
 *	-q		quick: see that every question is answered, measure nothing well
 *	-w		the card is ours alone: fill it where that makes an answer certain
 *	-L		list the questions
 *
 * Exit status: 0 if every question was answered, whatever the answers; 1 if one failed; 2 for wrong
 * arguments; 77 without a driver or a card.
 *
 * links: tests/gpu/question.c tests/gpu/card.c tests/gpu/kernels.c tests/gpu/listed.c
 * links: tests/gpu/host_memory.c tests/gpu/ask_device.c tests/gpu/ask_overlap.c tests/gpu/ask_costs.c
 * links: tests/gpu/ask_signal.c tests/gpu/ask_pinned.c tests/gpu/ask_trust.c
 * links: tests/gpu/ask_accounting.c tests/gpu/ask_kill.c tests/gpu/ask_mapping.c
 * links: tests/gpu/ask_pointers.c common/cuda_driver.c common/nvml.c common/pci.c
 * links: common/err.c
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cuda_driver.h"
#include "tests/gpu/question.h"
#include "tests/support/skip.h"

static const struct question *const questions[] = {
	&question_device, &question_overlap,  &question_costs,	    &question_signal,
	&question_pinned, &question_readonly, &question_accounting, &question_kill,
	&question_zero,	  &question_mapping,  &question_pointers,
};
#define N_QUESTIONS (sizeof(questions) / sizeof(*questions))

struct printer {
	bool json;
	const struct question *question;
	unsigned int n, n_failed, n_missing, n_wrong;
};

static const char *const view_names[] = { "", "holds", "WRONG" };
static const char *const kind_names[] = { "text", "number", "missing", "failed" };

static void print_string(const char *text)
{
	putchar('"');
	for (; *text; text++)
		if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else if ((unsigned char)*text < ' ')
			printf("\\u%04x", *text);
		else
			putchar(*text);
	putchar('"');
}

static void print_json(struct printer *p, const struct answer *a)
{
	printf("{\"question\": \"%s\", \"kind\": \"%s\", \"what\": ", p->question->name,
	       kind_names[a->kind]);
	print_string(a->what);
	if (a->kind == ANSWER_NUMBER) {
		printf(", \"value\": %.6g, \"unit\": ", a->number);
		print_string(a->unit);
	} else {
		printf(", \"text\": ");
		print_string(a->text);
	}
	if (a->view != VIEW_NONE) {
		printf(", \"assumed\": ");
		print_string(a->assumed);
		printf(", \"holds\": %s", a->view == VIEW_HOLDS ? "true" : "false");
	}
	puts("}");
}

static void print_row(struct printer *p, const struct answer *a)
{
	char text[sizeof(a->text) + 32];

	if (p->n == 1)
		printf("\n## %s: %s\n\n| what | answer | assumed | |\n|---|---|---|---|\n",
		       p->question->name, p->question->asks);
	if (a->kind == ANSWER_NUMBER)
		snprintf(text, sizeof(text), "%.4g%s%s", a->number, *a->unit ? " " : "", a->unit);
	else
		snprintf(text, sizeof(text), "%s%s",
			 a->kind == ANSWER_FAILED  ? "FAILED: " :
			 a->kind == ANSWER_MISSING ? "not asked: " :
						     "",
			 a->text);
	printf("| %s | %s | %s | %s |\n", *a->what ? a->what : p->question->name, text, a->assumed,
	       view_names[a->view]);
}

static void print(void *arg, const struct answer *answer)
{
	struct printer *p = arg;

	p->n++;
	p->n_failed += answer->kind == ANSWER_FAILED;
	p->n_missing += answer->kind == ANSWER_MISSING;
	p->n_wrong += answer->view == VIEW_WRONG;
	if (p->json)
		print_json(p, answer);
	else
		print_row(p, answer);
	fflush(stdout);
}

/* The driver must not be loaded in this process: a child looks whether there is one. */
static bool has_card(const struct ask *ask)
{
	int status = 1;
	pid_t child = fork();

	if (child == 0) {
		char reason[CUDA_DRIVER_REASON_SIZE];
		struct cuda_driver driver;
		int r = cuda_driver_open(&driver, ask->driver, reason, sizeof(reason));

		if (r < 0)
			skip(reason);
		fflush(stdout);
		_exit(r < 0);
	}
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static bool is_wanted(const struct question *question, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (strcmp(*names, question->name) == 0)
			return true;
	return false;
}

static bool is_known(const char *name)
{
	for (size_t i = 0; i < N_QUESTIONS; i++)
		if (strcmp(name, questions[i]->name) == 0)
			return true;
	return false;
}

static int usage(const char *why)
{
	fprintf(stderr,
		"questions: %s\nquestions [-jqwL] [-m MIB] [-t SECONDS] [-d ORDINAL] "
		"[-l FILE] [QUESTION...]\n",
		why);
	return 2;
}

static int list(void)
{
	for (size_t i = 0; i < N_QUESTIONS; i++)
		printf("%-12s %s\n", questions[i]->name, questions[i]->asks);
	return 0;
}

static int ask_all(struct ask *ask, bool json, char **names)
{
	struct printer total = { 0 };

	for (size_t i = 0; i < N_QUESTIONS; i++) {
		struct printer p = { .json = json, .question = questions[i] };

		if (!is_wanted(questions[i], names))
			continue;
		question_ask(ask, questions[i], print, &p);
		if (!p.n) {
			struct answer none = { .kind = ANSWER_FAILED, .text = "no answer" };

			print(&p, &none);
		}
		total.n += p.n;
		total.n_failed += p.n_failed;
		total.n_missing += p.n_missing;
		total.n_wrong += p.n_wrong;
	}
	fprintf(json ? stderr : stdout,
		"\n%u answers, %u not as assumed, %u not asked, %u failed\n", total.n,
		total.n_wrong, total.n_missing, total.n_failed);
	return total.n_failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct ask ask = { .role = "", .bytes = 2048ull * MIB, .seconds = 90 };
	bool json = false;
	int option;

	while ((option = getopt(argc, argv, "jqwLm:t:d:l:")) != -1)
		switch (option) {
		case 'j':
			json = true;
			break;
		case 'q':
			ask.quick = true;
			break;
		case 'w':
			ask.whole = true;
			break;
		case 'L':
			return list();
		case 'm':
			ask.bytes = strtoull(optarg, NULL, 10) * MIB;
			break;
		case 't':
			ask.seconds = strtod(optarg, NULL);
			break;
		case 'd':
			ask.ordinal = atoi(optarg);
			break;
		case 'l':
			ask.driver = optarg;
			break;
		default:
			return usage("no such option");
		}
	if (ask.bytes < 64 * MIB || ask.seconds < 1)
		return usage("at least 64 MiB and a second");
	for (char **name = argv + optind; *name; name++)
		if (!is_known(*name))
			return usage("no such question; -L lists them");
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!has_card(&ask))
		return SKIP_STATUS;
	return ask_all(&ask, json, argv + optind);
}
