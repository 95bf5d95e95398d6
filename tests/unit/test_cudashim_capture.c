// SPDX-License-Identifier: GPL-2.0-only
/* Captures, on a driver that only says yes or no: what keeps the gate open, and what ends that. */
// links: libclient/cudashim/capture.c libclient/cudashim/gate.c
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/cudashim/capture.h"
#include "libclient/cudashim/shim.h"

#define MS 1000000ull

/* ---- what the rest of the library is to it ---- */

struct shim shim;
struct gate shim_gate;
static cuda_result answer;
static int status;

static cuda_result say(void)
{
	return answer;
}

static cuda_result is_capturing(cuda_stream stream, int *out)
{
	(void)stream;
	*out = status;
	return answer;
}

void *real_find(const char *name)
{
	return strcmp(name, "cuStreamIsCapturing") == 0 ? (void *)is_capturing : NULL;
}

#define SLOT(name, ...) void *real_##name = (void *)say;
SHIM_HOOKS(SLOT)

/* ---- the gate's other end ---- */

static int open_result;

static void nothing(void *arg)
{
	(void)arg;
}

static int open_gate(void *arg)
{
	(void)arg;
	return open_result;
}

static const struct gate_ops ops = { .drain = nothing, .leave = nothing, .open = open_gate };

#define A ((cuda_stream)0x1000)
#define B ((cuda_stream)0x2000)

static void setup(void)
{
	gate_init(&shim_gate, &ops);
	answer = CUDA_ABI_SUCCESS;
	status = CUDA_ABI_STREAM_CAPTURE_STATUS_ACTIVE;
	open_result = 0;
	shim.forked = false;
}

static bool is_open_for_good(void)
{
	return gate_close(&shim_gate, 10 * MS) == -EAGAIN;
}

static bool closes(void)
{
	bool closed = gate_close(&shim_gate, 10 * MS) == 0;

	/* Open again. */
	ck_assert(gate_enter(&shim_gate));
	gate_leave();
	return closed;
}

START_TEST(from_begin_to_end)
{
	void *graph;

	ck_assert(!capture_has(A));
	ck_assert_int_eq(cuStreamBeginCapture_v2(A, 0), CUDA_ABI_SUCCESS);
	ck_assert(capture_has(A));
	ck_assert(is_open_for_good());
	/* The end of another stream's, which is none. */
	cuStreamEndCapture(B, &graph);
	ck_assert(is_open_for_good());
	ck_assert_int_eq(cuStreamEndCapture(A, &graph), CUDA_ABI_SUCCESS);
	ck_assert(!capture_has(A));
	ck_assert(closes());
}
END_TEST

START_TEST(two_at_once)
{
	void *graph;

	cuStreamBeginCapture_v2(A, 0);
	cuStreamBeginCaptureToGraph(B, NULL, NULL, NULL, 0, 0);
	cuStreamEndCapture(A, &graph);
	ck_assert(is_open_for_good());
	cuStreamEndCapture_ptsz(B, &graph);
	ck_assert(closes());
}
END_TEST

START_TEST(refused)
{
	answer = CUDA_ABI_ERROR_ILLEGAL_STATE;
	ck_assert_int_eq(cuStreamBeginCapture_v2(A, 0), CUDA_ABI_ERROR_ILLEGAL_STATE);
	ck_assert(closes());
}
END_TEST

/* The second begin of a stream is refused; the first capture goes on. */
START_TEST(begun_twice)
{
	void *graph;

	cuStreamBeginCapture_v2(A, 0);
	answer = CUDA_ABI_ERROR_ILLEGAL_STATE;
	cuStreamBeginCapture_v2(A, 0);
	ck_assert(is_open_for_good());
	answer = CUDA_ABI_SUCCESS;
	cuStreamEndCapture(A, &graph);
	ck_assert(closes());
}
END_TEST

START_TEST(spoilt)
{
	void *graph;

	cuStreamBeginCapture_v2(A, 0);
	/* From the wrong thread: it goes on. */
	answer = 908;
	cuStreamEndCapture(A, &graph);
	ck_assert(is_open_for_good());
	/* Spoilt: it is over. */
	answer = CUDA_ABI_ERROR_STREAM_CAPTURE_INVALIDATED;
	cuStreamEndCapture(A, &graph);
	ck_assert(closes());
}
END_TEST

START_TEST(stream_destroyed)
{
	cuStreamBeginCapture_v2(A, 0);
	ck_assert(is_open_for_good());
	cuStreamDestroy_v2(A);
	ck_assert(closes());
}
END_TEST

static void *capture_own(void *arg)
{
	void *graph;

	/* Each thread's own default stream: NULL of the per-thread form, or its handle. */
	cuStreamBeginCapture_v2_ptsz(NULL, 0);
	if (arg)
		cuStreamEndCapture(CUDA_ABI_STREAM_PER_THREAD, &graph);
	return NULL;
}

START_TEST(per_thread_stream)
{
	pthread_t thread;
	void *graph;

	cuStreamBeginCapture_v2_ptsz(NULL, 0);
	pthread_create(&thread, NULL, capture_own, (void *)1);
	pthread_join(thread, NULL);
	/* That was the other thread's. */
	ck_assert(is_open_for_good());
	cuStreamEndCapture_ptsz(NULL, &graph);
	ck_assert(closes());
}
END_TEST

START_TEST(after_loss)
{
	ck_assert_int_eq(gate_close(&shim_gate, 10 * MS), 0);
	open_result = -EIO;
	ck_assert_int_eq(cuStreamBeginCapture_v2(A, 0), SHIM_LOST);
	/* A forked child is the driver's business. */
	shim.forked = true;
	ck_assert_int_eq(cuStreamBeginCapture_v2(A, 0), CUDA_ABI_SUCCESS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cudashim capture");
	TCase *tcase = tcase_create("capture");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, from_begin_to_end);
	tcase_add_test(tcase, two_at_once);
	tcase_add_test(tcase, refused);
	tcase_add_test(tcase, begun_twice);
	tcase_add_test(tcase, spoilt);
	tcase_add_test(tcase, stream_destroyed);
	tcase_add_test(tcase, per_thread_stream);
	tcase_add_test(tcase, after_loss);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
