// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host device: chunks are host memory, an object is one memory file.
 *
 * The file is as long as the object and full of holes; a chunk is present when its range is
 * filled. The daemon maps the whole of it, shared and writable, and reads files
 * into that mapping; clients get a read-only descriptor and map it privately (gpu_host_map.c has that
 * side). Dropping a chunk punches the hole, which takes the pages out of every mapping at once.
 *
 * Huge pages are what makes this fast: reading into 4 KiB pages costs several times the CPU and half
 * the disk's rate. In order of preference:
 *   1. a tmpfs of our own, mounted nowhere (fsmount), with huge=advise, and O_TMPFILE files in it.
 *      It needs CAP_SYS_ADMIN over a mount namespace once: as root we have it, else a
 *      short-lived child makes a user namespace and sends the mount back;
 *   2. a memfd, where shmem_enabled allows huge pages by madvise;
 *   3. a memfd with small pages, with a warning that says what it costs.
 * The files have mode 0600: the descriptor that a client holds cannot be re-opened for writing by
 * another user through /proc.
 *
 * A link (a rate) makes the device look like a card behind a bus: then it is not direct, and bytes move
 * only by copies, one after the other in each direction, each finished no sooner than the
 * rate allows.
 */
#include "daemon/gpu_host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/proto.h"
#include "daemon/log.h"
#include "daemon/loop.h"

#define HUGE_BYTES (2u << 20)

/* One direction of the link: copies in flight, the head being timed. */
struct host_lane {
	struct gpu_host *host;
	struct list_node queue;
	struct loop_op timer;
	uint64_t free_at_ns; /* when the lane has carried everything before the head */
};

struct gpu_host {
	struct gpu gpu;
	struct loop *loop;
	int tmpfs_fd;	 /* our own mount, or -1 */
	bool lock_pages; /* keep the pages from being swapped out */
	struct host_lane lanes[2];
};

static int sys_fsopen(const char *type)
{
	return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
}

static int set_option(int fs, const char *key, const char *value)
{
	return (int)syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0);
}

/* A tmpfs that is mounted nowhere. Return: its descriptor or -errno. */
static int make_tmpfs(bool *out_noswap)
{
	int fs = sys_fsopen("tmpfs");
	int mnt = -1;

	*out_noswap = false;
	if (fs < 0)
		return -errno;
	if (set_option(fs, "huge", "advise") || set_option(fs, "size", "0") ||
	    set_option(fs, "mode", "0700"))
		goto out;
	/* Since 6.4, and not for user namespaces: a refusal only means that pages may be swapped. */
	*out_noswap = syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "noswap", NULL, 0) == 0;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		goto out;
	mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
			   MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
out:
	if (mnt < 0)
		mnt = -errno;
	close(fs);
	return mnt;
}

