// SPDX-License-Identifier: GPL-2.0-only
/*
 * The event loop on io_uring.
 *
 * Tokens. What the kernel knows of an armed op is a number: the index and the generation of a
 * token. The token points to the op as long as somebody wants the answer. loop_cancel() clears that
 * pointer and asks the kernel to end the request; the token then lives until the request's last
 * completion, so an owner can free its op at once and the kernel's late answer meets a token, never
 * freed memory. The generation changes with every use of a token: a cancellation that comes too
 * late cannot hit the request that got the same token after it.
 *
 * Tokens come from slabs that are never given back and never move, because the kernel reads a
 * timer's struct __kernel_timespec from the token when it takes the submission.
 *
 * Order. Submissions reach the kernel in the order in which ops were armed. Completions are handled
 * one by one, each taken off the ring before its callback runs, so callbacks may arm and cancel
 * whatever they like; a full submission ring is handed to the kernel on the spot.
 *
 * Overflow. The completion ring is many times the submission ring, and the kernel keeps what does
 * not fit (IORING_FEAT_NODROP, required) and delivers it on the next entry. A multishot poll that
 * meets a full ring is ended by the kernel (no IORING_CQE_F_MORE) and armed anew here; arming
 * reports what is ready at that moment, so no event is lost.
 */
#define _GNU_SOURCE 1
#include "daemon/loop.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/err.h"

#define LOOP_NS_PER_S 1000000000ull
#define LOOP_SLAB     256u
/* Completions that the ring holds for each submission, and at least. */
#define LOOP_CQ_FACTOR 8u
#define LOOP_CQ_MIN    4096u
/* What one read(2) transfers at most; io_uring's own length is 32 bits wide. */
#define LOOP_IO_MAX 0x7ffff000u
/* Completions that nobody waits for: those of failed cancellations. No token has generation 0. */
#define LOOP_USER_DATA_NONE 0ull

enum loop_kind {
	LOOP_POLL,
	LOOP_TIMER,
	LOOP_IO,
	LOOP_DEFER,
};

struct loop_token {
	struct loop_op *op; /* NULL: detached, the answer is swallowed */
	struct loop_token
		*next; /* in the free list, the deferred list or the list of late cancellations */
	struct __kernel_timespec at;
	uint32_t index;
	uint32_t generation;
	int fd; /* polls: to arm anew */
	uint32_t events;
	enum loop_kind kind;
	bool used;
	bool late_cancel; /* on that list: freed by whoever takes it off */
	bool over;	  /* the last completion came while it was on that list */
};

struct loop_token_list {
	struct loop_token *first;
	struct loop_token *last;
};

struct loop {
	struct io_uring ring;
	struct loop_token **slabs;
	uint32_t n_slabs;
	uint32_t n_used;
	struct loop_token *free;
	struct loop_token_list deferred;
	struct loop_token_list late_cancels; /* no submission entry could be had */
	bool stopped;
	bool running; /* within loop_run_once(): it does not nest */
};

uint64_t loop_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * LOOP_NS_PER_S + (uint64_t)ts.tv_nsec;
}

unsigned int loop_n_busy(const struct loop *loop)
{
	return loop->n_used;
}

/* ---- tokens ---- */

static void list_push(struct loop_token_list *list, struct loop_token *token)
{
	token->next = NULL;
	if (list->last)
		list->last->next = token;
	else
		list->first = token;
	list->last = token;
}

static struct loop_token_list list_take(struct loop_token_list *list)
{
	struct loop_token_list taken = *list;

	*list = (struct loop_token_list){ 0 };
	return taken;
}

static uint64_t token_user_data(const struct loop_token *token)
{
	return (uint64_t)token->generation << 32 | token->index;
}

static struct loop_token *token_find(struct loop *loop, uint64_t user_data)
{
	uint32_t index = (uint32_t)user_data;
	struct loop_token *token;

