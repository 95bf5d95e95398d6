// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tests/support/tenant.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libclient/vram.h"
#include "tests/support/vramd_ask.h"

#define CGROUPS	  "/sys/fs/cgroup"
#define ROLE	  "--tenant"
#define FD	  3
#define SEED	  7
#define PATIENCE  60000000000ll /* of one acquire, ns */
#define ANSWER_MS 120000

/* ---- the client ------------------------------------------------------------------ */

static struct vram_client *client;
static struct vram_model *model;
static struct vram_buffer *buffer;
static uint32_t n_layers, n_buffered, n_held;
static pthread_t walker;
static volatile bool walking;
static volatile uint64_t n_walked, n_failed;
static volatile int last_error;

__attribute__((noreturn)) static void give_up(const char *what, int r)
{
	fprintf(stderr, "tenant %d: %s: %s: %s\n", (int)getpid(), what, strerror(-r),
		vram_error_text());
	_exit(1);
}

static uint64_t *bytes_of(struct vram_layer *layer)
{
	uint64_t bytes;
	void *p;
	int r = vram_layer_extent(layer, 0, &p, &bytes);

	if (r < 0 || bytes != TENANT_LAYER)
		give_up("a layer", r);
	return p;
}

/* The memory file that is mapped there. */
static uint64_t inode_at(const void *p)
{
	unsigned long begin, end;
	unsigned long long inode;
	uint64_t found = 0;
	char line[512];
	FILE *f = fopen("/proc/self/maps", "re");

	if (!f)
		give_up("/proc/self/maps", -errno);
	while (!found && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %*s %*s %*s %llu", &begin, &end, &inode) == 3 &&
		    (uintptr_t)p >= begin && (uintptr_t)p < end)
			found = inode;
	fclose(f);
	return found;
}

static int use(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct vram_layer *layer = vram_model_layer(model, i);
		int r = vram_layer_acquire(layer, PATIENCE);
		uint64_t wrong;

		if (r < 0)
			return r;
		wrong = vramd_wrong(bytes_of(layer), TENANT_LAYER, i * TENANT_LAYER, SEED);
		vram_layer_release(layer);
		if (wrong)
			return -EILSEQ;
	}
	return 0;
}

static int hold(uint32_t n)
{
	for (; n_held < n; n_held++) {
		int r = vram_layer_acquire(vram_model_layer(model, n_held), PATIENCE);

		if (r < 0)
			return r;
	}
	return 0;
}

static void let(void)
{
	while (n_held)
		vram_layer_release(vram_model_layer(model, --n_held));
}

static void *walk(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; walking; i = (i + 1) % n_layers) {
		struct vram_layer *layer = vram_model_layer(model, i);
		int r = vram_layer_acquire(layer, PATIENCE);
		uint64_t *words;

		n_walked++;
		if (r < 0) {
			n_failed++;
			last_error = -r;
			usleep(1000);
			continue;
		}
		words = bytes_of(layer);
		for (uint64_t at = 0; at < TENANT_LAYER; at += TENANT_LAYER / 4)
			if (words[at / 8] != vramd_word(i * TENANT_LAYER + at, SEED))
				give_up("what was loaded is not what the file has", -EILSEQ);
		vram_layer_release(layer);
		usleep(200);
	}
	return NULL;
}

static int fill(uint32_t n)
{
	int r = vram_buffer_new(client, "buffer", n * TENANT_LAYER, TENANT_LAYER, &buffer);

	if (r < 0)
		return r;
	n_buffered = n;
	for (uint32_t i = 0; i < n; i++) {
		struct vram_layer *layer = vram_buffer_layer(buffer, i);
		uint64_t *words;

		r = vram_layer_acquire(layer, PATIENCE);
		if (r < 0)
			return r;
		words = bytes_of(layer);
		for (uint64_t at = 0; at < TENANT_LAYER; at += 8)
			words[at / 8] = vramd_word(i * TENANT_LAYER + at, (uint64_t)getpid());
		vram_layer_release(layer);
	}
	return 0;
}

