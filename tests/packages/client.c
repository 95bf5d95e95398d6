// SPDX-License-Identifier: GPL-2.0-only
/* What somebody would write who has installed libvram-dev: a model and a buffer, used. */
#include <stdio.h>
#include <string.h>
#include <vram.h>

static int use_buffer(struct vram_client *client)
{
	struct vram_buffer *buffer;
	int r = vram_buffer_new(client, "kv", 4 << 20, 1 << 20, &buffer);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < vram_buffer_n_layers(buffer) && r == 0; i++) {
		struct vram_layer *layer = vram_buffer_layer(buffer, i);

		r = vram_layer_acquire(layer, 10000000000);
		if (r < 0)
			break;
		memset((char *)vram_buffer_ptr(buffer) + (i << 20), (int)i + 1, 1 << 20);
		vram_layer_release(layer);
	}
	vram_buffer_free(buffer);
	return r;
}

static int use_model(struct vram_client *client, const char *path)
{
	struct vram_model *model;
	int r = vram_model_open(client, path, &model);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < vram_model_n_layers(model) && r == 0; i++) {
		r = vram_layer_acquire(vram_model_layer(model, i), 10000000000);
		if (r == 0)
			vram_layer_release(vram_model_layer(model, i));
	}
	if (r == 0)
		printf("%s: %u layers\n", vram_model_name(model), vram_model_n_layers(model));
	vram_model_close(model);
	return r;
}

int main(int argc, char *argv[])
{
	struct vram_client *client;
	int r = vram_connect(NULL, "client", 0, &client);

	if (r == 0)
		r = use_buffer(client);
	if (r == 0 && argc > 1)
		r = use_model(client, argv[1]);
	if (r < 0) {
		fprintf(stderr, "client: %s\n", vram_error_text());
		return 1;
	}
	printf("libvram %s\n", vram_version());
	vram_close(client);
	return 0;
}