	if (index / LOOP_SLAB >= loop->n_slabs)
		return NULL;
	token = &loop->slabs[index / LOOP_SLAB][index % LOOP_SLAB];
	if (!token->used || token->generation != (uint32_t)(user_data >> 32))
		return NULL;
	return token;
}

static int token_grow(struct loop *loop)
{
	struct loop_token **slabs, *slab;
	uint32_t i;

	slabs = reallocarray(loop->slabs, loop->n_slabs + 1, sizeof(*slabs));
	if (!slabs)
		return err_origin(-ENOMEM);
	loop->slabs = slabs;
	slab = calloc(LOOP_SLAB, sizeof(*slab));
	if (!slab)
		return err_origin(-ENOMEM);
	slabs[loop->n_slabs] = slab;
	for (i = LOOP_SLAB; i-- > 0;) {
		slab[i].index = loop->n_slabs * LOOP_SLAB + i;
		slab[i].next = loop->free;
		loop->free = &slab[i];
	}
	loop->n_slabs++;
	return 0;
}

static int token_new(struct loop *loop, enum loop_kind kind, struct loop_op *op,
		     struct loop_token **out_token)
{
	struct loop_token *token;
	int r;

	assert(!op->token && op->fn);
	if (!loop->free) {
		r = token_grow(loop);
		if (r < 0)
			return err_trace(r);
	}
	token = loop->free;
	loop->free = token->next;
	loop->n_used++;
	token->next = NULL;
	token->op = op;
	token->kind = kind;
	token->used = true;
	token->late_cancel = false;
	token->over = false;
	if (++token->generation == 0)
		token->generation = 1;
	*out_token = token;
	return 0;
}

static void token_free(struct loop *loop, struct loop_token *token)
{
	token->used = false;
	token->op = NULL;
	token->next = loop->free;
	loop->free = token;
	loop->n_used--;
}

/* The request is over: the token goes back, now or when the list of late cancellations lets go. */
static void token_over(struct loop *loop, struct loop_token *token)
{
	if (token->late_cancel)
		token->over = true;
	else
		token_free(loop, token);
}

/* ---- submission ---- */

/* Return: an entry, or NULL when the kernel takes none at the moment. */
static struct io_uring_sqe *sqe_get(struct loop *loop)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);

	if (sqe)
		return sqe;
	/* The result shows in whether there is room now. */
	(void)io_uring_submit(&loop->ring);
	return io_uring_get_sqe(&loop->ring);
}

static int token_begin(struct loop *loop, enum loop_kind kind, struct loop_op *op,
		       struct loop_token **out_token, struct io_uring_sqe **out_sqe)
{
	struct io_uring_sqe *sqe;
	struct loop_token *token;
	int r;

	r = token_new(loop, kind, op, &token);
	if (r < 0)
		return err_trace(r);
	sqe = sqe_get(loop);
	if (!sqe) {
		token_free(loop, token);
		return err_origin(-EAGAIN);
	}
	op->token = token;
	*out_token = token;
	*out_sqe = sqe;
	return 0;
}

static void poll_prepare(struct io_uring_sqe *sqe, const struct loop_token *token)
{
	io_uring_prep_poll_multishot(sqe, token->fd, token->events);
	io_uring_sqe_set_data64(sqe, token_user_data(token));
}

int loop_poll(struct loop *loop, struct loop_op *op, int fd, uint32_t events)
{
	struct io_uring_sqe *sqe;
	struct loop_token *token;
	int r;

	r = token_begin(loop, LOOP_POLL, op, &token, &sqe);
	if (r < 0)
		return err_trace(r);
	token->fd = fd;
	token->events = events;
	poll_prepare(sqe, token);
	return 0;
}

