// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE 1
#include "tools/vramtop/screen.h"

#include <curses.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

#include "common/err.h"
#include "tools/vramtop/ui.h"

/* How long ncurses waits whether an escape is the beginning of a key; over ssh these come in one packet. */
#define ESCAPE_MS 50

/* What a handler needs: prepared in time. */
static struct {
	SCREEN *screen;
	bool colours;
	volatile sig_atomic_t signal;
	struct termios modes;
	char restore[512]; /* leaves the other screen, shows the cursor, plain characters */
	size_t restore_len;
} term;

static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
static const int crashes[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };

/* ---- signals ---- */

static void on_end(int number)
{
	term.signal = number;
}

static void on_crash(int number)
{
	ssize_t n;

	n = write(STDOUT_FILENO, term.restore, term.restore_len);
	(void)n;
	tcsetattr(STDOUT_FILENO, TCSANOW, &term.modes);
	/* SA_RESETHAND: this time it is the end. */
	raise(number);
}

static void add_capability(const char *name)
{
	const char *text = tigetstr(name);
	size_t len;

	if (!text || text == (const char *)-1)
		return;
	/* Delays in it are for terminals that are gone. */
	len = strlen(text);
	if (strchr(text, '$') || term.restore_len + len > sizeof(term.restore))
		return;
	memcpy(term.restore + term.restore_len, text, len);
	term.restore_len += len;
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_end };
	size_t i;

	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		sigaction(ends[i], &action, NULL);
	add_capability("sgr0");
	add_capability("cnorm");
	add_capability("rmkx");
	add_capability("rmcup");
	action.sa_handler = on_crash;
	action.sa_flags = SA_RESETHAND | SA_NODEFER;
	for (i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++)
		sigaction(crashes[i], &action, NULL);
	/* Output into a pipe that is gone is an error, not the end. */
	signal(SIGPIPE, SIG_IGN);
}

int screen_signal(void)
{
	return term.signal;
}

/* ---- looks ---- */

enum {
	PAIR_GREEN = 1,
	PAIR_YELLOW,
	PAIR_RED,
	PAIR_CYAN,
	PAIR_TITLE,
	PAIR_SELECTED,
	PAIR_ALERT
};

static void make_pairs(void)
{
	short ground = use_default_colors() == OK ? -1 : COLOR_BLACK;

	init_pair(PAIR_GREEN, COLOR_GREEN, ground);
	init_pair(PAIR_YELLOW, COLOR_YELLOW, ground);
	init_pair(PAIR_RED, COLOR_RED, ground);
	init_pair(PAIR_CYAN, COLOR_CYAN, ground);
	init_pair(PAIR_TITLE, COLOR_BLACK, COLOR_GREEN);
	init_pair(PAIR_SELECTED, COLOR_BLACK, COLOR_CYAN);
	init_pair(PAIR_ALERT, COLOR_WHITE, COLOR_RED);
}

static void look_of(enum style style, attr_t *out_attributes, short *out_pair)
{
	static const struct {
		attr_t plain; /* without colours */
		attr_t with;  /* with them */
		short pair;
	} looks[N_STYLES] = {
		[STYLE_PLAIN] = { A_NORMAL, A_NORMAL, 0 },
		[STYLE_DIM] = { A_NORMAL, A_NORMAL, PAIR_CYAN },
		[STYLE_BOLD] = { A_BOLD, A_BOLD, 0 },
		[STYLE_TITLE] = { A_REVERSE, A_NORMAL, PAIR_TITLE },
		[STYLE_SELECTED] = { A_REVERSE | A_BOLD, A_NORMAL, PAIR_SELECTED },
		[STYLE_KEY] = { A_BOLD, A_BOLD, 0 },
		[STYLE_FULL] = { A_NORMAL, A_NORMAL, PAIR_GREEN },
		[STYLE_FULLER] = { A_NORMAL, A_NORMAL, PAIR_YELLOW },
		[STYLE_FULLEST] = { A_BOLD, A_NORMAL, PAIR_RED },
		[STYLE_WARN] = { A_BOLD, A_BOLD, PAIR_YELLOW },
		[STYLE_ALERT] = { A_BOLD | A_REVERSE, A_BOLD, PAIR_ALERT },
	};

	*out_attributes = term.colours ? looks[style].with : looks[style].plain;
	*out_pair = term.colours ? looks[style].pair : 0;
}

