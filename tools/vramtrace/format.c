// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtrace/format.h"

#include <errno.h>
#include <string.h>

/* No record is as large. */
#define RECORD_MAX 65536u

struct line {
	const char *at;
	const char *end;
};

static bool next_line(const char **at, const char *end, struct line *out)
{
	const char *stop;

	if (*at >= end)
		return false;
	stop = memchr(*at, '\n', (size_t)(end - *at));
	if (!stop)
		stop = end;
	*out = (struct line){ .at = *at, .end = stop };
	*at = stop < end ? stop + 1 : end;
	while (out->at < out->end && (*out->at == '\t' || *out->at == ' '))
		out->at++;
	return true;
}

static bool take(struct line *line, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(line->end - line->at) < len || memcmp(line->at, word, len) != 0)
		return false;
	line->at += len;
	return true;
}

static bool take_number(struct line *line, uint32_t max, uint32_t *out)
{
	uint64_t n = 0;

	if (line->at >= line->end || *line->at < '0' || *line->at > '9')
		return false;
	while (line->at < line->end && *line->at >= '0' && *line->at <= '9') {
		n = n * 10 + (uint64_t)(*line->at++ - '0');
		if (n > max)
			return false;
	}
	*out = (uint32_t)n;
	return true;
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

static bool put_name(char to[FORMAT_NAME_MAX], const char *begin, const char *end)
{
	size_t len = (size_t)(end - begin);

	if (begin >= end || len >= FORMAT_NAME_MAX)
		return false;
	for (const char *c = begin; c < end; c++)
		if (!is_name(*c))
			return false;
	memcpy(to, begin, len);
	to[len] = '\0';
	return true;
}

/* "unsigned short common_type;" or "char comm[16];": the last word, without brackets. */
static bool take_declaration(struct line *line, char name[FORMAT_NAME_MAX])
{
	const char *stop = memchr(line->at, ';', (size_t)(line->end - line->at));
	const char *begin, *end;

	if (!stop)
		return false;
	end = memchr(line->at, '[', (size_t)(stop - line->at));
	if (!end)
		end = stop;
	for (begin = end; begin > line->at && is_name(begin[-1]); begin--)
		;
	/* A type stands before it. */
	if (begin == line->at || !put_name(name, begin, end))
		return false;
	line->at = stop + 1;
	return true;
}

static bool take_field(struct line *line, struct format_field *out)
{
	uint32_t is_signed;

	if (!take_declaration(line, out->name) || !take(line, "\toffset:") ||
	    !take_number(line, RECORD_MAX, &out->offset) || !take(line, ";\tsize:") ||
	    !take_number(line, RECORD_MAX, &out->size) || !take(line, ";\tsigned:") ||
	    !take_number(line, 1, &is_signed) || !take(line, ";"))
		return false;
	out->is_signed = is_signed;
	return line->at == line->end;
}

static int refuse(const char **out_reason, const char *reason)
{
	*out_reason = reason;
	return -EBADMSG;
}

int format_parse(const char *text, size_t len, struct format *out, const char **out_reason)
{
	const char *at = text, *end = text + len;
	struct format_field *field;
	struct line line;
	bool has_id = false;

	*out = (struct format){ 0 };
	while (next_line(&at, end, &line)) {
		if (take(&line, "name: ")) {
			if (*out->name || !put_name(out->name, line.at, line.end))
				return refuse(out_reason, "the name is none");
		} else if (take(&line, "ID: ")) {
			if (has_id || !take_number(&line, UINT32_MAX, &out->id) ||
			    line.at != line.end)
				return refuse(out_reason, "the ID is no number");
			has_id = true;
		} else if (take(&line, "print fmt:")) {
			/* What follows is for people. */
			break;
		} else if (take(&line, "field:")) {
			if (out->n_fields == FORMAT_FIELDS_MAX)
				return refuse(out_reason, "too many fields");
			field = &out->fields[out->n_fields];
			if (!take_field(&line, field))
				return refuse(out_reason, "a field that is not understood");
			if (format_find(out, field->name))
				return refuse(out_reason, "a field that is there twice");
			out->n_fields++;
		}
	}
	if (!*out->name || !has_id || !out->n_fields)
		return refuse(out_reason, "no name, ID or fields");
	return 0;
}

const struct format_field *format_find(const struct format *format, const char *name)
{
	for (size_t i = 0; i < format->n_fields; i++)
		if (!strcmp(format->fields[i].name, name))
			return &format->fields[i];
	return NULL;
}