int loop_timer(struct loop *loop, struct loop_op *op, uint64_t at_ns)
{
	struct io_uring_sqe *sqe;
	struct loop_token *token;
	int r;

	r = token_begin(loop, LOOP_TIMER, op, &token, &sqe);
	if (r < 0)
		return err_trace(r);
	token->at.tv_sec = (int64_t)(at_ns / LOOP_NS_PER_S);
	token->at.tv_nsec = (long long)(at_ns % LOOP_NS_PER_S);
	/* Without a clock flag the clock is CLOCK_MONOTONIC. */
	io_uring_prep_timeout(sqe, &token->at, 0, IORING_TIMEOUT_ABS);
	io_uring_sqe_set_data64(sqe, token_user_data(token));
	return 0;
}

int loop_read(struct loop *loop, struct loop_op *op, int fd, void *buf, size_t len, uint64_t offset)
{
	struct io_uring_sqe *sqe;
	struct loop_token *token;
	int r;

	r = token_begin(loop, LOOP_IO, op, &token, &sqe);
	if (r < 0)
		return err_trace(r);
	io_uring_prep_read(sqe, fd, buf, len < LOOP_IO_MAX ? (unsigned int)len : LOOP_IO_MAX,
			   offset);
	io_uring_sqe_set_data64(sqe, token_user_data(token));
	return 0;
}

int loop_write(struct loop *loop, struct loop_op *op, int fd, const void *buf, size_t len,
	       uint64_t offset)
{
	struct io_uring_sqe *sqe;
	struct loop_token *token;
	int r;

	r = token_begin(loop, LOOP_IO, op, &token, &sqe);
	if (r < 0)
		return err_trace(r);
	io_uring_prep_write(sqe, fd, buf, len < LOOP_IO_MAX ? (unsigned int)len : LOOP_IO_MAX,
			    offset);
	io_uring_sqe_set_data64(sqe, token_user_data(token));
	return 0;
}

int loop_fallocate(struct loop *loop, struct loop_op *op, int fd, int mode, uint64_t offset,
		   uint64_t len)
{
	struct io_uring_sqe *sqe;
	struct loop_token *token;
	int r;

	if (offset > INT64_MAX || len > INT64_MAX)
		return err_origin(-EFBIG);
	r = token_begin(loop, LOOP_IO, op, &token, &sqe);
	if (r < 0)
		return err_trace(r);
	io_uring_prep_fallocate(sqe, fd, mode, (off_t)offset, (off_t)len);
	io_uring_sqe_set_data64(sqe, token_user_data(token));
	return 0;
}

int loop_defer(struct loop *loop, struct loop_op *op)
{
	struct loop_token *token;
	int r;

	r = token_new(loop, LOOP_DEFER, op, &token);
	if (r < 0)
		return err_trace(r);
	op->token = token;
	list_push(&loop->deferred, token);
	return 0;
}

/* Asks the kernel to end the token's request. Return: false if that has to be tried again later. */
static bool token_cancel(struct loop *loop, const struct loop_token *token)
{
	struct io_uring_sqe *sqe = sqe_get(loop);

	if (!sqe)
		return false;
	/*
	 * Not io_uring_prep_poll_remove(): that gives up with EALREADY, and the poll stays, when an
	 * event is just being delivered (Linux 6.18). ASYNC_CANCEL marks the poll and is never too
	 * late.
	 */
	io_uring_prep_cancel64(sqe, token_user_data(token), 0);
	/* It may fail because the request has just ended by itself; nobody needs to know. */
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
	io_uring_sqe_set_data64(sqe, LOOP_USER_DATA_NONE);
	return true;
}

static void token_detach(struct loop *loop, struct loop_token *token)
{
	token->op = NULL;
	if (token->kind == LOOP_DEFER) /* freed where the list is run */
		return;
	if (!token_cancel(loop, token)) {
		token->late_cancel = true;
		list_push(&loop->late_cancels, token);
	}
}

void loop_cancel(struct loop *loop, struct loop_op *op)
{
	struct loop_token *token = op->token;

	if (!token)
		return;
	/* A buffer would be written to after its owner believes it free. */
	assert(token->kind != LOOP_IO);
	op->token = NULL;
	token_detach(loop, token);
}

