// SPDX-License-Identifier: GPL-2.0-only
#include "tools/vramtrace/meter.h"

void meter_init(struct meter *m, uint64_t now_ns)
{
	*m = (struct meter){ .since_ns = now_ns, .at_ns = now_ns };
}

/* Events of two processors may come a little late: time does not run backwards. */
static void advance(struct meter *m, uint64_t now_ns)
{
	if (now_ns <= m->at_ns)
		return;
	if (m->n_open)
		m->open_ns += now_ns - m->at_ns;
	m->at_ns = now_ns;
}

void meter_begin(struct meter *m, uint64_t now_ns)
{
	advance(m, now_ns);
	m->n_open++;
}

void meter_end(struct meter *m, uint64_t now_ns, uint64_t waited_ns)
{
	uint64_t began_ns = now_ns > waited_ns ? now_ns - waited_ns : 0;
	uint64_t before_ns = m->at_ns, closed_ns;

	advance(m, now_ns);
	m->n_ended++;
	if (m->n_open) {
		m->n_open--;
		return;
	}
	/* What lies before is counted only as far as no other wait can have been open: since the last event. */
	if (began_ns < before_ns)
		began_ns = before_ns;
	closed_ns = now_ns > began_ns ? now_ns - began_ns : 0;
	m->open_ns += closed_ns;
}

uint64_t meter_take(struct meter *m, uint64_t now_ns, uint64_t *out_n_ended)
{
	uint64_t open_ns;

	advance(m, now_ns);
	open_ns = m->open_ns;
	*out_n_ended = m->n_ended;
	m->open_ns = 0;
	m->n_ended = 0;
	m->since_ns = m->at_ns;
	return open_ns;
}
