// SPDX-License-Identifier: GPL-2.0-only
/*
 * What one user may take of the module, however many processes it has: sessions, slots, waiters.
 *
 * A cap that is lowered below use refuses what comes next and takes nothing back.
 */
#include <linux/slab.h>

#include "kmod/internal.h"

static LIST_HEAD(users);
static DEFINE_SPINLOCK(users_lock);

static struct vram_user *find(kuid_t uid)
{
	struct vram_user *user;

	list_for_each_entry(user, &users, node)
		if (uid_eq(user->uid, uid))
			return user;
	return NULL;
}

/* vram_user_get() - the counts of a user, with a reference. Return: them, or NULL: no memory. */
struct vram_user *vram_user_get(kuid_t uid)
{
	struct vram_user *user, *made = kzalloc(sizeof(*made), GFP_KERNEL_ACCOUNT);

	if (!made)
		return NULL;
	made->uid = uid;
	refcount_set(&made->refs, 1);
	spin_lock(&users_lock);
	user = find(uid);
	if (user)
		refcount_inc(&user->refs);
	else
		list_add(&made->node, &users);
	spin_unlock(&users_lock);
	if (!user)
		return made;
	kfree(made);
	return user;
}

struct vram_user *vram_user_ref(struct vram_user *user)
{
	refcount_inc(&user->refs);
	return user;
}

void vram_user_put(struct vram_user *user)
{
	bool last;

	spin_lock(&users_lock);
	last = refcount_dec_and_test(&user->refs);
	if (last)
		list_del(&user->node);
	spin_unlock(&users_lock);
	if (last)
		kfree(user);
}

/* vram_user_take() - count @n more, unless that passes @max. */
bool vram_user_take(atomic_t *count, u32 n, u32 max)
{
	int old = atomic_read(count);

	do {
		if (n > max || (u32)old > max - n)
			return false;
	} while (!atomic_try_cmpxchg(count, &old, old + (int)n));
	return true;
}
