// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mistakes that only show when an allocation fails: ioctl 0 leaks what it had when the second one fails, ioctl 1 does
 * not look at all. Their type is the one of /dev/vram, for failnth.c.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>

static long bad_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	char *first = kmalloc(192, GFP_KERNEL), *second;

	if (_IOC_NR(cmd) == 1) {
		WRITE_ONCE(first[0], 1);
		kfree(first);
		return 0;
	}
	if (!first)
		return -ENOMEM;
	second = kmalloc(192, GFP_KERNEL);
	if (!second)
		return -ENOMEM;
	kfree(second);
	kfree(first);
	return 0;
}

static const struct file_operations bad_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = bad_ioctl,
};

static struct miscdevice bad_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vram_bad",
	.fops = &bad_fops,
};

module_misc_device(bad_device);
MODULE_DESCRIPTION("Handles failing allocations wrongly");
MODULE_LICENSE("GPL");
