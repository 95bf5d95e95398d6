// SPDX-License-Identifier: GPL-2.0-only
/*
 * The card in its image. standin.h says how pages are owned.
 *
 * LOCKING. table_lock() excludes all other processes and threads from the table of pages: a lock
 * on a byte of the image between processes, a mutex between threads. A thread may hold va_lock
 * (space.h) when it takes it, never the other way round.
 */
#include "tests/cuda-standin/device.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/cuda-standin/context.h"
#include "tests/cuda-standin/graph.h"

static struct {
	struct standin *table; /* once the image is found */
	struct standin *image; /* the same, once this process takes part */
	cuda_result found;
	unsigned char *memory; /* all pages, for copies and kernels */
	struct standin_proc *proc;
	char path[4096];
	pid_t pid;
	int fd; /* holds the slot of this process and, shortly, the table */
	struct stat stat;
	pthread_mutex_t mutex;
} device = { .fd = -1, .mutex = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local cuda_result async_fault;

struct standin *device_image(void)
{
	return device.image;
}

void *device_page(uint32_t page)
{
	return device.memory + page * STANDIN_PAGE;
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

void sleep_until(uint64_t ns)
{
	struct timespec t = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

void device_spend(uint64_t ns_per_page, unsigned int n)
{
	if (ns_per_page)
		sleep_until(now_ns() + ns_per_page * n);
}

uint64_t device_engine(enum engine engine, size_t size)
{
	struct standin *s = device.image;
	uint64_t rate = engine == ENGINE_H2D ? s->h2d_bytes_per_s :
			engine == ENGINE_D2H ? s->d2h_bytes_per_s :
					       s->d2d_bytes_per_s;
	uint64_t now, start, end, busy;

	if (!rate)
		return 0;
	now = now_ns();
	busy = atomic_load(&s->engine_free_ns[engine]);
	do {
		start = busy > now ? busy : now;
		end = start + (uint64_t)(size * 1e9 / rate);
	} while (!atomic_compare_exchange_weak(&s->engine_free_ns[engine], &busy, end));
	return end;
}

/* ---- the table ---- */

static bool lock_byte(int fd, off_t start, off_t length, short type, int command)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length
	};
	int r;

	do
		r = fcntl(fd, command, &lock);
	while (r < 0 && errno == EINTR);
	return r == 0;
}

static void table_lock(void)
{
	pthread_mutex_lock(&device.mutex);
	if (!lock_byte(device.fd, STANDIN_LOCK_TABLE, 1, F_WRLCK, F_OFD_SETLKW))
		abort();
}

static void table_unlock(void)
{
	lock_byte(device.fd, STANDIN_LOCK_TABLE, 1, F_UNLCK, F_OFD_SETLK);
	pthread_mutex_unlock(&device.mutex);
}

static off_t page_offset(uint64_t page)
{
	return STANDIN_DATA + page * STANDIN_PAGE;
}

/* Marks in taken the pages of [first, end) on which somebody has a lock. */
static void find_locked(uint32_t first, uint32_t end, unsigned char *taken)
{
	while (first < end) {
		struct flock lock = { .l_type = F_WRLCK,
				      .l_whence = SEEK_SET,
				      .l_start = page_offset(first),
				      .l_len = page_offset(end) - page_offset(first) };
		uint32_t a, b;

		if (fcntl(device.fd, F_OFD_GETLK, &lock) < 0)
			abort();
		if (lock.l_type == F_UNLCK)
			return;
		/* Any lock in the range may be reported, not only the first. */
		a = lock.l_start <= page_offset(first) ?
			    first :
			    (lock.l_start - STANDIN_DATA) / STANDIN_PAGE;
		b = (lock.l_start + lock.l_len - STANDIN_DATA) / STANDIN_PAGE;
		if (lock.l_len == 0 || b > end)
			b = end;
		memset(taken + a, 1, b - a);
		find_locked(first, a, taken);
		first = b;
	}
}

/* A page that nobody has locked, but that its process did not free: it ended. */
static bool lingers(struct standin_page *p)
{
	uint64_t linger = device.image->linger_ns;

	if (!p->owner || !linger)
		return false;
	if (!p->orphaned_ns)
		p->orphaned_ns = now_ns();
	return now_ns() - p->orphaned_ns < linger;
}

/* Return: how many pages are taken; taken says which. Needs the table lock. */
static uint32_t find_taken(unsigned char *taken)
{
	struct standin *s = device.image;
	uint32_t i, n = 0;

	memset(taken, 0, s->image_pages);
	find_locked(0, s->image_pages, taken);
	for (i = 0; i < s->image_pages; i++) {
		if (taken[i])
			s->pages[i].orphaned_ns = 0;
		else if (lingers(&s->pages[i]))
			taken[i] = 1;
		n += taken[i];
	}
	return n;
}

static uint64_t overhead_bytes(void)
{
	struct standin *s = device.image;
	uint64_t each = s->context_bytes, bytes = 0;
	unsigned int i;

	for (i = 0; each && i < STANDIN_PROCS; i++) {
		struct flock lock = { .l_type = F_WRLCK,
				      .l_whence = SEEK_SET,
				      .l_start = STANDIN_LOCK_PROC + i,
				      .l_len = 1 };

		if (!s->procs[i].pid)
			continue;
		/* Our own lock does not conflict with ourselves. */
		if (&s->procs[i] != device.proc &&
		    (fcntl(device.fd, F_OFD_GETLK, &lock) < 0 || lock.l_type == F_UNLCK))
			continue;
		bytes += each * s->procs[i].contexts;
	}
	return bytes;
}

static uint64_t free_bytes(uint32_t n_taken)
{
	struct standin *s = device.image;
	uint64_t used = n_taken * STANDIN_PAGE + overhead_bytes() + s->outside_bytes;

	return used < s->size_bytes ? s->size_bytes - used : 0;
}

uint64_t device_free_bytes(void)
{
	unsigned char *taken = malloc(device.image->image_pages);
	uint64_t bytes;

	table_lock();
	bytes = free_bytes(find_taken(taken));
	table_unlock();
	free(taken);
	return bytes;
}

cuda_result device_add_context(void)
{
	cuda_result result = CUDA_ABI_SUCCESS;
	unsigned char *taken = malloc(device.image->image_pages);

	table_lock();
	if (free_bytes(find_taken(taken)) < device.image->context_bytes)
		result = CUDA_ABI_ERROR_OUT_OF_MEMORY;
	else
		device.proc->contexts++;
	table_unlock();
	free(taken);
	return result;
}

void device_drop_context(void)
{
	device.proc->contexts--;
}

/* ---- allocations ---- */

/* The id names the first page, so that an import finds the pages without a search. */
static uint64_t make_id(uint32_t first)
{
	return (atomic_fetch_add(&device.image->serial, 1) + 1) * STANDIN_PAGES + first;
}

static bool lock_pages(int fd, const struct phys *phys)
{
	unsigned int i, n;

	for (i = 0; i < phys->n_pages; i += n) {
		for (n = 1; i + n < phys->n_pages && phys->pages[i + n] == phys->pages[i] + n; n++)
			;
		if (!lock_byte(fd, page_offset(phys->pages[i]), n * STANDIN_PAGE, F_WRLCK,
			       F_OFD_SETLK))
			return false;
	}
	return true;
}

cuda_result device_alloc(struct phys **out_phys, unsigned int n_pages,
			 const struct cuda_mem_prop *prop)
{
	struct standin *s = device.image;
	unsigned char *taken;
	struct phys *phys;
	uint32_t i, n = 0;

	if (n_pages > s->image_pages)
		return CUDA_ABI_ERROR_OUT_OF_MEMORY;
	phys = calloc(1, sizeof(*phys) + n_pages * sizeof(phys->pages[0]));
	phys->prop = *prop;
	phys->fd = open(device.path, O_RDWR | O_CLOEXEC);
	if (phys->fd < 0) {
		free(phys);
		return CUDA_ABI_ERROR_OPERATING_SYSTEM;
	}
	taken = malloc(s->image_pages);
	table_lock();
	if (free_bytes(find_taken(taken)) >= n_pages * STANDIN_PAGE)
		for (i = 0; i < s->image_pages && n < n_pages; i++)
			if (!taken[i])
				phys->pages[n++] = i;
	phys->n_pages = n;
	if (n < n_pages || !lock_pages(phys->fd, phys)) {
		table_unlock();
		free(taken);
		close(phys->fd);
		free(phys);
		s->refused++;
		return CUDA_ABI_ERROR_OUT_OF_MEMORY;
	}
	phys->id = make_id(phys->pages[0]);
	for (i = 0; i < n; i++)
		s->pages[phys->pages[i]] = (struct standin_page){
			.owner = phys->id,
			.next = i + 1 < n ? phys->pages[i + 1] : STANDIN_PAGES,
			.creator = getpid(),
			.handle_types = prop->handle_types,
		};
	lseek(phys->fd, phys->id, SEEK_SET);
	table_unlock();
	free(taken);
	device_spend(s->create_ns, n);
	*out_phys = phys;
	return CUDA_ABI_SUCCESS;
}

/* Return: whether this very open file holds the lock of a page that somebody holds. */
static bool holds(int fd, uint32_t page)
{
	struct flock ours = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = page_offset(page), .l_len = 1
	};
	struct flock anybody = ours;

	return fcntl(fd, F_OFD_GETLK, &ours) == 0 && ours.l_type == F_UNLCK &&
	       fcntl(device.fd, F_OFD_GETLK, &anybody) == 0 && anybody.l_type != F_UNLCK;
}

