// SPDX-License-Identifier: GPL-2.0-only
/*
 * Groups: what the ledger knows by kind and number, by name.
 *
 * A user is its uid. A cgroup or an executable is a path; the book gives the path a number, which
 * the ledger has as the group's key. A cgroup's group stands below those of its ancestors; the root
 * cgroup has none, everybody is in it.
 *
 * A group lives as long as it has children (sessions or groups), or somebody holds it: a limit is
 * set for it, a trigger watches it. Whoever takes one of these away calls group_collect().
 *
 * `priv` of every ledger group but the sessions' belongs to the book; the owner of a session puts
 * something there that begins with a struct group.
 *
 * Locking: none here, as in the ledger. Functions that make groups may sleep in the kernel.
 */
#include "kmod/group.h"

static u32 bucket_of(u32 kind, const char *path, size_t len)
{
	u64 h = 0xcbf29ce484222325u ^ kind;
	size_t i;

	for (i = 0; i < len; i++)
		h = (h ^ (unsigned char)path[i]) * 0x100000001b3u;
	return (u32)(h ^ (h >> 32)) % GROUP_N_BUCKETS;
}

/*
 * group_book_init() - a book with a ledger of its own.
 * @group_bytes: what to allocate for each group; it begins with a struct group
 *
 * Return: 0, to be undone with group_book_deinit(); -ENOMEM.
 */
int group_book_init(struct group_book *book, size_t group_bytes, u64 now_ns)
{
	*book = (struct group_book){ .group_bytes = group_bytes };
	book->ledger = ledger_new();
	if (!book->ledger)
		return -ENOMEM;
	book->ledger->root.priv = &book->root;
	pressure_init(&book->root.pressure, now_ns);
	return 0;
}

/*
 * group_book_deinit() - free the ledger and all groups.
 *
 * The owner has freed its sessions, or takes their `priv` away before.
 */
void group_book_deinit(struct group_book *book)
{
	struct ledger_group *g;

	if (!book->ledger)
		return;
	for (g = book->ledger->root.next; g; g = g->next) {
		if (g->priv)
			vram_free(group_priv(g)->path);
		vram_free(g->priv);
	}
	ledger_free(book->ledger);
	book->ledger = NULL;
}

/* group_is_path() - is this how a cgroup or an executable is written? */
bool group_is_path(const char *path)
{
	size_t len = strnlen(path, GROUP_PATH_MAX);

	return path[0] == '/' && len > 1 && len < GROUP_PATH_MAX && path[len - 1] != '/' &&
	       !strstr(path, "//");
}

static struct ledger_group *find(const struct group_book *book, u32 kind, const char *path,
				 size_t len)
{
	struct ledger_group *g;

	for (g = book->bucket[bucket_of(kind, path, len)]; g; g = group_priv(g)->hash_next)
		if (g->kind == kind && !strncmp(group_priv(g)->path, path, len) &&
		    !group_priv(g)->path[len])
			return g;
	return NULL;
}

/* group_find_path() - the group of a path, or NULL. */
struct ledger_group *group_find_path(const struct group_book *book, u32 kind, const char *path)
{
	return find(book, kind, path, strlen(path));
}

static void unhash(struct group_book *book, struct ledger_group *g)
{
	const char *path = group_priv(g)->path;
	struct ledger_group **at = &book->bucket[bucket_of(g->kind, path, strlen(path))];

	while (*at != g)
		at = &group_priv(*at)->hash_next;
	*at = group_priv(g)->hash_next;
}

/* A group with all that belongs to it; path NULL: none, and key is the key. */
static int make(struct group_book *book, u32 kind, u64 key, struct ledger_group *parent,
		const char *path, size_t len, u64 now_ns, struct ledger_group **out)
{
	struct group *priv = vram_zalloc(book->group_bytes);
	struct ledger_group *g;
	int ret = -ENOMEM;

	if (!priv)
		return -ENOMEM;
	if (path) {
		key = book->last_key + 1;
		priv->path = vram_zalloc(len + 1);
		if (!priv->path)
			goto err_priv;
		memcpy(priv->path, path, len);
	}
	ret = ledger_group_new(book->ledger, kind, key, parent, &g);
	if (ret)
		goto err_path;
	pressure_init(&priv->pressure, now_ns);
	g->priv = priv;
	if (path) {
		struct ledger_group **bucket = &book->bucket[bucket_of(kind, path, len)];

		book->last_key = key;
		priv->hash_next = *bucket;
		*bucket = g;
	}
	if (book->made)
		book->made(book, g);
	*out = g;
	return 0;

err_path:
	vram_free(priv->path);
err_priv:
	vram_free(priv);
	return ret;
}

/*
 * group_collect() - free a group that nothing needs, and those above it that it was the reason for.
 * @g: a group, or NULL
 */
