// SPDX-License-Identifier: GPL-2.0-only
/*
 * A GPU without hardware that has memory of its own to tell about, for Linux 6.8 and newer.
 *
 * No driver that works without a card writes memory figures into its fdinfo. This one lets the DRM core
 * write them, by the functions that the drivers of real cards call: drm_show_memory_stats() as msm,
 * panfrost and others do, for the region "memory", and drm_print_memory_stats() as i915 and xe do, for
 * "vram0". What stands there are the buffers that the client made.
 */
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_gem_shmem_helper.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_print.h>
#include <linux/module.h>
#include <linux/platform_device.h>

static struct platform_device *platform;
static struct drm_device *device;

static void vram_show_fdinfo(struct drm_printer *p, struct drm_file *file)
{
	struct drm_memory_stats stats = { 0 };
	struct drm_gem_object *object;
	int id;

	spin_lock(&file->table_lock);
	idr_for_each_entry(&file->object_idr, object, id)
	{
		stats.private += object->size;
		stats.resident += object->size;
	}
	spin_unlock(&file->table_lock);
	drm_show_memory_stats(p, file);
	drm_print_memory_stats(p, &stats, DRM_GEM_OBJECT_RESIDENT, "vram0");
}

static const struct file_operations vram_fops = {
	.owner = THIS_MODULE,
	DRM_GEM_FOPS,
	.show_fdinfo = drm_show_fdinfo,
};

static const struct drm_driver vram_driver = {
	.driver_features = DRIVER_GEM | DRIVER_RENDER,
	.name = "drm_vram",
	.desc = "a GPU for tests",
	.major = 1,
	.fops = &vram_fops,
	.show_fdinfo = vram_show_fdinfo,
	DRM_GEM_SHMEM_DRIVER_OPS,
};

static int __init vram_init(void)
{
	int r;

	platform = platform_device_register_simple("drm_vram", -1, NULL, 0);
	if (IS_ERR(platform))
		return PTR_ERR(platform);
	device = drm_dev_alloc(&vram_driver, &platform->dev);
	if (IS_ERR(device)) {
		r = PTR_ERR(device);
		goto err_platform;
	}
	r = drm_dev_register(device, 0);
	if (r < 0)
		goto err_device;
	return 0;

err_device:
	drm_dev_put(device);
err_platform:
	platform_device_unregister(platform);
	return r;
}

static void __exit vram_exit(void)
{
	drm_dev_unregister(device);
	drm_dev_put(device);
	platform_device_unregister(platform);
}

module_init(vram_init);
module_exit(vram_exit);
MODULE_DESCRIPTION("A GPU without hardware whose driver tells what its clients have");
MODULE_LICENSE("GPL");
