// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies, on three streams of our own: up, down and scrub. Each is a lane that ends in order.
 *
 * Starting one is two calls that queue work and return (cuMemcpy...Async, cuEventRecord) as long as the host's side
 * is pinned; where it could not be pinned (gpu_cuda_host.c) the driver copies through memory of its own, and the call lasts
 * as long as the copy.
 *
 * Nothing here waits. When the head of a lane should be over, by what the lane has carried before, a timer looks
 * (cuEventQuery), and comes back after a small part of a copy's time if it was too early. So a copy costs
 * a few looks. The estimate follows what is seen: a head that is over at the first look was over earlier, so
 * the next look is earlier.
 *
 * A copy that fails ends alone, and only after the lane has been emptied: until then the card may still read or write the
 * host's memory, which would be somebody else's by then. That is the one place that waits for the card, and it is not reached
 * unless the driver reports an error. An error that ends the context ends the device (cuda_lose).
 */
#include "daemon/gpu_cuda.h"

#include <stdio.h>

#include "daemon/log.h"

#define MIB (1u << 20)
/* Before anything is known: a bus of 8 GB/s, and memory that is filled at 100 GB/s. */
#define LINK_NS_PER_MIB	 131072u
#define SCRUB_NS_PER_MIB 10486u
/* Between two looks. */
#define LOOK_MIN_NS 25000u
#define LOOK_MAX_NS 5000000u
/* What one copy may say, in what was known before. */
#define LEARN_MAX 8u

static void lane_timer(struct loop_op *op, int res);
static void broken_run(struct loop_op *op, int res);

void cuda_copy_init(struct cuda_device *dev)
{
	list_init(&dev->free_flights);
	list_init(&dev->broken);
	dev->broken_op.fn = broken_run;
	for (int i = 0; i < CUDA_FLIGHTS; i++)
		list_add_tail(&dev->flights[i].node, &dev->free_flights);
	for (int i = 0; i < 3; i++) {
		struct cuda_lane *lane = &dev->lanes[i];

		lane->dev = dev;
		lane->timer.fn = lane_timer;
		lane->ns_per_mib = i == GPU_COPY_ZERO ? SCRUB_NS_PER_MIB : LINK_NS_PER_MIB;
		list_init(&lane->waiting);
		list_init(&lane->flying);
	}
}

int cuda_copy_start_lanes(struct cuda_device *dev, char *reason, size_t size)
{
	const char *call = "cuStreamCreate";
	cuda_result result = CUDA_ABI_SUCCESS;

	for (int i = 0; i < 3 && result == CUDA_ABI_SUCCESS; i++)
		result = dev->cuda.stream_create(&dev->lanes[i].stream,
						 CUDA_ABI_STREAM_NON_BLOCKING);
	for (int i = 0; i < CUDA_FLIGHTS && result == CUDA_ABI_SUCCESS; i++) {
		call = "cuEventCreate";
		result = dev->cuda.event_create(&dev->flights[i].event,
						CUDA_ABI_EVENT_DISABLE_TIMING);
	}
	if (result == CUDA_ABI_SUCCESS)
		return 0;
	snprintf(reason, size, "%s: %s", call, cuda_driver_error_text(&dev->cuda, result));
	cuda_copy_stop_lanes(dev);
	return cuda_errno(result);
}

void cuda_copy_stop_lanes(struct cuda_device *dev)
{
	for (int i = 0; i < 3; i++) {
		loop_cancel(dev->loop, &dev->lanes[i].timer);
		if (dev->lanes[i].stream && !dev->lost)
			dev->cuda.stream_destroy(dev->lanes[i].stream);
		dev->lanes[i].stream = NULL;
	}
	for (int i = 0; i < CUDA_FLIGHTS; i++) {
		if (dev->flights[i].event && !dev->lost)
			dev->cuda.event_destroy(dev->flights[i].event);
		dev->flights[i].event = NULL;
	}
	loop_cancel(dev->loop, &dev->broken_op);
}

static uint64_t cost_ns(const struct cuda_lane *lane, uint32_t bytes)
{
	return lane->ns_per_mib * bytes / MIB;
}

static uint64_t begin_ns(const struct cuda_lane *lane, const struct cuda_flight *flight)
{
	return flight->start_ns > lane->last_end_ns ? flight->start_ns : lane->last_end_ns;
}