cuda_result device_import(struct phys **out_phys, int fd)
{
	struct standin *s = device.image;
	struct phys *phys;
	struct stat st;
	uint32_t page, n = 0;
	off_t id;

	if (fstat(fd, &st) < 0 || st.st_dev != device.stat.st_dev ||
	    st.st_ino != device.stat.st_ino)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	id = lseek(fd, 0, SEEK_CUR);
	if (id < STANDIN_PAGES || id % STANDIN_PAGES >= (off_t)s->image_pages)
		return CUDA_ABI_ERROR_INVALID_VALUE;
	table_lock();
	for (page = id % STANDIN_PAGES;
	     page < s->image_pages && s->pages[page].owner == (uint64_t)id;
	     page = s->pages[page].next)
		n++;
	if (!n || !holds(fd, id % STANDIN_PAGES)) {
		table_unlock();
		return CUDA_ABI_ERROR_INVALID_VALUE;
	}
	phys = calloc(1, sizeof(*phys) + n * sizeof(phys->pages[0]));
	phys->id = id;
	phys->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	for (page = id % STANDIN_PAGES; page != STANDIN_PAGES; page = s->pages[page].next)
		phys->pages[phys->n_pages++] = page;
	phys->prop.type = CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED;
	phys->prop.location.type = CUDA_ABI_MEM_LOCATION_TYPE_DEVICE;
	phys->prop.handle_types = s->pages[id % STANDIN_PAGES].handle_types;
	table_unlock();
	if (phys->fd < 0) {
		free(phys);
		return CUDA_ABI_ERROR_OPERATING_SYSTEM;
	}
	*out_phys = phys;
	return CUDA_ABI_SUCCESS;
}