static bool write_proc(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* In the child: become root of a user namespace, make the mount, send it. */
static void child_make_tmpfs(int sock, uid_t uid, gid_t gid)
{
	char line[64];
	bool noswap;
	int mnt;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		_exit(1);
	snprintf(line, sizeof(line), "%u %u 1", uid, uid);
	if (!write_proc("/proc/self/uid_map", line) || !write_proc("/proc/self/setgroups", "deny"))
		_exit(1);
	snprintf(line, sizeof(line), "%u %u 1", gid, gid);
	if (!write_proc("/proc/self/gid_map", line))
		_exit(1);
	mnt = make_tmpfs(&noswap);
	if (mnt < 0 || fd_send(sock, "m", 1, &mnt, 1, 0))
		_exit(1);
	_exit(0);
}

static int make_tmpfs_in_child(void)
{
	int pair[2], mnt = -1;
	size_t n_fds = 0;
	pid_t child;
	char byte;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	child = fork();
	if (child < 0) {
		int r = -errno;

		close(pair[0]);
		close(pair[1]);
		return r;
	}
	if (child == 0)
		child_make_tmpfs(pair[1], geteuid(), getegid());
	close(pair[1]);
	if (fd_recv(pair[0], &byte, 1, &mnt, 1, &n_fds, 0) <= 0 || n_fds != 1)
		mnt = -EPERM;
	close(pair[0]);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return mnt;
}

/* A file of the mount, to see that it can really be used from here. */
static int open_tmpfile(int mnt)
{
	int fd = openat(mnt, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd;
}

static bool shmem_allows_madvise(void)
{
	char text[128] = "";
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");

	if (!f)
		return false;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	return strstr(text, "[advise]") || strstr(text, "[always]") || strstr(text, "[force]") ||
	       strstr(text, "[within_size]");
}

/* Does the kernel have transparent huge pages at all, and not for "never"? */
static bool thp_enabled(void)
{
	char text[128] = "";
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");

	if (!f)
		return false;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	return !strstr(text, "[never]");
}

static int choose_memory(struct gpu_host *host, int huge)
{
	bool noswap = false;
	int fd, r;

	host->tmpfs_fd = -1;
	if (huge == 0)
		return 0;
	r = thp_enabled() ? make_tmpfs(&noswap) : -EOPNOTSUPP;
	if (r == -EPERM)
		r = make_tmpfs_in_child();
	if (r >= 0) {
		fd = open_tmpfile(r);
		if (fd >= 0) {
			close(fd);
			host->tmpfs_fd = r;
			host->lock_pages = !noswap;
			host->gpu.huge = true;
			return 0;
		}
		close(r);
		r = fd;
	}
	if (shmem_allows_madvise()) {
		host->gpu.huge = true;
		return 0;
	}
	if (huge == 1) {
		log_error(
			"device host: huge pages are required (device.huge = always) but not to be had: "
			"%s; enable transparent huge pages or allow user namespaces",
			strerror(-r));
		return -EOPNOTSUPP;
	}
	log_warn("device host: no huge pages (%s): paging will cost several times the CPU time and "
		 "reach about half the disk's rate; set "
		 "/sys/kernel/mm/transparent_hugepage/shmem_enabled to advise, or run as root",
		 strerror(-r));
	return 0;
}

static int host_object_new(struct gpu *gpu, const char *name, uint64_t bytes, uint32_t chunk_bytes,
			   bool writable, uid_t uid, struct gpu_object **out)
{
	struct gpu_host *host = (struct gpu_host *)gpu;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct host_object *object;
	uint64_t n_chunks;
	char *reserve;
	int r;

	if (bytes == 0 || bytes > INT64_MAX - (1ull << 40) || chunk_bytes < page)
		return -EINVAL;
	bytes = (bytes + page - 1) / page * page;
	n_chunks = (bytes + chunk_bytes - 1) / chunk_bytes;
	if (n_chunks > UINT32_MAX / 2)
		return -EFBIG;
	object = calloc(1, sizeof(*object));
	if (!object)
		return -ENOMEM;
	object->gpu_object = (struct gpu_object){
		.gpu = gpu,
		.map_bytes = bytes,
		.chunk_bytes = chunk_bytes,
		.n_chunks = (uint32_t)n_chunks,
		.writable = writable,
		.uid = uid,
	};
	list_init(&object->maps);
	if (host->tmpfs_fd >= 0)
		object->fd = open_tmpfile(host->tmpfs_fd);
	else
		object->fd = memfd_create(name, MFD_CLOEXEC);
	if (object->fd < 0) {
		r = host->tmpfs_fd >= 0 ? object->fd : -errno;
		goto err_free;
	}
	if (ftruncate(object->fd, (off_t)bytes) || fchmod(object->fd, 0600)) {
		r = -errno;
		goto err_close;
	}
	/* Huge pages need the same alignment in memory as in the file. */
	reserve = mmap(NULL, bytes + HUGE_BYTES, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserve == MAP_FAILED) {
		r = -errno;
		goto err_close;
	}
	object->reserve = reserve;
	object->addr =
		(char *)(((uintptr_t)reserve + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1));
	if (mmap(object->addr, bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, object->fd, 0) == MAP_FAILED) {
		r = -errno;
		munmap(reserve, bytes + HUGE_BYTES);
		goto err_close;
	}
	/* A smaller chunk would take its neighbours' memory, too, and the last one, where it is
	 * short, memory beyond the end: more than is charged. */
	if (gpu->huge && chunk_bytes >= HUGE_BYTES)
		madvise(object->addr, bytes & ~(uint64_t)(HUGE_BYTES - 1), MADV_HUGEPAGE);
	/* Not inherited: a child would keep the pages alive. */
	madvise(object->addr, bytes, MADV_DONTFORK);
	if (host->lock_pages && mlock2(object->addr, bytes, MLOCK_ONFAULT)) {
		host->lock_pages = false;
		log_info(
			"device host: resident chunks may be swapped out by the kernel (mlock: %s)",
			strerror(errno));
	}
	host_guard_add(&object->guard, object->addr, bytes, object->fd);
	*out = &object->gpu_object;
	return 0;

err_close:
	close(object->fd);
err_free:
	free(object);
	return r;
}

static int host_object_client_fd(struct gpu_object *gpu_object, int *out_fd)
{
	struct host_object *object = (struct host_object *)gpu_object;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", object->fd);
	fd = open(path, (gpu_object->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*out_fd = fd;
	return 0;
}

static uint64_t host_object_memory(struct gpu_object *gpu_object)
{
	struct host_object *object = (struct host_object *)gpu_object;
	off_t bytes = (off_t)gpu_object->map_bytes;
	struct stat st;

	if (fstat(object->fd, &st))
		return 0;
	/* Who may write to it may also make it longer or shorter. */
	if (st.st_size != bytes && (ftruncate(object->fd, bytes) || fstat(object->fd, &st)))
		return 0;
	return (uint64_t)st.st_blocks * 512;
}

static void *host_chunk_addr(struct gpu_object *gpu_object, uint32_t chunk)
{
	struct host_object *object = (struct host_object *)gpu_object;

	return object->addr + gpu_chunk_offset(gpu_object, chunk);
}

static int host_chunk_drop(struct gpu_object *gpu_object, uint32_t first, uint32_t n)
{
	struct host_object *object = (struct host_object *)gpu_object;
	uint64_t start = gpu_chunk_offset(gpu_object, first);
	uint64_t end = start + (uint64_t)n * gpu_object->chunk_bytes;

	if (end > gpu_object->map_bytes)
		end = gpu_object->map_bytes;
	if (fallocate(object->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
		      (off_t)(end - start)))
		return -errno;
	return 0;
}

static struct gpu_object *host_object_free(struct gpu_object *gpu_object)
{
	struct host_object *object = (struct host_object *)gpu_object;

	/* Clients may hold the file for as long as they like; the memory is to come back now. Not by
	 * truncation: a client that outlives its session waits at a closed chunk and can be
	 * served again, where beyond the end of the file it would die of SIGBUS. */
	if (host_chunk_drop(gpu_object, 0, gpu_object->n_chunks))
		log_error("device host: cannot empty an object: %s", strerror(errno));
	host_guard_del(&object->guard);
	munmap(object->reserve, gpu_object->map_bytes + HUGE_BYTES);
	close(object->fd);
	free(object);
	return NULL;
}

static uint64_t transfer_ns(const struct gpu_host *host, uint32_t len)
{
	uint64_t rate = host->gpu.link_bytes_per_s;

	return rate ? (uint64_t)((unsigned __int128)len * 1000000000u / rate) : 0;
}

static void lane_arm(struct host_lane *lane)
{
	struct gpu_copy *copy = list_first(&lane->queue, struct gpu_copy, node);
	uint64_t now = loop_now();

	if (!copy)
		return;
	if (lane->free_at_ns < now)
		lane->free_at_ns = now;
	lane->free_at_ns += transfer_ns(lane->host, copy->len);
	if (loop_timer(lane->host->loop, &lane->timer, lane->free_at_ns) < 0) {
		/* No memory for a timer: finish late rather than never, through the next copy. */
		lane->free_at_ns = now;
	}
}

static void lane_done(struct loop_op *op, int res)
{
	struct host_lane *lane = list_entry(op, struct host_lane, timer);
	struct gpu_copy *copy = list_first(&lane->queue, struct gpu_copy, node);
	char *chunk;

	(void)res;
	if (!copy)
		return;
	list_del(&copy->node);
	chunk = host_chunk_addr(copy->object, copy->chunk);
	if (copy->direction == GPU_COPY_IN)
		memcpy(chunk, copy->host, copy->len);
	else
		memcpy(copy->host, chunk, copy->len);
	lane_arm(lane);
	copy->done(copy, 0);
}

static void host_copy_start(struct gpu_copy *copy)
{
	struct gpu_host *host = (struct gpu_host *)copy->object->gpu;
	struct host_lane *lane = &host->lanes[copy->direction];

	list_add_tail(&copy->node, &lane->queue);
	if (!loop_op_armed(&lane->timer))
		lane_arm(lane);
}

static struct gpu *host_free(struct gpu *gpu)
{
	struct gpu_host *host = (struct gpu_host *)gpu;

	for (int i = 0; i < 2; i++)
		loop_cancel(host->loop, &host->lanes[i].timer);
	if (host->tmpfs_fd >= 0)
		close(host->tmpfs_fd);
	free(host);
	return NULL;
}

static int host_client_new_here(struct gpu *gpu, int fd, const struct gpu_peer *peer,
				const struct gpu_client_events *events, void *owner,
				struct gpu_client **out)
{
	(void)peer;
	return host_client_new(((struct gpu_host *)gpu)->loop, fd, events, owner, out);
}

static const struct gpu_ops host_ops = {
	.free = host_free,
	.object_new = host_object_new,
	.object_free = host_object_free,
	.object_client_fd = host_object_client_fd,
	.object_memory = host_object_memory,
	.chunk_addr = host_chunk_addr,
	.chunk_drop = host_chunk_drop,
	.copy_start = host_copy_start,
	.client_new = host_client_new_here,
	.client_free = host_client_free,
	.client_map = host_client_map,
	.client_unmap = host_client_unmap,
	.client_forget = host_client_forget,
	.client_open = host_client_open,
	.client_close = host_client_close,
};

int gpu_host_new(struct gpu **out, struct loop *loop, const struct gpu_params *params)
{
	struct gpu_host *host = calloc(1, sizeof(*host));
	int r;

	if (!host)
		return -ENOMEM;
	host->loop = loop;
	host->gpu = (struct gpu){
		.ops = &host_ops,
		.kind = VRAM_DEVICE_HOST,
		.direct = params->link_bytes_per_s == 0,
		.budget_bytes = params->budget_bytes,
		.link_bytes_per_s = params->link_bytes_per_s,
	};
	snprintf(host->gpu.name, sizeof(host->gpu.name), "%s",
		 params->name ? params->name : "host");
	for (int i = 0; i < 2; i++) {
		host->lanes[i].host = host;
		host->lanes[i].timer.fn = lane_done;
		list_init(&host->lanes[i].queue);
	}
	r = choose_memory(host, params->huge);
	if (r < 0) {
		free(host);
		return r;
	}
	*out = &host->gpu;
	return 0;
}
