/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The folder limits.d: reading its files, and saving into one of them.
 *
 * Files count whose names end in .conf and do not begin with a dot, in the order of strcmp(). Everything
 * else in the folder is left alone. A file has to be a regular one (a symbolic link may lead to it; one to
 * /dev/null stands for an empty file), of root or of the daemon's own user, not writable by its group or by
 * others, and of at most LIMITS_FILE_MAX bytes; there may be LIMITS_FILES_MAX of them. The folder itself is
 * held to the same owner and mode. What does not fit is not left out but refused, all of it: a rule
 * that is not read is a limit that does not hold.
 *
 * What `vramctl limit set --save` keeps is in LIMITS_SAVED, which is written anew each time, next to
 * it and then over it. Comments in it do not survive.
 */
#ifndef VRAM_DAEMON_LIMITS_STORE_H
#define VRAM_DAEMON_LIMITS_STORE_H

#include "daemon/limits_file.h"

#define LIMITS_SAVED	 "90-vramctl.conf"
#define LIMITS_FILE_MAX	 (1u << 20)
#define LIMITS_FILES_MAX 256u

/*
 * limits_store_read() - all rules of a folder.
 * @must_exist: else a folder that is not there has no rules
 *
 * Return: 0 with *out to be deinitialised; -errno with "FILE:LINE: what" or "FILE: what" in reason.
 */
int limits_store_read(const char *dir, bool must_exist, struct limits_rules *out,
		      char reason[LIMITS_REASON_MAX]);
/* LIMITS_SAVED alone, which need not exist; it has number 0 in the table. Return: as above. */
int limits_store_read_saved(const char *dir, struct limits_rules *out,
			    char reason[LIMITS_REASON_MAX]);
/*
 * limits_store_save() - writes all of a table's rules into LIMITS_SAVED; the folder is made if need be.
 * Return: 0, or -errno with the reason, and the file is as it was.
 */
int limits_store_save(const char *dir, const struct limits_rules *rules,
		      char reason[LIMITS_REASON_MAX]);

/* "limits.d/90-vramctl.conf" for a folder /etc/vramd/limits.d. Return: buf. */
const char *limits_store_label(const char *dir, const char *file, char *buf, size_t size);

#endif
