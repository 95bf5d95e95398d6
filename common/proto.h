/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The messages between a client and vramd, over one Unix SOCK_SEQPACKET socket.
 *
 * A packet is one message: struct vram_msg_hdr and then the body that belongs to its type, in the
 * machine's own byte order, every field naturally aligned, every padding field zero. The size in the
 * header, the size of the packet and the size that the type demands must agree exactly; anything
 * else ends the session. Descriptors travel beside a message with SCM_RIGHTS, in the number that the
 * type demands, no more and no less.
 *
 * A request has a `seq` that the client chooses (not 0). Its reply has the same seq, the type with
 * VRAM_MSG_REPLY set, and `error` 0 or a negative errno; with an error the body is
 * struct vram_msg_error and no descriptor comes. Messages marked "no reply" are never answered:
 * what they cause shows in the residency table. The daemon's own messages (events) have seq 0.
 * Requests of one session are answered in any order.
 *
 * A session begins with HELLO and ends with the socket. Everything that a session holds (objects,
 * mappings, charges) falls back when it ends.
 *
 * Objects are what is paged: a MODEL is a read-only file, a BUFFER is anonymous memory. An object is
 * divided into layers; layer i of an object is slot `slot_base + i` of the session's residency table
 * (see common/residency.h). An object may have no layers: then it is used through faults alone, as
 * vramrun's shim does.
 *
 * The manual of the protocol, with the order of a session, is docs/protocol.md.
 */
#ifndef VRAM_COMMON_PROTO_H
#define VRAM_COMMON_PROTO_H

#include <stdint.h>

#define VRAM_PROTO_VERSION 1u

/* Where the daemon listens: the system's socket, or below $XDG_RUNTIME_DIR for `vramd --user`. */
#define VRAM_SOCKET_SYSTEM "/run/vramd/vramd.sock"
#define VRAM_SOCKET_USER   "vramd/vramd.sock"

/* The largest packet that either side sends; also the size of a receive buffer. */
#define VRAM_MSG_MAX 65536u
/* The largest number of descriptors beside one message to the daemon. */
#define VRAM_MSG_MAX_FDS 2
/* Chunks in one CHUNKS or RECLAIMED: so many descriptors may come beside the reply of CHUNKS. */
#define VRAM_CHUNKS_PER_MSG 16u

enum vram_msg_type {
	VRAM_MSG_HELLO = 1,
	VRAM_MSG_MODEL_OPEN = 2,
	VRAM_MSG_EXTENTS = 3, /* no reply */
	VRAM_MSG_BUFFER_NEW = 4,
	VRAM_MSG_OBJECT_CLOSE = 5,
	VRAM_MSG_UFFD = 6,
	VRAM_MSG_MAP = 7,
	VRAM_MSG_UNMAP = 8,
	VRAM_MSG_ACQUIRE = 9,	/* no reply */
	VRAM_MSG_CANCEL = 10,	/* no reply */
	VRAM_MSG_USED = 11,	/* no reply */
	VRAM_MSG_PREFETCH = 12, /* no reply */
	VRAM_MSG_ORDER = 13,
	VRAM_MSG_PASS = 14, /* no reply */
	VRAM_MSG_STATS = 15,
	VRAM_MSG_ADMIN = 16,
	VRAM_MSG_DEVICE = 17,
	VRAM_MSG_ATTACH = 18,
	VRAM_MSG_CHUNKS = 19,
	VRAM_MSG_RECLAIMED = 20, /* no reply */
	VRAM_MSG_TRIGGER = 21,
	VRAM_MSG_ADMIT = 22,

	/* events, daemon to client */
	VRAM_MSG_REVOKE = 64,  /* release the pins of this slot soon, or the session ends */
	VRAM_MSG_GOODBYE = 65, /* the daemon ends this session; the reason as text */
	VRAM_MSG_RECLAIM = 66, /* let go of these chunks soon, or the process is ended */
};

#define VRAM_MSG_REPLY 0x80000000u

struct vram_msg_hdr {
	uint32_t type;
	uint32_t size; /* of the whole packet, this header included */
	uint32_t seq;
	int32_t error; /* replies: 0 or -errno; elsewhere 0 */
};

/* The body of every reply whose header has an error, and of GOODBYE. */
struct vram_msg_error {
	char text[240]; /* for people, NUL-terminated */
};

/* HELLO. Descriptors: none; with VRAM_HELLO_DEVICE one, of /dev/vram, whose session has a residency table. */
#define VRAM_HELLO_SHIM	  1u /* an unmodified program under vramrun */
#define VRAM_HELLO_ADMIN  2u /* no table, ADMIN messages only */
#define VRAM_HELLO_DEVICE 4u /* the daemon may use this session of the kernel module */
struct vram_msg_hello {
	uint32_t version;  /* VRAM_PROTO_VERSION; another one is refused with -EPROTONOSUPPORT */
	uint32_t flags;	   /* VRAM_HELLO_* */
	uint64_t features; /* 0: none defined yet */
	char name[64];	   /* what the client calls itself, for display only; NUL-terminated */
};

