// SPDX-License-Identifier: GPL-2.0-only
/* /sys/kernel/debug/vram: the state for people. Programs use the ioctls; this may change. */
#include <linux/debugfs.h>
#include <linux/pid.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "kmod/internal.h"

static struct dentry *root, *devices;

static const char *const tier_names[] = { "vram", "host", "disk" };
static const char *const state_names[] = { "never", "attached", "grace", "gone" };

static void show_pressure(struct seq_file *m, struct pressure *p)
{
	struct pressure_reading reading;
	char text[PRESSURE_TEXT_MAX];

	pressure_read(p, vram_now(), &reading);
	pressure_format(&reading, text, sizeof(text));
	seq_puts(m, text);
}

static void show_name(struct seq_file *m, const struct ledger_group *g)
{
	static char name[GROUP_NAME_MAX]; /* vram.lock */

	lockdep_assert_held(&vram.lock);
	group_name(g, name, sizeof(name));
	seq_escape(m, name, " \t\n\\");
}

static int arbiter_show(struct seq_file *m, void *unused)
{
	guard(mutex)(&vram.lock);
	seq_printf(m, "state %s\ngeneration %llu\ngrace_ms %u\npid %d\n", state_names[vram.state],
		   vram.generation, vram.grace_ms, vram.arbiter ? pid_nr(vram.arbiter->pid) : 0);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(arbiter);

static int sessions_show(struct seq_file *m, void *unused)
{
	const struct ledger_group *g;

	guard(mutex)(&vram.lock);
	seq_puts(m, "session uid pid adopted slots shares comm\n");
	for (g = &vram_ledger()->root; g; g = g->next) {
		struct vram_session *s;
		struct vram_table *t;

		if (g->kind != LEDGER_SESSION)
			continue;
		s = vram_session_of(g);
		t = vram_table_get(s);
		seq_printf(m, "%llu %u %d %llu %u %u ", s->id, from_kuid(&init_user_ns, s->uid),
			   pid_nr(s->pid), s->adopted, t ? t->n_slots : 0, g->n_shares);
		vram_table_put(t);
		seq_escape(m, s->comm, " \t\n\\");
		seq_putc(m, '\n');
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(sessions);

static void show_limit(struct seq_file *m, const char *name, u64 value)
{
	if (value == LEDGER_UNLIMITED)
		seq_printf(m, " %s=max", name);
	else
		seq_printf(m, " %s=%llu", name, value);
}

static int groups_show(struct seq_file *m, void *unused)
{
	const struct ledger *l = vram_ledger();
	const struct ledger_group *g;
	u32 dev, tier;

	guard(mutex)(&vram.lock);
	for (g = &l->root; g; g = g->next) {
		for (dev = 0; dev < l->n_devices; dev++) {
			for (tier = 0; tier < LEDGER_N_TIERS; tier++) {
				struct ledger_usage u;

				if (l->device[dev].home[tier] != dev)
					continue;
				ledger_read(l, g, dev, tier, &u);
				show_name(m, g);
				seq_printf(m, " dev=%u tier=%s usage=%llu own=%llu peak=%llu", dev,
					   tier_names[tier], u.usage, u.own, u.peak);
				seq_printf(m, " refused=%llu emin=%llu elow=%llu", u.refused,
					   u.emin, u.elow);
				show_limit(m, "min", u.limit[LEDGER_MIN]);
				show_limit(m, "low", u.limit[LEDGER_LOW]);
				show_limit(m, "high", u.limit[LEDGER_HIGH]);
				show_limit(m, "max", u.limit[LEDGER_MAX]);
				seq_printf(m, " weight=%llu\n", u.limit[LEDGER_WEIGHT]);
			}
		}
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(groups);

static int pressure_show(struct seq_file *m, void *unused)
{
	const struct ledger_group *g;

	guard(mutex)(&vram.lock);
	for (g = &vram_ledger()->root; g; g = g->next) {
		show_name(m, g);
		seq_putc(m, '\n');
		show_pressure(m, &group_priv(g)->pressure);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(pressure);

static int device_pressure_show(struct seq_file *m, void *unused)
{
	guard(mutex)(&vram.lock);
	show_pressure(m, m->private);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(device_pressure);

/* vram_debugfs_device() - a device is new. Called without vram.lock: making files may wait. */
void vram_debugfs_device(u32 dev)
{
	struct dentry *dir;
	char name[12];

	snprintf(name, sizeof(name), "%u", dev);
	dir = debugfs_create_dir(name, devices);
	debugfs_create_file("pressure", 0400, dir, &vram.device_pressure[dev],
			    &device_pressure_fops);
}

void vram_debugfs_init(void)
{
	root = debugfs_create_dir("vram", NULL);
	devices = debugfs_create_dir("device", root);
	debugfs_create_file("arbiter", 0400, root, NULL, &arbiter_fops);
	debugfs_create_file("sessions", 0400, root, NULL, &sessions_fops);
	debugfs_create_file("groups", 0400, root, NULL, &groups_fops);
	debugfs_create_file("pressure", 0400, root, NULL, &pressure_fops);
}

void vram_debugfs_exit(void)
{
	debugfs_remove(root);
}
