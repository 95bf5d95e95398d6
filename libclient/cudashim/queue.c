// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#define _GNU_SOURCE 1
#include "libclient/cudashim/queue.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "common/socket.h"
#include "libclient/internal.h"

#define LOOK_NS 2000000
/* Who has waited in vain does not wait for long again before he has had it once. */
#define AGAIN_NS 1000000000u

static int fd = -1;
static bool mine, in_vain;

static void open_folder(void)
{
	char path[VRAM_SOCKET_PATH_MAX];
	char *slash;

	if (vram_socket_path(path, sizeof(path)) < 0)
		return;
	slash = strrchr(path, '/');
	if (!slash)
		return;
	slash[slash == path] = '\0';
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void queue_enter(uint64_t max_ns, const _Atomic bool *give_up)
{
	uint64_t until = client_now_ns() + (in_vain && max_ns > AGAIN_NS ? AGAIN_NS : max_ns);

	if (fd < 0)
		open_folder();
	while (fd >= 0 && !mine) {
		mine = flock(fd, LOCK_EX | LOCK_NB) == 0;
		in_vain = !mine && client_now_ns() >= until;
		if (mine || *give_up || in_vain)
			return;
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
	}
}

void queue_leave(void)
{
	/* Not by closing: a forked child has the same lock. */
	if (mine)
		flock(fd, LOCK_UN);
	mine = false;
}

void queue_forked(void)
{
	if (fd >= 0)
		close(fd);
	fd = -1;
	mine = false;
}
