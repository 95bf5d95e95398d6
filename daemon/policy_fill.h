/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef VRAM_DAEMON_POLICY_FILL_H
#define VRAM_DAEMON_POLICY_FILL_H

/*
 * fill - weighted water-filling of an amount over a tree. Pure.
 *
 * The leaves need bytes. Among the children of one node the amount that the node has is poured in
 * proportion to their weights; a child takes no more than it needs, and gets no less than its floor. What
 * one does not need goes on to its siblings. So all that are neither full nor lifted by their floor stand at the same
 * height, which is bytes a weight. A node needs what its children need together, at most
 * its cap, and its floor is no lower than theirs together.
 *
 * If the floors alone are more than there is, each gets a part of the amount in proportion to its floor.
 */

#include <stdint.h>

#define FILL_TOP UINT32_MAX

struct fill_node {
	uint32_t parent; /* an earlier node, or FILL_TOP */
	uint32_t weight; /* 0: nothing above its floor */
	uint64_t floor;
	uint64_t need;	/* of a leaf; of a node with children: its cap */
	uint64_t quota; /* what comes out */
	/* of fill_divide() */
	uint32_t child, sibling;
	uint64_t low, high;
};

/*
 * fill_divide() - sets every quota. Those of the leaves add up to the amount exactly if they need as much and the
 * caps and weights let them have it.
 */
void fill_divide(struct fill_node *nodes, uint32_t n, uint64_t amount);

#endif