static void lane_arm(struct cuda_lane *lane)
{
	struct cuda_flight *head = list_first(&lane->flying, struct cuda_flight, node);
	uint64_t cost, step, at;

	if (!head || lane->dev->lost || loop_op_armed(&lane->timer))
		return;
	cost = cost_ns(lane, head->copy->len);
	at = begin_ns(lane, head) + cost - cost / 16;
	if (lane->n_looks) {
		uint64_t now = loop_now();

		/* A sixteenth of what it has taken so far: the longer it lasts the less it matters when its
		 * end is seen. */
		step = (now - begin_ns(lane, head)) / 16;
		step = step > LOOK_MIN_NS ? step : LOOK_MIN_NS;
		at = now + (step < LOOK_MAX_NS ? step : LOOK_MAX_NS);
	}
	/* Without memory for a timer the watch looks. */
	loop_timer(lane->dev->loop, &lane->timer, at);
}

/*
 * One that was over at the first look was over earlier: nobody knows when, so half of the time is taken, and it shows at
 * once if that was too little. And one that was held up, by another program's kernels, say, does not make those after
 * it wait: an estimate that is too low costs looks, one that is too high costs time.
 */
static void lane_learn(struct cuda_lane *lane, const struct cuda_flight *flight)
{
	uint64_t now = loop_now(), took = now - begin_ns(lane, flight);
	uint64_t ns_per_mib = took * MIB / flight->copy->len;

	if (!lane->n_looks)
		ns_per_mib /= 2;
	if (ns_per_mib > LEARN_MAX * lane->ns_per_mib)
		ns_per_mib = LEARN_MAX * lane->ns_per_mib;
	lane->ns_per_mib += ((int64_t)ns_per_mib - (int64_t)lane->ns_per_mib) / 4;
	if (!lane->ns_per_mib)
		lane->ns_per_mib = 1;
	lane->last_end_ns = now;
	lane->n_looks = 0;
}

/* Whatever the lane carried is over afterwards, or the device is lost. */
static void lane_empty(struct cuda_lane *lane)
{
	struct cuda_device *dev = lane->dev;
	cuda_result result = dev->cuda.stream_synchronize(lane->stream);

	if (result != CUDA_ABI_SUCCESS && !cuda_is_sticky(result))
		result = dev->cuda.ctx_synchronize();
	if (result != CUDA_ABI_SUCCESS) {
		cuda_failed(dev, result, "cuStreamSynchronize");
		cuda_lose(dev, "a stream cannot be brought to an end");
	}
}

/* The flight is in no list; its copy is over. */
static void flight_end(struct cuda_device *dev, struct cuda_flight *flight, int res)
{
	struct gpu_copy *copy = flight->copy;
	struct cuda_object *object = (struct cuda_object *)copy->object;
	struct cuda_memory *memory = object->places[copy->chunk].memory;

	if (res == 0 && memory && copy->direction != GPU_COPY_OUT &&
	    copy->len == memory->phys.bytes)
		memory->phys.written = true;
	flight->copy = NULL;
	list_add_tail(&flight->node, &dev->free_flights);
	copy->done(copy, res);
}

/* It does not run on the card, or not any more: its end comes from the loop. */
static void flight_break(struct cuda_device *dev, struct cuda_flight *flight, int res)
{
	flight->res = res;
	list_add_tail(&flight->node, &dev->broken);
	if (!loop_op_armed(&dev->broken_op))
		loop_defer(dev->loop, &dev->broken_op);
}

static void submit(struct cuda_lane *lane, struct gpu_copy *copy)
{
	struct cuda_device *dev = lane->dev;
	struct cuda_flight *flight = list_first(&dev->free_flights, struct cuda_flight, node);
	struct cuda_memory *memory =
		((struct cuda_object *)copy->object)->places[copy->chunk].memory;
	const char *call;
	cuda_result result;
	int r;

	list_del(&flight->node);
	flight->copy = copy;
	flight->start_ns = loop_now();
	if (!memory) {
		flight_break(dev, flight, -EINVAL);
		return;
	}
	switch (copy->direction) {
	case GPU_COPY_IN:
		call = "cuMemcpyHtoDAsync";
		result = dev->cuda.memcpy_htod_async(memory->at, copy->host, copy->len,
						     lane->stream);
		break;
	case GPU_COPY_OUT:
		call = "cuMemcpyDtoHAsync";
		result = dev->cuda.memcpy_dtoh_async(copy->host, memory->at, copy->len,
						     lane->stream);
		break;
	default:
		call = "cuMemsetD8Async";
		result = dev->cuda.memset_d8_async(memory->at, 0, copy->len, lane->stream);
		break;
	}
	if (result == CUDA_ABI_SUCCESS) {
		result = dev->cuda.event_record(flight->event, lane->stream);
		if (result == CUDA_ABI_SUCCESS) {
			list_add_tail(&flight->node, &lane->flying);
			lane_arm(lane);
			return;
		}
		/* It runs, and nothing will tell when it is over. */
		call = "cuEventRecord";
		r = cuda_failed(dev, result, call);
		if (!dev->lost)
			lane_empty(lane);
	} else {
		r = cuda_failed(dev, result, call);
	}
	flight_break(dev, flight, r == -ENODEV ? -EIO : r);
}

