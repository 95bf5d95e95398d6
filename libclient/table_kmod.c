// SPDX-License-Identifier: LGPL-2.1-only OR MIT
/*
 * The client's half of /dev/vram.
 *
 * Opening the device makes a session of the kernel module. The daemon takes the client for what this session is, and charges
 * memory to it; the residency table is made of the session's pages, and threads sleep in
 * the kernel, which counts their stall. Nothing of this is there without the module, and a daemon
 * that keeps the ledger itself has no use for it: then the table is a memory file (table.c), and the session is closed.
 *
 * A session lasts as long as the client, over restarts of the daemon: the next daemon adopts the same one again and finds its
 * charges. Only a daemon that still has it from before, because it has ended our connection or we
 * have, cannot adopt it twice; it gets a new session then, and the old one ends with the last mapping of its table.
 *
 * FORK. A descriptor that a child has inherited would keep the session, and all that is charged to it, beyond the parent's
 * end. So all of them are in a list, and a child closes them first of all. What runs no fork
 * handlers is vfork() and posix_spawn(), whose child execs, and programs that call clone() themselves.
 */
#define _GNU_SOURCE 1
#include "libclient/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common/err.h"
#include "kmod/uapi/vram.h"

#define DEVICE "/dev/vram"

/* What a daemon gives without being told otherwise; and what is better than no table. */
#define SLOTS_WANTED 16384u
#define SLOTS_LEAST  64u

/* How long a thread pauses that may not sleep in the kernel, because too many of its user do. */
#define PAUSE_NS 2000000

_Static_assert(sizeof(struct residency_slot) == VRAM_SLOT_BYTES,
	       "the kernel knows the slot's size");

/* ---- all sessions of this process --------------------------------------------------- */

static pthread_mutex_t devices_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list_node devices = LIST_INIT(devices);

static void fork_prepare(void)
{
	pthread_mutex_lock(&devices_lock);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&devices_lock);
}

static void fork_child(void)
{
	struct device *device;

	list_for_each(device, &devices, node) {
		if (device->fd >= 0)
			close(device->fd);
		device->fd = -1;
	}
	pthread_mutex_unlock(&devices_lock);
}

static void fork_init(void)
{
	/* Without memory for it, children keep the session until they exec or end: no worse than that. */
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

struct device *device_get(struct device *device)
{
	device->refs++;
	return device;
}

void device_put(struct device *device)
{
	if (--device->refs > 0)
		return;
	device_free(device);
}

void device_free(struct device *device)
{
	pthread_mutex_lock(&devices_lock);
	list_del(&device->node);
	if (device->fd >= 0)
		close(device->fd);
	pthread_mutex_unlock(&devices_lock);
	free(device);
}

/* ---- a session for a connection ------------------------------------------------------ */

static void __attribute__((format(printf, 3, 4)))
note(struct vram_client *client, int error, const char *format, ...)
{
	va_list args;

	client->device_error = error;
	va_start(args, format);
	vsnprintf(client->device_note, sizeof(client->device_note), format, args);
	va_end(args);
}

/* Why there is no session. That there is no module is no reason to speak of. */
static void note_open(struct vram_client *client, int error)
{
	switch (error) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		break;
	case EMFILE:
		note(client, error,
		     "this process has too many open files, or its user too many sessions of " DEVICE
		     " (parameter max_sessions of the module)");
		break;
	default:
		note(client, error, "cannot open " DEVICE ": %s", err_text(error));
		break;
	}
}

static struct device *device_open(struct vram_client *client)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct device *device = calloc(1, sizeof(*device));
	struct vram_ioc_info info;
	int error = 0;

	if (!device) {
		note(client, ENOMEM, "out of memory");
		return NULL;
	}
	pthread_once(&once, fork_init);
	list_init(&device->node);
	device->refs = 1;
	/* Under the lock, so that no child gets a descriptor that is not in the list. */
	pthread_mutex_lock(&devices_lock);
	device->fd = open(DEVICE, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (device->fd < 0)
		error = errno;
	list_add_tail(&device->node, &devices);
	pthread_mutex_unlock(&devices_lock);
	if (error) {
		note_open(client, error);
	} else if (ioctl(device->fd, VRAM_IOC_INFO, &info)) {
		error = errno;
		note(client, error, DEVICE " is not what this library knows: %s", err_text(error));
	} else if (info.version != VRAM_ABI_VERSION) {
		error = EPROTONOSUPPORT;
		note(client, error, DEVICE " is of version %u, this library of version %u",
		     info.version, VRAM_ABI_VERSION);
	}
	if (error) {
		device_put(device);
		return NULL;
	}
	return device;
}

