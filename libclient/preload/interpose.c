// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * The functions of the C library that the shim stands in front of.
 *
 * Memory: straight to the system call, as the C library does. Opening: through to the next
 * definition, only to learn of model files that are never mapped.
 */
/* The fortified headers define some of these functions themselves. */
#undef _FORTIFY_SOURCE
#define _GNU_SOURCE 1
#include "libclient/preload/shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libclient/preload/ranges.h"

struct shim shim = { .lock = PTHREAD_MUTEX_INITIALIZER };
__thread int shim_busy __attribute__((tls_model("initial-exec")));

#define PUBLIC VRAM_API

static bool is_set(const char *name)
{
	const char *value = getenv(name);

	return value && *value && strcmp(value, "0") != 0;
}

__attribute__((constructor)) static void begin(void)
{
	shim.quiet = is_set("VRAMRUN_QUIET");
	shim.verbose = is_set("VRAMRUN_VERBOSE");
	shim.require = is_set("VRAMRUN_REQUIRE");
	shim.stats = is_set("VRAMRUN_STATS");
	shim.name = getenv("VRAMRUN_NAME");
	admit_wish_read(&shim.wish, getenv("VRAMRUN_WAIT"), getenv("VRAMRUN_PRIORITY"),
			getenv("VRAMRUN_WORKING_SET"));
	if (shim.name)
		shim.name = strdup(shim.name);
}

__attribute__((destructor)) static void end(void)
{
	shim_busy = 1;
	report_at_exit();
}

static bool ours(const void *addr, size_t length)
{
	uint64_t start = (uintptr_t)addr;

	if (shim_busy || !atomic_load_explicit(&shim.client, memory_order_acquire))
		return false;
	return length <= UINT64_MAX - start && ranges_touch(start, start + length);
}

/* ---- memory ----------------------------------------------------------------------- */

static void *plain_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	return (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);
}

PUBLIC void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	int type = flags & MAP_TYPE, saved = errno, r = 0;
	void *out = MAP_FAILED;

	if (!shim_busy && prot == PROT_READ && fd >= 0 &&
	    !(flags & (MAP_ANONYMOUS | MAP_HUGETLB)) &&
	    (type == MAP_SHARED || type == MAP_PRIVATE || type == MAP_SHARED_VALIDATE)) {
		shim_busy = 1;
		r = serve_mmap(addr, length, flags, fd, offset, &out);
		shim_busy = 0;
		errno = saved;
	}
	if (r > 0)
		return out;
	if (r < 0) {
		errno = -r;
		return MAP_FAILED;
	}
	if ((flags & MAP_FIXED) && ours(addr, length)) {
		shim_busy = 1;
		serve_forget((uintptr_t)addr, length);
		shim_busy = 0;
		errno = saved;
	}
	return plain_mmap(addr, length, prot, flags, fd, offset);
}

PUBLIC void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off64_t offset)
	__attribute__((alias("mmap")));

PUBLIC int munmap(void *addr, size_t length)
{
	if ((uintptr_t)addr % 4096 == 0 && length > 0 && ours(addr, length)) {
		int saved = errno;

		shim_busy = 1;
		serve_forget((uintptr_t)addr, (length + 4095) & ~(size_t)4095);
		shim_busy = 0;
		errno = saved;
	}
	return (int)syscall(SYS_munmap, addr, length);
}

PUBLIC void *mremap(void *addr, size_t old_length, size_t new_length, int flags, ...)
{
	void *new_addr = NULL, *out;
	va_list args;

	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
		va_start(args, flags);
		new_addr = va_arg(args, void *);
		va_end(args);
	}
	if (ours(addr, old_length)) {
		int saved = errno, r;

		shim_busy = 1;
		r = serve_mremap((uintptr_t)addr, old_length, new_length, flags, new_addr, &out);
		shim_busy = 0;
		errno = r < 0 ? -r : saved;
		if (r)
			return r > 0 ? out : MAP_FAILED;
	}
	return (void *)syscall(SYS_mremap, addr, old_length, new_length, flags, new_addr);
}