static void submit_waiting(struct cuda_lane *lane)
{
	while (!lane->dev->lost && !list_is_empty(&lane->waiting) &&
	       !list_is_empty(&lane->dev->free_flights)) {
		struct gpu_copy *copy = list_first(&lane->waiting, struct gpu_copy, node);

		list_del(&copy->node);
		submit(lane, copy);
	}
}

static void lane_look(struct cuda_lane *lane)
{
	struct cuda_device *dev = lane->dev;
	struct cuda_flight *head;
	cuda_result result;
	int r;

	while (!dev->lost && (head = list_first(&lane->flying, struct cuda_flight, node))) {
		result = dev->cuda.event_query(head->event);
		if (result == CUDA_ABI_ERROR_NOT_READY)
			break;
		r = 0;
		if (result != CUDA_ABI_SUCCESS) {
			r = cuda_failed(dev, result, "cuEventQuery");
			if (!dev->lost)
				lane_empty(lane);
			if (dev->lost)
				return; /* all that flies ends together */
		}
		lane_learn(lane, head);
		list_del(&head->node);
		flight_end(dev, head, r);
	}
	lane->n_looks += !list_is_empty(&lane->flying);
	submit_waiting(lane);
	lane_arm(lane);
}

static void lane_timer(struct loop_op *op, int res)
{
	(void)res;
	lane_look(list_entry(op, struct cuda_lane, timer));
}

static void broken_run(struct loop_op *op, int res)
{
	struct cuda_device *dev = list_entry(op, struct cuda_device, broken_op);
	struct list_node broken;
	struct cuda_flight *flight;

	(void)res;
	/* What breaks meanwhile has its turn in the next round. */
	list_init(&broken);
	list_splice_tail(&dev->broken, &broken);
	while ((flight = list_first(&broken, struct cuda_flight, node))) {
		list_del(&flight->node);
		flight_end(dev, flight, flight->res);
	}
	for (int i = 0; i < 3; i++)
		submit_waiting(&dev->lanes[i]);
}

void cuda_copy_start(struct gpu_copy *copy)
{
	struct cuda_device *dev = cuda_device_of(copy->object->gpu);
	struct cuda_lane *lane = &dev->lanes[copy->direction];

	list_init(&copy->node);
	list_add_tail(&copy->node, &lane->waiting);
	if (!dev->lost)
		submit_waiting(lane);
	else if (!loop_op_armed(&dev->lost_op))
		loop_defer(dev->loop, &dev->lost_op);
}

void cuda_copy_fail_all(struct cuda_device *dev, int res)
{
	struct list_node flying, waiting;
	struct cuda_flight *flight;
	struct gpu_copy *copy;

	loop_cancel(dev->loop, &dev->broken_op);
	broken_run(&dev->broken_op, 0);
	list_init(&flying);
	list_init(&waiting);
	for (int i = 0; i < 3; i++) {
		loop_cancel(dev->loop, &dev->lanes[i].timer);
		list_splice_tail(&dev->lanes[i].flying, &flying);
		list_splice_tail(&dev->lanes[i].waiting, &waiting);
	}
	while ((flight = list_first(&flying, struct cuda_flight, node))) {
		list_del(&flight->node);
		flight_end(dev, flight, res);
	}
	while ((copy = list_first(&waiting, struct gpu_copy, node))) {
		list_del(&copy->node);
		copy->done(copy, res);
	}
}

void cuda_copy_watch(struct cuda_device *dev)
{
	if (!list_is_empty(&dev->broken) && !loop_op_armed(&dev->broken_op))
		loop_defer(dev->loop, &dev->broken_op);
	for (int i = 0; i < 3; i++)
		if (!loop_op_armed(&dev->lanes[i].timer))
			lane_look(&dev->lanes[i]);
}
