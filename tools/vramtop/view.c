// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtop/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tools/vramtop/canvas.h"

const char *const view_names[N_VIEWS] = { "sessions", "tenants", "models", "queue" };

void view_choice_init(struct view_choice *choice)
{
	int view;

	memset(choice, 0, sizeof(*choice));
	for (view = 0; view < N_VIEWS; view++)
		choice->sort[view] =
			column_find(view == VIEW_QUEUE ? "place" : "vram", (enum view)view);
}

static bool is_collapsed(const struct view_choice *choice, double uid, size_t *out_at)
{
	size_t i;

	for (i = 0; i < choice->n_collapsed; i++) {
		if (choice->collapsed[i] == uid) {
			*out_at = i;
			return true;
		}
	}
	return false;
}

void view_toggle_collapsed(struct view_choice *choice, double uid)
{
	size_t at;

	if (is_collapsed(choice, uid, &at))
		choice->collapsed[at] = choice->collapsed[--choice->n_collapsed];
	else if (choice->n_collapsed < VIEW_COLLAPSED_MAX)
		choice->collapsed[choice->n_collapsed++] = uid;
}

/* ---- rows ---- */

static bool has(const char *text, const char *filter)
{
	return text && strcasestr(text, filter);
}

static bool has_number(double number, const char *filter)
{
	char text[32];

	snprintf(text, sizeof(text), "%.0f", number);
	return !isnan(number) && !strcmp(text, filter);
}

static bool passes(const struct row *row, const char *filter)
{
	if (!*filter)
		return true;
	switch (row->kind) {
	case ROW_SESSION:
		return has(row->session->name, filter) || has(row->session->comm, filter) ||
		       has(row->session->user, filter) || has(row->session->state, filter) ||
		       has_number(row->session->id, filter) ||
		       has_number(row->session->pid, filter);
	case ROW_USER:
		return true; /* its sessions decide */
	case ROW_TENANT:
		return has(row->tenant->name, filter) || has(row->tenant->subject, filter);
	case ROW_MODEL:
		return has(row->model->name, filter) || has(row->model->kind, filter) ||
		       has(row->model->user, filter);
	case ROW_WAITER:
		return has(row->waiter->name, filter) || has(row->waiter->user, filter) ||
		       has_number(row->waiter->session, filter) ||
		       has_number(row->waiter->pid, filter);
	}
	return false;
}

struct order {
	int column;
	int sign;
};

static int compare_rows(const void *a, const void *b, void *userdata)
{
	const struct order *order = userdata;
	const struct row *one = a, *two = b;
	struct value x = column_value(order->column, one), y = column_value(order->column, two);
	int r = 0;

	if (x.type == VALUE_TEXT && y.type == VALUE_TEXT) {
		r = strcasecmp(x.text, y.text);
	} else if (isnan(x.number) || isnan(y.number)) {
		/* What is not known is last in both directions. */
		if (isnan(x.number) != isnan(y.number))
			return isnan(x.number) ? 1 : -1;
	} else {
		r = (x.number > y.number) - (x.number < y.number);
	}
	if (r != 0)
		return r * order->sign;
	/* Equal ones stay where the daemon had them, so that nothing jumps about: a list is one array. */
	return (one->session > two->session) - (one->session < two->session);
}

static void sort(struct row *rows, size_t n, const struct view_choice *choice)
{
	struct order order = { .column = choice->sort[choice->view] };
	bool ascending = top_columns[order.column].ascending != choice->reverse[choice->view];

	order.sign = ascending ? 1 : -1;
	qsort_r(rows, n, sizeof(*rows), compare_rows, &order);
}

static size_t list_rows(struct row *rows, const struct sample *sample, enum view view)
{
	size_t n = 0, i;

	switch (view) {
	case VIEW_SESSIONS:
		for (i = 0; i < sample->n_sessions; i++)
			rows[n++] = (struct row){ .kind = ROW_SESSION,
						  .session = &sample->sessions[i] };
		break;
	case VIEW_TENANTS:
		for (i = 0; i < sample->n_tenants; i++)
			rows[n++] =
				(struct row){ .kind = ROW_TENANT, .tenant = &sample->tenants[i] };
		break;
	case VIEW_MODELS:
		for (i = 0; i < sample->n_models; i++)
			rows[n++] = (struct row){ .kind = ROW_MODEL, .model = &sample->models[i] };
		break;
	case VIEW_QUEUE:
		for (i = 0; i < sample->n_queue; i++)
			rows[n++] = (struct row){ .kind = ROW_WAITER, .waiter = &sample->queue[i] };
		break;
	case N_VIEWS:
		break;
	}
	return n;
}

