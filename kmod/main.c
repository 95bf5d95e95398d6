// SPDX-License-Identifier: GPL-2.0-only
/* Loading and unloading; the module's parameters. */
#include <linux/miscdevice.h>
#include <linux/module.h>

#include "kmod/internal.h"

struct vram vram = {
	.lock = __MUTEX_INITIALIZER(vram.lock),
	.events = LIST_HEAD_INIT(vram.events),
	.triggers = LIST_HEAD_INIT(vram.triggers),
};

unsigned int vram_max_sessions = 256;
module_param_named(max_sessions, vram_max_sessions, uint, 0644);
MODULE_PARM_DESC(max_sessions, "how many times a user may have /dev/vram open (256)");

unsigned int vram_max_slots = 2097152;
module_param_named(max_slots, vram_max_slots, uint, 0644);
MODULE_PARM_DESC(max_slots, "slots of 64 bytes in all residency tables of a user (2097152)");

unsigned int vram_max_waiters = 4096;
module_param_named(max_waiters, vram_max_waiters, uint, 0644);
MODULE_PARM_DESC(max_waiters, "threads of a user that may wait at once (4096)");

static struct miscdevice vram_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vram",
	.fops = &vram_fops,
	.mode = 0660,
};

static int __init vram_init(void)
{
	int ret;

	INIT_DELAYED_WORK(&vram.grace_work, vram_grace_over);
	INIT_DELAYED_WORK(&vram.trigger_work, vram_trigger_tick);
	ret = group_book_init(&vram.book, sizeof(struct group), vram_now());
	if (ret)
		return ret;
	vram_debugfs_init();
	ret = misc_register(&vram_misc);
	if (ret) {
		vram_debugfs_exit();
		group_book_deinit(&vram.book);
	}
	return ret;
}

/* No file is open: only groups with limits, shares and unread events are left. */
static void __exit vram_exit(void)
{
	misc_deregister(&vram_misc);
	vram_debugfs_exit();
	cancel_delayed_work_sync(&vram.grace_work);
	cancel_delayed_work_sync(&vram.trigger_work);
	vram_events_free();
	group_book_deinit(&vram.book);
}

module_init(vram_init);
module_exit(vram_exit);

MODULE_DESCRIPTION("Accounting, limits and pressure of device memory");
MODULE_AUTHOR("The vram authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
