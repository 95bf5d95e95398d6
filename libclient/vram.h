/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * libvram: use models and buffers that are larger than the memory you have.
 *
 * A client connects to vramd. It opens models (read-only weight files) and makes buffers
 * (anonymous memory). Either is mapped once and stays at its address for as long as it is open;
 * which parts of it are in memory at a given moment is the daemon's business. The unit of that is
 * the layer. Before using a layer's bytes, acquire it; afterwards release it:
 *
 *	struct vram_client *client;
 *	struct vram_model *model;
 *
 *	vram_connect(NULL, "my engine", 0, &client);
 *	vram_model_open(client, "model.gguf", &model);
 *	for (i = 0; i < vram_model_n_layers(model); i++) {
 *		struct vram_layer *layer = vram_model_layer(model, i);
 *
 *		vram_layer_acquire(layer, -1);
 *		compute(layer);
 *		vram_layer_release(layer);
 *	}
 *
 * A layer that is acquired stays resident until it is released. Touching a layer that is not
 * acquired is allowed but slow: the thread stops until the bytes are there; it never sees
 * wrong ones.
 *
 * Where the daemon manages a card instead of the host's memory, the same functions give addresses on the card, and
 * nothing stops a kernel that touches too early: vram_cuda.h tells what differs.
 *
 * ERRORS. Functions return 0 or a negative errno of this closed set; vram_error_text() has a
 * sentence for people.
 *
 *	-EINVAL		an argument is wrong, or the file is no well-formed model; or the daemon manages a
 *			card, and the client is not attached to it (vram_cuda.h)
 *	-ENOMEM		no memory in this process, or the daemon's budget can never hold it
 *	-ENOENT		no such file, layer, tensor or card; a part of a split model is missing
 *	-EACCES		no permission: the file, the socket, /dev/vram, or the kernel's userfaultfd
 *	-EBADF		the descriptor is not open for reading
 *	-EISDIR		the path is a directory
 *	-ENOTSUP	a model format, a kernel, a device or a driver that lacks what is needed
 *	-E2BIG		more layers, extents, mappings or objects than a session may have, or more
 *			sessions or slots than the kernel module lets a user have
 *	-ENOSPC		the daemon's swap file, or a quota, is full
 *	-EAGAIN		not resident, and the caller did not want to wait
 *	-ETIMEDOUT	not resident within the time given
 *	-EIO		the disk, the daemon, or the driver of a card failed
 *	-ESTALE		the model file has changed since it was opened
 *	-ENOTCONN	there is no daemon to talk to (now); the call may be repeated
 *	-ECONNRESET	this buffer's content was lost when the daemon ended
 *	-EPROTO		what answers at the socket does not speak the protocol
 *	-EPROTONOSUPPORT the daemon and the library have no protocol version in common
 *	-ECHILD		this process was forked; the client belongs to the parent
 *
 * THREADS. Every function may be called from any thread at any time, with two exceptions: an object must
 * not be closed while another thread uses it or one of its layers, and a client not before its objects.
 * Pins are counted, not owned: one thread may release what another has acquired.
 * The library starts no thread unless VRAM_CONNECT_WATCH asks for it (while a lost daemon's
 * mappings are replaced, a helper thread exists for some milliseconds, inside the call). It installs no
 * signal handler, writes to no descriptor that is not its own and never ends the process.
 *
 * FORK. A client does not survive fork(2): in the child every function returns -ECHILD, the mappings are not
 * there, and vram_close() only frees memory and closes descriptors. The child may connect anew. A handler
 * of pthread_atfork() closes the child's copy of /dev/vram, so that it does not keep what the parent holds.
 *
 * THE KERNEL MODULE. Where /dev/vram exists a client opens it by itself and hands it to the daemon, which says
 * whether it is of use. The module then takes the client for the user, process, cgroup and program
 * that it was at vram_connect(). Nothing else changes for the caller: vram(4) and libvram(3) tell the rest.
 *
 * A DAEMON THAT ENDS. Calls that need the daemon reconnect by themselves when one is there
 * again, and return -ENOTCONN while there is none. Models are opened anew, at the same
 * addresses, with the same pins; bytes never change. Resident pages can be used meanwhile; a thread that
 * touches others waits. In a program without VRAM_CONNECT_WATCH it waits until some other
 * thread calls the library (vram_client_dispatch() will do): a program with one thread that is to survive a
 * restart of the daemon asks for the watch. Buffers are lost with their daemon: their layers return -ECONNRESET;
 * layers that were held can be read and written until the buffer is freed, any other touch of the
 * buffer raises SIGBUS, never zeros.
 */
