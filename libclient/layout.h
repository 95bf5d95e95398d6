/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * The layers of a model: which bytes of which files, in the order in which inference needs them.
 *
 * A layout is made from a GGUF file (v2 or v3, split or not), a safetensors file or a sharded
 * safetensors model. It is read-only once made and may be shared between threads.
 *
 * The order of layers[] is the cyclic order of a pass: token embeddings, then every block
 * followed by its experts, then the output head; behind them what a pass over text does not use
 * (vision towers, projectors). Positions are indices.
 *
 * What is needed twice is here once: with LAYOUT_TIED_EMBEDDINGS the embedding layer is the output
 * head too, carries both flags, and a pass reads it whole at its end.
 *
 * Extents are byte ranges as the file has them, neither page-aligned nor sorted: inside a
 * layer they follow the order of computation (attention before feed-forward). Two layers never
 * share a byte, but they may share a page. A sharded model may have a layer's extents in several files.
 *
 * Errors of all functions here, beside a message for people:
 *	-EINVAL    the file is malformed, or no model file at all
 *	-ENOTSUP   a version, byte order or tensor type that we do not know
 *	-E2BIG     beyond a limit of ours (docs/model-files.md)
 *	-ESTALE    the file became shorter while it was read
 *	-EISDIR, -EACCES, -ENOENT, -EBADF   a directory, not readable, a part is missing, no descriptor
 *	-ENOMEM, -EIO, and whatever open(2) said
 */
#ifndef VRAM_LIBCLIENT_LAYOUT_H
#define VRAM_LIBCLIENT_LAYOUT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "libclient/tensors.h"

/* Most layers of one layout; most files. */
#define LAYOUT_MAX_LAYERS (1u << 20)
#define LAYOUT_MAX_FILES  1024u

enum layout_layer_flags {
	LAYOUT_DENSE = 1 << 0,	   /* used by every pass, at its place */
	LAYOUT_EMBEDDING = 1 << 1, /* looked up by rows: token embeddings and what is beside them */
	LAYOUT_OUTPUT = 1 << 2,	   /* the last norm and the output head */
	LAYOUT_EXPERT = 1 << 3,	   /* one of several experts of its block: used now and then */
	LAYOUT_OTHER = 1 << 4,	   /* not part of a pass over text */
};

enum layout_flags {
	LAYOUT_TIED_EMBEDDINGS = 1 << 0, /* a text model without an output matrix of its own */
	LAYOUT_PARTIAL = 1 << 1,	 /* parts of a split model could not be looked for */
};

enum layout_format {
	LAYOUT_GGUF = 1,
	LAYOUT_SAFETENSORS = 2,
};

struct layout_file {
	int fd;	    /* read-only, close-on-exec, the layout's own; -1 once taken */
	char *path; /* as opened; NULL if only a descriptor was given */
	uint64_t size_bytes;
	dev_t dev;
	ino_t ino;
	struct timespec mtime;
};

struct layout_extent {
	uint32_t file;
	uint64_t offset; /* bytes, in the file */
	uint64_t length; /* bytes, never 0 */
};

/* The share that a layer has in one tensor: the whole of it, or one expert's slice. */
struct layout_part {
	uint32_t tensor; /* index into tensors.tensors */
	uint64_t offset; /* bytes, in the tensor's file */
	uint64_t length;
};

struct layout_layer {
	char *name; /* "token_embd", "blk.3", "blk.3.expert.17", "model.layers.3", "output", "other" */
	uint32_t flags; /* enum layout_layer_flags */
	int32_t block;	/* number of the block, -1 if it belongs to none */
	int32_t expert; /* number of the expert, -1 if it is none */
	uint64_t bytes; /* sum of the parts */
	/* In order of computation; extents are the parts with neighbours in the file merged. */
	struct layout_extent *extents;
	uint32_t n_extents;
	uint32_t n_parts;
	struct layout_part *parts;
};

struct vram_layout {
	enum layout_format format;
	uint32_t flags;	    /* enum layout_flags */
	char *name;	    /* what the file calls itself (general.name), or NULL */
	char *architecture; /* "llama", or NULL */
	struct layout_file *files;
	uint32_t n_files;
	uint32_t n_layers;
	struct layout_layer *layers;
	struct tensor_list tensors; /* every tensor of every file, in file order */
	uint64_t bytes;		    /* of all tensors */
};

/*
 * Opens a model by path: a GGUF file (of a split model any part, the others are found by
 * name beside it), a .safetensors file (likewise, through its index), or a model.safetensors.index.json.
 * `text` of text_size bytes receives a message on failure and "" on success; NULL for none.
 */
int layout_open(const char *path, struct vram_layout **out_layout, char *text, size_t text_size);

/*
 * The same for an open descriptor, which stays the caller's. Other parts are found if the
 * file still has the name that /proc shows; if not, the layout covers this file and has LAYOUT_PARTIAL.
 */
int layout_open_fd(int fd, struct vram_layout **out_layout, char *text, size_t text_size);

/* Frees the layout and closes the descriptors that were not taken. NULL is fine. */
void layout_free(struct vram_layout *layout);

/* Takes the descriptor of a file out of the layout. Return: the descriptor, -1 if it was taken before. */
int layout_take_fd(struct vram_layout *layout, uint32_t file);

#endif
