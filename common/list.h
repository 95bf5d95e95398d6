/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * An intrusive, circular, doubly linked list.
 *
 * The head and every member are a struct list_node; a member is embedded in the object it
 * links, so adding and removing never allocate and never fail. An initialised node that is
 * on no list points to itself: list_del() leaves it in that state, so deleting twice is
 * harmless and list_is_linked() is exact.
 *
 * Nothing here locks; the owner of the head says who may touch the list.
 */
#ifndef VRAM_COMMON_LIST_H
#define VRAM_COMMON_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
	struct list_node *prev;
	struct list_node *next;
};

#define LIST_INIT(name)          \
	{                        \
		&(name), &(name) \
	}

static inline void list_init(struct list_node *node)
{
	node->prev = node;
	node->next = node;
}

/* Return: true if the node is a member of some list (or is a head with members). */
static inline bool list_is_linked(const struct list_node *node)
{
	return node->next != node;
}

static inline bool list_is_empty(const struct list_node *head)
{
	return head->next == head;
}

static inline void list_insert_between(struct list_node *node, struct list_node *prev,
				       struct list_node *next)
{
	node->prev = prev;
	node->next = next;
	prev->next = node;
	next->prev = node;
}

/* Adds an unlinked node as the first member; before a member, use list_add_tail(node, member). */
static inline void list_add(struct list_node *node, struct list_node *head)
{
	list_insert_between(node, head, head->next);
}

/* Adds an unlinked node as the last member, that is, just before `head`. */
static inline void list_add_tail(struct list_node *node, struct list_node *head)
{
	list_insert_between(node, head->prev, head);
}

static inline void list_del(struct list_node *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

static inline void list_move_tail(struct list_node *node, struct list_node *head)
{
	list_del(node);
	list_add_tail(node, head);
}

/* Moves all members of `from` behind the last member of `head`; `from` is empty afterwards. */
static inline void list_splice_tail(struct list_node *from, struct list_node *head)
{
	if (list_is_empty(from))
		return;
	from->next->prev = head->prev;
	head->prev->next = from->next;
	from->prev->next = head;
	head->prev = from->prev;
	list_init(from);
}

/* The object of the given type that embeds the node as `member`. */
#define list_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* The first or last object, NULL when the list is empty. */
#define list_first(head, type, member) \
	(list_is_empty(head) ? NULL : list_entry((head)->next, type, member))
#define list_last(head, type, member) \
	(list_is_empty(head) ? NULL : list_entry((head)->prev, type, member))

/* Walks the objects; the current one must not be removed in the body. */
#define list_for_each(pos, head, member)                                   \
	for ((pos) = list_entry((head)->next, __typeof__(*(pos)), member); \
	     &(pos)->member != (head);                                     \
	     (pos) = list_entry((pos)->member.next, __typeof__(*(pos)), member))

/* The same, and the body may remove or free the current object (but not `tmp`). */
#define list_for_each_safe(pos, tmp, head, member)                              \
	for ((pos) = list_entry((head)->next, __typeof__(*(pos)), member),      \
	    (tmp) = list_entry((pos)->member.next, __typeof__(*(pos)), member); \
	     &(pos)->member != (head);                                          \
	     (pos) = (tmp), (tmp) = list_entry((tmp)->member.next, __typeof__(*(tmp)), member))

#endif
