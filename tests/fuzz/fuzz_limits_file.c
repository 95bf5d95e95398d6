// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any bytes as a file of limits.d. Beside crashes it looks for what would break the promises: a refusal without its
 * place, a rule that is out of range or that is not found, and rules that are others after they were written and read
 * again.
 *
 * links: daemon/limits_file.c daemon/limits_rules.c daemon/limits.c common/size.c common/err.c
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/limits_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

static int parse(struct limits_rules *t, const char *text, size_t len, char *reason)
{
	limits_rules_init(t);
	check(limits_rules_file(t, "x.conf") == 0);
	return limits_file_parse(t, text, len, "x.conf", 0, reason);
}

static bool has_path(const struct limits_rule *rule)
{
	return rule->kind == ARBITER_CGROUP || rule->kind == ARBITER_EXE;
}

static void check_rule(struct limits_rules *t, const struct limits_rule *rule)
{
	const struct limits_setting *set = &rule->set;

	check(set->tier < ARBITER_N_TIERS && set->key < ARBITER_N_KEYS && !set->clear);
	check(set->dev == ARBITER_ALL_DEVICES && rule->line > 0 && rule->file == 0);
	check(rule->kind != ARBITER_SESSION && rule->kind != ARBITER_ROOT);
	check(!set->percent || (set->value <= 10000 && set->key != ARBITER_WEIGHT));
	check(set->key != ARBITER_WEIGHT ||
	      (set->value >= ARBITER_WEIGHT_MIN && set->value <= ARBITER_WEIGHT_MAX));
	if (has_path(rule))
		check(limits_is_path(rule->name));
	if (rule->known)
		check(limits_rules_at(t, rule->kind, rule->id, rule->name, set->tier, set->key));
}

/* What a text sets in the end, whoever is asked. */
static const struct limits_rule *last(const struct limits_rules *t, const struct limits_rule *like)
{
	size_t i;

	for (i = t->n; i-- > 0;) {
		const struct limits_rule *rule = &t->rules[i];

		if (rule->kind == like->kind && !rule->name == !like->name &&
		    (rule->name ? !strcmp(rule->name, like->name) : rule->id == like->id) &&
		    rule->set.tier == like->set.tier && rule->set.key == like->set.key)
			return rule;
	}
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char reason[LIMITS_REASON_MAX] = "";
	struct limits_rules rules, again;
	char *text = NULL;
	size_t len = 0, i;
	FILE *f;

	if (parse(&rules, (const char *)data, size, reason) != 0) {
		check(!strncmp(reason, "x.conf:", 7) && strstr(reason, ": "));
		limits_rules_deinit(&rules);
		return 0;
	}
	for (i = 0; i < rules.n; i++)
		check_rule(&rules, &rules.rules[i]);
	f = open_memstream(&text, &len);
	check(f);
	limits_file_print(&rules, 0, f);
	fclose(f);
	check(parse(&again, text, len, reason) == 0);
	for (i = 0; i < rules.n; i++) {
		const struct limits_rule *a = last(&rules, &rules.rules[i]);
		const struct limits_rule *b = last(&again, &rules.rules[i]);

		check(b && a->set.value == b->set.value && a->set.percent == b->set.percent);
	}
	free(text);
	limits_rules_deinit(&again);
	limits_rules_deinit(&rules);
	return 0;
}