void device_release(struct phys *phys)
{
	struct standin *s = device.image;
	unsigned char *taken = malloc(s->image_pages);
	unsigned int i;

	table_lock();
	close(phys->fd);
	/* With the last of all references gone, in this process or another, the pages are free at once. */
	memset(taken, 0, s->image_pages);
	find_locked(phys->pages[0], phys->pages[0] + 1, taken);
	if (!taken[phys->pages[0]])
		for (i = 0; i < phys->n_pages; i++)
			if (s->pages[phys->pages[i]].owner == phys->id)
				s->pages[phys->pages[i]].owner = 0;
	table_unlock();
	free(taken);
	free(phys);
}

/* ---- attaching ---- */

/* A slot whose process has ended is as good as a new one. */
static bool take_slot(struct standin *s)
{
	unsigned int i;

	for (i = 0; i < STANDIN_PROCS; i++) {
		struct standin_proc *p = &s->procs[i];

		if (!lock_byte(device.fd, STANDIN_LOCK_PROC + i, 1, F_WRLCK, F_OFD_SETLK))
			continue;
		memset(p, 0, sizeof(*p));
		prctl(PR_GET_NAME, p->name);
		p->pid = getpid();
		device.proc = p;
		return true;
	}
	return false;
}

static const char *const names[] = {
#define NAME(base) #base,
	STANDIN_FUNCTION_LIST(NAME)
#undef NAME
};
_Static_assert(sizeof(names) / sizeof(names[0]) <= STANDIN_MAX_FUNCTIONS,
	       "more functions than counters");

/* Finds the image and maps its table; nothing is taken yet. */
static void find_image(void)
{
	const char *path = getenv("VRAM_STANDIN");
	struct standin *s;

	device.found = CUDA_ABI_ERROR_NO_DEVICE;
	if (!path || !realpath(path, device.path))
		return;
	device.fd = open(device.path, O_RDWR | O_CLOEXEC);
	if (device.fd < 0) {
		/* As when the device nodes may not be opened. */
		if (errno == EACCES)
			device.found = CUDA_ABI_ERROR_OPERATING_SYSTEM;
		return;
	}
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, device.fd, 0);
	if (s == MAP_FAILED || s->magic != STANDIN_MAGIC || s->layout_bytes != sizeof(*s) ||
	    fstat(device.fd, &device.stat) < 0) {
		device.found = CUDA_ABI_ERROR_SYSTEM_DRIVER_MISMATCH;
		return;
	}
	device.table = s;
	device.found = CUDA_ABI_SUCCESS;
}