void group_collect(struct group_book *book, struct ledger_group *g)
{
	while (g && g->kind != LEDGER_ROOT && !g->n_children && !group_priv(g)->n_holds) {
		struct ledger_group *parent = g->parent[LEDGER_CHAIN(g->kind)];
		struct group *priv = group_priv(g);

		if (priv->path)
			unhash(book, g);
		ledger_group_free(book->ledger, g);
		vram_free(priv->path);
		vram_free(priv);
		g = parent;
	}
}

/* group_user() - the group of a user, made if need be. Return: 0, -ENOMEM. */
int group_user(struct group_book *book, u64 uid, u64 now_ns, struct ledger_group **out)
{
	*out = ledger_find(book->ledger, LEDGER_USER, uid);
	return *out ? 0 : make(book, LEDGER_USER, uid, NULL, NULL, 0, now_ns, out);
}

/* group_exe() - the group of an executable. Return: 0, -EINVAL (no path), -ENOMEM. */
int group_exe(struct group_book *book, const char *path, u64 now_ns, struct ledger_group **out)
{
	if (!group_is_path(path))
		return -EINVAL;
	*out = group_find_path(book, LEDGER_EXE, path);
	return *out ? 0 : make(book, LEDGER_EXE, 0, NULL, path, strlen(path), now_ns, out);
}

/*
 * group_cgroup() - the group of a cgroup, with those of its ancestors.
 * @fold: where the path is deeper than the ledger goes, the deepest ancestor that fits will do
 *
 * Return: 0; -EINVAL (no path), -E2BIG (too deep), -ENOMEM.
 */
int group_cgroup(struct group_book *book, const char *path, bool fold, u64 now_ns,
		 struct ledger_group **out)
{
	struct ledger_group *g = NULL;
	const char *end = path;
	int ret = 0;

	if (!group_is_path(path))
		return -EINVAL;
	while (*end && !ret) {
		struct ledger_group *next;
		size_t len;

		end = end + 1 + strcspn(end + 1, "/");
		len = end - path;
		next = find(book, LEDGER_CGROUP, path, len);
		if (!next)
			ret = make(book, LEDGER_CGROUP, 0, g, path, len, now_ns, &next);
		if (!ret)
			g = next;
	}
	if (ret == -E2BIG && fold)
		ret = 0;
	if (ret)
		group_collect(book, g);
	else
		*out = g;
	return ret;
}

/*
 * group_chain() - the groups above a session.
 * @cgroup: NULL (unknown) or "/": none; one that is no path counts as unknown
 * @exe: likewise
 * @out_chain: for ledger_session_new(); to be given to group_collect() one by one when that fails,
 *             and when the session has gone
 *
 * Return: 0; -ENOMEM, with nothing left behind.
 */
int group_chain(struct group_book *book, u64 uid, const char *cgroup, const char *exe, u64 now_ns,
		struct ledger_group *out_chain[LEDGER_N_CHAINS])
{
	struct ledger_group *chain[LEDGER_N_CHAINS] = { NULL };
	u32 c;
	int ret;

	ret = group_user(book, uid, now_ns, &chain[LEDGER_CHAIN(LEDGER_USER)]);
	if (!ret && cgroup && group_is_path(cgroup))
		ret = group_cgroup(book, cgroup, true, now_ns, &chain[LEDGER_CHAIN(LEDGER_CGROUP)]);
	if (!ret && exe && group_is_path(exe))
		ret = group_exe(book, exe, now_ns, &chain[LEDGER_CHAIN(LEDGER_EXE)]);
	for (c = 0; c < LEDGER_N_CHAINS; c++) {
		if (ret)
			group_collect(book, chain[c]);
		else
			out_chain[c] = chain[c];
	}
	return ret;
}

/*
 * group_name() - "user:1000", "cgroup:/a/b", "exe:/usr/bin/x", "session:7", "root".
 *
 * Return: 0; -EOVERFLOW if @size, at most GROUP_NAME_MAX, does not suffice.
 */
int group_name(const struct ledger_group *g, char *buf, size_t size)
{
	unsigned long long key = g->key;
	int n;

	switch (g->kind) {
	case LEDGER_USER:
		n = vram_snprintf(buf, size, "user:%llu", key);
		break;
	case LEDGER_SESSION:
		n = vram_snprintf(buf, size, "session:%llu", key);
		break;
	case LEDGER_CGROUP:
	case LEDGER_EXE:
		n = vram_snprintf(buf, size, "%s:%s", g->kind == LEDGER_EXE ? "exe" : "cgroup",
				  group_priv(g)->path);
		break;
	default:
		n = vram_snprintf(buf, size, "root");
		break;
	}
	return n < 0 || (size_t)n >= size ? -EOVERFLOW : 0;
}