static int check(void)
{
	for (uint32_t i = 0; i < n_buffered; i++) {
		struct vram_layer *layer = vram_buffer_layer(buffer, i);
		int r = vram_layer_acquire(layer, PATIENCE);
		uint64_t wrong;

		if (r < 0)
			return r;
		wrong = vramd_wrong(bytes_of(layer), TENANT_LAYER, i * TENANT_LAYER,
				    (uint64_t)getpid());
		vram_layer_release(layer);
		if (wrong)
			return -EILSEQ;
	}
	return 0;
}

static int64_t obey(const char *command)
{
	char word[16] = "";
	unsigned int n = 0;

	sscanf(command, "%15s %u", word, &n);
	if (strcmp(word, "use") == 0)
		return use(n);
	if (strcmp(word, "hold") == 0)
		return hold(n);
	if (strcmp(word, "let") == 0) {
		let();
		return 0;
	}
	if (strcmp(word, "run") == 0) {
		walking = true;
		return -pthread_create(&walker, NULL, walk, NULL);
	}
	if (strcmp(word, "stop") == 0) {
		walking = false;
		return -pthread_join(walker, NULL);
	}
	if (strcmp(word, "layers") == 0)
		return (int64_t)n_walked;
	if (strcmp(word, "failures") == 0)
		return (int64_t)n_failed;
	if (strcmp(word, "error") == 0)
		return last_error;
	if (strcmp(word, "inode") == 0)
		return (int64_t)inode_at(bytes_of(vram_model_layer(model, 0)));
	if (strcmp(word, "binode") == 0)
		return (int64_t)inode_at(bytes_of(vram_buffer_layer(buffer, 0)));
	if (strcmp(word, "buffer") == 0)
		return fill(n);
	if (strcmp(word, "check") == 0)
		return check();
	if (strcmp(word, "forget") == 0) {
		vram_buffer_free(buffer);
		n_buffered = 0;
		return 0;
	}
	return -ENOSYS;
}

static void open_model(const char *path)
{
	struct vram_extent *extents = calloc(n_layers, sizeof(*extents));
	int fd = open(path, O_RDONLY | O_CLOEXEC), r;

	for (uint32_t i = 0; i < n_layers; i++)
		extents[i] = (struct vram_extent){
			.offset = i * TENANT_LAYER,
			.length = TENANT_LAYER,
			.layer = i,
		};
	r = fd < 0 ? -errno :
		     vram_model_open_extents(client, fd, "model", n_layers, extents, n_layers,
					     &model);
	if (r < 0)
		give_up(path, r);
	free(extents);
	close(fd);
}

/* PROGRAM --tenant SOCKET NAME LAYERS [MODEL] */
void tenant_main(int argc, char **argv)
{
	char command[128], answer[32];
	ssize_t n;
	int r;

	if (argc < 5 || strcmp(argv[1], ROLE))
		return;
	r = vram_connect(argv[2], argv[3], 0, &client);
	if (r < 0)
		give_up("connect", r);
	n_layers = (uint32_t)strtoul(argv[4], NULL, 10);
	if (argc > 5)
		open_model(argv[5]);
	while ((n = recv(FD, command, sizeof(command) - 1, 0)) > 0) {
		command[n] = '\0';
		snprintf(answer, sizeof(answer), "%lld", (long long)obey(command));
		if (send(FD, answer, strlen(answer), MSG_NOSIGNAL) < 0)
			break;
	}
	_exit(0);
}

/* ---- the test -------------------------------------------------------------------- */

bool tenant_users_usable(void)
{
	if (geteuid() != 0) {
		printf("needs root: clients are several users\n");
		return false;
	}
	return true;
}

static char cgroups[64];

static void remove_cgroups(void)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "find '%s%s' -depth -type d -exec rmdir {} + 2>/dev/null", CGROUPS, cgroups);
	for (int i = 0; i < 100 && system(command) != 0; i++)
		usleep(20000);
}

