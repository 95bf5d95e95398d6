// SPDX-License-Identifier: GPL-2.0-only
/*
 * What libvram promises for the daemon's end and return, and for pins that are taken back.
 */
// links: tests/support/vramd.c tests/support/client_world.c libvram.a
// links: tests/support/device.c common/cuda_driver.c common/err.c
// libs: -ljansson
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/client_world.h"
#include "tests/support/device.h"

/* By whoever calls the library, or by the watch, which a client of a card always has. */
struct seen {
	_Atomic int lost, back, revoked;
	char text[128];
};

static void note(void *arg, const struct vram_event *event)
{
	struct seen *seen = arg;

	if (event->kind == VRAM_EVENT_LOST) {
		seen->lost++;
		snprintf(seen->text, sizeof(seen->text), "%s", event->text);
	}
	seen->back += event->kind == VRAM_EVENT_BACK;
	seen->revoked += event->kind == VRAM_EVENT_REVOKE;
}

START_TEST(restart)
{
	struct seen seen = { 0 };
	struct pollfd fd = { .fd = vram_client_fd(client), .events = POLLIN };

	vram_client_set_callback(client, note, &seen);
	walk(model);
	ck_assert_int_eq(poll(&fd, 1, 0), 0);
	vramd_signal(&d, SIGKILL);
	/* Where there is a watch it may have dealt with it already. */
	ck_assert(vramd_wants_card() || poll(&fd, 1, 5000) == 1);
	EVENTUALLY(vram_client_dispatch(client) == -ENOTCONN);
	ck_assert_int_eq(vram_client_dispatch(client), -ENOTCONN);
	EVENTUALLY(seen.lost == 1);
	ck_assert_int_eq(vram_client_reconnect(client, 50000000), -ENOTCONN);
	vramd_start(&d);
	ck_assert_int_eq(vram_client_reconnect(client, 10ll * SECOND), 0);
	EVENTUALLY(seen.back == 1);
	ck_assert_int_eq(vram_client_fd(client), fd.fd);
	for (int i = 0; i < 3; i++)
		walk(model);
	/* And once more, found out by an acquire. */
	vramd_signal(&d, SIGKILL);
	vramd_start(&d);
	walk(model);
	walk(model);
	EVENTUALLY(seen.lost == 2);
	EVENTUALLY(seen.back == 2);
}
END_TEST

START_TEST(clean_stop)
{
	struct seen seen = { 0 };

	vram_client_set_callback(client, note, &seen);
	vramd_signal(&d, SIGTERM);
	ck_assert_int_eq(vram_client_dispatch(client), -ENOTCONN);
	ck_assert_int_eq(seen.lost, 1);
	ck_assert_str_ne(seen.text, "");
	ck_assert_int_eq(vram_layer_acquire(vram_model_layer(model, LAYERS - 1), 300000000),
			 -ENOTCONN);
	vramd_start(&d);
	walk(model);
}
END_TEST

/* Return: how many layers of the model are held now: all that there is room for. */
static uint32_t hold_all(void)
{
	uint32_t n = 0;

	while (n < LAYERS &&
	       vram_layer_acquire(vram_model_layer(model, n), n < FIT ? FOREVER : SECOND / 5) == 0)
		n++;
	ck_assert_uint_ge(n, FIT);
	return n;
}

/* Who holds pins too long is asked to release; who does, keeps the session. */
START_TEST(revoked)
{
	struct seen seen = { 0 };
	struct vram_client *other;
	struct vram_model *wanted;
	bool had_it = false;
	uint32_t n;

	vram_client_set_callback(client, note, &seen);
	vramd_signal(&d, SIGKILL);
	d.settings[0] = "limits.pin_timeout=1s";
	vramd_start(&d);
	ck_assert_int_eq(vram_client_reconnect(client, 10ll * SECOND), 0);
	n = hold_all();
	ck_assert_int_eq(vram_connect(d.socket, "other", 0, &other), 0);
	device_attach(other);
	wanted = open_model(other, vramd_make_file(&d, "wanted", MODEL_BYTES, 7));
	/* It needs room that is pinned. */
	for (int i = 0; i < 200 && !seen.revoked && !had_it; i++) {
		had_it = vram_layer_acquire(vram_model_layer(wanted, 0), SECOND / 10) == 0;
		ck_assert_int_eq(vram_client_dispatch(client), 0);
	}
	ck_assert(!had_it);
	ck_assert_int_ge(seen.revoked, 1);
	for (uint32_t i = 0; i < n; i++)
		vram_layer_release(vram_model_layer(model, i));
	ck_assert_int_eq(vram_layer_acquire(vram_model_layer(wanted, 0), 20ll * SECOND), 0);
	ck_assert_uint_eq(wrong_in(vram_model_layer(wanted, 0)), 0);
	vram_layer_release(vram_model_layer(wanted, 0));
	vram_model_close(wanted);
	vram_close(other);
	walk(model);
	/* Only the daemon's end of before was a loss. */
	ck_assert_int_eq(seen.lost, 1);
}
END_TEST

