/* SPDX-License-Identifier: GPL-2.0-only */
/* For benchmarks: a private vramd ($VRAM_BUILD/vramd), clocks, medians, the result's line. */
#ifndef VRAM_TESTS_SUPPORT_BENCH_DAEMON_H
#define VRAM_TESTS_SUPPORT_BENCH_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct bench_daemon {
	pid_t pid;
	char dir[64];
	char socket[80];
};

/* settings: "section.key=value", NULL at the end. Return: 0 or -errno. */
int bench_daemon_start(struct bench_daemon *d, const char *const *settings);
void bench_daemon_stop(struct bench_daemon *d);
/* Anonymous memory of the daemon: its books, not the models. */
uint64_t bench_daemon_rss(const struct bench_daemon *d);

uint64_t bench_now_ns(void);
void bench_pin(pid_t pid, int cpu);
uint64_t bench_median(uint64_t *values, size_t n);
void bench_json(const char *bench, const char *figure, double value, const char *unit,
		const char *peer, double peer_value);

#endif
