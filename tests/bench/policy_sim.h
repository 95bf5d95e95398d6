/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef VRAM_BENCH_POLICY_SIM_H
#define VRAM_BENCH_POLICY_SIM_H

/*
 * A closed loop around the policy: engines whose threads walk their model and
 * stall on what is absent, a disk with a rate, and a pager that sees of the
 * engines only what the real one sees (touches of chunks that are not open).
 */

#include <stdbool.h>
#include <stdint.h>

#define SIM_MAX_PROCESSES 8u
#define SIM_MAX_THREADS	  16u

struct sim_config {
	uint32_t n_chunks; /* of each model */
	uint64_t chunk_bytes;
	uint32_t n_processes;
	uint32_t n_threads; /* of each process */
	bool same_file;
	bool split; /* threads halve each tensor, else take the next chunk in turn */
	uint32_t tensor_chunks;
	uint32_t output_chunks; /* first in the file, used last */
	uint32_t embed_chunks;	/* behind it in the file: one of them, at random, begins a pass */
	double skipped;	     /* groups of four chunks that a pass leaves out, at random: experts */
	bool shuffled;	     /* tensors are used in another order than the file's */
	double capacity;     /* of the bytes of all files */
	uint64_t pass_ns;    /* compute of one pass, nothing missing */
	double jitter;	     /* of each chunk's compute time */
	double bytes_per_ns; /* the disk's rate */
	uint64_t latency_ns;
	uint64_t touch_ns; /* what a tripwire costs the thread */
	uint32_t max_in_flight;
	uint64_t window_bytes;
	double phase;	 /* the next process starts so much of a pass later */
	uint32_t passes; /* of each process, after warm_passes */
	uint32_t warm_passes;
	bool no_spread;
	uint64_t seed;
};

struct sim_result {
	double pass_ns;		/* mean time of a pass of a process */
	double chunks_per_pass; /* read, over all processes, for one pass of each */
	double disk_busy;	/* 0 .. 1 */
	double demand_per_pass; /* loads that somebody waited for from the start */
	double limit_ns;	/* what a pass cannot be shorter than */
	uint64_t refused;	/* loads that had to wait for a victim */
	uint64_t first_pass_ns;
	bool stuck; /* nothing could go on: a bug */
};

/* Sensible values for a 5.6 GB model: change what matters. */
void sim_defaults(struct sim_config *config);
/* Return: 0 or -ENOMEM. */
int sim_run(const struct sim_config *config, struct sim_result *out);

#endif
