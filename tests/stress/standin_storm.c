// SPDX-License-Identifier: GPL-2.0-only
/*
 * links: common/cuda_driver.c common/err.c tests/support/standin.c
 *
 * The stand-in driver under several processes of several threads each, some of which are killed at any moment: bytes
 * that a thread wrote are what it reads, calls fail for want of memory only, and in the end nothing is held.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cuda_driver.h"
#include "tests/support/standin.h"

#define PAGE	  STANDIN_PAGE
#define CARD	  (12 * PAGE)
#define N_WORKERS 3
#define N_THREADS 3
#define WORDS	  8192 /* of each page that are looked at */

static struct standin_card *card;
static struct cuda_driver cu;
static cuda_context context;

#define MUST(call)                                                                    \
	do {                                                                          \
		cuda_result r_ = (call);                                              \
		if (r_ != CUDA_ABI_SUCCESS) {                                         \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, \
				cuda_driver_error_text(NULL, r_));                    \
			_exit(1);                                                     \
		}                                                                     \
	} while (0)

static void fill(uint64_t *words, uint64_t seed)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		words[i] = seed * 0x9e3779b97f4a7c15ull + i;
}

/* One page: made, passed through a descriptor, written, read, given back. */
static void one_page(uint64_t *host, cuda_stream stream, uint64_t seed)
{
	const struct cuda_mem_prop prop = {
		.type = CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED,
		.handle_types = CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
		.location = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, 0 },
	};
	const struct cuda_mem_access access = { { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, 0 },
						CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE };
	unsigned int pages = 1 + seed % 3;
	cuda_mem mem, import;
	cuda_ptr ptr;
	int fd;

	switch (cu.mem_create(&mem, pages * PAGE, &prop, 0)) {
	case CUDA_ABI_SUCCESS:
		break;
	case CUDA_ABI_ERROR_OUT_OF_MEMORY:
		return;
	default:
		MUST(CUDA_ABI_ERROR_UNKNOWN);
	}
	MUST(cu.mem_export(&fd, mem, CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	MUST(cu.mem_import(&import, (void *)(intptr_t)fd,
			   CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
	close(fd);
	MUST(cu.mem_release(mem));
	MUST(cu.mem_address_reserve(&ptr, pages * PAGE, 0, 0, 0));
	MUST(cu.mem_map(ptr, pages * PAGE, 0, import, 0));
	MUST(cu.mem_set_access(ptr, pages * PAGE, &access, 1));
	MUST(cu.mem_release(import));
	fill(host, seed);
	MUST(cu.memcpy_htod_async(ptr + (pages - 1) * PAGE, host, WORDS * 8, stream));
	MUST(cu.memset_d8_async(ptr + pages * PAGE - 1, 0x5a, 1, stream));
	MUST(cu.memcpy_dtoh_async(host + WORDS, ptr + (pages - 1) * PAGE, WORDS * 8, stream));
	MUST(cu.stream_synchronize(stream));
	if (memcmp(host, host + WORDS, WORDS * 8) != 0) {
		fprintf(stderr, "other bytes than were written\n");
		_exit(1);
	}
	MUST(cu.mem_unmap(ptr, pages * PAGE));
	MUST(cu.mem_address_free(ptr, pages * PAGE));
}

/* The same by cuMemAlloc, small, with an event between two streams. */
static void one_block(uint64_t *host, cuda_stream a, cuda_stream b, cuda_event event, uint64_t seed)
{
	cuda_result result;
	cuda_ptr ptr;

	result = cu.mem_alloc(&ptr, WORDS * 8);
	if (result == CUDA_ABI_ERROR_OUT_OF_MEMORY)
		return;
	MUST(result);
	fill(host, seed);
	MUST(cu.memcpy_htod_async(ptr, host, WORDS * 8, a));
	MUST(cu.event_record(event, a));
	MUST(cu.stream_wait_event(b, event, 0));
	MUST(cu.memcpy_dtoh_async(host + WORDS, ptr, WORDS * 8, b));
	MUST(cu.mem_free_async(ptr, b));
	MUST(cu.stream_synchronize(b));
	if (memcmp(host, host + WORDS, WORDS * 8) != 0) {
		fprintf(stderr, "other bytes than were written\n");
		_exit(1);
	}
}

static void *thread(void *data)
{
	uint64_t seed = ((uint64_t)getpid() << 20) + (uintptr_t)data * 1000003;
	cuda_stream a, b;
	cuda_event event;
	uint64_t *host;

	MUST(cu.ctx_set_current(context));
	MUST(cu.mem_host_alloc((void **)&host, 2 * WORDS * 8, 0));
	MUST(cu.event_create(&event, CUDA_ABI_EVENT_DISABLE_TIMING));
	for (;;) {
		size_t free, total;
		unsigned int i;

		MUST(cu.stream_create(&a, CUDA_ABI_STREAM_NON_BLOCKING));
		MUST(cu.stream_create(&b, CUDA_ABI_STREAM_NON_BLOCKING));
		for (i = 0; i < 20; i++) {
			one_page(host, a, seed++);
			one_block(host, a, b, event, seed++);
			MUST(cu.mem_get_info(&free, &total));
			if (free > total)
				_exit(1);
		}
		MUST(cu.stream_destroy(a));
		MUST(cu.stream_destroy(b));
	}
	return NULL;
}

static void worker(void)
{
	char reason[CUDA_DRIVER_REASON_SIZE];
	pthread_t threads[N_THREADS];
	uintptr_t i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (cuda_driver_open(&cu, standin_library(), reason, sizeof(reason)) < 0) {
		fprintf(stderr, "%s\n", reason);
		_exit(1);
	}
	MUST(cu.primary_ctx_retain(&context, 0));
	for (i = 0; i < N_THREADS; i++)
		if (pthread_create(&threads[i], NULL, thread, (void *)i) != 0)
			_exit(1);
	for (;;)
		pause();
}

static pid_t start(void)
{
	pid_t pid = fork();

	if (!pid)
		worker();
	return pid;
}

/* Return: whether it ended by our hand. */
static bool end(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGKILL;
}

int main(void)
{
	unsigned int seconds = getenv("STRESS_SECONDS") ? atoi(getenv("STRESS_SECONDS")) : 5;
	time_t deadline = time(NULL) + seconds;
	pid_t workers[N_WORKERS];
	unsigned int i, kills = 0;
	uint64_t made;
	bool good = true;

	card = standin_new(CARD);
	card->image->latency_ns = 0;
	for (i = 0; i < N_WORKERS; i++)
		workers[i] = start();
	while (good && time(NULL) < deadline) {
		usleep(20000 + random() % 150000);
		i = random() % N_WORKERS;
		good = end(workers[i]);
		workers[i] = start();
		kills++;
	}
	for (i = 0; i < N_WORKERS; i++)
		good = end(workers[i]) && good;
	made = standin_calls(card, "cuMemCreate", 0);
	printf("%u kills, %llu pages made, %llu refused, %llu bytes left\n", kills,
	       (unsigned long long)made, (unsigned long long)card->image->refused,
	       (unsigned long long)standin_used_bytes(card));
	good = good && made && standin_used_bytes(card) == 0;
	standin_free(card);
	return !good;
}