static size_t filter_rows(struct row *rows, size_t n, const char *filter)
{
	size_t kept = 0, i;

	for (i = 0; i < n; i++)
		if (passes(&rows[i], filter))
			rows[kept++] = rows[i];
	return kept;
}

/* Puts a row for each user above the sessions. Return: false without memory. */
static bool make_tree(struct view_rows *out, const struct sample *sample,
		      const struct view_choice *choice)
{
	size_t n = 0, n_users = 0, i, j, at, of_user;
	struct row *users = calloc(sample->n_users + 1, sizeof(*users));
	struct row *rows = calloc(out->n + sample->n_users + 1, sizeof(*rows));

	if (!users || !rows) {
		free(users);
		free(rows);
		return false;
	}
	for (i = 0; i < sample->n_users; i++)
		users[n_users++] = (struct row){ .kind = ROW_USER, .user = &sample->users[i] };
	sort(users, n_users, choice);
	for (i = 0; i < n_users; i++) {
		struct row *user = &rows[n];

		*user = users[i];
		user->collapsed = is_collapsed(choice, user->user->uid, &at);
		of_user = 0;
		for (j = 0; j < out->n; j++) {
			if (out->rows[j].session->uid != user->user->uid)
				continue;
			of_user++;
			if (user->collapsed)
				continue;
			rows[n + of_user] = out->rows[j];
			rows[n + of_user].child = true;
		}
		if (of_user == 0)
			continue; /* the filter has taken all of them */
		if (!user->collapsed)
			rows[n + of_user].last = true;
		n += 1 + (user->collapsed ? 0 : of_user);
	}
	free(users);
	free(out->rows);
	out->rows = rows;
	out->n = n;
	return true;
}

bool view_rows_init(struct view_rows *out, const struct sample *sample,
		    const struct view_choice *choice)
{
	size_t most = sample->n_sessions + sample->n_tenants + sample->n_models + sample->n_queue;

	*out = (struct view_rows){ .rows = calloc(most + 1, sizeof(*out->rows)) };
	if (!out->rows)
		return false;
	out->n_all = list_rows(out->rows, sample, choice->view);
	out->n = filter_rows(out->rows, out->n_all, choice->filter);
	sort(out->rows, out->n, choice);
	if (choice->view != VIEW_SESSIONS || !choice->tree || make_tree(out, sample, choice))
		return true;
	view_rows_deinit(out);
	return false;
}

void view_rows_deinit(struct view_rows *rows)
{
	free(rows->rows);
	*rows = (struct view_rows){ 0 };
}

bool view_same(const struct row *a, const struct row *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case ROW_SESSION:
		return a->session->id == b->session->id;
	case ROW_USER:
		return a->user->uid == b->user->uid;
	case ROW_TENANT:
		return !strcmp(a->tenant->subject, b->tenant->subject);
	case ROW_MODEL:
		return !strcmp(a->model->name, b->model->name) && a->model->size == b->model->size;
	case ROW_WAITER:
		return a->waiter->session == b->waiter->session;
	}
	return false;
}

/* ---- columns ---- */

/* Of texts, what the longest takes, within the column's bounds. */
static int wanted_width(int column, const struct view_choice *choice, const struct view_rows *rows)
{
	const struct column *it = &top_columns[column];
	int most = it->width, wide;
	size_t i;

	if (!it->grow)
		return it->width;
	wide = text_width(it->title, false);
	most = wide > most ? wide : most;
	for (i = 0; rows && i < rows->n; i++) {
		struct value value = column_value(column, &rows->rows[i]);

		wide = value.type == VALUE_TEXT ? text_width(value.text, true) : 0;
		/* Of the tree: its lines, and how many there are. */
		if (choice->tree && it->rank[choice->view] == 0)
			wide += rows->rows[i].kind == ROW_USER ? 8 : 3;
		most = wide > most ? wide : most;
	}
	return most < it->grow ? most : it->grow;
}