/* ---- the terminal ---- */

int screen_init(bool colours)
{
	const char *type = getenv("TERM");

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		fprintf(stderr, "vramtop: standard input and output must be a terminal; "
				"for a file or a pipe there is --batch\n");
		return err_origin(-ENOTTY);
	}
	if (tcgetattr(STDOUT_FILENO, &term.modes) < 0) {
		fprintf(stderr, "vramtop: the terminal: %s\n", strerror(errno));
		return err_origin(-errno);
	}
	term.screen = newterm(NULL, stdout, stdin);
	if (!term.screen) {
		fprintf(stderr,
			"vramtop: there is no description of a terminal '%s' (TERM) that can be used; "
			"'TERM=vt100 vramtop' may do, and --batch needs none\n",
			type ? type : "");
		return err_origin(-ENODEV);
	}
	catch_signals();
	set_escdelay(ESCAPE_MS);
	term.colours = colours && has_colors() && start_color() == OK;
	if (term.colours)
		make_pairs();
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	curs_set(0);
	return 0;
}

void screen_deinit(void)
{
	if (!term.screen)
		return;
	endwin();
	term.screen = NULL;
}

void screen_size(int *out_width, int *out_height)
{
	getmaxyx(stdscr, *out_height, *out_width);
}

void screen_show(const struct canvas *canvas)
{
	int width, height, y, x;
	attr_t attributes;
	cchar_t out;
	short pair;

	screen_size(&width, &height);
	erase();
	for (y = 0; y < canvas->height && y < height; y++) {
		for (x = 0; x < canvas->width && x < width; x++) {
			const struct cell *cell = canvas_at(canvas, y, x);

			if (!cell->text[0])
				continue; /* the half before has it */
			look_of(cell->style, &attributes, &pair);
			if (cell->text[0] == L' ' && attributes == A_NORMAL && !pair)
				continue; /* erased */
			if (setcchar(&out, cell->text, attributes, pair, NULL) == OK)
				mvadd_wchnstr(y, x, &out, 1);
		}
	}
	refresh();
}

static int special_key(wint_t key)
{
	static const struct {
		wint_t from;
		int to;
	} keys[] = {
		{ KEY_UP, UI_KEY_UP },
		{ KEY_DOWN, UI_KEY_DOWN },
		{ KEY_LEFT, UI_KEY_LEFT },
		{ KEY_RIGHT, UI_KEY_RIGHT },
		{ KEY_PPAGE, UI_KEY_PAGE_UP },
		{ KEY_NPAGE, UI_KEY_PAGE_DOWN },
		{ KEY_HOME, UI_KEY_HOME },
		{ KEY_END, UI_KEY_END },
		{ KEY_ENTER, UI_KEY_ENTER },
		{ KEY_BACKSPACE, UI_KEY_BACKSPACE },
		{ KEY_BTAB, UI_KEY_BACK_TAB },
		{ KEY_F(1), '?' },
		{ KEY_F(10), 'q' },
		{ KEY_RESIZE, SCREEN_REDRAW },
	};
	size_t i;

	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (keys[i].from == key)
			return keys[i].to;
	return UI_KEY_BASE; /* one without a meaning */
}

int screen_key(void)
{
	wint_t key;
	int r = get_wch(&key);

	if (r == ERR)
		return 0;
	if (r == KEY_CODE_YES)
		return special_key(key);
	switch (key) {
	case '\r':
	case '\n':
		return UI_KEY_ENTER;
	case '\t':
		return UI_KEY_TAB;
	case 0x1b:
		return UI_KEY_ESCAPE;
	case 0x7f:
	case '\b':
		return UI_KEY_BACKSPACE;
	case 'L' & 0x1f:
		clearok(curscr, TRUE);
		return SCREEN_REDRAW;
	case 0:
		return UI_KEY_BASE;
	}
	return (int)key;
}