static void run_late_cancels(struct loop *loop)
{
	struct loop_token_list list = list_take(&loop->late_cancels);
	struct loop_token *token, *next;

	for (token = list.first; token; token = next) {
		next = token->next;
		if (token->over) {
			token_free(loop, token);
		} else if (token_cancel(loop, token)) {
			token->late_cancel = false;
		} else {
			list_push(&loop->late_cancels, token);
		}
	}
}

/* ---- completion ---- */

/*
 * Detaches the token, makes the op idle and calls back: in this order, so that fn may arm or free
 * it.
 */
static void finish(struct loop *loop, struct loop_token *token, int res)
{
	struct loop_op *op = token->op;

	token_over(loop, token);
	if (!op)
		return;
	op->token = NULL;
	op->fn(op, res);
}

/* The kernel has ended a multishot poll that its owner still wants. */
static void poll_rearm(struct loop *loop, struct loop_token *token)
{
	struct io_uring_sqe *sqe = sqe_get(loop);

	if (sqe)
		poll_prepare(sqe, token);
	else
		finish(loop, token, -EAGAIN);
}

static void complete(struct loop *loop, uint64_t user_data, int res, uint32_t flags)
{
	struct loop_token *token = token_find(loop, user_data);

	if (!token)
		return;
	switch (token->kind) {
	case LOOP_POLL:
		if (res < 0) {
			/*
			 * With IORING_CQE_F_MORE the kernel owes another completion; it never
			 * combines the two.
			 */
			finish(loop, token, res);
			return;
		}
		/*
		 * fn may cancel: then the token is detached, but it stays ours until the request is
		 * over.
		 */
		if (token->op && res > 0)
			token->op->fn(token->op, res);
		if (flags & IORING_CQE_F_MORE)
			return;
		if (token->op)
			poll_rearm(loop, token);
		else
			token_over(loop, token);
		return;
	case LOOP_TIMER:
		finish(loop, token, res == -ETIME ? 0 : res);
		return;
	default:
		finish(loop, token, res);
		return;
	}
}

static void run_completions(struct loop *loop)
{
	/* What callbacks add waits for the next round, like deferred ops. */
	unsigned int head, n = io_uring_cq_ready(&loop->ring);
	struct io_uring_cqe *cqe;
	uint64_t user_data;
	uint32_t flags;
	int res;

	io_uring_for_each_cqe(&loop->ring, head, cqe)
	{
		if (n-- == 0)
			break;
		user_data = cqe->user_data;
		res = cqe->res;
		flags = cqe->flags;
		io_uring_cq_advance(&loop->ring, 1);
		complete(loop, user_data, res, flags);
	}
}

static void run_deferred(struct loop *loop)
{
	/*
	 * What a callback defers anew waits for the next round: sockets and disks get their turn.
	 */
	struct loop_token_list list = list_take(&loop->deferred);
	struct loop_token *token, *next;

	for (token = list.first; token; token = next) {
		next = token->next;
		finish(loop, token, 0);
	}
}

/* ---- running ---- */

/* Hands over what is armed and waits for a completion, at most wait_ns. */
static int enter(struct loop *loop, int64_t wait_ns)
{
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;
	int r;

	if (wait_ns == 0) {
		r = io_uring_submit_and_get_events(&loop->ring);
	} else if (wait_ns < 0) {
		r = io_uring_submit_and_wait(&loop->ring, 1);
	} else {
		ts.tv_sec = wait_ns / (int64_t)LOOP_NS_PER_S;
		ts.tv_nsec = wait_ns % (int64_t)LOOP_NS_PER_S;
		r = io_uring_submit_and_wait_timeout(&loop->ring, &cqe, 1, &ts, NULL);
	}
	switch (r < 0 ? -r : 0) {
	case 0:
	case ETIME:
	case EINTR:  /* a signal */
	case EAGAIN: /* no memory for requests: what remains goes with the next entry */
	case EBUSY:  /* completions have to be taken first */
		return 0;
	default:
		return err_origin(r);
	}
}

