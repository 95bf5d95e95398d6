/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon as a whole: what it is made of, in which order it is set up and taken down.
 *
 * Up: the helper for names, resource limits, signals, loop, scheduler (with the device and all that), the
 * limits in force, listener, and then the privileges go.
 *
 * Down, on SIGTERM or SIGINT: the listener stops, sessions are told and ended, reads
 * and writes in flight end, and everything is freed in the reverse order. A second signal ends the
 * process at once. SIGHUP reads the configuration and the limits again and takes the log level and all
 * limits from them, or nothing if one of the files has a mistake; the rest needs a restart.
 */
#ifndef VRAM_DAEMON_DAEMON_H
#define VRAM_DAEMON_DAEMON_H

struct config;
struct vramd;

/*
 * daemon_new() - config is borrowed and must live on; argc and argv are what it was made from, for
 * SIGHUP.
 * Return: 0, or -errno with the reason logged.
 */
int daemon_new(struct vramd **out, const struct config *config, int argc, char *const argv[]);
/* Until a signal ends it. Return: 0, or a fatal -errno, logged. */
int daemon_run(struct vramd *d);
struct vramd *daemon_free(struct vramd *d);

#endif
