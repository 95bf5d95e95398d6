// SPDX-License-Identifier: LGPL-2.1-only OR MIT
#include "libclient/reader.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/err.h"

__thread struct reader reader_self __attribute__((tls_model("initial-exec")));
bool reader_needs_fence = true;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool have_key;
/* Guards the list of threads and their `known`. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list_node readers = LIST_INIT(readers);

static void thread_ends(void *arg)
{
	struct reader *self = arg;

	pthread_mutex_lock(&lock);
	list_del(&self->node);
	self->known = false;
	pthread_mutex_unlock(&lock);
}

static void fork_prepare(void)
{
	pthread_mutex_lock(&lock);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&lock);
}

static void fork_child(void)
{
	struct reader *reader, *tmp;

	list_for_each_safe(reader, tmp, &readers, node)
		if (reader != &reader_self)
			list_del(&reader->node);
	pthread_mutex_unlock(&lock);
}

static void init_once(void)
{
	have_key = pthread_key_create(&key, thread_ends) == 0;
	pthread_atfork(fork_prepare, fork_parent, fork_child);
#ifndef __SANITIZE_THREAD__
	reader_needs_fence =
		syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0;
#endif
}

/* The library may be unloaded before the threads that used it end. */
__attribute__((destructor)) static void unload(void)
{
	if (have_key)
		pthread_key_delete(key);
	have_key = false;
}

int reader_init(void)
{
	pthread_once(&once, init_once);
	return have_key ? 0 : err_origin(-ENOMEM);
}

void reader_introduce(void)
{
	/* Without the key's destructor the list would keep a pointer to a dead thread's memory. If
	 * even this small allocation fails, the thread goes without protection and tries
	 * again next time. */
	if (pthread_setspecific(key, &reader_self))
		return;
	pthread_mutex_lock(&lock);
	list_add_tail(&reader_self.node, &readers);
	reader_self.known = true;
	pthread_mutex_unlock(&lock);
}

void reader_wait(void)
{
	struct reader *reader;

	/* Every thread that runs now has either shown its flag or will see the changed phase. */
	if (!reader_needs_fence)
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	pthread_mutex_lock(&lock);
	list_for_each(reader, &readers, node)
		while (atomic_load_explicit(&reader->inside, memory_order_seq_cst))
			sched_yield();
	pthread_mutex_unlock(&lock);
}
