// SPDX-License-Identifier: GPL-2.0-only
#include "common/list.h"

#include <check.h>
#include <stdlib.h>

struct item {
	int value;
	struct list_node link;
};

/* Reads the list as one number, first member first, walking both ways. */
static int digits(struct list_node *head)
{
	int forward = 0, backward = 0, scale = 1;
	struct list_node *node;
	struct item *item;

	list_for_each(item, head, link)
		forward = forward * 10 + item->value;
	for (node = head->prev; node != head; node = node->prev) {
		backward += scale * list_entry(node, struct item, link)->value;
		scale *= 10;
	}
	ck_assert_int_eq(forward, backward);
	return forward;
}

START_TEST(empty_list)
{
	struct list_node head = LIST_INIT(head);

	ck_assert(list_is_empty(&head));
	ck_assert(!list_is_linked(&head));
	ck_assert_ptr_null(list_first(&head, struct item, link));
	ck_assert_ptr_null(list_last(&head, struct item, link));
	ck_assert_int_eq(digits(&head), 0);
}
END_TEST

START_TEST(add_at_both_ends)
{
	struct list_node head = LIST_INIT(head);
	struct item a = { .value = 1 }, b = { .value = 2 }, c = { .value = 3 }, d = { .value = 4 };

	list_add_tail(&b.link, &head);
	list_add_tail(&c.link, &head);
	list_add(&a.link, &head);
	ck_assert_int_eq(digits(&head), 123);
	ck_assert_ptr_eq(list_first(&head, struct item, link), &a);
	ck_assert_ptr_eq(list_last(&head, struct item, link), &c);

	/* Before a member is at the tail of a list that this member heads. */
	list_add_tail(&d.link, &b.link);
	ck_assert_int_eq(digits(&head), 1423);
}
END_TEST

START_TEST(delete_is_repeatable)
{
	struct list_node head = LIST_INIT(head);
	struct item a = { .value = 1 }, b = { .value = 2 };

	list_add_tail(&a.link, &head);
	list_add_tail(&b.link, &head);
	list_del(&a.link);
	ck_assert(!list_is_linked(&a.link));
	ck_assert(list_is_linked(&b.link));
	ck_assert_int_eq(digits(&head), 2);
	list_del(&a.link);
	ck_assert_int_eq(digits(&head), 2);
	list_del(&b.link);
	ck_assert(list_is_empty(&head));
}
END_TEST

START_TEST(move_and_splice)
{
	struct list_node one = LIST_INIT(one), two = LIST_INIT(two);
	struct item items[5];

	for (int i = 0; i < 5; i++) {
		items[i].value = i + 1;
		list_add_tail(&items[i].link, i < 3 ? &one : &two);
	}
	list_move_tail(&items[0].link, &two);
	ck_assert_int_eq(digits(&one), 23);
	ck_assert_int_eq(digits(&two), 451);

	list_splice_tail(&one, &two);
	ck_assert(list_is_empty(&one));
	ck_assert_int_eq(digits(&two), 45123);
	/* Nothing to splice changes nothing. */
	list_splice_tail(&one, &two);
	ck_assert_int_eq(digits(&two), 45123);
	list_splice_tail(&two, &one);
	ck_assert_int_eq(digits(&one), 45123);
	ck_assert(list_is_empty(&two));
}
END_TEST

START_TEST(free_while_walking)
{
	struct list_node head = LIST_INIT(head);
	struct item *item, *tmp;
	int seen = 0;

	for (int i = 1; i <= 4; i++) {
		item = malloc(sizeof(*item));
		ck_assert_ptr_nonnull(item);
		item->value = i;
		list_add_tail(&item->link, &head);
	}
	list_for_each_safe(item, tmp, &head, link) {
		seen = seen * 10 + item->value;
		list_del(&item->link);
		free(item);
	}
	ck_assert_int_eq(seen, 1234);
	ck_assert(list_is_empty(&head));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("list");
	TCase *tcase = tcase_create("list");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, empty_list);
	tcase_add_test(tcase, add_at_both_ends);
	tcase_add_test(tcase, delete_is_repeatable);
	tcase_add_test(tcase, move_and_splice);
	tcase_add_test(tcase, free_while_walking);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