/* Who does not listen is sent away, by a daemon that lives on; and may come again, as the same or another. */
START_TEST(sent_away)
{
	struct seen seen = { 0 };
	struct vram_client *other;
	struct vram_model *wanted;
	uint32_t n;

	vramd_signal(&d, SIGKILL);
	d.settings[0] = "limits.pin_timeout=2s";
	vramd_start(&d);
	ck_assert_int_eq(vram_client_reconnect(client, 10ll * SECOND), 0);
	vram_client_set_callback(client, note, &seen);
	ck_assert_int_eq(vram_connect(d.socket, "other", 0, &other), 0);
	device_attach(other);
	wanted = open_model(other, vramd_make_file(&d, "wanted", MODEL_BYTES, 7));
	for (int round = 1; round <= 3; round++) {
		struct vram_layer *first = vram_model_layer(wanted, 0);

		n = 0;
		while (n < LAYERS && vram_layer_acquire(vram_model_layer(model, n), SECOND) == 0)
			n++;
		ck_assert_uint_ge(n, FIT);
		/* It comes to the one who waits when the other one's session has ended. */
		ck_assert_msg(vram_layer_acquire(first, 60ll * SECOND) == 0, "%s",
			      vram_error_text());
		ck_assert_uint_eq(wrong_in(first), 0);
		/* Who has a watch knows at once. */
		ck_assert(seen.lost == round - 1 || vramd_wants_card());
		for (uint32_t i = 0; i < n; i++)
			vram_layer_release(vram_model_layer(model, i));
		vram_layer_release(first);
		/* Not told yet, it would touch what its table still calls resident. */
		ck_assert_int_eq(vram_client_dispatch(client), 0);
		walk(model);
		EVENTUALLY(seen.lost == round);
		EVENTUALLY(seen.back == round);
		walk(wanted);
	}
	vram_model_close(wanted);
	vram_close(other);
}
END_TEST

/* Pins are carried over: neither lost nor left behind. */
START_TEST(pins_survive)
{
	struct vram_layer *held = vram_model_layer(model, 2);

	ck_assert_int_eq(vram_layer_acquire(held, FOREVER), 0);
	ck_assert_int_eq(vram_layer_acquire(held, FOREVER), 0);
	vramd_signal(&d, SIGKILL);
	/* Resident when the daemon died: still usable. */
	vramd_start(&d);
	ck_assert_int_eq(vram_client_reconnect(client, 10ll * SECOND), 0);
	ck_assert_uint_eq(wrong_in(held), 0);
	vram_layer_release(held);
	ck_assert_int_eq(vram_layer_acquire(held, FOREVER), 0);
	for (uint32_t i = 3; i < LAYERS; i++) {
		ck_assert_int_eq(vram_layer_acquire(vram_model_layer(model, i), FOREVER), 0);
		vram_layer_release(vram_model_layer(model, i));
		ck_assert(vram_layer_is_resident(held));
	}
	vram_layer_release(held);
	vram_layer_release(held);
	/* Now nothing is pinned: it can be evicted like all others. */
	for (int pass = 0; pass < 20 && vram_layer_is_resident(held); pass++)
		for (uint32_t i = 3; i < LAYERS; i++) {
			ck_assert_int_eq(vram_layer_acquire(vram_model_layer(model, i), FOREVER),
					 0);
			vram_layer_release(vram_model_layer(model, i));
		}
	ck_assert(!vram_layer_is_resident(held));
}
END_TEST

/* The module is the arbiter, then the daemon alone, then the module again: tables of both kinds are exchanged. */
START_TEST(other_arbiter)
{
	struct vram_layer *held = vram_model_layer(model, 2);

	ck_assert_int_eq(vram_layer_acquire(held, FOREVER), 0);
	for (int i = 0; i < 4; i++) {
		vramd_signal(&d, SIGKILL);
		d.arbiter = i % 2 ? NULL : "local";
		vramd_start(&d);
		walk(model);
		ck_assert_uint_eq(wrong_in(held), 0);
		/* Once through the pins of the new table, too. */
		vram_layer_release(held);
		ck_assert_int_eq(vram_layer_acquire(held, FOREVER), 0);
	}
	vram_layer_release(held);
	walk(model);
}
END_TEST

START_TEST(buffer_lost)
{
	struct vram_buffer *b;
	struct vram_layer *held, *other;

	ck_assert_int_eq(vram_buffer_new(client, "kv", 4 * MIB, MIB, &b), 0);
	held = vram_buffer_layer(b, 1);
	other = vram_buffer_layer(b, 2);
	ck_assert_int_eq(vram_layer_acquire(held, FOREVER), 0);
	fill(held, 9);
	vramd_signal(&d, SIGKILL);
	vramd_start(&d);
	ck_assert_int_eq(vram_client_reconnect(client, 10ll * SECOND), 0);
	ck_assert_int_eq(vram_layer_acquire(other, FOREVER), -ECONNRESET);
	ck_assert_int_eq(vram_layer_acquire(held, 0), -ECONNRESET);
	ck_assert_uint_eq(wrong_in_buffer(held, 9), 0);
	fill(held, 10);
	ck_assert_uint_eq(wrong_in_buffer(held, 10), 0);
	vram_layer_release(held);
	vram_buffer_free(b);
	walk(model);
	ck_assert_int_eq(vram_buffer_new(client, "kv", 4 * MIB, MIB, &b), 0);
	ck_assert_int_eq(vram_layer_acquire(vram_buffer_layer(b, 0), FOREVER), 0);
	vram_layer_release(vram_buffer_layer(b, 0));
	vram_buffer_free(b);
}
END_TEST