enum vram_device_kind {
	VRAM_DEVICE_HOST = 1,
	VRAM_DEVICE_CUDA = 2,
};

/* Reply: one descriptor, the residency table (a sealed memfd of n_slots * 64 bytes, to be mapped
 * shared and writable); none for ADMIN, and none with VRAM_HELLO_REPLY_DEVICE: the table is the one of the
 * client's session of /dev/vram. */
#define VRAM_HELLO_REPLY_DEVICE 1u
struct vram_msg_hello_reply {
	uint32_t version;
	uint32_t device_kind;
	uint64_t features;
	uint64_t session;
	uint64_t budget_bytes; /* of the device's vram tier */
	uint32_t n_slots;
	uint32_t max_objects;
	uint32_t max_extents; /* of one object */
	uint32_t flags;	      /* VRAM_HELLO_REPLY_* */
	char device_name[32];
};

/* MODEL_OPEN. Descriptor: the model file, open for reading. When n_extents is not 0 the EXTENTS
 * messages with the same seq follow at once, and the reply comes after the last of them. */
#define VRAM_MODEL_SLOTS 1u /* the layers take slots of the residency table */
struct vram_msg_model_open {
	uint64_t size_bytes; /* as the client saw it; a different size is -ESTALE */
	uint32_t n_layers;
	uint32_t n_extents;
	uint32_t flags; /* VRAM_MODEL_* */
	uint32_t pad;
	char name[128]; /* for display; NUL-terminated */
};

/* EXTENTS: n of them, in the cyclic order in which inference uses them. */
#define VRAM_EXTENT_EXPERT    1u /* one of several experts: used now and then */
#define VRAM_EXTENT_UNORDERED 2u /* not part of the cycle (embedding rows, vision parts) */
struct vram_msg_extent {
	uint64_t offset; /* bytes, in the file */
	uint64_t length; /* bytes, not 0, within the file */
	uint32_t layer;	 /* below n_layers */
	uint32_t flags;	 /* VRAM_EXTENT_* */
};
struct vram_msg_extents {
	uint32_t n;
	uint32_t pad;
	struct vram_msg_extent extents[];
};
#define VRAM_EXTENTS_PER_MSG 2048u

/* BUFFER_NEW: anonymous memory, zero at first, private to the session. Descriptors: none. */
struct vram_msg_buffer_new {
	uint64_t size_bytes;
	uint64_t layer_bytes; /* the buffer is divided into layers of this size; a multiple of 4096 */
	uint32_t flags;	      /* 0 */
	uint32_t pad;
	char name[128];
};

/* The reply of MODEL_OPEN and BUFFER_NEW. Descriptor: on the host device the object's memory, map_bytes long. A model's is
 * read-only: map it MAP_PRIVATE; a buffer's is writable: map it MAP_SHARED. Touch no byte of the mapping
 * before MAP was answered. On a CUDA device it is the object's bindings, read-only, a uint64_t for each
 * chunk: see CHUNKS. */
struct vram_msg_object_reply {
	uint32_t object;
	uint32_t slot_base; /* of layer 0, if the object has slots */
	uint64_t map_bytes;
	uint32_t chunk_bytes; /* the grain of paging; align the mapping to it for huge pages */
	uint32_t n_slots;
};

/* OBJECT_CLOSE: forget the object and its mappings. Reply without body. */
struct vram_msg_object_close {
	uint32_t object;
	uint32_t pad;
};

/* UFFD. Descriptor: a userfaultfd of the client's own, O_NONBLOCK, after UFFDIO_API with at least the
 * features MISSING_SHMEM, MINOR_SHMEM, EVENT_REMAP and EVENT_UNMAP. One a session; the client keeps
 * a duplicate, so that its threads wait instead of reading zeros when the daemon dies. Reply
 * without body. */
/* (no body) */

/* MAP: the object is mapped in the client at addr. The reply (no body) comes when the range is
 * registered. Several mappings of one object are allowed. */
struct vram_msg_map {
	uint32_t object;
	uint32_t pad;
	uint64_t addr;
	uint64_t length; /* bytes, a multiple of the page size */
	uint64_t offset; /* in the object, a multiple of the page size */
};

/* UNMAP: the daemon stops touching the range; reply without body. Needed before munmap only by
 * clients without EVENT_UNMAP. */
struct vram_msg_unmap {
	uint32_t object;
	uint32_t pad;
	uint64_t addr;
	uint64_t length;
};

/* ACQUIRE: make the slot resident; the client waits on the slot itself. CANCEL: it has given up.
 * USED: a slot with the NOTIFY bit was acquired. */
struct vram_msg_slot {
	uint32_t slot;
	uint32_t pad;
};

/* PREFETCH: wish, not promise. */
#define VRAM_SLOTS_PER_MSG 1024u
struct vram_msg_prefetch {
	uint32_t n;
	uint32_t pad;
	uint32_t slots[];
};

/* ORDER: the cyclic order in which the layers of the object will be used. Layers that are left out are not
 * part of the cycle; none may come twice. The reply has no body. */
