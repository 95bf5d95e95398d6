// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/policy_fill.h"

/* A level is in units of a byte a weight, divided by this. */
#define SHIFT 8
/* Beyond it a level would overflow: 32 PiB. */
#define AMOUNT_MAX (1ULL << 55)

static uint64_t add(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* What the node has when the water stands at the level. */
static uint64_t at_level(const struct fill_node *node, uint64_t level)
{
	unsigned __int128 q = (unsigned __int128)level * node->weight >> SHIFT;

	if (q <= node->low)
		return node->low;
	return q >= node->high ? node->high : (uint64_t)q;
}

static uint64_t sum_at(const struct fill_node *nodes, uint32_t first, uint64_t level)
{
	uint64_t sum = 0;

	for (uint32_t i = first; i != FILL_TOP; i = nodes[i].sibling)
		sum = add(sum, at_level(&nodes[i], level));
	return sum;
}

/* The floors are too high already. */
static void divide_floors(struct fill_node *nodes, uint32_t first, uint64_t amount)
{
	unsigned __int128 sum = 0;
	uint64_t left = amount;

	for (uint32_t i = first; i != FILL_TOP; i = nodes[i].sibling)
		sum += nodes[i].low;
	for (uint32_t i = first; i != FILL_TOP; i = nodes[i].sibling) {
		nodes[i].quota = sum ? (uint64_t)((unsigned __int128)nodes[i].low * amount / sum) :
				       0;
		left -= nodes[i].quota;
	}
	/* Less than a byte each. */
	for (uint32_t i = first; i != FILL_TOP && left; i = nodes[i].sibling) {
		if (nodes[i].quota < nodes[i].low) {
			nodes[i].quota++;
			left--;
		}
	}
}

/* What rounding has left: those whom the next level would lift get it, the first first. */
static void divide_rest(struct fill_node *nodes, uint32_t first, uint64_t level, uint64_t left)
{
	for (uint32_t i = first; i != FILL_TOP && left; i = nodes[i].sibling) {
		uint64_t step = min(left, at_level(&nodes[i], level + 1) - nodes[i].quota);

		nodes[i].quota += step;
		left -= step;
	}
}

static void divide(struct fill_node *nodes, uint32_t first, uint64_t amount)
{
	uint64_t low = 0, high, sum = 0;

	for (uint32_t i = first; i != FILL_TOP; i = nodes[i].sibling)
		sum = add(sum, nodes[i].low);
	if (sum >= amount) {
		divide_floors(nodes, first, amount);
		return;
	}
	high = min(amount, AMOUNT_MAX) << SHIFT;
	/* The highest level that is not too much; at 0 it is not. */
	while (low < high) {
		uint64_t middle = high - (high - low) / 2;

		if (sum_at(nodes, first, middle) <= amount)
			low = middle;
		else
			high = middle - 1;
	}
	for (uint32_t i = first; i != FILL_TOP; i = nodes[i].sibling) {
		nodes[i].quota = at_level(&nodes[i], low);
		amount -= nodes[i].quota;
	}
	divide_rest(nodes, first, low, amount);
}

void fill_divide(struct fill_node *nodes, uint32_t n, uint64_t amount)
{
	uint32_t first = FILL_TOP;

	for (uint32_t i = 0; i < n; i++)
		nodes[i].child = FILL_TOP;
	/* From the leaves up: what each can use, what each must get. Siblings come out in their order. */
	for (uint32_t i = n; i-- > 0;) {
		struct fill_node *node = &nodes[i];
		uint64_t high = node->need, low = node->floor;

		if (node->child != FILL_TOP) {
			uint64_t highs = 0, lows = 0;

			for (uint32_t k = node->child; k != FILL_TOP; k = nodes[k].sibling) {
				highs = add(highs, nodes[k].high);
				lows = add(lows, nodes[k].low);
			}
			high = min(high, highs);
			low = max(low, lows);
		}
		node->high = high;
		node->low = min(low, high);
		node->sibling = node->parent == FILL_TOP ? first : nodes[node->parent].child;
		if (node->parent == FILL_TOP)
			first = i;
		else
			nodes[node->parent].child = i;
	}
	divide(nodes, first, amount);
	for (uint32_t i = 0; i < n; i++)
		if (nodes[i].child != FILL_TOP)
			divide(nodes, nodes[i].child, nodes[i].quota);
}
