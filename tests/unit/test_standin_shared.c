// SPDX-License-Identifier: GPL-2.0-only
// links: common/cuda_driver.c common/err.c tests/support/standin.c
/*
 * The stand-in driver's card between processes: who holds memory, and what becomes of it when one
 * of them ends in whatever way. A process may not use the driver that its parent has initialised,
 * so the peers are made first and then told what to do, one letter each.
 */
#include "common/cuda_driver.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/standin.h"

#define PAGE STANDIN_PAGE
#define CARD (32 * PAGE)
#define PFD  CUDA_ABI_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR

#define ok(call)	    ck_assert_int_eq(call, CUDA_ABI_SUCCESS)
#define fails(call, result) ck_assert_int_eq(call, CUDA_ABI_##result)

static struct standin_card *card;
static struct cuda_driver cu;
static cuda_context context;

static struct peer {
	pid_t pid;
	int socket;
} peers[2];

static const struct cuda_mem_prop prop = {
	.type = CUDA_ABI_MEM_ALLOCATION_TYPE_PINNED,
	.handle_types = PFD,
	.location = { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, 0 },
};

struct message {
	char what;
	unsigned char byte;
	int value;
	uint64_t bytes;
};

static void send_message(int socket, const struct message *m, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = { 0 };
	struct iovec iov = { (void *)m, sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *c;

		h.msg_control = control;
		h.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	ck_assert_int_eq(sendmsg(socket, &h, MSG_NOSIGNAL), sizeof(*m));
}

static bool receive_message(int socket, struct message *m, int *out_fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c;

	if (recvmsg(socket, &h, MSG_CMSG_CLOEXEC) != sizeof(*m))
		return false;
	c = CMSG_FIRSTHDR(&h);
	if (out_fd)
		*out_fd = -1;
	if (c && out_fd)
		memcpy(out_fd, CMSG_DATA(c), sizeof(*out_fd));
	return true;
}

static void start(void)
{
	char reason[CUDA_DRIVER_REASON_SIZE] = "";

	ck_assert_msg(cuda_driver_open(&cu, standin_library(), reason, sizeof(reason)) == 0, "%s",
		      reason);
	ok(cu.primary_ctx_retain(&context, 0));
	ok(cu.ctx_set_current(context));
}

static cuda_result map(cuda_ptr *out_ptr, cuda_mem mem, int flags)
{
	const struct cuda_mem_access access = { { CUDA_ABI_MEM_LOCATION_TYPE_DEVICE, 0 }, flags };
	cuda_result result = cu.mem_address_reserve(out_ptr, PAGE, 0, 0, 0);

	if (result == CUDA_ABI_SUCCESS)
		result = cu.mem_map(*out_ptr, PAGE, 0, mem, 0);
	if (result == CUDA_ABI_SUCCESS)
		result = cu.mem_set_access(*out_ptr, PAGE, &access, 1);
	return result;
}

/* A peer's life: each message is answered by one. */
static void serve(int socket)
{
	cuda_mem mem = 0;
	cuda_ptr ptr = 0;
	struct message m;
	size_t total;
	int fd, kept = -1;

	start();
	while (receive_message(socket, &m, &fd)) {
		struct message answer = { .what = m.what };

		switch (m.what) {
		case 'c': /* create, map, fill; the answer brings the descriptor */
			ok(cu.mem_create(&mem, PAGE, &prop, 0));
			ok(map(&ptr, mem, CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE));
			ok(cu.memset_d8(ptr, m.byte, PAGE));
			ok(cu.ctx_synchronize());
			ok(cu.mem_export(&fd, mem, PFD, 0));
			send_message(socket, &answer, fd);
			close(fd);
			continue;
		case 'i': /* import and map, with this access */
			ok(cu.mem_import(&mem, (void *)(intptr_t)fd, PFD));
			close(fd);
			ok(map(&ptr, mem, m.value));
			break;
		case 'k': /* keep the descriptor, no more */
			kept = fd;
			break;
		case 'r': /* read */
			answer.value = cu.memcpy_dtoh(&answer.byte, ptr + PAGE - 1, 1);
			break;
		case 'w': /* write */
			answer.value = cu.memset_d8(ptr, m.byte, PAGE);
			if (answer.value == CUDA_ABI_SUCCESS)
				answer.value = cu.ctx_synchronize();
			break;
		case 'u': /* unmap and release */
			ok(cu.mem_unmap(ptr, PAGE));
			ok(cu.mem_release(mem));
			break;
		case 'f': /* free bytes */
			ok(cu.mem_get_info(&answer.bytes, &total));
			break;
		case 's': /* a call that may be made to fail */
			answer.value = cu.ctx_synchronize();
			break;
		}
		send_message(socket, &answer, -1);
	}
	(void)kept;
}

static void setup(void)
{
	unsigned int i;

	card = standin_new(CARD);
	for (i = 0; i < 2; i++) {
		int pair[2];

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		peers[i].socket = pair[0];
		peers[i].pid = fork();
		ck_assert_int_ge(peers[i].pid, 0);
		if (!peers[i].pid) {
			close(pair[0]);
			if (i)
				close(peers[0].socket);
			serve(pair[1]);
			_exit(0);
		}
		close(pair[1]);
	}
	start();
}

static void teardown(void)
{
	standin_free(card);
}

static struct message tell(struct peer *peer, struct message m, int fd, int *out_fd)
{
	send_message(peer->socket, &m, fd);
	ck_assert(receive_message(peer->socket, &m, out_fd));
	return m;
}

static struct message ask(struct peer *peer, char what, unsigned char byte)
{
	return tell(peer, (struct message){ .what = what, .byte = byte }, -1, NULL);
}

/* Return: a descriptor of a page that the peer has made and filled. */
static int create(struct peer *peer, unsigned char byte)
{
	int fd;

	tell(peer, (struct message){ 'c', byte, 0, 0 }, -1, &fd);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static void import(struct peer *peer, int fd, int access)
{
	tell(peer, (struct message){ 'i', 0, access, 0 }, fd, NULL);
}

/* Ends it, and waits until nothing of it is left. */
static void finish(struct peer *peer, int signal)
{
	int status;

	if (signal)
		kill(peer->pid, signal);
	else
		shutdown(peer->socket, SHUT_RDWR);
	ck_assert_int_eq(waitpid(peer->pid, &status, 0), peer->pid);
	ck_assert(signal ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static size_t free_bytes(void)
{
	size_t free, total;

	ok(cu.mem_get_info(&free, &total));
	return free;
}

#define RW CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READWRITE
#define RO CUDA_ABI_MEM_ACCESS_FLAGS_PROT_READ

START_TEST(test_bytes_are_shared)
{
	int fd = create(&peers[0], 0x11);

	import(&peers[1], fd, RW);
	ck_assert_uint_eq(free_bytes(), CARD - PAGE);
	ck_assert_uint_eq(ask(&peers[1], 'r', 0).byte, 0x11);
	ck_assert_int_eq(ask(&peers[1], 'w', 0x22).value, CUDA_ABI_SUCCESS);
	ck_assert_uint_eq(ask(&peers[0], 'r', 0).byte, 0x22);
	ck_assert_uint_eq(ask(&peers[1], 'f', 0).bytes, CARD - PAGE);
}
END_TEST

START_TEST(test_the_last_reference_frees)
{
	int fd = create(&peers[0], 0x11);

	import(&peers[1], fd, RW);
	ask(&peers[0], 'u', 0);
	ck_assert_uint_eq(free_bytes(), CARD - PAGE);
	ask(&peers[1], 'u', 0);
	/* The descriptor is one, too. */
	ck_assert_uint_eq(free_bytes(), CARD - PAGE);
	close(fd);
	ck_assert_uint_eq(free_bytes(), CARD);
}
END_TEST

START_TEST(test_memory_outlives_its_maker)
{
	int fd = create(&peers[0], 0x33);

	import(&peers[1], fd, RO);
	close(fd);
	finish(&peers[0], _i ? SIGKILL : 0);
	ck_assert_uint_eq(free_bytes(), CARD - PAGE);
	ck_assert_uint_eq(ask(&peers[1], 'r', 0).byte, 0x33);
	finish(&peers[1], _i ? SIGKILL : 0);
	ck_assert_uint_eq(free_bytes(), CARD);
}
END_TEST

START_TEST(test_a_descriptor_is_enough)
{
	int fd = create(&peers[0], 0x44);

	tell(&peers[1], (struct message){ .what = 'k' }, fd, NULL);
	close(fd);
	finish(&peers[0], SIGKILL);
	ck_assert_uint_eq(free_bytes(), CARD - PAGE);
	finish(&peers[1], SIGKILL);
	ck_assert_uint_eq(free_bytes(), CARD);
}
END_TEST

START_TEST(test_read_only_is_the_mappings)
{
	int fd = create(&peers[0], 0x55);

	import(&peers[1], fd, RO);
	ck_assert_uint_eq(ask(&peers[1], 'r', 0).byte, 0x55);
	ck_assert_int_eq(ask(&peers[1], 'w', 0x66).value, CUDA_ABI_ERROR_ILLEGAL_ADDRESS);
	ck_assert_int_eq(ask(&peers[1], 's', 0).value, CUDA_ABI_ERROR_ILLEGAL_ADDRESS);
	/* That is the peer's trouble and nobody else's. */
	ck_assert_uint_eq(ask(&peers[0], 'r', 0).byte, 0x55);
	ok(cu.ctx_synchronize());
}
END_TEST

START_TEST(test_all_share_the_memory)
{
	cuda_mem mem;

	create(&peers[0], 1);
	create(&peers[1], 2);
	fails(cu.mem_create(&mem, CARD - PAGE, &prop, 0), ERROR_OUT_OF_MEMORY);
	ck_assert_uint_eq(card->image->refused, 1);
	/* The descriptors are still here. */
	fails(cu.mem_create(&mem, CARD, &prop, 0), ERROR_OUT_OF_MEMORY);
	ok(cu.mem_create(&mem, CARD - 2 * PAGE, &prop, 0));
	ck_assert_uint_eq(free_bytes(), 0);
	ck_assert_uint_eq(standin_used_bytes(card), CARD);
}
END_TEST

START_TEST(test_contexts_of_the_dead_are_free)
{
	/* So that both are there. */
	ask(&peers[0], 's', 0);
	ask(&peers[1], 's', 0);
	card->image->context_bytes = 2 * PAGE;
	ck_assert_uint_eq(free_bytes(), CARD - 3 * 2 * PAGE);
	finish(&peers[0], SIGKILL);
	ck_assert_uint_eq(free_bytes(), CARD - 2 * 2 * PAGE);
	finish(&peers[1], 0);
	ck_assert_uint_eq(free_bytes(), CARD - 2 * PAGE);
}
END_TEST

START_TEST(test_lingering)
{
	close(create(&peers[0], 0x77));
	close(create(&peers[1], 0x77));
	card->image->linger_ns = 1ull << 62;
	/* What is given back is free at once. */
	ask(&peers[1], 'u', 0);
	ck_assert_uint_eq(free_bytes(), CARD - PAGE);
	/* What a killed process leaves is not. */
	finish(&peers[0], SIGKILL);
	ck_assert_uint_eq(free_bytes(), CARD - PAGE);
	ck_assert_uint_eq(free_bytes(), CARD - PAGE);
	card->image->linger_ns = 1;
	ck_assert_uint_eq(free_bytes(), CARD);
}
END_TEST

START_TEST(test_fault_in_one_process)
{
	standin_fault(card, "cuCtxSynchronize", CUDA_ABI_ERROR_UNKNOWN, 0, -1, peers[0].pid, 0);
	ck_assert_int_eq(ask(&peers[0], 's', 0).value, CUDA_ABI_ERROR_UNKNOWN);
	ck_assert_int_eq(ask(&peers[1], 's', 0).value, CUDA_ABI_SUCCESS);
	ok(cu.ctx_synchronize());
	ck_assert_uint_eq(standin_calls(card, "cuCtxSynchronize", peers[1].pid), 1);
	ck_assert_uint_eq(standin_calls(card, "cuCtxSynchronize", 0), 3);
}
END_TEST

START_TEST(test_a_forked_child_cannot)
{
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(cu.ctx_synchronize() == CUDA_ABI_ERROR_NOT_INITIALIZED ? 0 : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ok(cu.ctx_synchronize());
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("standin_shared");
	TCase *t = tcase_create("processes");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_bytes_are_shared);
	tcase_add_test(t, test_the_last_reference_frees);
	tcase_add_loop_test(t, test_memory_outlives_its_maker, 0, 2);
	tcase_add_test(t, test_a_descriptor_is_enough);
	tcase_add_test(t, test_read_only_is_the_mappings);
	tcase_add_test(t, test_all_share_the_memory);
	tcase_add_test(t, test_contexts_of_the_dead_are_free);
	tcase_add_test(t, test_lingering);
	tcase_add_test(t, test_fault_in_one_process);
	tcase_add_test(t, test_a_forked_child_cannot);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