const char *tenant_cgroups(void)
{
	char path[PATH_MAX];

	if (access(CGROUPS "/cgroup.procs", W_OK)) {
		printf("needs a writable cgroup v2 at " CGROUPS ": %s\n", strerror(errno));
		return NULL;
	}
	snprintf(cgroups, sizeof(cgroups), "/vramtest-%d", (int)getpid());
	snprintf(path, sizeof(path), CGROUPS "%s", cgroups);
	if (mkdir(path, 0755)) {
		printf("cannot make %s: %s\n", path, strerror(errno));
		cgroups[0] = '\0';
		return NULL;
	}
	return cgroups;
}

void tenant_cgroups_end(void)
{
	if (cgroups[0])
		remove_cgroups();
	cgroups[0] = '\0';
}

const char *tenant_other_exe(const struct vramd *d, const char *name)
{
	static char path[200];
	char self[PATH_MAX], command[PATH_MAX + 512];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	ck_assert_int_gt(n, 0);
	self[n] = '\0';
	snprintf(path, sizeof(path), "%s/%s", d->dir, name);
	snprintf(command, sizeof(command), "cp '%s' '%s' && chmod 755 '%s'", self, path, path);
	ck_assert_int_eq(system(command), 0);
	return path;
}

/* Into the cgroup, another user, the program again. No more than that: this is between fork and exec. */
__attribute__((noreturn)) static void become(const struct tenant *t, const char *procs, int fd,
					     gid_t node, char **argv, const char *exe)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (t->cgroup) {
		int to = open(procs, O_WRONLY | O_CLOEXEC);

		if (to < 0 || write(to, "0", 1) != 1)
			_exit(2);
	}
	if (t->uid && (setgroups(1, &node) || setgid(t->uid) || setuid(t->uid)))
		_exit(3);
	/* Becoming another user has cleared it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd == FD ? fcntl(fd, F_SETFD, 0) : dup2(fd, FD) < 0)
		_exit(4);
	execv(exe, argv);
	_exit(5);
}

void tenant_start(struct tenant *t, const struct vramd *d)
{
	char layers[16], procs[PATH_MAX] = "", self[PATH_MAX];
	const char *argv[] = { "tenant", ROLE, d->socket, t->name, layers, t->model, NULL };
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	gid_t node = t->uid;
	struct stat st;
	int pair[2];

	ck_assert_int_gt(n, 0);
	self[n] = '\0';
	snprintf(layers, sizeof(layers), "%u", t->layers);
	if (t->cgroup)
		snprintf(procs, sizeof(procs), CGROUPS "%s/cgroup.procs", t->cgroup);
	/* Who may use the module is in its group. */
	if (vramd_wants_module() && stat("/dev/vram", &st) == 0)
		node = st.st_gid;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	t->pid = fork();
	ck_assert_int_ge(t->pid, 0);
	if (t->pid == 0)
		become(t, procs, pair[1], node, (char **)(void *)argv, t->exe ? t->exe : self);
	close(pair[1]);
	t->fd = pair[0];
	t->d = d;
	t->model_inode = 0;
	/* It answers when it is connected and has its model open. */
	tenant_ask(t, "layers");
	t->session = vramd_session(d, t->name);
}

void tenant_end(struct tenant *t)
{
	int status;

	if (!t->pid)
		return;
	close(t->fd);
	ck_assert_int_eq(waitpid(t->pid, &status, 0), t->pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s ended with %x", t->name,
		      status);
	t->pid = 0;
}

int tenant_try(struct tenant *t, const char *command, uint64_t *out)
{
	struct timeval patience = { .tv_sec = ANSWER_MS / 1000 };
	char answer[32];
	long long value;
	ssize_t n;

	ck_assert_int_eq(setsockopt(t->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)),
			 0);
	ck_assert_int_gt(send(t->fd, command, strlen(command), MSG_NOSIGNAL), 0);
	n = recv(t->fd, answer, sizeof(answer) - 1, 0);
	ck_assert_msg(n > 0, "%s does not answer to \"%s\": %s", t->name, command,
		      n ? strerror(errno) : "it has ended");
	answer[n] = '\0';
	value = strtoll(answer, NULL, 10);
	if (value < 0)
		return (int)value;
	*out = (uint64_t)value;
	return 0;
}

