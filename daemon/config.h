/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon's configuration.
 *
 * Three layers, the later one wins: built-in defaults, the configuration file, the command line. A
 * bad setting refuses the whole configuration, with the place and the reason: a daemon that runs
 * with half of what its administrator wrote is worse than one that does not start.
 *
 * One table (config.c) says for every setting its section, key, type, range, default and one line
 * of help. The parser, `vramd --help`, `vramd --check-config`, the shell's completion and the test of
 * the manual page read it. The command line is in config_line.c.
 */
#ifndef VRAM_DAEMON_CONFIG_H
#define VRAM_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "daemon/log.h"

/* Decided at run time. */
#define CONFIG_AUTO (-1)

/* arbiter.use, beside CONFIG_AUTO. */
enum config_arbiter {
	CONFIG_ARBITER_LOCAL = 0,
	CONFIG_ARBITER_MODULE = 1,
};

struct config {
	bool user;	    /* --user: a private daemon of whoever starts it */
	bool check_only;    /* --check-config */
	uint64_t ram_bytes; /* what percentages are percentages of */

	struct {
		char *socket;	      /* where to listen; never NULL after config_load() */
		int log_level;	      /* enum log_level */
		char *metrics_listen; /* HOST:PORT, "none" or "" */
		int metrics_detail;   /* 0: of users; 1: of everything */
	} daemon;
	struct {
		int use;	/* CONFIG_AUTO or enum config_arbiter */
		uint64_t grace; /* ns that clients wait for the next daemon, and it for them */
	} arbiter;
	struct {
		int kind;		  /* CONFIG_AUTO or enum vram_device_kind */
		char *name;		  /* "": the device's own */
		char *card;		  /* CUDA: which; "": the first */
		uint64_t budget;	  /* bytes of the vram tier; 0: auto */
		uint64_t host_budget;	  /* bytes of the host tier; 0: none, or auto for a card */
		uint64_t reserve;	  /* CUDA: bytes of the card that are never taken */
		uint64_t idle;		  /* CUDA: ns until unused memory goes back to the driver */
		uint64_t reclaim_timeout; /* CUDA: ns that a client has to let go of memory */
		uint64_t link;		  /* bytes a second; 0: no link */
		uint64_t chunk;		  /* bytes; 0: auto */
		int huge;		  /* CONFIG_AUTO, 0 never, 1 always */
	} device;
	struct {
		uint64_t inflight;  /* bytes being read at once */
		uint64_t read_size; /* bytes of one read */
		int direct;	    /* CONFIG_AUTO, 0 never */
		char *fault;	    /* "": no faults; else what the store's fault layer is to do */
	} io;
	struct {
		char *path;    /* a directory; never NULL after config_load() */
		uint64_t size; /* bytes; 0: buffers are never written out */
	} swap;
	struct {
		char *dir;	/* of limits; never NULL after config_load() */
		bool dir_given; /* it was configured, so it has to exist */
		uint64_t max_sessions;
		uint64_t max_sessions_per_user;
		uint64_t max_slots; /* of a session, as all below */
		uint64_t max_objects;
		uint64_t max_extents;	 /* of one object */
		uint64_t max_registered; /* bytes of all objects and mappings */
		uint64_t max_requests;	 /* in flight */
		uint64_t pin_timeout;	 /* ns; 0: never revoke */
		uint64_t wait_timeout;	 /* ns; 0: wait for ever */
		uint64_t admit_timeout;	 /* ns; 0: wait for ever */
		uint64_t admit_idle;	 /* ns until a reservation lapses */
	} limits;
	struct {
		uint64_t prefetch; /* bytes loaded ahead for one user of a model; 0: auto */
		int share;	   /* enum policy_share: 0 fair, 1 bytes */
		uint64_t keep;	   /* ns that a model without users stays cached */
		uint64_t turn;	   /* ns that an unmodified CUDA program may keep the memory */
	} policy;
};

/* What config_load() may say beside 0 and -errno. */
enum {
	CONFIG_E_DONE = 1,   /* --help or --version was answered: exit 0 */
	CONFIG_E_USAGE = 2,  /* said on stderr: exit 2 */
	CONFIG_E_FAILED = 3, /* the same: exit 1 */
};

/* Of limits.dir: with the name of a file behind it, it still is a path. */
#define CONFIG_DIR_MAX 3800

/* Room for any reason. */
#define CONFIG_REASON_MAX 512

/* config_init() - the defaults, as they are before config_finish(). Return: 0 or -ENOMEM. */
int config_init(struct config *config, bool user);
void config_deinit(struct config *config);

/*
 * One setting. Return: 0, -ENOENT for an unknown section or key, -EINVAL or -ERANGE for a bad
 * value, -ENOMEM; then `reason` says what is wrong and what would be right.
 */
int config_set(struct config *config, const char *section, const char *key, const char *value,
	       char reason[CONFIG_REASON_MAX]);
/* Return: 0, or -errno with "FILE:LINE: what" in reason. */
int config_read(struct config *config, const char *path, char reason[CONFIG_REASON_MAX]);
/* What an auto budget is for the host device. */
uint64_t config_host_budget(const struct config *config);
/* Works out what depends on several settings and checks it. Return: as config_set(). */
int config_finish(struct config *config, char reason[CONFIG_REASON_MAX]);

/*
 * The whole of it: defaults, file, command line. Errors are reported on stderr.
 * Return: 0 with *out to be deinitialised, CONFIG_E_*, or -errno.
 */
int config_load(struct config *out, int argc, char *const argv[]);
/*
 * The same, for a daemon that runs: why the configuration is refused is in reason, and not on stderr. It is
 * empty where the command line itself was wrong, which is said there.
 */
int config_reload(struct config *out, int argc, char *const argv[], char reason[CONFIG_REASON_MAX]);

/* The configuration as a file that config_read() takes. */
void config_print(const struct config *config, FILE *f);
/* Calls fn for every setting that there is, in the order of the table. */
struct config_option;
void config_each(void (*fn)(const struct config_option *option, void *userdata), void *userdata);

#endif
