// SPDX-License-Identifier: GPL-2.0-only
/*
 * cudashim: what it costs a program that its CUDA driver has our library in front of it.
 *
 * The driver is one of two empty functions, compiled here: so the figures are the shim's own, and no card's. A call that is
 * passed on (one jump) and one that goes through the gate (eleven arguments, as a kernel launch), against the same
 * calls without the shim; with as many threads as processors, too, because each has its own place at the gate. Every
 * way takes its turn in each round; the median of the rounds is printed, in nanoseconds a call.
 *
 * bench:
 * links: common/err.c
 */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	ROUNDS = 31,
	CALLS = 200000,
	THREADS_MAX = 16,
	SKIP = 77
};

static const char driver_source[] =
	"int cuInit(unsigned int f) { return 0; }\n"
	"int cuCtxGetDevice(int *d) { return 0; }\n"
	"int cuLaunchKernel(void *f, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e,\n"
	"		    unsigned g, unsigned s, void *h, void **p, void **x) { return p != x; }\n";

typedef int get_fn(int *);
typedef int launch_fn(void *, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int,
		      unsigned int, unsigned int, void *, void **, void **);

static get_fn *get[2];
static launch_fn *launch[2];

enum way {
	GET_DRIVER,
	GET_SHIM,
	LAUNCH_DRIVER,
	LAUNCH_SHIM,
	WAYS
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void call(enum way way)
{
	int device;

	for (int i = 0; i < CALLS; i++) {
		int r = way <= GET_SHIM ? get[way](&device) :
					  launch[way - LAUNCH_DRIVER](NULL, 1, 1, 1, 1, 1, 1, 0,
								      NULL, NULL, NULL);

		if (r)
			abort();
	}
}

static void *thread_main(void *arg)
{
	call(*(enum way *)arg);
	return NULL;
}

static double measure(enum way way, int n_threads)
{
	pthread_t threads[THREADS_MAX];
	double begin = now();

	if (n_threads == 1) {
		call(way);
	} else {
		for (int i = 0; i < n_threads; i++)
			pthread_create(&threads[i], NULL, thread_main, &way);
		for (int i = 0; i < n_threads; i++)
			pthread_join(threads[i], NULL);
	}
	return (now() - begin) / CALLS;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void report(const char *figure, int n_threads, double shim, double driver)
{
	printf("{\"bench\": \"cudashim\", \"figure\": \"%s\", \"value\": %.4g, \"unit\": \"ns\", "
	       "\"peer\": \"without the shim\", \"peer_value\": %.4g, \"ratio\": %.3g, \"threads\": %d}\n",
	       figure, shim, driver, driver / shim, n_threads);
}

static void run(int n_threads)
{
	double times[WAYS][ROUNDS];

	for (int i = 0; i < ROUNDS; i++)
		for (int w = 0; w < WAYS; w++)
			times[w][i] = measure((enum way)w, n_threads);
	for (int w = 0; w < WAYS; w++)
		qsort(times[w], ROUNDS, sizeof(times[w][0]), compare);
	report("passed_on_ns", n_threads, times[GET_SHIM][ROUNDS / 2],
	       times[GET_DRIVER][ROUNDS / 2]);
	report("launch_ns", n_threads, times[LAUNCH_SHIM][ROUNDS / 2],
	       times[LAUNCH_DRIVER][ROUNDS / 2]);
}

static int skip(const char *why)
{
	printf("%s\n", why);
	return SKIP;
}

int main(void)
{
	char folder[] = "/tmp/vram-cudashim.XXXXXX", driver[64], command[256], shim[4096];
	const char *build = getenv("VRAM_BUILD");
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	void *libraries[2];
	FILE *compiler;
	int status;

	if (!mkdtemp(folder))
		return 1;
	snprintf(driver, sizeof(driver), "%s/libcuda.so.1", folder);
	snprintf(command, sizeof(command), "cc -O1 -shared -fPIC -x c -o %s - 2>/dev/null", driver);
	compiler = popen(command, "w");
	status = compiler ? (fputs(driver_source, compiler), pclose(compiler)) : -1;
	snprintf(shim, sizeof(shim), "%s/cuda/libcuda.so.1", build ? build : "build");
	setenv("VRAM_CUDA_REAL", driver, 1);
	libraries[0] = status ? NULL : dlopen(driver, RTLD_NOW | RTLD_LOCAL);
	libraries[1] = libraries[0] ? dlopen(shim, RTLD_NOW | RTLD_LOCAL) : NULL;
	unlink(driver);
	rmdir(folder);
	if (!libraries[0])
		return skip("no compiler for the empty driver");
	if (!libraries[1])
		return skip(dlerror());
	for (int i = 0; i < 2; i++) {
		get[i] = (get_fn *)dlsym(libraries[i], "cuCtxGetDevice");
		launch[i] = (launch_fn *)dlsym(libraries[i], "cuLaunchKernel");
	}
	run(1);
	if (cpus > 1)
		run(cpus < THREADS_MAX ? (int)cpus : THREADS_MAX);
	return 0;
}