/* What the client's objects take: with less they could not be opened again after a restart of the daemon. */
static uint32_t slots_needed(const struct vram_client *client)
{
	const struct object *object;
	uint64_t n = 0;

	list_for_each(object, &client->objects, node)
		n += object->n_slots;
	n = n > SLOTS_LEAST ? n : SLOTS_LEAST;
	return n < VRAM_MAX_SLOTS ? (uint32_t)n : VRAM_MAX_SLOTS;
}

/* Gives the session a new table, as large as may be, but not below `least`. Return: 0 or a (positive) errno. */
static int make_table(struct device *device, uint32_t least)
{
	struct vram_ioc_table table = { .n_slots = SLOTS_WANTED };
	struct vram_ioc_info info;

	if (ioctl(device->fd, VRAM_IOC_INFO, &info))
		return errno;
	if (table.n_slots > info.max_slots)
		table.n_slots = info.max_slots;
	if (table.n_slots < least)
		table.n_slots = least;
	/* Who waits on the last table is not to compare its words with those of this one. */
	atomic_store(&device->current, NULL);
	while (ioctl(device->fd, VRAM_IOC_TABLE, &table)) {
		if ((errno != EDQUOT && errno != ENOMEM) || table.n_slots == least)
			return errno;
		table.n_slots = table.n_slots / 2 > least ? table.n_slots / 2 : least;
	}
	device->n_slots = table.n_slots;
	return 0;
}

/* Whether the daemon of now has the session already, or nobody can say. */
static bool is_taken(const struct device *device)
{
	struct vram_ioc_info info;

	return ioctl(device->fd, VRAM_IOC_INFO, &info) || (info.flags & VRAM_INFO_ADOPTED);
}

void device_renew(struct vram_client *client)
{
	int error;

	client->device_note[0] = '\0';
	client->device_error = 0;
	if (client->hello_flags & VRAM_HELLO_ADMIN)
		return;
	if (client->device && is_taken(client->device))
		device_leave(client);
	if (!client->device)
		client->device = device_open(client);
	if (!client->device)
		return;
	client->device_fd = client->device->fd;
	error = make_table(client->device, slots_needed(client));
	if (error) {
		if (error == EDQUOT)
			note(client, error,
			     "this user has too many slots in " DEVICE
			     " (parameter max_slots of the module)");
		else
			note(client, error, "no residency table from " DEVICE ": %s",
			     err_text(error));
		device_leave(client);
	}
}

void device_leave(struct vram_client *client)
{
	client->device_fd = -1;
	if (client->device)
		device_put(client->device);
	client->device = NULL;
}

/* ---- waiting -------------------------------------------------------------------------- */

int device_wait(struct table *table, struct residency_slot *slot, uint32_t seen,
		uint64_t deadline_ns)
{
	struct device *device = table->device;
	struct vram_ioc_wait wait = {
		.slot = (uint32_t)(slot - table->slots),
		.deadline_ns = deadline_ns,
	};

	for (;;) {
		/* As in residency_wait(): the kernel compares once more, under the lock that WAKE takes. */
		uint32_t word = atomic_load_explicit(&slot->word, memory_order_acquire);
		enum residency_outcome outcome = residency_classify(word);

		if (outcome != RESIDENCY_E_WAIT && !(outcome == RESIDENCY_E_FAILED && word == seen))
			return outcome;
		if (deadline_ns == 0)
			return -ETIMEDOUT;
		if (atomic_load(&device->current) != table)
			return -ENOTCONN;
		wait.expected = word;
		if (ioctl(device->fd, VRAM_IOC_WAIT, &wait) == 0)
			continue;
		switch (errno) {
		case EINTR:
			break;
		case EDQUOT:
			/* Slower, and the pause is nobody's stall, but the program goes on. */
			if (client_now_ns() >= deadline_ns)
				return -ETIMEDOUT;
			nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
			break;
		case ESTALE:
		case EHOSTDOWN:
		case ENOTCONN:
			return -ENOTCONN;
		default:
			return -errno;
		}
	}
}