/* A private copy of ours that was written to would be lost with its session. */
PUBLIC int mprotect(void *addr, size_t length, int prot)
{
	if ((prot & PROT_WRITE) && ours(addr, length)) {
		errno = EACCES;
		return -1;
	}
	return (int)syscall(SYS_mprotect, addr, length, prot);
}

/* Advice on memory that the daemon looks after: taken note of, not followed. */
PUBLIC int madvise(void *addr, size_t length, int advice)
{
	if (ours(addr, length)) {
		switch (advice) {
		case MADV_DONTNEED:
		case MADV_FREE:
		case MADV_REMOVE:
		case MADV_POPULATE_WRITE:
			break;
		default:
			if ((uintptr_t)addr % 4096 == 0)
				return 0;
		}
	}
	return (int)syscall(SYS_madvise, addr, length, advice);
}

PUBLIC int posix_madvise(void *addr, size_t length, int advice)
{
	int saved = errno, r;

	/* As in the C library: freeing is no mere advice. */
	if (advice == POSIX_MADV_DONTNEED || ours(addr, length))
		return 0;
	r = syscall(SYS_madvise, addr, length, advice) < 0 ? errno : 0;
	errno = saved;
	return r;
}

/* A locking call on a range that is partly ours is done for the rest of it. */
static int lock_rest(long number, const void *addr, size_t length, unsigned int flags)
{
	uint64_t at = (uintptr_t)addr & ~4095ull;
	uint64_t end = ((uintptr_t)addr + length + 4095) & ~4095ull, stop;

	if (!ours(addr, length))
		return (int)syscall(number, addr, length, flags);
	for (; ranges_gap(&at, end, &stop); at = stop)
		if (syscall(number, at, stop - at, flags) < 0)
			return -1;
	return 0;
}

PUBLIC int mlock(const void *addr, size_t length)
{
	return lock_rest(SYS_mlock, addr, length, 0);
}

PUBLIC int mlock2(const void *addr, size_t length, unsigned int flags)
{
	return lock_rest(SYS_mlock2, addr, length, flags);
}

PUBLIC int munlock(const void *addr, size_t length)
{
	return lock_rest(SYS_munlock, addr, length, 0);
}

/* ---- closing ---------------------------------------------------------------------- */

/*
 * Programs that turn into daemons close every descriptor there may be. Without the userfaultfd the mappings would read
 * zeros: ours are not open, as far as the program is concerned.
 */
#define GUARDED 5

/* Sorted; -1 for what is not there. */
static void guarded_fds(int fds[GUARDED])
{
	struct vram_client *client = atomic_load_explicit(&shim.client, memory_order_acquire);

	for (int i = 0; i < GUARDED; i++)
		fds[i] = -1;
	if (!client || shim_busy)
		return;
	fds[0] = client->uffd;
	fds[1] = client->sock;
	fds[2] = client->epoll_fd;
	fds[3] = client->watch_kick_fd;
	fds[4] = client->device_fd;
	for (int i = 1; i < GUARDED; i++)
		for (int k = i; k > 0 && fds[k - 1] > fds[k]; k--) {
			int t = fds[k];

			fds[k] = fds[k - 1];
			fds[k - 1] = t;
		}
}

PUBLIC int close(int fd)
{
	int fds[GUARDED];

	guarded_fds(fds);
	for (int i = 0; fd >= 0 && i < GUARDED; i++) {
		if (fds[i] == fd) {
			errno = EBADF;
			return -1;
		}
	}
	return (int)syscall(SYS_close, fd);
}

