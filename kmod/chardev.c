// SPDX-License-Identifier: GPL-2.0-only
/* The file operations of /dev/vram: here user memory is touched, elsewhere only for names. */
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/uaccess.h>

#include "kmod/internal.h"

static int vram_open(struct inode *inode, struct file *file)
{
	struct vram_session *s;
	int ret;

	ret = vram_session_open(&s);
	if (ret)
		return ret;
	file->private_data = s;
	file->f_mode |= FMODE_NOWAIT;
	return stream_open(inode, file);
}

static int vram_release(struct inode *inode, struct file *file)
{
	vram_session_close(file->private_data);
	return 0;
}

static int vram_mmap(struct file *file, struct vm_area_struct *vma)
{
	return vram_table_mmap(file->private_data, vma);
}

typedef int (*vram_ioc_fn)(struct vram_session *s, void *arg);

/* The cast is safe: each row below has the structure of its ioctl. */
#define ADAPT(fn, type)                                             \
	static int ioc_##fn(struct vram_session *s, void *arg)      \
	{                                                           \
		return vram_##fn(s, (struct vram_ioc_##type *)arg); \
	}

static int ioc_table(struct vram_session *s, void *arg)
{
	const struct vram_ioc_table *t = arg;

	if (t->flags)
		return -EINVAL;
	return vram_table_new(s, t->n_slots);
}

ADAPT(info, info)
ADAPT(wait, wait)
ADAPT(pressure, pressure)
ADAPT(trigger, trigger)
ADAPT(usage, usage)
ADAPT(group, group)
ADAPT(limit, limit)
ADAPT(attach, attach)
ADAPT(device, device)
ADAPT(adopt, adopt)
ADAPT(charge, charge)
ADAPT(share, share)
ADAPT(state, state)
ADAPT(wake_slot, wake)
ADAPT(over, over)

static const struct {
	unsigned int cmd;
	vram_ioc_fn fn;
} vram_iocs[] = {
	[_IOC_NR(VRAM_IOC_INFO)] = { VRAM_IOC_INFO, ioc_info },
	[_IOC_NR(VRAM_IOC_TABLE)] = { VRAM_IOC_TABLE, ioc_table },
	[_IOC_NR(VRAM_IOC_WAIT)] = { VRAM_IOC_WAIT, ioc_wait },
	[_IOC_NR(VRAM_IOC_PRESSURE)] = { VRAM_IOC_PRESSURE, ioc_pressure },
	[_IOC_NR(VRAM_IOC_TRIGGER)] = { VRAM_IOC_TRIGGER, ioc_trigger },
	[_IOC_NR(VRAM_IOC_USAGE)] = { VRAM_IOC_USAGE, ioc_usage },
	[_IOC_NR(VRAM_IOC_GROUP)] = { VRAM_IOC_GROUP, ioc_group },
	[_IOC_NR(VRAM_IOC_LIMIT)] = { VRAM_IOC_LIMIT, ioc_limit },
	[_IOC_NR(VRAM_IOC_ATTACH)] = { VRAM_IOC_ATTACH, ioc_attach },
	[_IOC_NR(VRAM_IOC_DEVICE)] = { VRAM_IOC_DEVICE, ioc_device },
	[_IOC_NR(VRAM_IOC_ADOPT)] = { VRAM_IOC_ADOPT, ioc_adopt },
	[_IOC_NR(VRAM_IOC_CHARGE)] = { VRAM_IOC_CHARGE, ioc_charge },
	[_IOC_NR(VRAM_IOC_SHARE)] = { VRAM_IOC_SHARE, ioc_share },
	[_IOC_NR(VRAM_IOC_STATE)] = { VRAM_IOC_STATE, ioc_state },
	[_IOC_NR(VRAM_IOC_WAKE)] = { VRAM_IOC_WAKE, ioc_wake_slot },
	[_IOC_NR(VRAM_IOC_OVER)] = { VRAM_IOC_OVER, ioc_over },
};

static long vram_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	union {
		struct vram_ioc_adopt adopt; /* the largest */
		u64 words[64];
	} buf;
	void __user *user = (void __user *)arg;
	unsigned int nr = _IOC_NR(cmd);
	bool in = _IOC_DIR(cmd) & _IOC_WRITE, out = _IOC_DIR(cmd) & _IOC_READ;
	size_t size = _IOC_SIZE(cmd);
	int ret;

	BUILD_BUG_ON(sizeof(struct vram_ioc_usage) > sizeof(buf));
	BUILD_BUG_ON(sizeof(struct vram_ioc_adopt) > sizeof(buf));
	if (nr >= ARRAY_SIZE(vram_iocs) || !vram_iocs[nr].fn || vram_iocs[nr].cmd != cmd)
		return -ENOTTY;
	nr = array_index_nospec(nr, ARRAY_SIZE(vram_iocs));
	if (!in)
		memset(&buf, 0, size);
	else if (copy_from_user(&buf, user, size))
		return -EFAULT;
	/* Nothing is done that could not be told: write back what was read before acting. */
	if (out && copy_to_user(user, &buf, size))
		return -EFAULT;
	ret = vram_iocs[nr].fn(file->private_data, &buf);
	if (out && (!ret || ret == -EDQUOT || ret == -ENOSPC) && copy_to_user(user, &buf, size))
		return -EFAULT;
	return ret;
}

const struct file_operations vram_fops = {
	.owner = THIS_MODULE,
	.open = vram_open,
	.release = vram_release,
	.read_iter = vram_event_read,
	.poll = vram_event_poll,
	.mmap = vram_mmap,
	.unlocked_ioctl = vram_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