uint64_t tenant_ask(struct tenant *t, const char *format, ...)
{
	char command[64];
	uint64_t value;
	va_list args;
	int r;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	r = tenant_try(t, command, &value);
	ck_assert_msg(r == 0, "%s cannot \"%s\": %s", t->name, command, strerror(-r));
	return value;
}

/* What was set: the module keeps it when the daemon has gone. */
#define MAX_SET 64
static char set[MAX_SET][256];
static unsigned int n_set;

/* Each subject and key once. Sessions' go with them. */
static void note(const char *args)
{
	size_t n = strcspn(args, "=");

	if (strncmp(args, "session:", 8) == 0)
		return;
	for (unsigned int i = 0; i < n_set; i++)
		if (strncmp(set[i], args, n + 1) == 0)
			return;
	if (n_set < MAX_SET)
		snprintf(set[n_set++], sizeof(set[0]), "%s", args);
}

void limit_set(const struct vramd *d, const char *format, ...)
{
	char args[256], command[300];
	va_list list;

	va_start(list, format);
	vsnprintf(args, sizeof(args), format, list);
	va_end(list);
	snprintf(command, sizeof(command), "limit set %s", args);
	json_decref(vramd_ask(d, command));
	note(args);
}

void limits_end(const struct vramd *d)
{
	while (n_set > 0) {
		char command[600], *word, *at = set[--n_set];
		size_t n = (size_t)snprintf(command, sizeof(command), "limit set");

		/* SUBJECT KEY=VALUE... becomes SUBJECT KEY=default... */
		while ((word = strsep(&at, " "))) {
			char *value = strchr(word, '=');

			if (value)
				*value = '\0';
			n += (size_t)snprintf(command + n, sizeof(command) - n, " %s%s", word,
					      value ? "=default" : "");
		}
		json_decref(vramd_ask(d, command));
	}
}

/* Not what the daemon says, but what the kernel has given to the file. */
static uint64_t bytes_in(const struct tenant *t, uint64_t inode)
{
	char folder[64], path[400];
	struct dirent *entry;
	uint64_t bytes = UINT64_MAX;
	struct stat st;
	DIR *dir;

	snprintf(folder, sizeof(folder), "/proc/%d/fd", (int)t->d->pid);
	dir = opendir(folder);
	ck_assert_ptr_nonnull(dir);
	while (bytes == UINT64_MAX && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_ino == inode &&
		    st.st_nlink == 0)
			bytes = (uint64_t)st.st_blocks * 512;
	}
	closedir(dir);
	ck_assert_msg(bytes != UINT64_MAX, "vramd has no file that %s has mapped", t->name);
	return bytes;
}

uint64_t tenant_resident(struct tenant *t)
{
	if (!t->model_inode)
		t->model_inode = tenant_ask(t, "inode");
	return bytes_in(t, t->model_inode);
}

uint64_t tenant_buffered(struct tenant *t)
{
	return bytes_in(t, tenant_ask(t, "binode"));
}

void await_at_most(struct tenant *t, uint64_t bytes)
{
	uint64_t is = 0;

	for (int i = 0; i < 3000; i++) {
		is = tenant_resident(t);
		if (is <= bytes)
			return;
		usleep(10000);
	}
	ck_abort_msg("%s has %llu bytes, never at most %llu", t->name, (unsigned long long)is,
		     (unsigned long long)bytes);
}

void await_at_least(struct tenant *t, uint64_t bytes)
{
	uint64_t is = 0;

	for (int i = 0; i < 3000; i++) {
		is = tenant_resident(t);
		if (is >= bytes)
			return;
		usleep(10000);
	}
	ck_abort_msg("%s has %llu bytes, never at least %llu", t->name, (unsigned long long)is,
		     (unsigned long long)bytes);
}