#ifndef VRAM_LIBCLIENT_VRAM_H
#define VRAM_LIBCLIENT_VRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VRAM_API __attribute__((visibility("default")))

struct vram_client;
struct vram_model;
struct vram_buffer;
struct vram_layer;

/* ---- the connection ---------------------------------------------------------- */

/* A thread of the library watches the connection and reconnects. All signals are blocked in it. */
#define VRAM_CONNECT_WATCH 1u

/*
 * Connects to the daemon. `path` is its socket, NULL for the usual one: $VRAM_SOCKET, else
 * /run/vramd/vramd.sock if it is there, else the user's own ($XDG_RUNTIME_DIR/vramd/vramd.sock). `name` is
 * what vramctl shows, NULL for the program's name. *out_client is the caller's, to be closed with
 * vram_close().
 * Return: 0, -ENOTCONN, -EACCES, -EPROTO, -EPROTONOSUPPORT, -ENOTSUP, -EINVAL, -ENOMEM, -E2BIG.
 */
VRAM_API int vram_connect(const char *path, const char *name, unsigned int flags,
			  struct vram_client **out_client);

/* Ends the connection. Its models and buffers must have been closed. NULL is fine. */
VRAM_API void vram_close(struct vram_client *client);

/*
 * For callers with a loop of their own: a descriptor that becomes readable when
 * vram_client_dispatch() has something to do. It stays the same across reconnects; it belongs to the client.
 */
VRAM_API int vram_client_fd(const struct vram_client *client);

/*
 * Does what is to be done without waiting: takes events from the daemon and calls the callback
 * for them; reconnects if the connection was lost (this takes as long as the daemon takes to answer).
 * Return: 0, -ENOTCONN while there is no daemon (the descriptor stays silent then: call again now and
 * then), -ECHILD.
 */
VRAM_API int vram_client_dispatch(struct vram_client *client);

/*
 * Waits until the daemon is there again. timeout_ns as for vram_layer_acquire(). Nothing to do while
 * connected.
 * Return: 0, -ENOTCONN when the time is over, -ECHILD, or as vram_connect().
 */
VRAM_API int vram_client_reconnect(struct vram_client *client, int64_t timeout_ns);

enum vram_event_kind {
	VRAM_EVENT_REVOKE = 1, /* release `layer` before deadline_ns, or the session ends */
	VRAM_EVENT_LOST = 2,   /* the daemon has gone; `text` has its reason, or "" */
	VRAM_EVENT_BACK = 3,   /* connected anew; buffers are lost, models are not */
};

struct vram_event {
	enum vram_event_kind kind;
	struct vram_layer *layer; /* REVOKE */
	uint64_t deadline_ns;	  /* REVOKE: CLOCK_MONOTONIC */
	const char *text;	  /* LOST; valid during the callback */
};

typedef void vram_event_fn(void *arg, const struct vram_event *event);

/*
 * Sets who is told of events, NULL for nobody. The function is called from inside whatever call of
 * the library found the event, in that call's thread (or the watch's), with no lock held: it may call
 * vram_layer_release(); it must not close objects or the client.
 */
VRAM_API void vram_client_set_callback(struct vram_client *client, vram_event_fn *fn, void *arg);

struct vram_stats {
	uint64_t resident_bytes; /* of this client's objects; shared ones whole */
	uint64_t charged_bytes;	 /* this client's share of it */
	uint64_t total_bytes;	 /* all of its objects */
	uint64_t loaded_bytes;	 /* brought in for it since it connected */
	uint64_t evicted_bytes;
	uint64_t faults;       /* touches and acquires that had to wait */
	uint64_t stall_ns;     /* how long they waited, added up over threads */
	uint64_t budget_bytes; /* of the device */
	uint64_t limit_bytes;  /* what the limits of this client and its user leave of that */
};