static struct standin *peek(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, find_image);
	return device.table;
}

int device_driver_version(void)
{
	return peek() ? peek()->driver_version : 12040;
}

bool device_hides(const char *base)
{
	const struct standin *s = peek();
	unsigned int i;

	for (i = 0; s && i < sizeof(s->hidden) / sizeof(s->hidden[0]); i++)
		if (strcmp(s->hidden[i], base) == 0)
			return true;
	return false;
}

cuda_result device_attach(void)
{
	struct standin *s = peek();
	struct rlimit files;
	unsigned int i;

	if (device.image)
		return device.pid == getpid() ? CUDA_ABI_SUCCESS : CUDA_ABI_ERROR_NOT_INITIALIZED;
	if (!s)
		return device.found;
	if (s->init_error)
		return s->init_error;
	device.memory = mmap(NULL, s->image_pages * STANDIN_PAGE, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_NORESERVE, device.fd, STANDIN_DATA);
	if (device.memory == MAP_FAILED)
		return CUDA_ABI_ERROR_OPERATING_SYSTEM;
	madvise(device.memory, s->image_pages * STANDIN_PAGE, MADV_DONTFORK);
	/* What the real driver keeps without descriptors, this one keeps with them. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	table_lock();
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		strncpy(s->functions[i], names[i], sizeof(s->functions[i]) - 1);
	device.pid = getpid();
	if (take_slot(s))
		device.image = s;
	table_unlock();
	return device.image ? CUDA_ABI_SUCCESS : CUDA_ABI_ERROR_OPERATING_SYSTEM;
}

/* ---- calls ---- */

static struct standin_fault *find_fault(const char *name)
{
	struct standin *s = device.image;
	unsigned int i;

	for (i = 0; i < STANDIN_FAULTS; i++) {
		struct standin_fault *f = &s->faults[i];

		if (!atomic_load(&f->armed) || (f->pid && f->pid != getpid()) ||
		    (strcmp(f->function, "*") != 0 && strcmp(f->function, name) != 0))
			continue;
		if (atomic_fetch_sub(&f->skip, 1) > 0)
			continue;
		if (f->times >= 0 && atomic_fetch_sub(&f->times, 1) <= 0) {
			f->times = 0;
			f->armed = 0;
			continue;
		}
		f->hits++;
		return f;
	}
	return NULL;
}

cuda_result take_async_fault(void)
{
	cuda_result fault = async_fault;

	async_fault = CUDA_ABI_SUCCESS;
	return fault;
}

cuda_result enter(enum function function, unsigned int flags)
{
	struct standin *s = device.image;
	struct standin_fault *fault;
	struct context *context;

	async_fault = CUDA_ABI_SUCCESS;
	/* A child of a process that uses the driver cannot: none of its threads are here. */
	if (s && device.pid != getpid())
		return flags ? CUDA_ABI_ERROR_NOT_INITIALIZED : CUDA_ABI_SUCCESS;
	if (!s)
		return flags & ENTER_INIT ? CUDA_ABI_ERROR_NOT_INITIALIZED : CUDA_ABI_SUCCESS;
	s->calls[function]++;
	device.proc->calls[function]++;
	if (context_in_host_function() && flags)
		return CUDA_ABI_ERROR_NOT_PERMITTED;
	if (!flags)
		return CUDA_ABI_SUCCESS;
	if (s->lost_error) {
		context_kill_all(s->lost_error);
		return s->lost_error;
	}
	fault = find_fault(names[function]);
	context = context_current();
	if (fault && fault->flags & STANDIN_FAULT_ASYNC) {
		async_fault = fault->error;
	} else if (fault) {
		if (fault->flags & STANDIN_FAULT_STICKY)
			context_kill_all(fault->error);
		return fault->error;
	}
	if (context && capture_forbids(function, context))
		return CUDA_ABI_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	if (flags & ENTER_CONTEXT)
		return context ? context_error(context) : CUDA_ABI_ERROR_INVALID_CONTEXT;
	if (flags & ENTER_DEVICE)
		return s->vmm_survives ? CUDA_ABI_SUCCESS : context_primary_error();
	return CUDA_ABI_SUCCESS;
}