PUBLIC int close_range(unsigned int first, unsigned int last, int flags)
{
	int fds[GUARDED];

	guarded_fds(fds);
	/* Close-on-exec is what they are anyway. */
	for (int i = 0; !(flags & CLOSE_RANGE_CLOEXEC) && i < GUARDED; i++) {
		unsigned int fd = (unsigned int)fds[i];

		if (fds[i] < 0 || fd < first || fd > last)
			continue;
		if (fd > first && syscall(SYS_close_range, first, fd - 1, flags) < 0)
			return -1;
		if (fd == last)
			return 0;
		first = fd + 1;
	}
	return (int)syscall(SYS_close_range, first, last, flags);
}

PUBLIC void closefrom(int first)
{
	close_range(first < 0 ? 0 : (unsigned int)first, ~0u, 0);
}

/* ---- opening ---------------------------------------------------------------------- */

static int noted(int fd)
{
	int saved = errno;

	if (fd >= 0 && !shim_busy) {
		shim_busy = 1;
		serve_note_open(fd);
		shim_busy = 0;
		errno = saved;
	}
	return fd;
}

/* The next definition of a function; looked up once each. */
static void *next(_Atomic(void *) *cache, const char *name)
{
	void *p = atomic_load_explicit(cache, memory_order_acquire);

	if (!p) {
		p = dlsym(RTLD_NEXT, name);
		atomic_store_explicit(cache, p, memory_order_release);
	}
	return p;
}

static bool has_mode(int flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

#define TAKE_MODE(mode, flags)                       \
	do {                                         \
		va_list args;                        \
                                                     \
		if (!has_mode(flags))                \
			break;                       \
		va_start(args, flags);               \
		(mode) = va_arg(args, unsigned int); \
		va_end(args);                        \
	} while (0)

#define DEFINE_OPEN(name)                                                           \
	PUBLIC int name(const char *path, int flags, ...)                           \
	{                                                                           \
		static _Atomic(void *) cache;                                       \
		int (*real)(const char *, int, unsigned int) = next(&cache, #name); \
		unsigned int mode = 0;                                              \
                                                                                    \
		TAKE_MODE(mode, flags);                                             \
		return noted(real(path, flags, mode));                              \
	}

#define DEFINE_OPENAT(name)                                                              \
	PUBLIC int name(int dir, const char *path, int flags, ...)                       \
	{                                                                                \
		static _Atomic(void *) cache;                                            \
		int (*real)(int, const char *, int, unsigned int) = next(&cache, #name); \
		unsigned int mode = 0;                                                   \
                                                                                         \
		TAKE_MODE(mode, flags);                                                  \
		return noted(real(dir, path, flags, mode));                              \
	}

DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

/* What fortified programs call when there is no mode. */
#define DEFINE_OPEN_2(name)                                           \
	PUBLIC int name(const char *path, int flags);                 \
	PUBLIC int name(const char *path, int flags)                  \
	{                                                             \
		static _Atomic(void *) cache;                         \
		int (*real)(const char *, int) = next(&cache, #name); \
                                                                      \
		return noted(real(path, flags));                      \
	}

#define DEFINE_OPENAT_2(name)                                              \
	PUBLIC int name(int dir, const char *path, int flags);             \
	PUBLIC int name(int dir, const char *path, int flags)              \
	{                                                                  \
		static _Atomic(void *) cache;                              \
		int (*real)(int, const char *, int) = next(&cache, #name); \
                                                                           \
		return noted(real(dir, path, flags));                      \
	}

DEFINE_OPEN_2(__open_2)
DEFINE_OPEN_2(__open64_2)
DEFINE_OPENAT_2(__openat_2)
DEFINE_OPENAT_2(__openat64_2)

#define DEFINE_FOPEN(name)                                                       \
	PUBLIC FILE *name(const char *path, const char *mode)                    \
	{                                                                        \
		static _Atomic(void *) cache;                                    \
		FILE *(*real)(const char *, const char *) = next(&cache, #name); \
		FILE *f = real(path, mode);                                      \
                                                                                 \
		if (f)                                                           \
			noted(fileno(f));                                        \
		return f;                                                        \
	}

DEFINE_FOPEN(fopen)
DEFINE_FOPEN(fopen64)