static int total_width(const struct view_columns *list)
{
	int width = list->n - 1, i;

	for (i = 0; i < list->n; i++)
		width += list->at[i].width;
	return width;
}

/* What is left out next; -1: nothing may be. */
static int least_wanted(const struct view_columns *list, const struct view_choice *choice)
{
	int worst = -1, worst_rank = 0, i;

	for (i = 0; i < list->n; i++) {
		int rank = top_columns[list->at[i].column].rank[choice->view];

		/* What is sorted by is wanted, for its order would be a riddle. */
		if (rank > 1 && list->at[i].column == choice->sort[choice->view])
			rank = 1;
		if (rank > 0 && rank >= worst_rank) {
			worst_rank = rank;
			worst = i;
		}
	}
	return worst;
}

static void remove_at(struct view_columns *list, int at)
{
	memmove(&list->at[at], &list->at[at + 1], (size_t)(list->n - at - 1) * sizeof(list->at[0]));
	list->n--;
}

/* Names that say something are worth more than what can be found out by Enter. */
static void make_room_for_name(struct view_columns *list, const struct view_choice *choice,
			       const struct view_rows *rows, int width)
{
	static const struct {
		int name, rank; /* so long a name is worth columns from this rank on */
	} worth[N_VIEWS] = {
		[VIEW_SESSIONS] = { 24, 13 },
		[VIEW_TENANTS] = { 24, 10 },
		[VIEW_MODELS] = { 32, 7 },
		[VIEW_QUEUE] = { 24, 4 },
	};
	int i, at, wide = 0;

	for (i = 0; i < list->n; i++)
		if (top_columns[list->at[i].column].rank[choice->view] == 0)
			wide = wanted_width(list->at[i].column, choice, rows);
	wide = wide < worth[choice->view].name ? wide : worth[choice->view].name;
	for (i = 0; i < list->n; i++)
		if (top_columns[list->at[i].column].rank[choice->view] == 0)
			wide -= list->at[i].width;
	while (wide > 0 && total_width(list) + wide > width &&
	       (at = least_wanted(list, choice)) >= 0 &&
	       top_columns[list->at[at].column].rank[choice->view] >= worth[choice->view].rank)
		remove_at(list, at);
}

void view_columns(struct view_columns *out, const struct sample *sample,
		  const struct view_choice *choice, const struct view_rows *rows, int width)
{
	bool tree = choice->tree && choice->view == VIEW_SESSIONS && width > 0;
	int i, at, wide, spare;

	out->n = 0;
	for (i = 0; top_columns[i].name && out->n < VIEW_COLUMNS_MAX; i++) {
		const struct column *it = &top_columns[i];

		if (!(it->views & 1u << choice->view) || (it->bar && width == 0) ||
		    (it->tier >= 0 && !sample->has_tier[it->tier]))
			continue;
		/* In the tree the user stands above. */
		if (tree && !strcmp(it->name, "user"))
			continue;
		out->at[out->n].column = i;
		out->at[out->n++].width = it->width;
	}
	if (width == 0)
		return;
	while (total_width(out) > width && (at = least_wanted(out, choice)) >= 0)
		remove_at(out, at);
	make_room_for_name(out, choice, rows, width);
	/* The name first, for without it the rest is of nobody. */
	for (i = 0; i < 2 * out->n; i++) {
		int *at_width = &out->at[i % out->n].width;
		const struct column *it = &top_columns[out->at[i % out->n].column];

		if ((it->rank[choice->view] == 0) != (i < out->n))
			continue;
		spare = width - total_width(out);
		wide = wanted_width(out->at[i % out->n].column, choice, rows) - *at_width;
		if (spare <= 0 || wide <= 0)
			continue;
		/* A letter, or all of it: nothing between them can be read. */
		if (it->width > 1 || spare >= wide)
			*at_width += spare < wide ? spare : wide;
	}
	spare = width - total_width(out);
	for (i = 0; i < out->n; i++)
		if (spare < 0 && top_columns[out->at[i].column].rank[choice->view] == 0)
			out->at[i].width = width > 0 ? width : 1;
}