/* Return: 0, -ENOTCONN, -ECHILD. */
VRAM_API int vram_client_stats(struct vram_client *client, struct vram_stats *out_stats);

/* ---- being admitted ---------------------------------------------------------- */

/* For vram_admit(): the time that the daemon's limits.admit_timeout says. */
#define VRAM_TIMEOUT_DEFAULT INT64_MIN

/* A working set larger than can ever be had stands for as much as can be. */
#define VRAM_ADMISSION_CLAMP 1u

struct vram_admission {
	uint64_t working_set_bytes; /* what is needed at once; 0: what limits promise (min) alone */
	int priority;		    /* -20 to 19, the smallest goes first; below 0 is for root */
	unsigned int flags;	    /* VRAM_ADMISSION_* */
};

/*
 * Waits until there is room for a working set beside those of who was admitted before, instead of beginning
 * at once and sharing too little. To be called before the first model is opened; a client that never calls it is admitted as it
 * is. Waiters go by priority, then by time (`vramctl queue`). What is admitted is a place, not memory: it takes nothing
 * from anybody, and lasts until the client closes, asks again (with 0: gives it back), or has done nothing for
 * limits.admit_idle while others wait. After a restart of the daemon the library asks again by itself, without waiting.
 *
 * timeout_ns as for vram_layer_acquire() (0: does not wait, -EAGAIN), or VRAM_TIMEOUT_DEFAULT. Any thread; other threads may
 * use the client meanwhile, but one alone may wait here. *out_reserved_bytes, or NULL, is what counts for the client
 * from now on: the working set, what min promises if that is more, or less with CLAMP.
 * Return: 0; -ETIMEDOUT, -EAGAIN; -ENOSPC, -E2BIG: it can never be, because of the device or of a limit; -EACCES: the
 * priority; -EINVAL; -ENOTCONN, -ENOMEM, -EPROTO, -ECHILD. Without 0 nothing is reserved.
 */
VRAM_API int vram_admit(struct vram_client *client, const struct vram_admission *want,
			int64_t timeout_ns, uint64_t *out_reserved_bytes);

/* ---- pressure ---------------------------------------------------------------- */

struct vram_pressure;

/* Whose waiting is watched. */
enum vram_pressure_of {
	VRAM_PRESSURE_OF_CLIENT = 1, /* this client's */
	VRAM_PRESSURE_OF_USER = 2,   /* that of all clients of this user, together */
	VRAM_PRESSURE_OF_DEVICE = 3, /* everybody's */
};

/* Only time in which none of them that has work can go on (PSI's `full`), not time in which at least one waits (`some`). */
#define VRAM_WATCH_FULL 1u

/*
 * Watches how much time is lost waiting for memory, as the kernel's PSI triggers do: it is reported when within a
 * window of window_us the time lost has reached threshold_us, once a window at most. window_us is 500000 to 10000000
 * (0.5 to 10 s), threshold_us 1 to window_us. A client may have 16 of these.
 *
 * *out_pressure is the caller's, to be freed with vram_pressure_free() before the client is closed. It survives a
 * restart of the daemon: it is set up anew when the library reconnects, which without VRAM_CONNECT_WATCH it does
 * inside other calls. While there is no daemon nothing is reported.
 * Any thread. Return: 0, -EINVAL, -E2BIG, -ENOMEM, -ENOTCONN, -EPROTO, -ECHILD.
 */
VRAM_API int vram_pressure_watch(struct vram_client *client, enum vram_pressure_of of,
				 unsigned int flags, uint64_t threshold_us, uint64_t window_us,
				 struct vram_pressure **out_pressure);

/*
 * A descriptor that poll(2), select(2) and epoll(7) report as readable when there is something to take. It belongs to the
 * pressure, stays the same across reconnects, and must not be read or closed.
 */
VRAM_API int vram_pressure_fd(const struct vram_pressure *pressure);

/*
 * Whether it was reported since the last call, which takes the report: the descriptor is silent again. Does not wait,
 * but may reconnect. Any thread; of several that call it for one report one gets it.
 * Return: 1, 0, -ENOTCONN while there is no daemon (call again now and then, or see VRAM_CONNECT_WATCH), -ECHILD, or what
 * vram_pressure_watch() returned, from a new daemon.
 */
