/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * libvram on a CUDA device: the same models, buffers and layers as in vram.h, in the memory of a card.
 *
 *	struct vram_client *client;
 *	struct vram_model *model;
 *
 *	vram_connect(NULL, "my engine", 0, &client);
 *	cuCtxSetCurrent(context);
 *	vram_client_attach_cuda(client, 0);
 *	vram_model_open(client, "model.gguf", &model);
 *	for (i = 0; i < vram_model_n_layers(model); i++) {
 *		struct vram_layer *layer = vram_model_layer(model, i);
 *
 *		vram_layer_acquire(layer, -1);
 *		launch(layer, stream);
 *		vram_layer_release_on(layer, stream);
 *	}
 *
 * What differs from the host device:
 *
 * ADDRESSES. After vram_client_attach_cuda() every pointer that vram.h gives for a model or buffer of this client
 * (vram_tensor_info.ptr, vram_layer_extent(), vram_buffer_ptr()) is an address of the device, a CUdeviceptr in a
 * void *. It is as stable as on the host. The processor must not touch it. A model's memory is mapped
 * read-only, a buffer's may be written.
 *
 * NO WAITING AT A TOUCH. A kernel or copy that touches a layer which is not acquired is an error of the program: it
 * finds other bytes of the same user, or nothing is mapped there, and then the driver ends the context. Acquire first.
 *
 * UNTIL THE WORK IS DONE. A layer must stay acquired until the kernels and copies that use it have ended, not only
 * until they were launched. vram_layer_release_on() has the device itself release it behind them;
 * vram_layer_release() is for after a synchronisation.
 *
 * THE THREAD. A client that is attached always has the watch of VRAM_CONNECT_WATCH: the daemon asks for memory back that the
 * client has mapped but does not use, and a process that does not give it back in time (device.reclaim_timeout) is
 * killed by the daemon, as nothing else can take such memory back. So the thread must be able to run, and a callback
 * (vram_client_set_callback()) must not stay away for long. All signals are blocked in it.
 *
 * THE DRIVER is loaded at run time (libcuda.so.1, CUDA 12.4 or newer); nothing has to be linked. Any function of this library may
 * call it, with the context of the attachment made current and the former one restored. No function of the library may
 * be called from a host function (cuLaunchHostFunc) or stream callback, because the driver forbids it calls of its own there.
 *
 * A DAEMON THAT ENDS. The device memory that the client has mapped stays, as long as it is mapped. With the next
 * daemon, layers of models that were held keep the memory and the address that they have until they are released;
 * all others are let go of at once and are mapped anew, at the same address, when they are acquired. Buffers are lost:
 * layers of them that were held can be used until they are released. If the daemon ends the session alone, because of pins that were
 * held for too long, the memory stays mapped as well, but may show other bytes of the same user: it has been
 * given to others. Should the next daemon manage another
 * card, or no card, the client stays disconnected (-ENOTCONN).
 *
 * FORK. As in vram.h; and as CUDA itself does not survive fork(2), what a child inherits is of no use to it.
 *
 * There is no vram_layer_acquire_on(), which would let a stream wait for a layer that is still on its way. A stream that waits for
 * a value which the daemon writes only after other layers were released, by work that is queued behind that very
 * wait, never ends; whether two streams are independent is for the hardware's queues to say. What it would be worth
 * has not been measured. Acquire ahead, from another thread if need be.
 */
#ifndef VRAM_LIBCLIENT_VRAM_CUDA_H
#define VRAM_LIBCLIENT_VRAM_CUDA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As in <vram.h>, which may be included before or after. */
#define VRAM_API __attribute__((visibility("default")))

struct vram_client;
struct vram_layer;
struct CUstream_st; /* CUstream, cudaStream_t */

struct vram_cuda_device {
	uint8_t uuid[16]; /* as cuDeviceGetUuid_v2 gives it */
	char pci[16];	  /* "0000:01:00.0"; its number differs between programs, this does not */
	uint64_t granularity_bytes; /* addresses and sizes of what is mapped are multiples of it */
};

/*
 * Which card the daemon manages: for a program that has several, before it makes its context. Calls nothing of the
 * driver and may be called before the attachment.
 * Return: 0, -ENOTSUP if the daemon's device is no card, -ENOTCONN, -EPROTO, -ECHILD.
 */
VRAM_API int vram_client_cuda_device(struct vram_client *client,
				     struct vram_cuda_device *out_device);

/*
 * Attaches the client to the daemon's card, before the first model or buffer. The context is the one that is current
 * in the calling thread, which must be on that card and must outlive the client; with none, the
 * card's primary context, which the client then holds until vram_close(). `flags` is 0. Starts the watch
 * if it does not run. Once a client: a second call is -EINVAL.
 * Return: 0; -ENOTSUP if the daemon's device is no card, or there is no driver, an older one, or one that lacks what is
 * needed; -EINVAL if the context is on another card, or objects are open; -ENOENT if this process cannot see the card; -EACCES
 * if it may not use it; -ENOMEM, -EIO if the driver fails; -ENOTCONN, -EPROTO, -ECHILD. Without 0 the client is as before.
 */
VRAM_API int vram_client_attach_cuda(struct vram_client *client, unsigned int flags);

/*
 * Ends one successful acquire when all work that is in the stream now has ended; returns at once. The stream belongs
 * to the context of the attachment; NULL is the default stream. A stream must not be destroyed while
 * such a release is outstanding in it: synchronise first. In a stream that is being captured it is -EINVAL, because a graph
 * would release again whenever it is launched.
 *
 * Usually the device writes the release into the memory that it shares with the daemon. Where it cannot (the driver lacks
 * 64-bit stream memory operations, or does not let the memory be registered), or where an earlier release of the same
 * layer is outstanding in another stream, the library records an event, and the watch, which then looks
 * about every millisecond, releases when the event has passed. Releases of both kinds and
 * vram_layer_release() mix freely. After an error that ends the context, what was outstanding counts as released
 * (nothing runs there any more), as soon as the library calls the driver again and so learns of it.
 *
 * vram_model_close(), vram_buffer_free() and vram_close() wait for outstanding releases of what they close.
 * Return: 0; -EINVAL (not attached, a stream that is none or is being captured), -EIO, -ENOMEM, -ECHILD. Without 0 the layer
 * is still acquired: synchronise and use vram_layer_release().
 */
VRAM_API int vram_layer_release_on(struct vram_layer *layer, struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif

#endif