#define VRAM_ORDER_PER_MSG 8192u
struct vram_msg_order {
	uint32_t object;
	uint32_t n;
	uint32_t layers[];
};

/* PASS: a pass over the object begins (or the client goes idle). */
enum vram_pass_kind {
	VRAM_PASS_UNKNOWN = 0,
	VRAM_PASS_PREFILL = 1,
	VRAM_PASS_DECODE = 2,
	VRAM_PASS_IDLE = 3,
};
struct vram_msg_pass {
	uint32_t object;
	uint32_t kind;
};

/* STATS: no body; the reply: */
struct vram_msg_stats_reply {
	uint64_t resident_bytes; /* of the session's objects, shared ones whole */
	uint64_t charged_bytes;	 /* the session's share */
	uint64_t total_bytes;
	uint64_t loaded_bytes; /* brought in for this session since it began */
	uint64_t evicted_bytes;
	uint64_t faults; /* touches and acquires that had to wait */
	uint64_t stall_ns;
	uint64_t budget_bytes;
	uint64_t limit_bytes; /* the least of budget and the max of the session and its user */
};

/* ADMIN: a JSON object as text follows the header (no NUL, at most VRAM_MSG_MAX). Reply: one descriptor,
 * a sealed memfd with the answer as JSON text, and no body. Requests: docs/protocol.md. */

/*
 * A CUDA device. UFFD, MAP and UNMAP are refused there; instead the client attaches, reserves addresses for each
 * object, and imports the chunks of device memory that hold its layers. A chunk has an id that is never used again. The
 * bindings of an object say which chunk holds which part of it, 0 for none so far; what they say of a layer
 * counts while the layer is pinned and RESIDENT. The slot's `binding` changes whenever one of the layer's does.
 */

/* DEVICE: no body. The reply, also for the host device, with zeros: */
struct vram_msg_device_reply {
	uint8_t uuid[16];
	uint64_t granularity_bytes; /* of chunks: sizes of mappings are multiples of it */
	uint32_t kind;		    /* enum vram_device_kind */
	uint32_t pad;
	char pci[16]; /* "0000:01:00.0" */
};

/* ATTACH: the client has a context on that device and heeds RECLAIM. Once a session. Reply without body. */
struct vram_msg_attach {
	uint8_t uuid[16]; /* another device's is -EXDEV */
	uint32_t flags;	  /* 0 */
	uint32_t pad;
};

/* CHUNKS: descriptors of chunks that are bound to objects of this session, to be imported as
 * CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR. -ENOENT if one is not. The reply has n descriptors in the same order.
 * RECLAIMED: the client has unmapped these everywhere and released them. */
struct vram_msg_chunks {
	uint32_t n;
	uint32_t pad;
	uint64_t ids[];
};
struct vram_msg_chunks_reply {
	uint32_t n;
	uint32_t pad;
};

/* RECLAIM: unmap these chunks everywhere, release them, and say RECLAIMED; none of them holds a pinned layer.
 * A process that has not done so by the deadline is killed: nothing else can take the memory back. */
struct vram_msg_reclaim {
	uint32_t n;
	uint32_t pad;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; UINT64_MAX while nobody waits for them */
	uint64_t ids[];
};

/* ADMIT: the client is about to need so many bytes of the device at once. The reply comes when it is admitted, or with
 * -ETIMEDOUT, or with -ENOSPC or -EDQUOT if it can never be. One at a time; what was reserved before is given back for it. */
#define VRAM_ADMIT_CLAMP 1u /* if it is more than can ever be, as much as can be */
struct vram_msg_admit {
	uint64_t working_set_bytes; /* 0: what limits promise alone */
	uint64_t timeout_ns;	    /* 0: the daemon's limits.admit_timeout; UINT64_MAX: none */
	int32_t priority;	    /* -20 to 19, the smallest first; below 0 for root */
	uint32_t flags;		    /* VRAM_ADMIT_* */
};
struct vram_msg_admit_reply {
	uint64_t reserved_bytes;
	uint64_t waited_ns;
};

/* TRIGGER: be told when memory was waited for too long: as PSI's triggers. No descriptor; the reply has no body and one
 * descriptor, a socket to poll for reading: a byte comes when within a window the time lost has reached the threshold, once a
 * window at most. What is not read does not pile up. Closing it takes the trigger back. 16 a session. */
enum vram_trigger_kind {
	VRAM_TRIGGER_SESSION = 1, /* of this session */
	VRAM_TRIGGER_USER = 2,	  /* of all of its user's */
	VRAM_TRIGGER_DEVICE = 3,  /* of all */
};
#define VRAM_TRIGGER_FULL 1u /* `full`, not `some` */
struct vram_msg_trigger {
	uint32_t kind;	       /* enum vram_trigger_kind */
	uint32_t flags;	       /* VRAM_TRIGGER_* */
	uint64_t threshold_us; /* 1 .. window_us */
	uint64_t window_us;    /* 500000 .. 10000000 */
};

/* REVOKE */
struct vram_msg_revoke {
	uint32_t slot;
	uint32_t pad;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
};

#endif
