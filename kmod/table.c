// SPDX-License-Identifier: GPL-2.0-only
/*
 * Residency tables: pages shared by one session and the arbiter.
 *
 * All pages are there from the start, charged to the memory cgroup of the session, so that whoever
 * maps the table never finds one missing: the arbiter must not depend on a client's memory. What
 * is in them is the clients' and the arbiter's own affair.
 *
 * A mapping counts as a user of the table, not of the session: that the arbiter maps it does not
 * keep the session open. (The session's own mapping does, it holds the file.)
 */
#include <linux/highmem.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "kmod/internal.h"
#include "kmod/trace.h"

/* Where a session's table begins in the arbiter's file, in pages: its id times this. */
#define TABLE_SPAN_SHIFT 24
#define TABLE_SPAN_PAGES (1UL << (TABLE_SPAN_SHIFT - PAGE_SHIFT))

/* Out of its memory, a client gets an error; it need not be killed for asking. */
#define TABLE_GFP (GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

static void table_free(struct vram_table *t)
{
	u32 i;

	for (i = 0; i < t->n_pages && t->page[i]; i++)
		__free_page(t->page[i]);
	atomic_sub(t->n_counted, &t->user->n_slots);
	vram_user_put(t->user);
	kvfree(t);
}

static void table_release(struct kref *ref)
{
	table_free(container_of(ref, struct vram_table, ref));
}

void vram_table_put(struct vram_table *table)
{
	if (table)
		kref_put(&table->ref, table_release);
}

/* vram_table_get() - a session's table with a reference, or NULL. */
struct vram_table *vram_table_get(struct vram_session *s)
{
	struct vram_table *table;

	spin_lock(&s->lock);
	table = s->table;
	if (table)
		kref_get(&table->ref);
	spin_unlock(&s->lock);
	return table;
}

/* vram_table_new() - VRAM_IOC_TABLE. */
int vram_table_new(struct vram_session *s, u32 n_slots)
{
	struct vram_table *t, *old;
	u32 n_pages, n_counted, i;

	BUILD_BUG_ON(VRAM_MAX_SLOTS * VRAM_SLOT_BYTES > 1UL << TABLE_SPAN_SHIFT);
	if (!n_slots || n_slots > VRAM_MAX_SLOTS)
		return -EINVAL;
	/* It is pages that a user could pile up. */
	n_pages = DIV_ROUND_UP(n_slots, VRAM_SLOTS_PER_PAGE);
	n_counted = n_pages * VRAM_SLOTS_PER_PAGE;
	if (!vram_user_take(&s->user->n_slots, n_counted, READ_ONCE(vram_max_slots)))
		return -EDQUOT;
	t = kvzalloc(struct_size(t, page, n_pages), TABLE_GFP);
	if (!t) {
		atomic_sub(n_counted, &s->user->n_slots);
		return -ENOMEM;
	}
	kref_init(&t->ref);
	t->user = vram_user_ref(s->user);
	t->n_slots = n_slots;
	t->n_counted = n_counted;
	t->n_pages = n_pages;
	for (i = 0; i < n_pages; i++) {
		if (!fatal_signal_pending(current))
			t->page[i] = alloc_page(TABLE_GFP | __GFP_ZERO);
		if (!t->page[i]) {
			table_free(t);
			return -ENOMEM;
		}
	}
	spin_lock(&s->lock);
	old = s->table;
	s->table = t;
	spin_unlock(&s->lock);
	vram_table_put(old);
	return 0;
}

/* vram_table_word() - the word of a slot, which says whatever its writers like. */
u32 vram_table_word(const struct vram_table *table, u32 slot)
{
	size_t at = (size_t)slot * VRAM_SLOT_BYTES;
	u32 *page = kmap_local_page(table->page[at / PAGE_SIZE]), word;

	word = READ_ONCE(page[at % PAGE_SIZE / sizeof(*page)]);
	kunmap_local(page);
	return word;
}

static vm_fault_t table_fault(struct vm_fault *vmf)
{
	struct vram_table *t = vmf->vma->vm_private_data;
	unsigned long i = vmf->pgoff % TABLE_SPAN_PAGES;

	if (i >= t->n_pages)
		return VM_FAULT_SIGBUS;
	get_page(t->page[i]);
	vmf->page = t->page[i];
	return 0;
}

static void table_vm_open(struct vm_area_struct *vma)
{
	kref_get(&((struct vram_table *)vma->vm_private_data)->ref);
}

static void table_vm_close(struct vm_area_struct *vma)
{
	vram_table_put(vma->vm_private_data);
}

static const struct vm_operations_struct table_vm_ops = {
	.open = table_vm_open,
	.close = table_vm_close,
	.fault = table_fault,
};

/* vram_table_offset() - where the arbiter maps the table of a session, in bytes. */
u64 vram_table_offset(u64 session)
{
	return session << TABLE_SPAN_SHIFT;
}

/* The table that a part of the file is. */
static struct vram_table *table_at(struct vram_session *s, unsigned long pgoff)
{
	unsigned long id = pgoff / TABLE_SPAN_PAGES;

	if (!id)
		return vram_table_get(s);
	guard(mutex)(&vram.lock);
	if (vram.arbiter != s)
		return NULL;
	s = vram_session_find(id);
	return s && s->adopted == vram.generation ? vram_table_get(s) : NULL;
}

int vram_table_mmap(struct vram_session *s, struct vm_area_struct *vma)
{
	struct vram_table *t;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	t = table_at(s, vma->vm_pgoff);
	if (!t)
		return -ENXIO;
	if (vma->vm_pgoff % TABLE_SPAN_PAGES + vma_pages(vma) > t->n_pages) {
		vram_table_put(t);
		return -EINVAL;
	}
	vram_vm_flags_set(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &table_vm_ops;
	vma->vm_private_data = t;
	return 0;
}