START_TEST(buffer_lost_touch)
{
	struct vram_buffer *b;

	ck_assert_int_eq(vram_buffer_new(client, "kv", 4 * MIB, MIB, &b), 0);
	vramd_signal(&d, SIGKILL);
	vramd_start(&d);
	ck_assert_int_eq(vram_client_reconnect(client, 10ll * SECOND), 0);
	signal(SIGBUS, SIG_DFL); /* a sanitizer would catch it */
	ck_assert_int_eq(*(volatile char *)vram_buffer_ptr(b), 77);
}
END_TEST

START_TEST(model_changed_meanwhile)
{
	char path[160];

	vramd_signal(&d, SIGKILL);
	snprintf(path, sizeof(path), "%s/model", d.dir);
	if (_i == 0) {
		ck_assert_int_eq(truncate(path, MODEL_BYTES / 2), 0);
	} else {
		/* As long as before: the new daemon could not know. */
		int fd = open(path, O_WRONLY);

		ck_assert_int_eq(pwrite(fd, "changed", 7, 0), 7);
		close(fd);
	}
	vramd_start(&d);
	ck_assert_int_eq(vram_client_reconnect(client, 10ll * SECOND), 0);
	ck_assert_int_eq(vram_layer_acquire(vram_model_layer(model, 0), SECOND), -ESTALE);
	ck_assert_int_eq(vram_layer_acquire(vram_model_layer(model, 0), 0), -ESTALE);
	ck_assert(!vram_layer_is_resident(vram_model_layer(model, 0)));
}
END_TEST

/* Threads read, touching without acquire too, while the daemon is killed again and again. */
static _Atomic bool stop_reading;
static _Atomic uint64_t wrong_words, read_layers;

static void *read_on(void *arg)
{
	bool stray = arg && !vramd_wants_card();

	for (uint32_t i = 0; !stop_reading; i = (i + 1) % LAYERS) {
		struct vram_layer *layer = vram_model_layer(model, i);

		if (!stray)
			ck_assert_msg(vram_layer_acquire(layer, FOREVER) == 0, "%s",
				      vram_error_text());
		wrong_words += wrong_in(layer);
		read_layers++;
		if (!stray)
			vram_layer_release(layer);
	}
	return NULL;
}

START_TEST(restarts_under_load)
{
	struct vram_client *plain = client;
	pthread_t threads[3];
	uint64_t before;
	char path[160];

	vram_model_close(model);
	ck_assert_int_eq(vram_connect(d.socket, "watched", VRAM_CONNECT_WATCH, &client), 0);
	device_attach(client);
	snprintf(path, sizeof(path), "%s/model", d.dir);
	model = open_model(client, path);
	for (uintptr_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, read_on, i == 2 ? &d : NULL);
	for (int i = 0; i < 8; i++) {
		before = read_layers;
		EVENTUALLY(read_layers > before + 5);
		vramd_signal(&d, i % 3 == 2 ? SIGTERM : SIGKILL);
		/* The daemon is away for a while, or dies again at once. */
		nanosleep(&(struct timespec){ .tv_nsec = (i % 2) * 200000000 }, NULL);
		vramd_start(&d);
		if (i % 4 == 3) {
			vramd_signal(&d, SIGKILL);
			vramd_start(&d);
		}
	}
	before = read_layers;
	EVENTUALLY(read_layers > before + 2 * LAYERS);
	stop_reading = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(wrong_words, 0);
	vram_close(plain);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("restart");
	TCase *tc;
	SRunner *runner;
	int failed;

	if (!vramd_usable())
		return 77;
	tc = world_case(suite, "restart");
	tcase_add_test(tc, restart);
	tcase_add_test(tc, clean_stop);
	tcase_add_loop_test(tc, model_changed_meanwhile, 0, 2);
	tcase_add_test(tc, restarts_under_load);
	if (vramd_wants_module())
		tcase_add_test(tc, other_arbiter);
	tc = world_case(suite, "pins");
	tcase_add_test(tc, pins_survive);
	tcase_add_test(tc, revoked);
	tcase_add_test(tc, sent_away);
	tc = world_case(suite, "lost");
	tcase_add_test(tc, buffer_lost);
	if (!vramd_wants_card())
		tcase_add_test_raise_signal(tc, buffer_lost_touch, SIGBUS);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	vramd_cleanup();
	return failed ? 1 : 0;
}
