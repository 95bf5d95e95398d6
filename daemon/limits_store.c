// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "daemon/limits_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/err.h"

#define NEW_NAME "." LIMITS_SAVED ".new"

__attribute__((format(printf, 3, 4))) static int fail(char *reason, int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reason, LIMITS_REASON_MAX, format, args);
	va_end(args);
	return err_origin(r);
}

const char *limits_store_label(const char *dir, const char *file, char *buf, size_t size)
{
	const char *end = dir + strlen(dir), *start;

	while (end > dir && end[-1] == '/')
		end--;
	for (start = end; start > dir && start[-1] != '/'; start--)
		;
	snprintf(buf, size, "%.*s/%s", (int)(end - start), start, file);
	return buf;
}

/* ---- what may be read --------------------------------------------------------------- */

/* Nobody else may have a say in what is read. */
static int check_owner(const char *path, const struct stat *st, char *reason)
{
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return fail(
			reason, -EPERM,
			"%.300s: belongs to user %u; it has to be %s's, or anybody could set limits",
			path, st->st_uid, geteuid() ? "root's or the daemon's own user" : "root");
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return fail(reason, -EPERM, "%.300s: is writable by others (chmod go-w)", path);
	return 0;
}

static int read_all(int fd, const char *path, char **out, size_t *out_len, char *reason)
{
	_cleanup_free_ char *text = malloc(LIMITS_FILE_MAX + 1);
	size_t len = 0;
	ssize_t n;

	if (!text)
		return fail(reason, -ENOMEM, "out of memory");
	/* Not by its size: it may grow meanwhile. */
	while ((n = read(fd, text + len, LIMITS_FILE_MAX + 1 - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		return fail(reason, -errno, "%.300s: %s", path, strerror(errno));
	if (len > LIMITS_FILE_MAX)
		return fail(reason, -EFBIG, "%.300s: is larger than %u bytes", path,
			    LIMITS_FILE_MAX);
	*out = text;
	*out_len = len;
	text = NULL;
	return 0;
}

static int read_file(int dir_fd, const char *dir, const char *name, struct limits_rules *out,
		     char *reason)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *text = NULL;
	char label[512], path[4608];
	size_t len = 0;
	struct stat st;
	int file, r;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	/* A pipe or a device does not hold us up: it is refused below. */
	fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return fail(reason, -errno, "%.300s: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0)
		return fail(reason, -errno, "%.300s: %s", path, strerror(errno));
	file = limits_rules_file(out, limits_store_label(dir, name, label, sizeof(label)));
	if (file < 0)
		return fail(reason, file, "out of memory");
	if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
		return 0;
	if (!S_ISREG(st.st_mode))
		return fail(reason, S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL,
			    "%.300s: is %s, not a file; rename or remove it", path,
			    S_ISDIR(st.st_mode) ? "a directory" : "a device, a pipe or a socket");
	r = check_owner(path, &st, reason);
	if (r == 0)
		r = read_all(fd, path, &text, &len, reason);
	if (r == 0)
		r = limits_file_parse(out, text, len, path, (uint32_t)file, reason);
	return err_trace(r);
}

/* ---- the folder --------------------------------------------------------------------- */

/* Return: 0; -ENOENT; -errno with the reason. */
static int open_folder(const char *dir, int *out_fd, char *reason)
{
	struct stat st;
	int fd, r;

	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(reason, -errno, "%.300s: %s", dir, strerror(errno));
	if (fstat(fd, &st) < 0)
		r = fail(reason, -errno, "%.300s: %s", dir, strerror(errno));
	else
		r = check_owner(dir, &st, reason);
	if (r < 0) {
		close(fd);
		return err_trace(r);
	}
	*out_fd = fd;
	return 0;
}

static int is_rule_file(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return entry->d_name[0] != '.' && len > 5 && !strcmp(entry->d_name + len - 5, ".conf");
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int limits_store_read(const char *dir, bool must_exist, struct limits_rules *out,
		      char reason[LIMITS_REASON_MAX])
{
	_cleanup_close_ int fd = -1;
	struct dirent **names = NULL;
	int i, n, r;

	limits_rules_init(out);
	r = open_folder(dir, &fd, reason);
	if (r < 0)
		return r == -ENOENT && !must_exist ? 0 : err_trace(r);
	n = scandirat(fd, ".", &names, is_rule_file, by_name);
	if (n < 0)
		return fail(reason, -errno, "%.300s: %s", dir, strerror(errno));
	if (n > (int)LIMITS_FILES_MAX)
		r = fail(reason, -E2BIG, "%.300s: has more than %u files", dir, LIMITS_FILES_MAX);
	for (i = 0; i < n && r == 0; i++)
		r = read_file(fd, dir, names[i]->d_name, out, reason);
	for (i = 0; i < n; i++)
		free(names[i]);
	free(names);
	if (r < 0)
		limits_rules_deinit(out);
	return err_trace(r);
}

int limits_store_read_saved(const char *dir, struct limits_rules *out,
			    char reason[LIMITS_REASON_MAX])
{
	_cleanup_close_ int fd = -1;
	char label[512];
	int r;

	limits_rules_init(out);
	r = open_folder(dir, &fd, reason);
	if (r == 0 &&
	    (faccessat(fd, LIMITS_SAVED, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT))
		r = read_file(fd, dir, LIMITS_SAVED, out, reason);
	else if (r == 0 || r == -ENOENT)
		r = limits_rules_file(out,
				      limits_store_label(dir, LIMITS_SAVED, label, sizeof(label)));
	if (r < 0) {
		limits_rules_deinit(out);
		return err_trace(r);
	}
	return 0;
}

/* ---- saving ------------------------------------------------------------------------- */

static int write_rules(int fd, const struct limits_rules *rules)
{
	FILE *f = fdopen(fd, "w");
	int r = 0;

	if (!f) {
		r = -errno;
		close(fd);
		return err_origin(r);
	}
	fputs("# Written by 'vramctl limit set --save' and 'vramctl limit reset --save': comments put\n"
	      "# here are lost. Rules of one's own belong into another file; see vramd.limits(5).\n",
	      f);
	limits_file_print(rules, 0, f);
	if (fflush(f) || ferror(f) || fsync(fileno(f)) < 0)
		r = err_origin(errno ? -errno : -EIO);
	if (fclose(f) && r == 0)
		r = err_origin(-errno);
	return err_trace(r);
}

/* As mkdir -p; parents are for their owner, as the rules of XDG folders have it. Return: 0 or -errno. */
static int make_folders(const char *dir)
{
	char path[PATH_MAX];
	size_t len = strlen(dir);

	if (len >= sizeof(path))
		return err_origin(-ENAMETOOLONG);
	memcpy(path, dir, len + 1);
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return err_origin(-errno);
		*slash = '/';
	}
	return mkdir(path, 0755) < 0 && errno != EEXIST ? err_origin(-errno) : 0;
}

int limits_store_save(const char *dir, const struct limits_rules *rules,
		      char reason[LIMITS_REASON_MAX])
{
	_cleanup_close_ int dir_fd = -1;
	int fd, r;

	r = make_folders(dir);
	if (r < 0)
		return fail(reason, r, "%.300s: cannot be made: %s", dir, strerror(-r));
	r = open_folder(dir, &dir_fd, reason);
	if (r < 0)
		return err_trace(r);
	/* What an earlier attempt left. */
	unlinkat(dir_fd, NEW_NAME, 0);
	fd = openat(dir_fd, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return fail(reason, -errno, "%.300s/%s: %s", dir, LIMITS_SAVED, strerror(errno));
	r = fchmod(fd, 0644) < 0 ? -errno : 0;
	if (r < 0)
		close(fd);
	else
		r = write_rules(fd, rules);
	if (r == 0 && renameat(dir_fd, NEW_NAME, dir_fd, LIMITS_SAVED) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dir_fd, NEW_NAME, 0);
		return fail(reason, r, "%.300s/%s: cannot be written: %s", dir, LIMITS_SAVED,
			    strerror(-r));
	}
	/* The name itself; that it does not last through a crash is no reason to say that nothing was saved. */
	(void)!fsync(dir_fd);
	return 0;
}
