// SPDX-License-Identifier: GPL-2.0-only
/* The file operations of /dev/vram: where user memory is touched, and nowhere else but for names. */
#include <linux/module.h>
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

/* One row an ioctl; the cast is safe, each function takes a pointer to its own structure. */
#define ROW(name, fn) [_IOC_NR(VRAM_IOC_##name)] = { VRAM_IOC_##name, fn }

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
	ROW(INFO, ioc_info),	     ROW(TABLE, ioc_table),	ROW(WAIT, ioc_wait),
	ROW(PRESSURE, ioc_pressure), ROW(TRIGGER, ioc_trigger), ROW(USAGE, ioc_usage),
	ROW(GROUP, ioc_group),	     ROW(LIMIT, ioc_limit),	ROW(ATTACH, ioc_attach),
	ROW(DEVICE, ioc_device),     ROW(ADOPT, ioc_adopt),	ROW(CHARGE, ioc_charge),
	ROW(SHARE, ioc_share),	     ROW(STATE, ioc_state),	ROW(WAKE, ioc_wake_slot),
	ROW(OVER, ioc_over),
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