VRAM_API int vram_pressure_take(struct vram_pressure *pressure);

/* Ends it. No other thread may use it any more. NULL is fine; so is a client that was forked. */
VRAM_API void vram_pressure_free(struct vram_pressure *pressure);

/*
 * A sentence about the last call of this thread that failed, "" if it left none. Valid until the thread
 * calls the library again.
 */
VRAM_API const char *vram_error_text(void);

/* The version of the library, "0.1.0". */
VRAM_API const char *vram_version(void);

/* ---- models ------------------------------------------------------------------ */

/*
 * Opens a model: a GGUF file (v2, v3; of a split model any part, the rest is found beside
 * it), a .safetensors file, or the index.json of a sharded one. Its layers are found from the tensors' names.
 * *out_model is the caller's, to be closed with vram_model_close().
 * Return: 0; of the list above all but -EAGAIN, -ETIMEDOUT, -ECONNRESET.
 */
VRAM_API int vram_model_open(struct vram_client *client, const char *path,
			     struct vram_model **out_model);

/* The same for an open descriptor, which stays the caller's and may be closed afterwards. */
VRAM_API int vram_model_open_fd(struct vram_client *client, int fd, struct vram_model **out_model);

struct vram_extent {
	uint64_t offset;   /* bytes, in the file; any alignment */
	uint64_t length;   /* bytes, not 0 */
	uint32_t layer;	   /* below n_layers */
	uint32_t reserved; /* 0 */
};

/*
 * Opens any read-only file whose layers the caller knows: the extents, in the cyclic order of
 * their use. Such a model has no tensors, and its layers are called "0", "1" and so on. A
 * layer without an extent is -EINVAL.
 */
VRAM_API int vram_model_open_extents(struct vram_client *client, int fd, const char *name,
				     uint32_t n_layers, const struct vram_extent *extents,
				     size_t n_extents, struct vram_model **out_model);

/* Unmaps the model and forgets it. Every pointer into it becomes invalid. NULL is fine. */
VRAM_API void vram_model_close(struct vram_model *model);

/* What the file calls itself, or its path; the architecture ("llama"), or "". */
VRAM_API const char *vram_model_name(const struct vram_model *model);
VRAM_API const char *vram_model_architecture(const struct vram_model *model);
VRAM_API uint64_t vram_model_bytes(const struct vram_model *model);

/* Layers, in the order in which a pass uses them. */
VRAM_API uint32_t vram_model_n_layers(const struct vram_model *model);
/* Return: the layer, the model's own; NULL for an index or a name that is not there. */
VRAM_API struct vram_layer *vram_model_layer(struct vram_model *model, uint32_t index);
VRAM_API struct vram_layer *vram_model_layer_by_name(struct vram_model *model, const char *name);

struct vram_tensor_info {
	const char *name; /* the model's own */
	const char *type; /* "Q8_0", "BF16" */
	uint32_t n_dims;
	uint32_t file;	  /* which file of the model */
	uint64_t dims[8]; /* outermost first */
	uint64_t offset;  /* bytes, in that file */
	uint64_t bytes;
	const void *ptr; /* stable while the model is open */
	/* The layer to acquire; NULL if the tensor is spread over several (fused experts) or empty. */
	struct vram_layer *layer;
};

VRAM_API size_t vram_model_n_tensors(const struct vram_model *model);
/* Return: 0, -ENOENT. */
VRAM_API int vram_model_tensor(const struct vram_model *model, size_t index,
			       struct vram_tensor_info *out_info);
VRAM_API int vram_model_tensor_by_name(const struct vram_model *model, const char *name,
				       struct vram_tensor_info *out_info);

/*
 * Says in which order the layers will be used, over and over; better than what the file
 * suggests only if you know better. Layers left out are not part of the cycle; none may come
 * twice. Return: 0, -EINVAL, -E2BIG, -ENOMEM, -ENOTCONN, -ECHILD.
 */
VRAM_API int vram_model_set_order(struct vram_model *model, const uint32_t *layers, uint32_t n);

enum vram_pass {
	VRAM_PASS_ANY = 0,
	VRAM_PASS_PREFILL_START = 1, /* a prompt: compute-bound, many tokens a pass */
	VRAM_PASS_DECODE_START = 2,  /* one token */
	VRAM_PASS_IDLE_NOW = 3,	     /* nothing to do until further notice */
};