int loop_run_once(struct loop *loop, int64_t wait_ns)
{
	int r;

	assert(!loop->running);
	loop->running = true;
	if (loop->late_cancels.first)
		run_late_cancels(loop);
	if (loop->deferred.first || io_uring_cq_ready(&loop->ring) > 0)
		wait_ns = 0;
	r = enter(loop, wait_ns);
	if (r == 0) {
		run_deferred(loop);
		run_completions(loop);
	}
	loop->running = false;
	return err_trace(r);
}

int loop_run(struct loop *loop)
{
	int r = 0;

	while (r == 0 && !loop->stopped)
		r = loop_run_once(loop, -1);
	loop->stopped = false;
	return err_trace(r);
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
}

/* Tries the better set-ups first; kernels and sandboxes differ in what they take. */
static int ring_init(struct io_uring *ring, unsigned int entries, unsigned int first)
{
	static const unsigned int flag_sets[LOOP_SETUPS] = {
		/*
		 * Completions are worked out when the loop asks for them, not in interrupts of it.
		 */
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
		0,
	};
	struct io_uring_params params;
	unsigned int i;
	int r = -EINVAL;

	for (i = first; i < LOOP_SETUPS && r == -EINVAL; i++) {
		memset(&params, 0, sizeof(params));
		params.flags = flag_sets[i] | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
		params.cq_entries = entries * LOOP_CQ_FACTOR > LOOP_CQ_MIN ?
					    entries * LOOP_CQ_FACTOR :
					    LOOP_CQ_MIN;
		r = io_uring_queue_init_params(entries, ring, &params);
	}
	if (r < 0)
		return err_origin(r);
	if (!(params.features & IORING_FEAT_NODROP) || !(params.features & IORING_FEAT_EXT_ARG)) {
		io_uring_queue_exit(ring);
		return err_origin(-ENOSYS);
	}
	return 0;
}

int loop_new_worse(struct loop **out_loop, unsigned int entries, unsigned int worse)
{
	struct loop *loop;
	int r;

	assert(entries > 0 && (entries & (entries - 1)) == 0);
	loop = calloc(1, sizeof(*loop));
	if (!loop)
		return err_origin(-ENOMEM);
	r = ring_init(&loop->ring, entries, worse);
	if (r < 0) {
		free(loop);
		return err_trace(r);
	}
	/* The ring must not outlive its process in a child. */
	(void)io_uring_ring_dontfork(&loop->ring);
	*out_loop = loop;
	return 0;
}

int loop_new(struct loop **out_loop, unsigned int entries)
{
	return err_trace(loop_new_worse(out_loop, entries, 0));
}

/*
 * Ends every request and waits until the kernel has let go of all buffers: closing the ring alone
 * would let reads in flight write to memory that is used for something else by then.
 */
static void drain(struct loop *loop)
{
	struct loop_token *token;
	uint32_t i;

	for (i = 0; i < loop->n_slabs * LOOP_SLAB; i++) {
		token = &loop->slabs[i / LOOP_SLAB][i % LOOP_SLAB];
		if (!token->used || !token->op)
			continue;
		token->op->token = NULL;
		token_detach(loop, token);
	}
	run_deferred(loop);
	while (loop->n_used > 0) {
		if (loop_run_once(loop, -1) < 0)
			break;
	}
}

struct loop *loop_free(struct loop *loop)
{
	uint32_t i;

	if (!loop)
		return NULL;
	drain(loop);
	io_uring_queue_exit(&loop->ring);
	for (i = 0; i < loop->n_slabs; i++)
		free(loop->slabs[i]);
	free(loop->slabs);
	free(loop);
	return NULL;
}
