// SPDX-License-Identifier: GPL-2.0-only
/* Mistake: forgets what it has allocated. */
#include <linux/module.h>
#include <linux/slab.h>

static int __init bad_init(void)
{
	void *p = kmalloc(128, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(p);
	return p ? 0 : -ENOMEM;
}

static void __exit bad_exit(void)
{
}

module_init(bad_init);
module_exit(bad_exit);
MODULE_DESCRIPTION("Leaks memory");
MODULE_LICENSE("GPL");
