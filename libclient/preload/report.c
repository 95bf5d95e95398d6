// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * What the user is told: that there is no daemon, and weights that the program keeps in memory of its own.
 *
 * Only mappings can be paged. An engine that reads the file into its own memory, or repacks
 * weights for its CPU kernels, holds a copy that no daemon can take away; the user will see
 * the machine run out of memory and blame the wrong program. So it is said, with the flag that
 * avoids it: as soon as the watch sees it, and else when the program ends.
 */
#define _GNU_SOURCE 1
#include "libclient/preload/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/size.h"

/* Memory of the program's own that is this part of a model's size is no accident. */
#define SUSPICIOUS(size) ((size) / 4 * 3)
/* Beside a smaller model, caches and buffers of any engine are as large as a copy would be. */
#define WORTH_SAYING (256u << 20)

static void put_line(const char *format, va_list args)
{
	char line[512] = "vramrun: ";
	size_t prefix = strlen(line);
	int n = vsnprintf(line + prefix, sizeof(line) - prefix - 1, format, args);

	if (n < 0)
		return;
	n = (size_t)n < sizeof(line) - prefix - 1 ? n : (int)(sizeof(line) - prefix - 2);
	line[prefix + (size_t)n] = '\n';
	/* One write: lines of several threads and processes do not mix. */
	if (write(STDERR_FILENO, line, prefix + (size_t)n + 1) < 0)
		return;
}

void report_line(const char *format, ...)
{
	va_list args;

	if (shim.quiet)
		return;
	va_start(args, format);
	put_line(format, args);
	va_end(args);
}

/* Anonymous memory of the process. */
static uint64_t anon_bytes(void)
{
	uint64_t resident = 0, shared = 0;
	char text[128];
	ssize_t n;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	if (sscanf(text, "%*u %" SCNu64 " %" SCNu64, &resident, &shared) != 2 || shared > resident)
		return 0;
	return (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void complain_copied(struct shim_file *file, uint64_t bytes)
{
	char mine[SIZE_TEXT_MAX], whole[SIZE_TEXT_MAX];

	report_line(
		"%s holds %s in memory of its own beside %s (%s): if that is a copy of the weights, it "
		"cannot be paged; llama.cpp keeps none with --no-repack",
		program_invocation_short_name, size_format(mine, bytes), file->name,
		size_format(whole, file->size));
	file->reported = true;
}

static void complain_read(struct shim_file *file)
{
	report_line("%s read %s instead of mapping it, so nothing of it was paged; with llama.cpp, "
		    "leave out --no-mmap%s",
		    program_invocation_short_name, file->name,
		    file->direct ? ", --direct-io" : ", --mlock and --direct-io");
	file->reported = true;
}

void report_look(void)
{
	uint64_t anon = anon_bytes(), mapped = 0;
	uint32_t n = atomic_load(&shim.n_files);
	struct shim_file *largest = NULL;

	if (anon > shim.peak_anon_bytes)
		shim.peak_anon_bytes = anon;
	for (uint32_t i = 0; i < n; i++) {
		struct shim_file *file = &shim.files[i];

		if (!file->mapped || file->inherited)
			continue;
		mapped += file->size;
		if (!largest || file->size > largest->size)
			largest = file;
	}
	if (largest && !largest->reported && mapped >= WORTH_SAYING && anon > SUSPICIOUS(mapped))
		complain_copied(largest, anon);
}

static void print_stats(struct vram_client *client)
{
	char loaded[SIZE_TEXT_MAX], resident[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX],
		evicted[SIZE_TEXT_MAX];
	struct vram_stats stats;

	if (vram_client_stats(client, &stats) < 0)
		return;
	report_line("%s: models %s, resident %s, loaded %s, evicted %s, waited %" PRIu64
		    " times, %.3f s",
		    program_invocation_short_name, size_format(total, stats.total_bytes),
		    size_format(resident, stats.resident_bytes),
		    size_format(loaded, stats.loaded_bytes),
		    size_format(evicted, stats.evicted_bytes), stats.faults,
		    (double)stats.stall_ns / 1e9);
}

void report_at_exit(void)
{
	struct vram_client *client = atomic_load(&shim.client);
	uint32_t n = atomic_load(&shim.n_files);
	struct rusage usage;

	/* A thread that was stopped inside may hold the lock for ever: then go without. */
	if (shim.stats && client && pthread_mutex_trylock(&client->lock) == 0) {
		bool lost = client->lost;

		pthread_mutex_unlock(&client->lock);
		if (!lost)
			print_stats(client);
	}
	report_look();
	if (getrusage(RUSAGE_SELF, &usage))
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct shim_file *file = &shim.files[i];

		if (!file->mapped && !file->inherited && !file->reported && !file->refused &&
		    file->size >= WORTH_SAYING && !shim.off &&
		    (uint64_t)usage.ru_maxrss * 1024 > SUSPICIOUS(file->size))
			complain_read(file);
	}
}
