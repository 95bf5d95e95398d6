// SPDX-License-Identifier: GPL-2.0-only
/* Mistake: reads what it has freed. */
#include <linux/module.h>
#include <linux/slab.h>

static int __init bad_init(void)
{
	int *p = kzalloc(64, GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	kfree(p);
	OPTIMIZER_HIDE_VAR(p);
	return READ_ONCE(*p) == 1 ? -EIO : 0;
}

static void __exit bad_exit(void)
{
}

module_init(bad_init);
module_exit(bad_exit);
MODULE_DESCRIPTION("Uses memory after freeing it");
MODULE_LICENSE("GPL");