/* Says that a pass begins, or that the model is idle. A hint: return: 0, -EINVAL, -ENOTCONN, -ECHILD. */
VRAM_API int vram_model_pass(struct vram_model *model, enum vram_pass pass);

/* ---- buffers ----------------------------------------------------------------- */

/*
 * Makes anonymous memory, zero at first, that is written to the daemon's swap file when its room is needed.
 * It is divided into layers of layer_bytes (a multiple of 4096; the last one may be shorter; 0: one layer).
 * *out_buffer is the caller's, to be freed with vram_buffer_free().
 * Return: 0, -EINVAL, -ENOMEM, -ENOSPC, -E2BIG, -EACCES, -ENOTSUP, -ENOTCONN, -EPROTO, -ECHILD.
 */
VRAM_API int vram_buffer_new(struct vram_client *client, const char *name, uint64_t bytes,
			     uint64_t layer_bytes, struct vram_buffer **out_buffer);
VRAM_API void vram_buffer_free(struct vram_buffer *buffer);

/* Stable while the buffer exists. */
VRAM_API void *vram_buffer_ptr(const struct vram_buffer *buffer);
VRAM_API uint64_t vram_buffer_bytes(const struct vram_buffer *buffer);
VRAM_API uint32_t vram_buffer_n_layers(const struct vram_buffer *buffer);
VRAM_API struct vram_layer *vram_buffer_layer(struct vram_buffer *buffer, uint32_t index);

/* ---- layers ------------------------------------------------------------------ */

#define VRAM_LAYER_DENSE     1u	 /* used by every pass */
#define VRAM_LAYER_EMBEDDING 2u	 /* looked up by rows */
#define VRAM_LAYER_OUTPUT    4u	 /* the output head */
#define VRAM_LAYER_EXPERT    8u	 /* one of several experts */
#define VRAM_LAYER_OTHER     16u /* not part of a pass over text */
#define VRAM_LAYER_BUFFER    32u /* part of a buffer: may be written */

VRAM_API const char *vram_layer_name(const struct vram_layer *layer);
VRAM_API uint32_t vram_layer_index(const struct vram_layer *layer);
VRAM_API uint64_t vram_layer_bytes(const struct vram_layer *layer);
VRAM_API uint32_t vram_layer_flags(const struct vram_layer *layer);

/* A layer is one or more stretches of memory. Return: 0, -ENOENT. */
VRAM_API uint32_t vram_layer_n_extents(const struct vram_layer *layer);
VRAM_API int vram_layer_extent(const struct vram_layer *layer, uint32_t index, void **out_ptr,
			       uint64_t *out_bytes);

/*
 * Makes the layer resident and pins it. timeout_ns: how long to wait for it; 0: not at all (then -EAGAIN
 * also asks the daemon to load it ahead); negative: for ever. For a layer that is resident this is
 * two atomic operations and no system call. Nests: every successful acquire needs a release.
 * A pin is a promise to release soon: holding more than the device has is a deadlock with yourself, and
 * pins held beyond the daemon's pin_timeout are revoked (VRAM_EVENT_REVOKE).
 * Return: 0, -EAGAIN, -ETIMEDOUT, -EIO, -ESTALE, -ENOMEM, -ENOSPC, -EACCES, -ENOTCONN (within the
 * time no daemon came back), -ECONNRESET, -ECHILD. Without 0 nothing is pinned.
 */
VRAM_API int vram_layer_acquire(struct vram_layer *layer, int64_t timeout_ns);

/* Ends one successful acquire; what was written to a buffer's layer is kept. Never fails, never waits long. */
VRAM_API void vram_layer_release(struct vram_layer *layer);

/* Whether an acquire would find it resident now. A hint that may be old when it returns. */
VRAM_API bool vram_layer_is_resident(const struct vram_layer *layer);

/*
 * Asks for layers that will be acquired soon: a wish, not a promise. All of one client. Does not wait.
 * Return: 0, -EINVAL, -ENOTCONN, -ECHILD.
 */
VRAM_API int vram_layer_prefetch(struct vram_layer *const *layers, size_t n);

#ifdef __cplusplus
}
#endif

#endif
