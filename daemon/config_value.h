/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The types of settings: text into a field of struct config and back.
 *
 * What a field holds: TEXT a char * of its own, CHOICE an int, all others a uint64_t.
 */
#ifndef VRAM_DAEMON_CONFIG_VALUE_H
#define VRAM_DAEMON_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_VALUE_MAX 4096

enum config_type {
	CONFIG_TEXT, /* at most `max` bytes, if that is not 0; and what `check` takes */
	CONFIG_CHOICE,
	CONFIG_COUNT,
	CONFIG_SIZE,
	CONFIG_SIZE_AUTO,  /* "auto" is 0 */
	CONFIG_SHARE,	   /* a size, or a percentage of the RAM */
	CONFIG_SHARE_AUTO, /* the same; "auto" is 0 */
	CONFIG_RATE,	   /* bytes a second; "none" and 0 are 0 */
	CONFIG_DURATION,   /* ns */
};

struct config_choice {
	const char *name; /* NULL ends the list */
	int value;
};

struct config_option {
	const char *section;
	const char *key;
	enum config_type type;
	size_t offset;	   /* in struct config */
	const char *value; /* the default, as text */
	uint64_t min, max; /* of numbers; auto and none lie outside */
	bool power_of_two;
	const struct config_choice *choices;
	int (*check)(const char *text, char *what, size_t what_size); /* 0 or -errno and why */
	const char *show; /* what --help says instead of the default */
	const char *help;
};

/*
 * Return: 0 and the field is set; -EINVAL, -ERANGE or -ENOMEM with the reason in `what`, and the
 * field is as before.
 */
int config_value_parse(const struct config_option *option, const char *text, uint64_t ram_bytes,
		       void *field, char *what, size_t what_size);

/* A text that config_value_parse() turns into the same value. Return: buf. */
const char *config_value_format(const struct config_option *option, const void *field,
				char buf[CONFIG_VALUE_MAX]);

#endif
