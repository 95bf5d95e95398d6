// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtop/fetch.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/err.h"

#define USERS_KEPT 256

json_t *fetch_now(const char *socket, char why[ASK_WHY_MAX])
{
	json_t *request = json_pack("{s:s}", "command", "snapshot"), *answer = NULL;

	if (!request) {
		snprintf(why, ASK_WHY_MAX, "out of memory");
		return NULL;
	}
	if (ask_why(socket, request, why, &answer) < 0)
		answer = NULL;
	json_decref(request);
	return answer;
}

static void *fetch_run(void *userdata)
{
	struct fetch *fetch = userdata;
	char why[ASK_WHY_MAX];
	uint64_t one = 1;
	json_t *answer;

	for (;;) {
		pthread_mutex_lock(&fetch->lock);
		while (!fetch->wanted)
			pthread_cond_wait(&fetch->wake, &fetch->lock);
		fetch->wanted = false;
		pthread_mutex_unlock(&fetch->lock);
		answer = fetch_now(fetch->socket, why);
		pthread_mutex_lock(&fetch->lock);
		fetch->answer = answer;
		memcpy(fetch->why, why, sizeof(why));
		pthread_mutex_unlock(&fetch->lock);
		if (write(fetch->done_fd, &one, sizeof(one)) < 0)
			return NULL;
	}
}

int fetch_init(struct fetch *fetch, const char *socket)
{
	sigset_t all, old;
	int r;

	memset(fetch, 0, sizeof(*fetch));
	fetch->socket = socket;
	fetch->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fetch->done_fd < 0)
		return err_origin(-errno);
	pthread_mutex_init(&fetch->lock, NULL);
	pthread_cond_init(&fetch->wake, NULL);
	/* Signals are for the thread that has the terminal. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&fetch->thread, NULL, fetch_run, fetch);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0) {
		close(fetch->done_fd);
		return err_origin(-r);
	}
	pthread_detach(fetch->thread);
	return 0;
}

bool fetch_start(struct fetch *fetch)
{
	bool can;

	pthread_mutex_lock(&fetch->lock);
	can = !fetch->busy;
	if (can) {
		fetch->busy = fetch->wanted = true;
		pthread_cond_signal(&fetch->wake);
	}
	pthread_mutex_unlock(&fetch->lock);
	return can;
}

json_t *fetch_take(struct fetch *fetch, char why[ASK_WHY_MAX])
{
	uint64_t n;
	json_t *answer;

	if (read(fetch->done_fd, &n, sizeof(n)) < 0) {
		snprintf(why, ASK_WHY_MAX, "%s", err_text(-errno));
		return NULL;
	}
	pthread_mutex_lock(&fetch->lock);
	answer = fetch->answer;
	fetch->answer = NULL;
	memcpy(why, fetch->why, ASK_WHY_MAX);
	fetch->busy = false;
	pthread_mutex_unlock(&fetch->lock);
	return answer;
}

void fetch_user(uint32_t uid, char *out, size_t size)
{
	/* Names come from who knows where, and are asked for at every sample. */
	static struct {
		bool known;
		uint32_t uid;
		char name[40];
	} kept[USERS_KEPT];
	size_t at = uid % USERS_KEPT;
	const struct passwd *user;

	if (!kept[at].known || kept[at].uid != uid) {
		kept[at].known = true;
		kept[at].uid = uid;
		user = getpwuid(uid);
		if (user)
			snprintf(kept[at].name, sizeof(kept[at].name), "%s", user->pw_name);
		else
			snprintf(kept[at].name, sizeof(kept[at].name), "%u", uid);
	}
	snprintf(out, size, "%s", kept[at].name);
}
